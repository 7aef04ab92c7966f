//! The end: requests under way are answered, new ones are not taken, and the process exits 0.

use std::sync::Arc;

use rustix::process::Signal;
use sluice_harness::{Backend, Call, Conn, Gate, Gateway, Reply, eventually};

#[test]
fn sigterm_and_sigint_exit_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut gateway = Gateway::start("[routes.a]\npath = \"/a\"\nmock_body = \"a\"\n");
        assert_eq!(gateway.get("/a").status, 200);
        gateway.signal(signal);
        assert_eq!(gateway.wait_for_exit().code(), Some(0), "{signal:?}");
    }
}

#[test]
fn requests_under_way_are_answered() {
    let gate = Arc::new(Gate::new());
    let held = Arc::clone(&gate);
    let backend = Backend::start(move |_| {
        held.wait();
        Reply::ok("to the end")
    });
    let mut gateway = Gateway::builder()
        .server("cores = 2\ndrain_timeout_ms = 60000")
        .start(&format!("[routes.a]\npath = \"/a\"\nupstream = \"{}\"\n", backend.addr()));
    let mut conns: Vec<Conn> = (0..8).map(|_| gateway.conn()).collect();
    for conn in &mut conns {
        conn.send(Call::get("/a").bytes());
    }
    eventually("every request at the backend", || (backend.hits() == 8).then_some(()));
    gateway.signal(Signal::TERM);
    eventually("the listener to be closed", || {
        let refused =
            Conn::try_open(gateway.addr()).and_then(|mut conn| conn.try_call(&Call::get("/none"))).is_err();
        refused.then_some(())
    });
    assert!(gateway.is_running(), "it waits for the requests under way");
    gate.open();
    for conn in &mut conns {
        let response = conn.response();
        assert_eq!((response.status, response.text().as_str()), (200, "to the end"));
        assert!(response.says_close(), "a draining gateway asks its clients to leave");
        conn.assert_closed();
    }
    assert_eq!(gateway.wait_for_exit().code(), Some(0));
}

#[test]
fn idle_connections_do_not_delay_the_end() {
    let mut gateway = Gateway::builder()
        .server("drain_timeout_ms = 86400000\nidle_timeout_ms = 86400000")
        .start("[routes.a]\npath = \"/a\"\nmock_body = \"a\"\n");
    let mut used = gateway.conn();
    assert_eq!(used.get("/a").status, 200);
    let mut silent = gateway.conn();
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait_for_exit().code(), Some(0));
    used.assert_closed();
    silent.assert_closed();
}

#[test]
fn the_drain_timeout_ends_what_does_not_end() {
    let backend = Backend::start(|_| Reply::raw("").then_hang());
    let mut gateway = Gateway::builder()
        .server("drain_timeout_ms = 300")
        .start(&format!("[routes.a]\npath = \"/a\"\nupstream = \"{}\"\n", backend.addr()));
    let mut conn = gateway.conn();
    conn.send(Call::get("/a").bytes());
    eventually("the request at the backend", || (backend.hits() == 1).then_some(()));
    gateway.signal(Signal::TERM);
    gateway.wait_for_exit();
}

#[test]
fn the_access_log_is_complete_at_the_end() {
    let mut gateway = Gateway::start("[routes.a]\npath = \"/a\"\nmock_body = \"a\"\n");
    let mut conn = gateway.conn();
    for n in 0..500 {
        assert_eq!(conn.get(&format!("/a?n={n}")).status, 200);
    }
    gateway.signal(Signal::TERM);
    gateway.wait_for_exit();
    assert_eq!(gateway.stdout().lines().count(), 500);
}
