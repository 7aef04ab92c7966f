//! Miri: the pure crates interpreted, so that undefined behaviour shows as an error instead of luck.

use crate::sh;

/// Crates without system calls of their own, whose tests Miri can interpret.
const PURE: &[&str] = &["sluice-common", "sluice-wire", "sluice-throttle", "sluice-promote", "sluice-cache"];

/// Runs them where the nightly toolchain has Miri and the library's source; else says what is missing.
pub(crate) fn run() -> Result<(), String> {
    if let Some(missing) = missing() {
        println!("SKIPPED miri: {missing}");
        return Ok(());
    }
    let mut command = sh::cargo(["+nightly", "miri", "test", "--lib"]);
    for package in PURE {
        command.args(["--package", package]);
    }
    // Isolation off: proptest asks the environment for its seed. Fewer cases, since each is interpreted.
    command
        .env("MIRIFLAGS", "-Zmiri-disable-isolation")
        .env("PROPTEST_CASES", "8")
        .env("CARGO_TARGET_DIR", sh::target_dir().join("miri"));
    sh::run(&mut command)
}

fn missing() -> Option<String> {
    if !sh::succeeds(&mut sh::cargo(["+nightly", "--version"])) {
        return Some("no nightly toolchain; `rustup toolchain install nightly`".to_owned());
    }
    // A no-op where they are there; where they cannot be had, the next lines say so.
    sh::succeeds(std::process::Command::new("rustup").args([
        "component",
        "add",
        "--toolchain",
        "nightly",
        "miri",
        "rust-src",
    ]));
    if !sh::succeeds(&mut sh::cargo(["+nightly", "miri", "--version"])) {
        return Some(
            "the nightly toolchain has no Miri; `rustup +nightly component add miri rust-src`".to_owned(),
        );
    }
    let sysroot =
        sh::output(std::process::Command::new("rustc").args(["+nightly", "--print", "sysroot"])).ok()?;
    let source = std::path::Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library");
    (!source.is_dir()).then(|| {
        "the nightly toolchain has no library source; `rustup +nightly component add rust-src`".to_owned()
    })
}
