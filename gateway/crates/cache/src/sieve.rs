//! SIEVE (Zhang and others, NSDI 2024): a queue in order of arrival and a hand. The hand goes from old to new; it spares
//! and unmarks what was read since it last passed, and evicts the first that was not. A read only sets a mark, so readers
//! share nothing with the queue; what is read once is gone after one turn, so a scan doesn't wash out the popular.

/// Position in the queue; stable until removed.
pub(crate) type Slot = u32;

const NONE: Slot = Slot::MAX;

#[derive(Debug)]
struct Link<T> {
    /// Towards the newest.
    newer: Slot,
    /// Towards the oldest; in a free slot the next free one.
    older: Slot,
    item: Option<T>,
}

/// The queue: a doubly linked list in one vector.
#[derive(Debug)]
pub(crate) struct Sieve<T> {
    links: Vec<Link<T>>,
    newest: Slot,
    oldest: Slot,
    hand: Slot,
    free: Slot,
    len: usize,
}

impl<T> Sieve<T> {
    pub(crate) const SLOT_BYTES: usize = size_of::<Link<T>>();

    pub(crate) fn new() -> Self {
        Self { links: Vec::new(), newest: NONE, oldest: NONE, hand: NONE, free: NONE, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds at the new end. None if 2^32 - 1 slots are in use.
    pub(crate) fn push(&mut self, item: T) -> Option<Slot> {
        let link = Link { newer: NONE, older: self.newest, item: Some(item) };
        let slot = self.free;
        if let Some(free) = self.links.get_mut(slot as usize) {
            self.free = free.older;
            *free = link;
            self.join(slot);
            return Some(slot);
        }
        let slot = Slot::try_from(self.links.len()).ok().filter(|slot| *slot != NONE)?;
        self.links.push(link);
        self.join(slot);
        Some(slot)
    }

    fn join(&mut self, slot: Slot) {
        match self.links.get_mut(self.newest as usize) {
            Some(newest) => newest.newer = slot,
            None => self.oldest = slot,
        }
        self.newest = slot;
        self.len += 1;
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<T> {
        let link = self.links.get_mut(slot as usize)?;
        let item = link.item.take()?;
        let (newer, older) = (link.newer, link.older);
        link.older = self.free;
        self.free = slot;
        match self.links.get_mut(newer as usize) {
            Some(link) => link.older = older,
            None => self.newest = older,
        }
        match self.links.get_mut(older as usize) {
            Some(link) => link.newer = newer,
            None => self.oldest = newer,
        }
        if self.hand == slot {
            self.hand = newer;
        }
        self.len -= 1;
        Some(item)
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.links.get_mut(slot as usize)?.item.as_mut()
    }

    /// Moves the hand to the next to evict, which stays in the queue. `spare` says whether an item was read, and unmarks it.
    /// `keep` is never chosen. Readers may mark as fast as the hand unmarks: after two turns it takes what it is at.
    pub(crate) fn victim(
        &mut self,
        keep: Option<Slot>,
        mut spare: impl FnMut(Slot, &T) -> bool,
    ) -> Option<Slot> {
        let mut steps_left = 2 * self.len + 1;
        loop {
            if self.links.get(self.hand as usize).is_none() {
                self.hand = self.oldest;
            }
            let slot = self.hand;
            let link = self.links.get(slot as usize)?;
            let item = link.item.as_ref()?;
            if keep != Some(slot) && (!spare(slot, item) || steps_left == 0) {
                return Some(slot);
            }
            if keep == Some(slot) && self.len == 1 {
                return None;
            }
            self.hand = link.newer;
            steps_left = steps_left.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn evict(sieve: &mut Sieve<char>, read: &mut HashSet<char>) -> char {
        let slot = sieve.victim(None, |_, item| read.remove(item)).unwrap();
        sieve.remove(slot).unwrap()
    }

    /// The walk-through of the paper's figure: A was read, B and so on were not.
    #[test]
    fn hand_spares_what_was_read() {
        let mut sieve = Sieve::new();
        for item in 'A'..='G' {
            sieve.push(item).unwrap();
        }
        let mut read = HashSet::from(['A', 'B', 'G']);
        assert_eq!(evict(&mut sieve, &mut read), 'C', "A and B are spared and unmarked");
        sieve.push('H').unwrap();
        read.insert('A');
        assert_eq!(evict(&mut sieve, &mut read), 'D', "the hand goes on from where it was");
        sieve.push('I').unwrap();
        read.insert('B');
        for expected in ['E', 'F', 'H', 'I'] {
            assert_eq!(evict(&mut sieve, &mut read), expected, "G is spared once");
        }
        assert_eq!(evict(&mut sieve, &mut read), 'G', "the hand wraps past A and B, both read");
        assert_eq!(sieve.len(), 2);
    }

    #[test]
    fn slots_are_reused() {
        let mut sieve = Sieve::new();
        let first = sieve.push('a').unwrap();
        sieve.push('b').unwrap();
        assert_eq!(sieve.remove(first), Some('a'));
        assert_eq!(sieve.remove(first), None);
        assert_eq!(sieve.push('c').unwrap(), first);
        assert_eq!(evict(&mut sieve, &mut HashSet::new()), 'b');
        assert_eq!(evict(&mut sieve, &mut HashSet::new()), 'c');
        assert_eq!(sieve.victim(None, |_, _| false), None);
        assert_eq!(sieve.len(), 0);
    }

    #[test]
    fn ends_although_readers_mark_everything_at_once() {
        let mut sieve = Sieve::new();
        let a = sieve.push('a').unwrap();
        assert_eq!(sieve.victim(None, |_, _| true), Some(a));
        assert_eq!(sieve.victim(Some(a), |_, _| true), None, "the only one, and to be kept");
        let b = sieve.push('b').unwrap();
        assert_eq!(sieve.victim(Some(a), |_, _| true), Some(b));
    }
}
