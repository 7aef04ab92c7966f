//! A single-producer, single-consumer ring of 64-bit words, carrying records of whole words.
//!
//! ```text
//!            tail                 head
//!   ... free | record | record | | free ...      positions only grow; `position & mask` is the place
//! ```
//!
//! A record lies in one piece: where the end of the ring is too near, a `SKIP` word sends the consumer to its start.
//! The producer publishes `head` after the words (release, acquire), the consumer gives room back by `tail` likewise;
//! the words themselves need no order. So the ring is safe code: a broken protocol would garble records, not memory.

#[cfg(loom)]
use loom::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};
use std::cell::Cell;
#[cfg(not(loom))]
use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

pub(crate) use Ordering::Relaxed;
/// A word of the ring, for the producer's closure.
pub(crate) type Word = AtomicU64;

/// In place of a record's first word: the rest of the ring is unused. No record begins with it.
const SKIP: u64 = 0;

/// Keeps the two ends on different cache lines (and pairs of lines, which the prefetcher fetches together).
#[derive(Debug)]
#[repr(align(128))]
struct Padded<T>(T);

#[derive(Debug)]
struct Ring {
    words: Box<[AtomicU64]>,
    head: Padded<AtomicUsize>,
    tail: Padded<AtomicUsize>,
}

/// The writing end. Its cells make it unshareable: there is one producer.
#[derive(Debug)]
pub(crate) struct Producer {
    ring: Arc<Ring>,
    head: Cell<usize>,
    tail_seen: Cell<usize>,
}

/// The reading end.
#[derive(Debug)]
pub(crate) struct Consumer {
    ring: Arc<Ring>,
    tail: usize,
}

/// A ring of at least `words` words (a power of two).
pub(crate) fn ring(words: usize) -> (Producer, Consumer) {
    let words = words.next_power_of_two();
    let ring = Arc::new(Ring {
        words: (0..words).map(|_| AtomicU64::new(SKIP)).collect(),
        head: Padded(AtomicUsize::new(0)),
        tail: Padded(AtomicUsize::new(0)),
    });
    let producer = Producer { ring: Arc::clone(&ring), head: Cell::new(0), tail_seen: Cell::new(0) };
    (producer, Consumer { ring, tail: 0 })
}

impl Producer {
    /// Lets `fill` write a record of `count` words; its first word must be `count` in the low 16 bits, and not zero.
    /// False when the ring has no room.
    #[inline]
    pub(crate) fn push(&self, count: usize, fill: impl FnOnce(&[Word])) -> bool {
        let capacity = self.ring.words.len();
        let head = self.head.get();
        let place = head & (capacity - 1);
        let skipped = if place + count > capacity { capacity - place } else { 0 };
        let needed = skipped + count;
        if capacity - head.wrapping_sub(self.tail_seen.get()) < needed {
            self.tail_seen.set(self.ring.tail.0.load(Ordering::Acquire));
            if capacity - head.wrapping_sub(self.tail_seen.get()) < needed {
                return false;
            }
        }
        let start = if skipped > 0 {
            if let Some(word) = self.ring.words.get(place) {
                word.store(SKIP, Relaxed);
            }
            0
        } else {
            place
        };
        let Some(words) = self.ring.words.get(start..start + count) else { return false };
        fill(words);
        let head = head.wrapping_add(needed);
        self.head.set(head);
        self.ring.head.0.store(head, Ordering::Release);
        true
    }
}

/// What one [`Consumer::drain`] took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drained {
    /// Bytes written to the buffer, whole records.
    pub(crate) bytes: usize,
    /// Words that were waiting, taken or not.
    pub(crate) waiting_words: usize,
}

impl Consumer {
    /// Copies whole records into `buffer` (little-endian) while they fit, and gives their room back.
    pub(crate) fn drain(&mut self, buffer: &mut [u8]) -> Drained {
        let capacity = self.ring.words.len();
        let head = self.ring.head.0.load(Ordering::Acquire);
        let waiting_words = head.wrapping_sub(self.tail);
        let mut bytes = 0;
        while self.tail != head {
            let place = self.tail & (capacity - 1);
            let first = self.ring.words.get(place).map_or(SKIP, |word| word.load(Relaxed));
            if first == SKIP {
                self.tail = self.tail.wrapping_add(capacity - place);
                continue;
            }
            let count = usize::from(first as u16).max(1);
            let room = buffer.get_mut(bytes..bytes + count * 8);
            let (Some(words), Some(room)) = (self.ring.words.get(place..place + count), room) else { break };
            for (bytes, word) in room.chunks_exact_mut(8).zip(words) {
                bytes.copy_from_slice(&word.load(Relaxed).to_le_bytes());
            }
            bytes += count * 8;
            self.tail = self.tail.wrapping_add(count);
        }
        self.ring.tail.0.store(self.tail, Ordering::Release);
        Drained { bytes, waiting_words }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn push(producer: &Producer, count: usize) -> bool {
        producer.push(count, |words| words[0].store(count as u64, Relaxed))
    }

    /// Whatever was before: a record of up to half the ring finds room once the ring is empty.
    #[test]
    fn an_empty_ring_takes_any_record_at_any_place() {
        for count in 1..=8 {
            for before in 1..=8 {
                let (producer, mut consumer) = ring(16);
                for round in 0..50 {
                    let count = if round % 2 == 0 { before } else { count };
                    assert!(push(&producer, count), "{count} words in round {round} after {before}");
                    assert_eq!(consumer.drain(&mut [0; 128]).bytes, count * 8);
                }
            }
        }
    }

    #[test]
    fn a_full_ring_refuses_and_a_record_too_large_for_it_too() {
        let (producer, mut consumer) = ring(16);
        assert!(!push(&producer, 17));
        for _ in 0..4 {
            assert!(push(&producer, 4));
        }
        assert!(!push(&producer, 1));
        assert_eq!(consumer.drain(&mut [0; 40]), Drained { bytes: 32, waiting_words: 16 });
        assert!(push(&producer, 4));
        assert!(!push(&producer, 1));
    }
}
