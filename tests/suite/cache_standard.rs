//! `cache = "standard"`: RFC 9111 and RFC 5861 through the binary. The rules as such have tables in the cache crate, and
//! `cache_conformance.rs` runs the public suite; here is what takes several parties or moments.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sluice_harness::{Backend, Call, Conn, Gate, Gateway, Reply, Request, Response, eventually};

/// A backend that numbers its answers.
fn numbered(shape: impl Fn(Reply, &Request) -> Reply + Send + Sync + 'static) -> Backend {
    let count = AtomicUsize::new(0);
    Backend::start(move |request| {
        let n = count.fetch_add(1, Ordering::SeqCst);
        shape(Reply::ok(format!("{} #{n}", request.target)), request)
    })
}

fn says(control: &'static str) -> Backend {
    numbered(move |reply, _| reply.header("Cache-Control", control))
}

fn before(backend: &Backend) -> Gateway {
    Gateway::start(&route(backend, ""))
}

fn route(backend: &Backend, lines: &str) -> String {
    format!(
        "[routes.all]\npath = \"/{{proxy+}}\"\nupstream = \"{}\"\ncache = \"standard\"\n{lines}\n",
        backend.addr()
    )
}

#[track_caller]
fn assert_status(response: &Response, start: &str) {
    let status = response.header("cache-status").unwrap_or("none");
    assert!(status.starts_with(start), "expected {start:?}: {response:?}");
}

#[test]
fn a_fresh_answer_is_served_with_its_age_and_date() {
    let backend = numbered(|reply, _| {
        reply.header("Cache-Control", "max-age=60").header("Age", "5").header("X-Own", "kept")
    });
    let gateway = before(&backend);
    let first = gateway.get("/a?q=1");
    assert_status(&first, "sluice; fwd=uri-miss; stored");
    let second = gateway.get("/a?q=1");
    assert_status(&second, "sluice; hit; ttl=5");
    assert_eq!((second.text(), second.header("x-own")), (first.text(), Some("kept")));
    assert!(second.header("age").unwrap().parse::<u64>().unwrap() >= 5);
    assert_eq!(second.header("date"), first.header("date").or(second.header("date")));
    assert!(!second.has("x-cache"));
    second.assert_request_id();
    assert_status(&gateway.get("/a?q=2"), "sluice; fwd=uri-miss");
    assert_eq!(backend.hits(), 2);
}

#[test]
fn a_stale_answer_is_validated_and_renewed() {
    let backend = Backend::start(|request| {
        let validated = request.header("if-none-match") == Some("\"v1\"");
        assert!(!validated || request.has("if-modified-since"));
        let reply = if validated { Reply::empty(304) } else { Reply::ok("body") };
        reply
            .header("ETag", "\"v1\"")
            .header("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")
            .header("Cache-Control", "max-age=0")
            .header("X-Turn", if validated { "second" } else { "first" })
    });
    let gateway = before(&backend);
    let mut conn = gateway.conn();
    assert_eq!(conn.get("/a").header("x-turn"), Some("first"));
    for _ in 0..2 {
        let validated = conn.get("/a");
        assert_eq!((validated.status, validated.text().as_str()), (200, "body"));
        assert_eq!(validated.header("x-turn"), Some("second"));
        assert_status(&validated, "sluice; fwd=stale; fwd-status=304");
    }
    // The client's own condition is met by what was validated, and is not what the upstream is asked.
    let own = conn.call(&Call::get("/a").header("If-None-Match", "\"v1\", \"v0\""));
    assert_eq!((own.status, own.body.len()), (304, 0));
    let other = conn.call(&Call::get("/a").header("If-None-Match", "\"v0\""));
    assert_eq!((other.status, other.text().as_str()), (200, "body"));
    assert_eq!((backend.hits(), backend.connections()), (5, 1), "the upstream connection stays usable");
}

#[test]
fn variants_are_kept_apart_and_together_with_their_uri() {
    let backend = numbered(|reply, request| match request.method.as_str() {
        "GET" => reply.header("Cache-Control", "max-age=60").header("Vary", "Accept-Language"),
        _ => reply,
    });
    let gateway = before(&backend);
    let ask = |language: &str| gateway.call(&Call::get("/a").header("Accept-Language", language));
    assert_status(&ask("de"), "sluice; fwd=uri-miss");
    assert_status(&ask("en"), "sluice; fwd=vary-miss; stored");
    assert_eq!(ask("de").text(), "/a #0");
    assert_eq!(ask("EN").text(), "/a #1");
    assert_status(&gateway.get("/a"), "sluice; fwd=vary-miss");
    assert_eq!(gateway.call(&Call::post("/a", "x")).status, 200);
    for language in ["de", "en"] {
        assert_status(&ask(language), "sluice; fwd=");
    }
}

#[test]
fn unsafe_methods_invalidate_what_they_name_on_this_host_only() {
    let backend = numbered(|reply, request| match (request.method.as_str(), request.target.as_str()) {
        ("GET", _) => reply.header("Cache-Control", "max-age=60"),
        (_, "/fails") => Reply::status(500, "no"),
        _ => reply
            .header("Location", "/located?x=1#part")
            .header("Content-Location", "http://elsewhere.test/other"),
    });
    let gateway = before(&backend);
    let hit = |target: &str| {
        gateway.get(target).header("cache-status").is_some_and(|status| status.starts_with("sluice; hit"))
    };
    for target in ["/a", "/located?x=1", "/other", "/fails"] {
        assert!(!hit(target) && hit(target), "{target}");
    }
    assert_eq!(gateway.call(&Call::new("PURGE-ISH", "/a")).status, 200);
    assert!(!hit("/a") && !hit("/located?x=1"), "unknown methods may change anything");
    assert!(hit("/other"), "another host's");
    assert_eq!(gateway.call(&Call::post("/fails", "x")).status, 500);
    assert!(hit("/fails"), "what failed changed nothing");
    assert_eq!(gateway.call(&Call::new("OPTIONS", "/other")).status, 200);
    assert!(hit("/other"), "a safe method");
}

/// RFC 9111 section 4.4 is worth nothing if an answer from before the change is stored after it.
#[test]
fn an_answer_from_before_a_change_is_not_stored_after_it() {
    let gate = Arc::new(Gate::new());
    let held = Arc::clone(&gate);
    let backend = numbered(move |reply, request| {
        if request.method == "GET" && request.has("x-slow") {
            held.wait();
        }
        reply.header("Cache-Control", "max-age=60")
    });
    let gateway = before(&backend);
    let mut slow = gateway.conn();
    slow.send(Call::get("/a").header("X-Slow", "1").bytes());
    eventually("the slow fetch", || (backend.hits() == 1).then_some(()));
    assert_eq!(gateway.call(&Call::post("/a", "x")).status, 200);
    gate.open();
    assert_eq!(slow.response().text(), "/a #0");
    let after = gateway.get("/a");
    assert_status(&after, "sluice; fwd=uri-miss");
    assert_eq!(after.text(), "/a #2");
}

#[test]
fn a_stale_answer_is_served_while_it_is_revalidated_once() {
    let gate = Arc::new(Gate::new());
    let held = Arc::clone(&gate);
    let count = AtomicUsize::new(0);
    let backend = Backend::start(move |_| {
        let n = count.fetch_add(1, Ordering::SeqCst);
        if n > 0 {
            held.wait();
        }
        Reply::ok(format!("#{n}")).header("Cache-Control", "max-age=0, stale-while-revalidate=60")
    });
    let gateway = before(&backend);
    let mut conn = gateway.conn();
    assert_eq!(conn.get("/a").text(), "#0");
    for _ in 0..5 {
        // The upstream does not answer, and nobody waits for it.
        let stale = conn.get("/a");
        assert_eq!(stale.text(), "#0");
        assert_status(&stale, "sluice; hit; ttl=-");
    }
    eventually("the revalidation", || (backend.hits() == 2).then_some(()));
    gate.open();
    eventually("the new answer", || (conn.get("/a").text() != "#0").then_some(()));
}

#[test]
fn failures_are_covered_by_stale_answers_where_the_origin_allows_it() {
    let count = AtomicUsize::new(0);
    let mut backend = Backend::start(move |request| {
        let control = if request.target == "/covered" { "max-age=0, stale-if-error=60" } else { "max-age=0" };
        match count.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Reply::ok("good").header("Cache-Control", control).header("ETag", "\"a\""),
            _ => Reply::status(503, "down"),
        }
    });
    let gateway = before(&backend);
    for target in ["/covered", "/bare"] {
        assert_eq!(gateway.get(target).text(), "good");
    }
    let covered = gateway.get("/covered");
    assert_eq!((covered.status, covered.text().as_str()), (200, "good"));
    assert_status(&covered, "sluice; fwd=stale; detail=stale-if-error");
    assert_eq!(gateway.get("/bare").status, 503);
    backend.stop();
    assert_eq!(gateway.get("/covered").status, 200);
    assert_eq!(gateway.call(&Call::new("HEAD", "/covered")).status, 200);
    assert_eq!(gateway.get("/bare").status, 504);
    let demanding = gateway.call(&Call::get("/covered").header("Cache-Control", "no-cache"));
    assert_eq!(demanding.status, 504, "the client wants it from the origin");
}

#[test]
fn parts_and_heads_come_from_the_whole() {
    let backend = numbered(|_, _| {
        Reply::ok("0123456789").header("Cache-Control", "max-age=60").header("ETag", "\"a\"")
    });
    let gateway = before(&backend);
    let mut conn = gateway.conn();
    assert_eq!(conn.get("/a").text(), "0123456789");
    let part = conn.call(&Call::get("/a").header("Range", "bytes=2-4"));
    assert_eq!((part.status, part.text().as_str()), (206, "234"));
    assert_eq!(part.header("content-range"), Some("bytes 2-4/10"));
    let beyond = conn.call(&Call::get("/a").header("Range", "bytes=10-"));
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */10")));
    let head = conn.call(&Call::new("HEAD", "/a").header("Range", "bytes=2-4"));
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("10"), 0));
    assert_eq!(backend.hits(), 1);
}

#[test]
fn only_if_cached_asks_nobody() {
    let backend = says("max-age=60");
    let gateway = before(&backend);
    let call = Call::get("/a").header("Cache-Control", "only-if-cached");
    gateway.call(&call).assert_refusal(504, "Not cached", "NotFoundException");
    assert_eq!(backend.hits(), 0);
    gateway.get("/a");
    assert_status(&gateway.call(&call), "sluice; hit");
}

#[test]
fn concurrent_misses_and_validations_make_one_fetch_each() {
    let gate = Arc::new(Gate::new());
    let held = Arc::clone(&gate);
    let backend = numbered(move |reply, _| {
        held.wait();
        reply.header("Cache-Control", "max-age=60")
    });
    let gateway = Gateway::builder().server("cores = 2").start(&route(&backend, ""));
    let mut conns: Vec<Conn> = (0..32).map(|_| gateway.conn()).collect();
    for conn in &mut conns {
        conn.send(Call::get("/a").bytes());
    }
    eventually("the one fetch", || (backend.hits() == 1).then_some(()));
    gate.open();
    for conn in &mut conns {
        assert_eq!(conn.response().text(), "/a #0");
    }
    assert_eq!(backend.hits(), 1);
}

#[test]
fn answers_to_credentials_and_cookies_stay_private_unless_named() {
    let backend = numbered(|reply, request| {
        let reply = reply.header("Cache-Control", "max-age=60");
        if request.target == "/cookie" { reply.header("Set-Cookie", "session=1") } else { reply }
    });
    let gateway = before(&backend);
    assert_ne!(gateway.get("/cookie").text(), gateway.get("/cookie").text());
    let with =
        |gateway: &Gateway, who: &str| gateway.call(&Call::get("/a").header("Authorization", who)).text();
    assert_ne!(with(&gateway, "Bearer one"), with(&gateway, "Bearer one"));
    let keyed = Gateway::start(&route(&backend, "cache_keys = [\"header.authorization\"]"));
    let (one, two) = (with(&keyed, "Bearer one"), with(&keyed, "Bearer two"));
    assert_ne!(one, two);
    assert_eq!((with(&keyed, "Bearer one"), with(&keyed, "Bearer two")), (one, two));
}

#[test]
fn wrong_keys_are_named() {
    let backend = says("max-age=60");
    for (lines, fault) in [
        ("cache_ttl_ms = 1000", "`cache_ttl_ms` has no use"),
        ("cache_keys = [\"query.page\"]", "the whole query is part of the key"),
    ] {
        let dir = sluice_harness::TempDir::new();
        let file = dir.file("gateway.toml", &route(&backend, lines));
        let output = sluice_harness::Sluice::output(&["validate", file.to_str().unwrap()]);
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(fault), "{said}");
    }
}

/// RFC 9111 section 4.4 is about URIs: which route a change comes by does not matter.
#[test]
fn a_change_by_another_route_invalidates_too() {
    let backend =
        numbered(|_, _| Reply::ok("").header("Cache-Control", "max-age=60").header("Content-Location", "/b"));
    let upstream = backend.addr();
    let gateway = Gateway::start(&format!(
        "[routes.read]\npath = \"/{{proxy+}}\"\nmethods = [\"GET\"]\nupstream = \"{upstream}\"\ncache = \"standard\"\n\
             [routes.write]\npath = \"/{{proxy+}}\"\nmethods = [\"POST\", \"OPTIONS\"]\nupstream = \"{upstream}\"\n"
    ));
    let mut conn = gateway.conn();
    for target in ["/a", "/b", "/c"] {
        conn.get(target);
        assert_status(&conn.get(target), "sluice; hit");
    }
    conn.call(&Call::new("OPTIONS", "/a"));
    assert_status(&conn.get("/a"), "sluice; hit");
    let changed = conn.call(&Call::post("/a", "new"));
    assert_eq!(changed.header("cache-status"), None, "that route has no such cache");
    for (target, status) in
        [("/a", "sluice; fwd=uri-miss"), ("/b", "sluice; fwd=uri-miss"), ("/c", "sluice; hit")]
    {
        assert_status(&conn.get(target), status);
    }
}

/// RFC 9111 section 4.3.5.
#[test]
fn the_answer_to_a_head_freshens_what_agrees_with_it_and_ends_what_does_not() {
    for (etag, length, fresh) in [("\"a\"", "5", true), ("\"b\"", "5", false), ("\"a\"", "6", false)] {
        let backend = Backend::start(move |request| match request.method.as_str() {
            "HEAD" => Reply::raw(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nETag: {etag}\r\nCache-Control: max-age=60\r\nX-New: 1\r\n\r\n"
            )),
            _ => Reply::ok("12345").header("Cache-Control", "max-age=0").header("ETag", "\"a\""),
        });
        let gateway = before(&backend);
        gateway.get("/a");
        let head = gateway.call(&Call::new("HEAD", "/a"));
        assert_eq!((head.status, head.header("x-new")), (200, Some("1")));
        let after = gateway.get("/a");
        assert_eq!(after.text(), "12345");
        assert_eq!(after.header("x-new"), fresh.then_some("1"), "{etag} {length}");
        assert_eq!(backend.hits(), if fresh { 2 } else { 3 }, "{etag} {length}");
    }
}
