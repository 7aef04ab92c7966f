//! REST APIs themselves.

use super::fault::{Fault, enum_error};
use super::input::Input;
use super::patch::{Patch, patches};
use super::{Answer, Call, Reply, ids, models, page, show};
use serde_json::{Map, Value, json};
use sluice_catalog::{
    ApiKeySource, Catalog, Definition, EndpointConfiguration, EndpointType, Resource, RestApi,
};
use std::sync::Arc;

const COMPRESSION_MAX_BYTES: i64 = 10_485_760;
/// AWS's quota.
const POLICY_MAX_BYTES: usize = 8_192;

/// AWS shows empty tags where one API is asked for or changed, but not where it is created or listed.
pub(crate) fn view(api: &RestApi, empty_tags: bool) -> Value {
    let definition = &api.definition;
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| drop(out.insert(name.to_owned(), value));
    put("id", json!(api.id));
    put("name", json!(api.name));
    if let Some(description) = &api.description {
        put("description", json!(description));
    }
    put("createdDate", json!(api.created_date));
    if let Some(version) = &api.version {
        put("version", json!(version));
    }
    if !api.warnings.is_empty() {
        put("warnings", json!(api.warnings));
    }
    if !definition.binary_media_types.is_empty() {
        put("binaryMediaTypes", json!(definition.binary_media_types));
    }
    if let Some(bytes) = definition.minimum_compression_size {
        put("minimumCompressionSize", json!(bytes));
    }
    put("apiKeySource", show(&definition.api_key_source));
    put("endpointConfiguration", show(&definition.endpoint_configuration));
    if let Some(policy) = &definition.policy {
        // AWS answers the document escaped, as it would stand within a JSON string.
        let quoted = json!(policy).to_string();
        put("policy", json!(quoted.trim_start_matches('"').strip_suffix('"').unwrap_or(&quoted)));
    }
    if empty_tags || !api.tags.is_empty() {
        put("tags", json!(api.tags));
    }
    put("disableExecuteApiEndpoint", json!(definition.disable_execute_api_endpoint));
    put("rootResourceId", json!(api.root_resource_id));
    Value::Object(out)
}

pub(crate) fn list(catalog: &Catalog, call: &Call) -> Answer {
    page::page(call, catalog.rest_apis.iter().map(|(id, api)| (id.as_str(), api)), |api| view(api, false))
}

pub(crate) fn get(catalog: &Catalog, call: &Call) -> Answer {
    Ok(Reply::ok(view(call.api(catalog)?, true)))
}

pub(crate) fn create(catalog: &mut Catalog, call: &Call) -> Answer {
    let input = call.input()?;
    let endpoint = endpoint(&input)?;
    let name = input.text("name")?.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Fault::bad_request("Must provide a name for the RestApi."))?;
    let description = input.text("description")?;
    if description.as_deref() == Some("") {
        return Err(Fault::bad_request("Description cannot be an empty string"));
    }
    refuse_unknown(&input)?;
    let source = input.text("apiKeySource")?;
    let mut definition = match input.text("cloneFrom")? {
        None => fresh(),
        Some(id) => {
            let cloned = catalog
                .rest_apis
                .get(&id)
                .ok_or_else(|| Fault::bad_request("Invalid API identifier specified"))?;
            Definition::clone(&cloned.definition)
        }
    };
    definition.api_key_source = match source.as_deref() {
        None => definition.api_key_source,
        Some("HEADER") => ApiKeySource::Header,
        Some("AUTHORIZER") => ApiKeySource::Authorizer,
        Some(other) => {
            return Err(Fault::not_in_set(other, "createRestApiInput.apiKeySource", "AUTHORIZER, HEADER"));
        }
    };
    if let Some(types) = input.texts("binaryMediaTypes")? {
        definition.binary_media_types = types;
    }
    if let Some(bytes) = input.integer("minimumCompressionSize")? {
        definition.minimum_compression_size = Some(compression(bytes)?);
    }
    definition.endpoint_configuration = endpoint;
    if let Some(policy) = input.text("policy")? {
        definition.policy = checked_policy(policy)?;
    }
    definition.disable_execute_api_endpoint = input.bool("disableExecuteApiEndpoint")?.unwrap_or(false);
    let root = definition.resources.values().find(|resource| resource.parent_id.is_none());
    let api = RestApi {
        id: ids::id(10),
        name,
        description,
        created_date: call.now_s,
        version: input.text("version")?,
        tags: input.tags()?,
        root_resource_id: root.map(|root| root.id.clone()).unwrap_or_default(),
        definition: Arc::new(definition),
        ..RestApi::default()
    };
    let body = view(&api, false);
    catalog.rest_apis.insert(api.id.clone(), Arc::new(api));
    Ok(Reply::created(body))
}

/// Members of newer versions of the service.
fn refuse_unknown(input: &Input<'_>) -> Result<(), Fault> {
    for name in ["securityPolicy", "endpointAccessMode"] {
        if input.has(name) {
            return Err(Fault::bad_request(format!("{name} is not supported by this gateway.")));
        }
    }
    Ok(())
}

/// A root and the two models that every API begins with.
fn fresh() -> Definition {
    let root = Resource { id: ids::id(10), path: "/".to_owned(), ..Resource::default() };
    Definition {
        resources: [(root.id.clone(), Arc::new(root))].into(),
        models: models::defaults(),
        ..Definition::default()
    }
}

fn compression(bytes: i64) -> Result<u32, Fault> {
    let wrong = || {
        let text = format!("Invalid minimum compression size, must be between 0 and {COMPRESSION_MAX_BYTES}");
        Fault::bad_request(text)
    };
    u32::try_from(bytes).ok().filter(|_| bytes <= COMPRESSION_MAX_BYTES).ok_or_else(wrong)
}

pub(crate) fn checked_policy(policy: String) -> Result<Option<String>, Fault> {
    if policy.is_empty() {
        return Ok(None);
    }
    let is_document = policy.len() <= POLICY_MAX_BYTES
        && serde_json::from_str::<Value>(&policy).is_ok_and(|document| document.get("Statement").is_some());
    let wrong =
        "Invalid policy document. Please check the policy syntax and ensure that Principals are valid.";
    if is_document { Ok(Some(policy)) } else { Err(Fault::bad_request(wrong)) }
}

pub(crate) fn endpoint_type(text: &str) -> Option<EndpointType> {
    match text {
        "EDGE" => Some(EndpointType::Edge),
        "REGIONAL" => Some(EndpointType::Regional),
        "PRIVATE" => Some(EndpointType::Private),
        _ => None,
    }
}

/// `endpointConfiguration` of a new API or domain name.
pub(crate) fn endpoint(input: &Input<'_>) -> Result<EndpointConfiguration, Fault> {
    let given = input.structure("endpointConfiguration")?;
    let types = given.texts("types")?;
    let address = given.text("ipAddressType")?;
    let mut errors = Vec::new();
    if let Some(types) = types.as_ref().filter(|types| types.iter().any(|one| endpoint_type(one).is_none())) {
        errors.push(format!(
            "Value '[{}]' at 'createRestApiInput.endpointConfiguration.types' failed to satisfy constraint: Member must \
             satisfy constraint: [Member must satisfy enum value set: [PRIVATE, EDGE, REGIONAL]]",
            types.join(", ")
        ));
    }
    if let Some(other) = address.as_deref().filter(|one| !["ipv4", "dualstack"].contains(one)) {
        errors.push(enum_error(
            other,
            "createRestApiInput.endpointConfiguration.ipAddressType",
            "ipv4, dualstack",
        ));
    }
    if !errors.is_empty() {
        return Err(Fault::validation(&errors));
    }
    if input.text("description")?.as_deref() == Some("") {
        return Err(Fault::bad_request("Description cannot be an empty string"));
    }
    let types: Vec<EndpointType> = match &types {
        None => vec![EndpointType::Edge],
        Some(types) => types.iter().filter_map(|one| endpoint_type(one)).collect(),
    };
    let (first, others) = match types.as_slice() {
        [] => {
            return Err(Fault::bad_request(
                "REGIONAL Configuration and EDGE Configuration cannot be both DISABLED.",
            ));
        }
        [first, others @ ..] => (*first, others),
    };
    if !others.is_empty() {
        return Err(Fault::bad_request("Cannot create an api with multiple Endpoint Types."));
    }
    let private = first == EndpointType::Private;
    if private && address.as_deref() == Some("ipv4") {
        return Err(Fault::bad_request("Only dualstack ipAddressType is supported for Private APIs."));
    }
    let fallback = if private { "dualstack" } else { "ipv4" };
    Ok(EndpointConfiguration {
        types,
        ip_address_type: Some(address.unwrap_or_else(|| fallback.to_owned())),
        vpc_endpoint_ids: given.texts("vpcEndpointIds")?.unwrap_or_default(),
    })
}

pub(crate) fn delete(catalog: &mut Catalog, call: &Call) -> Answer {
    let id = call.api(catalog)?.id.clone();
    let mapped = catalog
        .domain_names
        .values()
        .any(|domain| domain.base_path_mappings.values().any(|mapping| mapping.rest_api_id == id));
    if mapped {
        let text = "Please remove all base path mappings related to the API in your account before deleting the API.";
        return Err(Fault::bad_request(text));
    }
    catalog.rest_apis.remove(&id);
    super::usage_plans::forget_stages(catalog, |stage| stage.api_id == id);
    Ok(Reply::accepted())
}

pub(crate) fn update(catalog: &mut Catalog, call: &Call) -> Answer {
    let api = call.api_mut(catalog)?;
    let mut adds_endpoints = false;
    for patch in patches(call, "updateRestApiInput")? {
        adds_endpoints |= patch.op == "add" && patch.path == "/endpointConfiguration/vpcEndpointIds";
        apply(api, &patch)?;
    }
    // Only in the end, as one request may make an API private and name its endpoints.
    if adds_endpoints && !api.definition.endpoint_configuration.types.contains(&EndpointType::Private) {
        return Err(Fault::bad_request("VPC endpoints can only be associated with PRIVATE APIs."));
    }
    Ok(Reply::ok(view(api, true)))
}

fn apply(api: &mut RestApi, patch: &Patch) -> Result<(), Fault> {
    match patch.parts().as_slice() {
        ["name"] => {
            patch.needs(&["replace"])?;
            api.name =
                patch.optional().ok_or_else(|| Fault::bad_request("API name cannot be an empty string"))?;
        }
        ["description"] => {
            patch.needs(&["add", "replace", "remove"])?;
            api.description = patch.optional();
        }
        ["version"] => api.version = patch.replacement()?,
        ["securityPolicy" | "endpointAccessMode"] => return Err(patch.unsupported()),
        _ => apply_to_definition(Arc::make_mut(&mut api.definition), patch)?,
    }
    Ok(())
}

fn apply_to_definition(definition: &mut Definition, patch: &Patch) -> Result<(), Fault> {
    match patch.parts().as_slice() {
        ["binaryMediaTypes"] if patch.op == "replace" => {
            definition.binary_media_types = patch.whole_list()?;
        }
        ["binaryMediaTypes"] => patch.list(&mut definition.binary_media_types)?,
        ["binaryMediaTypes", media_type] => match patch.op.as_str() {
            "replace" => {
                patch.needs(&["add", "remove", "replace"])?;
                let new = patch.text();
                match definition.binary_media_types.iter_mut().find(|one| one == media_type) {
                    Some(one) => *one = new,
                    None => definition.binary_media_types.push((*media_type).to_owned()),
                }
            }
            _ => patch.item(&mut definition.binary_media_types, media_type),
        },
        ["apiKeySource"] => {
            patch.needs(&["replace"])?;
            definition.api_key_source = match patch.text().as_str() {
                "HEADER" => ApiKeySource::Header,
                "AUTHORIZER" => ApiKeySource::Authorizer,
                other => {
                    return Err(Fault::not_in_set(
                        other,
                        "createRestApiInput.apiKeySource",
                        "AUTHORIZER, HEADER",
                    ));
                }
            };
        }
        ["disableExecuteApiEndpoint"] => {
            patch.needs(&["replace"])?;
            definition.disable_execute_api_endpoint = patch.bool();
        }
        ["minimumCompressionSize"] => {
            patch.needs(&["replace"])?;
            definition.minimum_compression_size = match patch.optional() {
                None => None,
                Some(text) => Some(compression(text.parse().unwrap_or(-1))?),
            };
        }
        ["policy"] => definition.policy = checked_policy(patch.replacement()?.unwrap_or_default())?,
        ["endpointConfiguration", rest @ ..] => {
            apply_to_endpoint(&mut definition.endpoint_configuration, patch, rest)?;
        }
        _ => return Err(patch.bad_path()),
    }
    Ok(())
}

pub(crate) fn apply_to_endpoint(
    endpoint: &mut EndpointConfiguration,
    patch: &Patch,
    rest: &[&str],
) -> Result<(), Fault> {
    match rest {
        ["ipAddressType"] => {
            patch.needs(&["replace"])?;
            let value = patch.text();
            if !["ipv4", "dualstack"].contains(&value.as_str()) {
                return Err(Fault::bad_request("ipAddressType must be either ipv4 or dualstack."));
            }
            if value == "ipv4" && endpoint.types.contains(&EndpointType::Private) {
                return Err(Fault::bad_request(
                    "Only dualstack ipAddressType is supported for Private APIs.",
                ));
            }
            endpoint.ip_address_type = Some(value);
        }
        ["types"] | ["types", _] => {
            if !["add", "remove", "replace"].contains(&patch.op.as_str()) {
                let text = "Invalid patch operation specified. Must be 'add'|'remove'|'replace'";
                return Err(Fault::bad_request(text));
            }
            let wrong = "Invalid EndpointTypes specified. Valid options are REGIONAL,EDGE,PRIVATE";
            let value = endpoint_type(&patch.text()).ok_or_else(|| Fault::bad_request(wrong))?;
            // One at a time: adding another type changes to it.
            if !patch.removes() {
                endpoint.types = vec![value];
                if value == EndpointType::Private {
                    endpoint.ip_address_type = Some("dualstack".to_owned());
                }
            }
        }
        ["vpcEndpointIds"] => patch.list(&mut endpoint.vpc_endpoint_ids)?,
        _ => return Err(patch.bad_path()),
    }
    Ok(())
}
