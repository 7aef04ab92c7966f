//! Smuggling through the gateway to servers that are not ours: a real nginx, and Node's HTTP server with its lenient parser.
//!
//! Three views of the same traffic have to agree: what the client meant to send, what the gateway says in its access log that it
//! has forwarded, and what the backend says that it has served. After each attack an honest client sends a probe, which
//! goes over the very connection that an attack may have left something in.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use serde_json::Value;
use sluice_harness::attacks::{Attack, CHUNKS, FRAMING, HOSTS, LINES, SECOND};
use sluice_harness::conn::fetch;
use sluice_harness::h2::{get, post};
use sluice_harness::{Conn, Gateway, H2, Nginx, call, eventually, skip, tool};

/// A request as somebody saw it: method, target, body.
type Seen = (String, String, String);

fn seen(method: &str, target: &str, body: &str) -> Seen {
    (method.to_owned(), target.to_owned(), body.to_owned())
}

/// A server that keeps a record of the requests that it has served to their end.
trait Server {
    fn addr(&self) -> SocketAddr;
    /// The lines of its record.
    fn record(&self) -> Vec<Value>;
}

/// Its location asks another of its own, since only what is passed on has `$request_body`.
const NGINX: &str = "
    access_log seen.log seen;
    client_body_buffer_size 64k; client_body_in_single_buffer on; ignore_invalid_headers off;
    location / {
        proxy_pass http://127.0.0.1:$server_port/inner;
        proxy_method GET; proxy_pass_request_body off; proxy_set_header Content-Length '';
        proxy_set_header Transfer-Encoding ''; proxy_set_header Connection ''; proxy_set_header Upgrade '';
    }
    location = /inner { access_log off; return 200 seen; }";

impl Server for Nginx {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn record(&self) -> Vec<Value> {
        let text = self.written("seen.log");
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        // What it did not get to the end of, and what it refuses itself, has another status.
        lines.filter(|line| line["status"] == 200).collect()
    }
}

const NODE: &str = "
const http = require('http');
const say = (what) => process.stdout.write(JSON.stringify(what) + '\\n');
const server = http.createServer({ insecureHTTPParser: true }, (request, response) => {
  let body = '';
  request.setEncoding('latin1');
  request.on('data', (data) => { body += data; });
  request.on('error', () => {});
  request.on('end', () => { say({ method: request.method, target: request.url, body }); response.end('seen'); });
});
server.on('clientError', (error, socket) => socket.destroy());
server.listen(0, '127.0.0.1', () => say({ port: server.address().port }));";

struct Node {
    child: Child,
    addr: SocketAddr,
    lines: Arc<Mutex<Vec<Value>>>,
}

impl Node {
    fn start() -> Option<Self> {
        let mut node = Command::new(tool("node")?);
        let mut child = node.args(["-e", NODE]).stdout(Stdio::piped()).spawn().ok()?;
        let mut lines = BufReader::new(child.stdout.take()?).lines();
        let first: Value = serde_json::from_str(&lines.next()?.ok()?).ok()?;
        let addr = SocketAddr::from(([127, 0, 0, 1], first["port"].as_u64()? as u16));
        let kept = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&kept);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                sink.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Some(Self { child, addr, lines: kept })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server for Node {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn record(&self) -> Vec<Value> {
        self.lines.lock().unwrap().clone()
    }
}

/// Traffic under way, and what its senders meant.
struct Trial<'s> {
    server: &'s dyn Server,
    gateway: Gateway,
    meant: Vec<Seen>,
    faults: Vec<String>,
}

impl<'s> Trial<'s> {
    fn new(server: &'s dyn Server) -> Self {
        let gateway = Gateway::before(server.addr());
        Self { server, gateway, meant: Vec::new(), faults: Vec::new() }
    }

    /// A request that must be served, or, if `may_refuse`, may be refused. What is served must be seen as it was meant.
    fn send(&mut self, conn: &mut Conn, request: &str, meant: Seen, may_refuse: bool) {
        conn.send(request);
        match conn.try_response(&meant.0) {
            Ok(response) if response.status == 200 => self.meant.push(meant),
            Ok(response) if may_refuse && (400..502).contains(&response.status) => {}
            other => self.faults.push(format!("{request:?}: {other:?}")),
        }
    }

    fn attack(&mut self, attack: &Attack) {
        let mut conn = self.gateway.conn();
        let _ = conn.try_send(format!("{}{SECOND}", attack.request));
        while let Ok(response) = conn.try_response("GET") {
            if response.status == 200 {
                self.faults.push(format!("{}: served", attack.what));
            }
        }
        self.probe();
    }

    /// What an honest client gets right after an attack.
    fn probe(&mut self) {
        let target = format!("/probe/{}", self.meant.len());
        let mut conn = self.gateway.conn();
        self.send(
            &mut conn,
            &format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"),
            seen("GET", &target, ""),
            false,
        );
    }

    /// Ends the gateway, and with it all that may still be on its way, and compares the three views.
    fn compare(self) {
        let Self { server, mut gateway, meant, mut faults } = self;
        gateway.signal(Signal::TERM);
        assert!(gateway.wait_for_exit().success());
        let log: Vec<Value> =
            gateway.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let forwarded: Vec<_> = log
            .iter()
            .filter(|line| line["status"] == 200)
            // As it was asked for, which may be in absolute form.
            .map(|line| (text(line, "httpMethod"), text(line, "path").replace("http://x/", "/")))
            .collect();
        // Served in order: when the server has recorded this one, it has all before.
        assert_eq!(fetch(server.addr(), &call::Call::get("/fence")).status, 200);
        let record = eventually("the server's record", || {
            let record = server.record();
            record.iter().any(|line| line["target"] == "/fence").then_some(record)
        });
        let served: Vec<Seen> = record
            .iter()
            .map(|line| (text(line, "method"), text(line, "target"), text(line, "body")))
            .filter(|(_, target, _)| target != "/fence")
            .collect();
        for (nth, meant) in meant.iter().enumerate() {
            if served.get(nth) != Some(meant) {
                faults.push(format!("number {nth}: meant {meant:?}, served {:?}", served.get(nth)));
                break;
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        assert_eq!(served.len(), meant.len(), "{:?}", &served[meant.len()..]);
        let path = |target: &str| target.split('?').next().unwrap_or_default().to_owned();
        let meant: Vec<_> = meant.into_iter().map(|(method, target, _)| (method, path(&target))).collect();
        assert_eq!(forwarded, meant, "what the gateway says that it forwarded");
    }
}

/// Lawful or nearly so, and read differently by somebody somewhere: the request, what it means, whether it may be refused.
fn odd() -> Vec<(String, Seen, bool)> {
    let get = |lines: &str| format!("GET /odd HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
    let post = |lines: &str, body: &str| format!("POST /odd?a=b HTTP/1.1\r\nHost: x\r\n{lines}\r\n{body}");
    let with_length = |lines: &str| post(&format!("Content-Length: {}\r\n{lines}", SECOND.len()), SECOND);
    let bytewise: Vec<Vec<u8>> = SECOND.bytes().map(|byte| vec![byte]).collect();
    let bytewise = String::from_utf8(call::chunked(&bytewise, &[])).unwrap();
    let is_get = || seen("GET", "/odd", "");
    let is_post = |body: &str| seen("POST", "/odd?a=b", body);
    let chunked = "Transfer-Encoding: chunked\r\n";
    vec![
        (format!("\r\n\r\n{}", get("")), is_get(), false),
        (get("A: \t b \t\r\nEmpty: \t\r\n"), is_get(), false),
        (get("Content-Length: 0\r\n"), is_get(), false),
        (get("Content_Length: 50\r\nTransfer_Encoding: chunked\r\n"), is_get(), true),
        (get("X-Bytes: \u{80}\u{ff}\r\n"), is_get(), true),
        (
            get("Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
            is_get(),
            true,
        ),
        (get("Connection: host\r\n"), is_get(), true),
        (get("Connection: x-forwarded-for, x-forwarded-host\r\n"), is_get(), true),
        ("GET http://x/odd HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), is_get(), false),
        (
            format!("GET /odd HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{SECOND}", SECOND.len()),
            seen("GET", "/odd", SECOND),
            false,
        ),
        (
            format!("DELETE /odd HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{SECOND}", SECOND.len()),
            seen("DELETE", "/odd", SECOND),
            false,
        ),
        (with_length(""), is_post(SECOND), false),
        (with_length("Connection: content-length\r\n"), is_post(SECOND), true),
        (with_length("Connection: keep-alive, transfer-encoding\r\n"), is_post(SECOND), true),
        (post("Content-Length: 0005\r\n", "hello"), is_post("hello"), false),
        (post(chunked, "5;a=b;c=\"d\\\"e\"\r\nhello\r\n0\r\n\r\n"), is_post("hello"), false),
        (
            post("transfer-encoding: \t Chunked \r\n", "005\r\nhello\r\n000;last\r\n\r\n"),
            is_post("hello"),
            false,
        ),
        (post(&format!("{chunked}Connection: transfer-encoding\r\n"), &bytewise), is_post(SECOND), true),
        (post(chunked, &bytewise), is_post(SECOND), false),
        (
            post(
                chunked,
                "5\r\nhello\r\n0\r\nContent-Length: 50\r\nTransfer-Encoding: gzip\r\nHost: y\r\n\r\n",
            ),
            is_post("hello"),
            true,
        ),
        (post(chunked, "5\r\nhello\r\n0\r\nX-T: GET /smuggled HTTP/1.1\r\n\r\n"), is_post("hello"), false),
        (post(chunked, "0\r\n\r\n"), is_post(""), false),
    ]
}

/// Pseudo-fields and fields that HTTP/1 would take for more than one: what HTTP/2 carries, HTTP/1 must never say.
fn downgrades() -> Vec<(&'static str, Vec<(&'static str, &'static str)>)> {
    let with = |name, value| [get("/h2"), vec![(name, value)]].concat();
    let pseudo = |name: &str, value| {
        let fields = get("/h2").into_iter();
        fields.map(|(n, v)| if n == name { (n, value) } else { (n, v) }).collect::<Vec<_>>()
    };
    vec![
        ("a line in a value", with("a", "b\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x")),
        ("a bare LF in a value", with("a", "b\nTransfer-Encoding: chunked")),
        ("a NUL in a value", with("a", "b\0c")),
        ("a line in a name", with("a: b\r\nc", "d")),
        ("a colon in a name", with("transfer-encoding: chunked", "x")),
        ("a coding", with("transfer-encoding", "chunked")),
        ("a connection", with("connection", "content-length")),
        ("a line in the path", pseudo(":path", "/h2 HTTP/1.1\r\nHost: x\r\n\r\nGET /smuggled")),
        ("a space in the path", pseudo(":path", "/h2 HTTP/1.1")),
        ("a space in the method", pseudo(":method", "GET /smuggled HTTP/1.1\r\n\r\nGET")),
        ("a line in the authority", pseudo(":authority", "x\r\nTransfer-Encoding: chunked")),
        ("a path in the authority", pseudo(":authority", "x/y")),
        ("two hosts", with("host", "y")),
        ("two lengths", [post("/h2"), vec![("content-length", "0"), ("content-length", "5")]].concat()),
    ]
}

fn assert_views_agree(server: &dyn Server) {
    let mut trial = Trial::new(server);
    for (request, meant, may_refuse) in odd() {
        let mut conn = trial.gateway.conn();
        trial.send(&mut conn, &request, meant, may_refuse);
        trial.probe();
    }
    // The same on one connection, as far as nothing of it may be refused.
    let mut conn = trial.gateway.conn();
    for (request, meant, _) in odd().into_iter().filter(|(_, _, may_refuse)| !may_refuse) {
        trial.send(&mut conn, &request, meant, false);
    }
    for attack in FRAMING.iter().chain(CHUNKS).chain(LINES).chain(HOSTS) {
        trial.attack(attack);
    }
    for (what, fields) in downgrades() {
        let mut h2 = H2::open(trial.gateway.addr());
        let id = h2.request(&fields, false);
        h2.data(id, SECOND.as_bytes(), true);
        let answer = h2.answer(id);
        if answer.status() == "200" {
            trial.faults.push(format!("HTTP/2, {what}: served"));
        }
        trial.probe();
    }
    trial.compare();
}

#[test]
fn nginx_behind_the_gateway_sees_what_was_meant() {
    let Some(nginx) = Nginx::start(NGINX, &[]) else {
        skip!("nginx_behind_the_gateway_sees_what_was_meant", "nginx is not installed");
    };
    assert_views_agree(&nginx);
}

#[test]
fn node_behind_the_gateway_sees_what_was_meant() {
    let Some(node) = Node::start() else {
        skip!("node_behind_the_gateway_sees_what_was_meant", "Node.js is not installed");
    };
    assert_views_agree(&node);
}
