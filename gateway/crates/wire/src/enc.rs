//! Writing heads and chunks. Callers pass names and values that were parsed or checked ([`crate::is_token`],
//! [`crate::is_field_value`]); debug builds assert it.

use crate::{date, is_token, scan};

/// Ends a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

macro_rules! statuses {
    ($($code:literal $reason:literal,)+) => {
        /// The reason phrase of a status code; empty for an unregistered one.
        #[must_use]
        pub const fn reason(status: u16) -> &'static str {
            match status {
                $($code => $reason,)+
                _ => "",
            }
        }

        /// The whole status line of a registered code.
        const fn ready_line(status: u16) -> Option<&'static str> {
            match status {
                $($code => Some(concat!("HTTP/1.1 ", $code, " ", $reason, "\r\n")),)+
                _ => None,
            }
        }
    };
}

statuses! {
    100 "Continue",
    101 "Switching Protocols",
    102 "Processing",
    103 "Early Hints",
    200 "OK",
    201 "Created",
    202 "Accepted",
    203 "Non-Authoritative Information",
    204 "No Content",
    205 "Reset Content",
    206 "Partial Content",
    207 "Multi-Status",
    208 "Already Reported",
    226 "IM Used",
    300 "Multiple Choices",
    301 "Moved Permanently",
    302 "Found",
    303 "See Other",
    304 "Not Modified",
    305 "Use Proxy",
    307 "Temporary Redirect",
    308 "Permanent Redirect",
    400 "Bad Request",
    401 "Unauthorized",
    402 "Payment Required",
    403 "Forbidden",
    404 "Not Found",
    405 "Method Not Allowed",
    406 "Not Acceptable",
    407 "Proxy Authentication Required",
    408 "Request Timeout",
    409 "Conflict",
    410 "Gone",
    411 "Length Required",
    412 "Precondition Failed",
    413 "Content Too Large",
    414 "URI Too Long",
    415 "Unsupported Media Type",
    416 "Range Not Satisfiable",
    417 "Expectation Failed",
    418 "I'm a teapot",
    421 "Misdirected Request",
    422 "Unprocessable Content",
    423 "Locked",
    424 "Failed Dependency",
    425 "Too Early",
    426 "Upgrade Required",
    428 "Precondition Required",
    429 "Too Many Requests",
    431 "Request Header Fields Too Large",
    451 "Unavailable For Legal Reasons",
    500 "Internal Server Error",
    501 "Not Implemented",
    502 "Bad Gateway",
    503 "Service Unavailable",
    504 "Gateway Timeout",
    505 "HTTP Version Not Supported",
    506 "Variant Also Negotiates",
    507 "Insufficient Storage",
    508 "Loop Detected",
    511 "Network Authentication Required",
}

/// `HTTP/1.1 200 OK` with CRLF. An unregistered code gets an empty reason.
#[inline]
pub fn status_line(out: &mut Vec<u8>, status: u16) {
    if status == 200 {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    other_status_line(out, status);
}

fn other_status_line(out: &mut Vec<u8>, status: u16) {
    if let Some(line) = ready_line(status) {
        return out.extend_from_slice(line.as_bytes());
    }
    debug_assert!((100..1000).contains(&status), "a status code has three digits");
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, u64::from(status));
    out.extend_from_slice(b" \r\n");
}

/// `GET /path HTTP/1.1` with CRLF.
#[inline]
pub fn request_line(out: &mut Vec<u8>, method: &[u8], target: &[u8]) {
    debug_assert!(is_token(method) && !target.is_empty() && target.iter().all(|b| scan::TARGET.has(*b)));
    out.reserve(method.len() + target.len() + 12);
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// `name: value` with CRLF.
#[inline]
pub fn header(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    debug_assert!(is_token(name) && !value.iter().any(|b| scan::is_control(*b)));
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// A `content-length` line.
#[inline]
pub fn content_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

/// The pairs 00 to 99.
static PAIRS: [[u8; 2]; 100] = pairs();

#[allow(clippy::indexing_slicing, reason = "evaluated when compiling: an overrun is a compile error")]
const fn pairs() -> [[u8; 2]; 100] {
    let mut pairs = [[0; 2]; 100];
    let mut i = 0;
    while i < 100 {
        pairs[i] = [b'0' + (i / 10) as u8, b'0' + (i % 10) as u8];
        i += 1;
    }
    pairs
}

/// A number in decimal.
#[inline]
pub fn decimal(out: &mut Vec<u8>, number: u64) {
    if number < 10 {
        return out.push(b'0' + number as u8);
    }
    // From the end, two digits at a time; 20 digits hold any u64.
    let mut digits = [0u8; 20];
    let mut rest = number;
    let mut start = digits.len();
    for slot in digits.as_chunks_mut::<2>().0.iter_mut().rev() {
        *slot = PAIRS.get((rest % 100) as usize).copied().unwrap_or_default();
        start -= 2;
        rest /= 100;
        if rest == 0 {
            break;
        }
    }
    start += usize::from(digits.get(start) == Some(&b'0'));
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// The line before a chunk's data: its size in hexadecimal, and CRLF. A size of 0 would end the body: send [`LAST_CHUNK`].
#[inline]
pub fn chunk_head(out: &mut Vec<u8>, size: usize) {
    debug_assert!(size > 0, "an empty chunk ends the body");
    let mut line = *b"0000000000000000\r\n";
    let mut rest = size;
    let mut start = 16;
    for slot in line.iter_mut().take(16).rev() {
        let digit = (rest & 15) as u8;
        *slot = digit + if digit < 10 { b'0' } else { b'a' - 10 };
        start -= 1;
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(line.get(start..).unwrap_or_default());
}

/// The 29 bytes of a date: `Sun, 06 Nov 1994 08:49:37 GMT`. Format it once a second and keep it.
#[must_use]
pub fn http_date_bytes(unix_s: u64) -> [u8; 29] {
    date::imf_fixdate(unix_s)
}

/// Appends [`http_date_bytes`].
pub fn http_date(out: &mut Vec<u8>, unix_s: u64) {
    out.extend_from_slice(&date::imf_fixdate(unix_s));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_three_formats_and_no_other() {
        let now = 1_790_000_000; // 2026
        for s in [0, 784_111_777, 951_782_399, 951_782_400, 1_767_225_599, 4_107_542_400, 253_402_300_799] {
            assert_eq!(crate::parse_http_date(&http_date_bytes(s), now), Some(s));
        }
        for (text, expected) in [
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
            ("Sun Nov  6 08:49:37 1994", Some(784_111_777)),
            ("Sun Nov 16 08:49:37 1994", Some(784_975_777)),
            ("Saturday, 01-Jan-77 00:00:00 GMT", Some(220_924_800)),
            ("Friday, 01-Jan-76 00:00:00 GMT", Some(3_345_062_400)),
            ("Tue, 30 Feb 1999 00:00:00 GMT", None),
            ("Sun, 06 Nov 1994 24:00:00 GMT", None),
            ("sun, 06 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 NOV 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 gmt", None),
            ("Sun, 06 Nov 1994 08:49:37 UTC", None),
            ("Sun, 06 Nov 94 08:49:37 GMT", None),
            ("Sun 06 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06  Nov 1994 08:49:37 GMT", None),
            ("Sun, 06-Nov-1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08.49.37 GMT", None),
            ("Sun, 06 Nov 1994 8:49:37 GMT", None),
            ("Sun, 00 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 0000 08:49:37 GMT", None),
            ("0", None),
            ("", None),
            (",", None),
        ] {
            assert_eq!(crate::parse_http_date(text.as_bytes(), now), expected, "{text}");
        }
    }

    /// Miri is a thousand times slower and needs no more than a sample.
    const STEP: usize = if cfg!(miri) { 97 } else { 1 };

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = b"|".to_vec();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_writes_them() {
        let edges = (0..20).map(|p| 10u64.pow(p)).flat_map(|p| [p - 1, p, p + 1]);
        for n in edges.step_by(STEP.min(9)).chain((0..1100).step_by(STEP)).chain([
            u64::MAX,
            u64::MAX - 1,
            u64::MAX / 2,
        ]) {
            assert_eq!(written(|out| decimal(out, n)), format!("|{n}"));
            assert_eq!(written(|out| content_length(out, n)), format!("|content-length: {n}\r\n"));
            if n > 0 {
                assert_eq!(written(|out| chunk_head(out, n as usize)), format!("|{n:x}\r\n"));
            }
        }
    }

    #[test]
    fn status_lines_have_the_registered_reason() {
        for status in (100..600).step_by(STEP) {
            let line = written(|out| status_line(out, status));
            assert_eq!(line, format!("|HTTP/1.1 {status} {}\r\n", reason(status)));
        }
        assert_eq!((reason(200), reason(429), reason(299)), ("OK", "Too Many Requests", ""));
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_s, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_767_225_599, "Wed, 31 Dec 2025 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(http_date_bytes(unix_s).as_slice(), date.as_bytes());
            assert_eq!(written(|out| http_date(out, unix_s)), format!("|{date}"));
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = Vec::new();
        request_line(&mut out, b"POST", b"/a?b");
        header(&mut out, b"host", b"a");
        content_length(&mut out, 3);
        out.extend_from_slice(b"\r\nabc");
        let mut head = crate::RequestHead::new();
        assert_eq!(
            crate::parse_request(&out, &crate::Limits::default(), &mut head),
            Ok(crate::Status::Complete)
        );
        assert_eq!((head.method, head.framing), (crate::Method::Post, crate::BodyFraming::Length(3)));
        assert_eq!(head.target.of(&out), b"/a?b");
    }
}
