//! Nothing leaks, however things end. One test per process: it counts the process's descriptors.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod common;

use bytes::Bytes;
use common::{bind, client, core, pair, soon};
use sluice_rt::{Buf, Listener, Stream, now_ms, sleep_until_ms, spawn, stats};
use std::{cell::RefCell, future::poll_fn, io::ErrorKind, os::fd::AsRawFd, pin::Pin, task::Poll};

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Polls a future once.
async fn poll_once(mut future: Pin<&mut impl Future>) {
    poll_fn(|cx| {
        let _ = future.as_mut().poll(cx);
        Poll::Ready(())
    })
    .await;
}

async fn all_closed() {
    while stats().sockets > 0 {
        sleep_until_ms(now_ms() + 10).await;
    }
}

async fn drop_in_every_state() {
    // Idle, receive armed, both ends.
    drop(pair().await);
    // A send in flight to a peer that doesn't read, given up by its deadline.
    let (accepted, connected) = pair().await;
    accepted.write_bytes(Bytes::from(vec![1; 32 << 20]));
    accepted.set_deadline_ms(Some(now_ms() + 10));
    assert!(accepted.flushed().await.is_err());
    drop(accepted);
    drop(connected);
    // Connecting.
    let (listener, addr) = bind();
    // SAFETY: shortens the backlog of a listening socket of ours.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let waiting = client(addr);
    let mut connecting = Box::pin(Stream::connect(addr, soon()));
    poll_once(connecting.as_mut()).await;
    sleep_until_ms(now_ms() + 20).await;
    drop(connecting);
    drop((listener, waiting));
    // Accepted, never taken.
    let (listener, addr) = bind();
    let listener = Listener::new(listener).unwrap();
    let untaken = Stream::connect(addr, soon()).await.unwrap();
    sleep_until_ms(now_ms() + 20).await;
    drop(listener);
    drop(untaken);
    // In the middle of a splice, bytes in the pipe or not.
    let (source, feeder) = pair().await;
    let (sink, _reader) = pair().await;
    feeder.write_bytes(Bytes::from(vec![2; 32 << 20]));
    feeder.flush();
    let mut splice = Box::pin(source.splice_to(&sink, 32 << 20));
    for _ in 0..50 {
        poll_once(splice.as_mut()).await;
        sleep_until_ms(now_ms() + 1).await;
    }
    drop(splice);
    for stream in [&source, &sink, &feeder] {
        stream.set_deadline_ms(Some(now_ms()));
    }
    sleep_until_ms(now_ms() + 30).await;
}

#[test]
fn nothing_is_left_open() {
    // The core's eventfd stays for the next core.
    core(|| async {});
    let before = descriptors();
    core(|| async {
        for _ in 0..3 {
            drop_in_every_state().await;
            all_closed().await;
        }
        // A wave of short connections.
        for _ in 0..300 {
            let (accepted, connected) = pair().await;
            connected.write(b"x");
            connected.flush();
            drop(accepted.recv().await.unwrap());
        }
        all_closed().await;
        // Left to the end of the core: tasks that wait, with everything they have.
        for _ in 0..20 {
            let (accepted, connected) = pair().await;
            connected.write_bytes(Bytes::from(vec![3; 100_000]));
            connected.flush();
            spawn(async move {
                sleep_until_ms(soon()).await;
                drop((accepted, connected));
            });
        }
    });
    assert_eq!(descriptors(), before);

    handles_outlive_their_core();
    assert_eq!(descriptors(), before);
}

thread_local! {
    static KEPT_STREAMS: RefCell<Vec<Stream>> = const { RefCell::new(Vec::new()) };
    static KEPT_BUF: RefCell<Option<Buf>> = const { RefCell::new(None) };
}

/// … and are harmless then, in another core, too.
fn handles_outlive_their_core() {
    core(|| async {
        let (accepted, connected) = pair().await;
        connected.write(b"kept");
        connected.flush();
        KEPT_BUF.set(accepted.recv().await.unwrap());
        KEPT_STREAMS.with_borrow_mut(|kept| kept.extend([accepted, connected]));
    });
    core(|| async {
        let (accepted, connected) = pair().await;
        let stale = KEPT_STREAMS.take().pop().unwrap();
        assert!(!stale.is_idle_open());
        stale.write(b"nowhere");
        stale.flush();
        assert_eq!(stale.recv().await.unwrap_err().kind(), ErrorKind::NotConnected);
        assert!(stale.flushed().await.is_err());
        assert!(stale.splice_to(&accepted, 1).await.is_err());
        assert!(accepted.splice_to(&stale, 1).await.is_err());
        drop(stale);
        assert!(accepted.is_idle_open() && connected.is_idle_open());
    });
    assert_eq!(&KEPT_BUF.take().unwrap()[..], b"kept");
}
