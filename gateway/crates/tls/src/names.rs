//! Something for each host name.

use std::collections::HashMap;

/// Values by exact name, then by a wildcard for the first label (RFC 6125 6.4.3). Names are compared in lower case.
#[derive(Clone, Debug)]
pub struct Names<T> {
    exact: HashMap<Box<str>, T>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, T>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new() }
    }
}

impl<T> Names<T> {
    /// Gives `name`, exact or `*.` wildcard, in any case, a value. The first one that a name gets stays.
    pub fn add(&mut self, name: &str, value: T) {
        let name = name.to_ascii_lowercase();
        let (map, name) = match name.strip_prefix("*.") {
            Some(parent) => (&mut self.wildcard, parent),
            None => (&mut self.exact, name.as_str()),
        };
        map.entry(name.into()).or_insert(value);
    }

    /// The value for `name`, lower case.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&T> {
        self.exact.get(name).or_else(|| self.wildcard.get(name.split_once('.')?.1))
    }

    pub(crate) fn exact(&self) -> impl Iterator<Item = &str> {
        self.exact.keys().map(|name| &**name)
    }

    pub(crate) fn wildcard(&self) -> impl Iterator<Item = &str> {
        self.wildcard.keys().map(|name| &**name)
    }
}
