//! The paths of `UpdateStage`.

use super::fault::Fault;
use super::patch::Patch;
use super::stages::{check_canary, check_variables, set_cache};
use serde_json::Value;
use sluice_catalog::{
    AccessLogSettings, CanarySettings, MethodSetting, RestApi, Stage, UnauthorizedCacheControl,
};
use std::collections::BTreeMap;

/// As AWS lists them, with its missing commas.
const KNOWN: &str = "[/deploymentId, /description, /cacheClusterEnabled, /cacheClusterSize, /clientCertificateId, \
/accessLogSettings, /accessLogSettings/destinationArn, /accessLogSettings/format, \
/{resourcePath}/{httpMethod}/metrics/enabled, /{resourcePath}/{httpMethod}/logging/dataTrace, \
/{resourcePath}/{httpMethod}/logging/loglevel, /{resourcePath}/{httpMethod}/throttling/burstLimit\
/{resourcePath}/{httpMethod}/throttling/rateLimit/{resourcePath}/{httpMethod}/caching/ttlInSeconds, \
/{resourcePath}/{httpMethod}/caching/enabled, /{resourcePath}/{httpMethod}/caching/dataEncrypted, \
/{resourcePath}/{httpMethod}/caching/requireAuthorizationForCacheControl, \
/{resourcePath}/{httpMethod}/caching/unauthorizedCacheControlHeaderStrategy, /*/*/metrics/enabled, \
/*/*/logging/dataTrace, /*/*/logging/loglevel, /*/*/throttling/burstLimit /*/*/throttling/rateLimit \
/*/*/caching/ttlInSeconds, /*/*/caching/enabled, /*/*/caching/dataEncrypted, \
/*/*/caching/requireAuthorizationForCacheControl, /*/*/caching/unauthorizedCacheControlHeaderStrategy, \
/variables/{variable_name}, /tracingEnabled]";

fn unknown_path(patch: &Patch) -> Fault {
    Fault::bad_request(format!("Invalid method setting path: {}. Must be one of: {KNOWN}", patch.path))
}

pub(crate) fn apply(api: &RestApi, stage: &mut Stage, patch: &Patch) -> Result<(), Fault> {
    match patch.parts().as_slice() {
        ["deploymentId"] => {
            let id = match patch.op.as_str() {
                // Promotion of a canary.
                "copy" if patch.from.as_deref() == Some("/canarySettings/deploymentId") => {
                    stage.canary_settings.as_ref().and_then(|canary| canary.deployment_id.clone())
                }
                "replace" => patch.optional(),
                _ => {
                    return Err(Fault::bad_request(
                        "Invalid patch operation specified. Must be one of: [replace, copy]",
                    ));
                }
            };
            stage.deployment_id = known_deployment(api, id)?;
        }
        ["description"] => stage.description = patch.replacement()?,
        ["cacheClusterEnabled"] => {
            patch.needs(&["replace"])?;
            set_cache(stage, patch.bool(), stage.cache_cluster_size.clone())?;
        }
        ["cacheClusterSize"] => {
            patch.needs(&["replace"])?;
            set_cache(stage, stage.cache_cluster_enabled, patch.optional())?;
        }
        ["clientCertificateId"] => {
            if patch.replacement()?.is_some() {
                return Err(Fault::bad_request("Client certificates are not supported by this gateway."));
            }
            stage.client_certificate_id = None;
        }
        ["tracingEnabled"] => {
            patch.needs(&["replace"])?;
            stage.tracing_enabled = patch.bool();
        }
        ["documentationVersion"] => {
            if patch.replacement()?.is_some() {
                return Err(Fault::bad_request("Invalid Documentation version specified"));
            }
            stage.documentation_version = None;
        }
        ["variables"] => variables(stage, patch)?,
        // AWS's table has `replace` only; Terraform and ACK remove one by one.
        ["variables", name] => {
            patch.entry_or_new(&mut stage.variables, name)?;
            check_variables(&stage.variables)?;
        }
        ["accessLogSettings", rest @ ..] => access_log(stage, patch, rest)?,
        ["canarySettings", rest @ ..] => canary(api, stage, patch, rest)?,
        ["methodSettings"] => {
            patch.needs(&["replace"])?;
            return method_settings(api, stage, patch);
        }
        _ => {
            method_setting(stage, patch)?;
            check_caching(api, stage, patch)?;
        }
    }
    Ok(())
}

/// All of them, by an object such as GetStage answers: each setting goes the way of its own path.
fn method_settings(api: &RestApi, stage: &mut Stage, patch: &Patch) -> Result<(), Fault> {
    const PATHS: &[(&str, &str)] = &[
        ("metricsEnabled", "metrics/enabled"),
        ("loggingLevel", "logging/loglevel"),
        ("dataTraceEnabled", "logging/dataTrace"),
        ("throttlingBurstLimit", "throttling/burstLimit"),
        ("throttlingRateLimit", "throttling/rateLimit"),
        ("cachingEnabled", "caching/enabled"),
        ("cacheTtlInSeconds", "caching/ttlInSeconds"),
        ("cacheDataEncrypted", "caching/dataEncrypted"),
        ("requireAuthorizationForCacheControl", "caching/requireAuthorizationForCacheControl"),
        ("unauthorizedCacheControlHeaderStrategy", "caching/unauthorizedCacheControlHeaderStrategy"),
    ];
    let given: BTreeMap<String, BTreeMap<String, Value>> =
        serde_json::from_str(&patch.text()).map_err(|_| patch.bad_value())?;
    stage.method_settings.clear();
    for (key, settings) in given {
        for (name, value) in settings {
            let known = PATHS.iter().find(|(member, _)| *member == name);
            let (_, path) = known.ok_or_else(|| patch.bad_value())?;
            let value = match value {
                Value::String(text) => text,
                other => other.to_string(),
            };
            let one = Patch { path: format!("/{key}/{path}"), value: Some(value), ..patch.clone() };
            method_setting(stage, &one)?;
            check_caching(api, stage, &one)?;
        }
    }
    Ok(())
}

/// Answers that stream are not cached (developer guide, "Stream the integration response for your proxy integrations"). The
/// setting of all methods leaves them out; one that names such a method is refused.
fn check_caching(api: &RestApi, stage: &Stage, patch: &Patch) -> Result<(), Fault> {
    let Some(key) = patch.path.trim_start_matches('/').strip_suffix("/caching/enabled") else {
        return Ok(());
    };
    let Some((path, verb)) = key.rsplit_once('/').filter(|_| patch.bool()) else { return Ok(()) };
    let path = format!("/{}", path.replace("~1", "/").trim_start_matches('/'));
    let definition = api.deployments.get(&stage.deployment_id).map(|one| &one.definition);
    let resource = definition.and_then(|definition| definition.resources.values().find(|r| r.path == path));
    let method = resource.and_then(|r| r.methods.get(verb).or_else(|| r.methods.get("ANY")));
    let mode = method.and_then(|method| method.integration.as_ref()?.response_transfer_mode.as_deref());
    if mode != Some("STREAM") {
        return Ok(());
    }
    Err(Fault::bad_request(format!(
        "Caching is not supported for {verb} {path}: its integration has response transfer mode STREAM"
    )))
}

/// The whole map. A copy is of the canary's overrides, and adds them.
fn variables(stage: &mut Stage, patch: &Patch) -> Result<(), Fault> {
    match patch.op.as_str() {
        "copy" if patch.from.as_deref() == Some("/canarySettings/stageVariableOverrides") => {
            if let Some(canary) = &stage.canary_settings {
                stage.variables.extend(canary.stage_variable_overrides.clone());
            }
        }
        "replace" => stage.variables = patch.strings()?,
        "remove" => stage.variables.clear(),
        _ => return Err(unknown_path(patch)),
    }
    check_variables(&stage.variables)
}

fn known_deployment(api: &RestApi, id: Option<String>) -> Result<String, Fault> {
    id.filter(|id| api.deployments.contains_key(id))
        .ok_or_else(|| Fault::bad_request("Deployment id does not exist"))
}

fn access_log(stage: &mut Stage, patch: &Patch, rest: &[&str]) -> Result<(), Fault> {
    patch.needs(&["add", "replace", "remove"])?;
    if rest.is_empty() && patch.removes() {
        stage.access_log_settings = None;
        return Ok(());
    }
    let settings = stage.access_log_settings.get_or_insert_default();
    match rest {
        ["destinationArn"] => settings.destination_arn = patch.optional(),
        ["format"] => settings.format = patch.optional(),
        _ => return Err(unknown_path(patch)),
    }
    if *settings == AccessLogSettings::default() {
        stage.access_log_settings = None;
    }
    Ok(())
}

fn canary(api: &RestApi, stage: &mut Stage, patch: &Patch, rest: &[&str]) -> Result<(), Fault> {
    let known = matches!(
        rest,
        ["percentTraffic" | "deploymentId" | "useStageCache" | "stageVariableOverrides"]
            | ["stageVariableOverrides", _]
    );
    match (patch.op.as_str(), rest) {
        ("remove", []) => {
            stage.canary_settings = None;
            return Ok(());
        }
        // AWS's table has `replace` only; Terraform and ACK remove one by one.
        ("remove", ["stageVariableOverrides", name]) => {
            if let Some(settings) = &mut stage.canary_settings {
                settings.stage_variable_overrides.remove(*name);
            }
            return Ok(());
        }
        ("replace", _) => {}
        (op, _) if known => {
            return Err(Fault::bad_request(format!("Invalid {op} operation with path: {}", patch.path)));
        }
        (op, _) => {
            let path = patch.path.trim_start_matches('/');
            return Err(Fault::bad_request(format!(
                "Cannot {op} method setting {path} because there is no method setting for this method "
            )));
        }
    }
    if !known {
        return Err(unknown_path(patch));
    }
    let fresh =
        CanarySettings { deployment_id: Some(stage.deployment_id.clone()), ..CanarySettings::default() };
    let settings = stage.canary_settings.get_or_insert(fresh);
    match rest {
        ["percentTraffic"] => settings.percent_traffic = patch.number()?,
        ["deploymentId"] => settings.deployment_id = Some(known_deployment(api, patch.optional())?),
        ["useStageCache"] => settings.use_stage_cache = patch.bool(),
        [_] => settings.stage_variable_overrides = patch.strings()?,
        [_, name] => drop(settings.stage_variable_overrides.insert((*name).to_owned(), patch.text())),
        _ => return Err(unknown_path(patch)),
    }
    check_canary(settings)
}

/// `/{resource path}/{method}/{group}/{name}`. The first two are the setting's key as they were sent: a resource path has
/// its slashes as `~1`, or as they are.
fn method_setting(stage: &mut Stage, patch: &Patch) -> Result<(), Fault> {
    let raw = patch.path.trim_start_matches('/');
    // What is removed is all that is set for a method: the whole path is the setting's key.
    if patch.removes() {
        return stage.method_settings.remove(raw).map(drop).ok_or_else(|| not_there(raw));
    }
    patch.needs(&["replace"])?;
    let parts: Vec<&str> = raw.rsplitn(3, '/').collect();
    let [name, group, key] = parts.as_slice() else { return Err(unknown_path(patch)) };
    let method = key.rsplit_once('/').map(|(_, method)| method);
    // A setting is for one verb, or for all by `*`; AWS takes no ANY here.
    let verbs = ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "HEAD", "*"];
    if !method.is_some_and(|method| verbs.contains(&method)) || !is_setting(group, name) {
        return Err(unknown_path(patch));
    }
    let mut setting = stage.method_settings.get(*key).cloned().unwrap_or_default();
    set(&mut setting, group, name, patch)?;
    stage.method_settings.insert((*key).to_owned(), setting);
    Ok(())
}

fn not_there(path: &str) -> Fault {
    Fault::bad_request(format!(
        "Cannot remove method setting {path} because there is no method setting for this method "
    ))
}

fn is_setting(group: &str, name: &str) -> bool {
    matches!(
        (group, name),
        ("metrics", "enabled")
            | ("logging", "dataTrace" | "loglevel" | "logLevel")
            | ("throttling", "burstLimit" | "rateLimit")
            | ("caching", "ttlInSeconds" | "enabled" | "dataEncrypted")
            | ("caching", "requireAuthorizationForCacheControl" | "unauthorizedCacheControlHeaderStrategy")
    )
}

fn set(setting: &mut MethodSetting, group: &str, name: &str, patch: &Patch) -> Result<(), Fault> {
    match (group, name) {
        ("metrics", _) => setting.metrics_enabled = patch.bool(),
        ("logging", "dataTrace") => setting.data_trace_enabled = patch.bool(),
        ("logging", _) => {
            let level = patch.text();
            if !["OFF", "ERROR", "INFO"].contains(&level.as_str()) {
                let text = format!("Invalid log level '{level}'. Valid options are OFF,ERROR,INFO");
                return Err(Fault::bad_request(text));
            }
            setting.logging_level = Some(level);
        }
        ("throttling", "burstLimit") => {
            setting.throttling_burst_limit = i32::try_from(patch.integer()?).unwrap_or(i32::MAX).max(-1);
        }
        ("throttling", _) => setting.throttling_rate_limit = patch.number()?.max(-1.0),
        ("caching", "ttlInSeconds") => {
            let wrong = "Invalid TTL, must be between 0 and 3600";
            let ttl = u32::try_from(patch.integer()?).ok().filter(|ttl| *ttl <= 3_600);
            setting.cache_ttl_in_seconds = ttl.ok_or_else(|| Fault::bad_request(wrong))?;
        }
        ("caching", "enabled") => setting.caching_enabled = patch.bool(),
        ("caching", "dataEncrypted") => setting.cache_data_encrypted = patch.bool(),
        ("caching", "requireAuthorizationForCacheControl") => {
            setting.require_authorization_for_cache_control = patch.bool();
        }
        _ => {
            setting.unauthorized_cache_control_header_strategy = match patch.text().as_str() {
                "SUCCEED_WITH_RESPONSE_HEADER" => UnauthorizedCacheControl::SucceedWithResponseHeader,
                "FAIL_WITH_403" => UnauthorizedCacheControl::FailWith403,
                "SUCCEED_WITHOUT_RESPONSE_HEADER" => UnauthorizedCacheControl::SucceedWithoutResponseHeader,
                other => {
                    return Err(Fault::bad_request(format!(
                        "Invalid unauthorized cache control header strategy '{other}'. Valid options are FAIL_WITH_403,SUCCEED_WITH_RESPONSE_HEADER,SUCCEED_WITHOUT_RESPONSE_HEADER"
                    )));
                }
            };
        }
    }
    Ok(())
}
