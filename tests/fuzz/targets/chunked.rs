//! Chunked bodies: the pieces they come in never change what they mean.
#![no_main]
#![allow(clippy::indexing_slicing, reason = "a panic is a finding")]

use libfuzzer_sys::fuzz_target;
use sluice_wire::{ChunkError, ChunkedDecoder, Limits};

/// Body, trailers, bytes used, done.
type Read = (Vec<u8>, Vec<u8>, usize, bool);

fuzz_target!(|input: &[u8]| {
    // The last byte is the size of the pieces: so a seed is a body, readable as such.
    let Some((size, bytes)) = input.split_last() else { return };
    let whole = read(bytes, bytes.len().max(1));
    let pieces = read(bytes, usize::from(*size) % 16 + 1);
    assert_eq!(pieces, whole);
    if let Ok((body, trailers, used, _)) = whole {
        assert!(body.len() <= used && trailers.len() <= used * 2);
    }
});

fn read(bytes: &[u8], piece: usize) -> Result<Read, ChunkError> {
    let mut decoder =
        ChunkedDecoder::new(&Limits { header_max_bytes: 64, header_max_count: 3, ..Limits::default() });
    let (mut body, mut used, mut end) = (Vec::new(), 0, 0);
    while !decoder.is_done() {
        let chunk = decoder.decode(&bytes[used..end])?;
        assert!(chunk.data.end <= chunk.consumed && chunk.consumed <= end - used);
        body.extend_from_slice(&bytes[used..][chunk.data]);
        used += chunk.consumed;
        if chunk.consumed == 0 {
            if end == bytes.len() {
                break;
            }
            end = (end + piece).min(bytes.len());
        }
    }
    Ok((body, decoder.trailers().to_vec(), used, decoder.is_done()))
}
