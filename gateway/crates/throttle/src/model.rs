//! Loom explores every interleaving of the pool's and the table's atomics:
//! `RUSTFLAGS="--cfg loom" cargo test -p sluice-throttle --lib --release model`.

use crate::clients::ClientTable;
use crate::connections::ConnectionTable;
use crate::pool::{Drawn, Pool, Report};
use crate::rate::Rate;
use loom::thread;
use std::sync::Arc;

const NOTHING: Report = Report { lent: 0, unspent: 0, spent_at_ns: 0 };
const SECOND_NS: u64 = 1_000_000_000;

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

fn tokens(drawn: Drawn) -> u32 {
    match drawn {
        Drawn::Tokens { count, .. } => count,
        Drawn::Dry { .. } => 0,
    }
}

/// A pool with room for leases of two, drained to `left` tokens.
fn drained_to(left: u64) -> Arc<Pool> {
    let pool = Pool::new(Rate { per_second: 1.0, burst: 64 }, 0);
    pool.enlist();
    pool.enlist();
    pool.drain_to(left);
    pool
}

#[test]
fn draws_never_share_a_token() {
    model(|| {
        let pool = drained_to(5);
        let other = pool.clone();
        let thread =
            thread::spawn(move || tokens(other.draw(NOTHING, 2, 0)) + tokens(other.draw(NOTHING, 1, 0)));
        let here = tokens(pool.draw(NOTHING, 2, 0));
        let there = thread.join().unwrap();
        let lent = pool.outstanding();
        assert!(here + there <= 5);
        assert_eq!(u64::from(here + there) + pool.available(0), 5, "none lost");
        assert!(lent <= 2);
    });
}

/// One core holds a token while the pool fills; it comes back, or spends it and draws again, as another core draws. The
/// pool and what is lent never exceed the burst together, so neither do the grants at one instant.
#[test]
fn pool_and_leases_stay_within_the_burst() {
    model(|| {
        let pool = drained_to(8);
        assert_eq!(tokens(pool.draw(NOTHING, 2, 0)), 2, "one spent, one held");
        let full_ns = 1000 * SECOND_NS;
        let other = pool.clone();
        let thread = thread::spawn(move || {
            // Spends the held one at `full_ns`, reports it, and draws.
            let spent = Report { lent: 1, unspent: 0, spent_at_ns: full_ns };
            1 + tokens(other.draw(spent, 2, full_ns))
        });
        let here = tokens(pool.draw(NOTHING, 2, full_ns));
        let there = thread.join().unwrap();
        // Held tokens count as granted at this instant, the worst case.
        assert!(u64::from(here + there) + pool.available(full_ns) <= 64);
        let lent = u64::from(here.saturating_sub(1) + there.saturating_sub(2));
        assert_eq!(pool.outstanding(), lent, "the books agree");
    });
}

#[test]
fn a_lease_given_back_is_there_for_others_once() {
    model(|| {
        let pool = drained_to(2);
        pool.force_lend(1);
        let other = pool.clone();
        let thread = thread::spawn(move || other.settle(Report { lent: 1, unspent: 1, spent_at_ns: 0 }));
        let here = tokens(pool.draw(NOTHING, 1, 0)) + tokens(pool.draw(NOTHING, 1, 0));
        thread.join().unwrap();
        assert_eq!(u64::from(here) + pool.available(0), 2);
        assert_eq!(pool.outstanding(), 0);
    });
}

/// One core draws and changes its mind while another draws from a bucket that has just become full.
#[test]
fn a_token_put_back_is_not_there_twice() {
    model(|| {
        let pool = drained_to(64);
        let other = pool.clone();
        let thread = thread::spawn(move || {
            let Drawn::Tokens { word, .. } = other.draw(NOTHING, 1, 0) else { panic!("the bucket is full") };
            other.undraw(word);
        });
        let second = tokens(pool.draw(NOTHING, 1, SECOND_NS));
        thread.join().unwrap();
        // At one second the bucket is full whatever the other core does; only this draw counts.
        assert!(u64::from(second) + pool.available(SECOND_NS) <= 64);
        assert_eq!(pool.outstanding(), 0);
    });
}

#[test]
fn a_reload_amid_draws_forges_nothing() {
    model(|| {
        let pool = drained_to(3);
        let other = pool.clone();
        let thread = thread::spawn(move || other.set_rate(Rate { per_second: 3.0, burst: 96 }));
        let here = tokens(pool.draw(NOTHING, 2, 0));
        thread.join().unwrap();
        assert_eq!(u64::from(here) + pool.available(0), 3);
    });
}

#[test]
fn a_client_known_to_two_cores_has_one_bucket() {
    model(|| {
        let table = ClientTable::with_seed(Rate { per_second: 1.0, burst: 1 }, 1, 1);
        let other = table.clone();
        let thread = thread::spawn(move || other.take(7, SECOND_NS).is_granted());
        let here = table.take(7, SECOND_NS).is_granted();
        let there = thread.join().unwrap();
        assert!(here ^ there, "exactly one of two gets the one token");
    });
}

/// A newcomer wants the bucket of a client that is just charged: the client is not forgotten with its debt.
#[test]
fn eviction_never_forgets_a_charge() {
    model(|| {
        let table = ClientTable::with_seed(Rate { per_second: 1.0, burst: 1 }, 1, 1);
        for client in 0..7 {
            assert!(table.take(client, 0).is_granted());
        }
        // All seven are full again, and client 0's is the first to be taken away.
        let now_ns = 2 * SECOND_NS;
        let other = table.clone();
        let thread = thread::spawn(move || other.take(100, now_ns).is_granted());
        let first = table.take(0, now_ns).is_granted();
        let second = table.take(0, now_ns).is_granted();
        let newcomer = thread.join().unwrap();
        assert!(!(first && second), "one token a second, not two");
        assert!(first || newcomer, "a race costs one token, not both");
    });
}

/// A client that comes on two cores at once is counted as one client, and leaves no trace.
#[test]
fn a_client_that_connects_twice_at_once_has_one_count() {
    model(|| {
        let table = Arc::new(ConnectionTable::with_seed(1, 1));
        let other = table.clone();
        let thread = thread::spawn(move || other.open(7, 1));
        let here = table.open(7, 1);
        let there = thread.join().unwrap();
        assert!(here || there, "a race refuses at most one");
        assert_eq!(table.count(7), u32::from(here) + u32::from(there));
        assert!(!(here && there), "one connection, not two");
        table.close(7);
        assert_eq!(table.count(7), 0);
    });
}

/// The last connection closes while another opens: the word is not freed under the newcomer.
#[test]
fn a_count_survives_a_close_at_the_same_moment() {
    model(|| {
        let table = Arc::new(ConnectionTable::with_seed(1, 1));
        assert!(table.open(7, 2));
        let other = table.clone();
        let thread = thread::spawn(move || other.close(7));
        assert!(table.open(7, 2));
        thread.join().unwrap();
        assert_eq!(table.count(7), 1);
    });
}

/// Two cores debit a quota of three, one of them in the next period: neither period sees more than its due.
#[test]
fn quotas_count_each_period_apart() {
    use crate::quota::{Quota, QuotaCount, QuotaLease};
    model(|| {
        let quota = Quota::new(2, QuotaCount { period: 1, used: 0 });
        let other = Arc::clone(&quota);
        let thread = thread::spawn(move || {
            let mut lease = QuotaLease::new(other);
            (u32::from(lease.take(1)), u32::from(lease.take(2)))
        });
        let mut lease = QuotaLease::new(Arc::clone(&quota));
        let here = (0..3).map(|_| u32::from(lease.take(2))).sum::<u32>();
        let (before, after) = thread.join().unwrap();
        // What asked for the old period after the new one had begun counts in the new one.
        assert!(here + after <= 2 && before <= 1);
        assert!(u64::from(here + after) <= quota.used(2) && quota.used(2) <= 2);
    });
}
