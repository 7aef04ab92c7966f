//! What is wrong with a document, and where.

use std::fmt;

/// A document that is no policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    /// Where: `$.Statement[1].Effect`.
    pub path: String,
    /// What was expected there.
    pub expected: String,
    /// What was found.
    pub found: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.path, self.expected, self.found)
    }
}

impl std::error::Error for PolicyError {}

/// A place in the document, as a list that lives on the stack of the parser.
#[derive(Clone, Copy)]
pub(crate) enum At<'a> {
    Root,
    Member(&'a At<'a>, &'a str),
    Item(&'a At<'a>, usize),
}

impl<'a> At<'a> {
    pub(crate) fn member(&'a self, name: &'a str) -> At<'a> {
        At::Member(self, name)
    }

    pub(crate) fn item(&'a self, index: usize) -> At<'a> {
        At::Item(self, index)
    }

    pub(crate) fn error(&self, expected: impl Into<String>, found: impl Into<String>) -> PolicyError {
        PolicyError { path: self.to_string(), expected: expected.into(), found: found.into() }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Root => f.write_str("$"),
            At::Item(parent, index) => write!(f, "{parent}[{index}]"),
            At::Member(parent, name) if name.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                write!(f, "{parent}.{name}")
            }
            At::Member(parent, name) => write!(f, "{parent}[{name:?}]"),
        }
    }
}
