//! The log ring under every interleaving of its two ends: `RUSTFLAGS="--cfg loom" cargo test --test loom`.
#![cfg(loom)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    reason = "a test that includes one module of the crate"
)]

#[path = "../src/ring.rs"]
mod ring;

use loom::thread;
use ring::{Consumer, Producer, Relaxed, ring};

/// A record of `count` words, all telling `value`.
fn push(producer: &Producer, count: usize, value: u64) -> bool {
    producer.push(count, |words| {
        words[0].store(count as u64 | value << 16, Relaxed);
        for word in &words[1..] {
            word.store(value, Relaxed);
        }
    })
}

/// The values of the records taken; checks that each is whole.
fn take(consumer: &mut Consumer, buffer: &mut [u8]) -> Vec<u64> {
    let drained = consumer.drain(buffer);
    let words: Vec<u64> = buffer[..drained.bytes]
        .chunks(8)
        .map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
        .collect();
    let mut rest = &words[..];
    let mut values = Vec::new();
    while let Some(first) = rest.first() {
        let (count, value) = ((first & 0xffff) as usize, first >> 16);
        assert!(rest[1..count].iter().all(|word| *word == value), "torn: {words:?}");
        values.push(value);
        rest = &rest[count..];
    }
    values
}

/// Records of three words in a ring of eight: the third must skip the ring's end, and finds room only when the
/// consumer has been there.
#[test]
fn records_arrive_whole_and_in_order_and_losses_are_known() {
    loom::model(|| {
        let (producer, mut consumer) = ring(8);
        let writer =
            thread::spawn(move || (1..=4).filter(|value| push(&producer, 3, *value)).collect::<Vec<u64>>());
        let mut buffer = [0; 64];
        let mut taken = take(&mut consumer, &mut buffer);
        taken.extend(take(&mut consumer, &mut buffer));
        let accepted = writer.join().unwrap();
        taken.extend(take(&mut consumer, &mut buffer));
        assert_eq!(taken, accepted);
        assert_eq!(taken[..2], [1, 2]);
    });
}

/// The consumer's buffer holds one record: the others stay for the next visit.
#[test]
fn a_small_buffer_takes_whole_records_only() {
    loom::model(|| {
        let (producer, mut consumer) = ring(8);
        let writer = thread::spawn(move || (1..=2).filter(|value| push(&producer, 2, *value)).count());
        let mut buffer = [0; 24];
        let mut taken = take(&mut consumer, &mut buffer);
        assert_eq!(writer.join().unwrap(), 2);
        taken.extend(take(&mut consumer, &mut buffer));
        taken.extend(take(&mut consumer, &mut buffer));
        assert_eq!(taken, [1, 2]);
    });
}
