//! Values into text: as JSON, and as Java's `toString` would have it.

use crate::MAX_DEPTH;
use crate::heap::{Heap, ListId, ListKind, MapId};
use crate::number::double_to_java;
use crate::value::Value;
use std::fmt::Write as _;

/// Why a value could not be rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// The output is as long as it may be.
    Full,
    /// The value nests too deeply, or contains itself.
    TooDeep,
}

/// Output of bounded length.
#[derive(Debug)]
pub struct Out {
    text: String,
    limit: usize,
}

impl Out {
    /// Empty output that may become so many bytes long.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { text: String::new(), limit }
    }

    /// Makes room ahead, within the limit.
    pub fn reserve(&mut self, bytes: usize) {
        self.text.reserve(bytes.min(self.limit.saturating_sub(self.text.len())));
    }

    /// Appends.
    ///
    /// # Errors
    /// When the output would become too long.
    pub fn push(&mut self, text: &str) -> Result<(), WriteError> {
        if text.len() > self.limit - self.text.len() {
            return Err(WriteError::Full);
        }
        self.text.push_str(text);
        Ok(())
    }

    /// What was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What was written, taken out.
    #[must_use]
    pub fn into_string(self) -> String {
        self.text
    }

    /// How many more bytes fit.
    #[must_use]
    pub const fn room(&self) -> usize {
        self.limit - self.text.len()
    }

    fn with(&mut self, write: impl FnOnce(&mut String)) -> Result<(), WriteError> {
        write(&mut self.text);
        if self.text.len() > self.limit {
            self.text.truncate(self.text.floor_char_boundary(self.limit));
            return Err(WriteError::Full);
        }
        Ok(())
    }
}

/// Which characters a JSON string escapes.
#[derive(Clone, Copy)]
enum Style {
    /// As Jackson: what JSON demands.
    Jackson,
    /// As json-smart's `toString`: also `/`, DEL to U+009F and U+2000 to U+20FF.
    Smart,
}

/// Writes a value as compact JSON, escaped as Jackson escapes.
///
/// # Errors
/// When it is too long or too deep.
pub fn write_json(heap: &Heap<'_>, value: &Value<'_>, out: &mut Out) -> Result<(), WriteError> {
    json(heap, value, out, Style::Jackson, 0)
}

/// Writes a value as its `toString()` in Java.
///
/// # Errors
/// When it is too long or too deep.
pub fn write_java(heap: &Heap<'_>, value: &Value<'_>, out: &mut Out) -> Result<(), WriteError> {
    java(heap, value, out, 0)
}

fn scalar(value: &Value<'_>, out: &mut Out) -> Result<(), WriteError> {
    match value {
        Value::Bool(true) => out.push("true"),
        Value::Bool(false) => out.push("false"),
        Value::Int(number) => out.with(|text| {
            let _ = write!(text, "{number}");
        }),
        Value::Long(number) => out.with(|text| {
            let _ = write!(text, "{number}");
        }),
        Value::Double(number) => out.with(|text| double_to_java(*number, text)),
        Value::BigInt(digits) | Value::Decimal(digits) | Value::Str(digits) => out.push(digits),
        Value::Null | Value::List(_) | Value::Map(_) | Value::Opaque(_) => out.push("null"),
    }
}

fn java(heap: &Heap<'_>, value: &Value<'_>, out: &mut Out, depth: usize) -> Result<(), WriteError> {
    if depth > MAX_DEPTH {
        return Err(WriteError::TooDeep);
    }
    match value {
        Value::List(id) => java_list(heap, *id, out, depth),
        Value::Map(id) => java_map(heap, *id, out, depth),
        _ => scalar(value, out),
    }
}

fn java_list(heap: &Heap<'_>, id: ListId, out: &mut Out, depth: usize) -> Result<(), WriteError> {
    let list = heap.list(id);
    match list.kind {
        ListKind::Json => return json_list(heap, id, out, Style::Smart, depth),
        // The address differs from run to run in Java; nobody can depend on it.
        ListKind::Array => return out.push("[Ljava.lang.String;@0"),
        ListKind::Java | ListKind::Entry => {}
    }
    let entry = list.kind == ListKind::Entry;
    if !entry {
        out.push("[")?;
    }
    for (position, item) in list.items.iter().enumerate() {
        if position > 0 {
            out.push(if entry { "=" } else { ", " })?;
        }
        match item {
            Value::List(inner) if *inner == id => out.push("(this Collection)")?,
            _ => java(heap, item, out, depth + 1)?,
        }
    }
    if entry { Ok(()) } else { out.push("]") }
}

fn java_map(heap: &Heap<'_>, id: MapId, out: &mut Out, depth: usize) -> Result<(), WriteError> {
    out.push("{")?;
    for (position, (key, value)) in heap.map(id).ordered().enumerate() {
        if position > 0 {
            out.push(", ")?;
        }
        java(heap, key, out, depth + 1)?;
        out.push("=")?;
        match value {
            Value::Map(inner) if *inner == id => out.push("(this Map)")?,
            _ => java(heap, value, out, depth + 1)?,
        }
    }
    out.push("}")
}

fn json(
    heap: &Heap<'_>,
    value: &Value<'_>,
    out: &mut Out,
    style: Style,
    depth: usize,
) -> Result<(), WriteError> {
    if depth > MAX_DEPTH {
        return Err(WriteError::TooDeep);
    }
    match value {
        Value::List(id) => json_list(heap, *id, out, style, depth),
        Value::Map(id) => json_map(heap, *id, out, style, depth),
        Value::Str(text) => json_string(text, out, style),
        // JSON has no word for these.
        Value::Double(number) if !number.is_finite() => out.push("null"),
        _ => scalar(value, out),
    }
}

fn json_list(
    heap: &Heap<'_>,
    id: ListId,
    out: &mut Out,
    style: Style,
    depth: usize,
) -> Result<(), WriteError> {
    out.push("[")?;
    for (position, item) in heap.list(id).items.iter().enumerate() {
        if position > 0 {
            out.push(",")?;
        }
        json(heap, item, out, style, depth + 1)?;
    }
    out.push("]")
}

fn json_map(heap: &Heap<'_>, id: MapId, out: &mut Out, style: Style, depth: usize) -> Result<(), WriteError> {
    out.push("{")?;
    for (position, (key, value)) in heap.map(id).ordered().enumerate() {
        if position > 0 {
            out.push(",")?;
        }
        match key {
            Value::Str(text) => json_string(text, out, style)?,
            _ => {
                out.push("\"")?;
                scalar(key, out)?;
                out.push("\"")?;
            }
        }
        out.push(":")?;
        json(heap, value, out, style, depth + 1)?;
    }
    out.push("}")
}

/// Writes a string with its quotes.
fn json_string(text: &str, out: &mut Out, style: Style) -> Result<(), WriteError> {
    out.push("\"")?;
    escape(text, out, style)?;
    out.push("\"")
}

/// Writes a string's content as Jackson escapes it, without quotes.
///
/// # Errors
/// When it is too long.
pub fn escape_jackson(text: &str, out: &mut Out) -> Result<(), WriteError> {
    escape(text, out, Style::Jackson)
}

fn escape(text: &str, out: &mut Out, style: Style) -> Result<(), WriteError> {
    // Most strings have nothing to escape, which bytes tell without decoding characters.
    let is_plain = |byte: u8| match style {
        Style::Jackson => byte >= b' ' && byte != b'"' && byte != b'\\',
        Style::Smart => matches!(byte, b' '..0x7f) && byte != b'"' && byte != b'\\' && byte != b'/',
    };
    // Without a way out in between, so that many bytes are looked at at once.
    if text.bytes().fold(true, |all, byte| all & is_plain(byte)) {
        return out.push(text);
    }
    let smart = matches!(style, Style::Smart);
    let mut piece = 0;
    for (at, char) in text.char_indices() {
        let short = match char {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            '\u{8}' => "\\b",
            '\u{c}' => "\\f",
            '/' if smart => "\\/",
            '\0'..'\u{20}' => "",
            '\u{7f}'..='\u{9f}' | '\u{2000}'..='\u{20ff}' if smart => "",
            _ => continue,
        };
        out.push(text.get(piece..at).unwrap_or_default())?;
        piece = at + char.len_utf8();
        if short.is_empty() {
            out.with(|text| {
                let _ = write!(text, "\\u{:04X}", u32::from(char));
            })?;
        } else {
            out.push(short)?;
        }
    }
    out.push(text.get(piece..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{Out, WriteError, write_java, write_json};
    use crate::heap::{Heap, ListKind};
    use crate::read::parse;
    use crate::value::Value;

    fn both(text: &str) -> (String, String) {
        let mut heap = Heap::new(1000);
        let value = parse(text, &mut heap).unwrap();
        let (mut java, mut json) = (Out::new(1000), Out::new(1000));
        write_java(&heap, &value, &mut java).unwrap();
        write_json(&heap, &value, &mut json).unwrap();
        (java.into_string(), json.into_string())
    }

    #[test]
    fn objects_print_as_java_maps_and_arrays_in_them_as_json() {
        let (java, json) = both(r#"{"a":1.0,"b":[1,"x/y",{"c":null}],"d":{"e":null}}"#);
        assert_eq!(java, r#"{a=1.0, b=[1,"x\/y",{"c":null}], d={e=null}}"#);
        assert_eq!(json, r#"{"a":1.0,"b":[1,"x/y",{"c":null}],"d":{"e":null}}"#);
    }

    #[test]
    fn escapes_differ_between_the_two() {
        let (java, json) = both("[\"\\u0001\\u001f\u{7f}\u{2028}é\\\"\"]");
        assert_eq!(java, "[\"\\u0001\\u001F\\u007F\\u2028é\\\"\"]");
        assert_eq!(json, "[\"\\u0001\\u001F\u{7f}\u{2028}é\\\"\"]");
    }

    #[test]
    fn what_contains_itself_ends() {
        let mut heap = Heap::new(100);
        let outer = heap.new_list(ListKind::Java, Vec::new()).unwrap();
        let inner = heap.new_list(ListKind::Java, vec![Value::List(outer)]).unwrap();
        heap.push(outer, Value::List(inner)).unwrap();
        let mut out = Out::new(100_000);
        assert_eq!(write_java(&heap, &Value::List(outer), &mut out), Err(WriteError::TooDeep));
    }

    #[test]
    fn output_is_bounded() {
        let heap = Heap::new(0);
        let mut out = Out::new(5);
        assert_eq!(write_java(&heap, &Value::text("123456"), &mut out), Err(WriteError::Full));
        assert_eq!(write_java(&heap, &Value::Int(1_234_567), &mut out), Err(WriteError::Full));
        assert_eq!(out.as_str(), "12345");
    }
}
