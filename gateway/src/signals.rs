//! The main thread's loop: signals and upkeep.

use crate::Failure;
use crate::publish::Publisher;
use crate::xdp::Kernel;
use sluice_control::Reload;
use sluice_telemetry::LogThread;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How often retired snapshots are looked at.
const SWEEP: Duration = Duration::from_secs(1);
/// How often bans that are over go, sampled drops are logged, and block files are looked at.
const XDP_SWEEP: Duration = Duration::from_secs(1);

/// Handles signals until one says to end.
pub(crate) fn wait(
    publisher: &Arc<Publisher>,
    kernel: &Kernel,
    log: Option<&LogThread>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Runtime(format!("can't handle signals: {error}")))?;
    runtime
        .block_on(handle(publisher, kernel, log))
        .map_err(|e| Failure::Runtime(format!("can't handle signals: {e}")))
}

async fn handle(publisher: &Arc<Publisher>, kernel: &Kernel, log: Option<&LogThread>) -> std::io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut reopen = signal(SignalKind::user_defined1())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut sweep = tokio::time::interval(SWEEP);
    let mut xdp_sweep = tokio::time::interval(XDP_SWEEP);
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => {
                // Off this thread's reactor: names may have to be resolved. The outcome is told on stderr.
                let publisher = Arc::clone(publisher);
                drop(tokio::task::spawn_blocking(move || publisher.reload()));
            }
            _ = reopen.recv() => {
                if let Some(log) = log {
                    log.reopen();
                }
            }
            _ = sweep.tick() => publisher.sweep(),
            _ = xdp_sweep.tick() => {
                kernel.sweep();
                let kernel = kernel.clone();
                // Long lists take a while to read.
                drop(tokio::task::spawn_blocking(move || kernel.refresh()));
            }
        }
    }
}
