//! Never down: a new program, or a new configuration, takes over under load, and no request fails.
//!
//! `SLUICE_LOAD_SECONDS` sets how long the load lasts; a few seconds by default.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sluice_harness::{
    Backend, Call, Conn, Gate, Gateway, Reply, Sluice, eventually, report_skip, sluice_binary, tool,
};

fn load_time() -> Duration {
    let seconds = std::env::var("SLUICE_LOAD_SECONDS").ok().and_then(|s| s.parse().ok());
    Duration::from_secs(seconds.unwrap_or(3))
}

fn mock(body: &str) -> String {
    format!("[routes.a]\npath = \"/a\"\nmock_body = \"{body}\"\n")
}

/// A route for everything, to an echo, and a mock.
fn config(backend: &Backend, body: &str) -> String {
    format!("[routes.all]\npath = \"/{{proxy+}}\"\nupstream = \"{}\"\n{}", backend.addr(), mock(body))
}

fn echo() -> Backend {
    Backend::start(|request| Reply::ok(request.target.clone()))
}

/// Requests on kept and on fresh connections, each answer compared with what was asked; and wrk's, if it is installed.
fn under_load(name: &str, addr: SocketAddr, mut change: impl FnMut()) {
    let (running, served) = (AtomicBool::new(true), AtomicUsize::new(0));
    let failures = Mutex::new(Vec::new());
    let until = Instant::now() + load_time();
    let wrk = wrk(name, addr);
    thread::scope(|scope| {
        for worker in 0..8 {
            let (running, served, failures) = (&running, &served, &failures);
            scope.spawn(move || {
                if let Err(failure) = exchange_until(addr, worker, running, served) {
                    failures.lock().unwrap().push(failure);
                    running.store(false, Ordering::Relaxed);
                }
            });
        }
        while Instant::now() < until && running.load(Ordering::Relaxed) {
            change();
        }
        running.store(false, Ordering::Relaxed);
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} served, failures: {failures:#?}", served.into_inner());
    assert!(served.into_inner() > 100);
    if let Some(wrk) = wrk {
        let said = wrk.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains("Requests/sec"), "{said}");
        assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
    }
}

fn exchange_until(
    addr: SocketAddr,
    worker: usize,
    running: &AtomicBool,
    served: &AtomicUsize,
) -> Result<(), String> {
    let mut kept: Option<Conn> = None;
    let mut n = 0;
    while running.load(Ordering::Relaxed) {
        n += 1;
        let target = format!("/{worker}/{n}");
        let failed = |what: &dyn std::fmt::Debug| format!("{target}: {what:?}");
        let mut conn = match kept.take() {
            Some(conn) => conn,
            None => Conn::try_open(addr).map_err(|error| failed(&error))?,
        };
        let response = conn.try_call(&Call::get(&target)).map_err(|error| failed(&error))?;
        if response.status != 200 || response.text() != target {
            return Err(failed(&response));
        }
        served.fetch_add(1, Ordering::Relaxed);
        // Odd workers open a connection for each request, even ones keep theirs until they are asked to leave.
        if worker.is_multiple_of(2) && !response.says_close() {
            kept = Some(conn);
        }
    }
    Ok(())
}

fn wrk(name: &str, addr: SocketAddr) -> Option<std::process::Child> {
    let Some(wrk) = tool("wrk") else {
        report_skip(name, "wrk is not installed: under the harness's own load only");
        return None;
    };
    let seconds = format!("-d{}", load_time().as_secs());
    let mut command = Command::new(wrk);
    command.args(["-t1", "-c16", &seconds]).arg(format!("http://{addr}/a"));
    Some(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
}

#[test]
fn no_request_is_lost_while_upgrading() {
    let backend = echo();
    let mut gateway = Gateway::builder().server("cores = 2").start(&config(&backend, "a"));
    let (addr, admin) = (gateway.addr(), gateway.admin().to_string());
    let mut upgrades = 0;
    under_load("no_request_is_lost_while_upgrading", addr, || {
        let (old, lines) = (gateway.pid(), gateway.stderr().len());
        if upgrades % 2 == 0 {
            gateway.signal(Signal::USR2);
        } else {
            let output = Sluice::output(&["upgrade", "--admin", &admin]);
            assert!(output.status.success(), "{output:?}");
        }
        assert_ne!(gateway.wait_for_successor(lines), old);
        upgrades += 1;
    });
    assert!(upgrades > 0);
    assert_eq!(gateway.admin_call(Call::get("/health")).json()["status"], "ok");
}

#[test]
fn no_request_is_lost_while_reloading_for_a_while() {
    let backend = echo();
    let gateway = Gateway::builder().server("cores = 2").start(&config(&backend, "0"));
    let mut generation = 0;
    under_load("no_request_is_lost_while_reloading_for_a_while", gateway.addr(), || {
        generation += 1;
        gateway.write_config(&config(&backend, &generation.to_string()));
        assert_eq!(gateway.reload().status, 200);
        let expected = generation.to_string();
        eventually("the new generation", || (gateway.get("/a").text() == expected).then_some(()));
    });
}

#[test]
fn an_upgrade_takes_the_new_configuration_with_more_or_fewer_cores() {
    let mut gateway = Gateway::builder().server("cores = 2").start(&mock("2 cores"));
    for cores in [3, 1] {
        let body = format!("{cores} cores");
        gateway.write_config(&mock(&body));
        let text = fs::read_to_string(gateway.config_path()).unwrap();
        let changed = text.replace("cores = 2\n", &format!("cores = {cores}\n"));
        fs::write(gateway.config_path(), changed).unwrap();
        let lines = gateway.stderr().len();
        gateway.signal(Signal::USR2);
        gateway.wait_for_successor(lines);
        // Each socket has somebody who accepts: with one that had not, some of these would hang.
        for _ in 0..64 {
            assert_eq!(gateway.get("/a").text(), body);
        }
    }
}

#[test]
fn a_request_under_way_ends_in_the_old_process_and_its_connection_leaves() {
    let gate = Arc::new(Gate::new());
    let held = Arc::clone(&gate);
    let backend = Backend::start(move |_| {
        held.wait();
        Reply::ok("from the old one")
    });
    let mut gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    conn.send(Call::get("/slow").bytes());
    eventually("the request at the backend", || (backend.hits() == 1).then_some(()));
    gateway.signal(Signal::USR2);
    gateway.wait_for_line(0, "sluice: upgraded: process ");
    assert!(Conn::try_open(gateway.addr()).is_ok());
    gate.open();
    let response = conn.response();
    assert_eq!(response.text(), "from the old one");
    assert!(response.says_close());
    conn.assert_closed();
    gateway.wait_for_successor(0);
}

#[test]
fn a_bad_configuration_leaves_the_old_process_serving() {
    let mut gateway = Gateway::start(&mock("old"));
    gateway.write_config("[routes.a]\npath = \"/a\"\nmock_bodi = \"new\"\n");
    let pid = gateway.pid();
    gateway.signal(Signal::USR2);
    let line = gateway.wait_for_line(0, "sluice: upgrade failed");
    assert!(line.contains("exit status: 3"), "{line}");
    assert!(
        gateway.stderr().iter().any(|line| line.contains("gateway.toml:3:1")),
        "the new process says why"
    );
    assert_eq!(gateway.get("/a").text(), "old");
    let output = Sluice::output(&["upgrade", "--admin", &gateway.admin().to_string()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("this one goes on"), "{output:?}");
    assert_eq!(gateway.get("/a").text(), "old");
    assert!(gateway.is_running() && gateway.pid() == pid);
}

fn put_program(path: &Path, contents: &[u8]) {
    // By renaming, as a package manager does: a file that runs can't be written to.
    let fresh = path.with_extension("new");
    let mut file = fs::File::create(&fresh).unwrap();
    file.write_all(contents).unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o755)).unwrap();
    drop(file);
    fs::rename(&fresh, path).unwrap();
}

#[test]
fn a_bad_program_leaves_the_old_process_serving_and_a_mended_one_takes_over() {
    let dir = sluice_harness::TempDir::new();
    let program = dir.path().join("sluice");
    let good = fs::read(sluice_binary()).unwrap();
    put_program(&program, &good);
    let mut gateway = Gateway::builder().program(&program).start(&mock("a"));
    put_program(&program, b"#!/bin/sh\nexit 7\n");
    gateway.signal(Signal::USR2);
    let line = gateway.wait_for_line(0, "sluice: upgrade failed");
    assert!(line.contains("exit status: 7"), "{line}");
    assert_eq!(gateway.get("/a").text(), "a");
    fs::remove_file(&program).unwrap();
    let lines = gateway.stderr().len();
    gateway.signal(Signal::USR2);
    let line = gateway.wait_for_line(lines, "sluice: upgrade failed");
    assert!(line.contains("can't start"), "{line}");
    put_program(&program, &good);
    let lines = gateway.stderr().len();
    gateway.signal(Signal::USR2);
    gateway.wait_for_successor(lines);
    assert_eq!(gateway.get("/a").text(), "a");
}

/// A client in a tight loop hears that it is to leave before its connection ends, so it never loses a request.
#[test]
fn a_busy_client_is_told_to_leave_before_its_connection_ends() {
    let mut gateway = Gateway::builder().server("cores = 2").start(&mock("a"));
    let addr = gateway.addr();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let mut conn = gateway.conn();
            assert_eq!(conn.get("/a").status, 200);
            thread::spawn(move || {
                loop {
                    let response =
                        conn.try_call(&Call::get("/a")).expect("an answer, until one asks to leave");
                    if response.says_close() {
                        return;
                    }
                }
            })
        })
        .collect();
    gateway.signal(Signal::TERM);
    for client in clients {
        client.join().unwrap();
    }
    assert_eq!(gateway.wait_for_exit().code(), Some(0));
    assert!(Conn::try_open(addr).is_err());
}

/// Whether one of the process's descriptors is a TCP socket that listens.
fn listens(pid: u32) -> bool {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = links.filter_map(|entry| fs::read_link(entry.path()).ok());
    let sockets: Vec<String> = links.map(|link| link.to_string_lossy().into_owned()).collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    table.lines().any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        columns.get(3) == Some(&"0A") && sockets.contains(&format!("socket:[{}]", columns[9]))
    })
}

/// A log rotation, or a reload of all, may come at any time: also to a process that is not ready yet.
#[test]
fn signals_of_upkeep_do_not_end_a_process_that_starts() {
    let dir = sluice_harness::TempDir::new();
    // Opening it for writing takes until somebody reads: a start as slow as the test wants.
    let log = dir.path().join("access.log");
    rustix::fs::mkfifoat(rustix::fs::CWD, &log, rustix::fs::Mode::RWXU).unwrap();
    let config = format!("{}[access_log]\npath = {log:?}\n", mock("a"));
    let mut reader = None;
    let gateway = Gateway::builder().start_while(&config, |pid| {
        eventually("a listening socket", || listens(pid).then_some(()));
        let process = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
        for signal in [Signal::HUP, Signal::USR1] {
            rustix::process::kill_process(process, signal).unwrap();
        }
        reader = Some(fs::File::open(&log).unwrap());
    });
    assert_eq!(gateway.get("/a").text(), "a");
    gateway.wait_for_line(0, "sluice: reloaded");
}
