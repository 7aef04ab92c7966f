//! A fixed answer to every request: what the engine itself costs.
//!
//! `cargo run --release -p sluice-rt --example echo_http -- 127.0.0.1:8090 [BODY_BYTES]`, then
//! `wrk -c 64 -d 5 http://127.0.0.1:8090/`.

#![allow(clippy::print_stderr, clippy::expect_used, reason = "an example")]

use bytes::Bytes;
use sluice_rt::{Config, Listener, Stream, bind_reuseport, run, spawn};

/// Answers from here on are not copied.
const BIG_BYTES: usize = 4096;

async fn serve(stream: Stream, answer: Bytes) {
    while let Ok(Some(requests)) = stream.recv().await {
        // Good enough for a load generator, which sends heads whole.
        for _ in requests.windows(4).filter(|window| window == b"\r\n\r\n") {
            if answer.len() < BIG_BYTES {
                stream.write(&answer);
            } else {
                stream.write_bytes(answer.clone());
            }
        }
        stream.flush();
    }
}

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let addr = args.next().unwrap_or_else(|| "127.0.0.1:8090".into());
    let body_bytes = args.next().map_or(187, |bytes| bytes.parse().expect("a length in bytes"));
    let listener = bind_reuseport(addr.parse().expect("an address"))?;
    eprintln!("answering on http://{}", listener.local_addr()?);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";
    let answer = Bytes::from(format!("{head} {body_bytes}\r\n\r\n{}", "x".repeat(body_bytes)));
    run(Config::default(), move || async move {
        let listener = Listener::new(listener).expect("inside the engine");
        while let Ok(stream) = listener.accept().await {
            spawn(serve(stream, answer.clone()));
        }
    })
}
