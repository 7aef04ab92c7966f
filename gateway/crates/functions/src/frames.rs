//! InvokeWithResponseStream: an answer as an event stream (Lambda API reference, "InvokeWithResponseStream").

use crate::error::FunctionError;
use crate::response::{Body, Piece, Response, Stream};
use crate::tail::LogTail;
use bytes::Bytes;
use http_body::Frame;
use serde_json::json;
use sluice_wire::eventstream::write_event;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The media type.
pub(crate) const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// What a message has around its payload, and room for a small one.
const ENVELOPE_BYTES: usize = 256;

/// The messages of an answer, each as soon as there is something to say.
pub(crate) struct Frames {
    /// What is said first.
    next: Option<Bytes>,
    /// Told at the end.
    tail: Option<Arc<LogTail>>,
    pieces: Option<Stream>,
}

impl Frames {
    pub(crate) fn of(answer: Response, tail: Option<Arc<LogTail>>) -> Self {
        match answer.body {
            Body::Stream(stream) => Self { next: None, tail, pieces: Some(stream) },
            Body::Whole(bytes) => {
                let mut all = Vec::with_capacity(bytes.len() + 2 * ENVELOPE_BYTES);
                chunk(&mut all, &bytes);
                complete(&mut all, None, tail.as_deref());
                Self { next: Some(all.into()), tail: None, pieces: None }
            }
        }
    }

    /// Of an invocation that failed before it answered anything.
    pub(crate) fn failed(error: &FunctionError, tail: Option<Arc<LogTail>>) -> Self {
        let mut all = Vec::new();
        complete(&mut all, Some((error.kind, &String::from_utf8_lossy(&error.body))), tail.as_deref());
        Self { next: Some(all.into()), tail: None, pieces: None }
    }
}

fn chunk(out: &mut Vec<u8>, bytes: &[u8]) {
    write_event(out, "PayloadChunk", "application/octet-stream", bytes);
}

fn complete(out: &mut Vec<u8>, error: Option<(&str, &str)>, tail: Option<&LogTail>) {
    let log = tail.and_then(LogTail::finish);
    let (code, details) = error.unzip();
    let payload = json!({ "ErrorCode": code, "ErrorDetails": details, "LogResult": log });
    write_event(out, "InvokeComplete", "application/json", payload.to_string().as_bytes());
}

impl axum::body::HttpBody for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(bytes) = self.next.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let Some(pieces) = &mut self.pieces else { return Poll::Ready(None) };
        let piece = ready!(pieces.poll_piece(cx));
        let length = if let Some(Piece::Bytes(bytes)) = &piece { bytes.len() } else { 0 };
        let (mut out, tail) = (Vec::with_capacity(length + ENVELOPE_BYTES), self.tail.as_deref());
        match &piece {
            Some(Piece::Bytes(bytes)) => chunk(&mut out, bytes),
            Some(Piece::End) => complete(&mut out, None, tail),
            Some(Piece::Failed(error)) => {
                complete(&mut out, Some((error.kind, &String::from_utf8_lossy(&error.body))), tail);
            }
            None => {
                let details = "The response ended before it was complete";
                complete(&mut out, Some(("Runtime.TruncatedResponse", details)), tail);
            }
        }
        if !matches!(piece, Some(Piece::Bytes(_))) {
            self.pieces = None;
        }
        Poll::Ready(Some(Ok(Frame::data(out.into()))))
    }
}
