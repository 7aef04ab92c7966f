//! TLS as a core sees it: what listeners serve, how upstreams are reached, and how many handshakes are under way.

use crate::core::Core;
use crate::exchange::Exchange;
use sluice_server::Secure;
use sluice_snapshot::{MockResponse, host_of};
use sluice_telemetry::{HandshakeFailure, Refusal};
use sluice_tls::{ClientConfig, Endpoint, Facts, HandshakeError, ServerName};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Everything about TLS that is published with a snapshot.
#[derive(Clone, Default)]
pub struct TlsPlan {
    /// For the TLS listeners; `None` where there are none.
    pub server: Option<Arc<Endpoint>>,
    /// For a whole handshake, milliseconds.
    pub handshake_timeout_ms: u64,
    /// Handshakes at once, per core.
    pub max_handshakes: usize,
    /// By `UpstreamId`; `None`: plain.
    pub upstreams: Vec<Option<UpstreamTls>>,
    /// For the backends of REST APIs: verified by the system's authorities.
    pub backends: Option<Arc<ClientConfig>>,
    /// The same, of unknown issuers too.
    pub backends_of_any_issuer: Option<Arc<ClientConfig>>,
    /// Answers that ACME servers wait for, by token (RFC 8555 8.3).
    pub http_challenges: HashMap<Box<str>, Arc<MockResponse>>,
}

impl TlsPlan {
    /// What answers a challenge over plain HTTP, ahead of all routes.
    #[inline]
    pub(crate) fn challenge(&self, ex: &Exchange) -> Option<Arc<MockResponse>> {
        if self.http_challenges.is_empty() || ex.tls.is_some() {
            return None;
        }
        let path = std::str::from_utf8(ex.head.path.of(ex.bytes.as_slice())).ok()?;
        self.http_challenges.get(path.strip_prefix("/.well-known/acme-challenge/")?).cloned()
    }

    /// Why a request must not be served over its connection, if so. Where no host is particular about that, nothing is
    /// looked up.
    #[inline]
    pub(crate) fn refusal(&self, ex: &Exchange) -> Option<Refusal> {
        let endpoint = self.server.as_ref().filter(|endpoint| !endpoint.is_open())?;
        out_of_place(endpoint, ex)
    }
}

/// A request must name a host with the same rules for client certificates as the one that its connection was made for: who
/// may reach that one must not reach this one by it (RFC 9110 7.4). And a host that requires certificates is reached with
/// one only: not in clear text, and not over a connection that is older than the rule.
fn out_of_place(endpoint: &Endpoint, ex: &Exchange) -> Option<Refusal> {
    let host = std::str::from_utf8(host_of(ex.head.authority.of(ex.bytes.as_slice()))).ok();
    let policy = endpoint.policy_of(host);
    let is_closed = endpoint.is_closed(policy);
    let Some(facts) = &ex.tls else {
        return is_closed.then_some(Refusal::CertificateMissing);
    };
    let is_of_another = policy != endpoint.policy_of(facts.server_name.as_deref());
    (is_of_another || (is_closed && !facts.is_peer_verified)).then_some(Refusal::Misdirected)
}

/// TLS towards one upstream group.
#[derive(Clone)]
pub struct UpstreamTls {
    /// Authorities and our certificate.
    pub config: Arc<ClientConfig>,
    /// Name asked for and verified; `None`: the target's host.
    pub server_name: Option<ServerName<'static>>,
}

impl fmt::Debug for TlsPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsPlan")
            .field("server", &self.server.is_some())
            .field("upstreams", &self.upstreams.iter().filter(|u| u.is_some()).count())
            .finish_non_exhaustive()
    }
}

/// `host:port`, `[ipv6]:port` or `host`, as the name to verify.
pub(crate) fn server_name(authority: &str) -> Option<ServerName<'static>> {
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inner, _)) => inner,
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    };
    ServerName::try_from(host.to_owned()).ok()
}

impl Core {
    /// How to shake hands with a client, unless too many are at it.
    pub(crate) fn handshake_begins(&self) -> Option<Secure> {
        let view = self.view();
        let endpoint = view.tls.server.clone()?;
        if self.handshakes.get() >= view.tls.max_handshakes {
            self.metrics.handshake_failed(HandshakeFailure::TooMany);
            return None;
        }
        self.handshakes.set(self.handshakes.get() + 1);
        Some(Secure { endpoint, timeout_ms: view.tls.handshake_timeout_ms })
    }

    pub(crate) fn handshake_ended(&self, outcome: Option<Result<&Facts, &HandshakeError>>) {
        self.handshakes.set(self.handshakes.get().saturating_sub(1));
        match outcome {
            Some(Ok(facts)) => self.metrics.handshake(facts.resumed),
            Some(Err(error)) => self.metrics.handshake_failed(HandshakeFailure::by_label(error.label())),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::server_name;

    #[test]
    fn authorities_name_who_is_verified() {
        let name = |authority: &str| server_name(authority).map(|name| name.to_str().into_owned());
        assert_eq!(name("users.internal:9001").as_deref(), Some("users.internal"));
        assert_eq!(name("users.internal").as_deref(), Some("users.internal"));
        assert_eq!(name("127.0.0.1:9001").as_deref(), Some("127.0.0.1"));
        assert_eq!(name("[::1]:9001").as_deref(), Some("::1"));
        assert_eq!(name(""), None);
    }
}
