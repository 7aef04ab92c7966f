//! A checked plan to a snapshot. Nothing here can fail.

use crate::SlotAllocator;
use crate::functions::{Functions, Shared};
use crate::plan::{Plan, RoutePlan};
use crate::registry::{PoolName, Registry};
use crate::signers;
use bytes::Bytes;
use sluice_config::{self as config, Forwarded, Scope, Settings};
use sluice_snapshot::{
    Action, ApiKey, Authorizer, CacheKeyPart, CacheMode, CachePlan, Destination, Fault, HealthCheck,
    HealthRequest, KeyId, Limit, MockResponse, Networks, ProxyPlan, Refresh, RestApis, Route, ServerPlan,
    Snapshot, Source, Target, TrustedHeader, TunnelPlan, Upstream, UpstreamId,
};
use sluice_throttle::{Pool, Rate};
use sluice_wire::h2::literal;
use sluice_wire::{KnownHeader, Limits, enc};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A bucket and its dense index.
type Indexed = (u32, Arc<Pool>);

pub(crate) fn build(
    settings: &Settings,
    plan: Plan,
    (mut rest, notes): (RestApis, &mut Vec<String>),
    registry: &mut Registry,
    slots: &mut dyn SlotAllocator,
    now_ns: u64,
) -> Snapshot {
    let Plan { router, routes, upstreams, keys, signers, names } = plan;
    registry.names = names;
    let cache = registry.cache(settings.cache.capacity_bytes);
    // What the store would refuse need not be gathered for it.
    let entry_max_bytes = settings.cache.entry_max_bytes.min(cache.entry_max_bytes());
    let per_key = vec![None; settings.limits.len()];
    let mut functions = Functions::new(settings, registry);
    let authorizers = functions.authorizers(registry, slots);
    let mut limits = Builder { settings, registry, now_ns, entry_max_bytes, per_key, functions, authorizers };
    let keys = settings.keys.iter().zip(keys).map(|(key, own)| limits.api_key(key, &own, slots)).collect();
    let routes: Vec<Route> =
        settings.routes.iter().zip(routes).map(|(route, plan)| limits.route(route, plan, slots)).collect();
    notes.append(&mut limits.functions.notes);
    registry.backends.resolve_fresh();
    rest.backends = registry.backends.list();
    let by_standard = |route: &Route| route.cache.as_ref().is_some_and(|c| c.mode == CacheMode::Standard);
    let caches_by_standard = routes.iter().any(by_standard);
    let key_by_value = settings.keys.iter().enumerate();
    let key_by_value =
        key_by_value.map(|(at, key)| (key.value.value.expose().as_bytes().into(), KeyId(id(at))));
    Snapshot {
        generation: registry.next_generation(),
        server: server(&settings.server),
        router: router.build(),
        routes,
        rest,
        aws: signers::build(settings, signers, registry.providers.list()),
        upstreams: groups(settings, upstreams, registry, slots),
        keys,
        key_by_value: key_by_value.collect(),
        caches_by_standard,
        cache,
        flights: registry.flights(),
    }
}

fn id(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn server(server: &config::Server) -> ServerPlan {
    ServerPlan {
        limits: Limits {
            request_line_max_bytes: server.request_line_max_bytes,
            header_max_bytes: server.header_max_bytes,
            header_max_count: server.header_max_count,
        },
        header_timeout_ms: server.header_timeout_ms,
        idle_timeout_ms: server.idle_timeout_ms,
        body_timeout_ms: server.body_timeout_ms,
        max_connections: server.max_connections,
        max_connections_per_address: server.max_connections_per_address,
        x_forwarded: matches!(server.forwarded, Forwarded::XForwarded | Forwarded::Both),
        forwarded: matches!(server.forwarded, Forwarded::Standard | Forwarded::Both),
        http2_streams: if server.http2 { server.http2_max_streams } else { 0 },
        via: server.via,
        trusted_proxies: networks(&server.trusted_proxies),
        trusted_header: if server.trusted_forwarded {
            TrustedHeader::Forwarded
        } else {
            TrustedHeader::XForwardedFor
        },
        proxy_protocol_from: networks(&server.proxy_protocol_from),
    }
}

fn networks(nets: &[config::IpNet]) -> Networks {
    Networks::new(nets.iter().map(|net| (net.addr(), net.prefix_len())))
}

/// The groups, with what is known of their targets' health.
fn groups(
    settings: &Settings,
    targets: Vec<Vec<Target>>,
    registry: &mut Registry,
    slots: &mut dyn SlotAllocator,
) -> Vec<Upstream> {
    let mut known = registry.take_health();
    let mut groups = Vec::with_capacity(targets.len());
    for (upstream, mut targets) in settings.upstreams.iter().zip(targets) {
        for target in targets.iter_mut().filter(|_| upstream.health.is_some()) {
            let name = (Arc::clone(&upstream.name.value), target.addr);
            let up = known.remove(&name).unwrap_or_else(|| Arc::new(AtomicBool::new(true)));
            registry.keep_health(name, Arc::clone(&up));
            target.up = Some(up);
        }
        groups.push(group(upstream, targets, slots));
    }
    groups
}

fn health(check: &config::HealthCheck) -> HealthCheck {
    let request = |request: &config::HealthRequest| HealthRequest {
        path: request.path.as_str().into(),
        host: request.host.as_deref().map(Into::into),
        statuses: request.statuses.clone(),
    };
    HealthCheck {
        request: check.request.as_ref().map(request),
        interval_ms: check.interval_ms,
        timeout_ms: check.timeout_ms,
        rise: check.rise,
        fall: check.fall,
    }
}

fn group(upstream: &config::Upstream, targets: Vec<Target>, slots: &mut dyn SlotAllocator) -> Upstream {
    Upstream {
        name: Arc::clone(&upstream.name.value),
        targets,
        http2_connections: match upstream.protocol {
            config::Protocol::Http1 => 0,
            config::Protocol::Http2 | config::Protocol::Auto => upstream.http2_connections,
        },
        http1_fallback: upstream.protocol == config::Protocol::Auto,
        connect_timeout_ms: upstream.connect_timeout_ms,
        read_timeout_ms: upstream.read_timeout_ms,
        keepalive_connections: upstream.keepalive_connections,
        keepalive_idle_ms: upstream.keepalive_idle_ms,
        max_failures: upstream.max_failures,
        fail_timeout_ms: upstream.fail_timeout_ms,
        retries: upstream.retries,
        least_request: upstream.balance == config::Balance::LeastRequest,
        health: upstream.health.as_ref().map(|check| Arc::new(health(check))),
        metrics_slot: slots.upstream_slot(&upstream.name.value),
    }
}

/// Routes and keys with their limits.
struct Builder<'s> {
    settings: &'s Settings,
    registry: &'s mut Registry,
    now_ns: u64,
    entry_max_bytes: u64,
    /// Buckets of all keys for each limit of scope `key` that some route names, shared by those routes.
    per_key: Vec<Option<Arc<Vec<Indexed>>>>,
    functions: Functions<'s>,
    /// Of the settings, in their order.
    authorizers: Vec<Option<Shared>>,
}

impl Builder<'_> {
    fn route(&mut self, route: &config::Route, plan: RoutePlan, slots: &mut dyn SlotAllocator) -> Route {
        let limits =
            plan.limits.iter().filter_map(|at| self.of_route(*at, &route.name.value, slots)).collect();
        let action = match &route.function {
            Some(given) => self.functions.action(route, &given.value, self.registry, slots),
            None => self.action(route, plan.upstream, plan.rewrite),
        };
        let (action, authorizer) = match plan.authorizer.map(|at| self.authorizer(at)) {
            // Who cannot be asked lets nobody in.
            Some(None) => (Action::Fault(Fault::Authorizer), None),
            authorizer => (action, authorizer.flatten()),
        };
        Route {
            name: Arc::clone(&route.name.value),
            source: Source::File { file: Arc::clone(&self.settings.file), line: route.name.at.line },
            method: None,
            has_methods: !route.methods.is_empty(),
            resource_id: None,
            pattern: route.path.value.as_str().into(),
            action,
            authorizer,
            api_key_required: route.api_key_required,
            limits,
            cache: route.cache.as_ref().map(|cache| self.cache_plan(&cache.value)),
            validator: None,
            body_max_bytes: route.body_max_bytes,
            metrics_slot: slots.route_slot(&route.name.value),
        }
    }

    /// `None`: it cannot be asked.
    fn authorizer(&mut self, at: usize) -> Option<Authorizer> {
        let settings = self.settings.authorizers.get(at)?;
        self.authorizers.get(at)?.as_ref()?.authorizer(settings, self.registry)
    }

    fn action(
        &self,
        route: &config::Route,
        upstream: Option<usize>,
        rewrite: Option<Vec<sluice_snapshot::PathPiece>>,
    ) -> Action {
        match upstream {
            None => Action::Mock(route.mock.as_ref().map_or_else(
                || mock(204, "", ""),
                |mock_settings| {
                    let config::Mock { status, body, content_type } = &mock_settings.value;
                    mock(*status, body, content_type)
                },
            )),
            Some(at) => {
                let of_group =
                    self.settings.upstreams.get(at).map_or(0, |upstream| upstream.total_timeout_ms);
                Action::Proxy(ProxyPlan {
                    to: Destination::Group(UpstreamId(id(at))),
                    rewrite,
                    total_timeout_ms: route.total_timeout_ms.unwrap_or(of_group),
                    tunnel: tunnel(route),
                    aws: None,
                })
            }
        }
    }

    fn cache_plan(&self, cache: &config::RouteCache) -> CachePlan {
        let mut parts: Vec<CacheKeyPart> = Vec::new();
        for key in &cache.keys {
            let part = match &key.value {
                config::CacheKey::Query(name) => CacheKeyPart::Query(name.as_bytes().into()),
                config::CacheKey::WholeQuery => CacheKeyPart::WholeQuery,
                config::CacheKey::Header(name) => CacheKeyPart::Header(name.as_bytes().into()),
            };
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        let vary = parts.iter().filter_map(|part| match part {
            CacheKeyPart::Header(name) => Some(name.clone()),
            CacheKeyPart::Query(_) | CacheKeyPart::WholeQuery => None,
        });
        CachePlan {
            mode: match cache.mode {
                config::CacheMode::Ttl => CacheMode::Ttl,
                config::CacheMode::Standard => CacheMode::Standard,
            },
            ttl_ms: cache.ttl_ms,
            entry_max_bytes: self.entry_max_bytes,
            namespace: Box::default(),
            refresh: Refresh::Allowed,
            vary: vary.collect(),
            parts,
        }
    }

    /// A limit as a route sees it.
    fn of_route(&mut self, at: usize, route: &Arc<str>, slots: &mut dyn SlotAllocator) -> Option<Limit> {
        let settings = self.settings.limits.get(at)?;
        let limit = Arc::clone(&settings.name.value);
        let rate = rate(settings);
        let slot = slots.limit_slot(&limit);
        let pool = match settings.scope {
            Scope::Client => {
                return Some(Limit::PerClient { table: self.registry.clients(&limit, rate), slot });
            }
            Scope::Key => return Some(Limit::PerKey { pools: self.per_key(at, &limit, rate)?, slot }),
            Scope::Route => PoolName::Route { limit, route: Arc::clone(route) },
            Scope::Global => PoolName::Global { limit },
        };
        let (index, pool) = self.registry.pool(pool, rate, self.now_ns);
        Some(Limit::Pool { index, pool, slot })
    }

    fn per_key(&mut self, at: usize, limit: &Arc<str>, rate: Rate) -> Option<Arc<Vec<Indexed>>> {
        let known = self.per_key.get_mut(at)?;
        let pools = known.get_or_insert_with(|| {
            let names = self
                .settings
                .keys
                .iter()
                .map(|key| PoolName::Key { limit: Arc::clone(limit), key: Arc::clone(&key.name.value) });
            Arc::new(names.map(|name| self.registry.pool(name, rate, self.now_ns)).collect())
        });
        Some(Arc::clone(pools))
    }

    fn api_key(&mut self, key: &config::ApiKey, own: &[usize], slots: &mut dyn SlotAllocator) -> ApiKey {
        let name = &key.name.value;
        let mut limits = Vec::with_capacity(own.len());
        for settings in own.iter().filter_map(|at| self.settings.limits.get(*at)) {
            let limit = Arc::clone(&settings.name.value);
            let slot = slots.limit_slot(&limit);
            let pool = PoolName::KeyItself { limit, key: Arc::clone(name) };
            let (index, pool) = self.registry.pool(pool, rate(settings), self.now_ns);
            limits.push(Limit::Pool { index, pool, slot });
        }
        ApiKey {
            name: Arc::clone(name),
            enabled: key.enabled,
            limits,
            grants: Vec::new(),
            metrics_slot: slots.key_slot(name),
        }
    }
}

fn tunnel(route: &config::Route) -> Option<TunnelPlan> {
    let protocols: Vec<_> = route.upgrade.iter().map(|name| name.value.as_bytes().into()).collect();
    (!protocols.is_empty()).then_some(TunnelPlan {
        protocols,
        idle_timeout_ms: route.tunnel_idle_timeout_ms,
        total_timeout_ms: route.tunnel_total_timeout_ms,
    })
}

const fn rate(limit: &config::Limit) -> Rate {
    Rate { per_second: limit.rate, burst: limit.burst }
}

/// A fixed answer.
#[must_use]
pub fn mock(status: u16, body: &str, content_type: &str) -> MockResponse {
    let typed = [("content-type", content_type)];
    mock_with(status, body, if body.is_empty() { &[] } else { &typed })
}

/// A fixed answer with these headers.
pub(crate) fn mock_with(status: u16, body: &str, headers: &[(&str, &str)]) -> MockResponse {
    let mut head = Vec::with_capacity(128);
    let mut block = Vec::with_capacity(64);
    enc::status_line(&mut head, status);
    literal::status(&mut block, status);
    // RFC 9110 8.6: 204 has no Content-Length; that of 304 would have to be the one of 200, which nobody knows.
    if !matches!(status, 204 | 304) {
        for (name, value) in headers {
            enc::header(&mut head, name.as_bytes(), value.as_bytes());
            let lower = name.to_ascii_lowercase();
            let known = KnownHeader::from_name(lower.as_bytes());
            literal::field(&mut block, known, lower.as_bytes(), value.as_bytes());
        }
        enc::content_length(&mut head, u64::try_from(body.len()).unwrap_or(u64::MAX));
        let length = body.len().to_string();
        literal::field(&mut block, KnownHeader::ContentLength, b"content-length", length.as_bytes());
    }
    let body = Bytes::copy_from_slice(body.as_bytes());
    MockResponse { status, head: Bytes::from(head), block: Bytes::from(block), body }
}
