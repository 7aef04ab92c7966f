//! HTTP/2 connections: each request is answered like one of HTTP/1, at once where it can be, else in a task of its own.
//!
//! ```text
//! preface -> Driver::run -- request --> Handler::begin -- Done --> the stream ends
//!               |                            \-- Wait --> task: Handler::finish --> the stream ends
//!               |-- head over a limit --> Handler::refuse
//!               |-- flood, broken frame --> GOAWAY, counted, linger, close
//!               \-- draining, idle --> GOAWAY, streams finish, close
//! ```

use crate::{Active, After, Busy, Conn, Handler, Http2Event, Request, Step, linger};
use sluice_h1::{HeadBytes, HeadError, Scratch};
use sluice_h2::{Driver, End, Events, Host, Incoming, Side, Timing};
use sluice_tls::Facts;
use sluice_wire::h2::ErrorCode;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;

/// What one stream may have sent us that its upstream has not taken yet …
const STREAM_WINDOW: u32 = 256 * 1024;
/// … and all streams of a connection together.
const CONN_WINDOW: u32 = 1024 * 1024;

/// Serves a connection whose preface has been read.
pub(crate) async fn connection<H: Handler>(conn: Conn, handler: &Rc<H>) {
    let Conn { client: Side::H1(wire), peer, via_balancer, tls, scratch, active } = conn else { return };
    handler.http2(peer, via_balancer, Http2Event::Connection);
    let settings = handler.settings();
    let settings = sluice_h2::Settings {
        limits: settings.limits,
        max_streams: settings.http2_streams,
        stream_window: STREAM_WINDOW,
        conn_window: CONN_WINDOW,
    };
    let mut driver = Driver::server(wire.into_stream(), settings, Rc::clone(&scratch), true);
    let _watching = poll_fn(|cx| Poll::Ready(active.watch(cx.waker().clone()))).await;
    let mut host = Server { handler, peer, via_balancer, tls, scratch: &scratch, active: &active };
    let busy = Busy::new(&active);
    let end = driver.run(&mut host).await;
    // A draining core waits for the last word, not for the client to go.
    drop(busy);
    if let End::Broken(label) = end {
        handler.http2(peer, via_balancer, Http2Event::ConnectionError(label));
    }
    if end != End::Gone {
        linger(driver.socket()).await;
    }
}

/// The connection's owner.
struct Server<'a, H> {
    handler: &'a Rc<H>,
    peer: SocketAddr,
    via_balancer: bool,
    tls: Option<Rc<Facts>>,
    scratch: &'a Rc<Scratch>,
    active: &'a Rc<Active>,
}

impl<H: Handler> Events for Server<'_, H> {
    fn request(&mut self, incoming: Incoming) {
        let Incoming { stream, head, bytes, refused } = incoming;
        let (scratch, active) = (Rc::clone(self.scratch), Rc::clone(self.active));
        let mut conn = Conn {
            client: Side::H2(stream, Vec::new()),
            peer: self.peer,
            via_balancer: self.via_balancer,
            tls: self.tls.clone(),
            scratch,
            active,
        };
        if let Some(error) = refused {
            self.scratch.put_request(head);
            self.scratch.put_bytes(bytes);
            return self.handler.refuse(&mut conn, &HeadError::Request(error));
        }
        let request = Request { head, bytes: HeadBytes::Owned(bytes), received_ns: sluice_rt::now_ns() };
        match self.handler.begin(&mut conn, request) {
            // The driver flushes once it has read what there is.
            Step::Done(after) => end(&conn, after),
            Step::Wait(waiting) => {
                let (handler, busy) = (Rc::clone(self.handler), Busy::new(self.active));
                sluice_rt::spawn(async move {
                    let _busy = busy;
                    let after = handler.finish(&mut conn, waiting).await;
                    end(&conn, after);
                    conn.client.out().flush();
                });
            }
        }
    }

    fn stream_error(&mut self, label: &'static str) {
        self.handler.http2(self.peer, self.via_balancer, Http2Event::StreamError(label));
    }
}

/// An answer that broke off must not look complete.
fn end(conn: &Conn, after: After) {
    if let (Side::H2(stream, _), After::Abort) = (&conn.client, after) {
        stream.reset(ErrorCode::Internal);
    }
}

impl<H: Handler> Host for Server<'_, H> {
    fn timing(&self) -> Timing {
        let settings = self.handler.settings();
        Timing {
            idle_ms: settings.idle_timeout_ms,
            head_ms: settings.header_timeout_ms,
            write_ms: settings.write_timeout_ms,
        }
    }

    fn is_draining(&self) -> bool {
        self.active.is_draining()
    }
}
