//! What functions and authorizers are told of a request.

use crate::auth::Principal;
use crate::core::Core;
use crate::exchange::Exchange;
use crate::forward::{address, port_of};
use crate::rest::away::{self, AWAY_BYTES};
use crate::rest::headers::{Passage, of_request};
use crate::rest::view::Seen;
use serde_json::{Map, Value};
use sluice_mapping::{
    EventFacts, HttpEventFacts, OwnedRequest, Request, RequestView, http_authorizer_event,
    http_authorizer_event_v1, http_event, proxy_event,
};
use sluice_sigv4::payload_hash;
use sluice_snapshot::{Auth, Authorizer, Deployed, Function};
use sluice_telemetry::Refusal;
use sluice_wire::KnownHeader;
use std::borrow::Cow;

/// Whether a header goes to a function.
type Passes<'p> = &'p dyn Fn(KnownHeader, &[u8], &[u8]) -> bool;
type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// An event, and its hash where a signature will need it and it is too large to be hashed on a core.
pub(crate) struct Event {
    pub(crate) bytes: Vec<u8>,
    pub(crate) hash: Option<String>,
}

/// What an event says beside what the request's view tells.
pub(crate) struct Told<'a> {
    path: Cow<'a, str>,
    headers: Vec<Pair<'a>>,
    form: Form<'a>,
}

enum Form<'a> {
    /// Payload format 1.0.
    V1 { is_binary: bool, is_http_api: bool },
    /// Payload format 2.0.
    V2(V2<'a>),
}

struct V2<'a> {
    route_key: String,
    content_type: Option<Cow<'a, str>>,
    is_encoded: bool,
    authorizer: Option<String>,
}

impl<'a> Told<'a> {
    /// Of a method of a REST API.
    pub(crate) fn rest(ex: &'a Exchange, deployed: &Deployed, trace_id: &'a str) -> Self {
        let is_binary = deployed.binary.matches(content_type(ex));
        Self {
            path: client_path(ex),
            headers: event_headers(ex, trace_id),
            form: Form::V1 { is_binary, is_http_api: false },
        }
    }

    /// Of a route of the configuration, in payload format 1.0.
    pub(crate) fn http_v1(ex: &'a Exchange, body: &[u8], trace_id: &'a str) -> Self {
        let told = Self::http_v2(ex, trace_id);
        let facts = told.facts();
        let is_binary = facts.is_some_and(|facts| !facts.is_text(body));
        Self { form: Form::V1 { is_binary, is_http_api: true }, ..told }
    }

    /// Of a route of the configuration, in payload format 2.0.
    pub(crate) fn http_v2(ex: &'a Exchange, trace_id: &'a str) -> Self {
        Self {
            path: client_path(ex),
            headers: http_headers(ex, trace_id),
            form: Form::V2(V2 {
                route_key: route_key(ex),
                content_type: content_type(ex).map(Cow::Borrowed),
                is_encoded: ex.header(KnownHeader::ContentEncoding).is_some(),
                authorizer: authorizer(ex),
            }),
        }
    }

    fn facts(&self) -> Option<HttpEventFacts<'_>> {
        let Form::V2(of) = &self.form else { return None };
        Some(HttpEventFacts {
            route_key: &of.route_key,
            raw_path: &self.path,
            headers: &self.headers,
            content_type: of.content_type.as_deref(),
            is_encoded: of.is_encoded,
            authorizer: of.authorizer.as_deref(),
        })
    }

    fn into_owned(self) -> Told<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Told {
            path: owned(self.path),
            headers: self.headers.into_iter().map(|(name, value)| (owned(name), owned(value))).collect(),
            form: match self.form {
                Form::V1 { is_binary, is_http_api } => Form::V1 { is_binary, is_http_api },
                Form::V2(of) => Form::V2(V2 { content_type: of.content_type.map(owned), ..of }),
            },
        }
    }

    fn write(&self, view: &dyn RequestView) -> Vec<u8> {
        let mut event = Vec::with_capacity(view.body().len() + 4096);
        let request = Request::new(view);
        match (&self.form, self.facts()) {
            (Form::V1 { is_binary, is_http_api }, _) => {
                let (is_binary, is_http_api) = (*is_binary, *is_http_api);
                let facts = EventFacts { path: &self.path, headers: &self.headers, is_binary, is_http_api };
                proxy_event(&request, &facts, &mut event);
            }
            (Form::V2(_), Some(facts)) => http_event(&request, &facts, &mut event),
            (Form::V2(_), None) => {}
        }
        event
    }

    /// The event; made beside the cores if the body is large. The body comes back to where it was.
    pub(crate) async fn event(
        self,
        core: &Core,
        ex: &Exchange,
        body: &mut Vec<u8>,
        to: &Function,
    ) -> Result<Event, Refusal> {
        let unix_ms = core.clock.unix_ms(ex.received_ns);
        if body.len() < AWAY_BYTES {
            return Ok(Event { bytes: self.write(&Seen::new(ex, body, unix_ms)), hash: None });
        }
        let owned = OwnedRequest::of(&Seen::new(ex, b"", unix_ms), std::mem::take(body));
        let told = self.into_owned();
        let is_signed = matches!(to.auth, Auth::SigV4(_));
        let work = move || {
            let bytes = told.write(&owned);
            let hash = is_signed.then(|| payload_hash(&bytes));
            (Event { bytes, hash }, owned.into_body())
        };
        let (event, given_back) = away::done(work).await.ok_or(Refusal::Internal)?;
        *body = given_back;
        Ok(event)
    }

    /// The event of an HTTP API's REQUEST authorizer.
    pub(crate) fn authorizer_event(&self, seen: &Seen<'_>, arn: &str, identity: &[String]) -> Vec<u8> {
        let mut event = Vec::with_capacity(4096);
        let request = Request::new(seen);
        match (&self.form, self.facts()) {
            (Form::V1 { is_binary, is_http_api }, _) => {
                let (is_binary, is_http_api) = (*is_binary, *is_http_api);
                let facts = EventFacts { path: &self.path, headers: &self.headers, is_binary, is_http_api };
                http_authorizer_event_v1(&request, &facts, arn, identity, &mut event);
            }
            (Form::V2(_), Some(facts)) => {
                http_authorizer_event(&request, &facts, arn, identity, &mut event);
            }
            (Form::V2(_), None) => {}
        }
        event
    }
}

fn content_type(ex: &Exchange) -> Option<&str> {
    ex.header(KnownHeader::ContentType).and_then(|value| std::str::from_utf8(value).ok())
}

/// `GET /users/{id}`; `ANY /users/{id}` of a route that takes any method.
pub(crate) fn route_key(ex: &Exchange) -> String {
    let (has_methods, pattern) = ex.route().map_or((false, ""), |route| (route.has_methods, &*route.pattern));
    if !has_methods {
        return format!("ANY {pattern}");
    }
    let method = ex.head.method_name.of(ex.bytes.as_slice());
    format!("{} {pattern}", String::from_utf8_lossy(method))
}

/// What the authorizer said, as events of payload format 2.0 have it.
fn authorizer(ex: &Exchange) -> Option<String> {
    let (name, of) = match ex.principal.as_ref()? {
        Principal::Signer(_) => return None,
        Principal::Bearer(bearer) => {
            let claims = bearer.claims.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
            let mut jwt = Map::from_iter([("claims".to_owned(), Value::Object(claims.collect()))]);
            // Those of the token, where the route asks for any.
            let asks = ex.route().is_some_and(
                |route| matches!(&route.authorizer, Some(Authorizer::Token(plan)) if !plan.scopes.is_empty()),
            );
            let scopes = bearer.claims.iter().find(|(name, _)| name == "scope" || name == "scp");
            if let Some((_, scopes)) = scopes.filter(|_| asks) {
                let scopes = scopes.trim_matches(['[', ']']).split_ascii_whitespace();
                jwt.insert("scopes".to_owned(), scopes.collect());
            }
            ("jwt", Value::Object(jwt))
        }
        Principal::Vouched(vouched) => ("lambda", vouched.said.clone()?),
    };
    Some(Value::Object(Map::from_iter([(name.to_owned(), of)])).to_string())
}

/// The client's headers as REST APIs hand them on, with what they add.
pub(crate) fn event_headers<'s>(ex: &'s Exchange, trace_id: &'s str) -> Vec<Pair<'s>> {
    headers(ex, trace_id, &|id, name, value| {
        id != KnownHeader::ContentLength && of_request(id, name, value) == Passage::Pass
    })
}

/// As HTTP APIs hand them on.
fn http_headers<'s>(ex: &'s Exchange, trace_id: &'s str) -> Vec<Pair<'s>> {
    headers(ex, trace_id, &|_, _, _| true)
}

fn headers<'s>(ex: &'s Exchange, trace_id: &'s str, passes: Passes<'_>) -> Vec<Pair<'s>> {
    let bytes = ex.bytes.as_slice();
    let mut headers = Vec::with_capacity(ex.head.headers.len() + 4);
    let mut has_host = false;
    let authority = ex.head.authority.of(bytes);
    for header in ex.head.headers.iter().filter(|header| !header.hop_by_hop) {
        let (name, value) = (header.name.of(bytes), header.value.of(bytes));
        let is_ours = matches!(
            header.id,
            KnownHeader::Expect
                | KnownHeader::XForwardedFor
                | KnownHeader::XForwardedPort
                | KnownHeader::XForwardedProto
                | KnownHeader::XAmznTraceId
        );
        if is_ours || !passes(header.id, name, value) {
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
    let port = String::from_utf8_lossy(port_of(authority, is_tls));
    let forwarded = Cow::Owned(String::from_utf8_lossy(&forwarded).into_owned());
    headers.push((Cow::Borrowed("X-Amzn-Trace-Id"), Cow::Borrowed(trace_id)));
    headers.push((Cow::Borrowed("X-Forwarded-For"), forwarded));
    headers.push((Cow::Borrowed("X-Forwarded-Port"), port));
    headers.push((Cow::Borrowed("X-Forwarded-Proto"), Cow::Borrowed(if is_tls { "https" } else { "http" })));
    headers
}

/// The path as the client wrote it; without the stage where the stage is in it.
pub(crate) fn client_path(ex: &Exchange) -> Cow<'_, str> {
    let path = if ex.is_by_domain() { ex.head.path.of(ex.bytes.as_slice()) } else { ex.routed_path() };
    if path.is_empty() { Cow::Borrowed("/") } else { String::from_utf8_lossy(path) }
}
