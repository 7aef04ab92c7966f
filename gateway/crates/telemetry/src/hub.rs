//! Where all cores' telemetry comes together.

use crate::core::CoreMetrics;
use crate::counter::Counter;
use crate::exposition::Exposition;
use crate::histogram::{LatencyHistogram, Merged, Quantiles};
use crate::log::codec::RECORD_BYTES_MAX;
use crate::names::Names;
use crate::prometheus;
use crate::shard::{RouteCell, STATUS_CLASSES, Shard, Slots};
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

/// Writes metric families the hub doesn't know, for example the XDP program's.
pub type Collector = Box<dyn Fn(&mut Exposition<'_>) + Send + Sync>;

/// How much the hub may hold. Names beyond a bound share the slot `(other)`.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Route names over the life of the process.
    pub routes_max: usize,
    /// Upstream names.
    pub upstreams_max: usize,
    /// Limit names.
    pub limits_max: usize,
    /// API key names.
    pub keys_max: usize,
    /// Each core's log ring, allocated by the first record that is logged. Rounded up to a power of two that holds two
    /// of the largest records.
    pub log_ring_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            routes_max: 4096,
            upstreams_max: 1024,
            limits_max: 1024,
            keys_max: 4096,
            log_ring_bytes: 4 << 20,
        }
    }
}

/// Every core's counters, and the names of their slots.
pub struct Hub {
    options: Options,
    pub(crate) cores: usize,
    pub(crate) routes: Names,
    pub(crate) upstreams: Names,
    pub(crate) limits: Names,
    pub(crate) keys: Names,
    shards: Mutex<Vec<Arc<Shard>>>,
    collectors: Mutex<Vec<Collector>>,
    /// True while a log thread runs: the cores' one look at whether to log.
    pub(crate) log_wanted: Arc<AtomicBool>,
    /// Written by the log thread, one at a time.
    pub(crate) log: LogTotals,
}

/// The log thread's own counters.
#[derive(Debug, Default)]
pub(crate) struct LogTotals {
    pub(crate) written: Counter,
    pub(crate) write_errors: Counter,
    pub(crate) write_lost: Counter,
}

impl fmt::Debug for Hub {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Hub")
            .field("options", &self.options)
            .field("cores", &self.cores)
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// A hub for this many data cores.
    pub fn new(cores: usize, options: Options) -> Arc<Self> {
        Arc::new(Self {
            options,
            cores,
            routes: Names::new(options.routes_max, &["(other)", "(unmatched)"]),
            upstreams: Names::new(options.upstreams_max, &["(other)"]),
            limits: Names::new(options.limits_max, &["(other)"]),
            keys: Names::new(options.keys_max, &["(other)"]),
            shards: Mutex::default(),
            collectors: Mutex::default(),
            log_wanted: Arc::default(),
            log: LogTotals::default(),
        })
    }

    /// The slot of a route name: the same for the same name, for the life of the process.
    pub fn route_slot(&self, name: &str) -> u32 {
        self.routes.slot(name)
    }

    /// The slot of an upstream name.
    pub fn upstream_slot(&self, name: &str) -> u32 {
        self.upstreams.slot(name)
    }

    /// The slot of a limit name.
    pub fn limit_slot(&self, name: &str) -> u32 {
        self.limits.slot(name)
    }

    /// The slot of an API key's name (never its value).
    pub fn key_slot(&self, name: &str) -> u32 {
        self.keys.slot(name)
    }

    /// The name of an API key's slot.
    pub fn key_name(&self, slot: u32) -> Option<String> {
        self.keys.since(slot as usize).first().map(ToString::to_string)
    }

    /// A writing end for core `index`. Every call gives one of its own, so that there is always a single writer; a
    /// core that asks twice is reported as the sum.
    pub fn core(&self, index: usize) -> CoreMetrics {
        let slots = Slots {
            routes: self.routes.capacity(),
            upstreams: self.upstreams.capacity(),
            limits: self.limits.capacity(),
            keys: self.keys.capacity(),
        };
        let shard = Arc::new(Shard::new(index, slots));
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&shard));
        // Two, because the end of the ring may be too short for one, and is then skipped.
        let log_ring_bytes = self.options.log_ring_bytes.max(2 * RECORD_BYTES_MAX);
        CoreMetrics::new(shard, Arc::clone(&self.log_wanted), log_ring_bytes.div_ceil(8))
    }

    /// Adds families to every rendering from now on.
    pub fn add_collector(&self, collector: Collector) {
        self.collectors.lock().unwrap_or_else(PoisonError::into_inner).push(collector);
    }

    /// Appends all metrics in Prometheus's text format. The cores go on meanwhile: the counters are each exact, and
    /// of slightly different moments.
    pub fn render_prometheus(&self, out: &mut String) {
        let mut exposition = Exposition::new(out);
        prometheus::render(self, &mut exposition);
        for collector in self.collectors.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            collector(&mut exposition);
        }
    }

    /// Requests and latencies of one route since start.
    pub fn route_totals(&self, slot: u32) -> RouteTotals {
        let mut totals = RouteTotals::default();
        let (mut latency, mut integration) = (Merged::new(), Merged::new());
        for shard in self.shards() {
            let Some(route) = shard.routes.get(slot as usize) else { continue };
            for (total, class) in totals.by_class.iter_mut().zip(&route.by_class) {
                *total += class.get();
            }
            merge(&mut latency, route, |route| route.latency.get());
            merge(&mut integration, route, |route| route.integration.get());
        }
        totals.requests = totals.by_class.iter().sum();
        totals.latency = latency.quantiles();
        totals.integration_latency = integration.quantiles();
        totals
    }

    pub(crate) fn shards(&self) -> Vec<Arc<Shard>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn merge<'a>(
    into: &mut Merged,
    route: &'a RouteCell,
    pick: impl Fn(&'a RouteCell) -> Option<&'a Box<LatencyHistogram>>,
) {
    if let Some(histogram) = pick(route) {
        into.add(histogram);
    }
}

/// One route's numbers since start, of all cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteTotals {
    /// All requests.
    pub requests: u64,
    /// Requests by status class: other, 1xx, 2xx, 3xx, 4xx, 5xx.
    pub by_class: [u64; STATUS_CLASSES.len()],
    /// Latency, if there was a request.
    pub latency: Option<Quantiles>,
    /// Time spent waiting for the upstream, if one was asked.
    pub integration_latency: Option<Quantiles>,
}
