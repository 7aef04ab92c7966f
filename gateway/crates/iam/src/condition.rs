//! One operator over one key: compiled, and asked.

use crate::context::{Context, Value};
use crate::date;
use crate::error::{At, PolicyError};
use crate::json::{Node, quote};
use crate::operator::{Comparison, Operator, Order, Quantifier};
use crate::pattern::{ArnPattern, Pattern, Syntax, single};
use crate::text::Scratch;
use ipnet::IpNet;
use std::net::IpAddr;

/// `"IpAddress": {"aws:SourceIp": ["192.0.2.0/24"]}`.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    operator: Operator,
    key: Box<str>,
    values: Values,
}

#[derive(Debug, Clone)]
enum Values {
    Text(Box<[Pattern]>),
    Number(Order, Box<[f64]>),
    Date(Order, Box<[i64]>),
    Bool(Box<[bool]>),
    Ip(Box<[IpNet]>),
    Arn(Box<[ArnPattern]>),
    /// Whether the key must be absent.
    Null(Box<[bool]>),
}

impl Condition {
    pub(crate) fn parse(
        operator: Operator,
        key: &str,
        node: &Node,
        at: At<'_>,
        variables: bool,
    ) -> Result<Self, PolicyError> {
        let one;
        let nodes = match node {
            Node::List(list) => list.as_slice(),
            single => {
                one = [single.clone()];
                &one
            }
        };
        if nodes.is_empty() {
            return Err(at.error("at least one value", "an empty list"));
        }
        let mut texts = Vec::with_capacity(nodes.len());
        for (index, item) in nodes.iter().enumerate() {
            let at = if matches!(node, Node::List(_)) { at.item(index) } else { at };
            texts.push(match item {
                Node::Text(text) | Node::Number(text) => text.clone(),
                Node::Bool(value) => value.to_string(),
                other => return Err(at.error("a text, number or boolean", other.describe())),
            });
        }
        let values = compile(operator, &texts, at, variables)?;
        Ok(Self { operator, key: key.to_ascii_lowercase().into(), values })
    }

    /// Whether a request meets it.
    pub(crate) fn holds(&self, context: &dyn Context) -> bool {
        let value = context.value(&self.key).filter(|value| !matches!(value, Value::Texts([])));
        if let Values::Null(absent) = &self.values {
            return absent.contains(&value.is_none());
        }
        let Operator { negated, if_exists, quantifier, .. } = self.operator;
        let Some(value) = value else {
            return if_exists
                || match quantifier {
                    Some(Quantifier::All) => true,
                    Some(Quantifier::Any) => false,
                    None => negated,
                };
        };
        let one;
        let values = match value {
            Value::Texts(texts) => {
                return decide(
                    texts.iter().map(|text| self.matches(Value::Text(text), context)),
                    negated,
                    quantifier,
                );
            }
            value => {
                one = [value];
                &one
            }
        };
        decide(values.iter().map(|value| self.matches(*value, context)), negated, quantifier)
    }

    /// Whether one of the policy's values is what the request has, negation aside.
    fn matches(&self, value: Value<'_>, context: &dyn Context) -> bool {
        let mut scratch = Scratch::new();
        match &self.values {
            Values::Text(patterns) => single(value, &mut scratch)
                .is_some_and(|text| patterns.iter().any(|pattern| pattern.matches(text, context))),
            Values::Arn(patterns) => single(value, &mut scratch)
                .is_some_and(|arn| patterns.iter().any(|pattern| pattern.matches(arn, context))),
            Values::Number(order, wanted) => {
                number(value).is_some_and(|found| wanted.iter().any(|wanted| order.holds(&found, wanted)))
            }
            Values::Date(order, wanted) => {
                time_ms(value).is_some_and(|found| wanted.iter().any(|wanted| order.holds(&found, wanted)))
            }
            Values::Bool(wanted) => boolean(value).is_some_and(|found| wanted.contains(&found)),
            Values::Ip(nets) => {
                address(value).is_some_and(|found| nets.iter().any(|net| net.contains(&found)))
            }
            Values::Null(_) => false,
        }
    }
}

/// From what holds for each of the request's values to what holds for the key. Without a quantifier, a key with several
/// values meets a positive operator by any of them, and a negated one only by all.
fn decide(mut matches: impl Iterator<Item = bool>, negated: bool, quantifier: Option<Quantifier>) -> bool {
    match quantifier {
        Some(Quantifier::All) => matches.all(|matched| matched != negated),
        Some(Quantifier::Any) => matches.any(|matched| matched != negated),
        None => matches.any(|matched| matched) != negated,
    }
}

fn number(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Number(number) => Some(number),
        Value::Text(text) => decimal(text),
        _ => None,
    }
}

fn decimal(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn time_ms(value: Value<'_>) -> Option<i64> {
    match value {
        Value::TimeMs(time_ms) => Some(time_ms),
        Value::Text(text) => date::parse(text),
        // aws:EpochTime: seconds. The cast saturates.
        #[allow(clippy::cast_possible_truncation)]
        Value::Number(seconds) => Some((seconds * 1000.0) as i64),
        _ => None,
    }
}

fn boolean(value: Value<'_>) -> Option<bool> {
    match value {
        Value::Bool(is) => Some(is),
        Value::Text(text) => truth(text),
        _ => None,
    }
}

fn truth(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        return Some(true);
    }
    text.eq_ignore_ascii_case("false").then_some(false)
}

fn address(value: Value<'_>) -> Option<IpAddr> {
    let ip = match value {
        Value::Ip(ip) => ip,
        Value::Text(text) => text.parse().ok()?,
        _ => return None,
    };
    // A dual-stack socket shows IPv4 clients as ::ffff:a.b.c.d.
    Some(ip.to_canonical())
}

fn network(text: &str) -> Option<IpNet> {
    match text.parse() {
        Ok(net) => Some(net),
        Err(_) => text.parse::<IpAddr>().ok().map(IpNet::from),
    }
}

fn compile(operator: Operator, texts: &[String], at: At<'_>, variables: bool) -> Result<Values, PolicyError> {
    let text = |ignore_case, wildcards| {
        let syntax = Syntax { wildcards, variables, ignore_case };
        each(texts, at, |text| Pattern::compile(text, syntax))
    };
    Ok(match operator.comparison {
        Comparison::Text { ignore_case, wildcards } => Values::Text(text(ignore_case, wildcards)?),
        Comparison::Binary => Values::Text(text(false, false)?),
        Comparison::Number(order) => {
            Values::Number(order, each(texts, at, |text| decimal(text).ok_or("a number"))?)
        }
        Comparison::Date(order) => {
            let expected = "a date (2019-07-01T00:00:00Z) or seconds since 1970";
            Values::Date(order, each(texts, at, |text| date::parse(text).ok_or(expected))?)
        }
        Comparison::Bool => Values::Bool(each(texts, at, |text| truth(text).ok_or("true or false"))?),
        Comparison::Null => Values::Null(each(texts, at, |text| truth(text).ok_or("true or false"))?),
        Comparison::Ip => {
            let expected = "an IP address or a CIDR block (192.0.2.0/24)";
            Values::Ip(each(texts, at, |text| network(text).ok_or(expected))?)
        }
        Comparison::Arn => Values::Arn(each(texts, at, |text| ArnPattern::compile(text, variables))?),
    })
}

fn each<T>(
    texts: &[String],
    at: At<'_>,
    compile: impl Fn(&str) -> Result<T, &'static str>,
) -> Result<Box<[T]>, PolicyError> {
    texts.iter().map(|text| compile(text).map_err(|expected| at.error(expected, quote(text)))).collect()
}
