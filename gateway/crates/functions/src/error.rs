//! How an invocation fails.

use bytes::Bytes;
use serde_json::json;
use std::fmt;

/// A failure of the function itself, as Lambda tells it: status 200 with `X-Amz-Function-Error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionError {
    /// The value of `X-Amz-Function-Error`. All are `Unhandled`: only long gone runtimes knew another.
    pub kind: &'static str,
    /// `TypeError`, `Runtime.ExitError`, `Sandbox.Timedout`.
    pub error_type: String,
    /// A JSON object with `errorType`, `errorMessage` and, from the runtimes, a trace.
    pub body: Bytes,
}

impl FunctionError {
    pub(crate) fn new(error_type: &str, message: &str) -> Self {
        let body = json!({"errorType": error_type, "errorMessage": message}).to_string();
        Self { kind: "Unhandled", error_type: error_type.to_owned(), body: body.into() }
    }

    /// What a runtime reported.
    pub(crate) fn reported(error_type: Option<&str>, body: Bytes) -> Self {
        let parsed: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
        let in_body = parsed.as_ref().and_then(|body| body.get("errorType")?.as_str());
        let error_type = in_body.or(error_type).unwrap_or("Runtime.Unknown").to_owned();
        Self { kind: "Unhandled", error_type, body }
    }
}

/// Why an invocation has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvokeError {
    /// No function has this name.
    Unknown,
    /// As many invocations as instances are allowed are under way already.
    Throttled,
    /// The payload is longer than [`crate::MAX_PAYLOAD_BYTES`].
    PayloadTooLarge,
    /// The caller's deadline or the function's own passed; the error is as Lambda tells the second.
    TimedOut(FunctionError),
    /// The function failed, or the process that ran it.
    Function(FunctionError),
    /// No process could be started, or the host is closing.
    Unavailable(String),
}

impl fmt::Display for InvokeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("no such function"),
            Self::Throttled => f.write_str("too many invocations at once"),
            Self::PayloadTooLarge => write!(f, "a payload above {} bytes", crate::MAX_PAYLOAD_BYTES),
            Self::TimedOut(error) | Self::Function(error) => {
                write!(f, "{}: {}", error.error_type, String::from_utf8_lossy(&error.body))
            }
            Self::Unavailable(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for InvokeError {}
