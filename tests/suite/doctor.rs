//! `sluice doctor cors`: what a browser would keep from a page, told before a user meets it.

use serde_json::{Value, json};
use sluice_harness::rest::{RestApi, http_proxy, mock};
use sluice_harness::{Gateway, Sluice};

/// What the command says, and whether it found nothing.
fn doctor(gateway: &Gateway, arguments: &[&str]) -> (String, bool) {
    let admin = gateway.admin().to_string();
    let output = Sluice::output(&[&["doctor", "cors"], arguments, &["--admin", &admin]].concat());
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    (said, output.status.success())
}

fn allowing(mut integration: Value, headers: &[(&str, &str)]) -> Value {
    for (name, value) in headers {
        let name = format!("method.response.header.{name}");
        integration["integrationResponses"]["200"]["responseParameters"][name] = json!(value);
    }
    integration
}

fn gateway_response(kind: &str) -> Value {
    json!({ "responseType": kind, "responseParameters": { "gatewayresponse.header.Access-Control-Allow-Origin": "'*'" } })
}

const STAR: (&str, &str) = ("Access-Control-Allow-Origin", "'*'");

#[test]
fn a_stage_that_a_browser_may_use_is_told_as_such() {
    let gateway = Gateway::start("");
    let preflight = allowing(
        mock(""),
        &[
            STAR,
            ("Access-Control-Allow-Methods", "'GET,PUT'"),
            ("Access-Control-Allow-Headers", "'Content-Type,X-Api-Key'"),
        ],
    );
    let api = RestApi::new("good")
        .with(
            "gatewayResponses",
            json!({
                "DEFAULT_4XX": gateway_response("DEFAULT_4XX"), "DEFAULT_5XX": gateway_response("DEFAULT_5XX")
            }),
        )
        .method("OPTIONS", "/pets", preflight)
        .method_with("GET", "/pets", allowing(mock("{}"), &[STAR]), json!({ "apiKeyRequired": true }))
        .method("PUT", "/pets", http_proxy("http://127.0.0.1:1/"))
        .deploy("prod");
    gateway.serve_rest(&[api]);
    let (said, fine) = doctor(&gateway, &["good", "prod"]);
    assert!(fine, "{said}");
    assert!(said.contains("Nothing is kept from the page."), "{said}");
    let row = |start: &str| said.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    assert_eq!(
        row("GET /pets").split_whitespace().collect::<Vec<_>>(),
        ["GET", "/pets", "ok", "ok", "ok", "ok"]
    );
    assert!(row("PUT /pets").contains("backend decides"), "{said}");
}

#[test]
fn what_is_kept_from_a_page_is_told_with_its_reason() {
    let gateway = Gateway::start("");
    let api = RestApi::new("bad")
        .method("GET", "/a", mock("{}"))
        .method("DELETE", "/a", allowing(mock("{}"), &[STAR]))
        .method(
            "GET",
            "/b",
            allowing(mock("{}"), &[("Access-Control-Allow-Origin", "'https://other.example'")]),
        )
        .deploy("prod");
    gateway.serve_rest(&[api]);
    let (said, fine) = doctor(&gateway, &["bad", "prod", "--origin", "https://mine.example"]);
    assert!(!fine, "{said}");
    for told in [
        "GET /a: answers: the answer 200 has no Access-Control-Allow-Origin",
        "DELETE /a: preflight: the resource has no OPTIONS method: 403 Missing Authentication Token",
        "GET /b: answers: the answer 200 allows the origin https://other.example, not https://mine.example",
        "GET /a: refusals 4xx: the gateway response DEFAULT_4XX has no Access-Control-Allow-Origin",
        "GET /a: refusals 5xx: the gateway response DEFAULT_5XX has no Access-Control-Allow-Origin",
    ] {
        assert!(said.contains(told), "no `{told}` in\n{said}");
    }
    for (arguments, told) in [
        (&["none", "prod"][..], "there is no REST API none"),
        (&["bad", "dev"], "REST API bad has no stage dev; it has: prod"),
    ] {
        let (said, fine) = doctor(&gateway, arguments);
        assert!(!fine && said.contains(told), "{said}");
    }
}
