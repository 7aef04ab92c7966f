//! What may be stored, for how long it is fresh, and what a request may be answered with (RFC 9111 sections 3 and 4).

use super::{Fields, RequestControl, ResponseControl};
use bytes::Bytes;
use sluice_wire::{KnownHeader, parse_http_date};

/// A heuristic lifetime is a tenth of the time since the last change (section 4.2.2), and no more than this.
const HEURISTIC_MAX_MS: u64 = 24 * 3_600_000;
/// What can be validated is kept beyond its lifetime, since a 304 is cheaper than a body; eviction takes it when room is
/// wanted. So is what a client might accept stale.
const KEEP_STALE_MS: u64 = 3_600_000;
/// Ages and lifetimes stay below this, so that sums don't overflow.
const FOREVER_MS: u64 = 1 << 50;

/// When a response came, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// When the request went out, monotonic milliseconds.
    pub asked_ms: u64,
    /// When the response head came, monotonic milliseconds.
    pub received_ms: u64,
    /// The same on the wall clock, seconds since 1970.
    pub received_unix_s: u64,
}

/// What storing and using need to know of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request {
    /// Its `Cache-Control`.
    pub control: RequestControl,
    /// It carries credentials that are not part of the key (section 3.5).
    pub authorized: bool,
}

impl Request {
    /// Of a request's fields.
    #[must_use]
    pub fn of(fields: Fields<'_>) -> Self {
        Self {
            control: RequestControl::of(fields),
            authorized: fields.first(KnownHeader::Authorization).is_some(),
        }
    }
}

/// What is known of a stored answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// How long it is fresh, counted by age.
    pub lifetime_ms: u64,
    /// Its age when it was received (section 4.2.3).
    pub initial_age_ms: u64,
    /// Never to be used stale.
    pub must_revalidate: bool,
    /// Never to be used without validation.
    pub no_cache: bool,
    /// Stale for at most so long while it is validated.
    pub stale_while_revalidate_ms: u64,
    /// Stale for at most so long if the origin fails.
    pub stale_if_error_ms: u64,
    /// `ETag` as received.
    pub etag: Option<Bytes>,
    /// `Last-Modified` as received.
    pub last_modified: Option<Bytes>,
    /// Last change as far as known: `Last-Modified`, else `Date` (RFC 9110 section 13.1.3), else when it came.
    pub changed_unix_s: u64,
}

impl Stored {
    /// What the answer to a GET is stored as; `None`: it may not be stored. `age` are the fields of the message that
    /// just came, of which only `Age` is read: for a validated answer that is the 304's.
    #[must_use]
    pub fn of(
        request: &Request,
        status: u16,
        fields: Fields<'_>,
        age: Fields<'_>,
        at: Moment,
    ) -> Option<Self> {
        let control = ResponseControl::of(fields);
        let date_unix_s =
            fields.only(KnownHeader::Date).and_then(|date| parse_http_date(date, at.received_unix_s));
        let modified = fields.only(KnownHeader::LastModified);
        let modified_unix_s = modified.and_then(|date| parse_http_date(date, at.received_unix_s));
        if !may_store(request, status, &control, fields) {
            return None;
        }
        let dated_unix_s = date_unix_s.unwrap_or(at.received_unix_s);
        let lifetime = lifetime_ms(status, &control, fields, dated_unix_s, modified_unix_s, at);
        let stored = Self {
            lifetime_ms: lifetime.unwrap_or(0).min(FOREVER_MS),
            initial_age_ms: initial_age_ms(age, date_unix_s, at),
            must_revalidate: control.must_revalidate,
            no_cache: control.no_cache,
            stale_while_revalidate_ms: control.stale_while_revalidate_s * 1000,
            stale_if_error_ms: control.stale_if_error_s * 1000,
            etag: fields.only(KnownHeader::Etag).map(Bytes::copy_from_slice),
            last_modified: modified.filter(|_| modified_unix_s.is_some()).map(Bytes::copy_from_slice),
            changed_unix_s: modified_unix_s.unwrap_or(dated_unix_s),
        };
        // Neither a lifetime nor a way to validate: there is no use in keeping it.
        (lifetime.is_some() || stored.can_validate()).then_some(stored)
    }

    /// Whether the origin can be asked about it instead of for it.
    #[must_use]
    pub fn can_validate(&self) -> bool {
        self.etag.is_some() || self.last_modified.is_some()
    }

    /// Its age at `now_ms`, having been received at `received_ms`.
    #[must_use]
    pub fn age_ms(&self, received_ms: u64, now_ms: u64) -> u64 {
        self.initial_age_ms.saturating_add(now_ms.saturating_sub(received_ms))
    }

    /// When it has no more use, for one received at `received_ms`.
    #[must_use]
    pub fn keep_until_ms(&self, received_ms: u64) -> u64 {
        let stale_ms = self.stale_while_revalidate_ms.max(self.stale_if_error_ms).max(KEEP_STALE_MS);
        let fresh_ms = self.lifetime_ms.saturating_sub(self.initial_age_ms);
        received_ms.saturating_add(fresh_ms).saturating_add(stale_ms)
    }
}

/// Section 3: whether the answer to a GET may be stored by a shared cache.
fn may_store(request: &Request, status: u16, control: &ResponseControl, fields: Fields<'_>) -> bool {
    let understood = !control.must_understand || is_understood(status);
    // With must-understand, no-store is for caches that don't know must-understand (section 5.2.2.3).
    let no_store = control.no_store && !(control.must_understand && is_understood(status));
    let explicit = control.public || control.s_maxage_s.is_some();
    // 206 would need its parts combined, 304 is no answer of its own.
    let whole = status >= 200 && !matches!(status, 206 | 304);
    // RFC 9111 section 7.3 lets cookies be stored and leaves it to the origin to forbid it. Too many origins don't, and a
    // session handed to another is the worst a cache can do: so these must say that they are for everyone.
    let cookies = fields.first(KnownHeader::SetCookie).is_some() && !explicit;
    whole
        && understood
        && !no_store
        && !request.control.no_store
        && !control.private
        && !cookies
        && (!request.authorized || explicit || control.must_revalidate_itself)
}

/// The final status codes of RFC 9110 and those of RFC 6585 and 7725.
fn is_understood(status: u16) -> bool {
    matches!(status, 200..=205 | 300..=305 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 428 | 429 | 431 | 451 | 500..=505 | 511)
}

/// RFC 9110 section 15.1, without 206.
fn is_heuristically_cacheable(status: u16) -> bool {
    matches!(status, 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Section 4.2.1; `None`: nothing says how long.
fn lifetime_ms(
    status: u16,
    control: &ResponseControl,
    fields: Fields<'_>,
    date_unix_s: u64,
    modified_unix_s: Option<u64>,
    at: Moment,
) -> Option<u64> {
    if let Some(seconds) = control.s_maxage_s.or(control.max_age_s) {
        return Some(seconds * 1000);
    }
    if fields.first(KnownHeader::Expires).is_some() {
        // Repeated or unreadable ones, such as "0", are in the past (section 5.3).
        let expires = fields.only(KnownHeader::Expires);
        let expires_unix_s = expires.and_then(|date| parse_http_date(date, at.received_unix_s)).unwrap_or(0);
        return Some(expires_unix_s.saturating_sub(date_unix_s) * 1000);
    }
    let heuristic = is_heuristically_cacheable(status) || control.public;
    let unchanged_s = date_unix_s.saturating_sub(modified_unix_s.filter(|_| heuristic)?);
    Some((unchanged_s * 100).min(HEURISTIC_MAX_MS))
}

/// Section 4.2.3.
fn initial_age_ms(fields: Fields<'_>, date_unix_s: Option<u64>, at: Moment) -> u64 {
    let apparent_ms = date_unix_s.map_or(0, |date| at.received_unix_s.saturating_sub(date) * 1000);
    let delay_ms = at.received_ms.saturating_sub(at.asked_ms);
    let corrected_ms = age_value_ms(fields).saturating_add(delay_ms);
    apparent_ms.max(corrected_ms).min(FOREVER_MS)
}

/// `Age`. One that can't be read makes the answer as old as can be. RFC 9111 section 5.1 would rather ignore it, but whoever
/// sent it is a cache with a fault, and the price of the safe side is one validation.
fn age_value_ms(fields: Fields<'_>) -> u64 {
    if fields.first(KnownHeader::Age).is_none() {
        return 0;
    }
    let age = fields.only(KnownHeader::Age).filter(|v| !v.is_empty() && v.iter().all(u8::is_ascii_digit));
    let Some(age) = age else { return FOREVER_MS };
    age.iter().fold(0_u64, |n, b| (n * 10 + u64::from(b - b'0')).min(FOREVER_MS / 1000)) * 1000
}

/// What a stored answer is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer with it.
    Fresh,
    /// Answer with it, although it is stale: the client says it may be.
    Stale,
    /// Answer with it and validate it in the background (RFC 5861 section 3).
    Revalidate,
    /// Ask the origin first.
    Validate {
        /// Should the origin fail, answer with it all the same (RFC 5861 section 4).
        stale_if_error: bool,
    },
}

/// Judges what was stored at `received_ms` for a request at `now_ms` (sections 4.2, 4.2.4 and 5.2.1).
#[must_use]
pub fn judge(stored: &Stored, received_ms: u64, request: &RequestControl, now_ms: u64) -> Verdict {
    let age_ms = stored.age_ms(received_ms, now_ms);
    let fresh_ms = stored.lifetime_ms.saturating_sub(age_ms);
    let stale_ms = age_ms.saturating_sub(stored.lifetime_ms);
    let for_error_ms =
        stored.stale_if_error_ms.max(request.stale_if_error_s.unwrap_or(0).saturating_mul(1000));
    let may_be_stale = !stored.must_revalidate && !stored.no_cache;
    let validate = Verdict::Validate {
        stale_if_error: may_be_stale && !request.no_cache && for_error_ms > 0 && stale_ms <= for_error_ms,
    };
    let too_old = request.max_age_s.is_some_and(|max| age_ms > max.saturating_mul(1000));
    let too_close = request.min_fresh_s.is_some_and(|min| fresh_ms < min.saturating_mul(1000));
    if stored.no_cache || request.no_cache || too_old || too_close {
        return validate;
    }
    if fresh_ms > 0 {
        return Verdict::Fresh;
    }
    if !may_be_stale {
        return validate;
    }
    if request.max_stale_s.is_some_and(|max| stale_ms <= max.saturating_mul(1000)) {
        return Verdict::Stale;
    }
    let in_background_ms = stored.stale_while_revalidate_ms;
    if in_background_ms > 0 && stale_ms <= in_background_ms { Verdict::Revalidate } else { validate }
}
