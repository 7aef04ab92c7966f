//! Mailboxes: values from any thread to a task of one core.

use crate::{
    inbox::Inbox,
    sync::{AtomicBool, AtomicUsize, Ordering},
    waker_cell::WakerCell,
};
use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

struct Shared<T> {
    inbox: Inbox<T>,
    waker: WakerCell,
    senders: AtomicUsize,
    closed: AtomicBool,
}

/// An unbounded mailbox: for configuration, shutdown and replies, not for bulk data.
pub fn mailbox<T: Send>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        inbox: Inbox::new(),
        waker: WakerCell::new(),
        senders: AtomicUsize::new(1),
        closed: AtomicBool::new(false),
    });
    (Sender { shared: Arc::clone(&shared) }, Receiver { shared, taken: VecDeque::new() })
}

/// Sends from any thread, never blocking.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T: Send> Sender<T> {
    /// Posts a value. Gives it back if the receiver is gone.
    pub fn send(&self, value: T) -> Result<(), T> {
        if self.shared.closed.load(Ordering::Relaxed) {
            return Err(value);
        }
        self.shared.inbox.push(value);
        // Its exchange orders us with `poll_recv`: we see the receiver's waker, or it sees the value.
        self.shared.waker.wake();
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Sender { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // Release: values pushed by this sender are seen by a receiver that sees the count.
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.waker.wake();
        }
    }
}

/// Receives in the order of arrival. May be made on one thread and moved to the core that uses it.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    taken: VecDeque<T>,
}

impl<T: Send> Receiver<T> {
    /// The next value, or `None` once every sender is gone and the box is empty.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next value if one is there.
    pub fn try_recv(&mut self) -> Option<T> {
        if self.taken.is_empty() {
            self.shared.inbox.drain(|value| self.taken.push_back(value));
        }
        self.taken.pop_front()
    }

    /// [`Receiver::recv`] for hand-written futures.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if let Some(value) = self.try_recv() {
            return Poll::Ready(Some(value));
        }
        self.shared.waker.register(cx.waker());
        // The count first: a sender's values are in the box before it leaves.
        let deserted = self.shared.senders.load(Ordering::Acquire) == 0;
        match self.try_recv() {
            Some(value) => Poll::Ready(Some(value)),
            None if deserted => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}
