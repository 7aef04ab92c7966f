//! Accepting connections.

use crate::{
    executor::{self, Core},
    io::{Group, Phase},
    socket,
    stream::Stream,
    task::Waiter,
};
use std::{
    fmt,
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    os::fd::{AsRawFd, OwnedFd},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

/// A listening socket of this core.
///
/// Running out of descriptors or memory pauses it for 100 ms and is counted, not reported: there is nothing the caller
/// could do but wait, too. See [`crate::Stats::accept_errors`].
pub struct Listener {
    core: Rc<Core>,
    index: u32,
    local_addr: SocketAddr,
}

impl Listener {
    /// Starts accepting. Fails outside [`crate::run`].
    pub fn new(listener: TcpListener) -> io::Result<Listener> {
        let core = executor::current().ok_or_else(executor::outside)?;
        let local_addr = listener.local_addr()?;
        listener.set_nonblocking(false)?;
        socket::set_nodelay(listener.as_raw_fd())?;
        let index = core.io.borrow_mut().listen(OwnedFd::from(listener));
        Ok(Listener { core, index, local_addr })
    }

    /// The next connection. Fails once the listener is closed and its queue is empty, or is broken for good.
    pub fn accept(&self) -> Accept<'_> {
        Accept { listener: self }
    }

    /// Stops accepting, takes what the kernel has queued, and closes the socket: the kernel would reset connections that
    /// it has established and nobody has accepted. All of them can still be taken with [`Listener::accept`].
    pub fn close(&self) {
        let waiter = self.core.io.borrow_mut().close_acceptor(self.index, true);
        waiter.wake();
    }

    /// As [`Listener::close`], for a socket that somebody else has, too: what is queued is left to them.
    pub fn leave(&self) {
        let waiter = self.core.io.borrow_mut().close_acceptor(self.index, false);
        waiter.wake();
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let waiter = self.core.io.borrow_mut().release_acceptor(self.index);
        drop(waiter);
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("local_addr", &self.local_addr).finish()
    }
}

/// Future of [`Listener::accept`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Accept<'a> {
    listener: &'a Listener,
}

impl Future for Accept<'_> {
    type Output = io::Result<Stream>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Listener { core, index, .. } = self.listener;
        let accepted = {
            let mut io = core.io.borrow_mut();
            match io.try_accept(*index) {
                Some(Ok(fd)) => Some(Ok(io.adopt(fd, Group::Accepted, Phase::Open))),
                Some(Err(error)) => Some(Err(error)),
                None => None,
            }
        };
        match accepted {
            Some(Ok(socket)) => Poll::Ready(Ok(Stream::new(Rc::clone(core), socket))),
            Some(Err(error)) => Poll::Ready(Err(error)),
            None => {
                let waiter = Waiter::new(cx.waker());
                let replaced = (core.io.borrow_mut().acceptor(*index))
                    .map(|acceptor| std::mem::replace(&mut acceptor.waiter, waiter));
                drop(replaced);
                Poll::Pending
            }
        }
    }
}
