//! The loaded program: attach, reconcile, ban, count.

use aya::Ebpf;
use ipnet::IpNet;
use sluice_common::{BanEntry, Source, stage};
use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, RandomState},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::PathBuf,
    time::Duration,
};

use crate::{
    Attachment, Ban, ClientCount, Counters, Event, LetThrough, Mode, Options, XdpError,
    attach::{self, How, Place},
    bans::{BanTable, dropped_by, key_of},
    counters::{client_of, worst},
    events,
    handover::{Handed, Parts},
    load::{self, EMBEDDED_OBJECT},
    maps::Maps,
    pins, sys,
    tables::{Lists, Tables},
};

/// A loaded program. Dropping it detaches the program wherever it is not pinned.
///
/// It is used by one thread, the control thread; the data path is the kernel's.
pub struct Xdp {
    program: Program,
    maps: Maps,
    /// Which generation the program goes by.
    active: u32,
    /// What that one holds: nobody else has the maps, so this copy is the truth.
    tables: Tables,
    /// Lists that the other generation may still hold.
    leftover: Option<Lists>,
    bans: BanTable,
    /// Bits of [`stage`] for bans that the program goes by.
    written_ban_stages: u32,
    seed: u64,
    mode: Mode,
    places: BTreeMap<String, Place>,
    /// Where links and bans are pinned.
    pin_path: Option<PathBuf>,
}

impl Xdp {
    /// Bans that are held at once.
    pub const BANS_MAX: usize = sluice_common::BANS_MAX;

    /// Loads the embedded program, fills its maps and attaches it. Where a run before has pinned its links and bans, it
    /// takes over the bans that still hold, and then the links: no packet goes unjudged in between.
    ///
    /// # Errors
    /// See [`XdpError`]; nothing is attached then. [`XdpError::is_unavailable`] tells whether to serve without.
    pub fn start(options: &Options) -> Result<Self, XdpError> {
        Self::start_object(EMBEDDED_OBJECT, options)
    }

    /// [`start`](Self::start) with another object: tests try a fresh build.
    #[doc(hidden)]
    pub fn start_object(object: &[u8], options: &Options) -> Result<Self, XdpError> {
        if options.mode == Mode::Off {
            return Err(XdpError::Off);
        }
        options.resolve()?;
        let (mut ebpf, name) = load::load(object)?;
        let maps = Maps::take(&mut ebpf)?;
        let program = Program::Loaded(Box::new(ebpf), name);
        let seed = RandomState::new().hash_one(std::process::id());
        let mut xdp = Self::with(program, maps, seed, options.mode);
        if let Some(directory) = &options.pin_path {
            xdp.take_over_bans(pins::pinned_bans(directory))?;
        }
        xdp.reconcile(options)?;
        Ok(xdp)
    }

    fn with(program: Program, maps: Maps, seed: u64, mode: Mode) -> Self {
        Self {
            program,
            maps,
            active: 0,
            tables: Tables::default(),
            leftover: None,
            bans: BanTable::default(),
            written_ban_stages: 0,
            seed,
            mode,
            places: BTreeMap::new(),
            pin_path: None,
        }
    }

    /// What the process that replaces this one needs to go on with this very filter. This one must not change it any
    /// more once the other has it; dropping this value detaches nothing then.
    ///
    /// # Errors
    /// If descriptors are used up.
    pub fn hand_over(&mut self) -> Result<Vec<(String, OwnedFd)>, XdpError> {
        let mut parts = Parts::new();
        parts.add("program", self.program.fd()?)?;
        for (name, fd) in self.maps.all() {
            parts.add(&format!("map/{name}"), fd)?;
        }
        for (interface, place) in &self.places {
            parts.add(&format!("link/{interface}"), place.link())?;
        }
        if let Some(folder) = &self.pin_path {
            parts.add(&format!("pins/{}", folder.display()), self.program.fd()?)?;
        }
        Ok(parts.finish())
    }

    /// Goes on with the filter that another process has [handed over](Self::hand_over), and turns it into what `options`
    /// say. Takes no capability unless an interface is to be attached to that was not before.
    ///
    /// # Errors
    /// As [`start`](Self::start); and if it is not [this version's](Handed::is_ours).
    pub fn take_over(mut handed: Handed, options: &Options) -> Result<Self, XdpError> {
        options.resolve()?;
        let is_ours = handed.is_ours();
        let program = handed.program.take().filter(|_| is_ours);
        let program = program.ok_or_else(|| XdpError::Kernel("a filter of another version".to_owned()))?;
        let maps = Maps::take(&mut handed)?;
        let (active, seed) = maps.generation_and_seed()?;
        let mut xdp = Self::with(Program::Handed(program), maps, seed, options.mode);
        xdp.active = active;
        xdp.tables.lists = xdp.maps.lists(active)?;
        // Ports are not in the way of those that will be filled in.
        xdp.leftover = Some(xdp.maps.lists(1 - active)?);
        xdp.bans = xdp.maps.ban_table(seed)?;
        xdp.pin_path = handed.pin_path.take();
        for (interface, link) in std::mem::take(&mut handed.links) {
            if let Some(place) = Place::handed(&interface, link, xdp.pin_path.as_deref()) {
                xdp.places.insert(interface, place);
            }
        }
        xdp.reconcile(options)?;
        Ok(xdp)
    }

    /// Turns what is into what `options` say. Lists, ports and rates change at once, between two packets: the new
    /// ones are loaded beside those in force, however long they are, and a single word switches. Bans and counters
    /// stay, but for those of rules that are gone.
    ///
    /// # Errors
    /// On [`XdpError::Options`], and where the new lists cannot be loaded, nothing has changed. After any other error
    /// the lists are the new ones, and another call goes on from there.
    pub fn reconcile(&mut self, options: &Options) -> Result<(), XdpError> {
        let desired = options.resolve()?;
        if desired.lists == self.tables.lists {
            self.tables.rates = desired.rates;
            self.write_settings()?;
        } else {
            self.switch(desired)?;
        }
        self.reattach(options)
    }

    /// Switches to the other generation.
    fn switch(&mut self, desired: Tables) -> Result<(), XdpError> {
        let other = 1 - self.active;
        if let Some(lists) = &self.leftover {
            self.maps.empty(other, lists)?;
            self.leftover = None;
        }
        if let Err(error) = self.fill(other, &desired) {
            self.empty(other, desired.lists);
            return Err(error);
        }
        self.maps.activate(other)?;
        let old = std::mem::replace(&mut self.tables, desired);
        self.active = other;
        self.written_ban_stages = self.ban_stages();
        let rules = old.lists.rules();
        let gone = rules.difference(&self.tables.lists.rules()).copied().collect();
        self.empty(1 - other, old.lists);
        self.maps.forget_rules(&gone)
    }

    fn fill(&mut self, generation: u32, desired: &Tables) -> Result<(), XdpError> {
        self.maps.fill(generation, &desired.lists)?;
        self.maps.set_config(generation, &desired.config(self.seed, self.ban_stages()))
    }

    /// Empties a generation that is not active, or remembers to try again before it is filled the next time.
    fn empty(&mut self, generation: u32, lists: Lists) {
        if self.maps.empty(generation, &lists).is_err() {
            self.leftover = Some(lists);
        }
    }

    /// Drops a source for `ttl` from now, but for what `let_through` leaves it. In place of an earlier ban of the same
    /// source, whose counters go on. A source on the allow-list is not affected.
    ///
    /// `source` is an IPv4 address or an IPv6 /64 ([`subscriber`](crate::subscriber) makes one of a client's address),
    /// or, where many of those misbehave together, an IPv6 /56 or /48. When [`Xdp::BANS_MAX`] are held, the ban that
    /// ends next gives way.
    ///
    /// # Errors
    /// [`XdpError::Options`] for any other network; otherwise if a map cannot be written.
    pub fn ban(&mut self, source: IpNet, ttl: Duration, let_through: LetThrough) -> Result<(), XdpError> {
        let key = key_of(source)?;
        while let Some(displaced) = self.bans.displaced_by(key, key.hash(self.seed)) {
            self.lift(displaced)?;
        }
        let (policy, one_in, interval_ns) = let_through.encode();
        let ttl_ns = u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX);
        let until_ns = monotonic_ns().saturating_add(ttl_ns);
        let earlier = self.entry(key)?.unwrap_or_default();
        self.place(key, sluice_common::Ban { until_ns, policy, one_in, interval_ns, ..earlier })?;
        self.refresh_stages()
    }

    /// A ban as the program has it.
    fn entry(&self, source: Source) -> Result<Option<sluice_common::Ban>, XdpError> {
        self.bans.slot_of(source).map(|slot| self.maps.get_ban(slot)).transpose()
    }

    fn place(&mut self, source: Source, ban: sluice_common::Ban) -> Result<(), XdpError> {
        if self.bans.needs_slots() {
            sys::wait_for_packets_under_way();
            self.bans.reuse_slots();
        }
        let (slot, words) = self.bans.insert(source, source.hash(self.seed), ban.until_ns);
        // The slot is complete before anything leads to it.
        self.maps.set_ban(slot, BanEntry { source, ban })?;
        words.into_iter().try_for_each(|word| self.maps.write_ban_word(word))
    }

    /// Lifts a ban; says whether there was one. Takes the networks that [`ban`](Self::ban) takes.
    ///
    /// # Errors
    /// [`XdpError::Options`] for any other network; otherwise if a map cannot be written.
    pub fn unban(&mut self, source: IpNet) -> Result<bool, XdpError> {
        let was_banned = self.lift(key_of(source)?)?;
        self.refresh_stages()?;
        Ok(was_banned)
    }

    /// Bans that hold with their counters, by source. About a microsecond for each.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn bans(&self) -> Result<Vec<Ban>, XdpError> {
        let now_ns = monotonic_ns();
        let mut bans = Vec::with_capacity(self.bans.len());
        for (source, until_ns) in self.bans.iter().filter(|&(_, until_ns)| until_ns > now_ns) {
            bans.push(self.told(source, until_ns - now_ns)?);
        }
        bans.sort_by_key(|ban| ban.source);
        Ok(bans)
    }

    /// The ban of one source, if it holds.
    ///
    /// # Errors
    /// As [`unban`](Self::unban).
    pub fn ban_of(&self, source: IpNet) -> Result<Option<Ban>, XdpError> {
        let (key, now_ns) = (key_of(source)?, monotonic_ns());
        match self.bans.end_of(key) {
            Some(until_ns) if until_ns > now_ns => self.told(key, until_ns - now_ns).map(Some),
            _ => Ok(None),
        }
    }

    fn told(&self, source: Source, remaining_ns: u64) -> Result<Ban, XdpError> {
        let entry = self.entry(source)?.unwrap_or_default();
        Ok(Ban {
            source: client_of(source),
            remaining: Duration::from_nanos(remaining_ns),
            let_through: LetThrough::decode(&entry),
            seen: entry.seen,
            passed: entry.passed,
        })
    }

    /// Removes bans that are over; yields them with their last counters. They have had no effect since they ended;
    /// this makes room, and lets the program skip the look-up once none is left. Once a second is plenty.
    ///
    /// # Errors
    /// If a map cannot be read or written.
    pub fn sweep(&mut self) -> Result<Vec<Ban>, XdpError> {
        let mut over = Vec::new();
        for source in self.bans.over(monotonic_ns()) {
            over.push(self.told(source, 0)?);
            self.lift(source)?;
        }
        self.refresh_stages()?;
        Ok(over)
    }

    fn lift(&mut self, source: Source) -> Result<bool, XdpError> {
        let Some(ban) = self.entry(source)? else { return Ok(false) };
        self.bans.remember(source, dropped_by(&ban));
        let Some((slot, words)) = self.bans.remove(source, source.hash(self.seed)) else { return Ok(false) };
        words.into_iter().try_for_each(|word| self.maps.write_ban_word(word))?;
        self.maps.set_ban(slot, BanEntry::default())?;
        Ok(true)
    }

    /// Samples of dropped packets that have come in since the last call. The buffer holds a thousand: with
    /// [`Options::events_per_s`] at a few hundred, once a second does. When it is full the program leaves events out.
    pub fn events(&mut self) -> Vec<Event> {
        let now_ns = monotonic_ns();
        let mut found = Vec::new();
        self.maps.drain_events(|item| found.extend(events::decode(item, now_ns)));
        found
    }

    /// The `top` clients by dropped packets, the worst first; those of bans, past ones included, count too. About a
    /// millisecond, and a microsecond for each ban.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn clients(&self, top: usize) -> Result<Vec<ClientCount>, XdpError> {
        if top == 0 {
            return Ok(Vec::new());
        }
        let mut totals = self.maps.clients()?;
        for (source, _) in self.bans.iter() {
            let ban = self.entry(source)?.unwrap_or_default();
            totals.entry(source).or_default().add(dropped_by(&ban));
        }
        for (source, stat) in self.bans.past() {
            totals.entry(source).or_default().add(stat);
        }
        Ok(worst(totals, top))
    }

    /// All counters, with the `top` clients by dropped packets.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn counters(&self, top: usize) -> Result<Counters, XdpError> {
        Ok(Counters {
            reasons: self.maps.reasons()?,
            rules: self.maps.rules(self.tables.lists.rules())?,
            clients: self.clients(top)?,
            bans: self.bans.len(),
        })
    }

    /// Where the program is attached, by interface.
    #[must_use]
    pub fn attachments(&self) -> Vec<Attachment> {
        self.places.iter().map(|(interface, place)| place.attachment(interface)).collect()
    }

    /// Takes the program off every interface and removes all pins, so that nothing is left of it.
    ///
    /// # Errors
    /// If a pin cannot be removed; its interface keeps the program.
    pub fn detach(mut self) -> Result<(), XdpError> {
        while let Some((_, place)) = self.places.pop_first() {
            place.detach()?;
        }
        self.pin_path.take().map_or(Ok(()), |directory| pins::detach_pinned(&directory).map(|_| ()))
    }

    /// Runs the program on a frame, `repeat` times: whether it drops the frame, and the mean time it takes.
    #[doc(hidden)]
    pub fn test_run(&mut self, frame: &[u8], repeat: u32) -> Result<(bool, Duration), XdpError> {
        let fd = self.program.fd()?.try_clone_to_owned();
        fd.map(Runner).map_err(|error| XdpError::Kernel(error.to_string()))?.run(frame, repeat)
    }

    /// Runs a program of the object apart from this value, in other threads too.
    #[doc(hidden)]
    pub fn runner(&mut self, program: &str) -> Result<Runner, XdpError> {
        let Program::Loaded(ebpf, _) = &mut self.program else {
            return Err(XdpError::Kernel("a program that was handed over has no object".to_owned()));
        };
        load::load_if_needed(ebpf, program)?;
        let fd = load::program_fd(ebpf, program)?.try_clone_to_owned();
        fd.map(Runner).map_err(|error| XdpError::Kernel(error.to_string()))
    }

    /// Tells the program of the first ban or that the last is gone.
    fn refresh_stages(&mut self) -> Result<(), XdpError> {
        if self.written_ban_stages == self.ban_stages() { Ok(()) } else { self.write_settings() }
    }

    fn ban_stages(&self) -> u32 {
        let bans = if self.bans.len() > 0 { stage::BANS } else { 0 };
        let wide = if self.bans.has_wide() { stage::WIDE_BANS } else { 0 };
        bans | wide
    }

    /// Rewrites the settings of the active generation: a packet that sees half of it is judged by a mixture of both,
    /// once.
    fn write_settings(&mut self) -> Result<(), XdpError> {
        let config = self.tables.config(self.seed, self.ban_stages());
        self.maps.set_config(self.active, &config)?;
        self.written_ban_stages = self.ban_stages();
        Ok(())
    }

    fn take_over_bans(&mut self, bans: Vec<BanEntry>) -> Result<(), XdpError> {
        let now_ns = monotonic_ns();
        for BanEntry { source, ban } in bans.into_iter().filter(|entry| entry.ban.until_ns > now_ns) {
            if self.bans.displaced_by(source, source.hash(self.seed)).is_none() {
                self.place(source, ban)?;
            }
        }
        Ok(())
    }

    /// Interfaces and pins as `options` say: what is not wanted leaves, what is wanted and missing comes.
    fn reattach(&mut self, options: &Options) -> Result<(), XdpError> {
        let is_wanted = |name: &String| options.mode == self.mode && options.interfaces.contains(name);
        let leaving = self.places.extract_if(.., |name, place| !is_wanted(name) || !place.is_of(name));
        for (_, place) in leaving.collect::<Vec<_>>() {
            place.detach()?;
        }
        self.mode = options.mode;
        self.repin(options)?;
        let how = How { mode: self.mode, pin_path: options.pin_path.as_deref(), force: options.force };
        for name in &options.interfaces {
            if options.mode != Mode::Off && !self.places.contains_key(name) {
                let place = attach::attach(self.program.fd()?, name, how)?;
                self.places.insert(name.clone(), place);
            }
        }
        Ok(())
    }

    /// Moves pins to where `options` want them; leftovers of a run before go.
    fn repin(&mut self, options: &Options) -> Result<(), XdpError> {
        for (name, place) in &mut self.places {
            place.set_pin(name, options.pin_path.as_deref())?;
        }
        if self.pin_path == options.pin_path {
            return Ok(());
        }
        if let Some(old) = self.pin_path.take() {
            pins::detach_pinned(&old)?;
        }
        if let Some(directory) = &options.pin_path {
            self.maps.pin_bans(directory)?;
            pins::detach_others(directory, &options.interfaces)?;
            self.pin_path = Some(directory.clone());
        }
        Ok(())
    }
}

/// The program, and where this process has it from.
enum Program {
    /// Of an object, by the name of the one that the kernel took.
    Loaded(Box<Ebpf>, &'static str),
    /// Of the process that this one has replaced.
    Handed(OwnedFd),
}

impl Program {
    fn fd(&mut self) -> Result<BorrowedFd<'_>, XdpError> {
        match self {
            Self::Loaded(ebpf, name) => load::program_fd(ebpf, name),
            Self::Handed(fd) => Ok((*fd).as_fd()),
        }
    }
}

/// Runs a program without a packet from outside.
#[doc(hidden)]
pub struct Runner(OwnedFd);

impl Runner {
    /// As [`Xdp::test_run`].
    #[doc(hidden)]
    pub fn run(&self, frame: &[u8], repeat: u32) -> Result<(bool, Duration), XdpError> {
        const XDP_DROP: u32 = 1;
        let (result, time) = sys::test_run(self.0.as_fd(), frame, repeat)
            .map_err(|error| XdpError::Kernel(error.to_string()))?;
        Ok((result == XDP_DROP, time))
    }
}

/// The clock that the program reads, too: at the kernel's last tick.
fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec; this clock always exists, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
