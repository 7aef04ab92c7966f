//! The loaded program: attach, reconcile, ban, count.

use aya::{
    Ebpf,
    programs::{TestRun as _, TestRunOptions, XdpMode, xdp::XdpLinkId},
};
use sluice_common::{Settings, stage};
use std::{
    collections::BTreeMap,
    ffi::CString,
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    time::Duration,
};

use crate::{
    Ban, Counters, Mode, Options, XdpError,
    counters::{address_of, source_of},
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
    has_bans: bool,
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
            has_bans: false,
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
        self.write_settings()?;
        self.reattach(options)
    }

    /// Drops a source for `ttl` from now, in place of an earlier ban. A source on the allow-list is not affected.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn ban(&mut self, address: IpAddr, ttl: Duration) -> Result<(), XdpError> {
        let ttl_ns = u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX);
        self.maps.ban(source_of(address), monotonic_ns().saturating_add(ttl_ns))?;
        if !self.has_bans {
            self.has_bans = true;
            self.write_settings()?;
        }
        Ok(())
    }

    /// Lifts a ban; says whether there was one.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn unban(&mut self, address: IpAddr) -> Result<bool, XdpError> {
        self.maps.unban(source_of(address))
    }

    /// Bans that hold, by address.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn bans(&self) -> Result<Vec<Ban>, XdpError> {
        let now_ns = monotonic_ns();
        let held = self.maps.bans()?.into_iter().filter(|&(_, until_ns)| until_ns > now_ns);
        let mut bans: Vec<Ban> = held
            .map(|(source, until_ns)| Ban {
                address: address_of(source),
                remaining: Duration::from_nanos(until_ns - now_ns),
            })
            .collect();
        bans.sort_by_key(|ban| ban.address);
        Ok(bans)
    }

    /// Removes bans that are over; yields how many. The program removes those it meets; this gets the rest, and lets
    /// the program skip the look-up once none is left. Once a minute is plenty.
    ///
    /// # Errors
    /// If a map cannot be read or written.
    pub fn sweep(&mut self) -> Result<usize, XdpError> {
        let now_ns = monotonic_ns();
        let (over, held): (Vec<_>, Vec<_>) =
            self.maps.bans()?.into_iter().partition(|&(_, until_ns)| until_ns <= now_ns);
        let mut removed = 0;
        for (source, _) in over {
            removed += usize::from(self.maps.unban(source)?);
        }
        if self.has_bans && held.is_empty() {
            self.has_bans = false;
            self.write_settings()?;
        }
        Ok(removed)
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
            bans: self.maps.bans()?.len(),
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

    fn write_settings(&mut self) -> Result<(), XdpError> {
        self.maps.set_settings(Settings {
            seed: self.seed,
            packets: self.tables.packets.unwrap_or_default(),
            syns: self.tables.syns.unwrap_or_default(),
            stages: self.tables.stages() | if self.has_bans { stage::BANS } else { 0 },
            reserved: 0,
        })
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

/// The clock that the program reads, too.
fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec; this clock always exists, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
