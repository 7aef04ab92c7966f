//! Bans and what is known of a client, as the admin listener tells them: JSON, metric families, text for a terminal.

use crate::xdp::printable;
use serde::{Deserialize, Serialize};
use sluice_telemetry::{Exposition, Kind};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// `GET /xdp/bans`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanReport {
    /// `on`, `dry-run` or `off`.
    pub mode: String,
    /// Why bans are placed and not enforced, if so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
    /// In force, the newest first.
    pub bans: Vec<BanInfo>,
    /// Ended, the newest first; a few.
    pub released: Vec<ReleaseInfo>,
    /// Bans placed since start.
    pub placed: u64,
    /// Bans ended since start, by reason.
    pub ended: BTreeMap<String, u64>,
    /// The most refused clients since start.
    pub clients: Vec<RefusedClient>,
    /// Packets dropped of clients that last used an API key, by its name.
    pub key_dropped_packets: BTreeMap<String, u64>,
}

/// A ban and its evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanInfo {
    /// An IPv4 address or an IPv6 network.
    pub source: String,
    /// 1 for the first, 2 for the first relapse.
    pub times: u32,
    /// Since when.
    pub age_ms: u64,
    /// How much longer.
    pub remaining_ms: u64,
    /// What for.
    pub evidence: EvidenceInfo,
    /// Packets of it since, dropped or let through, if the kernel counts them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub packets: Option<u64>,
}

/// What a ban is for: no request of the source was admitted in that time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceInfo {
    /// Refusals by kind.
    pub refused: BTreeMap<String, u64>,
    /// In how long a time.
    pub within_ms: u64,
    /// Name of the API key it used last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
}

/// A ban that ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseInfo {
    /// Whose.
    pub source: String,
    /// `expired`, `admitted`, `exempt` or `off`.
    pub reason: String,
    /// How long ago.
    pub ago_ms: u64,
    /// How long it had held.
    pub held_ms: u64,
    /// What it was for.
    pub evidence: EvidenceInfo,
}

/// One of the most refused clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedClient {
    /// An IPv4 address or the /64 of an IPv6 one.
    pub client: String,
    /// Refusals by kind, since it is followed.
    pub refused: BTreeMap<String, u64>,
    /// Name of the API key it used last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
}

/// `GET /clients/ADDRESS`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientReport {
    /// The address asked for.
    pub address: String,
    /// What the judge of bans makes of it, then of the wider prefixes around it.
    pub standings: Vec<StandingInfo>,
    /// What the packet filter has on it: lists, counters.
    pub kernel: Vec<String>,
    /// Connections it has open.
    pub connections: u32,
}

/// How a source stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingInfo {
    /// An IPv4 address or an IPv6 network.
    pub source: String,
    /// `quiet`, `suspect`, `spared` or `banned`.
    pub standing: String,
    /// The network for whose sake it is never banned.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exempt: Option<String>,
    /// Refusals by kind while it was followed.
    pub refused: BTreeMap<String, u64>,
    /// For how long it has been suspect.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub suspect_for_ms: Option<u64>,
    /// How long ago one of its requests was admitted while it was watched.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub admitted_ago_ms: Option<u64>,
    /// Bans that are not forgotten yet.
    pub times_banned: u32,
    /// The ban in force.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ban: Option<BanInfo>,
    /// What the last ban was for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_evidence: Option<EvidenceInfo>,
}

/// Clients that `/metrics` names: attackers choose addresses, so only so many.
const METRIC_CLIENTS: usize = 20;

/// Writes the report as metric families.
pub fn ban_families(report: &BanReport, out: &mut Exposition<'_>) {
    let family = "sluice_bans_active";
    out.family(family, Kind::Gauge, "Sources that are banned now, or would be in a dry run.");
    out.sample(family, &[("mode", &report.mode)], report.bans.len());
    out.family(
        "sluice_bans_placed_total",
        Kind::Counter,
        "Bans placed, or that would have been in a dry run.",
    );
    out.sample("sluice_bans_placed_total", &[], report.placed);
    out.family("sluice_bans_ended_total", Kind::Counter, "Bans ended by reason.");
    for (reason, count) in &report.ended {
        out.sample("sluice_bans_ended_total", &[("reason", reason)], *count);
    }
    let family = "sluice_client_refusals_total";
    out.family(family, Kind::Counter, "Refusals of the most refused clients by kind.");
    for client in report.clients.iter().take(METRIC_CLIENTS) {
        for (kind, count) in &client.refused {
            out.sample(family, &[("client", &client.client), ("kind", kind)], *count);
        }
    }
    let family = "sluice_xdp_key_dropped_packets_total";
    out.family(family, Kind::Counter, "Packets dropped of clients that last used an API key, by its name.");
    for (key, count) in &report.key_dropped_packets {
        out.sample(family, &[("key", key)], *count);
    }
}

/// Bans as a table.
pub fn ban_table(report: &BanReport) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = writeln!(
        out,
        "bans: {}, {} in force, {} placed since start",
        report.mode,
        report.bans.len(),
        report.placed
    );
    if let Some(note) = &report.note {
        let _ = writeln!(out, "      {}", printable(note));
    }
    if !report.bans.is_empty() {
        let _ = writeln!(
            out,
            "\n{:<40} {:>5} {:>8} {:>8} {:>10}  EVIDENCE",
            "SOURCE", "TIMES", "AGE", "LEFT", "PACKETS"
        );
    }
    for ban in &report.bans {
        let packets = ban.packets.map_or_else(|| "-".to_owned(), |packets| packets.to_string());
        let _ = writeln!(
            out,
            "{:<40} {:>5} {:>8} {:>8} {packets:>10}  {}",
            ban.source,
            ban.times,
            duration(ban.age_ms),
            duration(ban.remaining_ms),
            evidence(&ban.evidence)
        );
    }
    if !report.released.is_empty() {
        let _ = writeln!(out, "\n{:<40} {:>5} {:>8} {:>8}  EVIDENCE", "RELEASED", "AGO", "HELD", "REASON");
    }
    for ended in &report.released {
        let _ = writeln!(
            out,
            "{:<40} {:>5} {:>8} {:>8}  {}",
            ended.source,
            duration(ended.ago_ms),
            duration(ended.held_ms),
            ended.reason,
            evidence(&ended.evidence)
        );
    }
    out
}

/// Rows of [`refused_table`].
const TOP_REFUSED: usize = 10;

/// The most refused clients and the keys that they used, below the packet filter's table in `sluice xdp top`. With an
/// earlier report and the time since, rates too.
pub fn refused_table(report: &BanReport, earlier: Option<(&BanReport, Duration)>) -> String {
    let mut out = String::new();
    if report.clients.is_empty() {
        return out;
    }
    let total = |client: &RefusedClient| client.refused.values().sum::<u64>();
    let title = "REFUSED CLIENT";
    let _ = writeln!(out, "\n{title:<40} {:>12} {:>12}  {:<16} KINDS", "REFUSALS", "REFUSALS/S", "KEY");
    for client in report.clients.iter().take(TOP_REFUSED) {
        let rate = earlier.and_then(|(before, since)| {
            let before = before.clients.iter().find(|one| one.client == client.client)?;
            (!since.is_zero())
                .then(|| total(client).saturating_sub(total(before)) as f64 / since.as_secs_f64())
        });
        let rate = rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"));
        let key = printable(client.key.as_deref().unwrap_or("-"));
        let (refusals, kinds) = (total(client), kinds(&client.refused));
        let _ = writeln!(out, "{:<40} {refusals:>12} {rate:>12}  {key:<16} {kinds}", client.client);
    }
    if !report.key_dropped_packets.is_empty() {
        let _ = writeln!(out, "\n{:<40} {:>12}", "KEY OF DROPPED CLIENTS", "PACKETS");
    }
    for (key, packets) in &report.key_dropped_packets {
        let _ = writeln!(out, "{:<40} {packets:>12}", printable(key));
    }
    out
}

/// What is known of a client, as text.
pub fn client_text(report: &ClientReport) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}: {} connections open", report.address, report.connections);
    for one in &report.standings {
        let _ = write!(out, "{}: {}", one.source, one.standing);
        if let Some(for_ms) = one.suspect_for_ms {
            let _ = write!(out, " for {}", duration(for_ms));
        }
        if let Some(ban) = &one.ban {
            let (nth, left) = (ban.times, duration(ban.remaining_ms));
            let _ = write!(out, " (time {nth}, {left} left): {}", evidence(&ban.evidence));
        }
        let _ = writeln!(out);
        if let Some(network) = &one.exempt {
            let _ = writeln!(out, "  never banned: within {network}");
        }
        if !one.refused.is_empty() {
            let _ = writeln!(out, "  refused lately: {}", kinds(&one.refused));
        }
        if let Some(ago_ms) = one.admitted_ago_ms {
            let _ = writeln!(out, "  admitted {} ago", duration(ago_ms));
        }
        if let (None, Some(last)) = (&one.ban, &one.last_evidence) {
            let _ = writeln!(out, "  banned {} times, last for: {}", one.times_banned, evidence(last));
        }
    }
    for line in &report.kernel {
        let _ = writeln!(out, "packet filter: {}", printable(line));
    }
    out
}

/// `412 refused within 30s (malformed 12, throttled 400), key mobile, none admitted`.
pub fn evidence(evidence: &EvidenceInfo) -> String {
    let total: u64 = evidence.refused.values().sum();
    let mut text =
        format!("{total} refused within {} ({})", duration(evidence.within_ms), kinds(&evidence.refused));
    if let Some(key) = &evidence.key {
        let _ = write!(text, ", key {}", printable(key));
    }
    text.push_str(", none admitted");
    text
}

fn kinds(refused: &BTreeMap<String, u64>) -> String {
    refused.iter().map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>().join(", ")
}

/// `250ms`, `30s`, `12m`, `5h`, `3d`: two or three figures.
pub fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..120_000 => format!("{}s", ms / 1_000),
        120_000..7_200_000 => format!("{}m", ms / 60_000),
        7_200_000..172_800_000 => format!("{}h", ms / 3_600_000),
        _ => format!("{}d", ms / 86_400_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> BanInfo {
        BanInfo {
            source: "198.51.100.7".into(),
            times: 2,
            age_ms: 5_000,
            remaining_ms: 115_000,
            evidence: EvidenceInfo {
                refused: [("throttled".to_owned(), 400), ("malformed".to_owned(), 12)].into(),
                within_ms: 30_000,
                key: Some("mobile".into()),
            },
            packets: Some(99),
        }
    }

    #[test]
    fn bans_show_their_evidence() {
        let report = BanReport { mode: "on".into(), bans: vec![info()], placed: 3, ..BanReport::default() };
        let table = ban_table(&report);
        assert!(table.starts_with("bans: on, 1 in force, 3 placed since start\n"), "{table}");
        assert!(
            table.contains("412 refused within 30s (malformed 12, throttled 400), key mobile, none admitted"),
            "{table}"
        );
    }

    #[test]
    fn a_client_is_explained_line_by_line() {
        let standing = StandingInfo {
            source: "198.51.100.7".into(),
            standing: "banned".into(),
            ban: Some(info()),
            exempt: Some("198.51.100.0/24".into()),
            refused: [("throttled".to_owned(), 400)].into(),
            ..StandingInfo::default()
        };
        let report = ClientReport {
            address: "198.51.100.7".into(),
            standings: vec![standing],
            kernel: vec!["blocked by \x1b".into()],
            connections: 2,
        };
        let text = client_text(&report);
        for words in
            ["2 connections open", "banned (time 2, 115s left)", "never banned: within", "blocked by ?"]
        {
            assert!(text.contains(words), "{words} in {text}");
        }
    }

    #[test]
    fn metrics_name_only_so_many_clients() {
        let client = |n: u32| RefusedClient {
            client: format!("192.0.2.{n}"),
            refused: [("throttled".to_owned(), 1)].into(),
            key: None,
        };
        let report = BanReport { clients: (0..200).map(client).collect(), ..BanReport::default() };
        let mut text = String::new();
        ban_families(&report, &mut Exposition::new(&mut text));
        assert_eq!(text.matches("sluice_client_refusals_total{").count(), METRIC_CLIENTS);
    }

    #[test]
    fn the_most_refused_are_shown_with_their_rate_and_key() {
        let at = |refused| BanReport {
            clients: vec![RefusedClient {
                client: "192.0.2.1".into(),
                refused: [("throttled".to_owned(), refused)].into(),
                key: Some("mobile".into()),
            }],
            key_dropped_packets: [("mobile".to_owned(), 77)].into(),
            ..BanReport::default()
        };
        let table = refused_table(&at(300), Some((&at(100), Duration::from_secs(2))));
        let row: Vec<_> = table.lines().nth(2).unwrap().split_whitespace().collect();
        assert_eq!(row, ["192.0.2.1", "300", "100", "mobile", "throttled", "300"]);
        assert!(table.ends_with("77\n"), "{table}");
        assert_eq!(refused_table(&BanReport::default(), None), "");
    }

    #[test]
    fn durations_are_short() {
        let shown = [250, 30_000, 720_000, 18_000_000, 259_200_000].map(duration);
        assert_eq!(shown, ["250ms", "30s", "12m", "5h", "3d"]);
    }
}
