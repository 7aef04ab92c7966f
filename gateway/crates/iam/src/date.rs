//! Dates of conditions: the W3C profile of ISO 8601, or seconds since 1970.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html#Conditions_Date>

use sluice_calendar::Date;
use std::fmt;

/// Milliseconds since 1970 of `2024`, `2024-02`, `2024-02-29`, `2024-02-29T12:30Z`, `2024-02-29T12:30:15.5+02:00`, or of
/// a number of seconds. What has four digits is a year.
pub fn parse(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) && text.len() != 4 {
        return text.parse::<i64>().ok()?.checked_mul(1000);
    }
    let mut rest = Rest(text);
    let year = rest.digits(4)?;
    let (mut month, mut day) = (1, 1);
    if rest.take('-') {
        month = rest.digits(2)?;
        if rest.take('-') {
            day = rest.digits(2)?;
        }
    }
    let date = Date::new(year, month.try_into().ok()?, day.try_into().ok()?)?;
    let midnight_ms = date.day_of() * 86_400_000;
    if rest.0.is_empty() {
        return Some(midnight_ms);
    }
    // A time follows whole dates only, and always says its zone.
    if text.len() - rest.0.len() != "2024-02-29".len() || !(rest.take('T') || rest.take('t')) {
        return None;
    }
    let of_day_ms = rest.time_of_day_ms()?;
    let offset_ms = rest.offset_ms()?;
    rest.0.is_empty().then_some(midnight_ms + of_day_ms - offset_ms)
}

struct Rest<'a>(&'a str);

impl Rest<'_> {
    fn take(&mut self, expected: char) -> bool {
        match self.0.strip_prefix(expected) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    }

    fn time_of_day_ms(&mut self) -> Option<i64> {
        let hours = self.digits(2)?;
        let minutes = self.take(':').then(|| self.digits(2))??;
        let (mut seconds, mut fraction_ms) = (0, 0);
        if self.take(':') {
            seconds = self.digits(2)?;
            if self.take('.') {
                fraction_ms = self.fraction_ms()?;
            }
        }
        // 60 is a leap second, which counts as the next minute's first.
        let valid = hours < 24 && minutes < 60 && seconds <= 60;
        valid.then_some(((hours * 60 + minutes) * 60 + seconds) * 1000 + fraction_ms)
    }

    fn fraction_ms(&mut self) -> Option<i64> {
        let count = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        let milliseconds = digits.bytes().chain(*b"000").take(3);
        (count > 0).then(|| milliseconds.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
    }

    fn offset_ms(&mut self) -> Option<i64> {
        if self.take('Z') || self.take('z') {
            return Some(0);
        }
        let sign = if self.take('+') { 1 } else { self.take('-').then_some(-1)? };
        let hours = self.digits(2)?;
        let minutes = self.take(':').then(|| self.digits(2))??;
        (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60_000)
    }
}

/// A time, shown as conditions write it: `2019-07-01T00:00:00.123Z`.
pub(crate) struct Iso(pub(crate) i64);

impl fmt::Display for Iso {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, of_day_ms) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000));
        let Date { year, month, day } = Date::of_day(days);
        let (minutes, ms) = (of_day_ms / 60_000, of_day_ms % 60_000);
        write!(f, "{year:04}-{month:02}-{day:02}T")?;
        write!(f, "{:02}:{:02}:{:02}", minutes / 60, minutes % 60, ms / 1000)?;
        if ms % 1000 != 0 {
            write!(f, ".{:03}", ms % 1000)?;
        }
        f.write_str("Z")
    }
}

#[cfg(test)]
mod tests {
    use super::{Iso, parse};

    #[test]
    fn every_form_that_aws_documents() {
        for (text, seconds) in [
            ("2019-07-01T00:00:00Z", 1_561_939_200),
            ("1970-01-01", 0),
            ("1970", 0),
            ("2000-03", 951_868_800),
            ("2024-02-29T12:30Z", 1_709_209_800),
            ("2024-02-29T12:30:00+02:00", 1_709_202_600),
            ("2024-02-29T12:30:00.000-00:30", 1_709_211_600),
            ("1561939200", 1_561_939_200),
            ("0", 0),
            ("-86400", -86_400),
        ] {
            assert_eq!(parse(text), Some(seconds * 1000), "{text}");
        }
        assert_eq!(parse("1970-01-01T00:00:00.1239Z"), Some(123));
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for ms in (-9_000_000_000_000..30_000_000_000_000_i64).step_by(12_345_678_901) {
            assert_eq!(parse(&Iso(ms).to_string()), Some(ms));
        }
    }

    #[test]
    fn what_is_no_date() {
        for text in [
            "",
            "-",
            "2024-13",
            "2023-02-29",
            "2024-02-30",
            "2024-1-01",
            "2024-02-29T",
            "2024-02-29T12Z",
            "2024-02-29T12:30",
            "2024-02-29T24:00Z",
            "2024-02T12:00Z",
            "2024-02-29T12:30:00.Z",
            "yesterday",
            "2024-02-29 12:30Z",
            "2024-02-29T12:30Zx",
            "20é4",
            "99999999999999999999",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
