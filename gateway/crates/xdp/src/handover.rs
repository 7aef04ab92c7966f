//! The filter on its way to the process that replaces this one: the program, its maps, and its links, as descriptors.
//!
//! ```text
//! xdp/FINGERPRINT/program           the program, to attach it elsewhere
//!                 map/NAME          each map
//!                 link/INTERFACE    each place: the program stays there while anybody has the link
//!                 pins/FOLDER       where the links are pinned (only the name says something)
//! ```
//! So no packet goes unjudged, counters and bans go on, and the new process needs no capability. The fingerprint is the
//! object's: a version with another program takes nothing over, and attaches its own.

use aya::maps::{Map, MapData};
use std::{
    collections::HashMap,
    os::fd::{BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use crate::{XdpError, load::EMBEDDED_OBJECT, maps::MapSource, pins};

/// What all of the names begin with.
const SCHEME: &str = "xdp/";

/// FNV-1a: told apart are versions, not forgeries.
fn fingerprint() -> String {
    let hash = EMBEDDED_OBJECT.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// A name in which nothing ends the list that it is to be in.
fn encode(name: &str) -> String {
    name.replace('%', "%25").replace(';', "%3b")
}

fn decode(name: &str) -> String {
    name.replace("%3b", ";").replace("%25", "%")
}

/// What is given.
pub(crate) struct Parts {
    prefix: String,
    parts: Vec<(String, OwnedFd)>,
}

impl Parts {
    pub(crate) fn new() -> Self {
        Self { prefix: format!("{SCHEME}{}/", fingerprint()), parts: Vec::new() }
    }

    pub(crate) fn add(&mut self, name: &str, fd: BorrowedFd<'_>) -> Result<(), XdpError> {
        let fd = fd.try_clone_to_owned().map_err(|error| XdpError::Kernel(error.to_string()))?;
        self.parts.push((format!("{}{}", self.prefix, encode(name)), fd));
        Ok(())
    }

    pub(crate) fn finish(self) -> Vec<(String, OwnedFd)> {
        self.parts
    }
}

/// What a process that is replaced has given: see [`Xdp::take_over`](crate::Xdp::take_over). Dropping it lets go of the
/// links, which ends those that are not pinned.
#[derive(Debug, Default)]
pub struct Handed {
    is_ours: bool,
    pub(crate) program: Option<OwnedFd>,
    maps: HashMap<String, OwnedFd>,
    pub(crate) links: Vec<(String, OwnedFd)>,
    pub(crate) pin_path: Option<PathBuf>,
}

impl Handed {
    /// Whether a descriptor of this name is one of the filter's.
    #[must_use]
    pub fn is_part(name: &str) -> bool {
        name.starts_with(SCHEME)
    }

    /// Of descriptors by their names.
    #[must_use]
    pub fn new(parts: Vec<(String, OwnedFd)>) -> Self {
        let mut handed = Self { is_ours: !parts.is_empty(), ..Self::default() };
        for (name, fd) in parts {
            let name = decode(name.strip_prefix(SCHEME).unwrap_or_default());
            let (print, name) = name.split_once('/').unwrap_or_default();
            handed.is_ours &= print == fingerprint();
            match name.split_once('/') {
                Some(("map", name)) => drop(handed.maps.insert(name.to_owned(), fd)),
                Some(("link", interface)) => handed.links.push((interface.to_owned(), fd)),
                Some(("pins", folder)) => handed.pin_path = Some(PathBuf::from(folder)),
                None if name == "program" => handed.program = Some(fd),
                _ => handed.is_ours = false,
            }
        }
        handed
    }

    /// Whether it is of this version's program, so that it can be taken over.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.is_ours && self.program.is_some()
    }

    /// Lets go of it. What it has pinned goes, too, unless a filter of another version will find it in `pin_path`.
    ///
    /// # Errors
    /// If a pin cannot be removed.
    pub fn let_go(self, pin_path: Option<&Path>) -> Result<(), XdpError> {
        match self.pin_path.as_deref() {
            Some(folder) if pin_path != Some(folder) => pins::detach_pinned(folder).map(drop),
            _ => Ok(()),
        }
    }
}

impl MapSource for Handed {
    fn take(&mut self, name: &str) -> Option<Map> {
        MapData::from_fd(self.maps.remove(name)?).and_then(Map::from_map_data).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    fn given(names: &[&str]) -> Vec<(String, OwnedFd)> {
        let file = std::fs::File::open("/dev/null").unwrap();
        let mut parts = Parts::new();
        names.iter().for_each(|name| parts.add(name, file.as_fd()).unwrap());
        parts.finish()
    }

    #[test]
    fn only_the_same_program_is_taken_over() {
        let names = ["program", "map/ACTIVE", "link/eth0", "link/a;b%3b", "pins/sys/fs/bpf/x"];
        let parts = given(&names);
        assert!(parts.iter().all(|(name, _)| Handed::is_part(name) && !name.contains(';')));
        let handed = Handed::new(parts);
        assert!(handed.is_ours());
        assert_eq!(
            handed.links.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["eth0", "a;b%3b"]
        );
        assert_eq!(handed.pin_path.as_deref(), Some(Path::new("sys/fs/bpf/x")));

        let mut others = given(&["program", "link/eth0"]);
        others[1].0 = others[1].0.replace(&fingerprint(), "0123456789abcdef");
        assert!(!Handed::new(others).is_ours(), "another version's");
        assert!(!Handed::new(given(&["map/ACTIVE"])).is_ours(), "no program");
        assert!(!Handed::new(given(&["program", "gadget/x"])).is_ours(), "from a later version");
        assert!(!Handed::new(Vec::new()).is_ours());
        assert!(!Handed::is_part("data/127.0.0.1:80"));
    }
}
