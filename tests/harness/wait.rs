//! Waiting: always for a condition, always with a deadline.

use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long any single step may take before the test calls it hung. Generous: a loaded CI machine is slow, not wrong.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Polls `probe` until it yields a value; panics with `what` when [`PATIENCE`] runs out.
pub fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, probe)
}

/// Like [`eventually`], with a limit of one's own.
pub fn eventually_within<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A door that holds scripted backends until the test opens it.
#[derive(Default)]
pub struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }

    /// Blocks until [`Gate::open`]; gives up silently after [`PATIENCE`] so that a failed test can end.
    pub fn wait(&self) {
        let guard = self.open.lock().unwrap();
        let _ = self.changed.wait_timeout_while(guard, PATIENCE, |open| !*open).unwrap();
    }
}
