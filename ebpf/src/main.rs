//! The XDP program: drops what block lists, bans and per-source rates condemn before the kernel allocates anything
//! for it, and passes everything else.
//!
//! It judges only TCP to the gateway's own ports, so that no list, however wrong, cuts off SSH, replies of upstreams
//! or neighbour discovery. `parse` finds out what a packet is, `verdict` decides with `bans` and `rates`, `count` counts, `maps` is all the
//! state;
//! layouts shared with the gateway are in `common`.
#![no_std]
#![no_main]
#![feature(core_intrinsics, asm_experimental_arch)]
#![allow(internal_features, reason = "`atomic`, `parse`; `-Zbuild-std` needs an unstable compiler anyway")]

mod atomic;
mod bans;
mod clock;
mod count;
mod maps;
mod measure;
mod parse;
mod rates;
mod verdict;

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    macros::xdp,
    programs::XdpContext,
};

/// The program for Linux 5.18 and later, where a packet may lie in several buffers.
#[xdp(frags)]
fn gate(ctx: XdpContext) -> u32 {
    run(&ctx)
}

/// The same for older kernels.
#[xdp]
fn gate_linear(ctx: XdpContext) -> u32 {
    run(&ctx)
}

/// For measuring: does nothing, so it costs what calling a program costs.
#[xdp]
fn idle(_: XdpContext) -> u32 {
    XDP_PASS
}

/// For measuring: every packet is from another source.
#[xdp]
fn flood(ctx: XdpContext) -> u32 {
    measure::change_source(&ctx);
    run(&ctx)
}

/// For measuring: what making every packet another source's costs.
#[xdp]
fn flood_idle(ctx: XdpContext) -> u32 {
    measure::change_source(&ctx);
    XDP_PASS
}

#[inline(always)]
fn run(ctx: &XdpContext) -> u32 {
    // There always is one.
    let Some(cpu) = maps::CPU.get_ptr_mut(0) else {
        return XDP_PASS;
    };
    let packet = parse::parse(ctx.data(), ctx.data_end());
    if verdict::judge(&packet, cpu, || ctx.ingress_ifindex() as u32) { XDP_DROP } else { XDP_PASS }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Never linked: the verifier would refuse a loop that cannot end.
    loop {}
}

/// Helpers that the program calls are for GPL-compatible programs only; MIT is one of those to the kernel.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
