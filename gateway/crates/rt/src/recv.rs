//! Receiving: one multishot receive per stream, and how not to drown in what it brings.
//!
//! - A reader that lags (more than [`PAUSE_ABOVE_BUFFERS`] unread) has its receive cancelled, so that TCP's window closes,
//!   and armed again when it has caught up. What comes until then is a burst of the kernel: up to 32 buffers.
//! - When a buffer group runs low, data that is not consumed at once is copied to the heap, and the buffer goes back:
//!   slow readers can't starve the others.
//! - A stream whose large bodies are spliced ([`crate::Stream::set_bulk`]) receives one buffer at a time, so that the rest
//!   of a body is still in the socket when the splice begins.
//! - When a group is empty the kernel ends the receive with ENOBUFS; it is armed again when buffers are back and the reader
//!   does not lag.

use crate::{
    bufring::Buf,
    io::{Arm, Group, Ios, Phase, gone},
    ring::Op,
    socket,
    task::Waiter,
};
use std::io;

/// More unread buffers than this on one stream stop its receive …
const PAUSE_ABOVE_BUFFERS: usize = 8;
/// … and it goes on when the reader is down to this.
const RESUME_AT_BUFFERS: usize = 4;

impl Ios {
    /// Arms the receive if the socket is in want of one: multishot, but for bulk.
    pub(crate) fn arm_recv(&mut self, index: u32) {
        let Some(io) = self.slots.get_mut(index as usize).filter(|io| io.wants_recv()) else { return };
        let group = match io.group {
            Group::Accepted => self.accepted.group(),
            Group::Connected => self.connected.group(),
        };
        if std::mem::take(&mut io.is_nonblocking) {
            // Fails for no valid descriptor.
            let _ = socket::set_nonblocking(io.fd, false);
        }
        io.recv_arm = Arm::On;
        let (fd, multishot, token) = (io.fd, !io.bulk, io.token(Op::Recv, index));
        self.ring.recv(fd, group, multishot, token);
    }

    /// Takes effect with the next receive: the one that is armed stays as it is.
    pub(crate) fn set_bulk(&mut self, index: u32, bulk: bool) {
        if let Some(io) = self.slots.get_mut(index as usize) {
            io.bulk = bulk;
        }
    }

    /// Cancels the multishot receive; its final completion turns `recv_arm` off.
    pub(crate) fn disarm_recv(&mut self, index: u32) {
        let Some(io) = self.slots.get_mut(index as usize).filter(|io| io.recv_arm == Arm::On) else { return };
        io.recv_arm = Arm::Cancelling;
        let (fd, token) = (io.fd, io.token(Op::Recv, index));
        self.ring.cancel(fd, token);
    }

    /// What a reader gets now, or `None` to wait.
    #[inline]
    pub(crate) fn try_recv(&mut self, index: u32) -> Option<io::Result<Option<Buf>>> {
        let Some(io) = self.slots.get_mut(index as usize) else { return Some(Err(gone())) };
        if io.expired {
            return Some(Err(io::ErrorKind::TimedOut.into()));
        }
        if let Some(mut buf) = io.queue.pop_front() {
            self.stats.buffers_low += u64::from(buf.detach_if_low());
            if io.recv_arm == Arm::Off && io.queue.len() <= RESUME_AT_BUFFERS && !io.bulk {
                self.arm_recv(index);
            }
            return Some(Ok(Some(buf)));
        }
        match io {
            io if io.recv_error != 0 => Some(Err(io::Error::from_raw_os_error(io.recv_error))),
            io if io.eof => Some(Ok(None)),
            _ => {
                // Not armed after a bulk receive, whether the stream still is in bulk or not.
                self.arm_recv(index);
                None
            }
        }
    }

    /// At the end of a turn: sockets that ended their receive for want of buffers try again if there are some.
    pub(crate) fn feed_starved(&mut self) {
        self.accepted.publish();
        self.connected.publish();
        if self.starved.is_empty() {
            return;
        }
        let mut starved = std::mem::take(&mut self.starved);
        starved.retain(|&index| {
            let Some(io) = self.slots.get(index as usize).filter(|io| io.starved) else { return false };
            if io.phase == Phase::Open && self.pool(io.group).is_empty() {
                return true;
            }
            let lags = io.queue.len() > RESUME_AT_BUFFERS;
            if let Some(io) = self.slots.get_mut(index as usize) {
                io.starved = false;
            }
            // A reader that lags has it armed again when it has caught up.
            if !lags {
                self.arm_recv(index);
            }
            false
        });
        self.starved.append(&mut starved);
    }

    pub(crate) fn on_recv(&mut self, index: u32, result: i32, more: bool, buffer: Option<u16>) -> Waiter {
        let Some(io) = self.slots.get_mut(index as usize) else { return Waiter::Nobody };
        let pool = match io.group {
            Group::Accepted => &self.accepted,
            Group::Connected => &self.connected,
        };
        if !more {
            io.recv_arm = Arm::Off;
        }
        let buf = buffer.map(|id| pool.take(id, result.max(0) as usize));
        if io.phase != Phase::Open {
            drop(buf);
            self.finish_closing(index);
            return Waiter::Nobody;
        }
        match (result, buf) {
            (1.., Some(mut buf)) => {
                // Nobody is waiting, so this may stay for long: the ring is for those who are quick.
                if (io.recv_waiter.is_nobody() || io.watched) && buf.detach_if_low() {
                    self.stats.buffers_low += 1;
                }
                io.queue.push_back(buf);
            }
            (0, _) => io.eof = true,
            (result, _) => match -result {
                libc::ENOBUFS | libc::EAGAIN | libc::EINTR => {
                    self.stats.enobufs += u64::from(-result == libc::ENOBUFS);
                    // What a splice stops, it starts again.
                    if io.hold_recv || io.nonblocking > 0 {
                        return io.recv_waiter.take();
                    }
                    if !std::mem::replace(&mut io.starved, true) {
                        self.starved.push(index);
                    }
                    return Waiter::Nobody;
                }
                // Ours: a reader lagged, or a splice took over.
                libc::ECANCELED => {}
                errno => io.recv_error = errno,
            },
        }
        let unread = io.queue.len();
        if io.recv_arm == Arm::On && unread > PAUSE_ABOVE_BUFFERS {
            self.stats.recv_paused += 1;
            self.disarm_recv(index);
        } else if io.recv_arm == Arm::Off
            && io.queue.len() <= PAUSE_ABOVE_BUFFERS
            && (io.queue.is_empty() || !io.bulk)
        {
            self.arm_recv(index);
        }
        self.get(index).map(|io| io.recv_waiter.take()).unwrap_or_default()
    }
}
