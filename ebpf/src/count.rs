//! Counters of this CPU, and samples for the log.

use sluice_common::{CLIENT_SETS, CLIENT_WAYS, Client, ClientSet, Event, Reason, Settings, Source, Stat};

use crate::{
    clock::now_ns,
    maps::{CLIENTS, EVENT_NEXT, EVENTS, REASONS, RULES},
};

/// Counts a packet under its reason.
#[inline(always)]
pub(crate) fn reason(reason: Reason, passes_dry: bool, bytes: u64) {
    let index = reason as u32 + if passes_dry { Reason::COUNT as u32 } else { 0 };
    add(REASONS.get_ptr_mut(index), bytes);
}

/// Counts a dropped packet under its rule.
#[inline(always)]
pub(crate) fn rule(rule: u32, bytes: u64) {
    add(RULES.get_ptr_mut(rule), bytes);
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
pub(crate) fn client(source: Source, hash: u64, bytes: u64) {
    let Some(set): Option<*mut ClientSet> = CLIENTS.get_ptr_mut(hash as u32 & (CLIENT_SETS as u32 - 1))
    else {
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

/// Reports a drop if this CPU has not done so for a while.
#[inline(always)]
pub(crate) fn sample(settings: &Settings, event: impl FnOnce(u64) -> Event) {
    if settings.event_interval_ns == 0 {
        return;
    }
    let Some(next_at) = EVENT_NEXT.get_ptr_mut(0) else {
        return;
    };
    let now_ns = now_ns();
    // SAFETY: a map value of this CPU alone.
    unsafe {
        if now_ns < *next_at {
            return;
        }
        *next_at = now_ns + settings.event_interval_ns;
    }
    // A full buffer means that the gateway does not read: the event is lost, and that is all.
    let _ = EVENTS.output(event(now_ns), 0);
}
