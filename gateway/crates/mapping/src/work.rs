//! How much checking and mapping a message may take.

use sluice_jsonpath::{Budget, JavaPattern};
use std::cell::Cell;

/// What a data core does of one message before it hands it over: at 20 to 40 nanoseconds a unit, less than two milliseconds.
const ON_CORE: u64 = 40_000;
/// What is done elsewhere, beside what the body's length adds: some 50 milliseconds of a thread that serves nobody else.
const APART: u64 = 2_000_000;

/// What may still be done for a message: templates, models, paths and patterns all draw on it, in units of [`Budget`].
///
/// Whoever runs on a data core starts [there](Self::on_core), and where that [was not enough](Self::is_short) forgets the
/// outcome and starts again [elsewhere](Self::apart): nobody else waits for it then.
#[derive(Debug)]
pub struct Work {
    left: Cell<u64>,
    is_short: Cell<bool>,
}

impl Work {
    /// On a data core.
    #[must_use]
    pub const fn on_core() -> Self {
        Self { left: Cell::new(ON_CORE), is_short: Cell::new(false) }
    }

    /// On a thread that nobody else waits for, with a body of so many bytes. What must be looked at grows with that.
    #[must_use]
    pub const fn apart(body_bytes: usize) -> Self {
        Self { left: Cell::new(APART + 2 * body_bytes as u64), is_short: Cell::new(false) }
    }

    /// Whether something was given up because it would have taken more.
    #[must_use]
    pub const fn is_short(&self) -> bool {
        self.is_short.get()
    }

    pub(crate) const fn left(&self) -> u64 {
        self.left.get()
    }

    pub(crate) fn spend(&self, units: u64) {
        self.left.set(self.left.get().saturating_sub(units));
    }

    pub(crate) fn run_short(&self) {
        self.is_short.set(true);
    }

    /// Does what takes a budget, of `most` units at most, and remembers what it took. If that was all that is left, nobody can
    /// tell whether it was enough.
    pub(crate) fn draw<T>(&self, most: u64, what: impl FnOnce(&mut Budget) -> T) -> T {
        let given = most.min(self.left());
        let mut budget = Budget::new(given);
        let outcome = what(&mut budget);
        self.spend(given - budget.left());
        if budget.left() == 0 {
            self.run_short();
        }
        outcome
    }

    /// Whether the pattern matches the whole text; one that takes too long does not.
    pub(crate) fn matches(&self, pattern: &JavaPattern, text: &str) -> bool {
        self.draw(self.left(), |budget| pattern.matches_within(text, budget).unwrap_or(false))
    }
}

#[cfg(test)]
mod tests {
    use super::{ON_CORE, Work};
    use sluice_jsonpath::JavaPattern;

    #[test]
    fn all_draw_on_the_same_work_and_it_is_told_when_that_was_not_enough() {
        let work = Work::on_core();
        let taken = work.draw(100, |budget| budget.spend(60));
        assert!(taken.is_ok() && !work.is_short());
        assert_eq!(work.left(), ON_CORE - 60);
        assert!(work.draw(u64::MAX, |budget| budget.spend(ON_CORE)).is_err());
        assert!(work.is_short());
        assert_eq!(work.left(), 0);
        assert!(!work.matches(&JavaPattern::new("a*", "").unwrap(), "aaaaaaaa"));
    }

    #[test]
    fn a_limit_of_its_own_is_not_what_runs_short() {
        let work = Work::apart(0);
        assert!(work.draw(100, |budget| budget.spend(90)).is_ok());
        assert!(!work.is_short());
    }
}
