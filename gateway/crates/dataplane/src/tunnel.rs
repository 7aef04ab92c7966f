//! Connections that change their protocol: WebSocket and others (RFC 9110 section 7.8), where the route allows it.
//!
//! ```text
//! request with Upgrade ── upstream: 101 with a protocol that was asked for ──> 101 to the client, then bytes both ways
//!                     └── anything else ──> an ordinary response
//!
//! Open ── one side ends ──> half closed (FIN passed on) ── the other ends ──> closed
//!   │ draining, idle for too long, or open for too long
//!   ├── WebSocket ──> Close 1001 to the client at the next frame's border ── its Close, or a moment later ──> closed
//!   └── other ──> closed (when draining: with the process)
//! ```
//! Bytes go from receive buffer to send queue without a copy of ours, so both ends see them as they come; a WebSocket's are
//! followed from frame to frame meanwhile, never changed. Other protocols have no borders that we know: those go through
//! splice(2), which costs two pipes a tunnel but no buffer.

use crate::core::Core;
use crate::exchange::Exchange;
use crate::forward;
use crate::integrate::HIGH_WATER;
use crate::respond::request_id_header;
use sluice_h1::Wire;
use sluice_h2::Side;
use sluice_server::{Active, After, Conn};
use sluice_snapshot::{ProxyPlan, TunnelPlan};
use sluice_tls::Stream;
use sluice_wire::ws::{FrameTracker, close_frame};
use sluice_wire::{BodyFraming, Header, KnownHeader, ResponseHead, enc};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

/// "Going away" (RFC 6455 section 7.4.1).
const GOING_AWAY: u16 = 1001;
/// How long a client that was told so may take to answer.
const GOODBYE_MS: u64 = 2_000;

/// The protocols of `Upgrade` lines.
fn protocols<'a>(headers: &'a [Header], bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(|h| h.id == KnownHeader::Upgrade)
        .flat_map(|h| crate::relay::list(h.value.of(bytes)))
}

/// Those that a request asks for and the route allows.
pub(crate) fn asked<'a>(ex: &'a Exchange, plan: &'a TunnelPlan) -> impl Iterator<Item = &'a [u8]> {
    protocols(&ex.head.headers, ex.bytes.as_slice())
        .filter(|asked| plan.protocols.iter().any(|known| known.eq_ignore_ascii_case(asked)))
}

/// Whether a request asks to become a tunnel that the route allows. One with a body doesn't: where the body ends and the
/// other protocol begins is more than a gateway should have to find.
pub(crate) fn wanted<'p>(ex: &Exchange, plan: &'p ProxyPlan) -> Option<&'p TunnelPlan> {
    let tunnel = plan.tunnel.as_ref().filter(|_| ex.head.upgrade)?;
    let bare = matches!(ex.head.framing, BodyFraming::None | BodyFraming::Length(0));
    (bare && asked(ex, tunnel).next().is_some()).then_some(tunnel)
}

/// The protocol that the upstream changes to, if it is one that was asked for.
pub(crate) fn agreed(ex: &Exchange, plan: &TunnelPlan, head: &ResponseHead, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut said = protocols(&head.headers, bytes);
    let (protocol, None) = (said.next()?, said.next()) else { return None };
    asked(ex, plan).any(|asked| asked.eq_ignore_ascii_case(protocol)).then(|| protocol.to_vec())
}

/// What the two sides have agreed on.
pub(crate) struct Agreement<'a> {
    pub(crate) plan: &'a TunnelPlan,
    pub(crate) protocol: Vec<u8>,
    /// The 101.
    pub(crate) head: &'a ResponseHead,
    pub(crate) bytes: &'a [u8],
}

/// Passes the 101 on and bytes both ways until both sides have ended.
pub(crate) async fn run(
    core: &Core,
    conn: &mut Conn,
    ex: &mut Exchange,
    upstream: &mut Wire,
    agreement: &Agreement<'_>,
) -> After {
    let active = Rc::clone(&conn.active);
    // A stream of HTTP/2 never asks for an upgrade.
    let Side::H1(client) = &mut conn.client else { return After::Abort };
    let (cs, ci) = client.split();
    let (us, ui) = upstream.split();
    cs.unwatch();
    let written = cs.write_with(|out| switching(out, ex, agreement));
    ex.report.status = 101;
    let tunnel = Tunnel {
        cs,
        us,
        websocket: agreement.protocol.eq_ignore_ascii_case(b"websocket"),
        idle_ms: agreement.plan.idle_timeout_ms,
        up: Cell::new(0),
        down: Cell::new(0),
        leaving: Cell::new(false),
        frames_up: Cell::default(),
        frames_down: Cell::default(),
    };
    core.metrics.tunnel_opened();
    let counted = Counted(core);
    // What came with the heads.
    let (early_up, early_down) = (ci.available().len(), ui.available().len());
    tunnel.pass_up(ci.available());
    ci.consume(early_up);
    tunnel.pass_down(ui.available());
    ui.consume(early_down);
    cs.flush();
    us.flush();
    let limit_ms = match agreement.plan.total_timeout_ms {
        0 => u64::MAX,
        total_ms => sluice_rt::now_ms() + total_ms,
    };
    let ended = tunnel.until_ended(drained(&active), sluice_rt::sleep_until_ms(limit_ms)).await;
    drop(counted);
    ex.report.bytes_in += tunnel.up.get();
    ex.report.bytes_out += written as u64 + tunnel.down.get();
    if ended.is_ok() { After::Close } else { After::Abort }
}

/// Resolves once the core drains.
async fn drained(active: &Rc<Active>) {
    let mut watching = None;
    poll_fn(|cx| {
        if active.is_draining() {
            return Poll::Ready(());
        }
        watching.get_or_insert_with(|| active.watch(cx.waker().clone()));
        Poll::Pending
    })
    .await;
}

/// Counts a tunnel as open for as long as it lives, also if its task is dropped.
struct Counted<'a>(&'a Core);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.metrics.tunnel_closed();
    }
}

/// The 101 for the client. Returns its length.
fn switching(out: &mut Vec<u8>, ex: &Exchange, agreement: &Agreement<'_>) -> usize {
    let before = out.len();
    enc::status_line(out, 101);
    for h in agreement.head.headers.iter().filter(|h| !h.hop_by_hop) {
        let name = h.name.of(agreement.bytes);
        if h.id != KnownHeader::ContentLength && !forward::is_request_id(name) {
            enc::header(out, name, h.value.of(agreement.bytes));
        }
    }
    request_id_header(out, &ex.request_id);
    enc::header(out, b"Connection", b"Upgrade");
    enc::header(out, b"Upgrade", &agreement.protocol);
    out.extend_from_slice(b"\r\n");
    out.len() - before
}

struct Tunnel<'a> {
    cs: &'a Stream,
    us: &'a Stream,
    websocket: bool,
    idle_ms: u64,
    /// Bytes from the client.
    up: Cell<u64>,
    /// Bytes to the client.
    down: Cell<u64>,
    /// The client is to be told 1001, or has been.
    leaving: Cell<bool>,
    frames_up: Cell<FrameTracker>,
    frames_down: Cell<FrameTracker>,
}

/// How one direction goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Open,
    Ended,
}

impl Tunnel<'_> {
    async fn until_ended(
        &self,
        drained: impl Future<Output = ()>,
        limit: impl Future<Output = ()>,
    ) -> io::Result<()> {
        self.extend();
        let (mut drained, mut limit) = (pin!(drained), pin!(limit));
        match (self.websocket, self.cs.plain(), self.us.plain()) {
            (false, Some(cs), Some(us)) => {
                let mut both = pin!(self.splice(cs, us));
                poll_fn(|cx| match limit.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                    Poll::Pending => both.as_mut().poll(cx),
                })
                .await
            }
            _ => {
                let mut both = pin!(self.pass_both());
                poll_fn(|cx| {
                    // Both are over once they have been ready.
                    let due = !self.leaving.get()
                        && (limit.as_mut().poll(cx).is_ready()
                            || (self.websocket && drained.as_mut().poll(cx).is_ready()));
                    if due && !self.websocket {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    if due {
                        self.leave();
                    }
                    both.as_mut().poll(cx)
                })
                .await
            }
        }
    }

    /// The time without a byte begins anew.
    fn extend(&self) {
        if !self.leaving.get() {
            self.set_deadlines(self.idle_ms);
        }
    }

    fn set_deadlines(&self, after_ms: u64) {
        let deadline_ms = Some(sluice_rt::now_ms() + after_ms);
        self.cs.set_deadline_ms(deadline_ms);
        self.us.set_deadline_ms(deadline_ms);
    }

    /// From now on the client is told 1001 as soon as it may be.
    fn leave(&self) {
        if !self.leaving.replace(true) {
            self.set_deadlines(GOODBYE_MS);
        }
    }

    fn follow(&self, frames: &Cell<FrameTracker>, bytes: &[u8]) {
        if self.websocket {
            let mut tracker = frames.take();
            tracker.feed(bytes);
            frames.set(tracker);
        }
    }

    fn ask<R>(frames: &Cell<FrameTracker>, question: impl FnOnce(&FrameTracker) -> R) -> R {
        let tracker = frames.take();
        let answer = question(&tracker);
        frames.set(tracker);
        answer
    }

    fn pass_up(&self, bytes: &[u8]) {
        self.follow(&self.frames_up, bytes);
        self.up.set(self.up.get() + bytes.len() as u64);
        self.us.write(bytes);
    }

    fn pass_down(&self, bytes: &[u8]) {
        self.follow(&self.frames_down, bytes);
        self.down.set(self.down.get() + bytes.len() as u64);
        self.cs.write(bytes);
    }

    /// Both directions in one task. The way down goes first: it is the one that says goodbye.
    async fn pass_both(&self) -> io::Result<()> {
        let (mut down, mut up) = (pin!(self.pass_all_down()), pin!(self.pass_all_up()));
        let (mut down_is, mut up_is) = (Direction::Open, Direction::Open);
        poll_fn(|cx| {
            loop {
                let leaving = self.leaving.get();
                step(&mut down_is, down.as_mut(), cx)?;
                step(&mut up_is, up.as_mut(), cx)?;
                if down_is == Direction::Ended && up_is == Direction::Ended {
                    return Poll::Ready(Ok(()));
                }
                // One of them has just found out: the other must hear of it now.
                if leaving == self.leaving.get() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    async fn pass_all_down(&self) -> io::Result<()> {
        loop {
            let goodbye = || self.leaving.get() && Self::ask(&self.frames_down, FrameTracker::is_at_boundary);
            let buf = {
                let mut recv = pin!(self.us.recv());
                let received = poll_fn(|cx| {
                    if goodbye() {
                        return Poll::Ready(None);
                    }
                    recv.as_mut().poll(cx).map(Some)
                });
                match received.await {
                    None => return self.say_goodbye(),
                    Some(Err(error)) if self.is_idle(&error) => continue,
                    Some(received) => received?,
                }
            };
            let Some(buf) = buf else {
                self.cs.shutdown_write();
                return Ok(());
            };
            self.extend();
            self.follow(&self.frames_down, &buf);
            self.down.set(self.down.get() + buf.len() as u64);
            self.cs.write_buf(buf);
            self.sent(self.cs).await?;
        }
    }

    async fn pass_all_up(&self) -> io::Result<()> {
        loop {
            let buf = match self.cs.recv().await {
                Err(error) if self.is_idle(&error) => continue,
                received => received?,
            };
            let Some(buf) = buf else {
                self.us.shutdown_write();
                return Ok(());
            };
            self.extend();
            self.follow(&self.frames_up, &buf);
            self.up.set(self.up.get() + buf.len() as u64);
            self.us.write_buf(buf);
            self.sent(self.us).await?;
            if self.leaving.get() && Self::ask(&self.frames_up, FrameTracker::has_closed) {
                // It has answered: the server closes first (RFC 6455 section 7.1.1).
                self.us.shutdown_write();
                return Ok(());
            }
        }
    }

    /// Sends on, and waits where the other side doesn't take it.
    async fn sent(&self, to: &Stream) -> io::Result<()> {
        to.flush();
        if to.is_write_broken() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if to.unsent_bytes() > HIGH_WATER {
            to.flushed().await?;
            self.extend();
        }
        Ok(())
    }

    /// Whether an error is only that nothing came for too long, which a WebSocket client is told.
    fn is_idle(&self, error: &io::Error) -> bool {
        let idle = self.websocket && error.kind() == io::ErrorKind::TimedOut && !self.leaving.get();
        if idle {
            self.leave();
        }
        idle
    }

    fn say_goodbye(&self) -> io::Result<()> {
        if !Self::ask(&self.frames_down, FrameTracker::has_closed) {
            let frame = close_frame(GOING_AWAY);
            self.cs.write(&frame);
            self.down.set(self.down.get() + frame.len() as u64);
        }
        self.cs.flush();
        self.set_deadlines(GOODBYE_MS);
        Ok(())
    }

    /// Both directions inside the kernel.
    async fn splice(&self, cs: &sluice_rt::Stream, us: &sluice_rt::Stream) -> io::Result<()> {
        cs.flushed().await?;
        us.flushed().await?;
        let (up_before, down_before) = (self.up.get(), self.down.get());
        let mut up = cs.splice_to(us, u64::MAX).idle_timeout_ms(self.idle_ms);
        let mut down = us.splice_to(cs, u64::MAX).idle_timeout_ms(self.idle_ms);
        let (mut up_is, mut down_is) = (Direction::Open, Direction::Open);
        poll_fn(|cx| {
            let ended = spliced(&mut up_is, &mut up, us, cx).and(spliced(&mut down_is, &mut down, cs, cx));
            self.up.set(up_before + up.moved());
            self.down.set(down_before + down.moved());
            match ended {
                Err(error) => Poll::Ready(Err(error)),
                Ok(()) if up_is == Direction::Ended && down_is == Direction::Ended => Poll::Ready(Ok(())),
                Ok(()) => Poll::Pending,
            }
        })
        .await
    }
}

/// Polls a direction that has not ended.
fn step(
    direction: &mut Direction,
    future: Pin<&mut impl Future<Output = io::Result<()>>>,
    cx: &mut Context<'_>,
) -> io::Result<()> {
    if *direction == Direction::Open
        && let Poll::Ready(ended) = future.poll(cx)
    {
        *direction = Direction::Ended;
        return ended;
    }
    Ok(())
}

/// Polls a spliced direction, and passes its end on.
fn spliced(
    direction: &mut Direction,
    splice: &mut sluice_rt::Splice<'_>,
    to: &sluice_rt::Stream,
    cx: &mut Context<'_>,
) -> io::Result<()> {
    if *direction == Direction::Open
        && let Poll::Ready(ended) = Pin::new(splice).poll(cx)
    {
        *direction = Direction::Ended;
        ended?;
        to.shutdown_write();
    }
    Ok(())
}
