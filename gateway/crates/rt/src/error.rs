//! The one error of this crate that is not an operating system's code.

use std::{error, fmt, io};

/// The kernel, or a policy in front of it, refuses something the engine can't do without.
///
/// Found inside the [`io::Error`] (kind [`io::ErrorKind::Unsupported`]) that [`crate::run`] returns.
#[derive(Debug)]
pub struct Unsupported {
    /// What is missing, with the Linux version that has it.
    pub feature: &'static str,
    /// The kernel's answer.
    pub source: io::Error,
}

impl Unsupported {
    /// Wraps `source` for the caller of `run`.
    pub(crate) fn error(feature: &'static str, source: io::Error) -> io::Error {
        io::Error::new(io::ErrorKind::Unsupported, Unsupported { feature, source })
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this system lacks {}: {}", self.feature, self.source)
    }
}

impl error::Error for Unsupported {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.source)
    }
}
