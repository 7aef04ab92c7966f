//! A new configuration takes over without a lost request; a bad one changes nothing and says where it is wrong.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::Signal;
use sluice_harness::{Backend, Call, Gate, Gateway, Reply, Sluice, eventually};

fn mock(body: &str) -> String {
    format!("[routes.a]\npath = \"/a\"\nmock_body = \"{body}\"\n")
}

/// Waits until every core serves `body`.
fn wait_for_body(gateway: &Gateway, body: &str) {
    eventually(&format!("{body:?} from every core"), || {
        (0..16).all(|_| gateway.get("/a").text() == body).then_some(())
    });
}

#[test]
fn sighup_reloads() {
    let gateway = Gateway::builder().server("cores = 2").start(&mock("old"));
    wait_for_body(&gateway, "old");
    gateway.write_config(&mock("new"));
    gateway.signal(Signal::HUP);
    gateway.wait_for_line(0, "sluice: reloaded generation ");
    wait_for_body(&gateway, "new");
}

#[test]
fn the_command_reloads() {
    let gateway = Gateway::start(&mock("old"));
    gateway.write_config(&mock("new"));
    let output = Sluice::output(&["reload", "--admin", &gateway.admin().to_string()]);
    assert!(output.status.success(), "{output:?}");
    wait_for_body(&gateway, "new");
}

#[test]
fn the_admin_listener_reloads_and_counts_generations() {
    let gateway = Gateway::start(&mock("0"));
    let mut last = 0;
    for n in 1..=3 {
        gateway.write_config(&mock(&n.to_string()));
        let response = gateway.reload();
        assert_eq!(response.status, 200, "{response:?}");
        let generation = response.json()["generation"].as_u64().expect("a generation");
        assert!(generation > last, "generations grow: {generation} after {last}");
        last = generation;
        wait_for_body(&gateway, &n.to_string());
    }
    assert_ne!(gateway.admin_call(Call::get("/reload")).status, 200, "a GET must change nothing");
    assert_eq!(
        gateway.admin_call(Call::post("/reload", "")).status,
        403,
        "a form on a web page must change nothing"
    );
}

#[test]
fn a_bad_file_changes_nothing_and_says_where() {
    let mut gateway = Gateway::start(&mock("old"));
    gateway.write_config("[routes.a]\npath = \"/a\"\nmock_bodi = \"new\"\n");

    let response = gateway.reload();
    assert_eq!(response.status, 422, "{response:?}");
    let errors = response.json()["errors"].to_string();
    assert!(errors.contains("gateway.toml:3:1") && errors.contains("mock_bod"), "{errors}");
    assert!(errors.contains("mock_body"), "a near miss is named: {errors}");

    let lines = gateway.stderr().len();
    gateway.signal(Signal::HUP);
    let refused = gateway.wait_for_line(0, "sluice: reload refused");
    assert!(!refused.is_empty());
    let said = eventually("the place of the fault on stderr", || {
        let said = gateway.stderr().split_off(lines.min(gateway.stderr().len())).join("\n");
        said.contains(":3:1").then_some(said)
    });
    assert!(said.contains("mock_bodi"), "{said}");

    let output = Sluice::output(&["reload", "--admin", &gateway.admin().to_string()]);
    assert!(!output.status.success());
    let told =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(told.contains(":3:1"), "{told}");

    wait_for_body(&gateway, "old");
    assert!(gateway.is_running());
    gateway.write_config(&mock("mended"));
    assert_eq!(gateway.reload().status, 200);
    wait_for_body(&gateway, "mended");
}

#[test]
fn a_missing_file_changes_nothing() {
    let gateway = Gateway::start(&mock("old"));
    std::fs::remove_file(gateway.config_path()).unwrap();
    assert_eq!(gateway.reload().status, 422);
    wait_for_body(&gateway, "old");
}

#[test]
fn reloading_without_a_gateway_fails_with_a_reason() {
    let nobody = sluice_harness::RefusingPort::new();
    let output = Sluice::output(&["reload", "--admin", &nobody.addr().to_string()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!output.stderr.is_empty());
}

/// The heart of it: under load on old and new connections, through a proxy, no request fails and none is mixed up.
#[test]
fn no_request_is_lost_while_reloading() {
    let backend = Backend::start(|request| Reply::ok(request.target.clone()));
    let config = |generation: usize| {
        format!(
            "[routes.all]\npath = \"/{{proxy+}}\"\nupstream = \"{}\"\n[routes.g]\npath = \"/generation\"\nmock_body = \"{generation}\"\n",
            backend.addr()
        )
    };
    let gateway = Gateway::builder().server("cores = 2").start(&config(0));
    let (running, served) = (AtomicBool::new(true), AtomicUsize::new(0));
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for worker in 0..8 {
            let (gateway, running, served, failures) = (&gateway, &running, &served, &failures);
            scope.spawn(move || {
                let mut conn = gateway.conn();
                let mut n = 0;
                while running.load(Ordering::Relaxed) {
                    n += 1;
                    if worker % 2 == 0 && n % 20 == 0 {
                        conn = gateway.conn();
                    }
                    let target = format!("/{worker}/{n}");
                    match conn.try_call(&Call::get(&target)) {
                        Ok(response) if response.status == 200 && response.text() == target => {
                            served.fetch_add(1, Ordering::Relaxed);
                        }
                        other => {
                            failures.lock().unwrap().push(format!("{target}: {other:?}"));
                            return;
                        }
                    }
                }
            });
        }
        for generation in 1..=20 {
            gateway.write_config(&config(generation));
            if generation % 2 == 0 {
                gateway.signal(Signal::HUP);
            } else {
                assert_eq!(gateway.reload().status, 200);
            }
            let expected = generation.to_string();
            eventually("the new generation", || {
                (gateway.get("/generation").text() == expected).then_some(())
            });
        }
        running.store(false, Ordering::Relaxed);
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} served, failures: {failures:#?}", served.into_inner());
    assert!(served.into_inner() > 100);
}

/// An exchange keeps the configuration it began with, even when its route is gone.
#[test]
fn an_exchange_under_way_ends_by_the_old_configuration() {
    let gate = Arc::new(Gate::new());
    let held = Arc::clone(&gate);
    let backend = Backend::start(move |_| {
        held.wait();
        Reply::ok("by the old one")
    });
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    conn.send(Call::get("/a").bytes());
    eventually("the request at the backend", || (backend.hits() == 1).then_some(()));
    gateway.write_config(&mock("new"));
    assert_eq!(gateway.reload().status, 200);
    wait_for_body(&gateway, "new");
    gate.open();
    assert_eq!(conn.response().text(), "by the old one");
    assert_eq!(conn.get("/a").text(), "new");
}

/// Buckets outlive a reload: editing the file must not hand everybody a fresh burst.
#[test]
fn buckets_keep_their_level() {
    let config = |body: &str| {
        format!(
            "{}limits = [\"few\"]\n[limits.few]\nscope = \"route\"\nrate = 0.001\nburst = 5\n",
            mock(body)
        )
    };
    let gateway = Gateway::start(&config("old"));
    let mut conn = gateway.conn();
    let granted = (0..10).filter(|_| conn.get("/a").status == 200).count();
    assert_eq!(granted, 5);
    gateway.write_config(&config("new"));
    assert_eq!(gateway.reload().status, 200);
    for _ in 0..10 {
        assert_eq!(conn.get("/a").status, 429);
    }
}

#[test]
fn cached_entries_outlive_a_reload() {
    let backend = Backend::start(|_| Reply::ok("kept"));
    let config = format!("[routes.c]\npath = \"/c\"\nupstream = \"{}\"\ncache = true\n", backend.addr());
    let gateway = Gateway::start(&config);
    assert_eq!(gateway.get("/c").header("x-cache"), Some("MISS"));
    gateway.write_config(&(config + &mock("x")));
    assert_eq!(gateway.reload().status, 200);
    wait_for_body(&gateway, "x");
    assert_eq!(gateway.get("/c").header("x-cache"), Some("HIT"));
    assert_eq!(backend.hits(), 1);
}

#[test]
fn keys_take_effect_and_lose_it() {
    let config = |keys: &str| format!("{}api_key_required = true\n{keys}", mock("in"));
    let old = "[keys.one]\nvalue = \"key-number-one-0123456789\"\n";
    let new = "[keys.two]\nvalue = \"key-number-two-0123456789\"\n";
    let gateway = Gateway::start(&config(old));
    let status = |key: &str| gateway.call(&Call::get("/a").header("x-api-key", key)).status;
    assert_eq!((status("key-number-one-0123456789"), status("key-number-two-0123456789")), (200, 403));
    gateway.write_config(&config(new));
    assert_eq!(gateway.reload().status, 200);
    eventually("the new keys", || (status("key-number-two-0123456789") == 200).then_some(()));
    assert_eq!(status("key-number-one-0123456789"), 403);
}

#[test]
fn what_needs_a_restart_is_told() {
    let gateway = Gateway::start(&mock("a"));
    let text = std::fs::read_to_string(gateway.config_path()).unwrap();
    std::fs::write(gateway.config_path(), text.replace("cores = 1", "cores = 2")).unwrap();
    assert_eq!(gateway.reload().status, 200);
    gateway.wait_for_line(0, "server.cores");
    wait_for_body(&gateway, "a");
}
