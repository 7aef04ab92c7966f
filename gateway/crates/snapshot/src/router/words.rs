//! Eight bytes at a time: finding, hashing and lower-casing text in ordinary registers, without unsafe code.

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

/// The high bit of exactly those bytes of `word` that are `byte`.
#[inline(always)]
pub(super) const fn find(word: u64, byte: u8) -> u64 {
    let zero = word ^ each(byte);
    !(((zero & !HIGH) + !HIGH) | zero) & HIGH
}

/// High bits of the eight bytes, gathered into the low eight bits.
#[inline(always)]
pub(super) const fn gather(high_bits: u64) -> u64 {
    (high_bits >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// Bytes that the map of [`slashes`] covers.
pub(super) const MAPPED_BYTES: usize = 64;

/// Bit N: byte N is `/`. And whether a `/` is followed by a dot.
#[inline(always)]
pub(super) fn slashes(bytes: &[u8]) -> (u64, bool) {
    let mut map = 0;
    let mut dotted = 0;
    let mut last_is_slash = 0;
    let mut look = |word: u64, at: usize| {
        let slashes = find(word, b'/');
        dotted |= find(word, b'.') & (slashes << 8 | last_is_slash);
        last_is_slash = slashes >> 56;
        if at < MAPPED_BYTES {
            map |= gather(slashes) << at;
        }
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words {
        look(u64::from_le_bytes(*word), at);
        at += 8;
    }
    if !rest.is_empty() {
        look(load(bytes, at), at);
    }
    (map, dotted != 0)
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

/// What a static segment is looked up by.
#[derive(Clone, Copy)]
pub(super) struct Key {
    pub(super) hash: u64,
    /// Its first eight bytes.
    pub(super) head: u64,
    /// Its last eight bytes if there are eight.
    pub(super) tail: u64,
}

/// The key of the segment `start..end` after `node`. Of a long one only the first and last eight bytes are hashed: segments
/// are compared anyway, and a configuration whose segments differ in the middle alone is merely slower.
#[inline(always)]
pub(super) fn key(bytes: &[u8], start: usize, end: usize, node: u32) -> Key {
    let len = end.wrapping_sub(start);
    // The eight bytes up to the end, which exist for all but the first short segment.
    let Some(last) = bytes.get(..end).and_then(|bytes| bytes.last_chunk::<8>()) else {
        let head = load(bytes, start) & ((1 << (8 * (len & 7))) - 1);
        return Key { hash: mix(seeded(node), head), head, tail: 0 };
    };
    let last = u64::from_le_bytes(*last);
    if len < 8 {
        // In two steps: one by 64 would be none.
        let head = (last >> (8 * (7 - len))) >> 8;
        return Key { hash: mix(seeded(node), head), head, tail: 0 };
    }
    let head = load(bytes, start);
    Key { hash: mix(mix(seeded(node), head), last ^ len as u64), head, tail: last }
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
        fn find_is_exact(word in any::<[u8; 8]>(), at in 0usize..8) {
            let byte = word[at];
            for byte in [byte, byte ^ 1, byte ^ 0x80] {
                let found = gather(find(u64::from_le_bytes(word), byte));
                let expected = (0..8).filter(|at| word[*at] == byte).fold(0, |bits, at| bits | 1 << at);
                prop_assert_eq!(found, expected);
            }
        }

        #[test]
        fn lower_is_ascii_lower(word in any::<[u8; 8]>()) {
            prop_assert_eq!(lower(u64::from_le_bytes(word)).to_le_bytes(), word.map(|b| b.to_ascii_lowercase()));
        }

        #[test]
        fn slashes_are_mapped(path in "[/.a]{0,80}") {
            let places = path.bytes().take(MAPPED_BYTES).enumerate().filter(|(_, byte)| *byte == b'/');
            let expected = (places.fold(0, |map, (at, _)| map | 1 << at), path.contains("/."));
            prop_assert_eq!(slashes(path.as_bytes()), expected);
        }

        /// The key depends on the segment, not on what surrounds it.
        #[test]
        fn keys_are_of_the_segment(before in "[a-z/]{0,9}", text in "[a-z]{1,20}", after in "(/[a-z]{0,9})?") {
            let whole = format!("{before}{text}{after}");
            let within = key(whole.as_bytes(), before.len(), before.len() + text.len(), 7);
            let alone = key(text.as_bytes(), 0, text.len(), 7);
            prop_assert_eq!((within.hash, within.head, within.tail), (alone.hash, alone.head, alone.tail));
        }
    }
}
