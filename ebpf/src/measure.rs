//! Programs that only the cost measurement loads: `cargo run --release -p sluice-xdp --example cost`.

use aya_ebpf::programs::XdpContext;

/// Offset of an IPv4 packet's source address in a frame without tags.
const SOURCE_AT: usize = 14 + 12;

/// Gives the frame another source address than it had: the next of a sequence that repeats after 2^32 (Knuth's constants
/// for MMIX, lower half). `BPF_PROG_TEST_RUN` hands the same frame in again and again.
#[inline(always)]
pub(crate) fn change_source(ctx: &XdpContext) {
    let (at, end) = (ctx.data() + SOURCE_AT, ctx.data_end());
    if at + 4 > end {
        return;
    }
    let source = at as *mut u32;
    // SAFETY: checked to lie within the packet; no alignment is assumed.
    unsafe {
        let next = source.read_unaligned().wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        source.write_unaligned(next);
    }
}
