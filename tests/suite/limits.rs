//! Token buckets: per route, key, client and everywhere; exact however many connections and cores there are.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use sluice_harness::{Backend, Call, Conn, Gateway, Reply, Response, eventually};

/// A rate so low that no token is refilled while a test runs.
const NO_REFILL: &str = "0.001";

#[track_caller]
fn assert_throttled(response: &Response) {
    response.assert_refusal(429, "Too Many Requests", "TooManyRequestsException");
    let seconds: u64 =
        response.header("retry-after").expect("Retry-After").parse().expect("Retry-After in seconds");
    assert!(seconds >= 1, "Retry-After: {seconds}");
}

/// Sends `count` requests on each of `connections` connections at once; returns how many were granted.
fn storm(gateway: &Gateway, connections: usize, count: usize, call: &Call) -> usize {
    let granted = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let mut conn = gateway.conn();
                for _ in 0..count {
                    match conn.call(call) {
                        response if response.status == 200 => drop(granted.fetch_add(1, Ordering::SeqCst)),
                        response => assert_throttled(&response),
                    }
                }
            });
        }
    });
    granted.into_inner()
}

/// After a storm some tokens may still be leased to a core; they come back, and then the rest of the burst is granted.
/// Never more than the burst.
fn assert_exactly_granted(gateway: &Gateway, mut granted: usize, burst: usize, call: &Call) {
    assert!(granted <= burst, "{granted} granted of {burst}");
    eventually(&format!("the rest of {burst} tokens, {granted} so far"), || {
        granted += storm(gateway, 4, 1, call);
        assert!(granted <= burst, "{granted} granted of {burst}");
        (granted == burst).then_some(())
    });
    assert_eq!(storm(gateway, 8, 4, call), 0, "the bucket is empty");
}

fn limited_mock(scope: &str, rate: &str, burst: usize) -> String {
    format!(
        r#"
[routes.a]
path = "/a"
mock_body = "a"
limits = ["tight"]

[routes.b]
path = "/b"
mock_body = "b"
limits = ["tight"]

[routes.free]
path = "/free"
mock_body = "free"

[limits.tight]
scope = "{scope}"
rate = {rate}
burst = {burst}
"#
    )
}

#[test]
fn one_connection_gets_the_burst_and_then_429() {
    let gateway = Gateway::start(&limited_mock("route", NO_REFILL, 5));
    let mut conn = gateway.conn();
    for n in 0..5 {
        assert_eq!(conn.get("/a").status, 200, "request {n} of a burst of 5");
    }
    for _ in 0..20 {
        assert_throttled(&conn.get("/a"));
    }
    assert_eq!(conn.get("/free").status, 200, "the connection and other routes are unharmed");
}

#[test]
fn many_connections_on_two_cores_never_get_more_than_the_burst() {
    let gateway = Gateway::builder().server("cores = 2").start(&limited_mock("route", NO_REFILL, 500));
    let granted = storm(&gateway, 32, 50, &Call::get("/a"));
    assert_exactly_granted(&gateway, granted, 500, &Call::get("/a"));
}

#[test]
fn routes_have_their_own_buckets_by_scope_route() {
    let gateway = Gateway::start(&limited_mock("route", NO_REFILL, 3));
    let mut conn = gateway.conn();
    for path in ["/a", "/b"] {
        let granted = (0..10).filter(|_| conn.get(path).status == 200).count();
        assert_eq!(granted, 3, "{path}");
    }
}

#[test]
fn routes_share_one_bucket_by_scope_global() {
    let gateway = Gateway::start(&limited_mock("global", NO_REFILL, 6));
    let mut conn = gateway.conn();
    let granted = (0..20).filter(|n| conn.get(if n % 2 == 0 { "/a" } else { "/b" }).status == 200).count();
    assert_eq!(granted, 6);
}

#[test]
fn tokens_come_back_at_the_rate_and_no_faster() {
    let gateway = Gateway::builder().server("cores = 2").start(&limited_mock("route", "200", 10));
    let begun = Instant::now();
    let mut granted = 0;
    while begun.elapsed().as_millis() < 1000 {
        granted += storm(&gateway, 4, 10, &Call::get("/a"));
    }
    let most = 10.0 + 200.0 * begun.elapsed().as_secs_f64() + 1.0;
    assert!(f64::from(u32::try_from(granted).unwrap()) <= most, "{granted} granted, at most {most} allowed");
    assert!(granted > 10, "tokens must be refilled: {granted}");
}

#[test]
fn an_empty_bucket_grants_again_after_retry_after() {
    let gateway = Gateway::start(&limited_mock("route", "4", 1));
    let mut conn = gateway.conn();
    assert_eq!(conn.get("/a").status, 200);
    let refused = conn.get("/a");
    assert_throttled(&refused);
    assert_eq!(refused.header("retry-after"), Some("1"), "a quarter of a second is rounded up");
    eventually("a refilled token", || (conn.get("/a").status == 200).then_some(()));
}

#[test]
fn each_key_has_its_own_bucket() {
    let backend = Backend::start(|_| Reply::ok("in"));
    let gateway = Gateway::builder().server("cores = 2").start(&format!(
        r#"
[routes.a]
path = "/a"
upstream = "{}"
api_key_required = true
limits = ["per-key"]

[keys.first]
value = "first-key-0123456789"

[keys.second]
value = "second-key-0123456789"

[keys.small]
value = "small-key-0123456789"
limits = ["small"]

[limits.per-key]
scope = "key"
rate = {NO_REFILL}
burst = 40

[limits.small]
scope = "key"
rate = {NO_REFILL}
burst = 2
"#,
        backend.addr()
    ));
    let with_key = |key: &str| Call::get("/a").header("x-api-key", key);
    for key in ["first-key-0123456789", "second-key-0123456789"] {
        let granted = storm(&gateway, 8, 20, &with_key(key));
        assert_exactly_granted(&gateway, granted, 40, &with_key(key));
    }
    assert_eq!(backend.hits(), 80, "what is refused does not reach the backend");
    let granted = storm(&gateway, 4, 5, &with_key("small-key-0123456789"));
    assert_exactly_granted(&gateway, granted, 2, &with_key("small-key-0123456789"));
    // A request without a valid key is 403, whatever the buckets say.
    gateway.get("/a").assert_refusal(403, "Forbidden", "ForbiddenException");
}

#[test]
fn each_client_address_has_its_own_bucket() {
    let gateway = Gateway::builder().server("cores = 2").start(&limited_mock("client", NO_REFILL, 7));
    for last in 1..=4 {
        let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        let mut granted = 0;
        for _ in 0..5 {
            // Several connections, so that both cores see this client.
            let mut conn = Conn::open_from(source, gateway.addr());
            granted += (0..5).filter(|_| conn.get("/a").status == 200).count();
        }
        assert_eq!(granted, 7, "client {source}");
    }
    // The forwarding headers are the client's word, not its address.
    let forged = Call::get("/a").header("x-forwarded-for", "192.0.2.1").header("forwarded", "for=192.0.2.1");
    assert_throttled(&gateway.call(&forged));
}

#[test]
fn every_limit_of_a_route_must_grant() {
    let gateway = Gateway::start(&format!(
        r#"
[routes.a]
path = "/a"
mock_body = "a"
limits = ["wide", "narrow"]

[routes.b]
path = "/b"
mock_body = "b"
limits = ["wide"]

[limits.wide]
scope = "global"
rate = {NO_REFILL}
burst = 10

[limits.narrow]
scope = "route"
rate = {NO_REFILL}
burst = 4
"#
    ));
    let mut conn = gateway.conn();
    let granted = (0..30).filter(|_| conn.get("/a").status == 200).count();
    assert_eq!(granted, 4, "the narrow one decides");
    // Refusals by the narrow limit must not have drained the wide one.
    let granted = (0..30).filter(|_| conn.get("/b").status == 200).count();
    assert_eq!(granted, 6, "ten in all, four of them spent on /a");
}
