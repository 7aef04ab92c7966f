//! The packet filter's life beside the process: pinned over a kill and an upgrade, handed to a successor, block files that change. In
//! network namespaces.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use rustix::thread::UnshareFlags;
use sluice_harness::netns::may_load_bpf;
use sluice_harness::{Call, GATEWAY, Gateway, Net, TempDir, eventually, skip, sluice_binary, tool};

const ROUTES: &str = "[routes.open]\npath = \"/open\"\nmock_body = \"open\"\n";
/// A client that is dropped gets no answer for so long.
const SILENCE: Duration = Duration::from_millis(300);
/// How long an answer may take on a busy machine.
const ANSWER: Duration = Duration::from_secs(10);

fn config(xdp: &str) -> String {
    format!("{ROUTES}[xdp]\ninterface = \"gw0\"\nmode = \"generic\"\n{xdp}")
}

/// What becomes of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Served,
    /// Its packets are dropped.
    Silence,
    /// Nobody listens.
    Refused,
}

fn fate(net: &Net, client: usize, addr: SocketAddr) -> Fate {
    net.clients[client].run(move || match TcpStream::connect_timeout(&addr, SILENCE) {
        Ok(mut stream) => {
            let mut begun = [0; 12];
            stream.set_read_timeout(Some(ANSWER)).unwrap();
            let answered = stream
                .write_all(Call::get("/open").bytes().as_ref())
                .and_then(|()| stream.read_exact(&mut begun));
            // Lists that are put in place meanwhile drop what follows the handshake.
            if answered.is_err() {
                return Fate::Silence;
            }
            assert_eq!(&begun, b"HTTP/1.1 200");
            Fate::Served
        }
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Fate::Refused,
        Err(_) => Fate::Silence,
    })
}

fn listen(port: u16) -> String {
    format!("listen = [\"{GATEWAY}:{port}\"]\ncores = 2\nsteering = \"cpu\"")
}

/// A BPF file system in mounts of the gateway's thread, gone with it.
fn bpf_file_system(net: &Net, at: &Path) -> bool {
    let at = at.to_owned();
    net.gateway.run(move || {
        #[expect(deprecated, reason = "unsound for descriptor tables only, and those stay shared")]
        let unshared = rustix::thread::unshare(UnshareFlags::NEWNS).is_ok();
        let mount = |words: &[&str]| Command::new("mount").args(words).status().is_ok_and(|s| s.success());
        unshared
            && mount(&["--make-rprivate", "/"])
            && mount(&["-t", "bpf", "bpf", &at.display().to_string()])
    })
}

fn start(net: &Net, port: u16, config: &str) -> Arc<Gateway> {
    let config = config.to_owned();
    net.gateway.run(move || Arc::new(Gateway::builder().server(&listen(port)).start(&config)))
}

fn kill(gateway: Arc<Gateway>) {
    let pid = gateway.pid();
    gateway.signal(Signal::KILL);
    drop(gateway);
    eventually("its end", || (!Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
}

#[test]
fn what_is_pinned_outlives_a_kill_and_goes_by_command() {
    let net = match may_load_bpf().and_then(|()| Net::new(2)) {
        Ok(net) => net,
        Err(why) => skip!("pinned XDP", "{why}"),
    };
    let dir = TempDir::new();
    if !bpf_file_system(&net, dir.path()) {
        skip!("pinned XDP", "no BPF file system can be mounted");
    }
    let folder: PathBuf = dir.path().join("sluice");
    let config = |client: usize| {
        let block = Net::client_address(client);
        config(&format!("block = [\"{block}\"]\npin_path = \"{}\"\n", folder.display()))
    };
    let gateway = start(&net, 0, &config(0));
    let addr = gateway.addr();
    gateway.wait_for_line(0, "sluice: xdp attached to gw0 (generic, pinned");
    assert_eq!((fate(&net, 0, addr), fate(&net, 1, addr)), (Fate::Silence, Fate::Served));

    // Killed, it goes on judging: who is not blocked is told that nobody listens.
    kill(gateway);
    assert_eq!((fate(&net, 0, addr), fate(&net, 1, addr)), (Fate::Silence, Fate::Refused));

    // A new run puts its own lists into the link that it finds.
    let gateway = start(&net, addr.port(), &config(1));
    assert_eq!((fate(&net, 0, addr), fate(&net, 1, addr)), (Fate::Served, Fate::Silence));

    // And so does a successor, whose filter is pinned all the same.
    let mut gateway = Arc::into_inner(gateway).unwrap();
    gateway.write_config(&config(0));
    let lines = gateway.stderr().len();
    gateway.signal(Signal::USR2);
    gateway.wait_for_successor(lines);
    eventually("the successor's lists", || (fate(&net, 0, addr) == Fate::Silence).then_some(()));
    kill(Arc::new(gateway));
    assert_eq!((fate(&net, 0, addr), fate(&net, 1, addr)), (Fate::Silence, Fate::Refused));

    let command = folder.clone();
    let said = net.gateway.run(move || {
        let output = Command::new(sluice_binary()).args(["xdp", "detach", "--pinned"]).arg(command).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    });
    assert!(said.contains("gw0"), "{said}");
    assert_eq!((fate(&net, 0, addr), fate(&net, 1, addr)), (Fate::Refused, Fate::Refused));
}

#[test]
fn block_files_are_read_anew_when_they_change_and_faults_are_told_by_line() {
    let net = match may_load_bpf().and_then(|()| Net::new(2)) {
        Ok(net) => net,
        Err(why) => skip!("XDP block files", "{why}"),
    };
    let dir = TempDir::new();
    let file = dir.file("block.txt", "# nobody yet\n");
    // By renaming, as tools do: what is read is never half a file.
    let write = |text: &str| fs::rename(dir.file("block.new", text), &file).unwrap();
    let gateway = start(&net, 0, &config(&format!("block_files = [\"{}\"]\n", file.display())));
    let addr = gateway.addr();
    assert_eq!(fate(&net, 0, addr), Fate::Served);

    let (first, second) = (Net::client_address(0), Net::client_address(1));
    write(&format!("{first} ; the first\n"));
    gateway.wait_for_line(0, "sluice: xdp block files have changed: 1 networks");
    assert_eq!((fate(&net, 0, addr), fate(&net, 1, addr)), (Fate::Silence, Fate::Served));

    let lines = gateway.stderr().len();
    write(&format!("{second}\n\nnot a network\n10.0.0.0/40\n"));
    gateway.wait_for_line(lines, "the block lists stay as they are");
    let told: Vec<_> = gateway.stderr().into_iter().skip(lines).collect();
    for place in
        [format!("{}:3: error: expected a network", file.display()), format!("{}:4: error", file.display())]
    {
        assert!(told.iter().any(|line| line.starts_with(&place)), "{place} in {told:#?}");
    }
    assert_eq!((fate(&net, 0, addr), fate(&net, 1, addr)), (Fate::Silence, Fate::Served));

    let lines = gateway.stderr().len();
    write(&format!("{second}\n"));
    gateway.wait_for_line(lines, "sluice: xdp block files have changed: 1 networks");
    assert_eq!((fate(&net, 0, addr), fate(&net, 1, addr)), (Fate::Served, Fate::Silence));
}

/// Metrics of a gateway in its namespace.
fn dropped(net: &Net, gateway: &Arc<Gateway>) -> f64 {
    let gateway = Arc::clone(gateway);
    net.gateway.run(move || gateway.metrics().sum("sluice_xdp_packets_total", &[("reason", "blocked")]))
}

fn reload(net: &Net, gateway: &Arc<Gateway>, config: &str) {
    gateway.write_config(config);
    let gateway = Arc::clone(gateway);
    net.gateway.run(move || assert_eq!(gateway.reload().status, 200));
}

/// The kernel's numbers of NET_ADMIN, PERFMON and BPF (linux/capability.h).
const GIVEN_UP: u64 = 1 << 12 | 1 << 38 | 1 << 39;

fn assert_without_capabilities(pid: u32) {
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
            let field = status.lines().find_map(|line| line.strip_prefix(set)).unwrap().trim();
            assert_eq!(u64::from_str_radix(field, 16).unwrap() & GIVEN_UP, 0, "{set} in {status}");
        }
    }
}

/// The filter goes on while processes change: a client that is blocked gets nothing through at any moment.
fn assert_taken_over(net: &Net, gateway: Gateway, config: impl Fn(usize) -> String) {
    let addr = gateway.addr();
    assert_eq!((fate(net, 0, addr), fate(net, 1, addr)), (Fate::Silence, Fate::Served));
    let done = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&done);
    let blocked = net.clients[0].spawn(move || {
        while !stop.load(Ordering::SeqCst) {
            let got_in = TcpStream::connect_timeout(&addr, Duration::from_millis(100));
            assert!(got_in.is_err(), "a packet went unjudged");
        }
    });
    let mut gateway = gateway;
    for _ in 0..2 {
        let lines = gateway.stderr().len();
        gateway.signal(Signal::USR2);
        gateway.wait_for_successor(lines);
        gateway.wait_for_line(lines, "sluice: xdp taken over on gw0");
        assert_eq!(fate(net, 1, addr), Fate::Served);
    }
    done.store(true, Ordering::SeqCst);
    blocked.join().unwrap();
    assert_without_capabilities(gateway.pid());
    assert!(!gateway.stderr().iter().any(|line| line.contains("warning")), "{:#?}", gateway.stderr());
    // The maps are ours to change, and counters go on.
    let gateway = Arc::new(gateway);
    let before = dropped(net, &gateway);
    assert!(before > 0.0);
    assert_eq!(fate(net, 0, addr), Fate::Silence);
    assert!(dropped(net, &gateway) > before);
    reload(net, &gateway, &config(1));
    assert_eq!((fate(net, 0, addr), fate(net, 1, addr)), (Fate::Served, Fate::Silence));
    reload(net, &gateway, ROUTES);
    assert_eq!(fate(net, 1, addr), Fate::Served, "detached without a capability");
}

#[test]
fn a_successor_without_capabilities_takes_the_filter_over() {
    if tool("setpriv").is_none() {
        skip!("XDP over an upgrade without root", "no `setpriv` (util-linux)");
    }
    let net = match may_load_bpf().and_then(|()| Net::new(2)) {
        Ok(net) => net,
        Err(why) => skip!("XDP over an upgrade without root", "{why}"),
    };
    let config = |client: usize| {
        config(&format!("drop_capabilities = true\nblock = [\"{}\"]\n", Net::client_address(client)))
    };
    let first = config(0);
    let gateway = net.gateway.run(move || {
        let caps = "-all,+bpf,+net_admin,+perfmon";
        let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs";
        let builder = Gateway::builder().under(&format!("{nobody} --inh-caps={caps} --ambient-caps={caps}"));
        builder.server(&listen(0)).start(&first)
    });
    assert_taken_over(&net, gateway, config);
}

#[test]
fn a_successor_of_root_takes_the_filter_over_and_gives_capabilities_up() {
    let net = match may_load_bpf().and_then(|()| Net::new(2)) {
        Ok(net) => net,
        Err(why) => skip!("XDP over an upgrade as root", "{why}"),
    };
    let config = |client: usize| {
        config(&format!("drop_capabilities = true\nblock = [\"{}\"]\n", Net::client_address(client)))
    };
    let first = config(0);
    let gateway = net.gateway.run(move || Gateway::builder().server(&listen(0)).start(&first));
    assert_taken_over(&net, gateway, config);
}
