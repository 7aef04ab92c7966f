//! One side of an exchange, whichever protocol it speaks: what lets a request cross from any to any.

use crate::stream::Stream;
use bytes::Bytes;
use sluice_h1::{Body, BodyError, Input, Wire};
use sluice_tls::Stream as Socket;
use sluice_wire::enc;
use std::io;
use std::task::{Context, Poll};

/// A client or an upstream.
pub enum Side {
    /// A connection of its own.
    H1(Wire),
    /// A stream of a shared connection, and what was last taken from it.
    H2(Stream, Vec<u8>),
}

/// Watches for a peer's leaving, without holding the side.
pub enum Watching {
    /// The connection ends, or its half that sends.
    H1(sluice_rt::Watch),
    /// The stream is reset, or its connection ends.
    H2(crate::Watch),
}

impl Watching {
    /// Ready once the peer is gone; else the task is woken when it is.
    pub fn poll_gone(&self, cx: &Context<'_>) -> Poll<()> {
        match self {
            Self::H1(watch) => watch.poll_gone(cx),
            Self::H2(watch) => watch.poll_gone(cx),
        }
    }
}

/// The sending half.
#[derive(Clone, Copy)]
pub enum Out<'a> {
    /// HTTP/1.
    H1(&'a Socket),
    /// HTTP/2.
    H2(&'a Stream),
}

/// The receiving half.
pub enum In<'a> {
    /// HTTP/1.
    H1(&'a Socket, &'a mut Input),
    /// HTTP/2.
    H2(&'a Stream, &'a mut Vec<u8>),
}

impl Side {
    /// Both halves.
    pub fn split(&mut self) -> (Out<'_>, In<'_>) {
        match self {
            Self::H1(wire) => {
                let (socket, input) = wire.split();
                (Out::H1(socket), In::H1(socket, input))
            }
            Self::H2(stream, taken) => (Out::H2(stream), In::H2(stream, taken)),
        }
    }

    /// Watches for the peer's leaving.
    #[must_use]
    pub fn watch(&self) -> Watching {
        match self {
            Self::H1(wire) => Watching::H1(wire.stream.watch()),
            Self::H2(stream, _) => Watching::H2(stream.watch()),
        }
    }

    /// The sending half.
    #[inline]
    #[must_use]
    pub fn out(&self) -> Out<'_> {
        match self {
            Self::H1(wire) => Out::H1(&wire.stream),
            Self::H2(stream, _) => Out::H2(stream),
        }
    }
}

impl<'a> Out<'a> {
    /// The plain socket, if it is this message's alone: what splice(2) needs.
    #[must_use]
    pub fn socket(self) -> Option<&'a sluice_rt::Stream> {
        match self {
            Self::H1(socket) => socket.plain(),
            Self::H2(_) => None,
        }
    }

    /// Sends what is written at the end of this loop turn.
    #[inline]
    pub fn flush(self) {
        match self {
            Self::H1(socket) => socket.flush(),
            Self::H2(stream) => stream.flush(),
        }
    }

    /// Flushes, and waits until the peer has taken or allowed everything.
    ///
    /// # Errors
    /// The peer is gone, or the deadline passed.
    pub async fn flushed(self) -> io::Result<()> {
        match self {
            Self::H1(socket) => socket.flushed().await,
            Self::H2(stream) => stream.flushed().await,
        }
    }

    /// Written and not yet sent.
    #[inline]
    #[must_use]
    pub fn unsent_bytes(self) -> usize {
        match self {
            Self::H1(socket) => socket.unsent_bytes(),
            Self::H2(stream) => stream.unsent_bytes(),
        }
    }

    /// Writing is in vain.
    #[inline]
    #[must_use]
    pub fn is_broken(self) -> bool {
        match self {
            Self::H1(socket) => socket.is_write_broken(),
            Self::H2(stream) => stream.is_broken(),
        }
    }

    /// When waits on either half begin to fail.
    #[inline]
    pub fn set_deadline_ms(self, deadline_ms: Option<u64>) {
        match self {
            Self::H1(socket) => socket.set_deadline_ms(deadline_ms),
            Self::H2(stream) => stream.set_deadline_ms(deadline_ms),
        }
    }

    /// Says that the next bodies are likely to be spliced: see [`Socket::set_bulk`].
    #[inline]
    pub fn set_bulk(self, bulk: bool) {
        if let Self::H1(socket) = self {
            socket.set_bulk(bulk);
        }
    }

    /// Writes a piece of a body. `chunked` is how HTTP/1 delimits it; `last`: a sized body ends with it.
    #[inline]
    pub fn piece(self, data: &[u8], chunked: bool, last: bool) {
        match self {
            Self::H1(socket) => socket.write_with(|out| {
                if chunked {
                    enc::chunk_head(out, data.len());
                }
                out.extend_from_slice(data);
                if chunked {
                    out.extend_from_slice(b"\r\n");
                }
            }),
            Self::H2(stream) => stream.write(data, last),
        }
    }

    /// Writes all of a sized body.
    pub fn whole(self, body: &Bytes) {
        match self {
            Self::H1(socket) => socket.write_bytes(body.clone()),
            Self::H2(stream) => stream.write_shared(body),
        }
    }
}

impl In<'_> {
    /// The next piece of the body, empty at its end; it counts as consumed at the next call. `trailers` receives the
    /// trailer lines.
    ///
    /// # Errors
    /// See [`BodyError`].
    pub async fn data<'b>(
        &'b mut self,
        body: &mut Body,
        trailers: &mut Vec<u8>,
    ) -> Result<&'b [u8], BodyError> {
        match self {
            Self::H1(socket, input) => input.body_data(socket, body, trailers).await,
            Self::H2(stream, taken) => loop {
                if take(stream, taken, body, trailers)? {
                    return Ok(taken);
                }
                stream.readable().await.map_err(BodyError::Io)?;
            },
        }
    }

    /// Like [`Self::data`] but only what has come already: empty when nothing is there.
    ///
    /// # Errors
    /// See [`BodyError`].
    pub fn ready<'b>(&'b mut self, body: &mut Body, trailers: &mut Vec<u8>) -> Result<&'b [u8], BodyError> {
        match self {
            Self::H1(_, input) => input.body_ready(body, trailers),
            Self::H2(stream, taken) => {
                take(stream, taken, body, trailers)?;
                Ok(taken)
            }
        }
    }
}

/// Takes what is there; `true`: it is data, or the end.
fn take(
    stream: &Stream,
    taken: &mut Vec<u8>,
    body: &mut Body,
    trailers: &mut Vec<u8>,
) -> Result<bool, BodyError> {
    if body.is_done() {
        taken.clear();
        return Ok(true);
    }
    let ended = stream.take(taken).map_err(BodyError::Io)?;
    body.note(taken.len() as u64, ended);
    if ended {
        stream.trailers(trailers);
    }
    Ok(ended || !taken.is_empty())
}
