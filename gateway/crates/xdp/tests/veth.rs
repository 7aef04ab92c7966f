//! Real TCP through the attached program: two network namespaces joined by a veth pair.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says that it is skipped by printing"
)]

mod support;

use ipnet::IpNet;
use sluice_xdp::{
    Counters, LetThrough, Limits, Mode, Options, Rate, Reason, Xdp, XdpError, detach_pinned, subscriber,
};
use std::{
    ffi::CString,
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use support::netns::{Attempt, CLIENTS_V4, CLIENTS_V6, Wire};

/// Far more than the second after which TCP repeats a SYN; reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3_600);
const MODES: [Mode; 2] = [Mode::Native, Mode::Generic];

/// The wire, and an echo server at its gateway end.
struct Bench {
    wire: Wire,
    port: u16,
}

impl Bench {
    fn new(test: &str) -> Option<Self> {
        let wire = match Wire::new() {
            Ok(wire) => wire,
            Err(reason) => {
                support::skipped(test, &reason);
                return None;
            }
        };
        // Takes both families: a fresh namespace has `bindv6only` off.
        let listener = wire.gateway.run(|| TcpListener::bind("[::]:0").unwrap());
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || echo(stream));
            }
        });
        Some(Self { wire, port })
    }

    fn options(&self, mode: Mode) -> Options {
        Options {
            interfaces: vec!["gw0".to_owned()],
            mode,
            served_ports: vec![self.port],
            ..Options::default()
        }
    }

    /// Attaches the program in the gateway's namespace.
    fn start(&self, test: &'static str, options: &Options) -> Option<Xdp> {
        let options = options.clone();
        self.wire.gateway.run(move || support::start(test, &options))
    }

    /// Reconciles in the gateway's namespace, where its interfaces have their names.
    fn try_reconcile(&self, mut xdp: Xdp, options: &Options) -> (Xdp, Result<(), XdpError>) {
        let options = options.clone();
        self.wire.gateway.run(move || {
            let result = xdp.reconcile(&options);
            (xdp, result)
        })
    }

    fn reconcile(&self, xdp: Xdp, options: &Options) -> Xdp {
        let (xdp, result) = self.try_reconcile(xdp, options);
        result.unwrap();
        xdp
    }

    fn begin(&self, source: &str) -> Attempt {
        self.wire.begin_connect(source, self.port).unwrap()
    }

    /// Connects from a source and gets an answer.
    fn exchange(&self, source: &str) {
        let stream = self.begin(source).finish(PATIENCE);
        assert_echoes(&mut stream.unwrap_or_else(|error| panic!("{source}: {error}")));
    }
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 64];
    while let Ok(bytes @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..bytes]).is_err() {
            return;
        }
    }
}

fn assert_echoes(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"ping").unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ping");
}

/// Reads counters until they are as expected.
fn wait_for(xdp: &Xdp, what: &str, is_met: impl Fn(&Counters) -> bool) -> Counters {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let counters = xdp.counters(10).unwrap();
        if is_met(&counters) {
            return counters;
        }
        assert!(Instant::now() < deadline, "{what}: {counters:?}");
        // Leaves the CPU to those who are waited for.
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn host(address: &str) -> IpNet {
    address.parse::<IpAddr>().unwrap().into()
}

fn prefix_64(address: &str) -> IpNet {
    format!("{address}/64").parse::<IpNet>().unwrap().trunc()
}

/// A source of each family, blocked under rules 1 and 2.
fn block(options: &Options) -> Options {
    Options { block: vec![(host(CLIENTS_V4[1]), 1), (host(CLIENTS_V6[1]), 2)], ..options.clone() }
}

#[test]
fn blocked_sources_cannot_connect_until_allowed() {
    let test = "blocked_sources_cannot_connect_until_allowed";
    let Some(bench) = Bench::new(test) else { return };
    CLIENTS_V4.iter().chain(&CLIENTS_V6).for_each(|source| bench.exchange(source));
    for mode in MODES {
        let blocking = block(&bench.options(mode));
        let Some(xdp) = bench.start(test, &blocking) else { return };
        assert_eq!(xdp.attachments()[0].mode, mode);
        let attempts = [bench.begin(CLIENTS_V4[1]), bench.begin(CLIENTS_V6[1])];
        let counters = wait_for(&xdp, "SYNs of both families are dropped", |counters| {
            counters.rule(1).packets > 0 && counters.rule(2).packets > 0
        });
        assert!(attempts.iter().all(|attempt| !attempt.is_settled_within(Duration::ZERO)));
        bench.exchange(CLIENTS_V4[0]);
        bench.exchange(CLIENTS_V6[0]);

        let blocked = counters.rule(1).packets + counters.rule(2).packets;
        assert_eq!(counters.reason(Reason::Blocked).packets, blocked, "by rule and by reason");
        for (client, rule) in [(host(CLIENTS_V4[1]), 1), (prefix_64(CLIENTS_V6[1]), 2)] {
            let by_client = counters.clients.iter().find(|entry| entry.client == client).unwrap();
            assert_eq!(by_client.count, counters.rule(rule), "by client and by rule");
        }

        // TCP repeats the SYN by itself, and then gets through.
        let allow = vec![host(CLIENTS_V4[1]), host(CLIENTS_V6[1])];
        let xdp = bench.reconcile(xdp, &Options { allow, ..blocking });
        for attempt in attempts {
            assert_echoes(&mut attempt.finish(PATIENCE).unwrap());
        }
        assert!(xdp.counters(0).unwrap().reason(Reason::Allowed).packets > 0);
    }
}

#[test]
fn a_block_stalls_connections_that_exist_and_lifting_it_resumes_them() {
    let test = "a_block_stalls_connections_that_exist_and_lifting_it_resumes_them";
    let Some(bench) = Bench::new(test) else { return };
    for mode in MODES {
        let open = bench.options(mode);
        let Some(xdp) = bench.start(test, &open) else { return };
        let mut stream = bench.begin(CLIENTS_V4[1]).finish(PATIENCE).unwrap();
        assert_echoes(&mut stream);

        let xdp = bench.reconcile(xdp, &block(&open));
        stream.write_all(b"more").unwrap();
        wait_for(&xdp, "a segment is dropped", |counters| counters.rule(1).packets > 0);
        stream.set_nonblocking(true).unwrap();
        assert_eq!(stream.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::WouldBlock);

        let _xdp = bench.reconcile(xdp, &open);
        stream.set_nonblocking(false).unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"more");
    }
}

#[test]
fn a_ban_holds_until_it_is_over() {
    let test = "a_ban_holds_until_it_is_over";
    let Some(bench) = Bench::new(test) else { return };
    for mode in MODES {
        let Some(mut xdp) = bench.start(test, &bench.options(mode)) else { return };
        for source in [CLIENTS_V4[2], CLIENTS_V6[2]] {
            let banned = subscriber(source.parse().unwrap());
            let before = xdp.counters(0).unwrap().reason(Reason::Banned).packets;
            support::ban(&mut xdp, source, HOUR);
            let attempt = bench.begin(source);
            wait_for(&xdp, "a SYN is dropped", |counters| counters.reason(Reason::Banned).packets > before);
            assert!(!attempt.is_settled_within(Duration::ZERO));
            assert_eq!(xdp.bans().unwrap()[0].source, banned);

            // Shortened so that it ends soon: from here on only the kernel's clock acts.
            support::ban(&mut xdp, source, Duration::from_millis(200));
            assert_echoes(&mut attempt.finish(PATIENCE).unwrap());
            assert_eq!(xdp.sweep().unwrap().len(), 1);
        }
    }
}

#[test]
fn a_banned_client_gets_a_whole_exchange_through_on_one_connection() {
    let test = "a_banned_client_gets_a_whole_exchange_through_on_one_connection";
    let Some(bench) = Bench::new(test) else { return };
    for mode in MODES {
        let Some(mut xdp) = bench.start(test, &bench.options(mode)) else { return };
        for source in [CLIENTS_V4[2], CLIENTS_V6[2]] {
            let banned = subscriber(source.parse().unwrap());
            xdp.ban(banned, HOUR, LetThrough::ConnectionEvery(HOUR)).unwrap();
            bench.exchange(source);
            let attempt = bench.begin(source);
            wait_for(&xdp, "a second SYN is dropped", |counters| counters.reason(Reason::Banned).packets > 0);
            assert!(!attempt.is_settled_within(Duration::ZERO));
        }
    }
}

#[test]
fn a_source_that_opens_too_many_connections_is_limited_alone() {
    let test = "a_source_that_opens_too_many_connections_is_limited_alone";
    const ATTEMPTS: u64 = 20;
    let rate = Rate { per_second: 1, burst: 3 };
    let Some(bench) = Bench::new(test) else { return };
    for mode in MODES {
        let options =
            Options { source: Limits { syns: Some(rate), ..Limits::default() }, ..bench.options(mode) };
        let Some(xdp) = bench.start(test, &options) else { return };
        for (noisy, calm) in [(CLIENTS_V4[0], CLIENTS_V4[1]), (CLIENTS_V6[0], CLIENTS_V6[1])] {
            let before = xdp.counters(0).unwrap();
            let start = Instant::now();
            let attempts: Vec<Attempt> = (0..ATTEMPTS).map(|_| bench.begin(noisy)).collect();
            wait_for(&xdp, "SYNs beyond the burst are dropped", |counters| {
                let dropped =
                    counters.reason(Reason::SynRate).packets - before.reason(Reason::SynRate).packets;
                let granted = rate.burst + start.elapsed().as_secs() + 1;
                dropped + granted >= ATTEMPTS
            });
            let connected =
                attempts.iter().filter(|attempt| attempt.is_settled_within(Duration::ZERO)).count();
            assert!(connected <= rate.burst as usize + start.elapsed().as_secs() as usize + 1);
            assert!(attempts[0].is_settled_within(PATIENCE), "the burst is granted");
            bench.exchange(calm);
            drop(attempts);
            bench.exchange(noisy);
        }
    }
}

#[test]
fn other_ports_stay_open_to_blocked_sources() {
    let test = "other_ports_stay_open_to_blocked_sources";
    let Some(bench) = Bench::new(test) else { return };
    let listener = bench.wire.gateway.run(|| TcpListener::bind("[::]:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    let Some(mut xdp) = bench.start(test, &block(&bench.options(Mode::Native))) else { return };
    for source in [CLIENTS_V4[1], CLIENTS_V6[1]] {
        support::ban(&mut xdp, source, HOUR);
        bench.wire.connect(source, port, PATIENCE).unwrap();
    }
}

#[test]
fn dropping_it_detaches_and_lets_everyone_in() {
    let test = "dropping_it_detaches_and_lets_everyone_in";
    let Some(bench) = Bench::new(test) else { return };
    for mode in MODES {
        let Some(xdp) = bench.start(test, &block(&bench.options(mode))) else { return };
        let attempt = bench.begin(CLIENTS_V4[1]);
        wait_for(&xdp, "the SYN is dropped", |counters| counters.rule(1).packets > 0);
        drop(xdp);
        assert_echoes(&mut attempt.finish(PATIENCE).unwrap());
    }
}

#[test]
fn modes_fall_back_and_interfaces_come_and_go() {
    let test = "modes_fall_back_and_interfaces_come_and_go";
    let Some(bench) = Bench::new(test) else { return };
    let auto = bench.options(Mode::Auto);
    let Some(xdp) = bench.start(test, &auto) else { return };
    assert_eq!(xdp.attachments().len(), 1);
    assert_eq!((xdp.attachments()[0].mode, &xdp.attachments()[0].fallback), (Mode::Native, &None));

    // The loopback device has no native mode.
    let both = Options { interfaces: vec!["gw0".to_owned(), "lo".to_owned()], ..auto.clone() };
    let xdp = bench.reconcile(xdp, &both);
    let on_lo = xdp.attachments().into_iter().find(|attachment| attachment.interface == "lo").unwrap();
    assert_eq!(on_lo.mode, Mode::Generic);
    assert!(on_lo.fallback.is_some());

    let xdp = bench.reconcile(xdp, &Options { mode: Mode::Generic, ..auto.clone() });
    assert_eq!(xdp.attachments().len(), 1);
    assert_eq!(xdp.attachments()[0].mode, Mode::Generic);

    let native_lo = Options { interfaces: vec!["lo".to_owned()], ..bench.options(Mode::Native) };
    let (xdp, result) = bench.try_reconcile(xdp, &native_lo);
    let error = result.unwrap_err();
    assert!(error.is_unavailable() && error.to_string().contains("lo: native:"), "{error}");

    let unknown = Options { interfaces: vec!["nosuch\0".to_owned()], ..auto.clone() };
    let (xdp, result) = bench.try_reconcile(xdp, &unknown);
    assert!(matches!(result.unwrap_err(), XdpError::Interface(_)));

    let xdp = bench.reconcile(xdp, &Options { mode: Mode::Off, ..auto });
    assert_eq!(xdp.attachments(), []);
}

#[test]
fn an_interface_made_anew_gets_the_program_again() {
    let test = "an_interface_made_anew_gets_the_program_again";
    let Some(bench) = Bench::new(test) else { return };
    let add = "link add again0 type veth peer name again1";
    bench.wire.gateway.ip(add);
    let options = Options { interfaces: vec!["again0".to_owned()], ..bench.options(Mode::Generic) };
    let Some(xdp) = bench.start(test, &options) else { return };
    bench.wire.gateway.ip("link del again0");
    bench.wire.gateway.ip(add);
    // Refused as long as nothing is attached.
    let is_taken = |options: &Options| {
        let options = options.clone();
        bench.wire.gateway.run(move || Xdp::start(&options).is_err())
    };
    assert!(!is_taken(&options));
    let _xdp = bench.reconcile(xdp, &options);
    assert!(is_taken(&options));
}

#[test]
fn a_foreign_program_is_left_alone_or_replaced_by_force() {
    let test = "a_foreign_program_is_left_alone_or_replaced_by_force";
    let Some(bench) = Bench::new(test) else { return };
    let options = bench.options(Mode::Auto);
    let Some(first) = bench.start(test, &block(&options)) else { return };
    let second = options.clone();
    let again = bench.wire.gateway.run(move || Xdp::start(&second).map(drop));
    let error = again.unwrap_err();
    assert!(error.is_unavailable() && matches!(error, XdpError::Foreign { .. }), "{error}");
    assert!(error.to_string().starts_with("gw0 has another XDP program, `gate` (id "), "{error}");
    let _attempt = bench.begin(CLIENTS_V4[1]);
    wait_for(&first, "the first one still drops", |counters| counters.rule(1).packets > 0);

    // The first is held by a link, which ends.
    let force = Options { force: true, ..options };
    let Some(second) = bench.start(test, &force) else { return };
    assert!(second.attachments()[0].replaced.as_ref().unwrap().starts_with("`gate`"));
    bench.exchange(CLIENTS_V4[1]);
    assert!(second.counters(0).unwrap().reason(Reason::Accepted).packets > 0);
    drop(first);
    assert!(has_program(&bench), "the end of the first is nothing to the second");
    drop(second);
    wait_until_detached(&bench);

    // One that was attached without a link.
    let Some(pinned) = bpf_file_system(&bench, test) else { return };
    let file = pinned.join("foreign");
    let path = file.clone();
    bench.wire.gateway.run(move || pin_trivial_program(&path));
    bench.wire.gateway.ip(&format!("link set dev gw0 xdpgeneric pinned {}", file.display()));
    let Some(third) = bench.start(test, &force) else { return };
    assert!(third.attachments()[0].replaced.is_some());
    assert_eq!(third.attachments()[0].mode, Mode::Native);
}

#[test]
fn pinned_it_outlives_the_process_and_the_next_run_takes_over() {
    let test = "pinned_it_outlives_the_process_and_the_next_run_takes_over";
    let Some(bench) = Bench::new(test) else { return };
    let Some(mounted) = bpf_file_system(&bench, test) else { return };
    let folder = mounted.join("sluice");
    let pinned = Options { pin_path: Some(folder.clone()), ..bench.options(Mode::Auto) };
    let Some(mut xdp) = bench.start(test, &block(&pinned)) else { return };
    assert!(xdp.attachments()[0].is_pinned);
    support::ban(&mut xdp, CLIENTS_V4[2], HOUR);
    let attempt = bench.begin(CLIENTS_V4[2]);
    wait_for(&xdp, "a SYN is dropped", |counters| counters.reason(Reason::Banned).packets > 0);

    // The end of a process, and of its descriptors.
    drop(xdp);
    assert!(has_program(&bench));
    assert!(!attempt.is_settled_within(Duration::ZERO));
    bench.exchange(CLIENTS_V4[0]);

    // The next run asks for another interface, too.
    let wider = Options { interfaces: vec!["gw0".to_owned(), "lo".to_owned()], ..pinned.clone() };
    let Some(xdp) = bench.start(test, &wider) else { return };
    assert_eq!(xdp.attachments().iter().filter(|attachment| attachment.is_pinned).count(), 2);
    let bans = xdp.bans().unwrap();
    assert_eq!(bans.len(), 1);
    assert!(bans[0].seen.packets > 0 && bans[0].remaining > HOUR / 2, "{bans:?}");
    wait_for(&xdp, "the ban acts on", |counters| counters.reason(Reason::Banned).packets > 0);
    drop(xdp);

    // Without pins again: what the run before left on `lo` goes, and at the end everything.
    let Some(xdp) = bench.start(test, &pinned) else { return };
    let unpinned = Options { pin_path: None, ..pinned.clone() };
    let xdp = bench.reconcile(xdp, &unpinned);
    assert!(!xdp.attachments()[0].is_pinned && has_program(&bench));
    let gone = folder.clone();
    assert!(!bench.wire.gateway.run(move || gone.exists()));
    drop(xdp);
    wait_until_detached(&bench);

    // From outside, as the command line does it.
    let Some(xdp) = bench.start(test, &pinned) else { return };
    drop(xdp);
    let at = folder.clone();
    assert_eq!(bench.wire.gateway.run(move || detach_pinned(&at)).unwrap(), ["gw0"]);
    wait_until_detached(&bench);

    // And by the gateway itself.
    let Some(xdp) = bench.start(test, &pinned) else { return };
    bench.wire.gateway.run(move || xdp.detach()).unwrap();
    wait_until_detached(&bench);
    assert!(!bench.wire.gateway.run(move || folder.exists()));
}

#[test]
fn a_pinned_link_in_another_mode_or_of_an_interface_that_is_gone_is_not_taken_over() {
    let test = "a_pinned_link_in_another_mode_or_of_an_interface_that_is_gone_is_not_taken_over";
    let Some(bench) = Bench::new(test) else { return };
    let Some(mounted) = bpf_file_system(&bench, test) else { return };
    let options = |mode| Options {
        interfaces: vec!["again0".to_owned()],
        pin_path: Some(mounted.join("sluice")),
        ..bench.options(mode)
    };
    let add = "link add again0 type veth peer name again1";
    bench.wire.gateway.ip(add);
    for mode in [Mode::Native, Mode::Generic] {
        let Some(xdp) = bench.start(test, &options(mode)) else { return };
        assert_eq!(xdp.attachments()[0].mode, mode);
    }
    bench.wire.gateway.ip("link del again0");
    bench.wire.gateway.ip(add);
    let Some(xdp) = bench.start(test, &options(Mode::Auto)) else { return };
    assert_eq!((xdp.attachments()[0].mode, xdp.attachments()[0].is_pinned), (Mode::Native, true));
}

/// Whether `gw0` has any XDP program.
fn has_program(bench: &Bench) -> bool {
    bench.wire.gateway.run(|| {
        let output = std::process::Command::new("ip").args(["link", "show", "dev", "gw0"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().contains("prog/xdp")
    })
}

/// A process that another test is starting may have a copy of a link's descriptor until it runs its program.
fn wait_until_detached(bench: &Bench) {
    let deadline = Instant::now() + PATIENCE;
    while has_program(bench) {
        assert!(Instant::now() < deadline, "the interface still has a program");
    }
}

/// Mounts a BPF file system where only the gateway's thread sees it; it goes away with that.
fn bpf_file_system(bench: &Bench, test: &str) -> Option<PathBuf> {
    let folder = PathBuf::from("/sys/fs/bpf");
    let at = CString::new(folder.to_str().unwrap()).unwrap();
    let mounted = bench.wire.gateway.run(move || {
        let (none, bpf) = (c"none".as_ptr(), c"bpf".as_ptr());
        // SAFETY: constant strings and a live one; affects this thread alone, which gets mounts of its own first.
        unsafe {
            libc::unshare(libc::CLONE_NEWNS) == 0
                && libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, std::ptr::null())
                    == 0
                && libc::mount(bpf, at.as_ptr(), bpf, 0, std::ptr::null()) == 0
        }
    });
    if !mounted {
        support::skipped(test, &format!("no BPF file system: {}", std::io::Error::last_os_error()));
    }
    mounted.then_some(folder)
}

/// Loads `return XDP_PASS` and pins it.
fn pin_trivial_program(path: &Path) {
    const PROG_LOAD: i64 = 5;
    const OBJ_PIN: i64 = 6;
    const TYPE_XDP: u32 = 6;
    // r0 = 2; exit.
    let instructions: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];
    let license = c"GPL";
    let mut load = [0u64; 16];
    load[0] = u64::from(TYPE_XDP) | (instructions.len() as u64) << 32;
    (load[1], load[2]) = (instructions.as_ptr() as u64, license.as_ptr() as u64);
    let path = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: both are laid out as `union bpf_attr` has them, with live pointers.
    unsafe {
        let program = libc::syscall(libc::SYS_bpf, PROG_LOAD, load.as_ptr(), size_of_val(&load));
        assert!(program >= 0, "{}", std::io::Error::last_os_error());
        let pin = [path.as_ptr() as u64, program as u64];
        let pinned = libc::syscall(libc::SYS_bpf, OBJ_PIN, pin.as_ptr(), size_of_val(&pin));
        assert!(pinned == 0, "{}", std::io::Error::last_os_error());
    }
}

/// Takes every capability from the calling thread.
fn drop_capabilities() {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let none = [0u32; 6];
    // SAFETY: header and sets are laid out as capset(2) has them for this version.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    assert_eq!(result, 0);
}

#[test]
fn without_privileges_it_says_what_is_missing() {
    let result = std::thread::spawn(|| {
        drop_capabilities();
        Xdp::start(&Options::default()).map(drop)
    });
    let error = result.join().unwrap().unwrap_err();
    assert!(error.is_unavailable());
    assert_eq!(error.to_string(), "XDP needs more privileges: missing CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF");
}

#[test]
fn privileges_may_go_once_it_is_attached() {
    let test = "privileges_may_go_once_it_is_attached";
    if support::kernel_version().is_some_and(|version| version < (5, 19)) {
        return support::skipped(test, "before Linux 5.19 the bpf() call itself was privileged");
    }
    let Some(bench) = Bench::new(test) else { return };
    let options = bench.options(Mode::Native);
    let Some(mut xdp) = bench.start(test, &options) else { return };
    let xdp = bench.wire.gateway.run(move || {
        drop_capabilities();
        xdp.reconcile(&block(&options)).unwrap();
        support::ban(&mut xdp, CLIENTS_V4[2], HOUR);
        assert_eq!(xdp.sweep().unwrap(), []);
        xdp
    });
    let _attempts = [bench.begin(CLIENTS_V4[1]), bench.begin(CLIENTS_V4[2])];
    wait_for(&xdp, "block and ban act", |counters| {
        counters.reason(Reason::Blocked).packets > 0 && counters.reason(Reason::Banned).packets > 0
    });
}
