//! A client's conditions and ranges against a stored answer (RFC 9110 sections 13 and 14).

use super::{Fields, Stored, list};
use sluice_wire::{KnownHeader, parse_http_date};
use std::ops::Range;

/// Whether the client has the stored answer already, so that 304 is enough. `If-None-Match` goes before
/// `If-Modified-Since`, which then isn't looked at (RFC 9110 section 13.2.2).
#[must_use]
pub fn is_not_modified(request: Fields<'_>, stored: &Stored, now_unix_s: u64) -> bool {
    if request.first(KnownHeader::IfNoneMatch).is_some() {
        let mut tags = request.all(KnownHeader::IfNoneMatch);
        return tags.any(|line| {
            line.trim_ascii() == b"*"
                || stored.etag.as_deref().is_some_and(|own| tags_of(line).any(|tag| is_weakly_same(tag, own)))
        });
    }
    let since = request.only(KnownHeader::IfModifiedSince);
    since
        .and_then(|date| parse_http_date(date, now_unix_s))
        .is_some_and(|since_unix_s| stored.changed_unix_s <= since_unix_s)
}

/// The opaque tags may contain commas, so quotes are minded; what is not quoted is split at commas.
fn tags_of(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    line.split(move |b| {
        quoted ^= *b == b'"';
        *b == b',' && !quoted
    })
    .map(<[u8]>::trim_ascii)
    .filter(|tag| !tag.is_empty())
}

/// RFC 9110 section 8.8.3.2: the weak comparison disregards `W/`.
fn is_weakly_same(a: &[u8], b: &[u8]) -> bool {
    a.strip_prefix(b"W/").unwrap_or(a) == b.strip_prefix(b"W/").unwrap_or(b)
}

/// Which part of a stored body a request wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranged {
    /// All of it.
    Whole,
    /// These bytes (206).
    Part(Range<usize>),
    /// Bytes that it doesn't have (416).
    Unsatisfiable,
}

/// What `Range` asks for of a stored 200 with a body of `length` bytes. Other units, several ranges and malformed ones may
/// be answered with the whole (RFC 9110 section 14.2), and so is one whose `If-Range` doesn't match.
#[must_use]
pub fn ranged(request: Fields<'_>, stored: &Stored, length: usize) -> Ranged {
    let Some(range) = request.only(KnownHeader::Range) else { return Ranged::Whole };
    if let Some(condition) = request.first(KnownHeader::IfRange)
        && !is_same_for_range(condition, stored)
    {
        return Ranged::Whole;
    }
    let Some((unit, set)) = split_once(range, b'=') else { return Ranged::Whole };
    let mut specs = list(set);
    let (Some(spec), None) = (specs.next(), specs.next()) else { return Ranged::Whole };
    let Some((first, last)) = split_once(spec, b'-').filter(|_| unit.eq_ignore_ascii_case(b"bytes")) else {
        return Ranged::Whole;
    };
    match (first.is_empty(), number(first), last.is_empty(), number(last)) {
        // The end of nothing can be sent, but not named.
        (true, _, false, Some(suffix)) if suffix > 0 && length == 0 => Ranged::Whole,
        (true, _, false, Some(suffix)) if suffix > 0 => Ranged::Part(length.saturating_sub(suffix)..length),
        (true, _, false, Some(_)) => Ranged::Unsatisfiable,
        (false, Some(first), true, _) if first < length => Ranged::Part(first..length),
        (false, Some(first), false, Some(last)) if first <= last && first < length => {
            Ranged::Part(first..last.saturating_add(1).min(length))
        }
        (false, Some(first), false, Some(last)) if first > last => Ranged::Whole,
        (false, Some(_), _, _) if last.is_empty() || number(last).is_some() => Ranged::Unsatisfiable,
        _ => Ranged::Whole,
    }
}

/// RFC 9110 section 13.1.5: by strong comparison, or the very date.
fn is_same_for_range(condition: &[u8], stored: &Stored) -> bool {
    let same_tag = stored.etag.as_deref().is_some_and(|own| own == condition && own.starts_with(b"\""));
    same_tag || stored.last_modified.as_deref() == Some(condition)
}

fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let index = text.iter().position(|b| *b == at)?;
    let (before, rest) = text.split_at_checked(index)?;
    Some((before.trim_ascii(), rest.get(1..)?.trim_ascii()))
}

/// Digits; one too large to count counts as the largest.
fn number(text: &[u8]) -> Option<usize> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits
        .then(|| text.iter().fold(0_usize, |n, b| n.saturating_mul(10).saturating_add(usize::from(b - b'0'))))
}
