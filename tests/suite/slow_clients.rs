//! Clients that dawdle: each is cut off in its time, and none is in another's way.

use std::io::{self, Read as _};
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use sluice_harness::{Backend, Call, Conn, Gateway, PATIENCE, Reply, eventually};

fn mock(server: &str) -> Gateway {
    Gateway::builder()
        .server(server)
        .start("[routes.a]\npath = \"/a\"\nmethods = [\"GET\"]\nmock_body = \"quick\"\n")
}

/// Reads what the gateway says before it ends the connection: nothing, or one refusal with 408.
#[track_caller]
fn assert_cut_off(conn: &mut Conn) {
    match conn.try_response("GET") {
        Ok(response) => {
            assert_eq!(response.status, 408, "{response:?}");
            assert!(response.says_close());
            conn.assert_closed();
        }
        Err(e) => assert!(
            matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset),
            "the gateway must end the connection, got {e}"
        ),
    }
}

#[test]
fn a_head_that_stalls_is_cut_off() {
    let gateway = mock("header_timeout_ms = 200");
    let mut conn = gateway.conn();
    conn.send("GET /a HTTP/1.1\r\nHost: x\r\nX-Unfin");
    assert_cut_off(&mut conn);
}

/// A byte now and then is progress, but the timeout is for the whole head.
#[test]
fn a_head_that_trickles_is_cut_off() {
    let gateway = mock("header_timeout_ms = 300\nidle_timeout_ms = 600000");
    let mut conn = gateway.conn();
    conn.send("GET /a HTTP/1.1\r\nHost: x\r\nX-Slow: ");
    let begun = Instant::now();
    // The pace of a slow client, not a wait for something: it ends when the gateway has had enough.
    while conn.try_send("z").is_ok() {
        assert!(begun.elapsed() < PATIENCE, "a trickling head must not hold a connection for ever");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let gateway = mock("header_timeout_ms = 200\nidle_timeout_ms = 200");
    let mut conn = gateway.conn();
    assert_cut_off(&mut conn);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let gateway = mock("idle_timeout_ms = 200");
    let mut conn = gateway.conn();
    assert_eq!(conn.get("/a").status, 200);
    conn.assert_closed();
}

#[test]
fn an_upload_that_stalls_is_cut_off_on_both_sides() {
    let backend = Backend::start(|_| Reply::ok("whole"));
    let gateway = Gateway::builder()
        .server("body_timeout_ms = 200")
        .start(&format!("[routes.a]\npath = \"/a\"\nupstream = \"{}\"\n", backend.addr()));
    for head in ["Content-Length: 100\r\n\r\nsome", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nhe"]
    {
        let mut conn = gateway.conn();
        conn.send(format!("POST /a HTTP/1.1\r\nHost: x\r\n{head}"));
        assert_cut_off(&mut conn);
        eventually("the backend to be let go", || (backend.open_connections() == 0).then_some(()));
    }
    assert_eq!(backend.hits(), 0, "half an upload must not look like a whole one");
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let backend = Backend::wired(|wire| {
        wire.request()?;
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        let chunk = format!("{:x}\r\n{}\r\n", 65_536, "y".repeat(65_536));
        loop {
            wire.send(&chunk)?;
        }
    });
    let gateway = Gateway::builder()
        .server("body_timeout_ms = 300")
        .start(&format!("[routes.a]\npath = \"/a\"\nupstream = \"{}\"\n", backend.addr()));
    let before = gateway.rss_bytes();
    let mut conn = gateway.conn();
    conn.send(Call::get("/a").bytes());
    eventually("the request at the backend", || (backend.hits() == 1).then_some(()));
    eventually("the backend to be let go", || (backend.open_connections() == 0).then_some(()));
    let grown = gateway.peak_rss_bytes().saturating_sub(before);
    assert!(grown < 50 << 20, "{grown} bytes for one stalled reader");
}

/// Pipelining without reading must end in backpressure, not in a queue of answers.
#[test]
fn a_client_that_asks_without_reading_is_held_back() {
    let body = "z".repeat(10_000);
    let gateway = Gateway::builder()
        .server("body_timeout_ms = 600000")
        .start(&format!("[routes.a]\npath = \"/a\"\nmock_body = \"{body}\"\n"));
    let before = gateway.rss_bytes();
    let mut conn = gateway.conn();
    conn.stream().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    // 2,000,000 requests would be 20 GB of answers: the writes stall long before.
    let burst = Call::get("/a").bytes().repeat(1000);
    let stalled = (0..2000).any(|_| conn.try_send(&burst).is_err());
    assert!(stalled, "the gateway took in every request of a client that reads nothing");
    let grown = gateway.peak_rss_bytes().saturating_sub(before);
    assert!(grown < 50 << 20, "memory grew by {} MiB", grown >> 20);
    assert_eq!(gateway.get("/a").status, 200);
}

#[test]
fn many_slow_clients_do_not_slow_a_good_one() {
    let gateway = mock("header_timeout_ms = 600000");
    let mut slow: Vec<Conn> = (0..300).map(|_| gateway.conn()).collect();
    let mut good = gateway.conn();
    let whole = Call::get("/a").bytes();
    for (n, byte) in whole.iter().enumerate() {
        for conn in &mut slow {
            conn.send([*byte]);
        }
        assert_eq!(good.get("/a").text(), "quick", "with every slow client at byte {n}");
    }
    for conn in &mut slow {
        assert_eq!(conn.response().text(), "quick", "slow, but within its time");
    }
}

/// Progress of a byte now and then is none of a fault, so it has to cost next to nothing: neither memory nor others' time.
#[test]
fn windows_of_a_few_bytes_hold_no_body_in_memory() {
    const BODY_BYTES: usize = 4 << 20;
    let backend = Backend::start(|request| match request.target.as_str() {
        "/large" => Reply::ok(vec![b'x'; BODY_BYTES]),
        _ => Reply::ok("quick"),
    });
    let gateway = Gateway::before(backend.addr());
    assert_eq!(gateway.get("/large").body.len(), BODY_BYTES);
    let before = gateway.rss_bytes();
    let mut slow: Vec<_> = (0..50)
        .map(|_| {
            let mut conn = gateway.conn();
            // The kernel's least: a window of about a kilobyte.
            sockopt::set_socket_recv_buffer_size(conn.stream(), 1).unwrap();
            conn.send(Call::get("/large").bytes());
            conn
        })
        .collect();
    for round in 0..20 {
        for conn in &mut slow {
            assert_eq!(conn.stream().read(&mut [0]).unwrap(), 1, "round {round}");
        }
        assert_eq!(gateway.get("/quick").text(), "quick", "round {round}");
    }
    let grown = gateway.peak_rss_bytes().saturating_sub(before);
    assert!(grown < 50 * (512 << 10), "{} KiB for each", grown / 50 / 1024);
}

#[test]
fn connections_over_the_limit_are_shed_and_room_is_given_back() {
    let gateway = mock("max_connections = 8");
    let mut within: Vec<Conn> = (0..8).map(|_| gateway.conn()).collect();
    for conn in &mut within {
        assert_eq!(conn.get("/a").status, 200);
    }
    match Conn::open(gateway.addr()).try_call(&Call::get("/a")) {
        Ok(response) => {
            response.assert_refusal(503, "Service Unavailable", "ServiceUnavailableException");
            assert!(response.says_close());
        }
        Err(e) => assert!(
            matches!(
                e.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            ),
            "{e}"
        ),
    }
    for conn in &mut within {
        assert_eq!(conn.get("/a").status, 200, "those within the limit are unharmed");
    }
    drop(within.pop());
    eventually("room for one more", || {
        let answer = Conn::try_open(gateway.addr()).ok()?.try_call(&Call::get("/a")).ok()?;
        (answer.status == 200).then_some(())
    });
}
