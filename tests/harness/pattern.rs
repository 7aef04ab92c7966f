//! Endless, position-dependent bytes for big bodies: a lost, doubled or moved piece shows at once.

use std::io::{self, Write};

/// The length of the repeated block is prime, so no power-of-two shift maps the stream on itself.
const BLOCK_BYTES: usize = 1_048_573;

/// A generator and checker of the stream.
pub struct Pattern {
    /// The block twice, so that any window up to a block long is one slice.
    twice: Vec<u8>,
    position: u64,
}

impl Default for Pattern {
    fn default() -> Self {
        Self::new()
    }
}

impl Pattern {
    pub fn new() -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut twice: Vec<u8> = (0..BLOCK_BYTES)
            .map(|_| {
                // xorshift64*
                state ^= state >> 12;
                state ^= state << 25;
                state ^= state >> 27;
                (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
            })
            .collect();
        twice.extend_from_within(..);
        Self { twice, position: 0 }
    }

    /// How many bytes were generated or checked.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next bytes of the stream, at most `limit`.
    pub fn next(&mut self, limit: u64) -> &[u8] {
        let offset = (self.position % BLOCK_BYTES as u64) as usize;
        let length = usize::try_from(limit).unwrap_or(usize::MAX).min(256 * 1024);
        self.position += length as u64;
        &self.twice[offset..offset + length]
    }

    /// Writes the next `len` bytes of the stream.
    pub fn write(&mut self, to: &mut impl Write, len: usize) -> io::Result<()> {
        let mut left = len as u64;
        while left > 0 {
            let bytes = self.next(left);
            to.write_all(bytes)?;
            left -= bytes.len() as u64;
        }
        Ok(())
    }

    /// Panics when `bytes` are not the next ones of the stream.
    pub fn check(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let at = self.position;
            let expected = self.next(bytes.len() as u64);
            let (now, later) = bytes.split_at(expected.len());
            assert!(now == expected, "body differs between byte {at} and {}", at + expected.len() as u64);
            bytes = later;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_its_own_stream_in_other_pieces() {
        let (mut made, mut seen) = (Pattern::new(), Pattern::new());
        let mut stream = Vec::new();
        while stream.len() < 3 * BLOCK_BYTES {
            stream.extend_from_slice(made.next(100_003));
        }
        for piece in stream.chunks(77_777) {
            seen.check(piece);
        }
        assert_eq!(seen.position(), stream.len() as u64);
    }

    #[test]
    #[should_panic(expected = "body differs")]
    fn notices_a_lost_byte() {
        let mut made = Pattern::new();
        let stream = made.next(1000).to_vec();
        Pattern::new().check(&stream[1..]);
    }
}
