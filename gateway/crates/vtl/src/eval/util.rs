//! Helpers that need no evaluator: `$util`'s conversions, Java's statics and hashes.

use super::{Fault, Run};
use sluice_jsonpath::{Text, Value};
use std::fmt::Write as _;
use std::ops::Range;

/// A range of a list or string, if it is within.
pub(super) fn bounds(from: i32, to: i32, len: usize) -> Option<Range<usize>> {
    let (from, to) = (usize::try_from(from).ok()?, usize::try_from(to).ok()?);
    (from <= to && to <= len).then_some(from..to)
}

/// `StringEscapeUtils.escapeJavaScript` of Commons Lang.
pub(super) fn escape_javascript(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for char in text.chars() {
        match char {
            '\'' | '"' | '\\' | '/' => {
                out.push('\\');
                out.push(char);
            }
            '\u{8}' => out.push_str("\\b"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            ' '..='\u{7f}' => out.push(char),
            _ => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04X}");
                }
            }
        }
    }
    out
}

/// `URLEncoder.encode(text, "UTF-8")`.
pub(super) fn url_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// `URLDecoder.decode(text, "UTF-8")`.
pub(super) fn url_decode(text: &str) -> Run<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
                    return Err(Fault::failed("urlDecode: expected two hexadecimal digits after `%`"));
                };
                out.push((high * 16 + low) as u8);
            }
            _ => out.push(byte),
        }
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 (RFC 4648 section 4).
#[must_use]
pub fn base64_encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = (word >> (18 - 6 * place)) & 63;
            let char = BASE64.get(digit as usize).copied().filter(|_| place <= chunk.len());
            out.push(char.map_or('=', char::from));
        }
    }
    out
}

/// Decodes base64 as Java's MIME-tolerant decoders do: other characters are skipped, padding ends the text.
pub(super) fn base64_decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut word, mut bits) = (0_u32, 0);
    for byte in text.bytes().take_while(|byte| *byte != b'=') {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => continue,
        };
        word = (word << 6 | u32::from(digit)) & 0xFFFF;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits) as u8);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `hashCode` of what is neither list nor map.
pub(super) fn scalar_hash(value: &Value<'_>) -> i32 {
    let long = |bits: u64| (bits ^ (bits >> 32)) as i32;
    match value {
        Value::Bool(true) => 1231,
        Value::Bool(false) => 1237,
        Value::Int(number) => *number,
        Value::Long(number) => long(*number as u64),
        Value::Double(number) => long(number.to_bits()),
        Value::Str(text) | Value::BigInt(text) | Value::Decimal(text) => {
            text.encode_utf16().fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
        }
        Value::Null | Value::List(_) | Value::Map(_) | Value::Opaque(_) => 0,
    }
}

/// Methods of numbers: conversions, and the statics that templates reach through any number (`$n.parseInt("5")`).
pub(super) fn number_method<'a>(value: &Value<'a>, name: &str, args: &[Value<'a>]) -> Run<Option<Value<'a>>> {
    let double = value.as_double().unwrap_or(0.0);
    let whole = value.as_integer().unwrap_or(double as i128);
    let is_double = matches!(value, Value::Double(_));
    let bad = |text: &str| Fault::failed(format!("NumberFormatException: For input string: \"{text}\""));
    Ok(Some(match (name, args) {
        ("intValue", []) => Value::Int(if is_double { double as i32 } else { whole as i32 }),
        ("longValue", []) => Value::Long(if is_double { double as i64 } else { whole as i64 }),
        ("shortValue", []) => Value::Int(i32::from(whole as i16)),
        ("byteValue", []) => Value::Int(i32::from(whole as i8)),
        ("doubleValue", []) => Value::Double(double),
        ("isNaN", []) if is_double => Value::Bool(double.is_nan()),
        ("isInfinite", []) if is_double => Value::Bool(double.is_infinite()),
        ("parseInt", [Value::Str(text)]) if matches!(value, Value::Int(_)) => {
            Value::Int(text.parse().map_err(|_| bad(text))?)
        }
        ("parseLong", [Value::Str(text)]) if matches!(value, Value::Long(_)) => {
            Value::Long(text.parse().map_err(|_| bad(text))?)
        }
        ("parseDouble", [Value::Str(text)]) if is_double => {
            Value::Double(text.trim().parse().map_err(|_| bad(text))?)
        }
        ("valueOf", [Value::Str(text)]) => match value {
            Value::Int(_) => Value::Int(text.parse().map_err(|_| bad(text))?),
            Value::Long(_) => Value::Long(text.parse().map_err(|_| bad(text))?),
            Value::Double(_) => Value::Double(text.trim().parse().map_err(|_| bad(text))?),
            _ => return Ok(None),
        },
        ("toString", [Value::Int(number)]) => Value::text(number.to_string()),
        ("toHexString", [Value::Int(number)]) => Value::text(format!("{number:x}")),
        ("toBinaryString", [Value::Int(number)]) => Value::text(format!("{number:b}")),
        ("max", [Value::Int(a), Value::Int(b)]) if matches!(value, Value::Int(_)) => Value::Int(*a.max(b)),
        ("min", [Value::Int(a), Value::Int(b)]) if matches!(value, Value::Int(_)) => Value::Int(*a.min(b)),
        ("sum", [Value::Int(a), Value::Int(b)]) if matches!(value, Value::Int(_)) => {
            Value::Int(a.wrapping_add(*b))
        }
        _ => return Ok(None),
    }))
}

/// Java's `trim`: everything up to and including the blank.
pub(super) fn trim<'a>(text: &Text<'a>) -> Text<'a> {
    let blank = |char: char| char <= ' ';
    match text {
        Text::Borrowed(text) => Text::Borrowed(text.trim_matches(blank)),
        Text::Shared(shared) => shared.trim_matches(blank).to_owned().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{base64_decode, base64_encode, escape_javascript, url_decode, url_encode};

    #[test]
    fn conversions_are_javas() {
        assert_eq!(escape_javascript("it's \"a/b\"\\\n é😀"), r#"it\'s \"a\/b\"\\\n \u00E9\uD83D\uDE00"#);
        assert_eq!(url_encode("a b&c=é*~"), "a+b%26c%3D%C3%A9*%7E");
        assert_eq!(url_decode("a+b%26c%3D%C3%A9").unwrap(), "a b&c=é");
        assert!(url_decode("%4").is_err());
        for (text, coded) in [("", ""), ("a", "YQ=="), ("ab", "YWI="), ("abc", "YWJj"), ("é?>", "w6k/Pg==")]
        {
            assert_eq!(base64_encode(text.as_bytes()), coded);
            assert_eq!(base64_decode(coded), text);
        }
    }
}
