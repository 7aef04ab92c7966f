//! Who may call: what routes ask of their callers, and whom the gateway knows.

use crate::Function;
use fancy_regex::Regex;
use sluice_iam::Policy;
use sluice_mapping::{ContextVariable, Expression, PayloadFormat};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// How a route knows its callers. A route without one takes anybody, as far as its API's resource policy does.
#[derive(Debug)]
pub enum Authorizer {
    /// Requests are signed with an access key (`AWS_IAM`).
    Iam,
    /// Requests bring a token of an issuer.
    Token(Box<TokenPlan>),
    /// A function says. All methods of a deployment that name the authorizer share its plan.
    Lambda(Arc<LambdaPlan>),
}

/// A Lambda authorizer.
#[derive(Debug)]
pub struct LambdaPlan {
    /// Its own: what is kept for one plan is not kept for another.
    pub number: u64,
    /// For operators: `rest API abc/prod: authorizer users`.
    pub name: Box<str>,
    /// What it is told.
    pub kind: LambdaKind,
    /// The function.
    pub function: Function,
    /// How long its answers are kept, seconds; 0: not at all.
    pub ttl_s: u32,
}

/// What a Lambda authorizer is told.
#[derive(Debug)]
pub enum LambdaKind {
    /// A token.
    Token {
        /// The header that has it.
        header: Box<str>,
        /// What all of it must look like.
        validation: Option<Regex>,
    },
    /// The request. It must have each of the sources; together they are the identity.
    Request {
        /// Expressions such as `method.request.header.X`.
        sources: Vec<Expression>,
    },
    /// The request as HTTP APIs tell it. As with [`Self::Request`], each source must be there.
    Http {
        /// What callers are told apart by.
        sources: Vec<IdentitySource>,
        /// How it is told.
        format: PayloadFormat,
        /// It answers `isAuthorized`, not a policy. In payload format 2.0 only.
        is_simple: bool,
    },
}

/// Where an HTTP API's authorizer finds who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentitySource {
    /// `$request.header.NAME`.
    Header(Box<str>),
    /// `$request.querystring.NAME`.
    Query(Box<str>),
    /// `$context.NAME`.
    Context(ContextVariable),
    /// `$context.routeKey`.
    RouteKey,
}

impl IdentitySource {
    /// Reads `$request.header.X` and the like; `None`: it is none, or of what routes don't have.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let named = |prefix: &str| text.strip_prefix(prefix).filter(|name| !name.is_empty());
        if let Some(name) = named("$request.header.") {
            let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            return name.bytes().all(is_token).then(|| Self::Header(name.into()));
        }
        if let Some(name) = named("$request.querystring.") {
            return Some(Self::Query(name.into()));
        }
        match named("$context.")? {
            "routeKey" => Some(Self::RouteKey),
            name => ContextVariable::from_name(name).filter(|v| CONTEXT.contains(v)).map(Self::Context),
        }
    }
}

/// What is known of a request before anybody is asked.
const CONTEXT: &[ContextVariable] = &[
    ContextVariable::AccountId,
    ContextVariable::ApiId,
    ContextVariable::DomainName,
    ContextVariable::DomainPrefix,
    ContextVariable::ExtendedRequestId,
    ContextVariable::HttpMethod,
    ContextVariable::IdentitySourceIp,
    ContextVariable::IdentityUserAgent,
    ContextVariable::Path,
    ContextVariable::Protocol,
    ContextVariable::RequestId,
    ContextVariable::RequestTime,
    ContextVariable::RequestTimeEpoch,
    ContextVariable::Stage,
];

/// Which tokens are accepted.
#[derive(Debug)]
pub struct TokenPlan {
    /// Its own: what one plan has verified is not verified for another.
    pub number: u64,
    /// How refusals are worded, and what a token is for.
    pub style: TokenStyle,
    /// The header that has it, in lower case.
    pub header: Box<str>,
    /// Who issues them.
    pub issuers: Vec<Issuer>,
    /// One of these, as `aud` or `client_id`; empty: any.
    pub audiences: Vec<Box<str>>,
    /// What all of `aud` must look like.
    pub audience: Option<Regex>,
    /// One of these scopes; empty: none is asked for.
    pub scopes: Vec<Box<str>>,
}

/// Whose manners a token authorizer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenStyle {
    /// `COGNITO_USER_POOLS` of REST APIs: id tokens, or access tokens where scopes are asked for.
    Cognito,
    /// JWT authorizers of HTTP APIs: any token, `WWW-Authenticate` with refusals.
    Jwt,
}

/// An issuer of tokens.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// `iss`.
    pub name: Arc<str>,
    /// Index into [`AwsPlan::providers`].
    pub provider: u32,
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Provider {
    /// `iss`.
    pub issuer: Arc<str>,
    /// The key set; `None`: the issuer's discovery document names it.
    pub jwks_url: Option<Arc<str>>,
}

/// What policies, signatures and ARNs are about.
#[derive(Debug, Default)]
pub struct AwsPlan {
    /// The region that requests are signed for.
    pub region: Arc<str>,
    /// The account that APIs belong to.
    pub account: Arc<str>,
    /// By id.
    pub access_keys: HashMap<Box<str>, Arc<AccessKey>>,
    /// Those whose tokens some route accepts, and those of before: indices stay.
    pub providers: Vec<Provider>,
}

/// Somebody who may sign requests.
pub struct AccessKey {
    /// The public part.
    pub id: Box<str>,
    /// What signatures are made with.
    pub secret: Box<str>,
    /// What goes with each request, if these credentials are temporary.
    pub session_token: Option<Box<str>>,
    /// When they end, milliseconds since 1970.
    pub expires_unix_ms: Option<i64>,
    /// Who has the key.
    pub arn: Box<str>,
    /// The account in the ARN.
    pub account: Box<str>,
    /// The role, if it is a session of one (`arn:aws:iam::…:role/ROLE`).
    pub role_arn: Option<Box<str>>,
    /// What its owner may do; `None`: anything.
    pub policy: Option<Policy>,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the secret, nor the session token.
        f.debug_struct("AccessKey").field("id", &self.id).field("arn", &self.arn).finish_non_exhaustive()
    }
}

impl AccessKey {
    /// The last part of the ARN: the user's name, or role and session.
    #[must_use]
    pub fn name(&self) -> &str {
        self.arn
            .rsplit_once(":user/")
            .or_else(|| self.arn.rsplit_once('/'))
            .map_or(&*self.arn, |(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::{ContextVariable, IdentitySource};

    #[test]
    fn identity_sources() {
        let read = IdentitySource::parse;
        assert_eq!(read("$request.header.X-Auth"), Some(IdentitySource::Header("X-Auth".into())));
        assert_eq!(read("$request.querystring.a b"), Some(IdentitySource::Query("a b".into())));
        assert_eq!(read("$context.routeKey"), Some(IdentitySource::RouteKey));
        let address = IdentitySource::Context(ContextVariable::IdentitySourceIp);
        assert_eq!(read("$context.identity.sourceIp"), Some(address));
        for wrong in [
            "",
            "$request.header.",
            "$request.header.a b",
            "method.request.header.X",
            "$request.body.x",
            "$stageVariables.x",
            "$context.nothing",
            "$context.authorizer.principalId",
            "$context.status",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
