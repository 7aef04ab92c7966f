//! Eight bytes at a time: finding, hashing and lower-casing text in ordinary registers.

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;
/// An odd number with well-mixed bits (the golden ratio's fraction).
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// A word with `byte` in each place.
pub(super) const fn each(byte: u8) -> u64 {
    LOW.wrapping_mul(byte as u64)
}

/// Up to eight bytes from `at`, first byte lowest, zero beyond the end.
#[inline(always)]
pub(super) fn load(bytes: &[u8], at: usize) -> u64 {
    if let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        return u64::from_le_bytes(*word);
    }
    let left = bytes.len().saturating_sub(at);
    if left == 0 {
        return 0;
    }
    // The last eight bytes with those before `at` shifted out: no loop over the tail.
    if let Some(word) = bytes.last_chunk::<8>() {
        return u64::from_le_bytes(*word) >> (8 * (8 - left));
    }
    let mut word = 0;
    for byte in bytes.get(at..).into_iter().flatten().rev() {
        word = word << 8 | u64::from(*byte);
    }
    word
}

/// The high bit of every byte of `word` that is `byte`. Exact up to the first such byte; above it, a byte that differs
/// only in its lowest bit may be marked as well.
#[inline(always)]
pub(super) const fn find(word: u64, byte: u8) -> u64 {
    let zero = word ^ each(byte);
    zero.wrapping_sub(LOW) & !zero & HIGH
}

/// ASCII capitals to small letters.
#[inline(always)]
pub(super) const fn lower(word: u64) -> u64 {
    let low7 = word & !HIGH;
    let from_a = low7.wrapping_add(each(0x80 - b'A'));
    let past_z = low7.wrapping_add(each(0x7f - b'Z'));
    let capital = (from_a ^ past_z) & !word & HIGH;
    word | capital >> 2
}

/// Folded multiplication: one instruction mixes all 64 bits. Table contents come from the configuration, not from
/// clients, so nobody can plant collisions.
#[inline(always)]
pub(super) const fn mix(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word) as u128 * MULTIPLIER as u128;
    product as u64 ^ (product >> 64) as u64
}

/// Start of a hash that differs for each `seed`.
#[inline(always)]
pub(super) const fn seeded(seed: u32) -> u64 {
    (seed as u64 + 1).wrapping_mul(MULTIPLIER)
}

/// A path segment.
#[derive(Clone, Copy)]
pub(super) struct Scanned {
    /// Where it ends: at `/` or the end.
    pub(super) end: usize,
    /// Hash of its text.
    pub(super) hash: u64,
    /// Its first eight bytes.
    pub(super) head: u64,
}

/// Finds the end of the segment at `start` and hashes it on the way.
#[inline(always)]
pub(super) fn segment(bytes: &[u8], start: usize, hash: u64) -> Scanned {
    let (mut at, mut hash) = (start, hash);
    let mut head = None;
    loop {
        let word = load(bytes, at);
        let until_slash = find(word, b'/').trailing_zeros() as usize / 8;
        let count = until_slash.min(bytes.len().saturating_sub(at));
        if count < 8 {
            let word = word & ((1 << (8 * count)) - 1);
            return Scanned { end: at + count, hash: mix(hash, word), head: head.unwrap_or(word) };
        }
        head = head.or(Some(word));
        hash = mix(hash, word);
        at += 8;
    }
}

/// Hash of a host name without regard to case.
#[inline]
pub(super) fn host(bytes: &[u8]) -> u64 {
    let mut hash = seeded(bytes.len() as u32);
    let mut at = 0;
    while at < bytes.len() {
        hash = mix(hash, lower(load(bytes, at)));
        at += 8;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn load_is_the_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..40), at in 0usize..48) {
            let mut expected = [0u8; 8];
            for (to, from) in expected.iter_mut().zip(bytes.iter().skip(at)) {
                *to = *from;
            }
            prop_assert_eq!(load(&bytes, at), u64::from_le_bytes(expected));
        }

        #[test]
        fn find_is_exact_up_to_the_first(word in any::<[u8; 8]>(), byte in any::<u8>()) {
            let found = find(u64::from_le_bytes(word), byte).trailing_zeros() as usize / 8;
            prop_assert_eq!(found, word.iter().position(|b| *b == byte).unwrap_or(8));
        }

        #[test]
        fn lower_is_ascii_lower(word in any::<[u8; 8]>()) {
            prop_assert_eq!(lower(u64::from_le_bytes(word)).to_le_bytes(), word.map(|b| b.to_ascii_lowercase()));
        }

        #[test]
        fn a_segment_ends_at_the_slash(bytes in "[a-z/]{0,40}", start in 0usize..48) {
            let rest = bytes.get(start..).unwrap_or("");
            let text = rest.split('/').next().unwrap();
            let scanned = segment(bytes.as_bytes(), start, seeded(7));
            let alone = segment(text.as_bytes(), 0, seeded(7));
            prop_assert_eq!(scanned.end, start + text.len());
            prop_assert_eq!((scanned.hash, scanned.head), (alone.hash, alone.head));
        }
    }
}
