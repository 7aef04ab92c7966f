//! `Settings` to `Snapshot`, or every problem at once.
//!
//! Two steps, so that a bad configuration changes nothing: [`check`](mod@check) reads the settings alone and ends with a
//! [`Plan`](plan::Plan) in which every name is an index and every host an address; only then does `build` touch the
//! [`Registry`], where what outlives a reload is kept, and nothing in that step can fail.
//!
//! Runs off the data cores: it resolves host names and allocates freely.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod build;
mod check;
mod plan;
mod registry;
mod resolve;
mod rewrite;
#[cfg(test)]
mod tests;

pub use registry::Registry;

use sluice_config::{Diagnostic, Settings, Severity};
use sluice_snapshot::Snapshot;

/// Gives out telemetry slots, stable by name for the life of the process.
pub trait SlotAllocator {
    /// Slot of a route.
    fn route_slot(&mut self, name: &str) -> u32;
    /// Slot of an upstream group.
    fn upstream_slot(&mut self, name: &str) -> u32;
    /// Slot of a limit.
    fn limit_slot(&mut self, name: &str) -> u32;
    /// Slot of an API key.
    fn key_slot(&mut self, name: &str) -> u32;
}

/// A configuration ready to be served.
#[derive(Debug)]
pub struct Compiled {
    /// What data cores serve from.
    pub snapshot: Snapshot,
    /// What is probably not meant so, in the order of the file.
    pub warnings: Vec<Diagnostic>,
}

/// Compiles a configuration. `now_ns` is the time that new token buckets begin at.
///
/// # Errors
/// Every error and warning of the configuration, in the order of the file, if there is any error. The registry and the
/// slots are as before then.
pub fn compile(
    settings: &Settings,
    registry: &mut Registry,
    slots: &mut dyn SlotAllocator,
    now_ns: u64,
) -> Result<Compiled, Vec<Diagnostic>> {
    let (plan, found) = check::check(settings);
    if found.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Err(found);
    }
    Ok(Compiled { snapshot: build::build(settings, plan, registry, slots, now_ns), warnings: found })
}

/// Everything that is wrong or doubtful in a configuration, errors and warnings, in the order of the file.
pub fn validate(settings: &Settings) -> Vec<Diagnostic> {
    check::check(settings).1
}
