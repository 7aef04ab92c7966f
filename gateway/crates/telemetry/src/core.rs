//! The data core's side.

use crate::histogram::LatencyHistogram;
use crate::log::codec;
use crate::names::OVERFLOW;
use crate::record::{CacheOutcome, EngineGauge, HandshakeFailure, Http2Fault, Record, Refusal};
use crate::ring::{self, Producer};
use crate::shard::{RouteCell, Shard, UpstreamCell, status_class};
use std::cell::OnceCell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};

/// One core's writing end. It may move to its thread, and can't be shared or cloned: each has its own counters, which
/// it alone writes. Methods take `&self` so that tasks of one core can hold it by `Rc`.
#[derive(Debug)]
pub struct CoreMetrics {
    shard: Arc<Shard>,
    log_wanted: Arc<AtomicBool>,
    log_ring_words: usize,
    log: OnceCell<Producer>,
}

impl CoreMetrics {
    pub(crate) fn new(shard: Arc<Shard>, log_wanted: Arc<AtomicBool>, log_ring_words: usize) -> Self {
        Self { shard, log_wanted, log_ring_words, log: OnceCell::new() }
    }

    /// Counts one exchange and logs it.
    #[inline]
    pub fn record(&self, record: &Record<'_>) {
        self.count_route(record);
        let totals = &self.shard.totals;
        totals.bytes_in.add(record.bytes_in);
        totals.bytes_out.add(record.bytes_out);
        if let Some(refusal) = record.refusal {
            self.count_refusal(refusal, record);
        }
        if let Some(upstream) = record.upstream.and_then(|slot| self.upstream(slot)) {
            upstream.requests.increment();
            if record.refusal.is_some_and(Refusal::is_upstream) {
                upstream.failures.increment();
            }
        }
        if let Some(key) = record.key.and_then(|slot| at(&self.shard.keys, slot)) {
            key.increment();
        }
        if self.log_wanted.load(Relaxed) {
            self.log(record);
        }
    }

    #[inline]
    fn count_route(&self, record: &Record<'_>) {
        let Some(route) = at::<RouteCell>(&self.shard.routes, record.route) else { return };
        if let Some(class) = route.by_class.get(status_class(record.status)) {
            class.increment();
        }
        route.latency.get_or_init(LatencyHistogram::new).record(record.latency_us);
        if let Some(integration_us) = record.integration_latency_us {
            route.integration.get_or_init(LatencyHistogram::new).record(integration_us);
        }
        match record.cache {
            CacheOutcome::None => {}
            CacheOutcome::Hit => route.cache_hits.increment(),
            CacheOutcome::Miss => route.cache_misses.increment(),
            CacheOutcome::Refresh => route.cache_refreshes.increment(),
        }
    }

    fn count_refusal(&self, refusal: Refusal, record: &Record<'_>) {
        if let Some(counter) = self.shard.totals.refusals.get(refusal as usize) {
            counter.increment();
        }
        if refusal == Refusal::Throttled
            && let Some(limit) = record.limit.and_then(|slot| at(&self.shard.throttled, slot))
        {
            limit.increment();
        }
        if refusal == Refusal::Throttled
            && let Some(key) = record.key.and_then(|slot| at(&self.shard.throttled_keys, slot))
        {
            key.increment();
        }
    }

    #[inline]
    fn log(&self, record: &Record<'_>) {
        let producer = self.log.get_or_init(|| self.open_log());
        if !codec::push(producer, record) {
            self.shard.totals.log_lost.increment();
        }
    }

    #[cold]
    fn open_log(&self) -> Producer {
        let (producer, consumer) = ring::ring(self.log_ring_words);
        *self.shard.log.lock().unwrap_or_else(PoisonError::into_inner) = Some(consumer);
        producer
    }

    /// A client connection was accepted.
    pub fn connection_opened(&self) {
        self.shard.totals.connections_opened.increment();
    }

    /// A client connection ended.
    pub fn connection_closed(&self) {
        self.shard.totals.connections_closed.increment();
    }

    /// A connection changed its protocol and became a tunnel.
    pub fn tunnel_opened(&self) {
        self.shard.totals.tunnels_opened.increment();
    }

    /// A tunnel ended.
    pub fn tunnel_closed(&self) {
        self.shard.totals.tunnels_closed.increment();
    }

    /// A client connection was turned away because there are too many.
    pub fn connection_shed(&self) {
        self.shard.totals.connections_shed.increment();
    }

    /// A client connection was closed at once because its address has too many.
    pub fn connection_over_address(&self) {
        self.shard.totals.connections_over_address.increment();
    }

    /// A client connection speaks HTTP/2.
    pub fn http2_connection(&self) {
        self.shard.totals.http2_connections.increment();
    }

    /// A stream was reset for the client's fault.
    pub fn http2_stream_error(&self, label: &str) {
        let fault = Http2Fault::from_label(label) as usize;
        if let Some(counter) = self.shard.totals.http2_stream_errors.get(fault) {
            counter.increment();
        }
    }

    /// A client's TLS handshake succeeded.
    pub fn handshake(&self, resumed: bool) {
        let totals = &self.shard.totals;
        if resumed { totals.handshakes_resumed.increment() } else { totals.handshakes.increment() }
    }

    /// A client's TLS handshake failed.
    pub fn handshake_failed(&self, why: HandshakeFailure) {
        if let Some(counter) = self.shard.totals.handshake_failures.get(why as usize) {
            counter.increment();
        }
    }

    /// A connection was ended with GOAWAY for the client's fault.
    pub fn http2_connection_error(&self, label: &str) {
        let fault = Http2Fault::from_label(label) as usize;
        if let Some(counter) = self.shard.totals.http2_connection_errors.get(fault) {
            counter.increment();
        }
    }

    /// A connection to this upstream was made.
    pub fn upstream_connected(&self, upstream: u32) {
        if let Some(cell) = self.upstream(upstream) {
            cell.connects.increment();
        }
    }

    /// A connection to this upstream could not be made.
    pub fn upstream_connect_failed(&self, upstream: u32) {
        if let Some(cell) = self.upstream(upstream) {
            cell.connect_failures.increment();
        }
    }

    /// A connection to this upstream ended.
    pub fn upstream_closed(&self, upstream: u32) {
        if let Some(cell) = self.upstream(upstream) {
            cell.connections_closed.increment();
        }
    }

    /// An attempt failed and the request is being sent again. Failures that reach the client are counted by `record`.
    pub fn upstream_retried(&self, upstream: u32) {
        if let Some(cell) = self.upstream(upstream) {
            cell.retries.increment();
        }
    }

    /// The engine's own number, as of now.
    pub fn set_engine(&self, gauge: EngineGauge, value: u64) {
        if let Some(counter) = self.shard.totals.engine.get(gauge as usize) {
            counter.set(value);
        }
    }

    #[inline]
    fn upstream(&self, slot: u32) -> Option<&UpstreamCell> {
        at(&self.shard.upstreams, slot)
    }
}

/// A slot's cell, or the overflow slot's for a slot nobody gave out.
#[inline]
fn at<T>(cells: &[T], slot: u32) -> Option<&T> {
    cells.get(slot as usize).or_else(|| cells.get(OVERFLOW as usize))
}
