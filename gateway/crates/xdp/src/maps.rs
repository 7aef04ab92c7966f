//! The program's maps by their types.

use aya::{
    Ebpf, Pod,
    maps::{
        Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, PerCpuValues, RingBuf, lpm_trie::Key,
    },
};
use ipnet::IpNet;
use sluice_common::{Ban, CLIENT_SETS, Client, ClientSet, Reason, Settings, Source, Stat, map};
use std::{collections::BTreeMap, io};

use crate::{
    XdpError,
    counters::{ClientCount, ReasonCount, RuleCount, client_of},
    plan::Edit,
};

type V4Trie = LpmTrie<MapData, [u8; 4], u32>;
type V6Trie = LpmTrie<MapData, [u8; 16], u32>;

/// All maps that the gateway touches.
pub(crate) struct Maps {
    settings: Array<MapData, Settings>,
    ports: Array<MapData, u64>,
    allow4: V4Trie,
    allow6: V6Trie,
    block4: V4Trie,
    block6: V6Trie,
    bans: HashMap<MapData, Source, Ban>,
    ban_filter: Array<MapData, u64>,
    reasons: PerCpuArray<MapData, Stat>,
    rules: PerCpuArray<MapData, Stat>,
    clients: PerCpuArray<MapData, ClientSet>,
    events: RingBuf<MapData>,
}

impl Maps {
    /// Takes the maps out of a loaded object.
    pub(crate) fn take(ebpf: &mut Ebpf) -> Result<Self, XdpError> {
        Ok(Self {
            settings: typed(ebpf, map::SETTINGS)?,
            ports: typed(ebpf, map::PORTS)?,
            allow4: typed(ebpf, map::ALLOW4)?,
            allow6: typed(ebpf, map::ALLOW6)?,
            block4: typed(ebpf, map::BLOCK4)?,
            block6: typed(ebpf, map::BLOCK6)?,
            bans: typed(ebpf, map::BANS)?,
            ban_filter: typed(ebpf, map::BAN_FILTER)?,
            reasons: typed(ebpf, map::REASONS)?,
            rules: typed(ebpf, map::RULES)?,
            clients: typed(ebpf, map::CLIENTS)?,
            events: typed(ebpf, map::EVENTS)?,
        })
    }

    pub(crate) fn set_settings(&mut self, settings: Settings) -> Result<(), XdpError> {
        self.settings.set(0, settings, 0).map_err(in_map(map::SETTINGS))
    }

    pub(crate) fn apply(&mut self, edit: Edit) -> Result<(), XdpError> {
        match edit {
            Edit::Allow(net) => {
                insert(&mut self.allow4, &mut self.allow6, net, 0).map_err(in_map(map::ALLOW4))
            }
            Edit::Disallow(net) => {
                remove(&mut self.allow4, &mut self.allow6, net).map_err(in_map(map::ALLOW4))
            }
            Edit::Block(net, rule) => {
                insert(&mut self.block4, &mut self.block6, net, rule).map_err(in_map(map::BLOCK4))
            }
            Edit::Unblock(net) => {
                remove(&mut self.block4, &mut self.block6, net).map_err(in_map(map::BLOCK4))
            }
            Edit::Ports { word, bits } => self.ports.set(word, bits, 0).map_err(in_map(map::PORTS)),
            Edit::Forget(rule) => {
                let zeroes = zero_on_every_cpu().map_err(in_map(map::RULES))?;
                self.rules.set(rule, zeroes, 0).map_err(in_map(map::RULES))
            }
        }
    }

    /// Places a ban, in place of an earlier one.
    pub(crate) fn ban(&mut self, source: Source, ban: Ban) -> Result<(), XdpError> {
        self.bans.insert(source, ban, 0).map_err(in_map(map::BANS))
    }

    /// Lifts a ban; says whether there was one.
    pub(crate) fn unban(&mut self, source: Source) -> Result<bool, XdpError> {
        match self.bans.remove(&source) {
            Ok(()) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(in_map(map::BANS)(error)),
        }
    }

    /// A ban with its counters.
    pub(crate) fn get_ban(&self, source: Source) -> Result<Option<Ban>, XdpError> {
        match self.bans.get(&source, 0) {
            Ok(ban) => Ok(Some(ban)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(in_map(map::BANS)(error)),
        }
    }

    /// Writes a word of the ban filter.
    pub(crate) fn set_filter(&mut self, word: u32, bits: u64) -> Result<(), XdpError> {
        self.ban_filter.set(word, bits, 0).map_err(in_map(map::BAN_FILTER))
    }

    /// Hands each event that is waiting to `each`.
    pub(crate) fn drain_events(&mut self, mut each: impl FnMut(&[u8])) {
        while let Some(item) = self.events.next() {
            each(&item);
        }
    }

    pub(crate) fn reasons(&self) -> Result<Vec<ReasonCount>, XdpError> {
        Reason::ALL
            .into_iter()
            .map(|reason| {
                let at = |index: u32| sum(&self.reasons, index).map_err(in_map(map::REASONS));
                let (count, dry) = (at(reason as u32)?, at(reason as u32 + Reason::COUNT as u32)?);
                Ok(ReasonCount { reason, count, dry })
            })
            .collect()
    }

    pub(crate) fn rules(&self, ids: impl IntoIterator<Item = u32>) -> Result<Vec<RuleCount>, XdpError> {
        ids.into_iter()
            .map(|rule| Ok(RuleCount { rule, count: sum(&self.rules, rule).map_err(in_map(map::RULES))? }))
            .collect()
    }

    /// The `top` clients by dropped packets. One call into the kernel for each set: about a millisecond in all.
    pub(crate) fn clients(&self, top: usize) -> Result<Vec<ClientCount>, XdpError> {
        let mut totals: BTreeMap<Source, Stat> = BTreeMap::new();
        let sets = if top == 0 { 0 } else { CLIENT_SETS as u32 };
        for set in 0..sets {
            let per_cpu = self.clients.get(&set, 0).map_err(in_map(map::CLIENTS))?;
            let used = per_cpu.iter().flatten().filter(|client| client.dropped.packets != 0);
            for Client { source, dropped } in used {
                totals.entry(*source).or_default().add(*dropped);
            }
        }
        let mut clients: Vec<ClientCount> = totals
            .into_iter()
            .map(|(source, count)| ClientCount { client: client_of(source), count })
            .collect();
        clients.sort_by(|a, b| b.count.packets.cmp(&a.count.packets).then(a.client.cmp(&b.client)));
        clients.truncate(top);
        Ok(clients)
    }
}

fn typed<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, XdpError> {
    let map =
        ebpf.take_map(name).ok_or_else(|| XdpError::Kernel(format!("no map `{name}` in the object")))?;
    map.try_into().map_err(|error: MapError| XdpError::Kernel(format!("map `{name}`: {error}")))
}

fn insert(v4: &mut V4Trie, v6: &mut V6Trie, net: IpNet, value: u32) -> Result<(), MapError> {
    match net {
        IpNet::V4(net) => v4.insert(&Key::new(u32::from(net.prefix_len()), net.addr().octets()), value, 0),
        IpNet::V6(net) => v6.insert(&Key::new(u32::from(net.prefix_len()), net.addr().octets()), value, 0),
    }
}

fn remove(v4: &mut V4Trie, v6: &mut V6Trie, net: IpNet) -> Result<(), MapError> {
    match net {
        IpNet::V4(net) => v4.remove(&Key::new(u32::from(net.prefix_len()), net.addr().octets())),
        IpNet::V6(net) => v6.remove(&Key::new(u32::from(net.prefix_len()), net.addr().octets())),
    }
}

fn sum(counters: &PerCpuArray<MapData, Stat>, index: u32) -> Result<Stat, MapError> {
    let mut total = Stat::default();
    for count in counters.get(&index, 0)?.iter() {
        total.add(*count);
    }
    Ok(total)
}

fn zero_on_every_cpu<V: Pod + Default>() -> Result<PerCpuValues<V>, MapError> {
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| MapError::IoError(error))?;
    Ok(PerCpuValues::try_from(vec![V::default(); cpus])?)
}

fn is_absent(error: &MapError) -> bool {
    matches!(error, MapError::KeyNotFound | MapError::ElementNotFound)
        || crate::error::os_error(error) == Some(libc::ENOENT)
}

fn in_map(map: &'static str) -> impl FnOnce(MapError) -> XdpError {
    move |error| XdpError::Map {
        map,
        error: match crate::error::os_error(&error) {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::other(error.to_string()),
        },
    }
}
