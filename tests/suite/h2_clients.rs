//! HTTP/2 by clients that are not ours: curl, nghttp, h2load, and a browser.

use std::process::Command;

use sluice_harness::pki::Ca;
use sluice_harness::{Backend, Gateway, Reply, TempDir, eventually, skip, tool};

fn gateway(backend: &Backend) -> Gateway {
    Gateway::builder().start(&format!(
        "[routes.m]\npath = \"/m\"\nmock_body = \"a mock\"\n[routes.p]\npath = \"/p\"\nupstream = \"{}\"\n",
        backend.addr()
    ))
}

#[test]
fn curl_speaks_http2() {
    let Some(curl) = tool("curl") else {
        skip!("curl_speaks_http2", "curl is not installed");
    };
    let features = Command::new(&curl).arg("--version").output().unwrap();
    if !String::from_utf8_lossy(&features.stdout).contains("HTTP2") {
        skip!("curl_speaks_http2", "this curl has no HTTP/2");
    }
    let backend = Backend::start(|request| Reply::ok(request.body.clone()));
    let gateway = gateway(&backend);
    let run = |args: &[&str], path: &str| {
        let mut command = Command::new(&curl);
        command.args(["-sS", "--max-time", "20", "-w", " HTTP/%{http_version} %{http_code}"]).args(args);
        let output = command.arg(format!("http://{}{path}", gateway.addr())).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run(&["--http2-prior-knowledge"], "/m"), "a mock HTTP/2 200");
    assert_eq!(run(&["--http2-prior-knowledge", "-d", "a body"], "/p"), "a body HTTP/2 200");
    // The upgrade from HTTP/1.1 is obsolete (RFC 9113 section 3.1): the offer is passed over.
    assert_eq!(run(&["--http2"], "/m"), "a mock HTTP/1.1 200");
}

#[test]
fn h2load_is_served() {
    let Some(h2load) = tool("h2load") else {
        skip!("h2load_is_served", "h2load is not installed (Debian: nghttp2-client)");
    };
    let backend = Backend::start(|_| Reply::ok("from behind"));
    let gateway = gateway(&backend);
    for path in ["/m", "/p"] {
        let url = format!("http://{}{path}", gateway.addr());
        let output = Command::new(&h2load).args(["-n2000", "-c4", "-m16", &url]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("2000 succeeded, 0 failed, 0 errored"), "{path}: {text}");
        assert!(text.contains("status codes: 2000 2xx"), "{path}: {text}");
    }
}

/// A gateway that speaks TLS as `a.test`, and its authority's file.
fn secured(config: &str) -> (Gateway, TempDir) {
    secured_with("", config)
}

fn secured_with(server: &str, config: &str) -> (Gateway, TempDir) {
    let (ca, dir) = (Ca::new("authority"), TempDir::new());
    let (cert, key) = ca.leaf(&["a.test"]).write(dir.path(), "own");
    dir.file("ca.pem", &ca.pem());
    let config = format!(
        "{config}[certificates.own]\ncert_file = \"{}\"\nkey_file = \"{}\"\n",
        cert.display(),
        key.display()
    );
    let server = format!("listen_tls = [\"127.0.0.1:0\"]\n{server}");
    (Gateway::builder().server(&server).start(&config), dir)
}

const MOCK: &str = "[routes.m]\npath = \"/m\"\nmock_body = \"a mock\"\n";

#[test]
fn curl_chooses_http2_by_alpn() {
    let Some(curl) = tool("curl") else {
        skip!("curl_chooses_http2_by_alpn", "curl is not installed");
    };
    let backend = Backend::start(|request| Reply::ok(request.body.clone()));
    let upstream = format!("[routes.p]\npath = \"/p\"\nupstream = \"{}\"\n", backend.addr());
    let (gateway, dir) = secured(&format!("{MOCK}{upstream}"));
    let addr = gateway.tls_addr();
    let run = |args: &[&str], path: &str| {
        let mut command = Command::new(&curl);
        command.args(["-sS", "--max-time", "20", "-w", " HTTP/%{http_version} %{http_code}", "--cacert"]);
        command.arg(dir.path().join("ca.pem")).args(args);
        command.args(["--resolve", &format!("a.test:{}:{}", addr.port(), addr.ip())]);
        let output = command.arg(format!("https://a.test:{}{path}", addr.port())).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run(&["--http2"], "/m"), "a mock HTTP/2 200");
    assert_eq!(run(&["--http2", "-d", "a body"], "/p"), "a body HTTP/2 200");
    assert_eq!(run(&["--http1.1"], "/m"), "a mock HTTP/1.1 200");
    let many = run(&["--http2", "--parallel", "--parallel-max", "20"], "/m?n=[1-100]");
    assert_eq!(many.matches("HTTP/2 200").count(), 100, "{many}");
}

#[test]
fn nghttp_and_h2load_speak_over_tls() {
    let name = "nghttp_and_h2load_speak_over_tls";
    let (Some(nghttp), Some(h2load)) = (tool("nghttp"), tool("h2load")) else {
        skip!(name, "nghttp or h2load is not installed (Debian: nghttp2-client)");
    };
    // What it puts in CONTINUATION frames is large.
    let (gateway, _dir) = secured_with("header_max_bytes = 65536", MOCK);
    let url = format!("https://{}/m", gateway.tls_addr());
    // With padding, and each request in CONTINUATION frames.
    let output = Command::new(nghttp)
        .args(["-v", "--no-verify-peer", "--padding=100", "--continuation", &url])
        .output();
    let said = String::from_utf8_lossy(&output.unwrap().stdout).into_owned();
    assert!(said.contains("The negotiated protocol: h2") && said.contains("a mock"), "{said}");
    assert!(!said.contains("RST_STREAM"), "{said}");
    let output = Command::new(h2load).args(["-n2000", "-c4", "-m16", &url]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("2000 succeeded, 0 failed") && said.contains("Application protocol: h2"), "{said}");
}

/// A page, its script, and what the script fetches: all over one connection of HTTP/2.
#[test]
fn a_browser_fetches_a_page() {
    let Some(chromium) = tool("chromium") else {
        skip!("a_browser_fetches_a_page", "chromium is not installed (Debian: chromium)");
    };
    let page = "<html><body><p id=p>before</p><script src='/app.js'></script></body></html>";
    let script = "var r = new XMLHttpRequest(); r.open('POST', '/echo', false); r.send('by script');\
                  document.getElementById('p').textContent = r.responseText;";
    let backend = Backend::start(move |request| match request.target.as_str() {
        "/" => Reply::ok(page).header("Content-Type", "text/html"),
        "/app.js" => Reply::ok(script).header("Content-Type", "text/javascript"),
        "/echo" => Reply::ok(request.body.clone()),
        _ => Reply::status(404, ""),
    });
    let (gateway, dir) = secured(&sluice_harness::gateway::proxy_all(backend.addr()));
    let mut command = Command::new(chromium);
    // Root has no sandbox, and the page is ours.
    command.args([
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--ignore-certificate-errors",
    ]);
    command.args(["--disable-background-networking", "--host-resolver-rules=MAP * 127.0.0.1", "--dump-dom"]);
    command.arg(format!("--user-data-dir={}", dir.path().join("profile").display()));
    let output = command.arg(format!("https://a.test:{}/", gateway.tls_addr().port())).output().unwrap();
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(dom.contains("<p id=\"p\">by script</p>"), "{dom}{}", String::from_utf8_lossy(&output.stderr));
    let line = |path: &str| {
        let path = format!("\"path\":\"{path}\"");
        gateway.stdout().lines().find(|line| line.contains(&path)).map(str::to_owned)
    };
    for path in ["/", "/app.js", "/echo"] {
        let line = eventually("the log", || line(path));
        assert!(line.contains("\"protocol\":\"HTTP/2.0\"") && line.contains("\"status\":200"), "{line}");
    }
    assert_eq!(gateway.metrics().sum("sluice_http2_connections_total", &[]), 1.0);
}
