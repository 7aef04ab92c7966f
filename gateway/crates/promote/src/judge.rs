//! Who is banned, and for how long.
//!
//! ```text
//!            hot               hot, refused enough, not one admitted, for `refused_for_ms`
//!   quiet ---------> suspect ------------------------------------------------------------> banned
//!     ^                |  |                                                               |      |
//!     |      gone cold |  | admitted                                      TTL is over, or |      | admitted, by what the
//!     +----------------'  v                                               now exempt      |      v ban lets through
//!     +--------------- spared <-----------------------------------------------------------|------'
//!     |  time is over                                                                     |
//!     +-----------------------------------------------------------------------------------'
//!                                       (relapses are remembered for `forget_ms`)
//! ```
//!
//! *Hot* is above `refused_per_s` (see [`Heat`]). An IPv6 source is judged at three widths at once: a /64 by that rate; a /56
//! and a /48 by 4 and 16 times it, and only if at least [`BREADTH`] narrower ones had their part, so that one bad /64
//! does not condemn its neighbours, but hopping from one to the next does not help either.

use crate::heat::Heat;
use crate::offence::Offences;
use crate::source::Source;
use crate::tally::Report;
use crate::top::TopClients;
use crate::watch::Watch;
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

const MS: u64 = 1_000_000;

/// Narrower sources that must have taken part before a wider IPv6 prefix is banned.
const BREADTH: usize = 4;

/// Sources remembered; beyond it the least refused are forgotten.
const TRACKED_MAX: usize = 1 << 16;
/// Sources watched at once, banned ones included.
const WATCHED_MAX: usize = 1 << 14;

/// When to ban, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Refusals a second that are too many.
    pub refused_per_s: u32,
    /// For how long they must go on.
    pub refused_for_ms: u64,
    /// The first ban's length; doubled by each relapse.
    pub ttl_ms: u64,
    /// No ban is longer.
    pub ttl_max_ms: u64,
    /// How long after a ban another is a relapse.
    pub forget_ms: u64,
}

/// The judge's decisions, to be carried out by the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Drop its packets.
    Ban(Ban),
    /// Drop them no longer.
    Release {
        /// Whose ban ends.
        ban: Ban,
        /// Why.
        why: ReleaseReason,
    },
}

/// Why a ban ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseReason {
    /// Its time is over.
    Expired,
    /// One of its requests was admitted: it is not, or not only, an attacker.
    Admitted,
    /// It is on a list of those who are never banned now.
    Exempt,
    /// Bans were turned off.
    Off,
}

impl ReleaseReason {
    /// Its name in logs and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Admitted => "admitted",
            Self::Exempt => "exempt",
            Self::Off => "off",
        }
    }
}

/// A ban in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Who.
    pub source: Source,
    /// Since when.
    pub from_ns: u64,
    /// Until when.
    pub until_ns: u64,
    /// 1 for the first, 2 for the first relapse, and so on.
    pub times: u32,
    /// What for.
    pub evidence: Evidence,
}

/// What a ban is for. No admitted request belongs to it: else there would be no ban.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Refusals by kind.
    pub refused: Offences,
    /// In how long a time.
    pub within_ms: u64,
    /// The API key it used last, as a slot of telemetry.
    pub key: Option<u32>,
}

/// What the judge makes of a source now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing against it.
    Quiet,
    /// Refused too often just now; for so many milliseconds so far.
    Suspect {
        /// How long.
        for_ms: u64,
    },
    /// Refused too often, but some of its requests were admitted: left alone for a while.
    Spared,
    /// Dropped.
    Banned(Ban),
}

/// What is known of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The address, or a prefix around it.
    pub source: Source,
    /// The network for whose sake it is never banned.
    pub exempt: Option<IpNet>,
    /// How it stands.
    pub standing: Standing,
    /// Refusals while it was followed.
    pub refused: Offences,
    /// How long ago a request of it was admitted, if that was looked for and seen.
    pub admitted_ago_ms: Option<u64>,
    /// Bans that count as its past.
    pub times_banned: u32,
    /// What the last ban was for.
    pub last_evidence: Option<Evidence>,
}

#[derive(Debug)]
enum State {
    Quiet,
    Suspect {
        /// The watch that has it first.
        version: u64,
        /// When every core watched it.
        since_ns: Option<u64>,
        refused: Offences,
        /// Some narrower sources that took part.
        parts: [Option<Source>; BREADTH],
    },
    Spared {
        until_ns: u64,
    },
    Banned(Ban),
}

#[derive(Debug)]
struct Tracked {
    heat: Heat,
    state: State,
    refused: Offences,
    key: Option<u32>,
    admitted_ns: Option<u64>,
    times: u32,
    /// When past bans no longer count.
    forget_ns: u64,
    last: Option<Evidence>,
}

/// How far a core's reports go.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    at_ns: u64,
    watching: u64,
}

/// The judge. One for all cores, on the control thread.
#[derive(Debug)]
pub struct Judge {
    rules: Option<Rules>,
    exempt: Vec<IpNet>,
    cores: Vec<Heard>,
    tracked: HashMap<Source, Tracked>,
    top: TopClients,
    watch: Arc<Watch>,
    /// Decided between two calls of [`decide`](Self::decide).
    pending: Vec<Verdict>,
    has_changed: bool,
}

impl Judge {
    /// A judge of what this many cores report; without rules it only counts.
    #[must_use]
    pub fn new(cores: usize) -> Self {
        Self {
            rules: None,
            exempt: Vec::new(),
            cores: vec![Heard::default(); cores],
            tracked: HashMap::new(),
            top: TopClients::default(),
            watch: Arc::new(Watch::new(0, std::iter::empty())),
            pending: Vec::new(),
            has_changed: false,
        }
    }

    /// Changes the rules and the networks that are never banned. Bans that are against them end at the next
    /// [`decide`](Self::decide).
    pub fn set_rules(&mut self, rules: Option<Rules>, exempt: Vec<IpNet>) {
        self.rules = rules;
        self.exempt = exempt;
    }

    /// The network for whose sake a source is never banned.
    #[must_use]
    pub fn exemption(&self, source: Source) -> Option<IpNet> {
        self.exempt.iter().find(|network| source.overlaps(network)).copied()
    }

    /// Takes in a core's report.
    pub fn hear(&mut self, report: &Report, now_ns: u64) {
        if let Some(core) = self.cores.get_mut(report.core) {
            *core = Heard { at_ns: report.at_ns, watching: report.watching };
        }
        for suspect in &report.refused {
            self.top.add(suspect.source, &suspect.offences, suspect.key);
            if let Some(rules) = self.rules {
                self.refused(suspect.source, None, &suspect.offences, suspect.key, rules, now_ns);
            }
        }
        for source in &report.admitted {
            self.admitted(*source, now_ns);
        }
    }

    fn refused(
        &mut self,
        source: Source,
        part: Option<Source>,
        offences: &Offences,
        key: Option<u32>,
        rules: Rules,
        now_ns: u64,
    ) {
        let room = self.tracked.len() < 2 * TRACKED_MAX || self.tracked.contains_key(&source);
        if room && self.exemption(source).is_none() {
            let tracked = self.tracked.entry(source).or_insert_with(Tracked::new);
            tracked.heat.add(offences.total(), rate_for(source, rules), now_ns);
            tracked.refused.add(offences);
            tracked.key = key.or(tracked.key);
            if let State::Suspect { since_ns: Some(_), refused, parts, .. } = &mut tracked.state {
                refused.add(offences);
                if let Some(part) = part
                    && !parts.contains(&Some(part))
                    && let Some(free) = parts.iter_mut().find(|place| place.is_none())
                {
                    *free = Some(part);
                }
            }
        }
        if let Some(parent) = source.parent() {
            self.refused(parent, Some(source), offences, key, rules, now_ns);
        }
    }

    fn admitted(&mut self, source: Source, now_ns: u64) {
        let (Some(tracked), Some(rules)) = (self.tracked.get_mut(&source), self.rules) else { return };
        tracked.admitted_ns = Some(now_ns);
        let spared_ms = match &tracked.state {
            State::Suspect { .. } => rules.refused_for_ms,
            State::Banned(ban) => {
                self.pending.push(Verdict::Release { ban: *ban, why: ReleaseReason::Admitted });
                rules.refused_for_ms.max(rules.ttl_ms)
            }
            State::Quiet | State::Spared { .. } => return,
        };
        tracked.state = State::Spared { until_ns: now_ns + spared_ms * MS };
        self.has_changed = true;
    }

    /// What is to be done now. To be called several times a second.
    pub fn decide(&mut self, now_ns: u64) -> Vec<Verdict> {
        let mut verdicts = std::mem::take(&mut self.pending);
        let bench = Bench {
            rules: self.rules,
            now_ns,
            next_version: self.watch.version() + 1,
            all_watching: self.cores.iter().map(|core| core.watching).min().unwrap_or(0),
            heard_until_ns: self.cores.iter().map(|core| core.at_ns).min().unwrap_or(0),
            heard_last_ns: self.cores.iter().map(|core| core.at_ns).max().unwrap_or(0),
        };
        let mut may_watch = WATCHED_MAX.saturating_sub(self.watch.len());
        let exempt = &self.exempt;
        let mut has_changed = std::mem::take(&mut self.has_changed);
        self.tracked.retain(|source, tracked| {
            let is_exempt = exempt.iter().any(|network| source.overlaps(network));
            let was_watched = tracked.is_watched();
            tracked.step(*source, is_exempt, may_watch > 0, bench, &mut verdicts);
            if tracked.is_watched() != was_watched {
                has_changed = true;
                may_watch = may_watch.saturating_sub(usize::from(!was_watched));
            }
            tracked.is_worth_keeping(now_ns)
        });
        self.trim();
        if has_changed {
            let watched = self.tracked.iter().filter(|(_, t)| t.is_watched()).map(|(source, _)| *source);
            self.watch = Arc::new(Watch::new(bench.next_version, watched));
        }
        verdicts
    }

    /// Keeps memory bounded: forgets past bans first, those with the fewest refusals before others.
    fn trim(&mut self) {
        let excess = self.tracked.len().saturating_sub(TRACKED_MAX);
        if excess == 0 {
            return;
        }
        let idle = self.tracked.iter().filter(|(_, tracked)| matches!(tracked.state, State::Quiet));
        let mut idle: Vec<_> = idle.map(|(source, tracked)| (tracked.refused.total(), *source)).collect();
        idle.sort_unstable();
        for (_, source) in idle.into_iter().take(excess) {
            self.tracked.remove(&source);
        }
    }

    /// The list that cores should hold; its version tells whether it is new.
    #[must_use]
    pub fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }

    /// The bans in force, the newest first.
    #[must_use]
    pub fn bans(&self) -> Vec<Ban> {
        let mut bans: Vec<Ban> = self.tracked.values().filter_map(|t| t.ban().copied()).collect();
        bans.sort_by_key(|ban| (std::cmp::Reverse(ban.from_ns), ban.source));
        bans
    }

    /// The API key that a client used last, if it is known.
    #[must_use]
    pub fn key_of(&self, source: Source) -> Option<u32> {
        self.tracked.get(&source).and_then(|tracked| tracked.key).or_else(|| self.top.key_of(source))
    }

    /// Whether nothing can change until a core reports.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.tracked.is_empty() && self.pending.is_empty() && !self.has_changed
    }

    /// The most refused clients since start.
    #[must_use]
    pub fn top(&self) -> &TopClients {
        &self.top
    }

    /// Everything known of an address: of itself, then of the wider prefixes around it that are followed.
    #[must_use]
    pub fn explain(&self, address: IpAddr, now_ns: u64) -> Vec<Explanation> {
        let mut all = vec![self.explain_one(Source::of(address), now_ns)];
        let mut wider = Source::of(address).parent();
        while let Some(source) = wider {
            if self.tracked.contains_key(&source) {
                all.push(self.explain_one(source, now_ns));
            }
            wider = source.parent();
        }
        all
    }

    fn explain_one(&self, source: Source, now_ns: u64) -> Explanation {
        let tracked = self.tracked.get(&source);
        Explanation {
            source,
            exempt: self.exemption(source),
            standing: tracked.map_or(Standing::Quiet, |tracked| tracked.standing(now_ns)),
            refused: tracked.map_or(Offences::NONE, |tracked| tracked.refused),
            admitted_ago_ms: tracked
                .and_then(|tracked| tracked.admitted_ns)
                .map(|at_ns| now_ns.saturating_sub(at_ns) / MS),
            times_banned: tracked.map_or(0, |tracked| tracked.times),
            last_evidence: tracked.and_then(|tracked| tracked.last),
        }
    }
}

/// What one look at all sources goes by.
#[derive(Clone, Copy)]
struct Bench {
    rules: Option<Rules>,
    now_ns: u64,
    next_version: u64,
    /// Every core holds at least this watch.
    all_watching: u64,
    /// Every core has reported up to here.
    heard_until_ns: u64,
    heard_last_ns: u64,
}

impl Tracked {
    fn new() -> Self {
        Self {
            heat: Heat::default(),
            state: State::Quiet,
            refused: Offences::NONE,
            key: None,
            admitted_ns: None,
            times: 0,
            forget_ns: 0,
            last: None,
        }
    }

    fn ban(&self) -> Option<&Ban> {
        match &self.state {
            State::Banned(ban) => Some(ban),
            State::Quiet | State::Suspect { .. } | State::Spared { .. } => None,
        }
    }

    fn is_watched(&self) -> bool {
        matches!(self.state, State::Suspect { .. } | State::Banned(_))
    }

    fn is_worth_keeping(&self, now_ns: u64) -> bool {
        !matches!(self.state, State::Quiet)
            || self.heat.is_warm(now_ns)
            || (self.times > 0 && now_ns < self.forget_ns)
    }

    /// One step of the state machine.
    fn step(
        &mut self,
        source: Source,
        is_exempt: bool,
        may_watch: bool,
        bench: Bench,
        verdicts: &mut Vec<Verdict>,
    ) {
        let Bench { now_ns, .. } = bench;
        let Some(rules) = bench.rules.filter(|_| !is_exempt) else {
            if let State::Banned(ban) = self.state {
                let why = if is_exempt { ReleaseReason::Exempt } else { ReleaseReason::Off };
                verdicts.push(Verdict::Release { ban, why });
            }
            *self = Self::new();
            return;
        };
        match &mut self.state {
            State::Quiet => {
                if self.heat.is_hot(now_ns) && may_watch {
                    self.state = State::Suspect {
                        version: bench.next_version,
                        since_ns: None,
                        refused: Offences::NONE,
                        parts: [None; BREADTH],
                    };
                }
            }
            State::Suspect { .. } if !self.heat.is_warm(now_ns) => self.state = State::Quiet,
            State::Suspect { version, since_ns: since @ None, .. } => {
                if bench.all_watching >= *version {
                    // The latest of the cores' reports: each watched from then on at the latest.
                    *since = Some(bench.heard_last_ns);
                }
            }
            State::Suspect { since_ns: Some(since_ns), refused, parts, .. } => {
                let within_ms = bench.heard_until_ns.saturating_sub(*since_ns) / MS;
                let enough = rate_for(source, rules).saturating_mul(within_ms) / 1000;
                let is_broad = source.prefix() >= 64 || parts.iter().all(Option::is_some);
                if within_ms >= rules.refused_for_ms && refused.total() >= enough && is_broad {
                    let evidence = Evidence { refused: *refused, within_ms, key: self.key };
                    verdicts.push(Verdict::Ban(self.condemn(source, evidence, rules, now_ns)));
                }
            }
            State::Spared { until_ns } => {
                if now_ns >= *until_ns {
                    self.state = State::Quiet;
                }
            }
            State::Banned(ban) => {
                if now_ns >= ban.until_ns {
                    verdicts.push(Verdict::Release { ban: *ban, why: ReleaseReason::Expired });
                    self.forget_ns = now_ns + rules.forget_ms * MS;
                    self.state = State::Quiet;
                }
            }
        }
    }

    fn condemn(&mut self, source: Source, evidence: Evidence, rules: Rules, now_ns: u64) -> Ban {
        if now_ns >= self.forget_ns {
            self.times = 0;
        }
        let doubled = rules
            .ttl_ms
            .checked_shl(self.times.min(63))
            .filter(|ms| ms >> self.times.min(63) == rules.ttl_ms);
        let ttl_ms = doubled.unwrap_or(u64::MAX).min(rules.ttl_max_ms);
        self.times = self.times.saturating_add(1);
        let until_ns = now_ns.saturating_add(ttl_ms.saturating_mul(MS));
        self.forget_ns = until_ns.saturating_add(rules.forget_ms.saturating_mul(MS));
        self.last = Some(evidence);
        let ban = Ban { source, from_ns: now_ns, until_ns, times: self.times, evidence };
        self.state = State::Banned(ban);
        ban
    }

    fn standing(&self, now_ns: u64) -> Standing {
        match &self.state {
            State::Quiet => Standing::Quiet,
            State::Suspect { since_ns, .. } => Standing::Suspect {
                for_ms: since_ns.map_or(0, |since_ns| now_ns.saturating_sub(since_ns) / MS),
            },
            State::Spared { .. } => Standing::Spared,
            State::Banned(ban) => Standing::Banned(*ban),
        }
    }
}

/// Wider prefixes hold more hosts and may be refused more.
fn rate_for(source: Source, rules: Rules) -> u64 {
    let factor = match source.prefix() {
        48 => 16,
        56 => 4,
        _ => 1,
    };
    u64::from(rules.refused_per_s) * factor
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
