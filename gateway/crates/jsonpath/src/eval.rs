//! Reading with a path.
//!
//! Where a definite path leads nowhere there is no result; where an indefinite one does, that branch is skipped. So
//! `$.missing` is nothing; `$..missing` and `$.missing[*]` are empty lists.

use crate::MAX_DEPTH;
use crate::filter::{Filter, Literal, Operand, Operator};
use crate::heap::{Heap, ListKind, MapKind, TooManyValues};
use crate::path::{Function, Path, Step};
use crate::text::Text;
use crate::value::Value;
use std::cmp::Ordering;

/// Work that may still be done: one unit for each value looked at.
#[derive(Clone, Copy, Debug)]
pub struct Budget(u64);

impl Budget {
    /// So many units.
    #[must_use]
    pub const fn new(units: u64) -> Self {
        Self(units)
    }

    /// Units that are left.
    #[must_use]
    pub const fn left(self) -> u64 {
        self.0
    }

    /// Uses units up.
    ///
    /// # Errors
    /// When fewer are left.
    pub const fn spend(&mut self, units: u64) -> Result<(), ReadError> {
        match self.0.checked_sub(units) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => {
                self.0 = 0;
                Err(ReadError::TooMuchWork)
            }
        }
    }
}

/// Why a read ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The budget is used up.
    TooMuchWork,
    /// The heap is full.
    TooManyValues,
}

impl From<TooManyValues> for ReadError {
    fn from(_: TooManyValues) -> Self {
        Self::TooManyValues
    }
}

pub(crate) fn read<'a>(
    path: &Path,
    heap: &mut Heap<'a>,
    root: &Value<'a>,
    budget: &mut Budget,
) -> Result<Option<Value<'a>>, ReadError> {
    let mut walk = Walk { heap, root, budget, found: Vec::new(), picks: Vec::new() };
    walk.steps(&path.steps, root, true, 0)?;
    let (mut found, picks) = (walk.found, walk.picks);
    for (at, entries) in picks {
        let id = heap.new_map(MapKind::Linked)?;
        for (key, value) in entries {
            heap.put(id, Value::Str(key), value)?;
        }
        if let Some(place) = found.get_mut(at) {
            *place = Value::Map(id);
        }
    }
    if let Some(function) = path.function {
        let items = match (path.is_definite(), found.first()) {
            (true, Some(Value::List(id))) => heap.list(*id).items.clone(),
            (true, Some(other)) => return apply_to_one(function, heap, other),
            (true, None) => return Ok(None),
            (false, _) => found,
        };
        budget.spend(items.len() as u64)?;
        return apply(function, heap, items);
    }
    if path.is_definite() {
        return Ok(found.pop());
    }
    Ok(Some(Value::List(heap.new_list(ListKind::Json, found)?)))
}

struct Walk<'h, 'a, 'b> {
    heap: &'h Heap<'a>,
    root: &'h Value<'a>,
    budget: &'b mut Budget,
    found: Vec<Value<'a>>,
    /// Maps to be made for `['a','b']`: place among the results, entries. Made after the walk, which only reads.
    picks: Vec<(usize, Vec<(Text<'a>, Value<'a>)>)>,
}

impl<'a> Walk<'_, 'a, '_> {
    /// Goes on from `value`; false if a definite path leads nowhere.
    fn steps(
        &mut self,
        steps: &[Step],
        value: &Value<'a>,
        definite: bool,
        depth: usize,
    ) -> Result<bool, ReadError> {
        self.budget.spend(1)?;
        let Some((step, rest)) = steps.split_first() else {
            // Keeping it costs as much again.
            self.budget.spend(1)?;
            self.found.push(value.clone());
            return Ok(true);
        };
        match step {
            Step::Properties(names) => self.properties(names, rest, value, definite, depth),
            Step::Indexes(indexes) => self.indexes(indexes, rest, value, definite, depth),
            Step::Wildcard => {
                for child in self.children(value) {
                    self.steps(rest, &child, false, depth)?;
                }
                Ok(true)
            }
            Step::Slice(from, to) => {
                let Value::List(id) = value else { return Ok(!definite) };
                let items = &self.heap.list(*id).items;
                let (from, to) = slice(*from, *to, items.len());
                for item in items.iter().take(to).skip(from) {
                    self.steps(rest, item, false, depth)?;
                }
                Ok(true)
            }
            Step::Filter(filter) => {
                let candidates = match value {
                    Value::List(id) => self.heap.list(*id).items.clone(),
                    // A map is tested itself.
                    Value::Map(_) => vec![value.clone()],
                    _ => Vec::new(),
                };
                for candidate in candidates {
                    if self.accepts(filter, &candidate)? {
                        self.steps(rest, &candidate, false, depth)?;
                    }
                }
                Ok(true)
            }
            Step::Scan => self.scan(rest, value, depth).map(|()| true),
        }
    }

    fn properties(
        &mut self,
        names: &[String],
        rest: &[Step],
        value: &Value<'a>,
        definite: bool,
        depth: usize,
    ) -> Result<bool, ReadError> {
        let Value::Map(id) = value else { return Ok(!definite) };
        let map = self.heap.map(*id);
        if let [name] = names {
            return match map.get(name) {
                Some(child) => self.steps(rest, child, definite, depth),
                None => Ok(!definite),
            };
        }
        if !rest.is_empty() {
            for child in names.iter().filter_map(|name| map.get(name)) {
                self.steps(rest, child, false, depth)?;
            }
            return Ok(true);
        }
        let mut entries = Vec::new();
        for name in names {
            let found = map.entries().find(|(key, _)| key.as_str() == Some(name));
            if let Some((Value::Str(key), child)) = found {
                entries.push((key.clone(), child.clone()));
            }
        }
        self.picks.push((self.found.len(), entries));
        self.found.push(Value::Null);
        Ok(true)
    }

    fn indexes(
        &mut self,
        indexes: &[i64],
        rest: &[Step],
        value: &Value<'a>,
        definite: bool,
        depth: usize,
    ) -> Result<bool, ReadError> {
        let Value::List(id) = value else { return Ok(!definite) };
        let items = &self.heap.list(*id).items;
        let one = indexes.len() == 1;
        let mut reached = !one;
        for index in indexes {
            let at = if *index < 0 { *index + items.len() as i64 } else { *index };
            if let Some(item) = usize::try_from(at).ok().and_then(|at| items.get(at)) {
                reached = self.steps(rest, item, definite && one, depth)?;
            }
        }
        Ok(reached || !definite)
    }

    fn children(&self, value: &Value<'a>) -> Vec<Value<'a>> {
        match value {
            Value::List(id) => self.heap.list(*id).items.clone(),
            Value::Map(id) => self.heap.map(*id).entries().map(|(_, value)| value.clone()).collect(),
            _ => Vec::new(),
        }
    }

    /// The rest of the path at this value and at everything in it, parents first.
    fn scan(&mut self, rest: &[Step], value: &Value<'a>, depth: usize) -> Result<(), ReadError> {
        let container = matches!(value, Value::List(_) | Value::Map(_));
        if !container || depth > MAX_DEPTH {
            return Ok(());
        }
        // Going through its members costs more than a step.
        self.budget.spend(2)?;
        match rest.split_first() {
            // Elements of a list are tested when the scan comes to them.
            Some((Step::Filter(filter), after)) => {
                if self.accepts(filter, value)? {
                    self.steps(after, value, false, depth + 1)?;
                }
            }
            Some((Step::Properties(names), _)) if names.len() > 1 => {
                let has_all = match value {
                    Value::Map(id) => names.iter().all(|name| self.heap.map(*id).get(name).is_some()),
                    _ => false,
                };
                if has_all {
                    self.steps(rest, value, false, depth + 1)?;
                }
            }
            _ => {
                self.steps(rest, value, false, depth + 1)?;
            }
        }
        for child in self.children(value) {
            self.scan(rest, &child, depth + 1)?;
        }
        Ok(())
    }

    fn accepts(&mut self, filter: &Filter, here: &Value<'a>) -> Result<bool, ReadError> {
        self.budget.spend(1)?;
        match filter {
            Filter::All(parts) => {
                for part in parts {
                    if !self.accepts(part, here)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Filter::Any(parts) => {
                for part in parts {
                    if self.accepts(part, here)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Filter::Not(inner) => self.accepts(inner, here).map(|accepted| !accepted),
            Filter::Exists(operand) => {
                let side = self.side(operand, here)?;
                Ok(match side {
                    Side::Undefined => false,
                    // An indefinite path exists if it found something.
                    Side::Many(values) => !values.is_empty(),
                    // json-path 2.0 takes null for absent here.
                    Side::One(Value::Null) => false,
                    _ => true,
                })
            }
            Filter::Compare(left, operator, right) => {
                let (left_side, right_side) = (self.side(left, here)?, self.side(right, here)?);
                self.budget.spend((left_side.len() * right_side.len().max(1)) as u64)?;
                let (pattern, side) = match (left, operator, right) {
                    (Operand::Pattern(pattern), Operator::Matches, _) => (pattern, &right_side),
                    (_, Operator::Matches, Operand::Pattern(pattern)) => (pattern, &left_side),
                    _ => return Ok(self.compare(&left_side, *operator, &right_side)),
                };
                match side.text() {
                    Some(text) => pattern.matches_within(&text, self.budget),
                    None => Ok(false),
                }
            }
        }
    }

    fn side<'f>(&mut self, operand: &'f Operand, here: &Value<'a>) -> Result<Side<'a, 'f>, ReadError> {
        let (path, from) = match operand {
            Operand::Here(path) => (path, here.clone()),
            Operand::Root(path) => (path, self.root.clone()),
            Operand::Literal(literal) => return Ok(Side::Literal(literal)),
            Operand::Pattern(_) => return Ok(Side::Undefined),
        };
        let mut inner = Walk {
            heap: self.heap,
            root: self.root,
            budget: self.budget,
            found: Vec::new(),
            picks: Vec::new(),
        };
        let reached = inner.steps(&path.steps, &from, true, 0)?;
        let mut found = inner.found;
        match (path.function, path.is_definite()) {
            (None, true) => Ok(found.pop().map_or(Side::Undefined, Side::One)),
            (None, false) if reached => Ok(Side::Many(found)),
            (None, false) => Ok(Side::Undefined),
            (Some(function), definite) => {
                let items = match (definite, found.first()) {
                    (true, Some(Value::List(id))) => self.heap.list(*id).items.clone(),
                    (true, Some(one)) => return Ok(count(function, self.heap, one)),
                    (true, None) => return Ok(Side::Undefined),
                    (false, _) => found,
                };
                self.budget.spend(items.len() as u64)?;
                Ok(aggregate(function, &items).map_or(Side::Undefined, Side::One))
            }
        }
    }

    fn compare(&self, left: &Side<'a, '_>, operator: Operator, right: &Side<'a, '_>) -> bool {
        let order = || left.order(right);
        match operator {
            Operator::Equal => self.equal(left, right),
            Operator::NotEqual => left.is_defined() && right.is_defined() && !self.equal(left, right),
            Operator::Less => order() == Some(Ordering::Less),
            Operator::LessOrEqual => matches!(order(), Some(Ordering::Less | Ordering::Equal)),
            Operator::Greater => order() == Some(Ordering::Greater),
            Operator::GreaterOrEqual => matches!(order(), Some(Ordering::Greater | Ordering::Equal)),
            Operator::Matches => false,
            Operator::In => self.members(right).iter().any(|member| self.equal(left, member)),
            Operator::NotIn => !self.members(right).iter().any(|member| self.equal(left, member)),
            Operator::SubsetOf => {
                let all = self.members(right);
                left.is_defined() && self.members(left).iter().all(|one| self.among(one, &all))
            }
            Operator::AnyOf => {
                let all = self.members(right);
                self.members(left).iter().any(|one| self.among(one, &all))
            }
            Operator::NoneOf => {
                let all = self.members(right);
                !self.members(left).iter().any(|one| self.among(one, &all))
            }
            Operator::AllOf => {
                let all = self.members(left);
                left.is_defined() && self.members(right).iter().all(|one| self.among(one, &all))
            }
            Operator::Contains => match (left.text(), right.text()) {
                (Some(text), Some(part)) => text.contains(&*part),
                _ => self.members(left).iter().any(|member| self.equal(member, right)),
            },
            Operator::Size => right.number().is_some_and(|size| self.size(left) == Some(size as usize)),
            Operator::Empty => match right {
                Side::Literal(Literal::Bool(wanted)) => {
                    self.size(left).is_some_and(|size| (size == 0) == *wanted)
                }
                _ => false,
            },
        }
    }

    fn among(&self, one: &Side<'a, '_>, all: &[Side<'a, '_>]) -> bool {
        all.iter().any(|other| self.equal(one, other))
    }

    fn members<'s>(&self, side: &'s Side<'a, '_>) -> Vec<Side<'a, 's>> {
        match side {
            Side::Literal(Literal::List(items)) => items.iter().map(Side::Literal).collect(),
            Side::Many(values) => values.iter().cloned().map(Side::One).collect(),
            Side::One(Value::List(id)) => self.heap.list(*id).items.iter().cloned().map(Side::One).collect(),
            _ => Vec::new(),
        }
    }

    fn size(&self, side: &Side<'a, '_>) -> Option<usize> {
        match side {
            Side::Literal(Literal::List(items)) => Some(items.len()),
            Side::Many(values) => Some(values.len()),
            Side::One(Value::List(id)) => Some(self.heap.list(*id).items.len()),
            Side::One(Value::Map(id)) => Some(self.heap.map(*id).len()),
            _ => side.text().map(|text| text.encode_utf16().count()),
        }
    }

    fn equal(&self, left: &Side<'a, '_>, right: &Side<'a, '_>) -> bool {
        if left.is_null() || right.is_null() {
            return left.is_null() && right.is_null();
        }
        if let (Some(a), Some(b)) = (left.boolean(), right.boolean()) {
            return a == b;
        }
        if let (Some(a), Some(b)) = (left.text(), right.text()) {
            return a == b;
        }
        if let (Some(a), Some(b)) = (left.number(), right.number()) {
            return a == b;
        }
        let (a, b) = (self.members(left), self.members(right));
        let lists = left.is_list() && right.is_list();
        lists && a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| !a.is_list() && self.equal(a, b))
    }
}

/// One side of a comparison, evaluated.
enum Side<'a, 'f> {
    Undefined,
    One(Value<'a>),
    Many(Vec<Value<'a>>),
    Literal(&'f Literal),
}

impl Side<'_, '_> {
    fn len(&self) -> usize {
        match self {
            Self::Many(values) => values.len(),
            Self::Literal(Literal::List(items)) => items.len(),
            _ => 1,
        }
    }

    const fn is_defined(&self) -> bool {
        !matches!(self, Self::Undefined)
    }

    const fn is_null(&self) -> bool {
        matches!(self, Self::One(Value::Null) | Self::Literal(Literal::Null))
    }

    const fn is_list(&self) -> bool {
        matches!(self, Self::Many(_) | Self::One(Value::List(_)) | Self::Literal(Literal::List(_)))
    }

    const fn boolean(&self) -> Option<bool> {
        match self {
            Self::One(Value::Bool(value)) | Self::Literal(Literal::Bool(value)) => Some(*value),
            _ => None,
        }
    }

    fn text(&self) -> Option<Text<'_>> {
        match self {
            Self::One(Value::Str(text)) => Some(Text::Borrowed(text)),
            Self::Literal(Literal::Str(text)) => Some(Text::Borrowed(text)),
            _ => None,
        }
    }

    /// The number; a text that is one counts, as json-path has it.
    fn number(&self) -> Option<f64> {
        match self {
            Self::One(Value::Str(text)) => text.parse().ok(),
            Self::Literal(Literal::Str(text)) => text.parse().ok(),
            Self::One(value) => value.as_double(),
            Self::Literal(Literal::Number(number)) => Some(*number),
            _ => None,
        }
    }

    fn order(&self, other: &Self) -> Option<Ordering> {
        if let (Some(a), Some(b)) = (self.text(), other.text()) {
            return Some(a.encode_utf16().cmp(b.encode_utf16()));
        }
        self.number()?.partial_cmp(&other.number()?)
    }
}

/// Bounds of a slice within a list.
fn slice(from: Option<i64>, to: Option<i64>, len: usize) -> (usize, usize) {
    let bound = |at: i64| {
        let at = if at < 0 { at.saturating_add(len as i64) } else { at };
        usize::try_from(at.max(0)).unwrap_or(0).min(len)
    };
    (from.map_or(0, bound), to.map_or(len, bound))
}

fn apply_to_one<'a>(
    function: Function,
    heap: &mut Heap<'a>,
    value: &Value<'a>,
) -> Result<Option<Value<'a>>, ReadError> {
    if let (Function::Keys, Value::Map(id)) = (function, value) {
        let keys = heap.map(*id).entries().map(|(key, _)| key.clone()).collect();
        return Ok(Some(Value::List(heap.new_list(ListKind::Json, keys)?)));
    }
    Ok(match count(function, heap, value) {
        Side::One(value) => Some(value),
        _ => None,
    })
}

/// `length()` of what is not a list; nothing else applies.
fn count<'a, 'f>(function: Function, heap: &Heap<'a>, value: &Value<'a>) -> Side<'a, 'f> {
    let size = match (function, value) {
        (Function::Length, Value::Map(id)) => heap.map(*id).len(),
        (Function::Length, Value::Str(text)) => text.encode_utf16().count(),
        _ => return Side::Undefined,
    };
    Side::One(Value::Int(i32::try_from(size).unwrap_or(i32::MAX)))
}

fn apply<'a>(
    function: Function,
    heap: &Heap<'a>,
    items: Vec<Value<'a>>,
) -> Result<Option<Value<'a>>, ReadError> {
    if function == Function::Concat {
        let mut text = String::new();
        for item in &items {
            let mut out = crate::write::Out::new(1 << 20);
            crate::write::write_java(heap, item, &mut out).map_err(|_| ReadError::TooManyValues)?;
            text.push_str(out.as_str());
        }
        return Ok(Some(Value::text(text)));
    }
    Ok(aggregate(function, &items))
}

fn aggregate<'a>(function: Function, items: &[Value<'a>]) -> Option<Value<'a>> {
    let at = |index: i64| {
        let index = if index < 0 { index.saturating_add(items.len() as i64) } else { index };
        usize::try_from(index).ok().and_then(|index| items.get(index)).cloned()
    };
    match function {
        Function::Length => return Some(Value::Int(i32::try_from(items.len()).unwrap_or(i32::MAX))),
        Function::First => return at(0),
        Function::Last => return at(-1),
        Function::Index(index) => return at(index),
        Function::Keys | Function::Concat => return None,
        Function::Min | Function::Max | Function::Avg | Function::Sum | Function::StdDev => {}
    }
    let numbers: Vec<f64> = items.iter().filter_map(Value::as_double).collect();
    if numbers.is_empty() {
        return None;
    }
    let count = numbers.len() as f64;
    let sum: f64 = numbers.iter().sum();
    let result = match function {
        Function::Min => numbers.iter().copied().fold(f64::INFINITY, f64::min),
        Function::Max => numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Function::Avg => sum / count,
        Function::StdDev => {
            let squares: f64 = numbers.iter().map(|number| number * number).sum();
            (squares / count - (sum / count) * (sum / count)).sqrt()
        }
        _ => sum,
    };
    Some(Value::Double(result))
}
