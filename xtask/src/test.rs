//! Every test in one command, with one closing line.

use crate::{loom, setup, sh};
use std::io::{BufRead, BufReader};
use std::ops::AddAssign;
use std::path::Path;
use std::process::{Command, Stdio};

/// What a runner reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Builds the gateway, runs all tests, and prints `N passed, N failed, N skipped`.
pub(crate) fn run() -> Result<(), String> {
    setup::check_toolchain()?;
    if let Err(missing) = setup::run(setup::Need::Test) {
        println!("{missing}\nwithout them, some tests will be skipped\n");
    }
    let python = setup::python_for_tests();
    if let Err(error) = setup::npm_packages() {
        println!("{error}\nwithout it, some tests will be skipped\n");
    }
    if let Err(error) = setup::moto_suite() {
        println!("{error}\nwithout it, one test will be skipped\n");
    }
    // The binary and the tests in one go: asked for alone, the binary's dependencies get other features and build twice.
    sh::run(&mut sh::cargo(["build", "--workspace", "--bins", "--tests"]))?;
    let mut counts = Counts::default();
    if sh::which("cargo-nextest").is_some() {
        let options = ["--no-fail-fast", "--no-tests", "pass", "--success-output", "immediate"];
        let mut command = sh::cargo(["nextest", "run", "--workspace"]);
        counts += Runner::Nextest.run(with_tools(command.args(options), python.as_deref()))?;
    } else {
        let mut command = sh::cargo(["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"]);
        counts +=
            Runner::Libtest.run(with_tools(command.args(["--", "--show-output"]), python.as_deref()))?;
    }
    counts += Runner::Libtest.run(&mut sh::cargo(["test", "--workspace", "--doc", "--no-fail-fast"]))?;
    counts += loom::run()?;
    println!("\n{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.skipped);
    if counts.failed == 0 { Ok(()) } else { Err("there were failures".to_owned()) }
}

/// Tells the tests which gateway to start, and where to find a Python that can read a JSON Schema.
fn with_tools<'a>(command: &'a mut Command, python: Option<&Path>) -> &'a mut Command {
    if let Some(python) = python {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(python.to_path_buf()).chain(std::env::split_paths(&path));
        if let Ok(path) = std::env::join_paths(folders) {
            command.env("PATH", path);
        }
    }
    command.env("SLUICE_BIN", sh::target_dir().join("debug/sluice"))
}

/// Whose output is read.
#[derive(Clone, Copy)]
pub(crate) enum Runner {
    /// cargo-nextest: reports on standard error.
    Nextest,
    /// cargo test: reports on standard output.
    Libtest,
}

impl Runner {
    /// Runs the command, shows what it prints except the chatter of passing tests, and counts.
    ///
    /// A test that cannot run here (no root, no namespace, an old kernel) prints a line beginning with `SKIPPED` and
    /// returns; the runner calls that a pass, this function does not.
    pub(crate) fn run(self, command: &mut Command) -> Result<Counts, String> {
        sh::announce(command);
        match self {
            Runner::Nextest => command.stderr(Stdio::piped()),
            Runner::Libtest => command.stdout(Stdio::piped()),
        };
        let mut child = command.spawn().map_err(|error| format!("cargo: {error}"))?;
        let stream: Box<dyn std::io::Read> = match self {
            Runner::Nextest => Box::new(child.stderr.take().ok_or("no standard error")?),
            Runner::Libtest => Box::new(child.stdout.take().ok_or("no standard output")?),
        };
        let mut report = Report::new(self);
        for line in BufReader::new(stream).split(b'\n') {
            let line = line.map_err(|error| error.to_string())?;
            let line = String::from_utf8_lossy(&line);
            if report.line(&line) {
                println!("{line}");
            }
        }
        let status = child.wait().map_err(|error| error.to_string())?;
        let mut counts = report.counts();
        if !status.success() && counts.failed == 0 {
            // It did not build, or the runner itself broke.
            counts.failed = 1;
        }
        Ok(counts)
    }
}

/// Follows a runner's output line by line.
struct Report {
    runner: Runner,
    counts: Counts,
    /// Inside the captured output of a test that passed.
    in_passed: bool,
    /// The current test has already said that it was skipped.
    said_skipped: bool,
    skipped_inside: u64,
}

impl Report {
    fn new(runner: Runner) -> Self {
        Self { runner, counts: Counts::default(), in_passed: false, said_skipped: false, skipped_inside: 0 }
    }

    /// Takes one line; says whether to show it.
    fn line(&mut self, line: &str) -> bool {
        match self.runner {
            Runner::Nextest => self.nextest_line(line),
            Runner::Libtest => self.libtest_line(line),
        }
    }

    fn nextest_line(&mut self, line: &str) -> bool {
        let text = line.trim_start();
        let status = text.split_once(" [").map_or("", |(word, _)| word);
        if status == "Summary" {
            self.counts += summary(text);
            self.in_passed = false;
        } else if ["PASS", "FAIL", "SLOW", "TRY", "TIMEOUT", "ABORT", "LEAK", "SIGSEGV", "SIGABRT"]
            .contains(&status)
            || text.starts_with("────")
        {
            self.in_passed = status == "PASS";
            self.said_skipped = false;
            return true;
        }
        self.captured(text)
    }

    fn libtest_line(&mut self, line: &str) -> bool {
        if line.starts_with("test result:") {
            self.counts += summary(line);
            self.in_passed = false;
        } else if line == "successes:" || line == "failures:" {
            self.in_passed = line == "successes:";
        } else if line.starts_with("---- ") {
            self.said_skipped = false;
        }
        self.captured(line)
    }

    /// A line that may be a test's own: hidden when the test passed, unless it says why it did nothing.
    fn captured(&mut self, text: &str) -> bool {
        if !self.in_passed {
            return true;
        }
        let skipped = text.starts_with("SKIPPED");
        if skipped && !self.said_skipped {
            self.said_skipped = true;
            self.skipped_inside += 1;
        }
        skipped
    }

    fn counts(&self) -> Counts {
        let inside = self.skipped_inside.min(self.counts.passed);
        Counts {
            passed: self.counts.passed - inside,
            failed: self.counts.failed,
            skipped: self.counts.skipped + inside,
        }
    }
}

/// Reads `… 5 passed (1 slow), 1 failed, 0 skipped` and `test result: ok. 5 passed; 0 failed; 1 ignored; …`.
fn summary(line: &str) -> Counts {
    let mut counts = Counts::default();
    let words: Vec<_> = line.split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
    for pair in words.windows(2) {
        let [number, what] = pair else { continue };
        let Ok(number) = number.parse::<u64>() else { continue };
        match *what {
            "passed" => counts.passed += number,
            "failed" | "timed" | "exec" => counts.failed += number,
            "skipped" | "ignored" => counts.skipped += number,
            _ => {}
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::{Counts, Report, Runner};

    fn read(runner: Runner, text: &str) -> (Counts, String) {
        let mut report = Report::new(runner);
        let shown: Vec<_> = text.lines().filter(|line| report.line(line)).collect();
        (report.counts(), shown.join("\n"))
    }

    #[test]
    fn nextest_is_counted_and_the_output_of_passing_tests_hidden() {
        let (counts, shown) = read(
            Runner::Nextest,
            "        PASS [   0.005s] (1/3) sluice-wire parses
  stdout ───
    running 1 test
    chatter
        PASS [   0.005s] (2/3) sluice-xdp drops
  stderr ───
    SKIPPED needs root
    SKIPPED said twice
        FAIL [   0.005s] (3/3) sluice-rt echoes
  stderr ───
    assertion failed
────────────
     Summary [   1.234s] 3 tests run: 2 passed, 1 failed, 4 skipped",
        );
        assert_eq!(counts, Counts { passed: 1, failed: 1, skipped: 5 });
        assert!(shown.contains("assertion failed") && shown.contains("SKIPPED needs root"));
        assert!(!shown.contains("chatter"));
    }

    #[test]
    fn libtest_is_counted_over_several_binaries() {
        let (counts, shown) = read(
            Runner::Libtest,
            "test a ... ok
successes:
---- a stdout ----
SKIPPED no namespace
successes:
    a
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        );
        assert_eq!(counts, Counts { passed: 2, failed: 1, skipped: 2 });
        assert!(shown.contains("SKIPPED no namespace") && shown.contains("test result: FAILED"));
    }

    #[test]
    fn a_test_that_timed_out_failed() {
        let (counts, _) =
            read(Runner::Nextest, "Summary [ 9s] 2 tests run: 1 passed (1 slow), 1 timed out, 0 skipped");
        assert_eq!(counts, Counts { passed: 1, failed: 1, skipped: 0 });
    }
}
