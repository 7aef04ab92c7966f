//! Metric slots for `compile`, from the telemetry hub.

use sluice_compile::SlotAllocator;
use sluice_telemetry::Hub;
use std::sync::Arc;

/// Names become slots of the hub.
pub(crate) struct HubSlots(pub(crate) Arc<Hub>);

impl SlotAllocator for HubSlots {
    fn route_slot(&mut self, name: &str) -> u32 {
        self.0.route_slot(name)
    }

    fn upstream_slot(&mut self, name: &str) -> u32 {
        self.0.upstream_slot(name)
    }

    fn limit_slot(&mut self, name: &str) -> u32 {
        self.0.limit_slot(name)
    }

    fn key_slot(&mut self, name: &str) -> u32 {
        self.0.key_slot(name)
    }
}
