//! From what the maps hold to what they should: the fewest edits, as values.

use ipnet::IpNet;
use sluice_common::{Gcra, port_slot, stage};
use std::collections::{BTreeMap, BTreeSet};

/// What the maps hold, bans aside: those come and go by themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tables {
    pub(crate) ports: BTreeSet<u16>,
    pub(crate) allow: BTreeSet<IpNet>,
    pub(crate) block: BTreeMap<IpNet, u32>,
    pub(crate) packets: Option<Gcra>,
    pub(crate) syns: Option<Gcra>,
    pub(crate) is_dry: bool,
    pub(crate) event_interval_ns: u64,
}

/// One change of a map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Edit {
    Allow(IpNet),
    Disallow(IpNet),
    Block(IpNet, u32),
    Unblock(IpNet),
    /// A word of the port bitmap.
    Ports {
        word: u32,
        bits: u64,
    },
    /// Zeroes the counters of a rule that is gone, so that its id may be used again.
    Forget(u32),
}

/// The edits that turn `actual` into `desired`, ordered so that nobody is dropped in between whom neither of the two
/// drops: the allow-list grows first and shrinks last. Rates are not edits; they are written with the settings.
pub(crate) fn plan(actual: &Tables, desired: &Tables) -> Vec<Edit> {
    let mut edits = Vec::new();
    edits.extend(desired.allow.difference(&actual.allow).copied().map(Edit::Allow));
    edits.extend(
        actual.block.keys().filter(|net| !desired.block.contains_key(net)).copied().map(Edit::Unblock),
    );

    let (have, want) = (bitmap(&actual.ports), bitmap(&desired.ports));
    let words: BTreeSet<u32> = have.keys().chain(want.keys()).copied().collect();
    edits.extend(words.into_iter().filter_map(|word| {
        let bits = want.get(&word).copied().unwrap_or_default();
        (have.get(&word).copied().unwrap_or_default() != bits).then_some(Edit::Ports { word, bits })
    }));

    let changed = desired.block.iter().filter(|&(net, rule)| actual.block.get(net) != Some(rule));
    edits.extend(changed.map(|(net, rule)| Edit::Block(*net, *rule)));
    edits.extend(actual.allow.difference(&desired.allow).copied().map(Edit::Disallow));
    edits.extend(actual.rules().difference(&desired.rules()).copied().map(Edit::Forget));
    edits
}

fn bitmap(ports: &BTreeSet<u16>) -> BTreeMap<u32, u64> {
    let mut words = BTreeMap::new();
    for &port in ports {
        let (word, mask) = port_slot(port);
        *words.entry(word).or_default() |= mask;
    }
    words
}

impl Tables {
    /// Rule ids in use.
    pub(crate) fn rules(&self) -> BTreeSet<u32> {
        self.block.values().copied().collect()
    }

    /// The stages that have work.
    pub(crate) fn stages(&self) -> u32 {
        let v4 = |net: &IpNet| matches!(net, IpNet::V4(_));
        let v6 = |net: &IpNet| matches!(net, IpNet::V6(_));
        [
            (self.allow.iter().any(v4), stage::ALLOW4),
            (self.allow.iter().any(v6), stage::ALLOW6),
            (self.block.keys().any(v4), stage::BLOCK4),
            (self.block.keys().any(v6), stage::BLOCK6),
            (self.packets.is_some(), stage::PACKET_RATE),
            (self.syns.is_some(), stage::SYN_RATE),
            (self.is_dry, stage::DRY_RUN),
        ]
        .into_iter()
        .filter_map(|(has_work, bit)| has_work.then_some(bit))
        .sum()
    }

    /// Keeps this copy in step with an edit made to the maps.
    pub(crate) fn note(&mut self, edit: Edit) {
        match edit {
            Edit::Allow(net) => {
                self.allow.insert(net);
            }
            Edit::Disallow(net) => {
                self.allow.remove(&net);
            }
            Edit::Block(net, rule) => {
                self.block.insert(net, rule);
            }
            Edit::Unblock(net) => {
                self.block.remove(&net);
            }
            Edit::Ports { word, bits } => {
                self.ports.retain(|&port| port_slot(port).0 != word);
                let first = word as u16 * 64;
                self.ports.extend((0..64).filter(|bit| bits & 1 << bit != 0).map(|bit| first + bit));
            }
            Edit::Forget(_) => {}
        }
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
    fn equal_tables_need_no_edit() {
        let tables = Tables {
            ports: [80, 443].into(),
            block: [(net("192.0.2.0/24"), 3)].into(),
            allow: [net("::1/128")].into(),
            ..Tables::default()
        };
        assert_eq!(plan(&tables, &tables), []);
    }

    #[test]
    fn a_new_rule_id_replaces_the_entry_and_forgets_the_old_count() {
        let old = Tables { block: [(net("192.0.2.0/24"), 3)].into(), ..Tables::default() };
        let new = Tables { block: [(net("192.0.2.0/24"), 4)].into(), ..Tables::default() };
        assert_eq!(plan(&old, &new), [Edit::Block(net("192.0.2.0/24"), 4), Edit::Forget(3)]);
    }

    #[test]
    fn stages_without_entries_stay_off() {
        assert_eq!(Tables::default().stages(), 0);
        let tables = Tables {
            block: [(net("2001:db8::/32"), 0)].into(),
            allow: [net("10.0.0.0/8")].into(),
            syns: Gcra::new(1, 1),
            ..Tables::default()
        };
        assert_eq!(tables.stages(), stage::BLOCK6 | stage::ALLOW4 | stage::SYN_RATE);
    }

    fn tables() -> impl Strategy<Value = Tables> {
        let nets = || vec(any::<u8>().prop_map(|host| net(&format!("192.0.2.{host}/32"))), 0..40);
        (vec(8_000u16..8_200, 0..20), nets(), nets(), vec(0u32..5, 40)).prop_map(
            |(ports, allow, block, rules)| Tables {
                ports: ports.into_iter().collect(),
                allow: allow.into_iter().collect(),
                block: block.into_iter().zip(rules).collect(),
                ..Tables::default()
            },
        )
    }

    proptest! {
        #[test]
        fn edits_lead_to_the_desired_tables_and_drop_nobody_on_the_way(old in tables(), new in tables()) {
            let mut tables = old.clone();
            for edit in plan(&old, &new) {
                tables.note(edit);
                let harmed = tables.block.keys().find(|net| {
                    let drops = |tables: &Tables| tables.block.contains_key(net) && !tables.allow.contains(net);
                    drops(&tables) && !drops(&old) && !drops(&new)
                });
                prop_assert_eq!(harmed, None);
            }
            prop_assert_eq!(tables, new);
        }
    }
}
