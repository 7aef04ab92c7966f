//! Who the client is behind balancers and proxies: the PROXY protocol, and `X-Forwarded-For` and `Forwarded` from trusted
//! addresses. Whoever is not trusted is taken for what the socket says.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use sluice_harness::{Backend, Call, Conn, Gateway, Reply, TempDir, eventually, skip, tool};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn backend() -> Backend {
    Backend::start(|request| {
        Reply::ok(format!(
            "{} {} {}",
            request.head.all("x-forwarded-for").join("+"),
            request.header("x-forwarded-proto").unwrap_or("none"),
            request.header("x-forwarded-host").unwrap_or("none")
        ))
    })
}

fn gateway(backend: &Backend, server: &str) -> Gateway {
    let config = format!(
        "[routes.all]\npath = \"/{{proxy+}}\"\nupstream = \"{}\"\n[routes.few]\npath = \"/few\"\nmock_body = \"ok\"\n\
         limits = [\"few\"]\n[limits.few]\nscope = \"client\"\nrate = 0.001\nburst = 1\n",
        backend.addr()
    );
    Gateway::builder().server(server).start(&config)
}

fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, payload].concat()
}

/// 203.0.113.7:5000 to 198.51.100.1:80.
const FOUR: [u8; 12] = [203, 0, 113, 7, 198, 51, 100, 1, 0x13, 0x88, 0, 80];

#[test]
fn headers_of_both_versions_name_the_client() {
    let backend = backend();
    let gateway = gateway(&backend, "proxy_protocol_from = [\"127.0.0.1\"]");
    let mut six = [0; 36];
    six[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    six[15] = 9;
    for (header, client) in [
        (b"PROXY TCP4 203.0.113.7 198.51.100.1 5000 80\r\n".to_vec(), "203.0.113.7"),
        (b"PROXY TCP6 2001:db8::9 2001:db8::1 5000 80\r\n".to_vec(), "2001:db8::9"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (v2(0x21, 0x11, &FOUR), "203.0.113.7"),
        (v2(0x21, 0x21, &six), "2001:db8::9"),
        (v2(0x21, 0x11, &[FOUR.as_slice(), &[0x04, 0, 200], &[0; 200]].concat()), "203.0.113.7"),
        (v2(0x20, 0x00, &[]), "127.0.0.1"),
    ] {
        for bytewise in [false, true] {
            let mut conn = gateway.conn();
            if bytewise {
                conn.send_bytewise(&header);
                conn.send(Call::get("/a").bytes());
            } else {
                conn.send([header.clone(), Call::get("/a").bytes()].concat());
            }
            assert_eq!(conn.response().text(), format!("{client} http gateway.test"));
            // The header speaks for the whole connection.
            assert_eq!(conn.get("/a").text(), format!("{client} http gateway.test"));
        }
    }
    let line = eventually("a log line", || gateway.stdout().lines().next().map(str::to_owned));
    assert!(line.contains("\"ip\":\"203.0.113.7\""), "{line}");
}

#[test]
fn limits_count_the_client_that_the_header_names() {
    let backend = backend();
    let gateway = gateway(&backend, "proxy_protocol_from = [\"127.0.0.0/8\"]");
    let ask = |client: &str| {
        let mut conn = gateway.conn();
        conn.send(format!("PROXY TCP4 {client} 198.51.100.1 5000 80\r\n"));
        conn.get("/few").status
    };
    assert_eq!((ask("203.0.113.1"), ask("203.0.113.2"), ask("203.0.113.1")), (200, 200, 429));
}

#[test]
fn broken_headers_end_the_connection_without_an_answer() {
    let backend = backend();
    let gateway = gateway(&backend, "proxy_protocol_from = [\"127.0.0.1\"]\nheader_timeout_ms = 300");
    for bytes in [
        Call::get("/a").bytes(),
        b"PROXY TCP4 203.0.113.7 198.51.100.1 5000\r\n".to_vec(),
        b"PROXY TCP9 203.0.113.7 198.51.100.1 5000 80\r\n".to_vec(),
        [b"PROXY ".as_slice(), &[b'x'; 200]].concat(),
        v2(0x31, 0x11, &FOUR),
        v2(0x21, 0x11, &FOUR[..4]),
        v2(0x21, 0x11, &[0; 60_000]),
        // Never whole: the time for a head ends it.
        b"PROXY TCP4 203.0.113.7".to_vec(),
        v2(0x21, 0x11, &FOUR)[..20].to_vec(),
        Vec::new(),
    ] {
        let mut conn = gateway.conn();
        let _ = conn.try_send(&bytes);
        conn.assert_closed();
    }
    assert_eq!(backend.hits(), 0);
}

#[test]
fn a_header_from_elsewhere_is_not_believed() {
    let backend = backend();
    let gateway = gateway(&backend, "proxy_protocol_from = [\"127.0.0.9\", \"10.0.0.0/8\"]");
    assert_eq!(gateway.get("/a").text(), "127.0.0.1 http gateway.test", "without a header it is served");
    for header in [b"PROXY TCP4 203.0.113.7 198.51.100.1 5000 80\r\n".to_vec(), v2(0x21, 0x11, &FOUR)] {
        let mut conn = gateway.conn();
        conn.send([header, Call::get("/a").bytes()].concat());
        assert_eq!(conn.response().status, 400, "with one it is no HTTP");
    }
    let mut trusted = Conn::open_from([127, 0, 0, 9].into(), gateway.addr());
    trusted.send("PROXY TCP4 203.0.113.7 198.51.100.1 5000 80\r\n");
    assert_eq!(trusted.get("/a").text(), "203.0.113.7 http gateway.test");
}

#[test]
fn forwarding_headers_count_only_from_trusted_proxies() {
    let backend = backend();
    let gateway = gateway(&backend, "trusted_proxies = [\"127.0.0.9\", \"10.0.0.0/8\"]");
    let from = |source: [u8; 4], call: Call| {
        let mut conn = Conn::open_from(source.into(), gateway.addr());
        conn.call(&call)
    };
    let named = |list: &str| Call::get("/few").header("X-Forwarded-For", list);
    // Not trusted: however it names itself, it is one client.
    assert_eq!(from([127, 0, 0, 1], named("203.0.113.1")).status, 200);
    assert_eq!(from([127, 0, 0, 1], named("203.0.113.2")).status, 429);
    // Trusted: the rightmost that is no proxy counts; what the client wrote before it does not.
    assert_eq!(from([127, 0, 0, 9], named("203.0.113.1")).status, 200);
    assert_eq!(from([127, 0, 0, 9], named("198.51.100.1, 203.0.113.1, 10.1.1.1")).status, 429);
    assert_eq!(from([127, 0, 0, 9], named("203.0.113.1, 203.0.113.3")).status, 200);
    // Upstreams see the whole chain with the proxy at its end, and how the client came to that proxy.
    let chain = Call::get("/a")
        .header("X-Forwarded-For", "203.0.113.1")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "shop.test");
    assert_eq!(from([127, 0, 0, 9], chain.clone()).text(), "203.0.113.1, 127.0.0.9 https shop.test");
    assert_eq!(from([127, 0, 0, 1], chain).text(), "203.0.113.1, 127.0.0.1 http gateway.test");
    let logged = eventually("the log", || {
        let log = gateway.stdout();
        (log.lines().count() >= 7).then_some(log)
    });
    assert!(
        logged.contains("\"ip\":\"203.0.113.3\"") && !logged.contains("\"ip\":\"198.51.100.1\""),
        "{logged}"
    );
}

#[test]
fn forwarded_counts_where_it_is_chosen() {
    let backend = backend();
    let gateway =
        gateway(&backend, "trusted_proxies = [\"127.0.0.1\"]\ntrusted_proxy_header = \"forwarded\"");
    let named = |name: &str, list: &str| gateway.call(&Call::get("/few").header(name, list)).status;
    assert_eq!(named("Forwarded", "for=203.0.113.1"), 200);
    assert_eq!(named("Forwarded", "for=\"[2001:db8::1]:80\";proto=https"), 200);
    assert_eq!(named("Forwarded", "for=198.51.100.9, for=203.0.113.1"), 429);
    assert_eq!(named("X-Forwarded-For", "203.0.113.77"), 200, "that header is not the one: the proxy itself");
    assert_eq!(named("X-Forwarded-For", "203.0.113.78"), 429);
}

/// A real proxy in one foreground process.
struct Proxy {
    child: Child,
    _dir: TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts `program` with the configuration that `config` makes for a free port; says which.
fn start(
    program: &std::path::Path,
    arguments: &[&str],
    config: impl Fn(u16, &str) -> String,
) -> (Proxy, std::net::SocketAddr) {
    eventually("the proxy to start", || {
        let dir = TempDir::new();
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let file = dir.path().join("proxy.conf");
        fs::write(&file, config(addr.port(), dir.path().to_str().unwrap())).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut proxy = Proxy { child: command.spawn().unwrap(), _dir: dir };
        loop {
            if Conn::try_open(addr).is_ok() {
                return Some((proxy, addr));
            }
            if proxy.child.try_wait().unwrap().is_some() {
                return None;
            }
            std::thread::yield_now();
        }
    })
}

#[test]
fn haproxy_in_front_names_its_clients() {
    const NAME: &str = "haproxy_in_front_names_its_clients";
    let Some(haproxy) = tool("haproxy") else { skip!(NAME, "haproxy is not installed") };
    let backend = backend();
    let gateway = gateway(&backend, "proxy_protocol_from = [\"127.0.0.1\"]");
    for option in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options unique-id,crc32c"] {
        let (_proxy, addr) = start(&haproxy, &["-db", "-f"], |port, _| {
            format!(
                "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
                 frontend f\n bind 127.0.0.1:{port}\n unique-id-format %rt\n default_backend b\n\
                 backend b\n server s {} {option}\n",
                gateway.addr()
            )
        });
        let mut conn = Conn::open_from([127, 0, 0, 5].into(), addr);
        assert_eq!(conn.get("/a").text(), "127.0.0.5 http gateway.test", "{option}");
    }
}

#[test]
fn nginx_in_front_names_its_clients() {
    const NAME: &str = "nginx_in_front_names_its_clients";
    let Some(nginx) = tool("nginx") else { skip!(NAME, "nginx is not installed") };
    let backend = backend();
    let gateway = gateway(&backend, "trusted_proxies = [\"127.0.0.1\"]");
    let (_proxy, addr) = start(&nginx, &["-e", "stderr", "-c"], |port, root| {
        let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {root}/{name};\n"))
            .concat();
        format!(
            "daemon off;\nmaster_process off;\npid {root}/pid;\nerror_log {root}/error.log;\nevents {{}}\n\
             http {{\naccess_log off;\n{temp}server {{\nlisten 127.0.0.1:{port};\nlocation / {{\n\
             proxy_pass http://{};\nproxy_set_header Host $host;\n\
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n}}\n}}\n}}\n",
            gateway.addr()
        )
    });
    let ask = |source: [u8; 4]| {
        let mut conn = Conn::open_from(source.into(), addr);
        conn.call(&Call::get("/few").header("X-Forwarded-For", "198.51.100.1")).status
    };
    assert_eq!((ask([127, 0, 0, 5]), ask([127, 0, 0, 6]), ask([127, 0, 0, 5])), (200, 200, 429));
}
