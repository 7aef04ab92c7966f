//! The paths of `UpdateStage`.

use super::fault::Fault;
use super::patch::Patch;
use super::stages::{check_canary, check_variables, set_cache};
use sluice_catalog::{
    AccessLogSettings, CanarySettings, MethodSetting, RestApi, Stage, UnauthorizedCacheControl,
};

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
    if !matches!(patch.path.as_str(), "/deploymentId" | "/variables") {
        patch.needs(&["add", "replace", "remove"])?;
    }
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
        ["description"] => stage.description = patch.optional(),
        ["cacheClusterEnabled"] => {
            patch.needs(&["replace"])?;
            set_cache(stage, patch.bool(), stage.cache_cluster_size.clone())?;
        }
        ["cacheClusterSize"] => {
            patch.needs(&["replace"])?;
            set_cache(stage, stage.cache_cluster_enabled, patch.optional())?;
        }
        ["clientCertificateId"] => {
            if patch.optional().is_some() {
                return Err(Fault::bad_request("Client certificates are not supported by this gateway."));
            }
            stage.client_certificate_id = None;
        }
        ["tracingEnabled"] => {
            patch.needs(&["replace"])?;
            stage.tracing_enabled = patch.bool();
        }
        ["documentationVersion"] if patch.optional().is_none() => stage.documentation_version = None,
        ["documentationVersion"] => {
            return Err(Fault::bad_request("Invalid Documentation version specified"));
        }
        ["variables"] => variables(stage, patch)?,
        ["variables", name] => {
            patch.entry_or_new(&mut stage.variables, name)?;
            check_variables(&stage.variables)?;
        }
        ["accessLogSettings", rest @ ..] => access_log(stage, patch, rest)?,
        ["canarySettings", rest @ ..] => canary(api, stage, patch, rest)?,
        _ => {
            method_setting(stage, patch)?;
            check_caching(api, stage, patch)?;
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
    if patch.removes() && stage.method_settings.remove(raw).is_some() {
        return Ok(());
    }
    let parts: Vec<&str> = raw.rsplitn(3, '/').collect();
    let [name, group, key] = parts.as_slice() else { return Err(not_there(patch, raw)) };
    let method = key.rsplit_once('/').map(|(_, method)| method);
    // A setting is for one verb, or for all by `*`; AWS takes no ANY here.
    let verbs = ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "HEAD", "*"];
    if !method.is_some_and(|method| verbs.contains(&method)) || !is_setting(group, name) {
        return Err(if patch.removes() { not_there(patch, raw) } else { unknown_path(patch) });
    }
    if patch.removes() {
        return match stage.method_settings.get_mut(*key) {
            Some(setting) => set(setting, group, name, None, patch),
            None => Err(not_there(patch, raw)),
        };
    }
    patch.needs(&["add", "replace"])?;
    let mut setting = stage.method_settings.get(*key).cloned().unwrap_or_default();
    set(&mut setting, group, name, Some(patch.text()), patch)?;
    stage.method_settings.insert((*key).to_owned(), setting);
    Ok(())
}

fn not_there(patch: &Patch, path: &str) -> Fault {
    if patch.removes() {
        return Fault::bad_request(format!(
            "Cannot remove method setting {path} because there is no method setting for this method "
        ));
    }
    unknown_path(patch)
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

/// `None`: back to the default.
fn set(
    setting: &mut MethodSetting,
    group: &str,
    name: &str,
    value: Option<String>,
    patch: &Patch,
) -> Result<(), Fault> {
    let defaults = MethodSetting::default();
    let or = |fallback: bool| value.as_deref().map_or(fallback, |text| text.eq_ignore_ascii_case("true"));
    match (group, name) {
        ("metrics", _) => setting.metrics_enabled = or(defaults.metrics_enabled),
        ("logging", "dataTrace") => setting.data_trace_enabled = or(defaults.data_trace_enabled),
        ("logging", _) => {
            if let Some(other) = value.as_deref().filter(|level| !["OFF", "ERROR", "INFO"].contains(level)) {
                let text = format!("Invalid log level '{other}'. Valid options are OFF,ERROR,INFO");
                return Err(Fault::bad_request(text));
            }
            setting.logging_level = value;
        }
        ("throttling", "burstLimit") => {
            let limit = value.map_or(Ok(-1), |_| patch.integer())?;
            setting.throttling_burst_limit = i32::try_from(limit).unwrap_or(i32::MAX).max(-1);
        }
        ("throttling", _) => {
            setting.throttling_rate_limit = value.map_or(Ok(-1.0), |_| patch.number())?.max(-1.0)
        }
        ("caching", "ttlInSeconds") => {
            let ttl = value.map_or(Ok(300), |_| patch.integer())?;
            let wrong = "Invalid TTL, must be between 0 and 3600";
            let ttl = u32::try_from(ttl).ok().filter(|ttl| *ttl <= 3_600);
            setting.cache_ttl_in_seconds = ttl.ok_or_else(|| Fault::bad_request(wrong))?;
        }
        ("caching", "enabled") => setting.caching_enabled = or(defaults.caching_enabled),
        ("caching", "dataEncrypted") => setting.cache_data_encrypted = or(defaults.cache_data_encrypted),
        ("caching", "requireAuthorizationForCacheControl") => {
            setting.require_authorization_for_cache_control =
                or(defaults.require_authorization_for_cache_control);
        }
        _ => {
            setting.unauthorized_cache_control_header_strategy = match value.as_deref() {
                None | Some("SUCCEED_WITH_RESPONSE_HEADER") => {
                    UnauthorizedCacheControl::SucceedWithResponseHeader
                }
                Some("FAIL_WITH_403") => UnauthorizedCacheControl::FailWith403,
                Some("SUCCEED_WITHOUT_RESPONSE_HEADER") => {
                    UnauthorizedCacheControl::SucceedWithoutResponseHeader
                }
                Some(other) => {
                    return Err(Fault::bad_request(format!(
                        "Invalid unauthorized cache control header strategy '{other}'. Valid options are FAIL_WITH_403,SUCCEED_WITH_RESPONSE_HEADER,SUCCEED_WITHOUT_RESPONSE_HEADER"
                    )));
                }
            };
        }
    }
    Ok(())
}
