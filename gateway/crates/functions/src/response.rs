//! What a function answers: at once, or piece by piece.

use crate::MAX_PAYLOAD_BYTES;
use crate::error::FunctionError;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// What of a stream waits for its caller before the function waits.
const STREAM_BYTES: usize = 256 << 10;

/// What a piece counts beside its own bytes: hyper reads into buffers of this size and more, and a piece keeps the one that it was
/// read into.
const PIECE_BYTES: usize = 8 << 10;

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// The invocation's id.
    pub request_id: String,
    /// What the runtime sent as `Content-Type`. A streaming function that sets status and headers says
    /// `application/vnd.awslambda.http-integration-response`: their JSON, eight NUL bytes, the body.
    pub content_type: Option<String>,
    /// The answer itself.
    pub body: Body,
}

/// An answer's bytes.
#[derive(Debug)]
pub enum Body {
    /// All of them.
    Whole(Bytes),
    /// As they come.
    Stream(Stream),
}

/// Bytes as a function sends them. The function waits while some 256 KiB are not taken.
#[derive(Debug)]
pub struct Stream {
    pieces: mpsc::UnboundedReceiver<Held>,
}

/// A piece, and the room that it takes.
type Held = (Piece, Option<OwnedSemaphorePermit>);

/// Where the pieces of a [`Stream`] come from.
pub(crate) struct Sender {
    pieces: mpsc::UnboundedSender<Held>,
    room: Arc<Semaphore>,
}

pub(crate) fn stream() -> (Sender, Stream) {
    // Bounded by the room that there is.
    let (to, pieces) = mpsc::unbounded_channel();
    (Sender { pieces: to, room: Arc::new(Semaphore::new(STREAM_BYTES)) }, Stream { pieces })
}

impl Sender {
    /// A piece, once there is room for it. A caller that has gone does not stop the function.
    pub(crate) async fn send(&self, bytes: Bytes) {
        let wanted = u32::try_from((bytes.len() + PIECE_BYTES).min(STREAM_BYTES)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(wanted).await.ok();
        let _ = self.pieces.send((Piece::Bytes(bytes), room));
    }

    /// The last.
    pub(crate) fn end(self, last: Piece) {
        let _ = self.pieces.send((last, None));
    }
}

#[derive(Debug)]
pub(crate) enum Piece {
    Bytes(Bytes),
    End,
    Failed(FunctionError),
}

/// How long an answer may be that is not streamed to its caller: 6 MB, and room for what API Gateway adds.
pub(crate) const MAX_RESPONSE_BYTES: usize = MAX_PAYLOAD_BYTES + 100;

/// Lambda's words for one that is longer.
pub(crate) fn too_large() -> String {
    format!("Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes).")
}

/// A stream that ended before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamError {
    /// The function said why, in the trailers of its answer.
    Function(FunctionError),
    /// The process ended, its time was up, or the host closed.
    Broken,
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function(error) => {
                write!(f, "the function failed in the middle of its answer: {}", error.error_type)
            }
            Self::Broken => f.write_str("the function's answer broke off"),
        }
    }
}

impl std::error::Error for StreamError {}

impl Stream {
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        self.pieces.poll_recv(cx).map(|held| held.map(|(piece, _)| piece))
    }

    /// The next piece; nothing after the last.
    pub async fn next(&mut self) -> Option<Result<Bytes, StreamError>> {
        match self.pieces.recv().await.map(|(piece, _)| piece) {
            Some(Piece::Bytes(bytes)) => Some(Ok(bytes)),
            Some(Piece::End) => {
                self.pieces.close();
                None
            }
            Some(Piece::Failed(error)) => Some(Err(StreamError::Function(error))),
            None => Some(Err(StreamError::Broken)),
        }
    }

    /// All of it, for a caller that wants it whole.
    ///
    /// # Errors
    /// It broke off, or is longer than the answers that come whole may be.
    pub async fn collect(mut self) -> Result<Bytes, StreamError> {
        let mut all = Vec::new();
        while let Some(piece) = self.next().await {
            let piece = piece?;
            if all.len() + piece.len() > MAX_RESPONSE_BYTES {
                let error = FunctionError::new("Function.ResponseSizeTooLarge", &too_large());
                return Err(StreamError::Function(error));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_taken_is_bounded_in_bytes() {
        for piece_bytes in [1, 5000, 100_000, STREAM_BYTES + 1] {
            let (to, mut stream) = stream();
            let mut sent_bytes = 0;
            loop {
                let mut sends = std::pin::pin!(to.send(vec![0; piece_bytes].into()));
                let mut cx = Context::from_waker(std::task::Waker::noop());
                if sends.as_mut().poll(&mut cx).is_pending() {
                    break;
                }
                sent_bytes += piece_bytes;
            }
            assert!(sent_bytes > 0 && sent_bytes <= STREAM_BYTES + 1, "{piece_bytes}: {sent_bytes}");
            // Room comes back as pieces are taken, and all of it when nobody takes them any more.
            assert_eq!(stream.next().await, Some(Ok(vec![0; piece_bytes].into())));
            to.send(vec![0; piece_bytes].into()).await;
            drop(stream);
            to.send(vec![0; piece_bytes].into()).await;
        }
    }

    #[tokio::test]
    async fn streams_end_fail_or_break() {
        let error = FunctionError::new("E", "no luck");
        for (last, told) in [
            (Some(Piece::End), None),
            (Some(Piece::Failed(error.clone())), Some(Err(StreamError::Function(error)))),
            (None, Some(Err(StreamError::Broken))),
        ] {
            let (to, mut stream) = stream();
            to.send(Bytes::from_static(b"x")).await;
            match last {
                Some(last) => to.end(last),
                None => drop(to),
            }
            assert_eq!(stream.next().await, Some(Ok(Bytes::from_static(b"x"))));
            assert_eq!(stream.next().await, told);
        }
    }
}
