//! What can go wrong, and whether the gateway should go on without XDP.

use std::{error::Error, fmt, io, path::PathBuf};

use crate::Mode;

/// What can go wrong with the XDP program.
#[derive(Debug)]
pub enum XdpError {
    /// The options say `off`.
    Off,
    /// The options contradict themselves or exceed what the maps hold. Nothing was changed.
    Options(String),
    /// The process lacks privileges.
    Privileges {
        /// Capabilities it lacks; empty if it seems to have all and was refused nevertheless, as in a container.
        missing: Vec<&'static str>,
    },
    /// The kernel refused the program or its maps.
    Kernel(String),
    /// There is no such interface.
    Interface(String),
    /// The program could not be attached.
    Attach {
        /// Where.
        interface: String,
        /// Each mode tried, and what the kernel said.
        tried: Vec<(Mode, String)>,
    },
    /// An interface has a program of someone else, which stays where it is unless [`Options::force`](crate::Options::force)
    /// is set.
    Foreign {
        /// Where.
        interface: String,
        /// The program, by name where that can be read, and id.
        program: String,
    },
    /// The BPF file system does not take a pin.
    Pin {
        /// Which file or folder.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// A map could not be read or written.
    Map {
        /// Which.
        map: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
}

impl XdpError {
    /// Whether it is the host that does not allow XDP, so that the gateway should say so and serve without it. The
    /// rest is a mistake in the configuration.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(
            self,
            Self::Off
                | Self::Privileges { .. }
                | Self::Kernel(_)
                | Self::Attach { .. }
                | Self::Foreign { .. }
        )
    }
}

impl fmt::Display for XdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => write!(f, "XDP is off"),
            Self::Options(message) => write!(f, "XDP options: {message}"),
            Self::Privileges { missing } if missing.is_empty() => {
                write!(
                    f,
                    "XDP refused by the kernel: operation not permitted (a container or a security module?)"
                )
            }
            Self::Privileges { missing } => {
                write!(f, "XDP needs more privileges: missing {}", missing.join(", "))
            }
            Self::Kernel(message) => write!(f, "XDP program refused by the kernel: {message}"),
            Self::Interface(name) => write!(f, "XDP: no network interface `{name}`"),
            Self::Attach { interface, tried } => {
                write!(f, "XDP program could not be attached to {interface}")?;
                for (index, (mode, message)) in tried.iter().enumerate() {
                    write!(f, "{} {}: {message}", if index == 0 { ":" } else { ";" }, mode.label())?;
                }
                Ok(())
            }
            Self::Foreign { interface, program } => write!(
                f,
                "{interface} has another XDP program, {program}: detach it, or set `force` to replace it"
            ),
            Self::Pin { path, error } => write!(f, "XDP pin {}: {error}", path.display()),
            Self::Map { map, error } => write!(f, "XDP map {map}: {error}"),
        }
    }
}

impl Error for XdpError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Map { error, .. } | Self::Pin { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// The system's error at the root of another one.
pub(crate) fn os_error(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(code) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(code);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_to_do() {
        let missing = XdpError::Privileges { missing: vec!["CAP_BPF", "CAP_PERFMON"] };
        assert_eq!(missing.to_string(), "XDP needs more privileges: missing CAP_BPF, CAP_PERFMON");
        let attach = XdpError::Attach {
            interface: "eth0".into(),
            tried: vec![(Mode::Native, "not supported".into()), (Mode::Generic, "busy".into())],
        };
        assert_eq!(
            attach.to_string(),
            "XDP program could not be attached to eth0: native: not supported; generic: busy"
        );
    }

    #[test]
    fn the_host_is_to_blame_or_the_configuration() {
        assert!(XdpError::Privileges { missing: vec![] }.is_unavailable());
        assert!(!XdpError::Interface("eth9".into()).is_unavailable());
        assert!(!XdpError::Options(String::new()).is_unavailable());
    }

    #[test]
    fn the_systems_error_is_found_at_any_depth() {
        let map = XdpError::Map { map: "BANS", error: io::Error::from_raw_os_error(libc::EPERM) };
        assert_eq!(os_error(&map), Some(libc::EPERM));
        assert_eq!(os_error(&XdpError::Off), None);
    }
}
