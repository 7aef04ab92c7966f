//! The response cache: what is kept, for whom, for how long, and what never is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sluice_harness::{Backend, Call, Conn, Gate, Gateway, Reply, Request, Response, eventually};

/// A backend that numbers its answers, so that a cached one is told from a fresh one.
fn numbered() -> Backend {
    numbered_with(|reply, _| reply)
}

fn numbered_with(shape: impl Fn(Reply, &Request) -> Reply + Send + Sync + 'static) -> Backend {
    let count = AtomicUsize::new(0);
    Backend::start(move |request| {
        let n = count.fetch_add(1, Ordering::SeqCst);
        shape(Reply::ok(format!("{} #{n}", request.target)).header("content-type", "text/plain"), request)
    })
}

fn cached_route(backend: &Backend, lines: &str) -> String {
    format!(
        "[routes.cached]\npath = \"/c/{{proxy+}}\"\nupstream = \"{}\"\ncache = true\n{lines}\n",
        backend.addr()
    )
}

#[track_caller]
fn assert_outcome(response: &Response, outcome: &str) {
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.header("x-cache"), Some(outcome), "{response:?}");
}

#[test]
fn a_second_get_is_a_hit_with_the_same_answer() {
    let backend = numbered_with(|reply, _| reply.header("x-extra", "kept").header("etag", "\"v1\""));
    let gateway = Gateway::start(&cached_route(&backend, ""));
    let mut conn = gateway.conn();
    let miss = conn.get("/c/a");
    assert_outcome(&miss, "MISS");
    let hit = conn.get("/c/a");
    assert_outcome(&hit, "HIT");
    assert_eq!(hit.body, miss.body);
    for name in ["content-type", "x-extra", "etag", "content-length"] {
        assert_eq!(hit.header(name), miss.header(name), "{name}");
    }
    miss.assert_request_id();
    hit.assert_request_id();
    assert_ne!(hit.header("x-amzn-requestid"), miss.header("x-amzn-requestid"), "ids belong to exchanges");
    assert_eq!(backend.hits(), 1);
}

#[test]
fn hits_are_shared_by_connections_and_cores() {
    let backend = numbered();
    let gateway = Gateway::builder().server("cores = 2").start(&cached_route(&backend, ""));
    assert_outcome(&gateway.get("/c/a"), "MISS");
    for _ in 0..20 {
        assert_outcome(&gateway.get("/c/a"), "HIT");
    }
    assert_eq!(backend.hits(), 1);
}

#[test]
fn routes_without_cache_say_nothing_and_keep_nothing() {
    let backend = numbered();
    let gateway = Gateway::before(backend.addr());
    for n in 0..3 {
        let response = gateway.get("/c/a");
        assert_eq!(response.text(), format!("/c/a #{n}"));
        assert!(!response.has("x-cache"));
    }
}

#[test]
fn only_the_chosen_parameters_tell_entries_apart() {
    let backend = numbered();
    let gateway =
        Gateway::start(&cached_route(&backend, "cache_keys = [\"query.page\", \"header.accept-language\"]"));
    let mut conn = gateway.conn();
    assert_outcome(&conn.get("/c/a?page=1"), "MISS");
    assert_outcome(&conn.get("/c/a?page=2"), "MISS");
    assert_outcome(&conn.get("/c/a"), "MISS");
    assert_outcome(&conn.get("/c/b?page=1"), "MISS");
    assert_outcome(&conn.get("/c/a?page=1"), "HIT");
    assert_outcome(&conn.get("/c/a?other=9&page=2"), "HIT");
    assert_outcome(&conn.get("/c/a?unnamed=1"), "HIT");
    let german = Call::get("/c/a?page=1").header("Accept-Language", "de");
    assert_outcome(&conn.call(&german), "MISS");
    assert_outcome(&conn.call(&german), "HIT");
    assert_outcome(&conn.get("/c/a?page=1"), "HIT");
    // A value must not be able to imitate the border between two parameters.
    assert_outcome(&conn.get("/c/a?page=1%26x"), "MISS");
    assert_outcome(&conn.get("/c/a?page=11"), "MISS");
}

#[test]
fn hosts_are_kept_apart() {
    let backend = numbered();
    let gateway = Gateway::start(&cached_route(&backend, ""));
    assert_outcome(&gateway.call(&Call::get("/c/a").host("one.test")), "MISS");
    assert_outcome(&gateway.call(&Call::get("/c/a").host("two.test")), "MISS");
    assert_outcome(&gateway.call(&Call::get("/c/a").host("one.test")), "HIT");
}

#[test]
fn the_whole_query_can_be_the_key() {
    let backend = numbered();
    let gateway = Gateway::start(&cached_route(&backend, "cache_keys = [\"query.*\"]"));
    assert_outcome(&gateway.get("/c/a?x=1"), "MISS");
    assert_outcome(&gateway.get("/c/a?x=2"), "MISS");
    assert_outcome(&gateway.get("/c/a?x=1"), "HIT");
}

#[test]
fn entries_expire_after_the_ttl() {
    let backend = numbered();
    let gateway = Gateway::start(&cached_route(&backend, "cache_ttl_ms = 300"));
    let mut conn = gateway.conn();
    let first = conn.get("/c/a");
    assert_outcome(&first, "MISS");
    let fresh = eventually("the entry to expire", || {
        let response = conn.get("/c/a");
        (response.header("x-cache") == Some("MISS")).then_some(response)
    });
    assert_eq!(fresh.text(), "/c/a #1");
    assert_eq!(backend.hits(), 2);
}

#[test]
fn max_age_zero_fetches_again_and_refreshes_the_entry() {
    let backend = numbered();
    let gateway = Gateway::start(&cached_route(&backend, ""));
    let mut conn = gateway.conn();
    assert_eq!(conn.get("/c/a").text(), "/c/a #0");
    assert_eq!(conn.get("/c/a").text(), "/c/a #0");
    let refreshed = conn.call(&Call::get("/c/a").header("Cache-Control", "max-age=0"));
    assert_eq!(refreshed.text(), "/c/a #1");
    assert_ne!(refreshed.header("x-cache"), Some("HIT"));
    let hit = conn.get("/c/a");
    assert_outcome(&hit, "HIT");
    assert_eq!(hit.text(), "/c/a #1", "the fresh answer replaced the old one");
}

#[test]
fn other_methods_are_neither_served_nor_stored() {
    let backend = numbered();
    let gateway = Gateway::start(&cached_route(&backend, ""));
    let mut conn = gateway.conn();
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let before = backend.hits();
        for _ in 0..2 {
            assert_ne!(
                conn.call(&Call::new(method, "/c/a").body("x")).header("x-cache"),
                Some("HIT"),
                "{method}"
            );
        }
        assert_eq!(backend.hits(), before + 2, "{method}");
    }
    let head = conn.call(&Call::new("HEAD", "/c/a"));
    assert!(head.body.is_empty());
    let get = conn.get("/c/a");
    assert!(get.text().starts_with("/c/a #"), "a HEAD must not leave an empty entry: {get:?}");
}

#[test]
fn failures_are_not_kept() {
    for status in [400, 404, 500, 503] {
        let backend = Backend::start(move |_| Reply::status(status, "no"));
        let gateway = Gateway::start(&cached_route(&backend, ""));
        for _ in 0..3 {
            let response = gateway.get("/c/a");
            assert_eq!(response.status, status);
            assert_ne!(response.header("x-cache"), Some("HIT"));
        }
        assert_eq!(backend.hits(), 3, "{status}");
    }
}

#[test]
fn private_no_store_and_cookies_are_not_kept() {
    for (name, value) in [
        ("Cache-Control", "no-store"),
        ("Cache-Control", "public, max-age=60, No-Store"),
        ("Cache-Control", "private"),
        ("Set-Cookie", "session=1"),
    ] {
        let backend = numbered_with(move |reply, _| reply.header(name, value));
        let gateway = Gateway::start(&cached_route(&backend, ""));
        assert_eq!(gateway.get("/c/a").text(), "/c/a #0");
        let second = gateway.get("/c/a");
        assert_eq!(second.text(), "/c/a #1", "{name}: {value} must not be served again");
    }
}

/// RFC 9111 section 3.5: what was answered to credentials is for their holder, unless the origin or the key says else.
#[test]
fn answers_to_credentials_are_not_shared_unless_said_so() {
    let backend = numbered_with(|reply, request| {
        if request.target.ends_with("/public") { reply.header("Cache-Control", "public") } else { reply }
    });
    let gateway = Gateway::start(&cached_route(&backend, ""));
    let with = |target: &str, who: &str| gateway.call(&Call::get(target).header("Authorization", who));
    assert_ne!(with("/c/a", "Bearer one").body, with("/c/a", "Bearer two").body);
    assert_eq!(with("/c/public", "Bearer one").body, with("/c/public", "Bearer two").body);

    let keyed = Gateway::start(&cached_route(&backend, "cache_keys = [\"header.authorization\"]"));
    let with = |who: &str| keyed.call(&Call::get("/c/a").header("Authorization", who));
    assert_outcome(&with("Bearer one"), "MISS");
    assert_outcome(&with("Bearer two"), "MISS");
    assert_outcome(&with("Bearer one"), "HIT");
}

#[test]
fn a_client_can_ask_to_leave_no_trace() {
    let backend = numbered();
    let gateway = Gateway::start(&cached_route(&backend, ""));
    for n in 0..2 {
        let response = gateway.call(&Call::get("/c/a").header("Cache-Control", "no-store"));
        assert_eq!(response.text(), format!("/c/a #{n}"));
    }
    assert_outcome(&gateway.get("/c/a"), "MISS");
}

#[test]
fn a_response_that_varies_by_an_unnamed_header_is_not_mixed_up() {
    let backend = Backend::start(|request| {
        Reply::ok(request.header("accept").unwrap_or("none").to_owned()).header("Vary", "Accept")
    });
    let gateway = Gateway::start(&cached_route(&backend, ""));
    for accept in ["text/html", "application/json", "text/html"] {
        assert_eq!(gateway.call(&Call::get("/c/a").header("Accept", accept)).text(), accept);
    }
    let named = Gateway::start(&cached_route(&backend, "cache_keys = [\"header.accept\"]"));
    for (accept, outcome) in [("text/html", "MISS"), ("application/json", "MISS"), ("text/html", "HIT")] {
        let response = named.call(&Call::get("/c/a").header("Accept", accept));
        assert_outcome(&response, outcome);
        assert_eq!(response.text(), accept);
    }
}

#[test]
fn partial_and_conditional_answers_do_not_stand_for_the_whole() {
    let backend = Backend::start(|request| {
        if request.has("range") {
            Reply::status(206, "par").header("Content-Range", "bytes 0-2/7")
        } else if request.has("if-none-match") {
            Reply::empty(304).header("ETag", "\"v1\"")
        } else {
            Reply::ok("partial").header("ETag", "\"v1\"")
        }
    });
    let gateway = Gateway::start(&cached_route(&backend, ""));
    let mut conn = gateway.conn();
    conn.call(&Call::get("/c/a").header("Range", "bytes=0-2"));
    conn.call(&Call::get("/c/a").header("If-None-Match", "\"v1\""));
    for _ in 0..2 {
        let whole = conn.get("/c/a");
        assert_eq!((whole.status, whole.text().as_str()), (200, "partial"));
    }
}

#[test]
fn chunked_answers_are_kept_whole() {
    let backend = Backend::start(|_| Reply::chunked(&["one ", "two ", "three"], &[]));
    let gateway = Gateway::start(&cached_route(&backend, ""));
    let mut conn = gateway.conn();
    assert_eq!(conn.get("/c/a").text(), "one two three");
    let hit = conn.get("/c/a");
    assert_outcome(&hit, "HIT");
    assert_eq!(hit.text(), "one two three");
}

#[test]
fn a_truncated_answer_is_not_kept() {
    let count = AtomicUsize::new(0);
    let backend = Backend::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        _ => Reply::ok("whole body"),
    });
    let gateway = Gateway::start(&cached_route(&backend, ""));
    assert!(
        gateway.conn().try_call(&Call::get("/c/a")).is_ok_and(|response| response.status == 504)
            || backend.hits() == 1,
        "half a body is either a 504 or a visible truncation"
    );
    assert_eq!(gateway.get("/c/a").text(), "whole body");
}

#[test]
fn concurrent_misses_make_one_fetch() {
    let gate = Arc::new(Gate::new());
    let held = Arc::clone(&gate);
    let backend = numbered_with(move |reply, _| {
        held.wait();
        reply
    });
    let gateway = Gateway::builder().server("cores = 2").start(&cached_route(&backend, ""));
    let mut conns: Vec<Conn> = (0..64).map(|_| gateway.conn()).collect();
    for conn in &mut conns {
        conn.send(Call::get("/c/a").bytes());
    }
    eventually("the one fetch", || (backend.hits() == 1).then_some(()));
    gate.open();
    for conn in &mut conns {
        assert_eq!(conn.response().text(), "/c/a #0");
    }
    assert_eq!(backend.hits(), 1);
}

#[test]
fn followers_survive_a_leader_that_fails_or_leaves() {
    let gate = Arc::new(Gate::new());
    let held = Arc::clone(&gate);
    let backend = Backend::wired(move |wire| {
        while let Some(request) = wire.request()? {
            if wire.index == 0 {
                held.wait();
                wire.reset();
                return Ok(());
            }
            wire.reply(&request, &Reply::ok("second try"))?;
        }
        Ok(())
    });
    let gateway = Gateway::start(&cached_route(&backend, ""));
    let mut leader = gateway.conn();
    leader.send(Call::get("/c/a").bytes());
    eventually("the leader's fetch", || (backend.hits() == 1).then_some(()));
    let mut followers: Vec<Conn> = (0..8).map(|_| gateway.conn()).collect();
    for conn in &mut followers {
        conn.send(Call::get("/c/a").bytes());
    }
    leader.reset();
    gate.open();
    for conn in &mut followers {
        let response = conn.response();
        assert!(matches!(response.status, 200 | 504), "{response:?}");
    }
    assert_eq!(gateway.get("/c/a").text(), "second try");
}

#[test]
fn the_store_stays_within_its_capacity() {
    const ENTRY: usize = 32 * 1024;
    const CAPACITY: usize = 1024 * 1024;
    let backend = Backend::start(|_| Reply::ok(vec![b'x'; ENTRY]));
    let config = format!("{}\n[cache]\ncapacity_bytes = {CAPACITY}\n", cached_route(&backend, ""));
    let gateway = Gateway::start(&config);
    let mut conn = gateway.conn();
    for n in 0..200 {
        assert_outcome(&conn.get(&format!("/c/{n}")), "MISS");
    }
    // What a miss stores anew has been asked for already: there are no more hits than entries now.
    let hits =
        (0..200).rev().filter(|n| conn.get(&format!("/c/{n}")).header("x-cache") == Some("HIT")).count();
    assert!(hits * ENTRY <= CAPACITY, "{hits} entries of {ENTRY} bytes in a store of {CAPACITY}");
    assert!(hits > 0, "something must be kept");
}

#[test]
fn an_answer_over_the_entry_limit_passes_unkept() {
    let backend = Backend::start(|_| Reply::ok(vec![b'x'; 100_000]));
    let config = format!("{}\n[cache]\nentry_max_bytes = 65536\n", cached_route(&backend, ""));
    let gateway = Gateway::start(&config);
    for n in 1..=3 {
        let response = gateway.get("/c/a");
        assert_eq!((response.status, response.body.len()), (200, 100_000));
        assert_eq!(backend.hits(), n);
    }
}

#[test]
fn the_key_check_and_the_limit_come_before_the_cache() {
    let backend = numbered();
    let config = cached_route(
        &backend,
        "api_key_required = true\nlimits = [\"few\"]\ncache_keys = [\"header.x-api-key\"]",
    ) + "\n[keys.a]\nvalue = \"key-a-0123456789abcdef\"\n[keys.b]\nvalue = \"key-b-0123456789abcdef\"\n"
        + "[limits.few]\nscope = \"key\"\nrate = 0.001\nburst = 3\n";
    let gateway = Gateway::start(&config);
    let with_key = |key: &str| gateway.call(&Call::get("/c/a").header("x-api-key", key));
    assert_outcome(&with_key("key-a-0123456789abcdef"), "MISS");
    assert_outcome(&with_key("key-a-0123456789abcdef"), "HIT");
    gateway.get("/c/a").assert_refusal(403, "Forbidden", "ForbiddenException");
    // Named in cache_keys, the API key keeps its holders' entries apart.
    assert_outcome(&with_key("key-b-0123456789abcdef"), "MISS");
    assert_outcome(&with_key("key-a-0123456789abcdef"), "HIT");
    assert_eq!(with_key("key-a-0123456789abcdef").status, 429, "a hit costs a token too");
}

#[test]
fn hits_and_misses_are_counted() {
    let backend = numbered();
    let gateway = Gateway::start(&cached_route(&backend, ""));
    for _ in 0..5 {
        gateway.get("/c/a");
    }
    eventually("five look-ups in the metrics", || {
        let metrics = gateway.metrics();
        let (hits, misses) =
            (metrics.sum("sluice_cache_hits_total", &[]), metrics.sum("sluice_cache_misses_total", &[]));
        ((hits, misses) == (4.0, 1.0)).then_some(())
    });
}
