//! TestInvokeMethod: the real pipeline answers for a method that nobody has deployed, and tells what it did.

use serde_json::{Value, json};
use sluice_harness::{Backend, Call, Gateway, Reply, Response};

fn gateway() -> Gateway {
    Gateway::start("[aws]\ndevelopment = true\n")
}

/// One operation of the control plane; its answer, which must be good.
#[track_caller]
fn good(gateway: &Gateway, method: &str, path: &str, body: Value) -> Value {
    let response = ask(gateway, method, path, body);
    assert!((200..300).contains(&response.status), "{method} {path}: {response:?}");
    serde_json::from_str(&response.text()).unwrap_or_default()
}

fn ask(gateway: &Gateway, method: &str, path: &str, body: Value) -> Response {
    let call = Call::new(method, path).header("content-type", "application/json");
    gateway.admin_call(call.header("accept", "application/json").body(body.to_string()))
}

/// An API with one resource below the root: its path, to put a method in.
fn resource(gateway: &Gateway, part: &str) -> String {
    let api = good(gateway, "POST", "/restapis", json!({ "name": "tried" }));
    let (id, root) = (api["id"].as_str().unwrap(), api["rootResourceId"].as_str().unwrap());
    let resources = format!("/restapis/{id}/resources");
    let made = good(gateway, "POST", &format!("{resources}/{root}"), json!({ "pathPart": part }));
    format!("{resources}/{}", made["id"].as_str().unwrap())
}

fn method(gateway: &Gateway, resource: &str, verb: &str, integration: Value, response: Value) -> String {
    let path = format!("{resource}/methods/{verb}");
    good(gateway, "PUT", &path, json!({ "authorizationType": "AWS_IAM", "apiKeyRequired": true }));
    let headers = json!({ "responseParameters": { "method.response.header.X-Made": false } });
    good(gateway, "PUT", &format!("{path}/responses/200"), headers);
    good(gateway, "PUT", &format!("{path}/integration"), integration);
    good(gateway, "PUT", &format!("{path}/integration/responses/200"), response);
    path
}

/// What follows these words in the log, on their line.
#[track_caller]
fn line<'l>(log: &'l str, words: &str) -> &'l str {
    let found = log.lines().find_map(|line| line.split_once(words));
    found.unwrap_or_else(|| panic!("no `{words}` in\n{log}")).1
}

#[test]
fn a_mock_is_tried_with_its_templates_before_it_is_deployed() {
    let gateway = gateway();
    let integration = json!({
        "type": "MOCK",
        "requestTemplates": { "application/json": "{\"statusCode\": 200, \"asked\": \"$input.params('id')\"}" }
    });
    let template = "{\"id\": \"$input.params('id')\", \"q\": \"$input.params('q')\", \"v\": \"$stageVariables.v\", \
                    \"h\": \"$input.params('X-H')\", \"ip\": \"$context.identity.sourceIp\", \
                    \"stage\": \"$context.stage\", \"path\": \"$context.path\"}";
    let response = json!({
        "responseTemplates": { "application/json": template },
        "responseParameters": { "method.response.header.X-Made": "'here'" }
    });
    let path = method(&gateway, &resource(&gateway, "{id}"), "POST", integration, response);
    let outcome = good(
        &gateway,
        "POST",
        &path,
        json!({
            "pathWithQueryString": "/a%20b?q=1&q=2",
            "body": "{\"b\": [1, 2]}",
            "headers": { "X-H": "h", "Content-Type": "application/json" },
            "stageVariables": { "v": "stage" }
        }),
    );
    assert_eq!(outcome["status"], 200);
    let body: Value = serde_json::from_str(outcome["body"].as_str().unwrap()).unwrap();
    assert_eq!(
        body,
        json!({ "id": "a b", "q": "2", "v": "stage", "h": "h", "ip": "test-invoke-source-ip",
                "stage": "test-invoke-stage", "path": "/a%20b" })
    );
    assert_eq!(outcome["headers"]["X-Made"], "here");
    assert_eq!(outcome["multiValueHeaders"]["X-Made"], json!(["here"]));
    assert!(outcome["latency"].as_u64().is_some(), "{outcome}");
    let log = outcome["log"].as_str().unwrap();
    assert!(log.starts_with("Execution log for request "), "{log}");
    assert_eq!(line(log, "HTTP Method: "), "POST, Resource Path: /{id}");
    assert_eq!(line(log, "Method request path: "), "{id=a b}");
    assert_eq!(line(log, "Method request query string: "), "{q=1,2}");
    assert_eq!(line(log, "Method request headers: "), "{Content-Type=application/json, X-H=h}");
    assert_eq!(line(log, "Method request body before transformations: "), "{\"b\": [1, 2]}");
    let transformed = line(log, "Endpoint request body after transformations: ");
    assert_eq!(transformed, "{\"statusCode\": 200, \"asked\": \"a b\"}");
    assert_eq!(line(log, "Method response body after transformations: "), outcome["body"].as_str().unwrap());
    assert_eq!(line(log, "Method response headers: "), "{X-Made=here, Content-Type=application/json}");
    assert!(log.contains("Successfully completed execution"), "{log}");
    assert_eq!(line(log, "Method completed with status: "), "200");
}

#[test]
fn a_backend_is_asked_and_both_sides_are_told() {
    let gateway = gateway();
    let backend = Backend::start(|request| Reply::ok(json!({ "body": request.text() }).to_string()));
    let integration = json!({
        "type": "HTTP", "httpMethod": "PUT", "uri": format!("http://{}/to/{{id}}", backend.addr()),
        "requestParameters": { "integration.request.path.id": "method.request.path.id" },
        "requestTemplates": { "application/json": "<$input.path('$.b')>" }
    });
    let response = json!({
        "responseTemplates": { "application/json": "[$input.path('$.body')]" },
        "selectionPattern": ""
    });
    let resource = resource(&gateway, "{id}");
    let path = method(&gateway, &resource, "POST", integration, response);
    let declared = json!({ "patchOperations": [
        { "op": "add", "path": "/requestParameters/method.request.path.id", "value": "true" }
    ] });
    good(&gateway, "PATCH", &path, declared);
    let outcome =
        good(&gateway, "POST", &path, json!({ "pathWithQueryString": "/7", "body": "{\"b\": \"x\"}" }));
    assert_eq!(outcome["status"], 200, "{outcome}");
    assert_eq!(outcome["body"], "[<x>]");
    let log = outcome["log"].as_str().unwrap();
    let uri = format!("http://{}/to/7", backend.addr());
    assert_eq!(line(log, "Endpoint request URI: "), uri);
    assert_eq!(line(log, "Endpoint request body after transformations: "), "<x>");
    assert_eq!(line(log, "Sending request to "), uri);
    assert!(line(log, "Received response. Status: ").starts_with("200, Integration latency: "), "{log}");
    assert!(line(log, "Endpoint request headers: ").contains("User-Agent=AmazonAPIGateway_"), "{log}");
    assert!(line(log, "Endpoint response body before transformations: ").contains("<x>"), "{log}");
    assert_eq!(line(log, "Method response body after transformations: "), "[<x>]");
}

#[test]
fn what_fails_is_told_in_the_log_only() {
    let gateway = gateway();
    let resource = resource(&gateway, "r");
    let integration = json!({ "type": "MOCK", "requestTemplates": { "application/json": "no status" } });
    let path = method(&gateway, &resource, "GET", integration, json!({}));
    let outcome = good(&gateway, "POST", &path, json!({}));
    assert_eq!(
        (&outcome["status"], &outcome["body"]),
        (&json!(500), &json!("{\"message\":\"Internal server error\"}"))
    );
    let log = outcome["log"].as_str().unwrap();
    assert!(log.contains("Execution failed due to configuration error: Unable to parse statusCode"), "{log}");
    assert_eq!(line(log, "Method completed with status: "), "500");
    // Nobody listens there.
    let nobody = json!({ "type": "HTTP_PROXY", "httpMethod": "GET", "uri": "http://127.0.0.1:1/" });
    let path = method(&gateway, &resource, "PUT", nobody, json!({}));
    let outcome = good(&gateway, "POST", &path, json!({}));
    assert_eq!(outcome["status"], 504, "{outcome}");
}

#[test]
fn what_cannot_be_tried_is_refused() {
    let gateway = gateway();
    let resource = resource(&gateway, "r");
    let integration =
        json!({ "type": "MOCK", "requestTemplates": { "application/json": "{\"statusCode\": 200}" } });
    let path = method(&gateway, &resource, "GET", integration, json!({}));
    for (path, body, status, kind) in [
        (format!("{resource}/methods/POST"), json!({}), 404, "NotFoundException"),
        (path.clone(), json!({ "pathWithQueryString": "/elsewhere" }), 400, "BadRequestException"),
        (path.clone(), json!({ "clientCertificateId": "abc" }), 400, "BadRequestException"),
        (path.clone(), json!({ "headers": { "a b": "c" } }), 400, "BadRequestException"),
        (path.clone(), json!({ "headers": ["a"] }), 400, "SerializationException"),
        (path.clone(), json!({ "body": {} }), 400, "SerializationException"),
    ] {
        let response = ask(&gateway, "POST", &path, body.clone());
        assert_eq!((response.status, response.header("x-amzn-errortype")), (status, Some(kind)), "{body}");
    }
    // It can be tried all the same, any number of times.
    for _ in 0..6 {
        assert_eq!(good(&gateway, "POST", &path, json!({ "pathWithQueryString": "/r" }))["status"], 200);
    }
}
