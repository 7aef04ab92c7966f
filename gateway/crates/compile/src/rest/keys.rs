//! API keys, and what usage plans grant them.
//!
//! A key that no plan opens a stage for is good for nothing there (developer guide, "Usage plans and API keys for REST APIs").
//! Throttles and quotas of a plan are each key's own.

use crate::registry::{PoolName, Registry};
use crate::{Now, SlotAllocator};
use sluice_catalog::{self as catalog, Catalog, Throttle, UsagePlan};
use sluice_snapshot::{ApiKey, Grant, KeyTable, Limit, QuotaPlan};
use sluice_throttle::{Period, Quota, QuotaCount, Rate};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Numbers of stages, by API and name.
#[derive(Debug, Default)]
pub(crate) struct StageIds(HashMap<(Arc<str>, Arc<str>), u32>);

impl StageIds {
    pub(crate) fn id(&mut self, api: &str, stage: &str) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry((api.into(), stage.into())).or_insert(next)
    }
}

/// The keys as they were compiled last.
#[derive(Debug, Default)]
pub(crate) struct KnownKeys {
    by_id: HashMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    key: Arc<catalog::ApiKey>,
    plans: Vec<Arc<UsagePlan>>,
    compiled: Arc<ApiKey>,
}

/// A quota that counts, to be asked and set while it does.
#[derive(Clone, Debug)]
pub struct QuotaHandle {
    /// Id of the plan.
    pub plan: String,
    /// Id of the key.
    pub key: String,
    /// How long its periods are.
    pub period: Period,
    /// The count.
    pub quota: Arc<Quota>,
}

/// All quotas that ever counted in this process. Apart from the registry: who keeps the counts must not wait for a
/// publication.
#[derive(Clone, Debug, Default)]
pub struct QuotaList(Arc<Mutex<Vec<QuotaHandle>>>);

impl QuotaList {
    fn lock(&self) -> MutexGuard<'_, Vec<QuotaHandle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As of now.
    #[must_use]
    pub fn all(&self) -> Vec<QuotaHandle> {
        self.lock().clone()
    }

    /// That of a key under a plan.
    #[must_use]
    pub fn find(&self, plan: &str, key: &str) -> Option<QuotaHandle> {
        self.lock().iter().find(|handle| handle.plan == plan && handle.key == key).cloned()
    }

    /// `index` is dense: each is the next one, or one that is there.
    fn put(&self, index: u32, handle: QuotaHandle) {
        let mut all = self.lock();
        match all.get_mut(index as usize) {
            Some(known) => *known = handle,
            None => all.push(handle),
        }
    }
}

/// A count that was kept from an earlier process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaCounted {
    /// Id of the plan.
    pub plan: String,
    /// Id of the key.
    pub key: String,
    /// How long the periods are.
    pub period: Period,
    /// What was used in which.
    pub count: QuotaCount,
    /// What was granted beyond the limit in that period.
    pub bonus: u64,
}

/// A quota's period, as it is counted.
#[must_use]
pub const fn period(of: catalog::Period) -> Period {
    match of {
        catalog::Period::Day => Period::Day,
        catalog::Period::Week => Period::Week,
        catalog::Period::Month => Period::Month,
    }
}

/// Quotas by plan and key. One for the life of the process.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    by_name: HashMap<(String, String), QuotaPlan>,
    kept: HashMap<(String, String), QuotaCounted>,
    pub(crate) list: QuotaList,
}

impl Quotas {
    /// Those that are compiled from now on begin with what was kept.
    pub(crate) fn restore(&mut self, kept: impl IntoIterator<Item = QuotaCounted>) {
        self.kept.extend(kept.into_iter().map(|kept| ((kept.plan.clone(), kept.key.clone()), kept)));
    }

    /// The quota of a key. One of another period than before counts anew; a new limit holds at once.
    fn plan(&mut self, plan: &str, key: &str, quota: &catalog::Quota, slot: u32, now: Now) -> QuotaPlan {
        let period = period(quota.period);
        let name = (plan.to_owned(), key.to_owned());
        let next = u32::try_from(self.by_name.len()).unwrap_or(u32::MAX);
        let limit = u64::from(quota.limit);
        if let Some(known) = self.by_name.get(&name).filter(|known| known.period == period) {
            known.quota.set_limit(limit);
            return known.clone();
        }
        let index = self.by_name.get(&name).map_or(next, |known| known.index);
        // `offset`: taken off the first period.
        let first = QuotaCount { period: period.number(now.unix_s), used: u64::from(quota.offset) };
        // One that was kept of another period says nothing.
        let kept = self.kept.remove(&name).filter(|kept| kept.period == period);
        let count = kept.as_ref().map_or(first, |kept| kept.count);
        let counts = Quota::new(limit, count);
        counts.set_bonus(count.period, kept.map_or(0, |kept| kept.bonus));
        let handle =
            QuotaHandle { plan: plan.to_owned(), key: key.to_owned(), period, quota: Arc::clone(&counts) };
        self.list.put(index, handle);
        let plan = QuotaPlan { index, quota: counts, period, slot };
        self.by_name.insert(name, plan.clone());
        plan
    }
}

/// All keys. Those that are what they were, under plans that are what they were, are taken over.
pub(super) fn table(
    catalog: &Catalog,
    registry: &mut Registry,
    slots: &mut dyn SlotAllocator,
    now: Now,
) -> Arc<KeyTable> {
    let mut plans: HashMap<&str, Vec<&Arc<UsagePlan>>> = HashMap::new();
    for plan in catalog.usage_plans.values() {
        for key in plan.keys.keys() {
            plans.entry(key).or_default().push(plan);
        }
    }
    let mut known = std::mem::take(&mut registry.rest_keys.by_id);
    let mut kept = HashMap::with_capacity(catalog.api_keys.len());
    let mut table = KeyTable::default();
    for (id, key) in &catalog.api_keys {
        let plans = plans.remove(id.as_str()).unwrap_or_default();
        let before = known.remove(id).filter(|known| {
            Arc::ptr_eq(&known.key, key)
                && known.plans.len() == plans.len()
                && known.plans.iter().zip(&plans).all(|(mine, theirs)| Arc::ptr_eq(mine, theirs))
        });
        let compiled = match before {
            Some(before) => before.compiled,
            None => Arc::new(compile(key, &plans, registry, slots, now)),
        };
        let place = u32::try_from(table.keys.len()).unwrap_or(u32::MAX);
        table.by_value.insert(key.value.as_bytes().into(), place);
        table.keys.push(Arc::clone(&compiled));
        let plans = plans.into_iter().map(Arc::clone).collect();
        kept.insert(id.clone(), Known { key: Arc::clone(key), plans, compiled });
    }
    registry.rest_keys.by_id = kept;
    Arc::new(table)
}

fn compile(
    key: &catalog::ApiKey,
    plans: &[&Arc<UsagePlan>],
    registry: &mut Registry,
    slots: &mut dyn SlotAllocator,
    now: Now,
) -> ApiKey {
    let mut grants = Vec::new();
    for plan in plans {
        let slot = slots.limit_slot(&format!("usage plan {}", plan.id));
        let (plan_id, key_id): (Arc<str>, Arc<str>) = (plan.id.as_str().into(), key.id.as_str().into());
        let mut pool = |name: PoolName, throttle: &Throttle| {
            let rate = Rate { per_second: throttle.rate_limit, burst: throttle.burst_limit };
            let (index, pool) = registry.pool(name, rate, now.ns);
            Limit::Pool { index, pool, slot }
        };
        let of_plan = PoolName::Plan { plan: Arc::clone(&plan_id), key: Arc::clone(&key_id) };
        let limit = plan.throttle.as_ref().map(|throttle| pool(of_plan, throttle));
        let mut stages = Vec::with_capacity(plan.api_stages.len());
        for stage in &plan.api_stages {
            let mut methods = Vec::new();
            for (place, throttle) in &stage.throttle {
                let Some((path, method)) = place.rsplit_once('/') else { continue };
                let named = format!("{}/{}{place}", stage.api_id, stage.stage).into();
                let name = PoolName::PlanMethod {
                    plan: Arc::clone(&plan_id),
                    key: Arc::clone(&key_id),
                    method: named,
                };
                let path = if path.is_empty() { "/" } else { path };
                methods.push((path.into(), method.into(), pool(name, throttle)));
            }
            stages.push((stage, methods));
        }
        let quota = plan.quota.as_ref();
        let quota = quota.map(|quota| registry.quotas.plan(&plan.id, &key.id, quota, slot, now));
        for (stage, methods) in stages {
            let stage = registry.stages.id(&stage.api_id, &stage.stage);
            grants.push(Grant { stage, limit: limit.clone(), methods, quota: quota.clone() });
        }
    }
    let name = key.id.as_str();
    ApiKey {
        name: name.into(),
        enabled: key.enabled,
        limits: Vec::new(),
        grants,
        metrics_slot: slots.key_slot(name),
    }
}

/// The limit of the account.
pub(super) fn account(
    catalog: &Catalog,
    registry: &mut Registry,
    slots: &mut dyn SlotAllocator,
    now: Now,
) -> Option<Limit> {
    if catalog.rest_apis.is_empty() {
        return None;
    }
    let throttle = &catalog.account.throttle_settings;
    let rate = Rate { per_second: throttle.rate_limit, burst: throttle.burst_limit };
    let (index, pool) = registry.pool(PoolName::Account, rate, now.ns);
    Some(Limit::Pool { index, pool, slot: slots.limit_slot("account") })
}
