//! GetUsage and UpdateUsage: what keys have used of their plans' quotas, by day.

use super::fault::Fault;
use super::patch::patches;
use super::{Answer, Call, Reply, Serving, api_keys, page, usage_plans};
use serde_json::{Map, Value, json};
use sluice_calendar::Date;
use sluice_catalog::{Catalog, UsagePlan};

const DAY_S: u64 = 86_400;
/// AWS's longest interval.
const DAYS_MAX: u32 = 90;

pub(crate) fn get(catalog: &Catalog, call: &Call, serving: &dyn Serving) -> Answer {
    let plan = usage_plans::find(catalog, call)?;
    let (from, to) = (date(call, "startDate")?, date(call, "endDate")?);
    if from > to || to - from >= DAYS_MAX {
        let text = format!("Invalid date range: at most {DAYS_MAX} days, and endDate not before startDate");
        return Err(Fault::bad_request(text));
    }
    let only = call.query("keyId");
    if only.is_some_and(|id| !plan.keys.contains_key(id)) {
        return Err(Fault::not_found(api_keys::UNKNOWN));
    }
    let keys = plan.keys.keys().map(String::as_str).filter(|id| only.is_none_or(|only| only == *id));
    let used = |id: &str| Some(json!([id, serving.used(&plan.id, id, from..=to)?]));
    let keys = keys.filter_map(|id| Some((id, used(id)?)));
    // As all lists in pages, but that it is a map by key.
    let reply = page::page(call, keys, |value| value)?;
    let Some(Value::Object(mut members)) = reply.body else { return Ok(Reply::ok(Value::Null)) };
    let values: Map<String, Value> = match members.remove("item") {
        Some(Value::Array(items)) => items.into_iter().filter_map(entry).collect(),
        _ => Map::new(),
    };
    members.insert("values".to_owned(), Value::Object(values));
    Ok(Reply::ok(shown(plan, (from, to), members)))
}

fn entry(pair: Value) -> Option<(String, Value)> {
    let Value::Array(pair) = pair else { return None };
    let [id, days] = <[Value; 2]>::try_from(pair).ok()?;
    Some((id.as_str()?.to_owned(), days))
}

fn shown(plan: &UsagePlan, (from, to): (u32, u32), mut members: Map<String, Value>) -> Value {
    members.insert("usagePlanId".to_owned(), json!(plan.id));
    members.insert("startDate".to_owned(), json!(written(from)));
    members.insert("endDate".to_owned(), json!(written(to)));
    Value::Object(members)
}

/// `/remaining`: what is left to a key in the period under way, more than the quota too.
pub(crate) fn update(catalog: &Catalog, call: &Call, serving: &dyn Serving) -> Answer {
    let (plan, id) = (usage_plans::find(catalog, call)?, call.param("key_id"));
    if !plan.keys.contains_key(id) {
        return Err(Fault::not_found(api_keys::UNKNOWN));
    }
    let mut left = None;
    for patch in patches(call, "updateUsageInput")? {
        patch.replaces_one_of(&["/remaining"])?;
        let value = u64::try_from(patch.integer()?).ok().filter(|left| *left <= u64::from(u32::MAX));
        left = Some(value.ok_or_else(|| Fault::bad_request("Remaining quota must not be negative"))?);
    }
    if let Some(left) = left
        && !serving.set_left(&plan.id, id, left)?
    {
        return Err(Fault::bad_request("Usage Plan has no quota"));
    }
    let today = u32::try_from(call.now_s / DAY_S).unwrap_or(u32::MAX);
    let days = serving.used(&plan.id, id, today..=today).unwrap_or_default();
    let mut members = Map::new();
    members.insert("values".to_owned(), json!({ id: days }));
    Ok(Reply::ok(shown(plan, (today, today), members)))
}

/// A day since 1970.
fn date(call: &Call, name: &str) -> Result<u32, Fault> {
    let text = call.query(name).unwrap_or_default();
    let wrong = || Fault::bad_request(format!("Invalid {name}: expected YYYY-MM-DD, found '{text}'"));
    read(text).ok_or_else(wrong)
}

/// `2016-12-31` to days since 1970.
fn read(text: &str) -> Option<u32> {
    let mut parts = text.split('-');
    let mut part = || parts.next()?.parse::<u32>().ok();
    let (year, month, day) = (part()?, part()?, part()?);
    let date = Date::new(i64::from(year), month.try_into().ok()?, day.try_into().ok()?)?;
    let days = u32::try_from(date.day_of()).ok()?;
    // What is written otherwise is no date here.
    (written(days) == text).then_some(days)
}

fn written(days: u32) -> String {
    let Date { year, month, day } = Date::of_day(i64::from(days));
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::{read, written};

    #[test]
    fn dates_are_days_and_back() {
        for (text, days) in
            [("1970-01-01", 0), ("2000-02-29", 11_016), ("2016-12-31", 17_166), ("2026-11-27", 20_784)]
        {
            assert_eq!((read(text), written(days).as_str()), (Some(days), text));
        }
        for text in [
            "",
            "2016-1-1",
            "2016-13-01",
            "2015-02-29",
            "2016-06-31",
            "2016-06-00",
            "x016-06-01",
            "1969-01-01",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
