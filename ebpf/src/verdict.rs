//! What becomes of a packet, and the counting of it.

use aya_ebpf::{btf_maps::Array, btf_maps::lpm_trie::Key, helpers::bpf_ktime_get_ns};
use core::intrinsics::{AtomicOrdering, atomic_cxchg};
use sluice_common::{
    BUCKET_SETS, BUCKET_WAYS, BucketSet, CLIENT_SETS, CLIENT_WAYS, Client, ClientSet, Gcra, Reason, Settings,
    Source, Stat, TICK_SHIFT, port_slot, stage,
};

use crate::{
    maps::{
        ALLOW4, ALLOW6, BANS, BLOCK4, BLOCK6, CLIENTS, PACKET_BUCKETS, PORTS, REASONS, RULES, SETTINGS,
        SYN_BUCKETS,
    },
    parse::{Address, Kind, Packet, Segment},
};

/// A retry is needed only when another CPU takes a token of the same source at the same instant.
const BUCKET_ATTEMPTS: usize = 4;

/// Judges a packet and counts it.
#[inline(always)]
pub(crate) fn judge(packet: &Packet) -> Reason {
    let (reason, rule) = match &packet.kind {
        Kind::Other(reason) => (*reason, None),
        Kind::Tcp(segment) => match SETTINGS.get(0) {
            Some(settings) if is_served(segment.destination_port) => stages(segment, settings),
            _ => (Reason::NotServed, None),
        },
    };
    count(REASONS.get_ptr_mut(reason as u32), packet.bytes);
    if let Kind::Tcp(segment) = &packet.kind
        && reason.drops()
    {
        if let Some(rule) = rule {
            count(RULES.get_ptr_mut(rule), packet.bytes);
        }
        // Without settings nothing drops, so there is a seed.
        let seed = SETTINGS.get(0).map_or(0, |settings| settings.seed);
        count_client(segment.source.subscriber(), seed, packet.bytes);
    }
    reason
}

#[inline(always)]
fn is_served(port: u16) -> bool {
    let (word, mask) = port_slot(port);
    PORTS.get(word).is_some_and(|bits| bits & mask != 0)
}

/// The stages in order: the allow-list overrides all others, and rates come last, so that only sources that nothing
/// else condemns take up buckets.
#[inline(always)]
fn stages(segment: &Segment, settings: &Settings) -> (Reason, Option<u32>) {
    let stages = settings.stages;
    if is_allowed(&segment.source, stages) {
        return (Reason::Allowed, None);
    }
    if stages & stage::BANS != 0 && is_banned(segment.source.source()) {
        return (Reason::Banned, None);
    }
    if let Some(rule) = blocked_by(&segment.source, stages) {
        return (Reason::Blocked, Some(rule));
    }
    if stages & (stage::PACKET_RATE | stage::SYN_RATE) == 0 {
        return (Reason::Accepted, None);
    }
    let hash = segment.source.subscriber().hash(settings.seed);
    if segment.is_syn && stages & stage::SYN_RATE != 0 && !take(&SYN_BUCKETS, hash, settings.syns) {
        return (Reason::SynRate, None);
    }
    if stages & stage::PACKET_RATE != 0 && !take(&PACKET_BUCKETS, hash, settings.packets) {
        return (Reason::PacketRate, None);
    }
    (Reason::Accepted, None)
}

#[inline(always)]
fn is_allowed(source: &Address, stages: u32) -> bool {
    match *source {
        Address::V4(word) => stages & stage::ALLOW4 != 0 && ALLOW4.get(&Key::new(32, word)).is_some(),
        Address::V6(words) => stages & stage::ALLOW6 != 0 && ALLOW6.get(&Key::new(128, words)).is_some(),
    }
}

#[inline(always)]
fn blocked_by(source: &Address, stages: u32) -> Option<u32> {
    match *source {
        Address::V4(word) if stages & stage::BLOCK4 != 0 => BLOCK4.get(&Key::new(32, word)).copied(),
        Address::V6(words) if stages & stage::BLOCK6 != 0 => BLOCK6.get(&Key::new(128, words)).copied(),
        _ => None,
    }
}

/// Whether a ban holds; one that is over goes away here, without waiting for the gateway's sweep.
#[inline(always)]
fn is_banned(source: Source) -> bool {
    // SAFETY: the value is read at once, and nothing removes the entry before that on this CPU; another CPU that
    // reuses it meanwhile writes an aligned word.
    let Some(until_ns) = (unsafe { BANS.get(&source).copied() }) else {
        return false;
    };
    if until_ns > now_ns() {
        return true;
    }
    // Losing the race against another CPU, or against a renewal by the gateway, costs one ban at worst.
    let _ = BANS.remove(&source);
    false
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: the helper takes no arguments and has no preconditions.
    unsafe { bpf_ktime_get_ns() }
}

/// Takes a token from the bucket of the source with this hash.
#[inline(always)]
fn take(table: &Array<BucketSet, BUCKET_SETS>, hash: u64, gcra: Gcra) -> bool {
    let Some(set) = table.get_ptr_mut(hash as u32 & (BUCKET_SETS as u32 - 1)) else {
        return true;
    };
    let set = set.cast::<u64>();
    let now_ticks = now_ns() >> TICK_SHIFT;
    for _ in 0..BUCKET_ATTEMPTS {
        // SAFETY: `way` stays within the set, whose words are aligned. A volatile read of such a word is one
        // instruction, like the kernel's READ_ONCE; BPF has no atomic load before its fourth instruction set.
        let read = |way: usize| unsafe { set.add(way).read_volatile() };
        let Some(grant) = sluice_common::take(read, hash, now_ticks, gcra) else {
            return false;
        };
        // SAFETY: as above; the mask, a no-op, shows the verifier that the index is within the set.
        if unsafe { compare_exchange(set.add(grant.way & (BUCKET_WAYS - 1)), grant.seen, grant.word) } {
            return true;
        }
    }
    // Others in this set were granted meanwhile, one for each attempt: contention is no reason to cut anyone off.
    true
}

/// `AtomicU64::compare_exchange`, which `core` leaves out for BPF because its first instruction sets had none.
///
/// # Safety
/// `word` must be valid, aligned, and accessed by nobody in any but an atomic way.
#[inline(always)]
unsafe fn compare_exchange(word: *mut u64, old: u64, new: u64) -> bool {
    const ORDER: AtomicOrdering = AtomicOrdering::SeqCst;
    // SAFETY: the caller's promise.
    unsafe { atomic_cxchg::<u64, ORDER, ORDER>(word, old, new) }.1
}

#[inline(always)]
fn count(stat: Option<*mut Stat>, bytes: u64) {
    if let Some(stat) = stat {
        // SAFETY: a map value of this CPU alone, which no other program invocation can interrupt us to change.
        unsafe {
            (*stat).packets += 1;
            (*stat).bytes += bytes;
        }
    }
}

#[inline(always)]
fn count_client(source: Source, seed: u64, bytes: u64) {
    let hash = source.hash(seed) as u32 & (CLIENT_SETS as u32 - 1);
    let Some(set): Option<*mut ClientSet> = CLIENTS.get_ptr_mut(hash) else {
        return;
    };
    let set = set.cast::<Client>();
    let mut smallest = 0;
    let mut fewest = u64::MAX;
    for way in 0..CLIENT_WAYS {
        // SAFETY: `way` stays within the set, which belongs to this CPU alone.
        let client = unsafe { &mut *set.add(way) };
        if client.source == source && client.dropped.packets != 0 {
            client.dropped.packets += 1;
            client.dropped.bytes += bytes;
            return;
        }
        if client.dropped.packets < fewest {
            (smallest, fewest) = (way, client.dropped.packets);
        }
    }
    // SAFETY: as above; the mask, a no-op, shows the verifier that the index is within the set.
    unsafe {
        *set.add(smallest & (CLIENT_WAYS - 1)) = Client { source, dropped: Stat { packets: 1, bytes } }
    };
}
