//! Requests that come in two pieces: a cut never changes what a head means, and what is accepted can be written again
//! and reads the same.
#![no_main]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is a finding")]

use libfuzzer_sys::fuzz_target;
use sluice_wire::{Limits, RequestHead, Status, Version, enc, parse_request, portable};

fuzz_target!(|input: &[u8]| {
    // The last two bytes say where to cut: so a seed is a message, readable as such.
    let Some((bytes, cut)) = input.split_last_chunk::<2>() else { return };
    let limits = Limits::default();
    let mut head = RequestHead::new();
    let whole = parse_request(bytes, &limits, &mut head);
    let mut other = RequestHead::new();
    assert_eq!(portable::parse_request(bytes, &limits, &mut other), whole);

    let cut = usize::from(u16::from_be_bytes(*cut)).min(bytes.len());
    let mut early = RequestHead::new();
    match parse_request(&bytes[..cut], &limits, &mut early) {
        Ok(Status::Partial) => assert!(whole != Ok(Status::Complete) || cut < head.head_len),
        Ok(Status::Complete) => {
            assert_eq!(whole, Ok(Status::Complete));
            assert_eq!((early.head_len, &early.headers), (head.head_len, &head.headers));
        }
        Err(_) => assert!(whole.is_err()),
    }
    if whole == Ok(Status::Complete) {
        assert_eq!((head.head_len, &head.headers), (other.head_len, &other.headers));
        read_again(bytes, &head);
    }
});

fn read_again(bytes: &[u8], head: &RequestHead) {
    let mut out = Vec::new();
    enc::request_line(&mut out, head.method_name.of(bytes), head.target.of(bytes));
    for field in &head.headers {
        enc::header(&mut out, field.name.of(bytes), field.value.of(bytes));
    }
    out.extend_from_slice(b"\r\n");
    let generous =
        Limits { request_line_max_bytes: 1 << 20, header_max_bytes: 1 << 20, header_max_count: 1000 };
    let mut again = RequestHead::new();
    match parse_request(&out, &generous, &mut again) {
        Ok(status) => {
            assert_eq!(status, Status::Complete);
            assert_eq!((again.method, again.framing), (head.method, head.framing));
            assert_eq!(again.path.of(&out), head.path.of(bytes));
            assert_eq!(again.authority.of(&out), head.authority.of(bytes));
            let hops =
                |head: &RequestHead| head.headers.iter().map(|h| (h.id, h.hop_by_hop)).collect::<Vec<_>>();
            assert_eq!(hops(&again), hops(head));
        }
        // An HTTP/1.0 request is written as HTTP/1.1, which requires Host.
        Err(e) => assert!(e.label() == "missing_host" && head.version == Version::Http10, "{e}"),
    }
}
