//! Writing heads.

use sluice_wire::KnownHeader;
use sluice_wire::h2::{Encoder, FieldName};

/// A head being written: fields go straight into the socket's output.
pub struct Head<'a> {
    pub(crate) encoder: &'a mut Encoder,
    pub(crate) out: &'a mut Vec<u8>,
    /// For values that are put together before they are written.
    pub(crate) value: &'a mut Vec<u8>,
}

impl Head<'_> {
    /// `:status`.
    #[inline]
    pub fn status(&mut self, status: u16) {
        self.encoder.status(self.out, status);
    }

    /// A pseudo-header of a request.
    #[inline]
    pub fn pseudo(&mut self, name: FieldName, value: &[u8]) {
        self.encoder.pseudo(self.out, name, value);
    }

    /// A pseudo-header whose value is put together by `fill`.
    pub fn pseudo_with(&mut self, name: FieldName, fill: impl FnOnce(&mut Vec<u8>)) {
        self.value.clear();
        fill(self.value);
        self.encoder.pseudo(self.out, name, self.value);
    }

    /// A field whose value is put together by `fill`.
    pub fn field_with(&mut self, id: KnownHeader, name: &[u8], fill: impl FnOnce(&mut Vec<u8>)) {
        self.value.clear();
        fill(self.value);
        self.encoder.field(self.out, id, name, self.value);
    }

    /// A field whose name is known.
    #[inline]
    pub fn known(&mut self, id: KnownHeader, value: &[u8]) {
        self.encoder.known(self.out, id, value);
    }

    /// Any field; the name may be in any case.
    #[inline]
    pub fn field(&mut self, id: KnownHeader, name: &[u8], value: &[u8]) {
        self.encoder.field(self.out, id, name, value);
    }

    /// A field that whoever sent it wants nobody to index.
    pub fn never_indexed(&mut self, id: KnownHeader, name: &[u8], value: &[u8]) {
        self.encoder.never_indexed(self.out, id, name, value);
    }

    /// Fields that are kept as HTTP/1 lines.
    pub fn lines(&mut self, lines: &[u8]) {
        self::lines(self.encoder, self.out, lines);
    }

    /// A block prepared with [`sluice_wire::h2::literal`].
    #[inline]
    pub fn prepared(&mut self, block: &[u8]) {
        self.out.extend_from_slice(block);
    }
}

/// Fields from HTTP/1 lines.
pub(crate) fn lines(encoder: &mut Encoder, out: &mut Vec<u8>, lines: &[u8]) {
    for line in lines.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        let (name, value) = line.split_at_checked(colon).unwrap_or_default();
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        encoder.field(out, KnownHeader::from_name(name), name, value);
    }
}
