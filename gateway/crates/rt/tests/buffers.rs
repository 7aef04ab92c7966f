//! Slow and stalled peers: bounded memory, and no harm to the others. Counts the process's memory, so one test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod common;

use common::{bind, client, config, core, pattern, receive, receive_to_end, send_all};
use sluice_rt::{Config, Listener, Stream, run, spawn, stats, yield_now};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Counts what is allocated, and the most there ever was.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const BODY_BYTES: usize = 48 << 20;

fn checksum(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(seed, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
}

/// Sends the body in pieces of one block that both sides know.
fn upload(client: &TcpStream, block: &[u8]) {
    for _ in 0..BODY_BYTES / block.len() {
        send_all(client, block);
    }
    client.shutdown(Shutdown::Write).unwrap();
}

async fn read_slowly(stream: &Stream, block: &[u8]) {
    let (mut offset, mut total) = (0, 0);
    while let Some(buf) = stream.recv().await.unwrap() {
        for byte in buf.iter() {
            assert_eq!(*byte, block[offset], "at {total}");
            offset = (offset + 1) % block.len();
        }
        total += buf.len();
        drop(buf);
        for _ in 0..4 {
            yield_now().await;
        }
    }
    assert_eq!(total, BODY_BYTES);
}

/// A body each way past a reader that is slower than the writer.
fn big_bodies() {
    let (listener, addr) = bind();
    let block = Arc::new(pattern(64 << 10));
    let theirs = Arc::clone(&block);
    let peer = thread::spawn(move || {
        let client = client(addr);
        upload(&client, &theirs);
        let mut sum = 0;
        for _ in 0..BODY_BYTES / theirs.len() {
            sum = checksum(sum, &receive(&client, theirs.len()));
            thread::yield_now();
        }
        assert_eq!(receive_to_end(&client), b"");
        sum
    });
    core(move || async move {
        let listener = Listener::new(listener).unwrap();
        let stream = listener.accept().await.unwrap();
        read_slowly(&stream, &block).await;
        assert!(stats().recv_paused > 0, "the reader was meant to lag");
        let mut sum = 0;
        for _ in 0..BODY_BYTES / block.len() {
            stream.write(&block);
            stream.sent_below(256 << 10).await.unwrap();
            assert!(stream.unsent_bytes() <= 256 << 10);
            sum = checksum(sum, &block);
        }
        stream.shutdown_write();
        stream.flushed().await.unwrap();
        drop(stream);
        assert_eq!(peer.join().unwrap(), sum);
    });
}

/// More connections than buffers whose data nobody reads, and one that is served all the same.
fn stalled_connections(config: Config, stalled: usize) {
    let (listener, addr) = bind();
    let peers = thread::spawn(move || {
        let clients: Vec<_> = (0..stalled).map(|_| client(addr)).collect();
        for (index, client) in clients.iter().enumerate() {
            send_all(client, format!("{index:>4}").as_bytes());
        }
        let live = client(addr);
        for round in 0..50u8 {
            send_all(&live, &[round; 100]);
            assert_eq!(receive(&live, 100), [round; 100]);
        }
        drop(live);
        for (index, client) in clients.iter().enumerate() {
            assert_eq!(receive(client, 4), format!("{index:>4}").as_bytes());
        }
    });
    run(config, move || async move {
        let listener = Listener::new(listener).unwrap();
        let mut held = Vec::new();
        for _ in 0..stalled {
            held.push(listener.accept().await.unwrap());
        }
        let live = listener.accept().await.unwrap();
        while let Some(buf) = live.recv().await.unwrap() {
            live.write_buf(buf);
            live.flush();
        }
        assert!(stats().buffers_low > 0, "the buffers were meant to run low");
        for stream in held {
            spawn(async move {
                let buf = stream.recv().await.unwrap().unwrap();
                stream.write_buf(buf);
                stream.flushed().await.unwrap();
                assert!(stream.recv().await.unwrap().is_none());
            });
        }
        while stats().tasks > 1 {
            yield_now().await;
        }
        assert_eq!(stats().task_panics, 0);
    })
    .unwrap();
    peers.join().unwrap();
}

/// Readers that stop in the middle of a body whose senders are always ahead, and that go on later.
fn stopped_readers(readers: usize) {
    let (listener, addr) = bind();
    let block = Arc::new(pattern(64 << 10));
    let peers: Vec<_> = (0..readers)
        .map(|_| {
            let block = Arc::clone(&block);
            thread::spawn(move || upload(&client(addr), &block))
        })
        .collect();
    core(move || async move {
        let listener = Listener::new(listener).unwrap();
        let mut streams = Vec::new();
        for _ in 0..readers {
            streams.push(listener.accept().await.unwrap());
        }
        let before = LIVE.load(Ordering::Relaxed);
        for stream in &streams {
            drop(stream.recv().await.unwrap());
        }
        while stats().recv_paused < readers as u64 {
            yield_now().await;
        }
        // What still came would come in these turns.
        for _ in 0..10_000 {
            yield_now().await;
        }
        // Eight buffers, what the kernel brings before it is told, and once more.
        let most = readers * (8 + 2 * 32) * 4096;
        let held = LIVE.load(Ordering::Relaxed).saturating_sub(before);
        assert!(held <= most, "{held} bytes for {readers} readers");
        for stream in streams {
            let mut received = 0;
            while let Some(buf) = stream.recv().await.unwrap() {
                received += buf.len();
            }
            assert!(received > BODY_BYTES - (64 << 10), "of {BODY_BYTES} there came {received}");
        }
    });
    peers.into_iter().for_each(|peer| peer.join().unwrap());
}

#[test]
fn slow_and_stalled_peers_cost_bounded_memory() {
    stopped_readers(1);
    // So many that a burst for each is more than there are buffers.
    stopped_readers(12);
    big_bodies();
    let peak = PEAK.load(Ordering::Relaxed);
    assert!(peak < 8 << 20, "{peak} bytes for bodies of {BODY_BYTES}");
    stalled_connections(config(), 400);
    // So few that the kernel runs out within a turn.
    stalled_connections(Config { buffers: 4, ..config() }, 64);
}
