//! The kernel path's place in the process: start it, keep it in step with the configuration, show it.

use crate::{Failure, operate};
use ipnet::IpNet;
use sluice_config::{Settings, XdpLimits, XdpMode, XdpRate};
use sluice_control::{BanReport, XdpCount, XdpInterface, XdpReport, client, refused_table, xdp_top};
use sluice_xdp::{
    Handed, LetThrough, Limits, Mode, Options, Rate, Xdp, XdpError, read_block_file, subscriber,
};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

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
    /// What its lists were made of, to make them anew when a file changes.
    origin: Option<ListOrigin>,
}

impl State {
    fn note_applied(&mut self, wanted: Wanted) {
        self.rules = wanted.rules;
        self.block = wanted.options.block;
        self.allow = wanted.options.allow;
        self.note = None;
        self.origin = Some(wanted.origin);
    }
}

fn tell_attached(at: sluice_xdp::Attachment) {
    let why = at.fallback.map_or_else(String::new, |why| format!("; native mode was refused: {why}"));
    let pinned = if at.is_pinned { ", pinned" } else { "" };
    let instead = at.replaced.map_or_else(String::new, |other| format!("; in place of {other}"));
    eprintln!("sluice: xdp attached to {} ({}{pinned}{why}{instead})", at.interface, at.mode.label());
}

/// Where lists come from, and how the files looked when they were read.
#[derive(Clone)]
struct ListOrigin {
    config: sluice_config::Xdp,
    ports: Vec<u16>,
    stamps: Vec<Stamp>,
}

/// Tells a file from its earlier and later contents; `None`: it cannot be seen.
type Stamp = Option<(SystemTime, u64, u64)>;

impl ListOrigin {
    fn of(config: &sluice_config::Xdp, ports: &[u16]) -> Self {
        let stamps = config.block_files.iter().map(|file| stamp(&file.value)).collect();
        Self { config: config.clone(), ports: ports.to_vec(), stamps }
    }

    /// The same with the files as they are now, if one of them has changed.
    fn changed(&self) -> Option<Self> {
        let now = Self::of(&self.config, &self.ports);
        (now.stamps != self.stamps).then_some(now)
    }
}

fn stamp(path: &Path) -> Stamp {
    let found = std::fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len(), found.ino()))
}

/// What is asked of the packet filter.
#[derive(Clone)]
pub(crate) struct Wanted {
    options: Options,
    /// Names of the block rules, by id.
    rules: Vec<String>,
    origin: ListOrigin,
}

/// Sources that `/xdp` names.
const TOP_CLIENTS: usize = 100;

/// What the configuration asks for, with block files read.
pub(crate) fn options(settings: &Settings, ports: &[u16]) -> Result<Option<Wanted>, Vec<String>> {
    // The files' looks first: what changes after that is seen as a change.
    settings.xdp.as_ref().map(|xdp| ListOrigin::of(xdp, ports)).map(read_lists).transpose()
}

fn read_lists(origin: ListOrigin) -> Result<Wanted, Vec<String>> {
    let (xdp, ports) = (&origin.config, &origin.ports);
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
    let rate = |rate: XdpRate| Rate { per_second: rate.per_s, burst: rate.burst };
    let limits = |limits: XdpLimits| Limits {
        syns: limits.syns.map(rate),
        packets: limits.packets.map(rate),
        bytes: limits.bytes.map(rate),
    };
    let options = Options {
        interfaces: xdp.interfaces.iter().map(|i| i.value.clone()).collect(),
        mode: match xdp.mode {
            XdpMode::Auto => Mode::Auto,
            XdpMode::Native => Mode::Native,
            XdpMode::Generic => Mode::Generic,
        },
        block,
        allow: xdp.allow.clone(),
        pin_path: xdp.pin_path.as_ref().map(|path| path.value.clone()),
        force: xdp.force,
        source: limits(xdp.source),
        prefix: limits(xdp.prefix),
        prefix_v4_bits: xdp.prefix_v4_bits,
        prefix_v6_bits: xdp.prefix_v6_bits,
        syn_budget: xdp.syn_budget.map(rate),
        drop_udp: xdp.drop_udp,
        drop_fragments: xdp.drop_fragments,
        drop_later_fragments: xdp.drop_later_fragments,
        served_ports: ports.clone(),
        dry_run: xdp.dry_run,
        events_per_s: xdp.events_per_s,
    };
    Ok(Wanted { options, rules, origin })
}

impl Kernel {
    /// Brings the program to what is wanted: starts, changes or detaches it. Where the host does not allow XDP this says
    /// so once and the gateway serves without.
    pub(crate) fn apply(&self, wanted: Option<Wanted>) -> Result<(), String> {
        let mut state = self.state();
        let Some(Wanted { options, rules, origin }) = wanted else {
            // Not just dropped: a pinned program would stay.
            let detached = state.xdp.take().map_or(Ok(()), Xdp::detach);
            *state = State::default();
            return detached.map_err(|error| error.to_string());
        };
        let result = match state.xdp.as_mut() {
            Some(xdp) => xdp.reconcile(&options),
            None => Xdp::start(&options).map(|xdp| {
                xdp.attachments().into_iter().for_each(tell_attached);
                state.xdp = Some(xdp);
            }),
        };
        match result {
            Ok(()) => {
                state.note_applied(Wanted { options, rules, origin });
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

    /// What a successor needs to go on with the program; nothing if it does not run.
    pub(crate) fn hand_over(&self) -> Vec<(String, OwnedFd)> {
        match self.state().xdp.as_mut().map(Xdp::hand_over) {
            Some(Ok(parts)) => parts,
            Some(Err(error)) => {
                eprintln!("sluice: warning: the packet filter is not handed over: {error}");
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Leaves the program to the successor: what is attached stays so for as long as that one wants.
    pub(crate) fn leave(&self) {
        *self.state() = State::default();
    }

    /// Goes on with what the process before has left, if it is of this version; else attaches anew.
    pub(crate) fn take_over(&self, handed: Handed, wanted: Option<Wanted>) -> Result<(), String> {
        let told = |error: XdpError| error.to_string();
        let Some(Wanted { options, rules, origin }) = wanted.clone() else {
            return handed.let_go(None).map_err(told);
        };
        if !handed.is_ours() {
            handed.let_go(options.pin_path.as_deref()).map_err(told)?;
            return self.apply(wanted);
        }
        match Xdp::take_over(handed, &options) {
            Ok(xdp) => {
                let names: Vec<String> = xdp.attachments().into_iter().map(|at| at.interface).collect();
                eprintln!("sluice: xdp taken over on {}", names.join(", "));
                let mut state = self.state();
                state.xdp = Some(xdp);
                state.note_applied(Wanted { options, rules, origin });
                Ok(())
            }
            Err(error) => {
                eprintln!("sluice: warning: the packet filter can't be taken over: {error}");
                self.apply(wanted)
            }
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
        state.origin = None;
        state.note = Some("detached by command; a reload attaches it again".to_owned());
        if let Err(error) = xdp.detach() {
            eprintln!("sluice: warning: {error}");
        }
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

    /// Reads the lists anew if one of their files has changed. What cannot be read or loaded is told once, and the lists
    /// stay as they are until the file changes again.
    pub(crate) fn refresh(&self) {
        let changed = self.state().origin.as_ref().and_then(ListOrigin::changed);
        let Some(origin) = changed else { return };
        if let Some(known) = &mut self.state().origin {
            known.stamps.clone_from(&origin.stamps);
        }
        match read_lists(origin) {
            Ok(wanted) => {
                let networks = wanted.options.block.len();
                match self.apply(Some(wanted)) {
                    Ok(()) => eprintln!("sluice: xdp block files have changed: {networks} networks"),
                    Err(error) => eprintln!("sluice: warning: {error}"),
                }
            }
            Err(errors) => {
                for error in errors {
                    eprintln!("{error}");
                }
                eprintln!("sluice: warning: the block lists stay as they are");
            }
        }
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
                let reasons = counters.reasons.iter();
                report.reasons = reasons
                    .clone()
                    .map(|r| count(r.reason.label().to_owned(), r.reason.drops(), r.count))
                    .collect();
                let dry = reasons.filter(|r| r.dry.packets > 0);
                report.reasons.extend(dry.map(|r| count(format!("dry_{}", r.reason.label()), false, r.dry)));
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
    let mut earlier: Option<(XdpReport, BanReport, Instant)> = None;
    loop {
        let (_, report) = operate::read::<XdpReport>(admin, client::admin_get(admin, "/xdp"))?;
        let (_, refused) = operate::read::<BanReport>(admin, client::admin_get(admin, "/xdp/bans"))?;
        let since = earlier.as_ref().map(|(report, refused, at)| (report, refused, at.elapsed()));
        let mut text = xdp_top(&report, since.map(|(report, _, elapsed)| (report, elapsed)));
        text += &refused_table(&refused, since.map(|(_, refused, elapsed)| (refused, elapsed)));
        if once {
            print!("{text}");
            return Ok(());
        }
        // Home and clear below: no flicker.
        print!("\x1b[H\x1b[J{text}");
        earlier = Some((report, refused, Instant::now()));
        thread::sleep(TOP_INTERVAL);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_block_file_that_changes_is_noticed_and_a_faulty_one_is_told_by_line() {
        let file = std::env::temp_dir().join(format!("sluice-block-{}.txt", std::process::id()));
        std::fs::write(&file, "198.51.100.0/24\n").unwrap();
        let text = format!("[xdp]\ninterface = 'e'\nblock_files = ['{}']", file.display());
        let settings = Settings::parse(&text, "t").unwrap();
        let wanted = options(&settings, &[443]).unwrap().unwrap();
        assert_eq!(wanted.options.block, [("198.51.100.0/24".parse().unwrap(), 1)]);
        assert!(wanted.origin.changed().is_none());

        std::fs::write(&file, "198.51.100.0/24\n203.0.113.0/24 # another\n").unwrap();
        let wanted = read_lists(wanted.origin.changed().unwrap()).unwrap();
        assert_eq!((wanted.options.block.len(), wanted.options.served_ports), (2, vec![443]));

        std::fs::write(&file, "198.51.100.0/24\n\nno network\n").unwrap();
        let errors = read_lists(wanted.origin.changed().unwrap()).map(drop).unwrap_err();
        assert!(
            errors[0].starts_with(&format!("{}:3: error: expected a network", file.display())),
            "{errors:?}"
        );
        std::fs::remove_file(&file).unwrap();
        assert!(wanted.origin.changed().is_some());
    }
}
