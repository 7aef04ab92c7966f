//! Hosted functions on the admin listener: Lambda's Invoke API for AWS's clients, and what `sluice functions` asks.

use crate::server::{Context, message};
use crate::v1;
use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sluice_functions::{Host, LogLine, MAX_PAYLOAD_BYTES, Source, Status, invoke, invoke_streaming};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// One hosted function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionInfo {
    /// Its name.
    pub name: String,
    /// Instances that have not asked for an invocation yet.
    pub starting: usize,
    /// Instances that wait for one.
    pub idle: usize,
    /// Instances that run one.
    pub busy: usize,
    /// Invocations that wait for an instance.
    pub queued: usize,
    /// Invocations so far.
    pub invocations: u64,
    /// Those that ended in a function error.
    pub errors: u64,
    /// Those that were throttled.
    pub throttles: u64,
    /// Instances that were started.
    pub started: u64,
    /// Why the last instance failed to start, if none has started since.
    pub failure: Option<String>,
}

impl From<Status> for FunctionInfo {
    fn from(status: Status) -> Self {
        Self {
            name: status.name,
            starting: status.starting,
            idle: status.idle,
            busy: status.busy,
            queued: status.queued,
            invocations: status.invocations,
            errors: status.errors,
            throttles: status.throttles,
            started: status.started,
            failure: status.failure.map(|failure| String::from_utf8_lossy(&failure.body).into_owned()),
        }
    }
}

/// Functions as a table.
#[must_use]
pub fn function_table(functions: &[FunctionInfo]) -> String {
    let mut table = String::from("NAME\tIDLE\tBUSY\tSTARTING\tQUEUED\tINVOCATIONS\tERRORS\tTHROTTLES\n");
    for function in functions {
        let FunctionInfo { name, idle, busy, starting, queued, invocations, errors, throttles, .. } =
            function;
        let counts = [*idle, *busy, *starting, *queued].map(|count| count.to_string()).join("\t");
        let _ = writeln!(table, "{name}\t{counts}\t{invocations}\t{errors}\t{throttles}");
    }
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split('\t').collect()).collect();
    let columns = rows.first().map_or(0, Vec::len);
    let width =
        |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    for function in functions {
        if let Some(failure) = &function.failure {
            let _ = writeln!(text, "{} does not start: {failure}", function.name);
        }
    }
    text
}

fn none(name: &str) -> Response {
    message(StatusCode::NOT_FOUND, &format!("the gateway hosts no function `{name}`")).into_response()
}

fn host(context: &Context) -> Option<Arc<Host>> {
    (context.admin.functions)()
}

/// `GET /functions`.
pub(crate) async fn list(State(context): State<Context>) -> Json<Vec<FunctionInfo>> {
    let functions = host(&context).map(|host| host.list()).unwrap_or_default();
    Json(functions.into_iter().map(FunctionInfo::from).collect())
}

/// `POST /functions/NAME/invoke`: like Lambda's Invoke API, for the operator.
pub(crate) async fn call(
    State(context): State<Context>,
    Path(name): Path<String>,
    headers: HeaderMap,
    payload: Bytes,
) -> Response {
    match host(&context) {
        Some(host) => invoke(&host, &name, &headers, payload).await,
        None => none(&name),
    }
}

#[derive(Deserialize)]
pub(crate) struct LogQuery {
    #[serde(default)]
    follow: bool,
}

/// `GET /functions/NAME/logs`: the lines that are kept, and with `?follow=true` those that come.
pub(crate) async fn logs(
    State(context): State<Context>,
    Path(name): Path<String>,
    Query(query): Query<LogQuery>,
) -> Response {
    let Some(host) = host(&context) else { return none(&name) };
    // First the follower, so that no line falls between the two; one may come twice.
    let following = if query.follow { host.follow(&name) } else { None };
    let Some(kept) = host.logs(&name) else { return none(&name) };
    let text: String = kept.iter().map(line).collect();
    let body = match following {
        None => Body::from(text),
        Some(follower) => Body::new(Lines::new(text, follower)),
    };
    let mut response = Response::new(body);
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}

fn line(line: &LogLine) -> String {
    let source = match line.source {
        Source::Stdout => "out",
        Source::Stderr => "err",
        Source::Host => "host",
    };
    format!("{} {source} {}\n", line.instance, crate::xdp::printable(&line.text))
}

/// Lines as they come, as a body.
struct Lines {
    waiting: VecDeque<String>,
    next: std::pin::Pin<Box<dyn Future<Output = Next> + Send>>,
}

type Next = (Option<String>, broadcast::Receiver<LogLine>);

impl Lines {
    fn new(kept: String, follower: broadcast::Receiver<LogLine>) -> Self {
        Self { waiting: VecDeque::from([kept]), next: Box::pin(next(follower)) }
    }
}

async fn next(mut follower: broadcast::Receiver<LogLine>) -> Next {
    let text = match follower.recv().await {
        Ok(received) => Some(line(&received)),
        Err(RecvError::Lagged(missed)) => Some(format!("({missed} lines were missed)\n")),
        Err(RecvError::Closed) => None,
    };
    (text, follower)
}

impl axum::body::HttpBody for Lines {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        use std::task::Poll;
        if let Some(text) = self.waiting.pop_front().filter(|text| !text.is_empty()) {
            return Poll::Ready(Some(Ok(http_body::Frame::data(text.into()))));
        }
        match self.next.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready((None, _)) => Poll::Ready(None),
            Poll::Ready((Some(text), follower)) => {
                self.next = Box::pin(next(follower));
                Poll::Ready(Some(Ok(http_body::Frame::data(text.into()))))
            }
        }
    }
}

/// The function of a path of Lambda's Invoke API.
pub(crate) fn invoked(path: &str) -> Option<String> {
    let whole = |path: &'_ str| {
        path.strip_prefix("/2015-03-31/functions/")?.strip_suffix("/invocations").map(str::to_owned)
    };
    let streamed = |path: &'_ str| {
        path.strip_prefix("/2021-11-15/functions/")?
            .strip_suffix("/response-streaming-invocations")
            .map(str::to_owned)
    };
    v1::decoded(&whole(path).or_else(|| streamed(path))?).filter(|name| !name.contains('/'))
}

/// Lambda's Invoke API, to requests signed for Lambda with one of the control plane's access keys.
pub(crate) async fn lambda(context: Context, name: &str, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (Some(plane), Some(host)) = (&context.admin.control, host(&context)) else { return none(name) };
    let Ok(payload) = to_bytes(body, MAX_PAYLOAD_BYTES + 1).await else {
        return message(StatusCode::PAYLOAD_TOO_LARGE, "Request must be smaller than 6291456 bytes")
            .into_response();
    };
    if let Err(refused) = v1::authenticate(&(plane.access)(), "lambda", &parts, &payload) {
        return *refused;
    }
    if parts.uri.path().ends_with("/response-streaming-invocations") {
        return invoke_streaming(&host, name, &parts.headers, payload).await;
    }
    invoke(&host, name, &parts.headers, payload).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_in_paths() {
        let of = |path| invoked(path);
        assert_eq!(of("/2015-03-31/functions/users/invocations").as_deref(), Some("users"));
        let arn = "/2015-03-31/functions/arn%3Aaws%3Alambda%3Ar%3A1%3Afunction%3Ausers/invocations";
        assert_eq!(of(arn).as_deref(), Some("arn:aws:lambda:r:1:function:users"));
        assert_eq!(of("/2015-03-31/functions/users"), None);
        assert_eq!(of("/functions/users/invocations"), None);
    }

    #[test]
    fn functions_stand_in_columns() {
        let info = FunctionInfo {
            name: "users".to_owned(),
            starting: 0,
            idle: 1,
            busy: 2,
            queued: 0,
            invocations: 1234,
            errors: 5,
            throttles: 0,
            started: 3,
            failure: Some("no".to_owned()),
        };
        let expected = "NAME   IDLE  BUSY  STARTING  QUEUED  INVOCATIONS  ERRORS  THROTTLES\n\
                        users  1     2     0         0       1234         5       0\n\
                        users does not start: no\n";
        assert_eq!(function_table(&[info]), expected);
    }
}
