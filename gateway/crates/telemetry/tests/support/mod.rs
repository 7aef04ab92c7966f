//! What the tests share.
#![allow(dead_code, reason = "each test uses a part")]

use sluice_telemetry::{CacheOutcome, Record, UNMATCHED};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

/// An ordinary exchange.
pub(crate) fn record() -> Record<'static> {
    Record {
        route: UNMATCHED,
        status: 200,
        refusal: None,
        latency_us: 1_234,
        integration_latency_us: None,
        upstream: None,
        cache: CacheOutcome::None,
        key: None,
        limit: None,
        bytes_in: 100,
        bytes_out: 250,
        time_unix_ms: 1_735_689_599_123,
        method: b"GET",
        path: b"/users/7?page=2",
        version: 1,
        source: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)),
        user_agent: b"curl/8.0",
        referer: b"",
        tls: b"",
        principal: b"",
        request_id: b"0af7651916cd43dd8448eb211c80319c",
    }
}

/// A target that keeps what is written.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    /// The lines so far; the last one must be whole.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).expect("the log is UTF-8");
        assert!(text.is_empty() || text.ends_with('\n'), "the last line is cut");
        text.lines().map(str::to_owned).collect()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Name, labels, value.
type Sample = (String, Vec<(String, String)>, f64);

/// A checked exposition: every sample under its family, families and series unique, histograms consistent.
#[derive(Debug)]
pub(crate) struct Scrape {
    samples: Vec<Sample>,
}

impl Scrape {
    pub(crate) fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line must end");
        let (mut samples, mut families) = (Vec::new(), Vec::<(String, String)>::new());
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, text) = help.split_once(' ').expect("help has text");
                assert!(!text.is_empty() && families.iter().all(|(known, _)| known != name), "{name} again");
                families.push((name.to_owned(), String::new()));
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a type");
                let family = families.last_mut().expect("help before type");
                assert_eq!(family.0, name);
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
                kind.clone_into(&mut family.1);
            } else {
                let sample = Self::sample(line);
                let (family, kind) = families.last().expect("a family before its samples");
                let suffix =
                    sample.0.strip_prefix(family.as_str()).unwrap_or_else(|| panic!("{line} in {family}"));
                match kind.as_str() {
                    "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}"),
                    "counter" => assert!(suffix.is_empty() && family.ends_with("_total"), "{line}"),
                    _ => assert_eq!(suffix, "", "{line}"),
                }
                let is_same = |(name, labels, _): &Sample| *name == sample.0 && *labels == sample.1;
                assert!(!samples.iter().any(is_same), "twice: {line}");
                samples.push(sample);
            }
        }
        let scrape = Self { samples };
        scrape.check_histograms(&families);
        scrape
    }

    fn sample(line: &str) -> Sample {
        let name_len = line.find(['{', ' ']).expect("a name");
        let (name, mut rest) = line.split_at(name_len);
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{line}");
        let mut labels = Vec::new();
        while let Some(tail) = rest.strip_prefix(['{', ',']) {
            let (label, tail) = tail.split_once("=\"").expect("a label");
            let mut value = String::new();
            let mut characters = tail.char_indices();
            let end = loop {
                match characters.next().expect("a closing quote") {
                    (at, '"') => break at,
                    (_, '\\') => match characters.next().expect("an escaped character").1 {
                        'n' => value.push('\n'),
                        other @ ('\\' | '"') => value.push(other),
                        other => panic!("\\{other} is no escape: {line}"),
                    },
                    (_, other) => value.push(other),
                }
            };
            labels.push((label.to_owned(), value));
            rest = &tail[end + 1..];
        }
        let value = rest.trim_start_matches('}').strip_prefix(' ').expect("a space before the value");
        (name.to_owned(), labels, value.parse().unwrap_or_else(|_| panic!("not a number: {line}")))
    }

    fn check_histograms(&self, families: &[(String, String)]) {
        for (family, _) in families.iter().filter(|(_, kind)| kind == "histogram") {
            for (_, labels, count) in
                self.samples.iter().filter(|(name, ..)| *name == format!("{family}_count"))
            {
                let buckets: Vec<_> = self
                    .samples
                    .iter()
                    .filter(|(name, own, _)| {
                        *name == format!("{family}_bucket") && own[..own.len() - 1] == labels[..]
                    })
                    .map(|(_, own, value)| {
                        (own[own.len() - 1].1.replace("+Inf", "inf").parse::<f64>().unwrap(), *value)
                    })
                    .collect();
                assert!(
                    buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1),
                    "{buckets:?}"
                );
                assert_eq!(buckets.last().unwrap(), &(f64::INFINITY, *count), "{family} {labels:?}");
            }
        }
    }

    /// The sample of exactly these labels.
    pub(crate) fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let is_it = |own: &[(String, String)]| {
            own.len() == labels.len()
                && own.iter().zip(labels).all(|(own, want)| own.0 == want.0 && own.1 == want.1)
        };
        self.samples.iter().find(|sample| sample.0 == name && is_it(&sample.1)).map(|sample| sample.2)
    }
}
