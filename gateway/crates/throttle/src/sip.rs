//! SipHash-1-3 (Aumasson and Bernstein, 2012) of one 128-bit value: without the key, nobody can aim addresses at one set.

/// Keyed hash of `value`.
pub(crate) fn sip13(key: u128, value: u128) -> u64 {
    let (k0, k1) = (key as u64, (key >> 64) as u64);
    let mut state = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    // The last word carries the length, 16 bytes, in its top byte.
    for word in [value as u64, (value >> 64) as u64, 16 << 56] {
        state[3] ^= word;
        round(&mut state);
        state[0] ^= word;
    }
    state[2] ^= 0xff;
    for _ in 0..3 {
        round(&mut state);
    }
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

#[inline]
fn round([v0, v1, v2, v3]: &mut [u64; 4]) {
    *v0 = v0.wrapping_add(*v1);
    *v1 = v1.rotate_left(13) ^ *v0;
    *v0 = v0.rotate_left(32);
    *v2 = v2.wrapping_add(*v3);
    *v3 = v3.rotate_left(16) ^ *v2;
    *v0 = v0.wrapping_add(*v3);
    *v3 = v3.rotate_left(21) ^ *v0;
    *v2 = v2.wrapping_add(*v1);
    *v1 = v1.rotate_left(17) ^ *v2;
    *v2 = v2.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{BuildHasher, Hasher};

    /// The standard library hashes with SipHash-1-3 and a zero key by default.
    #[test]
    fn agrees_with_the_standard_library() {
        let std13 = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default();
        for value in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0011_2233_4455_6677] {
            let mut hasher = std13.build_hasher();
            hasher.write(&value.to_le_bytes());
            assert_eq!(sip13(0, value), hasher.finish());
        }
    }

    #[test]
    fn depends_on_the_key() {
        assert_ne!(sip13(0, 7), sip13(1, 7));
        assert_ne!(sip13(0, 7), sip13(1 << 64, 7));
    }
}
