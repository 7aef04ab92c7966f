//! A cached answer.

use crate::standard::{Stored, Variants};
use bytes::Bytes;

/// An answer, ready to send.
///
/// `head` and `body` should own no more memory than their length: the cache counts lengths, and a slice of a larger buffer
/// keeps the whole of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Status code.
    pub status: u16,
    /// End-to-end header lines as sent, without status line, Date, Connection and request id.
    pub head: Bytes,
    /// The whole body.
    pub body: Bytes,
    /// When it was stored, on the clock of `get`.
    pub stored_at_ms: u64,
    /// From then on it isn't returned any more. In the standards mode it may be stale before that.
    pub expires_at_ms: u64,
    /// What decides whether it may be served until then.
    pub validity: Validity,
}

/// By which rules an entry is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Validity {
    /// A time to live, which is all that counts.
    Ttl,
    /// Those of HTTP.
    Standard(Box<Stored>),
    /// Never itself: it says which variants there are.
    Variants(Box<Variants>),
}

impl Validity {
    /// Memory beyond the entry itself.
    pub(crate) fn heap_bytes(&self) -> u64 {
        let bytes = match self {
            Self::Ttl => 0,
            Self::Standard(stored) => {
                let text = |field: &Option<Bytes>| field.as_ref().map_or(0, |f| f.len() + 40);
                size_of::<Stored>() + text(&stored.etag) + text(&stored.last_modified)
            }
            Self::Variants(variants) => {
                size_of::<Variants>() + variants.names.iter().map(|name| name.len() + 32).sum::<usize>()
            }
        };
        bytes as u64
    }
}

impl Entry {
    /// How it is validated, in the standards mode.
    #[must_use]
    pub fn stored(&self) -> Option<&Stored> {
        match &self.validity {
            Validity::Standard(stored) => Some(stored),
            Validity::Ttl | Validity::Variants(_) => None,
        }
    }

    /// Whether it may be returned at `now_ms`.
    #[must_use]
    pub fn is_fresh(&self, now_ms: u64) -> bool {
        now_ms < self.expires_at_ms
    }

    /// Seconds since it was stored, for the `Age` header (RFC 9111 section 5.1).
    #[must_use]
    pub fn age_s(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.stored_at_ms) / 1000
    }
}
