//! Clients that leave while the upstream is silent: the exchange ends, the upstream's connection is let go, the log says 499.
//!
//! A client that ends only its sending half counts as gone, too, as it does for nginx.

use std::io::Write;
use std::sync::Arc;

use rustls::version::TLS13;
use sluice_harness::gateway::proxy_all;
use sluice_harness::pki::{Ca, client, connect};
use sluice_harness::{Backend, Call, Conn, Gate, Gateway, H2, Reply, TempDir, eventually, h2};

const ENGINES: [&str; 2] = ["auto", "epoll"];

/// A backend that takes requests, bodies and all, and never says anything.
fn silent() -> Backend {
    Backend::wired(|wire| {
        while wire.request()?.is_some() {}
        Ok(())
    })
}

fn before(backend: &Backend, engine: &str) -> Gateway {
    Gateway::builder().server(&format!("engine = \"{engine}\"")).start(&proxy_all(backend.addr()))
}

#[track_caller]
fn arrives(backend: &Backend, hits: usize) {
    eventually("the request at the backend", || (backend.hits() == hits).then_some(()));
}

/// Waits until the gateway has counted and logged so many clients that left.
#[track_caller]
fn assert_told(gateway: &Gateway, count: usize) {
    let refused = || gateway.metrics().sum("sluice_refusals_total", &[("reason", "client_gone")]);
    eventually("the count", || (refused() == count as f64).then_some(()));
    eventually("the log", || (gateway.stdout().matches("\"status\":499").count() == count).then_some(()));
}

#[track_caller]
fn assert_let_go(backend: &Backend) {
    eventually("the backend to be let go", || (backend.open_connections() == 0).then_some(()));
}

#[test]
fn a_client_that_closes_or_resets_or_ends_its_half_is_gone() {
    // What is left of the connection afterwards.
    let leave: [fn(Conn) -> Option<Conn>; 3] = [
        |conn| {
            drop(conn);
            None
        },
        |conn| {
            conn.reset();
            None
        },
        |mut conn| {
            conn.finish();
            Some(conn)
        },
    ];
    for engine in ENGINES {
        let backend = silent();
        let gateway = before(&backend, engine);
        let calls = [Call::get("/"), Call::post("/", "a body"), Call::new("PUT", "/").chunked(&["a"], &[])];
        let cases = leave.iter().flat_map(|leave| calls.iter().map(move |call| (leave, call)));
        for (n, (leave, call)) in cases.enumerate() {
            let mut conn = gateway.conn();
            conn.send(call.bytes());
            arrives(&backend, n + 1);
            let left = leave(conn);
            assert_told(&gateway, n + 1);
            assert_let_go(&backend);
            if let Some(mut conn) = left {
                conn.assert_closed();
            }
        }
    }
}

/// What waits behind the request is neither an end nor in the way of one.
#[test]
fn pipelined_requests_are_not_taken_for_an_end() {
    for engine in ENGINES {
        let gate = Arc::new(Gate::new());
        let opened = Arc::clone(&gate);
        let backend = Backend::start(move |request| {
            if request.target == "/first" {
                opened.wait();
            }
            Reply::ok(request.target.clone())
        });
        let gateway = before(&backend, engine);
        let mut conn = gateway.conn();
        conn.send(Call::get("/first").bytes());
        arrives(&backend, 1);
        conn.send(Call::get("/second").bytes());
        // The gateway has turned since.
        assert_eq!(gateway.get("/another").text(), "/another");
        gate.open();
        assert_eq!(conn.response().text(), "/first");
        assert_eq!(conn.response().text(), "/second");
    }
}

/// So much is sent behind the request that the gateway has stopped receiving: the end is behind all that.
#[test]
fn an_end_behind_more_than_is_received_is_noticed() {
    for engine in ENGINES {
        for (n, len) in [1, 30_000, 60_000].into_iter().enumerate() {
            let backend = silent();
            let gateway = before(&backend, engine);
            let mut conn = gateway.conn();
            conn.send(Call::get("/first").bytes());
            arrives(&backend, 1);
            conn.send(Call::post("/second", vec![b'x'; len]).bytes());
            drop(conn);
            assert_told(&gateway, 1);
            assert_let_go(&backend);
            assert_eq!(backend.hits(), 1, "{engine} {n}: nobody would read the second answer");
        }
    }
}

/// The upstream has stopped reading a body, the client has sent what fits, and leaves.
#[test]
fn a_client_that_leaves_a_stalled_upload_is_noticed() {
    for engine in ENGINES {
        let gate = Arc::new(Gate::new());
        let opened = Arc::clone(&gate);
        let backend = Backend::wired(move |wire| {
            wire.request_head()?;
            opened.wait();
            Ok(())
        });
        let config = format!("{}body_max_bytes = 100000000\n", proxy_all(backend.addr()));
        let gateway = Gateway::builder().server(&format!("engine = \"{engine}\"")).start(&config);
        let mut conn = gateway.conn();
        conn.send("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 90000000\r\n\r\n");
        arrives(&backend, 1);
        let mut stream = conn.stream().try_clone().unwrap();
        stream.set_nonblocking(true).unwrap();
        // As much as the buffers on the way take.
        let (mut sent, mut full) = (0, 0);
        while full < 100 {
            match stream.write(&[b'u'; 65_536]) {
                Ok(n) => (sent, full) = (sent + n, 0),
                Err(_) => {
                    full += 1;
                    assert_eq!(gateway.admin_call(Call::get("/health")).status, 200);
                }
            }
        }
        // Only a reset passes what is stuck: an ordinary end would wait behind it in the client's own kernel.
        assert!(sent > 100_000);
        drop(stream);
        conn.reset();
        assert_told(&gateway, 1);
        gate.open();
        assert_let_go(&backend);
    }
}

#[test]
fn a_client_over_tls_is_noticed_too() {
    let (ca, dir) = (Ca::new("authority"), TempDir::new());
    let (cert, key) = ca.leaf(&["a.test"]).write(dir.path(), "own");
    let backend = silent();
    let config = format!(
        "{}[certificates.own]\ncert_file = \"{}\"\nkey_file = \"{}\"\n",
        proxy_all(backend.addr()),
        cert.display(),
        key.display()
    );
    let gateway = Gateway::builder().server("listen_tls = [\"127.0.0.1:0\"]").start(&config);
    let config = client(&ca, &[&TLS13], None);
    for (n, call) in [Call::get("/"), Call::post("/", "a body")].into_iter().enumerate() {
        let mut conn = connect(&config, gateway.tls_addr(), "a.test").unwrap();
        conn.send(&call.bytes()).unwrap();
        arrives(&backend, n + 1);
        drop(conn);
        assert_told(&gateway, n + 1);
        assert_let_go(&backend);
    }
}

#[test]
fn the_stream_of_an_http2_upstream_is_reset() {
    let backend = silent();
    let inner = Gateway::before(backend.addr());
    let outer = Gateway::start(&format!(
        "[upstreams.u]\ntargets = [\"{}\"]\nprotocol = \"h2\"\n[routes.p]\npath = \"/{{proxy+}}\"\nupstream = \"u\"\n",
        inner.addr()
    ));
    let mut conn = outer.conn();
    conn.send(Call::get("/").bytes());
    arrives(&backend, 1);
    drop(conn);
    assert_told(&outer, 1);
    assert_told(&inner, 1);
    let mut client = H2::open(outer.addr());
    let id = client.request(&h2::get("/"), true);
    arrives(&backend, 2);
    client.reset(id, 8);
    assert_told(&inner, 2);
    assert_let_go(&backend);
}

/// One of two that wait for the same answer leaves: the other gets it.
#[test]
fn who_waits_for_the_same_answer_is_not_let_down() {
    for cache in ["\"ttl\"", "\"standard\""] {
        let backend = Backend::wired(|wire| {
            while let Some(request) = wire.request()? {
                // The first is never answered.
                if wire.index > 0 {
                    wire.reply(&request, &Reply::ok("an answer").header("Cache-Control", "max-age=60"))?;
                }
            }
            Ok(())
        });
        let gateway = Gateway::start(&format!("{}cache = {cache}\n", proxy_all(backend.addr())));
        let mut leader = gateway.conn();
        leader.send(Call::get("/a").bytes());
        arrives(&backend, 1);
        let mut follower = gateway.conn();
        follower.send(Call::get("/a").bytes());
        drop(leader);
        assert_eq!(follower.response().text(), "an answer", "{cache}");
    }
}
