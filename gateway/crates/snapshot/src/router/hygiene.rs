//! What is refused before routing, and how encoded text is compared.
//!
//! Threat: a path that the router reads one way and the upstream another (`/public/..%2fadmin`). So dot segments are
//! refused, not resolved, and their separators include what some servers take for one: `\`, `%2F` and `%5C`.

use super::words;

/// Outcome of [`inspect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hygiene {
    /// No `%`: segments compare byte by byte.
    Plain,
    /// Well-formed percent-encoding: segments are normalised before they are compared.
    Encoded,
    /// A dot segment, `%` without two hex digits, or `%00`.
    Bad,
}

/// Inspects a text of segments that begins with `/`; bit N of the second value: byte N is `/`. Only a `%`, a `\` or a segment
/// that begins with a dot is worth a close look.
#[inline]
pub(crate) fn inspect(path: &[u8]) -> (Hygiene, u64) {
    let (slashes, is_dotted) = words::slashes(path);
    let is_doubtful = is_dotted || has_percent_or_backslash(path);
    (if is_doubtful { inspect_closely(path) } else { Hygiene::Plain }, slashes)
}

/// In a form that the compiler makes vector instructions of; the last sixteen bytes overlap those before.
#[inline]
fn has_percent_or_backslash(path: &[u8]) -> bool {
    let is_either = |byte: &u8| (*byte == b'%') | (*byte == b'\\');
    let any = |bytes: &[u8; 16]| bytes.iter().fold(false, |seen, byte| seen | is_either(byte));
    match path.last_chunk::<16>() {
        Some(last) => path.as_chunks::<16>().0.iter().fold(any(last), |seen, chunk| seen | any(chunk)),
        None => path.iter().any(is_either),
    }
}

/// [`inspect`] for any text.
#[cold]
pub(crate) fn inspect_closely(path: &[u8]) -> Hygiene {
    let mut hygiene = Hygiene::Plain;
    // Dots since the last separator; `None` once the segment has anything else.
    let mut dots = Some(0);
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        let mut decoded = byte;
        at += 1;
        if byte == b'%' {
            hygiene = Hygiene::Encoded;
            match hex_pair(path, at) {
                None | Some(0) => return Hygiene::Bad,
                Some(value) => decoded = value,
            }
            at += 2;
        }
        dots = match (decoded, dots) {
            (b'/' | b'\\', Some(1 | 2)) => return Hygiene::Bad,
            (b'/' | b'\\', _) => Some(0),
            (b'.', Some(count)) => Some(count + 1),
            _ => None,
        };
    }
    if matches!(dots, Some(1 | 2)) { Hygiene::Bad } else { hygiene }
}

fn hex_pair(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
    u8::try_from(digit(at)? << 4 | digit(at + 1)?).ok()
}

/// Percent-encoding normalised (RFC 3986 6.2.2): encoded unreserved characters are decoded, hex digits of the rest are
/// capitals. Malformed encoding passes unchanged.
pub(crate) fn normalise(segment: &[u8], mut emit: impl FnMut(u8)) {
    let mut at = 0;
    while let Some(&byte) = segment.get(at) {
        at += 1;
        let Some(value) = (byte == b'%').then(|| hex_pair(segment, at)).flatten() else {
            emit(byte);
            continue;
        };
        if value.is_ascii_alphanumeric() || matches!(value, b'-' | b'.' | b'_' | b'~') {
            emit(value);
        } else {
            emit(b'%');
            for digit in segment.iter().skip(at).take(2) {
                emit(digit.to_ascii_uppercase());
            }
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refused() {
        for path in [
            "/.",
            "/..",
            "/a/./b",
            "/a/../b",
            "/a/..",
            "/../a",
            "/%2e",
            "/%2E%2e/a",
            "/.%2e",
            "/a/%2e./b",
            "/a..%2f../b",
            "/a/..%2fb",
            "/a%2f..",
            "/a%5c..%5cb",
            "/a\\..\\b",
            "/..\\a",
            "/%",
            "/%4",
            "/%zz",
            "/a%00b",
        ] {
            assert_eq!(inspect(path.as_bytes()).0, Hygiene::Bad, "{path}");
        }
    }

    #[test]
    fn served() {
        for (path, expected) in [
            ("/", Hygiene::Plain),
            ("/a.b/..c/.well-known/...", Hygiene::Plain),
            ("/a..", Hygiene::Plain),
            ("//", Hygiene::Plain),
            ("/a\\b", Hygiene::Plain),
            ("/%20", Hygiene::Encoded),
            ("/a%2fb", Hygiene::Encoded),
            ("/%2e%2e%2e", Hygiene::Encoded),
        ] {
            assert_eq!(inspect(path.as_bytes()).0, expected, "{path}");
        }
    }

    #[test]
    fn normalised() {
        for (raw, expected) in [("%41b%2f", "Ab%2F"), ("%7e%2D", "~-"), ("%zz%4", "%zz%4"), ("a%20", "a%20")]
        {
            let mut text = Vec::new();
            normalise(raw.as_bytes(), |byte| text.push(byte));
            assert_eq!(String::from_utf8(text).unwrap(), expected);
        }
    }

    proptest! {
        /// The fast look never passes what the close one would not.
        #[test]
        fn both_looks_agree(path in "/[/.%a2eEfF5cC\\\\]{0,60}|/[a-z]{0,50}[/.%\\\\]{1,3}[a-z]{0,50}") {
            prop_assert_eq!(inspect(path.as_bytes()).0, inspect_closely(path.as_bytes()));
        }
    }
}
