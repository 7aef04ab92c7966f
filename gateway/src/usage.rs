//! What keys have used of their quotas: kept in the store, and shown by day.
//!
//! Data cores count; this reads their counts several times a second and keeps those that have moved, in one commit. So a process
//! that ends in good order, or hands over, loses nothing, and one that is killed may have granted a key at most what it
//! asked for since the last look: [`LOOK_MS`] and the time of a commit.

use crate::cores::unix_s;
use sluice_catalog::{self as catalog, Usage};
use sluice_compile::{QuotaCounted, QuotaHandle, QuotaList, period};
use sluice_store::{Store, StoreError};
use sluice_throttle::{Period, QuotaCount};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Duration;

/// Between two looks.
const LOOK_MS: u64 = 200;
const DAY_S: u64 = 86_400;
/// Days are kept for as long: what GetUsage may be asked for.
const DAYS_MAX: u32 = 90;

/// Keeps what is used.
pub(crate) struct Keeper {
    store: Arc<Store>,
    quotas: QuotaList,
    known: Mutex<BTreeMap<(String, String), Known>>,
}

struct Known {
    usage: Usage,
    /// Not kept yet.
    moved: bool,
}

/// As quotas begin with it.
pub(crate) fn counted(usage: &Usage) -> QuotaCounted {
    QuotaCounted {
        plan: usage.plan.clone(),
        key: usage.key.clone(),
        period: period(usage.period),
        count: QuotaCount { period: usage.number, used: usage.used },
        bonus: usage.bonus,
    }
}

const fn shown(period: Period) -> catalog::Period {
    match period {
        Period::Day => catalog::Period::Day,
        Period::Week => catalog::Period::Week,
        Period::Month => catalog::Period::Month,
    }
}

impl Keeper {
    /// Goes on from what was kept. A thread of its own looks from now on, for the life of the process.
    pub(crate) fn start(
        store: Arc<Store>,
        quotas: QuotaList,
        kept: Vec<Usage>,
    ) -> std::io::Result<Arc<Self>> {
        let known = kept.into_iter().map(|usage| {
            let name = (usage.plan.clone(), usage.key.clone());
            (name, Known { usage, moved: false })
        });
        let keeper = Arc::new(Self { store, quotas, known: Mutex::new(known.collect()) });
        let worker = Arc::clone(&keeper);
        Builder::new().name("sluice-usage".into()).spawn(move || worker.work())?;
        Ok(keeper)
    }

    fn work(&self) {
        let mut told = false;
        loop {
            std::thread::sleep(Duration::from_millis(LOOK_MS));
            match self.keep() {
                Ok(()) => told = false,
                // Another process has the file, and the counts.
                Err(StoreError::HandedOver) => {}
                Err(error) if !told => {
                    eprintln!("sluice: error: what keys use of their quotas is not kept: {error}");
                    told = true;
                }
                Err(_) => {}
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<(String, String), Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks, and keeps what has moved.
    pub(crate) fn keep(&self) -> Result<(), StoreError> {
        let mut known = self.known();
        self.look(&mut known);
        let moved: Vec<Usage> = known.values().filter(|one| one.moved).map(|one| one.usage.clone()).collect();
        if moved.is_empty() {
            return Ok(());
        }
        self.store.keep_usage(&moved)?;
        known.values_mut().for_each(|one| one.moved = false);
        Ok(())
    }

    /// Keys whose counts have moved since they were kept last.
    pub(crate) fn unkept(&self) -> usize {
        let known = self.known();
        let is_kept = |handle: &QuotaHandle| {
            let one = known.get(&(handle.plan.clone(), handle.key.clone()));
            let count = handle.quota.count();
            one.is_some_and(|one| {
                !one.moved && one.usage.used == count.used && one.usage.number == count.period
            })
        };
        self.quotas.all().iter().filter(|handle| !is_kept(handle)).count()
    }

    fn look(&self, known: &mut BTreeMap<(String, String), Known>) {
        let today = day(unix_s());
        for handle in self.quotas.all() {
            let count = handle.quota.count();
            let bonus = handle.quota.bonus(count.period);
            let name = (handle.plan.clone(), handle.key.clone());
            let one =
                known.entry(name).or_insert_with(|| Known { usage: fresh(&handle, count), moved: true });
            let same_period = one.usage.period == shown(handle.period) && one.usage.number == count.period;
            if same_period && one.usage.used == count.used && one.usage.bonus == bonus {
                continue;
            }
            let before = if same_period { one.usage.used } else { 0 };
            let day = one.usage.days.entry(today).or_insert((0, 0));
            // Less than before: leases gave back, or an operator has set it.
            day.0 = (day.0 + count.used).saturating_sub(before);
            day.1 = handle.quota.left(count.period);
            one.usage.days.retain(|day, _| *day + DAYS_MAX > today);
            (one.usage.period, one.usage.number) = (shown(handle.period), count.period);
            (one.usage.used, one.usage.bonus, one.moved) = (count.used, bonus, true);
        }
    }

    /// Used and left of each of these days, as far as the key has a quota and they have come.
    pub(crate) fn days(&self, plan: &str, key: &str, from: u32, to: u32) -> Option<Vec<(u64, u64)>> {
        let handle = self.quotas.find(plan, key)?;
        let mut known = self.known();
        self.look(&mut known);
        let days = known.get(&(plan.to_owned(), key.to_owned())).map(|one| one.usage.days.clone());
        let days = days.unwrap_or_default();
        let (limit, number) = (handle.quota.limit(), |day: u32| handle.period.number(u64::from(day) * DAY_S));
        let mut last = days.range(..from).next_back().map(|(day, (_, left))| (number(*day), *left));
        let mut out = Vec::new();
        for day in from..=to.min(day(unix_s())) {
            if let Some((used, left)) = days.get(&day) {
                last = Some((number(day), *left));
                out.push((*used, *left));
            } else {
                let left = last.filter(|(known, _)| *known == number(day)).map_or(limit, |(_, left)| left);
                out.push((0, left));
            }
        }
        Some(out)
    }

    /// Leaves a key so much in the period under way, and keeps that; `false`: it has no quota there. If it cannot be kept the key has what it
    /// had.
    pub(crate) fn set_left(&self, plan: &str, key: &str, left: u64) -> Result<bool, StoreError> {
        let Some(handle) = self.quotas.find(plan, key) else { return Ok(false) };
        let before = handle.quota.left(handle.period.number(unix_s()));
        self.note_left(&handle, left);
        self.keep().inspect_err(|_| self.note_left(&handle, before)).map(|()| true)
    }

    fn note_left(&self, handle: &QuotaHandle, left: u64) {
        let mut known = self.known();
        self.look(&mut known);
        let number = handle.period.number(unix_s());
        handle.quota.set_left(number, left);
        // What was set is no use of today.
        if let Some(one) = known.get_mut(&(handle.plan.clone(), handle.key.clone())) {
            let count = handle.quota.count();
            (one.usage.number, one.usage.used, one.moved) = (number, count.used, true);
            one.usage.bonus = handle.quota.bonus(number);
            one.usage.days.entry(day(unix_s())).or_insert((0, 0)).1 = left;
        }
    }
}

fn day(unix_s: u64) -> u32 {
    u32::try_from(unix_s / DAY_S).unwrap_or(u32::MAX)
}

/// Nothing was kept of it: what it counts now was counted today.
fn fresh(handle: &QuotaHandle, count: QuotaCount) -> Usage {
    Usage {
        plan: handle.plan.clone(),
        key: handle.key.clone(),
        period: shown(handle.period),
        number: count.period,
        used: 0,
        bonus: 0,
        days: BTreeMap::new(),
    }
}
