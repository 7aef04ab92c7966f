//! What an operator sees: metrics, access log, health.

use serde_json::Value;
use sluice_harness::{Backend, Call, Gateway, RefusingPort, Reply, eventually};

fn observed(backend: &Backend, log: &str) -> Gateway {
    let nobody = RefusingPort::new();
    let gateway = Gateway::start(&format!(
        r#"
[upstreams.users]
targets = ["{0}"]

[routes.users]
path = "/users/{{id}}"
upstream = "users"

[routes.secret]
path = "/secret"
mock_body = "in"
api_key_required = true

[routes.tight]
path = "/tight"
mock_body = "ok"
limits = ["tight"]

[routes.broken]
path = "/broken"
upstream = "{1}"

[limits.tight]
scope = "route"
rate = 0.001
burst = 2

[keys.mobile]
value = "mobile-key-0123456789"

[access_log]
{log}
"#,
        backend.addr(),
        nobody.addr()
    ));
    // The port stays taken until this process ends.
    std::mem::forget(nobody);
    gateway
}

/// A series of the metrics and its value.
type Series<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

/// Waits for `count` complete log lines.
fn log_lines(gateway: &Gateway, count: usize) -> Vec<String> {
    eventually(&format!("{count} log lines"), || {
        let lines: Vec<String> = gateway.stdout().lines().map(str::to_owned).collect();
        (lines.len() >= count).then_some(lines)
    })
}

#[test]
fn requests_are_counted_by_route_status_and_reason() {
    let backend = Backend::start(|_| Reply::ok("user"));
    let gateway = observed(&backend, "format = \"off\"");
    let mut conn = gateway.conn();
    for n in 0..7 {
        assert_eq!(conn.get(&format!("/users/{n}")).status, 200);
    }
    for _ in 0..5 {
        conn.get("/tight");
    }
    conn.get("/nowhere");
    conn.get("/secret");
    conn.call(&Call::get("/secret").header("x-api-key", "no-such-key-0123456789"));
    assert_eq!(conn.call(&Call::get("/secret").header("x-api-key", "mobile-key-0123456789")).status, 200);
    conn.get("/broken");

    let expected: &[Series<'_>] = &[
        ("sluice_requests_total", &[("route", "users"), ("status_class", "2xx")], 7.0),
        ("sluice_requests_total", &[("route", "tight"), ("status_class", "2xx")], 2.0),
        ("sluice_requests_total", &[("route", "tight"), ("status_class", "4xx")], 3.0),
        ("sluice_requests_total", &[("route", "secret"), ("status_class", "4xx")], 2.0),
        ("sluice_requests_total", &[("route", "broken"), ("status_class", "5xx")], 1.0),
        ("sluice_requests_total", &[], 17.0),
        ("sluice_refusals_total", &[("reason", "not_found")], 1.0),
        ("sluice_refusals_total", &[("reason", "key_missing")], 1.0),
        ("sluice_refusals_total", &[("reason", "key_invalid")], 1.0),
        ("sluice_refusals_total", &[("reason", "throttled")], 3.0),
        ("sluice_refusals_total", &[("reason", "upstream_connect")], 1.0),
        ("sluice_throttled_total", &[("limit", "tight")], 3.0),
        ("sluice_key_requests_total", &[("key", "mobile")], 1.0),
        ("sluice_latency_seconds_count", &[("route", "users")], 7.0),
        ("sluice_integration_latency_seconds_count", &[("route", "users")], 7.0),
        ("sluice_upstream_requests_total", &[("upstream", "users")], 7.0),
    ];
    for (name, labels, value) in expected {
        eventually(&format!("{name} {labels:?} = {value}"), || {
            (gateway.metrics().sum(name, labels) == *value).then_some(())
        });
    }
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("sluice_connections_active", &[]), 1.0, "{}", metrics.text);
}

#[test]
fn the_exposition_is_well_formed() {
    let backend = Backend::start(|_| Reply::ok("user"));
    let gateway = observed(&backend, "format = \"off\"");
    gateway.get("/users/1");
    let response = gateway.admin_call(Call::get("/metrics"));
    assert!(response.header("content-type").is_some_and(|v| v.starts_with("text/plain")), "{response:?}");
    let metrics = gateway.metrics();
    let types = metrics.types();
    for name in metrics.names() {
        let declared = types.iter().any(|(family, kind)| {
            name == *family
                || (matches!(*kind, "histogram" | "summary")
                    && ["_bucket", "_sum", "_count"].iter().any(|suffix| name == format!("{family}{suffix}")))
        });
        assert!(declared, "{name} has no # TYPE line");
    }
    let mut families: Vec<&str> = types.iter().map(|(family, _)| *family).collect();
    families.sort_unstable();
    let count = families.len();
    families.dedup();
    assert_eq!(families.len(), count, "a family is declared twice");
}

#[test]
fn latency_buckets_are_cumulative_and_end_at_the_count() {
    let backend = Backend::start(|_| Reply::ok("user"));
    let gateway = observed(&backend, "format = \"off\"");
    for _ in 0..20 {
        gateway.get("/users/1");
    }
    eventually("twenty in the last bucket", || {
        let metrics = gateway.metrics();
        let bucket =
            |le: &str| metrics.sum("sluice_latency_seconds_bucket", &[("route", "users"), ("le", le)]);
        (bucket("+Inf") == 20.0).then_some(())
    });
    let metrics = gateway.metrics();
    let mut last = 0.0;
    for line in
        metrics.text.lines().filter(|line| line.starts_with("sluice_latency_seconds_bucket{route=\"users\""))
    {
        let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(value >= last, "buckets are cumulative: {line}");
        last = value;
    }
    assert!(metrics.sum("sluice_latency_seconds_sum", &[("route", "users")]) > 0.0);
}

#[test]
fn the_json_log_has_one_object_for_each_request() {
    let backend = Backend::start(|_| Reply::ok("user"));
    let gateway = observed(&backend, "format = \"json\"");
    let mut conn = gateway.conn();
    let call = Call::get("/users/1?q=%22&x=\\")
        .header("User-Agent", "quote \" back \\ tab")
        .header("Referer", "http://r.test/");
    let first = conn.call(&call);
    let refused = conn.get("/secret");
    conn.get("/tight");

    let lines = log_lines(&gateway, 3);
    let records: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(records.len(), 3);
    let record = &records[0];
    assert_eq!(record["requestId"].as_str(), first.header("x-amzn-requestid"));
    assert_eq!(record["ip"], "127.0.0.1");
    assert_eq!(record["httpMethod"], "GET");
    assert_eq!(record["path"], "/users/1");
    assert_eq!(record["query"], "q=%22&x=\\");
    assert_eq!(record["routeKey"], "users");
    assert_eq!(record["status"], 200);
    assert_eq!(record["protocol"], "HTTP/1.1");
    assert_eq!(record["userAgent"], "quote \" back \\ tab");
    assert_eq!(record["referer"], "http://r.test/");
    assert_eq!(record["upstream"], "users");
    assert!(record["responseLatency"].as_f64().is_some() && record["integrationLatency"].as_f64().is_some());
    assert!(record["responseLength"].as_u64().is_some_and(|n| n >= 4), "{record}");
    assert_eq!(records[1]["requestId"].as_str(), refused.header("x-amzn-requestid"));
    assert_eq!(records[1]["status"], 403);
    assert_eq!(records[1]["error"], "key_missing");
    assert_eq!(records[2]["routeKey"], "tight");
}

#[test]
fn the_clf_log_has_the_combined_shape() {
    let backend = Backend::start(|_| Reply::ok("user"));
    let gateway = observed(&backend, "format = \"clf\"");
    let mut conn = gateway.conn();
    conn.call(
        &Call::get("/users/1?x=1").header("User-Agent", "agent \"x\"").header("Referer", "http://r.test/"),
    );
    conn.call(&Call::get("/secret").header("x-api-key", "mobile-key-0123456789"));
    let lines = log_lines(&gateway, 2);
    let first = &lines[0];
    assert!(first.starts_with("127.0.0.1 - - ["), "{first}");
    assert!(first.contains("] \"GET /users/1?x=1 HTTP/1.1\" 200 "), "{first}");
    assert!(first.contains(" \"http://r.test/\" \""), "{first}");
    assert!(!first.contains("agent \"x\""), "a quote must not end the field: {first}");
    assert!(lines[1].starts_with("127.0.0.1 - mobile ["), "{}", lines[1]);
}

/// Control bytes and quotes in what a client sends must not make a second log line.
#[test]
fn the_log_cannot_be_forged() {
    let backend = Backend::start(|_| Reply::ok("user"));
    for format in ["json", "clf"] {
        let gateway = observed(&backend, &format!("format = \"{format}\""));
        let mut conn = gateway.conn();
        conn.send(b"GET /users/%0A%0D\xc3\xa9 HTTP/1.1\r\nHost: x\r\nUser-Agent: a\tb\xff\"\\\r\n\r\n");
        let answered = conn.try_response("GET").is_ok();
        conn = gateway.conn();
        conn.get("/tight");
        let lines = log_lines(&gateway, if answered { 2 } else { 1 });
        assert!(lines.len() <= 2, "{lines:?}");
        if format == "json" {
            for line in &lines {
                serde_json::from_str::<Value>(line).expect(line);
            }
        }
    }
}

#[test]
fn the_log_can_go_to_a_file_or_nowhere() {
    let backend = Backend::start(|_| Reply::ok("user"));
    let dir = sluice_harness::TempDir::new();
    let path = dir.path().join("access.log");
    let gateway = observed(&backend, &format!("path = \"{}\"", path.display()));
    gateway.get("/users/1");
    let text = eventually("a line in the file", || {
        std::fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n'))
    });
    assert_eq!(serde_json::from_str::<Value>(text.trim()).unwrap()["status"], 200);
    assert!(gateway.stdout().is_empty());

    let silent = observed(&backend, "format = \"off\"");
    silent.get("/users/1");
    eventually("the request in the metrics", || {
        (silent.metrics().sum("sluice_requests_total", &[]) == 1.0).then_some(())
    });
    assert!(silent.stdout().is_empty());
}

#[test]
fn the_log_file_is_reopened_for_rotation() {
    let backend = Backend::start(|_| Reply::ok("user"));
    let dir = sluice_harness::TempDir::new();
    let (path, moved) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
    let gateway = observed(&backend, &format!("path = \"{}\"", path.display()));
    let line_in =
        |path: &std::path::Path| std::fs::read_to_string(path).ok().filter(|text| text.ends_with('\n'));
    gateway.get("/users/before");
    eventually("the first line", || line_in(&path));
    std::fs::rename(&path, &moved).unwrap();
    gateway.signal(rustix::process::Signal::USR1);
    eventually("a new file", || path.exists().then_some(()));
    gateway.get("/users/after");
    let text = eventually("a line in the new file", || line_in(&path));
    assert!(text.contains("/users/after"), "{text}");
    assert!(!line_in(&moved).unwrap().contains("/users/after"));
}

#[test]
fn every_request_is_logged_or_counted_as_lost() {
    let gateway = Gateway::start("[routes.a]\npath = \"/a\"\nmock_body = \"a\"\n");
    let mut conn = gateway.conn();
    let burst = Call::get("/a").bytes().repeat(100);
    for _ in 0..50 {
        conn.send(&burst);
        for _ in 0..100 {
            assert_eq!(conn.response().status, 200);
        }
    }
    eventually("5000 records, written or counted as lost", || {
        let lost = gateway.metrics().sum("sluice_log_records_lost_total", &[]);
        let written = gateway.stdout().lines().count();
        (written as f64 + lost == 5000.0).then_some(())
    });
}

#[test]
fn health_answers_while_it_runs() {
    let backend = Backend::start(|_| Reply::ok("user"));
    let gateway = observed(&backend, "format = \"off\"");
    assert_eq!(gateway.admin_call(Call::get("/health")).json()["status"], "ok");
    assert_eq!(gateway.admin_call(Call::get("/no-such-page")).status, 404);
    assert_eq!(gateway.get("/health").status, 404, "the admin pages are not on the data listener");
    assert_eq!(gateway.get("/metrics").status, 404);
}

#[test]
fn the_admin_listener_can_be_off() {
    let gateway = Gateway::builder()
        .server("admin_listen = \"off\"")
        .start("[routes.a]\npath = \"/a\"\nmock_body = \"a\"\n");
    assert!(!gateway.stderr().iter().any(|line| line.contains("admin listener http")));
    assert_eq!(gateway.get("/a").status, 200);
}
