//! Bans as the gateway keeps them: who is banned until when, in which slot of the program's table, and which words there
//! lead to it.
//!
//! The program never adds or removes a ban, so this copy is the truth, and only counters are read back.

use ipnet::{IpNet, Ipv6Net};
use sluice_common::{
    BAN_CHAIN_MAX, BAN_HEADS, BANS_MAX, BanEntry, Source, ban_head, filter_slot, first_slot, policy,
};
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

/// A word of the program's tables that leads to slots, where it is and what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BanWord {
    /// After a slot.
    Next(u32, u64),
    /// Of the first slots of two chains.
    First(u32, u64),
    /// Of the filter.
    Filter(u32, u64),
}

#[derive(Clone, Copy, Debug)]
struct Held {
    until_ns: u64,
    slot: u32,
}

/// Who is banned until when.
#[derive(Debug, Default)]
pub(crate) struct BanTable {
    held: HashMap<Source, Held>,
    /// The same by end, the soonest first.
    ends: BTreeSet<(u64, Source)>,
    slots: Slots,
    /// The slots of each chain that has any, the first one first.
    chains: HashMap<u32, Vec<(u32, Source)>>,
    /// How many bans set each bit that is set, by word and mask.
    bits: HashMap<(u32, u64), u32>,
    words: HashMap<u32, u64>,
    wide: usize,
    /// What past bans dropped, of the sources with the most, so that a client's count does not fall when its ban ends.
    past: HashMap<Source, Stat>,
}

/// Which slots may be given out.
#[derive(Debug, Default)]
struct Slots {
    /// From this one on none has been used.
    unused: u32,
    free: Vec<u32>,
    /// Unlinked, but packets may be under way that have come to them.
    left: Vec<u32>,
}

impl Slots {
    fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.unused += 1;
            self.unused - 1
        })
    }
}

/// Past bans that are remembered.
const PAST_MAX: usize = 4_096;

/// What a ban has dropped. Bytes of packets that were let through are among them.
pub(crate) fn dropped_by(ban: &sluice_common::Ban) -> Stat {
    Stat { packets: ban.seen.packets.saturating_sub(ban.passed), bytes: ban.seen.bytes }
}

impl BanTable {
    /// The table that the program's words and slots are of: whoever is led to by a chain is banned.
    pub(crate) fn resume(
        entries: &[BanEntry],
        first: &[u64],
        next: &[u64],
        hash: impl Fn(Source) -> u64,
    ) -> Self {
        let mut table = Self::default();
        for head in 0..BAN_HEADS as u32 {
            let mut at = first.get(head as usize / 2).map_or(0, |word| first_slot(*word, head));
            let mut chain = Vec::new();
            // The bound is for a table that somebody else has broken.
            while let Some(slot) = at.checked_sub(1)
                && let Some(entry) = entries.get(slot as usize)
                && chain.len() < BAN_CHAIN_MAX
            {
                table.hold(entry, slot);
                table.mark(hash(entry.source));
                chain.push((slot, entry.source));
                at = next.get(slot as usize).map_or(0, |link| *link as u32);
            }
            if !chain.is_empty() {
                table.chains.insert(head, chain);
            }
        }
        let used = table.held.values().map(|held| held.slot);
        table.slots.unused = used.clone().max().map_or(0, |slot| slot + 1);
        let taken: BTreeSet<u32> = used.collect();
        // Packets may be under way that have come to one of them.
        table.slots.left = (0..table.slots.unused).filter(|slot| !taken.contains(slot)).collect();
        table
    }

    fn hold(&mut self, entry: &BanEntry, slot: u32) {
        let (source, until_ns) = (entry.source, entry.ban.until_ns);
        self.held.insert(source, Held { until_ns, slot });
        self.ends.insert((until_ns, source));
        self.wide += usize::from(source.wide_prefix().is_some());
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn has_wide(&self) -> bool {
        self.wide > 0
    }

    pub(crate) fn slot_of(&self, source: Source) -> Option<u32> {
        self.held.get(&source).map(|held| held.slot)
    }

    pub(crate) fn end_of(&self, source: Source) -> Option<u64> {
        self.held.get(&source).map(|held| held.until_ns)
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

    /// Whom a newcomer with this hash would displace: when all places are taken, the ban that ends next, and when all of
    /// its chain are, that of those.
    pub(crate) fn displaced_by(&self, newcomer: Source, hash: u64) -> Option<Source> {
        if self.held.contains_key(&newcomer) {
            return None;
        }
        if self.len() >= BANS_MAX {
            return self.ends.first().map(|&(_, source)| source);
        }
        let chain = self.chains.get(&ban_head(hash)).filter(|chain| chain.len() >= BAN_CHAIN_MAX)?;
        chain.iter().map(|&(_, source)| source).min_by_key(|&source| self.end_of(source))
    }

    /// Whether the next newcomer needs [`reuse_slots`](Self::reuse_slots) first.
    pub(crate) fn needs_slots(&self) -> bool {
        self.slots.free.is_empty() && self.slots.unused as usize >= BANS_MAX
    }

    /// Slots that were left may be used again: no packet is under way that has come to them.
    pub(crate) fn reuse_slots(&mut self) {
        self.slots.free.append(&mut self.slots.left);
    }

    /// The bans that are over.
    pub(crate) fn over(&self, now_ns: u64) -> Vec<Source> {
        let over = self.ends.iter().take_while(|&&(until_ns, _)| until_ns <= now_ns);
        over.map(|&(_, source)| source).collect()
    }

    /// Notes a ban, new or renewed; yields its slot, and the words that then are to be written, in this order. `hash` is
    /// the source's.
    pub(crate) fn insert(&mut self, source: Source, hash: u64, until_ns: u64) -> (u32, Vec<BanWord>) {
        if let Some(held) = self.held.get_mut(&source) {
            self.ends.remove(&(held.until_ns, source));
            held.until_ns = until_ns;
            self.ends.insert((until_ns, source));
            return (held.slot, Vec::new());
        }
        let slot = self.slots.take();
        self.held.insert(source, Held { until_ns, slot });
        self.ends.insert((until_ns, source));
        self.wide += usize::from(source.wide_prefix().is_some());
        let head = ban_head(hash);
        let chain = self.chains.entry(head).or_default();
        let next = BanWord::Next(slot, link(chain.first()));
        chain.insert(0, (slot, source));
        let mut words = vec![next, self.first_word(head)];
        words.extend(self.mark(hash));
        (slot, words)
    }

    /// Forgets a ban; yields the slot that it leaves, and the words that are to be written before anything else there.
    pub(crate) fn remove(&mut self, source: Source, hash: u64) -> Option<(u32, Vec<BanWord>)> {
        let Held { until_ns, slot } = self.held.remove(&source)?;
        self.ends.remove(&(until_ns, source));
        self.slots.left.push(slot);
        self.wide -= usize::from(source.wide_prefix().is_some());
        let mut words: Vec<BanWord> = self.unmark(hash).into_iter().collect();
        words.extend(self.unlink(slot, ban_head(hash)));
        Some((slot, words))
    }

    fn unlink(&mut self, slot: u32, head: u32) -> Option<BanWord> {
        let chain = self.chains.get_mut(&head)?;
        let at = chain.iter().position(|&(other, _)| other == slot)?;
        chain.remove(at);
        let (next, before) = (link(chain.get(at)), at.checked_sub(1).and_then(|before| chain.get(before)));
        if let Some(&(before, _)) = before {
            return Some(BanWord::Next(before, next));
        }
        if chain.is_empty() {
            self.chains.remove(&head);
        }
        Some(self.first_word(head))
    }

    /// The word that has the first slots of this chain and its neighbour.
    fn first_word(&self, head: u32) -> BanWord {
        debug_assert!((head as usize) < BAN_HEADS);
        let first = |head: u32| link(self.chains.get(&head).and_then(|chain| chain.first()));
        BanWord::First(head / 2, first(head & !1) | first(head | 1) << 32)
    }

    /// Sets a bit of the filter; yields the word that changes by it.
    fn mark(&mut self, hash: u64) -> Option<BanWord> {
        let slot = filter_slot(hash);
        let users = self.bits.entry(slot).or_default();
        *users += 1;
        if *users > 1 {
            return None;
        }
        let word = self.words.entry(slot.0).or_default();
        *word |= slot.1;
        Some(BanWord::Filter(slot.0, *word))
    }

    fn unmark(&mut self, hash: u64) -> Option<BanWord> {
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
        Some(BanWord::Filter(slot.0, bits))
    }
}

/// How a slot is led to: counted from 1, and by 0 to none.
fn link(slot: Option<&(u32, Source)>) -> u64 {
    slot.map_or(0, |&(slot, _)| u64::from(slot) + 1)
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
        // Each chain has one.
        let hash = |index: u32| u64::from(index) << 40;
        for index in 0..BANS_MAX as u32 {
            assert_eq!(table.displaced_by(source(index), hash(index)), None);
            table.insert(source(index), hash(index), u64::from(index.abs_diff(923)));
        }
        assert_eq!(table.displaced_by(source(u32::MAX), hash(7)), Some(source(923)));
        assert_eq!(table.displaced_by(source(5), hash(5)), None, "a renewal needs no place");

        assert!(table.needs_slots());
        let (left, _) = table.remove(source(923), hash(923)).unwrap();
        assert!(table.needs_slots(), "a packet may be on its way there");
        table.reuse_slots();
        assert_eq!(table.insert(source(u32::MAX), hash(7), 1).0, left);
    }

    #[test]
    fn of_a_full_chain_the_ban_that_ends_next_gives_way() {
        let mut table = BanTable::default();
        let source = |index: u32| Source::from_v4_word(index.to_be());
        for index in 0..BAN_CHAIN_MAX as u32 {
            assert_eq!(table.displaced_by(source(index), 0), None);
            table.insert(source(index), 0, u64::from(index.abs_diff(3)));
        }
        assert_eq!(table.displaced_by(source(99), 0), Some(source(3)));
        assert_eq!(table.displaced_by(source(99), 1 << 40), None, "another chain");
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

    /// The program's tables and its look-up.
    #[derive(Default)]
    struct Program {
        slots: HashMap<u32, Source>,
        first: HashMap<u32, u64>,
        next: HashMap<u32, u64>,
        filter: HashMap<u32, u64>,
    }

    impl Program {
        fn write(&mut self, words: Vec<BanWord>) {
            for word in words {
                match word {
                    BanWord::Next(slot, next) => self.next.insert(slot, next),
                    BanWord::First(index, word) => self.first.insert(index, word),
                    BanWord::Filter(index, bits) => self.filter.insert(index, bits),
                };
            }
        }

        fn is_filtered(&self, hash: u64) -> bool {
            let (word, mask) = filter_slot(hash);
            self.filter.get(&word).is_some_and(|bits| bits & mask != 0)
        }

        fn has(&self, source: Source, hash: u64) -> bool {
            let head = ban_head(hash);
            let mut link = first_slot(self.first.get(&(head / 2)).copied().unwrap_or(0), head);
            for _ in 0..BAN_CHAIN_MAX {
                let Some(slot) = link.checked_sub(1) else { return false };
                if self.slots[&slot] == source {
                    return self.is_filtered(hash);
                }
                link = self.next[&slot] as u32;
            }
            panic!("a chain without end")
        }
    }

    proptest! {
        /// Few chains and bits, so that bans share them.
        #[test]
        fn the_program_finds_who_is_banned_and_nobody_else(
            edits in vec((0u32..30, any::<bool>(), 0u64..50), 0..200),
        ) {
            let mut table = BanTable::default();
            let mut program = Program::default();
            let mut expected: HashMap<u32, u64> = HashMap::new();
            let hash = |host: u32| (u64::from(host % 7) * 40) | (u64::from(host % 5) << 40);
            for (host, is_ban, until_ns) in edits {
                let source = Source::from_v4_word(host);
                if is_ban {
                    expected.insert(host, until_ns);
                    let (slot, words) = table.insert(source, hash(host), until_ns);
                    program.slots.insert(slot, source);
                    program.write(words);
                } else {
                    expected.remove(&host);
                    if let Some((slot, words)) = table.remove(source, hash(host)) {
                        program.write(words);
                        program.slots.remove(&slot);
                    }
                }
                for host in 0..30u32 {
                    let is_banned = expected.contains_key(&host);
                    prop_assert_eq!(program.has(Source::from_v4_word(host), hash(host)), is_banned);
                    let is_needed = expected.keys().any(|other| other % 7 == host % 7);
                    prop_assert_eq!(program.is_filtered(u64::from(host % 7) * 40), is_needed);
                }
            }
            prop_assert_eq!(table.len(), expected.len());
            let over = expected.values().filter(|&&until_ns| until_ns <= 25).count();
            prop_assert_eq!(table.over(25).len(), over);
        }
    }
}
