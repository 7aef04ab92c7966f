//! The Lambda Runtime API of one instance.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use crate::connections;
use crate::error::{FunctionError, InvokeError};
use crate::function::Job;
use crate::instance::{Event, Shared, now_ms};
use crate::response::{self, Body, MAX_RESPONSE_BYTES, Piece, Response, too_large};
use crate::tail::Outcome;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::net::TcpListener;

const REQUEST_ID: &str = "lambda-runtime-aws-request-id";
const ERROR_TYPE: &str = "lambda-runtime-function-error-type";

/// What all paths begin with, and two that follow.
const API: &str = "/2018-06-01/runtime/";
const NEXT: &str = "invocation/next";
const INIT_ERROR: &str = "init/error";

pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // It ends with its instance, which aborts this task.
    connections::serve(listener, service_fn(move |request| handle(Arc::clone(&shared), request))).await;
}

type Answer = hyper::Response<Full<Bytes>>;

async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let Some(asked) = head.uri.path().strip_prefix(API) else { return Ok(unknown_path()) };
    let of_invocation = asked.strip_prefix("invocation/").and_then(|of| of.rsplit_once('/'));
    let expected = if asked == NEXT { Method::GET } else { Method::POST };
    Ok(match (asked, of_invocation) {
        (NEXT | INIT_ERROR, _) | (_, Some((_, "response" | "error"))) if head.method != expected => {
            wrong_method(&expected, &head.method)
        }
        (NEXT, _) => next(&shared).await,
        (INIT_ERROR, _) => init_error(&shared, &head.headers, body).await,
        (_, Some((id, "response"))) => response(&shared, id.to_owned(), &head.headers, body).await,
        (_, Some((id, "error"))) => error(&shared, id, &head.headers, body).await,
        _ => unknown_path(),
    })
}

fn answer(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = hyper::Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn accepted() -> Answer {
    answer(StatusCode::ACCEPTED, r#"{"status":"OK"}"#)
}

fn refused(status: StatusCode, error_type: &str, message: &str) -> Answer {
    answer(status, serde_json::json!({"errorMessage": message, "errorType": error_type}).to_string())
}

fn unknown_id() -> Answer {
    refused(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID")
}

fn unknown_path() -> Answer {
    refused(StatusCode::NOT_FOUND, "InvalidPath", "the Runtime API has no such path")
}

fn wrong_method(expected: &Method, found: &Method) -> Answer {
    let message = format!("expected {expected}, found {found}");
    refused(StatusCode::METHOD_NOT_ALLOWED, "InvalidMethod", &message)
}

async fn next(shared: &Shared) -> Answer {
    // An invocation that was never answered ends here: the runtime is done with it.
    if let Some(current) = shared.finish() {
        let message = format!(
            "RequestId: {} Error: Runtime asked for the next invocation without an answer",
            current.request_id
        );
        if let Some(caller) = current.caller() {
            let error = FunctionError::new("Runtime.NoResponse", &message);
            caller.answer(Err(InvokeError::Function(error)));
        }
    }
    shared.waits();
    let Some(job) = shared.function.take(shared.id).await else {
        shared.tell(Event::Retire);
        // The process is about to end; an answer would only set it off.
        return std::future::pending().await;
    };
    match event(shared, &job) {
        Ok(event) => {
            shared.begin(job).await;
            event
        }
        Err(unfit) => {
            let message = format!("{unfit} fits no header");
            let _ = job.reply.send(Err(InvokeError::Unavailable(message.clone())));
            shared.tell(Event::Retire);
            refused(StatusCode::INTERNAL_SERVER_ERROR, "InvalidHeader", &message)
        }
    }
}

/// What a runtime is told of an invocation; which part is no header's value, otherwise.
fn event(shared: &Shared, job: &Job) -> Result<Answer, &'static str> {
    let mut event = answer(StatusCode::OK, job.payload.clone());
    let headers = event.headers_mut();
    let deadline = now_ms() + shared.function.config.timeout_ms;
    for (name, value, what) in [
        (REQUEST_ID, Some(job.request_id.as_str()), "the request id"),
        ("lambda-runtime-invoked-function-arn", Some(shared.function.arn.as_str()), "the function's ARN"),
        ("lambda-runtime-trace-id", Some(job.trace_id.as_str()), "the trace id"),
        ("lambda-runtime-client-context", job.client_context.as_deref(), "the client context"),
    ] {
        if let Some(value) = value {
            headers.insert(name, HeaderValue::from_str(value).map_err(|_| what)?);
        }
    }
    headers.insert("lambda-runtime-deadline-ms", deadline.into());
    Ok(event)
}

async fn response(shared: &Shared, id: String, headers: &HeaderMap, body: Incoming) -> Answer {
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mode = headers.get("lambda-runtime-function-response-mode");
    if mode.is_some_and(|mode| mode.as_bytes().eq_ignore_ascii_case(b"streaming")) {
        return stream(shared, id, content_type, body).await;
    }
    // Read before the caller is taken: if the process ends meanwhile, the supervisor still has somebody to tell.
    let whole = read(body).await;
    let Some(caller) = shared.caller(&id) else { return unknown_id() };
    let (result, answer) = match whole {
        Some(whole) => {
            let body = Body::Whole(whole);
            (Ok(Response { request_id: id, content_type, body }), accepted())
        }
        None => {
            let error = FunctionError::new("Function.ResponseSizeTooLarge", &too_large());
            let answer = refused(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &too_large());
            (Err(InvokeError::Function(error)), answer)
        }
    };
    shared.answered();
    caller.answer(result);
    // Who waits for the answer comes first, then the runtime that it has arrived.
    others_first().await;
    answer
}

/// Lets run what is ready to run. [`tokio::task::yield_now`] would not: a connection that has more to read polls it again at once.
async fn others_first() {
    let _ = tokio::spawn(async {}).await;
}

/// A whole body; nothing if it is too long or breaks off. What is too long is read to its end all the same: a runtime
/// that still writes would find its connection reset instead of an answer. Its deadline bounds that.
async fn read(mut body: Incoming) -> Option<Bytes> {
    let mut whole = BytesMut::new();
    let mut fits = true;
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame.ok()?.into_data() else { continue };
        fits &= whole.len() + bytes.len() <= MAX_RESPONSE_BYTES;
        if fits {
            whole.extend_from_slice(&bytes);
        }
    }
    fits.then(|| whole.freeze())
}

/// Passes pieces on as they come. An error in the middle comes in trailers.
async fn stream(shared: &Shared, id: String, content_type: Option<String>, mut body: Incoming) -> Answer {
    let Some(caller) = shared.caller(&id) else { return unknown_id() };
    let (to, stream) = response::stream();
    let tailed = caller.begin(Response { request_id: id, content_type, body: Body::Stream(stream) });
    let mut last = Piece::End;
    loop {
        match body.frame().await {
            None => break,
            // The connection broke: the stream does too.
            Some(Err(_)) => return accepted(),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) => to.send(bytes).await,
                Err(frame) => {
                    if let Some(error) = frame.trailers_ref().and_then(trailing_error) {
                        last = Piece::Failed(error);
                    }
                }
            },
        }
    }
    shared.answered();
    match tailed {
        None => to.end(last),
        // As with a whole answer, the instance does not wait for the log.
        Some(tailed) => drop(tokio::spawn(async move {
            tailed.end(Outcome::Answered).await;
            to.end(last);
        })),
    }
    accepted()
}

fn trailing_error(trailers: &HeaderMap) -> Option<FunctionError> {
    let text = |name| trailers.get(name).and_then(|value| value.to_str().ok());
    let error_type = text(ERROR_TYPE)?;
    // Base64 of JSON, because a trailer is one line of ASCII.
    let body = text("lambda-runtime-function-error-body").unwrap_or_default();
    let body = BASE64.decode(body).unwrap_or_else(|_| body.as_bytes().to_vec());
    Some(FunctionError::reported(Some(error_type), body.into()))
}

async fn error(shared: &Shared, id: &str, headers: &HeaderMap, body: Incoming) -> Answer {
    let reported = reported(headers, body).await;
    let Some(caller) = shared.caller(id) else { return unknown_id() };
    shared.answered();
    caller.answer(Err(InvokeError::Function(reported)));
    accepted()
}

async fn init_error(shared: &Shared, headers: &HeaderMap, body: Incoming) -> Answer {
    let reported = reported(headers, body).await;
    shared.tell(Event::InitError(reported));
    accepted()
}

async fn reported(headers: &HeaderMap, body: Incoming) -> FunctionError {
    let error_type = headers.get(ERROR_TYPE).and_then(|value| value.to_str().ok());
    match read(body).await {
        Some(body) => FunctionError::reported(error_type, body),
        None => FunctionError::new(error_type.unwrap_or("Runtime.Unknown"), "the error was not readable"),
    }
}
