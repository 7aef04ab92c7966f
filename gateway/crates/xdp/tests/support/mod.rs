//! What the test programs share: skipping visibly, the object under test, frames, network namespaces.
#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod cases;
pub(crate) mod frame;
pub(crate) mod netns;
pub(crate) mod reference;

use sluice_xdp::{EMBEDDED_OBJECT, Options, Xdp, XdpError};

/// Names a fresh build to test in place of the embedded object; `cargo xtask ebpf --check` sets it.
const OBJECT_VARIABLE: &str = "SLUICE_XDP_OBJECT";
/// Has compare-and-exchange.
const KERNEL_MIN: (u32, u32) = (5, 12);

/// Loads the object under test, or says why this host cannot: the runner counts lines that begin with `SKIPPED`.
pub(crate) fn start(test: &str, options: &Options) -> Option<Xdp> {
    let fresh = std::env::var_os(OBJECT_VARIABLE).map(|path| std::fs::read(path).unwrap());
    match Xdp::start_object(fresh.as_deref().unwrap_or(EMBEDDED_OBJECT), options) {
        Ok(xdp) => Some(xdp),
        Err(error) if is_hosts_fault(&error) => {
            skipped(test, &error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn skipped(test: &str, reason: &str) {
    println!("SKIPPED {test}: {reason}");
}

/// A verifier's refusal on a kernel that has all we use must not look like a host without XDP.
fn is_hosts_fault(error: &XdpError) -> bool {
    match error {
        XdpError::Privileges { .. } => true,
        XdpError::Kernel(_) => kernel_version().is_some_and(|version| version < KERNEL_MIN),
        _ => false,
    }
}

pub(crate) fn kernel_version() -> Option<(u32, u32)> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let mut numbers = release.split(['.', '-', '\n']).map_while(|number| number.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

/// Bans a source outright, named by its address.
pub(crate) fn ban(xdp: &mut Xdp, address: &str, ttl: std::time::Duration) {
    let source = sluice_xdp::subscriber(address.parse().unwrap());
    xdp.ban(source, ttl, sluice_xdp::LetThrough::Nothing).unwrap();
}
