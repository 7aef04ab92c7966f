//! REST APIs: answers of Lambda functions and proxied servers that stream (`responseTransferMode` STREAM).

use serde_json::{Value, json};
use sluice_harness::rest::RestApi;
use sluice_harness::{Backend, Call, Conn, Gate, Gateway, H2, Reply, TempDir, Wire, eventually, skip, tool};
use std::io;
use std::sync::Arc;

/// `waits` goes on once there is a file that only the test makes.
const NODE: &str = r#"
const fs = require('fs')
const http = (out, metadata) => awslambda.HttpResponseStream.from(out, metadata)
const stream = awslambda.streamifyResponse
exports.waits = stream(async (event, out) => {
  out = http(out, { statusCode: 201, headers: { 'X-A': '1', 'Content-Type': 'text/plain' }, cookies: ['a=1', 'b=2'] })
  out.write('first')
  while (!fs.existsSync(process.env.GO)) await new Promise((resolve) => setTimeout(resolve, 10))
  out.write(' second ' + event.path)
  out.end()
})
exports.breaks = stream(async (event, out) => {
  out = http(out, { statusCode: 200 })
  await new Promise((resolve) => out.write('half', resolve))
  throw new Error('no luck')
})
exports.fails = stream(async () => { throw new Error('no luck') })
exports.raw = stream(async (event, out) => { out.write('no metadata'); out.end() })
exports.whole = async () => ({ statusCode: 200, body: 'x' })
exports.large = stream(async (event, out) => {
  out = http(out, { statusCode: 200 })
  const piece = Buffer.alloc(1 << 18, 'x')
  for (let n = 0; n < 384; n++) {
    await new Promise((resolve) => out.write(piece, resolve))
    fs.writeFileSync(process.env.NOTE + (event.queryStringParameters?.n ?? ''), String(n + 1))
  }
  out.end()
})
"#;

/// How many answers nobody reads.
const SLOW_READERS: usize = 8;

fn streaming(function: &str) -> Value {
    json!({
        "type": "AWS_PROXY",
        "httpMethod": "POST",
        "uri": format!("arn:aws:apigateway:us-east-1:lambda:path/2021-11-15/functions/arn:aws:lambda:us-east-1:123456789012:function:{function}/response-streaming-invocations"),
        "passthroughBehavior": "WHEN_NO_MATCH",
        "timeoutInMillis": 60000,
        "responseTransferMode": "STREAM"
    })
}

fn hosted(handlers: &[&str], more: &str) -> (Gateway, TempDir) {
    let dir = TempDir::new();
    dir.file("index.js", NODE);
    let mut config = more.to_owned();
    let mut api = RestApi::new("a");
    for handler in handlers {
        config.push_str(&format!(
            "[functions.{handler}]\nruntime = \"node\"\nhandler = \"index.{handler}\"\ndirectory = {:?}\nenvironment = [\"GO={}\", \"NOTE={}\"]\ninit_timeout_ms = 60000\ntimeout_ms = 60000\nmax_instances = {}\n",
            dir.path(),
            dir.path().join("go").display(),
            dir.path().join("note").display(),
            if *handler == "large" { SLOW_READERS } else { 1 },
        ));
        api = api.method("ANY", &format!("/{handler}"), streaming(handler));
    }
    let gateway = Gateway::start(&config);
    gateway.serve_rest(&[api.deploy("s")]);
    (gateway, dir)
}

fn path(handler: &str) -> String {
    format!("/restapis/a/s/_user_request_/{handler}")
}

fn ask(gateway: &Gateway, handler: &str) -> Conn {
    let mut conn = gateway.conn();
    conn.send(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", path(handler)));
    conn
}

/// Reads until this has come.
fn until(conn: &mut Conn, text: &str) {
    let seen = |conn: &mut Conn| String::from_utf8_lossy(conn.reader().pending()).contains(text);
    while !seen(conn) {
        assert!(conn.reader().fill().unwrap(), "the connection ended before {text:?} came");
    }
}

#[test]
fn the_first_part_comes_before_the_function_has_finished() {
    let name = "the_first_part_comes_before_the_function_has_finished";
    if tool("node").is_none() {
        skip!(name, "node is not installed");
    }
    let (gateway, dir) = hosted(&["waits"], "");
    let mut conn = ask(&gateway, "waits");
    until(&mut conn, "first");
    // The function waits for us: nothing more can have come.
    dir.file("go", "");
    let response = conn.response();
    assert_eq!((response.status, response.text().as_str()), (201, "first second /waits"));
    assert_eq!((response.header("x-a"), response.header("content-type")), (Some("1"), Some("text/plain")));
    assert_eq!(response.head.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(response.header("transfer-encoding"), Some("chunked"));
    // The connection goes on, and so does the function.
    conn.send(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", path("waits")));
    assert_eq!(conn.response().text(), "first second /waits");
    // A client of HTTP/1.0 sees the end in the close; HEAD has no body.
    let mut old = gateway.conn();
    old.send(format!("GET {} HTTP/1.0\r\nHost: x\r\n\r\n", path("waits")));
    let response = old.response();
    assert_eq!((response.text().as_str(), response.has("transfer-encoding")), ("first second /waits", false));
    let head = gateway.call(&Call::new("HEAD", &path("waits")));
    assert_eq!((head.status, head.body.len()), (201, 0));
}

#[test]
fn what_fails_in_the_middle_is_cut_and_what_fails_before_is_502() {
    let name = "what_fails_in_the_middle_is_cut_and_what_fails_before_is_502";
    if tool("node").is_none() {
        skip!(name, "node is not installed");
    }
    let (gateway, _dir) = hosted(&["breaks", "fails", "raw", "whole"], "");
    let mut conn = ask(&gateway, "breaks");
    until(&mut conn, "half");
    let error = conn.try_response("GET").unwrap_err();
    assert!(conn.reader().pending().is_empty(), "{error}");
    for handler in ["fails", "raw", "whole"] {
        let response = gateway.call(&Call::get(&path(handler)));
        response.assert_refusal(502, "Internal server error", "InternalServerErrorException");
    }
}

#[test]
fn a_function_waits_for_a_client_that_does_not_read() {
    let name = "a_function_waits_for_a_client_that_does_not_read";
    if tool("node").is_none() {
        skip!(name, "node is not installed");
    }
    let (gateway, dir) = hosted(&["large", "raw"], "");
    // What is there from then on is no stream's.
    assert_eq!(gateway.get(&path("raw")).status, 502);
    let before = gateway.rss_bytes();
    let mut conns: Vec<_> = (0..SLOW_READERS).map(|n| ask(&gateway, &format!("large?n={n}"))).collect();
    conns.iter_mut().for_each(|conn| until(conn, "x"));
    let written = || -> [u32; SLOW_READERS] {
        std::array::from_fn(|n| {
            let note = std::fs::read_to_string(dir.path().join(format!("note{n}"))).unwrap_or_default();
            note.parse().unwrap_or_default()
        })
    };
    // As many pieces as sockets and marks hold, and then no more: it says the same for a hundred looks.
    let (mut last, mut looks) = ([0; SLOW_READERS], 0);
    eventually("the functions wait", || {
        let now = written();
        (last, looks) = if now == last && !now.contains(&0) { (now, looks + 1) } else { (now, 0) };
        (looks > 100).then_some(())
    });
    // The rest is in sockets, whose sizes the kernel chooses.
    assert!(!last.contains(&384), "of {last:?} pieces one answer was taken from its function whole");
    // What answers cost that nobody reads: 1 to 2 MiB each and 25 to 40 MiB of huge pages that the allocator begins. Once it
    // was up to 340 MiB.
    let grown_bytes = gateway.peak_rss_bytes().saturating_sub(before);
    let most_bytes = SLOW_READERS as u64 * (12 << 20);
    assert!(grown_bytes < most_bytes, "{grown_bytes} bytes more, of {last:?} pieces");
    for mut conn in conns {
        let mut received = 0;
        let response = conn.reader().response_into("GET", &mut |piece| received += piece.len()).unwrap();
        assert_eq!((response.status, received), (200, 96 << 20));
    }
    eventually("the last pieces are noted", || (written() == [384; SLOW_READERS]).then_some(()));
}

/// CRC-32 (ISO-HDLC): the gateway's own must not judge itself.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// A message of an event stream (Smithy 2.0, "Amazon Event Stream Specification").
fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut named = Vec::new();
    for (name, value) in headers {
        named.push(u8::try_from(name.len()).unwrap());
        named.extend_from_slice(name.as_bytes());
        named.push(7);
        named.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        named.extend_from_slice(value.as_bytes());
    }
    let number = |n: usize| u32::try_from(n).unwrap().to_be_bytes();
    let mut out = number(16 + named.len() + payload.len()).to_vec();
    out.extend_from_slice(&number(named.len()));
    let sum = crc32(&out);
    out.extend_from_slice(&sum.to_be_bytes());
    out.extend_from_slice(&named);
    out.extend_from_slice(payload);
    let sum = crc32(&out);
    out.extend_from_slice(&sum.to_be_bytes());
    out
}

fn event(kind: &str, payload: impl AsRef<[u8]>) -> Vec<u8> {
    message(&[(":message-type", "event"), (":event-type", kind)], payload.as_ref())
}

fn piece(payload: &str) -> Vec<u8> {
    event("PayloadChunk", payload)
}

const METADATA: &str = "{\"statusCode\":200}\0\0\0\0\0\0\0\0";

/// What an endpoint streams for each path, and that after which it waits for the gate.
fn streamed(path: &str) -> (Vec<u8>, Vec<u8>) {
    let complete = event("InvokeComplete", "{}");
    let failed = event("InvokeComplete", r#"{"ErrorCode":"Unhandled","ErrorDetails":"{}","LogResult":null}"#);
    let exception = [(":message-type", "exception"), (":exception-type", "ServiceException")];
    let mut broken = piece("lost");
    *broken.last_mut().unwrap() ^= 1;
    let begun = [piece(METADATA), piece("half")].concat();
    match path {
        "/good" => (begun, [piece(""), event("Unknown", "?"), piece(" and half"), complete].concat()),
        "/empty" => (piece(METADATA), complete),
        "/failed" => (begun, failed),
        "/exception" => (begun, message(&exception, b"{}")),
        "/sum" => (begun, broken),
        "/truncated" => (begun, Vec::new()),
        "/late-failure" => (Vec::new(), failed),
        "/late-sum" => (Vec::new(), broken),
        "/no-delimiter" => (piece("{\"statusCode\":200,\"body\":\"x\"}"), complete),
        "/long" => (piece(&"x".repeat(17_000)), complete),
        other => panic!("{other}"),
    }
}

fn lambda_endpoint(gate: &Arc<Gate>) -> Backend {
    let gate = Arc::clone(gate);
    Backend::wired(move |wire: &mut Wire| -> io::Result<()> {
        while let Some(request) = wire.request()? {
            assert_eq!(request.target, "/2021-11-15/functions/far/response-streaming-invocations");
            let told: Value = serde_json::from_slice(&request.body)?;
            if told["path"] == "/refused" {
                let reply = Reply::status(429, "{\"Message\":\"Rate Exceeded.\"}");
                wire.reply(&request, &reply)?;
                continue;
            }
            let (before, after) = streamed(told["path"].as_str().unwrap_or_default());
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\n\
                        Transfer-Encoding: chunked\r\n\r\n";
            wire.send(head)?;
            let chunk = |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
            if !before.is_empty() {
                wire.send(chunk(&before))?;
            }
            gate.wait();
            if !after.is_empty() {
                wire.send(chunk(&after))?;
            }
            wire.send("0\r\n\r\n")?;
        }
        Ok(())
    })
}

fn far(endpoint: &Backend) -> Gateway {
    let gateway =
        Gateway::start(&format!("[functions.far]\nendpoint_url = \"http://{}\"\n", endpoint.addr()));
    gateway.serve_rest(&[RestApi::new("a").method("ANY", "/{proxy+}", streaming("far")).deploy("s")]);
    gateway
}

#[test]
fn an_endpoint_of_lambda_streams() {
    let gate = Arc::new(Gate::new());
    let endpoint = lambda_endpoint(&gate);
    let gateway = far(&endpoint);
    let mut conn = ask(&gateway, "good");
    until(&mut conn, "half");
    gate.open();
    let response = conn.response();
    assert_eq!((response.status, response.text().as_str()), (200, "half and half"));
    assert_eq!(response.header("content-type"), Some("application/json"));
    // Both connections go on.
    conn.send(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", path("empty")));
    assert_eq!(conn.response().text(), "");
    let told: Value = serde_json::from_slice(&endpoint.last_request().body).unwrap();
    assert_eq!((&told["httpMethod"], &told["path"]), (&json!("GET"), &json!("/empty")));
    // What came with a wrong checksum is not the client's.
    for cut in ["failed", "exception", "sum", "truncated"] {
        let mut conn = ask(&gateway, cut);
        let error = conn.try_response("GET").expect_err(cut);
        assert!(conn.reader().pending().is_empty(), "{cut}: {error}");
        let mut h2 = H2::open(gateway.addr());
        let answer = h2.get(&path(cut));
        assert_eq!((answer.status(), answer.text().as_str()), ("200", "half"), "{cut}");
        assert!(answer.reset.is_some(), "{cut}: {answer:?}");
    }
    let mut h2 = H2::open(gateway.addr());
    let answer = h2.get(&path("good"));
    assert_eq!((answer.text().as_str(), answer.reset), ("half and half", None));
    for refused in ["late-failure", "late-sum", "no-delimiter", "long"] {
        let response = gateway.call(&Call::get(&path(refused)));
        response.assert_refusal(502, "Internal server error", "InternalServerErrorException");
    }
    let response = gateway.call(&Call::get(&path("refused")));
    response.assert_refusal(500, "Internal server error", "InternalServerErrorException");
}

#[test]
fn proxied_servers_stream_though_their_requests_are_held() {
    let gate = Arc::new(Gate::new());
    let opened = Arc::clone(&gate);
    let backend = Backend::wired(move |wire| {
        while let Some(request) = wire.request()? {
            wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nServer: x\r\n\r\n5\r\nfirst\r\n")?;
            opened.wait();
            match request.target.as_str() {
                "/breaks" => return Ok(()),
                _ => wire.send("7\r\n second\r\n0\r\n\r\n")?,
            }
        }
        Ok(())
    });
    let gateway = Gateway::start("");
    let integration = |path: &str| {
        json!({
            "type": "HTTP_PROXY", "httpMethod": "ANY", "uri": format!("http://{}{path}", backend.addr()),
            "passthroughBehavior": "WHEN_NO_MATCH", "timeoutInMillis": 29000, "responseTransferMode": "STREAM"
        })
    };
    let model = json!({ "id": "M", "name": "M", "schema": "{\"type\":\"object\"}", "contentType": "application/json" });
    let validator = json!({ "id": "v", "name": "v", "validateRequestBody": true });
    let validated = json!({ "requestValidatorId": "v", "requestModels": { "application/json": "M" } });
    let api = RestApi::new("a")
        .with("models", json!({ "M": model }))
        .with("requestValidators", json!({ "v": validator }))
        // Answers that stream are not compressed.
        .with("minimumCompressionSize", json!(0))
        .method_with("POST", "/held", integration("/held"), validated.clone())
        .method_with("POST", "/breaks", integration("/breaks"), validated)
        .method("POST", "/plain", integration("/plain"));
    gateway.serve_rest(&[api.deploy("s")]);
    let post = |at: &str, body: &str| {
        let call = Call::post(&path(at), body).header("content-type", "application/json");
        let mut conn = gateway.conn();
        conn.send(call.header("accept-encoding", "gzip").bytes());
        conn
    };
    let mut conn = post("held", "{}");
    until(&mut conn, "first");
    let mut plain = post("plain", "{}");
    until(&mut plain, "first");
    gate.open();
    for mut conn in [conn, plain] {
        let response = conn.response();
        assert_eq!((response.status, response.text().as_str()), (200, "first second"));
        assert_eq!(
            (response.header("content-encoding"), response.header("x-amzn-remapped-server")),
            (None, Some("x"))
        );
    }
    assert_eq!(post("held", "[]").response().status, 400);
    post("breaks", "{}").try_response("POST").unwrap_err();
}

/// One operation of the control plane.
fn control(gateway: &Gateway, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let call = Call::new(method, path).header("content-type", "application/json");
    let response = gateway.admin_call(call.header("accept", "application/json").body(body.to_string()));
    (response.status, serde_json::from_str(&response.text()).unwrap_or_default())
}

#[test]
fn the_control_plane_takes_what_can_stream_and_says_what_cannot() {
    let gateway =
        Gateway::start("[aws]\ndevelopment = true\n[functions.far]\nendpoint_url = \"http://127.0.0.1:9\"\n");
    let ask = |method: &str, path: &str, body: Value| control(&gateway, method, path, &body);
    let (_, api) = ask("POST", "/restapis", json!({ "name": "streams" }));
    let (id, root) = (api["id"].as_str().unwrap(), api["rootResourceId"].as_str().unwrap());
    let method = format!("/restapis/{id}/resources/{root}/methods/GET");
    assert_eq!(ask("PUT", &method, json!({ "authorizationType": "NONE" })).0, 201);
    let integration = format!("{method}/integration");
    let mut wanted = streaming("far");
    wanted["timeoutInMillis"] = json!(900_000);
    let (status, shown) = ask("PUT", &integration, wanted.clone());
    assert_eq!(
        (status, &shown["responseTransferMode"], &shown["timeoutInMillis"]),
        (201, &json!("STREAM"), &json!(900_000))
    );
    let refused = |change: &dyn Fn(&mut Value), words: &str| {
        let mut wanted = wanted.clone();
        change(&mut wanted);
        let (status, told) = ask("PUT", &integration, wanted);
        let text = told["message"].as_str().unwrap_or_default();
        assert!(status == 400 && text.contains(words), "{status} {told}");
    };
    refused(&|it| it["responseTransferMode"] = json!("SLOW"), "BUFFERED, STREAM");
    refused(&|it| it["type"] = json!("AWS"), "HTTP_PROXY and AWS_PROXY");
    refused(&|it| it["responseTransferMode"] = json!("BUFFERED"), "needs STREAM");
    refused(&|it| it["timeoutInMillis"] = json!(900_001), "900000 ms");
    let buffered = "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:123456789012:function:far/invocations";
    refused(&|it| it["uri"] = json!(buffered), "response-streaming-invocations");
    refused(
        &|it| (it["uri"], it["responseTransferMode"]) = (json!(buffered), json!("BUFFERED")),
        "between 50 ms and 29000 ms",
    );
    let (status, told) = ask(
        "PUT",
        &format!("{integration}/responses/200"),
        json!({ "responseTemplates": { "application/json": "{}" } }),
    );
    assert!(status == 400 && told["message"].as_str().is_some_and(|text| text.contains("STREAM")), "{told}");
    let back = json!({ "patchOperations": [
        { "op": "replace", "path": "/uri", "value": buffered }, { "op": "replace", "path": "/timeoutInMillis", "value": "29000" },
        { "op": "replace", "path": "/responseTransferMode", "value": "BUFFERED" }
    ] });
    assert_eq!(ask("PATCH", &integration, back).1["responseTransferMode"], "BUFFERED");
    assert_eq!(ask("PUT", &integration, wanted).0, 201);
    assert_eq!(ask("POST", &format!("/restapis/{id}/deployments"), json!({ "stageName": "s" })).0, 201);
    let cached =
        |path: &str| json!({ "patchOperations": [{ "op": "replace", "path": path, "value": "true" }] });
    let stage = format!("/restapis/{id}/stages/s");
    assert_eq!(ask("PATCH", &stage, cached("/*/*/caching/enabled")).0, 200);
    let (status, told) = ask("PATCH", &stage, cached("/~1/GET/caching/enabled"));
    assert!(status == 400 && told["message"].as_str().is_some_and(|text| text.contains("STREAM")), "{told}");
    // As documents say it, both ways.
    let (status, document) =
        ask("GET", &format!("{stage}/exports/oas30?extensions=integrations"), Value::Null);
    let exported = &document["paths"]["/"]["get"]["x-amazon-apigateway-integration"];
    assert_eq!((status, &exported["responseTransferMode"]), (200, &json!("STREAM")), "{document}");
    let (status, imported) = ask("POST", "/restapis?mode=import", document);
    assert_eq!(status, 201, "{imported}");
    let (other, root) = (imported["id"].as_str().unwrap(), imported["rootResourceId"].as_str().unwrap());
    let (_, shown) =
        ask("GET", &format!("/restapis/{other}/resources/{root}/methods/GET/integration"), Value::Null);
    assert_eq!(
        (&shown["responseTransferMode"], &shown["timeoutInMillis"]),
        (&json!("STREAM"), &json!(900_000))
    );
}

#[test]
fn a_method_that_streams_is_tried_out() {
    let gate = Arc::new(Gate::new());
    gate.open();
    let endpoint = lambda_endpoint(&gate);
    let gateway = Gateway::start(&format!(
        "[aws]\ndevelopment = true\n[functions.far]\nendpoint_url = \"http://{}\"\n",
        endpoint.addr()
    ));
    let (_, api) = control(&gateway, "POST", "/restapis", &json!({ "name": "streams" }));
    let (id, root) = (api["id"].as_str().unwrap(), api["rootResourceId"].as_str().unwrap());
    let made = control(
        &gateway,
        "POST",
        &format!("/restapis/{id}/resources/{root}"),
        &json!({ "pathPart": "{proxy+}" }),
    )
    .1;
    let method = format!("/restapis/{id}/resources/{}/methods/GET", made["id"].as_str().unwrap());
    control(&gateway, "PUT", &method, &json!({ "authorizationType": "NONE" }));
    control(&gateway, "PUT", &format!("{method}/integration"), &streaming("far"));
    for (path, status, body) in [
        ("/good", 200, "half and half"),
        ("/failed", 200, "half"),
        ("/late-failure", 502, "{\"message\":\"Internal server error\"}"),
    ] {
        let (told, outcome) = control(&gateway, "POST", &method, &json!({ "pathWithQueryString": path }));
        assert_eq!(
            (told, &outcome["status"], &outcome["body"]),
            (200, &json!(status), &json!(body)),
            "{path}: {outcome}"
        );
    }
}
