//! Days since 1970-01-01 and dates of the proleptic Gregorian calendar, each from the other. How dates are written is for
//! each format to say.
//!
//! Years are counted from March, so that the leap day ends one, in eras of 400 years (H. Hinnant, "chrono-Compatible
//! Low-Level Date Algorithms").

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

const DAYS_OF_ERA: i64 = 146_097;
/// From the first of March of the year 0.
const FIRST_OF_1970: i64 = 719_468;

/// A date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// 0 is the year before the year 1.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

impl Date {
    /// The date of a day since 1970-01-01.
    #[must_use]
    pub const fn of_day(days: i64) -> Self {
        let days = days + FIRST_OF_1970;
        let (era, of_era) = (days.div_euclid(DAYS_OF_ERA), days.rem_euclid(DAYS_OF_ERA));
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = era * 400 + year_of_era + (month <= 2) as i64;
        Self { year, month: month as u8, day: day as u8 }
    }

    /// The day since 1970-01-01 of a date that there is.
    #[must_use]
    pub const fn day_of(self) -> i64 {
        let (month, day) = (self.month as i64, self.day as i64);
        let (year, from_march) = if month > 2 { (self.year, month - 3) } else { (self.year - 1, month + 9) };
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let of_year = (153 * from_march + 2) / 5 + day - 1;
        era * DAYS_OF_ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - FIRST_OF_1970
    }

    /// The date of these numbers, if there is one.
    #[must_use]
    pub fn new(year: i64, month: u8, day: u8) -> Option<Self> {
        let date = Self { year, month, day };
        // A day that the month does not have comes back as another.
        ((1..=12).contains(&month) && Self::of_day(date.day_of()) == date).then_some(date)
    }
}

#[cfg(test)]
mod tests {
    use super::Date;

    #[test]
    fn dates_follow_each_other() {
        let mut last = Date::new(-401, 12, 31).unwrap();
        for day in last.day_of() + 1..=Date::new(2_801, 1, 1).unwrap().day_of() {
            let date = Date::of_day(day);
            assert_eq!(date.day_of(), day);
            let is_leap = last.year % 4 == 0 && (last.year % 100 != 0 || last.year % 400 == 0);
            let end = match last.month {
                2 => 28 + u8::from(is_leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            let next = match (last.month, last.day) {
                (month, day) if day < end => (last.year, month, day + 1),
                (12, _) => (last.year + 1, 1, 1),
                (month, _) => (last.year, month + 1, 1),
            };
            assert_eq!((date.year, date.month, date.day), next);
            last = date;
        }
    }

    #[test]
    fn day_0_and_days_that_are_none() {
        assert_eq!(Date::of_day(0), Date { year: 1970, month: 1, day: 1 });
        for (year, month, day) in [(2023, 2, 29), (1900, 2, 29), (2024, 2, 30), (2024, 4, 31), (2024, 0, 1)] {
            assert_eq!(Date::new(year, month, day), None);
        }
        for (month, day) in [(13, 1), (1, 0), (1, 32), (255, 255)] {
            assert_eq!(Date::new(2024, month, day), None);
        }
        assert!(Date::new(2024, 2, 29).is_some());
    }
}
