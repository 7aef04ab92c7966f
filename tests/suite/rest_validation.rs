//! REST APIs: request validators, models, and what gateway responses say of them.

use serde_json::{Value, json};
use sluice_harness::rest::{RestApi, http_proxy, mock};
use sluice_harness::{Backend, Call, Gateway, Reply, Response};

const PET: &str = r#"{
    "$schema": "http://json-schema.org/draft-04/schema#",
    "type": "object", "required": ["name", "age"],
    "properties": { "name": { "type": "string", "pattern": "^(?=.*[A-Z]).+$" }, "age": { "type": "integer", "minimum": 0 } }
}"#;

const PETS: &str =
    r#"{ "type": "array", "items": { "$ref": "https://apigateway.amazonaws.com/restapis/a/models/Pet" } }"#;

/// A method that is validated: `POST /pets` by `integration`, and `GET /pets`, where two parameters are required.
fn gateway(integration: Value) -> Gateway {
    let gateway = Gateway::start("");
    let model = |name: &str, schema: &str| json!({ "id": name, "name": name, "schema": schema, "contentType": "application/json" });
    let api = RestApi::new("a")
        .with("models", json!({ "Pet": model("Pet", PET), "Pets": model("Pets", PETS) }))
        .with(
            "requestValidators",
            json!({
                "body": { "id": "body", "name": "body", "validateRequestBody": true },
                "params": { "id": "params", "name": "params", "validateRequestParameters": true }
            }),
        )
        .with(
            "gatewayResponses",
            json!({
                "BAD_REQUEST_BODY": {
                    "responseType": "BAD_REQUEST_BODY", "statusCode": "422",
                    "responseParameters": { "gatewayresponse.header.Access-Control-Allow-Origin": "'*'" },
                    "responseTemplates": {
                        "application/json":
                            "{\"message\":$context.error.messageString,\"why\":'$context.error.validationErrorString'}"
                    }
                }
            }),
        )
        .method_with(
            "POST",
            "/pets",
            integration,
            json!({ "requestValidatorId": "body", "requestModels": { "application/json": "Pets" } }),
        )
        .method_with(
            "GET",
            "/pets",
            mock("{}"),
            json!({
                "requestValidatorId": "params",
                "requestParameters": {
                    "method.request.querystring.page": true,
                    "method.request.querystring.size": false,
                    "method.request.header.X-Tenant": true
                }
            }),
        );
    gateway.serve_rest(&[api.deploy("s")]);
    gateway
}

fn post(gateway: &Gateway, media: &str, body: &str) -> Response {
    let call = Call::new("POST", "/restapis/a/s/_user_request_/pets").header("content-type", media);
    gateway.call(&call.body(body.to_owned()))
}

#[test]
fn required_parameters_are_asked_for_by_name() {
    let gateway = gateway(mock("{}"));
    let response = gateway.rest("a", "s", "/pets?size=1");
    assert_eq!(response.status, 400);
    assert_eq!(
        response.json(),
        json!({ "message": "Missing required request parameters: [X-Tenant, page]" })
    );
    assert_eq!(response.header("x-amzn-errortype"), Some("BadRequestException"));
    let response = gateway.rest_call("a", "s", "/pets?page=", |call| call.header("x-tenant", "t"));
    assert_eq!(response.json(), json!({ "message": "Missing required request parameters: [page]" }));
    let response = gateway.rest_call("a", "s", "/pets?page=2", |call| call.header("x-tenant", "t"));
    assert_eq!(response.status, 200);
}

#[test]
fn bodies_are_checked_before_a_mock_answers() {
    let gateway = gateway(mock("{\"made\":true}"));
    for (body, why) in [
        (r#"[{"name":"Ada"}]"#, r#"[object has missing required properties (["age"])]"#),
        (
            r#"[{"name":"Ada","age":"2"}]"#,
            r#"[instance type (string) does not match any allowed primitive type (allowed: ["integer"])]"#,
        ),
        (
            r#"[{"name":"ada","age":2}]"#,
            r#"[ECMA 262 regex "^(?=.*[A-Z]).+$" does not match input string "ada"]"#,
        ),
        (
            r#"{}"#,
            r#"[instance type (object) does not match any allowed primitive type (allowed: ["array"])]"#,
        ),
        ("", r#"[instance type (object) does not match any allowed primitive type (allowed: ["array"])]"#),
        ("[", ""),
    ] {
        let response = post(&gateway, "application/json", body);
        assert_eq!(response.status, 422, "{body}");
        assert_eq!(response.header("access-control-allow-origin"), Some("*"));
        let expected = format!(r#"{{"message":"Invalid request body","why":'{why}'}}"#);
        assert_eq!(String::from_utf8_lossy(&response.body), expected);
    }
    let response = post(&gateway, "application/json", r#"[{"name":"Ada","age":36}]"#);
    assert_eq!((response.status, response.json()), (200, json!({ "made": true })));
}

#[test]
fn a_proxied_request_reaches_its_backend_only_with_a_body_that_follows_its_model() {
    let backend = Backend::start(|request| Reply::ok(request.body.clone()));
    let gateway = gateway(http_proxy(&format!("http://{}/in", backend.addr())));
    assert_eq!(post(&gateway, "application/json", r#"[{"age":1}]"#).status, 422);
    assert_eq!(backend.hits(), 0);
    let body = r#"[{"name":"Ada","age":36}]"#;
    let response = post(&gateway, "application/json", body);
    assert_eq!((response.status, &response.body[..]), (200, body.as_bytes()));
    // Large.
    let many = vec![r#"{"name":"Ada","age":36}"#; 20_000].join(",");
    let response = post(&gateway, "application/json", &format!("[{many}]"));
    assert_eq!((response.status, response.body.len()), (200, many.len() + 2));
}
