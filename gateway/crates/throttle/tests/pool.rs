//! Pool and leases against the reference bucket, on one thread: any schedule of any number of cores.
#![cfg(not(loom))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests stop at the first surprise"
)]

mod common;

use common::{EXACT_RATES, ReferenceBucket, TOKEN};
use proptest::prelude::*;
use sluice_throttle::{
    Decision, LEASE_BURST_SHARE, LEASE_IDLE_NS, LEASE_MAX_TOKENS, Lease, Pool, RETRY_AFTER_MAX_MS, Rate,
};

const START_NS: u64 = 12_345_678_901;

fn rate(per_second: u64, burst: u32) -> Rate {
    Rate { per_second: per_second as f64, burst }
}

/// The bound that the crate's documentation promises.
fn outstanding_max(burst: u32, leases: usize) -> u64 {
    (u64::from(burst) / LEASE_BURST_SHARE).min(leases as u64 * u64::from(LEASE_MAX_TOKENS - 1))
}

fn take_all(lease: &mut Lease, now_ns: u64) -> u32 {
    let mut granted = 0;
    while lease.take(now_ns).is_granted() {
        granted += 1;
    }
    granted
}

#[test]
fn an_idle_limit_grants_its_whole_burst_at_once() {
    for burst in [0, 1, 2, 3, 7, 8, 31, 32, 200, 5000, 100_000] {
        let mut lease = Lease::new(Pool::new(rate(10, burst), START_NS));
        assert_eq!(take_all(&mut lease, START_NS), burst);
        assert_eq!(
            take_all(&mut lease, START_NS + 100_000_000),
            u32::from(burst > 0),
            "a token comes each 100 ms"
        );
        assert_eq!(
            take_all(&mut lease, START_NS + 1_000_000_000_000_000),
            burst,
            "and no more than the burst"
        );
    }
}

#[test]
fn small_bursts_are_exact_on_many_cores() {
    for burst in 1..=8 {
        let pool = Pool::new(rate(1, burst), START_NS);
        let mut leases: Vec<Lease> = (0..64).map(|_| Lease::new(pool.clone())).collect();
        let granted = leases.iter_mut().map(|lease| lease.take(START_NS).is_granted());
        assert_eq!(granted.filter(|granted| *granted).count(), burst as usize);
        assert_eq!(pool.outstanding(), 0, "nothing is lent");
    }
}

#[test]
fn refusal_names_the_time_of_the_next_token() {
    let pool = Pool::new(rate(4, 1), START_NS);
    let mut lease = Lease::new(pool);
    assert_eq!(lease.take(START_NS), Decision::Granted);
    assert_eq!(lease.take(START_NS), Decision::Refused { retry_after_ms: 250 });
    assert_eq!(lease.take(START_NS + 249_000_001), Decision::Refused { retry_after_ms: 1 });
    assert_eq!(lease.take(START_NS + 250_000_000), Decision::Granted);

    let mut never = Lease::new(Pool::new(rate(100, 0), START_NS));
    assert_eq!(never.take(START_NS), Decision::Refused { retry_after_ms: RETRY_AFTER_MAX_MS });
    let mut once = Lease::new(Pool::new(rate(0, 2), START_NS));
    assert_eq!(take_all(&mut once, START_NS), 2);
    assert_eq!(once.take(START_NS + (1 << 50)), Decision::Refused { retry_after_ms: RETRY_AFTER_MAX_MS });
}

#[test]
fn leases_grow_with_use_and_return_when_idle() {
    let pool = Pool::new(rate(1_000_000, 100_000), START_NS);
    let mut busy = Lease::new(pool.clone());
    for _ in 0..1000 {
        assert!(busy.take(START_NS).is_granted());
    }
    assert!(busy.unspent() > 0);
    assert!(pool.outstanding() > 0 && pool.outstanding() < u64::from(LEASE_MAX_TOKENS));
    busy.expire(START_NS + LEASE_IDLE_NS - 1);
    assert!(busy.unspent() > 0, "not idle yet");
    busy.expire(START_NS + LEASE_IDLE_NS);
    assert_eq!((busy.unspent(), pool.outstanding()), (0, 0));
    drop(busy);
    assert_eq!(pool.available(START_NS + 1_000_000_000), 100_000);
}

#[test]
fn a_dry_pool_calls_leases_back() {
    let pool = Pool::new(rate(1, 10_000), START_NS);
    let (mut holder, mut other) = (Lease::new(pool.clone()), Lease::new(pool.clone()));
    for _ in 0..100 {
        assert!(holder.take(START_NS).is_granted());
    }
    let held = holder.unspent();
    assert!(held > 0);
    assert_eq!(take_all(&mut other, START_NS), 10_000 - 100 - held);
    assert!(holder.take(START_NS).is_granted());
    assert_eq!(pool.outstanding(), 0, "the rest came back");
    assert_eq!(take_all(&mut other, START_NS), held - 1);
    assert_eq!(take_all(&mut holder, START_NS), 0);
}

#[test]
fn a_token_put_back_is_spent_once_more_and_no_oftener() {
    for burst in [1, 2, 10, 1000] {
        let pool = Pool::new(rate(0, burst), START_NS);
        let mut lease = Lease::new(pool.clone());
        let mut granted = 0;
        // Every other grant is undone at once.
        for round in 0..u64::from(burst) * 4 {
            if lease.take(START_NS + round).is_granted() {
                if round % 2 == 0 {
                    lease.put_back();
                } else {
                    granted += 1;
                }
            }
        }
        assert_eq!(granted, burst);
        lease.give_back();
        assert_eq!(pool.outstanding(), 0);
    }
}

#[test]
fn a_reload_keeps_tokens() {
    let pool = Pool::new(rate(10, 100), START_NS);
    let mut lease = Lease::new(pool.clone());
    for _ in 0..40 {
        assert!(lease.take(START_NS).is_granted());
    }
    lease.give_back();
    pool.set_rate(rate(1000, 100));
    assert_eq!(pool.available(START_NS), 60);
    assert_eq!(pool.available(START_NS + 1_000_000), 61, "filling at the new rate");
    pool.set_rate(rate(10, 25));
    assert_eq!(pool.available(START_NS), 25, "no more than the new burst");
    pool.set_rate(rate(10, 200));
    assert_eq!(pool.available(START_NS), 25, "a larger burst is no gift");
    assert_eq!(take_all(&mut lease, START_NS), 25);
    pool.set_rate(rate(7_000_000, 200));
    assert_eq!(take_all(&mut lease, START_NS), 0, "nor is another rate");
    for per_second in 1..20 {
        pool.set_rate(rate(per_second, 300));
        assert_eq!(take_all(&mut lease, START_NS), 0);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Take {
        lease: usize,
        times: u32,
    },
    /// Take until refused, wait as told, and take again.
    Retry {
        lease: usize,
    },
    Expire {
        lease: usize,
    },
    /// Take and put back.
    Undo {
        lease: usize,
        times: u32,
    },
    GiveBack {
        lease: usize,
    },
    SetRate {
        rate: usize,
        burst: u32,
    },
}

fn wait() -> impl Strategy<Value = Step> {
    prop_oneof![0..50_u64, 0..5_000_u64, 0..3_000_000_u64, 0..100_000_000_u64, 0..20_000_000_000_u64]
        .prop_map(Step::Wait)
}

fn step() -> impl Strategy<Value = Step> {
    let lease = 0..8_usize;
    prop_oneof![
        6 => wait(),
        8 => (lease.clone(), 1..150_u32).prop_map(|(lease, times)| Step::Take { lease, times }),
        2 => lease.clone().prop_map(|lease| Step::Retry { lease }),
        2 => (lease.clone(), 1..20_u32).prop_map(|(lease, times)| Step::Undo { lease, times }),
        2 => lease.clone().prop_map(|lease| Step::Expire { lease }),
        1 => lease.prop_map(|lease| Step::GiveBack { lease }),
    ]
}

fn step_or_reload() -> impl Strategy<Value = Step> {
    prop_oneof![
        9 => step(),
        1 => (0..EXACT_RATES.len(), 1..2000_u32).prop_map(|(rate, burst)| Step::SetRate { rate, burst }),
    ]
}

/// Runs a schedule and reports each decision, in order, with its time.
fn run(pool: &std::sync::Arc<Pool>, cores: usize, steps: &[Step], mut decided: impl FnMut(u64, Decision)) {
    let mut leases: Vec<Lease> = (0..cores).map(|_| Lease::new(pool.clone())).collect();
    let mut now_ns = START_NS;
    for step in steps {
        match *step {
            Step::Wait(ns) => now_ns += ns,
            Step::Take { lease, times } => {
                for _ in 0..times {
                    decided(now_ns, leases[lease % cores].take(now_ns));
                }
            }
            Step::Retry { lease } => {
                let lease = &mut leases[lease % cores];
                for _ in 0..10_000 {
                    let decision = lease.take(now_ns);
                    decided(now_ns, decision);
                    if let Decision::Refused { retry_after_ms } = decision {
                        assert!(retry_after_ms >= 1);
                        now_ns += retry_after_ms * 1_000_000;
                        let decision = lease.take(now_ns);
                        decided(now_ns, decision);
                        assert!(decision.is_granted(), "nobody took the promised token");
                        break;
                    }
                }
            }
            Step::Undo { lease, times } => {
                for _ in 0..times {
                    let decision = leases[lease % cores].take(now_ns);
                    if decision.is_granted() {
                        leases[lease % cores].put_back();
                    } else {
                        decided(now_ns, decision);
                    }
                }
            }
            Step::Expire { lease } => leases[lease % cores].expire(now_ns),
            Step::GiveBack { lease } => leases[lease % cores].give_back(),
            Step::SetRate { rate: index, burst } => pool.set_rate(rate(EXACT_RATES[index], burst)),
        }
    }
    drop(leases);
    assert_eq!(pool.outstanding(), 0, "all leases are back");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// An exact bucket, charged with the pool's grants, never lacks a token for one; and when the pool refuses, it holds
    /// no more than the published bound.
    #[test]
    fn never_above_and_hardly_below(
        per_second in prop::sample::select(&EXACT_RATES[..]),
        burst in prop_oneof![1..9_u32, 1..300_u32, 1..6000_u32],
        cores in 1..8_usize,
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let pool = Pool::new(rate(per_second, burst), START_NS);
        let mut exact = ReferenceBucket::new(per_second, burst, START_NS);
        let lent_max = outstanding_max(burst, cores);
        run(&pool, cores, &steps, |now_ns, decision| match decision {
            Decision::Granted => assert!(exact.take(now_ns), "granted above the rate at {now_ns}"),
            Decision::Refused { .. } => {
                assert!(pool.outstanding() <= lent_max, "{} lent, promised {lent_max}", pool.outstanding());
                let level = exact.level(now_ns);
                let bound = u128::from(1 + 2 * lent_max) * TOKEN;
                assert!(level < bound, "refused at {level} of {bound}");
            }
        });
    }

    /// Rates that need rounding: still never above.
    #[test]
    fn rounded_rates_are_never_above(
        per_second in 1..50_000_000_u64,
        burst in 1..3000_u32,
        cores in 1..8_usize,
        steps in prop::collection::vec(step(), 1..100),
    ) {
        let pool = Pool::new(rate(per_second, burst), START_NS);
        let mut exact = ReferenceBucket::new(per_second, burst, START_NS);
        run(&pool, cores, &steps, |now_ns, decision| {
            if decision.is_granted() {
                assert!(exact.take(now_ns), "granted above the rate at {now_ns}");
            }
        });
    }

    /// Across reloads every window keeps to the largest rate and burst of all.
    #[test]
    fn reloads_are_never_above(
        cores in 1..4_usize,
        steps in prop::collection::vec(step_or_reload(), 1..80),
    ) {
        let (mut rate_max, mut burst_max) = (5, 500);
        for step in &steps {
            if let Step::SetRate { rate, burst } = *step {
                rate_max = rate_max.max(EXACT_RATES[rate]);
                burst_max = burst_max.max(burst);
            }
        }
        let pool = Pool::new(rate(5, 500), START_NS);
        let mut largest = ReferenceBucket::new(rate_max, burst_max, START_NS);
        run_reloading(&pool, cores, &steps, |now_ns, decision| {
            if decision.is_granted() {
                assert!(largest.take(now_ns), "granted above any rate at {now_ns}");
            }
        });
    }
}

/// As `run`, but a promised token may have gone to a reload.
fn run_reloading(
    pool: &std::sync::Arc<Pool>,
    cores: usize,
    steps: &[Step],
    decided: impl FnMut(u64, Decision),
) {
    let steps: Vec<Step> = steps
        .iter()
        .map(|step| match *step {
            Step::Retry { lease } => Step::Take { lease, times: 5 },
            ref other => other.clone(),
        })
        .collect();
    run(pool, cores, &steps, decided);
}
