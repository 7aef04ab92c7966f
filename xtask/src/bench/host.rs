//! The machine: a namespace of our own, which core for whom, how much CPU a process tree has used.

use crate::sh;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Which core runs what.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    /// The gateway or peer under test, alone.
    pub(crate) gateway: usize,
    /// The load generator.
    pub(crate) load: usize,
    /// The upstream: the load generator's core where there are only two.
    pub(crate) responder: usize,
}

impl Cores {
    /// Chosen from those this process may use.
    pub(crate) fn choose() -> Result<Self, String> {
        let status = read("/proc/self/status")?;
        let list = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .map(str::trim)
            .unwrap_or_default();
        match *parse_cpu_list(list).as_slice() {
            [gateway, load, responder, ..] => Ok(Self { gateway, load, responder }),
            [gateway, load] => Ok(Self { gateway, load, responder: load }),
            _ => Err(format!("expected two cores or more, found `{list}`")),
        }
    }
}

/// `0-2,5` as numbers.
fn parse_cpu_list(list: &str) -> Vec<usize> {
    let mut cpus = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            cpus.extend(first..=last);
        }
    }
    cpus
}

/// Brings up the loopback of the namespace this process was started in, and sets what should not depend on the host.
pub(crate) fn enter_namespace() -> Result<(), String> {
    sh::run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    for (key, value) in [
        // Cubic's arithmetic costs CPU and decides nothing on a loopback.
        ("tcp_congestion_control", "reno"),
        // The connection-per-request shape uses up ports.
        ("ip_local_port_range", "10000 65500"),
    ] {
        if fs::write(format!("/proc/sys/net/ipv4/{key}"), value).is_err() {
            println!("note: net.ipv4.{key} could not be set to {value}");
        }
    }
    Ok(())
}

/// A folder in memory for one run: configurations, caches, logs. Removed at the end.
pub(crate) struct Work(PathBuf);

impl Work {
    pub(crate) fn new() -> Result<Self, String> {
        let shm = PathBuf::from("/dev/shm");
        let parent = if shm.is_dir() { shm } else { std::env::temp_dir() };
        let folder = parent.join(format!("sluice-bench-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self(folder))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // Best effort: what is left is in memory and named after us.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server that ends with this value.
pub(crate) struct Server(Child);

impl Server {
    /// Starts `command` on one core. Its output goes to `log`.
    pub(crate) fn start(command: &Command, core: usize, log: &std::path::Path) -> Result<Self, String> {
        let file = fs::File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
        let twin = file.try_clone().map_err(|error| error.to_string())?;
        let mut pinned = pinned(command, core);
        let child = pinned.stdin(Stdio::null()).stdout(file).stderr(twin).spawn();
        child.map(Self).map_err(|error| format!("{}: {error}", command.get_program().to_string_lossy()))
    }

    /// The exit status, if it has ended by itself.
    pub(crate) fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Stops the process and its descendants until [`Self::resume`].
    pub(crate) fn pause(&self) {
        tree(self.0.id()).into_iter().for_each(|pid| signal("-STOP", pid));
    }

    pub(crate) fn resume(&self) {
        tree(self.0.id()).into_iter().for_each(|pid| signal("-CONT", pid));
    }

    /// CPU time used so far by the process and its descendants, every thread and io_uring worker included.
    pub(crate) fn cpu_ns(&self) -> u64 {
        tree(self.0.id()).into_iter().map(process_cpu_ns).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        self.resume();
        // By signal, so that masters take their workers along.
        signal("-TERM", self.0.id());
        let deadline = Instant::now() + Duration::from_secs(3);
        while Instant::now() < deadline {
            if self.ended().is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        for pid in tree(self.0.id()) {
            signal("-KILL", pid);
        }
        let _ = self.0.wait();
    }
}

/// Sends a signal to a process that may be gone already.
fn signal(name: &str, pid: u32) {
    sh::succeeds(Command::new("kill").args([name, &pid.to_string()]));
}

/// `taskset -c CORE command`: taskset replaces itself, so the child's id is the command's.
pub(crate) fn pinned(command: &Command, core: usize) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", &core.to_string()]).arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        if let Some(value) = value {
            pinned.env(key, value);
        }
    }
    pinned
}

/// A process and its descendants.
fn tree(root: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if let Some(parent) = parent(pid) {
            parents.push((pid, parent));
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        found.extend(parents.iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| *child));
        next += 1;
    }
    found
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, so count from its end: state, then the parent.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn process_cpu_ns(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

pub(crate) fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::{parse_cpu_list, process_cpu_ns, tree};

    #[test]
    fn cpu_lists_have_ranges_and_single_numbers() {
        assert_eq!(parse_cpu_list("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(parse_cpu_list("3"), [3]);
        assert!(parse_cpu_list("").is_empty());
    }

    #[test]
    fn a_child_is_in_the_tree_and_has_a_cpu_time() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        assert!(tree(std::process::id()).contains(&child.id()));
        assert!(process_cpu_ns(std::process::id()) > 0);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
