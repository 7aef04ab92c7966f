//! Numbers as Java reads and prints them.

use crate::text::Text;
use crate::value::Value;
use std::fmt::Write as _;

/// Floats longer than this keep their source text: json-smart makes a `BigDecimal` of them.
const LONGEST_DOUBLE: usize = 18;

/// The smallest Java kind that holds the integer.
#[must_use]
pub fn integer<'a>(number: i128) -> Value<'a> {
    if let Ok(int) = i32::try_from(number) {
        Value::Int(int)
    } else if let Ok(long) = i64::try_from(number) {
        Value::Long(long)
    } else {
        Value::BigInt(number.to_string().into())
    }
}

/// The value of a JSON number; `None` if the text isn't one.
#[must_use]
pub fn number(text: &str) -> Option<Value<'_>> {
    if !text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
        return match text.parse::<i128>() {
            Ok(number) => Some(integer(number)),
            Err(_) if text.len() > 30 => Some(Value::BigInt(Text::Borrowed(text))),
            Err(_) => None,
        };
    }
    if text.len() > LONGEST_DOUBLE {
        return Some(Value::Decimal(Text::Borrowed(text)));
    }
    text.parse().ok().map(Value::Double)
}

/// Appends a double as `Double.toString` prints it.
pub fn double_to_java(number: f64, out: &mut String) {
    if number.is_nan() {
        out.push_str("NaN");
        return;
    }
    if number.is_infinite() {
        out.push_str(if number > 0.0 { "Infinity" } else { "-Infinity" });
        return;
    }
    let magnitude = number.abs();
    let start = out.len();
    if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
        let _ = write!(out, "{number}");
        if out.get(start..).is_some_and(|digits| !digits.contains('.')) {
            out.push_str(".0");
        }
        return;
    }
    // Rust writes 1e7 and 1.5e7, Java 1.0E7 and 1.5E7.
    let text = format!("{number:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    out.push_str(mantissa);
    if !mantissa.contains('.') {
        out.push_str(".0");
    }
    out.push('E');
    out.push_str(exponent);
}

#[cfg(test)]
mod tests {
    use super::{double_to_java, number};
    use crate::value::Value;

    fn java(number: f64) -> String {
        let mut out = String::new();
        double_to_java(number, &mut out);
        out
    }

    #[test]
    fn doubles_print_as_java_prints_them() {
        for (number, text) in [
            (1.0, "1.0"),
            (0.5, "0.5"),
            (-0.0, "-0.0"),
            (100_000.0, "100000.0"),
            (1e7, "1.0E7"),
            (1.5e10, "1.5E10"),
            (9_999_999.0, "9999999.0"),
            (0.001, "0.001"),
            (0.000_1, "1.0E-4"),
            (1.234e-5, "1.234E-5"),
            (f64::INFINITY, "Infinity"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(java(number), text);
        }
    }

    #[test]
    fn a_number_has_the_kind_that_java_gives_it() {
        assert!(matches!(number("7"), Some(Value::Int(7))));
        assert!(matches!(number("-0"), Some(Value::Int(0))));
        assert!(matches!(number("2147483648"), Some(Value::Long(2_147_483_648))));
        assert!(matches!(number("12345678901234567890"), Some(Value::BigInt(_))));
        assert!(matches!(number(&"9".repeat(60)), Some(Value::BigInt(_))));
        assert!(matches!(number("1e5"), Some(Value::Double(_))));
        assert!(matches!(number("0.1234567890123456789012"), Some(Value::Decimal(_))));
        assert!(number("-").is_none());
    }
}
