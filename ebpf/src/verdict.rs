//! What becomes of a packet.

use aya_ebpf::btf_maps::lpm_trie::Key;
use sluice_common::{Event, Reason, Settings, port_slot, stage};

use crate::{
    bans::{self, Outcome},
    buckets::take,
    count,
    maps::{ALLOW4, ALLOW6, BLOCK4, BLOCK6, PACKET_BUCKETS, PORTS, SETTINGS, SYN_BUCKETS},
    parse::{Address, Packet, Segment},
};

/// Judges a packet that came in by `interface`, and counts it; whether it is to be dropped.
#[inline(always)]
pub(crate) fn judge(packet: &Packet, interface: u32) -> bool {
    let Some(settings) = SETTINGS.get(0) else {
        return false;
    };
    let segment = &packet.segment;
    let source = segment.source.subscriber();
    let hash = source.hash(settings.seed);
    let verdict = if packet.has_segment && is_served(segment.destination_port) {
        stages(segment, hash, packet.bytes, settings)
    } else {
        Verdict::of(packet.reason)
    };
    let drops = verdict.reason.drops();
    let is_dry = drops && settings.stages & stage::DRY_RUN != 0;
    count::reason(verdict.reason, is_dry, packet.bytes);
    if drops {
        if verdict.reason as u32 == Reason::Blocked as u32 {
            count::rule(verdict.rule, packet.bytes);
        }
        if packet.has_segment {
            count::client(source, hash, packet.bytes);
        }
        count::sample(settings, |at_ns| Event {
            at_ns,
            source,
            interface,
            reason: verdict.reason as u32,
            rule: verdict.rule,
            port: segment.destination_port,
            is_dry: u16::from(is_dry),
            bytes: packet.bytes,
        });
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

#[inline(always)]
fn is_served(port: u16) -> bool {
    let (word, mask) = port_slot(port);
    PORTS.get(word).is_some_and(|bits| bits & mask != 0)
}

/// The stages in order: the allow-list overrides all others, and rates come last, so that only sources that nothing
/// else condemns take up buckets. `hash` is the subscriber's.
#[inline(always)]
fn stages(segment: &Segment, hash: u64, bytes: u64, settings: &Settings) -> Verdict {
    let stages = settings.stages;
    if is_allowed(&segment.source, stages) {
        return Verdict::of(Reason::Allowed);
    }
    let mut passing = Reason::Accepted;
    if stages & stage::BANS != 0 {
        match bans::check(segment, hash, bytes, settings) {
            Outcome::Banned => return Verdict::of(Reason::Banned),
            Outcome::Probe => passing = Reason::Probe,
            Outcome::Free => {}
        }
    }
    if let Some(rule) = blocked_by(&segment.source, stages) {
        return Verdict { reason: Reason::Blocked, rule };
    }
    if segment.is_syn && stages & stage::SYN_RATE != 0 && !take(&SYN_BUCKETS, hash, settings.syns) {
        return Verdict::of(Reason::SynRate);
    }
    if stages & stage::PACKET_RATE != 0 && !take(&PACKET_BUCKETS, hash, settings.packets) {
        return Verdict::of(Reason::PacketRate);
    }
    Verdict::of(passing)
}

#[inline(always)]
fn is_allowed(address: &Address, stages: u32) -> bool {
    let source = address.source;
    if address.is_v4 {
        stages & stage::ALLOW4 != 0 && ALLOW4.get(&Key::new(32, source.v4_word())).is_some()
    } else {
        stages & stage::ALLOW6 != 0 && ALLOW6.get(&Key::new(128, source.v6_words())).is_some()
    }
}

#[inline(always)]
fn blocked_by(address: &Address, stages: u32) -> Option<u32> {
    let source = address.source;
    if address.is_v4 && stages & stage::BLOCK4 != 0 {
        return BLOCK4.get(&Key::new(32, source.v4_word())).copied();
    }
    if !address.is_v4 && stages & stage::BLOCK6 != 0 {
        return BLOCK6.get(&Key::new(128, source.v6_words())).copied();
    }
    None
}
