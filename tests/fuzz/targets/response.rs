//! Responses that come in two pieces, to every kind of request.
#![no_main]
#![allow(clippy::indexing_slicing, reason = "a panic is a finding")]

use libfuzzer_sys::fuzz_target;
use sluice_wire::{BodyFraming, Limits, Method, ResponseHead, Status, parse_response, portable};

fuzz_target!(|input: &[u8]| {
    // The last two bytes say where to cut and what the request was: so a seed is a message, readable as such.
    let Some((bytes, control)) = input.split_last_chunk::<2>() else { return };
    let control = usize::from(u16::from_be_bytes(*control));
    let method = match control % 3 {
        0 => Method::Get,
        1 => Method::Head,
        _ => Method::Connect,
    };
    let limits = Limits::default();
    let mut head = ResponseHead::new();
    let whole = parse_response(bytes, &limits, method, &mut head);
    let mut other = ResponseHead::new();
    assert_eq!(portable::parse_response(bytes, &limits, method, &mut other), whole);

    let cut = (control / 3).min(bytes.len());
    let mut early = ResponseHead::new();
    match parse_response(&bytes[..cut], &limits, method, &mut early) {
        Ok(Status::Partial) => assert!(whole != Ok(Status::Complete) || cut < head.head_len),
        Ok(Status::Complete) => {
            assert_eq!(whole, Ok(Status::Complete));
            assert_eq!((early.head_len, &early.headers), (head.head_len, &head.headers));
        }
        Err(_) => assert!(whole.is_err()),
    }
    if whole == Ok(Status::Complete) {
        assert!(head.framing != BodyFraming::UntilClose || !head.keep_alive);
        assert!(method != Method::Head || head.framing == BodyFraming::None);
        assert_eq!(
            (head.framing, head.keep_alive, &head.headers),
            (other.framing, other.keep_alive, &other.headers)
        );
    }
});
