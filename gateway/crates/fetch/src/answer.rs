//! The answer's head and body.

use sluice_wire::{BodyFraming, ChunkedDecoder, Limits, Method, ResponseHead, Status, parse_response};
use std::io::{self, ErrorKind, Read};

const LIMITS: Limits =
    Limits { request_line_max_bytes: 8 << 10, header_max_bytes: 64 << 10, header_max_count: 256 };
/// Interim answers (1xx) before the final one.
const MAX_INTERIM: usize = 4;

/// Status and body.
pub(crate) fn read(stream: &mut impl Read, max_bytes: usize) -> io::Result<(u16, Vec<u8>)> {
    let mut received = Vec::new();
    let mut head = ResponseHead::new();
    for _ in 0..=MAX_INTERIM {
        while parse(&received, &mut head)? == Status::Partial {
            if !more(stream, &mut received)? {
                return Err(cut_short());
            }
        }
        received.drain(..head.head_len.min(received.len()));
        if head.status >= 200 {
            break;
        }
    }
    let body = body(stream, received, head.framing, max_bytes)?;
    Ok((head.status, body))
}

fn parse(received: &[u8], head: &mut ResponseHead) -> io::Result<Status> {
    parse_response(received, &LIMITS, Method::Get, head)
        .map_err(|error| invalid(format!("the answer is not HTTP: {error}")))
}

fn body(
    stream: &mut impl Read,
    mut received: Vec<u8>,
    framing: BodyFraming,
    max_bytes: usize,
) -> io::Result<Vec<u8>> {
    let too_long = || invalid(format!("the answer is longer than {max_bytes} bytes"));
    match framing {
        BodyFraming::None => Ok(Vec::new()),
        BodyFraming::Length(length) => {
            let length =
                usize::try_from(length).ok().filter(|length| *length <= max_bytes).ok_or_else(too_long)?;
            while received.len() < length {
                if !more(stream, &mut received)? {
                    return Err(cut_short());
                }
            }
            received.truncate(length);
            Ok(received)
        }
        BodyFraming::UntilClose => {
            while received.len() <= max_bytes && more(stream, &mut received)? {}
            if received.len() > max_bytes { Err(too_long()) } else { Ok(received) }
        }
        BodyFraming::Chunked => {
            let mut decoder = ChunkedDecoder::new(&LIMITS);
            let mut whole = Vec::new();
            loop {
                let used = decode(&mut decoder, &received, &mut whole)?;
                received.drain(..used);
                if decoder.is_done() {
                    return Ok(whole);
                }
                if whole.len() > max_bytes {
                    return Err(too_long());
                }
                if !more(stream, &mut received)? {
                    return Err(cut_short());
                }
            }
        }
    }
}

/// Decodes what has come, and says how much of it was used.
fn decode(decoder: &mut ChunkedDecoder, received: &[u8], whole: &mut Vec<u8>) -> io::Result<usize> {
    let mut used = 0;
    loop {
        let rest = received.get(used..).unwrap_or_default();
        let chunk =
            decoder.decode(rest).map_err(|error| invalid(format!("a chunk is malformed: {error}")))?;
        whole.extend_from_slice(rest.get(chunk.data.clone()).unwrap_or_default());
        used += chunk.consumed;
        if chunk.done || chunk.consumed == 0 {
            return Ok(used);
        }
    }
}

/// Reads what comes next; `false` at the end.
fn more(stream: &mut impl Read, received: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 8192];
    let read = match stream.read(&mut buffer) {
        Ok(read) => read,
        // Many servers close without TLS's farewell; framing tells whether anything is missing.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => 0,
        Err(error) => return Err(error),
    };
    received.extend_from_slice(buffer.get(..read).unwrap_or_default());
    Ok(read > 0)
}

fn cut_short() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the answer was cut short")
}

fn invalid(message: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, message)
}
