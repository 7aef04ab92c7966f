//! Samples to medians, medians to the table that people read and the list that programs read.

use super::measure::Sample;
use super::peers::Peer;
use super::{Options, Shape, host};
use crate::sh;
use serde::Serialize;
use std::process::Command;

/// One row of `bench/results.json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) shape: &'static str,
    pub(crate) peer: &'static str,
    pub(crate) cpu_us_per_request: f64,
    /// Missing where nginx was not measured in the same run.
    pub(crate) ratio_to_nginx: Option<f64>,
    /// To the shape that this one is compared with, where it was measured in the same run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio_to_base: Option<f64>,
    pub(crate) requests_per_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    #[serde(skip)]
    busy: f64,
}

/// A sample as one line of progress.
pub(crate) fn line(sample: &Sample) -> String {
    format!(
        "{:<8} {:<8} {:>7.2} us CPU/request {:>8.0} requests/s  p50 {:>5.0} us  p99 {:>6.0} us  core {:>3.0}% busy",
        sample.shape.name(),
        sample.peer.name(),
        sample.cpu_us_per_request,
        sample.requests_per_s,
        sample.p50_us,
        sample.p99_us,
        sample.busy * 100.0,
    )
}

/// The median over the rounds of each figure. The ratio is the median of the rounds' own ratios: a machine that is slow for
/// a while slows the two neighbours of a round alike, and drops out.
pub(crate) fn medians(samples: &[Sample]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for shape in Shape::ALL {
        for peer in Peer::ALL {
            let cell: Vec<_> =
                samples.iter().filter(|sample| sample.shape == shape && sample.peer == peer).collect();
            let of = |figure: fn(&Sample) -> f64| median(cell.iter().map(|sample| figure(sample)).collect());
            let Some(cpu_us_per_request) = of(|sample| sample.cpu_us_per_request) else { continue };
            rows.push(Row {
                shape: shape.name(),
                peer: peer.name(),
                cpu_us_per_request: round(cpu_us_per_request, 100.0),
                ratio_to_nginx: paired_ratio(samples, &cell, Peer::Nginx, shape),
                ratio_to_base: shape.base().and_then(|base| paired_ratio(samples, &cell, peer, base)),
                requests_per_s: of(|sample| sample.requests_per_s).unwrap_or_default().round(),
                p50_us: of(|sample| sample.p50_us).unwrap_or_default(),
                p99_us: of(|sample| sample.p99_us).unwrap_or_default(),
                busy: of(|sample| sample.busy).unwrap_or_default(),
            });
        }
    }
    rows
}

/// The median ratio of these samples to those of the same round that this peer had in this shape.
fn paired_ratio(samples: &[Sample], cell: &[&Sample], peer: Peer, shape: Shape) -> Option<f64> {
    let ratio = |sample: &&Sample| {
        let is_twin = |other: &&Sample| (other.round, other.peer, other.shape) == (sample.round, peer, shape);
        Some(sample.cpu_us_per_request / samples.iter().find(is_twin)?.cpu_us_per_request)
    };
    median(cell.iter().filter_map(ratio).collect()).map(|ratio| round(ratio, 1000.0))
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    let upper = *figures.get(middle)?;
    if figures.len() % 2 == 1 { Some(upper) } else { Some((figures.get(middle - 1)? + upper) / 2.0) }
}

fn round(figure: f64, per_unit: f64) -> f64 {
    (figure * per_unit).round() / per_unit
}

/// Prints the table, and writes it beside `results.json`.
pub(crate) fn write(rows: &[Row], versions: &[String], options: &Options) -> Result<(), String> {
    let table = table(rows);
    println!("\n{table}");
    let json = rows
        .iter()
        .map(serde_json::to_string)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    let page = format!(
        "# Results\n\nWritten by `cargo xtask bench`; what is measured and promised: [SPEC.md](SPEC.md). Trust the ratios: \
         they come from interleaved runs on one machine; the microseconds are that machine's.\n\n{}\n{table}\n\
         ## The packet filter\n\nFrom [XDP.md](XDP.md), which says how it was measured.\n\n{}\n\
         ## Good clients under attack\n\nFrom [LAB.md](LAB.md), written by `cargo xtask lab`.\n\n{}",
        circumstances(versions, options),
        tables_of("XDP.md")?,
        tables_of("LAB.md")?,
    );
    for (name, text) in [("results.json", format!("[\n  {}\n]\n", json.join(",\n  "))), ("RESULTS.md", page)]
    {
        let path = options.out.join(name);
        std::fs::create_dir_all(&options.out)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// The tables of another page of results.
fn tables_of(page: &str) -> Result<String, String> {
    let text = host::read(&sh::root().join("bench").join(page).display().to_string())?;
    let mut tables = String::new();
    for line in text.lines() {
        let is_row = line.starts_with('|');
        if is_row || (line.is_empty() && tables.ends_with("|\n")) {
            tables.push_str(line);
            tables.push('\n');
        }
    }
    Ok(format!("{}\n", tables.trim_end()))
}

fn table(rows: &[Row]) -> String {
    let mut text =
        "| shape | peer | CPU µs/request | ratio to nginx | requests/s | p50 µs | p99 µs | core busy |\n\
                    |---|---|--:|--:|--:|--:|--:|--:|\n"
            .to_owned();
    for row in rows {
        let ratio = row.ratio_to_nginx.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
        let peer = if row.peer == Peer::Sluice.name() { "**sluice**" } else { row.peer };
        text.push_str(&format!(
            "| {} | {peer} | {:.2} | {ratio} | {:.0} | {:.0} | {:.0} | {:.0}% |\n",
            row.shape,
            row.cpu_us_per_request,
            row.requests_per_s,
            row.p50_us,
            row.p99_us,
            row.busy * 100.0
        ));
    }
    text
}

fn circumstances(versions: &[String], options: &Options) -> String {
    let cpu = host::read("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown CPU", |(_, model)| model);
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let memory = host::read("/proc/meminfo").unwrap_or_default();
    let memory_kib: f64 =
        memory.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or_default();
    let kernel = host::read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let date = sh::output(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])).unwrap_or_default();
    format!(
        "- Machine: {model}, {cores} cores, {:.0} GiB; Linux {}\n- Versions: {}\n- Date: {}; medians of {} rounds of {} s\n",
        memory_kib / 1024.0 / 1024.0,
        kernel.trim(),
        versions.join(", "),
        date.trim(),
        options.rounds,
        options.seconds,
    )
}

#[cfg(test)]
mod tests {
    use super::{medians, table};
    use crate::bench::Shape;
    use crate::bench::measure::Sample;
    use crate::bench::peers::Peer;

    fn sample(round: u64, peer: Peer, cpu_us_per_request: f64) -> Sample {
        Sample {
            round,
            peer,
            shape: Shape::Mock,
            cpu_us_per_request,
            requests_per_s: 1e6,
            p50_us: 5.0,
            p99_us: 9.0,
            busy: 1.0,
        }
    }

    #[test]
    fn a_round_on_a_slow_machine_and_a_disturbed_one_decide_nothing() {
        let rows = medians(&[
            sample(1, Peer::Sluice, 3.0),
            sample(1, Peer::Nginx, 4.0),
            // Everything twice as slow: the same ratio.
            sample(2, Peer::Sluice, 6.0),
            sample(2, Peer::Nginx, 8.0),
            // One of the two disturbed.
            sample(3, Peer::Sluice, 2.0),
            sample(3, Peer::Nginx, 40.0),
        ]);
        let ratios: Vec<_> = rows.iter().map(|row| (row.peer, row.ratio_to_nginx)).collect();
        assert_eq!(ratios, [("sluice", Some(0.75)), ("nginx", Some(1.0))]);
        assert!(table(&rows).contains("| mock | **sluice** | 3.00 | 0.75 |"));
    }

    #[test]
    fn without_nginx_there_is_no_ratio() {
        assert_eq!(medians(&[sample(1, Peer::Sluice, 3.0)])[0].ratio_to_nginx, None);
    }
}
