//! Promises that a run can break.

use super::report::Row;

/// The most CPU per request that Sluice may use, as a ratio to nginx in the same run.
const BARS: &[(&str, f64)] = &[
    ("mock", 0.75),
    ("proxied", 0.68),
    ("cached", 0.40),
    ("100k", 0.85),
    ("h2", 0.75),
    ("h2-upstream", 0.50),
    ("tls", 0.78),
    ("tls-proxied", 0.68),
    ("tls-handshake", 0.65),
];

/// The most that a shape may cost as a ratio to the one that it is compared with.
const OWN_BARS: &[(&str, f64)] =
    &[("rest-mock", 1.10), ("rest-proxied", 1.10), ("jwt", 1.15), ("sigv4", 1.60)];

/// Fails where Sluice missed a bar, or was not measured against nginx at all.
pub(crate) fn bars(rows: &[Row]) -> Result<(), String> {
    let mut missed = Vec::new();
    let mut measured = 0;
    let row = |shape: &str| rows.iter().find(|row| row.peer == "sluice" && row.shape == shape);
    let of_nginx = |&(shape, bar)| Some((shape, bar, row(shape)?.ratio_to_nginx?, "nginx's"));
    let of_base = |&(shape, bar)| Some((shape, bar, row(shape)?.ratio_to_base?, "its base's"));
    let bars = BARS.iter().filter_map(of_nginx);
    for (shape, bar, ratio, whose) in bars.chain(OWN_BARS.iter().filter_map(of_base)) {
        measured += 1;
        let verdict = if ratio <= bar { "kept" } else { "MISSED" };
        println!("{shape:<13} expected at most {bar:.2} of {whose}, found {ratio:.2}: {verdict}");
        if ratio > bar {
            missed.push(shape);
        }
    }
    match (measured, missed.is_empty()) {
        (0, _) => Err("nothing to check: measure sluice and nginx".to_owned()),
        (_, true) => Ok(()),
        (_, false) => Err(format!("bars missed: {}", missed.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::bars;
    use crate::bench::Shape;
    use crate::bench::measure::Sample;
    use crate::bench::peers::Peer;
    use crate::bench::report::medians;

    #[test]
    fn rest_apis_are_held_to_the_routes_that_they_are() {
        let sample = |shape, cpu_us_per_request| Sample {
            round: 1,
            peer: Peer::Sluice,
            shape,
            cpu_us_per_request,
            requests_per_s: 1.0,
            p50_us: 1.0,
            p99_us: 1.0,
            busy: 1.0,
        };
        let rows = |rest| medians(&[sample(Shape::Mock, 2.0), sample(Shape::RestMock, rest)]);
        assert_eq!(bars(&rows(2.2)), Ok(()));
        assert!(bars(&rows(2.3)).unwrap_err().contains("rest-mock"));
    }

    fn rows(sluice: f64) -> Vec<crate::bench::report::Row> {
        let sample = |peer, cpu_us_per_request| Sample {
            round: 1,
            peer,
            shape: Shape::Mock,
            cpu_us_per_request,
            requests_per_s: 1.0,
            p50_us: 1.0,
            p99_us: 1.0,
            busy: 1.0,
        };
        medians(&[sample(Peer::Sluice, sluice), sample(Peer::Nginx, 4.0)])
    }

    #[test]
    fn a_missed_bar_is_named() {
        assert_eq!(bars(&rows(3.0)), Ok(()));
        assert!(bars(&rows(3.1)).unwrap_err().contains("mock"));
    }

    #[test]
    fn measuring_nothing_is_no_success() {
        assert!(bars(&[]).is_err());
    }
}
