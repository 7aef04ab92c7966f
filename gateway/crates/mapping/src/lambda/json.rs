//! JSON as it is written into events.

use sluice_vtl::ContextValue;

/// An object or array in the making; commas and brackets are its business.
pub(crate) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// Nothing stands between the last bracket and here.
    first: bool,
}

impl<'o> Writer<'o> {
    /// Begins an object.
    pub(crate) fn object(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    fn comma(&mut self) {
        if !std::mem::replace(&mut self.first, false) {
            self.out.push(b',');
        }
    }

    pub(crate) fn name(&mut self, name: &str) {
        self.comma();
        string(self.out, name);
        self.out.push(b':');
    }

    pub(crate) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        string(self.out, value);
    }

    pub(crate) fn raw(&mut self, name: &str, json: &str) {
        self.name(name);
        self.out.extend_from_slice(json.as_bytes());
    }

    /// A variable; `null` where it has no value.
    pub(crate) fn value(&mut self, name: &str, value: Option<ContextValue<'_>>) {
        match value {
            None => self.raw(name, "null"),
            Some(ContextValue::Str(text)) => self.text(name, text),
            Some(ContextValue::Long(number)) => self.raw(name, &number.to_string()),
            Some(ContextValue::Json(json)) => self.raw(name, json),
        }
    }

    pub(crate) fn texts<'t>(&mut self, name: &str, values: impl Iterator<Item = &'t str>) {
        self.name(name);
        self.out.push(b'[');
        for (at, value) in values.enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            string(self.out, value);
        }
        self.out.push(b']');
    }

    /// An object within.
    pub(crate) fn inner(&mut self, name: &str, fill: impl FnOnce(&mut Writer<'_>)) {
        self.name(name);
        let mut inner = Writer::object(self.out);
        fill(&mut inner);
        inner.end();
    }

    pub(crate) fn end(self) {
        self.out.push(b'}');
    }
}

/// A string with its quotes (RFC 8259 section 7).
fn string(out: &mut Vec<u8>, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut plain_from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..0x20 => b'u',
            _ => continue,
        };
        out.extend_from_slice(bytes.get(plain_from..at).unwrap_or_default());
        plain_from = at + 1;
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            let digit = |nibble: u8| DIGITS.get(usize::from(nibble & 15)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'0', b'0', digit(byte >> 4), digit(*byte)]);
        }
    }
    out.extend_from_slice(bytes.get(plain_from..).unwrap_or_default());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped() {
        let mut out = Vec::new();
        string(&mut out, "a\"b\\c\n\r\t\u{0}\u{1f}é\u{1F600}");
        assert_eq!(String::from_utf8(out).unwrap(), "\"a\\\"b\\\\c\\n\\r\\t\\u0000\\u001fé\u{1F600}\"");
    }
}
