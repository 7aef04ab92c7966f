//! One measurement: start the peer, see that it answers rightly, warm it up, load it, and divide.

use super::Shape;
use super::host::{Cores, Server, Work};
use super::peers::{API_KEY, Peer};
use super::{h2load, pace, peers, wrk};
use crate::sh;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// One peer in one shape in one round.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Of the rounds, from 1: samples of one round were taken within seconds of each other.
    pub(crate) round: u64,
    pub(crate) peer: Peer,
    pub(crate) shape: Shape,
    pub(crate) cpu_us_per_request: f64,
    pub(crate) requests_per_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// How much of its core the peer used: near 1 at saturation.
    pub(crate) busy: f64,
}

/// A peer that was started, stopped by signal while it is not measured: even what waits by spinning costs the others nothing.
pub(crate) struct Running {
    pub(crate) peer: Peer,
    server: Server,
    port: u16,
    log: PathBuf,
    /// Asked and warmed up.
    warm: Vec<Shape>,
}

/// What all measurements share: the responder, the cores, the folder.
pub(crate) struct Bench {
    pub(crate) cores: Cores,
    pub(crate) work: Work,
    pub(crate) upstream: String,
    _responder: Server,
}

impl Bench {
    /// Starts the responder.
    pub(crate) fn start() -> Result<Self, String> {
        let cores = Cores::choose()?;
        let work = Work::new()?;
        let upstream = free_address()?;
        let mut command = Command::new(sh::target_dir().join("release/bench-responder"));
        command.arg(&upstream);
        let mut responder = Server::start(&command, cores.responder, &work.path("responder.log"))?;
        await_answer(&mut responder, &upstream, Shape::Proxied)?;
        Ok(Self { cores, work, upstream, _responder: responder })
    }

    /// Starts a peer for these shapes, and stops it once it has given the first one's right answer.
    pub(crate) fn start_peer(&self, peer: Peer, shapes: &[Shape]) -> Result<Running, String> {
        let port = free_address()?.rsplit(':').next().and_then(|port| port.parse().ok()).ok_or("no port")?;
        let command = peer.command(&self.work, port, &self.upstream)?;
        let log = self.work.path(&format!("{}.log", peer.name()));
        let server = Server::start(&command, self.cores.gateway, &log)?;
        if shapes.iter().any(|shape| shape.is_rest()) && peer == Peer::Sluice {
            publish(&log, &self.upstream)?;
        }
        let mut running = Running { peer, server, port, log, warm: Vec::new() };
        if let Some(&shape) = shapes.iter().find(|shape| peer.serves(**shape)) {
            running.await_answer(shape)?;
        }
        running.server.pause();
        Ok(running)
    }

    /// Measures one peer in one shape.
    pub(crate) fn measure(
        &self,
        round: u64,
        running: &mut Running,
        shape: Shape,
        seconds: u64,
    ) -> Result<Sample, String> {
        running.server.resume();
        let sample = self.measure_awake(round, running, shape, seconds);
        running.server.pause();
        sample
    }

    fn measure_awake(
        &self,
        round: u64,
        running: &mut Running,
        shape: Shape,
        seconds: u64,
    ) -> Result<Sample, String> {
        let peer = running.peer;
        let address = format!("127.0.0.1:{}", peer.port(running.port, shape));
        if !running.warm.contains(&shape) {
            running.await_answer(shape)?;
            // Fills the cache, the pools and the branch predictors.
            self.load(&address, shape, 1)?;
            running.warm.push(shape);
        }
        let server = &running.server;
        let (cpu_before, began) = (server.cpu_ns(), Instant::now());
        let load = self.load(&address, shape, seconds)?;
        let cpu_us = (server.cpu_ns() - cpu_before) as f64 / 1e3;
        let wall_us = began.elapsed().as_secs_f64() * 1e6;
        // A peer may close a few connections for reasons of its own; more than that is not the load that was meant.
        if load.errors > load.requests / 1000.0 {
            return Err(format!(
                "{} {}: {} of {} requests failed",
                peer.name(),
                shape.name(),
                load.errors,
                load.requests
            ));
        }
        Ok(Sample {
            round,
            peer,
            shape,
            cpu_us_per_request: cpu_us / load.requests,
            requests_per_s: load.requests / load.duration_us * 1e6,
            p50_us: load.p50_us,
            p99_us: load.p99_us,
            busy: cpu_us / wall_us,
        })
    }

    fn load(&self, address: &str, shape: Shape, seconds: u64) -> Result<wrk::Load, String> {
        match shape {
            Shape::H2 => h2load::run(self.cores, address, shape, seconds),
            Shape::Paced => pace::run(self.cores, &self.work, address, shape, seconds),
            _ => wrk::run(self.cores, address, shape, seconds),
        }
    }

    /// Starts a peer that answers rightly in this shape.
    pub(crate) fn serve(&self, peer: Peer, shape: Shape) -> Result<(Running, String), String> {
        let running = self.start_peer(peer, &[shape])?;
        running.server.resume();
        let address = format!("127.0.0.1:{}", peer.port(running.port, shape));
        Ok((running, address))
    }
}

impl Running {
    fn await_answer(&mut self, shape: Shape) -> Result<(), String> {
        // Asked in HTTP/1, which a listener for HTTP/2 alone would not understand.
        let asked = if shape == Shape::H2 { Shape::Mock } else { shape };
        let plain = format!("127.0.0.1:{}", self.peer.port(self.port, asked));
        await_answer(&mut self.server, &plain, asked).map_err(|error| {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            format!("{} {}: {error}\n{}", self.peer.name(), shape.name(), text.trim())
        })
    }
}

/// Gives Sluice the REST API once its admin listener is there.
fn publish(log: &Path, upstream: &str) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let address = loop {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let ready = text.contains("sluice: ready");
        let admin = text.lines().find_map(|line| line.strip_prefix("sluice: admin listener http://"));
        match admin.filter(|_| ready) {
            Some(address) => break address.to_owned(),
            None if Instant::now() > deadline => return Err(format!("sluice is not ready: {text}")),
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let body = peers::catalog(upstream)?;
    let request = format!(
        "PUT /catalog HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(&address, &request).map_err(|error| format!("{address}: {error}"))?;
    if answer.contains(" 200 ") { Ok(()) } else { Err(format!("the REST API was refused: {answer}")) }
}

fn exchange(address: &str, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A loopback address that nobody listens at, its successor free as well (Envoy's second listener).
fn free_address() -> Result<String, String> {
    for _ in 0..100 {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        if address.port() < u16::MAX && TcpListener::bind(("127.0.0.1", address.port() + 1)).is_ok() {
            return Ok(address.to_string());
        }
    }
    Err("no free port".to_owned())
}

fn await_answer(server: &mut Server, address: &str, shape: Shape) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let error = match ask(address, shape) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if let Some(status) = server.ended() {
            return Err(format!("ended: {status}"));
        }
        if Instant::now() > deadline {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One request; the answer must be 200 with a body of the right length.
fn ask(address: &str, shape: Shape) -> Result<(), String> {
    let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).map_err(|error| error.to_string())?;
    let (method, body) = shape.posted().map_or(("GET", ""), |body| ("POST", body));
    let credentials = peers::credentials(shape)?.map_or_else(String::new, |(authorization, time)| {
        let time = time.map(|time| format!("X-Amz-Date: {time}\r\n")).unwrap_or_default();
        format!("Authorization: {authorization}\r\n{time}")
    });
    let request = format!(
        "{method} {} HTTP/1.1\r\nHost: api.example.com\r\nx-api-key: {API_KEY}\r\nContent-Type: application/json\r\n\
         {credentials}Content-Length: {}\r\n\r\n{body}",
        shape.target(),
        body.len()
    );
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n")
            && answer.len() >= head + 4 + shape.body_bytes()
        {
            break;
        }
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(error) => return Err(format!("after {} bytes: {error}", answer.len())),
        }
    }
    let text = String::from_utf8_lossy(&answer);
    let (head, body) =
        text.split_once("\r\n\r\n").ok_or_else(|| format!("no head in {} bytes", answer.len()))?;
    if head.starts_with("HTTP/1.1 200") && body.len() == shape.body_bytes() {
        return Ok(());
    }
    Err(format!("expected 200 and {} bytes, found {} and {head}", shape.body_bytes(), body.len()))
}
