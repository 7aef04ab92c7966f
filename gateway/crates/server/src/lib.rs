//! Accept loop and connection life, generic over one [`Handler`].
//!
//! ```text
//! accept -> from a balancer: PROXY header --broken, too slow--> close
//!              |
//!              v
//!           opened? --Shed---> 503, linger, close (TLS: close at once)
//!              |    \--Close--> close at once
//!              | Serve
//!              v
//!        TLS listener: handshake --failed, too slow, too many--> close
//!              |
//!              v
//!        wait for a head --EOF or idle timeout--> close
//!              |     |\--broken head--> Handler::refuse -> linger, close
//!              |     \--HTTP/2's preface--> h2.rs: streams, each with begin and finish
//!              v
//!        Handler::begin, and finish where that has to wait -> KeepAlive --> wait for a head (what is written is flushed once no pipelined request is left)
//!                          Close ------> flush, close
//!                          Linger -----> flush, FIN, discard what the client still sends, close
//!                          Abort ------> close at once
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod h2;
mod proxy_header;

use sluice_h1::{HeadBytes, HeadError, Scratch, Wire};
use sluice_h2::Side;
use sluice_rt::Listener;
use sluice_tls::{Endpoint, Facts, HandshakeError, Stream};
use sluice_wire::{Limits, RequestError, RequestHead, Version};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

/// What the connection loop needs to know; asked for before each request, so that a reload takes effect at the next one.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Parser limits.
    pub limits: Limits,
    /// Whole request head, milliseconds.
    pub header_timeout_ms: u64,
    /// Between requests, milliseconds.
    pub idle_timeout_ms: u64,
    /// For the client to take what was written, milliseconds.
    pub write_timeout_ms: u64,
    /// Streams that an HTTP/2 client may have open; 0: HTTP/2 is not spoken.
    pub http2_streams: u32,
}

/// A request whose head has been read.
pub struct Request {
    /// The parsed head.
    pub head: Box<RequestHead>,
    /// The bytes its spans index.
    pub bytes: HeadBytes,
    /// When it was received: the loop turn's monotonic time, nanoseconds.
    pub received_ns: u64,
}

/// One client connection, or one stream of an HTTP/2 connection.
pub struct Conn {
    /// Where the request came from and the answer goes.
    pub client: Side,
    /// The other end, or the one that a balancer's PROXY header names.
    pub peer: SocketAddr,
    /// What the TLS handshake settled; `None` on a plain connection.
    pub tls: Option<Rc<Facts>>,
    /// A balancer stands in between.
    pub via_balancer: bool,
    /// Recycled heads and vectors of this core.
    pub scratch: Rc<Scratch>,
    /// Whether the core is draining: then answers ask the client to leave.
    pub active: Rc<Active>,
}

/// What becomes of the connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The request's body was read to its end: the next request may follow.
    KeepAlive,
    /// Flush and close: the client has nothing more to send.
    Close,
    /// Flush and close, but the client may be still sending: discard that for a while, because closing on unread data
    /// makes the kernel reset the connection and the client lose the answer (RFC 9112 9.6).
    Linger,
    /// The answer broke off: close at once so that the client sees it.
    Abort,
}

/// What becomes of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Welcome {
    /// It is served.
    Serve,
    /// It is told that there is no room, and closed.
    Shed,
    /// It is closed without a word: an answer would cost more than it is worth.
    Close,
}

/// How to shake hands with a client.
pub struct Secure {
    /// Certificates and protocol.
    pub endpoint: Arc<Endpoint>,
    /// For the whole handshake, milliseconds.
    pub timeout_ms: u64,
}

/// The service behind the connections of one core.
pub trait Handler: 'static {
    /// Current settings.
    fn settings(&self) -> Settings;
    /// Whether connections from this address begin with a PROXY protocol header.
    fn is_balancer(&self, peer: SocketAddr) -> bool;
    /// A connection was accepted. `via_balancer`: `peer` is whom a balancer's PROXY header names, here and below.
    fn opened(&self, peer: SocketAddr, via_balancer: bool) -> Welcome;
    /// A connection that was to be served is gone.
    fn closed(&self, peer: SocketAddr);
    /// A TLS handshake is about to begin; `None` refuses it.
    fn handshake_begins(&self) -> Option<Secure>;
    /// A handshake of this client that began is over; `None`: its task was dropped.
    fn handshake_ended(
        &self,
        peer: SocketAddr,
        via_balancer: bool,
        outcome: Option<Result<&Facts, &HandshakeError>>,
    );
    /// Writes the answer for a connection that `opened` refused.
    fn shed(&self, conn: &mut Conn);
    /// What a request needs that could not be answered at once.
    type Waiting: 'static;
    /// Answers a request as far as that needs no waiting. It writes to `conn.client`.
    fn begin(&self, conn: &mut Conn, request: Request) -> Step<Self::Waiting>;
    /// Answers the rest. Before it waits it flushes what it wrote.
    fn finish(&self, conn: &mut Conn, waiting: Self::Waiting) -> impl Future<Output = After>;
    /// Writes the answer to a head that could not be read.
    fn refuse(&self, conn: &mut Conn, error: &HeadError);
    /// Something happened on an HTTP/2 connection of this client that is worth counting.
    fn http2(&self, peer: SocketAddr, via_balancer: bool, event: Http2Event);
}

/// How far a request came without waiting.
pub enum Step<W> {
    /// It is answered.
    Done(After),
    /// The rest has to wait for something.
    Wait(W),
}

/// What is counted of HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2Event {
    /// A connection began.
    Connection,
    /// A stream was reset for the client's fault, by its label.
    StreamError(&'static str),
    /// The connection was ended for the client's fault, by its label.
    ConnectionError(&'static str),
}

/// Unsent bytes of pipelined answers above which the next request waits.
const PIPELINE_BYTES: usize = 64 * 1024;
/// How long a closing connection may go on sending, milliseconds.
const LINGER_MS: u64 = 2_000;
/// How much of that is read at most.
const LINGER_BYTES: usize = 1 << 20;

/// Accepts until the listener is closed or fails for good; each connection is a task of its own. `tls`: each begins with
/// a handshake.
pub async fn accept_loop<H: Handler>(
    listener: Rc<Listener>,
    tls: bool,
    handler: Rc<H>,
    scratch: Rc<Scratch>,
    active: Rc<Active>,
) {
    while let Ok(stream) = listener.accept().await {
        let handler = Rc::clone(&handler);
        let scratch = Rc::clone(&scratch);
        let active = Rc::clone(&active);
        sluice_rt::spawn(connection(stream, tls, handler, scratch, active));
    }
}

/// Serves one connection that was accepted elsewhere, in plain text, to its end.
pub async fn serve_one<H: Handler>(
    stream: sluice_rt::Stream,
    handler: Rc<H>,
    scratch: Rc<Scratch>,
    active: Rc<Active>,
) {
    connection(stream, false, handler, scratch, active).await;
}

/// Connections and exchanges of this core, and whether it is draining.
#[derive(Default)]
pub struct Active {
    exchanges: Cell<usize>,
    connections: Cell<usize>,
    used_ms: Cell<u64>,
    draining: Cell<bool>,
    /// Tasks that want to hear of it.
    watchers: RefCell<Vec<Option<Waker>>>,
}

impl Active {
    /// Requests being served now, and HTTP/2 connections, which have to be told when to leave.
    #[must_use]
    pub fn exchanges(&self) -> usize {
        self.exchanges.get()
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.get()
    }

    /// When a connection was last opened or a request last answered, on the engine's clock.
    #[must_use]
    pub fn used_ms(&self) -> u64 {
        self.used_ms.get()
    }

    /// From now on each answer asks its client to leave. A connection whose last answer did not closes only with the core:
    /// the client may have sent its next request already.
    pub fn drain(&self) {
        self.draining.set(true);
        self.watchers.borrow().iter().flatten().for_each(Waker::wake_by_ref);
    }

    /// Whether [`Self::drain`] was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Wakes a task at [`Self::drain`], until the registration is dropped: for exchanges that would not end by themselves.
    pub fn watch(self: &Rc<Self>, waker: Waker) -> Watching {
        let mut watchers = self.watchers.borrow_mut();
        let at = watchers.iter().position(Option::is_none).unwrap_or(watchers.len());
        match watchers.get_mut(at) {
            Some(place) => *place = Some(waker),
            None => watchers.push(Some(waker)),
        }
        Watching { active: Rc::clone(self), at }
    }
}

/// A registration with [`Active::watch`].
#[must_use = "dropping it ends the registration"]
pub struct Watching {
    active: Rc<Active>,
    at: usize,
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some(place) = self.active.watchers.borrow_mut().get_mut(self.at) {
            *place = None;
        }
    }
}

/// Counts an exchange for as long as it lives, also if its task is dropped.
struct Busy(Rc<Active>);

impl Busy {
    fn new(active: &Rc<Active>) -> Self {
        active.exchanges.set(active.exchanges.get() + 1);
        Self(Rc::clone(active))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.exchanges.set(self.0.exchanges.get().saturating_sub(1));
    }
}

/// Counts a connection for as long as it lives, and tells the handler when it is gone.
struct Opened<'a, H: Handler>(&'a H, SocketAddr, &'a Active);

impl<'a, H: Handler> Opened<'a, H> {
    fn new(handler: &'a H, peer: SocketAddr, active: &'a Active) -> Self {
        active.connections.set(active.connections.get() + 1);
        active.used_ms.set(sluice_rt::now_ms());
        Self(handler, peer, active)
    }
}

impl<H: Handler> Drop for Opened<'_, H> {
    fn drop(&mut self) {
        self.2.connections.set(self.2.connections.get().saturating_sub(1));
        self.0.closed(self.1);
    }
}

async fn connection<H: Handler>(
    socket: sluice_rt::Stream,
    tls: bool,
    handler: Rc<H>,
    scratch: Rc<Scratch>,
    active: Rc<Active>,
) {
    let Some(mut peer) = socket.peer_addr() else { return };
    let via_balancer = handler.is_balancer(peer);
    if via_balancer {
        // Boxed: its state would stay part of the connection's for as long as that lives.
        let read = proxy_header::read(&socket, peer, handler.settings().header_timeout_ms);
        match Box::pin(read).await {
            Some(client) => peer = client,
            None => return,
        }
    }
    let counted = Rc::clone(&active);
    match handler.opened(peer, via_balancer) {
        Welcome::Serve => {}
        // Over TLS saying why would take the very handshake that there is no room for.
        Welcome::Shed if !tls => {
            let client = Side::H1(Wire::new(socket.into()));
            let mut conn = Conn { client, peer, via_balancer, tls: None, scratch, active };
            handler.shed(&mut conn);
            return linger_h1(&conn).await;
        }
        Welcome::Shed | Welcome::Close => return,
    }
    let _opened = Opened::new(&*handler, peer, &counted);
    let stream = if tls {
        // Boxed: a handshake's state would stay part of the connection's for as long as that lives.
        match Box::pin(shake_hands(socket, (peer, via_balancer), &*handler)).await {
            Some(stream) if stream.tls().is_some_and(|facts| facts.is_challenge()) => {
                return linger(&stream).await;
            }
            Some(stream) => stream,
            None => return,
        }
    } else {
        Stream::from(socket)
    };
    let facts = stream.tls().cloned();
    let client = Side::H1(Wire::new(stream));
    let mut conn = Conn { client, peer, via_balancer, tls: facts, scratch, active };
    let mut first = true;
    let after = loop {
        match next_request(&mut conn, &*handler, std::mem::take(&mut first)).await {
            Next::After(After::KeepAlive) => {}
            Next::After(after) => break after,
            Next::Http2 => return Box::pin(h2::connection(conn, &handler)).await,
        }
    };
    match after {
        After::KeepAlive | After::Abort => {}
        After::Close => {
            if let Side::H1(wire) = &conn.client {
                wire.stream.finish();
                set_deadline(&wire.stream, handler.settings().write_timeout_ms);
                // An error here means that the client is gone: closing is all that is left either way.
                let _ = wire.stream.flushed().await;
            }
        }
        After::Linger => linger_h1(&conn).await,
    }
}

/// What the connection does next.
enum Next {
    After(After),
    /// The client speaks HTTP/2 from here on.
    Http2,
}

/// Counts a handshake for as long as it lives, also if its task is dropped.
struct Shaking<'a, H: Handler> {
    handler: &'a H,
    peer: SocketAddr,
    via_balancer: bool,
    over: bool,
}

impl<H: Handler> Drop for Shaking<'_, H> {
    fn drop(&mut self) {
        if !self.over {
            self.handler.handshake_ended(self.peer, self.via_balancer, None);
        }
    }
}

async fn shake_hands<H: Handler>(
    socket: sluice_rt::Stream,
    (peer, via_balancer): (SocketAddr, bool),
    handler: &H,
) -> Option<Stream> {
    let Secure { endpoint, timeout_ms } = handler.handshake_begins()?;
    let mut shaking = Shaking { handler, peer, via_balancer, over: false };
    socket.set_deadline_ms(Some(sluice_rt::now_ms() + timeout_ms));
    let result = sluice_tls::accept(socket, &endpoint).await;
    shaking.over = true;
    match result {
        Ok(stream) => {
            handler.handshake_ended(peer, via_balancer, stream.tls().map(|facts| Ok(&**facts)));
            Some(stream)
        }
        Err(error) => {
            handler.handshake_ended(peer, via_balancer, Some(Err(&error)));
            None
        }
    }
}

/// Reads and serves one request. Only the `first` may be HTTP/2's preface: behind others it would be smuggled.
#[inline]
async fn next_request<H: Handler>(conn: &mut Conn, handler: &H, first: bool) -> Next {
    let Side::H1(wire) = &mut conn.client else { return Next::Http2 };
    let settings = handler.settings();
    if wire.available().is_empty() {
        wire.stream.flush();
    } else if wire.stream.unsent_bytes() > PIPELINE_BYTES {
        wire.stream.flush();
        set_deadline(&wire.stream, settings.write_timeout_ms);
        if wire.stream.flushed().await.is_err() {
            return Next::After(After::Abort);
        }
    }
    set_deadline(&wire.stream, settings.idle_timeout_ms);
    let mut head = conn.scratch.request();
    let read =
        wire.read_request(&settings.limits, settings.header_timeout_ms, &mut head, &conn.scratch).await;
    Next::After(match read {
        Ok(Some(_)) if head.version == Version::Http2 && first && settings.http2_streams > 0 => {
            conn.scratch.put_request(head);
            return Next::Http2;
        }
        Ok(Some(_)) if head.version == Version::Http2 => {
            conn.scratch.put_request(head);
            handler.refuse(conn, &HeadError::Request(RequestError::UnsupportedVersion));
            After::Linger
        }
        Ok(Some(bytes)) => {
            let request = Request { head, bytes, received_ns: sluice_rt::now_ns() };
            let after = match handler.begin(conn, request) {
                Step::Done(after) => after,
                Step::Wait(waiting) => {
                    let _busy = Busy::new(&conn.active);
                    Box::pin(handler.finish(conn, waiting)).await
                }
            };
            conn.active.used_ms.set(sluice_rt::now_ms());
            after
        }
        Ok(None) => After::Close,
        Err(HeadError::Io { started: false, .. }) => {
            conn.scratch.put_request(head);
            // The idle timeout, or a reset between requests: nobody waits for an answer.
            After::Abort
        }
        Err(error) => {
            conn.scratch.put_request(head);
            handler.refuse(conn, &error);
            After::Linger
        }
    })
}

fn set_deadline(stream: &sluice_tls::Stream, after_ms: u64) {
    stream.set_deadline_ms(Some(sluice_rt::now_ms() + after_ms));
}

async fn linger_h1(conn: &Conn) {
    if let Side::H1(wire) = &conn.client {
        linger(&wire.stream).await;
    }
}

/// Sends what is written and FIN, then discards input until the client closes too, within bounds.
async fn linger(stream: &sluice_tls::Stream) {
    stream.flush();
    stream.set_deadline_ms(Some(sluice_rt::now_ms() + LINGER_MS));
    if stream.flushed().await.is_err() {
        return;
    }
    stream.shutdown_write();
    let mut seen = 0;
    while let Ok(Some(buf)) = stream.recv().await {
        seen += buf.len();
        if seen > LINGER_BYTES {
            return;
        }
    }
}
