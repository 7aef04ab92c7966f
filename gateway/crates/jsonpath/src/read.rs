//! JSON text into a heap (RFC 8259), once per body.

use crate::MAX_DEPTH;
use crate::heap::{Heap, ListKind, MapKind, TooManyValues};
use crate::number::number;
use crate::text::Text;
use crate::value::Value;
use std::fmt;

/// Why a text is not JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What would have been right.
    pub expected: &'static str,
    /// What was there.
    pub found: String,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, expected, found } = self;
        write!(f, "{line}:{column}: expected {expected}, found {found}")
    }
}

impl std::error::Error for JsonError {}

/// Parses a JSON text; its lists and maps live in the heap.
///
/// # Errors
/// When the text is not JSON, nests deeper than [`MAX_DEPTH`], or has more values than the heap has room for.
pub fn parse<'a>(text: &'a str, heap: &mut Heap<'a>) -> Result<Value<'a>, JsonError> {
    let mut reader = Reader { text, at: 0, heap, scratch: Vec::new() };
    let parsed = reader.document();
    parsed.map_err(|expected| reader.error(expected))
}

struct Reader<'a, 'h> {
    text: &'a str,
    at: usize,
    heap: &'h mut Heap<'a>,
    /// Elements of the lists being read: one buffer, so that each list is allocated once at its size.
    scratch: Vec<Value<'a>>,
}

type Read<T> = Result<T, &'static str>;

const TOO_MANY: &str = "fewer values";

impl<'a> Reader<'a, '_> {
    fn document(&mut self) -> Read<Value<'a>> {
        let value = self.value(0)?;
        self.blank();
        if self.at == self.text.len() { Ok(value) } else { Err("the end of the text") }
    }

    fn error(&self, expected: &'static str) -> JsonError {
        let before = self.text.get(..self.at).unwrap_or_default();
        let found = match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(char) => format!("{char:?}"),
            None => "the end of the text".to_owned(),
        };
        JsonError {
            line: 1 + before.matches('\n').count(),
            column: 1 + before.rsplit('\n').next().unwrap_or_default().chars().count(),
            expected,
            found,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Read<Value<'a>> {
        if self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            self.at += word.len();
            return Ok(value);
        }
        Err("a JSON value")
    }

    fn value(&mut self, depth: usize) -> Read<Value<'a>> {
        self.blank();
        match self.peek() {
            Some(b'{') if depth < MAX_DEPTH => self.object(depth),
            Some(b'[') if depth < MAX_DEPTH => self.array(depth),
            Some(b'{' | b'[') => Err("less nesting (256 levels)"),
            Some(b'"') => self.string().map(Value::Str),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err("a JSON value"),
        }
    }

    fn object(&mut self, depth: usize) -> Read<Value<'a>> {
        self.at += 1;
        let id = self.heap.new_map(MapKind::Linked).map_err(|TooManyValues| TOO_MANY)?;
        self.blank();
        if self.take(b'}') {
            return Ok(Value::Map(id));
        }
        loop {
            self.blank();
            if self.peek() != Some(b'"') {
                return Err("a string as key");
            }
            let key = self.string()?;
            self.blank();
            if !self.take(b':') {
                return Err("`:`");
            }
            let value = self.value(depth + 1)?;
            self.heap.put(id, Value::Str(key), value).map_err(|TooManyValues| TOO_MANY)?;
            self.blank();
            if self.take(b'}') {
                return Ok(Value::Map(id));
            }
            if !self.take(b',') {
                return Err("`,` or `}`");
            }
        }
    }

    fn array(&mut self, depth: usize) -> Read<Value<'a>> {
        self.at += 1;
        let start = self.scratch.len();
        self.blank();
        if !self.take(b']') {
            loop {
                let value = self.value(depth + 1)?;
                self.scratch.push(value);
                self.blank();
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return Err("`,` or `]`");
                }
            }
        }
        let items = self.scratch.split_off(start);
        self.heap.new_list(ListKind::Json, items).map(Value::List).map_err(|TooManyValues| TOO_MANY)
    }

    fn digits(&mut self) -> Read<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err("a digit") } else { Ok(()) }
    }

    fn number(&mut self) -> Read<Value<'a>> {
        let start = self.at;
        self.take(b'-');
        if self.take(b'0') {
            if matches!(self.peek(), Some(b'0'..=b'9')) {
                return Err("no digit after a leading zero");
            }
        } else {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        self.text.get(start..self.at).and_then(number).ok_or("a number")
    }

    /// A string; borrowed from the text unless it has escapes.
    fn string(&mut self) -> Read<Text<'a>> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let text = self.text.get(start..self.at).ok_or("a string")?;
                    self.at += 1;
                    return Ok(Text::Borrowed(text));
                }
                Some(b'\\') => return self.escaped(start),
                Some(byte) if byte >= 0x20 => self.at += 1,
                _ => return Err("a closing quote (control characters must be escaped)"),
            }
        }
    }

    fn escaped(&mut self, start: usize) -> Read<Text<'a>> {
        let mut out = String::new();
        let mut piece = start;
        loop {
            match self.peek() {
                Some(b'"') => {
                    out.push_str(self.text.get(piece..self.at).ok_or("a string")?);
                    self.at += 1;
                    return Ok(out.into());
                }
                Some(b'\\') => {
                    out.push_str(self.text.get(piece..self.at).ok_or("a string")?);
                    self.at += 1;
                    out.push(self.escape()?);
                    piece = self.at;
                }
                Some(byte) if byte >= 0x20 => self.at += 1,
                _ => return Err("a closing quote (control characters must be escaped)"),
            }
        }
    }

    fn escape(&mut self) -> Read<char> {
        let byte = self.peek().ok_or("an escape sequence")?;
        let char = match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err("an escape sequence"),
        };
        self.at += 1;
        Ok(char)
    }

    /// After `\u`. A lone surrogate, which UTF-8 cannot hold, becomes U+FFFD.
    fn unicode(&mut self) -> Read<char> {
        let first = self.hex4()?;
        if !(0xD800..0xDC00).contains(&first) {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let here = self.at;
        if self.take(b'\\') && self.take(b'u') {
            let second = self.hex4()?;
            if (0xDC00..0xE000).contains(&second) {
                let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
        self.at = here;
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hex4(&mut self) -> Read<u32> {
        let digits = self.text.get(self.at..self.at + 4).ok_or("four hexadecimal digits")?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("four hexadecimal digits");
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).map_err(|_| "four hexadecimal digits")
    }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::heap::Heap;
    use crate::write::{Out, write_json};

    fn round(text: &str) -> Result<String, String> {
        let mut heap = Heap::new(1000);
        let value = parse(text, &mut heap).map_err(|error| error.to_string())?;
        let mut out = Out::new(10_000);
        write_json(&heap, &value, &mut out).map_err(|error| format!("{error:?}"))?;
        Ok(out.into_string())
    }

    #[test]
    fn order_duplicates_and_escapes() {
        for (text, rendered) in [
            (r#" { "b" : 1 , "a" : [ ] , "b" : 2 } "#, r#"{"b":2,"a":[]}"#),
            (r#""\u00e9\ud83d\ude00\/\n\u0001\ud800x""#, "\"é😀/\\n\\u0001\u{fffd}x\""),
            ("[1.0,1e5,1.10,-0,12345678901234567890]", "[1.0,100000.0,1.1,0,12345678901234567890]"),
            ("[true,false,null]", "[true,false,null]"),
        ] {
            assert_eq!(round(text).unwrap(), rendered);
        }
    }

    #[test]
    fn faults_have_a_place_and_an_expectation() {
        for (text, message) in [
            ("", "1:1: expected a JSON value, found the end of the text"),
            ("{\n \"a\" 1}", "2:6: expected `:`, found '1'"),
            ("[1,]", "1:4: expected a JSON value, found ']'"),
            ("[01]", "1:3: expected no digit after a leading zero, found '1'"),
            ("{} x", "1:4: expected the end of the text, found 'x'"),
            (r#""\x""#, "1:3: expected an escape sequence, found 'x'"),
            (r#""\u12é""#, "1:4: expected four hexadecimal digits, found '1'"),
        ] {
            assert_eq!(round(text).unwrap_err(), message);
        }
    }

    #[test]
    fn nesting_and_size_are_bounded() {
        assert!(round(&"[".repeat(100_000)).unwrap_err().contains("less nesting"));
        assert!(round(&format!("[{}1]", "1,".repeat(2000))).unwrap_err().contains("fewer values"));
    }
}
