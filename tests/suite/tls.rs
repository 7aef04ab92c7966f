//! TLS towards clients: real clients, certificates by name, client certificates, resumption, hostile handshakes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use sluice_harness::pki::{Ca, Leaf, client, connect};
use sluice_harness::{Backend, Call, Gateway, PATIENCE, Reply, Sluice, TempDir, eventually, skip, tool};

const MOCK: &str = "[routes.a]\npath = \"/a\"\nmock_body = \"over tls\"\n";

/// A gateway with a TLS listener and one certificate by `ca` for `a.test`.
struct Secured {
    gateway: Gateway,
    ca: Ca,
    dir: TempDir,
}

fn secured(config: &str, server: &str) -> Secured {
    let (ca, dir) = (Ca::new("test authority"), TempDir::new());
    let config = format!("{}{config}", certificate(&dir, "main", &ca.leaf(&["a.test"])));
    let server = format!("listen_tls = [\"127.0.0.1:0\"]\n{server}");
    Secured { gateway: Gateway::builder().server(&server).start(&config), ca, dir }
}

/// Writes a certificate and says so in TOML.
fn certificate(dir: &TempDir, name: &str, leaf: &Leaf) -> String {
    let (cert, key) = leaf.write(dir.path(), name);
    format!("[certificates.{name}]\ncert_file = \"{}\"\nkey_file = \"{}\"\n", cert.display(), key.display())
}

fn log_with(gateway: &Gateway, text: &str) -> serde_json::Value {
    let line = eventually(&format!("a log line with {text:?}"), || {
        gateway.stdout().lines().find(|line| line.contains(text)).map(str::to_owned)
    });
    serde_json::from_str(&line).unwrap()
}

fn failures(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metrics().sum("sluice_tls_handshake_failures_total", &[("reason", reason)])
}

#[test]
fn curl_speaks_both_versions() {
    let Some(curl) = tool("curl") else { skip!("curl_speaks_both_versions", "no curl") };
    let backend = Backend::start(|_| Reply::ok("proxied"));
    let s = secured(&format!("{MOCK}[routes.p]\npath = \"/p\"\nupstream = \"{}\"\n", backend.addr()), "");
    let (ca, addr) = (s.dir.file("ca.pem", &s.ca.pem()), s.gateway.tls_addr());
    for (version, max) in [("--tlsv1.2", "1.2"), ("--tlsv1.3", "1.3")] {
        for (path, expected) in [("a", "over tls"), ("p", "proxied")] {
            let url = format!("https://a.test:{}/{path}?version={max}", addr.port());
            let resolve = format!("a.test:{}:{}", addr.port(), addr.ip());
            let output = Command::new(&curl)
                .args(["-sS", version, "--tls-max", max, "--resolve", &resolve, "--cacert"])
                .arg(&ca)
                .arg(&url)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(said, expected, "{}", String::from_utf8_lossy(&output.stderr));
        }
        let log = log_with(&s.gateway, &format!("version={max}"));
        let (version, cipher) = (log["tlsVersion"].as_str().unwrap(), log["cipherSuite"].as_str().unwrap());
        assert_eq!(version, format!("TLSv{max}"), "{log}");
        assert!(cipher.starts_with("TLS"), "{log}");
        assert_eq!(log.get("clientCertSubject"), None, "{log}");
    }
    let request = backend.last_request();
    assert_eq!(request.header("x-forwarded-proto"), Some("https"), "{request:?}");
}

#[test]
fn old_versions_are_refused_where_the_file_says_so() {
    let s = secured(&format!("{MOCK}[tls]\nmin_version = \"1.3\"\n"), "");
    let refused = connect(&client(&s.ca, &[&TLS12], None), s.gateway.tls_addr(), "a.test");
    assert!(refused.is_err());
    let mut conn = connect(&client(&s.ca, &[&TLS13], None), s.gateway.tls_addr(), "a.test").unwrap();
    assert_eq!(conn.call(&Call::get("/a")).text(), "over tls");
    assert_eq!(failures(&s.gateway, "incompatible"), 1.0);
}

#[test]
fn the_name_chooses_the_certificate() {
    let (ca, dir) = (Ca::new("test authority"), TempDir::new());
    let leaves = [
        ca.leaf(&["first.test"]),
        ca.leaf(&["a.example.test"]),
        ca.leaf(&["*.example.test", "example.test"]),
    ];
    let config: String = leaves
        .iter()
        .zip(["first", "exact", "wildcard"])
        .map(|(leaf, name)| certificate(&dir, name, leaf))
        .collect();
    let gateway =
        Gateway::builder().server("listen_tls = [\"127.0.0.1:0\"]").start(&format!("{config}{MOCK}"));
    let config_of = client(&ca, &[&TLS13, &TLS12], None);
    for (name, leaf) in [
        ("first.test", 0),
        ("a.example.test", 1),
        ("A.EXAMPLE.test", 1),
        ("b.example.test", 2),
        ("example.test", 2),
    ] {
        let mut conn =
            connect(&config_of, gateway.tls_addr(), name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(conn.server(), leaves[leaf].chain()[0], "{name}");
        assert_eq!(conn.call(&Call::get("/a")).text(), "over tls");
    }
    // The default certificate is shown, and the client does not take it.
    let error = connect(&config_of, gateway.tls_addr(), "other.test").err().expect("a wrong name");
    assert!(error.to_string().contains("not valid for name"), "{error}");
    eventually("the alert is counted", || (failures(&gateway, "alert") == 1.0).then_some(()));

    let strict = format!("{config}{MOCK}[tls]\nstrict_sni = true\n");
    gateway.write_config(&strict);
    assert_eq!(gateway.reload().status, 200);
    eventually("unknown names are refused", || {
        let error = connect(&config_of, gateway.tls_addr(), "other.test").err()?;
        error.to_string().contains("AccessDenied").then_some(())
    });
    assert!(failures(&gateway, "no_server_certificate") >= 1.0);
}

#[test]
fn client_certificates_are_asked_for_checked_and_logged() {
    let clients = Ca::new("clients");
    let dir = TempDir::new();
    let ca_file = dir.file("clients.pem", &clients.pem());
    let (known, stranger) = (clients.client("device-7"), Ca::new("strangers").client("device-8"));
    for (mode, anonymous) in [("optional", true), ("required", false)] {
        let tls = format!("[tls]\nclient_auth = \"{mode}\"\nclient_ca_file = \"{}\"\n", ca_file.display());
        let s = secured(&format!("{MOCK}{tls}"), "");
        let call = |version, leaf: Option<&Leaf>, path: &str| {
            connect(&client(&s.ca, &[version], leaf), s.gateway.tls_addr(), "a.test")
                .and_then(|mut conn| conn.try_call(&Call::get(path)))
        };
        for version in [&TLS12, &TLS13] {
            assert_eq!(call(version, Some(&known), "/a?known").unwrap().status, 200, "{mode}");
            assert!(call(version, Some(&stranger), "/a?stranger").is_err(), "{mode}");
            assert_eq!(call(version, None, "/a?nobody").is_ok(), anonymous, "{mode}");
        }
        assert_eq!(log_with(&s.gateway, "known")["clientCertSubject"], "CN=device-7");
        assert_eq!(failures(&s.gateway, "bad_certificate"), 2.0);
        assert_eq!(failures(&s.gateway, "no_certificate"), if anonymous { 0.0 } else { 2.0 });
    }
}

#[test]
fn a_new_certificate_takes_over_without_a_dropped_connection() {
    let s = secured(MOCK, "cores = 2");
    let addr = s.gateway.tls_addr();
    let config = client(&s.ca, &[&TLS13], None);
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4)
        .map(|n| {
            let (config, stop, answered) = (Arc::clone(&config), Arc::clone(&stop), Arc::clone(&answered));
            thread::spawn(move || {
                // Half of them keep their connection, half make one for each request.
                let mut conn = connect(&config, addr, "a.test").unwrap();
                while !stop.load(Ordering::Relaxed) {
                    if n % 2 == 0 {
                        conn = connect(&config, addr, "a.test").unwrap();
                    }
                    assert_eq!(conn.call(&Call::get("/a")).text(), "over tls");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut kept = connect(&config, addr, "a.test").unwrap();
    for round in 0..3 {
        let before = answered.load(Ordering::Relaxed);
        eventually("load on every round", || (answered.load(Ordering::Relaxed) > before + 50).then_some(()));
        let leaf = s.ca.leaf(&["a.test"]);
        leaf.write(s.dir.path(), "main");
        assert_eq!(s.gateway.reload().status, 200, "round {round}");
        // A configuration of its own: a resumed session would show the certificate of its first handshake.
        eventually("the new certificate from every core", || {
            let fresh = || connect(&client(&s.ca, &[&TLS13], None), addr, "a.test").unwrap().server();
            (0..8).all(|_| fresh() == leaf.chain()[0]).then_some(())
        });
        assert_eq!(kept.call(&Call::get("/a")).text(), "over tls", "the connection from before");
    }
    stop.store(true, Ordering::Relaxed);
    for thread in load {
        thread.join().expect("no request failed");
    }
}

#[test]
fn a_bad_certificate_file_changes_nothing_and_says_where() {
    let s = secured(MOCK, "");
    let addr = s.gateway.tls_addr();
    let good = s.ca.leaf(&["a.test"]);
    let other = s.ca.leaf(&["a.test"]);
    let (cert, key) = (s.dir.path().join("main.crt"), s.dir.path().join("main.key"));
    for (text_cert, text_key, place, message) in [
        ("rubbish", good.key.as_str(), "gateway.toml:2:", "expected certificates in PEM, found none"),
        (good.cert.as_str(), "rubbish", "gateway.toml:3:", "expected a private key in PEM"),
        (good.cert.as_str(), other.key.as_str(), "gateway.toml:3:", "does not serve this certificate"),
    ] {
        std::fs::write(&cert, text_cert).unwrap();
        std::fs::write(&key, text_key).unwrap();
        let response = s.gateway.reload();
        assert_eq!(response.status, 422, "{response:?}");
        let said = response.json()["errors"].to_string();
        assert!(said.contains(place) && said.contains(message), "{said}");
        let output = Sluice::output(&["validate", &s.gateway.config_path().display().to_string()]);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
    }
    std::fs::remove_file(&cert).unwrap();
    assert!(s.gateway.reload().json()["errors"].to_string().contains("can't read"));
    let mut conn = connect(&client(&s.ca, &[&TLS13], None), addr, "a.test").unwrap();
    assert_eq!(conn.call(&Call::get("/a")).text(), "over tls");
}

#[test]
fn sessions_resume_on_whichever_core() {
    for version in [&TLS12, &TLS13] {
        let s = secured(MOCK, "cores = 2");
        let config = client(&s.ca, &[version], None);
        let mut kinds = Vec::new();
        for _ in 0..12 {
            let mut conn = connect(&config, s.gateway.tls_addr(), "a.test").unwrap();
            assert_eq!(conn.call(&Call::get("/a")).text(), "over tls");
            kinds.push(conn.session().handshake_kind().unwrap());
        }
        // The first is full. The kernel spreads the others over both cores.
        assert!(kinds[1..].iter().all(|kind| *kind == HandshakeKind::Resumed), "{kinds:?}");
        let metrics = s.gateway.metrics();
        assert_eq!(metrics.sum("sluice_tls_handshakes_total", &[("kind", "resumed")]), 11.0);
        // Tickets outlive a reload.
        assert_eq!(s.gateway.reload().status, 200);
        let mut conn = connect(&config, s.gateway.tls_addr(), "a.test").unwrap();
        assert_eq!(conn.session().handshake_kind(), Some(HandshakeKind::Resumed));
    }
    let s = secured(&format!("{MOCK}[tls]\nsession_tickets = false\n"), "");
    let config = client(&s.ca, &[&TLS13], None);
    for _ in 0..3 {
        let mut conn = connect(&config, s.gateway.tls_addr(), "a.test").unwrap();
        assert_eq!(conn.call(&Call::get("/a")).text(), "over tls");
        assert_ne!(conn.session().handshake_kind(), Some(HandshakeKind::Resumed));
    }
}

#[test]
fn key_exchange_is_post_quantum_where_the_client_can() {
    let s = secured(MOCK, "");
    let mut conn = connect(&client(&s.ca, &[&TLS13], None), s.gateway.tls_addr(), "a.test").unwrap();
    let group = conn.session().negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
}

fn plain_conn(s: &Secured) -> TcpStream {
    let stream = TcpStream::connect(s.gateway.tls_addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn read_to_end(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

#[test]
fn garbage_is_answered_with_an_alert_and_counted() {
    let s = secured(&format!("{MOCK}[tls]\nhandshake_timeout_ms = 1000\n"), "");
    let hello_of_nonsense = [&[22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3][..], &[0x5a; 192]].concat();
    let oversized = [&[22, 3, 1, 0xff, 0xff][..], &[0; 1000]].concat();
    let cases: [&[u8]; 4] =
        [b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", &[0; 64], &hello_of_nonsense, &oversized];
    for (at, bytes) in cases.into_iter().enumerate() {
        let mut stream = plain_conn(&s);
        stream.write_all(bytes).unwrap();
        let answer = read_to_end(&stream);
        assert!(answer.is_empty() || answer[0] == 21, "case {at}: an alert or nothing, got {answer:?}");
    }
    let all = || s.gateway.metrics().sum("sluice_tls_handshake_failures_total", &[]);
    eventually("each is counted", || (all() == 4.0).then_some(()));
    assert!(
        failures(&s.gateway, "malformed") >= 2.0,
        "{:?}",
        s.gateway.admin_call(Call::get("/metrics")).text()
    );
    drop(plain_conn(&s));
    eventually("a closed connection is counted", || (failures(&s.gateway, "closed") == 1.0).then_some(()));
    let mut conn = connect(&client(&s.ca, &[&TLS13], None), s.gateway.tls_addr(), "a.test").unwrap();
    assert_eq!(conn.call(&Call::get("/a")).text(), "over tls");
    assert_eq!(s.gateway.metrics().sum("sluice_connections_active", &[]), 1.0);
}

#[test]
fn handshakes_are_bounded_in_time_and_number() {
    let s = secured(&format!("{MOCK}[tls]\nhandshake_timeout_ms = 300\nmax_handshakes = 2\n"), "");
    let mut slow = plain_conn(&s);
    slow.write_all(&[22, 3, 1, 0, 200, 1]).unwrap();
    assert!(read_to_end(&slow).is_empty(), "nothing to say to a silent client");
    eventually("the timeout is counted", || (failures(&s.gateway, "timeout") == 1.0).then_some(()));

    let s = secured(&format!("{MOCK}[tls]\nmax_handshakes = 2\n"), "");
    let silent = [plain_conn(&s), plain_conn(&s)];
    let third = plain_conn(&s);
    assert!(read_to_end(&third).is_empty());
    assert_eq!(failures(&s.gateway, "too_many"), 1.0);
    drop(silent);
    eventually("there is room again", || {
        connect(&client(&s.ca, &[&TLS13], None), s.gateway.tls_addr(), "a.test").ok().map(drop)
    });
}

#[test]
fn large_bodies_cross_both_ways() {
    const BYTES: usize = 100 << 20;
    let backend = Backend::start(|request| Reply::ok(request.body.clone()));
    let config = format!("[routes.all]\npath = \"/{{proxy+}}\"\nupstream = \"{}\"\n", backend.addr());
    let s = secured(&config, "body_max_bytes = 0");
    let body: Vec<u8> = (0..BYTES / 4).flat_map(|n| (n as u32).to_le_bytes()).collect();
    let mut conn = connect(&client(&s.ca, &[&TLS13], None), s.gateway.tls_addr(), "a.test").unwrap();
    let (call, addr) = (Call::post("/big", body.clone()), s.gateway.tls_addr());
    let response = conn.call(&call);
    assert_eq!(response.status, 200);
    assert!(response.body == body, "{} bytes came back", response.body.len());
    assert!(s.gateway.peak_rss_bytes() < 64 << 20, "bounded: {} bytes", s.gateway.peak_rss_bytes());
    // The same connection goes on.
    assert_eq!(conn.call(&Call::get("/small")).status, 200);
    assert_eq!(s.gateway.tls_addr(), addr);
}

#[test]
fn a_staple_is_shown() {
    let Some(openssl) = tool("openssl") else { skip!("a_staple_is_shown", "no openssl") };
    let (ca, dir) = (Ca::new("test authority"), TempDir::new());
    // OCSPResponse { tryLater (3) }: the smallest one there is (RFC 6960 4.2.1).
    std::fs::write(dir.path().join("ocsp.der"), [0x30, 3, 0x0a, 1, 3]).unwrap();
    let config = format!(
        "{}ocsp_file = \"{}\"\n{MOCK}",
        certificate(&dir, "main", &ca.leaf(&["a.test"])),
        dir.path().join("ocsp.der").display()
    );
    let gateway = Gateway::builder().server("listen_tls = [\"127.0.0.1:0\"]").start(&config);
    for version in ["-tls1_2", "-tls1_3"] {
        let output = Command::new(&openssl)
            .args(["s_client", "-status", version, "-servername", "a.test", "-connect"])
            .arg(gateway.tls_addr().to_string())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("trylater"), "{version}: {said}");
    }
}
