//! Functions that run here: a host that serves the Lambda Runtime API to processes of its own and invokes them.
//!
//! ```text
//!              invoke            next / response / error (HTTP on loopback)
//! caller ──> Host ──> Function ──────────── Instance ──────────── process
//!                       queue,     a port, a process group,    node, python3,
//!                     scaling        deadlines, log lines       bootstrap
//! ```
//!
//! One instance serves one invocation at a time. Its life:
//!
//! ```text
//!            first next              a job is taken
//! Starting ────────────> Idle <──────────────────────> Busy
//!    │ init error, exit,   │ exit, idle for too long,    │ exit, crash, its time is up:
//!    │ init timeout        │ the directory changed       │ the caller gets a function error
//!    v                     v                             v
//!  Gone: the function waits (100 ms, doubling to 10 s) if  Gone: another one is started if fewer than
//!  it fails to start; callers meanwhile get that failure   the minimum are left, or jobs wait
//! ```
//!
//! The Runtime API is that of 2018-06-01 (AWS Lambda developer guide, “Using the Lambda runtime API”), with response
//! streaming. Node.js and Python get a small bootstrap through their standard input; `provided` runs the `bootstrap` of the
//! function's directory, so that AWS's own runtime clients work as well.
//!
//! It belongs on a tokio runtime beside the data cores, never on one of them. Nothing here panics; a process that
//! misbehaves costs its invocation.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod api;
mod clock;
mod config;
mod connections;
mod error;
mod frames;
mod function;
mod host;
mod instance;
mod invoke;
mod logs;
mod process;
mod response;
mod tail;
mod watch;

pub use config::{Config, ConfigError, Runtime, Settings};
pub use error::{FunctionError, InvokeError};
pub use function::Status;
pub use host::{Host, Invocation};
pub use invoke::{TOKEN, invoke, invoke_streaming, serve};
pub use logs::{LogLine, Source};
pub use response::{Body, Response, Stream, StreamError};
pub use tail::{LogTail, log_text};

/// The most bytes of a payload, and of an answer that is not streamed (Lambda quotas: 6 MB).
pub const MAX_PAYLOAD_BYTES: usize = 6 << 20;
