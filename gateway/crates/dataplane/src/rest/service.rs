//! Services of AWS behind methods (integration type AWS): the request that mapping has made, signed.
//!
//! Signed are `Host`, `Content-Type` and all of `X-Amz-…`, which is what services ask for; what proxies on the way may add or
//! change is not.

use crate::core::Core;
use crate::exchange::Exchange;
use crate::rest::auth::{self, Unsigned};
use crate::rest::call::Ask;
use crate::rest::headers::{may_be_mapped, push_value};
use crate::rest::view::{Received, trace_id};
use sluice_mapping::{Outgoing, Place};
use sluice_snapshot::ServiceIntegration;
use sluice_telemetry::Refusal;
use sluice_wire::{Method, enc};
use std::rc::Rc;

/// One request to a service.
pub(crate) struct ServiceCall<'a> {
    pub(crate) core: &'a Core,
    pub(crate) ex: &'a Exchange,
    pub(crate) integration: &'a ServiceIntegration,
    pub(crate) outgoing: &'a Outgoing,
    /// Path and query.
    pub(crate) target: &'a str,
    pub(crate) body: &'a [u8],
}

impl ServiceCall<'_> {
    /// Asks, and reads the answer to its end.
    pub(crate) async fn run(&self) -> Result<Received, Refusal> {
        let view = Rc::clone(&self.ex.view);
        let http = &self.integration.http;
        let write = |out: &mut Vec<u8>, host: &str| self.write(out, host);
        let (to, timeout_ms) = (http.to, http.timeout_ms);
        Ask { core: self.core, view: &view, to, method: self.method(), write: &write, timeout_ms }.run().await
    }

    fn method(&self) -> Method {
        self.integration.http.method.as_deref().map_or(Method::Post, Method::from_bytes)
    }

    /// Those that are signed.
    fn signed(&self, host: &str) -> Vec<(String, String)> {
        let mapped = &self.outgoing.parameters;
        let missing = |name: &str| mapped.get(Place::Header, name).is_none();
        let mut headers = vec![("Host".to_owned(), host.to_owned())];
        for (name, value) in self.mapped().filter(|(name, _)| is_signed(name)) {
            headers.push((name.to_owned(), cleaned(value)));
        }
        for (name, value) in &self.integration.headers {
            if missing(name) {
                headers.push((name.to_string(), value.to_string()));
            }
        }
        let has_type = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        if !has_type && !self.body.is_empty() {
            headers.push(("Content-Type".to_owned(), cleaned(&self.outgoing.content_type)));
        }
        if self.integration.signs_payload {
            headers.push(("X-Amz-Content-Sha256".to_owned(), sluice_sigv4::payload_hash(self.body)));
        }
        headers
    }

    fn mapped(&self) -> impl Iterator<Item = (&str, &str)> {
        let ours = |name: &str| {
            ["authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"]
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known))
        };
        let mapped = self.outgoing.parameters.of(Place::Header);
        mapped.filter(move |(name, _)| may_be_mapped(name.as_bytes()) && !ours(name))
    }

    fn write(&self, out: &mut Vec<u8>, host: &str) {
        let method = self.integration.http.method.as_deref().unwrap_or(b"POST");
        let (path, query) = self.target.split_once('?').unwrap_or((self.target, ""));
        let signed = self.signed(host);
        let signed: Vec<_> = signed.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        out.reserve(self.body.len() + 1024);
        let before = out.len();
        out.extend_from_slice(method);
        out.push(b' ');
        out.extend_from_slice(self.target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        for (name, value) in &signed {
            enc::header(out, name.as_bytes(), value.as_bytes());
        }
        // The signature stays out of what is told.
        if self.core.trace.is_kept() {
            let uri = format!("{host}{}", self.target);
            self.core.trace.sent(&uri, out.get(before..).unwrap_or_default(), self.body);
        }
        let request = Unsigned {
            method: std::str::from_utf8(method).unwrap_or_default(),
            path,
            query,
            headers: &signed,
            body: self.body,
            payload_hash: None,
        };
        let now_s = self.core.clock.unix_ms(sluice_rt::now_ns()) / 1000;
        auth::write(out, &self.integration.auth, &request, now_s);
        for (name, value) in self.mapped().filter(|(name, _)| !is_signed(name)) {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            push_value(out, value);
            out.extend_from_slice(b"\r\n");
        }
        let missing = |name: &str| self.outgoing.parameters.get(Place::Header, name).is_none();
        if missing("user-agent") {
            out.extend_from_slice(b"User-Agent: AmazonAPIGateway_");
            out.extend_from_slice(self.integration.http.api.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        if missing("x-amzn-trace-id") {
            out.extend_from_slice(b"X-Amzn-Trace-Id: ");
            trace_id(out, self.ex, self.core.clock.unix_ms(self.ex.received_ns));
            out.extend_from_slice(b"\r\n");
        }
        // RFC 9110 8.6: a request without content whose method expects none has no length either.
        if !self.body.is_empty() || !matches!(self.method(), Method::Get | Method::Head | Method::Delete) {
            enc::content_length(out, self.body.len() as u64);
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.body);
    }
}

fn is_signed(name: &str) -> bool {
    name.eq_ignore_ascii_case("content-type")
        || name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"))
}

/// A value that mapping made: line ends in it would be headers of the caller's own.
fn cleaned(value: &str) -> String {
    value.chars().map(|c| if c.is_ascii_control() { ' ' } else { c }).collect()
}
