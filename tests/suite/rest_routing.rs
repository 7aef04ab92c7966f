//! REST APIs: how a request finds its stage and its method, and what it gets that finds none.

use serde_json::{Value, json};
use sluice_harness::rest::{RestApi, catalog, http_proxy, mock};
use sluice_harness::{Backend, Call, Gateway, Reply, Sluice};

const FORBIDDEN: (u16, &str, &str) = (403, "Forbidden", "ForbiddenException");
const MISSING: (u16, &str, &str) =
    (403, "Missing Authentication Token", "MissingAuthenticationTokenException");

fn pets() -> RestApi {
    RestApi::new("abc123")
        .method("GET", "/", mock("root"))
        .method("GET", "/pets", mock("pets"))
        .method("GET", "/pets/{id}", mock("pet"))
        .method("ANY", "/pets/{id}/{proxy+}", mock("rest"))
        .method("POST", "/pets/new", mock("new"))
        .deploy("prod")
}

#[track_caller]
fn assert_text(gateway: &Gateway, call: Call, expected: &str) {
    let response = gateway.call(&call);
    assert_eq!((response.status, response.text().as_str()), (200, expected), "{call:?}");
}

#[track_caller]
fn assert_refused(gateway: &Gateway, call: Call, (status, message, kind): (u16, &str, &str)) {
    gateway.call(&call).assert_refusal(status, message, kind);
}

#[test]
fn a_stage_is_reached_by_host_and_by_path() {
    let gateway = Gateway::start("[routes.own]\npath = \"/{proxy+}\"\nmock_body = \"own\"\n");
    assert_text(&gateway, Call::get("/prod/pets").host("abc123.execute-api.eu-west-1.localhost"), "own");
    gateway.serve_rest(&[pets()]);
    let host = "abc123.execute-api.eu-west-1.localhost:4566";
    assert_text(&gateway, Call::get("/prod/pets").host(host), "pets");
    assert_text(&gateway, Call::get("/restapis/abc123/prod/_user_request_/pets"), "pets");
    assert_text(&gateway, Call::get("/_aws/execute-api/abc123/prod/pets"), "pets");
    // The configuration's routes go on beside them.
    assert_text(&gateway, Call::get("/prod/pets"), "own");
    for call in [
        Call::get("/nope/pets").host(host),
        Call::get("/").host(host),
        Call::get("/prod/pets").host("zzz.execute-api.eu-west-1.localhost"),
        Call::get("/restapis/abc123/nope/_user_request_/pets"),
        Call::get("/_aws/execute-api/zzz/prod/pets"),
    ] {
        assert_refused(&gateway, call, FORBIDDEN);
    }
}

#[test]
fn the_most_specific_resource_answers_and_others_get_what_aws_says() {
    let gateway = Gateway::start("");
    gateway.serve_rest(&[pets()]);
    for (path, expected) in [
        ("", "root"),
        ("/", "root"),
        ("/pets", "pets"),
        ("/pets/", "pets"),
        ("//pets", "pets"),
        ("/pets/7", "pet"),
        ("/pets/new", "pet"),
        ("/pets/a%2Fb", "pet"),
        ("/pets/7/a", "rest"),
        ("/pets/7/a//b/", "rest"),
        ("/%70ets?x=1", "pets"),
    ] {
        let response = gateway.rest("abc123", "prod", path);
        assert_eq!((response.status, response.text().as_str()), (200, expected), "{path}");
    }
    for path in ["/nope", "/Pets", "/pets//7"] {
        let (status, message, kind) = MISSING;
        gateway.rest("abc123", "prod", path).assert_refusal(status, message, kind);
    }
    let target = "/restapis/abc123/prod/_user_request_";
    assert_refused(&gateway, Call::new("DELETE", &format!("{target}/pets")), MISSING);
    assert_text(&gateway, Call::new("DELETE", &format!("{target}/pets/7/a")), "rest");
    assert_text(&gateway, Call::new("POST", &format!("{target}/pets/new")), "new");
}

#[test]
fn a_greedy_root_takes_no_empty_path() {
    let gateway = Gateway::start("");
    gateway.serve_rest(&[RestApi::new("a").method("ANY", "/{proxy+}", mock("all")).deploy("s")]);
    assert_eq!(gateway.rest("a", "s", "/x").text(), "all");
    let (status, message, kind) = MISSING;
    gateway.rest("a", "s", "/").assert_refusal(status, message, kind);
}

#[test]
fn a_domain_name_leads_to_stages_by_base_path() {
    let gateway = Gateway::start("");
    let mut catalog = catalog(&[pets(), pets_of_dev()]);
    catalog["domainNames"] = json!({
        "api.example.com": {
            "domainName": "api.example.com",
            "basePathMappings": {
                "(none)": { "basePath": "(none)", "restApiId": "abc123", "stage": "prod" },
                "v2": { "basePath": "v2", "restApiId": "def456" }
            }
        },
        "*.wild.example.com": {
            "domainName": "*.wild.example.com",
            "basePathMappings": { "x": { "basePath": "x", "restApiId": "def456", "stage": "dev" } }
        }
    });
    gateway.serve_catalog(&catalog);
    assert_text(&gateway, Call::get("/pets").host("api.example.com"), "pets");
    assert_text(&gateway, Call::get("/v2/dev/hi").host("API.example.com:443"), "dev");
    assert_text(&gateway, Call::get("/x/hi").host("a.wild.example.com"), "dev");
    assert_refused(&gateway, Call::get("/v2/nope/hi").host("api.example.com"), FORBIDDEN);
    assert_refused(&gateway, Call::get("/y").host("a.wild.example.com"), FORBIDDEN);
    assert_refused(&gateway, Call::get("/v2x").host("api.example.com"), MISSING);
}

fn pets_of_dev() -> RestApi {
    RestApi::new("def456")
        .with("disableExecuteApiEndpoint", json!(true))
        .method("GET", "/hi", mock("dev"))
        .deploy("dev")
}

#[test]
fn an_api_may_be_closed_at_its_own_host() {
    let gateway = Gateway::start("");
    gateway.serve_rest(&[pets_of_dev()]);
    assert_refused(&gateway, Call::get("/dev/hi").host("def456.execute-api.r.localhost"), FORBIDDEN);
    assert_text(&gateway, Call::get("/_aws/execute-api/def456/dev/hi"), "dev");
}

/// Asks the control plane; what it answers.
fn told(gateway: &Gateway, method: &str, path: &str, body: &Value) -> Value {
    let response = gateway.operator_call(method, path, &body.to_string());
    assert!((200..300).contains(&response.status), "{method} {path}: {response:?}");
    serde_json::from_str(&response.text()).unwrap_or_default()
}

/// The changes that `sluice plan` tells of.
fn planned(gateway: &Gateway) -> Vec<String> {
    let plan = String::from_utf8(Sluice::output(&["plan", "--admin", &gateway.admin().to_string()]).stdout);
    plan.unwrap().lines().filter_map(|line| line.strip_prefix("  ")).map(str::to_owned).collect()
}

#[test]
fn the_plan_names_each_change_until_it_is_deployed() {
    let gateway = Gateway::start("");
    let tell = |method: &str, path: &str, body: &Value| told(&gateway, method, path, body);
    let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
    let replace = |path: &str, value: &str| json!({ "patchOperations": [{ "op": "replace", "path": path, "value": value }] });
    let api = tell("POST", "/restapis", &json!({ "name": "pets" }));
    let (at, root) = (format!("/restapis/{}", id(&api)), api["rootResourceId"].as_str().unwrap().to_owned());
    let arn = "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:123456789012:function:f/invocations";
    let authorizer = json!({ "name": "guard", "type": "TOKEN", "authorizerUri": arn, "identitySource": "method.request.header.A" });
    let authorizer = id(&tell("POST", &format!("{at}/authorizers"), &authorizer));
    let validator = id(&tell("POST", &format!("{at}/requestvalidators"), &json!({ "name": "strict" })));
    let model =
        json!({ "name": "Pet", "contentType": "application/json", "schema": "{\"type\":\"object\"}" });
    tell("POST", &format!("{at}/models"), &model);
    let method = json!({ "authorizationType": "CUSTOM", "authorizerId": authorizer, "requestValidatorId": validator,
                         "requestModels": { "application/json": "Pet" } });
    let pets = id(&tell("POST", &format!("{at}/resources/{root}"), &json!({ "pathPart": "pets" })));
    let pets = format!("{at}/resources/{pets}/methods/GET");
    let integration = format!("{pets}/integration");
    tell("PUT", &pets, &method);
    tell("PUT", &integration, &json!({ "type": "MOCK" }));
    let (authorizer, validator) =
        (format!("{at}/authorizers/{authorizer}"), format!("{at}/requestvalidators/{validator}"));
    let deploy = || tell("POST", &format!("{at}/deployments"), &json!({ "stageName": "s" }));
    assert_eq!(planned(&gateway), ["+ GET /pets"], "what a first deployment would serve");
    deploy();
    assert_eq!(planned(&gateway), [""; 0]);
    let throttled = format!("{at}/gatewayresponses/THROTTLED");
    for (verb, path, body, line) in [
        ("PATCH", &pets, replace("/apiKeyRequired", "true"), "~ GET /pets"),
        ("DELETE", &integration, Value::Null, "~ GET /pets"),
        ("POST", &format!("{at}/resources/{root}"), json!({ "pathPart": "toys" }), "+ resource /toys"),
        ("PUT", &throttled, json!({ "statusCode": "503" }), "+ gateway response THROTTLED"),
        ("PATCH", &throttled, replace("/statusCode", "420"), "~ gateway response THROTTLED"),
        ("PATCH", &format!("{at}/models/Pet"), replace("/schema", r#"{"type":"string"}"#), "~ model Pet"),
        ("PATCH", &validator, replace("/validateRequestBody", "true"), "~ request validator strict"),
        ("PATCH", &authorizer, replace("/authorizerResultTtlInSeconds", "1"), "~ authorizer guard"),
    ] {
        tell(verb, path, &body);
        assert_eq!(planned(&gateway), [line]);
        // Without an integration there is nothing to deploy.
        if gateway.operator_call("GET", &integration, "").status != 200 {
            tell("PUT", &integration, &json!({ "type": "MOCK" }));
        }
        deploy();
        assert_eq!(planned(&gateway), [""; 0], "after {line}");
    }
}

#[test]
fn only_what_is_deployed_serves() {
    let gateway = Gateway::start("");
    let deployed = RestApi::new("a").method("GET", "/old", mock("old")).deploy("s");
    gateway.serve_rest(&[deployed.clone().method("GET", "/new", mock("new"))]);
    assert_eq!(gateway.rest("a", "s", "/old").status, 200);
    assert_eq!(gateway.rest("a", "s", "/new").status, 403);
    let plan = Sluice::output(&["plan", "--admin", &gateway.admin().to_string()]);
    let plan = String::from_utf8(plan.stdout).unwrap();
    assert!(plan.contains("a/s") && plan.contains("+ GET /new"), "{plan}");
    gateway.serve_rest(&[deployed.method("GET", "/new", mock("new")).deploy("s")]);
    assert_eq!(gateway.rest("a", "s", "/new").status, 200);
    let plan = Sluice::output(&["plan", "--admin", &gateway.admin().to_string()]);
    assert_eq!(String::from_utf8(plan.stdout).unwrap(), "Every stage serves what its API says.\n");
}

#[test]
fn a_canary_gets_its_share() {
    let gateway = Gateway::start("");
    let api = RestApi::new("a")
        .method("GET", "/", mock("new"))
        .deploy("unused")
        .method("GET", "/", mock("old"))
        .deploy_with("half", json!({ "canarySettings": { "percentTraffic": 50.0, "deploymentId": "d0" } }))
        .deploy_with("none", json!({ "canarySettings": { "percentTraffic": 0.0, "deploymentId": "d0" } }))
        .deploy_with("all", json!({ "canarySettings": { "percentTraffic": 100.0, "deploymentId": "d0" } }));
    gateway.serve_rest(&[api]);
    let count = |stage: &str| (0..200).filter(|_| gateway.rest("a", stage, "/").text() == "new").count();
    assert_eq!((count("none"), count("all")), (0, 200));
    // 200 draws of a half: outside of this once in 10^12 runs.
    assert!((50..=150).contains(&count("half")));
}

#[test]
fn http_proxy_forwards_path_query_and_body() {
    let backend = Backend::start(|request| Reply::ok(format!("{} {}", request.method, request.target)));
    let gateway = Gateway::start("");
    let uri = format!("http://{}/base/{{proxy}}", backend.addr());
    let variable = "http://${stageVariables.backend}/fixed";
    let api = RestApi::new("a")
        .method("ANY", "/p/{proxy+}", http_proxy(&uri))
        .method("GET", "/v", http_proxy(variable))
        .deploy_with("s", json!({ "variables": { "backend": backend.addr().to_string() } }));
    gateway.serve_rest(&[api]);
    assert_eq!(gateway.rest("a", "s", "/p/x/y%20z?q=1&q=2").text(), "GET /base/x/y%20z?q=1&q=2");
    assert_eq!(gateway.rest("a", "s", "/v").text(), "GET /fixed");
    let response = gateway.call(&Call::post("/_aws/execute-api/a/s/p/x", "hello"));
    assert_eq!(response.text(), "POST /base/x");
    let request = backend.last_request();
    assert_eq!(request.body, b"hello");
    assert_eq!(request.header("host"), Some(backend.addr().to_string().as_str()));
}

#[test]
fn what_cannot_be_authorized_or_answered_is_refused() {
    let gateway = Gateway::start("");
    let api = RestApi::new("a")
        .method_with("GET", "/iam", mock("no"), json!({ "authorizationType": "AWS_IAM" }))
        .method_with("GET", "/custom", mock("no"), json!({ "authorizationType": "CUSTOM" }))
        .method_with("GET", "/key", mock("no"), json!({ "apiKeyRequired": true }))
        .method("GET", "/open", http_proxy("http://{host}/"))
        .deploy("s");
    gateway.serve_rest(&[api]);
    let (status, message, kind) = MISSING;
    gateway.rest("a", "s", "/iam").assert_refusal(status, message, kind);
    let (status, message, kind) = FORBIDDEN;
    gateway.rest("a", "s", "/key").assert_refusal(status, message, kind);
    for path in ["/custom", "/open"] {
        assert_eq!(gateway.rest("a", "s", path).status, 500, "{path}");
    }
    gateway.wait_for_line(0, "there is no authorizer ``");
}

#[test]
fn a_catalog_that_does_not_compile_changes_nothing() {
    let gateway = Gateway::start("");
    gateway.serve_rest(&[pets()]);
    let clash =
        RestApi::new("bad").method("GET", "/{a}", mock("")).method("GET", "/{b}", mock("")).deploy("s");
    let response = gateway.operator_call("PUT", "/catalog", &catalog(&[clash]).to_string());
    assert_eq!(response.status, 422, "{response:?}");
    assert!(response.text().contains("rest API bad/s: routes"), "{response:?}");
    assert_eq!(gateway.rest("abc123", "prod", "/pets").text(), "pets");
    // A reload of the configuration leaves REST APIs as they are.
    assert_eq!(gateway.reload().status, 200);
    assert_eq!(gateway.rest("abc123", "prod", "/pets").text(), "pets");
}

#[test]
fn routes_are_listed_with_where_they_come_from() {
    let gateway = Gateway::start("[routes.own]\npath = \"/own\"\nmock_body = \"own\"\n");
    gateway.serve_rest(&[pets()]);
    let listed = Sluice::output(&["routes", "--admin", &gateway.admin().to_string()]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    let line = |of: &str| listed.lines().find(|line| line.contains(of)).unwrap_or_else(|| panic!("{listed}"));
    assert!(line(" /own ").ends_with("gateway.toml:1"), "{listed}");
    let pet = line("/prod/pets/{id} ");
    assert!(pet.starts_with("GET ") && pet.ends_with("rest API abc123/prod"), "{listed}");
    assert!(pet.contains("abc123.execute-api.*") && pet.contains("mock 200"), "{listed}");
}
