//! Reading message bodies.

use crate::{Input, Wire};
use sluice_tls::Stream;
use sluice_wire::{BodyFraming, ChunkError, ChunkedDecoder, Limits};
use std::io;
use std::ops::Range;

/// How much of a body is still to come.
///
/// ```text
/// Length(n) --n bytes--> Done      Chunked --last chunk and trailers--> Done      UntilClose --EOF--> Done
/// ```
pub struct Body {
    kind: Kind,
    /// Payload bytes handed out so far.
    pub received: u64,
}

enum Kind {
    Done,
    Length(u64),
    Chunked(Box<ChunkedDecoder>),
    UntilClose,
}

/// Why a body could not be read to its end.
#[derive(Debug)]
pub enum BodyError {
    /// The peer closed before the end that it had announced.
    Truncated,
    /// Broken chunked coding.
    Chunk(ChunkError),
    /// The socket failed, or its deadline passed.
    Io(io::Error),
}

impl std::fmt::Display for BodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Truncated => f.write_str("expected more of the body, found the end of the connection"),
            Self::Chunk(e) => e.fmt(f),
            Self::Io(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for BodyError {}

impl Body {
    /// A body by the framing of its head.
    #[must_use]
    pub fn new(framing: BodyFraming, limits: &Limits) -> Self {
        let kind = match framing {
            BodyFraming::None | BodyFraming::Length(0) => Kind::Done,
            BodyFraming::Length(n) => Kind::Length(n),
            BodyFraming::Chunked => Kind::Chunked(Box::new(ChunkedDecoder::new(limits))),
            BodyFraming::UntilClose => Kind::UntilClose,
        };
        Self { kind, received: 0 }
    }

    /// Nothing more to read.
    #[inline]
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.kind, Kind::Done)
    }

    /// Bytes still to come, where the head said how many.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        match self.kind {
            Kind::Done => Some(0),
            Kind::Length(n) => Some(n),
            Kind::Chunked(_) | Kind::UntilClose => None,
        }
    }

    /// Accounts for `n` bytes that came by a protocol which says itself where a body ends.
    pub fn note(&mut self, n: u64, ended: bool) {
        self.skip(n);
        if ended {
            self.kind = Kind::Done;
        }
    }

    /// Accounts for `n` bytes moved past this reader (by `splice`).
    pub fn skip(&mut self, n: u64) {
        self.received += n;
        if let Kind::Length(left) = &mut self.kind {
            *left = left.saturating_sub(n);
            if *left == 0 {
                self.kind = Kind::Done;
            }
        }
    }
}

impl Wire {
    /// The next piece of payload, borrowed from the receive buffer; empty at the end of the body. It counts as consumed
    /// at the next call. `trailers` receives the validated trailer lines of a chunked body.
    ///
    /// # Errors
    /// See [`BodyError`].
    pub async fn body_data<'a>(
        &'a mut self,
        body: &mut Body,
        trailers: &mut Vec<u8>,
    ) -> Result<&'a [u8], BodyError> {
        let (stream, input) = self.split();
        input.body_data(stream, body, trailers).await
    }
}

impl Input {
    /// Consumes what was lent last.
    #[inline]
    pub(crate) fn settle(&mut self) {
        let lent = std::mem::take(&mut self.lent);
        if lent > 0 {
            self.consume(lent);
        }
    }

    /// [`Wire::body_data`] on a split wire.
    ///
    /// # Errors
    /// See [`BodyError`].
    pub async fn body_data<'a>(
        &'a mut self,
        stream: &Stream,
        body: &mut Body,
        trailers: &mut Vec<u8>,
    ) -> Result<&'a [u8], BodyError> {
        let range = loop {
            let range = self.ready_range(body, trailers)?;
            if !range.is_empty() || body.is_done() {
                break range;
            }
            if !self.fill(stream).await.map_err(BodyError::Io)? {
                if !matches!(body.kind, Kind::UntilClose) {
                    return Err(BodyError::Truncated);
                }
                body.kind = Kind::Done;
            }
        };
        Ok(self.available().get(range).unwrap_or_default())
    }

    /// Like [`Self::body_data`] but only what has been received already: empty when nothing is there.
    ///
    /// # Errors
    /// See [`BodyError`].
    pub fn body_ready<'a>(
        &'a mut self,
        body: &mut Body,
        trailers: &mut Vec<u8>,
    ) -> Result<&'a [u8], BodyError> {
        let range = self.ready_range(body, trailers)?;
        Ok(self.available().get(range).unwrap_or_default())
    }

    /// Consumes what was lent last, and lends the next piece of payload among what is there: empty if there is none.
    fn ready_range(&mut self, body: &mut Body, trailers: &mut Vec<u8>) -> Result<Range<usize>, BodyError> {
        loop {
            self.settle();
            if body.is_done() || self.available().is_empty() {
                return Ok(0..0);
            }
            let range = self.next_range(body, trailers)?;
            if !range.is_empty() {
                body.received += range.len() as u64;
                return Ok(range);
            }
        }
    }

    fn next_range(&mut self, body: &mut Body, trailers: &mut Vec<u8>) -> Result<Range<usize>, BodyError> {
        let available = self.available();
        match &mut body.kind {
            Kind::Done => Ok(0..0),
            Kind::UntilClose => {
                self.lent = available.len();
                Ok(0..self.lent)
            }
            Kind::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(available.len());
                *left -= n as u64;
                if *left == 0 {
                    body.kind = Kind::Done;
                }
                self.lent = n;
                Ok(0..n)
            }
            Kind::Chunked(decoder) => {
                let chunk = decoder.decode(available).map_err(BodyError::Chunk)?;
                self.lent = chunk.consumed;
                if chunk.done {
                    trailers.extend_from_slice(decoder.trailers());
                    body.kind = Kind::Done;
                }
                Ok(chunk.data)
            }
        }
    }
}
