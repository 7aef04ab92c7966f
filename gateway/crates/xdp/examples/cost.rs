//! What the program costs: nanoseconds for each kind of packet, by `BPF_PROG_TEST_RUN`, and the time that long lists
//! take to load, as a table for `bench/XDP.md`. `net` is the median less that of a program which makes the same packet
//! and passes it: what `BPF_PROG_TEST_RUN` itself costs on this machine. The two are run in turn, and only those turns count in
//! which the latter was about as fast as it ever was: a neighbour of a virtual machine slows both. Run it as root on a quiet one:
//! `cargo run --release -p sluice-xdp --example cost`. `SLUICE_XDP_OBJECT` names another object to measure, and
//! `SLUICE_XDP_ROWS` a part of the text of the rows that are wanted.
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
use sluice_xdp::{EMBEDDED_OBJECT, LetThrough, Limits, Options, Rate, Xdp, subscriber};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

const PORT: u16 = 8080;
const REPEAT: u32 = 200_000;
/// Calm turns that a row is made of, and how many are tried.
const TURNS: usize = 15;
const TURNS_MOST: usize = 300;
const HOUR: Duration = Duration::from_secs(3_600);
const BANS: u32 = 50_000;
/// What a packet of a flood meets when nothing ever refuses it.
const NO_LIMIT: Rate = Rate { per_second: 3_000_000, burst: 3_000_000_000 };

fn v4(source: &str, flags: u8) -> Vec<u8> {
    ethernet().ipv4(source).tcp(PORT, flags)
}

fn v6(source: &str, flags: u8) -> Vec<u8> {
    ethernet().ipv6(source).tcp(PORT, flags)
}

/// Loads the embedded object, or a fresh build.
fn start(options: &Options) -> Xdp {
    let fresh = std::env::var_os("SLUICE_XDP_OBJECT").map(|path| std::fs::read(path).unwrap());
    Xdp::start_object(fresh.as_deref().unwrap_or(EMBEDDED_OBJECT), options).unwrap()
}

/// The least that a program which judges nothing has cost so far: `idle`, and `flood_idle`.
static CALMEST_NS: [AtomicU32; 2] = [const { AtomicU32::new(u32::MAX) }; 2];

/// Nanoseconds of a program with this packet, the best and the median of calm turns, and the median of one that judges
/// nothing.
fn measure(xdp: &mut Xdp, program: &str, frame: &[u8]) -> (u32, u32, u32) {
    let (empty, calmest) =
        if program == "flood" { ("flood_idle", &CALMEST_NS[1]) } else { ("idle", &CALMEST_NS[0]) };
    let once = |xdp: &mut Xdp, program: &str| -> u32 {
        xdp.runner(program).unwrap().run(frame, REPEAT).unwrap().1.as_nanos().try_into().unwrap()
    };
    // Until tables and caches are as they stay.
    once(xdp, program);
    let mut turns: Vec<(u32, u32)> = Vec::new();
    for _ in 0..TURNS_MOST {
        turns.push((once(xdp, empty), once(xdp, program)));
        let least = calmest.fetch_min(turns[turns.len() - 1].0, Ordering::Relaxed);
        turns.retain(|(empty, _)| *empty <= least.saturating_mul(8) / 7);
        if turns.len() >= TURNS {
            break;
        }
    }
    assert!(!turns.is_empty(), "the machine was never as calm as it has been: measure again");
    let sorted = |of: fn(&(u32, u32)) -> u32| {
        let mut times: Vec<u32> = turns.iter().map(of).collect();
        times.sort_unstable();
        times
    };
    let (empties, times) = (sorted(|turn| turn.0), sorted(|turn| turn.1));
    (times[0], times[times.len() / 2], empties[empties.len() / 2])
}

/// Prints what a packet costs, as measured and less what a program that judges nothing costs there and then.
fn row(xdp: &mut Xdp, program: &str, what: &str, promise: Option<u32>, frame: &[u8]) {
    if std::env::var("SLUICE_XDP_ROWS").is_ok_and(|wanted| !what.contains(&wanted)) {
        return;
    }
    let (best, median, empty) = measure(xdp, program, frame);
    let net = median.saturating_sub(empty);
    let promise = promise.map_or(String::new(), |most| format!("< {most}"));
    println!("| {what:<64} | {best:>4} | {median:>6} | {net:>4} | {promise:>8} |");
}

fn gate(xdp: &mut Xdp, what: &str, promise: Option<u32>, frame: &[u8]) {
    row(xdp, "gate", what, promise, frame);
}

fn title(text: &str) {
    println!("| **{text}** | | | | |");
}

fn few() -> Options {
    Options {
        block: vec![("198.51.100.0/24".parse().unwrap(), 1), ("2001:db8:bad::/48".parse().unwrap(), 2)],
        served_ports: vec![PORT],
        drop_udp: true,
        drop_fragments: true,
        drop_later_fragments: true,
        ..Options::default()
    }
}

/// `count` networks beside those of `few`, of lengths from 20 to 32; half of them IPv6 if `has_v6`.
fn many(count: u32, seed: u32, has_v6: bool) -> Options {
    let mut state = seed;
    let mut options = few();
    options.block.extend((0..count).map(|index| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let net = if has_v6 && index % 2 == 0 {
            let address = Ipv6Addr::from(0x2001_0db8_1000 << 80 | u128::from(index + seed) << 64);
            IpNet::new(address.into(), 64)
        } else {
            let address = Ipv4Addr::from(state & 0x7fff_ffff | 0x0100_0000);
            IpNet::new(address.into(), 20 + (state % 13) as u8)
        };
        (net.unwrap(), 3 + index % 1_000)
    }));
    options
}

fn ban(xdp: &mut Xdp, address: IpAddr) {
    xdp.ban(subscriber(address), HOUR, LetThrough::Nothing).unwrap();
}

/// Bans `count` IPv4 addresses and one known one of either family.
fn ban_many(xdp: &mut Xdp, count: u32) {
    for index in 0..count {
        ban(xdp, IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + index)));
    }
    ban(xdp, "203.0.113.9".parse().unwrap());
    ban(xdp, "2001:db8:9::9".parse().unwrap());
}

fn lists(name: &str, options: &Options, bans: u32) {
    title(name);
    let mut xdp = start(options);
    ban_many(&mut xdp, bans);
    gate(&mut xdp, "pass, IPv4", Some(25), &v4("192.0.2.7", ACK));
    gate(&mut xdp, "pass, IPv6", Some(25), &v6("2001:db8:600d::1", ACK));
    gate(&mut xdp, "drop by network, IPv4", None, &v4("198.51.100.200", SYN));
    gate(&mut xdp, "drop by network, IPv6", None, &v6("2001:db8:bad::99", SYN));
    gate(&mut xdp, "drop by ban, IPv4", Some(60), &v4("203.0.113.9", SYN));
    gate(&mut xdp, "drop by ban, IPv6", Some(60), &v6("2001:db8:9::9", SYN));
}

fn rates() {
    let all = Limits { syns: Some(NO_LIMIT), packets: Some(NO_LIMIT), bytes: Some(NO_LIMIT) };
    let syns = |rate| Limits { syns: Some(rate), ..Limits::default() };
    title("rates");
    let mut xdp = start(&Options { source: syns(NO_LIMIT), ..few() });
    gate(&mut xdp, "pass, SYN under its source's rate", None, &v4("192.0.2.7", SYN));
    gate(&mut xdp, "pass, no SYN", None, &v4("192.0.2.7", ACK));
    let mut xdp = start(&Options { source: syns(Rate { per_second: 1, burst: 1 }), ..few() });
    gate(&mut xdp, "drop, SYN over its source's rate", None, &v4("192.0.2.7", SYN));
    let mut xdp = start(&Options { source: all, prefix: all, ..few() });
    gate(&mut xdp, "pass, every rate of source and prefix, no SYN", None, &v4("192.0.2.7", ACK));
    gate(&mut xdp, "pass, every rate of source and prefix, SYN", None, &v4("192.0.2.7", SYN));
}

fn floods() {
    let syns = |rate| Limits { syns: Some(rate), ..Limits::default() };
    let budget = Some(Rate { per_second: 1, burst: 16 });
    title("SYN flood, every packet from another random source");
    let flood = |what: &str, promise, options: &Options, bans| {
        let mut xdp = start(options);
        if bans > 0 {
            ban_many(&mut xdp, bans);
        }
        row(&mut xdp, "flood", what, promise, &v4("192.0.2.7", SYN));
    };
    flood("pass, nothing set", None, &few(), 0);
    flood("pass, 50,000 bans", None, &few(), BANS);
    let limited = Options { source: syns(Rate { per_second: 50, burst: 100 }), ..few() };
    flood("pass, each source in a bucket of its own", Some(150), &limited, 0);
    let both = Options { prefix: syns(Rate { per_second: 500, burst: 1_000 }), ..limited };
    flood("drop and pass, buckets of source and prefix", Some(150), &both, 0);
    let all = Options { syn_budget: budget, ..both };
    flood("drop, over the budget of all", Some(150), &all, 0);
    let long = Options { block: many(100_000, 12_345, false).block, ..few() };
    flood("pass, 100,000 networks", Some(150), &long, 0);
    let lists = Options { block: many(100_000, 12_345, false).block, ..all.clone() };
    flood("drop, over the budget, 100,000 networks and 50,000 bans", Some(150), &lists, BANS);
    let blocked = Options { block: vec![("0.0.0.0/0".parse().unwrap(), 1)], ..few() };
    flood("drop by network, each source counted", Some(150), &blocked, 0);
}

/// Milliseconds that lists of this size take: loaded into a program that has none, then replaced by others.
fn load_times(count: u32, has_v6: bool) {
    let mut xdp = start(&few());
    let (first, second) = (many(count, 12_345, has_v6), many(count, 777_777, has_v6));
    let time = |xdp: &mut Xdp, options: &Options| {
        let start = Instant::now();
        xdp.reconcile(options).unwrap();
        start.elapsed().as_millis()
    };
    let (loaded, replaced) = (time(&mut xdp, &first), time(&mut xdp, &second));
    let family = if has_v6 { "half of them IPv6" } else { "IPv4" };
    println!("| {count} networks, {family} | {loaded} | {replaced} | < 1000 |");
}

fn main() {
    println!("| nanoseconds a packet {:<43} | best | median | net | promised |", "");
    println!("|{}|-----:|-------:|----:|---------:|", "-".repeat(66));
    let mut xdp = start(&Options { served_ports: vec![PORT], ..Options::default() });
    title("no lists");
    gate(&mut xdp, "pass, not IP", None, &ethernet().other(0x0806).raw());
    gate(&mut xdp, "pass, another port", None, &ethernet().ipv4("192.0.2.7").tcp(22, ACK));
    gate(&mut xdp, "pass, IPv4", Some(25), &v4("192.0.2.7", ACK));
    gate(&mut xdp, "pass, IPv6", Some(25), &v6("2001:db8::7", ACK));
    lists("2 networks, 2 bans", &few(), 0);
    lists("100,000 networks, 50,000 bans", &many(100_000, 12_345, true), BANS);
    rates();
    floods();
    println!("\n| milliseconds | loaded | replaced | promised |\n|---|---:|---:|---:|");
    load_times(100_000, false);
    load_times(100_000, true);
}
