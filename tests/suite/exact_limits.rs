//! Every kind of limit against its reference bucket, hammered from many connections over both cores.
//!
//! A request's decision falls somewhere between its sending and its answer, so what is certain is this. **Never above**: of
//! the requests sent and answered within a window, at most `burst + rate * window` are granted, for every window. **Hardly
//! below**: when a request is refused, an exact bucket would have had less than `1 + 2 * O` tokens left, where `O` is
//! what leases may hold (`sluice_throttle`'s promise). Both are checked for every grant and every refusal.
//!
//! `SLUICE_EXACT_SECONDS=30` hammers for so long; the default is short.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_harness::rest::{RestApi, catalog, mock};
use sluice_harness::{Call, Conn, Gateway};

const RATE: f64 = 200.0;
const BURST: f64 = 160.0;
/// Each bucket is asked from so many connections.
const CONNECTIONS: usize = 6;
/// The gateway takes the time at the start of a loop turn, so its decision may seem this much earlier than it was asked for.
const CLOCK_SLACK_S: f64 = 0.02;

const CONFIG: &str = r#"
[routes.route]
path = "/route"
mock_body = "in"
limits = ["by-route"]

[routes.key]
path = "/key"
mock_body = "in"
api_key_required = true
limits = ["by-key"]

[routes.client]
path = "/client"
mock_body = "in"
limits = ["by-client"]

[routes.one]
path = "/one"
mock_body = "in"
limits = ["by-all"]

[routes.two]
path = "/two"
mock_body = "in"
limits = ["by-all"]

[keys.first]
value = "first-key-0123456789"

[keys.second]
value = "second-key-0123456789"

[limits.by-route]
scope = "route"
rate = 200
burst = 160

[limits.by-key]
scope = "key"
rate = 200
burst = 160

[limits.by-client]
scope = "client"
rate = 200
burst = 160

[limits.by-all]
scope = "global"
rate = 200
burst = 160

[access_log]
format = "off"
"#;

/// A bucket and those who ask it.
struct Bucket {
    name: &'static str,
    calls: Vec<Call>,
    source: u8,
    /// What leases may hold.
    lent: f64,
}

fn buckets() -> Vec<Bucket> {
    let with_key = |key: &str| vec![Call::get("/key").header("x-api-key", key)];
    // `burst / 16` for each pool; a client's bucket is never lent out.
    let pool = |name, calls| Bucket { name, calls, source: 1, lent: BURST / 16.0 };
    let client = |name, source| Bucket { name, calls: vec![Call::get("/client")], source, lent: 0.0 };
    vec![
        pool("route", vec![Call::get("/route")]),
        pool("key first", with_key("first-key-0123456789")),
        pool("key second", with_key("second-key-0123456789")),
        pool("global", vec![Call::get("/one"), Call::get("/two")]),
        client("client 127.0.0.2", 2),
        client("client 127.0.0.3", 3),
    ]
}

/// The same bucket as a throttle of REST APIs.
fn throttle() -> Value {
    json!({ "burstLimit": BURST as u32, "rateLimit": RATE })
}

/// A stage for each limit that REST APIs know: a plan for its keys, a plan's for a method, a stage's, a method's.
fn rest_catalog() -> Value {
    let limit = json!({ "throttlingBurstLimit": BURST as u32, "throttlingRateLimit": RATE });
    let keyed = |path: &str, api: RestApi| {
        api.method_with("GET", path, mock("in"), json!({ "apiKeyRequired": true }))
    };
    let api = keyed("/x", keyed("/", RestApi::new("a")))
        .method("GET", "/open", mock("in"))
        .deploy("plan")
        .deploy("planned")
        .deploy_with("stage", json!({ "methodSettings": { "*/*": limit.clone() } }))
        .deploy_with("method", json!({ "methodSettings": { "open/GET": limit } }));
    let mut catalog = catalog(&[api]);
    let key = |id: &str| json!({ "id": id, "name": id, "value": rest_key(id), "enabled": true });
    let member = |id: &str| json!({ "id": id, "type": "API_KEY" });
    catalog["apiKeys"] = json!({ "k1": key("k1"), "k2": key("k2"), "k3": key("k3") });
    catalog["usagePlans"] = json!({
        "p1": {
            "id": "p1", "name": "its keys", "throttle": throttle(),
            "apiStages": [{ "apiId": "a", "stage": "plan" }],
            "keys": { "k1": member("k1"), "k2": member("k2") }
        },
        "p2": {
            "id": "p2", "name": "a method",
            "apiStages": [{ "apiId": "a", "stage": "planned", "throttle": { "/x/GET": throttle() } }],
            "keys": { "k3": member("k3") }
        }
    });
    catalog
}

fn rest_key(id: &str) -> String {
    format!("rest-key-{id}-0123456789")
}

fn rest_buckets() -> Vec<Bucket> {
    let pool = |name, calls| Bucket { name, calls, source: 1, lent: BURST / 16.0 };
    let keyed = |target: &str, key: &str| Call::get(target).header("x-api-key", &rest_key(key));
    let plan = |path: &str, key: &str| keyed(&format!("/restapis/a/plan/_user_request_{path}"), key);
    let open = |stage: &str| Call::get(&format!("/restapis/a/{stage}/_user_request_/open"));
    vec![
        pool("plan, first key", vec![plan("/", "k1"), plan("/x", "k1")]),
        pool("plan, second key", vec![plan("/", "k2")]),
        pool("method of a plan", vec![keyed("/restapis/a/planned/_user_request_/x", "k3")]),
        pool("stage", vec![open("stage")]),
        pool("method", vec![open("method")]),
    ]
}

/// One request: when it was sent and answered, in seconds, and whether it was granted.
#[derive(Clone, Copy)]
struct Asked {
    sent: f64,
    answered: f64,
    granted: bool,
}

fn seconds() -> f64 {
    std::env::var("SLUICE_EXACT_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2.0)
}

/// Hammers every bucket until `during` returns; gives what was asked of each.
fn hammer(gateway: &Gateway, buckets: &[Bucket], epoch: Instant, during: impl FnOnce()) -> Vec<Vec<Asked>> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut asking = Vec::new();
        for bucket in buckets {
            let threads: Vec<_> = (0..CONNECTIONS)
                .map(|n| {
                    let (call, done) = (&bucket.calls[n % bucket.calls.len()], &done);
                    scope.spawn(move || ask(gateway, bucket.source, call, epoch, done))
                })
                .collect();
            asking.push(threads);
        }
        during();
        done.store(true, Ordering::SeqCst);
        let gather = |threads: Vec<thread::ScopedJoinHandle<'_, Vec<Asked>>>| {
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        };
        asking.into_iter().map(gather).collect()
    })
}

fn ask(gateway: &Gateway, source: u8, call: &Call, epoch: Instant, done: &AtomicBool) -> Vec<Asked> {
    let mut conn = Conn::open_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, source)), gateway.addr());
    let mut asked = Vec::new();
    while !done.load(Ordering::SeqCst) {
        let sent = epoch.elapsed().as_secs_f64();
        let status = conn.call(call).status;
        let answered = epoch.elapsed().as_secs_f64();
        assert!(matches!(status, 200 | 429), "status {status}");
        asked.push(Asked { sent, answered, granted: status == 200 });
    }
    asked
}

/// The tokens that come between two moments, at most and at least: the rate may have changed once, at some time between
/// the second and the third moment of `change`.
struct Refill {
    rate: f64,
    change: Option<(f64, f64, f64)>,
}

impl Refill {
    fn steady() -> Self {
        Self { rate: RATE, change: None }
    }

    fn between(&self, from: f64, to: f64, changed_at: impl Fn(f64, f64) -> f64) -> f64 {
        let Some((rate, earliest, latest)) = self.change else { return self.rate * (to - from).max(0.0) };
        let at = changed_at(earliest, latest).clamp(from, to.max(from));
        self.rate * (at - from) + rate * (to.max(from) - at)
    }

    /// Of a rate that grows.
    fn most(&self, from: f64, to: f64) -> f64 {
        self.between(from, to, |earliest, _| earliest)
    }

    fn least(&self, from: f64, to: f64) -> f64 {
        self.between(from, to, |_, latest| latest)
    }
}

fn check(bucket: &Bucket, asked: &[Asked], refill: &Refill) {
    let mut grants: Vec<Asked> = asked.iter().copied().filter(|one| one.granted).collect();
    let refused = asked.len() - grants.len();
    assert!(refused > 100, "{}: {refused} refusals: it was not hammered", bucket.name);
    grants.sort_by(|a, b| a.answered.total_cmp(&b.answered));
    for first in &grants {
        let mut within = 0.0;
        for last in grants.iter().filter(|one| one.sent >= first.sent) {
            within += 1.0;
            let most = BURST + refill.most(first.sent - CLOCK_SLACK_S, last.answered);
            let (name, window) = (bucket.name, last.answered - first.sent);
            assert!(within <= most, "{name}: {within} granted in {window:.4} s, at most {most:.1}");
        }
    }
    // A client's debt is kept as the time until its bucket is full, whatever the new rate: it may be granted less at first.
    if bucket.lent == 0.0 && refill.change.is_some() {
        return;
    }
    let begun = grants.first().map_or(0.0, |first| first.answered);
    let mut sent: Vec<f64> = grants.iter().map(|grant| grant.sent).collect();
    sent.sort_by(f64::total_cmp);
    for refusal in asked.iter().filter(|one| !one.granted && one.sent > begun) {
        let granted = sent.partition_point(|sent| *sent <= refusal.answered) as f64;
        let exact = BURST + refill.least(begun, refusal.sent - CLOCK_SLACK_S) - granted;
        let bound = 1.0 + 2.0 * bucket.lent;
        let (name, at) = (bucket.name, refusal.sent);
        assert!(exact < bound, "{name}: refused at {at:.4} s with {exact:.1} tokens left, bound {bound:.1}");
    }
    let total = BURST + refill.most(begun, asked.iter().map(|one| one.sent).fold(0.0, f64::max));
    println!("{}: {} granted of {}, reference {total:.0}", bucket.name, grants.len(), asked.len());
}

#[test]
fn every_kind_of_limit_is_exact_also_through_reloads() {
    let gateway = Gateway::builder().server("cores = 2").start(CONFIG);
    let (buckets, epoch) = (buckets(), Instant::now());
    let asked = hammer(&gateway, &buckets, epoch, || {
        let until = epoch + Duration::from_secs_f64(seconds());
        while Instant::now() < until {
            assert_eq!(gateway.reload().status, 200);
            thread::sleep(Duration::from_millis(100));
        }
    });
    for (bucket, asked) in buckets.iter().zip(&asked) {
        check(bucket, asked, &Refill::steady());
    }
}

#[test]
fn a_rate_that_a_reload_raises_holds_from_then_on() {
    let gateway = Gateway::builder().server("cores = 2").start(CONFIG);
    let (buckets, epoch) = (buckets(), Instant::now());
    let half = Duration::from_secs_f64(seconds() / 2.0);
    let mut change = None;
    let asked = hammer(&gateway, &buckets, epoch, || {
        thread::sleep(half);
        gateway.write_config(&CONFIG.replace("rate = 200", "rate = 500"));
        let earliest = epoch.elapsed().as_secs_f64();
        assert_eq!(gateway.reload().status, 200);
        change = Some((500.0, earliest, epoch.elapsed().as_secs_f64()));
        thread::sleep(half);
    });
    for (bucket, asked) in buckets.iter().zip(&asked) {
        check(bucket, asked, &Refill { rate: RATE, change });
    }
}

/// Hammers while the catalog is published again and again, and the configuration loaded.
fn hammer_rest(catalog: &Value, buckets: &[Bucket]) {
    let gateway = Gateway::builder().server("cores = 2").start("");
    gateway.serve_catalog(catalog);
    let epoch = Instant::now();
    let asked = hammer(&gateway, buckets, epoch, || {
        let until = epoch + Duration::from_secs_f64(seconds());
        for round in (0_u32..).take_while(|_| Instant::now() < until) {
            let mut catalog = catalog.clone();
            catalog["restApis"]["a"]["description"] = json!(format!("round {round}"));
            gateway.serve_catalog(&catalog);
            assert_eq!(gateway.reload().status, 200);
            thread::sleep(Duration::from_millis(100));
        }
    });
    for (bucket, asked) in buckets.iter().zip(&asked) {
        check(bucket, asked, &Refill::steady());
    }
}

#[test]
fn the_limits_of_plans_stages_and_methods_are_exact_also_through_publications() {
    hammer_rest(&rest_catalog(), &rest_buckets());
}

#[test]
fn the_limit_of_the_account_is_exact_over_all_apis_and_stages() {
    let mut catalog = rest_catalog();
    catalog["account"] = json!({ "throttleSettings": throttle() });
    let open = |stage: &str| Call::get(&format!("/restapis/a/{stage}/_user_request_/open"));
    let calls = vec![open("plan"), open("planned")];
    hammer_rest(&catalog, &[Bucket { name: "account", calls, source: 1, lent: BURST / 16.0 }]);
}
