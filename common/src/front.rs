//! What stands in front of the buckets of sources: few cells, each for all sources whose hash falls on it.
//!
//! As long as all sources of a cell together stay within what one of them may send, each of them does, and nobody needs a
//! bucket of its own. That is so for nearly all cells at nearly all times, and in a flood from random sources as well: so
//! it costs one word in a table that stays in the processor's cache, where a place among the buckets would be a miss.
//!
//! ```text
//!  open, a bucket of one source's size ──── asked for more than it has ───► locked since then: sources' own buckets
//!    ▲                                                                      decide, each as if empty at that moment
//!    └── after a span, with an empty bucket, but for what is asked ◄────────┘
//! ```
//!
//! While it is open, a source had at most what the cell granted, burst and rate; while it is locked, at most what came in
//! since. So together they never grant a source more than its bucket would, but for one token in each span.

/// Cells in front of each bucket table: 128 KiB. A power of two.
pub const FRONT_CELLS: usize = 16_384;
/// Marks a locked cell; what is below is when it was locked, otherwise when it is full again.
const LOCKED: u64 = 1 << 63;
/// The part of a lock's span that does not depend on the bucket: about a second.
const SPAN_TICKS: u64 = 1 << 26;

/// What a cell says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Front {
    /// Whether it grants the tokens by itself.
    pub is_granted: bool,
    /// What to put there.
    pub word: u64,
    /// Otherwise, how far ahead of now the source's bucket is at least.
    pub floor_ticks: u64,
}

/// Whether a cell grants nothing for now.
#[inline(always)]
#[must_use]
pub const fn is_locked(word: u64) -> bool {
    word & LOCKED != 0
}

/// Asks a cell for tokens that take `cost_ticks` of a bucket of `burst_ticks`.
#[inline(always)]
#[must_use]
pub const fn front(word: u64, now_ticks: u64, cost_ticks: u64, burst_ticks: u64) -> Front {
    let instant = word & !LOCKED;
    let since = now_ticks.saturating_sub(instant);
    if is_locked(word) && since <= SPAN_TICKS + 4 * burst_ticks {
        return Front { is_granted: false, word, floor_ticks: burst_ticks.saturating_sub(since) };
    }
    let full_at = if is_locked(word) {
        now_ticks + burst_ticks.saturating_sub(cost_ticks)
    } else if instant > now_ticks {
        instant
    } else {
        now_ticks
    };
    let full_at = full_at + cost_ticks;
    if full_at - now_ticks <= burst_ticks {
        Front { is_granted: true, word: full_at, floor_ticks: 0 }
    } else {
        Front { is_granted: false, word: now_ticks | LOCKED, floor_ticks: burst_ticks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BucketSet, Gcra, TICK_SHIFT, take};

    const SECOND: u64 = 1_000_000_000 >> TICK_SHIFT;

    /// A cell and the set behind it, as one CPU sees them.
    #[derive(Default)]
    struct Limiter {
        cell: u64,
        set: BucketSet,
    }

    impl Limiter {
        fn ask(&mut self, source: u64, now: u64, gcra: Gcra) -> bool {
            let cost = gcra.ticks(1);
            let front = front(self.cell, now, cost, gcra.burst_ticks);
            self.cell = front.word;
            if front.is_granted {
                return true;
            }
            let hash = source << 40;
            let grant = take(|way| self.set[way], hash, now, cost, gcra.burst_ticks, front.floor_ticks);
            if let Some(grant) = grant {
                self.set[grant.way] = grant.word;
            }
            grant.is_some()
        }
    }

    #[test]
    fn the_burst_comes_from_the_cell_and_then_the_rate_from_the_bucket() {
        let gcra = Gcra::new(10, 5).unwrap();
        let mut limiter = Limiter::default();
        let start = 1_000 * SECOND;
        assert_eq!((0..100).filter(|_| limiter.ask(1, start, gcra)).count(), 5);
        assert_eq!(limiter.set, BucketSet::default(), "no place taken");
        let granted = (1..=100).filter(|tenth| limiter.ask(1, start + tenth * SECOND / 100, gcra)).count();
        assert_eq!(granted, 10, "in a second");
    }

    #[test]
    fn an_innocent_source_in_a_locked_cell_has_its_own_rate() {
        let gcra = Gcra::new(10, 5).unwrap();
        let mut limiter = Limiter::default();
        let start = 1_000 * SECOND;
        let mut innocent = 0;
        for hundredth in 0..1_000 {
            let now = start + hundredth * SECOND / 100;
            limiter.ask(1, now, gcra);
            // Five a second, half of what it may.
            if hundredth % 20 == 19 {
                innocent += u32::from(limiter.ask(2, now, gcra));
            }
        }
        // The first may come before a token has; those at the end of a span as well.
        assert!(innocent >= 45, "{innocent} of 50");
    }

    #[test]
    fn never_more_than_burst_and_rate_and_one_in_a_span() {
        let mut state = 1u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..50 {
            let Some(gcra) = Gcra::new(1 + random(1_000), 1 + random(50)) else { continue };
            let (interval, span) = (gcra.ticks(1), SPAN_TICKS + 4 * gcra.burst_ticks);
            let burst = gcra.burst_ticks / interval + 1;
            let mut limiter = Limiter::default();
            let mut now = SECOND;
            let mut grants = [0; 400];
            let mut count = 0;
            while count < grants.len() {
                // Now and then a pause that unlocks the cell.
                now += if random(200) == 0 {
                    span + random(span)
                } else {
                    random(2 * interval) / (1 + random(8))
                };
                if limiter.ask(1, now, gcra) {
                    grants[count] = now;
                    count += 1;
                }
            }
            for first in 0..grants.len() {
                for last in first..grants.len() {
                    let passed = grants[last] - grants[first];
                    let most = burst + passed / interval + 1 + passed / span;
                    assert!((last - first + 1) as u64 <= most);
                }
            }
        }
    }
}
