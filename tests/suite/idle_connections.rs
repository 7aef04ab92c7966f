//! Ten thousand clients that keep their connection and say nothing: little memory, and no harm to the others.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use sluice_harness::{Backend, Call, Conn, Gateway, PATIENCE, Reply, eventually, raise_fd_limit, skip};

const IDLE: usize = 10_000;
/// Connections opened before the first of them is read: within the listener's backlog.
const BATCH: usize = 200;

/// Opens connections. Most have been served once and are then between requests; every fourth has not spoken yet.
fn open_batch(gateway: SocketAddr, already: usize) -> Vec<TcpStream> {
    let mut batch = Vec::with_capacity(BATCH);
    for n in already..already + BATCH {
        let mut stream = TcpStream::connect(gateway).unwrap_or_else(|e| panic!("connection {n}: {e}"));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        if n % 4 != 0 {
            stream.write_all(&Call::get(if n % 4 == 1 { "/p" } else { "/a" }).bytes()).unwrap();
        }
        batch.push(stream);
    }
    for (n, stream) in (already..).zip(&mut batch) {
        if n % 4 != 0 {
            let answer = read_some(stream);
            assert!(answer.starts_with(b"HTTP/1.1 200"), "connection {n} got {answer:?}");
        }
    }
    batch
}

/// What one read brings: the answers here are small enough to come whole.
fn read_some(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = vec![0; 1024];
    loop {
        match stream.read(&mut answer) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            read => {
                answer.truncate(read.unwrap());
                return answer;
            }
        }
    }
}

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
    while idle.len() < IDLE {
        idle.extend(open_batch(gateway.addr(), idle.len()));
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
        assert!(read_some(stream).starts_with(b"HTTP/1.1 200"), "an idle connection must still be served");
    }
    drop(idle);
    eventually("the descriptors to be given back", || (gateway.open_fds() < 500).then_some(()));
    assert_eq!(Conn::open(gateway.addr()).get("/a").text(), "mock");
}
