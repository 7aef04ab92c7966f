//! Lambda functions: one invocation by Lambda's own API, and the integrations that are made of it.
//!
//! Hosted functions and those of AWS are asked in the same way: `POST /2015-03-31/functions/{name}/invocations` (Lambda API
//! reference, "Invoke"), over the core's own connections.

use crate::core::{Core, View};
use crate::exchange::{Exchange, Refused};
use crate::forward::{address, port_of};
use crate::rest::auth::{self, Unsigned};
use crate::rest::call::Ask;
use crate::rest::headers::{Passage, of_request, of_response};
use crate::rest::view::{Received, Seen, trace_id};
use sluice_mapping::{
    Answer, Assigned, EventFacts, Outgoing, Place, Request, ResponseView, proxy_answer, proxy_event,
};
use sluice_snapshot::{Deployed, Function, FunctionIntegration};
use sluice_telemetry::Refusal;
use sluice_wire::{KnownHeader, Method, enc};
use std::borrow::Cow;
use std::rc::Rc;

/// What is asked of a function, beside its payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Invocation<'a> {
    /// `X-Amz-Invocation-Type: Event`: the function is started, and its answer is nobody's.
    pub(crate) is_event: bool,
    /// `X-Amz-Client-Context`.
    pub(crate) client_context: Option<&'a str>,
    /// `X-Amzn-Trace-Id`.
    pub(crate) trace_id: &'a str,
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
    let (path, query) = function.path.split_once('?').unwrap_or((&function.path, ""));
    let write = |out: &mut Vec<u8>, host: &str| {
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
        let request = Unsigned { method: "POST", path, query, headers: &headers, body: payload };
        auth::write(out, &function.auth, &request, core.clock.unix_ms(sluice_rt::now_ns()) / 1000);
        enc::header(out, b"X-Amzn-Trace-Id", invocation.trace_id.as_bytes());
        enc::content_length(out, payload.len() as u64);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(payload);
    };
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

/// What an integration came to: an answer that is ready, or one that is still to be mapped.
pub(crate) enum Came {
    Ready(Answer),
    ToMap(Invoked),
}

/// Asks the function of an integration. `sent`: the body that mapping made of the client's.
pub(crate) async fn integrate(
    core: &Core,
    ex: &Exchange,
    (integration, deployed): (&FunctionIntegration, &Deployed),
    (body, sent): (&[u8], &[u8]),
    outgoing: &Outgoing,
) -> Result<Came, Refused> {
    let unix_ms = core.clock.unix_ms(ex.received_ns);
    let mapped = |name: &str| outgoing.parameters.get(Place::Header, name);
    let invocation_type = mapped("x-amz-invocation-type");
    let trace_id = trace(ex, &outgoing.parameters, unix_ms);
    let invocation = Invocation {
        is_event: invocation_type.is_some_and(|value| value.eq_ignore_ascii_case("Event")),
        client_context: mapped("x-amz-client-context").filter(|context| is_field_value(context)),
        trace_id: &trace_id,
        timeout_ms: integration.timeout_ms,
    };
    let event = integration.is_proxy.then(|| event(ex, deployed, body, &trace_id, unix_ms));
    let payload = event.as_deref().unwrap_or(sent);
    let view = Rc::clone(&ex.view);
    core.trace.invokes(&integration.function.path, payload);
    let invoked = invoke(core, &view, &integration.function, payload, invocation).await?;
    let ms = sluice_rt::clock_ns().saturating_sub(ex.received_ns) / 1_000_000;
    core.trace.received(invoked.status, ms, &[], &invoked.payload);
    if !integration.is_proxy {
        return Ok(Came::ToMap(invoked));
    }
    if invocation.is_event {
        return Ok(Came::Ready(Answer {
            status: invoked.status,
            body: Some(Vec::new()),
            ..Answer::default()
        }));
    }
    if invoked.is_error {
        return Err(Refusal::FunctionFailed.into());
    }
    let accept = ex.header(KnownHeader::Accept).and_then(|accept| std::str::from_utf8(accept).ok());
    let mut answer = Answer::default();
    proxy_answer(&invoked.payload, &deployed.binary, accept, &mut answer)
        .map_err(|_| Refusal::FunctionFailed)?;
    Ok(Came::Ready(remapped(answer)))
}

/// What may stand in a request line's company: nothing that ends a line.
fn is_field_value(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..0x7f).contains(&byte))
}

/// The trace: what is mapped, the client's own, or a new one.
fn trace(ex: &Exchange, mapped: &Assigned, unix_ms: u64) -> String {
    let of_client = || ex.header(KnownHeader::XAmznTraceId).and_then(|value| std::str::from_utf8(value).ok());
    let given = mapped.get(Place::Header, "x-amzn-trace-id").or_else(of_client);
    given.filter(|trace| is_field_value(trace)).map_or_else(
        || {
            let mut made = Vec::new();
            trace_id(&mut made, ex, unix_ms);
            String::from_utf8_lossy(&made).into_owned()
        },
        str::to_owned,
    )
}

/// The event of AWS_PROXY.
fn event(ex: &Exchange, deployed: &Deployed, body: &[u8], trace_id: &str, unix_ms: u64) -> Vec<u8> {
    let seen = Seen::new(ex, body, unix_ms);
    let content_type = ex.header(KnownHeader::ContentType).and_then(|value| std::str::from_utf8(value).ok());
    let headers = event_headers(ex, trace_id);
    let path = client_path(ex);
    let facts =
        EventFacts { path: &path, headers: &headers, is_binary: deployed.binary.matches(content_type) };
    let mut event = Vec::with_capacity(body.len() + 4096);
    proxy_event(&Request::new(&seen), &facts, &mut event);
    event
}

/// The client's headers as API Gateway hands them on, with what it adds.
pub(crate) fn event_headers<'s>(ex: &'s Exchange, trace_id: &'s str) -> Vec<(Cow<'s, str>, Cow<'s, str>)> {
    let bytes = ex.bytes.as_slice();
    let mut headers = Vec::with_capacity(ex.head.headers.len() + 4);
    let mut has_host = false;
    let authority = ex.head.authority.of(bytes);
    for header in ex.head.headers.iter().filter(|header| !header.hop_by_hop) {
        let (name, value) = (header.name.of(bytes), header.value.of(bytes));
        let is_ours = matches!(
            header.id,
            KnownHeader::ContentLength
                | KnownHeader::Expect
                | KnownHeader::XForwardedFor
                | KnownHeader::XForwardedPort
                | KnownHeader::XForwardedProto
                | KnownHeader::XAmznTraceId
        );
        if is_ours || of_request(header.id, name, value) != Passage::Pass {
            continue;
        }
        has_host |= header.id == KnownHeader::Host;
        headers.push((String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
    }
    if !has_host {
        // HTTP/2 names it in `:authority`.
        headers.push((Cow::Borrowed("Host"), String::from_utf8_lossy(authority)));
    }
    let mut forwarded = Vec::new();
    for header in ex.head.headers.iter().filter(|header| header.id == KnownHeader::XForwardedFor) {
        forwarded.extend_from_slice(header.value.of(bytes));
        forwarded.extend_from_slice(b", ");
    }
    address(&mut forwarded, ex.peer);
    let is_tls = ex.tls.is_some();
    headers.push((Cow::Borrowed("X-Amzn-Trace-Id"), Cow::Borrowed(trace_id)));
    headers.push((
        Cow::Borrowed("X-Forwarded-For"),
        Cow::Owned(String::from_utf8_lossy(&forwarded).into_owned()),
    ));
    headers.push((Cow::Borrowed("X-Forwarded-Port"), String::from_utf8_lossy(port_of(authority, is_tls))));
    headers.push((Cow::Borrowed("X-Forwarded-Proto"), Cow::Borrowed(if is_tls { "https" } else { "http" })));
    headers
}

/// The path as the client wrote it; without the stage where the stage is in it.
pub(crate) fn client_path(ex: &Exchange) -> Cow<'_, str> {
    let path = if ex.is_by_domain() { ex.head.path.of(ex.bytes.as_slice()) } else { ex.routed_path() };
    if path.is_empty() { Cow::Borrowed("/") } else { String::from_utf8_lossy(path) }
}

/// Headers under the names that they have at the client.
fn remapped(answer: Answer) -> Answer {
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
