//! Requests in a day, a week or a month, exact over all cores.
//!
//! ```text
//!            debit n                        take: no atomics
//!   Quota  ----------->  QuotaLease (core 0)  ------------>  request
//!   used  <-----------
//!           give back    QuotaLease (core 1) ...
//! ```
//! What a lease holds counts as used from when it is debited, so that all cores together never grant more than the limit.
//! As long as much is left a core debits some at once; near the limit each takes one for one request, and there the
//! count is exact in both directions. Periods have numbers: who meets a quota first in a new one starts its count at
//! zero, and a lease of an older period is worth nothing.

use crate::sync::{AtomicU64, Ordering};
use sluice_calendar::Date;
use std::sync::Arc;

/// Requests that a lease holds at most.
const LEASE_MAX: u64 = 32;
/// A lease is larger than one only while this many times of it are left: then no core withholds what another needs.
const SHARE: u64 = 64;
/// Low bits: what is used.
const USED_BITS: u32 = 40;
const USED_MASK: u64 = (1 << USED_BITS) - 1;

/// One key's count under one plan.
#[derive(Debug)]
pub struct Quota {
    /// Number of the period, and what is used in it.
    word: AtomicU64,
    limit: AtomicU64,
    /// Number of a period, and what is granted in it beyond the limit.
    bonus: AtomicU64,
}

/// How long a quota's period is, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    /// From midnight.
    Day,
    /// From Sunday.
    Week,
    /// From the first.
    Month,
}

const DAY_S: u64 = 86_400;

impl Period {
    /// The number of the period that an instant is in; later ones have greater numbers.
    #[must_use]
    pub fn number(self, unix_s: u64) -> u32 {
        let days = unix_s / DAY_S;
        match self {
            Self::Day => days as u32,
            // 1970-01-01 was a Thursday.
            Self::Week => ((days + 4) / 7) as u32,
            Self::Month => {
                let date = Date::of_day(days as i64);
                date.year as u32 * 12 + u32::from(date.month) - 1
            }
        }
    }

    /// Seconds from an instant to the end of its period.
    #[must_use]
    pub fn left_s(self, unix_s: u64) -> u64 {
        let days = unix_s / DAY_S;
        let number = self.number(unix_s);
        // A month has at most 31 days.
        let rest = (1..=31).find(|more| self.number((days + more) * DAY_S) != number).unwrap_or(31);
        (days + rest) * DAY_S - unix_s
    }
}

/// What is used in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaCount {
    /// Number of the period.
    pub period: u32,
    /// Requests, with those that leases hold.
    pub used: u64,
}

impl Quota {
    /// A quota of `limit` requests a period, of which some may be used already.
    #[must_use]
    pub fn new(limit: u64, count: QuotaCount) -> Arc<Self> {
        Arc::new(Self {
            word: AtomicU64::new(pack(count)),
            limit: AtomicU64::new(limit),
            bonus: AtomicU64::new(0),
        })
    }

    /// Another limit, from now on.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// The limit.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// What is granted beyond the limit in a period.
    #[must_use]
    pub fn bonus(&self, period: u32) -> u64 {
        let bonus = unpack(self.bonus.load(Ordering::Acquire));
        if bonus.period == period { bonus.used } else { 0 }
    }

    /// Grants so much beyond the limit in a period, and no more after it.
    pub fn set_bonus(&self, period: u32, requests: u64) {
        self.bonus.store(pack(QuotaCount { period, used: requests }), Ordering::Release);
    }

    /// What is left of a period.
    #[must_use]
    pub fn left(&self, period: u32) -> u64 {
        (self.limit() + self.bonus(period)).saturating_sub(self.used(period))
    }

    /// Leaves so much of a period, as an operator says: more than the limit, too.
    pub fn set_left(&self, period: u32, left: u64) {
        let limit = self.limit();
        self.set_bonus(period, left.saturating_sub(limit));
        self.set(QuotaCount { period, used: limit.saturating_sub(left) });
    }

    /// What is used in the period `period`.
    #[must_use]
    pub fn used(&self, period: u32) -> u64 {
        let count = unpack(self.word.load(Ordering::Acquire));
        if count.period == period { count.used } else { 0 }
    }

    /// What was counted last, whatever period that was.
    #[must_use]
    pub fn count(&self) -> QuotaCount {
        unpack(self.word.load(Ordering::Acquire))
    }

    /// Counts anew: what an operator grants on top, or takes away.
    pub fn set(&self, count: QuotaCount) {
        self.word.store(pack(count), Ordering::Release);
    }

    /// Debits up to `want`; what it got, which is 0 once the limit is reached.
    fn debit(&self, period: u32, want: u64) -> u64 {
        let limit = self.limit() + self.bonus(period);
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let mut count = unpack(word);
            // Clocks of cores may differ by a moment: an older period than the one under way is over.
            if count.period < period {
                count = QuotaCount { period, used: 0 };
            }
            let left = limit.saturating_sub(count.used);
            let got = if left >= want * SHARE { want } else { left.min(1) };
            if got == 0 {
                return 0;
            }
            let next = pack(QuotaCount { used: count.used + got, ..count });
            match self.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return got,
                Err(now) => word = now,
            }
        }
    }

    fn give_back(&self, period: u32, unspent: u64) {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let count = unpack(word);
            if count.period != period {
                return;
            }
            let next = pack(QuotaCount { used: count.used.saturating_sub(unspent), ..count });
            match self.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }
}

fn pack(count: QuotaCount) -> u64 {
    u64::from(count.period) << USED_BITS | count.used.min(USED_MASK)
}

fn unpack(word: u64) -> QuotaCount {
    QuotaCount { period: (word >> USED_BITS) as u32, used: word & USED_MASK }
}

/// Requests that one core has debited and not spent.
#[derive(Debug)]
pub struct QuotaLease {
    quota: Arc<Quota>,
    period: u32,
    unspent: u64,
    want: u64,
    spent_since: bool,
}

impl QuotaLease {
    /// Holds nothing yet.
    #[must_use]
    pub const fn new(quota: Arc<Quota>) -> Self {
        Self { quota, period: 0, unspent: 0, want: 1, spent_since: false }
    }

    /// Whether this is a lease of that quota.
    #[must_use]
    pub fn is_of(&self, quota: &Arc<Quota>) -> bool {
        Arc::ptr_eq(&self.quota, quota)
    }

    /// Spends one in the period of that number; `false`: the quota is used up.
    #[inline]
    pub fn take(&mut self, period: u32) -> bool {
        if self.period != period {
            (self.period, self.unspent, self.want) = (period, 0, 1);
        }
        self.spent_since = true;
        if self.unspent == 0 {
            self.unspent = self.quota.debit(period, self.want);
            self.want = (self.want * 2).min(LEASE_MAX);
            if self.unspent == 0 {
                return false;
            }
        }
        self.unspent -= 1;
        true
    }

    /// Undoes a granted `take`.
    pub fn put_back(&mut self) {
        self.unspent += 1;
    }

    /// Gives back what a core holds that has spent nothing since the last call. To be called every 10 to 50 ms while it
    /// says that something is held.
    pub fn expire(&mut self) -> bool {
        if !std::mem::take(&mut self.spent_since) && self.unspent > 0 {
            self.give_back();
        }
        self.unspent > 0
    }

    fn give_back(&mut self) {
        self.quota.give_back(self.period, self.unspent);
        (self.unspent, self.want) = (0, 1);
    }
}

impl Drop for QuotaLease {
    fn drop(&mut self) {
        if self.unspent > 0 {
            self.give_back();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const FRESH: QuotaCount = QuotaCount { period: 7, used: 0 };

    #[test]
    fn grants_its_limit_and_not_one_more() {
        for limit in [0, 1, 5, 1000, 10_000] {
            let quota = Quota::new(limit, FRESH);
            let mut leases: Vec<_> = (0..3).map(|_| QuotaLease::new(Arc::clone(&quota))).collect();
            let mut granted = 0;
            for at in 0..limit * 2 + 10 {
                granted += u64::from(leases[at as usize % 3].take(7));
            }
            assert_eq!((granted, quota.used(7)), (limit, limit));
        }
    }

    #[test]
    fn periods_begin_in_utc() {
        // Saturday, 29 February 2020, 23:59:59, and the second after it.
        let (before, after) = (1_583_020_799, 1_583_020_800);
        for period in [Period::Day, Period::Week, Period::Month] {
            assert_eq!(period.number(before) + 1, period.number(after), "{period:?}");
            assert_eq!(period.left_s(before), 1);
        }
        assert_eq!((Period::Day.left_s(after), Period::Week.left_s(after)), (DAY_S, 7 * DAY_S));
        assert_eq!(Period::Month.left_s(after), 31 * DAY_S);
        // A Sunday and the Saturday before; the last day of a year and the first.
        assert_eq!(Period::Week.number(1_577_836_800), Period::Week.number(1_577_836_800 - DAY_S));
        assert_eq!(Period::Month.number(1_577_836_799) + 1, Period::Month.number(1_577_836_800));
    }

    #[test]
    fn a_new_period_begins_at_zero_and_old_leases_are_worth_nothing() {
        let quota = Quota::new(2, FRESH);
        let mut lease = QuotaLease::new(Arc::clone(&quota));
        assert!(lease.take(7) && lease.take(7) && !lease.take(7));
        assert!(lease.take(8) && lease.take(8) && !lease.take(8));
        // A core whose clock is a moment behind counts in the period under way.
        assert!(!QuotaLease::new(Arc::clone(&quota)).take(7));
        assert_eq!((quota.used(8), quota.used(7)), (2, 0));
    }

    #[test]
    fn what_is_not_spent_comes_back() {
        let quota = Quota::new(100_000, FRESH);
        let mut lease = QuotaLease::new(Arc::clone(&quota));
        (0..100).for_each(|_| assert!(lease.take(7)));
        assert!(quota.used(7) > 100);
        assert!(lease.expire(), "it was spent from since");
        assert!(!lease.expire());
        assert_eq!(quota.used(7), 100);
        lease.take(7);
        lease.put_back();
        drop(lease);
        assert_eq!(quota.used(7), 100);
    }

    #[test]
    fn an_operator_may_set_it_anew() {
        let quota = Quota::new(3, QuotaCount { period: 7, used: 3 });
        let mut lease = QuotaLease::new(Arc::clone(&quota));
        assert!(!lease.take(7));
        quota.set(QuotaCount { period: 7, used: 1 });
        assert!(lease.take(7) && lease.take(7) && !lease.take(7));
        quota.set_limit(4);
        assert!(lease.take(7) && !lease.take(7));
        // More than the limit, for this period only.
        quota.set_left(7, 6);
        assert_eq!((quota.left(7), quota.used(7)), (6, 0));
        assert_eq!((0..10).filter(|_| lease.take(7)).count(), 6);
        assert_eq!((0..10).filter(|_| lease.take(8)).count(), 4);
        quota.set_left(8, 1);
        assert_eq!((quota.left(8), quota.used(8)), (1, 3));
    }

    #[test]
    fn threads_together_never_exceed_it() {
        let quota = Quota::new(50_000, FRESH);
        let granted: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let quota = Arc::clone(&quota);
                    scope.spawn(move || {
                        let mut lease = QuotaLease::new(quota);
                        (0..20_000).map(|_| u64::from(lease.take(7))).sum::<u64>()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(granted, quota.used(7));
        assert!((49_000..=50_000).contains(&granted), "{granted}");
    }
}
