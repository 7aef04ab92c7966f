//! What the program costs: nanoseconds for each kind of packet, by `BPF_PROG_TEST_RUN`. Run it as root:
//! `cargo run --release -p sluice-xdp --example cost`. `SLUICE_XDP_OBJECT` names another object to measure.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measuring tool for people"
)]

#[path = "../tests/support/frame.rs"]
#[allow(dead_code, reason = "each program uses a part")]
mod frame;

use frame::{ACK, SYN, ethernet};
use ipnet::IpNet;
use sluice_xdp::{EMBEDDED_OBJECT, LetThrough, Options, Rate, Xdp, XdpError, subscriber};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

const PORT: u16 = 8080;
const REPEAT: u32 = 200_000;
const RUNS: usize = 15;
const HOUR: Duration = Duration::from_secs(3_600);

fn v4(source: &str, flags: u8) -> Vec<u8> {
    ethernet().ipv4(source).tcp(PORT, flags)
}

fn v6(source: &str, flags: u8) -> Vec<u8> {
    ethernet().ipv6(source).tcp(PORT, flags)
}

/// Loads the embedded object, or a fresh build.
fn start(options: &Options) -> Result<Xdp, XdpError> {
    let fresh = std::env::var_os("SLUICE_XDP_OBJECT").map(|path| std::fs::read(path).unwrap());
    Xdp::start_object(fresh.as_deref().unwrap_or(EMBEDDED_OBJECT), options)
}

/// Prints the best and the median of several runs.
fn measure(xdp: &mut Xdp, what: &str, frame: &[u8], expect_drop: bool) {
    let mut runs: Vec<u128> = (0..RUNS)
        .map(|_| {
            let (drops, time) = xdp.test_run(frame, REPEAT).unwrap();
            assert_eq!(drops, expect_drop, "{what}");
            time.as_nanos()
        })
        .collect();
    runs.sort_unstable();
    println!("{what:<58} {:>5} {:>5}", runs[0], runs[runs.len() / 2]);
}

/// The mean of single runs, each from another source or all from one. The clock is read around every run, so only the
/// difference of the two says something.
fn singly(xdp: &mut Xdp, what: &str, sources: u32) {
    let mut frame = v4("0.0.0.0", SYN);
    let mut total = Duration::ZERO;
    for index in 0..REPEAT {
        // Odd times anything is a permutation: no source comes twice.
        let source = (index % sources).wrapping_mul(2_654_435_761) | 1 << 31;
        frame[26..30].copy_from_slice(&source.to_be_bytes());
        total += xdp.test_run(&frame, 1).unwrap().1;
    }
    println!("{what:<58} {:>11}", total.as_nanos() / u128::from(REPEAT));
}

fn few() -> Options {
    Options {
        block: vec![("198.51.100.0/24".parse().unwrap(), 1), ("2001:db8:bad::/48".parse().unwrap(), 2)],
        served_ports: vec![PORT],
        ..Options::default()
    }
}

fn many() -> Options {
    let mut state = 12_345u32;
    let mut options = few();
    options.block.extend((0..100_000u32).map(|index| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let address = Ipv4Addr::from(state & 0x7fff_ffff | 0x0100_0000);
        (IpNet::new(address.into(), 20 + (state % 13) as u8).unwrap(), 3 + index % 1_000)
    }));
    options.block.extend((0..50_000u128).map(|index| {
        let address = Ipv6Addr::from(0x2001_0db8_1000 << 80 | index << 64);
        (IpNet::new(address.into(), 64).unwrap(), 2)
    }));
    options
}

fn ban(xdp: &mut Xdp, address: IpAddr) {
    xdp.ban(subscriber(address), HOUR, LetThrough::Nothing).unwrap();
}

fn lists(name: &str, options: &Options, bans: u32) {
    let mut xdp = start(options).unwrap();
    for index in 0..bans {
        ban(&mut xdp, IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + index)));
    }
    ban(&mut xdp, "203.0.113.9".parse().unwrap());
    println!("-- {name}");
    measure(&mut xdp, "pass, IPv4", &v4("192.0.2.7", ACK), false);
    measure(&mut xdp, "pass, IPv6", &v6("2001:db8:600d::1", ACK), false);
    measure(&mut xdp, "drop, IPv4 network", &v4("198.51.100.200", SYN), true);
    measure(&mut xdp, "drop, IPv6 network", &v6("2001:db8:bad::99", SYN), true);
    measure(&mut xdp, "drop, ban", &v4("203.0.113.9", SYN), true);
}

fn main() {
    println!("{:<58} {:>5} {:>5}", "nanoseconds a packet", "best", "med");
    let mut xdp = start(&Options { served_ports: vec![PORT], ..Options::default() }).unwrap();
    println!("-- no lists");
    measure(&mut xdp, "pass, not IP", &ethernet().other(0x0806).raw(), false);
    measure(&mut xdp, "pass, another port", &ethernet().ipv4("192.0.2.7").tcp(22, ACK), false);
    measure(&mut xdp, "pass, IPv4", &v4("192.0.2.7", ACK), false);
    measure(&mut xdp, "pass, IPv6", &v6("2001:db8::7", ACK), false);
    lists("2 networks, 1 ban", &few(), 0);
    lists("150 thousand networks, 50 thousand bans", &many(), 50_000);

    println!("-- SYN rate");
    let limited = |per_second, burst| Options { source_syns: Some(Rate { per_second, burst }), ..few() };
    let mut xdp = start(&limited(10_000_000, u32::MAX)).unwrap();
    measure(&mut xdp, "pass, SYN under the limit", &v4("192.0.2.7", SYN), false);
    measure(&mut xdp, "pass, no SYN", &v4("192.0.2.7", ACK), false);
    let mut xdp = start(&limited(1, 1)).unwrap();
    xdp.test_run(&v4("192.0.2.7", SYN), 2).unwrap();
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        // A second's refill lets one through now and then; the time is that of the others.
        runs.push(xdp.test_run(&v4("192.0.2.7", SYN), REPEAT).unwrap().1.as_nanos());
    }
    runs.sort_unstable();
    println!("{:<58} {:>5} {:>5}", "drop, SYN over the limit", runs[0], runs[RUNS / 2]);
    let mut xdp = start(&limited(50, 100_000)).unwrap();
    singly(&mut xdp, "clock and SYN, one source", 1);
    singly(&mut xdp, "clock and SYN, a flood from random sources", REPEAT);
    let everything = Options { block: vec![("0.0.0.0/0".parse().unwrap(), 1)], ..few() };
    let mut xdp = start(&everything).unwrap();
    singly(&mut xdp, "clock and drop, one source", 1);
    singly(&mut xdp, "clock and drop, a flood from random sources", REPEAT);
}
