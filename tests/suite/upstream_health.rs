//! Upstream groups: active health checks, the choice by requests under way, draining.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::json;
use sluice_harness::pki::{Ca, TlsBackend};
use sluice_harness::rest::{RestApi, catalog, http_proxy};
use sluice_harness::{
    Backend, Call, Gate, Gateway, H2Backend, Nginx, RefusingPort, Reply, Sluice, TempDir, eventually, skip,
};

/// A server that tells by `/health` whether it is well, and everywhere else its name.
struct Server {
    backend: Backend,
    well: Arc<AtomicBool>,
    /// Good answers to checks.
    good: Arc<AtomicUsize>,
}

impl Server {
    fn start(name: &'static str) -> Self {
        let (well, good) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let (is_well, counted) = (Arc::clone(&well), Arc::clone(&good));
        let backend = Backend::start(move |request| match request.target.as_str() {
            "/health?deep=1" if is_well.load(Ordering::SeqCst) => {
                counted.fetch_add(1, Ordering::SeqCst);
                Reply::status(204, "")
            }
            "/health?deep=1" => Reply::status(503, "not now"),
            _ => Reply::ok(name),
        });
        Self { backend, well, good }
    }

    fn addr(&self) -> SocketAddr {
        self.backend.addr()
    }

    /// Requests that were no checks.
    fn asked(&self) -> usize {
        self.backend.requests().iter().filter(|request| !request.target.starts_with("/health")).count()
    }
}

const CHECK: &str = "health_check = \"http\"\nhealth_path = \"/health?deep=1\"\nhealth_host = \"check.test\"\n\
                     health_status = \"200-299\"\nhealth_interval_ms = 20\nhealth_rise = 3\nhealth_fall = 2\nretries = 0\n";

fn config(targets: &[String], keys: &str) -> String {
    format!(
        "[upstreams.u]\ntargets = {targets:?}\n{keys}\n[routes.all]\npath = \"/{{proxy+}}\"\nupstream = \"u\"\n"
    )
}

fn targets(addresses: &[SocketAddr]) -> Vec<String> {
    addresses.iter().map(SocketAddr::to_string).collect()
}

fn of_server(gateway: &Gateway, family: &str, addr: SocketAddr) -> f64 {
    gateway.metrics().sum(family, &[("upstream", "u"), ("server", &addr.to_string())])
}

/// Waits until checks have found this.
fn wait_until(gateway: &Gateway, addr: SocketAddr, up: bool) {
    let passed = [("upstream", "u"), ("server", &*addr.to_string()), ("result", "passed")];
    eventually(&format!("{addr} to be up: {up}"), || {
        let metrics = gateway.metrics();
        let found = metrics.sum("sluice_upstream_server_up", &passed[..2]) == 1.0;
        // A server is up before it has been checked, too.
        let checked = !up || metrics.sum("sluice_upstream_checks_total", &passed) > 0.0;
        (found == up && checked).then_some(())
    });
}

#[test]
fn who_fails_its_checks_gets_no_request_until_it_has_risen() {
    let (first, second) = (Server::start("first"), Server::start("second"));
    let gateway = Gateway::start(&config(&targets(&[first.addr(), second.addr()]), CHECK));
    for server in [&first, &second] {
        wait_until(&gateway, server.addr(), true);
    }
    let mut conn = gateway.conn();
    let mut seen: Vec<String> = (0..2).map(|_| conn.get("/a").text()).collect();
    seen.sort_unstable();
    assert_eq!(seen, ["first", "second"]);
    let check =
        first.backend.requests().into_iter().find(|request| request.target == "/health?deep=1").unwrap();
    assert_eq!((check.method.as_str(), check.header("host")), ("GET", Some("check.test")));

    first.well.store(false, Ordering::SeqCst);
    wait_until(&gateway, first.addr(), false);
    gateway.wait_for_line(0, &format!("upstream `u`: {} is down: status 503", first.addr()));
    let asked = first.asked();
    for _ in 0..50 {
        assert_eq!(conn.get("/a").text(), "second");
    }
    assert_eq!(first.asked(), asked, "only checks reach it");
    assert_eq!(gateway.metrics().sum("sluice_upstream_fails_open", &[("upstream", "u")]), 0.0);

    let good = first.good.load(Ordering::SeqCst);
    first.well.store(true, Ordering::SeqCst);
    wait_until(&gateway, first.addr(), true);
    assert!(first.good.load(Ordering::SeqCst) >= good + 3, "`health_rise` good checks come first");
    gateway.wait_for_line(0, &format!("upstream `u`: {} is up again", first.addr()));
    eventually("the first to be asked again", || (conn.get("/a").text() == "first").then_some(()));
    assert_eq!(of_server(&gateway, "sluice_upstream_health_changes_total", first.addr()), 2.0);
    assert_eq!(of_server(&gateway, "sluice_upstream_health_changes_total", second.addr()), 0.0);
}

#[test]
fn a_real_server_that_is_killed_is_left_aside_by_a_connection_check() {
    let backend = Backend::start(|_| Reply::ok("scripted"));
    let Some(nginx) = Nginx::start("location / { return 200 nginx; }", &[]) else {
        skip!("a_real_server_that_is_killed_is_left_aside_by_a_connection_check", "nginx is not installed");
    };
    let addr = nginx.addr;
    let check = "health_check = \"tcp\"\nhealth_interval_ms = 20\nretries = 0\nmax_failures = 0\n";
    let gateway = Gateway::start(&config(&targets(&[addr, backend.addr()]), check));
    wait_until(&gateway, addr, true);
    let mut conn = gateway.conn();
    eventually("nginx to be asked", || (conn.get("/a").text() == "nginx").then_some(()));
    drop(nginx);
    wait_until(&gateway, addr, false);
    gateway.wait_for_line(0, &format!("upstream `u`: {addr} is down: no connection: Connection refused"));
    for n in 0..50 {
        assert_eq!(conn.get("/a").text(), "scripted", "request {n}");
    }
}

#[test]
fn a_server_that_was_never_there_falls_with_its_first_check() {
    let (nobody, backend) = (RefusingPort::new(), Backend::start(|_| Reply::ok("here")));
    let check = "health_check = \"tcp\"\nhealth_fall = 1000\nhealth_interval_ms = 60000\nretries = 0\n";
    let gateway = Gateway::start(&config(&targets(&[nobody.addr(), backend.addr()]), check));
    wait_until(&gateway, nobody.addr(), false);
    for _ in 0..20 {
        assert_eq!(gateway.get("/a").text(), "here");
    }
}

#[test]
fn when_all_are_down_all_are_asked() {
    let (first, second) = (Server::start("first"), Server::start("second"));
    let gateway = Gateway::start(&config(&targets(&[first.addr(), second.addr()]), CHECK));
    for server in [&first, &second] {
        server.well.store(false, Ordering::SeqCst);
    }
    gateway.wait_for_line(0, "upstream `u`: no server is up: all of them get requests");
    assert_eq!(gateway.metrics().sum("sluice_upstream_fails_open", &[("upstream", "u")]), 1.0);
    let mut seen: Vec<String> = (0..2).map(|_| gateway.get("/a").text()).collect();
    seen.sort_unstable();
    assert_eq!(seen, ["first", "second"]);
    // One that is well again has all of it.
    second.well.store(true, Ordering::SeqCst);
    wait_until(&gateway, second.addr(), true);
    for _ in 0..20 {
        assert_eq!(gateway.get("/a").text(), "second");
    }
    assert_eq!(gateway.metrics().sum("sluice_upstream_fails_open", &[("upstream", "u")]), 0.0);
}

#[test]
fn a_server_that_hangs_is_down_and_delays_nobody() {
    let hangs = Backend::wired(|wire| {
        wire.request()?;
        wire.hang();
        Ok(())
    });
    let well = Server::start("well");
    let check = format!("{CHECK}health_timeout_ms = 100\n");
    let gateway = Gateway::start(&config(&targets(&[hangs.addr(), well.addr()]), &check));
    gateway.wait_for_line(0, &format!("{} is down: no answer in time", hangs.addr()));
    assert_eq!(gateway.get("/a").text(), "well");
    assert_eq!(of_server(&gateway, "sluice_upstream_health_changes_total", well.addr()), 0.0);
}

#[test]
fn a_reload_keeps_what_is_known() {
    let (first, second) = (Server::start("first"), Server::start("second"));
    let both = targets(&[first.addr(), second.addr()]);
    let gateway = Gateway::start(&config(&both, CHECK));
    first.well.store(false, Ordering::SeqCst);
    wait_until(&gateway, first.addr(), false);
    let failed = [("server", &*first.addr().to_string()), ("result", "failed")];
    let before = gateway.metrics().sum("sluice_upstream_checks_total", &failed);
    // The other way round, with another group before it, and checked so seldom that only what is known can count.
    let reversed: Vec<String> = both.iter().rev().cloned().collect();
    let seldom = CHECK.replace("health_interval_ms = 20", "health_interval_ms = 600000");
    let next = config(&reversed, &seldom);
    gateway.write_config(&format!("[upstreams.a]\ntargets = [\"{}\"]\n{next}", second.addr()));
    assert_eq!(gateway.reload().status, 200);
    for _ in 0..20 {
        assert_eq!(gateway.get("/a").text(), "second");
    }
    assert_eq!(of_server(&gateway, "sluice_upstream_server_up", first.addr()), 0.0);
    assert!(gateway.metrics().sum("sluice_upstream_checks_total", &failed) >= before, "counters only grow");

    let admin = gateway.admin().to_string();
    let shown = Sluice::output(&["upstreams", "--admin", &admin]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let line = shown.lines().find(|line| line.contains(&first.addr().to_string())).unwrap();
    assert!(line.starts_with("u ") && line.contains(" down ") && line.ends_with("status 503"), "{shown}");
    let listed: serde_json::Value =
        serde_json::from_str(&gateway.admin_call(Call::get("/upstreams")).text()).unwrap();
    let states: Vec<_> = listed.as_array().unwrap().iter().map(|s| s["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["unchecked", "up", "down"]);

    // Without checks nobody is left aside.
    gateway.write_config(&config(&both, "retries = 0"));
    assert_eq!(gateway.reload().status, 200);
    eventually("the first to be asked", || (gateway.get("/a").text() == "first").then_some(()));
    assert!(!gateway.metrics().text.contains("sluice_upstream_server_up{"));
}

#[test]
fn what_is_behind_a_vpc_link_is_checked() {
    let (first, second) = (Server::start("first"), Server::start("second"));
    let group = config(&targets(&[first.addr(), second.addr()]), CHECK);
    let gateway = Gateway::start(&format!("{group}[vpc_links.abc]\nupstream = \"u\"\n"));
    let mut over_link = http_proxy("http://internal.test/x");
    over_link["connectionType"] = json!("VPC_LINK");
    over_link["connectionId"] = json!("abc");
    gateway.serve_catalog(&catalog(&[RestApi::new("a").method("GET", "/", over_link).deploy("s")]));
    first.well.store(false, Ordering::SeqCst);
    wait_until(&gateway, first.addr(), false);
    for _ in 0..20 {
        assert_eq!(gateway.rest("a", "s", "/").text(), "second");
    }
}

#[test]
fn checks_speak_what_requests_speak() {
    let (ca, dir) = (Ca::new("authority"), TempDir::new());
    let secure = TlsBackend::start(&ca.leaf(&["localhost"]), None, Vec::new());
    let stranger = TlsBackend::start(&Ca::new("strangers").leaf(&["localhost"]), None, Vec::new());
    let http2 = H2Backend::start(|peer| {
        while let Some((id, request)) = peer.request() {
            let host =
                sluice_harness::h2::find(&request.trailers, ":authority").unwrap_or_default().to_owned();
            peer.status(id, if host == "check.test" { "204" } else { "500" });
        }
    });
    let ca_file = dir.file("ca.pem", &ca.pem());
    let ports = [secure.addr().port(), stranger.addr().port()];
    let gateway = Gateway::start(&format!(
        "[upstreams.tls]\ntargets = [\"https://localhost:{}\", \"https://localhost:{}\"]\ntls_ca_file = {ca_file:?}\n\
         {CHECK}[upstreams.h2]\ntargets = [\"{}\"]\nprotocol = \"h2\"\n{CHECK}\
         [routes.a]\npath = \"/a\"\nupstream = \"tls\"\n[routes.b]\npath = \"/b\"\nupstream = \"h2\"\n",
        ports[0],
        ports[1],
        http2.addr()
    ));
    let passed = |upstream: &str, port: u16, result: &str| {
        let server = format!("127.0.0.1:{port}");
        let labels = [("upstream", upstream), ("server", &*server), ("result", result)];
        gateway.metrics().sum("sluice_upstream_checks_total", &labels)
    };
    eventually("checks over TLS", || (passed("tls", ports[0], "passed") >= 3.0).then_some(()));
    eventually("checks over HTTP/2", || (passed("h2", http2.addr().port(), "passed") >= 3.0).then_some(()));
    eventually("a stranger to fail", || (passed("tls", ports[1], "failed") >= 3.0).then_some(()));
    assert_eq!(passed("tls", ports[1], "passed"), 0.0);
    assert_eq!(passed("h2", http2.addr().port(), "failed"), 0.0);
    gateway.wait_for_line(0, &format!("127.0.0.1:{} is down: no connection: ", ports[1]));
}

#[test]
fn the_slower_of_two_gets_less() {
    let gate = Arc::new(Gate::new());
    let held = Arc::clone(&gate);
    let slow = Backend::start(move |_| {
        held.wait();
        Reply::ok("slow")
    });
    let fast = Backend::start(|_| Reply::ok("fast"));
    let gateway =
        Gateway::start(&config(&targets(&[slow.addr(), fast.addr()]), "balance = \"least_request\"\n"));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            // In turn as long as nobody has anything to do: the second at the latest is the slow one's.
            (0..2).map(|_| gateway.get("/a").text()).collect::<Vec<_>>()
        });
        eventually("a request at the slow server", || (slow.hits() == 1).then_some(()));
        let mut conn = gateway.conn();
        for n in 0..50 {
            assert_eq!(conn.get("/a").text(), "fast", "request {n}");
        }
        assert_eq!(slow.hits(), 1);
        gate.open();
        assert!(waiting.join().unwrap().contains(&"slow".to_owned()));
    });
    let mut conn = gateway.conn();
    let seen: Vec<String> = (0..10).map(|_| conn.get("/a").text()).collect();
    assert_eq!(seen.iter().filter(|name| *name == "slow").count(), 5, "{seen:?}: it has caught up");
}

/// Requests on a loop, until they are to end; every one must be answered well.
fn load(gateway: &Gateway, running: &AtomicBool, served: &AtomicUsize) {
    let mut conn = gateway.conn();
    while running.load(Ordering::Relaxed) {
        let response = conn.call(&Call::post("/a", "a body, so that nothing is tried again"));
        assert_eq!(response.status, 200, "{response:?}");
        served.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whoever leaves a group, marked or removed, ends what it has and gets nothing new; nobody notices.
fn leaves_without_a_loss(leave: impl Fn(SocketAddr, SocketAddr) -> Vec<String>) {
    let gate = Arc::new(Gate::new());
    let held = Arc::clone(&gate);
    let leaving = Backend::start(move |request| {
        if request.target == "/held" {
            held.wait();
        }
        Reply::ok("leaving")
    });
    let staying = Backend::start(|_| Reply::ok("staying"));
    let gateway = Gateway::start(&config(&targets(&[leaving.addr(), staying.addr()]), "retries = 0"));
    let (running, served) = (AtomicBool::new(true), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| load(&gateway, &running, &served));
        }
        let some = |more: usize| {
            let before = served.load(Ordering::Relaxed);
            eventually("some load", || (served.load(Ordering::Relaxed) >= before + more).then_some(()));
        };
        some(100);
        let held = scope.spawn(|| {
            // Which of the two gets it is by chance under load.
            while gateway.get("/held").text() != "leaving" {}
        });
        eventually("one to be held", || {
            leaving.requests().iter().any(|request| request.target == "/held").then_some(())
        });
        gateway.write_config(&config(&leave(leaving.addr(), staying.addr()), "retries = 0"));
        assert_eq!(gateway.reload().status, 200);
        eventually("all other connections to be closed", || (leaving.open_connections() == 1).then_some(()));
        let before = leaving.hits();
        some(100);
        assert_eq!(leaving.hits(), before, "nothing new");
        gate.open();
        held.join().expect("what was under way ends well");
        eventually("the last connection to be closed", || (leaving.open_connections() == 0).then_some(()));
        running.store(false, Ordering::Relaxed);
    });
}

#[test]
fn who_drains_loses_no_request() {
    leaves_without_a_loss(|leaving, staying| vec![format!("{leaving} drain"), staying.to_string()]);
}

#[test]
fn who_is_removed_loses_no_request() {
    leaves_without_a_loss(|_, staying| vec![staying.to_string()]);
}

#[test]
fn who_drains_over_http2_ends_its_connection() {
    let ended = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&ended);
    let leaving = H2Backend::start(move |peer| {
        peer.serve();
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let staying = H2Backend::start(|peer| peer.serve());
    let keys = "protocol = \"h2\"\nretries = 0\nkeepalive_idle_ms = 600000\n";
    let gateway = Gateway::start(&config(&targets(&[leaving.addr(), staying.addr()]), keys));
    // Each core takes turns for itself, and which of them gets a connection is by chance.
    eventually("both to be asked", || {
        assert_eq!(gateway.get("/a").text(), "/a");
        (leaving.requests() > 0 && staying.requests() > 0).then_some(())
    });
    let (asked, drained) = (leaving.requests(), format!("{} drain", leaving.addr()));
    assert_eq!(ended.load(Ordering::SeqCst), 0);
    gateway.write_config(&config(&[drained, staying.addr().to_string()], keys));
    assert_eq!(gateway.reload().status, 200);
    eventually("its connection to end", || (ended.load(Ordering::SeqCst) == 1).then_some(()));
    for _ in 0..4 {
        assert_eq!(gateway.get("/a").text(), "/a");
    }
    assert_eq!(leaving.requests(), asked);
    // And back.
    gateway.write_config(&config(&targets(&[leaving.addr(), staying.addr()]), keys));
    assert_eq!(gateway.reload().status, 200);
    eventually("it to be asked again", || {
        gateway.get("/a");
        (leaving.requests() > asked).then_some(())
    });
}
