//! What a request brings to conditions and variables.

use std::collections::HashMap;
use std::net::IpAddr;

/// A condition key: its name in lower case, because AWS compares these without regard to case.
///
/// `aws:PrincipalTag/Team` keeps the part after the slash apart: AWS documents tag keys in conditions as not
/// case-sensitive either.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(Box<str>);

impl Key {
    /// The key of this name.
    pub fn new(name: &str) -> Self {
        Self(name.to_ascii_lowercase().into())
    }

    /// In lower case: `aws:sourceip`.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// A key's value in one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A text; numbers, times, addresses and booleans may also come as text.
    Text(&'a str),
    /// Several texts: `aws:PrincipalOrgPaths`, `aws:TagKeys`.
    Texts(&'a [&'a str]),
    /// A number.
    Number(f64),
    /// `true` or `false`.
    Bool(bool),
    /// An address.
    Ip(IpAddr),
    /// A time, in milliseconds since 1970.
    TimeMs(i64),
}

/// Where evaluation asks for a key's value. `None` is a key that the request does not have.
pub trait Context {
    /// The value of a key, asked for by its name in lower case.
    fn value(&self, name: &str) -> Option<Value<'_>>;
}

/// A context that is a table: for tests, and where speed does not matter.
#[derive(Debug, Clone, Default)]
pub struct Map<'a>(HashMap<Box<str>, Value<'a>>);

impl<'a> Map<'a> {
    /// With one more value.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value<'a>) -> Self {
        self.0.insert(name.to_ascii_lowercase().into(), value);
        self
    }
}

impl Context for Map<'_> {
    fn value(&self, name: &str) -> Option<Value<'_>> {
        self.0.get(name).copied()
    }
}
