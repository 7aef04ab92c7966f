//! `YYYYMMDDTHHMMSSZ` and seconds since 1970.

use sluice_calendar::Date;

/// As `X-Amz-Date` has it.
pub fn amz_date(unix_s: u64) -> String {
    let (days, of_day) = (unix_s / 86_400, unix_s % 86_400);
    let Date { year, month, day } = Date::of_day(days as i64);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Reads what [`amz_date`] writes; `None` for anything else.
pub fn parse_amz_date(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes.get(8) != Some(&b'T') || bytes.get(15) != Some(&b'Z') {
        return None;
    }
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>().ok())?
    };
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
    let valid = hour < 24 && minute < 60 && second < 60;
    let date = Date::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?)?;
    let days = u64::try_from(date.day_of()).ok().filter(|_| valid)?;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_as_they_went() {
        for unix_s in [0, 951_782_399, 951_782_400, 1_440_938_160, 4_102_444_799] {
            assert_eq!(parse_amz_date(&amz_date(unix_s)), Some(unix_s));
        }
        assert_eq!(amz_date(1_440_938_160), "20150830T123600Z");
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "20150830T123600",
            "20150231T000000Z",
            "20151301T000000Z",
            "2015+830T123600Z",
            "20150830t123600Z",
        ] {
            assert_eq!(parse_amz_date(text), None, "{text}");
        }
    }
}
