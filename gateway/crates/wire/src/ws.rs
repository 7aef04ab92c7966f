//! WebSocket framing, as far as a tunnel needs it (RFC 6455 section 5.2): where frames end.

/// Follows the frames of one direction without keeping or changing a byte.
///
/// ```text
/// Header(collected) --complete--> Payload(left) --0 left--> Header(empty): a boundary
///        \--length above 2^63--> Lost
/// ```
#[derive(Clone, Debug, Default)]
pub struct FrameTracker {
    /// Header bytes so far; 14 at most.
    header: [u8; 14],
    have: usize,
    payload_left: u64,
    lost: bool,
    closing: bool,
}

impl FrameTracker {
    /// At the beginning of a stream of frames.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the next byte begins a frame, so that another may be put before it. Control frames may stand between the
    /// fragments of a message (section 5.4).
    #[must_use]
    pub fn is_at_boundary(&self) -> bool {
        !self.lost && self.have == 0 && self.payload_left == 0
    }

    /// Whether a whole Close frame has passed (section 5.5.1).
    #[must_use]
    pub fn has_closed(&self) -> bool {
        self.closing && self.is_at_boundary()
    }

    /// Follows all of `bytes`.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(end) = self.feed_to_boundary(bytes) {
            bytes = bytes.get(end..).unwrap_or_default();
        }
    }

    /// Follows `bytes` up to the first end of a frame in it, and says how many that were; `None`: there is none, and all were
    /// followed.
    pub fn feed_to_boundary(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() && !self.lost {
            if self.payload_left == 0 {
                let byte = bytes.get(at).copied()?;
                at += 1;
                if let Some(slot) = self.header.get_mut(self.have) {
                    *slot = byte;
                }
                self.have += 1;
                if self.have < self.header_len() {
                    continue;
                }
                self.begin_payload();
            }
            let step = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(bytes.len() - at);
            self.payload_left -= step as u64;
            at += step;
            if self.is_at_boundary() {
                return Some(at);
            }
        }
        None
    }

    /// Of the header being collected, as far as it says.
    fn header_len(&self) -> usize {
        if self.have < 2 {
            return 2;
        }
        let [_, second, ..] = self.header;
        let length = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if second & 0x80 == 0 { 0 } else { 4 }
    }

    fn begin_payload(&mut self) {
        let [first, second, a, b, c, d, e, f, g, h, ..] = self.header;
        self.closing |= first & 0x0f == 8;
        self.payload_left = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes([a, b])),
            127 => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            short => u64::from(short),
        };
        self.lost = self.payload_left >= 1 << 63;
        self.have = 0;
    }
}

/// A server's Close frame with a status code (section 5.5.1).
#[must_use]
pub fn close_frame(code: u16) -> [u8; 4] {
    let [high, low] = code.to_be_bytes();
    [0x88, 2, high, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, mask: bool, len: usize) -> Vec<u8> {
        let bit = if mask { 0x80 } else { 0 };
        let mut out = vec![opcode];
        match len {
            0..=125 => out.push(bit | len as u8),
            126..=65_535 => {
                out.push(bit | 126);
                out.extend_from_slice(&(len as u16).to_be_bytes());
            }
            _ => {
                out.push(bit | 127);
                out.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(if mask { &[1, 2, 3, 4] } else { &[] });
        out.resize(out.len() + len, 0xff);
        out
    }

    #[test]
    fn boundaries_are_found_however_the_bytes_are_cut() {
        for mask in [false, true] {
            for len in [0, 1, 125, 126, 127, 65_535, 65_536] {
                let (one, two) = (frame(0x81, mask, len), frame(0x89, mask, 3));
                let both = [one.clone(), two.clone()].concat();
                let mut tracker = FrameTracker::new();
                assert!(tracker.is_at_boundary());
                assert_eq!(tracker.feed_to_boundary(&both), Some(one.len()), "{len}");
                assert_eq!(tracker.feed_to_boundary(&both[one.len()..]), Some(two.len()));
                for cut in [1, 2, 3, 7, 4096] {
                    let mut tracker = FrameTracker::new();
                    let mut at = 0;
                    for piece in both.chunks(cut) {
                        tracker.feed(piece);
                        at += piece.len();
                        let boundary = at == one.len() || at == both.len();
                        assert_eq!(tracker.is_at_boundary(), boundary, "{len} by {cut} at {at}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_a_length_has_no_boundary() {
        let mut tracker = FrameTracker::new();
        tracker.feed(&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]);
        tracker.feed(&[0; 100]);
        assert!(!tracker.is_at_boundary());
        assert_eq!(close_frame(1001), [0x88, 0x02, 0x03, 0xe9]);
        let mut tracker = FrameTracker::new();
        tracker.feed(&frame(0x81, true, 9));
        assert!(!tracker.has_closed());
        let close = frame(0x88, true, 2);
        tracker.feed(&close[..5]);
        assert!(!tracker.has_closed());
        tracker.feed(&close[5..]);
        assert!(tracker.has_closed());
    }
}
