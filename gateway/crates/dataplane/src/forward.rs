//! Request heads towards upstreams and response heads towards clients: always re-serialised from the parsed form.

use crate::core::Core;
use crate::exchange::Exchange;
use crate::respond::{connection_header, request_id_header};
use sluice_snapshot::{PathPiece, ProxyPlan};
use sluice_wire::{BodyFraming, Header, KnownHeader, ResponseHead, Version, enc};
use std::io::Write as _;
use std::net::IpAddr;

/// How the body goes to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Responses to HEAD, 204, 304.
    NoBody,
    /// `Content-Length`.
    Sized(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Ended by closing: HTTP/1.0 clients.
    Close,
}

impl Delivery {
    pub(crate) fn of(framing: BodyFraming, http10: bool) -> Self {
        match (framing, http10) {
            (BodyFraming::None, _) => Self::NoBody,
            (BodyFraming::Length(n), _) => Self::Sized(n),
            (BodyFraming::Chunked | BodyFraming::UntilClose, false) => Self::Chunked,
            (BodyFraming::Chunked | BodyFraming::UntilClose, true) => Self::Close,
        }
    }
}

/// Writes the request head for a target.
pub(crate) fn request_head(out: &mut Vec<u8>, ex: &Exchange, plan: &ProxyPlan, authority: &str) {
    let (head, bytes) = (&*ex.head, ex.bytes.as_slice());
    let server = &ex.view.snapshot.server;
    out.reserve(bytes.len() + 512);
    out.extend_from_slice(head.method_name.of(bytes));
    out.push(b' ');
    path(out, ex, plan);
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    out.extend_from_slice(authority.as_bytes());
    out.extend_from_slice(b"\r\n");
    for h in &head.headers {
        let skip = h.hop_by_hop
            || match h.id {
                KnownHeader::Host | KnownHeader::ContentLength | KnownHeader::Expect => true,
                KnownHeader::XForwardedFor
                | KnownHeader::XForwardedProto
                | KnownHeader::XForwardedHost
                | KnownHeader::XForwardedPort => server.x_forwarded,
                KnownHeader::Forwarded => server.forwarded,
                KnownHeader::Via => server.via,
                _ => false,
            };
        if !skip {
            enc::header(out, h.name.of(bytes), h.value.of(bytes));
        }
    }
    if server.x_forwarded {
        x_forwarded(out, ex);
    }
    if server.forwarded {
        forwarded(out, ex);
    }
    if server.via {
        via(out, &head.headers, bytes, head.version);
    }
    match head.framing {
        BodyFraming::Length(n) => enc::content_length(out, n),
        BodyFraming::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        BodyFraming::None | BodyFraming::UntilClose => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// The path sent upstream, with the client's query.
fn path(out: &mut Vec<u8>, ex: &Exchange, plan: &ProxyPlan) {
    let bytes = ex.bytes.as_slice();
    let raw = ex.head.path.of(bytes);
    match &plan.rewrite {
        // An absolute-form target may have no path (RFC 9112 3.2.1: then it is "/").
        None if raw.is_empty() => out.push(b'/'),
        None => out.extend_from_slice(raw),
        Some(pieces) => {
            for piece in pieces {
                match piece {
                    PathPiece::Literal(text) => out.extend_from_slice(text),
                    PathPiece::Capture(n) => out.extend_from_slice(ex.captures.get(usize::from(*n), raw)),
                }
            }
        }
    }
    if let Some(query) = ex.head.query {
        out.push(b'?');
        out.extend_from_slice(query.of(bytes));
    }
}

/// `prefix`, then the values that a list header has already, each followed by `, `.
fn joined(out: &mut Vec<u8>, headers: &[Header], bytes: &[u8], id: KnownHeader, prefix: &[u8]) {
    out.extend_from_slice(prefix);
    for h in headers.iter().filter(|h| h.id == id && !h.hop_by_hop) {
        out.extend_from_slice(h.value.of(bytes));
        out.extend_from_slice(b", ");
    }
}

/// RFC 9110 7.6.3: the version is that of the message as it was received.
fn via(out: &mut Vec<u8>, headers: &[Header], bytes: &[u8], received: Version) {
    joined(out, headers, bytes, KnownHeader::Via, b"Via: ");
    out.extend_from_slice(if received == Version::Http10 { b"1.0 sluice\r\n" } else { b"1.1 sluice\r\n" });
}

fn x_forwarded(out: &mut Vec<u8>, ex: &Exchange) {
    let bytes = ex.bytes.as_slice();
    let authority = ex.head.authority.of(bytes);
    joined(out, &ex.head.headers, bytes, KnownHeader::XForwardedFor, b"X-Forwarded-For: ");
    address(out, ex.source);
    out.extend_from_slice(b"\r\nX-Forwarded-Proto: http\r\n");
    if !authority.is_empty() {
        enc::header(out, b"X-Forwarded-Host", authority);
    }
    enc::header(out, b"X-Forwarded-Port", port_of(authority));
}

/// RFC 7239 4: each hop appends one element.
fn forwarded(out: &mut Vec<u8>, ex: &Exchange) {
    joined(out, &ex.head.headers, ex.bytes.as_slice(), KnownHeader::Forwarded, b"Forwarded: ");
    match ex.source.to_canonical() {
        source @ IpAddr::V4(_) => {
            out.extend_from_slice(b"for=");
            address(out, source);
        }
        source @ IpAddr::V6(_) => {
            out.extend_from_slice(b"for=\"[");
            address(out, source);
            out.extend_from_slice(b"]\"");
        }
    }
    out.extend_from_slice(b";proto=http");
    let authority = ex.head.authority.of(ex.bytes.as_slice());
    // A valid authority has no quote or backslash, so quoting needs no escapes.
    if !authority.is_empty() {
        out.extend_from_slice(b";host=\"");
        out.extend_from_slice(authority);
        out.push(b'"');
    }
    out.extend_from_slice(b"\r\n");
}

/// Port of an authority, 80 where it names none.
fn port_of(authority: &[u8]) -> &[u8] {
    match authority.iter().rposition(|b| *b == b':') {
        Some(at) => match authority.get(at + 1..) {
            Some(port) if !port.is_empty() && port.iter().all(u8::is_ascii_digit) => port,
            _ => b"80",
        },
        None => b"80",
    }
}

/// An address in text; IPv4, also when mapped into IPv6, without the formatting machinery.
pub(crate) fn address(out: &mut Vec<u8>, source: IpAddr) {
    match source.to_canonical() {
        IpAddr::V4(a) => {
            for (i, octet) in a.octets().into_iter().enumerate() {
                if i > 0 {
                    out.push(b'.');
                }
                enc::decimal(out, u64::from(octet));
            }
        }
        IpAddr::V6(a) => {
            // Writing to a vector cannot fail.
            let _ = write!(out, "{a}");
        }
    }
}

/// Whether an upstream's header is one that the gateway sets itself. API Gateway hands it on under a new name
/// (developer guide, "Important notes": remapped headers).
pub(crate) fn is_request_id(name: &[u8]) -> bool {
    name.len() == b"x-amzn-requestid".len() && name.eq_ignore_ascii_case(b"x-amzn-requestid")
}

/// An upstream's response head on its way to the client.
pub(crate) struct ResponseOut<'a> {
    pub(crate) head: &'a ResponseHead,
    pub(crate) bytes: &'a [u8],
    pub(crate) delivery: Delivery,
    pub(crate) keep: bool,
    /// What `x-cache` says.
    pub(crate) cache: Option<&'static str>,
}

/// Writes the response head for the client.
pub(crate) fn response_head(out: &mut Vec<u8>, core: &Core, ex: &Exchange, response: &ResponseOut<'_>) {
    let ResponseOut { head, bytes, delivery, keep, cache } = *response;
    out.reserve(bytes.len() + 256);
    enc::status_line(out, head.status);
    let add_via = ex.view.snapshot.server.via;
    let mut dated = false;
    for h in &head.headers {
        // With no body of its own the length describes the representation: it is handed on (RFC 9110 8.6).
        let drop_length = delivery != Delivery::NoBody || head.status == 204;
        if h.hop_by_hop || (h.id == KnownHeader::ContentLength && drop_length) {
            continue;
        }
        if h.id == KnownHeader::Via && add_via {
            continue;
        }
        dated |= h.id == KnownHeader::Date;
        let name = h.name.of(bytes);
        if is_request_id(name) {
            out.extend_from_slice(b"x-amzn-Remapped-");
        }
        enc::header(out, name, h.value.of(bytes));
    }
    if !dated {
        core.clock.write_date(out);
    }
    request_id_header(out, &ex.request_id);
    if add_via {
        via(out, &head.headers, bytes, head.version);
    }
    if let Some(outcome) = cache {
        enc::header(out, b"x-cache", outcome.as_bytes());
    }
    match delivery {
        Delivery::Sized(n) => enc::content_length(out, n),
        Delivery::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Delivery::NoBody | Delivery::Close => {}
    }
    connection_header(out, ex.head.version, keep);
    out.extend_from_slice(b"\r\n");
}

/// Writes one piece of a body, as a chunk where the message is chunked.
#[inline]
pub(crate) fn piece(out: &mut Vec<u8>, data: &[u8], chunked: bool) {
    if chunked {
        enc::chunk_head(out, data.len());
    }
    out.extend_from_slice(data);
    if chunked {
        out.extend_from_slice(b"\r\n");
    }
}

/// Writes the last chunk and those trailer fields that may follow a body; ones that frame, route or authenticate a
/// message are dropped (RFC 9110 6.5.1).
pub(crate) fn last_chunk(out: &mut Vec<u8>, trailers: &[u8]) {
    out.extend_from_slice(b"0\r\n");
    for line in trailers.split_inclusive(|b| *b == b'\n') {
        let name = line.split(|b| *b == b':').next().unwrap_or_default();
        let known = KnownHeader::from_name(name);
        let forbidden = matches!(
            known,
            KnownHeader::ContentLength
                | KnownHeader::TransferEncoding
                | KnownHeader::Host
                | KnownHeader::Connection
                | KnownHeader::KeepAlive
                | KnownHeader::ProxyConnection
                | KnownHeader::Te
                | KnownHeader::Trailer
                | KnownHeader::Upgrade
                | KnownHeader::Expect
                | KnownHeader::Authorization
                | KnownHeader::XApiKey
                | KnownHeader::CacheControl
                | KnownHeader::ContentType
                | KnownHeader::ContentEncoding
                | KnownHeader::Cookie
                | KnownHeader::SetCookie
                | KnownHeader::Range
                | KnownHeader::Forwarded
                | KnownHeader::XForwardedFor
        );
        if !forbidden && !name.is_empty() && line.ends_with(b"\r\n") {
            out.extend_from_slice(line);
        }
    }
    out.extend_from_slice(b"\r\n");
}
