//! Why a request is not believed.

use std::fmt;

/// Why a request is not believed; displays as AWS words it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is not signed at all.
    Missing,
    /// What a signature needs is not there, or has another form.
    Incomplete(String),
    /// Nobody has this access key.
    UnknownKey,
    /// Signed for another region, service or day.
    Scope(String),
    /// Signed too long ago, or in the future.
    Time(String),
    /// The signature is not of this request, or of another secret.
    Mismatch,
}

impl Error {
    /// AWS's name of the error.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationTokenException",
            Self::Incomplete(_) => "IncompleteSignatureException",
            Self::UnknownKey => "UnrecognizedClientException",
            Self::Scope(_) | Self::Time(_) | Self::Mismatch => "InvalidSignatureException",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Missing => "Missing Authentication Token",
            Self::Incomplete(text) | Self::Scope(text) | Self::Time(text) => text,
            Self::UnknownKey => "The security token included in the request is invalid.",
            Self::Mismatch => {
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
                 Access Key and signing method. Consult the service documentation for details."
            }
        })
    }
}

impl std::error::Error for Error {}
