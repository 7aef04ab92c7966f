//! Active health checks of upstream servers: on a thread of their own, with an engine of its own, so that a server that hangs
//! is felt by nobody.
//!
//! ```text
//! publisher ── plan ──> checker ── every interval ──> check (client crate) ──> standing (rise, fall)
//!                                                                                 │ changed
//!                                    data cores <── one relaxed load a target ── word
//! ```
//! The word of a target lives as long as its group's name and its address do, in the registry of `compile`, and so does its
//! standing here: a reload changes neither.

use crate::Failure;
use crate::cores::end_process;
use sluice_client::{Asked, GroupSpec, Standing, check};
use sluice_control::UpstreamInfo;
use sluice_dataplane::{TlsPlan, group_spec};
use sluice_rt::{Receiver, Sender};
use sluice_snapshot::{HealthCheck, Snapshot};
use sluice_telemetry::{Exposition, Kind};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::Poll;
use std::thread::Builder;

/// How long the checker sleeps when nothing is to be checked.
const IDLE_MS: u64 = 3_600_000;

/// A server of a group, as it is shown.
struct Server {
    upstream: Arc<str>,
    authority: Arc<str>,
    addr: SocketAddr,
    draining: bool,
    /// `None`: nobody checks.
    up: Option<Arc<AtomicBool>>,
    tally: Arc<Mutex<Tally>>,
}

/// What checks came to.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    changes: u64,
    /// Of the last check.
    fault: Option<String>,
}

fn tally(of: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    fn is_up(&self) -> bool {
        self.up.as_ref().is_none_or(|up| up.load(Ordering::Relaxed))
    }

    fn is(&self, other: &Self) -> bool {
        self.upstream == other.upstream && self.addr == other.addr
    }
}

/// What the checker is to do from now on.
struct Plan {
    /// All servers of all groups.
    servers: Arc<Vec<Arc<Server>>>,
    checks: Vec<Check>,
}

struct Check {
    server: Arc<Server>,
    how: Arc<HealthCheck>,
    /// The server as the only target.
    spec: GroupSpec,
}

/// The checks, for the publisher, for metrics and for the admin listener.
#[derive(Clone)]
pub(crate) struct Checks(Arc<Mutex<State>>);

struct State {
    engine: sluice_rt::Config,
    /// There is none before the first check is wanted.
    checker: Option<Sender<Plan>>,
    servers: Arc<Vec<Arc<Server>>>,
}

impl Checks {
    pub(crate) fn new(engine: &sluice_rt::Config) -> Self {
        // It has a few connections at a time, and time.
        let engine =
            sluice_rt::Config { entries: 256, buffers: 64, wait: sluice_rt::Wait::Sleep, ..engine.clone() };
        Self(Arc::new(Mutex::new(State { engine, checker: None, servers: Arc::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that there is a checker, if this needs one. Nothing else has changed when it fails.
    pub(crate) fn prepare(&self, snapshot: &Snapshot) -> Result<(), Failure> {
        let mut state = self.state();
        if state.checker.is_none() && snapshot.upstreams.iter().any(|upstream| upstream.health.is_some()) {
            let started = start(state.engine.clone());
            state.checker =
                Some(started.map_err(|e| {
                    Failure::Runtime(format!("can't start the thread of health checks: {e}"))
                })?);
        }
        Ok(())
    }

    /// Checks the servers of this snapshot from now on, and no others.
    pub(crate) fn watch(&self, snapshot: &Snapshot, tls: &TlsPlan) {
        let mut state = self.state();
        let (mut servers, mut checks) = (Vec::new(), Vec::new());
        for (at, upstream) in snapshot.upstreams.iter().enumerate() {
            let spec = group_spec(upstream, tls.upstreams.get(at).and_then(Option::as_ref));
            for (target, of_target) in upstream.targets.iter().zip(&spec.targets) {
                let mut server = Server {
                    upstream: Arc::clone(&upstream.name),
                    authority: Arc::clone(&target.authority),
                    addr: target.addr,
                    draining: target.drain,
                    up: target.up.clone(),
                    tally: Arc::default(),
                };
                if let Some(known) = state.servers.iter().find(|known| known.is(&server)) {
                    server.tally = Arc::clone(&known.tally);
                }
                let server = Arc::new(server);
                servers.push(Arc::clone(&server));
                if let Some(how) = upstream.health.clone() {
                    let spec = GroupSpec { targets: vec![of_target.clone()], ..spec.clone() };
                    checks.push(Check { server, how, spec });
                }
            }
        }
        state.servers = Arc::new(servers);
        if let Some(checker) = &state.checker {
            // It ends with the process only.
            let _ = checker.send(Plan { servers: Arc::clone(&state.servers), checks });
        }
    }

    fn servers(&self) -> Arc<Vec<Arc<Server>>> {
        Arc::clone(&self.state().servers)
    }

    /// What `GET /upstreams` tells.
    pub(crate) fn report(&self) -> Vec<UpstreamInfo> {
        let info = |server: &Arc<Server>| {
            let tally = tally(&server.tally);
            UpstreamInfo {
                upstream: server.upstream.to_string(),
                server: server.authority.to_string(),
                address: server.addr.to_string(),
                state: match (&server.up, server.is_up()) {
                    (None, _) => "unchecked",
                    (Some(_), true) => "up",
                    (Some(_), false) => "down",
                }
                .to_owned(),
                draining: server.draining,
                checks_passed: tally.passed,
                checks_failed: tally.failed,
                fault: tally.fault.clone(),
            }
        };
        self.servers().iter().map(info).collect()
    }

    /// Families of metrics.
    pub(crate) fn families(&self, out: &mut Exposition<'_>) {
        let servers = self.servers();
        let checked = || servers.iter().filter(|server| server.up.is_some());
        let mut each = |name: &str, kind, help: &str, tell: &dyn Fn(&Server) -> Vec<(&'static str, u64)>| {
            out.family(name, kind, help);
            for server in checked() {
                let address = server.addr.to_string();
                for (result, value) in tell(server) {
                    let labels = [("upstream", &*server.upstream), ("server", &*address), ("result", result)];
                    let known = if result.is_empty() { labels.get(..2) } else { labels.get(..) };
                    out.sample(name, known.unwrap_or_default(), value);
                }
            }
        };
        let help = "Whether a server is healthy by its checks.";
        each("sluice_upstream_server_up", Kind::Gauge, help, &|server| vec![("", u64::from(server.is_up()))]);
        let help = "Health checks by their results.";
        each("sluice_upstream_checks_total", Kind::Counter, help, &|server| {
            let tally = tally(&server.tally);
            vec![("passed", tally.passed), ("failed", tally.failed)]
        });
        let help = "How often a server went down or came up.";
        each("sluice_upstream_health_changes_total", Kind::Counter, help, &|server| {
            vec![("", tally(&server.tally).changes)]
        });
        let name = "sluice_upstream_fails_open";
        out.family(name, Kind::Gauge, "1 while no server of a group is healthy, so that all get requests.");
        let mut told: Vec<&str> = Vec::new();
        for server in checked() {
            if !told.contains(&&*server.upstream) {
                told.push(&server.upstream);
                out.sample(
                    name,
                    &[("upstream", &server.upstream)],
                    u64::from(fails_open(&servers, &server.upstream)),
                );
            }
        }
    }
}

/// Whether all servers of a group that may get requests are down.
fn fails_open(servers: &[Arc<Server>], upstream: &str) -> bool {
    let mut serving = servers.iter().filter(|server| *server.upstream == *upstream && !server.draining);
    serving.all(|server| !server.is_up())
}

fn start(engine: sluice_rt::Config) -> io::Result<Sender<Plan>> {
    let (tell, told) = mpsc::channel();
    let failed = tell.clone();
    Builder::new().name("sluice-health".to_owned()).spawn(move || {
        let run = sluice_rt::run(engine, move || async move {
            let (plans, inbox) = sluice_rt::mailbox();
            if tell.send(Ok(plans)).is_ok() {
                drop(tell);
                serve(inbox).await;
            }
        });
        if let Err(error) = run {
            let told = format!("health checks failed: {error}");
            // Nobody listens any more once it runs; without it, what cores believe of servers would never change again.
            if failed.send(Err(error)).is_err() {
                end_process(&told);
            }
        }
    })?;
    told.recv().unwrap_or_else(|_| Err(io::Error::other("it ended before it was ready")))
}

/// A server that is being checked.
struct Watched {
    server: Arc<Server>,
    how: Arc<HealthCheck>,
    spec: GroupSpec,
    standing: Rc<Cell<Standing>>,
    due_ms: Cell<u64>,
    /// A check is under way.
    busy: Rc<Cell<bool>>,
}

/// Checks what is due, and takes in new plans, until nobody can send any.
async fn serve(mut inbox: Receiver<Plan>) {
    let scratch = Rc::default();
    let all = Rc::new(RefCell::new(Arc::<Vec<Arc<Server>>>::default()));
    let mut watched: Vec<Watched> = Vec::new();
    loop {
        let now_ms = sluice_rt::now_ms();
        for one in watched.iter().filter(|one| one.due_ms.get() <= now_ms) {
            one.due_ms.set(now_ms + one.how.interval_ms);
            // One that takes longer than the interval is not joined by another.
            if !one.busy.replace(true) {
                sluice_rt::spawn(one.check(Rc::clone(&scratch), Rc::clone(&all)));
            }
        }
        let next_ms = watched.iter().map(|one| one.due_ms.get()).min().unwrap_or(now_ms + IDLE_MS);
        match next_plan(&mut inbox, next_ms).await {
            Some(Some(plan)) => {
                all.replace(plan.servers);
                watched = renewed(&watched, plan.checks);
            }
            Some(None) => return,
            None => {}
        }
    }
}

/// A plan (`Some(None)`: there will be no more), or `None` at that time.
async fn next_plan(inbox: &mut Receiver<Plan>, at_ms: u64) -> Option<Option<Plan>> {
    let mut late = pin!(sluice_rt::sleep_until_ms(at_ms));
    poll_fn(|cx| match inbox.poll_recv(cx) {
        Poll::Ready(plan) => Poll::Ready(Some(plan)),
        Poll::Pending => late.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// What was watched before goes on as it stands; what is new is checked at once.
fn renewed(old: &[Watched], checks: Vec<Check>) -> Vec<Watched> {
    let now_ms = sluice_rt::now_ms();
    let watch = |Check { server, how, spec }: Check| {
        let (standing, due_ms, busy) = match old.iter().find(|old| old.server.is(&server)) {
            Some(old) => {
                let standing = Rc::clone(&old.standing);
                standing.set(standing.get().renewed(how.rise, how.fall));
                server.up.iter().for_each(|up| up.store(standing.get().is_up(), Ordering::Relaxed));
                // A shorter interval counts from now on.
                (standing, old.due_ms.get().min(now_ms + how.interval_ms), Rc::clone(&old.busy))
            }
            None => (Rc::new(Cell::new(Standing::new(how.rise, how.fall))), now_ms, Rc::default()),
        };
        Watched { server, how, spec, standing, due_ms: Cell::new(due_ms), busy }
    };
    checks.into_iter().map(watch).collect()
}

/// Another check may begin, whatever became of this one.
struct Done(Rc<Cell<bool>>);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Watched {
    /// One check and what follows from it.
    fn check(
        &self,
        scratch: Rc<sluice_h1::Scratch>,
        all: Rc<RefCell<Arc<Vec<Arc<Server>>>>>,
    ) -> impl Future<Output = ()> + use<> {
        let (server, how, spec) = (Arc::clone(&self.server), Arc::clone(&self.how), self.spec.clone());
        let (standing, done) = (Rc::clone(&self.standing), Done(Rc::clone(&self.busy)));
        async move {
            let asked = how.request.as_ref().map(|request| Asked {
                path: &request.path,
                host: request.host.as_deref(),
                statuses: &request.statuses,
            });
            let deadline_ms = sluice_rt::now_ms() + how.timeout_ms;
            let outcome = check(spec, asked, &scratch, deadline_ms).await;
            let is_current = all.borrow().iter().any(|known| Arc::ptr_eq(&known.tally, &server.tally));
            // The server may have left its group meanwhile.
            if is_current {
                note(&server, &standing, outcome, &all.borrow());
            }
            drop(done);
        }
    }
}

fn note(server: &Server, standing: &Cell<Standing>, outcome: Result<(), String>, all: &[Arc<Server>]) {
    let mut now = standing.get();
    let changed = now.note(outcome.is_ok());
    standing.set(now);
    if let Some(up) = server.up.as_ref().filter(|_| changed) {
        up.store(now.is_up(), Ordering::Relaxed);
    }
    let mut tally = tally(&server.tally);
    match &outcome {
        Ok(()) => tally.passed += 1,
        Err(_) => tally.failed += 1,
    }
    tally.changes += u64::from(changed);
    tally.fault = outcome.err();
    if !changed {
        return;
    }
    let (name, addr) = (&server.upstream, server.addr);
    match &tally.fault {
        None => eprintln!("sluice: note: upstream `{name}`: {addr} is up again"),
        Some(fault) => {
            eprintln!("sluice: warning: upstream `{name}`: {addr} is down: {fault}");
            if fails_open(all, name) {
                eprintln!("sluice: warning: upstream `{name}`: no server is up: all of them get requests");
            }
        }
    }
}
