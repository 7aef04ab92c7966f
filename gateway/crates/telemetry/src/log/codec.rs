//! A record in the log ring: eleven words, then the byte fields, each padded to whole words.
//!
//! | word | content |
//! |---|---|
//! | 0 | words in all (16 bits), status (16), version, refusal, cache outcome, flags (8 each) |
//! | 1 | time, milliseconds since 1970 |
//! | 2 | latency, integration latency (32 bits each, µs, saturating; all ones: no integration) |
//! | 3, 4 | bytes in, bytes out |
//! | 5, 6 | route, upstream; key, limit (32 bits each; all ones: none) |
//! | 7, 8 | client address, 128 bits, IPv4 in the low 32 |
//! | 9 | lengths: method (8 bits), request id (8), user agent, referer, target (16 each) |
//! | 10 | lengths: TLS facts, principal (32 each) |

use crate::record::{CacheOutcome, Record, Refusal};
use crate::ring::{Producer, Relaxed, Word};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const FIXED_WORDS: usize = 11;
const NONE: u32 = u32::MAX;
const FLAG_IPV6: u8 = 1;
/// Longer fields are cut. A target is at most a request line, 8 KiB by default.
const METHOD_MAX: usize = 32;
const REQUEST_ID_MAX: usize = 64;
const USER_AGENT_MAX: usize = 1024;
const REFERER_MAX: usize = 2048;
const TARGET_MAX: usize = 8192;
const TLS_MAX: usize = 1024;
const PRINCIPAL_MAX: usize = 512;
/// The largest record, so that the log thread's buffer holds at least one.
pub(crate) const RECORD_BYTES_MAX: usize = FIXED_WORDS * 8
    + METHOD_MAX
    + REQUEST_ID_MAX
    + USER_AGENT_MAX
    + REFERER_MAX
    + TARGET_MAX
    + TLS_MAX
    + PRINCIPAL_MAX;

/// Copies a record into the ring; false when it is full.
#[inline]
pub(crate) fn push(producer: &Producer, record: &Record<'_>) -> bool {
    let fields = [
        cut(record.method, METHOD_MAX),
        cut(record.request_id, REQUEST_ID_MAX),
        cut(record.user_agent, USER_AGENT_MAX),
        cut(record.referer, REFERER_MAX),
        cut(record.path, TARGET_MAX),
        cut(record.tls, TLS_MAX),
        cut(record.principal, PRINCIPAL_MAX),
    ];
    let count = FIXED_WORDS + fields.iter().map(|field| field.len().div_ceil(8)).sum::<usize>();
    producer.push(count, |words| fill(words, record, &fields))
}

#[inline]
fn cut(field: &[u8], max: usize) -> &[u8] {
    field.get(..max).unwrap_or(field)
}

#[inline]
fn fill(words: &[Word], record: &Record<'_>, fields: &[&[u8]; 7]) {
    let (address, flags) = match record.source {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 0),
        IpAddr::V6(address) => (address.to_bits(), FLAG_IPV6),
    };
    let integration_us =
        record.integration_latency_us.map_or(NONE, |us| u32::try_from(us).unwrap_or(NONE - 1));
    let fixed: [u64; FIXED_WORDS] = [
        words.len() as u64
            | u64::from(record.status) << 16
            | u64::from(record.version) << 32
            | u64::from(Refusal::code(record.refusal)) << 40
            | u64::from(record.cache as u8) << 48
            | u64::from(flags) << 56,
        record.time_unix_ms,
        pair(u32::try_from(record.latency_us).unwrap_or(NONE), integration_us),
        record.bytes_in,
        record.bytes_out,
        pair(record.route, record.upstream.unwrap_or(NONE)),
        pair(record.key.unwrap_or(NONE), record.limit.unwrap_or(NONE)),
        address as u64,
        (address >> 64) as u64,
        lengths(fields),
        last_lengths(fields),
    ];
    let Some((head, mut rest)) = words.split_at_checked(FIXED_WORDS) else { return };
    for (word, value) in head.iter().zip(fixed) {
        word.store(value, Relaxed);
    }
    for field in fields {
        let Some((mine, others)) = rest.split_at_checked(field.len().div_ceil(8)) else { return };
        fill_bytes(mine, field);
        rest = others;
    }
}

#[inline]
fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

#[inline]
fn last_lengths([.., tls, principal]: &[&[u8]; 7]) -> u64 {
    tls.len() as u64 | (principal.len() as u64) << 32
}

#[inline]
fn lengths([method, request_id, user_agent, referer, target, ..]: &[&[u8]; 7]) -> u64 {
    method.len() as u64
        | (request_id.len() as u64) << 8
        | (user_agent.len() as u64) << 16
        | (referer.len() as u64) << 32
        | (target.len() as u64) << 48
}

#[inline]
fn fill_bytes(words: &[Word], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<8>();
    for (word, chunk) in words.iter().zip(whole) {
        word.store(u64::from_le_bytes(*chunk), Relaxed);
    }
    if let (false, Some(word)) = (rest.is_empty(), words.get(whole.len())) {
        // The last eight bytes, shifted down, spare a copy of variable length.
        let last = match bytes.last_chunk::<8>() {
            Some(chunk) => u64::from_le_bytes(*chunk) >> (64 - 8 * rest.len()),
            None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        word.store(last, Relaxed);
    }
}

/// A record as the log thread sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) status: u16,
    pub(crate) version: u8,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) cache: CacheOutcome,
    pub(crate) source: IpAddr,
    pub(crate) time_unix_ms: u64,
    pub(crate) latency_us: u32,
    pub(crate) integration_us: Option<u32>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) route: u32,
    pub(crate) upstream: Option<u32>,
    pub(crate) key: Option<u32>,
    pub(crate) limit: Option<u32>,
    pub(crate) method: &'a [u8],
    pub(crate) request_id: &'a [u8],
    pub(crate) user_agent: &'a [u8],
    pub(crate) referer: &'a [u8],
    pub(crate) target: &'a [u8],
    pub(crate) tls: &'a [u8],
    pub(crate) principal: &'a [u8],
}

/// Takes the record at the front of `bytes`, and moves past it. `None` at the end.
#[inline]
pub(crate) fn take<'a>(bytes: &mut &'a [u8]) -> Option<Entry<'a>> {
    let count = u16::from_le_bytes(*bytes.first_chunk()?);
    let (record, rest) = bytes.split_at_checked(usize::from(count) * 8)?;
    *bytes = rest;
    let (fixed, mut fields) = record.split_at_checked(FIXED_WORDS * 8)?;
    let words: &[[u8; 8]; FIXED_WORDS] = fixed.as_chunks().0.first_chunk()?;
    let [head, time, latency, bytes_in, bytes_out, place, limits, address_low, address_high, lengths, tls] =
        words.map(u64::from_le_bytes);
    let address = u128::from(address_low) | u128::from(address_high) << 64;
    Some(Entry {
        status: (head >> 16) as u16,
        version: (head >> 32) as u8,
        refusal: Refusal::from_code((head >> 40) as u8),
        cache: CacheOutcome::from_code((head >> 48) as u8),
        source: match (head >> 56) as u8 {
            FLAG_IPV6 => IpAddr::V6(Ipv6Addr::from_bits(address)).to_canonical(),
            _ => IpAddr::V4(Ipv4Addr::from_bits(address as u32)),
        },
        time_unix_ms: time,
        latency_us: latency as u32,
        integration_us: some(latency >> 32),
        bytes_in,
        bytes_out,
        route: place as u32,
        upstream: some(place >> 32),
        key: some(limits & u64::from(NONE)),
        limit: some(limits >> 32),
        method: field(&mut fields, lengths & 0xff)?,
        request_id: field(&mut fields, lengths >> 8 & 0xff)?,
        user_agent: field(&mut fields, lengths >> 16 & 0xffff)?,
        referer: field(&mut fields, lengths >> 32 & 0xffff)?,
        target: field(&mut fields, lengths >> 48)?,
        tls: field(&mut fields, tls & u64::from(NONE))?,
        principal: field(&mut fields, tls >> 32)?,
    })
}

#[inline]
fn some(value: u64) -> Option<u32> {
    (value != u64::from(NONE)).then_some(value as u32)
}

#[inline]
fn field<'a>(fields: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let length = length as usize;
    let (field, rest) = fields.split_at_checked(length.next_multiple_of(8))?;
    *fields = rest;
    field.get(..length)
}
