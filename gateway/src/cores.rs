//! Data core threads.

use crate::affinity;
use sluice_dataplane::{Connections, Core};
use sluice_promote::{Report, Watch};
use sluice_rt::{Listener, Sender};
use sluice_server::{Active, accept_loop};
use sluice_snapshot::Snapshot;
use sluice_telemetry::Hub;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread::{Builder, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{io, process};

/// What the control thread tells a core.
pub(crate) enum Order {
    /// Serve this from the next request on.
    Publish(Arc<Snapshot>),
    /// Tell of these sources when they are admitted.
    Watch(Arc<Watch>),
    /// Stop accepting, finish what is under way within this many milliseconds, end.
    Drain(u64),
}

/// What a core needs to start.
pub(crate) struct Seed {
    pub(crate) index: usize,
    pub(crate) cpu: usize,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) listeners: Vec<TcpListener>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) reports: SyncSender<Report>,
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
        let config = sluice_rt::Config::default();
        if let Err(error) = sluice_rt::run(config, move || serve(seed, ready)) {
            // Nobody listens any more once start-up is over.
            if failed.send(Err(io::Error::other(error.to_string()))).is_err() {
                eprintln!("sluice: error: a data core's engine failed: {error}");
                process::exit(1);
            }
        }
    })?;
    match started.recv() {
        Ok(Ok(orders)) => Ok(Handle { orders, thread }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other("a data core ended before it was ready")),
    }
}

async fn serve(seed: Seed, ready: mpsc::Sender<io::Result<Sender<Order>>>) {
    let metrics = seed.hub.core(seed.index);
    let core = Core::new(seed.index, seed.snapshot, metrics, seed.connections, random_seed(), unix_ns());
    let active = Rc::new(Active::default());
    let mut listeners = Vec::new();
    for socket in seed.listeners {
        let listener = match Listener::new(socket) {
            Ok(listener) => Rc::new(listener),
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        sluice_rt::spawn(accept_loop(
            Rc::clone(&listener),
            Rc::clone(&core),
            core.scratch(),
            Rc::clone(&active),
        ));
        listeners.push(listener);
    }
    sluice_rt::spawn(housekeeping(Rc::clone(&core), seed.reports));
    let (orders, mut inbox) = sluice_rt::mailbox();
    if ready.send(Ok(orders)).is_err() {
        return;
    }
    drop(ready);
    let patience_ms = loop {
        match inbox.recv().await {
            Some(Order::Publish(snapshot)) => core.publish(snapshot),
            Some(Order::Watch(watch)) => core.watch(watch),
            Some(Order::Drain(patience_ms)) => break patience_ms,
            // The control thread is gone: nobody would tell this core to end.
            None => break 0,
        }
    };
    for listener in &listeners {
        listener.close();
    }
    active.drain();
    let until_ms = sluice_rt::now_ms() + patience_ms;
    while active.exchanges() > 0 && sluice_rt::now_ms() < until_ms {
        sluice_rt::sleep_until_ms(sluice_rt::now_ms() + DRAIN_POLL_MS).await;
    }
}

async fn housekeeping(core: Rc<Core>, reports: SyncSender<Report>) {
    let mut due_ms = sluice_rt::now_ms() + TICK_MS;
    let mut report_due_ms = 0;
    // One that found no room: the next is not made before it is sent, so that nothing is lost and little is kept.
    let mut waiting = None;
    loop {
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

fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Randomness from the standard library's per-process hash keys: request ids need to differ, not to be secret.
fn random_seed() -> [u64; 2] {
    use std::hash::{BuildHasher, RandomState};
    [RandomState::new().hash_one(0_u8), RandomState::new().hash_one(unix_ns())]
}
