//! References: reading and assigning. One that leads nowhere is the empty string.

use super::{Eval, Fault, Object, Run};
use crate::ast::{Access, CONTEXT, Method, Reference, STAGE_VARIABLES};
use sluice_jsonpath::{ListKind, Text, Value};

const NOTHING: Value<'static> = Value::Str(Text::Borrowed(""));

impl<'a> Eval<'a, '_> {
    pub(super) fn reference(&mut self, reference: &'a Reference) -> Run<Value<'a>> {
        self.budget.spend(1)?;
        let root = self.lookup(reference.slot).map_err(|fault| fault.at(reference.at))?;
        let Some(root) = root else { return self.known_root(reference) };
        if reference.slot == CONTEXT && matches!(root, Value::Opaque(id) if self.is_context(id)) {
            return self.context_reference(reference);
        }
        self.follow(root, &reference.path)
    }

    /// `$stageVariables` is made when it is first used.
    fn known_root(&mut self, reference: &'a Reference) -> Run<Value<'a>> {
        if reference.slot != STAGE_VARIABLES {
            return Ok(NOTHING);
        }
        let map = self.stage_variables()?;
        self.assign(reference.slot, Some(map.clone()));
        self.follow(map, &reference.path)
    }

    /// Follows a path from a value.
    pub(super) fn follow(&mut self, root: Value<'a>, path: &'a [Access]) -> Run<Value<'a>> {
        let mut value = root;
        for access in path {
            if matches!(value, Value::Null) {
                return Ok(NOTHING);
            }
            let next = self.access(&value, access)?;
            match next {
                Some(next) => value = next,
                None => return Ok(NOTHING),
            }
        }
        Ok(if matches!(value, Value::Null) { NOTHING } else { value })
    }

    fn access(&mut self, value: &Value<'a>, access: &'a Access) -> Run<Option<Value<'a>>> {
        match access {
            Access::Property { name } => self.property(value, name),
            Access::Index { index, at } => {
                let index = self.expr(index)?;
                self.index(value, &index).map_err(|fault| fault.at(*at))
            }
            Access::Method(method) => self.method(value, method).map_err(|fault| fault.at(method.at)),
        }
    }

    fn property(&mut self, value: &Value<'a>, name: &'a str) -> Run<Option<Value<'a>>> {
        Ok(match value {
            // `getClass()` exists on everything; API Gateway keeps templates from it.
            Value::Map(_) if name == "class" => None,
            Value::Map(id) => self.heap.map(*id).get(name).cloned(),
            Value::List(id) => {
                let list = self.heap.list(*id);
                match (list.kind, name) {
                    (ListKind::Entry, "key") => list.items.first().cloned(),
                    (ListKind::Entry, "value") => list.items.get(1).cloned(),
                    (ListKind::Java | ListKind::Json | ListKind::Array, "empty") => {
                        Some(Value::Bool(list.items.is_empty()))
                    }
                    _ => None,
                }
            }
            Value::Str(text) if name == "empty" => Some(Value::Bool(text.is_empty())),
            Value::Opaque(id) => match self.objects.get(*id as usize).copied() {
                Some(Object::Loop(at)) => return self.loop_property(at, name),
                Some(Object::Input) if name == "body" => {
                    let host = self.host;
                    Some(Value::Str(Text::Borrowed(host.body())))
                }
                Some(Object::Context) => return self.context_property(name),
                _ => None,
            },
            _ => None,
        })
    }

    pub(super) fn loop_property(&mut self, at: usize, name: &str) -> Run<Option<Value<'a>>> {
        let Some(state) = self.loops.get(at).copied() else { return Ok(None) };
        Ok(Some(match name {
            "index" | "getIndex" => Value::Int(i32::try_from(state.index).unwrap_or(i32::MAX)),
            "count" | "getCount" => Value::Int(i32::try_from(state.index + 1).unwrap_or(i32::MAX)),
            "hasNext" => Value::Bool(state.has_next),
            "first" | "isFirst" => Value::Bool(state.index == 0),
            "last" | "isLast" => Value::Bool(!state.has_next),
            "parent" | "getParent" => match state.parent {
                Some(parent) => self.object(Object::Loop(parent))?,
                None => return Ok(None),
            },
            "topmost" | "getTopmost" => {
                let mut top = at;
                while let Some(parent) = self.loops.get(top).and_then(|state| state.parent) {
                    top = parent;
                }
                self.object(Object::Loop(top))?
            }
            _ => return Ok(None),
        }))
    }

    /// `value[index]` is `value.get(index)`; from a list's end if negative.
    pub(super) fn index(&mut self, value: &Value<'a>, index: &Value<'a>) -> Run<Option<Value<'a>>> {
        match value {
            Value::Map(id) => Ok(self.heap.map(*id).get_key(index).cloned()),
            Value::List(id) => {
                let Value::Int(at) = index else { return Ok(None) };
                let items = &self.heap.list(*id).items;
                match position(*at, items.len()) {
                    Some(at) => Ok(items.get(at).cloned()),
                    None => Err(out_of_bounds(*at, items.len())),
                }
            }
            Value::Opaque(id) if self.is_context(*id) => {
                let name = self.text(index)?;
                self.context_named(&name)
            }
            _ => Ok(None),
        }
    }

    fn method(&mut self, value: &Value<'a>, method: &'a Method) -> Run<Option<Value<'a>>> {
        self.budget.spend(1)?;
        let args = method.args.iter().map(|arg| self.expr(arg)).collect::<Run<Vec<_>>>()?;
        match value {
            Value::Str(text) => self.string_method(text, method, &args),
            Value::List(id) => self.list_method(*id, &method.name, &args),
            Value::Map(id) => self.map_method(*id, &method.name, &args),
            Value::Opaque(id) => self.object_method(*id, method, &args),
            _ => self.scalar_method(value, &method.name, &args),
        }
    }

    /// Assigns to a variable, a property or an index; to what isn't there, nothing happens.
    pub(super) fn set(&mut self, target: &'a Reference, value: Value<'a>) -> Run<()> {
        let Some((last, before)) = target.path.split_last() else {
            self.assign_scoped(target.slot, value);
            return Ok(());
        };
        let Some(mut holder) = self.lookup(target.slot)? else { return Ok(()) };
        for access in before {
            match self.access(&holder, access)? {
                Some(next) if !matches!(next, Value::Null) => holder = next,
                _ => return Ok(()),
            }
        }
        let key = match last {
            Access::Property { name } => Value::Str(Text::Borrowed(name)),
            Access::Index { index, .. } => self.expr(index)?,
            Access::Method(_) => return Ok(()),
        };
        match (holder, last) {
            (Value::Map(id), _) => {
                self.heap.put(id, key, value)?;
            }
            (Value::List(id), Access::Index { .. }) => {
                let Value::Int(at) = key else { return Ok(()) };
                let len = self.heap.list(id).items.len();
                let place = position(at, len).ok_or_else(|| out_of_bounds(at, len))?;
                if let Some(item) = self.heap.items_mut(id).and_then(|items| items.get_mut(place)) {
                    *item = value;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn is_context(&self, id: u32) -> bool {
        matches!(self.objects.get(id as usize), Some(Object::Context))
    }
}

/// A list's position; negative ones count from the end.
fn position(at: i32, len: usize) -> Option<usize> {
    let at = if at < 0 { i64::from(at) + len as i64 } else { i64::from(at) };
    usize::try_from(at).ok().filter(|at| *at < len)
}

pub(super) fn out_of_bounds(at: i32, len: usize) -> Fault {
    Fault::failed(format!("IndexOutOfBoundsException: index {at}, length {len}"))
}
