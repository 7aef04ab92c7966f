//! JSON Web Tokens: verified, never made.
//!
//! ```text
//! bytes ── KeySet::parse ──> KeySet ┐
//!           off the data cores      ├─ verify (now) ──> Claims ── Verified (per core) ──> a look-up until `exp`
//! token ────────────────────────────┘
//! ```
//!
//! What is decided here and by nothing in the token: **which key** (one of the set; `jwk`, `jku`, `x5c` and `x5u` of the
//! header are never read), and **which algorithm** (the key's: its JWK's `alg`, or what `kty` and `crv` allow; the header's
//! `alg` only has to agree). So there is no `none`, and no HMAC with a public key: symmetric keys are not even parsed.
//! A header with `crit` is refused, because no extension is known here (RFC 7515, section 4.1.11).
//!
//! [`Discovery`] reads an OpenID provider's document; fetching it, and the key set that it names, is the caller's.
//!
//! No I/O, no clock, no threads, no panic.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod algorithm;
mod base64;
mod cache;
mod claims;
mod discovery;
mod error;
mod jws;
mod key;
mod object;
#[cfg(test)]
mod tests;

pub use algorithm::Algorithm;
pub use cache::{TokenId, Verified};
pub use claims::{Audience, Claims, Expected};
pub use discovery::{Discovery, discovery_url};
pub use error::{DocumentError, Error};
pub use jws::verify_signature;
pub use key::{KeySet, Skipped};

/// The longest token. API Gateway takes 10,240 bytes of all header fields together.
pub const MAX_TOKEN_BYTES: usize = 16 << 10;

/// The longest key set or discovery document.
pub const MAX_DOCUMENT_BYTES: usize = 512 << 10;

/// The most keys of a set.
pub const MAX_KEYS: usize = 256;

/// Verifies a token in compact form: its signature by one of `keys`, then its claims at `now_s`, in seconds since 1970.
pub fn verify(token: &str, keys: &KeySet, expected: &Expected<'_>, now_s: u64) -> Result<Claims, Error> {
    let payload = verify_signature(token, keys)?;
    let claims = Claims::parse(&payload)?;
    expected.check(&claims, now_s)?;
    Ok(claims)
}
