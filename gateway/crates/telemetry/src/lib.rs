//! Metrics and the access log: what the data cores did, told without slowing them.
//!
//! A data core owns one [`CoreMetrics`] and calls [`CoreMetrics::record`] once per exchange. That call bumps counters
//! only this core writes (a plain load and store each, no locked instruction), puts the latency into a histogram in HDR
//! layout, and copies a compact record into this core's log ring. Everything else happens elsewhere: [`LogThread`]
//! formats and writes the log, and [`Hub::render_prometheus`] reads all cores while they run.
//!
//! What is lost is counted: a full log ring drops the record, never the request.
//!
//! | CloudWatch metric | here |
//! |---|---|
//! | `Count` | `sluice_requests_total` |
//! | `4XXError`, `5XXError` | `sluice_requests_total{status_class="4xx"}`, `{status_class="5xx"}` |
//! | `Latency` | `sluice_latency_seconds` |
//! | `IntegrationLatency` | `sluice_integration_latency_seconds` |
//! | `CacheHitCount`, `CacheMissCount` | `sluice_cache_hits_total`, `sluice_cache_misses_total` |
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod core;
mod counter;
mod exposition;
mod histogram;
mod hub;
mod log;
mod names;
mod prometheus;
mod record;
mod ring;
mod shard;

pub use crate::core::CoreMetrics;
pub use exposition::{Exposition, Kind};
pub use histogram::Quantiles;
pub use hub::{Collector, Hub, Options, RouteTotals};
pub use log::{LogFormat, LogOptions, LogTarget, LogThread};
pub use names::OVERFLOW;
pub use record::{CacheOutcome, EngineGauge, HandshakeFailure, Http2Fault, Record, Refusal};

/// Route slot of requests that matched no route (and of those too malformed to be matched).
pub const UNMATCHED: u32 = 1;
