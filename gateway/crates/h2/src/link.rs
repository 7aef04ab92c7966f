//! A connection as its streams share it: windows, compression, what waits to be sent.
//!
//! Everything that is written goes to the socket's output at once where windows allow it, and leaves in one send at the
//! end of the loop turn, whichever streams wrote. What windows or a full socket hold back waits in its stream's slot; the
//! connection then sends a frame of each stream in turn.

use crate::budget::{Budget, Kind};
use crate::slot::Slot;
use sluice_tls::Stream as Socket;
use sluice_wire::h2::{Encoder, ErrorCode, FRAME_BYTES, FrameError, WINDOW_BYTES, WINDOW_MAX, frame};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

/// Which end of the connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Client,
}

/// Unsent bytes of the socket above which streams hold their data back.
pub(crate) const SOCKET_HIGH: usize = 256 * 1024;
/// Unsent bytes of the socket at which they go on.
pub(crate) const SOCKET_LOW: usize = 64 * 1024;
/// A writer is woken once its stream has no more than this unsent.
const STREAM_LOW: usize = 16 * 1024;
/// Streams that we reset: what the peer had on its way for them is ignored.
const REMEMBERED: usize = 64;
/// A power of two.
const USED: usize = 64;

/// A connection shared by its streams.
pub(crate) struct Link {
    pub(crate) socket: Socket,
    pub(crate) state: RefCell<State>,
}

pub(crate) struct State {
    pub(crate) role: Role,
    pub(crate) encoder: Encoder,
    /// Reused by heads.
    pub(crate) value: Vec<u8>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Id and slot of each open stream, by id.
    open: Vec<(u32, u32)>,
    /// Slots with something to send that their own window allows.
    queue: VecDeque<u32>,
    /// The highest stream that the peer (of a server) or we (as a client) opened.
    pub(crate) last_id: u32,
    pub(crate) send_window: i64,
    pub(crate) recv_window: i64,
    pub(crate) unreturned: u32,
    pub(crate) conn_window: u32,
    pub(crate) stream_window: u32,
    pub(crate) peer_window: i64,
    pub(crate) peer_streams: u32,
    /// The connection is over.
    pub(crate) closed: Option<ErrorCode>,
    /// The peer will not serve streams above this one.
    pub(crate) goaway: Option<u32>,
    /// We want nothing new of the peer: the connection ends with its last stream.
    pub(crate) retiring: bool,
    pub(crate) budget: Budget,
    reset_ids: VecDeque<u32>,
    /// Streams opened lately, by the low bits of their number: a lower id that is not among them was never used.
    used_ids: [u32; USED],
    /// When something was last sent or a stream opened.
    pub(crate) progress_ms: u64,
    /// Tasks that wait for a stream to end, so that they can open one.
    pub(crate) room_waiters: Vec<Waker>,
    /// The task that reads the socket, to be woken when there is something for it to do.
    pub(crate) driver: Option<Waker>,
}

impl State {
    fn new(role: Role, stream_window: u32, conn_window: u32) -> Self {
        Self {
            role,
            encoder: Encoder::default(),
            value: Vec::new(),
            slots: Vec::new(),
            free: Vec::new(),
            open: Vec::new(),
            queue: VecDeque::new(),
            last_id: 0,
            send_window: i64::from(WINDOW_BYTES),
            recv_window: i64::from(conn_window),
            unreturned: 0,
            conn_window,
            stream_window,
            peer_window: i64::from(WINDOW_BYTES),
            // What RFC 9113 section 6.5.2 recommends as the least, until the peer has said.
            peer_streams: 100,
            closed: None,
            goaway: None,
            retiring: false,
            budget: Budget::default(),
            reset_ids: VecDeque::new(),
            used_ids: [0; USED],
            progress_ms: sluice_rt::now_ms(),
            room_waiters: Vec::new(),
            driver: None,
        }
    }

    #[inline]
    pub(crate) fn slot(&mut self, at: u32) -> Option<&mut Slot> {
        self.slots.get_mut(at as usize)
    }

    /// The slot of an open stream.
    #[inline]
    pub(crate) fn find(&self, id: u32) -> Option<u32> {
        // The newest streams are asked for most.
        if let Some((last, slot)) = self.open.last()
            && *last == id
        {
            return Some(*slot);
        }
        let at = self.open.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.open.get(at).map(|(_, slot)| *slot)
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn open_slots(&self) -> impl Iterator<Item = u32> + use<> {
        self.open.iter().map(|(_, slot)| *slot).collect::<Vec<_>>().into_iter()
    }

    /// A slot for a new stream, the highest so far.
    pub(crate) fn open_stream(&mut self, id: u32) -> u32 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        let (recv, send) = (i64::from(self.stream_window), self.peer_window);
        if let Some(slot) = self.slot(at) {
            slot.open(id, recv, send);
        }
        self.open.push((id, at));
        self.last_id = id;
        at
    }

    /// The stream takes part in nothing any more, but its handle may still hold the slot.
    fn close_stream(&mut self, id: u32) {
        if let Ok(at) = self.open.binary_search_by_key(&id, |(id, _)| *id) {
            self.open.remove(at);
            self.wake_room();
        }
    }

    /// There may be room for a stream, or there never will be.
    pub(crate) fn wake_room(&mut self) {
        self.room_waiters.drain(..).for_each(Waker::wake);
    }

    /// Gives the slot back. What nobody will read counts as read.
    fn free_slot(&mut self, at: u32) {
        let Some(slot) = self.slot(at) else { return };
        let (id, unread) = (slot.id, slot.recv.len() as u32);
        slot.id = 0;
        slot.waker = None;
        slot.recv.clear();
        slot.shared = bytes::Bytes::new();
        self.unreturned += if self.role == Role::Server { unread } else { 0 };
        self.close_stream(id);
        self.free.push(at);
    }

    pub(crate) fn remember_reset(&mut self, id: u32) {
        if self.reset_ids.len() == REMEMBERED {
            self.reset_ids.pop_front();
        }
        self.reset_ids.push_back(id);
    }

    /// Remembers that a stream of this id has been.
    pub(crate) fn note_used(&mut self, id: u32) {
        if let Some(place) = self.used_ids.get_mut(id as usize / 2 % USED) {
            *place = id;
        }
    }

    /// Whether the stream has been, as far as we remember.
    pub(crate) fn was_used(&self, id: u32) -> bool {
        self.used_ids.get(id as usize / 2 % USED) == Some(&id)
    }

    pub(crate) fn was_reset(&self, id: u32) -> bool {
        self.reset_ids.contains(&id)
    }

    /// Something waits for a window or for the socket.
    pub(crate) fn is_stalled(&self) -> bool {
        self.open.iter().any(|(_, at)| self.slots.get(*at as usize).is_some_and(|s| s.unsent() > 0))
    }

    fn enqueue(&mut self, at: u32) {
        if let Some(slot) = self.slots.get_mut(at as usize)
            && !slot.queued
        {
            slot.queued = true;
            self.queue.push_back(at);
        }
    }

    pub(crate) fn wake_driver(&mut self) {
        if let Some(waker) = self.driver.take() {
            waker.wake();
        }
    }
}

impl Link {
    pub(crate) fn new(socket: Socket, role: Role, stream_window: u32, conn_window: u32) -> Rc<Self> {
        Rc::new(Self { socket, state: RefCell::new(State::new(role, stream_window, conn_window)) })
    }

    /// Sends what is written at the end of this loop turn. Over TLS each flush ends a record, so there it is left to the
    /// driver, whose turn comes after the exchanges that are ready now.
    pub(crate) fn flush(&self) {
        self.flush_with(&mut self.state.borrow_mut());
    }

    fn flush_with(&self, state: &mut State) {
        match self.socket.plain() {
            Some(socket) => socket.flush(),
            None => state.wake_driver(),
        }
    }

    /// Writes DATA as far as windows and socket allow, and keeps the rest.
    pub(crate) fn send_data(&self, at: u32, data: &[u8], end: bool) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let full = self.socket.unsent_bytes() > SOCKET_HIGH;
        let window = state.send_window;
        let Some(slot) = state.slots.get_mut(at as usize) else { return };
        if slot.reset.is_some() || slot.end_queued || state.closed.is_some() {
            return;
        }
        slot.end_queued = end;
        let mut rest = data;
        if slot.unsent() == 0 && !full {
            let room = usize::try_from(window.min(slot.send_window)).unwrap_or(0);
            let (now, later) = data.split_at_checked(room).unwrap_or((data, &[]));
            let end_now = end && later.is_empty();
            if !now.is_empty() || end_now {
                let id = slot.id;
                self.socket.write_with(|out| data_frames(out, id, now, end_now));
                slot.send_window -= now.len() as i64;
                slot.sent_end = end_now;
                state.send_window -= now.len() as i64;
                state.progress_ms = sluice_rt::now_ms();
                state.budget.earn(Kind::Window);
            }
            rest = later;
            if rest.is_empty() {
                return;
            }
        }
        slot.pending.extend_from_slice(rest);
        state.enqueue(at);
        if full {
            // It waits for the socket.
            state.wake_driver();
        }
    }

    /// Like [`Self::send_data`], with all that is left of the body at once and without a copy of what must wait.
    pub(crate) fn send_shared(&self, at: u32, body: &bytes::Bytes) {
        self.send_data(at, &[], false);
        let mut state = self.state.borrow_mut();
        let Some(slot) = state.slot(at) else { return };
        if slot.reset.is_some() || slot.end_queued {
            return;
        }
        slot.shared = body.clone();
        slot.end_queued = true;
        state.enqueue(at);
        drop(state);
        self.pump();
    }

    /// Ends the stream, with trailers (HTTP/1 lines) if there are any.
    pub(crate) fn send_end(&self, at: u32, trailers: &[u8]) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let Some(slot) = state.slots.get_mut(at as usize) else { return };
        if slot.reset.is_some() || slot.end_queued || state.closed.is_some() {
            return;
        }
        slot.end_queued = true;
        if slot.unsent() > 0 {
            slot.end_trailers = (!trailers.is_empty()).then(|| trailers.to_vec());
            return;
        }
        slot.sent_end = true;
        end_frame(&self.socket, &mut state.encoder, slot.id, trailers);
        self.flush_with(state);
    }

    /// Sends what is held back, a frame of each stream in turn, as far as windows and socket allow.
    pub(crate) fn pump(&self) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let mut unsent = self.socket.unsent_bytes();
        while unsent <= SOCKET_HIGH
            && let Some(at) = state.queue.pop_front()
        {
            let Some(slot) = state.slots.get_mut(at as usize) else { continue };
            slot.queued = false;
            if slot.id == 0 || slot.reset.is_some() {
                continue;
            }
            if slot.unsent() == 0 {
                // A slot that was in the queue for an earlier stream.
                self.drained(state, at);
                continue;
            }
            let room = state.send_window.min(slot.send_window).min(FRAME_BYTES as i64);
            let piece = slot.next_piece(usize::try_from(room).unwrap_or(0));
            let n = piece.len();
            if n == 0 {
                if state.send_window <= 0 {
                    // The connection's window is what is missing: keep the order.
                    slot.queued = true;
                    state.queue.push_front(at);
                    break;
                }
                // Its own window: it comes back with WINDOW_UPDATE.
                continue;
            }
            let end = slot.end_queued && slot.end_trailers.is_none() && n == slot.unsent();
            let id = slot.id;
            self.socket.write_with(|out| data_frames(out, id, piece, end));
            unsent += n + frame::HEAD_BYTES;
            slot.advance(n);
            slot.send_window -= n as i64;
            slot.sent_end = end;
            state.send_window -= n as i64;
            state.progress_ms = sluice_rt::now_ms();
            state.budget.earn(Kind::Window);
            if slot.unsent() <= STREAM_LOW {
                slot.wake();
            }
            if slot.unsent() > 0 {
                state.enqueue(at);
            } else {
                self.drained(state, at);
            }
        }
    }

    /// A stream has nothing held back any more.
    fn drained(&self, state: &mut State, at: u32) {
        let Some(slot) = state.slots.get_mut(at as usize) else { return };
        if slot.end_queued && !slot.sent_end {
            slot.sent_end = true;
            let trailers = slot.end_trailers.take().unwrap_or_default();
            end_frame(&self.socket, &mut state.encoder, slot.id, &trailers);
        }
        let done = slot.sent_end && !slot.held;
        self.flush_with(state);
        if done {
            self.abandon(state, at, ErrorCode::NoError);
        }
    }

    /// The peer grants more.
    pub(crate) fn grant(&self, id: u32, increment: u32) -> Result<(), FrameError> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let overflow = |stream| FrameError { code: ErrorCode::FlowControl, stream, label: "window_overflow" };
        if id == 0 {
            state.send_window += i64::from(increment);
            return if state.send_window > WINDOW_MAX { Err(overflow(None)) } else { Ok(()) };
        }
        let Some(at) = state.find(id) else { return Ok(()) };
        let Some(slot) = state.slots.get_mut(at as usize) else { return Ok(()) };
        slot.send_window += i64::from(increment);
        if slot.send_window > WINDOW_MAX {
            return Err(overflow(Some(id)));
        }
        if slot.unsent() > 0 && slot.send_window > 0 {
            state.enqueue(at);
        }
        Ok(())
    }

    /// The peer changed the window that streams begin with: it applies to open ones, too (RFC 9113 section 6.9.2).
    pub(crate) fn set_peer_window(&self, window: u32) -> Result<(), FrameError> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let change = i64::from(window) - state.peer_window;
        state.peer_window = i64::from(window);
        for at in state.open_slots() {
            let Some(slot) = state.slots.get_mut(at as usize) else { continue };
            slot.send_window += change;
            if slot.send_window > WINDOW_MAX {
                return Err(FrameError {
                    code: ErrorCode::FlowControl,
                    stream: None,
                    label: "window_overflow",
                });
            }
            if slot.unsent() > 0 && slot.send_window > 0 {
                state.enqueue(at);
            }
        }
        Ok(())
    }

    /// Resets a stream, and tells whoever holds it.
    pub(crate) fn reset(&self, id: u32, code: ErrorCode) {
        let mut state = self.state.borrow_mut();
        self.socket.write_with(|out| frame::reset(out, id, code));
        state.remember_reset(id);
        if let Some(at) = state.find(id) {
            self.mark_reset(&mut state, at, code);
        }
    }

    /// A stream is over for both sides.
    pub(crate) fn mark_reset(&self, state: &mut State, at: u32, code: ErrorCode) {
        let Some(slot) = state.slot(at) else { return };
        slot.reset = Some(code);
        slot.wake();
        let (id, held) = (slot.id, slot.held);
        state.close_stream(id);
        if !held {
            self.free(state, at);
        }
    }

    /// The handle of a stream is dropped.
    pub(crate) fn release(&self, at: u32) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let closed = state.closed.is_some();
        let Some(slot) = state.slot(at) else { return };
        slot.held = false;
        slot.waker = None;
        if closed || slot.reset.is_some() {
            self.free(state, at);
        } else if slot.end_queued && !slot.sent_end {
            // What is written still goes out; the body that still comes does not matter.
        } else {
            self.abandon(state, at, ErrorCode::Cancel);
        }
        if state.open.is_empty() {
            // The driver may be waiting for the last stream to end.
            state.wake_driver();
        }
    }

    /// Frees a slot whose handle is gone; the peer hears of it where its half or ours had not ended.
    fn abandon(&self, state: &mut State, at: u32, code: ErrorCode) {
        let Some(slot) = state.slot(at) else { return };
        let (id, complete) = (slot.id, slot.sent_end);
        if !(complete && slot.recv_end) {
            // RFC 9113 section 8.1: a complete answer makes the rest of the request unnecessary.
            let server = complete && state.role == Role::Server;
            let code = if server { ErrorCode::NoError } else { code };
            self.socket.write_with(|out| frame::reset(out, id, code));
            self.flush_with(state);
            state.remember_reset(id);
        }
        self.free(state, at);
        if state.open.is_empty() {
            state.wake_driver();
        }
    }

    fn free(&self, state: &mut State, at: u32) {
        state.free_slot(at);
        self.return_connection(state);
    }

    /// Everything is over: each stream hears of it.
    pub(crate) fn close(&self, code: ErrorCode) {
        let mut state = self.state.borrow_mut();
        state.closed.get_or_insert(code);
        state.wake_room();
        for at in state.open_slots() {
            self.mark_reset(&mut state, at, code);
        }
        state.wake_driver();
    }

    /// Returns what was consumed to the peer's windows, in large steps.
    pub(crate) fn consumed(&self, state: &mut State, at: u32, n: u32) {
        if state.role == Role::Server {
            state.unreturned += n;
        }
        let stream_window = state.stream_window;
        if let Some(slot) = state.slot(at) {
            slot.unreturned += n;
            if slot.unreturned >= stream_window / 2 && !slot.recv_end && slot.reset.is_none() {
                let back = std::mem::take(&mut slot.unreturned);
                slot.recv_window += i64::from(back);
                let id = slot.id;
                self.socket.write_with(|out| frame::window_update(out, id, back));
                self.flush_with(state);
            }
        }
        self.return_connection(state);
    }

    pub(crate) fn return_connection(&self, state: &mut State) {
        if state.unreturned >= state.conn_window / 2 {
            let back = std::mem::take(&mut state.unreturned);
            state.recv_window += i64::from(back);
            self.socket.write_with(|out| frame::window_update(out, 0, back));
            self.flush_with(state);
        }
    }
}

/// DATA frames with all of `data`; one empty frame if there is none and the stream ends.
fn data_frames(out: &mut Vec<u8>, id: u32, data: &[u8], end: bool) {
    let mut rest = data;
    loop {
        let (piece, later) = rest.split_at_checked(FRAME_BYTES).unwrap_or((rest, &[]));
        let flags = if end && later.is_empty() { frame::END_STREAM } else { 0 };
        frame::head(out, piece.len(), frame::DATA, flags, id);
        out.extend_from_slice(piece);
        rest = later;
        if rest.is_empty() {
            return;
        }
    }
}

/// The frame that ends a stream: trailers, or DATA without data.
fn end_frame(socket: &Socket, encoder: &mut Encoder, id: u32, trailers: &[u8]) {
    socket.write_with(|out| {
        if trailers.is_empty() {
            return frame::head(out, 0, frame::DATA, frame::END_STREAM, id);
        }
        let block = frame::begin_headers(out, id);
        encoder.begin(out);
        crate::head::lines(encoder, out, trailers);
        block.end(out, true);
    });
}
