//! The receiving half of a connection: frames to streams, and the rules that make a peer's frame an error.
//!
//! ```text
//!                     preface, SETTINGS
//!  (server) Greeting -------------------> Serving --GOAWAY sent, streams ended--> closed
//!               \                          |  ^
//!                \-- anything else         |  +-- stream error: RST_STREAM, counted
//!                     \                    |
//!                      +-------------------+--> connection error: GOAWAY, closed
//! ```

use crate::budget::Kind;
use crate::link::{Link, Role, State};
use crate::stream::Stream;
use sluice_h1::Scratch;
use sluice_tls::Stream as Socket;
use sluice_wire::h2::{
    Decoder, ErrorCode, Frame, FrameError, FrameReader, HeadCollector, Malformed, PREFACE, Problem, frame,
};
use sluice_wire::{Limits, RequestError, RequestHead};
use std::rc::Rc;

/// What we ask of the peer.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Limits of heads.
    pub limits: Limits,
    /// Streams that the peer may have open.
    pub max_streams: u32,
    /// What one stream may hold that nobody has taken yet.
    pub stream_window: u32,
    /// The same for the connection.
    pub conn_window: u32,
}

/// A request that has come.
pub struct Incoming {
    /// Where to answer.
    pub stream: Stream,
    /// The head.
    pub head: Box<RequestHead>,
    /// What its spans index.
    pub bytes: Vec<u8>,
    /// It exceeds a limit: to be answered accordingly.
    pub refused: Option<RequestError>,
}

/// What the driver has to tell while it reads.
pub trait Events {
    /// A request.
    fn request(&mut self, incoming: Incoming);
    /// A stream error, by its label.
    fn stream_error(&mut self, label: &'static str);
}

/// Reads one connection.
pub struct Driver {
    pub(crate) link: Rc<Link>,
    reader: FrameReader,
    decoder: Decoder,
    collector: HeadCollector,
    scratch: Rc<Scratch>,
    settings: Settings,
    /// Bytes of the client's preface still to come.
    greeting: usize,
    /// The peer's first SETTINGS have come.
    settled: bool,
    /// The last stream that we will serve: set by the final GOAWAY.
    last_served: Option<u32>,
    /// A PING of ours was answered.
    pub(crate) pong: bool,
}

const fn fatal(code: ErrorCode, label: &'static str) -> FrameError {
    FrameError { code, stream: None, label }
}

const fn of_stream(stream: u32, code: ErrorCode, label: &'static str) -> FrameError {
    FrameError { code, stream: Some(stream), label }
}

/// A header block may be so much larger than the limits, because names and values may be coded badly.
const BLOCK_SLACK: usize = 16 * 1024;

impl Driver {
    /// The server's end of `socket`. `greeted`: the preface has been read.
    #[must_use]
    pub fn server(socket: Socket, settings: Settings, scratch: Rc<Scratch>, greeted: bool) -> Self {
        let driver =
            Self::new(socket, Role::Server, settings, scratch, if greeted { 0 } else { PREFACE.len() });
        let list = settings.limits.header_max_bytes as u32;
        driver.link.socket.write_with(|out| {
            let values = [
                (frame::MAX_CONCURRENT_STREAMS, settings.max_streams),
                (frame::INITIAL_WINDOW_SIZE, settings.stream_window),
                (frame::MAX_HEADER_LIST_SIZE, list),
            ];
            frame::settings(out, &values);
            frame::window_update(out, 0, settings.conn_window - sluice_wire::h2::WINDOW_BYTES);
        });
        driver
    }

    /// The client's end of `socket`.
    #[must_use]
    pub fn client(socket: Socket, settings: Settings, scratch: Rc<Scratch>) -> Self {
        let driver = Self::new(socket, Role::Client, settings, scratch, 0);
        driver.link.socket.write_with(|out| {
            out.extend_from_slice(PREFACE);
            let values = [(frame::ENABLE_PUSH, 0), (frame::INITIAL_WINDOW_SIZE, settings.stream_window)];
            frame::settings(out, &values);
            frame::window_update(out, 0, settings.conn_window - sluice_wire::h2::WINDOW_BYTES);
        });
        driver
    }

    fn new(socket: Socket, role: Role, settings: Settings, scratch: Rc<Scratch>, greeting: usize) -> Self {
        let limits = &settings.limits;
        Self {
            link: Link::new(socket, role, settings.stream_window, settings.conn_window),
            reader: FrameReader::new(limits.request_line_max_bytes + limits.header_max_bytes + BLOCK_SLACK),
            decoder: Decoder::default(),
            collector: HeadCollector::default(),
            scratch,
            settings,
            greeting,
            settled: false,
            last_served: None,
            pong: false,
        }
    }

    /// The socket, for closing.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        &self.link.socket
    }

    /// Whether the peer owes us the rest of a header block or of its greeting.
    #[must_use]
    pub(crate) fn is_waiting_for_rest(&self) -> bool {
        self.greeting > 0 || !self.settled || self.reader.is_in_block()
    }

    /// Takes `input`. What is written goes out with the next flush.
    ///
    /// # Errors
    /// The connection is broken; the peer is to be told with GOAWAY.
    pub fn receive(&mut self, mut input: &[u8], events: &mut impl Events) -> Result<(), FrameError> {
        if self.greeting > 0 {
            self.greet(&mut input)?;
        }
        // Frames borrow from the reader, so it is taken apart from the rest.
        let mut reader = std::mem::replace(&mut self.reader, FrameReader::new(0));
        let result = self.frames(&mut reader, input, events);
        self.reader = reader;
        self.link.pump();
        result
    }

    fn frames(
        &mut self,
        reader: &mut FrameReader,
        mut input: &[u8],
        events: &mut impl Events,
    ) -> Result<(), FrameError> {
        loop {
            let done = match reader.next(&mut input) {
                Ok(Some(frame)) => self.frame(frame, events),
                Ok(None) => return Ok(()),
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => {}
                Err(FrameError { stream: Some(id), code, label }) => {
                    self.stream_error(id, code, label, events)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn greet(&mut self, input: &mut &[u8]) -> Result<(), FrameError> {
        let at = PREFACE.len() - self.greeting;
        let n = self.greeting.min(input.len());
        let (got, rest) = input.split_at_checked(n).unwrap_or_default();
        if PREFACE.get(at..at + n) != Some(got) {
            return Err(fatal(ErrorCode::Protocol, "bad_preface"));
        }
        (self.greeting, *input) = (self.greeting - n, rest);
        Ok(())
    }

    /// Resets a stream for the peer's fault.
    fn stream_error(
        &mut self,
        id: u32,
        code: ErrorCode,
        label: &'static str,
        events: &mut impl Events,
    ) -> Result<(), FrameError> {
        events.stream_error(label);
        self.link.reset(id, code);
        self.spend(Kind::Reset)
    }

    fn spend(&self, kind: Kind) -> Result<(), FrameError> {
        let mut state = self.link.state.borrow_mut();
        state
            .budget
            .spend(kind, sluice_rt::now_ms())
            .map_err(|label| fatal(ErrorCode::EnhanceYourCalm, label))
    }

    fn frame(&mut self, frame: Frame<'_>, events: &mut impl Events) -> Result<(), FrameError> {
        if !self.settled {
            if !matches!(frame, Frame::Settings(_)) {
                return Err(fatal(ErrorCode::Protocol, "expected_settings"));
            }
            self.settled = true;
        }
        match frame {
            Frame::Headers { stream, block, end_stream, self_dependent } => {
                self.headers(stream, block, end_stream, self_dependent, events)
            }
            Frame::Data { stream, data, counted, last, end_stream } => {
                self.data(stream, data, counted, last, end_stream)
            }
            Frame::WindowUpdate { stream, increment } => self.window_update(stream, increment),
            Frame::Reset { stream, code } => self.reset(stream, code),
            Frame::Settings(values) => {
                self.spend(Kind::Settings)?;
                self.peer_settings(values)
            }
            Frame::Ping { ack: true, .. } => {
                self.pong = true;
                Ok(())
            }
            Frame::Ping { payload, .. } => {
                self.spend(Kind::Ping)?;
                self.link.socket.write_with(|out| frame::ping(out, true, payload));
                Ok(())
            }
            Frame::GoAway { last_stream, .. } => {
                self.goaway(last_stream);
                Ok(())
            }
            Frame::PushPromise => Err(fatal(ErrorCode::Protocol, "push_promise")),
            Frame::Priority { .. } => self.spend(Kind::Noise),
            Frame::Unknown => self.spend(Kind::Noise),
            Frame::SettingsAck => Ok(()),
        }
    }

    fn headers(
        &mut self,
        id: u32,
        block: &[u8],
        end_stream: bool,
        self_dependent: bool,
        events: &mut impl Events,
    ) -> Result<(), FrameError> {
        let mut bytes = self.scratch.bytes();
        // Decoded whatever becomes of it: the tables must stay in step.
        let decoded = self.collector.decode(&mut self.decoder, block, &mut bytes, &self.settings.limits);
        decoded.map_err(|_| fatal(ErrorCode::Compression, "bad_header_block"))?;
        let open = self.link.state.borrow().find(id);
        let result = match open {
            Some(at) if self.role() == Role::Client && !self.is_answered(at) => {
                return self.response(id, at, bytes, end_stream);
            }
            Some(at) => self.trailers(id, at, &bytes, end_stream),
            None if self.role() == Role::Client => self.unknown(id),
            None => return self.request(id, bytes, end_stream, self_dependent, events),
        };
        self.scratch.put_bytes(bytes);
        result
    }

    pub(crate) fn role(&self) -> Role {
        self.link.state.borrow().role
    }

    fn is_answered(&self, at: u32) -> bool {
        self.link.state.borrow_mut().slot(at).is_some_and(|s| s.answered)
    }

    fn request(
        &mut self,
        id: u32,
        mut bytes: Vec<u8>,
        end_stream: bool,
        self_dependent: bool,
        events: &mut impl Events,
    ) -> Result<(), FrameError> {
        let (last, open) = {
            let state = self.link.state.borrow();
            (state.last_id, state.open_count())
        };
        if id.is_multiple_of(2) {
            return Err(fatal(ErrorCode::Protocol, "bad_stream_id"));
        }
        if id <= last {
            // Either the stream is over, or the client counts backwards (RFC 9113 sections 5.1 and 5.1.1).
            let used = self.link.state.borrow().was_used(id);
            let backwards = fatal(ErrorCode::Protocol, "bad_stream_id");
            return if used { self.unknown(id) } else { Err(backwards) };
        }
        {
            let mut state = self.link.state.borrow_mut();
            state.last_id = id;
            state.note_used(id);
        }
        if self.last_served.is_some() {
            // We have said that we won't: the client knows to try elsewhere (RFC 9113 section 6.8).
            return Ok(());
        }
        if self_dependent {
            return Err(of_stream(id, ErrorCode::Protocol, "self_dependency"));
        }
        if open >= self.settings.max_streams as usize {
            return Err(of_stream(id, ErrorCode::RefusedStream, "too_many_streams"));
        }
        let mut head = self.scratch.request();
        let made = self.collector.request(&mut bytes, &self.settings.limits, end_stream, &mut head);
        let refused = match made {
            Ok(()) => None,
            Err(Problem::Refused(error)) => Some(error),
            Err(Problem::Malformed(why)) => {
                self.scratch.put_request(head);
                return Err(of_stream(id, ErrorCode::Protocol, why.label()));
            }
        };
        head.head_len = bytes.len();
        let at = {
            let mut state = self.link.state.borrow_mut();
            let at = state.open_stream(id);
            state.progress_ms = sluice_rt::now_ms();
            if let Some(slot) = state.slot(at) {
                slot.recv_end = end_stream;
                slot.expected = expected(head.framing);
            }
            at
        };
        let stream = Stream { link: Rc::clone(&self.link), at };
        events.request(Incoming { stream, head, bytes, refused });
        Ok(())
    }

    fn response(&mut self, id: u32, at: u32, bytes: Vec<u8>, end_stream: bool) -> Result<(), FrameError> {
        let mut head = self.scratch.response();
        let mut state = self.link.state.borrow_mut();
        let Some(slot) = state.slot(at) else { return Ok(()) };
        let made = self.collector.response(&bytes, slot.method, end_stream, &mut head);
        made.map_err(|why: Malformed| of_stream(id, ErrorCode::Protocol, why.label()))?;
        if head.status >= 200 {
            slot.answered = true;
            slot.recv_end = end_stream;
            slot.expected = expected(head.framing);
        }
        head.head_len = bytes.len();
        slot.heads.push_back((head, bytes));
        if slot.heads.len() > HEADS_MAX {
            return Err(of_stream(id, ErrorCode::EnhanceYourCalm, "too_many_interim_responses"));
        }
        slot.wake();
        Ok(())
    }

    fn trailers(&mut self, id: u32, at: u32, bytes: &[u8], end_stream: bool) -> Result<(), FrameError> {
        let mut state = self.link.state.borrow_mut();
        let Some(slot) = state.slot(at) else { return Ok(()) };
        if slot.recv_end {
            return Err(of_stream(id, ErrorCode::StreamClosed, "closed_stream"));
        }
        if !end_stream {
            return Err(of_stream(id, ErrorCode::Protocol, "trailers_without_end"));
        }
        let read = self.collector.trailers(bytes, &mut slot.trailers);
        read.map_err(|why| of_stream(id, ErrorCode::Protocol, why.label()))?;
        end(slot, id)
    }

    /// A frame of a stream that is not open.
    fn unknown(&self, id: u32) -> Result<(), FrameError> {
        let state = self.link.state.borrow();
        if is_idle(&state, id) {
            return Err(fatal(ErrorCode::Protocol, "idle_stream"));
        }
        // What was on its way when we reset it is nobody's fault.
        if state.was_reset(id) { Ok(()) } else { Err(fatal(ErrorCode::StreamClosed, "closed_stream")) }
    }

    fn data(
        &mut self,
        id: u32,
        data: &[u8],
        counted: u32,
        last: bool,
        end_stream: bool,
    ) -> Result<(), FrameError> {
        if last && counted == 0 && !end_stream {
            self.spend(Kind::EmptyData)?;
        }
        let mut state = self.link.state.borrow_mut();
        let state = &mut *state;
        state.recv_window -= i64::from(counted);
        if state.recv_window < 0 {
            return Err(fatal(ErrorCode::FlowControl, "window_exceeded"));
        }
        let Some(at) = state.find(id) else {
            state.unreturned += counted;
            self.link.return_connection(state);
            return if is_idle(state, id) {
                Err(fatal(ErrorCode::Protocol, "idle_stream"))
            } else if state.was_reset(id) {
                Ok(())
            } else {
                Err(fatal(ErrorCode::StreamClosed, "closed_stream"))
            };
        };
        // A client's connection carries other exchanges: none may stall it, so only streams hold back.
        let client = state.role == Role::Client;
        let here = if client { counted } else { 0 };
        let padding = counted - data.len() as u32;
        state.unreturned += here;
        let Some(slot) = state.slot(at) else { return Ok(()) };
        if slot.recv_end {
            return Err(of_stream(id, ErrorCode::StreamClosed, "closed_stream"));
        }
        if client && !slot.answered {
            // Section 8.1: an answer begins with HEADERS.
            return Err(of_stream(id, ErrorCode::Protocol, "data_before_headers"));
        }
        slot.recv_window -= i64::from(counted);
        if slot.recv_window < 0 {
            return Err(of_stream(id, ErrorCode::FlowControl, "window_exceeded"));
        }
        if let Some(expected) = &mut slot.expected {
            let left = expected.checked_sub(data.len() as u64);
            *expected = left.ok_or(of_stream(id, ErrorCode::Protocol, "content_length_mismatch"))?;
        }
        let held = slot.held;
        if held {
            slot.recv.extend_from_slice(data);
            slot.wake();
        }
        if end_stream {
            end(slot, id)?;
        }
        let dropped = if held { padding } else { counted };
        if dropped > 0 {
            self.link.consumed(state, at, dropped);
        }
        self.link.return_connection(state);
        Ok(())
    }

    fn window_update(&mut self, id: u32, increment: u32) -> Result<(), FrameError> {
        self.spend(Kind::Window)?;
        if id != 0 && is_idle(&self.link.state.borrow(), id) {
            return Err(fatal(ErrorCode::Protocol, "idle_stream"));
        }
        if increment == 0 {
            let stream = (id != 0).then_some(id);
            return Err(FrameError { code: ErrorCode::Protocol, stream, label: "window_update_of_zero" });
        }
        self.link.grant(id, increment)
    }

    fn reset(&mut self, id: u32, code: u32) -> Result<(), FrameError> {
        if is_idle(&self.link.state.borrow(), id) {
            return Err(fatal(ErrorCode::Protocol, "idle_stream"));
        }
        if self.role() == Role::Server {
            self.spend(Kind::Reset)?;
        }
        let mut state = self.link.state.borrow_mut();
        if let Some(at) = state.find(id) {
            self.link.mark_reset(&mut state, at, ErrorCode::from_u32(code));
        }
        Ok(())
    }

    fn peer_settings(&mut self, values: &[u8]) -> Result<(), FrameError> {
        for pair in values.as_chunks::<6>().0 {
            let [i1, i0, v3, v2, v1, v0] = *pair;
            let (id, value) = (u16::from_be_bytes([i1, i0]), u32::from_be_bytes([v3, v2, v1, v0]));
            match id {
                frame::HEADER_TABLE_SIZE => {
                    self.link.state.borrow_mut().encoder.set_max_table(value as usize);
                }
                // A server must not allow itself pushes, nobody anything but 0 or 1.
                frame::ENABLE_PUSH if value > 1 || (value == 1 && self.role() == Role::Client) => {
                    return Err(fatal(ErrorCode::Protocol, "bad_enable_push"));
                }
                frame::MAX_CONCURRENT_STREAMS => {
                    let mut state = self.link.state.borrow_mut();
                    state.peer_streams = value;
                    state.wake_room();
                }
                frame::INITIAL_WINDOW_SIZE if value > 0x7fff_ffff => {
                    return Err(fatal(ErrorCode::FlowControl, "bad_initial_window"));
                }
                frame::INITIAL_WINDOW_SIZE => self.link.set_peer_window(value)?,
                // We never send frames larger than the least that everybody must take.
                frame::MAX_FRAME_SIZE if !(16_384..=16_777_215).contains(&value) => {
                    return Err(fatal(ErrorCode::Protocol, "bad_max_frame_size"));
                }
                _ => {}
            }
        }
        self.link.socket.write_with(frame::settings_ack);
        Ok(())
    }

    fn goaway(&mut self, last_stream: u32) {
        let mut state = self.link.state.borrow_mut();
        let state = &mut *state;
        state.goaway = Some(state.goaway.map_or(last_stream, |before| before.min(last_stream)));
        state.wake_room();
        if state.role == Role::Client {
            for at in state.open_slots() {
                if state.slot(at).is_some_and(|s| s.id > last_stream) {
                    self.link.mark_reset(state, at, ErrorCode::RefusedStream);
                }
            }
        }
    }

    /// Writes GOAWAY: with `last` 2^31-1 a warning, else the last word.
    pub(crate) fn say_goaway(&mut self, warning: bool, code: ErrorCode, label: &str) {
        let last = self.link.state.borrow().last_id;
        let last = if self.role() == Role::Client { 0 } else { last };
        if !warning {
            self.last_served = Some(last);
        }
        let last = if warning { 0x7fff_ffff } else { last };
        self.link.socket.write_with(|out| frame::goaway(out, last, code, label.as_bytes()));
    }
}

/// Heads of one answer that nobody has taken yet.
const HEADS_MAX: usize = 20;

/// Whether nobody has opened the stream yet.
fn is_idle(state: &State, id: u32) -> bool {
    // Ours are odd as a client, and the peer's are odd when we are the server; the other half is never used.
    id > state.last_id || id.is_multiple_of(2)
}

fn expected(framing: sluice_wire::BodyFraming) -> Option<u64> {
    match framing {
        sluice_wire::BodyFraming::Length(n) => Some(n),
        _ => None,
    }
}

/// The peer's half ends.
fn end(slot: &mut crate::slot::Slot, id: u32) -> Result<(), FrameError> {
    if slot.expected.is_some_and(|left| left > 0) {
        return Err(of_stream(id, ErrorCode::Protocol, "content_length_mismatch"));
    }
    slot.recv_end = true;
    slot.wake();
    Ok(())
}
