//! Smooth weighted round robin.

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
}

#[cfg(test)]
mod tests {
    use super::Balancer;

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
    fn nothing_eligible_is_none() {
        assert_eq!(Balancer::new([1].into_iter()).next(|_| false), None);
        assert_eq!(Balancer::new([].into_iter()).next(|_| true), None);
    }
}
