//! The immutable compiled form that data cores serve from.
//!
//! A [`Snapshot`] is built off-core by `compile`, shared by `Arc`, and never changed. What must outlive a swap (token
//! pools, the cache, metric slots) is held by `Arc` or dense index and carried from one snapshot to the next by stable name.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod auth;
mod function;
mod mapped;
mod networks;
mod pattern;
mod rest;
mod route;
mod router;

pub use auth::{
    AccessKey, Authorizer, AwsPlan, IdentitySource, Issuer, LambdaKind, LambdaPlan, Provider, TokenPlan,
    TokenStyle,
};
pub use function::{Auth, Function, FunctionIntegration, HttpFunction, Secret, ServiceIntegration, Signer};
pub use mapped::{AwsProxy, Backing, HttpIntegration, MappedPlan};
pub use networks::Networks;
pub use pattern::{CAPTURES_MAX, Pattern, PatternError, SEGMENT_MAX_BYTES, SEGMENTS_MAX, Segment};
pub use rest::{
    Addressed, Backend, BackendId, BackendTls, Canary, Deployed, KeyTable, Mapping, RestApis, RouteAt, Stage,
    resource_path,
};
pub use route::{
    Action, ApiKey, CacheKeyPart, CacheMode, CachePlan, Destination, Fault, Grant, HealthCheck,
    HealthRequest, KeyId, Limit, LimitScope, MockResponse, PathPiece, ProxyPlan, QuotaPlan, Refresh, Route,
    RouteId, Source, Target, TunnelPlan, Upstream, UpstreamId,
};
pub use router::{Captures, Match, Router, RouterBuilder, RouterError, host_of};

use sluice_cache::{Cache, Flights};
use std::collections::HashMap;
use std::sync::Arc;

/// Limits and timeouts of the client side, one per snapshot.
#[derive(Clone, Debug)]
pub struct ServerPlan {
    /// Parser limits.
    pub limits: sluice_wire::Limits,
    /// Whole request head, milliseconds.
    pub header_timeout_ms: u64,
    /// Keep-alive idle time, milliseconds.
    pub idle_timeout_ms: u64,
    /// Between two reads or writes of a body, milliseconds.
    pub body_timeout_ms: u64,
    /// Connections per process; more are shed.
    pub max_connections: usize,
    /// Connections of one client address (IPv6: /64), 0: no limit; more are closed at once.
    pub max_connections_per_address: u32,
    /// Add `X-Forwarded-For/-Proto/-Host/-Port`.
    pub x_forwarded: bool,
    /// Add `Forwarded` (RFC 7239).
    pub forwarded: bool,
    /// Streams that an HTTP/2 client may have open; 0: HTTP/2 is not spoken.
    pub http2_streams: u32,
    /// Add `Via` (RFC 9110 7.6.3).
    pub via: bool,
    /// Proxies that are believed about the address before theirs.
    pub trusted_proxies: Networks,
    /// What they say it in.
    pub trusted_header: TrustedHeader,
    /// Who sends PROXY protocol headers.
    pub proxy_protocol_from: Networks,
}

/// What trusted proxies name clients in. One of the two: a proxy that writes one passes the other on as it came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrustedHeader {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Everything a data core needs to serve.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts publications, from 1.
    pub generation: u64,
    /// Client-side limits.
    pub server: ServerPlan,
    /// Host and path to route.
    pub router: Router,
    /// Those of the configuration, indexed by [`RouteId`].
    pub routes: Vec<Route>,
    /// The control plane's.
    pub rest: RestApis,
    /// What signatures and policies are checked with.
    pub aws: AwsPlan,
    /// Indexed by [`UpstreamId`].
    pub upstreams: Vec<Upstream>,
    /// Indexed by [`KeyId`].
    pub keys: Vec<ApiKey>,
    /// API key value to key. A `HashMap` with the default keyed hash: values are attacker-chosen.
    pub key_by_value: HashMap<Box<[u8]>, KeyId>,
    /// Some route caches as the standards say.
    pub caches_by_standard: bool,
    /// Shared response cache and the fills in progress.
    pub cache: Arc<Cache>,
    /// Fills in progress.
    pub flights: Arc<Flights>,
}

impl Snapshot {
    /// A route.
    #[inline]
    #[must_use]
    pub fn route(&self, at: RouteAt) -> Option<&Route> {
        if at.stage == RouteAt::CONFIGURED { self.routes.get(at.id.0 as usize) } else { self.rest.route(at) }
    }
}
