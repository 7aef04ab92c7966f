//! A document to a definition.
//!
//! ```text
//! models, validators, security schemes -> paths -> methods -> integrations -> the API's own settings
//! ```
//! What a later step names is there by then. Everything wrong is collected; nothing is made if anything is.

use crate::extension::{self, flag, is_status, member, text, texts};
use crate::schema::{self, PLACES};
use crate::security::Schemes;
use crate::tree::Tree;
use serde_json::{Map, Value};
use sluice_catalog::{ApiKeySource, Definition, Method, MethodResponse, Model, RequestValidator, Resource};
use std::collections::BTreeMap;

/// What becomes of a document's base path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BasePath {
    /// It is as if it were not there.
    #[default]
    Ignore,
    /// It stands before every path.
    Prepend,
    /// It does so without its first segment.
    Split,
}

/// How a document is read.
#[derive(Clone, Copy, Debug)]
pub struct ImportOptions<'o> {
    /// Id of the API, for references to its models.
    pub api: &'o str,
    /// What becomes of the base path.
    pub base_path: BasePath,
    /// What the document does not say stays as it was, and what it says is put over it; else it takes the place of all.
    pub merge: bool,
    /// Longest `timeoutInMillis`.
    pub timeout_max_ms: u32,
}

/// A definition as a document has it.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// `info.title`.
    pub name: String,
    /// `info.version`.
    pub version: Option<String>,
    /// `info.description`.
    pub description: Option<String>,
    /// Id of the resource `/`.
    pub root: String,
    /// Everything else.
    pub definition: Definition,
    /// What of the document came to nothing.
    pub warnings: Vec<String>,
}

/// Why a document is not imported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// What is wrong.
    pub errors: Vec<String>,
    /// What would have come to nothing.
    pub warnings: Vec<String>,
}

const VALIDATOR: &str = "x-amazon-apigateway-request-validator";
const VALIDATORS: &str = "x-amazon-apigateway-request-validators";
const ANY: &str = "x-amazon-apigateway-any-method";
const ENDPOINT: &str = "x-amazon-apigateway-endpoint-configuration";
const JSON: &str = "application/json";
const VERBS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];
/// Members of newer versions of the service.
const UNSUPPORTED: [&str; 2] =
    ["x-amazon-apigateway-security-policy", "x-amazon-apigateway-endpoint-access-mode"];

type Members = Map<String, Value>;

/// Reads a document over a definition (an empty one: for a new API). `ids` makes identifiers of a length.
///
/// # Errors
/// Everything that is wrong with it.
pub fn import(
    document: &Value,
    before: &Definition,
    options: &ImportOptions<'_>,
    ids: &mut dyn FnMut(usize) -> String,
) -> Result<Imported, Rejected> {
    let broken = |why: &str| Rejected { errors: vec![why.to_owned()], warnings: Vec::new() };
    let root = document.as_object().ok_or_else(|| broken("Invalid OpenAPI input."))?;
    let version = |name: &str| member(root, name).unwrap_or_default();
    let is_v3 = version("openapi").starts_with("3.");
    if !is_v3 && !version("swagger").starts_with('2') {
        return Err(broken("Invalid OpenAPI input."));
    }
    let info = root.get("info").and_then(Value::as_object);
    let name = info.and_then(|info| member(info, "title")).filter(|title| !title.is_empty());
    let name = name.ok_or_else(|| broken("Invalid OpenAPI input: info.title is missing."))?;
    if !root.get("paths").is_some_and(Value::is_object) {
        return Err(broken("Invalid OpenAPI input: paths is missing."));
    }
    let mut errors = Vec::new();
    let place = if is_v3 { "/components/securitySchemes" } else { "/securityDefinitions" };
    let schemes = Schemes::read(document.pointer(place), &mut errors);
    let mut importer = Importer {
        document,
        root,
        is_v3,
        options,
        definition: if options.merge { before.clone() } else { Definition::default() },
        tree: Tree::new(before, options.merge, ids),
        schemes,
        errors,
        warnings: Vec::new(),
    };
    importer.settings(before);
    importer.models();
    importer.validators(before);
    importer.authorizers(before);
    importer.paths();
    let Importer { mut definition, tree, errors, warnings, .. } = importer;
    if !errors.is_empty() {
        return Err(Rejected { errors, warnings });
    }
    let (root, resources) = tree.finish();
    definition.resources = resources;
    let of_info = |name: &str| info.and_then(|info| member(info, name)).filter(|text| !text.is_empty());
    let (version, description) = (of_info("version"), of_info("description"));
    Ok(Imported { name, version, description, root, definition, warnings })
}

struct Importer<'d> {
    document: &'d Value,
    root: &'d Members,
    is_v3: bool,
    options: &'d ImportOptions<'d>,
    definition: Definition,
    tree: Tree<'d>,
    schemes: Schemes,
    errors: Vec<String>,
    warnings: Vec<String>,
}

impl<'d> Importer<'d> {
    /// What a value stands for: itself, or what its `$ref` names in this document.
    fn resolve(&self, value: &'d Value) -> Result<&'d Value, String> {
        let mut value = value;
        for _ in 0..16 {
            let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return Ok(value) };
            let found = reference.strip_prefix('#').and_then(|at| self.document.pointer(at));
            value = found.ok_or_else(|| format!("Unable to resolve reference '{reference}'"))?;
        }
        Err("References lead in a circle".to_owned())
    }

    /// The first of `servers`.
    fn server(&self) -> Option<&'d Members> {
        self.root.get("servers")?.as_array()?.first()?.as_object()
    }

    /// What the whole API has.
    fn settings(&mut self, before: &Definition) {
        for name in UNSUPPORTED.iter().filter(|name| self.root.contains_key(**name)) {
            self.errors.push(format!("{name} is not supported by this gateway."));
        }
        if !self.options.merge {
            self.definition.endpoint_configuration = before.endpoint_configuration.clone();
        }
        let endpoint =
            self.server().and_then(|server| server.get(ENDPOINT)).or_else(|| self.root.get(ENDPOINT));
        let definition = &mut self.definition;
        if let Some(types) = self.root.get("x-amazon-apigateway-binary-media-types") {
            definition.binary_media_types = texts(Some(types));
        }
        match member(self.root, "x-amazon-apigateway-api-key-source")
            .map(|s| s.to_ascii_uppercase())
            .as_deref()
        {
            None => {}
            Some("HEADER") => definition.api_key_source = ApiKeySource::Header,
            Some("AUTHORIZER") => definition.api_key_source = ApiKeySource::Authorizer,
            Some(other) => self.errors.push(format!("Invalid API key source specified: {other}")),
        }
        if let Some(bytes) = self.root.get("x-amazon-apigateway-minimum-compression-size") {
            let bytes = bytes.as_u64().filter(|bytes| *bytes <= 10_485_760);
            match bytes.and_then(|bytes| u32::try_from(bytes).ok()) {
                Some(bytes) => definition.minimum_compression_size = Some(bytes),
                None => self
                    .errors
                    .push("Invalid minimum compression size, must be between 0 and 10485760".to_owned()),
            }
        }
        if let Some(policy) = self.root.get("x-amazon-apigateway-policy").filter(|policy| !policy.is_null()) {
            let policy = policy.as_str().map_or_else(|| policy.to_string(), str::to_owned);
            definition.policy = Some(policy);
        }
        if let Some(responses) = self.root.get(extension::GATEWAY_RESPONSES) {
            definition.gateway_responses.extend(extension::gateway_responses(responses));
        }
        if let Some(endpoint) = endpoint.and_then(Value::as_object) {
            definition.disable_execute_api_endpoint = flag(endpoint, "disableExecuteApiEndpoint");
            if endpoint.contains_key("vpcEndpointIds") {
                definition.endpoint_configuration.vpc_endpoint_ids = texts(endpoint.get("vpcEndpointIds"));
            }
        }
    }

    fn models(&mut self) {
        let place = if self.is_v3 { "/components/schemas" } else { "/definitions" };
        for (name, value) in self.document.pointer(place).and_then(Value::as_object).into_iter().flatten() {
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
                let why = format!("Model name must be alphanumeric: {name}");
                self.errors.push(format!("Unable to create model for '{name}': {why}"));
                continue;
            }
            let description = value.get("description").and_then(text);
            self.model(name.clone(), value, description);
        }
    }

    fn model(&mut self, name: String, value: &Value, description: Option<String>) {
        let schema = schema::to_model(value, self.options.api);
        let schema = serde_json::to_string_pretty(&schema).unwrap_or_default();
        let known = self.definition.models.get(&name).map(|model| model.id.clone());
        let id = known.unwrap_or_else(|| self.tree.new_id(6));
        let model = Model { id, name: name.clone(), description, schema, content_type: JSON.to_owned() };
        self.definition.models.insert(name, model);
    }

    /// The name of the model of a body: the one that is referred to, or one made for it. `None`: there is no schema.
    fn model_of(&mut self, value: Option<&Value>) -> Result<Option<String>, String> {
        let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            let name = schema::name_of(reference);
            let name = name.ok_or_else(|| format!("Unable to resolve reference '{reference}'"))?;
            return match self.definition.models.contains_key(name) {
                true => Ok(Some(name.to_owned())),
                false => Err(format!("Invalid model identifier specified: {name}")),
            };
        }
        let schema = schema::to_model(value, self.options.api);
        let schema = serde_json::to_string_pretty(&schema).unwrap_or_default();
        if let Some(known) = self.definition.models.values().find(|model| model.schema == schema) {
            return Ok(Some(known.name.clone()));
        }
        let name = format!("MODEL{}", self.tree.new_id(6));
        self.model(name.clone(), value, None);
        Ok(Some(name))
    }

    fn validators(&mut self, before: &Definition) {
        let given = self.root.get(VALIDATORS).and_then(Value::as_object);
        for (name, value) in given.into_iter().flatten() {
            let Some(members) = value.as_object() else { continue };
            let known = before.request_validators.values().find(|validator| validator.name == *name);
            let id = known.map_or_else(|| self.tree.new_id(6), |validator| validator.id.clone());
            let validator = RequestValidator {
                id: id.clone(),
                name: name.clone(),
                validate_request_body: flag(members, "validateRequestBody"),
                validate_request_parameters: flag(members, "validateRequestParameters"),
            };
            self.definition.request_validators.insert(id, validator);
        }
    }

    fn authorizers(&mut self, before: &Definition) {
        for authorizer in std::mem::take(&mut self.schemes.authorizers) {
            let known = before.authorizers.values().find(|known| known.name == authorizer.name);
            let id = known.map_or_else(|| self.tree.new_id(6), |known| known.id.clone());
            let authorizer = sluice_catalog::Authorizer { id: id.clone(), ..authorizer };
            self.definition.authorizers.insert(id, authorizer);
        }
    }

    /// What stands before every path.
    fn prefix(&self) -> String {
        let base = if self.is_v3 { self.server().map(of_server) } else { member(self.root, "basePath") };
        let base = base.unwrap_or_default();
        let segments: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
        let from = match self.options.base_path {
            BasePath::Ignore => segments.len(),
            BasePath::Prepend => 0,
            BasePath::Split => 1,
        };
        segments.iter().skip(from).map(|part| format!("/{part}")).collect()
    }

    fn paths(&mut self) {
        let prefix = self.prefix();
        for (path, item) in self.root.get("paths").and_then(Value::as_object).into_iter().flatten() {
            if path.starts_with("x-") {
                continue;
            }
            let full = format!("{prefix}/{}", path.trim_start_matches('/'));
            if let Err(why) = self.path(&full, item) {
                self.errors.push(why);
            }
        }
    }

    fn path(&mut self, path: &str, item: &'d Value) -> Result<(), String> {
        let item = self.resolve(item)?;
        let members = item.as_object().ok_or_else(|| format!("Invalid path item at '{path}'"))?;
        let id = self.tree.at(path)?.id.clone();
        let shared = members.get("parameters");
        for (key, operation) in members {
            let verb = match key.as_str() {
                ANY => "ANY".to_owned(),
                verb if VERBS.contains(&verb) => verb.to_ascii_uppercase(),
                _ => continue,
            };
            let Some(operation) = operation.as_object() else {
                return Err(format!(
                    "Unable to put method '{verb}' on resource at path '{path}': not an object"
                ));
            };
            match self.method((path, &id), &verb, shared, operation) {
                Ok(method) => {
                    let resource: &mut Resource = self.tree.at(path)?;
                    resource.methods.insert(verb, method);
                }
                Err(why) => self.errors.push(why),
            }
        }
        Ok(())
    }

    fn method(
        &mut self,
        (path, id): (&str, &str),
        verb: &str,
        shared: Option<&'d Value>,
        operation: &'d Members,
    ) -> Result<Method, String> {
        let of_method =
            |why: String| format!("Unable to put method '{verb}' on resource at path '{path}': {why}");
        let mut method = Method {
            http_method: verb.to_owned(),
            authorization_type: "NONE".to_owned(),
            operation_name: member(operation, "operationId"),
            ..Method::default()
        };
        if let Some(security) = operation.get("security").or_else(|| self.root.get("security")) {
            let authorizers = &self.definition.authorizers;
            let id = |name: &str| authorizers.values().find(|a| a.name == name).map(|a| a.id.clone());
            self.schemes.apply(security, &mut method, &id);
        }
        let auth =
            operation.get("x-amazon-apigateway-auth").or_else(|| self.root.get("x-amazon-apigateway-auth"));
        let kind = auth.and_then(Value::as_object).and_then(|auth| member(auth, "type"));
        if let Some(kind) = kind.map(|kind| kind.to_ascii_uppercase())
            && matches!(kind.as_str(), "NONE" | "AWS_IAM")
        {
            method.authorization_type = kind;
        }
        self.parameters(shared, operation, &mut method).map_err(of_method)?;
        self.request_body(operation, &mut method).map_err(of_method)?;
        self.responses(operation, &mut method).map_err(of_method)?;
        if let Some(name) = operation.get(VALIDATOR).or_else(|| self.root.get(VALIDATOR)).and_then(text) {
            let known = self.definition.request_validators.values().find(|validator| validator.name == name);
            let known = known
                .ok_or_else(|| of_method(format!("Invalid Request Validator name specified: {name}")))?;
            method.request_validator_id = Some(known.id.clone());
        }
        if let Some(value) = operation.get(extension::INTEGRATION) {
            let integration = self
                .resolve(value)
                .and_then(|value| extension::integration(value, id, self.options.timeout_max_ms));
            method.integration = Some(Box::new(integration.map_err(|why| {
                format!("Unable to put integration on '{verb}' for resource at path '{path}': {why}")
            })?));
        }
        Ok(method)
    }

    /// Parameters of the path, and those of the operation over them.
    fn parameters(
        &mut self,
        shared: Option<&'d Value>,
        operation: &'d Members,
        method: &mut Method,
    ) -> Result<(), String> {
        let lists = [shared, operation.get("parameters")];
        for value in lists.into_iter().flatten().filter_map(Value::as_array).flatten() {
            let value = self.resolve(value)?;
            let Some(parameter) = value.as_object() else { continue };
            let name = member(parameter, "name").unwrap_or_default();
            let place = match member(parameter, "in").unwrap_or_default().as_str() {
                "query" => "querystring",
                "header" => "header",
                "path" => "path",
                "body" => {
                    let model = self.model_of(parameter.get("schema"))?;
                    for media in self.media_types(operation, "consumes") {
                        method.request_models.extend(model.clone().map(|model| (media, model)));
                    }
                    continue;
                }
                other => {
                    self.warnings.push(format!("Parameter '{name}' in '{other}' is not supported"));
                    continue;
                }
            };
            let required = flag(parameter, "required") || place == "path";
            method.request_parameters.insert(format!("method.request.{place}.{name}"), required);
        }
        Ok(())
    }

    /// Of Swagger 2.0: the operation's, the document's, or JSON.
    fn media_types(&self, operation: &Members, name: &str) -> Vec<String> {
        let given = texts(operation.get(name).or_else(|| self.root.get(name)));
        if given.is_empty() { vec![JSON.to_owned()] } else { given }
    }

    /// Of OpenAPI 3.
    fn request_body(&mut self, operation: &'d Members, method: &mut Method) -> Result<(), String> {
        let Some(body) = operation.get("requestBody").filter(|_| self.is_v3) else { return Ok(()) };
        let body = self.resolve(body)?;
        method.request_models = self.content(body)?;
        Ok(())
    }

    fn content(&mut self, holder: &'d Value) -> Result<BTreeMap<String, String>, String> {
        let mut out = BTreeMap::new();
        for (media, value) in holder.get("content").and_then(Value::as_object).into_iter().flatten() {
            if let Some(model) = self.model_of(value.get("schema"))? {
                out.insert(media.clone(), model);
            }
        }
        Ok(out)
    }

    fn responses(&mut self, operation: &'d Members, method: &mut Method) -> Result<(), String> {
        for (status, value) in operation.get("responses").and_then(Value::as_object).into_iter().flatten() {
            // There is no answer to any other status there.
            if status.starts_with("x-") || status == "default" {
                continue;
            }
            if !is_status(status) {
                self.warnings.push(format!("Response '{status}' is not supported: a status code is needed"));
                continue;
            }
            let value = self.resolve(value)?;
            let mut response = MethodResponse { status_code: status.clone(), ..MethodResponse::default() };
            for name in
                value.get("headers").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name)
            {
                response.response_parameters.insert(format!("method.response.header.{name}"), false);
            }
            if self.is_v3 {
                response.response_models = self.content(value)?;
            } else if let Some(model) = self.model_of(value.get("schema"))? {
                for media in self.media_types(operation, "produces") {
                    response.response_models.insert(media, model.clone());
                }
            }
            method.method_responses.insert(status.clone(), response);
        }
        Ok(())
    }
}

/// The path of a server's URL, with the defaults of its variables.
fn of_server(server: &Members) -> String {
    let mut url = member(server, "url").unwrap_or_default();
    for (name, variable) in server.get("variables").and_then(Value::as_object).into_iter().flatten() {
        let default = variable.get("default").and_then(text).unwrap_or_default();
        url = url.replace(&format!("{{{name}}}"), &default);
    }
    let after_scheme = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    match url.contains("://") {
        true => after_scheme.split_once('/').map(|(_, path)| path.to_owned()).unwrap_or_default(),
        false => url,
    }
}

/// So that both sides say the same.
pub(crate) const fn place(is_v3: bool) -> &'static str {
    let [v2, v3] = PLACES;
    if is_v3 { v3 } else { v2 }
}
