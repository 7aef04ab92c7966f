//! Lambda authorizers.

use super::service::{Invoking, Resolver};
use super::stage::Served;
use crate::tokens::whole;
use sluice_catalog::{Authorizer as Configured, AuthorizerType};
use sluice_mapping::Expression;
use sluice_snapshot::{LambdaKind, LambdaPlan};

/// Where the catalog says nothing: AWS's.
const TTL_S: u32 = 300;
const TOKEN_SOURCE: &str = "method.request.header.Authorization";

/// Of a method with `CUSTOM` authorization. `at`: the stage, for operators.
pub(super) fn lambda(
    authorizer: &Configured,
    of: &Served,
    at: &str,
    resolver: &mut Resolver<'_>,
) -> Result<LambdaPlan, String> {
    let source = authorizer.identity_source.as_deref().unwrap_or_default();
    let validation = authorizer.identity_validation_expression.as_deref().filter(|text| !text.is_empty());
    let kind = match authorizer.authorizer_type {
        AuthorizerType::CognitoUserPools => {
            return Err("its authorizer is one of user pools, and the method's type CUSTOM".to_owned());
        }
        AuthorizerType::Token => {
            let source = if source.is_empty() { TOKEN_SOURCE } else { source };
            let header = source.strip_prefix("method.request.header.");
            let header = header.ok_or_else(|| format!("the token's source is {source}, and not a header"))?;
            LambdaKind::Token { header: header.into(), validation: validation.map(whole).transpose()? }
        }
        AuthorizerType::Request => {
            let sources = source.split(',').map(str::trim).filter(|source| !source.is_empty());
            let compiled = sources.map(Expression::gateway_response).collect::<Result<Vec<_>, _>>();
            LambdaKind::Request { sources: compiled.map_err(|error| error.to_string())? }
        }
    };
    let uri = authorizer.authorizer_uri.as_deref().unwrap_or_default();
    let function = resolver.function(
        uri,
        &of.variables,
        authorizer.authorizer_credentials.as_deref(),
        Invoking::Whole,
    )?;
    let number = resolver.registry.providers.number();
    let ttl_s = authorizer.authorizer_result_ttl_in_seconds.unwrap_or(TTL_S);
    let name = format!("{at}: authorizer {}", authorizer.name).into();
    Ok(LambdaPlan { number, name, kind, function, ttl_s })
}
