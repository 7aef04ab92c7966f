//! What RFC 9113 and RFC 7541 say that a server MUST do: bytes sent, and the code that comes back.

use std::sync::Arc;

use rustix::process::Signal;
use sluice_harness::h2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PADDED, PING, PREFACE,
    PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, WITH_PRIORITY, block, get, post,
};
use sluice_harness::{Backend, Gate, Gateway, H2, H2Backend, Reply, eventually};

const NO_ERROR: u32 = 0;
const PROTOCOL: u32 = 1;
const FLOW_CONTROL: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE: u32 = 6;
const COMPRESSION: u32 = 9;

fn gateway() -> (Gateway, Backend) {
    let backend = Backend::start(|request| Reply::ok(request.body.clone()));
    let routes = format!(
        "[routes.m]\npath = \"/m\"\nmock_body = \"a mock\"\n[routes.p]\npath = \"/p\"\nupstream = \"{}\"\n",
        backend.addr()
    );
    (Gateway::builder().start(&routes), backend)
}

fn held() -> Backend {
    Backend::wired(|wire| {
        wire.hang();
        Ok(())
    })
}

/// Frames in a row.
fn frames(list: &[Frame]) -> Vec<u8> {
    list.iter().flat_map(Frame::bytes).collect()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Frame {
    Frame::new(kind, flags, stream, payload)
}

/// A request that is not finished, on stream 1.
fn open() -> Frame {
    frame(HEADERS, END_HEADERS, 1, &block(&post("/p")))
}

/// A whole request on a stream.
fn whole(stream: u32) -> Frame {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&get("/m")))
}

fn setting(id: u16, value: u32) -> Frame {
    let payload = [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &payload)
}

fn with_field(name: &str, value: &str) -> Frame {
    let mut fields = get("/m");
    fields.push((name, value));
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields))
}

fn fields(list: &[(&str, &str)]) -> Frame {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(list))
}

fn raw_block(bytes: &[u8]) -> Frame {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, bytes)
}

#[test]
fn errors_of_the_connection_are_answered_with_goaway() {
    let (gateway, _backend) = gateway();
    let big = vec![0; 16_385];
    let cut = frame(HEADERS, 0, 1, &block(&get("/m")));
    #[rustfmt::skip]
    let cases: Vec<(&str, Vec<Frame>, u32)> = vec![
        ("4.2 a frame over the maximum", vec![open(), frame(DATA, 0, 1, &big)], FRAME_SIZE),
        ("4.2 HEADERS over the maximum", vec![frame(HEADERS, END_HEADERS, 1, &big)], FRAME_SIZE),
        ("4.3 a block that can't be decoded", vec![raw_block(&[0x80])], COMPRESSION),
        ("4.3 another frame within a block", vec![cut.clone(), frame(PING, 0, 0, b"12345678")], PROTOCOL),
        ("4.3 another stream's frame within a block", vec![cut.clone(), whole(3)], PROTOCOL),
        ("4.3 an unknown frame within a block", vec![cut.clone(), frame(0xee, 0, 1, b"")], PROTOCOL),
        ("5.1 DATA on an idle stream", vec![frame(DATA, 0, 1, b"x")], PROTOCOL),
        ("5.1 RST_STREAM on an idle stream", vec![frame(RST_STREAM, 0, 1, &[0; 4])], PROTOCOL),
        ("5.1 WINDOW_UPDATE on an idle stream", vec![frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])], PROTOCOL),
        ("5.1 CONTINUATION on an idle stream", vec![frame(CONTINUATION, END_HEADERS, 1, b"")], PROTOCOL),
        ("5.1 DATA on a closed stream", vec![whole(1), frame(DATA, 0, 1, b"x")], STREAM_CLOSED),
        ("5.1 HEADERS on a closed stream", vec![whole(1), whole(1)], STREAM_CLOSED),
        ("5.1 CONTINUATION on a closed stream", vec![whole(1), frame(CONTINUATION, END_HEADERS, 1, b"")], PROTOCOL),
        ("5.1.1 an even stream", vec![whole(2)], PROTOCOL),
        ("5.1.1 a lower stream than before", vec![whole(5), whole(3)], PROTOCOL),
        ("6.1 DATA on stream 0", vec![frame(DATA, 0, 0, b"x")], PROTOCOL),
        ("6.1 padding as long as DATA", vec![open(), frame(DATA, PADDED, 1, b"\x04abc")], PROTOCOL),
        ("6.1 PADDED without a length", vec![open(), frame(DATA, PADDED, 1, b"")], FRAME_SIZE),
        ("6.2 HEADERS on stream 0", vec![frame(HEADERS, END_HEADERS, 0, &block(&get("/m")))], PROTOCOL),
        ("6.2 padding as long as HEADERS", vec![frame(HEADERS, END_HEADERS | PADDED, 1, b"\x09abc")], PROTOCOL),
        ("6.2 HEADERS too short for its priority", vec![frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, b"abc")], FRAME_SIZE),
        ("6.3 PRIORITY on stream 0", vec![frame(PRIORITY, 0, 0, &[0; 5])], PROTOCOL),
        ("6.4 RST_STREAM on stream 0", vec![frame(RST_STREAM, 0, 0, &[0; 4])], PROTOCOL),
        ("6.4 RST_STREAM of another length", vec![open(), frame(RST_STREAM, 0, 1, &[0; 3])], FRAME_SIZE),
        ("6.5 an acknowledgement with settings", vec![frame(SETTINGS, ACK, 0, &[0; 6])], FRAME_SIZE),
        ("6.5 SETTINGS on a stream", vec![frame(SETTINGS, 0, 1, &[])], PROTOCOL),
        ("6.5 SETTINGS of another length", vec![frame(SETTINGS, 0, 0, &[0; 5])], FRAME_SIZE),
        ("6.5.2 ENABLE_PUSH of 2", vec![setting(2, 2)], PROTOCOL),
        ("6.5.2 INITIAL_WINDOW_SIZE of 2^31", vec![setting(4, 1 << 31)], FLOW_CONTROL),
        ("6.5.2 MAX_FRAME_SIZE of 16383", vec![setting(5, 16_383)], PROTOCOL),
        ("6.5.2 MAX_FRAME_SIZE of 2^24", vec![setting(5, 1 << 24)], PROTOCOL),
        ("6.6 PUSH_PROMISE by a client", vec![open(), frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])], PROTOCOL),
        ("6.7 PING on a stream", vec![frame(PING, 0, 1, &[0; 8])], PROTOCOL),
        ("6.7 PING of another length", vec![frame(PING, 0, 0, &[0; 7])], FRAME_SIZE),
        ("6.8 GOAWAY on a stream", vec![frame(GOAWAY, 0, 1, &[0; 8])], PROTOCOL),
        ("6.9 WINDOW_UPDATE of 0", vec![frame(WINDOW_UPDATE, 0, 0, &[0; 4])], PROTOCOL),
        ("6.9 WINDOW_UPDATE of another length", vec![frame(WINDOW_UPDATE, 0, 0, &[0; 3])], FRAME_SIZE),
        ("6.9.1 the connection's window past 2^31-1", vec![frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])], FLOW_CONTROL),
        ("6.9.2 settings that push a window past it", vec![open(), frame(WINDOW_UPDATE, 0, 1, &[0x70, 0, 0, 0]), setting(4, 0x7fff_ffff)], FLOW_CONTROL),
        ("6.10 CONTINUATION without HEADERS", vec![frame(CONTINUATION, END_HEADERS, 0, b"")], PROTOCOL),
        ("6.10 CONTINUATION after a whole block", vec![open(), frame(CONTINUATION, END_HEADERS, 1, b"")], PROTOCOL),
        ("7541 2.3.3 an index past the tables", vec![raw_block(&[0xff, 0x20])], COMPRESSION),
        ("7541 4.2 a table size at the end of a block", vec![raw_block(&[0x82, 0x20])], COMPRESSION),
        ("7541 6.3 a table size over the setting", vec![raw_block(&[0x3f, 0xe2, 0x1f, 0x82])], COMPRESSION),
        ("7541 5.1 an integer without end", vec![raw_block(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f])], COMPRESSION),
        ("7541 5.2 Huffman padding of 8 bits", vec![raw_block(&[0x00, 0x01, b'a', 0x82, 0x1f, 0xff])], COMPRESSION),
        ("7541 5.2 Huffman padding that is no ones", vec![raw_block(&[0x00, 0x01, b'a', 0x81, 0x18])], COMPRESSION),
        ("7541 5.2 the end symbol", vec![raw_block(&[0x00, 0x01, b'a', 0x84, 0xff, 0xff, 0xff, 0xff])], COMPRESSION),
        ("7541 6.1 index 0", vec![raw_block(&[0x80])], COMPRESSION),
        ("7541 5.2 a string past the block", vec![raw_block(&[0x00, 0x7e, b'a'])], COMPRESSION),
    ];
    for (name, sent, code) in cases {
        let mut h2 = H2::open(gateway.addr());
        h2.send(&frames(&sent));
        let (_, found, label) = h2.goaway();
        assert_eq!(found, code, "{name}: {label}");
    }
    assert_eq!(H2::open(gateway.addr()).get("/m").text(), "a mock");
}

/// What breaks one stream, stream 1: what is sent, and the code of the reset.
#[rustfmt::skip] // One case a line.
fn stream_cases() -> Vec<(&'static str, Vec<Frame>, u32)> {
    let post_of = |length: &str| {
        let mut list = post("/p");
        list.push(("content-length", length));
        frame(HEADERS, END_HEADERS, 1, &block(&list))
    };
    let without = |skip: usize| {
        let mut list = get("/m");
        list.remove(skip);
        vec![fields(&list)]
    };
    let trailers = |list: &[(&str, &str)], flags: u8| frame(HEADERS, END_HEADERS | flags, 1, &block(list));
    let extra = |first: (&'static str, &'static str)| {
        let mut list = vec![first];
        list.extend(get("/m"));
        vec![fields(&list)]
    };
    vec![
        ("5.1 DATA after END_STREAM", vec![frame(HEADERS, END_HEADERS, 1, &block(&post("/p"))), frame(DATA, END_STREAM, 1, b"x"), frame(DATA, 0, 1, b"x")], STREAM_CLOSED),
        ("5.3.1 HEADERS that depend on themselves", vec![frame(HEADERS, END_HEADERS | END_STREAM | WITH_PRIORITY, 1, &[&[0, 0, 0, 1, 7][..], &block(&get("/m"))].concat())], PROTOCOL),
        ("6.3 PRIORITY of another length", vec![open(), frame(PRIORITY, 0, 1, &[0; 4])], FRAME_SIZE),
        ("6.9 WINDOW_UPDATE of 0", vec![open(), frame(WINDOW_UPDATE, 0, 1, &[0; 4])], PROTOCOL),
        ("6.9.1 the stream's window past 2^31-1", vec![open(), frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff])], FLOW_CONTROL),
        ("8.1 trailers that don't end the stream", vec![open(), trailers(&[("x", "y")], 0)], PROTOCOL),
        ("8.1 a pseudo-header in trailers", vec![open(), trailers(&[(":method", "GET")], END_STREAM)], PROTOCOL),
        ("8.1.1 less than content-length", vec![post_of("5"), frame(DATA, END_STREAM, 1, b"abc")], PROTOCOL),
        ("8.1.1 more than content-length", vec![post_of("2"), frame(DATA, 0, 1, b"abc")], PROTOCOL),
        ("8.1.1 content-length without a body", vec![with_field("content-length", "1")], PROTOCOL),
        ("8.2.1 upper case", vec![with_field("X-Upper", "a")], PROTOCOL),
        ("8.2.1 a space in a name", vec![with_field("a b", "a")], PROTOCOL),
        ("8.2.1 a colon in a name", vec![with_field("a:b", "a")], PROTOCOL),
        ("8.2.1 NUL in a value", vec![with_field("a", "b\0c")], PROTOCOL),
        ("8.2.1 CR LF in a value", vec![with_field("a", "b\r\nc: d")], PROTOCOL),
        ("8.2.1 LF in a value", vec![with_field("a", "b\nc")], PROTOCOL),
        ("8.2.1 a space before a value", vec![with_field("a", " b")], PROTOCOL),
        ("8.2.1 a tab behind a value", vec![with_field("a", "b\t")], PROTOCOL),
        ("8.2.2 connection", vec![with_field("connection", "close")], PROTOCOL),
        ("8.2.2 proxy-connection", vec![with_field("proxy-connection", "keep-alive")], PROTOCOL),
        ("8.2.2 keep-alive", vec![with_field("keep-alive", "timeout=5")], PROTOCOL),
        ("8.2.2 transfer-encoding", vec![with_field("transfer-encoding", "chunked")], PROTOCOL),
        ("8.2.2 upgrade", vec![with_field("upgrade", "websocket")], PROTOCOL),
        ("8.2.2 te", vec![with_field("te", "gzip")], PROTOCOL),
        ("8.3 an unknown pseudo-header", extra((":extra", "a")), PROTOCOL),
        ("8.3 a response's pseudo-header", extra((":status", "200")), PROTOCOL),
        ("8.3 a pseudo-header behind a field", extra(("accept", "a")), PROTOCOL),
        ("8.3 a pseudo-header twice", vec![with_field(":path", "/m")], PROTOCOL),
        ("8.3.1 no :method", without(0), PROTOCOL),
        ("8.3.1 no :scheme", without(1), PROTOCOL),
        ("8.3.1 no :path", without(2), PROTOCOL),
        ("8.3.1 no :authority and no host", without(3), PROTOCOL),
        ("8.3.1 an empty :path", vec![fields(&get(""))], PROTOCOL),
        ("8.3.1 a :path without its slash", vec![fields(&get("m"))], PROTOCOL),
        ("8.3.1 * for GET", vec![fields(&get("*"))], PROTOCOL),
        ("8.3.1 a host that differs", vec![with_field("host", "other")], PROTOCOL),
        ("8.3.1 user information", vec![fields(&[(":method", "GET"), (":scheme", "http"), (":path", "/m"), (":authority", "u@x")])], PROTOCOL),
        ("8.5 CONNECT with a path", vec![fields(&[(":method", "CONNECT"), (":authority", "x:1"), (":path", "/")])], PROTOCOL),
        ("8.5 CONNECT without an authority", vec![fields(&[(":method", "CONNECT")])], PROTOCOL),
    ]
}

#[test]
fn errors_of_a_stream_reset_it_and_leave_the_others_alone() {
    // A backend that never answers, so that stream 1 stays open.
    let held = held();
    let gateway = Gateway::builder().start(&format!(
        "[routes.m]\npath = \"/m\"\nmock_body = \"a mock\"\n[routes.p]\npath = \"/p\"\nupstream = \"{}\"\n",
        held.addr()
    ));
    for (name, sent, code) in stream_cases() {
        let mut h2 = H2::open(gateway.addr());
        h2.send(&frames(&sent));
        h2.send_frame(HEADERS, END_HEADERS | END_STREAM, 3, block(&get("/m")));
        let other = h2.answer(3);
        assert_eq!(other.text(), "a mock", "{name}");
        let reset = h2.answers.get(&1).and_then(|a| a.reset);
        assert_eq!(reset, Some(code), "{name}");
    }
}

#[test]
fn what_is_to_be_ignored_is_ignored() {
    let (gateway, _backend) = gateway();
    let mut h2 = H2::open(gateway.addr());
    h2.send_frame(0xee, 0xff, 0, *b"an unknown frame");
    h2.send_frame(0xef, 0, 77, []);
    h2.settings(&[(0x99, 1), (6, 100), (3, 5)]);
    h2.send_frame(PRIORITY, 0, 9, [0, 0, 0, 3, 7]);
    h2.send_frame(PING, ACK, 0, *b"unasked!");
    // The reserved bit of the stream, and flags that mean nothing here.
    h2.send_frame(HEADERS, END_HEADERS | END_STREAM | 0x40, 0x8000_0001, block(&get("/m")));
    assert_eq!(h2.answer(1).text(), "a mock");
    // Frames of a stream that is over, which may have crossed its end.
    h2.window_update(1, 10);
    h2.reset(1, 8);
    h2.send_frame(PRIORITY, 0, 1, [0, 0, 0, 3, 7]);
    h2.send_frame(HEADERS, END_HEADERS | END_STREAM, 3, block(&get("/m")));
    assert_eq!(h2.answer(3).text(), "a mock");
}

#[test]
fn padding_priority_and_continuation_are_understood() {
    let (gateway, backend) = gateway();
    let mut h2 = H2::open(gateway.addr());
    let whole = block(&post("/p"));
    let (first, rest) = whole.split_at(7);
    let payload = [&[3, 0, 0, 0, 0, 15][..], first, &[0; 3]].concat();
    h2.send_frame(HEADERS, PADDED | WITH_PRIORITY, 1, payload);
    for byte in rest {
        if rest.len() > 6 && std::ptr::eq(byte, &rest[3]) {
            h2.send_frame(CONTINUATION, END_HEADERS, 1, &rest[3..]);
            break;
        }
        h2.send_frame(CONTINUATION, 0, 1, [*byte]);
    }
    h2.send_frame(DATA, PADDED, 1, *b"\x04hello\0\0\0\0");
    h2.send_frame(DATA, PADDED | END_STREAM, 1, *b"\x00 you");
    let answer = h2.answer(1);
    assert_eq!((answer.status(), answer.text().as_str()), ("200", "hello you"));
    assert_eq!(backend.hits(), 1);
}

#[test]
fn the_greeting_is_checked() {
    let (gateway, _backend) = gateway();
    let mut h2 = H2::silent(gateway.addr());
    h2.send(PREFACE);
    h2.send_frame(PING, 0, 0, [0; 8]);
    assert_eq!(h2.goaway().1, PROTOCOL);
    // However it is cut into segments.
    let mut h2 = H2::silent(gateway.addr());
    for byte in PREFACE {
        h2.send(&[*byte]);
    }
    h2.settings(&[]);
    assert_eq!(h2.get("/m").text(), "a mock");
    let off = Gateway::builder()
        .server("http2 = false")
        .start("[routes.m]\npath = \"/m\"\nmock_body = \"a mock\"\n");
    let mut conn = off.conn();
    conn.send(PREFACE);
    assert_eq!(conn.response().status, 505);
    // Behind a request of HTTP/1 it can only have been smuggled in.
    let mut conn = gateway.conn();
    assert_eq!(conn.get("/m").status, 200);
    conn.send(PREFACE);
    assert_eq!(conn.response().status, 505);
}

#[test]
fn settings_and_pings_are_acknowledged_in_order() {
    let (gateway, _backend) = gateway();
    let mut h2 = H2::open(gateway.addr());
    h2.settings(&[(4, 1000)]);
    h2.send_frame(PING, 0, 0, *b"12345678");
    let mut seen = Vec::new();
    h2.until(|_, f| {
        if f.flags & ACK != 0 {
            seen.push((f.kind, f.payload.clone()));
        }
        seen.len() == 3
    });
    let ack = (SETTINGS, Vec::new());
    assert_eq!(seen, [ack.clone(), ack, (PING, b"12345678".to_vec())]);
}

#[test]
fn windows_are_kept_and_followed() {
    let body = "b".repeat(1000);
    let gateway = Gateway::builder().start(&format!("[routes.m]\npath = \"/m\"\nmock_body = \"{body}\"\n"));
    let mut h2 = H2::with_settings(gateway.addr(), &[(4, 10)]);
    h2.greedy = false;
    let id = h2.request(&get("/m"), true);
    let got = |h2: &H2, n: usize| h2.answers.get(&id).is_some_and(|a| a.body.len() >= n);
    assert!(h2.until(|h2, _| got(h2, 10)));
    h2.sync();
    assert!(!got(&h2, 11), "more than the window allows");
    // A smaller initial window makes this one negative: then 15 more are 5.
    h2.settings(&[(4, 0)]);
    h2.window_update(id, 15);
    assert!(h2.until(|h2, _| got(h2, 15)));
    h2.sync();
    assert!(!got(&h2, 16), "a window that was negative counts from there");
    h2.settings(&[(4, 5)]);
    assert!(h2.until(|h2, _| got(h2, 20)));
    h2.window_update(id, 5000);
    assert_eq!(h2.answer(id).text(), body);
}

#[test]
fn more_streams_than_allowed_are_refused() {
    let held = held();
    let gateway = Gateway::builder()
        .server("http2_max_streams = 3")
        .start(&format!("[routes.p]\npath = \"/p\"\nupstream = \"{}\"\n", held.addr()));
    let mut h2 = H2::open(gateway.addr());
    let ids: Vec<u32> = (0..4).map(|_| h2.request(&get("/p"), true)).collect();
    assert_eq!(h2.answer(ids[3]).reset, Some(7), "REFUSED_STREAM");
    h2.reset(ids[0], 8);
    h2.sync();
    let next = h2.request(&get("/none"), true);
    assert_eq!(h2.answer(next).status(), "404", "room again");
}

#[test]
fn a_drain_says_goaway_and_lets_requests_finish() {
    let gate = Arc::new(Gate::new());
    let opened = Arc::clone(&gate);
    let backend = Backend::start(move |_| {
        opened.wait();
        Reply::ok("at last")
    });
    let mut gateway =
        Gateway::builder().start(&format!("[routes.p]\npath = \"/p\"\nupstream = \"{}\"\n", backend.addr()));
    let mut h2 = H2::open(gateway.addr());
    let id = h2.request(&get("/p"), true);
    eventually("the request at the backend", || (backend.hits() == 1).then_some(()));
    gateway.signal(Signal::TERM);
    assert!(h2.until(|h2, _| h2.goaway.is_some()));
    let (last, code, _) = h2.goaway.clone().unwrap();
    assert_eq!((last, code), (0x7fff_ffff, NO_ERROR), "a warning first");
    // The gateway asks with PING whether the warning has come; then it says the last word.
    assert!(h2.until(|_, f| f.kind == PING && f.flags & ACK == 0));
    h2.send_frame(PING, ACK, 0, *b"draining");
    assert!(h2.until(|h2, _| h2.goaway.as_ref().is_some_and(|(last, ..)| *last == id)));
    gate.open();
    assert_eq!(h2.answer(id).text(), "at last");
    assert!(h2.frame().is_none(), "then the connection ends");
    assert_eq!(gateway.wait_for_exit().code(), Some(0));
}

/// A client that ignores the windows: what nobody has taken is bounded, and more is an error.
#[test]
fn more_than_a_window_is_an_error() {
    // An upstream that grants no window, so that nothing is taken.
    let upstream = H2Backend::start(|peer| {
        peer.h2.greedy = false;
        peer.h2.until(|_, _| false);
    });
    let gateway = Gateway::start(&format!(
        "[upstreams.u]\ntargets = [\"{}\"]\nprotocol = \"h2\"\n[routes.p]\npath = \"/p\"\nupstream = \"u\"\n",
        upstream.addr()
    ));
    let mut h2 = H2::open(gateway.addr());
    let id = h2.request(&post("/p"), false);
    for _ in 0..40 {
        h2.data(id, &[b'x'; 16_384], false);
    }
    h2.until(|h2, frame| frame.kind == RST_STREAM || h2.goaway.is_some());
    let code = h2.answers.get(&id).and_then(|a| a.reset).or(h2.goaway.as_ref().map(|(_, code, _)| *code));
    assert_eq!(code, Some(FLOW_CONTROL));
}
