//! One record: on the data core with and without the access log, and on the log thread.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench may panic")]
#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sluice_telemetry::{
    CacheOutcome, CoreMetrics, Hub, LogFormat, LogOptions, LogTarget, LogThread, Options, Record,
};
use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Fits the ring, so that none is lost and every one is formatted.
const RECORDS: u64 = 16_384;

struct Bench {
    hub: Arc<Hub>,
    core: CoreMetrics,
    record: Record<'static>,
}

impl Bench {
    fn new() -> Self {
        let hub = Hub::new(1, Options::default());
        let record = Record {
            tls: b"",
            principal: b"",
            route: hub.route_slot("users"),
            status: 200,
            refusal: None,
            latency_us: 180,
            integration_latency_us: Some(120),
            upstream: Some(hub.upstream_slot("backend")),
            cache: CacheOutcome::None,
            key: Some(hub.key_slot("mobile")),
            limit: None,
            bytes_in: 180,
            bytes_out: 420,
            time_unix_ms: 1_735_689_599_123,
            method: b"GET",
            path: b"/users/42/orders?page=2",
            version: 1,
            source: [203, 0, 113, 9].into(),
            user_agent: b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
            referer: b"",
            request_id: b"0af76519-16cd-43dd-8448-eb211c80319c",
        };
        Self { core: hub.core(0), hub, record }
    }

    /// Latencies vary, as they would: each hits another bucket.
    fn record(&self, number: u64) {
        let record = Record { latency_us: number.wrapping_mul(37) % 1_000, ..self.record };
        self.core.record(black_box(&record));
    }

    /// A log thread that formats everything when it is stopped and not before.
    fn log(&self, format: LogFormat) -> LogThread {
        let options = LogOptions {
            interval_max_ms: 3_600_000,
            ..LogOptions::new(LogTarget::Writer(Box::new(io::sink())), format)
        };
        LogThread::start(Arc::clone(&self.hub), options).unwrap()
    }
}

/// The time of `RECORDS` in each of `rounds` rounds: recording them, or having them written.
fn time_rounds(rounds: u64, format: LogFormat, time_core: bool) -> Duration {
    let bench = Bench::new();
    let mut total = Duration::ZERO;
    for _ in 0..rounds {
        let log = bench.log(format);
        let began = Instant::now();
        for number in 0..RECORDS {
            bench.record(number);
        }
        let recorded = began.elapsed();
        let began = Instant::now();
        log.stop().unwrap();
        total += if time_core { recorded } else { began.elapsed() };
    }
    total
}

fn telemetry(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("telemetry");
    let bench = Bench::new();
    let mut number = 0;
    group.throughput(Throughput::Elements(1));
    group.bench_function("record/metrics_only", |bencher| {
        bencher.iter(|| {
            number += 1;
            bench.record(number);
        });
    });
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function("record/metrics_and_log", |bencher| {
        bencher.iter_custom(|rounds| time_rounds(rounds, LogFormat::Json, true));
    });
    group.bench_function("log_thread/json", |bencher| {
        bencher.iter_custom(|rounds| time_rounds(rounds, LogFormat::Json, false));
    });
    group.bench_function("log_thread/clf", |bencher| {
        bencher.iter_custom(|rounds| time_rounds(rounds, LogFormat::Clf, false));
    });
    group.finish();
}

criterion_group!(benches, telemetry);
criterion_main!(benches);
