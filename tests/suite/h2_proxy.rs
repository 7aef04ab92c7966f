//! Requests that cross between the versions: clients of both, upstreams of both, through the same data plane.

use std::sync::Arc;

use sluice_harness::h2::{END_HEADERS, END_STREAM, HEADERS, block, find, get, post};
use sluice_harness::{Backend, Call, Gate, Gateway, H2, Reply, eventually};

fn before(backend: &Backend) -> Gateway {
    Gateway::builder()
        .start(&format!("[routes.p]\npath = \"/{{proxy+}}\"\nupstream = \"{}\"\n", backend.addr()))
}

/// A gateway whose upstream is another gateway, reached by HTTP/2.
fn chain(backend: &Backend) -> (Gateway, Gateway) {
    let inner = before(backend);
    let outer = Gateway::builder().start(&format!(
        "[upstreams.u]\ntargets = [\"{}\"]\nprotocol = \"h2\"\n[routes.p]\npath = \"/{{proxy+}}\"\nupstream = \"u\"\n",
        inner.addr()
    ));
    (outer, inner)
}

#[test]
fn a_request_reaches_an_http1_upstream_as_http1_would_say_it() {
    let backend = Backend::start(|_| {
        Reply::ok("fine").header("X-Mixed", "Case").header("Connection", "x-hop").header("X-Hop", "1")
    });
    let gateway = before(&backend);
    let mut h2 = H2::open(gateway.addr());
    let mut fields = get("/a?b=c");
    fields.extend([("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2"), ("te", "trailers")]);
    let answer = h2.call(&fields);
    assert_eq!((answer.status(), answer.text().as_str()), ("200", "fine"));
    assert_eq!(answer.field("x-mixed"), Some("Case"));
    assert_eq!((answer.field("x-hop"), answer.field("connection")), (None, None));
    assert!(answer.field("x-amzn-requestid").is_some() && answer.field("date").is_some());
    let seen = backend.only_request();
    assert_eq!(
        (seen.method.as_str(), seen.target.as_str(), seen.version.as_str()),
        ("GET", "/a?b=c", "HTTP/1.1")
    );
    assert_eq!(seen.header("cookie"), Some("a=1; b=2"));
    assert_eq!(seen.header("x-forwarded-host"), Some("x"));
    assert!(!seen.has("te") && !seen.has("content-length") && !seen.has("transfer-encoding"));
}

#[test]
fn bodies_and_trailers_cross_in_every_direction() {
    let backend = Backend::start(|request| {
        let text = String::from_utf8(request.body.clone()).unwrap();
        let trailers: Vec<_> = request.trailers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        Reply::chunked(&[&text], &trailers)
    });
    let (outer, _inner) = chain(&backend);
    let mut h2 = H2::open(outer.addr());
    let id = h2.request(&post("/echo"), false);
    h2.data(id, b"some ", false);
    h2.data(id, b"text", false);
    h2.send_frame(HEADERS, END_HEADERS | END_STREAM, id, block(&[("x-sum", "9"), ("authorization", "no")]));
    let answer = h2.answer(id);
    assert_eq!(answer.text(), "some text");
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "9".to_owned())], "those that may follow a body");
    let answer = outer.call(&Call::new("POST", "/echo").body("from HTTP/1"));
    assert_eq!(answer.text(), "from HTTP/1");
}

#[test]
fn large_bodies_cross_whole() {
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sent = body.clone();
    let backend = Backend::start(move |request| {
        if request.method == "GET" { Reply::ok(sent.clone()) } else { Reply::ok(request.body.clone()) }
    });
    let (outer, inner) = chain(&backend);
    for addr in [inner.addr(), outer.addr()] {
        let mut h2 = H2::open(addr);
        assert!(h2.get("/big").body == body, "down");
    }
    assert!(outer.get("/big").body == body, "down to HTTP/1");
    let up = outer.call(&Call::new("POST", "/up").body(body.clone()));
    assert!(up.body == body, "up from HTTP/1");
}

/// Many clients, one connection to the upstream.
#[test]
fn many_clients_share_a_connection() {
    let gate = Arc::new(Gate::new());
    let held = Arc::clone(&gate);
    let backend = Backend::start(move |request| {
        held.wait();
        Reply::ok(request.target.clone())
    });
    let (outer, inner) = chain(&backend);
    let mut clients: Vec<_> = (0..50).map(|_| outer.conn()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(Call::get(&format!("/{n}")).bytes());
    }
    eventually("all at the backend", || (backend.hits() == 50).then_some(()));
    assert_eq!(inner.metrics().sum("sluice_http2_connections_total", &[]), 1.0);
    gate.open();
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.response().text(), format!("/{n}"));
    }
}

/// Streams of one connection don't wait for each other.
#[test]
fn a_slow_answer_holds_no_other() {
    let gate = Arc::new(Gate::new());
    let held = Arc::clone(&gate);
    let backend = Backend::start(move |request| {
        if request.target == "/slow" {
            held.wait();
        }
        Reply::ok("done")
    });
    let (outer, _inner) = chain(&backend);
    let mut h2 = H2::open(outer.addr());
    let slow = h2.request(&get("/slow"), true);
    for _ in 0..20 {
        assert_eq!(h2.get("/quick").text(), "done");
    }
    assert!(!h2.answers.get(&slow).is_some_and(|a| a.ended));
    gate.open();
    assert_eq!(h2.answer(slow).text(), "done");
}

/// A client that gives a stream up ends the exchange, and the upstream's too.
#[test]
fn a_reset_stream_ends_its_exchange() {
    let backend = Backend::wired(|wire| {
        wire.request()?;
        wire.hang();
        Ok(())
    });
    let gateway = before(&backend);
    let mut h2 = H2::open(gateway.addr());
    let id = h2.request(&get("/"), true);
    eventually("the request at the backend", || (backend.hits() == 1).then_some(()));
    h2.reset(id, 8);
    eventually("the backend to be let go", || (backend.open_connections() == 0).then_some(()));
    let refused = || gateway.metrics().sum("sluice_refusals_total", &[("reason", "client_gone")]);
    eventually("the record", || (refused() == 1.0).then_some(()));
}

#[test]
fn refusals_and_heads_are_those_of_http1() {
    let gateway = Gateway::builder().start("[routes.m]\npath = \"/m\"\nmock_body = \"a mock\"\n");
    let mut h2 = H2::open(gateway.addr());
    let answer = h2.get("/none");
    assert_eq!((answer.status(), answer.text().as_str()), ("404", "{\"message\":\"Not Found\"}"));
    assert_eq!(answer.field("x-amzn-errortype"), Some("NotFoundException"));
    let mut head = get("/m");
    head[0].1 = "HEAD";
    let answer = h2.call(&head);
    assert_eq!((answer.status(), answer.body.len(), answer.field("content-length")), ("200", 0, Some("6")));
    let answer = h2.call(&[(":method", "CONNECT"), (":authority", "x:1")]);
    assert_eq!(answer.status(), "501");
    assert_eq!(find(&h2.get("/m").fields, "content-type"), Some("application/json"));
    eventually("the log", || gateway.stdout().contains("\"protocol\":\"HTTP/2.0\"").then_some(()));
}
