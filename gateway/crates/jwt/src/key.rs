//! Keys from a JWK Set (RFC 7517, RFC 7518 section 6, RFC 8037).

use crate::MAX_KEYS;
use crate::algorithm::Algorithm;
use crate::base64;
use crate::error::DocumentError;
use crate::object::Object;
use aws_lc_rs::signature::ParsedPublicKey;
use serde_json::{Map, Value};

/// Keys to verify with, parsed once.
#[derive(Clone)]
pub struct KeySet {
    keys: Box<[Key]>,
    skipped: Box<[Skipped]>,
}

/// A key of the document that is not used: a set may hold keys of kinds that a reader does not know, and those “SHOULD be
/// ignored” (RFC 7517, section 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its place in the set, from 0.
    pub index: usize,
    /// Why.
    pub reason: &'static str,
}

#[derive(Clone)]
struct Key {
    kid: Option<Box<str>>,
    /// For each algorithm that the key may be used with.
    parsed: Box<[(Algorithm, ParsedPublicKey)]>,
}

/// How many keys are tried for a token that names none.
const TRIED_WITHOUT_KID: usize = 4;

impl KeySet {
    /// Parses a JWK Set.
    pub fn parse(document: &[u8]) -> Result<Self, DocumentError> {
        let members = Object::document(document)?;
        let Some(Value::Array(list)) = members.get("keys") else {
            return Err(DocumentError::new("a JWK Set with a list \"keys\"", "none"));
        };
        if list.len() > MAX_KEYS {
            return Err(DocumentError::new(format!("at most {MAX_KEYS} keys"), list.len().to_string()));
        }
        let (mut keys, mut skipped) = (Vec::new(), Vec::new());
        for (index, jwk) in list.iter().enumerate() {
            match jwk.as_object().ok_or("no object").and_then(key) {
                Ok(key) => keys.push(key),
                Err(reason) => skipped.push(Skipped { index, reason }),
            }
        }
        Ok(Self { keys: keys.into(), skipped: skipped.into() })
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none can.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// What was left out.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Keys that may have signed with `algorithm`: those with this `kid`, or the first few if the token names none.
    pub(crate) fn candidates(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &ParsedPublicKey> {
        let tried = if kid.is_some() { self.keys.len() } else { TRIED_WITHOUT_KID };
        self.keys
            .iter()
            .filter(move |key| kid.is_none() || key.kid.as_deref() == kid)
            .filter_map(move |key| {
                key.parsed.iter().find(|(of, _)| *of == algorithm).map(|(_, parsed)| parsed)
            })
            .take(tried)
    }
}

fn key(jwk: &Map<String, Value>) -> Result<Key, &'static str> {
    let text = |name| jwk.get(name).and_then(Value::as_str);
    if jwk.contains_key("use") && text("use") != Some("sig") {
        return Err("not for signatures");
    }
    if let Some(operations) = jwk.get("key_ops") {
        let verify = operations.as_array().is_some_and(|list| list.iter().any(|one| one == "verify"));
        if !verify {
            return Err("not for verification");
        }
    }
    if ["d", "p", "q", "k"].iter().any(|secret| jwk.contains_key(*secret)) {
        return Err("a secret key in a public set");
    }
    let kid = match jwk.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.as_str().into()),
        Some(_) => return Err("kid is no text"),
    };
    let alg = match jwk.get("alg") {
        None => None,
        Some(alg) => Some(alg.as_str().and_then(Algorithm::named).ok_or("unknown alg")?),
    };
    let parsed = match text("kty") {
        Some("RSA") => rsa(jwk, alg)?,
        Some("EC") => elliptic(jwk)?,
        Some("OKP") if text("crv") == Some("Ed25519") => {
            let x = number(jwk, "x").filter(|x| x.len() == 32).ok_or("x is not 32 bytes")?;
            parsed(Algorithm::EdDsa, Algorithm::EdDsa.point_key(&x))?
        }
        _ => return Err("unknown kty or crv"),
    };
    if alg.is_some_and(|alg| parsed.iter().all(|(of, _)| *of != alg)) {
        return Err("alg is not one of its kty and crv");
    }
    Ok(Key { kid, parsed })
}

type Parsed = Box<[(Algorithm, ParsedPublicKey)]>;

fn parsed(algorithm: Algorithm, key: Option<ParsedPublicKey>) -> Result<Parsed, &'static str> {
    Ok(Box::new([(algorithm, key.ok_or("no point of its curve")?)]))
}

fn rsa(jwk: &Map<String, Value>, alg: Option<Algorithm>) -> Result<Parsed, &'static str> {
    let n = number(jwk, "n").ok_or("n is no number")?;
    let e = number(jwk, "e").ok_or("e is no number")?;
    let (n, e) = (without_zeros(&n), without_zeros(&e));
    // From 2048 bits (RFC 7518, section 3.3) to 8192: what is longer costs the reader more than the sender.
    let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
    if !(2048..=8192).contains(&bits) || e.is_empty() || e.len() > 4 {
        return Err("RSA outside 2048 to 8192 bits, or its exponent above 32");
    }
    let algorithms = alg.as_ref().map_or(Algorithm::OF_RSA, std::slice::from_ref);
    let one = |algorithm: &Algorithm| Some((*algorithm, algorithm.rsa_key(n, e)?));
    algorithms.iter().map(one).collect::<Option<Parsed>>().ok_or("no RSA key")
}

fn elliptic(jwk: &Map<String, Value>) -> Result<Parsed, &'static str> {
    let (algorithm, bytes) = match jwk.get("crv").and_then(Value::as_str) {
        Some("P-256") => (Algorithm::Es256, 32),
        Some("P-384") => (Algorithm::Es384, 48),
        Some("P-521") => (Algorithm::Es512, 66),
        _ => return Err("unknown crv"),
    };
    let coordinate = |name| number(jwk, name).filter(|number| number.len() == bytes);
    let x = coordinate("x").ok_or("x has not the curve's length")?;
    let y = coordinate("y").ok_or("y has not the curve's length")?;
    let mut point = vec![4]; // Uncompressed (SEC 1, section 2.3.3).
    point.extend(x);
    point.extend(y);
    parsed(algorithm, algorithm.point_key(&point))
}

fn number(jwk: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    base64::decode(jwk.get(name)?.as_str()?)
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}
