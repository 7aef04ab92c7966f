//! Upstream connections that speak HTTP/2: few, each carrying the requests of many clients.
//!
//! ```text
//! request -> a connection with room? --yes--> stream
//!               | no                            ^
//!               +-- none being made, fewer than allowed --> connect --ALPN: h2, or plain--> drive it in a task of its own
//!               |                                              +--ALPN: another--> HTTP/1 on it, or an error
//!               +-- else --> wait until a stream ends or a connection does
//! ```
//! A target that chose HTTP/1 is not waited for any more: each request has a connection of its own, until it chooses h2.
//! A connection that has said GOAWAY carries its last answers and no new request.

use sluice_h1::{Scratch, Wire};
use sluice_h2::{Driver, Events, Host, Incoming, Opener, Settings, Side, Stream, Timing};
use sluice_wire::{Limits, Method};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// What one answer may have sent that its client has not taken: many share a connection, so it is small.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The connection's window is returned as data comes, so that a slow client can't stall the others.
const CONN_WINDOW: u32 = 4 * 1024 * 1024;

/// What it takes to drive a connection.
#[derive(Clone)]
pub struct Dial {
    /// Limits of response heads.
    pub limits: Limits,
    /// Recycled heads of the core.
    pub scratch: Rc<Scratch>,
    /// How long a connection may do what.
    pub timing: Timing,
}

/// The connections to one target.
#[derive(Default)]
pub(crate) struct Pool {
    openers: RefCell<Vec<Opener>>,
    connecting: Cell<usize>,
    waiters: RefCell<Vec<Waker>>,
    /// What ALPN chose last was not HTTP/2.
    http1: Cell<bool>,
}

/// How far [`Pool::open`] may go.
pub(crate) struct Bounds {
    pub(crate) connections: usize,
    pub(crate) http1_fallback: bool,
    pub(crate) deadline_ms: u64,
}

/// A connection being made.
struct Connecting<'a>(&'a Pool);

impl<'a> Connecting<'a> {
    fn new(pool: &'a Pool) -> Self {
        pool.connecting.set(pool.connecting.get() + 1);
        Self(pool)
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.connecting.set(self.0.connecting.get().saturating_sub(1));
        // Whether it came to be or not: who waits looks again.
        self.0.waiters.borrow_mut().drain(..).for_each(Waker::wake);
    }
}

impl Pool {
    /// Whether the target is known to speak HTTP/1.
    #[inline]
    pub(crate) fn prefers_http1(&self) -> bool {
        self.http1.get()
    }

    /// A stream, and whether its connection was there before.
    pub(crate) async fn open<F>(
        &self,
        bounds: &Bounds,
        method: Method,
        dial: &Dial,
        connect: impl Fn() -> F,
    ) -> io::Result<(Side, bool)>
    where
        F: Future<Output = io::Result<sluice_tls::Stream>>,
    {
        let mut reused = true;
        loop {
            if let Some(stream) = self.try_open(method) {
                return Ok((Side::H2(stream, Vec::new()), reused));
            }
            // One at a time: what is being opened may have room for all who wait.
            let may_connect = self.connecting.get() == 0 && self.openers.borrow().len() < bounds.connections;
            if self.http1.get() || may_connect {
                let connecting = Connecting::new(self);
                let socket = connect().await?;
                // Without TLS there is no choice: prior knowledge.
                let http2 = !socket.is_tls() || socket.alpn() == Some(b"h2");
                self.http1.set(!http2);
                match (http2, bounds.http1_fallback) {
                    (true, _) => self.drive(socket, dial),
                    (false, true) => return Ok((Side::H1(Wire::new(socket)), false)),
                    (false, false) => {
                        let why = "expected the ALPN protocol h2, found none that was offered";
                        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                    }
                }
                drop(connecting);
                reused = false;
            } else {
                self.room(bounds.deadline_ms).await?;
            }
        }
    }

    fn try_open(&self, method: Method) -> Option<Stream> {
        let mut openers = self.openers.borrow_mut();
        openers.retain(|opener| !opener.is_ending());
        openers.iter().find_map(|opener| opener.open(method))
    }

    fn drive(&self, socket: sluice_tls::Stream, dial: &Dial) {
        let settings = Settings {
            limits: dial.limits,
            max_streams: 0,
            stream_window: STREAM_WINDOW,
            conn_window: CONN_WINDOW,
        };
        let mut driver = Driver::client(socket, settings, Rc::clone(&dial.scratch));
        self.openers.borrow_mut().push(driver.opener());
        let mut upstream = Upstream { timing: dial.timing };
        sluice_rt::spawn(async move {
            driver.run(&mut upstream).await;
            // What was said last still goes out.
            driver.socket().finish();
        });
    }

    /// Waits until it is worth looking again.
    async fn room(&self, deadline_ms: u64) -> io::Result<()> {
        let mut late = pin!(sluice_rt::sleep_until_ms(deadline_ms));
        let mut registered = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut registered, true) {
                // Woken, or late: both are seen by looking.
                return match late.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                    Poll::Pending => Poll::Ready(Ok(())),
                };
            }
            for opener in self.openers.borrow().iter() {
                opener.wake_on_room(cx.waker().clone());
            }
            self.waiters.borrow_mut().push(cx.waker().clone());
            late.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
        })
        .await
    }

    /// Has every connection end with its last stream.
    pub(crate) fn retire(&self) {
        self.openers.borrow_mut().drain(..).for_each(|opener| opener.retire());
        self.waiters.borrow_mut().drain(..).for_each(Waker::wake);
    }

    /// Streams open now.
    pub(crate) fn open_streams(&self) -> usize {
        self.openers.borrow().iter().map(Opener::open_streams).sum()
    }
}

/// The connection's owner: nobody asks us for anything.
struct Upstream {
    timing: Timing,
}

impl Events for Upstream {
    fn request(&mut self, _: Incoming) {}

    fn stream_error(&mut self, _: &'static str) {}
}

impl Host for Upstream {
    fn timing(&self) -> Timing {
        self.timing
    }

    fn is_draining(&self) -> bool {
        false
    }
}
