//! k6, where a user has it: scenarios with thresholds, against the gateway as the benchmark configures it.

use super::measure::Bench;
use super::peers::{API_KEY, Peer};
use super::{Shape, host};
use crate::sh;
use std::process::Command;

/// Runs each script of bench/k6; a broken threshold fails.
pub(crate) fn run(bench: &Bench) -> Result<(), String> {
    let (_server, address) = bench.serve(Peer::Sluice, Shape::Mock)?;
    let folder = sh::root().join("bench/k6");
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut scripts: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    scripts.retain(|script| script.extension().is_some_and(|extension| extension == "js"));
    scripts.sort();
    for script in scripts {
        let mut k6 = Command::new("k6");
        k6.arg("run")
            .arg("--env")
            .arg(format!("BASE_URL=http://{address}"))
            .arg("--env")
            .arg(format!("API_KEY={API_KEY}"))
            .arg(script);
        sh::run(&mut host::pinned(&k6, bench.cores.load))?;
    }
    Ok(())
}
