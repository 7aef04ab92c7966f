//! Numbers by their digits: compared and divided as `BigDecimal`s are, without rounding.

use sluice_jsonpath::Value;
use std::cmp::Ordering;
use std::fmt::Write as _;

/// `±digits × 10^exponent`; digits without zeros at either end, none for zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    /// Of a number; zero of anything else.
    pub(crate) fn of(value: &Value<'_>) -> Self {
        match value {
            Value::Int(number) => Self::parse(&number.to_string()),
            Value::Long(number) => Self::parse(&number.to_string()),
            // The shortest digits that lead to this double: those of its source, where they were 17 or fewer.
            Value::Double(number) => Self::parse(&format!("{number:e}")),
            Value::BigInt(digits) | Value::Decimal(digits) => Self::parse(digits),
            _ => Self::default(),
        }
    }

    fn parse(text: &str) -> Self {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        // An exponent that 64 bits don't hold is as good as the largest that they do.
        let sign = if exponent.starts_with('-') { -1 } else { 1 };
        let exponent: i64 = exponent.parse().unwrap_or(sign * i64::from(i32::MAX));
        let exponent = exponent.clamp(-i64::from(i32::MAX), i64::from(i32::MAX));
        let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let mut exponent = exponent - i64::try_from(fraction.len()).unwrap_or(0);
        while digits.last() == Some(&b'0') {
            digits.pop();
            exponent += 1;
        }
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        digits.drain(..zeros);
        if digits.is_empty() {
            return Self::default();
        }
        Self { negative, digits, exponent }
    }

    /// How many digits stand before the decimal point; may be negative.
    fn magnitude(&self) -> i64 {
        self.exponent + i64::try_from(self.digits.len()).unwrap_or(i64::MAX / 2)
    }

    pub(crate) fn is_positive(&self) -> bool {
        !self.negative && !self.digits.is_empty()
    }

    pub(crate) fn as_u64(&self) -> Option<u64> {
        if self.negative || !(0..=19).contains(&self.exponent) {
            return (self.digits.is_empty()).then_some(0);
        }
        let digits = std::str::from_utf8(&self.digits).ok()?;
        let number = if digits.is_empty() { 0 } else { digits.parse::<u64>().ok()? };
        number.checked_mul(10_u64.checked_pow(u32::try_from(self.exponent).ok()?)?)
    }

    pub(crate) fn canonical(&self, out: &mut String) {
        out.push_str(if self.negative { "-" } else { "" });
        out.push_str(std::str::from_utf8(&self.digits).unwrap_or_default());
        let _ = write!(out, "e{}", self.exponent);
    }

    /// Whether `self` is a multiple of `divisor`, exactly.
    pub(crate) fn is_multiple_of(&self, divisor: &Self) -> bool {
        if self.digits.is_empty() {
            return true;
        }
        // Both are whole numbers of 10^divisor.exponent, or this one has digits that no multiple has.
        let Ok(shift) = u64::try_from(self.exponent - divisor.exponent) else {
            return false;
        };
        let Some(modulus) =
            std::str::from_utf8(&divisor.digits).ok().and_then(|text| text.parse::<u64>().ok())
        else {
            // A divisor of more than 19 digits: only itself, times powers of ten, is told from others.
            return self.digits == divisor.digits;
        };
        if modulus == 0 {
            return false;
        }
        let modulus = u128::from(modulus);
        let rest = self.digits.iter().fold(0, |rest, digit| (rest * 10 + u128::from(digit - b'0')) % modulus);
        (rest * power(10, shift, modulus)).is_multiple_of(modulus)
    }
}

/// `base^exponent mod modulus`.
fn power(base: u128, mut exponent: u64, modulus: u128) -> u128 {
    let mut result = 1 % modulus;
    let mut base = base % modulus;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * base % modulus;
        }
        base = base * base % modulus;
        exponent >>= 1;
    }
    result
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |one: &Self| {
            if one.digits.is_empty() {
                0
            } else if one.negative {
                -1
            } else {
                1
            }
        };
        let signs = sign(self).cmp(&sign(other));
        if signs != Ordering::Equal || self.digits.is_empty() {
            return signs;
        }
        // Digits begin with another than zero and end with one: without their ends they compare as text does.
        let sizes = self.magnitude().cmp(&other.magnitude()).then_with(|| self.digits.cmp(&other.digits));
        if self.negative { sizes.reverse() } else { sizes }
    }
}

#[cfg(test)]
mod tests {
    use super::Decimal;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text)
    }

    #[test]
    fn equal_numbers_are_equal_however_they_are_written() {
        for (a, b) in
            [("1", "1.0"), ("100", "1e2"), ("0", "-0.00"), ("0.0001", "1E-4"), ("-12.50", "-125e-1")]
        {
            assert_eq!(decimal(a), decimal(b));
        }
        assert_eq!(decimal("5e2").as_u64(), Some(500));
        assert_eq!(decimal("0").as_u64(), Some(0));
        assert_eq!(decimal("1.5").as_u64(), None);
        assert_eq!(decimal("-1").as_u64(), None);
        assert_eq!(decimal("1e40").as_u64(), None);
    }

    #[test]
    fn numbers_are_ordered_by_value() {
        let sorted = ["-1e9", "-10", "-9.5", "-0.001", "0", "0.0009", "0.1", "0.11", "1", "9", "10", "1e400"];
        for pair in sorted.windows(2) {
            assert!(decimal(pair[0]) < decimal(pair[1]), "{pair:?}");
            assert!(decimal(pair[1]) > decimal(pair[0]), "{pair:?}");
        }
    }

    #[test]
    fn division_is_exact() {
        for (number, divisor, multiple) in [
            ("10", "2", true),
            ("7", "2", false),
            ("0", "2", true),
            ("4.5", "1.5", true),
            ("35", "1.5", false),
            ("0.0075", "0.0001", true),
            ("0.00751", "0.0001", false),
            ("1e308", "0.5", true),
            ("1e308", "0.123456789", false),
            ("0.5", "1", false),
            ("300", "1e2", true),
            ("250", "1e2", false),
            ("-9", "3", true),
            ("1e2147483647", "7", false),
        ] {
            assert_eq!(decimal(number).is_multiple_of(&decimal(divisor)), multiple, "{number} / {divisor}");
        }
    }
}
