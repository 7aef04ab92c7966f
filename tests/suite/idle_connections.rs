//! Ten thousand clients that keep their connection and say nothing: little memory, and no harm to the others.

use std::io::{Read, Write};
use std::net::TcpStream;

use sluice_harness::{Backend, Call, Conn, Gateway, Reply, eventually, raise_fd_limit, skip};

const IDLE: usize = 10_000;

#[test]
fn ten_thousand_idle_connections_cost_little() {
    // Ours and the gateway's, which inherits the limit, each with room for the rest.
    if let Err(reason) = raise_fd_limit(IDLE as u64 + 1000) {
        skip!("ten_thousand_idle_connections_cost_little", "{reason}");
    }
    let backend = Backend::start(|_| Reply::ok("proxied"));
    let gateway = Gateway::builder()
        .server("cores = 2\nidle_timeout_ms = 600000\nheader_timeout_ms = 600000")
        .start(&format!(
            "[routes.a]\npath = \"/a\"\nmock_body = \"mock\"\n[routes.p]\npath = \"/p\"\nupstream = \"{}\"\n",
            backend.addr()
        ));
    for target in ["/a", "/p"] {
        assert_eq!(gateway.get(target).status, 200);
    }
    let before = gateway.rss_bytes();
    let mut idle: Vec<TcpStream> = Vec::with_capacity(IDLE);
    for n in 0..IDLE {
        let mut stream = TcpStream::connect(gateway.addr()).unwrap_or_else(|e| panic!("connection {n}: {e}"));
        stream.set_read_timeout(Some(sluice_harness::PATIENCE)).unwrap();
        // Most have been served once and are now between requests; every fourth has not spoken yet.
        if n % 4 != 0 {
            let target = if n % 4 == 1 { "/p" } else { "/a" };
            stream.write_all(&Call::get(target).bytes()).unwrap();
            let read = stream.read(&mut [0; 1024]).unwrap();
            assert!(read > 0, "connection {n} was not served");
        }
        idle.push(stream);
    }
    eventually("every connection to be accepted", || (gateway.open_fds() > IDLE).then_some(()));
    let grown = gateway.rss_bytes().saturating_sub(before);
    assert!(grown < IDLE as u64 * 8192, "{} bytes for each idle connection", grown / IDLE as u64);

    let mut conn = gateway.conn();
    for _ in 0..100 {
        assert_eq!(conn.get("/p").text(), "proxied");
    }
    for stream in idle.iter_mut().step_by(97) {
        stream.write_all(&Call::get("/a").bytes()).unwrap();
        let mut answer = [0; 1024];
        let read = stream.read(&mut answer).unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "an idle connection must still be served");
    }
    drop(idle);
    eventually("the descriptors to be given back", || (gateway.open_fds() < 500).then_some(()));
    assert_eq!(Conn::open(gateway.addr()).get("/a").text(), "mock");
}
