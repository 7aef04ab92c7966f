//! The tables of header compression (RFC 7541 section 2.3).

use super::decoder::FieldName;
use std::collections::VecDeque;

/// Appendix A, from index 1 on.
#[rustfmt::skip]
pub(super) static STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// What an entry costs beside its bytes (RFC 7541 section 4.1).
const ENTRY_BYTES: usize = 32;

#[derive(Clone, Copy)]
struct Entry {
    /// Position of the name in everything ever stored, modulo 2^32; the value follows it.
    start: u32,
    name_len: u32,
    value_len: u32,
    kind: FieldName,
    /// For the encoder's look-up.
    hash: u32,
}

/// The dynamic table: newest entry first, evicted by size.
///
/// Entries lie one after another in `bytes`, oldest first. What is evicted stays in front until it is as long as the
/// table may be; then the rest moves down, so that a byte is moved once at most.
pub(super) struct Table {
    bytes: Vec<u8>,
    /// Position of `bytes[0]`.
    base: u32,
    entries: VecDeque<Entry>,
    size: usize,
    max: usize,
}

/// An entry as the decoder sees it.
#[derive(Clone, Copy)]
pub(super) struct Found<'t> {
    pub(super) name: &'t [u8],
    pub(super) value: &'t [u8],
    pub(super) kind: FieldName,
}

impl Table {
    pub(super) fn new(max: usize) -> Self {
        Self { bytes: Vec::new(), base: 0, entries: VecDeque::new(), size: 0, max }
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Changes the size; what does not fit any more goes.
    pub(super) fn resize(&mut self, max: usize) {
        self.max = max;
        self.evict(0);
    }

    /// The entry at a dynamic index, 0 for the newest.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<Found<'_>> {
        let entry = self.entries.get(index)?;
        let start = entry.start.wrapping_sub(self.base) as usize;
        let rest = self.bytes.get(start..)?;
        let (name, rest) = rest.split_at_checked(entry.name_len as usize)?;
        Some(Found { name, value: rest.get(..entry.value_len as usize)?, kind: entry.kind })
    }

    /// Puts a field in front. One that is larger than the table empties it (RFC 7541 section 4.4).
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8], kind: FieldName, hash: u32) {
        let cost = name.len() + value.len() + ENTRY_BYTES;
        self.evict(cost);
        if cost > self.max {
            return;
        }
        self.compact();
        let entry = Entry {
            start: self.base.wrapping_add(self.bytes.len() as u32),
            name_len: name.len() as u32,
            value_len: value.len() as u32,
            kind,
            hash,
        };
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.entries.push_front(entry);
        self.size += cost;
    }

    /// Makes room for `cost`.
    fn evict(&mut self, cost: usize) {
        while self.size + cost > self.max {
            let Some(oldest) = self.entries.pop_back() else { break };
            self.size -= (oldest.name_len + oldest.value_len) as usize + ENTRY_BYTES;
        }
    }

    /// Moves the live bytes down once the dead ones are as many as the table may hold.
    fn compact(&mut self) {
        let live_from =
            self.entries.back().map_or(self.bytes.len(), |e| e.start.wrapping_sub(self.base) as usize);
        if live_from >= self.max {
            self.bytes.drain(..live_from.min(self.bytes.len()));
            self.base = self.base.wrapping_add(live_from as u32);
        }
    }

    /// The dynamic index of a field with this hash.
    #[inline]
    pub(super) fn find(&self, hash: u32, name: &[u8], value: &[u8]) -> Option<usize> {
        let (front, back) = self.entries.as_slices();
        let at = front.iter().chain(back).position(|e| e.hash == hash)?;
        let found = self.get(at)?;
        (found.name.eq_ignore_ascii_case(name) && found.value == value).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KnownHeader;

    const KIND: FieldName = FieldName::Header(KnownHeader::Other);

    #[test]
    fn entries_come_newest_first_and_leave_oldest_first() {
        let mut table = Table::new(3 * 40);
        for i in 0..if cfg!(miri) { 100 } else { 10_000_u32 } {
            let text = format!("{:04}", i % 10_000);
            table.insert(text.as_bytes(), text.as_bytes(), KIND, i);
            for back in 0..3.min(i as usize + 1) {
                let expected = format!("{:04}", i as usize - back);
                let found = table.get(back).unwrap();
                assert_eq!((found.name, found.value), (expected.as_bytes(), expected.as_bytes()));
                assert_eq!(table.find(i - back as u32, found.name, found.value), Some(back));
            }
            assert!(table.get(3).is_none());
            assert!(table.bytes.len() <= 2 * 120);
        }
    }

    #[test]
    fn an_entry_larger_than_the_table_empties_it() {
        let mut table = Table::new(64);
        table.insert(b"a", b"b", KIND, 1);
        assert!(table.get(0).is_some());
        table.insert(&[b'x'; 40], b"", KIND, 2);
        assert!(table.get(0).is_none());
        assert_eq!(table.size, 0);
        table.insert(b"a", b"b", KIND, 1);
        table.resize(0);
        assert!(table.get(0).is_none());
    }
}
