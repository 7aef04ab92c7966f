//! API keys, one by one and from a CSV file.

use super::fault::Fault;
use super::input::{Input, as_text};
use super::patch::patches;
use super::{Answer, Call, Reply, ids, page, show};
use serde_json::{Value, json};
use sluice_catalog::{ApiKey, Catalog, UsagePlanKey};
use std::sync::Arc;

pub(crate) const UNKNOWN: &str = "Invalid API Key identifier specified";
const VALUE_MIN_CHARS: usize = 20;
const VALUE_MAX_CHARS: usize = 128;
/// AWS's quota.
const KEYS_MAX: usize = 10_000;

pub(crate) fn view(key: &ApiKey, with_value: bool) -> Value {
    let mut out = show(key);
    if let (Value::Object(members), false) = (&mut out, with_value) {
        members.remove("value");
    }
    out
}

fn asked_for(call: &Call, name: &str) -> bool {
    call.query(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

pub(crate) fn list(catalog: &Catalog, call: &Call) -> Answer {
    let (prefix, customer) = (call.query("name").unwrap_or_default(), call.query("customerId"));
    let keys = catalog.api_keys.iter().filter(|(_, key)| {
        key.name.as_deref().unwrap_or_default().starts_with(prefix)
            && customer.is_none_or(|customer| key.customer_id.as_deref() == Some(customer))
    });
    let with_value = asked_for(call, "includeValues");
    page::page(call, keys.map(|(id, key)| (id.as_str(), key)), |key| view(key, with_value))
}

pub(crate) fn get(catalog: &Catalog, call: &Call) -> Answer {
    let key = catalog.api_keys.get(call.param("api_key")).ok_or_else(|| Fault::not_found(UNKNOWN))?;
    Ok(Reply::ok(view(key, asked_for(call, "includeValue"))))
}

pub(crate) fn create(catalog: &mut Catalog, call: &Call) -> Answer {
    let input = call.input()?;
    let value = input.text("value")?.filter(|value| !value.is_empty());
    let key = ApiKey {
        id: ids::id(10),
        value: value.unwrap_or_else(ids::secret),
        name: input.text("name")?,
        customer_id: input.text("customerId")?,
        description: input.text("description")?,
        enabled: input.bool("enabled")?.unwrap_or(false),
        created_date: call.now_s,
        last_updated_date: call.now_s,
        stage_keys: stage_keys(&input)?,
        tags: input.tags()?,
    };
    let body = view(&key, true);
    add(catalog, key)?;
    Ok(Reply::created(body))
}

fn stage_keys(input: &Input<'_>) -> Result<Vec<String>, Fault> {
    let mut out = Vec::new();
    for item in input.list("stageKeys")?.into_iter().flatten() {
        let stage = Input::of(item)?;
        let part = |name: &str| stage.get(name).map_or(Ok(String::new()), as_text);
        out.push(format!("{}/{}", part("restApiId")?, part("stageName")?));
    }
    Ok(out)
}

fn add(catalog: &mut Catalog, key: ApiKey) -> Result<(), Fault> {
    if key.value.chars().count() < VALUE_MIN_CHARS {
        return Err(Fault::bad_request("API Key value should be at least 20 characters"));
    }
    if key.value.chars().count() > VALUE_MAX_CHARS || !key.value.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Fault::bad_request("API Key value should be at most 128 characters, without spaces"));
    }
    if catalog.api_keys.values().any(|one| one.value == key.value) {
        return Err(Fault::conflict("API Key already exists"));
    }
    if catalog.api_keys.len() >= KEYS_MAX {
        return Err(Fault::new(429, "LimitExceededException", "API Keys limit exceeded"));
    }
    catalog.api_keys.insert(key.id.clone(), Arc::new(key));
    Ok(())
}

pub(crate) fn delete(catalog: &mut Catalog, call: &Call) -> Answer {
    let id = call.param("api_key");
    catalog.api_keys.remove(id).ok_or_else(|| Fault::not_found(UNKNOWN))?;
    for plan in catalog.usage_plans.values_mut().filter(|plan| plan.keys.contains_key(id)) {
        Arc::make_mut(plan).keys.remove(id);
    }
    Ok(Reply::accepted())
}

pub(crate) fn update(catalog: &mut Catalog, call: &Call) -> Answer {
    let key = catalog.api_keys.get_mut(call.param("api_key")).ok_or_else(|| Fault::not_found(UNKNOWN))?;
    let key = Arc::make_mut(key);
    for patch in patches(call, "updateApiKeyInput")? {
        match patch.parts().as_slice() {
            ["name"] => key.name = patch.replacement()?,
            ["description"] => key.description = patch.replacement()?,
            ["customerId"] => key.customer_id = patch.replacement()?,
            ["enabled"] => {
                patch.needs(&["replace"])?;
                key.enabled = patch.bool();
            }
            ["stages"] => {
                patch.needs(&["add", "remove"])?;
                patch.item(&mut key.stage_keys, &patch.text());
            }
            // Neither CreateApiKey nor GetApiKey has such a member.
            ["labels"] => return Err(patch.unsupported()),
            _ => return Err(patch.bad_path()),
        }
    }
    key.last_updated_date = call.now_s;
    Ok(Reply::ok(view(key, false)))
}

/// `POST /apikeys?mode=import&format=csv`: a header line that names the columns, in any order and case (AWS developer
/// guide, "API Gateway API key file format").
pub(crate) fn import(catalog: &mut Catalog, call: &Call) -> Answer {
    if call.query("format") != Some("csv") {
        return Err(Fault::bad_request("Invalid format specified. Valid options are csv"));
    }
    let text = std::str::from_utf8(&call.body).map_err(|_| Fault::bad_request("The file is not UTF-8"))?;
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let header: Vec<String> =
        lines.next().map(fields).unwrap_or_default().iter().map(|name| name.to_ascii_lowercase()).collect();
    let column = |name: &str| header.iter().position(|one| one == name);
    let (Some(names), Some(values)) = (column("name"), column("key")) else {
        return Err(Fault::bad_request("API Key file must have the columns Name and Key"));
    };
    let fails = call.query("failonwarnings").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let (mut ids, mut warnings) = (Vec::new(), Vec::new());
    for line in lines {
        let row = fields(line);
        let cell = |at: Option<usize>| at.and_then(|at| row.get(at)).filter(|text| !text.is_empty()).cloned();
        let key = ApiKey {
            id: ids::id(10),
            value: cell(Some(values)).unwrap_or_default(),
            name: cell(Some(names)),
            description: cell(column("description")),
            enabled: cell(column("enabled")).is_none_or(|text| text.eq_ignore_ascii_case("true")),
            created_date: call.now_s,
            last_updated_date: call.now_s,
            ..ApiKey::default()
        };
        let id = key.id.clone();
        match add(catalog, key) {
            Ok(()) => ids.push(id.clone()),
            Err(fault) if fails => return Err(fault),
            Err(fault) => {
                warnings.push(fault.message);
                continue;
            }
        }
        let plans = cell(column("usageplanids")).unwrap_or_default();
        for plan_id in plans.split(',').map(str::trim).filter(|id| !id.is_empty()) {
            match catalog.usage_plans.get_mut(plan_id) {
                Some(plan) => {
                    let member = UsagePlanKey { id: id.clone(), key_type: "API_KEY".to_owned() };
                    Arc::make_mut(plan).keys.insert(id.clone(), member);
                }
                None if fails => {
                    return Err(Fault::bad_request(format!("Invalid Usage Plan ID specified: {plan_id}")));
                }
                None => warnings.push(format!("Invalid Usage Plan ID specified: {plan_id}")),
            }
        }
    }
    Ok(Reply::created(json!({ "ids": ids, "warnings": warnings })))
}

/// Of one line: separated by commas, in double quotes where they hold one.
fn fields(line: &str) -> Vec<String> {
    let (mut out, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = line.trim_end_matches('\r').chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => out.push(std::mem::take(&mut field).trim().to_owned()),
            other => field.push(other),
        }
    }
    out.push(field.trim().to_owned());
    out
}
