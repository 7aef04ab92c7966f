//! Expressions.

use super::{Eval, Run, math, truth};
use crate::ast::{Comparison, Expr, Operation};
use sluice_jsonpath::{ListKind, MapKind, Text, Value};
use std::cmp::Ordering;

/// Longest range; Velocity would build any.
const LONGEST_RANGE: u64 = 100_000;

impl<'a> Eval<'a, '_> {
    pub(super) fn expr(&mut self, expr: &'a Expr) -> Run<Value<'a>> {
        Ok(match expr {
            Expr::Runt => Value::Null,
            Expr::Bool(value) => Value::Bool(*value),
            Expr::Int(number) => Value::Int(*number),
            Expr::Long(number) => Value::Long(*number),
            Expr::BigInt(digits) => Value::BigInt(Text::Borrowed(digits)),
            Expr::Double(number) => Value::Double(*number),
            Expr::Str(text) => Value::Str(Text::Borrowed(text)),
            Expr::Interpolated { body, padded } => {
                let mut text = self.captured(body)?;
                if *padded {
                    text.pop();
                }
                Value::text(text)
            }
            Expr::Reference(reference) => self.reference(reference)?,
            Expr::List(items) => {
                let items = items.iter().map(|item| self.expr(item)).collect::<Run<Vec<_>>>()?;
                Value::List(self.heap.new_list(ListKind::Java, items)?)
            }
            Expr::Map(entries) => {
                let id = self.heap.new_map(MapKind::Linked)?;
                for (key, value) in entries {
                    let (key, value) = (self.expr(key)?, self.expr(value)?);
                    self.heap.put(id, key, value)?;
                }
                Value::Map(id)
            }
            Expr::Range(bounds, at) => self.range(bounds).map_err(|fault| fault.at(*at))?,
            Expr::Not(_) | Expr::And(_) | Expr::Or(_) => Value::Bool(self.condition(expr)?),
            Expr::Compare(comparison, sides) => {
                let (left, right) = (self.expr(&sides.0)?, self.expr(&sides.1)?);
                Value::Bool(self.compare(*comparison, &left, &right)?)
            }
            Expr::Math(operation, sides) => {
                let (left, right) = (self.expr(&sides.0)?, self.expr(&sides.1)?);
                self.math(*operation, &left, &right)?
            }
        })
    }

    /// Whether a condition holds: references do unless `false`; literals other than `true`, and sums, never do.
    pub(super) fn condition(&mut self, expr: &'a Expr) -> Run<bool> {
        Ok(match expr {
            Expr::Not(inner) => !self.condition(inner)?,
            Expr::And(sides) => self.condition(&sides.0)? && self.condition(&sides.1)?,
            Expr::Or(sides) => self.condition(&sides.0)? || self.condition(&sides.1)?,
            Expr::Bool(_) | Expr::Reference(_) | Expr::Compare(..) => truth(&self.expr(expr)?),
            _ => false,
        })
    }

    fn range(&mut self, bounds: &'a (Expr, Expr)) -> Run<Value<'a>> {
        let (first, last) = (self.expr(&bounds.0)?, self.expr(&bounds.1)?);
        let (Some(first), Some(last)) = (bound(&first), bound(&last)) else {
            // Velocity logs that a bound is no integer, and the range is null.
            return Ok(Value::Null);
        };
        let count = u64::from(first.abs_diff(last)) + 1;
        if count > LONGEST_RANGE {
            return Err(super::Fault::limit("length of a range"));
        }
        self.budget.spend(count)?;
        let items = if first <= last {
            (first..=last).map(Value::Int).collect()
        } else {
            (last..=first).rev().map(Value::Int).collect()
        };
        Ok(Value::List(self.heap.new_list(ListKind::Java, items)?))
    }

    fn compare(&mut self, comparison: Comparison, left: &Value<'a>, right: &Value<'a>) -> Run<bool> {
        match comparison {
            Comparison::Equal => return self.loosely_equal(left, right),
            Comparison::NotEqual => return self.loosely_equal(left, right).map(|equal| !equal),
            _ => {}
        }
        // What is not a number is neither less nor greater.
        let Some(order) = math::order(left, right) else { return Ok(false) };
        Ok(match comparison {
            Comparison::Less => order == Ordering::Less,
            Comparison::LessOrEqual => order != Ordering::Greater,
            Comparison::Greater => order == Ordering::Greater,
            _ => order != Ordering::Less,
        })
    }

    /// `==`: numbers by value, things of one class by `equals`, all else by their text.
    fn loosely_equal(&mut self, left: &Value<'a>, right: &Value<'a>) -> Run<bool> {
        if matches!(left, Value::Null) || matches!(right, Value::Null) {
            return Ok(matches!((left, right), (Value::Null, Value::Null)));
        }
        if left.is_number() && right.is_number() {
            return Ok(math::order(left, right) == Some(Ordering::Equal));
        }
        match (left, right) {
            (Value::Str(a), Value::Str(b)) => Ok(a == b),
            (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
            (Value::List(_), Value::List(_)) | (Value::Map(_), Value::Map(_)) => self.equals(left, right, 0),
            _ => Ok(*self.text(left)? == *self.text(right)?),
        }
    }

    fn math(&mut self, operation: Operation, left: &Value<'a>, right: &Value<'a>) -> Run<Value<'a>> {
        let text = matches!(left, Value::Str(_)) || matches!(right, Value::Str(_));
        if operation == Operation::Add && text {
            let (left, right) = (self.text(left)?, self.text(right)?);
            self.room_for(left.len() + right.len())?;
            return Ok(Value::text(format!("{left}{right}")));
        }
        Ok(math::calculate(operation, left, right))
    }
}

fn bound(value: &Value<'_>) -> Option<i32> {
    value.as_integer().and_then(|number| i32::try_from(number).ok())
}
