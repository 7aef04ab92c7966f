//! A fixed answer to every request: what the engine itself costs.
//!
//! `cargo run --release -p sluice-rt --example echo_http -- 127.0.0.1:8090`, then
//! `wrk -c 64 -d 5 http://127.0.0.1:8090/`.

#![allow(clippy::print_stderr, clippy::expect_used, reason = "an example")]

use sluice_rt::{Config, Listener, Stream, bind_reuseport, run, spawn};

const BODY: &str = r#"{"id":42,"name":"Ada Lovelace","email":"ada@example.com","roles":["admin","author"]}"#;

async fn serve(stream: Stream, answer: &'static [u8]) {
    while let Ok(Some(requests)) = stream.recv().await {
        // Good enough for a load generator, which sends heads whole.
        for _ in requests.windows(4).filter(|window| window == b"\r\n\r\n") {
            stream.write(answer);
        }
        stream.flush();
    }
}

fn main() -> std::io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8090".into());
    let listener = bind_reuseport(addr.parse().expect("an address"))?;
    eprintln!("answering on http://{}", listener.local_addr()?);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";
    let answer: &'static str = format!("{head} {}\r\n\r\n{BODY}", BODY.len()).leak();
    run(Config::default(), move || async move {
        let listener = Listener::new(listener).expect("inside the engine");
        while let Ok(stream) = listener.accept().await {
            spawn(serve(stream, answer.as_bytes()));
        }
    })
}
