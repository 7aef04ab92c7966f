//! Request ids: UUID version 4 (RFC 9562 5.4), as API Gateway gives in `x-amzn-RequestId`.

use std::cell::Cell;

/// A request id in text form.
pub type RequestId = [u8; 36];

/// One core's generator: xoroshiro128++ from a random seed. Ids name requests, they are not secrets.
pub struct RequestIds {
    state: Cell<[u64; 2]>,
}

/// `"00"` to `"ff"`.
const HEX: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut i = 0;
    #[allow(clippy::indexing_slicing)] // Evaluated at compile time: an index out of range does not build.
    while i < 256 {
        table[i] = [DIGITS[i >> 4], DIGITS[i & 15]];
        i += 1;
    }
    table
};

/// Where each of the 16 bytes goes in the text.
const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

impl RequestIds {
    /// A generator; an all-zero seed is replaced, because the generator would stay at zero.
    #[must_use]
    pub fn new(seed: [u64; 2]) -> Self {
        Self { state: Cell::new(if seed == [0, 0] { [0x9e37_79b9_7f4a_7c15, 1] } else { seed }) }
    }

    #[inline]
    fn next_u64(&self) -> u64 {
        let [s0, mut s1] = self.state.get();
        let result = s0.wrapping_add(s1).rotate_left(17).wrapping_add(s0);
        s1 ^= s0;
        self.state.set([s0.rotate_left(49) ^ s1 ^ (s1 << 21), s1.rotate_left(28)]);
        result
    }

    /// A number below `below`.
    #[inline]
    pub fn draw(&self, below: u32) -> u32 {
        // Multiply and shift (Lemire): the bias is below / 2^32.
        ((u64::from(below) * (self.next_u64() >> 32)) >> 32) as u32
    }

    /// The next id.
    #[inline]
    pub fn next_id(&self) -> RequestId {
        let high = (self.next_u64() & !0xf000) | 0x4000;
        let low = (self.next_u64() & !(0b11 << 62)) | (0b10 << 62);
        let bytes = ((u128::from(high) << 64) | u128::from(low)).to_be_bytes();
        let mut text = [b'-'; 36];
        for (byte, at) in bytes.iter().zip(PLACES) {
            if let (Some(to), Some(hex)) = (text.get_mut(at..at + 2), HEX.get(usize::from(*byte))) {
                to.copy_from_slice(hex);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::RequestIds;
    use std::collections::HashSet;

    #[test]
    fn ids_are_version_4_and_distinct() {
        let ids = RequestIds::new([1, 2]);
        let mut seen = HashSet::new();
        for _ in 0..10_000 {
            let id = ids.next_id();
            let text = std::str::from_utf8(&id).unwrap();
            assert_eq!(text.len(), 36);
            for (i, c) in text.char_indices() {
                match i {
                    8 | 13 | 18 | 23 => assert_eq!(c, '-', "{text}"),
                    14 => assert_eq!(c, '4', "{text}"),
                    19 => assert!("89ab".contains(c), "{text}"),
                    _ => assert!(c.is_ascii_hexdigit() && !c.is_ascii_uppercase(), "{text}"),
                }
            }
            assert!(seen.insert(id));
        }
    }
}
