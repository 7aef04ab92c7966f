//! Reading message heads.

use crate::{Input, Wire};
use sluice_rt::Buf;
use sluice_tls::Stream;
use sluice_wire::h2::PREFACE;
use sluice_wire::{
    Limits, Method, RequestError, RequestHead, ResponseError, ResponseHead, Status, Version, parse_request,
    parse_response,
};
use std::cell::RefCell;
use std::io;

/// The bytes that a head's spans index.
pub enum HeadBytes {
    /// Still in the receive buffer: nothing was copied. Held only while no step waits.
    Ring(Buf),
    /// Copied out, in a recycled vector.
    Owned(Vec<u8>),
}

impl HeadBytes {
    /// The bytes.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Ring(b) => b,
            Self::Owned(v) => v,
        }
    }

    /// Moves the bytes out of the receive buffer, which goes back to the ring: to be called before waiting, because 256
    /// ring buffers serve all connections of a core.
    pub fn detach(&mut self, scratch: &Scratch) {
        if let Self::Ring(b) = self {
            let mut v = scratch.bytes();
            v.extend_from_slice(b);
            *self = Self::Owned(v);
        }
    }

    /// Gives an owned vector back for reuse.
    pub fn recycle(self, scratch: &Scratch) {
        if let Self::Owned(v) = self {
            scratch.put_bytes(v);
        }
    }
}

/// Recycled heads and vectors of one core.
// The boxes are what is recycled: a head moves between pool and exchange as one pointer.
#[allow(clippy::vec_box)]
#[derive(Default)]
pub struct Scratch {
    requests: RefCell<Vec<Box<RequestHead>>>,
    responses: RefCell<Vec<Box<ResponseHead>>>,
    vectors: RefCell<Vec<Vec<u8>>>,
}

/// How many of a kind are kept: beyond it the allocator takes them back.
const KEPT: usize = 256;
/// A vector that grew past this is not kept.
const KEPT_BYTES: usize = 16 * 1024;

impl Scratch {
    /// A cleared request head.
    #[must_use]
    pub fn request(&self) -> Box<RequestHead> {
        self.requests.borrow_mut().pop().unwrap_or_else(|| Box::new(RequestHead::new()))
    }

    /// Gives a request head back.
    pub fn put_request(&self, mut head: Box<RequestHead>) {
        let mut pool = self.requests.borrow_mut();
        if pool.len() < KEPT {
            head.clear();
            pool.push(head);
        }
    }

    /// A cleared response head.
    #[must_use]
    pub fn response(&self) -> Box<ResponseHead> {
        self.responses.borrow_mut().pop().unwrap_or_else(|| Box::new(ResponseHead::new()))
    }

    /// Gives a response head back.
    pub fn put_response(&self, mut head: Box<ResponseHead>) {
        let mut pool = self.responses.borrow_mut();
        if pool.len() < KEPT {
            head.clear();
            pool.push(head);
        }
    }

    /// An empty vector.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.vectors.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(1024))
    }

    /// Gives a vector back.
    pub fn put_bytes(&self, mut v: Vec<u8>) {
        let mut pool = self.vectors.borrow_mut();
        if pool.len() < KEPT && v.capacity() <= KEPT_BYTES {
            v.clear();
            pool.push(v);
        }
    }
}

/// Why no head could be read.
#[derive(Debug)]
pub enum HeadError {
    /// The request breaks RFC 9112 or a limit.
    Request(RequestError),
    /// The response does.
    Response(ResponseError),
    /// The peer closed in the middle of a head.
    Truncated,
    /// The socket failed; `TimedOut` when a deadline passed. `started`: some bytes of the head had come.
    Io {
        /// What the socket said.
        error: io::Error,
        /// Some bytes of the head had come.
        started: bool,
    },
}

impl std::fmt::Display for HeadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Request(e) => e.fmt(f),
            Self::Response(e) => e.fmt(f),
            Self::Truncated => {
                f.write_str("expected the rest of a message head, found the end of the connection")
            }
            Self::Io { error, .. } => error.fmt(f),
        }
    }
}

impl std::error::Error for HeadError {}

impl Wire {
    /// Reads a request head, or HTTP/2's preface, which only sets the head's version. `None`: the peer closed between
    /// requests.
    ///
    /// `head_timeout_ms` runs from the first byte; the wait for that byte is under the deadline already set.
    ///
    /// # Errors
    /// See [`HeadError`].
    #[inline]
    pub async fn read_request(
        &mut self,
        limits: &Limits,
        head_timeout_ms: u64,
        head: &mut RequestHead,
        scratch: &Scratch,
    ) -> Result<Option<HeadBytes>, HeadError> {
        let (stream, input) = self.split();
        let max = limits.request_line_max_bytes + limits.header_max_bytes + SLACK;
        let parse = |bytes: &[u8]| match parse_request(bytes, limits, head) {
            Ok(Status::Complete) => Ok(Some(head.head_len)),
            Ok(Status::Partial) => Ok(None),
            Err(e) => preface(bytes, head).ok_or(HeadError::Request(e)),
        };
        input.read_head(stream, max, Some(head_timeout_ms), scratch, parse).await
    }
}

/// HTTP/2's preface looks like a request of an unknown version: it is read as a head of that version, 24 bytes long.
#[cold]
fn preface(bytes: &[u8], head: &mut RequestHead) -> Option<Option<usize>> {
    if bytes.starts_with(PREFACE) {
        head.version = Version::Http2;
        return Some(Some(PREFACE.len()));
    }
    PREFACE.starts_with(bytes).then_some(None)
}

/// Line ends and separators that the limits on line and headers do not count.
const SLACK: usize = 4096;

impl Input {
    /// Reads a response head. `None`: the peer closed before its first byte.
    ///
    /// # Errors
    /// See [`HeadError`].
    #[inline]
    pub async fn read_response(
        &mut self,
        stream: &Stream,
        limits: &Limits,
        method: Method,
        head: &mut ResponseHead,
        scratch: &Scratch,
    ) -> Result<Option<HeadBytes>, HeadError> {
        let max = limits.request_line_max_bytes + limits.header_max_bytes + SLACK;
        let parse = |bytes: &[u8]| match parse_response(bytes, limits, method, head) {
            Ok(Status::Complete) => Ok(Some(head.head_len)),
            Ok(Status::Partial) => Ok(None),
            Err(e) => Err(HeadError::Response(e)),
        };
        self.read_head(stream, max, None, scratch, parse).await
    }

    /// Reads a head, whichever `parse` understands. With a `rest_timeout_ms` what is missing after the first piece must
    /// come within that time; else the deadline already set goes on.
    #[inline]
    async fn read_head(
        &mut self,
        stream: &Stream,
        max: usize,
        rest_timeout_ms: Option<u64>,
        scratch: &Scratch,
        mut parse: impl FnMut(&[u8]) -> Result<Option<usize>, HeadError>,
    ) -> Result<Option<HeadBytes>, HeadError> {
        self.settle();
        if !self.fill(stream).await.map_err(|error| HeadError::Io { error, started: false })? {
            return Ok(None);
        }
        if let Some(len) = parse(self.available())? {
            return Ok(Some(self.take_head(len, scratch)));
        }
        if let Some(timeout_ms) = rest_timeout_ms {
            stream.set_deadline_ms(Some(sluice_rt::now_ms() + timeout_ms));
        }
        self.read_rest(stream, max, scratch, parse).await.map(Some)
    }

    /// Takes a complete head of `len` bytes: the whole buffer where nothing follows, else a copy.
    #[inline]
    fn take_head(&mut self, len: usize, scratch: &Scratch) -> HeadBytes {
        if let Some(whole) = self.buf.take_if(|b| self.pos == 0 && b.len() == len) {
            return HeadBytes::Ring(whole);
        }
        let mut v = scratch.bytes();
        v.extend_from_slice(self.available().get(..len).unwrap_or_default());
        self.consume(len);
        HeadBytes::Owned(v)
    }

    /// Collects a head that came in pieces. It is parsed again only when a line ends, so that a client that trickles
    /// bytes costs one parse a line, not one a byte.
    async fn read_rest(
        &mut self,
        stream: &Stream,
        max: usize,
        scratch: &Scratch,
        mut parse: impl FnMut(&[u8]) -> Result<Option<usize>, HeadError>,
    ) -> Result<HeadBytes, HeadError> {
        let mut acc = scratch.bytes();
        acc.extend_from_slice(self.available());
        self.clear();
        loop {
            if !self.fill(stream).await.map_err(|error| HeadError::Io { error, started: true })? {
                return Err(HeadError::Truncated);
            }
            let got = self.available();
            acc.extend_from_slice(got);
            let news = got.contains(&b'\n') || acc.len() > max;
            let before = acc.len() - got.len();
            if news && let Some(len) = parse(&acc)? {
                // What follows the head came with the last piece: it stays in that buffer.
                self.consume(len.saturating_sub(before));
                acc.truncate(len);
                return Ok(HeadBytes::Owned(acc));
            }
            if acc.len() > max {
                // The parser refuses an oversized head itself; this bounds memory should it ever not.
                return Err(HeadError::Truncated);
            }
            self.clear();
        }
    }
}
