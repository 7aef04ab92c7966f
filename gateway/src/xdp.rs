//! The kernel path's place in the process: start it, keep it in step with the configuration, show it.

use crate::Failure;
use sluice_config::{Settings, XdpMode};
use sluice_control::{XdpCount, XdpInterface, XdpReport, client, xdp_top};
use sluice_xdp::{Mode, Options, Rate, Xdp, read_block_file};
use std::sync::{Arc, Mutex, PoisonError};
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
    };
    Ok(Some((options, rules)))
}

impl Kernel {
    /// Brings the program to what is wanted: starts, changes or detaches it. Where the host does not allow XDP this says
    /// so once and the gateway serves without.
    pub(crate) fn apply(&self, wanted: Option<(Options, Vec<String>)>) -> Result<(), String> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Drops bans that are over.
    pub(crate) fn sweep(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Err(error)) = state.xdp.as_mut().map(Xdp::sweep) {
            eprintln!("sluice: warning: {error}");
        }
    }

    /// What `GET /xdp` tells.
    pub(crate) fn report(&self) -> XdpReport {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
