//! A document as YAML, in block style.

use serde_json::Value;
use std::fmt::Write as _;

/// Writes a document as YAML 1.2.
#[must_use]
pub fn write_yaml(document: &Value) -> String {
    let mut out = "---\n".to_owned();
    block(document, 0, &mut out);
    out
}

/// A value on lines of its own.
fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, value) in members {
                line_start(indent, out);
                self::key(key, indent, out);
                out.push(':');
                after(value, indent, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                line_start(indent, out);
                out.push('-');
                after(item, indent, out);
            }
        }
        other => {
            line_start(indent, out);
            flow(other, out);
            out.push('\n');
        }
    }
}

/// A key may stand before its colon up to this (YAML 1.2.2, section 7.4.2: 1,024 characters).
const IMPLICIT_KEY_MAX: usize = 1024;

/// A key, up to its colon; long ones on a line of their own.
fn key(key: &str, indent: usize, out: &mut String) {
    let start = out.len();
    text(key, out);
    if out.len() - start > IMPLICIT_KEY_MAX {
        out.insert_str(start, "? ");
        out.push('\n');
        line_start(indent, out);
    }
}

/// A value behind a key or a dash.
fn after(value: &Value, indent: usize, out: &mut String) {
    let nested = match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if nested {
        out.push('\n');
        block(value, indent + 2, out);
    } else {
        out.push(' ');
        flow(value, out);
        out.push('\n');
    }
}

fn line_start(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// A scalar, or an empty collection.
fn flow(value: &Value, out: &mut String) {
    match value {
        Value::String(value) => text(value, out),
        other => drop(write!(out, "{other}")),
    }
}

/// Plain where no reader could take it for something else, else as JSON quotes it, which YAML 1.2 reads.
fn text(text: &str, out: &mut String) {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'.'))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if plain {
        out.push_str(text);
    } else {
        let _ = write!(out, "{}", Value::from(text));
    }
}

#[cfg(test)]
mod tests {
    use super::write_yaml;
    use serde_json::json;

    #[test]
    fn keys_of_any_length_are_read_back() {
        for length in [1000, 1022, 1023, 1024, 1025, 5000] {
            for key in ["k".repeat(length), "k:".repeat(length / 2)] {
                let document = json!({ "a": { key.clone(): { "b": [1, { key: "c" }] }, "d": 1 } });
                let text = write_yaml(&document);
                assert_eq!(crate::read(text.as_bytes()).as_ref(), Ok(&document), "{length}");
            }
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let document = json!({
            "plain": "text", "quoted": "a: b # c", "number": "12", "bool": "true", "real": 1.5, "none": null,
            "empty": {}, "none_too": [], "200": { "/pets/{id}": ["a", { "b": "two\nlines", "c": [1, [2]] }] },
            "unicode": "é\u{2028}\u{1}", "spaces": "  x "
        });
        let text = write_yaml(&document);
        assert_eq!(crate::read(text.as_bytes()).unwrap(), document, "{text}");
    }
}
