//! The header section: lines to fields, and what the deciding fields mean.

use crate::head::{Header, Limits};
use crate::known::lookup;
use crate::scan::{Line, Lines, NOWHERE, Simd, TOKEN, first_outside, is_control};
use crate::{BodyFraming, FieldError, KnownHeader, Span, Version};

/// How a line ends at its first control byte.
pub(crate) enum LineEnd {
    /// CRLF.
    Crlf,
    /// CR, and nothing more has come.
    Cut,
}

/// Reads the line end at the control byte at `at`.
#[inline(always)]
pub(crate) fn line_end(bytes: &[u8], at: u32) -> Result<LineEnd, FieldError> {
    let at = at as usize;
    let crlf = bytes.get(at..at + 2).and_then(|two| two.first_chunk()).map(|two| u16::from_ne_bytes(*two));
    if crlf == Some(u16::from_ne_bytes(*b"\r\n")) { Ok(LineEnd::Crlf) } else { odd_line_end(bytes, at) }
}

#[cold]
fn odd_line_end(bytes: &[u8], at: usize) -> Result<LineEnd, FieldError> {
    match (bytes.get(at), bytes.get(at + 1)) {
        (Some(b'\r'), None) => Ok(LineEnd::Cut),
        (Some(b'\r'), _) => Err(FieldError::BareCr),
        (Some(b'\n'), _) => Err(FieldError::BareLf),
        (found, _) => Err(FieldError::Control { found: found.copied().unwrap_or(0) }),
    }
}

/// Which message a header section belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Request,
    Response,
}

/// What the deciding fields said.
#[derive(Default)]
pub(crate) struct Seen {
    pub host: Option<Span>,
    pub hosts: u32,
    length: Option<u64>,
    coding: Coding,
    pub close: bool,
    pub keep_alive: bool,
    /// `Connection: upgrade`.
    upgrade_option: bool,
    /// An `Upgrade` field.
    upgrade_field: bool,
    /// `Connection` names fields.
    names_fields: bool,
    pub expect_continue: bool,
}

/// `Transfer-Encoding` so far.
///
/// ```text
/// Absent --other--> Other --other--> Other --chunked--> UnknownChunked
/// Absent --chunked--> Chunked;  Chunked, UnknownChunked --anything--> refused
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Coding {
    #[default]
    Absent,
    /// Some coding that is not `chunked` came last.
    Other,
    Chunked,
    /// `chunked` after another coding.
    UnknownChunked,
}

/// Parses header lines from `start` on. The position after the final empty line, or `None` if it has not come.
#[inline(always)]
pub(crate) fn parse<S: Simd>(
    lines: &mut Lines<'_, S>,
    start: u32,
    limits: &Limits,
    headers: &mut Vec<Header>,
    seen: &mut Seen,
) -> Result<Option<u32>, FieldError> {
    let bytes = lines.bytes;
    let last_end = (start as usize).saturating_add(limits.header_max_bytes);
    let mut at = start;
    loop {
        let Line { end, colon } = lines.line(at);
        if end == NOWHERE {
            return unfinished(bytes.len() - start as usize, limits);
        }
        if let LineEnd::Cut = line_end(bytes, end)? {
            return unfinished((end - start) as usize, limits);
        }
        let next = end + 2;
        if end == at {
            return Ok(Some(next));
        }
        if next as usize > last_end || headers.len() >= limits.header_max_count {
            return Err(over_limit(next as usize > last_end, limits));
        }
        if colon >= end {
            return Err(no_colon(bytes, at));
        }
        let name = Span { start: at, end: colon };
        let known = lookup(lines.simd, bytes, name);
        if known.id == KnownHeader::Other {
            check_name(lines.simd, bytes, at as usize, colon as usize)?;
        }
        let value = trim(bytes, colon, end);
        headers.push(Header {
            id: known.id,
            hop_by_hop: known.hop_by_hop,
            never_indexed: false,
            name,
            value,
        });
        if known.id.decides() {
            seen.note(known.id, bytes, value)?;
        }
        at = next;
    }
}

#[cold]
fn over_limit(bytes: bool, limits: &Limits) -> FieldError {
    if bytes {
        FieldError::TooLarge { limit: limits.header_max_bytes }
    } else {
        FieldError::TooMany { limit: limits.header_max_count }
    }
}

#[cold]
fn unfinished(so_far: usize, limits: &Limits) -> Result<Option<u32>, FieldError> {
    if so_far > limits.header_max_bytes {
        return Err(FieldError::TooLarge { limit: limits.header_max_bytes });
    }
    Ok(None)
}

#[cold]
fn no_colon(bytes: &[u8], line: u32) -> FieldError {
    match bytes.get(line as usize) {
        Some(b' ' | b'\t') => FieldError::ObsFold,
        _ => FieldError::MissingColon,
    }
}

#[inline(always)]
fn check_name<S: Simd>(simd: S, bytes: &[u8], line: usize, colon: usize) -> Result<(), FieldError> {
    match first_outside(simd, bytes, line, colon, &TOKEN) {
        None if colon > line => Ok(()),
        bad => Err(bad_name(bytes, line, colon, bad)),
    }
}

#[cold]
fn bad_name(bytes: &[u8], line: usize, colon: usize, bad: Option<usize>) -> FieldError {
    let Some(bad) = bad else { return FieldError::EmptyName };
    match bytes.get(bad).copied() {
        Some(b' ' | b'\t') if bad == line => FieldError::ObsFold,
        Some(b' ' | b'\t')
            if bytes.get(bad..colon).is_some_and(|rest| rest.iter().all(|b| matches!(b, b' ' | b'\t'))) =>
        {
            FieldError::SpaceBeforeColon
        }
        found => FieldError::BadName { found: found.unwrap_or(0) },
    }
}

/// The value between colon and line end, without optional white space around it (RFC 9110 section 5.5).
#[inline(always)]
fn trim(bytes: &[u8], colon: u32, end: u32) -> Span {
    match bytes.get(colon as usize..end as usize) {
        // One space, then text: what everybody sends. Control bytes are excluded, so all above a space is text.
        Some([_, b' ', first, .., last]) if *first > b' ' && *last > b' ' => Span { start: colon + 2, end },
        value => trim_rare(value.unwrap_or_default(), colon),
    }
}

#[inline(never)]
fn trim_rare(value: &[u8], colon: u32) -> Span {
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let start = value.iter().skip(1).position(|b| !blank(b)).map_or(value.len(), |i| i + 1);
    let end = value.iter().rposition(|b| !blank(b)).map_or(start, |i| i + 1).max(start);
    Span { start: colon + start as u32, end: colon + end as u32 }
}

/// The elements of a comma-separated list without white space around them; some may be empty.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii)
}

impl Seen {
    /// Reads a field that decides about framing, routing or the connection.
    #[inline(always)]
    fn note(&mut self, id: KnownHeader, bytes: &[u8], value: Span) -> Result<(), FieldError> {
        match id {
            KnownHeader::Host => {
                self.hosts += 1;
                self.host = Some(value);
                Ok(())
            }
            KnownHeader::Connection => self.note_connection(value.of(bytes)),
            _ => self.note_rare(id, value.of(bytes)),
        }
    }

    #[inline(never)]
    fn note_rare(&mut self, id: KnownHeader, value: &[u8]) -> Result<(), FieldError> {
        match id {
            KnownHeader::ContentLength => self.note_length(value)?,
            KnownHeader::TransferEncoding => self.note_coding(value)?,
            KnownHeader::Expect => self.expect_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            KnownHeader::Upgrade => self.upgrade_field = true,
            _ => {}
        }
        Ok(())
    }

    fn note_length(&mut self, value: &[u8]) -> Result<(), FieldError> {
        if self.length.is_some() {
            return Err(FieldError::RepeatedLength);
        }
        if value.is_empty() {
            return Err(FieldError::BadLength);
        }
        let mut length = 0u64;
        for byte in value {
            let digit = byte.wrapping_sub(b'0');
            // A list of lengths, as some senders merge repeated fields into.
            if *byte == b',' && length_list(value) {
                return Err(FieldError::RepeatedLength);
            }
            if digit > 9 || length > (u64::MAX >> 1) / 10 {
                return Err(FieldError::BadLength);
            }
            length = length * 10 + u64::from(digit);
        }
        if length > u64::MAX >> 1 {
            return Err(FieldError::BadLength);
        }
        self.length = Some(length);
        Ok(())
    }

    fn note_coding(&mut self, value: &[u8]) -> Result<(), FieldError> {
        for coding in elements(value) {
            if coding.is_empty() {
                return Err(FieldError::EmptyCoding);
            }
            let chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.coding = match (self.coding, chunked) {
                (Coding::Absent, true) => Coding::Chunked,
                (Coding::Other, true) => Coding::UnknownChunked,
                (Coding::Absent | Coding::Other, false) => Coding::Other,
                (Coding::Chunked | Coding::UnknownChunked, true) => return Err(FieldError::DoubledChunked),
                (Coding::Chunked | Coding::UnknownChunked, false) => return Err(FieldError::ChunkedNotLast),
            };
        }
        Ok(())
    }

    #[inline(always)]
    fn note_connection(&mut self, value: &[u8]) -> Result<(), FieldError> {
        if is_keep_alive(value) {
            self.keep_alive = true;
            return Ok(());
        }
        self.note_options(value)
    }

    #[inline(never)]
    fn note_options(&mut self, value: &[u8]) -> Result<(), FieldError> {
        for option in elements(value) {
            if let Some(found) = option.iter().find(|b| !TOKEN.has(**b)) {
                return Err(FieldError::BadConnection { found: *found });
            }
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade_option = true;
            } else if !option.is_empty() {
                self.names_fields = true;
            }
        }
        Ok(())
    }

    /// The message's framing by its fields alone: `Length`, `Chunked`, or `None` when no field says.
    #[inline(always)]
    pub(crate) fn framing(&self, version: Version) -> Result<BodyFraming, FieldError> {
        match (self.coding, self.length) {
            (Coding::Absent, None) => Ok(BodyFraming::None),
            (Coding::Absent, Some(length)) => Ok(BodyFraming::Length(length)),
            _ => self.coded_framing(version),
        }
    }

    fn coded_framing(&self, version: Version) -> Result<BodyFraming, FieldError> {
        if self.length.is_some() {
            return Err(FieldError::LengthAndCoding);
        }
        if version == Version::Http10 {
            return Err(FieldError::CodingInHttp10);
        }
        match self.coding {
            Coding::Chunked => Ok(BodyFraming::Chunked),
            Coding::UnknownChunked => Err(FieldError::UnknownCoding),
            Coding::Absent | Coding::Other => Err(FieldError::ChunkedNotLast),
        }
    }

    /// Whether the connection outlives the message (RFC 9112 section 9.3).
    #[inline(always)]
    pub(crate) fn persistent(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }

    /// Whether a change of protocol is asked for (RFC 9110 section 7.8).
    #[inline(always)]
    pub(crate) fn upgrade(&self, version: Version) -> bool {
        self.upgrade_option && self.upgrade_field && version == Version::Http11
    }

    /// Marks the fields that `Connection` names.
    #[inline(always)]
    pub(crate) fn mark_named(
        &self,
        bytes: &[u8],
        headers: &mut [Header],
        side: Side,
    ) -> Result<(), FieldError> {
        if self.names_fields { mark_named(bytes, headers, side) } else { Ok(()) }
    }
}

/// Whether the value is `keep-alive` in any case, compared as two words.
#[inline(always)]
fn is_keep_alive(value: &[u8]) -> bool {
    let Some((first, [v, e])) = value.split_first_chunk::<8>() else { return false };
    // Setting bit 5 folds letters; of other bytes it makes no `-` but from a control byte, and those are excluded.
    let folded = u64::from_ne_bytes(*first) | u64::from_ne_bytes([0x20; 8]);
    folded == u64::from_ne_bytes(*b"keep-ali") && v | 0x20 == b'v' && e | 0x20 == b'e'
}

/// How many fields `Connection` may name. It bounds the work of [`mark_named`]; real messages name one or two.
const NAMED_MAX: usize = 32;

#[cold]
#[inline(never)]
fn mark_named(bytes: &[u8], headers: &mut [Header], side: Side) -> Result<(), FieldError> {
    let mut named = 0;
    for i in 0..headers.len() {
        let Some(value) = headers.get(i).filter(|h| h.id == KnownHeader::Connection).map(|h| h.value) else {
            continue;
        };
        for option in elements(value.of(bytes)).filter(|o| !o.is_empty()) {
            named += 1;
            if named > NAMED_MAX {
                return Err(FieldError::TooManyOptions);
            }
            let id = KnownHeader::from_name(option);
            if side == Side::Request && id != KnownHeader::Other && !id.hop_by_hop() {
                return Err(FieldError::EndToEndOption);
            }
            for header in headers.iter_mut() {
                header.hop_by_hop |= header.name.of(bytes).eq_ignore_ascii_case(option);
            }
        }
    }
    Ok(())
}

fn length_list(value: &[u8]) -> bool {
    elements(value).all(|e| !e.is_empty() && e.iter().all(u8::is_ascii_digit))
}

/// Checks one line without its CRLF as a header line; the name and value of it. For trailers, which come piecemeal.
pub(crate) fn parse_line(line: &[u8]) -> Result<(&[u8], &[u8]), FieldError> {
    if let Some(found) = line.iter().find(|b| is_control(**b)) {
        return Err(match found {
            b'\r' => FieldError::BareCr,
            b'\n' => FieldError::BareLf,
            found => FieldError::Control { found: *found },
        });
    }
    let Some(colon) = line.iter().position(|b| *b == b':') else { return Err(no_colon(line, 0)) };
    check_name(crate::scan::Scalar, line, 0, colon)?;
    let value = trim(line, colon as u32, line.len() as u32);
    Ok((line.get(..colon).unwrap_or_default(), value.of(line)))
}
