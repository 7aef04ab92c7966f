//! JSON Web Tokens, good ones and others, from an issuer of our own.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use serde_json::{Value, json};

use crate::signer::now_s;

/// Base64url without padding.
pub fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let word =
            group.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for at in 0..=group.len() {
            out.push(char::from(DIGITS[(word >> (18 - 6 * at)) as usize & 63]));
        }
    }
    out
}

/// One RSA key under a name.
pub struct TokenKey {
    pub kid: String,
    pair: KeyPair,
}

impl TokenKey {
    pub fn new(kid: &str) -> Self {
        Self { kid: kid.to_owned(), pair: KeyPair::generate(KeySize::Rsa2048).unwrap() }
    }

    /// As it stands in a key set.
    pub fn jwk(&self) -> Value {
        // RSAPublicKey (RFC 8017, A.1.1): a sequence of n, whose 256 bytes have a zero before them, and e, here 65537.
        let der = self.pair.public_key().as_ref();
        let n = base64url(&der[9..265]);
        json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid, "n": n, "e": "AQAB" })
    }

    /// Signs these claims, with these members of the header beside or in place of the usual ones.
    pub fn sign_with(&self, header: Value, claims: &Value) -> String {
        let mut whole = json!({ "alg": "RS256", "typ": "JWT", "kid": self.kid });
        whole.as_object_mut().unwrap().extend(header.as_object().unwrap().clone());
        let signed = unsigned(&whole, claims);
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", base64url(&signature))
    }

    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(json!({}), claims)
    }

    /// What a verifier would accept that takes the public key for the secret of an HMAC.
    pub fn confused(&self, claims: &Value) -> String {
        let signed = unsigned(&json!({ "alg": "HS256", "kid": self.kid }), claims);
        let key: PublicKeyX509Der<'_> = self.pair.public_key().as_der().unwrap();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()), signed.as_bytes());
        format!("{signed}.{}", base64url(tag.as_ref()))
    }
}

/// Header and claims of a token, without a signature.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()))
}

/// Claims of a token of `issuer` that is good for an hour, with these beside or in place of the usual ones; null takes one
/// away.
pub fn claims(issuer: &str, more: Value) -> Value {
    let now = now_s();
    let mut claims = json!({ "iss": issuer, "sub": "ana", "iat": now, "exp": now + 3600 });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}
