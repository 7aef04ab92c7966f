//! Samples of dropped packets.

use ipnet::IpNet;
use sluice_common::{Reason, Source};
use std::time::Duration;

use crate::counters::client_of;

/// A dropped packet, one of many: each CPU reports so many a second at most, see
/// [`Options::events_per_s`](crate::Options::events_per_s).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// How long ago, to the kernel's tick (1 to 10 ms).
    pub age: Duration,
    /// Whose: an IPv4 address or an IPv6 /64. `None` where the packet was too broken to tell.
    pub source: Option<IpNet>,
    /// Index of the interface.
    pub interface: u32,
    /// Why.
    pub reason: Reason,
    /// The rule of the block list, where that was the reason.
    pub rule: Option<u32>,
    /// Where it was going; `None` where the packet has no port.
    pub port: Option<u16>,
    /// It passed after all, in a dry run.
    pub is_dry: bool,
    /// Length by the IP header.
    pub bytes: u64,
}

/// Reads an item of the ring buffer. `None` if it is not an event of this version.
pub(crate) fn decode(item: &[u8], now_ns: u64) -> Option<Event> {
    let event = read(item)?;
    let reason = *Reason::ALL.get(event.reason as usize)?;
    Some(Event {
        age: Duration::from_nanos(now_ns.saturating_sub(event.at_ns)),
        source: (event.source != Source::default()).then(|| client_of(event.source)),
        interface: event.interface,
        reason,
        rule: (reason == Reason::Blocked).then_some(event.rule),
        port: (event.port != 0).then_some(event.port),
        is_dry: event.is_dry != 0,
        bytes: event.bytes,
    })
}

fn read(item: &[u8]) -> Option<sluice_common::Event> {
    if item.len() != size_of::<sluice_common::Event>() {
        return None;
    }
    // SAFETY: as many bytes as the type has, which is made of integers (`aya::Pod`); no alignment is assumed.
    Some(unsafe { item.as_ptr().cast::<sluice_common::Event>().read_unaligned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(event: &sluice_common::Event) -> Vec<u8> {
        let at = std::ptr::from_ref(event).cast::<u8>();
        // SAFETY: a live value without padding.
        unsafe { std::slice::from_raw_parts(at, size_of::<sluice_common::Event>()) }.to_vec()
    }

    #[test]
    fn items_are_read_and_strange_ones_are_not() {
        let source = crate::counters::source_of("192.0.2.1".parse().unwrap());
        let raw = sluice_common::Event {
            at_ns: 1_000,
            source,
            interface: 3,
            reason: Reason::Blocked as u32,
            rule: 7,
            port: 443,
            is_dry: 1,
            bytes: 60,
        };
        let event = decode(&bytes(&raw), 5_000).unwrap();
        assert_eq!(event.age, Duration::from_nanos(4_000));
        assert_eq!(event.source.unwrap().to_string(), "192.0.2.1/32");
        assert_eq!(
            (event.reason, event.rule, event.port, event.is_dry),
            (Reason::Blocked, Some(7), Some(443), true)
        );

        let broken = sluice_common::Event { reason: Reason::Malformed as u32, ..Default::default() };
        let event = decode(&bytes(&broken), 0).unwrap();
        assert_eq!((event.source, event.rule, event.port), (None, None, None));

        assert_eq!(decode(&bytes(&sluice_common::Event { reason: 999, ..raw }), 0), None);
        assert_eq!(decode(&bytes(&raw)[1..], 0), None);
    }
}
