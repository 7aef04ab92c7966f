//! A backend dies under load: its requests are 504, nothing else is, and all is well once it is back.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use sluice_harness::{Backend, Call, Gateway, Reply, eventually};

/// Requests on a loop until `running` is false; counts the statuses, and panics when a response is lost or mixed up.
struct Load<'a> {
    gateway: &'a Gateway,
    running: &'a AtomicBool,
    served: &'a AtomicUsize,
    statuses: &'a Mutex<BTreeMap<u16, usize>>,
}

impl Load<'_> {
    fn run(&self, prefix: &str) {
        let mut conn = self.gateway.conn();
        let mut n = 0;
        while self.running.load(Ordering::Relaxed) {
            n += 1;
            let target = format!("{prefix}/{n}");
            let call = if n % 3 == 0 { Call::post(&target, "body") } else { Call::get(&target) };
            let response = conn.call(&call);
            if response.status == 200 {
                assert_eq!(response.text(), target, "a response to another request");
                self.served.fetch_add(1, Ordering::Relaxed);
            }
            *self.statuses.lock().unwrap().entry(response.status).or_default() += 1;
            if response.says_close() {
                conn = self.gateway.conn();
            }
        }
    }
}

#[test]
fn only_504_while_it_is_down_and_well_afterwards() {
    let echo = |request: &sluice_harness::Request| Reply::ok(request.target.clone());
    let mut victim = Backend::start(echo);
    let bystander = Backend::start(echo);
    let gateway = Gateway::builder().server("cores = 2").start(&format!(
        "[routes.victim]\npath = \"/victim/{{proxy+}}\"\nupstream = \"victim\"\n\
         [routes.bystander]\npath = \"/bystander/{{proxy+}}\"\nupstream = \"{}\"\n\
         [upstreams.victim]\ntargets = [\"{}\"]\nfail_timeout_ms = 200\n",
        bystander.addr(),
        victim.addr()
    ));
    let running = AtomicBool::new(true);
    let (served, unharmed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (statuses, others) = (Mutex::new(BTreeMap::new()), Mutex::new(BTreeMap::new()));
    // Declared outside the scope: the reborn backend must outlive the load.
    let mut _reborn = None;
    thread::scope(|scope| {
        for worker in 0..6 {
            let (gateway, running) = (&gateway, &running);
            let (served, statuses, prefix) = match worker % 3 {
                0 => (&unharmed, &others, format!("/bystander/{worker}")),
                _ => (&served, &statuses, format!("/victim/{worker}")),
            };
            scope.spawn(move || Load { gateway, running, served, statuses }.run(&prefix));
        }
        eventually("some load", || (served.load(Ordering::Relaxed) > 200).then_some(()));
        victim.stop();
        eventually("504s", || statuses.lock().unwrap().get(&504).filter(|n| **n > 50).map(|_| ()));
        let before = unharmed.load(Ordering::Relaxed);
        eventually("the other route to go on", || {
            (unharmed.load(Ordering::Relaxed) > before + 50).then_some(())
        });

        _reborn = Some(Backend::start_at(victim.addr(), echo));
        let before = served.load(Ordering::Relaxed);
        eventually("the route to recover", || (served.load(Ordering::Relaxed) > before + 200).then_some(()));
        running.store(false, Ordering::Relaxed);
    });
    let (statuses, others) = (statuses.into_inner().unwrap(), others.into_inner().unwrap());
    assert!(statuses.keys().all(|status| matches!(status, 200 | 504)), "{statuses:?}");
    assert!(others.keys().all(|status| *status == 200), "{others:?}");
}

#[test]
fn the_second_target_takes_over() {
    let mut first = Backend::start(|_| Reply::ok("first"));
    let second = Backend::start(|_| Reply::ok("second"));
    let gateway = Gateway::start(&format!(
        "[upstreams.u]\ntargets = [\"{}\", \"{}\"]\nmax_failures = 3\nfail_timeout_ms = 600000\n\
         [routes.a]\npath = \"/a\"\nupstream = \"u\"\n",
        first.addr(),
        second.addr()
    ));
    let mut conn = gateway.conn();
    let mut seen: Vec<String> = (0..20).map(|_| conn.get("/a").text()).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, ["first", "second"]);
    first.stop();
    // A GET is retried on the second target, so the client notices nothing.
    for n in 0..100 {
        let response = conn.get("/a");
        assert_eq!((response.status, response.text().as_str()), (200, "second"), "request {n}");
    }
    let reborn = Backend::start_at(first.addr(), |_| Reply::ok("first"));
    for _ in 0..20 {
        assert_eq!(conn.get("/a").text(), "second", "put aside for ten minutes");
    }
    assert_eq!(reborn.hits(), 0);
}

#[test]
fn a_target_put_aside_is_tried_again_after_its_time() {
    let mut first = Backend::start(|_| Reply::ok("first"));
    let second = Backend::start(|_| Reply::ok("second"));
    let gateway = Gateway::start(&format!(
        "[upstreams.u]\ntargets = [\"{}\", \"{}\"]\nmax_failures = 1\nfail_timeout_ms = 100\n\
         [routes.a]\npath = \"/a\"\nupstream = \"u\"\n",
        first.addr(),
        second.addr()
    ));
    let mut conn = gateway.conn();
    first.stop();
    for _ in 0..20 {
        assert_eq!(conn.get("/a").text(), "second");
    }
    let _reborn = Backend::start_at(first.addr(), |_| Reply::ok("first"));
    eventually("the first target to be used again", || (conn.get("/a").text() == "first").then_some(()));
}

#[test]
fn a_backend_that_fails_every_request_is_put_aside() {
    let broken = Backend::start(|_| Reply::raw("not http\r\n\r\n"));
    let sound = Backend::start(|_| Reply::ok("sound"));
    let gateway = Gateway::start(&format!(
        "[upstreams.u]\ntargets = [\"{}\", \"{}\"]\nmax_failures = 3\nfail_timeout_ms = 600000\n\
         [routes.a]\npath = \"/a\"\nupstream = \"u\"\n",
        broken.addr(),
        sound.addr()
    ));
    let failed = (0..100).filter(|_| gateway.call(&Call::post("/a", "x")).status == 504).count();
    assert!(failed <= 6, "{failed} failures after three were enough");
    assert!(broken.hits() <= 6);
}

#[test]
fn when_every_target_is_aside_requests_are_still_tried() {
    let mut only = Backend::start(|_| Reply::ok("back"));
    let gateway = Gateway::start(&format!(
        "[upstreams.u]\ntargets = [\"{}\"]\nmax_failures = 1\nfail_timeout_ms = 600000\n\
         [routes.a]\npath = \"/a\"\nupstream = \"u\"\n",
        only.addr()
    ));
    let mut conn = gateway.conn();
    assert_eq!(conn.get("/a").text(), "back");
    only.stop();
    for _ in 0..5 {
        let response = conn.get("/a");
        assert!(matches!(response.status, 503 | 504), "{response:?}");
    }
    let _reborn = Backend::start_at(only.addr(), |_| Reply::ok("back"));
    eventually("the only target, aside or not", || (conn.get("/a").status == 200).then_some(()));
}
