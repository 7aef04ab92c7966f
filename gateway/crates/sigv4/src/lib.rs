//! AWS Signature Version 4: sign a request, and verify one, in its `Authorization` header or presigned in its query.
//!
//! A request is seen as it is on the wire: its path is percent-encoded once already, and the canonical form encodes it
//! again, as all services but S3 do ("Create a canonical request", AWS IAM user guide). The time, and the secret that
//! belongs to an access key, arrive as arguments.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod authorization;
mod canonical;
mod error;
mod payload;
mod time;
mod verify;

pub use canonical::percent_decode;
pub use error::Error;
pub use payload::{Accepts, Chunks};
pub use time::{amz_date, parse_amz_date};
pub use verify::{Credential, Expected, Identity, SigningKey, Verified, explain, verify, verify_by};

use aws_lc_rs::{digest, hmac};

/// The only algorithm.
pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// A request as it is on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Upper case.
    pub method: &'a str,
    /// Percent-encoded, without the query.
    pub path: &'a str,
    /// Without `?`; empty if there is none.
    pub query: &'a str,
    /// Names in any case; in the order of the wire.
    pub headers: &'a [(&'a str, &'a str)],
    /// All of it.
    pub body: &'a [u8],
}

impl Request<'_> {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}

/// What a signature is valid for: `20150830/us-east-1/iam/aws4_request`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope<'a> {
    /// `YYYYMMDD`.
    pub date: &'a str,
    /// For example `eu-west-1`.
    pub region: &'a str,
    /// For example `apigateway`.
    pub service: &'a str,
}

/// The signature of a request, in hexadecimal. `signed` names the headers that it covers, lower case and sorted; `time` is
/// the value of `X-Amz-Date`.
pub fn signature(
    request: &Request<'_>,
    secret: &str,
    scope: Scope<'_>,
    time: &str,
    signed: &[&str],
) -> String {
    hex(&compute(request, secret, scope, time, (signed, None)))
}

pub(crate) fn compute(
    request: &Request<'_>,
    secret: &str,
    scope: Scope<'_>,
    time: &str,
    (signed, payload): (&[&str], Option<&str>),
) -> Vec<u8> {
    let canonical = match scope.service {
        "s3" => canonical::request_of_s3(request, signed),
        _ => canonical::request(request, signed, payload),
    };
    SigningKey::derive(secret, scope).sign(&string_to_sign(&canonical, scope, time))
}

pub(crate) fn string_to_sign(canonical: &str, scope: Scope<'_>, time: &str) -> String {
    let hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    format!("{ALGORITHM}\n{time}\n{scope}\n{hash}")
}

impl std::fmt::Display for Scope<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}/{}/aws4_request", self.date, self.region, self.service)
    }
}

/// The value of `Authorization` for a request that has `X-Amz-Date` and all other headers already.
pub fn authorization(
    request: &Request<'_>,
    credentials: (&str, &str),
    scope: Scope<'_>,
    time: &str,
) -> String {
    authorization_of(request, None, credentials, scope, time)
}

/// The same of a request whose body has been hashed before: see [`payload_hash`]. Not for S3.
pub fn authorization_of(
    request: &Request<'_>,
    payload: Option<&str>,
    (access_key, secret): (&str, &str),
    scope: Scope<'_>,
    time: &str,
) -> String {
    let names: Vec<String> = request.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    let mut signed: Vec<&str> = names.iter().map(String::as_str).collect();
    signed.sort_unstable();
    signed.dedup();
    let Scope { date, region, service } = scope;
    format!(
        "{ALGORITHM} Credential={access_key}/{date}/{region}/{service}/aws4_request, SignedHeaders={}, Signature={}",
        signed.join(";"),
        hex(&compute(request, secret, scope, time, (&signed, payload)))
    )
}

/// The value of `X-Amz-Content-Sha256`, which S3 asks for, of a body.
pub fn payload_hash(body: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, body).as_ref())
}

pub(crate) fn mac(key: &[u8], message: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .bytes()
        .map(|byte| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        })
        .collect();
    let (pairs, rest) = digits.as_deref()?.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests;
