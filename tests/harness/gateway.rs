//! Runs the real `sluice` binary.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::call::Call;
use crate::conn::{Conn, fetch};
use crate::http::Response;
use crate::metrics::Metrics;
use crate::signer::Signer;
use crate::system::{TempDir, memory_bytes, open_fds};
use crate::wait::eventually;

/// Access key of every gateway that is started here, for what the harness itself asks of the control plane.
pub const OPERATOR: &str = "AKIDOPERATOR";
pub const OPERATOR_SECRET: &str = "the operator's secret key";

/// Where the `sluice` binary is: `SLUICE_BIN`, or the workspace's, built once with this test's profile.
pub fn sluice_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("SLUICE_BIN") {
            return PathBuf::from(path);
        }
        // This executable is TARGET/PROFILE/deps/NAME.
        let exe = std::env::current_exe().unwrap();
        let profile_dir = exe.ancestors().nth(2).unwrap();
        let binary = profile_dir.join("sluice");
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "-p", "sluice", "--target-dir"]).arg(profile_dir.parent().unwrap());
        if profile_dir.ends_with("release") {
            build.arg("--release");
        }
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
        let built = build.arg("--manifest-path").arg(manifest).status();
        assert!(
            built.as_ref().is_ok_and(ExitStatus::success) || binary.is_file(),
            "no sluice binary: set SLUICE_BIN, or make `cargo build -p sluice` work ({built:?})"
        );
        binary
    })
}

/// One run of a `sluice` command to its end.
pub struct Sluice;

impl Sluice {
    /// Signed, where the gateway asks for it, by the operator of those that the harness starts.
    pub fn output(args: &[&str]) -> Output {
        let mut command = Command::new(sluice_binary());
        command.args(args).stdin(Stdio::null());
        command.env("AWS_ACCESS_KEY_ID", OPERATOR).env("AWS_SECRET_ACCESS_KEY", OPERATOR_SECRET);
        command.env_remove("AWS_REGION").env_remove("AWS_DEFAULT_REGION");
        command.output().unwrap_or_else(|e| panic!("run {}: {e}", sluice_binary().display()))
    }
}

/// A running `sluice run`, killed when dropped.
pub struct Gateway {
    child: Child,
    /// The process that serves since an upgrade. Not our child: its parent has ended.
    successor: Option<u32>,
    stderr: Arc<Mutex<Vec<String>>>,
    dir: TempDir,
    server: String,
    data: SocketAddr,
    admin: SocketAddr,
}

/// Settles what differs from the harness's defaults.
pub struct Builder {
    server: String,
    before: Vec<String>,
    program: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl Builder {
    /// Adds lines to the `[server]` table, such as `cores = 2`.
    pub fn server(mut self, lines: &str) -> Self {
        self.server.push_str(lines);
        self.server.push('\n');
        self
    }

    /// Has this command start the gateway, such as `setpriv …`. It starts a copy of the binary that anybody may read.
    pub fn under(mut self, command: &str) -> Self {
        self.before = command.split_whitespace().map(str::to_owned).collect();
        self
    }

    /// Runs another file than the workspace's binary.
    pub fn program(mut self, path: &Path) -> Self {
        self.program = path.to_owned();
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Starts the gateway and waits until it is ready.
    pub fn start(self, config: &str) -> Gateway {
        self.start_while(config, |_| ())
    }

    /// Starts the gateway, does `meanwhile` with its process id, and waits until it is ready.
    pub fn start_while(self, config: &str, meanwhile: impl FnOnce(u32)) -> Gateway {
        let dir = TempDir::new();
        let path = dir.file("gateway.toml", &whole_config(&self.server, config));
        let stdout = fs::File::create(dir.path().join("stdout.log")).unwrap();
        let mut command = self.command(&dir);
        command.args(["run", "--config"]).arg(&path).current_dir(dir.path());
        // No test should depend on where it runs.
        command.env("AWS_EC2_METADATA_DISABLED", "true").envs(self.environment);
        let mut child =
            command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).spawn().expect("start sluice");
        let stderr = collect_lines(&mut child);
        meanwhile(child.id());
        let (data, admin) = wait_until_ready(&mut child, &stderr);
        Gateway { child, successor: None, stderr, dir, server: self.server, data, admin }
    }

    fn command(&self, dir: &TempDir) -> Command {
        let Some((program, arguments)) = self.before.split_first() else {
            return Command::new(&self.program);
        };
        let copy = dir.path().join("sluice");
        fs::copy(&self.program, &copy).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).arg(copy);
        command
    }
}

/// The operator's key and the `[server]` table go last, so that the lines of `config` keep their numbers.
fn whole_config(server: &str, config: &str) -> String {
    let mut lines = String::new();
    for (key, default) in
        [("listen", "[\"127.0.0.1:0\"]"), ("admin_listen", "\"127.0.0.1:0\""), ("cores", "1")]
    {
        if !server.lines().any(|line| line.trim_start().starts_with(&format!("{key} "))) {
            lines.push_str(&format!("{key} = {default}\n"));
        }
    }
    format!("{config}\n[access_keys.{OPERATOR}]\nsecret = \"{OPERATOR_SECRET}\"\n[server]\n{lines}{server}")
}

fn collect_lines(child: &mut Child) -> Arc<Mutex<Vec<String>>> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let pipe = BufReader::new(child.stderr.take().unwrap());
    let sink = Arc::clone(&lines);
    thread::spawn(move || {
        for line in pipe.lines().map_while(Result::ok) {
            sink.lock().unwrap().push(line);
        }
    });
    lines
}

fn wait_until_ready(child: &mut Child, stderr: &Mutex<Vec<String>>) -> (SocketAddr, SocketAddr) {
    let find = |lines: &[String], kind: &str| {
        lines
            .iter()
            .find_map(|line| line.strip_prefix(&format!("sluice: {kind} listener http://"))?.parse().ok())
    };
    eventually("sluice says that it is ready", || {
        let lines = stderr.lock().unwrap().clone();
        if lines.iter().any(|line| line == "sluice: ready") {
            let data = find(&lines, "data").unwrap_or_else(|| panic!("no data listener in {lines:#?}"));
            let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
            return Some((data, find(&lines, "admin").unwrap_or(nowhere)));
        }
        if let Ok(Some(status)) = child.try_wait() {
            panic!("sluice ended at once with {status}: {lines:#?}");
        }
        None
    })
}

impl Gateway {
    /// Starts a gateway with one data core, on free ports, with this configuration (without its `[server]` table).
    pub fn start(config: &str) -> Self {
        Self::builder().start(config)
    }

    pub fn builder() -> Builder {
        Builder {
            server: String::new(),
            before: Vec::new(),
            program: sluice_binary().to_owned(),
            environment: Vec::new(),
        }
    }

    /// Starts a gateway that proxies everything to one backend.
    pub fn before(backend: SocketAddr) -> Self {
        Self::start(&proxy_all(backend))
    }

    pub fn addr(&self) -> SocketAddr {
        self.data
    }

    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The process that serves.
    pub fn pid(&self) -> u32 {
        self.successor.unwrap_or(self.child.id())
    }

    /// After an upgrade was asked for: waits until another process serves and the old one has ended. Lines of stderr before
    /// `after` are of earlier upgrades.
    pub fn wait_for_successor(&mut self, after: usize) -> u32 {
        let old = self.pid();
        let line = self.wait_for_line(after, "sluice: upgraded: process ");
        let pid = line.split(' ').nth(3).and_then(|pid| pid.parse().ok());
        let pid = pid.unwrap_or_else(|| panic!("no process id in {line:?}"));
        self.successor = Some(pid);
        if old == self.child.id() {
            assert!(self.wait_for_exit().success(), "the old process failed");
        } else {
            eventually("the end of the old process", || (!is_alive(old)).then_some(()));
        }
        pid
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn config_path(&self) -> PathBuf {
        self.dir.path().join("gateway.toml")
    }

    /// The first TLS listener.
    pub fn tls_addr(&self) -> SocketAddr {
        let lines = self.stderr();
        let found =
            lines.iter().find_map(|line| line.strip_prefix("sluice: data listener https://")?.parse().ok());
        found.unwrap_or_else(|| panic!("no TLS listener in {lines:#?}"))
    }

    /// Opens a connection to the data listener.
    pub fn conn(&self) -> Conn {
        Conn::open(self.data)
    }

    /// One GET on a connection of its own.
    pub fn get(&self, target: &str) -> Response {
        self.call(&Call::get(target))
    }

    /// One request on a connection of its own.
    pub fn call(&self, call: &Call) -> Response {
        fetch(self.data, call)
    }

    /// One request to the admin listener, which answers only to its own address.
    pub fn admin_call(&self, call: Call) -> Response {
        fetch(self.admin, &call.host(&self.admin.to_string()))
    }

    /// One request to the admin listener, signed by the operator.
    pub fn operator_call(&self, method: &str, target: &str, body: &str) -> Response {
        let signer =
            Signer::new(OPERATOR, OPERATOR_SECRET).but(|signer| signer.service = "apigateway".to_owned());
        let json = [("content-type", "application/json"), ("accept", "application/json")];
        fetch(self.admin, &signer.sign_for(&self.admin.to_string(), method, target, body, &json))
    }

    /// Asks the admin listener to read the configuration again.
    pub fn reload(&self) -> Response {
        self.admin_call(Call::post("/reload", "").header("x-sluice-admin", "1"))
    }

    pub fn metrics(&self) -> Metrics {
        let response = self.admin_call(Call::get("/metrics"));
        assert_eq!(response.status, 200, "{response:?}");
        Metrics::parse(&response.text())
    }

    /// Replaces the configuration file, keeping the `[server]` table.
    pub fn write_config(&self, config: &str) {
        fs::write(self.config_path(), whole_config(&self.server, config)).unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn signal_if_alive(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// What it printed on stderr so far.
    pub fn stderr(&self) -> Vec<String> {
        self.stderr.lock().unwrap().clone()
    }

    /// What it printed on stdout so far.
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.dir.path().join("stdout.log")).unwrap()
    }

    /// Waits for the first stderr line, not before line `after`, that contains `text`.
    pub fn wait_for_line(&self, after: usize, text: &str) -> String {
        eventually(&format!("a line with {text:?} on stderr"), || {
            self.stderr().into_iter().skip(after).find(|line| line.contains(text))
        })
    }

    /// Waits for the process that was started, not one that has succeeded it, to end by itself.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        eventually("the end of sluice", || self.child.try_wait().unwrap())
    }

    pub fn is_running(&mut self) -> bool {
        match self.successor {
            Some(pid) => is_alive(pid),
            None => self.child.try_wait().unwrap().is_none(),
        }
    }

    pub fn rss_bytes(&self) -> u64 {
        memory_bytes(self.pid(), "VmRSS")
    }

    /// The highest resident size so far.
    pub fn peak_rss_bytes(&self) -> u64 {
        memory_bytes(self.pid(), "VmHWM")
    }

    pub fn open_fds(&self) -> usize {
        open_fds(self.pid())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let (ended, fds) = (self.child.try_wait(), self.open_fds());
        if self.successor.is_some() {
            self.signal_if_alive(Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("sluice (ended: {ended:?}, descriptors: {fds}) said:\n{}", self.stderr().join("\n"));
        }
    }
}

/// Whether a process exists that has not ended (a zombie has).
fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X'])))
}

/// A configuration with one route for everything.
pub fn proxy_all(backend: SocketAddr) -> String {
    format!("[routes.all]\npath = \"/{{proxy+}}\"\nupstream = \"{backend}\"\n")
}
