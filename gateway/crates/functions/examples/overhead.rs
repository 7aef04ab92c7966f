//! What an invocation adds to the handler's own time: `cargo run --release -p sluice-functions --example overhead [Node.js|Python|provided]`.
//!
//! Each handler does nothing, in a warm instance, and is called over and over: the round trips of `Host::invoke` are what is added.
//! They are the host's work, that of the runtime's bootstrap, the kernel's for the messages on the loopback interface, and the
//! switches between processes. What a bare exchange of two messages costs on a machine is told first: where a core that sleeps
//! takes long to wake, that is most of it.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "an example")]

use sluice_functions::{Body, Config, Host, Invocation, Runtime, Settings};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const WARM_UP: usize = 20_000;
const CALLS: usize = 20_000;
/// Where a process connects that is to be the other side of bare exchanges.
const ECHO: &str = "OVERHEAD_ECHO";

/// A runtime of its own, as small as one can be: one message after the other, as AWS's runtime clients do it.
fn provided(api: &str) -> std::io::Result<()> {
    let mut socket = TcpStream::connect(api)?;
    socket.set_nodelay(true)?;
    let next = format!("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: {api}\r\n\r\n");
    loop {
        socket.write_all(next.as_bytes())?;
        let head = message(&mut socket)?;
        let (_, id) = head
            .split_once("lambda-runtime-aws-request-id: ")
            .ok_or_else(|| std::io::Error::other("no id"))?;
        let id = id.split("\r\n").next().unwrap_or_default();
        let answer = format!(
            "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nHost: {api}\r\nContent-Length: 4\r\n\r\nnull"
        );
        socket.write_all(answer.as_bytes())?;
        message(&mut socket)?;
    }
}

/// An answer's head, once its body has come, too.
fn message(from: &mut TcpStream) -> std::io::Result<String> {
    let (mut received, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let length = from.read(&mut piece)?;
        if length == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        received.extend_from_slice(piece.get(..length).unwrap_or_default());
        let text = String::from_utf8_lossy(&received);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let announced = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= announced.and_then(|length| length.parse().ok()).unwrap_or(0) {
            return Ok(head.to_owned());
        }
    }
}

/// The round trips of all calls.
async fn measure(directory: PathBuf, runtime: Runtime) -> Vec<u64> {
    let handler = if matches!(runtime, Runtime::Node) { "index.handler" } else { "app.handler" };
    let config =
        Config { min_instances: 1, max_instances: 1, ..Config::new("f", runtime, handler, &directory) };
    let host = Host::start(vec![config], Settings::default()).expect("a host");
    let mut round_trips = Vec::with_capacity(WARM_UP + CALLS);
    for _ in 0..WARM_UP + CALLS {
        let began = Instant::now();
        let answer = host.invoke("f", Invocation::new("null")).await.expect("an answer");
        round_trips.push(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
        assert!(matches!(answer.body, Body::Whole(body) if body == "null"), "what the handler returns");
    }
    host.close(Duration::from_secs(1)).await;
    round_trips.split_off(WARM_UP)
}

/// The round trips of bare messages between two processes, as large as an event's.
fn exchanges() -> std::io::Result<Vec<u64>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let peer = std::env::current_exe()?;
    let mut peer = Command::new(peer).env(ECHO, listener.local_addr()?.to_string()).spawn()?;
    let (mut socket, _) = listener.accept()?;
    socket.set_nodelay(true)?;
    let mut message = [b'x'; 300];
    let mut round_trips = Vec::with_capacity(WARM_UP + CALLS);
    for _ in 0..WARM_UP + CALLS {
        let began = Instant::now();
        socket.write_all(&message)?;
        socket.read_exact(&mut message)?;
        round_trips.push(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    drop(socket);
    peer.wait()?;
    Ok(round_trips.split_off(WARM_UP))
}

/// Sends back what comes.
fn echo(to: &str) -> std::io::Result<()> {
    let mut socket = TcpStream::connect(to)?;
    socket.set_nodelay(true)?;
    let mut message = [0; 300];
    while socket.read_exact(&mut message).is_ok() {
        socket.write_all(&message)?;
    }
    Ok(())
}

/// The median and the 99th percentile, in microseconds.
fn percentiles(mut ns: Vec<u64>) -> String {
    ns.sort_unstable();
    let at = |percent: usize| ns.get(ns.len() * percent / 100).copied().unwrap_or_default() as f64 / 1000.0;
    format!("{:>7.1} {:>7.1}", at(50), at(99))
}

fn main() -> std::io::Result<()> {
    if let Ok(api) = std::env::var("AWS_LAMBDA_RUNTIME_API") {
        return provided(&api);
    }
    if let Ok(to) = std::env::var(ECHO) {
        return echo(&to);
    }
    let directory = std::env::temp_dir().join(format!("overhead-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join("index.js"), "exports.handler = async () => null")?;
    std::fs::write(directory.join("app.py"), "def handler(event, context):\n    return None\n")?;
    std::os::unix::fs::symlink(std::env::current_exe()?, directory.join("bootstrap"))?;
    println!("us                  median     99%");
    println!("{:<18} {}", "bare exchange", percentiles(exchanges()?));
    for (name, runtime) in
        [("Node.js", Runtime::Node), ("Python", Runtime::Python), ("provided", Runtime::Provided)]
    {
        if std::env::args().len() > 1 && !std::env::args().any(|asked| asked == name) {
            continue;
        }
        // As in the gateway: one thread for the host and those who invoke, who are tasks like others.
        let host = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let round_trips = host.block_on(host.spawn(measure(directory.clone(), runtime)))?;
        println!("{name:<18} {}", percentiles(round_trips));
    }
    std::fs::remove_dir_all(&directory)
}
