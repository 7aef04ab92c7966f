//! Counters of this CPU, and samples for the log.

use sluice_common::{
    CLIENT_SETS, CLIENT_WAYS, Client, ClientSet, Cpu, Event, Reason, Settings, Source, Stat,
};

use crate::{
    clock::now_ns,
    maps::{ACTIVE, CLIENTS, CONFIG, CPU, EVENTS, RULES},
};

/// Counts a packet under its reason, by discriminant; `cpu` is this CPU's.
#[inline(always)]
pub(crate) fn reason(cpu: *mut Cpu, reason: u32, passes_dry: bool, bytes: u64) {
    let index = reason as usize & (Reason::COUNT - 1) | if passes_dry { Reason::COUNT } else { 0 };
    // SAFETY: the value is this CPU's alone, and the index below the length.
    add(Some(unsafe { (&raw mut (*cpu).reasons).cast::<Stat>().add(index) }), bytes);
}

/// What was dropped and why, as one word.
#[derive(Clone, Copy)]
pub(crate) struct Drop {
    /// By discriminant.
    pub(crate) reason: u8,
    pub(crate) is_dry: bool,
    pub(crate) has_source: bool,
    pub(crate) port: u16,
    pub(crate) rule: u32,
}

impl Drop {
    #[inline(always)]
    pub(crate) const fn pack(self) -> u64 {
        self.reason as u64
            | (self.is_dry as u64) << 8
            | (self.has_source as u64) << 9
            | (self.port as u64) << 16
            | (self.rule as u64) << 32
    }

    #[inline(always)]
    const fn unpack(word: u64) -> Self {
        Self {
            reason: word as u8,
            is_dry: word >> 8 & 1 != 0,
            has_source: word >> 9 & 1 != 0,
            port: (word >> 16) as u16,
            rule: (word >> 32) as u32,
        }
    }
}

/// Counts a drop under its rule and its source, the subscriber of these words, and reports it if this CPU has not done so
/// for a while. A global function for the verifier's sake, as `rates::take_tokens` is.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn dropped(first: u64, second: u64, kind: u64, bytes: u64, interface: u32) -> u32 {
    let kind = Drop::unpack(kind);
    // Of a packet too broken to judge nothing is certain.
    let source = Source::from_words(if kind.has_source { [first, second] } else { [0; 2] });
    let generation = ACTIVE.get(0).copied().unwrap_or(0) & 1;
    let Some(config) = CONFIG.get(generation) else {
        return 0;
    };
    let settings = &config.settings;
    if kind.reason == Reason::Blocked as u8 {
        add(RULES.get_ptr_mut(kind.rule), bytes);
    }
    // A banned source is counted with its ban. Whoever meets the end of the budget is rarely the one who used it up, and
    // often forged.
    let is_counted = kind.reason != Reason::Banned as u8 && kind.reason != Reason::SynBudget as u8;
    if kind.has_source && is_counted {
        client(source, source.hash(settings.seed), bytes);
    }
    sample(settings, |at_ns| Event {
        at_ns,
        source,
        interface,
        reason: kind.reason.into(),
        rule: kind.rule,
        port: kind.port,
        is_dry: kind.is_dry.into(),
        bytes,
    });
    1
}

#[inline(always)]
fn add(stat: Option<*mut Stat>, bytes: u64) {
    if let Some(stat) = stat {
        // SAFETY: a map value of this CPU alone, which no other program invocation can interrupt us to change.
        unsafe {
            (*stat).packets += 1;
            (*stat).bytes += bytes;
        }
    }
}

/// Counts a dropped packet under its source; `hash` is the source's.
#[inline(always)]
fn client(source: Source, hash: u64, bytes: u64) {
    let Some(set): Option<*mut ClientSet> = CLIENTS.get_ptr_mut(hash as u32 & (CLIENT_SETS as u32 - 1))
    else {
        return;
    };
    let set = set.cast::<Client>();
    // The least count names its way in the lowest bits, as in `sluice_common::take`.
    let mut fewest = u64::MAX;
    for way in 0..CLIENT_WAYS {
        // SAFETY: `way` stays within the set, which belongs to this CPU alone.
        let client = unsafe { &mut *set.add(way) };
        if client.source == source && client.dropped.packets != 0 {
            client.dropped.packets += 1;
            client.dropped.bytes += bytes;
            return;
        }
        let rank = client.dropped.packets * CLIENT_WAYS as u64 | way as u64;
        if rank < fewest {
            fewest = rank;
        }
    }
    let smallest = fewest as usize & (CLIENT_WAYS - 1);
    // SAFETY: as above.
    unsafe { *set.add(smallest) = Client { source, dropped: Stat { packets: 1, bytes } } };
}

/// Reports a drop if this CPU has not done so for a while.
#[inline(always)]
fn sample(settings: &Settings, event: impl FnOnce(u64) -> Event) {
    if settings.event_interval_ns == 0 {
        return;
    }
    let Some(cpu) = CPU.get_ptr_mut(0) else {
        return;
    };
    let now_ns = now_ns(cpu);
    // SAFETY: the value is this CPU's alone.
    unsafe {
        if now_ns < (*cpu).next_event_ns {
            return;
        }
        (*cpu).next_event_ns = now_ns + settings.event_interval_ns;
    }
    // A full buffer means that the gateway does not read: the event is lost, and that is all.
    let _ = EVENTS.output(event(now_ns), 0);
}
