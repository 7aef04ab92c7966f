//! Fields to header blocks.
//!
//! What is worth a place in the table is decided by sight: a field enters it when it is written for the second time while
//! a small filter still remembers the first. So values that never repeat (ids, lengths) cost one hash and no eviction, and
//! `Date` enters once a second. Credentials are never indexed (RFC 7541 section 7.1.3).
//!
//! Only what enters the table is Huffman-coded: for text that is sent once the coding costs more than the bytes it saves.

use super::huffman;
use super::table::{STATIC, Table};
use crate::KnownHeader;
use crate::h2::FieldName;

/// The sending direction's compression state.
pub struct Encoder {
    table: Table,
    /// A table size to be announced at the start of the next block; the smallest since the last one first
    /// (RFC 7541 section 4.2).
    announce: Option<(usize, usize)>,
    /// Hashes of fields written lately.
    seen: [u32; SEEN],
}

const SEEN: usize = 64;
/// A field larger than this never enters the table: it would evict most of the rest.
const ENTRY_MAX: usize = 512;

impl Default for Encoder {
    fn default() -> Self {
        Self { table: Table::new(super::TABLE_BYTES), announce: None, seen: [0; SEEN] }
    }
}

impl Encoder {
    /// Heeds the peer's SETTINGS_HEADER_TABLE_SIZE. We use no more than the default.
    pub fn set_max_table(&mut self, size: usize) {
        let size = size.min(super::TABLE_BYTES);
        if size != self.table.max() {
            let least = self.announce.map_or(size, |(least, _)| least.min(size));
            self.announce = Some((least, size));
            self.table.resize(size);
        }
    }

    /// To be called at the start of each block.
    #[inline]
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some((least, last)) = self.announce.take() {
            integer(out, 0x20, 5, least);
            if last != least {
                integer(out, 0x20, 5, last);
            }
        }
    }

    /// `:status`.
    #[inline]
    pub fn status(&mut self, out: &mut Vec<u8>, status: u16) {
        status_field(out, status);
    }

    /// A field whose name is known; the name goes out in lower case.
    #[inline]
    pub fn known(&mut self, out: &mut Vec<u8>, id: KnownHeader, value: &[u8]) {
        self.write(out, static_index(id), id.as_str().as_bytes(), value, policy(id));
    }

    /// Any field; the name may be in any case.
    #[inline]
    pub fn field(&mut self, out: &mut Vec<u8>, id: KnownHeader, name: &[u8], value: &[u8]) {
        self.write(out, static_index(id), name, value, policy(id));
    }

    /// A field that whoever sent it wants nobody to index.
    pub fn never_indexed(&mut self, out: &mut Vec<u8>, id: KnownHeader, name: &[u8], value: &[u8]) {
        self.write(out, static_index(id), name, value, Policy::Never);
    }

    /// A pseudo-header of a request, by its index in the static table and its name.
    #[inline]
    pub fn pseudo(&mut self, out: &mut Vec<u8>, pseudo: FieldName, value: &[u8]) {
        let (index, name): (u8, &[u8]) = match pseudo {
            FieldName::Method if value == b"GET" => return out.push(0x82),
            FieldName::Method if value == b"POST" => return out.push(0x83),
            FieldName::Path if value == b"/" => return out.push(0x84),
            FieldName::Scheme if value == b"http" => return out.push(0x86),
            FieldName::Scheme if value == b"https" => return out.push(0x87),
            FieldName::Authority => (1, b":authority"),
            FieldName::Method => (2, b":method"),
            FieldName::Path => (4, b":path"),
            FieldName::Scheme => (6, b":scheme"),
            FieldName::Status | FieldName::Header(_) | FieldName::Bad => return,
        };
        self.write(out, index, name, value, Policy::BySight);
    }

    #[inline]
    fn write(&mut self, out: &mut Vec<u8>, index: u8, name: &[u8], value: &[u8], policy: Policy) {
        match policy {
            Policy::Never => return literal_field(out, 0x10, index, name, value),
            Policy::Literal => return literal_field(out, 0, index, name, value),
            Policy::BySight => {}
        }
        let hash = hash(index, name, value);
        if let Some(at) = self.table.find(hash, name, value) {
            return integer(out, 0x80, 7, at + STATIC.len() + 1);
        }
        let Some(seen) = self.seen.get_mut(hash as usize % SEEN) else { return };
        if *seen != hash || name.len() + value.len() > ENTRY_MAX {
            *seen = hash;
            return literal_field(out, 0, index, name, value);
        }
        self.insert(out, index, name, value, hash);
    }

    /// Section 6.2.1.
    fn insert(&mut self, out: &mut Vec<u8>, index: u8, name: &[u8], value: &[u8], hash: u32) {
        integer(out, 0x40, 6, usize::from(index));
        let kind = FieldName::Header(KnownHeader::Other);
        if index == 0 {
            let lower = name.to_ascii_lowercase();
            coded_string(out, &lower);
            coded_string(out, value);
            self.table.insert(&lower, value, kind, hash);
        } else {
            coded_string(out, value);
            self.table.insert(name, value, kind, hash);
        }
    }
}

/// How a field is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    /// Into the table, on second sight.
    BySight,
    /// Differs from message to message.
    Literal,
    /// A secret: no proxy on the way may index it either.
    Never,
}

#[inline]
fn policy(id: KnownHeader) -> Policy {
    match id {
        KnownHeader::Authorization
        | KnownHeader::ProxyAuthorization
        | KnownHeader::Cookie
        | KnownHeader::SetCookie
        | KnownHeader::XApiKey
        | KnownHeader::XAmzSecurityToken => Policy::Never,
        KnownHeader::ContentLength
        | KnownHeader::ContentRange
        | KnownHeader::Age
        | KnownHeader::Etag
        | KnownHeader::XAmznRequestId
        | KnownHeader::XRequestId
        | KnownHeader::Traceparent => Policy::Literal,
        _ => Policy::BySight,
    }
}

/// The static table's index of a known name, 0 for none.
#[inline]
fn static_index(id: KnownHeader) -> u8 {
    STATIC_OF.get(id as usize).copied().unwrap_or(0)
}

static STATIC_OF: [u8; KnownHeader::ALL.len() + 1] = static_of();

#[allow(clippy::indexing_slicing, reason = "evaluated when compiling: an overrun is a compile error")]
const fn static_of() -> [u8; KnownHeader::ALL.len() + 1] {
    let mut indexes = [0; KnownHeader::ALL.len() + 1];
    let mut i = 0;
    while i < KnownHeader::ALL.len() {
        let name = KnownHeader::ALL[i].as_str().as_bytes();
        let mut j = 14;
        while j < STATIC.len() {
            if indexes[i] == 0 && same(name, STATIC[j].0.as_bytes()) {
                indexes[i] = j as u8 + 1;
            }
            j += 1;
        }
        i += 1;
    }
    indexes
}

#[allow(clippy::indexing_slicing, reason = "evaluated when compiling: an overrun is a compile error")]
const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

/// A hash of a field. Names with an index of their own are that index. It picks entries whose bytes are then compared, so
/// whoever makes it collide only loses compression.
#[inline]
fn hash(index: u8, name: &[u8], value: &[u8]) -> u32 {
    let mut state = u64::from(index) ^ (value.len() as u64) << 8;
    let mut eat = |word: u64| state = (state.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    if index == 0 {
        // Folded, because names are looked up in the case they came in.
        name.chunks(8).for_each(|piece| eat(word(piece) | 0x2020_2020_2020_2020));
    }
    value.chunks(8).for_each(|piece| eat(word(piece)));
    // 0 is what an empty slot of the filter holds.
    ((state >> 32) as u32).max(1)
}

#[inline]
fn word(piece: &[u8]) -> u64 {
    match piece.first_chunk::<8>() {
        Some(eight) => u64::from_le_bytes(*eight),
        None => piece.iter().fold(0, |word, b| word << 8 | u64::from(*b)),
    }
}

/// An integer with a prefix of so many bits, under `flags` (section 5.1).
#[inline]
fn integer(out: &mut Vec<u8>, flags: u8, prefix: u32, value: usize) {
    let mask = (1_usize << prefix) - 1;
    if value < mask {
        return out.push(flags | value as u8);
    }
    out.push(flags | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A string, Huffman-coded where that is shorter.
fn coded_string(out: &mut Vec<u8>, text: &[u8]) {
    let len = huffman::encoded_len(text);
    if len < text.len() {
        integer(out, 0x80, 7, len);
        huffman::encode(out, text);
    } else {
        plain_string(out, text);
    }
}

#[inline]
fn plain_string(out: &mut Vec<u8>, text: &[u8]) {
    integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

/// Sections 6.2.2 and 6.2.3.
#[inline]
fn literal_field(out: &mut Vec<u8>, flags: u8, index: u8, name: &[u8], value: &[u8]) {
    integer(out, flags, 4, usize::from(index));
    if index == 0 {
        integer(out, 0, 7, name.len());
        let start = out.len();
        out.extend_from_slice(name);
        out.get_mut(start..).unwrap_or_default().make_ascii_lowercase();
    }
    plain_string(out, value);
}

#[inline]
fn status_field(out: &mut Vec<u8>, status: u16) {
    let index = match status {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        _ => {
            let digit = |n: u16| b'0' + (n % 10) as u8;
            return out.extend_from_slice(&[0x08, 3, digit(status / 100), digit(status / 10), digit(status)]);
        }
    };
    out.push(0x80 | index);
}

/// Blocks that need no compression state: to be prepared once and sent on any connection.
pub mod literal {
    use super::{KnownHeader, literal_field, static_index, status_field};

    /// `:status`.
    pub fn status(out: &mut Vec<u8>, status: u16) {
        status_field(out, status);
    }

    /// A field; the name may be in any case.
    #[inline]
    pub fn field(out: &mut Vec<u8>, id: KnownHeader, name: &[u8], value: &[u8]) {
        literal_field(out, 0, static_index(id), name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Span;
    use crate::h2::Decoder;

    fn decoded(decoder: &mut Decoder, block: &[u8]) -> Vec<(String, String)> {
        let (mut out, mut fields) = (Vec::new(), Vec::new());
        assert_eq!(decoder.decode(block, &mut out, 1 << 20, |f| fields.push(f)), Ok(true));
        let text = |span: Span| String::from_utf8(span.of(&out).to_vec()).unwrap();
        fields.iter().map(|f| (text(f.name), text(f.value))).collect()
    }

    #[test]
    fn a_repeated_field_shrinks_to_a_byte() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for round in 0..4 {
            let mut block = Vec::new();
            encoder.begin(&mut block);
            encoder.status(&mut block, 200);
            encoder.known(&mut block, KnownHeader::ContentType, b"application/json");
            encoder.field(&mut block, KnownHeader::Other, b"X-Thing", b"some value");
            encoder.known(&mut block, KnownHeader::ContentLength, b"187");
            let expected = [
                (":status", "200"),
                ("content-type", "application/json"),
                ("x-thing", "some value"),
                ("content-length", "187"),
            ];
            let expected: Vec<_> = expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            assert_eq!(decoded(&mut decoder, &block), expected);
            if round > 1 {
                assert_eq!(block.len(), 1 + 1 + 1 + 6);
            }
        }
    }

    #[test]
    fn secrets_are_never_indexed() {
        let mut encoder = Encoder::default();
        for id in [KnownHeader::Authorization, KnownHeader::SetCookie, KnownHeader::XApiKey] {
            for _ in 0..3 {
                let mut block = Vec::new();
                encoder.known(&mut block, id, b"secret");
                assert_eq!(block[0] & 0xf0, 0x10, "{id:?}");
            }
        }
    }

    #[test]
    fn a_smaller_table_is_announced_and_kept() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        encoder.set_max_table(0);
        encoder.set_max_table(100);
        let mut block = Vec::new();
        encoder.begin(&mut block);
        assert_eq!(block, [0x20, 0x3f, 100 - 31]);
        for i in 0..if cfg!(miri) { 20 } else { 1000 } {
            let value = (i / 3).to_string();
            encoder.field(&mut block, KnownHeader::Server, b"Server", value.as_bytes());
            assert_eq!(decoded(&mut decoder, &block), [("server".to_owned(), value)]);
            block.clear();
        }
    }

    #[test]
    fn any_mix_of_fields_survives() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let mut seed = 1_u64;
        for _ in 0..if cfg!(miri) { 10 } else { 3000 } {
            let (mut block, mut expected) = (Vec::new(), Vec::new());
            encoder.begin(&mut block);
            for _ in 0..5 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let (a, b) = ((seed >> 33) % 40, (seed >> 43) % 7);
                let id = KnownHeader::ALL[(a as usize * 2) % KnownHeader::ALL.len()];
                let value = "v".repeat((b * b * 17) as usize) + &a.to_string();
                encoder.known(&mut block, id, value.as_bytes());
                expected.push((id.as_str().to_owned(), value));
            }
            assert_eq!(decoded(&mut decoder, &block), expected);
        }
    }
}
