//! Bans: who keeps being refused is dropped in the kernel, who has admitted traffic never. In network namespaces.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;
use sluice_harness::netns::may_load_bpf;
use sluice_harness::{
    Call, Conn, GATEWAY, GATEWAY_INTERFACE, Gateway, Net, eventually_within, skip, sluice_binary, tool,
};

/// Bans come after 2 s of refusals and last 3 s.
const CONFIG: &str = r#"
[routes.secret]
path = "/secret"
mock_body = "in"
api_key_required = true

[routes.open]
path = "/open"
mock_body = "open"

[keys.mobile]
value = "mobile-key-0123456789"

[xdp]
interface = "gw0"
mode = "generic"

[bans]
refused_per_s = 20
refused_for_ms = 2000
ttl_ms = 3000
let_through_ms = 0
"#;

const SOON: Duration = Duration::from_secs(30);

/// A gateway with XDP in front of clients, or why there can't be one.
struct World {
    net: Net,
    gateway: Arc<Gateway>,
    addr: SocketAddr,
}

impl World {
    fn new(config: &str) -> Result<Self, String> {
        Self::with_server(config, "")
    }

    /// `server`: more lines of `[server]`.
    fn with_server(config: &str, server: &str) -> Result<Self, String> {
        may_load_bpf()?;
        let net = Net::new(3)?;
        let (config, server) = (config.to_owned(), server.to_owned());
        let gateway = net.gateway.run(move || {
            let listen = format!("cores = 2\nlisten = [\"{GATEWAY}:0\"]\n{server}");
            Arc::new(Gateway::builder().server(&listen).start(&config))
        });
        assert!(
            gateway
                .stderr()
                .iter()
                .any(|line| line.contains(&format!("xdp attached to {GATEWAY_INTERFACE}"))),
            "{:#?}",
            gateway.stderr()
        );
        let addr = gateway.addr();
        Ok(Self { net, gateway, addr })
    }

    /// Requests without a key from a client until told to stop: 100 a second and more.
    fn nuisance(&self, client: usize, stop: &Arc<AtomicBool>) -> JoinHandle<()> {
        let (addr, stop) = (self.addr, Arc::clone(stop));
        self.net.clients[client].spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                let Ok(mut conn) = Conn::try_open_within(addr, Duration::from_millis(200)) else { continue };
                conn.set_patience(Duration::from_millis(200));
                while !stop.load(Ordering::SeqCst) {
                    match conn.try_call(&Call::get("/secret")) {
                        Ok(response) => assert_eq!(response.status, 403),
                        Err(_) => break,
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        })
    }

    /// Whether a new connection from a client is answered within a moment.
    fn is_served(&self, client: usize) -> bool {
        let addr = self.addr;
        self.net.clients[client].run(move || {
            let Ok(mut conn) = Conn::try_open_within(addr, Duration::from_millis(300)) else { return false };
            conn.set_patience(Duration::from_millis(300));
            conn.try_call(&Call::get("/open")).is_ok_and(|response| response.status == 200)
        })
    }

    fn wait_for_line(&self, text: &str) -> String {
        eventually_within(SOON, text, || self.gateway.stderr().into_iter().find(|line| line.contains(text)))
    }

    /// A command of the binary against this gateway.
    fn command(&self, words: &str) -> String {
        let words = format!("{words} --admin {}", self.gateway.admin());
        self.net.gateway.run(move || {
            let output =
                std::process::Command::new(sluice_binary()).args(words.split_whitespace()).output().unwrap();
            assert!(output.status.success(), "{words}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        })
    }

    fn metric(&self, name: &'static str) -> f64 {
        let gateway = Arc::clone(&self.gateway);
        self.net.gateway.run(move || gateway.metrics().sum(name, &[]))
    }

    fn reload(&self) {
        let gateway = Arc::clone(&self.gateway);
        self.net.gateway.run(move || assert_eq!(gateway.reload().status, 200));
    }
}

fn stop(flag: &AtomicBool, threads: Vec<JoinHandle<()>>) {
    flag.store(true, Ordering::SeqCst);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_nuisance_is_banned_with_evidence_and_released_and_others_go_on() {
    let world = match World::new(CONFIG) {
        Ok(world) => world,
        Err(why) => skip!("bans: a nuisance", "{why}"),
    };
    let done = Arc::new(AtomicBool::new(false));
    let bad = Net::client_address(0);
    let threads = vec![world.nuisance(0, &done)];
    let line = world.wait_for_line(&format!("ban {bad} for 3s"));
    assert!(line.contains("credentials") && line.contains("none admitted"), "{line}");
    stop(&done, threads);
    assert!(!world.is_served(0), "its packets are dropped");
    assert!(world.is_served(1), "another client is unharmed");
    let table = world.command("xdp bans");
    assert!(table.contains(&bad) && table.contains("1 in force"), "{table}");
    let told = world.command(&format!("explain-client {bad}"));
    assert!(told.contains("banned (time 1") && told.contains("none admitted"), "{told}");
    assert_eq!(world.metric("sluice_bans_placed_total"), 1.0);
    assert!(world.metric("sluice_client_refusals_total") >= 40.0);
    world.wait_for_line(&format!("release {bad} after"));
    eventually_within(SOON, "service again", || world.is_served(0).then_some(()));
    assert!(world.command("xdp bans").contains("expired"));
}

#[test]
fn an_address_with_admitted_traffic_is_never_banned() {
    let world = match World::new(CONFIG) {
        Ok(world) => world,
        Err(why) => skip!("bans: NAT", "{why}"),
    };
    let done = Arc::new(AtomicBool::new(false));
    // Client 0 is two behind one address: one bad, one good that is served every second. Client 1 is only bad.
    let addr = world.addr;
    let good_done = Arc::clone(&done);
    let good = world.net.clients[0].spawn(move || {
        while !good_done.load(Ordering::SeqCst) {
            assert_eq!(Conn::open(addr).call(&Call::get("/open")).status, 200);
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    let threads = vec![good, world.nuisance(0, &done), world.nuisance(1, &done)];
    world.wait_for_line(&format!("ban {}", Net::client_address(1)));
    world.wait_for_line(&format!("release {}", Net::client_address(1)));
    stop(&done, threads);
    let shared = Net::client_address(0);
    assert!(!world.gateway.stderr().iter().any(|line| line.contains(&format!("ban {shared}"))));
    let told = world.command(&format!("explain-client {shared}"));
    assert!(told.contains("admitted") || told.contains("quiet"), "{told}");
}

/// One connection of the balancer, on behalf of `client`, that does what costs a direct client its welcome: too many at
/// once, or HTTP/2 that begins with something other than its settings (RFC 9113 3.4).
fn offence_via_balancer(addr: SocketAddr, client: &str, held: &mut Vec<Conn>) {
    let Ok(mut conn) = Conn::try_open_within(addr, Duration::from_millis(500)) else { return };
    conn.send(format!("PROXY TCP4 {client} {GATEWAY} 5000 80\r\n"));
    if held.len() < 4 {
        held.push(conn);
    } else {
        conn.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x08\x06\0\0\0\0\0pingping");
    }
}

#[test]
fn behind_a_balancer_nobody_is_banned_for_what_its_clients_do() {
    let server =
        format!("proxy_protocol_from = [\"{}\"]\nmax_connections_per_address = 5\n", Net::client_address(2));
    let world = match World::with_server(CONFIG, &server) {
        Ok(world) => world,
        Err(why) => skip!("bans: behind a balancer", "{why}"),
    };
    let (announced, direct, balancer) =
        (Net::client_address(0), Net::client_address(1), Net::client_address(2));
    let done = Arc::new(AtomicBool::new(false));
    let (addr, stop_flag, on_behalf) = (world.addr, Arc::clone(&done), announced.clone());
    let abuse = world.net.clients[2].spawn(move || {
        let mut held = Vec::new();
        while !stop_flag.load(Ordering::SeqCst) {
            offence_via_balancer(addr, &on_behalf, &mut held);
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let before = |world: &World| world.metric("sluice_http2_connection_errors_total");
    eventually_within(SOON, "abuse through the balancer", || (before(&world) > 60.0).then_some(()));
    // One that does the like without a balancer, begun later, is banned meanwhile: so the judge has seen to both.
    let threads = vec![abuse, world.nuisance(1, &done)];
    world.wait_for_line(&format!("ban {direct} for 3s"));
    stop(&done, threads);
    for spared in [announced, balancer] {
        assert!(
            !world.gateway.stderr().iter().any(|line| line.contains(&format!("ban {spared}"))),
            "{spared}"
        );
    }
    assert!(world.is_served(0), "the client that the balancer names is not dropped when it comes by itself");
}

#[test]
fn a_dry_run_only_tells() {
    let world = match World::new(&CONFIG.replace("[bans]", "[bans]\nmode = \"dry-run\"")) {
        Ok(world) => world,
        Err(why) => skip!("bans: dry run", "{why}"),
    };
    let done = Arc::new(AtomicBool::new(false));
    let threads = vec![world.nuisance(0, &done)];
    world.wait_for_line(&format!("would ban {} for", Net::client_address(0)));
    stop(&done, threads);
    assert!(world.is_served(0), "nothing is dropped");
    assert!(world.command("xdp bans").contains("dry-run"));
}

#[test]
fn the_listed_are_never_banned_and_a_reload_releases() {
    let never = |address: &str| CONFIG.replace("[bans]", &format!("[bans]\nnever = [\"{address}\"]"));
    let world = match World::new(&never(&Net::client_address(0)).replace("ttl_ms = 3000", "ttl_ms = 60000")) {
        Ok(world) => world,
        Err(why) => skip!("bans: never", "{why}"),
    };
    let done = Arc::new(AtomicBool::new(false));
    let threads = vec![world.nuisance(0, &done), world.nuisance(1, &done)];
    let (listed, other) = (Net::client_address(0), Net::client_address(1));
    world.wait_for_line(&format!("ban {other} for 60s"));
    stop(&done, threads);
    assert!(!world.gateway.stderr().iter().any(|line| line.contains(&format!("ban {listed}"))));
    assert!(world.command(&format!("explain-client {listed}")).contains("never banned"));
    assert!(!world.is_served(1));
    world.gateway.write_config(&never(&other).replace("ttl_ms = 3000", "ttl_ms = 60000"));
    world.reload();
    world.wait_for_line(&format!("release {other} after"));
    assert!(world.is_served(1), "released by the reload");
}

#[test]
fn detach_drops_nothing_any_more_until_a_reload() {
    let config = CONFIG.replace("[xdp]", &format!("[xdp]\nblock = [\"{}\"]", Net::client_address(2)));
    let world = match World::new(&config) {
        Ok(world) => world,
        Err(why) => skip!("bans: detach", "{why}"),
    };
    assert!(!world.is_served(2) && world.is_served(1));
    assert!(world.command(&format!("explain-client {}", Net::client_address(2))).contains("blocked by"));
    assert_eq!(world.command("xdp detach"), "detached from gw0\n");
    assert!(world.is_served(2));
    assert_eq!(world.command("xdp detach"), "not attached\n");
    world.gateway.signal(Signal::HUP);
    eventually_within(SOON, "attached again", || (!world.is_served(2)).then_some(()));
}

/// The kernel's numbers (linux/capability.h).
const GIVEN_UP: u64 = 1 << 12 | 1 << 38 | 1 << 39;

#[test]
fn without_root_three_capabilities_are_enough_and_given_up_once_attached() {
    if tool("setpriv").is_none() {
        skip!("XDP without root", "no `setpriv` (util-linux)");
    }
    let net = match may_load_bpf().and_then(|()| Net::new(2)) {
        Ok(net) => net,
        Err(why) => skip!("XDP without root", "{why}"),
    };
    let config = |block: &str| {
        CONFIG.replace("[xdp]", &format!("[xdp]\ndrop_capabilities = true\nblock = [\"{block}\"]"))
    };
    let first = config(&Net::client_address(0));
    let gateway = net.gateway.run(move || {
        let caps = "-all,+bpf,+net_admin,+perfmon";
        let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs";
        let builder = Gateway::builder().under(&format!("{nobody} --inh-caps={caps} --ambient-caps={caps}"));
        Arc::new(builder.server(&format!("listen = [\"{GATEWAY}:0\"]")).start(&first))
    });
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap();
    for status in tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap()) {
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        assert!(field("Uid:").starts_with("65534"), "{status}");
        for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
            assert_eq!(u64::from_str_radix(&field(set), 16).unwrap() & GIVEN_UP, 0, "{set} in {status}");
        }
    }
    let addr = gateway.addr();
    let world = World { net, gateway, addr };
    assert!(!world.is_served(0) && world.is_served(1), "the list is in force");
    world.gateway.write_config(&config(&Net::client_address(1)));
    world.reload();
    assert!(world.is_served(0) && !world.is_served(1), "the maps can still be changed");
}
