//! A part of the cache: a hash table of chains that anyone reads without a lock, and the queue of one writer at a time.
//!
//! ```text
//! buckets  [ * ]──> Node ──> Node ──> null        readers: pin the epoch, walk, compare hash and key, clone the Arc
//!          [ * ]──> null                          writer:  link, replace, unlink under the lock; free after the epoch
//! writer   Mutex { Sieve of (bucket, bytes), counts }
//! ```
//!
//! A node never changes but for its mark and its `next`. It is linked by one release store, read by acquire loads, and freed
//! two epochs after it was unlinked: a reader that could still hold it has unpinned by then. A reader standing on an
//! unlinked node goes on into what followed it then, which was in the cache after that reader began.

use crate::entry::Entry;
use crate::key::KeyRef;
use crate::sieve::{Sieve, Slot};
use crossbeam_epoch::{self as epoch, Atomic, Guard, Owned, Shared};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What an entry costs beyond its key, head and body: node, `Arc`, the two buffers' reference counts, its place in the
/// queue (twice, since vectors grow by doubling), and 16 bytes for each of five allocations.
pub(crate) const ENTRY_OVERHEAD_BYTES: u64 =
    (size_of::<Node>() + 16 + size_of::<Entry>() + 2 * 24 + 2 * Sieve::<Place>::SLOT_BYTES + 5 * 16) as u64;

/// One bucket for so much capacity: 0.8% of it, and chains below four even if all entries were empty.
const BYTES_PER_BUCKET: u64 = 1024;

struct Node {
    hash: u128,
    key: Box<[u8]>,
    entry: Arc<Entry>,
    bytes: u64,
    slot: Slot,
    /// Read since the hand last passed.
    marked: AtomicBool,
    next: Atomic<Node>,
}

/// What the queue knows of an entry: where to find it.
#[derive(Debug)]
struct Place {
    bucket: u32,
    bytes: u64,
}

#[derive(Debug)]
pub(crate) struct Shard {
    buckets: Box<[Atomic<Node>]>,
    capacity_bytes: u64,
    /// Unlinked and not yet freed.
    retired_bytes: Arc<AtomicU64>,
    writer: Padded<Mutex<Writer>>,
}

/// On cache lines of its own, so that writers don't slow readers of the fields beside it.
#[derive(Debug)]
#[repr(align(128))]
struct Padded<T>(T);

/// Keys share these marks; who meets another's only stores less.
const INVALIDATION_MARKS: usize = 1024;

#[derive(Debug)]
struct Writer {
    queue: Sieve<Place>,
    bytes: u64,
    /// When keys were last invalidated, by hash.
    invalidated_ms: Box<[u64]>,
    /// Something was unlinked since the lock was taken.
    retired: bool,
    counts: Counts,
}

/// What has happened in a shard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) insertions: u64,
    pub(crate) replacements: u64,
    pub(crate) evictions: u64,
    pub(crate) rejections: u64,
}

/// A shard's counts and sizes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShardStats {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) retired_bytes: u64,
    pub(crate) counts: Counts,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("entry", &self.entry).finish_non_exhaustive()
    }
}

/// A chain's link and the node it leads to.
struct Found<'g> {
    link: &'g Atomic<Node>,
    node: Shared<'g, Node>,
}

impl Shard {
    /// `capacity_bytes` covers the table itself, too.
    pub(crate) fn new(capacity_bytes: u64) -> Self {
        let buckets = (capacity_bytes / BYTES_PER_BUCKET).next_power_of_two().clamp(1, 1 << 24);
        let buckets: Box<[Atomic<Node>]> = (0..buckets).map(|_| Atomic::null()).collect();
        let invalidated_ms = vec![0; INVALIDATION_MARKS].into_boxed_slice();
        let table_bytes = (size_of_val(&*buckets) + size_of_val(&*invalidated_ms)) as u64;
        Self {
            buckets,
            capacity_bytes: capacity_bytes.saturating_sub(table_bytes),
            retired_bytes: Arc::new(AtomicU64::new(0)),
            writer: Padded(Mutex::new(Writer {
                queue: Sieve::new(),
                bytes: 0,
                invalidated_ms,
                retired: false,
                counts: Counts::default(),
            })),
        }
    }

    /// The largest entry that it takes, with key and overhead.
    pub(crate) fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    pub(crate) fn get(&self, key: KeyRef<'_>, now_ms: u64) -> Option<Arc<Entry>> {
        let guard = epoch::pin();
        let node = self.find(self.bucket_of(key), key, &guard)?.node;
        // SAFETY: reached under `guard`, so it is not freed while `guard` lives; linked nodes are initialised and shared.
        let node = unsafe { node.as_ref() }?;
        if !node.entry.is_fresh(now_ms) {
            return None;
        }
        // Marked already, mostly: then the line stays shared among the cores.
        if !node.marked.load(Ordering::Relaxed) {
            node.marked.store(true, Ordering::Relaxed);
        }
        Some(Arc::clone(&node.entry))
    }

    pub(crate) fn insert(&self, key: KeyRef<'_>, entry: Arc<Entry>) {
        self.insert_asked(key, entry, u64::MAX);
    }

    /// Unless the key was invalidated at `asked_at_ms` or later. Says whether it was not.
    pub(crate) fn insert_asked(&self, key: KeyRef<'_>, entry: Arc<Entry>, asked_at_ms: u64) -> bool {
        let guard = epoch::pin();
        let writer = self.lock();
        if writer.invalidated_ms.get(mark_of(key)).is_some_and(|at_ms| *at_ms >= asked_at_ms) {
            return false;
        }
        self.insert_locked(writer, guard, key, entry);
        true
    }

    fn insert_locked(
        &self,
        mut writer: MutexGuard<'_, Writer>,
        guard: Guard,
        key: KeyRef<'_>,
        entry: Arc<Entry>,
    ) {
        let payload = key.bytes().len() + entry.head.len() + entry.body.len();
        let bytes = ENTRY_OVERHEAD_BYTES + payload as u64 + entry.validity.heap_bytes();
        let now_ms = entry.stored_at_ms;
        let bucket = self.bucket_of(key);
        if bytes > self.capacity_bytes {
            writer.counts.rejections += 1;
            self.unlink_key(&mut writer, bucket, key, &guard);
            return leave(writer, guard);
        }
        let node = Owned::new(Node {
            hash: key.hash(),
            key: key.bytes().into(),
            entry,
            bytes,
            slot: 0,
            marked: AtomicBool::new(false),
            next: Atomic::null(),
        });
        match self.find(bucket, key, &guard) {
            Some(found) => self.replace(&mut writer, &found, node, now_ms, &guard),
            None => self.link(&mut writer, bucket, node, now_ms, &guard),
        }
        leave(writer, guard);
    }

    pub(crate) fn remove(&self, key: KeyRef<'_>) -> bool {
        let guard = epoch::pin();
        let mut writer = self.lock();
        let removed = self.unlink_key(&mut writer, self.bucket_of(key), key, &guard);
        leave(writer, guard);
        removed
    }

    /// Removes, and keeps what was asked for before `now_ms` from being stored.
    pub(crate) fn invalidate(&self, key: KeyRef<'_>, now_ms: u64) -> bool {
        let guard = epoch::pin();
        let mut writer = self.lock();
        if let Some(mark) = writer.invalidated_ms.get_mut(mark_of(key)) {
            *mark = now_ms.max(*mark);
        }
        let removed = self.unlink_key(&mut writer, self.bucket_of(key), key, &guard);
        leave(writer, guard);
        removed
    }

    pub(crate) fn clear(&self) {
        let guard = epoch::pin();
        let mut writer = self.lock();
        while let Some(slot) = writer.queue.victim(None, |_, _| false) {
            self.unlink_slot(&mut writer, slot, &guard);
        }
        leave(writer, guard);
    }

    pub(crate) fn stats(&self) -> ShardStats {
        let writer = self.lock();
        ShardStats {
            entries: writer.queue.len() as u64,
            bytes: writer.bytes,
            retired_bytes: self.retired_bytes.load(Ordering::Relaxed),
            counts: writer.counts,
        }
    }

    /// Goes on after a panic elsewhere: nothing in the critical sections panics, and each step leaves the shard valid.
    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bucket_of(&self, key: KeyRef<'_>) -> u32 {
        // A power of two of at most 2^24 buckets; the hash's other half chooses the shard.
        (key.hash() as u32) & (self.buckets.len() - 1) as u32
    }

    fn link(&self, writer: &mut Writer, bucket: u32, mut node: Owned<Node>, now_ms: u64, guard: &Guard) {
        self.make_room(writer, node.bytes, None, now_ms, guard);
        let bytes = node.bytes;
        let (Some(head), Some(slot)) =
            (self.buckets.get(bucket as usize), writer.queue.push(Place { bucket, bytes }))
        else {
            return;
        };
        node.slot = slot;
        node.next.store(head.load(Ordering::Relaxed, guard), Ordering::Relaxed);
        head.store(node, Ordering::Release);
        writer.bytes += bytes;
        writer.counts.insertions += 1;
    }

    fn replace(
        &self,
        writer: &mut Writer,
        found: &Found<'_>,
        mut node: Owned<Node>,
        now_ms: u64,
        guard: &Guard,
    ) {
        // SAFETY: reached under `guard` and linked; only the lock's holder unlinks.
        let Some(old) = (unsafe { found.node.as_ref() }) else { return };
        let bytes = node.bytes;
        node.slot = old.slot;
        node.marked = AtomicBool::new(old.marked.load(Ordering::Relaxed));
        node.next.store(old.next.load(Ordering::Relaxed, guard), Ordering::Relaxed);
        found.link.store(node, Ordering::Release);
        if let Some(place) = writer.queue.get_mut(old.slot) {
            place.bytes = bytes;
        }
        writer.bytes = writer.bytes + bytes - old.bytes;
        writer.counts.replacements += 1;
        let slot = old.slot;
        self.retire(writer, found.node, old.bytes, guard);
        self.make_room(writer, 0, Some(slot), now_ms, guard);
    }

    /// Evicts until `bytes` more fit.
    fn make_room(&self, writer: &mut Writer, bytes: u64, keep: Option<Slot>, now_ms: u64, guard: &Guard) {
        while writer.bytes + bytes > self.capacity_bytes {
            let Some(slot) = writer.queue.victim(keep, |slot, place| self.spare(slot, place, now_ms, guard))
            else {
                break;
            };
            self.unlink_slot(writer, slot, guard);
            writer.counts.evictions += 1;
        }
    }

    /// Whether the entry was read since the hand last passed, and is worth keeping.
    fn spare(&self, slot: Slot, place: &Place, now_ms: u64, guard: &Guard) -> bool {
        let found = self.find_node(place.bucket, guard, |node| node.slot == slot);
        // SAFETY: as in `get`.
        found
            .and_then(|found| unsafe { found.node.as_ref() })
            .is_some_and(|node| node.marked.swap(false, Ordering::Relaxed) && node.entry.is_fresh(now_ms))
    }

    fn unlink_key(&self, writer: &mut Writer, bucket: u32, key: KeyRef<'_>, guard: &Guard) -> bool {
        let Some(found) = self.find(bucket, key, guard) else { return false };
        // SAFETY: as in `get`.
        let Some(slot) = (unsafe { found.node.as_ref() }).map(|node| node.slot) else { return false };
        self.unlink_slot(writer, slot, guard);
        true
    }

    /// Takes the entry out of the queue and out of its chain.
    fn unlink_slot(&self, writer: &mut Writer, slot: Slot, guard: &Guard) {
        let Some(place) = writer.queue.remove(slot) else { return };
        writer.bytes -= place.bytes;
        let Some(found) = self.find_node(place.bucket, guard, |node| node.slot == slot) else { return };
        // SAFETY: as in `get`.
        if let Some(node) = unsafe { found.node.as_ref() } {
            found.link.store(node.next.load(Ordering::Relaxed, guard), Ordering::Release);
            self.retire(writer, found.node, place.bytes, guard);
        }
    }

    fn find<'g>(&'g self, bucket: u32, key: KeyRef<'_>, guard: &'g Guard) -> Option<Found<'g>> {
        self.find_node(bucket, guard, |node| node.hash == key.hash() && *node.key == *key.bytes())
    }

    #[inline]
    fn find_node<'g>(
        &'g self,
        bucket: u32,
        guard: &'g Guard,
        wanted: impl Fn(&Node) -> bool,
    ) -> Option<Found<'g>> {
        let mut link = self.buckets.get(bucket as usize)?;
        loop {
            let node = link.load(Ordering::Acquire, guard);
            // SAFETY: as in `get`.
            let here = unsafe { node.as_ref() }?;
            if wanted(here) {
                return Some(Found { link, node });
            }
            link = &here.next;
        }
    }

    fn retire(&self, writer: &mut Writer, node: Shared<'_, Node>, bytes: u64, guard: &Guard) {
        writer.retired = true;
        self.retired_bytes.fetch_add(bytes, Ordering::Relaxed);
        let retired_bytes = Arc::clone(&self.retired_bytes);
        let node = node.as_raw();
        // SAFETY: the caller just unlinked the node under the lock, so nobody finds it any more and it is retired once;
        // those who found it before are pinned, and this runs after they unpin. All it owns is Send.
        unsafe {
            guard.defer_unchecked(move || {
                drop(Shared::from(node).into_owned());
                retired_bytes.fetch_sub(bytes, Ordering::Relaxed);
            });
        }
    }
}

fn mark_of(key: KeyRef<'_>) -> usize {
    (key.hash() >> 32) as usize % INVALIDATION_MARKS
}

/// Unlocks, then hands what was retired to the collector and pushes the epoch on: bodies are large, and a thread's own
/// list of garbage would keep 64 of them. Freeing happens outside the lock.
fn leave(mut writer: MutexGuard<'_, Writer>, guard: Guard) {
    let retired = std::mem::take(&mut writer.retired);
    drop(writer);
    if retired {
        guard.flush();
        drop(guard);
        epoch::pin().flush();
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        // SAFETY: `&mut self`: no reader has a reference into the shard, so nobody holds its nodes.
        let guard = unsafe { epoch::unprotected() };
        for head in &self.buckets {
            let mut at = head.load(Ordering::Relaxed, guard);
            while !at.is_null() {
                // SAFETY: each linked node is owned by its one link, and visited once.
                let node = unsafe { at.into_owned() };
                at = node.next.load(Ordering::Relaxed, guard);
            }
        }
    }
}
