//! Atomic operations on words of maps, which `core::sync::atomic` leaves out for BPF because its first instruction sets
//! had none.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd};

/// `AtomicU64::compare_exchange`: whether `old` was there and `new` is now.
///
/// # Safety
/// `word` must be valid, aligned, and accessed by nobody in any but an atomic way.
#[inline(always)]
pub(crate) unsafe fn compare_exchange(word: *mut u64, old: u64, new: u64) -> bool {
    const ORDER: AtomicOrdering = AtomicOrdering::SeqCst;
    // SAFETY: the caller's promise.
    unsafe { atomic_cxchg::<u64, ORDER, ORDER>(word, old, new) }.1
}

/// Adds to a counter that several CPUs share.
///
/// # Safety
/// As of [`compare_exchange`].
#[inline(always)]
pub(crate) unsafe fn add(word: *mut u64, amount: u64) {
    // SAFETY: the caller's promise. Without a use of the result this is one instruction of the first instruction set.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(word, amount) };
}
