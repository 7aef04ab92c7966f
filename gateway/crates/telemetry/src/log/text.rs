//! Numbers, dates, addresses and hostile bytes, as text in a byte buffer.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};

pub(super) fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        used += 1;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

/// The last three digits, with leading zeros.
fn three_digits(value: u64) -> [u8; 3] {
    let digit = |value: u64| b'0' + (value % 10) as u8;
    [digit(value / 100), digit(value / 10), digit(value)]
}

/// Milliseconds with three decimals, from microseconds.
pub(super) fn milliseconds(out: &mut Vec<u8>, value_us: u32) {
    let value_us = u64::from(value_us);
    decimal(out, value_us / 1000);
    out.push(b'.');
    out.extend_from_slice(&three_digits(value_us));
}

pub(super) fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => ipv4(out, address),
        // Writing to a vector can't fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

fn ipv4(out: &mut Vec<u8>, address: Ipv4Addr) {
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        decimal(out, u64::from(octet));
    }
}

/// The text of the second that records fall into; most fall into the same as the one before.
#[derive(Debug)]
pub(super) struct Clock {
    unix_s: u64,
    /// `10/Oct/2000:13:55:36 +0000`
    date: Vec<u8>,
    /// The second in digits.
    seconds: Vec<u8>,
}

impl Clock {
    pub(super) fn new() -> Self {
        let mut clock = Self { unix_s: 0, date: Vec::new(), seconds: Vec::new() };
        clock.set(0);
        clock
    }

    /// The date as in the Common Log Format.
    pub(super) fn date(&mut self, out: &mut Vec<u8>, unix_ms: u64) {
        self.set(unix_ms / 1000);
        out.extend_from_slice(&self.date);
    }

    /// The milliseconds since 1970.
    pub(super) fn epoch_ms(&mut self, out: &mut Vec<u8>, unix_ms: u64) {
        self.set(unix_ms / 1000);
        if self.unix_s == 0 {
            return decimal(out, unix_ms);
        }
        out.extend_from_slice(&self.seconds);
        out.extend_from_slice(&three_digits(unix_ms));
    }

    fn set(&mut self, unix_s: u64) {
        if unix_s == self.unix_s && !self.date.is_empty() {
            return;
        }
        self.unix_s = unix_s;
        let (year, month, day) = civil(unix_s / 86_400);
        let of_day = unix_s % 86_400;
        self.date.clear();
        // Writing to a vector can't fail.
        let _ = write!(
            self.date,
            "{day:02}/{month}/{year:04}:{:02}:{:02}:{:02} +0000",
            of_day / 3600,
            of_day / 60 % 60,
            of_day % 60
        );
        self.seconds.clear();
        decimal(&mut self.seconds, unix_s);
    }
}

/// Year, month and day of the days since 1970-01-01, counted in eras of 400 years that begin on the first of March.
fn civil(days: u64) -> (u64, &'static str, u64) {
    const MARCH_FIRST: [&str; 12] =
        ["Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"];
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era + u64::from(month >= 10);
    (year, MARCH_FIRST.get(month as usize).copied().unwrap_or("Jan"), day)
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn hex_digit(value: u8) -> u8 {
    HEX.get(usize::from(value & 15)).copied().unwrap_or(b'0')
}

/// Printable ASCII but for the quote and the backslash: text that both formats take as it is.
#[inline]
fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\'
}

/// Whether all eight bytes are plain, tested at once. The subtractions borrow only across bytes that have already
/// failed a test, so that a word without any hit is plain for sure.
#[inline]
fn is_plain_word(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
    let quote = has_zero(word ^ (ONES * u64::from(b'"')));
    let backslash = has_zero(word ^ (ONES * u64::from(b'\\')));
    let delete = has_zero(word ^ (ONES * 0x7f));
    (word & HIGH) | control | quote | backslash | delete == 0
}

#[inline]
fn all_plain(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().all(|word| is_plain_word(u64::from_le_bytes(*word)))
        && match bytes.last_chunk::<8>() {
            Some(last) => is_plain_word(u64::from_le_bytes(*last)),
            None => rest.iter().all(|byte| is_plain(*byte)),
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
        assert_eq!(text(|out| clock.epoch_ms(out, 7)), "7");
        assert_eq!(text(|out| clock.epoch_ms(out, 1_735_689_599_007)), "1735689599007");
    }

    #[test]
    fn numbers_and_addresses() {
        assert_eq!(text(|out| decimal(out, 0)), "0");
        assert_eq!(text(|out| decimal(out, u64::MAX)), u64::MAX.to_string());
        assert_eq!(text(|out| milliseconds(out, 1_234_567)), "1234.567");
        assert_eq!(text(|out| milliseconds(out, 42)), "0.042");
        assert_eq!(text(|out| address(out, "203.0.113.9".parse().unwrap())), "203.0.113.9");
        assert_eq!(text(|out| address(out, "2001:db8::1".parse().unwrap())), "2001:db8::1");
    }

    #[test]
    fn every_byte_at_every_place_of_a_word_is_judged_alike() {
        for byte in 0..=255_u8 {
            for place in 0..8 {
                let mut word = [b'a'; 8];
                word[place] = byte;
                assert_eq!(is_plain_word(u64::from_le_bytes(word)), is_plain(byte), "{byte:#x} at {place}");
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

        #[test]
        fn plainness_does_not_depend_on_word_bounds(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(all_plain(&bytes), bytes.iter().all(|byte| is_plain(*byte)));
        }
    }
}
