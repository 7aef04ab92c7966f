//! `$input`, `$util`, `$context`, `$stageVariables`.

use super::{Eval, Fault, Object, Run, util};
use crate::ast::{Access, Method, Reference};
use crate::host::{ContextValue, Place};
use sluice_jsonpath::{MapId, MapKind, Out, Path, Text, Value, parse, write_json};

/// What templates may assign to.
const OVERRIDES: [(&str, &[&str]); 2] =
    [("requestOverride", &["header", "path", "querystring"]), ("responseOverride", &["header"])];

impl<'a> Eval<'a, '_> {
    /// Methods of what is no data.
    pub(super) fn object_method(
        &mut self,
        id: u32,
        method: &'a Method,
        args: &[Value<'a>],
    ) -> Run<Option<Value<'a>>> {
        match (self.objects.get(id as usize).copied(), args) {
            (Some(Object::Input), _) => self.input_method(method, args),
            (Some(Object::Util), [arg]) => self.util_method(&method.name, arg),
            (Some(Object::Iterator(at)), []) => self.iterator_method(at, &method.name),
            (Some(Object::Loop(at)), []) if method.name == "stop" => {
                if let Some(state) = self.loops.get_mut(at) {
                    state.stopped = true;
                }
                Ok(None)
            }
            (Some(Object::Loop(at)), []) => self.loop_property(at, &method.name),
            (Some(Object::Block(_) | Object::Body(..)), []) if method.name == "toString" => {
                Ok(Some(Value::Str(self.text(&Value::Opaque(id))?)))
            }
            (Some(Object::Context), [key]) if method.name == "get" => {
                let name = self.text(key)?;
                self.context_named(&name)
            }
            (Some(Object::Context), _) => match self.whole_context()? {
                Value::Map(map) => self.map_method(map, &method.name, args),
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    fn input_method(&mut self, method: &'a Method, args: &[Value<'a>]) -> Run<Option<Value<'a>>> {
        match (&*method.name, args) {
            ("json", [path]) => {
                let found = self.read_path(method, path)?;
                // What isn't there is an empty string, quotes and all.
                let value = found.unwrap_or(Value::Str(Text::Borrowed("")));
                let mut out = Out::new(self.limits.output_bytes);
                write_json(&self.heap, &value, &mut out)?;
                self.budget.spend(out.as_str().len() as u64 / 8)?;
                Ok(Some(Value::text(out.into_string())))
            }
            ("path", [path]) => self.read_path(method, path),
            ("params", []) => self.all_parameters().map(Some),
            ("params", [name]) => {
                let name = self.text(name)?;
                Ok(self.parameter(&name))
            }
            _ => Ok(None),
        }
    }

    /// The body's value: parsed when first wanted, and once. What is not JSON is a string.
    fn body_value(&mut self) -> Run<Value<'a>> {
        if let Some(body) = &self.body {
            return Ok(body.clone());
        }
        let host = self.host;
        let text = host.body();
        self.budget.spend(text.len() as u64 / 64)?;
        let value = if text.trim().is_empty() {
            Value::Map(self.heap.new_map(MapKind::Linked)?)
        } else {
            match parse(text, &mut self.heap) {
                Ok(value) => value,
                Err(error) if error.expected == "fewer values" => {
                    return Err(Fault::limit("values in lists and maps"));
                }
                Err(_) => Value::Str(Text::Borrowed(text)),
            }
        };
        self.body = Some(value.clone());
        Ok(value)
    }

    fn read_path(&mut self, method: &'a Method, argument: &Value<'a>) -> Run<Option<Value<'a>>> {
        let root = self.body_value()?;
        let parsed;
        let path = match &method.path {
            Some(path) => path,
            None => {
                let text = self.text(argument)?;
                self.budget.spend(20 + text.len() as u64)?;
                parsed = Path::parse(&text).map_err(|error| Fault::failed(error.to_string()))?;
                &parsed
            }
        };
        Ok(path.read(&mut self.heap, &root, &mut self.budget)?)
    }

    fn parameter(&self, wanted: &str) -> Option<Value<'a>> {
        let host = self.host;
        for place in Place::ALL {
            let mut found = None;
            host.parameters(place, &mut |name, value| {
                // Header names have no case.
                let same = name == wanted || place == Place::Header && name.eq_ignore_ascii_case(wanted);
                if same && found.is_none() {
                    found = Some(value);
                }
            });
            if let Some(value) = found {
                return Some(Value::Str(Text::Borrowed(value)));
            }
        }
        None
    }

    fn all_parameters(&mut self) -> Run<Value<'a>> {
        let host = self.host;
        let all = self.heap.new_map(MapKind::Linked)?;
        for place in Place::ALL {
            let map = self.heap.new_map(MapKind::Linked)?;
            let mut full = None;
            host.parameters(place, &mut |name, value| {
                let put = self.heap.put(map, Value::text(name), Value::text(value));
                full = full.or(put.err());
            });
            if let Some(error) = full {
                return Err(error.into());
            }
            self.heap.put(all, Value::text(place.name()), Value::Map(map))?;
        }
        Ok(Value::Map(all))
    }

    pub(super) fn stage_variables(&mut self) -> Run<Value<'a>> {
        let host = self.host;
        let map = self.heap.new_map(MapKind::Linked)?;
        let mut full = None;
        host.stage_variables(&mut |name, value| {
            let put = self.heap.put(map, Value::text(name), Value::text(value));
            full = full.or(put.err());
        });
        full.map_or(Ok(Value::Map(map)), |error| Err(error.into()))
    }

    fn util_method(&mut self, name: &str, argument: &Value<'a>) -> Run<Option<Value<'a>>> {
        let text = self.text(argument)?;
        // Escapes may make six bytes of one.
        self.room_for(text.len())?;
        self.budget.spend(text.len() as u64 / 32)?;
        Ok(Some(match name {
            "escapeJavaScript" => Value::text(util::escape_javascript(&text)),
            "urlEncode" => Value::text(util::url_encode(&text)),
            "urlDecode" => Value::text(util::url_decode(&text)?),
            "base64Encode" => Value::text(util::base64_encode(text.as_bytes())),
            "base64Decode" => Value::text(util::base64_decode(&text)),
            "parseJson" => {
                let borrowed: &'a str = match text {
                    Text::Borrowed(text) => text,
                    Text::Shared(text) => {
                        let kept = self.late.texts.keep(text.to_string());
                        kept.ok_or(Fault::limit("uses of $util.parseJson"))?
                    }
                };
                let parsed = parse(borrowed, &mut self.heap);
                parsed.map_err(|error| Fault::failed(format!("$util.parseJson: {error}")))?
            }
            _ => return Ok(None),
        }))
    }

    /// A reference that begins at `$context`.
    pub(super) fn context_reference(&mut self, reference: &'a Reference) -> Run<Value<'a>> {
        if let Some(name) = &reference.dotted
            && let Some(value) = self.context_variable(name)
        {
            return Ok(value);
        }
        let Some((Access::Property { name }, rest)) = reference.path.split_first() else {
            let context = self.lookup(reference.slot)?.unwrap_or(Value::Null);
            return self.follow(context, &reference.path);
        };
        let value = self.context_property(name)?;
        self.follow(value.unwrap_or(Value::Null), rest)
            .map(|value| if matches!(value, Value::Null) { Value::text("") } else { value })
    }

    fn context_variable(&mut self, name: &str) -> Option<Value<'a>> {
        let host = self.host;
        host.context(name).map(|value| self.context_value(value))
    }

    fn context_value(&mut self, value: ContextValue<'a>) -> Value<'a> {
        match value {
            ContextValue::Str(text) => Value::text(text),
            ContextValue::Long(number) => Value::Long(number),
            ContextValue::Json(text) => parse(text, &mut self.heap).unwrap_or(Value::text(text)),
        }
    }

    /// `$context.<name>`: a variable, the overrides, or a group of variables.
    pub(super) fn context_property(&mut self, name: &str) -> Run<Option<Value<'a>>> {
        if let Some(which) = OVERRIDES.iter().position(|(known, _)| *known == name) {
            return self.override_map(which).map(|id| Some(Value::Map(id)));
        }
        self.context_named(name)
    }

    pub(super) fn context_named(&mut self, name: &str) -> Run<Option<Value<'a>>> {
        if let Some(value) = self.context_variable(name) {
            return Ok(Some(value));
        }
        match self.whole_context()? {
            Value::Map(id) => Ok(self.heap.map(id).get(name).cloned()),
            _ => Ok(None),
        }
    }

    fn override_map(&mut self, which: usize) -> Run<MapId> {
        if let Some(id) = self.overridden.get(which).copied().flatten() {
            return Ok(id);
        }
        let id = self.heap.new_map(MapKind::Linked)?;
        for key in OVERRIDES.get(which).map_or(&[][..], |(_, keys)| keys) {
            let inner = self.heap.new_map(MapKind::Linked)?;
            self.heap.put(id, Value::text(*key), Value::Map(inner))?;
        }
        if let Some(place) = self.overridden.get_mut(which) {
            *place = Some(id);
        }
        Ok(id)
    }

    /// All variables as a map of maps.
    pub(super) fn whole_context(&mut self) -> Run<Value<'a>> {
        if let Some(id) = self.context {
            return Ok(Value::Map(id));
        }
        let host = self.host;
        let root = self.heap.new_map(MapKind::Linked)?;
        self.context = Some(root);
        let mut all = Vec::new();
        host.context_all(&mut |name, value| all.push((name, value)));
        for (name, value) in all {
            self.budget.spend(1)?;
            let value = self.context_value(value);
            let mut map = root;
            let mut rest = name;
            while let Some((group, after)) = rest.split_once('.') {
                map = match self.heap.map(map).get(group) {
                    Some(Value::Map(inner)) => *inner,
                    _ => {
                        let inner = self.heap.new_map(MapKind::Linked)?;
                        self.heap.put(map, Value::text(group), Value::Map(inner))?;
                        inner
                    }
                };
                rest = after;
            }
            self.heap.put(map, Value::text(rest), value)?;
        }
        Ok(Value::Map(root))
    }
}
