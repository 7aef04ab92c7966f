//! Real threads on one pool and one table. Time is a shared counter, so only counts are asserted, never speed.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use sluice_throttle::{ClientTable, Lease, Pool, Rate};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

const THREADS: usize = 4;
const START_NS: u64 = 1_000_000_000;

/// Runs `work(thread, now_ns)` `takes` times on each thread; each call moves time by `step_ns`. Returns the grants and the
/// time at the end.
fn hammer<W>(takes: u32, step_ns: u64, make: impl Fn(usize) -> W + Sync) -> (u64, u64)
where
    W: FnMut(u64) -> bool,
{
    let clock_ns = AtomicU64::new(START_NS);
    let barrier = Barrier::new(THREADS);
    let granted: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (clock_ns, barrier, make) = (&clock_ns, &barrier, &make);
                scope.spawn(move || {
                    let mut work = make(thread);
                    barrier.wait();
                    (0..takes).filter(|_| work(clock_ns.fetch_add(step_ns, Ordering::Relaxed))).count() as u64
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    (granted, clock_ns.into_inner() - START_NS)
}

#[test]
fn threads_together_never_exceed_the_rate() {
    // Period in ns, burst: lent in large and small leases, and not at all.
    for (period_ns, burst) in [(1000, 20_000_u32), (1000, 200), (1000, 1), (100, 100_000), (10_000, 500)] {
        let pool = Pool::new(Rate { per_second: 1e9 / period_ns as f64, burst }, START_NS);
        let (granted, elapsed_ns) = hammer(100_000, 97, |_| {
            let mut lease = Lease::new(pool.clone());
            move |now_ns| lease.take(now_ns).is_granted()
        });
        let allowed = u64::from(burst) + elapsed_ns / period_ns;
        assert!(granted <= allowed, "{granted} granted of {allowed}");
        assert_eq!(pool.outstanding(), 0);
        let left = pool.available(START_NS + elapsed_ns);
        assert!(granted + left <= allowed);
        // Demand is tenfold, so what wasn't granted is still there. (A bucket of one is full, and loses time, between a
        // token's coming and the next request.)
        let lost = allowed - granted - left;
        assert!(burst == 1 || lost <= 1 + u64::from(burst) / 8, "{lost} of {allowed} lost");
    }
}

#[test]
fn reloads_do_not_forge_tokens() {
    let (slow, fast) = (Rate { per_second: 1e5, burst: 100 }, Rate { per_second: 1e6, burst: 5000 });
    let pool = Pool::new(slow, START_NS);
    let (granted, elapsed_ns) = hammer(50_000, 113, |thread| {
        let (mut lease, pool) = (Lease::new(pool.clone()), pool.clone());
        let mut calls = 0_u32;
        move |now_ns| {
            calls += 1;
            if thread == 0 && calls.is_multiple_of(50) {
                pool.set_rate(if calls.is_multiple_of(100) { slow } else { fast });
            }
            lease.take(now_ns).is_granted()
        }
    });
    let allowed = u64::from(fast.burst) + elapsed_ns / 1000;
    assert!(granted <= allowed, "{granted} granted of {allowed}");
    assert_eq!(pool.outstanding(), 0);
}

#[test]
fn threads_never_exceed_a_clients_rate() {
    // One set for 20 clients: adoption, eviction and overflow all the time.
    let table = ClientTable::with_seed(Rate { per_second: 1e5, burst: 3 }, 1, 7);
    let grants: [AtomicU64; 20] = std::array::from_fn(|_| AtomicU64::new(0));
    let (_, elapsed_ns) = hammer(50_000, 211, |thread| {
        let (table, grants) = (&table, &grants);
        let mut client = thread;
        move |now_ns| {
            client = (client * 5 + 3) % grants.len();
            let granted = table.take(client as u128, now_ns).is_granted();
            if let (true, Some(count)) = (granted, grants.get(client)) {
                count.fetch_add(1, Ordering::Relaxed);
            }
            granted
        }
    });
    let allowed = 3 + elapsed_ns / 10_000;
    for (client, granted) in grants.iter().enumerate() {
        let granted = granted.load(Ordering::Relaxed);
        assert!(granted <= allowed, "client {client} got {granted} of {allowed}");
    }
}

#[test]
fn a_lone_client_loses_no_token_to_races() {
    let table = ClientTable::with_seed(Rate { per_second: 1e5, burst: 50 }, 1000, 7);
    let (granted, elapsed_ns) = hammer(50_000, 211, |_| {
        let table = &table;
        move |now_ns| table.take(99, now_ns).is_granted()
    });
    let allowed = 50 + elapsed_ns / 10_000;
    assert!(granted <= allowed, "{granted} granted of {allowed}");
    assert!(granted + 51 >= allowed, "{granted} granted of {allowed}");
}
