//! How long a line, a head and a body may be, to the byte.

use sluice_harness::{Backend, Call, Conn, Gateway, Reply};

fn gateway(backend: &Backend, server: &str) -> Gateway {
    Gateway::builder().server(server).start(&format!(
        r#"
[routes.all]
path = "/{{proxy+}}"
upstream = "{0}"

[routes.small]
path = "/small"
upstream = "{0}"
body_max_bytes = 10

[routes.mock]
path = "/mock"
mock_body = "mock"
"#,
        backend.addr()
    ))
}

fn counting() -> Backend {
    Backend::start(|request| Reply::ok(request.body.len().to_string()))
}

#[test]
fn a_long_request_line_is_414() {
    let backend = counting();
    let gateway = gateway(&backend, "request_line_max_bytes = 1000");
    // "GET " + target + " HTTP/1.1" is 13 bytes more than the target.
    let fits = format!("/{}", "a".repeat(900));
    assert_eq!(gateway.get(&fits).status, 200);
    for length in [1001, 5000, 200_000] {
        let mut conn = gateway.conn();
        let _ = conn.try_send(Call::get(&format!("/{}", "a".repeat(length))).bytes());
        let response = conn.response();
        assert_eq!(response.status, 414, "{length}");
        assert!(response.says_close());
        response.assert_request_id();
        conn.assert_closed();
    }
    assert_eq!(backend.hits(), 1);
}

#[test]
fn a_request_line_that_never_ends_is_cut_off() {
    let backend = counting();
    let gateway = gateway(&backend, "request_line_max_bytes = 1000");
    let mut conn = gateway.conn();
    let _ = conn.try_send("G".repeat(100_000));
    assert!(matches!(conn.response().status, 400 | 414));
}

#[test]
fn long_headers_are_431() {
    let backend = counting();
    let gateway = gateway(&backend, "header_max_bytes = 2000");
    assert_eq!(gateway.call(&Call::get("/a").header("A", &"b".repeat(1900))).status, 200);
    for length in [2001, 100_000] {
        let mut conn = gateway.conn();
        let _ = conn.try_send(Call::get("/a").header("A", &"b".repeat(length)).bytes());
        let response = conn.response();
        assert_eq!(response.status, 431, "{length}");
        assert!(response.says_close());
        conn.assert_closed();
    }
    let mut many = Call::get("/a");
    for n in 0..90 {
        many = many.header(&format!("X-{n:04}"), "twenty bytes of text");
    }
    assert_eq!(gateway.call(&many).status, 431, "it is the sum that counts");
    assert_eq!(backend.hits(), 1);
}

#[test]
fn many_headers_are_431() {
    let backend = counting();
    let gateway = gateway(&backend, "header_max_count = 20");
    let with = |count: usize| (0..count).fold(Call::get("/a"), |call, n| call.header(&format!("X-{n}"), "1"));
    assert_eq!(gateway.call(&with(19)).status, 200, "nineteen and Host are twenty");
    let mut conn = gateway.conn();
    let response = conn.call(&with(20));
    assert_eq!(response.status, 431);
    conn.assert_closed();
}

#[test]
fn aws_sized_heads_pass_by_default() {
    let backend = counting();
    let gateway = gateway(&backend, "");
    // AWS allows 10,240 bytes of headers in all.
    assert_eq!(gateway.call(&Call::get("/a").header("A", &"b".repeat(9_900))).status, 200);
    assert_eq!(gateway.call(&Call::get("/a").header("A", &"b".repeat(10_300))).status, 431);
}

/// Reads the 413; then the connection is either closed or, the body having been read past, still in step.
#[track_caller]
fn assert_too_large(mut conn: Conn, rest_of_body: &[u8]) {
    let response = conn.response_to("POST");
    response.assert_refusal(413, "Request Entity Too Large", "RequestEntityTooLargeException");
    if response.says_close() {
        conn.assert_closed();
        return;
    }
    conn.send(rest_of_body);
    assert_eq!(conn.get("/mock").text(), "mock", "the connection is out of step after a 413");
}

#[test]
fn sized_bodies_over_the_limit_are_413_before_they_are_sent() {
    let backend = counting();
    let gateway = gateway(&backend, "body_max_bytes = 1000");
    assert_eq!(gateway.call(&Call::post("/a", vec![b'x'; 1000])).text(), "1000");
    assert_eq!(backend.hits(), 1);
    let mut conn = gateway.conn();
    conn.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n");
    assert_too_large(conn, &[b'x'; 1001]);
    let mut conn = gateway.conn();
    conn.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n");
    let response = conn.response();
    assert!(response.status == 413 && response.says_close(), "nobody reads past 100 MB: {response:?}");
    let mut conn = gateway.conn();
    conn.send("POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n");
    let response = conn.response();
    assert!(response.status == 413 && response.interim.is_empty(), "no body is asked for: {response:?}");
    assert!(
        response.says_close(),
        "the client may send the body or not, so there is no going on: {response:?}"
    );
    assert_eq!(backend.hits(), 1, "a body that is known to be too long is not forwarded at all");
}

#[test]
fn chunked_bodies_over_the_limit_are_413() {
    let backend = counting();
    let gateway = gateway(&backend, "body_max_bytes = 1000");
    let exact = "x".repeat(500);
    assert_eq!(gateway.call(&Call::post("/a", "").chunked(&[&exact, &exact], &[])).text(), "1000");
    let mut conn = gateway.conn();
    let _ = conn.try_send(Call::post("/a", "").chunked(&[&exact, &exact, "y"], &[]).bytes());
    assert_too_large(conn, b"");
    let whole = backend.requests().iter().filter(|request| request.body.len() > 1000).count();
    assert_eq!(whole, 0, "the backend must not take the cut body for a whole one");
}

#[test]
fn the_limit_of_a_route_wins() {
    let backend = counting();
    let gateway = gateway(&backend, "body_max_bytes = 1000");
    assert_eq!(gateway.call(&Call::post("/small", "0123456789")).text(), "10");
    let mut conn = gateway.conn();
    conn.send(Call::post("/small", "0123456789a").bytes());
    assert_too_large(conn, b"");
    assert_eq!(gateway.call(&Call::post("/other", "0123456789a")).text(), "11");
}

#[test]
fn a_mock_route_reads_past_the_body_it_does_not_need() {
    let backend = counting();
    let gateway = gateway(&backend, "");
    let mut conn = gateway.conn();
    for _ in 0..3 {
        assert_eq!(conn.call(&Call::post("/mock", vec![b'x'; 50_000])).text(), "mock");
        assert_eq!(conn.call(&Call::post("/mock", "").chunked(&["a", "b"], &[("T", "1")])).text(), "mock");
    }
}

#[test]
fn zero_lifts_the_limit_of_bodies() {
    let backend = counting();
    let gateway = gateway(&backend, "body_max_bytes = 0");
    let size = 12 * 1024 * 1024;
    assert_eq!(gateway.call(&Call::post("/a", vec![b'x'; size])).text(), size.to_string());
}
