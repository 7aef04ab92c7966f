//! Samples of drops for the gateway's log.

use crate::Source;

/// A dropped packet. Each CPU reports at most one in [`Settings::event_interval_ns`](crate::Settings::event_interval_ns),
/// whichever comes first after that time: frequent reasons are met in proportion.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// When, nanoseconds of `CLOCK_MONOTONIC`, to the kernel's tick.
    pub at_ns: u64,
    /// Whose; all zeroes where the packet was too broken to tell.
    pub source: Source,
    /// Index of the interface.
    pub interface: u32,
    /// A [`Reason`](crate::Reason) by its discriminant.
    pub reason: u32,
    /// The rule of the block list, for that reason.
    pub rule: u32,
    /// Where it was going, host order; 0 where it has none.
    pub port: u16,
    /// 1 if the packet passed after all, in a dry run.
    pub is_dry: u16,
    /// Length by the IP header.
    pub bytes: u64,
}
