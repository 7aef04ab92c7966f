//! The load generator for HTTP/2: h2load with 4 connections of 16 streams each.

use super::host::{self, Cores};
use super::wrk::Load;
use super::{Shape, peers};
use crate::sh;
use std::process::Command;

/// Loads `address` for some seconds.
pub(crate) fn run(cores: Cores, address: &str, shape: Shape, seconds: u64) -> Result<Load, String> {
    let mut h2load = Command::new("h2load");
    h2load
        .args(["--clients=4", "--max-concurrent-streams=16", "--threads=1"])
        .arg(format!("--duration={seconds}"))
        .arg(format!("--header=x-api-key: {}", peers::API_KEY))
        .arg(format!("http://{address}{}", shape.target()));
    let output = sh::output(&mut host::pinned(&h2load, cores.load))?;
    parse(&output).ok_or_else(|| format!("h2load's output was not understood:\n{output}"))
}

/// Reads the summary. It has no percentiles: the mean stands for the median, the maximum for the 99th.
fn parse(output: &str) -> Option<Load> {
    let line = |start: &str| output.lines().find_map(|line| line.trim_start().strip_prefix(start));
    let count = |text: &str, what: &str| -> Option<f64> {
        text.split(',').find_map(|part| part.trim().strip_suffix(what)?.trim().parse().ok())
    };
    let requests = line("requests:")?;
    let duration = line("finished in ")?.split(',').next()?;
    let mut times = line("time for request:")?.split_whitespace();
    let (_, max, mean) = (times.next()?, times.next()?, times.next()?);
    let codes = line("status codes:")?;
    let answered = count(codes, " 2xx")?;
    let load = Load {
        requests: count(requests, " succeeded")?,
        duration_us: microseconds(duration)?,
        p50_us: microseconds(mean)?,
        p99_us: microseconds(max)?,
        errors: count(requests, " failed")?
            + count(requests, " errored")?
            + (count(requests, " succeeded")? - answered),
    };
    (load.requests > 0.0 && load.duration_us > 0.0).then_some(load)
}

/// `12us`, `3.45ms` or `4.00s`.
fn microseconds(text: &str) -> Option<f64> {
    for (unit, factor) in [("us", 1.0), ("ms", 1e3), ("s", 1e6)] {
        if let Some(number) = text.trim().strip_suffix(unit).and_then(|n| n.parse::<f64>().ok()) {
            return Some(number * factor);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Load, parse};

    #[test]
    fn the_summary_is_read() {
        let output = "finished in 4.00s, 123456.00 req/s, 9.11MB/s\n\
            requests: 493824 total, 493888 started, 493824 done, 493820 succeeded, 4 failed, 0 errored, 0 timeout\n\
            status codes: 493819 2xx, 0 3xx, 1 4xx, 0 5xx\n\
            traffic: 36.4MB (38200000) total, 1.0MB (1000000) headers (space savings 97.00%), 30MB (30000000) data\n\
            \u{20}                    min         max         mean         sd        +/- sd\n\
            time for request:       91us      3.45ms       512us       100us    81.25%\n";
        let load = Load { requests: 493_820.0, duration_us: 4e6, p50_us: 512.0, p99_us: 3450.0, errors: 5.0 };
        assert_eq!(parse(output), Some(load));
        assert_eq!(parse("finished in 4.00s\n"), None);
    }
}
