//! Dates as HTTP writes them (RFC 9110 section 5.6.7).

use sluice_calendar::Date;

const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
/// The last second of the year 9999: four digits are all the format has.
const LAST: u64 = 253_402_300_799;

/// Two decimal digits.
fn two(n: u64) -> [u8; 2] {
    [b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8]
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` of seconds since 1970; capped at the year 9999.
pub(crate) fn imf_fixdate(unix_s: u64) -> [u8; 29] {
    let unix_s = unix_s.min(LAST);
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    let Date { year, month, day } = Date::of_day(days as i64);
    let year = year as u64;
    let week_day = DAYS.get((days % 7) as usize).copied().unwrap_or(b"Thu");
    let month = MONTHS.get(usize::from(month) - 1).copied().unwrap_or(b"Jan");
    let ([d0, d1], [h0, h1]) = (two(day.into()), two(second / 3_600));
    let ([m0, m1], [s0, s1]) = (two(second / 60 % 60), two(second % 60));
    let ([y0, y1], [y2, y3]) = (two(year / 100), two(year));
    let ([w0, w1, w2], [n0, n1, n2]) = (*week_day, *month);
    [
        w0, w1, w2, b',', b' ', d0, d1, b' ', n0, n1, n2, b' ', y0, y1, y2, y3, b' ', h0, h1, b':', m0, m1,
        b':', s0, s1, b' ', b'G', b'M', b'T',
    ]
}

/// Seconds since 1970 of an HTTP date in any of the three formats that a recipient must accept (RFC 9110 section 5.6.7): that
/// of [`imf_fixdate`], RFC 850's with a two-digit year, and that of C's `asctime`. Case matters, as the grammar says.
///
/// `now_unix_s` places two-digit years: one that would lie more than 50 years ahead is of the past century.
pub(crate) fn parse(text: &[u8], now_unix_s: u64) -> Option<u64> {
    let comma = text.iter().position(|b| *b == b',');
    match comma {
        Some(3) => parse_imf(text.get(4..)?),
        Some(at) => {
            let long: [&[u8]; 7] =
                [b"Thursday", b"Friday", b"Saturday", b"Sunday", b"Monday", b"Tuesday", b"Wednesday"];
            long.contains(&text.get(..at)?).then_some(())?;
            parse_rfc850(text.get(at + 1..)?, now_unix_s)
        }
        None => parse_asctime(text),
    }
    .filter(|_| comma != Some(3) || DAYS.iter().any(|day| text.starts_with(*day)))
}

/// ` 06 Nov 1994 08:49:37 GMT`
fn parse_imf(text: &[u8]) -> Option<u64> {
    let [b' ', d0, d1, b' ', n0, n1, n2, b' ', y0, y1, y2, y3, b' ', time @ .., b' ', b'G', b'M', b'T'] =
        text
    else {
        return None;
    };
    let year = digits(&[*y0, *y1, *y2, *y3])?;
    unix_s(year, month(&[*n0, *n1, *n2])?, digits(&[*d0, *d1])?, clock(time)?)
}

/// ` 06-Nov-94 08:49:37 GMT`
fn parse_rfc850(text: &[u8], now_unix_s: u64) -> Option<u64> {
    let [b' ', d0, d1, b'-', n0, n1, n2, b'-', y0, y1, b' ', time @ .., b' ', b'G', b'M', b'T'] = text else {
        return None;
    };
    let this_year = Date::of_day((now_unix_s.min(LAST) / 86_400) as i64).year as u64;
    let year = this_year - this_year % 100 + digits(&[*y0, *y1])?;
    let year = if year > this_year + 50 { year.checked_sub(100)? } else { year };
    unix_s(year, month(&[*n0, *n1, *n2])?, digits(&[*d0, *d1])?, clock(time)?)
}

/// `Sun Nov  6 08:49:37 1994`
fn parse_asctime(text: &[u8]) -> Option<u64> {
    let [w0, w1, w2, b' ', n0, n1, n2, b' ', d0, d1, b' ', time @ .., b' ', y0, y1, y2, y3] = text else {
        return None;
    };
    DAYS.contains(&&[*w0, *w1, *w2]).then_some(())?;
    let day = digits(&[if *d0 == b' ' { b'0' } else { *d0 }, *d1])?;
    unix_s(digits(&[*y0, *y1, *y2, *y3])?, month(&[*n0, *n1, *n2])?, day, clock(time)?)
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0')))
}

/// 1 to 12.
fn month(name: &[u8; 3]) -> Option<u64> {
    MONTHS.iter().position(|month| *month == name).map(|at| at as u64 + 1)
}

/// Seconds of `08:49:37`; 60 stands for a leap second.
fn clock(text: &[u8]) -> Option<u64> {
    let [h0, h1, b':', m0, m1, b':', s0, s1] = text else { return None };
    let (hour, minute, second) = (digits(&[*h0, *h1])?, digits(&[*m0, *m1])?, digits(&[*s0, *s1])?);
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3_600 + minute * 60 + second)
}

/// A day that the month has not is refused, and one before 1970.
fn unix_s(year: u64, month: u64, day: u64, second: u64) -> Option<u64> {
    let date = Date::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?)?;
    Some(u64::try_from(date.day_of()).ok()? * 86_400 + second)
}
