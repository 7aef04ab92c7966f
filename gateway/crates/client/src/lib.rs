//! Upstream groups as one core sees them: idle connections, weighted choice, passive health.
//!
//! Everything here is per core and unsynchronised. A group outlives a reload as long as its name does: targets that stay
//! keep their idle connections and their health ([`Group::renew`]).

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod balance;
mod h2;

pub use h2::Dial;

use balance::Balancer;
use sluice_h1::Wire;
use sluice_h2::Side;
use sluice_rt::Stream;
use sluice_tls::{ClientConfig, HandshakeError, ServerName};
use sluice_wire::Method;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// One server of a group, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetSpec {
    /// Where to connect.
    pub addr: SocketAddr,
    /// `host:port` for the `Host` header.
    pub authority: Arc<str>,
    /// Share of the requests, 1 or more.
    pub weight: u32,
    /// Whom TLS verifies; not asked for on plain connections.
    pub server_name: Option<ServerName<'static>>,
}

/// A group, as configured.
#[derive(Clone, Debug)]
pub struct GroupSpec {
    /// Not empty.
    pub targets: Vec<TargetSpec>,
    /// Most HTTP/2 connections to a target; 0: they speak HTTP/1.
    pub http2_connections: usize,
    /// HTTP/1 is spoken to a target that does not choose HTTP/2 by ALPN; without it such a target is at fault.
    pub http1_fallback: bool,
    /// TLS to the targets; `None`: plain.
    pub tls: Option<Arc<ClientConfig>>,
    /// Connect timeout, a TLS handshake included, milliseconds.
    pub connect_timeout_ms: u64,
    /// Idle connections kept for each target.
    pub keepalive_connections: usize,
    /// How long an idle connection is kept, milliseconds.
    pub keepalive_idle_ms: u64,
    /// Consecutive failures that put a target aside; 0: never.
    pub max_failures: u32,
    /// For how long, milliseconds.
    pub fail_timeout_ms: u64,
}

/// An idle connection and since when.
struct Idle {
    wire: Wire,
    since_ms: u64,
}

/// What a core knows of one server; shared by successive generations of a group.
#[derive(Default)]
struct TargetState {
    idle: RefCell<Vec<Idle>>,
    http2: h2::Pool,
    failures: Cell<u32>,
    down_until_ms: Cell<u64>,
}

/// A connection in use.
pub struct Lease {
    /// The connection.
    pub wire: Side,
    /// It has carried a request before: its first failure may only mean that the server closed it meanwhile.
    pub reused: bool,
    /// Index of its target.
    pub target: usize,
}

/// A group of upstream servers on one core.
pub struct Group {
    spec: GroupSpec,
    states: Vec<Rc<TargetState>>,
    balancer: RefCell<Balancer>,
}

impl Group {
    /// A new group.
    #[must_use]
    pub fn new(spec: GroupSpec) -> Self {
        Self::build(spec, None)
    }

    /// The group under a new configuration: targets with the same address keep their connections and health, unless TLS is
    /// not what it was.
    #[must_use]
    pub fn renew(&self, spec: GroupSpec) -> Self {
        Self::build(spec, Some(self))
    }

    fn build(spec: GroupSpec, old: Option<&Self>) -> Self {
        let known = |addr: SocketAddr, name: &Option<ServerName<'static>>| {
            let old = old.filter(|old| match (&old.spec.tls, &spec.tls) {
                (Some(before), Some(now)) => Arc::ptr_eq(before, now),
                (before, now) => before.is_none() && now.is_none(),
            })?;
            let at = old.spec.targets.iter().position(|t| t.addr == addr && t.server_name == *name)?;
            old.states.get(at).cloned()
        };
        let states = spec.targets.iter().map(|t| known(t.addr, &t.server_name).unwrap_or_default()).collect();
        let balancer = RefCell::new(Balancer::new(spec.targets.iter().map(|t| t.weight)));
        Self { spec, states, balancer }
    }

    /// The configuration.
    #[must_use]
    pub fn spec(&self) -> &GroupSpec {
        &self.spec
    }

    /// Chooses the target of the next request: weighted round robin over the healthy ones but `avoid`. Where none is
    /// healthy, health is ignored: better a try than a certain error (as nginx does).
    #[inline]
    #[must_use]
    pub fn pick(&self, now_ms: u64, avoid: Option<usize>) -> usize {
        if self.states.len() == 1 {
            return 0;
        }
        let healthy = |i: usize| self.states.get(i).is_some_and(|s| s.down_until_ms.get() <= now_ms);
        let mut balancer = self.balancer.borrow_mut();
        balancer
            .next(|i| Some(i) != avoid && healthy(i))
            .or_else(|| balancer.next(|i| Some(i) != avoid))
            .or_else(|| balancer.next(|_| true))
            .unwrap_or(0)
    }

    /// Whether no target is known to be healthy.
    #[must_use]
    pub fn all_down(&self, now_ms: u64) -> bool {
        self.states.iter().all(|s| s.down_until_ms.get() > now_ms)
    }

    /// An idle connection to a target, the one used last (its caches are warmest).
    #[inline]
    #[must_use]
    pub fn idle(&self, target: usize) -> Option<Lease> {
        let mut idle = self.states.get(target)?.idle.borrow_mut();
        while let Some(mut entry) = idle.pop() {
            if entry.wire.is_idle_open() {
                return Some(Lease { wire: Side::H1(entry.wire), reused: true, target });
            }
        }
        None
    }

    /// Whether its targets speak HTTP/2.
    #[must_use]
    pub fn is_http2(&self) -> bool {
        self.spec.http2_connections > 0
    }

    /// A stream of a connection to a target, an open one where there is room; a connection of its own to one that
    /// prefers HTTP/1, if that is allowed: not one that was idle if `fresh`. Not beyond `deadline_ms`.
    ///
    /// # Errors
    /// What the socket reports; `TimedOut` past the deadline; `InvalidData` where the target does not speak HTTP/2.
    pub async fn stream(
        &self,
        target: usize,
        method: Method,
        dial: &Dial,
        fresh: bool,
        deadline_ms: u64,
    ) -> io::Result<Lease> {
        let state = self.states.get(target).ok_or(io::ErrorKind::NotFound)?;
        if state.http2.prefers_http1()
            && !fresh
            && let Some(lease) = self.idle(target)
        {
            return Ok(lease);
        }
        let connect = || self.dial(target, deadline_ms);
        let limits = h2::Bounds {
            connections: self.spec.http2_connections,
            http1_fallback: self.spec.http1_fallback,
            deadline_ms,
        };
        let (wire, reused) = state.http2.open(&limits, method, dial, connect).await?;
        Ok(Lease { wire, reused, target })
    }

    /// Opens a connection to a target, within the connect timeout and not beyond `deadline_ms`.
    ///
    /// # Errors
    /// What the socket reports; `TimedOut` past the deadline; `InvalidData` where TLS finds the peer at fault.
    pub async fn connect(&self, target: usize, deadline_ms: u64) -> io::Result<Lease> {
        let stream = self.dial(target, deadline_ms).await?;
        Ok(Lease { wire: Side::H1(Wire::new(stream)), reused: false, target })
    }

    async fn dial(&self, target: usize, deadline_ms: u64) -> io::Result<sluice_tls::Stream> {
        let spec = self.spec.targets.get(target).ok_or(io::ErrorKind::NotFound)?;
        let limit = deadline_ms.min(sluice_rt::now_ms() + self.spec.connect_timeout_ms);
        let socket = Stream::connect(spec.addr, limit).await?;
        let Some(config) = &self.spec.tls else { return Ok(socket.into()) };
        let name = spec.server_name.clone().ok_or(io::ErrorKind::InvalidInput)?;
        socket.set_deadline_ms(Some(limit));
        let stream = Box::pin(sluice_tls::connect(socket, Arc::clone(config), name))
            .await
            .map_err(handshake_failed)?;
        stream.set_deadline_ms(None);
        Ok(stream)
    }

    /// Keeps a connection for the next request, if there is room and it is still clean.
    #[inline]
    pub fn release(&self, lease: Lease, now_ms: u64) {
        let (Some(state), Side::H1(mut wire)) = (self.states.get(lease.target), lease.wire) else { return };
        let mut idle = state.idle.borrow_mut();
        if idle.len() < self.spec.keepalive_connections && wire.is_idle_open() {
            wire.stream.set_deadline_ms(None);
            idle.push(Idle { wire, since_ms: now_ms });
        }
    }

    /// A target answered.
    #[inline]
    pub fn succeeded(&self, target: usize) {
        if let Some(state) = self.states.get(target)
            && state.failures.get() != 0
        {
            state.failures.set(0);
            state.down_until_ms.set(0);
        }
    }

    /// A target could not be reached or broke off. Enough of these in a row put it aside.
    pub fn failed(&self, target: usize, now_ms: u64) {
        let Some(state) = self.states.get(target) else { return };
        let failures = state.failures.get().saturating_add(1);
        state.failures.set(failures);
        if self.spec.max_failures > 0 && failures >= self.spec.max_failures {
            state.down_until_ms.set(now_ms + self.spec.fail_timeout_ms);
            // Their server is likely gone too; a later request opens a fresh one.
            state.idle.borrow_mut().clear();
        }
    }

    /// Closes connections that have been idle for too long.
    pub fn reap(&self, now_ms: u64) {
        for state in &self.states {
            state.idle.borrow_mut().retain_mut(|entry| {
                entry.since_ms + self.spec.keepalive_idle_ms > now_ms && entry.wire.is_idle_open()
            });
        }
    }

    /// HTTP/2 streams open now.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.states.iter().map(|s| s.http2.open_streams()).sum()
    }

    /// Idle connections held.
    #[must_use]
    pub fn idle_count(&self) -> usize {
        self.states.iter().map(|s| s.idle.borrow().len()).sum()
    }
}

fn handshake_failed(error: HandshakeError) -> io::Error {
    match error {
        HandshakeError::Io(error) => error,
        HandshakeError::TimedOut => io::ErrorKind::TimedOut.into(),
        HandshakeError::Closed => io::ErrorKind::ConnectionReset.into(),
        error @ HandshakeError::Tls(_) => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}
