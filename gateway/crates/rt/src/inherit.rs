//! Sockets that the process was started with: from a service manager (`sd_listen_fds(3)`: `LISTEN_PID`, `LISTEN_FDS`,
//! `LISTEN_FDNAMES`), or from the process that this one replaces (`SLUICE_HANDOVER=PARENT_PID;FD=NAME;…`).
//!
//! Both say for which process they are meant, so that a variable that leaked into another's environment does nothing.

use std::{
    env, io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
    os::unix::process::parent_id,
    process,
    sync::atomic::{AtomicBool, Ordering},
};

/// The variable that a process hands its sockets over in; see [`handover_value`].
pub const HANDOVER_VARIABLE: &str = "SLUICE_HANDOVER";

/// First descriptor of the service manager's, `SD_LISTEN_FDS_START`.
const FIRST_ACTIVATED: RawFd = 3;
/// More sockets than anybody listens on.
const SOCKETS_MAX: i32 = 65_536;

/// A socket that was handed to this process; from the process that this one replaces it may be another descriptor.
#[derive(Debug)]
pub struct Inherited {
    /// What the giver calls it; `unknown` from a service manager that names nothing.
    pub name: String,
    /// Whether the process that this one replaces has given it, rather than a service manager.
    pub handed_over: bool,
    /// The socket. It is not passed on to children.
    pub socket: OwnedFd,
}

/// Takes the sockets that this process was started with, the first time; nothing later.
///
/// # Errors
/// A variable is malformed, or a descriptor that it names is not an open socket.
pub fn inherited() -> io::Result<Vec<Inherited>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(Vec::new());
    }
    let get = |name: &str| env::var(name).ok();
    let mut given = activated(get("LISTEN_PID"), get("LISTEN_FDS"), get("LISTEN_FDNAMES"), process::id())?;
    given.extend(handed_over(get(HANDOVER_VARIABLE), parent_id())?);
    given.into_iter().map(take).collect()
}

/// The value of [`HANDOVER_VARIABLE`] for a child of this process.
pub fn handover_value<'a>(sockets: impl IntoIterator<Item = (RawFd, &'a str)>) -> String {
    let mut value = process::id().to_string();
    for (fd, name) in sockets {
        value.push_str(&format!(";{fd}={name}"));
    }
    value
}

struct Given {
    fd: RawFd,
    name: String,
    handed_over: bool,
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

fn activated(
    pid: Option<String>,
    count: Option<String>,
    names: Option<String>,
    own_pid: u32,
) -> io::Result<Vec<Given>> {
    let (Some(pid), Some(count)) = (pid, count) else { return Ok(Vec::new()) };
    if pid.parse() != Ok(own_pid) {
        return Ok(Vec::new());
    }
    let count = (count.parse::<i32>().ok().filter(|count| (0..=SOCKETS_MAX).contains(count)))
        .ok_or_else(|| invalid(format!("LISTEN_FDS: expected a number of sockets, found {count:?}")))?;
    let names = names.unwrap_or_default();
    let mut names = names.split(':').filter(|name| !name.is_empty());
    Ok((FIRST_ACTIVATED..FIRST_ACTIVATED + count)
        .map(|fd| Given { fd, name: names.next().unwrap_or("unknown").to_owned(), handed_over: false })
        .collect())
}

fn handed_over(value: Option<String>, parent: u32) -> io::Result<Vec<Given>> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let mut parts = value.split(';');
    if parts.next().and_then(|pid| pid.parse().ok()) != Some(parent) {
        return Ok(Vec::new());
    }
    let mut given: Vec<Given> = Vec::new();
    for part in parts {
        let parsed = part.split_once('=').and_then(|(fd, name)| Some((fd.parse().ok()?, name)));
        match parsed {
            Some((fd, name)) if fd >= FIRST_ACTIVATED && given.iter().all(|other| other.fd != fd) => {
                given.push(Given { fd, name: name.to_owned(), handed_over: true });
            }
            _ => {
                return Err(invalid(format!(
                    "{HANDOVER_VARIABLE}: expected DESCRIPTOR=NAME, each once, found {part:?}"
                )));
            }
        }
    }
    Ok(given)
}

/// Makes a descriptor ours, once it has proved to be open, and a service manager's to be a socket.
fn take(given: Given) -> io::Result<Inherited> {
    let Given { fd, name, handed_over } = given;
    let failed = |error: io::Error| {
        io::Error::new(error.kind(), format!("descriptor {fd} ({name}) is no socket to serve on: {error}"))
    };
    let (mut kind, mut len) = (0i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: writes at most `len` bytes to a local.
    let asked =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &mut len) };
    if asked < 0 {
        let error = io::Error::last_os_error();
        if !(handed_over && error.raw_os_error() == Some(libc::ENOTSOCK)) {
            return Err(failed(error));
        }
    }
    // SAFETY: changes a flag of a descriptor, touches no memory.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(failed(io::Error::last_os_error()));
    }
    // SAFETY: open, as was just seen; ours, as whoever started this process says to this very process; and taken once,
    // since `inherited` runs once and no descriptor is named twice. Nothing here opened it: the environment precedes us.
    Ok(Inherited { name, handed_over, socket: unsafe { OwnedFd::from_raw_fd(fd) } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    fn pairs(given: Vec<Given>) -> Vec<(RawFd, String)> {
        given.into_iter().map(|given| (given.fd, given.name)).collect()
    }

    #[test]
    fn a_service_manager_counts_and_may_name() {
        let named = activated(some("7"), some("2"), some("data:admin"), 7).unwrap();
        assert_eq!(pairs(named), [(3, "data".to_owned()), (4, "admin".to_owned())]);
        assert_eq!(pairs(activated(some("7"), some("1"), None, 7).unwrap()), [(3, "unknown".to_owned())]);
        assert!(activated(some("8"), some("2"), None, 7).unwrap().is_empty(), "meant for another process");
        assert!(activated(None, some("2"), None, 7).unwrap().is_empty());
        for bad in ["", "-1", "x", "99999999"] {
            assert!(activated(some("7"), some(bad), None, 7).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_handover_names_each_descriptor_once() {
        let value = handover_value([(9, "data/[::1]:80"), (4, "parent")]);
        let given = handed_over(Some(value.clone()), process::id()).unwrap();
        assert_eq!(pairs(given), [(9, "data/[::1]:80".to_owned()), (4, "parent".to_owned())]);
        assert!(handed_over(Some(value), process::id() + 1).unwrap().is_empty(), "meant for another's child");
        for bad in ["1;", "1;2=x", "1;5", "1;5=a;5=b", "1;x=a"] {
            assert!(handed_over(some(bad), 1).is_err(), "{bad:?}");
        }
        assert!(handed_over(None, 1).unwrap().is_empty());
    }

    #[test]
    fn only_a_predecessor_gives_what_is_no_socket() {
        use std::os::fd::IntoRawFd as _;
        let given = |handed_over| {
            let fd = std::fs::File::open("/dev/null").unwrap().into_raw_fd();
            take(Given { fd, name: "null".to_owned(), handed_over })
        };
        assert!(given(true).is_ok());
        assert!(given(false).unwrap_err().to_string().contains("no socket to serve on"));
    }

    #[test]
    fn a_closed_descriptor_is_refused() {
        let error = take(Given { fd: 1_000_000, name: "none".to_owned(), handed_over: true }).unwrap_err();
        assert!(error.to_string().contains("1000000 (none)"), "{error}");
    }
}
