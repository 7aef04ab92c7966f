//! What is wrong with a template, or went wrong while it ran.

use std::fmt;

/// A fault with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The template's name.
    pub template: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What it is.
    pub kind: ErrorKind,
}

/// The kinds of faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The template is not VTL.
    Syntax {
        /// What would have been right.
        expected: String,
        /// What was there.
        found: String,
    },
    /// A Java method would have thrown, or something does not exist in API Gateway.
    Failed(String),
    /// A bound was reached.
    Limit(&'static str),
}

impl Error {
    pub(crate) fn new(template: &str, source: &str, at: usize, kind: ErrorKind) -> Self {
        let before = source.get(..at).unwrap_or(source);
        Self {
            template: template.to_owned(),
            line: 1 + before.matches('\n').count(),
            column: 1 + before.rsplit('\n').next().unwrap_or_default().chars().count(),
            kind,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { template, line, column, kind } = self;
        write!(f, "{template}:{line}:{column}: {kind}")
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { expected, found } => write!(f, "expected {expected}, found {found}"),
            Self::Failed(message) => f.write_str(message),
            Self::Limit(bound) => write!(f, "limit reached: {bound}"),
        }
    }
}

impl std::error::Error for Error {}
