//! Security schemes: API keys, signatures, and authorizers.

use crate::extension::{member, texts};
use serde_json::{Map, Value, json};
use sluice_catalog::{Authorizer, AuthorizerType, Method};
use std::collections::BTreeMap;

pub(crate) const AUTHTYPE: &str = "x-amazon-apigateway-authtype";
pub(crate) const AUTHORIZER: &str = "x-amazon-apigateway-authorizer";
/// The schemes that have no authorizer, as they are exported.
const API_KEY: &str = "api_key";
const SIGNED: &str = "sigv4";

/// What a scheme of the document asks of callers.
#[derive(Clone, Debug)]
pub(crate) enum Scheme {
    ApiKey,
    Signed,
    /// By the name of the authorizer.
    Authorizer(String, AuthorizerType),
    /// Of no concern here.
    Other,
}

/// All schemes of a document.
#[derive(Debug, Default)]
pub(crate) struct Schemes {
    pub(crate) by_name: BTreeMap<String, Scheme>,
    /// Without ids.
    pub(crate) authorizers: Vec<Authorizer>,
}

impl Schemes {
    /// Reads `securityDefinitions` or `components.securitySchemes`.
    pub(crate) fn read(schemes: Option<&Value>, errors: &mut Vec<String>) -> Self {
        let mut out = Self::default();
        for (name, value) in schemes.and_then(Value::as_object).into_iter().flatten() {
            let Some(members) = value.as_object() else { continue };
            let kind = member(members, AUTHTYPE).unwrap_or_default();
            let scheme = match members.get(AUTHORIZER).and_then(Value::as_object) {
                Some(given) => match authorizer(name, members, given, &kind) {
                    Ok(authorizer) => {
                        let kind = authorizer.authorizer_type;
                        out.authorizers.push(authorizer);
                        Scheme::Authorizer(name.clone(), kind)
                    }
                    Err(why) => {
                        errors.push(format!("Unable to create authorizer '{name}': {why}"));
                        Scheme::Other
                    }
                },
                None if kind.eq_ignore_ascii_case("awsSigv4") => Scheme::Signed,
                None if is_key(members) => Scheme::ApiKey,
                None => Scheme::Other,
            };
            out.by_name.insert(name.clone(), scheme);
        }
        out
    }

    /// Applies a `security` requirement to a method. `id`: of an authorizer by name.
    pub(crate) fn apply(&self, security: &Value, method: &mut Method, id: &dyn Fn(&str) -> Option<String>) {
        for requirement in security.as_array().into_iter().flatten() {
            for (name, scopes) in requirement.as_object().into_iter().flatten() {
                match self.by_name.get(name) {
                    Some(Scheme::ApiKey) => method.api_key_required = true,
                    Some(Scheme::Signed) => "AWS_IAM".clone_into(&mut method.authorization_type),
                    Some(Scheme::Authorizer(authorizer, kind)) => {
                        let kind = match kind {
                            AuthorizerType::CognitoUserPools => "COGNITO_USER_POOLS",
                            AuthorizerType::Token | AuthorizerType::Request => "CUSTOM",
                        };
                        kind.clone_into(&mut method.authorization_type);
                        method.authorizer_id = id(authorizer);
                        method.authorization_scopes = texts(Some(scopes));
                    }
                    Some(Scheme::Other) | None => {}
                }
            }
        }
    }
}

fn is_key(members: &Map<String, Value>) -> bool {
    member(members, "type").as_deref() == Some("apiKey")
        && member(members, "in").as_deref() == Some("header")
        && member(members, "name").is_some_and(|name| name.eq_ignore_ascii_case("x-api-key"))
}

fn authorizer(
    name: &str,
    scheme: &Map<String, Value>,
    given: &Map<String, Value>,
    auth_type: &str,
) -> Result<Authorizer, String> {
    let kind = member(given, "type").unwrap_or_default();
    let authorizer_type = match kind.to_ascii_lowercase().as_str() {
        "token" => AuthorizerType::Token,
        "request" => AuthorizerType::Request,
        "cognito_user_pools" => AuthorizerType::CognitoUserPools,
        _ => return Err(format!("Invalid authorizer type specified: {kind}")),
    };
    let header = member(scheme, "name").unwrap_or_else(|| "Authorization".to_owned());
    let source = member(given, "identitySource");
    let of_header = || format!("method.request.header.{header}");
    let identity_source = match authorizer_type {
        AuthorizerType::Request => source,
        AuthorizerType::Token | AuthorizerType::CognitoUserPools => Some(source.unwrap_or_else(of_header)),
    };
    let uri = member(given, "authorizerUri");
    if uri.is_none() && authorizer_type != AuthorizerType::CognitoUserPools {
        return Err("Invalid Authorizer URI: null.".to_owned());
    }
    let seconds = member(given, "authorizerResultTtlInSeconds");
    let seconds = match seconds {
        None => None,
        Some(text) => Some(
            text.parse()
                .ok()
                .filter(|seconds| *seconds <= 3600)
                .ok_or("Authorizer result TTL must be between 0 and 3600 seconds")?,
        ),
    };
    Ok(Authorizer {
        id: String::new(),
        name: name.to_owned(),
        authorizer_type,
        provider_arns: texts(given.get("providerARNs")),
        auth_type: (!auth_type.is_empty()).then(|| auth_type.to_owned()),
        authorizer_uri: uri,
        authorizer_credentials: member(given, "authorizerCredentials"),
        identity_source,
        identity_validation_expression: member(given, "identityValidationExpression"),
        authorizer_result_ttl_in_seconds: seconds.or(Some(300)),
    })
}

/// The requirement of a method, as documents have it; `None`: it asks for nothing.
pub(crate) fn requirement(method: &Method, authorizers: &BTreeMap<String, Authorizer>) -> Option<Value> {
    let mut out = Vec::new();
    match method.authorization_type.as_str() {
        "AWS_IAM" => out.push(json!({ SIGNED: [] })),
        "CUSTOM" | "COGNITO_USER_POOLS" => {
            let authorizer = method.authorizer_id.as_ref().and_then(|id| authorizers.get(id));
            if let Some(authorizer) = authorizer {
                out.push(json!({ authorizer.name.as_str(): method.authorization_scopes }));
            }
        }
        _ => {}
    }
    if method.api_key_required {
        out.push(json!({ API_KEY: [] }));
    }
    (!out.is_empty()).then_some(Value::Array(out))
}

/// The schemes that these methods' requirements name. `extended`: with the authorizers' own settings.
pub(crate) fn schemes<'m>(
    methods: impl Iterator<Item = &'m Method>,
    authorizers: &BTreeMap<String, Authorizer>,
    extended: bool,
) -> Map<String, Value> {
    let mut out = Map::new();
    for method in methods {
        if method.api_key_required {
            out.insert(API_KEY.to_owned(), json!({ "type": "apiKey", "name": "x-api-key", "in": "header" }));
        }
        if method.authorization_type == "AWS_IAM" {
            let scheme =
                json!({ "type": "apiKey", "name": "Authorization", "in": "header", AUTHTYPE: "awsSigv4" });
            out.insert(SIGNED.to_owned(), scheme);
        }
    }
    for authorizer in authorizers.values() {
        out.insert(authorizer.name.clone(), show(authorizer, extended));
    }
    out
}

fn show(authorizer: &Authorizer, extended: bool) -> Value {
    let source = authorizer.identity_source.as_deref().unwrap_or_default();
    let header = source.strip_prefix("method.request.header.").filter(|name| !name.contains(','));
    let usual = match authorizer.authorizer_type {
        AuthorizerType::CognitoUserPools => "cognito_user_pools",
        AuthorizerType::Token | AuthorizerType::Request => "custom",
    };
    let mut scheme = Map::new();
    let mut put = |name: &str, value: Value| drop(scheme.insert(name.to_owned(), value));
    put("type", json!("apiKey"));
    put("name", json!(header.unwrap_or("Unused")));
    put("in", json!("header"));
    put(AUTHTYPE, json!(authorizer.auth_type.as_deref().unwrap_or(usual)));
    if extended {
        put(AUTHORIZER, settings(authorizer));
    }
    Value::Object(scheme)
}

fn settings(authorizer: &Authorizer) -> Value {
    let kind = match authorizer.authorizer_type {
        AuthorizerType::Token => "token",
        AuthorizerType::Request => "request",
        AuthorizerType::CognitoUserPools => "cognito_user_pools",
    };
    let mut out = Map::new();
    out.insert("type".to_owned(), json!(kind));
    for (name, text) in [
        ("authorizerUri", &authorizer.authorizer_uri),
        ("authorizerCredentials", &authorizer.authorizer_credentials),
        ("identitySource", &authorizer.identity_source),
        ("identityValidationExpression", &authorizer.identity_validation_expression),
    ] {
        if let Some(text) = text {
            out.insert(name.to_owned(), json!(text));
        }
    }
    if let Some(seconds) = authorizer.authorizer_result_ttl_in_seconds {
        out.insert("authorizerResultTtlInSeconds".to_owned(), json!(seconds));
    }
    if !authorizer.provider_arns.is_empty() {
        out.insert("providerARNs".to_owned(), json!(authorizer.provider_arns));
    }
    Value::Object(out)
}
