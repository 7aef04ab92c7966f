//! One core's counters. Written by that core only, read by anyone.

use crate::counter::Counter;
use crate::histogram::LatencyHistogram;
use crate::record::{EngineGauge, HandshakeFailure, Http2Fault, Refusal};
use crate::ring::Consumer;
use std::sync::{Mutex, OnceLock};

/// Statuses by hundreds; 0 is for those out of range.
pub(crate) const STATUS_CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];

#[inline]
pub(crate) fn status_class(status: u16) -> usize {
    match status / 100 {
        class @ 1..=5 => usize::from(class),
        _ => 0,
    }
}

/// Aligned so that no two cores' cells share a cache line, nor a pair of lines that is fetched together.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct RouteCell {
    pub(crate) by_class: [Counter; STATUS_CLASSES.len()],
    pub(crate) cache_hits: Counter,
    pub(crate) cache_misses: Counter,
    pub(crate) cache_refreshes: Counter,
    pub(crate) latency: OnceLock<Box<LatencyHistogram>>,
    pub(crate) integration: OnceLock<Box<LatencyHistogram>>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct UpstreamCell {
    pub(crate) requests: Counter,
    pub(crate) failures: Counter,
    pub(crate) retries: Counter,
    pub(crate) connects: Counter,
    pub(crate) connect_failures: Counter,
    pub(crate) connections_closed: Counter,
}

#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Totals {
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) connections_opened: Counter,
    pub(crate) connections_closed: Counter,
    pub(crate) connections_shed: Counter,
    pub(crate) connections_over_address: Counter,
    pub(crate) tunnels_opened: Counter,
    pub(crate) tunnels_closed: Counter,
    pub(crate) log_lost: Counter,
    pub(crate) http2_connections: Counter,
    pub(crate) http2_stream_errors: [Counter; Http2Fault::ALL.len()],
    pub(crate) http2_connection_errors: [Counter; Http2Fault::ALL.len()],
    pub(crate) handshakes: Counter,
    pub(crate) handshakes_resumed: Counter,
    pub(crate) handshake_failures: [Counter; HandshakeFailure::ALL.len()],
    pub(crate) refusals: PerRefusal,
    pub(crate) engine: [Counter; EngineGauge::ALL.len()],
}

/// A counter for each refusal. More than the 32 that arrays have defaults for.
#[derive(Debug)]
pub(crate) struct PerRefusal([Counter; Refusal::ALL.len()]);

impl Default for PerRefusal {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl PerRefusal {
    #[inline]
    pub(crate) fn get(&self, at: usize) -> Option<&Counter> {
        self.0.get(at)
    }
}

/// How many slots of each kind a shard has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots {
    pub(crate) routes: usize,
    pub(crate) upstreams: usize,
    pub(crate) limits: usize,
    pub(crate) keys: usize,
}

#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) core: usize,
    pub(crate) totals: Totals,
    pub(crate) routes: Box<[RouteCell]>,
    pub(crate) upstreams: Box<[UpstreamCell]>,
    pub(crate) throttled: Box<[Counter]>,
    pub(crate) keys: Box<[Counter]>,
    pub(crate) throttled_keys: Box<[Counter]>,
    /// The log thread's end of the ring, once the core has logged its first record.
    pub(crate) log: Mutex<Option<Consumer>>,
}

impl Shard {
    pub(crate) fn new(core: usize, slots: Slots) -> Self {
        Self {
            core,
            totals: Totals::default(),
            routes: (0..slots.routes).map(|_| RouteCell::default()).collect(),
            upstreams: (0..slots.upstreams).map(|_| UpstreamCell::default()).collect(),
            throttled: (0..slots.limits).map(|_| Counter::default()).collect(),
            keys: (0..slots.keys).map(|_| Counter::default()).collect(),
            throttled_keys: (0..slots.keys).map(|_| Counter::default()).collect(),
            log: Mutex::new(None),
        }
    }
}
