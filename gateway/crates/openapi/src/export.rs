//! A definition to a document.

use crate::extension;
use crate::import::place;
use crate::schema;
use crate::security;
use serde_json::{Map, Value, json};
use sluice_catalog::{ApiKeySource, Definition, Method, MethodResponse, Resource};

/// A form of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// OpenAPI 3.0.
    Oas30,
    /// Swagger 2.0.
    Swagger,
}

/// What goes into a document.
#[derive(Clone, Copy, Debug)]
pub struct ExportOptions<'o> {
    /// Its form.
    pub version: Version,
    /// `info.title`.
    pub title: &'o str,
    /// `info.version`.
    pub api_version: &'o str,
    /// `info.description`.
    pub description: Option<&'o str>,
    /// Name that the API is called by.
    pub host: &'o str,
    /// Of the stage, without a slash.
    pub stage: &'o str,
    /// With integrations.
    pub integrations: bool,
    /// With authorizers.
    pub authorizers: bool,
    /// With everything else that is API Gateway's.
    pub apigateway: bool,
}

type Members = Map<String, Value>;

/// Writes a document.
#[must_use]
pub fn export(definition: &Definition, options: &ExportOptions<'_>) -> Value {
    let mut info = Members::new();
    info.insert("title".to_owned(), json!(options.title));
    info.insert("version".to_owned(), json!(options.api_version));
    if let Some(description) = options.description {
        info.insert("description".to_owned(), json!(description));
    }
    let mut out = Members::new();
    let exporter = Exporter { definition, options };
    match options.version {
        Version::Oas30 => {
            out.insert("openapi".to_owned(), json!("3.0.1"));
            out.insert("servers".to_owned(), json!([exporter.server()]));
            out.insert("components".to_owned(), exporter.components());
        }
        Version::Swagger => {
            out.insert("swagger".to_owned(), json!("2.0"));
            out.insert("host".to_owned(), json!(options.host));
            out.insert("basePath".to_owned(), json!(format!("/{}", options.stage)));
            out.insert("schemes".to_owned(), json!(["https"]));
            exporter.put_parts(&mut out, "definitions", "securityDefinitions");
        }
    }
    out.insert("info".to_owned(), Value::Object(info));
    out.insert("paths".to_owned(), exporter.paths());
    if options.apigateway {
        exporter.settings(&mut out);
    }
    Value::Object(out)
}

struct Exporter<'e> {
    definition: &'e Definition,
    options: &'e ExportOptions<'e>,
}

impl Exporter<'_> {
    fn is_v3(&self) -> bool {
        self.options.version == Version::Oas30
    }

    fn place(&self) -> &'static str {
        place(self.is_v3())
    }

    fn methods(&self) -> impl Iterator<Item = &Method> {
        self.definition.resources.values().flat_map(|resource| resource.methods.values())
    }

    fn server(&self) -> Value {
        json!({
            "url": format!("https://{}/{{basePath}}", self.options.host),
            "variables": { "basePath": { "default": self.options.stage } }
        })
    }

    fn components(&self) -> Value {
        let mut out = Members::new();
        self.put_parts(&mut out, "schemas", "securitySchemes");
        Value::Object(out)
    }

    fn put_parts(&self, out: &mut Members, models: &str, schemes: &str) {
        let shown: Members =
            self.definition.models.values().map(|m| (m.name.clone(), self.model(&m.schema))).collect();
        if !shown.is_empty() {
            out.insert(models.to_owned(), Value::Object(shown));
        }
        let extended = self.options.authorizers || self.options.apigateway;
        let shown = security::schemes(self.methods(), &self.definition.authorizers, extended);
        if !shown.is_empty() {
            out.insert(schemes.to_owned(), Value::Object(shown));
        }
    }

    fn model(&self, text: &str) -> Value {
        let schema = serde_json::from_str(text).unwrap_or_else(|_| json!({ "type": "object" }));
        schema::to_document(&schema, self.place())
    }

    fn reference(&self, model: &str) -> Value {
        json!({ "$ref": format!("{}{model}", self.place()) })
    }

    fn paths(&self) -> Value {
        let mut out = Members::new();
        for resource in self.definition.resources.values().filter(|resource| !resource.methods.is_empty()) {
            let mut item = Members::new();
            for method in resource.methods.values() {
                let key = match method.http_method.as_str() {
                    "ANY" => "x-amazon-apigateway-any-method".to_owned(),
                    verb => verb.to_ascii_lowercase(),
                };
                item.insert(key, self.method(resource, method));
            }
            out.insert(resource.path.clone(), Value::Object(item));
        }
        Value::Object(out)
    }

    fn method(&self, resource: &Resource, method: &Method) -> Value {
        let mut out = Members::new();
        let mut put = |name: &str, value: Value| drop(out.insert(name.to_owned(), value));
        if let Some(name) = &method.operation_name {
            put("operationId", json!(name));
        }
        let mut parameters: Vec<Value> = method
            .request_parameters
            .iter()
            .filter_map(|(name, required)| self.parameter(name, *required))
            .collect();
        if self.is_v3() {
            if !method.request_models.is_empty() {
                put(
                    "requestBody",
                    json!({ "content": self.content(&method.request_models), "required": true }),
                );
            }
        } else {
            if let Some(model) = method.request_models.values().next() {
                parameters.push(
                    json!({ "in": "body", "name": model, "required": true, "schema": self.reference(model) }),
                );
                put("consumes", json!(method.request_models.keys().collect::<Vec<_>>()));
            }
            let of_response =
                |response: &MethodResponse| response.response_models.keys().cloned().collect::<Vec<_>>();
            let mut produced: Vec<String> = method.method_responses.values().flat_map(of_response).collect();
            produced.sort();
            produced.dedup();
            put(
                "produces",
                json!(if produced.is_empty() { vec!["application/json".to_owned()] } else { produced }),
            );
        }
        if !parameters.is_empty() {
            put("parameters", Value::Array(parameters));
        }
        let responses: Members = method
            .method_responses
            .values()
            .map(|response| (response.status_code.clone(), self.response(response)))
            .collect();
        put("responses", Value::Object(responses));
        if let Some(security) = security::requirement(method, &self.definition.authorizers) {
            put("security", security);
        }
        self.extensions(resource, method, &mut put);
        Value::Object(out)
    }

    fn extensions(&self, resource: &Resource, method: &Method, put: &mut dyn FnMut(&str, Value)) {
        if let Some(integration) =
            method.integration.as_ref().filter(|_| self.options.integrations || self.options.apigateway)
        {
            put(extension::INTEGRATION, extension::show_integration(integration, &resource.id));
        }
        let validator = method.request_validator_id.as_ref().filter(|_| self.options.apigateway);
        if let Some(validator) = validator.and_then(|id| self.definition.request_validators.get(id)) {
            put("x-amazon-apigateway-request-validator", json!(validator.name));
        }
    }

    fn parameter(&self, name: &str, required: bool) -> Option<Value> {
        let (place, name) = name.strip_prefix("method.request.")?.split_once('.')?;
        let place = match place {
            "querystring" | "multivaluequerystring" => "query",
            "header" | "multivalueheader" => "header",
            "path" => "path",
            _ => return None,
        };
        let mut out = json!({ "name": name, "in": place, "required": required || place == "path" });
        let kind = json!({ "type": "string" });
        match (self.is_v3(), out.as_object_mut()) {
            (true, Some(members)) => drop(members.insert("schema".to_owned(), kind)),
            (false, Some(members)) => drop(members.insert("type".to_owned(), json!("string"))),
            (_, None) => {}
        }
        Some(out)
    }

    fn content(&self, models: &sluice_catalog::Strings) -> Value {
        let shown =
            models.iter().map(|(media, model)| (media.clone(), json!({ "schema": self.reference(model) })));
        Value::Object(shown.collect())
    }

    fn response(&self, response: &MethodResponse) -> Value {
        let mut out = Members::new();
        out.insert("description".to_owned(), json!(format!("{} response", response.status_code)));
        let names = response.response_parameters.keys();
        let headers: Members = names
            .filter_map(|name| name.strip_prefix("method.response.header."))
            .map(|name| {
                let kind = json!({ "type": "string" });
                (name.to_owned(), if self.is_v3() { json!({ "schema": kind }) } else { kind })
            })
            .collect();
        if !headers.is_empty() {
            out.insert("headers".to_owned(), Value::Object(headers));
        }
        if self.is_v3() {
            out.insert("content".to_owned(), self.content(&response.response_models));
        } else if let Some(model) = response.response_models.values().next() {
            out.insert("schema".to_owned(), self.reference(model));
        }
        Value::Object(out)
    }

    /// What the whole API has.
    fn settings(&self, out: &mut Members) {
        let definition = self.definition;
        let mut put =
            |name: &str, value: Value| drop(out.insert(format!("x-amazon-apigateway-{name}"), value));
        if !definition.request_validators.is_empty() {
            let show = |validator: &sluice_catalog::RequestValidator| {
                json!({
                    "validateRequestParameters": validator.validate_request_parameters,
                    "validateRequestBody": validator.validate_request_body
                })
            };
            let validators = definition.request_validators.values();
            let validators: Members = validators.map(|v| (v.name.clone(), show(v))).collect();
            put("request-validators", Value::Object(validators));
        }
        if !definition.gateway_responses.is_empty() {
            put("gateway-responses", extension::show_gateway_responses(&definition.gateway_responses));
        }
        if !definition.binary_media_types.is_empty() {
            put("binary-media-types", json!(definition.binary_media_types));
        }
        if let Some(bytes) = definition.minimum_compression_size {
            put("minimum-compression-size", json!(bytes));
        }
        if definition.api_key_source == ApiKeySource::Authorizer {
            put("api-key-source", json!("AUTHORIZER"));
        }
        if let Some(policy) = &definition.policy {
            put("policy", serde_json::from_str(policy).unwrap_or_else(|_| json!(policy)));
        }
        let (disabled, ids) =
            (definition.disable_execute_api_endpoint, &definition.endpoint_configuration.vpc_endpoint_ids);
        if disabled || !ids.is_empty() {
            let mut endpoint = Members::new();
            endpoint.insert("disableExecuteApiEndpoint".to_owned(), json!(disabled));
            if !ids.is_empty() {
                endpoint.insert("vpcEndpointIds".to_owned(), json!(ids));
            }
            put("endpoint-configuration", Value::Object(endpoint));
        }
    }
}
