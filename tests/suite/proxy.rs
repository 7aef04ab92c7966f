//! Forwarding of whole exchanges: methods, connections, and the headers that change on the way.

use std::sync::atomic::{AtomicUsize, Ordering};

use sluice_harness::{Backend, Call, Conn, Gateway, Reply, Request, skip};

fn describing() -> Backend {
    Backend::start(|request| Reply::ok(format!("{} {} {}", request.method, request.target, request.text())))
}

/// Field names that a request gains on its way, besides those of the client.
fn names(request: &Request) -> Vec<String> {
    request.head.fields.iter().map(|(name, _)| name.to_ascii_lowercase()).collect()
}

#[test]
fn methods_pass_with_and_without_a_body() {
    let backend = describing();
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    for method in ["GET", "DELETE", "OPTIONS", "PURGE", "REPORT"] {
        assert_eq!(conn.call(&Call::new(method, "/a")).text(), format!("{method} /a "));
    }
    for method in ["POST", "PUT", "PATCH", "DELETE", "GET"] {
        assert_eq!(conn.call(&Call::new(method, "/a").body("data")).text(), format!("{method} /a data"));
    }
    assert_eq!(conn.call(&Call::post("/a", "")).text(), "POST /a ");
    assert_eq!(
        backend.last_request().header("content-length"),
        Some("0"),
        "an empty POST says that it is empty"
    );
}

#[test]
fn head_has_headers_and_no_body() {
    let backend = describing();
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    let head = conn.call(&Call::new("HEAD", "/a"));
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("8"), 0));
    assert_eq!(conn.get("/b").text(), "GET /b ", "the connection must be in step after a HEAD");
}

#[test]
fn bodiless_statuses_pass() {
    let backend = Backend::start(|request| match request.target.as_str() {
        "/204" => Reply::empty(204),
        "/304" => Reply::empty(304).header("ETag", "\"1\""),
        _ => Reply::ok("after"),
    });
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    assert_eq!(conn.get("/204").status, 204);
    let not_modified = conn.call(&Call::get("/304").header("If-None-Match", "\"1\""));
    assert_eq!((not_modified.status, not_modified.header("etag")), (304, Some("\"1\"")));
    assert_eq!(conn.get("/x").text(), "after");
    assert_eq!(backend.connections(), 1, "a bodiless response must not cost the upstream connection");
}

#[test]
fn status_and_headers_of_the_backend_pass() {
    let backend = Backend::start(|_| {
        Reply::status(299, "odd")
            .header("X-Custom", "a  b")
            .header("Set-Cookie", "a=1")
            .header("Set-Cookie", "b=2")
            .header("X-Empty", "")
            .header("Server", "scripted")
    });
    let gateway = Gateway::before(backend.addr());
    let response = gateway.get("/a");
    assert_eq!((response.status, response.text().as_str()), (299, "odd"));
    assert_eq!(response.header("x-custom"), Some("a  b"));
    assert_eq!(response.head.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(response.header("x-empty"), Some(""));
    response.assert_request_id();
}

#[test]
fn headers_of_the_client_pass() {
    let backend = describing();
    let gateway = Gateway::before(backend.addr());
    let call = Call::get("/a")
        .header("Accept", "a/b;q=0.5, c/d")
        .header("Cookie", "x=1; y=2")
        .header("X-Multi", "one")
        .header("X-Multi", "two")
        .header("X-Bytes", "caf\u{e9}")
        .header("Authorization", "Bearer abc");
    gateway.call(&call);
    let seen = backend.only_request();
    assert_eq!(seen.header("accept"), Some("a/b;q=0.5, c/d"));
    assert_eq!(seen.header("cookie"), Some("x=1; y=2"));
    assert_eq!(seen.head.all("x-multi"), ["one", "two"]);
    assert_eq!(seen.header("authorization"), Some("Bearer abc"));
    assert!(
        seen.head.raw.windows(5).any(|window| window == "caf\u{e9}".as_bytes()),
        "obs-text bytes pass unchanged"
    );
    assert_eq!(seen.head.all("host").len(), 1);
}

#[test]
fn hop_by_hop_fields_stop_at_the_gateway() {
    let backend = Backend::start(|_| {
        Reply::ok("ok")
            .header("Connection", "keep-alive, X-Backend-Secret")
            .header("Keep-Alive", "timeout=7")
            .header("X-Backend-Secret", "1")
            .header("Proxy-Authenticate", "Basic")
            .header("X-End-To-End", "kept")
    });
    let gateway = Gateway::before(backend.addr());
    let call = Call::get("/a")
        .header("Connection", "keep-alive , x-SECRET,,X-Other")
        .header("X-Secret", "1")
        .header("X-Other", "2")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Connection", "keep-alive")
        .header("TE", "trailers, deflate")
        .header("X-Kept", "yes");
    let response = gateway.call(&call);
    let seen = backend.only_request();
    for gone in ["x-secret", "x-other", "keep-alive", "proxy-connection"] {
        assert!(!seen.has(gone), "{gone} must not be forwarded: {:?}", names(&seen));
    }
    assert!(!seen.header("te").unwrap_or("").contains("deflate"));
    assert!(!seen.header("connection").unwrap_or("").to_ascii_lowercase().contains("secret"));
    assert_eq!(seen.header("x-kept"), Some("yes"));
    assert!(!response.has("x-backend-secret") && !response.has("keep-alive"), "{response:?}");
    assert_eq!(response.header("x-end-to-end"), Some("kept"));
}

/// Naming a framing or routing header in `Connection` must not strip what the gateway itself relies on.
#[test]
fn connection_cannot_name_away_framing_or_host() {
    let backend = describing();
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    let call = Call::post("/a", "data").header("Connection", "content-length, host, x-forwarded-for");
    let response = conn.call(&call);
    if response.status == 200 {
        let seen = backend.only_request();
        assert_eq!(response.text(), "POST /a data");
        assert_eq!(seen.head.all("host").len(), 1);
        assert!(seen.header("x-forwarded-for").is_some_and(|v| v.ends_with("127.0.0.1")), "{:?}", seen.head);
    } else {
        assert_eq!((response.status, backend.hits()), (400, 0));
    }
}

#[test]
fn x_forwarded_headers_name_the_client() {
    let backend = describing();
    let gateway = Gateway::before(backend.addr());
    gateway.call(&Call::get("/a").host("api.example.com"));
    let seen = backend.last_request();
    assert_eq!(seen.head.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("api.example.com"));
    assert!(!seen.has("forwarded") && !seen.has("via"));

    gateway
        .call(&Call::get("/a").header("X-Forwarded-For", "192.0.2.7").header("X-Forwarded-Proto", "https"));
    let seen = backend.last_request();
    let chain = seen.head.all("x-forwarded-for").join(", ");
    assert_eq!(chain, "192.0.2.7, 127.0.0.1", "the client's claim stays, our observation comes last");
    assert_eq!(seen.head.all("x-forwarded-proto").len(), 1);
}

#[test]
fn forwarded_and_via_are_there_when_asked_for() {
    let backend = Backend::start(|_| Reply::ok("ok").header("Via", "1.1 inner"));
    let gateway = Gateway::builder()
        .server("forwarded = \"forwarded\"\nvia = true")
        .start(&format!("[routes.a]\npath = \"/a\"\nupstream = \"{}\"\n", backend.addr()));
    let response = gateway.call(&Call::get("/a").host("api.example.com").header("Via", "1.0 fred"));
    let seen = backend.last_request();
    let forwarded = seen.header("forwarded").expect("Forwarded").to_ascii_lowercase();
    assert!(forwarded.contains("for=127.0.0.1") || forwarded.contains("for=\"127.0.0.1"), "{forwarded}");
    assert!(forwarded.contains("proto=http"), "{forwarded}");
    assert!(!seen.has("x-forwarded-for"));
    let via = seen.head.all("via").join(", ");
    assert!(via.starts_with("1.0 fred, 1.1 "), "{via}");
    let via = response.head.all("via").join(", ");
    assert!(via.starts_with("1.1 inner, 1.1 "), "{via}");
}

#[test]
fn forwarding_headers_can_be_off_or_both() {
    let backend = describing();
    for (mode, x_forwarded, forwarded) in [("off", false, false), ("both", true, true)] {
        let gateway = Gateway::builder()
            .server(&format!("forwarded = \"{mode}\""))
            .start(&format!("[routes.a]\npath = \"/a\"\nupstream = \"{}\"\n", backend.addr()));
        gateway.get("/a");
        let seen = backend.last_request();
        assert_eq!((seen.has("x-forwarded-for"), seen.has("forwarded")), (x_forwarded, forwarded), "{mode}");
    }
}

#[test]
fn the_upstream_connection_is_reused() {
    let backend = describing();
    let gateway = Gateway::before(backend.addr());
    for _ in 0..20 {
        assert_eq!(gateway.get("/a").status, 200);
    }
    assert_eq!(backend.connections(), 1, "twenty client connections in turn need one upstream connection");
}

#[test]
fn the_client_connection_is_reused() {
    let backend = describing();
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    for n in 0..50 {
        assert_eq!(conn.get(&format!("/{n}")).text(), format!("GET /{n} "));
    }
}

#[test]
fn connection_close_of_the_client_is_honoured() {
    let backend = describing();
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    let response = conn.call(&Call::get("/a").header("Connection", "close"));
    assert_eq!(response.status, 200);
    assert!(response.says_close());
    conn.assert_closed();
    assert_eq!(gateway.get("/b").status, 200);
    assert_eq!(backend.connections(), 1, "the client's close is not the upstream connection's");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let backend = describing();
    let gateway = Gateway::start(&format!(
        "[routes.slow]\npath = \"/p/{{id}}\"\nupstream = \"{}\"\n[routes.fast]\npath = \"/mock\"\nmock_body = \"mock\"\n",
        backend.addr()
    ));
    let mut conn = gateway.conn();
    let mut burst = Vec::new();
    for n in 0..40 {
        burst.extend(match n % 4 {
            0 => Call::get(&format!("/p/{n}")).bytes(),
            1 => Call::get("/mock").bytes(),
            2 => Call::post(&format!("/p/{n}"), format!("body {n}")).bytes(),
            _ => Call::new("PUT", &format!("/p/{n}")).chunked(&["chunk ", "two"], &[]).bytes(),
        });
    }
    conn.send(burst);
    for n in 0..40 {
        let expected = match n % 4 {
            0 => format!("GET /p/{n} "),
            1 => "mock".to_owned(),
            2 => format!("POST /p/{n} body {n}"),
            _ => format!("PUT /p/{n} chunk two"),
        };
        assert_eq!(conn.response().text(), expected);
    }
}

#[test]
fn requests_in_any_pieces_are_the_same_requests() {
    let backend = describing();
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    let mut burst = Call::post("/a", "sized").bytes();
    burst.extend(Call::new("PUT", "/b").chunked(&["chu", "nked"], &[("X-T", "1")]).bytes());
    burst.extend(Call::get("/c").bytes());
    for size in [1, 2, 3, 7, 16, 61] {
        for piece in burst.chunks(size) {
            conn.send(piece);
        }
        assert_eq!(conn.response().text(), "POST /a sized", "pieces of {size}");
        assert_eq!(conn.response().text(), "PUT /b chunked", "pieces of {size}");
        assert_eq!(conn.response().text(), "GET /c ", "pieces of {size}");
    }
}

#[test]
fn http_1_0_clients_are_served_in_their_own_way() {
    let backend = Backend::start(|_| Reply::chunked(&["chunked ", "answer"], &[("X-Trailer", "1")]));
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    conn.send("GET /a HTTP/1.0\r\nHost: old.test\r\n\r\n");
    let response = conn.response();
    assert!(!response.has("transfer-encoding"), "HTTP/1.0 knows no chunks: {response:?}");
    assert_eq!((response.status, response.text().as_str()), (200, "chunked answer"));
    assert_eq!(backend.only_request().version, "HTTP/1.1");

    // Without Host, which HTTP/1.0 does not ask for.
    let mut conn = gateway.conn();
    conn.send("GET /a HTTP/1.0\r\n\r\n");
    assert_eq!(conn.response().status, 200);
    conn.assert_closed();
}

#[test]
fn http_1_0_keep_alive_is_honoured_for_sized_answers() {
    let backend = describing();
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    conn.send("GET /a HTTP/1.0\r\nHost: old.test\r\nConnection: keep-alive\r\n\r\n");
    let first = conn.response();
    assert_eq!(first.text(), "GET /a ");
    if first.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("keep-alive")) {
        conn.send("GET /b HTTP/1.0\r\nHost: old.test\r\n\r\n");
        assert_eq!(conn.response().text(), "GET /b ");
    }
    conn.assert_closed();
}

#[test]
fn connect_is_never_forwarded() {
    let backend = describing();
    let gateway = Gateway::before(backend.addr());
    for target in ["other.test:443", "/a", "http://other.test/"] {
        let mut conn = gateway.conn();
        conn.send(format!("CONNECT {target} HTTP/1.1\r\nHost: other.test:443\r\n\r\n"));
        let response = conn.response();
        assert!(matches!(response.status, 400 | 404 | 405 | 501), "{target}: {response:?}");
    }
    assert_eq!(backend.hits(), 0);
}

#[test]
fn an_upgrade_is_refused_cleanly() {
    let backend = describing();
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    let call = Call::get("/ws")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    let response = conn.call(&call);
    assert_ne!(response.status, 101);
    assert!(backend.requests().iter().all(|request| !request.has("upgrade")), "Upgrade must not pass");
    if !response.says_close() {
        assert_eq!(conn.get("/after").status, 200);
    }
}

#[test]
fn a_backend_that_switches_protocols_unasked_is_an_error() {
    let backend = Backend::start(|_| {
        Reply::raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nraw")
    });
    let gateway = Gateway::before(backend.addr());
    let response = gateway.get("/a");
    response.assert_refusal(504, "Network error communicating with endpoint", "InternalServerErrorException");
}

#[test]
fn request_ids_are_unique() {
    let gateway = Gateway::start("[routes.a]\npath = \"/a\"\nmock_body = \"a\"\n");
    let mut conn = gateway.conn();
    let mut ids: Vec<String> =
        (0..200).map(|_| conn.get("/a").header("x-amzn-requestid").unwrap().to_owned()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 200);
}

#[test]
fn weights_and_targets_share_the_load() {
    let counts = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let (one, two) = (Backend::start(|_| Reply::ok("one")), Backend::start(|_| Reply::ok("two")));
    let gateway = Gateway::start(&format!(
        "[upstreams.u]\ntargets = [\"{}\", \"{} weight=3\"]\n[routes.a]\npath = \"/a\"\nupstream = \"u\"\n",
        one.addr(),
        two.addr()
    ));
    let mut conn = gateway.conn();
    for _ in 0..400 {
        let which = usize::from(conn.get("/a").text() == "two");
        counts[which].fetch_add(1, Ordering::SeqCst);
    }
    let first = counts[0].load(Ordering::SeqCst);
    assert!((60..=140).contains(&first), "a quarter of 400 expected for weight 1 of 4, got {first}");
}

#[test]
fn ipv6_on_both_sides() {
    let loopback = std::net::SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0));
    if let Err(e) = std::net::TcpListener::bind(loopback) {
        skip!("ipv6_on_both_sides", "no IPv6 loopback: {e}");
    }
    let backend = Backend::start_at(loopback, |_| Reply::ok("six"));
    for (mode, header, expected) in
        [("x-forwarded", "x-forwarded-for", "::1"), ("forwarded", "forwarded", "for=\"[::1]\"")]
    {
        let gateway = Gateway::builder()
            .server(&format!("listen = [\"[::1]:0\"]\nforwarded = \"{mode}\""))
            .start(&format!("[routes.a]\npath = \"/a\"\nupstream = \"{}\"\n", backend.addr()));
        assert!(gateway.addr().is_ipv6());
        assert_eq!(Conn::open(gateway.addr()).get("/a").text(), "six");
        let seen = backend.last_request();
        assert!(seen.header(header).is_some_and(|v| v.starts_with(expected)), "{mode}: {:?}", seen.head);
    }
}

/// `localhost` may have an address that nobody listens on; the request goes to the other one.
#[test]
fn targets_by_name_are_resolved() {
    let backend = Backend::start(|_| Reply::ok("by name"));
    let gateway = Gateway::start(&format!(
        "[upstreams.u]\ntargets = [\"localhost:{}\"]\n[routes.a]\npath = \"/a\"\nupstream = \"u\"\n",
        backend.addr().port()
    ));
    for _ in 0..10 {
        assert_eq!(gateway.get("/a").text(), "by name");
    }
}

#[test]
fn several_listeners_serve_the_same_routes() {
    let gateway = Gateway::builder()
        .server("listen = [\"127.0.0.1:0\", \"127.0.0.2:0\"]\ncores = 2")
        .start("[routes.a]\npath = \"/a\"\nmock_body = \"a\"\n");
    let listeners: Vec<std::net::SocketAddr> = gateway
        .stderr()
        .iter()
        .filter_map(|line| line.strip_prefix("sluice: data listener http://")?.parse().ok())
        .collect();
    assert_eq!(listeners.len(), 2);
    for listener in listeners {
        assert_eq!(Conn::open(listener).get("/a").text(), "a");
    }
}
