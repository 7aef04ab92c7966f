//! The upstream of the load benchmark: the cheapest HTTP/1.1 server that is still honest.
//!
//! One thread, epoll, keep-alive and pipelining; answers are prepared bytes chosen by the path: 100 KiB where it contains
//! `100k`, else 187 bytes of JSON. It trusts its peers (the gateways under test) and is no server for anything else.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "a tool of the benchmark: it prints its address, and a panic ends the measurement, not a gateway"
)]

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

const SMALL_BODY: &str = include_str!("answer.json");
const LARGE_BODY_BYTES: usize = 100 * 1024;
/// A request head of the benchmark is under half of this.
const MAX_HEAD_BYTES: usize = 4096;
const LISTENER: u64 = u64::MAX;

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9000".to_owned());
    let listener = TcpListener::bind(&address)?;
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);

    let answers =
        Answers { small: answer(SMALL_BODY.as_bytes()), large: answer(&vec![b'x'; LARGE_BODY_BYTES]) };
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, listener.as_fd(), epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = Vec::with_capacity(256);
    loop {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in &events {
            let token = event.data.u64();
            if token == LISTENER {
                accept(&listener, &epoll, &mut connections)?;
                continue;
            }
            let slot = &mut connections[token as usize];
            if let Some(connection) = slot
                && connection.turn(&answers, &epoll, token).is_err()
            {
                *slot = None;
            }
        }
    }
}

/// Whole responses, ready to send.
struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
}

fn answer(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: public, max-age=600\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn accept(
    listener: &TcpListener,
    epoll: &impl AsFd,
    connections: &mut Vec<Option<Connection>>,
) -> std::io::Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        // A large answer in one write: what is compared is the gateway's receiving, not this side's waiting.
        rustix::net::sockopt::set_socket_send_buffer_size(&stream, 4 << 20)?;
        let free = connections.iter().position(Option::is_none).unwrap_or_else(|| {
            connections.push(None);
            connections.len() - 1
        });
        epoll::add(epoll, stream.as_fd(), epoll::EventData::new_u64(free as u64), epoll::EventFlags::IN)?;
        connections[free] =
            Some(Connection { stream, head: Vec::new(), unsent: Vec::new(), wants_write: false });
    }
}

struct Connection {
    stream: TcpStream,
    /// Of a request that has not arrived whole.
    head: Vec<u8>,
    /// What the socket did not take yet.
    unsent: Vec<u8>,
    wants_write: bool,
}

impl Connection {
    /// Reads, answers every whole request, writes; an error means that the connection is over.
    fn turn(&mut self, answers: &Answers, epoll: &impl AsFd, token: u64) -> std::io::Result<()> {
        if !self.unsent.is_empty() {
            self.drain()?;
        }
        let mut buffer = [0_u8; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => self.received(&buffer[..length], answers)?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let wants_write = !self.unsent.is_empty();
        if wants_write != self.wants_write {
            self.wants_write = wants_write;
            let flags = if wants_write {
                epoll::EventFlags::IN | epoll::EventFlags::OUT
            } else {
                epoll::EventFlags::IN
            };
            epoll::modify(epoll, self.stream.as_fd(), epoll::EventData::new_u64(token), flags)?;
        }
        Ok(())
    }

    fn received(&mut self, bytes: &[u8], answers: &Answers) -> std::io::Result<()> {
        // Nearly always one whole request and nothing kept: answered from the read buffer.
        let kept = std::mem::take(&mut self.head);
        let joined;
        let mut rest = if kept.is_empty() {
            bytes
        } else {
            joined = [&kept, bytes].concat();
            &joined[..]
        };
        while let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
            let line = rest.split(|&byte| byte == b'\r').next().unwrap_or_default();
            let large = line.windows(4).any(|window| window == b"100k");
            self.send(if large { &answers.large } else { &answers.small })?;
            rest = &rest[end + 4..];
        }
        if rest.len() > MAX_HEAD_BYTES {
            return Err(ErrorKind::InvalidData.into());
        }
        self.head = rest.to_vec();
        Ok(())
    }

    fn send(&mut self, answer: &[u8]) -> std::io::Result<()> {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(answer);
            return Ok(());
        }
        let sent = match self.stream.write(answer) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        self.unsent.extend_from_slice(&answer[sent..]);
        Ok(())
    }

    fn drain(&mut self) -> std::io::Result<()> {
        match self.stream.write(&self.unsent) {
            Ok(sent) => {
                self.unsent.drain(..sent);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LARGE_BODY_BYTES, SMALL_BODY, answer};

    #[test]
    fn answers_have_the_promised_sizes() {
        assert_eq!(SMALL_BODY.len(), 187);
        let large = answer(&vec![b'x'; LARGE_BODY_BYTES]);
        let head = large.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
        assert_eq!(head.map(|at| large.len() - at), Some(102_400));
    }
}
