//! Token buckets of sources, as the generic cell rate algorithm has them: the whole state of a source is the instant at
//! which its bucket would be full again.
//!
//! They live in sets of [`BUCKET_WAYS`] words, one cache line, chosen by the source's hash. A full bucket needs no
//! word, so a newcomer may take the place of any source whose bucket has filled up; nothing is lost by that. Only
//! where all in the set are in use does the one nearest to full lose what it owes. An LRU map instead would evict by
//! recency and cost ten times as much under the very flood that it is for: SYNs from random sources.

use crate::BUCKET_WAYS;

/// Buckets whose sources' hashes share a set. A word is the source's tag over an instant in ticks, modulo its width.
pub type BucketSet = [u64; BUCKET_WAYS];

/// A tick is `1 << TICK_SHIFT` nanoseconds.
pub const TICK_SHIFT: u32 = 4;
/// Bits of a word that hold the instant: wraps after almost five hours. The tag has the other 24: two sources in a set
/// of eight share a bucket once in two million.
const TIME_BITS: u32 = 40;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
/// No bucket is so far ahead that it takes more bits than these, 73 minutes; what looks like it is, is a leftover from
/// before a wrap.
const AHEAD_BITS: u32 = 38;
/// What CPUs may differ in what time it is: more than a tick of the kernel's clock at its coarsest.
const SKEW_TICKS: u64 = 1 << 21;
/// Fraction bits of [`Gcra::token_ticks`]: a byte of a fast source takes much less than a tick.
const FRACTION_BITS: u32 = 16;

/// What a way takes in a rank.
const WAY_BITS: u32 = BUCKET_WAYS.trailing_zeros();

/// Rate and burst, in [ticks](TICK_SHIFT).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gcra {
    /// Time that one token takes, in 2^-16 ticks.
    pub token_ticks: u64,
    /// Time that a whole bucket takes: how far ahead of now the full-again instant may be.
    pub burst_ticks: u64,
}

impl Gcra {
    /// A bucket of `burst` tokens refilled with `per_second`. `None` if the figures do not fit: a rate of 0, a burst of
    /// less than what a hundredth of a second brings (the kernel's clock ticks as slowly as that) or of 0, or more than
    /// an hour from empty to full.
    #[must_use]
    pub const fn new(per_second: u64, burst: u64) -> Option<Self> {
        const SECOND_TICKS: u64 = 1_000_000_000 >> TICK_SHIFT;
        const HOUR_TICKS: u64 = 3_600 * SECOND_TICKS;
        const SECOND: u64 = SECOND_TICKS << FRACTION_BITS;
        // Above, a token would take less than 16 of the units that it is counted in.
        if per_second == 0 || per_second > SECOND / 16 || burst == 0 || burst < per_second / 100 {
            return None;
        }
        // Rounded up: never more than asked for.
        let token_ticks = SECOND.div_ceil(per_second);
        let Some(burst_ticks) = token_ticks.checked_mul(burst) else {
            return None;
        };
        let burst_ticks = burst_ticks.div_ceil(1 << FRACTION_BITS);
        if burst_ticks > HOUR_TICKS {
            return None;
        }
        Some(Self { token_ticks, burst_ticks })
    }

    /// Time that so many tokens take.
    #[inline(always)]
    #[must_use]
    pub const fn ticks(self, tokens: u64) -> u64 {
        (tokens * self.token_ticks) >> FRACTION_BITS
    }
}

/// Tokens, once the word at `way` has been changed from `seen` to `word`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Index into the set.
    pub way: usize,
    /// What must still be there.
    pub seen: u64,
    /// What to put there.
    pub word: u64,
}

/// Asks the set that `read` reads for tokens that take `cost_ticks` for the source with this hash; `None` if its bucket,
/// of `burst_ticks` and at least `floor_ticks` from full, has not so many. The low bits of the hash choose the set, the high ones are the tag.
#[inline(always)]
pub fn take(
    read: impl Fn(usize) -> u64,
    hash: u64,
    now_ticks: u64,
    cost_ticks: u64,
    burst_ticks: u64,
    floor_ticks: u64,
) -> Option<Grant> {
    let tag = hash >> TIME_BITS;
    let way = own(&read, tag).or_else(|| full(&read, now_ticks)).unwrap_or_else(|| fullest(&read, now_ticks));
    // A no-op, but the verifier sees an index that is within the set.
    let way = way & (BUCKET_WAYS - 1);
    let seen = read(way);
    let ahead = ahead_ticks(seen, now_ticks);
    let is_own = seen >> TIME_BITS == tag && ahead <= burst_ticks + SKEW_TICKS;
    let ahead = if is_own && ahead > floor_ticks { ahead } else { floor_ticks } + cost_ticks;
    if ahead > burst_ticks {
        return None;
    }
    let word = tag << TIME_BITS | (now_ticks + ahead) & TIME_MASK;
    Some(Grant { way, seen, word })
}

/// The way of a source with this tag.
#[inline(always)]
fn own(read: impl Fn(usize) -> u64, tag: u64) -> Option<usize> {
    (0..BUCKET_WAYS).find(|&way| read(way) >> TIME_BITS == tag)
}

/// The first way whose bucket is full: in a flood nearly always the first or the second, so that this is one branch which
/// cannot be predicted, where finding the least of eight is four.
#[inline(always)]
fn full(read: impl Fn(usize) -> u64, now_ticks: u64) -> Option<usize> {
    (0..BUCKET_WAYS).find(|&way| ahead_ticks(read(way), now_ticks) == 0)
}

/// The way whose bucket is nearest to full.
#[inline(always)]
fn fullest(read: impl Fn(usize) -> u64, now_ticks: u64) -> usize {
    // The way is in the lowest bits, so that the least of all names it: to the verifier one number like any other, where a
    // variable set to each way on a path of its own would be eight.
    let mut least = u64::MAX;
    for way in 0..BUCKET_WAYS {
        let rank = ahead_ticks(read(way), now_ticks) << WAY_BITS | way as u64;
        if rank < least {
            least = rank;
        }
    }
    least as usize & (BUCKET_WAYS - 1)
}

/// How far a word's instant lies ahead of now: 0 for a full bucket.
#[inline(always)]
const fn ahead_ticks(word: u64, now_ticks: u64) -> u64 {
    let ahead = word.wrapping_sub(now_ticks) & TIME_MASK;
    if ahead >> AHEAD_BITS == 0 { ahead } else { 0 }
}

/// A bucket that all share: its full-again instant in ticks, not wrapped. How far it is ahead of now, unless so many
/// tokens are not in it.
#[inline(always)]
#[must_use]
pub const fn take_shared(full_at_ticks: u64, now_ticks: u64, gcra: Gcra, tokens: u64) -> Option<u64> {
    let from = if full_at_ticks > now_ticks { full_at_ticks } else { now_ticks };
    let full_at_ticks = from + gcra.ticks(tokens);
    if full_at_ticks - now_ticks > gcra.burst_ticks { None } else { Some(full_at_ticks) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000 >> TICK_SHIFT;

    /// What one CPU alone does with a set.
    fn ask(set: &mut BucketSet, hash: u64, now: u64, gcra: Gcra) -> bool {
        let grant = take(|way| set[way], hash, now, gcra.ticks(1), gcra.burst_ticks, 0);
        if let Some(grant) = grant {
            assert_eq!(set[grant.way], grant.seen);
            set[grant.way] = grant.word;
        }
        grant.is_some()
    }

    fn hash(tag: u64) -> u64 {
        tag << TIME_BITS
    }

    /// A pseudo-random sequence (Knuth's MMIX constants), the same in every run.
    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *state >> 33
    }

    #[test]
    fn figures_that_do_not_fit_are_refused() {
        let interval = SECOND / 50;
        let expected = Gcra { token_ticks: interval << FRACTION_BITS, burst_ticks: 100 * interval };
        assert_eq!(Gcra::new(50, 100), Some(expected));
        assert_eq!(expected.ticks(3), 3 * interval);
        assert_eq!(Gcra::new(0, 1), None);
        assert_eq!(Gcra::new(1, 0), None);
        assert_eq!(Gcra::new(10_000, 99), None, "less than the clock's tick brings");
        assert_eq!(Gcra::new(1, 3_601), None, "more than an hour to fill");
        assert!(Gcra::new(1, 3_600).is_some() && Gcra::new(10_000, 100).is_some());
        assert!(Gcra::new(12_500_000_000, 125_000_000).is_some(), "100 Gbit/s");
        assert_eq!(Gcra::new(u64::MAX, u64::MAX), None);
    }

    #[test]
    fn bytes_cost_what_they_weigh() {
        let gcra = Gcra::new(1_000_000, 100_000).unwrap();
        let mut set = BucketSet::default();
        let ask = |set: &BucketSet, hash, now, bytes| {
            take(|way| set[way], hash, now, gcra.ticks(bytes), gcra.burst_ticks, 0)
        };
        let mut granted = 0;
        while let Some(grant) = ask(&set, hash(7), SECOND, 1_500) {
            set[grant.way] = grant.word;
            granted += 1_500;
        }
        assert_eq!(granted, 99_000);
        let later = SECOND + SECOND / 1_000;
        assert!(ask(&set, hash(7), later, 1_500).is_some(), "1000 and 1000 more");
        assert!(ask(&set, hash(7), later, 2_100).is_none());
        assert!(ask(&set, hash(8), later, 100_001).is_none(), "more than a whole bucket");
    }

    #[test]
    fn a_shared_bucket_grants_the_burst_and_then_the_rate() {
        let gcra = Gcra::new(10, 20).unwrap();
        let mut full_at = 0;
        let mut granted = |now| {
            (0..50)
                .filter(|_| match take_shared(full_at, now, gcra, 4) {
                    Some(ticks) => {
                        full_at = ticks;
                        true
                    }
                    None => false,
                })
                .count()
        };
        assert_eq!(granted(100 * SECOND), 5);
        assert_eq!(granted(101 * SECOND), 2);
        assert_eq!(granted(200 * SECOND), 5);
    }

    #[test]
    fn a_clock_that_is_a_tick_behind_grants_nothing_extra() {
        let gcra = Gcra::new(100, 10).unwrap();
        let mut set = BucketSet::default();
        for _ in 0..10 {
            assert!(ask(&mut set, hash(5), SECOND, gcra));
        }
        assert!(!ask(&mut set, hash(5), SECOND - SKEW_TICKS / 2, gcra));
    }

    #[test]
    fn the_burst_at_once_and_then_the_rate() {
        let gcra = Gcra::new(10, 5).unwrap();
        let mut set = BucketSet::default();
        let granted = |set: &mut BucketSet, now| (0..100).filter(|_| ask(set, hash(7), now, gcra)).count();
        assert_eq!(granted(&mut set, 1_000 * SECOND), 5);
        assert_eq!(granted(&mut set, 1_000 * SECOND + SECOND / 10), 1);
        assert_eq!(granted(&mut set, 1_000 * SECOND + SECOND / 10 + SECOND / 20), 0);
        assert_eq!(granted(&mut set, 1_001 * SECOND), 5, "never more than the burst");
    }

    #[test]
    fn never_more_than_burst_and_rate_allow_in_any_window() {
        for seed in 0..50 {
            let mut state = seed;
            let (rate, burst) = (1 + random(&mut state) % 1_000, 1 + random(&mut state) % 50);
            let Some(gcra) = Gcra::new(rate, burst) else { continue };
            let interval = gcra.ticks(1);
            let mut set = BucketSet::default();
            // Starts shortly before the instants wrap.
            let mut now = (1 << TIME_BITS) - SECOND;
            let mut grants: [u64; 400] = [0; 400];
            let mut count = 0;
            while count < grants.len() {
                now += random(&mut state) % (2 * interval);
                if ask(&mut set, hash(3), now, gcra) {
                    grants[count] = now;
                    count += 1;
                }
            }
            for first in 0..grants.len() {
                for last in first..grants.len() {
                    let refilled = (grants[last] - grants[first]) / interval;
                    assert!((last - first + 1) as u64 <= burst + refilled, "seed {seed}");
                }
            }
        }
    }

    #[test]
    fn newcomers_take_the_places_of_full_buckets_only() {
        let gcra = Gcra::new(1, 10).unwrap();
        let mut set = BucketSet::default();
        let start = 1_000 * SECOND;
        for _ in 0..10 {
            assert!(ask(&mut set, hash(99), start, gcra));
        }
        // Three newcomers a second, each full again a second later: seven places are enough for them.
        for newcomer in 0..21 {
            assert!(ask(&mut set, hash(newcomer), start + newcomer * SECOND / 3, gcra));
        }
        let debt = set.iter().find(|&&word| word >> TIME_BITS == 99).unwrap();
        assert_eq!(debt & TIME_MASK, start + 10 * SECOND, "still as it was");
    }

    #[test]
    fn where_all_are_in_use_the_one_nearest_to_full_gives_way() {
        let gcra = Gcra::new(1, 10).unwrap();
        let mut set = BucketSet::default();
        for source in 1..=8 {
            for _ in 0..source {
                assert!(ask(&mut set, hash(source), SECOND, gcra));
            }
        }
        assert!(ask(&mut set, hash(9), SECOND, gcra));
        let mut tags = set.map(|word| word >> TIME_BITS);
        tags.sort_unstable();
        assert_eq!(tags, [2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn a_leftover_from_before_a_wrap_counts_as_full() {
        let gcra = Gcra::new(1, 1).unwrap();
        let mut set = BucketSet::default();
        assert!(ask(&mut set, hash(5), 10 * SECOND, gcra));
        assert!(!ask(&mut set, hash(5), 10 * SECOND, gcra));
        assert!(ask(&mut set, hash(5), (1 << (TIME_BITS - 1)) + 10 * SECOND, gcra));
        // Seen an hour before the same instant comes again: ahead, but further than this bucket ever is.
        let mut set = BucketSet::default();
        assert!(ask(&mut set, hash(5), 10_000 * SECOND, gcra));
        assert!(ask(&mut set, hash(5), (1 << TIME_BITS) + 8_000 * SECOND, gcra));
    }
}
