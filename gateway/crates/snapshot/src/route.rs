//! Routes, upstreams, keys and limits as data.

use crate::{Authorizer, AwsProxy, BackendId, HttpFunction, MappedPlan};
use bytes::Bytes;
use sluice_mapping::Validator;
use sluice_throttle::{ClientTable, Period, Pool, Quota};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Index into `Snapshot::routes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteId(pub u32);
/// Index into `Snapshot::upstreams`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamId(pub u32);
/// Index into `Snapshot::keys`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyId(pub u32);

/// Where a route comes from: shown by `/routes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The configuration.
    File {
        /// File name, or `<quick start>`.
        file: Arc<str>,
        /// 1-based line.
        line: u32,
    },
    /// A deployment of a REST API.
    Stage {
        /// Id of the API.
        api: Arc<str>,
        /// Name of the stage.
        stage: Arc<str>,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line } => write!(out, "{file}:{line}"),
            Self::Stage { api, stage } => write!(out, "rest API {api}/{stage}"),
        }
    }
}

/// One route, everything resolved.
#[derive(Debug)]
pub struct Route {
    /// Stable name from the configuration.
    pub name: Arc<str>,
    /// Where it was written.
    pub source: Source,
    /// The method of a REST API's route; `None`: any, or those of the configuration.
    pub method: Option<Arc<str>>,
    /// Which methods it takes is said: each is a route of its own in events (`GET /users`, not `ANY /users`).
    pub has_methods: bool,
    /// The id of its resource, where it is a REST API's.
    pub resource_id: Option<Box<str>>,
    /// The path pattern as written, for logs and `/routes`.
    pub pattern: Arc<str>,
    /// What answers.
    pub action: Action,
    /// How its callers are known; `None`: they are not.
    pub authorizer: Option<Authorizer>,
    /// 403 without a known, enabled key.
    pub api_key_required: bool,
    /// Limits in the order of the configuration; all must grant.
    pub limits: Vec<Limit>,
    /// Caching of responses to GET.
    pub cache: Option<CachePlan>,
    /// What requests are checked for before they are answered.
    pub validator: Option<Box<Validator>>,
    /// 0: no limit.
    pub body_max_bytes: u64,
    /// Telemetry slot, stable by name.
    pub metrics_slot: u32,
}

/// What answers a request.
#[derive(Debug)]
pub enum Action {
    /// A fixed answer.
    Mock(MockResponse),
    /// Forward to an upstream group.
    Proxy(ProxyPlan),
    /// A method of a REST API whose bodies are mapped.
    Mapped(Box<MappedPlan>),
    /// A Lambda function behind a route of the configuration.
    Function(Box<HttpFunction>),
    /// It cannot be answered: a method whose set-up is incomplete, or asks for what is not built.
    Fault(Fault),
}

/// Why a method cannot be answered. A method that cannot be authorized is never answered as if it needed none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its integration is absent, incomplete or of a kind that is not built.
    Integration,
    /// Its authorizer is of a kind that is not built.
    Authorizer,
    /// Its API's resource policy is none.
    Policy,
}

/// Where a request is forwarded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A group of the configuration.
    Group(UpstreamId),
    /// The server of an integration's URI.
    Backend(BackendId),
}

/// A fixed answer, headers serialised at compile time.
#[derive(Debug)]
pub struct MockResponse {
    /// Status code.
    pub status: u16,
    /// Status line and fixed headers (`content-type`, `content-length`), each line ended by CRLF, without the empty line.
    pub head: Bytes,
    /// The same for HTTP/2: a header block that needs no compression state.
    pub block: Bytes,
    /// Body.
    pub body: Bytes,
}

/// Forwarding.
#[derive(Debug)]
pub struct ProxyPlan {
    /// Whose servers.
    pub to: Destination,
    /// Path sent upstream; `None`: the request's own path, unchanged.
    pub rewrite: Option<Vec<PathPiece>>,
    /// Until the response head, milliseconds.
    pub total_timeout_ms: u64,
    /// What connections may become; `None`: nothing but what they are.
    pub tunnel: Option<TunnelPlan>,
    /// What is done to heads on their way through a REST API.
    pub aws: Option<Box<AwsProxy>>,
}

impl ProxyPlan {
    /// Whether its answers are to go on as they come, whatever else is asked for (`responseTransferMode` STREAM).
    #[must_use]
    pub fn streams(&self) -> bool {
        self.aws.as_ref().is_some_and(|aws| aws.integration.is_stream)
    }
}

/// Tunnels to an upstream (RFC 9110 7.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelPlan {
    /// Protocols in lower case. Never empty.
    pub protocols: Vec<Box<[u8]>>,
    /// Without a byte in either direction, milliseconds.
    pub idle_timeout_ms: u64,
    /// In all, milliseconds; 0: no limit.
    pub total_timeout_ms: u64,
}

/// A piece of a rewritten path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPiece {
    /// Literal bytes.
    Literal(Bytes),
    /// The raw (still percent-encoded) text of capture N of the matched pattern.
    Capture(u8),
}

/// What says how long a response is served from the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheMode {
    /// The route's time to live, as in API Gateway.
    Ttl,
    /// The response itself (RFC 9111).
    Standard,
}

/// How a route's responses are cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachePlan {
    /// What says how long.
    pub mode: CacheMode,
    /// Time to live, milliseconds.
    pub ttl_ms: u64,
    /// Larger responses are passed on, not stored.
    pub entry_max_bytes: u64,
    /// Beside method, host and path.
    pub parts: Vec<CacheKeyPart>,
    /// Part of the key: what is stored under another is not found.
    pub namespace: Box<[u8]>,
    /// What a caller gets who asks for a fresh response in the TTL mode.
    pub refresh: Refresh,
    /// The headers among them (lower-case names): in the standards mode they are added to each `Vary`.
    pub vary: Vec<Box<[u8]>>,
}

/// What `Cache-Control: max-age=0` or `no-cache` brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refresh {
    /// A fresh response.
    #[default]
    Allowed,
    /// 403.
    Forbidden,
    /// The stored one, with a `Warning`.
    Warned,
    /// The stored one.
    Ignored,
}

/// A chosen part of the cache key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheKeyPart {
    /// All values of a query parameter (raw name), in order.
    Query(Box<[u8]>),
    /// The whole raw query string.
    WholeQuery,
    /// All values of a header (lower-case name), in order.
    Header(Box<[u8]>),
}

/// What one bucket of a limit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitScope {
    /// One bucket for each route that names the limit.
    Route,
    /// One for each API key.
    Key,
    /// One for each client address.
    Client,
    /// One for all.
    Global,
}

/// A limit as one route sees it.
#[derive(Clone, Debug)]
pub enum Limit {
    /// One bucket (route or global scope). `index` is dense and stable for the life of the process: data cores keep their
    /// leases in a vector by it.
    Pool {
        /// Dense index of the pool.
        index: u32,
        /// The shared bucket.
        pool: Arc<Pool>,
        /// Telemetry slot of the limit.
        slot: u32,
    },
    /// A bucket for each key, indexed by [`KeyId`]. Requests without a key pass it.
    PerKey {
        /// Pool and its dense index by key.
        pools: Arc<Vec<(u32, Arc<Pool>)>>,
        /// Telemetry slot of the limit.
        slot: u32,
    },
    /// A bucket for each client address.
    PerClient {
        /// The table.
        table: Arc<ClientTable>,
        /// Telemetry slot of the limit.
        slot: u32,
    },
}

/// An API key.
#[derive(Debug)]
pub struct ApiKey {
    /// Name from the configuration.
    pub name: Arc<str>,
    /// A disabled key is refused like an unknown one.
    pub enabled: bool,
    /// Limits of the key itself (always `Limit::Pool`).
    pub limits: Vec<Limit>,
    /// What usage plans grant it; for keys of the configuration nothing.
    pub grants: Vec<Grant>,
    /// Telemetry slot.
    pub metrics_slot: u32,
}

/// What a usage plan grants a key on one stage.
#[derive(Debug)]
pub struct Grant {
    /// [`Stage::id`](crate::Stage::id).
    pub stage: u32,
    /// The plan's limit for the key on all its stages (always `Limit::Pool`).
    pub limit: Option<Limit>,
    /// Limits for single methods: path, method and a `Limit::Pool`.
    pub methods: Vec<(Box<str>, Box<str>, Limit)>,
    /// Requests in a period.
    pub quota: Option<QuotaPlan>,
}

/// A quota as a key has it.
#[derive(Clone, Debug)]
pub struct QuotaPlan {
    /// Dense and stable for the life of the process: data cores keep their leases in a vector by it.
    pub index: u32,
    /// The shared count.
    pub quota: Arc<Quota>,
    /// How long its period is.
    pub period: Period,
    /// Telemetry slot of the limit.
    pub slot: u32,
}

/// A group of targets.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Stable name.
    pub name: Arc<str>,
    /// Never empty.
    pub targets: Vec<Target>,
    /// Most HTTP/2 connections to a target, per core; 0: they speak HTTP/1.
    pub http2_connections: usize,
    /// HTTP/1 is spoken to a target that does not choose HTTP/2 by ALPN.
    pub http1_fallback: bool,
    /// Connect timeout, milliseconds.
    pub connect_timeout_ms: u64,
    /// Between two reads of a response, milliseconds.
    pub read_timeout_ms: u64,
    /// Idle connections kept, per core.
    pub keepalive_connections: usize,
    /// How long an idle one is kept, milliseconds.
    pub keepalive_idle_ms: u64,
    /// Consecutive failures that put a target aside. 0: never.
    pub max_failures: u32,
    /// For how long, milliseconds.
    pub fail_timeout_ms: u64,
    /// Further tries of an idempotent request.
    pub retries: u32,
    /// Of two targets the one with fewer requests under way gets the next; else each in turn.
    pub least_request: bool,
    /// How targets are checked; `None`: not at all.
    pub health: Option<Arc<HealthCheck>>,
    /// Telemetry slot.
    pub metrics_slot: u32,
}

/// Checks of targets that are made whether there are requests or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked; `None`: a connection is enough.
    pub request: Option<HealthRequest>,
    /// From one check to the next, milliseconds.
    pub interval_ms: u64,
    /// For one check, milliseconds.
    pub timeout_ms: u64,
    /// Good checks in a row that bring a target back.
    pub rise: u32,
    /// Failed ones that take it out.
    pub fall: u32,
}

/// A check by a GET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthRequest {
    /// Path and query.
    pub path: Box<str>,
    /// `Host`; `None`: the target's.
    pub host: Option<Box<str>>,
    /// Statuses of a healthy target, first and last of each range.
    pub statuses: Vec<(u16, u16)>,
}

/// One server.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where to connect.
    pub addr: SocketAddr,
    /// `host:port` as configured: the `Host` header when the client's is not passed on.
    pub authority: Arc<str>,
    /// 1 or more.
    pub weight: u32,
    /// It gets no new requests.
    pub drain: bool,
    /// Whether its checks find it healthy, for all cores to read; `None`: nobody checks.
    pub up: Option<Arc<AtomicBool>>,
}
