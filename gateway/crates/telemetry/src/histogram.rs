//! Latency histograms in HDR layout: exact below 64 µs, then 32 linear steps per power of two.
//!
//! A step is at most 1/32 of its lower bound, so that a value read back is within 3.2% (1.6% at the step's middle).
//! One histogram is 832 counters, 6.5 KiB, and is allocated when its route sees its first request.

use crate::counter::Counter;
use hdrhistogram::Histogram as HdrHistogram;

/// Values below this have a bucket each.
const LINEAR: u64 = 64;
/// Steps per power of two above `LINEAR`, as a shift.
const STEP_BITS: u32 = 5;
const STEPS: usize = 1 << STEP_BITS;
/// Longer latencies (18 minutes) count as this one.
const MAX_US: u64 = (1 << 30) - 1;
const BUCKETS: usize = LINEAR as usize + (30 - 6) * STEPS;

/// One route's latencies on one core: written by that core, read by the exporter.
#[derive(Debug)]
pub(crate) struct LatencyHistogram {
    buckets: [Counter; BUCKETS],
    sum_us: Counter,
}

impl LatencyHistogram {
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self { buckets: std::array::from_fn(|_| Counter::default()), sum_us: Counter::default() })
    }

    #[inline]
    pub(crate) fn record(&self, value_us: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(value_us)) {
            bucket.increment();
        }
        self.sum_us.add(value_us);
    }
}

#[inline]
fn bucket_of(value_us: u64) -> usize {
    let value = value_us.min(MAX_US);
    if value < LINEAR {
        return value as usize;
    }
    let exponent = 63 - value.leading_zeros();
    let step = (value >> (exponent - STEP_BITS)) as usize - STEPS;
    LINEAR as usize + (exponent as usize - 6) * STEPS + step
}

/// Lowest and highest value that fall into a bucket.
fn bounds_of(bucket: usize) -> (u64, u64) {
    if bucket < LINEAR as usize {
        return (bucket as u64, bucket as u64);
    }
    let above = bucket - LINEAR as usize;
    let shift = (above / STEPS) as u32 + 1;
    let low = ((STEPS + above % STEPS) as u64) << shift;
    (low, low + (1 << shift) - 1)
}

/// A reader's sum of several cores' histograms.
#[derive(Debug)]
pub(crate) struct Merged {
    counts: Vec<u64>,
    pub(crate) sum_us: u64,
}

impl Merged {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], sum_us: 0 }
    }

    pub(crate) fn add(&mut self, histogram: &LatencyHistogram) {
        // The sum first: a value recorded meanwhile then shows in the count and not yet in the sum, never a sum
        // without its count.
        self.sum_us = self.sum_us.wrapping_add(histogram.sum_us.get());
        for (total, bucket) in self.counts.iter_mut().zip(&histogram.buckets) {
            *total += bucket.get();
        }
    }

    pub(crate) fn absorb(&mut self, other: &Self) {
        self.sum_us = self.sum_us.wrapping_add(other.sum_us);
        for (total, count) in self.counts.iter_mut().zip(&other.counts) {
            *total += count;
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many values are at or below each bound (ascending, µs), counting a bucket when all of it is.
    pub(crate) fn cumulative(&self, bounds_us: &[u64]) -> Vec<u64> {
        let mut answer = Vec::with_capacity(bounds_us.len());
        let mut buckets = self.counts.iter().enumerate().peekable();
        let mut seen = 0;
        for bound in bounds_us {
            while let Some((_, count)) = buckets.next_if(|(index, _)| bounds_of(*index).1 <= *bound) {
                seen += count;
            }
            answer.push(seen);
        }
        answer
    }

    /// `None` without a single value.
    pub(crate) fn quantiles(&self) -> Option<Quantiles> {
        let mut hdr = HdrHistogram::<u64>::new_with_bounds(1, MAX_US + 1, 3).ok()?;
        for (index, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let (low, high) = bounds_of(index);
            hdr.saturating_record_n(low + (high - low) / 2, *count);
        }
        (!hdr.is_empty()).then(|| Quantiles {
            p50_us: hdr.value_at_quantile(0.50),
            p90_us: hdr.value_at_quantile(0.90),
            p99_us: hdr.value_at_quantile(0.99),
            max_us: hdr.max(),
        })
    }
}

/// Latencies in microseconds since start, each within 3%.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// Half of the requests took at most this long.
    pub p50_us: u64,
    /// Nine in ten.
    pub p90_us: u64,
    /// 99 in a hundred.
    pub p99_us: u64,
    /// The slowest.
    pub max_us: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_within_the_bounds_of_its_bucket() {
        let mut value = 0_u64;
        while value < MAX_US {
            for near in [value.saturating_sub(1), value, value + 1] {
                let (low, high) = bounds_of(bucket_of(near));
                assert!(low <= near && near <= high, "{near} not in {low}..={high}");
                assert!((high - low) as f64 <= low as f64 / 31.9, "{low}..={high} is too wide");
            }
            value = value + value / 7 + 1;
        }
    }

    #[test]
    fn buckets_tile_the_range_without_gap() {
        let mut next = 0;
        for bucket in 0..BUCKETS {
            let (low, high) = bounds_of(bucket);
            assert_eq!(low, next, "bucket {bucket}");
            next = high + 1;
        }
        assert_eq!(next, MAX_US + 1);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn cumulative_counts_are_monotonic_and_end_with_the_total() {
        let histogram = LatencyHistogram::new();
        for value in [0, 5, 99, 100, 1_000, 5_000, 40_000, u64::MAX] {
            histogram.record(value);
        }
        let mut merged = Merged::new();
        merged.add(&histogram);
        assert_eq!(merged.cumulative(&[63, 128, 1_100, 10_000, MAX_US]), [2, 4, 5, 6, 8]);
        assert_eq!(merged.count(), 8);
    }

    #[test]
    fn quantiles_are_within_three_percent() {
        let (left, right) = (LatencyHistogram::new(), LatencyHistogram::new());
        for value in 1..=100_000_u64 {
            if value % 2 == 0 { &left } else { &right }.record(value);
        }
        let mut merged = Merged::new();
        merged.add(&left);
        merged.add(&right);
        let quantiles = merged.quantiles().unwrap();
        for (got, want) in
            [(quantiles.p50_us, 50_000.0), (quantiles.p90_us, 90_000.0), (quantiles.p99_us, 99_000.0)]
        {
            assert!((got as f64 - want).abs() / want < 0.032, "{got} for {want}");
        }
        assert_eq!(merged.sum_us, (1..=100_000_u64).sum::<u64>());
        assert_eq!(Merged::new().quantiles(), None);
    }
}
