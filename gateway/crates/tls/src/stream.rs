//! Plain or TLS.

use crate::session::{Facts, Session};
use bytes::Bytes;
use sluice_rt::Buf;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// A connection, plain or TLS, with the methods of [`sluice_rt::Stream`]: see there for what they promise.
///
/// Reads give plain text, and writes take it. Unsent bytes are counted as they are sent, records and all.
pub enum Stream {
    /// No TLS.
    Plain(sluice_rt::Stream),
    /// TLS.
    Tls(Box<Session>),
}

impl From<sluice_rt::Stream> for Stream {
    fn from(stream: sluice_rt::Stream) -> Self {
        Self::Plain(stream)
    }
}

impl Stream {
    /// The socket itself where there is no TLS: what splice(2) needs.
    #[inline]
    #[must_use]
    pub fn plain(&self) -> Option<&sluice_rt::Stream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Tls(_) => None,
        }
    }

    /// What the TLS handshake settled.
    #[inline]
    #[must_use]
    pub fn tls(&self) -> Option<&Rc<Facts>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(session) => Some(session.facts()),
        }
    }

    /// Whether this is TLS.
    #[inline]
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The protocol that ALPN chose.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.tls().and_then(|facts| facts.alpn.as_deref())
    }

    #[inline]
    fn socket(&self) -> &sluice_rt::Stream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(session) => session.stream(),
        }
    }

    /// Watches for the peer's end: the socket's, whatever the peer said before.
    #[must_use]
    pub fn watch(&self) -> sluice_rt::Watch {
        self.socket().watch()
    }

    /// See [`sluice_rt::Stream::unwatch`].
    pub fn unwatch(&self) {
        self.socket().unwatch();
    }

    /// The peer's address; asked of the kernel once.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.socket().peer_addr()
    }

    /// The next received bytes, or `None` at the end of the stream. Dropping the future loses nothing.
    ///
    /// A TLS stream that ends without `close_notify` fails with [`io::ErrorKind::UnexpectedEof`].
    #[inline]
    pub fn recv(&self) -> Recv<'_> {
        Recv { stream: self }
    }

    /// Puts `buf` back, without its first `from` bytes: the next [`Stream::recv`] returns it.
    pub fn unread(&self, buf: Buf, from: usize) {
        match self {
            Self::Plain(stream) => stream.unread(buf, from),
            Self::Tls(session) => session.unread(buf, from),
        }
    }

    /// When pending and later operations begin to fail with [`io::ErrorKind::TimedOut`]; `None` for never.
    #[inline]
    pub fn set_deadline_ms(&self, deadline_ms: Option<u64>) {
        self.socket().set_deadline_ms(deadline_ms);
    }

    /// Appends to the output in place, for writers that format. The vector may hold earlier output: only append.
    #[inline]
    pub fn write_with<R>(&self, fill: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        match self {
            Self::Plain(stream) => stream.write_with(fill),
            Self::Tls(session) => session.write_with(fill),
        }
    }

    /// Appends a copy of `bytes` to the output.
    #[inline]
    pub fn write(&self, bytes: &[u8]) {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(session) => session.write(bytes),
        }
    }

    /// Appends `bytes` to the output, without a copy of the plain text unless they are few.
    pub fn write_bytes(&self, bytes: Bytes) {
        match self {
            Self::Plain(stream) => stream.write_bytes(bytes),
            Self::Tls(session) => session.write_large(&bytes),
        }
    }

    /// Appends a received buffer to the output, without a copy of the plain text unless it is short.
    pub fn write_buf(&self, buf: Buf) {
        match self {
            Self::Plain(stream) => stream.write_buf(buf),
            Self::Tls(session) => session.write_large(&buf),
        }
    }

    /// Asks for everything written so far to be sent, at the end of this loop turn. Over TLS a record ends here.
    #[inline]
    pub fn flush(&self) {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(session) => session.flush(),
        }
    }

    /// Flushes, and waits until the kernel has taken every written byte.
    pub fn flushed(&self) -> Flushed<'_> {
        self.sent_below(0)
    }

    /// Flushes, and waits until no more than `limit` written bytes are unsent.
    pub fn sent_below(&self, limit: usize) -> Flushed<'_> {
        self.flush();
        Flushed { stream: self.socket(), limit }
    }

    /// Bytes written that the kernel has not taken.
    #[must_use]
    pub fn unsent_bytes(&self) -> usize {
        match self {
            Self::Plain(stream) => stream.unsent_bytes(),
            Self::Tls(session) => session.unsent_bytes(),
        }
    }

    /// Whether the connection is open with nothing going on, as far as this loop turn knows.
    #[must_use]
    pub fn is_idle_open(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_idle_open(),
            Self::Tls(session) => session.is_idle_open(),
        }
    }

    /// Sending has failed: the peer is gone, and what is written is forgotten.
    #[must_use]
    pub fn is_write_broken(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_broken(),
            Self::Tls(session) => session.is_write_broken(),
        }
    }

    /// Says that the next bodies from this stream are likely to be spliced, which only plain ones can be.
    pub fn set_bulk(&self, bulk: bool) {
        if let Self::Plain(stream) = self {
            stream.set_bulk(bulk);
        }
    }

    /// Flushes, and says that what was written is all: `close_notify` over TLS, nothing on a plain stream, whose FIN says
    /// it. Not to be called after an answer that broke off, which would then look whole.
    pub fn finish(&self) {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(session) => session.close(),
        }
    }

    /// Flushes, and ends the outgoing half: `close_notify` over TLS, then FIN.
    pub fn shutdown_write(&self) {
        self.finish();
        self.socket().shutdown_write();
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("tls", &self.is_tls())
            .field("socket", self.socket())
            .finish_non_exhaustive()
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
        match self.stream {
            Stream::Plain(stream) => Pin::new(&mut stream.recv()).poll(cx),
            Stream::Tls(session) => session.poll_recv(cx),
        }
    }
}

/// Future of [`Stream::flushed`] and [`Stream::sent_below`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Flushed<'a> {
    stream: &'a sluice_rt::Stream,
    limit: usize,
}

impl Future for Flushed<'_> {
    type Output = io::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.stream.sent_below(self.limit)).poll(cx)
    }
}
