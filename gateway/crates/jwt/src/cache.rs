//! Tokens that were verified already. One for each core: no locks, nothing shared.

use aws_lc_rs::digest::{Context, SHA256};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

/// A token, and who judged it: nobody finds two with one id (SHA-256).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenId([u8; 32]);

impl TokenId {
    /// The id of a token as judged by one authorizer: `authorizer` is its number, so that what one of them accepted is
    /// not taken for accepted by another.
    pub fn new(authorizer: u64, token: &str) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(&authorizer.to_le_bytes());
        context.update(token.as_bytes());
        let mut id = [0; 32];
        for (to, from) in id.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        Self(id)
    }
}

impl std::hash::Hash for TokenId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

/// An id is a hash already.
#[derive(Default)]
struct Taken(u64);

impl Hasher for Taken {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

struct Entry<T> {
    value: Rc<T>,
    until_s: u64,
    /// Which keys verified it.
    generation: u64,
}

/// Up to a number of verified tokens, the oldest leaving first.
pub struct Verified<T> {
    entries: HashMap<TokenId, Entry<T>, BuildHasherDefault<Taken>>,
    order: VecDeque<TokenId>,
    capacity: usize,
}

impl<T> Verified<T> {
    /// For `capacity` tokens, at least one.
    pub fn new(capacity: usize) -> Self {
        Self { entries: HashMap::default(), order: VecDeque::new(), capacity: capacity.max(1) }
    }

    /// What was found in a token, if it has not expired and was verified with keys of this generation. Add one to it
    /// whenever the key set or what is expected of tokens changes: a key that was withdrawn then counts no more.
    pub fn get(&self, id: &TokenId, generation: u64, now_s: u64) -> Option<&Rc<T>> {
        let entry = self.entries.get(id)?;
        (entry.generation == generation && now_s < entry.until_s).then_some(&entry.value)
    }

    /// Keeps what was found in a token until `until_s`: its `exp`.
    pub fn insert(&mut self, id: TokenId, generation: u64, until_s: u64, value: Rc<T>) {
        if self.entries.insert(id, Entry { value, until_s, generation }).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{TokenId, Verified};
    use std::rc::Rc;

    #[test]
    fn until_it_expires_or_keys_change() {
        let mut cache = Verified::new(2);
        let id = TokenId::new(1, "a.b.c");
        cache.insert(id, 7, 100, Rc::new("ana"));
        assert_eq!(cache.get(&id, 7, 99).map(|value| **value), Some("ana"));
        assert!(cache.get(&id, 7, 100).is_none());
        assert!(cache.get(&id, 8, 99).is_none());
        assert!(cache.get(&TokenId::new(2, "a.b.c"), 7, 99).is_none());
        assert!(cache.get(&TokenId::new(1, "a.b.d"), 7, 99).is_none());
    }

    #[test]
    fn it_keeps_its_bound() {
        let mut cache = Verified::new(2);
        let id = |n: u32| TokenId::new(1, &n.to_string());
        for n in 0..10 {
            cache.insert(id(n), 1, 100, Rc::new(n));
            cache.insert(id(n), 1, 100, Rc::new(n));
            assert!(cache.len() <= 2 && !cache.is_empty());
        }
        assert!(cache.get(&id(7), 1, 1).is_none());
        assert_eq!(cache.get(&id(8), 1, 1).map(|value| **value), Some(8));
        assert_eq!(cache.get(&id(9), 1, 1).map(|value| **value), Some(9));
    }
}
