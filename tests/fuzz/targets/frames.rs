//! Frames, whole and in two pieces: the same comes out.
#![no_main]
#![allow(clippy::indexing_slicing, reason = "a panic is a finding")]

use libfuzzer_sys::fuzz_target;
use sluice_wire::h2::{Frame, FrameError, FrameReader};

/// What was read, DATA joined, and the error that ended it.
fn read(pieces: &[&[u8]]) -> (Vec<String>, Option<FrameError>) {
    let mut reader = FrameReader::new(4096);
    let (mut seen, mut data, mut counts) = (Vec::new(), Vec::new(), 0);
    for piece in pieces {
        let mut input = *piece;
        loop {
            match reader.next(&mut input) {
                Ok(None) => break,
                Ok(Some(Frame::Unknown)) => {}
                Ok(Some(Frame::Data { stream, data: more, counted, last, end_stream })) => {
                    assert!(more.len() <= counted as usize);
                    data.extend_from_slice(more);
                    counts += counted;
                    if last {
                        seen.push(format!("{stream} {data:?} {counts} {end_stream}"));
                        data.clear();
                        counts = 0;
                    }
                }
                Ok(Some(frame)) => seen.push(format!("{frame:?}")),
                Err(error) if error.stream.is_some() => seen.push(format!("{error:?}")),
                Err(error) => return (seen, Some(error)),
            }
        }
        assert!(input.is_empty(), "a reader that wants more has taken what there was");
    }
    (seen, None)
}

fuzz_target!(|input: &[u8]| {
    let Some((cut, bytes)) = input.split_first() else { return };
    let (first, second) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    assert_eq!(read(&[bytes]), read(&[first, second]));
});
