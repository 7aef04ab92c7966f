//! One waker, registered by one thread and taken by any: the meeting point of a mailbox's two ends.
//!
//! ```text
//!            register                    wake
//!   IDLE ──────────────> REGISTERING   IDLE ─────────────> WAKING ──(waker taken)──> IDLE
//!   REGISTERING ──(stored)──> IDLE     REGISTERING ──────> REGISTERING | WAKING: the registrar wakes instead
//!                                      WAKING: somebody else is at it
//! ```

use crate::sync::{AtomicUsize, Ordering, UnsafeCell};
use std::task::Waker;

const IDLE: usize = 0;
const REGISTERING: usize = 1;
const WAKING: usize = 2;

/// Holds at most one waker.
pub(crate) struct WakerCell {
    state: AtomicUsize,
    waker: UnsafeCell<Option<Waker>>,
}

// SAFETY: the cell is only accessed by the thread that moved `state` from IDLE to REGISTERING or WAKING, and wakers
// may be used and dropped by any thread.
unsafe impl Sync for WakerCell {}
// SAFETY: as above.
unsafe impl Send for WakerCell {}

impl WakerCell {
    pub(crate) fn new() -> WakerCell {
        WakerCell { state: AtomicUsize::new(IDLE), waker: UnsafeCell::new(None) }
    }

    /// Stores `waker`, unless a wake is under way, which then wakes it. Only one thread may register at a time.
    pub(crate) fn register(&self, waker: &Waker) {
        if self.state.compare_exchange(IDLE, REGISTERING, Ordering::Acquire, Ordering::Acquire).is_err() {
            // A wake holds the cell, so the event has happened: come again at once.
            waker.wake_by_ref();
            return;
        }
        let replaced = self.waker.with_mut(|cell| {
            // SAFETY: REGISTERING excludes everybody else.
            unsafe { (*cell).replace(waker.clone()) }
        });
        if self.state.compare_exchange(REGISTERING, IDLE, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // A wake came meanwhile and left it to us.
            let stored = self.waker.with_mut(|cell| {
                // SAFETY: the state is REGISTERING | WAKING, which still excludes everybody else.
                unsafe { (*cell).take() }
            });
            self.state.swap(IDLE, Ordering::AcqRel);
            if let Some(waker) = stored {
                waker.wake();
            }
        }
        drop(replaced);
    }

    /// Wakes what is registered, if anything.
    pub(crate) fn wake(&self) {
        if self.state.fetch_or(WAKING, Ordering::AcqRel) != IDLE {
            return;
        }
        let waker = self.waker.with_mut(|cell| {
            // SAFETY: WAKING, from IDLE, excludes everybody else.
            unsafe { (*cell).take() }
        });
        self.state.fetch_and(!WAKING, Ordering::Release);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
