//! What a request says of its signature, in `Authorization` or in its query.
//!
//! AWS documents no words for headers that are no signature. These are from its answers as people show them: the lists of what a
//! header lacks in aws/chalice#828, pairs without an equal-sign in awslabs/time-addressable-media-store#8. AWS says the header's hash now
//! where it said the header: what stands there is often somebody's token.

use crate::canonical::percent_decode;
use crate::{ALGORITHM, Error, Request};
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// As the request states it; nothing of it is believed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) access_key: String,
    pub(crate) date: String,
    pub(crate) region: String,
    pub(crate) service: String,
    /// Lower case.
    pub(crate) signed: Vec<String>,
    pub(crate) signature: String,
    /// `X-Amz-Date`.
    pub(crate) time: String,
    /// Seconds; only of a presigned request.
    pub(crate) expires_s: Option<u64>,
    /// Of temporary credentials.
    pub(crate) session_token: Option<String>,
}

impl Claim {
    /// # Errors
    /// [`Error::Missing`] or [`Error::Incomplete`].
    pub(crate) fn of(request: &Request<'_>) -> Result<Self, Error> {
        match request.header("authorization") {
            Some(value) => in_header(request, value),
            None => in_query(request),
        }
    }
}

fn in_header(request: &Request<'_>, value: &str) -> Result<Claim, Error> {
    let incomplete = |text: String| Err(Error::Incomplete(text));
    let (algorithm, parameters) = value.split_once([' ', '\t']).unwrap_or((value, ""));
    let mut given: [Option<&str>; 3] = [None; 3];
    let [credential, signed, signature] = &mut given;
    for parameter in parameters.split(',').map(str::trim).filter(|parameter| !parameter.is_empty()) {
        let Some((name, value_of)) = parameter.split_once('=') else {
            return incomplete(format!(
                "Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and \
                 encoded with Base64): '{}'.",
                hashed(value)
            ));
        };
        match name {
            "Credential" => *credential = Some(value_of),
            "SignedHeaders" => *signed = Some(value_of),
            "Signature" => *signature = Some(value_of),
            _ => return incomplete(format!("Authorization header has an unknown parameter '{name}'.")),
        }
    }
    let ([credential, signed, signature], time) = (given, request.header("x-amz-date"));
    let (Some(credential), Some(signed), Some(signature), Some(time)) = (credential, signed, signature, time)
    else {
        return incomplete(lacks([credential, signature, signed, time], value));
    };
    if algorithm != ALGORITHM {
        return incomplete(format!("Unsupported AWS 'algorithm': '{algorithm}'."));
    }
    claim(Parts {
        credential: credential.to_owned(),
        signed: signed.to_owned(),
        signature: signature.to_owned(),
        time: time.to_owned(),
        expires: None,
        session_token: request.header("x-amz-security-token").map(str::to_owned),
    })
}

/// All that a header lacks, as AWS lists it.
fn lacks(given: [Option<&str>; 4], value: &str) -> String {
    let needed = [
        "'Credential' parameter",
        "'Signature' parameter",
        "'SignedHeaders' parameter",
        "existence of either a 'X-Amz-Date' or a 'Date' header",
    ];
    let missing = needed.iter().zip(given).filter(|(_, given)| given.is_none());
    let mut text: String =
        missing.map(|(needed, _)| format!("Authorization header requires {needed}. ")).collect();
    text.push_str("(Hashed with SHA-256 and encoded with Base64) Authorization=");
    text.push_str(&hashed(value));
    text
}

fn hashed(value: &str) -> String {
    BASE64.encode(digest::digest(&digest::SHA256, value.as_bytes()))
}

fn in_query(request: &Request<'_>) -> Result<Claim, Error> {
    let parameter = |name: &str| {
        let pairs = request.query.split('&').filter_map(|pair| pair.split_once('='));
        let value = pairs.clone().find(|(key, _)| *key == name).map(|(_, value)| value)?;
        String::from_utf8(percent_decode(value.as_bytes())).ok()
    };
    let needed = |name: &str| {
        parameter(name)
            .ok_or_else(|| Error::Incomplete(format!("AWS query-string parameters must include '{name}'.")))
    };
    match parameter("X-Amz-Algorithm") {
        None => return Err(Error::Missing),
        Some(algorithm) if algorithm == ALGORITHM => {}
        Some(other) => return Err(Error::Incomplete(format!("Unsupported AWS 'algorithm': '{other}'."))),
    }
    claim(Parts {
        credential: needed("X-Amz-Credential")?,
        signed: needed("X-Amz-SignedHeaders")?,
        signature: needed("X-Amz-Signature")?,
        time: needed("X-Amz-Date")?,
        expires: Some(needed("X-Amz-Expires")?),
        session_token: parameter("X-Amz-Security-Token"),
    })
}

struct Parts {
    credential: String,
    signed: String,
    signature: String,
    time: String,
    expires: Option<String>,
    session_token: Option<String>,
}

fn claim(parts: Parts) -> Result<Claim, Error> {
    let credential: Vec<&str> = parts.credential.split('/').collect();
    let [access_key, date, region, service, "aws4_request"] = credential.as_slice() else {
        let text = "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got";
        return Err(Error::Incomplete(format!("{text} '{}'", parts.credential)));
    };
    let expires_s = match parts.expires {
        None => None,
        Some(text) => Some(
            text.parse()
                .map_err(|_| Error::Incomplete(format!("X-Amz-Expires should be a number, got '{text}'")))?,
        ),
    };
    Ok(Claim {
        access_key: (*access_key).to_owned(),
        date: (*date).to_owned(),
        region: (*region).to_owned(),
        service: (*service).to_owned(),
        signed: parts.signed.split(';').map(str::to_ascii_lowercase).collect(),
        signature: parts.signature,
        time: parts.time,
        expires_s,
        session_token: parts.session_token,
    })
}
