//! What an instance does, since when, and for how long it may.

use std::time::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It has not asked for an invocation yet.
    Starting,
    /// It waits for one, since then.
    Waits(Instant),
    /// It has one.
    Runs,
}

/// The supervisor's timer is armed for a time that is never too late, and often too early: it looks, and arms it again. Setting it
/// anew with each invocation would cost two entries to the kernel each time.
#[derive(Debug)]
pub(crate) struct Clock {
    doing: Doing,
    until: Instant,
    armed: Instant,
    /// Since it asked for the first time.
    ready: Option<Instant>,
}

impl Clock {
    pub(crate) const fn new(until: Instant) -> Self {
        Self { doing: Doing::Starting, until, armed: until, ready: None }
    }

    /// It does something else now. Whether the timer must be armed again, because it would come too late.
    #[must_use]
    pub(crate) fn turns(&mut self, doing: Doing, until: Instant) -> bool {
        if let Doing::Waits(since) = doing {
            self.ready.get_or_insert(since);
        }
        (self.doing, self.until) = (doing, until);
        until < self.armed
    }

    /// What the timer is to be armed for.
    pub(crate) const fn arm(&mut self) -> Instant {
        self.armed = self.until;
        self.armed
    }

    /// What it has done for too long, if it has.
    pub(crate) fn due(&self, now: Instant) -> Option<Doing> {
        (now >= self.until).then_some(self.doing)
    }

    /// Since when it waits, if it does.
    pub(crate) const fn waits_since(&self) -> Option<Instant> {
        match self.doing {
            Doing::Waits(since) => Some(since),
            Doing::Starting | Doing::Runs => None,
        }
    }

    pub(crate) const fn ready_since(&self) -> Option<Instant> {
        self.ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_timer_is_armed_again_only_for_what_comes_sooner() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let mut clock = Clock::new(at(10_000));
        assert_eq!((clock.arm(), clock.due(at(9_999)), clock.ready_since()), (at(10_000), None, None));
        assert_eq!(clock.due(at(10_000)), Some(Doing::Starting));
        // It waits for longer than the timer: that comes too early, finds nothing, and is armed again.
        assert!(!clock.turns(Doing::Waits(at(100)), at(300_100)));
        assert_eq!((clock.due(at(10_000)), clock.arm()), (None, at(300_100)));
        // An invocation ends sooner. Those that come after it need nothing.
        assert!(clock.turns(Doing::Runs, at(13_000)));
        assert_eq!(clock.arm(), at(13_000));
        for ms in 10_001..10_100 {
            assert!(!clock.turns(Doing::Waits(at(ms)), at(300_000 + ms)));
            assert!(!clock.turns(Doing::Runs, at(3_000 + ms)));
            assert_eq!(clock.waits_since(), None);
        }
        assert_eq!((clock.due(at(13_000)), clock.arm()), (None, at(13_099)));
        assert_eq!(clock.due(at(13_099)), Some(Doing::Runs));
        assert_eq!(clock.ready_since(), Some(at(100)));
    }
}
