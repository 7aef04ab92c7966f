//! The cache step in the TTL mode: look-up before the integration, single-flight fill around it.
//!
//! Only GET without a body is served from the cache. The key is method, host, path as sent, and the parts that the route
//! names; the host and the parts are length-prefixed so that no two requests can spell the same key.
//!
//! `Cache-Control: max-age=0` or `no-cache` asks the upstream again and replaces what was stored (developer guide,
//! "Invalidate an API Gateway cache entry"); `no-store` neither reads nor stores.

use crate::auth;
use crate::core::Core;
use crate::exchange::Exchange;
use crate::integrate::{Integrated, integrate};
use crate::relay::{Caching, StoreRule, has_directive, list};
use crate::respond;
use crate::rest;
use sluice_cache::{CacheKey, Entry, Flight, KeyBuilder, Waiter};
use sluice_server::{After, Conn};
use sluice_snapshot::{Action, CacheKeyPart, CachePlan, Refresh};
use sluice_telemetry::CacheOutcome;
use sluice_wire::{BodyFraming, KnownHeader, Method};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

/// What the cache says of a request.
pub(crate) enum Lookup {
    /// Answer with this.
    Hit(Arc<Entry>),
    /// Ask the upstream and store.
    Fill(Fill),
    /// Not for the cache.
    Bypass,
    /// The client asked for a fresh answer, and may not.
    Forbidden,
}

/// A fill to be done.
pub(crate) struct Fill {
    key: CacheKey,
    rule: StoreRule,
    /// The client asked for a fresh answer: it does not share another's fill.
    refresh: bool,
}

/// Looks a request up.
#[inline]
pub(crate) fn look_up(core: &Core, ex: &mut Exchange, plan: &CachePlan) -> Lookup {
    let cacheable = ex.head.method == Method::Get
        && matches!(ex.head.framing, BodyFraming::None | BodyFraming::Length(0))
        && ex.head.find(KnownHeader::Range).is_none();
    let directives = if cacheable { directives(ex) } else { Directives { no_store: true, refresh: false } };
    if directives.no_store {
        return Lookup::Bypass;
    }
    let refresh = match (directives.refresh, plan.refresh) {
        (true, Refresh::Allowed) => true,
        (true, _) if auth::may_invalidate(ex, core) => true,
        (true, Refresh::Forbidden) => return Lookup::Forbidden,
        (true, Refresh::Warned) => {
            ex.report.refresh_ignored = true;
            false
        }
        (true, Refresh::Ignored) | (false, _) => false,
    };
    let mut builder = core.cache_keys.borrow_mut();
    build_key(&mut builder, ex, plan);
    let key = builder.finish();
    let snapshot = &ex.view.snapshot;
    if !refresh && let Some(entry) = snapshot.cache.get(key, sluice_rt::now_ms()) {
        ex.report.cache = CacheOutcome::Hit;
        return Lookup::Hit(entry);
    }
    ex.report.cache = if refresh { CacheOutcome::Refresh } else { CacheOutcome::Miss };
    let keyed = |name: &[u8]| plan.parts.iter().any(|p| matches!(p, CacheKeyPart::Header(h) if **h == *name));
    Lookup::Fill(Fill {
        key: key.to_owned(),
        rule: StoreRule {
            ttl_ms: plan.ttl_ms,
            entry_max_bytes: plan.entry_max_bytes,
            parts: plan.parts.clone(),
            authorized: (ex.principal.is_some() || ex.head.find(KnownHeader::Authorization).is_some())
                && !keyed(b"authorization"),
        },
        refresh,
    })
}

/// What the request's `Cache-Control` asks.
struct Directives {
    no_store: bool,
    refresh: bool,
}

#[inline]
fn directives(ex: &Exchange) -> Directives {
    let bytes = ex.bytes.as_slice();
    let mut found = Directives { no_store: false, refresh: false };
    for h in ex.head.headers.iter().filter(|h| h.id == KnownHeader::CacheControl) {
        let value = h.value.of(bytes);
        found.no_store |= has_directive(value, b"no-store");
        found.refresh |=
            has_directive(value, b"no-cache") || list(value).any(|d| d.eq_ignore_ascii_case(b"max-age=0"));
    }
    found
}

#[inline]
fn build_key(builder: &mut KeyBuilder, ex: &Exchange, plan: &CachePlan) {
    let (head, bytes) = (&*ex.head, ex.bytes.as_slice());
    builder.start();
    // The route too: two routes may answer the same path under different hosts or rewrites.
    builder.push(ex.route().map(|r| r.name.as_bytes()).unwrap_or_default());
    if !plan.namespace.is_empty() {
        builder.push(&plan.namespace);
    }
    let host = head.authority.of(bytes);
    if host.iter().any(u8::is_ascii_uppercase) {
        builder.push(&host.to_ascii_lowercase());
    } else {
        builder.push(host);
    }
    builder.push(head.path.of(bytes));
    let query = head.query.map(|q| q.of(bytes)).unwrap_or_default();
    for part in &plan.parts {
        match part {
            CacheKeyPart::WholeQuery => {
                builder.push(query);
            }
            CacheKeyPart::Query(name) => {
                let values = query.split(|b| *b == b'&').filter_map(|pair| {
                    let at = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
                    let (key, value) = pair.split_at_checked(at)?;
                    (*key == **name).then_some(value)
                });
                push_all(builder, values);
            }
            CacheKeyPart::Header(name) => {
                let named = head.headers.iter().filter(|h| h.name.of(bytes).eq_ignore_ascii_case(name));
                push_all(builder, named.map(|h| h.value.of(bytes)));
            }
        }
    }
}

/// Adds any number of values; the end mark keeps them apart from those of the next part.
fn push_all<'v>(builder: &mut KeyBuilder, values: impl Iterator<Item = &'v [u8]>) {
    for value in values {
        builder.push(value);
    }
    builder.push_absent();
}

/// Fills the cache, or waits for whoever is filling it already.
pub(crate) async fn fill(core: &Core, conn: &mut Conn, ex: &mut Exchange, fill: Fill) -> After {
    let view = std::rc::Rc::clone(&ex.view);
    let (cache, flights) = (&view.snapshot.cache, &view.snapshot.flights);
    let key = fill.key.as_key_ref();
    if fill.refresh {
        let done = ask(core, conn, ex, Caching::Ttl(&fill.rule)).await;
        if let Some(entry) = done.entry {
            cache.insert(key, entry);
        }
        return done.after;
    }
    match flights.join(key) {
        Flight::Leader(guard) => {
            // Between our look-up and this flight another may have landed.
            if let Some(entry) = cache.get(key, sluice_rt::now_ms()) {
                guard.complete(Some(Arc::clone(&entry)));
                return hit(core, conn, ex, &entry);
            }
            let done = ask(core, conn, ex, Caching::Ttl(&fill.rule)).await;
            guard.complete(done.entry.map(|entry| cache.insert(key, entry)));
            done.after
        }
        Flight::Follower(waiter) => {
            ex.bytes.detach(&core.scratch);
            conn.client.out().flush();
            let timeout_ms = view.snapshot.server.body_timeout_ms;
            match wait(waiter, sluice_rt::now_ms() + timeout_ms).await {
                Some(entry) => hit(core, conn, ex, &entry),
                // The leader's answer was not for sharing: everyone asks for themselves.
                None => ask(core, conn, ex, Caching::Off).await.after,
            }
        }
    }
}

/// Asks whatever is behind the route.
async fn ask(core: &Core, conn: &mut Conn, ex: &mut Exchange, caching: Caching<'_>) -> Integrated {
    match ex.route().map(|route| &route.action) {
        Some(Action::Mapped(_) | Action::Function(_)) => Box::pin(rest::run(core, conn, ex, caching)).await,
        _ => Box::pin(integrate(core, conn, ex, caching)).await,
    }
}

/// Answers with what another's fill brought.
fn hit(core: &Core, conn: &Conn, ex: &mut Exchange, entry: &Entry) -> After {
    let keep = ex.client_keep_alive();
    ex.report.cache = CacheOutcome::Hit;
    respond::hit(core, conn, ex, entry, sluice_rt::now_ms(), keep);
    if keep { After::KeepAlive } else { After::Close }
}

/// Waits for the leader, but not for ever: one that crawls must not hold the others.
pub(crate) async fn wait(waiter: Waiter, until_ms: u64) -> Option<Arc<Entry>> {
    let mut waiter = pin!(waiter);
    let mut late = pin!(sluice_rt::sleep_until_ms(until_ms));
    poll_fn(|cx| match waiter.as_mut().poll(cx) {
        Poll::Ready(entry) => Poll::Ready(entry),
        Poll::Pending => late.as_mut().poll(cx).map(|()| None),
    })
    .await
}
