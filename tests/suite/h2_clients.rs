//! HTTP/2 by clients that are not ours: curl and h2load.

use std::process::Command;

use sluice_harness::{Backend, Gateway, Reply, skip, tool};

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
