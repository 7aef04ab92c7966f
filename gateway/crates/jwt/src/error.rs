//! Why a token or a document is refused.

use std::fmt;

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Longer than [`crate::MAX_TOKEN_BYTES`].
    TooLong,
    /// Not three parts of strict base64url with JSON objects in the first two: what was expected.
    Malformed(&'static str),
    /// An `alg` that no key may use: `none`, HMAC, or an unknown name.
    Algorithm(String),
    /// A header field `crit`.
    Critical,
    /// No key of the set has this `kid` and algorithm: the set may be old.
    UnknownKey(Option<String>),
    /// The signature is not one of the key.
    Signature,
    /// A claim that must be there is not, or has another type.
    Claim(&'static str),
    /// `exp` has passed.
    Expired,
    /// `nbf` is to come.
    NotYet,
    /// `iat` is to come.
    IssuedInFuture,
    /// `iss` is another.
    Issuer,
    /// Neither `aud` nor `client_id` is one that is accepted.
    Audience,
    /// `token_use` is another.
    TokenUse,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "longer than {} bytes", crate::MAX_TOKEN_BYTES),
            Self::Malformed(expected) => write!(f, "malformed: expected {expected}"),
            Self::Algorithm(found) => write!(f, "algorithm {found:?} is not accepted"),
            Self::Critical => f.write_str("it has critical header fields that are not understood"),
            Self::UnknownKey(Some(kid)) => write!(f, "no key {kid:?} of its algorithm"),
            Self::UnknownKey(None) => f.write_str("no key of its algorithm, and it names none"),
            Self::Signature => f.write_str("signature verification failed"),
            Self::Claim(name) => write!(f, "claim {name} is missing or has the wrong type"),
            Self::Expired => f.write_str("the token has expired"),
            Self::NotYet => f.write_str("the token is not valid yet"),
            Self::IssuedInFuture => f.write_str("the token is issued in the future"),
            Self::Issuer => f.write_str("the issuer is another"),
            Self::Audience => f.write_str("the audience is another"),
            Self::TokenUse => f.write_str("the token is for another use"),
        }
    }
}

impl std::error::Error for Error {}

/// Why a key set or a discovery document is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentError {
    /// What was expected.
    pub expected: String,
    /// What was found.
    pub found: String,
}

impl DocumentError {
    pub(crate) fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { expected: expected.into(), found: found.into() }
    }
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}

impl std::error::Error for DocumentError {}
