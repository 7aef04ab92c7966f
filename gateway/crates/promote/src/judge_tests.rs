//! The judge against simulated cores, by example and by property.

use super::*;
use crate::{Offence, Tally};
use proptest::prelude::*;

const RULES: Rules = Rules {
    refused_per_s: 20,
    refused_for_ms: 5_000,
    ttl_ms: 10_000,
    ttl_max_ms: 60_000,
    forget_ms: 100_000,
};

/// Cores that report every 250 ms, and the judge.
struct World {
    judge: Judge,
    cores: Vec<Tally>,
    now_ns: u64,
    verdicts: Vec<Verdict>,
}

const TICK_MS: u64 = 250;

impl World {
    fn new(cores: usize) -> Self {
        let mut judge = Judge::new(cores);
        judge.set_rules(Some(RULES), Vec::new());
        Self { judge, cores: (0..cores).map(Tally::new).collect(), now_ns: 1, verdicts: Vec::new() }
    }

    /// The end of a tick.
    fn tick(&mut self) -> Vec<Verdict> {
        self.now_ns += TICK_MS * MS;
        for core in &mut self.cores {
            if let Some(report) = core.report(self.now_ns) {
                self.judge.hear(&report, self.now_ns);
            }
        }
        let verdicts = self.judge.decide(self.now_ns);
        for core in &mut self.cores {
            core.set_watch(self.judge.watch());
        }
        self.verdicts.extend(verdicts.iter().cloned());
        verdicts
    }

    /// `each_tick` refusals of every client for a time, on alternating cores.
    fn refuse(&mut self, clients: &[&str], each_tick: u32, for_ms: u64) {
        for _ in 0..for_ms / TICK_MS {
            for client in clients {
                for n in 0..each_tick {
                    let core = n as usize % self.cores.len();
                    self.cores[core].refused(ip(client), Offence::Throttled, Some(3));
                }
            }
            self.tick();
        }
    }

    fn bans(&self) -> Vec<String> {
        self.judge.bans().iter().map(|ban| ban.source.to_string()).collect()
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn who_keeps_being_refused_is_banned_with_evidence() {
    let mut world = World::new(2);
    world.refuse(&["192.0.2.1"], 10, 4_000);
    assert!(world.bans().is_empty(), "not yet");
    world.refuse(&["192.0.2.1"], 10, 2_000);
    let [Verdict::Ban(ban)] = world.verdicts[..] else { panic!("{:?}", world.verdicts) };
    assert_eq!((ban.source.to_string().as_str(), ban.times), ("192.0.2.1", 1));
    assert_eq!(ban.until_ns - ban.from_ns, 10_000 * MS);
    assert!(ban.evidence.within_ms >= 5_000 && ban.evidence.refused.of(Offence::Throttled) >= 200);
    assert_eq!(ban.evidence.key, Some(3));
}

#[test]
fn below_the_rate_or_only_for_a_moment_is_not_enough() {
    let mut world = World::new(1);
    world.refuse(&["192.0.2.1"], 4, 60_000);
    world.refuse(&["192.0.2.2"], 1_000, 3_000);
    world.refuse(&[], 0, 60_000);
    assert_eq!(world.verdicts, []);
}

#[test]
fn one_admitted_request_spares_whoever_shares_the_address() {
    let mut world = World::new(2);
    for round in 0..200 {
        world.refuse(&["192.0.2.1"], 50, TICK_MS);
        // Every 4.5 s a good client behind the same NAT, on either core.
        if round % 18 == 0 {
            world.cores[round / 18 % 2].admitted(ip("192.0.2.1"));
        }
    }
    assert_eq!(world.verdicts, []);
}

#[test]
fn an_admitted_exchange_that_lasts_spares_too() {
    let mut world = World::new(2);
    let ticket = world.cores[1].enter(ip("192.0.2.1"));
    world.refuse(&["192.0.2.1"], 50, 60_000);
    assert_eq!(world.verdicts, []);
    world.cores[1].leave(ticket);
    world.refuse(&["192.0.2.1"], 50, 15_000);
    assert_eq!(world.bans(), ["192.0.2.1"]);
}

#[test]
fn a_core_that_is_stuck_delays_bans() {
    let mut world = World::new(2);
    world.refuse(&["192.0.2.1"], 50, 2_000);
    let stuck = world.cores.pop().unwrap();
    world.refuse(&["192.0.2.1"], 50, 60_000);
    assert_eq!(world.verdicts, [], "what the stuck core admitted is not known");
    world.cores.push(stuck);
    world.refuse(&["192.0.2.1"], 50, 6_000);
    assert_eq!(world.bans(), ["192.0.2.1"]);
}

#[test]
fn bans_end_and_grow_with_each_relapse_up_to_the_most() {
    let mut world = World::new(1);
    let mut lengths = Vec::new();
    for _ in 0..5 {
        while world.bans().is_empty() {
            world.refuse(&["192.0.2.1"], 20, TICK_MS);
        }
        let ban = world.judge.bans()[0];
        lengths.push((ban.until_ns - ban.from_ns) / MS / 1000);
        while !world.bans().is_empty() {
            world.tick();
        }
    }
    assert_eq!(lengths, [10, 20, 40, 60, 60]);
    world.refuse(&[], 0, 101_000);
    while world.bans().is_empty() {
        world.refuse(&["192.0.2.1"], 20, TICK_MS);
    }
    assert_eq!(world.judge.bans()[0].times, 1, "the past is forgotten");
    let expired = |v: &&Verdict| matches!(v, Verdict::Release { why: ReleaseReason::Expired, .. });
    assert_eq!(world.verdicts.iter().filter(expired).count(), 5);
}

#[test]
fn a_request_admitted_through_a_ban_ends_it() {
    let mut world = World::new(2);
    world.refuse(&["192.0.2.1"], 20, 6_000);
    assert_eq!(world.bans(), ["192.0.2.1"]);
    world.cores[1].admitted(ip("192.0.2.1"));
    let [Verdict::Release { why: ReleaseReason::Admitted, .. }] = world.tick()[..] else {
        panic!("{:?}", world.verdicts)
    };
    assert!(world.bans().is_empty());
    assert_eq!(world.judge.explain(ip("192.0.2.1"), world.now_ns)[0].standing, Standing::Spared);
}

#[test]
fn the_exempt_are_never_banned_and_released_when_they_become_so() {
    let mut world = World::new(1);
    world.judge.set_rules(Some(RULES), vec!["10.0.0.0/8".parse().unwrap()]);
    world.refuse(&["10.1.2.3", "192.0.2.1"], 50, 8_000);
    assert_eq!(world.bans(), ["192.0.2.1"]);
    let told = &world.judge.explain(ip("10.1.2.3"), world.now_ns)[0];
    assert_eq!(told.exempt, Some("10.0.0.0/8".parse().unwrap()));
    world.judge.set_rules(Some(RULES), vec!["192.0.2.0/24".parse().unwrap()]);
    assert!(matches!(world.tick()[..], [Verdict::Release { why: ReleaseReason::Exempt, .. }]));
    world.refuse(&["10.1.2.3"], 50, 8_000);
    world.judge.set_rules(None, Vec::new());
    assert!(matches!(world.tick()[..], [Verdict::Release { why: ReleaseReason::Off, .. }]));
    world.refuse(&["10.1.2.3"], 50, 8_000);
    assert!(world.bans().is_empty() && world.judge.watch().is_empty());
    assert_eq!(world.judge.top().top(1)[0].source.to_string(), "10.1.2.3", "still counted");
}

#[test]
fn one_bad_64_does_not_condemn_its_neighbours() {
    let mut world = World::new(1);
    world.refuse(&["2001:db8:1:2::1", "2001:db8:1:2:ffff::1"], 500, 8_000);
    assert_eq!(world.bans(), ["2001:db8:1:2::/64"]);
}

#[test]
fn hopping_from_64_to_64_escalates_to_the_56_and_the_48() {
    let mut world = World::new(1);
    // Each /64 is used for half a second: too short to be banned for itself.
    for n in 0..20 {
        world.refuse(&[&format!("2001:db8:1:{n:x}::1")], 100, 500);
    }
    assert_eq!(world.bans(), ["2001:db8:1::/56"]);
    for n in 1..20 {
        world.refuse(&[&format!("2001:db8:1:{:x}::1", n << 8)], 100, 500);
    }
    assert!(world.bans().contains(&"2001:db8:1::/48".to_owned()), "{:?}", world.bans());
}

#[test]
fn a_wide_prefix_with_a_good_client_or_an_exempt_one_stays() {
    let mut world = World::new(1);
    world.judge.set_rules(Some(RULES), vec!["2001:db8:2::8/128".parse().unwrap()]);
    for n in 0..80 {
        world.refuse(&[&format!("2001:db8:1:{n:x}::1"), &format!("2001:db8:2:{:x}::1", n + 1)], 100, 500);
        world.cores[0].admitted(ip("2001:db8:1:fff0::1"));
        world.cores[0].admitted(ip("2001:db8:1:f0::1"));
    }
    assert_eq!(world.verdicts, []);
}

#[test]
fn memory_is_bounded() {
    let mut judge = Judge::new(1);
    judge.set_rules(Some(RULES), Vec::new());
    let mut offences = Offences::default();
    (0..100).for_each(|_| offences.count(Offence::Malformed));
    for batch in 0..80_u32 {
        let suspect = |n: u32| crate::Suspect {
            source: Source::of(IpAddr::from((batch * 1024 + n).to_be_bytes())),
            offences,
            key: None,
        };
        let refused = (0..1024).map(suspect).collect();
        judge.hear(&Report { core: 0, at_ns: 1, watching: 0, refused, admitted: Vec::new() }, 1);
        judge.decide(1);
        assert!(judge.watch().len() <= WATCHED_MAX && judge.tracked.len() <= TRACKED_MAX + WATCHED_MAX);
    }
}

/// What one client does in a tick, on which core.
#[derive(Clone, Copy, Debug)]
enum Act {
    Refused(u32),
    Admitted,
    Nothing,
}

fn act() -> impl Strategy<Value = (Act, usize)> {
    let act = prop_oneof![
        60 => (0_u32..40).prop_map(Act::Refused),
        1 => Just(Act::Admitted),
        5 => Just(Act::Nothing),
    ];
    (act, 0_usize..3)
}

proptest! {
    /// Whatever a client does and on whichever core: when it is banned, it was refused at the rate for the time, and
    /// nothing of it was admitted in that time.
    #[test]
    fn bans_are_deserved(acts in proptest::collection::vec(act(), 100..400)) {
        let mut world = World::new(3);
        let client = ip("192.0.2.1");
        let mut log: Vec<(u64, Act)> = Vec::new();
        for (act, core) in acts {
            match act {
                Act::Refused(n) => (0..n).for_each(|_| world.cores[core].refused(client, Offence::Malformed, None)),
                Act::Admitted => world.cores[core].admitted(client),
                Act::Nothing => {}
            }
            log.push((world.now_ns, act));
            let was_banned = !world.bans().is_empty();
            for verdict in world.tick() {
                let Verdict::Ban(ban) = verdict else { continue };
                prop_assert!(!was_banned);
                let from_ns = ban.from_ns - RULES.refused_for_ms * MS;
                let recent = log.iter().filter(|(at_ns, _)| *at_ns >= from_ns);
                let refused: u32 = recent.clone().map(|(_, act)| if let Act::Refused(n) = act { *n } else { 0 }).sum();
                prop_assert!(!recent.clone().any(|(_, act)| matches!(act, Act::Admitted)));
                let slack = 40 * 8;
                prop_assert!(refused + slack >= RULES.refused_per_s * 5, "{} refused", refused);
                prop_assert!(ban.evidence.refused.total() >= u64::from(RULES.refused_per_s) * ban.evidence.within_ms / 1000);
            }
        }
    }
}
