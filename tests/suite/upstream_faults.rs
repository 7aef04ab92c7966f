//! Backends that fail: what the client is told, what is tried again, and what must never be.

use std::io;

use sluice_harness::{Backend, Call, Gateway, RefusingPort, Reply, Response, eventually};

#[track_caller]
fn assert_network_error(response: &Response) {
    response.assert_refusal(504, "Network error communicating with endpoint", "InternalServerErrorException");
}

#[track_caller]
fn assert_timed_out(response: &Response) {
    response.assert_refusal(504, "Endpoint request timed out", "InternalServerErrorException");
}

/// Whether a client can tell that its answer was cut short.
fn is_cut_off(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
}

fn with_upstream(target: &str, lines: &str) -> Gateway {
    Gateway::start(&format!(
        "[upstreams.u]\ntargets = [\"{target}\"]\n{lines}\n[routes.all]\npath = \"/{{proxy+}}\"\nupstream = \"u\"\n"
    ))
}

#[test]
fn a_refused_connection_is_504() {
    let nobody = RefusingPort::new();
    let gateway = Gateway::before(nobody.addr());
    let mut conn = gateway.conn();
    assert_network_error(&conn.get("/a"));
    assert_network_error(&conn.call(&Call::post("/a", "body")));
}

#[test]
fn answers_that_are_not_http_are_504() {
    for answer in [
        "garbage\r\n\r\n",
        "HTTP/1.1 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "",
    ] {
        let backend = Backend::start(move |_| Reply::raw(answer));
        let gateway = Gateway::before(backend.addr());
        let response = gateway.call(&Call::post("/a", "x"));
        assert_eq!(response.status, 504, "{answer:?} became {response:?}");
        assert_network_error(&response);
        assert_eq!(backend.hits(), 1, "{answer:?}: a POST is sent once");
    }
}

#[test]
fn an_answer_cut_short_is_never_made_to_look_whole() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nonly \r\n4\r\nth",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nonly \r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nonly \r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nonly \r\nxyz\r\n",
    ] {
        let backend = Backend::start(move |_| Reply::raw(answer));
        let gateway = Gateway::before(backend.addr());
        match gateway.conn().try_call(&Call::post("/a", "x")) {
            Ok(response) => assert_eq!(response.status, 504, "{answer:?} became {response:?}"),
            Err(e) => assert!(is_cut_off(&e), "{answer:?} left the client waiting: {e}"),
        }
    }
}

#[test]
fn a_silent_backend_times_out() {
    let backend = Backend::start(|_| Reply::raw("").then_hang());
    let gateway = with_upstream(&backend.addr().to_string(), "read_timeout_ms = 200");
    let mut conn = gateway.conn();
    assert_timed_out(&conn.get("/a"));
    assert_timed_out(&conn.call(&Call::post("/a", "x")));
    assert_eq!(backend.hits(), 2, "what timed out may have been done: it is not sent again");
    eventually("the timed-out connections to be closed", || (backend.open_connections() == 0).then_some(()));
}

#[test]
fn a_head_that_never_ends_hits_the_total_timeout() {
    let backend = Backend::wired(|wire| {
        wire.request()?;
        wire.send("HTTP/1.1 200 OK\r\n")?;
        loop {
            // Each line comes well within the read timeout.
            wire.send("X-Drip: 1\r\n")?;
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    });
    let gateway =
        with_upstream(&backend.addr().to_string(), "total_timeout_ms = 400\nread_timeout_ms = 10000");
    let response = gateway.call(&Call::post("/a", "x"));
    assert_eq!(response.status, 504, "{response:?}");
}

#[test]
fn the_timeout_of_a_route_wins() {
    let backend = Backend::start(|_| Reply::raw("").then_hang());
    let gateway = Gateway::start(&format!(
        "[routes.a]\npath = \"/a\"\nupstream = \"{}\"\ntotal_timeout_ms = 200\n",
        backend.addr()
    ));
    assert_timed_out(&gateway.get("/a"));
}

#[test]
fn a_body_that_stalls_ends_the_connection() {
    let backend = Backend::wired(|wire| {
        wire.request()?;
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")?;
        wire.hang();
        Ok(())
    });
    let gateway = with_upstream(&backend.addr().to_string(), "read_timeout_ms = 200");
    let error = gateway.conn().try_call(&Call::get("/a")).expect_err("half a body");
    assert!(
        is_cut_off(&error),
        "a stalled body must end in a truncation that the client can see, got {error}"
    );
}

/// A backend that serves one request on each connection well and drops the second one unanswered: what a keep-alive
/// timeout of the backend looks like when it races with our next request.
fn stale_after_one() -> Backend {
    Backend::wired(|wire| {
        let Some(request) = wire.request()? else { return Ok(()) };
        wire.reply(&request, &Reply::ok("served"))?;
        wire.request()?;
        wire.reset();
        Ok(())
    })
}

#[test]
fn idempotent_requests_are_retried_on_a_stale_connection() {
    let backend = stale_after_one();
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    assert_eq!(conn.get("/first").text(), "served");
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
        let response = conn.call(&Call::new(method, "/again"));
        assert_eq!(response.status, 200, "{method} must be retried on a fresh connection: {response:?}");
    }
}

#[test]
fn other_requests_are_not_sent_twice() {
    let backend = stale_after_one();
    let gateway = Gateway::before(backend.addr());
    assert_eq!(gateway.get("/first").text(), "served");
    for method in ["POST", "PATCH", "PURGE"] {
        assert_network_error(&gateway.call(&Call::new(method, "/once").body("pay 5")));
        // The next one goes out on a fresh connection and leaves it in the pool for the next method.
        assert_eq!(gateway.get("/next").text(), "served");
    }
    let once = backend.requests().iter().filter(|request| request.target == "/once").count();
    assert_eq!(once, 3, "each of the three methods exactly once");
}

#[test]
fn a_connection_closed_while_idle_is_not_used_even_for_posts() {
    let backend = Backend::start(|_| Reply::ok("served").then_close());
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    for n in 0..10 {
        let response = conn.call(&Call::post("/a", "x"));
        assert_eq!(response.text(), "served", "request {n}");
        eventually("the backend's connection to be gone", || (backend.open_connections() == 0).then_some(()));
    }
    assert_eq!(backend.hits(), 10);
}

/// Bytes that come with an answer but after its end belong to no request: they must not become the next client's answer.
#[test]
fn surplus_bytes_of_a_backend_are_not_the_next_answer() {
    for surplus in ["HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged", "x"] {
        let backend = Backend::wired(move |wire| {
            while wire.request()?.is_some() {
                wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue{surplus}"))?;
            }
            Ok(())
        });
        let gateway = Gateway::before(backend.addr());
        for _ in 0..20 {
            assert_eq!(gateway.get("/a").text(), "true");
        }
        assert_eq!(backend.connections(), 20, "a connection that is out of step is not used again");
    }
}

#[test]
fn failures_of_one_upstream_leave_the_others_alone() {
    let nobody = RefusingPort::new();
    let backend = Backend::start(|_| Reply::ok("well"));
    let gateway = Gateway::start(&format!(
        "[routes.bad]\npath = \"/bad\"\nupstream = \"{}\"\n[routes.good]\npath = \"/good\"\nupstream = \"{}\"\n",
        nobody.addr(),
        backend.addr()
    ));
    let mut conn = gateway.conn();
    for _ in 0..20 {
        assert_network_error(&conn.get("/bad"));
        assert_eq!(conn.get("/good").text(), "well");
    }
}

#[test]
fn a_connect_failure_moves_on_to_the_second_target() {
    let nobody = RefusingPort::new();
    let backend = Backend::start(|_| Reply::ok("second"));
    let gateway = Gateway::start(&format!(
        "[upstreams.u]\ntargets = [\"{}\", \"{}\"]\nmax_failures = 2\nfail_timeout_ms = 60000\n[routes.a]\npath = \"/a\"\nupstream = \"u\"\n",
        nobody.addr(),
        backend.addr()
    ));
    let mut conn = gateway.conn();
    for n in 0..50 {
        assert_eq!(conn.get("/a").text(), "second", "request {n}");
    }
    // A failed connect is known to have sent nothing, so a POST moves on as well.
    for n in 0..50 {
        assert_eq!(conn.call(&Call::post("/a", "x")).text(), "second", "POST {n}");
    }
}

#[test]
fn endless_heads_and_interim_responses_are_cut_off() {
    for endless in ["X-More: of the same\r\n", "\r\nHTTP/1.1 103 Early Hints\r\n"] {
        let backend = Backend::wired(move |wire| {
            wire.request()?;
            wire.send("HTTP/1.1 103 Early Hints\r\n")?;
            loop {
                wire.send(endless)?;
            }
        });
        let gateway = Gateway::before(backend.addr());
        let mut conn = gateway.conn();
        conn.send(Call::post("/a", "x").bytes());
        let response = conn.response();
        assert_network_error(&response);
        eventually("the upstream connection to be given up", || {
            (backend.open_connections() == 0).then_some(())
        });
    }
}

#[test]
fn large_response_heads_pass() {
    let backend = Backend::start(|_| {
        (0..60).fold(Reply::ok("ok"), |reply, n| {
            reply.header("Set-Cookie", &format!("c{n}={}", "v".repeat(900)))
        })
    });
    let gateway = Gateway::before(backend.addr());
    let response = gateway.get("/a");
    assert_eq!((response.status, response.head.all("set-cookie").len()), (200, 60));
}

/// A 204 with a length is malformed (RFC 9110 section 8.6); whatever is made of it, the next answer is the next one.
#[test]
fn a_no_content_with_a_length_does_not_shift_the_answers() {
    let backend = Backend::wired(|wire| {
        while let Some(request) = wire.request()? {
            wire.send(match request.target.as_str() {
                "/204" => "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nafter",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue",
            })?;
        }
        Ok(())
    });
    let gateway = Gateway::before(backend.addr());
    for _ in 0..5 {
        let status = gateway.get("/204").status;
        assert!(matches!(status, 204 | 504), "{status}");
        assert_eq!(gateway.get("/next").text(), "true");
    }
}
