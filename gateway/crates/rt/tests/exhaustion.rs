//! Out of descriptors. Lowers the process's limit, so it is alone in its file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod common;

use common::{bind, client, core, receive, soon};
use sluice_rt::{Listener, Stream, now_ms, sleep_until_ms, stats};

fn limit_descriptors(soft: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills a local.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0);
    limit.rlim_cur = soft.min(limit.rlim_max);
    // SAFETY: reads a local.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}

/// The lowest descriptor that is free, and with it the number a limit must exceed to allow another.
fn next_descriptor() -> u64 {
    // SAFETY: duplicates standard input and closes the copy.
    unsafe {
        let fd = libc::dup(0);
        assert!(fd >= 0);
        libc::close(fd);
        fd as u64
    }
}

#[test]
fn accepting_rests_while_descriptors_are_short() {
    let (listener, addr) = bind();
    let clients: Vec<_> = (0..8).map(|_| client(addr)).collect();
    core(move || async move {
        limit_descriptors(next_descriptor() + 3);
        let listener = Listener::new(listener).unwrap();
        let mut streams = Vec::new();
        for _ in 0..3 {
            streams.push(listener.accept().await.unwrap());
        }
        while stats().accept_errors == 0 {
            sleep_until_ms(now_ms() + 10).await;
        }
        assert!(Stream::connect(addr, soon()).await.is_err(), "there is no descriptor for it either");
        limit_descriptors(1_000);
        for _ in 3..8 {
            streams.push(listener.accept().await.unwrap());
        }
        // Few, since it rests in between.
        assert!(stats().accept_errors < 100);
        for stream in &streams {
            stream.write(b"x");
            stream.flushed().await.unwrap();
        }
    });
    for client in &clients {
        assert_eq!(receive(client, 1), b"x");
    }
}
