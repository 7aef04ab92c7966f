//! What a token says (RFC 7519, section 4.1), and what is asked of it.

use crate::error::Error;
use crate::object::Object;
use serde_json::{Map, Value};

/// A verified token's claims.
#[derive(Debug, Clone)]
pub struct Claims {
    members: Map<String, Value>,
    expires_s: u64,
}

impl Claims {
    /// Parses a payload. `exp` must be there: a token that never ends is none that API Gateway accepts.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, Error> {
        let members = Object::parse(payload).ok_or(Error::Malformed("a payload that is a JSON object"))?;
        let expires_s = time(&members, "exp")?.ok_or(Error::Claim("exp"))?;
        Ok(Self { members, expires_s })
    }

    /// When the token ends, in seconds since 1970.
    pub fn expires_s(&self) -> u64 {
        self.expires_s
    }

    /// A claim.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }

    /// A claim that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    /// All claims.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.members.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The scopes: of `scope` (RFC 8693, section 4.2), or of `scp`, which some providers use, as text or list.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        let claim = self.get("scope").or_else(|| self.get("scp"));
        let list = claim.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let text = claim.and_then(Value::as_str).unwrap_or_default();
        text.split(' ').filter(|scope| !scope.is_empty()).chain(list.iter().filter_map(Value::as_str))
    }

    /// Whether the token has one of the scopes that a method asks for: all tokens do if it asks for none.
    pub fn has_any_scope<'s>(&self, wanted: impl IntoIterator<Item = &'s str>) -> bool {
        let mut wanted = wanted.into_iter().peekable();
        wanted.peek().is_none() || wanted.any(|wanted| self.scopes().any(|scope| scope == wanted))
    }
}

/// Which audience is right.
#[derive(Debug, Clone, Copy)]
pub enum Audience<'a> {
    /// Any: a `COGNITO_USER_POOLS` authorizer trusts all app clients of its pools.
    Any,
    /// One of these, as `aud`, or as `client_id` where there is no `aud`.
    /// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-jwt-authorizer.html>
    OneOf(&'a [&'a str]),
}

/// What a token must say.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// `iss`, exactly.
    pub issuer: &'a str,
    /// `aud` or `client_id`.
    pub audience: Audience<'a>,
    /// Cognito's `token_use`: `id` or `access`.
    pub token_use: Option<&'a str>,
    /// How far clocks may differ.
    pub skew_s: u64,
}

impl Expected<'_> {
    /// Whether the claims are right at `now_s`. A token ends at its `exp`, not after it (RFC 7519, section 4.1.4).
    pub fn check(&self, claims: &Claims, now_s: u64) -> Result<(), Error> {
        let members = &claims.members;
        if now_s >= claims.expires_s.saturating_add(self.skew_s) {
            return Err(Error::Expired);
        }
        let latest_s = now_s.saturating_add(self.skew_s);
        if time(members, "nbf")?.is_some_and(|from_s| from_s > latest_s) {
            return Err(Error::NotYet);
        }
        if time(members, "iat")?.is_some_and(|issued_s| issued_s > latest_s) {
            return Err(Error::IssuedInFuture);
        }
        if claims.text("iss") != Some(self.issuer) {
            return Err(Error::Issuer);
        }
        if let Audience::OneOf(accepted) = self.audience {
            let right = |found: &Value| found.as_str().is_some_and(|found| accepted.contains(&found));
            let found = match (claims.get("aud"), claims.get("client_id")) {
                (Some(Value::Array(list)), _) => list.iter().any(right),
                (Some(one), _) | (None, Some(one)) => right(one),
                (None, None) => false,
            };
            if !found {
                return Err(Error::Audience);
            }
        }
        match self.token_use {
            Some(wanted) if claims.text("token_use") != Some(wanted) => Err(Error::TokenUse),
            _ => Ok(()),
        }
    }
}

/// A NumericDate: seconds, maybe with a fraction, which is cut off.
fn time(members: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, Error> {
    let Some(value) = members.get(name) else { return Ok(None) };
    if let Some(whole) = value.as_u64() {
        return Ok(Some(whole));
    }
    match value.as_f64() {
        // The cast saturates.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Some(seconds) if seconds >= 0.0 => Ok(Some(seconds as u64)),
        _ => Err(Error::Claim(name)),
    }
}
