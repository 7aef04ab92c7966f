//! The chunked transfer coding (RFC 9112 section 7.1), decoded where the bytes lie.

use crate::fields::parse_line;
use crate::head::Limits;
use crate::scan::TOKEN;
use crate::{ChunkError, FieldError, KnownHeader};
use std::ops::Range;

/// What one call of [`ChunkedDecoder::decode`] made of its input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Bytes used up; pass the rest again, with more.
    pub consumed: usize,
    /// Payload within the input; may be empty.
    pub data: Range<usize>,
    /// The body has ended; bytes after `consumed` belong to the next message.
    pub done: bool,
}

/// Reads a chunked body from pieces of any size.
///
/// ```text
///              ,----------------- DataLf <-- DataCr <--.
///              v                                       |
/// start --> Size --CR--> SizeLf --size > 0--> Data(n) -'
///              |  ^          `---size = 0--> Trailer --empty line--> Done
///              ';' '--CR-- Extension
/// ```
///
/// Stricter than the RFC in two ways: no white space between a chunk's size and what follows it, and a budget for chunk
/// extensions, which are read past and never kept.
#[derive(Clone, Debug)]
pub struct ChunkedDecoder {
    state: State,
    /// The size being read, and its digits so far.
    size: u64,
    digits: u32,
    /// Bytes of chunk extensions that are still allowed; every byte of data earns one back.
    extension_left: usize,
    trailer_left: usize,
    trailer_lines_left: usize,
    header_max_bytes: usize,
    header_max_count: usize,
    /// The trailer line being read.
    line: Vec<u8>,
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Extension(Extension),
    SizeLf,
    Data(u64),
    DataCr,
    DataLf,
    Trailer,
    Done,
}

/// Within `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    /// After `;`.
    BeforeName,
    Name,
    /// White space after a name: `=` or `;` must follow.
    AfterName,
    /// After `=`.
    BeforeValue,
    Value,
    Quoted,
    /// After a backslash.
    Escaped,
    /// After the closing quote.
    AfterQuote,
    /// White space after a value: `;` must follow.
    AfterValue,
}

impl ChunkedDecoder {
    /// A decoder at the start of a body. Of the limits, those on headers bound the trailer section.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            state: State::Size,
            size: 0,
            digits: 0,
            extension_left: limits.header_max_bytes,
            trailer_left: limits.header_max_bytes,
            trailer_lines_left: limits.header_max_count,
            header_max_bytes: limits.header_max_bytes,
            header_max_count: limits.header_max_count,
            line: Vec::new(),
            trailers: Vec::new(),
        }
    }

    /// Whether the body has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The trailer fields, complete once the body is done: `name: value` lines, each with CRLF.
    ///
    /// Fields that decide about framing, routing, authentication or content never come as trailers (RFC 9110 section
    /// 6.5.1): every known name but `ETag` and `Link` is dropped.
    #[must_use]
    pub fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// Reads on in `input`, up to the end of one stretch of payload.
    ///
    /// # Errors
    /// What the body breaks. The decoder is of no use afterwards.
    #[inline]
    pub fn decode(&mut self, input: &[u8]) -> Result<Chunk, ChunkError> {
        let mut at = 0;
        if !matches!(self.state, State::Data(_)) {
            at = self.framing(input)?;
        }
        let State::Data(left) = self.state else {
            return Ok(Chunk { consumed: at, data: at..at, done: self.is_done() });
        };
        let rest = input.get(at..).unwrap_or_default();
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        self.extension_left = self.extension_left.saturating_add(taken).min(self.header_max_bytes);
        let data = at..at + taken;
        let left = left - taken as u64;
        if left > 0 {
            self.state = State::Data(left);
            return Ok(Chunk { consumed: data.end, data, done: false });
        }
        // What nearly always follows is taken along, to spare a call.
        let (state, along) = match rest.get(taken..).unwrap_or_default() {
            [b'\r', b'\n', b'0', b'\r', b'\n', b'\r', b'\n', ..] => (State::Done, 7),
            [b'\r', b'\n', ..] => (State::Size, 2),
            _ => (State::DataCr, 0),
        };
        self.state = state;
        Ok(Chunk { consumed: data.end + along, data, done: state == State::Done })
    }

    /// Reads what is not payload. Bytes used.
    fn framing(&mut self, input: &[u8]) -> Result<usize, ChunkError> {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            match self.state {
                State::Data(_) | State::Done => break,
                State::Trailer => {
                    at += self.trailer(input.get(at..).unwrap_or_default()).map_err(ChunkError::Trailer)?;
                    continue;
                }
                State::Size => self.size_byte(byte)?,
                State::Extension(within) => self.extension_byte(within, byte)?,
                State::SizeLf => {
                    expect(byte, b'\n').map_err(|found| ChunkError::BadSizeLine { found })?;
                    self.state = if self.size == 0 { State::Trailer } else { State::Data(self.size) };
                    (self.size, self.digits) = (0, 0);
                }
                State::DataCr => {
                    expect(byte, b'\r').map_err(|found| ChunkError::MissingCrlf { found })?;
                    self.state = State::DataLf;
                }
                State::DataLf => {
                    expect(byte, b'\n').map_err(|found| ChunkError::MissingCrlf { found })?;
                    self.state = State::Size;
                }
            }
            at += 1;
        }
        Ok(at)
    }

    fn size_byte(&mut self, byte: u8) -> Result<(), ChunkError> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ if self.digits == 0 => return Err(ChunkError::BadSize { found: byte }),
            b'\r' => {
                self.state = State::SizeLf;
                return Ok(());
            }
            b';' => {
                self.state = State::Extension(Extension::BeforeName);
                return self.pay_extension();
            }
            _ => return Err(ChunkError::BadSizeLine { found: byte }),
        };
        self.digits += 1;
        self.size = self.size << 4 | u64::from(digit);
        // 16 digits fill a u64; more would lose the first.
        if self.digits > 16 || self.size > u64::MAX >> 1 {
            return Err(ChunkError::SizeOverflow);
        }
        Ok(())
    }

    fn pay_extension(&mut self) -> Result<(), ChunkError> {
        match self.extension_left.checked_sub(1) {
            Some(left) => {
                self.extension_left = left;
                Ok(())
            }
            None => Err(ChunkError::ExtensionsTooLarge { limit: self.header_max_bytes }),
        }
    }

    fn extension_byte(&mut self, within: Extension, byte: u8) -> Result<(), ChunkError> {
        use Extension::{
            AfterName, AfterQuote, AfterValue, BeforeName, BeforeValue, Escaped, Name, Quoted, Value,
        };
        self.pay_extension()?;
        let next = match (within, byte) {
            (Name | Value | AfterQuote, b'\r') => {
                self.state = State::SizeLf;
                return Ok(());
            }
            (Name | Value | AfterName | AfterQuote | AfterValue, b';') => BeforeName,
            (Name | AfterName, b'=') => BeforeValue,
            (BeforeName | AfterName | BeforeValue | AfterValue, b' ' | b'\t') => within,
            (Name, b' ' | b'\t') => AfterName,
            (Value | AfterQuote, b' ' | b'\t') => AfterValue,
            (BeforeValue, b'"') => Quoted,
            (BeforeName | Name, _) if TOKEN.has(byte) => Name,
            (BeforeValue | Value, _) if TOKEN.has(byte) => Value,
            (Quoted, b'"') => AfterQuote,
            (Quoted, b'\\') => Escaped,
            (Quoted | Escaped, b'\t' | 0x20..=0x7e | 0x80..) => Quoted,
            _ => return Err(ChunkError::BadExtension { found: byte }),
        };
        self.state = State::Extension(next);
        Ok(())
    }

    /// Reads up to the end of one trailer line. Bytes used.
    fn trailer(&mut self, input: &[u8]) -> Result<usize, FieldError> {
        let line_feed = input.iter().position(|b| *b == b'\n');
        let used = line_feed.map_or(input.len(), |i| i + 1);
        let Some(left) = self.trailer_left.checked_sub(used) else {
            // The empty line that ends the section is not counted.
            return match (self.line.as_slice(), input) {
                ([], [b'\r', b'\n', ..]) | ([b'\r'], [b'\n', ..]) => {
                    self.state = State::Done;
                    Ok(used)
                }
                ([], [b'\r']) => {
                    self.line.push(b'\r');
                    Ok(used)
                }
                _ => Err(FieldError::TooLarge { limit: self.header_max_bytes }),
            };
        };
        self.trailer_left = left;
        self.line.extend_from_slice(input.get(..used).unwrap_or_default());
        if line_feed.is_some() {
            let mut line = std::mem::take(&mut self.line);
            self.trailer_line(&line)?;
            line.clear();
            self.line = line;
        }
        Ok(used)
    }

    fn trailer_line(&mut self, line: &[u8]) -> Result<(), FieldError> {
        let line = line.strip_suffix(b"\r\n").ok_or(FieldError::BareLf)?;
        if line.is_empty() {
            self.state = State::Done;
            return Ok(());
        }
        self.trailer_lines_left = self
            .trailer_lines_left
            .checked_sub(1)
            .ok_or(FieldError::TooMany { limit: self.header_max_count })?;
        let (name, value) = parse_line(line)?;
        if matches!(KnownHeader::from_name(name), KnownHeader::Other | KnownHeader::Etag | KnownHeader::Link)
        {
            crate::enc::header(&mut self.trailers, name, value);
        }
        Ok(())
    }
}

#[inline]
fn expect(found: u8, expected: u8) -> Result<(), u8> {
    if found == expected { Ok(()) } else { Err(found) }
}
