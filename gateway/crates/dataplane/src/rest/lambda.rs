//! Lambda functions: one invocation by Lambda's own API, and the integrations that are made of it.
//!
//! Hosted functions and those of AWS are asked in the same way: `POST /2015-03-31/functions/{name}/invocations` (Lambda API
//! reference, "Invoke"), over the core's own connections.

use crate::core::{Core, View};
use crate::exchange::{Exchange, Refused};
use crate::rest::auth::{self, Unsigned};
use crate::rest::away::{self, AWAY_BYTES};
use crate::rest::call::{Ask, Begun};
use crate::rest::headers::{Passage, of_response};
use crate::rest::told::Told;
use crate::rest::view::{Received, trace_id};
use sluice_mapping::{
    Answer, Assigned, Malformed, Outgoing, PayloadFormat, Place, ResponseView, http_answer, proxy_answer,
};
use sluice_snapshot::{Deployed, Function, FunctionIntegration, HttpFunction};
use sluice_telemetry::Refusal;
use sluice_wire::{KnownHeader, Method, enc};
use std::rc::Rc;
use std::sync::Arc;

/// What is asked of a function, beside its payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Invocation<'a> {
    /// `X-Amz-Invocation-Type: Event`: the function is started, and its answer is nobody's.
    pub(crate) is_event: bool,
    /// `X-Amz-Client-Context`.
    pub(crate) client_context: Option<&'a str>,
    /// `X-Amzn-Trace-Id`.
    pub(crate) trace_id: &'a str,
    /// The payload's hash, where it was made before.
    pub(crate) payload_hash: Option<&'a str>,
    /// For all of it, milliseconds.
    pub(crate) timeout_ms: u64,
}

/// What came of an invocation.
#[derive(Debug)]
pub(crate) struct Invoked {
    /// 200, or 202 for an event.
    pub(crate) status: u16,
    /// `X-Amz-Function-Error`: the function failed, and the payload says how.
    pub(crate) is_error: bool,
    /// What the function answered; empty for an event.
    pub(crate) payload: Vec<u8>,
}

impl ResponseView for Invoked {
    fn status(&self) -> u16 {
        self.status
    }

    fn headers<'v>(&'v self, _: &mut dyn FnMut(&'v str, &'v [u8])) {}

    fn body(&self) -> &[u8] {
        &self.payload
    }
}

/// Invokes a function. What Lambda itself refuses (no such function, throttled, no permission) is a configuration error, as
/// API Gateway has it: "Lambda invocation failed with status: 429", 500.
pub(crate) async fn invoke(
    core: &Core,
    view: &View,
    function: &Function,
    payload: &[u8],
    invocation: Invocation<'_>,
) -> Result<Invoked, Refusal> {
    let write = |out: &mut Vec<u8>, host: &str| request(core, function, payload, invocation, (out, host));
    let timeout_ms = invocation.timeout_ms;
    let ask = Ask { core, view, to: function.to, method: Method::Post, write: &write, timeout_ms };
    let Received { head, bytes, body } = ask.run().await?;
    if !(200..300).contains(&head.status) {
        return Err(Refusal::Configuration);
    }
    let named = |name: &[u8]| name.eq_ignore_ascii_case(b"x-amz-function-error");
    let is_error = head.headers.iter().any(|header| named(header.name.of(&bytes)));
    Ok(Invoked { status: head.status, is_error, payload: body })
}

/// Invokes a function whose answer streams. As with [`invoke`], what Lambda refuses is a configuration error.
pub(crate) async fn begin(
    core: &Core,
    ex: &Exchange,
    integration: &FunctionIntegration,
    body: &mut Vec<u8>,
    outgoing: &Outgoing,
) -> Result<Begun, Refused> {
    let view = Rc::clone(&ex.view);
    let deployed = ex.route.and_then(|at| view.snapshot.rest.deployed(at)).ok_or(Refusal::Configuration)?;
    let mapped = |name: &str| outgoing.parameters.get(Place::Header, name);
    let trace_id = trace(ex, mapped("x-amzn-trace-id"), core.clock.unix_ms(ex.received_ns));
    let invocation = Invocation {
        is_event: false,
        client_context: mapped("x-amz-client-context").filter(|context| is_field_value(context)),
        trace_id: &trace_id,
        payload_hash: None,
        timeout_ms: integration.timeout_ms,
    };
    let function = &integration.function;
    let event = Told::rest(ex, deployed, &trace_id).event(core, ex, body, function).await?;
    let invocation = Invocation { payload_hash: event.hash.as_deref(), ..invocation };
    core.trace.invokes(&function.path, &event.bytes);
    let write =
        |out: &mut Vec<u8>, host: &str| request(core, function, &event.bytes, invocation, (out, host));
    let timeout_ms = integration.timeout_ms;
    let ask = Ask { core, view: &view, to: function.to, method: Method::Post, write: &write, timeout_ms };
    let begun = ask.begin().await?;
    if !(200..300).contains(&begun.head.status) {
        return Err(Refusal::Configuration.into());
    }
    Ok(begun)
}

/// Writes the request of an invocation, for a server of this name.
fn request(
    core: &Core,
    function: &Function,
    payload: &[u8],
    invocation: Invocation<'_>,
    (out, host): (&mut Vec<u8>, &str),
) {
    let (path, query) = function.path.split_once('?').unwrap_or((&function.path, ""));
    let mut headers = vec![("Host", host), ("Content-Type", "application/json")];
    if invocation.is_event {
        headers.push(("X-Amz-Invocation-Type", "Event"));
    }
    headers.extend(invocation.client_context.map(|context| ("X-Amz-Client-Context", context)));
    out.reserve(payload.len() + 1024);
    out.extend_from_slice(b"POST ");
    out.extend_from_slice(function.path.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in &headers {
        enc::header(out, name.as_bytes(), value.as_bytes());
    }
    let request = Unsigned {
        method: "POST",
        path,
        query,
        headers: &headers,
        body: payload,
        payload_hash: invocation.payload_hash,
    };
    auth::write(out, &function.auth, &request, core.clock.unix_ms(sluice_rt::now_ns()) / 1000);
    enc::header(out, b"X-Amzn-Trace-Id", invocation.trace_id.as_bytes());
    enc::content_length(out, payload.len() as u64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(payload);
}

/// What an integration came to: an answer that is ready, or one that is still to be mapped.
pub(crate) enum Came {
    Ready(Answer),
    ToMap(Invoked),
}

/// Asks the function of an integration. `body`: the client's.
pub(crate) async fn integrate(
    core: &Core,
    ex: &Exchange,
    (integration, deployed): (&FunctionIntegration, &Deployed),
    body: &mut Vec<u8>,
    outgoing: &Outgoing,
) -> Result<Came, Refused> {
    let mapped = |name: &str| outgoing.parameters.get(Place::Header, name);
    let invocation_type = mapped("x-amz-invocation-type");
    let trace_id = trace(ex, mapped("x-amzn-trace-id"), core.clock.unix_ms(ex.received_ns));
    let invocation = Invocation {
        is_event: invocation_type.is_some_and(|value| value.eq_ignore_ascii_case("Event")),
        client_context: mapped("x-amz-client-context").filter(|context| is_field_value(context)),
        trace_id: &trace_id,
        payload_hash: None,
        timeout_ms: integration.timeout_ms,
    };
    let event = match integration.is_proxy {
        true => Some(Told::rest(ex, deployed, &trace_id).event(core, ex, body, &integration.function).await?),
        false => None,
    };
    let invocation =
        Invocation { payload_hash: event.as_ref().and_then(|event| event.hash.as_deref()), ..invocation };
    let made = event.as_ref().map(|event| event.bytes.as_slice());
    let payload = made.or(outgoing.body.as_deref()).unwrap_or(body);
    let view = Rc::clone(&ex.view);
    core.trace.invokes(&integration.function.path, payload);
    let invoked = invoke(core, &view, &integration.function, payload, invocation).await?;
    let ms = sluice_rt::clock_ns().saturating_sub(ex.received_ns) / 1_000_000;
    core.trace.received(invoked.status, ms, &[], &invoked.payload);
    if !integration.is_proxy {
        return Ok(Came::ToMap(invoked));
    }
    if invocation.is_event {
        let (status, body) = (invoked.status, Some(Vec::new()));
        return Ok(Came::Ready(Answer { status, body, ..Answer::default() }));
    }
    if invoked.is_error {
        return Err(Refusal::FunctionFailed.into());
    }
    Ok(Came::Ready(remapped(proxied(ex, invoked.payload).await?)))
}

/// The answer that a function's payload stands for; read beside the cores, if it is large.
async fn proxied(ex: &Exchange, payload: Vec<u8>) -> Result<Answer, Refusal> {
    let accept = ex.header(KnownHeader::Accept).and_then(|accept| std::str::from_utf8(accept).ok());
    let (snapshot, at, accept) = (Arc::clone(&ex.view.snapshot), ex.route, accept.map(str::to_owned));
    let large = payload.len() >= AWAY_BYTES;
    let read = move || {
        let deployed = at.and_then(|at| snapshot.rest.deployed(at)).ok_or(Malformed)?;
        let mut answer = Answer::default();
        proxy_answer(&payload, &deployed.binary, accept.as_deref(), &mut answer).map(|()| answer)
    };
    let answer = if large { away::done(read).await.ok_or(Refusal::Internal)? } else { read() };
    answer.map_err(|_| Refusal::FunctionFailed)
}

/// Asks the function of a route of the configuration.
pub(crate) async fn of_route(
    core: &Core,
    ex: &Exchange,
    plan: &HttpFunction,
    body: &mut Vec<u8>,
) -> Result<Answer, Refused> {
    let trace_id = trace(ex, None, core.clock.unix_ms(ex.received_ns));
    let told = match plan.format {
        PayloadFormat::V1 => Told::http_v1(ex, body, &trace_id),
        PayloadFormat::V2 => Told::http_v2(ex, &trace_id),
    };
    let event = told.event(core, ex, body, &plan.function).await?;
    let invocation = Invocation {
        payload_hash: event.hash.as_deref(),
        is_event: false,
        client_context: None,
        trace_id: &trace_id,
        timeout_ms: plan.timeout_ms,
    };
    let view = Rc::clone(&ex.view);
    let invoked = invoke(core, &view, &plan.function, &event.bytes, invocation).await?;
    if invoked.is_error {
        return Err(Refusal::FunctionFailed.into());
    }
    let (payload, format) = (invoked.payload, plan.format);
    let large = payload.len() >= AWAY_BYTES;
    let read = move || {
        let mut answer = Answer::default();
        http_answer(&payload, format, &mut answer).map(|()| answer)
    };
    let answer = if large { away::done(read).await.ok_or(Refusal::Internal)? } else { read() };
    Ok(answer.map_err(|_| Refusal::FunctionFailed)?)
}

/// What may stand in a request line's company: nothing that ends a line.
fn is_field_value(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..0x7f).contains(&byte))
}

/// The trace: what is mapped, the client's own, or a new one.
pub(crate) fn trace(ex: &Exchange, mapped: Option<&str>, unix_ms: u64) -> String {
    let of_client = || ex.header(KnownHeader::XAmznTraceId).and_then(|value| std::str::from_utf8(value).ok());
    mapped.or_else(of_client).filter(|trace| is_field_value(trace)).map_or_else(
        || {
            let mut made = Vec::new();
            trace_id(&mut made, ex, unix_ms);
            String::from_utf8_lossy(&made).into_owned()
        },
        str::to_owned,
    )
}

/// Headers under the names that they have at the client.
pub(crate) fn remapped(answer: Answer) -> Answer {
    let mut headers = Assigned::default();
    for (name, value) in answer.headers.of(Place::Header) {
        match of_response(KnownHeader::from_name(name.as_bytes()), name.as_bytes()) {
            Passage::Pass => headers.add(Place::Header, name, value),
            Passage::Drop => {}
            Passage::Remap => headers.add(Place::Header, &format!("x-amzn-Remapped-{name}"), value),
        }
    }
    Answer { headers, ..answer }
}
