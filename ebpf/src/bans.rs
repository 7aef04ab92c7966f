//! Bans, and the little that passes in spite of one.

use core::ptr::{addr_of, addr_of_mut};
use sluice_common::{
    BAN_CHAIN_MAX, Ban, Cpu, PROBE_PACKETS, Settings, Source, ban_head, filter_slot, first_slot, policy,
    probe_of, stage,
};

use crate::{
    atomic::{add, compare_exchange},
    clock::now_ns,
    maps::{BAN_FILTER, BAN_FIRST, BAN_NEXT, BANS, CPU},
    parse::Packet,
};

/// IPv6 networks wider than a /64 that bans may cover, the narrower first.
const WIDE_PREFIXES: [u32; 2] = [56, 48];

/// What a ban says of a packet: there is none, or it is over.
pub(crate) const FREE: u32 = 0;
/// Dropped.
pub(crate) const BANNED: u32 = 1;
/// Let through.
pub(crate) const PROBE: u32 = 2;

/// Looks for a ban of the packet's source; `hash` is its subscriber's, `cpu` this CPU's.
#[inline(always)]
pub(crate) fn check(packet: &Packet, cpu: *mut Cpu, hash: u64, settings: &Settings) -> u32 {
    if is_filtered(hash) {
        let met = Met { network: packet.subscriber(), source: packet.source, about: PortAndSyn::of(packet) };
        let outcome = meet_ban(&met, hash, packet.bytes(), cpu);
        if outcome != FREE {
            return outcome;
        }
    }
    if packet.is_v4() || settings.stages & stage::WIDE_BANS == 0 {
        return FREE;
    }
    for prefix in WIDE_PREFIXES {
        let network = packet.source.network(prefix);
        let hash = network.hash(settings.seed);
        if is_filtered(hash) {
            let [first, host] = packet.source.words();
            let about = u64::from(PortAndSyn::of(packet).0) | packet.bytes() << 32;
            let outcome = meet_wide_ban(first, host, prefix, hash, about);
            if outcome != FREE {
                return outcome;
            }
        }
    }
    FREE
}

/// Whether there may be a ban of the network with this hash.
#[inline(always)]
fn is_filtered(hash: u64) -> bool {
    let (word, mask) = filter_slot(hash);
    BAN_FILTER.get(word).is_some_and(|bits| bits & mask != 0)
}

/// The source port, and in the lowest bit whether the packet opens a connection.
#[derive(Clone, Copy)]
struct PortAndSyn(u32);

impl PortAndSyn {
    #[inline(always)]
    fn of(packet: &Packet) -> Self {
        Self(u32::from(packet.source_port()) << 1 | u32::from(packet.is_syn()))
    }

    #[inline(always)]
    fn port(self) -> u16 {
        (self.0 >> 1) as u16
    }

    #[inline(always)]
    fn is_syn(self) -> bool {
        self.0 & 1 != 0
    }
}

/// [`meet_ban`] for the network of `prefix` bits that the address of these words is in; `about` is the port and SYN, and
/// from the 32nd bit on the length.
///
/// A global function: the verifier looks at it once, by itself, and not again on each of the ways that lead to it. For that
/// it may take and return nothing but plain words. What nearly every packet of a flood comes to is none: a call costs as
/// much as a third of a ban.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn meet_wide_ban(first: u64, host: u64, prefix: u32, hash: u64, about: u64) -> u32 {
    let Some(cpu) = CPU.get_ptr_mut(0) else {
        return FREE;
    };
    let source = Source::from_words([first, host]);
    // Of other prefixes there are no bans, and the shift must be one.
    let network = source.network(prefix & 63);
    meet_ban(&Met { network, source, about: PortAndSyn(about as u32) }, hash, about >> 32, cpu)
}

/// A packet and the network whose ban it may meet.
struct Met {
    network: Source,
    source: Source,
    about: PortAndSyn,
}

/// The ban of a network with this hash.
#[inline(always)]
fn find(network: Source, hash: u64) -> Option<*mut Ban> {
    let head = ban_head(hash);
    let mut slot = first_slot(*BAN_FIRST.get(head / 2)?, head);
    for _ in 0..BAN_CHAIN_MAX {
        // Counted from 1: what follows no slot is none of the array.
        let index = slot.wrapping_sub(1);
        let entry = BANS.get_ptr_mut(index)?;
        // SAFETY: an element of the array; the gateway alone writes this word, and while nobody comes to the slot.
        if unsafe { addr_of!((*entry).source).read_volatile() } == network {
            // SAFETY: as above.
            return Some(unsafe { addr_of_mut!((*entry).ban) });
        }
        slot = *BAN_NEXT.get(index)? as u32;
    }
    None
}

/// Counts the packet in the ban of the network, and says what that makes of it.
#[inline(always)]
fn meet_ban(met: &Met, hash: u64, bytes: u64, cpu: *mut Cpu) -> u32 {
    let Some(ban) = find(met.network, hash) else {
        return FREE;
    };
    // SAFETY: the slot stays this ban's until this invocation ends, even if the gateway lifts it meanwhile; words that
    // several CPUs change are changed atomically, the others only by the gateway. When that renews the ban, a packet at
    // the same instant may be judged by some words of the old and some of the new one, or counted in the old.
    unsafe {
        let now_ns = now_ns(cpu);
        if (*ban).until_ns <= now_ns {
            return FREE;
        }
        let seen = addr_of_mut!((*ban).seen.packets);
        add(seen, 1);
        // Two CPUs at the same instant may count one packet's bytes only: an atomic addition for each of two words is
        // a tenth of the whole verdict.
        let seen_bytes = addr_of_mut!((*ban).seen.bytes);
        seen_bytes.write_volatile(seen_bytes.read_volatile() + bytes);
        let passes = match (*ban).policy {
            policy::NOTHING => false,
            policy::ONE_IN => (*ban).one_in != 0 && seen.read_volatile() % u64::from((*ban).one_in) == 0,
            policy::CONNECTION => {
                is_probe(ban, probe_of(met.source, met.about.port()), met.about.is_syn(), now_ns)
            }
            _ => true,
        };
        if passes {
            add(addr_of_mut!((*ban).passed), 1);
            return PROBE;
        }
        BANNED
    }
}

/// Whether the packet is of the connection that may pass in this interval, or opens the next such one.
///
/// # Safety
/// `ban` must be a live entry.
#[inline(always)]
unsafe fn is_probe(ban: *mut Ban, identity: u32, is_syn: bool, now_ns: u64) -> bool {
    let identity = u64::from(identity);
    // SAFETY: the caller's promise, and as in `meet_ban`. Two CPUs that count the same connection's packets at the
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
        if !is_syn || now_ns < next_ns {
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
