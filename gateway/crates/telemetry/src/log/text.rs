//! Numbers, dates, addresses and hostile bytes, as text in a byte buffer.

use sluice_calendar::Date;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};

pub(super) fn decimal(out: &mut Vec<u8>, value: u64) {
    // Most numbers in a log are short, and then their digits need no loop.
    match value {
        0..10 => out.push(digit(value)),
        10..100 => out.extend_from_slice(&[digit(value / 10), digit(value)]),
        100..1_000 => out.extend_from_slice(&three_digits(value)),
        1_000..10_000 => out.extend_from_slice(&[
            digit(value / 1_000),
            digit(value / 100),
            digit(value / 10),
            digit(value),
        ]),
        _ => long_decimal(out, value),
    }
}

fn long_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut used = 0;
    for place in digits.iter_mut().rev() {
        *place = digit(value);
        used += 1;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

/// The last digit.
#[inline]
fn digit(value: u64) -> u8 {
    b'0' + (value % 10) as u8
}

/// The last three digits, with leading zeros.
#[inline]
fn three_digits(value: u64) -> [u8; 3] {
    [digit(value / 100), digit(value / 10), digit(value)]
}

/// Milliseconds with three decimals, from microseconds.
pub(super) fn milliseconds(out: &mut Vec<u8>, value_us: u32) {
    let value_us = u64::from(value_us);
    decimal(out, value_us / 1000);
    let [tenths, hundredths, thousandths] = three_digits(value_us);
    out.extend_from_slice(&[b'.', tenths, hundredths, thousandths]);
}

/// The text of an address; clients come in runs, so the last one's is kept.
#[derive(Debug)]
pub(super) struct Addresses {
    last: IpAddr,
    text: Vec<u8>,
}

impl Addresses {
    pub(super) fn new() -> Self {
        let mut addresses = Self { last: Ipv4Addr::UNSPECIFIED.into(), text: Vec::new() };
        addresses.set(addresses.last);
        addresses
    }

    #[inline]
    pub(super) fn write(&mut self, out: &mut Vec<u8>, address: IpAddr) {
        if address != self.last {
            self.set(address);
        }
        out.extend_from_slice(&self.text);
    }

    fn set(&mut self, address: IpAddr) {
        self.last = address;
        self.text.clear();
        match address {
            IpAddr::V4(address) => {
                let [first, rest @ ..] = address.octets();
                decimal(&mut self.text, u64::from(first));
                for octet in rest {
                    self.text.push(b'.');
                    decimal(&mut self.text, u64::from(octet));
                }
            }
            // Writing to a vector can't fail.
            IpAddr::V6(address) => drop(write!(self.text, "{address}")),
        }
    }
}

/// The text of the second that records fall into; most fall into the same as the one before.
#[derive(Debug)]
pub(super) struct Clock {
    unix_s: u64,
    /// `10/Oct/2000:13:55:36 +0000`
    date: Vec<u8>,
    /// The date and the beginning of the milliseconds, as in a JSON line.
    json: Vec<u8>,
}

impl Clock {
    pub(super) fn new() -> Self {
        let mut clock = Self { unix_s: 0, date: Vec::new(), json: Vec::new() };
        clock.set(0);
        clock
    }

    /// The date as in the Common Log Format.
    #[inline]
    pub(super) fn date(&mut self, out: &mut Vec<u8>, unix_ms: u64) {
        self.turn(unix_ms / 1000);
        out.extend_from_slice(&self.date);
    }

    /// `"requestTime":"…","requestTimeEpoch":…`
    #[inline]
    pub(super) fn json(&mut self, out: &mut Vec<u8>, unix_ms: u64) {
        self.turn(unix_ms / 1000);
        out.extend_from_slice(&self.json);
        if self.unix_s == 0 {
            decimal(out, unix_ms);
        } else {
            out.extend_from_slice(&three_digits(unix_ms));
        }
    }

    #[inline]
    fn turn(&mut self, unix_s: u64) {
        if unix_s != self.unix_s {
            self.set(unix_s);
        }
    }

    #[cold]
    fn set(&mut self, unix_s: u64) {
        self.unix_s = unix_s;
        let Date { year, month, day } = Date::of_day((unix_s / 86_400) as i64);
        let month = MONTHS.get(usize::from(month) - 1).copied().unwrap_or("Jan");
        let of_day = unix_s % 86_400;
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        self.date.clear();
        self.json.clear();
        // Writing to a vector can't fail.
        let _ = write!(self.date, "{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000");
        self.json.extend_from_slice(b"\"requestTime\":\"");
        self.json.extend_from_slice(&self.date);
        self.json.extend_from_slice(b"\",\"requestTimeEpoch\":");
        // The digits of a number don't begin with zeros.
        if unix_s > 0 {
            decimal(&mut self.json, unix_s);
        }
    }
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const HEX: &[u8; 16] = b"0123456789abcdef";

fn hex_digit(value: u8) -> u8 {
    HEX.get(usize::from(value & 15)).copied().unwrap_or(b'0')
}

/// Printable ASCII but for the quote and the backslash: text that both formats take as it is.
#[inline]
fn is_plain(byte: u8) -> bool {
    // Without short cuts, so that a block is judged by vector instructions.
    (0x20..=0x7e).contains(&byte) & (byte != b'"') & (byte != b'\\')
}

const BLOCK: usize = 16;

#[inline]
fn is_plain_block(block: &[u8; BLOCK]) -> bool {
    block.iter().fold(true, |plain, byte| plain & is_plain(*byte))
}

#[inline]
fn all_plain(bytes: &[u8]) -> bool {
    match bytes.last_chunk::<BLOCK>() {
        // The last block overlaps the one before it.
        Some(last) => bytes.as_chunks::<BLOCK>().0.iter().all(is_plain_block) && is_plain_block(last),
        None => bytes.iter().all(|byte| is_plain(*byte)),
    }
}

/// The path and the query after the first question mark.
#[inline]
pub(super) fn split_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    let (blocks, rest) = target.as_chunks::<BLOCK>();
    // Whole blocks are passed at once; the mark's place is sought in the last one only.
    let without = |block: &[u8; BLOCK]| block.iter().fold(true, |without, byte| without & (*byte != b'?'));
    let passed = blocks.iter().take_while(|block| without(block)).count() * BLOCK;
    let sought = target.get(passed..).unwrap_or(rest);
    match sought.iter().position(|byte| *byte == b'?').and_then(|mark| target.split_at_checked(passed + mark))
    {
        Some((path, query)) => (path, query.get(1..)),
        None => (target, None),
    }
}

/// Bytes as the inside of a JSON string: control characters (those of U+0080 to U+009F too, which terminals obey)
/// escaped, invalid UTF-8 as U+FFFD.
#[inline]
pub(super) fn json(out: &mut Vec<u8>, bytes: &[u8]) {
    if all_plain(bytes) {
        out.extend_from_slice(bytes);
    } else {
        json_escaped(out, bytes);
    }
}

#[cold]
fn json_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
                '\0'..='\x1f' | '\x7f'..='\u{9f}' => {
                    let code = character as u8;
                    out.extend_from_slice(b"\\u00");
                    out.extend_from_slice(&[hex_digit(code >> 4), hex_digit(code)]);
                }
                other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

/// Bytes as the inside of a quoted CLF field: all that isn't plain as `\xNN`, like nginx does.
#[inline]
pub(super) fn clf(out: &mut Vec<u8>, bytes: &[u8]) {
    if all_plain(bytes) {
        out.extend_from_slice(bytes);
    } else {
        clf_escaped(out, bytes);
    }
}

#[cold]
fn clf_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        if is_plain(*byte) {
            out.push(*byte);
        } else {
            out.extend_from_slice(&[b'\\', b'x', hex_digit(byte >> 4), hex_digit(*byte)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn dates_match_known_ones() {
        let mut clock = Clock::new();
        for (unix_ms, want) in [
            (0, "01/Jan/1970:00:00:00 +0000"),
            (951_782_400_000, "29/Feb/2000:00:00:00 +0000"),
            (951_868_799_999, "29/Feb/2000:23:59:59 +0000"),
            (951_868_800_000, "01/Mar/2000:00:00:00 +0000"),
            (1_735_689_599_123, "31/Dec/2024:23:59:59 +0000"),
            (1_735_689_600_000, "01/Jan/2025:00:00:00 +0000"),
            (4_107_542_400_000, "01/Mar/2100:00:00:00 +0000"),
        ] {
            assert_eq!(text(|out| clock.date(out, unix_ms)), want);
        }
        for unix_ms in [0, 7, 999, 1_000, 1_735_689_599_007] {
            let line = text(|out| clock.json(out, unix_ms));
            assert!(line.ends_with(&format!(",\"requestTimeEpoch\":{unix_ms}")), "{line}");
        }
    }

    #[test]
    fn numbers_and_addresses() {
        for power in 0..20 {
            for value in [10_u64.pow(power) - 1, 10_u64.pow(power), 10_u64.pow(power) + 1, u64::MAX] {
                assert_eq!(text(|out| decimal(out, value)), value.to_string());
            }
        }
        assert_eq!(text(|out| milliseconds(out, 1_234_567)), "1234.567");
        assert_eq!(text(|out| milliseconds(out, 42)), "0.042");
        let mut addresses = Addresses::new();
        for address in ["0.0.0.0", "203.0.113.9", "203.0.113.9", "2001:db8::1", "255.255.255.255", "::"] {
            assert_eq!(text(|out| addresses.write(out, address.parse().unwrap())), address);
        }
    }

    #[test]
    fn every_byte_at_every_place_of_a_text_is_judged_alike() {
        for byte in 0..=255_u8 {
            for length in 1..2 * BLOCK + 2 {
                let mut text = vec![b'a'; length];
                for place in 0..length {
                    text[place] = byte;
                    assert_eq!(all_plain(&text), is_plain(byte), "{byte:#x} at {place} of {length}");
                    text[place] = b'a';
                }
            }
        }
    }

    #[test]
    fn the_query_begins_after_the_first_mark() {
        for length in 0..2 * BLOCK + 2 {
            let path = vec![b'a'; length];
            assert_eq!(split_query(&path), (&path[..], None));
            for tail in [&b""[..], b"x", b"??", b"0123456789abcdef?"] {
                assert_eq!(split_query(&[&path, &b"?"[..], tail].concat()), (&path[..], Some(tail)));
            }
        }
    }

    #[test]
    fn escapes() {
        assert_eq!(text(|out| json(out, b"a\"b\\c\n\x1b[31m\x7f")), r#"a\"b\\c\u000a\u001b[31m\u007f"#);
        assert_eq!(text(|out| json(out, "é\u{9b}31m".as_bytes())), "é\\u009b31m");
        assert_eq!(text(|out| json(out, b"\xff\xc3(")), "\\ufffd\\ufffd(");
        assert_eq!(text(|out| clf(out, b"a\"\\\n\xff")), r"a\x22\x5c\x0a\xff");
    }

    proptest! {
        #[test]
        fn json_reads_back_as_the_lossy_text(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let quoted = format!("\"{}\"", text(|out| json(out, &bytes)));
            let back: String = serde_json::from_str(&quoted).unwrap();
            prop_assert_eq!(back, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn clf_is_always_plain(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let escaped = text(|out| clf(out, &bytes));
            prop_assert!(escaped.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'"'));
        }
    }
}
