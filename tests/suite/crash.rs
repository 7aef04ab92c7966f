//! A defect on a data core: a task's stays its own, a core's ends the process at once, for the supervisor to start it again.
//!
//! Builds with debug assertions panic on request (`SLUICE_TEST_PANIC`, at a reload); release builds never do.

use sluice_harness::{Call, Gateway, eventually, skip};

const ROUTE: &str = "[routes.a]\npath = \"/a\"\nmock_body = \"a\"\n";

/// A gateway of two cores, of which the first panics in this way at a reload; none where the program has no such thing.
fn about_to_panic(how: &str) -> Option<Gateway> {
    if cfg!(not(debug_assertions)) {
        return None;
    }
    Some(Gateway::builder().server("cores = 2").env("SLUICE_TEST_PANIC", how).start(ROUTE))
}

fn reload(gateway: &Gateway) {
    let reload = Call::post("/reload", "").header("x-sluice-admin", "1").host(&gateway.admin().to_string());
    // It may be gone before it has answered.
    let _ = sluice_harness::Conn::open(gateway.admin()).try_call(&reload);
}

#[test]
fn a_task_that_panics_ends_alone() {
    let Some(gateway) = about_to_panic("task") else {
        skip!("a_task_that_panics_ends_alone", "a release build does not panic on request");
    };
    let mut kept: Vec<_> = (0..8).map(|_| gateway.conn()).collect();
    kept.iter_mut().for_each(|conn| assert_eq!(conn.get("/a").status, 200));
    reload(&gateway);
    eventually("the panic to be counted", || {
        (gateway.metrics().sum("sluice_engine_task_panics_total", &[]) >= 1.0).then_some(())
    });
    kept.iter_mut().for_each(|conn| assert_eq!(conn.get("/a").status, 200, "connections of before"));
    (0..16).for_each(|_| assert_eq!(gateway.get("/a").status, 200, "new ones, on either core"));
}

fn assert_ends_the_process(how: &str, said: &str) {
    let Some(mut gateway) = about_to_panic(how) else {
        skip!("crash", "a release build does not panic on request");
    };
    assert_eq!(gateway.get("/a").status, 200);
    reload(&gateway);
    assert_eq!(gateway.wait_for_exit().code(), Some(70), "EX_SOFTWARE");
    let fatal = gateway.wait_for_line(0, "sluice: fatal: ");
    assert!(fatal.starts_with("sluice: fatal: data core 0 failed: "), "{fatal}");
    assert!(fatal.contains(said) && fatal.ends_with("so that it is started again"), "{fatal}");
}

#[test]
fn a_core_that_panics_ends_the_process_with_a_clear_line() {
    assert_ends_the_process("core", "panicked: a test asked for it");
}

#[test]
fn a_task_that_a_core_needs_counts_as_the_core() {
    assert_ends_the_process("essential", "a task that it needs panicked");
}
