//! Request heads (RFC 9112 section 3).

use crate::fields::{self, LineEnd, Seen, Side, line_end};
use crate::head::{Limits, RequestHead, Status, TargetForm, Version};
use crate::scan::{Lines, NOWHERE, Scalar, Simd, TOKEN};
use crate::{BodyFraming, Method, RequestError, Span, target};

/// Parses a request head at the start of `bytes`.
///
/// `Partial` means that all bytes so far are acceptable and more must come; parse again from the start then. Spans index
/// `bytes` from 0. Empty lines before the request line are skipped (RFC 9112 section 2.2), four at most.
///
/// # Errors
/// What the head breaks; `head` then holds what was read before.
#[inline]
pub fn parse_request(bytes: &[u8], limits: &Limits, head: &mut RequestHead) -> Result<Status, RequestError> {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if let Some(avx2) = crate::scan::Avx2::detect() {
        // SAFETY: the token proves that the CPU has what the function is compiled for.
        return unsafe { parse_avx2(avx2, bytes, limits, head) };
    }
    parse_plain(bytes, limits, head)
}

/// [`parse_request`] without vector instructions.
///
/// # Errors
/// The same.
pub fn parse_request_portable(
    bytes: &[u8],
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<Status, RequestError> {
    parse_plain(bytes, limits, head)
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx2,bmi1,bmi2")]
fn parse_avx2(
    simd: crate::scan::Avx2,
    bytes: &[u8],
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<Status, RequestError> {
    parse(simd, bytes, limits, head)
}

#[inline(never)]
fn parse_plain(bytes: &[u8], limits: &Limits, head: &mut RequestHead) -> Result<Status, RequestError> {
    parse(Scalar, bytes, limits, head)
}

#[inline(always)]
fn parse<S: Simd>(
    simd: S,
    bytes: &[u8],
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<Status, RequestError> {
    head.clear();
    let start = if bytes.first() == Some(&b'\r') { skip_empty_lines(bytes) } else { 0 };
    let mut lines = Lines::new(simd, bytes);
    lines.fill(start);
    let bytes = lines.bytes;
    let end = lines.line(start).end;
    if end == NOWHERE {
        return unfinished_line(bytes.len() - start as usize, limits);
    }
    if let LineEnd::Cut = line_end(bytes, end).map_err(RequestError::Line)? {
        return unfinished_line((end - start) as usize, limits);
    }
    if (end - start) as usize > limits.request_line_max_bytes {
        return Err(RequestError::LineTooLong { limit: limits.request_line_max_bytes });
    }
    request_line(simd, bytes, start as usize, end as usize, head)?;

    let mut seen = Seen::default();
    let parsed = fields::parse(&mut lines, end + 2, limits, &mut head.headers, &mut seen)
        .map_err(RequestError::Field)?;
    let Some(head_len) = parsed else { return Ok(Status::Partial) };
    head.head_len = head_len as usize;
    conclude(simd, bytes, head, &seen)?;
    Ok(Status::Complete)
}

#[cold]
fn unfinished_line(so_far: usize, limits: &Limits) -> Result<Status, RequestError> {
    if so_far > limits.request_line_max_bytes {
        return Err(RequestError::LineTooLong { limit: limits.request_line_max_bytes });
    }
    Ok(Status::Partial)
}

/// Empty lines that some clients send after a body. Where the request line starts.
#[cold]
fn skip_empty_lines(bytes: &[u8]) -> u32 {
    let lines = bytes.chunks(2).take(4).take_while(|two| *two == b"\r\n");
    lines.count() as u32 * 2
}

/// `method SP target SP version` in `bytes[start..end]`.
#[inline(always)]
fn request_line<S: Simd>(
    simd: S,
    bytes: &[u8],
    start: usize,
    end: usize,
    head: &mut RequestHead,
) -> Result<(), RequestError> {
    let line = bytes.get(start..end).unwrap_or_default();
    let (method, method_len) = method(line)?;
    head.method = method;
    head.method_name = Span::new(start, start + method_len);
    let from = start + method_len + 1;
    head.version = version(line).ok_or_else(|| bad_version(line))?;
    let to = end - 9;
    if from >= to {
        return Err(RequestError::BadTarget { found: b' ' });
    }
    target::split(simd, bytes, from, to, head)
}

/// The version at the end of the line, after a space.
#[inline(always)]
fn version(line: &[u8]) -> Option<Version> {
    let (rest, name) = line.split_last_chunk::<8>()?;
    // One comparison of eight bytes; matching on the array would compare them one by one.
    let name = u64::from_ne_bytes(*name);
    if rest.last() != Some(&b' ') {
        None
    } else if name == u64::from_ne_bytes(*b"HTTP/1.1") {
        Some(Version::Http11)
    } else {
        (name == u64::from_ne_bytes(*b"HTTP/1.0")).then_some(Version::Http10)
    }
}

/// The method and the length of its name.
#[inline(always)]
fn method(line: &[u8]) -> Result<(Method, usize), RequestError> {
    if line.starts_with(b"GET ") {
        return Ok((Method::Get, 3));
    }
    if line.starts_with(b"POST ") {
        return Ok((Method::Post, 4));
    }
    rare_method(line)
}

#[inline(never)]
fn rare_method(line: &[u8]) -> Result<(Method, usize), RequestError> {
    let len = line.iter().position(|b| !TOKEN.has(*b)).unwrap_or(line.len());
    match line.get(len) {
        Some(b' ') if len > 0 => Ok((Method::from_bytes(line.get(..len).unwrap_or_default()), len)),
        Some(found) => Err(RequestError::BadMethod { found: *found }),
        None if len == 0 => Err(RequestError::BadMethod { found: b'\r' }),
        None => Err(RequestError::BadVersion),
    }
}

/// Another protocol or version is 505, anything else 400.
#[cold]
fn bad_version(line: &[u8]) -> RequestError {
    let last = line.rsplit(|b| *b == b' ').next().unwrap_or_default();
    let mut parts = last.splitn(2, |b| *b == b'/');
    let name = parts.next().unwrap_or_default();
    let mut numbers = parts.next().unwrap_or_default().splitn(2, |b| *b == b'.');
    let number = |n: Option<&[u8]>| n.is_some_and(|n| n.len() == 1 && n.iter().all(u8::is_ascii_digit));
    let major = number(numbers.next());
    let minor = number(numbers.next());
    let named = !name.is_empty() && name.iter().all(u8::is_ascii_alphabetic);
    if named && major && minor { RequestError::UnsupportedVersion } else { RequestError::BadVersion }
}

/// What needs the whole header section: host, framing, persistence.
#[inline(always)]
fn conclude<S: Simd>(simd: S, bytes: &[u8], head: &mut RequestHead, seen: &Seen) -> Result<(), RequestError> {
    match (seen.hosts, seen.host) {
        (1, Some(host)) => {
            target::check_authority(simd, bytes, host)?;
            if matches!(head.form, TargetForm::Origin | TargetForm::Asterisk) {
                head.authority = host;
            }
        }
        (0, _) if head.version == Version::Http10 => {}
        (0, _) => return Err(RequestError::MissingHost),
        _ => return Err(RequestError::RepeatedHost),
    }
    head.framing = seen.framing(head.version).map_err(RequestError::Field)?;
    head.keep_alive = seen.persistent(head.version);
    head.upgrade = seen.upgrade(head.version);
    // Without content there is nothing to wait for (RFC 9110 section 10.1.1); HTTP/1.0 knows no interim response.
    let has_body = !matches!(head.framing, BodyFraming::None | BodyFraming::Length(0));
    head.expect_continue = seen.expect_continue && has_body && head.version == Version::Http11;
    seen.mark_named(bytes, &mut head.headers, Side::Request).map_err(RequestError::Field)
}
