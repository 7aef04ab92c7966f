//! Watching for the peer's end while nobody reads.
//!
//! The receive that a quiet stream has armed anyway brings the end with it, so watching costs no operation. Only where a
//! reader lags and its receive was stopped is the kernel asked, by a poll for hang-ups, which what is unread does not
//! disturb.

use crate::{
    executor::Core,
    io::{Arm, Ios, Phase},
    ring::Op,
    stream::Stream,
    task::Waiter,
};
use std::{
    fmt,
    rc::Rc,
    task::{Context, Poll},
};

/// Watches a [`Stream`] without holding it. To be polled by the task that reads the stream, if there is one.
pub struct Watch {
    core: Rc<Core>,
    index: u32,
    generation: u32,
}

impl Stream {
    /// Watches for the peer's end. One at a time: another replaces it.
    pub fn watch(&self) -> Watch {
        let (core, index) = (Rc::clone(self.core()), self.index());
        let generation = core.io.borrow_mut().set_watched(index, true);
        Watch { core, index, generation }
    }

    /// Nobody is to be told of the peer's end any more: it is part of the protocol from here on.
    pub fn unwatch(&self) {
        self.core().io.borrow_mut().set_watched(self.index(), false);
    }
}

impl Watch {
    /// Ready once the peer has ended its half, or the connection is lost, whatever came before that is unread; or the
    /// stream was dropped.
    pub fn poll_gone(&self, cx: &Context<'_>) -> Poll<()> {
        let (gone, waits) = self.core.io.borrow_mut().is_gone(self.index, self.generation);
        if gone {
            return Poll::Ready(());
        }
        if !waits {
            let waiter = Waiter::new(cx.waker());
            if let Some(io) = self.core.io.borrow_mut().get(self.index) {
                io.recv_waiter = waiter;
            }
        }
        Poll::Pending
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut io = self.core.io.borrow_mut();
        if let Some(io) = io.get(self.index).filter(|io| io.generation == self.generation) {
            io.watched = false;
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("index", &self.index).finish_non_exhaustive()
    }
}

impl Ios {
    /// Returns the generation of the slot.
    fn set_watched(&mut self, index: u32, watched: bool) -> u32 {
        self.get(index).map_or(0, |io| {
            io.watched = watched;
            io.generation
        })
    }

    /// Whether the peer is gone; and whether nothing has to be registered to hear of it.
    fn is_gone(&mut self, index: u32, generation: u32) -> (bool, bool) {
        let here = |io: &&mut crate::io::Io| io.generation == generation && io.phase == Phase::Open;
        let Some(io) = self.get(index).filter(here) else { return (true, true) };
        if !io.watched {
            return (false, true);
        }
        if io.eof || io.hung_up || io.recv_error != 0 || io.send_error != 0 {
            return (true, true);
        }
        let waits = !io.recv_waiter.is_nobody();
        if io.recv_arm == Arm::Off && !io.hold_recv && !io.starved && io.nonblocking == 0 {
            self.arm_poll(index, Op::PollHup);
        }
        (false, waits)
    }

    pub(crate) fn on_hang_up(&mut self, index: u32, result: i32) -> Waiter {
        let Some(io) = self.get(index) else { return Waiter::Nobody };
        io.poll_hup = false;
        if io.phase != Phase::Open {
            self.finish_closing(index);
            return Waiter::Nobody;
        }
        // Negative: the poll failed, and reading will tell.
        io.hung_up |= result > 0;
        if io.watched { io.recv_waiter.take() } else { Waiter::Nobody }
    }
}
