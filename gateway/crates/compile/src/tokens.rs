//! Authorizers by token: of the configuration, and of user pools.

use fancy_regex::Regex;
use sluice_catalog::Authorizer as Configured;
use sluice_config::{JwtAuthorizer, UserPool};
use sluice_snapshot::{Authorizer, Issuer, Provider, TokenPlan, TokenStyle};
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

/// Issuers of tokens by dense index, for the life of the process.
#[derive(Debug, Default)]
pub(crate) struct Providers {
    known: Vec<Provider>,
    plans: u64,
    /// Numbers of authorizers of the configuration by what they are, so that cores keep what they know of one through a publication that
    /// does not change it. It grows with the distinct ones ever configured, a few hundred bytes each.
    numbers: HashMap<String, u64>,
}

impl Providers {
    fn id(&mut self, provider: Provider) -> u32 {
        let at = self.known.iter().position(|known| *known == provider).unwrap_or_else(|| {
            self.known.push(provider);
            self.known.len() - 1
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    fn issuer(&mut self, issuer: &str, jwks_url: Option<&str>) -> Issuer {
        let name: Arc<str> = issuer.into();
        let provider = Provider { issuer: Arc::clone(&name), jwks_url: jwks_url.map(Into::into) };
        Issuer { name, provider: self.id(provider) }
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.plans += 1;
        self.plans
    }

    /// Of a plan that has no number yet.
    pub(crate) fn number_of(&mut self, plan: &impl Debug) -> u64 {
        let next = self.plans + 1;
        let number = *self.numbers.entry(format!("{plan:?}")).or_insert(next);
        self.plans = self.plans.max(number);
        number
    }

    pub(crate) fn list(&self) -> Vec<Provider> {
        self.known.clone()
    }
}

/// Of a route of the configuration.
pub(crate) fn jwt(settings: &JwtAuthorizer, providers: &mut Providers) -> Authorizer {
    let mut plan = TokenPlan {
        number: 0,
        style: TokenStyle::Jwt,
        header: "authorization".into(),
        issuers: vec![providers.issuer(&settings.issuer, settings.jwks_url.as_deref())],
        audiences: settings.audiences.iter().map(|one| one.as_str().into()).collect(),
        audience: None,
        scopes: settings.scopes.iter().map(|one| one.as_str().into()).collect(),
    };
    plan.number = providers.number_of(&plan);
    Authorizer::Token(Box::new(plan))
}

/// Of a method with `COGNITO_USER_POOLS`.
pub(crate) fn cognito(
    authorizer: &Configured,
    scopes: &[String],
    pools: &[UserPool],
    providers: &mut Providers,
) -> Result<Authorizer, String> {
    let mut issuers = Vec::new();
    for arn in &authorizer.provider_arns {
        let (region, id) = pool_of(arn).ok_or_else(|| format!("{arn} is no user pool's ARN"))?;
        let configured = pools.iter().find(|pool| *pool.id == *id);
        let issuer = match configured.and_then(|pool| pool.issuer.clone()) {
            Some(issuer) => issuer,
            None => format!("https://cognito-idp.{region}.amazonaws.com/{id}"),
        };
        let url = match configured.and_then(|pool| pool.jwks_url.clone()) {
            Some(url) => url,
            None => format!("{issuer}/.well-known/jwks.json"),
        };
        issuers.push(providers.issuer(&issuer, Some(&url)));
    }
    if issuers.is_empty() {
        return Err("its authorizer names no user pool".to_owned());
    }
    let source = authorizer.identity_source.as_deref().unwrap_or("method.request.header.Authorization");
    let header = source
        .strip_prefix("method.request.header.")
        .ok_or_else(|| format!("the token's source is {source}, and not a header"))?;
    let audience = authorizer.identity_validation_expression.as_deref().filter(|text| !text.is_empty());
    Ok(Authorizer::Token(Box::new(TokenPlan {
        number: providers.number(),
        style: TokenStyle::Cognito,
        header: header.to_ascii_lowercase().into(),
        issuers,
        audiences: Vec::new(),
        audience: audience.map(whole).transpose()?,
        scopes: scopes.iter().map(|scope| scope.as_str().into()).collect(),
    })))
}

/// A validation expression: it has to match all of the text.
pub(crate) fn whole(expression: &str) -> Result<Regex, String> {
    Regex::new(&format!("^(?:{expression})$"))
        .map_err(|error| format!("the identity validation expression: {error}"))
}

/// Region and id of `arn:aws:cognito-idp:REGION:ACCOUNT:userpool/ID`.
fn pool_of(arn: &str) -> Option<(&str, &str)> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", _, "cognito-idp", region, _, resource] = parts.as_slice() else { return None };
    let id = resource.strip_prefix("userpool/").filter(|id| !id.is_empty())?;
    (!region.is_empty()).then_some((region, id))
}

#[cfg(test)]
mod tests {
    use super::{pool_of, whole};

    #[test]
    fn pools_are_found_in_their_arns() {
        let arn = "arn:aws:cognito-idp:eu-west-1:123456789012:userpool/eu-west-1_Ab12";
        assert_eq!(pool_of(arn), Some(("eu-west-1", "eu-west-1_Ab12")));
        for wrong in
            ["", "arn:aws:cognito-idp:eu-west-1:1:userpool/", "arn:aws:cognito-identity:r:1:userpool/x"]
        {
            assert_eq!(pool_of(wrong), None);
        }
    }

    #[test]
    fn expressions_match_the_whole() {
        let regex = whole("a|bc").unwrap();
        assert!(regex.is_match("bc").unwrap() && !regex.is_match("abc").unwrap());
        assert!(whole("(").is_err());
    }
}
