//! A request's way through a data core.
//!
//! ```text
//! server accept -> wire parse -> route (pins the snapshot) -> admit (limits) -> identify (authorizer, policies)
//!   -> authorize (API key, its limits) -> validate -> cache look-up -> integrate -> relay -> cache store -> record
//! ```
//! The steps and their types are in `exchange.rs`, the page you are on shows the way. Everything up to a mock answer, a
//! refusal or a cache hit happens without waiting; only integrations and cache fills await, in a boxed future, so that an
//! idle connection stays small.
//!
//! The data plane has never heard of `catalog`, `compile`, `control` or `config`: it serves what `snapshot` says.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod auth;
mod background;
mod cached;
mod client;
mod connections;
mod core;
mod exchange;
mod forward;
mod head_out;
mod ids;
mod integrate;
mod lookout;
mod record;
mod relay;
mod respond;
mod rest;
mod secure;
mod standard;
mod tunnel;
mod upload;

pub use crate::auth::{Keyring, ProviderKeys};
pub use crate::core::{Core, View, group_spec};
pub use connections::Connections;
pub use ids::{RequestId, RequestIds};
pub use rest::away::start_workers;
pub use secure::{TlsPlan, UpstreamTls};

use auth::Wait;
use cached::Lookup;
use connections::Entry;
use exchange::{Exchange, Identity, Received, Refused, Validated, identified};
use relay::Caching;
use respond::Leftover;
use sluice_h1::HeadError;
use sluice_server::{After, Conn, Handler, Http2Event, Request, Secure, Settings, Step, Welcome};
use sluice_snapshot::{Action, Backing, CacheMode, CachePlan, MappedPlan, Route};
use sluice_telemetry::Refusal;
use sluice_tls::{Facts, HandshakeError};
use sluice_wire::BodyFraming;
use standard::{Found, Served};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;

impl Handler for Core {
    fn settings(&self) -> Settings {
        let view = self.view();
        let server = &view.snapshot.server;
        Settings {
            limits: server.limits,
            header_timeout_ms: server.header_timeout_ms,
            idle_timeout_ms: server.idle_timeout_ms,
            write_timeout_ms: server.body_timeout_ms,
            http2_streams: server.http2_streams,
        }
    }

    fn is_balancer(&self, peer: SocketAddr) -> bool {
        let view = self.view();
        let from = &view.snapshot.server.proxy_protocol_from;
        !from.is_empty() && from.contain(peer.ip())
    }

    fn opened(&self, peer: SocketAddr, via_balancer: bool) -> Welcome {
        match self.connect(peer.ip()) {
            Entry::Granted => {
                self.metrics.connection_opened();
                Welcome::Serve
            }
            Entry::Full => {
                self.metrics.connection_shed();
                Welcome::Shed
            }
            Entry::ClientFull => {
                self.metrics.connection_over_address();
                self.nuisance(peer, via_balancer);
                Welcome::Close
            }
        }
    }

    fn closed(&self, peer: SocketAddr) {
        self.disconnect(peer.ip());
        self.metrics.connection_closed();
    }

    fn handshake_begins(&self) -> Option<Secure> {
        Self::handshake_begins(self)
    }

    fn handshake_ended(
        &self,
        peer: SocketAddr,
        via_balancer: bool,
        outcome: Option<Result<&Facts, &HandshakeError>>,
    ) {
        // One who closes may be a balancer that looks whether the port is open: no offence.
        if let Some(Err(HandshakeError::Tls(_) | HandshakeError::TimedOut)) = outcome {
            self.nuisance(peer, via_balancer);
        }
        Self::handshake_ended(self, outcome);
    }

    fn shed(&self, conn: &mut Conn) {
        record::shed(self, conn);
    }

    type Waiting = Waiting;

    #[inline]
    fn begin(&self, conn: &mut Conn, request: Request) -> Step<Waiting> {
        let mut ex = Exchange::new(self, conn, request);
        match self.way(conn, &mut ex) {
            Way::Answered(after) => {
                self.close(conn, ex);
                Step::Done(after)
            }
            Way::Await(rest) => Step::Wait(Waiting { ex, rest }),
        }
    }

    async fn finish(&self, conn: &mut Conn, waiting: Waiting) -> After {
        let Waiting { mut ex, rest } = waiting;
        // A client that leaves ends its exchange, also while the upstream is silent. One that ends only its sending half
        // counts as gone, as it does for nginx: there is no telling them apart. In a tunnel the halves are the protocol's.
        let watch = (!matches!(rest, Rest::Discard)).then(|| conn.client.watch());
        let done = {
            let mut work = pin!(self.rest(conn, &mut ex, rest));
            poll_fn(|cx| match work.as_mut().poll(cx) {
                Poll::Pending => match watch.as_ref().map(|w| w.poll_gone(cx)) {
                    Some(Poll::Ready(())) => Poll::Ready(None),
                    _ => Poll::Pending,
                },
                Poll::Ready(after) => Poll::Ready(Some(after)),
            })
            .await
        };
        if done.is_none() {
            ex.report.refusal = Some(Refusal::ClientGone);
            if ex.report.status == 0 {
                ex.report.status = CLIENT_CLOSED;
            }
        }
        self.close(conn, ex);
        done.unwrap_or(After::Abort)
    }

    fn refuse(&self, conn: &mut Conn, error: &HeadError) {
        record::unreadable(self, conn, error);
    }

    fn http2(&self, peer: SocketAddr, via_balancer: bool, event: Http2Event) {
        match event {
            Http2Event::Connection => return self.metrics.http2_connection(),
            Http2Event::StreamError(label) => self.metrics.http2_stream_error(label),
            Http2Event::ConnectionError(label) => self.metrics.http2_connection_error(label),
        }
        if !via_balancer {
            self.lookout.note(peer.ip(), Some(Refusal::Malformed), None);
        }
    }
}

/// What is logged where the client left before any answer, as nginx does.
const CLIENT_CLOSED: u16 = 499;

/// An exchange that has to wait.
pub struct Waiting {
    ex: Exchange,
    rest: Rest,
}

/// What is left to do once the steps that never wait are done.
enum Way {
    /// The answer is written.
    Answered(After),
    /// It is not, or not all is done.
    Await(Rest),
}

/// The part of the way that waits.
enum Rest {
    /// The answer is written; the request body is still to be read and dropped.
    Discard,
    /// Find out who calls, then all the rest.
    Identify(Wait),
    /// Ask the upstream.
    Integrate,
    /// Map the request, ask the backend, map its answer.
    Mapped,
    /// Ask the upstream and store the answer.
    Fill(cached::Fill),
    /// Ask the upstream, and deal with the answer as HTTP says.
    Standard(Box<standard::Ask>),
}

impl Core {
    /// Notes a connection that led to no request. Behind a balancer the kernel never meets the client: nobody to ban.
    fn nuisance(&self, peer: SocketAddr, via_balancer: bool) {
        if !via_balancer {
            self.lookout.nuisance(peer.ip());
        }
    }

    /// The way, up to where waiting begins.
    #[inline]
    fn way(&self, conn: &mut Conn, ex: &mut Exchange) -> Way {
        let (answered, keep) = after_answer(ex);
        if let Some(answer) = ex.view.tls.challenge(ex) {
            respond::mock(self, conn, ex, &answer, keep);
            return answered;
        }
        match self.steps(ex) {
            Ok(Passed::Validated(validated)) => self.act(conn, validated, answered, keep),
            Ok(Passed::Unidentified(wait)) => Way::Await(Rest::Identify(wait)),
            Err(refused) => {
                respond::refuse(self, conn, ex, &refused, keep);
                answered
            }
        }
    }

    /// What the route does. `answered` is what is left to do once the answer is written.
    #[inline]
    fn act(&self, conn: &mut Conn, validated: Validated<'_>, answered: Way, keep: bool) -> Way {
        let ex = validated.0;
        let view = std::rc::Rc::clone(&ex.view);
        let Some(route) = ex.route.and_then(|at| view.snapshot.route(at)) else {
            return answered;
        };
        match &route.action {
            Action::Mock(mock) => {
                respond::mock(self, conn, ex, mock, keep);
                answered
            }
            Action::Fault(fault) => {
                respond::refuse(self, conn, ex, &respond::fault(*fault).into(), keep);
                answered
            }
            Action::Mapped(plan) => self.mapped(conn, ex, (route, plan), answered, keep),
            Action::Function(_) => {
                self.by_cache(conn, ex, (route.cache.as_ref(), Rest::Mapped), answered, keep)
            }
            // What becomes a tunnel has no answer to cache.
            Action::Proxy(plan) if ex.head.upgrade && tunnel::wanted(ex, plan).is_some() => {
                Way::Await(Rest::Integrate)
            }
            Action::Proxy(plan) if plan.aws.is_none() && standard::is_foreign_change(ex, route) => {
                Way::Await(Rest::Standard(standard::foreign_change(self, ex)))
            }
            Action::Proxy(plan) => {
                if let Some(aws) = &plan.aws
                    && let Err(refused) = rest::proxy::prepare(self, ex, aws)
                {
                    respond::refuse(self, conn, ex, &refused, keep);
                    return answered;
                }
                self.by_cache(conn, ex, (route.cache.as_ref(), Rest::Integrate), answered, keep)
            }
        }
    }

    /// A method whose bodies are mapped. A MOCK needs no cache: it costs less than one.
    fn mapped(
        &self,
        conn: &mut Conn,
        ex: &mut Exchange,
        (route, plan): (&Route, &MappedPlan),
        answered: Way,
        keep: bool,
    ) -> Way {
        match &plan.backing {
            Backing::Mock(Some(usual)) if rest::is_usual(ex) && !wants_body(route) => {
                respond::mock(self, conn, ex, usual, keep);
                answered
            }
            Backing::Mock(_) if matches!(ex.head.framing, BodyFraming::None | BodyFraming::Length(0)) => {
                if rest::mock_now(self, conn, ex, (route, plan), keep) {
                    answered
                } else {
                    Way::Await(Rest::Mapped)
                }
            }
            Backing::Mock(_) => Way::Await(Rest::Mapped),
            Backing::Http(_) | Backing::Function(_) | Backing::Service(_) => {
                self.by_cache(conn, ex, (route.cache.as_ref(), Rest::Mapped), answered, keep)
            }
        }
    }

    /// The cache step; `uncached` is what is done where the cache has no part in it.
    #[inline]
    fn by_cache(
        &self,
        conn: &mut Conn,
        ex: &mut Exchange,
        (cache, uncached): (Option<&CachePlan>, Rest),
        answered: Way,
        keep: bool,
    ) -> Way {
        let Some(plan) = cache else { return Way::Await(uncached) };
        if plan.mode == CacheMode::Standard {
            return self.by_standard(conn, ex, plan, answered, keep);
        }
        match cached::look_up(self, ex, plan) {
            Lookup::Bypass => return Way::Await(uncached),
            Lookup::Fill(fill) => return Way::Await(Rest::Fill(fill)),
            Lookup::Forbidden => respond::refuse(self, conn, ex, &Refusal::RefreshForbidden.into(), keep),
            Lookup::Hit(entry) => respond::hit(self, conn, ex, &entry, sluice_rt::now_ms(), keep),
        }
        answered
    }

    /// The cache step in the standards mode.
    fn by_standard(
        &self,
        conn: &mut Conn,
        ex: &mut Exchange,
        plan: &CachePlan,
        answered: Way,
        keep: bool,
    ) -> Way {
        match standard::look_up(self, ex, plan) {
            Found::Ask(ask) => return Way::Await(Rest::Standard(ask)),
            Found::NotCached => standard::not_cached(self, conn, ex, keep),
            Found::Answer(entry) => respond::stored(self, conn, ex, &entry, Served::Hit, keep),
            Found::AnswerAndRevalidate(entry, ask) => {
                respond::stored(self, conn, ex, &entry, Served::Hit, keep);
                standard::revalidate(self, ex, ask);
            }
        }
        answered
    }

    /// The way, from where waiting begins.
    async fn rest(&self, conn: &mut Conn, ex: &mut Exchange, todo: Rest) -> After {
        let _admitted = match todo {
            Rest::Discard => None,
            Rest::Identify(_) | Rest::Integrate | Rest::Mapped | Rest::Fill(_) | Rest::Standard(_) => {
                Some(self.lookout.enter(conn.peer.ip()))
            }
        };
        // Each in a box of its own: a future is copied into its box whole, and from 2 KiB on glibc copies by `rep movsb`, which
        // takes microseconds on some processors, depending on where in their pages the two are. See `tests::futures_are_small`.
        match todo {
            Rest::Discard => {
                let (framing, server) = (ex.head.framing, &ex.view.snapshot.server);
                respond::discard(conn, framing, &server.limits, server.body_timeout_ms).await
            }
            Rest::Identify(wait) => Box::pin(self.go_on(conn, ex, wait)).await,
            Rest::Integrate => Box::pin(integrate::integrate(self, conn, ex, Caching::Off)).await.after,
            Rest::Mapped => Box::pin(rest::run(self, conn, ex, Caching::Off)).await.after,
            Rest::Fill(fill) => Box::pin(cached::fill(self, conn, ex, fill)).await,
            Rest::Standard(ask) => Box::pin(standard::run(self, conn, ex, ask)).await,
        }
    }

    /// The way, from where the caller could not be told yet.
    async fn go_on(&self, conn: &mut Conn, ex: &mut Exchange, wait: Wait) -> After {
        let passed = identified(ex, wait, self, conn).await;
        let passed = passed.and_then(|identified| identified.authorize(self)?.validate(self));
        let way = match passed {
            Ok(validated) => {
                let (answered, keep) = after_answer(validated.0);
                self.act(conn, validated, answered, keep)
            }
            Err(refused) => {
                let (answered, keep) = after_answer(ex);
                respond::refuse(self, conn, ex, &refused, keep);
                answered
            }
        };
        match way {
            Way::Answered(after) => after,
            Way::Await(rest) => Box::pin(self.rest(conn, ex, rest)).await,
        }
    }

    /// Every exit passes here.
    #[inline]
    fn close(&self, conn: &Conn, ex: Exchange) {
        if client::is_direct(conn, &ex.view.snapshot.server) {
            let key = ex.api_key().map(|key| key.metrics_slot);
            self.lookout.note(conn.peer.ip(), ex.report.refusal, key);
        }
        record::exchange(self, &ex);
        self.trace.with(|log| log.add(sluice_mapping::Step::Completed(ex.report.status)));
        self.scratch.put_request(ex.head);
        ex.bytes.recycle(&self.scratch);
    }

    #[inline]
    fn steps<'x>(&self, ex: &'x mut Exchange) -> Result<Passed<'x>, Refused> {
        match Received(ex).route(self)?.admit(self)?.identify(self)? {
            Identity::Known(identified) => identified.authorize(self)?.validate(self).map(Passed::Validated),
            Identity::Later(wait) => Ok(Passed::Unidentified(wait)),
        }
    }
}

/// How far a request came without waiting.
enum Passed<'x> {
    Validated(Validated<'x>),
    Unidentified(Wait),
}

/// What is left to do once an answer that needs no body is written, and whether the connection is kept.
#[inline]
fn after_answer(ex: &Exchange) -> (Way, bool) {
    let leftover = ex.leftover();
    let keep = ex.client_keep_alive() && leftover != Leftover::Close;
    let way = match (leftover, keep) {
        (Leftover::Nothing, true) => Way::Answered(After::KeepAlive),
        (Leftover::Nothing, false) => Way::Answered(After::Close),
        (Leftover::Discard, true) => Way::Await(Rest::Discard),
        (Leftover::Discard | Leftover::Close, _) => Way::Answered(After::Linger),
    };
    (way, keep)
}

/// Whether the body must be looked at before the request is answered.
fn wants_body(route: &Route) -> bool {
    route.validator.as_ref().is_some_and(|validator| validator.needs_body())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::size_of;

    /// From here on glibc copies by `rep movsb` where the processor says that it is fast (`x86_rep_movsb_threshold`).
    const COPIED_FAST_BYTES: usize = 2112;

    fn size<A, B, C, D, F: Future>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn futures_are_small() {
        type Of = (&'static Core, &'static mut Conn, &'static mut Exchange);
        let sizes = [
            (
                "finish",
                size(|core: &'static Core, conn: &'static mut Conn, w: Waiting, ()| core.finish(conn, w)),
            ),
            ("go_on", size(|(core, conn, ex): Of, wait, (), ()| core.go_on(conn, ex, wait))),
            ("integrate", size(|(core, conn, ex): Of, c, (), ()| integrate::integrate(core, conn, ex, c))),
            ("mapped", size(|(core, conn, ex): Of, c, (), ()| rest::run(core, conn, ex, c))),
            ("fill", size(|(core, conn, ex): Of, fill, (), ()| cached::fill(core, conn, ex, fill))),
            ("standard", size(|(core, conn, ex): Of, ask, (), ()| standard::run(core, conn, ex, ask))),
        ];
        for (name, bytes) in sizes {
            assert!(bytes < COPIED_FAST_BYTES, "{name}: {bytes} bytes; box what is rare in it");
        }
    }
}
