//! Ten thousand clients that keep their connection and say nothing: little memory, and no harm to the others. And what one
//! costs, to the byte, where there are very many: `cargo xtask bench --idle 50000`.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};

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

/// Room that a process needs for everything but idle connections.
const SPARE_FDS: usize = 1000;
/// Tells [`holds_connections`] where, and how many.
const HELD: &str = "SLUICE_IDLE_HELD";

/// What a gateway grew by for each of `count` connections, which are kept as `T`.
fn cost<T>(gateway: &Gateway, count: usize, warm: impl FnOnce(), open: impl FnOnce() -> T) -> (u64, T) {
    // The first ones bring what is there once: buffers, tables that grow by doubling.
    warm();
    eventually("descriptors", || (gateway.open_fds() < 100).then_some(()));
    let before = gateway.rss_bytes();
    let idle = open();
    eventually("every connection to be accepted", || (gateway.open_fds() > count).then_some(()));
    let grown = gateway.rss_bytes().saturating_sub(before);
    (grown / count as u64, idle)
}

/// Opens a connection that has been served once, from addresses that no other gateway's clients use.
fn served(gateway: SocketAddr, n: usize) -> TcpStream {
    let [high, low] = gateway.port().to_be_bytes();
    let source = Ipv4Addr::new(127, high, low, 2 + (n / FROM_ONE_ADDRESS) as u8);
    let mut conn = Conn::open_from(IpAddr::V4(source), gateway);
    assert_eq!(conn.get("/a").status, 200);
    conn.into_stream()
}

/// The clients of one gateway, in a process of their own: its limit of descriptors is theirs alone.
struct Holder {
    child: Child,
    /// Kept open: what the process says of itself later must not end it.
    _stdout: BufReader<ChildStdout>,
}

impl Holder {
    fn start(gateway: SocketAddr, count: usize) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "--nocapture", "holds_connections"]);
        command.env(HELD, format!("{gateway} {count}")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let held = stdout.by_ref().lines().map_while(Result::ok).any(|line| line.ends_with("held"));
        assert!(held, "the clients' process ended before all were connected");
        Self { child, _stdout: stdout }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "a part of the_cost_of_very_many"]
fn holds_connections() {
    let Some(held) = std::env::var(HELD).ok() else {
        skip!("holds_connections", "it is started by the_cost_of_very_many");
    };
    let (gateway, count) = held.split_once(' ').unwrap();
    let (gateway, count): (SocketAddr, usize) = (gateway.parse().unwrap(), count.parse().unwrap());
    raise_fd_limit((count + SPARE_FDS) as u64).unwrap();
    let idle: Vec<_> = (0..count).map(|n| served(gateway, n)).collect();
    println!("held");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    drop(idle);
}

#[test]
#[ignore = "takes minutes: cargo xtask bench --idle 50000"]
fn the_cost_of_very_many() {
    let wanted = std::env::var("SLUICE_IDLE_CONNECTIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(50_000);
    // The gateway inherits our limit, and has one descriptor for each. Where that is not enough, there are several gateways.
    if raise_fd_limit((wanted + SPARE_FDS) as u64).is_err()
        && let Err(reason) = raise_fd_limit(20_000)
    {
        skip!("the_cost_of_very_many", "{reason}");
    }
    let room = fd_limit() as usize - SPARE_FDS;
    let gateways: usize = wanted.div_ceil(room);
    let count = wanted.div_ceil(gateways);
    let (ca, dir) = (Ca::new("authority"), TempDir::new());
    let (cert, key) = ca.leaf(&["a.test"]).write(dir.path(), "own");
    let start = || {
        Gateway::builder()
            .server(&format!(
                "listen_tls = [\"127.0.0.1:0\"]\nidle_timeout_ms = 3600000\nmax_connections = {}\n\
                 max_connections_per_address = 0",
                count + SPARE_FDS
            ))
            .start(&format!(
                "[routes.a]\npath = \"/a\"\nmock_body = \"mock\"\n[certificates.own]\ncert_file = \"{}\"\nkey_file = \"{}\"\n",
                cert.display(),
                key.display()
            ))
    };
    let mut held = Vec::new();
    for _ in 0..gateways {
        let gateway = start();
        let warm = || drop((0..500).map(|n| served(gateway.addr(), n)).collect::<Vec<_>>());
        let (bytes, holder) = cost(&gateway, count, warm, || Holder::start(gateway.addr(), count));
        held.push((bytes, holder, gateway));
    }
    // All of them, at the same time, and all are served.
    for (_, _, gateway) in &held {
        assert!(gateway.open_fds() > count, "connections were lost");
        assert_eq!(gateway.get("/a").status, 200);
    }
    let plain = held.iter().map(|(bytes, ..)| *bytes).max().unwrap_or(0);
    println!(
        "idle connections: {} at {gateways} gateway(s), {plain} bytes of user space each (bar: {BAR_BYTES})",
        count * gateways
    );
    drop(held);
    let gateway = start();
    let config = client(&ca, &[&TLS13], None);
    let count = count.min(FROM_ONE_ADDRESS);
    let open = |_| {
        let mut conn = connect(&config, gateway.tls_addr(), "a.test").unwrap();
        assert_eq!(conn.call(&Call::get("/a")).status, 200);
        conn.into_socket()
    };
    let warm = || drop((0..500).map(open).collect::<Vec<_>>());
    let (tls, idle) = cost(&gateway, count, warm, || (0..count).map(open).collect::<Vec<_>>());
    drop(idle);
    println!("idle connections over TLS: {count}, {tls} bytes of user space each");
    assert!(plain < BAR_BYTES, "{plain} bytes for an idle connection");
}
