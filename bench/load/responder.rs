//! The upstream of the load benchmark: the cheapest HTTP/1.1 server that is still honest.
//!
//! One thread, epoll, keep-alive and pipelining; answers are prepared bytes chosen by the path: 100 KiB where it contains
//! `100k`, else 187 bytes of JSON. A connection that begins with HTTP/2's preface is answered in HTTP/2, always with the
//! small answer; its windows are taken to be large enough. It trusts its peers (the gateways under test) and is no server for anything else.
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
/// A request of the benchmark is under half of this.
const MAX_REQUEST_BYTES: usize = 8192;
const LISTENER: u64 = u64::MAX;

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9000".to_owned());
    let listener = TcpListener::bind(&address)?;
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);

    let (h2, h2_data_at) = h2_answer(SMALL_BODY.as_bytes());
    let answers = Answers {
        small: answer(SMALL_BODY.as_bytes()),
        large: answer(&vec![b'x'; LARGE_BODY_BYTES]),
        h2,
        h2_data_at,
    };
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
    /// HEADERS and DATA of the small one; the stream's number is to be put in both.
    h2: Vec<u8>,
    /// Where the second frame begins.
    h2_data_at: usize,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// SETTINGS: room for 1,000 streams.
const SETTINGS: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 3, 0xe8];
const SETTINGS_ACK: &[u8] = &[0, 0, 0, 4, 1, 0, 0, 0, 0];

/// The answer in HTTP/2: a block of literals, which needs no compression state (RFC 7541 section 6.2.2).
fn h2_answer(body: &[u8]) -> (Vec<u8>, usize) {
    let mut block = vec![0x88];
    for (index, value) in
        [(31_u8, "application/json"), (24, "public, max-age=600"), (28, &body.len().to_string())]
    {
        // Names by the static table: 15 and the rest, then the value.
        block.extend([0x0f, index - 15, value.len() as u8]);
        block.extend(value.as_bytes());
    }
    let mut bytes = vec![0, 0, block.len() as u8, 1, 4, 0, 0, 0, 0];
    bytes.extend(&block);
    let at = bytes.len();
    bytes.extend([0, 0, body.len() as u8, 0, 1, 0, 0, 0, 0]);
    bytes.extend(body);
    (bytes, at)
}

fn answer(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: public, max-age=600\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// How long the body of a request with this head is; only POST has one here, always with its length.
fn body_bytes(head: &[u8]) -> usize {
    if !head.starts_with(b"POST ") {
        return 0;
    }
    let length = head.split(|&byte| byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(16)?;
        let value = name.eq_ignore_ascii_case(b"content-length: ").then_some(value)?;
        str::from_utf8(value).ok()?.trim().parse().ok()
    });
    length.unwrap_or(0)
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
            Some(Connection { stream, head: Vec::new(), unsent: Vec::new(), wants_write: false, h2: false });
    }
}

struct Connection {
    stream: TcpStream,
    /// Of a request that has not arrived whole.
    head: Vec<u8>,
    /// What the socket did not take yet.
    unsent: Vec<u8>,
    wants_write: bool,
    /// The peer began with HTTP/2's preface.
    h2: bool,
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
        if let Some(after) = rest.strip_prefix(PREFACE) {
            (self.h2, rest) = (true, after);
            self.send(SETTINGS)?;
        }
        if self.h2 {
            let used = self.frames(rest, answers)?;
            self.head = rest[used..].to_vec();
            return Ok(());
        }
        while let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
            let whole = end + 4 + body_bytes(&rest[..end]);
            if rest.len() < whole {
                break;
            }
            let line = rest.split(|&byte| byte == b'\r').next().unwrap_or_default();
            let large = line.windows(4).any(|window| window == b"100k");
            self.send(if large { &answers.large } else { &answers.small })?;
            rest = &rest[whole..];
        }
        if rest.len() > MAX_REQUEST_BYTES {
            return Err(ErrorKind::InvalidData.into());
        }
        self.head = rest.to_vec();
        Ok(())
    }

    /// Answers each HEADERS frame, and the frames that want an acknowledgement; how many bytes were whole frames.
    fn frames(&mut self, bytes: &[u8], answers: &Answers) -> std::io::Result<usize> {
        let mut out = Vec::new();
        let mut used = 0;
        while let Some([l2, l1, l0, kind, flags, stream @ ..]) = bytes[used..].first_chunk::<9>() {
            let len = u32::from_be_bytes([0, *l2, *l1, *l0]) as usize;
            let Some(payload) = bytes.get(used + 9..used + 9 + len) else { break };
            used += 9 + len;
            match kind {
                1 => {
                    let at = out.len();
                    out.extend_from_slice(&answers.h2);
                    out[at + 5..at + 9].copy_from_slice(stream);
                    let data = at + answers.h2_data_at;
                    out[data + 5..data + 9].copy_from_slice(stream);
                }
                4 if flags & 1 == 0 => out.extend_from_slice(SETTINGS_ACK),
                6 if flags & 1 == 0 => {
                    out.extend_from_slice(&[0, 0, 8, 6, 1, 0, 0, 0, 0]);
                    out.extend_from_slice(payload);
                }
                _ => {}
            }
        }
        if !out.is_empty() {
            self.send(&out)?;
        }
        Ok(used)
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
    use super::{LARGE_BODY_BYTES, SMALL_BODY, answer, body_bytes};

    #[test]
    fn bodies_of_posts_are_told_by_their_length() {
        assert_eq!(body_bytes(b"POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 12\r\nA: b"), 12);
        assert_eq!(body_bytes(b"GET / HTTP/1.1\r\nContent-Length: 12"), 0);
    }

    #[test]
    fn answers_have_the_promised_sizes() {
        assert_eq!(SMALL_BODY.len(), 187);
        let large = answer(&vec![b'x'; LARGE_BODY_BYTES]);
        let head = large.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
        assert_eq!(head.map(|at| large.len() - at), Some(102_400));
    }
}
