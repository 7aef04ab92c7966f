//! All the state. The names are those in `sluice_common::map`.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    btf_maps::{Array, LpmTrie, PerCpuArray, RingBuf},
    macros::btf_map,
};
use sluice_common::{
    ALLOW_ENTRIES_MAX, BAN_HEADS, BANS_MAX, BLOCK_ENTRIES_MAX, BLOCK20_WORDS, BLOCK24_WORDS, BUCKET_SETS,
    BUCKET_TABLES, BanEntry, BucketSet, CLIENT_SETS, ClientSet, Config, Cpu, EVENTS_BYTES, Event,
    FILTER_WORDS, FRONT_CELLS, GENERATIONS, RULES_MAX, Stat,
};

/// Nobody maps them: it makes values begin with a page, and so sets of 64 bytes with a cache line. Others begin 16 bytes
/// after one.
const ALIGNED: usize = BPF_F_MMAPABLE as usize;

/// An IPv4 address as a trie key, in network order.
pub(crate) type V4 = u32;
/// An IPv6 address as a trie key, in network order.
pub(crate) type V6 = [u64; 2];

type Allow4 = LpmTrie<V4, u32, ALLOW_ENTRIES_MAX>;
type Allow6 = LpmTrie<V6, u32, ALLOW_ENTRIES_MAX>;
type Block4 = LpmTrie<V4, u32, BLOCK_ENTRIES_MAX>;
type Block6 = LpmTrie<V6, u32, BLOCK_ENTRIES_MAX>;

#[btf_map]
pub(crate) static ACTIVE: Array<u32, 1> = Array::new();
#[btf_map]
pub(crate) static CONFIG: Array<Config, GENERATIONS> = Array::new();
#[btf_map]
pub(crate) static CPU: PerCpuArray<Cpu, 1> = PerCpuArray::new();

#[btf_map]
pub(crate) static ALLOW4_0: Allow4 = LpmTrie::new();
#[btf_map]
pub(crate) static ALLOW4_1: Allow4 = LpmTrie::new();
#[btf_map]
pub(crate) static ALLOW6_0: Allow6 = LpmTrie::new();
#[btf_map]
pub(crate) static ALLOW6_1: Allow6 = LpmTrie::new();
#[btf_map]
pub(crate) static BLOCK4_0: Block4 = LpmTrie::new();
#[btf_map]
pub(crate) static BLOCK4_1: Block4 = LpmTrie::new();
#[btf_map]
pub(crate) static BLOCK20: Array<u64, { GENERATIONS * BLOCK20_WORDS }> = Array::new();
#[btf_map]
pub(crate) static BLOCK24: Array<u64, { GENERATIONS * BLOCK24_WORDS }> = Array::new();
#[btf_map]
pub(crate) static BLOCK6_0: Block6 = LpmTrie::new();
#[btf_map]
pub(crate) static BLOCK6_1: Block6 = LpmTrie::new();
#[btf_map]
pub(crate) static BANS: Array<BanEntry, BANS_MAX> = Array::new();
#[btf_map]
pub(crate) static BAN_FIRST: Array<u64, { BAN_HEADS / 2 }> = Array::new();
#[btf_map]
pub(crate) static BAN_NEXT: Array<u64, BANS_MAX> = Array::new();
#[btf_map]
pub(crate) static BAN_FILTER: Array<u64, FILTER_WORDS> = Array::new();

/// One map for all tables: which map a look-up is in must be known when it is verified, or it becomes two calls.
#[btf_map]
pub(crate) static BUCKETS: Array<BucketSet, { BUCKET_TABLES * BUCKET_SETS }, ALIGNED> = Array::new();
#[btf_map]
pub(crate) static FRONTS: Array<u64, { BUCKET_TABLES * FRONT_CELLS }> = Array::new();
#[btf_map]
pub(crate) static SYN_BUDGET: Array<u64, 1> = Array::new();

#[btf_map]
pub(crate) static RULES: PerCpuArray<Stat, RULES_MAX> = PerCpuArray::new();
#[btf_map]
pub(crate) static CLIENTS: PerCpuArray<ClientSet, CLIENT_SETS> = PerCpuArray::new();

#[btf_map]
pub(crate) static EVENTS: RingBuf<Event, EVENTS_BYTES> = RingBuf::new();
