//! Bans' place in the process: the thread that hears the cores and carries out what the judge decides.

use crate::cores::Order;
use crate::xdp::Kernel;
use sluice_config::Settings;
use sluice_control::{
    BanInfo, BanReport, EvidenceInfo, RefusedClient, ReleaseInfo, StandingInfo, duration, evidence,
};
use sluice_promote::{
    Ban, Evidence, Explanation, Judge, Offence, Offences, ReleaseReason, Report, Rules, Source, Standing,
    Verdict,
};
use sluice_rt::Sender;
use sluice_telemetry::Hub;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often it decides, while there is anything to decide.
const TICK: Duration = Duration::from_millis(250);
/// Reports that may wait; a core keeps its next one until there is room.
const WAITING_REPORTS: usize = 256;
/// Ended bans that are remembered for `sluice xdp bans`.
const RELEASED_MAX: usize = 50;
/// Addresses of operators that are never banned; the oldest gives way.
const OPERATORS_MAX: usize = 64;
/// The most refused clients that are told.
const TOP_CLIENTS: usize = 100;

const MS: u64 = 1_000_000;
/// The kernel lets go by itself this much later than the judge, who knows what to tell of the end.
const KERNEL_GRACE: Duration = Duration::from_secs(2);

/// The bans of this process.
#[derive(Clone)]
pub(crate) struct Bans {
    hub: Arc<Hub>,
    kernel: Kernel,
    state: Arc<Mutex<State>>,
}

struct State {
    judge: Judge,
    mode: Mode,
    let_through_ms: u64,
    rules: Option<Rules>,
    /// From the configuration.
    exempt: Vec<ipnet::IpNet>,
    operators: VecDeque<IpAddr>,
    cores: Vec<Sender<Order>>,
    /// Version of the watch that the cores have been sent.
    published: u64,
    released: VecDeque<(Ban, ReleaseReason, u64)>,
    placed: u64,
    ended: BTreeMap<String, u64>,
    /// Packets dropped of clients that the limiter knows by an API key: totals, and what was counted of each client.
    key_drops: BTreeMap<String, u64>,
    client_drops: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    On,
    DryRun,
    Off,
}

impl Mode {
    const fn label(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::DryRun => "dry-run",
            Self::Off => "off",
        }
    }
}

impl Bans {
    /// Hears `cores` cores by the sender that it gives. Nobody is banned before [`apply`](Self::apply).
    pub(crate) fn start(
        cores: usize,
        hub: Arc<Hub>,
        kernel: Kernel,
    ) -> io::Result<(Self, SyncSender<Report>)> {
        let (reports, inbox) = sync_channel(WAITING_REPORTS);
        let state = State {
            judge: Judge::new(cores),
            mode: Mode::Off,
            let_through_ms: 0,
            rules: None,
            exempt: Vec::new(),
            operators: VecDeque::new(),
            cores: Vec::new(),
            published: 0,
            released: VecDeque::new(),
            placed: 0,
            ended: BTreeMap::new(),
            key_drops: BTreeMap::new(),
            client_drops: BTreeMap::new(),
        };
        let bans = Self { hub, kernel, state: Arc::new(Mutex::new(state)) };
        let judge = bans.clone();
        // It ends with the last core, whose sender it waits for; nobody needs to join it.
        std::thread::Builder::new().name("sluice-bans".into()).spawn(move || judge.hear(&inbox))?;
        Ok((bans, reports))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, inbox: &Receiver<Report>) {
        let mut is_idle = true;
        loop {
            let first = if is_idle {
                inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                inbox.recv_timeout(TICK)
            };
            let mut state = self.state();
            let now_ns = sluice_rt::clock_ns();
            match first {
                Ok(report) => {
                    state.judge.hear(&report, now_ns);
                    inbox.try_iter().for_each(|report| state.judge.hear(&report, now_ns));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.decide(&mut state, now_ns);
            is_idle = state.judge.is_idle();
        }
    }

    /// The cores that are to watch.
    pub(crate) fn attach(&self, cores: Vec<Sender<Order>>) {
        self.state().cores = cores;
    }

    /// Takes over a configuration. The packet filter has it already.
    pub(crate) fn apply(&self, settings: &Settings) {
        let mut state = self.state();
        let bans = settings.bans.as_ref();
        state.mode = match bans {
            None => Mode::Off,
            Some(bans) if bans.dry_run => Mode::DryRun,
            Some(_) => Mode::On,
        };
        state.let_through_ms = bans.map_or(0, |bans| bans.let_through_ms);
        state.rules = bans.map(|bans| Rules {
            refused_per_s: bans.refused_per_s,
            refused_for_ms: bans.refused_for_ms,
            ttl_ms: bans.ttl_ms,
            ttl_max_ms: bans.ttl_max_ms,
            forget_ms: bans.forget_ms,
        });
        state.exempt = exempt(settings);
        state.renew_rules();
        let now_ns = sluice_rt::clock_ns();
        self.decide(&mut state, now_ns);
        // The packet filter may be a new one, and the mode another.
        for ban in state.judge.bans() {
            // Why it could not was told when the ban was placed, and shows in the report.
            let _ = self.enforce(&state, &ban, now_ns);
        }
    }

    fn decide(&self, state: &mut State, now_ns: u64) {
        for verdict in state.judge.decide(now_ns) {
            match verdict {
                Verdict::Ban(ban) => {
                    state.placed += 1;
                    let enforced = self.enforce(state, &ban, now_ns);
                    self.log_ban(state.mode, &ban, enforced);
                }
                Verdict::Release { ban, why } => {
                    *state.ended.entry(why.label().to_owned()).or_default() += 1;
                    let packets = self.kernel.unban(ban.source.network());
                    log_release(&ban, why, packets, now_ns);
                    state.released.push_front((ban, why, now_ns));
                    state.released.truncate(RELEASED_MAX);
                }
            }
        }
        let watch = state.judge.watch();
        if watch.version() != state.published {
            state.published = watch.version();
            for core in &state.cores {
                // A core that is gone has nobody to watch.
                let _ = core.send(Order::Watch(Arc::clone(&watch)));
            }
        }
    }

    /// Has the packet filter drop, or in a dry run only count, what a source sends.
    fn enforce(&self, state: &State, ban: &Ban, now_ns: u64) -> Result<(), String> {
        let left = Duration::from_nanos(ban.until_ns.saturating_sub(now_ns));
        let is_dry = state.mode == Mode::DryRun;
        self.kernel.ban(ban.source.network(), left + KERNEL_GRACE, state.let_through_ms, is_dry)
    }

    fn log_ban(&self, mode: Mode, ban: &Ban, enforced: Result<(), String>) {
        let (source, for_ms) = (ban.source, (ban.until_ns - ban.from_ns) / MS);
        let what = if mode == Mode::DryRun { "would ban" } else { "ban" };
        let nth = if ban.times > 1 { format!(", time {}", ban.times) } else { String::new() };
        let why = evidence(&self.evidence(&ban.evidence));
        eprintln!("sluice: {what} {source} for {}{nth}: {why}", duration(for_ms));
        if let Err(error) = enforced {
            eprintln!("sluice: warning: the ban of {source} is not enforced: {error}");
        }
    }

    /// An operator's address is never banned.
    pub(crate) fn operator_seen(&self, address: IpAddr) {
        let mut state = self.state();
        if state.operators.contains(&address) {
            return;
        }
        state.operators.push_front(address);
        state.operators.truncate(OPERATORS_MAX);
        state.renew_rules();
    }

    /// `GET /xdp/bans`.
    pub(crate) fn report(&self) -> BanReport {
        let now_ns = sluice_rt::clock_ns();
        let dropped = self.kernel.dropped_by_client();
        let mut state = self.state();
        self.join(&mut state, dropped);
        let released = state.released.iter().map(|(ban, why, at_ns)| ReleaseInfo {
            source: ban.source.to_string(),
            reason: why.label().to_owned(),
            ago_ms: now_ns.saturating_sub(*at_ns) / MS,
            held_ms: at_ns.saturating_sub(ban.from_ns) / MS,
            evidence: self.evidence(&ban.evidence),
        });
        let clients = state.judge.top().top(TOP_CLIENTS);
        let clients = clients.iter().map(|client| RefusedClient {
            client: client.source.to_string(),
            refused: kinds(&client.offences),
            key: client.key.and_then(|slot| self.hub.key_name(slot)),
        });
        BanReport {
            mode: state.mode.label().to_owned(),
            note: if state.mode == Mode::Off { None } else { self.kernel.note() },
            bans: state.judge.bans().iter().map(|ban| self.info(ban, now_ns)).collect(),
            released: released.collect(),
            placed: state.placed,
            ended: state.ended.clone(),
            clients: clients.collect(),
            key_dropped_packets: state.key_drops.clone(),
        }
    }

    /// The judge's part of `GET /clients/ADDRESS`.
    pub(crate) fn explain(&self, address: IpAddr) -> Vec<StandingInfo> {
        let now_ns = sluice_rt::clock_ns();
        let all = self.state().judge.explain(address, now_ns);
        all.iter().map(|one| self.standing(one, now_ns)).collect()
    }

    fn standing(&self, one: &Explanation, now_ns: u64) -> StandingInfo {
        let mut told = StandingInfo {
            source: one.source.to_string(),
            exempt: one.exempt.map(|network| network.to_string()),
            refused: kinds(&one.refused),
            admitted_ago_ms: one.admitted_ago_ms,
            times_banned: one.times_banned,
            last_evidence: one.last_evidence.map(|last| self.evidence(&last)),
            ..StandingInfo::default()
        };
        let standing = match one.standing {
            Standing::Quiet => "quiet",
            Standing::Suspect { for_ms } => {
                told.suspect_for_ms = Some(for_ms);
                "suspect"
            }
            Standing::Spared => "spared",
            Standing::Banned(ban) => {
                told.ban = Some(self.info(&ban, now_ns));
                "banned"
            }
        };
        standing.clone_into(&mut told.standing);
        told
    }

    fn info(&self, ban: &Ban, now_ns: u64) -> BanInfo {
        BanInfo {
            source: ban.source.to_string(),
            times: ban.times,
            age_ms: now_ns.saturating_sub(ban.from_ns) / MS,
            remaining_ms: ban.until_ns.saturating_sub(now_ns) / MS,
            evidence: self.evidence(&ban.evidence),
            packets: self.kernel.ban_packets(ban.source.network()),
        }
    }

    fn evidence(&self, evidence: &Evidence) -> EvidenceInfo {
        EvidenceInfo {
            refused: kinds(&evidence.refused),
            within_ms: evidence.within_ms,
            key: evidence.key.and_then(|slot| self.hub.key_name(slot)),
        }
    }

    /// Adds what the packet filter has dropped of each client since the last look to the API key that the limiter saw
    /// it use last.
    fn join(&self, state: &mut State, dropped: Vec<(IpAddr, u64)>) {
        let mut seen = BTreeMap::new();
        for (client, packets) in dropped {
            let source = Source::of(client);
            let name = source.to_string();
            let before = state.client_drops.get(&name).copied().unwrap_or(0);
            if let Some(key) = state.judge.key_of(source).and_then(|slot| self.hub.key_name(slot)) {
                *state.key_drops.entry(key).or_default() += packets.saturating_sub(before);
            }
            seen.insert(name, packets);
        }
        state.client_drops = seen;
    }
}

impl State {
    fn renew_rules(&mut self) {
        let mut exempt = self.exempt.clone();
        exempt.extend(self.operators.iter().map(|address| ipnet::IpNet::from(address.to_canonical())));
        self.judge.set_rules(self.rules, exempt);
    }
}

/// Who is never banned by configuration.
fn exempt(settings: &Settings) -> Vec<ipnet::IpNet> {
    let mut exempt: Vec<ipnet::IpNet> = settings.bans.iter().flat_map(|bans| bans.never.clone()).collect();
    // What comes through them is others' traffic.
    exempt.extend(settings.server.trusted_proxies.iter().chain(&settings.server.proxy_protocol_from));
    if let Some(xdp) = &settings.xdp {
        exempt.extend(&xdp.allow);
        // What comes over the loopback interface is never seen by a program on another.
        if !xdp.interfaces.iter().any(|interface| interface.value == "lo") {
            exempt.extend(
                ["127.0.0.0/8", "::1/128"].iter().filter_map(|text| text.parse::<ipnet::IpNet>().ok()),
            );
        }
    }
    exempt
}

fn log_release(ban: &Ban, why: ReleaseReason, packets: Option<u64>, now_ns: u64) {
    let held = duration(now_ns.saturating_sub(ban.from_ns) / MS);
    let packets = packets.map_or_else(String::new, |packets| format!(", {packets} packets met it"));
    eprintln!("sluice: release {} after {held}: {}{packets}", ban.source, why.label());
}

fn kinds(offences: &Offences) -> BTreeMap<String, u64> {
    Offence::ALL
        .iter()
        .filter(|kind| offences.of(**kind) > 0)
        .map(|kind| (kind.label().to_owned(), offences.of(*kind)))
        .collect()
}
