//! Smooth weighted round robin, and draws by weight.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

/// Spreads choices in proportion to weights without bursts: weights 5, 1, 1 give a a b a c a a, not a a a a a b c.
pub(crate) struct Balancer {
    entries: Vec<Entry>,
}

struct Entry {
    weight: i64,
    current: i64,
}

impl Balancer {
    pub(crate) fn new(weights: impl Iterator<Item = u32>) -> Self {
        Self { entries: weights.map(|w| Entry { weight: i64::from(w.max(1)), current: 0 }).collect() }
    }

    /// The next index among those that `eligible` admits.
    pub(crate) fn next(&mut self, eligible: impl Fn(usize) -> bool) -> Option<usize> {
        let mut total = 0;
        let mut best: Option<(usize, i64)> = None;
        for (i, entry) in self.entries.iter_mut().enumerate() {
            if !eligible(i) {
                continue;
            }
            entry.current += entry.weight;
            total += entry.weight;
            if best.is_none_or(|(_, current)| entry.current > current) {
                best = Some((i, entry.current));
            }
        }
        let (i, _) = best?;
        if let Some(entry) = self.entries.get_mut(i) {
            entry.current -= total;
        }
        Some(i)
    }

    /// One of those that `eligible` admits, by chance in proportion to their weights.
    pub(crate) fn draw(&self, eligible: impl Fn(usize) -> bool, dice: &Dice) -> Option<usize> {
        let weights = || self.entries.iter().enumerate().filter(|(i, _)| eligible(*i));
        let total: u64 = weights().map(|(_, entry)| entry.weight.unsigned_abs()).sum();
        let mut left = dice.below(total)?;
        for (i, entry) in weights() {
            left = match left.checked_sub(entry.weight.unsigned_abs()) {
                Some(left) => left,
                None => return Some(i),
            };
        }
        None
    }
}

/// Chance that nobody has to fear: xorshift64 (Marsaglia 2003).
pub(crate) struct Dice(Cell<u64>);

impl Default for Dice {
    fn default() -> Self {
        // Never 0, which it could not leave. Cores and gateways begin differently.
        Self(Cell::new(RandomState::new().hash_one(0_u8) | 1))
    }
}

impl Dice {
    /// A number below `end`, if there is one. The bias towards small ones does not matter below 2^32.
    fn below(&self, end: u64) -> Option<u64> {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.set(x);
        x.checked_rem(end)
    }
}

#[cfg(test)]
mod tests {
    use super::{Balancer, Dice};

    fn draw(balancer: &mut Balancer, n: usize, eligible: impl Fn(usize) -> bool + Copy) -> Vec<usize> {
        (0..n).filter_map(|_| balancer.next(eligible)).collect()
    }

    #[test]
    fn weights_are_kept_without_bursts() {
        let mut b = Balancer::new([5, 1, 1].into_iter());
        assert_eq!(draw(&mut b, 7, |_| true), [0, 0, 1, 0, 2, 0, 0]);
        let many = draw(&mut b, 700, |_| true);
        assert_eq!(many.iter().filter(|i| **i == 0).count(), 500);
    }

    #[test]
    fn ineligible_entries_get_nothing_and_no_backlog() {
        let mut b = Balancer::new([1, 1].into_iter());
        assert_eq!(draw(&mut b, 4, |i| i == 1), [1, 1, 1, 1]);
        let after = draw(&mut b, 10, |_| true);
        assert_eq!(after.iter().filter(|i| **i == 0).count(), 5);
    }

    #[test]
    fn draws_keep_the_weights() {
        let (b, dice) = (Balancer::new([3, 1, 4].into_iter()), Dice::default());
        let mut drawn = [0_u32; 3];
        for _ in 0..8_000 {
            drawn[b.draw(|i| i != 2, &dice).unwrap()] += 1;
        }
        assert!((5_500..6_500).contains(&drawn[0]), "{drawn:?}: three quarters of 8000");
        assert_eq!((drawn[0] + drawn[1], drawn[2]), (8_000, 0));
        assert_eq!(b.draw(|_| false, &dice), None);
    }

    #[test]
    fn nothing_eligible_is_none() {
        assert_eq!(Balancer::new([1].into_iter()).next(|_| false), None);
        assert_eq!(Balancer::new([].into_iter()).next(|_| true), None);
    }
}
