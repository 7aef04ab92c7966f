//! The npm package `http-cache-tests` (cache-tests.fyi) against `cache = "standard"`.
//!
//! `data/cache-tests.json` records which of its tests pass and explains each required one that doesn't. What passed once
//! must go on passing; what passes anew wants to be recorded (`cargo xtask setup` installs the package).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sluice_harness::{Gateway, npm_package, skip, tool};

const NAME: &str = "cache_conformance";
const VERSION: &str = "0.4.5";

#[derive(Debug)]
struct Outcome {
    required: bool,
    passed: bool,
    why: String,
}

/// The suite's own origin on a port of the kernel's choice.
struct Origin {
    child: Child,
    port: u16,
}

impl Origin {
    fn start(node: &Path, package: &Path) -> Self {
        let scratch = std::env::temp_dir().join(format!("cache-tests-{}.pid", std::process::id()));
        let mut child = Command::new(node)
            .args(["--no-warnings", "server/server.mjs"])
            .current_dir(package)
            .envs([("npm_config_protocol", "http"), ("npm_config_port", "0")])
            .env("npm_config_pidfile", &scratch)
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the origin");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines
            .find_map(|line| line.unwrap().trim_end_matches('/').rsplit(':').next()?.parse().ok())
            .expect("the origin's port");
        // Its warnings must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, port }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(node: &Path, package: &Path, ids: &[&str]) -> BTreeMap<String, Outcome> {
    let origin = Origin::start(node, package);
    let config = format!(
        "[routes.all]\npath = \"/{{proxy+}}\"\nupstream = \"127.0.0.1:{}\"\ncache = \"standard\"\n",
        origin.port
    );
    let gateway = Gateway::start(&config);
    let driver = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/cache-tests.mjs");
    let output = Command::new(node)
        .arg("--no-warnings")
        .arg(driver)
        .arg(package)
        .arg(format!("http://{}", gateway.addr()))
        .args(ids)
        .output()
        .expect("run the suite");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let outcome = |value: serde_json::Value| Outcome {
        required: value["kind"] == "required",
        passed: value["passed"] == true,
        why: value["why"].as_str().unwrap_or_default().to_owned(),
    };
    report.into_iter().map(|(id, value)| (id, outcome(value))).collect()
}

#[test]
fn what_passed_still_passes_and_each_miss_is_explained() {
    let Some(node) = tool("node") else { skip!(NAME, "node is not installed") };
    let Some(package) = npm_package("http-cache-tests") else {
        skip!(NAME, "the npm package http-cache-tests is not installed: cargo xtask setup")
    };
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/cache-tests.json");
    let recorded: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(recorded).unwrap()).unwrap();
    let list = recorded["passed"].as_array().unwrap();
    let expected: Vec<&str> = list.iter().map(|id| id.as_str().unwrap()).collect();

    let outcomes = run(&node, &package, &[]);
    let required = outcomes.values().filter(|outcome| outcome.required).count();
    let passed = outcomes.values().filter(|outcome| outcome.required && outcome.passed).count();
    println!(
        "http-cache-tests {VERSION}: {passed} of {required} required, {} of {} in all",
        { outcomes.values().filter(|outcome| outcome.passed).count() },
        outcomes.len()
    );
    for (id, outcome) in outcomes.iter().filter(|(_, outcome)| outcome.required && !outcome.passed) {
        let why = recorded["missed_required"][id].as_str();
        assert!(why.is_some() || expected.contains(&id.as_str()), "{id} is not explained: {}", outcome.why);
    }
    // The suite measures with pauses of three seconds against lifetimes of two: what a busy machine upset is asked
    // again, alone.
    let missing: Vec<&str> =
        expected.iter().copied().filter(|id| !outcomes.get(*id).is_some_and(|o| o.passed)).collect();
    if !missing.is_empty() {
        let second = run(&node, &package, &missing);
        let lost: Vec<_> = second.iter().filter(|(_, outcome)| !outcome.passed).collect();
        assert!(lost.is_empty(), "passed once and fail now: {lost:#?}");
        assert_eq!(second.len(), missing.len(), "some recorded tests are gone: {missing:?}");
    }
}
