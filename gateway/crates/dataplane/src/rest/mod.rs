//! Methods of REST APIs whose requests or answers are mapped.
//!
//! ```text
//! read the body -> map the request -> MOCK, or ask the backend and read all of its answer -> map the answer -> compress
//! ```
//! Bodies are held whole here, at most 10 MB each way; answers that stream are in [`stream`]. Proxy integrations that map no
//! body do not come here: they stream, as routes of the configuration do, and what of their head is mapped is in [`proxy`].

mod auth;
pub(crate) mod away;
mod call;
pub(crate) mod compress;
pub(crate) mod headers;
pub(crate) mod lambda;
pub(crate) mod proxy;
mod service;
pub(crate) mod stream;
pub(crate) mod told;
pub(crate) mod trace;
pub(crate) mod usage;
pub(crate) mod view;
pub(crate) mod write;

use crate::core::Core;
use crate::exchange::{Exchange, Refused};
use crate::forward::go_on;
use crate::integrate::{Integrated, give_up};
use crate::relay::{Caching, StoreRule};
use crate::respond;
use away::AWAY_BYTES;
use bytes::Bytes;
use call::Call;
use headers::{may_be_mapped, push_value};
use lambda::Came;
use service::ServiceCall;
use sluice_cache::{Entry, Validity};
use sluice_h1::{Body, BodyError};
use sluice_mapping::{
    Answer, Kind, Outgoing, OwnedRequest, Place, Request, Response, ResponseView, Step, Validator, Work,
};
use sluice_server::{After, Conn};
use sluice_snapshot::{
    Action, Backing, Deployed, FunctionIntegration, HttpFunction, HttpIntegration, MappedPlan, Route,
    RouteAt, ServiceIntegration, Snapshot,
};
use sluice_telemetry::{CacheOutcome, Refusal};
use sluice_wire::BodyFraming;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use view::{Mocked, Seen};
use write::Extras;

/// A status is looked for in no more than this: what a template for a MOCK says is short.
const MOCK_STATUS_BYTES: usize = 1 << 20;
/// What a client may send ("Amazon API Gateway quotas": payload size).
const BODY_MAX_BYTES: u64 = 10 * 1024 * 1024;

/// Answers a mapped MOCK whose request has no body: nothing is waited for. False, and nothing has been done, where that is
/// too much work for a core: then it is for [`run`].
pub(crate) fn mock_now(
    core: &Core,
    conn: &Conn,
    ex: &mut Exchange,
    (route, plan): (&Route, &MappedPlan),
    keep: bool,
) -> bool {
    core.trace.body(b"");
    let work = in_place(core, b"");
    let mut outgoing = Outgoing::default();
    let made = validated(core, ex, route, b"", &work)
        .and_then(|()| prepared(core, ex, plan, b"", (&work, &mut outgoing)))
        .and_then(|()| mocked(core, ex, plan, &outgoing, &work));
    if work.is_short() {
        return false;
    }
    finish(core, conn, ex, made.map(|answer| (answer, Vec::new())), keep);
    true
}

/// What mapping may take where it stands. Who tries a method out runs on a thread of their own, and is told each step once.
fn in_place(core: &Core, body: &[u8]) -> Work {
    if core.trace.is_kept() { Work::apart(body.len()) } else { Work::on_core() }
}

/// Answers a mapped method.
pub(crate) async fn run(core: &Core, conn: &mut Conn, ex: &mut Exchange, caching: Caching<'_>) -> Integrated {
    ex.bytes.detach(&core.scratch);
    let view = Rc::clone(&ex.view);
    let route = ex.route.and_then(|at| view.snapshot.route(at));
    if let Some(Route { action: Action::Function(plan), body_max_bytes, .. }) = route {
        return Box::pin(function(core, conn, ex, (plan, *body_max_bytes), caching)).await;
    }
    let Some((route, Action::Mapped(plan))) = route.map(|route| (route, &route.action)) else {
        respond::refuse(core, conn, ex, &Refusal::Configuration.into(), false);
        return After::Linger.into();
    };
    let mut body = match read_body(core, conn, ex).await {
        Ok(body) => body,
        Err(why) => return give_up(core, conn, ex, why),
    };
    ex.report.bytes_in = body.len() as u64;
    core.trace.body(&body);
    let made = match ready(core, ex, (route, plan), &mut body).await {
        Ok(outgoing) => match &plan.backing {
            Backing::Function(of) if of.is_stream => {
                return Box::pin(stream::of_function(core, conn, ex, of, &mut body, &outgoing)).await;
            }
            Backing::Http(of) if of.is_stream => {
                return Box::pin(stream::of_server(core, conn, ex, of, &body, &outgoing)).await;
            }
            _ => answered(core, conn, ex, plan, &mut body, &outgoing).await,
        },
        Err(refused) => Err(refused),
    };
    let keep = ex.client_keep_alive();
    let entry = match (caching, &made) {
        (Caching::Ttl(rule), Ok((answer, received))) => entry(rule, answer, received),
        _ => None,
    };
    let made = match made {
        Ok(made) => compressed(ex, made).await,
        refused => refused,
    };
    finish(core, conn, ex, made, keep);
    let after = if keep { After::KeepAlive } else { After::Close };
    Integrated { entry, ..after.into() }
}

/// Answers with the function of a route of the configuration.
async fn function(
    core: &Core,
    conn: &mut Conn,
    ex: &mut Exchange,
    (plan, body_max_bytes): (&HttpFunction, u64),
    caching: Caching<'_>,
) -> Integrated {
    let mut body = match read_body(core, conn, ex).await {
        Ok(body) if body_max_bytes > 0 && body.len() as u64 > body_max_bytes => {
            return give_up(core, conn, ex, Refusal::TooLarge);
        }
        Ok(body) => body,
        Err(why) => return give_up(core, conn, ex, why),
    };
    ex.report.bytes_in = body.len() as u64;
    conn.client.out().flush();
    let view = Rc::clone(&ex.view);
    let started_ns = sluice_rt::now_ns();
    let made = lambda::of_route(core, ex, plan, &mut body).await;
    ex.report.upstream = core.servers(&view, plan.function.to).map(|(upstream, _)| upstream.metrics_slot);
    ex.report.integration_us = Some(sluice_rt::clock_ns().saturating_sub(started_ns) / 1000);
    let keep = ex.client_keep_alive();
    let entry = match (caching, &made) {
        (Caching::Ttl(rule), Ok(answer)) => entry(rule, answer, b""),
        _ => None,
    };
    finish(core, conn, ex, made.map(|answer| (answer, Vec::new())), keep);
    let after = if keep { After::KeepAlive } else { After::Close };
    Integrated { entry, ..after.into() }
}

/// What the stage's cache keeps of an answer: as for others, only a success that is nobody's own.
fn entry(rule: &StoreRule, answer: &Answer, received: &[u8]) -> Option<Entry> {
    let body = answer.body.as_deref().unwrap_or(received);
    let is_own = rule.authorized || answer.headers.get(Place::Header, "set-cookie").is_some();
    if !(200..300).contains(&answer.status) || is_own || body.len() as u64 > rule.entry_max_bytes {
        return None;
    }
    let mut head = Vec::new();
    for (name, value) in answer.headers.of(Place::Header).filter(|(name, _)| may_be_mapped(name.as_bytes())) {
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        push_value(&mut head, value);
        head.extend_from_slice(b"\r\n");
    }
    let stored_at_ms = sluice_rt::now_ms();
    Some(Entry {
        status: answer.status,
        head: head.into(),
        body: Bytes::copy_from_slice(body),
        stored_at_ms,
        expires_at_ms: stored_at_ms + rule.ttl_ms,
        validity: Validity::Ttl,
    })
}

/// An answer, and the body that goes with it where mapping made none.
type Made = Result<(Answer, Vec<u8>), Refused>;

/// Checks and maps a request; elsewhere, if its body is large, or if that turns out to be much work.
async fn ready(
    core: &Core,
    ex: &Exchange,
    (route, plan): (&Route, &MappedPlan),
    body: &mut Vec<u8>,
) -> Result<Outgoing, Refused> {
    let mut outgoing = Outgoing::default();
    if body.len() < AWAY_BYTES {
        let work = in_place(core, body);
        let outcome = validated(core, ex, route, body, &work)
            .and_then(|()| prepared(core, ex, plan, body, (&work, &mut outgoing)));
        if !work.is_short() || core.trace.is_kept() {
            return outcome.map(|()| outgoing);
        }
    }
    let (snapshot, at) = (Arc::clone(&ex.view.snapshot), ex.route);
    let owned = {
        let seen = Seen::new(ex, b"", core.clock.unix_ms(ex.received_ns));
        OwnedRequest::of(&seen, std::mem::take(body))
    };
    let work = move || {
        let outcome = map_apart(&snapshot, at, &owned, &mut outgoing).map(|()| outgoing);
        (outcome, owned.into_body())
    };
    let (outcome, given_back) = away::done(work).await.ok_or(Refusal::Internal)?;
    *body = given_back;
    outcome.map_err(|refusal| refused(&refusal))
}

/// As [`validated`] and [`prepared`], of a request that is on its own.
fn map_apart(
    snapshot: &Snapshot,
    at: Option<RouteAt>,
    owned: &OwnedRequest,
    outgoing: &mut Outgoing,
) -> Result<(), sluice_mapping::Refusal> {
    let missing = || sluice_mapping::Refusal::configuration("the method is not there");
    let at = at.ok_or_else(missing)?;
    let (route, deployed) = snapshot.route(at).zip(snapshot.rest.deployed(at)).ok_or_else(missing)?;
    let Action::Mapped(plan) = &route.action else { return Err(missing()) };
    let request = Request::new(owned);
    if let Some(validator) = route.validator.as_deref().filter(|validator| validator.needs_body()) {
        validator.check(&request)?;
    }
    plan.request.apply(&request, &deployed.binary, outgoing)
}

/// Maps an answer, and gives back what it was mapped from; elsewhere, if its body is large, or if that turns out to be much
/// work.
async fn mapped_back<R: ResponseView + Send + 'static>(
    core: &Core,
    ex: &Exchange,
    plan: &MappedPlan,
    body: &[u8],
    outgoing: &Outgoing,
    response: R,
) -> Result<(Answer, R), Refused> {
    if response.body().len() < AWAY_BYTES {
        let work = in_place(core, response.body());
        let outcome = mapped(core, ex, plan, outgoing, (body, &response), &work);
        if !work.is_short() || core.trace.is_kept() {
            return Ok((outcome?, response));
        }
    }
    let (snapshot, at) = (Arc::clone(&ex.view.snapshot), ex.route);
    let owned = {
        let seen = Seen::new(ex, b"", core.clock.unix_ms(ex.received_ns));
        // Nothing in an answer's mapping reads the request's body.
        OwnedRequest::of(&seen, Vec::new())
    };
    let overrides = outgoing.response_overrides.clone();
    let work = move || {
        let mut answer = Answer::default();
        let missing = || sluice_mapping::Refusal::configuration("the method is not there");
        let found = at.and_then(|at| Some((snapshot.route(at)?, snapshot.rest.deployed(at)?)));
        let outcome = match found.map(|(route, deployed)| (&route.action, deployed)) {
            Some((Action::Mapped(plan), deployed)) => {
                let much = Work::apart(response.body().len());
                let (request, view) = (Request::within(&owned, &much), Response::new(&response));
                plan.response.apply(&request, &view, &deployed.binary, &overrides, &mut answer)
            }
            _ => Err(missing()),
        };
        outcome.map(|()| (answer, response))
    };
    let outcome = away::done(work).await.ok_or(Refusal::Internal)?;
    outcome.map_err(|refusal| refused(&refusal))
}

/// Compresses a large answer elsewhere, where it is to be compressed.
async fn compressed(ex: &Exchange, (mut answer, received): (Answer, Vec<u8>)) -> Made {
    let body = answer.body.as_deref().unwrap_or(&received);
    let Some(coding) = write::coding(ex, &answer, body).filter(|_| body.len() >= AWAY_BYTES) else {
        return Ok((answer, received));
    };
    let body = answer.body.take().unwrap_or(received);
    let work = move || match coding.encode(&body) {
        Some(encoded) => (encoded, true),
        None => (body, false),
    };
    let (body, is_encoded) = away::done(work).await.ok_or(Refusal::Internal)?;
    if is_encoded {
        answer.headers.set(Place::Header, "Content-Encoding", &String::from_utf8_lossy(coding.name()));
        answer.headers.add(Place::Header, "Vary", "Accept-Encoding");
    }
    answer.body = Some(body);
    Ok((answer, Vec::new()))
}

async fn answered(
    core: &Core,
    conn: &Conn,
    ex: &mut Exchange,
    plan: &MappedPlan,
    body: &mut Vec<u8>,
    outgoing: &Outgoing,
) -> Made {
    match &plan.backing {
        Backing::Mock(_) => {
            let status = mock_status(core, outgoing.body.as_deref().unwrap_or(body))?;
            let (answer, _) = mapped_back(core, ex, plan, body, outgoing, Mocked(status)).await?;
            Ok((answer, Vec::new()))
        }
        Backing::Http(integration) => {
            conn.client.out().flush();
            asked(core, ex, plan, Asked::Http(integration), body, outgoing).await
        }
        Backing::Service(integration) => {
            conn.client.out().flush();
            asked(core, ex, plan, Asked::Service(integration), body, outgoing).await
        }
        Backing::Function(integration) => {
            conn.client.out().flush();
            Box::pin(invoked(core, ex, (plan, integration), body, outgoing)).await
        }
    }
}

/// Checks what a method requires of a request but its body.
pub(crate) fn has_parameters(core: &Core, ex: &Exchange, validator: &Validator) -> Result<(), Refused> {
    let seen = Seen::new(ex, b"", core.clock.unix_ms(ex.received_ns));
    validator.check_parameters(&Request::new(&seen)).map_err(|refusal| refused(&refusal))
}

/// Checks the body, where the method's validator has a model for it.
fn validated(core: &Core, ex: &Exchange, route: &Route, body: &[u8], work: &Work) -> Result<(), Refused> {
    let validator = route.validator.as_deref().filter(|validator| validator.needs_body());
    let Some(validator) = validator else { return Ok(()) };
    let seen = Seen::new(ex, body, core.clock.unix_ms(ex.received_ns));
    validator.check(&Request::within(&seen, work)).map_err(|refusal| refused(&refusal))
}

/// Maps the request.
fn prepared(
    core: &Core,
    ex: &Exchange,
    plan: &MappedPlan,
    body: &[u8],
    (work, outgoing): (&Work, &mut Outgoing),
) -> Result<(), Refused> {
    let seen = Seen::new(ex, body, core.clock.unix_ms(ex.received_ns));
    let Some(deployed) = deployed(ex) else { return Err(Refusal::Configuration.into()) };
    let request = Request::within(&seen, work);
    plan.request.apply(&request, &deployed.binary, outgoing).map_err(|refusal| refused(&refusal))
}

fn deployed(ex: &Exchange) -> Option<&Deployed> {
    ex.view.snapshot.rest.deployed(ex.route?)
}

/// Answers a MOCK whose request has no body.
fn mocked(
    core: &Core,
    ex: &Exchange,
    plan: &MappedPlan,
    outgoing: &Outgoing,
    work: &Work,
) -> Result<Answer, Refused> {
    let status = mock_status(core, outgoing.body.as_deref().unwrap_or_default())?;
    mapped(core, ex, plan, outgoing, (b"", &Mocked(status)), work)
}

/// The status that a MOCK's request names.
fn mock_status(core: &Core, template: &[u8]) -> Result<u16, Refused> {
    core.trace.with(|log| log.add(Step::EndpointRequestBody(&String::from_utf8_lossy(template))));
    let status = Some(template).filter(|template| template.len() <= MOCK_STATUS_BYTES);
    let status = status.and_then(sluice_mapping::mock_status).ok_or_else(|| Refused {
        log: "Execution failed due to configuration error: Unable to parse statusCode. It should be an integer that is \
              defined in the request template."
            .to_owned(),
        ..Refused::from(Refusal::Configuration)
    })?;
    core.trace.received(status, 0, &[], b"");
    Ok(status)
}

fn mapped(
    core: &Core,
    ex: &Exchange,
    plan: &MappedPlan,
    outgoing: &Outgoing,
    (body, response): (&[u8], &dyn ResponseView),
    work: &Work,
) -> Result<Answer, Refused> {
    let seen = Seen::new(ex, body, core.clock.unix_ms(ex.received_ns));
    let Some(deployed) = deployed(ex) else { return Err(Refusal::Configuration.into()) };
    let mut answer = Answer::default();
    plan.response
        .apply(
            &Request::within(&seen, work),
            &Response::new(response),
            &deployed.binary,
            &outgoing.response_overrides,
            &mut answer,
        )
        .map_err(|refusal| refused(&refusal))?;
    Ok(answer)
}

/// Path and query of an integration's request.
fn targeted(
    core: &Core,
    ex: &Exchange,
    integration: &HttpIntegration,
    body: &[u8],
    outgoing: &Outgoing,
) -> Result<String, Refused> {
    let seen = Seen::new(ex, body, core.clock.unix_ms(ex.received_ns));
    let mut target = String::new();
    let passed = integration.is_proxy.then(|| sluice_mapping::RequestView::query(&seen));
    integration
        .target
        .render(&Request::new(&seen), &outgoing.parameters, passed, &mut target)
        .map_err(|refusal| refused(&refusal))?;
    if is_target(&target) { Ok(target) } else { Err(Refusal::Configuration.into()) }
}

/// A server that is asked by URI.
#[derive(Clone, Copy)]
enum Asked<'p> {
    Http(&'p HttpIntegration),
    Service(&'p ServiceIntegration),
}

async fn asked(
    core: &Core,
    ex: &mut Exchange,
    plan: &MappedPlan,
    what: Asked<'_>,
    body: &[u8],
    outgoing: &Outgoing,
) -> Made {
    let integration = match what {
        Asked::Http(integration) => integration,
        Asked::Service(service) => &service.http,
    };
    let target = targeted(core, ex, integration, body, outgoing)?;
    let sent = outgoing.body.as_deref().unwrap_or(body);
    let started_ns = sluice_rt::now_ns();
    let received = match what {
        Asked::Http(_) => Call { core, ex, integration, outgoing, target: &target, body: sent }.run().await,
        Asked::Service(integration) => {
            core.trace.invokes(&target, sent);
            ServiceCall { core, ex, integration, outgoing, target: &target, body: sent }.run().await
        }
    };
    let slot = core.servers(&ex.view, integration.to).map(|(upstream, _)| upstream.metrics_slot);
    ex.report.upstream = slot;
    ex.report.integration_us = Some(sluice_rt::clock_ns().saturating_sub(started_ns) / 1000);
    let received = received?;
    let ms = ex.report.integration_us.unwrap_or_default() / 1000;
    if core.trace.is_kept() {
        let headers = received.header_pairs();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        core.trace.received(received.head.status, ms, &headers, &received.body);
    }
    if integration.is_proxy {
        let answer = proxy::answer(&received.head, &received.bytes);
        return Ok((answer, received.body));
    }
    let (answer, received) = mapped_back(core, ex, plan, body, outgoing, received).await?;
    Ok((answer, received.body))
}

async fn invoked(
    core: &Core,
    ex: &mut Exchange,
    (plan, integration): (&MappedPlan, &FunctionIntegration),
    body: &mut Vec<u8>,
    outgoing: &Outgoing,
) -> Made {
    let view = Rc::clone(&ex.view);
    let deployed = ex.route.and_then(|at| view.snapshot.rest.deployed(at)).ok_or(Refusal::Configuration)?;
    let started_ns = sluice_rt::now_ns();
    let came = lambda::integrate(core, ex, (integration, deployed), body, outgoing).await;
    let to = integration.function.to;
    ex.report.upstream = core.servers(&view, to).map(|(upstream, _)| upstream.metrics_slot);
    ex.report.integration_us = Some(sluice_rt::clock_ns().saturating_sub(started_ns) / 1000);
    match came? {
        Came::Ready(answer) => Ok((answer, Vec::new())),
        Came::ToMap(invoked) => {
            let (answer, invoked) = mapped_back(core, ex, plan, body, outgoing, invoked).await?;
            Ok((answer, invoked.payload))
        }
    }
}

/// What may stand in a request line (RFC 9112 3.2): nothing that ends it.
pub(crate) fn is_target(target: &str) -> bool {
    target.starts_with('/') && target.bytes().all(|byte| byte > b' ' && byte != 0x7f)
}

/// The gateway's own answer to what mapping refused.
pub(crate) fn refused(refusal: &sluice_mapping::Refusal) -> Refused {
    let why = match refusal.kind {
        Kind::UnsupportedMediaType => Refusal::UnsupportedMediaType,
        Kind::BadRequestBody => Refusal::BadBody,
        Kind::BadRequestParameters => Refusal::BadParameters,
        _ => Refusal::Configuration,
    };
    let (message, validation) = (Some(refusal.message.clone()), refusal.validation.clone());
    Refused { message, validation, log: refusal.log.clone(), ..Refused::from(why) }
}

fn finish(core: &Core, conn: &Conn, ex: &mut Exchange, made: Made, keep: bool) {
    match made {
        Ok((answer, received)) => {
            let body = answer.body.as_deref().unwrap_or(&received);
            core.trace.answered(&answer, body);
            let x_cache = match ex.report.cache {
                CacheOutcome::Miss | CacheOutcome::Refresh => Some("MISS"),
                CacheOutcome::None | CacheOutcome::Hit => None,
            };
            write::answer(core, conn, ex, (&answer, body), Extras { x_cache, ..Extras::default() }, keep);
        }
        Err(refused) => respond::refuse(core, conn, ex, &refused, keep),
    }
}

/// Reads all of the request's body.
pub(crate) async fn read_body(core: &Core, conn: &mut Conn, ex: &mut Exchange) -> Result<Vec<u8>, Refusal> {
    if let Some(body) = ex.take_body() {
        return Ok(body);
    }
    match ex.head.framing {
        BodyFraming::None | BodyFraming::Length(0) => return Ok(Vec::new()),
        BodyFraming::Length(n) if n > BODY_MAX_BYTES => return Err(Refusal::TooLarge),
        _ => {}
    }
    let server = &ex.view.snapshot.server;
    let mut body = Body::new(ex.head.framing, &server.limits);
    let (mut whole, mut trailers) = (core.scratch.bytes(), Vec::new());
    let (out, mut input) = conn.client.split();
    if ex.head.expect_continue && !ex.is_http10() {
        go_on(out);
    }
    loop {
        out.set_deadline_ms(Some(sluice_rt::now_ms() + server.body_timeout_ms));
        let data = input.data(&mut body, &mut trailers).await.map_err(|error| match error {
            BodyError::Chunk(_) => Refusal::Malformed,
            BodyError::Io(e) if e.kind() == io::ErrorKind::TimedOut => Refusal::BodyTimeout,
            BodyError::Truncated | BodyError::Io(_) => Refusal::ClientGone,
        })?;
        if data.is_empty() {
            out.set_deadline_ms(None);
            return Ok(whole);
        }
        if body.received > BODY_MAX_BYTES {
            return Err(Refusal::TooLarge);
        }
        whole.extend_from_slice(data);
    }
}

/// Whether a method's answer is its fixed one whatever its templates would say of another request.
pub(crate) fn is_usual(ex: &Exchange) -> bool {
    match ex.header(sluice_wire::KnownHeader::ContentType) {
        None => true,
        Some(value) => value.eq_ignore_ascii_case(b"application/json"),
    }
}
