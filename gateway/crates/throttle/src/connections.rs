//! How many connections each client has open, in bounded memory.
//!
//! Eight words to a set, one set to a cache line. A word is a client's tag (48 bits of its keyed hash) and its count (16
//! bits): one compare-exchange opens or closes a connection, and a word whose count falls to zero is free again.
//!
//! A client that comes twice at the same moment might take two words; each looks again after it has taken one, and the one
//! that sees another gives its own back. Where a set is full of other clients, a newcomer is let in uncounted: nobody is ever
//! refused for what others do. Without the seed no one can aim at a set.

use crate::sip::sip13;
use crate::sync::{AtomicU64, Ordering};
use std::hash::{BuildHasher, Hasher};

const WAYS: usize = 8;

/// Sets are sized for so many clients on average when every connection is another client's: one in 50 meets a full set.
const CLIENTS_PER_SET: usize = 4;

const COUNT_BITS: u32 = 16;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// Tries to take a word alone. Each failure needs the same client to come on another core in the same few nanoseconds.
const TRIES: usize = 8;

/// Open connections by client.
#[derive(Debug)]
pub struct ConnectionTable {
    seed: u128,
    sets: Box<[Set]>,
}

#[derive(Debug)]
#[repr(align(64))]
struct Set([AtomicU64; WAYS]);

impl ConnectionTable {
    /// The most connections of one client that it can tell.
    pub const COUNT_MAX: u32 = COUNT_MASK as u32;

    /// For about this many connections at once: 16 bytes for each, rounded up to a power of two.
    #[must_use]
    pub fn new(connections: usize) -> Self {
        let random = std::hash::RandomState::new();
        let half = |n: u8| {
            let mut hasher = random.build_hasher();
            hasher.write_u8(n);
            u128::from(hasher.finish())
        };
        Self::with_seed(connections, half(0) << 64 | half(1))
    }

    /// As `new`, with a given seed. It must be secret and random wherever clients choose their addresses.
    #[must_use]
    pub fn with_seed(connections: usize, seed: u128) -> Self {
        let sets = connections.div_ceil(CLIENTS_PER_SET).max(1).next_power_of_two();
        let set = |_| Set(std::array::from_fn(|_| AtomicU64::new(0)));
        Self { seed, sets: (0..sets).map(set).collect() }
    }

    /// Counts a connection of this client in. `false`, and nothing is counted, if it has `max` already. Each `true` needs
    /// its [`close`](Self::close).
    pub fn open(&self, client: u128, max: u32) -> bool {
        let (set, tag) = self.place(client);
        let max = u64::from(max.min(Self::COUNT_MAX));
        let Some(Set(ways)) = set else { return true };
        for _ in 0..TRIES {
            if let Some(opened) = ways.iter().find_map(|way| join(way, tag, max)) {
                return opened;
            }
            if max == 0 {
                return false;
            }
            let is_taken = |way: &&AtomicU64| {
                way.compare_exchange(0, tag | 1, Ordering::SeqCst, Ordering::SeqCst).is_ok()
            };
            let Some(mine) = ways.iter().find(is_taken) else { return true };
            // SeqCst: of two that took a word each, at least one sees the other's.
            let is_theirs =
                |way: &AtomicU64| !std::ptr::eq(way, mine) && way.load(Ordering::SeqCst) & !COUNT_MASK == tag;
            if !ways.iter().any(is_theirs) {
                return true;
            }
            leave(mine, tag);
        }
        true
    }

    /// Counts one of its connections out.
    pub fn close(&self, client: u128) {
        let (set, tag) = self.place(client);
        let Some(Set(ways)) = set else { return };
        // None is found for a client that was let in uncounted.
        let _ = ways.iter().any(|way| leave(way, tag));
    }

    /// How many connections of this client are counted.
    #[must_use]
    pub fn count(&self, client: u128) -> u32 {
        let (set, tag) = self.place(client);
        let counts = set.iter().flat_map(|Set(ways)| ways).map(|way| way.load(Ordering::SeqCst));
        counts.filter(|word| word & !COUNT_MASK == tag).map(|word| (word & COUNT_MASK) as u32).sum()
    }

    fn place(&self, client: u128) -> (Option<&Set>, u64) {
        let hash = sip13(self.seed, client);
        // The top bits are the tag (never zero), the low ones choose the set; their number is a power of two.
        let tag = (hash | 1 << 63) & !COUNT_MASK;
        let folded = hash ^ hash >> 32;
        (self.sets.get(folded as usize & (self.sets.len() - 1)), tag)
    }
}

/// Counts one more in a word that is this client's. `None`: it isn't.
fn join(way: &AtomicU64, tag: u64, max: u64) -> Option<bool> {
    let mut word = way.load(Ordering::SeqCst);
    loop {
        if word & !COUNT_MASK != tag {
            return None;
        }
        if word & COUNT_MASK >= max {
            return Some(false);
        }
        match way.compare_exchange(word, word + 1, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return Some(true),
            Err(current) => word = current,
        }
    }
}

/// Counts one less, and frees the word with the last. `false`: it isn't this client's.
fn leave(way: &AtomicU64, tag: u64) -> bool {
    let mut word = way.load(Ordering::SeqCst);
    loop {
        if word & !COUNT_MASK != tag {
            return false;
        }
        let after = if word & COUNT_MASK <= 1 { 0 } else { word - 1 };
        match way.compare_exchange(word, after, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return true,
            Err(current) => word = current,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::thread;

    #[test]
    fn each_client_has_its_own_count() {
        let table = ConnectionTable::with_seed(64, 1);
        for client in 0..10 {
            assert!(table.open(client, 2) && table.open(client, 2));
            assert!(!table.open(client, 2), "client {client} has two");
        }
        table.close(3);
        assert!(table.open(3, 2) && !table.open(3, 2));
        assert_eq!((table.count(3), table.count(77)), (2, 0));
        assert!(!table.open(99, 0));
    }

    #[test]
    fn a_full_set_lets_newcomers_in_uncounted() {
        let table = ConnectionTable::with_seed(1, 1);
        assert!((0..100).all(|client| table.open(client, 1)));
        assert!(!table.open(0, 1), "who was counted stays so");
        (0..100).for_each(|client| table.close(client));
        assert!((0..100).all(|client| table.count(client) == 0), "every word is free again");
    }

    #[test]
    fn a_lower_bound_refuses_and_a_higher_one_grants_again() {
        let table = ConnectionTable::with_seed(1, 1);
        (0..5).for_each(|_| assert!(table.open(1, 5)));
        assert!(!table.open(1, 3) && table.open(1, 6));
    }

    #[test]
    fn threads_never_exceed_the_bound_and_leave_nothing() {
        let table = ConnectionTable::with_seed(16, 7);
        thread::scope(|scope| {
            for n in 0..4_u128 {
                let table = &table;
                scope.spawn(move || {
                    let mut open: HashMap<u128, u32> = HashMap::new();
                    for round in 0..20_000_u128 {
                        let client = (round * 7 + n) % 5;
                        let mine = open.entry(client).or_default();
                        if table.open(client, 3) {
                            *mine += 1;
                        }
                        assert!(*mine <= 3 && table.count(client) <= 4);
                        if round % 3 != 0 && *mine > 0 {
                            *mine -= 1;
                            table.close(client);
                        }
                    }
                    for (client, count) in open {
                        (0..count).for_each(|_| table.close(client));
                    }
                });
            }
        });
        assert!((0..5).all(|client| table.count(client) == 0));
    }
}
