//! What becomes of a packet.

use core::arch::asm;

use aya_ebpf::btf_maps::lpm_trie::Key;
use sluice_common::{
    BLOCK16_WORDS, BLOCK20_WORDS, BLOCK24_WORDS, Config, Cpu, PORT_WORDS, Reason, block_slot, block6_slot,
    port_slot, stage,
};

use crate::{
    bans,
    count::{self, Drop},
    maps::{
        ACTIVE, ALLOW4_0, ALLOW4_1, ALLOW6_0, ALLOW6_1, BLOCK4_0, BLOCK4_1, BLOCK6_0, BLOCK6_1, BLOCK20,
        BLOCK24, CONFIG,
    },
    parse::Packet,
    rates,
};

/// Judges a packet that came in by `interface`, and counts it; whether it is to be dropped. `cpu` is this CPU's.
#[inline(always)]
pub(crate) fn judge(packet: &Packet, cpu: *mut Cpu, interface: impl FnOnce() -> u32) -> bool {
    let generation = ACTIVE.get(0).copied().unwrap_or(0) & 1;
    let Some(config) = CONFIG.get(generation) else {
        return false;
    };
    let stages = config.settings.stages;
    let verdict = if packet.has_segment() && is_served(packet, config) {
        judge_served(packet, cpu, generation, config)
    } else if packet.is_later_of_tcp() && stages & stage::DROP_LATER_FRAGMENTS != 0 {
        // To whichever port: that is in the first one. Nobody's TCP comes in fragments (RFC 9293 3.7.1), but for a path that
        // misbehaves; what floods the reassembly queue does.
        let is_allowed =
            stages & (stage::ALLOW4 | stage::ALLOW6) != 0 && is_allowed(packet, generation, stages);
        Verdict::of(if is_allowed { Reason::Allowed } else { Reason::Fragmented })
    } else {
        Verdict { reason: packet.reason(), rule: 0 }
    };
    let drops = verdict.reason >= Reason::Malformed as u32;
    let is_dry = drops && stages & stage::DRY_RUN != 0;
    count::reason(cpu, verdict.reason, is_dry, packet.bytes());
    // A ban has counters of its own.
    if drops && (verdict.reason != Reason::Banned as u32 || config.settings.event_interval_ns != 0) {
        let [first, second] = packet.subscriber().words();
        let kind = Drop {
            reason: verdict.reason as u8,
            is_dry,
            has_source: packet.has_segment() || packet.is_later_of_tcp(),
            port: packet.destination_port(),
            rule: verdict.rule,
        };
        count::dropped(first, second, kind.pack(), packet.bytes(), interface());
    }
    drops && !is_dry
}

/// A reason by its discriminant, and the block list's rule where that is it.
#[derive(Clone, Copy)]
struct Verdict {
    reason: u32,
    rule: u32,
}

impl Verdict {
    #[inline(always)]
    const fn of(reason: Reason) -> Self {
        Self { reason: reason as u32, rule: 0 }
    }

    #[inline(always)]
    const fn blocked(rule: u32) -> Self {
        Self { reason: Reason::Blocked as u32, rule }
    }
}

/// Whether the packet is to a port of the gateway. UDP never is unless it is to be dropped.
#[inline(always)]
fn is_served(packet: &Packet, config: &Config) -> bool {
    if packet.is_udp() && config.settings.stages & stage::DROP_UDP == 0 {
        return false;
    }
    let (word, mask) = port_slot(packet.destination_port());
    is_set(&config.ports, word, mask)
}

/// Whether a bit of a bitmap is set, whose length is a power of two.
#[inline(always)]
fn is_set<const WORDS: usize>(bitmap: &[u64; WORDS], word: u32, mask: u64) -> bool {
    // SAFETY: the mask, a no-op, shows the verifier that the index is below the length.
    unsafe { *bitmap.get_unchecked(word as usize & (WORDS - 1)) & mask != 0 }
}

/// The stages in order: the allow-list overrides all others, and rates come last, so that only sources that nothing
/// else condemns take up buckets.
#[inline(always)]
fn judge_served(packet: &Packet, cpu: *mut Cpu, generation: u32, config: &Config) -> Verdict {
    let settings = &config.settings;
    let stages = settings.stages;
    if stages & (stage::ALLOW4 | stage::ALLOW6) != 0 && is_allowed(packet, generation, stages) {
        return Verdict::of(Reason::Allowed);
    }
    if packet.is_udp() {
        return Verdict::of(Reason::Udp);
    }
    if packet.is_fragment() && stages & stage::DROP_FRAGMENTS != 0 {
        return Verdict::of(Reason::Fragmented);
    }
    // Before anything that would have to be looked up: in a flood this is what most packets come to.
    if packet.is_syn() && stages & stage::SYN_BUDGET != 0 && !rates::has_budget(cpu, settings) {
        return Verdict::of(Reason::SynBudget);
    }
    let is_hashed = stages & (stage::BANS | stage::RATES) != 0;
    let hash = if is_hashed { packet.subscriber().hash(settings.seed) } else { 0 };
    let mut passing = Reason::Accepted;
    if stages & stage::BANS != 0 {
        match bans::check(packet, cpu, hash, settings) {
            bans::FREE => {}
            bans::PROBE => passing = Reason::Probe,
            _ => return Verdict::of(Reason::Banned),
        }
    }
    if stages & (stage::BLOCK4 | stage::BLOCK6) != 0 {
        if let Some(rule) = blocked_by(packet, generation, config) {
            return Verdict::blocked(rule);
        }
    }
    if stages & stage::RATES != 0 {
        if let Some(reason) = rates::exceeded(packet, cpu, hash, settings) {
            return Verdict::of(reason);
        }
    }
    Verdict::of(passing)
}

/// What a generation's list has. The verifier calls a map's own look-up where it knows which map that is, and so must not
/// find one call for both: the empty assembly keeps the compiler from making one of them.
#[inline(always)]
fn look_up<'a>(
    generation: u32,
    first: impl FnOnce() -> Option<&'a u32>,
    second: impl FnOnce() -> Option<&'a u32>,
) -> Option<u32> {
    if generation == 0 {
        return first().copied();
    }
    let found = second().copied();
    // SAFETY: no instruction.
    unsafe { asm!("", options(nomem, nostack)) };
    found
}

#[inline(always)]
fn is_allowed(packet: &Packet, generation: u32, stages: u32) -> bool {
    let source = packet.source;
    if packet.is_v4() {
        let key = Key::new(32, source.v4_word());
        stages & stage::ALLOW4 != 0
            && look_up(generation, || ALLOW4_0.get(&key), || ALLOW4_1.get(&key)).is_some()
    } else {
        let key = Key::new(128, source.v6_words());
        stages & stage::ALLOW6 != 0
            && look_up(generation, || ALLOW6_0.get(&key), || ALLOW6_1.get(&key)).is_some()
    }
}

#[inline(always)]
fn blocked_by(packet: &Packet, generation: u32, config: &Config) -> Option<u32> {
    let (source, stages) = (packet.source, config.settings.stages);
    if packet.is_v4() && stages & stage::BLOCK4 != 0 {
        if !may_be_blocked(u32::from_be(source.v4_word()), generation, config) {
            return None;
        }
        let key = Key::new(32, source.v4_word());
        return look_up(generation, || BLOCK4_0.get(&key), || BLOCK4_1.get(&key));
    }
    if !packet.is_v4() && stages & stage::BLOCK6 != 0 {
        if !may_be_blocked6(u64::from_be(source.v6_words()[0]), config) {
            return None;
        }
        let key = Key::new(128, source.v6_words());
        return look_up(generation, || BLOCK6_0.get(&key), || BLOCK6_1.get(&key));
    }
    None
}

/// Whether there is anything about an IPv4 address's /24 in the block list. The smallest bitmap that says no is the
/// last that is looked at.
#[inline(always)]
fn may_be_blocked(address: u32, generation: u32, config: &Config) -> bool {
    const _: () = assert!(BLOCK16_WORDS.is_power_of_two() && PORT_WORDS.is_power_of_two());
    let ((word16, mask16), (word20, mask20), (word24, mask24)) =
        (block_slot(address, 16), block_slot(address, 20), block_slot(address, 24));
    let is_worth = |bit: u32| config.settings.stages & bit != 0;
    let is_free20 =
        || BLOCK20.get(generation * BLOCK20_WORDS as u32 + word20).is_some_and(|bits| bits & mask20 == 0);
    let is_free24 =
        || BLOCK24.get(generation * BLOCK24_WORDS as u32 + word24).is_some_and(|bits| bits & mask24 == 0);
    is_set(&config.block16, word16, mask16)
        && !(is_worth(stage::BLOCK20) && is_free20())
        && !(is_worth(stage::BLOCK24) && is_free24())
}

/// Whether there may be anything about an IPv6 address's /32, and then its /48, in the block list.
#[inline(always)]
fn may_be_blocked6(first: u64, config: &Config) -> bool {
    let stages = config.settings.stages;
    let ((word32, mask32), (word48, mask48)) = (block6_slot(first, 32), block6_slot(first, 48));
    !(stages & stage::BLOCK6_32 != 0 && !is_set(&config.block6_32, word32, mask32)
        || stages & stage::BLOCK6_48 != 0 && !is_set(&config.block6_48, word48, mask48))
}
