//! moto's public test-suite for API Gateway, against the control plane in development mode.
//!
//! `data/moto.json` names each test that fails and why: moto has habits that are not AWS's, and some operations are not
//! written. What passed once must go on passing; what passes anew wants to be taken off the list (`cargo xtask setup`
//! brings the suite from PyPI).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use sluice_harness::{Gateway, skip, target_dir};

const NAME: &str = "moto_conformance";

#[test]
fn moto_conformance() {
    let folder = target_dir().map(|target| target.join("moto-suite/moto-5.2.5"));
    let python =
        target_dir().map(|target| target.join("moto-venv/bin/python3")).filter(|python| python.is_file());
    let (Some(folder), Some(python)) = (folder.filter(|folder| folder.is_dir()), python) else {
        skip!(NAME, "moto's suite is not there (cargo xtask setup brings it from PyPI)");
    };
    let gateway = Gateway::start("[aws]\ndevelopment = true\n");
    let output = Command::new(python)
        .args([
            "-m",
            "pytest",
            "tests/test_apigateway",
            "-q",
            "--tb=no",
            "-rpf",
            "-p",
            "no:cacheprovider",
            "--color=no",
        ])
        .current_dir(folder)
        .env("TEST_SERVER_MODE", "true")
        .env("TEST_SERVER_MODE_ENDPOINT", format!("http://{}", gateway.admin()))
        .envs([
            ("AWS_ACCESS_KEY_ID", "any"),
            ("AWS_SECRET_ACCESS_KEY", "any"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let named = |outcome: &str| -> BTreeSet<String> {
        let lines = said
            .lines()
            .filter_map(|line| line.strip_prefix(outcome)?.strip_prefix(" tests/test_apigateway/"));
        lines.map(|line| line.split(" - ").next().unwrap_or(line).to_owned()).collect()
    };
    let (passed, failed) = (named("PASSED"), named("FAILED"));
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/moto.json");
    let known: BTreeMap<String, String> =
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    println!(
        "moto's suite: {} passed, {} failed, each explained in data/moto.json",
        passed.len(),
        failed.len()
    );
    assert!(passed.len() > 50, "{said}");
    let new: Vec<_> = failed.iter().filter(|name| !known.contains_key(*name)).collect();
    assert!(new.is_empty(), "these fail, and nothing says why: {new:#?}");
    let always = |name: &&String| known.get(*name).is_some_and(|why| !why.starts_with("Sometimes: "));
    let better: Vec<_> = passed.iter().filter(always).collect();
    assert!(better.is_empty(), "these pass now: take them off the list: {better:#?}");
}
