//! Header lines as they are stored, and their update by a 304 (RFC 9111 sections 3.1 and 3.2).

use super::{Fields, Moment, Request, Stored};
use crate::entry::{Entry, Validity};
use bytes::Bytes;
use sluice_wire::{Header, KnownHeader, Span, enc};

/// The lines of a response as they are stored: without those meant for one connection, for one exchange, or written anew
/// for each answer (`skip` names the caller's own). A response without a date gets one (RFC 9110 section 6.6.1).
#[must_use]
pub fn stored_head(fields: Fields<'_>, at: Moment, skip: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut lines = Vec::with_capacity(fields.bytes.len());
    for h in fields.headers {
        let name = h.name.of(fields.bytes);
        if is_stored(h, name) && !skip(name) {
            enc::header(&mut lines, name, h.value.of(fields.bytes));
        }
    }
    if fields.first(KnownHeader::Date).is_none() {
        enc::header(&mut lines, b"Date", &enc::http_date_bytes(at.received_unix_s));
    }
    lines
}

/// Section 3.1.
fn is_stored(header: &Header, name: &[u8]) -> bool {
    !header.hop_by_hop
        && !matches!(header.id, KnownHeader::ContentLength | KnownHeader::Age)
        && !name.eq_ignore_ascii_case(b"proxy-authentication-info")
}

/// Fields that describe the stored body: a 304 doesn't bring another, so it can't change them. Cookies of a 304 are for
/// the one who asked.
fn describes_body(header: &Header, name: &[u8]) -> bool {
    matches!(
        header.id,
        KnownHeader::ContentEncoding
            | KnownHeader::ContentRange
            | KnownHeader::Etag
            | KnownHeader::SetCookie
            | KnownHeader::ContentLength
    ) || name.eq_ignore_ascii_case(b"content-md5")
        || name.eq_ignore_ascii_case(b"content-digest")
        || name.eq_ignore_ascii_case(b"repr-digest")
}

/// What is stored once the origin has said of `old` that it still holds (304 with `fields`); the second part is `false` if
/// it may be used for this request but not kept. Its body is shared, not copied.
#[must_use]
pub fn freshen(
    old: &Entry,
    request: &Request,
    fields: Fields<'_>,
    at: Moment,
    skip: impl Fn(&[u8]) -> bool,
) -> (Entry, bool) {
    let news: Vec<&Header> = fields
        .headers
        .iter()
        .filter(|h| {
            let name = h.name.of(fields.bytes);
            is_stored(h, name) && !describes_body(h, name) && !skip(name)
        })
        .collect();
    let mut lines = Vec::with_capacity(old.head.len() + fields.bytes.len());
    let dated = fields.first(KnownHeader::Date).is_some();
    for (name, value) in each_line(&old.head) {
        let replaced = news.iter().any(|h| h.name.of(fields.bytes).eq_ignore_ascii_case(name));
        // The old date would make the answer look as old as it was.
        if !replaced && (dated || !name.eq_ignore_ascii_case(b"date")) {
            enc::header(&mut lines, name, value);
        }
    }
    for h in &news {
        enc::header(&mut lines, h.name.of(fields.bytes), h.value.of(fields.bytes));
    }
    if !dated {
        enc::header(&mut lines, b"Date", &enc::http_date_bytes(at.received_unix_s));
    }
    let headers = index(&lines);
    let merged = Fields { headers: &headers, bytes: &lines };
    let stored = Stored::of(request, old.status, merged, fields, at);
    let keep = stored.is_some();
    let validity = stored.map_or_else(|| old.validity.clone(), |stored| Validity::Standard(Box::new(stored)));
    let expires_at_ms = match &validity {
        Validity::Standard(stored) => stored.keep_until_ms(at.received_ms),
        _ => at.received_ms,
    };
    let entry = Entry {
        status: old.status,
        head: Bytes::from(lines),
        body: old.body.clone(),
        stored_at_ms: at.received_ms,
        expires_at_ms,
        validity,
    };
    (entry, keep)
}

/// Name and value of each line of a stored head.
fn each_line(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    head.split(|b| *b == b'\n').filter_map(|line| {
        let line = line.strip_suffix(b"\r")?;
        let colon = line.iter().position(|b| *b == b':')?;
        let (name, value) = line.split_at_checked(colon)?;
        Some((name, value.get(1..)?.trim_ascii()))
    })
}

/// A stored head as the parser would give it.
#[must_use]
pub fn index(head: &[u8]) -> Vec<Header> {
    let base = head.as_ptr() as usize;
    // Positions by difference of addresses: both slices lie in `head`.
    let span = |part: &[u8]| {
        let start = (part.as_ptr() as usize).saturating_sub(base);
        Span { start: start as u32, end: (start + part.len()) as u32 }
    };
    let header = |(name, value): (&[u8], &[u8])| Header {
        id: KnownHeader::from_name(name),
        hop_by_hop: false,
        never_indexed: false,
        name: span(name),
        value: span(value),
    };
    each_line(head).map(header).collect()
}
