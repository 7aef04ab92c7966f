//! Arithmetic as Velocity's `MathUtils` does it: the wider kind wins, integers widen when they overflow.

use crate::ast::Operation;
use sluice_jsonpath::{Value, integer};
use std::cmp::Ordering;

/// Order of two numbers; `None` if one is none.
pub(super) fn order(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    match (left.as_integer(), right.as_integer()) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_double()?.partial_cmp(&right.as_double()?),
    }
}

/// The result, or null where Velocity logs and yields null: not a number, or division by zero.
pub(super) fn calculate<'a>(operation: Operation, left: &Value<'a>, right: &Value<'a>) -> Value<'a> {
    if let (Some(a), Some(b)) = (left.as_integer(), right.as_integer()) {
        let result = match operation {
            Operation::Add => a.checked_add(b),
            Operation::Subtract => a.checked_sub(b),
            Operation::Multiply => a.checked_mul(b),
            Operation::Divide => a.checked_div(b),
            Operation::Modulo => a.checked_rem(b),
        };
        let Some(result) = result else { return Value::Null };
        // The result has the wider kind of the two.
        let long = matches!(left, Value::Long(_)) || matches!(right, Value::Long(_));
        return match integer(result) {
            Value::Int(number) if long => Value::Long(i64::from(number)),
            value => value,
        };
    }
    let (Some(a), Some(b)) = (left.as_double(), right.as_double()) else { return Value::Null };
    Value::Double(match operation {
        Operation::Add => a + b,
        Operation::Subtract => a - b,
        Operation::Multiply => a * b,
        Operation::Divide | Operation::Modulo if b == 0.0 => return Value::Null,
        Operation::Divide => a / b,
        Operation::Modulo => a % b,
    })
}
