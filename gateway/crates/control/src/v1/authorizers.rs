//! Authorizers.

use super::fault::Fault;
use super::patch::{Patch, patches};
use super::{Answer, Call, Reply, ids, page, show};
use serde_json::{Value, json};
use sluice_catalog::{Authorizer, AuthorizerType, Catalog};

pub(super) const UNKNOWN: &str = "Invalid Authorizer identifier specified";
/// AWS's quota.
const AUTHORIZERS_MAX: usize = 10;
const TTL_MAX_S: i64 = 3_600;

fn view(authorizer: &Authorizer) -> Value {
    let mut out = show(authorizer);
    if let Value::Object(members) = &mut out {
        members.entry("authorizerResultTtlInSeconds").or_insert_with(|| json!(300));
    }
    out
}

fn kind(text: &str, at: &str) -> Result<AuthorizerType, Fault> {
    Ok(match text {
        "TOKEN" => AuthorizerType::Token,
        "REQUEST" => AuthorizerType::Request,
        "COGNITO_USER_POOLS" => AuthorizerType::CognitoUserPools,
        "JWT" => {
            return Err(Fault::bad_request("Authorizers of type JWT are not supported by this gateway."));
        }
        other => return Err(Fault::not_in_set(other, at, "TOKEN, REQUEST, COGNITO_USER_POOLS")),
    })
}

fn ttl(seconds: i64) -> Result<u32, Fault> {
    let wrong = || Fault::bad_request("Authorizer result ttl must be between 0 and 3600 seconds");
    u32::try_from(seconds).ok().filter(|_| seconds <= TTL_MAX_S).ok_or_else(wrong)
}

pub(crate) fn list(catalog: &Catalog, call: &Call) -> Answer {
    let authorizers = &call.api(catalog)?.definition.authorizers;
    page::page(call, authorizers.iter().map(|(id, one)| (id.as_str(), one)), view)
}

fn find<'c>(catalog: &'c Catalog, call: &Call) -> Result<&'c Authorizer, Fault> {
    let found = call.api(catalog)?.definition.authorizers.get(call.param("authorizer_id"));
    found.ok_or_else(|| Fault::not_found(UNKNOWN))
}

pub(crate) fn get(catalog: &Catalog, call: &Call) -> Answer {
    Ok(Reply::ok(view(find(catalog, call)?)))
}

pub(crate) fn create(catalog: &mut Catalog, call: &Call) -> Answer {
    let input = call.input()?;
    let authorizer_type = kind(&input.text("type")?.unwrap_or_default(), "createAuthorizerInput.type")?;
    if call.api(catalog).is_err() {
        // So AWS says it, of all things.
        let text = "Unable to complete operation due to concurrent modification. Please try again later.";
        return Err(Fault::conflict(text));
    }
    let authorizer = Authorizer {
        id: ids::id(6),
        name: input.text("name")?.unwrap_or_default(),
        authorizer_type,
        provider_arns: input.texts("providerARNs")?.unwrap_or_default(),
        auth_type: input.text("authType")?.or_else(|| Some(auth_type(authorizer_type).to_owned())),
        authorizer_uri: input.text("authorizerUri")?,
        authorizer_credentials: input.text("authorizerCredentials")?,
        identity_source: input.text("identitySource")?,
        identity_validation_expression: input.text("identityValidationExpression")?,
        authorizer_result_ttl_in_seconds: Some(ttl(input
            .integer("authorizerResultTtlInSeconds")?
            .unwrap_or(300))?),
    };
    check(&authorizer)?;
    let definition = call.definition_mut(catalog)?;
    if definition.authorizers.values().any(|one| one.name == authorizer.name) {
        return Err(Fault::bad_request(format!(
            "Authorizer name must be unique. Authorizer {} already exists in this RestApi.",
            authorizer.name
        )));
    }
    if definition.authorizers.len() >= AUTHORIZERS_MAX {
        let text = "Maximum number of authorizers for this API has been reached.";
        return Err(Fault::new(429, "LimitExceededException", text));
    }
    let body = view(&authorizer);
    definition.authorizers.insert(authorizer.id.clone(), authorizer);
    Ok(Reply::created(body))
}

fn auth_type(kind: AuthorizerType) -> &'static str {
    match kind {
        AuthorizerType::CognitoUserPools => "cognito_user_pools",
        AuthorizerType::Token | AuthorizerType::Request => "custom",
    }
}

fn check(authorizer: &Authorizer) -> Result<(), Fault> {
    if authorizer.name.is_empty() {
        return Err(Fault::bad_request("Authorizer name cannot be empty"));
    }
    let needs_source = match authorizer.authorizer_type {
        AuthorizerType::CognitoUserPools => {
            if authorizer.provider_arns.is_empty() {
                return Err(Fault::bad_request(
                    "Invalid Authorizer configuration: at least one Cognito User Pool ARN must be specified",
                ));
            }
            false
        }
        AuthorizerType::Token | AuthorizerType::Request => {
            let uri = authorizer.authorizer_uri.as_deref().unwrap_or_default();
            if !uri.starts_with("arn:") {
                return Err(Fault::bad_request(format!(
                    "Invalid Authorizer URI: {uri}. Authorizer URI should be a valid API Gateway ARN that represents a Lambda function invocation."
                )));
            }
            let caches = authorizer.authorizer_result_ttl_in_seconds != Some(0);
            authorizer.authorizer_type == AuthorizerType::Token || caches
        }
    };
    if needs_source && authorizer.identity_source.as_deref().unwrap_or_default().is_empty() {
        return Err(Fault::bad_request(
            "Identity source is required unless caching of a REQUEST authorizer is off",
        ));
    }
    let sources = authorizer.identity_source.as_deref().unwrap_or_default();
    for source in sources.split(',').map(str::trim).filter(|source| !source.is_empty()) {
        let known = ["method.request.", "context.", "stageVariables."].iter().any(|p| source.starts_with(p));
        if !known {
            return Err(Fault::bad_request(format!("Invalid identity source specified: {source}")));
        }
    }
    Ok(())
}

pub(crate) fn delete(catalog: &mut Catalog, call: &Call) -> Answer {
    let id = find(catalog, call)?.id.clone();
    let definition = call.definition_mut(catalog)?;
    let mut methods = definition.resources.values().flat_map(|resource| resource.methods.values());
    if methods.any(|method| method.authorizer_id.as_ref() == Some(&id)) {
        return Err(Fault::conflict(
            "Authorizer is referenced in a method. Please remove it before deleting.",
        ));
    }
    definition.authorizers.remove(&id);
    Ok(Reply::accepted())
}

pub(crate) fn update(catalog: &mut Catalog, call: &Call) -> Answer {
    let mut authorizer = find(catalog, call)?.clone();
    for patch in patches(call, "updateAuthorizerInput")? {
        apply(&mut authorizer, &patch)?;
    }
    check(&authorizer)?;
    let body = view(&authorizer);
    call.definition_mut(catalog)?.authorizers.insert(authorizer.id.clone(), authorizer);
    Ok(Reply::ok(body))
}

fn apply(authorizer: &mut Authorizer, patch: &Patch) -> Result<(), Fault> {
    match patch.path.as_str() {
        "/providerARNs" => return patch.list(&mut authorizer.provider_arns),
        "/identitySource" => {
            patch.needs(&["add", "replace", "remove"])?;
            authorizer.identity_source = patch.optional();
            return Ok(());
        }
        _ => {}
    }
    patch.replaces_one_of(&[
        "/authorizerUri",
        "/authorizerCredentials",
        "/authorizerResultTtlInSeconds",
        "/authType",
        "/identitySource",
        "/identityValidationExpression",
        "/name",
        "/type",
    ])?;
    match patch.path.as_str() {
        "/authorizerUri" => authorizer.authorizer_uri = patch.optional(),
        "/authorizerCredentials" => authorizer.authorizer_credentials = patch.optional(),
        "/authorizerResultTtlInSeconds" => {
            authorizer.authorizer_result_ttl_in_seconds = Some(ttl(patch.integer()?)?);
        }
        "/authType" => authorizer.auth_type = patch.optional(),
        "/identityValidationExpression" => authorizer.identity_validation_expression = patch.optional(),
        "/name" => authorizer.name = patch.text(),
        _ => authorizer.authorizer_type = kind(&patch.text(), "updateAuthorizerInput.type")?,
    }
    Ok(())
}
