//! Listening sockets: a multishot accept each, and a bounded queue of what it brought.

use crate::{
    io::{Arm, Ios, TimerOwner, gone},
    ring::{Op, Token},
    socket,
    task::Waiter,
    wheel::TimerId,
};
use std::{
    collections::VecDeque,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

/// Accepted and not yet taken; more stay in the kernel's backlog.
const QUEUE_MAX: usize = 256;
/// Pause after running out of descriptors or memory.
const BACKOFF_MS: u64 = 100;
/// So many pauses in a row, and those who wait are shed: better told at once than left hanging.
const SHED_AFTER: u32 = 5;
/// Connections shed in one go.
const SHED_MAX: u64 = 1_024;

pub(crate) struct Acceptor {
    fd: Option<OwnedFd>,
    generation: u32,
    arm: Arm,
    /// No more accepts, by request or by a fatal error.
    closed: bool,
    /// Before the socket is closed, the kernel's queue is emptied into ours.
    empties: bool,
    /// Backing off until the timer fires.
    resting: bool,
    /// Times in a row that there was no descriptor or memory.
    short: u32,
    error: i32,
    queue: VecDeque<OwnedFd>,
    pub(crate) waiter: Waiter,
    /// A [`crate::Listener`] refers to this.
    held: bool,
    /// `None`: the slot is free.
    timer: Option<TimerId>,
}

impl Acceptor {
    /// Nothing in flight, and the slot may be reused.
    pub(crate) fn is_gone(&self) -> bool {
        self.timer.is_none()
    }
}

impl Ios {
    pub(crate) fn listen(&mut self, fd: OwnedFd) -> u32 {
        let index = self.acceptors.iter().position(Acceptor::is_gone).unwrap_or(self.acceptors.len());
        let timer = self.wheel.insert(TimerOwner::Acceptor(index as u32).encode());
        let generation = self.acceptors.get(index).map_or(0, |acceptor| acceptor.generation.wrapping_add(1));
        let acceptor = Acceptor {
            fd: Some(fd),
            generation,
            arm: Arm::Off,
            closed: false,
            empties: false,
            resting: false,
            short: 0,
            error: 0,
            queue: VecDeque::new(),
            waiter: Waiter::Nobody,
            held: true,
            timer: Some(timer),
        };
        match self.acceptors.get_mut(index) {
            Some(slot) => *slot = acceptor,
            None => self.acceptors.push(acceptor),
        }
        self.arm_accept(index as u32);
        index as u32
    }

    pub(crate) fn acceptor(&mut self, index: u32) -> Option<&mut Acceptor> {
        self.acceptors.get_mut(index as usize)
    }

    /// Arms the multishot accept if it is wanted. Also what the back-off timer does.
    pub(crate) fn arm_accept(&mut self, index: u32) {
        let Some(acceptor) = self.acceptors.get_mut(index as usize) else { return };
        acceptor.resting = false;
        let Some(fd) = &acceptor.fd else { return };
        if acceptor.arm != Arm::Off || acceptor.closed || acceptor.queue.len() > QUEUE_MAX / 2 {
            return;
        }
        acceptor.arm = Arm::On;
        let (fd, token) = (fd.as_raw_fd(), Token::new(Op::Accept, acceptor.generation, index));
        self.ring.accept(fd, token);
    }

    fn disarm_accept(&mut self, index: u32) {
        let Some(acceptor) = self.acceptor(index).filter(|acceptor| acceptor.arm == Arm::On) else { return };
        acceptor.arm = Arm::Cancelling;
        let token = Token::new(Op::Accept, acceptor.generation, index);
        let fd = acceptor.fd.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        self.ring.cancel(fd, token);
    }

    pub(crate) fn on_accept(&mut self, index: u32, result: i32, more: bool) -> Waiter {
        let Some(acceptor) = self.acceptors.get_mut(index as usize) else { return Waiter::Nobody };
        if !more {
            acceptor.arm = Arm::Off;
        }
        match result {
            fd @ 0.. => {
                acceptor.short = 0;
                // SAFETY: a descriptor the kernel just made for us.
                acceptor.queue.push_back(unsafe { OwnedFd::from_raw_fd(fd) });
            }
            error => match -error {
                libc::ECANCELED => {}
                libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => {
                    self.stats.accept_errors += 1;
                    acceptor.resting = true;
                    acceptor.short += 1;
                    if acceptor.short >= SHED_AFTER
                        && let Some(listener) = &acceptor.fd
                    {
                        self.stats.accepts_shed += shed(&mut self.reserve, listener.as_raw_fd());
                    }
                    if let Some(timer) = acceptor.timer {
                        self.wheel.set(timer, self.now_ms + BACKOFF_MS);
                    }
                }
                // Of the connection, not of the listener: accept(2), "Error handling".
                libc::ECONNABORTED
                | libc::EAGAIN
                | libc::EINTR
                | libc::EPROTO
                | libc::EPERM
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENONET
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP => self.stats.accept_errors += 1,
                errno => {
                    self.stats.accept_errors += 1;
                    acceptor.error = errno;
                    acceptor.closed = true;
                }
            },
        }
        let (resting, full) = (acceptor.resting, acceptor.queue.len() >= QUEUE_MAX);
        let waiter = acceptor.waiter.take();
        if full {
            self.disarm_accept(index);
        } else if !resting {
            self.arm_accept(index);
        }
        self.finish_acceptor(index);
        waiter
    }

    /// An accepted connection, the reason why there will be none, or `None` to wait.
    pub(crate) fn try_accept(&mut self, index: u32) -> Option<io::Result<OwnedFd>> {
        let Some(acceptor) = self.acceptors.get_mut(index as usize) else { return Some(Err(gone())) };
        if let Some(fd) = acceptor.queue.pop_front() {
            if !acceptor.resting && acceptor.arm == Arm::Off {
                self.arm_accept(index);
            }
            return Some(Ok(fd));
        }
        match acceptor {
            acceptor if acceptor.error != 0 => Some(Err(io::Error::from_raw_os_error(acceptor.error))),
            // Not before the last completion: it may bring a connection.
            acceptor if acceptor.closed && acceptor.arm == Arm::Off => {
                Some(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the listener was closed")))
            }
            _ => None,
        }
    }

    /// Ends accepting. What was accepted already can still be taken, and with `empty` what the kernel has queued.
    pub(crate) fn close_acceptor(&mut self, index: u32, empty: bool) -> Waiter {
        let Some(acceptor) = self.acceptor(index) else { return Waiter::Nobody };
        acceptor.closed = true;
        acceptor.empties = empty;
        let waiter = acceptor.waiter.take();
        self.disarm_accept(index);
        self.finish_acceptor(index);
        waiter
    }

    /// The handle was dropped: cancel, wait, close. Returns what must be dropped elsewhere.
    pub(crate) fn release_acceptor(&mut self, index: u32) -> Waiter {
        let waiter = self.close_acceptor(index, false);
        if let Some(acceptor) = self.acceptor(index) {
            acceptor.queue.clear();
            acceptor.held = false;
        }
        self.finish_acceptor(index);
        waiter
    }

    /// Closes the socket once it is closed for good and nothing is in flight, and then frees the slot.
    fn finish_acceptor(&mut self, index: u32) {
        let Some(acceptor) = self.acceptors.get_mut(index as usize) else { return };
        if !acceptor.closed || acceptor.arm != Arm::Off {
            return;
        }
        if let Some(fd) = acceptor.fd.take()
            && acceptor.empties
        {
            while let Ok(Some(accepted)) = socket::accept_queued(fd.as_raw_fd()) {
                acceptor.queue.push_back(accepted);
            }
        }
        if !acceptor.held {
            acceptor.queue.clear();
            if let Some(timer) = acceptor.timer.take() {
                self.wheel.remove(timer);
            }
        }
    }
}

/// Closes the connections that wait at `listener`, by means of the descriptor in reserve. Returns how many.
fn shed(reserve: &mut Option<OwnedFd>, listener: RawFd) -> u64 {
    drop(reserve.take());
    let mut count = 0;
    while count < SHED_MAX && matches!(socket::accept_queued(listener), Ok(Some(_))) {
        count += 1;
    }
    *reserve = socket::spare_descriptor();
    count
}
