//! An HTTP/2 client that can misbehave: frames as they are, one by one.
//!
//! Its frame code is its own, and the header compression is a stranger's (`fluke-hpack`), so a fault in the gateway's
//! codec cannot hide behind the same fault here.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::wait::PATIENCE;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const WITH_PRIORITY: u8 = 0x20;

pub type Fields = Vec<(String, String)>;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = (self.payload.len() as u32).to_be_bytes()[1..].to_vec();
        out.extend([self.kind, self.flags]);
        out.extend(self.stream.to_be_bytes());
        out.extend(&self.payload);
        out
    }

    /// The four bytes from here on as a number.
    pub fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A header block of plain literals.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            length(&mut out, text.len());
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

fn length(out: &mut Vec<u8>, len: usize) {
    if len < 127 {
        return out.push(len as u8);
    }
    out.push(127);
    let mut rest = len - 127;
    while rest >= 128 {
        out.push(rest as u8 | 128);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The fields of a plain GET.
pub fn get(path: &str) -> Vec<(&str, &str)> {
    vec![(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "x")]
}

pub fn post(path: &str) -> Vec<(&str, &str)> {
    vec![(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x")]
}

/// What came on one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub fields: Fields,
    pub interim: Vec<Fields>,
    pub body: Vec<u8>,
    pub trailers: Fields,
    pub reset: Option<u32>,
    pub ended: bool,
}

impl Answer {
    pub fn status(&self) -> &str {
        self.field(":status").unwrap_or("none")
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        find(&self.fields, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub fn find<'f>(fields: &'f Fields, name: &str) -> Option<&'f str> {
    fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
}

/// One connection.
pub struct H2 {
    stream: TcpStream,
    decoder: fluke_hpack::Decoder<'static>,
    pub answers: BTreeMap<u32, Answer>,
    pub goaway: Option<(u32, u32, String)>,
    /// Returns windows as data comes.
    pub greedy: bool,
    next_id: u32,
    partial: Vec<u8>,
}

impl H2 {
    /// Connects without saying anything.
    pub fn silent(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect_timeout(&addr, PATIENCE).unwrap())
    }

    /// Either end of a connection that is there.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let (answers, partial) = (BTreeMap::new(), Vec::new());
        Self {
            stream,
            decoder: fluke_hpack::Decoder::new(),
            answers,
            goaway: None,
            greedy: true,
            next_id: 1,
            partial,
        }
    }

    /// Connects, greets, and reads the gateway's settings.
    pub fn open(addr: SocketAddr) -> Self {
        Self::with_settings(addr, &[])
    }

    pub fn with_settings(addr: SocketAddr, values: &[(u16, u32)]) -> Self {
        let mut h2 = Self::silent(addr);
        h2.send(PREFACE);
        h2.settings(values);
        let first = h2.frame().expect("the gateway's settings");
        assert_eq!((first.kind, first.flags, first.stream), (SETTINGS, 0, 0));
        h2.send_frame(SETTINGS, ACK, 0, []);
        h2
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn settings(&mut self, values: &[(u16, u32)]) {
        let payload: Vec<u8> = values
            .iter()
            .flat_map(|(id, value)| id.to_be_bytes().into_iter().chain(value.to_be_bytes()))
            .collect();
        self.send_frame(SETTINGS, 0, 0, payload);
    }

    pub fn send(&mut self, bytes: &[u8]) {
        // A gateway that has hung up is what some tests provoke: reading tells.
        let _ = self.stream.write_all(bytes);
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub fn send_frame(&mut self, kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) {
        self.send(&Frame::new(kind, flags, stream, payload).bytes());
    }

    /// Sends a request head on a new stream.
    pub fn request(&mut self, fields: &[(&str, &str)], end: bool) -> u32 {
        self.request_block(&block(fields), end)
    }

    /// Sends a header block as it is on a new stream.
    pub fn request_block(&mut self, block: &[u8], end: bool) -> u32 {
        let id = self.next_id;
        self.next_id += 2;
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.send_frame(HEADERS, flags, id, block);
        id
    }

    pub fn data(&mut self, id: u32, data: &[u8], end: bool) {
        self.send_frame(DATA, if end { END_STREAM } else { 0 }, id, data);
    }

    pub fn window_update(&mut self, id: u32, increment: u32) {
        self.send_frame(WINDOW_UPDATE, 0, id, increment.to_be_bytes());
    }

    pub fn reset(&mut self, id: u32, code: u32) {
        self.send_frame(RST_STREAM, 0, id, code.to_be_bytes());
    }

    /// The next frame; `None` at the end of the connection.
    pub fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.fill(&mut head)?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; len];
        self.fill(&mut payload)?;
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap()) & 0x7fff_ffff;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Reads so many bytes; `None` at the end of the connection.
    pub fn fill(&mut self, into: &mut [u8]) -> Option<()> {
        match self.stream.read_exact(into) {
            Ok(()) => Some(()),
            Err(e) if matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
                None
            }
            Err(e) => panic!("read a frame: {e}; so far {:?}, goaway {:?}", self.answers, self.goaway),
        }
    }

    /// Reads frames and notes what they say, until `done` or the end of the connection.
    pub fn until(&mut self, mut done: impl FnMut(&Self, &Frame) -> bool) -> bool {
        while let Some(frame) = self.frame() {
            self.note(&frame);
            if done(self, &frame) {
                return true;
            }
        }
        false
    }

    fn note(&mut self, frame: &Frame) {
        let answer = self.answers.entry(frame.stream).or_default();
        match frame.kind {
            HEADERS | CONTINUATION => {
                self.partial.extend(&frame.payload);
                if frame.flags & END_HEADERS != 0 {
                    let fields =
                        self.decoder.decode(&std::mem::take(&mut self.partial)).expect("a header block");
                    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
                    let fields: Fields = fields.into_iter().map(|(n, v)| (text(n), text(v))).collect();
                    match find(&fields, ":status") {
                        Some(status) if status.starts_with('1') => answer.interim.push(fields),
                        Some(_) => answer.fields = fields,
                        None => answer.trailers = fields,
                    }
                }
                answer.ended |= frame.kind == HEADERS && frame.flags & END_STREAM != 0;
            }
            DATA => {
                answer.body.extend(&frame.payload);
                answer.ended |= frame.flags & END_STREAM != 0;
                let n = frame.payload.len() as u32;
                if self.greedy && n > 0 {
                    self.window_update(0, n);
                    self.window_update(frame.stream, n);
                }
            }
            RST_STREAM => answer.reset = Some(frame.number(0)),
            GOAWAY => {
                let debug = String::from_utf8_lossy(&frame.payload[8..]).into_owned();
                self.goaway = Some((frame.number(0), frame.number(4), debug));
            }
            SETTINGS if frame.flags & ACK == 0 => self.send_frame(SETTINGS, ACK, 0, []),
            _ => {}
        }
    }

    /// Reads until this stream has ended.
    #[track_caller]
    pub fn answer(&mut self, id: u32) -> Answer {
        let over = |h2: &Self| h2.answers.get(&id).is_some_and(|a| a.ended || a.reset.is_some());
        if !over(self) {
            let come = self.until(|h2, _| over(h2));
            assert!(come, "no answer on stream {id}; goaway: {:?}", self.goaway);
        }
        self.answers.remove(&id).unwrap()
    }

    #[track_caller]
    pub fn call(&mut self, fields: &[(&str, &str)]) -> Answer {
        let id = self.request(fields, true);
        self.answer(id)
    }

    #[track_caller]
    pub fn get(&mut self, path: &str) -> Answer {
        self.call(&get(path))
    }

    /// Reads to the end of the connection; the last GOAWAY: stream, code, debug data.
    #[track_caller]
    pub fn goaway(&mut self) -> (u32, u32, String) {
        self.until(|_, _| false);
        self.goaway.clone().expect("GOAWAY before the end of the connection")
    }

    /// Sends PING and waits for its answer: everything before it has been dealt with.
    #[track_caller]
    pub fn sync(&mut self) {
        self.send_frame(PING, 0, 0, *b"in sync?");
        let came = self.until(|_, f| f.kind == PING && f.flags & ACK != 0 && f.payload == b"in sync?");
        assert!(came, "no answer to PING; goaway: {:?}", self.goaway);
    }
}
