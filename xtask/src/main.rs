//! The project's own tool: `cargo xtask COMMAND`. Everything that CI, a release or a newcomer runs is a command here, so
//! that each step is one reviewed function instead of a script per machine.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to its user")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod args;
mod bench;
mod ci;
mod ebpf;
mod fuzz;
mod lab;
mod loom;
mod miri;
mod setup;
mod sh;
mod test;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  setup              check for what the tests and the benchmark need, and install it where that is possible
  test               build, then run every test; ends with the line `N passed, N failed, N skipped`
  ci                 format, lints, tidy, licences, then `test`: what .ci/run calls
  bench [--rounds N] [--seconds N] [--shapes mock,…] [--peers sluice,nginx,…] [--out DIR] [--check] [--k6]
                     load Sluice and its peers side by side (bench/SPEC.md); --check fails where a promise was broken
  bench --idle N     what N idle connections cost the gateway in user space, plain and over TLS
  lab [--seconds N]  what good clients see under attack, with XDP and without, to bench/LAB.md; needs root
  tidy               check the doors between crates, unsafe, file and function sizes, reasons for relaxed lints
  ebpf [--check]     rebuild the committed XDP object; --check tests a fresh one and leaves the committed one alone
  loom               model-check the hand-written atomics
  miri               run the pure crates under Miri where the nightly toolchain has it
  fuzz [TARGET] [--seconds N]
                     run one fuzz target, or each in turn (default 60 s each)
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest = args::Args::new(arguments.collect());
    let outcome = match command.as_str() {
        "setup" => setup::run(setup::Need::Everything),
        "test" => test::run(),
        "ci" => ci::run(),
        "bench" => bench::run(rest),
        "lab" => lab::run(rest),
        "tidy" => tidy::run(),
        "loom" => loom::run().map(|_| ()),
        "miri" => miri::run(),
        "fuzz" => fuzz::run(rest),
        "ebpf" => ebpf::run(rest),
        "" | "help" | "--help" | "-h" => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        other => {
            eprintln!("xtask: no command `{other}`\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
