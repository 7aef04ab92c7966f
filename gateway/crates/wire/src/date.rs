//! Dates as HTTP writes them (RFC 9110 section 5.6.7).

const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
/// The last second of the year 9999: four digits are all the format has.
const LAST: u64 = 253_402_300_799;

/// Year, month (1 to 12) and day of a day number since 1970-01-01: the civil calendar, counted from March so that the
/// leap day ends a year.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// Two decimal digits.
fn two(n: u64) -> [u8; 2] {
    [b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8]
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` of seconds since 1970; capped at the year 9999.
pub(crate) fn imf_fixdate(unix_s: u64) -> [u8; 29] {
    let unix_s = unix_s.min(LAST);
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    let (year, month, day) = civil(days);
    let week_day = DAYS.get((days % 7) as usize).copied().unwrap_or(b"Thu");
    let month = MONTHS.get(month as usize - 1).copied().unwrap_or(b"Jan");
    let ([d0, d1], [h0, h1]) = (two(day), two(second / 3_600));
    let ([m0, m1], [s0, s1]) = (two(second / 60 % 60), two(second % 60));
    let ([y0, y1], [y2, y3]) = (two(year / 100), two(year));
    let ([w0, w1, w2], [n0, n1, n2]) = (*week_day, *month);
    [
        w0, w1, w2, b',', b' ', d0, d1, b' ', n0, n1, n2, b' ', y0, y1, y2, y3, b' ', h0, h1, b':', m0, m1,
        b':', s0, s1, b' ', b'G', b'M', b'T',
    ]
}
