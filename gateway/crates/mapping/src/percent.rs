//! Percent-encoding (RFC 3986 section 2.1) and the query's form encoding.

use std::borrow::Cow;

fn digit(byte: Option<&u8>) -> Option<u8> {
    byte.and_then(|byte| char::from(*byte).to_digit(16)).map(|digit| digit as u8)
}

/// Decodes; malformed escapes stay as they are, bytes that are no UTF-8 become U+FFFD.
pub(crate) fn decode(text: &str, plus_is_blank: bool) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'%' || plus_is_blank && byte == b'+') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' if plus_is_blank => out.push(b' '),
            b'%' => match (digit(after.first()), digit(after.get(1))) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    rest = after.get(2..).unwrap_or_default();
                }
                _ => out.push(b'%'),
            },
            _ => out.push(*byte),
        }
    }
    Cow::Owned(match String::from_utf8(out) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

const fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Appends, with everything escaped but unreserved characters and those of `keep`.
pub(crate) fn encode_into(text: &str, keep: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let hex = |nibble: u8| char::from(DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0'));
    for byte in text.bytes() {
        if unreserved(byte) || keep.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(hex(byte >> 4));
            out.push(hex(byte & 15));
        }
    }
}

/// The names and values of a query string, decoded.
pub(crate) fn query(raw: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    raw.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name, true), decode(value, true))
    })
}

#[cfg(test)]
mod tests {
    use super::{decode, encode_into, query};

    #[test]
    fn escapes_are_decoded_and_malformed_ones_kept() {
        assert_eq!(decode("a%20b%C3%A9", false), "a bé");
        assert_eq!(decode("a+b", false), "a+b");
        assert_eq!(decode("a+b%", true), "a b%");
        assert_eq!(decode("%zz%4", true), "%zz%4");
        assert_eq!(decode("%ff", true), "\u{fffd}");
    }

    #[test]
    fn queries_are_pairs() {
        let pairs: Vec<_> = query("a=1&&b&c=%26+d=").map(|(a, b)| (a.into_owned(), b.into_owned())).collect();
        let expected = [("a", "1"), ("b", ""), ("c", "& d=")];
        assert_eq!(pairs, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn encoding_leaves_unreserved_characters() {
        let mut out = String::new();
        encode_into("a-b_c.d~e/f gé", b"", &mut out);
        assert_eq!(out, "a-b_c.d~e%2Ff%20g%C3%A9");
    }
}
