//! The metrics as a scraper sees them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use sluice_telemetry::{
    CacheOutcome, EngineGauge, Exposition, Hub, Kind, OVERFLOW, Options, Record, Refusal, UNMATCHED,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Scrape, record};

fn scrape(hub: &Hub) -> Scrape {
    let mut text = String::new();
    hub.render_prometheus(&mut text);
    Scrape::parse(&text)
}

#[test]
fn an_idle_hub_renders_well_and_known_series_begin_at_zero() {
    let hub = Hub::new(2, Options::default());
    hub.route_slot("users");
    hub.upstream_slot("backend");
    let _core = hub.core(0);
    let scrape = scrape(&hub);
    for class in ["2xx", "4xx", "5xx"] {
        assert_eq!(
            scrape.get("sluice_requests_total", &[("route", "users"), ("status_class", class)]),
            Some(0.0)
        );
    }
    assert_eq!(scrape.get("sluice_requests_total", &[("route", "(other)"), ("status_class", "2xx")]), None);
    assert_eq!(scrape.get("sluice_upstream_requests_total", &[("upstream", "backend")]), Some(0.0));
    assert_eq!(scrape.get("sluice_refusals_total", &[("reason", "throttled")]), Some(0.0));
    assert_eq!(scrape.get("sluice_cores", &[]), Some(2.0));
}

#[test]
fn a_record_counts_everywhere_it_should() {
    let hub = Hub::new(2, Options::default());
    let (route, upstream) = (hub.route_slot("users"), hub.upstream_slot("backend"));
    let (key, limit) = (hub.key_slot("mobile"), hub.limit_slot("default"));
    let cores = [hub.core(0), hub.core(1)];
    let base = Record { route, key: Some(key), ..record() };
    let integrated = Record { upstream: Some(upstream), integration_latency_us: Some(900), ..base };
    cores[0].record(&Record { cache: CacheOutcome::Miss, ..integrated });
    cores[1].record(&Record { cache: CacheOutcome::Hit, ..base });
    cores[1].record(&Record { cache: CacheOutcome::Refresh, ..integrated });
    cores[0].record(&Record { status: 429, refusal: Some(Refusal::Throttled), limit: Some(limit), ..base });
    cores[0].record(&Record { status: 504, refusal: Some(Refusal::UpstreamTimeout), ..integrated });
    cores[0].record(&Record { status: 404, refusal: Some(Refusal::NotFound), ..record() });

    let scrape = scrape(&hub);
    let requests =
        |route, class| scrape.get("sluice_requests_total", &[("route", route), ("status_class", class)]);
    assert_eq!(requests("users", "2xx"), Some(3.0));
    assert_eq!(requests("users", "4xx"), Some(1.0));
    assert_eq!(requests("users", "5xx"), Some(1.0));
    assert_eq!(requests("(unmatched)", "4xx"), Some(1.0));
    for reason in ["throttled", "upstream_timeout", "not_found"] {
        assert_eq!(scrape.get("sluice_refusals_total", &[("reason", reason)]), Some(1.0), "{reason}");
    }
    for family in ["sluice_cache_hits_total", "sluice_cache_misses_total", "sluice_cache_refreshes_total"] {
        assert_eq!(scrape.get(family, &[("route", "users")]), Some(1.0), "{family}");
        assert_eq!(scrape.get(family, &[("route", "(unmatched)")]), None, "{family}");
    }
    assert_eq!(scrape.get("sluice_throttled_total", &[("limit", "default")]), Some(1.0));
    assert_eq!(scrape.get("sluice_key_requests_total", &[("key", "mobile")]), Some(5.0));
    assert_eq!(scrape.get("sluice_upstream_requests_total", &[("upstream", "backend")]), Some(3.0));
    assert_eq!(scrape.get("sluice_upstream_failures_total", &[("upstream", "backend")]), Some(1.0));
    assert_eq!(scrape.get("sluice_received_bytes_total", &[]), Some(600.0));
    assert_eq!(scrape.get("sluice_sent_bytes_total", &[]), Some(1500.0));
    assert_eq!(scrape.get("sluice_latency_seconds_count", &[("route", "users")]), Some(5.0));
    assert_eq!(scrape.get("sluice_integration_latency_seconds_count", &[("route", "users")]), Some(3.0));
    assert_eq!(scrape.get("sluice_integration_latency_seconds_sum", &[("route", "users")]), Some(0.0027));
    let bucket = |le| scrape.get("sluice_latency_seconds_bucket", &[("route", "users"), ("le", le)]);
    assert_eq!((bucket("0.001"), bucket("0.0025")), (Some(0.0), Some(5.0)));
    let p99 = scrape.get("sluice_latency_quantile_seconds", &[("quantile", "0.99")]).unwrap();
    assert!((p99 - 0.001_234).abs() < 0.000_04, "{p99}");
}

#[test]
fn connections_upstreams_and_the_engine() {
    let hub = Hub::new(1, Options::default());
    let upstream = hub.upstream_slot("backend");
    let core = hub.core(0);
    for _ in 0..3 {
        core.connection_opened();
    }
    core.connection_closed();
    core.connection_shed();
    core.upstream_connected(upstream);
    core.upstream_connect_failed(upstream);
    core.upstream_retried(upstream);
    core.upstream_closed(upstream);
    core.set_engine(EngineGauge::Turns, 41);
    core.set_engine(EngineGauge::Turns, 42);
    core.set_engine(EngineGauge::Tasks, 7);
    // A second writing end of the same core adds up with the first.
    hub.core(0).set_engine(EngineGauge::Tasks, 1);

    let scrape = scrape(&hub);
    assert_eq!(scrape.get("sluice_connections_opened_total", &[]), Some(3.0));
    assert_eq!(scrape.get("sluice_connections_active", &[]), Some(2.0));
    assert_eq!(scrape.get("sluice_connections_shed_total", &[]), Some(1.0));
    for what in ["connects", "connect_failures", "retries", "connections_closed"] {
        let family = format!("sluice_upstream_{what}_total");
        assert_eq!(scrape.get(&family, &[("upstream", "backend")]), Some(1.0), "{what}");
    }
    assert_eq!(scrape.get("sluice_engine_turns_total", &[("core", "0")]), Some(42.0));
    assert_eq!(scrape.get("sluice_engine_tasks", &[("core", "0")]), Some(8.0));
}

#[test]
fn hostile_names_stay_inside_their_quotes() {
    let hub = Hub::new(1, Options::default());
    let name = "a\"b\\c\nd{e=\"f\"} 1é";
    let route = hub.route_slot(name);
    hub.core(0).record(&Record { route, ..record() });
    assert_eq!(
        scrape(&hub).get("sluice_requests_total", &[("route", name), ("status_class", "2xx")]),
        Some(1.0)
    );
}

#[test]
fn names_and_slots_beyond_the_bounds_share_the_overflow_slot() {
    let hub = Hub::new(
        1,
        Options { routes_max: 1, upstreams_max: 1, limits_max: 1, keys_max: 1, ..Options::default() },
    );
    let first = hub.route_slot("first");
    assert_ne!(first, OVERFLOW);
    assert_eq!(hub.route_slot("second"), OVERFLOW);
    assert_eq!(hub.route_slot("first"), first, "a reload finds its slot again");
    let core = hub.core(0);
    for route in [first, OVERFLOW, u32::MAX] {
        core.record(&Record { route, key: Some(9), upstream: Some(u32::MAX), ..record() });
    }
    let scrape = scrape(&hub);
    let ok = |route| scrape.get("sluice_requests_total", &[("route", route), ("status_class", "2xx")]);
    assert_eq!((ok("first"), ok("(other)"), ok("second")), (Some(1.0), Some(2.0), None));
    assert_eq!(scrape.get("sluice_key_requests_total", &[("key", "(other)")]), Some(3.0));
    assert_eq!(scrape.get("sluice_upstream_requests_total", &[("upstream", "(other)")]), Some(3.0));
}

#[test]
fn odd_statuses_are_counted_once() {
    let hub = Hub::new(1, Options::default());
    let core = hub.core(0);
    for status in [0, 99, 100, 199, 302, 599, 600, 65_535] {
        core.record(&Record { status, ..record() });
    }
    let totals = hub.route_totals(UNMATCHED);
    assert_eq!(totals.by_class, [4, 2, 0, 1, 0, 1]);
    assert_eq!(totals.requests, 8);
    assert_eq!(totals.latency.unwrap().p50_us / 40, 1_234 / 40);
    assert_eq!(totals.integration_latency, None);
}

#[test]
fn collectors_add_their_families() {
    let hub = Hub::new(1, Options::default());
    hub.add_collector(Box::new(|out: &mut Exposition<'_>| {
        out.family("sluice_xdp_attached", Kind::Gauge, "A help text\nin two lines with a \\.");
        out.sample("sluice_xdp_attached", &[("interface", "eth0")], 1);
    }));
    assert_eq!(scrape(&hub).get("sluice_xdp_attached", &[("interface", "eth0")]), Some(1.0));
}

/// The reader runs all the while a core writes: it sees counters that only grow, and in the end the exact sums.
#[test]
fn a_reader_never_sees_a_counter_go_back() {
    const RECORDS: u64 = 200_000;
    let hub = Hub::new(2, Options::default());
    let route = hub.route_slot("users");
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2)
        .map(|index| {
            let core = hub.core(index);
            std::thread::spawn(move || {
                for number in 0..RECORDS {
                    core.record(&Record { route, latency_us: number, ..record() });
                }
            })
        })
        .collect();
    let reader = std::thread::spawn({
        let (hub, done) = (Arc::clone(&hub), Arc::clone(&done));
        move || {
            let mut before = 0.0;
            while !done.load(Ordering::Acquire) {
                let scrape = scrape(&hub);
                let now = scrape
                    .get("sluice_requests_total", &[("route", "users"), ("status_class", "2xx")])
                    .unwrap();
                assert!(now >= before, "{now} after {before}");
                before = now;
            }
        }
    });
    for writer in writers {
        writer.join().unwrap();
    }
    done.store(true, Ordering::Release);
    reader.join().unwrap();
    let scrape = scrape(&hub);
    let total = 2.0 * RECORDS as f64;
    assert_eq!(
        scrape.get("sluice_requests_total", &[("route", "users"), ("status_class", "2xx")]),
        Some(total)
    );
    assert_eq!(scrape.get("sluice_latency_seconds_count", &[("route", "users")]), Some(total));
    let sum = (RECORDS * (RECORDS - 1)) as f64 / 1e6;
    assert_eq!(scrape.get("sluice_latency_seconds_sum", &[("route", "users")]), Some(sum));
}
