//! All the state. The names are those in `sluice_common::map`.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap, LpmTrie, PerCpuArray, RingBuf},
    macros::btf_map,
};
use sluice_common::{
    ALLOW_ENTRIES_MAX, BANS_MAX, BLOCK_ENTRIES_MAX, BUCKET_SETS, Ban, BucketSet, CLIENT_SETS, ClientSet,
    EVENTS_BYTES, Event, FILTER_WORDS, PORT_WORDS, RULES_MAX, Reason, Settings, Source, Stat,
};

/// An IPv4 address as a trie key, in network order.
pub(crate) type V4 = u32;
/// An IPv6 address as a trie key, in network order.
pub(crate) type V6 = [u64; 2];

#[btf_map]
pub(crate) static SETTINGS: Array<Settings, 1> = Array::new();
#[btf_map]
pub(crate) static PORTS: Array<u64, PORT_WORDS> = Array::new();

#[btf_map]
pub(crate) static ALLOW4: LpmTrie<V4, u32, ALLOW_ENTRIES_MAX> = LpmTrie::new();
#[btf_map]
pub(crate) static ALLOW6: LpmTrie<V6, u32, ALLOW_ENTRIES_MAX> = LpmTrie::new();
#[btf_map]
pub(crate) static BLOCK4: LpmTrie<V4, u32, BLOCK_ENTRIES_MAX> = LpmTrie::new();
#[btf_map]
pub(crate) static BLOCK6: LpmTrie<V6, u32, BLOCK_ENTRIES_MAX> = LpmTrie::new();
/// Entries take memory only when there are some.
#[btf_map]
pub(crate) static BANS: HashMap<Source, Ban, BANS_MAX, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();
#[btf_map]
pub(crate) static BAN_FILTER: Array<u64, FILTER_WORDS> = Array::new();

#[btf_map]
pub(crate) static PACKET_BUCKETS: Array<BucketSet, BUCKET_SETS> = Array::new();
#[btf_map]
pub(crate) static SYN_BUCKETS: Array<BucketSet, BUCKET_SETS> = Array::new();

#[btf_map]
pub(crate) static REASONS: PerCpuArray<Stat, { 2 * Reason::COUNT }> = PerCpuArray::new();
#[btf_map]
pub(crate) static RULES: PerCpuArray<Stat, RULES_MAX> = PerCpuArray::new();
#[btf_map]
pub(crate) static CLIENTS: PerCpuArray<ClientSet, CLIENT_SETS> = PerCpuArray::new();

#[btf_map]
pub(crate) static EVENTS: RingBuf<Event, EVENTS_BYTES> = RingBuf::new();
#[btf_map]
pub(crate) static EVENT_NEXT: PerCpuArray<u64, 1> = PerCpuArray::new();
