//! Why nobody around the process gave credentials.

use std::fmt;
use std::io;

/// What went wrong with one who was asked, or before: what was expected, and what was found. Nothing of a secret is in it.
#[derive(Debug)]
pub(super) enum Error {
    /// A variable of the environment has no use without another, which is not set.
    Lacks { variable: &'static str, without: &'static str },
    /// A variable is not what it has to be.
    Variable { name: &'static str, expected: &'static str, found: String },
    /// A token's file cannot be read.
    File { path: String, error: io::Error },
    /// A token that would be more than a header's value.
    Token,
    /// `at` is no address.
    NoUrl { at: String },
    /// There is nothing to verify `at` with.
    Authorities { at: String, why: String },
    /// Nobody answers, or not in HTTP.
    Unreachable { at: String, why: String },
    /// Another status than 200, and what the answer says of it.
    Status { at: String, found: u16, message: Option<String> },
    /// The answer is not of its form.
    Answer { at: String, expected: &'static str, found: Found },
    /// The answer says why there are none.
    Refused { at: String, code: String, message: String },
}

/// What an answer has where something else was expected. Its text may be a secret, so only its place is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No such thing.
    Nothing,
    /// Bytes that are no text, or several lines of it.
    NoText,
    /// What is no JSON, or has other members, from here on.
    Place { line: usize, column: usize },
    /// A text that is no secret.
    Text(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lacks { variable, without } => write!(f, "{variable} is set, but {without} is not"),
            Self::Variable { name, expected, found } => write!(f, "{name} expects {expected}, found {found}"),
            Self::File { path, error } => write!(f, "can't read {path}: {error}"),
            Self::Token => f.write_str("the token for the container's agent expects one line, found several"),
            Self::NoUrl { at } => write!(f, "expected an http or https URL, found {at}"),
            Self::Authorities { at, why } | Self::Unreachable { at, why } => write!(f, "{at}: {why}"),
            Self::Status { at, found, message } => {
                write!(f, "{at}: expected status 200, found {found}")?;
                message.iter().try_for_each(|message| write!(f, ": {message}"))
            }
            Self::Answer { at, expected, found } => write!(f, "{at}: expected {expected}, found {found}"),
            Self::Refused { at, code, message } => write!(f, "{at}: {code}: {message}"),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("none"),
            Self::NoText => f.write_str("what is no line of text"),
            Self::Place { line, column } => write!(f, "something else at {line}:{column}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { error, .. } => Some(error),
            _ => None,
        }
    }
}
