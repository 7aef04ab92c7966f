//! Bans as the gateway keeps them: who is banned until when, and which bits of the program's filter that sets.
//!
//! The program never adds or removes a ban, so this copy is the truth, and only counters are read back.

use ipnet::{IpNet, Ipv6Net};
use sluice_common::{BANS_MAX, Source, filter_slot, policy};
use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    num::NonZeroU32,
    time::Duration,
};

use crate::{Stat, XdpError, counters::source_of};

/// What a banned source may still send, so that it can learn how it stands (a 429 instead of time-outs) and mend its
/// ways. Lists and rates apply to what is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetThrough {
    /// Nothing.
    Nothing,
    /// Each Nth packet, whatever it is. Connections hardly get anywhere that way; what passes can be observed.
    OneIn(NonZeroU32),
    /// One new connection in each interval, with its first 64 packets.
    ConnectionEvery(Duration),
    /// Everything: a trial, in which the ban only counts.
    Everything,
}

/// A source that is dropped for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// An IPv4 address, or an IPv6 network.
    pub source: IpNet,
    /// How much longer.
    pub remaining: Duration,
    /// What it may still send.
    pub let_through: LetThrough,
    /// What it has sent under this ban and its renewals.
    pub seen: Stat,
    /// Packets of these that were let through.
    pub passed: u64,
}

/// The network that a ban of this address is for: the address itself, but the /64 of an IPv6 one, because a subscriber
/// has at least that many addresses (RFC 6177). A mapped address (`::ffff:192.0.2.1`) is IPv4.
#[must_use]
pub fn subscriber(address: IpAddr) -> IpNet {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            Ipv6Net::new(v6, 64).map_or_else(|_| IpNet::from(address), |net| net.trunc().into())
        }
        v4 => IpNet::from(v4),
    }
}

/// The key of a network in the map of bans.
pub(crate) fn key_of(net: IpNet) -> Result<Source, XdpError> {
    let is_mapped = matches!(net, IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some());
    match (net, net.prefix_len()) {
        (IpNet::V4(_), 32) => Ok(source_of(net.addr())),
        (IpNet::V6(_), 128) if is_mapped => Ok(source_of(net.addr())),
        (IpNet::V6(_), prefix @ (64 | 56 | 48)) => Ok(source_of(net.addr()).network(u32::from(prefix))),
        _ => Err(XdpError::Options(format!(
            "a ban of {net}: expected an IPv4 address, or an IPv6 /64, /56 or /48"
        ))),
    }
}

impl LetThrough {
    /// As an entry has it: policy, N, interval.
    pub(crate) fn encode(self) -> (u32, u32, u64) {
        match self {
            Self::Nothing => (policy::NOTHING, 0, 0),
            Self::OneIn(count) => (policy::ONE_IN, count.get(), 0),
            Self::ConnectionEvery(interval) => {
                (policy::CONNECTION, 0, u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX))
            }
            Self::Everything => (policy::EVERYTHING, 0, 0),
        }
    }

    pub(crate) fn decode(ban: &sluice_common::Ban) -> Self {
        match (ban.policy, NonZeroU32::new(ban.one_in)) {
            (policy::ONE_IN, Some(count)) => Self::OneIn(count),
            (policy::CONNECTION, _) => Self::ConnectionEvery(Duration::from_nanos(ban.interval_ns)),
            (policy::EVERYTHING, _) => Self::Everything,
            _ => Self::Nothing,
        }
    }
}

/// A word of the filter and what it should be.
pub(crate) type FilterWord = (u32, u64);

/// Who is banned until when.
#[derive(Debug, Default)]
pub(crate) struct BanTable {
    until_ns: HashMap<Source, u64>,
    /// The same by end, the soonest first.
    ends: BTreeSet<(u64, Source)>,
    /// How many bans set each bit that is set, by word and mask.
    bits: HashMap<(u32, u64), u32>,
    words: HashMap<u32, u64>,
    wide: usize,
    /// What past bans dropped, of the sources with the most, so that a client's count does not fall when its ban ends.
    past: HashMap<Source, Stat>,
}

/// Past bans that are remembered.
const PAST_MAX: usize = 4_096;

/// What a ban has dropped. Bytes of packets that were let through are among them.
pub(crate) fn dropped_by(ban: &sluice_common::Ban) -> Stat {
    Stat { packets: ban.seen.packets.saturating_sub(ban.passed), bytes: ban.seen.bytes }
}

impl BanTable {
    pub(crate) fn len(&self) -> usize {
        self.until_ns.len()
    }

    pub(crate) fn has_wide(&self) -> bool {
        self.wide > 0
    }

    pub(crate) fn contains(&self, source: Source) -> bool {
        self.until_ns.contains_key(&source)
    }

    pub(crate) fn end_of(&self, source: Source) -> Option<u64> {
        self.until_ns.get(&source).copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Source, u64)> {
        self.ends.iter().map(|&(until_ns, source)| (source, until_ns))
    }

    /// Keeps what a ban that ends has dropped.
    pub(crate) fn remember(&mut self, source: Source, dropped: Stat) {
        self.past.entry(source).or_default().add(dropped);
        if self.past.len() > PAST_MAX {
            let least = self.past.iter().min_by_key(|(_, stat)| stat.packets).map(|(source, _)| *source);
            least.map(|source| self.past.remove(&source));
        }
    }

    pub(crate) fn past(&self) -> impl Iterator<Item = (Source, Stat)> {
        self.past.iter().map(|(source, stat)| (*source, *stat))
    }

    /// Whom a newcomer would displace: when all places are taken, the ban that ends next.
    pub(crate) fn displaced_by(&self, newcomer: Source) -> Option<Source> {
        if self.contains(newcomer) || self.len() < BANS_MAX {
            return None;
        }
        self.ends.first().map(|&(_, source)| source)
    }

    /// The bans that are over.
    pub(crate) fn over(&self, now_ns: u64) -> Vec<Source> {
        let over = self.ends.iter().take_while(|&&(until_ns, _)| until_ns <= now_ns);
        over.map(|&(_, source)| source).collect()
    }

    /// Notes a ban, new or renewed; yields the filter's word that changes by it. `hash` is the source's.
    pub(crate) fn insert(&mut self, source: Source, hash: u64, until_ns: u64) -> Option<FilterWord> {
        if let Some(earlier_ns) = self.until_ns.insert(source, until_ns) {
            self.ends.remove(&(earlier_ns, source));
            self.ends.insert((until_ns, source));
            return None;
        }
        self.ends.insert((until_ns, source));
        self.wide += usize::from(source.wide_prefix().is_some());
        let slot = filter_slot(hash);
        let users = self.bits.entry(slot).or_default();
        *users += 1;
        if *users > 1 {
            return None;
        }
        let word = self.words.entry(slot.0).or_default();
        *word |= slot.1;
        Some((slot.0, *word))
    }

    /// Forgets a ban; yields the filter's word that changes by it.
    pub(crate) fn remove(&mut self, source: Source, hash: u64) -> Option<FilterWord> {
        let until_ns = self.until_ns.remove(&source)?;
        self.ends.remove(&(until_ns, source));
        self.wide -= usize::from(source.wide_prefix().is_some());
        let slot = filter_slot(hash);
        let users = self.bits.get_mut(&slot)?;
        *users -= 1;
        if *users > 0 {
            return None;
        }
        self.bits.remove(&slot);
        let word = self.words.get_mut(&slot.0)?;
        *word &= !slot.1;
        let bits = *word;
        if bits == 0 {
            self.words.remove(&slot.0);
        }
        Some((slot.0, bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn subscribers_are_addresses_or_64s() {
        let of = |text: &str| subscriber(text.parse().unwrap()).to_string();
        assert_eq!(of("192.0.2.1"), "192.0.2.1/32");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1/32");
        assert_eq!(of("2001:db8:1:2:3::4"), "2001:db8:1:2::/64");
    }

    #[test]
    fn only_what_the_program_looks_up_can_be_banned() {
        for wrong in ["192.0.2.0/24", "2001:db8::1/128", "2001:db8::/60", "::/0"] {
            let message = key_of(net(wrong)).unwrap_err().to_string();
            assert!(message.contains(wrong) && message.contains("expected an IPv4 address"), "{message}");
        }
        assert_eq!(key_of(net("::ffff:192.0.2.1/128")).unwrap(), key_of(net("192.0.2.1/32")).unwrap());
        let keys = ["2001:db8::/64", "2001:db8::/56", "2001:db8::/48"].map(|text| key_of(net(text)).unwrap());
        assert_eq!(keys.map(Source::wide_prefix), [None, Some(56), Some(48)]);
    }

    #[test]
    fn policies_convert_both_ways() {
        let one_in = LetThrough::OneIn(NonZeroU32::new(100).unwrap());
        let every = LetThrough::ConnectionEvery(Duration::from_secs(10));
        for let_through in [LetThrough::Nothing, one_in, every, LetThrough::Everything] {
            let (policy, one_in, interval_ns) = let_through.encode();
            let ban = sluice_common::Ban { policy, one_in, interval_ns, ..Default::default() };
            assert_eq!(LetThrough::decode(&ban), let_through);
        }
    }

    #[test]
    fn the_ban_that_ends_next_gives_way_when_all_places_are_taken() {
        let mut table = BanTable::default();
        let source = |index: u32| Source::from_v4_word(index.to_be());
        for index in 0..BANS_MAX as u32 {
            assert_eq!(table.displaced_by(source(index)), None);
            table.insert(source(index), u64::from(index), u64::from(index.abs_diff(923)));
        }
        assert_eq!(table.displaced_by(source(u32::MAX)), Some(source(923)));
        assert_eq!(table.displaced_by(source(5)), None, "a renewal needs no place");
    }

    #[test]
    fn of_past_bans_those_with_the_most_drops_are_remembered() {
        let mut table = BanTable::default();
        for host in 0..=PAST_MAX as u32 {
            let stat = Stat { packets: u64::from(host) + 1, bytes: 40 };
            table.remember(Source::from_v4_word(host.to_be()), stat);
        }
        table.remember(Source::from_v4_word(7u32.to_be()), Stat { packets: 10, bytes: 0 });
        let past: HashMap<Source, Stat> = table.past().collect();
        assert_eq!(past.len(), PAST_MAX);
        assert_eq!(past.get(&Source::from_v4_word(0)), None);
        assert_eq!(past[&Source::from_v4_word(7u32.to_be())], Stat { packets: 18, bytes: 40 });
    }

    proptest! {
        /// Few bits, so that bans share them.
        #[test]
        fn a_bit_is_set_while_any_ban_needs_it(edits in vec((0u32..30, any::<bool>(), 0u64..50), 0..200)) {
            let mut table = BanTable::default();
            let mut filter: HashMap<u32, u64> = HashMap::new();
            let mut expected: HashMap<u32, u64> = HashMap::new();
            for (host, is_ban, until_ns) in edits {
                let source = Source::from_v4_word(host);
                let hash = u64::from(host % 7) * 40;
                let changed = if is_ban {
                    expected.insert(host, until_ns);
                    table.insert(source, hash, until_ns)
                } else {
                    expected.remove(&host);
                    table.remove(source, hash)
                };
                filter.extend(changed);
                for host in 0..30u32 {
                    let (word, mask) = filter_slot(u64::from(host % 7) * 40);
                    let is_needed = expected.keys().any(|other| other % 7 == host % 7);
                    prop_assert_eq!(filter.get(&word).is_some_and(|bits| bits & mask != 0), is_needed);
                }
            }
            prop_assert_eq!(table.len(), expected.len());
            let over = expected.values().filter(|&&until_ns| until_ns <= 25).count();
            prop_assert_eq!(table.over(25).len(), over);
        }
    }
}
