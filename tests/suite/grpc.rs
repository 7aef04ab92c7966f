//! gRPC through the gateway: a real client and a real server, Python's `grpcio`, in one script.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use sluice_harness::pki::Ca;
use sluice_harness::{Gateway, TempDir, python, skip};

/// The server writes its port and waits for the gateway's; then the client calls through the gateway.
const SCRIPT: &str = include_str!("grpc.py");

/// Runs the script with these files; `start` makes the gateway for the server's port, and says where to call.
fn run(python: &Path, files: &[&Path], start: impl FnOnce(&str) -> (Gateway, String)) {
    let mut script = Command::new(python);
    script.args(["-c", SCRIPT]).args(files).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut script = script.spawn().unwrap();
    let mut output = BufReader::new(script.stdout.take().unwrap());
    let mut port = String::new();
    output.read_line(&mut port).unwrap();
    let (_gateway, addr) = start(port.trim());
    script.stdin.take().unwrap().write_all(format!("{addr}\n").as_bytes()).unwrap();
    let mut said = String::new();
    output.read_to_string(&mut said).unwrap();
    assert!(script.wait().unwrap().success() && said.contains("all passed"), "{said}");
}

fn group(target: &str, keys: &str) -> String {
    format!(
        "[upstreams.g]\ntargets = [\"{target}\"]\n{keys}\n[routes.g]\npath = \"/{{proxy+}}\"\nupstream = \"g\"\n"
    )
}

#[test]
fn unary_and_streaming_calls_pass_both_ways() {
    let name = "unary_and_streaming_calls_pass_both_ways";
    let Some(python) = python("grpc") else {
        skip!(name, "python3 lacks grpcio (cargo xtask test installs it from PyPI)");
    };
    run(&python, &[], |port| {
        let gateway = Gateway::start(&group(&format!("127.0.0.1:{port}"), "protocol = \"h2\""));
        let addr = gateway.addr().to_string();
        (gateway, addr)
    });
}

/// TLS from end to end, with HTTP/2 by ALPN on both sides.
#[test]
fn calls_pass_over_tls() {
    let name = "calls_pass_over_tls";
    let Some(python) = python("grpc") else {
        skip!(name, "python3 lacks grpcio (cargo xtask test installs it from PyPI)");
    };
    let (ca, dir) = (Ca::new("authority"), TempDir::new());
    let (cert, key) = ca.leaf(&["localhost"]).write(dir.path(), "server");
    let authority = dir.file("ca.pem", &ca.pem());
    run(&python, &[&cert, &key, &authority], |port| {
        let keys = format!(
            "protocol = \"auto\"\ntls_ca_file = \"{}\"\n[certificates.own]\ncert_file = \"{}\"\nkey_file = \"{}\"",
            authority.display(),
            cert.display(),
            key.display()
        );
        let config = group(&format!("https://localhost:{port}"), &keys);
        let gateway = Gateway::builder().server("listen_tls = [\"127.0.0.1:0\"]").start(&config);
        let addr = format!("localhost:{}", gateway.tls_addr().port());
        (gateway, addr)
    });
}
