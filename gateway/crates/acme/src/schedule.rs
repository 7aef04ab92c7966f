//! When to ask. Values in, values out.

use sluice_tls::Identity;
use std::time::Duration;

/// The longest pause after failures.
const PAUSE_MAX: Duration = Duration::from_secs(6 * 3600);

/// When to renew: at two thirds of the certificate's life, less up to a twentieth, so that many gateways do not ask at once.
pub(crate) fn renewal_unix_s(identity: &Identity, random: f64) -> u64 {
    renewal(identity.not_before_unix_s, identity.not_after_unix_s, random)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "seconds of a life, rounded"
)]
#[expect(clippy::cast_sign_loss, reason = "clamped")]
fn renewal(not_before_unix_s: i64, not_after_unix_s: i64, random: f64) -> u64 {
    let life_s = not_after_unix_s.saturating_sub(not_before_unix_s).max(0) as f64;
    let from_begin_s = life_s * (2.0 / 3.0 - random / 20.0);
    (not_before_unix_s as f64 + from_begin_s).max(0.0) as u64
}

/// The pause after failures: doubles with each, and varies by a quarter so that gateways that failed together do not come
/// back together.
pub(crate) struct Pause {
    first: Duration,
    failures: u32,
}

impl Pause {
    pub(crate) fn new(first: Duration) -> Self {
        Self { first, failures: 0 }
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    pub(crate) fn next(&mut self, random: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(16));
        self.failures += 1;
        doubled.min(PAUSE_MAX).mul_f64(1.0 + random / 4.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_due_at_two_thirds_of_a_life() {
        const DAY: i64 = 86_400;
        assert_eq!(renewal(0, 90 * DAY, 0.0), 60 * 86_400);
        let early = renewal(0, 90 * DAY, 0.999);
        assert!((55 * 86_400..60 * 86_400).contains(&early), "{early}");
        assert_eq!(renewal(1_000, 1_030, 0.0), 1_020);
        assert_eq!(renewal(1_000, 10, 0.5), 1_000, "nonsense is due at once");
        assert_eq!(renewal(i64::MIN, i64::MAX, 0.5), renewal(i64::MIN, i64::MAX, 0.5));
    }

    #[test]
    fn pauses_double_up_to_six_hours() {
        let mut pause = Pause::new(Duration::from_secs(60));
        let pauses: Vec<u64> = (0..12).map(|_| pause.next(0.0).as_secs()).collect();
        assert_eq!(pauses[..4], [60, 120, 240, 480]);
        assert_eq!(pauses[11], 6 * 3600);
        pause.reset();
        assert_eq!(pause.next(0.5), Duration::from_millis(67_500));
    }
}
