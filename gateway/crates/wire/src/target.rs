//! Request targets and authorities (RFC 9112 section 3.2, RFC 3986 section 3.2).

use crate::head::{RequestHead, TargetForm};
use crate::scan::{HOST, Simd, first_outside, question_mark};
use crate::{Method, RequestError, Span};

/// Splits the target, which is `bytes[from..to]`, into the parts of `head`.
#[inline(always)]
pub(crate) fn split<S: Simd>(
    simd: S,
    bytes: &[u8],
    from: usize,
    to: usize,
    head: &mut RequestHead,
) -> Result<(), RequestError> {
    let mark = question_mark(simd, bytes, from, to).map_err(|found| RequestError::BadTarget { found })?;
    head.target = Span::new(from, to);
    if bytes.get(from) == Some(&b'/') && head.method != Method::Connect {
        head.form = TargetForm::Origin;
        path_and_query(from, mark, to, head);
        return Ok(());
    }
    split_rare(simd, bytes, from, to, head)
}

/// The path ends at the question mark, or at the end if there is none.
#[inline(always)]
fn path_and_query(from: usize, mark: usize, to: usize, head: &mut RequestHead) {
    head.path = Span::new(from, mark);
    head.query = (mark < to).then(|| Span::new(mark + 1, to));
}

#[cold]
#[inline(never)]
fn split_rare<S: Simd>(
    simd: S,
    bytes: &[u8],
    from: usize,
    to: usize,
    head: &mut RequestHead,
) -> Result<(), RequestError> {
    let target = bytes.get(from..to).unwrap_or_default();
    if head.method == Method::Connect {
        head.form = TargetForm::Authority;
        head.authority = Span::new(from, to);
        head.path = Span::new(to, to);
        let has_port = check_authority(simd, bytes, head.authority)?;
        return if has_port { Ok(()) } else { Err(RequestError::BadPort) };
    }
    if target == b"*" {
        head.form = TargetForm::Asterisk;
        head.path = head.target;
        return if head.method == Method::Options { Ok(()) } else { Err(RequestError::BadTargetForm) };
    }
    let Some(prefix) = scheme(target) else { return Err(RequestError::BadTargetForm) };
    let start = from + prefix;
    let rest = bytes.get(start..to).unwrap_or_default();
    // A backslash ends no authority here: `check_authority` refuses it, while browsers' parsers read it as a slash.
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).map_or(to, |i| start + i);
    head.form = TargetForm::Absolute;
    head.authority = Span::new(start, end);
    check_authority(simd, bytes, head.authority)?;
    let mark =
        bytes.get(end..to).and_then(|rest| rest.iter().position(|b| *b == b'?')).map_or(to, |i| end + i);
    path_and_query(end, mark, to, head);
    if head.path.is_empty() {
        // An empty path means `/`; the slash that ends `http://` is one to point at.
        head.path = Span::new(start - 1, start);
    }
    Ok(())
}

/// Length of a leading `http://` or `https://` (schemes are case-insensitive).
fn scheme(target: &[u8]) -> Option<usize> {
    [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|s| target.get(..s.len()).is_some_and(|t| t.eq_ignore_ascii_case(s)))
        .map(<[u8]>::len)
}

/// Checks `host[:port]`; whether it has a port of at least one digit.
#[inline(always)]
pub(crate) fn check_authority<S: Simd>(simd: S, bytes: &[u8], authority: Span) -> Result<bool, RequestError> {
    let (start, end) = (authority.start as usize, authority.end as usize);
    match first_outside(simd, bytes, start, end, &HOST) {
        None if start < end => Ok(false),
        Some(at) if at > start && bytes.get(at) == Some(&b':') => {
            check_port(bytes.get(at + 1..end).unwrap_or_default())
        }
        stop => check_rare(bytes.get(start..end).unwrap_or_default(), stop.map(|at| at - start)),
    }
}

#[inline(always)]
fn check_port(port: &[u8]) -> Result<bool, RequestError> {
    let mut number = 0u32;
    for byte in port {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(if port.contains(&b'@') { RequestError::UserInfo } else { RequestError::BadPort });
        }
        number = number * 10 + u32::from(digit);
        if number > u32::from(u16::MAX) {
            return Err(RequestError::BadPort);
        }
    }
    // RFC 3986 section 3.2.3 allows an empty port.
    Ok(!port.is_empty())
}

/// An authority that is not `name` or `name:port`: an IP literal, or wrong.
#[cold]
#[inline(never)]
fn check_rare(authority: &[u8], stop: Option<usize>) -> Result<bool, RequestError> {
    if authority.contains(&b'@') {
        return Err(RequestError::UserInfo);
    }
    let Some(stop) = stop else { return Err(RequestError::EmptyHost) };
    let found = authority.get(stop).copied().unwrap_or(0);
    if stop == 0 && found == b':' {
        return Err(RequestError::EmptyHost);
    }
    let Some(literal) = authority.strip_prefix(b"[") else { return Err(RequestError::BadHost { found }) };
    let Some(close) = literal.iter().position(|b| *b == b']') else {
        return Err(RequestError::BadHost { found: b'[' });
    };
    let address = literal.get(..close).and_then(|a| std::str::from_utf8(a).ok());
    if address.and_then(|a| a.parse::<std::net::Ipv6Addr>().ok()).is_none() {
        return Err(RequestError::BadHost { found: b'[' });
    }
    match literal.get(close + 1..).unwrap_or_default() {
        [] => Ok(false),
        [b':', port @ ..] => check_port(port),
        [found, ..] => Err(RequestError::BadHost { found: *found }),
    }
}
