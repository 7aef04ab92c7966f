//! `Settings` to `Snapshot`, or every problem at once.
//!
//! Two steps, so that a bad configuration changes nothing: [`check`](mod@check) reads the settings alone and ends with a
//! [`Plan`](plan::Plan) in which every name is an index and every host an address; only then does `build` touch the
//! [`Registry`], where what outlives a reload is kept, and nothing in that step can fail.
//!
//! The catalog of REST APIs is compiled beside it ([`rest`]), to the same routes.
//!
//! Runs off the data cores: it resolves host names and allocates freely.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod build;
mod check;
mod cors;
mod functions;
mod plan;
mod registry;
mod resolve;
mod rest;
mod rewrite;
mod signers;
#[cfg(test)]
mod tests;
mod tokens;
mod trial;
mod undeployed;

pub use build::mock as fixed_answer;
pub use cors::{CorsRoute, Seen, cors};
pub use registry::{FunctionHost, Registry};
pub use rest::{Credentials, QuotaCounted, QuotaHandle, QuotaList, faults, look_up, period};
pub use trial::{Tried, trial};
pub use undeployed::{Undeployed, undeployed};

use resolve::Names;
use sluice_catalog::Catalog;
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
    /// Methods of REST APIs that cannot be answered, and why, of stages that were compiled anew; and such routes.
    pub notes: Vec<String>,
}

/// The time that new token buckets and quotas begin at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Of the monotonic clock that data cores use.
    pub ns: u64,
    /// Seconds since 1970.
    pub unix_s: u64,
}

/// Why nothing was compiled.
#[derive(Debug, Default)]
pub struct Rejected {
    /// Errors and warnings of the configuration, in the order of the file.
    pub settings: Vec<Diagnostic>,
    /// What is wrong in the catalog.
    pub catalog: Vec<String>,
}

impl Rejected {
    /// Everything, a line or more each.
    pub fn lines(&self) -> Vec<String> {
        self.settings.iter().map(ToString::to_string).chain(self.catalog.iter().cloned()).collect()
    }
}

/// Compiles a configuration and a catalog.
///
/// # Errors
/// Everything that is wrong, if anything is. The registry and the slots are as before then.
pub fn compile(
    settings: &Settings,
    catalog: &Catalog,
    registry: &mut Registry,
    slots: &mut dyn SlotAllocator,
    now: Now,
) -> Result<Compiled, Rejected> {
    compile_with(settings, catalog, Names::new(), registry, slots, now)
}

/// Compiles another catalog under settings that were compiled last: hosts of upstream groups have the addresses that they had then, so
/// that a change of the catalog neither waits for a resolver nor fails by one. It has no faults if [`faults`] has found none.
///
/// # Errors
/// As [`compile`].
pub fn recompile(
    settings: &Settings,
    catalog: &Catalog,
    registry: &mut Registry,
    slots: &mut dyn SlotAllocator,
    now: Now,
) -> Result<Compiled, Rejected> {
    let names = registry.names.clone();
    compile_with(settings, catalog, names, registry, slots, now)
}

fn compile_with(
    settings: &Settings,
    catalog: &Catalog,
    names: Names,
    registry: &mut Registry,
    slots: &mut dyn SlotAllocator,
    now: Now,
) -> Result<Compiled, Rejected> {
    let (plan, found) = check::check(settings, names);
    let basis = rest::Basis::new(settings, catalog, registry);
    let (rest, faults) = rest::check(catalog, registry, &basis);
    if !faults.is_empty() || found.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Err(Rejected { settings: found, catalog: faults });
    }
    let (rest, mut notes) = rest::build(rest, catalog, registry, slots, basis, now);
    let snapshot = build::build(settings, plan, (rest, &mut notes), registry, slots, now.ns);
    Ok(Compiled { snapshot, warnings: found, notes })
}

/// Everything that is wrong or doubtful in a configuration, errors and warnings, in the order of the file.
pub fn validate(settings: &Settings) -> Vec<Diagnostic> {
    check::check(settings, Names::new()).1
}
