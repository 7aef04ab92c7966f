//! The kernel's monotonic clock, as of its last tick (1 to 10 ms ago). Reading the hardware's counter would take longer
//! than all the rest of a ban's verdict.
//!
//! That clock moves only with the count of ticks, which the verifier turns into a load of one word, where asking for the
//! time is a call. So each CPU asks once in a tick. Should it do so in the instant between the kernel's writing the one
//! and the other, it is a tick late until the next.

use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_coarse_ns};
use sluice_common::Cpu;

/// What time it is; `cpu` is this CPU's.
#[inline(always)]
pub(crate) fn now_ns(cpu: *mut Cpu) -> u64 {
    // SAFETY: the helpers take no arguments and have no preconditions; the value is this CPU's alone.
    unsafe {
        let tick = bpf_jiffies64();
        if tick != (*cpu).tick {
            (*cpu).tick = tick;
            (*cpu).now_ns = bpf_ktime_get_coarse_ns();
        }
        (*cpu).now_ns
    }
}
