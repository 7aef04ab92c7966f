//! The access log from the record to the line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use proptest::prelude::*;
use serde_json::Value;
use sluice_telemetry::{
    CacheOutcome, Hub, LogFormat, LogOptions, LogTarget, LogThread, Options, Record, Refusal, UNMATCHED,
};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use support::{Kept, Scrape, record};

/// The thread visits when told, so that what it finds is known.
const NEVER_MS: u64 = 3_600_000;

fn start(hub: &Arc<Hub>, format: LogFormat, writer: impl Write + Send + 'static) -> LogThread {
    let options = LogOptions {
        interval_max_ms: NEVER_MS,
        ..LogOptions::new(LogTarget::Writer(Box::new(writer)), format)
    };
    LogThread::start(Arc::clone(hub), options).unwrap()
}

fn lines(format: LogFormat, records: &[Record<'_>]) -> Vec<String> {
    // The smallest ring there is: it still holds two records of any size.
    let hub = Hub::new(1, Options { log_ring_bytes: 1, ..Options::default() });
    let kept = Kept::default();
    let thread = start(&hub, format, kept.clone());
    let core = hub.core(0);
    for record in records {
        core.record(record);
    }
    thread.stop().unwrap();
    kept.lines()
}

fn scrape(hub: &Hub) -> Scrape {
    let mut text = String::new();
    hub.render_prometheus(&mut text);
    Scrape::parse(&text)
}

fn written(hub: &Hub) -> f64 {
    scrape(hub).get("sluice_log_records_written_total", &[]).unwrap()
}

fn lost(hub: &Hub, reason: &str) -> f64 {
    scrape(hub).get("sluice_log_records_lost_total", &[("reason", reason)]).unwrap()
}

#[test]
fn json_tells_all_there_is() {
    let hub = Hub::new(1, Options::default());
    let kept = Kept::default();
    let thread = start(&hub, LogFormat::Json, kept.clone());
    let core = hub.core(0);
    core.record(&Record {
        route: hub.route_slot("users"),
        status: 504,
        refusal: Some(Refusal::UpstreamTimeout),
        integration_latency_us: Some(1_001),
        upstream: Some(hub.upstream_slot("backend")),
        cache: CacheOutcome::Miss,
        key: Some(hub.key_slot("mobile")),
        limit: Some(hub.limit_slot("default")),
        referer: b"https://example.com/",
        ..record()
    });
    thread.stop().unwrap();
    let line: Value = serde_json::from_str(&kept.lines()[0]).unwrap();
    let want = serde_json::json!({
        "requestId": "0af7651916cd43dd8448eb211c80319c",
        "ip": "203.0.113.9",
        "requestTime": "31/Dec/2024:23:59:59 +0000",
        "requestTimeEpoch": 1_735_689_599_123_u64,
        "httpMethod": "GET",
        "path": "/users/7",
        "query": "page=2",
        "routeKey": "users",
        "status": 504,
        "protocol": "HTTP/1.1",
        "requestLength": 100,
        "responseLength": 250,
        "responseLatency": 1.234,
        "integrationLatency": 1.001,
        "cache": "MISS",
        "userAgent": "curl/8.0",
        "referer": "https://example.com/",
        "error": "upstream_timeout",
        "errorResponseType": "INTEGRATION_TIMEOUT",
        "upstream": "backend",
        "apiKey": "mobile",
        "limit": "default",
    });
    assert_eq!(line, want);
}

#[test]
fn json_leaves_out_what_there_is_not() {
    let bare = Record {
        path: b"/",
        user_agent: b"",
        version: 0,
        source: "2001:db8::7".parse().unwrap(),
        ..record()
    };
    let mapped = Record { source: "::ffff:198.51.100.4".parse().unwrap(), ..bare };
    let lines = lines(LogFormat::Json, &[bare, mapped]);
    let line: HashMap<String, Value> = serde_json::from_str(&lines[0]).unwrap();
    for absent in [
        "query",
        "integrationLatency",
        "cache",
        "userAgent",
        "referer",
        "error",
        "upstream",
        "apiKey",
        "limit",
    ] {
        assert!(!line.contains_key(absent), "{absent}");
    }
    assert_eq!((&line["ip"], &line["protocol"]), (&Value::from("2001:db8::7"), &Value::from("HTTP/1.0")));
    assert!(lines[1].contains(r#""ip":"198.51.100.4""#), "an IPv4 client on a dual-stack listener is IPv4");
}

#[test]
fn clf_has_the_combined_shape() {
    let hub = Hub::new(1, Options::default());
    let kept = Kept::default();
    let thread = start(&hub, LogFormat::Clf, kept.clone());
    let core = hub.core(0);
    core.record(&Record { key: Some(hub.key_slot("mobile")), ..record() });
    core.record(&Record {
        user_agent: b"evil\" 200 \\\n\xff",
        path: b"/\"x",
        key: Some(hub.key_slot("a b\"")),
        ..record()
    });
    thread.stop().unwrap();
    let time = "[31/Dec/2024:23:59:59 +0000]";
    let want = [
        format!(r#"203.0.113.9 - mobile {time} "GET /users/7?page=2 HTTP/1.1" 200 250 "-" "curl/8.0""#),
        format!(
            r#"203.0.113.9 - a_b\_ {time} "GET /\x22x HTTP/1.1" 200 250 "-" "evil\x22 200 \x5c\x0a\xff""#
        ),
    ];
    assert_eq!(kept.lines(), want);
}

#[test]
fn fields_are_cut_at_their_bounds_and_the_record_still_fits() {
    let long = vec![b'a'; 100_000];
    let record = Record {
        method: &long,
        path: &long,
        user_agent: &long,
        referer: &long,
        request_id: &long,
        latency_us: u64::MAX,
        integration_latency_us: Some(u64::MAX),
        ..record()
    };
    let lines = lines(LogFormat::Json, &[record, record]);
    assert_eq!(lines.len(), 2);
    let line: Value = serde_json::from_str(&lines[1]).unwrap();
    let length = |name: &str| line[name].as_str().unwrap().len();
    assert_eq!(
        ["httpMethod", "requestId", "userAgent", "referer", "path"].map(length),
        [32, 64, 1024, 2048, 8192]
    );
    assert_eq!(line["responseLatency"], 4_294_967.295);
    assert_eq!(line["integrationLatency"], 4_294_967.294);
}

proptest! {
    #[test]
    fn hostile_bytes_make_one_valid_line_each(
        method in proptest::collection::vec(any::<u8>(), 0..40),
        path in proptest::collection::vec(any::<u8>(), 0..200),
        user_agent in proptest::collection::vec(any::<u8>(), 0..80),
        referer in proptest::collection::vec(any::<u8>(), 1..80),
        status: u16,
        route: u32,
        key: Option<u32>,
        time_unix_ms in 0..253_402_300_800_000_u64,
    ) {
        let record = Record {
            method: &method, path: &path, user_agent: &user_agent, referer: &referer, status, route, key, time_unix_ms,
            ..record()
        };
        let json = lines(LogFormat::Json, &[record, record]);
        prop_assert_eq!(json.len(), 2);
        for line in json {
            let line: Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(&line["referer"], &Value::from(String::from_utf8_lossy(&referer)));
            let mut parts = path.splitn(2, |byte| *byte == b'?');
            prop_assert_eq!(&line["path"], &Value::from(String::from_utf8_lossy(parts.next().unwrap())));
            let query = parts.next().map(String::from_utf8_lossy);
            prop_assert_eq!(line["query"].as_str(), query.as_deref());
            prop_assert_eq!(line["requestTimeEpoch"].as_u64(), Some(time_unix_ms));
        }
        let clf = lines(LogFormat::Clf, &[record, record]);
        prop_assert_eq!(clf.len(), 2);
        for line in clf {
            // Six quotes and nothing but printable ASCII: fields can't be forged.
            prop_assert_eq!(line.bytes().filter(|byte| *byte == b'"').count(), 6);
            prop_assert!(line.bytes().all(|byte| matches!(byte, 0x20..=0x7e)));
        }
    }
}

#[test]
fn a_full_ring_loses_records_and_counts_each() {
    let hub = Hub::new(1, Options { log_ring_bytes: 64 * 1024, ..Options::default() });
    let kept = Kept::default();
    let thread = start(&hub, LogFormat::Json, kept.clone());
    let core = hub.core(0);
    const RECORDS: u64 = 1_000;
    for number in 0..RECORDS {
        core.record(&Record { time_unix_ms: number, ..record() });
    }
    let full = lost(&hub, "ring_full") as u64;
    thread.stop().unwrap();
    let lines = kept.lines();
    // 11 words, and 1 + 4 + 1 + 0 + 2 of text, in 8192 words.
    assert_eq!(lines.len() as u64, 8192 / 19);
    assert_eq!(full, RECORDS - 8192 / 19);
    assert_eq!(written(&hub) as usize, lines.len());
    for (number, line) in lines.iter().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["requestTimeEpoch"], number as u64, "the oldest are kept, in order");
    }
    // Requests are all counted, whatever the log lost.
    assert_eq!(hub.route_totals(UNMATCHED).requests, RECORDS);
}

/// Two cores log as fast as they can into small rings that wrap many times, of records of all sizes.
#[test]
fn every_record_of_busy_cores_is_written_whole_or_counted_lost() {
    const RECORDS: usize = 50_000;
    let hub = Hub::new(2, Options { log_ring_bytes: 1, ..Options::default() });
    let kept = Kept::default();
    let options = LogOptions {
        interval_max_ms: 1,
        ..LogOptions::new(LogTarget::Writer(Box::new(kept.clone())), LogFormat::Json)
    };
    let thread = LogThread::start(Arc::clone(&hub), options).unwrap();
    let writers = [0_u8, 1].map(|index| {
        let core = hub.core(usize::from(index));
        std::thread::spawn(move || {
            for number in 0..RECORDS {
                let path = format!("/{}", number.to_string().repeat(number % 40));
                let referer = vec![b'0' + index; number % 23];
                core.record(&Record {
                    path: path.as_bytes(),
                    referer: &referer,
                    time_unix_ms: number as u64,
                    source: [10, 0, 0, index].into(),
                    ..record()
                });
            }
        })
    });
    for writer in writers {
        writer.join().unwrap();
    }
    thread.stop().unwrap();
    let lines = kept.lines();
    assert_eq!(lines.len() + lost(&hub, "ring_full") as usize, 2 * RECORDS);
    assert_eq!(written(&hub) as usize, lines.len());
    let mut next = HashMap::new();
    for line in &lines {
        let line: Value = serde_json::from_str(line).unwrap();
        let number = line["requestTimeEpoch"].as_u64().unwrap() as usize;
        assert_eq!(line["path"], format!("/{}", number.to_string().repeat(number % 40)));
        let next = next.entry(line["ip"].to_string()).or_insert(0);
        assert!(number >= *next, "core's records are in order");
        *next = number + 1;
    }
}

/// Takes `take` bytes, then fails once, then takes all.
struct FailsOnce {
    kept: Kept,
    take: usize,
    failed: Arc<Mutex<bool>>,
}

impl Write for FailsOnce {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut failed = self.failed.lock().unwrap();
        if *failed {
            return self.kept.write(bytes);
        }
        if self.take == 0 {
            *failed = true;
            return Err(ErrorKind::StorageFull.into());
        }
        let count = self.take.min(bytes.len());
        self.take -= count;
        self.kept.write(&bytes[..count])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_failed_write_is_counted_by_record_and_glues_no_lines() {
    let whole = lines(LogFormat::Json, &[record()])[0].len() + 1;
    for take in [0, 1, whole - 1, whole, whole + 1, 2 * whole] {
        let hub = Hub::new(1, Options::default());
        let kept = Kept::default();
        let failing = FailsOnce { kept: kept.clone(), take, failed: Arc::default() };
        let core = hub.core(0);
        let first = start(&hub, LogFormat::Json, failing);
        for _ in 0..3 {
            core.record(&record());
        }
        first.reopen();
        // `reopen` also has the thread visit: wait until it has, by what it counts.
        while scrape(&hub).get("sluice_log_write_errors_total", &[]) == Some(0.0) {
            std::thread::yield_now();
        }
        core.record(&record());
        first.stop().unwrap();
        let whole_lines =
            kept.lines().iter().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count();
        // A line that lacked only its end gets it afterwards, and yet counts as lost.
        assert_eq!(whole_lines, (take + 1) / whole + 1, "{take} bytes taken");
        assert_eq!(written(&hub) as usize, take / whole + 1);
        assert_eq!(lost(&hub, "write_error") as usize, 3 - take / whole);
    }
}

/// Blocks until the other end says or goes.
struct Stuck(Mutex<Receiver<()>>, Kept);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.lock().unwrap().recv();
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_target_that_takes_nothing_stops_no_core() {
    let hub = Hub::new(1, Options { log_ring_bytes: 1, ..Options::default() });
    let (go, wait) = channel();
    let kept = Kept::default();
    let thread = start(&hub, LogFormat::Json, Stuck(Mutex::new(wait), kept.clone()));
    let core = hub.core(0);
    const RECORDS: usize = 10_000;
    for number in 0..RECORDS {
        core.record(&record());
        if number == 0 {
            thread.reopen();
        }
    }
    assert!(lost(&hub, "ring_full") > 0.0);
    drop(go);
    thread.stop().unwrap();
    assert_eq!(kept.lines().len() + lost(&hub, "ring_full") as usize, RECORDS);
}

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("sluice-log-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn a_rotated_file_is_let_go_on_reopen() {
    let folder = scratch("rotate");
    let (path, old) = (folder.join("access.log"), folder.join("access.log.1"));
    std::fs::write(&path, "earlier\n").unwrap();
    let hub = Hub::new(1, Options::default());
    let target = || LogOptions {
        interval_max_ms: NEVER_MS,
        ..LogOptions::new(LogTarget::File(path.clone()), LogFormat::Clf)
    };
    let thread = LogThread::start(Arc::clone(&hub), target()).unwrap();
    let core = hub.core(0);
    core.record(&record());
    std::fs::rename(&path, &old).unwrap();
    thread.reopen();
    thread.stop().unwrap();
    assert_eq!(std::fs::read_to_string(&old).unwrap(), "earlier\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);

    // A second thread of the same hub goes on where the first ended.
    let thread = LogThread::start(Arc::clone(&hub), target()).unwrap();
    core.record(&record());
    thread.stop().unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_file_that_cannot_be_reopened_is_kept_and_counted() {
    let folder = scratch("gone");
    let hub = Hub::new(1, Options::default());
    let inner = folder.join("logs");
    std::fs::create_dir(&inner).unwrap();
    let options = LogOptions {
        interval_max_ms: NEVER_MS,
        ..LogOptions::new(LogTarget::File(inner.join("access.log")), LogFormat::Json)
    };
    let thread = LogThread::start(Arc::clone(&hub), options).unwrap();
    std::fs::rename(&inner, folder.join("moved")).unwrap();
    thread.reopen();
    hub.core(0).record(&record());
    thread.stop().unwrap();
    assert_eq!(std::fs::read_to_string(folder.join("moved/access.log")).unwrap().lines().count(), 1);
    assert_eq!(scrape(&hub).get("sluice_log_write_errors_total", &[]), Some(1.0));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn one_log_thread_at_a_time_and_none_for_a_bad_path() {
    let hub = Hub::new(1, Options::default());
    let missing = LogTarget::File("/nonexistent/sluice/access.log".into());
    let error = LogThread::start(Arc::clone(&hub), LogOptions::new(missing, LogFormat::Json)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let first = start(&hub, LogFormat::Json, Kept::default());
    let second = LogOptions::new(LogTarget::Writer(Box::new(Kept::default())), LogFormat::Json);
    assert_eq!(LogThread::start(Arc::clone(&hub), second).unwrap_err().kind(), ErrorKind::AlreadyExists);
    drop(first);
    start(&hub, LogFormat::Json, Kept::default()).stop().unwrap();
}

#[test]
fn without_a_log_thread_nothing_is_kept() {
    let hub = Hub::new(1, Options::default());
    let core = hub.core(0);
    core.record(&record());
    let kept = Kept::default();
    start(&hub, LogFormat::Json, kept.clone()).stop().unwrap();
    assert!(kept.lines().is_empty());
    assert_eq!(lost(&hub, "ring_full"), 0.0);
}
