//! What the tests share.

#![allow(dead_code, reason = "each test file uses its part")]

use sluice_rt::{Config, Engine, Listener, Stream, bind_reuseport, now_ms, run};
use std::{
    future::Future,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

/// Long enough that only a hang reaches it.
pub(crate) const PATIENCE_MS: u64 = 60_000;

/// Runs a core on this thread with the standard configuration.
pub(crate) fn core<F: Future<Output = ()> + 'static>(root: impl FnOnce() -> F) {
    run(config(), root).unwrap();
}

/// The standard configuration. Files whose name ends with `_epoll` are links: the same tests on the other driver.
pub(crate) fn config() -> Config {
    let epoll = env!("CARGO_CRATE_NAME").ends_with("_epoll");
    Config { engine: if epoll { Engine::Epoll } else { Engine::IoUring }, ..Config::default() }
}

pub(crate) fn bind() -> (TcpListener, SocketAddr) {
    let listener = bind_reuseport("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// Two ends of one connection, both on this core: accepted and connected.
pub(crate) async fn pair() -> (Stream, Stream) {
    let (listener, addr) = bind();
    let listener = Listener::new(listener).unwrap();
    let connected = Stream::connect(addr, soon()).await.unwrap();
    let accepted = listener.accept().await.unwrap();
    (accepted, connected)
}

/// A deadline that only a hang reaches.
pub(crate) fn soon() -> u64 {
    now_ms() + PATIENCE_MS
}

/// A blocking client that fails rather than hangs.
pub(crate) fn client(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    let patience = Some(Duration::from_millis(PATIENCE_MS));
    stream.set_read_timeout(patience).unwrap();
    stream.set_write_timeout(patience).unwrap();
    stream
}

/// Bytes that differ at every offset a mistake might produce.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

/// Reads exactly `len` bytes.
pub(crate) async fn read_exact(stream: &Stream, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let buf = stream.recv().await.unwrap().expect("the stream ended early");
        let take = buf.len().min(len - bytes.len());
        bytes.extend_from_slice(&buf[..take]);
        stream.unread(buf, take);
    }
    bytes
}

/// Reads to the end.
pub(crate) async fn read_to_end(stream: &Stream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(buf) = stream.recv().await? {
        bytes.extend_from_slice(&buf);
    }
    Ok(bytes)
}

pub(crate) fn send_all(mut stream: &TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
}

pub(crate) fn receive(mut stream: &TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

pub(crate) fn receive_to_end(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}
