//! Response heads (RFC 9112 section 4).

use crate::fields::{self, LineEnd, Seen, Side, line_end};
use crate::head::{Limits, ResponseHead, Status, Version};
use crate::scan::{Lines, NOWHERE, Scalar, Simd};
use crate::{BodyFraming, Method, ResponseError, Span};

/// Parses a response head at the start of `bytes`, the answer to a request with `request_method`.
///
/// Interim responses (1xx) are complete heads of their own: their framing is `None` and the final head follows.
/// As strict about fields as [`crate::parse_request`], with two differences: a status line may lack the space before an absent
/// reason phrase, and `Connection` may name any field, which is then not forwarded.
///
/// # Errors
/// What the head breaks; `head` then holds what was read before.
#[inline]
pub fn parse_response(
    bytes: &[u8],
    limits: &Limits,
    request_method: Method,
    head: &mut ResponseHead,
) -> Result<Status, ResponseError> {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if let Some(avx2) = crate::scan::Avx2::detect() {
        // SAFETY: the token proves that the CPU has what the function is compiled for.
        return unsafe { parse_avx2(avx2, bytes, limits, request_method, head) };
    }
    parse_plain(bytes, limits, request_method, head)
}

/// [`parse_response`] without vector instructions.
///
/// # Errors
/// The same.
pub fn parse_response_portable(
    bytes: &[u8],
    limits: &Limits,
    request_method: Method,
    head: &mut ResponseHead,
) -> Result<Status, ResponseError> {
    parse_plain(bytes, limits, request_method, head)
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx2,bmi1,bmi2")]
fn parse_avx2(
    simd: crate::scan::Avx2,
    bytes: &[u8],
    limits: &Limits,
    request_method: Method,
    head: &mut ResponseHead,
) -> Result<Status, ResponseError> {
    parse(simd, bytes, limits, request_method, head)
}

#[inline(never)]
fn parse_plain(
    bytes: &[u8],
    limits: &Limits,
    request_method: Method,
    head: &mut ResponseHead,
) -> Result<Status, ResponseError> {
    parse(Scalar, bytes, limits, request_method, head)
}

#[inline(always)]
fn parse<S: Simd>(
    simd: S,
    bytes: &[u8],
    limits: &Limits,
    request_method: Method,
    head: &mut ResponseHead,
) -> Result<Status, ResponseError> {
    head.clear();
    let mut lines = Lines::new(simd, bytes);
    lines.fill(0);
    let bytes = lines.bytes;
    let end = lines.line(0).end;
    if end == NOWHERE {
        return unfinished_line(bytes.len(), limits);
    }
    if let LineEnd::Cut = line_end(bytes, end).map_err(ResponseError::Line)? {
        return unfinished_line(end as usize, limits);
    }
    if end as usize > limits.request_line_max_bytes {
        return Err(ResponseError::LineTooLong { limit: limits.request_line_max_bytes });
    }
    status_line(bytes, end as usize, head)?;

    let mut seen = Seen::default();
    let parsed = fields::parse(&mut lines, end + 2, limits, &mut head.headers, &mut seen)
        .map_err(ResponseError::Field)?;
    let Some(head_len) = parsed else { return Ok(Status::Partial) };
    head.head_len = head_len as usize;
    conclude(bytes, request_method, head, &seen).map_err(ResponseError::Field)?;
    Ok(Status::Complete)
}

#[cold]
fn unfinished_line(so_far: usize, limits: &Limits) -> Result<Status, ResponseError> {
    if so_far > limits.request_line_max_bytes {
        return Err(ResponseError::LineTooLong { limit: limits.request_line_max_bytes });
    }
    Ok(Status::Partial)
}

/// `version SP status [SP reason]` in `bytes[..end]`.
#[inline(always)]
fn status_line(bytes: &[u8], end: usize, head: &mut ResponseHead) -> Result<(), ResponseError> {
    let line = bytes.get(..end).unwrap_or_default();
    let Some((start, rest)) = line.split_first_chunk::<9>() else { return Err(ResponseError::BadVersion) };
    head.version = match start {
        b"HTTP/1.1 " => Version::Http11,
        b"HTTP/1.0 " => Version::Http10,
        _ => return Err(ResponseError::BadVersion),
    };
    let (code, reason) = rest.split_first_chunk::<3>().ok_or(ResponseError::BadStatus)?;
    if !code.iter().all(u8::is_ascii_digit) {
        return Err(ResponseError::BadStatus);
    }
    head.status = code.iter().fold(0, |n, b| n * 10 + u16::from(b - b'0'));
    if !(100..600).contains(&head.status) || !matches!(reason.first(), None | Some(b' ')) {
        return Err(ResponseError::BadStatus);
    }
    head.reason = Span::new((end - reason.len() + 1).min(end), end);
    Ok(())
}

/// Framing and persistence (RFC 9112 section 6.3).
#[inline(always)]
fn conclude(
    bytes: &[u8],
    request_method: Method,
    head: &mut ResponseHead,
    seen: &Seen,
) -> Result<(), crate::FieldError> {
    let framing = seen.framing(head.version)?;
    head.keep_alive = seen.persistent(head.version);
    head.framing = match head.status {
        100..=199 | 204 => {
            // Such a response must not announce a body (RFC 9110 section 8.6); if one follows, it must not be read as the
            // next response.
            head.keep_alive &=
                matches!(framing, BodyFraming::None | BodyFraming::Length(0)) && head.status != 101;
            BodyFraming::None
        }
        304 => BodyFraming::None,
        _ if request_method == Method::Head => BodyFraming::None,
        200..=299 if request_method == Method::Connect => {
            head.keep_alive = false;
            BodyFraming::None
        }
        _ if framing == BodyFraming::None => {
            head.keep_alive = false;
            BodyFraming::UntilClose
        }
        _ => framing,
    };
    seen.mark_named(bytes, &mut head.headers, Side::Response)
}
