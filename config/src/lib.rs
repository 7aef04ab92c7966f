//! `gateway.toml` to [`Settings`], or every problem at once with its line and column.
//!
//! The keys, their types, ranges, defaults and meanings stand in one table (`spec.rs`): the reader checks against it,
//! defaults come from it, and the JSON Schema for editors is printed from it. The file is at most two tables deep
//! (`[server]`, `[routes.users]`). Names that refer to other entries are checked by `compile`, which knows what they mean;
//! every value that can be at fault there keeps its place in the file.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod aws;
mod diagnostic;
mod entries;
mod functions;
mod read;
mod schema;
mod secure;
mod settings;
mod spec;
mod spec_secure;
mod suggest;
#[cfg(test)]
mod tests;
mod tokens;
mod upstreams;

pub use diagnostic::{Diagnostic, Located, Position, Severity};
pub use ipnet::IpNet;
pub use schema::schema;
pub use settings::{
    AccessKey, AccessLog, Acme, AcmeChallenge, ApiKey, Aws, Balance, Cache, CacheKey, CacheMode, Certificate,
    CertificateSource, ClientAuth, Code, Credentials, Engine, Forwarded, Function, HealthCheck,
    HealthRequest, Lambda, Limit, LogFormat, Mock, PolicySource, Protocol, Route, RouteCache, Runtime, Scope,
    Secret, Server, Service, Settings, Store, Target, Tls, Upstream, UpstreamTls, VpcLink, Wait, Xdp,
    XdpLimits, XdpMode, XdpRate,
};
pub use suggest::{known_names, nearest};
pub use tokens::{Authorizer, AuthorizerKind, JwtAuthorizer, RequestAuthorizer, UserPool};

/// The configuration that `sluice run` serves when it is given none. Its target `demo` stands for a backend that the
/// binary starts itself: see [`Settings::quickstart`].
pub const QUICKSTART: &str = include_str!("../quickstart.toml");

/// File name shown in diagnostics and `/routes` for [`QUICKSTART`].
pub const QUICKSTART_NAME: &str = "<quick start>";
