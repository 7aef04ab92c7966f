//! HTTP_PROXY: the request goes on as it is, but for what is mapped of its head.

use crate::core::Core;
use crate::exchange::{Exchange, Refused};
use crate::head_out::HeadOut;
use crate::rest::headers::{Passage, may_be_mapped, of_request, of_response, push_value};
use crate::rest::view::{Seen, trace_id};
use crate::rest::{is_target, refused};
use sluice_mapping::{Answer, Assigned, Outgoing, Place, Request, RequestView};
use sluice_snapshot::{AwsProxy, RouteAt};
use sluice_telemetry::Refusal;
use sluice_wire::{Header, KnownHeader, ResponseHead};

/// What mapping made of a request's head.
pub(crate) struct MappedHead {
    pub(crate) target: String,
    headers: Assigned,
}

/// Maps the head of a request, where the integration maps anything of it.
pub(crate) fn prepare(core: &Core, ex: &mut Exchange, plan: &AwsProxy) -> Result<(), Refused> {
    let Some(mapping) = &plan.parameters else { return Ok(()) };
    let mapped = {
        let seen = Seen::new(ex, b"", core.clock.unix_ms(ex.received_ns));
        let request = Request::new(&seen);
        let mut outgoing = Outgoing::default();
        let binary = sluice_mapping::BinaryMediaTypes::default();
        mapping.apply(&request, &binary, &mut outgoing).map_err(|refusal| refused(&refusal))?;
        let mut target = String::new();
        plan.integration
            .target
            .render(&request, &outgoing.parameters, Some(seen.query()), &mut target)
            .map_err(|refusal| refused(&refusal))?;
        MappedHead { target, headers: outgoing.parameters }
    };
    if !is_target(&mapped.target) {
        return Err(Refusal::Configuration.into());
    }
    ex.mapped = Some(Box::new(mapped));
    Ok(())
}

/// Whether the client's header goes to the backend.
#[inline]
pub(crate) fn passes(ex: &Exchange, header: &Header, bytes: &[u8]) -> bool {
    let (name, value) = (header.name.of(bytes), header.value.of(bytes));
    if of_request(header.id, name, value) != Passage::Pass {
        return false;
    }
    match &ex.mapped {
        None => true,
        Some(mapped) => {
            std::str::from_utf8(name).is_ok_and(|name| mapped.headers.get(Place::Header, name).is_none())
        }
    }
}

/// Adds what is mapped, and what API Gateway adds.
pub(crate) fn add_fields(out: &mut impl HeadOut, core: &Core, ex: &Exchange, plan: &AwsProxy) {
    let headers = ex.mapped.as_ref().map(|mapped| &mapped.headers);
    for (name, value) in headers.into_iter().flat_map(|headers| headers.of(Place::Header)) {
        if may_be_mapped(name.as_bytes()) {
            out.field_with(KnownHeader::from_name(name.as_bytes()), name.as_bytes(), |out| {
                push_value(out, value)
            });
        }
    }
    out.field(KnownHeader::Other, b"x-amzn-apigateway-api-id", plan.integration.api.as_bytes());
    let is_mapped = headers.is_some_and(|headers| headers.get(Place::Header, "x-amzn-trace-id").is_some());
    if !is_mapped && ex.header(KnownHeader::XAmznTraceId).is_none() {
        out.field_with(KnownHeader::XAmznTraceId, b"X-Amzn-Trace-Id", |out| {
            trace_id(out, ex, core.clock.unix_ms(ex.received_ns));
        });
    }
}

/// Whether an answer is on its way through a REST API, so that its headers are remapped.
#[inline]
pub(crate) fn remaps(ex: &Exchange) -> bool {
    ex.route.is_some_and(|at| at.stage != RouteAt::CONFIGURED)
}

/// Writes a backend's header under the name that it has here; `false`: it was not for us to write.
#[inline]
pub(crate) fn response_field(out: &mut impl HeadOut, header: &Header, bytes: &[u8]) -> bool {
    let (name, value) = (header.name.of(bytes), header.value.of(bytes));
    match of_response(header.id, name) {
        Passage::Pass => return false,
        Passage::Drop => {}
        Passage::Remap => {
            const PREFIX: &[u8] = b"x-amzn-Remapped-";
            let mut remapped = [0; 64];
            let len = PREFIX.len() + name.len();
            if let Some((prefix, rest)) = remapped.get_mut(..len).map(|all| all.split_at_mut(PREFIX.len())) {
                prefix.copy_from_slice(PREFIX);
                rest.copy_from_slice(name);
                out.field(KnownHeader::Other, remapped.get(..len).unwrap_or_default(), value);
            }
        }
    }
    true
}

/// The answer of a proxied request, without its body.
pub(crate) fn answer(head: &ResponseHead, bytes: &[u8]) -> Answer {
    let mut answer = Answer { status: head.status, ..Answer::default() };
    for header in &head.headers {
        let (name, value) = (header.name.of(bytes), header.value.of(bytes));
        let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        match of_response(header.id, name.as_bytes()) {
            Passage::Pass if header.hop_by_hop || header.id == KnownHeader::ContentLength => {}
            Passage::Pass => answer.headers.add(Place::Header, &name, &value),
            Passage::Drop => {}
            Passage::Remap => answer.headers.add(Place::Header, &format!("x-amzn-Remapped-{name}"), &value),
        }
    }
    answer
}
