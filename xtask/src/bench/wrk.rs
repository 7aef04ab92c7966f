//! The load generator: wrk with 64 connections on one thread; 8 where each request takes a process of its own.

use super::host::{self, Cores};
use super::{Shape, peers};
use crate::sh;
use std::process::Command;

const CONNECTIONS: u32 = 64;
/// Fewer than a function may have instances: the rest would be throttled.
const FUNCTION_CONNECTIONS: u32 = 8;

/// What wrk saw.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Load {
    pub(crate) requests: f64,
    pub(crate) duration_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Failed connections, reads, writes, time-outs and answers other than 2xx and 3xx.
    pub(crate) errors: f64,
}

/// Loads `address` for some seconds.
pub(crate) fn run(cores: Cores, address: &str, shape: Shape, seconds: u64) -> Result<Load, String> {
    let script = sh::root().join("bench/load/request.lua");
    let connections = if shape == Shape::Function { FUNCTION_CONNECTIONS } else { CONNECTIONS };
    let mut wrk = Command::new("wrk");
    wrk.arg("--threads=1")
        .arg(format!("--connections={connections}"))
        .arg(format!("--duration={seconds}s"))
        .args(["--timeout", "5s", "--script"])
        .arg(script)
        .arg(format!("{}{}", url(address, shape)?, shape.target()))
        .env("API_KEY", peers::API_KEY);
    if matches!(shape, Shape::Conn | Shape::TlsHandshake) {
        wrk.env("CLOSE", "1");
    }
    if let Some((authorization, time)) = peers::credentials(shape)? {
        wrk.env("AUTHORIZATION", authorization);
        wrk.envs(time.map(|time| ("AMZ_DATE", time)));
    }
    if let Some(body) = shape.posted() {
        wrk.env("BODY", body);
    }
    let output = sh::output(&mut host::pinned(&wrk, cores.load))?;
    parse(&output).ok_or_else(|| format!("wrk's output was not understood:\n{output}"))
}

/// Where a shape is asked: over TLS on the port beside.
fn url(address: &str, shape: Shape) -> Result<String, String> {
    if !shape.is_tls() {
        return Ok(format!("http://{address}"));
    }
    let (host, port) = address.rsplit_once(':').ok_or("an address without a port")?;
    let port: u32 = port.parse().map_err(|_| format!("no port in {address}"))?;
    Ok(format!("https://{host}:{}", port + peers::TLS_OFFSET))
}

/// Reads the `RESULT` line that request.lua and pace print.
pub(super) fn parse(output: &str) -> Option<Load> {
    let line = output.lines().find_map(|line| line.strip_prefix("RESULT "))?;
    let mut load = Load::default();
    for field in line.split_whitespace() {
        let (key, value) = field.split_once('=')?;
        let value: f64 = value.parse().ok()?;
        match key {
            "requests" => load.requests = value,
            "duration_us" => load.duration_us = value,
            "p50_us" => load.p50_us = value,
            "p99_us" => load.p99_us = value,
            _ => load.errors += value,
        }
    }
    (load.requests > 0.0 && load.duration_us > 0.0).then_some(load)
}

#[cfg(test)]
mod tests {
    use super::{Load, parse};

    #[test]
    fn the_result_line_is_read_and_errors_are_added_up() {
        let output = "Running 3s test\nRESULT requests=300 duration_us=3000000 p50_us=210 p99_us=900 connect=0 read=1 write=0 timeout=0 status=2\n";
        let load = Load { requests: 300.0, duration_us: 3e6, p50_us: 210.0, p99_us: 900.0, errors: 3.0 };
        assert_eq!(parse(output), Some(load));
        assert_eq!(parse("Running 3s test\n"), None);
    }
}
