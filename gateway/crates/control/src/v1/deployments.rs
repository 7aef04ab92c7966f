//! Deployments: frozen definitions.

use super::fault::Fault;
use super::patch::patches;
use super::{Answer, Call, Reply, ids, page, stages};
use serde_json::{Map, Value, json};
use sluice_catalog::{CanarySettings, Catalog, Deployment, RestApi};
use std::sync::Arc;

const UNKNOWN: &str = "Invalid Deployment identifier specified";

fn view(deployment: &Deployment, summary: bool) -> Value {
    let mut out = Map::new();
    out.insert("id".to_owned(), json!(deployment.id));
    if let Some(description) = &deployment.description {
        out.insert("description".to_owned(), json!(description));
    }
    out.insert("createdDate".to_owned(), json!(deployment.created_date));
    if summary {
        let mut paths = Map::new();
        for resource in deployment.definition.resources.values().filter(|one| !one.methods.is_empty()) {
            let methods = resource.methods.values().map(|method| {
                let told = json!({
                    "authorizationType": method.authorization_type,
                    "apiKeyRequired": method.api_key_required,
                });
                (method.http_method.clone(), told)
            });
            paths.insert(resource.path.clone(), Value::Object(methods.collect()));
        }
        out.insert("apiSummary".to_owned(), Value::Object(paths));
    }
    Value::Object(out)
}

pub(crate) fn list(catalog: &Catalog, call: &Call) -> Answer {
    let api = call.api(catalog)?;
    page::page(call, api.deployments.iter().map(|(id, one)| (id.as_str(), one)), |one| view(one, false))
}

pub(crate) fn get(catalog: &Catalog, call: &Call) -> Answer {
    let deployment = call.api(catalog)?.deployments.get(call.param("deployment_id"));
    let deployment = deployment.ok_or_else(|| Fault::not_found(UNKNOWN))?;
    Ok(Reply::ok(view(deployment, call.embeds("apisummary"))))
}

pub(crate) fn create(catalog: &mut Catalog, call: &Call) -> Answer {
    let api = call.api_mut(catalog)?;
    let input = call.input()?;
    check_complete(api)?;
    let deployment = Deployment {
        id: ids::id(6),
        description: input.text("description")?.filter(|text| !text.is_empty()),
        created_date: call.now_s,
        definition: Arc::clone(&api.definition),
    };
    let stage_name = input.text("stageName")?.filter(|name| !name.is_empty());
    let id = deployment.id.clone();
    let body = view(&deployment, false);
    api.deployments.insert(id.clone(), Arc::new(deployment));
    if input.has("canarySettings") {
        let canary = canary(&input.structure("canarySettings")?, &id)?;
        deploy_canary(api, stage_name.as_deref(), canary, call.now_s)?;
    } else if let Some(name) = stage_name {
        stages::deploy(api, &name, &id, call)?;
    }
    Ok(Reply::created(body))
}

/// Every method must have an integration, and there must be one at least.
fn check_complete(api: &RestApi) -> Result<(), Fault> {
    let mut methods =
        api.definition.resources.values().flat_map(|resource| resource.methods.values()).peekable();
    if methods.peek().is_none() {
        return Err(Fault::bad_request("The REST API doesn't contain any methods"));
    }
    if methods.any(|method| method.integration.is_none()) {
        return Err(Fault::bad_request("No integration defined for method"));
    }
    Ok(())
}

fn canary(input: &super::input::Input<'_>, deployment_id: &str) -> Result<CanarySettings, Fault> {
    let canary = CanarySettings {
        percent_traffic: input.number("percentTraffic")?.unwrap_or(0.0),
        deployment_id: Some(deployment_id.to_owned()),
        stage_variable_overrides: input.strings("stageVariableOverrides")?.unwrap_or_default(),
        use_stage_cache: input.bool("useStageCache")?.unwrap_or(false),
    };
    stages::check_canary(&canary)?;
    Ok(canary)
}

fn deploy_canary(
    api: &mut RestApi,
    name: Option<&str>,
    canary: CanarySettings,
    now_s: u64,
) -> Result<(), Fault> {
    let Some(name) = name else {
        return Err(Fault::bad_request(
            "Invalid deployment content specified.Non null and non empty stageName must be provided for canary \
             deployment. Provided value is null",
        ));
    };
    let Some(stage) = api.stages.get_mut(name) else {
        return Err(Fault::bad_request(format!(
            "Invalid deployment content specified.Stage {name} must already be created before making a canary release \
             deployment"
        )));
    };
    let stage = Arc::make_mut(stage);
    stage.canary_settings = Some(canary);
    stage.last_updated_date = now_s;
    Ok(())
}

pub(crate) fn delete(catalog: &mut Catalog, call: &Call) -> Answer {
    let id = call.param("deployment_id");
    let api = call.api_mut(catalog)?;
    if !api.deployments.contains_key(id) {
        return Err(Fault::not_found(UNKNOWN));
    }
    let serves = |canary: &Option<CanarySettings>| {
        canary.as_ref().and_then(|canary| canary.deployment_id.as_deref()) == Some(id)
    };
    if api.stages.values().any(|stage| stage.deployment_id == id || serves(&stage.canary_settings)) {
        return Err(Fault::bad_request("Active stages pointing to this deployment must be moved or deleted"));
    }
    api.deployments.remove(id);
    Ok(Reply::accepted())
}

pub(crate) fn update(catalog: &mut Catalog, call: &Call) -> Answer {
    let deployment = call.api_mut(catalog)?.deployments.get_mut(call.param("deployment_id"));
    let deployment = Arc::make_mut(deployment.ok_or_else(|| Fault::not_found(UNKNOWN))?);
    for patch in patches(call, "updateDeploymentInput")? {
        patch.replaces_one_of(&["/description"])?;
        deployment.description = patch.optional();
    }
    Ok(Reply::ok(view(deployment, false)))
}
