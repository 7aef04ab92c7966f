//! A cached answer.

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
    /// From then on it isn't served.
    pub expires_at_ms: u64,
}

impl Entry {
    /// Whether it may be served at `now_ms`.
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
