//! YAML events to a JSON value.
//!
//! Scalars are those of YAML 1.2's core schema. Keys are texts, whatever they look like: `200:` is the member "200". Aliases
//! repeat what they name, but all of a document together stays within a budget, so that a few lines cannot become
//! gigabytes.

use crate::read::{DEPTH_MAX, ReadError};
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Number, Value};
use std::borrow::Cow;
use std::collections::HashMap;

/// Values in a document, those that aliases repeat included.
const VALUES_MAX: usize = 1_000_000;

/// A collection that is being read.
enum Open {
    List(Vec<Value>, usize),
    /// With the key whose value comes next.
    Map(Map<String, Value>, Option<String>, usize),
}

#[derive(Default)]
struct Reader {
    open: Vec<Open>,
    anchors: HashMap<usize, (Value, usize)>,
    values: usize,
    done: Option<Value>,
}

pub(crate) fn read(text: &str) -> Result<Value, ReadError> {
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| ReadError(error.to_string()))?;
        if reader.done.is_some() && matches!(event, Event::DocumentStart(_)) {
            return Err(at(&span, "a second document"));
        }
        reader.take(event).map_err(|why| at(&span, why))?;
    }
    reader.done.ok_or_else(|| ReadError("the document is empty".to_owned()))
}

fn at(span: &Span, why: &str) -> ReadError {
    ReadError(format!("line {}, column {}: {why}", span.start.line(), span.start.col() + 1))
}

impl Reader {
    fn take(&mut self, event: Event<'_>) -> Result<(), &'static str> {
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
            Event::Scalar(text, style, anchor, tag) => {
                if self.wants_key() {
                    return self.key(text.into_owned());
                }
                self.put(scalar(&text, style, tag.as_ref()), anchor, 1)
            }
            Event::SequenceStart(anchor, _) => self.start(Open::List(Vec::new(), anchor)),
            Event::MappingStart(anchor, _) => self.start(Open::Map(Map::new(), None, anchor)),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => {
                let (value, size) =
                    self.anchors.get(&anchor).cloned().ok_or("an alias of what is not complete")?;
                if self.wants_key() {
                    return match value {
                        Value::String(text) => self.key(text),
                        _ => Err("a key that is no text"),
                    };
                }
                self.put(value, 0, size)
            }
        }
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Map(_, None, _)))
    }

    fn key(&mut self, text: String) -> Result<(), &'static str> {
        if let Some(Open::Map(members, key, _)) = self.open.last_mut() {
            if members.contains_key(&text) {
                return Err("a key that is there twice");
            }
            *key = Some(text);
        }
        Ok(())
    }

    fn start(&mut self, open: Open) -> Result<(), &'static str> {
        if self.wants_key() {
            return Err("a key that is no text");
        }
        if self.open.len() >= DEPTH_MAX {
            return Err("the document is nested too deeply");
        }
        self.open.push(open);
        Ok(())
    }

    fn end(&mut self) -> Result<(), &'static str> {
        let (value, anchor) = match self.open.pop() {
            Some(Open::List(items, anchor)) => (Value::Array(items), anchor),
            Some(Open::Map(members, _, anchor)) => (Value::Object(members), anchor),
            None => return Err("an end without a beginning"),
        };
        let size = if anchor == 0 { 1 } else { size(&value) };
        // Its parts were counted as they came.
        self.values = self.values.saturating_sub(size.saturating_sub(1));
        self.put(value, anchor, size)
    }

    /// `size`: the values in it, itself included, that are not counted yet.
    fn put(&mut self, value: Value, anchor: usize, size: usize) -> Result<(), &'static str> {
        self.values += size;
        if self.values > VALUES_MAX {
            return Err("the document has too many values");
        }
        if anchor != 0 {
            // What is kept for aliases takes memory, too.
            self.values += size;
            self.anchors.insert(anchor, (value.clone(), size));
        }
        match self.open.last_mut() {
            None => self.done = Some(value),
            Some(Open::List(items, _)) => items.push(value),
            Some(Open::Map(members, key, _)) => {
                let key = key.take().ok_or("a value without a key")?;
                members.insert(key, value);
            }
        }
        Ok(())
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Cow<'_, Tag>>) -> Value {
    let is_text = tag.is_some_and(|tag| tag.suffix == "str");
    if style != ScalarStyle::Plain || is_text {
        return Value::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

/// Decimal, hexadecimal, octal, and decimals with a point. What JSON has no number for stays a text.
fn number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok().map(Number::from);
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return u64::from_str_radix(octal, 8).ok().map(Number::from);
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || !digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
        || !digits.bytes().any(|b| b.is_ascii_digit())
    {
        return None;
    }
    let plain = text.strip_prefix('+').unwrap_or(text);
    if let Ok(whole) = plain.parse::<i64>() {
        return Some(Number::from(whole));
    }
    plain.parse::<u64>().ok().map(Number::from).or_else(|| Number::from_f64(plain.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::read;
    use serde_json::json;

    #[test]
    fn scalars_are_those_of_the_core_schema_and_keys_are_texts() {
        let text = "a: 1\nb: '1'\nc: 1.5\nd: true\ne: ~\nf: yes\ng: 2012-10-17\n200: {x: [1, two, -3, 0x1f]}\nh: |\n  a\n  b\ni: !!str 5\n";
        assert_eq!(
            read(text).unwrap(),
            json!({ "a": 1, "b": "1", "c": 1.5, "d": true, "e": null, "f": "yes", "g": "2012-10-17",
                    "200": { "x": [1, "two", -3, 31] }, "h": "a\nb\n", "i": "5" })
        );
    }

    #[test]
    fn aliases_repeat_within_bounds() {
        let text = "base: &b {type: string, list: [1, 2]}\nagain: *b\n";
        let base = json!({ "type": "string", "list": [1, 2] });
        assert_eq!(read(text).unwrap(), json!({ "base": base, "again": base }));
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..9 {
            let before = format!("*a{}", n - 1);
            bomb.push_str(&format!("a{n}: &a{n} [{}]\n", [before.as_str(); 10].join(", ")));
        }
        assert!(read(&bomb).unwrap_err().to_string().contains("too many values"));
        assert!(read("a: &a [*a]").is_err());
    }

    #[test]
    fn what_is_no_document_is_told_with_its_place() {
        for (text, told) in [
            ("", "empty"),
            ("a: 1\na: 2\n", "line 2, column 1: a key that is there twice"),
            ("? [a]\n: b\n", "no text"),
            ("a: [", "line"),
            ("--- 1\n--- 2\n", "second document"),
            (&"[".repeat(100), "too deeply"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
