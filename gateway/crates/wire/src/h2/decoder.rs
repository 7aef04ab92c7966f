//! Header blocks to fields (RFC 7541 sections 3 and 6).

use super::huffman;
use super::table::{STATIC, Table};
use crate::{KnownHeader, Span, is_field_value};

/// Which field a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldName {
    /// `:method`
    Method,
    /// `:scheme`
    Scheme,
    /// `:path`
    Path,
    /// `:authority`
    Authority,
    /// `:status`
    Status,
    /// A header field.
    Header(KnownHeader),
    /// A name or value that no HTTP/2 message may hold (RFC 9113 section 8.2.1), or a pseudo-header that nobody defined.
    Bad,
}

/// One decoded field: where it lies in the output, and what its name is.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The name.
    pub name: Span,
    /// The value.
    pub value: Span,
    /// What the name is, and whether name and value are fit for a message.
    pub kind: FieldName,
    /// It came as never to be indexed (RFC 7541 section 6.2.3).
    pub never_indexed: bool,
}

/// Why a header block can't be decoded. The connection's compression state is lost with it (RFC 7541 section 2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HpackError {
    /// The block ends within a field.
    Truncated,
    /// An index that neither table has, or 0.
    BadIndex,
    /// An integer past what any length or index can be.
    IntegerOverflow,
    /// Huffman coding with wrong padding, or with the end symbol.
    BadHuffman,
    /// A table size above the one we allowed, or not at the start of the block.
    BadTableSize,
}

impl std::fmt::Display for HpackError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Truncated => "expected the rest of a header field, found the end of the block",
            Self::BadIndex => "expected an index of the static or dynamic table, found another",
            Self::IntegerOverflow => "expected an integer below 2^28, found a greater one",
            Self::BadHuffman => "expected Huffman coding, found wrong padding or the end symbol",
            Self::BadTableSize => {
                "expected a table size within the setting, at the start of the block, found another"
            }
        })
    }
}

impl std::error::Error for HpackError {}

/// The receiving direction's compression state.
pub struct Decoder {
    table: Table,
    /// What our setting allows the peer to use.
    allowed: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(super::TABLE_BYTES)
    }
}

/// What a literal does to the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Indexed,
    Not,
    Never,
}

impl Decoder {
    /// State for a peer that may use a table of `allowed` bytes.
    #[must_use]
    pub fn new(allowed: usize) -> Self {
        Self { table: Table::new(allowed), allowed }
    }

    /// Decodes a whole block: appends names and values to `out` and says each field. `false`: there was more than
    /// `max_out` bytes of it, and the rest was left out; the tables are in step all the same.
    ///
    /// # Errors
    /// See [`HpackError`]: then the connection is beyond repair.
    pub fn decode(
        &mut self,
        block: &[u8],
        out: &mut Vec<u8>,
        max_out: usize,
        mut each: impl FnMut(Field),
    ) -> Result<bool, HpackError> {
        let full = out.len() + max_out;
        let mut input = Input { bytes: block, at: 0 };
        let (mut complete, mut fields) = (true, false);
        while let Some(first) = input.peek() {
            let start = out.len();
            let field = if first & 0x80 != 0 {
                self.indexed(&mut input, out)?
            } else if first & 0x40 != 0 {
                self.literal(&mut input, out, 6, Keep::Indexed)?
            } else if first & 0x20 != 0 {
                self.size_update(&mut input, fields)?;
                continue;
            } else {
                self.literal(&mut input, out, 4, if first & 0x10 == 0 { Keep::Not } else { Keep::Never })?
            };
            fields = true;
            if !complete || out.len() > full {
                out.truncate(start);
                complete = false;
            } else {
                each(field);
            }
        }
        Ok(complete)
    }

    /// Section 6.1.
    #[inline]
    fn indexed(&mut self, input: &mut Input<'_>, out: &mut Vec<u8>) -> Result<Field, HpackError> {
        let index = input.integer(7)?;
        if let Some((name, value)) = index.checked_sub(1).and_then(|i| STATIC.get(i)) {
            return Ok(append(out, name.as_bytes(), value.as_bytes(), static_kind(index)));
        }
        let found = index.checked_sub(1 + STATIC.len()).and_then(|i| self.table.get(i));
        let found = found.ok_or(HpackError::BadIndex)?;
        Ok(append(out, found.name, found.value, found.kind))
    }

    /// Sections 6.2.1 to 6.2.3.
    fn literal(
        &mut self,
        input: &mut Input<'_>,
        out: &mut Vec<u8>,
        prefix: u32,
        keep: Keep,
    ) -> Result<Field, HpackError> {
        let index = input.integer(prefix)?;
        let start = out.len();
        let mut kind = self.name(index, input, out)?;
        let middle = out.len();
        input.string(out)?;
        let (name, value) =
            out.get(start..).and_then(|field| field.split_at_checked(middle - start)).unwrap_or_default();
        if !is_field_value(value) {
            kind = FieldName::Bad;
        }
        if keep == Keep::Indexed {
            self.table.insert(name, value, kind, 0);
        }
        let never_indexed = keep == Keep::Never;
        let (name, value) = (Span::new(start, middle), Span::new(middle, out.len()));
        Ok(Field { name, value, kind, never_indexed })
    }

    /// Appends a literal's name.
    fn name(&self, index: usize, input: &mut Input<'_>, out: &mut Vec<u8>) -> Result<FieldName, HpackError> {
        if index == 0 {
            let start = out.len();
            input.string(out)?;
            return Ok(kind_of(out.get(start..).unwrap_or_default()));
        }
        if let Some((name, _)) = STATIC.get(index - 1) {
            out.extend_from_slice(name.as_bytes());
            return Ok(static_kind(index));
        }
        let found = self.table.get(index - 1 - STATIC.len()).ok_or(HpackError::BadIndex)?;
        out.extend_from_slice(found.name);
        // Its value may be what made the entry unfit: the name is judged anew.
        Ok(if found.kind == FieldName::Bad { kind_of(found.name) } else { found.kind })
    }

    /// Section 6.3: only before the first field (section 4.2).
    fn size_update(&mut self, input: &mut Input<'_>, fields: bool) -> Result<(), HpackError> {
        let size = input.integer(5)?;
        if fields || size > self.allowed {
            return Err(HpackError::BadTableSize);
        }
        self.table.resize(size);
        Ok(())
    }
}

#[inline]
fn append(out: &mut Vec<u8>, name: &[u8], value: &[u8], kind: FieldName) -> Field {
    let start = out.len();
    out.extend_from_slice(name);
    let middle = out.len();
    out.extend_from_slice(value);
    let (name, value) = (Span::new(start, middle), Span::new(middle, out.len()));
    Field { name, value, kind, never_indexed: false }
}

/// What the names of the static table are, by index.
fn static_kind(index: usize) -> FieldName {
    /// The names from index 15 on are header fields.
    static KINDS: std::sync::LazyLock<Vec<FieldName>> =
        std::sync::LazyLock::new(|| STATIC.iter().map(|(name, _)| kind_of(name.as_bytes())).collect());
    KINDS.get(index.wrapping_sub(1)).copied().unwrap_or(FieldName::Bad)
}

/// What a name is. Upper case is not allowed in HTTP/2 (RFC 9113 section 8.2.1).
fn kind_of(name: &[u8]) -> FieldName {
    if let Some(pseudo) = name.strip_prefix(b":") {
        return match pseudo {
            b"method" => FieldName::Method,
            b"scheme" => FieldName::Scheme,
            b"path" => FieldName::Path,
            b"authority" => FieldName::Authority,
            b"status" => FieldName::Status,
            _ => FieldName::Bad,
        };
    }
    if !crate::is_token(name) || name.iter().any(u8::is_ascii_uppercase) {
        return FieldName::Bad;
    }
    FieldName::Header(KnownHeader::from_name(name))
}

/// A block being read.
struct Input<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Input<'_> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, HpackError> {
        let byte = self.peek().ok_or(HpackError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    /// An integer with a prefix of so many bits (section 5.1).
    #[inline]
    fn integer(&mut self, prefix: u32) -> Result<usize, HpackError> {
        let mask = (1_usize << prefix) - 1;
        let value = usize::from(self.byte()?) & mask;
        if value < mask { Ok(value) } else { self.long_integer(value) }
    }

    /// Four further bytes at most: no length or index needs more.
    fn long_integer(&mut self, mut value: usize) -> Result<usize, HpackError> {
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(HpackError::IntegerOverflow)
    }

    /// Appends a string (section 5.2).
    fn string(&mut self, out: &mut Vec<u8>) -> Result<(), HpackError> {
        let coded = self.peek().ok_or(HpackError::Truncated)? & 0x80 != 0;
        let len = self.integer(7)?;
        let end = self.at.checked_add(len).ok_or(HpackError::IntegerOverflow)?;
        let text = self.bytes.get(self.at..end).ok_or(HpackError::Truncated)?;
        self.at = end;
        if !coded {
            out.extend_from_slice(text);
        } else if !huffman::decode(out, text) {
            return Err(HpackError::BadHuffman);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        digits
            .chunks(2)
            .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
            .collect()
    }

    fn decode(decoder: &mut Decoder, block: &str) -> Result<Vec<(String, String)>, HpackError> {
        let (mut out, mut fields) = (Vec::new(), Vec::new());
        decoder.decode(&hex(block), &mut out, 1 << 20, |f| fields.push(f))?;
        let text = |span: Span| String::from_utf8(span.of(&out).to_vec()).unwrap();
        Ok(fields.iter().map(|f| (text(f.name), text(f.value))).collect())
    }

    fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn integers_of_appendix_c1() {
        for (bytes, prefix, value) in
            [(&[0b0000_1010][..], 5, 10), (&[0b0001_1111, 0b1001_1010, 0b0000_1010], 5, 1337), (&[42], 8, 42)]
        {
            assert_eq!(Input { bytes, at: 0 }.integer(prefix), Ok(value));
        }
    }

    #[test]
    fn literals_of_appendix_c2() {
        for (block, name, value) in [
            ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", "custom-key", "custom-header"),
            ("040c2f73616d706c652f70617468", ":path", "/sample/path"),
            ("100870617373776f726406736563726574", "password", "secret"),
            ("82", ":method", "GET"),
        ] {
            assert_eq!(decode(&mut Decoder::default(), block), Ok(pairs(&[(name, value)])));
        }
    }

    /// Appendices C.3 and C.4 say the same three requests, without and with Huffman coding.
    #[test]
    fn requests_of_appendices_c3_and_c4() {
        let plain = [
            "828684410f7777772e6578616d706c652e636f6d",
            "828684be58086e6f2d6361636865",
            "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        ];
        let coded = [
            "828684418cf1e3c2e5f23a6ba0ab90f4ff",
            "828684be5886a8eb10649cbf",
            "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        ];
        for blocks in [plain, coded] {
            let mut decoder = Decoder::default();
            let base =
                [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
            assert_eq!(decode(&mut decoder, blocks[0]), Ok(pairs(&base)));
            let second = [&base[..], &[("cache-control", "no-cache")]].concat();
            assert_eq!(decode(&mut decoder, blocks[1]), Ok(pairs(&second)));
            let third = [
                (":method", "GET"),
                (":scheme", "https"),
                (":path", "/index.html"),
                (":authority", "www.example.com"),
                ("custom-key", "custom-value"),
            ];
            assert_eq!(decode(&mut decoder, blocks[2]), Ok(pairs(&third)));
        }
    }

    /// Appendices C.5 and C.6: a table of 256 bytes, so that entries are evicted.
    #[test]
    fn responses_of_appendices_c5_and_c6() {
        let plain = [
            "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
            "4803333037c1c0bf",
            "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
        ];
        let coded = [
            "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
            "4883640effc1c0bf",
            "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
        ];
        let (date1, date2) = ("Mon, 21 Oct 2013 20:13:21 GMT", "Mon, 21 Oct 2013 20:13:22 GMT");
        let location = ("location", "https://www.example.com");
        let private = ("cache-control", "private");
        for blocks in [plain, coded] {
            let mut decoder = Decoder::new(256);
            let first = [(":status", "302"), private, ("date", date1), location];
            assert_eq!(decode(&mut decoder, blocks[0]), Ok(pairs(&first)));
            let second = [(":status", "307"), private, ("date", date1), location];
            assert_eq!(decode(&mut decoder, blocks[1]), Ok(pairs(&second)));
            let third = [
                (":status", "200"),
                private,
                ("date", date2),
                location,
                ("content-encoding", "gzip"),
                ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
            ];
            assert_eq!(decode(&mut decoder, blocks[2]), Ok(pairs(&third)));
        }
    }

    #[test]
    fn broken_blocks_are_refused() {
        for (block, error) in [
            ("80", HpackError::BadIndex),
            ("be", HpackError::BadIndex),
            ("7f0000", HpackError::BadIndex),
            ("40", HpackError::Truncated),
            ("400161", HpackError::Truncated),
            ("ffffffffff0f", HpackError::IntegerOverflow),
            ("3fe21f", HpackError::BadTableSize),
            ("823f00", HpackError::BadTableSize),
            ("40016181ff", HpackError::BadHuffman),
        ] {
            assert_eq!(decode(&mut Decoder::default(), block), Err(error), "{block}");
        }
    }

    #[test]
    fn a_block_that_expands_is_cut_and_the_table_stays_in_step() {
        let mut decoder = Decoder::default();
        let mut block = b"\x40\x01a\x7f\xa1\x1e".to_vec();
        block.extend_from_slice(&[b'v'; 4000]);
        block.extend_from_slice(&[0xbe; 100]);
        block.extend_from_slice(b"\x40\x01b\x01w");
        let (mut out, mut count) = (Vec::new(), 0);
        assert_eq!(decoder.decode(&block, &mut out, 10_000, |_| count += 1), Ok(false));
        assert_eq!(count, 2);
        assert!(out.len() <= 10_000);
        assert_eq!(decode(&mut decoder, "be"), Ok(pairs(&[("b", "w")])));
    }

    #[test]
    fn names_are_judged_once_and_remembered() {
        let mut decoder = Decoder::default();
        let (mut out, mut kinds) = (Vec::new(), Vec::new());
        // An upper-case name, then the same by index; a good name with a bad value, then that name with a good one.
        let block = b"\x40\x01A\x01v\xbe\x40\x01b\x02v\n\x7e\x01w\x40\x02:x\x00";
        decoder.decode(block, &mut out, 1000, |f| kinds.push(f.kind)).unwrap();
        let good = FieldName::Header(KnownHeader::Other);
        assert_eq!(kinds, [FieldName::Bad, FieldName::Bad, FieldName::Bad, good, FieldName::Bad]);
    }
}
