//! Quotas outlive the process: restarts, kills and upgrades. GetUsage tells them by day, UpdateUsage sets them.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::{Value, json};
use sluice_harness::rest::{RestApi, catalog, mock};
use sluice_harness::{Call, Gateway, Response, TempDir, eventually};

const KEY: &str = "a-key-of-twenty-characters";

fn config(dir: &TempDir) -> String {
    format!("[store]\npath = \"{}\"\n[aws]\ndevelopment = true\n", dir.path().join("store").display())
}

/// One plan of so many requests a month, with one key.
fn limited(limit: u64) -> Value {
    let api = RestApi::new("a")
        .with("rootResourceId", json!("/"))
        .method_with("GET", "/", mock("yes"), json!({ "apiKeyRequired": true }))
        .deploy("s");
    let mut catalog = catalog(&[api]);
    catalog["restApis"]["a"]["rootResourceId"] = json!("/");
    catalog["apiKeys"] = json!({ "k": { "id": "k", "name": "k", "value": KEY, "enabled": true } });
    catalog["usagePlans"] = json!({ "p": {
        "id": "p", "name": "plan", "apiStages": [{ "apiId": "a", "stage": "s" }],
        "quota": { "limit": limit, "offset": 0, "period": "MONTH" },
        "keys": { "k": { "id": "k", "type": "API_KEY" } }
    } });
    catalog
}

fn status(gateway: &Gateway) -> u16 {
    gateway.rest_call("a", "s", "/", |call| call.header("x-api-key", KEY)).status
}

fn granted(gateway: &Gateway, asked: usize) -> usize {
    (0..asked).filter(|_| status(gateway) == 200).count()
}

fn ask(gateway: &Gateway, method: &str, path: &str, body: Value) -> Response {
    let call = Call::new(method, path).header("content-type", "application/json");
    gateway.admin_call(call.header("accept", "application/json").body(body.to_string()))
}

fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let output =
        std::process::Command::new("date").args(["-u", "-d", &format!("@{seconds}"), "+%F"]).output();
    String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
}

/// Used and left of the last day that is told.
#[track_caller]
fn usage(gateway: &Gateway) -> (u64, u64) {
    let today = today();
    let path = format!("/usageplans/p/usage?startDate={today}&endDate={today}");
    let response = ask(gateway, "GET", &path, Value::Null);
    assert_eq!(response.status, 200, "{response:?}");
    let told = response.json();
    assert_eq!((&told["usagePlanId"], &told["startDate"]), (&json!("p"), &json!(today)));
    let day = told["values"]["k"].as_array().unwrap().last().unwrap();
    (day[0].as_u64().unwrap(), day[1].as_u64().unwrap())
}

#[test]
fn a_quota_goes_on_after_a_restart() {
    let dir = TempDir::new();
    let mut gateway = Gateway::start(&config(&dir));
    gateway.serve_catalog(&limited(10));
    assert_eq!(granted(&gateway, 4), 4);
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_for_exit().success());
    let gateway = Gateway::start(&config(&dir));
    assert_eq!(granted(&gateway, 20), 6);
    assert_eq!(usage(&gateway), (10, 0));
}

#[test]
fn a_kill_costs_at_most_what_was_not_kept_yet() {
    let dir = TempDir::new();
    let mut gateway = Gateway::start(&config(&dir));
    gateway.serve_catalog(&limited(10));
    assert_eq!(granted(&gateway, 4), 4);
    eventually("the count is on the disk", || {
        let metrics = gateway.metrics();
        let all_kept = metrics.has("sluice_quota_counts_unkept")
            && metrics.sum("sluice_quota_counts_unkept", &[]) == 0.0;
        all_kept.then_some(())
    });
    gateway.signal(Signal::KILL);
    gateway.wait_for_exit();
    let gateway = Gateway::start(&config(&dir));
    assert_eq!(granted(&gateway, 20), 6);
}

#[test]
fn an_upgrade_hands_the_counts_over() {
    let dir = TempDir::new();
    let mut gateway = Gateway::start(&config(&dir));
    gateway.serve_catalog(&limited(10));
    assert_eq!(granted(&gateway, 4), 4);
    let after = gateway.stderr().len();
    gateway.signal(Signal::USR2);
    gateway.wait_for_successor(after);
    assert_eq!(granted(&gateway, 20), 6);
}

#[test]
fn what_is_left_may_be_set_beyond_the_quota_too() {
    let gateway = Gateway::start("[aws]\ndevelopment = true\n");
    gateway.serve_catalog(&limited(10));
    assert_eq!(granted(&gateway, 3), 3);
    eventually("leases are back", || (usage(&gateway) == (3, 7)).then_some(()));
    let set = |left: &str| {
        let patch = json!({ "patchOperations": [{ "op": "replace", "path": "/remaining", "value": left }] });
        ask(&gateway, "PATCH", "/usageplans/p/keys/k/usage", patch)
    };
    let response = set("15");
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.json()["values"], json!({ "k": [[3, 15]] }));
    assert_eq!(granted(&gateway, 20), 15);
    assert_eq!(set("1").status, 200);
    assert_eq!(granted(&gateway, 5), 1);
    for (path, status) in [
        ("/usageplans/p/usage?startDate=2026-01-01&endDate=2025-01-01", 400),
        ("/usageplans/p/usage?startDate=now&endDate=2025-01-01", 400),
        ("/usageplans/p/usage?startDate=2025-01-01&endDate=2025-01-01&keyId=none", 404),
        ("/usageplans/none/usage?startDate=2025-01-01&endDate=2025-01-01", 404),
    ] {
        assert_eq!(ask(&gateway, "GET", path, Value::Null).status, status, "{path}");
    }
    assert_eq!(set("-1").status, 400);
    let patch = json!({ "patchOperations": [{ "op": "replace", "path": "/used", "value": "1" }] });
    assert_eq!(ask(&gateway, "PATCH", "/usageplans/p/keys/k/usage", patch).status, 400);
}

/// Unlike what is counted, what is set is on the disk when it is answered.
#[test]
fn what_was_set_survives_a_kill_at_once() {
    let dir = TempDir::new();
    let mut gateway = Gateway::start(&config(&dir));
    gateway.serve_catalog(&limited(10));
    let patch = json!({ "patchOperations": [{ "op": "replace", "path": "/remaining", "value": "3" }] });
    assert_eq!(ask(&gateway, "PATCH", "/usageplans/p/keys/k/usage", patch).status, 200);
    gateway.signal(Signal::KILL);
    gateway.wait_for_exit();
    let gateway = Gateway::start(&config(&dir));
    assert_eq!(granted(&gateway, 20), 3);
}
