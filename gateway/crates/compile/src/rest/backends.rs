//! Servers that integrations name by URI. A backend keeps its index for the life of the process, so that compiled stages
//! stay as they are when its addresses change.

use super::uri::Uri;
use crate::SlotAllocator;
use sluice_snapshot::{Backend, BackendId, BackendTls, Target, Upstream};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;

/// Idle connections kept for each address of a backend, per core.
const KEEPALIVE_CONNECTIONS: usize = 64;
/// For how long: below the 60 s that many servers keep theirs.
const KEEPALIVE_IDLE_MS: u64 = 55_000;
/// To connect, TLS included. An integration's own timeout may end it earlier.
const CONNECT_TIMEOUT_MS: u64 = 10_000;
/// Between two reads of an answer. An integration's own timeout may end it earlier.
const READ_TIMEOUT_MS: u64 = 30_000;
/// Names asked for at the same time.
const RESOLVING_AT_ONCE: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Name {
    authority: String,
    tls: BackendTls,
}

/// All backends ever named.
#[derive(Debug, Default)]
pub(crate) struct Backends {
    by_name: HashMap<Name, u32>,
    hosts: Vec<(String, u16)>,
    list: Vec<Arc<Backend>>,
    /// Those whose host has not been looked up yet.
    fresh: Vec<usize>,
}

impl Backends {
    /// The backend of a URI.
    pub(crate) fn id(&mut self, uri: &Uri, any_issuer: bool, slots: &mut dyn SlotAllocator) -> BackendId {
        let name = Name { authority: uri.authority.clone(), tls: uri.tls(any_issuer) };
        if let Some(at) = self.by_name.get(&name) {
            return BackendId(*at);
        }
        let at = self.list.len();
        let id = u32::try_from(at).unwrap_or(u32::MAX);
        self.list.push(Arc::new(Backend { upstream: upstream(uri, slots), tls: name.tls }));
        self.hosts.push((uri.host.clone(), uri.port));
        self.fresh.push(at);
        self.by_name.insert(name, id);
        BackendId(id)
    }

    /// The gateway's own host of functions.
    pub(crate) fn function_host(&mut self, address: SocketAddr, slots: &mut dyn SlotAllocator) -> BackendId {
        let uri = Uri {
            secure: false,
            host: address.ip().to_string(),
            port: address.port(),
            // What metrics name it by.
            authority: "functions".to_owned(),
            path: Vec::new(),
            query: None,
            target: String::new(),
        };
        self.id(&uri, false, slots)
    }

    /// Looks up the hosts that are new.
    pub(crate) fn resolve_fresh(&mut self) {
        let fresh = std::mem::take(&mut self.fresh);
        let hosts = fresh.iter().map(|at| self.hosts.get(*at).cloned().unwrap_or_default()).collect();
        for (at, found) in fresh.into_iter().zip(look_up(hosts)) {
            self.update(at, &found);
        }
    }

    /// Hosts and ports of all, in their order.
    pub(crate) fn hosts(&self) -> Vec<(String, u16)> {
        self.hosts.clone()
    }

    /// Takes in what was looked up for [`Self::hosts`]; whether any has other addresses than before.
    pub(crate) fn moved(&mut self, found: &[Vec<SocketAddr>]) -> bool {
        found.iter().enumerate().fold(false, |moved, (at, found)| self.update(at, found) | moved)
    }

    /// An answer without an address leaves those known before.
    fn update(&mut self, at: usize, found: &[SocketAddr]) -> bool {
        let Some(backend) = self.list.get_mut(at) else { return false };
        let known = backend.upstream.targets.iter().map(|target| &target.addr);
        if found.is_empty() || known.eq(found) {
            return false;
        }
        let authority = Arc::clone(&backend.upstream.name);
        let target = |addr: &SocketAddr| Target {
            addr: *addr,
            authority: Arc::clone(&authority),
            weight: 1,
            drain: false,
            up: None,
        };
        let upstream = Upstream { targets: found.iter().map(target).collect(), ..backend.upstream.clone() };
        *backend = Arc::new(Backend { upstream, tls: backend.tls });
        true
    }

    pub(crate) fn list(&self) -> Vec<Arc<Backend>> {
        self.list.clone()
    }
}

fn upstream(uri: &Uri, slots: &mut dyn SlotAllocator) -> Upstream {
    Upstream {
        name: uri.authority.as_str().into(),
        targets: Vec::new(),
        http2_connections: 0,
        http1_fallback: false,
        connect_timeout_ms: CONNECT_TIMEOUT_MS,
        read_timeout_ms: READ_TIMEOUT_MS,
        keepalive_connections: KEEPALIVE_CONNECTIONS,
        keepalive_idle_ms: KEEPALIVE_IDLE_MS,
        max_failures: 3,
        fail_timeout_ms: 10_000,
        retries: 1,
        least_request: false,
        health: None,
        metrics_slot: slots.upstream_slot(&uri.authority),
    }
}

/// Addresses of each host, sorted so that an answer in another order is no change. Names are asked for side by side.
pub fn look_up(hosts: Vec<(String, u16)>) -> Vec<Vec<SocketAddr>> {
    hosts.chunks(RESOLVING_AT_ONCE).flat_map(side_by_side).collect()
}

fn side_by_side(hosts: &[(String, u16)]) -> Vec<Vec<SocketAddr>> {
    let addresses = |host: &str, port: u16| {
        let mut found: Vec<_> = (host, port).to_socket_addrs().map(Iterator::collect).unwrap_or_default();
        found.sort_unstable();
        found.dedup();
        found
    };
    thread::scope(|scope| {
        let asked: Vec<_> = hosts
            .iter()
            .map(|(host, port)| match host.parse::<IpAddr>() {
                Ok(ip) => Ok(vec![SocketAddr::new(ip, *port)]),
                Err(_) => Err(scope.spawn(move || addresses(host, *port))),
            })
            .collect();
        asked
            .into_iter()
            .map(|asked| asked.or_else(thread::ScopedJoinHandle::join).unwrap_or_default())
            .collect()
    })
}
