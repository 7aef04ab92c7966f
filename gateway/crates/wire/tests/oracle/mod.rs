//! Compares this codec with httparse on any bytes. Used by the differential test and by the fuzz target.

use sluice_wire::*;

/// Where this codec refuses what httparse accepts, it must be for one of these reasons: meaning, which httparse does not
/// look at, and syntax that it repairs.
const STRICTER: &[&str] = &[
    // httparse takes a lone LF as a line end, and skips any number of them before a message.
    "bare_lf",
    "bad_method",
    // httparse lets bytes from 0x80 on, and `#`, stand in a target.
    "bad_target",
    "bad_target_form",
    // Limits, which httparse leaves to the caller.
    "request_line_too_long",
    "status_line_too_long",
    "headers_too_large",
    "too_many_headers",
    // Meaning.
    "missing_host",
    "repeated_host",
    "empty_host",
    "userinfo_in_host",
    "bad_host",
    "bad_port",
    "bad_content_length",
    "repeated_content_length",
    "content_length_and_transfer_encoding",
    "empty_transfer_encoding",
    "doubled_chunked",
    "chunked_not_last",
    "unknown_transfer_coding",
    "transfer_encoding_in_http10",
    "bad_connection",
    "end_to_end_connection_option",
    "too_many_connection_options",
    // Any three digits are a status there.
    "bad_status",
];

/// More than our limit, so that httparse never runs out first.
const HEADERS: usize = 128;

fn same_fields(bytes: &[u8], ours: &[Header], theirs: &[httparse::Header<'_>]) {
    assert_eq!(ours.len(), theirs.len(), "number of fields");
    for (our, their) in ours.iter().zip(theirs) {
        assert_eq!(our.name.of(bytes), their.name.as_bytes());
        assert_eq!(our.value.of(bytes), their.value, "value of {}", their.name);
        assert_eq!(our.id, KnownHeader::from_name(their.name.as_bytes()));
        assert!(is_token(our.name.of(bytes)) && is_field_value(our.value.of(bytes)));
    }
}

/// What must hold of any accepted request, whoever reads it.
fn request_invariants(bytes: &[u8], head: &RequestHead) {
    assert!(head.head_len <= bytes.len() && bytes[..head.head_len].ends_with(b"\r\n\r\n"));
    assert_ne!(head.framing, BodyFraming::UntilClose);
    assert!(head.version == Version::Http10 || !head.authority.is_empty());
    assert_eq!(head.path.is_empty(), head.method == Method::Connect);
    assert!(!head.path.of(bytes).contains(&b'?') && !head.authority.of(bytes).contains(&b'@'));
    let lengths = head.headers.iter().filter(|h| h.id == KnownHeader::ContentLength).count();
    let codings = head.headers.iter().filter(|h| h.id == KnownHeader::TransferEncoding).count();
    match head.framing {
        BodyFraming::Length(_) => assert_eq!((lengths, codings), (1, 0)),
        BodyFraming::Chunked => assert_eq!((lengths, codings), (0, 1)),
        _ => assert_eq!((lengths, codings), (0, 0)),
    }
}

/// Parses with both and panics where they differ for no listed reason.
pub(crate) fn request(bytes: &[u8]) {
    let mut head = RequestHead::new();
    let ours = parse_request(bytes, &Limits::default(), &mut head);
    let mut portable = RequestHead::new();
    assert_eq!(ours, portable::parse_request(bytes, &Limits::default(), &mut portable));

    let mut fields = [httparse::EMPTY_HEADER; HEADERS];
    let mut their = httparse::Request::new(&mut fields);
    let theirs = their.parse(bytes);
    match (ours, theirs) {
        (Ok(Status::Complete), Ok(httparse::Status::Complete(len))) => {
            assert_eq!(head.head_len, len);
            assert_eq!(head.method_name.of(bytes), their.method.unwrap_or_default().as_bytes());
            assert_eq!(head.target.of(bytes), their.path.unwrap_or_default().as_bytes());
            assert_eq!(head.version == Version::Http11, their.version == Some(1));
            same_fields(bytes, &head.headers, their.headers);
            request_invariants(bytes, &head);
            assert_eq!(head.headers, portable.headers);
            assert_eq!((head.framing, head.authority), (portable.framing, portable.authority));
        }
        (Ok(Status::Complete), other) => panic!("we accept, httparse: {other:?}"),
        (Ok(Status::Partial), Ok(httparse::Status::Complete(_))) => panic!("we want more, httparse does not"),
        // httparse judges a line before it is complete.
        (Ok(Status::Partial), _) => {}
        (Err(e), Ok(httparse::Status::Complete(_))) => {
            assert!(STRICTER.contains(&e.label()), "refused by us alone: {e} ({})", e.label());
        }
        (Err(_), _) => {}
    }
}

/// [`request`] for responses to GET.
pub(crate) fn response(bytes: &[u8]) {
    let mut head = ResponseHead::new();
    let ours = parse_response(bytes, &Limits::default(), Method::Get, &mut head);
    let mut portable = ResponseHead::new();
    assert_eq!(ours, portable::parse_response(bytes, &Limits::default(), Method::Get, &mut portable));

    let mut fields = [httparse::EMPTY_HEADER; HEADERS];
    let mut their = httparse::Response::new(&mut fields);
    let theirs = their.parse(bytes);
    match (ours, theirs) {
        (Ok(Status::Complete), Ok(httparse::Status::Complete(len))) => {
            assert_eq!(head.head_len, len);
            assert_eq!(Some(head.status), their.code);
            assert_eq!(head.version == Version::Http11, their.version == Some(1));
            same_fields(bytes, &head.headers, their.headers);
            assert_eq!(head.headers, portable.headers);
            assert!(head.framing != BodyFraming::UntilClose || !head.keep_alive);
        }
        (Ok(Status::Complete), other) => panic!("we accept, httparse: {other:?}"),
        (Ok(Status::Partial), Ok(httparse::Status::Complete(_))) => panic!("we want more, httparse does not"),
        (Ok(Status::Partial), _) => {}
        (Err(e), Ok(httparse::Status::Complete(_))) => {
            // httparse skips empty lines before a status line, which leaves ours without a version.
            let skipped = e.label() == "bad_version" && bytes.starts_with(b"\r\n");
            assert!(skipped || STRICTER.contains(&e.label()), "refused by us alone: {e} ({})", e.label());
        }
        (Err(_), _) => {}
    }
}
