//! What the README promises of a run without configuration, by the commands it prints.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use sluice_harness::{TempDir, conn, eventually, http::Response, skip, sluice_binary, tool};

const DATA: &str = "127.0.0.1:8080";
const ADMIN: &str = "127.0.0.1:8081";

struct QuickStart {
    child: Child,
    dir: TempDir,
}

impl QuickStart {
    fn start() -> Self {
        let dir = TempDir::new();
        let log = |name: &str| fs::File::create(dir.path().join(name)).unwrap();
        let mut command = Command::new(sluice_binary());
        command.arg("run").current_dir(dir.path()).stdin(Stdio::null());
        let child = command.stdout(log("stdout")).stderr(log("stderr")).spawn().unwrap();
        let mut started = Self { child, dir };
        eventually("the quick start to be ready", || {
            let ended = started.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended at once: {}", started.printed());
            started.printed().contains("sluice: ready").then_some(())
        });
        started
    }

    /// All that it printed, on either stream.
    fn printed(&self) -> String {
        ["stderr", "stdout"].map(|name| fs::read_to_string(self.dir.path().join(name)).unwrap()).concat()
    }
}

impl Drop for QuickStart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(addr: &str, target: &str, headers: &[(&str, &str)]) -> Response {
    let call = headers
        .iter()
        .fold(sluice_harness::Call::get(target).host(addr), |call, (name, value)| call.header(name, value));
    conn::fetch(addr.parse::<SocketAddr>().unwrap(), &call)
}

/// One test: the ports are fixed, so there can be only one quick start at a time.
#[test]
fn the_quick_start_does_what_it_says() {
    for addr in [DATA, ADMIN] {
        if let Err(e) = TcpListener::bind(addr) {
            skip!("the_quick_start_does_what_it_says", "{addr} is taken: {e}");
        }
    }
    let quick_start = QuickStart::start();

    let hello = get(DATA, "/hello", &[]);
    assert_eq!(hello.status, 200);
    assert_eq!(hello.json()["message"], "Hello from Sluice");

    get(DATA, "/users/42", &[]).assert_refusal(403, "Forbidden", "ForbiddenException");
    let user = get(DATA, "/users/42", &[("x-api-key", "sluice-demo-key-000001")]);
    assert_eq!(user.status, 200, "{user:?}");

    let outcomes: Vec<String> = ["/cached/7?page=1", "/cached/7?page=1", "/cached/7?page=2"]
        .iter()
        .map(|target| get(DATA, target, &[]).header("x-cache").unwrap_or("none").to_owned())
        .collect();
    assert_eq!(outcomes, ["MISS", "HIT", "MISS"]);

    let statuses: Vec<u16> = (0..10).map(|_| get(DATA, "/limited", &[]).status).collect();
    assert_eq!(statuses[..5], [200; 5]);
    assert!(statuses[5..].contains(&429), "{statuses:?}");

    assert!(get(ADMIN, "/metrics", &[]).text().contains("sluice_requests_total"));
    assert_eq!(get(DATA, "/nowhere", &[]).status, 404);

    run_the_printed_commands(&quick_start.printed());
}

/// The `curl` lines that `sluice run` prints are for copying: each must work.
fn run_the_printed_commands(printed: &str) {
    let lines: Vec<&str> =
        printed.lines().filter_map(|line| line.find("curl ").map(|at| &line[at..])).collect();
    assert!(!lines.is_empty(), "it prints what to curl:\n{printed}");
    if tool("curl").is_none() {
        sluice_harness::report_skip("the printed curl commands", "curl is not installed");
        return;
    }
    for line in lines {
        let command = line.split('#').next().unwrap().trim();
        let output = Command::new("sh").args(["-c", command]).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
    }
}
