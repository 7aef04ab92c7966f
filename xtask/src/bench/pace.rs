//! The load generator of the fixed rate: `bench/load/pace.rs`, open loop.

use super::host::{self, Cores, Work};
use super::{Shape, peers, wrk};
use crate::sh;
use std::process::Command;

const REQUESTS_PER_S: u32 = 20_000;
/// Enough that a free one is always at hand until a peer stalls for milliseconds.
const CONNECTIONS: u32 = 256;

/// Loads `address` for some seconds.
pub(crate) fn run(
    cores: Cores,
    work: &Work,
    address: &str,
    shape: Shape,
    seconds: u64,
) -> Result<wrk::Load, String> {
    let headers = work.path("request.headers");
    let template = sh::root().join("bench/load/request.headers");
    std::fs::read_to_string(template)
        .and_then(|text| std::fs::write(&headers, text.replace("@KEY@", peers::API_KEY)))
        .map_err(|error| format!("{}: {error}", headers.display()))?;
    let mut pace = Command::new(sh::target_dir().join("release/bench-pace"));
    pace.args([address, shape.target()])
        .args([REQUESTS_PER_S, CONNECTIONS].map(|number| number.to_string()))
        .arg(seconds.to_string())
        .env("PACE_HEADERS", &headers);
    let output = sh::output(&mut host::pinned(&pace, cores.load))?;
    wrk::parse(&output).ok_or_else(|| format!("the output of bench-pace was not understood:\n{output}"))
}
