//! Bans, and the little that passes in spite of one.

use core::ptr::addr_of_mut;
use sluice_common::{Ban, PROBE_PACKETS, Settings, Source, filter_slot, policy, probe_of, stage};

use crate::{
    atomic::{add, compare_exchange},
    clock::now_ns,
    maps::{BAN_FILTER, BANS},
    parse::Segment,
};

/// IPv6 networks wider than a /64 that bans may cover, the narrower first.
const WIDE_PREFIXES: [u32; 2] = [56, 48];

/// What a ban says of a packet.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Outcome {
    /// There is none.
    Free,
    /// Dropped.
    Banned,
    /// Let through.
    Probe,
}

/// Looks for a ban of the packet's source; `hash` is its subscriber's.
#[inline(always)]
pub(crate) fn check(segment: &Segment, hash: u64, bytes: u64, settings: &Settings) -> Outcome {
    let outcome = check_network(segment.source.subscriber(), hash, segment, bytes);
    if outcome != Outcome::Free || settings.stages & stage::WIDE_BANS == 0 {
        return outcome;
    }
    if !segment.source.is_v4 {
        for prefix in WIDE_PREFIXES {
            let network = segment.source.source.network(prefix);
            let outcome = check_network(network, network.hash(settings.seed), segment, bytes);
            if outcome != Outcome::Free {
                return outcome;
            }
        }
    }
    Outcome::Free
}

#[inline(always)]
fn check_network(network: Source, hash: u64, segment: &Segment, bytes: u64) -> Outcome {
    let (word, mask) = filter_slot(hash);
    if !BAN_FILTER.get(word).is_some_and(|bits| bits & mask != 0) {
        return Outcome::Free;
    }
    let Some(ban) = BANS.get_ptr_mut(&network) else {
        return Outcome::Free;
    };
    // SAFETY: the entry stays readable until this invocation ends, even if the gateway removes it meanwhile; words that
    // several CPUs change are changed atomically, the others only by the gateway, which replaces whole entries.
    unsafe {
        let now_ns = now_ns();
        if (*ban).until_ns <= now_ns {
            return Outcome::Free;
        }
        let seen = addr_of_mut!((*ban).seen.packets);
        add(seen, 1);
        add(addr_of_mut!((*ban).seen.bytes), bytes);
        let passes = match (*ban).policy {
            policy::NOTHING => false,
            policy::ONE_IN => (*ban).one_in != 0 && seen.read_volatile() % u64::from((*ban).one_in) == 0,
            policy::CONNECTION => is_probe(ban, segment, now_ns),
            _ => true,
        };
        if passes {
            add(addr_of_mut!((*ban).passed), 1);
            return Outcome::Probe;
        }
        Outcome::Banned
    }
}

/// Whether the packet is of the connection that may pass in this interval, or opens the next such one.
///
/// # Safety
/// `ban` must be a live entry.
#[inline(always)]
unsafe fn is_probe(ban: *mut Ban, segment: &Segment, now_ns: u64) -> bool {
    let identity = u64::from(probe_of(segment.source.source, segment.source_port));
    // SAFETY: the caller's promise, and as in `check_network`. Two CPUs that count the same connection's packets at the
    // same instant may count one of them only.
    unsafe {
        let slot = addr_of_mut!((*ban).probe);
        let probe = slot.read_volatile();
        let left = probe >> 32;
        if probe & 0xffff_ffff == identity && left != 0 {
            slot.write_volatile((left - 1) << 32 | identity);
            return true;
        }
        let next_at = addr_of_mut!((*ban).next_ns);
        let next_ns = next_at.read_volatile();
        if !segment.is_syn || now_ns < next_ns {
            return false;
        }
        // Of several SYNs at the same instant one wins.
        let is_first = compare_exchange(next_at, next_ns, now_ns.saturating_add((*ban).interval_ns));
        if is_first {
            slot.write_volatile(u64::from(PROBE_PACKETS - 1) << 32 | identity);
        }
        is_first
    }
}
