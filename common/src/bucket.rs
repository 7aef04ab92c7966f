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
pub const TICK_SHIFT: u32 = 6;
/// Bits of a word that hold the instant: wraps after 19 hours. The tag has the other 24: two sources in a set of
/// eight share a bucket once in two million.
const TIME_BITS: u32 = 40;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
/// No bucket is further ahead than this, 73 minutes; what looks like it is, is a leftover from before a wrap.
const AHEAD_MAX_TICKS: u64 = 1 << 36;

/// Rate and burst, in [ticks](TICK_SHIFT).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gcra {
    /// Time that one token takes.
    pub interval_ticks: u64,
    /// How far ahead of now the full-again instant may be for another token to be granted: (burst - 1) intervals.
    pub tolerance_ticks: u64,
}

impl Gcra {
    /// A bucket of `burst` tokens refilled with `per_second`. `None` if the figures do not fit: a rate of 0 or above
    /// 10 million, a burst of 0, or more than an hour from empty to full.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Option<Self> {
        const SECOND_TICKS: u64 = 1_000_000_000 >> TICK_SHIFT;
        const HOUR_TICKS: u64 = 3_600 * SECOND_TICKS;
        if per_second == 0 || per_second > 10_000_000 || burst == 0 {
            return None;
        }
        let interval_ticks = (SECOND_TICKS + per_second as u64 / 2) / per_second as u64;
        let tolerance_ticks = interval_ticks * (burst as u64 - 1);
        if tolerance_ticks + interval_ticks > HOUR_TICKS {
            return None;
        }
        Some(Self { interval_ticks, tolerance_ticks })
    }
}

/// A token, once the word at `way` has been changed from `seen` to `word`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Index into the set.
    pub way: usize,
    /// What must still be there.
    pub seen: u64,
    /// What to put there.
    pub word: u64,
}

/// Asks the set that `read` reads for a token for the source with this hash; `None` if its bucket is empty. The low
/// bits of the hash choose the set, the high ones are the tag.
#[inline(always)]
pub fn take(read: impl Fn(usize) -> u64, hash: u64, now_ticks: u64, gcra: Gcra) -> Option<Grant> {
    let tag = hash >> TIME_BITS;
    let (mut place, mut seen, mut least_ahead) = (0, 0, u64::MAX);
    for way in 0..BUCKET_WAYS {
        let word = read(way);
        let ahead = ahead_ticks(word, now_ticks);
        let is_own = word >> TIME_BITS == tag;
        if is_own || ahead < least_ahead {
            (place, seen, least_ahead) = (way, word, ahead);
        }
        if is_own {
            break;
        }
    }
    let is_own = seen >> TIME_BITS == tag;
    let ahead = if is_own { least_ahead } else { 0 };
    if ahead > gcra.tolerance_ticks {
        return None;
    }
    let word = tag << TIME_BITS | (now_ticks + ahead + gcra.interval_ticks) & TIME_MASK;
    Some(Grant { way: place, seen, word })
}

/// How far a word's instant lies ahead of now: 0 for a full bucket.
#[inline(always)]
const fn ahead_ticks(word: u64, now_ticks: u64) -> u64 {
    let ahead = word.wrapping_sub(now_ticks) & TIME_MASK;
    if ahead > AHEAD_MAX_TICKS { 0 } else { ahead }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000 >> TICK_SHIFT;

    /// What one CPU alone does with a set.
    fn ask(set: &mut BucketSet, hash: u64, now: u64, gcra: Gcra) -> bool {
        let grant = take(|way| set[way], hash, now, gcra);
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
        assert_eq!(Gcra::new(50, 100), Some(Gcra { interval_ticks: 312_500, tolerance_ticks: 99 * 312_500 }));
        assert_eq!(Gcra::new(0, 1), None);
        assert_eq!(Gcra::new(1, 0), None);
        assert_eq!(Gcra::new(10_000_001, 1), None);
        assert_eq!(Gcra::new(1, 3_601), None, "more than an hour to fill");
        assert!(Gcra::new(1, 3_600).is_some());
        assert!(Gcra::new(10_000_000, u32::MAX).is_some());
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
            let gcra = Gcra::new(rate as u32, burst as u32).unwrap();
            let mut set = BucketSet::default();
            // Starts shortly before the instants wrap.
            let mut now = (1 << TIME_BITS) - SECOND;
            let mut grants: [u64; 400] = [0; 400];
            let mut count = 0;
            while count < grants.len() {
                now += random(&mut state) % (2 * gcra.interval_ticks);
                if ask(&mut set, hash(3), now, gcra) {
                    grants[count] = now;
                    count += 1;
                }
            }
            for first in 0..grants.len() {
                for last in first..grants.len() {
                    let refilled = (grants[last] - grants[first]) / gcra.interval_ticks;
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
    }
}
