//! TLS towards upstreams: verification, names, client certificates.

use serde_json::json;
use sluice_harness::pki::{Ca, TlsBackend};
use sluice_harness::rest::{RestApi, http_proxy};
use sluice_harness::{Backend, Call, Gateway, Reply, TempDir, eventually};

/// A group of one target, `url`, with these keys.
fn group(url: &str, keys: &str) -> String {
    format!(
        "[upstreams.secure]\ntargets = [\"{url}\"]\nretries = 0\n{keys}\n[routes.all]\npath = \"/{{proxy+}}\"\nupstream = \"secure\"\n"
    )
}

fn ca_key(dir: &TempDir, ca: &Ca) -> String {
    format!("tls_ca_file = \"{}\"\n", dir.file("ca.pem", &ca.pem()).display())
}

#[test]
fn a_trusted_upstream_is_asked_over_kept_connections() {
    let (ca, dir) = (Ca::new("authority"), TempDir::new());
    let body: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let backend = TlsBackend::start(&ca.leaf(&["localhost"]), None, body.clone());
    let url = format!("https://localhost:{}", backend.addr().port());
    let gateway = Gateway::start(&group(&url, &ca_key(&dir, &ca)));
    for size in [0, 1, 200_000, 3_000_000] {
        let response = gateway.call(&Call::post("/x", vec![b'u'; size]));
        assert_eq!(response.status, 200);
        assert_eq!(response.header("x-received"), Some(size.to_string().as_str()));
        assert!(response.body == body);
    }
    assert_eq!(backend.seen(), [(Some("localhost".to_owned()), false)], "one connection, with SNI");
    // It outlives a reload.
    assert_eq!(gateway.reload().status, 200);
    assert_eq!(gateway.get("/x").status, 200);
    assert_eq!(backend.seen().len(), 1);
}

#[test]
fn who_cannot_be_verified_is_not_asked() {
    let (ca, dir) = (Ca::new("authority"), TempDir::new());
    let stranger = TlsBackend::start(&Ca::new("strangers").leaf(&["localhost"]), None, Vec::new());
    let misnamed = TlsBackend::start(&ca.leaf(&["other.test"]), None, Vec::new());
    let plain = Backend::start(|_| Reply::ok("in the clear"));
    for port in [stranger.addr().port(), misnamed.addr().port()] {
        let gateway = Gateway::start(&group(&format!("https://localhost:{port}"), &ca_key(&dir, &ca)));
        let response = gateway.get("/x");
        response.assert_refusal(
            504,
            "Network error communicating with endpoint",
            "InternalServerErrorException",
        );
        eventually("the reason in the log", || {
            gateway.stdout().contains("\"error\":\"upstream_tls\"").then_some(())
        });
        let metrics = gateway.metrics();
        assert_eq!(metrics.sum("sluice_refusals_total", &[("reason", "upstream_tls")]), 1.0);
        assert_eq!(metrics.sum("sluice_upstream_connect_failures_total", &[("upstream", "secure")]), 1.0);
    }
    assert!(stranger.seen().is_empty() && misnamed.seen().is_empty());
    // A server that does not speak TLS at all.
    let gateway =
        Gateway::start(&group(&format!("https://localhost:{}", plain.addr().port()), &ca_key(&dir, &ca)));
    assert_eq!(gateway.get("/x").status, 504);
    assert_eq!(plain.hits(), 0, "no request leaves in the clear");
}

#[test]
fn a_name_of_its_own_is_asked_for_and_verified() {
    let (ca, dir) = (Ca::new("authority"), TempDir::new());
    let backend = TlsBackend::start(&ca.leaf(&["inner.test"]), None, b"named".to_vec());
    let keys = format!("tls = true\ntls_server_name = \"inner.test\"\n{}", ca_key(&dir, &ca));
    let gateway = Gateway::start(&group(&backend.addr().to_string(), &keys));
    assert_eq!(gateway.get("/x").text(), "named");
    assert_eq!(backend.seen(), [(Some("inner.test".to_owned()), false)]);
}

#[test]
fn our_certificate_is_shown() {
    let (ca, clients, dir) = (Ca::new("authority"), Ca::new("clients"), TempDir::new());
    let backend = TlsBackend::start(&ca.leaf(&["localhost"]), Some(&clients), b"known".to_vec());
    let url = format!("https://localhost:{}", backend.addr().port());
    let (cert, key) = clients.client("gateway").write(dir.path(), "own");
    let own = format!("tls_cert_file = \"{}\"\ntls_key_file = \"{}\"\n", cert.display(), key.display());
    let gateway = Gateway::start(&group(&url, &format!("{}{own}", ca_key(&dir, &ca))));
    assert_eq!(gateway.get("/x").text(), "known");
    assert_eq!(backend.seen(), [(Some("localhost".to_owned()), true)]);
    // Without one the server refuses.
    let gateway = Gateway::start(&group(&url, &ca_key(&dir, &ca)));
    assert_eq!(gateway.get("/x").status, 504);
}

#[test]
fn a_route_may_name_an_https_address() {
    let gateway = Gateway::start("[routes.a]\npath = \"/\"\nupstream = \"https://127.0.0.1:1\"\n");
    assert_eq!(gateway.get("/").status, 504);
}

/// `insecureSkipVerification` of a REST API's integration: who signed a certificate no longer matters, whose it is still does.
#[test]
fn an_integration_may_trust_unknown_issuers_but_not_other_names() {
    let strangers = Ca::new("strangers");
    let stranger = TlsBackend::start(&strangers.leaf(&["localhost"]), None, b"made".to_vec());
    let misnamed = TlsBackend::start(&strangers.leaf(&["other.test"]), None, Vec::new());
    let integration = |port: u16, skips: bool| {
        let mut integration = http_proxy(&format!("https://localhost:{port}/"));
        integration["tlsConfig"] = json!({ "insecureSkipVerification": skips });
        integration
    };
    let (stranger_port, misnamed_port) = (stranger.addr().port(), misnamed.addr().port());
    let api = RestApi::new("a")
        .method("GET", "/verified", integration(stranger_port, false))
        .method("GET", "/any", integration(stranger_port, true))
        .method("GET", "/misnamed", integration(misnamed_port, true));
    let gateway = Gateway::start("");
    gateway.serve_rest(&[api.deploy("s")]);
    let any = gateway.rest("a", "s", "/any");
    assert_eq!((any.status, any.text().as_str()), (200, "made"));
    for path in ["/verified", "/misnamed"] {
        gateway.rest("a", "s", path).assert_refusal(
            504,
            "Network error communicating with endpoint",
            "InternalServerErrorException",
        );
    }
    assert!(misnamed.seen().is_empty());
}
