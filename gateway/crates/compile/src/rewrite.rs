//! `upstream_path`: text with `{param}` of the route's pattern.

use bytes::Bytes;
use sluice_snapshot::{PathPiece, Pattern};

/// Splits a template into literals and captures.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse(text: &str, pattern: &Pattern) -> Result<Vec<PathPiece>, String> {
    if !text.starts_with('/') {
        return Err(format!("`upstream_path` begins with `/`, found \"{text}\""));
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((literal, from_brace)) = rest.split_once('{') {
        push_literal(&mut pieces, literal)?;
        let Some((name, after)) = from_brace.split_once('}') else {
            return Err(format!("`{{{from_brace}` lacks its `}}`"));
        };
        let bare = name.strip_suffix('+').unwrap_or(name);
        let known =
            pattern.captures().position(|capture| capture == bare).and_then(|at| u8::try_from(at).ok());
        match known {
            Some(at) => pieces.push(PathPiece::Capture(at)),
            None => return Err(format!("`{{{name}}}` is not a parameter of `path`")),
        }
        rest = after;
    }
    push_literal(&mut pieces, rest)?;
    let has_dots = text.split('/').any(|segment| matches!(segment, "." | ".."));
    if has_dots { Err("`upstream_path` has a `.` or `..` segment".to_owned()) } else { Ok(pieces) }
}

/// What may stand in a request target as it is (RFC 3986 3.3): anything else would have to be encoded, or split the
/// request line.
fn push_literal(pieces: &mut Vec<PathPiece>, literal: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/-._~!$&'()*+,;=:@%".contains(c);
    if let Some(bad) = literal.chars().find(|c| !allowed(*c)) {
        return Err(format!("`upstream_path` cannot hold {bad:?}"));
    }
    let malformed = literal.split('%').skip(1).any(|after| {
        let digits = after.as_bytes().first_chunk::<2>();
        !digits.is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit))
    });
    if malformed {
        return Err("`%` expects two hex digits".to_owned());
    }
    if !literal.is_empty() {
        pieces.push(PathPiece::Literal(Bytes::copy_from_slice(literal.as_bytes())));
    }
    Ok(())
}
