//! The cache as a whole.

use crate::entry::Entry;
use crate::key::KeyRef;
use crate::shard::{ENTRY_OVERHEAD_BYTES, Shard};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Writers of different shards don't wait for each other.
const SHARDS_MAX: u64 = 16;

/// A shard is at least so large, so that large entries fit.
const SHARD_MIN_BYTES: u64 = 4 * 1024 * 1024;

/// Cached answers, shared by all cores.
///
/// * `get` takes no lock, allocates nothing, and writes at most a mark and the answer's reference count.
/// * All entries with their keys, [overhead](Cache::ENTRY_OVERHEAD_BYTES) and the table come to at most the capacity
///   whenever no `insert` is under way, and each `insert` exceeds it by its own entry at most. Beyond it lives only what was
///   evicted or replaced and may still be in a reader's hand ([`CacheStats::retired_bytes`]), until two epochs have
///   passed; the writer who retires it drives the epoch on.
/// * Eviction is SIEVE's. The largest entry taken is a shard's capacity: a sixteenth of the whole from 64 MiB up, and for
///   smaller caches 4 MiB or, if that is less, all ([`Cache::entry_max_bytes`]).
#[derive(Debug)]
pub struct Cache {
    shards: Box<[Shard]>,
    capacity_bytes: u64,
    generations: AtomicU64,
}

/// What the cache holds and has done. Hits and misses are the callers' to count, who have counters of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Entries present, stale ones included.
    pub entries: u64,
    /// Their bytes, with keys and overhead.
    pub bytes: u64,
    /// What `bytes` and the table may come to.
    pub capacity_bytes: u64,
    /// Bytes evicted or replaced and not yet freed.
    pub retired_bytes: u64,
    /// Entries stored under a key that wasn't there.
    pub insertions: u64,
    /// Entries stored in the place of another.
    pub replacements: u64,
    /// Entries that gave way.
    pub evictions: u64,
    /// Entries too large to store.
    pub rejections: u64,
}

impl Cache {
    /// Counted for each entry beyond the bytes of key, head and body.
    pub const ENTRY_OVERHEAD_BYTES: u64 = ENTRY_OVERHEAD_BYTES;

    /// An empty cache. With a capacity of 0 it stores nothing.
    #[must_use]
    pub fn new(capacity_bytes: u64) -> Self {
        let shards = (capacity_bytes / SHARD_MIN_BYTES).clamp(1, SHARDS_MAX);
        // Down to a power of two.
        let shards = 1_u64 << shards.ilog2();
        let shards = (0..shards).map(|_| Shard::new(capacity_bytes / shards)).collect();
        Self { shards, capacity_bytes, generations: AtomicU64::new(0) }
    }

    /// The answer under `key`, if there is one that is fresh at `now_ms`.
    #[must_use]
    pub fn get(&self, key: KeyRef<'_>, now_ms: u64) -> Option<Arc<Entry>> {
        self.shard(key)?.get(key, now_ms)
    }

    /// Stores an answer, in place of the one under the same key, and returns it for sending. One that is too large is only
    /// returned, and what it would have replaced is dropped.
    pub fn insert(&self, key: KeyRef<'_>, entry: Entry) -> Arc<Entry> {
        let entry = Arc::new(entry);
        if let Some(shard) = self.shard(key) {
            shard.insert(key, Arc::clone(&entry));
        }
        entry
    }

    /// Stores an answer that was asked for at `asked_at_ms`, unless its key was invalidated then or later: such an answer may
    /// be older than the change (RFC 9111 section 4.4). `None`: it was.
    pub fn insert_asked(&self, key: KeyRef<'_>, entry: Entry, asked_at_ms: u64) -> Option<Arc<Entry>> {
        let entry = Arc::new(entry);
        let stored = self.shard(key)?.insert_asked(key, Arc::clone(&entry), asked_at_ms);
        stored.then_some(entry)
    }

    /// Drops the answer under `key`, and those still to come that were asked for before. Says whether there was one.
    pub fn invalidate(&self, key: KeyRef<'_>, now_ms: u64) -> bool {
        self.shard(key).is_some_and(|shard| shard.invalidate(key, now_ms))
    }

    /// A number for variants that none had before.
    #[must_use]
    pub fn next_generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::Relaxed)
    }

    /// Drops the answer under `key`. Says whether there was one.
    pub fn remove(&self, key: KeyRef<'_>) -> bool {
        self.shard(key).is_some_and(|shard| shard.remove(key))
    }

    /// Drops all answers.
    pub fn clear(&self) {
        for shard in &self.shards {
            shard.clear();
        }
    }

    /// The most that key, head and body of one entry may have together.
    #[must_use]
    pub fn entry_max_bytes(&self) -> u64 {
        let shard_bytes = self.shards.first().map_or(0, Shard::capacity_bytes);
        shard_bytes.saturating_sub(ENTRY_OVERHEAD_BYTES)
    }

    /// Sizes and counts; each shard's are of one moment.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        let mut stats = CacheStats { capacity_bytes: self.capacity_bytes, ..CacheStats::default() };
        for shard in &self.shards {
            let part = shard.stats();
            stats.entries += part.entries;
            stats.bytes += part.bytes;
            stats.retired_bytes += part.retired_bytes;
            stats.insertions += part.counts.insertions;
            stats.replacements += part.counts.replacements;
            stats.evictions += part.counts.evictions;
            stats.rejections += part.counts.rejections;
        }
        stats
    }

    fn shard(&self, key: KeyRef<'_>) -> Option<&Shard> {
        self.shards.get((key.hash() >> 64) as usize & (self.shards.len() - 1))
    }
}
