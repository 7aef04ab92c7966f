//! The program as a function: a frame in, a verdict and a reason out (`BPF_PROG_TEST_RUN`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says that it is skipped by printing"
)]

mod support;

use ipnet::IpNet;
use sluice_xdp::{Counters, LetThrough, Limits, Options, Rate, Reason, Stat, Xdp};
use std::time::{Duration, Instant};
use support::{
    cases::{self, Case, Cases},
    frame::{ACK, Frame, SYN, ethernet},
    reference,
};

const PORT: u16 = 8080;
const HOUR: Duration = Duration::from_secs(3_600);

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn syns(rate: Rate) -> Limits {
    Limits { syns: Some(rate), ..Limits::default() }
}

fn packets(rate: Rate) -> Limits {
    Limits { packets: Some(rate), ..Limits::default() }
}

fn v4(source: &str) -> Frame {
    ethernet().ipv4(source)
}

fn v6(source: &str) -> Frame {
    ethernet().ipv6(source)
}

/// Runs the program once: its verdict, and the one counter that moved.
fn judge(xdp: &mut Xdp, frame: &[u8]) -> (bool, Reason, Stat) {
    let before = xdp.counters(0).unwrap();
    let (drops, _) = xdp.test_run(frame, 1).unwrap();
    let after = xdp.counters(0).unwrap();
    let mut moved = Reason::ALL.into_iter().filter(|&reason| before.reason(reason) != after.reason(reason));
    let reason = moved.next().expect("a packet is counted");
    assert_eq!(moved.next(), None, "a packet is counted once");
    (drops, reason, difference(before.reason(reason), after.reason(reason)))
}

fn difference(before: Stat, after: Stat) -> Stat {
    Stat { packets: after.packets - before.packets, bytes: after.bytes - before.bytes }
}

fn lists() -> Options {
    Options {
        block: vec![
            (net("198.51.100.0/24"), 7),
            (net("198.51.100.128/25"), 8),
            (net("2001:db8:bad::/48"), 9),
        ],
        allow: vec![net("198.51.100.10/32"), net("2001:db8:bad:a::/64"), net("203.0.113.200/32")],
        served_ports: vec![PORT, 443],
        ..Options::default()
    }
}

#[test]
fn every_case_gets_its_verdict() {
    for (file, Cases { options, bans, cases }) in cases::files() {
        let Some(mut xdp) = support::start("every_case_gets_its_verdict", &options) else { return };
        for net in bans {
            xdp.ban(net, HOUR, LetThrough::Nothing).unwrap();
        }
        assert!(!cases.is_empty(), "{file}");
        for Case { name, frame, reason, rule, is_dry } in &cases {
            let before = xdp.counters(0).unwrap();
            let (drops, _) = xdp.test_run(frame, 1).unwrap();
            let after = xdp.counters(0).unwrap();
            let moved: Vec<(Reason, u64, u64)> = before
                .reasons
                .iter()
                .zip(&after.reasons)
                .map(|(old, new)| {
                    let (count, dry) = (difference(old.count, new.count), difference(old.dry, new.dry));
                    (new.reason, count.packets, dry.packets)
                })
                .filter(|&(_, count, dry)| count + dry > 0)
                .collect();
            assert_eq!(moved, [(*reason, u64::from(!is_dry), u64::from(*is_dry))], "{name}");
            assert_eq!(drops, reason.drops() && !is_dry, "{name}");
            for entry in &after.rules {
                let expected = u64::from(*rule == Some(entry.rule));
                let found = entry.count.packets - before.rule(entry.rule).packets;
                assert_eq!(found, expected, "{name}: rule {}", entry.rule);
            }
        }
    }
}

#[test]
fn the_program_for_older_kernels_gives_the_same_verdicts() {
    for (_, Cases { options, bans, cases }) in cases::files() {
        let test = "the_program_for_older_kernels_gives_the_same_verdicts";
        let Some(mut xdp) = support::start(test, &options) else { return };
        for net in bans {
            xdp.ban(net, HOUR, LetThrough::Nothing).unwrap();
        }
        let runner = xdp.runner("gate_linear").unwrap();
        for Case { name, frame, reason, is_dry, .. } in &cases {
            assert_eq!(runner.run(frame, 1).unwrap().0, reason.drops() && !is_dry, "{name}");
        }
    }
}

#[test]
fn many_bans_come_and_go_and_each_is_met_alone() {
    let Some(mut xdp) = support::start("many_bans_come_and_go_and_each_is_met_alone", &lists()) else {
        return;
    };
    let source = |index: u32| std::net::Ipv4Addr::from(0x0b00_0000 + index).to_string();
    let is_banned =
        |xdp: &mut Xdp, index: u32| xdp.test_run(&v4(&source(index)).tcp(PORT, ACK), 1).unwrap().0;
    const COUNT: u32 = 20_000;
    for index in 0..COUNT {
        support::ban(&mut xdp, &source(index), HOUR);
    }
    for index in (0..COUNT).step_by(2) {
        assert!(xdp.unban(net(&format!("{}/32", source(index)))).unwrap());
    }
    for index in 0..COUNT {
        assert_eq!(is_banned(&mut xdp, index), index % 2 == 1, "{index}");
    }
    let bans = xdp.bans().unwrap();
    assert_eq!(bans.len() as u32, COUNT / 2);
    assert!(bans.iter().all(|ban| ban.seen.packets == 1));
}

#[test]
fn without_served_ports_nothing_is_dropped() {
    let options = Options { served_ports: vec![], ..lists() };
    let Some(mut xdp) = support::start("without_served_ports_nothing_is_dropped", &options) else { return };
    let (drops, reason, _) = judge(&mut xdp, &v4("198.51.100.7").tcp(PORT, SYN));
    assert_eq!((drops, reason), (false, Reason::NotServed));
}

#[test]
fn bytes_come_from_the_ip_header() {
    let Some(mut xdp) = support::start("bytes_come_from_the_ip_header", &lists()) else { return };
    let padded = [v4("192.0.2.7").tcp(PORT, ACK), vec![0; 6]].concat();
    assert_eq!(judge(&mut xdp, &padded).2.bytes, 40);
    assert_eq!(judge(&mut xdp, &v6("2001:db8::7").tcp(PORT, ACK)).2.bytes, 60);
    assert_eq!(judge(&mut xdp, &ethernet().other(0x0806).raw()).2.bytes, 0);
}

/// The parser against its second telling, on frames with random damage; the seed is fixed, so a failure repeats.
#[test]
fn mutated_frames_are_what_the_reference_says() {
    let options = Options { served_ports: vec![PORT, 443], ..Options::default() };
    let Some(mut xdp) = support::start("mutated_frames_are_what_the_reference_says", &options) else {
        return;
    };
    let all = cases::files().into_iter().flat_map(|(_, file)| file.cases);
    let frames: Vec<Vec<u8>> = all.map(|case| case.frame).collect();
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut seen = [0; Reason::COUNT];
    for _ in 0..5_000 {
        let mut frame = frames[random(frames.len())].clone();
        for _ in 0..random(4) {
            // Small values are the interesting ones: protocol numbers, lengths, offsets.
            let value = if random(2) == 0 { random(64) } else { random(256) };
            let at = 12 + random(frame.len() - 12);
            frame[at] = value as u8;
        }
        if random(4) == 0 {
            frame.truncate(14 + random(frame.len() - 13));
        }
        let (reason, bytes) = reference::classify(&frame, &options.served_ports);
        let (drops, found, count) = judge(&mut xdp, &frame);
        assert_eq!((found, count.bytes, drops), (reason, bytes, reason.drops()), "{frame:02x?}");
        seen[reason as usize] += 1;
    }
    for reason in [Reason::Accepted, Reason::NotIp, Reason::NotServed, Reason::Fragment, Reason::Malformed] {
        assert!(seen[reason as usize] > 50, "{reason:?} was hardly tried: {seen:?}");
    }
}

/// Sends `count` frames and yields how many passed, with the most that the rate could have added meanwhile.
fn passed(xdp: &mut Xdp, frame: &[u8], count: u32, rate: Rate) -> (u32, u32) {
    let start = Instant::now();
    let passed = (0..count).filter(|_| !xdp.test_run(frame, 1).unwrap().0).count() as u32;
    (passed, (start.elapsed().as_secs_f64() * rate.per_second as f64) as u32 + 1)
}

#[test]
fn syns_of_a_source_are_limited_and_nothing_else_is() {
    let rate = Rate { per_second: 1, burst: 5 };
    let options = Options { source: syns(rate), ..lists() };
    let Some(mut xdp) = support::start("syns_of_a_source_are_limited_and_nothing_else_is", &options) else {
        return;
    };
    for source in ["192.0.2.1", "192.0.2.2"] {
        let (granted, refilled) = passed(&mut xdp, &v4(source).tcp(PORT, SYN), 100, rate);
        assert!((5..=5 + refilled).contains(&granted), "{granted} of 100 SYNs passed");
        assert_eq!(judge(&mut xdp, &v4(source).tcp(PORT, ACK)).1, Reason::Accepted);
        assert_eq!(judge(&mut xdp, &v4(source).tcp(PORT, SYN | ACK)).1, Reason::Accepted);
        assert_eq!(judge(&mut xdp, &v4(source).tcp(22, SYN)).1, Reason::NotServed);
    }
    assert_eq!(passed(&mut xdp, &v4("198.51.100.10").tcp(PORT, SYN), 100, rate).0, 100, "allowed");
    assert!(xdp.counters(0).unwrap().reason(Reason::SynRate).packets >= 180);
}

#[test]
fn an_ipv6_subscriber_has_one_bucket_for_its_64() {
    let rate = Rate { per_second: 1, burst: 5 };
    let options = Options { source: syns(rate), ..lists() };
    let Some(mut xdp) = support::start("an_ipv6_subscriber_has_one_bucket_for_its_64", &options) else {
        return;
    };
    let start = Instant::now();
    let all: u32 = (0..50u32)
        .map(|host| passed(&mut xdp, &v6(&format!("2001:db8:1:2::{host:x}")).tcp(PORT, SYN), 1, rate).0)
        .sum();
    assert!((5..=6 + start.elapsed().as_secs() as u32).contains(&all), "{all} of 50 SYNs passed");
    assert_eq!(judge(&mut xdp, &v6("2001:db8:1:3::1").tcp(PORT, SYN)).1, Reason::Accepted);
}

#[test]
fn all_packets_of_a_source_are_limited_and_rates_change_while_it_runs() {
    let rate = Rate { per_second: 1, burst: 20 };
    let test = "all_packets_of_a_source_are_limited_and_rates_change_while_it_runs";
    let Some(mut xdp) = support::start(test, &Options { source: packets(rate), ..lists() }) else {
        return;
    };
    let frame = v4("192.0.2.1").tcp(PORT, ACK);
    let (granted, refilled) = passed(&mut xdp, &frame, 100, rate);
    assert!((20..=20 + refilled).contains(&granted), "{granted} of 100 packets passed");
    assert_eq!(judge(&mut xdp, &frame).1, Reason::PacketRate);
    xdp.reconcile(&lists()).unwrap();
    assert_eq!(judge(&mut xdp, &frame).1, Reason::Accepted);
}

#[test]
fn bytes_of_a_source_are_limited() {
    let rate = Rate { per_second: 1_000, burst: Options::PACKET_BYTES_MAX };
    let limits = Limits { bytes: Some(rate), ..Limits::default() };
    let Some(mut xdp) =
        support::start("bytes_of_a_source_are_limited", &Options { source: limits, ..lists() })
    else {
        return;
    };
    // The IP header's word counts, not what is in the buffer.
    let mut frame = v4("192.0.2.1").tcp(PORT, ACK);
    frame[16..18].copy_from_slice(&10_000u16.to_be_bytes());
    let start = Instant::now();
    let passed = (0..50).filter(|_| !xdp.test_run(&frame, 1).unwrap().0).count() as u64;
    let refilled = start.elapsed().as_secs() * rate.per_second / 10_000 + 1;
    assert!((6..=6 + refilled).contains(&passed), "{passed} of 50 packets of 10 KB passed");
    assert_eq!(judge(&mut xdp, &frame).1, Reason::ByteRate);
    assert_eq!(judge(&mut xdp, &v4("192.0.2.2").tcp(PORT, ACK)).1, Reason::Accepted);
}

#[test]
fn a_prefix_has_rates_of_its_own() {
    let rate = Rate { per_second: 1, burst: 10 };
    let options = Options { source: syns(Rate { per_second: 1, burst: 3 }), prefix: syns(rate), ..lists() };
    let Some(mut xdp) = support::start("a_prefix_has_rates_of_its_own", &options) else { return };
    let near = (1..100u32).map(|host| v4(&format!("192.0.2.{host}")).tcp(PORT, SYN));
    let frames: Vec<_> = near.collect();
    let start = Instant::now();
    let passed = frames.iter().filter(|frame| !xdp.test_run(frame, 1).unwrap().0).count() as u64;
    assert!((10..=11 + start.elapsed().as_secs()).contains(&passed), "{passed} of 99 SYNs passed");
    assert_eq!(judge(&mut xdp, &frames[98]).1, Reason::PrefixRate);
    assert_eq!(judge(&mut xdp, &v4("192.0.3.1").tcp(PORT, SYN)).1, Reason::Accepted, "the next /24");
    assert_eq!(judge(&mut xdp, &v4("192.0.2.99").tcp(PORT, ACK)).1, Reason::Accepted, "no SYN");

    let of_v6 = |third: u32| v6(&format!("2001:db8:7:{third:x}::1")).tcp(PORT, SYN);
    let passed = (0..100).filter(|third| !xdp.test_run(&of_v6(*third), 1).unwrap().0).count() as u64;
    assert!((10..=11 + start.elapsed().as_secs()).contains(&passed), "{passed} of 100 SYNs of a /48 passed");

    // A source that is over its own rate takes nothing from its prefix.
    let (greedy, modest) = (v4("198.18.0.1").tcp(PORT, SYN), v4("198.18.0.2").tcp(PORT, SYN));
    xdp.test_run(&greedy, 100).unwrap();
    assert_eq!(judge(&mut xdp, &modest).1, Reason::Accepted);

    let wider = Options { prefix_v4_bits: 16, ..options };
    xdp.reconcile(&wider).unwrap();
    let frames = (0..100u32).map(|third| v4(&format!("198.19.{third}.1")).tcp(PORT, SYN));
    let start = Instant::now();
    let passed = frames.filter(|frame| !xdp.test_run(frame, 1).unwrap().0).count() as u64;
    assert!((10..=11 + start.elapsed().as_secs()).contains(&passed), "{passed} of 100 SYNs of a /16 passed");
}

#[test]
fn all_sources_together_stay_within_the_budget_of_syns() {
    let test = "all_sources_together_stay_within_the_budget_of_syns";
    let options = Options { syn_budget: Some(Rate { per_second: 1, burst: 64 }), ..lists() };
    let Some(mut xdp) = support::start(test, &options) else { return };
    let start = Instant::now();
    let frames =
        (0..1_000u32).map(|index| v4(&format!("11.{}.{}.9", index / 250, index % 250)).tcp(PORT, SYN));
    let passed = frames.filter(|frame| !xdp.test_run(frame, 1).unwrap().0).count() as u64;
    // A lease of 16 is granted as a whole, and what a CPU has left of one counts too.
    let leases = 16 * std::thread::available_parallelism().unwrap().get() as u64;
    let most = 64 + leases + start.elapsed().as_secs();
    assert!((64..=most).contains(&passed), "{passed} of 1000 SYNs passed");
    let counters = xdp.counters(1).unwrap();
    assert_eq!(counters.reason(Reason::SynBudget).packets, 1_000 - passed);
    assert_eq!(counters.clients, [], "whoever meets the end of the budget is not to blame");
    assert_eq!(judge(&mut xdp, &v4("192.0.2.1").tcp(PORT, ACK)).1, Reason::Accepted, "connections go on");
    assert_eq!(judge(&mut xdp, &v4("198.51.100.10").tcp(PORT, SYN)).1, Reason::Allowed);
}

#[test]
fn a_flood_from_random_sources_neither_evicts_a_heavy_one_nor_hides_it() {
    let test = "a_flood_from_random_sources_neither_evicts_a_heavy_one_nor_hides_it";
    let options = Options {
        block: vec![(net("0.0.0.0/0"), 1)],
        allow: vec![],
        source: syns(Rate { per_second: 1, burst: 5 }),
        served_ports: vec![PORT],
        ..Options::default()
    };
    let Some(mut xdp) = support::start(test, &options) else { return };
    let heavy = v4("192.0.2.1").tcp(PORT, SYN);
    xdp.test_run(&heavy, 1_000).unwrap();
    for source in 0..50_000u32 {
        let address = std::net::Ipv4Addr::from(0x0b00_0000 + source * 7);
        xdp.test_run(&v4(&address.to_string()).tcp(PORT, SYN), 1).unwrap();
    }
    let counters: Counters = xdp.counters(3).unwrap();
    assert_eq!(counters.clients.len(), 3);
    assert_eq!(counters.clients[0].client, net("192.0.2.1/32"));
    assert_eq!(counters.clients[0].count, Stat { packets: 1_000, bytes: 40_000 });
    assert_eq!(counters.rule(1).packets, 51_000);
    assert_eq!(counters.dropped(), counters.rule(1));
}

#[test]
fn bans_end_by_themselves_and_by_hand() {
    let Some(mut xdp) = support::start("bans_end_by_themselves_and_by_hand", &lists()) else { return };
    let (over, held) = ("192.0.2.1", "2001:db8::3");
    support::ban(&mut xdp, over, Duration::ZERO);
    support::ban(&mut xdp, held, HOUR);

    // Over already, and without effect before the sweep.
    assert_eq!(judge(&mut xdp, &v4(over).tcp(PORT, SYN)).1, Reason::Accepted);
    assert_eq!(xdp.counters(0).unwrap().bans, 2);
    let swept = xdp.sweep().unwrap();
    assert_eq!(swept.iter().map(|ban| ban.source).collect::<Vec<_>>(), [net("192.0.2.1/32")]);
    assert_eq!(xdp.counters(0).unwrap().bans, 1);

    assert_eq!(judge(&mut xdp, &v6(held).tcp(PORT, SYN)).1, Reason::Banned);
    assert_eq!(judge(&mut xdp, &v6("2001:db8::ffff").tcp(PORT, ACK)).1, Reason::Banned, "another of its /64");
    assert_eq!(judge(&mut xdp, &v6("2001:db8:0:1::3").tcp(PORT, ACK)).1, Reason::Accepted);
    let bans = xdp.bans().unwrap();
    assert_eq!(bans.len(), 1);
    assert_eq!((bans[0].source, bans[0].let_through), (net("2001:db8::/64"), LetThrough::Nothing));
    assert_eq!((bans[0].seen, bans[0].passed), (Stat { packets: 2, bytes: 120 }, 0));
    assert!(bans[0].remaining <= HOUR && bans[0].remaining > HOUR / 2);

    assert!(xdp.unban(net("2001:db8::/64")).unwrap());
    assert!(!xdp.unban(net("2001:db8::/64")).unwrap());
    assert_eq!(judge(&mut xdp, &v6(held).tcp(PORT, SYN)).1, Reason::Accepted);

    // After the last one the stage is off; a new ban turns it on again.
    support::ban(&mut xdp, over, HOUR);
    assert_eq!(judge(&mut xdp, &v4(over).tcp(PORT, SYN)).1, Reason::Banned);
    // A renewal replaces end and policy, and goes on counting.
    xdp.ban(net("192.0.2.1/32"), 2 * HOUR, LetThrough::Everything).unwrap();
    assert_eq!(judge(&mut xdp, &v4(over).tcp(PORT, SYN)).1, Reason::Probe);
    let ban = xdp.ban_of(net("192.0.2.1/32")).unwrap().unwrap();
    assert_eq!((ban.seen.packets, ban.passed, ban.let_through), (2, 1, LetThrough::Everything));
    assert!(ban.remaining > HOUR);
}

#[test]
fn wide_bans_hold_for_every_network_in_them() {
    let Some(mut xdp) = support::start("wide_bans_hold_for_every_network_in_them", &lists()) else { return };
    let source = "2001:db8:1:ff12::1";
    for wide in ["2001:db8:1:ff00::/56", "2001:db8:1::/48"] {
        xdp.ban(net(wide), HOUR, LetThrough::Nothing).unwrap();
        assert_eq!(judge(&mut xdp, &v6(source).tcp(PORT, SYN)).1, Reason::Banned, "{wide}");
        assert_eq!(judge(&mut xdp, &v6("2001:db8:2::1").tcp(PORT, SYN)).1, Reason::Accepted, "{wide}");
        assert_eq!(xdp.bans().unwrap()[0].source, net(wide));
        assert!(xdp.unban(net(wide)).unwrap());
        assert_eq!(judge(&mut xdp, &v6(source).tcp(PORT, SYN)).1, Reason::Accepted, "{wide}");
    }
    assert!(xdp.ban(net("192.0.2.0/24"), HOUR, LetThrough::Nothing).is_err());
}

#[test]
fn one_in_n_packets_of_a_banned_source_passes() {
    let Some(mut xdp) = support::start("one_in_n_packets_of_a_banned_source_passes", &lists()) else {
        return;
    };
    let source = net("192.0.2.1/32");
    xdp.ban(source, HOUR, LetThrough::OneIn(10.try_into().unwrap())).unwrap();
    let frame = v4("192.0.2.1").tcp(PORT, ACK);
    let passed = (0..100).filter(|_| !xdp.test_run(&frame, 1).unwrap().0).count();
    assert_eq!(passed, 10);
    let counters = xdp.counters(1).unwrap();
    assert_eq!(counters.reason(Reason::Probe).packets, 10);
    assert_eq!(counters.reason(Reason::Banned).packets, 90);
    assert_eq!(counters.clients[0].count.packets, 90);
    let ban = xdp.ban_of(source).unwrap().unwrap();
    assert_eq!((ban.seen.packets, ban.passed), (100, 10));
}

#[test]
fn one_connection_of_a_banned_source_passes_in_an_interval_and_only_so_much_of_it() {
    let test = "one_connection_of_a_banned_source_passes_in_an_interval_and_only_so_much_of_it";
    let Some(mut xdp) = support::start(test, &lists()) else { return };
    let (source, every) = (net("192.0.2.1/32"), LetThrough::ConnectionEvery(HOUR));
    xdp.ban(source, 2 * HOUR, every).unwrap();
    let frame = |port, flags| v4("192.0.2.1").source_port(port).tcp(PORT, flags);
    let verdict = |xdp: &mut Xdp, port, flags| judge(xdp, &frame(port, flags)).1;
    assert_eq!(verdict(&mut xdp, 1_000, ACK), Reason::Banned, "no connection that was there before");
    assert_eq!(verdict(&mut xdp, 1_001, SYN), Reason::Probe);
    assert_eq!(verdict(&mut xdp, 1_001, ACK), Reason::Probe, "the packets that follow");
    assert_eq!(verdict(&mut xdp, 1_001, SYN), Reason::Probe, "the SYN again");
    assert_eq!(verdict(&mut xdp, 1_002, SYN), Reason::Banned, "a second connection");
    let passed = (0..200).filter(|_| !xdp.test_run(&frame(1_001, ACK), 1).unwrap().0).count();
    assert_eq!(passed, 64 - 3);
    assert_eq!(verdict(&mut xdp, 1_001, SYN), Reason::Banned, "used up");

    // Of an IPv6 network it is one connection of one host, not one of each.
    xdp.ban(net("2001:db8:1:1::/64"), HOUR, every).unwrap();
    let frame = |host: &str, flags| v6(host).source_port(1_001).tcp(PORT, flags);
    assert_eq!(judge(&mut xdp, &frame("2001:db8:1:1::1", SYN)).1, Reason::Probe);
    assert_eq!(judge(&mut xdp, &frame("2001:db8:1:1::2", ACK)).1, Reason::Banned);
    assert_eq!(judge(&mut xdp, &frame("2001:db8:1:1::1", ACK)).1, Reason::Probe);

    // An interval of nothing: as soon as the next asks.
    xdp.ban(source, HOUR, LetThrough::ConnectionEvery(Duration::ZERO)).unwrap();
    xdp.unban(source).unwrap();
    xdp.ban(source, HOUR, LetThrough::ConnectionEvery(Duration::ZERO)).unwrap();
    assert_eq!(verdict(&mut xdp, 1_003, SYN), Reason::Probe);
    assert_eq!(verdict(&mut xdp, 1_004, SYN), Reason::Probe);
    assert_eq!(verdict(&mut xdp, 1_003, ACK), Reason::Banned, "its place was taken");
}

#[test]
fn what_a_ban_lets_through_is_judged_by_lists_and_rates() {
    let test = "what_a_ban_lets_through_is_judged_by_lists_and_rates";
    let options = Options { source: syns(Rate { per_second: 1, burst: 1 }), ..lists() };
    let Some(mut xdp) = support::start(test, &options) else { return };
    xdp.ban(net("198.51.100.7/32"), HOUR, LetThrough::Everything).unwrap();
    assert_eq!(judge(&mut xdp, &v4("198.51.100.7").tcp(PORT, SYN)).1, Reason::Blocked);
    xdp.ban(net("192.0.2.1/32"), HOUR, LetThrough::Everything).unwrap();
    xdp.test_run(&v4("192.0.2.1").tcp(PORT, SYN), 5).unwrap();
    assert!(xdp.counters(0).unwrap().reason(Reason::SynRate).packets >= 3);
}

#[test]
fn a_dry_run_drops_nothing_and_counts_everything() {
    let options = Options { dry_run: true, ..lists() };
    let Some(mut xdp) = support::start("a_dry_run_drops_nothing_and_counts_everything", &options) else {
        return;
    };
    support::ban(&mut xdp, "203.0.113.9", HOUR);
    let frames = [
        v4("198.51.100.7").tcp(PORT, SYN),
        v4("203.0.113.9").tcp(PORT, SYN),
        ethernet().other(0x0800).raw()[..14].to_vec(),
    ];
    for frame in &frames {
        assert!(!xdp.test_run(frame, 1).unwrap().0);
    }
    let counters = xdp.counters(10).unwrap();
    for reason in [Reason::Blocked, Reason::Banned, Reason::Malformed] {
        let entry = counters.reasons.iter().find(|entry| entry.reason == reason).unwrap();
        assert_eq!((entry.count.packets, entry.dry.packets), (0, 1), "{reason:?}");
    }
    assert_eq!(counters.dropped().packets, 0);
    assert_eq!((counters.rule(7).packets, counters.clients.len()), (1, 2));
    assert_eq!(xdp.ban_of(net("203.0.113.9/32")).unwrap().unwrap().seen.packets, 1);

    xdp.reconcile(&lists()).unwrap();
    assert!(xdp.test_run(&frames[0], 1).unwrap().0);
}

#[test]
fn drops_are_sampled_at_a_bounded_rate() {
    // One a second and CPU: the first at once, and hardly any more during the test.
    let options = Options { events_per_s: 1, ..lists() };
    let Some(mut xdp) = support::start("drops_are_sampled_at_a_bounded_rate", &options) else { return };
    let started = Instant::now();
    assert_eq!(judge(&mut xdp, &v4("192.0.2.7").tcp(PORT, SYN)).1, Reason::Accepted);
    assert_eq!(xdp.events(), [], "passing packets are no events");
    for _ in 0..50 {
        xdp.test_run(&v4("198.51.100.7").tcp(PORT, SYN), 20).unwrap();
    }
    let events = xdp.events();
    let cpus = std::thread::available_parallelism().unwrap().get() as u64;
    let most = cpus * (1 + started.elapsed().as_secs());
    assert!((1..=most).contains(&(events.len() as u64)), "{events:?}");
    for event in &events {
        assert_eq!((event.reason, event.rule, event.port), (Reason::Blocked, Some(7), Some(PORT)));
        assert_eq!((event.source, event.is_dry, event.bytes), (Some(net("198.51.100.7/32")), false, 40));
        assert!(event.age <= started.elapsed() + Duration::from_millis(20));
    }
    assert_eq!(xdp.events(), [], "each is told once");

    xdp.reconcile(&lists()).unwrap();
    xdp.test_run(&v4("198.51.100.7").tcp(PORT, SYN), 1).unwrap();
    assert_eq!(xdp.events(), [], "off");
}

#[test]
fn reconciling_changes_lists_and_forgets_rules_that_are_gone() {
    let test = "reconciling_changes_lists_and_forgets_rules_that_are_gone";
    let Some(mut xdp) = support::start(test, &lists()) else { return };
    let frame = v4("198.51.100.7").tcp(PORT, SYN);
    assert_eq!(judge(&mut xdp, &frame).1, Reason::Blocked);
    support::ban(&mut xdp, "203.0.113.9", HOUR);

    xdp.reconcile(&Options { block: vec![(net("203.0.113.0/25"), 5)], ..lists() }).unwrap();
    assert_eq!(judge(&mut xdp, &frame).1, Reason::Accepted);
    assert_eq!(judge(&mut xdp, &v4("203.0.113.1").tcp(PORT, SYN)).1, Reason::Blocked);
    assert_eq!(judge(&mut xdp, &v4("203.0.113.9").tcp(PORT, SYN)).1, Reason::Banned, "bans outlive it");
    assert_eq!(xdp.counters(0).unwrap().rule(5).packets, 1);

    xdp.reconcile(&lists()).unwrap();
    assert_eq!(xdp.counters(0).unwrap().rule(7).packets, 0, "starts anew");
    assert_eq!(judge(&mut xdp, &frame).1, Reason::Blocked);

    let wrong = Options { block: vec![(net("192.0.2.0/24"), 1 << 20)], ..lists() };
    assert!(!xdp.reconcile(&wrong).unwrap_err().is_unavailable());
    assert_eq!(judge(&mut xdp, &frame).1, Reason::Blocked, "a refused reconciliation changes nothing");
}

/// One thread asks the program about a source that every state of the lists blocks, while another replaces long lists.
#[test]
fn while_lists_are_replaced_no_packet_meets_an_empty_one() {
    let test = "while_lists_are_replaced_no_packet_meets_an_empty_one";
    let list = |seed: u32| {
        let filler = (0..5_000u32).map(move |index| {
            let address = std::net::Ipv4Addr::from(0x0b00_0000 + (index * 2 + seed) * 256);
            (IpNet::new(address.into(), 24).unwrap(), 1)
        });
        let block: Vec<_> = filler.chain([(net("198.51.100.0/24"), 2)]).collect();
        Options { block, served_ports: vec![PORT], ..Options::default() }
    };
    let Some(mut xdp) = support::start(test, &list(0)) else { return };
    let frame = v4("198.51.100.7").tcp(PORT, SYN);
    let runner = xdp.runner("gate").unwrap();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let asked = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut asked = 0;
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(runner.run(&frame, 1).unwrap().0, "after {asked} that were dropped");
                asked += 1;
            }
            asked
        });
        for round in 1..=10 {
            xdp.reconcile(&list(round % 2)).unwrap();
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        asking.join().unwrap()
    });
    assert!(asked > 0);
    let counters = xdp.counters(0).unwrap();
    assert_eq!(counters.reason(Reason::Accepted).packets, 0);
    assert_eq!(counters.rule(2).packets, asked);
}

#[test]
fn a_long_block_list_is_taken_whole() {
    let nets = (0..20_000u32).map(|index| {
        let net = IpNet::new(std::net::Ipv4Addr::from(0x0b00_0000 + index * 512).into(), 24).unwrap();
        (net, index % 100)
    });
    let options = Options { block: nets.collect(), ..lists() };
    let Some(mut xdp) = support::start("a_long_block_list_is_taken_whole", &options) else { return };
    assert_eq!(judge(&mut xdp, &v4("11.0.0.9").tcp(PORT, SYN)).1, Reason::Blocked);
    assert_eq!(judge(&mut xdp, &v4("11.0.1.9").tcp(PORT, SYN)).1, Reason::Accepted);
    xdp.reconcile(&lists()).unwrap();
    assert_eq!(judge(&mut xdp, &v4("11.0.0.9").tcp(PORT, SYN)).1, Reason::Accepted);
}
