//! A schema's own JSON, which outlives the heap it was parsed in.

use crate::decimal::Decimal;
use sluice_jsonpath::{Heap, Value, double_to_java, parse};
use std::fmt::Write as _;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// As Java prints it, and its value.
    Number(Box<str>, Decimal),
    Str(Box<str>),
    List(Vec<Json>),
    Map(Vec<(Box<str>, Json)>),
}

/// Values in one document.
const VALUES: usize = 200_000;

impl Json {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut heap = Heap::new(VALUES);
        let root = parse(text, &mut heap).map_err(|error| error.to_string())?;
        Ok(own(&heap, &root))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => entries.iter().find(|(known, _)| &**known == key).map(|(_, value)| value),
            _ => None,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_count(&self) -> Option<u64> {
        match self {
            Self::Number(_, number) => number.as_u64(),
            _ => None,
        }
    }

    /// What `token`s of a JSON pointer lead to.
    pub(crate) fn step(&self, token: &str) -> Option<&Self> {
        match self {
            Self::Map(_) => self.get(token),
            Self::List(items) => items.get(token.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// As JSON.
    pub(crate) fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(text, _) => out.push_str(text),
            Self::Str(text) => quote(text, out),
            Self::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    item.write(out);
                }
                out.push(']');
            }
            Self::Map(entries) => {
                out.push('{');
                for (at, (key, value)) in entries.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    quote(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// A text that is the same for equal values and for them only.
    pub(crate) fn canonical(&self, out: &mut String) {
        match self {
            Self::Number(_, number) => number.canonical(out),
            Self::List(items) => {
                out.push('[');
                for item in items {
                    item.canonical(out);
                    out.push(',');
                }
                out.push(']');
            }
            Self::Map(entries) => {
                let mut sorted: Vec<_> = entries.iter().collect();
                sorted.sort_by(|a, b| a.0.cmp(&b.0));
                out.push('{');
                for (key, value) in sorted {
                    quote(key, out);
                    out.push(':');
                    value.canonical(out);
                    out.push(',');
                }
                out.push('}');
            }
            _ => self.write(out),
        }
    }
}

fn own(heap: &Heap<'_>, value: &Value<'_>) -> Json {
    match value {
        Value::Null | Value::Opaque(_) => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Str(text) => Json::Str((&**text).into()),
        Value::List(id) => Json::List(heap.list(*id).items.iter().map(|item| own(heap, item)).collect()),
        Value::Map(id) => {
            let entries = heap.map(*id).entries();
            Json::Map(
                entries
                    .map(|(key, value)| (key.as_str().unwrap_or_default().into(), own(heap, value)))
                    .collect(),
            )
        }
        Value::Int(_) | Value::Long(_) | Value::BigInt(_) | Value::Double(_) | Value::Decimal(_) => {
            Json::Number(number_text(value).into(), Decimal::of(value))
        }
    }
}

/// A number as Java prints it.
pub(crate) fn number_text(value: &Value<'_>) -> String {
    let mut out = String::new();
    match value {
        Value::Int(number) => drop(write!(out, "{number}")),
        Value::Long(number) => drop(write!(out, "{number}")),
        Value::Double(number) => double_to_java(*number, &mut out),
        Value::BigInt(digits) | Value::Decimal(digits) => out.push_str(digits),
        _ => {}
    }
    out
}

/// A value of a request, as [`Json::canonical`] has it.
pub(crate) fn canonical(heap: &Heap<'_>, value: &Value<'_>, out: &mut String) {
    match value {
        Value::Null | Value::Opaque(_) => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Str(text) => quote(text, out),
        Value::List(id) => {
            out.push('[');
            for item in &heap.list(*id).items {
                canonical(heap, item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Map(id) => {
            let mut sorted: Vec<_> = heap.map(*id).entries().collect();
            sorted.sort_by(|a, b| a.0.as_str().cmp(&b.0.as_str()));
            out.push('{');
            for (key, value) in sorted {
                quote(key.as_str().unwrap_or_default(), out);
                out.push(':');
                canonical(heap, value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Int(_) | Value::Long(_) | Value::BigInt(_) | Value::Double(_) | Value::Decimal(_) => {
            Decimal::of(value).canonical(out);
        }
    }
}

/// A JSON string.
pub(crate) fn quote(text: &str, out: &mut String) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{0}'..='\u{1f}' => drop(write!(out, "\\u{:04X}", u32::from(char))),
            _ => out.push(char),
        }
    }
    out.push('"');
}
