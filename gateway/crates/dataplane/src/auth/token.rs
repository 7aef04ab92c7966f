//! Tokens of user pools and other issuers.

use crate::auth::keyring::Keyring;
use crate::auth::{not_authorized, only_header};
use crate::core::Core;
use crate::exchange::{Exchange, Refused};
use sluice_jwt::{Audience, Claims, Error, Expected, TokenId, verify};
use sluice_snapshot::{TokenPlan, TokenStyle};
use sluice_telemetry::Refusal;
use sluice_wire::enc;
use std::rc::Rc;

/// How far the issuer's clock and ours may differ.
const SKEW_S: u64 = 30;

/// What an accepted token says.
pub(crate) struct Bearer {
    /// Claims as text, in the token's order.
    pub(crate) claims: Vec<(String, String)>,
}

impl Bearer {
    /// Who it was issued to.
    pub(crate) fn subject(&self) -> &str {
        self.claims.iter().find(|(name, _)| name == "sub").map_or("", |(_, value)| value)
    }
}

/// What became of a request's token.
pub(crate) enum Judged {
    Accepted(Rc<Bearer>),
    /// The keys of this provider may have changed, or were never fetched.
    Unknown(u32),
}

/// Judges the token of a request. `last`: there will be no other keys.
pub(crate) fn judge(ex: &Exchange, core: &Core, plan: &TokenPlan, last: bool) -> Result<Judged, Refused> {
    let Some(token) = sent(ex, plan) else { return Err(unauthorized(plan, None)) };
    let now_s = core.clock.unix_ms(ex.received_ns) / 1000;
    let id = TokenId::new(plan.number, token);
    if let Some(known) = core.tokens.borrow().get(&id, core.keys.generation(), now_s) {
        return Ok(Judged::Accepted(Rc::clone(known)));
    }
    let ring = core.keys.ring();
    let claims = match verified(token, plan, &ring, now_s) {
        Ok(claims) => claims,
        Err(Failed::Unknown(provider)) if !last && core.keys.may_ask(provider) => {
            return Ok(Judged::Unknown(provider));
        }
        Err(Failed::Unknown(provider)) => {
            let keys = ring.providers.get(provider as usize).and_then(|provider| provider.set.as_ref());
            return Err(match keys {
                Some(_) => unauthorized(plan, Some("the token is signed with an unknown key")),
                None => Refusal::Authorizer.into(),
            });
        }
        Err(Failed::Token(error)) => return Err(refused(plan, &error)),
    };
    if !claims.has_any_scope(plan.scopes.iter().map(|scope| &**scope)) {
        return Err(out_of_scope(plan));
    }
    let text = |(name, value): (&str, &serde_json::Value)| match plan.style {
        TokenStyle::Cognito => text(name, value),
        TokenStyle::Jwt => (name.to_owned(), plain(value)),
    };
    let bearer = Rc::new(Bearer { claims: claims.iter().map(text).collect() });
    core.tokens.borrow_mut().insert(id, ring.generation, claims.expires_s(), Rc::clone(&bearer));
    Ok(Judged::Accepted(bearer))
}

/// The token, without `Bearer`.
fn sent<'x>(ex: &'x Exchange, plan: &TokenPlan) -> Option<&'x str> {
    let value = only_header(ex, &plan.header)?.trim_ascii();
    let is_bearer = value.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("bearer "));
    let token = if is_bearer { value.get(7..).unwrap_or_default().trim_ascii() } else { value };
    (!token.is_empty()).then_some(token)
}

enum Failed {
    Unknown(u32),
    Token(Error),
}

/// The claims, by the first issuer whose token it is.
fn verified(token: &str, plan: &TokenPlan, ring: &Keyring, now_s: u64) -> Result<Claims, Failed> {
    let accepted: Vec<&str> = plan.audiences.iter().map(|one| &**one).collect();
    let mut failed = None;
    for issuer in &plan.issuers {
        let expected = Expected {
            issuer: &issuer.name,
            audience: if accepted.is_empty() { Audience::Any } else { Audience::OneOf(&accepted) },
            token_use: match plan.style {
                TokenStyle::Cognito if plan.scopes.is_empty() => Some("id"),
                TokenStyle::Cognito => Some("access"),
                TokenStyle::Jwt => None,
            },
            skew_s: SKEW_S,
        };
        let keys = ring.providers.get(issuer.provider as usize).and_then(|provider| provider.set.as_ref());
        let outcome = match keys {
            Some(keys) => verify(token, keys, &expected, now_s),
            None => Err(Error::UnknownKey(None)),
        };
        failed = match (outcome, failed) {
            (Ok(claims), _) if has_audience(&claims, plan) => return Ok(claims),
            (Ok(_), _) => Some(Failed::Token(Error::Audience)),
            // Most pools don't know the keys of the others: what one says who does counts more.
            (Err(Error::UnknownKey(_)), None) => Some(Failed::Unknown(issuer.provider)),
            (Err(Error::UnknownKey(_)), failed) => failed,
            (Err(error), _) => Some(Failed::Token(error)),
        };
    }
    Err(failed.unwrap_or(Failed::Token(Error::Issuer)))
}

/// Whether `aud`, or `client_id` of an access token, looks as the authorizer asks.
fn has_audience(claims: &Claims, plan: &TokenPlan) -> bool {
    let Some(expression) = &plan.audience else { return true };
    let audience = claims.text("aud").or_else(|| claims.text("client_id")).unwrap_or_default();
    expression.is_match(audience).unwrap_or(false)
}

/// A claim as `$context.authorizer.claims` has it: all are text there, and these two are dates.
fn text(name: &str, value: &serde_json::Value) -> (String, String) {
    use serde_json::Value;
    let one = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let text = match (name, value) {
        ("exp" | "iat", Value::Number(seconds)) => seconds.as_u64().map_or_else(|| seconds.to_string(), date),
        (_, Value::Array(list)) => list.iter().map(one).collect::<Vec<_>>().join(","),
        (_, value) => one(value),
    };
    (name.to_owned(), text)
}

/// A claim as events of HTTP APIs have it: text, with lists as `[a b]`.
fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(list) => {
            format!("[{}]", list.iter().map(plain).collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

/// `Fri Mar 27 19:18:47 UTC 2020`, as Java writes it.
fn date(unix_s: u64) -> String {
    let mut date = Vec::new();
    // `Fri, 27 Mar 2020 19:18:47 GMT`
    enc::http_date(&mut date, unix_s);
    let date = String::from_utf8_lossy(&date);
    let mut words = date.split(' ');
    let mut word = || words.next().unwrap_or_default();
    let (weekday, day, month, year, time) = (word(), word(), word(), word(), word());
    format!("{} {month} {day} {time} UTC {year}", weekday.trim_end_matches(','))
}

/// What clients are told; nothing of the token itself.
fn reason(error: &Error) -> &'static str {
    match error {
        Error::Expired => "the token has expired",
        Error::NotYet => "the token is not valid yet",
        Error::IssuedInFuture => "the token is issued in the future",
        Error::Issuer => "the token has an invalid issuer",
        Error::Audience => "the token has an invalid audience",
        Error::TokenUse => "the token is for another use",
        Error::Signature => "signature verification failed",
        Error::Algorithm(_) => "the token has an invalid algorithm",
        Error::UnknownKey(_) => "the token is signed with an unknown key",
        Error::TooLong | Error::Malformed(_) | Error::Critical | Error::Claim(_) => "the token is malformed",
    }
}

/// A token that is no good. API Gateway's authorizers of user pools say of one thing only what it is: aws-amplify/amplify-js#6060
/// shows the body, 401 and `{"message":"The incoming token has expired"}`; the error's type is `UnauthorizedException` all the same.
fn refused(plan: &TokenPlan, error: &Error) -> Refused {
    let refused = unauthorized(plan, Some(reason(error)));
    match (plan.style, error) {
        (TokenStyle::Cognito, Error::Expired) => {
            Refused { message: Some("The incoming token has expired".into()), ..refused }
        }
        _ => refused,
    }
}

fn unauthorized(plan: &TokenPlan, why: Option<&'static str>) -> Refused {
    let challenge = why.map_or_else(
        || "Bearer".to_owned(),
        |why| format!("Bearer error=\"invalid_token\" error_description=\"{why}\""),
    );
    challenged(plan, Refusal::Unauthorized, challenge)
}

/// User pools deny access as policies do.
fn out_of_scope(plan: &TokenPlan) -> Refused {
    if plan.style == TokenStyle::Cognito {
        return not_authorized("");
    }
    let scopes: Vec<&str> = plan.scopes.iter().map(|scope| &**scope).collect();
    let scopes = scopes.join(" ").replace(['"', '\\'], "");
    let challenge = format!(
        "Bearer scope=\"{scopes}\" error=\"insufficient_scope\" error_description=\"the token lacks a required scope\""
    );
    challenged(plan, Refusal::InsufficientScope, challenge)
}

fn challenged(plan: &TokenPlan, why: Refusal, challenge: String) -> Refused {
    let challenge = (plan.style == TokenStyle::Jwt).then(|| challenge.into_boxed_str());
    Refused { challenge, ..Refused::from(why) }
}

#[cfg(test)]
mod tests {
    use super::{plain, text};
    use serde_json::json;

    #[test]
    fn claims_are_text() {
        let of = |name: &str, value| text(name, &value).1;
        assert_eq!(of("exp", json!(1_585_336_727)), "Fri Mar 27 19:18:47 UTC 2020");
        assert_eq!(of("auth_time", json!(1_585_336_727)), "1585336727");
        assert_eq!(of("cognito:groups", json!(["a", "b"])), "a,b");
        assert_eq!(of("email_verified", json!(true)), "true");
        assert_eq!(of("sub", json!("u")), "u");
        assert_eq!(plain(&json!(["a", 1])), "[a 1]");
        assert_eq!(plain(&json!(1_585_336_727)), "1585336727");
    }
}
