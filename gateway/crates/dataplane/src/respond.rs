//! Answers that the gateway makes itself: mocks, cache hits and refusals.
//!
//! Refusals have the form of API Gateway's default gateway responses: a JSON `message`, `x-amzn-ErrorType` and
//! `x-amzn-RequestId` (developer guide, "Gateway response types for API Gateway").

use crate::core::Core;
use crate::exchange::{Exchange, Refused};
use crate::ids::RequestId;
use sluice_cache::Entry;
use sluice_h1::Body;
use sluice_server::{After, Conn};
use sluice_snapshot::MockResponse;
use sluice_telemetry::Refusal;
use sluice_wire::{BodyFraming, Limits, Method, RequestHead, Version, enc};

/// Status, message and error type of a refusal.
pub(crate) struct GatewayResponse {
    pub(crate) status: u16,
    message: &'static str,
    error_type: &'static str,
}

/// The one table of refusals: what `docs/errors.md` lists.
pub(crate) fn gateway_response(why: Refusal) -> GatewayResponse {
    let (status, message, error_type) = match why {
        Refusal::NotFound | Refusal::MethodNotAllowed => (404, "Not Found", "NotFoundException"),
        Refusal::KeyMissing | Refusal::KeyInvalid | Refusal::KeyDisabled => {
            (403, "Forbidden", "ForbiddenException")
        }
        Refusal::Throttled => (429, "Too Many Requests", "TooManyRequestsException"),
        Refusal::TooLarge => (413, "Request Entity Too Large", "RequestEntityTooLargeException"),
        Refusal::UriTooLong => (414, "URI Too Long", "BadRequestException"),
        Refusal::HeadersTooLarge => (431, "Request Header Fields Too Large", "BadRequestException"),
        Refusal::NotImplemented => (501, "Not Implemented", "BadRequestException"),
        Refusal::VersionNotSupported => (505, "HTTP Version Not Supported", "BadRequestException"),
        Refusal::HeaderTimeout | Refusal::BodyTimeout => (408, "Request Timeout", "RequestTimeoutException"),
        Refusal::UpstreamTimeout => (504, "Endpoint request timed out", "InternalServerErrorException"),
        Refusal::UpstreamUnavailable
        | Refusal::UpstreamConnect
        | Refusal::UpstreamReset
        | Refusal::UpstreamMalformed => {
            (504, "Network error communicating with endpoint", "InternalServerErrorException")
        }
        Refusal::Shed => (503, "Service Unavailable", "ServiceUnavailableException"),
        Refusal::Internal => (500, "Internal Server Error", "InternalServerErrorException"),
        Refusal::Malformed | Refusal::ClientGone => (400, "Bad Request", "BadRequestException"),
    };
    GatewayResponse { status, message, error_type }
}

/// The refusal and answer for a request head that the parser refused with `status`.
pub(crate) fn parser_refusal(status: u16) -> (Refusal, GatewayResponse) {
    let why = match status {
        408 => Refusal::HeaderTimeout,
        414 => Refusal::UriTooLong,
        431 => Refusal::HeadersTooLarge,
        501 => Refusal::NotImplemented,
        505 => Refusal::VersionNotSupported,
        _ => Refusal::Malformed,
    };
    (why, gateway_response(why))
}

/// `Connection`, where its absence would mean something else (RFC 9112 9.3).
#[inline]
pub(crate) fn connection_header(out: &mut Vec<u8>, version: Version, keep: bool) {
    if !keep {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if version == Version::Http10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
}

/// `x-amzn-RequestId`, which every answer carries.
#[inline]
pub(crate) fn request_id_header(out: &mut Vec<u8>, id: &RequestId) {
    out.extend_from_slice(b"x-amzn-RequestId: ");
    out.extend_from_slice(id);
    out.extend_from_slice(b"\r\n");
}

/// Headers that every answer of the gateway's own ends with.
#[inline]
fn common_headers(out: &mut Vec<u8>, core: &Core, ex: &Exchange, keep: bool) {
    request_id_header(out, &ex.request_id);
    core.clock.write_date(out);
    connection_header(out, ex.head.version, keep);
    out.extend_from_slice(b"\r\n");
}

/// Unread body that is discarded to keep a connection; beyond it the connection is closed instead.
const DISCARD_BYTES: u64 = 256 * 1024;

/// What to do with a request body that the answer does not need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leftover {
    /// There is none.
    Nothing,
    /// Read and drop it, then go on.
    Discard,
    /// Too much, or it will only come after a `100 Continue` that is not given: close.
    Close,
}

pub(crate) fn leftover(head: &RequestHead) -> Leftover {
    match head.framing {
        BodyFraming::None | BodyFraming::Length(0) => Leftover::Nothing,
        _ if head.expect_continue => Leftover::Close,
        BodyFraming::Length(n) if n > DISCARD_BYTES => Leftover::Close,
        _ => Leftover::Discard,
    }
}

/// Discards an unread request body within bounds, and says what becomes of the connection.
pub(crate) async fn discard(
    conn: &mut Conn,
    framing: BodyFraming,
    limits: &Limits,
    timeout_ms: u64,
) -> After {
    let mut body = Body::new(framing, limits);
    let mut trailers = Vec::new();
    conn.wire.stream.flush();
    conn.wire.stream.set_deadline_ms(Some(sluice_rt::now_ms() + timeout_ms));
    loop {
        match conn.wire.body_data(&mut body, &mut trailers).await {
            Ok([]) => return After::KeepAlive,
            Ok(_) if body.received <= DISCARD_BYTES => {}
            Ok(_) | Err(_) => return After::Linger,
        }
    }
}

/// Writes a route's fixed answer.
#[inline]
pub(crate) fn mock(core: &Core, conn: &Conn, ex: &mut Exchange, mock: &MockResponse, keep: bool) {
    let written = conn.wire.stream.write_with(|out| {
        let before = out.len();
        out.extend_from_slice(&mock.head);
        common_headers(out, core, ex, keep);
        if ex.head.method != Method::Head {
            out.extend_from_slice(&mock.body);
        }
        out.len() - before
    });
    ex.report.status = mock.status;
    ex.report.bytes_out = written as u64;
}

/// Bodies up to this size are copied into the send queue, where they leave with their head in one segment; larger ones
/// are sent from the cache's own memory.
const COPY_BYTES: usize = 16 * 1024;

/// Writes a cached answer.
#[inline]
pub(crate) fn hit(core: &Core, conn: &Conn, ex: &mut Exchange, entry: &Entry, now_ms: u64, keep: bool) {
    let stream = &conn.wire.stream;
    let head_only = ex.head.method == Method::Head;
    let inline = !head_only && entry.body.len() <= COPY_BYTES;
    let mut written = stream.write_with(|out| {
        let before = out.len();
        enc::status_line(out, entry.status);
        out.extend_from_slice(&entry.head);
        if entry.status != 204 {
            enc::content_length(out, entry.body.len() as u64);
        }
        out.extend_from_slice(b"x-cache: HIT\r\nAge: ");
        enc::decimal(out, now_ms.saturating_sub(entry.stored_at_ms) / 1000);
        out.extend_from_slice(b"\r\n");
        common_headers(out, core, ex, keep);
        if inline {
            out.extend_from_slice(&entry.body);
        }
        out.len() - before
    });
    if !inline && !head_only {
        stream.write_bytes(entry.body.clone());
        written += entry.body.len();
    }
    ex.report.status = entry.status;
    ex.report.bytes_out = written as u64;
}

/// Writes a refusal.
pub(crate) fn refuse(core: &Core, conn: &Conn, ex: &mut Exchange, refused: &Refused, keep: bool) {
    let answer = gateway_response(refused.why);
    let head_only = ex.head.method == Method::Head;
    let written = conn.wire.stream.write_with(|out| {
        let before = out.len();
        error_head(out, &answer, refused.retry_after_ms);
        common_headers(out, core, ex, keep);
        if !head_only {
            error_body(out, &answer);
        }
        out.len() - before
    });
    ex.report.refusal = Some(refused.why);
    ex.report.status = answer.status;
    ex.report.bytes_out += written as u64;
}

const BODY_BEFORE: &[u8] = b"{\"message\":\"";
const BODY_AFTER: &[u8] = b"\"}";

/// Status line and headers of a refusal, without those common to all answers and without the empty line.
pub(crate) fn error_head(out: &mut Vec<u8>, answer: &GatewayResponse, retry_after_ms: Option<u64>) {
    enc::status_line(out, answer.status);
    enc::header(out, b"Content-Type", b"application/json");
    enc::content_length(out, (BODY_BEFORE.len() + answer.message.len() + BODY_AFTER.len()) as u64);
    enc::header(out, b"x-amzn-ErrorType", answer.error_type.as_bytes());
    if let Some(ms) = retry_after_ms {
        // RFC 9110 10.2.3 counts in whole seconds: rounded up, so that a client that obeys is not refused again.
        out.extend_from_slice(b"Retry-After: ");
        enc::decimal(out, ms.div_ceil(1000).max(1));
        out.extend_from_slice(b"\r\n");
    }
}

/// The JSON body of a refusal.
pub(crate) fn error_body(out: &mut Vec<u8>, answer: &GatewayResponse) {
    out.extend_from_slice(BODY_BEFORE);
    out.extend_from_slice(answer.message.as_bytes());
    out.extend_from_slice(BODY_AFTER);
}
