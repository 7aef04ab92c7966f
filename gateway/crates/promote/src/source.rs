//! Who is meant: an IPv4 address, or an IPv6 prefix.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A source of traffic that is judged as one.
///
/// An IPv6 host may use all of its /64 (RFC 4291 2.5.1), so that is the least there is; customers are given a /56 or a /48
/// (RFC 6177), so those are what misbehaviour spread over several /64 escalates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// The address, IPv4 mapped to IPv6, without host bits.
    bits: u128,
    /// Of `bits`: 128 for IPv4.
    prefix: u8,
}

/// Prefixes that IPv6 sources are judged by, the narrowest first.
pub(crate) const IPV6_PREFIXES: [u8; 3] = [64, 56, 48];

const MAPPED_PREFIX: u8 = 96;

impl Source {
    /// The source that an address belongs to: itself, or its /64.
    #[inline]
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self { bits: u128::from(v4.to_ipv6_mapped()), prefix: 128 },
            IpAddr::V6(v6) => Self::masked(u128::from(v6), 64),
        }
    }

    #[inline]
    const fn masked(bits: u128, prefix: u8) -> Self {
        Self { bits: bits & (u128::MAX << (128 - prefix)), prefix }
    }

    pub(crate) const fn bits(self) -> u128 {
        self.bits
    }

    pub(crate) const fn prefix(self) -> u8 {
        self.prefix
    }

    /// The wider prefix around it.
    #[inline]
    pub(crate) fn at(self, prefix: u8) -> Self {
        Self::masked(self.bits, prefix.min(self.prefix))
    }

    /// The next wider source that it may escalate to.
    #[must_use]
    pub fn parent(self) -> Option<Self> {
        IPV6_PREFIXES
            .into_iter()
            .find(|prefix| *prefix < self.prefix && self.prefix < 128)
            .map(|p| self.at(p))
    }

    /// As a network.
    #[must_use]
    pub fn network(self) -> IpNet {
        if self.prefix == 128 {
            let [.., a, b, c, d] = self.bits.to_be_bytes();
            return IpNet::V4(Ipv4Net::from(Ipv4Addr::new(a, b, c, d)));
        }
        let address = Ipv6Addr::from(self.bits);
        Ipv6Net::new(address, self.prefix).map_or_else(|_| IpNet::V6(address.into()), IpNet::V6)
    }

    /// Whether any address is in both.
    #[must_use]
    pub fn overlaps(self, network: &IpNet) -> bool {
        let (bits, prefix) = match network {
            IpNet::V4(v4) => (u128::from(v4.addr().to_ipv6_mapped()), MAPPED_PREFIX + v4.prefix_len()),
            IpNet::V6(v6) => (u128::from(v6.addr()), v6.prefix_len()),
        };
        let common = prefix.min(self.prefix);
        common == 0 || (bits ^ self.bits) >> (128 - common) == 0
    }
}

/// An IPv4 address, or an IPv6 network.
impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.network() {
            IpNet::V4(v4) => write!(out, "{}", v4.addr()),
            IpNet::V6(v6) => write!(out, "{v6}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    #[test]
    fn ipv4_is_an_address_and_ipv6_a_network() {
        assert_eq!(source("192.0.2.7").to_string(), "192.0.2.7");
        assert_eq!(source("::ffff:192.0.2.7"), source("192.0.2.7"));
        assert_eq!(source("2001:db8:1:2::7").to_string(), "2001:db8:1:2::/64");
        assert_eq!(source("2001:db8:1:2::7"), source("2001:db8:1:2:ffff::"));
        assert_eq!(source("192.0.2.7").network().to_string(), "192.0.2.7/32");
    }

    #[test]
    fn only_ipv6_escalates_by_56_to_48() {
        assert_eq!(source("192.0.2.7").parent(), None);
        let narrow = source("2001:db8:1:aabb::7");
        assert_eq!(narrow.parent().unwrap().to_string(), "2001:db8:1:aa00::/56");
        assert_eq!(narrow.parent().unwrap().parent().unwrap().to_string(), "2001:db8:1::/48");
        assert_eq!(narrow.parent().unwrap().parent().unwrap().parent(), None);
    }

    #[test]
    fn networks_overlap_both_ways() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        assert!(source("10.1.2.3").overlaps(&net("10.0.0.0/8")));
        assert!(!source("11.1.2.3").overlaps(&net("10.0.0.0/8")));
        assert!(source("10.1.2.3").overlaps(&net("0.0.0.0/0")));
        assert!(!source("2001:db8::1").overlaps(&net("0.0.0.0/0")));
        assert!(source("2001:db8::1").overlaps(&net("2001:db8::5/128")), "a host inside the /64");
        assert!(source("2001:db8::1").overlaps(&net("2001:db8::/32")));
        assert!(source("2001:db8::1").overlaps(&net("::/0")) && source("1.2.3.4").overlaps(&net("::/0")));
        assert!(!source("2001:db8::1").overlaps(&net("2001:db8:0:1::/64")));
    }
}
