//! REST APIs: CORS headers on every answer that the gateway itself makes.

use serde_json::{Value, json};
use sluice_harness::rest::{RestApi, http_proxy, mock};
use sluice_harness::{Call, Gateway, RefusingPort, Response};

fn with_cors(kind: &str) -> Value {
    json!({
        "responseType": kind,
        "responseParameters": {
            "gatewayresponse.header.Access-Control-Allow-Origin": "method.request.header.Origin",
            "gatewayresponse.header.Vary": "'Origin'"
        }
    })
}

/// The answer to a preflight, as the console sets it up.
fn preflight() -> Value {
    let mut integration = mock("");
    integration["integrationResponses"]["200"]["responseParameters"] = json!({
        "method.response.header.Access-Control-Allow-Origin": "'*'",
        "method.response.header.Access-Control-Allow-Methods": "'GET,POST,OPTIONS'",
        "method.response.header.Access-Control-Allow-Headers": "'Content-Type,Authorization,X-Api-Key'"
    });
    integration
}

fn api(gone: &RefusingPort) -> RestApi {
    let failing = "$input.body.substring(99)";
    let mut never = mock("{}");
    never["passthroughBehavior"] = json!("NEVER");
    RestApi::new("a")
        .with(
            "gatewayResponses",
            json!({ "DEFAULT_4XX": with_cors("DEFAULT_4XX"), "DEFAULT_5XX": with_cors("DEFAULT_5XX") }),
        )
        .method("OPTIONS", "/typed", preflight())
        .method("POST", "/typed", never)
        .method("GET", "/failing", mock(failing))
        .method("GET", "/gone", http_proxy(&format!("http://{}/", gone.addr())))
        .method_with("GET", "/keyed", mock("{}"), json!({ "apiKeyRequired": true }))
        .method("GET", "/slow", mock("{}"))
}

#[track_caller]
fn assert_refused_with_cors(response: &Response, status: u16, message: &str) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.json()["message"], json!(message));
    assert_eq!(response.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(response.header("vary"), Some("Origin"));
}

#[test]
fn refusals_of_every_kind_can_be_read_by_a_browser() {
    let (gateway, gone) = (Gateway::start(""), RefusingPort::new());
    let settings = json!({ "~1slow/GET": { "throttlingRateLimit": 0.001, "throttlingBurstLimit": 1 } });
    gateway.serve_rest(&[api(&gone).deploy_with("s", json!({ "methodSettings": settings }))]);
    let get =
        |path: &str| gateway.rest_call("a", "s", path, |call| call.header("origin", "https://app.example"));

    assert_refused_with_cors(&get("/nowhere"), 403, "Missing Authentication Token");
    assert_refused_with_cors(&get("/keyed"), 403, "Forbidden");
    assert_refused_with_cors(&get("/failing"), 500, "Internal server error");
    assert_refused_with_cors(&get("/gone"), 504, "Network error communicating with endpoint");
    let until_refused = (0..5).map(|_| get("/slow")).find(|response| response.status != 200).unwrap();
    assert_refused_with_cors(&until_refused, 429, "Too Many Requests");

    let post = |media: &str| {
        let call = Call::new("POST", "/restapis/a/s/_user_request_/typed").header("content-type", media);
        call.header("origin", "https://app.example")
    };
    assert_refused_with_cors(&gateway.call(&post("text/plain").body("x")), 415, "Unsupported Media Type");
    // It is refused by what it announces.
    let large = gateway.call(&post("application/json").header("content-length", "10485761"));
    assert_refused_with_cors(&large, 413, "Request Entity Too Large");
}

#[test]
fn a_preflight_is_answered_by_its_mock() {
    let (gateway, gone) = (Gateway::start(""), RefusingPort::new());
    gateway.serve_rest(&[api(&gone).deploy("s")]);
    let call =
        Call::new("OPTIONS", "/restapis/a/s/_user_request_/typed").header("origin", "https://app.example");
    let response = gateway.call(&call.header("access-control-request-method", "POST"));
    assert_eq!(response.status, 200);
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    assert_eq!(response.header("access-control-allow-methods"), Some("GET,POST,OPTIONS"));
}
