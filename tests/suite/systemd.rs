//! As a service: sockets from the service manager, notifications to it, and the units as `systemd-analyze` sees them.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::Signal;
use sluice_harness::{Call, Conn, Gateway, PATIENCE, TempDir, eventually, skip, sluice_binary, tool};

const MOCK: &str = "[routes.a]\npath = \"/a\"\nmock_body = \"a\"\n";

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config")
}

/// A gateway that the test starts as a service manager would, killed when dropped.
struct Activated(Child);

impl Activated {
    /// `LISTEN_PID` must be the gateway's own: a shell learns it and becomes the gateway.
    fn start(dir: &TempDir, listener: &TcpListener) -> Self {
        fcntl_setfd(listener, FdFlags::empty()).unwrap();
        let fd = listener.as_raw_fd();
        let as_third = if fd == 3 { String::new() } else { format!("exec 3<&{fd} {fd}<&-; ") };
        let variables = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=sluice.socket";
        let script = format!("{as_third}{variables} exec \"$0\" run --config \"$1\"");
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(sluice_binary()).arg(dir.path().join("gateway.toml"));
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Connections that come before the gateway, and while it is started again, wait in the socket and are answered.
#[test]
fn sockets_of_the_service_manager_outlive_the_gateway() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr: SocketAddr = listener.local_addr().unwrap();
    let dir = TempDir::new();
    let server = format!("[server]\nlisten = [\"{addr}\"]\nadmin_listen = \"off\"\ncores = 2\n");
    dir.file("gateway.toml", &format!("{MOCK}{server}"));
    for round in 0..2 {
        let mut early: Vec<Conn> = (0..8).map(|_| Conn::open(addr)).collect();
        early.iter_mut().for_each(|conn| conn.send(Call::get("/a").bytes()));
        let gateway = Activated::start(&dir, &listener);
        for conn in &mut early {
            assert_eq!(conn.response().text(), "a", "round {round}");
        }
        assert_eq!(Conn::open(addr).get("/a").text(), "a");
        drop(gateway);
    }
}

struct Manager {
    socket: UnixDatagram,
    _dir: TempDir,
}

impl Manager {
    fn new() -> (Self, PathBuf) {
        let dir = TempDir::new();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        (Self { socket, _dir: dir }, path)
    }

    /// Reads messages until one has the line `wanted`.
    fn wait_for(&self, wanted: &str) {
        let mut buffer = [0; 4096];
        let mut seen = Vec::new();
        loop {
            let len = self
                .socket
                .recv(&mut buffer)
                .unwrap_or_else(|e| panic!("{wanted} never came ({e}): {seen:?}"));
            let message = String::from_utf8_lossy(&buffer[..len]).into_owned();
            if message.lines().any(|line| line == wanted) {
                return;
            }
            seen.push(message);
        }
    }
}

#[test]
fn the_service_manager_is_kept_informed() {
    let (manager, path) = Manager::new();
    let mut gateway = Gateway::builder()
        .env("NOTIFY_SOCKET", path)
        .env("WATCHDOG_USEC", "3000000")
        .server("cores = 2")
        .start(MOCK);
    manager.wait_for("READY=1");
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    gateway.signal(Signal::USR2);
    let pid = gateway.wait_for_successor(0);
    manager.wait_for(&format!("MAINPID={pid}"));
    manager.wait_for("READY=1");
    manager.wait_for("WATCHDOG=1");
    gateway.signal(Signal::TERM);
    manager.wait_for("STOPPING=1");
    eventually("the end of the gateway", || (!gateway.is_running()).then_some(()));
}

#[test]
fn a_missing_service_manager_is_no_failure() {
    let gateway = Gateway::builder().env("NOTIFY_SOCKET", "/nowhere/notify").start(MOCK);
    assert_eq!(gateway.get("/a").text(), "a");
}

/// The units with the paths of this machine, so that `verify` finds the program.
fn local_units(dir: &TempDir) -> Vec<PathBuf> {
    let binary = sluice_binary().display().to_string();
    ["sluice.service", "sluice.socket"]
        .map(|name| {
            let text = fs::read_to_string(units().join(name)).unwrap();
            dir.file(name, &text.replace("/usr/bin/sluice", &binary))
        })
        .to_vec()
}

#[test]
fn systemd_understands_the_units() {
    let Some(analyze) = tool("systemd-analyze") else {
        skip!("systemd_understands_the_units", "systemd-analyze is not installed (Debian package systemd)");
    };
    let dir = TempDir::new();
    let output = Command::new(analyze).args(["verify", "--man=no"]).args(local_units(&dir)).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("sluice")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
}

#[test]
fn systemd_finds_little_exposed() {
    let Some(analyze) = tool("systemd-analyze") else {
        skip!("systemd_finds_little_exposed", "systemd-analyze is not installed (Debian package systemd)");
    };
    let dir = TempDir::new();
    let units = local_units(&dir);
    // 0 is nothing exposed, 10 everything; in tenths. A network service with no root can't be far below 1.
    let output = Command::new(analyze)
        .args(["security", "--offline=yes", "--no-pager", "--threshold=20"])
        .arg(&units[0])
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// Whoever hardens must say why: each directive of the service has a comment right above it, or shares its neighbour's.
#[test]
fn each_directive_of_the_unit_has_its_reason() {
    let text = fs::read_to_string(units().join("sluice.service")).unwrap();
    for block in text.split("\n\n").skip(1) {
        let directives = block.lines().filter(|line| line.contains('=') && !line.starts_with('#')).count();
        let install = block.starts_with("[Install]");
        assert!(
            install || directives == 0 || block.contains("\n#") || block.starts_with('#'),
            "no reason for:\n{block}"
        );
    }
}
