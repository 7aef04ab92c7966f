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
mod reason;
mod source;

pub use ban::{Ban, FILTER_WORDS, PROBE_PACKETS, filter_slot, policy, probe_of};
pub use bucket::{BucketSet, Gcra, Grant, TICK_SHIFT, take};
pub use event::Event;
pub use reason::Reason;
pub use source::Source;

/// Names of the programs in the object.
pub mod program {
    /// Understands packets in several buffers (`xdp.frags`); needs Linux 5.18.
    pub const GATE: &str = "gate";
    /// The same for older kernels; a driver refuses it while its MTU needs several buffers.
    pub const GATE_LINEAR: &str = "gate_linear";
}

/// Names of the maps in the object: the statics of `ebpf/src/maps.rs`.
pub mod map {
    /// One [`Settings`](super::Settings).
    pub const SETTINGS: &str = "SETTINGS";
    /// Bitmap of served TCP ports, see [`port_slot`](super::port_slot).
    pub const PORTS: &str = "PORTS";
    /// Longest-prefix match, IPv4: sources that nothing below applies to.
    pub const ALLOW4: &str = "ALLOW4";
    /// Longest-prefix match, IPv6: sources that nothing below applies to.
    pub const ALLOW6: &str = "ALLOW6";
    /// Longest-prefix match, IPv4: source network to rule id.
    pub const BLOCK4: &str = "BLOCK4";
    /// Longest-prefix match, IPv6: source network to rule id.
    pub const BLOCK6: &str = "BLOCK6";
    /// [`Ban`](super::Ban) by source, see [`Source::network`](super::Source::network).
    pub const BANS: &str = "BANS";
    /// Bitmap of banned sources, see [`filter_slot`](super::filter_slot).
    pub const BAN_FILTER: &str = "BAN_FILTER";
    /// Packet buckets, see [`BUCKET_SETS`](super::BUCKET_SETS).
    pub const PACKET_BUCKETS: &str = "PACKET_BUCKETS";
    /// SYN buckets, see [`BUCKET_SETS`](super::BUCKET_SETS).
    pub const SYN_BUCKETS: &str = "SYN_BUCKETS";
    /// [`Stat`](super::Stat) per CPU, indexed by [`Reason`](super::Reason); those of packets that passed only because of a
    /// dry run follow at [`Reason::COUNT`](super::Reason::COUNT).
    pub const REASONS: &str = "REASONS";
    /// [`Stat`](super::Stat) per CPU of drops, indexed by rule id.
    pub const RULES: &str = "RULES";
    /// [`ClientSet`](super::ClientSet) per CPU: drops by source.
    pub const CLIENTS: &str = "CLIENTS";
    /// Ring buffer of [`Event`](super::Event).
    pub const EVENTS: &str = "EVENTS";
    /// Per CPU: when the next event may be reported.
    pub const EVENT_NEXT: &str = "EVENT_NEXT";
}

/// Networks that each block list holds.
pub const BLOCK_ENTRIES_MAX: usize = 262_144;
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
    /// Packets per source are limited.
    pub const PACKET_RATE: u32 = 1 << 5;
    /// SYNs per source are limited.
    pub const SYN_RATE: u32 = 1 << 6;
    /// There are bans of IPv6 networks wider than a /64.
    pub const WIDE_BANS: u32 = 1 << 7;
    /// Nothing is dropped, only counted.
    pub const DRY_RUN: u32 = 1 << 8;
}

/// What the gateway tells the program. Rewritten as a whole; a packet that sees half of an update is judged by a
/// mixture of both, once.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Keys the hash of sources, so that nobody outside can aim at a bucket.
    pub seed: u64,
    /// Packet bucket of each source.
    pub packets: Gcra,
    /// SYN bucket of each source.
    pub syns: Gcra,
    /// Between two events of one CPU; 0 for none at all.
    pub event_interval_ns: u64,
    /// Bits of [`stage`].
    pub stages: u32,
    /// Keeps the layout free of implicit padding.
    pub reserved: u32,
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

/// Where a TCP port is in the bitmap: the word's index and the bit's mask.
#[must_use]
pub const fn port_slot(port: u16) -> (u32, u64) {
    (port as u32 / 64, 1 << (port % 64))
}

#[cfg(feature = "user")]
mod pod {
    use super::{Ban, Client, Event, Settings, Source, Stat};

    // SAFETY: all of these are `repr(C)` or transparent, made of integers, without padding, valid for any bit pattern.
    unsafe impl aya::Pod for Settings {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Source {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Stat {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Client {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Ban {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Event {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_have_no_padding() {
        assert_eq!(size_of::<Settings>(), 8 + 16 + 16 + 8 + 8);
        assert_eq!(size_of::<Ban>(), 8 + 16 + 8 + 4 + 4 + 3 * 8);
        assert_eq!(size_of::<Event>(), 8 + 16 + 3 * 4 + 2 * 2 + 8);
        assert_eq!(size_of::<Client>(), 32);
        assert_eq!(size_of::<BucketSet>(), 64);
        assert!(
            [BUCKET_SETS, BUCKET_WAYS, CLIENT_SETS, CLIENT_WAYS].iter().all(|count| count.is_power_of_two())
        );
    }

    #[test]
    fn ports_map_to_one_bit_each() {
        assert_eq!(port_slot(0), (0, 1));
        assert_eq!(port_slot(8080), (126, 1 << 16));
        assert_eq!(port_slot(65_535), (1_023, 1 << 63));
        assert!((port_slot(65_535).0 as usize) < PORT_WORDS);
    }
}
