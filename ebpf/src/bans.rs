//! Bans, and the little that passes in spite of one.

use core::ptr::addr_of_mut;
use sluice_common::{Ban, Cpu, PROBE_PACKETS, Settings, Source, filter_slot, policy, probe_of, stage};

use crate::{
    atomic::{add, compare_exchange},
    clock::now_ns,
    maps::{BAN_FILTER, BANS, CPU},
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
        let outcome =
            meet_ban(packet.subscriber(), packet.source, PortAndSyn::of(packet), packet.bytes(), cpu);
        if outcome != FREE {
            return outcome;
        }
    }
    if packet.is_v4() || settings.stages & stage::WIDE_BANS == 0 {
        return FREE;
    }
    for prefix in WIDE_PREFIXES {
        let network = packet.source.network(prefix);
        if is_filtered(network.hash(settings.seed)) {
            let ([first, second], [_, host]) = (network.words(), packet.source.words());
            let outcome = meet_wide_ban(first, second, host, PortAndSyn::of(packet).0, packet.bytes());
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

/// [`meet_ban`] for the network with these words and an address whose second word is `host`.
///
/// A global function: the verifier looks at it once, by itself, and not again on each of the ways that lead to it. For that
/// it may take and return nothing but plain words. What nearly every packet of a flood comes to is none: a call costs as
/// much as the rest of a ban.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn meet_wide_ban(first: u64, second: u64, host: u64, port_and_syn: u32, bytes: u64) -> u32 {
    let Some(cpu) = CPU.get_ptr_mut(0) else {
        return FREE;
    };
    let (network, source) = (Source::from_words([first, second]), Source::from_words([first, host]));
    meet_ban(network, source, PortAndSyn(port_and_syn), bytes, cpu)
}

/// Counts the packet in the ban of the network, and says what that makes of it.
#[inline(always)]
fn meet_ban(network: Source, source: Source, about: PortAndSyn, bytes: u64, cpu: *mut Cpu) -> u32 {
    let Some(ban) = BANS.get_ptr_mut(&network) else {
        return FREE;
    };
    // SAFETY: the entry stays readable until this invocation ends, even if the gateway removes it meanwhile; words that
    // several CPUs change are changed atomically, the others only by the gateway, which replaces whole entries.
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
            policy::CONNECTION => is_probe(ban, probe_of(source, about.port()), about.is_syn(), now_ns),
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
