//! Sets of addresses.

use std::net::IpAddr;

/// A few networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Network and mask; IPv4 as IPv4-mapped IPv6.
    nets: Vec<(u128, u128)>,
}

impl Networks {
    /// Of networks as address and length of prefix; bits beyond it don't matter.
    #[must_use]
    pub fn new(nets: impl IntoIterator<Item = (IpAddr, u8)>) -> Self {
        let net = |(address, prefix): (IpAddr, u8)| {
            let host_bits = match address {
                IpAddr::V4(_) => 32_u32.saturating_sub(prefix.into()),
                IpAddr::V6(_) => 128_u32.saturating_sub(prefix.into()),
            };
            let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
            (bits(address) & mask, mask)
        };
        Self { nets: nets.into_iter().map(net).collect() }
    }

    /// Whether an address is in one of them.
    #[inline]
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = bits(address);
        self.nets.iter().any(|(net, mask)| address & mask == *net)
    }

    /// Whether there are none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nets.is_empty()
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_their_networks_in_either_spelling() {
        let net = |text: &str, prefix| (text.parse::<IpAddr>().unwrap(), prefix);
        let nets = Networks::new([net("10.0.0.0", 8), net("2001:db8::", 32), net("192.0.2.7", 32)]);
        for (address, expected) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("11.0.0.0", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("::a01:203", false),
        ] {
            assert_eq!(nets.contain(address.parse().unwrap()), expected, "{address}");
        }
        assert!(Networks::new([net("0.0.0.0", 0)]).contain("1.2.3.4".parse().unwrap()));
        assert!(Networks::new([net("::", 0)]).contain("1.2.3.4".parse().unwrap()));
        assert!(Networks::default().is_empty() && !Networks::default().contain("::1".parse().unwrap()));
    }
}
