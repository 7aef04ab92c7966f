//! The handle of one stream.

use crate::head::Head;
use crate::link::{Link, State};
use crate::slot::Arrived;
use bytes::Bytes;
use sluice_rt::Sleep;
use sluice_wire::Method;
use sluice_wire::h2::{ErrorCode, frame};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// One exchange's stream. Belongs to one task, which may read and write at the same time.
///
/// Dropping it ends the stream: cleanly if everything was written, else with RST_STREAM.
pub struct Stream {
    pub(crate) link: Rc<Link>,
    pub(crate) at: u32,
}

impl Stream {
    /// Writes a head; its size. `end`: no body follows.
    #[inline]
    pub fn write_head(&self, end: bool, fill: impl FnOnce(&mut Head<'_>)) -> usize {
        let mut state = self.link.state.borrow_mut();
        let state = &mut *state;
        if state.closed.is_some() {
            return 0;
        }
        let Some(slot) = state.slot(self.at) else { return 0 };
        if slot.reset.is_some() || slot.end_queued {
            return 0;
        }
        (slot.end_queued, slot.sent_end) = (end, end);
        let id = slot.id;
        let (encoder, value) = (&mut state.encoder, &mut state.value);
        self.link.socket.write_with(|out| {
            let before = out.len();
            let block = frame::begin_headers(out, id);
            encoder.begin(out);
            fill(&mut Head { encoder, out, value });
            block.end(out, end);
            out.len() - before
        })
    }

    /// Writes a piece of the body. `end`: it is the last.
    #[inline]
    pub fn write(&self, data: &[u8], end: bool) {
        self.link.send_data(self.at, data, end);
    }

    /// Writes all of the body; what has to wait is not copied.
    pub fn write_shared(&self, body: &Bytes) {
        self.link.send_shared(self.at, body);
    }

    /// Ends the stream, with trailers (HTTP/1 lines) if there are any.
    pub fn end(&self, trailers: &[u8]) {
        self.link.send_end(self.at, trailers);
    }

    /// Whether its connection is TLS.
    #[inline]
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.link.socket.is_tls()
    }

    /// Sends what is written at the end of this loop turn.
    #[inline]
    pub fn flush(&self) {
        self.link.flush();
    }

    /// Bytes written that windows or the socket hold back.
    #[must_use]
    pub fn unsent_bytes(&self) -> usize {
        self.with(|state, at| state.slot(at).map_or(0, |s| s.unsent()))
    }

    /// Reset, by either side, or the connection is gone.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.reset_code().is_some()
    }

    /// Why it was reset.
    #[must_use]
    pub fn reset_code(&self) -> Option<ErrorCode> {
        self.with(|state, at| {
            let closed = state.closed;
            state.slot(at).map_or(closed, |s| s.reset)
        })
    }

    /// The peer never looked at it: it may be sent again, whatever it asks (RFC 9113 section 8.7).
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.with(|state, at| {
            let goaway = state.goaway;
            state.slot(at).is_some_and(|s| {
                s.reset == Some(ErrorCode::RefusedStream) || goaway.is_some_and(|last| s.id > last)
            })
        })
    }

    /// When pending and later waits begin to fail.
    pub fn set_deadline_ms(&self, deadline_ms: Option<u64>) {
        self.with(|state, at| {
            if let Some(slot) = state.slot(at) {
                slot.deadline_ms = deadline_ms;
            }
        });
    }

    /// What method the answer is to be read by.
    pub fn set_method(&self, method: Method) {
        self.with(|state, at| {
            if let Some(slot) = state.slot(at) {
                slot.method = method;
            }
        });
    }

    /// Waits until nothing is held back.
    ///
    /// # Errors
    /// The stream was reset, or its deadline passed.
    pub async fn flushed(&self) -> io::Result<()> {
        self.flush();
        self.wait(|state, at| {
            let slot = state.slot(at)?;
            match slot.reset {
                Some(code) => Some(Err(broken(code))),
                None => (slot.unsent() == 0).then_some(Ok(())),
            }
        })
        .await
    }

    /// Takes what has come of the body; whether it has ended behind that.
    ///
    /// # Errors
    /// The stream was reset before the end.
    pub fn take(&self, into: &mut Vec<u8>) -> io::Result<bool> {
        into.clear();
        let mut state = self.link.state.borrow_mut();
        let Some(slot) = state.slot(self.at) else { return Err(broken(ErrorCode::Internal)) };
        std::mem::swap(&mut slot.recv, into);
        let ended = slot.recv_end;
        if let Some(code) = slot.reset
            && into.is_empty()
            && !ended
        {
            return Err(broken(code));
        }
        if !into.is_empty() {
            self.link.consumed(&mut state, self.at, into.len() as u32);
        }
        Ok(ended)
    }

    /// Waits until there is something for [`Self::take`].
    ///
    /// # Errors
    /// The deadline passed.
    pub async fn readable(&self) -> io::Result<()> {
        self.wait(|state, at| {
            let slot = state.slot(at)?;
            (!slot.recv.is_empty() || slot.recv_end || slot.reset.is_some()).then_some(Ok(()))
        })
        .await
    }

    /// Appends the trailers that came with the end, as HTTP/1 lines.
    pub fn trailers(&self, lines: &mut Vec<u8>) {
        self.with(|state, at| {
            if let Some(slot) = state.slot(at) {
                lines.extend_from_slice(&slot.trailers);
            }
        });
    }

    /// The next head of the answer.
    ///
    /// # Errors
    /// The stream was reset, or its deadline passed.
    pub async fn response(&self) -> io::Result<Arrived> {
        self.wait(|state, at| {
            let slot = state.slot(at)?;
            match (slot.heads.pop_front(), slot.reset) {
                (Some(arrived), _) => Some(Ok(arrived)),
                (None, Some(code)) => Some(Err(broken(code))),
                (None, None) => None,
            }
        })
        .await
    }

    /// Whether the peer has given the stream up; registers the task to be woken when it does.
    pub fn poll_gone(&self, cx: &Context<'_>) -> Poll<()> {
        self.with(|state, at| match state.slot(at) {
            Some(slot) if slot.reset.is_none() => {
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        })
    }

    /// Gives the stream up.
    pub fn reset(&self, code: ErrorCode) {
        let id = self.with(|state, at| {
            state.slot(at).and_then(|s| (s.reset.is_none() && !(s.sent_end && s.recv_end)).then_some(s.id))
        });
        if let Some(id) = id {
            self.link.reset(id, code);
            self.link.flush();
        }
    }

    /// A second handle for watching ([`Self::poll_gone`]); it does not keep the stream.
    #[must_use]
    pub fn watch(&self) -> Watch {
        let id = self.with(|state, at| state.slot(at).map_or(0, |s| s.id));
        Watch { link: Rc::clone(&self.link), at: self.at, id }
    }

    #[inline]
    fn with<T>(&self, look: impl FnOnce(&mut State, u32) -> T) -> T {
        look(&mut self.link.state.borrow_mut(), self.at)
    }

    /// Waits for `ready`, under the stream's deadline, which may change meanwhile.
    async fn wait<T>(
        &self,
        mut ready: impl FnMut(&mut State, u32) -> Option<io::Result<T>>,
    ) -> io::Result<T> {
        let mut timer: Option<(u64, Sleep)> = None;
        poll_fn(|cx| {
            let deadline_ms = {
                let mut state = self.link.state.borrow_mut();
                if let Some(result) = ready(&mut state, self.at) {
                    return Poll::Ready(result);
                }
                let Some(slot) = state.slot(self.at) else {
                    return Poll::Ready(Err(broken(ErrorCode::Internal)));
                };
                slot.waker = Some(cx.waker().clone());
                slot.deadline_ms
            };
            poll_timer(&mut timer, deadline_ms, cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
        })
        .await
    }
}

/// Ready once the deadline has passed.
fn poll_timer(timer: &mut Option<(u64, Sleep)>, deadline_ms: Option<u64>, cx: &mut Context<'_>) -> Poll<()> {
    let Some(at_ms) = deadline_ms else {
        *timer = None;
        return Poll::Pending;
    };
    if timer.as_ref().is_none_or(|(armed_ms, _)| *armed_ms != at_ms) {
        *timer = Some((at_ms, sluice_rt::sleep_until_ms(at_ms)));
    }
    timer.as_mut().map_or(Poll::Pending, |(_, sleep)| Pin::new(sleep).poll(cx))
}

fn broken(code: ErrorCode) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, code.name())
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.link.release(self.at);
    }
}

/// Watches a stream without holding it.
pub struct Watch {
    link: Rc<Link>,
    at: u32,
    id: u32,
}

impl Watch {
    /// See [`Stream::poll_gone`].
    pub fn poll_gone(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.link.state.borrow_mut();
        match state.slot(self.at) {
            Some(slot) if slot.id == self.id && slot.reset.is_none() => {
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}
