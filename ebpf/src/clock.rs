//! The kernel's monotonic clock, as of its last tick (1 to 10 ms ago). Reading the hardware's counter would take longer
//! than all the rest of a ban's verdict.

use aya_ebpf::helpers::bpf_ktime_get_coarse_ns;

#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    // SAFETY: the helper takes no arguments and has no preconditions.
    unsafe { bpf_ktime_get_coarse_ns() }
}
