//! SipHash-1-3 with 128 bits out (Aumasson and Bernstein, 2012): clients choose the keys, so without a secret they could
//! fill one bucket of the table.

/// Keyed hash of `bytes`.
pub(crate) fn sip13(key: u128, bytes: &[u8]) -> u128 {
    hash::<1, 3>(key, bytes)
}

fn hash<const COMPRESS: usize, const FINISH: usize>(key: u128, bytes: &[u8]) -> u128 {
    let (k0, k1) = (key as u64, (key >> 64) as u64);
    let mut state = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let (words, rest) = bytes.as_chunks::<8>();
    // The last word carries the length in its top byte.
    let mut last = (bytes.len() as u64) << 56;
    for (i, &byte) in rest.iter().enumerate() {
        last |= u64::from(byte) << (8 * i);
    }
    for word in words.iter().map(|word| u64::from_le_bytes(*word)).chain([last]) {
        state[3] ^= word;
        rounds::<COMPRESS>(&mut state);
        state[0] ^= word;
    }
    state[2] ^= 0xee;
    rounds::<FINISH>(&mut state);
    let low = state[0] ^ state[1] ^ state[2] ^ state[3];
    state[1] ^= 0xdd;
    rounds::<FINISH>(&mut state);
    let high = state[0] ^ state[1] ^ state[2] ^ state[3];
    u128::from(high) << 64 | u128::from(low)
}

#[inline]
fn rounds<const N: usize>([v0, v1, v2, v3]: &mut [u64; 4]) {
    for _ in 0..N {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The authors' vectors are for 2-4: key 00 01 .. 0f, input the first n of 00 01 02 ...
    #[test]
    fn agrees_with_the_authors_vectors() {
        let key = u128::from_le_bytes(std::array::from_fn(|i| i as u8));
        let vectors: [[u8; 16]; 2] = [
            [0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93],
            [0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b, 0x22, 0xfc, 0x45],
        ];
        for (n, vector) in vectors.iter().enumerate() {
            let input: Vec<u8> = (0..n as u8).collect();
            assert_eq!(hash::<2, 4>(key, &input).to_le_bytes(), *vector, "input of {n} bytes");
        }
    }

    #[test]
    fn every_byte_and_the_key_count() {
        let input: Vec<u8> = (0..40).collect();
        for n in 0..input.len() {
            let mut changed = input.clone();
            changed[n] ^= 1;
            assert_ne!(sip13(1, &input), sip13(1, &changed));
            assert_ne!(sip13(1, &input[..n]), sip13(1, &input[..n + 1]));
        }
        assert_ne!(sip13(1, &input), sip13(2, &input));
    }
}
