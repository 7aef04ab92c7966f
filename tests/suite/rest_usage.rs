//! REST APIs: API keys, usage plans, throttles and quotas as the data cores enforce them.

use serde_json::{Value, json};
use sluice_harness::rest::{RestApi, catalog, mock};
use sluice_harness::{Gateway, Response, eventually};

const KEY: &str = "a-key-of-twenty-characters";
const OTHER: &str = "another-key-of-twenty-characters";

/// Two stages, one of which a plan opens for one of two keys.
fn keyed(plan: Value) -> Value {
    let api = RestApi::new("a")
        .method_with("GET", "/", mock("yes"), json!({ "apiKeyRequired": true }))
        .method_with("GET", "/x", mock("yes"), json!({ "apiKeyRequired": true }))
        .method("GET", "/open", mock("yes"))
        .deploy("in")
        .deploy("out");
    let mut catalog = catalog(&[api]);
    let key = |id: &str, value: &str, enabled: bool| json!({ "id": id, "name": id, "value": value, "enabled": enabled });
    catalog["apiKeys"] = json!({
        "k1": key("k1", KEY, true),
        "k2": key("k2", OTHER, true),
        "k3": key("k3", "a-disabled-key-of-characters", false),
    });
    let mut plan_value = json!({
        "id": "p1", "name": "plan",
        "apiStages": [{ "apiId": "a", "stage": "in" }],
        "keys": { "k1": { "id": "k1", "type": "API_KEY" }, "k3": { "id": "k3", "type": "API_KEY" } }
    });
    for (field, value) in plan.as_object().unwrap() {
        plan_value[field] = value.clone();
    }
    catalog["usagePlans"] = json!({ "p1": plan_value });
    catalog
}

fn call(gateway: &Gateway, stage: &str, path: &str, key: &str) -> Response {
    gateway.rest_call(
        "a",
        stage,
        path,
        |call| if key.is_empty() { call } else { call.header("x-api-key", key) },
    )
}

#[test]
fn a_key_is_good_for_the_stages_of_its_plans() {
    let gateway = Gateway::start("");
    gateway.serve_catalog(&keyed(json!({})));
    assert_eq!(call(&gateway, "in", "/", KEY).text(), "yes");
    assert_eq!(call(&gateway, "in", "/open", "").text(), "yes");
    assert_eq!(call(&gateway, "in", "/open", "whatever").text(), "yes");
    for (stage, key) in
        [("in", ""), ("in", "unknown"), ("in", OTHER), ("in", "a-disabled-key-of-characters"), ("out", KEY)]
    {
        call(&gateway, stage, "/", key).assert_refusal(403, "Forbidden", "ForbiddenException");
    }
    let twice =
        gateway.rest_call("a", "in", "/", |call| call.header("x-api-key", KEY).header("x-api-key", KEY));
    assert_eq!(twice.status, 403);
}

#[test]
fn keys_of_the_configuration_and_of_the_catalog_do_not_mix() {
    let gateway = Gateway::start(
        "[keys.own]\nvalue = \"own-key-of-the-file\"\n[routes.own]\npath = \"/own\"\nmock_body = \"own\"\napi_key_required = true\n",
    );
    gateway.serve_catalog(&keyed(json!({})));
    let own = |key: &str| gateway.call(&sluice_harness::Call::get("/own").header("x-api-key", key)).status;
    assert_eq!((own("own-key-of-the-file"), own(KEY)), (200, 403));
    assert_eq!(call(&gateway, "in", "/", "own-key-of-the-file").status, 403);
}

#[test]
fn a_plans_throttle_is_each_keys_own_and_its_methods_have_theirs() {
    let gateway = Gateway::start("");
    let throttle = json!({ "burstLimit": 3, "rateLimit": 0.001 });
    let stages = json!([{
        "apiId": "a", "stage": "in", "throttle": { "/x/GET": { "burstLimit": 1, "rateLimit": 0.001 } }
    }]);
    let mut catalog = keyed(json!({ "throttle": throttle, "apiStages": stages }));
    catalog["usagePlans"]["p1"]["keys"]["k2"] = json!({ "id": "k2", "type": "API_KEY" });
    gateway.serve_catalog(&catalog);
    assert_eq!(call(&gateway, "in", "/x", KEY).status, 200);
    // What the method's limit refuses takes nothing from the key's.
    for _ in 0..5 {
        call(&gateway, "in", "/x", KEY).assert_refusal(429, "Too Many Requests", "TooManyRequestsException");
    }
    let granted = (0..5).filter(|_| call(&gateway, "in", "/", KEY).status == 200).count();
    assert_eq!(granted, 2);
    let granted = (0..5).filter(|_| call(&gateway, "in", "/", OTHER).status == 200).count();
    assert_eq!(granted, 3);
}

#[test]
fn methods_and_the_account_have_limits_for_all_callers() {
    let gateway = Gateway::start("");
    let settings = json!({
        "*/*": { "throttlingBurstLimit": 4, "throttlingRateLimit": 0.001 },
        "x/GET": { "throttlingBurstLimit": 1, "throttlingRateLimit": 0.001 }
    });
    let api = RestApi::new("a")
        .method("GET", "/", mock("yes"))
        .method("GET", "/x", mock("yes"))
        .deploy_with("s", json!({ "methodSettings": settings }))
        .deploy("free");
    let mut catalog = catalog(&[api]);
    catalog["account"] = json!({ "throttleSettings": { "burstLimit": 7, "rateLimit": 0.001 } });
    gateway.serve_catalog(&catalog);
    let granted =
        |stage: &str, path: &str| (0..6).filter(|_| gateway.rest("a", stage, path).status == 200).count();
    assert_eq!((granted("s", "/x"), granted("s", "/")), (1, 4));
    assert_eq!(granted("free", "/"), 2, "what the account has left");
}

#[test]
fn a_quota_is_counted_over_all_cores_and_ends_with_limit_exceeded() {
    let gateway = Gateway::builder().server("cores = 2").start("");
    let catalog = keyed(json!({ "quota": { "limit": 300, "offset": 0, "period": "MONTH" } }));
    gateway.serve_catalog(&catalog);
    // The month may end in between: then it begins anew.
    let granted = (0..400).filter(|_| call(&gateway, "in", "/", KEY).status == 200).count();
    assert_eq!(granted, 300);
    call(&gateway, "in", "/x", KEY).assert_refusal(429, "Limit Exceeded", "LimitExceededException");
    // Another publication keeps the count, and a higher limit holds at once.
    let catalog = keyed(json!({ "quota": { "limit": 302, "offset": 0, "period": "MONTH" } }));
    gateway.serve_catalog(&catalog);
    eventually("the two that are left", || (call(&gateway, "in", "/", KEY).status == 200).then_some(()));
}
