//! Interleavings of the cross-thread protocols, small cases:
//! `RUSTFLAGS="--cfg loom" cargo test -p sluice-rt --release --test loom`.

#![cfg(loom)]
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "includes modules of the crate, to run them on loom's atomics"
)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

#[path = "../src/inbox.rs"]
mod inbox;
#[path = "../src/mailbox.rs"]
mod mailbox;
#[path = "../src/waker_cell.rs"]
mod waker_cell;

mod sync {
    pub(crate) use loom::{
        cell::UnsafeCell,
        sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, fence},
    };
}

use inbox::{Doorbell, Inbox};
use loom::{sync::Notify, thread};
use std::{
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

/// Every interleaving with up to three preemptions, which is where such mistakes show; all of them would take hours.
fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

#[test]
fn an_inbox_loses_nothing_and_keeps_each_senders_order() {
    model(|| {
        let inbox = Arc::new(Inbox::new());
        let senders: Vec<_> = [10, 20]
            .into_iter()
            .map(|base| {
                let inbox = Arc::clone(&inbox);
                thread::spawn(move || {
                    inbox.push(Box::new(base));
                    inbox.push(Box::new(base + 1));
                })
            })
            .collect();
        let mut seen = Vec::new();
        inbox.drain(|value| seen.push(*value));
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        inbox.drain(|value| seen.push(*value));
        for base in [10, 20] {
            let of_sender: Vec<_> = seen.iter().copied().filter(|value| value / 10 == base / 10).collect();
            assert_eq!(of_sender, [base, base + 1]);
        }
    });
}

#[test]
fn what_is_left_in_an_inbox_is_dropped() {
    model(|| {
        let inbox = Arc::new(Inbox::new());
        let sender = {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || inbox.push(loom::alloc::Track::new(1)))
        };
        inbox.push(loom::alloc::Track::new(2));
        sender.join().unwrap();
    });
}

/// The core's loop: it sleeps only while nobody has pushed, or somebody will ring.
#[test]
fn a_doorbell_is_never_missed() {
    model(|| {
        let doorbell = Arc::new(Doorbell::new());
        let bell = Arc::new(Notify::new());
        let pushers: Vec<_> = (0..2)
            .map(|value| {
                let (doorbell, bell) = (Arc::clone(&doorbell), Arc::clone(&bell));
                thread::spawn(move || {
                    if doorbell.push(value) {
                        bell.notify();
                    }
                })
            })
            .collect();
        let mut seen = 0;
        while seen < 2 {
            if doorbell.fall_asleep() {
                bell.wait();
                doorbell.wake_up();
            }
            doorbell.drain(|_| seen += 1);
        }
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
    });
}

struct Ring(Notify);

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

/// Receives to the end, sleeping as a task would.
fn receive_all(receiver: &mut mailbox::Receiver<u32>) -> Vec<u32> {
    let ring = Arc::new(Ring(Notify::new()));
    let waker = Waker::from(Arc::clone(&ring));
    let mut seen = Vec::new();
    loop {
        match receiver.poll_recv(&mut Context::from_waker(&waker)) {
            Poll::Ready(Some(value)) => seen.push(value),
            Poll::Ready(None) => return seen,
            Poll::Pending => {
                ring.0.wait();
                // A wake that is half-way makes the task come again at once: let it get on.
                thread::yield_now();
            }
        }
    }
}

#[test]
fn a_mailbox_wakes_its_receiver_for_every_value_and_the_end() {
    model(|| {
        let (sender, mut receiver) = mailbox::mailbox();
        let sending = thread::spawn(move || {
            sender.send(1).unwrap();
            sender.send(2).unwrap();
        });
        assert_eq!(receive_all(&mut receiver), [1, 2]);
        sending.join().unwrap();
    });
}

#[test]
fn two_senders_share_a_mailbox() {
    model(|| {
        let (sender, mut receiver) = mailbox::mailbox();
        let other = sender.clone();
        let first = thread::spawn(move || sender.send(1).unwrap());
        let second = thread::spawn(move || other.send(2).unwrap());
        let mut seen = receive_all(&mut receiver);
        seen.sort_unstable();
        assert_eq!(seen, [1, 2]);
        first.join().unwrap();
        second.join().unwrap();
    });
}
