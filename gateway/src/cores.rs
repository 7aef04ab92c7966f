//! Data core threads.

use crate::affinity;
use crate::keys::KeyAsker;
use crate::listeners::Listening;
use sluice_dataplane::{Connections, Core, Keyring, TlsPlan};
use sluice_promote::{Report, Watch};
use sluice_rt::{Listener, Sender};
use sluice_server::{Active, accept_loop};
use sluice_snapshot::Snapshot;
use sluice_telemetry::Hub;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread::{Builder, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{io, process};

/// What the control thread tells a core.
pub(crate) enum Order {
    /// Serve this from the next request on.
    Publish(Arc<Snapshot>, Arc<TlsPlan>),
    /// Verify tokens with these keys.
    Keys(Arc<Keyring>),
    /// Drop this: it tells that all orders before have been carried out.
    Reached(tokio::sync::mpsc::Sender<()>),
    /// Tell of these sources when they are admitted.
    Watch(Arc<Watch>),
    /// Stop accepting, finish what is under way, end.
    Drain(Drain),
}

/// How a core is to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    /// The longest it may take, milliseconds.
    pub(crate) patience_ms: u64,
    /// A successor has the listening sockets, too, and serves: what waits in them is left to it, and clients of idle
    /// connections have time to hear, with their next answer, that they are to leave.
    pub(crate) succeeded: bool,
}

/// What a core needs to start.
pub(crate) struct Seed {
    pub(crate) index: usize,
    pub(crate) cpu: usize,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) tls: Arc<TlsPlan>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) listeners: Vec<Listening>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) reports: SyncSender<Report>,
    pub(crate) keys: KeyAsker,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) engine: sluice_rt::Config,
}

/// Shows that a core's loop turns.
#[derive(Debug, Default)]
pub(crate) struct Pulse(AtomicU64);

impl Pulse {
    pub(crate) fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Beats so far: at least four a second while the loop turns.
    pub(crate) fn beats(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A running core.
pub(crate) struct Handle {
    pub(crate) orders: Sender<Order>,
    pub(crate) thread: JoinHandle<()>,
}

/// How often a core does its housekeeping.
const TICK_MS: u64 = 1_000;
/// How often leases with tokens in them are looked at …
const LEASE_TICK_MS: u64 = 50;
/// … and how often a core without any wakes up.
const IDLE_TICK_MS: u64 = 250;
/// How often it tells the judge of bans what it saw, if anything.
const REPORT_MS: u64 = 250;
/// How often a draining core looks whether it is done.
const DRAIN_POLL_MS: u64 = 10;
/// How long a connection that was just used, or just made, may take for its next request before a draining core ends. A
/// request that is on its way when a connection is closed is lost (RFC 9112 9.5).
const SETTLE_MS: u64 = 250;

/// Starts a core and waits until its engine runs.
pub(crate) fn start(seed: Seed) -> io::Result<Handle> {
    let (ready, started) = mpsc::channel();
    let name = format!("sluice-core-{}", seed.index);
    let failed = ready.clone();
    let thread = Builder::new().name(name).spawn(move || {
        // Pinning fails where the CPU mask shrank meanwhile: the core then floats, which is slower but right.
        if let Err(error) = affinity::pin(seed.cpu) {
            eprintln!("sluice: warning: data core {} is not pinned to CPU {}: {error}", seed.index, seed.cpu);
        }
        let index = seed.index;
        let config = seed.engine.clone();
        if let Err(error) = contain(|| sluice_rt::run(config, move || serve(seed, ready))) {
            let told = format!("data core {index} failed: {error}");
            // Nobody listens any more once start-up is over.
            if failed.send(Err(io::Error::other(told.clone()))).is_err() {
                end_process(&told);
            }
        }
    })?;
    match started.recv() {
        Ok(Ok(orders)) => Ok(Handle { orders, thread }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other("a data core ended before it was ready")),
    }
}

/// The exit code after the loss of a core, `EX_SOFTWARE` of sysexits.h.
const EXIT_CORE_FAILED: i32 = 70;

/// A gateway that lacks a core serves some of its clients and not the others: the supervisor's turn.
pub(crate) fn end_process(told: &str) -> ! {
    eprintln!("sluice: fatal: {told}; ending the process so that it is started again");
    process::exit(EXIT_CORE_FAILED);
}

/// A task that the core is nothing without. The engine would end it alone if it panicked, and the core would go on without
/// accepting, or without giving leases back.
async fn essential(index: usize, task: impl Future<Output = ()>) {
    struct Guard(usize);
    impl Drop for Guard {
        fn drop(&mut self) {
            if std::thread::panicking() {
                end_process(&format!("data core {} failed: a task that it needs panicked", self.0));
            }
        }
    }
    let guard = Guard(index);
    task.await;
    drop(guard);
}

/// Panics as the whole program's tests ask for by a variable, when the configuration is read anew. Not in release builds.
#[cfg(debug_assertions)]
#[expect(clippy::panic, reason = "what is tested")]
fn panic_if_asked(index: usize) {
    let asked = std::env::var("SLUICE_TEST_PANIC").unwrap_or_default();
    match asked.as_str() {
        _ if index != 0 => {}
        "core" => std::panic::panic_any("a test asked for it"),
        "task" => sluice_rt::spawn(async { std::panic::panic_any("a test asked for it") }),
        "essential" => {
            sluice_rt::spawn(essential(index, async { std::panic::panic_any("a test asked for it") }));
        }
        _ => {}
    }
}

/// A panic becomes an error like others. (Panics of single tasks don't get here: the engine ends and counts them.)
fn contain(run: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        let said = (payload.downcast_ref::<&str>().copied())
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("without a word");
        Err(io::Error::other(format!("panicked: {said}")))
    })
}

async fn serve(seed: Seed, ready: mpsc::Sender<io::Result<Sender<Order>>>) {
    let metrics = seed.hub.core(seed.index);
    let core =
        Core::new(seed.index, seed.snapshot, seed.tls, metrics, seed.connections, random_seed(), unix_ns());
    let keys = seed.keys;
    core.on_warning(Box::new(|line| eprintln!("{line}")));
    core.on_unknown_key(Box::new(move |provider| keys.ask(provider)));
    let active = Rc::new(Active::default());
    let mut listeners = Vec::new();
    for Listening { socket, tls } in seed.listeners {
        let listener = match Listener::new(socket) {
            Ok(listener) => Rc::new(listener),
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        let accept =
            accept_loop(Rc::clone(&listener), tls, Rc::clone(&core), core.scratch(), Rc::clone(&active));
        sluice_rt::spawn(essential(seed.index, accept));
        listeners.push(listener);
    }
    sluice_rt::spawn(essential(seed.index, housekeeping(Rc::clone(&core), seed.reports, seed.pulse)));
    let (orders, mut inbox) = sluice_rt::mailbox();
    if ready.send(Ok(orders)).is_err() {
        return;
    }
    drop(ready);
    let how = loop {
        match inbox.recv().await {
            Some(Order::Publish(snapshot, tls)) => {
                core.publish(snapshot, tls);
                #[cfg(debug_assertions)]
                panic_if_asked(seed.index);
            }
            Some(Order::Keys(ring)) => core.set_keyring(ring),
            Some(Order::Reached(told)) => drop(told),
            Some(Order::Watch(watch)) => core.watch(watch),
            Some(Order::Drain(how)) => break how,
            // The control thread is gone: nobody would tell this core to end.
            None => break Drain { patience_ms: 0, succeeded: false },
        }
    };
    for listener in &listeners {
        if how.succeeded { listener.leave() } else { listener.close() }
    }
    drain(&active, how).await;
}

async fn drain(active: &Active, how: Drain) {
    active.drain();
    let until_ms = sluice_rt::now_ms() + how.patience_ms;
    loop {
        // What the listeners brought last is taken first.
        sluice_rt::yield_now().await;
        let now_ms = sluice_rt::now_ms();
        let settled = !how.succeeded && now_ms >= active.used_ms() + SETTLE_MS;
        let done = active.exchanges() == 0 && (active.connections() == 0 || settled);
        if done || now_ms >= until_ms {
            return;
        }
        sluice_rt::sleep_until_ms(now_ms + DRAIN_POLL_MS).await;
    }
}

async fn housekeeping(core: Rc<Core>, reports: SyncSender<Report>, pulse: Arc<Pulse>) {
    let mut due_ms = sluice_rt::now_ms() + TICK_MS;
    let mut report_due_ms = 0;
    // One that found no room: the next is not made before it is sent, so that nothing is lost and little is kept.
    let mut waiting = None;
    loop {
        pulse.beat();
        let lent = core.expire_leases(sluice_rt::now_ns());
        let pause_ms = if lent { LEASE_TICK_MS } else { IDLE_TICK_MS };
        sluice_rt::sleep_until_ms(sluice_rt::now_ms() + pause_ms).await;
        let now_ms = sluice_rt::now_ms();
        if now_ms >= report_due_ms {
            report_due_ms = now_ms + REPORT_MS;
            waiting = waiting.take().or_else(|| core.report(sluice_rt::clock_ns()));
            if let Some(Err(TrySendError::Full(report))) =
                waiting.take().map(|report| reports.try_send(report))
            {
                waiting = Some(report);
            }
        }
        if now_ms >= due_ms {
            core.tick(now_ms, sluice_rt::clock_ns(), unix_ns());
            due_ms = now_ms + TICK_MS;
        }
    }
}

pub(crate) fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn unix_s() -> u64 {
    unix_ns() / 1_000_000_000
}

/// Randomness from the standard library's per-process hash keys: request ids need to differ, not to be secret.
pub(crate) fn random_seed() -> [u64; 2] {
    use std::hash::{BuildHasher, RandomState};
    [RandomState::new().hash_one(0_u8), RandomState::new().hash_one(unix_ns())]
}

#[cfg(test)]
#[allow(clippy::panic, reason = "what is tested")]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_words() {
        assert!(contain(|| Ok(())).is_ok());
        let plain = contain(|| Err(io::Error::other("no ring")));
        assert_eq!(plain.map_err(|error| error.to_string()), Err("no ring".to_owned()));
        let panicked = contain(|| std::panic::panic_any("a defect"));
        assert_eq!(panicked.map_err(|error| error.to_string()), Err("panicked: a defect".to_owned()));
        let formatted = contain(|| std::panic::panic_any(format!("defect {}", 2)));
        assert_eq!(formatted.map_err(|error| error.to_string()), Err("panicked: defect 2".to_owned()));
    }
}
