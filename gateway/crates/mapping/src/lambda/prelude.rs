//! What a streamed answer begins with (developer guide, "Set up a Lambda proxy integration with payload response streaming").
//!
//! ```text
//! {"statusCode": 200, "headers": {…}, "multiValueHeaders": {…}, "cookies": […]} NUL NUL NUL NUL NUL NUL NUL NUL body
//! ```
//! The delimiter has to be within the first 16 KiB.

use super::answer::{Fields, JSON, Malformed, VALUES};
use crate::assigned::Place;
use crate::response::Answer;
use sluice_jsonpath::{Heap, Value};

const DELIMITER: [u8; 8] = [0; 8];
/// Metadata and delimiter.
const MAX_BYTES: usize = 16 * 1024;

/// Gathers the beginning of a streamed answer.
#[derive(Debug, Default)]
pub struct StreamPrelude {
    held: Vec<u8>,
}

impl StreamPrelude {
    /// Takes a piece of the answer. Once the delimiter has come: the answer without its body, and what of the piece is of the
    /// body.
    ///
    /// # Errors
    /// If it is no metadata, or too long.
    pub fn push<'d>(&mut self, piece: &'d [u8]) -> Result<Option<(Answer, &'d [u8])>, Malformed> {
        let before = self.held.len();
        let room = MAX_BYTES.saturating_sub(before).min(piece.len());
        self.held.extend_from_slice(piece.get(..room).unwrap_or_default());
        // The delimiter may have begun in what came before.
        let from = before.saturating_sub(DELIMITER.len() - 1);
        let searched = self.held.get(from..).unwrap_or_default();
        let found = searched.windows(DELIMITER.len()).position(|window| window == DELIMITER);
        let Some(at) = found.map(|at| from + at) else {
            return if self.held.len() < MAX_BYTES { Ok(None) } else { Err(Malformed) };
        };
        let answer = metadata(self.held.get(..at).unwrap_or_default())?;
        let body = (at + DELIMITER.len()).saturating_sub(before);
        Ok(Some((answer, piece.get(body..).unwrap_or_default())))
    }
}

fn metadata(json: &[u8]) -> Result<Answer, Malformed> {
    let text = std::str::from_utf8(json).map_err(|_| Malformed)?;
    let mut heap = Heap::new(VALUES);
    let Ok(Value::Map(id)) = sluice_jsonpath::parse(text, &mut heap) else { return Err(Malformed) };
    let fields = Fields::new(&heap, heap.map(id));
    let mut answer = Answer { status: fields.status()?, ..Answer::default() };
    fields.headers(&mut answer.headers)?;
    fields.cookies(&mut answer.headers)?;
    if answer.headers.get(Place::Header, "content-type").is_none() {
        answer.headers.add(Place::Header, "Content-Type", JSON);
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status, headers and body of an answer that comes in pieces of this size.
    fn read(stream: &[u8], size: usize) -> Result<Option<(u16, String, Vec<u8>)>, Malformed> {
        let mut prelude = StreamPrelude::default();
        let mut found: Option<(u16, String, Vec<u8>)> = None;
        for piece in stream.chunks(size) {
            match &mut found {
                Some((.., body)) => body.extend_from_slice(piece),
                None => {
                    found = prelude.push(piece)?.map(|(answer, body)| {
                        let headers = answer.headers.of(Place::Header);
                        let headers = headers.map(|(name, value)| format!("{name}: {value}\n")).collect();
                        (answer.status, headers, body.to_vec())
                    });
                }
            }
        }
        Ok(found)
    }

    #[test]
    fn metadata_then_the_body_however_they_are_cut() {
        let mut stream = br#"{"statusCode":201,"headers":{"x-a":"1"},"multiValueHeaders":{"x-b":["2","3"]},"cookies":["c=4"]}"#.to_vec();
        stream.extend_from_slice(&DELIMITER);
        stream.extend_from_slice(b"\0body\0");
        let headers = "x-b: 2\nx-b: 3\nx-a: 1\nset-cookie: c=4\nContent-Type: application/json\n".to_owned();
        for size in [1, 3, 8, 9, 100, stream.len()] {
            let expected = (201, headers.clone(), b"\0body\0".to_vec());
            assert_eq!(read(&stream, size), Ok(Some(expected)), "{size}");
        }
    }

    #[test]
    fn all_of_it_may_be_left_out_but_the_delimiter() {
        let expected = (200, "Content-Type: application/json\n".to_owned(), Vec::new());
        assert_eq!(read(b"{}\0\0\0\0\0\0\0\0", 100), Ok(Some(expected)));
        assert_eq!(read(b"{\"statusCode\":200}", 5), Ok(None), "not yet");
        for wrong in [
            &b"\0\0\0\0\0\0\0\0"[..],
            b"[]\0\0\0\0\0\0\0\0",
            b"x{}\0\0\0\0\0\0\0\0",
            b"{\"statusCode\":1}\0\0\0\0\0\0\0\0",
        ] {
            assert_eq!(read(wrong, 4), Err(Malformed), "{wrong:?}");
        }
        let mut long = vec![b' '; MAX_BYTES];
        long.extend_from_slice(b"{}\0\0\0\0\0\0\0\0");
        assert_eq!(read(&long, 1000), Err(Malformed));
    }
}
