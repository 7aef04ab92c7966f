//! What comes before and beside HTTP: PROXY protocol headers in two pieces, and the borders of WebSocket frames.
#![no_main]
#![allow(clippy::indexing_slicing, reason = "a panic is a finding")]

use libfuzzer_sys::fuzz_target;
use sluice_wire::proxy::{Proxied, parse_proxy_header};
use sluice_wire::ws::FrameTracker;

fuzz_target!(|input: &[u8]| {
    // The last byte says where to cut: so a seed is a header, readable as such.
    let Some((cut, bytes)) = input.split_last() else { return };
    let cut = usize::from(*cut).min(bytes.len());
    let whole = parse_proxy_header(bytes);
    match parse_proxy_header(&bytes[..cut]) {
        Ok(Proxied::Partial) => {}
        Ok(early) => assert_eq!(whole, Ok(early)),
        Err(_) => assert!(whole.is_err()),
    }
    if let Ok(Proxied::Complete { len, .. }) = whole {
        assert!(len <= bytes.len());
        assert_eq!(parse_proxy_header(&bytes[..len]), whole);
        assert_eq!(parse_proxy_header(&bytes[..len - 1]), Ok(Proxied::Partial));
    }

    let (mut once, mut twice) = (FrameTracker::new(), FrameTracker::new());
    once.feed(bytes);
    twice.feed(&bytes[..cut]);
    twice.feed(&bytes[cut..]);
    assert_eq!((once.is_at_boundary(), once.has_closed()), (twice.is_at_boundary(), twice.has_closed()));
});
