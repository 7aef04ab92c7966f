//! Requests that two readers could read differently. Each is refused and the connection closed before the backend hears
//! of it; what is odd but lawful reaches the backend re-serialised, in one plain form.

use sluice_harness::{Backend, Conn, Gateway, Reply};

/// What follows every attack: were it ever taken for a request of its own, the backend would record `/smuggled`.
const SECOND: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

/// A malformed request, what is wrong with it, and the statuses that are right.
struct Attack {
    what: &'static str,
    request: &'static str,
    statuses: &'static [u16],
}

const fn bad(what: &'static str, request: &'static str) -> Attack {
    Attack { what, request, statuses: &[400] }
}

const fn refused(what: &'static str, request: &'static str, statuses: &'static [u16]) -> Attack {
    Attack { what, request, statuses }
}

#[rustfmt::skip]
const FRAMING: &[Attack] = &[
    bad("length and chunked", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    bad("chunked and length", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    bad("two lengths that differ", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n"),
    bad("two lengths alike", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    bad("length as a list", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nhello"),
    bad("length with a plus", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello"),
    bad("length with a minus", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\nhello"),
    bad("length in hex", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\nhello"),
    bad("length with a point", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5.0\r\n\r\nhello"),
    bad("length with a gap", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1 1\r\n\r\nhello world"),
    bad("length that is empty", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n"),
    bad("length over 64 bits", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551621\r\n\r\nhello"),
    bad("length with a space before the colon", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nhello"),
    bad("coding with a space before the colon", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    bad("coding with a tab before the colon", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n"),
    bad("coding with a vertical tab", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n"),
    bad("coding with a NUL", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n"),
    bad("coding after a line that folds", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    refused("coding that is empty", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n", &[400, 501]),
    refused("coding doubled in a list", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", &[400, 501]),
    refused("coding doubled in two lines", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[400, 501]),
    refused("coding not ending in chunked", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", &[400, 501]),
    refused("coding in two lines, chunked first", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n", &[400, 501]),
    refused("coding unknown", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", &[400, 501]),
    refused("coding identity", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n", &[400, 501]),
    refused("coding gzip before chunked", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", &[400, 501]),
    refused("coding in quotes", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", &[400, 501]),
    refused("coding with a parameter", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", &[400, 501]),
    bad("chunked in HTTP/1.0", "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
];

#[rustfmt::skip]
const CHUNKS: &[Attack] = &[
    bad("size with a plus", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n"),
    bad("size with a minus", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n"),
    bad("size with 0x", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n"),
    bad("size with an underscore", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0_5\r\nhello\r\n0\r\n\r\n"),
    bad("size that is empty", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n"),
    bad("size over 64 bits", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n"),
    bad("white space before the size", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n"),
    bad("white space after the size", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n"),
    bad("a bare semicolon", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;\r\nhello\r\n0\r\n\r\n"),
    bad("an extension with a NUL", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\0\r\nhello\r\n0\r\n\r\n"),
    bad("an extension with a bare LF", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n"),
    bad("an extension with a bare CR", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a\rb\r\nhello\r\n0\r\n\r\n"),
    bad("an extension without a name", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;=v\r\nhello\r\n0\r\n\r\n"),
    bad("a size line that ends in LF", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"),
    bad("data longer than its size", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n"),
    bad("data that ends in LF", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n"),
    bad("data that ends in CR", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\rX0\r\n\r\n"),
    bad("a trailer that folds", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n c\r\n\r\n"),
    bad("a trailer without a colon", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nGET /x HTTP/1.1\r\n\r\n"),
    bad("a trailer that ends in LF", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\r\n"),
    bad("an end in LF", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n"),
];

#[rustfmt::skip]
const LINES: &[Attack] = &[
    bad("a request line that ends in LF", "GET / HTTP/1.1\nHost: x\r\n\r\n"),
    bad("a header line that ends in LF", "GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n"),
    bad("a head that ends in LF", "GET / HTTP/1.1\r\nHost: x\r\n\n"),
    bad("a bare CR in a value", "GET / HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n"),
    bad("a bare CR in the target", "GET /\r HTTP/1.1\r\nHost: x\r\n\r\n"),
    bad("a NUL in a value", "GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n"),
    bad("a NUL in the target", "GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n"),
    bad("a control byte in a value", "GET / HTTP/1.1\r\nHost: x\r\nA: b\x01c\r\n\r\n"),
    bad("a DEL in a value", "GET / HTTP/1.1\r\nHost: x\r\nA: b\x7fc\r\n\r\n"),
    bad("a control byte in a name", "GET / HTTP/1.1\r\nHost: x\r\nA\x01: b\r\n\r\n"),
    bad("a space in a name", "GET / HTTP/1.1\r\nHost: x\r\nA B: c\r\n\r\n"),
    bad("a name that is empty", "GET / HTTP/1.1\r\nHost: x\r\n: c\r\n\r\n"),
    bad("a line without a colon", "GET / HTTP/1.1\r\nHost: x\r\nabc\r\n\r\n"),
    bad("a first line that is folded", "GET / HTTP/1.1\r\n Host: x\r\nHost: x\r\n\r\n"),
    bad("obs-fold with a space", "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n"),
    bad("obs-fold with a tab", "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\tc\r\n\r\n"),
    bad("two spaces before the target", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n"),
    bad("two spaces before the version", "GET /  HTTP/1.1\r\nHost: x\r\n\r\n"),
    bad("a space in the target", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n"),
    bad("a tab for a space", "GET\t/\tHTTP/1.1\r\nHost: x\r\n\r\n"),
    bad("a space at the end", "GET / HTTP/1.1 \r\nHost: x\r\n\r\n"),
    bad("no version", "GET /\r\nHost: x\r\n\r\n"),
    refused("a lower-case version", "GET / http/1.1\r\nHost: x\r\n\r\n", &[400, 505]),
    bad("a method with a bracket", "G[T / HTTP/1.1\r\nHost: x\r\n\r\n"),
    bad("no method", " / HTTP/1.1\r\nHost: x\r\n\r\n"),
    refused("HTTP/2.0 by name", "GET / HTTP/2.0\r\nHost: x\r\n\r\n", &[400, 505]),
    refused("HTTP/0.9 by name", "GET / HTTP/0.9\r\nHost: x\r\n\r\n", &[400, 505]),
    refused("HTTP/1.10", "GET / HTTP/1.10\r\nHost: x\r\n\r\n", &[400, 505]),
    refused("HTTP/2 by name", "PRI * HTTP/2.0\r\nHost: x\r\n\r\n", &[400, 505]),
    bad("a TLS hello", "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n"),
];

#[rustfmt::skip]
const HOSTS: &[Attack] = &[
    bad("no Host", "GET / HTTP/1.1\r\nA: b\r\n\r\n"),
    bad("a Host that is empty", "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    bad("two Hosts that differ", "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"),
    bad("two Hosts alike", "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"),
    bad("a Host with userinfo", "GET / HTTP/1.1\r\nHost: good.test@evil.test\r\n\r\n"),
    bad("a Host with a path", "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n"),
    bad("a Host with a space", "GET / HTTP/1.1\r\nHost: x y\r\n\r\n"),
    bad("a Host list", "GET / HTTP/1.1\r\nHost: x, y\r\n\r\n"),
    bad("a Host with a bad port", "GET / HTTP/1.1\r\nHost: x:8a\r\n\r\n"),
    bad("absolute form with userinfo", "GET http://good.test@evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n"),
    bad("absolute form without a host", "GET http:///a HTTP/1.1\r\nHost: x\r\n\r\n"),
    refused("a target of no form", "GET a/b HTTP/1.1\r\nHost: x\r\n\r\n", &[400, 404]),
    refused("an asterisk for GET", "GET * HTTP/1.1\r\nHost: x\r\n\r\n", &[400, 404]),
];

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
