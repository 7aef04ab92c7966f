//! A fixed answer to every request: what the engine itself costs.
//!
//! `cargo run --release -p sluice-rt --example echo_http -- 127.0.0.1:8090`, then
//! `wrk -c 64 -d 5 http://127.0.0.1:8090/`.

#![allow(clippy::print_stderr, clippy::expect_used, reason = "an example")]

use sluice_rt::{Config, Listener, Stream, bind_reuseport, run, spawn};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 187\r\n\r\n\
    {\"id\":42,\"name\":\"Ada Lovelace\",\"email\":\"ada@example.com\",\"roles\":[\"admin\",\"author\",\"reviewer\"],\
    \"active\":true,\"created\":\"2024-01-01T00:00:00Z\",\"note\":\"a body of one hundred and eighty-7.\"}  ";

async fn serve(stream: Stream) {
    while let Ok(Some(request)) = stream.recv().await {
        let ends = request.windows(4).filter(|window| window == b"\r\n\r\n").count();
        for _ in 0..ends {
            stream.write(ANSWER);
        }
        stream.flush();
    }
}

fn main() -> std::io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8090".into());
    let listener = bind_reuseport(addr.parse().expect("an address"))?;
    eprintln!("answering on http://{}", listener.local_addr()?);
    run(Config::default(), || async move {
        let listener = Listener::new(listener).expect("inside the engine");
        while let Ok(stream) = listener.accept().await {
            spawn(serve(stream));
        }
    })
}
