//! Replacing the running process by a new one without losing a connection.
//!
//! ```text
//! old:  SIGUSR2 or `sluice upgrade` -> spawn new binary with the listening sockets and XDP -> wait ---> let go of XDP -> drain -> exit
//! new:                                 read, check, compile, start cores, accept ----> "ready" \-> wait for that \-> go on with XDP
//! ```
//! Both accept from the very same sockets for a moment, so a connection that the kernel has queued finds one of them in any
//! case. A new process that ends, or says nothing for [`PATIENCE`], leaves the old one as it was.

use crate::listeners::Kept;
use crate::usage::Keeper;
use crate::xdp::Kernel;
use rustix::io::{FdFlags, fcntl_setfd};
use sluice_store::Store;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For the new process to say that it serves: it may have names to resolve and thousands of routes to compile.
const PATIENCE: Duration = Duration::from_secs(60);
/// For the old process to let go of what only one of them can have.
const RELEASE_PATIENCE: Duration = Duration::from_secs(10);
/// For a new process that has given up to end.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// What the link between the two is called.
pub(crate) const LINK: &str = "parent";
/// What the new process says.
const READY: &[u8] = b"ready\n";

/// All that a new process needs from this one.
pub(crate) struct Upgrader {
    program: PathBuf,
    arguments: Vec<OsString>,
    kept: Vec<Kept>,
    store: Arc<Store>,
    keeper: Arc<Keeper>,
    kernel: Kernel,
}

/// What only one of two processes can have, or can change.
pub(crate) struct PassedOn {
    pub(crate) store: Arc<Store>,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) kernel: Kernel,
}

/// The new process, serving. Dropping it tells it that this one has let go.
#[derive(Debug)]
pub(crate) struct Successor {
    pub(crate) pid: u32,
    _link: UnixStream,
}

impl Upgrader {
    /// Notes the program's path now: once a package manager has put another file there, `/proc` calls it deleted.
    pub(crate) fn new(kept: Vec<Kept>, passed_on: PassedOn) -> std::io::Result<Self> {
        let program = std::env::current_exe()?;
        let PassedOn { store, keeper, kernel } = passed_on;
        Ok(Self { program, arguments: std::env::args_os().skip(1).collect(), kept, store, keeper, kernel })
    }

    /// Starts the program that is at our path now and waits until it serves. Blocks.
    pub(crate) fn start(&self) -> Result<Successor, String> {
        // Only one process can have the file. The new one needs what is in it before it can serve.
        if let Err(error) = self.keeper.keep() {
            eprintln!("sluice: error: what keys used of their quotas is not handed over: {error}");
        }
        self.store.hand_over();
        let started = self.try_start();
        if started.is_err()
            && let Err(error) = self.store.take_back()
        {
            eprintln!("sluice: error: {error}: the control plane takes no changes until a restart");
        }
        started
    }

    fn try_start(&self) -> Result<Successor, String> {
        let (ours, theirs) = UnixStream::pair().map_err(|e| format!("can't make a socket pair: {e}"))?;
        let mut child =
            self.spawn(theirs).map_err(|e| format!("can't start {}: {e}", self.program.display()))?;
        match wait_until_ready(&ours) {
            Ok(()) => Ok(Successor { pid: child.id(), _link: ours }),
            Err(why) => {
                let ended = end(&mut child);
                Err(format!("the new process did not get ready: {why} ({ended}); this one goes on"))
            }
        }
    }

    fn spawn(&self, link: UnixStream) -> std::io::Result<Child> {
        // Duplicates of our own, which this call ends: only they are without close-on-exec.
        let mut passed: Vec<(OwnedFd, String)> = Vec::new();
        for kept in &self.kept {
            passed.push((kept.socket.try_clone()?.into(), kept.name.clone()));
        }
        passed.push((link.into(), LINK.to_owned()));
        passed.extend(self.kernel.hand_over().into_iter().map(|(name, fd)| (fd, name)));
        for (fd, _) in &passed {
            fcntl_setfd(fd, FdFlags::empty())?;
        }
        let handover =
            sluice_rt::handover_value(passed.iter().map(|(fd, name)| (fd.as_raw_fd(), name.as_str())));
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env(sluice_rt::HANDOVER_VARIABLE, handover);
        // Meant for this process by number, or, the watchdog's, for whoever is the service.
        for variable in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"] {
            command.env_remove(variable);
        }
        command.spawn()
    }
}

fn wait_until_ready(mut link: &UnixStream) -> Result<(), String> {
    let mut said = [0; READY.len()];
    let result = link.set_read_timeout(Some(PATIENCE)).and_then(|()| link.read_exact(&mut said));
    match result {
        Ok(()) if said == *READY => Ok(()),
        Ok(()) => Err("it says something else".to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err("it ended".to_owned()),
        Err(_) => Err(format!("nothing for {} s", PATIENCE.as_secs())),
    }
}

fn end(child: &mut Child) -> String {
    // Its end of the link closes a little before it has ended, and its exit code says why.
    let until = Instant::now() + END_PATIENCE;
    while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
        std::thread::sleep(Duration::from_millis(5));
    }
    // Fails if it has.
    let _ = child.kill();
    child.wait().map_or_else(|error| error.to_string(), |status| status.to_string())
}

/// The new process's end of the link.
pub(crate) struct Predecessor(UnixStream);

impl Predecessor {
    pub(crate) fn new(link: OwnedFd) -> Self {
        Self(UnixStream::from(link))
    }

    /// Says that this process serves, and waits until the old one has let go.
    pub(crate) fn take_over(mut self) -> Result<(), String> {
        let mut nothing = [0; 1];
        let result = (self.0.write_all(READY))
            .and_then(|()| self.0.set_read_timeout(Some(RELEASE_PATIENCE)))
            .and_then(|()| self.0.read(&mut nothing));
        result.map(drop).map_err(|error| format!("the old process does not let go: {error}"))
    }
}
