//! `cargo xtask lab`: what good clients see while bad ones attack, with XDP and without, kept in `bench/LAB.md`.

use crate::args::Args;
use crate::{setup, sh};
use std::fs;
use std::process::Command;

/// Builds the gateway, runs the lab (`tests/lab`), prints its table and keeps it.
pub(crate) fn run(mut args: Args) -> Result<(), String> {
    let seconds = args.number("--seconds", 10)?;
    args.finish()?;
    if !sh::is_root() {
        println!("SKIPPED lab: it makes network namespaces and loads BPF programs, for which it needs root");
        return Ok(());
    }
    setup::run(setup::Need::Test)?;
    sh::run(&mut sh::cargo(["build", "--release", "-p", "sluice"]))?;
    let mut lab = sh::cargo(["run", "--release", "-q", "-p", "sluice-harness", "--example", "lab", "--"]);
    lab.arg(seconds.to_string()).env("SLUICE_BIN", sh::target_dir().join("release/sluice"));
    sh::announce(&lab);
    let table = sh::output(&mut lab)?;
    print!("{table}");
    let file = sh::root().join("bench/LAB.md");
    fs::write(&file, page(&table, seconds)).map_err(|error| format!("{}: {error}", file.display()))?;
    eprintln!("written to {}", file.display());
    Ok(())
}

fn page(table: &str, seconds: u64) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let date = sh::output(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])).unwrap_or_default();
    format!(
        "# The attack lab\n\n\
         Written by `cargo xtask lab`. A gateway on two cores, clients in network namespaces around a bridge: `good` and\n\
         `NATed good` ask 100 times a second, a twentieth on a new connection, and give up after a second. Under attack the\n\
         `NATed` address also sends requests with a wrong API key, `flood` sends 60,000 SYNs a second, requests with wrong\n\
         keys and broken TLS handshakes, `slow` holds two hundred connections with heads that never end. Everything shares\n\
         one machine: the attackers run at the lowest priority, but the bridge's work for them counts against the\n\
         gateway. Phases last {seconds} s; the attack has gone on for 5 s when its measurement begins.\n\n\
         - Machine: {}, {cores} cores; Linux {}\n- Date: {}\n\n{table}",
        model.trim_start_matches([' ', '\t', ':']),
        kernel.trim(),
        date.trim(),
    )
}
