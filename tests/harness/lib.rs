//! The harness that the end-to-end suite stands on.
//!
//! It knows nothing of the gateway's crates: it starts the real `sluice` binary, speaks to it over real sockets, and
//! reads what it prints. Its HTTP parser is its own and strict, so a fault in the gateway's codec cannot hide behind
//! the same fault here.
//!
//! - [`Gateway`] runs one `sluice` process in a directory of its own, on ports of the kernel's choice.
//! - [`Backend`] is an HTTP/1.1 server scripted by a closure; it records what it got, byte for byte.
//! - [`Conn`] and [`Call`] are the client's side; [`Conn::send`] writes any bytes at all.
//! - [`pki`] makes certificates and speaks TLS, as client and as server.
//! - [`H2`] is a client of HTTP/2 that sends any frames at all, [`H2Backend`] a server of that kind.
//! - [`attacks`] has the requests that two readers could read differently.
//! - [`eventually`] waits for a condition with a deadline; no test sleeps to synchronise.

pub mod attacks;
pub mod backend;
pub mod call;
pub mod conn;
pub mod gateway;
pub mod h2;
pub mod h2_backend;
pub mod http;
pub mod lab;
pub mod metrics;
pub mod moto;
pub mod netns;
pub mod nginx;
pub mod pattern;
pub mod pki;
pub mod rest;
pub mod signer;
pub mod system;
pub mod tokens;
pub mod wait;

pub use backend::{Backend, RefusingPort, Reply, Wire};
pub use call::Call;
pub use conn::Conn;
pub use gateway::{Gateway, OPERATOR, OPERATOR_SECRET, Sluice, sluice_binary};
pub use h2::H2;
pub use h2_backend::H2Backend;
pub use http::{Head, MessageReader, Request, Response};
pub use metrics::Metrics;
pub use moto::Moto;
pub use netns::{GATEWAY, GATEWAY_INTERFACE, Net, Netns};
pub use nginx::Nginx;
pub use pattern::Pattern;
pub use signer::Signer;
pub use system::{
    TempDir, fd_limit, npm_package, python, raise_fd_limit, target_dir, terraform_provider, tool,
};
pub use tokens::TokenKey;
pub use wait::{Gate, PATIENCE, eventually, eventually_within};

/// Says on the real stderr that a test did not run, and why; the test then returns.
///
/// `eprintln!` would be captured by the test runner and never seen for a passing test.
pub fn report_skip(name: &str, reason: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {reason}");
}

/// Leaves the calling test as skipped, visibly: `skip!("name", "reason")`.
#[macro_export]
macro_rules! skip {
    ($name:expr, $($reason:tt)+) => {{
        $crate::report_skip($name, &format!($($reason)+));
        return;
    }};
}
