//! The Lambda Runtime API of one instance.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use crate::connections;
use crate::error::{FunctionError, InvokeError};
use crate::instance::{Event, Shared, now_ms};
use crate::response::{self, Body, MAX_RESPONSE_BYTES, Piece, Response, too_large};
use crate::tail::Outcome;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use std::sync::Arc;
use tokio::net::TcpListener;

const REQUEST_ID: &str = "lambda-runtime-aws-request-id";
const ERROR_TYPE: &str = "lambda-runtime-function-error-type";

pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let router = Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
        .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
        .route("/2018-06-01/runtime/init/error", post(init_error))
        .layer(DefaultBodyLimit::disable())
        .with_state(shared);
    // It ends with its instance, which aborts this task.
    connections::serve(listener, router).await;
}

type Answer = (StatusCode, [(header::HeaderName, &'static str); 1], String);

fn answer(status: StatusCode, json: serde_json::Value) -> Answer {
    (status, [(header::CONTENT_TYPE, "application/json")], json.to_string())
}

fn accepted() -> Answer {
    answer(StatusCode::ACCEPTED, serde_json::json!({"status": "OK"}))
}

fn refused(status: StatusCode, error_type: &str, message: &str) -> Answer {
    answer(status, serde_json::json!({"errorMessage": message, "errorType": error_type}))
}

fn unknown_id() -> Answer {
    refused(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID")
}

async fn next(State(shared): State<Arc<Shared>>) -> axum::response::Response {
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
    let (settings, config) = (&shared.function.settings, &shared.function.config);
    let arn = format!("arn:aws:lambda:{}:{}:function:{}", settings.region, settings.account, config.name);
    let mut response = axum::http::Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .header(REQUEST_ID, &job.request_id)
        .header("lambda-runtime-deadline-ms", now_ms() + config.timeout_ms)
        .header("lambda-runtime-invoked-function-arn", arn)
        .header("lambda-runtime-trace-id", &job.trace_id);
    if let Some(client_context) = &job.client_context {
        response = response.header("lambda-runtime-client-context", client_context);
    }
    match response.body(axum::body::Body::from(job.payload.clone())) {
        Ok(response) => {
            shared.begin(job).await;
            response
        }
        // An id or context that is no header value.
        Err(error) => {
            let _ = job.reply.send(Err(InvokeError::Unavailable(error.to_string())));
            shared.tell(Event::Retire);
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn response(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: axum::body::Body,
) -> Answer {
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mode = headers.get("lambda-runtime-function-response-mode");
    if mode.is_some_and(|mode| mode.as_bytes().eq_ignore_ascii_case(b"streaming")) {
        return stream(&shared, id, content_type, body).await;
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
    answer
}

/// A whole body; nothing if it is too long or breaks off. What is too long is read to its end all the same: a runtime
/// that still writes would find its connection reset instead of an answer. Its deadline bounds that.
async fn read(mut body: axum::body::Body) -> Option<Bytes> {
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
async fn stream(
    shared: &Shared,
    id: String,
    content_type: Option<String>,
    mut body: axum::body::Body,
) -> Answer {
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

async fn error(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: axum::body::Body,
) -> Answer {
    let reported = reported(&headers, body).await;
    let Some(caller) = shared.caller(&id) else { return unknown_id() };
    shared.answered();
    caller.answer(Err(InvokeError::Function(reported)));
    accepted()
}

async fn init_error(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: axum::body::Body) -> Answer {
    let reported = reported(&headers, body).await;
    shared.tell(Event::InitError(reported));
    accepted()
}

async fn reported(headers: &HeaderMap, body: axum::body::Body) -> FunctionError {
    let error_type = headers.get(ERROR_TYPE).and_then(|value| value.to_str().ok());
    match read(body).await {
        Some(body) => FunctionError::reported(error_type, body),
        None => FunctionError::new(error_type.unwrap_or("Runtime.Unknown"), "the error was not readable"),
    }
}
