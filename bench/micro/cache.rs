//! The response cache: key, hit, miss, insert with eviction, and a lone flight.
#![allow(clippy::unwrap_used, reason = "a bench may panic")]
#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use sluice_cache::{Cache, CacheKey, Entry, Flight, Flights, KeyBuilder, KeyRef, Validity};
use std::hint::black_box;

const CAPACITY_BYTES: u64 = 64 << 20;

fn entry() -> Entry {
    Entry {
        status: 200,
        head: Bytes::from_static(b"content-type: application/json\r\ncontent-length: 187\r\n"),
        body: Bytes::from_static(&[b'x'; 187]),
        stored_at_ms: 0,
        expires_at_ms: u64::MAX,
        validity: Validity::Ttl,
    }
}

/// A key as a cached route makes it: 60 bytes.
fn build<'a>(builder: &'a mut KeyBuilder, user: &[u8]) -> KeyRef<'a> {
    builder
        .start()
        .push(b"GET")
        .push(b"api.example.com")
        .push(b"users")
        .push(user)
        .push(b"application/json")
        .push_absent()
        .finish()
}

fn key(n: u32) -> CacheKey {
    build(&mut KeyBuilder::new(), n.to_string().as_bytes()).to_owned()
}

fn reads(c: &mut Criterion) {
    let mut builder = KeyBuilder::new();
    c.bench_function("cache/key", |b| {
        b.iter(|| black_box(build(&mut builder, black_box(b"1234567"))).hash());
    });

    let cache = Cache::new(CAPACITY_BYTES);
    let keys: Vec<CacheKey> = (0..10_000).map(key).collect();
    for key in &keys {
        cache.insert(key.as_key_ref(), entry());
    }
    let one = key(7);
    c.bench_function("cache/hit", |b| b.iter(|| cache.get(black_box(one.as_key_ref()), 1).unwrap()));
    let mut walk = keys.iter().cycle();
    c.bench_function("cache/hit_of_10000", |b| {
        b.iter(|| walk.next().and_then(|key| cache.get(key.as_key_ref(), 1)).unwrap());
    });
    let absent = key(1_000_000);
    c.bench_function("cache/miss", |b| b.iter(|| cache.get(black_box(absent.as_key_ref()), 1)));
}

fn writes(c: &mut Criterion) {
    let cache = Cache::new(CAPACITY_BYTES);
    let one = key(7);
    c.bench_function("cache/replace", |b| b.iter(|| cache.insert(one.as_key_ref(), entry())));

    // Far more keys than fit, so each insertion evicts.
    let keys: Vec<CacheKey> = (0..400_000).map(key).collect();
    let mut walk = keys.iter().cycle();
    c.bench_function("cache/insert_evicting", |b| {
        b.iter(|| walk.next().map(|key| cache.insert(key.as_key_ref(), entry())));
    });

    let flights = Flights::new();
    c.bench_function("cache/flight_alone", |b| {
        b.iter(|| match flights.join(one.as_key_ref()) {
            Flight::Leader(guard) => guard.complete(None),
            Flight::Follower(_) => unreachable!("nobody else is there"),
        });
    });
}

criterion_group!(benches, reads, writes);
criterion_main!(benches);
