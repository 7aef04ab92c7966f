//! Upstream groups as one core sees them: idle connections, choice of a target, passive health.
//!
//! Everything here is per core and unsynchronised, but for one word a target, which active checks set ([`check()`]). A group
//! outlives a reload as long as its name does: targets that stay keep their idle connections and their health
//! ([`Group::renew`]).
//!
//! ```text
//!            checks fail, or requests do                  drain, or no longer configured
//! in turn <------------------------------> left aside   ---------------------------------> ends what is under way,
//!            checks succeed, or time is up  (unless all are)                                gets nothing, keeps no connection
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod balance;
mod check;
mod h2;
mod standing;

pub use check::{Asked, MAX_INTERIM, RESPONSE_LIMITS, check};
pub use h2::Dial;
pub use standing::Standing;

use balance::{Balancer, Dice};
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
use std::sync::atomic::{AtomicBool, Ordering};

/// One server of a group, as configured.
#[derive(Clone, Debug)]
pub struct TargetSpec {
    /// Where to connect.
    pub addr: SocketAddr,
    /// `host:port` for the `Host` header.
    pub authority: Arc<str>,
    /// Share of the requests, 1 or more.
    pub weight: u32,
    /// It gets no new requests.
    pub drain: bool,
    /// What checks find: set by whoever makes them, read before each request. `None`: nobody checks.
    pub up: Option<Arc<AtomicBool>>,
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
    /// Of two targets the one with fewer requests under way, for its weight, gets the next; else each in turn.
    pub least_request: bool,
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
    /// Requests under way, where the choice depends on them.
    busy: Cell<u32>,
    /// Gets nothing new and keeps no connection.
    retired: Cell<bool>,
}

impl TargetState {
    /// No connection without a request is left to it, and none will be.
    fn retire(&self) {
        self.retired.set(true);
        self.idle.borrow_mut().clear();
        self.http2.retire();
    }
}

/// Counts a request for as long as it lives.
struct Busy(Rc<TargetState>);

impl Busy {
    fn new(state: &Rc<TargetState>) -> Self {
        state.busy.set(state.busy.get() + 1);
        Self(Rc::clone(state))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get().saturating_sub(1));
    }
}

/// A connection in use.
pub struct Lease {
    /// The connection.
    pub wire: Side,
    /// It has carried a request before: its first failure may only mean that the server closed it meanwhile.
    pub reused: bool,
    /// Index of its target.
    pub target: usize,
    /// Counts it among the target's requests under way, where they are counted.
    _busy: Option<Busy>,
}

/// A group of upstream servers on one core.
pub struct Group {
    spec: GroupSpec,
    states: Vec<Rc<TargetState>>,
    balancer: RefCell<Balancer>,
    dice: Dice,
}

impl Group {
    /// A new group.
    #[must_use]
    pub fn new(spec: GroupSpec) -> Self {
        Self::build(spec, None)
    }

    /// The group under a new configuration: targets with the same address keep their connections and health, unless TLS is
    /// not what it was. Those that are no longer there get nothing new, not even from exchanges that know the old one.
    #[must_use]
    pub fn renew(&self, spec: GroupSpec) -> Self {
        let new = Self::build(spec, Some(self));
        let kept = |state: &Rc<TargetState>| new.states.iter().any(|kept| Rc::ptr_eq(kept, state));
        self.states.iter().filter(|state| !kept(state)).for_each(|state| state.retire());
        new
    }

    /// The group is no longer configured.
    pub fn retire(&self) {
        self.states.iter().for_each(|state| state.retire());
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
        let state = |target: &TargetSpec| {
            let state = known(target.addr, &target.server_name).unwrap_or_default();
            if target.drain {
                state.retire();
            } else {
                state.retired.set(false);
            }
            state
        };
        let states = spec.targets.iter().map(state).collect();
        let balancer = RefCell::new(Balancer::new(spec.targets.iter().map(|t| t.weight)));
        Self { spec, states, balancer, dice: Dice::default() }
    }

    /// The configuration.
    #[must_use]
    pub fn spec(&self) -> &GroupSpec {
        &self.spec
    }

    /// Chooses the target of the next request: among the healthy ones but `avoid`, in proportion to their weights. Where
    /// none is healthy, health is ignored: better a try than a certain error (as AWS's load balancers do, which "fail
    /// open", and nginx). What drains is left out even then.
    #[inline]
    #[must_use]
    pub fn pick(&self, now_ms: u64, avoid: Option<usize>) -> usize {
        if self.states.len() == 1 {
            return 0;
        }
        let serves = |i: usize| self.states.get(i).is_some_and(|s| !s.retired.get());
        let healthy = |i: usize| serves(i) && self.is_healthy(i, now_ms);
        self.next(|i| Some(i) != avoid && healthy(i))
            .or_else(|| self.next(|i| Some(i) != avoid && serves(i)))
            .or_else(|| self.next(serves))
            // Only an exchange that outlived its configuration comes here.
            .or_else(|| self.next(|_| true))
            .unwrap_or(0)
    }

    #[inline]
    fn is_healthy(&self, target: usize, now_ms: u64) -> bool {
        // The word is all there is to see: nothing else is published with it.
        let up = |spec: &TargetSpec| spec.up.as_ref().is_none_or(|up| up.load(Ordering::Relaxed));
        self.states.get(target).is_some_and(|state| state.down_until_ms.get() <= now_ms)
            && self.spec.targets.get(target).is_some_and(up)
    }

    fn next(&self, eligible: impl Fn(usize) -> bool) -> Option<usize> {
        let mut balancer = self.balancer.borrow_mut();
        let in_turn = balancer.next(&eligible)?;
        if !self.spec.least_request {
            return Some(in_turn);
        }
        // The power of two choices: nearly as even as asking all, and no herd runs to one that was idle a moment ago.
        let other = balancer.draw(|i| i != in_turn && eligible(i), &self.dice);
        let load = |i: usize| {
            let busy = self.states.get(i).map_or(0, |state| u64::from(state.busy.get()));
            (busy, u64::from(self.spec.targets.get(i).map_or(1, |target| target.weight.max(1))))
        };
        let is_less = |(busy, weight): (u64, u64), (other_busy, other_weight): (u64, u64)| {
            busy * other_weight < other_busy * weight
        };
        Some(other.filter(|other| is_less(load(*other), load(in_turn))).unwrap_or(in_turn))
    }

    #[inline]
    fn busy(&self, target: usize) -> Option<Busy> {
        if self.spec.least_request { self.states.get(target).map(Busy::new) } else { None }
    }

    /// An idle connection to a target, the one used last (its caches are warmest).
    #[inline]
    #[must_use]
    pub fn idle(&self, target: usize) -> Option<Lease> {
        let mut idle = self.states.get(target)?.idle.borrow_mut();
        while let Some(mut entry) = idle.pop() {
            if entry.wire.is_idle_open() {
                let _busy = self.busy(target);
                return Some(Lease { wire: Side::H1(entry.wire), reused: true, target, _busy });
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
        let _busy = self.busy(target);
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
        Ok(Lease { wire, reused, target, _busy })
    }

    /// Opens a connection to a target, within the connect timeout and not beyond `deadline_ms`.
    ///
    /// # Errors
    /// What the socket reports; `TimedOut` past the deadline; `InvalidData` where TLS finds the peer at fault.
    pub async fn connect(&self, target: usize, deadline_ms: u64) -> io::Result<Lease> {
        let _busy = self.busy(target);
        let stream = self.dial(target, deadline_ms).await?;
        Ok(Lease { wire: Side::H1(Wire::new(stream)), reused: false, target, _busy })
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
        if idle.len() < self.spec.keepalive_connections && !state.retired.get() && wire.is_idle_open() {
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
            if state.retired.get() {
                // Requests that were on their way may have made connections since.
                state.retire();
            }
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
