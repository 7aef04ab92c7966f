//! The cache step in the standards mode (RFC 9111, RFC 5861): routes with `cache = "standard"`.
//!
//! ```text
//! look-up ─ fresh, or stale and allowed ──> answer (200, 206, 304, 416)   ─ stale-while-revalidate ──> ask in the background
//!    │                                                                          │
//!    ├─ stale, with a validator ──> ask with it ── 304 ──> freshen, answer  <───┘
//!    ├─ nothing ──────────────────> ask ─── answer ─> relay, store
//!    │                               └──── failure ─> stale answer if `stale-if-error` allows it, else 504
//!    └─ unsafe method ────────────> ask ─── success ─> invalidate the URI, `Location` and `Content-Location`, relay
//! ```
//! What may be stored and when it may be used is decided by `sluice_cache::standard`; here are the look-ups, one flight per
//! key, and the ways to the upstream. The key is the URI: routes of one host and path share what is stored.

use crate::core::Core;
use crate::exchange::{Exchange, Refused};
use crate::integrate::{Held, integrate};
use crate::relay::Caching;
use crate::{background, forward, respond};
use bytes::Bytes;
use sluice_cache::standard::{
    Fields, Moment, RequestControl, Stored, Variants, Vary, Verdict, freshen, judge, push_variant,
    stored_head,
};
use sluice_cache::{CacheKey, Entry, Flight, KeyBuilder, Validity, standard};
use sluice_server::{After, Conn};
use sluice_snapshot::{CacheMode, CachePlan, Route};
use sluice_telemetry::{CacheOutcome, Refusal};
use sluice_wire::{BodyFraming, KnownHeader, Method, ResponseHead};
use std::rc::Rc;
use std::sync::Arc;

/// What the look-up came to.
pub(crate) enum Found {
    /// Answer with this.
    Answer(Arc<Entry>),
    /// Answer with this, and validate it.
    AnswerAndRevalidate(Arc<Entry>, Box<Ask>),
    /// The client wants nothing else, and there is nothing.
    NotCached,
    /// The upstream is asked.
    Ask(Box<Ask>),
}

/// A question for the upstream, and what becomes of the answer.
pub(crate) struct Ask {
    /// Key of the URI.
    primary: CacheKey,
    /// Key of the variant, if variants are known; else that of the URI.
    key: CacheKey,
    pub(crate) request: standard::Request,
    purpose: Purpose,
    /// What is stored already and only needs validation.
    pub(crate) old: Option<Arc<Entry>>,
    /// Answer with `old` should the upstream fail.
    pub(crate) stale_if_error: bool,
    pub(crate) entry_max_bytes: u64,
    /// Names added to each `Vary`.
    vary: Vec<Box<[u8]>>,
    /// The route has no cache of this mode: the answer does not speak of it.
    pub(crate) silent: bool,
    pub(crate) forwarded: Forwarded,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Relay, neither store nor share.
    Pass,
    /// Relay and store.
    Fill,
    /// Relay; on success what is stored is no longer true.
    Invalidate,
}

/// Why a request went on to the upstream (RFC 9211 section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forwarded {
    Bypass,
    Method,
    UriMiss,
    VaryMiss,
    Request,
    Stale,
}

impl Forwarded {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
        }
    }
}

/// How an answer came from the store, for `Cache-Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// Without asking.
    Hit,
    /// Another request's question brought it.
    Collapsed,
    /// The upstream said 304.
    Validated,
    /// The upstream failed.
    StaleIfError,
}

/// A request's fields as the rules read them.
pub(crate) fn fields(ex: &Exchange) -> Fields<'_> {
    Fields { headers: &ex.head.headers, bytes: ex.bytes.as_slice() }
}

/// Looks a request up.
pub(crate) fn look_up(core: &Core, ex: &mut Exchange, plan: &CachePlan) -> Found {
    let mut request = standard::Request::of(fields(ex));
    // The operator keeps answers to credentials apart: then they are shared with nobody (section 3.5).
    request.authorized &= !plan.vary.iter().any(|name| **name == *b"authorization");
    let control = request.control;
    let (purpose, forwarded) = purpose(ex, &control);
    let mut builder = core.cache_keys.borrow_mut();
    uri_key(&mut builder, &Uri::of(ex));
    if forwarded == Forwarded::Bypass || purpose == Purpose::Invalidate {
        return Found::Ask(Ask::new(&mut builder, ex, plan, request, (purpose, forwarded)));
    }
    let (entry, missed) = find(&mut builder, ex);
    let judged = entry.and_then(|entry| {
        let verdict = judge(entry.stored()?, entry.stored_at_ms, &control, sluice_rt::now_ms());
        Some((entry, verdict))
    });
    let (outcome, found) = match judged {
        Some((entry, Verdict::Fresh | Verdict::Stale)) => (CacheOutcome::Hit, Found::Answer(entry)),
        Some((entry, Verdict::Revalidate)) => {
            let mut ask = Ask::new(&mut builder, ex, plan, request, (Purpose::Fill, Forwarded::Stale));
            ask.validate(&entry, false);
            (CacheOutcome::Hit, Found::AnswerAndRevalidate(entry, ask))
        }
        _ if control.only_if_cached => (CacheOutcome::Miss, Found::NotCached),
        Some((entry, Verdict::Validate { stale_if_error })) => {
            let mut ask = Ask::new(&mut builder, ex, plan, request, (purpose, missed));
            ask.validate(&entry, stale_if_error);
            (CacheOutcome::Refresh, Found::Ask(ask))
        }
        None => {
            let ask = Ask::new(&mut builder, ex, plan, request, (purpose, missed));
            (CacheOutcome::Miss, Found::Ask(ask))
        }
    };
    drop(builder);
    ex.report.cache = outcome;
    found
}

/// Whether a request may change what another route has stored: an unsafe method, asked of a route without this mode, where
/// some route has it. Section 4.4 is about URIs, not routes.
#[inline]
pub(crate) fn is_foreign_change(ex: &Exchange, route: &Route) -> bool {
    ex.view.snapshot.caches_by_standard
        && !matches!(ex.head.method, Method::Get | Method::Head | Method::Options | Method::Trace)
        && route.cache.as_ref().is_none_or(|plan| plan.mode != CacheMode::Standard)
}

/// The question such a request asks: relayed, and on success what is stored is invalidated.
pub(crate) fn foreign_change(core: &Core, ex: &Exchange) -> Box<Ask> {
    let mut builder = core.cache_keys.borrow_mut();
    uri_key(&mut builder, &Uri::of(ex));
    let key = builder.finish().to_owned();
    Box::new(Ask {
        primary: key.clone(),
        key,
        request: standard::Request::default(),
        purpose: Purpose::Invalidate,
        old: None,
        stale_if_error: false,
        entry_max_bytes: 0,
        vary: Vec::new(),
        silent: true,
        forwarded: Forwarded::Method,
    })
}

impl Ask {
    /// `builder` holds the key of the variant.
    fn new(
        builder: &mut KeyBuilder,
        ex: &Exchange,
        plan: &CachePlan,
        request: standard::Request,
        (purpose, forwarded): (Purpose, Forwarded),
    ) -> Box<Self> {
        let key = builder.finish().to_owned();
        uri_key(builder, &Uri::of(ex));
        Box::new(Self {
            primary: builder.finish().to_owned(),
            key,
            request,
            purpose,
            old: None,
            stale_if_error: false,
            entry_max_bytes: plan.entry_max_bytes,
            vary: plan.vary.clone(),
            silent: false,
            forwarded,
        })
    }

    fn validate(&mut self, entry: &Arc<Entry>, stale_if_error: bool) {
        let control = &self.request.control;
        let asked = control.no_cache || control.max_age_s.is_some() || control.min_fresh_s.is_some();
        self.forwarded = if asked { Forwarded::Request } else { Forwarded::Stale };
        self.stale_if_error = stale_if_error;
        self.old = Some(Arc::clone(entry));
    }

    /// What is to be validated, in requests that may be answered from the store.
    pub(crate) fn validating(&self) -> Option<&Stored> {
        let stored = self.old.as_ref().filter(|_| self.purpose == Purpose::Fill)?.stored()?;
        stored.can_validate().then_some(stored)
    }

    /// Whether the answer is stored; `None`: no, or it may not be.
    pub(crate) fn may_store(&self, head: &ResponseHead, bytes: &[u8], at: Moment) -> Option<Stored> {
        if self.purpose != Purpose::Fill {
            return None;
        }
        let fields = Fields { headers: &head.headers, bytes };
        if Vary::of(fields, &self.vary) == Vary::Always {
            return None;
        }
        Stored::of(&self.request, head.status, fields, fields, at)
    }

    /// Whether the cache answers rather than the upstream's response with this head.
    pub(crate) fn hold(&self, head: &ResponseHead, bytes: &[u8], at: Moment) -> Option<Held> {
        if head.status == 304 && self.validating().is_some() {
            let fields = Fields { headers: &head.headers, bytes };
            let old = self.old.as_ref()?;
            let (entry, keep) = freshen(old, &self.request, fields, at, forward::is_request_id);
            return Some(Held::Validated { entry, keep });
        }
        // RFC 5861 section 4 names these.
        (self.stale_if_error && matches!(head.status, 500 | 502 | 503 | 504)).then_some(Held::Failed)
    }

    /// What the head of an answer says of what is stored. Called before the client hears of it, so that its next request
    /// sees the change.
    pub(crate) fn on_head(&self, core: &Core, ex: &Exchange, head: &ResponseHead, bytes: &[u8], at: Moment) {
        if ex.head.method == Method::Head && head.status == 200 {
            self.by_head(core, ex, Fields { headers: &head.headers, bytes }, at);
        }
        self.by_change(core, ex, head, bytes);
    }

    /// Section 4.3.5: the head of a GET's answer, without asking for its body. What agrees with it is fresh again, what does
    /// not is no longer true.
    fn by_head(&self, core: &Core, ex: &Exchange, fields: Fields<'_>, at: Moment) {
        let Some((old, stored)) = self.old.as_ref().and_then(|old| Some((old, old.stored()?))) else {
            return;
        };
        let length = fields.first(KnownHeader::ContentLength);
        let says =
            |id, known: &Option<Bytes>| fields.first(id).is_none_or(|new| known.as_deref() == Some(new));
        let same = length.is_none_or(|length| length == old.body.len().to_string().as_bytes())
            && says(KnownHeader::Etag, &stored.etag)
            && says(KnownHeader::LastModified, &stored.last_modified);
        if same {
            let (entry, keep) = freshen(old, &self.request, fields, at, forward::is_request_id);
            if keep {
                self.store(core, ex, entry, at.asked_ms);
            }
        } else {
            ex.view.snapshot.cache.invalidate(self.key.as_key_ref(), sluice_rt::now_ms());
        }
    }

    /// Section 4.4: a change that succeeded makes what is stored under its URIs untrue.
    fn by_change(&self, core: &Core, ex: &Exchange, head: &ResponseHead, bytes: &[u8]) {
        if self.purpose != Purpose::Invalidate || !(200..400).contains(&head.status) {
            return;
        }
        let cache = &ex.view.snapshot.cache;
        let now_ms = sluice_rt::now_ms();
        cache.invalidate(self.primary.as_key_ref(), now_ms);
        let own = Uri::of(ex);
        let mut builder = core.cache_keys.borrow_mut();
        for id in [KnownHeader::Location, KnownHeader::ContentLocation] {
            let target = head.find(id).and_then(|h| own.join(h.value.of(bytes)));
            if let Some(target) = target {
                uri_key(&mut builder, &target);
                cache.invalidate(builder.finish(), now_ms);
            }
        }
    }

    /// Stores an answer that was asked for at `asked_ms` under the key of its variant. `None`: the URI was invalidated
    /// meanwhile.
    pub(crate) fn store(
        &self,
        core: &Core,
        ex: &Exchange,
        entry: Entry,
        asked_ms: u64,
    ) -> Option<Arc<Entry>> {
        let cache = &ex.view.snapshot.cache;
        let Vary::By(names) = stored_vary(&entry, &self.vary) else { return None };
        if names.is_empty() {
            return cache.insert_asked(self.primary.as_key_ref(), entry, asked_ms);
        }
        let known = cache.get(self.primary.as_key_ref(), sluice_rt::now_ms());
        let known = known.as_ref().and_then(|entry| match &entry.validity {
            Validity::Variants(variants) => Some(&**variants),
            _ => None,
        });
        let fresh;
        let variants = match known {
            Some(variants) if variants.cover(&names) => variants,
            other => {
                let names = other.map_or(names.clone(), |other| Vary::joined(names, other));
                fresh = Variants { names: names.into(), generation: cache.next_generation() };
                cache.insert_asked(self.primary.as_key_ref(), marker(&fresh), asked_ms)?;
                &fresh
            }
        };
        let mut builder = core.cache_keys.borrow_mut();
        uri_key(&mut builder, &Uri::of(ex));
        push_variant(&mut builder, variants, fields(ex));
        cache.insert_asked(builder.finish(), entry, asked_ms)
    }
}

/// What says which variants of a URI there are.
fn marker(variants: &Variants) -> Entry {
    Entry {
        status: 0,
        head: Bytes::new(),
        body: Bytes::new(),
        stored_at_ms: sluice_rt::now_ms(),
        expires_at_ms: u64::MAX,
        validity: Validity::Variants(Box::new(variants.clone())),
    }
}

fn stored_vary(entry: &Entry, more: &[Box<[u8]>]) -> Vary {
    let headers = standard::index(&entry.head);
    Vary::of(Fields { headers: &headers, bytes: &entry.head }, more)
}

/// What a request is for, and if it is not looked up, why.
fn purpose(ex: &Exchange, control: &RequestControl) -> (Purpose, Forwarded) {
    let head = &ex.head;
    let bare = matches!(head.framing, BodyFraming::None | BodyFraming::Length(0));
    // Preconditions other than those that a cache evaluates (RFC 9110 section 13.1) go to the origin.
    let conditional =
        head.find(KnownHeader::IfMatch).is_some() || head.find(KnownHeader::IfUnmodifiedSince).is_some();
    match head.method {
        Method::Get | Method::Head if !bare || conditional || control.no_store => {
            (Purpose::Pass, Forwarded::Bypass)
        }
        Method::Get => (Purpose::Fill, Forwarded::UriMiss),
        Method::Head => (Purpose::Pass, Forwarded::UriMiss),
        Method::Options | Method::Trace => (Purpose::Pass, Forwarded::Bypass),
        // Also methods that nobody has heard of: they may change anything (section 4.4).
        _ => (Purpose::Invalidate, Forwarded::Method),
    }
}

/// The stored answer that a request selects, with `builder` left at its key; without one, which step missed.
fn find(builder: &mut KeyBuilder, ex: &Exchange) -> (Option<Arc<Entry>>, Forwarded) {
    let cache = &ex.view.snapshot.cache;
    let now_ms = sluice_rt::now_ms();
    let Some(entry) = cache.get(builder.finish(), now_ms) else { return (None, Forwarded::UriMiss) };
    let Validity::Variants(variants) = &entry.validity else { return (Some(entry), Forwarded::UriMiss) };
    push_variant(builder, variants, fields(ex));
    (cache.get(builder.finish(), now_ms), Forwarded::VaryMiss)
}

/// The parts of a URI that are its key.
struct Uri<'a> {
    authority: &'a [u8],
    path: &'a [u8],
    query: Option<&'a [u8]>,
}

impl<'a> Uri<'a> {
    fn of(ex: &'a Exchange) -> Self {
        let bytes = ex.bytes.as_slice();
        Self {
            authority: ex.head.authority.of(bytes),
            path: ex.head.path.of(bytes),
            query: ex.head.query.map(|q| q.of(bytes)),
        }
    }

    /// Another URI of the same host, written as absolute path or absolute URI; section 4.4 forbids to go further.
    fn join(&self, reference: &'a [u8]) -> Option<Self> {
        let rest = match reference.iter().position(|b| *b == b':') {
            Some(colon) if !reference.starts_with(b"/") => {
                let rest = reference.get(colon..)?.strip_prefix(b"://")?;
                let slash = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
                let (authority, rest) = rest.split_at_checked(slash)?;
                authority.eq_ignore_ascii_case(self.authority).then_some(rest)?
            }
            _ => reference,
        };
        let rest = rest.split(|b| *b == b'#').next()?;
        let question = rest.iter().position(|b| *b == b'?');
        let (path, query) = match question.and_then(|at| rest.split_at_checked(at)) {
            Some((path, query)) => (path, query.get(1..)),
            None => (rest, None),
        };
        let whole = path.starts_with(b"/") && !path.starts_with(b"//");
        whole.then_some(Self { authority: self.authority, path, query })
    }
}

fn uri_key(builder: &mut KeyBuilder, uri: &Uri<'_>) {
    // The mark keeps these apart from the keys of the TTL mode.
    builder.start().push_absent().push_lower(uri.authority).push(uri.path);
    match uri.query {
        Some(query) => builder.push(query),
        None => builder.push_absent(),
    };
}

/// Asks the upstream, or waits for whoever is asking the same.
pub(crate) async fn run(core: &Core, conn: &mut Conn, ex: &mut Exchange, mut ask: Box<Ask>) -> After {
    // A client that wants its own answer neither waits for nor shares another's.
    if ask.purpose != Purpose::Fill || ask.forwarded == Forwarded::Request || ranged(ex) {
        return alone(core, conn, ex, &ask).await.0;
    }
    let view = Rc::clone(&ex.view);
    match view.snapshot.flights.join(ask.key.as_key_ref()) {
        Flight::Leader(guard) => {
            // Between our look-up and this flight another may have landed.
            if let Some(entry) = again(core, ex, &mut ask) {
                guard.complete(Some(Arc::clone(&entry)));
                return answer(core, conn, ex, &entry, Served::Collapsed);
            }
            let (after, stored) = alone(core, conn, ex, &ask).await;
            guard.complete(stored);
            after
        }
        Flight::Follower(waiter) => {
            ex.bytes.detach(&core.scratch);
            conn.client.out().flush();
            let until_ms = sluice_rt::now_ms() + view.snapshot.server.body_timeout_ms;
            crate::cached::wait(waiter, until_ms).await;
            // What the other brought may be another variant, or not for us.
            match again(core, ex, &mut ask) {
                Some(entry) => answer(core, conn, ex, &entry, Served::Collapsed),
                None => alone(core, conn, ex, &ask).await.0,
            }
        }
    }
}

/// A range of something that is not stored: the upstream cuts it, and what it cuts is not stored.
fn ranged(ex: &Exchange) -> bool {
    ex.head.find(KnownHeader::Range).is_some()
}

/// Looks up once more; what is there but not fresh is what will be validated.
fn again(core: &Core, ex: &Exchange, ask: &mut Ask) -> Option<Arc<Entry>> {
    let mut builder = core.cache_keys.borrow_mut();
    uri_key(&mut builder, &Uri::of(ex));
    let entry = find(&mut builder, ex).0?;
    let verdict = judge(entry.stored()?, entry.stored_at_ms, &ask.request.control, sluice_rt::now_ms());
    if let Verdict::Validate { stale_if_error } = verdict {
        ask.validate(&entry, stale_if_error);
        return None;
    }
    Some(entry)
}

/// Asks the upstream for this exchange alone. Returns what was stored, too.
async fn alone(core: &Core, conn: &mut Conn, ex: &mut Exchange, ask: &Ask) -> (After, Option<Arc<Entry>>) {
    let asked_ms = sluice_rt::now_ms();
    let done = Box::pin(integrate(core, conn, ex, Caching::Standard(ask))).await;
    match done.held {
        None => (done.after, done.entry.and_then(|entry| ask.store(core, ex, entry, asked_ms))),
        Some(Held::Validated { entry, keep }) => {
            let stored = if keep { ask.store(core, ex, entry.clone(), asked_ms) } else { None };
            (answer(core, conn, ex, &entry, Served::Validated), stored)
        }
        Some(Held::Failed) => match &ask.old {
            Some(old) => (answer(core, conn, ex, old, Served::StaleIfError), None),
            None => (done.after, None),
        },
    }
}

/// Answers with what is stored.
fn answer(core: &Core, conn: &Conn, ex: &mut Exchange, entry: &Entry, served: Served) -> After {
    let keep = ex.client_keep_alive();
    if served == Served::Collapsed {
        ex.report.cache = CacheOutcome::Hit;
    }
    respond::stored(core, conn, ex, entry, served, keep);
    if keep { After::KeepAlive } else { After::Close }
}

/// Answers `only-if-cached` when there is nothing (section 5.2.1.7).
pub(crate) fn not_cached(core: &Core, conn: &Conn, ex: &mut Exchange, keep: bool) {
    respond::refuse(core, conn, ex, &Refused::from(Refusal::NotCached), keep);
}

/// Asks in the background, unless somebody does already.
pub(crate) fn revalidate(core: &Core, ex: &Exchange, ask: Box<Ask>) {
    if let Flight::Leader(guard) = ex.view.snapshot.flights.join(ask.key.as_key_ref())
        && let Some(core) = core.shared()
    {
        let ex = ex.detached();
        sluice_rt::spawn(async move {
            let stored = background::ask(&core, &ex, &ask).await;
            guard.complete(stored);
        });
    }
}

/// Header lines that are stored: the gateway's own are written for each answer.
pub(crate) fn head_to_store(head: &ResponseHead, bytes: &[u8], at: Moment) -> Bytes {
    let fields = Fields { headers: &head.headers, bytes };
    Bytes::from(stored_head(fields, at, forward::is_request_id))
}
