//! Work on large bodies, away from the core.
//!
//! ```text
//! core: copy what a request tells, hand its body over ──> a worker: validate, map ──> core: go on
//! ```
//! Parsing, validating and mapping some megabytes of JSON takes tens of milliseconds, in which a core would serve nobody else. Below
//! [`AWAY_BYTES`] it is begun in place, as the detour costs two wakes and a copy of the head, and comes here when it takes more
//! than [`Work::on_core`](sluice_mapping::Work::on_core). There are few workers, and they give way to the cores. Their queue has no bound of its own: each piece
//! belongs to an exchange that waits, holds a body that was in memory before, and is one of no more than there may be connections.

use rustix::process::setpriority_process;
use sluice_rt::mailbox;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

/// Bodies from this size on are worked on elsewhere: about a millisecond of parsing, validating and mapping.
pub(crate) const AWAY_BYTES: usize = 128 * 1024;
/// Workers of the process.
const WORKERS: usize = 2;
/// How nice they are: a core that has something to do gets nine tenths of the CPU that they share (sched(7)).
const NICE: i32 = 10;

type Work = Box<dyn FnOnce() + Send>;

/// Starts the workers, if there are none yet: from a thread that may run on every CPU, as theirs may be those of the one that
/// starts them.
pub fn start_workers() {
    workers();
}

/// The workers' queue; `None` where no thread could be had.
fn workers() -> Option<&'static Sender<Work>> {
    static QUEUE: OnceLock<Option<Sender<Work>>> = OnceLock::new();
    QUEUE
        .get_or_init(|| {
            let (send, receive) = channel::<Work>();
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
    // On Linux this is the thread's alone. If it is refused they are as nice as all others, which is still right.
    let _ = setpriority_process(None, NICE);
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
        Some(queue) => queue.send(piece).err().map(|refused| refused.0),
        None => Some(piece),
    };
    if let Some(piece) = refused {
        piece();
    }
    receive.recv().await
}
