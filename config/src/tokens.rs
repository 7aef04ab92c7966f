//! `[authorizers.NAME]` and `[user_pools.ID]`: who may call, and whose tokens are accepted.

use crate::diagnostic::{Located, Reporter};
use crate::entries::choice;
use crate::read::Fields;
use std::sync::Arc;

/// Who may call routes.
#[derive(Clone, Debug)]
pub struct Authorizer {
    /// Name.
    pub name: Located<Arc<str>>,
    /// How that is known.
    pub kind: AuthorizerKind,
}

/// How callers of routes are known.
#[derive(Clone, Debug)]
pub enum AuthorizerKind {
    /// By a token.
    Jwt(JwtAuthorizer),
    /// A function says.
    Request(RequestAuthorizer),
}

/// A function that is told requests, and says whether they may.
#[derive(Clone, Debug)]
pub struct RequestAuthorizer {
    /// A name of `[functions]`, or an ARN.
    pub function: Located<String>,
    /// `$request.header.NAME` and the like.
    pub identity_sources: Vec<Located<String>>,
    /// How long answers are kept, 0: not at all.
    pub ttl_s: u32,
    /// Its events have payload format 1.0.
    pub has_payload_v1: bool,
    /// It answers `isAuthorized`.
    pub has_simple_responses: bool,
}

/// Tokens that routes accept.
#[derive(Clone, Debug)]
pub struct JwtAuthorizer {
    /// `iss`.
    pub issuer: String,
    /// Where the keys are; `None`: the issuer says.
    pub jwks_url: Option<String>,
    /// One of these, as `aud` or `client_id`. Never empty.
    pub audiences: Vec<String>,
    /// One of these scopes; empty: none is asked for.
    pub scopes: Vec<String>,
}

/// A Cognito user pool that is not where AWS has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPool {
    /// `us-east-1_Ab12Cd34E`.
    pub id: Arc<str>,
    /// `iss`; `None`: AWS's.
    pub issuer: Option<String>,
    /// Where the keys are; `None`: below the issuer, as with AWS.
    pub jwks_url: Option<String>,
}

/// Keys that only one kind of authorizer has.
const JWT: &[&str] = &["issuer", "jwks_url", "audiences", "scopes"];
const REQUEST: &[&str] =
    &["function", "identity_sources", "ttl_s", "payload_format_version", "enable_simple_responses"];

pub(crate) fn authorizer(
    name: Located<Arc<str>>,
    fields: &Fields<'_, '_>,
    out: &mut Reporter<'_>,
) -> Authorizer {
    let is_request = choice(fields, "type", out) == "request";
    let (foreign, kind) = if is_request { (JWT, "request") } else { (REQUEST, "jwt") };
    for key in foreign.iter().filter(|key| fields.has(key)) {
        let message = format!("`{key}` has no use for an authorizer of type \"{kind}\"");
        out.error(fields.place(key, out), message, Some("drop it, or write another `type`".to_owned()));
    }
    let kind = if is_request {
        AuthorizerKind::Request(request(&name, fields, out))
    } else {
        AuthorizerKind::Jwt(jwt(&name, fields, out))
    };
    Authorizer { name, kind }
}

fn request(name: &Located<Arc<str>>, fields: &Fields<'_, '_>, out: &mut Reporter<'_>) -> RequestAuthorizer {
    let function = fields.text("function", out).unwrap_or_else(|| {
        let help = Some("the function that is asked: a name of [functions], or an ARN".to_owned());
        out.error(fields.at, format!("[authorizers.{}] lacks `function`", name.value), help);
        Located::new(String::new(), fields.at)
    });
    let identity_sources = fields.texts("identity_sources", out);
    let ttl_s: Option<u64> = fields.integer_if_any("ttl_s");
    if identity_sources.is_empty() && ttl_s.is_some_and(|ttl_s| ttl_s > 0) {
        let help = "all callers would share one answer: name what tells them apart".to_owned();
        let message = "`ttl_s` has no use without `identity_sources`";
        out.error(fields.place("ttl_s", out), message, Some(help));
    }
    let has_payload_v1 = choice(fields, "payload_format_version", out) == "1.0";
    let has_simple_responses = fields.bool("enable_simple_responses");
    if has_payload_v1 && has_simple_responses {
        let help = "functions that are told format 1.0 answer with a policy: drop one of the two".to_owned();
        let message = "`enable_simple_responses` expects `payload_format_version` \"2.0\", found \"1.0\"";
        out.error(fields.place("enable_simple_responses", out), message, Some(help));
    }
    let usual = if identity_sources.is_empty() { 0 } else { 300 };
    RequestAuthorizer {
        function,
        identity_sources,
        ttl_s: ttl_s.and_then(|ttl_s| u32::try_from(ttl_s).ok()).unwrap_or(usual),
        has_payload_v1,
        has_simple_responses,
    }
}

fn jwt(name: &Located<Arc<str>>, fields: &Fields<'_, '_>, out: &mut Reporter<'_>) -> JwtAuthorizer {
    for key in ["issuer", "audiences"].into_iter().filter(|key| !fields.has(key)) {
        let help = match key {
            "issuer" => "who issues the tokens: their `iss`, exactly",
            _ => "whom tokens are for: one of these as `aud`, or as `client_id`",
        };
        out.error(fields.at, format!("[authorizers.{}] lacks `{key}`", name.value), Some(help.to_owned()));
    }
    if fields.is_empty_list("audiences") {
        let help = "tokens that the issuer has made for others would be accepted".to_owned();
        out.error(fields.place("audiences", out), "`audiences` expects at least one", Some(help));
    }
    let texts = |name: &str| fields.texts(name, out).into_iter().map(|text| text.value).collect();
    let (audiences, scopes) = (texts("audiences"), texts("scopes"));
    JwtAuthorizer {
        issuer: url(fields, "issuer", out).unwrap_or_default(),
        jwks_url: url(fields, "jwks_url", out),
        audiences,
        scopes,
    }
}

pub(crate) fn user_pool(id: Located<Arc<str>>, fields: &Fields<'_, '_>, out: &mut Reporter<'_>) -> UserPool {
    if !id.value.contains('_') {
        let help = Some("for example [user_pools.us-east-1_Ab12Cd34E]".to_owned());
        out.error(id.at, format!("a user pool expects its id, REGION_ID, found \"{}\"", id.value), help);
    }
    UserPool { id: id.value, issuer: url(fields, "issuer", out), jwks_url: url(fields, "jwks_url", out) }
}

fn url(fields: &Fields<'_, '_>, key: &str, out: &mut Reporter<'_>) -> Option<String> {
    let text = fields.text(key, out)?;
    let rest = text.value.strip_prefix("https://").or_else(|| text.value.strip_prefix("http://"));
    let is_one = |rest: &str| {
        !rest.is_empty()
            && !rest.starts_with(['/', '?', ':'])
            && rest.bytes().all(|byte| byte.is_ascii_graphic())
            && !rest.contains(['#', '@', '\\'])
    };
    if !rest.is_some_and(is_one) {
        let help = "for example \"https://login.example.com\"".to_owned();
        out.error(
            text.at,
            format!("`{key}` expects an http or https URL, found \"{}\"", text.value),
            Some(help),
        );
        return None;
    }
    Some(text.value)
}
