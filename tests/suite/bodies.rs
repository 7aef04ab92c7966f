//! Bodies of every framing, both ways, and what may come around them: trailers, interim responses, early answers.

use std::sync::Arc;
use std::time::Duration;

use sluice_harness::{Backend, Call, Gate, Gateway, Reply, eventually, eventually_within};

fn echo() -> Backend {
    Backend::start(|request| {
        let trailers: Vec<(&str, &str)> =
            request.trailers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let text = request.text();
        if trailers.is_empty() { Reply::ok(text) } else { Reply::chunked(&[&text], &trailers) }
    })
}

#[test]
fn sized_bodies_pass_whole() {
    let backend = echo();
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    for size in [1, 1000, 4095, 4096, 4097, 16_384, 65_537, 1_000_003] {
        let body: Vec<u8> = (0..size).map(|n| b'a' + (n % 23) as u8).collect();
        let response = conn.call(&Call::post("/a", body.clone()));
        assert_eq!(response.header("content-length"), Some(size.to_string().as_str()));
        assert!(response.body == body, "{size} bytes");
        assert_eq!(backend.last_request().header("content-length"), Some(size.to_string().as_str()));
    }
}

#[test]
fn chunked_requests_pass_whole_with_their_trailers() {
    let backend = echo();
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    let big = "x".repeat(70_000);
    let call =
        Call::post("/a", "").chunked(&["a", "bc", &big, "d"], &[("X-Checksum", "42"), ("X-Second", "b")]);
    let response = conn.call(&call.header("Trailer", "X-Checksum, X-Second").header("TE", "trailers"));
    let seen = backend.only_request();
    assert_eq!(seen.header("transfer-encoding"), Some("chunked"));
    assert!(!seen.has("content-length"));
    assert_eq!(
        seen.trailers,
        [("X-Checksum".to_owned(), "42".to_owned()), ("X-Second".to_owned(), "b".to_owned())]
    );
    assert_eq!(response.text(), format!("abc{big}d"));
    assert_eq!(response.trailers, seen.trailers, "trailers of the response pass too");
}

#[test]
fn trailers_cannot_smuggle_framing_or_routing_fields() {
    let backend = echo();
    let gateway = Gateway::before(backend.addr());
    for field in ["Content-Length: 3", "Transfer-Encoding: chunked", "Host: evil.test", "Connection: close"] {
        let mut conn = gateway.conn();
        conn.send(format!(
            "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n{field}\r\nX-Ok: 1\r\n\r\n"
        ));
        // Refused or dropped; passed on is the one wrong answer.
        let _ = conn.try_response("POST");
        let name = field.split(':').next().unwrap();
        for request in backend.requests() {
            assert!(
                !request.trailers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name)),
                "{field} was passed on"
            );
        }
    }
}

#[test]
fn chunked_responses_pass_whole() {
    let backend = Backend::start(|_| Reply::chunked(&["one", "", "two", "three"], &[]));
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    for _ in 0..3 {
        let response = conn.get("/a");
        assert_eq!(response.header("transfer-encoding"), Some("chunked"));
        assert_eq!(response.text(), "onetwothree");
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn close_delimited_responses_pass_whole_and_the_client_connection_survives() {
    let backend = Backend::start(|_| Reply::until_close("z".repeat(100_000)));
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    for _ in 0..2 {
        let response = conn.get("/a");
        assert_eq!(response.body.len(), 100_000);
        assert!(!response.says_close(), "the backend's close is not the client's: {:?}", response.head);
    }
    assert_eq!(backend.connections(), 2);
}

/// The first piece of a body arrives before the last one was sent: bodies are streamed, not collected.
#[test]
fn responses_are_streamed() {
    let gate = Arc::new(Gate::new());
    let held = Arc::clone(&gate);
    let backend = Backend::wired(move |wire| {
        wire.request()?;
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")?;
        held.wait();
        wire.send("4\r\nlast\r\n0\r\n\r\n")
    });
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    conn.send(Call::get("/a").bytes());
    let mut seen = String::new();
    while !seen.contains("first") {
        assert!(conn.reader().fill().unwrap());
        seen = String::from_utf8_lossy(conn.reader().pending()).into_owned();
    }
    assert!(!seen.contains("last"));
    gate.open();
    assert_eq!(conn.response().text(), "firstlast");
}

#[test]
fn requests_are_streamed() {
    let backend = Backend::wired(|wire| {
        let request = wire.request_head()?.unwrap();
        // Answers only when the first piece is here, while the client still holds the second.
        while wire.reader().pending().len() < 5 {
            wire.reader().fill()?;
        }
        assert_eq!(request.header("content-length"), Some("10"));
        wire.send("HTTP/1.1 103 Early Hints\r\nX-Seen: first\r\n\r\n")?;
        while wire.reader().pending().len() < 10 {
            wire.reader().fill()?;
        }
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    });
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    conn.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nfirst");
    eventually("the request at the backend before its body is complete", || {
        (backend.hits() == 1).then_some(())
    });
    conn.send("-last");
    let response = conn.response();
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
}

#[test]
fn expect_continue_is_answered_before_the_body() {
    let backend = echo();
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    for body in ["eins", "zwei"] {
        conn.send("POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
        let interim = conn.reader().head().unwrap().unwrap();
        assert!(interim.start_line.starts_with("HTTP/1.1 100"), "{interim:?}");
        conn.send(body);
        let response = conn.response();
        assert_eq!((response.status, response.text().as_str(), response.interim.len()), (200, body, 0));
    }
}

#[test]
fn expect_continue_is_not_answered_for_a_refused_request() {
    let gateway = Gateway::start("[routes.a]\npath = \"/a\"\nmock_body = \"a\"\n");
    let mut conn = gateway.conn();
    conn.send("POST /none HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    let response = conn.response();
    assert_eq!((response.status, response.interim.len()), (404, 0));
}

#[test]
fn an_unknown_expectation_is_not_silently_accepted() {
    let backend = echo();
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    conn.send("POST /a HTTP/1.1\r\nHost: x\r\nExpect: teapot\r\nContent-Length: 4\r\n\r\nbody");
    // RFC 9110 section 10.1.1 allows 417, and allows to ignore it; the connection must stay in step either way.
    let response = conn.response();
    assert!(matches!(response.status, 200 | 400 | 417), "{response:?}");
}

#[test]
fn interim_responses_do_not_end_the_exchange() {
    let backend = Backend::wired(|wire| {
        while wire.request()?.is_some() {
            wire.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\n")?;
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfinal")?;
        }
        Ok(())
    });
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    for _ in 0..3 {
        let response = conn.get("/a");
        assert_eq!((response.status, response.text().as_str()), (200, "final"));
    }
    // HTTP/1.0 clients must never see an interim response (RFC 9110 section 15.2).
    let mut old = gateway.conn();
    old.send("GET /a HTTP/1.0\r\nHost: x\r\n\r\n");
    let response = old.response();
    assert_eq!((response.status, response.interim.len()), (200, 0));
}

#[test]
fn an_answer_before_the_end_of_the_upload_reaches_the_client() {
    let backend = Backend::wired(|wire| {
        wire.request_head()?;
        wire.send("HTTP/1.1 403 No\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly")?;
        wire.closed_by_peer();
        Ok(())
    });
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    conn.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\npartial");
    let response = conn.response();
    assert_eq!((response.status, response.text().as_str()), (403, "early"));
}

#[test]
fn a_client_that_leaves_mid_upload_is_noticed_by_the_backend() {
    let gate = Arc::new(Gate::new());
    let seen = Arc::clone(&gate);
    let backend = Backend::wired(move |wire| {
        wire.request_head()?;
        let whole = wire.reader().body(sluice_harness::http::Framing::Length(1000), &mut |_| ());
        assert!(whole.is_err(), "an abandoned upload must not look complete");
        seen.open();
        Ok(())
    });
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    conn.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\npartial");
    eventually("the request at the backend", || (backend.hits() == 1).then_some(()));
    conn.reset();
    gate.wait();
    eventually("the upstream connection to be given up", || (backend.open_connections() == 0).then_some(()));
}

/// A client that resets while its answer streams must free the upstream connection, however long the answer is.
#[test]
fn a_client_that_leaves_mid_download_frees_the_upstream_connection() {
    for framing in ["Transfer-Encoding: chunked", "Content-Length: 100000000000"] {
        let backend = Backend::wired(move |wire| {
            wire.request()?;
            wire.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"))?;
            // With chunks, each is one; without, it is a piece of the body like any other.
            let piece = format!("{:x}\r\n{}\r\n", 65_536, "y".repeat(65_536));
            loop {
                wire.send(&piece)?;
            }
        });
        let gateway = Gateway::before(backend.addr());
        for _ in 0..20 {
            let mut conn = gateway.conn();
            conn.send(Call::get("/a").bytes());
            assert!(conn.reader().fill().unwrap());
            conn.reset();
            eventually_within(Duration::from_secs(10), "the upstream connection to be given up", || {
                (backend.open_connections() == 0).then_some(())
            });
        }
    }
}

/// The answer to a refused upload must reach a client that writes everything before it reads.
#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let gateway = Gateway::start("[routes.a]\npath = \"/a\"\nmock_body = \"a\"\n");
    for size in [1000, 300_000, 3_000_000] {
        for _ in 0..5 {
            let mut conn = gateway.conn();
            let _ = conn.try_send(Call::post("/nowhere", vec![b'x'; size]).bytes());
            let response = conn.try_response("POST");
            assert!(response.as_ref().is_ok_and(|r| r.status == 404), "{size} bytes: {response:?}");
        }
    }
}

/// What HEAD, 204 and 304 say of a body is about another response: none follows.
#[test]
fn declared_bodies_that_do_not_follow_leave_the_connections_in_step() {
    let backend = Backend::wired(|wire| {
        while let Some(request) = wire.request()? {
            wire.send(match (request.method.as_str(), request.target.as_str()) {
                ("HEAD", "/chunked") => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                ("HEAD", _) => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
                (_, "/304") => "HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nafter",
            })?;
        }
        Ok(())
    });
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    for (method, target, status) in [("HEAD", "/chunked", 200), ("HEAD", "/sized", 200), ("GET", "/304", 304)]
    {
        let response = conn.call(&Call::new(method, target));
        assert_eq!((response.status, response.body.len()), (status, 0), "{method} {target}");
        assert_eq!(conn.get("/next").text(), "after", "after {method} {target}");
    }
    assert_eq!(conn.call(&Call::new("HEAD", "/sized")).header("content-length"), Some("1234"));
}

#[test]
fn an_early_answer_to_expect_continue_is_passed_on() {
    let backend = Backend::wired(|wire| {
        wire.request_head()?;
        wire.send("HTTP/1.1 401 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")?;
        wire.closed_by_peer();
        Ok(())
    });
    let gateway = Gateway::before(backend.addr());
    let mut conn = gateway.conn();
    conn.send("POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4000000\r\n\r\n");
    let response = conn.response();
    assert_eq!((response.status, response.text().as_str()), (401, "no"));
    assert!(response.interim.len() <= 1);
}
