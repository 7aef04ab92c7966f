//! Answers that mapping has made, on their way to the client.

use crate::core::Core;
use crate::exchange::{Exchange, Refused};
use crate::forward::Delivery;
use crate::head_out::{HeadOut, digits};
use crate::respond::{common_headers, end_head, gateway_response};
use crate::rest::away::AWAY_BYTES;
use crate::rest::compress::Coding;
use crate::rest::headers::{may_be_mapped, push_value};
use crate::rest::view::Seen;
use bytes::Bytes;
use sluice_cache::Entry;
use sluice_h2::Out;
use sluice_mapping::{Answer, GatewayResponses, Kind, Place, Refusal, Request};
use sluice_server::Conn;
use sluice_snapshot::Action;
use sluice_wire::{BodyFraming, KnownHeader, Method, ResponseHead, enc};
use std::borrow::Cow;

/// What goes with an answer that is not mapped.
#[derive(Clone, Copy, Default)]
pub(crate) struct Extras<'a> {
    pub(crate) error_type: Option<&'a str>,
    pub(crate) retry_after_ms: Option<u64>,
    pub(crate) x_cache: Option<&'static str>,
}

/// Writes an answer and its body, compressed where the API and the client want that.
pub(crate) fn answer(
    core: &Core,
    conn: &Conn,
    ex: &mut Exchange,
    (answer, body): (&Answer, &[u8]),
    extras: Extras<'_>,
    keep: bool,
) {
    let coding = coding(ex, answer, body);
    let encoded = coding.and_then(|coding| Some((coding, coding.encode(body)?)));
    let (coding, body) = match &encoded {
        Some((coding, encoded)) => (Some(*coding), encoded.as_slice()),
        None => (None, body),
    };
    let bodiless = matches!(answer.status, 204 | 304) || answer.status < 200;
    let sent: &[u8] = if ex.head.method == Method::Head || bodiless { b"" } else { body };
    let length = (!bodiless).then_some(body.len() as u64);
    let written = match conn.client.out() {
        Out::H1(stream) => stream.write_with(|out| {
            let before = out.len();
            out.reserve(sent.len() + 512);
            head(out, core, ex, answer, coding, extras, length);
            end_head(out, ex, keep);
            out.extend_from_slice(sent);
            out.len() - before
        }),
        Out::H2(stream) => {
            let head = stream.write_head(sent.is_empty(), |out| {
                head(out, core, ex, answer, coding, extras, length);
            });
            stream.write(sent, true);
            head + sent.len()
        }
    };
    ex.report.status = answer.status;
    ex.report.bytes_out += written as u64;
}

/// Writes the head of an answer whose body is to follow.
pub(crate) fn streamed_head(
    core: &Core,
    to: Out<'_>,
    ex: &mut Exchange,
    answer: &Answer,
    (delivery, keep): (Delivery, bool),
) {
    let length = if let Delivery::Sized(length) = delivery { Some(length) } else { None };
    let written = match to {
        Out::H1(stream) => stream.write_with(|out| {
            let before = out.len();
            head(out, core, ex, answer, None, Extras::default(), length);
            if delivery == Delivery::Chunked {
                enc::header(out, b"Transfer-Encoding", b"chunked");
            }
            end_head(out, ex, keep);
            out.len() - before
        }),
        Out::H2(stream) => {
            stream.write_head(matches!(delivery, Delivery::NoBody | Delivery::Sized(0)), |out| {
                head(out, core, ex, answer, None, Extras::default(), length);
            })
        }
    };
    ex.report.status = answer.status;
    ex.report.bytes_out += written as u64;
}

fn head(
    out: &mut impl HeadOut,
    core: &Core,
    ex: &Exchange,
    answer: &Answer,
    coding: Option<Coding>,
    extras: Extras<'_>,
    length: Option<u64>,
) {
    out.status(answer.status);
    for (name, value) in answer.headers.of(Place::Header).filter(|(name, _)| may_be_mapped(name.as_bytes())) {
        let id = KnownHeader::from_name(name.as_bytes());
        // Of the gateway's own making in every answer.
        if !matches!(id, KnownHeader::Date | KnownHeader::XAmznRequestId) {
            out.field_with(id, name.as_bytes(), |out| push_value(out, value));
        }
    }
    if let Some(coding) = coding {
        coding_fields(out, coding);
    }
    if let Some(length) = length {
        out.content_length(length);
    }
    if let Some(error_type) = extras.error_type {
        out.field(KnownHeader::XAmznErrorType, b"x-amzn-ErrorType", error_type.as_bytes());
    }
    if let Some(ms) = extras.retry_after_ms {
        let (seconds, start) = digits(ms.div_ceil(1000).max(1));
        out.field(KnownHeader::RetryAfter, b"Retry-After", seconds.get(start..).unwrap_or_default());
    }
    if let Some(x_cache) = extras.x_cache {
        out.field(KnownHeader::XCache, b"x-cache", x_cache.as_bytes());
    }
    common_headers(out, core, ex);
}

/// From which size on the API's answers are compressed, if they are.
#[inline]
fn compressed_from(ex: &Exchange) -> Option<u64> {
    ex.view.snapshot.rest.deployed(ex.within?)?.compress_from_bytes
}

/// The coding of an answer.
pub(crate) fn coding(ex: &Exchange, answer: &Answer, body: &[u8]) -> Option<Coding> {
    let from_bytes = compressed_from(ex)?;
    if body.is_empty()
        || (body.len() as u64) < from_bytes
        || answer.headers.get(Place::Header, "content-encoding").is_some()
    {
        return None;
    }
    Coding::accepted(ex.header(KnownHeader::AcceptEncoding)?)
}

/// Whether the integration says that its answer streams: such are not coded.
fn streams(ex: &Exchange) -> bool {
    let route = ex.route.and_then(|at| ex.view.snapshot.route(at));
    matches!(route.map(|route| &route.action), Some(Action::Proxy(plan)) if plan.streams())
}

/// The coding of an answer that is relayed. One whose length is not known counts as large.
pub(crate) fn coding_of_relayed(ex: &Exchange, head: &ResponseHead) -> Option<Coding> {
    let from_bytes = compressed_from(ex).filter(|_| !streams(ex))?;
    let is_large = match head.framing {
        BodyFraming::None => false,
        BodyFraming::Length(length) => length > 0 && length >= from_bytes,
        BodyFraming::Chunked | BodyFraming::UntilClose => true,
    };
    // A part of a representation is not one to be coded anew (RFC 9110 14.4).
    let stays = ex.is_http10()
        || matches!(head.status, 204 | 206 | 304)
        || head.headers.iter().any(|header| header.id == KnownHeader::ContentEncoding);
    if !is_large || stays {
        return None;
    }
    Coding::accepted(ex.header(KnownHeader::AcceptEncoding)?)
}

/// What the cache has, compressed: its coding and body. Large ones stay as they are: it would be done for each client anew.
pub(crate) fn coded_entry(ex: &Exchange, entry: &Entry) -> Option<(Coding, Bytes)> {
    let from_bytes = compressed_from(ex)?;
    let length = entry.body.len();
    let mut names =
        entry.head.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b':').next());
    if length == 0
        || (length as u64) < from_bytes
        || length >= AWAY_BYTES
        || names.any(|name| name.eq_ignore_ascii_case(b"content-encoding"))
    {
        return None;
    }
    let coding = Coding::accepted(ex.header(KnownHeader::AcceptEncoding)?)?;
    Some((coding, coding.encode(&entry.body)?.into()))
}

/// Says how a body is compressed, and that others may get it otherwise.
pub(crate) fn coding_fields(out: &mut impl HeadOut, coding: Coding) {
    out.field(KnownHeader::ContentEncoding, b"Content-Encoding", coding.name());
    out.field(KnownHeader::Vary, b"Vary", b"Accept-Encoding");
}

/// Writes a refusal as the API has its gateway responses configured. `false`: neither the API nor the refusal has anything
/// to say beyond the usual.
pub(crate) fn refuse(core: &Core, conn: &Conn, ex: &mut Exchange, refused: &Refused, keep: bool) -> bool {
    let view = std::rc::Rc::clone(&ex.view);
    let Some(deployed) = ex.within.and_then(|at| view.snapshot.rest.deployed(at)) else { return false };
    let Some(kind) = Kind::from_name(refused.why.response_type()) else { return false };
    if deployed.responses.is_none() && refused.message.is_none() {
        return false;
    }
    let usual = gateway_response(refused.why);
    let refusal = Refusal {
        kind,
        message: refused.message.clone().unwrap_or(Cow::Borrowed(usual.message)),
        validation: refused.validation.clone(),
        log: String::new(),
    };
    let mut made = Answer::default();
    {
        let seen = Seen::new(ex, b"", core.clock.unix_ms(ex.received_ns));
        let request = Request::new(&seen);
        match &deployed.responses {
            Some(responses) => responses.answer(&refusal, &request, &mut made),
            None => GatewayResponses::default().answer(&refusal, &request, &mut made),
        }
    }
    // A kind without a status of its own (DEFAULT_4XX) has the one of its reason, unless the API says otherwise.
    if matches!(kind, Kind::Default4xx | Kind::Default5xx) && made.status == kind.default_status() {
        made.status = usual.status;
    }
    let body = made.body.take().unwrap_or_default();
    let extras =
        Extras { error_type: Some(usual.error_type), retry_after_ms: refused.retry_after_ms, x_cache: None };
    answer(core, conn, ex, (&made, &body), extras, keep);
    ex.report.refusal = Some(refused.why);
    true
}
