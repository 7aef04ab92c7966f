//! The kernel path's place in the process: start it, keep it in step with the configuration, show it.

use crate::Failure;
use ipnet::IpNet;
use sluice_config::{Settings, XdpMode};
use sluice_control::{XdpCount, XdpInterface, XdpReport, client, xdp_top};
use sluice_xdp::{LetThrough, Mode, Options, Rate, Xdp, read_block_file, subscriber};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The program if it runs; without it the gateway serves all the same.
#[derive(Clone, Default)]
pub(crate) struct Kernel(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    xdp: Option<Xdp>,
    /// Names of the block rules, by id.
    rules: Vec<String>,
    /// Its lists, to explain a verdict by.
    block: Vec<(IpNet, u32)>,
    allow: Vec<IpNet>,
    /// Why it does not run.
    note: Option<String>,
}

/// Sources that `/xdp` names.
const TOP_CLIENTS: usize = 100;

/// What the configuration asks for, with block files read, and the names of the rules.
pub(crate) fn options(
    settings: &Settings,
    ports: &[u16],
) -> Result<Option<(Options, Vec<String>)>, Vec<String>> {
    let Some(xdp) = &settings.xdp else { return Ok(None) };
    let mut rules = vec!["block".to_owned()];
    let mut block: Vec<_> = xdp.block.iter().map(|net| (*net, 0)).collect();
    let mut errors = Vec::new();
    for file in &xdp.block_files {
        match read_block_file(&file.value) {
            Ok(nets) => {
                let rule = u32::try_from(rules.len()).unwrap_or(u32::MAX);
                rules.push(file.value.display().to_string());
                block.extend(nets.into_iter().map(|net| (net, rule)));
            }
            Err(error) => errors.extend(error.to_string().lines().map(str::to_owned)),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let rate = |per_second, burst: u32| (per_second > 0).then_some(Rate { per_second, burst: burst.max(1) });
    let options = Options {
        interfaces: xdp.interfaces.iter().map(|i| i.value.clone()).collect(),
        mode: match xdp.mode {
            XdpMode::Auto => Mode::Auto,
            XdpMode::Native => Mode::Native,
            XdpMode::Generic => Mode::Generic,
        },
        block,
        allow: xdp.allow.clone(),
        source_packets: rate(xdp.source_packets_per_s, xdp.source_packets_burst),
        source_syns: rate(xdp.source_syns_per_s, xdp.source_syns_burst),
        served_ports: ports.to_vec(),
        dry_run: xdp.dry_run,
        events_per_s: xdp.events_per_s,
    };
    Ok(Some((options, rules)))
}

impl Kernel {
    /// Brings the program to what is wanted: starts, changes or detaches it. Where the host does not allow XDP this says
    /// so once and the gateway serves without.
    pub(crate) fn apply(&self, wanted: Option<(Options, Vec<String>)>) -> Result<(), String> {
        let mut state = self.state();
        let Some((options, rules)) = wanted else {
            *state = State::default();
            return Ok(());
        };
        let result = match state.xdp.as_mut() {
            Some(xdp) => xdp.reconcile(&options),
            None => Xdp::start(&options).map(|xdp| {
                for at in xdp.attachments() {
                    let why = at
                        .fallback
                        .map_or_else(String::new, |why| format!("; native mode was refused: {why}"));
                    eprintln!("sluice: xdp attached to {} ({}{why})", at.interface, at.mode.label());
                }
                state.xdp = Some(xdp);
            }),
        };
        match result {
            Ok(()) => {
                state.rules = rules;
                state.block = options.block;
                state.allow = options.allow;
                state.note = None;
                Ok(())
            }
            Err(error) if error.is_unavailable() => {
                let note = error.to_string();
                if state.note.as_ref() != Some(&note) {
                    eprintln!("sluice: warning: serving without XDP: {note}");
                }
                state.note = Some(note);
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops a source for a while, but for one connection in each `let_through_ms`; in a dry run only counts.
    ///
    /// # Errors
    /// Why not: it does not run, or the kernel refused.
    pub(crate) fn ban(
        &self,
        source: IpNet,
        ttl: Duration,
        let_through_ms: u64,
        dry: bool,
    ) -> Result<(), String> {
        let mut state = self.state();
        let note = state.note.clone();
        let Some(xdp) = &mut state.xdp else {
            return Err(note.unwrap_or_else(|| "the packet filter is off".to_owned()));
        };
        let let_through = match (dry, let_through_ms) {
            (true, _) => LetThrough::Everything,
            (false, 0) => LetThrough::Nothing,
            (false, ms) => LetThrough::ConnectionEvery(Duration::from_millis(ms)),
        };
        xdp.ban(source, ttl, let_through).map_err(|error| error.to_string())
    }

    /// Lifts a ban; gives the packets that met it, if they are known.
    pub(crate) fn unban(&self, source: IpNet) -> Option<u64> {
        let packets = self.ban_packets(source);
        if let Some(Err(error)) = self.state().xdp.as_mut().map(|xdp| xdp.unban(source)) {
            eprintln!("sluice: warning: {error}");
        }
        packets
    }

    /// Packets that met a ban since it was placed.
    pub(crate) fn ban_packets(&self, source: IpNet) -> Option<u64> {
        let state = self.state();
        let ban = state.xdp.as_ref()?.ban_of(source).ok()??;
        Some(ban.seen.packets)
    }

    /// Packets dropped by client, of the clients with the most.
    pub(crate) fn dropped_by_client(&self) -> Vec<(IpAddr, u64)> {
        let state = self.state();
        let counters = state.xdp.as_ref().and_then(|xdp| xdp.counters(TOP_CLIENTS).ok());
        let clients = counters.into_iter().flat_map(|counters| counters.clients);
        clients.map(|one| (one.client.addr(), one.count.packets)).collect()
    }

    /// Why it does not run.
    pub(crate) fn note(&self) -> Option<String> {
        self.state().note.clone()
    }

    /// Takes it off every interface until the next reload; gives their names.
    pub(crate) fn detach(&self) -> Vec<String> {
        let mut state = self.state();
        let Some(xdp) = state.xdp.take() else { return Vec::new() };
        let names: Vec<String> = xdp.attachments().into_iter().map(|at| at.interface).collect();
        state.note = Some("detached by command; a reload attaches it again".to_owned());
        eprintln!("sluice: xdp detached from {} by command", names.join(", "));
        names
    }

    /// What its lists and counters have on an address, as sentences.
    pub(crate) fn explain(&self, address: IpAddr) -> Vec<String> {
        let state = self.state();
        let Some(xdp) = &state.xdp else {
            return vec![state.note.clone().unwrap_or_else(|| "off".to_owned())];
        };
        let mut told = Vec::new();
        if let Some(network) = state.allow.iter().find(|network| network.contains(&address)) {
            told.push(format!("on the allow-list ({network}): no list, ban or rate applies"));
        }
        let narrowest = state.block.iter().filter(|(network, _)| network.contains(&address));
        if let Some((network, rule)) = narrowest.max_by_key(|(network, _)| network.prefix_len()) {
            let rule = state.rules.get(*rule as usize).map_or("block", String::as_str);
            told.push(format!("blocked by {network} ({rule})"));
        }
        if let Ok(Some(ban)) = xdp.ban_of(subscriber(address)) {
            let (left_s, seen, passed) = (ban.remaining.as_secs(), ban.seen.packets, ban.passed);
            told.push(format!(
                "banned for another {left_s} s; {seen} packets met that, {passed} were let through"
            ));
        }
        match xdp.clients(usize::MAX) {
            Ok(clients) => {
                let dropped = clients.iter().find(|one| one.client.contains(&address));
                told.push(match dropped {
                    Some(one) => format!("{} packets of {} dropped", one.count.packets, one.client),
                    None => "no drops counted".to_owned(),
                });
            }
            Err(error) => told.push(error.to_string()),
        }
        told
    }

    /// Drops bans that are over, and logs the sampled drops.
    pub(crate) fn sweep(&self) {
        let mut state = self.state();
        let Some(xdp) = &mut state.xdp else { return };
        if let Err(error) = xdp.sweep() {
            eprintln!("sluice: warning: {error}");
        }
        for event in xdp.events() {
            let source = event.source.map_or_else(|| "?".to_owned(), |source| source.to_string());
            let port = event.port.map_or_else(String::new, |port| format!(" to port {port}"));
            let what = if event.is_dry { "would drop" } else { "dropped" };
            let (reason, bytes) = (event.reason.label(), event.bytes);
            eprintln!("sluice: xdp {what} a packet of {source}{port}: {reason}, {bytes} bytes");
        }
    }

    /// What `GET /xdp` tells.
    pub(crate) fn report(&self) -> XdpReport {
        let state = self.state();
        let mut report = XdpReport { note: state.note.clone(), ..XdpReport::default() };
        let Some(xdp) = &state.xdp else { return report };
        let interface = |at: sluice_xdp::Attachment| XdpInterface {
            name: at.interface,
            mode: at.mode.label().to_owned(),
        };
        report.interfaces = xdp.attachments().into_iter().map(interface).collect();
        let count = |name: String, dropped, stat: sluice_xdp::Stat| XdpCount {
            name,
            dropped,
            packets: stat.packets,
            bytes: stat.bytes,
        };
        match xdp.counters(TOP_CLIENTS) {
            Ok(counters) => {
                let rule = |id: u32| state.rules.get(id as usize).cloned().unwrap_or_else(|| id.to_string());
                report.reasons = counters
                    .reasons
                    .iter()
                    .map(|r| count(r.reason.label().to_owned(), r.reason.drops(), r.count))
                    .collect();
                report.rules = counters.rules.iter().map(|r| count(rule(r.rule), true, r.count)).collect();
                report.clients =
                    counters.clients.iter().map(|c| count(c.client.to_string(), true, c.count)).collect();
            }
            Err(error) => report.note = Some(error.to_string()),
        }
        report
    }
}

/// How often `sluice xdp top` looks.
const TOP_INTERVAL: Duration = Duration::from_secs(1);

/// `sluice xdp top`.
pub(crate) fn top(admin: &str, once: bool) -> Result<(), Failure> {
    let mut earlier: Option<(XdpReport, Instant)> = None;
    loop {
        let answer = client::admin_get(admin, "/xdp").map_err(Failure::Runtime)?;
        if answer.status != 200 {
            return Err(Failure::Runtime(format!(
                "the gateway answered {}: {}",
                answer.status,
                answer.body.trim_end()
            )));
        }
        let report: XdpReport = serde_json::from_str(&answer.body)
            .map_err(|error| Failure::Runtime(format!("{admin} does not answer like a gateway: {error}")))?;
        let since = earlier.as_ref().map(|(report, at)| (report, at.elapsed()));
        let text = xdp_top(&report, since);
        if once {
            print!("{text}");
            return Ok(());
        }
        // Home and clear below: no flicker.
        print!("\x1b[H\x1b[J{text}");
        earlier = Some((report, Instant::now()));
        thread::sleep(TOP_INTERVAL);
    }
}
