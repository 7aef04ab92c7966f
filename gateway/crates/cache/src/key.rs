//! What an answer is cached under.

use crate::sip::sip13;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

/// Written instead of a length where a part is absent: no part is so long, since request heads are bounded far below.
const ABSENT: u32 = u32::MAX;

/// A key in someone's buffer. Keys are equal if all their bytes are; the hash only finds candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRef<'a> {
    hash: u128,
    bytes: &'a [u8],
}

impl<'a> KeyRef<'a> {
    /// Keyed hash of the bytes.
    #[must_use]
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// The parts, each preceded by its length.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// A copy to keep.
    #[must_use]
    pub fn to_owned(&self) -> CacheKey {
        CacheKey { hash: self.hash, bytes: self.bytes.into() }
    }
}

/// A key of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheKey {
    hash: u128,
    bytes: Box<[u8]>,
}

impl CacheKey {
    /// As a look-up wants it.
    #[must_use]
    pub fn as_key_ref(&self) -> KeyRef<'_> {
        KeyRef { hash: self.hash, bytes: &self.bytes }
    }

    /// Keyed hash of the bytes.
    #[must_use]
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// The parts, each preceded by its length.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Builds keys in one reused buffer: after the first few, building allocates nothing.
///
/// Parts can't run together: `("ab", "c")`, `("a", "bc")` and `("ab", absent, "c")` are three keys.
#[derive(Clone, Debug)]
pub struct KeyBuilder {
    seed: u128,
    bytes: Vec<u8>,
}

impl KeyBuilder {
    /// With this process's own seed, drawn once from the operating system: the builders of all cores agree.
    #[must_use]
    pub fn new() -> Self {
        static SEED: OnceLock<u128> = OnceLock::new();
        Self::with_seed(*SEED.get_or_init(|| {
            let random = std::hash::RandomState::new();
            let half = |n: u8| {
                let mut hasher = random.build_hasher();
                hasher.write_u8(n);
                u128::from(hasher.finish())
            };
            half(0) << 64 | half(1)
        }))
    }

    /// With a given seed: all builders of one cache need the same, and clients must not know it.
    #[must_use]
    pub fn with_seed(seed: u128) -> Self {
        Self { seed, bytes: Vec::with_capacity(256) }
    }

    /// Begins the next key.
    pub fn start(&mut self) -> &mut Self {
        self.bytes.clear();
        self
    }

    /// Adds a part.
    pub fn push(&mut self, part: &[u8]) -> &mut Self {
        let length = u32::try_from(part.len()).unwrap_or(ABSENT - 1);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(part);
        self
    }

    /// Adds a part whose case doesn't matter.
    pub fn push_lower(&mut self, part: &[u8]) -> &mut Self {
        self.push(part);
        let start = self.bytes.len() - part.len();
        if let Some(added) = self.bytes.get_mut(start..) {
            added.make_ascii_lowercase();
        }
        self
    }

    /// Adds a part that isn't there, which is not the same as an empty one.
    pub fn push_absent(&mut self) -> &mut Self {
        self.bytes.extend_from_slice(&ABSENT.to_le_bytes());
        self
    }

    /// The key of the parts since `start`.
    #[must_use]
    pub fn finish(&self) -> KeyRef<'_> {
        KeyRef { hash: sip13(self.seed, &self.bytes), bytes: &self.bytes }
    }
}

impl Default for KeyBuilder {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[Option<&str>]) -> CacheKey {
        let mut builder = KeyBuilder::new();
        builder.start();
        for part in parts {
            match part {
                Some(part) => builder.push(part.as_bytes()),
                None => builder.push_absent(),
            };
        }
        builder.finish().to_owned()
    }

    #[test]
    fn parts_do_not_run_together() {
        let keys = [
            key(&[Some("ab"), Some("c")]),
            key(&[Some("a"), Some("bc")]),
            key(&[Some("abc")]),
            key(&[Some("ab"), None, Some("c")]),
            key(&[Some("ab"), Some(""), Some("c")]),
            key(&[]),
            key(&[None]),
        ];
        for (i, a) in keys.iter().enumerate() {
            for (j, b) in keys.iter().enumerate() {
                assert_eq!(a == b, i == j, "keys {i} and {j}");
                assert_eq!(a.hash() == b.hash(), i == j, "hashes {i} and {j}");
            }
        }
    }

    #[test]
    fn builders_of_one_process_agree_and_forget_the_last_key() {
        let (mut one, mut two) = (KeyBuilder::new(), KeyBuilder::new());
        let _ = one.start().push(b"something long that stays in the buffer").finish();
        assert_eq!(one.start().push(b"x").finish(), two.start().push(b"x").finish());
    }
}
