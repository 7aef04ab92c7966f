//! The process of an instance: environment, limits, end.

use crate::config::{Config, Runtime};
use crate::function::Function;
use crate::logs::{Output, Source};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::task::AbortHandle;

const NODE: &str = include_str!("bootstrap/node.cjs");
const PYTHON: &str = include_str!("bootstrap/python.py");

/// Data segments of a runtime itself, beside what the function may use.
const RUNTIME_MB: u64 = 256;

/// How long a process has between SIGTERM and SIGKILL.
const PATIENCE: Duration = Duration::from_millis(300);

/// A process with its group, its cgroup, and its Runtime API.
pub(crate) struct Process {
    child: Child,
    group: Option<Pid>,
    cgroup: Option<PathBuf>,
    api: AbortHandle,
}

/// Starts an instance's process.
pub(crate) fn spawn(
    function: &Function,
    id: u64,
    address: SocketAddr,
    api: AbortHandle,
    output: &Arc<Output>,
) -> std::io::Result<Process> {
    let config = &function.config;
    let (mut command, script) = program(config);
    environment(&mut command, function, id, address);
    command.current_dir(&config.directory).process_group(0).kill_on_drop(true);
    command.stdin(if script.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some((user, group)) = function.settings.user {
        command.uid(user).gid(group);
    }
    let mut child = command.spawn()?;
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let cgroup = group.and_then(|process| limit(function, id, process, output));
    // The script is the first thing that a runtime reads: it starts within its limits.
    if let (Some(mut stdin), Some(script)) = (child.stdin.take(), script) {
        tokio::spawn(async move {
            // A process that ends before it has read its script shows that by ending.
            let _ = stdin.write_all(script.as_bytes()).await;
        });
    }
    if let Some(stdout) = child.stdout.take() {
        tokio::spawn(Arc::clone(output).read(stdout, Source::Stdout));
    }
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(Arc::clone(output).read(stderr, Source::Stderr));
    }
    Ok(Process { child, group, cgroup, api })
}

fn program(config: &Config) -> (Command, Option<&'static str>) {
    match config.runtime {
        Runtime::Node => {
            let mut command = Command::new("node");
            command.arg(format!("--max-old-space-size={}", config.memory_mb)).arg("-");
            (command, Some(NODE))
        }
        Runtime::Python => {
            let mut command = Command::new("python3");
            command.args(["-u", "-"]);
            (command, Some(PYTHON))
        }
        Runtime::Provided => (Command::new(config.directory.join("bootstrap")), None),
    }
}

/// The variables of <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>; nothing else is inherited.
fn environment(command: &mut Command, function: &Function, id: u64, address: SocketAddr) {
    let (config, settings) = (&function.config, &function.settings);
    command.env_clear().envs(&config.environment);
    for inherited in ["PATH", "HOME"] {
        if let Some(value) =
            std::env::var_os(inherited).filter(|_| !config.environment.contains_key(inherited))
        {
            command.env(inherited, value);
        }
    }
    let directory = std::path::absolute(&config.directory).unwrap_or_else(|_| config.directory.clone());
    let warm = config.min_instances > 0;
    command
        .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
        .env("_HANDLER", &config.handler)
        .env("LAMBDA_TASK_ROOT", directory)
        .env("AWS_REGION", &settings.region)
        .env("AWS_DEFAULT_REGION", &settings.region)
        .env("AWS_LAMBDA_FUNCTION_NAME", &config.name)
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", config.memory_mb.to_string())
        .env("AWS_LAMBDA_INITIALIZATION_TYPE", if warm { "provisioned-concurrency" } else { "on-demand" })
        .env("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", config.name))
        .env("AWS_LAMBDA_LOG_STREAM_NAME", format!("instance-{id}"))
        .env("TZ", ":UTC")
        .env("LANG", "en_US.UTF-8");
}

/// Memory by cgroup if there is one, or else by what the kernel counts as data. Address space is no measure: Node.js
/// reserves gigabytes that it never touches.
fn limit(function: &Function, id: u64, process: Pid, output: &Output) -> Option<PathBuf> {
    let config = &function.config;
    let bytes = u64::from(config.memory_mb) << 20;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // One that is gone already shows that by its status.
    let _ = rustix::process::prlimit(Some(process), Resource::Core, none);
    if let Some(parent) = &function.settings.cgroup {
        let path = parent.join(format!("{}-{id}", config.name));
        match enter(&path, bytes, process) {
            Ok(()) => return Some(path),
            Err(error) => {
                let text = format!("{}: {error}; memory is limited by RLIMIT_DATA instead", path.display());
                output.push(Source::Host, text);
                let _ = std::fs::remove_dir(&path);
            }
        }
    }
    let data = Some(bytes + (RUNTIME_MB << 20));
    let _ = rustix::process::prlimit(Some(process), Resource::Data, Rlimit { current: data, maximum: data });
    None
}

/// Kernel documentation, Control Group v2.
fn enter(path: &Path, bytes: u64, pid: Pid) -> std::io::Result<()> {
    std::fs::create_dir(path)?;
    std::fs::write(path.join("memory.max"), bytes.to_string())?;
    // A kernel without swap accounting has no such file.
    let _ = std::fs::write(path.join("memory.swap.max"), "0");
    std::fs::write(path.join("cgroup.procs"), pid.as_raw_nonzero().to_string())
}

impl Process {
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    pub(crate) async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Ends the whole group: politely while it still runs, then for good.
    pub(crate) async fn end(mut self) {
        if let (Ok(None), Some(group)) = (self.child.try_wait(), self.group) {
            let _ = rustix::process::kill_process_group(group, Signal::TERM);
            let _ = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        }
        // Children that it left behind have the group still.
        if let Some(group) = self.group {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait().await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.api.abort();
        if let Some(path) = &self.cgroup {
            let _ = std::fs::remove_dir(path);
        }
    }
}
