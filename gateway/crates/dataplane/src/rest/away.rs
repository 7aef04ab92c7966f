//! Work on large bodies, away from the core.
//!
//! ```text
//! core: copy what a request tells, hand its body over ──> a worker: validate, map ──> core: go on
//! ```
//! Parsing, validating and mapping some megabytes of JSON takes tens of milliseconds, in which a core would serve nobody else. Below
//! [`AWAY_BYTES`] it is done in place: the detour costs two wakes and a copy of the head. There are few workers, at a lower
//! priority than the cores by their number alone, and a bounded queue; what finds no room is done in place, late rather than
//! never.

use sluice_rt::mailbox;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

/// Bodies from this size on are worked on elsewhere: about a millisecond of parsing, validating and mapping.
pub(crate) const AWAY_BYTES: usize = 128 * 1024;
/// Workers of the process.
const WORKERS: usize = 2;
/// Work that waits; each piece holds a body.
const QUEUE: usize = 64;

type Work = Box<dyn FnOnce() + Send>;

/// The workers' queue; `None` where no thread could be had.
fn workers() -> Option<&'static SyncSender<Work>> {
    static QUEUE_OF_ALL: OnceLock<Option<SyncSender<Work>>> = OnceLock::new();
    QUEUE_OF_ALL
        .get_or_init(|| {
            let (send, receive) = sync_channel::<Work>(QUEUE);
            let receive = Arc::new(Mutex::new(receive));
            let started = (0..WORKERS).filter(|_| {
                let receive = Arc::clone(&receive);
                thread::Builder::new().name("sluice-mapping".into()).spawn(move || work(&receive)).is_ok()
            });
            (started.count() > 0).then_some(send)
        })
        .as_ref()
}

fn work(queue: &Mutex<Receiver<Work>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            // A panic ends the piece, and who waits for it hears that there is no outcome.
            Ok(work) => drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))),
            Err(_) => return,
        }
    }
}

/// What the work comes to, done on another thread. `None`: it panicked there.
pub(crate) async fn done<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (send, mut receive) = mailbox::<T>();
    let piece: Work = Box::new(move || drop(send.send(work())));
    let refused = match workers() {
        Some(queue) => queue.try_send(piece).err().map(|refused| match refused {
            std::sync::mpsc::TrySendError::Full(piece)
            | std::sync::mpsc::TrySendError::Disconnected(piece) => piece,
        }),
        None => Some(piece),
    };
    if let Some(piece) = refused {
        piece();
    }
    receive.recv().await
}
