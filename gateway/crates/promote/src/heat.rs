//! Whether refusals keep coming above a rate.

const SECOND_NS: u64 = 1_000_000_000;

/// This much ahead of the rate is hot: half a second's refusals at once, or a little more than the rate for a while.
const HOT_NS: u64 = SECOND_NS / 2;

/// No more than this is remembered, so that a source which has stopped is cold this soon, however fast it was.
const MEMORY_NS: u64 = 2 * SECOND_NS;

/// A leaky bucket that refusals fill and the rate empties, as the time when it is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heat {
    cold_at_ns: u64,
}

impl Heat {
    /// Adds refusals that came by now.
    pub(crate) fn add(&mut self, refusals: u64, per_second: u64, now_ns: u64) {
        let each_ns = SECOND_NS / per_second.max(1);
        let filled_ns = self.cold_at_ns.max(now_ns).saturating_add(refusals.saturating_mul(each_ns));
        self.cold_at_ns = filled_ns.min(now_ns + MEMORY_NS);
    }

    /// Refused faster than the rate, not only by a moment's burst.
    pub(crate) fn is_hot(self, now_ns: u64) -> bool {
        self.cold_at_ns.saturating_sub(now_ns) >= HOT_NS
    }

    /// Still ahead of the rate: has not stopped, nor slowed down.
    pub(crate) fn is_warm(self, now_ns: u64) -> bool {
        self.cold_at_ns > now_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn above_the_rate_gets_hot_and_below_stays_cold() {
        let (mut fast, mut slow) = (Heat::default(), Heat::default());
        for quarter in 0..40 {
            let now_ns = quarter * SECOND_NS / 4;
            fast.add(6, 20, now_ns);
            slow.add(4, 20, now_ns);
            assert!(fast.is_warm(now_ns));
            assert!(!slow.is_hot(now_ns));
        }
        assert!(fast.is_hot(10 * SECOND_NS));
    }

    #[test]
    fn a_source_that_stops_is_cold_after_two_seconds() {
        let mut heat = Heat::default();
        heat.add(1_000_000, 20, 5 * SECOND_NS);
        assert!(heat.is_hot(6 * SECOND_NS) && heat.is_warm(7 * SECOND_NS - 1));
        assert!(!heat.is_warm(7 * SECOND_NS));
    }
}
