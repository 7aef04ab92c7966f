//! The compact serialization (RFC 7515, section 7.1): header, payload and signature.

use crate::MAX_TOKEN_BYTES;
use crate::algorithm::Algorithm;
use crate::base64;
use crate::error::Error;
use crate::key::KeySet;
use crate::object::Object;
use serde_json::Value;

/// The payload of a token that one of `keys` has signed.
pub fn verify_signature(token: &str, keys: &KeySet) -> Result<Vec<u8>, Error> {
    const PARTS: Error = Error::Malformed("three parts: header.payload.signature");
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Error::TooLong);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(PARTS)?;
    let (header, payload) = signed.split_once('.').ok_or(PARTS)?;
    if payload.contains('.') {
        return Err(PARTS);
    }
    let (algorithm, kid) = read_header(header)?;
    let signature = base64::decode(signature).ok_or(Error::Malformed("a signature in base64url"))?;
    let payload = base64::decode(payload).ok_or(Error::Malformed("a payload in base64url"))?;
    let mut tried = false;
    for key in keys.candidates(kid.as_deref(), algorithm) {
        if key.verify_sig(signed.as_bytes(), &signature).is_ok() {
            return Ok(payload);
        }
        tried = true;
    }
    Err(if tried { Error::Signature } else { Error::UnknownKey(kid) })
}

/// The algorithm, and the name of the key if there is one. Nothing else of a header matters here.
fn read_header(header: &str) -> Result<(Algorithm, Option<String>), Error> {
    const HEADER: Error = Error::Malformed("a header that is a JSON object in base64url");
    let mut members = base64::decode(header).and_then(|json| Object::parse(&json)).ok_or(HEADER)?;
    if members.contains_key("crit") {
        return Err(Error::Critical);
    }
    let Some(Value::String(alg)) = members.get("alg") else {
        return Err(Error::Malformed("a header with alg"));
    };
    let Some(algorithm) = Algorithm::named(alg) else {
        return Err(Error::Algorithm(alg.chars().take(32).collect()));
    };
    let kid = match members.remove("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid),
        Some(_) => return Err(Error::Malformed("a kid that is a text")),
    };
    Ok((algorithm, kid))
}
