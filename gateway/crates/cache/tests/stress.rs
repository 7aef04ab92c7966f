//! Real threads read, replace, remove and evict at once. Only contents are asserted, never speed.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use bytes::Bytes;
use sluice_cache::{Cache, Entry, Flight, Flights, KeyBuilder, Validity};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

const THREADS: u64 = 4;
// Miri interprets each step.
const ROUNDS: u64 = if cfg!(miri) { 60 } else { 40_000 };

/// An answer that says in every byte which key it is for and how long it is.
fn entry(key: u64, size: usize, now_ms: u64) -> Entry {
    let mark = key as u8;
    Entry {
        status: 200 + key as u16,
        head: Bytes::copy_from_slice(&key.to_le_bytes()),
        body: vec![mark; size].into(),
        stored_at_ms: now_ms,
        expires_at_ms: now_ms + size as u64,
        validity: Validity::Ttl,
    }
}

fn check(key: u64, now_ms: u64, entry: &Entry) {
    assert_eq!(entry.status, 200 + key as u16);
    assert_eq!(entry.head, key.to_le_bytes().as_slice());
    assert!(entry.body.iter().all(|byte| *byte == key as u8));
    assert_eq!(entry.expires_at_ms, entry.stored_at_ms + entry.body.len() as u64);
    assert!(now_ms < entry.expires_at_ms, "fresh");
}

/// A small generator, so that each thread's run is the same each time.
fn next(random: &mut u64) -> u64 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *random >> 33
}

#[test]
fn answers_never_mix() {
    // A few buckets, so that chains are long and change under the readers.
    let cache = Cache::new(40_000);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let cache = &cache;
            scope.spawn(move || {
                let mut builder = KeyBuilder::with_seed(3);
                let mut random = thread;
                for now_ms in 0..ROUNDS {
                    let key = next(&mut random) % 100;
                    let key_ref = builder.start().push(&key.to_le_bytes()).finish();
                    match next(&mut random) % 8 {
                        0 => check(
                            key,
                            now_ms,
                            &cache.insert(key_ref, entry(key, 1 + key as usize * 3, now_ms)),
                        ),
                        1 if now_ms % 16 == 0 => _ = cache.remove(key_ref),
                        2 if now_ms % 1024 == 0 => cache.clear(),
                        _ => {
                            if let Some(entry) = cache.get(key_ref, now_ms) {
                                check(key, now_ms, &entry);
                            }
                        }
                    }
                }
            });
        }
    });
    let stats = cache.stats();
    assert!(stats.bytes <= stats.capacity_bytes);
    assert!(stats.evictions > 0 || cfg!(miri));
    cache.clear();
    assert_eq!((cache.stats().entries, cache.stats().bytes), (0, 0));
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread. Hangs if a wake is lost.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        std::thread::park();
    }
}

/// What a data core does on a miss. Every third leader gives up; every fifth follower loses patience.
fn fetch(
    cache: &Cache,
    flights: &Flights,
    builder: &KeyBuilder,
    key: u64,
    fills: &AtomicUsize,
    random: &mut u64,
) {
    let key_ref = builder.finish();
    loop {
        if let Some(entry) = cache.get(key_ref, 0) {
            return check(key, 0, &entry);
        }
        match flights.join(key_ref) {
            Flight::Leader(guard) => {
                if let Some(entry) = cache.get(key_ref, 0) {
                    check(key, 0, &entry);
                    return guard.complete(Some(entry));
                }
                if next(random).is_multiple_of(3) {
                    continue; // Drops the guard.
                }
                fills.fetch_add(1, Ordering::Relaxed);
                let entry = cache.insert(key_ref, entry(key, 10, 0));
                return guard.complete(Some(entry));
            }
            Flight::Follower(waiter) if next(random).is_multiple_of(5) => {
                let mut waiter = pin!(waiter);
                if let Poll::Ready(Some(entry)) =
                    waiter.as_mut().poll(&mut Context::from_waker(Waker::noop()))
                {
                    return check(key, 0, &entry);
                }
            }
            Flight::Follower(waiter) => {
                if let Some(entry) = block_on(waiter) {
                    return check(key, 0, &entry);
                }
            }
        }
    }
}

#[test]
fn each_key_is_filled_once_and_all_get_it() {
    let cache = Cache::new(8 << 20);
    let flights = Flights::new();
    let fills = AtomicUsize::new(0);
    let keys = ROUNDS / 20;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (cache, flights, fills) = (&cache, &flights, &fills);
            scope.spawn(move || {
                let mut builder = KeyBuilder::with_seed(3);
                let mut random = thread;
                for key in 0..keys {
                    builder.start().push(&key.to_le_bytes());
                    fetch(cache, flights, &builder, key, fills, &mut random);
                }
            });
        }
    });
    assert_eq!(fills.into_inner() as u64, keys, "a leader looks again, so nobody fetches twice");
    assert_eq!(flights.in_flight(), 0);
}
