//! The way back: an upstream's response to the client, and into the cache where the route says so.

use crate::core::Core;
use crate::exchange::Exchange;
use crate::forward::{self, CacheNote, Delivery};
use crate::integrate::{Timeouts, high_water};
use crate::rest::compress::Encoder;
use crate::rest::write::coding_of_relayed;
use crate::standard::{self, Ask};
use bytes::Bytes;
use sluice_cache::standard::{Moment, Stored};
use sluice_cache::{Entry, Validity};
use sluice_h1::{Body, BodyError, HeadBytes};
use sluice_h2::{In, Out};
use sluice_server::After;
use sluice_snapshot::CacheKeyPart;
use sluice_telemetry::{CacheOutcome, Refusal};
use sluice_wire::{BodyFraming, KnownHeader, Method, ResponseHead, enc};
use std::io;

/// Bodies at least this long go from socket to socket by splice(2).
const SPLICE_BYTES: u64 = 64 * 1024;

/// What may be stored, decided before the request went out.
pub(crate) struct StoreRule {
    pub(crate) ttl_ms: u64,
    pub(crate) entry_max_bytes: u64,
    /// The parts of the cache key: a `Vary` outside them forbids storing.
    pub(crate) parts: Vec<CacheKeyPart>,
    /// The request carried credentials (RFC 9111 3.5).
    pub(crate) authorized: bool,
}

/// What the cache wants of an answer.
#[derive(Clone, Copy)]
pub(crate) enum Caching<'a> {
    /// Nothing.
    Off,
    /// To store it by the route's time to live.
    Ttl(&'a StoreRule),
    /// What RFC 9111 says.
    Standard(&'a Ask),
}

/// How a relay ended.
pub(crate) struct Relayed {
    pub(crate) after: After,
    /// The upstream connection may carry another request.
    pub(crate) upstream_clean: bool,
    /// The upstream broke off.
    pub(crate) upstream_failed: bool,
    /// A complete answer that may be stored.
    pub(crate) entry: Option<Entry>,
}

/// One response on its way.
pub(crate) struct Relay<'a> {
    pub(crate) core: &'a Core,
    pub(crate) cs: Out<'a>,
    pub(crate) us: Out<'a>,
    pub(crate) timeouts: Timeouts,
    pub(crate) caching: Caching<'a>,
    /// When the request went out.
    pub(crate) asked_ms: u64,
    pub(crate) keep: bool,
}

pub(crate) enum Broken {
    Client,
    Upstream(Refusal),
}

impl Relay<'_> {
    pub(crate) async fn run(
        &self,
        ex: &mut Exchange,
        ui: &mut In<'_>,
        head: &ResponseHead,
        bytes: HeadBytes,
    ) -> Relayed {
        // Only an integration that asks with another method than the client's has a body for HEAD.
        let unasked = ex.head.method == Method::Head
            && !matches!(head.framing, BodyFraming::None | BodyFraming::Length(0));
        let coding = if unasked { None } else { coding_of_relayed(ex, head) };
        let delivery = match (unasked, coding) {
            (true, _) => Delivery::NoBody,
            (false, Some(_)) => Delivery::Chunked,
            (false, None) => Delivery::of(head.framing, ex.is_http10()),
        };
        let keep = self.keep && delivery != Delivery::Close;
        ex.report.status = head.status;
        let mut copy = self.copy(head, bytes.as_slice());
        let cache = match self.caching {
            Caching::Off => CacheNote::None,
            Caching::Ttl(_) => cache_header(ex.report.cache),
            Caching::Standard(ask) => {
                ask.on_head(self.core, ex, head, bytes.as_slice(), self.core.moment(self.asked_ms));
                match ask.silent {
                    true => CacheNote::None,
                    false => CacheNote::Status { forwarded: ask.forwarded, stored: copy.is_some() },
                }
            }
        };
        let response = forward::ResponseOut { head, bytes: bytes.as_slice(), delivery, keep, cache, coding };
        let written = forward::response_head(self.cs, self.core, ex, &response);
        ex.report.bytes_out += written as u64;
        let is_large = matches!(head.framing, BodyFraming::Length(SPLICE_BYTES..));
        if !(is_large && copy.is_none() && coding.is_none() && self.cs.socket().is_some()) {
            self.us.set_bulk(false);
        }
        bytes.recycle(&self.core.scratch);
        if unasked {
            let after = if keep { After::KeepAlive } else { After::Close };
            return Relayed { after, upstream_clean: false, upstream_failed: false, entry: None };
        }
        // The limits bound trailers; those of the client's side serve both.
        let mut body = Body::new(head.framing, &ex.view.snapshot.server.limits);
        let mut encoder = coding.map(Encoder::new);
        let result = self.body(ui, &mut body, delivery, &mut copy, &mut encoder).await;
        ex.report.bytes_out += encoder.map_or(body.received, |encoder| encoder.total);
        match result {
            Ok(()) => Relayed {
                after: if keep { After::KeepAlive } else { After::Close },
                upstream_clean: head.keep_alive && head.framing != BodyFraming::UntilClose,
                upstream_failed: false,
                entry: copy.map(|c| c.finish(sluice_rt::now_ms())),
            },
            Err(broken) => {
                let upstream = matches!(broken, Broken::Upstream(_));
                ex.report.refusal = Some(match broken {
                    Broken::Client => Refusal::ClientGone,
                    Broken::Upstream(why) => why,
                });
                Relayed { after: After::Abort, upstream_clean: false, upstream_failed: upstream, entry: None }
            }
        }
    }

    /// The copy for the cache, if the response may be stored.
    fn copy(&self, head: &ResponseHead, bytes: &[u8]) -> Option<Copy> {
        match self.caching {
            Caching::Off => None,
            Caching::Ttl(rule) => Copy::start(rule, head, bytes),
            Caching::Standard(ask) => Copy::by_standard(ask, head, bytes, self.core.moment(self.asked_ms)),
        }
    }

    async fn body(
        &self,
        ui: &mut In<'_>,
        body: &mut Body,
        delivery: Delivery,
        copy: &mut Option<Copy>,
        encoder: &mut Option<Encoder>,
    ) -> Result<(), Broken> {
        let mut trailers = Vec::new();
        let chunked = delivery == Delivery::Chunked;
        loop {
            // What has come already goes out with the head.
            let mut data = ui.ready(body, &mut trailers).map_err(upstream_error)?;
            if data.is_empty() && !body.is_done() {
                if let Some(encoder) = encoder.as_mut().filter(|_| body.remaining().is_none()) {
                    self.coded(encoder.flush())?;
                }
                self.cs.flush();
                if copy.is_none()
                    && encoder.is_none()
                    && let Some(left) = body.remaining()
                    && left >= SPLICE_BYTES
                    && let (Some(from), Some(to)) = (self.us.socket(), self.cs.socket())
                {
                    self.splice(from, to, body, left).await?;
                    continue;
                }
                self.us.set_deadline_ms(Some(sluice_rt::now_ms() + self.timeouts.read));
                data = ui.data(body, &mut trailers).await.map_err(upstream_error)?;
            }
            if data.is_empty() {
                break;
            }
            match encoder {
                Some(encoder) => self.coded(encoder.push(data))?,
                None => self.cs.piece(data, chunked, body.is_done() && !chunked),
            }
            if copy.as_mut().is_some_and(|c| !c.push(data)) {
                *copy = None;
            }
            if self.cs.is_broken() {
                return Err(Broken::Client);
            }
            let bounded = copy.is_some() && matches!(delivery, Delivery::Sized(_));
            if !bounded && self.cs.unsent_bytes() > high_water(self.cs) {
                self.cs.flush();
                self.cs.set_deadline_ms(Some(sluice_rt::now_ms() + self.timeouts.client));
                self.cs.flushed().await.map_err(|_| Broken::Client)?;
            }
        }
        if let Some(encoder) = encoder {
            self.coded(encoder.finish())?;
        }
        if chunked {
            forward::end_body(self.cs, &trailers);
        }
        Ok(())
    }

    /// Sends what an encoder has made, if it has made anything.
    fn coded(&self, made: io::Result<&[u8]>) -> Result<(), Broken> {
        let made = made.map_err(|_| Broken::Upstream(Refusal::Internal))?;
        if !made.is_empty() {
            self.cs.piece(made, true, false);
        }
        Ok(())
    }

    /// Moves the rest of a sized body without it passing through user space.
    async fn splice(
        &self,
        from: &sluice_rt::Stream,
        to: &sluice_rt::Stream,
        body: &mut Body,
        left: u64,
    ) -> Result<(), Broken> {
        let idle_ms = self.timeouts.read.min(self.timeouts.client);
        // The next response on this connection is likely to be large, too.
        from.set_bulk(true);
        match from.splice_to(to, left).idle_timeout_ms(idle_ms).await {
            Ok(moved) => {
                body.skip(moved);
                if moved < left { Err(Broken::Upstream(Refusal::UpstreamReset)) } else { Ok(()) }
            }
            Err(e) if e.kind() == io::ErrorKind::TimedOut => Err(Broken::Upstream(Refusal::UpstreamTimeout)),
            Err(_) => Err(Broken::Client),
        }
    }
}

pub(crate) fn upstream_error(error: BodyError) -> Broken {
    Broken::Upstream(match error {
        BodyError::Io(e) if e.kind() == io::ErrorKind::TimedOut => Refusal::UpstreamTimeout,
        BodyError::Io(_) | BodyError::Truncated => Refusal::UpstreamReset,
        BodyError::Chunk(_) => Refusal::UpstreamMalformed,
    })
}

/// A response being copied for the cache.
pub(crate) struct Copy {
    status: u16,
    head: Bytes,
    body: Vec<u8>,
    kept: Kept,
    max: usize,
}

/// For how long.
enum Kept {
    /// From when it is whole.
    Ttl { ttl_ms: u64 },
    /// As it says itself, from when its head came.
    Standard { stored: Box<Stored>, received_ms: u64 },
}

/// Whether a body is short enough, as far as its head says.
fn fits(framing: BodyFraming, max: u64) -> bool {
    !matches!(framing, BodyFraming::Length(n) if n > max)
}

impl Copy {
    /// `None` where the response may not be stored.
    fn start(rule: &StoreRule, head: &ResponseHead, bytes: &[u8]) -> Option<Self> {
        let max = usize::try_from(rule.entry_max_bytes).unwrap_or(usize::MAX);
        if !fits(head.framing, rule.entry_max_bytes) || !storable(rule, head, bytes) {
            return None;
        }
        let mut lines = Vec::with_capacity(bytes.len());
        for h in &head.headers {
            let own = matches!(h.id, KnownHeader::ContentLength | KnownHeader::Date | KnownHeader::Age);
            let name = h.name.of(bytes);
            if !h.hop_by_hop && !own && !forward::is_request_id(name) {
                enc::header(&mut lines, name, h.value.of(bytes));
            }
        }
        let kept = Kept::Ttl { ttl_ms: rule.ttl_ms };
        Some(Self { status: head.status, head: lines.into(), body: Vec::new(), kept, max })
    }

    /// The same by RFC 9111.
    pub(crate) fn by_standard(ask: &Ask, head: &ResponseHead, bytes: &[u8], at: Moment) -> Option<Self> {
        if !fits(head.framing, ask.entry_max_bytes) {
            return None;
        }
        let stored = ask.may_store(head, bytes, at)?;
        Some(Self {
            status: head.status,
            head: standard::head_to_store(head, bytes, at),
            body: Vec::new(),
            kept: Kept::Standard { stored: Box::new(stored), received_ms: at.received_ms },
            max: usize::try_from(ask.entry_max_bytes).unwrap_or(usize::MAX),
        })
    }

    /// `false` once it has grown too large to store.
    pub(crate) fn push(&mut self, data: &[u8]) -> bool {
        let fits = self.body.len() + data.len() <= self.max;
        if fits {
            self.body.extend_from_slice(data);
        }
        fits
    }

    pub(crate) fn finish(self, now_ms: u64) -> Entry {
        let (stored_at_ms, expires_at_ms, validity) = match self.kept {
            Kept::Ttl { ttl_ms } => (now_ms, now_ms + ttl_ms, Validity::Ttl),
            Kept::Standard { stored, received_ms } => {
                (received_ms, stored.keep_until_ms(received_ms), Validity::Standard(stored))
            }
        };
        let body = Bytes::from(self.body);
        Entry { status: self.status, head: self.head, body, stored_at_ms, expires_at_ms, validity }
    }
}

/// A TTL cache stores what the route says, but never what would be wrong for another caller: only complete successes, no
/// cookies, nothing that the origin marks private, nothing that varies by a header outside the key, and no answer to
/// credentials that are not in the key (RFC 9111 3, 3.5, 4.1).
fn storable(rule: &StoreRule, head: &ResponseHead, bytes: &[u8]) -> bool {
    if !(200..300).contains(&head.status) || head.status == 206 {
        return false;
    }
    let mut shared = false;
    for h in &head.headers {
        let value = h.value.of(bytes);
        match h.id {
            KnownHeader::SetCookie => return false,
            KnownHeader::CacheControl => {
                if has_directive(value, b"no-store") || has_directive(value, b"private") {
                    return false;
                }
                shared |= has_directive(value, b"public")
                    || has_directive(value, b"s-maxage")
                    || has_directive(value, b"must-revalidate");
            }
            KnownHeader::Vary if !keyed(rule, value) => return false,
            _ => {}
        }
    }
    !rule.authorized || shared
}

/// Whether every header that `Vary` names is part of the key.
fn keyed(rule: &StoreRule, vary: &[u8]) -> bool {
    list(vary).all(|name| {
        rule.parts.iter().any(|part| matches!(part, CacheKeyPart::Header(h) if h.eq_ignore_ascii_case(name)))
    })
}

/// What `x-cache` says; nothing on routes without a cache.
fn cache_header(outcome: CacheOutcome) -> CacheNote {
    match outcome {
        CacheOutcome::None => CacheNote::None,
        CacheOutcome::Hit => CacheNote::XCache("HIT"),
        CacheOutcome::Miss | CacheOutcome::Refresh => CacheNote::XCache("MISS"),
    }
}

/// Elements of a comma-separated list (RFC 9110 5.6.1).
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|e| !e.is_empty())
}

/// Whether a `Cache-Control` value has a directive, with or without an argument.
pub(crate) fn has_directive(value: &[u8], name: &[u8]) -> bool {
    list(value)
        .any(|d| d.split(|b| *b == b'=').next().is_some_and(|n| n.trim_ascii().eq_ignore_ascii_case(name)))
}
