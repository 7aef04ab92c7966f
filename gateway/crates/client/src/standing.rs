//! From single checks to a target's health.

/// How a target stands with its checks.
///
/// ```text
///        `fall` failures in a row            `rise` successes in a row
///  up ----------------------------> down ----------------------------> up
/// ```
/// A target begins as up, and one failure short of being down: nothing is known yet that speaks against it, and the first
/// check tells (as with `HAProxy`'s `rise` and `fall`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    rise: u32,
    fall: u32,
    up: bool,
    /// Results in a row that speak against `up`.
    against: u32,
}

impl Standing {
    /// Nothing has been checked yet.
    #[must_use]
    pub const fn new(rise: u32, fall: u32) -> Self {
        Self { rise, fall, up: true, against: fall.saturating_sub(1) }
    }

    /// Whether the target is to get requests.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.up
    }

    /// The same under other thresholds.
    #[must_use]
    pub const fn renewed(self, rise: u32, fall: u32) -> Self {
        Self { rise, fall, ..self }
    }

    /// Takes in a result; `true`: the target has risen or fallen.
    pub fn note(&mut self, good: bool) -> bool {
        if good == self.up {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let enough = if self.up { self.fall } else { self.rise };
        if self.against < enough {
            return false;
        }
        self.up = good;
        self.against = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Standing;

    /// Results, and after which of them the target stands how: `+` and `-` are results, `U` and `D` what they bring.
    fn run(standing: &mut Standing, results: &str) -> String {
        let mut told = String::new();
        for result in results.chars() {
            told.push(result);
            if standing.note(result == '+') {
                told.push(if standing.is_up() { 'U' } else { 'D' });
            }
        }
        told
    }

    #[test]
    fn the_first_failure_takes_out_what_was_never_seen_to_work() {
        assert_eq!(run(&mut Standing::new(2, 3), "-++"), "-D++U");
        assert_eq!(run(&mut Standing::new(2, 3), "+--+---"), "+--+---D");
    }

    #[test]
    fn only_results_in_a_row_count() {
        let mut standing = Standing::new(2, 2);
        assert_eq!(run(&mut standing, "+-+-+--+-+-++"), "+-+-+--D+-+-++U");
        assert_eq!(run(&mut Standing::new(1, 1), "-+-"), "-D+U-D");
    }

    #[test]
    fn thresholds_change_and_health_stays() {
        let mut standing = Standing::new(2, 2);
        run(&mut standing, "-");
        let mut standing = standing.renewed(1, 5);
        assert!(!standing.is_up());
        assert_eq!(run(&mut standing, "+----"), "+U----");
    }
}
