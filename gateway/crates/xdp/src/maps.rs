//! The program's maps by their types.

use aya::{
    Ebpf, Pod,
    maps::{
        Array, IterableMap as _, Map, MapData, MapError, PerCpuArray, PerCpuValues, RingBuf, lpm_trie::Key,
    },
};
use sluice_common::{
    ALLOW_ENTRIES_MAX, BLOCK_ENTRIES_MAX, Ban, BanEntry, CLIENT_SETS, Client, ClientSet, Config, Cpu,
    GENERATIONS, Reason, Source, Stat, map,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::{AsFd as _, BorrowedFd},
    path::Path,
};

use crate::{
    XdpError,
    bans::{BanTable, BanWord},
    counters::{ReasonCount, RuleCount},
    pins, sys,
    tables::{Entries, Lists},
};

/// All maps that the gateway touches.
pub(crate) struct Maps {
    active: Array<MapData, u32>,
    config: Array<MapData, Config>,
    block20: MapData,
    block24: MapData,
    tries: [Tries; GENERATIONS],
    bans: Array<MapData, BanEntry>,
    ban_first: Array<MapData, u64>,
    ban_next: Array<MapData, u64>,
    ban_filter: Array<MapData, u64>,
    cpu: PerCpuArray<MapData, Cpu>,
    rules: PerCpuArray<MapData, Stat>,
    clients: PerCpuArray<MapData, ClientSet>,
    events: RingBuf<MapData>,
}

/// The lists of a generation, with their names.
struct Tries {
    allow4: Trie,
    allow6: Trie,
    block4: Trie,
    block6: Trie,
}

struct Trie(&'static str, MapData);

/// Where maps come from, by name.
pub(crate) trait MapSource {
    fn take(&mut self, name: &str) -> Option<Map>;
}

impl MapSource for Ebpf {
    fn take(&mut self, name: &str) -> Option<Map> {
        self.take_map(name)
    }
}

impl Trie {
    fn take(source: &mut impl MapSource, name: &'static str) -> Result<Self, XdpError> {
        match source.take(name) {
            Some(Map::LpmTrie(data)) => Ok(Self(name, data)),
            _ => Err(XdpError::Kernel(format!("no trie `{name}` in the object"))),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.1.fd().as_fd()
    }

    /// What it has, `most` entries at most.
    fn entries<K: Pod>(&self, zero: K, most: usize) -> Result<Vec<(K, u32)>, XdpError> {
        sys::read_trie(self.fd(), zero, most).map_err(|error| XdpError::Map { map: self.0, error })
    }

    fn insert<K: Pod>(&self, (keys, values): &(Vec<K>, Vec<u32>)) -> Result<(), XdpError> {
        sys::insert_all(self.fd(), keys, values).map_err(|error| XdpError::Map { map: self.0, error })
    }

    fn remove<K: Pod>(&self, (keys, _): &(Vec<K>, Vec<u32>)) -> Result<(), XdpError> {
        sys::remove_all(self.fd(), keys).map_err(|error| XdpError::Map { map: self.0, error })
    }
}

impl Maps {
    /// Takes the maps out of a loaded object, or of what another process has given.
    pub(crate) fn take(ebpf: &mut impl MapSource) -> Result<Self, XdpError> {
        let mut tries = |generation: usize| {
            let mut trie = |names: [&'static str; 2]| {
                let name = names.get(generation).copied().unwrap_or_default();
                Trie::take(ebpf, name)
            };
            Ok::<_, XdpError>(Tries {
                allow4: trie(map::ALLOW4)?,
                allow6: trie(map::ALLOW6)?,
                block4: trie(map::BLOCK4)?,
                block6: trie(map::BLOCK6)?,
            })
        };
        let tries = [tries(0)?, tries(1)?];
        Ok(Self {
            active: typed(ebpf, map::ACTIVE)?,
            config: typed(ebpf, map::CONFIG)?,
            block20: array(ebpf, map::BLOCK20)?,
            block24: array(ebpf, map::BLOCK24)?,
            tries,
            bans: typed(ebpf, map::BANS)?,
            ban_first: typed(ebpf, map::BAN_FIRST)?,
            ban_next: typed(ebpf, map::BAN_NEXT)?,
            ban_filter: typed(ebpf, map::BAN_FILTER)?,
            cpu: typed(ebpf, map::CPU)?,
            rules: typed(ebpf, map::RULES)?,
            clients: typed(ebpf, map::CLIENTS)?,
            events: typed(ebpf, map::EVENTS)?,
        })
    }

    /// All of them by name, for another process.
    pub(crate) fn all(&self) -> Vec<(&'static str, BorrowedFd<'_>)> {
        let mut all = vec![
            (map::ACTIVE, self.active.map().fd().as_fd()),
            (map::CONFIG, self.config.map().fd().as_fd()),
            (map::BLOCK20, self.block20.fd().as_fd()),
            (map::BLOCK24, self.block24.fd().as_fd()),
            (map::BANS, self.bans.map().fd().as_fd()),
            (map::BAN_FIRST, self.ban_first.map().fd().as_fd()),
            (map::BAN_NEXT, self.ban_next.map().fd().as_fd()),
            (map::BAN_FILTER, self.ban_filter.map().fd().as_fd()),
            (map::CPU, self.cpu.map().fd().as_fd()),
            (map::RULES, self.rules.map().fd().as_fd()),
            (map::CLIENTS, self.clients.map().fd().as_fd()),
            (map::EVENTS, self.events.as_fd()),
        ];
        let tries = self.tries.iter().flat_map(|t| [&t.allow4, &t.allow6, &t.block4, &t.block6]);
        all.extend(tries.map(|trie| (trie.0, trie.fd())));
        all
    }

    /// The generation that counts, and the seed that sources are hashed with.
    pub(crate) fn generation_and_seed(&self) -> Result<(u32, u64), XdpError> {
        let active = self.active.get(&0, 0).map_err(in_map(map::ACTIVE))? & 1;
        let config = self.config.get(&active, 0).map_err(in_map(map::CONFIG))?;
        Ok((active, config.settings.seed))
    }

    /// The lists of a generation as they are in the kernel.
    pub(crate) fn lists(&self, generation: u32) -> Result<Lists, XdpError> {
        let config = self.config.get(&generation, 0).map_err(in_map(map::CONFIG))?;
        let mut lists = Lists::of_ports(&config.ports);
        let Some(tries) = self.tries.get(generation as usize) else { return Ok(lists) };
        let (v4, v6) = (Key::new(0, [0; 4]), Key::new(0, [0; 16]));
        lists.add_allowed(
            tries.allow4.entries(v4, ALLOW_ENTRIES_MAX)?,
            tries.allow6.entries(v6, ALLOW_ENTRIES_MAX)?,
        );
        lists.add_blocked(
            tries.block4.entries(v4, BLOCK_ENTRIES_MAX)?,
            tries.block6.entries(v6, BLOCK_ENTRIES_MAX)?,
        );
        Ok(lists)
    }

    /// The bans as they are in the kernel.
    pub(crate) fn ban_table(&self, seed: u64) -> Result<BanTable, XdpError> {
        let read = |map: &'static str| move |error| XdpError::Map { map, error };
        let (bans, first, next) = (self.bans.map(), self.ban_first.map(), self.ban_next.map());
        let entries: Vec<BanEntry> =
            sys::read_all(bans.fd().as_fd(), self.bans.len()).map_err(read(map::BANS))?;
        let first = sys::read_all(first.fd().as_fd(), self.ban_first.len()).map_err(read(map::BAN_FIRST))?;
        let next = sys::read_all(next.fd().as_fd(), self.ban_next.len()).map_err(read(map::BAN_NEXT))?;
        Ok(BanTable::resume(&entries, &first, &next, |source| source.hash(seed)))
    }

    pub(crate) fn set_config(&mut self, generation: u32, config: &Config) -> Result<(), XdpError> {
        self.config.set(generation, config, 0).map_err(in_map(map::CONFIG))
    }

    /// Makes the program go by another generation, from the next packet on, and returns when no packet is under way
    /// that goes by the one before.
    pub(crate) fn activate(&mut self, generation: u32) -> Result<(), XdpError> {
        self.active.set(0, generation, 0).map_err(in_map(map::ACTIVE))?;
        sys::wait_for_packets_under_way();
        Ok(())
    }

    /// Fills a generation that is not active and whose tries are empty. Whatever of it fails, all of it is to be removed
    /// again: [`empty`](Self::empty).
    pub(crate) fn fill(&mut self, generation: u32, lists: &Lists) -> Result<(), XdpError> {
        set_words(&self.block20, map::BLOCK20, generation, &lists.block_words(20))?;
        set_words(&self.block24, map::BLOCK24, generation, &lists.block_words(24))?;
        let Some(tries) = self.tries.get(generation as usize) else { return Ok(()) };
        let Entries { v4, v6 } = lists.allow_entries();
        tries.allow4.insert(&v4)?;
        tries.allow6.insert(&v6)?;
        let Entries { v4, v6 } = lists.block_entries();
        tries.block4.insert(&v4)?;
        tries.block6.insert(&v6)
    }

    /// Removes the lists of a generation that is not active, to free their memory. They may have been loaded in part:
    /// this goes in the same order, so nothing comes after the first entry that is missing.
    pub(crate) fn empty(&mut self, generation: u32, lists: &Lists) -> Result<(), XdpError> {
        match self.remove(generation, lists) {
            Err(XdpError::Map { error, .. }) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            result => result,
        }
    }

    fn remove(&mut self, generation: u32, lists: &Lists) -> Result<(), XdpError> {
        let Some(tries) = self.tries.get(generation as usize) else { return Ok(()) };
        let Entries { v4, v6 } = lists.allow_entries();
        tries.allow4.remove(&v4)?;
        tries.allow6.remove(&v6)?;
        let Entries { v4, v6 } = lists.block_entries();
        tries.block4.remove(&v4)?;
        tries.block6.remove(&v6)
    }

    /// Zeroes the counters of rules that are gone, so that their ids may be used again.
    pub(crate) fn forget_rules(&mut self, rules: &BTreeSet<u32>) -> Result<(), XdpError> {
        for &rule in rules {
            let zeroes = zero_on_every_cpu().map_err(in_map(map::RULES))?;
            self.rules.set(rule, zeroes, 0).map_err(in_map(map::RULES))?;
        }
        Ok(())
    }

    /// Writes a slot.
    pub(crate) fn set_ban(&mut self, slot: u32, entry: BanEntry) -> Result<(), XdpError> {
        self.bans.set(slot, entry, 0).map_err(in_map(map::BANS))
    }

    /// The ban in a slot, with its counters.
    pub(crate) fn get_ban(&self, slot: u32) -> Result<Ban, XdpError> {
        self.bans.get(&slot, 0).map(|entry| entry.ban).map_err(in_map(map::BANS))
    }

    /// Writes a word that leads to slots.
    pub(crate) fn write_ban_word(&mut self, word: BanWord) -> Result<(), XdpError> {
        match word {
            BanWord::Next(slot, next) => self.ban_next.set(slot, next, 0).map_err(in_map(map::BAN_NEXT)),
            BanWord::First(index, word) => self.ban_first.set(index, word, 0).map_err(in_map(map::BAN_FIRST)),
            BanWord::Filter(index, bits) => {
                self.ban_filter.set(index, bits, 0).map_err(in_map(map::BAN_FILTER))
            }
        }
    }

    /// Pins the bans, in place of those of a run before.
    pub(crate) fn pin_bans(&self, directory: &Path) -> Result<(), XdpError> {
        pins::pin_bans(self.bans.map().fd().as_fd(), directory)
    }

    /// Hands each event that is waiting to `each`.
    pub(crate) fn drain_events(&mut self, mut each: impl FnMut(&[u8])) {
        while let Some(item) = self.events.next() {
            each(&item);
        }
    }

    pub(crate) fn reasons(&self) -> Result<Vec<ReasonCount>, XdpError> {
        let mut totals = [Stat::default(); 2 * Reason::COUNT];
        for cpu in self.cpu.get(&0, 0).map_err(in_map(map::CPU))?.iter() {
            totals.iter_mut().zip(cpu.reasons).for_each(|(total, count)| total.add(count));
        }
        let (counts, dry) = totals.split_at(Reason::COUNT);
        let counted = Reason::ALL.into_iter().zip(counts).zip(dry);
        Ok(counted.map(|((reason, &count), &dry)| ReasonCount { reason, count, dry }).collect())
    }

    pub(crate) fn rules(&self, ids: impl IntoIterator<Item = u32>) -> Result<Vec<RuleCount>, XdpError> {
        ids.into_iter()
            .map(|rule| Ok(RuleCount { rule, count: sum(&self.rules, rule).map_err(in_map(map::RULES))? }))
            .collect()
    }

    /// Dropped packets by source, those of bans aside. One call into the kernel for each set: about a millisecond in all.
    pub(crate) fn clients(&self) -> Result<BTreeMap<Source, Stat>, XdpError> {
        let mut totals: BTreeMap<Source, Stat> = BTreeMap::new();
        for set in 0..CLIENT_SETS as u32 {
            let per_cpu = self.clients.get(&set, 0).map_err(in_map(map::CLIENTS))?;
            let used = per_cpu.iter().flatten().filter(|client| client.dropped.packets != 0);
            for Client { source, dropped } in used {
                totals.entry(*source).or_default().add(*dropped);
            }
        }
        Ok(totals)
    }
}

/// Writes a generation's part of a bitmap.
fn set_words(bitmap: &MapData, name: &'static str, generation: u32, words: &[u64]) -> Result<(), XdpError> {
    let count = words.len() as u32;
    let indexes: Vec<u32> = (generation * count..(generation + 1) * count).collect();
    sys::insert_all(bitmap.fd().as_fd(), &indexes, words).map_err(|error| XdpError::Map { map: name, error })
}

fn array(ebpf: &mut impl MapSource, name: &'static str) -> Result<MapData, XdpError> {
    match ebpf.take(name) {
        Some(Map::Array(data)) => Ok(data),
        _ => Err(XdpError::Kernel(format!("no array `{name}` in the object"))),
    }
}

fn typed<T: TryFrom<Map, Error = MapError>>(
    ebpf: &mut impl MapSource,
    name: &'static str,
) -> Result<T, XdpError> {
    let map = ebpf.take(name).ok_or_else(|| XdpError::Kernel(format!("no map `{name}` in the object")))?;
    map.try_into().map_err(|error: MapError| XdpError::Kernel(format!("map `{name}`: {error}")))
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

fn in_map(map: &'static str) -> impl FnOnce(MapError) -> XdpError {
    move |error| XdpError::Map {
        map,
        error: match crate::error::os_error(&error) {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::other(error.to_string()),
        },
    }
}
