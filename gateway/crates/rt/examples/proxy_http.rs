//! A fixed proxy with a pool of upstream connections, no parsing to speak of: what forwarding costs.
//!
//! `cargo run --release -p sluice-rt --example proxy_http -- 127.0.0.1:8091 127.0.0.1:8090`, with `echo_http` behind
//! it. Expects requests without a body and answers with a Content-Length, neither pipelined.

#![allow(clippy::print_stderr, clippy::expect_used, reason = "an example")]

use sluice_rt::{Config, Listener, Stream, bind_reuseport, now_ms, run, spawn};
use std::{cell::RefCell, io, net::SocketAddr, rc::Rc};

struct Upstream {
    addr: SocketAddr,
    idle: RefCell<Vec<Stream>>,
}

impl Upstream {
    async fn get(&self) -> io::Result<Stream> {
        loop {
            // Ends the borrow before anything awaits.
            let idle = self.idle.borrow_mut().pop();
            match idle {
                Some(stream) if stream.is_idle_open() => return Ok(stream),
                Some(_stale) => {}
                None => return Stream::connect(self.addr, now_ms() + 1_000).await,
            }
        }
    }
}

/// Bytes of the message that starts with `head`, if its head is complete.
fn message_len(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let body = head.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let length = head
        .windows(NAME.len())
        .position(|window| window.eq_ignore_ascii_case(NAME))
        .and_then(|at| head.get(at + NAME.len()..body))
        .and_then(|rest| rest.trim_ascii_start().split(|byte| !byte.is_ascii_digit()).next())
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    Some(body + length.unwrap_or(0))
}

async fn exchange(client: &Stream, upstream: &Stream) -> io::Result<()> {
    let first = upstream.recv().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let total = message_len(&first).ok_or(io::ErrorKind::InvalidData)?;
    let rest = total.saturating_sub(first.len()) as u64;
    client.write_buf(first);
    client.flush();
    if rest > 0 {
        upstream.splice_to(client, rest).await?;
    }
    Ok(())
}

async fn serve(client: Stream, upstream: Rc<Upstream>) {
    while let Ok(Some(request)) = client.recv().await {
        client.set_deadline_ms(Some(now_ms() + 29_000));
        let Ok(stream) = upstream.get().await else { return };
        stream.write_buf(request);
        stream.flush();
        if exchange(&client, &stream).await.is_err() {
            return;
        }
        upstream.idle.borrow_mut().push(stream);
    }
}

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let listen = args.next().unwrap_or_else(|| "127.0.0.1:8091".into());
    let upstream = args.next().unwrap_or_else(|| "127.0.0.1:8090".into());
    let listener = bind_reuseport(listen.parse().expect("an address"))?;
    let addr = upstream.parse().expect("an address");
    eprintln!("forwarding http://{} to http://{addr}", listener.local_addr()?);
    run(Config::default(), move || async move {
        let listener = Listener::new(listener).expect("inside the engine");
        let upstream = Rc::new(Upstream { addr, idle: RefCell::default() });
        while let Ok(client) = listener.accept().await {
            spawn(serve(client, Rc::clone(&upstream)));
        }
    })
}
