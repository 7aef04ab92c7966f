//! What a function answers: at once, or piece by piece.

use crate::MAX_PAYLOAD_BYTES;
use crate::error::FunctionError;
use bytes::Bytes;
use std::fmt;
use tokio::sync::mpsc;

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

/// Bytes as a function sends them. The function waits while a few pieces are not taken.
#[derive(Debug)]
pub struct Stream {
    pub(crate) pieces: mpsc::Receiver<Piece>,
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
    /// The next piece; nothing after the last.
    pub async fn next(&mut self) -> Option<Result<Bytes, StreamError>> {
        match self.pieces.recv().await {
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
