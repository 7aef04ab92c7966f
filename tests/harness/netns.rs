//! Network namespaces joined by virtual cables. They live and die with a thread: nothing to clean up, not even after a kill.

use std::fs;
use std::process::Command;
use std::sync::mpsc;
use std::thread::JoinHandle;

use rustix::thread::{UnshareFlags, gettid};

use crate::system::tool;

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own. Dropping it ends the thread, and with its last socket the namespace.
pub struct Netns {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// By which `ip link … netns` finds the namespace.
    thread_id: i32,
}

impl Netns {
    /// Says why it cannot be made: no privileges, or no `ip`.
    pub fn new() -> Result<Self, String> {
        tool("ip").ok_or("no `ip` (iproute2)")?;
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready, outcome) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            #[expect(deprecated, reason = "unsound for descriptor tables only, and those stay shared")]
            let made =
                rustix::thread::unshare(UnshareFlags::NEWNET).map(|()| gettid().as_raw_nonzero().get());
            let is_made = made.is_ok();
            ready.send(made).unwrap();
            if is_made {
                inbox.into_iter().for_each(|job| job());
            }
        });
        let thread_id = outcome.recv().unwrap().map_err(|error| format!("no network namespace: {error}"))?;
        let namespace = Self { jobs: Some(jobs), thread: Some(thread), thread_id };
        namespace.ip("link set lo up");
        Ok(namespace)
    }

    /// Runs a closure in the namespace, and processes that it starts; sockets that it makes belong there wherever they
    /// are used.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (result, outcome) = mpsc::channel();
        let job = Box::new(move || {
            let _ = result.send(job());
        });
        self.jobs.as_ref().unwrap().send(job).unwrap();
        outcome.recv().expect("the job panicked; its message is above")
    }

    /// Starts a thread in the namespace.
    pub fn spawn<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        // A new thread inherits the namespace of the one that makes it.
        self.run(move || std::thread::spawn(job))
    }

    /// Runs `ip` with these words in the namespace.
    pub fn ip(&self, words: &str) {
        let words = words.to_owned();
        self.run(move || {
            let output = Command::new("ip").args(words.split_whitespace()).output().unwrap();
            assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
        });
    }

    /// A cable to another namespace: `here` in this one, `there` in that, both up.
    pub fn cable(&self, here: &str, other: &Self, there: &str) {
        self.ip(&format!("link add {here} type veth peer name {there} netns {}", other.thread_id));
        self.ip(&format!("link set {here} up"));
        other.ip(&format!("link set {there} up"));
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        self.jobs = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A gateway's namespace, and clients' each in their own, around a switch:
///
/// ```text
///   client 0: 10.80.0.10, fd80:0:0:10::1 --.
///   client 1: 10.80.0.11, fd80:0:0:11::1 ---+-- switch -- gw0: 10.80.0.1, fd80::1 (gateway)
///   ...                                   --'
/// ```
pub struct Net {
    pub gateway: Netns,
    pub clients: Vec<Netns>,
    /// Holds the bridge.
    _switch: Netns,
}

/// The gateway's address in a [`Net`].
pub const GATEWAY: &str = "10.80.0.1";
/// Its interface.
pub const GATEWAY_INTERFACE: &str = "gw0";

impl Net {
    /// Says why it cannot be made.
    pub fn new(clients: usize) -> Result<Self, String> {
        let switch = Netns::new()?;
        switch.ip("link add br0 type bridge");
        switch.ip("link set br0 up");
        let gateway = Netns::new()?;
        switch.cable("gw", &gateway, GATEWAY_INTERFACE);
        switch.ip("link set gw master br0");
        gateway.ip(&format!("addr add {GATEWAY}/24 dev {GATEWAY_INTERFACE}"));
        gateway.ip(&format!("addr add fd80::1/32 dev {GATEWAY_INTERFACE} nodad"));
        let mut all = Vec::new();
        for n in 0..clients {
            let client = Netns::new()?;
            switch.cable(&format!("c{n}"), &client, "eth0");
            switch.ip(&format!("link set c{n} master br0"));
            client.ip(&format!("addr add {}/24 dev eth0", Self::client_address(n)));
            client.ip(&format!("addr add fd80:0:0:{}::1/32 dev eth0 nodad", n + 10));
            all.push(client);
        }
        Ok(Self { gateway, clients: all, _switch: switch })
    }

    /// A client's IPv4 address.
    pub fn client_address(n: usize) -> String {
        format!("10.80.0.{}", n + 10)
    }
}

/// Whether the kernel lets this process load BPF programs at all: root with the capabilities for it.
pub fn may_load_bpf() -> Result<(), String> {
    const CAP_NET_ADMIN: u64 = 1 << 12;
    const CAP_BPF: u64 = 1 << 39;
    let status = fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or_default().trim();
    let held = u64::from_str_radix(effective, 16).unwrap_or(0);
    let needed = CAP_BPF | CAP_NET_ADMIN;
    if held & needed == needed { Ok(()) } else { Err("needs CAP_BPF and CAP_NET_ADMIN".to_owned()) }
}
