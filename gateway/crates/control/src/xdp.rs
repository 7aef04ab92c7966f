//! The XDP program's counters as the admin listener tells them: JSON, metric families, and a table for a terminal.

use serde::{Deserialize, Serialize};
use sluice_telemetry::{Exposition, Kind};
use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

/// The state of the XDP program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct XdpReport {
    /// Where it is attached; empty when it isn't.
    pub interfaces: Vec<XdpInterface>,
    /// Why it is not attached everywhere it should be.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
    /// Packets by verdict reason.
    pub reasons: Vec<XdpCount>,
    /// Drops by block rule.
    pub rules: Vec<XdpCount>,
    /// Drops by source, the largest first.
    pub clients: Vec<XdpCount>,
}

/// One attachment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct XdpInterface {
    /// The interface's name.
    pub name: String,
    /// `native` or `generic`.
    pub mode: String,
}

/// Packets of one reason, rule or source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct XdpCount {
    /// Reason, rule or source address.
    pub name: String,
    /// Whether they were dropped.
    pub dropped: bool,
    /// Packets since the program was attached.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Sources that `/metrics` names: attackers choose them, so only so many.
const METRIC_CLIENTS: usize = 20;

/// Writes the report as metric families.
pub fn xdp_families(report: &XdpReport, out: &mut Exposition<'_>) {
    out.family("sluice_xdp_attached", Kind::Gauge, "1 for each interface the XDP program is attached to.");
    for interface in &report.interfaces {
        out.sample("sluice_xdp_attached", &[("interface", &interface.name), ("mode", &interface.mode)], 1);
    }
    let verdict = |count: &XdpCount| if count.dropped { "drop" } else { "pass" };
    out.family("sluice_xdp_packets_total", Kind::Counter, "Packets by reason of their verdict.");
    for count in &report.reasons {
        let labels = [("reason", count.name.as_str()), ("verdict", verdict(count))];
        out.sample("sluice_xdp_packets_total", &labels, count.packets);
    }
    out.family("sluice_xdp_bytes_total", Kind::Counter, "Bytes by reason of their packet's verdict.");
    for count in &report.reasons {
        out.sample(
            "sluice_xdp_bytes_total",
            &[("reason", &count.name), ("verdict", verdict(count))],
            count.bytes,
        );
    }
    out.family("sluice_xdp_rule_dropped_packets_total", Kind::Counter, "Packets dropped by block rule.");
    for count in &report.rules {
        out.sample("sluice_xdp_rule_dropped_packets_total", &[("rule", &count.name)], count.packets);
    }
    let family = "sluice_xdp_client_dropped_packets_total";
    out.family(family, Kind::Counter, "Packets dropped of the sources with the most.");
    for count in report.clients.iter().take(METRIC_CLIENTS) {
        out.sample(family, &[("client", &count.name)], count.packets);
    }
}

/// Sources that `xdp_top` shows.
const TOP_CLIENTS: usize = 20;

/// The report as a table. With an earlier report and the time since, rates too.
pub fn xdp_top(report: &XdpReport, earlier: Option<(&XdpReport, Duration)>) -> String {
    let mut out = String::new();
    let attached: Vec<_> =
        report.interfaces.iter().map(|one| format!("{} ({})", printable(&one.name), one.mode)).collect();
    let attached = if attached.is_empty() { "not attached".to_owned() } else { attached.join(", ") };
    // Writing to a string can't fail.
    let _ = writeln!(out, "XDP: {attached}");
    if let Some(note) = &report.note {
        let _ = writeln!(out, "     {}", printable(note));
    }
    let interval = earlier.map(|(_, interval)| interval);
    let before = |pick: fn(&XdpReport) -> &Vec<XdpCount>| earlier.map_or(&[][..], |(report, _)| pick(report));
    section(&mut out, "REASON", &report.reasons, before(|report| &report.reasons), interval);
    section(&mut out, "RULE", &report.rules, before(|report| &report.rules), interval);
    let clients = report.clients.get(..TOP_CLIENTS).unwrap_or(&report.clients);
    section(&mut out, "SOURCE", clients, before(|report| &report.clients), interval);
    out
}

fn section(
    out: &mut String,
    title: &str,
    counts: &[XdpCount],
    before: &[XdpCount],
    interval: Option<Duration>,
) {
    if counts.is_empty() {
        return;
    }
    let before: HashMap<&str, u64> =
        before.iter().map(|count| (count.name.as_str(), count.packets)).collect();
    let _ =
        writeln!(out, "\n{title:<32} {:<7} {:>14} {:>12} {:>12}", "VERDICT", "PACKETS", "BYTES", "PACKETS/S");
    for count in counts {
        let verdict = if count.dropped { "drop" } else { "pass" };
        let rate = match (interval, before.get(count.name.as_str())) {
            (Some(interval), Some(earlier)) if !interval.is_zero() => {
                format!("{:.0}", count.packets.saturating_sub(*earlier) as f64 / interval.as_secs_f64())
            }
            _ => "-".to_owned(),
        };
        let (name, bytes) = (printable(&count.name), human_bytes(count.bytes));
        let _ = writeln!(out, "{name:<32} {verdict:<7} {:>14} {bytes:>12} {rate:>12}", count.packets);
    }
}

/// Text from elsewhere goes to a terminal: nothing in it may be obeyed.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(name: &str, dropped: bool, packets: u64, bytes: u64) -> XdpCount {
        XdpCount { name: name.into(), dropped, packets, bytes }
    }

    fn report(packets: u64) -> XdpReport {
        XdpReport {
            interfaces: vec![XdpInterface { name: "eth0".into(), mode: "generic".into() }],
            note: None,
            reasons: vec![count("accepted", false, packets, 6_000), count("blocked", true, 7, 420)],
            rules: vec![count("198.51.100.0/24", true, 7, 420)],
            clients: (0..30).map(|n| count(&format!("198.51.100.{n}"), true, 30 - n, 60)).collect(),
        }
    }

    #[test]
    fn the_table_shows_totals_rates_and_the_largest_sources() {
        let table = xdp_top(&report(500), Some((&report(100), Duration::from_secs(2))));
        assert!(table.starts_with("XDP: eth0 (generic)\n"), "{table}");
        let row: Vec<_> =
            table.lines().find(|line| line.starts_with("accepted")).unwrap().split_whitespace().collect();
        assert_eq!(row, ["accepted", "pass", "500", "5.9", "KiB", "200"]);
        assert_eq!(
            table.lines().filter(|line| line.starts_with("198.51.100.") && !line.contains("/24")).count(),
            20
        );
        let still = xdp_top(&report(500), None);
        assert!(still.lines().find(|line| line.starts_with("accepted")).unwrap().ends_with('-'));
    }

    #[test]
    fn an_unattached_program_says_so_and_text_cannot_command_the_terminal() {
        let report = XdpReport { note: Some("no \x1b[31mCAP_BPF".into()), ..XdpReport::default() };
        assert_eq!(xdp_top(&report, None), "XDP: not attached\n     no ?[31mCAP_BPF\n");
    }

    #[test]
    fn counters_that_went_back_show_no_rate_below_zero() {
        let table = xdp_top(&report(1), Some((&report(100), Duration::from_secs(1))));
        assert!(table.lines().find(|line| line.starts_with("accepted")).unwrap().ends_with(" 0"));
    }

    #[test]
    fn families_name_only_so_many_sources() {
        let mut text = String::new();
        xdp_families(&report(5), &mut Exposition::new(&mut text));
        assert!(text.contains("sluice_xdp_packets_total{reason=\"blocked\",verdict=\"drop\"} 7\n"), "{text}");
        assert!(
            text.contains("sluice_xdp_rule_dropped_packets_total{rule=\"198.51.100.0/24\"} 7\n"),
            "{text}"
        );
        assert_eq!(
            text.matches("sluice_xdp_client_dropped_packets_total{").count(),
            METRIC_CLIENTS,
            "{text}"
        );
    }

    #[test]
    fn bytes_read_well() {
        assert_eq!(human_bytes(1023), "1023 B");
        assert_eq!(human_bytes(1536), "1.5 KiB");
        assert_eq!(human_bytes(u64::MAX), "16384.0 PiB");
    }
}
