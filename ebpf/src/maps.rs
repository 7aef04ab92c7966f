//! All the state. The names are those in `sluice_common::map`.

use aya_ebpf::{
    btf_maps::{Array, LpmTrie, LruHashMap, PerCpuArray},
    macros::btf_map,
};
use sluice_common::{
    ALLOW_ENTRIES_MAX, BANS_MAX, BLOCK_ENTRIES_MAX, BUCKET_SETS, BucketSet, CLIENT_SETS, ClientSet,
    PORT_WORDS, RULES_MAX, Reason, Settings, Source, Stat,
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
#[btf_map]
pub(crate) static BANS: LruHashMap<Source, u64, BANS_MAX> = LruHashMap::new();

#[btf_map]
pub(crate) static PACKET_BUCKETS: Array<BucketSet, BUCKET_SETS> = Array::new();
#[btf_map]
pub(crate) static SYN_BUCKETS: Array<BucketSet, BUCKET_SETS> = Array::new();

#[btf_map]
pub(crate) static REASONS: PerCpuArray<Stat, { Reason::COUNT }> = PerCpuArray::new();
#[btf_map]
pub(crate) static RULES: PerCpuArray<Stat, RULES_MAX> = PerCpuArray::new();
#[btf_map]
pub(crate) static CLIENTS: PerCpuArray<ClientSet, CLIENT_SETS> = PerCpuArray::new();
