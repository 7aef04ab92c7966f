//! Which operation a method and a path name.

use super::{
    Answer, Call, Serving, account, api_keys, authorizers, deployments, documents, domains, integrations,
    links, methods, models, resources, responses, rest_apis, stages, tags, trials, usage, usage_plans,
};
use sluice_catalog::Catalog;

/// What carries an operation out.
#[derive(Clone, Copy)]
pub(crate) enum Handler {
    Read(fn(&Catalog, &Call) -> Answer),
    Write(fn(&mut Catalog, &Call) -> Answer),
    /// Asks what serves.
    Ask(fn(&Catalog, &Call, &dyn Serving) -> Answer),
    /// Not written here.
    Missing,
}

use Handler::{Ask, Missing, Read, Write};

/// One operation.
pub(crate) struct Operation {
    method: &'static str,
    path: &'static str,
    /// AWS's name.
    pub(crate) name: &'static str,
    pub(crate) handler: Handler,
}

const fn op(method: &'static str, path: &'static str, name: &'static str, handler: Handler) -> Operation {
    Operation { method, path, name, handler }
}

const METHOD: &str = "/restapis/{restapi_id}/resources/{resource_id}/methods/{http_method}";
const METHOD_RESPONSE: &str =
    "/restapis/{restapi_id}/resources/{resource_id}/methods/{http_method}/responses/{status_code}";
const INTEGRATION: &str = "/restapis/{restapi_id}/resources/{resource_id}/methods/{http_method}/integration";
const INTEGRATION_RESPONSE: &str = "/restapis/{restapi_id}/resources/{resource_id}/methods/{http_method}/integration/responses/{status_code}";

#[rustfmt::skip] // One operation a line.
const OPERATIONS: &[Operation] = &[
    op("GET", "/restapis", "GetRestApis", Read(rest_apis::list)),
    op("POST", "/restapis", "CreateRestApi", Write(rest_apis::create)),
    op("GET", "/restapis/{restapi_id}", "GetRestApi", Read(rest_apis::get)),
    op("PATCH", "/restapis/{restapi_id}", "UpdateRestApi", Write(rest_apis::update)),
    op("DELETE", "/restapis/{restapi_id}", "DeleteRestApi", Write(rest_apis::delete)),
    op("PUT", "/restapis/{restapi_id}", "PutRestApi", Write(documents::put)),
    op("GET", "/restapis/{restapi_id}/resources", "GetResources", Read(resources::list)),
    op("POST", "/restapis/{restapi_id}/resources/{parent_id}", "CreateResource", Write(resources::create)),
    op("GET", "/restapis/{restapi_id}/resources/{resource_id}", "GetResource", Read(resources::get)),
    op("PATCH", "/restapis/{restapi_id}/resources/{resource_id}", "UpdateResource", Write(resources::update)),
    op("DELETE", "/restapis/{restapi_id}/resources/{resource_id}", "DeleteResource", Write(resources::delete)),
    op("GET", METHOD, "GetMethod", Read(methods::get)),
    op("PUT", METHOD, "PutMethod", Write(methods::put)),
    op("PATCH", METHOD, "UpdateMethod", Write(methods::update)),
    op("DELETE", METHOD, "DeleteMethod", Write(methods::delete)),
    op("POST", METHOD, "TestInvokeMethod", Ask(trials::test_invoke)),
    op("GET", METHOD_RESPONSE, "GetMethodResponse", Read(methods::get_response)),
    op("PUT", METHOD_RESPONSE, "PutMethodResponse", Write(methods::put_response)),
    op("PATCH", METHOD_RESPONSE, "UpdateMethodResponse", Write(methods::update_response)),
    op("DELETE", METHOD_RESPONSE, "DeleteMethodResponse", Write(methods::delete_response)),
    op("GET", INTEGRATION, "GetIntegration", Read(integrations::get)),
    op("PUT", INTEGRATION, "PutIntegration", Write(integrations::put)),
    op("PATCH", INTEGRATION, "UpdateIntegration", Write(integrations::update)),
    op("DELETE", INTEGRATION, "DeleteIntegration", Write(integrations::delete)),
    op("GET", INTEGRATION_RESPONSE, "GetIntegrationResponse", Read(integrations::get_response)),
    op("PUT", INTEGRATION_RESPONSE, "PutIntegrationResponse", Write(integrations::put_response)),
    op("PATCH", INTEGRATION_RESPONSE, "UpdateIntegrationResponse", Write(integrations::update_response)),
    op("DELETE", INTEGRATION_RESPONSE, "DeleteIntegrationResponse", Write(integrations::delete_response)),
    op("GET", "/restapis/{restapi_id}/deployments", "GetDeployments", Read(deployments::list)),
    op("POST", "/restapis/{restapi_id}/deployments", "CreateDeployment", Write(deployments::create)),
    op("GET", "/restapis/{restapi_id}/deployments/{deployment_id}", "GetDeployment", Read(deployments::get)),
    op("PATCH", "/restapis/{restapi_id}/deployments/{deployment_id}", "UpdateDeployment", Write(deployments::update)),
    op("DELETE", "/restapis/{restapi_id}/deployments/{deployment_id}", "DeleteDeployment", Write(deployments::delete)),
    op("GET", "/restapis/{restapi_id}/stages", "GetStages", Read(stages::list)),
    op("POST", "/restapis/{restapi_id}/stages", "CreateStage", Write(stages::create)),
    op("GET", "/restapis/{restapi_id}/stages/{stage_name}", "GetStage", Read(stages::get)),
    op("PATCH", "/restapis/{restapi_id}/stages/{stage_name}", "UpdateStage", Write(stages::update)),
    op("DELETE", "/restapis/{restapi_id}/stages/{stage_name}", "DeleteStage", Write(stages::delete)),
    op("DELETE", "/restapis/{restapi_id}/stages/{stage_name}/cache/data", "FlushStageCache", Write(stages::flush)),
    op("DELETE", "/restapis/{restapi_id}/stages/{stage_name}/cache/authorizers", "FlushStageAuthorizersCache", Write(stages::flush_authorizers)),
    op("GET", "/restapis/{restapi_id}/stages/{stage_name}/exports/{export_type}", "GetExport", Read(documents::export)),
    op("GET", "/restapis/{restapi_id}/stages/{stage_name}/sdks/{sdk_type}", "GetSdk", Missing),
    op("GET", "/restapis/{restapi_id}/models", "GetModels", Read(models::list)),
    op("POST", "/restapis/{restapi_id}/models", "CreateModel", Write(models::create)),
    op("GET", "/restapis/{restapi_id}/models/{model_name}", "GetModel", Read(models::get)),
    op("PATCH", "/restapis/{restapi_id}/models/{model_name}", "UpdateModel", Write(models::update)),
    op("DELETE", "/restapis/{restapi_id}/models/{model_name}", "DeleteModel", Write(models::delete)),
    op("GET", "/restapis/{restapi_id}/models/{model_name}/default_template", "GetModelTemplate", Read(models::template)),
    op("GET", "/restapis/{restapi_id}/requestvalidators", "GetRequestValidators", Read(models::list_validators)),
    op("POST", "/restapis/{restapi_id}/requestvalidators", "CreateRequestValidator", Write(models::create_validator)),
    op("GET", "/restapis/{restapi_id}/requestvalidators/{requestvalidator_id}", "GetRequestValidator", Read(models::get_validator)),
    op("PATCH", "/restapis/{restapi_id}/requestvalidators/{requestvalidator_id}", "UpdateRequestValidator", Write(models::update_validator)),
    op("DELETE", "/restapis/{restapi_id}/requestvalidators/{requestvalidator_id}", "DeleteRequestValidator", Write(models::delete_validator)),
    op("GET", "/restapis/{restapi_id}/authorizers", "GetAuthorizers", Read(authorizers::list)),
    op("POST", "/restapis/{restapi_id}/authorizers", "CreateAuthorizer", Write(authorizers::create)),
    op("GET", "/restapis/{restapi_id}/authorizers/{authorizer_id}", "GetAuthorizer", Read(authorizers::get)),
    op("PATCH", "/restapis/{restapi_id}/authorizers/{authorizer_id}", "UpdateAuthorizer", Write(authorizers::update)),
    op("DELETE", "/restapis/{restapi_id}/authorizers/{authorizer_id}", "DeleteAuthorizer", Write(authorizers::delete)),
    op("POST", "/restapis/{restapi_id}/authorizers/{authorizer_id}", "TestInvokeAuthorizer", Ask(trials::test_authorizer)),
    op("GET", "/restapis/{restapi_id}/gatewayresponses", "GetGatewayResponses", Read(responses::list)),
    op("GET", "/restapis/{restapi_id}/gatewayresponses/{response_type}", "GetGatewayResponse", Read(responses::get)),
    op("PUT", "/restapis/{restapi_id}/gatewayresponses/{response_type}", "PutGatewayResponse", Write(responses::put)),
    op("PATCH", "/restapis/{restapi_id}/gatewayresponses/{response_type}", "UpdateGatewayResponse", Write(responses::update)),
    op("DELETE", "/restapis/{restapi_id}/gatewayresponses/{response_type}", "DeleteGatewayResponse", Write(responses::delete)),
    op("GET", "/restapis/{restapi_id}/documentation/parts", "GetDocumentationParts", Missing),
    op("POST", "/restapis/{restapi_id}/documentation/parts", "CreateDocumentationPart", Missing),
    op("PUT", "/restapis/{restapi_id}/documentation/parts", "ImportDocumentationParts", Missing),
    op("GET", "/restapis/{restapi_id}/documentation/parts/{part_id}", "GetDocumentationPart", Missing),
    op("PATCH", "/restapis/{restapi_id}/documentation/parts/{part_id}", "UpdateDocumentationPart", Missing),
    op("DELETE", "/restapis/{restapi_id}/documentation/parts/{part_id}", "DeleteDocumentationPart", Missing),
    op("GET", "/restapis/{restapi_id}/documentation/versions", "GetDocumentationVersions", Missing),
    op("POST", "/restapis/{restapi_id}/documentation/versions", "CreateDocumentationVersion", Missing),
    op("GET", "/restapis/{restapi_id}/documentation/versions/{doc_version}", "GetDocumentationVersion", Missing),
    op("PATCH", "/restapis/{restapi_id}/documentation/versions/{doc_version}", "UpdateDocumentationVersion", Missing),
    op("DELETE", "/restapis/{restapi_id}/documentation/versions/{doc_version}", "DeleteDocumentationVersion", Missing),
    op("GET", "/apikeys", "GetApiKeys", Read(api_keys::list)),
    op("POST", "/apikeys", "CreateApiKey", Write(api_keys::create)),
    op("GET", "/apikeys/{api_key}", "GetApiKey", Read(api_keys::get)),
    op("PATCH", "/apikeys/{api_key}", "UpdateApiKey", Write(api_keys::update)),
    op("DELETE", "/apikeys/{api_key}", "DeleteApiKey", Write(api_keys::delete)),
    op("GET", "/usageplans", "GetUsagePlans", Read(usage_plans::list)),
    op("POST", "/usageplans", "CreateUsagePlan", Write(usage_plans::create)),
    op("GET", "/usageplans/{usageplan_id}", "GetUsagePlan", Read(usage_plans::get)),
    op("PATCH", "/usageplans/{usageplan_id}", "UpdateUsagePlan", Write(usage_plans::update)),
    op("DELETE", "/usageplans/{usageplan_id}", "DeleteUsagePlan", Write(usage_plans::delete)),
    op("GET", "/usageplans/{usageplan_id}/keys", "GetUsagePlanKeys", Read(usage_plans::list_keys)),
    op("POST", "/usageplans/{usageplan_id}/keys", "CreateUsagePlanKey", Write(usage_plans::create_key)),
    op("GET", "/usageplans/{usageplan_id}/keys/{key_id}", "GetUsagePlanKey", Read(usage_plans::get_key)),
    op("DELETE", "/usageplans/{usageplan_id}/keys/{key_id}", "DeleteUsagePlanKey", Write(usage_plans::delete_key)),
    op("GET", "/usageplans/{usageplan_id}/usage", "GetUsage", Ask(usage::get)),
    op("PATCH", "/usageplans/{usageplan_id}/keys/{key_id}/usage", "UpdateUsage", Ask(usage::update)),
    op("GET", "/domainnames", "GetDomainNames", Read(domains::list)),
    op("POST", "/domainnames", "CreateDomainName", Write(domains::create)),
    op("GET", "/domainnames/{domain_name}", "GetDomainName", Read(domains::get)),
    op("PATCH", "/domainnames/{domain_name}", "UpdateDomainName", Write(domains::update)),
    op("DELETE", "/domainnames/{domain_name}", "DeleteDomainName", Write(domains::delete)),
    op("GET", "/domainnames/{domain_name}/basepathmappings", "GetBasePathMappings", Read(domains::list_mappings)),
    op("POST", "/domainnames/{domain_name}/basepathmappings", "CreateBasePathMapping", Write(domains::create_mapping)),
    op("GET", "/domainnames/{domain_name}/basepathmappings/{base_path}", "GetBasePathMapping", Read(domains::get_mapping)),
    op("PATCH", "/domainnames/{domain_name}/basepathmappings/{base_path}", "UpdateBasePathMapping", Write(domains::update_mapping)),
    op("DELETE", "/domainnames/{domain_name}/basepathmappings/{base_path}", "DeleteBasePathMapping", Write(domains::delete_mapping)),
    op("GET", "/domainnameaccessassociations", "GetDomainNameAccessAssociations", Missing),
    op("POST", "/domainnameaccessassociations", "CreateDomainNameAccessAssociation", Missing),
    op("DELETE", "/domainnameaccessassociations/{arn}", "DeleteDomainNameAccessAssociation", Missing),
    op("POST", "/rejectdomainnameaccessassociations", "RejectDomainNameAccessAssociation", Missing),
    op("GET", "/vpclinks", "GetVpcLinks", Read(links::list)),
    op("POST", "/vpclinks", "CreateVpcLink", Write(links::create)),
    op("GET", "/vpclinks/{vpclink_id}", "GetVpcLink", Read(links::get)),
    op("PATCH", "/vpclinks/{vpclink_id}", "UpdateVpcLink", Write(links::update)),
    op("DELETE", "/vpclinks/{vpclink_id}", "DeleteVpcLink", Write(links::delete)),
    op("GET", "/account", "GetAccount", Read(account::get)),
    op("PATCH", "/account", "UpdateAccount", Write(account::update)),
    op("GET", "/tags/{resource_arn}", "GetTags", Read(tags::get)),
    op("PUT", "/tags/{resource_arn}", "TagResource", Write(tags::put)),
    op("DELETE", "/tags/{resource_arn}", "UntagResource", Write(tags::delete)),
    op("GET", "/clientcertificates", "GetClientCertificates", Missing),
    op("POST", "/clientcertificates", "GenerateClientCertificate", Missing),
    op("GET", "/clientcertificates/{clientcertificate_id}", "GetClientCertificate", Missing),
    op("PATCH", "/clientcertificates/{clientcertificate_id}", "UpdateClientCertificate", Missing),
    op("DELETE", "/clientcertificates/{clientcertificate_id}", "DeleteClientCertificate", Missing),
    op("GET", "/sdktypes", "GetSdkTypes", Missing),
    op("GET", "/sdktypes/{sdktype_id}", "GetSdkType", Missing),
];

/// Told by `mode=import` from what else is posted there.
const IMPORT_REST_API: Operation = op("POST", "/restapis", "ImportRestApi", Write(documents::import));
const IMPORT_API_KEYS: Operation = op("POST", "/apikeys", "ImportApiKeys", Write(api_keys::import));

/// First segments of the paths above.
pub(crate) fn is_ours(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    OPERATIONS.iter().any(|operation| operation.path.split('/').nth(1) == Some(first))
}

/// Methods and paths of all operations.
#[cfg(test)]
pub(crate) fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    OPERATIONS.iter().map(|operation| (operation.method, operation.path))
}

/// Parameters of a path, decoded.
pub(crate) type Params = Vec<(&'static str, String)>;

/// The operation, and what its path says. `None`: there is no such one.
pub(crate) fn find(method: &str, path: &str, mode: Option<&str>) -> Option<(&'static Operation, Params)> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (operation, params) = OPERATIONS
        .iter()
        .filter(|operation| operation.method == method)
        .find_map(|operation| Some((operation, matched(operation.path, &segments)?)))?;
    Some((
        match (operation.name, mode) {
            ("CreateRestApi", Some("import")) => &IMPORT_REST_API,
            ("CreateApiKey", Some("import")) => &IMPORT_API_KEYS,
            _ => operation,
        },
        params,
    ))
}

fn matched(pattern: &'static str, segments: &[&str]) -> Option<Params> {
    let parts: Vec<&'static str> = pattern.trim_matches('/').split('/').collect();
    if parts.len() != segments.len() {
        return None;
    }
    let mut params = Params::new();
    for (part, segment) in parts.into_iter().zip(segments) {
        match part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) => params.push((name, decoded(segment)?)),
            None if part == *segment => {}
            None => return None,
        }
    }
    Some(params)
}

/// Percent-decoded; `None` if that is not UTF-8.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let hex = |byte: &u8| char::from(*byte).to_digit(16);
        rest = match (first, others) {
            (b'%', [high, low, after @ ..]) => {
                let value = hex(high)? * 16 + hex(low)?;
                out.push(u8::try_from(value).ok()?);
                after
            }
            _ => {
                out.push(*first);
                others
            }
        };
    }
    String::from_utf8(out).ok()
}
