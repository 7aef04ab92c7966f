//! What a client was refused for.

use std::fmt;

/// A kind of refusal that is the client's own doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Offence {
    /// A limit refused (429).
    Throttled,
    /// No API key, or a wrong or disabled one (403).
    Credentials,
    /// Not HTTP, or HTTP that must not be forwarded (400, 414, 431, 501, 505).
    Malformed,
    /// A connection that led to no request: a failed TLS handshake, a head that never ended, too many at once.
    Handshake,
}

impl Offence {
    /// Every kind, in the order of [`Offences`].
    pub const ALL: [Self; 4] = [Self::Throttled, Self::Credentials, Self::Malformed, Self::Handshake];

    /// Its name in metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Credentials => "credentials",
            Self::Malformed => "malformed",
            Self::Handshake => "handshake",
        }
    }
}

/// Counts by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offences([u64; Offence::ALL.len()]);

impl Offences {
    pub(crate) const NONE: Self = Self([0; Offence::ALL.len()]);

    /// How many of one kind.
    #[must_use]
    pub fn of(&self, kind: Offence) -> u64 {
        self.0.get(kind as usize).copied().unwrap_or_default()
    }

    /// How many in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Counts one more.
    pub fn count(&mut self, kind: Offence) {
        if let Some(count) = self.0.get_mut(kind as usize) {
            *count += 1;
        }
    }

    /// Adds all of another's.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = mine.saturating_add(theirs);
        }
    }
}

/// `throttled 12, malformed 3`.
impl fmt::Display for Offences {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for kind in Offence::ALL.into_iter().filter(|kind| self.of(*kind) > 0) {
            write!(out, "{separator}{} {}", kind.label(), self.of(kind))?;
            separator = ", ";
        }
        if separator.is_empty() { out.write_str("none") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_read_well() {
        let mut offences = Offences::default();
        assert_eq!(offences.to_string(), "none");
        offences.count(Offence::Throttled);
        offences.count(Offence::Malformed);
        offences.count(Offence::Malformed);
        assert_eq!(offences.to_string(), "throttled 1, malformed 2");
        let twice = offences;
        offences.add(&twice);
        assert_eq!((offences.of(Offence::Malformed), offences.total()), (4, 6));
    }
}
