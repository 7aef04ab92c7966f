//! The program's places on interfaces.
//!
//! ```text
//!                     ┌ free ───────────────────────────► link it (native, then generic)
//!  interface ─► has ──┼ a link that a run before pinned ► put this program into that link: never without one
//!                     └ a foreign program ──────────────► leave it alone; with `force`, take it off and link
//! ```
//!
//! A link lives as long as its descriptor, so the end of the process, however it comes, detaches the program. A pinned
//! one lives as long as its file in the BPF file system.

use aya::programs::loaded_links;
use std::{
    ffi::CString,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use crate::{
    Mode, XdpError,
    netlink::{self, Attached},
    pins, sys,
};

/// From `linux/if_link.h`.
const FLAG_GENERIC: u32 = 1 << 1;
const FLAG_NATIVE: u32 = 1 << 2;

/// An interface with the program on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its name.
    pub interface: String,
    /// [`Mode::Native`] or [`Mode::Generic`].
    pub mode: Mode,
    /// Why native mode was not to be had, where it was tried.
    pub fallback: Option<String>,
    /// Whether it outlives this process.
    pub is_pinned: bool,
    /// The foreign program that gave way, by force.
    pub replaced: Option<String>,
}

/// The program's place on an interface. Dropping it takes the program off, unless the link is pinned.
pub(crate) struct Place {
    link: OwnedFd,
    pin: Option<PathBuf>,
    /// Of the interface: one that was removed and made anew under the same name has another, and no program.
    index: u32,
    mode: Mode,
    fallback: Option<String>,
    replaced: Option<String>,
}

/// How to attach.
#[derive(Clone, Copy)]
pub(crate) struct How<'a> {
    pub(crate) mode: Mode,
    pub(crate) pin_path: Option<&'a Path>,
    pub(crate) force: bool,
}

impl Place {
    /// A place that another process has given; none if the program is there no more.
    pub(crate) fn handed(interface: &str, link: OwnedFd, pin_path: Option<&Path>) -> Option<Self> {
        let index = interface_index(interface).ok()?;
        sys::link_info(link.as_fd()).ok().filter(|info| info.interface == index)?;
        let Attached { mode, .. } = netlink::attached(index).ok().flatten()?;
        let pin = pin_path.map(|directory| pins::link_path(directory, interface));
        Some(Self { link, pin, index, mode, fallback: None, replaced: None })
    }

    /// For another process.
    pub(crate) fn link(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }

    pub(crate) fn attachment(&self, interface: &str) -> Attachment {
        Attachment {
            interface: interface.to_owned(),
            mode: self.mode,
            fallback: self.fallback.clone(),
            is_pinned: self.pin.is_some(),
            replaced: self.replaced.clone(),
        }
    }

    /// Whether the interface of this name is still the one that the program is on.
    pub(crate) fn is_of(&self, interface: &str) -> bool {
        interface_index(interface).is_ok_and(|index| index == self.index)
    }

    /// Takes the program off.
    pub(crate) fn detach(self) -> Result<(), XdpError> {
        self.pin.as_deref().map_or(Ok(()), pins::remove)
    }

    /// Pins or unpins it as is wanted; the program stays on meanwhile.
    pub(crate) fn set_pin(&mut self, interface: &str, pin_path: Option<&Path>) -> Result<(), XdpError> {
        let wanted = pin_path.map(|directory| pins::link_path(directory, interface));
        if self.pin == wanted {
            return Ok(());
        }
        if let Some(path) = &wanted {
            pins::replace(self.link.as_fd(), path)?;
        }
        match std::mem::replace(&mut self.pin, wanted) {
            Some(path) => pins::remove(&path),
            None => Ok(()),
        }
    }
}

/// Attaches the program to an interface.
pub(crate) fn attach(program: BorrowedFd<'_>, interface: &str, how: How<'_>) -> Result<Place, XdpError> {
    let index = interface_index(interface)?;
    if let Some(directory) = how.pin_path
        && let Some(place) = adopt(program, index, how.mode, pins::link_path(directory, interface))?
    {
        return Ok(place);
    }
    let mut place = match attach_anew(program, interface, index, how.mode) {
        Err(XdpError::Foreign { program: foreign, .. }) if how.force => {
            remove_foreign(interface, index)?;
            Place { replaced: Some(foreign), ..attach_anew(program, interface, index, how.mode)? }
        }
        result => result?,
    };
    place.set_pin(interface, how.pin_path)?;
    Ok(place)
}

/// Puts the program into the link that a run before has pinned, if that is alive and in a mode that is wanted.
fn adopt(program: BorrowedFd<'_>, index: u32, mode: Mode, path: PathBuf) -> Result<Option<Place>, XdpError> {
    let Ok(link) = sys::get_pinned(&path) else {
        return Ok(None);
    };
    let is_here = sys::link_info(link.as_fd()).is_ok_and(|info| info.interface == index);
    let found = if is_here { netlink::attached(index).ok().flatten() } else { None };
    if let Some(Attached { mode: found, .. }) = found.filter(|found| mode == Mode::Auto || mode == found.mode)
        && sys::update_link(link.as_fd(), program).is_ok()
    {
        return Ok(Some(Place { link, pin: Some(path), index, mode: found, fallback: None, replaced: None }));
    }
    // Of another interface, or of one that is gone, or to be attached otherwise.
    pins::remove(&path)?;
    Ok(None)
}

fn attach_anew(program: BorrowedFd<'_>, interface: &str, index: u32, mode: Mode) -> Result<Place, XdpError> {
    let modes: &[Mode] = match mode {
        Mode::Auto => &[Mode::Native, Mode::Generic],
        Mode::Native => &[Mode::Native],
        Mode::Generic => &[Mode::Generic],
        Mode::Off => &[],
    };
    let mut tried: Vec<(Mode, String)> = Vec::new();
    for &mode in modes {
        let flags = if mode == Mode::Native { FLAG_NATIVE } else { FLAG_GENERIC };
        match sys::create_link(program, index, flags) {
            Ok(link) => {
                let fallback = tried.pop().map(|(_, message)| message);
                return Ok(Place { link, pin: None, index, mode, fallback, replaced: None });
            }
            Err(error) => {
                if is_taken(&error)
                    && let Some(found) = netlink::attached(index).ok().flatten()
                {
                    let program = describe(found.program_id);
                    return Err(XdpError::Foreign { interface: interface.to_owned(), program });
                }
                tried.push((mode, error.to_string()));
            }
        }
    }
    Err(XdpError::Attach { interface: interface.to_owned(), tried })
}

/// What the kernel says when there is a program already, in the same mode or in the other.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST))
}

/// Takes a foreign program off: as it was attached, or by ending the link that holds it.
fn remove_foreign(interface: &str, index: u32) -> Result<(), XdpError> {
    let failed = |error: io::Error| XdpError::Attach {
        interface: interface.to_owned(),
        tried: vec![(Mode::Off, format!("removing the other program: {error}"))],
    };
    let Some(found) = netlink::attached(index).map_err(failed)? else { return Ok(()) };
    let Err(error) = netlink::detach(index, found.mode) else { return Ok(()) };
    let holds_it = |link: &aya::programs::links::LinkInfo| link.program_id() == found.program_id;
    let Some(link) = loaded_links().flatten().find(holds_it) else { return Err(failed(error)) };
    sys::detach_link(link.id()).map_err(failed)
}

/// Names a program for people. Its name can be read only with CAP_SYS_ADMIN.
fn describe(program_id: u32) -> String {
    let named = aya::programs::loaded_programs().flatten().find(|program| program.id() == program_id);
    match named.as_ref().and_then(|program| program.name_as_str()) {
        Some(name) if !name.is_empty() => format!("`{name}` (id {program_id})"),
        _ => format!("id {program_id}"),
    }
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
