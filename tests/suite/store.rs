//! The store under the binary: what is acknowledged survives kill -9 at any moment.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rustix::process::Signal;
use serde_json::Value;
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
