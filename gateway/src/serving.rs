//! What serves, as the control plane asks it.

use crate::feed::Feed;
use crate::publish::Publisher;
use crate::trial;
use crate::usage::Keeper;
use sluice_control::{Serving, Trial, TrialError, TrialOutcome};
use sluice_store::StoreError;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// How long the answer to a change waits for it to be served. Then it is answered all the same: it is on the disk.
const SETTLE_PATIENCE: Duration = Duration::from_secs(2);
/// The same for a whole catalog.
const SETTLE_ALL_PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Served {
    pub(crate) feed: Arc<Feed>,
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

    fn set_left(&self, plan: &str, key: &str, left: u64) -> Result<bool, StoreError> {
        self.keeper.set_left(plan, key, left)
    }

    fn settle(&self) {
        self.feed.settle(SETTLE_PATIENCE);
    }

    fn settle_all(&self) -> u64 {
        self.feed.settle(SETTLE_ALL_PATIENCE);
        self.publisher.current().generation
    }
}
