//! What the program should go by, as values: lists, ports, and settings.

use aya::maps::lpm_trie::Key;
use ipnet::IpNet;
use sluice_common::{
    BLOCK6_WORDS, Config, Gcra, Limits, Settings, block_slot, block6_slot, port_slot, stage,
};
use std::collections::{BTreeMap, BTreeSet};

/// What a generation of the program's maps holds. Bans are not part of it: they come and go by themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tables {
    pub(crate) lists: Lists,
    pub(crate) rates: Rates,
}

/// What is switched to as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Lists {
    pub(crate) ports: BTreeSet<u16>,
    pub(crate) allow: BTreeSet<IpNet>,
    pub(crate) block: BTreeMap<IpNet, u32>,
}

/// What the settings say, but for bans.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) source: LimitSet,
    pub(crate) prefix: LimitSet,
    pub(crate) prefix_v4_bits: u8,
    pub(crate) prefix_v6_bits: u8,
    pub(crate) syn_budget: Option<Gcra>,
    /// SYNs that a CPU takes out of the budget at once.
    pub(crate) syn_lease: u64,
    pub(crate) event_interval_ns: u64,
    pub(crate) drops_udp: bool,
    pub(crate) drops_fragments: bool,
    pub(crate) drops_later_fragments: bool,
    pub(crate) is_dry: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct LimitSet {
    pub(crate) syns: Option<Gcra>,
    pub(crate) packets: Option<Gcra>,
    pub(crate) bytes: Option<Gcra>,
}

impl LimitSet {
    fn limits(&self) -> Limits {
        Limits {
            syns: self.syns.unwrap_or_default(),
            packets: self.packets.unwrap_or_default(),
            bytes: self.bytes.unwrap_or_default(),
        }
    }
}

/// Keys of both families as tries have them.
pub(crate) type V4Keys = Vec<Key<[u8; 4]>>;
pub(crate) type V6Keys = Vec<Key<[u8; 16]>>;

/// Entries of a list, by family.
#[derive(Default)]
pub(crate) struct Entries {
    pub(crate) v4: (V4Keys, Vec<u32>),
    pub(crate) v6: (V6Keys, Vec<u32>),
}

impl Lists {
    /// Those that a generation's bitmap has, and no lists.
    pub(crate) fn of_ports(words: &[u64]) -> Self {
        let is_set = |&port: &u16| {
            let (index, mask) = port_slot(port);
            words.get(index as usize).is_some_and(|word| word & mask != 0)
        };
        Self { ports: (0..=u16::MAX).filter(is_set).collect(), ..Self::default() }
    }

    pub(crate) fn add_allowed(&mut self, v4: Vec<(Key<[u8; 4]>, u32)>, v6: Vec<(Key<[u8; 16]>, u32)>) {
        self.allow.extend(v4.iter().filter_map(|(key, _)| net_of(key)));
        self.allow.extend(v6.iter().filter_map(|(key, _)| net_of(key)));
    }

    pub(crate) fn add_blocked(&mut self, v4: Vec<(Key<[u8; 4]>, u32)>, v6: Vec<(Key<[u8; 16]>, u32)>) {
        self.block.extend(v4.iter().filter_map(|(key, rule)| Some((net_of(key)?, *rule))));
        self.block.extend(v6.iter().filter_map(|(key, rule)| Some((net_of(key)?, *rule))));
    }

    pub(crate) fn allow_entries(&self) -> Entries {
        entries(self.allow.iter().map(|net| (*net, 0)))
    }

    pub(crate) fn block_entries(&self) -> Entries {
        entries(self.block.iter().map(|(net, rule)| (*net, *rule)))
    }

    /// The bitmap of networks of `prefix` bits with a blocked address in them.
    pub(crate) fn block_words(&self, prefix: u32) -> Vec<u64> {
        let mut words = vec![0; (1 << prefix) / 64];
        self.mark_blocked(prefix, &mut words);
        words
    }

    fn mark_blocked(&self, prefix: u32, words: &mut [u64]) {
        for net in self.block.keys() {
            let IpNet::V4(net) = net else { continue };
            let slot = |address: std::net::Ipv4Addr| block_slot(address.to_bits(), prefix);
            let ((first, first_bit), (last, last_bit)) = (slot(net.network()), slot(net.broadcast()));
            // From the first bit on, and up to the last one.
            let (from, to) = (!(first_bit - 1), last_bit | (last_bit - 1));
            for index in first..=last {
                let above = if index == first { from } else { u64::MAX };
                let below = if index == last { to } else { u64::MAX };
                if let Some(word) = words.get_mut(index as usize) {
                    *word |= above & below;
                }
            }
        }
    }

    /// Marks the IPv6 networks of `prefix` bits that have anything blocked in them; whether that leaves enough of them out. It
    /// does not where one network alone is many of that size.
    fn mark_blocked6(&self, prefix: u8, words: &mut [u64; BLOCK6_WORDS]) -> bool {
        const WIDEST_BITS: u8 = 8;
        for net in self.block.keys() {
            let IpNet::V6(net) = net else { continue };
            let wider = prefix.saturating_sub(net.prefix_len());
            if wider > WIDEST_BITS {
                return false;
            }
            let first = (net.network().to_bits() >> 64) as u64;
            for within in 0..1_u64 << wider {
                let (word, mask) = block6_slot(first | within << (64 - prefix), prefix.into());
                if let Some(word) = words.get_mut(word as usize) {
                    *word |= mask;
                }
            }
        }
        count_ones(words) < 32 * BLOCK6_WORDS as u32
    }

    /// Rule ids in use.
    pub(crate) fn rules(&self) -> BTreeSet<u32> {
        self.block.values().copied().collect()
    }

    fn mark_ports(&self, words: &mut [u64]) {
        for &port in &self.ports {
            let (index, mask) = port_slot(port);
            if let Some(word) = words.get_mut(index as usize) {
                *word |= mask;
            }
        }
    }

    fn stages(&self) -> u32 {
        let v4 = |net: &IpNet| matches!(net, IpNet::V4(_));
        let v6 = |net: &IpNet| matches!(net, IpNet::V6(_));
        bits([
            (self.allow.iter().any(v4), stage::ALLOW4),
            (self.allow.iter().any(v6), stage::ALLOW6),
            (self.block.keys().any(v4), stage::BLOCK4),
            (self.block.keys().any(v6), stage::BLOCK6),
        ])
    }
}

/// The network of a trie's key.
fn net_of<A: aya::Pod + Into<std::net::IpAddr>>(key: &Key<A>) -> Option<IpNet> {
    IpNet::new(key.data().into(), u8::try_from(key.prefix_len()).ok()?).ok()
}

fn count_ones(words: &[u64]) -> u32 {
    words.iter().map(|word| word.count_ones()).sum()
}

fn entries(list: impl Iterator<Item = (IpNet, u32)>) -> Entries {
    let mut all = Entries::default();
    for (net, value) in list {
        let prefix = u32::from(net.prefix_len());
        match net {
            IpNet::V4(net) => {
                all.v4.0.push(Key::new(prefix, net.addr().octets()));
                all.v4.1.push(value);
            }
            IpNet::V6(net) => {
                all.v6.0.push(Key::new(prefix, net.addr().octets()));
                all.v6.1.push(value);
            }
        }
    }
    all
}

impl Rates {
    fn stages(&self) -> u32 {
        let (source, prefix) = (&self.source, &self.prefix);
        bits([
            (source.syns.is_some(), stage::SOURCE_SYNS),
            (source.packets.is_some(), stage::SOURCE_PACKETS),
            (source.bytes.is_some(), stage::SOURCE_BYTES),
            (prefix.syns.is_some(), stage::PREFIX_SYNS),
            (prefix.packets.is_some(), stage::PREFIX_PACKETS),
            (prefix.bytes.is_some(), stage::PREFIX_BYTES),
            (self.syn_budget.is_some(), stage::SYN_BUDGET),
            (self.drops_udp, stage::DROP_UDP),
            (self.drops_fragments, stage::DROP_FRAGMENTS),
            (self.drops_later_fragments, stage::DROP_LATER_FRAGMENTS),
            (self.is_dry, stage::DRY_RUN),
        ])
    }
}

impl Tables {
    /// What nearly every packet is judged by, as the program reads it; `stages` are those of bans.
    pub(crate) fn config(&self, seed: u64, stages: u32) -> Box<Config> {
        let mut config = Box::new(Config { settings: self.settings(seed, stages), ..Config::default() });
        self.lists.mark_ports(&mut config.ports);
        self.lists.mark_blocked(16, &mut config.block16);
        let count = |prefix| count_ones(&self.lists.block_words(prefix));
        let (of16, of20, of24) = (count_ones(&config.block16), count(20), count(24));
        // A bitmap that says yes to most of what the one before it does is only a miss more. One bit there is 16 here.
        config.settings.stages |=
            bits([(of20 < of16 * 8, stage::BLOCK20), (of24 < of20 * 8, stage::BLOCK24)]);
        let is_worth32 = self.lists.mark_blocked6(32, &mut config.block6_32);
        let is_worth48 = self.lists.mark_blocked6(48, &mut config.block6_48);
        config.settings.stages |= bits([(is_worth32, stage::BLOCK6_32), (is_worth48, stage::BLOCK6_48)]);
        config
    }

    /// As the program reads it; `stages` are those of bans. A stage without work costs nothing.
    fn settings(&self, seed: u64, stages: u32) -> Settings {
        let rates = &self.rates;
        Settings {
            seed,
            source: rates.source.limits(),
            prefix: rates.prefix.limits(),
            syn_budget: rates.syn_budget.unwrap_or_default(),
            syn_lease: rates.syn_lease,
            event_interval_ns: rates.event_interval_ns,
            prefix6_mask_be: leading_ones(rates.prefix_v6_bits.into(), 64).to_be(),
            prefix4_mask_be: (leading_ones(rates.prefix_v4_bits.into(), 32) as u32).to_be(),
            stages: stages | self.lists.stages() | rates.stages(),
        }
    }
}

/// The `count` highest of the lowest `width` bits.
fn leading_ones(count: u32, width: u32) -> u64 {
    let below = width.saturating_sub(count);
    let all = u64::MAX >> (64 - width);
    if below >= width { 0 } else { all >> below << below }
}

fn bits<const N: usize>(flags: [(bool, u32); N]) -> u32 {
    flags.into_iter().filter_map(|(is_set, bit)| is_set.then_some(bit)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn stages_without_work_stay_off() {
        assert_eq!(Tables::default().settings(1, 0).stages, 0);
        let tables = Tables {
            lists: Lists {
                block: [(net("2001:db8::/32"), 0)].into(),
                allow: [net("10.0.0.0/8")].into(),
                ..Lists::default()
            },
            rates: Rates {
                source: LimitSet { syns: Gcra::new(1, 1), ..LimitSet::default() },
                prefix: LimitSet { bytes: Gcra::new(1, 1), ..LimitSet::default() },
                drops_udp: true,
                ..Rates::default()
            },
        };
        let expected = stage::BLOCK6
            | stage::ALLOW4
            | stage::SOURCE_SYNS
            | stage::PREFIX_BYTES
            | stage::DROP_UDP
            | stage::BANS;
        assert_eq!(tables.settings(1, stage::BANS).stages, expected);
    }

    #[test]
    fn lists_are_known_again_by_their_entries() {
        let lists = Lists {
            ports: [22, 443, 65_535].into(),
            allow: ["10.0.0.0/8", "2001:db8::1/128"].map(net).into(),
            block: [("0.0.0.0/0", 1), ("198.51.100.7/32", 2), ("2001:db8:bad::/48", 3)]
                .map(|(text, rule)| (net(text), rule))
                .into(),
        };
        let config = Tables { lists: lists.clone(), ..Tables::default() }.config(1, 0);
        let mut again = Lists::of_ports(&config.ports);
        let zip = |keys: V4Keys, values: Vec<u32>| keys.into_iter().zip(values).collect();
        let zip6 = |keys: V6Keys, values: Vec<u32>| keys.into_iter().zip(values).collect();
        let (allow, block) = (lists.allow_entries(), lists.block_entries());
        again.add_allowed(zip(allow.v4.0, allow.v4.1), zip6(allow.v6.0, allow.v6.1));
        again.add_blocked(zip(block.v4.0, block.v4.1), zip6(block.v6.0, block.v6.1));
        assert_eq!(again, lists);
    }

    #[test]
    fn masks_are_in_the_packets_order() {
        let rates = Rates { prefix_v4_bits: 24, prefix_v6_bits: 48, ..Rates::default() };
        let settings = Tables { rates, ..Tables::default() }.settings(1, 0);
        assert_eq!(settings.prefix4_mask_be.to_ne_bytes(), [255, 255, 255, 0]);
        assert_eq!(settings.prefix6_mask_be.to_ne_bytes(), [255, 255, 255, 255, 255, 255, 0, 0]);
        assert_eq!(
            (leading_ones(64, 64), leading_ones(0, 64), leading_ones(32, 32)),
            (u64::MAX, 0, 0xffff_ffff)
        );
    }

    #[test]
    fn every_blocked_address_has_its_bit_and_no_other_network_has() {
        let nets = ["10.1.2.3/32", "10.1.3.0/24", "10.2.0.0/15", "192.0.2.128/25", "255.255.255.255/32"];
        let lists = Lists { block: nets.map(|text| (net(text), 0)).into(), ..Lists::default() };
        let config = Tables { lists: lists.clone(), ..Tables::default() }.config(1, 0);
        let bitmaps =
            [(16, config.block16.to_vec()), (20, lists.block_words(20)), (24, lists.block_words(24))];
        // An address, and the longest of these prefixes at which something blocked is near.
        let addresses = [
            ("10.1.2.3", 24),
            ("10.1.2.99", 24),
            ("10.1.3.0", 24),
            ("10.2.0.0", 24),
            ("10.3.255.255", 24),
            ("192.0.2.1", 24),
            ("255.255.255.0", 24),
            ("10.1.1.255", 20),
            ("10.1.4.0", 20),
            ("192.0.1.255", 20),
            ("10.1.255.255", 16),
            ("192.0.16.0", 16),
            ("10.4.0.0", 0),
            ("10.0.255.255", 0),
            ("0.0.0.0", 0),
        ];
        for (address, nearest) in addresses {
            for (prefix, words) in &bitmaps {
                let bits = address.parse::<std::net::Ipv4Addr>().unwrap().to_bits();
                let (word, mask) = block_slot(bits, *prefix);
                assert_eq!(words[word as usize] & mask != 0, *prefix <= nearest, "{address} /{prefix}");
            }
        }
    }

    #[test]
    fn every_blocked_ipv6_address_has_its_bits() {
        let config = |nets: &[&str]| {
            let block = nets.iter().map(|text| (net(text), 0)).collect();
            Tables { lists: Lists { block, ..Lists::default() }, ..Tables::default() }.config(1, 0)
        };
        let asked = |config: &Config| {
            let has = |bit| config.settings.stages & bit != 0;
            (has(stage::BLOCK6_32), has(stage::BLOCK6_48))
        };
        let has = |config: &Config, address: &str| {
            let first = (address.parse::<std::net::Ipv6Addr>().unwrap().to_bits() >> 64) as u64;
            let is_set = |words: &[u64], (word, mask): (u32, u64)| words[word as usize] & mask != 0;
            (
                is_set(&config.block6_32, block6_slot(first, 32)),
                is_set(&config.block6_48, block6_slot(first, 48)),
            )
        };
        let few = config(&["2001:db8:bad::/48", "2001:db8:1:2::3/128", "2a00:8::/29", "2001:db9:f000::/40"]);
        assert_eq!(asked(&few), (true, false), "a /29 has half a million of /48s");
        for blocked in
            ["2001:db8:bad:ffff::1", "2001:db8:1::", "2a00:8::", "2a00:f:ffff::", "2001:db9:f0ff::"]
        {
            assert!(has(&few, blocked).0, "{blocked}");
        }
        let narrow = config(&["2001:db8:bad::/48", "2001:db8:1:2::3/128", "2001:db9:f000::/40"]);
        assert_eq!(asked(&narrow), (true, true));
        for blocked in ["2001:db8:bad:ffff::1", "2001:db8:1::", "2001:db9:f000::", "2001:db9:f0ff:ffff::"] {
            assert_eq!(has(&narrow, blocked), (true, true), "{blocked}");
        }
        assert_eq!(has(&narrow, "2001:db8:600d::1"), (true, false));
        assert_eq!(has(&narrow, "2a00:1450:4001::1"), (false, false));
        assert_eq!(asked(&config(&["::/0"])), (false, false));
        assert_eq!(asked(&config(&["2000::/19"])), (false, false));
        let all: Vec<_> = (0..60_000).map(|index| format!("2001:{:x}:{index:x}::/48", index / 2)).collect();
        let all: Vec<_> = all.iter().map(String::as_str).collect();
        assert_eq!(asked(&config(&all)), (true, false), "more than half of all bits");
    }

    #[test]
    fn bitmaps_that_say_yes_to_nearly_everything_are_not_asked() {
        let asked = |nets: &[&str]| {
            let block = nets.iter().map(|text| (net(text), 0)).collect();
            let config =
                Tables { lists: Lists { block, ..Lists::default() }, ..Tables::default() }.config(1, 0);
            let has = |bit| config.settings.stages & bit != 0;
            (has(stage::BLOCK20), has(stage::BLOCK24))
        };
        assert_eq!(asked(&["192.0.2.0/24", "10.1.2.3/32"]), (true, true));
        assert_eq!(asked(&["0.0.0.0/0"]), (false, false));
        assert_eq!(asked(&["10.0.0.0/8", "192.0.2.1/32"]), (false, false));
        assert_eq!(asked(&["10.0.0.0/20", "10.1.16.0/20"]), (true, false));
        assert_eq!(asked(&["10.0.1.0/24", "10.0.16.0/24", "10.0.80.0/24"]), (true, true));
    }

    #[test]
    fn ports_and_entries_are_complete() {
        let lists = Lists {
            ports: [80, 443, 65_535].into(),
            block: [(net("192.0.2.0/24"), 3), (net("2001:db8::/32"), 4), (net("10.0.0.0/8"), 3)].into(),
            ..Lists::default()
        };
        let words = Tables { lists: lists.clone(), ..Tables::default() }.config(1, 0).ports;
        assert_eq!(words.iter().map(|word| word.count_ones()).sum::<u32>(), 3);
        assert!(words[1_023] >> 63 == 1 && words[1] & 1 << 16 != 0);
        let entries = lists.block_entries();
        assert_eq!((entries.v4.0.len(), entries.v4.1), (2, vec![3, 3]));
        assert_eq!((entries.v6.0[0].prefix_len(), entries.v6.1), (32, vec![4]));
        assert_eq!(lists.rules(), [3, 4].into());
    }
}
