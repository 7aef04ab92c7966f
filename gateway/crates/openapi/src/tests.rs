//! Documents in, definitions out, and back.

use crate::{BasePath, ExportOptions, ImportOptions, Imported, Rejected, Version, export, import, read};
use serde_json::{Value, json};
use sluice_catalog::{ApiKeySource, Definition, IntegrationType};

fn options(merge: bool, base_path: BasePath) -> ImportOptions<'static> {
    ImportOptions { api: "abc", base_path, merge, timeout_max_ms: 29_000 }
}

/// Identifiers that are told apart by their numbers.
fn counter() -> impl FnMut(usize) -> String {
    let mut next = 0;
    move |length| {
        next += 1;
        format!("{next:0length$}")
    }
}

fn imported(document: &Value) -> Imported {
    import(document, &Definition::default(), &options(false, BasePath::Ignore), &mut counter()).unwrap()
}

fn rejected(document: &Value) -> Rejected {
    import(document, &Definition::default(), &options(false, BasePath::Ignore), &mut counter()).unwrap_err()
}

/// Everything but identifiers: those are replaced by what they name.
fn without_ids(definition: &Definition) -> Value {
    let mut out = json!({
        "binary": definition.binary_media_types, "compression": definition.minimum_compression_size,
        "source": definition.api_key_source, "disabled": definition.disable_execute_api_endpoint,
        "endpoints": definition.endpoint_configuration.vpc_endpoint_ids,
        "responses": definition.gateway_responses,
        "policy": definition.policy.as_ref().map(|text| serde_json::from_str::<Value>(text).unwrap()),
    });
    for resource in definition.resources.values() {
        let mut methods = json!(resource.methods);
        for method in methods.as_object_mut().unwrap().values_mut() {
            if let Some(id) = method.get("authorizerId").and_then(Value::as_str) {
                method["authorizerId"] = json!(definition.authorizers[id].name);
            }
            if let Some(id) = method.get("requestValidatorId").and_then(Value::as_str) {
                method["requestValidatorId"] = json!(definition.request_validators[id].name);
            }
            if method["methodIntegration"]["cacheNamespace"] == json!(resource.id) {
                method["methodIntegration"]["cacheNamespace"] = json!("own");
            }
        }
        if !resource.methods.is_empty() {
            out["paths"][&resource.path] = methods;
        }
    }
    for model in definition.models.values() {
        out["models"][&model.name] = serde_json::from_str(&model.schema).unwrap();
    }
    for authorizer in definition.authorizers.values() {
        let mut shown = json!(authorizer);
        shown["id"] = Value::Null;
        out["authorizers"][&authorizer.name] = shown;
    }
    for validator in definition.request_validators.values() {
        out["validators"][&validator.name] =
            json!([validator.validate_request_body, validator.validate_request_parameters]);
    }
    out
}

const PETS: &str = r##"
openapi: 3.0.1
info: {title: Pets, version: "1.2", description: All pets}
servers:
  - url: https://example.com/{base}
    variables: {base: {default: v1/a}}
paths:
  /pets:
    parameters:
      - $ref: '#/components/parameters/Trace'
    get:
      operationId: listPets
      parameters:
        - {name: limit, in: query, required: true, schema: {type: integer}}
      responses:
        200:
          description: all
          headers: {X-Total: {schema: {type: integer}}}
          content: {application/json: {schema: {type: array, items: {$ref: '#/components/schemas/Pet'}}}}
        default: {description: other}
      security: [{guard: []}, {key: []}]
      x-amazon-apigateway-request-validator: all
      x-amazon-apigateway-integration:
        type: http
        httpMethod: get
        uri: https://backend.example.com/pets
        requestParameters: {integration.request.header.X-A: "'a'"}
        timeoutInMillis: 5000
        cacheKeyParameters: [method.request.querystring.limit]
        tlsConfig: {insecureSkipVerification: true}
        responses:
          default: {statusCode: "200", responseTemplates: {application/json: "$input.body"}}
          5\d{2}: {statusCode: 502, contentHandling: CONVERT_TO_TEXT}
    post:
      requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/Pet'}}}}
      responses: {201: {description: made}}
      security: [{pool: [pets/write]}]
      x-amazon-apigateway-integration: {type: aws_proxy, httpMethod: POST, uri: "arn:aws:apigateway:r:lambda:path/f"}
  /pets/{id+}:
    x-amazon-apigateway-any-method:
      security: [{signed: []}]
      x-amazon-apigateway-integration:
        type: mock
        passthroughBehavior: never
        requestTemplates: {application/json: '{"statusCode": 200}'}
components:
  parameters:
    Trace: {name: X-Trace, in: header, schema: {type: string}}
  schemas:
    Pet: {type: object, required: [name], properties: {name: {type: string}, friend: {$ref: '#/components/schemas/Pet'}}}
  securitySchemes:
    key: {type: apiKey, name: x-api-key, in: header}
    signed: {type: apiKey, name: Authorization, in: header, x-amazon-apigateway-authtype: awsSigv4}
    guard:
      type: apiKey
      name: Token
      in: header
      x-amazon-apigateway-authtype: custom
      x-amazon-apigateway-authorizer: {type: token, authorizerUri: "arn:f", authorizerResultTtlInSeconds: 60}
    pool:
      type: apiKey
      name: Authorization
      in: header
      x-amazon-apigateway-authtype: cognito_user_pools
      x-amazon-apigateway-authorizer: {type: cognito_user_pools, providerARNs: ["arn:p"]}
x-amazon-apigateway-request-validators:
  all: {validateRequestBody: true, validateRequestParameters: true}
x-amazon-apigateway-gateway-responses:
  DEFAULT_4XX: {statusCode: 401, responseParameters: {gatewayresponse.header.X: "'y'"}}
x-amazon-apigateway-binary-media-types: [image/png]
x-amazon-apigateway-minimum-compression-size: 1000
x-amazon-apigateway-api-key-source: AUTHORIZER
x-amazon-apigateway-policy: {Version: "2012-10-17", Statement: []}
x-amazon-apigateway-endpoint-configuration: {disableExecuteApiEndpoint: true, vpcEndpointIds: [vpce-1]}
x-amazon-apigateway-documentation: {documentationParts: []}
"##;

#[test]
fn everything_of_a_document_arrives() {
    let made = imported(&read(PETS.as_bytes()).unwrap());
    assert_eq!((made.name.as_str(), made.version.as_deref()), ("Pets", Some("1.2")));
    assert_eq!(made.description.as_deref(), Some("All pets"));
    assert!(made.warnings.is_empty(), "{:?}", made.warnings);
    let definition = &made.definition;
    assert_eq!(definition.resources[&made.root].path, "/");
    assert_eq!(definition.api_key_source, ApiKeySource::Authorizer);
    assert!(definition.disable_execute_api_endpoint);
    let at = |path: &str| definition.resources.values().find(|r| r.path == path).unwrap();
    assert_eq!(at("/pets/{id+}").parent_id.as_ref(), Some(&at("/pets").id));
    let list = &at("/pets").methods["GET"];
    assert_eq!(list.authorization_type, "CUSTOM");
    assert!(list.api_key_required);
    assert!(list.request_parameters["method.request.querystring.limit"]);
    assert!(!list.request_parameters["method.request.header.X-Trace"]);
    let guard = &definition.authorizers[list.authorizer_id.as_ref().unwrap()];
    assert_eq!(guard.identity_source.as_deref(), Some("method.request.header.Token"));
    let integration = list.integration.as_ref().unwrap();
    assert_eq!(integration.integration_type, IntegrationType::Http);
    assert_eq!(integration.integration_responses["502"].selection_pattern.as_deref(), Some("5\\d{2}"));
    let model = &list.method_responses["200"].response_models["application/json"];
    assert!(model.starts_with("MODEL"));
    let schema = &definition.models["Pet"].schema;
    assert!(schema.contains("https://apigateway.amazonaws.com/restapis/abc/models/Pet"), "{schema}");
    let create = &at("/pets").methods["POST"];
    assert_eq!(create.authorization_scopes, ["pets/write"]);
    assert_eq!(create.request_models["application/json"], "Pet");
    assert_eq!(at("/pets/{id+}").methods["ANY"].authorization_type, "AWS_IAM");
}

#[test]
fn what_is_exported_is_imported_as_the_same() {
    let made = imported(&read(PETS.as_bytes()).unwrap());
    for version in [Version::Oas30, Version::Swagger] {
        let options = ExportOptions {
            version,
            title: &made.name,
            api_version: "1.2",
            description: made.description.as_deref(),
            host: "abc.execute-api.eu-west-1.amazonaws.com",
            stage: "prod",
            integrations: true,
            authorizers: true,
            apigateway: true,
        };
        let document = export(&made.definition, &options);
        let text = crate::write_yaml(&document);
        let again = imported(&read(text.as_bytes()).unwrap());
        assert_eq!(without_ids(&again.definition), without_ids(&made.definition), "{version:?}\n{text}");
        assert_eq!((again.name, again.description), (made.name.clone(), made.description.clone()));
        // Without the extensions nothing of ours is told but what has no other form.
        let plain = ExportOptions { integrations: false, authorizers: false, apigateway: false, ..options };
        let text = export(&made.definition, &plain).to_string();
        assert!(!text.contains("-integration") && !text.contains("gateway-responses"), "{text}");
    }
}

#[test]
fn base_paths_are_ignored_prepended_or_split() {
    let document = json!({
        "swagger": "2.0", "info": { "title": "t" }, "basePath": "/a/b/c", "paths": { "/e": {}, "/f": {} }
    });
    for (base_path, expected) in [
        (BasePath::Ignore, vec!["/", "/e", "/f"]),
        (BasePath::Prepend, vec!["/", "/a", "/a/b", "/a/b/c", "/a/b/c/e", "/a/b/c/f"]),
        (BasePath::Split, vec!["/", "/b", "/b/c", "/b/c/e", "/b/c/f"]),
    ] {
        let made =
            import(&document, &Definition::default(), &options(false, base_path), &mut counter()).unwrap();
        let mut paths: Vec<_> = made.definition.resources.values().map(|r| r.path.as_str()).collect();
        paths.sort_unstable();
        assert_eq!(paths, expected, "{base_path:?}");
    }
}

#[test]
fn merging_adds_and_overwriting_replaces_and_both_keep_ids() {
    let first = imported(&read(PETS.as_bytes()).unwrap());
    let id = |definition: &Definition, path: &str| {
        definition.resources.values().find(|r| r.path == path).map(|r| r.id.clone())
    };
    let document = json!({
        "swagger": "2.0", "info": { "title": "Other" },
        "paths": { "/pets": { "get": { "operationId": "changed" } }, "/new": { "get": {} } },
        "definitions": { "Extra": { "type": "string" } }
    });
    let mut ids = {
        let mut next = 0;
        move |_: usize| {
            next += 1;
            format!("n{next}")
        }
    };
    let merged = import(&document, &first.definition, &options(true, BasePath::Ignore), &mut ids).unwrap();
    assert_eq!(id(&merged.definition, "/pets"), id(&first.definition, "/pets"));
    assert_eq!(merged.root, first.root);
    let pets = merged.definition.resources.values().find(|r| r.path == "/pets").unwrap();
    assert_eq!(pets.methods["GET"].operation_name.as_deref(), Some("changed"));
    assert!(pets.methods.contains_key("POST") && id(&merged.definition, "/new").is_some());
    assert!(merged.definition.models.contains_key("Pet") && merged.definition.models.contains_key("Extra"));
    let replaced = import(&document, &first.definition, &options(false, BasePath::Ignore), &mut ids).unwrap();
    assert_eq!(id(&replaced.definition, "/pets"), id(&first.definition, "/pets"));
    assert_eq!(replaced.definition.models.keys().collect::<Vec<_>>(), ["Extra"]);
    assert!(replaced.definition.authorizers.is_empty());
    assert_eq!(id(&replaced.definition, "/pets/{id+}"), None);
}

#[test]
fn everything_wrong_is_told_at_once() {
    let document = json!({
        "openapi": "3.0.0", "info": { "title": "t" },
        "paths": {
            "/a/{x}": { "get": { "x-amazon-apigateway-integration": { "type": "nothing" } } },
            "/a/{y}": { "get": {} },
            "/b": { "get": { "x-amazon-apigateway-integration": { "type": "http" } },
                    "put": { "requestBody": { "$ref": "#/components/requestBodies/None" } },
                    "post": { "x-amazon-apigateway-request-validator": "none" } },
            "/c d": {}
        },
        "components": {
            "schemas": { "a-b": {} },
            "securitySchemes": { "g": { "x-amazon-apigateway-authorizer": { "type": "jwt" } } }
        }
    });
    let mut errors = rejected(&document).errors;
    errors.sort();
    assert_eq!(
        errors,
        [
            "Unable to create authorizer 'g': Invalid authorizer type specified: jwt",
            "Unable to create model for 'a-b': Model name must be alphanumeric: a-b",
            "Unable to create resource at path '/a/{y}': A sibling ({x}) of this resource already has a variable path \
             part -- only one is allowed",
            "Unable to create resource at path '/c d': Resource's path part only allow a-zA-Z0-9._-: or a valid greedy \
             path variable and curly braces at the beginning and the end.",
            "Unable to put integration on 'GET' for resource at path '/a/{x}': Invalid integration type specified",
            "Unable to put integration on 'GET' for resource at path '/b': Invalid HTTP endpoint specified for URI",
            "Unable to put method 'POST' on resource at path '/b': Invalid Request Validator name specified: none",
            "Unable to put method 'PUT' on resource at path '/b': Unable to resolve reference \
             '#/components/requestBodies/None'",
        ]
    );
    for broken in
        [json!([]), json!({}), json!({ "swagger": "1.2" }), json!({ "openapi": "3.0.0" }), json!("x")]
    {
        assert!(rejected(&broken).errors[0].starts_with("Invalid OpenAPI input"), "{broken}");
    }
    let circle = json!({
        "swagger": "2.0", "info": { "title": "t" },
        "paths": { "/a": { "$ref": "#/paths/~1b" }, "/b": { "$ref": "#/paths/~1a" } }
    });
    assert!(rejected(&circle).errors[0].contains("circle"));
}
