//! Whole heads, as peers send them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use sluice_wire::*;

const BROWSER: &[u8] = b"GET /users/42?page=1&sort=asc HTTP/1.1\r\nHost: api.example.com:8080\r\nUser-Agent: probe/1.0\r\n\
Accept: application/json, text/plain;q=0.9\r\nX-API-Key: abc\r\nConnection: keep-alive, x-private\r\nX-Private: 1\r\n\r\n";

#[test]
fn a_request_is_split_into_its_parts() {
    let mut head = RequestHead::new();
    assert_eq!(parse_request(BROWSER, &Limits::default(), &mut head), Ok(Status::Complete));
    assert_eq!(head.method, Method::Get);
    assert_eq!(head.method_name.of(BROWSER), b"GET");
    assert_eq!(head.path.of(BROWSER), b"/users/42");
    assert_eq!(head.query.unwrap().of(BROWSER), b"page=1&sort=asc");
    assert_eq!(head.target.of(BROWSER), b"/users/42?page=1&sort=asc");
    assert_eq!(head.authority.of(BROWSER), b"api.example.com:8080");
    assert_eq!(head.version, Version::Http11);
    assert_eq!(head.framing, BodyFraming::None);
    assert!(head.keep_alive && !head.expect_continue && !head.upgrade);
    assert_eq!(head.head_len, BROWSER.len());
    assert_eq!(head.headers.len(), 6);
    assert_eq!(head.find(KnownHeader::XApiKey).unwrap().value.of(BROWSER), b"abc");
    assert!(head.find_name(BROWSER, b"x-private").unwrap().hop_by_hop);
    assert!(!head.find(KnownHeader::Accept).unwrap().hop_by_hop);
    assert!(head.find(KnownHeader::Connection).unwrap().hop_by_hop);
}

#[test]
fn a_response_is_split_into_its_parts() {
    let bytes = b"HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\nServer:x\r\nEmpty:\r\nConnection: close\r\n\r\nbody";
    let mut head = ResponseHead::new();
    assert_eq!(parse_response(bytes, &Limits::default(), Method::Get, &mut head), Ok(Status::Complete));
    assert_eq!((head.status, head.reason.of(bytes)), (404, &b"Not Found"[..]));
    assert_eq!(head.framing, BodyFraming::Length(12));
    assert_eq!(head.find(KnownHeader::Server).unwrap().value.of(bytes), b"x");
    assert!(!head.keep_alive);
    assert_eq!(head.head_len, bytes.len() - 4);
}

#[test]
fn a_chunked_body_is_decoded() {
    let mut decoder = ChunkedDecoder::new(&Limits::default());
    let bytes = b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nDigest: x\r\nHost: evil\r\n\r\nnext";
    let (mut at, mut body) = (0, Vec::new());
    loop {
        let chunk = decoder.decode(&bytes[at..]).unwrap();
        body.extend_from_slice(&bytes[at..][chunk.data]);
        at += chunk.consumed;
        if chunk.done {
            break;
        }
    }
    assert_eq!(body, b"hello world");
    assert_eq!(decoder.trailers(), b"Digest: x\r\n");
    assert_eq!(&bytes[at..], b"next");
}
