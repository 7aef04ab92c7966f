//! The store under the binary: what is acknowledged survives kill -9 at any moment.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rustix::process::Signal;
use serde_json::Value;
use sluice_harness::rest::{RestApi, catalog, mock};
use sluice_harness::{Call, Conn, Gateway, Sluice, TempDir, eventually};

fn config(dir: &TempDir) -> String {
    format!("[store]\npath = \"{}\"\n[aws]\ndevelopment = true\n", dir.path().join("store").display())
}

fn create(gateway: &Gateway, name: &str) -> Option<String> {
    let body = format!("{{\"name\": \"{name}\"}}");
    let call = Call::post("/restapis", body)
        .header("content-type", "application/json")
        .header("accept", "application/json")
        .host(&gateway.admin().to_string());
    let mut conn = Conn::try_open(gateway.admin()).ok()?;
    let response = conn.try_call(&call).ok()?;
    (response.status == 201).then(|| {
        let made: Value = serde_json::from_str(&response.text()).unwrap();
        made["id"].as_str().unwrap().to_owned()
    })
}

fn export(dir: &TempDir) -> BTreeSet<String> {
    let path = dir.path().join("store");
    let check = Sluice::output(&["store", "check", path.to_str().unwrap()]);
    assert!(check.status.success(), "{check:?}");
    let output = Sluice::output(&["store", "export", path.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let export: Value = serde_json::from_slice(&output.stdout).unwrap();
    export["catalog"]["restApis"].as_object().unwrap().keys().cloned().collect()
}

/// Several writers at once, and a kill after a different while in each round.
#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let dir = TempDir::new();
    let mut acknowledged = BTreeSet::new();
    for round in 0..12_u64 {
        let mut gateway = Gateway::start(&config(&dir));
        let (ended, counted) = (AtomicBool::new(false), AtomicU64::new(0));
        let made = thread::scope(|scope| {
            let (gateway, ended, counted) = (&gateway, &ended, &counted);
            let writers: Vec<_> = (0..3)
                .map(|writer| {
                    scope.spawn(move || {
                        let mut made = Vec::new();
                        while !ended.load(Ordering::SeqCst) {
                            match create(gateway, &format!("{round}-{writer}")) {
                                Some(id) => {
                                    made.push(id);
                                    counted.fetch_add(1, Ordering::SeqCst);
                                }
                                None => break,
                            }
                        }
                        made
                    })
                })
                .collect();
            // Killed while the others are under way, after another number of changes in each round.
            eventually("changes are acknowledged", || {
                (counted.load(Ordering::SeqCst) > round % 5).then_some(())
            });
            gateway.signal(Signal::KILL);
            ended.store(true, Ordering::SeqCst);
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
        });
        gateway.wait_for_exit();
        acknowledged.extend(made);
        let kept = export(&dir);
        let lost: Vec<_> = acknowledged.difference(&kept).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?} of {} acknowledged are lost", acknowledged.len());
    }
    assert!(acknowledged.len() > 12, "only {} changes were made", acknowledged.len());
}

#[test]
fn exports_go_in_again_and_what_is_broken_does_not() {
    let (dir, other) = (TempDir::new(), TempDir::new());
    let mut gateway = Gateway::start(&config(&dir));
    let id = create(&gateway, "kept").unwrap();
    let store = dir.path().join("store");
    let busy = Sluice::output(&["store", "export", store.to_str().unwrap()]);
    assert_eq!(busy.status.code(), Some(1), "{busy:?}");
    assert!(String::from_utf8_lossy(&busy.stderr).contains("is in use"), "{busy:?}");
    gateway.signal(Signal::TERM);
    gateway.wait_for_exit();
    let (file, copy) = (other.path().join("export.json"), other.path().join("store"));
    let (file_name, copy_name) = (file.to_str().unwrap(), copy.to_str().unwrap());
    let output = Sluice::output(&["store", "export", store.to_str().unwrap(), "--output", file_name]);
    assert!(output.status.success(), "{output:?}");
    let output = Sluice::output(&["store", "import", copy_name, "--input", file_name]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(export(&other), [id].into());
    for (text, why) in [
        ("{}", "expected what `sluice store export` writes"),
        ("{\"format\": 99, \"catalog\": {}}", "format 99"),
        (
            "{\"format\": 1, \"catalog\": {\"restApis\": {\"x\": {\"id\": \"x\", \"rootResourceId\": \"no\"}}}}",
            "no root resource",
        ),
    ] {
        fs::write(&file, text).unwrap();
        let output = Sluice::output(&["store", "import", copy_name, "--input", file_name]);
        assert!(String::from_utf8_lossy(&output.stderr).contains(why), "{text}: {output:?}");
    }
    assert_eq!(export(&other).len(), 1, "a refused import changes nothing");
}

#[test]
fn an_upgrade_hands_the_store_over() {
    let dir = TempDir::new();
    let mut gateway = Gateway::start(&config(&dir));
    let before = create(&gateway, "before").unwrap();
    let after = gateway.stderr().len();
    gateway.signal(Signal::USR2);
    gateway.wait_for_successor(after);
    let later = create(&gateway, "later").expect("the successor takes changes");
    gateway.signal(Signal::KILL);
    let store = dir.path().join("store");
    eventually("the successor has ended", || {
        Sluice::output(&["store", "check", store.to_str().unwrap()]).status.success().then_some(())
    });
    assert_eq!(export(&dir), [before, later].into());
}

/// Each publication makes authorizers ask anew: there is none but for a change.
#[test]
fn what_there_is_at_the_start_is_published_once() {
    let dir = TempDir::new();
    let generation = |gateway: &Gateway| gateway.metrics().sum("sluice_config_generation", &[]) as u64;
    let mut gateway = Gateway::start(&config(&dir));
    assert_eq!(generation(&gateway), 1);
    create(&gateway, "one").unwrap();
    assert_eq!(generation(&gateway), 2, "the configuration, and the change");
    gateway.signal(Signal::KILL);
    gateway.wait_for_exit();
    let gateway = Gateway::start(&config(&dir));
    assert_eq!(generation(&gateway), 2, "the configuration, and what was kept");
    create(&gateway, "two").unwrap();
    assert_eq!(generation(&gateway), 3);
}

fn replace(gateway: &Gateway, catalog: &Value) -> sluice_harness::Response {
    gateway.operator_call("PUT", "/catalog", &catalog.to_string())
}

fn answering(text: &str) -> RestApi {
    RestApi::new("a").method("GET", "/", mock(text)).deploy("s")
}

#[track_caller]
fn assert_served_and_kept(gateway: &Gateway, text: &str) {
    assert_eq!(gateway.rest("a", "s", "/").text(), text);
    let kept = gateway.operator_call("GET", "/catalog", "").text();
    assert!(kept.contains(&format!("\"{text}\"")), "{kept}");
}

/// A file that may not grow (EFBIG) stands for a disk that is full.
#[test]
fn a_change_that_cannot_be_written_is_not_served_and_the_next_one_is() {
    let dir = TempDir::new();
    let limited = Gateway::builder().under("prlimit --fsize=4000000 env --ignore-signal=XFSZ");
    let mut gateway = limited.start(&config(&dir));
    gateway.serve_rest(&[answering("one")]);
    let mut large = catalog(&[answering("two")]);
    large["restApis"]["a"]["description"] = "x".repeat(8_000_000).into();
    let response = replace(&gateway, &large);
    assert_eq!(response.status, 500, "{response:?}");
    assert!(response.text().contains("could not be stored"), "{response:?}");
    assert_served_and_kept(&gateway, "one");
    // The control plane's own operations go the same way.
    let id = create(&gateway, "small").expect("there is room for this");
    gateway.serve_rest(&[answering("three")]);
    assert_served_and_kept(&gateway, "three");
    gateway.signal(Signal::KILL);
    gateway.wait_for_exit();
    let gateway = Gateway::start(&config(&dir));
    assert_served_and_kept(&gateway, "three");
    assert!(!gateway.operator_call("GET", "/catalog", "").text().contains(&id), "it was replaced");
}

#[test]
fn a_catalog_that_cannot_be_served_is_not_kept() {
    let dir = TempDir::new();
    let mut gateway = Gateway::start(&config(&dir));
    gateway.serve_rest(&[answering("one")]);
    let clash = RestApi::new("a").method("GET", "/{a}", mock("")).method("GET", "/{b}", mock("")).deploy("s");
    let mut misnamed = catalog(&[answering("two")]);
    misnamed["restApis"]["b/c"] = misnamed["restApis"]["a"].clone();
    for (catalog, why) in
        [(catalog(&[clash]), "rest API a/s: routes"), (misnamed, "REST API `b/c`: expected its id")]
    {
        let response = replace(&gateway, &catalog);
        assert_eq!(response.status, 422, "{response:?}");
        assert!(response.text().contains(why), "{response:?}");
        assert_served_and_kept(&gateway, "one");
    }
    gateway.signal(Signal::KILL);
    gateway.wait_for_exit();
    assert_served_and_kept(&Gateway::start(&config(&dir)), "one");
}
