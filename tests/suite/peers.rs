//! The gateway among real programs: nginx behind it and beside it, curl and wrk in front of it.

use std::process::{Command, Stdio};

use sluice_harness::{Backend, Call, Gateway, Nginx, Pattern, Reply, TempDir, conn, skip, tool};

#[test]
fn nginx_as_backend() {
    let mut pattern = Pattern::new();
    let mut big = Vec::new();
    while big.len() < 4 << 20 {
        big.extend_from_slice(pattern.next(1 << 16));
    }
    let server = "location /json { default_type application/json; return 200 '{\"ok\":true}'; }\n\
                  location /moved { return 302 /json; }\nlocation /short { keepalive_timeout 0; return 200 'short'; }";
    let Some(nginx) = Nginx::start(server, &[("big.bin", &big)]) else {
        skip!("nginx_as_backend", "nginx is not installed");
    };
    let gateway = Gateway::before(nginx.addr);
    let mut client = gateway.conn();
    for _ in 0..200 {
        assert_eq!(client.get("/json").json()["ok"], true);
        assert_eq!(client.get("/short").text(), "short", "nginx closes after this one");
    }
    let moved = client.get("/moved");
    assert_eq!(moved.status, 302);
    assert!(client.get("/big.bin").body == big);
    let part = client.call(&Call::get("/big.bin").header("Range", "bytes=1000-1999"));
    assert_eq!((part.status, part.body == big[1000..2000]), (206, true));
    let etag = client.call(&Call::new("HEAD", "/big.bin")).header("etag").unwrap().to_owned();
    assert_eq!(client.call(&Call::get("/big.bin").header("If-None-Match", &etag)).status, 304);
    assert_eq!(client.get("/missing").status, 404);
    assert_eq!(client.call(&Call::new("TRACE", "/json")).status / 100, 4);
}

/// nginx as an oracle: for lawful requests both must tell the client the same, and ask the backend the same.
#[test]
fn nginx_as_oracle() {
    let backend = Backend::start(|request| {
        let told = format!(
            "{} {} {:?} {}",
            request.method,
            request.target,
            request.header("x-kept"),
            request.text()
        );
        match request.target.as_str() {
            "/chunked" => Reply::chunked(&[&told], &[]),
            "/close" => Reply::until_close(told),
            "/missing" => Reply::status(404, told),
            "/empty" => Reply::empty(204),
            _ => Reply::ok(told).header("X-Extra", "1"),
        }
    });
    let server = format!(
        "location / {{ proxy_pass http://{}; proxy_http_version 1.1; proxy_set_header Connection ''; }}",
        backend.addr()
    );
    let Some(nginx) = Nginx::start(&server, &[]) else {
        skip!("nginx_as_oracle", "nginx is not installed");
    };
    let gateway = Gateway::before(backend.addr());
    let calls = [
        Call::get("/a?b=c&d").header("X-Kept", "yes"),
        Call::get("/chunked"),
        Call::get("/close"),
        Call::get("/missing"),
        Call::get("/empty"),
        Call::get("/p/%20%41%2e;x=1"),
        Call::new("HEAD", "/a"),
        Call::new("DELETE", "/a"),
        Call::new("OPTIONS", "/a"),
        Call::post("/a", "body"),
        Call::post("/chunked", vec![b'x'; 30_000]),
        Call::new("PUT", "/a").chunked(&["one", "two"], &[]),
    ];
    for call in calls {
        let ours = gateway.call(&call);
        let theirs = conn::fetch(nginx.addr, &call);
        assert_eq!(ours.status, theirs.status, "{call:?}");
        assert_eq!(ours.text(), theirs.text(), "{call:?}");
        for name in ["x-extra", "content-length"] {
            assert_eq!(ours.header(name), theirs.header(name), "{name} of {call:?}");
        }
    }
}

#[test]
fn curl_is_served() {
    let Some(curl) = tool("curl") else {
        skip!("curl_is_served", "curl is not installed");
    };
    let backend = Backend::start(|request| Reply::ok(format!("{} {}", request.method, request.body.len())));
    let gateway = Gateway::before(backend.addr());
    let dir = TempDir::new();
    let upload = dir.file("upload", &"x".repeat(3_000_000));
    let url = format!("http://{}/a", gateway.addr());
    let at_upload = format!("@{}", upload.display());
    let curl = |args: &[&str]| {
        let mut command = Command::new(&curl);
        command.args(["--silent", "--show-error", "--fail", "--max-time", "30", "--noproxy", "*"]).args(args);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(curl(&[&url]), "GET 0");
    // curl sends Expect: 100-continue with bodies over 1 MiB.
    assert_eq!(curl(&["--data-binary", &at_upload, &url]), "POST 3000000");
    assert_eq!(curl(&["-T", upload.to_str().unwrap(), &url]), "PUT 3000000");
    assert_eq!(
        curl(&["-X", "POST", "-H", "Transfer-Encoding: chunked", "--data-binary", &at_upload, &url]),
        "POST 3000000"
    );
    assert_eq!(curl(&["--http1.0", &url]), "GET 0");
    assert!(curl(&["-I", &url]).starts_with("HTTP/1.1 200"));
    // Asked for HTTP/2 or for WebSocket, the gateway goes on with HTTP/1.1.
    assert_eq!(curl(&["--http2", &url]), "GET 0");
    assert_eq!(curl(&[&url, &url, &url]), "GET 0GET 0GET 0");
}

#[test]
fn wrk_sees_no_error() {
    let Some(wrk) = tool("wrk") else {
        skip!("wrk_sees_no_error", "wrk is not installed");
    };
    let backend = Backend::start(|_| Reply::ok("{\"ok\":true}"));
    let gateway = Gateway::builder().server("cores = 2").start(&format!(
        r#"
[routes.mock]
path = "/mock"
mock_body = "mock"
limits = ["wide"]

[routes.proxied]
path = "/proxied"
upstream = "{0}"

[routes.cached]
path = "/cached"
upstream = "{0}"
cache = true

[limits.wide]
scope = "global"
rate = 1000000000
burst = 1000000000
"#,
        backend.addr()
    ));
    for path in ["/mock", "/proxied", "/cached"] {
        let output = Command::new(&wrk)
            .args(["-t1", "-c16", "-d2s", &format!("http://{}{path}", gateway.addr())])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{output:?}");
        assert!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "{path}:\n{text}");
        let requests = text.lines().find_map(|line| line.trim().split_once(" requests in ")).expect(&text).0;
        assert!(requests.trim().parse::<u64>().unwrap() > 0, "{text}");
    }
    let metrics = gateway.metrics();
    // wrk may leave while requests are under way (499): nothing else may go wrong.
    let left = metrics.sum("sluice_refusals_total", &[("reason", "client_gone")]);
    assert_eq!(metrics.sum("sluice_refusals_total", &[]), left);
    assert!(metrics.sum("sluice_requests_total", &[("status_class", "4xx")]) <= left);
    assert_eq!(metrics.sum("sluice_requests_total", &[("status_class", "5xx")]), 0.0);
}
