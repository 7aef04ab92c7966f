//! `[authorizers.NAME]` and `[user_pools.ID]`: whose tokens are accepted.

use crate::diagnostic::{Located, Reporter};
use crate::read::Fields;
use crate::settings::{JwtAuthorizer, UserPool};
use std::sync::Arc;

pub(crate) fn authorizer(
    name: Located<Arc<str>>,
    fields: &Fields<'_, '_>,
    out: &mut Reporter<'_>,
) -> JwtAuthorizer {
    if fields.is_empty_list("audiences") {
        let help = "tokens that the issuer has made for others would be accepted".to_owned();
        out.error(fields.place("audiences", out), "`audiences` expects at least one", Some(help));
    }
    let texts = |name: &str| fields.texts(name, out).into_iter().map(|text| text.value).collect();
    let (audiences, scopes) = (texts("audiences"), texts("scopes"));
    JwtAuthorizer {
        name,
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
