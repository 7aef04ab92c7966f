//! What must hold before a change lands, cheapest check first.

use crate::args::Args;
use crate::{ebpf, setup, sh, test, tidy};

/// Runs every check, then the tests.
pub(crate) fn run() -> Result<(), String> {
    setup::component("rustfmt", "rustfmt")?;
    setup::component("cargo-clippy", "clippy")?;
    sh::run(&mut sh::cargo(["fmt", "--all", "--", "--check"]))?;
    tidy::run()?;
    sh::run(&mut sh::cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    deny()?;
    xdp_program()?;
    test::run()
}

/// Licences, sources and duplicate versions of every dependency; known vulnerabilities where their database can be fetched.
fn deny() -> Result<(), String> {
    setup::cargo_tool("cargo-deny")?;
    sh::run(&mut sh::cargo(["deny", "check", "bans", "licenses", "sources"]))?;
    if !sh::succeeds(&mut sh::cargo(["deny", "fetch", "db"])) {
        println!("SKIPPED advisories: their database cannot be fetched from here");
        return Ok(());
    }
    sh::run(&mut sh::cargo(["deny", "check", "advisories"]))
}

/// The XDP program built from its sources and tested, so that the committed object is known to be reproducible.
fn xdp_program() -> Result<(), String> {
    if let Err(missing) = setup::bpf_toolchain() {
        println!("SKIPPED building the XDP program: {missing}");
        return Ok(());
    }
    ebpf::run(Args::new(vec!["--check".to_owned()]))
}
