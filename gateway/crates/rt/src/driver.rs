//! What carries operations out: io_uring, epoll, or in tests a simulation.
//!
//! All of them take the same operations and answer each with completions in io_uring's terms, so that everything above
//! (streams, listeners, splices, the table of unhappy completions) is the same code and is tested on each. An enum, not a
//! trait object: the choice is one predictable branch for an operation.

#[cfg(test)]
use crate::sim::Sim;
use crate::{
    bufring::BufRing,
    config::{Config, Engine},
    epoll::Epoll,
    ring::{Completion, Ring, Token},
};
use std::{io, os::fd::RawFd, rc::Rc};

pub(crate) enum Driver {
    Uring(Box<Ring>),
    Epoll(Box<Epoll>),
    #[cfg(test)]
    Sim(Sim),
}

/// What an unhappy enter means. ETIME: the timeout passed. EINTR: a signal came. EBUSY: completions must be reaped first.
/// EAGAIN: the kernel is short of memory for requests. What was not submitted stays queued, and the loop comes round.
pub(crate) fn next_turn(error: io::Error) -> io::Result<()> {
    match error.raw_os_error() {
        Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
        _ => Err(error),
    }
}

/// The same call on whichever driver it is.
macro_rules! each {
    ($driver:expr, $it:ident => $call:expr) => {
        match $driver {
            Driver::Uring($it) => $call,
            Driver::Epoll($it) => $call,
            #[cfg(test)]
            Driver::Sim($it) => $call,
        }
    };
}

impl Driver {
    /// As configured; with [`Engine::Auto`] epoll where io_uring is refused.
    pub(crate) fn new(config: &Config) -> io::Result<Driver> {
        #[cfg(test)]
        if let Some(sim) = Sim::installed() {
            return Ok(Driver::Sim(sim));
        }
        let refused = match config.engine {
            Engine::Epoll => return Ok(Driver::Epoll(Box::new(Epoll::new()?))),
            Engine::IoUring | Engine::Auto => match Ring::new(config) {
                Ok(ring) => return Ok(Driver::Uring(Box::new(ring))),
                Err(error) => error,
            },
        };
        // Not for want of memory or descriptors: that would be no better with epoll.
        if config.engine == Engine::Auto && refused.kind() == io::ErrorKind::Unsupported {
            return Ok(Driver::Epoll(Box::new(Epoll::new()?)));
        }
        Err(refused)
    }

    /// Makes a group of receive buffers known.
    pub(crate) fn add_buffers(&mut self, group: u16, config: &Config) -> io::Result<Rc<BufRing>> {
        let pool = BufRing::new(group, config.buffers, config.buffer_bytes)?;
        match self {
            Driver::Uring(ring) => pool.register(ring)?,
            Driver::Epoll(epoll) => epoll.add_buffers(Rc::clone(&pool)),
            #[cfg(test)]
            Driver::Sim(sim) => sim.add_buffers(Rc::clone(&pool)),
        }
        Ok(pool)
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Driver::Uring(_) => "io_uring",
            Driver::Epoll(_) => "epoll",
            #[cfg(test)]
            Driver::Sim(_) => "simulation",
        }
    }

    /// Multishot accept.
    pub(crate) fn accept(&mut self, fd: RawFd, token: Token) {
        each!(self, driver => driver.accept(fd, token))
    }

    /// Receives into a buffer of `group`; `multishot`: again and again.
    #[inline]
    pub(crate) fn recv(&mut self, fd: RawFd, group: u16, multishot: bool, token: Token) {
        each!(self, driver => driver.recv(fd, group, multishot, token))
    }

    /// Sends `len` bytes.
    ///
    /// # Safety
    /// They must stay valid and unchanged until the completion.
    #[inline]
    pub(crate) unsafe fn send(&mut self, fd: RawFd, bytes: *const u8, len: u32, token: Token) {
        // SAFETY: passed on to the caller.
        each!(self, driver => unsafe { driver.send(fd, bytes, len, token) })
    }

    /// Sends a gathered message.
    ///
    /// # Safety
    /// It and what it points to must stay valid and unchanged until the completion.
    #[inline]
    pub(crate) unsafe fn send_msg(&mut self, fd: RawFd, message: *const libc::msghdr, token: Token) {
        // SAFETY: passed on to the caller.
        each!(self, driver => unsafe { driver.send_msg(fd, message, token) })
    }

    /// Connects.
    ///
    /// # Safety
    /// The address must stay valid and unchanged until the completion.
    pub(crate) unsafe fn connect(
        &mut self,
        fd: RawFd,
        addr: *const libc::sockaddr,
        len: libc::socklen_t,
        token: Token,
    ) {
        // SAFETY: passed on to the caller.
        each!(self, driver => unsafe { driver.connect(fd, addr, len, token) })
    }

    /// Readiness, once.
    pub(crate) fn poll(&mut self, fd: RawFd, events: i16, token: Token) {
        each!(self, driver => driver.poll(fd, events, token))
    }

    /// Reads an eventfd.
    ///
    /// # Safety
    /// The count must stay valid until the completion.
    pub(crate) unsafe fn read_bell(&mut self, fd: RawFd, count: *mut u64, token: Token) {
        // SAFETY: passed on to the caller.
        each!(self, driver => unsafe { driver.read_bell(fd, count, token) })
    }

    /// Cancels the operation on `fd` that was submitted with `token`. Harmless if it is over.
    pub(crate) fn cancel(&mut self, fd: RawFd, token: Token) {
        each!(self, driver => driver.cancel(fd, token))
    }

    /// Closes `fd`.
    pub(crate) fn close(&mut self, fd: RawFd, token: Token) {
        each!(self, driver => driver.close(fd, token))
    }

    /// Submits what is queued and, if `block`, sleeps until a completion or for `timeout_ns`.
    #[inline]
    pub(crate) fn enter(&mut self, block: bool, timeout_ns: Option<u64>) -> io::Result<()> {
        each!(self, driver => driver.enter(block, timeout_ns))
    }

    /// Moves all completions to `batch`.
    #[inline]
    pub(crate) fn reap(&mut self, batch: &mut Vec<Completion>) {
        each!(self, driver => driver.reap(batch))
    }
}
