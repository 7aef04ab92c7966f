//! Names to dense slots, so that counters are arrays.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Slot of everything that found no slot of its own, because the table was full.
pub const OVERFLOW: u32 = 0;

/// Slots by name. A slot is never given to a second name: its counters would tell of two things.
#[derive(Debug)]
pub(crate) struct Names {
    capacity: usize,
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_name: HashMap<Arc<str>, u32>,
    by_slot: Vec<Arc<str>>,
}

impl Names {
    /// `reserved` are the names of slots 0, 1, …; the first is the overflow slot. They come on top of `capacity`.
    pub(crate) fn new(capacity: usize, reserved: &[&str]) -> Self {
        let by_slot = reserved.iter().map(|name| Arc::from(*name)).collect();
        Self {
            capacity: capacity + reserved.len(),
            inner: RwLock::new(Inner { by_name: HashMap::new(), by_slot }),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The slot of `name`, taking a new one if need be; `OVERFLOW` when all are taken.
    pub(crate) fn slot(&self, name: &str) -> u32 {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = inner.by_name.get(name) {
            return *slot;
        }
        if inner.by_slot.len() >= self.capacity {
            return OVERFLOW;
        }
        let Ok(slot) = u32::try_from(inner.by_slot.len()) else { return OVERFLOW };
        let name: Arc<str> = Arc::from(name);
        inner.by_slot.push(Arc::clone(&name));
        inner.by_name.insert(name, slot);
        slot
    }

    /// Names of the slots from `from` on. Slots are only ever appended, so that a reader's copy stays true.
    pub(crate) fn since(&self, from: usize) -> Vec<Arc<str>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.by_slot.get(from..).unwrap_or_default().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_slot_and_a_full_table_overflows() {
        let names = Names::new(2, &["(other)", "(unmatched)"]);
        assert_eq!(names.slot("a"), 2);
        assert_eq!(names.slot("b"), 3);
        assert_eq!(names.slot("c"), OVERFLOW);
        assert_eq!(names.slot("a"), 2);
        assert_eq!(names.slot("c"), OVERFLOW);
        assert_eq!(names.since(3).len(), 1);
        assert_eq!(&*names.since(3)[0], "b");
        assert!(names.since(9).is_empty());
    }

    #[test]
    fn a_name_spelled_like_a_reserved_one_is_its_own() {
        let names = Names::new(2, &["(other)"]);
        assert_eq!(names.slot("(other)"), 1);
    }
}
