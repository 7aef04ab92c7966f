//! What the program has seen.

use ipnet::{IpNet, Ipv6Net};
use sluice_common::{Reason, Source, Stat};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
};

/// What the program has seen since it was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Each reason, in the order of [`Reason::ALL`]; together all packets of the interfaces.
    pub reasons: Vec<ReasonCount>,
    /// Drops of each rule of the block list, by id; in a dry run, what would have been.
    pub rules: Vec<RuleCount>,
    /// Sources with the most dropped packets, the worst first; in a dry run, what would have been. Sources are many and the table is small: a source
    /// that competes with others for its place may have lost earlier counts.
    pub clients: Vec<ClientCount>,
    /// Bans held, those over but not yet swept included.
    pub bans: usize,
}

/// Packets by reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasonCount {
    /// Why.
    pub reason: Reason,
    /// How many; of reasons that drop, those really dropped.
    pub count: Stat,
    /// How many more would have been dropped, but passed because it was a dry run.
    pub dry: Stat,
}

/// Drops by rule of the block list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleCount {
    /// Its id in [`Options::block`](crate::Options::block).
    pub rule: u32,
    /// How many.
    pub count: Stat,
}

/// Drops by source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientCount {
    /// An IPv4 address, or the /64 of an IPv6 one.
    pub client: IpNet,
    /// How many.
    pub count: Stat,
}

impl Counters {
    /// The count of a reason.
    #[must_use]
    pub fn reason(&self, reason: Reason) -> Stat {
        self.reasons.iter().find(|entry| entry.reason == reason).map(|entry| entry.count).unwrap_or_default()
    }

    /// The count of a rule; zero for one that is not in use.
    #[must_use]
    pub fn rule(&self, rule: u32) -> Stat {
        self.rules.iter().find(|entry| entry.rule == rule).map(|entry| entry.count).unwrap_or_default()
    }

    /// Packets dropped for any reason.
    #[must_use]
    pub fn dropped(&self) -> Stat {
        let mut total = Stat::default();
        for entry in self.reasons.iter().filter(|entry| entry.reason.drops()) {
            total.add(entry.count);
        }
        total
    }
}

/// The `top` of these sources by dropped packets, the worst first.
pub(crate) fn worst(totals: BTreeMap<Source, Stat>, top: usize) -> Vec<ClientCount> {
    let all = totals.into_iter().map(|(source, count)| ClientCount { client: client_of(source), count });
    let mut clients: Vec<ClientCount> = all.filter(|client| client.count.packets != 0).collect();
    clients.sort_by(|a, b| b.count.packets.cmp(&a.count.packets).then(a.client.cmp(&b.client)));
    clients.truncate(top);
    clients
}

/// An address as the program sees it: a mapped one is IPv4.
pub(crate) fn source_of(address: IpAddr) -> Source {
    Source::from_octets(match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    })
}

/// The address of a source.
pub(crate) fn address_of(source: Source) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(source.octets())).to_canonical()
}

/// The network of a source in the table of clients, or of bans.
pub(crate) fn client_of(source: Source) -> IpNet {
    const SUBSCRIBER_PREFIX: u32 = 64;
    match (address_of(source), source.wide_prefix().unwrap_or(SUBSCRIBER_PREFIX)) {
        (IpAddr::V6(v6), prefix) => Ipv6Net::new(v6, prefix as u8)
            .map_or_else(|_| IpNet::from(IpAddr::V6(v6)), |net| net.trunc().into()),
        (v4, _) => IpNet::from(v4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_convert_both_ways() {
        for text in ["192.0.2.7", "2001:db8::7", "::1", "255.255.255.255"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(address_of(source_of(address)), address);
        }
        let client = client_of(source_of("2001:db8:1:2::".parse().unwrap()));
        assert_eq!(client.to_string(), "2001:db8:1:2::/64");
        let wide = source_of("2001:db8:1:2::".parse().unwrap()).network(48);
        assert_eq!(client_of(wide).to_string(), "2001:db8:1::/48");
        assert_eq!(client_of(source_of("192.0.2.7".parse().unwrap())).to_string(), "192.0.2.7/32");
    }
}
