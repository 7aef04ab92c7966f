//! Upstream groups as one core sees them: idle connections, weighted choice, passive health.
//!
//! Everything here is per core and unsynchronised. A group outlives a reload as long as its name does: targets that stay
//! keep their idle connections and their health ([`Group::renew`]).

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod balance;

use balance::Balancer;
use sluice_h1::Wire;
use sluice_rt::Stream;
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
}

/// A group, as configured.
#[derive(Clone, Debug)]
pub struct GroupSpec {
    /// Not empty.
    pub targets: Vec<TargetSpec>,
    /// Connect timeout, milliseconds.
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
    failures: Cell<u32>,
    down_until_ms: Cell<u64>,
}

/// A connection in use.
pub struct Lease {
    /// The connection.
    pub wire: Wire,
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

    /// The group under a new configuration: targets with the same address keep their connections and health.
    #[must_use]
    pub fn renew(&self, spec: GroupSpec) -> Self {
        Self::build(spec, Some(self))
    }

    fn build(spec: GroupSpec, old: Option<&Self>) -> Self {
        let known = |addr: SocketAddr| {
            let old = old?;
            let at = old.spec.targets.iter().position(|t| t.addr == addr)?;
            old.states.get(at).cloned()
        };
        let states = spec.targets.iter().map(|t| known(t.addr).unwrap_or_default()).collect();
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
                return Some(Lease { wire: entry.wire, reused: true, target });
            }
        }
        None
    }

    /// Opens a connection to a target, within the connect timeout and not beyond `deadline_ms`.
    ///
    /// # Errors
    /// What the socket reports; `TimedOut` past the deadline.
    pub async fn connect(&self, target: usize, deadline_ms: u64) -> io::Result<Lease> {
        let spec = self.spec.targets.get(target).ok_or(io::ErrorKind::NotFound)?;
        let limit = deadline_ms.min(sluice_rt::now_ms() + self.spec.connect_timeout_ms);
        let stream = Stream::connect(spec.addr, limit).await?;
        Ok(Lease { wire: Wire::new(stream.into()), reused: false, target })
    }

    /// Keeps a connection for the next request, if there is room and it is still clean.
    #[inline]
    pub fn release(&self, mut lease: Lease, now_ms: u64) {
        let Some(state) = self.states.get(lease.target) else { return };
        let mut idle = state.idle.borrow_mut();
        if idle.len() < self.spec.keepalive_connections && lease.wire.is_idle_open() {
            lease.wire.stream.set_deadline_ms(None);
            idle.push(Idle { wire: lease.wire, since_ms: now_ms });
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

    /// Idle connections held.
    #[must_use]
    pub fn idle_count(&self) -> usize {
        self.states.iter().map(|s| s.idle.borrow().len()).sum()
    }
}
