//! The admin listener over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use serde_json::{Value, json};
use sluice_control::client::{admin_get, admin_post};
use sluice_control::{
    Actions, Admin, BanReport, ClientReport, ControlThread, Health, Reload, RouteInfo, UpstreamInfo,
    XdpCount, XdpReport, xdp_families,
};
use sluice_telemetry::{Hub, Options};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// Counts reloads; refuses with these errors if there are any.
#[derive(Default)]
struct Counting {
    generation: AtomicU64,
    errors: Vec<String>,
}

impl Reload for Counting {
    fn reload(&self) -> Result<u64, Vec<String>> {
        if self.errors.is_empty() {
            Ok(self.generation.fetch_add(1, Ordering::SeqCst) + 1)
        } else {
            Err(self.errors.clone())
        }
    }
}

fn report() -> XdpReport {
    XdpReport {
        note: Some("needs CAP_BPF".into()),
        reasons: vec![XdpCount { name: "blocked".into(), dropped: true, packets: 3, bytes: 180 }],
        ..XdpReport::default()
    }
}

fn route() -> RouteInfo {
    RouteInfo {
        name: "users".into(),
        host: None,
        path: "/users/{id}".into(),
        methods: vec!["GET".into()],
        source: "gateway.toml:7".into(),
        action: "upstream users".into(),
        limits: vec!["default".into()],
    }
}

/// Remembers whom it saw.
#[derive(Default)]
struct Operators(Mutex<Vec<std::net::IpAddr>>);

impl Actions for Operators {
    fn bans(&self) -> BanReport {
        BanReport { mode: "on".into(), placed: 3, ..BanReport::default() }
    }

    fn client(&self, address: std::net::IpAddr) -> ClientReport {
        ClientReport { address: address.to_string(), connections: 2, ..ClientReport::default() }
    }

    fn upstreams(&self) -> Vec<UpstreamInfo> {
        Vec::new()
    }

    fn detach(&self) -> Vec<String> {
        vec!["eth0".into()]
    }

    fn operator_seen(&self, address: std::net::IpAddr) {
        self.0.lock().unwrap().push(address);
    }
}

fn admin(reload: Arc<dyn Reload>) -> Admin {
    Admin {
        hub: Hub::new(1, Options::default()),
        reload,
        upgrade: Arc::new(|| Err("no upgrades here".to_owned())),
        health: Arc::new(|| Health { status: "ok".into(), generation: 1 }),
        routes: Arc::new(|| vec![route()]),
        plan: Arc::new(Vec::new),
        xdp: Arc::new(report),
        actions: Arc::new(Operators::default()),
        control: None,
        functions: Arc::new(|| None),
        host_names: vec!["gateway.internal".into()],
    }
}

fn start(admin: Admin) -> ControlThread {
    ControlThread::start(TcpListener::bind("127.0.0.1:0").unwrap(), admin).unwrap()
}

/// Status, head and body of what answers this request. HTTP/1.0, or with `connection: close`.
fn raw(thread: &ControlThread, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(thread.address()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) =
        answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {request:?}: {answer:?}"));
    (head[9..12].parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn each_path_answers_what_the_providers_say() {
    let admin = admin(Arc::new(Counting::default()));
    admin.hub.route_slot("users");
    admin.hub.add_collector(Box::new(|out| xdp_families(&report(), out)));
    let thread = start(admin);
    let address = thread.address().to_string();

    let health = admin_get(&address, "/health").unwrap();
    assert_eq!((health.status, health.body.as_str()), (200, r#"{"status":"ok","generation":1}"#));
    let routes: Vec<RouteInfo> = serde_json::from_str(&admin_get(&address, "/routes").unwrap().body).unwrap();
    assert_eq!(routes, [route()]);
    let xdp: XdpReport = serde_json::from_str(&admin_get(&address, "/xdp").unwrap().body).unwrap();
    assert_eq!(xdp, report());

    let (status, head, metrics) =
        raw(&thread, "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(
        head.contains("cache-control: no-store") && head.contains("x-content-type-options: nosniff"),
        "{head}"
    );
    assert!(metrics.contains("sluice_requests_total{route=\"users\",status_class=\"2xx\"} 0\n"), "{metrics}");
    assert!(
        metrics.contains("sluice_xdp_packets_total{reason=\"blocked\",verdict=\"drop\"} 3\n"),
        "{metrics}"
    );
    thread.stop().unwrap();
}

#[test]
fn a_draining_gateway_is_not_healthy() {
    let draining = || Health { status: "draining".into(), generation: 4 };
    let thread = start(Admin { health: Arc::new(draining), ..admin(Arc::new(Counting::default())) });
    assert_eq!(admin_get(&thread.address().to_string(), "/health").unwrap().status, 503);
}

#[test]
fn reload_tells_the_generation_or_every_error() {
    let thread = start(admin(Arc::new(Counting::default())));
    let address = thread.address().to_string();
    for generation in 1..=2 {
        let answer = admin_post(&address, "/reload").unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(serde_json::from_str::<Value>(&answer.body).unwrap(), json!({ "generation": generation }));
    }
    let errors =
        vec!["gateway.toml:3:1: error: unknown key `lsiten`".to_owned(), "second \"line\"".to_owned()];
    let thread = start(admin(Arc::new(Counting { errors: errors.clone(), ..Counting::default() })));
    let answer = admin_post(&thread.address().to_string(), "/reload").unwrap();
    assert_eq!(answer.status, 422);
    assert_eq!(serde_json::from_str::<Value>(&answer.body).unwrap(), json!({ "errors": errors }));
}

/// Says when it begins, and ends when told; panics if two run at once.
struct Gated {
    begun: Mutex<Sender<()>>,
    go: Mutex<Receiver<()>>,
    running: Mutex<()>,
}

impl Reload for Gated {
    fn reload(&self) -> Result<u64, Vec<String>> {
        let _alone = self.running.try_lock().map_err(|_| vec!["two reloads at once".to_owned()])?;
        self.begun.lock().unwrap().send(()).unwrap();
        self.go.lock().unwrap().recv().unwrap();
        Ok(1)
    }
}

#[test]
fn reloads_take_turns_and_block_nothing_else() {
    let ((begin, begun), (go, wait)) = (channel(), channel());
    let thread = start(admin(Arc::new(Gated {
        begun: Mutex::new(begin),
        go: Mutex::new(wait),
        running: Mutex::default(),
    })));
    let address = thread.address().to_string();
    let callers: Vec<_> = (0..2)
        .map(|_| {
            let address = address.clone();
            std::thread::spawn(move || admin_post(&address, "/reload").unwrap())
        })
        .collect();
    begun.recv().unwrap();
    assert_eq!(admin_get(&address, "/health").unwrap().status, 200, "answers during a reload");
    go.send(()).unwrap();
    begun.recv().unwrap();
    go.send(()).unwrap();
    for caller in callers {
        assert_eq!(caller.join().unwrap().status, 200);
    }
}

#[test]
fn a_caller_that_hangs_up_does_not_let_the_next_reload_begin_early() {
    let ((begin, begun), (go, wait)) = (channel(), channel());
    let thread = start(admin(Arc::new(Gated {
        begun: Mutex::new(begin),
        go: Mutex::new(wait),
        running: Mutex::default(),
    })));
    let mut first = TcpStream::connect(thread.address()).unwrap();
    first.write_all(b"POST /reload HTTP/1.1\r\nhost: localhost\r\nx-sluice-admin: 1\r\n\r\n").unwrap();
    begun.recv().unwrap();
    drop(first);
    let address = thread.address().to_string();
    let second = std::thread::spawn(move || admin_post(&address, "/reload").unwrap());
    go.send(()).unwrap();
    begun.recv().unwrap();
    go.send(()).unwrap();
    assert_eq!(second.join().unwrap().status, 200);
}

#[test]
fn a_panic_of_a_provider_is_an_answer_and_the_listener_lives() {
    struct Broken;
    impl Reload for Broken {
        fn reload(&self) -> Result<u64, Vec<String>> {
            panic!("on purpose");
        }
    }
    let thread = start(admin(Arc::new(Broken)));
    let address = thread.address().to_string();
    assert_eq!(admin_post(&address, "/reload").unwrap().status, 500);
    assert_eq!(admin_post(&address, "/reload").unwrap().status, 500, "and its turn is given up");
    assert_eq!(admin_get(&address, "/health").unwrap().status, 200);
}

#[test]
fn unknown_paths_and_methods_are_json_errors() {
    let thread = start(admin(Arc::new(Counting::default())));
    let address = thread.address().to_string();
    let missing = admin_get(&address, "/nothing").unwrap();
    assert_eq!((missing.status, missing.body.as_str()), (404, r#"{"message":"Not Found"}"#));
    let wrong = admin_post(&address, "/health").unwrap();
    assert_eq!((wrong.status, wrong.body.as_str()), (405, r#"{"message":"Method Not Allowed"}"#));
    let (status, head, _) = raw(&thread, "GET /reload HTTP/1.0\r\nhost: localhost\r\n\r\n");
    assert_eq!(status, 405);
    assert!(head.contains("allow: post"), "{head}");
}

#[test]
fn other_names_are_refused_whatever_they_ask() {
    let reload = Arc::new(Counting::default());
    let thread = start(admin(Arc::<Counting>::clone(&reload)));
    for request in [
        "GET /metrics HTTP/1.1\r\nhost: rebound.example\r\nconnection: close\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nhost: localhost\r\nhost: rebound.example\r\nconnection: close\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nhost: \r\nconnection: close\r\n\r\n",
        "GET http://rebound.example/metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        "POST /reload HTTP/1.1\r\nhost: rebound.example:8081\r\nx-sluice-admin: 1\r\nconnection: close\r\n\r\n",
        "GET /nothing HTTP/1.1\r\nhost: 127.0.0.1.rebound.example\r\nconnection: close\r\n\r\n",
    ] {
        let (status, _, body) = raw(&thread, request);
        assert_eq!(
            (status, body.as_str()),
            (421, r#"{"message":"Not a name of the admin listener"}"#),
            "{request}"
        );
    }
    assert_eq!(reload.generation.load(Ordering::SeqCst), 0);
    for host in ["localhost", "127.0.0.1:8081", "[::1]:8081", "Gateway.Internal:80"] {
        let (status, ..) =
            raw(&thread, &format!("GET /health HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"));
        assert_eq!(status, 200, "{host}");
    }
}

#[test]
fn a_post_that_a_page_could_send_is_refused() {
    let reload = Arc::new(Counting::default());
    let thread = start(admin(Arc::<Counting>::clone(&reload)));
    let post = |headers: &str| {
        raw(
            &thread,
            &format!("POST /reload HTTP/1.1\r\nhost: localhost\r\n{headers}connection: close\r\n\r\n"),
        )
        .0
    };
    for headers in [
        "",
        "content-type: text/plain\r\n",
        "content-type: application/x-www-form-urlencoded\r\n",
        "content-type: text/plain; application/json\r\n",
        "x-sluice-admin: 0\r\n",
    ] {
        assert_eq!(post(headers), 403, "{headers}");
    }
    assert_eq!(reload.generation.load(Ordering::SeqCst), 0);
    assert_eq!(post("content-type: application/json; charset=utf-8\r\n"), 200);
    assert_eq!(post("x-sluice-admin: 1\r\n"), 200);

    // The question a browser asks before it sends such headers for a page gets no consent.
    let preflight = "OPTIONS /reload HTTP/1.1\r\nhost: localhost\r\norigin: https://evil.example\r\n\
        access-control-request-method: POST\r\naccess-control-request-headers: x-sluice-admin\r\nconnection: close\r\n\r\n";
    let (status, head, _) = raw(&thread, preflight);
    assert_eq!(status, 405);
    assert!(!head.contains("access-control-"), "{head}");
}

#[test]
fn stopping_frees_the_port_though_a_caller_lingers() {
    let thread = start(admin(Arc::new(Counting::default())));
    let address = thread.address();
    // An idle keep-alive connection and one that never finishes its request.
    let idle = TcpStream::connect(address).unwrap();
    let mut slow = TcpStream::connect(address).unwrap();
    slow.write_all(b"GET /hea").unwrap();
    assert_eq!(admin_get(&address.to_string(), "/health").unwrap().status, 200);
    thread.stop().unwrap();
    assert!(TcpStream::connect(address).is_err());
    drop((idle, slow));
}

#[test]
fn the_client_says_what_went_wrong() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let error = admin_get(&closed, "/health").unwrap_err();
    assert!(error.contains(&closed) && error.contains("is the gateway running?"), "{error}");
    assert!(admin_get("nonsense", "/health").unwrap_err().starts_with("cannot talk to nonsense: "));

    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let server =
        std::thread::spawn(move || other.accept().unwrap().0.write_all(b"SSH-2.0-OpenSSH\r\n").unwrap());
    assert!(admin_get(&address, "/health").unwrap_err().starts_with("cannot talk to "));
    server.join().unwrap();
}
