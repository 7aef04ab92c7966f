//! Rates as whole clock ticks.

/// A token bucket's two numbers, with AWS API Gateway's meaning: `burst` is the bucket's size, `per_second` how fast it
/// fills. A new bucket is full.
///
/// * `burst = 0` refuses everything.
/// * A rate of zero, below one token in nine years, or not a number never fills again: the burst is spent once.
/// * Rates over 16 000 000 000 per second are served as that.
/// * A burst that takes more than 36 years to fill is cut to what 36 years fill.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Tokens added each second.
    pub per_second: f64,
    /// Most tokens the bucket holds.
    pub burst: u32,
}

/// What a limiter says about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A token was spent on it.
    Granted,
    /// No token was there.
    Refused {
        /// Milliseconds until one will be, if nobody else takes it: at least 1, at most [`RETRY_AFTER_MAX_MS`].
        retry_after_ms: u64,
    },
}

impl Decision {
    /// Whether the request may go on.
    #[must_use]
    pub fn is_granted(self) -> bool {
        self == Self::Granted
    }
}

/// The longest wait a refusal names: a day. Buckets that never fill answer this.
pub const RETRY_AFTER_MAX_MS: u64 = 24 * 60 * 60 * 1000;

/// Finest clock: a token's time is rounded up to at most 1/16 ns.
pub(crate) const TICKS_PER_NS_MAX: u64 = 16;
const TOKEN_TICKS_MAX: u64 = 1 << 58;
const BURST_TICKS_MAX: u64 = 1 << 60;
/// Times saturate here, leaving two bits free in a word: nine years at the finest clock.
pub(crate) const TICKS_MAX: u64 = (1 << 62) - 1;

/// A [`Rate`] in integers: one token is a whole number of ticks, so `n` tokens cost exactly `n` times one and a burst
/// spent one by one or at once costs the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meter {
    pub(crate) ticks_per_ns: u64,
    pub(crate) token_ticks: u64,
    pub(crate) burst: u64,
}

impl Meter {
    /// The clock of 1 to 16 ticks per nanosecond on which the token's time needs least rounding up: exact for every
    /// rate whose period is a fraction with such a denominator (300 000 per second is 10 000 ticks of 1/3 ns).
    pub(crate) fn new(rate: Rate) -> Self {
        if !fills(rate) {
            // The clock stands still, and a token is one tick of it.
            return Self { ticks_per_ns: 0, token_ticks: 1, burst: rate.burst.into() };
        }
        let mut best = Self::with_clock(rate, 1);
        let mut best_error = rounding(rate, best);
        for ticks_per_ns in 2..=TICKS_PER_NS_MAX {
            let meter = Self::with_clock(rate, ticks_per_ns);
            let error = rounding(rate, meter);
            if error < best_error {
                (best, best_error) = (meter, error);
            }
        }
        best
    }

    pub(crate) fn with_clock(rate: Rate, ticks_per_ns: u64) -> Self {
        // `as` saturates and sends NaN to 0; infinity (rate 0) becomes the longest time.
        let exact = period_ticks(rate, ticks_per_ns).ceil();
        let token_ticks =
            if rate.per_second > 0.0 { (exact as u64).clamp(1, TOKEN_TICKS_MAX) } else { TOKEN_TICKS_MAX };
        let burst = u64::from(rate.burst).min(BURST_TICKS_MAX / token_ticks);
        Self { ticks_per_ns, token_ticks, burst }
    }

    /// A time in ticks.
    pub(crate) fn ticks(&self, ns: u64) -> u64 {
        ns.saturating_mul(self.ticks_per_ns).min(TICKS_MAX)
    }

    /// What `tokens` cost.
    pub(crate) fn cost(&self, tokens: u64) -> u64 {
        tokens.saturating_mul(self.token_ticks).min(TICKS_MAX)
    }

    pub(crate) fn burst_ticks(&self) -> u64 {
        self.burst * self.token_ticks
    }

    /// Milliseconds, rounded up, that `ticks` last.
    pub(crate) fn retry_after_ms(&self, ticks: u64) -> u64 {
        if self.burst == 0 || self.ticks_per_ns == 0 {
            return RETRY_AFTER_MAX_MS;
        }
        ticks.div_ceil(self.ticks_per_ns).div_ceil(1_000_000).clamp(1, RETRY_AFTER_MAX_MS)
    }
}

fn fills(rate: Rate) -> bool {
    rate.per_second > 0.0 && period_ticks(rate, 1) < TOKEN_TICKS_MAX as f64
}

fn period_ticks(rate: Rate, ticks_per_ns: u64) -> f64 {
    1e9 * ticks_per_ns as f64 / rate.per_second
}

/// By how much, as a share, the meter's token takes longer than the rate's.
fn rounding(rate: Rate, meter: Meter) -> f64 {
    meter.token_ticks as f64 / period_ticks(rate, meter.ticks_per_ns) - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_rates_are_exact() {
        for per_second in [0.5, 1.0, 3.0, 100.0, 10_000.0, 300_000.0, 7e6, 1e9, 1.5e9, 16e9] {
            let rate = Rate { per_second, burst: 1 };
            let error = rounding(rate, Meter::new(rate));
            assert!((0.0..1e-8).contains(&error), "{per_second} per second is off by {error}");
        }
    }

    #[test]
    fn rounding_only_ever_slows() {
        for i in 1..5000_u32 {
            let rate = Rate { per_second: f64::from(i).powf(2.5), burst: 1 };
            let error = rounding(rate, Meter::new(rate));
            // One part in 2^52 is the float's own error.
            assert!((-1e-15..0.1).contains(&error), "{rate:?} is off by {error}");
        }
    }

    #[test]
    fn odd_rates_have_a_meaning() {
        for per_second in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY, 1e-300] {
            let meter = Meter::new(Rate { per_second, burst: u32::MAX });
            assert_eq!((meter.ticks(u64::MAX), meter.cost(1), meter.burst), (0, 1, u32::MAX.into()));
        }
        let meter = Meter::new(Rate { per_second: f64::INFINITY, burst: 4 });
        assert_eq!(meter.token_ticks, 1);
        let meter = Meter::new(Rate { per_second: 1e-6, burst: u32::MAX });
        assert!(meter.burst > 0 && meter.burst_ticks() <= BURST_TICKS_MAX);
    }
}
