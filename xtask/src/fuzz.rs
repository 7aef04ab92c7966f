//! Fuzzing: the targets of tests/fuzz by cargo-fuzz, each for a bounded time.

use crate::args::Args;
use crate::{setup, sh};
use std::path::Path;
use std::process::Command;

/// Runs the named target, or each of them in turn.
pub(crate) fn run(mut args: Args) -> Result<(), String> {
    let seconds = args.number("--seconds", 60)?;
    let target = args.positional();
    args.finish()?;
    setup::cargo_tool("cargo-fuzz")?;
    let folder = sh::root().join("tests/fuzz");
    let targets = match target {
        Some(one) => vec![one],
        None => sh::output(&mut cargo_fuzz("list", &folder))?.lines().map(str::to_owned).collect(),
    };
    for target in targets {
        // New inputs go to the first corpus; the committed seeds are only read.
        let (corpus, seeds) = (format!("corpus/{target}"), format!("seeds/{target}"));
        std::fs::create_dir_all(folder.join(&corpus)).map_err(|error| format!("{corpus}: {error}"))?;
        let mut command = cargo_fuzz("run", &folder);
        command.args([&target, &corpus]);
        if folder.join(&seeds).is_dir() {
            command.arg(&seeds);
        }
        command.args(["--", "-dict=http.dict", "-timeout=10"]).arg(format!("-max_total_time={seconds}"));
        sh::run(&mut command)?;
    }
    Ok(())
}

/// Sanitizers need a nightly compiler; the folder is a workspace of its own.
fn cargo_fuzz(verb: &str, folder: &Path) -> Command {
    let mut command = sh::cargo(["+nightly", "fuzz", verb, "--fuzz-dir", "."]);
    command.current_dir(folder);
    command
}
