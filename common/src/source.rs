//! A packet's source address as maps are keyed by it.

/// An IPv6 address in network order, or an IPv4 one in mapped form (`::ffff:a.b.c.d`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The address as it is in the packet, as two words: hashing and comparing are the program's hot spots.
    words: [u64; 2],
}

impl Source {
    /// From the four octets of an IPv4 address, read as one word in the packet's order.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4_word(word_be: u32) -> Self {
        // `::ffff:0:0/96` (RFC 4291 2.5.5.2), assembled for either host order.
        let mapped = if cfg!(target_endian = "little") {
            (word_be as u64) << 32 | 0xffff_0000
        } else {
            0x0000_ffff_0000_0000 | word_be as u64
        };
        Self { words: [0, mapped] }
    }

    /// From its [`words`](Self::words).
    #[inline(always)]
    #[must_use]
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self { words }
    }

    /// As two words, for where only such may be passed on.
    #[inline(always)]
    #[must_use]
    pub const fn words(self) -> [u64; 2] {
        self.words
    }

    /// The word that [`from_v4_word`](Self::from_v4_word) was given.
    #[inline(always)]
    #[must_use]
    pub const fn v4_word(self) -> u32 {
        let [_, mapped] = self.words;
        if cfg!(target_endian = "little") { (mapped >> 32) as u32 } else { mapped as u32 }
    }

    /// The words that [`from_v6_words`](Self::from_v6_words) was given.
    #[inline(always)]
    #[must_use]
    pub const fn v6_words(self) -> [u64; 2] {
        self.words
    }

    /// From the octets of an IPv6 address, read as two words in the packet's order.
    #[inline(always)]
    #[must_use]
    pub const fn from_v6_words(words_be: [u64; 2]) -> Self {
        Self { words: words_be }
    }

    /// From the sixteen octets of an address in IPv6 form.
    #[must_use]
    pub const fn from_octets(octets: [u8; 16]) -> Self {
        let both = u128::from_ne_bytes(octets);
        let (low, high) = (both as u64, (both >> 64) as u64);
        Self { words: if cfg!(target_endian = "little") { [low, high] } else { [high, low] } }
    }

    /// The sixteen octets in IPv6 form.
    #[must_use]
    pub const fn octets(self) -> [u8; 16] {
        let [first, second] = self.words;
        let (low, high) = if cfg!(target_endian = "little") { (first, second) } else { (second, first) };
        ((high as u128) << 64 | low as u128).to_ne_bytes()
    }

    /// Whom rates and drop counters are kept for: an IPv4 address, but the /64 of an IPv6 one, because a subscriber
    /// has at least that many addresses (RFC 6177) and could spend one on every packet.
    #[inline(always)]
    #[must_use]
    pub const fn subscriber(self, is_v4: bool) -> Self {
        if is_v4 {
            self
        } else {
            let [prefix, _] = self.words;
            Self { words: [prefix, 0] }
        }
    }

    /// The IPv6 network of `prefix` bits, at most 64, that an IPv6 address is in, as a ban's key: a /64 is the
    /// [`subscriber`](Self::subscriber), and the wider ones differ from it by the length in the second word.
    #[inline(always)]
    #[must_use]
    pub const fn network(self, prefix: u32) -> Self {
        let [first, _] = self.words;
        let mask = (u64::MAX << (64 - prefix)).to_be();
        Self { words: [first & mask, if prefix == 64 { 0 } else { prefix as u64 }] }
    }

    /// The sources that share the buckets of a prefix, by the masks of [`Settings`](crate::Settings).
    #[inline(always)]
    #[must_use]
    pub const fn masked(self, is_v4: bool, mask4_be: u32, mask6_be: u64) -> Self {
        let [first, second] = self.words;
        if is_v4 {
            // The address is the last four octets of the sixteen.
            let mask = if cfg!(target_endian = "little") { (mask4_be as u64) << 32 } else { mask4_be as u64 };
            Self { words: [0, second & mask] }
        } else {
            Self { words: [first & mask6_be, 0] }
        }
    }

    /// The length of a wider network made by [`network`](Self::network); `None` for an address or a /64.
    #[must_use]
    pub const fn wide_prefix(self) -> Option<u32> {
        // No other source's second word is this small: mapped IPv4 has 0xffff in it, and a /64 nothing.
        match self.words {
            [_, prefix @ 1..64] => Some(prefix as u32),
            _ => None,
        }
    }

    /// A keyed hash: MurmurHash3's finalizer over both words. One of a [`subscriber`](Self::subscriber) or
    /// [`network`](Self::network) has but one word that whoever sends can choose, and for that it is one to one: only
    /// knowing the seed can one find sources that collide.
    #[inline(always)]
    #[must_use]
    pub const fn hash(self, seed: u64) -> u64 {
        let [first, second] = self.words;
        // The second word's multiplication does not wait for the others, which wait for each other.
        let word = first ^ seed ^ second.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let word = (word ^ word >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let word = (word ^ word >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        word ^ word >> 33
    }
}

#[cfg(test)]
mod tests {
    use super::Source;
    use core::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn an_ipv4_word_becomes_the_mapped_address() {
        let address = Ipv4Addr::new(192, 0, 2, 7);
        let source = Source::from_v4_word(u32::from_ne_bytes(address.octets()));
        assert_eq!(source.octets(), address.to_ipv6_mapped().octets());
        assert_eq!(Source::from_octets(source.octets()), source);
        assert_eq!(source.subscriber(true), source);
        assert_eq!(source.v4_word().to_ne_bytes(), address.octets());
    }

    #[test]
    fn an_ipv6_subscriber_is_its_64() {
        let source = Source::from_octets(Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, 6).octets());
        let network = Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, 0).octets();
        assert_eq!(source.subscriber(false).octets(), network);
    }

    #[test]
    fn wider_networks_are_told_from_addresses() {
        let source = Source::from_octets(Ipv6Addr::new(0x2001, 0xdb8, 1, 0xff12, 3, 4, 5, 6).octets());
        assert_eq!(source.network(64), source.subscriber(false));
        assert_eq!((source.network(64).wide_prefix(), source.wide_prefix()), (None, None));
        for (prefix, group) in [(56, 0xff00), (48, 0)] {
            let network = source.network(prefix);
            assert_eq!(network.wide_prefix(), Some(prefix));
            assert_eq!(
                network.octets()[..8],
                Ipv6Addr::new(0x2001, 0xdb8, 1, group, 0, 0, 0, 0).octets()[..8]
            );
        }
        assert_eq!(Source::from_v4_word(0x0100_00c0).wide_prefix(), None);
    }

    #[test]
    fn prefixes_are_shared_by_neighbours_of_one_family() {
        let (mask4_be, mask6_be) = (0xffff_ff00_u32.to_be(), (u64::MAX << 16).to_be());
        let v4 = |host: u32| Source::from_v4_word(host.to_be()).masked(true, mask4_be, mask6_be);
        assert_eq!(v4(0xc000_0201), v4(0xc000_02ff));
        assert_ne!(v4(0xc000_0201), v4(0xc000_0301));
        let v6 = |third: u16, fourth: u16| {
            let address = Ipv6Addr::new(0x2001, 0xdb8, third, fourth, 0, 0, 0, 1);
            Source::from_octets(address.octets()).masked(false, mask4_be, mask6_be)
        };
        assert_eq!(v6(1, 2), v6(1, 0xffff));
        assert_ne!(v6(1, 2), v6(2, 2));
    }

    #[test]
    fn neighbours_spread_over_sets_and_depend_on_the_seed() {
        let mut seen = [0u16; 256];
        for host in 0..2_560u32 {
            let source = Source::from_v4_word((0x0a00_0000 + host).to_be());
            assert_ne!(source.hash(1), source.hash(2));
            seen[(source.hash(1) & 255) as usize] += 1;
        }
        // Ten expected in each; a Poisson variable of mean 10 beyond 35 has odds of 1 in 10^9.
        assert!(seen.iter().all(|&count| count < 35), "{seen:?}");
    }
}
