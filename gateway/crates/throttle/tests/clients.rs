//! The table of clients against one reference bucket for each.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at the first surprise")]

mod common;

use common::{EXACT_RATES, ReferenceBucket};
use proptest::prelude::*;
use sluice_throttle::{ClientTable, Decision, Rate};
use std::collections::HashMap;

const START_NS: u64 = 98_765_432_109;

fn rate(per_second: u64, burst: u32) -> Rate {
    Rate { per_second: per_second as f64, burst }
}

#[test]
fn each_client_has_its_own_burst() {
    let table = ClientTable::new(rate(2, 3), 1000);
    for client in 0..100_u128 {
        for _ in 0..3 {
            assert_eq!(table.take(client, START_NS), Decision::Granted);
        }
        assert_eq!(table.take(client, START_NS), Decision::Refused { retry_after_ms: 500 });
    }
    for client in 0..100_u128 {
        assert_eq!(table.take(client, START_NS + 500_000_000), Decision::Granted);
    }
}

#[test]
fn a_crowd_gives_nobody_a_second_burst() {
    // One set: seven buckets and the overflow.
    let table = ClientTable::with_seed(rate(1, 5), 1, 42);
    let mut granted: HashMap<u128, u32> = HashMap::new();
    for round in 0..50_u128 {
        for client in 0..200_u128 {
            let client = (client * 7 + round) % 200;
            if table.take(client, START_NS).is_granted() {
                *granted.entry(client).or_default() += 1;
            }
        }
    }
    assert!(granted.values().all(|granted| *granted <= 5));
    assert_eq!(granted.values().sum::<u32>(), 7 * 5 + 5, "seven own buckets and one shared");
}

#[test]
fn forgotten_clients_make_room() {
    let table = ClientTable::with_seed(rate(1, 1), 1, 42);
    for second in 0..100_u64 {
        for client in 0..7 {
            let client = u128::from(second * 7 + client);
            assert!(table.take(client, START_NS + second * 1_000_000_000).is_granted());
        }
    }
}

#[test]
fn a_reload_keeps_debts() {
    let table = ClientTable::new(rate(1, 2), 10);
    assert!(table.take(1, START_NS).is_granted());
    table.set_rate(rate(1, 1));
    assert!(!table.take(1, START_NS).is_granted());
    assert!(table.take(2, START_NS).is_granted());
    table.set_rate(rate(1, 2));
    assert!(table.take(1, START_NS).is_granted());
    assert!(!table.take(1, START_NS).is_granted());
}

fn schedule(clients: u128) -> impl Strategy<Value = Vec<(u64, u128, u32)>> {
    let wait = prop_oneof![Just(0), 0..100_u64, 0..2_000_000_u64, 0..3_000_000_000_u64];
    prop::collection::vec((wait, 0..clients, 1..8_u32), 1..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A client for whom there is room is limited exactly.
    #[test]
    fn exact_while_there_is_room(
        per_second in prop::sample::select(&EXACT_RATES[..8]),
        burst in 1..20_u32,
        seed in any::<u128>(),
        schedule in schedule(7),
    ) {
        let table = ClientTable::with_seed(rate(per_second, burst), 1, seed);
        let mut exact: HashMap<u128, ReferenceBucket> = HashMap::new();
        let mut now_ns = START_NS;
        for (wait_ns, client, times) in schedule {
            now_ns += wait_ns;
            let exact = exact
                .entry(client)
                .or_insert_with(|| ReferenceBucket::new(per_second, burst, now_ns));
            for _ in 0..times {
                prop_assert_eq!(table.take(client, now_ns).is_granted(), exact.take(now_ns));
            }
        }
    }

    /// However many there are, no client gets more than its bucket.
    #[test]
    fn never_above_in_a_crowd(
        per_second in prop::sample::select(&EXACT_RATES[..8]),
        burst in 1..20_u32,
        seed in any::<u128>(),
        schedule in schedule(40),
    ) {
        let table = ClientTable::with_seed(rate(per_second, burst), 8, seed);
        let mut exact: HashMap<u128, ReferenceBucket> = HashMap::new();
        let mut now_ns = START_NS;
        for (wait_ns, client, times) in schedule {
            now_ns += wait_ns;
            let exact = exact
                .entry(client)
                .or_insert_with(|| ReferenceBucket::new(per_second, burst, now_ns));
            for _ in 0..times {
                if table.take(client, now_ns).is_granted() {
                    prop_assert!(exact.take(now_ns), "client {} is above its rate", client);
                }
            }
        }
    }
}
