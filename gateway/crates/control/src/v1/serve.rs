//! From bytes to an operation, and back.

use super::fault::Fault;
use super::routes::{self, Handler, decoded};
use super::{Answer, Call, Document, Reply, Trial, TrialError, TrialOutcome, hal};
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use sluice_catalog::Catalog;
use sluice_store::{Store, StoreError};
use std::collections::HashMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::task::spawn_blocking;

/// The longest that AWS takes is an import file of 6 MB.
const BODY_MAX_BYTES: usize = 6 << 20;
/// Deeper documents are refused before they are read.
const DEPTH_MAX: usize = 64;
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// Who may use the control plane, and what it says of where it is.
#[derive(Clone, Default)]
pub struct Access {
    /// In ARNs and host names, and the one that requests are signed for.
    pub region: String,
    /// 12 digits.
    pub account_id: String,
    /// APIs are served at `{apiId}.execute-api.{region}.{suffix}`.
    pub execute_api_suffix: String,
    /// Any signature will do, and none.
    pub development: bool,
    /// Longest `timeoutInMillis` of an integration.
    pub integration_timeout_max_ms: u32,
    /// Secrets by the ids of their access keys.
    pub keys: HashMap<String, String>,
}

impl fmt::Debug for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secrets stay out.
        formatter.debug_struct("Access").field("region", &self.region).finish_non_exhaustive()
    }
}

/// What serves, as far as the control plane asks it. May block.
pub trait Serving: Send + Sync {
    /// Lets a method as it is edited answer one request, beside everything that is served.
    ///
    /// # Errors
    /// Why there is no answer.
    fn try_out(&self, trial: Trial) -> Result<TrialOutcome, TrialError>;
    /// What a key has used of a plan's quota, and what was left of it, on each of these days since 1970 that has come;
    /// `None`: it has no quota there.
    fn used(&self, plan: &str, key: &str, days: RangeInclusive<u32>) -> Option<Vec<(u64, u64)>>;
    /// Leaves a key so much of a plan's quota in the period under way; `false`: it has none there.
    ///
    /// # Errors
    /// It could not be kept, and nothing has changed.
    fn set_left(&self, plan: &str, key: &str, left: u64) -> Result<bool, StoreError>;
    /// Waits until what has been stored is served, but not for long.
    fn settle(&self);
    /// Waits until what has been stored is served, as long as a whole catalog may take; gives the generation.
    fn settle_all(&self) -> u64;
}

/// What the control plane needs from the binary.
#[derive(Clone)]
pub struct ControlPlane {
    /// What it edits.
    pub store: Arc<Store>,
    /// As configured now.
    pub access: Arc<dyn Fn() -> Arc<Access> + Send + Sync>,
    /// What serves.
    pub serving: Arc<dyn Serving>,
}

impl ControlPlane {
    /// Keeps and serves this in place of everything; gives the generation.
    pub(crate) fn replace(&self, catalog: Catalog) -> Result<u64, StoreError> {
        self.store.replace(catalog)?;
        Ok(self.serving.settle_all())
    }
}

impl fmt::Debug for ControlPlane {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ControlPlane").field("store", &self.store).finish_non_exhaustive()
    }
}

pub(crate) use routes::is_ours;

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Answers a request to the control plane.
pub(crate) async fn handle(plane: ControlPlane, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let wants_hal = !accepts_json(&parts);
    let path = parts.uri.path().to_owned();
    let answer = match to_bytes(body, BODY_MAX_BYTES).await {
        Err(_) => Err(Fault::new(
            413,
            "RequestEntityTooLargeException",
            format!("Request body is too large: at most {BODY_MAX_BYTES} bytes"),
        )),
        // The store syncs, and a change is compiled before it is answered.
        Ok(body) => match spawn_blocking(move || answer(&plane, &parts, &body)).await {
            Ok(answer) => answer,
            Err(_) => Err(Fault::new(500, "InternalServerErrorException", "Internal server error")),
        },
    };
    respond(answer, wants_hal.then_some(path.as_str()))
}

/// `application/json` must be asked for by name, as all AWS clients do.
fn accepts_json(parts: &Parts) -> bool {
    let accepts = parts.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepts
        .flat_map(|value| value.split(','))
        .any(|one| one.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json"))
}

fn answer(plane: &ControlPlane, parts: &Parts, body: &Bytes) -> Answer {
    let access = (plane.access)();
    signed(&access, "apigateway", parts, body)?;
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    let accept =
        parts.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (handler, call) = routed(access, (parts.method.as_str(), path, query), body, accept)?;
    match handler {
        Handler::Read(read) => read(&plane.store.catalog(), &call),
        Handler::Write(write) => {
            let reply = plane.store.change(|catalog| write(catalog, &call))?;
            plane.serving.settle();
            Ok(reply)
        }
        Handler::Ask(ask) => ask(&plane.store.catalog(), &call, &*plane.serving),
        Handler::Missing => Err(Fault::not_supported("The operation")),
    }
}

/// The operation that a request names, and the request as its handler reads it.
fn routed(
    access: Arc<Access>,
    (method, path, query_text): (&str, &str, &str),
    body: &[u8],
    accept: String,
) -> Result<(Handler, Call), Fault> {
    let query = query(query_text)?;
    let mode = query.iter().find(|(name, _)| name == "mode").map(|(_, value)| value.as_str());
    let (operation, params) = routes::find(method, path, mode).ok_or_else(|| {
        Fault::new(
            404,
            "UnknownOperationException",
            "Unable to determine service/operation name to be authorized",
        )
    })?;
    if matches!(operation.handler, Handler::Missing) {
        return Err(Fault::not_supported(operation.name));
    }
    // What is no JSON, or may be none.
    let is_raw = ["ImportApiKeys", "ImportRestApi", "PutRestApi"].contains(&operation.name);
    let json = if is_raw { Value::Null } else { document(body)? };
    let call = Call { params, query, json, body: body.to_vec(), accept, now_s: now_s(), access };
    Ok((operation.handler, call))
}

/// Carries a change out over a catalog, without a socket, a signature or a store, for those who try what any input does:
/// the status, the error's type and its message. As with the store, an error has changed nothing.
pub fn carry_out(
    catalog: &mut Catalog,
    access: &Arc<Access>,
    (method, path, query): (&str, &str, &str),
    body: &[u8],
) -> (u16, Option<(&'static str, String)>) {
    let mut next = catalog.clone();
    let answer =
        routed(Arc::clone(access), (method, path, query), body, String::new()).and_then(|(handler, call)| {
            match handler {
                Handler::Read(read) => read(catalog, &call),
                Handler::Write(write) => write(&mut next, &call),
                Handler::Ask(_) | Handler::Missing => Err(Fault::not_supported("The operation")),
            }
        });
    match answer {
        Ok(reply) => {
            *catalog = next;
            (reply.status, None)
        }
        Err(fault) => (fault.status, Some((fault.kind, fault.message))),
    }
}

/// Whether a request is signed for a service by one of the access keys; if not, what it is answered.
pub(crate) fn authenticate(
    access: &Access,
    service: &str,
    parts: &Parts,
    body: &Bytes,
) -> Result<(), Box<Response>> {
    signed(access, service, parts, body).map_err(|fault| Box::new(respond(Err(fault), None)))
}

fn signed(access: &Access, service: &str, parts: &Parts, body: &Bytes) -> Result<(), Fault> {
    if access.development {
        return Ok(());
    }
    let headers: Vec<(&str, &str)> = parts
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    let request = sluice_sigv4::Request {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &headers,
        body,
    };
    let expected = sluice_sigv4::Expected { region: Some(&access.region), service, now_s: now_s() };
    sluice_sigv4::verify(&request, expected, |id| access.keys.get(id).map(String::as_str))
        .map(drop)
        .map_err(|error| Fault::new(403, error.kind(), error.to_string()))
}

fn query(text: &str) -> Result<Vec<(String, String)>, Fault> {
    let part = |text: &str| {
        decoded(&text.replace('+', " ")).ok_or_else(|| Fault::bad_request("Invalid query string"))
    };
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((part(name)?, part(value)?))
        })
        .collect()
}

/// An empty body is no document.
fn document(body: &[u8]) -> Result<Value, Fault> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    if depth(body) > DEPTH_MAX {
        return Err(Fault::serialization("The document is nested too deeply"));
    }
    serde_json::from_slice(body)
        .map_err(|error| Fault::serialization(format!("Could not parse request body into json: {error}")))
}

/// How deeply brackets outside strings are nested.
fn depth(body: &[u8]) -> usize {
    let (mut now, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                now += 1;
                deepest = deepest.max(now);
            }
            b'}' | b']' if !quoted => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// `hal`: the path, where the client did not ask for plain JSON.
fn respond(answer: Answer, hal: Option<&str>) -> Response {
    let (status, kind, body) = match answer {
        Ok(Reply { document: Some(document), .. }) => return attached(document),
        Ok(Reply { status, body, .. }) => (status, None, body),
        Err(fault) => (fault.status, Some(fault.kind), Some(json!({ "message": fault.message }))),
    };
    let is_list = body.as_ref().is_some_and(|body| body.get("item").is_some_and(Value::is_array));
    let (body, content_type) = match (body, hal) {
        (Some(body), Some(path)) if kind.is_none() => {
            (Some(hal::dress(body, path, is_list)), "application/hal+json")
        }
        (body, _) => (body, "application/json"),
    };
    let text = body.map(|body| body.to_string());
    let mut response = Response::new(text.clone().map_or_else(Body::empty, Body::from));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if text.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    if let Some(kind) = kind {
        headers.insert(ERROR_TYPE, HeaderValue::from_static(kind));
    }
    if let Ok(id) = HeaderValue::from_str(&super::ids::id(32)) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// A file.
fn attached(document: Document) -> Response {
    let mut response = Response::new(Body::from(document.text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(document.content_type));
    let disposition = format!("attachment; filename=\"{}\"", document.name);
    if let Ok(value) = HeaderValue::from_str(&disposition) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    if let Ok(id) = HeaderValue::from_str(&super::ids::id(32)) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// What test suites post without a body and without a header of ours.
pub(crate) const RESET: &str = "/moto-api/reset";

/// `POST /moto-api/reset`: empties the store, in development only.
pub(crate) async fn reset(plane: ControlPlane) -> Response {
    let answer = spawn_blocking(move || {
        if !(plane.access)().development {
            return Err(Fault::not_found("Not Found"));
        }
        plane.store.change(|catalog| {
            *catalog = Catalog::default();
            Ok::<_, StoreError>(())
        })?;
        plane.serving.settle();
        Ok(Reply::ok(json!({ "status": "ok" })))
    });
    respond(answer.await.unwrap_or_else(|_| Err(Fault::not_supported("reset"))), None)
}
