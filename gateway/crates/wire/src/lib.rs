//! HTTP messages as bytes: a sans-I/O codec. Bytes in, spans out; no clock, no sockets, no gateway nouns.
//!
//! - [`parse_request`] and [`parse_response`] read a head into a reusable [`RequestHead`] / [`ResponseHead`]: spans that
//!   index the caller's bytes, the body's framing, and what the connection may do next. They allocate nothing but the
//!   growth of the reused header vector.
//! - [`ChunkedDecoder`] reads a chunked body piece by piece.
//! - [`enc`] writes heads and chunks.
//! - [`eventstream`] is AWS's encoding of streams of events.
//! - [`h2`] is the same for HTTP/2: frames, header compression, and the same heads made of them.
//!
//! # What counts as an attack
//! Two parties that read one message differently. So everything that RFC 9112 lets a recipient repair is refused here
//! (obs-fold, bare CR or LF, white space before the colon, repeated `Content-Length`, `Content-Length` beside
//! `Transfer-Encoding`), and callers re-serialise from the parsed form instead of copying raw bytes. Where this codec is
//! stricter than the RFC the refusing error variant says so.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod body;
mod chunked;
mod date;
pub mod enc;
mod error;
pub mod eventstream;
mod fields;
pub mod h2;
mod head;
mod known;
mod method;
pub mod proxy;
mod request;
mod response;
mod scan;
mod span;
mod target;
pub mod ws;

pub use body::BodyFraming;
pub use chunked::{Chunk, ChunkedDecoder};
pub use error::{ChunkError, FieldError, RequestError, ResponseError};
pub use head::{Header, Limits, RequestHead, ResponseHead, Status, TargetForm, Version};
pub use known::KnownHeader;
pub use method::Method;
pub use request::parse_request;
pub use response::parse_response;
pub use scan::{is_field_value, is_token};
pub use span::Span;

/// Seconds since 1970 of an HTTP date, in any of the three formats that a recipient must accept (RFC 9110 section 5.6.7).
/// `now_unix_s` places two-digit years.
#[must_use]
pub fn parse_http_date(text: &[u8], now_unix_s: u64) -> Option<u64> {
    date::parse(text, now_unix_s)
}

/// The same parsers without vector instructions, for tests that compare the two.
#[doc(hidden)]
pub mod portable {
    pub use crate::request::parse_request_portable as parse_request;
    pub use crate::response::parse_response_portable as parse_response;
}
