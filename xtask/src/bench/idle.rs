//! `cargo xtask bench --idle N`: what an idle connection costs the gateway in user space, plain and over TLS.

use crate::sh;

/// Builds the release binary and has the suite's test open so many connections from several loopback addresses.
pub(crate) fn run(count: &str) -> Result<(), String> {
    if count.parse::<u32>().is_err() {
        return Err(format!("`--idle` expects a number of connections, found `{count}`"));
    }
    sh::run(&mut sh::cargo(["build", "--release", "--quiet", "-p", "sluice"]))?;
    let mut test = sh::cargo(["test", "--quiet", "-p", "sluice-harness", "--test", "idle_connections"]);
    test.args(["--", "--ignored", "--nocapture", "the_cost_of_very_many"]);
    test.env("SLUICE_BIN", sh::target_dir().join("release/sluice")).env("SLUICE_IDLE_CONNECTIONS", count);
    sh::run(&mut test)
}
