//! Bans: what the gateway writes for a banned source, and what the program keeps up there.
//!
//! Only the gateway adds and removes entries, so the table never forgets one by itself. The program counts in the entry
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
