//! HTTP/2 clients that ask for work and want nothing: each is told to calm down, and counted by reason.

use sluice_harness::h2::{
    CONTINUATION, DATA, END_HEADERS, HEADERS, PING, PRIORITY, SETTINGS, block, get, post,
};
use sluice_harness::{Backend, Gateway, H2, eventually};

const CALM: u32 = 11;

fn gateway() -> (Gateway, Backend) {
    let held = Backend::wired(|wire| {
        wire.hang();
        Ok(())
    });
    let routes = format!(
        "[routes.m]\npath = \"/m\"\nmock_body = \"a mock\"\n[routes.p]\npath = \"/p\"\nupstream = \"{}\"\n",
        held.addr()
    );
    (Gateway::builder().start(&routes), held)
}

/// Sends the flood, and expects GOAWAY with ENHANCE_YOUR_CALM, the count, and a gateway that serves others.
#[track_caller]
fn cut_off(reason: &str, mut flood: impl FnMut(&mut H2, u32)) -> u32 {
    let (gateway, _held) = gateway();
    let mut h2 = H2::open(gateway.addr());
    for n in 0..20_000 {
        flood(&mut h2, n);
        if n % 50 == 49 && h2.try_send(&[]).is_err() {
            break;
        }
    }
    let (last, code, label) = h2.goaway();
    assert_eq!((code, label.as_str()), (CALM, reason));
    let family = "sluice_http2_connection_errors_total";
    eventually("the flood in the metrics", || {
        (gateway.metrics().sum(family, &[("reason", reason)]) == 1.0).then_some(())
    });
    assert_eq!(H2::open(gateway.addr()).get("/m").text(), "a mock");
    last
}

/// CVE-2023-44487. Whether the request is answered at once or waits for an upstream makes no difference.
#[test]
fn a_rapid_reset_client_is_cut_off_within_50_requests() {
    for path in ["/m", "/p"] {
        let last = cut_off("rapid_reset", |h2, _| {
            let id = h2.request(&get(path), true);
            h2.reset(id, 8);
        });
        assert!(last < 100, "{} requests were taken", last.div_ceil(2));
    }
}

/// CVE-2025-8671: the client makes us reset its streams.
#[test]
fn a_client_that_provokes_resets_is_cut_off() {
    let last = cut_off("rapid_reset", |h2, _| {
        let id = h2.request(&post("/p"), false);
        h2.window_update(id, 0);
    });
    assert!(last < 100, "{} requests were taken", last.div_ceil(2));
}

#[test]
fn malformed_requests_without_end_are_cut_off() {
    cut_off("rapid_reset", |h2, _| {
        let mut fields = get("/m");
        fields.push(("connection", "close"));
        h2.request(&fields, true);
    });
}

#[test]
fn floods_of_small_frames_are_cut_off() {
    cut_off("ping_flood", |h2, _| h2.send_frame(PING, 0, 0, *b"12345678"));
    cut_off("settings_flood", |h2, _| h2.send_frame(SETTINGS, 0, 0, []));
    cut_off("frame_flood", |h2, _| h2.send_frame(PRIORITY, 0, 1, [0, 0, 0, 3, 7]));
    cut_off("frame_flood", |h2, _| h2.send_frame(0xee, 0, 0, []));
    cut_off("window_update_flood", |h2, _| h2.window_update(0, 1));
    cut_off("empty_data_flood", |h2, n| {
        if n == 0 {
            h2.request(&post("/p"), false);
        }
        h2.send_frame(DATA, 0, 1, []);
    });
}

#[test]
fn continuation_without_end_is_cut_off() {
    cut_off("continuation_flood", |h2, n| {
        if n == 0 {
            h2.send_frame(HEADERS, 0, 1, block(&get("/m")));
        }
        h2.send_frame(CONTINUATION, 0, 1, block(&[("a", "b")]));
    });
}

#[test]
fn a_block_over_the_limits_is_answered_and_the_tables_stay_in_step() {
    let (gateway, _held) = gateway();
    let mut h2 = H2::open(gateway.addr());
    let long = "v".repeat(2000);
    let mut fields = get("/m");
    fields.extend(std::iter::repeat_n(("x-long", long.as_str()), 6));
    assert_eq!(h2.call(&fields).status(), "431");
    let path = format!("/{}", "p".repeat(9000));
    assert_eq!(h2.get(&path).status(), "414");
    // One field of 3 KB in the table, named by a byte each: a bomb of 300 KB in 100 bytes.
    let mut bomb = vec![0x40, 1, b'a', 0x7f, 0xb9, 0x16];
    bomb.extend(std::iter::repeat_n(b'v', 3000));
    let plain = block(&get("/m"));
    let payload = [&plain[..], &bomb, &[0xbe; 100]].concat();
    h2.send_frame(HEADERS, END_HEADERS | 1, 101, payload);
    assert_eq!(h2.answer(101).status(), "431");
    h2.send_frame(HEADERS, END_HEADERS | 1, 103, plain);
    assert_eq!(h2.answer(103).text(), "a mock");
}

/// The client opens no window, so the answer can't go: it is given its time, then cut off.
#[test]
fn a_client_that_opens_no_window_is_cut_off() {
    let gateway = Gateway::builder()
        .server("body_timeout_ms = 300")
        .start("[routes.m]\npath = \"/m\"\nmock_body = \"a mock\"\n");
    let mut h2 = H2::with_settings(gateway.addr(), &[(4, 0)]);
    h2.request(&get("/m"), true);
    let (_, code, label) = h2.goaway();
    assert_eq!((code, label.as_str()), (CALM, "write_timeout"));
}

/// Windows of a byte are lawful: what they let through goes, and when they open no more, the time runs out.
#[test]
fn a_client_that_opens_windows_by_a_byte_gets_as_much_and_is_cut_off() {
    let gateway = Gateway::builder()
        .server("body_timeout_ms = 300")
        .start("[routes.m]\npath = \"/m\"\nmock_body = \"a mock\"\n");
    let mut h2 = H2::with_settings(gateway.addr(), &[(4, 0)]);
    h2.greedy = false;
    let id = h2.request(&get("/m"), true);
    for byte in "a mo".bytes() {
        h2.window_update(id, 1);
        let mut got = Vec::new();
        assert!(h2.until(|_, frame| {
            got.extend((frame.kind == DATA).then(|| frame.payload.clone()));
            !got.is_empty()
        }));
        assert_eq!(got, [vec![byte]]);
    }
    let (_, code, label) = h2.goaway();
    assert_eq!((code, label.as_str()), (CALM, "write_timeout"));
}

#[test]
fn heads_that_stall_are_cut_off() {
    let gateway = Gateway::builder()
        .server("header_timeout_ms = 200")
        .start("[routes.m]\npath = \"/m\"\nmock_body = \"a mock\"\n");
    let mut h2 = H2::open(gateway.addr());
    h2.send_frame(HEADERS, 0, 1, block(&get("/m")));
    let (_, code, label) = h2.goaway();
    assert_eq!((code, label.as_str()), (CALM, "header_timeout"));
}

#[test]
fn an_idle_connection_is_told_to_go() {
    let gateway = Gateway::builder()
        .server("idle_timeout_ms = 200")
        .start("[routes.m]\npath = \"/m\"\nmock_body = \"a mock\"\n");
    let mut h2 = H2::open(gateway.addr());
    assert_eq!(h2.get("/m").status(), "200");
    assert_eq!(h2.goaway(), (1, 0, "idle".to_owned()));
}

/// Answers to frames must not pile up where nobody reads them.
#[test]
fn a_client_that_asks_without_reading_is_held_back() {
    let body = "z".repeat(10_000);
    let gateway = Gateway::builder()
        .server("body_timeout_ms = 600000")
        .start(&format!("[routes.m]\npath = \"/m\"\nmock_body = \"{body}\"\n"));
    let before = gateway.rss_bytes();
    let mut h2 = H2::with_settings(gateway.addr(), &[(4, 0x7fff_ffff)]);
    h2.window_update(0, 0x7fff_0000);
    h2.stream().set_write_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
    let fields = block(&get("/m"));
    let mut id = 1;
    let stalled = (0..20_000).any(|_| {
        let burst: Vec<u8> = (0..50)
            .flat_map(|_| {
                let frame = sluice_harness::h2::Frame::new(HEADERS, END_HEADERS | 1, id, fields.clone());
                id += 2;
                frame.bytes()
            })
            .collect();
        h2.try_send(&burst).is_err()
    });
    assert!(stalled, "the gateway took in every request of a client that reads nothing");
    let grown = gateway.peak_rss_bytes().saturating_sub(before);
    assert!(grown < 50 << 20, "memory grew by {} MiB", grown >> 20);
}
