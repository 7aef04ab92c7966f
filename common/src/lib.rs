//! What the XDP program and the gateway agree on: map names and layouts, verdict reasons, flags.
//!
//! `no_std` and free of dependencies, because it is compiled for the BPF target too. The feature `user` adds the
//! `aya::Pod` marks that the gateway needs to pass these types through maps.
//!
//! Multi-byte fields are in host order unless a name says otherwise; addresses are in network order throughout.
//! What the program computes beyond that and can be tested without a kernel is here as well: the buckets of [`take`].
#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod ban;
mod bucket;
mod event;
mod front;
mod reason;
mod source;

pub use ban::{
    BAN_CHAIN_MAX, BAN_HEADS, Ban, BanEntry, FILTER_WORDS, PROBE_PACKETS, ban_head, filter_slot, first_slot,
    policy, probe_of,
};
pub use bucket::{BucketSet, Gcra, Grant, TICK_SHIFT, take, take_shared};
pub use event::Event;
pub use front::{FRONT_CELLS, Front, front, is_locked};
pub use reason::Reason;
pub use source::Source;

/// Names of the programs in the object.
pub mod program {
    /// Understands packets in several buffers (`xdp.frags`); needs Linux 5.18.
    pub const GATE: &str = "gate";
    /// The same for older kernels; a driver refuses it while its MTU needs several buffers.
    pub const GATE_LINEAR: &str = "gate_linear";
    /// Passes everything; for measuring what calling a program costs.
    pub const IDLE: &str = "idle";
    /// [`GATE_LINEAR`], but gives each frame a source address of its own first; for measuring.
    pub const FLOOD: &str = "flood";
}

/// Names of the maps in the object: the statics of `ebpf/src/maps.rs`.
pub mod map {
    /// Which [generation](super::GENERATIONS) counts: 0 or 1.
    pub const ACTIVE: &str = "ACTIVE";
    /// [`Config`](super::Config) of each generation.
    pub const CONFIG: &str = "CONFIG";
    /// Longest-prefix match, IPv4, for each generation: sources that nothing below applies to.
    pub const ALLOW4: [&str; 2] = ["ALLOW4_0", "ALLOW4_1"];
    /// Longest-prefix match, IPv6, for each generation: sources that nothing below applies to.
    pub const ALLOW6: [&str; 2] = ["ALLOW6_0", "ALLOW6_1"];
    /// Longest-prefix match, IPv4, for each generation: source network to rule id.
    pub const BLOCK4: [&str; 2] = ["BLOCK4_0", "BLOCK4_1"];
    /// Bitmap of /20s, one after the other for each generation: those that [`BLOCK4`] has anything in, see
    /// [`block_slot`](super::block_slot).
    pub const BLOCK20: &str = "BLOCK20";
    /// The same of /24s.
    pub const BLOCK24: &str = "BLOCK24";
    /// Longest-prefix match, IPv6, for each generation: source network to rule id.
    pub const BLOCK6: [&str; 2] = ["BLOCK6_0", "BLOCK6_1"];
    /// [`BanEntry`](super::BanEntry) by slot.
    pub const BANS: &str = "BANS";
    /// The first slots of [chains](super::ban_head), two in a word, see [`first_slot`](super::first_slot).
    pub const BAN_FIRST: &str = "BAN_FIRST";
    /// By slot the one after it in its chain, counted from 1; 0 for none.
    pub const BAN_NEXT: &str = "BAN_NEXT";
    /// Bitmap of banned sources, see [`filter_slot`](super::filter_slot).
    pub const BAN_FILTER: &str = "BAN_FILTER";
    /// Buckets of SYNs, packets and bytes, one table after the other, see [`BUCKET_SETS`](super::BUCKET_SETS).
    pub const BUCKETS: &str = "BUCKETS";
    /// Cells in front of each of these tables, one after the other, see [`front`](super::front).
    pub const FRONTS: &str = "FRONTS";
    /// The SYN budget of all sources, see [`take_shared`](super::take_shared).
    pub const SYN_BUDGET: &str = "SYN_BUDGET";
    /// [`Cpu`](super::Cpu) per CPU.
    pub const CPU: &str = "CPU";
    /// [`Stat`](super::Stat) per CPU of drops, indexed by rule id.
    pub const RULES: &str = "RULES";
    /// [`ClientSet`](super::ClientSet) per CPU: drops by source.
    pub const CLIENTS: &str = "CLIENTS";
    /// Ring buffer of [`Event`](super::Event).
    pub const EVENTS: &str = "EVENTS";
}

/// Lists, ports and settings exist twice: the program goes by one generation while the gateway fills the other, and
/// switches by a single word. So every packet is judged by one state of the configuration, and none by an empty list.
pub const GENERATIONS: usize = 2;
/// Networks that each block list holds.
pub const BLOCK_ENTRIES_MAX: usize = 262_144;
/// Words of the bitmap of /16s: 8 KiB, which a short list leaves nearly empty, so that nobody asks further.
pub const BLOCK16_WORDS: usize = (1 << 16) / 64;
/// Words of the bitmap of /20s: 128 KiB, which stays in the second-level cache.
pub const BLOCK20_WORDS: usize = (1 << 20) / 64;
/// Words of the bitmap of /24s: 2 MiB, which does not.
pub const BLOCK24_WORDS: usize = (1 << 24) / 64;
/// Words of the bitmaps of IPv6 networks, which are hashed: 8 KiB each.
pub const BLOCK6_WORDS: usize = (1 << BLOCK6_BITS) / 64;
const BLOCK6_BITS: u32 = 16;
/// Networks that each allow-list holds.
pub const ALLOW_ENTRIES_MAX: usize = 16_384;
/// Bans held at once.
pub const BANS_MAX: usize = 131_072;
/// Bytes of the ring buffer: a thousand events.
pub const EVENTS_BYTES: usize = 65_536;
/// Rule ids lie below this.
pub const RULES_MAX: usize = 4_096;
/// Words of the port bitmap.
pub const PORT_WORDS: usize = 65_536 / 64;

/// Bucket tables: of SYNs, packets and bytes.
pub const BUCKET_TABLES: usize = 3;
/// Sets in a bucket table; each holds [`BUCKET_WAYS`] sources in 64 bytes. A power of two.
pub const BUCKET_SETS: usize = 32_768;
/// Sources in a bucket set. A power of two.
pub const BUCKET_WAYS: usize = 8;

/// Sets in the table of clients; each holds [`CLIENT_WAYS`] of them. A power of two.
pub const CLIENT_SETS: usize = 1_024;
/// Clients in a set. A power of two.
pub const CLIENT_WAYS: usize = 4;

/// One bit a stage that has work: a stage without entries costs nothing.
pub mod stage {
    /// The IPv4 allow-list has entries.
    pub const ALLOW4: u32 = 1 << 0;
    /// The IPv6 allow-list has entries.
    pub const ALLOW6: u32 = 1 << 1;
    /// The IPv4 block list has entries.
    pub const BLOCK4: u32 = 1 << 2;
    /// The IPv6 block list has entries.
    pub const BLOCK6: u32 = 1 << 3;
    /// There are bans.
    pub const BANS: u32 = 1 << 4;
    /// SYNs per source are limited.
    pub const SOURCE_SYNS: u32 = 1 << 5;
    /// Packets per source are limited.
    pub const SOURCE_PACKETS: u32 = 1 << 6;
    /// There are bans of IPv6 networks wider than a /64.
    pub const WIDE_BANS: u32 = 1 << 7;
    /// Nothing is dropped, only counted.
    pub const DRY_RUN: u32 = 1 << 8;
    /// Bytes per source are limited.
    pub const SOURCE_BYTES: u32 = 1 << 9;
    /// SYNs per prefix are limited.
    pub const PREFIX_SYNS: u32 = 1 << 10;
    /// Packets per prefix are limited.
    pub const PREFIX_PACKETS: u32 = 1 << 11;
    /// Bytes per prefix are limited.
    pub const PREFIX_BYTES: u32 = 1 << 12;
    /// SYNs of all sources together are limited.
    pub const SYN_BUDGET: u32 = 1 << 13;
    /// UDP to served ports is dropped.
    pub const DROP_UDP: u32 = 1 << 14;
    /// Fragments to served ports are dropped.
    pub const DROP_FRAGMENTS: u32 = 1 << 15;
    /// Fragments of TCP other than the first are dropped.
    pub const DROP_LATER_FRAGMENTS: u32 = 1 << 18;
    /// The bitmap of /20s says no often enough to be asked.
    pub const BLOCK20: u32 = 1 << 16;
    /// The bitmap of /24s says no often enough to be asked.
    pub const BLOCK24: u32 = 1 << 17;
    /// The bitmap of IPv6 /32s says no often enough to be asked.
    pub const BLOCK6_32: u32 = 1 << 19;
    /// The bitmap of IPv6 /48s says no often enough to be asked.
    pub const BLOCK6_48: u32 = 1 << 20;
    /// Any limit of a prefix.
    pub const PREFIX: u32 = PREFIX_SYNS | PREFIX_PACKETS | PREFIX_BYTES;
    /// Any limit.
    pub const RATES: u32 = SOURCE_SYNS | SOURCE_PACKETS | SOURCE_BYTES | PREFIX | SYN_BUDGET;
}

/// Buckets of a source or a prefix; those whose stage is off are not looked at.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Attempts to connect.
    pub syns: Gcra,
    /// Packets.
    pub packets: Gcra,
    /// Bytes by the IP header.
    pub bytes: Gcra,
}

/// What the gateway tells the program: one for each generation.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Keys the hash of sources, so that nobody outside can aim at a bucket.
    pub seed: u64,
    /// Of each source.
    pub source: Limits,
    /// Of each prefix.
    pub prefix: Limits,
    /// SYNs of all sources together.
    pub syn_budget: Gcra,
    /// How many SYNs a CPU takes out of the budget at once, so that CPUs seldom meet there.
    pub syn_lease: u64,
    /// Between two events of one CPU; 0 for none at all.
    pub event_interval_ns: u64,
    /// The bits of an IPv6 address's first word that make its prefix, in the packet's order.
    pub prefix6_mask_be: u64,
    /// The bits of an IPv4 address that make its prefix, in the packet's order.
    pub prefix4_mask_be: u32,
    /// Bits of [`stage`].
    pub stages: u32,
}

/// What nearly every packet is judged by, together: each look-up costs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Seed, stages, rates.
    pub settings: Settings,
    /// Bitmap of served ports, see [`port_slot`].
    pub ports: [u64; PORT_WORDS],
    /// Bitmap of /16s that the IPv4 block list has anything in, see [`block_slot`].
    pub block16: [u64; BLOCK16_WORDS],
    /// Of /32s that the IPv6 block list has anything in, see [`block6_slot`].
    pub block6_32: [u64; BLOCK6_WORDS],
    /// Of /48s.
    pub block6_48: [u64; BLOCK6_WORDS],
}

impl Default for Config {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            ports: [0; PORT_WORDS],
            block16: [0; BLOCK16_WORDS],
            block6_32: [0; BLOCK6_WORDS],
            block6_48: [0; BLOCK6_WORDS],
        }
    }
}

/// What each CPU keeps for itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// The kernel's count of ticks when it last asked what time it is.
    pub tick: u64,
    /// What time it was, nanoseconds of `CLOCK_MONOTONIC`.
    pub now_ns: u64,
    /// SYNs that it has taken out of the budget and not yet let pass.
    pub syn_lease: u64,
    /// When it may report the next event.
    pub next_event_ns: u64,
    /// Packets by [`Reason`]; those that passed only because of a dry run follow at [`Reason::COUNT`].
    pub reasons: [Stat; 2 * Reason::COUNT],
}

/// Packets and the bytes of their IP packets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Packets.
    pub packets: u64,
    /// Bytes by the IP header's length field, without link-layer framing.
    pub bytes: u64,
}

impl Stat {
    /// Adds another count to this one.
    pub const fn add(&mut self, other: Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

/// Drops of one source ([`Source::subscriber`]); free while `dropped.packets` is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// Whose.
    pub source: Source,
    /// How much.
    pub dropped: Stat,
}

/// Clients whose hashes share a set. A newcomer to a full set takes the place of the smallest one, so heavy sources
/// stay through a flood from many addresses, where an LRU would forget them.
pub type ClientSet = [Client; CLIENT_WAYS];

/// Where an IPv4 address, in host order, is in the bitmap of networks of `prefix` bits: the word's index and the bit's
/// mask. A long list is a deep trie, half a microsecond away for an address that nobody has asked about lately; a bit is
/// one miss at most.
#[inline(always)]
#[must_use]
pub const fn block_slot(address: u32, prefix: u32) -> (u32, u64) {
    let net = address >> (32 - prefix);
    (net / 64, 1 << (net % 64))
}

/// Where the IPv6 network of `prefix` bits, at most 64, that an address is in, is in the bitmap of such networks; `first` is the
/// address's first word in host order. There are more networks than bits: what shares one with a blocked network is looked
/// up as that is, and nothing else comes of it.
#[inline(always)]
#[must_use]
pub const fn block6_slot(first: u64, prefix: u32) -> (u32, u64) {
    // Fibonacci hashing: the product's high bits depend on all of the network's.
    let bit = ((first >> (64 - prefix)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BLOCK6_BITS)) as u32;
    (bit / 64, 1 << (bit % 64))
}

/// Where a port is in the bitmap: the word's index and the bit's mask.
#[inline(always)]
#[must_use]
pub const fn port_slot(port: u16) -> (u32, u64) {
    (port as u32 / 64, 1 << (port % 64))
}

#[cfg(feature = "user")]
mod pod {
    use super::{Ban, BanEntry, Client, Config, Cpu, Event, Settings, Source, Stat};

    // SAFETY: all of these are `repr(C)` or transparent, made of integers, without padding, valid for any bit pattern.
    unsafe impl aya::Pod for Settings {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Config {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Cpu {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Source {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Stat {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Client {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Ban {}
    // SAFETY: as above.
    unsafe impl aya::Pod for BanEntry {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Event {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_have_no_padding() {
        assert_eq!(size_of::<Settings>(), 8 + 6 * 16 + 16 + 3 * 8 + 2 * 4);
        assert_eq!(
            size_of::<Config>(),
            size_of::<Settings>() + 8 * (PORT_WORDS + BLOCK16_WORDS + 2 * BLOCK6_WORDS)
        );
        assert_eq!(size_of::<Cpu>(), 4 * 8 + 2 * 16 * Reason::COUNT);
        assert_eq!(size_of::<Ban>(), 8 + 16 + 8 + 4 + 4 + 3 * 8);
        assert_eq!(size_of::<BanEntry>(), 16 + size_of::<Ban>());
        assert!(BAN_HEADS.is_power_of_two());
        assert_eq!(size_of::<Event>(), 8 + 16 + 3 * 4 + 2 * 2 + 8);
        assert_eq!(size_of::<Client>(), 32);
        assert_eq!(size_of::<BucketSet>(), 64);
        assert!(
            [BUCKET_SETS, BUCKET_WAYS, CLIENT_SETS, CLIENT_WAYS].iter().all(|count| count.is_power_of_two())
        );
    }

    #[test]
    fn networks_map_to_one_bit_each() {
        assert_eq!(block_slot(0, 24), (0, 1));
        assert_eq!(block_slot(0x0000_41ff, 24), (1, 2));
        for (prefix, words) in [(16, BLOCK16_WORDS), (20, BLOCK20_WORDS), (24, BLOCK24_WORDS)] {
            assert_eq!(block_slot(u32::MAX, prefix), (words as u32 - 1, 1 << 63));
        }
    }

    #[test]
    fn addresses_of_an_ipv6_network_share_a_bit_within_the_bitmap() {
        let all = [0, 0x2001_0db8_0bad_0000, 0x2001_0db8_0bad_ffff, 0x2001_0db8_0bae_0000, u64::MAX];
        let [_, first, last, next, _] = all.map(|first| block6_slot(first, 48));
        assert_eq!(first, last);
        assert_ne!(first, next);
        assert_eq!(block6_slot(all[1], 32), block6_slot(all[3], 32));
        assert!(all.iter().all(|first| (block6_slot(*first, 48).0 as usize) < BLOCK6_WORDS));
    }

    #[test]
    fn ports_map_to_one_bit_each() {
        assert_eq!(port_slot(0), (0, 1));
        assert_eq!(port_slot(8080), (126, 1 << 16));
        assert_eq!(port_slot(65_535), (1_023, 1 << 63));
        assert!((port_slot(65_535).0 as usize) < PORT_WORDS);
    }
}
