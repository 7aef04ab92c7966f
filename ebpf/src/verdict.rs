//! What becomes of a packet.

use aya_ebpf::btf_maps::lpm_trie::Key;
use sluice_common::{BLOCK_WORDS, PORT_WORDS, Reason, Settings, block_slot, port_slot, stage};

use crate::{
    bans,
    count::{self, Drop},
    maps::{
        ACTIVE, ALLOW4_0, ALLOW4_1, ALLOW6_0, ALLOW6_1, BLOCK4_0, BLOCK4_1, BLOCK4_FILTER, BLOCK6_0,
        BLOCK6_1, PORTS, SETTINGS,
    },
    parse::{Address, Packet, Segment},
    rates,
};

/// Judges a packet that came in by `interface`, and counts it; whether it is to be dropped.
#[inline(always)]
pub(crate) fn judge(packet: &Packet, interface: impl FnOnce() -> u32) -> bool {
    let generation = ACTIVE.get(0).copied().unwrap_or(0) & 1;
    let Some(settings) = SETTINGS.get(generation) else {
        return false;
    };
    let segment = &packet.segment;
    let verdict = if packet.has_segment && is_served(segment, generation, settings.stages) {
        stages(segment, packet.bytes, generation, settings)
    } else {
        Verdict::of(packet.reason)
    };
    let drops = verdict.reason.drops();
    let is_dry = drops && settings.stages & stage::DRY_RUN != 0;
    count::reason(verdict.reason, is_dry, packet.bytes);
    // A ban has counters of its own.
    if drops && (verdict.reason as u32 != Reason::Banned as u32 || settings.event_interval_ns != 0) {
        let [first, second] = segment.source.subscriber().words();
        let kind = Drop {
            reason: verdict.reason as u8,
            is_dry,
            has_source: packet.has_segment,
            port: segment.destination_port,
            rule: verdict.rule,
        };
        count::dropped(first, second, kind.pack(), packet.bytes, interface());
    }
    drops && !is_dry
}

/// A reason, and the block list's rule where that is it.
#[derive(Clone, Copy)]
struct Verdict {
    reason: Reason,
    rule: u32,
}

impl Verdict {
    #[inline(always)]
    const fn of(reason: Reason) -> Self {
        Self { reason, rule: 0 }
    }
}

/// Whether the packet is to a port of the gateway. UDP never is unless it is to be dropped.
#[inline(always)]
fn is_served(segment: &Segment, generation: u32, stages: u32) -> bool {
    if segment.is_udp && stages & stage::DROP_UDP == 0 {
        return false;
    }
    let (word, mask) = port_slot(segment.destination_port);
    PORTS.get(generation * PORT_WORDS as u32 + word).is_some_and(|bits| bits & mask != 0)
}

/// The stages in order: the allow-list overrides all others, and rates come last, so that only sources that nothing
/// else condemns take up buckets.
#[inline(always)]
fn stages(segment: &Segment, bytes: u64, generation: u32, settings: &Settings) -> Verdict {
    let stages = settings.stages;
    if is_allowed(&segment.source, generation, stages) {
        return Verdict::of(Reason::Allowed);
    }
    if segment.is_udp {
        return Verdict::of(Reason::Udp);
    }
    if segment.is_fragment && stages & stage::DROP_FRAGMENTS != 0 {
        return Verdict::of(Reason::Fragmented);
    }
    if stages & (stage::BANS | stage::RATES) == 0 {
        return match blocked_by(&segment.source, generation, stages) {
            Some(rule) => Verdict { reason: Reason::Blocked, rule },
            None => Verdict::of(Reason::Accepted),
        };
    }
    // Before anything that would have to be looked up: in a flood this is what most packets come to.
    if segment.is_syn && stages & stage::SYN_BUDGET != 0 && !rates::has_budget(settings) {
        return Verdict::of(Reason::SynBudget);
    }
    let hash = segment.source.subscriber().hash(settings.seed);
    let mut passing = Reason::Accepted;
    if stages & stage::BANS != 0 {
        match bans::check(segment, hash, bytes, settings) {
            bans::FREE => {}
            bans::PROBE => passing = Reason::Probe,
            _ => return Verdict::of(Reason::Banned),
        }
    }
    if let Some(rule) = blocked_by(&segment.source, generation, stages) {
        return Verdict { reason: Reason::Blocked, rule };
    }
    Verdict::of(rates::exceeded(segment, hash, bytes, settings).unwrap_or(passing))
}

#[inline(always)]
fn is_allowed(address: &Address, generation: u32, stages: u32) -> bool {
    let source = address.source;
    if address.is_v4 {
        let trie = if generation == 0 { &ALLOW4_0 } else { &ALLOW4_1 };
        stages & stage::ALLOW4 != 0 && trie.get(&Key::new(32, source.v4_word())).is_some()
    } else {
        let trie = if generation == 0 { &ALLOW6_0 } else { &ALLOW6_1 };
        stages & stage::ALLOW6 != 0 && trie.get(&Key::new(128, source.v6_words())).is_some()
    }
}

#[inline(always)]
fn blocked_by(address: &Address, generation: u32, stages: u32) -> Option<u32> {
    let source = address.source;
    if address.is_v4 && stages & stage::BLOCK4 != 0 {
        let (word, mask) = block_slot(u32::from_be(source.v4_word()));
        if !BLOCK4_FILTER.get(generation * BLOCK_WORDS as u32 + word).is_some_and(|bits| bits & mask != 0) {
            return None;
        }
        let trie = if generation == 0 { &BLOCK4_0 } else { &BLOCK4_1 };
        return trie.get(&Key::new(32, source.v4_word())).copied();
    }
    if !address.is_v4 && stages & stage::BLOCK6 != 0 {
        let trie = if generation == 0 { &BLOCK6_0 } else { &BLOCK6_1 };
        return trie.get(&Key::new(128, source.v6_words())).copied();
    }
    None
}
