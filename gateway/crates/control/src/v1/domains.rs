//! Custom domain names, and what their base paths lead to.

use super::fault::Fault;
use super::input::Input;
use super::patch::{Patch, patches};
use super::{Answer, Call, Reply, ids, page, rest_apis, show};
use serde_json::Value;
use sluice_catalog::{BasePathMapping, Catalog, DomainName, EndpointType};
use std::sync::Arc;

const UNKNOWN: &str = "Invalid domain name identifier specified";
const UNKNOWN_PATH: &str = "Invalid base path mapping identifier specified";
/// How AWS names the empty base path.
const NO_PATH: &str = "(none)";
/// Hosted zone of all edge-optimized domain names.
const EDGE_ZONE: &str = "Z2FDTNDATAQYW2";
/// Hosted zone of regional domain names in us-east-1; here of all.
const REGIONAL_ZONE: &str = "Z1UJRXOUMOOFQ8";

fn view(domain: &DomainName) -> Value {
    let mut out = show(domain);
    if let Value::Object(members) = &mut out {
        members.remove("basePathMappings");
    }
    out
}

fn find<'c>(catalog: &'c Catalog, call: &Call) -> Result<&'c Arc<DomainName>, Fault> {
    let name = call.param("domain_name").to_ascii_lowercase();
    catalog.domain_names.get(&name).ok_or_else(|| Fault::not_found(UNKNOWN))
}

fn find_mut<'c>(catalog: &'c mut Catalog, call: &Call) -> Result<&'c mut DomainName, Fault> {
    let name = call.param("domain_name").to_ascii_lowercase();
    catalog.domain_names.get_mut(&name).map(Arc::make_mut).ok_or_else(|| Fault::not_found(UNKNOWN))
}

pub(crate) fn list(catalog: &Catalog, call: &Call) -> Answer {
    page::page(call, catalog.domain_names.iter().map(|(name, one)| (name.as_str(), one)), |one| view(one))
}

pub(crate) fn get(catalog: &Catalog, call: &Call) -> Answer {
    Ok(Reply::ok(view(find(catalog, call)?)))
}

/// Members that would need what is configured elsewhere, or is not there.
const REFUSED: &[&str] = &[
    "certificateBody",
    "certificatePrivateKey",
    "certificateChain",
    "mutualTlsAuthentication",
    "policy",
    "routingMode",
    "endpointAccessMode",
];

fn check_name(name: &str) -> Result<(), Fault> {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if name.len() > 253 || !rest.split('.').all(label) {
        return Err(Fault::bad_request(format!("Invalid domain name: {name}")));
    }
    Ok(())
}

fn security_policy(text: String, at: &str) -> Result<String, Fault> {
    match text.as_str() {
        "TLS_1_0" | "TLS_1_2" => Ok(text),
        other => Err(Fault::not_in_set(other, at, "TLS_1_0, TLS_1_2")),
    }
}

pub(crate) fn create(catalog: &mut Catalog, call: &Call) -> Answer {
    let input = call.input()?;
    let name = input.text("domainName")?.unwrap_or_default().to_ascii_lowercase();
    if name.is_empty() {
        return Err(Fault::bad_request("No Domain Name specified"));
    }
    check_name(&name)?;
    if let Some(refused) = REFUSED.iter().find(|name| input.has(name)) {
        return Err(Fault::bad_request(format!(
            "{refused} is not supported by this gateway: certificates are configured in [certificates]"
        )));
    }
    if catalog.domain_names.contains_key(&name) {
        return Err(Fault::bad_request("The domain name you provided already exists."));
    }
    let domain = fresh(&name, &input, call)?;
    let body = view(&domain);
    catalog.domain_names.insert(name, Arc::new(domain));
    Ok(Reply::created(body))
}

fn fresh(name: &str, input: &Input<'_>, call: &Call) -> Result<DomainName, Fault> {
    let endpoint = rest_apis::endpoint(input)?;
    let is_edge = endpoint.types.contains(&EndpointType::Edge);
    let policy = input.text("securityPolicy")?.unwrap_or_else(|| "TLS_1_2".to_owned());
    let mut domain = DomainName {
        domain_name: name.to_owned(),
        certificate_name: input.text("certificateName")?,
        certificate_arn: input.text("certificateArn")?,
        regional_certificate_name: input.text("regionalCertificateName")?,
        regional_certificate_arn: input.text("regionalCertificateArn")?,
        ownership_verification_certificate_arn: input.text("ownershipVerificationCertificateArn")?,
        endpoint_configuration: endpoint,
        domain_name_status: "AVAILABLE".to_owned(),
        security_policy: Some(security_policy(policy, "createDomainNameInput.securityPolicy")?),
        tags: input.tags()?,
        ..DomainName::default()
    };
    if is_edge {
        domain.certificate_upload_date = Some(call.now_s);
        domain.distribution_domain_name = Some(format!("d{}.cloudfront.net", ids::id(13)));
        domain.distribution_hosted_zone_id = Some(EDGE_ZONE.to_owned());
    } else {
        let access = &call.access;
        domain.regional_domain_name =
            Some(format!("d-{}.execute-api.{}.{}", ids::id(10), access.region, access.execute_api_suffix));
        domain.regional_hosted_zone_id = Some(REGIONAL_ZONE.to_owned());
    }
    Ok(domain)
}

pub(crate) fn delete(catalog: &mut Catalog, call: &Call) -> Answer {
    let name = find(catalog, call)?.domain_name.clone();
    catalog.domain_names.remove(&name);
    Ok(Reply::accepted())
}

pub(crate) fn update(catalog: &mut Catalog, call: &Call) -> Answer {
    let domain = find_mut(catalog, call)?;
    for patch in patches(call, "updateDomainNameInput")? {
        match patch.parts().as_slice() {
            ["certificateArn"] => domain.certificate_arn = patch.optional(),
            ["certificateName"] => domain.certificate_name = patch.optional(),
            ["regionalCertificateArn"] => domain.regional_certificate_arn = patch.optional(),
            ["regionalCertificateName"] => domain.regional_certificate_name = patch.optional(),
            ["ownershipVerificationCertificateArn"] => {
                domain.ownership_verification_certificate_arn = patch.optional();
            }
            ["securityPolicy"] => {
                patch.needs(&["replace"])?;
                let policy = security_policy(patch.text(), "updateDomainNameInput.securityPolicy")?;
                domain.security_policy = Some(policy);
            }
            ["endpointConfiguration", rest @ ..] => {
                rest_apis::apply_to_endpoint(&mut domain.endpoint_configuration, &patch, rest)?;
            }
            ["mutualTlsAuthentication", "truststoreUri" | "truststoreVersion"]
            | ["policy" | "managementPolicy" | "routingMode" | "endpointAccessMode"] => {
                return Err(patch.unsupported());
            }
            _ => return Err(patch.bad_path()),
        }
    }
    Ok(Reply::ok(view(domain)))
}

pub(crate) fn list_mappings(catalog: &Catalog, call: &Call) -> Answer {
    let mappings = &find(catalog, call)?.base_path_mappings;
    page::page(call, mappings.iter().map(|(path, one)| (path.as_str(), one)), show)
}

fn mapping<'c>(catalog: &'c Catalog, call: &Call) -> Result<&'c BasePathMapping, Fault> {
    let mappings = &find(catalog, call)?.base_path_mappings;
    mappings.get(call.param("base_path")).ok_or_else(|| Fault::not_found(UNKNOWN_PATH))
}

pub(crate) fn get_mapping(catalog: &Catalog, call: &Call) -> Answer {
    Ok(Reply::ok(show(mapping(catalog, call)?)))
}

fn base_path(text: Option<String>) -> Result<String, Fault> {
    let path = text.unwrap_or_default();
    if path.contains('/') {
        return Err(Fault::bad_request(
            "API Gateway V1 doesn't support the slash character (/) in base path mappings. To create a multi-level \
             base path mapping, use API Gateway V2.",
        ));
    }
    if path.is_empty() || path == NO_PATH {
        return Ok(NO_PATH.to_owned());
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"$-_.+!*'()".contains(&b);
    if path.len() > 300 || !path.bytes().all(allowed) {
        return Err(Fault::bad_request("Base path can only contain letters, numbers and one of $-_.+!*'()"));
    }
    Ok(path)
}

fn check_target(catalog: &Catalog, mapping: &BasePathMapping) -> Result<(), Fault> {
    let api = catalog.rest_apis.get(&mapping.rest_api_id);
    let api = api.ok_or_else(|| Fault::bad_request("Invalid REST API identifier specified"))?;
    match &mapping.stage {
        Some(stage) if !api.stages.contains_key(stage) => {
            Err(Fault::bad_request("Invalid stage identifier specified"))
        }
        _ => Ok(()),
    }
}

pub(crate) fn create_mapping(catalog: &mut Catalog, call: &Call) -> Answer {
    let input = call.input()?;
    let mapping = BasePathMapping {
        base_path: base_path(input.text("basePath")?)?,
        rest_api_id: input.text("restApiId")?.unwrap_or_default(),
        stage: input.text("stage")?.filter(|stage| !stage.is_empty()),
    };
    if find(catalog, call)?.base_path_mappings.contains_key(&mapping.base_path) {
        return Err(Fault::conflict("Base path already exists for this domain name"));
    }
    check_target(catalog, &mapping)?;
    let body = show(&mapping);
    find_mut(catalog, call)?.base_path_mappings.insert(mapping.base_path.clone(), mapping);
    Ok(Reply::created(body))
}

pub(crate) fn delete_mapping(catalog: &mut Catalog, call: &Call) -> Answer {
    mapping(catalog, call)?;
    find_mut(catalog, call)?.base_path_mappings.remove(call.param("base_path"));
    Ok(Reply::accepted())
}

pub(crate) fn update_mapping(catalog: &mut Catalog, call: &Call) -> Answer {
    let mut changed = mapping(catalog, call)?.clone();
    for patch in patches(call, "updateBasePathMappingInput")? {
        apply_to_mapping(&mut changed, &patch)?;
    }
    check_target(catalog, &changed)?;
    let domain = find_mut(catalog, call)?;
    if changed.base_path != call.param("base_path")
        && domain.base_path_mappings.contains_key(&changed.base_path)
    {
        return Err(Fault::conflict("Base path already exists for this domain name"));
    }
    let body = show(&changed);
    domain.base_path_mappings.remove(call.param("base_path"));
    domain.base_path_mappings.insert(changed.base_path.clone(), changed);
    Ok(Reply::ok(body))
}

fn apply_to_mapping(mapping: &mut BasePathMapping, patch: &Patch) -> Result<(), Fault> {
    match patch.parts().as_slice() {
        // AWS's table has the first spelling of each, its examples the second.
        ["basepath" | "basePath"] => {
            patch.needs(&["replace"])?;
            mapping.base_path = base_path(patch.value.clone())?;
        }
        ["restapiId" | "restApiId"] => {
            patch.needs(&["replace"])?;
            mapping.rest_api_id = patch.text();
        }
        ["stage"] => mapping.stage = patch.replacement()?,
        _ => return Err(patch.bad_path()),
    }
    Ok(())
}
