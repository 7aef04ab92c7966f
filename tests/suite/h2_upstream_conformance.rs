//! What RFC 9113 and RFC 7541 say that a client MUST do, which the gateway is towards its upstreams: frames that a server
//! sends, and what comes of them. The table of all requirements and their tests is docs/http2.md.

use std::sync::mpsc;
use std::time::Duration;

use sluice_harness::h2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PADDED, PING, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, block,
};
use sluice_harness::{Call, Gateway, H2Backend};

const PROTOCOL: u32 = 1;
const FLOW_CONTROL: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE: u32 = 6;
const COMPRESSION: u32 = 9;

fn before(backend: &H2Backend) -> Gateway {
    Gateway::start(&format!(
        "[upstreams.u]\ntargets = [\"{}\"]\nprotocol = \"h2\"\nretries = 0\n[routes.p]\npath = \"/{{proxy+}}\"\nupstream = \"u\"\n",
        backend.addr()
    ))
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Frame {
    Frame::new(kind, flags, stream, payload)
}

fn answer(fields: &[(&str, &str)], end: bool) -> Frame {
    let flags = END_HEADERS | if end { END_STREAM } else { 0 };
    frame(HEADERS, flags, 1, &block(fields))
}

fn ok(extra: &[(&str, &str)]) -> Frame {
    answer(&[&[(":status", "200")], extra].concat(), true)
}

fn setting(id: u16, value: u32) -> Frame {
    frame(SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

/// What the gateway said about a fault.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Reset(u32),
    GoAway(u32),
    Nothing,
}

/// Answers the request with these frames; what the gateway says of them, and what its client gets.
fn provoke(frames: Vec<Frame>) -> (Told, u16) {
    let (tell, told) = mpsc::channel();
    let backend = H2Backend::start(move |peer| {
        let Some((id, _)) = peer.request() else { return };
        assert_eq!(id, 1);
        for frame in &frames {
            peer.h2.send(&frame.bytes());
        }
        let mut said = Told::Nothing;
        peer.h2.until(|_, frame| {
            match frame.kind {
                RST_STREAM => said = Told::Reset(frame.number(0)),
                GOAWAY => said = Told::GoAway(frame.number(4)),
                _ => {}
            }
            said != Told::Nothing
        });
        let _ = tell.send(said);
    });
    let gateway = before(&backend);
    let mut conn = gateway.conn();
    conn.send(Call::get("/").bytes());
    let status = conn.try_response("GET").map_or(0, |response| response.status);
    (told.recv_timeout(Duration::from_secs(20)).unwrap_or(Told::Nothing), status)
}

#[test]
fn faults_of_a_response_end_its_stream() {
    let trailers = |list: &[(&str, &str)], flags: u8| frame(HEADERS, END_HEADERS | flags, 1, &block(list));
    let sized = |len: &str| answer(&[(":status", "200"), ("content-length", len)], false);
    #[rustfmt::skip] // One case a line.
    let cases: Vec<(&str, Vec<Frame>, u32)> = vec![
        ("8.1 DATA before HEADERS", vec![frame(DATA, END_STREAM, 1, b"x")], PROTOCOL),
        ("8.1 an interim response that ends the stream", vec![answer(&[(":status", "103")], true)], PROTOCOL),
        ("8.1.1 upper case", vec![ok(&[("X-Upper", "a")])], PROTOCOL),
        ("8.1.1 content-length without a body", vec![ok(&[("content-length", "3")])], PROTOCOL),
        ("8.1.1 less than content-length", vec![sized("5"), frame(DATA, END_STREAM, 1, b"abc")], PROTOCOL),
        ("8.1.1 more than content-length", vec![sized("2"), frame(DATA, 0, 1, b"abc")], PROTOCOL),
        ("8.2.1 CR LF in a value", vec![ok(&[("a", "b\r\nc: d")])], PROTOCOL),
        ("8.2.1 NUL in a value", vec![ok(&[("a", "b\0")])], PROTOCOL),
        ("8.2.1 a space in a name", vec![ok(&[("a b", "c")])], PROTOCOL),
        ("8.2.2 connection", vec![ok(&[("connection", "close")])], PROTOCOL),
        ("8.2.2 transfer-encoding", vec![ok(&[("transfer-encoding", "chunked")])], PROTOCOL),
        ("8.3 a request's pseudo-header", vec![ok(&[(":path", "/")])], PROTOCOL),
        ("8.3 an unknown pseudo-header", vec![ok(&[(":other", "x")])], PROTOCOL),
        ("8.3 a pseudo-header behind a field", vec![answer(&[("a", "b"), (":status", "200")], true)], PROTOCOL),
        ("8.3.2 no :status", vec![answer(&[("a", "b")], true)], PROTOCOL),
        ("8.3.2 :status twice", vec![ok(&[(":status", "200")])], PROTOCOL),
        ("8.3.2 a :status that is no number", vec![answer(&[(":status", "2x0")], true)], PROTOCOL),
        ("8.6 101", vec![answer(&[(":status", "101")], false)], PROTOCOL),
        ("8.1 trailers that don't end the stream", vec![answer(&[(":status", "200")], false), trailers(&[("x", "y")], 0)], PROTOCOL),
        ("8.1 a pseudo-header in trailers", vec![answer(&[(":status", "200")], false), trailers(&[(":status", "200")], END_STREAM)], PROTOCOL),
        ("6.9 WINDOW_UPDATE of 0", vec![frame(WINDOW_UPDATE, 0, 1, &[0; 4])], PROTOCOL),
    ];
    for (name, sent, code) in cases {
        let (told, status) = provoke(sent);
        assert_eq!(told, Told::Reset(code), "{name}");
        assert!(matches!(status, 0 | 504), "{name}: {status}");
    }
}

#[test]
fn faults_of_the_connection_end_it() {
    let big = vec![0; 16_385];
    let open = || answer(&[(":status", "200")], false);
    #[rustfmt::skip] // One case a line.
    let cases: Vec<(&str, Vec<Frame>, u32)> = vec![
        ("4.2 a frame over the maximum", vec![open(), frame(DATA, 0, 1, &big)], FRAME_SIZE),
        ("4.3 a block that can't be decoded", vec![frame(HEADERS, END_HEADERS, 1, &[0x80])], COMPRESSION),
        ("4.3 another frame within a block", vec![frame(HEADERS, 0, 1, &block(&[(":status", "200")])), frame(PING, 0, 0, &[0; 8])], PROTOCOL),
        ("5.1 DATA on an idle stream", vec![frame(DATA, 0, 5, b"x")], PROTOCOL),
        ("5.1 RST_STREAM on an idle stream", vec![frame(RST_STREAM, 0, 5, &[0; 4])], PROTOCOL),
        ("5.1 WINDOW_UPDATE on an idle stream", vec![frame(WINDOW_UPDATE, 0, 5, &[0, 0, 0, 1])], PROTOCOL),
        ("5.1.1 HEADERS on a stream that a server may not open", vec![frame(HEADERS, END_HEADERS, 2, &block(&[(":status", "200")]))], PROTOCOL),
        ("6.1 padding as long as DATA", vec![open(), frame(DATA, PADDED, 1, b"\x04abc")], PROTOCOL),
        ("6.1 DATA on stream 0", vec![frame(DATA, 0, 0, b"x")], PROTOCOL),
        ("6.4 RST_STREAM of another length", vec![frame(RST_STREAM, 0, 1, &[0; 3])], FRAME_SIZE),
        ("6.5 SETTINGS of another length", vec![frame(SETTINGS, 0, 0, &[0; 5])], FRAME_SIZE),
        ("6.5 an acknowledgement with settings", vec![frame(SETTINGS, ACK, 0, &[0; 6])], FRAME_SIZE),
        ("6.5.2 ENABLE_PUSH of 1 by a server", vec![setting(2, 1)], PROTOCOL),
        ("6.5.2 INITIAL_WINDOW_SIZE of 2^31", vec![setting(4, 1 << 31)], FLOW_CONTROL),
        ("6.5.2 MAX_FRAME_SIZE of 16383", vec![setting(5, 16_383)], PROTOCOL),
        ("6.6 PUSH_PROMISE though push is off", vec![frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])], PROTOCOL),
        ("6.7 PING of another length", vec![frame(PING, 0, 0, &[0; 7])], FRAME_SIZE),
        ("6.8 GOAWAY on a stream", vec![frame(GOAWAY, 0, 1, &[0; 8])], PROTOCOL),
        ("6.9 WINDOW_UPDATE of 0", vec![frame(WINDOW_UPDATE, 0, 0, &[0; 4])], PROTOCOL),
        ("6.9.1 the connection's window past 2^31-1", vec![frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])], FLOW_CONTROL),
        ("6.10 CONTINUATION without HEADERS", vec![frame(CONTINUATION, END_HEADERS, 1, b"")], PROTOCOL),
    ];
    for (name, sent, code) in cases {
        let (told, _) = provoke(sent);
        assert_eq!(told, Told::GoAway(code), "{name}");
    }
    // 5.1: half closed still, or closed by then.
    let (told, _) = provoke(vec![ok(&[]), frame(DATA, 0, 1, b"x")]);
    assert!(matches!(told, Told::Reset(STREAM_CLOSED) | Told::GoAway(STREAM_CLOSED)), "{told:?}");
}

/// 3.4: the preface of a server is SETTINGS, whatever else it has to say.
#[test]
fn a_server_has_to_greet_with_settings() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let mut h2 = sluice_harness::H2::over(listener.accept().unwrap().0);
        let mut preface = [0; 24];
        h2.fill(&mut preface).unwrap();
        h2.send_frame(PING, 0, 0, [0; 8]);
        h2.until(|h2, _| h2.goaway.is_some());
        h2.goaway.map(|(_, code, _)| code)
    });
    let gateway = Gateway::start(&format!(
        "[upstreams.u]\ntargets = [\"{addr}\"]\nprotocol = \"h2\"\nretries = 0\n[routes.p]\npath = \"/{{proxy+}}\"\nupstream = \"u\"\n"
    ));
    assert_eq!(gateway.get("/").status, 504);
    assert_eq!(server.join().unwrap(), Some(PROTOCOL));
}

/// 6.9: what a server has not allowed is not sent; and what the gateway has not allowed is FLOW_CONTROL_ERROR.
#[test]
fn windows_are_kept_in_both_directions() {
    let (tell, told) = mpsc::channel();
    let backend = H2Backend::start(move |peer| {
        peer.h2.greedy = false;
        let Some(id) = peer.head() else { return };
        let got = |h2: &sluice_harness::H2| h2.answers.get(&id).map_or(0, |a| a.body.len());
        assert!(peer.h2.until(|h2, _| got(h2) >= 65_535));
        peer.h2.sync();
        let _ = tell.send(got(&peer.h2));
        // More for the connection alone is nothing for the stream.
        peer.h2.window_update(0, 1_000_000);
        peer.h2.sync();
        let _ = tell.send(got(&peer.h2));
        peer.h2.window_update(id, 1_000_000);
        assert!(peer.h2.until(|h2, _| h2.answers.get(&id).is_some_and(|a| a.ended)));
        let _ = tell.send(got(&peer.h2));
        peer.answer(id, "all there");
    });
    let gateway = before(&backend);
    assert_eq!(gateway.call(&Call::post("/", vec![b'x'; 300_000])).text(), "all there");
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [65_535, 65_535, 300_000]);
    // A client that does not read, and a server that does not care.
    let (tell, told) = mpsc::channel();
    let backend = H2Backend::start(move |peer| {
        let Some(id) = peer.head() else { return };
        peer.h2.send(&answer(&[(":status", "200")], false).bytes());
        let piece = frame(DATA, 0, id, &[b'd'; 16_384]).bytes();
        // Its window is 64 KiB: what the gateway's client takes cannot keep up with this at once.
        let burst = piece.repeat(100);
        let mut code = None;
        while code.is_none() && peer.h2.try_send(&burst).is_ok() {
            peer.h2.until(|_, frame| {
                code = code.or((frame.kind == RST_STREAM || frame.kind == GOAWAY)
                    .then(|| frame.number(frame.payload.len() - 4)));
                code.is_some() || frame.kind == WINDOW_UPDATE
            });
        }
        let _ = tell.send(code);
    });
    let gateway = before(&backend);
    let mut conn = gateway.conn();
    conn.send(Call::get("/").bytes());
    assert_eq!(told.recv_timeout(Duration::from_secs(20)).unwrap(), Some(FLOW_CONTROL));
}

/// 5.1.2, 6.5.2, 6.5.3: limits of a server are kept once it has said them, and its settings and pings are acknowledged.
#[test]
fn a_servers_settings_are_kept() {
    let backend = H2Backend::start(|peer| {
        peer.h2.settings(&[(3, 2), (1, 0), (5, 20_000), (0x99, 7)]);
        peer.h2.send_frame(PING, 0, 0, *b"12345678");
        let (mut acks, mut pong) = (0, false);
        let mut waiting = Vec::new();
        while waiting.len() < 2 || acks < 2 || !pong {
            let Some(frame) = peer.h2.frame() else { return };
            match (frame.kind, frame.flags & ACK != 0) {
                (SETTINGS, true) => acks += 1,
                (PING, true) => pong = frame.payload == b"12345678",
                (HEADERS, _) => {
                    // 7541 4.2 and 6.3: a table of 0 bytes is announced at the start of the next block, and kept.
                    waiting.push(frame.stream);
                }
                _ => {}
            }
        }
        peer.h2.sync();
        assert!(
            peer.h2.answers.values().all(|a| a.trailers.is_empty()),
            "a third stream before there is room"
        );
        for id in waiting {
            peer.answer(id, "in its turn");
        }
        peer.serve();
    });
    let gateway = Gateway::start(&format!(
        "[upstreams.u]\ntargets = [\"{}\"]\nprotocol = \"h2\"\nhttp2_connections = 1\n[routes.p]\npath = \"/{{proxy+}}\"\nupstream = \"u\"\n",
        backend.addr()
    ));
    let mut clients: Vec<_> = (0..2).map(|_| gateway.conn()).collect();
    clients.iter_mut().for_each(|client| client.send(Call::get("/x").bytes()));
    for client in &mut clients {
        assert_eq!(client.response().text(), "in its turn");
    }
    for _ in 0..5 {
        assert_eq!(gateway.get("/y").text(), "/y");
    }
}

/// RFC 7541 section 6.2.3: an intermediary writes such a field as it came, however often it sees it.
#[test]
fn never_indexed_fields_go_on_as_such() {
    let backend = H2Backend::start(|peer| {
        while let Some(frame) = peer.h2.frame() {
            if frame.kind == HEADERS {
                // 0001xxxx, then name and value in plain.
                let secret = [&[0x10, 8][..], b"x-secret", &[5], b"value"].concat();
                let found = frame.payload.windows(secret.len()).any(|part| part == secret);
                peer.answer(frame.stream, if found { "as it came" } else { "indexed" });
            }
        }
    });
    let gateway = before(&backend);
    let mut h2 = sluice_harness::H2::open(gateway.addr());
    for _ in 0..5 {
        let mut head = block(&sluice_harness::h2::get("/"));
        head.extend([&[0x10, 8][..], b"x-secret", &[5], b"value"].concat());
        let id = h2.request_block(&head, true);
        assert_eq!(h2.answer(id).text(), "as it came");
    }
}
