//! Everything at once on many connections, each exchange with an id of its own: nothing lost, nothing mixed up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use sluice_harness::{Backend, Call, Conn, Gateway, Reply, Request};

const CLIENTS: usize = 24;
const ROUNDS: usize = 150;

/// Answers in every framing, always with the request's own target and body.
fn answer(request: &Request) -> Reply {
    let body = format!("{} {} {}", request.method, request.target, request.text());
    match request.target.len() % 4 {
        0 => Reply::chunked(&[&body[..body.len() / 2], &body[body.len() / 2..]], &[]),
        1 if request.target.contains("close") => Reply::until_close(body),
        2 => Reply::ok(body).header("X-Target", &request.target),
        _ => Reply::ok(body),
    }
}

/// A deterministic stream of choices; a failing run repeats from its seed.
struct Choices(u64);

impl Choices {
    fn next(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A request and the body that must come back.
fn exchange(choices: &mut Choices, id: &str) -> (Call, String) {
    match choices.next(7) {
        0 => (Call::get("/mock"), "mock".to_owned()),
        1 => {
            let page = choices.next(40);
            (Call::get(&format!("/cached/{page}?ignored={id}")), format!("cached {page}"))
        }
        2 => {
            let body = format!("{id}-").repeat(1 + choices.next(2000) as usize);
            let target = format!("/p/{id}");
            (Call::post(&target, body.clone()), format!("POST {target} {body}"))
        }
        3 => {
            let target = format!("/p/{id}/chunked");
            (
                Call::new("PUT", &target).chunked(&[id, "-", id], &[("X-Id", id)]),
                format!("PUT {target} {id}-{id}"),
            )
        }
        4 => (Call::get(&format!("/p/{id}/close")), format!("GET /p/{id}/close ")),
        5 => (Call::new("DELETE", &format!("/p/{id}")), format!("DELETE /p/{id} ")),
        _ => (Call::get(&format!("/p/{id}?q={id}")), format!("GET /p/{id}?q={id} ")),
    }
}

fn client(gateway: &Gateway, client: usize, proxied: &AtomicUsize) {
    let mut choices = Choices(0x5eed_0000 + client as u64);
    let mut conn = gateway.conn();
    for round in 0..ROUNDS {
        if choices.next(10) == 0 {
            conn = gateway.conn();
        }
        let batch: Vec<(Call, String)> =
            (0..=choices.next(4)).map(|n| exchange(&mut choices, &format!("{client}-{round}-{n}"))).collect();
        let bytes: Vec<u8> = batch.iter().flat_map(|(call, _)| call.bytes()).collect();
        let piece = 1 + choices.next(bytes.len() as u64) as usize;
        for piece in bytes.chunks(piece.max(64)) {
            conn.send(piece);
        }
        for (call, expected) in &batch {
            let response = conn.response_to(&call.method);
            assert_eq!(response.status, 200, "client {client}, round {round}: {call:?} got {response:?}");
            assert!(
                response.text() == *expected,
                "client {client}, round {round}: a response to another request.\n{call:?}\ngot {:?}",
                response.text()
            );
            if expected.contains(" /p/") {
                proxied.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[test]
fn no_response_is_lost_or_mixed_up() {
    let (one, two) = (Backend::start(answer), Backend::start(answer));
    let cacheable = Backend::start(|request| {
        let page =
            request.target.trim_start_matches("/cached/").split('?').next().unwrap_or_default().to_owned();
        Reply::ok(format!("cached {page}"))
    });
    let gateway = Gateway::builder().server("cores = 2").start(&format!(
        r#"
[upstreams.u]
targets = ["{}", "{}"]

[routes.proxied]
path = "/p/{{proxy+}}"
upstream = "u"

[routes.cached]
path = "/cached/{{page}}"
upstream = "{}"
cache = true
cache_ttl_ms = 50

[routes.mock]
path = "/mock"
mock_body = "mock"
"#,
        one.addr(),
        two.addr(),
        cacheable.addr()
    ));
    let proxied = AtomicUsize::new(0);
    thread::scope(|scope| {
        for n in 0..CLIENTS {
            let (gateway, proxied) = (&gateway, &proxied);
            scope.spawn(move || client(gateway, n, proxied));
        }
    });
    let (asked, seen) = (proxied.into_inner(), one.hits() + two.hits());
    assert_eq!(seen, asked, "each proxied request reached a backend exactly once");
}

/// A response belongs to the request that is first in line even when a client gives up in between.
#[test]
fn clients_that_leave_do_not_shift_the_answers_of_others() {
    let backend = Backend::start(|request| Reply::ok(request.target.clone()));
    let gateway = Gateway::before(backend.addr());
    thread::scope(|scope| {
        for worker in 0..4 {
            let gateway = &gateway;
            scope.spawn(move || {
                for n in 0..100 {
                    let mut leaver = Conn::open(gateway.addr());
                    leaver.send(Call::get(&format!("/leaver/{worker}/{n}")).bytes());
                    if n % 2 == 0 {
                        leaver.reset()
                    } else {
                        drop(leaver)
                    }
                    let target = format!("/stayer/{worker}/{n}");
                    assert_eq!(gateway.get(&target).text(), target);
                }
            });
        }
    });
}
