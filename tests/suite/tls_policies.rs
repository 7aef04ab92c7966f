//! Rules for client certificates that differ from host to host on one listener.

use std::path::Path;

use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use serde_json::json;
use sluice_harness::h2::H2;
use sluice_harness::pki::{Ca, Leaf, TlsConn, client, connect};
use sluice_harness::{Call, Gateway, TempDir};

const MOCK: &str = "[routes.a]\npath = \"/a\"\nmock_body = \"in\"\n";

struct World {
    gateway: Gateway,
    server: Ca,
    partners: Ca,
    devices: Ca,
    dir: TempDir,
}

fn entry(dir: &Path, ca: &Ca, name: &str, host: &str, more: &str) -> String {
    let (cert, key) = ca.leaf(&[host]).write(dir, name);
    let (cert, key) = (cert.display(), key.display());
    format!("[certificates.{name}]\ncert_file = \"{cert}\"\nkey_file = \"{key}\"\n{more}")
}

/// `open.test` asks for nothing, `partner.test` and `*.device.test` each for a certificate of their own authority.
fn world() -> World {
    let (server, partners, devices) = (Ca::new("server"), Ca::new("partners"), Ca::new("devices"));
    let dir = TempDir::new();
    let required = |file: &str, ca: &Ca| {
        let file = dir.file(file, &ca.pem());
        format!("client_auth = \"required\"\nclient_ca_file = \"{}\"\n", file.display())
    };
    let (partner, device) = (required("partners.pem", &partners), required("devices.pem", &devices));
    let config = [
        entry(dir.path(), &server, "open", "open.test", ""),
        entry(dir.path(), &server, "partner", "partner.test", &partner),
        entry(dir.path(), &server, "device", "*.device.test", &device),
    ]
    .concat();
    let builder = Gateway::builder().server("listen_tls = [\"127.0.0.1:0\"]\ncores = 2");
    World { gateway: builder.start(&format!("{config}{MOCK}")), server, partners, devices, dir }
}

impl World {
    fn call(&self, sni: &str, host: &str, leaf: Option<&Leaf>) -> Result<u16, String> {
        let mut conn = self.connect(sni, leaf).map_err(|error| error.to_string())?;
        let response = conn.try_call(&Call::get("/a").host(host));
        response.map(|response| response.status).map_err(|error| error.to_string())
    }

    fn connect(&self, sni: &str, leaf: Option<&Leaf>) -> std::io::Result<TlsConn> {
        connect(&client(&self.server, &[&TLS13, &TLS12], leaf), self.gateway.tls_addr(), sni)
    }
}

#[test]
fn each_host_asks_for_certificates_of_its_own() {
    let w = world();
    let (partner, device) = (w.partners.client("partner-1"), w.devices.client("device-1"));
    assert_eq!(w.call("open.test", "open.test", None), Ok(200));
    assert_eq!(w.call("OPEN.test", "open.test:8443", None), Ok(200));
    assert_eq!(w.call("partner.test", "partner.test", Some(&partner)), Ok(200));
    assert_eq!(w.call("x.device.test", "x.device.test", Some(&device)), Ok(200));
    for (sni, leaf) in [
        ("partner.test", None),
        ("partner.test", Some(&device)),
        ("x.device.test", None),
        ("x.device.test", Some(&partner)),
    ] {
        let error = w.call(sni, sni, leaf).expect_err(sni);
        assert!(
            error.contains("ertificate") || error.contains("UnknownCA") || error.contains("reset"),
            "{error}"
        );
    }
}

/// Who may reach one host must not reach another through it.
#[test]
fn a_connection_for_one_host_does_not_serve_another_with_other_rules() {
    let w = world();
    let partner = w.partners.client("partner-1");
    for (sni, host, leaf) in [
        ("open.test", "partner.test", None),
        ("open.test", "PARTNER.test:443", None),
        ("open.test", "partner.test.", None),
        ("open.test", "y.device.test", None),
        ("partner.test", "x.device.test", Some(&partner)),
        ("partner.test", "open.test", Some(&partner)),
    ] {
        assert_eq!(w.call(sni, host, leaf), Ok(421), "{sni} -> {host}");
    }
    // The rules count, not the name.
    assert_eq!(w.call("open.test", "other.test", None), Ok(200));
    let refused = w.gateway.metrics().sum("sluice_refusals_total", &[("reason", "misdirected")]);
    assert_eq!(refused, 6.0);
    // In HTTP/2 too: an absolute target names the host in place of `Host`.
    let mut conn = w.connect("open.test", None).unwrap();
    assert_eq!(conn.call(&Call::get("http://partner.test/a").host("open.test")).status, 421);
    assert_eq!(conn.call(&Call::get("/a").host("open.test")).status, 200, "the connection goes on");
}

/// As with API Gateway's domain names that have mutual TLS: there is no way to them without a certificate.
#[test]
fn hosts_that_require_certificates_are_not_served_in_clear_text() {
    let w = world();
    for (target, host) in [
        ("/a", "partner.test"),
        ("/a", "PARTNER.test:80"),
        ("/a", "partner.test."),
        ("/a", "y.device.test"),
        ("/nowhere", "partner.test"),
        ("http://partner.test/a", "open.test"),
    ] {
        let refused = w.gateway.call(&Call::get(target).host(host));
        let found = (refused.status, refused.header("x-amzn-errortype"), refused.json());
        assert_eq!(found, (403, Some("ForbiddenException"), json!({ "message": "Forbidden" })), "{host}");
    }
    let mut h2 = H2::open(w.gateway.addr());
    for (host, status) in [("partner.test", "403"), ("x.device.test:80", "403"), ("open.test", "200")] {
        let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/a"), (":authority", host)];
        let stream = h2.request(&fields, true);
        assert_eq!(h2.answer(stream).status(), status, "{host}");
    }
    for host in ["open.test", "other.test", "127.0.0.1"] {
        assert_eq!(w.gateway.call(&Call::get("/a").host(host)).status, 200, "{host}");
    }
    let refused = w.gateway.metrics().sum("sluice_refusals_total", &[("reason", "certificate_missing")]);
    assert_eq!(refused, 8.0);
}

/// A rule holds for connections that are older, too, and for sessions that are resumed.
#[test]
fn what_all_hosts_require_nobody_goes_without() {
    let (server, clients, dir) = (Ca::new("server"), Ca::new("clients"), TempDir::new());
    let ca_file = dir.file("clients.pem", &clients.pem());
    let config = |mode: &str| {
        let rule = format!("[tls]\nclient_auth = \"{mode}\"\nclient_ca_file = \"{}\"\n", ca_file.display());
        rule + &entry(dir.path(), &server, "a", "a.test", "") + MOCK
    };
    let gateway = Gateway::builder().server("listen_tls = [\"127.0.0.1:0\"]").start(&config("optional"));
    let anonymous = client(&server, &[&TLS13], None);
    let mut nobody = connect(&anonymous, gateway.tls_addr(), "a.test").unwrap();
    let known = clients.client("device-7");
    let mut device =
        connect(&client(&server, &[&TLS13], Some(&known)), gateway.tls_addr(), "a.test").unwrap();
    let call = Call::get("/a").host("a.test");
    for status in [nobody.call(&call).status, device.call(&call).status, gateway.call(&call).status] {
        assert_eq!(status, 200, "optional");
    }
    let text = std::fs::read_to_string(gateway.config_path()).unwrap();
    let required = text.replacen("client_auth = \"optional\"", "client_auth = \"required\"", 1);
    std::fs::write(gateway.config_path(), required).unwrap();
    assert_eq!(gateway.reload().status, 200);
    assert_eq!(nobody.call(&call).status, 421, "older than the rule, and without a certificate");
    assert_eq!(device.call(&call).status, 200, "older than the rule, and with one");
    for host in ["a.test", "other.test", "127.0.0.1"] {
        assert_eq!(gateway.call(&Call::get("/a").host(host)).status, 403, "{host} in clear text");
    }
    for version in [&TLS12, &TLS13] {
        let config = client(&server, &[version], Some(&known));
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut conn = connect(&config, gateway.tls_addr(), "a.test").unwrap();
            assert_eq!(conn.call(&call).status, 200, "{version:?} {kind:?}");
            assert_eq!(conn.session().handshake_kind(), Some(kind), "{version:?}");
        }
    }
}

#[test]
fn a_session_of_one_host_is_not_resumed_at_another() {
    let w = world();
    let config = client(&w.server, &[&TLS12], None);
    let mut conn = connect(&config, w.gateway.tls_addr(), "open.test").unwrap();
    assert_eq!(conn.call(&Call::get("/a").host("open.test")).status, 200);
    assert!(connect(&config, w.gateway.tls_addr(), "partner.test").is_err());
    let config = client(&w.server, &[&TLS13], None);
    let mut conn = connect(&config, w.gateway.tls_addr(), "open.test").unwrap();
    assert_eq!(conn.call(&Call::get("/a").host("open.test")).status, 200);
    let strange = connect(&config, w.gateway.tls_addr(), "partner.test")
        .and_then(|mut conn| conn.try_call(&Call::get("/a")));
    assert!(strange.is_err());
}

#[test]
fn a_reload_changes_the_rules_and_faults_have_their_place() {
    let w = world();
    let text = std::fs::read_to_string(w.gateway.config_path()).unwrap();
    let opened = text.replacen("client_auth = \"required\"", "client_auth = \"optional\"", 1);
    std::fs::write(w.gateway.config_path(), opened).unwrap();
    assert_eq!(w.gateway.reload().status, 200);
    assert_eq!(w.call("partner.test", "partner.test", None), Ok(200));
    assert_eq!(w.call("open.test", "partner.test", None), Ok(421), "still other rules");
    std::fs::write(w.gateway.config_path(), text.replace("devices.pem", "missing.pem")).unwrap();
    let said = w.gateway.reload().json()["errors"].to_string();
    assert!(said.contains("missing.pem") && said.contains("gateway.toml:"), "{said}");
    let without =
        text.lines().filter(|line| !line.starts_with("client_ca_file")).collect::<Vec<_>>().join("\n");
    std::fs::write(w.gateway.config_path(), without).unwrap();
    let said = w.gateway.reload().json()["errors"].to_string();
    assert!(said.contains("`client_auth` needs `client_ca_file`"), "{said}");
    assert_eq!(w.call("partner.test", "partner.test", None), Ok(200), "as before");
    drop(w.dir);
}
