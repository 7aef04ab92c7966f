//! The canonical request: what a signature is made of.

use crate::{Request, hex};
use aws_lc_rs::digest;
use std::fmt::Write;

/// Names the query parameter that holds the signature itself, and so is not part of what is signed.
const SIGNATURE: &str = "X-Amz-Signature";

/// With the hash of the body, or what stands for it.
pub(crate) fn request(request: &Request<'_>, signed: &[&str], payload: Option<&str>) -> String {
    of_path(request, &path(request.path), signed, payload)
}

/// As S3 has it: the path is encoded once, as on the wire, and its segments are those of a key.
pub(crate) fn request_of_s3(request: &Request<'_>, signed: &[&str]) -> String {
    let path = request.path.split('/').map(reencode).collect::<Vec<_>>().join("/");
    of_path(request, &path, signed, None)
}

fn of_path(request: &Request<'_>, path: &str, signed: &[&str], payload: Option<&str>) -> String {
    let mut out = format!("{}\n{path}\n{}\n", request.method, query(request.query));
    for name in signed {
        // Writing to a string can't fail.
        let _ = writeln!(out, "{name}:{}", header(request, name));
    }
    let hash = || hex(digest::digest(&digest::SHA256, request.body).as_ref());
    let _ = write!(out, "\n{}\n{}", signed.join(";"), payload.map_or_else(hash, str::to_owned));
    out
}

/// Without dot segments and doubled slashes, and encoded once more.
fn path(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let mut out = String::from("/");
    for (nth, segment) in kept.iter().enumerate() {
        if nth > 0 {
            out.push('/');
        }
        encode(segment.as_bytes(), &mut out);
    }
    if path.ends_with('/') && !kept.is_empty() {
        out.push('/');
    }
    out
}

/// Sorted by name, then value, each encoded anew.
fn query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(|(name, _)| *name != SIGNATURE)
        .map(|(name, value)| (reencode(name), reencode(value)))
        .collect();
    pairs.sort_unstable();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// All values of a header with commas, and with one space where there were several.
fn header(request: &Request<'_>, name: &str) -> String {
    let values = request.headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case(name));
    let folded = values.map(|(_, value)| {
        value.split([' ', '\t']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    });
    folded.collect::<Vec<_>>().join(",")
}

fn reencode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    encode(&percent_decode(text.as_bytes()), &mut out);
    out
}

/// Percent-decodes, as a path or query is before it is signed; what is no valid escape stays as it is.
#[must_use]
pub fn percent_decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, others @ ..] = rest {
        let escaped = match others {
            [high, low, ..] if *first == b'%' => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match (escaped, others) {
            (Some((high, low)), [_, _, after @ ..]) => {
                out.push(high << 4 | low);
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = others;
            }
        }
    }
    out
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// All but RFC 3986's unreserved characters.
fn encode(bytes: &[u8], out: &mut String) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}
