//! The client's end: streams opened on a connection that others drive.

use crate::driver::Driver;
use crate::link::Link;
use crate::stream::Stream;
use sluice_wire::Method;
use std::rc::Rc;
use std::task::Waker;

/// Opens streams on a connection; cheap to clone.
#[derive(Clone)]
pub struct Opener {
    link: Rc<Link>,
}

/// Stream ids end here; a connection that has used them up carries nothing new (RFC 9113 section 5.1.1).
const LAST_ID: u32 = 0x7fff_fffd;

impl Driver {
    /// What opens streams on this connection.
    #[must_use]
    pub fn opener(&self) -> Opener {
        Opener { link: Rc::clone(&self.link) }
    }
}

impl Opener {
    /// A new stream, unless the connection is full or about to end.
    #[must_use]
    pub fn open(&self, method: Method) -> Option<Stream> {
        if !self.has_room() {
            return None;
        }
        let mut state = self.link.state.borrow_mut();
        let id = if state.last_id == 0 { 1 } else { state.last_id + 2 };
        let at = state.open_stream(id);
        state.progress_ms = sluice_rt::now_ms();
        if let Some(slot) = state.slot(at) {
            slot.method = method;
        }
        drop(state);
        Some(Stream { link: Rc::clone(&self.link), at })
    }

    /// Whether [`Self::open`] would succeed.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let state = self.link.state.borrow();
        !self.is_ending_state(&state) && state.open_count() < state.peer_streams as usize
    }

    /// Wakes the task once [`Self::has_room`] or [`Self::is_ending`] may say something else.
    pub fn wake_on_room(&self, waker: Waker) {
        self.link.state.borrow_mut().room_waiters.push(waker);
    }

    /// No stream will ever be opened on it again.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.is_ending_state(&self.link.state.borrow())
    }

    fn is_ending_state(&self, state: &crate::link::State) -> bool {
        state.closed.is_some() || state.goaway.is_some() || state.retiring || state.last_id >= LAST_ID
    }

    /// Opens no stream any more, and has the connection end once there is none.
    pub fn retire(&self) {
        let mut state = self.link.state.borrow_mut();
        state.retiring = true;
        state.wake_driver();
    }

    /// Streams open now.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.link.state.borrow().open_count()
    }
}
