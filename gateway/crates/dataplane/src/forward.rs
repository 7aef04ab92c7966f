//! Request heads towards upstreams and response heads towards clients: always re-serialised from the parsed form.

use crate::core::Core;
use crate::exchange::Exchange;
use crate::head_out::HeadOut;
use crate::respond::{connection_header, refresh_warning, request_id_header};
use crate::rest::compress::Coding;
use crate::rest::proxy;
use crate::rest::write::coding_fields;
use crate::standard::Forwarded;
use crate::tunnel;
use sluice_cache::standard::Stored;
use sluice_h2::Out;
use sluice_snapshot::{PathPiece, ProxyPlan, TunnelPlan};
use sluice_wire::h2::FieldName;
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

/// What a request to an upstream asks beside what the client's asks.
#[derive(Clone, Copy, Default)]
pub(crate) struct Question<'a> {
    /// Its validators stand in place of the client's conditions, and the whole is asked for.
    pub(crate) validating: Option<&'a Stored>,
    /// To change to one of these protocols.
    pub(crate) upgrade: Option<&'a TunnelPlan>,
}

/// Writes the request head for a target.
pub(crate) fn request_head(
    to: Out<'_>,
    core: &Core,
    ex: &Exchange,
    plan: &ProxyPlan,
    authority: &str,
    question: &Question<'_>,
) {
    match to {
        Out::H1(stream) => stream.write_with(|out| {
            let (head, bytes) = (&*ex.head, ex.bytes.as_slice());
            out.reserve(bytes.len() + 512);
            out.extend_from_slice(method(plan, head.method_name.of(bytes)));
            out.push(b' ');
            path(out, ex, plan);
            out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
            out.extend_from_slice(authority.as_bytes());
            out.extend_from_slice(b"\r\n");
            request_fields(out, core, ex, plan, question.validating);
            if let Some(tunnel) = question.upgrade {
                out.extend_from_slice(b"Connection: Upgrade\r\n");
                for protocol in tunnel::asked(ex, tunnel) {
                    enc::header(out, b"Upgrade", protocol);
                }
            }
            if head.framing == BodyFraming::Chunked {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            }
            out.extend_from_slice(b"\r\n");
        }),
        Out::H2(stream) => {
            let (head, bytes) = (&*ex.head, ex.bytes.as_slice());
            let empty = matches!(head.framing, BodyFraming::None | BodyFraming::Length(0));
            stream.write_head(empty, |out| {
                out.pseudo(FieldName::Method, method(plan, head.method_name.of(bytes)));
                out.pseudo(FieldName::Scheme, if stream.is_tls() { b"https" } else { b"http" });
                out.pseudo_with(FieldName::Path, |out| path(out, ex, plan));
                out.pseudo(FieldName::Authority, authority.as_bytes());
                request_fields(out, core, ex, plan, question.validating);
                // Hop by hop, and yet what gRPC servers ask for: we do pass trailers on (RFC 9110 10.1.4).
                if head.headers.iter().any(|h| h.id == KnownHeader::Te && takes_trailers(h.value.of(bytes))) {
                    out.known(KnownHeader::Te, b"trailers");
                }
            });
        }
    }
}

/// Whether a `TE` value says `trailers`.
fn takes_trailers(te: &[u8]) -> bool {
    te.split(|b| *b == b',').any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// The fields of a request head, but `Host` and those that only HTTP/1 has.
fn request_fields(
    out: &mut impl HeadOut,
    core: &Core,
    ex: &Exchange,
    plan: &ProxyPlan,
    validating: Option<&Stored>,
) {
    let (head, bytes) = (&*ex.head, ex.bytes.as_slice());
    let server = &ex.view.snapshot.server;
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
                KnownHeader::IfNoneMatch
                | KnownHeader::IfModifiedSince
                | KnownHeader::IfRange
                | KnownHeader::Range => validating.is_some(),
                _ => false,
            };
        if !skip && (plan.aws.is_none() || proxy::passes(ex, h, bytes)) {
            out.handed_on(h, bytes);
        }
    }
    if let Some(aws) = &plan.aws {
        proxy::add_fields(out, core, ex, aws);
    }
    if let Some(stored) = validating {
        // RFC 9111 section 4.3.1: both, where there are both.
        if let Some(etag) = &stored.etag {
            out.field(KnownHeader::IfNoneMatch, b"If-None-Match", etag);
        }
        if let Some(modified) = &stored.last_modified {
            out.field(KnownHeader::IfModifiedSince, b"If-Modified-Since", modified);
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
    if let BodyFraming::Length(n) = head.framing {
        out.content_length(n);
    }
}

/// The path sent upstream, with the client's query.
fn path(out: &mut Vec<u8>, ex: &Exchange, plan: &ProxyPlan) {
    let bytes = ex.bytes.as_slice();
    if let Some(mapped) = &ex.mapped {
        return out.extend_from_slice(mapped.target.as_bytes());
    }
    let raw = ex.head.path.of(bytes);
    match &plan.rewrite {
        // An absolute-form target may have no path (RFC 9112 3.2.1: then it is "/").
        None if raw.is_empty() => out.push(b'/'),
        None => out.extend_from_slice(raw),
        Some(pieces) => {
            for piece in pieces {
                match piece {
                    PathPiece::Literal(text) => out.extend_from_slice(text),
                    PathPiece::Capture(n) => {
                        out.extend_from_slice(ex.captures.get(usize::from(*n), ex.routed_path()))
                    }
                }
            }
        }
    }
    let mut separator = b'?';
    let own = plan.aws.as_ref().and_then(|aws| aws.query.as_deref());
    for query in own.into_iter().chain(ex.head.query.map(|query| query.of(bytes))) {
        out.push(std::mem::replace(&mut separator, b'&'));
        out.extend_from_slice(query);
    }
}

/// The method towards an upstream.
fn method<'a>(plan: &'a ProxyPlan, of_client: &'a [u8]) -> &'a [u8] {
    plan.aws.as_ref().and_then(|aws| aws.integration.method.as_deref()).unwrap_or(of_client)
}

/// The values that a list header has already, each followed by `, `.
fn joined(out: &mut Vec<u8>, headers: &[Header], bytes: &[u8], id: KnownHeader) {
    for h in headers.iter().filter(|h| h.id == id && !h.hop_by_hop) {
        out.extend_from_slice(h.value.of(bytes));
        out.extend_from_slice(b", ");
    }
}

/// RFC 9110 7.6.3: the version is that of the message as it was received.
fn via(out: &mut impl HeadOut, headers: &[Header], bytes: &[u8], received: Version) {
    out.field_with(KnownHeader::Via, b"Via", |out| {
        joined(out, headers, bytes, KnownHeader::Via);
        out.extend_from_slice(match received {
            Version::Http10 => b"1.0 sluice",
            Version::Http11 => b"1.1 sluice",
            Version::Http2 => b"2.0 sluice",
        });
    });
}

fn x_forwarded(out: &mut impl HeadOut, ex: &Exchange) {
    let bytes = ex.bytes.as_slice();
    let authority = ex.head.authority.of(bytes);
    out.field_with(KnownHeader::XForwardedFor, b"X-Forwarded-For", |out| {
        joined(out, &ex.head.headers, bytes, KnownHeader::XForwardedFor);
        address(out, ex.peer);
    });
    // A trusted proxy knows how the client came to it; anybody else's word is replaced.
    let trusted = ex.view.snapshot.server.trusted_proxies.contain(ex.peer);
    let said = |id| if trusted { ex.header(id) } else { None };
    let scheme: &[u8] = if ex.tls.is_some() { b"https" } else { b"http" };
    let proto = said(KnownHeader::XForwardedProto).unwrap_or(scheme);
    out.field(KnownHeader::XForwardedProto, b"X-Forwarded-Proto", proto);
    match said(KnownHeader::XForwardedHost) {
        Some(host) => out.field(KnownHeader::XForwardedHost, b"X-Forwarded-Host", host),
        None if authority.is_empty() => {}
        None => out.field(KnownHeader::XForwardedHost, b"X-Forwarded-Host", authority),
    }
    let port = said(KnownHeader::XForwardedPort).unwrap_or_else(|| port_of(authority, ex.tls.is_some()));
    out.field(KnownHeader::XForwardedPort, b"X-Forwarded-Port", port);
}

/// RFC 7239 4: each hop appends one element.
fn forwarded(out: &mut impl HeadOut, ex: &Exchange) {
    out.field_with(KnownHeader::Forwarded, b"Forwarded", |out| {
        joined(out, &ex.head.headers, ex.bytes.as_slice(), KnownHeader::Forwarded);
        match ex.peer.to_canonical() {
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
        out.extend_from_slice(if ex.tls.is_some() { b";proto=https".as_slice() } else { b";proto=http" });
        let authority = ex.head.authority.of(ex.bytes.as_slice());
        // A valid authority has no quote or backslash, so quoting needs no escapes.
        if !authority.is_empty() {
            out.extend_from_slice(b";host=\"");
            out.extend_from_slice(authority);
            out.push(b'"');
        }
    });
}

/// Port of an authority, the scheme's own where it names none.
pub(crate) fn port_of(authority: &[u8], secure: bool) -> &[u8] {
    let default: &[u8] = if secure { b"443" } else { b"80" };
    match authority.iter().rposition(|b| *b == b':').and_then(|at| authority.get(at + 1..)) {
        Some(port) if !port.is_empty() && port.iter().all(u8::is_ascii_digit) => port,
        _ => default,
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
    pub(crate) cache: CacheNote,
    /// The body is compressed on its way.
    pub(crate) coding: Option<Coding>,
}

/// What a response says of the cache.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CacheNote {
    None,
    /// The TTL mode's `x-cache`.
    XCache(&'static str),
    /// The standards mode's `Cache-Status` (RFC 9211).
    Status {
        forwarded: Forwarded,
        stored: bool,
    },
}

/// Writes the response head for the client; its size.
pub(crate) fn response_head(to: Out<'_>, core: &Core, ex: &Exchange, response: &ResponseOut<'_>) -> usize {
    let delivery = response.delivery;
    match to {
        Out::H1(stream) => stream.write_with(|out| {
            let before = out.len();
            out.reserve(response.bytes.len() + 256);
            response_fields(out, core, ex, response);
            if delivery == Delivery::Chunked {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            }
            connection_header(out, ex.head.version, response.keep);
            out.extend_from_slice(b"\r\n");
            out.len() - before
        }),
        Out::H2(stream) => {
            let empty = matches!(delivery, Delivery::NoBody | Delivery::Sized(0));
            stream.write_head(empty, |out| response_fields(out, core, ex, response))
        }
    }
}

/// Status and fields of the response, but those that only HTTP/1 has.
fn response_fields(out: &mut impl HeadOut, core: &Core, ex: &Exchange, response: &ResponseOut<'_>) {
    let ResponseOut { head, bytes, delivery, cache, coding, .. } = *response;
    out.status(head.status);
    let add_via = ex.view.snapshot.server.via;
    let remaps = proxy::remaps(ex);
    let (mut dated, mut typed) = (false, false);
    for h in &head.headers {
        // With no body of its own the length describes the representation: it is handed on (RFC 9110 8.6).
        let drop_length = delivery != Delivery::NoBody || head.status == 204;
        if remaps
            && (!h.hop_by_hop || h.id == KnownHeader::Connection)
            && proxy::response_field(out, h, bytes)
        {
            continue;
        }
        if h.hop_by_hop || (h.id == KnownHeader::ContentLength && drop_length) {
            continue;
        }
        if h.id == KnownHeader::Via && add_via {
            continue;
        }
        dated |= h.id == KnownHeader::Date;
        typed |= h.id == KnownHeader::ContentType;
        let name = h.name.of(bytes);
        if is_request_id(name) {
            out.field(KnownHeader::Other, b"x-amzn-Remapped-x-amzn-RequestId", h.value.of(bytes));
        } else {
            out.handed_on(h, bytes);
        }
    }
    if !dated {
        core.clock.write_date(out);
    }
    if remaps && !typed && delivery != Delivery::NoBody {
        // "API Gateway includes a Content-Type header for all integration responses."
        out.field(KnownHeader::ContentType, b"Content-Type", b"application/json");
    }
    request_id_header(out, &ex.request_id);
    if add_via {
        via(out, &head.headers, bytes, head.version);
    }
    match cache {
        CacheNote::None => {}
        CacheNote::XCache(outcome) => {
            out.field(KnownHeader::XCache, b"x-cache", outcome.as_bytes());
            refresh_warning(out, ex);
        }
        CacheNote::Status { forwarded, stored } => {
            out.field_with(KnownHeader::Other, b"Cache-Status", |out| {
                out.extend_from_slice(b"sluice; fwd=");
                out.extend_from_slice(forwarded.as_str().as_bytes());
                out.extend_from_slice(if stored { b"; stored" } else { b"" });
            });
        }
    }
    if let Some(coding) = coding {
        coding_fields(out, coding);
    }
    if let Delivery::Sized(n) = delivery {
        out.content_length(n);
    }
}

/// Writes an interim response (RFC 9110 15.2).
pub(crate) fn interim(to: Out<'_>, head: &ResponseHead, bytes: &[u8]) {
    let fields = |out: &mut Vec<u8>| {
        enc::status_line(out, head.status);
        for h in head.headers.iter().filter(|h| !h.hop_by_hop) {
            enc::header(out, h.name.of(bytes), h.value.of(bytes));
        }
        out.extend_from_slice(b"\r\n");
    };
    match to {
        Out::H1(stream) => stream.write_with(fields),
        Out::H2(stream) => {
            stream.write_head(false, |out| {
                out.status(head.status);
                for h in head.headers.iter().filter(|h| !h.hop_by_hop) {
                    out.handed_on(h, bytes);
                }
            });
        }
    }
    to.flush();
}

/// Writes `100 Continue`.
pub(crate) fn go_on(to: Out<'_>) {
    match to {
        Out::H1(stream) => stream.write(b"HTTP/1.1 100 Continue\r\n\r\n"),
        Out::H2(stream) => {
            stream.write_head(false, |out| out.status(100));
        }
    }
    to.flush();
}

/// Ends a body whose end is seen when it comes.
pub(crate) fn end_body(to: Out<'_>, trailers: &[u8]) {
    match to {
        Out::H1(stream) => stream.write_with(|out| last_chunk(out, trailers)),
        Out::H2(stream) => {
            let mut lines = Vec::new();
            allowed_trailers(&mut lines, trailers);
            stream.end(&lines);
        }
    }
}

/// Writes the last chunk and the trailers.
fn last_chunk(out: &mut Vec<u8>, trailers: &[u8]) {
    out.extend_from_slice(b"0\r\n");
    allowed_trailers(out, trailers);
    out.extend_from_slice(b"\r\n");
}

/// Those trailer fields that may follow a body; ones that frame, route or authenticate a message are dropped
/// (RFC 9110 6.5.1).
fn allowed_trailers(out: &mut Vec<u8>, trailers: &[u8]) {
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
}
