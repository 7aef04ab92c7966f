//! ImportRestApi, PutRestApi and GetExport: APIs as OpenAPI documents.

use super::fault::Fault;
use super::rest_apis::{checked_policy, endpoint_type, view};
use super::{Answer, Call, Document, Reply, ids, integrations, resources, stages};
use serde_json::Value;
use sluice_catalog::{Catalog, Definition, RestApi, Stage};
use sluice_openapi::{BasePath, ExportOptions, ImportOptions, Imported, Rejected, Version};
use std::sync::Arc;

/// Makes an API of a document.
pub(crate) fn import(catalog: &mut Catalog, call: &Call) -> Answer {
    let id = ids::id(10);
    let imported = read(call, &Definition::default(), &id, false)?;
    let mut api = RestApi { id, created_date: call.now_s, ..RestApi::default() };
    apply(&mut api, imported);
    let body = view(&api, false);
    catalog.rest_apis.insert(api.id.clone(), Arc::new(api));
    Ok(Reply::created(body))
}

/// Puts a document over an API, or in the place of its definition.
pub(crate) fn put(catalog: &mut Catalog, call: &Call) -> Answer {
    let merge = match call.query("mode") {
        None | Some("merge") => true,
        Some("overwrite") => false,
        Some(_) => {
            let text = "Enumeration value of OpenAPI import mode must be \"overwrite\" or \"merge\"";
            return Err(Fault::bad_request(text));
        }
    };
    let api = call.api_mut(catalog)?;
    let imported = read(call, &api.definition, &api.id, merge)?;
    apply(api, imported);
    Ok(Reply::ok(view(api, true)))
}

fn apply(api: &mut RestApi, imported: Imported) {
    let Imported { name, version, description, root, definition, warnings } = imported;
    api.name = name;
    api.version = version.or(api.version.take());
    api.description = description.or(api.description.take());
    api.root_resource_id = root;
    api.definition = Arc::new(definition);
    api.warnings = warnings;
}

fn read(call: &Call, before: &Definition, api: &str, merge: bool) -> Result<Imported, Fault> {
    let base_path = match call.query("basepath").map(str::to_ascii_lowercase).as_deref() {
        None | Some("ignore") => BasePath::Ignore,
        Some("prepend") => BasePath::Prepend,
        Some("split") => BasePath::Split,
        Some(other) => return Err(Fault::bad_request(format!("Invalid basepath specified: {other}"))),
    };
    let document = sluice_openapi::read(&call.body)
        .map_err(|error| Fault::bad_request(format!("Invalid OpenAPI input: {error}")))?;
    // Which of them may have so long is checked below.
    let timeout_max_ms = call.access.integration_timeout_max_ms.max(integrations::STREAM_MAX_MS);
    let options = ImportOptions { api, base_path, merge, timeout_max_ms };
    let mut imported = sluice_openapi::import(&document, before, &options, &mut ids::id)
        .map_err(|rejected| told(&rejected))?;
    if let Some(types) = call.query("endpointConfigurationTypes") {
        let wrong = || Fault::bad_request(format!("Invalid EndpointTypes specified: {types}"));
        imported.definition.endpoint_configuration.types = vec![endpoint_type(types).ok_or_else(wrong)?];
    }
    check(call, &imported.definition)?;
    let fails = call.query("failonwarnings").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if fails && !imported.warnings.is_empty() {
        return Err(told(&Rejected { errors: Vec::new(), warnings: imported.warnings }));
    }
    Ok(imported)
}

/// What is checked of each part where it is put by itself.
fn check(call: &Call, definition: &Definition) -> Result<(), Fault> {
    if definition.resources.len() > resources::RESOURCES_MAX {
        return Err(resources::too_many());
    }
    if let Some(policy) = &definition.policy {
        checked_policy(policy.clone())?;
    }
    let mut errors = Vec::new();
    for resource in definition.resources.values() {
        for (verb, method) in &resource.methods {
            let Some(integration) = &method.integration else { continue };
            if let Err(fault) = integrations::check(integration, call) {
                let path = &resource.path;
                errors.push(format!(
                    "Unable to put integration on '{verb}' for resource at path '{path}': {}",
                    fault.message
                ));
            }
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(told(&Rejected { errors, warnings: Vec::new() })) }
}

/// As AWS tells it: everything, a line each.
fn told(rejected: &Rejected) -> Fault {
    let lines = |all: &[String]| all.iter().map(|one| format!("\n\t{one}")).collect::<String>();
    let (errors, warnings) = (lines(&rejected.errors), lines(&rejected.warnings));
    if let [error] = rejected.errors.as_slice()
        && error.starts_with("Invalid OpenAPI input")
    {
        return Fault::bad_request(error);
    }
    Fault::bad_request(match (errors.as_str(), warnings.as_str()) {
        (_, "") => format!("Errors found during import:{errors}"),
        ("", _) => format!("Warnings found during import:{warnings}"),
        _ => format!(
            "Errors found during import:{errors}\nAdditionally, warnings found during import:{warnings}"
        ),
    })
}

/// What a stage serves, as a document.
pub(crate) fn export(catalog: &Catalog, call: &Call) -> Answer {
    let api = call.api(catalog).map_err(|_| Fault::not_found(stages::UNKNOWN))?;
    let stage = api.stages.get(call.param("stage_name"));
    let stage = stage.ok_or_else(|| Fault::not_found(stages::UNKNOWN))?;
    let kind = call.param("export_type");
    let version = match kind {
        "oas30" => Version::Oas30,
        "swagger" => Version::Swagger,
        other => return Err(Fault::bad_request(format!("No API exporter for type '{other}'"))),
    };
    let definition = api.deployments.get(&stage.deployment_id).map(|one| &one.definition);
    let document = document(api, stage, definition.unwrap_or(&api.definition), version, call);
    let is_yaml = call.accept.to_ascii_lowercase().contains("yaml");
    let text = if is_yaml {
        sluice_openapi::write_yaml(&document)
    } else {
        serde_json::to_string_pretty(&document).unwrap_or_default()
    };
    let name = format!("{kind}_{}.{}", call.now_s, if is_yaml { "yaml" } else { "json" });
    Ok(Reply::document(Document { content_type: "application/octet-stream", name, text }))
}

fn document(api: &RestApi, stage: &Stage, definition: &Definition, version: Version, call: &Call) -> Value {
    let wanted = |name: &str| {
        let mut asked = call.query.iter().filter(|(key, _)| key == "extensions").map(|(_, value)| value);
        asked.any(|value| value.split(',').any(|one| one.trim() == name))
    };
    let access = &call.access;
    let host = format!("{}.execute-api.{}.{}", api.id, access.region, access.execute_api_suffix);
    let options = ExportOptions {
        version,
        title: &api.name,
        api_version: api.version.as_deref().unwrap_or("1.0"),
        description: api.description.as_deref(),
        host: &host,
        stage: &stage.stage_name,
        integrations: wanted("integrations"),
        authorizers: wanted("authorizers"),
        apigateway: wanted("apigateway"),
    };
    sluice_openapi::export(definition, &options)
}
