//! Usage plans, and the API keys in them.

use super::fault::Fault;
use super::input::Input;
use super::patch::{Patch, patches};
use super::{Answer, Call, Reply, api_keys, ids, page, show};
use serde_json::{Map, Value, json};
use sluice_catalog::{ApiStage, Catalog, Period, Quota, Throttle, UsagePlan, UsagePlanKey};
use std::collections::BTreeMap;
use std::sync::Arc;

const UNKNOWN: &str = "Invalid Usage Plan identifier specified";
/// AWS's quotas.
const PLANS_MAX: usize = 300;
const PLANS_OF_KEY_MAX: usize = 10;

fn view(plan: &UsagePlan) -> Value {
    let mut out = show(plan);
    if let Value::Object(members) = &mut out {
        members.remove("keys");
    }
    out
}

/// Takes stages out of all plans.
pub(crate) fn forget_stages(catalog: &mut Catalog, gone: impl Fn(&ApiStage) -> bool) {
    for plan in catalog.usage_plans.values_mut().filter(|plan| plan.api_stages.iter().any(&gone)) {
        Arc::make_mut(plan).api_stages.retain(|stage| !gone(stage));
    }
}

pub(crate) fn find<'c>(catalog: &'c Catalog, call: &Call) -> Result<&'c Arc<UsagePlan>, Fault> {
    catalog.usage_plans.get(call.param("usageplan_id")).ok_or_else(|| Fault::not_found(UNKNOWN))
}

pub(crate) fn list(catalog: &Catalog, call: &Call) -> Answer {
    let key = call.query("keyId");
    let plans =
        catalog.usage_plans.iter().filter(|(_, plan)| key.is_none_or(|id| plan.keys.contains_key(id)));
    page::page(call, plans.map(|(id, plan)| (id.as_str(), plan)), |plan| view(plan))
}

pub(crate) fn get(catalog: &Catalog, call: &Call) -> Answer {
    Ok(Reply::ok(view(find(catalog, call)?)))
}

pub(crate) fn create(catalog: &mut Catalog, call: &Call) -> Answer {
    let input = call.input()?;
    let name = input.text("name")?.filter(|name| !name.is_empty());
    let mut plan = UsagePlan {
        id: ids::id(6),
        name: name.ok_or_else(|| Fault::bad_request("Usage Plan name cannot be empty"))?,
        description: input.text("description")?,
        tags: input.tags()?,
        ..UsagePlan::default()
    };
    for item in input.list("apiStages")?.into_iter().flatten() {
        let given = Input::of(item)?;
        let mut throttle = BTreeMap::new();
        for (method, limits) in given.structures("throttle")? {
            throttle.insert(method, read_throttle(&limits)?);
        }
        let stage = ApiStage {
            api_id: given.text("apiId")?.unwrap_or_default(),
            stage: given.text("stage")?.unwrap_or_default(),
            throttle,
        };
        add_stage(catalog, &mut plan, stage)?;
    }
    if input.has("throttle") {
        plan.throttle = Some(read_throttle(&input.structure("throttle")?)?);
    }
    if input.has("quota") {
        plan.quota = Some(read_quota(&input.structure("quota")?)?);
    }
    if catalog.usage_plans.len() >= PLANS_MAX {
        return Err(Fault::new(429, "LimitExceededException", "Usage Plans limit exceeded"));
    }
    let body = view(&plan);
    catalog.usage_plans.insert(plan.id.clone(), Arc::new(plan));
    Ok(Reply::created(body))
}

fn add_stage(catalog: &Catalog, plan: &mut UsagePlan, stage: ApiStage) -> Result<(), Fault> {
    let (api, name) = (&stage.api_id, &stage.stage);
    if !catalog.rest_apis.get(api).is_some_and(|api| api.stages.contains_key(name)) {
        return Err(Fault::not_found(format!("API Stage not found: {api}:{name}")));
    }
    if plan.api_stages.iter().any(|one| one.api_id == *api && one.stage == *name) {
        return Err(Fault::conflict(format!("Usage Plan {} already has API stage {api}:{name}", plan.id)));
    }
    plan.api_stages.push(stage);
    Ok(())
}

fn burst(limit: i64) -> Result<u32, Fault> {
    u32::try_from(limit)
        .map_err(|_| Fault::bad_request("Usage Plan throttle burst limit must not be negative"))
}

fn rate(limit: f64) -> Result<f64, Fault> {
    if limit >= 0.0 {
        Ok(limit)
    } else {
        Err(Fault::bad_request("Usage Plan throttle rate limit must not be negative"))
    }
}

fn read_throttle(input: &Input<'_>) -> Result<Throttle, Fault> {
    Ok(Throttle {
        burst_limit: burst(input.integer("burstLimit")?.unwrap_or(0))?,
        rate_limit: rate(input.number("rateLimit")?.unwrap_or(0.0))?,
    })
}

fn period(text: &str, at: &str) -> Result<Period, Fault> {
    Ok(match text {
        "DAY" => Period::Day,
        "WEEK" => Period::Week,
        "MONTH" => Period::Month,
        other => return Err(Fault::not_in_set(other, at, "WEEK, MONTH, DAY")),
    })
}

fn read_quota(input: &Input<'_>) -> Result<Quota, Fault> {
    let text = input.text("period")?.unwrap_or_default();
    let quota = Quota {
        limit: quota_number(input.integer("limit")?.unwrap_or(0), "limit")?,
        offset: quota_number(input.integer("offset")?.unwrap_or(0), "offset")?,
        period: period(&text, "createUsagePlanInput.quota.period")?,
    };
    check_quota(&quota)?;
    Ok(quota)
}

fn quota_number(number: i64, what: &str) -> Result<u32, Fault> {
    let wrong = || Fault::bad_request(format!("Usage Plan quota {what} must not be negative"));
    u32::try_from(number).map_err(|_| wrong())
}

fn check_quota(quota: &Quota) -> Result<(), Fault> {
    if quota.limit == 0 {
        return Err(Fault::bad_request("Usage Plan quota limit must be greater than 0"));
    }
    // "The number of requests subtracted from the given limit in the initial time period."
    if quota.offset > quota.limit {
        return Err(Fault::bad_request("Usage Plan quota offset must not be greater than its limit"));
    }
    Ok(())
}

pub(crate) fn delete(catalog: &mut Catalog, call: &Call) -> Answer {
    let plan = find(catalog, call)?;
    if !plan.api_stages.is_empty() {
        let text = format!("Usage Plan {} cannot be deleted because it has associated API stages", plan.id);
        return Err(Fault::bad_request(text));
    }
    catalog.usage_plans.remove(call.param("usageplan_id"));
    Ok(Reply::accepted())
}

pub(crate) fn update(catalog: &mut Catalog, call: &Call) -> Answer {
    let mut plan = UsagePlan::clone(find(catalog, call)?);
    // The parts of a new quota come one by one: it is checked as a whole at the end.
    let mut quota = Parts::of(plan.quota.as_ref());
    for patch in patches(call, "updateUsagePlanInput")? {
        match patch.parts().as_slice() {
            ["quota"] => {
                patch.needs(&["remove"])?;
                quota = Parts::default();
            }
            ["quota", name] => quota.set(name, &patch)?,
            _ => apply(catalog, &mut plan, &patch)?,
        }
    }
    plan.quota = quota.whole()?;
    let body = view(&plan);
    catalog.usage_plans.insert(plan.id.clone(), Arc::new(plan));
    Ok(Reply::ok(body))
}

#[derive(Default)]
struct Parts {
    limit: Option<u32>,
    offset: Option<u32>,
    period: Option<Period>,
}

impl Parts {
    fn of(quota: Option<&Quota>) -> Self {
        quota.map_or_else(Self::default, |quota| Self {
            limit: Some(quota.limit),
            offset: Some(quota.offset),
            period: Some(quota.period),
        })
    }

    fn set(&mut self, name: &str, patch: &Patch) -> Result<(), Fault> {
        patch.needs(&["add", "replace"])?;
        match name {
            "limit" => self.limit = Some(quota_number(patch.integer()?, name)?),
            "offset" => self.offset = Some(quota_number(patch.integer()?, name)?),
            "period" => self.period = Some(period(&patch.text(), "updateUsagePlanInput.quota.period")?),
            _ => return Err(patch.bad_path()),
        }
        Ok(())
    }

    fn whole(self) -> Result<Option<Quota>, Fault> {
        let quota = match (self.limit, self.period) {
            (None, None) => return Ok(None),
            (Some(limit), Some(period)) => Quota { limit, offset: self.offset.unwrap_or(0), period },
            _ => return Err(Fault::bad_request("Usage Plan quota must have a limit and a period")),
        };
        check_quota(&quota)?;
        Ok(Some(quota))
    }
}

fn apply(catalog: &Catalog, plan: &mut UsagePlan, patch: &Patch) -> Result<(), Fault> {
    match patch.parts().as_slice() {
        ["name"] => {
            patch.needs(&["replace"])?;
            let empty = || Fault::bad_request("Usage Plan name cannot be empty");
            plan.name = patch.optional().ok_or_else(empty)?;
        }
        ["description"] => plan.description = patch.replacement()?,
        ["productCode"] => {
            patch.needs(&["add", "replace", "remove"])?;
            plan.product_code = patch.optional();
        }
        ["throttle"] => {
            patch.needs(&["remove"])?;
            plan.throttle = None;
        }
        ["throttle", name] => limit(plan.throttle.get_or_insert_default(), name, patch)?,
        ["apiStages"] => {
            patch.needs(&["add", "remove"])?;
            let text = patch.text();
            let (api, name) = text.split_once(':').ok_or_else(|| not_a_stage(&text))?;
            if patch.removes() {
                let before = plan.api_stages.len();
                plan.api_stages.retain(|stage| !(stage.api_id == api && stage.stage == name));
                if plan.api_stages.len() == before {
                    return Err(Fault::not_found(format!("API Stage not found: {text}")));
                }
            } else {
                let stage =
                    ApiStage { api_id: api.to_owned(), stage: name.to_owned(), throttle: BTreeMap::new() };
                add_stage(catalog, plan, stage)?;
            }
        }
        ["apiStages", stage, "throttle", rest @ ..] => stage_throttle(plan, stage, patch, rest)?,
        _ => return Err(patch.bad_path()),
    }
    Ok(())
}

fn not_a_stage(text: &str) -> Fault {
    Fault::bad_request(format!("Invalid API Stage {{apiId}}:{{stage}} specified: {text}"))
}

fn limit(throttle: &mut Throttle, name: &str, patch: &Patch) -> Result<(), Fault> {
    patch.needs(&["add", "replace"])?;
    match name {
        "burstLimit" => throttle.burst_limit = burst(patch.integer()?)?,
        "rateLimit" => throttle.rate_limit = rate(patch.number()?)?,
        _ => return Err(patch.bad_path()),
    }
    Ok(())
}

/// `/apiStages/{api:stage}/throttle/{resource path}/{method}/{rateLimit|burstLimit}`; without the last, the whole of it.
fn stage_throttle(plan: &mut UsagePlan, stage: &str, patch: &Patch, rest: &[&str]) -> Result<(), Fault> {
    let (api, name) = stage.split_once(':').ok_or_else(|| not_a_stage(stage))?;
    let found = plan.api_stages.iter_mut().find(|one| one.api_id == api && one.stage == name);
    let found = found.ok_or_else(|| Fault::not_found(format!("API Stage not found: {stage}")))?;
    match rest {
        [] => {
            patch.entries(&mut found.throttle, |limits| read_throttle(&Input::of(limits).ok()?).ok())?;
        }
        [method @ .., limit_name @ ("rateLimit" | "burstLimit")] => {
            let key = method_key(method);
            limit(found.throttle.entry(key).or_default(), limit_name, patch)?;
        }
        method => {
            patch.needs(&["remove"])?;
            found.throttle.remove(&method_key(method));
        }
    }
    Ok(())
}

/// `/pets/GET`, however its slashes were written.
fn method_key(segments: &[&str]) -> String {
    let joined = segments.join("/");
    if joined.starts_with('/') { joined } else { format!("/{joined}") }
}

/// A key in a plan tells more than the membership.
fn key_view(catalog: &Catalog, member: &UsagePlanKey) -> Value {
    let mut out = Map::new();
    out.insert("id".to_owned(), json!(member.id));
    out.insert("type".to_owned(), json!(member.key_type));
    if let Some(key) = catalog.api_keys.get(&member.id) {
        out.insert("value".to_owned(), json!(key.value));
        if let Some(name) = &key.name {
            out.insert("name".to_owned(), json!(name));
        }
    }
    Value::Object(out)
}

pub(crate) fn list_keys(catalog: &Catalog, call: &Call) -> Answer {
    let plan = find(catalog, call)?;
    let prefix = call.query("name").unwrap_or_default();
    let named = |id: &str| {
        catalog.api_keys.get(id).and_then(|key| key.name.as_deref()).unwrap_or_default().starts_with(prefix)
    };
    let members = plan.keys.iter().filter(|(id, _)| named(id)).map(|(id, member)| (id.as_str(), member));
    page::page(call, members, |member| key_view(catalog, member))
}

pub(crate) fn get_key(catalog: &Catalog, call: &Call) -> Answer {
    let member = find(catalog, call)?.keys.get(call.param("key_id"));
    let member = member.ok_or_else(|| Fault::not_found(api_keys::UNKNOWN));
    Ok(Reply::ok(key_view(catalog, member?)))
}

pub(crate) fn create_key(catalog: &mut Catalog, call: &Call) -> Answer {
    let input = call.input()?;
    let id = input.text("keyId")?.unwrap_or_default();
    let key_type = input.text("keyType")?.unwrap_or_default();
    if key_type != "API_KEY" {
        return Err(Fault::bad_request(format!("Invalid key type {key_type}. Valid options are API_KEY")));
    }
    let plan = find(catalog, call)?;
    if !catalog.api_keys.contains_key(&id) {
        return Err(Fault::not_found(api_keys::UNKNOWN));
    }
    if plan.keys.contains_key(&id) {
        return Err(Fault::conflict(format!("Usage Plan {} already has API Key {id}", plan.id)));
    }
    let others: Vec<_> = catalog.usage_plans.values().filter(|one| one.keys.contains_key(&id)).collect();
    if others.len() >= PLANS_OF_KEY_MAX {
        return Err(Fault::new(429, "LimitExceededException", "Usage Plans per API Key limit exceeded"));
    }
    let shared = plan.api_stages.iter().find(|stage| {
        let same = |one: &ApiStage| one.api_id == stage.api_id && one.stage == stage.stage;
        others.iter().any(|other| other.api_stages.iter().any(same))
    });
    if let Some(stage) = shared {
        return Err(Fault::conflict(format!(
            "Usage Plan {} cannot be added because API Key cannot reference multiple Usage Plans with the same API stage: {}:{}",
            plan.id, stage.api_id, stage.stage
        )));
    }
    let member = UsagePlanKey { id: id.clone(), key_type };
    let body = key_view(catalog, &member);
    if let Some(plan) = catalog.usage_plans.get_mut(call.param("usageplan_id")) {
        Arc::make_mut(plan).keys.insert(id, member);
    }
    Ok(Reply::created(body))
}

pub(crate) fn delete_key(catalog: &mut Catalog, call: &Call) -> Answer {
    let id = call.param("key_id");
    if !find(catalog, call)?.keys.contains_key(id) {
        return Err(Fault::not_found(api_keys::UNKNOWN));
    }
    if let Some(plan) = catalog.usage_plans.get_mut(call.param("usageplan_id")) {
        Arc::make_mut(plan).keys.remove(id);
    }
    Ok(Reply::accepted())
}
