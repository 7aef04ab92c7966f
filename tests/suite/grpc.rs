//! gRPC through the gateway: a real client and a real server, Python's `grpcio`, in one script.

use std::process::Command;

use sluice_harness::{Gateway, skip, tool};

/// The server writes its port and waits for the gateway's; then the client calls through the gateway.
const SCRIPT: &str = include_str!("grpc.py");

#[test]
fn unary_and_streaming_calls_pass_both_ways() {
    let name = "unary_and_streaming_calls_pass_both_ways";
    let Some(python) = tool("python3") else {
        skip!(name, "python3 is not installed");
    };
    let has_grpc = Command::new(&python).args(["-c", "import grpc"]).output().unwrap();
    if !has_grpc.status.success() {
        skip!(name, "python3 lacks grpcio (cargo xtask test installs it from PyPI)");
    }
    let mut script = Command::new(python);
    script.args(["-c", SCRIPT]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut script = script.spawn().unwrap();
    let mut output = std::io::BufReader::new(script.stdout.take().unwrap());
    let mut port = String::new();
    std::io::BufRead::read_line(&mut output, &mut port).unwrap();
    let gateway = Gateway::builder().start(&format!(
        "[upstreams.g]\ntargets = [\"127.0.0.1:{}\"]\nprotocol = \"h2\"\n[routes.g]\npath = \"/{{proxy+}}\"\nupstream = \"g\"\n",
        port.trim()
    ));
    let mut input = script.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, format!("{}\n", gateway.addr()).as_bytes()).unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut output, &mut said).unwrap();
    assert!(script.wait().unwrap().success() && said.contains("all passed"), "{said}");
}
