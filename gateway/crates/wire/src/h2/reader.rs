//! Input to frames.
//!
//! ```text
//!          nine bytes          payload of DATA, as it comes
//! Head ------------------> Data -------------------------------> Head
//!   |                                                             ^
//!   +--------------------> Whole (payload collected) -------------+
//! ```
//! While a header block is open, nothing but its CONTINUATION frames may come (RFC 9113 section 4.3).

use super::{ErrorCode, FRAME_BYTES, frame};

/// A frame, or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A piece of DATA. A frame comes in as many pieces as it was received in.
    Data {
        /// The stream, not 0.
        stream: u32,
        /// The payload in this piece.
        data: &'a [u8],
        /// What this piece counts for in flow control: the payload and its padding.
        counted: u32,
        /// The frame ends with this piece.
        last: bool,
        /// The stream ends with this piece.
        end_stream: bool,
    },
    /// A whole header block.
    Headers {
        /// The stream, not 0.
        stream: u32,
        /// The block.
        block: &'a [u8],
        /// The stream ends with it.
        end_stream: bool,
        /// It depends on itself: an error of the stream (RFC 9113 section 5.3.1 keeps the field, RFC 7540 the rule).
        self_dependent: bool,
    },
    /// PRIORITY, which means nothing any more.
    Priority {
        /// The stream, not 0.
        stream: u32,
    },
    /// RST_STREAM.
    Reset {
        /// The stream, not 0.
        stream: u32,
        /// Why.
        code: u32,
    },
    /// SETTINGS: pairs of id and value, six bytes each.
    Settings(&'a [u8]),
    /// The acknowledgement of ours.
    SettingsAck,
    /// PUSH_PROMISE.
    PushPromise,
    /// PING.
    Ping {
        /// The answer to ours.
        ack: bool,
        /// To be sent back.
        payload: [u8; 8],
    },
    /// GOAWAY.
    GoAway {
        /// The last stream that the peer has dealt with.
        last_stream: u32,
        /// Why.
        code: u32,
    },
    /// WINDOW_UPDATE.
    WindowUpdate {
        /// The stream, 0 for the connection.
        stream: u32,
        /// 0 is an error.
        increment: u32,
    },
    /// A frame of an unknown type, to be ignored (RFC 9113 section 5.5).
    Unknown,
}

/// Why the input is no HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameError {
    /// What to tell the peer.
    pub code: ErrorCode,
    /// The stream that it concerns; `None`: the connection.
    pub stream: Option<u32>,
    /// A stable label for metrics, and the debug data of GOAWAY.
    pub label: &'static str,
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.label, self.code.name())
    }
}

impl std::error::Error for FrameError {}

const fn broken(code: ErrorCode, label: &'static str) -> FrameError {
    FrameError { code, stream: None, label }
}

#[derive(Clone, Copy, Default)]
struct Head {
    len: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Head {
    fn parse(bytes: &[u8; frame::HEAD_BYTES]) -> Self {
        let [l2, l1, l0, kind, flags, s3, s2, s1, s0] = *bytes;
        Self {
            len: u32::from_be_bytes([0, l2, l1, l0]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([s3 & 0x7f, s2, s1, s0]),
        }
    }

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

#[derive(Clone, Copy)]
enum State {
    /// Between frames, or within the nine bytes.
    Head,
    /// The head has come, not yet the whole payload.
    Whole(Head),
    /// Within DATA: payload and padding to come. `pad_unknown`: the byte that says how much has not come.
    Data { head: Head, data: usize, pad: usize, pad_unknown: bool },
}

/// A header block that is open.
#[derive(Clone, Copy)]
struct Open {
    stream: u32,
    end_stream: bool,
    self_dependent: bool,
    frames: u32,
}

/// Cuts input into frames.
pub struct FrameReader {
    state: State,
    /// What has come of a head or payload that the input cuts.
    held: Vec<u8>,
    /// `held` was lent out: to be cleared.
    lent: bool,
    open: Option<Open>,
    block: Vec<u8>,
    block_max: usize,
}

/// CONTINUATION frames of one block: with frames of 16 KiB any block that we take needs fewer.
const CONTINUATIONS_MAX: u32 = 8;
/// Vectors that grew past this are given back when they are empty.
const KEPT_BYTES: usize = 4096;

impl FrameReader {
    /// A reader that refuses header blocks of more than `block_max` bytes.
    #[must_use]
    pub fn new(block_max: usize) -> Self {
        let (held, block) = (Vec::new(), Vec::new());
        Self { state: State::Head, held, lent: false, open: None, block, block_max }
    }

    /// Whether a header block is open, which only the peer can finish.
    #[must_use]
    pub fn is_in_block(&self) -> bool {
        let headers = |head: Head| matches!(head.kind, frame::HEADERS | frame::CONTINUATION);
        self.open.is_some() || matches!(self.state, State::Whole(head) if headers(head))
    }

    /// The next frame or piece in `input`, which moves on past it. `None`: more input is needed.
    ///
    /// # Errors
    /// See [`FrameError`]. After an error of a stream reading can go on, after another it can't.
    #[inline]
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Frame<'a>>, FrameError> {
        if std::mem::take(&mut self.lent) {
            self.held.clear();
            if self.held.capacity() > KEPT_BYTES {
                self.held = Vec::new();
            }
            if self.open.is_none() {
                self.block.clear();
                if self.block.capacity() > KEPT_BYTES {
                    self.block = Vec::new();
                }
            }
        }
        if let State::Head = self.state {
            let Some(head) = self.head(input) else { return Ok(None) };
            self.begin(head)?;
        }
        match self.state {
            State::Data { .. } => Ok(self.data(input)?),
            State::Whole(head) => self.whole(head, input),
            State::Head => Ok(None),
        }
    }

    #[inline]
    fn head(&mut self, input: &mut &[u8]) -> Option<Head> {
        if self.held.is_empty()
            && let Some((head, rest)) = input.split_first_chunk()
        {
            *input = rest;
            return Some(Head::parse(head));
        }
        self.collect(frame::HEAD_BYTES, input);
        let head = Head::parse(self.held.first_chunk()?);
        self.held.clear();
        Some(head)
    }

    /// Moves input to `held` until that has `len` bytes.
    fn collect(&mut self, len: usize, input: &mut &[u8]) {
        let missing = len.saturating_sub(self.held.len()).min(input.len());
        let (piece, rest) = input.split_at_checked(missing).unwrap_or_default();
        self.held.extend_from_slice(piece);
        *input = rest;
    }

    /// Checks a head.
    fn begin(&mut self, head: Head) -> Result<(), FrameError> {
        if head.len > FRAME_BYTES {
            return Err(broken(ErrorCode::FrameSize, "frame_too_large"));
        }
        match self.open {
            Some(open) if head.kind != frame::CONTINUATION || head.stream != open.stream => {
                return Err(broken(ErrorCode::Protocol, "expected_continuation"));
            }
            None if head.kind == frame::CONTINUATION => {
                return Err(broken(ErrorCode::Protocol, "unexpected_continuation"));
            }
            _ => {}
        }
        let of_stream = matches!(
            head.kind,
            frame::DATA
                | frame::HEADERS
                | frame::PRIORITY
                | frame::RST_STREAM
                | frame::PUSH_PROMISE
                | frame::CONTINUATION
        );
        let of_connection = matches!(head.kind, frame::SETTINGS | frame::PING | frame::GOAWAY);
        if of_stream && head.stream == 0 || of_connection && head.stream != 0 {
            return Err(broken(ErrorCode::Protocol, "bad_stream_id"));
        }
        self.state = State::Whole(head);
        if head.kind == frame::DATA {
            let padded = head.has(frame::PADDED);
            if padded && head.len == 0 {
                return Err(broken(ErrorCode::FrameSize, "bad_padding"));
            }
            self.state = State::Data { head, data: head.len, pad: 0, pad_unknown: padded };
        }
        Ok(())
    }

    /// A piece of DATA.
    fn data<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Frame<'a>>, FrameError> {
        let State::Data { head, mut data, mut pad, mut pad_unknown } = self.state else { return Ok(None) };
        let mut counted = 0;
        if pad_unknown {
            let Some((length, rest)) = input.split_first() else { return Ok(None) };
            (pad_unknown, pad, counted, *input) = (false, usize::from(*length), 1, rest);
            // Padding as long as the payload or longer (section 6.1).
            data = (data - 1).checked_sub(pad).ok_or(broken(ErrorCode::Protocol, "bad_padding"))?;
        } else if input.is_empty() && data + pad > 0 {
            return Ok(None);
        }
        let (piece, rest) = input.split_at_checked(data.min(input.len())).unwrap_or_default();
        data -= piece.len();
        let padding = if data == 0 { pad.min(rest.len()) } else { 0 };
        pad -= padding;
        *input = rest.get(padding..).unwrap_or_default();
        counted += piece.len() + padding;
        let last = data == 0 && pad == 0;
        self.state = if last { State::Head } else { State::Data { head, data, pad, pad_unknown } };
        Ok(Some(Frame::Data {
            stream: head.stream,
            data: piece,
            counted: counted as u32,
            last,
            end_stream: last && head.has(frame::END_STREAM),
        }))
    }

    /// A frame that is looked at as a whole.
    fn whole<'a, 'i: 'a>(
        &'a mut self,
        head: Head,
        input: &mut &'i [u8],
    ) -> Result<Option<Frame<'a>>, FrameError> {
        if self.held.is_empty() && input.len() >= head.len {
            let (payload, rest) = input.split_at_checked(head.len).unwrap_or_default();
            *input = rest;
            self.state = State::Head;
            if !matches!(head.kind, frame::HEADERS | frame::CONTINUATION) {
                return parse(head, payload).map(Some);
            }
            let ready = self.block_piece(head, payload)?;
            return Ok(self.block_done(ready, head, payload));
        }
        self.collect(head.len, input);
        if self.held.len() < head.len {
            return Ok(None);
        }
        self.state = State::Head;
        self.lent = true;
        if !matches!(head.kind, frame::HEADERS | frame::CONTINUATION) {
            return parse(head, &self.held).map(Some);
        }
        let held = std::mem::take(&mut self.held);
        let ready = self.block_piece(head, &held);
        self.held = held;
        let ready = ready?;
        let Self { held, block, .. } = self;
        Ok(finished(ready, head, held, block))
    }

    fn block_done<'a>(&'a mut self, ready: Ready, head: Head, payload: &'a [u8]) -> Option<Frame<'a>> {
        self.lent = true;
        finished(ready, head, payload, &self.block)
    }

    /// Takes the block's piece in a HEADERS or CONTINUATION payload.
    fn block_piece(&mut self, head: Head, payload: &[u8]) -> Result<Ready, FrameError> {
        if head.kind == frame::CONTINUATION {
            let Some(open) = &mut self.open else {
                return Err(broken(ErrorCode::Protocol, "unexpected_continuation"));
            };
            open.frames += 1;
            if open.frames > CONTINUATIONS_MAX || self.block.len() + payload.len() > self.block_max {
                return Err(broken(ErrorCode::EnhanceYourCalm, "continuation_flood"));
            }
            self.block.extend_from_slice(payload);
            if !head.has(frame::END_HEADERS) {
                return Ok(Ready::No);
            }
            let open = self.open.take().unwrap_or(Open {
                stream: head.stream,
                end_stream: false,
                self_dependent: false,
                frames: 0,
            });
            return Ok(Ready::Collected(open));
        }
        let (from, to, self_dependent) = headers_payload(head, payload)?;
        let end_stream = head.has(frame::END_STREAM);
        let open = Open { stream: head.stream, end_stream, self_dependent, frames: 0 };
        if head.has(frame::END_HEADERS) {
            return Ok(Ready::Here(open, from, to));
        }
        self.block.clear();
        self.block.extend_from_slice(payload.get(from..to).unwrap_or_default());
        self.open = Some(open);
        Ok(Ready::No)
    }
}

/// Whether a block is whole, and where it lies.
#[derive(Clone, Copy)]
enum Ready {
    No,
    /// From here to there in the payload.
    Here(Open, usize, usize),
    /// In the collected block.
    Collected(Open),
}

fn finished<'a>(ready: Ready, head: Head, payload: &'a [u8], block: &'a [u8]) -> Option<Frame<'a>> {
    let (open, block) = match ready {
        Ready::No => return Some(Frame::Unknown),
        Ready::Here(open, from, to) => (open, payload.get(from..to).unwrap_or_default()),
        Ready::Collected(open) => (open, block),
    };
    Some(Frame::Headers {
        stream: head.stream,
        block,
        end_stream: open.end_stream,
        self_dependent: open.self_dependent,
    })
}

/// Where the block lies in a HEADERS payload (section 6.2), and whether the stream depends on itself.
fn headers_payload(head: Head, payload: &[u8]) -> Result<(usize, usize, bool), FrameError> {
    let (mut from, mut to, mut self_dependent) = (0, payload.len(), false);
    if head.has(frame::PADDED) {
        let pad = payload.first().ok_or(broken(ErrorCode::FrameSize, "bad_padding"))?;
        from = 1;
        to = to.checked_sub(usize::from(*pad)).ok_or(broken(ErrorCode::Protocol, "bad_padding"))?;
    }
    if head.has(frame::PRIORITY_FLAG) {
        let dependency = payload.get(from..from + 4).and_then(|four| four.first_chunk());
        let dependency = dependency.ok_or(broken(ErrorCode::FrameSize, "bad_priority"))?;
        self_dependent = u32::from_be_bytes(*dependency) & 0x7fff_ffff == head.stream;
        from += 5;
    }
    if from > to {
        return Err(broken(ErrorCode::Protocol, "bad_padding"));
    }
    Ok((from, to, self_dependent))
}

/// A frame other than DATA and those of header blocks.
fn parse(head: Head, payload: &[u8]) -> Result<Frame<'_>, FrameError> {
    let wrong_size = broken(ErrorCode::FrameSize, "bad_frame_size");
    let four = || payload.first_chunk::<4>().filter(|_| payload.len() == 4).map(|b| u32::from_be_bytes(*b));
    match head.kind {
        frame::PRIORITY => match payload.first_chunk::<5>() {
            Some([a, b, c, d, _]) if payload.len() == 5 => {
                let on = u32::from_be_bytes([*a & 0x7f, *b, *c, *d]);
                if on == head.stream {
                    let stream = Some(head.stream);
                    return Err(FrameError { code: ErrorCode::Protocol, stream, label: "self_dependency" });
                }
                Ok(Frame::Priority { stream: head.stream })
            }
            _ => Err(FrameError { stream: Some(head.stream), ..wrong_size }),
        },
        frame::RST_STREAM => four().map(|code| Frame::Reset { stream: head.stream, code }).ok_or(wrong_size),
        frame::SETTINGS if head.has(frame::ACK) => {
            if payload.is_empty() {
                Ok(Frame::SettingsAck)
            } else {
                Err(wrong_size)
            }
        }
        frame::SETTINGS => {
            if payload.len().is_multiple_of(6) {
                Ok(Frame::Settings(payload))
            } else {
                Err(wrong_size)
            }
        }
        frame::PUSH_PROMISE => Ok(Frame::PushPromise),
        frame::PING => match payload.first_chunk::<8>() {
            Some(eight) if payload.len() == 8 => {
                Ok(Frame::Ping { ack: head.has(frame::ACK), payload: *eight })
            }
            _ => Err(wrong_size),
        },
        frame::GOAWAY => match payload.first_chunk::<8>() {
            Some([a, b, c, d, code @ ..]) => Ok(Frame::GoAway {
                last_stream: u32::from_be_bytes([*a & 0x7f, *b, *c, *d]),
                code: u32::from_be_bytes(*code),
            }),
            None => Err(wrong_size),
        },
        frame::WINDOW_UPDATE => four()
            .map(|n| Frame::WindowUpdate { stream: head.stream, increment: n & 0x7fff_ffff })
            .ok_or(wrong_size),
        _ => Ok(Frame::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything a byte string holds, cut into pieces of `step` bytes; DATA pieces joined.
    fn read(bytes: &[u8], step: usize) -> Result<Vec<String>, FrameError> {
        let mut reader = FrameReader::new(40_000);
        let (mut seen, mut data) = (Vec::new(), Vec::new());
        let mut counts = 0;
        for piece in bytes.chunks(step) {
            let mut input = piece;
            while let Some(frame) = reader.next(&mut input)? {
                match frame {
                    Frame::Unknown => {}
                    Frame::Data { stream, data: more, counted, last, end_stream } => {
                        data.extend_from_slice(more);
                        counts += counted;
                        if last {
                            seen.push(format!("data {stream} {data:?} {counts} {end_stream}"));
                            data.clear();
                            counts = 0;
                        }
                    }
                    other => seen.push(format!("{other:?}")),
                }
            }
            assert!(input.is_empty());
        }
        Ok(seen)
    }

    fn frame_of(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        frame::head(&mut out, payload.len(), kind, flags, stream);
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn frames_are_the_same_however_they_were_cut() {
        let mut bytes = Vec::new();
        frame::settings(&mut bytes, &[(1, 2), (3, 4)]);
        frame::ping(&mut bytes, true, *b"12345678");
        bytes.extend(frame_of(frame::DATA, frame::PADDED | frame::END_STREAM, 1, b"\x03hello\0\0\0"));
        bytes.extend(frame_of(frame::DATA, 0, 1, b""));
        bytes.extend(frame_of(
            frame::HEADERS,
            frame::PADDED | frame::PRIORITY_FLAG,
            3,
            b"\x01\0\0\0\x01\x10ab\0",
        ));
        bytes.extend(frame_of(frame::CONTINUATION, 0, 3, b"cd"));
        bytes.extend(frame_of(frame::CONTINUATION, frame::END_HEADERS, 3, b"ef"));
        bytes.extend(frame_of(0xee, 0xff, 9, b"whatever"));
        frame::window_update(&mut bytes, 0, 77);
        frame::reset(&mut bytes, 5, ErrorCode::Cancel);
        frame::goaway(&mut bytes, 7, ErrorCode::NoError, b"bye");
        let whole = read(&bytes, usize::MAX).unwrap();
        assert_eq!(whole.len(), 8);
        assert_eq!(whole[2], format!("data 1 {:?} 9 true", b"hello"));
        assert!(whole[4].contains(&format!("block: {:?}", b"abcdef")));
        for step in (1..40).step_by(if cfg!(miri) { 13 } else { 1 }) {
            assert_eq!(read(&bytes, step).unwrap(), whole, "pieces of {step}");
        }
    }

    // What it adds is length, which an interpreter has no time for.
    #[test]
    #[cfg_attr(miri, ignore)]
    fn a_long_block_is_split_and_read_back() {
        let mut out = Vec::new();
        let block = frame::begin_headers(&mut out, 1);
        out.extend(std::iter::repeat_n(7, 39_000));
        block.end(&mut out, true);
        let seen = read(&out, 1000).unwrap();
        assert_eq!(seen.len(), 1);
        assert!(seen[0].contains("end_stream: true"));
        assert_eq!(out.len(), 39_000 + 3 * 9);
    }

    #[test]
    fn broken_frames_are_refused() {
        let headers = frame_of(frame::HEADERS, 0, 1, b"a");
        let two = |second: Vec<u8>| [headers.clone(), second].concat();
        let flood = [headers.clone(), frame_of(frame::CONTINUATION, 0, 1, b"x").repeat(9)].concat();
        let fat = [headers.clone(), frame_of(frame::CONTINUATION, 0, 1, &[0; 16_000]).repeat(3)].concat();
        for (bytes, code, stream) in [
            (frame_of(frame::DATA, 0, 0, b"x"), ErrorCode::Protocol, None),
            (frame_of(frame::DATA, frame::PADDED, 1, b"\x05abc"), ErrorCode::Protocol, None),
            (frame_of(frame::DATA, 0, 1, &[0; 16_385]), ErrorCode::FrameSize, None),
            (frame_of(frame::HEADERS, frame::PADDED, 1, b"\x05abc"), ErrorCode::Protocol, None),
            (frame_of(frame::PRIORITY, 0, 1, b"1234"), ErrorCode::FrameSize, Some(1)),
            (frame_of(frame::PRIORITY, 0, 1, b"\0\0\0\x01\0"), ErrorCode::Protocol, Some(1)),
            (frame_of(frame::RST_STREAM, 0, 1, b"123"), ErrorCode::FrameSize, None),
            (frame_of(frame::SETTINGS, 0, 0, b"123"), ErrorCode::FrameSize, None),
            (frame_of(frame::SETTINGS, frame::ACK, 0, b"123456"), ErrorCode::FrameSize, None),
            (frame_of(frame::SETTINGS, 0, 1, b""), ErrorCode::Protocol, None),
            (frame_of(frame::PING, 0, 0, b"1234567"), ErrorCode::FrameSize, None),
            (frame_of(frame::GOAWAY, 0, 0, b"1234567"), ErrorCode::FrameSize, None),
            (frame_of(frame::WINDOW_UPDATE, 0, 0, b"12345"), ErrorCode::FrameSize, None),
            (frame_of(frame::CONTINUATION, 0, 1, b""), ErrorCode::Protocol, None),
            (two(frame_of(frame::PING, 0, 0, b"12345678")), ErrorCode::Protocol, None),
            (two(frame_of(frame::CONTINUATION, 0, 3, b"")), ErrorCode::Protocol, None),
            (flood, ErrorCode::EnhanceYourCalm, None),
            (fat, ErrorCode::EnhanceYourCalm, None),
        ] {
            for step in [1, 7, usize::MAX] {
                let error = read(&bytes, step).expect_err("refused");
                assert_eq!((error.code, error.stream), (code, stream), "{}", error.label);
            }
        }
    }
}
