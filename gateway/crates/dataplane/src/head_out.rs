//! Where heads are written to: HTTP/1 lines or HTTP/2 fields, straight into the output.

use sluice_h2::Head;
use sluice_wire::{Header, KnownHeader, enc};

/// A head being written. The HTTP/1 writer is the plain output vector: what it does compiles to appending.
pub(crate) trait HeadOut {
    /// The status of a response.
    fn status(&mut self, status: u16);
    /// A field; HTTP/1 keeps the name's case.
    fn field(&mut self, id: KnownHeader, name: &[u8], value: &[u8]);
    /// A field that is handed on under its own name.
    #[inline]
    fn handed_on(&mut self, h: &Header, bytes: &[u8]) {
        self.field(h.id, h.name.of(bytes), h.value.of(bytes));
    }
    /// A field whose value is put together by `fill`, which only appends.
    fn field_with(&mut self, id: KnownHeader, name: &[u8], fill: impl FnOnce(&mut Vec<u8>));
    /// Fields that are kept as HTTP/1 lines.
    fn lines(&mut self, lines: &[u8]);
    /// `content-length`.
    fn content_length(&mut self, length: u64);
    /// `Date`, as a line.
    fn date_line(&mut self, line: &[u8]);
}

impl HeadOut for Vec<u8> {
    #[inline]
    fn status(&mut self, status: u16) {
        enc::status_line(self, status);
    }

    #[inline]
    fn field(&mut self, _: KnownHeader, name: &[u8], value: &[u8]) {
        enc::header(self, name, value);
    }

    #[inline]
    fn field_with(&mut self, _: KnownHeader, name: &[u8], fill: impl FnOnce(&mut Self)) {
        self.extend_from_slice(name);
        self.extend_from_slice(b": ");
        fill(self);
        self.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn lines(&mut self, lines: &[u8]) {
        self.extend_from_slice(lines);
    }

    #[inline]
    fn content_length(&mut self, length: u64) {
        enc::content_length(self, length);
    }

    #[inline]
    fn date_line(&mut self, line: &[u8]) {
        self.extend_from_slice(line);
    }
}

impl HeadOut for Head<'_> {
    #[inline]
    fn status(&mut self, status: u16) {
        Head::status(self, status);
    }

    #[inline]
    fn field(&mut self, id: KnownHeader, name: &[u8], value: &[u8]) {
        Head::field(self, id, name, value);
    }

    #[inline]
    fn handed_on(&mut self, h: &Header, bytes: &[u8]) {
        if h.never_indexed {
            return self.never_indexed(h.id, h.name.of(bytes), h.value.of(bytes));
        }
        Head::field(self, h.id, h.name.of(bytes), h.value.of(bytes));
    }

    fn field_with(&mut self, id: KnownHeader, name: &[u8], fill: impl FnOnce(&mut Vec<u8>)) {
        Head::field_with(self, id, name, fill);
    }

    fn lines(&mut self, lines: &[u8]) {
        Head::lines(self, lines);
    }

    #[inline]
    fn content_length(&mut self, length: u64) {
        let (digits, start) = digits(length);
        self.known(KnownHeader::ContentLength, digits.get(start..).unwrap_or_default());
    }

    #[inline]
    fn date_line(&mut self, line: &[u8]) {
        let value = line.strip_prefix(b"Date: ").and_then(|l| l.strip_suffix(b"\r\n"));
        self.known(KnownHeader::Date, value.unwrap_or_default());
    }
}

/// A number in decimal, at the end of an array.
pub(crate) fn digits(number: u64) -> ([u8; 20], usize) {
    let (mut digits, mut start, mut rest) = ([b'0'; 20], 20, number);
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (rest % 10) as u8;
        rest /= 10;
        start -= 1;
        if rest == 0 {
            break;
        }
    }
    (digits, start)
}

#[cfg(test)]
mod tests {
    use super::digits;

    #[test]
    fn digits_are_those_of_the_number() {
        for n in [0, 7, 10, 187, 1_000_000, u64::MAX] {
            let (digits, start) = digits(n);
            assert_eq!(digits[start..], *n.to_string().as_bytes());
        }
    }
}
