//! Lambda's Invoke API over a [`Host`] (Lambda API reference, "Invoke" and "InvokeWithResponseStream").
//!
//! ```text
//! POST /2015-03-31/functions/{name}/invocations      X-Amz-Invocation-Type: RequestResponse | Event | DryRun
//!                                                    X-Amz-Log-Type: None | Tail
//! POST /2021-11-15/functions/{name}/response-streaming-invocations
//! ```
//! The name may be a whole ARN, and may have a qualifier, which is not looked at: a hosted function has one version.

use crate::MAX_PAYLOAD_BYTES;
use crate::connections;
use crate::error::{FunctionError, InvokeError};
use crate::frames::{self, Frames};
use crate::host::{Host, Invocation, new_id};
use crate::response::{Body, Response as Answer, StreamError};
use crate::tail::LogTail;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::net::TcpListener;

/// What lets a request through to a listener of [`serve`].
pub const TOKEN: &str = "x-sluice-token";

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
const LOG_RESULT: HeaderName = HeaderName::from_static("x-amz-log-result");
const EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");

fn router(host: Arc<Host>) -> Router {
    Router::new()
        .route("/2015-03-31/functions/{name}/invocations", post(handle))
        .route("/2021-11-15/functions/{name}/response-streaming-invocations", post(handle_streaming))
        .layer(DefaultBodyLimit::max(MAX_PAYLOAD_BYTES + 1))
        .with_state(host)
}

/// What the kernel keeps of an answer that is not read yet, on either side of the host.
pub(crate) const SOCKET_BYTES: usize = 256 << 10;

/// Answers on a listener until it is dropped. Any process of the machine may reach it: a request must show the token.
pub async fn serve(listener: TcpListener, host: Arc<Host>, token: &str) {
    let token: Arc<str> = token.into();
    let router = router(host).layer(middleware::from_fn(move |request: Request, next: Next| {
        let shown =
            request.headers().get(TOKEN).is_some_and(|shown| same(shown.as_bytes(), token.as_bytes()));
        async move {
            if shown {
                return next.run(request).await;
            }
            refused(StatusCode::FORBIDDEN, "AccessDeniedException", "User", "Not for others than the gateway")
        }
    }));
    // Its connections inherit it (socket(7)). Left alone, the kernel goes up to 4 MB.
    let _ = sockopt::set_socket_send_buffer_size(&listener, SOCKET_BYTES);
    connections::serve(listener, TowerToHyperService::new(router)).await;
}

/// Compares in a time that tells nothing of where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

async fn handle(
    State(host): State<Arc<Host>>,
    Path(given): Path<String>,
    headers: HeaderMap,
    payload: Bytes,
) -> Response {
    invoke(&host, &given, &headers, payload).await
}

async fn handle_streaming(
    State(host): State<Arc<Host>>,
    Path(given): Path<String>,
    headers: HeaderMap,
    payload: Bytes,
) -> Response {
    invoke_streaming(&host, &given, &headers, payload).await
}

/// Answers one call of InvokeWithResponseStream; `given` names the function.
pub async fn invoke_streaming(
    host: &Arc<Host>,
    given: &str,
    headers: &HeaderMap,
    payload: Bytes,
) -> Response {
    let asked = match Asked::read(headers, payload) {
        Ok(asked) => asked,
        Err(refused) => return *refused,
    };
    let Asked { invocation, id, tail } = asked;
    let frames = match host.invoke(function_name(given), invocation).await {
        Ok(answer) => Frames::of(answer, tail),
        Err(InvokeError::Function(error) | InvokeError::TimedOut(error)) => Frames::failed(&error, tail),
        Err(error) => return with_id(failed(given, error), &id),
    };
    let mut response = Response::new(axum::body::Body::new(frames));
    let content_type = HeaderValue::from_static(frames::CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().insert(EXECUTED_VERSION, HeaderValue::from_static("$LATEST"));
    with_id(response, &id)
}

/// What a call asks for.
struct Asked {
    invocation: Invocation,
    /// The invocation's, whatever becomes of it.
    id: String,
    /// `X-Amz-Log-Type: Tail`.
    tail: Option<Arc<LogTail>>,
}

impl Asked {
    fn read(headers: &HeaderMap, payload: Bytes) -> Result<Self, Box<Response>> {
        let id = new_id();
        let tail = match text(headers, "x-amz-log-type").as_deref() {
            None | Some("None") => None,
            Some("Tail") => Some(Arc::<LogTail>::default()),
            Some(other) => return Err(Box::new(with_id(invalid("None or Tail", other), &id))),
        };
        let invocation = Invocation {
            payload: if payload.is_empty() { Bytes::from_static(b"{}") } else { payload },
            request_id: Some(id.clone()),
            trace_id: text(headers, "x-amzn-trace-id"),
            client_context: text(headers, "x-amz-client-context").and_then(|encoded| decoded(&encoded)),
            tail: tail.clone(),
            deadline: None,
        };
        Ok(Self { invocation, id, tail })
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn with_id(mut response: Response, id: &str) -> Response {
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// Answers one call of the API; `given` names the function.
pub async fn invoke(host: &Arc<Host>, given: &str, headers: &HeaderMap, payload: Bytes) -> Response {
    let name = function_name(given).to_owned();
    let Asked { invocation, id, tail } = match Asked::read(headers, payload) {
        Ok(asked) => asked,
        Err(refused) => return *refused,
    };
    let response = match text(headers, "x-amz-invocation-type").as_deref() {
        None | Some("RequestResponse") => {
            let mut response = match host.invoke(&name, invocation).await {
                Ok(answer) => answered(answer).await,
                Err(error) => failed(given, error),
            };
            // Only what has begun has a log, and only now all of it.
            let log = tail.and_then(|tail| tail.finish()).and_then(|log| HeaderValue::try_from(log).ok());
            if let Some(log) = log {
                response.headers_mut().insert(LOG_RESULT, log);
            }
            response
        }
        // "For asynchronous invocation", the log is nobody's.
        Some("Event") => event(host, given, name, Invocation { tail: None, ..invocation }),
        Some("DryRun") if host.knows(&name) => StatusCode::NO_CONTENT.into_response(),
        Some("DryRun") => failed(given, InvokeError::Unknown),
        Some(other) => invalid("Event, RequestResponse or DryRun", other),
    };
    with_id(response, &id)
}

/// The caller hears that the function will run, before it does. It runs once: what AWS does after a failure (two more tries,
/// a queue for what failed) takes a queue on disk.
fn event(host: &Arc<Host>, given: &str, name: String, invocation: Invocation) -> Response {
    if !host.knows(&name) {
        return failed(given, InvokeError::Unknown);
    }
    if invocation.payload.len() > MAX_PAYLOAD_BYTES {
        return failed(given, InvokeError::PayloadTooLarge);
    }
    let (running, on) = (Arc::clone(host), host.runtime().clone());
    on.spawn(async move {
        // Its log has what became of it.
        if let Ok(Answer { body: Body::Stream(stream), .. }) = running.invoke(&name, invocation).await {
            let _ = stream.collect().await;
        }
    });
    StatusCode::ACCEPTED.into_response()
}

async fn answered(answer: Answer) -> Response {
    let whole = match answer.body {
        Body::Whole(bytes) => Ok(bytes),
        Body::Stream(stream) => stream.collect().await,
    };
    match whole {
        Ok(bytes) => executed(([(header::CONTENT_TYPE, "application/json")], bytes).into_response()),
        Err(StreamError::Function(error)) => function_error(&error),
        Err(StreamError::Broken) => function_error(&FunctionError {
            kind: "Unhandled",
            error_type: "Runtime.TruncatedResponse".to_owned(),
            body: json!({
                "errorType": "Runtime.TruncatedResponse",
                "errorMessage": "The response ended before it was complete",
            })
            .to_string()
            .into(),
        }),
    }
}

fn executed(mut response: Response) -> Response {
    response.headers_mut().insert(EXECUTED_VERSION, HeaderValue::from_static("$LATEST"));
    response
}

/// A function that fails has been invoked: 200.
fn function_error(error: &FunctionError) -> Response {
    let kind = HeaderValue::from_static(error.kind);
    let mut response = ([(header::CONTENT_TYPE, "application/json")], error.body.clone()).into_response();
    response.headers_mut().insert(FUNCTION_ERROR, kind);
    executed(response)
}

fn invalid(expected: &str, found: &str) -> Response {
    let message = format!("expected {expected}, found {found}");
    refused(StatusCode::BAD_REQUEST, "InvalidParameterValueException", "User", &message)
}

fn failed(given: &str, error: InvokeError) -> Response {
    let (status, kind, by, message) = match error {
        InvokeError::Function(error) | InvokeError::TimedOut(error) => return function_error(&error),
        InvokeError::Unknown => {
            (404, "ResourceNotFoundException", "User", format!("Function not found: {given}"))
        }
        InvokeError::Throttled => (429, "TooManyRequestsException", "User", "Rate Exceeded.".to_owned()),
        error @ InvokeError::PayloadTooLarge => (413, "RequestTooLargeException", "User", error.to_string()),
        error @ InvokeError::Unavailable(_) => (500, "ServiceException", "Service", error.to_string()),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    refused(status, kind, by, &message)
}

fn refused(status: StatusCode, kind: &'static str, by: &str, message: &str) -> Response {
    let body: Value = json!({ "Type": by, "Message": message, "message": message });
    let headers = [(header::CONTENT_TYPE, "application/json")];
    let mut response = (status, headers, body.to_string()).into_response();
    response.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static(kind));
    response
}

/// `arn:aws:lambda:{region}:{account}:function:{name}:{qualifier}`, `{account}:function:{name}`, `{name}:{qualifier}`.
fn function_name(given: &str) -> &str {
    let rest = given.split_once("function:").map_or(given, |(_, rest)| rest);
    rest.split(':').next().unwrap_or_default()
}

/// Base64 of JSON.
fn decoded(text: &str) -> Option<String> {
    let bytes = BASE64.decode(text).ok()?;
    String::from_utf8(bytes).ok().filter(|text| !text.contains(['\r', '\n']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_form() {
        for given in [
            "users",
            "users:live",
            "123456789012:function:users",
            "function:users:7",
            "arn:aws:lambda:eu-west-1:123456789012:function:users:$LATEST",
        ] {
            assert_eq!(function_name(given), "users", "{given}");
        }
    }

    #[test]
    fn tokens_are_the_same_or_not() {
        assert!(same(b"abc", b"abc") && !same(b"abc", b"abd") && !same(b"abc", b"ab") && !same(b"", b"a"));
    }
}
