//! Checking a value.
//!
//! The walk is that of the library behind API Gateway: all keywords of a schema, by name; then, while nothing in this report
//! is wrong, the elements in order or the members by name. `allOf` and its kin count how many of theirs are content, and keep
//! what these say to themselves.

use crate::compile::{Dependency, INTEGER, KINDS, NUMBER, Node, NodeId, Rule, Schema};
use crate::decimal::Decimal;
use crate::json::{canonical, number_text, quote};
use sluice_jsonpath::{Budget, Heap, JavaPattern, List, ListId, Map, MapId, Value};
use std::collections::HashSet;

/// Why a value is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// What is wrong with it, as AWS lists it: `[…, …]`.
    Faults(String),
    /// The budget is used up, or the value and its schema lead too deep.
    TooMuchWork,
}

/// What is told at most: each fault may quote the request.
const LONGEST_REPORT: usize = 8192;

/// Schemas within schemas; a body may nest 256 deep.
const DEEPEST: usize = 512;

struct TooMuchWork;

type Walk = Result<(), TooMuchWork>;

/// What was found; a silent one only counts.
struct Report {
    text: Option<String>,
    failed: bool,
}

impl Report {
    fn fault_if(&mut self, wrong: bool, text: impl FnOnce() -> String) {
        if wrong {
            self.fault(text);
        }
    }

    fn fault(&mut self, text: impl FnOnce() -> String) {
        self.failed = true;
        if let Some(report) = self.text.as_mut().filter(|report| report.len() < LONGEST_REPORT) {
            report.push_str(if report.is_empty() { "" } else { ", " });
            let mut fault = text();
            fault.truncate(fault.floor_char_boundary(LONGEST_REPORT));
            report.push_str(&fault);
        }
    }
}

impl Schema {
    /// Checks a value; each look at a part of it costs a unit of the budget, and long strings more.
    ///
    /// # Errors
    /// When it does not follow the schema, or costs too much.
    pub fn check(&self, heap: &Heap<'_>, value: &Value<'_>, budget: &mut Budget) -> Result<(), Invalid> {
        let mut checker = Checker { schema: self, heap, budget, depth: 0 };
        let mut report = Report { text: Some(String::new()), failed: false };
        let walk = checker.node(0, value, &mut report);
        match (walk, report.failed) {
            (Err(TooMuchWork), _) => Err(Invalid::TooMuchWork),
            (Ok(()), true) => Err(Invalid::Faults(format!("[{}]", report.text.unwrap_or_default()))),
            (Ok(()), false) => Ok(()),
        }
    }
}

struct Checker<'s, 'a, 'b> {
    schema: &'s Schema,
    heap: &'s Heap<'a>,
    budget: &'b mut Budget,
    depth: usize,
}

impl<'s, 'a> Checker<'s, 'a, '_> {
    fn spend(&mut self, units: usize) -> Walk {
        self.budget.spend(units as u64).map_err(|_| TooMuchWork)
    }

    fn finds(&mut self, pattern: &JavaPattern, text: &str) -> Result<bool, TooMuchWork> {
        pattern.finds_within(text, self.budget).map_err(|_| TooMuchWork)
    }

    fn node(&mut self, id: NodeId, value: &Value<'a>, report: &mut Report) -> Walk {
        self.spend(1)?;
        let mut at = id;
        // References that lead in circles were refused when the schema was compiled.
        while let Some(next) = self.schema.nodes.get(at).and_then(|node| node.reference) {
            self.spend(1)?;
            at = next;
        }
        let Some(node) = self.schema.nodes.get(at) else { return Ok(()) };
        if self.depth >= DEEPEST {
            return Err(TooMuchWork);
        }
        self.depth += 1;
        for rule in &node.rules {
            self.rule(node, rule, value, report)?;
        }
        if !report.failed {
            match value {
                Value::List(id) => self.elements(node, *id, report)?,
                Value::Map(id) => self.members(node, *id, report)?,
                _ => {}
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn elements(&mut self, node: &'s Node, id: ListId, report: &mut Report) -> Walk {
        for (at, item) in self.heap.list(id).items.iter().enumerate() {
            if let Some(schema) = node.items.get(at).copied().or(node.rest_items) {
                self.node(schema, item, report)?;
            }
        }
        Ok(())
    }

    fn members(&mut self, node: &'s Node, id: MapId, report: &mut Report) -> Walk {
        if node.properties.is_empty() && node.pattern_properties.is_empty() && node.rest_properties.is_none()
        {
            return Ok(());
        }
        let mut members: Vec<_> = self.heap.map(id).entries().collect();
        members.sort_by(|a, b| a.0.as_str().cmp(&b.0.as_str()));
        for (key, value) in members {
            let key = key.as_str().unwrap_or_default();
            let own = node.properties.get(key).copied();
            if let Some(schema) = own {
                self.node(schema, value, report)?;
            }
            let mut known = own.is_some();
            for (pattern, schema) in &node.pattern_properties {
                self.spend(1)?;
                if self.finds(pattern, key)? {
                    known = true;
                    self.node(*schema, value, report)?;
                }
            }
            if let (false, Some(schema)) = (known, node.rest_properties) {
                self.node(schema, value, report)?;
            }
        }
        Ok(())
    }

    fn rule(&mut self, node: &'s Node, rule: &'s Rule, value: &Value<'a>, report: &mut Report) -> Walk {
        match rule {
            Rule::AllOf(_) | Rule::AnyOf(_) | Rule::OneOf(_) | Rule::Not(_) => {
                return self.combination(rule, value, report);
            }
            Rule::Enum { canonical: known, shown } => {
                let text = self.canonical(value)?;
                if !known.contains(&text) {
                    report.fault(|| {
                        let value = show(self.heap, value);
                        format!("instance value ({value}) not found in enum (possible values: {shown})")
                    });
                }
            }
            Rule::Type(allowed) => {
                let kind = kind(value);
                if kind & allowed == 0 {
                    report.fault(|| type_fault(kind, *allowed));
                }
            }
            _ => match value {
                Value::Str(text) => return self.string(rule, text, report),
                Value::List(id) => return self.list(rule, self.heap.list(*id), report),
                Value::Map(id) => return self.map(node, rule, *id, value, report),
                _ if value.is_number() => number(rule, value, report),
                _ => {}
            },
        }
        Ok(())
    }

    /// How many of some schemas are content with the value.
    fn matching(&mut self, schemas: &[NodeId], value: &Value<'a>) -> Result<usize, TooMuchWork> {
        let mut matched = 0;
        for schema in schemas {
            let mut report = Report { text: None, failed: false };
            self.node(*schema, value, &mut report)?;
            matched += usize::from(!report.failed);
        }
        Ok(matched)
    }

    fn combination(&mut self, rule: &'s Rule, value: &Value<'a>, report: &mut Report) -> Walk {
        match rule {
            Rule::AllOf(schemas) => {
                let (matched, all) = (self.matching(schemas, value)?, schemas.len());
                if matched < all {
                    report.fault(|| {
                        format!("instance failed to match all required schemas (matched only {matched} out of {all})")
                    });
                }
            }
            Rule::AnyOf(schemas) => {
                let all = schemas.len();
                if self.matching(schemas, value)? == 0 {
                    report.fault(|| {
                        format!("instance failed to match at least one required schema among {all}")
                    });
                }
            }
            Rule::OneOf(schemas) => {
                let (matched, all) = (self.matching(schemas, value)?, schemas.len());
                if matched != 1 {
                    report.fault(|| {
                        format!(
                            "instance failed to match exactly one schema (matched {matched} out of {all})"
                        )
                    });
                }
            }
            Rule::Not(schema) => {
                let matched = self.matching(&[*schema], value)? == 1;
                report.fault_if(matched, || "instance matched a schema which it should not have".to_owned());
            }
            _ => {}
        }
        Ok(())
    }

    fn canonical(&mut self, value: &Value<'a>) -> Result<String, TooMuchWork> {
        let mut text = String::new();
        canonical(self.heap, value, &mut text);
        self.spend(text.len() / 16)?;
        Ok(text)
    }

    fn string(&mut self, rule: &'s Rule, text: &str, report: &mut Report) -> Walk {
        match rule {
            Rule::MaxLength(most) => {
                let length = text.chars().count();
                if length as u64 > *most {
                    report.fault(|| {
                        format!("string \"{text}\" is too long (length: {length}, maximum allowed: {most})")
                    });
                }
            }
            Rule::MinLength(least) => {
                let length = text.chars().count();
                if (length as u64) < *least {
                    report.fault(|| {
                        format!(
                            "string \"{text}\" is too short (length: {length}, required minimum: {least})"
                        )
                    });
                }
            }
            Rule::Pattern(source, pattern) => {
                self.spend(1)?;
                if !self.finds(pattern, text)? {
                    report.fault(|| {
                        format!("ECMA 262 regex \"{source}\" does not match input string \"{text}\"")
                    });
                }
            }
            Rule::Format(format) => {
                self.spend(1 + text.len() / 16)?;
                if !format.accepts(text) {
                    report.fault(|| format.complaint(text));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn list(&mut self, rule: &'s Rule, list: &List<'a>, report: &mut Report) -> Walk {
        let found = list.items.len();
        match rule {
            Rule::AdditionalItems(most) if found > *most => report.fault(|| {
                format!("schema only allows {most} elements in array but instance has {found} elements")
            }),
            Rule::MaxItems(most) if found as u64 > *most => report.fault(|| {
                format!("array is too long: must have at most {most} elements but instance has {found} elements")
            }),
            Rule::MinItems(least) if (found as u64) < *least => report.fault(|| {
                format!("array is too short: must have at least {least} elements but instance has {found} elements")
            }),
            Rule::UniqueItems => {
                let mut seen = HashSet::with_capacity(found);
                for item in &list.items {
                    self.spend(1)?;
                    let text = self.canonical(item)?;
                    if !seen.insert(text) {
                        report.fault(|| "array must not contain duplicate elements".to_owned());
                        break;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn map(
        &mut self,
        node: &'s Node,
        rule: &'s Rule,
        id: MapId,
        value: &Value<'a>,
        report: &mut Report,
    ) -> Walk {
        let map = self.heap.map(id);
        let found = map.len();
        match rule {
            Rule::MaxProperties(most) if found as u64 > *most => report.fault(|| {
                format!("object has too many properties (found {found} but schema requires at most {most})")
            }),
            Rule::MinProperties(least) if (found as u64) < *least => report.fault(|| {
                format!("object has too few properties (found {found} but schema requires at least {least})")
            }),
            Rule::Required(names) => {
                self.spend(names.len() / 4)?;
                let missing = missing(names, map);
                if !missing.is_empty() {
                    report.fault(|| format!("object has missing required properties ({})", list_of(missing)));
                }
            }
            Rule::AdditionalProperties => return self.closed(node, map, report),
            Rule::Dependencies(dependencies) => {
                for (name, dependency) in dependencies {
                    self.spend(1)?;
                    if map.get(name).is_some() {
                        self.dependency(name, dependency, map, value, report)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn dependency(
        &mut self,
        name: &str,
        dependency: &'s Dependency,
        map: &Map<'a>,
        value: &Value<'a>,
        report: &mut Report,
    ) -> Walk {
        match dependency {
            Dependency::Schema(schema) => self.node(*schema, value, report),
            Dependency::Properties(names) => {
                let missing = missing(names, map);
                if !missing.is_empty() {
                    report.fault(|| {
                        let required = list_of(names.iter().map(|name| &**name).collect());
                        let missing = list_of(missing);
                        format!(
                            "property \"{name}\" of object has missing property dependencies (schema requires \
                             {required}; missing: {missing})"
                        )
                    });
                }
                Ok(())
            }
        }
    }

    /// `additionalProperties: false`.
    fn closed(&mut self, node: &'s Node, map: &Map<'a>, report: &mut Report) -> Walk {
        let mut strangers = Vec::new();
        for (key, _) in map.entries() {
            let key = key.as_str().unwrap_or_default();
            self.spend(1 + node.pattern_properties.len())?;
            let mut known = node.properties.contains_key(key);
            for (pattern, _) in &node.pattern_properties {
                known = known || self.finds(pattern, key)?;
            }
            if !known {
                strangers.push(key);
            }
        }
        if !strangers.is_empty() {
            strangers.sort_unstable();
            report.fault(|| {
                format!(
                    "object instance has properties which are not allowed by the schema: {}",
                    list_of(strangers)
                )
            });
        }
        Ok(())
    }
}

fn number(rule: &Rule, value: &Value<'_>, report: &mut Report) {
    match rule {
        Rule::Maximum { limit, shown, exclusive } => {
            let found = Decimal::of(value);
            if found > *limit {
                let found = number_text(value);
                report.fault(|| {
                    format!("numeric instance is greater than the required maximum (maximum: {shown}, found: {found})")
                });
            } else if *exclusive && found == *limit {
                report.fault(|| {
                    format!("numeric instance is not strictly lower than the required maximum {shown}")
                });
            }
        }
        Rule::Minimum { limit, shown, exclusive } => {
            let found = Decimal::of(value);
            if found < *limit {
                let found = number_text(value);
                report.fault(|| {
                    format!("numeric instance is lower than the required minimum (minimum: {shown}, found: {found})")
                });
            } else if *exclusive && found == *limit {
                report.fault(|| {
                    format!("numeric instance is not strictly greater than the required minimum {shown}")
                });
            }
        }
        Rule::MultipleOf { divisor, shown } => {
            report.fault_if(!Decimal::of(value).is_multiple_of(divisor), || {
                format!("remainder of division is not zero ({} / {shown})", number_text(value))
            });
        }
        _ => {}
    }
}

/// A value's bit among [`KINDS`].
const fn kind(value: &Value<'_>) -> u8 {
    match value {
        Value::List(_) => 1,
        Value::Bool(_) => 1 << 1,
        Value::Int(_) | Value::Long(_) | Value::BigInt(_) => INTEGER,
        Value::Null | Value::Opaque(_) => 1 << 3,
        Value::Double(_) | Value::Decimal(_) => NUMBER,
        Value::Map(_) => 1 << 5,
        Value::Str(_) => 1 << 6,
    }
}

fn type_fault(found: u8, allowed: u8) -> String {
    let names =
        |bits: u8| KINDS.iter().enumerate().filter(move |(at, _)| bits >> at & 1 == 1).map(|(_, name)| *name);
    let found = names(found).next().unwrap_or_default();
    let allowed = list_of(names(allowed).collect());
    format!("instance type ({found}) does not match any allowed primitive type (allowed: {allowed})")
}

fn missing<'n>(names: &'n [Box<str>], map: &Map<'_>) -> Vec<&'n str> {
    names.iter().map(|name| &**name).filter(|name| map.get(name).is_none()).collect()
}

/// Names as a JSON list.
fn list_of(names: Vec<&str>) -> String {
    let mut out = "[".to_owned();
    for (at, name) in names.into_iter().enumerate() {
        out.push_str(if at == 0 { "" } else { "," });
        quote(name, &mut out);
    }
    out.push(']');
    out
}

/// A value as a message shows it.
fn show(heap: &Heap<'_>, value: &Value<'_>) -> String {
    let mut out = sluice_jsonpath::Out::new(LONGEST_REPORT);
    // What is too long is shown as far as it goes.
    let _ = sluice_jsonpath::write_json(heap, value, &mut out);
    out.into_string()
}
