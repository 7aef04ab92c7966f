//! Vectors of one core, used again: an idle session holds none.

use std::cell::RefCell;

/// How many are kept.
const KEPT: usize = 64;
/// One that grew beyond this is not.
const KEPT_BYTES: usize = 64 * 1024;

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty vector.
pub(crate) fn get() -> Vec<u8> {
    FREE.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(2048))
}

/// Gives one back.
pub(crate) fn put(mut vec: Vec<u8>) {
    if !(1..=KEPT_BYTES).contains(&vec.capacity()) {
        return;
    }
    FREE.with_borrow_mut(|free| {
        if free.len() < KEPT {
            vec.clear();
            free.push(vec);
        }
    });
}
