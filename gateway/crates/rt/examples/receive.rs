//! What receiving bulk costs by the size of the receive buffers: `cargo run --release -p sluice-rt --example receive`.
//!
//! A larger buffer takes as much off the engine as a bundle of small ones would (one completion for the same bytes), and more: it
//! is one piece for whoever reads. So the difference is the most that receive bundles could bring.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "an example")]

use sluice_rt::{Config, Listener, bind_reuseport, run, stats};
use std::{
    io::Write as _,
    net::{SocketAddr, TcpStream},
    thread,
};

const BYTES: usize = 1 << 30;
const ROUNDS: usize = 5;
/// Bytes and number of buffers: the same memory.
const SIZES: [(u32, u16); 4] = [(4_096, 256), (8_192, 128), (16_384, 64), (32_768, 32)];

/// CPU time of the calling thread, the kernel's on its behalf included.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("schedstat");
    text.split(' ').next().and_then(|first| first.parse().ok()).expect("a figure")
}

fn send(to: SocketAddr) {
    let (mut stream, piece) = (TcpStream::connect(to).expect("connect"), vec![0; 65_536]);
    for _ in 0..BYTES / piece.len() {
        stream.write_all(&piece).expect("send");
    }
}

/// Receives all of it on one core; its CPU time and completions.
fn receive(buffer_bytes: u32, buffers: u16) -> (u64, u64) {
    let socket = bind_reuseport(SocketAddr::from(([127, 0, 0, 1], 0))).expect("bind");
    let to = socket.local_addr().expect("address");
    let sender = thread::spawn(move || send(to));
    let (done, result) = std::sync::mpsc::channel();
    let config = Config { buffer_bytes, buffers, ..Config::default() };
    let core = thread::spawn(move || {
        run(config, move || async move {
            let listener = Listener::new(socket).expect("listen");
            let stream = listener.accept().await.expect("accept");
            let (start_ns, before) = (cpu_ns(), stats().completions);
            while let Ok(Some(received)) = stream.recv().await {
                drop(received);
            }
            let _ = done.send((cpu_ns() - start_ns, stats().completions - before));
        })
    });
    let measured = result.recv().expect("a result");
    sender.join().expect("the sender");
    let _ = core.join();
    measured
}

fn main() {
    let mut rounds: Vec<Vec<(u64, u64)>> = vec![Vec::new(); SIZES.len()];
    for _ in 0..ROUNDS {
        for ((bytes, buffers), results) in SIZES.into_iter().zip(&mut rounds) {
            results.push(receive(bytes, buffers));
        }
    }
    println!("| buffer, bytes | CPU, us per MiB | completions per MiB |\n|--:|--:|--:|");
    for ((bytes, _), mut results) in SIZES.into_iter().zip(rounds) {
        results.sort_unstable();
        let (ns, completions) = results.get(ROUNDS / 2).copied().unwrap_or_default();
        let mib = (BYTES >> 20) as f64;
        println!("| {bytes} | {:.1} | {:.0} |", ns as f64 / 1_000.0 / mib, completions as f64 / mib);
    }
}
