//! Answers that take their time: Server-Sent Events, chunked streams, long and large bodies, and HTTP/1.0 clients, for whom
//! the end of a body is the end of the connection.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};

use sluice_harness::{Backend, Call, Gateway, Pattern, Reply, skip, tool};

fn config(backend: &Backend, lines: &str) -> String {
    format!(
        "[routes.all]\npath = \"/{{proxy+}}\"\nupstream = \"group\"\n[upstreams.group]\ntargets = [\"{}\"]\n{lines}\n",
        backend.addr()
    )
}

/// Each event is sent only once the client has told that it has the one before: one that was held back would stop both.
#[test]
fn each_event_arrives_before_the_next_is_sent() {
    for head in [
        "Content-Type: text/event-stream\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Content-Type: text/event-stream\r\nConnection: close\r\n\r\n",
    ] {
        let (arrived, wait) = mpsc::channel::<usize>();
        let wait = Mutex::new(wait);
        let chunked = head.contains("chunked");
        let backend = Backend::wired(move |wire| {
            wire.request()?;
            wire.send(format!("HTTP/1.1 200 OK\r\n{head}"))?;
            for n in 0..20 {
                let event = format!("id: {n}\ndata: event {n}\n\n");
                wire.send(if chunked { format!("{:x}\r\n{event}\r\n", event.len()) } else { event })?;
                assert_eq!(wait.lock().unwrap().recv().unwrap(), n);
            }
            if chunked {
                wire.send("0\r\n\r\n")?;
            }
            wire.finish()
        });
        let gateway = Gateway::before(backend.addr());
        let mut conn = gateway.conn();
        conn.send(Call::get("/events").bytes());
        let head = conn.reader().head().unwrap().unwrap();
        assert_eq!(head.get("transfer-encoding"), Some("chunked"));
        for n in 0..20 {
            let event = format!("data: event {n}\n\n");
            while !String::from_utf8_lossy(conn.reader().pending()).contains(&event) {
                assert!(conn.reader().fill().unwrap(), "the stream ended before event {n}");
            }
            arrived.send(n).unwrap();
        }
        while !conn.reader().pending().ends_with(b"\r\n0\r\n\r\n") {
            assert!(conn.reader().fill().unwrap());
        }
    }
}

#[test]
fn curl_sees_events_as_they_come() {
    let Some(curl) = tool("curl") else { skip!("curl_sees_events_as_they_come", "curl is not installed") };
    let (arrived, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::wired(move |wire| {
        wire.request()?;
        wire.send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        )?;
        for n in 0..5 {
            let event = format!("data: {n}\n");
            wire.send(format!("{:x}\r\n{event}\r\n", event.len()))?;
            wait.lock().unwrap().recv().unwrap();
        }
        wire.send("0\r\n\r\n")
    });
    let gateway = Gateway::before(backend.addr());
    let url = format!("http://{}/events", gateway.addr());
    let mut child =
        Command::new(curl).args(["--no-buffer", "--silent", &url]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for n in 0..5 {
        assert_eq!(lines.next().unwrap().unwrap(), format!("data: {n}"));
        arrived.send(()).unwrap();
    }
    assert!(lines.next().is_none() && child.wait().unwrap().success());
}

/// AWS ends an integration after 29 s and a body after 10 MB. Here the first counts until the head, and both may be raised
/// by the route; scaled down, so that it takes a second.
#[test]
fn streams_may_last_longer_than_the_time_for_the_head_and_routes_may_wait_longer() {
    let turns = Arc::new(Mutex::new(mpsc::channel::<()>().1));
    let held = Arc::clone(&turns);
    let backend = Backend::wired(move |wire| {
        while let Some(request) = wire.request()? {
            match request.target.as_str() {
                "/late" | "/patient" => {
                    std::thread::sleep(std::time::Duration::from_millis(700));
                    wire.reply(&request, &Reply::ok("late"))?;
                }
                _ => {
                    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                    for _ in 0..8 {
                        // Longer than the time for the head in all, shorter than that between two reads each.
                        let _ = held.lock().unwrap().recv_timeout(std::time::Duration::from_millis(100));
                        std::thread::sleep(std::time::Duration::from_millis(100));
                        wire.send("1\r\nx\r\n")?;
                    }
                    wire.send("0\r\n\r\n")?;
                }
            }
        }
        Ok(())
    });
    let lines = "read_timeout_ms = 10000\ntotal_timeout_ms = 400\n[routes.patient]\npath = \"/patient\"\n\
                 upstream = \"group\"\ntotal_timeout_ms = 20000";
    let gateway = Gateway::start(&config(&backend, lines));
    assert_eq!(gateway.get("/stream").text(), "xxxxxxxx");
    assert_eq!(gateway.get("/late").status, 504);
    assert_eq!(gateway.get("/patient").text(), "late");
}

#[test]
fn bodies_over_10_mb_pass_both_ways_where_the_route_allows_it() {
    const LEN: usize = 24 << 20;
    let backend = Backend::wired(|wire| {
        let Some(request) = wire.request()? else { return Ok(()) };
        let mut pattern = Pattern::new();
        pattern.check(&request.body);
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LEN}\r\n\r\n"))?;
        let mut stream = wire.clone_stream()?;
        Pattern::new().write(&mut stream, LEN)
    });
    let config = format!(
        "[routes.big]\npath = \"/big\"\nupstream = \"{0}\"\nbody_max_bytes = 0\n[routes.all]\npath = \"/{{proxy+}}\"\n\
         upstream = \"{0}\"\n",
        backend.addr()
    );
    let gateway = Gateway::start(&config);
    let mut body = Vec::with_capacity(LEN);
    Pattern::new().write(&mut body, LEN).unwrap();
    let response = gateway.call(&Call::post("/big", body.clone()));
    assert_eq!((response.status, response.body.len()), (200, LEN));
    Pattern::new().check(&response.body);
    let mut conn = gateway.conn();
    // The body is refused by its announced length: not a byte of it needs to be sent.
    conn.send(format!("POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: {LEN}\r\n\r\n"));
    assert_eq!(conn.response().status, 413);
}

fn answers() -> Backend {
    Backend::start(|request| match request.target.as_str() {
        "/chunked" => Reply::chunked(&["one ", "two"], &[("X-Sum", "1")]),
        "/closed" => Reply::until_close("until the end"),
        _ => Reply::ok("sized"),
    })
}

#[test]
fn http_1_0_clients_get_what_they_understand() {
    let backend = answers();
    let gateway = Gateway::before(backend.addr());
    // Without Host and without keep-alive: answered and closed.
    for (target, body) in [("/chunked", "one two"), ("/closed", "until the end"), ("/sized", "sized")] {
        let mut conn = gateway.conn();
        conn.send(format!("GET {target} HTTP/1.0\r\n\r\n"));
        let head = conn.reader().head().unwrap().unwrap();
        assert!(head.start_line.starts_with("HTTP/1.1 200 "), "{head:?}");
        assert!(!head.has("transfer-encoding") && !head.has("trailer"), "{target}: {head:?}");
        assert_eq!(head.get("connection"), Some("close"), "{target}");
        while conn.reader().fill().unwrap() {}
        assert_eq!(String::from_utf8_lossy(conn.reader().pending()), body, "{target}");
        let seen = backend.last_request();
        assert!(seen.head.start_line.ends_with("HTTP/1.1") && seen.has("host"));
    }
    // Asked to keep the connection, it is kept where the body says its length, and said so.
    let mut conn = gateway.conn();
    for _ in 0..2 {
        conn.send("GET /sized HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let response = conn.response();
        assert_eq!((response.text().as_str(), response.header("connection")), ("sized", Some("keep-alive")));
    }
    conn.send("GET /chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let head = conn.reader().head().unwrap().unwrap();
    assert_eq!((head.get("connection"), head.has("transfer-encoding")), (Some("close"), false));
    while conn.reader().fill().unwrap() {}
    assert_eq!(conn.reader().pending(), b"one two");
    // No interim response for HTTP/1.0, and no chunked request from it.
    let mut conn = gateway.conn();
    conn.send("POST /sized HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab");
    let response = conn.response();
    assert_eq!((response.status, response.interim.len()), (200, 0));
    let mut conn = gateway.conn();
    conn.send("POST /sized HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_eq!(conn.response().status, 400);
}

#[test]
fn real_http_1_0_clients_are_served() {
    let backend = answers();
    let gateway = Gateway::before(backend.addr());
    match tool("curl") {
        Some(curl) => {
            for (target, body) in [("chunked", "one two"), ("closed", "until the end"), ("sized", "sized")] {
                let url = format!("http://{}/{target}", gateway.addr());
                let output = Command::new(&curl).args(["--http1.0", "--silent", &url]).output().unwrap();
                assert!(output.status.success());
                assert_eq!(String::from_utf8_lossy(&output.stdout), body);
            }
        }
        None => sluice_harness::report_skip("real_http_1_0_clients_are_served", "curl is not installed"),
    }
    let Some(ab) = tool("ab") else {
        skip!("real_http_1_0_clients_are_served", "ab (apache2-utils) is not installed");
    };
    for (options, target) in [(&["-k"][..], "sized"), (&[], "sized"), (&["-k"], "chunked")] {
        let url = format!("http://{}/{target}", gateway.addr());
        let output =
            Command::new(&ab).args(["-q", "-n", "200", "-c", "8"]).args(options).arg(&url).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        let figure = |name: &str| {
            let line = said.lines().find(|line| line.starts_with(name)).unwrap_or("0");
            line.split_ascii_whitespace().last().unwrap().parse::<u64>().unwrap_or(0)
        };
        assert_eq!((figure("Complete requests:"), figure("Failed requests:")), (200, 0), "{said}");
        assert_eq!(figure("Non-2xx responses:"), 0, "{said}");
        if options.contains(&"-k") && target == "sized" {
            assert_eq!(figure("Keep-Alive requests:"), 200, "{said}");
        }
    }
}
