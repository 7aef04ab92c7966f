//! The loaded program: attach, reconcile, ban, count.

use aya::{
    Ebpf,
    programs::{TestRun as _, TestRunOptions, XdpMode, xdp::XdpLinkId},
};
use ipnet::IpNet;
use sluice_common::{Settings, Source, stage};
use std::{
    collections::BTreeMap,
    ffi::CString,
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use crate::{
    Ban, ClientCount, Counters, Event, LetThrough, Mode, Options, XdpError,
    bans::{BanTable, key_of},
    counters::client_of,
    events,
    load::{self, EMBEDDED_OBJECT},
    maps::Maps,
    plan::{Tables, plan},
};

/// A loaded program. Dropping it detaches the program everywhere.
///
/// It is used by one thread, the control thread; the data path is the kernel's.
pub struct Xdp {
    ebpf: Ebpf,
    /// Which of the object's programs the kernel took.
    program: &'static str,
    maps: Maps,
    /// What the maps hold: nobody else has them, so this copy is the truth.
    tables: Tables,
    bans: BanTable,
    /// Bits of [`stage`] that the program goes by.
    written_stages: u32,
    seed: u64,
    mode: Mode,
    links: BTreeMap<String, Link>,
}

struct Link {
    id: XdpLinkId,
    /// Of the interface: one that was removed and made anew under the same name has another, and no program.
    index: u32,
    mode: Mode,
    fallback: Option<String>,
}

/// An interface with the program on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its name.
    pub interface: String,
    /// [`Mode::Native`] or [`Mode::Generic`].
    pub mode: Mode,
    /// Why native mode was not to be had, where it was tried.
    pub fallback: Option<String>,
}

impl Xdp {
    /// Bans that are held at once.
    pub const BANS_MAX: usize = sluice_common::BANS_MAX;

    /// Loads the embedded program, fills its maps and attaches it.
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
        let (mut ebpf, program) = load::load(object)?;
        let maps = Maps::take(&mut ebpf)?;
        let mut xdp = Self {
            ebpf,
            program,
            maps,
            tables: Tables::default(),
            bans: BanTable::default(),
            written_stages: 0,
            seed: RandomState::new().hash_one(std::process::id()),
            mode: options.mode,
            links: BTreeMap::new(),
        };
        xdp.reconcile(options)?;
        Ok(xdp)
    }

    /// Turns what is into what `options` say: lists, rates and ports by the fewest map edits, then interfaces.
    /// Bans and counters stay.
    ///
    /// # Errors
    /// On [`XdpError::Options`] nothing has changed. After any other error the maps are somewhere in between, no
    /// source is dropped that neither state drops, and another call goes on from there.
    pub fn reconcile(&mut self, options: &Options) -> Result<(), XdpError> {
        let desired = options.resolve()?;
        for edit in plan(&self.tables, &desired) {
            self.maps.apply(edit)?;
            self.tables.note(edit);
        }
        (self.tables.packets, self.tables.syns) = (desired.packets, desired.syns);
        (self.tables.is_dry, self.tables.event_interval_ns) = (desired.is_dry, desired.event_interval_ns);
        self.write_settings()?;
        self.reattach(options)
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
        if let Some(displaced) = self.bans.displaced_by(key) {
            self.lift(displaced)?;
        }
        let (policy, one_in, interval_ns) = let_through.encode();
        let ttl_ns = u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX);
        let until_ns = monotonic_ns().saturating_add(ttl_ns);
        let earlier = if self.bans.contains(key) { self.maps.get_ban(key)? } else { None };
        let ban = sluice_common::Ban { until_ns, policy, one_in, interval_ns, ..earlier.unwrap_or_default() };
        self.maps.ban(key, ban)?;
        if let Some((word, bits)) = self.bans.insert(key, key.hash(self.seed), until_ns) {
            self.maps.set_filter(word, bits)?;
        }
        self.refresh_stages()
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
        let entry = self.maps.get_ban(source)?.unwrap_or_default();
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
        let was_banned = self.maps.unban(source)?;
        if let Some((word, bits)) = self.bans.remove(source, source.hash(self.seed)) {
            self.maps.set_filter(word, bits)?;
        }
        Ok(was_banned)
    }

    /// Samples of dropped packets that have come in since the last call. The buffer holds a thousand: with
    /// [`Options::events_per_s`] at a few hundred, once a second does. When it is full the program leaves events out.
    pub fn events(&mut self) -> Vec<Event> {
        let now_ns = monotonic_ns();
        let mut found = Vec::new();
        self.maps.drain_events(|item| found.extend(events::decode(item, now_ns)));
        found
    }

    /// The `top` clients by dropped packets, the worst first: about a millisecond.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn clients(&self, top: usize) -> Result<Vec<ClientCount>, XdpError> {
        self.maps.clients(top)
    }

    /// All counters, with the `top` clients by dropped packets.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn counters(&self, top: usize) -> Result<Counters, XdpError> {
        Ok(Counters {
            reasons: self.maps.reasons()?,
            rules: self.maps.rules(self.tables.rules())?,
            clients: self.maps.clients(top)?,
            bans: self.bans.len(),
        })
    }

    /// Where the program is attached, by interface.
    #[must_use]
    pub fn attachments(&self) -> Vec<Attachment> {
        let attachment = |(interface, link): (&String, &Link)| Attachment {
            interface: interface.clone(),
            mode: link.mode,
            fallback: link.fallback.clone(),
        };
        self.links.iter().map(attachment).collect()
    }

    /// Runs the program on a frame, `repeat` times: whether it drops the frame, and the mean time it takes.
    #[doc(hidden)]
    pub fn test_run(&mut self, frame: &[u8], repeat: u32) -> Result<(bool, Duration), XdpError> {
        const XDP_DROP: u32 = 1;
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        let program = load::program(&mut self.ebpf, self.program)?;
        let result = program.test_run(options).map_err(|error| XdpError::Kernel(error.to_string()))?;
        Ok((result.return_value == XDP_DROP, result.duration))
    }

    fn refresh_stages(&mut self) -> Result<(), XdpError> {
        if self.written_stages == self.stages() { Ok(()) } else { self.write_settings() }
    }

    fn stages(&self) -> u32 {
        let bans = if self.bans.len() > 0 { stage::BANS } else { 0 };
        let wide = if self.bans.has_wide() { stage::WIDE_BANS } else { 0 };
        self.tables.stages() | bans | wide
    }

    fn write_settings(&mut self) -> Result<(), XdpError> {
        let stages = self.stages();
        self.maps.set_settings(Settings {
            seed: self.seed,
            packets: self.tables.packets.unwrap_or_default(),
            syns: self.tables.syns.unwrap_or_default(),
            event_interval_ns: self.tables.event_interval_ns,
            stages,
            reserved: 0,
        })?;
        self.written_stages = stages;
        Ok(())
    }

    fn reattach(&mut self, options: &Options) -> Result<(), XdpError> {
        let is_wanted = |name: &String| options.mode == self.mode && options.interfaces.contains(name);
        let is_same =
            |name: &String, link: &Link| interface_index(name).is_ok_and(|index| index == link.index);
        let leaving: Vec<String> = self
            .links
            .iter()
            .filter(|&(name, link)| !is_wanted(name) || !is_same(name, link))
            .map(|(name, _)| name.clone())
            .collect();
        for name in leaving {
            if let Some(link) = self.links.remove(&name) {
                // An error means that the interface is gone, and the program with it.
                let _ = load::program(&mut self.ebpf, self.program)?.detach(link.id);
            }
        }
        self.mode = options.mode;
        for name in &options.interfaces {
            if options.mode != Mode::Off && !self.links.contains_key(name) {
                let link = self.attach(name)?;
                self.links.insert(name.clone(), link);
            }
        }
        Ok(())
    }

    fn attach(&mut self, interface: &str) -> Result<Link, XdpError> {
        let index = interface_index(interface)?;
        let program = load::program(&mut self.ebpf, self.program)?;
        let modes: &[Mode] = match self.mode {
            Mode::Auto => &[Mode::Native, Mode::Generic],
            Mode::Native => &[Mode::Native],
            Mode::Generic => &[Mode::Generic],
            Mode::Off => &[],
        };
        let mut tried: Vec<(Mode, String)> = Vec::new();
        for &mode in modes {
            let kernel_mode = if mode == Mode::Native { XdpMode::Driver } else { XdpMode::Skb };
            match program.attach_to_if_index(index, kernel_mode) {
                Ok(id) => {
                    return Ok(Link { id, index, mode, fallback: tried.pop().map(|(_, message)| message) });
                }
                Err(error) => tried.push((mode, innermost(&error))),
            }
        }
        Err(XdpError::Attach { interface: interface.to_owned(), tried })
    }
}

/// The message at the root of an error: those above it name calls.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}

fn interface_index(name: &str) -> Result<u32, XdpError> {
    let unknown = || XdpError::Interface(name.to_owned());
    let c_name = CString::new(name).map_err(|_| unknown())?;
    // SAFETY: a valid C string that outlives the call.
    match unsafe { libc::if_nametoindex(c_name.as_ptr()) } {
        0 => Err(unknown()),
        index => Ok(index),
    }
}

/// The clock that the program reads, too: at the kernel's last tick.
fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec; this clock always exists, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
