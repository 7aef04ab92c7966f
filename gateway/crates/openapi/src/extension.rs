//! API Gateway's extensions: integrations and gateway responses, both ways. (Developer guide, "OpenAPI extensions for API
//! Gateway".)

use serde_json::{Map, Value, json};
use sluice_catalog::{
    ContentHandling, GatewayResponse, Integration, IntegrationResponse, IntegrationType, Strings, TlsConfig,
};
use std::collections::BTreeMap;

type Members = Map<String, Value>;

pub(crate) const INTEGRATION: &str = "x-amazon-apigateway-integration";
pub(crate) const GATEWAY_RESPONSES: &str = "x-amazon-apigateway-gateway-responses";

/// Where the document names none: AWS's largest.
const TIMEOUT_MS: u32 = 29_000;

/// Scalars are taken for the texts that they are written as.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

pub(crate) fn member(members: &Members, name: &str) -> Option<String> {
    members.get(name).and_then(text)
}

pub(crate) fn flag(members: &Members, name: &str) -> bool {
    member(members, name).is_some_and(|text| text.eq_ignore_ascii_case("true"))
}

fn strings(members: &Members, name: &str) -> Strings {
    let map = members.get(name).and_then(Value::as_object);
    map.into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), text(value)?))).collect()
}

pub(crate) fn texts(value: Option<&Value>) -> Vec<String> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(text).collect()
}

/// Reads `x-amazon-apigateway-integration`. `resource`: the id that names the cache where the document does not;
/// `timeout_max_ms`: the longest that the gateway allows.
pub(crate) fn integration(value: &Value, resource: &str, timeout_max_ms: u32) -> Result<Integration, String> {
    let members = value.as_object().ok_or("Invalid integration specified")?;
    for name in ["integrationTarget"] {
        if members.contains_key(name) {
            return Err(format!("{name} is not supported by this gateway."));
        }
    }
    let named = member(members, "type").unwrap_or_default().to_ascii_uppercase();
    let integration_type = match named.as_str() {
        "AWS" => IntegrationType::Aws,
        "AWS_PROXY" => IntegrationType::AwsProxy,
        "HTTP" => IntegrationType::Http,
        "HTTP_PROXY" => IntegrationType::HttpProxy,
        "MOCK" => IntegrationType::Mock,
        _ => return Err("Invalid integration type specified".to_owned()),
    };
    let uri = member(members, "uri").filter(|uri| !uri.is_empty());
    if uri.is_none() && integration_type != IntegrationType::Mock {
        return Err("Invalid HTTP endpoint specified for URI".to_owned());
    }
    let timeout = match members.get("timeoutInMillis") {
        None => TIMEOUT_MS,
        Some(value) => text(value)
            .and_then(|text| text.parse().ok())
            .filter(|ms| (50..=timeout_max_ms).contains(ms))
            .ok_or_else(|| format!("Timeout should be between 50 ms and {timeout_max_ms} ms"))?,
    };
    Ok(Integration {
        integration_type,
        http_method: member(members, "httpMethod")
            .map(|verb| verb.to_ascii_uppercase())
            .filter(|v| !v.is_empty()),
        uri,
        connection_type: member(members, "connectionType"),
        connection_id: member(members, "connectionId"),
        credentials: member(members, "credentials"),
        request_parameters: strings(members, "requestParameters"),
        request_templates: strings(members, "requestTemplates"),
        passthrough_behavior: passthrough(members)?,
        content_handling: handling(members)?,
        timeout_in_millis: timeout,
        cache_namespace: member(members, "cacheNamespace").unwrap_or_else(|| resource.to_owned()),
        cache_key_parameters: texts(members.get("cacheKeyParameters")),
        tls_config: members
            .get("tlsConfig")
            .and_then(Value::as_object)
            .map(|tls| TlsConfig { insecure_skip_verification: flag(tls, "insecureSkipVerification") }),
        response_transfer_mode: member(members, "responseTransferMode"),
        integration_responses: responses(members)?,
    })
}

fn passthrough(members: &Members) -> Result<String, String> {
    let named = member(members, "passthroughBehavior").unwrap_or_else(|| "WHEN_NO_MATCH".to_owned());
    let upper = named.to_ascii_uppercase();
    if ["WHEN_NO_MATCH", "WHEN_NO_TEMPLATES", "NEVER"].contains(&upper.as_str()) {
        Ok(upper)
    } else {
        Err(format!("Invalid passthrough behavior specified: {named}"))
    }
}

fn handling(members: &Members) -> Result<Option<ContentHandling>, String> {
    match member(members, "contentHandling").map(|text| text.to_ascii_uppercase()).as_deref() {
        None | Some("") => Ok(None),
        Some("CONVERT_TO_BINARY") => Ok(Some(ContentHandling::ConvertToBinary)),
        Some("CONVERT_TO_TEXT") => Ok(Some(ContentHandling::ConvertToText)),
        Some(other) => Err(format!("Invalid content handling specified: {other}")),
    }
}

/// By selection pattern in the document, by status in the catalog.
fn responses(members: &Members) -> Result<BTreeMap<String, IntegrationResponse>, String> {
    let map = members.get("responses").and_then(Value::as_object);
    let mut out = BTreeMap::new();
    for (pattern, value) in map.into_iter().flatten() {
        let response = value.as_object().ok_or("Invalid integration response specified")?;
        let status = member(response, "statusCode").unwrap_or_default();
        if !is_status(&status) {
            return Err(format!("Invalid status code specified in the integration response: {status}"));
        }
        let templates = response.get("responseTemplates").and_then(Value::as_object);
        let templates = templates.into_iter().flatten();
        let made = IntegrationResponse {
            status_code: status.clone(),
            selection_pattern: (pattern != "default").then(|| pattern.clone()),
            response_parameters: strings(response, "responseParameters"),
            response_templates: templates.map(|(media, value)| (media.clone(), text(value))).collect(),
            content_handling: handling(response)?,
        };
        // The default one wins where two have the same status: it is what else would not be answered at all.
        if pattern == "default" || !out.contains_key(&status) {
            out.insert(status, made);
        }
    }
    Ok(out)
}

pub(crate) fn is_status(status: &str) -> bool {
    matches!(status.as_bytes(), [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9'])
}

/// Reads `x-amazon-apigateway-gateway-responses`.
pub(crate) fn gateway_responses(value: &Value) -> BTreeMap<String, GatewayResponse> {
    let read = |(name, value): (&String, &Value)| {
        let members = value.as_object()?;
        let response = GatewayResponse {
            response_type: name.clone(),
            status_code: member(members, "statusCode"),
            response_parameters: strings(members, "responseParameters"),
            response_templates: strings(members, "responseTemplates"),
            default_response: false,
        };
        Some((name.clone(), response))
    };
    value.as_object().into_iter().flatten().filter_map(read).collect()
}

/// Writes gateway responses.
pub(crate) fn show_gateway_responses(responses: &BTreeMap<String, GatewayResponse>) -> Value {
    let show = |response: &GatewayResponse| {
        let mut out = Members::new();
        if let Some(status) = &response.status_code {
            out.insert("statusCode".to_owned(), number(status));
        }
        put_strings(&mut out, "responseParameters", &response.response_parameters);
        put_strings(&mut out, "responseTemplates", &response.response_templates);
        Value::Object(out)
    };
    Value::Object(responses.iter().map(|(name, response)| (name.clone(), show(response))).collect())
}

fn number(text: &str) -> Value {
    text.parse::<u16>().map_or_else(|_| json!(text), |number| json!(number))
}

fn put_strings(out: &mut Members, name: &str, strings: &Strings) {
    if !strings.is_empty() {
        out.insert(name.to_owned(), json!(strings));
    }
}

fn put_text(out: &mut Members, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        out.insert(name.to_owned(), json!(text));
    }
}

/// Writes an integration. `resource`: as in [`integration`].
pub(crate) fn show_integration(integration: &Integration, resource: &str) -> Value {
    let mut out = Members::new();
    let named = serde_json::to_value(integration.integration_type).ok();
    let named = named.as_ref().and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    put_text(&mut out, "type", Some(&named));
    put_text(&mut out, "httpMethod", integration.http_method.as_deref());
    put_text(&mut out, "uri", integration.uri.as_deref());
    put_text(&mut out, "connectionType", integration.connection_type.as_deref());
    put_text(&mut out, "connectionId", integration.connection_id.as_deref());
    put_text(&mut out, "credentials", integration.credentials.as_deref());
    put_strings(&mut out, "requestParameters", &integration.request_parameters);
    put_strings(&mut out, "requestTemplates", &integration.request_templates);
    put_text(&mut out, "passthroughBehavior", Some(&integration.passthrough_behavior.to_ascii_lowercase()));
    put_handling(&mut out, integration.content_handling);
    if !matches!(integration.timeout_in_millis, 0 | TIMEOUT_MS) {
        out.insert("timeoutInMillis".to_owned(), json!(integration.timeout_in_millis));
    }
    if integration.cache_namespace != resource {
        put_text(&mut out, "cacheNamespace", Some(&integration.cache_namespace));
    }
    if !integration.cache_key_parameters.is_empty() {
        out.insert("cacheKeyParameters".to_owned(), json!(integration.cache_key_parameters));
    }
    if let Some(tls) = &integration.tls_config {
        out.insert("tlsConfig".to_owned(), json!(tls));
    }
    put_text(&mut out, "responseTransferMode", integration.response_transfer_mode.as_deref());
    let responses: Members = integration.integration_responses.values().map(show_response).collect();
    if !responses.is_empty() {
        out.insert("responses".to_owned(), Value::Object(responses));
    }
    Value::Object(out)
}

fn put_handling(out: &mut Members, handling: Option<ContentHandling>) {
    if let Some(handling) = handling.and_then(|handling| serde_json::to_value(handling).ok()) {
        out.insert("contentHandling".to_owned(), handling);
    }
}

fn show_response(response: &IntegrationResponse) -> (String, Value) {
    let mut out = Members::new();
    put_text(&mut out, "statusCode", Some(&response.status_code));
    put_strings(&mut out, "responseParameters", &response.response_parameters);
    if !response.response_templates.is_empty() {
        out.insert("responseTemplates".to_owned(), json!(response.response_templates));
    }
    put_handling(&mut out, response.content_handling);
    let pattern = response.selection_pattern.as_deref().filter(|pattern| !pattern.is_empty());
    (pattern.unwrap_or("default").to_owned(), Value::Object(out))
}
