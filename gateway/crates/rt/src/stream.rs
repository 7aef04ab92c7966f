//! A connected TCP socket.

use crate::{
    bufring::Buf,
    executor::{self, Core},
    io::{Io, Ios},
    out::Segment,
    task::Waiter,
    wheel::NEVER,
};
use bytes::Bytes;
use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

/// A connection. One task may read while another writes; two readers or two writers would steal each other's wakes.
///
/// Reading: the kernel puts data in the core's buffers before anybody asks, up to a limit per stream. Writing: `write*`
/// appends to a queue without limit or waiting, [`Stream::flush`] starts sending it at the end of this loop turn, and
/// [`Stream::flushed`] waits, which is where backpressure comes from.
///
/// Dropping a stream closes it. What was flushed is still sent, for up to two seconds, unless its deadline has passed;
/// what was not flushed is forgotten.
pub struct Stream {
    core: Rc<Core>,
    index: u32,
}

impl Stream {
    pub(crate) fn new(core: Rc<Core>, index: u32) -> Stream {
        Stream { core, index }
    }

    pub(crate) fn core(&self) -> &Rc<Core> {
        &self.core
    }

    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// Connects, or fails with [`io::ErrorKind::TimedOut`] at `deadline_ms` (on the scale of [`crate::now_ms`]).
    /// The connected stream has no deadline.
    pub async fn connect(addr: SocketAddr, deadline_ms: u64) -> io::Result<Stream> {
        let core = executor::current().ok_or_else(executor::outside)?;
        let index = core.io.borrow_mut().connect(addr, deadline_ms)?;
        let stream = Stream { core, index };
        poll_fn(|cx| stream.poll_writer(cx, |io| io.try_connected(index))).await?;
        Ok(stream)
    }

    /// The peer's address; asked of the kernel once.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.core.io.borrow_mut().peer_addr(self.index)
    }

    /// The next received bytes, or `None` at the end of the stream. Dropping the future loses nothing.
    #[inline]
    pub fn recv(&self) -> Recv<'_> {
        Recv { stream: self }
    }

    /// Puts `buf` back, without its first `from` bytes: the next [`Stream::recv`] returns it.
    pub fn unread(&self, mut buf: Buf, from: usize) {
        buf.advance(from);
        if buf.is_empty() {
            return;
        }
        if let Some(io) = self.core.io.borrow_mut().get(self.index) {
            io.queue.push_front(buf);
        }
    }

    /// When pending and later [`Stream::recv`], [`Stream::flushed`] and splices begin to fail with
    /// [`io::ErrorKind::TimedOut`], up to 10 ms late; `None` for never. Setting it again revives the stream. Cheap:
    /// usually one store.
    #[inline]
    pub fn set_deadline_ms(&self, deadline_ms: Option<u64>) {
        self.core.io.borrow_mut().set_deadline(self.index, deadline_ms.unwrap_or(NEVER));
    }

    /// Appends to the output in place, for writers that format. The vector may hold earlier output: only append.
    #[inline]
    pub fn write_with<R>(&self, fill: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        // Taken out, so that nothing is borrowed while `fill` runs, whatever it does.
        let mut tail = self.core.io.borrow_mut().take_tail(self.index);
        let result = fill(&mut tail);
        self.core.io.borrow_mut().put_tail(self.index, tail);
        result
    }

    /// Appends a copy of `bytes` to the output.
    #[inline]
    pub fn write(&self, bytes: &[u8]) {
        self.core.io.borrow_mut().append(self.index, bytes);
    }

    /// Appends `bytes` to the output, without a copy unless they are few.
    pub fn write_bytes(&self, bytes: Bytes) {
        self.core.io.borrow_mut().push_segment(self.index, Segment::Shared(bytes));
    }

    /// Appends a received buffer to the output, without a copy unless it is short or buffers are scarce.
    pub fn write_buf(&self, mut buf: Buf) {
        buf.detach_if_low();
        self.core.io.borrow_mut().push_segment(self.index, Segment::Ring(buf));
    }

    /// Asks for everything written so far to be sent. It leaves at the end of this loop turn, together with what is
    /// written until then; what a send in flight keeps waiting follows by itself.
    #[inline]
    pub fn flush(&self) {
        self.core.io.borrow_mut().flush(self.index);
    }

    /// Flushes, and waits until the kernel has taken every written byte.
    pub fn flushed(&self) -> Flushed<'_> {
        self.sent_below(0)
    }

    /// Flushes, and waits until no more than `limit` written bytes are unsent: a writer that stays ahead of the
    /// network, by so much.
    pub fn sent_below(&self, limit: usize) -> Flushed<'_> {
        self.flush();
        Flushed { stream: self, limit }
    }

    /// Bytes written that the kernel has not taken.
    pub fn unsent_bytes(&self) -> usize {
        self.core.io.borrow_mut().get(self.index).map_or(0, |io| io.pending_send_bytes())
    }

    /// Whether the connection is open with nothing going on, as far as this loop turn knows: no end of stream, no
    /// error, nothing unread, nothing unsent. What a pool asks before it reuses a connection.
    pub fn is_idle_open(&self) -> bool {
        self.core.io.borrow_mut().is_idle_open(self.index)
    }

    /// Sending has failed: the peer is gone, and what is written is forgotten. For writers that rarely wait for
    /// [`Stream::flushed`], which would say so, too.
    pub fn is_write_broken(&self) -> bool {
        self.core.io.borrow_mut().get(self.index).is_none_or(|io| io.send_error != 0)
    }

    /// Says that the next bodies from this stream are likely to be spliced: then it receives one buffer at a time, and
    /// [`Stream::splice_to`] finds the rest in the socket rather than in buffers. Costs small messages an operation each.
    pub fn set_bulk(&self, bulk: bool) {
        self.core.io.borrow_mut().set_bulk(self.index, bulk);
    }

    /// Flushes, and ends the outgoing half (FIN) after that.
    pub fn shutdown_write(&self) {
        self.core.io.borrow_mut().shutdown_write(self.index);
    }

    /// Polls a condition of the writing half and registers for its changes.
    pub(crate) fn poll_writer<T>(
        &self,
        cx: &mut Context<'_>,
        attempt: impl FnOnce(&mut Ios) -> Option<T>,
    ) -> Poll<T> {
        self.poll_half(cx, attempt, |io| &mut io.send_waiter)
    }

    /// Polls a condition of the reading half and registers for its changes.
    #[inline]
    pub(crate) fn poll_reader<T>(
        &self,
        cx: &mut Context<'_>,
        attempt: impl FnOnce(&mut Ios) -> Option<T>,
    ) -> Poll<T> {
        self.poll_half(cx, attempt, |io| &mut io.recv_waiter)
    }

    #[inline]
    fn poll_half<T>(
        &self,
        cx: &mut Context<'_>,
        attempt: impl FnOnce(&mut Ios) -> Option<T>,
        waiter_of: impl FnOnce(&mut Io) -> &mut Waiter,
    ) -> Poll<T> {
        if let Some(outcome) = attempt(&mut self.core.io.borrow_mut()) {
            return Poll::Ready(outcome);
        }
        let waiter = Waiter::new(cx.waker());
        let replaced =
            (self.core.io.borrow_mut().get(self.index)).map(|io| std::mem::replace(waiter_of(io), waiter));
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let waiters = self.core.io.borrow_mut().release(self.index);
        drop(waiters);
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("index", &self.index).finish_non_exhaustive()
    }
}

/// Future of [`Stream::recv`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Recv<'a> {
    stream: &'a Stream,
}

impl Future for Recv<'_> {
    type Output = io::Result<Option<Buf>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let index = self.stream.index;
        self.stream.poll_reader(cx, |io| io.try_recv(index))
    }
}

/// Future of [`Stream::flushed`] and [`Stream::sent_below`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Flushed<'a> {
    stream: &'a Stream,
    limit: usize,
}

impl Future for Flushed<'_> {
    type Output = io::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (index, limit) = (self.stream.index, self.limit);
        self.stream.poll_writer(cx, |io| io.try_flushed(index, limit))
    }
}
