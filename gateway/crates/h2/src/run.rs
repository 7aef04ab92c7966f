//! A connection's life: wait, read, send, until it is idle for too long, broken, drained or closed.
//!
//! Output that the peer does not take stops reading, so a peer can't make us queue answers without end.

use crate::driver::{Driver, Events};
use crate::link::{Role, SOCKET_HIGH, SOCKET_LOW};
use sluice_rt::Buf;
use sluice_wire::h2::{ErrorCode, FrameError, frame};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;

/// How long a connection may take for what, milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Without a stream.
    pub idle_ms: u64,
    /// For a header block that has begun, and for the greeting.
    pub head_ms: u64,
    /// For the peer to take or to allow some of what is written.
    pub write_ms: u64,
}

/// Whose connection it is.
pub trait Host: Events {
    /// Asked for at each turn.
    fn timing(&self) -> Timing;
    /// The connection is to be ended gracefully.
    fn is_draining(&self) -> bool;
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer closed it, or the socket failed.
    Gone,
    /// We said GOAWAY without an error.
    Retired,
    /// We said GOAWAY for an error, by its label.
    Broken(&'static str),
}

/// How long a client may take to see the warning before the last word, milliseconds.
const WARNING_MS: u64 = 1000;

enum Woken {
    Input(Buf),
    Eof,
    Failed(io::Error),
    Drained,
    Poked,
}

/// ```text
/// Open --drain--> Warned --PING answered, or a second later--> Final --no stream left--> end
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
enum Drain {
    Open,
    Warned { since_ms: u64 },
    Final,
}

impl Driver {
    /// Runs the connection to its end. All its streams are over then; GOAWAY is written where it is due.
    pub async fn run(&mut self, host: &mut impl Host) -> End {
        let mut drain = Drain::Open;
        let mut rest_since_ms = None;
        let end = loop {
            if let Some(end) = self.drain(&mut drain, host) {
                break end;
            }
            self.link.pump();
            self.link.socket.flush();
            rest_since_ms =
                self.is_waiting_for_rest().then(|| rest_since_ms.unwrap_or_else(sluice_rt::now_ms));
            let deadline_ms = self.deadline_ms(host.timing(), rest_since_ms, drain);
            self.link.socket.set_deadline_ms(deadline_ms);
            match self.woken(host, drain).await {
                Woken::Input(buf) => {
                    if let Err(error) = self.receive(&buf, host) {
                        break self.broken(error);
                    }
                }
                Woken::Poked | Woken::Drained => {}
                Woken::Eof => break End::Gone,
                Woken::Failed(error) if error.kind() == io::ErrorKind::TimedOut => {
                    if let Some(end) = self.late(rest_since_ms, drain) {
                        break end;
                    }
                }
                Woken::Failed(_) => break End::Gone,
            }
        };
        self.link.close(if end == End::Retired { ErrorCode::NoError } else { ErrorCode::Cancel });
        end
    }

    fn broken(&mut self, error: FrameError) -> End {
        self.say_goaway(false, error.code, error.label);
        End::Broken(error.label)
    }

    fn drain(&mut self, drain: &mut Drain, host: &impl Host) -> Option<End> {
        let (open, told, retiring) = {
            let state = self.link.state.borrow();
            (state.open_count(), state.goaway.is_some(), state.retiring)
        };
        if retiring && open == 0 {
            self.say_goaway(false, ErrorCode::NoError, "retired");
            return Some(End::Retired);
        }
        if told && open == 0 && self.role() == Role::Client {
            // The server has said GOAWAY, and the last answer is here.
            return Some(End::Retired);
        }
        match *drain {
            Drain::Open if host.is_draining() => {
                self.pong = false;
                self.say_goaway(true, ErrorCode::NoError, "draining");
                self.link.socket.write_with(|out| frame::ping(out, false, *b"draining"));
                *drain = Drain::Warned { since_ms: sluice_rt::now_ms() };
            }
            Drain::Warned { since_ms } if self.pong || sluice_rt::now_ms() >= since_ms + WARNING_MS => {
                self.say_goaway(false, ErrorCode::NoError, "draining");
                *drain = Drain::Final;
                return (open == 0).then_some(End::Retired);
            }
            Drain::Final if open == 0 => return Some(End::Retired),
            _ => {}
        }
        None
    }

    fn deadline_ms(&self, timing: Timing, rest_since_ms: Option<u64>, drain: Drain) -> Option<u64> {
        let state = self.link.state.borrow();
        let mut deadline_ms = None;
        let mut within = |at_ms: u64| deadline_ms = Some(deadline_ms.map_or(at_ms, |d: u64| d.min(at_ms)));
        if let Some(since_ms) = rest_since_ms {
            within(since_ms + timing.head_ms);
        }
        if let Drain::Warned { since_ms } = drain {
            within(since_ms + WARNING_MS);
        }
        if state.open_count() == 0 {
            within(state.progress_ms + timing.idle_ms);
        } else if state.is_stalled() {
            within(state.progress_ms + timing.write_ms);
        }
        if self.link.socket.unsent_bytes() > SOCKET_HIGH {
            within(sluice_rt::now_ms() + timing.write_ms);
        }
        deadline_ms
    }

    /// A deadline has passed: which one says what to do.
    fn late(&mut self, rest_since_ms: Option<u64>, drain: Drain) -> Option<End> {
        if let Drain::Warned { since_ms } = drain
            && sluice_rt::now_ms() >= since_ms + WARNING_MS
        {
            return None;
        }
        let idle = self.link.state.borrow().open_count() == 0 && rest_since_ms.is_none();
        if idle {
            self.say_goaway(false, ErrorCode::NoError, "idle");
            return Some(End::Retired);
        }
        let label = if rest_since_ms.is_some() { "header_timeout" } else { "write_timeout" };
        self.say_goaway(false, ErrorCode::EnhanceYourCalm, label);
        Some(End::Broken(label))
    }

    /// Waits until there is something to do.
    async fn woken(&self, host: &impl Host, drain: Drain) -> Woken {
        let link = &*self.link;
        let full = link.socket.unsent_bytes() > SOCKET_HIGH;
        let mut sent = pin!(link.socket.sent_below(SOCKET_LOW));
        let mut received = pin!(link.socket.recv());
        let mut first = true;
        poll_fn(|cx| {
            link.state.borrow_mut().driver = Some(cx.waker().clone());
            if drain == Drain::Open && host.is_draining() {
                return Poll::Ready(Woken::Poked);
            }
            if full {
                return sent.as_mut().poll(cx).map(|r| r.map_or_else(Woken::Failed, |()| Woken::Drained));
            }
            if let Poll::Ready(received) = received.as_mut().poll(cx) {
                return Poll::Ready(match received {
                    Ok(Some(buf)) => Woken::Input(buf),
                    Ok(None) => Woken::Eof,
                    Err(error) => Woken::Failed(error),
                });
            }
            // Woken for another reason than input: a stream ended, or filled the socket.
            if std::mem::take(&mut first) { Poll::Pending } else { Poll::Ready(Woken::Poked) }
        })
        .await
    }
}
