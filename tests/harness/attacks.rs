//! Requests that two readers could read differently, as data. `suite/smuggling.rs` says what becomes of them,
//! `suite/smuggling_backends.rs` what real servers behind the gateway see of them.

/// What follows every attack: were it ever taken for a request of its own, the backend would record `/smuggled`.
pub const SECOND: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

/// A malformed request, what is wrong with it, and the statuses that are right.
pub struct Attack {
    pub what: &'static str,
    pub request: &'static str,
    pub statuses: &'static [u16],
}

const fn bad(what: &'static str, request: &'static str) -> Attack {
    Attack { what, request, statuses: &[400] }
}

const fn refused(what: &'static str, request: &'static str, statuses: &'static [u16]) -> Attack {
    Attack { what, request, statuses }
}

#[rustfmt::skip]
pub const FRAMING: &[Attack] = &[
    bad("length and chunked", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    bad("chunked and length", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    bad("two lengths that differ", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n"),
    bad("two lengths alike", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    bad("length as a list", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nhello"),
    bad("length with a plus", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello"),
    bad("length with a minus", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\nhello"),
    bad("length in hex", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\nhello"),
    bad("length with a point", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5.0\r\n\r\nhello"),
    bad("length with a gap", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1 1\r\n\r\nhello world"),
    bad("length that is empty", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n"),
    bad("length over 64 bits", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551621\r\n\r\nhello"),
    bad("length with a space before the colon", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nhello"),
    bad("coding with a space before the colon", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    bad("coding with a tab before the colon", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n"),
    bad("coding with a vertical tab", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n"),
    bad("coding with a NUL", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n"),
    bad("coding after a line that folds", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    refused("coding that is empty", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n", &[400, 501]),
    refused("coding doubled in a list", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", &[400, 501]),
    refused("coding doubled in two lines", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[400, 501]),
    refused("coding not ending in chunked", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", &[400, 501]),
    refused("coding in two lines, chunked first", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n", &[400, 501]),
    refused("coding unknown", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", &[400, 501]),
    refused("coding identity", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n", &[400, 501]),
    refused("coding gzip before chunked", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", &[400, 501]),
    refused("coding in quotes", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", &[400, 501]),
    refused("coding with a parameter", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", &[400, 501]),
    bad("chunked in HTTP/1.0", "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
];

#[rustfmt::skip]
pub const CHUNKS: &[Attack] = &[
    bad("size with a plus", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n"),
    bad("size with a minus", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n"),
    bad("size with 0x", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n"),
    bad("size with an underscore", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0_5\r\nhello\r\n0\r\n\r\n"),
    bad("size that is empty", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n"),
    bad("size over 64 bits", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n"),
    bad("white space before the size", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n"),
    bad("white space after the size", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n"),
    bad("a bare semicolon", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;\r\nhello\r\n0\r\n\r\n"),
    bad("an extension with a NUL", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\0\r\nhello\r\n0\r\n\r\n"),
    bad("an extension with a bare LF", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n"),
    bad("an extension with a bare CR", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a\rb\r\nhello\r\n0\r\n\r\n"),
    bad("an extension without a name", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;=v\r\nhello\r\n0\r\n\r\n"),
    bad("a size line that ends in LF", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"),
    bad("data longer than its size", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n"),
    bad("data that ends in LF", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n"),
    bad("data that ends in CR", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\rX0\r\n\r\n"),
    bad("a trailer that folds", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n c\r\n\r\n"),
    bad("a trailer without a colon", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nGET /x HTTP/1.1\r\n\r\n"),
    bad("a trailer that ends in LF", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\r\n"),
    bad("an end in LF", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n"),
];

#[rustfmt::skip]
pub const LINES: &[Attack] = &[
    bad("a request line that ends in LF", "GET / HTTP/1.1\nHost: x\r\n\r\n"),
    bad("a header line that ends in LF", "GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n"),
    bad("a head that ends in LF", "GET / HTTP/1.1\r\nHost: x\r\n\n"),
    bad("a bare CR in a value", "GET / HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n"),
    bad("a bare CR in the target", "GET /\r HTTP/1.1\r\nHost: x\r\n\r\n"),
    bad("a NUL in a value", "GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n"),
    bad("a NUL in the target", "GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n"),
    bad("a control byte in a value", "GET / HTTP/1.1\r\nHost: x\r\nA: b\x01c\r\n\r\n"),
    bad("a DEL in a value", "GET / HTTP/1.1\r\nHost: x\r\nA: b\x7fc\r\n\r\n"),
    bad("a control byte in a name", "GET / HTTP/1.1\r\nHost: x\r\nA\x01: b\r\n\r\n"),
    bad("a space in a name", "GET / HTTP/1.1\r\nHost: x\r\nA B: c\r\n\r\n"),
    bad("a name that is empty", "GET / HTTP/1.1\r\nHost: x\r\n: c\r\n\r\n"),
    bad("a line without a colon", "GET / HTTP/1.1\r\nHost: x\r\nabc\r\n\r\n"),
    bad("a first line that is folded", "GET / HTTP/1.1\r\n Host: x\r\nHost: x\r\n\r\n"),
    bad("obs-fold with a space", "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n"),
    bad("obs-fold with a tab", "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\tc\r\n\r\n"),
    bad("two spaces before the target", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n"),
    bad("two spaces before the version", "GET /  HTTP/1.1\r\nHost: x\r\n\r\n"),
    bad("a space in the target", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n"),
    bad("a tab for a space", "GET\t/\tHTTP/1.1\r\nHost: x\r\n\r\n"),
    bad("a space at the end", "GET / HTTP/1.1 \r\nHost: x\r\n\r\n"),
    bad("no version", "GET /\r\nHost: x\r\n\r\n"),
    refused("a lower-case version", "GET / http/1.1\r\nHost: x\r\n\r\n", &[400, 505]),
    bad("a method with a bracket", "G[T / HTTP/1.1\r\nHost: x\r\n\r\n"),
    bad("no method", " / HTTP/1.1\r\nHost: x\r\n\r\n"),
    refused("HTTP/2.0 by name", "GET / HTTP/2.0\r\nHost: x\r\n\r\n", &[400, 505]),
    refused("HTTP/0.9 by name", "GET / HTTP/0.9\r\nHost: x\r\n\r\n", &[400, 505]),
    refused("HTTP/1.10", "GET / HTTP/1.10\r\nHost: x\r\n\r\n", &[400, 505]),
    refused("HTTP/2 by name", "PRI * HTTP/2.0\r\nHost: x\r\n\r\n", &[400, 505]),
    bad("a TLS hello", "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n"),
];

#[rustfmt::skip]
pub const HOSTS: &[Attack] = &[
    bad("no Host", "GET / HTTP/1.1\r\nA: b\r\n\r\n"),
    bad("a Host that is empty", "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    bad("two Hosts that differ", "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"),
    bad("two Hosts alike", "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"),
    bad("a Host with userinfo", "GET / HTTP/1.1\r\nHost: good.test@evil.test\r\n\r\n"),
    bad("a Host with a path", "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n"),
    bad("a Host with a space", "GET / HTTP/1.1\r\nHost: x y\r\n\r\n"),
    bad("a Host list", "GET / HTTP/1.1\r\nHost: x, y\r\n\r\n"),
    bad("a Host with a bad port", "GET / HTTP/1.1\r\nHost: x:8a\r\n\r\n"),
    bad("absolute form with userinfo", "GET http://good.test@evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n"),
    bad("absolute form without a host", "GET http:///a HTTP/1.1\r\nHost: x\r\n\r\n"),
    refused("a target of no form", "GET a/b HTTP/1.1\r\nHost: x\r\n\r\n", &[400, 404]),
    refused("an asterisk for GET", "GET * HTTP/1.1\r\nHost: x\r\n\r\n", &[400, 404]),
];
