//! WebSocket and other upgrades through the tunnel: cases of Autobahn's suite by hand, over bytes, and a real client and
//! server (npm's ws). A tunnel changes nothing, so what is asserted is bytes, ends and what is counted and logged.

use std::io::{self, BufRead, BufReader, Read};
use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use rustix::process::Signal;
use rustls::version::{TLS12, TLS13};
use sluice_harness::pki::{Ca, Leaf, client, connect};
use sluice_harness::{Backend, Conn, Gateway, Pattern, TempDir, Wire, eventually, npm_package, skip, tool};

fn upgrade_to(protocol: &str) -> String {
    format!(
        "GET /chat?a=1 HTTP/1.1\r\nHost: gateway.test\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

fn switched(protocol: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )
}

/// A backend that agrees, then hands its side of the tunnel to `script`.
fn agreeing(
    protocol: &'static str,
    script: impl Fn(&mut Wire) -> io::Result<()> + Send + Sync + 'static,
) -> Backend {
    Backend::wired(move |wire| {
        let Some(request) = wire.request_head()? else { return Ok(()) };
        assert_eq!(request.header("upgrade"), Some(protocol));
        assert_eq!(request.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("upgrade"));
        wire.send(switched(protocol))?;
        script(wire)
    })
}

/// Sends back what comes until the end, and ends then.
fn echo(wire: &mut Wire) -> io::Result<()> {
    loop {
        let pending = wire.reader().pending().len();
        if pending == 0 && !wire.reader().fill()? {
            return wire.finish();
        }
        let pending = wire.reader().pending().len();
        let bytes = wire.reader().raw(pending)?;
        wire.send(bytes)?;
    }
}

fn config(backend: &Backend, lines: &str) -> String {
    format!(
        "[routes.chat]\npath = \"/{{proxy+}}\"\nupstream = \"{}\"\nupgrade = [\"websocket\", \"line\"]\n{lines}\n",
        backend.addr()
    )
}

fn before(backend: &Backend) -> Gateway {
    Gateway::start(&config(backend, ""))
}

/// A client connection that has become a tunnel.
#[track_caller]
fn tunnel(gateway: &Gateway, protocol: &str) -> Conn {
    let mut conn = gateway.conn();
    conn.send(upgrade_to(protocol));
    let head = conn.reader().head().unwrap().unwrap();
    assert!(head.start_line.starts_with("HTTP/1.1 101 "), "{head:?}");
    assert_eq!((head.get("connection"), head.get("upgrade")), (Some("Upgrade"), Some(protocol)));
    assert_eq!(head.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert!(head.has("x-amzn-requestid") && !head.has("content-length"));
    conn
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=65_535 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[1, 2, 3, 4]);
    out.extend_from_slice(payload);
    out
}

#[track_caller]
fn assert_echo(conn: &mut Conn, bytes: &[u8]) {
    conn.send(bytes);
    assert_eq!(conn.reader().raw(bytes.len()).unwrap(), bytes);
}

#[test]
fn frames_of_every_kind_pass_unchanged() {
    let backend = agreeing("websocket", echo);
    let gateway = before(&backend);
    let mut conn = tunnel(&gateway, "websocket");
    for size in [0, 1, 125, 126, 127, 128, 65_535, 65_536] {
        for first in [0x81, 0x82] {
            assert_echo(&mut conn, &frame(first, &vec![b'*'; size]));
        }
    }
    // Pings with and without payload, an unasked pong, reserved bits and opcodes, invalid UTF-8: the ends' affair.
    for bytes in [
        frame(0x89, b""),
        frame(0x89, &[0xff; 125]),
        frame(0x8a, b"unasked"),
        frame(0xf1, b"rsv"),
        frame(0x83, b"reserved"),
        frame(0x81, b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80edited"),
        frame(0x88, &1000_u16.to_be_bytes()),
        frame(0x88, &999_u16.to_be_bytes()),
    ] {
        assert_echo(&mut conn, &bytes);
    }
    // Fragments with a control frame between them, sent byte by byte.
    let fragments =
        [frame(0x01, b"frag"), frame(0x89, b"between"), frame(0x00, b"men"), frame(0x80, b"ts")].concat();
    conn.send_bytewise(&fragments);
    assert_eq!(conn.reader().raw(fragments.len()).unwrap(), fragments);
}

#[test]
fn each_end_sees_bytes_as_they_come() {
    let backend = agreeing("websocket", |wire| {
        for n in 0..3_u8 {
            wire.send([0x82, 1, n])?;
            // The next is sent only once the client has said that it got this one.
            assert_eq!(wire.reader().raw(1)?, [n]);
        }
        Ok(())
    });
    let gateway = before(&backend);
    let mut conn = tunnel(&gateway, "websocket");
    for n in 0..3_u8 {
        assert_eq!(conn.reader().raw(3).unwrap(), [0x82, 1, n]);
        conn.send([n]);
    }
    conn.assert_closed();
}

/// 16 MiB each way at once, in either kind of tunnel: nothing is lost, and neither direction waits for the other.
#[test]
fn bulk_passes_both_ways_at_once() {
    const LEN: usize = 16 << 20;
    for protocol in ["websocket", "line"] {
        let backend = agreeing(protocol, |wire| {
            let mut sender = wire.clone_stream()?;
            let sending = std::thread::spawn(move || {
                Pattern::new().write(&mut sender, LEN)?;
                sender.shutdown(Shutdown::Write)
            });
            let mut pattern = Pattern::new();
            let mut left = LEN;
            while left > 0 {
                let n = wire.reader().pending().len().min(left);
                if n == 0 {
                    assert!(wire.reader().fill()?, "{left} bytes are missing");
                    continue;
                }
                pattern.check(&wire.reader().raw(n)?);
                left -= n;
            }
            sending.join().unwrap()
        });
        let gateway = before(&backend);
        let mut conn = tunnel(&gateway, protocol);
        let mut sender = conn.stream().try_clone().unwrap();
        let sending = std::thread::spawn(move || Pattern::new().write(&mut sender, LEN));
        let mut pattern = Pattern::new();
        let mut left = LEN;
        while left > 0 {
            let n = conn.reader().pending().len().min(left);
            if n == 0 {
                assert!(conn.reader().fill().unwrap(), "{left} bytes are missing");
                continue;
            }
            pattern.check(&conn.reader().raw(n).unwrap());
            left -= n;
        }
        sending.join().unwrap().unwrap();
        conn.finish();
        conn.assert_closed();
    }
}

#[test]
fn what_was_sent_with_the_heads_is_not_lost() {
    let backend = Backend::wired(|wire| {
        wire.request_head()?;
        wire.send([switched("websocket").as_bytes(), b"early from the server"].concat())?;
        assert_eq!(wire.reader().raw(21)?, b"early from the client");
        Ok(())
    });
    let gateway = before(&backend);
    let mut conn = gateway.conn();
    conn.send([upgrade_to("websocket").as_bytes(), b"early from the client"].concat());
    conn.reader().head().unwrap().unwrap();
    assert_eq!(conn.reader().raw(21).unwrap(), b"early from the server");
    conn.assert_closed();
}

#[test]
fn either_side_may_end_first_and_still_hear_the_other() {
    for protocol in ["websocket", "line"] {
        let backend = agreeing(protocol, |wire| {
            while wire.reader().fill()? {}
            let n = wire.reader().pending().len();
            assert_eq!(wire.reader().raw(n)?, b"question");
            wire.send("answer")
        });
        let gateway = before(&backend);
        let mut conn = tunnel(&gateway, protocol);
        conn.send("question");
        conn.finish();
        assert_eq!(conn.reader().raw(6).unwrap(), b"answer");
        conn.assert_closed();

        let (told, said) = mpsc::channel();
        let told = std::sync::Mutex::new(told);
        let backend = agreeing(protocol, move |wire| {
            wire.send("first")?;
            wire.finish()?;
            while wire.reader().fill()? {}
            let n = wire.reader().pending().len();
            let _ = told.lock().unwrap().send(wire.reader().raw(n)?);
            Ok(())
        });
        let gateway = before(&backend);
        let mut conn = tunnel(&gateway, protocol);
        assert_eq!(conn.reader().raw(5).unwrap(), b"first");
        conn.assert_closed();
        conn.send("last words");
        conn.finish();
        assert_eq!(said.recv().unwrap(), b"last words");
    }
}

#[test]
fn abrupt_ends_reach_the_other_side() {
    for protocol in ["websocket", "line"] {
        let (told, said) = mpsc::channel();
        let told = std::sync::Mutex::new(told);
        let backend = agreeing(protocol, move |wire| {
            let _ = told.lock().unwrap().send(wire.closed_by_peer());
            Ok(())
        });
        let gateway = before(&backend);
        let conn = tunnel(&gateway, protocol);
        conn.reset();
        assert!(said.recv().unwrap(), "the backend hears of it");

        let backend = agreeing(protocol, |wire| {
            wire.reset();
            Ok(())
        });
        let gateway = before(&backend);
        let mut conn = tunnel(&gateway, protocol);
        conn.assert_closed();
        eventually("no tunnel left", || {
            (gateway.metrics().sum("sluice_tunnels_active", &[]) == 0.0).then_some(())
        });
    }
}

#[test]
fn a_refused_upgrade_is_an_ordinary_answer() {
    let backend = Backend::wired(|wire| {
        while let Some(request) = wire.request()? {
            let answer = if request.header("upgrade").is_some() { "426 Upgrade Required" } else { "200 OK" };
            wire.send(format!("HTTP/1.1 {answer}\r\nContent-Length: 2\r\n\r\nno"))?;
        }
        Ok(())
    });
    let gateway = before(&backend);
    let mut conn = gateway.conn();
    conn.send(upgrade_to("websocket"));
    let refused = conn.response();
    assert_eq!((refused.status, refused.text().as_str()), (426, "no"));
    assert!(!refused.has("upgrade"));
    assert_eq!(conn.get("/next").status, 200, "the connection goes on");
    // What the route does not allow is not passed on at all.
    conn.send(upgrade_to("h2c"));
    assert_eq!(conn.response().status, 200);
    assert!(!backend.last_request().has("upgrade") && !backend.last_request().has("connection"));
    let plain = Gateway::before(backend.addr());
    let mut conn = plain.conn();
    conn.send(upgrade_to("websocket"));
    assert_eq!(conn.response().status, 200, "without `upgrade` there are no tunnels");
}

#[test]
fn an_upstream_that_switches_unasked_is_refused() {
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ] {
        let backend = Backend::wired(move |wire| {
            wire.request_head()?;
            wire.send(answer)?;
            wire.closed_by_peer();
            Ok(())
        });
        let gateway = before(&backend);
        let mut conn = gateway.conn();
        conn.send(upgrade_to("websocket"));
        conn.response().assert_refusal(
            504,
            "Network error communicating with endpoint",
            "InternalServerErrorException",
        );
    }
}

#[test]
fn idle_and_old_tunnels_end_with_1001() {
    let backend = agreeing("websocket", echo);
    for lines in ["tunnel_idle_timeout_ms = 200", "tunnel_total_timeout_ms = 200"] {
        let gateway = Gateway::start(&config(&backend, lines));
        let mut conn = tunnel(&gateway, "websocket");
        assert_echo(&mut conn, &frame(0x81, b"hello"));
        assert_eq!(conn.reader().raw(4).unwrap(), [0x88, 0x02, 0x03, 0xe9], "{lines}");
        conn.send(frame(0x88, &1001_u16.to_be_bytes()));
        conn.assert_closed();
    }
    let line = agreeing("line", echo);
    for lines in ["tunnel_idle_timeout_ms = 200", "tunnel_total_timeout_ms = 200"] {
        let gateway = Gateway::start(&config(&line, lines));
        tunnel(&gateway, "line").assert_closed();
    }
}

#[test]
fn a_draining_gateway_says_1001_between_frames() {
    let backend = agreeing("websocket", |wire| {
        // Half a frame: nothing may be put into it.
        wire.send([0x82, 4, 1, 2])?;
        assert_eq!(wire.reader().raw(4)?, b"go!!");
        wire.send([3, 4])?;
        // The client's answer to the gateway's Close.
        let close = wire.reader().raw(8)?;
        assert_eq!(close[0], 0x88);
        Ok(())
    });
    let mut gateway = Gateway::builder().server("drain_timeout_ms = 20000").start(&config(&backend, ""));
    let mut conn = tunnel(&gateway, "websocket");
    assert_eq!(conn.reader().raw(4).unwrap(), [0x82, 4, 1, 2]);
    gateway.signal(Signal::TERM);
    eventually("the listener to be closed", || Conn::try_open(gateway.addr()).is_err().then_some(()));
    conn.send("go!!");
    assert_eq!(conn.reader().raw(6).unwrap(), [3, 4, 0x88, 0x02, 0x03, 0xe9]);
    conn.send(frame(0x88, &1001_u16.to_be_bytes()));
    conn.assert_closed();
    assert_eq!(gateway.wait_for_exit().code(), Some(0));
}

#[test]
fn tunnels_are_counted_and_logged_with_their_bytes() {
    let backend = agreeing("websocket", echo);
    let mut gateway = before(&backend);
    let mut conn = tunnel(&gateway, "websocket");
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("sluice_tunnels_active", &[]), 1.0);
    assert_eq!(metrics.sum("sluice_tunnels_opened_total", &[]), 1.0);
    assert_echo(&mut conn, &[7; 100_000]);
    conn.finish();
    conn.assert_closed();
    eventually("the end in the metrics", || {
        (gateway.metrics().sum("sluice_tunnels_active", &[]) == 0.0).then_some(())
    });
    gateway.signal(Signal::TERM);
    gateway.wait_for_exit();
    let line: serde_json::Value = serde_json::from_str(gateway.stdout().lines().next().unwrap()).unwrap();
    assert_eq!(line["status"], 101);
    for field in ["requestLength", "responseLength"] {
        let bytes = line[field].as_u64().unwrap();
        assert!((100_000..101_000).contains(&bytes), "{field}: {line}");
    }
}

/// A `node` process that is ended with the test.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn node(program: &Path, package: &Path, args: &[&str]) -> Child {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/websocket.mjs");
    let mut command = Command::new(program);
    command.arg("--no-warnings").arg(script).arg(package).args(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_real_client_and_server_do_not_notice() {
    const NAME: &str = "a_real_client_and_server_do_not_notice";
    let (Some(program), Some(package)) = (tool("node"), npm_package("ws")) else {
        skip!(NAME, "node or the npm package ws is not installed: cargo xtask test");
    };
    let mut server = Node(node(&program, &package, &["serve"]));
    let mut port = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let gateway = Gateway::start(&format!(
        "[routes.chat]\npath = \"/{{proxy+}}\"\nupstream = \"127.0.0.1:{}\"\nupgrade = [\"websocket\"]\n",
        port.trim()
    ));
    let mut client = Node(node(&program, &package, &["ask", &format!("ws://{}/chat", gateway.addr())]));
    let (mut said, mut complained) = (String::new(), String::new());
    client.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    client.0.stderr.take().unwrap().read_to_string(&mut complained).unwrap();
    assert_eq!(said.trim(), "ok 25", "{complained}");
}

fn secured(dir: &TempDir, leaf: &Leaf, config: &str) -> Gateway {
    let (cert, key) = leaf.write(dir.path(), "own");
    let certificate =
        format!("[certificates.own]\ncert_file = \"{}\"\nkey_file = \"{}\"\n", cert.display(), key.display());
    Gateway::builder().server("listen_tls = [\"127.0.0.1:0\"]").start(&format!("{config}{certificate}"))
}

/// TLS towards the client and towards the upstream, which is another gateway: frames, ends and the goodbye all pass.
#[test]
fn a_tunnel_passes_over_tls_on_both_sides() {
    let (ca, dir) = (Ca::new("authority"), TempDir::new());
    let leaf = ca.leaf(&["localhost"]);
    let backend = agreeing("websocket", echo);
    let inner = secured(&dir, &leaf, &config(&backend, ""));
    let route = "[routes.chat]\npath = \"/{proxy+}\"\nupstream = \"inner\"\nupgrade = [\"websocket\"]\n";
    let outer = secured(
        &dir,
        &leaf,
        &format!(
            "{route}[upstreams.inner]\ntargets = [\"https://localhost:{}\"]\ntls_ca_file = \"{}\"\n",
            inner.tls_addr().port(),
            dir.file("ca.pem", &ca.pem()).display()
        ),
    );
    for version in [&TLS12, &TLS13] {
        let config = client(&ca, &[version], None);
        let mut conn = connect(&config, outer.tls_addr(), "localhost").unwrap();
        conn.send(upgrade_to("websocket").as_bytes()).unwrap();
        let head = conn.reader().head().unwrap().unwrap();
        assert!(head.start_line.starts_with("HTTP/1.1 101 "), "{head:?}");
        for size in [0, 1, 125, 126, 65_536, 300_000] {
            let sent = frame(0x82, &vec![b'*'; size]);
            conn.send(&sent).unwrap();
            assert!(conn.reader().raw(sent.len()).unwrap() == sent, "{size}");
        }
        // The end of one half reaches the backend, whose own end comes back.
        conn.finish().unwrap();
        assert!(!conn.reader().fill().unwrap_or(false), "the end, and nothing before it");
    }
    let config = client(&ca, &[&TLS13], None);
    let mut conn = connect(&config, outer.tls_addr(), "localhost").unwrap();
    conn.send(upgrade_to("websocket").as_bytes()).unwrap();
    conn.reader().head().unwrap().unwrap();
    outer.signal(Signal::TERM);
    assert_eq!(conn.reader().raw(4).unwrap(), [0x88, 2, 0x03, 0xe9], "1001");
    eventually("the tunnels' end", || (backend.open_connections() == 0).then_some(()));
}
