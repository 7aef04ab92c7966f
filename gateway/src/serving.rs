//! What serves, as the control plane asks it.

use crate::publish::Publisher;
use crate::trial;
use crate::usage::Keeper;
use sluice_control::{Serving, Trial, TrialError, TrialOutcome};
use std::ops::RangeInclusive;
use std::sync::Arc;

pub(crate) struct Served {
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) keeper: Arc<Keeper>,
    /// As the data cores run.
    pub(crate) engine: sluice_rt::Config,
}

impl Serving for Served {
    fn try_out(&self, trial: Trial) -> Result<TrialOutcome, TrialError> {
        trial::run(&self.publisher, &self.engine, &trial)
    }

    fn used(&self, plan: &str, key: &str, days: RangeInclusive<u32>) -> Option<Vec<(u64, u64)>> {
        self.keeper.days(plan, key, *days.start(), *days.end())
    }

    fn set_left(&self, plan: &str, key: &str, left: u64) -> bool {
        self.keeper.set_left(plan, key, left)
    }
}
