//! Accept loop and connection life, generic over one [`Handler`].
//!
//! ```text
//! accept -> opened? --Shed---> 503, linger, close
//!              |    \--Close--> close at once
//!              | Serve
//!              v
//!        wait for a head --EOF or idle timeout--> close
//!              |      \--broken head--> Handler::refuse -> linger, close
//!              v
//!        Handler::serve -> KeepAlive --> wait for a head (what is written is flushed once no pipelined request is left)
//!                          Close ------> flush, close
//!                          Linger -----> flush, FIN, discard what the client still sends, close
//!                          Abort ------> close at once
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

use sluice_h1::{HeadBytes, HeadError, Scratch, Wire};
use sluice_rt::{Listener, Stream};
use sluice_wire::{Limits, RequestHead};
use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;

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

/// One client connection.
pub struct Conn {
    /// The socket and its unconsumed input.
    pub wire: Wire,
    /// The other end.
    pub peer: SocketAddr,
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

/// The service behind the connections of one core.
pub trait Handler: 'static {
    /// Current settings.
    fn settings(&self) -> Settings;
    /// A connection was accepted.
    fn opened(&self, peer: SocketAddr) -> Welcome;
    /// A connection that was to be served is gone.
    fn closed(&self, peer: SocketAddr);
    /// Writes the answer for a connection that `opened` refused.
    fn shed(&self, conn: &mut Conn);
    /// Answers one request. It writes to `conn.wire.stream`; before it waits it flushes what it wrote.
    fn serve(&self, conn: &mut Conn, request: Request) -> impl Future<Output = After>;
    /// Writes the answer to a head that could not be read. `bytes_seen`: the client has begun a request.
    fn refuse(&self, conn: &mut Conn, error: &HeadError);
}

/// Unsent bytes of pipelined answers above which the next request waits.
const PIPELINE_BYTES: usize = 64 * 1024;
/// How long a closing connection may go on sending, milliseconds.
const LINGER_MS: u64 = 2_000;
/// How much of that is read at most.
const LINGER_BYTES: usize = 1 << 20;

/// Accepts until the listener is closed or fails for good; each connection is a task of its own.
pub async fn accept_loop<H: Handler>(
    listener: Rc<Listener>,
    handler: Rc<H>,
    scratch: Rc<Scratch>,
    active: Rc<Active>,
) {
    while let Ok(stream) = listener.accept().await {
        let handler = Rc::clone(&handler);
        let scratch = Rc::clone(&scratch);
        let active = Rc::clone(&active);
        sluice_rt::spawn(connection(stream, handler, scratch, active));
    }
}

/// Exchanges in progress on this core, and whether it is draining.
#[derive(Default)]
pub struct Active {
    exchanges: Cell<usize>,
    draining: Cell<bool>,
}

impl Active {
    /// Requests being served now.
    #[must_use]
    pub fn exchanges(&self) -> usize {
        self.exchanges.get()
    }

    /// From now on each connection closes after its current request.
    pub fn drain(&self) {
        self.draining.set(true);
    }

    /// Whether [`Self::drain`] was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }
}

/// Counts an exchange for as long as it lives, also if its task is dropped.
struct Busy<'a>(&'a Active);

impl<'a> Busy<'a> {
    fn new(active: &'a Active) -> Self {
        active.exchanges.set(active.exchanges.get() + 1);
        Self(active)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.exchanges.set(self.0.exchanges.get().saturating_sub(1));
    }
}

/// Tells the handler when a connection is gone.
struct Opened<'a, H: Handler>(&'a H, SocketAddr);

impl<H: Handler> Drop for Opened<'_, H> {
    fn drop(&mut self) {
        self.0.closed(self.1);
    }
}

async fn connection<H: Handler>(stream: Stream, handler: Rc<H>, scratch: Rc<Scratch>, active: Rc<Active>) {
    let Some(peer) = stream.peer_addr() else { return };
    let mut conn = Conn { wire: Wire::new(stream.into()), peer, scratch, active: Rc::clone(&active) };
    match handler.opened(peer) {
        Welcome::Serve => {}
        Welcome::Shed => {
            handler.shed(&mut conn);
            return linger(&mut conn).await;
        }
        Welcome::Close => return,
    }
    let _opened = Opened(&*handler, peer);
    let after = loop {
        match next_request(&mut conn, &*handler, &active).await {
            After::KeepAlive => {}
            after => break after,
        }
    };
    match after {
        After::KeepAlive | After::Abort => {}
        After::Close => {
            conn.wire.stream.finish();
            set_deadline(&conn, handler.settings().write_timeout_ms);
            // An error here means that the client is gone: closing is all that is left either way.
            let _ = conn.wire.stream.flushed().await;
        }
        After::Linger => linger(&mut conn).await,
    }
}

/// Reads and serves one request.
#[inline]
async fn next_request<H: Handler>(conn: &mut Conn, handler: &H, active: &Active) -> After {
    let settings = handler.settings();
    if conn.wire.available().is_empty() {
        conn.wire.stream.flush();
    } else if conn.wire.stream.unsent_bytes() > PIPELINE_BYTES {
        conn.wire.stream.flush();
        set_deadline(conn, settings.write_timeout_ms);
        if conn.wire.stream.flushed().await.is_err() {
            return After::Abort;
        }
    }
    set_deadline(conn, settings.idle_timeout_ms);
    let mut head = conn.scratch.request();
    let read =
        conn.wire.read_request(&settings.limits, settings.header_timeout_ms, &mut head, &conn.scratch).await;
    match read {
        Ok(Some(bytes)) => {
            let _busy = Busy::new(active);
            let after = handler.serve(conn, Request { head, bytes, received_ns: sluice_rt::now_ns() }).await;
            if after == After::KeepAlive && active.is_draining() { After::Close } else { after }
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
    }
}

fn set_deadline(conn: &Conn, after_ms: u64) {
    conn.wire.stream.set_deadline_ms(Some(sluice_rt::now_ms() + after_ms));
}

/// Sends what is written and FIN, then discards input until the client closes too, within bounds.
async fn linger(conn: &mut Conn) {
    let stream = &conn.wire.stream;
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
