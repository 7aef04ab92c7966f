//! Coarse, lazy timers: one wheel of 10 ms ticks. Pure: time is an argument.
//!
//! A timer is linked in the slot of its due tick, or in the furthest slot if it is due beyond the horizon (41 s).
//! Moving it later, the common case (a deadline pushed on by every request), stores the new time and nothing else:
//! when its old slot comes up it is linked again. Moving it earlier relinks at once. Each timer is linked at most
//! once, so nothing can pile up.

/// Length of a tick: timers fire up to this much late, never early.
pub(crate) const TICK_MS: u64 = 10;
/// "Not set."
pub(crate) const NEVER: u64 = u64::MAX;

const SLOTS: usize = 4096;
const WORDS: usize = SLOTS / 64;
const NIL: u32 = u32::MAX;
const UNLINKED: u64 = u64::MAX;

/// A timer of this wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimerId(u32);

#[derive(Debug, Clone, Copy)]
struct Node {
    due_ms: u64,
    /// The tick in whose slot this is linked.
    tick: u64,
    previous: u32,
    next: u32,
    owner: u64,
}

/// The wheel. `owner` is whatever the user of a timer wants to be told when it fires.
pub(crate) struct Wheel {
    heads: Box<[u32]>,
    /// A bit per slot, and a bit per word of that.
    occupied: [u64; WORDS],
    summary: u64,
    nodes: Vec<Node>,
    free: Vec<u32>,
    /// The last tick that was processed.
    current: u64,
}

impl Wheel {
    pub(crate) fn new(now_ms: u64) -> Wheel {
        Wheel {
            heads: vec![NIL; SLOTS].into_boxed_slice(),
            occupied: [0; WORDS],
            summary: 0,
            nodes: Vec::new(),
            free: Vec::new(),
            current: now_ms / TICK_MS,
        }
    }

    /// A new timer, not set.
    pub(crate) fn insert(&mut self, owner: u64) -> TimerId {
        let node = Node { due_ms: NEVER, tick: UNLINKED, previous: NIL, next: NIL, owner };
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.nodes.get_mut(index as usize)
        {
            *slot = node;
            return TimerId(index);
        }
        self.nodes.push(node);
        TimerId(self.nodes.len() as u32 - 1)
    }

    /// Ends a timer; its id may be given out again.
    pub(crate) fn remove(&mut self, id: TimerId) {
        self.unlink(id.0);
        self.free.push(id.0);
    }

    /// Sets when a timer is due; [`NEVER`] disarms it.
    #[inline]
    pub(crate) fn set(&mut self, id: TimerId, due_ms: u64) {
        let Some(node) = self.nodes.get_mut(id.0 as usize) else { return };
        node.due_ms = due_ms;
        if due_ms != NEVER && (node.tick == UNLINKED || due_tick(due_ms) < node.tick) {
            self.unlink(id.0);
            self.link(id.0);
        }
    }

    /// Moves to `now_ms` and appends the owners of the timers that fired, which thereby are disarmed.
    pub(crate) fn advance(&mut self, now_ms: u64, fired: &mut Vec<u64>) {
        let target = now_ms / TICK_MS;
        while let Some(tick) = self.next_tick().filter(|tick| *tick <= target) {
            // Links made below go to slots after `tick`.
            self.current = tick;
            let mut index = self.take_slot(tick);
            while let Some(node) = self.nodes.get_mut(index as usize) {
                let (this, next) = (index, node.next);
                (node.tick, node.previous, node.next) = (UNLINKED, NIL, NIL);
                if node.due_ms <= now_ms {
                    node.due_ms = NEVER;
                    fired.push(node.owner);
                } else if node.due_ms != NEVER {
                    self.link(this);
                }
                index = next;
            }
        }
        self.current = self.current.max(target);
    }

    /// When [`Wheel::advance`] has something to do next.
    #[inline]
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.next_tick().map(|tick| tick * TICK_MS)
    }

    /// The first tick after `current` whose slot holds a timer.
    fn next_tick(&self) -> Option<u64> {
        if self.summary == 0 {
            return None;
        }
        let first = (self.current + 1) as usize % SLOTS;
        let (word, bit) = (first / 64, first % 64);
        let here = self.occupied.get(word)? >> bit;
        let slot = if here != 0 {
            first + here.trailing_zeros() as usize
        } else {
            // Later words in circular order, this one's low bits last.
            let rotated = self.summary.rotate_right(word as u32 + 1);
            let word = (word + 1 + rotated.trailing_zeros() as usize) % WORDS;
            word * 64 + self.occupied.get(word)?.trailing_zeros() as usize
        };
        let ahead = (slot + SLOTS - first) % SLOTS;
        Some(self.current + 1 + ahead as u64)
    }

    fn link(&mut self, index: u32) {
        let current = self.current;
        let Some(node) = self.nodes.get_mut(index as usize) else { return };
        let tick = due_tick(node.due_ms).clamp(current + 1, current + SLOTS as u64 - 1);
        let slot = tick as usize % SLOTS;
        let Some(head) = self.heads.get_mut(slot) else { return };
        let next = std::mem::replace(head, index);
        (node.tick, node.previous, node.next) = (tick, NIL, next);
        if let Some(next) = self.nodes.get_mut(next as usize) {
            next.previous = index;
        }
        if let Some(word) = self.occupied.get_mut(slot / 64) {
            *word |= 1 << (slot % 64);
            self.summary |= 1 << (slot / 64);
        }
    }

    fn unlink(&mut self, index: u32) {
        let Some(node) = self.nodes.get_mut(index as usize).filter(|node| node.tick != UNLINKED) else {
            return;
        };
        let (slot, previous, next) = (node.tick as usize % SLOTS, node.previous, node.next);
        (node.tick, node.previous, node.next) = (UNLINKED, NIL, NIL);
        if let Some(next) = self.nodes.get_mut(next as usize) {
            next.previous = previous;
        }
        if let Some(previous) = self.nodes.get_mut(previous as usize) {
            previous.next = next;
        } else if next == NIL {
            self.take_slot(slot as u64);
        } else if let Some(head) = self.heads.get_mut(slot) {
            *head = next;
        }
    }

    /// Empties the slot of `tick` and returns its first node.
    fn take_slot(&mut self, tick: u64) -> u32 {
        let slot = tick as usize % SLOTS;
        if let Some(word) = self.occupied.get_mut(slot / 64) {
            *word &= !(1 << (slot % 64));
            if *word == 0 {
                self.summary &= !(1 << (slot / 64));
            }
        }
        self.heads.get_mut(slot).map_or(NIL, |head| std::mem::replace(head, NIL))
    }
}

/// The tick at whose start `due_ms` has passed.
fn due_tick(due_ms: u64) -> u64 {
    due_ms.div_ceil(TICK_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(wheel: &mut Wheel, now_ms: u64) -> Vec<u64> {
        let mut owners = Vec::new();
        wheel.advance(now_ms, &mut owners);
        owners.sort_unstable();
        owners
    }

    #[test]
    fn fires_at_the_first_tick_that_is_not_early() {
        for due_ms in [1_001, 1_009, 1_010, 1_011, 5_000, 41_000, 200_000, 9_999_999] {
            let mut wheel = Wheel::new(1_000);
            let timer = wheel.insert(7);
            wheel.set(timer, due_ms);
            let expected_ms = due_ms.div_ceil(TICK_MS) * TICK_MS;
            // As the loop does: sleep until the wheel asks for it.
            let mut now_ms = 1_000;
            while now_ms < expected_ms {
                assert_eq!(fired(&mut wheel, now_ms), [], "due {due_ms}, now {now_ms}");
                let next_ms = wheel.next_ms().unwrap();
                assert!(next_ms > now_ms && next_ms <= expected_ms);
                now_ms = next_ms;
            }
            assert_eq!(fired(&mut wheel, now_ms), [7]);
            assert_eq!(wheel.next_ms(), None);
        }
    }

    #[test]
    fn a_time_in_the_past_fires_at_the_next_tick() {
        let mut wheel = Wheel::new(1_000);
        let timer = wheel.insert(7);
        wheel.set(timer, 3);
        assert_eq!(wheel.next_ms(), Some(1_010));
        assert_eq!(fired(&mut wheel, 1_010), [7]);
    }

    #[test]
    fn later_is_lazy_and_earlier_is_not() {
        let mut wheel = Wheel::new(0);
        let timer = wheel.insert(7);
        wheel.set(timer, 100);
        wheel.set(timer, 500);
        assert_eq!(wheel.next_ms(), Some(100), "still linked where it was");
        assert_eq!(fired(&mut wheel, 100), []);
        assert_eq!(wheel.next_ms(), Some(500));
        wheel.set(timer, 200);
        assert_eq!(wheel.next_ms(), Some(200));
        assert_eq!(fired(&mut wheel, 200), [7]);
    }

    #[test]
    fn disarmed_and_removed_timers_are_silent() {
        let mut wheel = Wheel::new(0);
        let (disarmed, removed, kept) = (wheel.insert(1), wheel.insert(2), wheel.insert(3));
        for timer in [disarmed, removed, kept] {
            wheel.set(timer, 50);
        }
        wheel.set(disarmed, NEVER);
        wheel.remove(removed);
        assert_eq!(fired(&mut wheel, 1_000), [3]);
        // A fired timer is disarmed, and can be set again.
        assert_eq!(fired(&mut wheel, 2_000), []);
        wheel.set(kept, 2_050);
        wheel.set(disarmed, 2_060);
        assert_eq!(fired(&mut wheel, 2_060), [1, 3]);
        assert_eq!(wheel.insert(4), removed, "its slot is used again");
    }

    #[test]
    fn a_long_sleep_fires_everything_once() {
        let mut wheel = Wheel::new(0);
        for owner in 0..5_000 {
            let timer = wheel.insert(owner);
            wheel.set(timer, owner * 37);
        }
        let owners = fired(&mut wheel, 10_000_000);
        assert!(owners.iter().copied().eq(0..5_000));
        assert_eq!(wheel.next_ms(), None);
    }

    /// Against a list of due times, over random operations.
    #[test]
    fn agrees_with_a_plain_list() {
        let mut state = 0x2545_f491_4f6c_dd1du64;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let mut now_ms = 123_456;
        let mut wheel = Wheel::new(now_ms);
        let timers: Vec<TimerId> = (0..64).map(|owner| wheel.insert(owner)).collect();
        let mut due = vec![NEVER; 64];
        for _ in 0..20_000 {
            match random(4) {
                0 => {
                    now_ms += random(2_000);
                    let tick_ms = now_ms / TICK_MS * TICK_MS;
                    let mut expected: Vec<u64> = (0..64)
                        .filter(|&owner| {
                            due[owner as usize].div_ceil(TICK_MS).saturating_mul(TICK_MS) <= tick_ms
                        })
                        .collect();
                    expected.iter().for_each(|&owner| due[owner as usize] = NEVER);
                    expected.sort_unstable();
                    assert_eq!(fired(&mut wheel, now_ms), expected);
                }
                1 => {
                    let owner = random(64) as usize;
                    due[owner] = NEVER;
                    wheel.set(timers[owner], NEVER);
                }
                _ => {
                    let owner = random(64) as usize;
                    due[owner] = now_ms + 1 + random(100_000);
                    wheel.set(timers[owner], due[owner]);
                }
            }
        }
    }
}
