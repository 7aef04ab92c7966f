//! Methods of lists, maps, numbers and booleans.

use super::reference::out_of_bounds;
use super::{Eval, Fault, Object, Run, util};
use sluice_jsonpath::{ListId, ListKind, MapId, Value};

/// `void` methods print nothing.
const VOID: Value<'static> = Value::Str(sluice_jsonpath::Text::Borrowed(""));

impl<'a> Eval<'a, '_> {
    /// What `#foreach` goes over; of what can't be iterated, nothing.
    pub(super) fn iterable(&mut self, value: &Value<'a>) -> Run<Vec<Value<'a>>> {
        let items = match value {
            Value::List(id) if self.heap.list(*id).kind != ListKind::Entry => {
                self.heap.list(*id).items.clone()
            }
            Value::Map(id) => self.heap.map(*id).ordered().map(|(_, value)| value.clone()).collect(),
            Value::Opaque(id) => match self.objects.get(*id as usize).copied() {
                Some(Object::Iterator(at)) => match self.iterators.get_mut(at) {
                    Some((items, next)) => items.split_off((*next).min(items.len())),
                    None => Vec::new(),
                },
                Some(Object::Context) => {
                    let all = self.whole_context()?;
                    return self.iterable(&all);
                }
                _ => Vec::new(),
            },
            _ => Vec::new(),
        };
        self.budget.spend(items.len() as u64 / 8)?;
        Ok(items)
    }

    pub(super) fn new_list(&mut self, kind: ListKind, items: Vec<Value<'a>>) -> Run<Option<Value<'a>>> {
        self.budget.spend(items.len() as u64 / 8)?;
        Ok(Some(Value::List(self.heap.new_list(kind, items)?)))
    }

    pub(super) fn list_method(
        &mut self,
        id: ListId,
        name: &str,
        args: &[Value<'a>],
    ) -> Run<Option<Value<'a>>> {
        let list = self.heap.list(id);
        let len = list.items.len();
        if list.kind == ListKind::Entry {
            return Ok(match (name, args) {
                ("getKey", []) => list.items.first().cloned(),
                ("getValue", []) => list.items.get(1).cloned(),
                ("toString", []) => Some(Value::Str(self.text(&Value::List(id))?)),
                _ => None,
            });
        }
        Ok(match (name, args) {
            ("size", []) => Some(count(len)),
            ("isEmpty", []) => Some(Value::Bool(len == 0)),
            ("get", [Value::Int(at)]) => {
                let item = usize::try_from(*at).ok().and_then(|at| list.items.get(at));
                Some(item.cloned().ok_or_else(|| out_of_bounds(*at, len))?)
            }
            ("contains", [item]) => Some(Value::Bool(self.find(id, item, false)?.is_some())),
            ("indexOf", [item]) => Some(found(self.find(id, item, false)?)),
            ("lastIndexOf", [item]) => Some(found(self.find(id, item, true)?)),
            ("containsAll", [Value::List(other)]) => {
                let wanted = self.heap.list(*other).items.clone();
                let mut all = true;
                for item in &wanted {
                    all = all && self.find(id, item, false)?.is_some();
                }
                Some(Value::Bool(all))
            }
            ("iterator", []) => {
                let items = list.items.clone();
                Some(self.iterator(items)?)
            }
            ("toArray", []) => {
                let items = list.items.clone();
                return self.new_list(ListKind::Array, items);
            }
            ("subList", [Value::Int(from), Value::Int(to)]) => {
                let items = util::bounds(*from, *to, len).and_then(|range| list.items.get(range));
                let items = items.ok_or_else(|| out_of_bounds(*to, len))?.to_vec();
                return self.new_list(ListKind::Java, items);
            }
            ("equals", [other]) => Some(Value::Bool(self.equals(&Value::List(id), other, 0)?)),
            ("hashCode", []) => Some(Value::Int(self.hash(&Value::List(id), 0)?)),
            ("toString" | "toJSONString", []) => Some(Value::Str(self.text(&Value::List(id))?)),
            _ => return self.change_list(id, name, args),
        })
    }

    fn change_list(&mut self, id: ListId, name: &str, args: &[Value<'a>]) -> Run<Option<Value<'a>>> {
        if self.heap.list(id).kind == ListKind::Array {
            return Ok(None);
        }
        let len = self.heap.list(id).items.len();
        self.budget.spend(len as u64 / 64)?;
        let place = |at: i32, last: usize| {
            usize::try_from(at).ok().filter(|at| *at <= last).ok_or_else(|| out_of_bounds(at, len))
        };
        Ok(match (name, args) {
            ("add", [item]) => {
                self.heap.push(id, item.clone())?;
                Some(Value::Bool(true))
            }
            ("add", [Value::Int(at), item]) => {
                let at = place(*at, len)?;
                self.heap.charge(1)?;
                if let Some(items) = self.heap.items_mut(id) {
                    items.insert(at, item.clone());
                }
                Some(VOID)
            }
            ("addAll", [Value::List(other)]) => {
                let added = self.heap.list(*other).items.clone();
                self.heap.charge(added.len())?;
                let any = !added.is_empty();
                if let Some(items) = self.heap.items_mut(id) {
                    items.extend(added);
                }
                Some(Value::Bool(any))
            }
            ("set", [Value::Int(at), item]) => {
                let at = place(*at, len.saturating_sub(1))?;
                let old = self.heap.items_mut(id).and_then(|items| items.get_mut(at));
                let old = old.ok_or_else(|| out_of_bounds(at as i32, len))?;
                Some(std::mem::replace(old, item.clone()))
            }
            ("remove", [Value::Int(at)]) => {
                let index = place(*at, len.saturating_sub(1))?;
                if index >= len {
                    return Err(out_of_bounds(*at, len));
                }
                self.heap.items_mut(id).map(|items| items.remove(index))
            }
            ("remove", [item]) => {
                let at = self.find(id, item, false)?;
                if let (Some(at), Some(items)) = (at, self.heap.items_mut(id)) {
                    items.remove(at);
                }
                Some(Value::Bool(at.is_some()))
            }
            ("clear", []) => {
                if let Some(items) = self.heap.items_mut(id) {
                    items.clear();
                }
                Some(VOID)
            }
            _ => None,
        })
    }

    fn find(&mut self, id: ListId, wanted: &Value<'a>, last: bool) -> Run<Option<usize>> {
        let items = self.heap.list(id).items.clone();
        self.budget.spend(items.len() as u64 / 8)?;
        let mut positions: Box<dyn Iterator<Item = usize>> = Box::new(0..items.len());
        if last {
            positions = Box::new((0..items.len()).rev());
        }
        for at in positions {
            if let Some(item) = items.get(at)
                && self.equals(item, wanted, 0)?
            {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn iterator(&mut self, items: Vec<Value<'a>>) -> Run<Value<'a>> {
        self.heap.charge(items.len())?;
        self.iterators.push((items, 0));
        self.object(Object::Iterator(self.iterators.len() - 1))
    }

    pub(super) fn iterator_method(&mut self, at: usize, name: &str) -> Run<Option<Value<'a>>> {
        let Some((items, next)) = self.iterators.get_mut(at) else { return Ok(None) };
        match name {
            "hasNext" => Ok(Some(Value::Bool(*next < items.len()))),
            "next" => {
                let item = items.get(*next).cloned();
                *next += 1;
                item.map(Some).ok_or_else(|| Fault::failed("NoSuchElementException"))
            }
            _ => Ok(None),
        }
    }

    pub(super) fn map_method(&mut self, id: MapId, name: &str, args: &[Value<'a>]) -> Run<Option<Value<'a>>> {
        let map = self.heap.map(id);
        Ok(match (name, args) {
            ("get", [key]) => map.get_key(key).cloned(),
            ("getOrDefault", [key, otherwise]) => {
                Some(map.get_key(key).cloned().unwrap_or_else(|| otherwise.clone()))
            }
            ("size", []) => Some(count(map.len())),
            ("isEmpty", []) => Some(Value::Bool(map.is_empty())),
            ("containsKey", [key]) => Some(Value::Bool(map.get_key(key).is_some())),
            ("containsValue", [wanted]) => {
                let values: Vec<_> = map.entries().map(|(_, value)| value.clone()).collect();
                let mut any = false;
                for value in &values {
                    any = any || self.equals(value, wanted, 0)?;
                }
                Some(Value::Bool(any))
            }
            ("keySet", []) => {
                let keys = map.ordered().map(|(key, _)| key.clone()).collect();
                return self.new_list(ListKind::Java, keys);
            }
            ("values", []) => {
                let values = map.ordered().map(|(_, value)| value.clone()).collect();
                return self.new_list(ListKind::Java, values);
            }
            ("entrySet", []) => {
                let entries: Vec<_> = map.ordered().cloned().collect();
                let mut list = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    list.push(Value::List(self.heap.new_list(ListKind::Entry, vec![key, value])?));
                }
                return self.new_list(ListKind::Java, list);
            }
            ("equals", [other]) => Some(Value::Bool(self.equals(&Value::Map(id), other, 0)?)),
            ("hashCode", []) => Some(Value::Int(self.hash(&Value::Map(id), 0)?)),
            ("toString", []) => Some(Value::Str(self.text(&Value::Map(id))?)),
            _ => return self.change_map(id, name, args),
        })
    }

    fn change_map(&mut self, id: MapId, name: &str, args: &[Value<'a>]) -> Run<Option<Value<'a>>> {
        Ok(match (name, args) {
            ("put", [key, value]) => self.heap.put(id, key.clone(), value.clone())?,
            ("putIfAbsent", [key, value]) => match self.heap.map(id).get_key(key).cloned() {
                Some(there) => Some(there),
                None => self.heap.put(id, key.clone(), value.clone())?,
            },
            ("putAll", [Value::Map(other)]) => {
                let entries: Vec<_> = self.heap.map(*other).entries().cloned().collect();
                self.budget.spend(entries.len() as u64 / 8)?;
                for (key, value) in entries {
                    self.heap.put(id, key, value)?;
                }
                Some(VOID)
            }
            ("remove", [key]) => {
                // Removal closes the gap: as dear as the map is long.
                self.budget.spend(self.heap.map(id).len() as u64 / 8)?;
                self.heap.map_mut(id).and_then(|map| map.remove(key))
            }
            ("clear", []) => {
                if let Some(map) = self.heap.map_mut(id) {
                    map.clear();
                }
                Some(VOID)
            }
            _ => None,
        })
    }

    /// `equals`: deep, and strict about kinds of numbers.
    pub(super) fn equals(&mut self, left: &Value<'a>, right: &Value<'a>, depth: usize) -> Run<bool> {
        if depth > 64 {
            return Err(Fault::limit("nesting of a value"));
        }
        self.budget.spend(1)?;
        match (left, right) {
            (Value::List(a), Value::List(b)) if a != b => {
                let (a, b) = (self.heap.list(*a), self.heap.list(*b));
                if a.items.len() != b.items.len() || a.kind == ListKind::Array || b.kind == ListKind::Array {
                    return Ok(false);
                }
                let pairs: Vec<_> = a.items.iter().cloned().zip(b.items.iter().cloned()).collect();
                for (a, b) in &pairs {
                    if !self.equals(a, b, depth + 1)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Map(a), Value::Map(b)) if a != b => {
                let (a, b) = (self.heap.map(*a), self.heap.map(*b));
                if a.len() != b.len() {
                    return Ok(false);
                }
                let pairs: Vec<_> =
                    a.entries().map(|(key, value)| (value.clone(), b.get_key(key).cloned())).collect();
                for (a, b) in &pairs {
                    match b {
                        Some(b) if self.equals(a, b, depth + 1)? => {}
                        _ => return Ok(false),
                    }
                }
                Ok(true)
            }
            _ => Ok(left.same_key(right)),
        }
    }

    /// `hashCode`.
    fn hash(&mut self, value: &Value<'a>, depth: usize) -> Run<i32> {
        if depth > 64 {
            return Err(Fault::limit("nesting of a value"));
        }
        self.budget.spend(1)?;
        Ok(match value {
            Value::List(id) => {
                let items = self.heap.list(*id).items.clone();
                let mut hash = 1_i32;
                for item in &items {
                    hash = hash.wrapping_mul(31).wrapping_add(self.hash(item, depth + 1)?);
                }
                hash
            }
            Value::Map(id) => {
                let entries: Vec<_> = self.heap.map(*id).entries().cloned().collect();
                let mut sum = 0_i32;
                for (key, value) in &entries {
                    sum = sum.wrapping_add(self.hash(key, depth + 1)? ^ self.hash(value, depth + 1)?);
                }
                sum
            }
            _ => util::scalar_hash(value),
        })
    }

    /// Methods of numbers and booleans.
    pub(super) fn scalar_method(
        &mut self,
        value: &Value<'a>,
        name: &str,
        args: &[Value<'a>],
    ) -> Run<Option<Value<'a>>> {
        Ok(match (name, args) {
            ("toString", []) => Some(Value::Str(self.text(value)?)),
            ("hashCode", []) => Some(Value::Int(util::scalar_hash(value))),
            ("equals", [other]) => Some(Value::Bool(value.same_key(other))),
            ("booleanValue", []) if matches!(value, Value::Bool(_)) => Some(value.clone()),
            ("compareTo", [other]) if std::mem::discriminant(value) == std::mem::discriminant(other) => {
                super::math::order(value, other).map(|order| Value::Int(order as i32))
            }
            _ if value.is_number() => return util::number_method(value, name, args),
            _ => None,
        })
    }
}

fn count(len: usize) -> Value<'static> {
    Value::Int(i32::try_from(len).unwrap_or(i32::MAX))
}

fn found(at: Option<usize>) -> Value<'static> {
    Value::Int(at.map_or(-1, |at| i32::try_from(at).unwrap_or(i32::MAX)))
}
