//! HTTP/2 towards upstreams: what ALPN chooses, what is sent again and what never (RFC 9113 sections 3.2 and 8.7).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::Signal;
use sluice_harness::h2::{END_HEADERS, HEADERS, block, find};
use sluice_harness::h2_backend::Peer;
use sluice_harness::pki::{Ca, TlsBackend};
use sluice_harness::{Backend, Call, Gateway, H2Backend, Nginx, Reply, Sluice, TempDir, eventually};

const REFUSED_STREAM: u32 = 7;
const INTERNAL_ERROR: u32 = 2;

fn before(target: &str, keys: &str) -> Gateway {
    Gateway::start(&format!(
        "[upstreams.u]\ntargets = [\"{target}\"]\n{keys}\n[routes.p]\npath = \"/{{proxy+}}\"\nupstream = \"u\"\n"
    ))
}

/// A gateway that never tries again of its own accord, before a scripted server.
fn scripted(script: impl Fn(&mut Peer) + Send + Sync + 'static) -> (Gateway, H2Backend) {
    let backend = H2Backend::start(script);
    (before(&backend.addr().to_string(), "protocol = \"h2\"\nretries = 0"), backend)
}

#[test]
fn what_goaway_passes_over_goes_to_a_new_connection() {
    let (gateway, backend) = scripted(|peer| {
        if peer.index < 2 {
            // As a server does that is about to end: whatever comes now, it will not be served.
            let last = peer.request().unwrap().0;
            return peer.goaway(last - 1);
        }
        peer.serve();
    });
    // The first try and the one that is always allowed meet servers that leave.
    assert_eq!(gateway.get("/gone").status, 504);
    assert_eq!(gateway.get("/there").text(), "/there");
    assert_eq!(backend.requests(), 3);
}

#[test]
fn a_refused_request_is_sent_again_with_its_body() {
    let (gateway, backend) = scripted(|peer| {
        if peer.index == 0 {
            for last in [false, false, true] {
                let (id, _) = peer.request().unwrap();
                peer.h2.reset(id, REFUSED_STREAM);
                // On the same connection the server has room now.
                let (id, request) = peer.request().unwrap();
                if last {
                    // Before the answer: after it, the next request could cross this on its way.
                    peer.goaway(0x7fff_ffff);
                }
                peer.answer(id, &String::from_utf8(request.body).unwrap());
            }
            let (id, _) = peer.request().unwrap_or_default();
            assert_eq!(id, 0, "nothing new after GOAWAY");
        }
        peer.serve();
    });
    let mut conn = gateway.conn();
    assert_eq!(conn.call(&Call::post("/", "with a length")).text(), "with a length");
    assert_eq!(conn.call(&Call::new("POST", "/").chunked(&["in ", "chunks"], &[])).text(), "in chunks");
    assert_eq!(conn.call(&Call::post("/", "y".repeat(60_000))).text().len(), 60_000);
    assert_eq!(conn.call(&Call::post("/next", " body")).text(), "/next body");
    assert_eq!(backend.requests(), 7);
}

#[test]
fn what_may_have_been_looked_at_is_not_sent_again() {
    let (gateway, backend) = scripted(|peer| {
        let id = peer.head().unwrap();
        // Before anything else: after it, the next request could cross this on its way.
        peer.goaway(id);
        match peer.index {
            // Looked at, then given up.
            0 => peer.h2.reset(id, INTERNAL_ERROR),
            // Refused, but only after it has answered something.
            1 => {
                peer.interim(id, "103");
                peer.h2.reset(id, REFUSED_STREAM);
            }
            // Refused in the middle of an answer.
            2 => {
                peer.h2.send_frame(HEADERS, END_HEADERS, id, block(&[(":status", "200")]));
                peer.h2.data(id, b"part", false);
                peer.h2.reset(id, REFUSED_STREAM);
            }
            // A body that is too long to be kept.
            _ => {
                assert!(peer.h2.until(|h2, _| h2.answers.get(&id).is_some_and(|a| a.body.len() > 70_000)));
                peer.h2.reset(id, REFUSED_STREAM);
            }
        }
    });
    assert_eq!(gateway.call(&Call::post("/", "once")).status, 504);
    assert_eq!(gateway.get("/").status, 504);
    let mut conn = gateway.conn();
    conn.send(Call::get("/").bytes());
    assert!(conn.try_response("GET").is_err(), "an answer that breaks off");
    assert_eq!(gateway.call(&Call::post("/", "z".repeat(1_000_000))).status, 504);
    assert_eq!(backend.requests(), 4);
}

/// nginx over TLS, with HTTP/2 by ALPN: the protocol that it logs is the one that was spoken.
fn nginx(name: &str, h2: &str) -> Option<(Nginx, TempDir)> {
    let (ca, dir) = (Ca::new("authority"), TempDir::new());
    let (cert, key) = ca.leaf(&["localhost"]).write(dir.path(), "nginx");
    dir.file("ca.pem", &ca.pem());
    let server = format!(
        "ssl_certificate {};\nssl_certificate_key {};\nlocation / {{ return 200 \
         '$server_protocol $scheme $ssl_alpn_protocol $request_uri'; }}",
        cert.display(),
        key.display()
    );
    let nginx = Nginx::listening(&format!("ssl {h2}"), &server, &[]);
    if nginx.is_none() {
        sluice_harness::report_skip(name, "nginx is not installed");
    }
    Some((nginx?, dir))
}

fn to_nginx(nginx: &Nginx, dir: &TempDir, protocol: &str) -> Gateway {
    let ca = dir.path().join("ca.pem");
    let keys = format!("protocol = \"{protocol}\"\ntls_ca_file = \"{}\"", ca.display());
    before(&format!("https://localhost:{}", nginx.addr.port()), &keys)
}

#[test]
fn alpn_chooses_http2_where_nginx_speaks_it() {
    let name = "alpn_chooses_http2_where_nginx_speaks_it";
    let Some((nginx, dir)) = nginx(name, "http2") else { return };
    for (protocol, said) in
        [("h2", "HTTP/2.0 https h2"), ("auto", "HTTP/2.0 https h2"), ("http1", "HTTP/1.1 https ")]
    {
        let gateway = to_nginx(&nginx, &dir, protocol);
        for n in 0..50 {
            let answer = gateway.get(&format!("/{n}")).text();
            assert!(answer.starts_with(said) && answer.ends_with(&format!("/{n}")), "{protocol}: {answer}");
        }
        assert_eq!(connections(&gateway), 1.0, "{protocol}");
    }
}

#[test]
fn a_server_without_http2_is_spoken_to_in_http1_or_not_at_all() {
    let name = "a_server_without_http2_is_spoken_to_in_http1_or_not_at_all";
    let Some((nginx, dir)) = nginx(name, "") else { return };
    let gateway = to_nginx(&nginx, &dir, "auto");
    let mut conn = gateway.conn();
    for n in 0..20 {
        assert!(conn.get(&format!("/{n}")).text().starts_with("HTTP/1.1 https "));
    }
    assert_eq!(connections(&gateway), 1.0, "kept like any connection of HTTP/1");
    let strict = to_nginx(&nginx, &dir, "h2");
    let answer = strict.get("/");
    answer.assert_refusal(504, "Network error communicating with endpoint", "InternalServerErrorException");
    eventually("the reason in the log", || {
        strict.stdout().contains("\"error\":\"upstream_tls\"").then_some(())
    });
}

/// A server that has never heard of ALPN.
#[test]
fn without_alpn_http1_is_assumed_where_that_is_allowed() {
    let (ca, dir) = (Ca::new("authority"), TempDir::new());
    let backend = TlsBackend::start(&ca.leaf(&["localhost"]), None, b"by HTTP/1.1".to_vec());
    let ca = dir.file("ca.pem", &ca.pem());
    let url = format!("https://localhost:{}", backend.addr().port());
    let keys = |protocol: &str| format!("protocol = \"{protocol}\"\ntls_ca_file = \"{}\"", ca.display());
    let gateway = before(&url, &keys("auto"));
    let mut clients: Vec<_> = (0..20).map(|_| gateway.conn()).collect();
    for _ in 0..3 {
        clients.iter_mut().for_each(|client| client.send(Call::post("/", "a body").bytes()));
        for client in &mut clients {
            assert_eq!(client.response().text(), "by HTTP/1.1");
        }
    }
    assert_eq!(before(&url, &keys("h2")).get("/").status, 504);
}

#[test]
fn the_scheme_is_the_connections() {
    let (gateway, _backend) = scripted(|peer| {
        while let Some((id, request)) = peer.request() {
            peer.answer(id, find(&request.trailers, ":scheme").unwrap());
        }
    });
    assert_eq!(gateway.get("/").text(), "http");
}

fn connections(gateway: &Gateway) -> f64 {
    gateway.metrics().sum("sluice_upstream_connects_total", &[("upstream", "u")])
}

/// Requests all the time, with bodies and without, while the upstream is replaced again and again.
#[test]
fn an_upstream_that_restarts_loses_no_request() {
    let backend = Backend::start(|request| Reply::ok(request.body.clone()));
    let mut inner = Gateway::before(backend.addr());
    let outer = before(&inner.addr().to_string(), "protocol = \"h2\"");
    let (running, served) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    std::thread::scope(|scope| {
        for worker in 0..6 {
            let (running, served, outer) = (Arc::clone(&running), Arc::clone(&served), &outer);
            scope.spawn(move || {
                let mut conn = outer.conn();
                while running.load(Ordering::Relaxed) {
                    let body = if worker % 2 == 0 { "a body" } else { "" };
                    let method = if worker % 2 == 0 { "POST" } else { "GET" };
                    let answer = conn.call(&Call::new(method, "/").body(body));
                    assert_eq!((answer.status, answer.text().as_str()), (200, body));
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..3 {
            let (before, lines) = (served.load(Ordering::Relaxed), inner.stderr().len());
            eventually("requests", || (served.load(Ordering::Relaxed) > before + 100).then_some(()));
            inner.signal(Signal::USR2);
            inner.wait_for_successor(lines);
        }
        running.store(false, Ordering::Relaxed);
    });
    assert!(served.load(Ordering::Relaxed) > 300);
}

/// And one of two that ends for good.
#[test]
fn an_upstream_that_ends_loses_no_request() {
    let backend = Backend::start(|request| Reply::ok(request.body.clone()));
    let (mut leaves, stays) = (Gateway::before(backend.addr()), Gateway::before(backend.addr()));
    let outer = before(&format!("{}\", \"{}", leaves.addr(), stays.addr()), "protocol = \"h2\"");
    let mut conn = outer.conn();
    for n in 0..400 {
        if n == 100 {
            leaves.signal(Signal::TERM);
        }
        let answer = conn.call(&Call::post("/", "a body"));
        assert_eq!((answer.status, answer.text().as_str()), (200, "a body"), "{n}");
    }
    assert_eq!(leaves.wait_for_exit().code(), Some(0));
    assert_eq!(outer.get("/").status, 200);
}

#[test]
fn alpn_without_tls_is_refused_by_the_configuration() {
    let dir = TempDir::new();
    let text = "[upstreams.u]\ntargets = [\"127.0.0.1:1\"]\nprotocol = \"auto\"\n[routes.p]\npath = \"/\"\nupstream = \"u\"\n";
    let path = dir.file("gateway.toml", text);
    let output = Sluice::output(&["validate", path.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(":3:12: error: `protocol` \"auto\" expects TLS"), "{said}");
}
