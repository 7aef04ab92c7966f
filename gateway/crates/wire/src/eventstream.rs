//! AWS's event stream encoding, as Lambda's InvokeWithResponseStream answers in it (`application/vnd.amazon.eventstream`;
//! Smithy 2.0, "Amazon Event Stream Specification").
//!
//! ```text
//! message: length u32 | length of headers u32 | CRC-32 of these 8 | headers | payload | CRC-32 of all before
//! header:  length of name u8 | name | 7 | length of value u16 | value            (7: text; other types are skipped)
//!
//! Prelude (12 bytes) -> Headers -> Payload -> Check (4 bytes) -> Prelude …
//! ```
//! The decoder holds a payload until its checksum has come and is right: none of a message that is wrong goes on. A function's
//! messages are what it wrote at a time, so that its stream is not held back.

use crc32fast::Hasher;
use std::fmt;

/// Prelude and closing checksum.
const FRAME_BYTES: usize = 16;
/// Longest headers that are read; Lambda's are three short ones (the specification has 128 KiB).
const HEADERS_MAX_BYTES: usize = 8 * 1024;
/// Longest payload that is held; what a function writes at a time, and answers of 6 MB in one piece, are far below.
const PAYLOAD_MAX_BYTES: usize = 16 * 1024 * 1024;
/// What is kept of a payload that only tells: the rest says no more than that something failed.
const KEPT_BYTES: usize = 64 * 1024;
/// What stays allocated for the next piece.
const RETAINED_BYTES: usize = 64 * 1024;
const TEXT: u8 = 7;

/// What an event stream holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent<'d> {
    /// A piece of what the function answers (`PayloadChunk`).
    Piece(&'d [u8]),
    /// The function is done (`InvokeComplete`): JSON, of which no more than 64 KiB are kept.
    Complete(Vec<u8>),
    /// An exception: its payload, kept likewise.
    Exception(Vec<u8>),
}

/// A stream that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamFault {
    /// Lengths that cannot be.
    Length,
    /// Headers that are none, or too long.
    Headers,
    /// A checksum that is another.
    Checksum,
}

impl fmt::Display for StreamFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "a message of an event stream has lengths that cannot be",
            Self::Headers => "the headers of a message of an event stream are none, or too long",
            Self::Checksum => "a checksum of an event stream is wrong",
        })
    }
}

impl std::error::Error for StreamFault {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Prelude,
    Headers,
    Payload,
    Check,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Chunk,
    Complete,
    Exception,
    /// Events that there may be one day: not looked at.
    Other,
}

/// Reads an event stream piece by piece.
#[derive(Debug)]
pub struct StreamDecoder {
    state: State,
    /// What is gathered until it can be read.
    held: Vec<u8>,
    /// What is kept of a payload, until its checksum has come.
    kept: Vec<u8>,
    headers: usize,
    /// Of the payload.
    left: usize,
    kind: Kind,
    sum: Hasher,
}

impl Default for StreamDecoder {
    fn default() -> Self {
        Self {
            state: State::Prelude,
            held: Vec::new(),
            kept: Vec::new(),
            headers: 0,
            left: 0,
            kind: Kind::Other,
            sum: Hasher::new(),
        }
    }
}

/// Takes up to `n` bytes.
fn take<'d>(input: &mut &'d [u8], n: usize) -> &'d [u8] {
    let (taken, rest) = input.split_at_checked(n).unwrap_or((input, &[]));
    *input = rest;
    taken
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

impl StreamDecoder {
    /// Whether the last message is whole: a stream may end here.
    #[must_use]
    pub const fn is_between(&self) -> bool {
        matches!(self.state, State::Prelude) && self.held.is_empty()
    }

    /// The next event in `input`, which moves on; `None`: all of it has been read.
    ///
    /// # Errors
    /// What came is no event stream; nothing can be read after that.
    pub fn next<'d>(&'d mut self, input: &mut &[u8]) -> Result<Option<StreamEvent<'d>>, StreamFault> {
        loop {
            match self.state {
                State::Prelude => {
                    if !self.gather(input, 12) {
                        return Ok(None);
                    }
                    self.prelude()?;
                }
                State::Headers => {
                    if !self.gather(input, self.headers) {
                        return Ok(None);
                    }
                    self.kind = kind(&self.held).ok_or(StreamFault::Headers)?;
                    self.sum.update(&self.held);
                    self.held.clear();
                    self.state = State::Payload;
                }
                State::Payload => {
                    self.payload(input);
                    if self.left > 0 {
                        return Ok(None);
                    }
                    self.state = State::Check;
                }
                State::Check => {
                    if !self.gather(input, 4) {
                        return Ok(None);
                    }
                    self.check()?;
                    match self.kind {
                        Kind::Chunk if !self.kept.is_empty() => break,
                        Kind::Chunk | Kind::Other => {}
                        Kind::Complete => {
                            return Ok(Some(StreamEvent::Complete(std::mem::take(&mut self.kept))));
                        }
                        Kind::Exception => {
                            return Ok(Some(StreamEvent::Exception(std::mem::take(&mut self.kept))));
                        }
                    }
                }
            }
        }
        Ok(Some(StreamEvent::Piece(&self.kept)))
    }

    /// Takes what there is of the payload, and keeps what is to be seen of it.
    fn payload(&mut self, input: &mut &[u8]) {
        let piece = take(input, self.left);
        self.left -= piece.len();
        self.sum.update(piece);
        let room = match self.kind {
            Kind::Chunk => piece.len(),
            Kind::Complete | Kind::Exception => KEPT_BYTES.saturating_sub(self.kept.len()).min(piece.len()),
            Kind::Other => 0,
        };
        self.kept.extend_from_slice(piece.get(..room).unwrap_or_default());
    }

    fn prelude(&mut self) -> Result<(), StreamFault> {
        let field = |at| number(&self.held, at).ok_or(StreamFault::Length);
        let (length, headers, sum) = (field(0)?, field(4)?, field(8)?);
        if crc32fast::hash(self.held.get(..8).unwrap_or_default()) != sum {
            return Err(StreamFault::Checksum);
        }
        let payload = u64::from(length).checked_sub(u64::from(headers) + FRAME_BYTES as u64);
        self.left = payload.and_then(|left| usize::try_from(left).ok()).ok_or(StreamFault::Length)?;
        self.headers = usize::try_from(headers).unwrap_or(usize::MAX);
        if self.headers > HEADERS_MAX_BYTES {
            return Err(StreamFault::Headers);
        }
        if self.left > PAYLOAD_MAX_BYTES {
            return Err(StreamFault::Length);
        }
        self.sum = Hasher::new();
        self.sum.update(&self.held);
        self.held.clear();
        self.kept.clear();
        self.kept.shrink_to(RETAINED_BYTES);
        self.state = State::Headers;
        Ok(())
    }

    fn check(&mut self) -> Result<(), StreamFault> {
        let sum = number(&self.held, 0).ok_or(StreamFault::Checksum)?;
        if std::mem::take(&mut self.sum).finalize() != sum {
            return Err(StreamFault::Checksum);
        }
        self.held.clear();
        self.state = State::Prelude;
        Ok(())
    }

    /// Gathers until `n` bytes are held; `false`: more must come.
    fn gather(&mut self, input: &mut &[u8], n: usize) -> bool {
        let missing = n.saturating_sub(self.held.len());
        self.held.extend_from_slice(take(input, missing));
        self.held.len() >= n
    }
}

/// What the headers say that a message is.
fn kind(mut headers: &[u8]) -> Option<Kind> {
    let (mut message, mut event) = (&b""[..], &b""[..]);
    while let [length, rest @ ..] = headers {
        headers = rest;
        let name = take_all(&mut headers, usize::from(*length))?;
        let value = value(&mut headers)?;
        match name {
            b":message-type" => message = value?,
            b":event-type" => event = value?,
            _ => {}
        }
    }
    Some(match (message, event) {
        (b"event", b"PayloadChunk") => Kind::Chunk,
        (b"event", b"InvokeComplete") => Kind::Complete,
        (b"exception" | b"error", _) => Kind::Exception,
        _ => Kind::Other,
    })
}

/// A header's value; `Some(None)`: it is no text.
fn value<'d>(headers: &mut &'d [u8]) -> Option<Option<&'d [u8]>> {
    let kind = *take_all(headers, 1)?.first()?;
    let length = match kind {
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        9 => 16,
        6 | TEXT => {
            let length = take_all(headers, 2)?;
            usize::from(u16::from_be_bytes(length.try_into().ok()?))
        }
        _ => return None,
    };
    let value = take_all(headers, length)?;
    Some((kind == TEXT).then_some(value))
}

fn take_all<'d>(from: &mut &'d [u8], n: usize) -> Option<&'d [u8]> {
    let (taken, rest) = from.split_at_checked(n)?;
    *from = rest;
    Some(taken)
}

/// Appends a message of `:message-type` `event`. Payloads are far below what a length can say: Lambda's are 6 MB at most.
pub fn write_event(out: &mut Vec<u8>, event_type: &str, content_type: &str, payload: &[u8]) {
    let start = out.len();
    let mut headers = Vec::with_capacity(128);
    for (name, value) in
        [(":message-type", "event"), (":event-type", event_type), (":content-type", content_type)]
    {
        headers.push(u8::try_from(name.len()).unwrap_or(0));
        headers.extend_from_slice(name.as_bytes());
        headers.push(TEXT);
        headers.extend_from_slice(&u16::try_from(value.len()).unwrap_or(0).to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let length = u32::try_from(headers.len() + payload.len() + FRAME_BYTES).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&u32::try_from(headers.len()).unwrap_or(0).to_be_bytes());
    let sum = crc32fast::hash(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&sum.to_be_bytes());
    out.extend_from_slice(&headers);
    out.extend_from_slice(payload);
    let sum = crc32fast::hash(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Vec<u8> {
        let mut out = Vec::new();
        write_event(&mut out, "PayloadChunk", "application/octet-stream", b"hello ");
        write_event(&mut out, "PayloadChunk", "application/octet-stream", b"");
        write_event(&mut out, "Later", "application/json", b"{}");
        write_event(&mut out, "PayloadChunk", "application/octet-stream", b"world");
        write_event(&mut out, "InvokeComplete", "application/json", b"{\"ErrorCode\":null}");
        out
    }

    /// The bytes of the pieces, and the payloads of what is kept.
    fn read(pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<Vec<u8>>), StreamFault> {
        let (mut decoder, mut bytes, mut kept) = (StreamDecoder::default(), Vec::new(), Vec::new());
        for mut piece in pieces.iter().copied() {
            while let Some(event) = decoder.next(&mut piece)? {
                match event {
                    StreamEvent::Piece(piece) => bytes.extend_from_slice(piece),
                    StreamEvent::Complete(payload) | StreamEvent::Exception(payload) => kept.push(payload),
                }
            }
            assert!(piece.is_empty());
        }
        assert!(decoder.is_between());
        Ok((bytes, kept))
    }

    /// The specification's own example: a message without headers and payload.
    #[test]
    fn an_empty_message() {
        let message = [0, 0, 0, 0x10, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff];
        assert_eq!(read(&[&message]), Ok((Vec::new(), Vec::new())));
    }

    #[test]
    fn however_a_stream_is_cut_it_says_the_same() {
        let stream = stream();
        let expected = (b"hello world".to_vec(), vec![b"{\"ErrorCode\":null}".to_vec()]);
        for size in [1, 2, 3, 7, 16, 64, stream.len()] {
            let pieces: Vec<&[u8]> = stream.chunks(size).collect();
            assert_eq!(read(&pieces).as_ref(), Ok(&expected), "{size}");
        }
    }

    #[test]
    fn a_stream_with_a_wrong_byte_is_none() {
        let whole = stream();
        for at in 0..whole.len() {
            let mut stream = whole.clone();
            stream[at] ^= 1;
            let mut decoder = StreamDecoder::default();
            let mut input = &stream[..];
            let fault = loop {
                match decoder.next(&mut input) {
                    Ok(Some(_)) => {}
                    Ok(None) => break None,
                    Err(fault) => break Some(fault),
                }
            };
            assert!(fault.is_some() || !decoder.is_between(), "byte {at}");
        }
    }

    #[test]
    fn nothing_of_a_message_with_a_wrong_checksum_goes_on() {
        let mut stream = Vec::new();
        write_event(&mut stream, "PayloadChunk", "application/octet-stream", b"good");
        write_event(&mut stream, "PayloadChunk", "application/octet-stream", b"lost");
        *stream.last_mut().unwrap() ^= 1;
        for size in [1, 5, stream.len()] {
            let (mut decoder, mut bytes, mut fault) = (StreamDecoder::default(), Vec::new(), None);
            'stream: for mut piece in stream.chunks(size) {
                loop {
                    match decoder.next(&mut piece) {
                        Ok(Some(StreamEvent::Piece(piece))) => bytes.extend_from_slice(piece),
                        Ok(Some(other)) => panic!("{other:?}"),
                        Ok(None) => break,
                        Err(error) => {
                            fault = Some(error);
                            break 'stream;
                        }
                    }
                }
            }
            assert_eq!((bytes.as_slice(), fault), (&b"good"[..], Some(StreamFault::Checksum)), "{size}");
        }
    }

    #[test]
    fn lengths_and_headers_are_bounded() {
        let prelude = |length: u32, headers: u32| {
            let mut out = length.to_be_bytes().to_vec();
            out.extend_from_slice(&headers.to_be_bytes());
            let sum = crc32fast::hash(&out);
            out.extend_from_slice(&sum.to_be_bytes());
            StreamDecoder::default().next(&mut &out[..]).map(|event| event.is_some())
        };
        assert_eq!(prelude(15, 0), Err(StreamFault::Length));
        assert_eq!(prelude(20, 5), Err(StreamFault::Length));
        assert_eq!(prelude(u32::MAX, 9000), Err(StreamFault::Headers));
        assert_eq!(prelude(u32::MAX, 100), Err(StreamFault::Length));
        assert_eq!(prelude(16 << 20, 100), Ok(false));
        for headers in [&b"\x05ab"[..], b"\x01a", b"\x01a\x0a", b"\x01a\x07\x00\x05ab", b"\x01a\x09abc"] {
            assert_eq!(kind(headers), None, "{headers:?}");
        }
        assert_eq!(kind(b"\x01a\x00\x01b\x02x\x0d:message-type\x07\x00\x09exception"), Some(Kind::Exception));
    }
}
