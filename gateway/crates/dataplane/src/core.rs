//! What one data core owns: its view of the published snapshot, its leases, its counters.

use crate::auth::{Authorizations, Bearer, Keyring, Keys, SigningKeys};
use crate::connections::{Connections, Entry};
use crate::head_out::HeadOut;
use crate::ids::RequestIds;
use crate::lookout::Lookout;
use crate::rest::trace::Trace;
use crate::secure::{TlsPlan, UpstreamTls, server_name};
use sluice_cache::KeyBuilder;
use sluice_cache::standard::Moment;
use sluice_client::{Group, GroupSpec, TargetSpec};
use sluice_h1::Scratch;
use sluice_promote::{Report, Watch};
use sluice_snapshot::{Backend, BackendTls, Destination, QuotaPlan, Snapshot, Upstream};
use sluice_telemetry::{CoreMetrics, EngineGauge};
use sluice_throttle::{Decision, Lease, Pool, QuotaLease};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// A snapshot with this core's upstream groups beside it. An exchange pins one and keeps it to its end.
pub struct View {
    /// The published snapshot. The publisher keeps a reference of its own, so that the last one is never dropped here.
    pub snapshot: Arc<Snapshot>,
    /// Certificates and authorities. The publisher keeps a reference to these, too.
    pub tls: Arc<TlsPlan>,
    /// By `UpstreamId`.
    pub groups: Vec<Rc<Group>>,
}

/// A backend that this core has a group for.
struct Known {
    backend: Arc<Backend>,
    group: Rc<Group>,
}

/// Verified tokens that a core remembers: a few MiB of claims.
const TOKENS_KEPT: usize = 4096;

/// Takes a line.
type Tell = Box<dyn Fn(&str)>;

/// One data core.
pub struct Core {
    me: Weak<Core>,
    view: RefCell<Rc<View>>,
    leases: RefCell<Vec<Option<Lease>>>,
    quotas: RefCell<Vec<Option<QuotaLease>>>,
    /// Groups of the backends that were asked for, by `BackendId`. Made when they are first needed: of thousands of APIs
    /// a core may serve few.
    backends: RefCell<Vec<Option<Known>>>,
    pub(crate) metrics: CoreMetrics,
    pub(crate) ids: RequestIds,
    pub(crate) scratch: Rc<Scratch>,
    pub(crate) clock: WallClock,
    pub(crate) cache_keys: RefCell<KeyBuilder>,
    pub(crate) lookout: Lookout,
    pub(crate) signing_keys: SigningKeys,
    /// Of token issuers.
    pub(crate) keys: Keys,
    /// What functions vouch for.
    pub(crate) authorizations: Authorizations,
    /// Who is told what an operator should know.
    tell: RefCell<Option<Tell>>,
    /// Tokens that were verified before.
    pub(crate) tokens: RefCell<sluice_jwt::Verified<Bearer>>,
    /// TLS handshakes with clients under way on this core.
    pub(crate) handshakes: Cell<usize>,
    /// Connections of the whole process, shared by all cores.
    connections: Arc<Connections>,
    pub(crate) trace: Trace,
}

impl Core {
    /// The core number `index`, serving `snapshot`. `connections` is shared by all cores of the process; `seed` makes
    /// request ids.
    #[must_use]
    pub fn new(
        index: usize,
        snapshot: Arc<Snapshot>,
        tls: Arc<TlsPlan>,
        metrics: CoreMetrics,
        connections: Arc<Connections>,
        seed: [u64; 2],
        unix_ns: u64,
    ) -> Rc<Self> {
        let groups = groups(&snapshot, &tls, None);
        Rc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            view: RefCell::new(Rc::new(View { snapshot, tls, groups })),
            leases: RefCell::new(Vec::new()),
            quotas: RefCell::new(Vec::new()),
            backends: RefCell::new(Vec::new()),
            metrics,
            ids: RequestIds::new(seed),
            scratch: Rc::default(),
            clock: WallClock::new(unix_ns),
            cache_keys: RefCell::new(KeyBuilder::new()),
            lookout: Lookout::new(index),
            signing_keys: SigningKeys::default(),
            keys: Keys::default(),
            authorizations: Authorizations::default(),
            tell: RefCell::new(None),
            tokens: RefCell::new(sluice_jwt::Verified::new(TOKENS_KEPT)),
            handshakes: Cell::new(0),
            connections,
            trace: Trace::default(),
        })
    }

    /// From here on an execution log is kept of what methods of REST APIs do: for a core that has one method, or one authorizer, to try out.
    /// `notes`: why it cannot be answered, if that is known.
    pub fn keep_log(&self, notes: String) {
        self.trace.keep(notes);
    }

    /// The execution log of the last request, and what its authorizer's function returned if that was good.
    #[must_use]
    pub fn take_log(&self) -> Option<(String, Option<Vec<u8>>)> {
        self.trace.take()
    }

    /// For tasks that outlive an exchange.
    pub(crate) fn shared(&self) -> Option<Rc<Self>> {
        self.me.upgrade()
    }

    /// Now, for an answer to what went out at `asked_ms`.
    pub(crate) fn moment(&self, asked_ms: u64) -> Moment {
        let received_unix_s = self.clock.unix_ms(sluice_rt::now_ns()) / 1000;
        Moment { asked_ms, received_ms: sluice_rt::now_ms(), received_unix_s }
    }

    /// The view in force.
    #[inline]
    #[must_use]
    pub fn view(&self) -> Rc<View> {
        Rc::clone(&self.view.borrow())
    }

    /// Swaps in a new snapshot; exchanges under way keep the one they pinned.
    pub fn publish(&self, snapshot: Arc<Snapshot>, tls: Arc<TlsPlan>) {
        let old = self.view();
        let groups = groups(&snapshot, &tls, Some(&old));
        self.view.replace(Rc::new(View { snapshot, tls, groups }));
    }

    /// The servers of a destination, with this core's connections to them.
    #[inline]
    pub(crate) fn servers<'v>(&self, view: &'v View, to: Destination) -> Option<(&'v Upstream, Rc<Group>)> {
        match to {
            Destination::Group(id) => {
                let at = id.0 as usize;
                Some((view.snapshot.upstreams.get(at)?, Rc::clone(view.groups.get(at)?)))
            }
            Destination::Backend(id) => {
                let at = id.0 as usize;
                let backend = view.snapshot.rest.backends.get(at)?;
                Some((&backend.upstream, self.backend(at, backend, &view.tls)?))
            }
        }
    }

    /// The group of a backend: made if it is new here, renewed if its addresses are not what they were.
    fn backend(&self, at: usize, backend: &Arc<Backend>, tls: &TlsPlan) -> Option<Rc<Group>> {
        let mut known = self.backends.borrow_mut();
        if at >= known.len() {
            known.resize_with(at + 1, || None);
        }
        let slot = known.get_mut(at)?;
        if let Some(known) = slot.as_ref().filter(|known| Arc::ptr_eq(&known.backend, backend)) {
            return Some(Rc::clone(&known.group));
        }
        let config = match backend.tls {
            BackendTls::Plain => None,
            BackendTls::Verified => Some(tls.backends.as_ref()?),
            BackendTls::AnyIssuer => Some(tls.backends_of_any_issuer.as_ref()?),
        };
        let config = config.map(|config| UpstreamTls { config: Arc::clone(config), server_name: None });
        let spec = group_spec(&backend.upstream, config.as_ref());
        let group = Rc::new(match slot {
            Some(old) => old.group.renew(spec),
            None => Group::new(spec),
        });
        *slot = Some(Known { backend: Arc::clone(backend), group: Rc::clone(&group) });
        Some(group)
    }

    /// Recycled heads and vectors.
    #[must_use]
    pub fn scratch(&self) -> Rc<Scratch> {
        Rc::clone(&self.scratch)
    }

    /// Gives unused leases back, so that other cores can spend their tokens; to be called every 10 to 50 ms while it says
    /// that some tokens are still out.
    pub fn expire_leases(&self, now_ns: u64) -> bool {
        let mut out = false;
        for lease in self.leases.borrow_mut().iter_mut().flatten() {
            lease.expire(now_ns);
            out |= lease.unspent() > 0;
        }
        for lease in self.quotas.borrow_mut().iter_mut().flatten() {
            out |= lease.expire();
        }
        out
    }

    /// Housekeeping, about once a second: idle upstream connections, the wall clock, the engine's counters.
    pub fn tick(&self, now_ms: u64, now_ns: u64, unix_ns: u64) {
        for group in &self.view().groups {
            group.reap(now_ms);
        }
        for known in self.backends.borrow().iter().flatten() {
            known.group.reap(now_ms);
        }
        self.clock.sync(now_ns, unix_ns);
        self.report_engine();
    }

    fn report_engine(&self) {
        let stats = sluice_rt::stats();
        for (gauge, value) in [
            (EngineGauge::Turns, stats.turns),
            (EngineGauge::Completions, stats.completions),
            (EngineGauge::BufferStarvations, stats.enobufs),
            (EngineGauge::BufferCopies, stats.buffers_low),
            (EngineGauge::ReceivePauses, stats.recv_paused),
            (EngineGauge::AcceptErrors, stats.accept_errors),
            (EngineGauge::AcceptsShed, stats.accepts_shed),
            (EngineGauge::RemoteWakes, stats.remote_wakes),
            (EngineGauge::TaskPanics, stats.task_panics),
            (EngineGauge::StrayCompletions, stats.stray_completions),
            (EngineGauge::Sockets, stats.sockets),
            (EngineGauge::Tasks, stats.tasks),
        ] {
            self.metrics.set_engine(gauge, value);
        }
    }

    /// Takes one token through this core's lease of the pool at `index`.
    #[inline]
    pub(crate) fn take(&self, index: u32, pool: &Arc<Pool>, now_ns: u64) -> Decision {
        let mut leases = self.leases.borrow_mut();
        let at = index as usize;
        if at >= leases.len() {
            leases.resize_with(at + 1, || None);
        }
        match leases.get_mut(at) {
            Some(slot) => slot.get_or_insert_with(|| Lease::new(Arc::clone(pool))).take(now_ns),
            None => Decision::Refused { retry_after_ms: 1000 },
        }
    }

    /// Undoes a granted [`Self::take`] of this turn.
    pub(crate) fn put_back(&self, index: u32) {
        if let Some(lease) = self.leases.borrow_mut().get_mut(index as usize).and_then(Option::as_mut) {
            lease.put_back();
        }
    }

    /// Takes one request of a quota through this core's lease.
    pub(crate) fn take_quota(&self, plan: &QuotaPlan, unix_s: u64) -> bool {
        let mut leases = self.quotas.borrow_mut();
        let at = plan.index as usize;
        if at >= leases.len() {
            leases.resize_with(at + 1, || None);
        }
        let Some(slot) = leases.get_mut(at) else { return false };
        // A quota that has another period than before is another one.
        if slot.as_ref().is_none_or(|lease| !lease.is_of(&plan.quota)) {
            *slot = Some(QuotaLease::new(Arc::clone(&plan.quota)));
        }
        slot.as_mut().is_some_and(|lease| lease.take(plan.period.number(unix_s)))
    }

    /// Counts a connection in, if the process and the client may have one more.
    pub(crate) fn connect(&self, client: IpAddr) -> Entry {
        let view = self.view.borrow();
        let server = &view.snapshot.server;
        self.connections.enter(client, server.max_connections, server.max_connections_per_address)
    }

    pub(crate) fn disconnect(&self, client: IpAddr) {
        self.connections.leave(client);
    }

    /// Tells the judge of bans which of its sources this core watches from now on.
    pub fn watch(&self, watch: Arc<Watch>) {
        self.lookout.set_watch(watch);
    }

    /// Has the keys of token issuers replaced.
    pub fn set_keyring(&self, ring: Arc<Keyring>) {
        self.keys.set_ring(ring);
    }

    /// Who is told, seldom, what an operator should know.
    pub fn on_warning(&self, tell: Box<dyn Fn(&str)>) {
        self.tell.replace(Some(tell));
    }

    pub(crate) fn tell(&self, warning: &str) {
        if let Some(tell) = self.tell.borrow().as_ref() {
            tell(warning);
        }
    }

    /// Whom to tell that the keys of a provider should be fetched anew. It must not block.
    pub fn on_unknown_key(&self, ask: Box<dyn Fn(u32)>) {
        self.keys.set_ask(ask);
    }

    /// What the judge of bans should hear, several times a second; `None` when there is nothing to tell.
    pub fn report(&self, now_ns: u64) -> Option<Report> {
        self.lookout.report(now_ns)
    }
}

/// The groups of a snapshot; those that the old view knows by name keep their connections and health, others end.
fn groups(snapshot: &Snapshot, tls: &TlsPlan, old: Option<&View>) -> Vec<Rc<Group>> {
    let known: HashMap<&str, &Rc<Group>> = old.map_or_else(HashMap::new, |view| {
        view.snapshot.upstreams.iter().map(|u| &*u.name).zip(&view.groups).collect()
    });
    let stays = |name: &str| snapshot.upstreams.iter().any(|upstream| *upstream.name == *name);
    known.iter().filter(|(name, _)| !stays(name)).for_each(|(_, group)| group.retire());
    let build = |(at, upstream): (usize, &Upstream)| {
        let spec = group_spec(upstream, tls.upstreams.get(at).and_then(Option::as_ref));
        match known.get(&*upstream.name) {
            Some(group) => Rc::new(group.renew(spec)),
            None => Rc::new(Group::new(spec)),
        }
    };
    snapshot.upstreams.iter().enumerate().map(build).collect()
}

/// How a core reaches the servers of a group.
#[must_use]
pub fn group_spec(upstream: &Upstream, tls: Option<&UpstreamTls>) -> GroupSpec {
    let target = |t: &sluice_snapshot::Target| TargetSpec {
        addr: t.addr,
        authority: Arc::clone(&t.authority),
        weight: t.weight,
        drain: t.drain,
        up: t.up.clone(),
        server_name: tls.and_then(|tls| tls.server_name.clone().or_else(|| server_name(&t.authority))),
    };
    GroupSpec {
        targets: upstream.targets.iter().map(target).collect(),
        http2_connections: upstream.http2_connections,
        http1_fallback: upstream.http1_fallback,
        tls: tls.map(|tls| Arc::clone(&tls.config)),
        connect_timeout_ms: upstream.connect_timeout_ms,
        keepalive_connections: upstream.keepalive_connections,
        keepalive_idle_ms: upstream.keepalive_idle_ms,
        max_failures: upstream.max_failures,
        fail_timeout_ms: upstream.fail_timeout_ms,
        least_request: upstream.least_request,
    }
}

/// Wall-clock time from the engine's monotonic clock and an offset re-read once a second: no clock call for a log line.
pub(crate) struct WallClock {
    offset_ns: Cell<u64>,
    date_s: Cell<u64>,
    date: RefCell<Vec<u8>>,
}

impl WallClock {
    fn new(unix_ns: u64) -> Self {
        let clock = Self {
            offset_ns: Cell::new(0),
            date_s: Cell::new(u64::MAX),
            date: RefCell::new(Vec::with_capacity(48)),
        };
        clock.sync(sluice_rt::clock_ns(), unix_ns);
        clock
    }

    fn sync(&self, now_ns: u64, unix_ns: u64) {
        self.offset_ns.set(unix_ns.wrapping_sub(now_ns));
    }

    /// Milliseconds since 1970 at the monotonic instant `now_ns`.
    #[inline]
    pub(crate) fn unix_ms(&self, now_ns: u64) -> u64 {
        now_ns.wrapping_add(self.offset_ns.get()) / 1_000_000
    }

    /// Writes `Date` (RFC 9110 6.6.1), formatted once a second.
    #[inline]
    pub(crate) fn write_date(&self, out: &mut impl HeadOut) {
        let unix_s = self.unix_ms(sluice_rt::now_ns()) / 1000;
        let mut line = self.date.borrow_mut();
        if self.date_s.get() != unix_s {
            self.date_s.set(unix_s);
            line.clear();
            line.extend_from_slice(b"Date: ");
            sluice_wire::enc::http_date(&mut line, unix_s);
            line.extend_from_slice(b"\r\n");
        }
        out.date_line(&line);
    }
}
