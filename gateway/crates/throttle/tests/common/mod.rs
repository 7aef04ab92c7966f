//! The bucket that the crate is measured against: exact arithmetic, one thread, no leases.

/// Holds tokens in billionths, so that a whole rate fills it by whole steps each nanosecond.
#[derive(Clone, Debug)]
pub(crate) struct ReferenceBucket {
    per_second: u128,
    burst: u128,
    level: u128,
    at_ns: u64,
}

pub(crate) const TOKEN: u128 = 1_000_000_000;

impl ReferenceBucket {
    pub(crate) fn new(per_second: u64, burst: u32, now_ns: u64) -> Self {
        let burst = u128::from(burst) * TOKEN;
        Self { per_second: per_second.into(), burst, level: burst, at_ns: now_ns }
    }

    /// What it holds, in billionths of a token.
    pub(crate) fn level(&mut self, now_ns: u64) -> u128 {
        assert!(now_ns >= self.at_ns, "time goes forward");
        let filled = self.level + u128::from(now_ns - self.at_ns) * self.per_second;
        self.level = filled.min(self.burst);
        self.at_ns = now_ns;
        self.level
    }

    /// Spends a token, if it holds one.
    pub(crate) fn take(&mut self, now_ns: u64) -> bool {
        let granted = self.level(now_ns) >= TOKEN;
        if granted {
            self.level -= TOKEN;
        }
        granted
    }
}

/// Rates whose period the crate represents without rounding.
pub(crate) const EXACT_RATES: [u64; 10] =
    [1, 2, 5, 100, 1000, 12_500, 300_000, 1_000_000, 7_000_000, 1_000_000_000];
