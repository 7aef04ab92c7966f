//! Short texts on the stack: values that a request has as numbers, addresses or times, where a policy compares text.

use std::fmt;

/// Room for the longest of them, an IPv6 address with an embedded IPv4 one.
const BYTES: usize = 48;

/// A text that fits, or nothing.
pub(crate) struct Scratch {
    bytes: [u8; BYTES],
    used: usize,
}

impl Scratch {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; BYTES], used: 0 }
    }

    /// Writes `value` in place of what was there.
    pub(crate) fn show(&mut self, value: impl fmt::Display) -> &str {
        self.used = 0;
        // What does not fit stays out, and an empty text matches no value that a policy could mean.
        if fmt::write(self, format_args!("{value}")).is_err() {
            self.used = 0;
        }
        self.bytes.get(..self.used).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl fmt::Write for Scratch {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.used + text.len();
        let room = self.bytes.get_mut(self.used..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.used = end;
        Ok(())
    }
}
