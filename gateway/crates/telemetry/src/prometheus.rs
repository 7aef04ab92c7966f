//! The metric families, in one place.

use crate::counter::Counter;
use crate::exposition::{Exposition, Kind};
use crate::histogram::{LatencyHistogram, Merged};
use crate::hub::Hub;
use crate::names::{Names, OVERFLOW};
use crate::record::{EngineGauge, HandshakeFailure, Http2Fault, Refusal};
use crate::shard::{RouteCell, STATUS_CLASSES, Shard, Totals, UpstreamCell};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Upper bounds of the exported latency buckets: text for `le` in seconds, and microseconds. A value that is within
/// 3% of a bound may be counted on its other side: the histogram behind is no finer.
const BOUNDS: [(&str, u64); 16] = [
    ("0.00025", 250),
    ("0.0005", 500),
    ("0.001", 1_000),
    ("0.0025", 2_500),
    ("0.005", 5_000),
    ("0.01", 10_000),
    ("0.025", 25_000),
    ("0.05", 50_000),
    ("0.1", 100_000),
    ("0.25", 250_000),
    ("0.5", 500_000),
    ("1", 1_000_000),
    ("2.5", 2_500_000),
    ("5", 5_000_000),
    ("10", 10_000_000),
    ("30", 30_000_000),
];

type Shards = [Arc<Shard>];

pub(crate) fn render(hub: &Hub, out: &mut Exposition<'_>) {
    let shards = hub.shards();
    requests(hub, &shards, out);
    latencies(hub, &shards, out);
    cache(hub, &shards, out);
    slots(out, "sluice_key_requests_total", "Requests by API key name.", "key", &hub.keys, |slot| {
        sum(&shards, |shard| shard.keys.get(slot))
    });
    let help = "Requests refused by a limit, by API key name.";
    slots(out, "sluice_key_throttled_total", help, "key", &hub.keys, |slot| {
        sum(&shards, |shard| shard.throttled_keys.get(slot))
    });
    slots(out, "sluice_throttled_total", "Requests refused by limit name.", "limit", &hub.limits, |slot| {
        sum(&shards, |shard| shard.throttled.get(slot))
    });
    upstreams(hub, &shards, out);
    totals(&shards, out);
    http2(&shards, out);
    handshakes(&shards, out);
    log(hub, &shards, out);
    engine(hub, &shards, out);
}

fn sum<'a>(shards: &'a Shards, pick: impl Fn(&'a Shard) -> Option<&'a Counter>) -> u64 {
    shards.iter().filter_map(|shard| pick(shard)).map(Counter::get).fold(0, u64::wrapping_add)
}

/// A counter family with one sample per named slot; the overflow slot shows once it has something to tell.
fn slots(
    out: &mut Exposition<'_>,
    family: &str,
    help: &str,
    label: &str,
    names: &Names,
    value: impl Fn(usize) -> u64,
) {
    out.family(family, Kind::Counter, help);
    for (slot, name) in names.since(0).iter().enumerate() {
        let value = value(slot);
        if value > 0 || slot != OVERFLOW as usize {
            out.sample(family, &[(label, name)], value);
        }
    }
}

fn requests(hub: &Hub, shards: &Shards, out: &mut Exposition<'_>) {
    let family = "sluice_requests_total";
    out.family(family, Kind::Counter, "Requests by route and status class.");
    for (slot, name) in hub.routes.since(0).iter().enumerate() {
        for (class, label) in STATUS_CLASSES.iter().enumerate() {
            let value = sum(shards, |shard| shard.routes.get(slot)?.by_class.get(class));
            // Known series begin at zero, so that the first error is an increase and not a series' birth.
            let usual = slot != OVERFLOW as usize && matches!(*label, "2xx" | "4xx" | "5xx");
            if value > 0 || usual {
                out.sample(family, &[("route", name), ("status_class", label)], value);
            }
        }
    }
    let family = "sluice_refusals_total";
    out.family(family, Kind::Counter, "Requests the gateway answered by itself, by reason.");
    for refusal in Refusal::ALL {
        let value = sum(shards, |shard| shard.totals.refusals.get(*refusal as usize));
        out.sample(family, &[("reason", refusal.label())], value);
    }
}

fn latencies(hub: &Hub, shards: &Shards, out: &mut Exposition<'_>) {
    let mut all = Merged::new();
    histogram(out, "sluice_latency_seconds", "Time to answer, by route.", hub, shards, &mut all, |route| {
        route.latency.get()
    });
    quantiles(out, "sluice_latency_quantile_seconds", "Time to answer since start, all routes.", &all);
    let mut all = Merged::new();
    let (family, help) = ("sluice_integration_latency_seconds", "Time waiting for the upstream, by route.");
    histogram(out, family, help, hub, shards, &mut all, |route| route.integration.get());
    let help = "Time waiting for the upstream since start, all routes.";
    quantiles(out, "sluice_integration_latency_quantile_seconds", help, &all);
}

fn histogram(
    out: &mut Exposition<'_>,
    family: &str,
    help: &str,
    hub: &Hub,
    shards: &Shards,
    all: &mut Merged,
    pick: impl Fn(&RouteCell) -> Option<&Box<LatencyHistogram>>,
) {
    out.family(family, Kind::Histogram, help);
    let (bucket, total, count) =
        (format!("{family}_bucket"), format!("{family}_sum"), format!("{family}_count"));
    let bounds_us = BOUNDS.map(|(_, bound_us)| bound_us);
    for (slot, name) in hub.routes.since(0).iter().enumerate() {
        let mut merged = Merged::new();
        for histogram in shards.iter().filter_map(|shard| pick(shard.routes.get(slot)?)) {
            merged.add(histogram);
        }
        let requests = merged.count();
        if requests == 0 {
            continue;
        }
        for ((le, _), below) in BOUNDS.iter().zip(merged.cumulative(&bounds_us)) {
            out.sample(&bucket, &[("route", name), ("le", le)], below);
        }
        out.sample(&bucket, &[("route", name), ("le", "+Inf")], requests);
        out.sample(&total, &[("route", name)], seconds(merged.sum_us));
        out.sample(&count, &[("route", name)], requests);
        all.absorb(&merged);
    }
}

fn quantiles(out: &mut Exposition<'_>, family: &str, help: &str, merged: &Merged) {
    out.family(family, Kind::Gauge, help);
    let Some(quantiles) = merged.quantiles() else { return };
    for (quantile, value_us) in
        [("0.5", quantiles.p50_us), ("0.9", quantiles.p90_us), ("0.99", quantiles.p99_us)]
    {
        out.sample(family, &[("quantile", quantile)], seconds(value_us));
    }
}

fn seconds(value_us: u64) -> f64 {
    value_us as f64 / 1e6
}

fn cache(hub: &Hub, shards: &Shards, out: &mut Exposition<'_>) {
    type Pick = fn(&RouteCell) -> &Counter;
    let families: [(&str, &str, Pick); 3] = [
        ("sluice_cache_hits_total", "Requests answered from the cache.", |route| &route.cache_hits),
        ("sluice_cache_misses_total", "Requests looked up in the cache and not found.", |route| {
            &route.cache_misses
        }),
        ("sluice_cache_refreshes_total", "Requests that asked for a fresh response.", |route| {
            &route.cache_refreshes
        }),
    ];
    for (family, help, pick) in families {
        out.family(family, Kind::Counter, help);
        for (slot, name) in hub.routes.since(0).iter().enumerate() {
            let routes = || shards.iter().filter_map(|shard| shard.routes.get(slot));
            let uses_cache = routes().any(|route| {
                [&route.cache_hits, &route.cache_misses, &route.cache_refreshes]
                    .iter()
                    .any(|count| count.get() > 0)
            });
            if uses_cache {
                out.sample(family, &[("route", name)], routes().map(|route| pick(route).get()).sum::<u64>());
            }
        }
    }
}

fn upstreams(hub: &Hub, shards: &Shards, out: &mut Exposition<'_>) {
    type Pick = fn(&UpstreamCell) -> &Counter;
    let families: [(&str, &str, Pick); 6] = [
        ("sluice_upstream_requests_total", "Requests sent to an upstream.", |cell| &cell.requests),
        ("sluice_upstream_failures_total", "Requests an upstream failed to answer.", |cell| &cell.failures),
        ("sluice_upstream_retries_total", "Attempts repeated after a failure.", |cell| &cell.retries),
        ("sluice_upstream_connects_total", "Connections made to an upstream.", |cell| &cell.connects),
        ("sluice_upstream_connect_failures_total", "Connections that failed.", |cell| &cell.connect_failures),
        ("sluice_upstream_connections_closed_total", "Connections that ended.", |cell| {
            &cell.connections_closed
        }),
    ];
    for (family, help, pick) in families {
        slots(out, family, help, "upstream", &hub.upstreams, |slot| {
            sum(shards, |shard| shard.upstreams.get(slot).map(pick))
        });
    }
}

fn totals(shards: &Shards, out: &mut Exposition<'_>) {
    type Pick = fn(&Totals) -> &Counter;
    let families: [(&str, &str, Pick); 7] = [
        ("sluice_connections_opened_total", "Client connections accepted.", |totals| {
            &totals.connections_opened
        }),
        ("sluice_connections_closed_total", "Client connections ended.", |totals| &totals.connections_closed),
        ("sluice_connections_shed_total", "Client connections turned away.", |totals| {
            &totals.connections_shed
        }),
        (
            "sluice_connections_over_address_total",
            "Client connections closed: too many of one address.",
            |totals| &totals.connections_over_address,
        ),
        ("sluice_tunnels_opened_total", "Connections that became tunnels.", |totals| &totals.tunnels_opened),
        ("sluice_received_bytes_total", "Bytes of requests.", |totals| &totals.bytes_in),
        ("sluice_sent_bytes_total", "Bytes of responses.", |totals| &totals.bytes_out),
    ];
    for (family, help, pick) in families {
        out.family(family, Kind::Counter, help);
        out.sample(family, &[], sum(shards, |shard| Some(pick(&shard.totals))));
    }
    let family = "sluice_connections_active";
    out.family(family, Kind::Gauge, "Client connections open now.");
    // Closed first: a connection that ends between the two reads shows as open, never as less than none.
    let closed = sum(shards, |shard| Some(&shard.totals.connections_closed));
    let opened = sum(shards, |shard| Some(&shard.totals.connections_opened));
    out.sample(family, &[], opened.saturating_sub(closed));
    let family = "sluice_tunnels_active";
    out.family(family, Kind::Gauge, "Tunnels open now.");
    let closed = sum(shards, |shard| Some(&shard.totals.tunnels_closed));
    let opened = sum(shards, |shard| Some(&shard.totals.tunnels_opened));
    out.sample(family, &[], opened.saturating_sub(closed));
}

fn handshakes(shards: &Shards, out: &mut Exposition<'_>) {
    let family = "sluice_tls_handshakes_total";
    out.family(family, Kind::Counter, "TLS handshakes with clients, full or resumed.");
    out.sample(family, &[("kind", "full")], sum(shards, |shard| Some(&shard.totals.handshakes)));
    out.sample(family, &[("kind", "resumed")], sum(shards, |shard| Some(&shard.totals.handshakes_resumed)));
    let family = "sluice_tls_handshake_failures_total";
    out.family(family, Kind::Counter, "TLS handshakes with clients that failed, by reason.");
    for why in HandshakeFailure::ALL {
        let value = sum(shards, |shard| shard.totals.handshake_failures.get(*why as usize));
        out.sample(family, &[("reason", why.label())], value);
    }
}

fn http2(shards: &Shards, out: &mut Exposition<'_>) {
    let family = "sluice_http2_connections_total";
    out.family(family, Kind::Counter, "Client connections that spoke HTTP/2.");
    out.sample(family, &[], sum(shards, |shard| Some(&shard.totals.http2_connections)));
    type Pick = fn(&Totals) -> &[Counter];
    let families: [(&str, &str, Pick); 2] = [
        (
            "sluice_http2_stream_errors_total",
            "HTTP/2 streams reset for the client's fault, by reason.",
            |totals| &totals.http2_stream_errors,
        ),
        (
            "sluice_http2_connection_errors_total",
            "HTTP/2 connections ended with GOAWAY for the client's fault, by reason.",
            |totals| &totals.http2_connection_errors,
        ),
    ];
    for (family, help, pick) in families {
        out.family(family, Kind::Counter, help);
        for fault in Http2Fault::ALL {
            let value = sum(shards, |shard| pick(&shard.totals).get(*fault as usize));
            if value > 0 {
                out.sample(family, &[("reason", fault.label())], value);
            }
        }
    }
}

fn log(hub: &Hub, shards: &Shards, out: &mut Exposition<'_>) {
    let family = "sluice_log_records_written_total";
    out.family(family, Kind::Counter, "Access log records written.");
    out.sample(family, &[], hub.log.written.get());
    let family = "sluice_log_records_lost_total";
    out.family(family, Kind::Counter, "Access log records lost, by reason.");
    out.sample(family, &[("reason", "ring_full")], sum(shards, |shard| Some(&shard.totals.log_lost)));
    out.sample(family, &[("reason", "write_error")], hub.log.write_lost.get());
    let family = "sluice_log_write_errors_total";
    out.family(family, Kind::Counter, "Writes of the access log that failed.");
    out.sample(family, &[], hub.log.write_errors.get());
}

fn engine(hub: &Hub, shards: &Shards, out: &mut Exposition<'_>) {
    let family = "sluice_cores";
    out.family(family, Kind::Gauge, "Data cores.");
    out.sample(family, &[], hub.cores);
    let cores: BTreeSet<usize> = shards.iter().map(|shard| shard.core).collect();
    for gauge in EngineGauge::ALL {
        let (kind, suffix) = if gauge.is_counter() { (Kind::Counter, "_total") } else { (Kind::Gauge, "") };
        let family = format!("sluice_engine_{}{suffix}", gauge.label());
        out.family(&family, kind, "What each core's I/O engine reports about itself.");
        for core in &cores {
            let value =
                sum(shards, |shard| shard.totals.engine.get(*gauge as usize).filter(|_| shard.core == *core));
            out.sample(&family, &[("core", &core.to_string())], value);
        }
    }
}
