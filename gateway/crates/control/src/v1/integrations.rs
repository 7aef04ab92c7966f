//! Integrations of methods, and how their answers become the method's.

use super::fault::Fault;
use super::methods::{UNKNOWN_STATUS, check_status, find, find_mut, status_error};
use super::patch::{Patch, as_string, patches, patches_and};
use super::{Answer, Call, Reply, show};
use sluice_catalog::{
    Catalog, ContentHandling, Integration, IntegrationResponse, IntegrationType, Strings, TlsConfig,
};

const UNKNOWN: &str = "Invalid Integration identifier specified";
const UNKNOWN_PARAMETER: &str = "Invalid parameter name specified";
const UNKNOWN_TYPE: &str = "Content-Type specified was not found";
/// AWS's quota for a template.
const TEMPLATE_MAX_BYTES: usize = 300 * 1024;

fn kind(text: &str) -> Result<IntegrationType, Fault> {
    Ok(match text {
        "HTTP" => IntegrationType::Http,
        "HTTP_PROXY" => IntegrationType::HttpProxy,
        "AWS" => IntegrationType::Aws,
        "AWS_PROXY" => IntegrationType::AwsProxy,
        "MOCK" => IntegrationType::Mock,
        other => {
            return Err(Fault::not_in_set(
                other,
                "putIntegrationInput.type",
                "HTTP, MOCK, AWS_PROXY, HTTP_PROXY, AWS",
            ));
        }
    })
}

fn handling(text: Option<String>, at: &str) -> Result<Option<ContentHandling>, Fault> {
    match text.as_deref() {
        None | Some("") => Ok(None),
        Some("CONVERT_TO_BINARY") => Ok(Some(ContentHandling::ConvertToBinary)),
        Some("CONVERT_TO_TEXT") => Ok(Some(ContentHandling::ConvertToText)),
        Some(other) => Err(Fault::not_in_set(other, at, "CONVERT_TO_BINARY, CONVERT_TO_TEXT")),
    }
}

pub(crate) fn get(catalog: &Catalog, call: &Call) -> Answer {
    let method = find(catalog, call)?;
    let integration = method.integration.as_ref().ok_or_else(|| Fault::not_found(UNKNOWN))?;
    Ok(Reply::ok(show(integration)))
}

pub(crate) fn delete(catalog: &mut Catalog, call: &Call) -> Answer {
    if find(catalog, call)?.integration.is_none() {
        return Err(Fault::not_found(UNKNOWN));
    }
    find_mut(catalog, call)?.integration = None;
    Ok(Reply::nothing())
}

pub(crate) fn put(catalog: &mut Catalog, call: &Call) -> Answer {
    let input = call.input()?;
    let integration_type = kind(&input.text("type")?.unwrap_or_default())?;
    find(catalog, call)?;
    if input.has("integrationTarget") {
        return Err(Fault::bad_request("integrationTarget is not supported by this gateway."));
    }
    let tls = input.structure("tlsConfig")?.bool("insecureSkipVerification")?;
    let integration = Integration {
        integration_type,
        http_method: input.text("httpMethod")?.filter(|verb| !verb.is_empty()),
        uri: input.text("uri")?,
        connection_type: input.text("connectionType")?,
        connection_id: input.text("connectionId")?,
        credentials: input.text("credentials")?,
        request_parameters: input.strings("requestParameters")?.unwrap_or_default(),
        request_templates: input.strings("requestTemplates")?.unwrap_or_default(),
        passthrough_behavior: input
            .text("passthroughBehavior")?
            .unwrap_or_else(|| "WHEN_NO_MATCH".to_owned()),
        content_handling: handling(input.text("contentHandling")?, "putIntegrationInput.contentHandling")?,
        timeout_in_millis: timeout(input.integer("timeoutInMillis")?.unwrap_or(29_000), call)?,
        cache_namespace: input
            .text("cacheNamespace")?
            .unwrap_or_else(|| call.param("resource_id").to_owned()),
        cache_key_parameters: input.texts("cacheKeyParameters")?.unwrap_or_default(),
        tls_config: tls.map(|insecure_skip_verification| TlsConfig { insecure_skip_verification }),
        response_transfer_mode: input.text("responseTransferMode")?,
        // A new integration keeps none of the old one's answers.
        integration_responses: [].into(),
    };
    check(&integration, call)?;
    let body = show(&integration);
    find_mut(catalog, call)?.integration = Some(Box::new(integration));
    Ok(Reply::created(body))
}

/// What [`check`] allows only for answers that stream: "You can stream your response for up to 15 minutes."
pub(crate) const STREAM_MAX_MS: u32 = 15 * 60_000;

fn timeout(ms: i64, call: &Call) -> Result<u32, Fault> {
    let max_ms = call.access.integration_timeout_max_ms.max(STREAM_MAX_MS);
    let wrong = || Fault::bad_request(format!("Timeout should be between 50 ms and {max_ms} ms"));
    u32::try_from(ms).ok().filter(|ms| (50..=max_ms).contains(ms)).ok_or_else(wrong)
}

pub(crate) fn check(integration: &Integration, call: &Call) -> Result<(), Fault> {
    use IntegrationType::{Aws, AwsProxy, Http, HttpProxy, Mock};
    let kind = integration.integration_type;
    if kind != Mock && integration.http_method.is_none() {
        return Err(Fault::bad_request("Enumeration value for HttpMethod must be non-empty"));
    }
    let uri = integration.uri.as_deref().unwrap_or_default();
    match kind {
        Mock => {}
        Http | HttpProxy => {
            // Whole schemes may come from stage variables.
            let named = uri.starts_with("${stageVariables.");
            if !(uri.starts_with("http://") || uri.starts_with("https://") || named) {
                return Err(Fault::bad_request("Invalid HTTP endpoint specified for URI"));
            }
        }
        Aws | AwsProxy => {
            check_role(integration, call)?;
            check_arn(kind, uri)?;
            // A function may allow the gateway by its own policy; other services need a role.
            let role = integration.credentials.as_deref().is_some_and(|role| !role.is_empty());
            if kind == Aws && !uri.contains(":lambda:path/") && !role {
                return Err(Fault::bad_request("Role ARN must be specified for AWS integrations"));
            }
        }
    }
    if !["WHEN_NO_MATCH", "WHEN_NO_TEMPLATES", "NEVER"].contains(&integration.passthrough_behavior.as_str()) {
        return Err(Fault::bad_request(
            "Invalid PassthroughBehavior specified. Valid options are WHEN_NO_MATCH,WHEN_NO_TEMPLATES,NEVER",
        ));
    }
    match integration.connection_type.as_deref() {
        None | Some("INTERNET") => {}
        Some("VPC_LINK") if integration.connection_id.as_deref().is_some_and(|id| !id.is_empty()) => {}
        Some("VPC_LINK") => {
            return Err(Fault::bad_request(
                "Connection ID must be specified when connectionType is VPC_LINK",
            ));
        }
        Some(other) => {
            return Err(Fault::not_in_set(other, "putIntegrationInput.connectionType", "INTERNET, VPC_LINK"));
        }
    }
    check_transfer(integration, call)?;
    check_templates(integration.request_templates.values())?;
    check_mappings(&integration.request_parameters)
}

/// How answers come: a function that streams is invoked by another call of Lambda's API.
fn check_transfer(integration: &Integration, call: &Call) -> Result<(), Fault> {
    use IntegrationType::{AwsProxy, HttpProxy};
    let kind = integration.integration_type;
    let is_stream = match integration.response_transfer_mode.as_deref() {
        None | Some("BUFFERED") => false,
        Some("STREAM") => true,
        Some(other) => {
            let field = "putIntegrationInput.responseTransferMode";
            return Err(Fault::not_in_set(other, field, "BUFFERED, STREAM"));
        }
    };
    if is_stream && !matches!(kind, AwsProxy | HttpProxy) {
        let text =
            "Response transfer mode STREAM is only supported for HTTP_PROXY and AWS_PROXY integrations";
        return Err(Fault::bad_request(text));
    }
    let uri = integration.uri.as_deref().unwrap_or_default();
    let invokes_stream = uri.ends_with("/response-streaming-invocations");
    if kind == AwsProxy && is_stream != invokes_stream {
        return Err(Fault::bad_request(
            "Response transfer mode STREAM needs a URI of the form \
             arn:aws:apigateway:REGION:lambda:path/2021-11-15/functions/ARN/response-streaming-invocations, and that URI needs STREAM",
        ));
    }
    let templates =
        integration.integration_responses.values().flat_map(|response| response.response_templates.values());
    if is_stream && templates.flatten().any(|template| !template.is_empty()) {
        return Err(Fault::bad_request(
            "Response templates are not supported with response transfer mode STREAM: the response is not held",
        ));
    }
    let max_ms = call.access.integration_timeout_max_ms;
    if !is_stream && integration.timeout_in_millis > max_ms {
        return Err(Fault::bad_request(format!("Timeout should be between 50 ms and {max_ms} ms")));
    }
    Ok(())
}

fn check_arn(kind: IntegrationType, uri: &str) -> Result<(), Fault> {
    let parts: Vec<&str> = uri.splitn(6, ':').collect();
    let ["arn", _, service, _, _, target] = parts.as_slice() else {
        return Err(Fault::bad_request("Invalid ARN specified in the request"));
    };
    if *service != "apigateway" || !(target.starts_with("path/") || target.starts_with("action/")) {
        return Err(Fault::bad_request("AWS ARN for integration must contain path or action"));
    }
    let invokes = uri.contains(":lambda:path/") || uri.contains(":firehose:");
    if kind == IntegrationType::AwsProxy && !invokes {
        let text = "Integrations of type 'AWS_PROXY' currently only supports Lambda function and Firehose stream invocations.";
        return Err(Fault::bad_request(text));
    }
    Ok(())
}

/// A role is of the account's own; `arn:aws:iam::*:user/*` passes the caller's identity on.
fn check_role(integration: &Integration, call: &Call) -> Result<(), Fault> {
    let account = integration.credentials.as_deref().and_then(|role| role.split(':').nth(4));
    if account.is_some_and(|account| account != "*" && account != call.access.account_id) {
        return Err(Fault::new(403, "AccessDeniedException", "Cross-account pass role is not allowed."));
    }
    Ok(())
}

fn check_templates<'t>(templates: impl Iterator<Item = &'t String>) -> Result<(), Fault> {
    for template in templates {
        if template.len() > TEMPLATE_MAX_BYTES {
            let text = format!(
                "Mapping template is too large: {} bytes, at most {TEMPLATE_MAX_BYTES}",
                template.len()
            );
            return Err(Fault::bad_request(text));
        }
    }
    Ok(())
}

/// `integration.request.{header|querystring|path|…}.NAME` from an expression or a quoted constant.
fn check_mappings(mappings: &Strings) -> Result<(), Fault> {
    for (key, value) in mappings {
        let places = ["header.", "querystring.", "path.", "multivalueheader.", "multivaluequerystring."];
        let target = key.strip_prefix("integration.request.");
        let to = target
            .is_some_and(|rest| places.iter().any(|p| rest.strip_prefix(p).is_some_and(|n| !n.is_empty())));
        if !to {
            return Err(mapping_fault(key));
        }
        if !is_expression(value, &["method.request.", "context.", "stageVariables."]) {
            return Err(mapping_fault(value));
        }
    }
    Ok(())
}

fn is_expression(value: &str, sources: &[&str]) -> bool {
    let constant = value.len() >= 2 && value.starts_with('\'') && value.ends_with('\'');
    constant || sources.iter().any(|source| value.starts_with(source))
}

fn mapping_fault(expression: &str) -> Fault {
    Fault::bad_request(format!(
        "Invalid mapping expression specified: Validation Result: warnings : [], errors : [Invalid mapping expression specified: {expression}]"
    ))
}

pub(crate) fn update(catalog: &mut Catalog, call: &Call) -> Answer {
    let method = find(catalog, call)?;
    let mut integration = method.integration.clone().ok_or_else(|| Fault::not_found(UNKNOWN))?;
    for patch in patches(call, "updateIntegrationInput")? {
        apply(&mut integration, &patch, call)?;
    }
    check(&integration, call)?;
    let body = show(&integration);
    find_mut(catalog, call)?.integration = Some(integration);
    Ok(Reply::ok(body))
}

fn apply(integration: &mut Integration, patch: &Patch, call: &Call) -> Result<(), Fault> {
    match patch.parts().as_slice() {
        ["cacheKeyParameters"] if patch.op == "replace" => {
            integration.cache_key_parameters = patch.whole_list()?;
        }
        ["cacheKeyParameters"] => patch.list(&mut integration.cache_key_parameters)?,
        // As Terraform names them.
        ["cacheKeyParameters", name] => patch.item(&mut integration.cache_key_parameters, name),
        ["requestParameters", name] => {
            patch.entry(&mut integration.request_parameters, name, UNKNOWN_PARAMETER)?;
        }
        ["requestTemplates", media_type] => {
            patch.entry(&mut integration.request_templates, media_type, UNKNOWN_TYPE)?;
        }
        ["requestParameters"] => patch.entries(&mut integration.request_parameters, as_string)?,
        ["requestTemplates"] => patch.entries(&mut integration.request_templates, as_string)?,
        ["contentHandling"] => {
            integration.content_handling =
                handling(patch.replacement()?, "updateIntegrationInput.contentHandling")?;
        }
        ["credentials"] => integration.credentials = patch.replacement()?,
        ["connectionId"] => integration.connection_id = patch.replacement()?,
        ["connectionType"] => integration.connection_type = patch.replacement()?,
        ["responseTransferMode"] => integration.response_transfer_mode = patch.replacement()?,
        ["integrationTarget"] => return Err(patch.unsupported()),
        // "Supported, except for MOCK", as is the URI: that one Terraform sends all the same.
        ["httpMethod"] if integration.integration_type == IntegrationType::Mock => {
            return Err(patch.bad_path());
        }
        ["tlsConfig", "insecureSkipVerification"] => {
            patch.needs(&["replace"])?;
            integration.tls_config = Some(TlsConfig { insecure_skip_verification: patch.bool() });
        }
        [single] => {
            patch.needs(&["replace"])?;
            match *single {
                "cacheNamespace" => integration.cache_namespace = patch.text(),
                "httpMethod" => integration.http_method = patch.optional(),
                "passthroughBehavior" => integration.passthrough_behavior = patch.text(),
                "timeoutInMillis" => integration.timeout_in_millis = timeout(patch.integer()?, call)?,
                "uri" => integration.uri = patch.optional(),
                _ => return Err(patch.bad_path()),
            }
        }
        _ => return Err(patch.bad_path()),
    }
    Ok(())
}

fn response<'c>(catalog: &'c Catalog, call: &Call) -> Result<&'c IntegrationResponse, Fault> {
    let integration = find(catalog, call)?.integration.as_ref().ok_or_else(|| Fault::not_found(UNKNOWN))?;
    let response = integration.integration_responses.get(call.param("status_code"));
    response.ok_or_else(|| Fault::not_found(UNKNOWN_STATUS))
}

fn store(catalog: &mut Catalog, call: &Call, response: IntegrationResponse) -> Result<(), Fault> {
    let integration =
        find_mut(catalog, call)?.integration.as_mut().ok_or_else(|| Fault::not_found(UNKNOWN))?;
    integration.integration_responses.insert(response.status_code.clone(), response);
    Ok(())
}

pub(crate) fn get_response(catalog: &Catalog, call: &Call) -> Answer {
    check_status(call)?;
    Ok(Reply::ok(show(response(catalog, call)?)))
}

pub(crate) fn put_response(catalog: &mut Catalog, call: &Call) -> Answer {
    check_status(call)?;
    let input = call.input()?;
    let handling = handling(input.text("contentHandling")?, "putIntegrationResponseInput.contentHandling")?;
    let response = IntegrationResponse {
        status_code: call.param("status_code").to_owned(),
        selection_pattern: input.text("selectionPattern")?,
        response_parameters: input.strings("responseParameters")?.unwrap_or_default(),
        response_templates: input.optional_strings("responseTemplates")?,
        content_handling: handling,
    };
    check_response(catalog, call, &response)?;
    let body = show(&response);
    store(catalog, call, response)?;
    Ok(Reply::created(body))
}

/// A declared answer of the method must have each header that is mapped to.
fn check_response(catalog: &Catalog, call: &Call, response: &IntegrationResponse) -> Result<(), Fault> {
    let method = find(catalog, call)?;
    let mut integration = method.integration.clone().ok_or_else(|| Fault::not_found(UNKNOWN))?;
    integration.integration_responses.insert(response.status_code.clone(), response.clone());
    check_transfer(&integration, call)?;
    let declared = method.method_responses.get(&response.status_code);
    for (key, value) in &response.response_parameters {
        if !declared.is_some_and(|declared| declared.response_parameters.contains_key(key)) {
            return Err(Fault::bad_request(format!(
                "Invalid mapping expression specified: Validation Result: warnings : [], errors : [Invalid mapping expression parameter specified: {key}]"
            )));
        }
        if !is_expression(value, &["integration.response.", "context.", "stageVariables."]) {
            return Err(mapping_fault(value));
        }
    }
    if let Some(media_type) = response.response_templates.keys().find(|media_type| !media_type.contains('/'))
    {
        return Err(Fault::bad_request(format!(
            "Validation Result: warnings : [], errors : [Invalid content type specified: {media_type}]"
        )));
    }
    check_templates(response.response_templates.values().flatten())
}

pub(crate) fn delete_response(catalog: &mut Catalog, call: &Call) -> Answer {
    check_status(call)?;
    super::resources::find(catalog, call)?;
    // Without the method, AWS misses the integration.
    let method = find(catalog, call).map_err(|_| Fault::not_found(UNKNOWN))?;
    if method.integration.is_none() {
        return Err(Fault::not_found(UNKNOWN));
    }
    response(catalog, call)?;
    if let Some(integration) = find_mut(catalog, call)?.integration.as_mut() {
        integration.integration_responses.remove(call.param("status_code"));
    }
    Ok(Reply::nothing())
}

pub(crate) fn update_response(catalog: &mut Catalog, call: &Call) -> Answer {
    let patches = patches_and(call, "updateIntegrationResponseInput", status_error(call))?;
    let mut response = response(catalog, call)?.clone();
    for patch in patches {
        match patch.parts().as_slice() {
            ["selectionPattern"] => {
                patch.needs(&["replace"])?;
                response.selection_pattern = Some(patch.text());
            }
            ["contentHandling"] => {
                let at = "updateIntegrationResponseInput.contentHandling";
                response.content_handling = handling(patch.replacement()?, at)?;
            }
            ["responseParameters"] => patch.entries(&mut response.response_parameters, as_string)?,
            ["responseTemplates"] => {
                let read = |value: &serde_json::Value| Some(as_string(value).filter(|text| !text.is_empty()));
                patch.entries(&mut response.response_templates, read)?;
            }
            ["responseParameters", name] => {
                patch.entry(&mut response.response_parameters, name, UNKNOWN_PARAMETER)?;
            }
            ["responseTemplates", media_type] => {
                let template = patch.optional();
                patch.entry_of(&mut response.response_templates, media_type, template, UNKNOWN_TYPE)?;
            }
            _ => return Err(patch.bad_path()),
        }
    }
    check_response(catalog, call, &response)?;
    let body = show(&response);
    store(catalog, call, response)?;
    Ok(Reply::ok(body))
}
