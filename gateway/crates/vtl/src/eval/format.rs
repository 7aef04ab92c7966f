//! `String.format`: `java.util.Formatter` for the values that templates have, in the root locale.

use super::{Eval, Fault, Run};
use sluice_jsonpath::Value;

/// Wider fields than this are a fault: they are a way to make output, not to align it.
const WIDTH_MAX: usize = 10_000;

/// `%[argument$][flags][width][.precision]conversion`.
#[derive(Debug, Default)]
struct Spec {
    argument: Option<usize>,
    same_as_before: bool,
    left: bool,
    zero: bool,
    plus: bool,
    space: bool,
    group: bool,
    parentheses: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
    conversion: char,
}

impl<'a> Eval<'a, '_> {
    /// Formats `args` by `pattern`. What Java throws at is a fault.
    pub(super) fn format(&mut self, pattern: &str, args: &[Value<'a>]) -> Run<String> {
        let mut out = String::with_capacity(pattern.len() + 16);
        let (mut rest, mut next, mut last) = (pattern, 0, None);
        while let Some(at) = rest.find('%') {
            out.push_str(rest.get(..at).unwrap_or_default());
            let (spec, after) = Spec::parse(rest.get(at + 1..).unwrap_or_default()).ok_or_else(|| {
                Fault::failed(format!(
                    "UnknownFormatConversionException: {}",
                    rest.get(at..).unwrap_or_default()
                ))
            })?;
            rest = after;
            let text = match spec.conversion {
                '%' => "%".to_owned(),
                'n' => "\n".to_owned(),
                _ => {
                    let index = match spec.argument {
                        Some(index) => index,
                        None if spec.same_as_before => last.ok_or_else(|| missing(&spec))?,
                        None => {
                            next += 1;
                            next - 1
                        }
                    };
                    last = Some(index);
                    let value = args.get(index).ok_or_else(|| missing(&spec))?;
                    self.formatted(&spec, value)?
                }
            };
            spec.padded(&text, &mut out);
            self.room_for(out.len())?;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn formatted(&mut self, spec: &Spec, value: &Value<'a>) -> Run<String> {
        let wrong = || Fault::failed(format!("IllegalFormatConversionException: {}", spec.conversion));
        let is_null = matches!(value, Value::Null);
        let text = match spec.conversion.to_ascii_lowercase() {
            's' if is_null => spec.cut("null"),
            's' => spec.cut(&self.text(value)?),
            'b' => spec.cut(match value {
                Value::Null | Value::Bool(false) => "false",
                _ => "true",
            }),
            _ if is_null => spec.cut("null"),
            'c' => match value {
                Value::Int(code) => {
                    let char = u32::try_from(*code).ok().and_then(char::from_u32).ok_or_else(wrong)?;
                    char.to_string()
                }
                _ => return Err(wrong()),
            },
            'd' => spec.signed(spec.whole(value).ok_or_else(wrong)?),
            'x' => spec.radix(value, 16).ok_or_else(wrong)?,
            'o' => spec.radix(value, 8).ok_or_else(wrong)?,
            'f' => spec.real(value).ok_or_else(wrong)?,
            'e' => spec.scientific(value).ok_or_else(wrong)?,
            'h' => format!("{:x}", super::util::scalar_hash(value)),
            _ => return Err(Fault::failed(format!("UnknownFormatConversionException: {}", spec.conversion))),
        };
        Ok(if spec.conversion.is_ascii_uppercase() { text.to_uppercase() } else { text })
    }
}

fn missing(spec: &Spec) -> Fault {
    Fault::failed(format!("MissingFormatArgumentException: %{}", spec.conversion))
}

impl Spec {
    /// Reads one, without its `%`, and what follows it.
    fn parse(text: &str) -> Option<(Self, &str)> {
        let mut spec = Self::default();
        let mut rest = text;
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if let Some(after) = rest.get(digits..).and_then(|after| after.strip_prefix('$'))
            && digits > 0
        {
            spec.argument = Some(rest.get(..digits)?.parse::<usize>().ok()?.checked_sub(1)?);
            rest = after;
        }
        let mut chars = rest.char_indices();
        let at = loop {
            let (at, char) = chars.next()?;
            match char {
                '-' => spec.left = true,
                '0' => spec.zero = true,
                '+' => spec.plus = true,
                ' ' => spec.space = true,
                ',' => spec.group = true,
                '(' => spec.parentheses = true,
                '#' => spec.alternate = true,
                '<' => spec.same_as_before = true,
                _ => break at,
            }
        };
        rest = rest.get(at..)?;
        (spec.width, rest) = number(rest)?;
        if let Some(after) = rest.strip_prefix('.') {
            let (precision, after) = number(after).filter(|(_, left)| left.len() < after.len())?;
            (spec.precision, rest) = (Some(precision), after);
        }
        let mut chars = rest.chars();
        spec.conversion = chars.next()?;
        let is_valid = spec.width <= WIDTH_MAX && spec.precision.unwrap_or(0) <= WIDTH_MAX;
        // Java: `-` and `0` want a width, and not each other.
        let is_sound = !(spec.left && spec.zero) && (spec.width > 0 || !(spec.left || spec.zero));
        (is_valid && is_sound).then_some((spec, chars.as_str()))
    }

    fn cut(&self, text: &str) -> String {
        match self.precision {
            Some(most) => text.chars().take(most).collect(),
            None => text.to_owned(),
        }
    }

    /// The digits of an integer, with its sign.
    fn whole(&self, value: &Value<'_>) -> Option<(bool, String)> {
        if self.precision.is_some() {
            return None;
        }
        let digits = match value {
            Value::Int(number) => number.to_string(),
            Value::Long(number) => number.to_string(),
            Value::BigInt(digits) => digits.to_string(),
            _ => return None,
        };
        Some(match digits.strip_prefix('-') {
            Some(digits) => (true, digits.to_owned()),
            None => (false, digits),
        })
    }

    /// Sign, grouping, and zeros up to the width.
    fn signed(&self, (negative, digits): (bool, String)) -> String {
        let (whole, fraction) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
        let whole = if self.group { grouped(whole) } else { whole.to_owned() };
        let before = match negative {
            true if self.parentheses => "(",
            true => "-",
            false if self.plus => "+",
            false if self.space => " ",
            false => "",
        };
        let after = if negative && self.parentheses { ")" } else { "" };
        let length = before.len() + whole.len() + fraction.len() + after.len();
        let zeros = if self.zero { self.width.saturating_sub(length) } else { 0 };
        format!("{before}{}{whole}{fraction}{after}", "0".repeat(zeros))
    }

    /// Hexadecimal or octal: a negative number is its two's complement, as wide as its type.
    fn radix(&self, value: &Value<'_>, radix: u32) -> Option<String> {
        let number = match value {
            Value::Int(number) => u64::from(number.cast_unsigned()),
            Value::Long(number) => number.cast_unsigned(),
            _ => return None,
        };
        let (digits, before) =
            if radix == 16 { (format!("{number:x}"), "0x") } else { (format!("{number:o}"), "0") };
        let before = if self.alternate { before } else { "" };
        let zeros = if self.zero { self.width.saturating_sub(before.len() + digits.len()) } else { 0 };
        Some(format!("{before}{}{digits}", "0".repeat(zeros)))
    }

    /// Java formats floating-point numbers only.
    fn double(value: &Value<'_>) -> Option<f64> {
        matches!(value, Value::Double(_) | Value::Decimal(_)).then(|| value.as_double())?
    }

    fn real(&self, value: &Value<'_>) -> Option<String> {
        let number = Self::double(value)?;
        if !number.is_finite() {
            return Some(not_finite(number));
        }
        let places = self.precision.unwrap_or(6);
        Some(self.signed((number.is_sign_negative(), half_up(number.abs(), places))))
    }

    fn scientific(&self, value: &Value<'_>) -> Option<String> {
        let number = Self::double(value)?;
        if !number.is_finite() {
            return Some(not_finite(number));
        }
        let text = format!("{:.*e}", self.precision.unwrap_or(6), number.abs());
        let (mantissa, exponent) = text.split_once('e')?;
        let exponent: i32 = exponent.parse().ok()?;
        let sign = if exponent < 0 { '-' } else { '+' };
        let digits = format!("{mantissa}e{sign}{:02}", exponent.abs());
        Some(self.signed((number.is_sign_negative(), digits)))
    }

    fn padded(&self, text: &str, out: &mut String) {
        let missing = self.width.saturating_sub(text.encode_utf16().count());
        if !self.left {
            out.extend(std::iter::repeat_n(' ', missing));
        }
        out.push_str(text);
        if self.left {
            out.extend(std::iter::repeat_n(' ', missing));
        }
    }
}

/// Decimals as Java rounds them: half up, of the shortest digits that tell the number.
fn half_up(number: f64, places: usize) -> String {
    let exact = format!("{number}");
    let (whole, fraction) = exact.split_once('.').unwrap_or((&exact, ""));
    if fraction.len() <= places {
        let point = if places == 0 { "" } else { "." };
        return format!("{whole}{point}{fraction:0<places$}");
    }
    let up = fraction.as_bytes().get(places).is_some_and(|digit| *digit >= b'5');
    let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes().take(places)).collect();
    let mut carry = up;
    for digit in digits.iter_mut().rev().take_while(|_| up) {
        if !carry {
            break;
        }
        carry = *digit == b'9';
        *digit = if carry { b'0' } else { *digit + 1 };
    }
    if carry {
        digits.insert(0, b'1');
    }
    let point = digits.len() - places;
    let text = String::from_utf8_lossy(&digits);
    match places {
        0 => text.into_owned(),
        _ => format!("{}.{}", text.get(..point).unwrap_or_default(), text.get(point..).unwrap_or_default()),
    }
}

fn not_finite(number: f64) -> String {
    if number.is_nan() {
        "NaN".to_owned()
    } else if number > 0.0 {
        "Infinity".to_owned()
    } else {
        "-Infinity".to_owned()
    }
}

fn grouped(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number without a sign; 0 where there is none.
fn number(text: &str) -> Option<(usize, &str)> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = text.get(..text.len() - rest.len())?;
    if digits.is_empty() { Some((0, rest)) } else { Some((digits.parse().ok()?, rest)) }
}

#[cfg(test)]
mod tests {
    use super::half_up;

    #[test]
    fn halves_are_rounded_up() {
        for (number, places, text) in [
            (0.125, 2, "0.13"),
            (2.5, 0, "3"),
            (9.999, 2, "10.00"),
            (1.0, 3, "1.000"),
            (0.0, 1, "0.0"),
            (1e21, 1, "1000000000000000000000.0"),
        ] {
            assert_eq!(half_up(number, places), text);
        }
    }
}
