//! Answers that the gateway makes itself: mocks, cache hits and refusals.
//!
//! Refusals have the form of API Gateway's default gateway responses: a JSON `message`, `x-amzn-ErrorType` and
//! `x-amzn-RequestId` (developer guide, "Gateway response types for API Gateway").

use crate::core::Core;
use crate::exchange::{Exchange, Refused};
use crate::head_out::{HeadOut, digits};
use crate::ids::RequestId;
use crate::rest;
use crate::rest::compress::Coding;
use crate::rest::write::{coded_entry, coding_fields};
use crate::standard::{self, Served};
use bytes::Bytes;
use sluice_cache::Entry;
use sluice_cache::standard::{Ranged, Stored, is_not_modified, ranged};
use sluice_h1::Body;
use sluice_h2::Out;
use sluice_server::{After, Conn};
use sluice_snapshot::{Fault, MockResponse};
use sluice_telemetry::Refusal;
use sluice_wire::{BodyFraming, KnownHeader, Limits, Method, RequestHead, Version, enc};
use std::borrow::Cow;
use std::ops::Range;

/// Status, message and error type of a refusal.
pub(crate) struct GatewayResponse {
    pub(crate) status: u16,
    pub(crate) message: &'static str,
    pub(crate) error_type: &'static str,
}

/// The one table of refusals: what `docs/errors.md` lists.
pub(crate) fn gateway_response(why: Refusal) -> GatewayResponse {
    let (status, message, error_type) = match why {
        Refusal::NotFound | Refusal::MethodNotAllowed => (404, "Not Found", "NotFoundException"),
        Refusal::MissingToken => (403, "Missing Authentication Token", "MissingAuthenticationTokenException"),
        Refusal::UnknownStage
        | Refusal::CertificateMissing
        | Refusal::RefreshForbidden
        | Refusal::KeyMissing
        | Refusal::KeyInvalid
        | Refusal::KeyDisabled => (403, "Forbidden", "ForbiddenException"),
        Refusal::UnsupportedMediaType => (415, "Unsupported Media Type", "BadRequestException"),
        Refusal::BadBody => (400, "Invalid request body", "BadRequestException"),
        Refusal::BadParameters => (400, "Missing required request parameters", "BadRequestException"),
        Refusal::QuotaExceeded => (429, "Limit Exceeded", "LimitExceededException"),
        Refusal::Configuration => (500, "Internal server error", "InternalServerErrorException"),
        Refusal::FunctionFailed => (502, "Internal server error", "InternalServerErrorException"),
        Refusal::Unauthorized => (401, "Unauthorized", "UnauthorizedException"),
        Refusal::AccessDenied => {
            (403, "User is not authorized to access this resource", "AccessDeniedException")
        }
        Refusal::InsufficientScope => (403, "Forbidden", "ForbiddenException"),
        Refusal::SignatureInvalid => (403, "Forbidden", "InvalidSignatureException"),
        Refusal::SignatureIncomplete => (403, "Forbidden", "IncompleteSignatureException"),
        Refusal::UnknownAccessKey => {
            (403, "The security token included in the request is invalid.", "UnrecognizedClientException")
        }
        Refusal::ExpiredToken => {
            (403, "The security token included in the request is expired", "ExpiredTokenException")
        }
        // AWS says `{"message":null}`.
        Refusal::Authorizer | Refusal::AuthorizerFailure => (500, "", "AuthorizerConfigurationException"),
        Refusal::Throttled => (429, "Too Many Requests", "TooManyRequestsException"),
        Refusal::TooLarge => (413, "Request Entity Too Large", "RequestEntityTooLargeException"),
        Refusal::Misdirected => (421, "Misdirected Request", "BadRequestException"),
        Refusal::UriTooLong => (414, "URI Too Long", "BadRequestException"),
        Refusal::HeadersTooLarge => (431, "Request Header Fields Too Large", "BadRequestException"),
        Refusal::NotImplemented => (501, "Not Implemented", "BadRequestException"),
        Refusal::VersionNotSupported => (505, "HTTP Version Not Supported", "BadRequestException"),
        Refusal::HeaderTimeout | Refusal::BodyTimeout => (408, "Request Timeout", "RequestTimeoutException"),
        Refusal::UpstreamTimeout => (504, "Endpoint request timed out", "InternalServerErrorException"),
        Refusal::UpstreamUnavailable
        | Refusal::UpstreamConnect
        | Refusal::UpstreamReset
        | Refusal::UpstreamMalformed
        | Refusal::UpstreamTls => {
            (504, "Network error communicating with endpoint", "InternalServerErrorException")
        }
        Refusal::NotCached => (504, "Not cached", "NotFoundException"),
        Refusal::Shed => (503, "Service Unavailable", "ServiceUnavailableException"),
        Refusal::Internal => (500, "Internal Server Error", "InternalServerErrorException"),
        Refusal::Malformed | Refusal::ClientGone => (400, "Bad Request", "BadRequestException"),
    };
    GatewayResponse { status, message, error_type }
}

/// What differs on routes of the configuration, which answer as HTTP APIs do.
fn of_route(why: Refusal) -> GatewayResponse {
    let (status, message, error_type) = match why {
        Refusal::FunctionFailed | Refusal::Configuration => {
            (500, "Internal Server Error", "InternalServerErrorException")
        }
        Refusal::Authorizer | Refusal::AuthorizerFailure => {
            (500, "Internal Server Error", "AuthorizerConfigurationException")
        }
        Refusal::AccessDenied => (403, "Forbidden", "ForbiddenException"),
        other => return gateway_response(other),
    };
    GatewayResponse { status, message, error_type }
}

/// The refusal of a method that cannot be answered.
pub(crate) const fn fault(fault: Fault) -> Refusal {
    match fault {
        Fault::Integration => Refusal::Configuration,
        Fault::Authorizer => Refusal::Authorizer,
        Fault::Policy => Refusal::Configuration,
    }
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
pub(crate) fn request_id_header(out: &mut impl HeadOut, id: &RequestId) {
    out.field(KnownHeader::XAmznRequestId, b"x-amzn-RequestId", id);
}

/// Headers that every answer of the gateway's own carries.
#[inline]
pub(crate) fn common_headers(out: &mut impl HeadOut, core: &Core, ex: &Exchange) {
    request_id_header(out, &ex.request_id);
    core.clock.write_date(out);
}

/// What ends the head in HTTP/1.
#[inline]
pub(crate) fn end_head(out: &mut Vec<u8>, ex: &Exchange, keep: bool) {
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
        // A stream that is not read to its end costs the others nothing.
        _ if head.version == Version::Http2 => Leftover::Nothing,
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
    let (out, mut input) = conn.client.split();
    out.flush();
    out.set_deadline_ms(Some(sluice_rt::now_ms() + timeout_ms));
    loop {
        match input.data(&mut body, &mut trailers).await {
            Ok([]) => return After::KeepAlive,
            Ok(_) if body.received <= DISCARD_BYTES => {}
            Ok(_) | Err(_) => return After::Linger,
        }
    }
}

/// Writes a route's fixed answer.
#[inline]
pub(crate) fn mock(core: &Core, conn: &Conn, ex: &mut Exchange, mock: &MockResponse, keep: bool) {
    let with_body = ex.head.method != Method::Head;
    let written = match conn.client.out() {
        Out::H1(stream) => stream.write_with(|out| {
            let before = out.len();
            out.extend_from_slice(&mock.head);
            common_headers(out, core, ex);
            end_head(out, ex, keep);
            if with_body {
                out.extend_from_slice(&mock.body);
            }
            out.len() - before
        }),
        Out::H2(stream) => {
            let body: &[u8] = if with_body { &mock.body } else { b"" };
            let head = stream.write_head(body.is_empty(), |head| {
                head.prepared(&mock.block);
                common_headers(head, core, ex);
            });
            stream.write(body, true);
            head + body.len()
        }
    };
    ex.report.status = mock.status;
    ex.report.bytes_out = written as u64;
}

/// Bodies up to this size are copied into the send queue, where they leave with their head in one segment; larger ones
/// are sent from the cache's own memory.
const COPY_BYTES: usize = 16 * 1024;

/// Writes a cached answer.
#[inline]
pub(crate) fn hit(core: &Core, conn: &Conn, ex: &mut Exchange, entry: &Entry, now_ms: u64, keep: bool) {
    let (coding, body) = match coded_entry(ex, entry) {
        Some((coding, body)) => (Some(coding), Cow::Owned(body)),
        None => (None, Cow::Borrowed(&entry.body)),
    };
    let head_only = ex.head.method == Method::Head;
    let inline = !head_only && body.len() <= COPY_BYTES;
    let head = Hit { entry, coding, length: body.len() as u64, now_ms };
    let mut written = match conn.client.out() {
        Out::H1(stream) => stream.write_with(|out| {
            let before = out.len();
            hit_head(out, core, ex, &head);
            end_head(out, ex, keep);
            if inline {
                out.extend_from_slice(&body);
            }
            out.len() - before
        }),
        Out::H2(stream) => {
            let empty = head_only || body.is_empty();
            let head = stream.write_head(empty, |out| hit_head(out, core, ex, &head));
            if inline {
                stream.write(&body, true);
            }
            head + if inline { body.len() } else { 0 }
        }
    };
    if !inline && !head_only {
        conn.client.out().whole(&body);
        written += body.len();
    }
    ex.report.status = entry.status;
    ex.report.bytes_out = written as u64;
}

/// A cached answer on its way.
struct Hit<'a> {
    entry: &'a Entry,
    coding: Option<Coding>,
    length: u64,
    now_ms: u64,
}

#[inline]
fn hit_head(out: &mut impl HeadOut, core: &Core, ex: &Exchange, hit: &Hit<'_>) {
    out.status(hit.entry.status);
    out.lines(&hit.entry.head);
    if let Some(coding) = hit.coding {
        coding_fields(out, coding);
    }
    if hit.entry.status != 204 {
        out.content_length(hit.length);
    }
    out.field(KnownHeader::XCache, b"x-cache", b"HIT");
    refresh_warning(out, ex);
    let (age, start) = digits(hit.now_ms.saturating_sub(hit.entry.stored_at_ms) / 1000);
    out.field(KnownHeader::Age, b"Age", age.get(start..).unwrap_or_default());
    common_headers(out, core, ex);
}

/// Says that the cache was not asked to be refreshed by one who may not (SUCCEED_WITH_RESPONSE_HEADER).
#[inline]
pub(crate) fn refresh_warning(out: &mut impl HeadOut, ex: &Exchange) {
    if ex.report.refresh_ignored {
        out.field(KnownHeader::Other, b"Warning", b"199 - \"Cache-Control ignored: not authorized\"");
    }
}

/// Writes a stored answer, or what of it the client's conditions and ranges ask for (standards mode).
pub(crate) fn stored(core: &Core, conn: &Conn, ex: &mut Exchange, entry: &Entry, served: Served, keep: bool) {
    let (status, part) = selected(core, ex, entry);
    let head_only = ex.head.method == Method::Head || matches!(status, 204 | 304 | 416);
    let body = if head_only { Bytes::new() } else { entry.body.slice(part.clone()) };
    let inline = body.len() <= COPY_BYTES;
    let mut written = match conn.client.out() {
        Out::H1(stream) => stream.write_with(|out| {
            let before = out.len();
            stored_head(out, ex, entry, (status, &part), served);
            end_head(out, ex, keep);
            if inline {
                out.extend_from_slice(&body);
            }
            out.len() - before
        }),
        Out::H2(stream) => {
            let head = stream
                .write_head(body.is_empty(), |head| stored_head(head, ex, entry, (status, &part), served));
            if inline && !body.is_empty() {
                stream.write(&body, true);
            }
            head + if inline { body.len() } else { 0 }
        }
    };
    if !inline {
        written += body.len();
        conn.client.out().whole(&body);
    }
    ex.report.status = status;
    ex.report.bytes_out = written as u64;
}

/// Status, and which part of the body.
fn selected(core: &Core, ex: &Exchange, entry: &Entry) -> (u16, Range<usize>) {
    let whole = 0..entry.body.len();
    let Some(stored) = entry.stored().filter(|_| entry.status == 200) else { return (entry.status, whole) };
    let request = standard::fields(ex);
    let now_unix_s = core.clock.unix_ms(sluice_rt::now_ns()) / 1000;
    if is_not_modified(request, stored, now_unix_s) {
        return (304, whole);
    }
    // RFC 9110 14.2: only GET has ranges.
    if ex.head.method != Method::Get {
        return (200, whole);
    }
    match ranged(request, stored, entry.body.len()) {
        Ranged::Whole => (200, whole),
        Ranged::Part(part) => (206, part),
        Ranged::Unsatisfiable => (416, 0..0),
    }
}

/// The stored lines, and those of this answer.
fn stored_head(
    out: &mut impl HeadOut,
    ex: &Exchange,
    entry: &Entry,
    (status, part): (u16, &Range<usize>),
    served: Served,
) {
    out.status(status);
    if status == 304 {
        // RFC 9110 15.4.5: what describes the body is left out.
        for line in entry.head.split_inclusive(|b| *b == b'\n') {
            let name = line.split(|b| *b == b':').next().unwrap_or_default();
            let describes = matches!(
                KnownHeader::from_name(name),
                KnownHeader::ContentType | KnownHeader::ContentEncoding | KnownHeader::ContentLanguage
            );
            if !describes {
                out.lines(line);
            }
        }
    } else {
        out.lines(&entry.head);
        if matches!(status, 206 | 416) {
            out.field_with(KnownHeader::ContentRange, b"Content-Range", |out| {
                content_range(out, status, part, entry.body.len());
            });
        }
        if status != 204 {
            out.content_length(part.len() as u64);
        }
    }
    if let Some(stored) = entry.stored() {
        let age_ms = stored.age_ms(entry.stored_at_ms, sluice_rt::now_ms());
        let (age, start) = digits(age_ms / 1000);
        // RFC 9111 5.1.
        out.field(KnownHeader::Age, b"Age", age.get(start..).unwrap_or_default());
        out.field_with(KnownHeader::Other, b"Cache-Status", |out| cache_status(out, stored, age_ms, served));
    }
    request_id_header(out, &ex.request_id);
}

fn content_range(out: &mut Vec<u8>, status: u16, part: &Range<usize>, length: usize) {
    out.extend_from_slice(b"bytes ");
    if status == 206 {
        enc::decimal(out, part.start as u64);
        out.push(b'-');
        enc::decimal(out, part.end.saturating_sub(1) as u64);
    } else {
        out.push(b'*');
    }
    out.push(b'/');
    enc::decimal(out, length as u64);
}

/// RFC 9211.
fn cache_status(out: &mut Vec<u8>, stored: &Stored, age_ms: u64, served: Served) {
    out.extend_from_slice(match served {
        Served::Hit => b"sluice; hit; ttl=".as_slice(),
        Served::Collapsed => b"sluice; fwd=miss; collapsed; ttl=",
        Served::Validated => b"sluice; fwd=stale; fwd-status=304; ttl=",
        Served::StaleIfError => b"sluice; fwd=stale; detail=stale-if-error; ttl=",
    });
    if age_ms > stored.lifetime_ms {
        out.push(b'-');
    }
    enc::decimal(out, age_ms.abs_diff(stored.lifetime_ms) / 1000);
}

/// Writes a refusal.
pub(crate) fn refuse(core: &Core, conn: &Conn, ex: &mut Exchange, refused: &Refused, keep: bool) {
    if core.trace.is_kept() {
        core.trace.refused(refused);
    }
    if ex.within.is_some() && rest::write::refuse(core, conn, ex, refused, keep) {
        return;
    }
    let answer = if ex.within.is_some() { gateway_response(refused.why) } else { of_route(refused.why) };
    let head_only = ex.head.method == Method::Head;
    let written = match conn.client.out() {
        Out::H1(stream) => stream.write_with(|out| {
            let before = out.len();
            error_head(out, &answer, refused.retry_after_ms);
            challenge(out, refused);
            common_headers(out, core, ex);
            end_head(out, ex, keep);
            if !head_only {
                error_body(out, &answer);
            }
            out.len() - before
        }),
        Out::H2(stream) => {
            let head = stream.write_head(head_only, |head| {
                error_head(head, &answer, refused.retry_after_ms);
                challenge(head, refused);
                common_headers(head, core, ex);
            });
            let mut body = core.scratch.bytes();
            error_body(&mut body, &answer);
            stream.write(&body, true);
            let len = if head_only { 0 } else { body.len() };
            core.scratch.put_bytes(body);
            head + len
        }
    };
    ex.report.refusal = Some(refused.why);
    ex.report.status = answer.status;
    ex.report.bytes_out += written as u64;
}

/// RFC 9110 11.6.1, RFC 6750 3.
fn challenge(out: &mut impl HeadOut, refused: &Refused) {
    if let Some(challenge) = &refused.challenge {
        let name = b"www-authenticate";
        out.field(KnownHeader::from_name(name), name, challenge.as_bytes());
    }
}

const BODY_BEFORE: &[u8] = b"{\"message\":\"";
const BODY_AFTER: &[u8] = b"\"}";
const NO_MESSAGE: &[u8] = b"{\"message\":null}";

/// Status line and headers of a refusal, without those common to all answers and without the empty line.
pub(crate) fn error_head(out: &mut impl HeadOut, answer: &GatewayResponse, retry_after_ms: Option<u64>) {
    out.status(answer.status);
    out.field(KnownHeader::ContentType, b"Content-Type", b"application/json");
    let length = match answer.message {
        "" => NO_MESSAGE.len(),
        message => BODY_BEFORE.len() + message.len() + BODY_AFTER.len(),
    };
    out.content_length(length as u64);
    out.field(KnownHeader::XAmznErrorType, b"x-amzn-ErrorType", answer.error_type.as_bytes());
    if let Some(ms) = retry_after_ms {
        // RFC 9110 10.2.3 counts in whole seconds: rounded up, so that a client that obeys is not refused again.
        let (seconds, start) = digits(ms.div_ceil(1000).max(1));
        out.field(KnownHeader::RetryAfter, b"Retry-After", seconds.get(start..).unwrap_or_default());
    }
}

/// The JSON body of a refusal.
pub(crate) fn error_body(out: &mut Vec<u8>, answer: &GatewayResponse) {
    if answer.message.is_empty() {
        return out.extend_from_slice(NO_MESSAGE);
    }
    out.extend_from_slice(BODY_BEFORE);
    out.extend_from_slice(answer.message.as_bytes());
    out.extend_from_slice(BODY_AFTER);
}
