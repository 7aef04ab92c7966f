//! Host name to trie.

use super::words;

/// Host names and the root node of each one's trie.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    /// Open addressing, a power of two of slots, at most half of them used. Empty when no route names a host.
    exact: Vec<Option<Host>>,
    /// `*.example.com` stands here as `example.com`.
    wildcard: Vec<Option<Host>>,
}

#[derive(Debug)]
struct Host {
    hash: u64,
    /// Lower case.
    name: Box<[u8]>,
    root: u32,
}

impl Hosts {
    /// `(name in lower case, root)` of exact names and of wildcards without their `*.`.
    pub(super) fn new(exact: Vec<(Box<[u8]>, u32)>, wildcard: Vec<(Box<[u8]>, u32)>) -> Self {
        Self { exact: table(exact), wildcard: table(wildcard) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty()
    }

    /// Calls `attempt` with the root of each trie that serves `authority`, most specific first, until it returns `true`.
    pub(super) fn visit(&self, authority: &[u8], mut attempt: impl FnMut(u32) -> bool) {
        let host = host_of(authority);
        if let Some(root) = lookup(&self.exact, host)
            && attempt(root)
        {
            return;
        }
        if self.wildcard.is_empty() {
            return;
        }
        for (at, _) in host.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'.') {
            if let Some(root) = host.get(at + 1..).and_then(|suffix| lookup(&self.wildcard, suffix))
                && attempt(root)
            {
                return;
            }
        }
    }
}

/// The host of an authority: without port and without the dot of a fully qualified name.
#[must_use]
pub fn host_of(authority: &[u8]) -> &[u8] {
    let host = match authority.iter().rposition(|b| !b.is_ascii_digit()) {
        Some(colon) if authority.get(colon) == Some(&b':') => authority.get(..colon).unwrap_or(authority),
        _ => authority,
    };
    host.strip_suffix(b".").unwrap_or(host)
}

fn table(hosts: Vec<(Box<[u8]>, u32)>) -> Vec<Option<Host>> {
    if hosts.is_empty() {
        return Vec::new();
    }
    let slots = (hosts.len() * 2).next_power_of_two();
    let mut table: Vec<Option<Host>> = std::iter::repeat_with(|| None).take(slots).collect();
    for (name, root) in hosts {
        let hash = words::host(&name);
        let free = (0..slots).map(|step| (hash as usize).wrapping_add(step) & (slots - 1));
        let free = free.into_iter().find(|at| matches!(table.get(*at), Some(None)));
        if let Some(slot) = free.and_then(|at| table.get_mut(at)) {
            *slot = Some(Host { hash, name, root });
        }
    }
    table
}

fn lookup(table: &[Option<Host>], host: &[u8]) -> Option<u32> {
    let mask = table.len().checked_sub(1)?;
    let hash = words::host(host);
    let mut at = hash as usize & mask;
    while let Some(Some(entry)) = table.get(at) {
        if entry.hash == hash && entry.name.eq_ignore_ascii_case(host) {
            return Some(entry.root);
        }
        at = (at + 1) & mask;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_final_dots_go() {
        for (authority, host) in [
            ("a.b", "a.b"),
            ("a.b:80", "a.b"),
            ("a.b.:80", "a.b"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("10.0.0.1", "10.0.0.1"),
            ("a:", "a"),
            ("", ""),
            ("80", "80"),
        ] {
            assert_eq!(host_of(authority.as_bytes()), host.as_bytes(), "{authority}");
        }
    }

    #[test]
    fn most_specific_first() {
        let name = |text: &str| text.as_bytes().into();
        let hosts = Hosts::new(
            vec![(name("api.example.com"), 1)],
            vec![(name("example.com"), 2), (name("api.example.com"), 3), (name("com"), 4)],
        );
        let visited = |authority: &str| {
            let mut roots = Vec::new();
            hosts.visit(authority.as_bytes(), |root| {
                roots.push(root);
                false
            });
            roots
        };
        assert_eq!(visited("API.Example.com:8443"), [1, 2, 4]);
        assert_eq!(visited("v1.api.example.com"), [3, 2, 4]);
        assert_eq!(visited("example.com"), [4]);
        assert_eq!(visited("example.org"), [0; 0]);
        // A wildcard needs a label in front of it.
        assert_eq!(visited(".example.com"), [4]);
    }
}
