//! The limiter: what a request pays for its token.
#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]

use criterion::{Criterion, criterion_group, criterion_main};
use sluice_throttle::{ClientTable, Lease, Pool, Rate};
use std::hint::black_box;

const ENDLESS: Rate = Rate { per_second: 1e9, burst: 1_000_000_000 };

/// Time goes forward by 1 microsecond a request, as on a core that serves a million a second.
fn clock() -> impl FnMut() -> u64 {
    let mut now_ns = 1_000_000_000;
    move || {
        now_ns += 1000;
        now_ns
    }
}

fn leases(c: &mut Criterion) {
    let mut group = c.benchmark_group("lease");
    let pool = Pool::new(ENDLESS, 0);
    let mut lease = Lease::new(pool.clone());
    let mut now_ns = clock();
    group.bench_function("granted", |b| b.iter(|| black_box(lease.take(now_ns()))));

    // A burst too small to lend from: each request draws from the pool.
    let mut small = Lease::new(Pool::new(Rate { per_second: 1e9, burst: 8 }, 0));
    group.bench_function("granted_unlent", |b| b.iter(|| black_box(small.take(now_ns()))));

    let mut dry = Lease::new(Pool::new(Rate { per_second: 0.0, burst: 0 }, 0));
    group.bench_function("refused", |b| b.iter(|| black_box(dry.take(now_ns()))));
    group.finish();
}

/// The same while another thread draws from the pool as fast as it can.
fn contended(c: &mut Criterion) {
    use std::sync::atomic::{AtomicBool, Ordering};
    let pool = Pool::new(ENDLESS, 0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut lease = Lease::new(pool.clone());
            let mut now_ns = clock();
            while !stop.load(Ordering::Relaxed) {
                black_box(lease.take(now_ns()));
            }
        });
        let mut lease = Lease::new(pool.clone());
        let mut now_ns = clock();
        c.bench_function("lease/granted_contended", |b| b.iter(|| black_box(lease.take(now_ns()))));
        stop.store(true, Ordering::Relaxed);
    });
}

fn clients(c: &mut Criterion) {
    let mut group = c.benchmark_group("clients");
    let table = ClientTable::with_seed(ENDLESS, 65_536, 1);
    let mut now_ns = clock();
    group.bench_function("one", |b| b.iter(|| black_box(table.take(black_box(7), now_ns()))));

    let mut client = 0_u128;
    group.bench_function("of_20000", |b| {
        b.iter(|| {
            client = (client + 7919) % 20_000;
            black_box(table.take(client, now_ns()))
        });
    });
    group.finish();
}

criterion_group!(benches, leases, contended, clients);
criterion_main!(benches);
