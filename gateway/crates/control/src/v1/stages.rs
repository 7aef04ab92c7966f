//! Stages: which deployment is served, and how.

use super::fault::Fault;
use super::input::Input;
use super::patch::patches;
use super::{Answer, Call, Reply, show, stage_patch, usage_plans};
use serde_json::{Value, json};
use sluice_catalog::{CanarySettings, Catalog, RestApi, Stage, Strings};
use std::sync::Arc;

pub(crate) const UNKNOWN: &str = "Invalid stage identifier specified";
/// AWS's quota.
const STAGES_MAX: usize = 10;
const VARIABLES_MAX: usize = 100;
/// Gigabytes.
const CACHE_SIZES: &[&str] = &["0.5", "1.6", "6.1", "13.5", "28.4", "58.2", "118", "237"];

fn view(stage: &Stage) -> Value {
    let mut out = show(stage);
    if let Value::Object(members) = &mut out {
        members.remove("cacheGeneration");
        members.remove("authorizersGeneration");
        // AWS tells all four.
        if let (Some(Value::Object(canary)), Some(settings)) =
            (members.get_mut("canarySettings"), &stage.canary_settings)
        {
            canary.insert("useStageCache".to_owned(), json!(settings.use_stage_cache));
        }
    }
    out
}

pub(crate) fn list(catalog: &Catalog, call: &Call) -> Answer {
    let deployment = call.query("deploymentId");
    let stages = call.api(catalog)?.stages.values();
    let chosen = stages.filter(|stage| deployment.is_none_or(|id| stage.deployment_id == id));
    Ok(Reply::ok(json!({ "item": chosen.map(|stage| view(stage)).collect::<Vec<_>>() })))
}

pub(crate) fn get(catalog: &Catalog, call: &Call) -> Answer {
    let stage = call.api(catalog)?.stages.get(call.param("stage_name"));
    Ok(Reply::ok(view(stage.ok_or_else(|| Fault::not_found(UNKNOWN))?)))
}

fn check_name(name: &str) -> Result<(), Fault> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if name.is_empty() || name.len() > 128 || !name.bytes().all(allowed) {
        return Err(Fault::bad_request("Stage name only allows a-zA-Z0-9_-"));
    }
    Ok(())
}

pub(crate) fn check_variables(variables: &Strings) -> Result<(), Fault> {
    if variables.len() > VARIABLES_MAX {
        return Err(Fault::bad_request(format!(
            "The number of stage variables exceeds the limit of {VARIABLES_MAX}"
        )));
    }
    let key = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let value = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?#&=,@+*% ".contains(&b);
    for (name, text) in variables {
        if name.is_empty() || name.len() > 64 || !name.bytes().all(key) {
            return Err(Fault::bad_request(format!(
                "Stage variable name '{name}' contains illegal characters: expected up to 64 of [a-zA-Z0-9_]"
            )));
        }
        if text.len() > 512 || !text.bytes().all(value) {
            return Err(Fault::bad_request(format!(
                "Stage variable value for {name} is invalid. Values can only contain alphanumeric characters and special characters -._~:/?#&=,@+*%"
            )));
        }
    }
    Ok(())
}

pub(crate) fn check_canary(canary: &CanarySettings) -> Result<(), Fault> {
    if !(0.0..=100.0).contains(&canary.percent_traffic) {
        return Err(Fault::bad_request("Invalid canary percent traffic, must be between 0.0 and 100.0"));
    }
    check_variables(&canary.stage_variable_overrides)
}

/// Sets the cache's size and status as the switch and the size ask for.
pub(crate) fn set_cache(stage: &mut Stage, enabled: bool, size: Option<String>) -> Result<(), Fault> {
    if let Some(other) = size.as_deref().filter(|size| !CACHE_SIZES.contains(size)) {
        let at = "createStageInput.cacheClusterSize";
        return Err(Fault::not_in_set(other, at, "28.4, 1.6, 0.5, 6.1, 118, 237, 13.5, 58.2"));
    }
    stage.cache_cluster_enabled = enabled;
    stage.cache_cluster_status = if enabled { "AVAILABLE" } else { "NOT_AVAILABLE" }.to_owned();
    stage.cache_cluster_size = size.or_else(|| enabled.then(|| "0.5".to_owned()));
    Ok(())
}

pub(crate) fn create(catalog: &mut Catalog, call: &Call) -> Answer {
    let api = call.api_mut(catalog)?;
    let input = call.input()?;
    let name = input.text("stageName")?.unwrap_or_default();
    check_name(&name)?;
    if api.stages.contains_key(&name) {
        return Err(Fault::conflict("Stage already exists"));
    }
    let deployment_id = input.text("deploymentId")?.unwrap_or_default();
    if !api.deployments.contains_key(&deployment_id) {
        return Err(Fault::bad_request("Deployment id does not exist"));
    }
    if api.stages.len() >= STAGES_MAX {
        let text = "Maximum number of stages for this API has been reached. Please contact AWS if you need additional stages.";
        return Err(Fault::new(429, "LimitExceededException", text));
    }
    let mut stage = fresh(&name, &deployment_id, call.now_s);
    fill(&mut stage, &input, "description")?;
    stage.documentation_version = input.text("documentationVersion")?;
    if stage.documentation_version.is_some() {
        return Err(Fault::bad_request("Invalid Documentation version specified"));
    }
    stage.tags = input.tags()?;
    if input.has("canarySettings") {
        let given = input.structure("canarySettings")?;
        let canary = CanarySettings {
            percent_traffic: given.number("percentTraffic")?.unwrap_or(0.0),
            deployment_id: given.text("deploymentId")?.or_else(|| Some(deployment_id.clone())),
            stage_variable_overrides: given.strings("stageVariableOverrides")?.unwrap_or_default(),
            use_stage_cache: given.bool("useStageCache")?.unwrap_or(false),
        };
        check_canary(&canary)?;
        if !canary.deployment_id.as_ref().is_some_and(|id| api.deployments.contains_key(id)) {
            return Err(Fault::bad_request("Deployment id does not exist"));
        }
        stage.canary_settings = Some(canary);
    }
    let body = view(&stage);
    api.stages.insert(name, Arc::new(stage));
    Ok(Reply::created(body))
}

fn fresh(name: &str, deployment_id: &str, now_s: u64) -> Stage {
    Stage {
        stage_name: name.to_owned(),
        deployment_id: deployment_id.to_owned(),
        cache_cluster_status: "NOT_AVAILABLE".to_owned(),
        created_date: now_s,
        last_updated_date: now_s,
        ..Stage::default()
    }
}

/// What `CreateStage` and `CreateDeployment` have in common.
fn fill(stage: &mut Stage, input: &Input<'_>, description: &str) -> Result<(), Fault> {
    if let Some(text) = input.text(description)?.filter(|text| !text.is_empty()) {
        stage.description = Some(text);
    }
    if let Some(variables) = input.strings("variables")? {
        check_variables(&variables)?;
        stage.variables = variables;
    }
    if let Some(tracing) = input.bool("tracingEnabled")? {
        stage.tracing_enabled = tracing;
    }
    let (enabled, size) = (input.bool("cacheClusterEnabled")?, input.text("cacheClusterSize")?);
    if enabled.is_some() || size.is_some() {
        let enabled = enabled.unwrap_or(stage.cache_cluster_enabled);
        set_cache(stage, enabled, size)?;
    }
    Ok(())
}

/// Points a stage to a new deployment; makes it if it is not there.
pub(crate) fn deploy(api: &mut RestApi, name: &str, deployment_id: &str, call: &Call) -> Result<(), Fault> {
    check_name(name)?;
    let mut stage = match api.stages.get(name) {
        Some(stage) => Stage::clone(stage),
        None if api.stages.len() >= STAGES_MAX => {
            let text = "Maximum number of stages for this API has been reached. Please contact AWS if you need additional stages.";
            return Err(Fault::new(429, "LimitExceededException", text));
        }
        None => fresh(name, deployment_id, call.now_s),
    };
    deployment_id.clone_into(&mut stage.deployment_id);
    stage.last_updated_date = call.now_s;
    fill(&mut stage, &call.input()?, "stageDescription")?;
    api.stages.insert(name.to_owned(), Arc::new(stage));
    Ok(())
}

pub(crate) fn delete(catalog: &mut Catalog, call: &Call) -> Answer {
    let name = call.param("stage_name").to_owned();
    let api = call.api_mut(catalog)?;
    if api.stages.remove(&name).is_none() {
        return Err(Fault::not_found(UNKNOWN));
    }
    let id = api.id.clone();
    usage_plans::forget_stages(catalog, |stage| stage.api_id == id && stage.stage == name);
    Ok(Reply::accepted())
}

pub(crate) fn update(catalog: &mut Catalog, call: &Call) -> Answer {
    let api = call.api_mut(catalog)?;
    let stage = api.stages.get(call.param("stage_name")).ok_or_else(|| Fault::not_found(UNKNOWN))?;
    let mut stage = Stage::clone(stage);
    for patch in patches(call, "updateStageInput")? {
        stage_patch::apply(api, &mut stage, &patch)?;
    }
    stage.last_updated_date = call.now_s;
    let body = view(&stage);
    api.stages.insert(stage.stage_name.clone(), Arc::new(stage));
    Ok(Reply::ok(body))
}

/// What authorizers have said so far is forgotten: the stage is compiled anew, and its authorizers with it.
pub(crate) fn flush_authorizers(catalog: &mut Catalog, call: &Call) -> Answer {
    let stage = call.api_mut(catalog)?.stages.get_mut(call.param("stage_name"));
    Arc::make_mut(stage.ok_or_else(|| Fault::not_found(UNKNOWN))?).authorizers_generation += 1;
    Ok(Reply::accepted())
}

/// What is in the cache from now on counts as of another generation.
pub(crate) fn flush(catalog: &mut Catalog, call: &Call) -> Answer {
    let stage = call.api_mut(catalog)?.stages.get_mut(call.param("stage_name"));
    let stage = Arc::make_mut(stage.ok_or_else(|| Fault::not_found(UNKNOWN))?);
    if !stage.cache_cluster_enabled {
        return Err(Fault::bad_request("Cache cluster is not enabled for this stage"));
    }
    stage.cache_generation += 1;
    Ok(Reply::accepted())
}
