//! What outlives the process, if that is wanted: one folder of the BPF file system with a link for each interface, and
//! the bans.
//!
//! A run that finds such a folder loads its own program and maps, takes over the bans that still hold, and then puts its
//! program into the links: at no moment is an interface without one, and nothing of an older version is left.

use aya::maps::{Array, IterableMap as _, Map, MapData};
use sluice_common::BanEntry;
use std::{
    ffi::OsString,
    fs, io,
    os::fd::{AsFd as _, BorrowedFd},
    path::{Path, PathBuf},
};

use crate::{XdpError, sys};

const LINK_PREFIX: &str = "link_";
/// Its name has the version of the layout.
const BANS: &str = "bans_2";

pub(crate) fn link_path(directory: &Path, interface: &str) -> PathBuf {
    // The file system takes no names with a dot, and VLAN interfaces have one.
    directory.join(format!("{LINK_PREFIX}{}", interface.replace('%', "%25").replace('.', "%2e")))
}

fn interface_of(file_name: &str) -> Option<String> {
    Some(file_name.strip_prefix(LINK_PREFIX)?.replace("%2e", ".").replace("%25", "%"))
}

/// Pins an object in place of what is pinned there.
pub(crate) fn replace(object: BorrowedFd<'_>, path: &Path) -> Result<(), XdpError> {
    // Beside it first: a file that is removed before its successor is there would let go of a link.
    let mut name = OsString::from("new_");
    name.push(path.file_name().unwrap_or_default());
    let beside = path.with_file_name(name);
    let pinned = remove_file(&beside)
        .and_then(|()| path.parent().map_or(Ok(()), fs::create_dir_all))
        .and_then(|()| sys::pin(object, &beside))
        .and_then(|()| fs::rename(&beside, path));
    pinned.map_err(|error| XdpError::Pin { path: path.to_owned(), error })
}

pub(crate) fn remove(path: &Path) -> Result<(), XdpError> {
    remove_file(path).map_err(|error| XdpError::Pin { path: path.to_owned(), error })
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Pins the bans, in place of those of a run before.
pub(crate) fn pin_bans(bans: BorrowedFd<'_>, directory: &Path) -> Result<(), XdpError> {
    replace(bans, &directory.join(BANS))
}

/// The bans of a run before. None of a version with another layout.
pub(crate) fn pinned_bans(directory: &Path) -> Vec<BanEntry> {
    let map = MapData::from_pin(directory.join(BANS)).and_then(Map::from_map_data);
    let Ok(slots) = map.and_then(Array::<MapData, BanEntry>::try_from) else { return Vec::new() };
    let all: io::Result<Vec<BanEntry>> = sys::read_all(slots.map().fd().as_fd(), slots.len());
    all.unwrap_or_default().into_iter().filter(|entry| entry.ban.until_ns != 0).collect()
}

/// Detaches the program from interfaces that are not among `wanted`.
pub(crate) fn detach_others(directory: &Path, wanted: &[String]) -> Result<Vec<String>, XdpError> {
    let mut detached = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(interface) = name.to_str().and_then(interface_of) else { continue };
        if !wanted.contains(&interface) {
            remove(&entry.path())?;
            detached.push(interface);
        }
    }
    detached.sort();
    Ok(detached)
}

/// Detaches the program from every interface for which a link is pinned in this folder, whether or not a gateway runs,
/// and forgets the bans pinned there. Yields the interfaces; none if there is no such folder.
///
/// # Errors
/// If a pin cannot be removed; others may have been.
pub fn detach_pinned(directory: &Path) -> Result<Vec<String>, XdpError> {
    let detached = detach_others(directory, &[])?;
    remove(&directory.join(BANS))?;
    // Empty now, unless someone else keeps something there.
    let _ = fs::remove_dir(directory);
    Ok(detached)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_have_names_that_the_file_system_takes() {
        for interface in ["eth0", "eth0.100", "100%.x", "%2e"] {
            let path = link_path(Path::new("/sys/fs/bpf/sluice"), interface);
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(!name.contains('.'), "{name}");
            assert_eq!(interface_of(name).as_deref(), Some(interface));
        }
        assert_eq!(interface_of("bans_2"), None);
        assert_eq!(interface_of("new_link_eth0"), None);
    }

    #[test]
    fn nothing_is_pinned_in_a_folder_that_does_not_exist() {
        let nowhere = Path::new("/nonexistent/sluice");
        assert_eq!(detach_pinned(nowhere).unwrap(), [""; 0]);
        assert_eq!(pinned_bans(nowhere), []);
    }
}
