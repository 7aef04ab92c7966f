//! What an invocation adds to the handler's own time: `cargo run --release -p sluice-functions --example overhead`.
//!
//! Each function does nothing, in a warm instance, and is called over and over. Its runtime notes how long it has an event: from the
//! read that brings the event to the write that begins the answer. The round trip is that of `Host::invoke`; what is left of it is
//! the host's, the kernel's for four messages on the loopback interface, and the two switches between processes.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "an example")]

use sluice_functions::{Body, Config, Host, Invocation, Runtime, Settings};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

const WARM_UP: usize = 1_000;
const CALLS: usize = 5_000;
const REPORT: &str = "\"report\"";

/// The bootstrap's own connection is watched.
const NODE: &str = r"
const net = require('node:net')
const { connect } = net
const own = []
let began
net.connect = (...given) => {
  const socket = connect(...given)
  const { uncork } = socket
  socket.prependListener('data', () => { began = process.hrtime.bigint() })
  socket.uncork = () => {
    if (began !== undefined) own.push(Number(process.hrtime.bigint() - began))
    began = undefined
    uncork.call(socket)
  }
  return socket
}
exports.handler = async (event) => event === 'report' ? own : null
";

const PYTHON: &str = r#"
import socket
import time

own = []
began = None
recv, sendall = socket.socket.recv, socket.socket.sendall


def timed_recv(self, *given):
    global began
    data = recv(self, *given)
    began = time.perf_counter_ns()
    return data


def timed_sendall(self, data):
    if data.startswith(b"POST"):
        own.append(time.perf_counter_ns() - began)
    return sendall(self, data)


socket.socket.recv, socket.socket.sendall = timed_recv, timed_sendall


def handler(event, context):
    return own if event == "report" else None
"#;

/// A runtime of its own, as small as one can be: one message after the other, as AWS's runtime clients do it.
fn provided(api: &str) -> std::io::Result<()> {
    let mut api_socket = TcpStream::connect(api)?;
    api_socket.set_nodelay(true)?;
    let mut own: Vec<u64> = Vec::new();
    loop {
        write!(api_socket, "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: {api}\r\n\r\n")?;
        let (head, event, began) = message(&mut api_socket)?;
        let (_, id) = head
            .split_once("lambda-runtime-aws-request-id: ")
            .ok_or_else(|| std::io::Error::other("no id"))?;
        let id = id.split("\r\n").next().unwrap_or_default();
        let result =
            if event == REPORT { serde_json::to_string(&own).unwrap_or_default() } else { "null".to_owned() };
        let answer = format!(
            "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nHost: {api}\r\nContent-Length: {}\r\n\r\n{result}",
            result.len()
        );
        own.push(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
        api_socket.write_all(answer.as_bytes())?;
        message(&mut api_socket)?;
    }
}

/// An answer's head and body, and when it came.
fn message(from: &mut TcpStream) -> std::io::Result<(String, String, Instant)> {
    let (mut received, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let length = from.read(&mut piece)?;
        let came = Instant::now();
        if length == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        received.extend_from_slice(piece.get(..length).unwrap_or_default());
        let text = String::from_utf8_lossy(&received);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let announced = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= announced.and_then(|length| length.parse().ok()).unwrap_or(0) {
            return Ok((head.to_owned(), body.to_owned(), came));
        }
    }
}

/// The round trips of all calls, and what the runtime says of them.
async fn measure(directory: &Path, runtime: Runtime) -> Vec<(u64, u64)> {
    let handler = if matches!(runtime, Runtime::Node) { "index.handler" } else { "app.handler" };
    let config =
        Config { min_instances: 1, max_instances: 1, ..Config::new("f", runtime, handler, directory) };
    let host = Host::start(vec![config], Settings::default()).expect("a host");
    let mut round_trips = Vec::with_capacity(WARM_UP + CALLS);
    for _ in 0..WARM_UP + CALLS {
        let began = Instant::now();
        host.invoke("f", Invocation::new("null")).await.expect("an answer");
        round_trips.push(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    let report = host.invoke("f", Invocation::new(REPORT)).await.expect("a report");
    let Body::Whole(report) = report.body else { return Vec::new() };
    let own: Vec<u64> = serde_json::from_slice(&report).expect("figures");
    assert_eq!(own.len(), round_trips.len(), "one figure for each call");
    host.close(Duration::from_secs(1)).await;
    round_trips.into_iter().zip(own).skip(WARM_UP).collect()
}

/// The median and the 99th percentile, in microseconds.
fn percentiles(ns: impl Iterator<Item = u64>) -> String {
    let mut ns: Vec<u64> = ns.collect();
    ns.sort_unstable();
    let at = |percent: usize| ns.get(ns.len() * percent / 100).copied().unwrap_or_default() as f64 / 1000.0;
    format!("{:>7.1} {:>7.1}", at(50), at(99))
}

fn main() -> std::io::Result<()> {
    if let Ok(api) = std::env::var("AWS_LAMBDA_RUNTIME_API") {
        return provided(&api);
    }
    let directory = std::env::temp_dir().join(format!("overhead-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join("index.js"), NODE)?;
    std::fs::write(directory.join("app.py"), PYTHON)?;
    std::os::unix::fs::symlink(std::env::current_exe()?, directory.join("bootstrap"))?;
    println!("us, median and 99%      round trip             own           added");
    for (name, runtime) in
        [("Node.js", Runtime::Node), ("Python", Runtime::Python), ("provided", Runtime::Provided)]
    {
        // As in the gateway: one thread for the host and those who invoke.
        let calls = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(measure(&directory, runtime));
        println!(
            "{name:<18} {} {} {}",
            percentiles(calls.iter().map(|(round_trip, _)| *round_trip)),
            percentiles(calls.iter().map(|(_, own)| *own)),
            percentiles(calls.iter().map(|(round_trip, own)| round_trip.saturating_sub(*own))),
        );
    }
    std::fs::remove_dir_all(&directory)
}
