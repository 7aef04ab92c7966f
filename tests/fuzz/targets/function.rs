//! What a function answers, and how it comes: no answer panics in any format; a stream says the same however it is cut; and
//! headers that come of an answer have names that may stand in a message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_mapping::{Answer, BinaryMediaTypes, PayloadFormat, Place, StreamPrelude, http_answer, proxy_answer};
use sluice_wire::eventstream::{StreamDecoder, StreamEvent, write_event};

fn check(answer: &Answer) {
    assert!((100..600).contains(&answer.status));
    for (name, _) in answer.headers.of(Place::Header) {
        assert!(sluice_wire::is_token(name.as_bytes()), "{name:?}");
    }
}

/// Status and body of a streamed answer that comes in pieces of this size; `None`: it is none, or not whole.
fn prelude(input: &[u8], size: usize) -> Option<(u16, Vec<u8>)> {
    let mut prelude = StreamPrelude::default();
    let mut found: Option<(u16, Vec<u8>)> = None;
    for piece in input.chunks(size) {
        match &mut found {
            Some((_, body)) => body.extend_from_slice(piece),
            None => {
                found = prelude.push(piece).ok()?.map(|(answer, body)| {
                    check(&answer);
                    (answer.status, body.to_vec())
                });
            }
        }
    }
    found
}

/// The bytes of the pieces, what was kept, and whether all of it was a stream.
fn events(input: &[u8], size: usize) -> (Vec<u8>, Vec<Vec<u8>>, bool) {
    let (mut decoder, mut bytes, mut kept) = (StreamDecoder::default(), Vec::new(), Vec::new());
    for mut piece in input.chunks(size) {
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(StreamEvent::Piece(piece))) => bytes.extend_from_slice(piece),
                Ok(Some(StreamEvent::Complete(payload) | StreamEvent::Exception(payload))) => kept.push(payload),
                Ok(None) => break,
                Err(_) => return (bytes, kept, false),
            }
        }
        assert!(piece.is_empty());
    }
    (bytes, kept, true)
}

fuzz_target!(|input: &[u8]| {
    let mut answer = Answer::default();
    let binary = BinaryMediaTypes::new(["image/png"]);
    if proxy_answer(input, &binary, Some("image/png"), &mut answer).is_ok() {
        check(&answer);
    }
    for format in [PayloadFormat::V1, PayloadFormat::V2] {
        if http_answer(input, format, &mut answer).is_ok() {
            check(&answer);
        }
    }
    let whole = prelude(input, input.len().max(1));
    assert_eq!(whole, prelude(input, 1));
    assert_eq!(whole, prelude(input, 7));

    let (bytes, kept, is_stream) = events(input, input.len().max(1));
    let (more, all, too) = events(input, 3);
    assert_eq!((&bytes, &kept, is_stream), (&more, &all, too));
    let mut stream = Vec::new();
    write_event(&mut stream, "PayloadChunk", "application/octet-stream", input);
    write_event(&mut stream, "InvokeComplete", "application/json", b"{}");
    assert_eq!(events(&stream, 5), (input.to_vec(), vec![b"{}".to_vec()], true));
});
