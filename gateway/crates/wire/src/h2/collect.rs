//! Decoded fields to the heads that HTTP/1 is parsed into (RFC 9113 section 8).

use super::{Decoder, Field, FieldName, HpackError};
use crate::head::{Header, Limits, RequestHead, ResponseHead, TargetForm, Version};
use crate::scan::Scalar;
use crate::{BodyFraming, FieldError, KnownHeader, Method, RequestError, Span, is_token, target};

/// Why a message is malformed: a stream error of type PROTOCOL_ERROR (RFC 9113 section 8.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A name or value that no message may hold.
    BadField,
    /// A pseudo-header twice, after a header field, or of the other kind of message; or one is missing.
    PseudoHeader,
    /// A field that means the connection: `connection`, `upgrade`, `te` other than `trailers` …
    ConnectionSpecific,
    /// `:path` or `:authority` that is no path or authority, or differs from `host`.
    Target,
    /// A `content-length` that is no number, comes twice, or contradicts the end of the stream.
    ContentLength,
    /// `:status` is no final or interim status.
    Status,
}

impl Malformed {
    /// A stable label for metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::BadField => "bad_field",
            Self::PseudoHeader => "bad_pseudo_header",
            Self::ConnectionSpecific => "connection_specific_field",
            Self::Target => "bad_target",
            Self::ContentLength => "bad_content_length",
            Self::Status => "bad_status",
        }
    }
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BadField => "expected a lower-case field name and text, found something else",
            Self::PseudoHeader => "expected each pseudo-header once and first, found another order or set",
            Self::ConnectionSpecific => "expected no connection-specific field, found one",
            Self::Target => "expected a path and an authority, found something else",
            Self::ContentLength => "expected a Content-Length that agrees with the body, found another",
            Self::Status => "expected a status from 100 to 599 but 101, found something else",
        })
    }
}

/// Why a request can't be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Reset the stream.
    Malformed(Malformed),
    /// Answer with the status of this error.
    Refused(RequestError),
}

impl From<Malformed> for Problem {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// Decodes a block and makes a head of it. Reusable.
#[derive(Default)]
pub struct HeadCollector {
    method: Option<Span>,
    scheme: Option<Span>,
    path: Option<Span>,
    authority: Option<Span>,
    status: Option<Span>,
    /// A header field has come: no pseudo-header may follow.
    regular: bool,
    fields: Vec<Header>,
    field_bytes: usize,
    malformed: Option<Malformed>,
    cookies: u32,
    /// All of the block fitted.
    complete: bool,
}

impl HeadCollector {
    /// Decodes `block` into `out`, which is to be empty, and remembers what is in it.
    ///
    /// # Errors
    /// The compression state is lost.
    pub fn decode(
        &mut self,
        decoder: &mut Decoder,
        block: &[u8],
        out: &mut Vec<u8>,
        limits: &Limits,
    ) -> Result<(), HpackError> {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Self { fields, ..Self::default() };
        // Room to find out which of the limits is exceeded.
        let max = limits.request_line_max_bytes + 2 * limits.header_max_bytes;
        self.complete = decoder.decode(block, out, max, |field| self.note(field))?;
        Ok(())
    }

    #[inline]
    fn note(&mut self, field: Field) {
        let slot = match field.kind {
            FieldName::Header(id) => return self.note_header(id, field),
            FieldName::Method => &mut self.method,
            FieldName::Scheme => &mut self.scheme,
            FieldName::Path => &mut self.path,
            FieldName::Authority => &mut self.authority,
            FieldName::Status => &mut self.status,
            FieldName::Bad => return self.fail(Malformed::BadField),
        };
        if slot.replace(field.value).is_some() || self.regular {
            self.fail(Malformed::PseudoHeader);
        }
    }

    #[inline]
    fn note_header(&mut self, id: KnownHeader, field: Field) {
        self.regular = true;
        // RFC 9113 section 8.2.2.
        if matches!(
            id,
            KnownHeader::Connection
                | KnownHeader::KeepAlive
                | KnownHeader::ProxyConnection
                | KnownHeader::TransferEncoding
                | KnownHeader::Upgrade
        ) {
            self.fail(Malformed::ConnectionSpecific);
        }
        self.cookies += u32::from(id == KnownHeader::Cookie);
        // As long as the HTTP/1 line would be: one limit for both.
        self.field_bytes += field.name.len() + field.value.len() + 4;
        self.fields.push(Header {
            id,
            hop_by_hop: id.hop_by_hop(),
            never_indexed: field.never_indexed,
            name: field.name,
            value: field.value,
        });
    }

    fn fail(&mut self, why: Malformed) {
        self.malformed.get_or_insert(why);
    }

    /// Makes a request head of what was decoded; spans index `out`. `end_stream`: no body follows.
    ///
    /// # Errors
    /// The request is malformed, or exceeds a limit.
    pub fn request(
        &mut self,
        out: &mut Vec<u8>,
        limits: &Limits,
        end_stream: bool,
        head: &mut RequestHead,
    ) -> Result<(), Problem> {
        head.clear();
        std::mem::swap(&mut head.headers, &mut self.fields);
        head.version = Version::Http2;
        head.keep_alive = true;
        if let Some(malformed) = self.malformed {
            return Err(malformed.into());
        }
        if self.status.is_some() {
            return Err(Malformed::PseudoHeader.into());
        }
        self.target(out, head)?;
        self.limits(limits, head)?;
        if self.cookies > 1 {
            join_cookies(out, head);
        }
        let length = content_length(&head.headers, out)?;
        head.framing = framing(length, end_stream)?;
        let expects =
            |h: &Header| h.id == KnownHeader::Expect && h.value.of(out).eq_ignore_ascii_case(b"100-continue");
        let has_body = !matches!(head.framing, BodyFraming::None | BodyFraming::Length(0));
        head.expect_continue = has_body && head.headers.iter().any(expects);
        let bad_te =
            |h: &Header| h.id == KnownHeader::Te && !h.value.of(out).eq_ignore_ascii_case(b"trailers");
        if head.headers.iter().any(bad_te) {
            return Err(Malformed::ConnectionSpecific.into());
        }
        Ok(())
    }

    fn limits(&self, limits: &Limits, head: &RequestHead) -> Result<(), Problem> {
        let refused = if head.target.len() + head.method_name.len() + 10 > limits.request_line_max_bytes {
            RequestError::LineTooLong { limit: limits.request_line_max_bytes }
        } else if !self.complete || self.field_bytes > limits.header_max_bytes {
            RequestError::Field(FieldError::TooLarge { limit: limits.header_max_bytes })
        } else if head.headers.len() > limits.header_max_count {
            RequestError::Field(FieldError::TooMany { limit: limits.header_max_count })
        } else {
            return Ok(());
        };
        Err(Problem::Refused(refused))
    }

    /// Method, path and authority (RFC 9113 sections 8.3.1 and 8.5).
    fn target(&self, out: &[u8], head: &mut RequestHead) -> Result<(), Malformed> {
        let method = self.method.ok_or(Malformed::PseudoHeader)?;
        if !is_token(method.of(out)) {
            return Err(Malformed::BadField);
        }
        head.method = Method::from_bytes(method.of(out));
        head.method_name = method;
        if head.method == Method::Connect {
            let authority = self.authority.ok_or(Malformed::PseudoHeader)?;
            if self.scheme.is_some() || self.path.is_some() {
                return Err(Malformed::PseudoHeader);
            }
            head.form = TargetForm::Authority;
            (head.authority, head.target) = (authority, authority);
            target::check_authority(Scalar, out, authority).map_err(|_| Malformed::Target)?;
            return Ok(());
        }
        let (Some(path), Some(_)) = (self.path, self.scheme) else { return Err(Malformed::PseudoHeader) };
        if !matches!(path.of(out), [b'/', ..] | b"*") {
            return Err(Malformed::Target);
        }
        target::split(Scalar, out, path.start as usize, path.end as usize, head)
            .map_err(|_| Malformed::Target)?;
        let mut hosts = head.headers.iter().filter(|h| h.id == KnownHeader::Host).map(|h| h.value);
        let host = hosts.next();
        let authority = self.authority.or(host).ok_or(Malformed::Target)?;
        // Two spellings of the same thing are how requests get smuggled: they must agree.
        let differs = |h: Span| !h.of(out).eq_ignore_ascii_case(authority.of(out));
        if host.is_some_and(differs) || hosts.next().is_some() {
            return Err(Malformed::Target);
        }
        target::check_authority(Scalar, out, authority).map_err(|_| Malformed::Target)?;
        head.authority = authority;
        Ok(())
    }

    /// Makes a response head of what was decoded; spans index `out`.
    ///
    /// # Errors
    /// The response is malformed.
    pub fn response(
        &mut self,
        out: &[u8],
        method: Method,
        end_stream: bool,
        head: &mut ResponseHead,
    ) -> Result<(), Malformed> {
        head.clear();
        std::mem::swap(&mut head.headers, &mut self.fields);
        head.version = Version::Http2;
        head.keep_alive = true;
        if let Some(malformed) = self.malformed {
            return Err(malformed);
        }
        let pseudo = [self.method, self.scheme, self.path, self.authority];
        if pseudo.iter().any(Option::is_some) || !self.complete {
            return Err(Malformed::PseudoHeader);
        }
        let status = self.status.ok_or(Malformed::PseudoHeader)?;
        head.status = match status.of(out) {
            [a @ b'1'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
                u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
            }
            _ => return Err(Malformed::Status),
        };
        let interim = head.status < 200;
        // RFC 9113 section 8.6 knows no 101, and an interim response ends nothing.
        if head.status == 101 || (interim && end_stream) {
            return Err(Malformed::Status);
        }
        let length = content_length(&head.headers, out)?;
        let bodyless = interim || method == Method::Head || matches!(head.status, 204 | 304);
        head.framing = if bodyless { BodyFraming::None } else { framing(length, end_stream)? };
        Ok(())
    }

    /// Appends trailers as HTTP/1 lines, the form in which bodies hand them on.
    ///
    /// # Errors
    /// They are malformed.
    pub fn trailers(&self, out: &[u8], lines: &mut Vec<u8>) -> Result<(), Malformed> {
        if let Some(malformed) = self.malformed {
            return Err(malformed);
        }
        let pseudo = [self.method, self.scheme, self.path, self.authority, self.status];
        if pseudo.iter().any(Option::is_some) || !self.complete {
            return Err(Malformed::PseudoHeader);
        }
        for h in &self.fields {
            crate::enc::header(lines, h.name.of(out), h.value.of(out));
        }
        Ok(())
    }
}

fn framing(length: Option<u64>, end_stream: bool) -> Result<BodyFraming, Malformed> {
    match (length, end_stream) {
        (None, true) => Ok(BodyFraming::None),
        (Some(0), _) => Ok(BodyFraming::Length(0)),
        (Some(_), true) => Err(Malformed::ContentLength),
        (Some(length), false) => Ok(BodyFraming::Length(length)),
        // How HTTP/1 says that the end will be seen when it comes.
        (None, false) => Ok(BodyFraming::Chunked),
    }
}

/// The one `content-length`.
fn content_length(headers: &[Header], bytes: &[u8]) -> Result<Option<u64>, Malformed> {
    let mut found = None;
    for h in headers.iter().filter(|h| h.id == KnownHeader::ContentLength) {
        let value = h.value.of(bytes);
        if found.is_some() || value.is_empty() || value.len() > 18 {
            return Err(Malformed::ContentLength);
        }
        let mut length = 0_u64;
        for byte in value {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return Err(Malformed::ContentLength);
            }
            length = length * 10 + u64::from(digit);
        }
        found = Some(length);
    }
    Ok(found)
}

/// Cookies may come in crumbs; behind HTTP/2 they are one field again (RFC 9113 section 8.2.3).
#[cold]
fn join_cookies(out: &mut Vec<u8>, head: &mut RequestHead) {
    let start = out.len();
    let mut first = None;
    for h in head.headers.iter().filter(|h| h.id == KnownHeader::Cookie) {
        if first.is_some() {
            out.extend_from_slice(b"; ");
        }
        first.get_or_insert(*h);
        out.extend_from_within(h.value.start as usize..h.value.end as usize);
    }
    head.headers.retain(|h| h.id != KnownHeader::Cookie);
    if let Some(first) = first {
        head.headers.push(Header { value: Span::new(start, out.len()), ..first });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h2::literal;

    fn block(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in fields {
            // By hand, because the encoder folds names to lower case.
            out.push(0x10);
            for text in [name, value] {
                out.push(text.len() as u8);
                out.extend_from_slice(text.as_bytes());
            }
        }
        out
    }

    fn request(fields: &[(&str, &str)], end_stream: bool) -> Result<(RequestHead, Vec<u8>), Problem> {
        let (mut collector, mut out, mut head) = (HeadCollector::default(), Vec::new(), RequestHead::new());
        let limits = Limits::default();
        collector.decode(&mut Decoder::default(), &block(fields), &mut out, &limits).unwrap();
        collector.request(&mut out, &limits, end_stream, &mut head).map(|()| (head, out))
    }

    const BASE: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "http"), (":path", "/a?b=c"), (":authority", "x.example")];

    fn with(extra: &[(&str, &str)]) -> Result<(RequestHead, Vec<u8>), Problem> {
        request(&[&BASE[..], extra].concat(), true)
    }

    #[test]
    fn a_request_is_what_http1_would_have_said() {
        let (head, out) =
            with(&[("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2"), ("te", "trailers")]).unwrap();
        assert_eq!(
            (head.method, head.path.of(&out), head.authority.of(&out)),
            (Method::Get, &b"/a"[..], &b"x.example"[..])
        );
        assert_eq!(head.query.map(|q| q.of(&out)), Some(&b"b=c"[..]));
        assert_eq!(head.find(KnownHeader::Cookie).unwrap().value.of(&out), b"a=1; b=2");
        assert_eq!(head.headers.len(), 3);
        assert_eq!((head.framing, head.version, head.keep_alive), (BodyFraming::None, Version::Http2, true));
        let post = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/"),
            ("host", "y"),
            ("content-length", "12"),
        ];
        let (head, out) = request(&post, false).unwrap();
        assert_eq!((head.framing, head.authority.of(&out)), (BodyFraming::Length(12), &b"y"[..]));
        assert_eq!(request(&post[..4], false).unwrap().0.framing, BodyFraming::Chunked);
        let (head, _) = request(&[(":method", "CONNECT"), (":authority", "a:1")], false).unwrap();
        assert_eq!(head.method, Method::Connect);
    }

    #[test]
    fn malformed_requests_are_told_apart() {
        for (extra, why) in [
            (&[("Accept", "a")][..], Malformed::BadField),
            (&[("a b", "a")], Malformed::BadField),
            (&[("", "a")], Malformed::BadField),
            (&[("a", "b\r\nc: d")], Malformed::BadField),
            (&[("a", "b\0")], Malformed::BadField),
            (&[("a", " b")], Malformed::BadField),
            (&[(":extra", "a")], Malformed::BadField),
            (&[(":status", "200")], Malformed::PseudoHeader),
            (&[(":path", "/")], Malformed::PseudoHeader),
            (&[("accept", "a"), (":path", "/")], Malformed::PseudoHeader),
            (&[("connection", "close")], Malformed::ConnectionSpecific),
            (&[("transfer-encoding", "chunked")], Malformed::ConnectionSpecific),
            (&[("upgrade", "h2c")], Malformed::ConnectionSpecific),
            (&[("te", "gzip")], Malformed::ConnectionSpecific),
            (&[("host", "other")], Malformed::Target),
            (&[("host", "x.example"), ("host", "x.example")], Malformed::Target),
            (&[("content-length", "1")], Malformed::ContentLength),
            (&[("content-length", "x")], Malformed::ContentLength),
            (&[("content-length", "0"), ("content-length", "0")], Malformed::ContentLength),
        ] {
            assert_eq!(with(extra).map(|_| ()), Err(Problem::Malformed(why)), "{extra:?}");
        }
        for skip in 0..3 {
            let mut fields = BASE.to_vec();
            fields.remove(skip);
            assert_eq!(request(&fields, true).map(|_| ()), Err(Malformed::PseudoHeader.into()));
        }
        for (at, value) in [(2, ""), (2, "a"), (2, "*"), (2, "/ x"), (3, ""), (3, "u@h"), (3, "a:99999")] {
            let mut fields = BASE.to_vec();
            fields[at].1 = value;
            assert_eq!(request(&fields, true).map(|_| ()), Err(Malformed::Target.into()), "{value:?}");
        }
        let connect = [(":method", "CONNECT"), (":authority", "a:1"), (":path", "/")];
        assert_eq!(request(&connect, true).map(|_| ()), Err(Malformed::PseudoHeader.into()));
    }

    #[test]
    fn limits_are_answered_not_reset() {
        let long = "v".repeat(120);
        let many: Vec<(&str, &str)> = std::iter::repeat_n(("a", ""), 101).collect();
        let big: Vec<(&str, &str)> = std::iter::repeat_n(("a", &*long), 90).collect();
        assert_eq!(
            with(&many).map(|_| ()),
            Err(Problem::Refused(RequestError::Field(FieldError::TooMany { limit: 100 })))
        );
        let too_large = Problem::Refused(RequestError::Field(FieldError::TooLarge { limit: 10_240 }));
        assert_eq!(with(&big).map(|_| ()), Err(too_large));
    }

    #[test]
    fn responses_and_trailers_are_read() {
        let (mut collector, mut out, mut head) = (HeadCollector::default(), Vec::new(), ResponseHead::new());
        let mut coded = Vec::new();
        literal::status(&mut coded, 418);
        literal::field(&mut coded, KnownHeader::ContentLength, b"Content-Length", b"3");
        let limits = Limits::default();
        collector.decode(&mut Decoder::default(), &coded, &mut out, &limits).unwrap();
        collector.response(&out, Method::Get, false, &mut head).unwrap();
        assert_eq!((head.status, head.framing), (418, BodyFraming::Length(3)));
        let mut decoder = Decoder::default();
        for (fields, result) in [
            (&[("grpc-status", "0"), ("x", "y")][..], Ok(b"grpc-status: 0\r\nx: y\r\n".to_vec())),
            (&[(":status", "200")], Err(Malformed::PseudoHeader)),
            (&[("X", "y")], Err(Malformed::BadField)),
        ] {
            let (mut out, mut lines) = (Vec::new(), Vec::new());
            collector.decode(&mut decoder, &block(fields), &mut out, &limits).unwrap();
            assert_eq!(collector.trailers(&out, &mut lines).map(|()| lines), result);
        }
    }
}
