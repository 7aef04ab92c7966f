//! APIs as OpenAPI documents: imported, deployed, called, exported, and imported again.

use serde_json::{Value, json};
use sluice_harness::{Backend, Call, Gateway, Reply, Response};

fn gateway() -> Gateway {
    Gateway::start("[aws]\ndevelopment = true\n")
}

fn ask(gateway: &Gateway, method: &str, path: &str, body: &str) -> Response {
    let call = Call::new(method, path).header("content-type", "application/json");
    gateway.admin_call(call.header("accept", "application/json").body(body.to_owned()))
}

#[track_caller]
fn good(gateway: &Gateway, method: &str, path: &str, body: &str) -> Value {
    let response = ask(gateway, method, path, body);
    assert!((200..300).contains(&response.status), "{method} {path}: {response:?}");
    serde_json::from_str(&response.text()).unwrap_or_default()
}

fn deploy(gateway: &Gateway, api: &str, stage: &str) {
    good(
        gateway,
        "POST",
        &format!("/restapis/{api}/deployments"),
        &json!({ "stageName": stage }).to_string(),
    );
}

/// With a mock, a backend, a validator and a gateway response.
fn document(backend: &Backend) -> String {
    format!(
        r##"
swagger: "2.0"
info: {{title: Pets, version: "2016-10-12", description: In YAML}}
basePath: /v1
paths:
  /pets/{{id}}:
    get:
      parameters: [{{name: id, in: path, required: true, type: string}}]
      responses: {{200: {{description: one, headers: {{X-Made: {{type: string}}}}}}}}
      x-amazon-apigateway-integration:
        type: http
        httpMethod: GET
        uri: http://{}/animals/{{id}}
        requestParameters: {{integration.request.path.id: method.request.path.id}}
        responses:
          default:
            statusCode: 200
            responseParameters: {{method.response.header.X-Made: "'here'"}}
            responseTemplates: {{application/json: '{{"asked": "$input.path(''$.target'')"}}'}}
  /pets:
    post:
      parameters: [{{name: Pet, in: body, schema: {{$ref: '#/definitions/Pet'}}}}]
      responses: {{200: {{description: made}}}}
      x-amazon-apigateway-request-validator: body
      x-amazon-apigateway-integration:
        type: mock
        requestTemplates: {{application/json: '{{"statusCode": 200}}'}}
        responses: {{default: {{statusCode: 200, responseTemplates: {{application/json: made}}}}}}
definitions:
  Pet: {{type: object, required: [name], properties: {{name: {{type: string}}}}}}
x-amazon-apigateway-request-validators: {{body: {{validateRequestBody: true, validateRequestParameters: false}}}}
x-amazon-apigateway-gateway-responses:
  BAD_REQUEST_BODY: {{statusCode: 422, responseTemplates: {{application/json: '{{"why": "$context.error.validationErrorString"}}'}}}}
"##,
        backend.addr()
    )
}

/// What the imported API answers.
fn answers(gateway: &Gateway, api: &str, stage: &str, prefix: &str) {
    let one = gateway.rest(api, stage, &format!("{prefix}/pets/7"));
    assert_eq!(
        (one.status, one.text().as_str(), one.header("x-made")),
        (200, "{\"asked\": \"/animals/7\"}", Some("here"))
    );
    let post = |body: &str| {
        let path = format!("/restapis/{api}/{stage}/_user_request_{prefix}/pets");
        gateway.call(&Call::post(&path, body.to_owned()).header("content-type", "application/json"))
    };
    assert_eq!(post("{\"name\": \"Rex\"}").text(), "made");
    let refused = post("{}");
    assert_eq!(refused.status, 422, "{refused:?}");
    assert!(refused.text().contains("name"), "{refused:?}");
}

#[test]
fn a_document_is_imported_served_exported_and_imported_again() {
    let gateway = gateway();
    let backend = Backend::start(|request| Reply::ok(json!({ "target": request.target }).to_string()));
    let api = good(&gateway, "POST", "/restapis?mode=import&basepath=prepend", &document(&backend));
    assert_eq!((&api["name"], &api["version"]), (&json!("Pets"), &json!("2016-10-12")));
    let id = api["id"].as_str().unwrap();
    deploy(&gateway, id, "prod");
    answers(&gateway, id, "prod", "/v1");
    for kind in ["oas30", "swagger"] {
        let path = format!("/restapis/{id}/stages/prod/exports/{kind}?extensions=integrations,apigateway");
        let exported = ask(&gateway, "GET", &path, "");
        assert_eq!(exported.status, 200, "{exported:?}");
        let named = exported.header("content-disposition").unwrap();
        assert!(
            named.starts_with(&format!("attachment; filename=\"{kind}_")) && named.ends_with(".json\""),
            "{named}"
        );
        let yaml = Call::get(&path).header("accept", "application/yaml");
        let yaml = gateway.admin_call(yaml).text();
        assert!(yaml.starts_with("---\n"), "{yaml}");
        for text in [exported.text(), yaml] {
            let again = good(&gateway, "POST", "/restapis?mode=import", &text);
            let again = again["id"].as_str().unwrap();
            deploy(&gateway, again, "other");
            answers(&gateway, again, "other", "/v1");
        }
    }
    let unknown = ask(&gateway, "GET", &format!("/restapis/{id}/stages/prod/exports/wsdl"), "");
    assert_eq!(unknown.status, 400);
}

#[test]
fn a_document_is_put_over_an_api_or_in_its_place() {
    let gateway = gateway();
    let backend = Backend::start(|request| Reply::ok(json!({ "target": request.target }).to_string()));
    let api = good(&gateway, "POST", "/restapis?mode=import", &document(&backend));
    let id = api["id"].as_str().unwrap();
    let mock = |text: &str| {
        json!({ "type": "mock", "requestTemplates": { "application/json": "{\"statusCode\": 200}" },
                "responses": { "default": { "statusCode": "200", "responseTemplates": { "application/json": text } } } })
    };
    let more = json!({
        "openapi": "3.0.0", "info": { "title": "More" },
        "paths": { "/more": { "get": { "x-amazon-apigateway-integration": mock("more") } } }
    });
    good(&gateway, "PUT", &format!("/restapis/{id}?mode=merge"), &more.to_string());
    deploy(&gateway, id, "s");
    answers(&gateway, id, "s", "");
    assert_eq!(gateway.rest(id, "s", "/more").text(), "more");
    let put = good(&gateway, "PUT", &format!("/restapis/{id}?mode=overwrite"), &more.to_string());
    assert_eq!(put["name"], "More");
    // What is deployed still serves.
    answers(&gateway, id, "s", "");
    deploy(&gateway, id, "s");
    assert_eq!(gateway.rest(id, "s", "/more").text(), "more");
    assert_eq!(gateway.rest(id, "s", "/pets/7").status, 403);
}

#[test]
fn what_is_wrong_is_told_and_nothing_is_made() {
    let gateway = gateway();
    let before = good(&gateway, "GET", "/restapis", "");
    let bad_path = json!({ "swagger": "2.0", "info": { "title": "t" }, "paths": { "/a b": {}, "/{x}": {}, "/{y}": {} } });
    let cookie = json!({ "openapi": "3.0.0", "info": { "title": "t" }, "paths": { "/a": { "get": {
        "parameters": [{ "in": "cookie", "name": "c" }], "x-amazon-apigateway-integration": { "type": "mock" } } } } });
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    for (query, body, told) in [
        ("", "", "Invalid OpenAPI input"),
        ("", "{}", "Invalid OpenAPI input"),
        ("", "a: [", "Invalid OpenAPI input: "),
        ("", deep.as_str(), "Invalid OpenAPI input: "),
        (
            "",
            bad_path.to_string().as_str(),
            "Errors found during import:\n\tUnable to create resource at path '/a b': ",
        ),
        (
            "&failonwarnings=true",
            cookie.to_string().as_str(),
            "Warnings found during import:\n\tParameter 'c' in 'cookie'",
        ),
        ("&basepath=elsewhere", cookie.to_string().as_str(), "Invalid basepath"),
    ] {
        let response = ask(&gateway, "POST", &format!("/restapis?mode=import{query}"), body);
        assert_eq!(
            (response.status, response.header("x-amzn-errortype")),
            (400, Some("BadRequestException")),
            "{body}"
        );
        let message = response.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(told), "{message}");
    }
    assert_eq!(good(&gateway, "GET", "/restapis", ""), before);
    let made = good(&gateway, "POST", "/restapis?mode=import", &cookie.to_string());
    assert_eq!(made["warnings"], json!(["Parameter 'c' in 'cookie' is not supported"]));
    let unknown = ask(&gateway, "PUT", "/restapis/none", &cookie.to_string());
    assert_eq!(unknown.status, 404);
}
