//! Bans: what the gateway writes for a banned source, and what the program keeps up there.
//!
//! Only the gateway adds and removes entries, so the table never forgets one by itself. They lie in an array, chained by
//! hash: a look-up in a map of the kernel's own is three calls, which take longer than all the rest of a ban's verdict.
//!
//! ```text
//!  hash ─► filter: a bit ─► head: a slot ─► entry of this source? ─► its ban
//!               └ 0: free       └ 0: free        └ no: the slot that follows this one, and so on
//! ```
//!
//! The gateway writes an entry before the word that leads to it, and an unlinked slot is not used again while a packet
//! may be under way that has come to it.
//!
//! The program counts in the entry
//! and, by its policy, lets a little through, so that a client which has mended its ways can learn of it: a source
//! whose every packet is dropped only ever sees time-outs.

use crate::{Source, Stat};

/// How a banned source is treated: the values of [`Ban::policy`].
pub mod policy {
    /// Every packet is dropped.
    pub const NOTHING: u32 = 0;
    /// Each [`Ban::one_in`](super::Ban::one_in)th packet passes.
    pub const ONE_IN: u32 = 1;
    /// One new connection in each [`Ban::interval_ns`](super::Ban::interval_ns) passes, with its packets.
    pub const CONNECTION: u32 = 2;
    /// Everything passes and is only counted.
    pub const EVERYTHING: u32 = 3;
}

/// Packets of one connection let through: enough for a TLS handshake, a request and the answer's acknowledgements,
/// little enough to be of no use to a flood.
pub const PROBE_PACKETS: u32 = 64;

/// One ban.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ban {
    /// When it ends, nanoseconds of `CLOCK_MONOTONIC`.
    pub until_ns: u64,
    /// Packets that arrived under it, those let through included.
    pub seen: Stat,
    /// Packets of these that were let through.
    pub passed: u64,
    /// One of [`policy`].
    pub policy: u32,
    /// N of [`policy::ONE_IN`].
    pub one_in: u32,
    /// Between connections of [`policy::CONNECTION`].
    pub interval_ns: u64,
    /// From when on the next connection may pass.
    pub next_ns: u64,
    /// The connection that passes: [`probe_of`] below, packets that it has left above.
    pub probe: u64,
}

/// A ban in its slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BanEntry {
    /// Whose it is, see [`Source::network`].
    pub source: Source,
    /// Of a free slot it has no end: `until_ns` is 0.
    pub ban: Ban,
}

/// Chains of slots: as many as there are slots, so that nearly all are of one or two. A power of two.
pub const BAN_HEADS: usize = crate::BANS_MAX;
/// Slots in a chain at most: among so many of random length one would be longer in one full table of six.
pub const BAN_CHAIN_MAX: usize = 8;

/// Which chain a source is in.
#[inline(always)]
#[must_use]
pub const fn ban_head(hash: u64) -> u32 {
    // Other bits than those of the filter.
    (hash >> 40) as u32 & (BAN_HEADS as u32 - 1)
}

/// A chain's first slot in the word of two, counted from 1; 0 for none. The word is at half the chain's index.
#[inline(always)]
#[must_use]
pub const fn first_slot(word: u64, head: u32) -> u32 {
    (word >> (32 * (head & 1))) as u32
}

/// Tells a connection of a banned source from its others: by port, and where the ban is of a network, by the host in it.
#[inline(always)]
#[must_use]
pub const fn probe_of(host: Source, port: u16) -> u32 {
    host.hash(port as u64) as u32
}

/// What the bits of the ban filter are counted in: words of the map.
pub const FILTER_WORDS: usize = 16_384;

/// Where a banned source is in the filter: the word's index and the bit's mask. One bit for each, 2^20 in all (128
/// KiB, which stays in the second-level cache): with 50,000 bans one innocent source in twenty pays for a look-up.
#[inline(always)]
#[must_use]
pub const fn filter_slot(hash: u64) -> (u32, u64) {
    ((hash >> 6) as u32 & (FILTER_WORDS as u32 - 1), 1 << (hash & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_spreads_over_all_words() {
        let mut seen = [0u16; 64];
        for host in 0..6_400u32 {
            let (word, mask) = filter_slot(Source::from_v4_word(host.to_be()).hash(3));
            assert!((word as usize) < FILTER_WORDS && mask.is_power_of_two());
            seen[word as usize / (FILTER_WORDS / 64)] += 1;
        }
        assert!(seen.iter().all(|&count| (50..160).contains(&count)), "{seen:?}");
    }

    #[test]
    fn connections_of_a_source_differ() {
        let host = Source::from_v4_word(0x0100_00c0);
        assert_ne!(probe_of(host, 40_000), probe_of(host, 40_001));
        assert_ne!(probe_of(host, 40_000), probe_of(Source::from_v4_word(0x0200_00c0), 40_000));
    }
}
