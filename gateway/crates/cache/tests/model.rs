//! The cache against a map that forgets nothing, on one thread.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at the first surprise")]

use bytes::Bytes;
use proptest::prelude::*;
use sluice_cache::{Cache, CacheKey, Entry, KeyBuilder, Validity};
use std::collections::HashMap;
use std::sync::Arc;

const KIB: usize = 1024;

fn key(name: &str) -> CacheKey {
    KeyBuilder::with_seed(1).start().push(name.as_bytes()).finish().to_owned()
}

fn entry(body: usize, stored_at_ms: u64, expires_at_ms: u64) -> Entry {
    Entry {
        status: 200,
        head: Bytes::from_static(b"content-type: text/plain\r\n"),
        body: vec![b'x'; body].into(),
        stored_at_ms,
        expires_at_ms,
        validity: Validity::Ttl,
    }
}

#[test]
fn an_answer_is_found_until_it_expires() {
    let cache = Cache::new(1 << 20);
    let (a, b) = (key("a"), key("b"));
    assert_eq!(cache.get(a.as_key_ref(), 0), None);
    let stored = cache.insert(a.as_key_ref(), entry(10, 0, 1000));
    assert!(Arc::ptr_eq(&stored, &cache.get(a.as_key_ref(), 999).unwrap()), "shared, not copied");
    assert_eq!(cache.get(a.as_key_ref(), 1000), None);
    assert_eq!(cache.get(b.as_key_ref(), 0), None);
    assert!(cache.remove(a.as_key_ref()));
    assert!(!cache.remove(a.as_key_ref()));
    assert_eq!(cache.get(a.as_key_ref(), 0), None);
    assert_eq!((cache.stats().entries, cache.stats().bytes), (0, 0));
}

#[test]
fn a_later_answer_replaces_the_earlier() {
    let cache = Cache::new(1 << 20);
    let a = key("a");
    cache.insert(a.as_key_ref(), entry(10, 0, 1000));
    cache.insert(a.as_key_ref(), entry(20, 5, 2000));
    assert_eq!(cache.get(a.as_key_ref(), 1500).unwrap().body.len(), 20);
    let stats = cache.stats();
    assert_eq!((stats.entries, stats.insertions, stats.replacements), (1, 1, 1));
    cache.remove(a.as_key_ref());
    assert_eq!(cache.stats().bytes, 0, "the books balance");
}

#[test]
fn what_is_too_large_is_returned_but_not_kept() {
    let cache = Cache::new(256 * KIB as u64);
    let a = key("a");
    cache.insert(a.as_key_ref(), entry(10, 0, 1000));
    let returned = cache.insert(a.as_key_ref(), entry(256 * KIB, 1, 1000));
    assert_eq!(returned.body.len(), 256 * KIB);
    assert_eq!(cache.get(a.as_key_ref(), 2), None, "nor is what it would have replaced");
    assert_eq!(cache.stats().rejections, 1);
    let fits = cache.entry_max_bytes() as usize - a.bytes().len() - entry(0, 0, 0).head.len();
    cache.insert(a.as_key_ref(), entry(fits, 3, 1000));
    assert!(cache.get(a.as_key_ref(), 4).is_some());

    let nothing = Cache::new(0);
    nothing.insert(a.as_key_ref(), entry(0, 0, 1000));
    assert_eq!(nothing.get(a.as_key_ref(), 1), None);
}

#[test]
fn what_is_read_outlives_a_scan() {
    let cache = Cache::new(256 * KIB as u64);
    let popular: Vec<CacheKey> = (0..20).map(|n| key(&format!("popular{n}"))).collect();
    for key in &popular {
        cache.insert(key.as_key_ref(), entry(KIB, 0, u64::MAX));
    }
    for n in 0..5000 {
        cache.insert(key(&format!("scanned{n}")).as_key_ref(), entry(KIB, 0, u64::MAX));
        assert!(cache.get(popular[n % popular.len()].as_key_ref(), 0).is_some(), "lost at {n}");
    }
    assert!(cache.stats().evictions > 4000);
}

#[test]
fn the_stale_go_first() {
    let cache = Cache::new(64 * KIB as u64);
    let (stale, fresh) = (key("stale"), key("fresh"));
    cache.insert(fresh.as_key_ref(), entry(KIB, 0, u64::MAX));
    cache.insert(stale.as_key_ref(), entry(20 * KIB, 0, 10));
    assert!(cache.get(fresh.as_key_ref(), 5).is_some() && cache.get(stale.as_key_ref(), 5).is_some());
    cache.insert(key("new").as_key_ref(), entry(50 * KIB, 20, u64::MAX));
    assert_eq!(cache.stats().entries, 2);
    assert!(cache.get(fresh.as_key_ref(), 20).is_some(), "both were read, but one is of no use any more");
}

#[test]
fn retired_answers_are_freed() {
    let cache = Cache::new(1 << 20);
    for round in 0..1000 {
        for n in 0..4 {
            cache.insert(key(&n.to_string()).as_key_ref(), entry(64 * KIB, round, u64::MAX));
        }
    }
    cache.clear();
    assert_eq!((cache.stats().entries, cache.stats().bytes), (0, 0));
    // Other tests' threads may be pinned for a moment and hold the epoch back.
    for n in 0.. {
        cache.insert(key("pump").as_key_ref(), entry(1, n, u64::MAX));
        if cache.stats().retired_bytes < 64 * KIB as u64 {
            break;
        }
        std::thread::yield_now();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert { key: u8, body: usize, ttl_ms: u64 },
    Get { key: u8 },
    Remove { key: u8 },
    Wait(u64),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let body = prop_oneof![0..200_usize, 0..8 * KIB, 0..70 * KIB];
    prop_oneof![
        10 => (any::<u8>(), body, 0..5000_u64).prop_map(|(key, body, ttl_ms)| Step::Insert { key, body, ttl_ms }),
        10 => any::<u8>().prop_map(|key| Step::Get { key }),
        2 => any::<u8>().prop_map(|key| Step::Remove { key }),
        3 => (0..2000_u64).prop_map(Step::Wait),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// What is found is the latest under its key and fresh; the bytes are within the capacity and add up; nothing goes
    /// missing while all fits.
    #[test]
    fn agrees_with_a_map(
        capacity in prop::sample::select(vec![64 * KIB as u64, 300 * KIB as u64, 64 << 20]),
        seed in any::<u128>(),
        steps in prop::collection::vec(step(), 1..400),
    ) {
        let cache = Cache::new(capacity);
        let mut map: HashMap<u8, Arc<Entry>> = HashMap::new();
        let mut builder = KeyBuilder::with_seed(seed);
        let mut now_ms = 0;
        for step in steps {
            match step {
                Step::Insert { key, body, ttl_ms } => {
                    let key_ref = builder.start().push(b"GET").push(&[key]).finish();
                    map.insert(key, cache.insert(key_ref, entry(body, now_ms, now_ms + ttl_ms)));
                }
                Step::Get { key } => {
                    let found = cache.get(builder.start().push(b"GET").push(&[key]).finish(), now_ms);
                    let expected = map.get(&key).filter(|entry| now_ms < entry.expires_at_ms);
                    match (found, expected) {
                        (Some(found), Some(expected)) => prop_assert!(Arc::ptr_eq(&found, expected)),
                        (None, Some(_)) => prop_assert!(capacity < 1 << 20, "lost although all fits"),
                        (found, None) => prop_assert_eq!(found, None, "not there or stale"),
                    }
                }
                Step::Remove { key } => {
                    let removed = cache.remove(builder.start().push(b"GET").push(&[key]).finish());
                    let expected = map.remove(&key).is_some();
                    prop_assert!(expected || !removed);
                    prop_assert!(removed || !expected || capacity < 1 << 20);
                }
                Step::Wait(ms) => now_ms += ms,
                Step::Clear => {
                    cache.clear();
                    map.clear();
                }
            }
            let stats = cache.stats();
            prop_assert!(stats.bytes <= capacity);
            prop_assert!(stats.entries * Cache::ENTRY_OVERHEAD_BYTES <= stats.bytes);
            prop_assert!(stats.entries <= map.len() as u64);
        }
        cache.clear();
        prop_assert_eq!((cache.stats().entries, cache.stats().bytes), (0, 0));
    }
}
