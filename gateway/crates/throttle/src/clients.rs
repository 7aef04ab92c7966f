//! One bucket per client, in bounded memory.
//!
//! Seven buckets to a set, one set to two cache lines. A client's bucket is a tag (its keyed 64-bit hash) and the time when
//! it is full again (GCRA). A client that is known is charged by one compare-exchange, without a lock.
//!
//! **Who may be evicted.** Only a client whose bucket is full again: forgetting it loses nothing, since a new bucket is full
//! too. When all seven owe tokens, new clients share the set's *overflow* bucket, same rate and burst, and a client that
//! later gets a bucket of its own starts with the overflow's debt, which includes all that it owed. So from one client to
//! the next request its debt is never less than what it took: **in every window a client is granted at most
//! `burst + rate * window`**, whatever an attacker does with other addresses. What a crowd of addresses can do is
//! make newcomers of a set share: they may be granted less, never more.
//!
//! Two clients with the same 64-bit tag in one set would share a bucket. Without the seed nobody can search for such a pair,
//! and by chance a set meets one in 2^60 newcomers.

use crate::rate::{Decision, Meter, Rate, TICKS_PER_NS_MAX};
use crate::sip::sip13;
use crate::sync::{AtomicBool, AtomicU64, Ordering, spin_loop, yield_now};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

const WAYS: usize = 7;

/// Sets are sized for so many clients on average, so that few have more than [`WAYS`] at once.
const CLIENTS_PER_SET: usize = 4;

/// The bucket is changing owner.
const MOVING: u64 = u64::MAX;

/// Polls of a set's lock before the thread lets others run.
const SPINS: u32 = 64;

/// Buckets of many clients at one rate.
#[derive(Debug)]
pub struct ClientTable {
    token_ticks: AtomicU64,
    burst_ticks: AtomicU64,
    seed: u128,
    sets: Box<[Set]>,
}

#[derive(Debug)]
#[repr(align(128))]
struct Set {
    /// 0 is free.
    tags: [AtomicU64; WAYS],
    full_at: [AtomicU64; WAYS],
    overflow_full_at: AtomicU64,
    /// Held only while a bucket changes owner: a scan of the set and three stores.
    locked: AtomicBool,
}

impl Set {
    fn new() -> Self {
        Self {
            tags: std::array::from_fn(|_| AtomicU64::new(0)),
            full_at: std::array::from_fn(|_| AtomicU64::new(0)),
            overflow_full_at: AtomicU64::new(0),
            locked: AtomicBool::new(false),
        }
    }

    fn ways(&self) -> impl Iterator<Item = (&AtomicU64, &AtomicU64)> {
        self.tags.iter().zip(&self.full_at)
    }

    fn find(&self, tag: u64) -> Option<(&AtomicU64, &AtomicU64)> {
        self.ways().find(|(owner, _)| owner.load(Ordering::Acquire) == tag)
    }

    /// Gives `tag` a bucket. False if all owe tokens. The caller holds the lock.
    fn adopt(&self, tag: u64, now: u64) -> bool {
        if self.find(tag).is_some() {
            return true;
        }
        for (owner, full_at) in self.ways() {
            let at = full_at.load(Ordering::Acquire);
            // The exchange fails if the owner was charged meanwhile.
            if at <= now && full_at.compare_exchange(at, MOVING, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            {
                owner.store(tag, Ordering::Release);
                full_at.store(self.overflow_full_at.load(Ordering::Acquire), Ordering::Release);
                return true;
            }
        }
        false
    }
}

/// A request's time and price.
#[derive(Clone, Copy)]
struct Charge {
    now: u64,
    token_ticks: u64,
    burst_ticks: u64,
}

impl Charge {
    /// When the bucket will be full after the charge, or how many ticks until it can be charged.
    fn on(self, full_at: u64) -> Result<u64, u64> {
        let after = full_at.max(self.now) + self.token_ticks;
        let limit = self.now + self.burst_ticks;
        if after <= limit { Ok(after) } else { Err(after - limit) }
    }
}

impl ClientTable {
    /// A table for about `capacity` clients that owe tokens at the same time (at least 4; 32 bytes for each, rounded up to a
    /// power of two), hashed with a seed from the operating system.
    ///
    /// Unlike in a [`Pool`](crate::Pool), a rate below one token in 208 days is served as that, and a burst that takes
    /// more than 28 months to fill is cut to what 28 months fill: clients need a rate to be forgotten by.
    #[must_use]
    pub fn new(rate: Rate, capacity: usize) -> Arc<Self> {
        let random = std::hash::RandomState::new();
        let half = |n: u8| {
            let mut hasher = random.build_hasher();
            hasher.write_u8(n);
            u128::from(hasher.finish())
        };
        Self::with_seed(rate, capacity, half(0) << 64 | half(1))
    }

    /// As `new`, with a given seed. It must be secret and random wherever clients choose their addresses.
    #[must_use]
    pub fn with_seed(rate: Rate, capacity: usize, seed: u128) -> Arc<Self> {
        let meter = Meter::with_clock(rate, TICKS_PER_NS_MAX);
        let sets = capacity.div_ceil(CLIENTS_PER_SET).max(1).next_power_of_two();
        Arc::new(Self {
            token_ticks: AtomicU64::new(meter.token_ticks),
            burst_ticks: AtomicU64::new(meter.burst_ticks()),
            seed,
            sets: (0..sets).map(|_| Set::new()).collect(),
        })
    }

    /// Changes rate and burst for all clients, for a reload. What they owe stays, as the time until their bucket is full: a
    /// full bucket stays full. A request at the same moment may see the new rate with the old burst.
    pub fn set_rate(&self, rate: Rate) {
        let meter = Meter::with_clock(rate, TICKS_PER_NS_MAX);
        self.token_ticks.store(meter.token_ticks, Ordering::Relaxed);
        self.burst_ticks.store(meter.burst_ticks(), Ordering::Relaxed);
    }

    /// Spends one of the client's tokens, if there is one. `client` is the whole identity, e.g. an address mapped to IPv6.
    pub fn take(&self, client: u128, now_ns: u64) -> Decision {
        let hash = sip13(self.seed, client);
        let tag = hash | 1;
        // Bit 0 is spent on telling tags from free ways; the count of sets is a power of two.
        let index = (hash >> 1) as usize & (self.sets.len() - 1);
        let meter = self.meter();
        let Some(set) = self.sets.get(index) else {
            return Decision::Refused { retry_after_ms: 1 }; // Not reached: the index is masked.
        };
        let charge = Charge {
            now: meter.ticks(now_ns),
            token_ticks: meter.token_ticks,
            burst_ticks: meter.burst_ticks(),
        };
        match take_in(set, tag, charge) {
            Ok(()) => Decision::Granted,
            Err(wait) => Decision::Refused { retry_after_ms: meter.retry_after_ms(wait) },
        }
    }

    fn meter(&self) -> Meter {
        let token_ticks = self.token_ticks.load(Ordering::Relaxed);
        let burst = self.burst_ticks.load(Ordering::Relaxed) / token_ticks;
        Meter { ticks_per_ns: TICKS_PER_NS_MAX, token_ticks, burst }
    }
}

fn take_in(set: &Set, tag: u64, charge: Charge) -> Result<(), u64> {
    let mut spins = 0;
    loop {
        if let Some((owner, full_at)) = set.find(tag)
            && let Some(outcome) = charge_way(owner, full_at, tag, charge)
        {
            return outcome;
        }
        if set.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            let adopted = set.adopt(tag, charge.now);
            // Charged under the lock: `adopt` must not hand out a bucket that misses this charge.
            let outcome = if adopted { None } else { Some(charge_overflow(set, charge)) };
            set.locked.store(false, Ordering::Release);
            if let Some(outcome) = outcome {
                return outcome;
            }
        } else if spins < SPINS {
            spins += 1;
            spin_loop();
        } else {
            yield_now();
        }
    }
}

/// None if the bucket changed owner meanwhile. It may then have been charged for the wrong client, by one token for each
/// thread that lost such a race: its new owner is granted less, nobody more.
fn charge_way(owner: &AtomicU64, full_at: &AtomicU64, tag: u64, charge: Charge) -> Option<Result<(), u64>> {
    let mut at = full_at.load(Ordering::Acquire);
    loop {
        if at == MOVING {
            return None;
        }
        let outcome = charge.on(at);
        let mine = |owner: &AtomicU64| owner.load(Ordering::Acquire) == tag;
        match outcome {
            Err(wait) => return mine(owner).then_some(Err(wait)),
            Ok(after) => match full_at.compare_exchange(at, after, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return mine(owner).then_some(Ok(())),
                Err(current) => at = current,
            },
        }
    }
}

fn charge_overflow(set: &Set, charge: Charge) -> Result<(), u64> {
    let after = charge.on(set.overflow_full_at.load(Ordering::Acquire))?;
    set.overflow_full_at.store(after, Ordering::Release);
    Ok(())
}
