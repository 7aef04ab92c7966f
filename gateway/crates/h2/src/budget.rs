//! How much a peer may ask for that costs us work and brings it nothing.
//!
//! Each kind has a leaky bucket: a burst that honest peers stay below, and a rate that is no burden. Whoever exceeds it
//! gets GOAWAY with ENHANCE_YOUR_CALM. The buckets count frames, so the verdict does not depend on how fast we are.

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Streams reset by the peer, or by us for its fault: rapid reset (CVE-2023-44487), and made-you-reset
    /// (CVE-2025-8671).
    Reset,
    /// PING.
    Ping,
    /// SETTINGS.
    Settings,
    /// DATA without data that ends nothing.
    EmptyData,
    /// WINDOW_UPDATE beyond what our own DATA calls for.
    Window,
    /// PRIORITY and frames of unknown types.
    Noise,
}

struct Allowance {
    burst: u32,
    per_second: u32,
    label: &'static str,
}

/// A rapid-reset client is cut off within 50 requests; a browser that leaves a page cancels fewer at once.
const ALLOWANCES: [Allowance; 6] = [
    Allowance { burst: 40, per_second: 10, label: "rapid_reset" },
    Allowance { burst: 100, per_second: 50, label: "ping_flood" },
    Allowance { burst: 20, per_second: 2, label: "settings_flood" },
    Allowance { burst: 100, per_second: 50, label: "empty_data_flood" },
    Allowance { burst: 1000, per_second: 500, label: "window_update_flood" },
    Allowance { burst: 500, per_second: 200, label: "frame_flood" },
];

#[derive(Clone, Copy, Default)]
struct Bucket {
    /// Thousandths of what was spent and has not leaked out yet.
    spent_milli: u64,
    at_ms: u64,
}

/// The buckets of one connection.
#[derive(Default)]
pub(crate) struct Budget {
    buckets: [Bucket; ALLOWANCES.len()],
}

impl Budget {
    /// Spends one; the reason for cutting the peer off where that is too much.
    pub(crate) fn spend(&mut self, kind: Kind, now_ms: u64) -> Result<(), &'static str> {
        let at = kind as usize;
        let (Some(bucket), Some(allowance)) = (self.buckets.get_mut(at), ALLOWANCES.get(at)) else {
            return Ok(());
        };
        let leaked = now_ms.saturating_sub(bucket.at_ms).saturating_mul(u64::from(allowance.per_second));
        bucket.at_ms = now_ms;
        bucket.spent_milli = bucket.spent_milli.saturating_sub(leaked) + 1000;
        if bucket.spent_milli > u64::from(allowance.burst) * 1000 { Err(allowance.label) } else { Ok(()) }
    }

    /// Takes a `spend` back: what the peer did was called for.
    pub(crate) fn earn(&mut self, kind: Kind) {
        if let Some(bucket) = self.buckets.get_mut(kind as usize) {
            bucket.spent_milli = bucket.spent_milli.saturating_sub(1000);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_granted_once_and_leaks_out() {
        let mut budget = Budget::default();
        assert!((0..40).all(|_| budget.spend(Kind::Reset, 5).is_ok()));
        assert_eq!(budget.spend(Kind::Reset, 5), Err("rapid_reset"));
        assert!(budget.spend(Kind::Ping, 5).is_ok());
        assert!(budget.spend(Kind::Reset, 1005).is_ok());
        let mut budget = Budget::default();
        assert!((0..10_000).all(|i| budget.spend(Kind::Reset, i * 100).is_ok()));
        let mut budget = Budget::default();
        for _ in 0..10_000 {
            budget.earn(Kind::Window);
            assert!(budget.spend(Kind::Window, 0).is_ok());
        }
    }
}
