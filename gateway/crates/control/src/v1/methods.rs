//! Methods of resources, and the answers that they declare.

use super::fault::Fault;
use super::patch::{Patch, as_flag, as_string, patches, patches_and};
use super::{Answer, Call, Reply, resources, show};
use sluice_catalog::{Catalog, Definition, IntegrationType, Method, MethodResponse};
use std::collections::BTreeMap;

pub(crate) const UNKNOWN: &str = "Invalid Method identifier specified";
pub(crate) const UNKNOWN_STATUS: &str = "Invalid Response status code specified";
const UNKNOWN_PARAMETER: &str = "Invalid parameter name specified";
const UNKNOWN_TYPE: &str = "Content-Type specified was not found";
const NO_AUTHORIZER: &str = "Invalid authorizer ID specified. Setting the authorization type to CUSTOM or \
                             COGNITO_USER_POOLS requires a valid authorizer.";
const VERBS: &[&str] = &["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "HEAD", "ANY"];

pub(crate) fn find<'c>(catalog: &'c Catalog, call: &Call) -> Result<&'c Method, Fault> {
    let resource = resources::find(catalog, call)?;
    resource.methods.get(call.param("http_method")).ok_or_else(|| Fault::not_found(UNKNOWN))
}

pub(crate) fn find_mut<'c>(catalog: &'c mut Catalog, call: &Call) -> Result<&'c mut Method, Fault> {
    let resource = resources::find_mut(catalog, call)?;
    resource.methods.get_mut(call.param("http_method")).ok_or_else(|| Fault::not_found(UNKNOWN))
}

pub(crate) fn get(catalog: &Catalog, call: &Call) -> Answer {
    Ok(Reply::ok(show(find(catalog, call)?)))
}

pub(crate) fn delete(catalog: &mut Catalog, call: &Call) -> Answer {
    find(catalog, call)?;
    resources::find_mut(catalog, call)?.methods.remove(call.param("http_method"));
    Ok(Reply::nothing())
}

pub(crate) fn put(catalog: &mut Catalog, call: &Call) -> Answer {
    let verb = call.param("http_method").to_owned();
    let resource = resources::find(catalog, call)?;
    if !VERBS.contains(&verb.as_str()) {
        let text = format!("Invalid HttpMethod specified. Valid options are {}", VERBS.join(","));
        return Err(Fault::bad_request(text));
    }
    if resource.methods.contains_key(&verb) {
        return Err(Fault::conflict("Method already exists for this resource"));
    }
    let input = call.input()?;
    let authorization = input.text("authorizationType")?.unwrap_or_default().to_ascii_uppercase();
    let method = Method {
        http_method: verb.clone(),
        authorization_type: authorization,
        authorizer_id: input.text("authorizerId")?,
        authorization_scopes: input.texts("authorizationScopes")?.unwrap_or_default(),
        api_key_required: input.bool("apiKeyRequired")?.unwrap_or(false),
        operation_name: input.text("operationName")?,
        request_validator_id: input.text("requestValidatorId")?,
        request_parameters: input.bools("requestParameters")?,
        request_models: input.strings("requestModels")?.unwrap_or_default(),
        ..Method::default()
    };
    let definition = &call.api(catalog)?.definition;
    check_authorization(definition, &method)?;
    check_parameters(&method.request_parameters)?;
    check_references(definition, &method)?;
    let body = show(&method);
    resources::find_mut(catalog, call)?.methods.insert(verb, method);
    Ok(Reply::created(body))
}

fn check_authorization(definition: &Definition, method: &Method) -> Result<(), Fault> {
    match method.authorization_type.as_str() {
        "NONE" | "AWS_IAM" => Ok(()),
        "CUSTOM" | "COGNITO_USER_POOLS" => {
            let known =
                method.authorizer_id.as_ref().is_some_and(|id| definition.authorizers.contains_key(id));
            if known { Ok(()) } else { Err(Fault::bad_request(NO_AUTHORIZER)) }
        }
        _ => {
            let text = "Invalid Authorization type specified. Valid options are NONE,AWS_IAM,CUSTOM,COGNITO_USER_POOLS";
            Err(Fault::bad_request(text))
        }
    }
}

/// `method.request.{querystring|header|path|multivalue…}.NAME`, each name once.
fn check_parameters(parameters: &BTreeMap<String, bool>) -> Result<(), Fault> {
    let mut names = Vec::new();
    for key in parameters.keys() {
        let name = ["querystring.", "multivaluequerystring.", "header.", "multivalueheader.", "path."]
            .iter()
            .find_map(|place| key.strip_prefix("method.request.")?.strip_prefix(place));
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Err(Fault::bad_request(format!(
                "Invalid mapping expression specified: Validation Result: warnings : [], errors : [Invalid mapping expression specified: {key}]"
            )));
        };
        if names.contains(&name) {
            return Err(Fault::bad_request(
                "Parameter names must be unique across querystring, header and path",
            ));
        }
        names.push(name);
    }
    Ok(())
}

fn check_references(definition: &Definition, method: &Method) -> Result<(), Fault> {
    if method.request_validator_id.as_ref().is_some_and(|id| !definition.request_validators.contains_key(id))
    {
        return Err(Fault::bad_request("Invalid Request Validator identifier specified"));
    }
    check_models(definition, method.request_models.values())
}

fn check_models<'m>(definition: &Definition, names: impl Iterator<Item = &'m String>) -> Result<(), Fault> {
    for name in names {
        if !definition.models.contains_key(name) {
            return Err(Fault::bad_request(format!("Invalid model identifier specified: {name}")));
        }
    }
    Ok(())
}

pub(crate) fn update(catalog: &mut Catalog, call: &Call) -> Answer {
    let mut method = find(catalog, call)?.clone();
    let definition = &call.api(catalog)?.definition;
    for patch in patches(call, "updateMethodInput")? {
        apply(definition, &mut method, &patch)?;
    }
    check_references(definition, &method)?;
    let body = show(&method);
    *find_mut(catalog, call)? = method;
    Ok(Reply::ok(body))
}

fn apply(definition: &Definition, method: &mut Method, patch: &Patch) -> Result<(), Fault> {
    match patch.parts().as_slice() {
        ["authorizationType"] => {
            patch.needs(&["replace"])?;
            let changed = Method { authorization_type: patch.text(), ..method.clone() };
            check_authorization(definition, &changed)?;
            if !matches!(changed.authorization_type.as_str(), "CUSTOM" | "COGNITO_USER_POOLS") {
                method.authorizer_id = None;
            }
            method.authorization_type = changed.authorization_type;
        }
        ["authorizerId"] => {
            patch.needs(&["replace"])?;
            // Of methods without an authorizer it means nothing, and AWS drops it.
            if matches!(method.authorization_type.as_str(), "CUSTOM" | "COGNITO_USER_POOLS") {
                let changed = Method { authorizer_id: patch.optional(), ..method.clone() };
                check_authorization(definition, &changed)?;
                method.authorizer_id = changed.authorizer_id;
            } else if patch.optional().is_some_and(|id| definition.authorizers.contains_key(&id)) {
                method.authorizer_id = patch.optional();
            }
        }
        ["authorizationScopes"] => patch.list(&mut method.authorization_scopes)?,
        ["apiKeyRequired"] => {
            patch.needs(&["replace"])?;
            method.api_key_required = patch.bool();
        }
        ["operationName"] => {
            patch.needs(&["replace"])?;
            method.operation_name = patch.optional();
        }
        ["requestValidatorId"] => {
            patch.needs(&["replace"])?;
            method.request_validator_id = patch.optional();
        }
        // "Supported, except for MOCK", of the whole of them.
        ["requestParameters"] if patch.op == "replace" && is_mock(method) => {
            return Err(patch.bad_path());
        }
        ["requestParameters"] => {
            patch.entries(&mut method.request_parameters, as_flag)?;
            check_parameters(&method.request_parameters)?;
        }
        ["requestModels"] => patch.entries(&mut method.request_models, as_string)?,
        ["requestParameters", name] => {
            patch.entry_of(&mut method.request_parameters, name, patch.bool(), UNKNOWN_PARAMETER)?;
            check_parameters(&method.request_parameters)?;
        }
        ["requestModels", media_type] => patch.entry(&mut method.request_models, media_type, UNKNOWN_TYPE)?,
        _ => return Err(patch.bad_path()),
    }
    Ok(())
}

fn is_mock(method: &Method) -> bool {
    method.integration.as_ref().is_some_and(|one| one.integration_type == IntegrationType::Mock)
}

/// What is wrong with a status code in the path, if anything.
pub(crate) fn status_error(call: &Call) -> Option<String> {
    let status = call.param("status_code");
    let digits = status.as_bytes();
    let valid = matches!(digits, [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9']);
    let text = format!(
        "Value '{status}' at 'statusCode' failed to satisfy constraint: Member must satisfy regular expression pattern: [1-5]\\d\\d"
    );
    (!valid).then_some(text)
}

pub(crate) fn check_status(call: &Call) -> Result<(), Fault> {
    status_error(call).map_or(Ok(()), |error| Err(Fault::validation(&[error])))
}

fn response<'c>(catalog: &'c Catalog, call: &Call) -> Result<&'c MethodResponse, Fault> {
    let responses = &find(catalog, call)?.method_responses;
    responses.get(call.param("status_code")).ok_or_else(|| Fault::not_found(UNKNOWN_STATUS))
}

pub(crate) fn get_response(catalog: &Catalog, call: &Call) -> Answer {
    check_status(call)?;
    Ok(Reply::ok(show(response(catalog, call)?)))
}

pub(crate) fn put_response(catalog: &mut Catalog, call: &Call) -> Answer {
    check_status(call)?;
    let input = call.input()?;
    let response = MethodResponse {
        status_code: call.param("status_code").to_owned(),
        response_parameters: input.bools("responseParameters")?,
        response_models: input.strings("responseModels")?.unwrap_or_default(),
    };
    let method = find(catalog, call)?;
    if method.method_responses.contains_key(&response.status_code) {
        return Err(Fault::conflict("Response already exists for this resource"));
    }
    check_response(&call.api(catalog)?.definition, &response)?;
    let body = show(&response);
    find_mut(catalog, call)?.method_responses.insert(response.status_code.clone(), response);
    Ok(Reply::created(body))
}

fn check_response(definition: &Definition, response: &MethodResponse) -> Result<(), Fault> {
    check_models(definition, response.response_models.values())?;
    let wrong = response
        .response_parameters
        .keys()
        .find(|key| key.strip_prefix("method.response.header.").is_none_or(str::is_empty));
    match wrong {
        None => Ok(()),
        Some(key) => {
            Err(Fault::bad_request(format!("Invalid mapping expression parameter specified: {key}")))
        }
    }
}

pub(crate) fn delete_response(catalog: &mut Catalog, call: &Call) -> Answer {
    check_status(call)?;
    response(catalog, call)?;
    find_mut(catalog, call)?.method_responses.remove(call.param("status_code"));
    Ok(Reply::nothing())
}

pub(crate) fn update_response(catalog: &mut Catalog, call: &Call) -> Answer {
    let patches = patches_and(call, "updateMethodResponseInput", status_error(call))?;
    let mut response = response(catalog, call)?.clone();
    for patch in patches {
        match patch.parts().as_slice() {
            ["responseParameters"] => patch.entries(&mut response.response_parameters, as_flag)?,
            ["responseModels"] => patch.entries(&mut response.response_models, as_string)?,
            ["responseParameters", name] => {
                patch.entry_of(&mut response.response_parameters, name, patch.bool(), UNKNOWN_PARAMETER)?;
            }
            ["responseModels", media_type] => {
                patch.entry(&mut response.response_models, media_type, UNKNOWN_TYPE)?;
            }
            _ => return Err(patch.bad_path()),
        }
    }
    check_response(&call.api(catalog)?.definition, &response)?;
    let body = show(&response);
    find_mut(catalog, call)?.method_responses.insert(response.status_code.clone(), response);
    Ok(Reply::created(body))
}
