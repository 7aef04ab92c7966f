//! The HTTP proxy integration: one request to an upstream group and its answer back.
//!
//! ```text
//! pick target -> idle connection or connect -> write head -> (pump body ||) read final head -> relay body -> release
//!      ^                    |failed                                 |closed before a byte, reused, idempotent, no body
//!      +--------------------+---------------------------------------+   (within `retries`)
//!      +------------------------ HTTP/2 upstream refused it unseen ---+   (and once more; bodies up to 64 KiB)
//! ```
//! The request body is pumped while the response is awaited and relayed, so an upstream that answers early or echoes as
//! it reads never deadlocks with us; each direction holds at most [`HIGH_WATER`] bytes.

use crate::core::Core;
use crate::exchange::{Exchange, Refused};
use crate::forward::{self, Question};
use crate::relay::{Caching, Relay, Relayed};
use crate::respond::{Leftover, refuse};
use crate::rest::stream;
use crate::standard::Ask;
use crate::tunnel::{self, Agreement};
use crate::upload::{PumpError, Upload};
use sluice_cache::Entry;
use sluice_cache::standard::Moment;
use sluice_client::{Dial, Group, Lease, MAX_INTERIM, RESPONSE_LIMITS};
use sluice_h1::{HeadBytes, HeadError, Scratch};
use sluice_h2::{In, Out, Side, Timing};
use sluice_server::{After, Conn};
use sluice_snapshot::{Action, ProxyPlan, Upstream};
use sluice_telemetry::Refusal;
use sluice_wire::{BodyFraming, Method, ResponseHead};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// Unsent bytes above which the producing side waits.
pub(crate) const HIGH_WATER: usize = 256 * 1024;

/// The mark for one side. Streams of a shared connection hold back less, because there are many of them.
#[inline]
pub(crate) fn high_water(side: Out<'_>) -> usize {
    match side {
        Out::H1(_) => HIGH_WATER,
        Out::H2(_) => sluice_h2::HIGH_WATER,
    }
}

/// Timeouts of one exchange, milliseconds.
#[derive(Clone, Copy)]
pub(crate) struct Timeouts {
    /// Until the response head, counted from the end of the request.
    pub(crate) total: u64,
    /// Between two reads of the response.
    pub(crate) read: u64,
    /// Between two reads or writes of the client.
    pub(crate) client: u64,
}

impl Timeouts {
    fn of(plan: &ProxyPlan, upstream: &Upstream, client_ms: u64) -> Self {
        let read = if plan.streams() { stream::IDLE_MS } else { upstream.read_timeout_ms };
        Self { total: plan.total_timeout_ms, read, client: client_ms }
    }
}

/// What an integration came to.
pub(crate) struct Integrated {
    pub(crate) after: After,
    /// A complete answer that may be stored.
    pub(crate) entry: Option<Entry>,
    /// The client has not been answered: the cache has to.
    pub(crate) held: Option<Held>,
}

/// Why the answer was left to the cache.
pub(crate) enum Held {
    /// What it has is still true (304), now with these fields.
    Validated {
        entry: Entry,
        /// It may be stored.
        keep: bool,
    },
    /// The upstream failed, and what it has may be used.
    Failed,
}

impl From<After> for Integrated {
    fn from(after: After) -> Self {
        Self { after, entry: None, held: None }
    }
}

impl From<Held> for Integrated {
    fn from(held: Held) -> Self {
        Self { after: After::Close, entry: None, held: Some(held) }
    }
}

/// Why one try failed.
pub(crate) enum Failure {
    /// The connection ended before a byte of the answer: on a reused one the server may just have closed it.
    Unanswered(Refusal),
    /// An HTTP/2 upstream says that it has not looked at the request: whatever it asks, it may be sent again.
    Refused,
    /// Beyond repair.
    Upstream(Refusal),
    /// The client's side of the request failed.
    Client(Refusal),
}

/// Forwards the exchange's request and relays the answer.
pub(crate) async fn integrate(
    core: &Core,
    conn: &mut Conn,
    ex: &mut Exchange,
    caching: Caching<'_>,
) -> Integrated {
    ex.bytes.detach(&core.scratch);
    let view = Rc::clone(&ex.view);
    let route = ex.route.and_then(|at| view.snapshot.route(at));
    let Some((plan, body_max)) = route.and_then(|r| match &r.action {
        Action::Proxy(plan) => Some((plan, r.body_max_bytes)),
        Action::Mock(_) | Action::Mapped(_) | Action::Function(_) | Action::Fault(_) => None,
    }) else {
        return give_up(core, conn, ex, Refusal::NotFound);
    };
    let Some((upstream, group)) = core.servers(&view, plan.to) else {
        return give_up(core, conn, ex, Refusal::UpstreamConnect);
    };
    let group = &*group;
    ex.report.upstream = Some(upstream.metrics_slot);
    conn.client.out().flush();
    let timeouts = Timeouts::of(plan, upstream, view.snapshot.server.body_timeout_ms);
    let started_ns = sluice_rt::now_ns();
    let method = backend_method(plan, ex.head.method);
    let deadline_ms = sluice_rt::now_ms() + timeouts.total;
    let mut tries = Tries::new(upstream.retries, deadline_ms);
    let mut avoid = None;
    let mut upload = None;
    loop {
        let lease = match open(core, group, method, upstream, avoid, deadline_ms).await {
            Ok(lease) => lease,
            Err((target, error)) => {
                // Nothing was sent, so any method may be tried again.
                if tries.again() {
                    avoid = Some(target);
                    continue;
                }
                note_time(ex, started_ns);
                return upstream_failed(core, conn, ex, connect_refusal(&error), caching);
            }
        };
        let target = lease.target;
        let attempt = Attempt { core, plan, method, group, timeouts, body_max, started_ns, caching };
        match attempt.run(conn, ex, lease, &mut upload).await {
            Ok(done) => return done,
            Err(Failure::Unanswered(_)) if tries.again() => avoid = Some(target),
            Err(Failure::Refused)
                if upload.as_ref().is_none_or(Upload::is_repeatable) && tries.after_refusal() =>
            {
                avoid = Some(target)
            }
            Err(Failure::Refused) => {
                return upstream_failed(core, conn, ex, Refusal::UpstreamReset, caching);
            }
            Err(Failure::Unanswered(why) | Failure::Upstream(why)) => {
                group.failed(target, sluice_rt::now_ms());
                note_time(ex, started_ns);
                return upstream_failed(core, conn, ex, why, caching);
            }
            Err(Failure::Client(why)) => return give_up(core, conn, ex, why),
        }
    }
}

/// How often a request may still be sent again.
pub(crate) struct Tries {
    left: u32,
    /// What an upstream has not looked at is sent again once, whatever `retries` says: nothing has happened yet.
    spare: bool,
    deadline_ms: u64,
}

impl Tries {
    pub(crate) const fn new(retries: u32, deadline_ms: u64) -> Self {
        Self { left: retries, spare: true, deadline_ms }
    }

    /// Takes one.
    pub(crate) fn again(&mut self) -> bool {
        let granted = self.left > 0 && self.in_time();
        self.left -= u32::from(granted);
        granted
    }

    fn after_refusal(&mut self) -> bool {
        self.again() || (std::mem::take(&mut self.spare) && self.in_time())
    }

    fn in_time(&self) -> bool {
        sluice_rt::now_ms() < self.deadline_ms
    }
}

/// The method towards the upstream: the client's, but for integrations that name one.
fn backend_method(plan: &ProxyPlan, of_client: Method) -> Method {
    match plan.aws.as_ref().and_then(|aws| aws.integration.method.as_deref()) {
        Some(name) => Method::from_bytes(name),
        None => of_client,
    }
}

fn note_time(ex: &mut Exchange, started_ns: u64) {
    ex.report.integration_us = Some(sluice_rt::clock_ns().saturating_sub(started_ns) / 1000);
}

pub(crate) fn connect_refusal(error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::TimedOut => Refusal::UpstreamTimeout,
        io::ErrorKind::InvalidData => Refusal::UpstreamTls,
        _ => Refusal::UpstreamConnect,
    }
}

/// An idle connection or a fresh one; with HTTP/2 upstreams a stream on a connection that others share. Counts attempts to
/// connect.
#[inline]
pub(crate) async fn open(
    core: &Core,
    group: &Group,
    method: Method,
    upstream: &Upstream,
    avoid: Option<usize>,
    deadline_ms: u64,
) -> Result<Lease, (usize, io::Error)> {
    let target = group.pick(sluice_rt::now_ms(), avoid);
    let opened = if group.is_http2() {
        let timing = Timing {
            idle_ms: upstream.keepalive_idle_ms,
            head_ms: upstream.connect_timeout_ms,
            write_ms: upstream.read_timeout_ms,
        };
        let dial = Dial { limits: RESPONSE_LIMITS, scratch: Rc::clone(&core.scratch), timing };
        group.stream(target, method, &dial, avoid.is_some(), deadline_ms).await
    } else {
        // A second try goes to a fresh connection: other idle ones may be as stale as the first.
        if avoid.is_none()
            && let Some(lease) = group.idle(target)
        {
            return Ok(lease);
        }
        group.connect(target, deadline_ms).await
    };
    match opened {
        Ok(lease) => {
            if !lease.reused {
                core.metrics.upstream_connected(upstream.metrics_slot);
            }
            Ok(lease)
        }
        Err(error) => {
            core.metrics.upstream_connect_failed(upstream.metrics_slot);
            group.failed(target, sluice_rt::now_ms());
            Err((target, error))
        }
    }
}

/// Leaves it to the cache where that has something, else answers with a refusal.
fn upstream_failed(
    core: &Core,
    conn: &mut Conn,
    ex: &mut Exchange,
    why: Refusal,
    caching: Caching<'_>,
) -> Integrated {
    match caching {
        Caching::Standard(ask) if ask.stale_if_error => Held::Failed.into(),
        _ => give_up(core, conn, ex, why),
    }
}

/// Answers with a refusal. The request body may be unread or half read, so the connection ends unless there was none.
pub(crate) fn give_up(core: &Core, conn: &Conn, ex: &mut Exchange, why: Refusal) -> Integrated {
    let keep = ex.client_keep_alive() && ex.leftover() == Leftover::Nothing;
    refuse(core, conn, ex, &Refused::from(why), keep);
    if keep { After::KeepAlive.into() } else { After::Linger.into() }
}

/// One try on one connection.
struct Attempt<'a> {
    core: &'a Core,
    plan: &'a ProxyPlan,
    /// What the upstream is asked with.
    method: Method,
    group: &'a Group,
    timeouts: Timeouts,
    body_max: u64,
    started_ns: u64,
    caching: Caching<'a>,
}

impl Attempt<'_> {
    async fn run(
        &self,
        conn: &mut Conn,
        ex: &mut Exchange,
        lease: Lease,
        upload: &mut Option<Upload>,
    ) -> Result<Integrated, Failure> {
        let named = self.plan.aws.as_ref().and_then(|aws| aws.integration.host.as_deref());
        let of_target = || self.group.spec().targets.get(lease.target).map(|t| &*t.authority);
        let authority = named.or_else(of_target).unwrap_or_default();
        let out = lease.wire.out();
        let question = Question {
            validating: self.ask().and_then(Ask::validating),
            upgrade: tunnel::wanted(ex, self.plan),
        };
        forward::request_head(out, self.core, ex, self.plan, authority, &question);
        out.flush();
        if matches!(ex.head.framing, BodyFraming::None | BodyFraming::Length(0)) {
            self.without_body(conn, ex, lease).await
        } else {
            let held = ex.take_body();
            let server = &ex.view.snapshot.server;
            let upload = upload.get_or_insert_with(|| match held {
                Some(body) => Upload::held(&ex.head, server, body),
                None => Upload::new(&ex.head, server, self.body_max),
            });
            Box::pin(self.with_body(conn, ex, lease, upload)).await
        }
    }

    /// The common case: nothing to pump.
    async fn without_body(
        &self,
        conn: &mut Conn,
        ex: &mut Exchange,
        mut lease: Lease,
    ) -> Result<Integrated, Failure> {
        let reused = lease.reused;
        let mut head = self.core.scratch.response();
        let (us, mut ui) = lease.wire.split();
        let final_head = FinalHead {
            scratch: &self.core.scratch,
            method: self.method,
            deadline_ms: Some(sluice_rt::now_ms() + self.timeouts.total.min(self.timeouts.read)),
            interim_to: (!ex.is_http10()).then_some(conn.client.out()),
            upgrading: tunnel::wanted(ex, self.plan).is_some(),
        };
        let bytes = match final_head.read(us, &mut ui, &mut head).await {
            Ok(bytes) => bytes,
            Err(Failure::Unanswered(why)) if !(reused && self.method.is_idempotent()) => {
                return Err(Failure::Upstream(why));
            }
            Err(failure) => return Err(failure),
        };
        note_time(ex, self.started_ns);
        if head.status == 101 {
            let done = Box::pin(self.tunnel(conn, ex, lease, &head, &bytes)).await;
            bytes.recycle(&self.core.scratch);
            self.core.scratch.put_response(head);
            return done.map(Integrated::from);
        }
        if let Some(held) = self.ask().and_then(|ask| ask.hold(&head, bytes.as_slice(), self.moment())) {
            let clean = head.keep_alive && matches!(head.framing, BodyFraming::None | BodyFraming::Length(0));
            bytes.recycle(&self.core.scratch);
            self.core.scratch.put_response(head);
            self.give_back(lease, clean);
            return Ok(held.into());
        }
        let keep = ex.client_keep_alive();
        let relayed = self.relay(conn.client.out(), us, keep).run(ex, &mut ui, &head, bytes).await;
        self.core.scratch.put_response(head);
        Ok(self.finish(lease, relayed, true))
    }

    /// The upstream agreed to another protocol: the two connections become one.
    async fn tunnel(
        &self,
        conn: &mut Conn,
        ex: &mut Exchange,
        mut lease: Lease,
        head: &ResponseHead,
        bytes: &HeadBytes,
    ) -> Result<After, Failure> {
        let bytes = bytes.as_slice();
        let agreed = tunnel::wanted(ex, self.plan)
            .and_then(|plan| Some((plan, tunnel::agreed(ex, plan, head, bytes)?)));
        let (Some((plan, protocol)), Side::H1(upstream)) = (agreed, &mut lease.wire) else {
            return Err(Failure::Upstream(Refusal::UpstreamMalformed));
        };
        self.group.succeeded(lease.target);
        let agreement = Agreement { plan, protocol, head, bytes };
        Ok(tunnel::run(self.core, conn, ex, upstream, &agreement).await)
    }

    /// Pumps the request body while the response is awaited, and goes on while it is relayed.
    async fn with_body(
        &self,
        conn: &mut Conn,
        ex: &mut Exchange,
        mut lease: Lease,
        upload: &mut Upload,
    ) -> Result<Integrated, Failure> {
        let mut head = self.core.scratch.response();
        let (cs, mut ci) = conn.client.split();
        let (us, mut ui) = lease.wire.split();
        let final_head = FinalHead {
            scratch: &self.core.scratch,
            method: self.method,
            deadline_ms: None,
            interim_to: (!ex.is_http10()).then_some(cs),
            upgrading: false,
        };
        let mut pumped: Option<Result<(), PumpError>> = None;
        let relayed = {
            let mut pump = pin!(upload.pump(cs, &mut ci, us, &self.timeouts));
            let bytes = {
                let mut read = pin!(final_head.read(us, &mut ui, &mut head));
                poll_fn(|cx| {
                    if pumped.is_none()
                        && let Poll::Ready(result) = pump.as_mut().poll(cx)
                    {
                        if let Err(PumpError::Client(why)) = result {
                            return Poll::Ready(Err(Failure::Client(why)));
                        }
                        // A failed write to the upstream is not the end: it may have answered before it closed.
                        pumped = Some(result);
                    }
                    read.as_mut().poll(cx)
                })
                .await
            };
            // With a body on the way nothing can be tried again, unless it was not looked at.
            let bytes = bytes.map_err(|failure| match failure {
                Failure::Unanswered(why) => Failure::Upstream(why),
                other => other,
            })?;
            note_time(ex, self.started_ns);
            let keep = ex.client_keep_alive() && !matches!(pumped, Some(Err(_)));
            let relay = self.relay(cs, us, keep);
            let mut relay = pin!(relay.run(ex, &mut ui, &head, bytes));
            poll_fn(|cx| {
                if pumped.is_none()
                    && let Poll::Ready(result) = pump.as_mut().poll(cx)
                {
                    pumped = Some(result);
                }
                relay.as_mut().poll(cx)
            })
            .await
        };
        ex.report.bytes_in = upload.body.received;
        self.core.scratch.put_response(head);
        Ok(self.finish(lease, relayed, matches!(pumped, Some(Ok(())))))
    }

    fn relay<'s>(&'s self, cs: Out<'s>, us: Out<'s>, keep: bool) -> Relay<'s> {
        let asked_ms = self.moment().asked_ms;
        Relay { core: self.core, cs, us, timeouts: self.timeouts, caching: self.caching, asked_ms, keep }
    }

    fn ask(&self) -> Option<&Ask> {
        match self.caching {
            Caching::Standard(ask) => Some(ask),
            Caching::Off | Caching::Ttl(_) => None,
        }
    }

    fn moment(&self) -> Moment {
        self.core.moment(self.started_ns / 1_000_000)
    }

    /// Gives the connection back after an answer that was not relayed; `clean`: to its end.
    fn give_back(&self, lease: Lease, clean: bool) {
        self.group.succeeded(lease.target);
        if clean {
            self.group.release(lease, sluice_rt::now_ms());
        }
    }

    /// Gives the upstream connection back where both messages ended cleanly, and says how the client's goes on.
    fn finish(&self, lease: Lease, relayed: Relayed, request_sent: bool) -> Integrated {
        let now_ms = sluice_rt::now_ms();
        if relayed.upstream_failed {
            self.group.failed(lease.target, now_ms);
        } else {
            self.group.succeeded(lease.target);
        }
        if relayed.upstream_clean && request_sent {
            self.group.release(lease, now_ms);
        }
        let after = match relayed.after {
            After::KeepAlive | After::Close if !request_sent => After::Linger,
            after => after,
        };
        Integrated { after, entry: relayed.entry, held: None }
    }
}

/// Reads heads until the final one, handing interim ones on.
pub(crate) struct FinalHead<'a> {
    pub(crate) scratch: &'a Scratch,
    pub(crate) method: Method,
    /// `None`: the pump of the request body sets it.
    pub(crate) deadline_ms: Option<u64>,
    pub(crate) interim_to: Option<Out<'a>>,
    /// The request asked for another protocol.
    pub(crate) upgrading: bool,
}

impl FinalHead<'_> {
    #[inline]
    pub(crate) async fn read(
        &self,
        us: Out<'_>,
        ui: &mut In<'_>,
        head: &mut Box<ResponseHead>,
    ) -> Result<HeadBytes, Failure> {
        if self.deadline_ms.is_some() {
            us.set_deadline_ms(self.deadline_ms);
        }
        for before in 0..MAX_INTERIM {
            let bytes = self.next(ui, head).await.map_err(|failure| match failure {
                // It has answered something: the request was looked at.
                Failure::Unanswered(why) if before > 0 => Failure::Upstream(why),
                Failure::Refused if before > 0 => Failure::Upstream(Refusal::UpstreamReset),
                other => other,
            })?;
            match head.status {
                101 if self.upgrading => return Ok(bytes),
                // We never asked for an upgrade.
                101 => return Err(Failure::Upstream(Refusal::UpstreamMalformed)),
                // The client has had its own (RFC 9110 10.1.1).
                100 => {}
                102..200 => self.interim(head, bytes.as_slice()),
                _ => return Ok(bytes),
            }
            bytes.recycle(self.scratch);
            head.clear();
        }
        Err(Failure::Upstream(Refusal::UpstreamMalformed))
    }

    #[inline]
    async fn next(&self, ui: &mut In<'_>, head: &mut Box<ResponseHead>) -> Result<HeadBytes, Failure> {
        match ui {
            In::H1(us, ui) => {
                match ui.read_response(us, &RESPONSE_LIMITS, self.method, head, self.scratch).await {
                    Ok(Some(bytes)) => Ok(bytes),
                    Ok(None) => Err(Failure::Unanswered(Refusal::UpstreamReset)),
                    Err(error) => Err(head_failure(&error)),
                }
            }
            In::H2(stream, _) => match stream.response().await {
                Ok((arrived, bytes)) => {
                    self.scratch.put_response(std::mem::replace(head, arrived));
                    Ok(HeadBytes::Owned(bytes))
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    Err(Failure::Upstream(Refusal::UpstreamTimeout))
                }
                Err(_) if stream.is_refused() => Err(Failure::Refused),
                Err(_) => Err(Failure::Unanswered(Refusal::UpstreamReset)),
            },
        }
    }

    /// RFC 9110 15.2: a proxy forwards interim responses, except to an HTTP/1.0 client.
    fn interim(&self, head: &ResponseHead, bytes: &[u8]) {
        if let Some(client) = self.interim_to {
            forward::interim(client, head, bytes);
        }
    }
}

fn head_failure(error: &HeadError) -> Failure {
    match error {
        HeadError::Io { error, .. } if error.kind() == io::ErrorKind::TimedOut => {
            Failure::Upstream(Refusal::UpstreamTimeout)
        }
        HeadError::Io { started: false, .. } => Failure::Unanswered(Refusal::UpstreamReset),
        HeadError::Io { .. } | HeadError::Truncated => Failure::Upstream(Refusal::UpstreamReset),
        HeadError::Request(_) | HeadError::Response(_) => Failure::Upstream(Refusal::UpstreamMalformed),
    }
}
