//! The main thread's loop: signals, upgrades, the watchdog and upkeep.

use crate::Failure;
use crate::acme::Keeper;
use crate::notify::Notifier;
use crate::publish::Publisher;
use crate::upgrade::{Successor, Upgrader};
use crate::watchdog::Watchdog;
use crate::xdp::Kernel;
use sluice_control::Reload;
use sluice_telemetry::LogThread;
use std::sync::{Arc, mpsc as std_mpsc};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

/// How often retired snapshots are looked at.
const SWEEP: Duration = Duration::from_secs(1);
/// How often the backends of REST APIs are looked up again.
const RESOLVE: Duration = Duration::from_secs(30);
/// How often bans that are over go, sampled drops are logged, and block files are looked at.
const XDP_SWEEP: Duration = Duration::from_secs(1);

/// Why the process ends.
#[derive(Debug)]
pub(crate) enum End {
    /// It was told to.
    Told,
    /// Another process serves in its place.
    Succeeded(Successor),
}

/// An upgrade that somebody waits for.
pub(crate) struct Ask(std_mpsc::Sender<Result<u32, String>>);

/// Asks the main thread for upgrades.
#[derive(Clone)]
pub(crate) struct Asker(mpsc::Sender<Ask>);

impl Asker {
    /// Upgrades; gives the new process's id. Blocks until it serves or has failed.
    pub(crate) fn upgrade(&self) -> Result<u32, String> {
        let (answer, answered) = std_mpsc::channel();
        let ended = || "the gateway is ending".to_owned();
        self.0.blocking_send(Ask(answer)).map_err(|_| ended())?;
        answered.recv().map_err(|_| ended())?
    }
}

/// The two ends of the way from an [`Asker`] to [`Main::wait`].
pub(crate) fn asking() -> (Asker, mpsc::Receiver<Ask>) {
    let (send, receive) = mpsc::channel(4);
    (Asker(send), receive)
}

/// The signals that an operator sends to a service that runs. Until somebody catches them, each of them would end it.
struct Upkeep {
    hangup: Signal,
    reopen: Signal,
    renew: Signal,
}

/// The signals that end it in good order.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

/// Those caught before the process serves, kept until [`Main::wait`] sees to them.
pub(crate) struct EarlySignals {
    runtime: Runtime,
    upkeep: Upkeep,
}

/// All that are caught.
pub(crate) struct Signals {
    early: EarlySignals,
    ends: Ends,
}

impl EarlySignals {
    /// Catches those that must not end a process that is starting: a log rotation may come at any time, and a successor's
    /// process id is known before it is done. Starts no thread.
    pub(crate) fn catch() -> Result<Self, Failure> {
        let catch = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let guard = runtime.enter();
            let upkeep = Upkeep {
                hangup: signal(SignalKind::hangup())?,
                reopen: signal(SignalKind::user_defined1())?,
                renew: signal(SignalKind::user_defined2())?,
            };
            drop(guard);
            Ok(Self { runtime, upkeep })
        };
        catch().map_err(failed)
    }

    /// With those that ask for an end: from here on there may be requests to finish before it.
    pub(crate) fn with_ends(self) -> Result<Signals, Failure> {
        let guard = self.runtime.enter();
        let catch = || {
            Ok(Ends {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            })
        };
        let ends = catch().map_err(failed)?;
        drop(guard);
        Ok(Signals { early: self, ends })
    }
}

fn failed(error: std::io::Error) -> Failure {
    Failure::Runtime(format!("can't handle signals: {error}"))
}

/// What the main thread looks after.
pub(crate) struct Main<'a> {
    pub(crate) publisher: &'a Arc<Publisher>,
    pub(crate) kernel: &'a Kernel,
    pub(crate) log: Option<&'a LogThread>,
    pub(crate) upgrader: Arc<Upgrader>,
    pub(crate) notifier: &'a Notifier,
    pub(crate) watchdog: Watchdog,
}

impl Main<'_> {
    /// Does its work until the process is to end.
    pub(crate) fn wait(mut self, signals: Signals, asks: mpsc::Receiver<Ask>) -> End {
        let Signals { early: EarlySignals { runtime, upkeep }, ends } = signals;
        runtime.block_on(self.handle(upkeep, ends, asks))
    }

    async fn handle(&mut self, upkeep: Upkeep, ends: Ends, mut asks: mpsc::Receiver<Ask>) -> End {
        let Upkeep { mut hangup, mut reopen, mut renew } = upkeep;
        let Ends { mut terminate, mut interrupt } = ends;
        let mut sweep = tokio::time::interval(SWEEP);
        let mut xdp_sweep = tokio::time::interval(XDP_SWEEP);
        let mut resolve = tokio::time::interval(RESOLVE);
        let mut watch = self.notifier.watchdog_interval().map(tokio::time::interval);
        let mut upgrade: Option<Upgrade> = None;
        let mut keeper = Keeper::default();
        loop {
            tokio::select! {
                _ = terminate.recv() => return End::Told,
                _ = interrupt.recv() => return End::Told,
                _ = hangup.recv() => {
                    // Off this thread's reactor: names may have to be resolved. The outcome is told on stderr.
                    let publisher = Arc::clone(self.publisher);
                    drop(spawn_blocking(move || publisher.reload()));
                }
                _ = reopen.recv() => {
                    if let Some(log) = self.log {
                        log.reopen();
                    }
                }
                _ = renew.recv() => self.begin(&mut upgrade, None),
                Some(Ask(answer)) = asks.recv() => self.begin(&mut upgrade, Some(answer)),
                outcome = finished(&mut upgrade) => if let Some(successor) = tell(upgrade.take(), outcome) {
                    return End::Succeeded(successor);
                },
                () = tick(&mut watch) => self.watchdog.check(self.notifier),
                _ = sweep.tick() => {
                    self.publisher.sweep();
                    keeper.follow(self.publisher);
                }
                _ = resolve.tick() => {
                    let publisher = Arc::clone(self.publisher);
                    drop(spawn_blocking(move || publisher.refresh_backends()));
                }
                _ = xdp_sweep.tick() => {
                    self.kernel.sweep();
                    let kernel = self.kernel.clone();
                    // Long lists take a while to read.
                    drop(spawn_blocking(move || kernel.refresh()));
                }
            }
        }
    }

    fn begin(&self, upgrade: &mut Option<Upgrade>, answer: Option<std_mpsc::Sender<Result<u32, String>>>) {
        if upgrade.is_some() {
            let busy = "an upgrade is under way".to_owned();
            match answer {
                // Who asked may have gone.
                Some(answer) => drop(answer.send(Err(busy))),
                None => eprintln!("sluice: note: {busy}"),
            }
            return;
        }
        let upgrader = Arc::clone(&self.upgrader);
        *upgrade = Some(Upgrade { work: spawn_blocking(move || upgrader.start()), answer });
    }
}

/// An upgrade under way.
struct Upgrade {
    work: JoinHandle<Result<Successor, String>>,
    answer: Option<std_mpsc::Sender<Result<u32, String>>>,
}

async fn finished(upgrade: &mut Option<Upgrade>) -> Result<Successor, String> {
    match upgrade {
        Some(upgrade) => (&mut upgrade.work).await.unwrap_or_else(|error| Err(error.to_string())),
        None => std::future::pending().await,
    }
}

/// Tells the outcome to who has asked, and a failure on stderr.
fn tell(upgrade: Option<Upgrade>, outcome: Result<Successor, String>) -> Option<Successor> {
    let answer = upgrade.and_then(|upgrade| upgrade.answer);
    let summary = match &outcome {
        Ok(successor) => Ok(successor.pid),
        Err(why) => {
            eprintln!("sluice: upgrade failed: {why}");
            Err(why.clone())
        }
    };
    if let Some(answer) = answer {
        // Who asked may have gone.
        drop(answer.send(summary));
    }
    outcome.ok()
}

async fn tick(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}
