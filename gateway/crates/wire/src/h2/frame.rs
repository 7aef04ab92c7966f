//! Writing frames (RFC 9113 sections 4.1 and 6).

use super::{ErrorCode, FRAME_BYTES};

/// DATA
pub const DATA: u8 = 0;
/// HEADERS
pub const HEADERS: u8 = 1;
/// PRIORITY
pub const PRIORITY: u8 = 2;
/// RST_STREAM
pub const RST_STREAM: u8 = 3;
/// SETTINGS
pub const SETTINGS: u8 = 4;
/// PUSH_PROMISE
pub const PUSH_PROMISE: u8 = 5;
/// PING
pub const PING: u8 = 6;
/// GOAWAY
pub const GOAWAY: u8 = 7;
/// WINDOW_UPDATE
pub const WINDOW_UPDATE: u8 = 8;
/// CONTINUATION
pub const CONTINUATION: u8 = 9;

/// The last frame of its stream; on SETTINGS and PING: an acknowledgement.
pub const END_STREAM: u8 = 0x1;
/// An acknowledgement.
pub const ACK: u8 = 0x1;
/// The header block ends here.
pub const END_HEADERS: u8 = 0x4;
/// The frame is padded.
pub const PADDED: u8 = 0x8;
/// The frame holds priority fields.
pub const PRIORITY_FLAG: u8 = 0x20;

/// SETTINGS_HEADER_TABLE_SIZE
pub const HEADER_TABLE_SIZE: u16 = 1;
/// SETTINGS_ENABLE_PUSH
pub const ENABLE_PUSH: u16 = 2;
/// SETTINGS_MAX_CONCURRENT_STREAMS
pub const MAX_CONCURRENT_STREAMS: u16 = 3;
/// SETTINGS_INITIAL_WINDOW_SIZE
pub const INITIAL_WINDOW_SIZE: u16 = 4;
/// SETTINGS_MAX_FRAME_SIZE
pub const MAX_FRAME_SIZE: u16 = 5;
/// SETTINGS_MAX_HEADER_LIST_SIZE
pub const MAX_HEADER_LIST_SIZE: u16 = 6;

/// Bytes before a frame's payload.
pub const HEAD_BYTES: usize = 9;

/// The nine bytes before a payload.
#[inline]
#[must_use]
pub const fn head_bytes(len: usize, kind: u8, flags: u8, stream: u32) -> [u8; HEAD_BYTES] {
    let [_, l2, l1, l0] = (len as u32).to_be_bytes();
    let [s3, s2, s1, s0] = stream.to_be_bytes();
    [l2, l1, l0, kind, flags, s3, s2, s1, s0]
}

/// A frame's head.
#[inline]
pub fn head(out: &mut Vec<u8>, len: usize, kind: u8, flags: u8, stream: u32) {
    out.extend_from_slice(&head_bytes(len, kind, flags, stream));
}

/// SETTINGS with these values.
pub fn settings(out: &mut Vec<u8>, values: &[(u16, u32)]) {
    head(out, values.len() * 6, SETTINGS, 0, 0);
    for (id, value) in values {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// The acknowledgement of SETTINGS.
pub fn settings_ack(out: &mut Vec<u8>) {
    head(out, 0, SETTINGS, ACK, 0);
}

/// PING, or the answer to one.
pub fn ping(out: &mut Vec<u8>, ack: bool, payload: [u8; 8]) {
    head(out, 8, PING, if ack { ACK } else { 0 }, 0);
    out.extend_from_slice(&payload);
}

/// GOAWAY.
pub fn goaway(out: &mut Vec<u8>, last_stream: u32, code: ErrorCode, debug: &[u8]) {
    head(out, 8 + debug.len(), GOAWAY, 0, 0);
    out.extend_from_slice(&last_stream.to_be_bytes());
    out.extend_from_slice(&(code as u32).to_be_bytes());
    out.extend_from_slice(debug);
}

/// RST_STREAM.
pub fn reset(out: &mut Vec<u8>, stream: u32, code: ErrorCode) {
    head(out, 4, RST_STREAM, 0, stream);
    out.extend_from_slice(&(code as u32).to_be_bytes());
}

/// WINDOW_UPDATE.
#[inline]
pub fn window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    head(out, 4, WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&increment.to_be_bytes());
}

/// A header block that is being written behind its frame head.
#[must_use]
pub struct Block {
    at: usize,
    stream: u32,
}

/// Begins HEADERS; the block is to be appended and then ended with [`Block::end`].
#[inline]
pub fn begin_headers(out: &mut Vec<u8>, stream: u32) -> Block {
    let at = out.len();
    head(out, 0, HEADERS, END_HEADERS, stream);
    Block { at, stream }
}

impl Block {
    /// Puts length and flags in the head; a block longer than a frame is cut into CONTINUATION frames.
    #[inline]
    pub fn end(self, out: &mut Vec<u8>, end_stream: bool) {
        let flag = if end_stream { END_STREAM } else { 0 };
        let len = out.len().saturating_sub(self.at + HEAD_BYTES);
        if len > FRAME_BYTES {
            return self.split(out, flag);
        }
        self.patch(out, &head_bytes(len, HEADERS, END_HEADERS | flag, self.stream));
    }

    fn patch(&self, out: &mut [u8], head: &[u8; HEAD_BYTES]) {
        if let Some(place) = out.get_mut(self.at..self.at + HEAD_BYTES) {
            place.copy_from_slice(head);
        }
    }

    #[cold]
    fn split(self, out: &mut Vec<u8>, flag: u8) {
        let rest = out.split_off(self.at + HEAD_BYTES + FRAME_BYTES);
        self.patch(out, &head_bytes(FRAME_BYTES, HEADERS, flag, self.stream));
        let mut pieces = rest.chunks(FRAME_BYTES).peekable();
        while let Some(piece) = pieces.next() {
            let last = if pieces.peek().is_none() { END_HEADERS } else { 0 };
            head(out, piece.len(), CONTINUATION, last, self.stream);
            out.extend_from_slice(piece);
        }
    }
}
