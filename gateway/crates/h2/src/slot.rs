//! One stream's state within its connection.
//!
//! ```text
//!               HEADERS received / sent
//!   (no slot) ---------------------------> open
//!                                           |  receiving half: recv_end once END_STREAM came
//!                                           |  sending half: end_queued once we have written all, sent_end once it is out
//!                                           |  either: reset
//!     both halves ended, or reset, and the handle dropped -> freed, and used again
//! ```
//! The handle ([`crate::Stream`]) may go first: what it had written is still sent.

use bytes::Bytes;
use sluice_wire::h2::ErrorCode;
use sluice_wire::{Method, ResponseHead};
use std::collections::VecDeque;
use std::task::Waker;

/// A response head of an upstream and the bytes that it indexes.
pub(crate) type Arrived = (Box<ResponseHead>, Vec<u8>);

#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) id: u32,
    /// A [`crate::Stream`] refers to it.
    pub(crate) held: bool,
    /// The task of the exchange: reads, writes and waits in one.
    pub(crate) waker: Option<Waker>,
    pub(crate) deadline_ms: Option<u64>,
    /// Why nothing more goes either way.
    pub(crate) reset: Option<ErrorCode>,

    /// Received, not yet taken.
    pub(crate) recv: Vec<u8>,
    pub(crate) recv_end: bool,
    /// Received trailers as HTTP/1 lines.
    pub(crate) trailers: Vec<u8>,
    pub(crate) recv_window: i64,
    /// Taken since the last WINDOW_UPDATE.
    pub(crate) unreturned: u32,
    /// What `content-length` still promises.
    pub(crate) expected: Option<u64>,
    /// Heads of the answer, interim ones first.
    pub(crate) heads: VecDeque<Arrived>,
    /// The final one has come: HEADERS that follow are trailers.
    pub(crate) answered: bool,
    pub(crate) method: Method,

    /// Written, held back by a window or by the socket: first this …
    pub(crate) pending: Vec<u8>,
    pub(crate) pending_at: usize,
    /// … then this.
    pub(crate) shared: Bytes,
    /// Everything is written.
    pub(crate) end_queued: bool,
    /// Trailers to end with.
    pub(crate) end_trailers: Option<Vec<u8>>,
    pub(crate) sent_end: bool,
    pub(crate) send_window: i64,
    /// Waits in the connection's queue for its turn to send.
    pub(crate) queued: bool,
}

impl Slot {
    /// A slot for another stream, with the memory it has.
    pub(crate) fn open(&mut self, id: u32, recv_window: i64, send_window: i64) {
        let mut recv = std::mem::take(&mut self.recv);
        let mut pending = std::mem::take(&mut self.pending);
        let mut trailers = std::mem::take(&mut self.trailers);
        let mut heads = std::mem::take(&mut self.heads);
        for v in [&mut recv, &mut pending, &mut trailers] {
            v.clear();
            if v.capacity() > KEPT_BYTES {
                *v = Vec::new();
            }
        }
        heads.clear();
        *self = Self {
            id,
            held: true,
            recv,
            pending,
            trailers,
            heads,
            recv_window,
            send_window,
            ..Self::default()
        };
    }

    /// Bytes written and not yet sent.
    pub(crate) fn unsent(&self) -> usize {
        self.pending.len().saturating_sub(self.pending_at) + self.shared.len()
    }

    /// The next piece to send, of `max` bytes at most.
    pub(crate) fn next_piece(&self, max: usize) -> &[u8] {
        let piece = match self.pending.get(self.pending_at..) {
            Some([]) | None => &*self.shared,
            Some(pending) => pending,
        };
        piece.get(..max.min(piece.len())).unwrap_or_default()
    }

    /// Forgets the first `n` bytes of what is unsent.
    pub(crate) fn advance(&mut self, n: usize) {
        let of_pending = n.min(self.pending.len().saturating_sub(self.pending_at));
        self.pending_at += of_pending;
        if self.pending_at == self.pending.len() {
            self.pending.clear();
            self.pending_at = 0;
        }
        let of_shared = (n - of_pending).min(self.shared.len());
        let _ = self.shared.split_to(of_shared);
        if self.shared.is_empty() {
            self.shared = Bytes::new();
        }
    }

    pub(crate) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A vector that grew past this is not kept with the slot.
const KEPT_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_in_order() {
        let mut slot =
            Slot { pending: b"abcdef".to_vec(), shared: Bytes::from_static(b"ghi"), ..Slot::default() };
        let mut seen = Vec::new();
        while slot.unsent() > 0 {
            let piece = slot.next_piece(4).to_vec();
            slot.advance(piece.len());
            seen.push(piece);
        }
        assert_eq!(seen, [&b"abcd"[..], b"ef", b"ghi"]);
    }
}
