//! Gateway responses: the answers that the gateway itself makes.

use super::fault::Fault;
use super::patch::{Patch, as_string, patches};
use super::{Answer, Call, Reply, page};
use serde_json::{Map, Value, json};
use sluice_catalog::{Catalog, GatewayResponse, RestApi};

/// In the order in which AWS lists them, with their status codes.
const TYPES: &[(&str, Option<&str>)] = &[
    ("ACCESS_DENIED", Some("403")),
    ("API_CONFIGURATION_ERROR", Some("500")),
    ("AUTHORIZER_CONFIGURATION_ERROR", Some("500")),
    ("AUTHORIZER_FAILURE", Some("500")),
    ("BAD_REQUEST_BODY", Some("400")),
    ("BAD_REQUEST_PARAMETERS", Some("400")),
    ("DEFAULT_4XX", None),
    ("DEFAULT_5XX", None),
    ("EXPIRED_TOKEN", Some("403")),
    ("INTEGRATION_FAILURE", Some("504")),
    ("INTEGRATION_TIMEOUT", Some("504")),
    ("INVALID_API_KEY", Some("403")),
    ("INVALID_SIGNATURE", Some("403")),
    ("MISSING_AUTHENTICATION_TOKEN", Some("403")),
    ("QUOTA_EXCEEDED", Some("429")),
    ("REQUEST_TOO_LARGE", Some("413")),
    ("RESOURCE_NOT_FOUND", Some("404")),
    ("THROTTLED", Some("429")),
    ("UNAUTHORIZED", Some("401")),
    ("UNSUPPORTED_MEDIA_TYPE", Some("415")),
    ("WAF_FILTERED", Some("403")),
];
/// As AWS's message has it.
const SET: &str = "REQUEST_TOO_LARGE, RESOURCE_NOT_FOUND, AUTHORIZER_CONFIGURATION_ERROR, MISSING_AUTHENTICATION_TOKEN, \
BAD_REQUEST_BODY, INVALID_SIGNATURE, INVALID_API_KEY, BAD_REQUEST_PARAMETERS, AUTHORIZER_FAILURE, UNAUTHORIZED, \
INTEGRATION_TIMEOUT, ACCESS_DENIED, DEFAULT_4XX, DEFAULT_5XX, WAF_FILTERED, QUOTA_EXCEEDED, THROTTLED, \
API_CONFIGURATION_ERROR, UNSUPPORTED_MEDIA_TYPE, INTEGRATION_FAILURE, EXPIRED_TOKEN";
const TEMPLATE: &str = "{\"message\":$context.error.messageString}";

fn view(response: &GatewayResponse) -> Value {
    let mut out = Map::new();
    out.insert("responseType".to_owned(), json!(response.response_type));
    if let Some(status) = &response.status_code {
        out.insert("statusCode".to_owned(), json!(status));
    }
    out.insert("responseParameters".to_owned(), json!(response.response_parameters));
    out.insert("responseTemplates".to_owned(), json!(response.response_templates));
    out.insert("defaultResponse".to_owned(), json!(response.default_response));
    Value::Object(out)
}

fn default_of(kind: &str) -> Option<GatewayResponse> {
    let (kind, status) = TYPES.iter().find(|(one, _)| *one == kind)?;
    Some(GatewayResponse {
        response_type: (*kind).to_owned(),
        status_code: status.map(str::to_owned),
        response_templates: [("application/json".to_owned(), TEMPLATE.to_owned())].into(),
        default_response: true,
        ..GatewayResponse::default()
    })
}

fn effective(api: &RestApi, kind: &str) -> Option<GatewayResponse> {
    api.definition.gateway_responses.get(kind).cloned().or_else(|| default_of(kind))
}

fn check_type(call: &Call) -> Result<String, Fault> {
    let kind = call.param("response_type");
    if TYPES.iter().any(|(one, _)| *one == kind) {
        return Ok(kind.to_owned());
    }
    Err(Fault::not_in_set(kind, "responseType", SET))
}

pub(crate) fn list(catalog: &Catalog, call: &Call) -> Answer {
    let api = call.api(catalog)?;
    let all = TYPES.iter().filter_map(|(kind, _)| Some((*kind, effective(api, kind)?)));
    page::page(call, all, |response| view(&response))
}

pub(crate) fn get(catalog: &Catalog, call: &Call) -> Answer {
    let kind = check_type(call)?;
    let response = effective(call.api(catalog)?, &kind);
    Ok(Reply::ok(view(&response.unwrap_or_default())))
}

fn check(response: &GatewayResponse) -> Result<(), Fault> {
    if let Some(status) = &response.status_code {
        let digits = status.as_bytes();
        if !matches!(digits, [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9']) {
            return Err(Fault::bad_request(format!("Invalid status code: {status}")));
        }
    }
    for (key, value) in &response.response_parameters {
        if key.strip_prefix("gatewayresponse.header.").is_none_or(str::is_empty) {
            return Err(Fault::bad_request(format!("Invalid mapping expression parameter specified: {key}")));
        }
        if value.is_empty() {
            return Err(Fault::bad_request("Invalid null or empty value in responseParameters"));
        }
    }
    if response.response_templates.values().any(String::is_empty) {
        return Err(Fault::bad_request("Invalid null or empty value in responseTemplates"));
    }
    Ok(())
}

pub(crate) fn put(catalog: &mut Catalog, call: &Call) -> Answer {
    let kind = check_type(call)?;
    let definition = call.definition_mut(catalog)?;
    let input = call.input()?;
    let default = default_of(&kind).unwrap_or_default();
    let response = GatewayResponse {
        response_type: kind.clone(),
        status_code: input.text("statusCode")?.or(default.status_code),
        response_parameters: input.strings("responseParameters")?.unwrap_or_default(),
        // None of its own: the default body is sent.
        response_templates: input.strings("responseTemplates")?.unwrap_or_default(),
        default_response: false,
    };
    check(&response)?;
    let body = view(&response);
    definition.gateway_responses.insert(kind, response);
    Ok(Reply::created(body))
}

pub(crate) fn delete(catalog: &mut Catalog, call: &Call) -> Answer {
    let kind = check_type(call)?;
    match call.definition_mut(catalog)?.gateway_responses.remove(&kind) {
        Some(_) => Ok(Reply::accepted()),
        None => Err(Fault::not_found("Gateway response type not defined on api")),
    }
}

pub(crate) fn update(catalog: &mut Catalog, call: &Call) -> Answer {
    let kind = check_type(call)?;
    let mut response = effective(call.api(catalog)?, &kind).unwrap_or_default();
    for patch in patches(call, "updateGatewayResponseInput")? {
        apply(&mut response, &patch)?;
    }
    check(&response)?;
    response.default_response = false;
    let body = view(&response);
    call.definition_mut(catalog)?.gateway_responses.insert(kind, response);
    Ok(Reply::ok(body))
}

fn apply(response: &mut GatewayResponse, patch: &Patch) -> Result<(), Fault> {
    let given = |what: &str| match (&patch.value, patch.removes()) {
        (None, false) => Err(Fault::bad_request(format!("Invalid null or empty value in {what}"))),
        _ => Ok(()),
    };
    match patch.parts().as_slice() {
        ["statusCode"] => response.status_code = patch.replacement()?,
        ["responseParameters"] => patch.entries(&mut response.response_parameters, as_string)?,
        ["responseTemplates"] => patch.entries(&mut response.response_templates, as_string)?,
        ["responseParameters", name] => {
            given("responseParameters")?;
            patch.entry(&mut response.response_parameters, name, "Invalid parameter name specified")?;
        }
        ["responseTemplates", media_type] => {
            given("responseTemplates")?;
            patch.entry(
                &mut response.response_templates,
                media_type,
                "Content-Type specified was not found",
            )?;
        }
        _ => return Err(patch.bad_path()),
    }
    Ok(())
}
