//! Fuzzing: `cargo fuzz` in tests/fuzz, for a bounded time.

use crate::args::Args;
use crate::{setup, sh};

/// Runs the named target, or each of them in turn.
pub(crate) fn run(mut args: Args) -> Result<(), String> {
    let seconds = args.number("--seconds", 60)?;
    let target = args.positional();
    args.finish()?;
    setup::cargo_tool("cargo-fuzz")?;
    let folder = sh::root().join("tests/fuzz");
    let targets = match target {
        Some(one) => vec![one],
        None => targets(&folder)?,
    };
    for target in targets {
        let limit = format!("-max_total_time={seconds}");
        let mut command = sh::cargo(["+nightly", "fuzz", "run", &target, "--", &limit, "-timeout=10"]);
        sh::run(command.current_dir(&folder))?;
    }
    Ok(())
}

fn targets(folder: &std::path::Path) -> Result<Vec<String>, String> {
    let listing = sh::output(sh::cargo(["+nightly", "fuzz", "list"]).current_dir(folder))?;
    Ok(listing.lines().map(str::to_owned).collect())
}
