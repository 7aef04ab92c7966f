//! What a listener serves: one configuration, or one for each policy towards clients.
//!
//! ```text
//! ClientHello -- offers acme-tls/1, and a challenge waits --> the challenge's configuration (RFC 8737)
//!      \-- names a host with a policy of its own ----------> that policy's
//!      \-- else ------------------------------------------> the first
//! ```
//! A policy's configuration has the certificates of its own names only, so whichever is chosen, no name is served by
//! another's rules. The hello is looked at before the handshake only where there is a choice, and by rustls' own parser, so
//! that what was chosen by and what is then answered cannot differ.

use crate::names::Names;
use rustls::ServerConfig;
use rustls::server::{Acceptor, ClientHello};
use std::fmt;
use std::sync::Arc;

/// The protocol that an ACME server names to see a certificate made for it (RFC 8737 6.2).
pub const ACME_TLS_ALPN: &[u8] = b"acme-tls/1";

/// What a TLS listener serves.
#[derive(Clone)]
pub struct Endpoint {
    first: Arc<ServerConfig>,
    /// Those of the policies from the second on.
    others: Vec<Arc<ServerConfig>>,
    policy_of: Names<usize>,
    /// Those that serve nobody without a certificate.
    closed: Vec<usize>,
    challenge: Option<Arc<ServerConfig>>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("policies", &(1 + self.others.len()))
            .field("challenge", &self.challenge.is_some())
            .finish_non_exhaustive()
    }
}

impl From<Arc<ServerConfig>> for Endpoint {
    fn from(first: Arc<ServerConfig>) -> Self {
        Self::by_name(first, Vec::new(), Names::default())
    }
}

impl Endpoint {
    /// By policies, the first for names that none is for; `policy_of` says by index which names have which.
    #[must_use]
    pub fn by_name(
        first: Arc<ServerConfig>,
        others: Vec<Arc<ServerConfig>>,
        policy_of: Names<usize>,
    ) -> Self {
        Self { first, others, policy_of, closed: Vec::new(), challenge: None }
    }

    /// Says of policies, by index, that they require a certificate of every client.
    pub fn close(&mut self, policies: impl Iterator<Item = usize>) {
        self.closed.extend(policies);
    }

    /// Answers ACME servers that want to see a challenge met with `config`, until it is set to `None` again.
    pub fn set_challenge(&mut self, config: Option<Arc<ServerConfig>>) {
        self.challenge = config;
    }

    /// Whether every name is served over every connection: all have the same policy, and it requires no certificate.
    #[must_use]
    #[inline]
    pub fn is_open(&self) -> bool {
        self.others.is_empty() && self.closed.is_empty()
    }

    /// The policy of a name, in any case. One who named a host of one policy must not be served another's.
    #[must_use]
    pub fn policy_of(&self, name: Option<&str>) -> usize {
        let of = |name: &str| self.policy_of.find(&name.to_ascii_lowercase()).copied();
        name.and_then(of).unwrap_or(0)
    }

    /// Whether a policy requires a certificate.
    #[must_use]
    pub fn is_closed(&self, policy: usize) -> bool {
        self.closed.contains(&policy)
    }

    /// The configuration where there is no choice.
    pub(crate) fn only(&self) -> Option<&Arc<ServerConfig>> {
        (self.others.is_empty() && self.challenge.is_none()).then_some(&self.first)
    }

    /// The one for a client.
    pub(crate) fn choose(&self, hello: &ClientHello<'_>) -> &Arc<ServerConfig> {
        if let Some(challenge) = &self.challenge
            && hello.alpn().is_some_and(|mut offered| offered.any(|name| name == ACME_TLS_ALPN))
        {
            return challenge;
        }
        let policy = self.policy_of(hello.server_name());
        policy.checked_sub(1).and_then(|at| self.others.get(at)).unwrap_or(&self.first)
    }

    /// The first, which tells a client with a broken hello what is wrong with it.
    pub(crate) fn first(&self) -> &Arc<ServerConfig> {
        &self.first
    }
}

/// Waits for the whole ClientHello.
#[derive(Default)]
pub(crate) struct Listener(Acceptor);

/// What has come of it.
pub(crate) enum Heard {
    /// Too little.
    More,
    /// The configuration for this client.
    Chosen(Arc<ServerConfig>),
}

impl Listener {
    pub(crate) fn hear(&mut self, mut bytes: &[u8], endpoint: &Endpoint) -> Heard {
        while !bytes.is_empty() {
            // Fails when the message is too long, and then says so on accepting as well.
            match self.0.read_tls(&mut bytes) {
                Ok(read) if read > 0 => {}
                _ => return Heard::Chosen(Arc::clone(endpoint.first())),
            }
            match self.0.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    return Heard::Chosen(Arc::clone(endpoint.choose(&accepted.client_hello())));
                }
                Err(_) => return Heard::Chosen(Arc::clone(endpoint.first())),
            }
        }
        Heard::More
    }
}
