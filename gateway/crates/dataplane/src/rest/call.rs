//! Requests to servers whose answers are wanted whole, because they are mapped.

use crate::core::{Core, View};
use crate::exchange::Exchange;
use crate::integrate::{Failure, FinalHead, Tries, connect_refusal, open};
use crate::rest::headers::{Passage, may_be_mapped, of_request, push_value};
use crate::rest::view::{Received, trace_id};
use sluice_client::{Group, Lease, RESPONSE_LIMITS};
use sluice_h1::{Body, BodyError};
use sluice_h2::{In, Out};
use sluice_mapping::{Outgoing, Place};
use sluice_snapshot::{BackendTls, Destination, HttpIntegration, Upstream};
use sluice_telemetry::Refusal;
use sluice_wire::{BodyFraming, KnownHeader, Method, ResponseHead, enc};
use std::io;
use std::rc::Rc;

/// What an integration may answer ("Amazon API Gateway quotas": payload size).
const ANSWER_MAX_BYTES: usize = 10 * 1024 * 1024;

/// One request to a server, and its answer whole.
pub(crate) struct Ask<'a> {
    pub(crate) core: &'a Core,
    pub(crate) view: &'a View,
    /// The server.
    pub(crate) to: Destination,
    pub(crate) method: Method,
    /// Head and body, for a server of this name (`Host`).
    pub(crate) write: &'a dyn Fn(&mut Vec<u8>, &str),
    /// For all of it.
    pub(crate) timeout_ms: u64,
}

/// An answer whose head has come.
pub(crate) struct Begun {
    pub(crate) head: Box<ResponseHead>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) lease: Lease,
    group: Rc<Group>,
}

impl Begun {
    /// The connection is done with; `is_whole`: the answer was read to its end. What is left is the head.
    pub(crate) fn end(self, is_whole: bool) -> (Box<ResponseHead>, Vec<u8>) {
        self.group.succeeded(self.lease.target);
        if is_whole && self.head.keep_alive && self.head.framing != BodyFraming::UntilClose {
            self.group.release(self.lease, sluice_rt::now_ms());
        }
        (self.head, self.bytes)
    }
}

impl Ask<'_> {
    /// Asks, once more where that is safe, and reads the answer to its end.
    pub(crate) async fn run(&self) -> Result<Received, Refusal> {
        let mut begun = self.begin().await?;
        let body = {
            let (_, mut ui) = begun.lease.wire.split();
            read_answer(&mut ui, &begun.head).await
        };
        let body = body.inspect_err(|_| begun.group.failed(begun.lease.target, sluice_rt::now_ms()))?;
        let (head, bytes) = begun.end(true);
        Ok(Received { head, bytes, body })
    }

    /// Asks, once more where that is safe, and reads the head of the answer.
    pub(crate) async fn begin(&self) -> Result<Begun, Refusal> {
        let core = self.core;
        let (upstream, group) = core.servers(self.view, self.to).ok_or(Refusal::UpstreamConnect)?;
        let deadline_ms = sluice_rt::now_ms() + self.timeout_ms;
        let mut tries = Tries::new(upstream.retries, deadline_ms);
        let mut avoid = None;
        loop {
            let lease = match open(core, &group, self.method, upstream, avoid, deadline_ms).await {
                Ok(lease) => lease,
                Err((target, error)) => {
                    if tries.again() {
                        avoid = Some(target);
                        continue;
                    }
                    return Err(connect_refusal(&error));
                }
            };
            let target = lease.target;
            let reused = lease.reused;
            match self.attempt(upstream, lease, deadline_ms).await {
                Ok((head, bytes, lease)) => return Ok(Begun { head, bytes, lease, group }),
                Err(Failure::Unanswered(_)) if reused && self.method.is_idempotent() && tries.again() => {
                    avoid = Some(target);
                }
                Err(failure) => {
                    group.failed(target, sluice_rt::now_ms());
                    return Err(match failure {
                        Failure::Refused => Refusal::UpstreamReset,
                        Failure::Unanswered(why) | Failure::Upstream(why) | Failure::Client(why) => why,
                    });
                }
            }
        }
    }

    async fn attempt(
        &self,
        upstream: &Upstream,
        mut lease: Lease,
        deadline_ms: u64,
    ) -> Result<(Box<ResponseHead>, Vec<u8>, Lease), Failure> {
        let Out::H1(stream) = lease.wire.out() else {
            return Err(Failure::Upstream(Refusal::UpstreamMalformed));
        };
        stream.write_with(|out| (self.write)(out, &upstream.name));
        stream.flush();
        let mut head = self.core.scratch.response();
        let (us, mut ui) = lease.wire.split();
        let final_head = FinalHead {
            scratch: &self.core.scratch,
            method: self.method,
            deadline_ms: Some(deadline_ms),
            interim_to: None,
            upgrading: false,
        };
        let bytes = final_head.read(us, &mut ui, &mut head).await?;
        let kept = bytes.as_slice().to_vec();
        bytes.recycle(&self.core.scratch);
        Ok((head, kept, lease))
    }
}

/// One request to an integration.
pub(crate) struct Call<'a> {
    pub(crate) core: &'a Core,
    pub(crate) ex: &'a Exchange,
    pub(crate) integration: &'a HttpIntegration,
    pub(crate) outgoing: &'a Outgoing,
    /// Path and query.
    pub(crate) target: &'a str,
    pub(crate) body: &'a [u8],
}

impl Call<'_> {
    /// Asks, and reads the answer to its end. All of it has `timeoutInMillis`.
    pub(crate) async fn run(&self) -> Result<Received, Refusal> {
        let write = |out: &mut Vec<u8>, authority: &str| self.write(out, authority);
        self.ask(&write).run().await
    }

    /// Asks, and reads the head of the answer.
    pub(crate) async fn begin(&self) -> Result<Begun, Refusal> {
        let write = |out: &mut Vec<u8>, authority: &str| self.write(out, authority);
        self.ask(&write).begin().await
    }

    fn ask<'s>(&'s self, write: &'s dyn Fn(&mut Vec<u8>, &str)) -> Ask<'s> {
        let (core, view, method) = (self.core, &*self.ex.view, self.method());
        let HttpIntegration { to, timeout_ms, .. } = *self.integration;
        Ask { core, view, to, method, write, timeout_ms }
    }

    fn method(&self) -> Method {
        match &self.integration.method {
            Some(name) => Method::from_bytes(name),
            None => self.ex.head.method,
        }
    }

    fn write(&self, out: &mut Vec<u8>, authority: &str) {
        let authority = self.integration.host.as_deref().unwrap_or(authority);
        let (ex, name) = (self.ex, self.ex.head.method_name.of(self.ex.bytes.as_slice()));
        let before = out.len();
        out.extend_from_slice(self.integration.method.as_deref().unwrap_or(name));
        out.push(b' ');
        out.extend_from_slice(self.target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        out.extend_from_slice(authority.as_bytes());
        out.extend_from_slice(b"\r\n");
        let mapped = &self.outgoing.parameters;
        for (name, value) in mapped.of(Place::Header).filter(|(name, _)| may_be_mapped(name.as_bytes())) {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            push_value(out, value);
            out.extend_from_slice(b"\r\n");
        }
        let missing = |name: &str| mapped.get(Place::Header, name).is_none();
        if self.integration.is_proxy {
            self.passed_on(out, &missing);
        } else {
            self.of_its_own(out, &missing);
        }
        if missing("x-amzn-apigateway-api-id") {
            enc::header(out, b"x-amzn-apigateway-api-id", self.integration.api.as_bytes());
        }
        if missing("x-amzn-trace-id")
            && !(self.integration.is_proxy && ex.header(KnownHeader::XAmznTraceId).is_some())
        {
            out.extend_from_slice(b"X-Amzn-Trace-Id: ");
            trace_id(out, ex, self.core.clock.unix_ms(ex.received_ns));
            out.extend_from_slice(b"\r\n");
        }
        // RFC 9110 8.6: a request without content whose method expects none has no length either.
        if !self.body.is_empty()
            || !matches!(self.method(), Method::Get | Method::Head | Method::Delete | Method::Options)
        {
            enc::content_length(out, self.body.len() as u64);
        }
        out.extend_from_slice(b"\r\n");
        if self.core.trace.is_kept() {
            let scheme = if self.is_secure() { "https" } else { "http" };
            let uri = format!("{scheme}://{authority}{}", self.target);
            self.core.trace.sent(&uri, out.get(before..).unwrap_or_default(), self.body);
        }
        out.extend_from_slice(self.body);
    }

    /// Whether the backend is spoken to over TLS.
    fn is_secure(&self) -> bool {
        let Destination::Backend(id) = self.integration.to else { return false };
        let backend = self.ex.view.snapshot.rest.backends.get(id.0 as usize);
        backend.is_some_and(|backend| backend.tls != BackendTls::Plain)
    }

    /// The client's headers (HTTP_PROXY).
    fn passed_on(&self, out: &mut Vec<u8>, missing: &dyn Fn(&str) -> bool) {
        let bytes = self.ex.bytes.as_slice();
        for h in self.ex.head.headers.iter().filter(|h| !h.hop_by_hop) {
            let (name, value) = (h.name.of(bytes), h.value.of(bytes));
            let ours = matches!(h.id, KnownHeader::Host | KnownHeader::ContentLength | KnownHeader::Expect);
            let unmapped = std::str::from_utf8(name).is_ok_and(missing);
            if !ours && unmapped && of_request(h.id, name, value) == Passage::Pass {
                enc::header(out, name, value);
            }
        }
    }

    /// What API Gateway sends with a request that it has made (HTTP).
    fn of_its_own(&self, out: &mut Vec<u8>, missing: &dyn Fn(&str) -> bool) {
        if missing("content-type") {
            out.extend_from_slice(b"Content-Type: ");
            push_value(out, &self.outgoing.content_type);
            out.extend_from_slice(b"\r\n");
        }
        if missing("accept") {
            enc::header(out, b"Accept", b"application/json");
        }
        if missing("user-agent") {
            out.extend_from_slice(b"User-Agent: AmazonAPIGateway_");
            out.extend_from_slice(self.integration.api.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

async fn read_answer(ui: &mut In<'_>, head: &ResponseHead) -> Result<Vec<u8>, Refusal> {
    let mut body = Body::new(head.framing, &RESPONSE_LIMITS);
    let (mut trailers, mut whole) = (Vec::new(), Vec::new());
    loop {
        let data = ui.data(&mut body, &mut trailers).await.map_err(|error| match error {
            BodyError::Io(e) if e.kind() == io::ErrorKind::TimedOut => Refusal::UpstreamTimeout,
            BodyError::Io(_) | BodyError::Truncated => Refusal::UpstreamReset,
            BodyError::Chunk(_) => Refusal::UpstreamMalformed,
        })?;
        if data.is_empty() {
            return Ok(whole);
        }
        if whole.len() + data.len() > ANSWER_MAX_BYTES {
            return Err(Refusal::Configuration);
        }
        whole.extend_from_slice(data);
    }
}
