//! Lock-free hand-over of values from any thread to one.
//!
//! [`Inbox`] is a stack that is pushed to one by one and taken as a whole, which leaves no room for ABA: nobody
//! pops single nodes. [`Doorbell`] adds the question whether the other side sleeps.

use crate::sync::{AtomicBool, AtomicPtr, Ordering, fence};
use std::ptr;

struct Node<T> {
    value: T,
    next: *mut Node<T>,
}

/// Many threads push, one drains.
pub(crate) struct Inbox<T> {
    newest: AtomicPtr<Node<T>>,
}

// SAFETY: values only move through it, from the pushing thread to the draining one.
unsafe impl<T: Send> Send for Inbox<T> {}
// SAFETY: as above; nobody gets a reference to a value inside.
unsafe impl<T: Send> Sync for Inbox<T> {}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Inbox<T> {
        Inbox { newest: AtomicPtr::new(ptr::null_mut()) }
    }

    pub(crate) fn push(&self, value: T) {
        let node = Box::into_raw(Box::new(Node { value, next: ptr::null_mut() }));
        let mut newest = self.newest.load(Ordering::Relaxed);
        loop {
            // SAFETY: not shared before the exchange below succeeds.
            unsafe { (*node).next = newest };
            // Release: whoever takes the stack sees the node's contents.
            match self.newest.compare_exchange_weak(newest, node, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => newest = other,
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.newest.load(Ordering::Relaxed).is_null()
    }

    /// Takes everything, oldest first.
    pub(crate) fn drain(&self, each: impl FnMut(T)) {
        if self.is_empty() {
            return;
        }
        // Owned until handed out, so that a panic in `each` leaks nothing.
        Chain(reverse(self.newest.swap(ptr::null_mut(), Ordering::Acquire))).for_each(each);
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        drop(Chain(self.newest.swap(ptr::null_mut(), Ordering::Acquire)));
    }
}

/// A list of nodes that nobody else knows.
struct Chain<T>(*mut Node<T>);

impl<T> Iterator for Chain<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: made by `Box::into_raw` in `push`, and owned by this chain since it was swapped out.
        let node = unsafe { Box::from_raw(self.0) };
        self.0 = node.next;
        Some(node.value)
    }
}

impl<T> Drop for Chain<T> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

fn reverse<T>(mut node: *mut Node<T>) -> *mut Node<T> {
    let mut reversed = ptr::null_mut();
    while !node.is_null() {
        // SAFETY: the list was swapped out, so it is ours.
        let next = unsafe { std::mem::replace(&mut (*node).next, reversed) };
        reversed = node;
        node = next;
    }
    reversed
}

/// An inbox whose owner may sleep; a push tells whether to ring.
///
/// The owner announces its sleep and then looks once more; a pusher pushes and then looks for the announcement. With
/// a sequentially consistent fence on both sides, at least one of them sees the other.
pub(crate) struct Doorbell<T> {
    inbox: Inbox<T>,
    asleep: AtomicBool,
}

impl<T> Doorbell<T> {
    pub(crate) fn new() -> Doorbell<T> {
        Doorbell { inbox: Inbox::new(), asleep: AtomicBool::new(false) }
    }

    /// True: the owner sleeps, and this call is the one that has to wake it.
    #[must_use]
    pub(crate) fn push(&self, value: T) -> bool {
        self.inbox.push(value);
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel)
    }

    /// Owner: announces sleep. False: something has arrived, stay awake.
    #[must_use]
    pub(crate) fn fall_asleep(&self) -> bool {
        // An exchange rather than a store, so that this is the newest state for whoever sees it.
        self.asleep.swap(true, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        if self.inbox.is_empty() {
            return true;
        }
        self.wake_up();
        false
    }

    /// Owner: awake, no need to ring.
    pub(crate) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.inbox.is_empty()
    }

    /// Owner: takes everything, oldest first.
    pub(crate) fn drain(&self, each: impl FnMut(T)) {
        self.inbox.drain(each);
    }
}
