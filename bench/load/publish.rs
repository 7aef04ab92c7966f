//! The whole way of a change: from a call to the control plane until a data core serves it, among 1,000 REST APIs of 50 methods.
//!
//! `cargo run --release -p sluice-harness --example publish`. The gateway is the binary of the same profile, or `SLUICE_BIN`.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use sluice_harness::rest::{RestApi, catalog, mock};
use sluice_harness::{Gateway, TempDir};

const APIS: usize = 1000;
const METHODS: usize = 50;
const CHANGES: usize = 50;

fn api(at: usize) -> RestApi {
    let api = RestApi::new(&format!("api{at:07}")).with("rootResourceId", json!("root"));
    let api = api.with("resources", json!({ "root": { "id": "root", "path": "/" } }));
    (0..METHODS).fold(api, |api, method| api.method("GET", &format!("/orders{method}/{{id}}"), mock("{}")))
}

fn p50_and_max(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    let ms = |time: &Duration| time.as_secs_f64() * 1000.0;
    (times.get(times.len() / 2).map_or(0.0, ms), times.last().map_or(0.0, ms))
}

/// Changes what one method of an API answers, deploys it, and asks until that is served: how long the deployment took to answer, and
/// how long until it was served.
fn change(gateway: &Gateway, round: usize) -> (Duration, Duration) {
    let id = format!("api{:07}", round * 37 % APIS);
    // The harness names resources by their paths.
    let at = format!("/restapis/{id}/resources/%2Forders7%2F%7Bid%7D/methods/GET/integration/responses/200");
    let body = format!("{{\"round\": {round}}}");
    let patch = json!({ "op": "replace", "path": "/responseTemplates/application~1json", "value": body });
    let patched = gateway.operator_call("PATCH", &at, &json!({ "patchOperations": [patch] }).to_string());
    assert_eq!(patched.status, 200, "{patched:?}");
    let begun = Instant::now();
    let deploy = json!({ "stageName": "prod" }).to_string();
    let deployed = gateway.operator_call("POST", &format!("/restapis/{id}/deployments"), &deploy);
    assert_eq!(deployed.status, 201, "{deployed:?}");
    let answered = begun.elapsed();
    while gateway.rest(&id, "prod", "/orders7/12345").text() != body {
        assert!(begun.elapsed() < Duration::from_secs(10), "{id} does not serve round {round}");
    }
    (answered, begun.elapsed())
}

fn main() {
    let dir = TempDir::new();
    let config = format!("[store]\npath = \"{}\"\n", dir.path().join("store").display());
    let mut gateway = Gateway::start(&config);
    let apis: Vec<RestApi> = (0..APIS).map(|at| api(at).deploy("prod")).collect();
    let whole: Value = catalog(&apis);
    let begun = Instant::now();
    gateway.serve_catalog(&whole);
    println!(
        "{APIS} APIs of {METHODS} methods put by HTTP, stored and served: {:.2} s",
        begun.elapsed().as_secs_f64()
    );
    gateway.signal(Signal::KILL);
    gateway.wait_for_exit();
    let begun = Instant::now();
    let gateway = Gateway::start(&config);
    println!("started again with them, ready after: {:.2} s", begun.elapsed().as_secs_f64());
    let (answered, served) = (0..CHANGES).map(|round| change(&gateway, round)).unzip();
    for (what, times) in [("answered", answered), ("served by a data core", served)] {
        let (p50, max) = p50_and_max(times);
        println!(
            "CreateDeployment of one of them, until {what}: p50 {p50:.1} ms, max {max:.1} ms ({CHANGES} changes)"
        );
    }
}
