//! Sending: a queue per stream, at most one batch of it in the kernel's hands, the next one started by its completion.

use crate::{
    io::{Ios, Phase, gone},
    out::{Flight, Segment},
    ring::{Op, Token},
    socket,
    task::Waiter,
};
use std::io;

impl Ios {
    /// Lends the vector that output is appended to.
    #[inline]
    pub(crate) fn take_tail(&mut self, index: u32) -> Vec<u8> {
        match self.slots.get_mut(index as usize) {
            Some(io) => io.out.take_tail(&mut self.vecs),
            None => Vec::new(),
        }
    }

    /// Takes the vector back. Output of a broken stream is forgotten.
    #[inline]
    pub(crate) fn put_tail(&mut self, index: u32, tail: Vec<u8>) {
        match self.slots.get_mut(index as usize) {
            Some(io) if io.send_error == 0 => io.out.put_tail(tail, &mut self.vecs),
            _ => self.vecs.put(tail),
        }
    }

    #[inline]
    pub(crate) fn append(&mut self, index: u32, bytes: &[u8]) {
        if let Some(io) = self.slots.get_mut(index as usize).filter(|io| io.send_error == 0) {
            io.out.append(bytes, &mut self.vecs);
        }
    }

    pub(crate) fn push_segment(&mut self, index: u32, segment: Segment) {
        match self.slots.get_mut(index as usize) {
            Some(io) if io.send_error == 0 => io.out.push(segment, &mut self.vecs),
            _ => self.vecs.recycle(segment),
        }
    }

    /// Marks a socket to be flushed when the turn ends: what else it writes until then goes along.
    #[inline]
    pub(crate) fn flush(&mut self, index: u32) {
        let Some(io) = self.slots.get_mut(index as usize) else { return };
        io.flush_wanted = true;
        if io.flight.is_idle() && !io.hold_send && !std::mem::replace(&mut io.dirty, true) {
            self.dirty.push(index);
        }
    }

    /// Starts the sends that were asked for in this turn.
    pub(crate) fn flush_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for index in dirty.drain(..) {
            if let Some(io) = self.slots.get_mut(index as usize) {
                io.dirty = false;
            }
            self.start_send(index);
        }
        self.dirty = dirty;
    }

    /// Hands the next batch to the kernel if the socket is free to send.
    pub(crate) fn start_send(&mut self, index: u32) {
        let Some(io) = self.slots.get_mut(index as usize) else { return };
        let ready = matches!(io.phase, Phase::Open | Phase::Closing)
            && io.flight.is_idle()
            && io.flush_wanted
            && !io.hold_send
            && io.send_error == 0;
        if !ready {
            return;
        }
        io.flight = io.out.take_batch(&mut self.vecs);
        if io.flight.is_idle() {
            return self.sent_all(index);
        }
        self.submit_send(index);
    }

    /// Submits the flight, or what is left of it.
    pub(crate) fn submit_send(&mut self, index: u32) {
        let Some(io) = self.slots.get_mut(index as usize) else { return };
        let (fd, token) = (io.fd, Token::new(Op::Send, io.generation, index));
        match &mut io.flight {
            Flight::Idle => {}
            Flight::One { segment, sent } => {
                let rest = segment.bytes().get(*sent..).unwrap_or_default();
                let len = rest.len().min(1 << 30) as u32;
                // SAFETY: the flight owns the bytes, and is neither changed nor dropped before the completion.
                unsafe { self.ring.send(fd, rest.as_ptr(), len, token) };
            }
            // SAFETY: as above, and so for the header.
            Flight::Many(gather) => unsafe { self.ring.send_msg(fd, gather.prepare(), token) },
        }
    }

    /// Takes what is written out of the queue for [`Self::send_now`]; false: the kernel has some of it, or it is too much.
    pub(crate) fn take_flight(&mut self, index: u32) -> bool {
        let Some(io) = self.slots.get_mut(index as usize) else { return false };
        let free = io.flight.is_idle() && io.send_error == 0 && io.out.is_one_batch();
        if free {
            io.flight = io.out.take_batch(&mut self.vecs);
        }
        free
    }

    /// Sends what [`Self::take_flight`] took, without the ring; false: the socket is full. `more`: what follows may share
    /// the last segment.
    pub(crate) fn send_now(&mut self, index: u32, more: bool) -> io::Result<bool> {
        let Some(io) = self.slots.get_mut(index as usize) else { return Err(gone()) };
        while !io.flight.is_idle() {
            match io.flight.send_now(io.fd, more) {
                Ok(count) => {
                    io.flight.advance(count, &mut self.vecs);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Everything written has been taken by the kernel.
    fn sent_all(&mut self, index: u32) {
        let Some(io) = self.slots.get_mut(index as usize) else { return };
        io.flush_wanted = false;
        if std::mem::take(&mut io.shutdown_wanted) {
            // ENOTCONN: the peer was faster, and the receive side will tell.
            let _ = socket::shutdown_write(io.fd);
        }
    }

    /// FIN once everything written is out.
    pub(crate) fn shutdown_write(&mut self, index: u32) {
        if let Some(io) = self.get(index) {
            io.shutdown_wanted = true;
            self.flush(index);
        }
    }

    /// Whether everything written has been taken by the kernel; `None` to wait.
    pub(crate) fn try_flushed(&mut self, index: u32, limit: usize) -> Option<io::Result<()>> {
        let Some(io) = self.slots.get_mut(index as usize) else { return Some(Err(gone())) };
        if io.send_error != 0 {
            return Some(Err(io::Error::from_raw_os_error(io.send_error)));
        }
        if io.pending_send_bytes() <= limit {
            return Some(Ok(()));
        }
        io.expired.then(|| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Forgets what was not sent and cancels what is being sent.
    pub(crate) fn give_up_sending(&mut self, index: u32) {
        let Some(io) = self.slots.get_mut(index as usize) else { return };
        io.flush_wanted = false;
        io.out.clear(&mut self.vecs);
        if std::mem::take(&mut io.send_stalled) {
            io.flight.clear(&mut self.vecs);
        } else if !io.flight.is_idle() {
            self.ring.cancel(io.fd, Token::new(Op::Send, io.generation, index));
        }
    }

    pub(crate) fn on_send(&mut self, index: u32, result: i32) -> Waiter {
        let Some(io) = self.slots.get_mut(index as usize) else { return Waiter::Nobody };
        match result {
            0.. => {
                if !io.flight.advance(result as usize, &mut self.vecs) {
                    self.submit_send(index);
                    return Waiter::Nobody;
                }
                if io.phase == Phase::Open {
                    self.start_send(index);
                }
            }
            result if matches!(-result, libc::EAGAIN | libc::EINTR) && io.flush_wanted => {
                io.send_stalled = true;
                self.arm_poll(index, Op::PollOut);
                return Waiter::Nobody;
            }
            result => {
                io.send_error = -result;
                io.flush_wanted = false;
                io.flight.clear(&mut self.vecs);
                io.out.clear(&mut self.vecs);
            }
        }
        self.finish_closing(index);
        self.get(index).map(|io| io.send_waiter.take()).unwrap_or_default()
    }
}
