//! Rates: of each source, of the prefix that it is in, and of all. The arithmetic is `sluice_common::take`, here are the
//! order and the concurrency.
//!
//! A SYN flood from forged sources knows neither source nor prefix, so every bucket grants it. What it meets first is the
//! budget: once that is used up, a SYN costs a look at two words that are in the cache, and no place in a table.

use sluice_common::{
    BUCKET_SETS, BUCKET_WAYS, Cpu, FRONT_CELLS, Gcra, Reason, Settings, TICK_SHIFT, front, is_locked, stage,
    take_shared,
};

use crate::{
    atomic::compare_exchange,
    clock::now_ns,
    maps::{BUCKETS, FRONTS, SYN_BUDGET},
    parse::Packet,
};

/// A second one is needed only when another CPU takes a token of the same source at the same instant.
const ATTEMPTS: usize = 2;

/// Which table a bucket is in.
#[derive(Clone, Copy)]
enum Table {
    Syns = 0,
    Packets = 1,
    Bytes = 2,
}

const TABLE_BITS: u32 = 2;

/// Which rate a packet of a source exceeds, if any; `hash` is its subscriber's, `cpu` this CPU's. A source that is over
/// its own rate takes nothing from its prefix, nor a prefix from the budget.
#[inline(always)]
pub(crate) fn exceeded(packet: &Packet, cpu: *mut Cpu, hash: u64, settings: &Settings) -> Option<Reason> {
    let stages = settings.stages;
    let now_ticks = now_ns(cpu) >> TICK_SHIFT;
    let (is_syn, bytes) = (packet.is_syn(), packet.bytes());
    let (source, prefix) = (&settings.source, &settings.prefix);
    let is_over = |bit: u32, table: Table, hash: u64, gcra: &Gcra, tokens: u64| {
        stages & bit != 0 && !take_tokens(table, hash, now_ticks, gcra.ticks(tokens), gcra.burst_ticks)
    };
    let prefix_hash = if stages & stage::PREFIX != 0 { prefix_hash(packet, settings) } else { 0 };
    if is_syn && stages & stage::PREFIX_SYNS != 0 {
        fetch(Table::Syns, prefix_hash);
    }
    if is_syn && is_over(stage::SOURCE_SYNS, Table::Syns, hash, &source.syns, 1) {
        return Some(Reason::SynRate);
    }
    if is_over(stage::SOURCE_PACKETS, Table::Packets, hash, &source.packets, 1) {
        return Some(Reason::PacketRate);
    }
    if is_over(stage::SOURCE_BYTES, Table::Bytes, hash, &source.bytes, bytes) {
        return Some(Reason::ByteRate);
    }
    if stages & stage::PREFIX != 0 {
        let hash = prefix_hash;
        if is_syn && is_over(stage::PREFIX_SYNS, Table::Syns, hash, &prefix.syns, 1)
            || is_over(stage::PREFIX_PACKETS, Table::Packets, hash, &prefix.packets, 1)
            || is_over(stage::PREFIX_BYTES, Table::Bytes, hash, &prefix.bytes, bytes)
        {
            return Some(Reason::PrefixRate);
        }
    }
    let is_budgeted = is_syn && stages & stage::SYN_BUDGET != 0;
    (is_budgeted && !take_budget(cpu, settings, now_ticks)).then_some(Reason::SynBudget)
}

/// Fetches a set into the cache if the cell in front of it is locked: where a source and its prefix both have to be looked
/// at, as in a flood, the processor waits for both at once.
#[inline(always)]
fn fetch(table: Table, hash: u64) {
    let is_cell_locked = front_cell(table, hash).is_some_and(|cell| {
        // SAFETY: as in `take_tokens`.
        is_locked(unsafe { cell.read_volatile() })
    });
    if is_cell_locked && let Some(set) = bucket_set(table as u32, hash) {
        // SAFETY: a word of the set. Nobody asks for its value, so nothing waits for it.
        unsafe { set.read_volatile() };
    }
}

/// The cell in front of the set of sources with this hash. Other bits choose it than the set: who shares a cell is spread
/// over sets.
#[inline(always)]
fn front_cell(table: Table, hash: u64) -> Option<*mut u64> {
    FRONTS.get_ptr_mut(table as u32 * FRONT_CELLS as u32 + ((hash >> 16) as u32 & (FRONT_CELLS as u32 - 1)))
}

/// The set of sources with this hash, by its first word.
#[inline(always)]
fn bucket_set(table: u32, hash: u64) -> Option<*mut u64> {
    BUCKETS
        .get_ptr_mut(table * BUCKET_SETS as u32 + (hash as u32 & (BUCKET_SETS as u32 - 1)))
        .map(|set| set.cast())
}

/// Prefixes share tables with sources, so their hashes must differ, and nobody may know by what.
#[inline(always)]
fn prefix_hash(packet: &Packet, settings: &Settings) -> u64 {
    let prefix = packet.source.masked(packet.is_v4(), settings.prefix4_mask_be, settings.prefix6_mask_be);
    prefix.hash(settings.seed.rotate_left(32))
}

/// Takes tokens from the bucket of the source with this hash, or from the cell in front of it; false if they are not
/// there.
#[inline(always)]
fn take_tokens(table: Table, hash: u64, now_ticks: u64, cost_ticks: u64, burst_ticks: u64) -> bool {
    let Some(cell) = front_cell(table, hash) else {
        return true;
    };
    // SAFETY: an aligned word that is changed atomically only; the read is one instruction.
    let front = unsafe {
        let seen = cell.read_volatile();
        let front = front(seen, now_ticks, cost_ticks, burst_ticks);
        // If another CPU was faster: as below, contention is no reason to cut anyone off.
        if front.word != seen {
            compare_exchange(cell, seen, front.word);
        }
        front
    };
    let table_and_floor = front.floor_ticks << TABLE_BITS | table as u64;
    front.is_granted || take_own_tokens(table_and_floor, hash, now_ticks, cost_ticks, burst_ticks) != 0
}

/// Takes tokens from the bucket of the source with this hash; 0 if they are not there. It is at least so far from full;
/// below that is its [`Table`], as more than five words cannot be passed.
///
/// A global function, as `bans::meet_wide_ban` is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn take_own_tokens(
    table_and_floor: u64,
    hash: u64,
    now_ticks: u64,
    cost_ticks: u64,
    burst_ticks: u64,
) -> u32 {
    let (table, floor_ticks) =
        (table_and_floor as u32 & ((1 << TABLE_BITS) - 1), table_and_floor >> TABLE_BITS);
    let Some(set) = bucket_set(table, hash) else {
        return 1;
    };
    for _ in 0..ATTEMPTS {
        // SAFETY: `take` asks only for words of the set, whose words are aligned. A volatile read of such a word is one
        // instruction, like the kernel's READ_ONCE; BPF has no atomic load before its fourth instruction set.
        let read = |way: usize| unsafe { set.add(way).read_volatile() };
        let Some(grant) = sluice_common::take(read, hash, now_ticks, cost_ticks, burst_ticks, floor_ticks)
        else {
            return 0;
        };
        // SAFETY: as above; the mask, a no-op, shows the verifier that the index is within the set.
        if unsafe { compare_exchange(set.add(grant.way & (BUCKET_WAYS - 1)), grant.seen, grant.word) } {
            return 1;
        }
    }
    // Others in this set were granted meanwhile, one for each attempt: contention is no reason to cut anyone off.
    1
}

/// Whether a SYN could be granted, without taking anything. Asked before any list or table.
#[inline(always)]
pub(crate) fn has_budget(cpu: *mut Cpu, settings: &Settings) -> bool {
    let now_ticks = now_ns(cpu) >> TICK_SHIFT;
    let Some(budget) = SYN_BUDGET.get_ptr_mut(0) else {
        return true;
    };
    // SAFETY: the first is this CPU's alone, the second is read by one instruction.
    let (left, full_at) = unsafe { ((*cpu).syn_lease, budget.read_volatile()) };
    left != 0 || take_shared(full_at, now_ticks, settings.syn_budget, settings.syn_lease).is_some()
}

/// Takes a SYN from what this CPU has leased, and a lease from the budget before that if need be.
#[inline(always)]
fn take_budget(cpu: *mut Cpu, settings: &Settings, now_ticks: u64) -> bool {
    let Some(budget) = SYN_BUDGET.get_ptr_mut(0) else {
        return true;
    };
    for _ in 0..ATTEMPTS {
        // SAFETY: as in `has_budget`; the budget is changed atomically only.
        unsafe {
            if (*cpu).syn_lease != 0 {
                (*cpu).syn_lease -= 1;
                return true;
            }
            let seen = budget.read_volatile();
            match take_shared(seen, now_ticks, settings.syn_budget, settings.syn_lease) {
                Some(full_at) if compare_exchange(budget, seen, full_at) => {
                    (*cpu).syn_lease = settings.syn_lease
                }
                Some(_) => {}
                None => return false,
            }
        }
    }
    false
}
