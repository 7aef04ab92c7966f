//! Requests that two readers could read differently. Each is refused and the connection closed before the backend hears
//! of it; what is odd but lawful reaches the backend re-serialised, in one plain form.

use sluice_harness::attacks::{Attack, CHUNKS, FRAMING, HOSTS, LINES, SECOND};
use sluice_harness::{Backend, Conn, Gateway, Reply};

/// Runs every attack of a table against one gateway and reports all that went wrong.
fn assert_all_refused(table: &[Attack]) {
    let backend = Backend::start(|_| Reply::ok("reached"));
    let gateway = Gateway::before(backend.addr());
    let mut faults = Vec::new();
    for attack in table {
        if let Err(fault) = refusal_of(&gateway, attack) {
            faults.push(format!("{}: {fault}", attack.what));
        }
        if backend.requests().iter().any(|request| request.target.contains("smuggled")) {
            panic!("{}: the backend saw the smuggled request", attack.what);
        }
    }
    assert!(faults.is_empty(), "{} of {} attacks:\n{}", faults.len(), table.len(), faults.join("\n"));
    assert_eq!(gateway.get("/fine").text(), "reached", "the gateway still serves");
}

fn refusal_of(gateway: &Gateway, attack: &Attack) -> Result<(), String> {
    let mut conn = gateway.conn();
    // A refusal may already be on its way while we write the second request.
    let _ = conn.try_send(format!("{}{SECOND}", attack.request));
    let response = conn.try_response("GET").map_err(|e| format!("no answer: {e}"))?;
    if !attack.statuses.contains(&response.status) {
        return Err(format!("{} instead of {:?}", response.status, attack.statuses));
    }
    if response.status != 404 && !response.says_close() {
        return Err("the refusal does not say that it closes".to_owned());
    }
    if response.status == 404 {
        return Ok(());
    }
    match conn.try_response("GET") {
        Ok(second) => Err(format!("a second answer, {}", second.status)),
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => Err("the connection stays open".to_owned()),
        Err(_) => Ok(()),
    }
}

#[test]
fn ambiguous_framing_is_refused() {
    assert_all_refused(FRAMING);
}

/// By the time a chunk is found to be bad, the head may be with the backend: it sees a broken request, never a whole one.
#[test]
fn malformed_chunks_are_refused() {
    assert_all_refused(CHUNKS);
}

#[test]
fn malformed_lines_are_refused() {
    assert_all_refused(LINES);
}

#[test]
fn ambiguous_hosts_are_refused() {
    assert_all_refused(HOSTS);
}

#[test]
fn nothing_of_a_malformed_head_reaches_the_backend() {
    let backend = Backend::start(|_| Reply::ok("reached"));
    let gateway = Gateway::before(backend.addr());
    for attack in FRAMING.iter().chain(LINES).chain(HOSTS) {
        let _ = refusal_of(&gateway, attack);
    }
    let seen: Vec<String> = backend.requests().iter().map(|r| r.head.start_line.clone()).collect();
    assert!(seen.is_empty(), "{seen:?}");
    assert_eq!(backend.connections(), 0);
}

#[test]
fn refusals_have_the_shape_of_a_gateway_response() {
    let backend = Backend::start(|_| Reply::ok("reached"));
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    conn.send(FRAMING[0].request);
    conn.response().assert_refusal(400, "Bad Request", "BadRequestException");
    conn.assert_closed();
}

/// What one request looks like to the backend, as a list of `start line` and sorted fields that matter.
fn forwarded(gateway: &Gateway, backend: &Backend, request: &str) -> sluice_harness::Request {
    let before = backend.hits();
    let mut conn = gateway.conn();
    conn.send(request);
    let response = conn.response();
    assert_eq!(response.status, 200, "{request:?} is lawful: {response:?}");
    assert_eq!(backend.hits(), before + 1, "{request:?} is one request");
    backend.last_request()
}

#[test]
fn odd_but_lawful_requests_are_reserialised() {
    let backend = Backend::start(|_| Reply::ok("ok"));
    let gateway = Gateway::before(backend.addr());

    let seen = forwarded(&gateway, &backend, "\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(seen.head.raw.starts_with(b"GET /a HTTP/1.1\r\n"), "leading empty lines do not pass");

    let seen = forwarded(&gateway, &backend, "GET /a HTTP/1.1\r\nhOST:x\r\nA:\t b \t\r\nEmpty: \t \r\n\r\n");
    assert_eq!(
        (seen.header("host").is_some(), seen.header("a"), seen.header("empty")),
        (true, Some("b"), Some(""))
    );
    let raw = String::from_utf8_lossy(&seen.head.raw).into_owned();
    assert!(raw.contains("\r\nA: b\r\n"), "outer white space does not pass: {raw:?}");

    let seen = forwarded(
        &gateway,
        &backend,
        "POST /a HTTP/1.1\r\nHost: x\r\ntransfer-encoding: \t Chunked \r\n\r\n\
         0005;name=value;q=\"a;b\"\r\nhello\r\n00A\r\n0123456789\r\n000;last\r\nX-T:  v \r\n\r\n",
    );
    assert_eq!(seen.text(), "hello0123456789");
    assert_eq!(seen.head.all("transfer-encoding"), ["chunked"]);
    assert_eq!(seen.trailers, [("X-T".to_owned(), "v".to_owned())]);

    let seen =
        forwarded(&gateway, &backend, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0005\r\n\r\nhello");
    assert_eq!((seen.header("content-length"), seen.text().as_str()), (Some("5"), "hello"));

    let seen = forwarded(&gateway, &backend, "GET http://real.test/a?b HTTP/1.1\r\nHost: real.test\r\n\r\n");
    assert_eq!(seen.target, "/a?b", "absolute form is for proxies; a backend gets origin form");
}

/// RFC 9112 section 3.2.2: a recipient of absolute form ignores Host. Whatever the answer, the backend must not see both.
#[test]
fn absolute_form_and_host_that_differ_never_both_pass() {
    let backend = Backend::start(|_| Reply::ok("ok"));
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    conn.send("GET http://target.test/a HTTP/1.1\r\nHost: header.test\r\n\r\n");
    let status = conn.response().status;
    match status {
        200 => {
            let seen = backend.only_request();
            let raw = String::from_utf8_lossy(&seen.head.raw).into_owned();
            assert!(!raw.contains("header.test"), "{raw}");
        }
        400 => assert_eq!(backend.hits(), 0),
        other => panic!("{other}"),
    }
}

/// Underscores and hyphens are different bytes here but the same to CGI-like backends.
#[test]
fn forwarding_headers_cannot_be_shadowed_by_underscores() {
    let backend = Backend::start(|_| Reply::ok("ok"));
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    conn.send("GET /a HTTP/1.1\r\nHost: x\r\nX_Forwarded_For: 192.0.2.1\r\nContent_Length: 5\r\n\r\n");
    let status = conn.response().status;
    assert!(matches!(status, 200 | 400), "{status}");
    if status == 200 {
        let seen = backend.only_request();
        assert_eq!(seen.head.all("x-forwarded-for"), ["127.0.0.1"]);
        assert!(!seen.has("content-length"));
    }
}

#[test]
fn a_body_that_looks_like_a_request_is_a_body() {
    let backend = Backend::start(|request| Reply::ok(request.text()));
    let gateway = Gateway::before(backend.addr());
    let mut conn: Conn = gateway.conn();
    for _ in 0..3 {
        conn.send(format!("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{SECOND}", SECOND.len()));
        assert_eq!(conn.response().text(), SECOND);
        // A GET with a body: rare, lawful, and the classic way out of step.
        conn.send(format!("GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{SECOND}", SECOND.len()));
        assert_eq!(conn.response().text(), SECOND);
    }
    assert!(backend.requests().iter().all(|request| request.target == "/a"));
}
