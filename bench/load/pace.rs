//! Load at a fixed rate, open loop: requests start when they are due, whether or not earlier ones were answered.
//!
//! `pace ADDRESS TARGET RATE CONNECTIONS SECONDS` sends a GET every `1/RATE` seconds on whichever of its keep-alive
//! connections is free; one that finds none free waits for it. Latency counts from when a request was due, so a gateway that
//! stalls is charged for everybody who had to wait ("coordinated omission" is what the other way round is called).
//! Further header lines are read from the file named in `PACE_HEADERS`. It prints one `RESULT` line as `request.lua` does.
#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a tool of the benchmark: it prints its result, and a panic ends the measurement, not a gateway"
)]

use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// After the last request was due, stragglers have this long.
const PATIENCE: Duration = Duration::from_secs(5);
/// Latencies beyond this are counted as this, microseconds.
const LONGEST_US: u64 = 60_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, target, rate, connections, seconds] = arguments.as_slice() else {
        return Err("expected: ADDRESS TARGET RATE CONNECTIONS SECONDS".into());
    };
    let extra = match std::env::var_os("PACE_HEADERS") {
        Some(file) => std::fs::read_to_string(file)?,
        None => String::new(),
    };
    let lines: String = extra.lines().map(|line| format!("{line}\r\n")).collect();
    let request = format!("GET {target} HTTP/1.1\r\nHost: api.example.com\r\n{lines}\r\n").into_bytes();
    let schedule = Schedule { rate: rate.parse()?, seconds: seconds.parse()? };
    let mut load = Load::connect(address.parse()?, connections.parse()?, request)?;
    load.run(&schedule)?;
    let seen = load.latencies_us.len();
    println!(
        "RESULT requests={seen} duration_us={} p50_us={} p99_us={} unanswered={} status={}",
        schedule.seconds * 1_000_000,
        load.latencies_us.value_at_quantile(0.50),
        load.latencies_us.value_at_quantile(0.99),
        schedule.total() - seen,
        load.bad_statuses,
    );
    Ok(())
}

struct Schedule {
    rate: u64,
    seconds: u64,
}

impl Schedule {
    fn total(&self) -> u64 {
        self.rate * self.seconds
    }

    /// When request `nth` is due, counted from the start.
    fn due(&self, nth: u64) -> Duration {
        Duration::from_nanos(nth * 1_000_000_000 / self.rate)
    }
}

struct Load {
    epoll: std::os::fd::OwnedFd,
    connections: Vec<Connection>,
    /// Indices of connections without a request under way; the one used last is used next.
    free: Vec<usize>,
    request: Vec<u8>,
    latencies_us: Histogram<u64>,
    bad_statuses: u64,
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    due: Duration,
}

impl Load {
    fn connect(address: SocketAddr, connections: usize, request: Vec<u8>) -> Result<Load, Box<dyn Error>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut all = Vec::new();
        for index in 0..connections {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll::add(
                &epoll,
                stream.as_fd(),
                epoll::EventData::new_u64(index as u64),
                epoll::EventFlags::IN,
            )?;
            all.push(Connection { stream, received: Vec::new(), due: Duration::ZERO });
        }
        Ok(Load {
            epoll,
            free: (0..all.len()).collect(),
            connections: all,
            request,
            latencies_us: Histogram::new_with_bounds(1, LONGEST_US, 3)?,
            bad_statuses: 0,
        })
    }

    fn run(&mut self, schedule: &Schedule) -> Result<(), Box<dyn Error>> {
        let started = Instant::now();
        let deadline = schedule.due(schedule.total()) + PATIENCE;
        let mut next = 0;
        let mut events = Vec::with_capacity(256);
        loop {
            let now = started.elapsed();
            while next < schedule.total() && schedule.due(next) <= now {
                let Some(index) = self.free.pop() else { break };
                self.start(index, schedule.due(next))?;
                next += 1;
            }
            if next == schedule.total() && self.free.len() == self.connections.len() || now > deadline {
                return Ok(());
            }
            let until = if next < schedule.total() && !self.free.is_empty() {
                schedule.due(next).saturating_sub(started.elapsed())
            } else {
                Duration::from_millis(100)
            };
            let timeout =
                Timespec { tv_sec: until.as_secs() as i64, tv_nsec: i64::from(until.subsec_nanos()) };
            events.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout))?;
            for event in &events {
                self.readable(event.data.u64() as usize, started)?;
            }
        }
    }

    fn start(&mut self, index: usize, due: Duration) -> Result<(), Box<dyn Error>> {
        let connection = &mut self.connections[index];
        connection.due = due;
        // A request is far smaller than a socket buffer that holds nothing else.
        let sent = connection.stream.write(&self.request)?;
        if sent < self.request.len() { Err("the request did not fit into the socket".into()) } else { Ok(()) }
    }

    fn readable(&mut self, index: usize, started: Instant) -> Result<(), Box<dyn Error>> {
        let connection = &mut self.connections[index];
        let mut buffer = [0_u8; 16 * 1024];
        match connection.stream.read(&mut buffer) {
            Ok(0) => return Err("the gateway closed a connection".into()),
            Ok(length) => connection.received.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let Some(answer) = complete(&connection.received) else { return Ok(()) };
        connection.received.clear();
        let latency = started.elapsed().saturating_sub(connection.due);
        self.latencies_us.saturating_record((latency.as_micros() as u64).max(1));
        self.bad_statuses += u64::from(answer != 200);
        self.free.push(index);
        Ok(())
    }
}

/// The status of a whole answer; `None` while some of it is missing.
fn complete(received: &[u8]) -> Option<u16> {
    let head_bytes = received.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&received[..head_bytes]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length: usize = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    })?;
    (received.len() >= head_bytes + length).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::{Schedule, complete};
    use std::time::Duration;

    #[test]
    fn an_answer_is_complete_with_its_last_byte() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
        for end in 0..answer.len() {
            assert_eq!(complete(&answer[..end]), None, "{end}");
        }
        assert_eq!(complete(answer), Some(200));
        assert_eq!(complete(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"), Some(429));
    }

    #[test]
    fn requests_are_due_at_even_intervals() {
        let schedule = Schedule { rate: 20_000, seconds: 2 };
        assert_eq!(schedule.total(), 40_000);
        assert_eq!(schedule.due(0), Duration::ZERO);
        assert_eq!(schedule.due(39_999), Duration::from_micros(1_999_950));
    }
}
