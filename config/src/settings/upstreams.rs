//! `[upstreams.NAME]`.

use crate::diagnostic::{Located, Position};
use std::path::PathBuf;
use std::sync::Arc;

/// `tls*` of an upstream group.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// Name asked for and verified, `None`: the target's host.
    pub server_name: Option<Located<String>>,
    /// Trusted authorities, `None`: the system's.
    pub ca_file: Option<Located<PathBuf>>,
    /// Our certificate and its key.
    pub identity: Option<(Located<PathBuf>, Located<PathBuf>)>,
    /// Where TLS was asked for.
    pub at: Position,
}

/// What upstreams are spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, and nothing else.
    Http2,
    /// HTTP/2 where ALPN chooses it, else HTTP/1.1. TLS only.
    Auto,
}

/// `[upstreams.NAME]`: a group of equivalent servers.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Name, or the address of an implicit group.
    pub name: Located<Arc<str>>,
    /// Never empty.
    pub targets: Vec<Target>,
    /// What they are spoken to in.
    pub protocol: Protocol,
    /// HTTP/2 connections to a target, per core.
    pub http2_connections: usize,
    /// TLS to all of them.
    pub tls: Option<UpstreamTls>,
    /// Connect timeout.
    pub connect_timeout_ms: u64,
    /// Between two reads of a response.
    pub read_timeout_ms: u64,
    /// Until the response head.
    pub total_timeout_ms: u64,
    /// Idle connections kept, per core.
    pub keepalive_connections: usize,
    /// How long an idle one is kept.
    pub keepalive_idle_ms: u64,
    /// Consecutive failures that put a target aside, 0: never.
    pub max_failures: u32,
    /// For how long.
    pub fail_timeout_ms: u64,
    /// Further tries of an idempotent request.
    pub retries: u32,
    /// Who gets a request.
    pub balance: Balance,
    /// How targets are checked; `None`: not at all.
    pub health: Option<HealthCheck>,
}

/// Who gets a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Each in turn, by weight.
    RoundRobin,
    /// Of two the one with fewer requests under way for its weight.
    LeastRequest,
}

/// `health_*`: checks that are made whether there are requests or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked; `None`: a connection is enough.
    pub request: Option<HealthRequest>,
    /// From one check to the next.
    pub interval_ms: u64,
    /// For one check.
    pub timeout_ms: u64,
    /// Good checks that bring a target back.
    pub rise: u32,
    /// Failed ones that take it out.
    pub fall: u32,
}

/// A check by a GET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthRequest {
    /// Path and query.
    pub path: String,
    /// `Host`; `None`: the target's.
    pub host: Option<String>,
    /// Statuses of a healthy target, first and last of each range. Never empty.
    pub statuses: Vec<(u16, u16)>,
}

/// One server of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Name or address, without brackets.
    pub host: String,
    /// Port, never 0.
    pub port: u16,
    /// Share of the traffic, 1 or more.
    pub weight: u32,
    /// It gets no new requests; those under way end.
    pub drain: bool,
    /// Written with `https://`.
    pub tls: bool,
    /// `host:port` as written, without the weight.
    pub authority: Arc<str>,
    /// Where it was written.
    pub at: Position,
}
