//! Ten thousand clients that keep their connection and say nothing: little memory, and no harm to the others. And what one
//! costs, to the byte, where there are very many: `cargo xtask bench --idle 50000`.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use rustls::version::TLS13;
use sluice_harness::pki::{Ca, client, connect};
use sluice_harness::{
    Backend, Call, Conn, Gateway, PATIENCE, Reply, TempDir, eventually, fd_limit, raise_fd_limit, skip,
};

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

/// What an idle connection may cost in user space.
const BAR_BYTES: u64 = 4096;
/// So many from one address to one port: the kernel has 28,000 ports for that by default.
const FROM_ONE_ADDRESS: usize = 20_000;

/// Opens so many connections by `open`, each of which has been served once; what each of them made the gateway grow.
fn cost(gateway: &Gateway, count: usize, open: impl Fn(usize) -> TcpStream) -> u64 {
    // The first ones bring what is there once: buffers, tables that grow by doubling.
    let warm: Vec<_> = (0..500).map(&open).collect();
    drop(warm);
    eventually("descriptors", || (gateway.open_fds() < 100).then_some(()));
    let before = gateway.rss_bytes();
    let idle: Vec<_> = (0..count).map(open).collect();
    eventually("every connection to be accepted", || (gateway.open_fds() > count).then_some(()));
    let grown = gateway.rss_bytes().saturating_sub(before);
    drop(idle);
    grown / count as u64
}

#[test]
#[ignore = "takes minutes: cargo xtask bench --idle 50000"]
fn the_cost_of_very_many() {
    let wanted = std::env::var("SLUICE_IDLE_CONNECTIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(50_000);
    // Here one descriptor for each, and another in the gateway, which is a process of its own.
    let limit = raise_fd_limit(wanted as u64 + 1000).or_else(|reason| {
        println!("{reason}: as many as go");
        raise_fd_limit(20_000)
    });
    if let Err(reason) = limit {
        skip!("the_cost_of_very_many", "{reason}");
    }
    let count = wanted.min(fd_limit() as usize - 1000);
    let (ca, dir) = (Ca::new("authority"), TempDir::new());
    let (cert, key) = ca.leaf(&["a.test"]).write(dir.path(), "own");
    let gateway = Gateway::builder()
        .server(&format!(
            "listen_tls = [\"127.0.0.1:0\"]\nidle_timeout_ms = 3600000\nmax_connections = {}\nmax_connections_per_address = 0",
            count + 1000
        ))
        .start(&format!(
            "[routes.a]\npath = \"/a\"\nmock_body = \"mock\"\n[certificates.own]\ncert_file = \"{}\"\nkey_file = \"{}\"\n",
            cert.display(),
            key.display()
        ));
    let plain = cost(&gateway, count, |n| {
        let source = Ipv4Addr::new(127, 0, 0, 2 + (n / FROM_ONE_ADDRESS) as u8);
        let mut conn = Conn::open_from(IpAddr::V4(source), gateway.addr());
        assert_eq!(conn.get("/a").status, 200);
        conn.into_stream()
    });
    println!("idle connections: {count}, {plain} bytes of user space each (bar: {BAR_BYTES})");
    let config = client(&ca, &[&TLS13], None);
    let count = count.min(FROM_ONE_ADDRESS);
    let tls = cost(&gateway, count, |_| {
        let mut conn = connect(&config, gateway.tls_addr(), "a.test").unwrap();
        assert_eq!(conn.call(&Call::get("/a")).status, 200);
        conn.into_socket()
    });
    println!("idle connections over TLS: {count}, {tls} bytes of user space each");
    assert!(plain < BAR_BYTES, "{plain} bytes for an idle connection");
}
