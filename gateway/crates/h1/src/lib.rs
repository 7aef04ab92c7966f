//! HTTP/1.1 messages over an `rt` stream: what the server side and the upstream side share.
//!
//! [`Wire`] is a stream with the bytes received but not yet consumed. It reads heads into a reusable parsed form, and
//! bodies as borrowed slices of the receive buffer, so that forwarding copies each byte once (into the send queue).
//! An idle `Wire` holds no buffer.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod body;
mod head;

pub use body::{Body, BodyError};
pub use head::{HeadBytes, HeadError, Scratch};

use sluice_rt::Buf;
use sluice_tls::Stream;
use std::io;

/// A stream and its unconsumed input.
pub struct Wire {
    /// The socket.
    pub stream: Stream,
    input: Input,
}

/// Received bytes not yet consumed.
#[derive(Default)]
pub struct Input {
    buf: Option<Buf>,
    pos: usize,
    /// Bytes of the slice last lent by `body_data`: consumed at the next call.
    lent: usize,
}

impl Input {
    /// Bytes that can be looked at now.
    #[inline]
    #[must_use]
    pub fn available(&self) -> &[u8] {
        self.buf.as_deref().and_then(|b| b.get(self.pos..)).unwrap_or_default()
    }

    /// Drops the first `n` available bytes and gives the buffer back once it is used up.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        self.pos += n;
        if self.buf.as_ref().is_none_or(|b| self.pos >= b.len()) {
            self.buf = None;
            self.pos = 0;
        }
    }

    /// Drops everything available.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.buf = None;
        self.pos = 0;
    }

    /// Receives if nothing is available. `false`: the peer has closed its side.
    ///
    /// # Errors
    /// What the socket reports, `TimedOut` when the stream's deadline passes.
    #[inline]
    pub async fn fill(&mut self, stream: &Stream) -> io::Result<bool> {
        if !self.available().is_empty() {
            return Ok(true);
        }
        self.buf = stream.recv().await?;
        self.pos = 0;
        Ok(self.buf.is_some())
    }
}

impl Wire {
    /// Wraps a fresh stream.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self { stream, input: Input::default() }
    }

    /// Bytes received and not consumed.
    #[inline]
    #[must_use]
    pub fn available(&self) -> &[u8] {
        self.input.available()
    }

    /// The stream, with what nobody has consumed put back.
    #[must_use]
    pub fn into_stream(mut self) -> Stream {
        self.input.settle();
        if let Some(buf) = self.input.buf.take() {
            self.stream.unread(buf, self.input.pos);
        }
        self.stream
    }

    /// The two halves, for full-duplex use: the socket (shared) and the input (exclusive).
    pub fn split(&mut self) -> (&Stream, &mut Input) {
        (&self.stream, &mut self.input)
    }

    /// Whether the connection could carry another request: open, and no byte that nobody asked for.
    #[must_use]
    pub fn is_idle_open(&mut self) -> bool {
        self.input.settle();
        self.input.available().is_empty() && self.stream.is_idle_open()
    }
}
