//! `minimumCompressionSize` for what the gateway does not hold whole: answers that are relayed, and those of the cache.

use std::io::Read;
use std::sync::{Mutex, mpsc};

use flate2::read::{GzDecoder, ZlibDecoder};
use serde_json::{Value, json};
use sluice_harness::rest::{RestApi, http_proxy};
use sluice_harness::{Backend, Call, Conn, Gateway, Reply, Response};

const TARGET: &str = "/_aws/execute-api/a/s/x";

fn gateway(backend: &Backend, stage: Value) -> Gateway {
    let gateway = Gateway::start("");
    let api = RestApi::new("a")
        .with("minimumCompressionSize", json!(1000))
        .method("GET", "/x", http_proxy(&format!("http://{}/", backend.addr())))
        .deploy_with("s", stage);
    gateway.serve_rest(&[api]);
    gateway
}

fn get(gateway: &Gateway, accept: &str) -> Response {
    gateway.call(&Call::get(TARGET).header("accept-encoding", accept))
}

fn unpacked(response: &Response) -> String {
    let mut text = String::new();
    match response.header("content-encoding") {
        Some("gzip") => GzDecoder::new(&*response.body).read_to_string(&mut text).unwrap(),
        Some("deflate") => ZlibDecoder::new(&*response.body).read_to_string(&mut text).unwrap(),
        other => panic!("packed as {other:?}"),
    };
    assert_eq!(response.header("vary"), Some("Accept-Encoding"));
    text
}

/// The next chunk of a body; none at its end.
fn chunk(conn: &mut Conn) -> Option<Vec<u8>> {
    let reader = conn.reader();
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.extend(reader.raw(1).unwrap());
    }
    let length = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
    let data = reader.raw(length).unwrap();
    assert_eq!(reader.raw(2).unwrap(), b"\r\n");
    (length > 0).then_some(data)
}

fn long() -> String {
    (0..40_000).map(|n| format!("line {n}\n")).collect()
}

#[test]
fn what_is_relayed_is_compressed_on_its_way() {
    let backend = Backend::start(|_| Reply::ok(long()).header("Content-Type", "text/plain"));
    let gateway = gateway(&backend, json!({}));
    for accept in ["gzip", "deflate"] {
        let packed = get(&gateway, accept);
        assert_eq!((packed.status, packed.header("content-length")), (200, None));
        assert!(packed.body.len() < long().len() / 3);
        assert!(unpacked(&packed) == long());
    }
    let plain = get(&gateway, "identity");
    assert_eq!(plain.header("content-encoding"), None);
    assert!(plain.text() == long());
    let head = gateway.call(&Call::new("HEAD", TARGET).header("accept-encoding", "gzip"));
    assert!(head.body.is_empty(), "{head:?}");
    let old = Call::get(TARGET).header("accept-encoding", "gzip").bytes();
    let old = String::from_utf8(old).unwrap().replace("HTTP/1.1", "HTTP/1.0");
    let mut conn = gateway.conn();
    conn.send(old);
    let head = conn.reader().head().unwrap().unwrap();
    assert_eq!(head.get("content-encoding"), None, "it could not be told where the body ends");
}

#[test]
fn what_is_small_or_packed_or_a_part_stays_as_it_is() {
    for (status, body, header) in [
        (200, "short".to_owned(), ("X-Some", "header")),
        (200, long(), ("Content-Encoding", "br")),
        (206, long(), ("Content-Range", "bytes 0-1/9")),
    ] {
        let sent = body.clone();
        let backend = Backend::start(move |_| Reply::status(status, sent.clone()).header(header.0, header.1));
        let response = get(&gateway(&backend, json!({})), "gzip");
        assert_eq!((response.status, response.header(header.0)), (status, Some(header.1)));
        assert_eq!(response.header("content-encoding"), (header.1 == "br").then_some("br"));
        assert!(response.text() == body);
    }
}

/// Each event is sent only once the client has told that it has the one before.
#[test]
fn a_stream_is_compressed_without_delay() {
    let (arrived, wait) = mpsc::channel::<usize>();
    let wait = Mutex::new(wait);
    let backend = Backend::wired(move |wire| {
        wire.request()?;
        wire.send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        )?;
        for n in 0..5 {
            let event = format!("data: event {n}\n\n");
            wire.send(format!("{:x}\r\n{event}\r\n", event.len()))?;
            assert_eq!(wait.lock().unwrap().recv().unwrap(), n);
        }
        wire.send("0\r\n\r\n")
    });
    let gateway = gateway(&backend, json!({}));
    let mut conn = gateway.conn();
    conn.send(Call::get(TARGET).header("accept-encoding", "gzip").bytes());
    assert_eq!(conn.reader().head().unwrap().unwrap().get("content-encoding"), Some("gzip"));
    let mut packed = Vec::new();
    for n in 0..5 {
        let event = format!("data: event {n}\n\n");
        loop {
            let mut text = Vec::new();
            // An error is the end of what has come so far.
            let _ = GzDecoder::new(&*packed).read_to_end(&mut text);
            if text.ends_with(event.as_bytes()) {
                break;
            }
            packed.extend_from_slice(&chunk(&mut conn).expect("another chunk"));
        }
        arrived.send(n).unwrap();
    }
    while let Some(chunk) = chunk(&mut conn) {
        packed.extend_from_slice(&chunk);
    }
    let mut text = String::new();
    GzDecoder::new(&*packed).read_to_string(&mut text).unwrap();
    assert!(text.ends_with("event 4\n\n"));
}

#[test]
fn the_cache_serves_each_client_as_it_likes() {
    let body = "cached ".repeat(1000);
    let sent = body.clone();
    let backend = Backend::start(move |_| Reply::ok(sent.clone()));
    let stage = json!({
        "cacheClusterEnabled": true,
        "methodSettings": { "*/*": { "cachingEnabled": true, "cacheTtlInSeconds": 300 } }
    });
    let gateway = gateway(&backend, stage);
    assert_eq!(unpacked(&get(&gateway, "gzip")), body);
    for accept in ["gzip", "deflate", "gzip"] {
        let response = get(&gateway, accept);
        assert_eq!(
            (response.header("x-cache"), response.header("content-encoding")),
            (Some("HIT"), Some(accept))
        );
        assert_eq!(unpacked(&response), body);
    }
    let plain = get(&gateway, "identity");
    assert_eq!((plain.header("x-cache"), plain.header("content-encoding")), (Some("HIT"), None));
    assert_eq!(plain.text(), body);
    assert_eq!(backend.hits(), 1);
}
