//! Header names that some step asks for, by number.

use crate::Span;
use crate::scan::{Simd, window};

macro_rules! known_headers {
    ($($id:ident = $name:literal,)+) => {
        /// A header name that the gateway knows. Order matters: see [`KnownHeader::decides`] and [`KnownHeader::hop_by_hop`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum KnownHeader {
            $(#[doc = concat!("`", $name, "`")] $id,)+
            /// Any other name.
            Other,
        }

        impl KnownHeader {
            /// Every known header, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$id),+];

            /// The name in lower case; empty for [`KnownHeader::Other`].
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$id => $name,)+
                    Self::Other => "",
                }
            }
        }
    };
}

known_headers! {
    Host = "host",
    ContentLength = "content-length",
    Expect = "expect",
    TransferEncoding = "transfer-encoding",
    Connection = "connection",
    Upgrade = "upgrade",
    KeepAlive = "keep-alive",
    ProxyConnection = "proxy-connection",
    Te = "te",
    Trailer = "trailer",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    XApiKey = "x-api-key",
    Authorization = "authorization",
    CacheControl = "cache-control",
    ContentType = "content-type",
    ContentEncoding = "content-encoding",
    ContentLanguage = "content-language",
    ContentDisposition = "content-disposition",
    ContentRange = "content-range",
    ContentLocation = "content-location",
    UserAgent = "user-agent",
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    AcceptLanguage = "accept-language",
    AcceptRanges = "accept-ranges",
    Cookie = "cookie",
    SetCookie = "set-cookie",
    Origin = "origin",
    Referer = "referer",
    Range = "range",
    IfMatch = "if-match",
    IfNoneMatch = "if-none-match",
    IfModifiedSince = "if-modified-since",
    IfUnmodifiedSince = "if-unmodified-since",
    IfRange = "if-range",
    Forwarded = "forwarded",
    XForwardedFor = "x-forwarded-for",
    XForwardedProto = "x-forwarded-proto",
    XForwardedHost = "x-forwarded-host",
    XForwardedPort = "x-forwarded-port",
    XRealIp = "x-real-ip",
    Via = "via",
    Date = "date",
    Server = "server",
    Location = "location",
    Vary = "vary",
    Etag = "etag",
    Age = "age",
    Allow = "allow",
    Expires = "expires",
    Pragma = "pragma",
    LastModified = "last-modified",
    RetryAfter = "retry-after",
    WwwAuthenticate = "www-authenticate",
    Link = "link",
    XRequestId = "x-request-id",
    XAmznRequestId = "x-amzn-requestid",
    XAmznErrorType = "x-amzn-errortype",
    XAmznTraceId = "x-amzn-trace-id",
    XAmzDate = "x-amz-date",
    XAmzSecurityToken = "x-amz-security-token",
    XAmzContentSha256 = "x-amz-content-sha256",
    Traceparent = "traceparent",
    Tracestate = "tracestate",
    AccessControlRequestMethod = "access-control-request-method",
    AccessControlRequestHeaders = "access-control-request-headers",
    AccessControlAllowOrigin = "access-control-allow-origin",
    AccessControlAllowMethods = "access-control-allow-methods",
    AccessControlAllowHeaders = "access-control-allow-headers",
    AccessControlAllowCredentials = "access-control-allow-credentials",
    AccessControlExposeHeaders = "access-control-expose-headers",
    AccessControlMaxAge = "access-control-max-age",
    SecWebSocketKey = "sec-websocket-key",
    SecWebSocketVersion = "sec-websocket-version",
    SecWebSocketProtocol = "sec-websocket-protocol",
    SecWebSocketExtensions = "sec-websocket-extensions",
    SecWebSocketAccept = "sec-websocket-accept",
    SecFetchSite = "sec-fetch-site",
    SecFetchMode = "sec-fetch-mode",
    SecFetchDest = "sec-fetch-dest",
    SecChUa = "sec-ch-ua",
    SecChUaMobile = "sec-ch-ua-mobile",
    SecChUaPlatform = "sec-ch-ua-platform",
    UpgradeInsecureRequests = "upgrade-insecure-requests",
    StrictTransportSecurity = "strict-transport-security",
    Priority = "priority",
    Dnt = "dnt",
    XCache = "x-cache",
}

const COUNT: usize = KnownHeader::ALL.len();

impl KnownHeader {
    /// Its value decides about framing, routing or the connection, so the parser reads it.
    #[inline(always)]
    pub(crate) const fn decides(self) -> bool {
        self as u8 <= Self::Upgrade as u8
    }

    /// Meant for one connection only, whatever `Connection` says (RFC 9110 section 7.6.1).
    #[inline(always)]
    #[must_use]
    pub const fn hop_by_hop(self) -> bool {
        let n = self as u8;
        n >= Self::TransferEncoding as u8 && n <= Self::ProxyAuthorization as u8
    }
}

/// One known name, a cache line each. The name starts in the middle so that it can be read at any shift to the right.
#[repr(C, align(64))]
struct Slot {
    bytes: [u8; 64],
}

/// Where the name starts within a slot.
const MIDDLE: usize = 32;
/// No known name is longer: one vector compares it.
const NAME_MAX: usize = 32;
const TABLE_BITS: u32 = 9;

/// What the parser keeps of a name.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub id: KnownHeader,
    pub hop_by_hop: bool,
}

/// What the hash says about a name: it can only be this one.
#[derive(Clone, Copy)]
struct Candidate {
    known: Known,
    len: u8,
}

const OTHER: Known = Known { id: KnownHeader::Other, hop_by_hop: false };
const NOBODY: Candidate = Candidate { known: OTHER, len: 0 };

/// A perfect hash over (first, last, three-quarters byte, length); its multiplier is searched when compiling.
struct Table {
    multiplier: u32,
    candidates: [Candidate; 1 << TABLE_BITS],
}

static TABLE: Table = Table::build();
/// One more than there are names, for `Other`: so every id has a slot and nothing needs a bounds check.
static SLOTS: [Slot; COUNT + 1] = Slot::all();

/// Bit 5 folds letters. It also merges some bytes that are no letters, which the comparison tells apart.
const fn key(first: u8, last: u8, quarter: u8, len: usize) -> u32 {
    u32::from_le_bytes([first | 0x20, last | 0x20, quarter | 0x20, len as u8])
}

const fn bucket(key: u32, multiplier: u32) -> usize {
    (key.wrapping_mul(multiplier) >> (32 - TABLE_BITS)) as usize
}

#[allow(clippy::indexing_slicing, reason = "evaluated when compiling: an overrun is a compile error")]
impl Table {
    const fn build() -> Self {
        let mut multiplier: u32 = 0x27d5_6191;
        loop {
            if let Some(candidates) = Self::fill(multiplier) {
                return Self { multiplier, candidates };
            }
            multiplier = multiplier.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f) | 1;
        }
    }

    const fn fill(multiplier: u32) -> Option<[Candidate; 1 << TABLE_BITS]> {
        let mut candidates = [NOBODY; 1 << TABLE_BITS];
        let mut i = 0;
        while i < COUNT {
            let id = KnownHeader::ALL[i];
            let name = id.as_str().as_bytes();
            let n = name.len();
            let at = bucket(key(name[0], name[n - 1], name[n * 3 / 4], n), multiplier);
            if candidates[at].len != 0 {
                return None;
            }
            candidates[at] = Candidate { known: Known { id, hop_by_hop: id.hop_by_hop() }, len: n as u8 };
            i += 1;
        }
        Some(candidates)
    }
}

#[allow(clippy::indexing_slicing, reason = "evaluated when compiling: an overrun is a compile error")]
impl Slot {
    const fn all() -> [Self; COUNT + 1] {
        let mut slots = [const { Self { bytes: [0; 64] } }; COUNT + 1];
        let mut i = 0;
        while i < COUNT {
            let name = KnownHeader::ALL[i].as_str().as_bytes();
            assert!(name.len() <= NAME_MAX);
            let mut j = 0;
            while j < name.len() {
                slots[i].bytes[MIDDLE + j] = name[j];
                j += 1;
            }
            i += 1;
        }
        slots
    }
}

impl KnownHeader {
    /// The known header of a name in any case.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Self {
        let at = |i: usize| name.get(i).copied().unwrap_or(0);
        let n = name.len();
        let candidate = candidate(key(at(0), at(n.wrapping_sub(1)), at(n * 3 / 4), n));
        let id = candidate.known.id;
        if id.as_str().as_bytes().eq_ignore_ascii_case(name) { id } else { Self::Other }
    }
}

/// The one known name that a name of `len` bytes can be, by three of its bytes.
#[inline(always)]
fn candidate(key: u32) -> Candidate {
    TABLE.candidates.get(bucket(key, TABLE.multiplier)).copied().unwrap_or(NOBODY)
}

/// The known header that this span of `bytes` names. A name that matches is a token.
#[inline(always)]
pub(crate) fn lookup<S: Simd>(simd: S, bytes: &[u8], name: Span) -> Known {
    let start = name.start as usize;
    match bytes.get(start..start + 32).and_then(|block| block.first_chunk()) {
        Some(block) => lookup_in(simd, block, 0, name.end - name.start),
        None => lookup_near_end(simd, bytes, name),
    }
}

/// Near the end of the buffer the block has to start before the name.
#[inline(always)]
fn lookup_near_end<S: Simd>(simd: S, bytes: &[u8], name: Span) -> Known {
    match window(bytes, name.start as usize) {
        Some((block, shift)) => lookup_in(simd, block, shift, name.end - name.start),
        None => {
            let id = KnownHeader::from_name(name.of(bytes));
            Known { id, hop_by_hop: id.hop_by_hop() }
        }
    }
}

/// The known header whose name takes `len` bytes from `shift` on.
#[inline(always)]
fn lookup_in<S: Simd>(simd: S, block: &[u8; 32], shift: u32, len: u32) -> Known {
    // Masked, an index cannot leave the block; where the mask changes it, the name is too long to be known.
    let at = |i: u32| block.get((shift.wrapping_add(i) % 32) as usize).copied().unwrap_or(0);
    let candidate = candidate(key(at(0), at(len.wrapping_sub(1)), at(len.wrapping_mul(3) / 4), len as usize));
    // The slot is read as much further to the left as the name is to the right.
    let slot = SLOTS.get(candidate.known.id as usize);
    let Some(known) = slot.and_then(|s| s.bytes.get(MIDDLE - shift as usize % 32..)?.first_chunk()) else {
        return OTHER;
    };
    let equal = simd.equal_folded(block, known) >> (shift % 32);
    let beyond = (u64::MAX << (len % 64)) as u32;
    // No candidate has length 0, nor more than 32.
    if u32::from(candidate.len) == len && len != 0 && equal | beyond == u32::MAX {
        candidate.known
    } else {
        OTHER
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Scalar;

    /// Every name; under Miri, which is a thousand times slower, a few.
    fn names() -> impl Iterator<Item = &'static KnownHeader> {
        KnownHeader::ALL.iter().step_by(if cfg!(miri) { 30 } else { 1 })
    }

    #[test]
    fn every_name_is_found_in_any_case_and_at_any_distance_from_the_end() {
        for id in names() {
            for name in [id.as_str().to_owned(), id.as_str().to_uppercase()] {
                assert_eq!(KnownHeader::from_name(name.as_bytes()), *id);
                for after in 0..40 {
                    let bytes = [b"before: x\r\n", name.as_bytes(), &b":".repeat(after)].concat();
                    assert_eq!(
                        lookup(Scalar, &bytes, Span::new(11, 11 + name.len())).id,
                        *id,
                        "{name} with {after} bytes after it"
                    );
                    #[cfg(all(target_arch = "x86_64", not(miri)))]
                    if let Some(avx2) = crate::scan::Avx2::detect() {
                        assert_eq!(
                            lookup(avx2, &bytes, Span::new(11, 11 + name.len())).id,
                            *id,
                            "{name} with {after} bytes after it"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn near_misses_are_other_names() {
        for id in names() {
            let name = id.as_str().as_bytes();
            for at in 0..name.len() {
                // Bit 5 folds letters; of `-` and digits it makes control bytes, which are no letters.
                for flip in [0x01, 0x02, 0x10, 0x40, 0x80] {
                    let mut other = name.to_vec();
                    other[at] ^= flip;
                    assert_eq!(
                        KnownHeader::from_name(&other),
                        KnownHeader::from_name(&other.to_ascii_lowercase())
                    );
                    let mut line = other.clone();
                    line.extend_from_slice(&[b':'; 40]);
                    assert_eq!(
                        lookup(Scalar, &line, Span::new(0, other.len())).id,
                        KnownHeader::from_name(&other)
                    );
                }
            }
            for other in [&name[1..], &name[..name.len() - 1], &[name, b"x"].concat()] {
                assert_ne!(KnownHeader::from_name(other), *id);
            }
        }
        for other in [&b""[..], b"x", b"x-unknown", &b"h".repeat(32), &b"h".repeat(33), &b"h".repeat(300)] {
            assert_eq!(KnownHeader::from_name(other), KnownHeader::Other);
            let line = [other, &[b':'; 40]].concat();
            assert_eq!(lookup(Scalar, &line, Span::new(0, other.len())).id, KnownHeader::Other);
        }
    }

    #[test]
    fn hop_by_hop_names_are_those_of_the_rfc() {
        let hop: Vec<_> =
            KnownHeader::ALL.iter().filter(|id| id.hop_by_hop()).map(|id| id.as_str()).collect();
        assert_eq!(
            hop,
            [
                "transfer-encoding",
                "connection",
                "upgrade",
                "keep-alive",
                "proxy-connection",
                "te",
                "trailer",
                "proxy-authenticate",
                "proxy-authorization"
            ]
        );
    }
}
