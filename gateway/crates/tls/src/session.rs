//! An established TLS connection.
//!
//! ```text
//! open --close_notify received--> read side ended --+--> both ended
//!   |  --close() sends close_notify--> write side --+
//!   |--EOF without close_notify, broken record--> failed (an alert is sent where there is one)
//! ```

use crate::machine::{Machine, Next, Send};
use crate::peer::PeerCertificate;
use crate::pool;
use bytes::Bytes;
use sluice_rt::Buf;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Largest plain text of a record (RFC 8446 5.1).
const RECORD_BYTES: usize = 16 * 1024;
/// While a burst begins: the peer can decrypt the first records before the congestion window has let a large one through.
const FIRST_RECORD_BYTES: usize = 4 * 1024;
/// What a burst sends in small records: three fit in an initial window of ten segments (RFC 6928).
const FIRST_BYTES: usize = 3 * FIRST_RECORD_BYTES;
/// Silence after which the next burst begins with small records again.
const BURST_IDLE_MS: u64 = 1_000;
/// Plain text from here on is encrypted into a segment of its own: growing the send queue would copy it.
const SEGMENT_BYTES: usize = 8 * 1024;

/// What the handshake settled.
#[derive(Debug, Default)]
pub struct Facts {
    /// Protocol chosen by ALPN.
    pub alpn: Option<Box<[u8]>>,
    /// The name that the client asked for (SNI), lower case.
    pub server_name: Option<Box<str>>,
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// Cipher suite by its IANA name.
    pub cipher: &'static str,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// The client's certificate, verified.
    pub peer: Option<PeerCertificate>,
    /// Whether the client has shown a certificate, now or when the session began. It was verified then.
    pub is_peer_verified: bool,
    /// Version, cipher suite and subject of the client's certificate for the access log, separated by line feeds.
    pub log: Box<[u8]>,
}

impl Facts {
    /// The client is an ACME server that has seen what it wanted to: there is nothing more to say (RFC 8737 3).
    #[must_use]
    pub fn is_challenge(&self) -> bool {
        self.alpn.as_deref() == Some(crate::endpoint::ACME_TLS_ALPN)
    }
}

/// A TLS session and its socket.
pub struct Session {
    stream: sluice_rt::Stream,
    state: RefCell<State>,
    facts: Rc<Facts>,
}

/// What changes as data flows.
pub(crate) struct State {
    pub(crate) machine: Machine,
    /// Plain text that came with the end of the handshake.
    pub(crate) early: Vec<u8>,
    /// The beginning of a record whose end has not come. Without capacity while idle.
    incoming: Vec<u8>,
    /// Plain text that nobody has read.
    plain: VecDeque<Buf>,
    /// Plain text that was written and not encrypted. Without capacity while idle.
    outgoing: Vec<u8>,
    /// Plain text sent since the burst began, and when something was sent last.
    burst_bytes: usize,
    sent_ms: u64,
    /// The peer sends no more.
    ended: bool,
    /// We send no more.
    closed: bool,
    /// Broken for good.
    failed: bool,
}

impl Session {
    pub(crate) fn new(stream: sluice_rt::Stream, machine: Machine) -> Self {
        let state = State {
            machine,
            early: Vec::new(),
            incoming: Vec::new(),
            plain: VecDeque::new(),
            outgoing: Vec::new(),
            burst_bytes: 0,
            sent_ms: 0,
            ended: false,
            closed: false,
            failed: false,
        };
        Self { stream, state: RefCell::new(state), facts: Rc::default() }
    }

    pub(crate) fn stream(&self) -> &sluice_rt::Stream {
        &self.stream
    }

    pub(crate) fn parts(&mut self) -> (&sluice_rt::Stream, &mut State) {
        (&self.stream, self.state.get_mut())
    }

    /// What the handshake settled.
    pub fn facts(&self) -> &Rc<Facts> {
        &self.facts
    }

    /// Ends the handshake: `rest` came behind it.
    pub(crate) fn establish(&mut self, server_name: Option<Box<str>>, rest: Vec<u8>) {
        let state = self.state.get_mut();
        self.facts = Rc::new(facts(&state.machine, server_name));
        if !state.early.is_empty() {
            state.plain.push_back(Buf::from(std::mem::take(&mut state.early)));
        }
        if rest.is_empty() {
            pool::put(rest);
        } else {
            state.incoming = rest;
        }
    }

    pub(crate) fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Buf>>> {
        loop {
            {
                let mut state = self.state.borrow_mut();
                if let Some(buf) = state.plain.pop_front() {
                    return Poll::Ready(Ok(Some(buf)));
                }
                if state.failed {
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
                if state.ended {
                    return Poll::Ready(Ok(None));
                }
            }
            let received = ready!(Pin::new(&mut self.stream.recv()).poll(cx))?;
            let Some(buf) = received else {
                // RFC 8446 6.1: without close_notify the end may be an attacker's.
                self.state.borrow_mut().failed = true;
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            };
            self.feed(buf)?;
        }
    }

    /// Decrypts what came, in the buffer it came in unless a record began before it.
    fn feed(&self, mut buf: Buf) -> io::Result<()> {
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        let mut answer = Vec::new();
        let result = if state.incoming.is_empty() {
            let (used, result) = state.decrypt(&mut buf, &mut answer);
            state.keep(buf.get(used..).unwrap_or_default());
            result
        } else {
            let mut incoming = std::mem::take(&mut state.incoming);
            incoming.extend_from_slice(&buf);
            drop(buf);
            let (used, result) = state.decrypt(&mut incoming, &mut answer);
            state.keep(incoming.get(used..).unwrap_or_default());
            pool::put(incoming);
            result
        };
        drop(guard);
        if !answer.is_empty() {
            self.stream.write(&answer);
            self.stream.flush();
        }
        result
    }

    pub(crate) fn unread(&self, mut buf: Buf, from: usize) {
        buf.advance(from);
        if !buf.is_empty() {
            self.state.borrow_mut().plain.push_front(buf);
        }
    }

    pub(crate) fn write_with<R>(&self, fill: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        // Taken out, so that nothing is borrowed while `fill` runs, whatever it does.
        let mut tail = std::mem::take(&mut self.state.borrow_mut().outgoing);
        if tail.capacity() == 0 {
            tail = pool::get();
        }
        let result = fill(&mut tail);
        let mut state = self.state.borrow_mut();
        let meanwhile = std::mem::replace(&mut state.outgoing, tail);
        state.outgoing.extend_from_slice(&meanwhile);
        pool::put(meanwhile);
        if state.outgoing.len() >= RECORD_BYTES {
            state.encrypt_full(&self.stream);
        }
        result
    }

    pub(crate) fn write(&self, bytes: &[u8]) {
        self.write_with(|out| out.extend_from_slice(bytes));
    }

    /// Encrypts from where the bytes are.
    pub(crate) fn write_large(&self, bytes: &[u8]) {
        if bytes.len() < SEGMENT_BYTES {
            return self.write(bytes);
        }
        let mut state = self.state.borrow_mut();
        state.encrypt_all(&self.stream);
        state.encrypt(&self.stream, bytes);
    }

    pub(crate) fn flush(&self) {
        self.state.borrow_mut().encrypt_all(&self.stream);
        self.stream.flush();
    }

    pub(crate) fn unsent_bytes(&self) -> usize {
        self.stream.unsent_bytes() + self.state.borrow().outgoing.len()
    }

    pub(crate) fn is_idle_open(&self) -> bool {
        let state = self.state.borrow();
        let quiet = state.plain.is_empty() && state.incoming.is_empty() && state.outgoing.is_empty();
        quiet && !state.ended && !state.closed && !state.failed && self.stream.is_idle_open()
    }

    pub(crate) fn is_write_broken(&self) -> bool {
        self.state.borrow().failed || self.stream.is_write_broken()
    }

    /// Flushes, and tells the peer that no more will come (close_notify).
    pub(crate) fn close(&self) {
        let mut state = self.state.borrow_mut();
        state.encrypt_all(&self.stream);
        if !state.closed && !state.failed {
            state.closed = true;
            self.stream.write_with(|out| state.send(out, Send::CloseNotify));
        }
        drop(state);
        self.stream.flush();
    }
}

impl State {
    /// Takes records off the front of `input`: how many bytes of it are used up.
    fn decrypt(&mut self, input: &mut [u8], answer: &mut Vec<u8>) -> (usize, io::Result<()>) {
        let mut plain = Vec::with_capacity(input.len());
        let mut used = 0;
        let result = loop {
            let rest = input.get_mut(used..).unwrap_or_default();
            let step = self.machine.step(rest, &mut plain, answer, Send::Nothing);
            used += step.used;
            match step.next {
                // Plain text and nothing behind it: the next step would find nothing to do.
                Ok(Next::Again) if used == input.len() && !plain.is_empty() && answer.is_empty() => {
                    break Ok(());
                }
                Ok(Next::Again) => {}
                Ok(Next::Ready | Next::Blocked) => break Ok(()),
                Ok(Next::PeerClosed) => {
                    self.ended = true;
                    break Ok(());
                }
                Err(error) => {
                    self.failed = true;
                    self.machine.last_words(input.get_mut(used..).unwrap_or_default(), answer);
                    break Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        };
        if !plain.is_empty() {
            self.plain.push_back(Buf::from(plain));
        }
        (used, result)
    }

    /// Keeps the beginning of a record until the rest comes.
    fn keep(&mut self, rest: &[u8]) {
        if !rest.is_empty() && !self.ended && !self.failed {
            let mut incoming = pool::get();
            incoming.extend_from_slice(rest);
            self.incoming = incoming;
        }
    }

    /// Appends the records of one piece of plain text to `out`.
    fn send(&mut self, out: &mut Vec<u8>, send: Send<'_>) {
        let mut plain = Vec::new();
        while !self.failed {
            let step = self.machine.step(&mut self.incoming, &mut plain, out, send);
            if step.used > 0 {
                self.incoming.drain(..step.used.min(self.incoming.len()));
            }
            match step.next {
                Ok(Next::Again) => {}
                Ok(Next::PeerClosed) if !self.ended => self.ended = true,
                Ok(Next::Ready) => break,
                // After our own close_notify nothing more can be written.
                Ok(_) | Err(_) => self.failed = true,
            }
        }
        if !plain.is_empty() {
            self.plain.push_back(Buf::from(plain));
        }
    }

    /// Encrypts whole records only: the rest waits for more, or for a flush.
    fn encrypt_full(&mut self, stream: &sluice_rt::Stream) {
        let mut outgoing = std::mem::take(&mut self.outgoing);
        let whole = outgoing.len() - outgoing.len() % RECORD_BYTES;
        self.encrypt(stream, outgoing.get(..whole).unwrap_or_default());
        outgoing.drain(..whole);
        self.outgoing = outgoing;
    }

    fn encrypt_all(&mut self, stream: &sluice_rt::Stream) {
        if self.outgoing.capacity() == 0 {
            return;
        }
        let outgoing = std::mem::take(&mut self.outgoing);
        self.encrypt(stream, &outgoing);
        pool::put(outgoing);
    }

    fn encrypt(&mut self, stream: &sluice_rt::Stream, mut data: &[u8]) {
        if data.is_empty() || self.closed {
            return;
        }
        let now_ms = sluice_rt::now_ms();
        if now_ms.saturating_sub(self.sent_ms) > BURST_IDLE_MS {
            self.burst_bytes = 0;
        }
        self.sent_ms = now_ms;
        while !data.is_empty() && !self.failed {
            let most = if self.burst_bytes < FIRST_BYTES { FIRST_RECORD_BYTES } else { RECORD_BYTES };
            let (record, rest) = data.split_at(data.len().min(most));
            self.burst_bytes = self.burst_bytes.saturating_add(record.len());
            if record.len() < SEGMENT_BYTES {
                stream.write_with(|out| self.send(out, Send::Record(record)));
            } else {
                let mut segment = Vec::new();
                self.send(&mut segment, Send::Record(record));
                stream.write_bytes(Bytes::from(segment));
            }
            data = rest;
        }
    }
}

fn facts(machine: &Machine, server_name: Option<Box<str>>) -> Facts {
    let common = machine.common();
    let version = match common.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "",
    };
    let cipher =
        common.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or_default();
    let peer = match machine {
        Machine::Server(_) => {
            common.peer_certificates().and_then(|chain| PeerCertificate::parse(chain.first()?))
        }
        Machine::Client(_) => None,
    };
    let is_peer_verified = matches!(machine, Machine::Server(_)) && common.peer_certificates().is_some();
    let subject = peer.as_ref().map(|peer| peer.subject.as_str()).unwrap_or_default();
    Facts {
        log: [version, cipher, subject].join("\n").into_bytes().into(),
        peer,
        is_peer_verified,
        alpn: common.alpn_protocol().map(Into::into),
        server_name,
        version,
        cipher,
        resumed: common.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
    }
}
