//! `patchOperations`: JSON Patch as API Gateway has it, where each resource says which operation it takes at which path.
//!
//! Paths are JSON pointers (RFC 6901): `~1` is `/` and `~0` is `~` within a segment. Values are always strings.

use super::Call;
use super::fault::{Fault, enum_error};
use super::input::Input;
use serde_json::{Map, Value};
use sluice_catalog::Strings;
use std::collections::BTreeMap;

const OPS: &str = "add, remove, move, test, replace, copy";

/// One operation.
#[derive(Clone, Debug)]
pub(crate) struct Patch {
    pub(crate) op: String,
    /// As it was sent.
    pub(crate) path: String,
    /// Unescaped.
    pub(crate) segments: Vec<String>,
    pub(crate) value: Option<String>,
    pub(crate) from: Option<String>,
}

/// `input` is AWS's name of the request, for its messages: `updateStageInput`.
pub(crate) fn patches(call: &Call, input: &str) -> Result<Vec<Patch>, Fault> {
    patches_and(call, input, None)
}

/// As [`patches`], with what is wrong with the path's parameters added to what is wrong with the operations.
pub(crate) fn patches_and(call: &Call, input: &str, more: Option<String>) -> Result<Vec<Patch>, Fault> {
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let list = call.input()?.list("patchOperations")?;
    for (at, item) in list.into_iter().flatten().enumerate() {
        let members = Input::of(item)?;
        let op = members.text("op")?;
        let known = op.as_deref().is_some_and(|op| OPS.split(", ").any(|one| one == op));
        if let (false, Some(op)) = (known, &op) {
            errors.push(enum_error(op, &format!("{input}.patchOperations.{}.member.op", at + 1), OPS));
        }
        let path = members.text("path")?;
        out.push((op, path, members.text("value")?, members.text("from")?));
    }
    errors.extend(more);
    if !errors.is_empty() {
        return Err(Fault::validation(&errors));
    }
    let complete = |(op, path, value, from): (Option<String>, Option<String>, _, _)| {
        let op = op.ok_or_else(|| {
            Fault::bad_request(
                "Invalid patch operation specified. Must be one of: [add, remove, move, test, replace, copy]",
            )
        })?;
        let path = path.ok_or_else(|| Fault::bad_request("Invalid patch path null"))?;
        // JSON Patch has more operations than any path here takes; a copy is the promotion of a canary.
        let none = matches!(op.as_str(), "move" | "test") || (op == "copy" && input != "updateStageInput");
        if none {
            let text = "Invalid patch operation specified. Must be one of: [add, remove, replace]";
            return Err(Fault::bad_request(text));
        }
        let segments =
            segments(&path).ok_or_else(|| Fault::bad_request(format!("Invalid patch path {path}")))?;
        Ok(Patch { op, path, segments, value, from })
    };
    out.into_iter().map(complete).collect()
}

fn segments(path: &str) -> Option<Vec<String>> {
    Some(path.strip_prefix('/')?.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect())
}

impl Patch {
    /// To match on.
    pub(crate) fn parts(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }

    /// No such path.
    pub(crate) fn bad_path(&self) -> Fault {
        Fault::bad_request(format!("Invalid patch path {}", self.path))
    }

    /// The path does not take the operation.
    pub(crate) fn needs(&self, ops: &[&str]) -> Result<(), Fault> {
        if ops.contains(&self.op.as_str()) {
            return Ok(());
        }
        let text = format!("Invalid patch operation specified. Must be one of: [{}]", ops.join(", "));
        Err(Fault::bad_request(text))
    }

    /// A member that is AWS's and is not here, told by its name.
    pub(crate) fn unsupported(&self) -> Fault {
        Fault::bad_request(format!("{} is not supported by this gateway.", self.segments.join("/")))
    }

    /// Of resources whose paths all take `replace` only: the operation and the path must be among them.
    pub(crate) fn replaces_one_of(&self, paths: &[&str]) -> Result<(), Fault> {
        let (path, op) = (&self.path, &self.op);
        if op != "replace" {
            let text = format!(
                "Invalid patch path  '{path}' specified for op '{op}'. Please choose supported operations"
            );
            return Err(Fault::bad_request(text));
        }
        if !paths.contains(&path.as_str()) {
            let known = paths.join(", ");
            let text =
                format!("Invalid patch path  '{path}' specified for op '{op}'. Must be one of: [{known}]");
            return Err(Fault::bad_request(text));
        }
        Ok(())
    }

    pub(crate) fn removes(&self) -> bool {
        self.op == "remove"
    }

    /// Empty if there is none.
    pub(crate) fn text(&self) -> String {
        self.value.clone().unwrap_or_default()
    }

    /// What an optional text becomes.
    pub(crate) fn optional(&self) -> Option<String> {
        self.value.clone().filter(|value| !self.removes() && !value.is_empty())
    }

    /// What an optional text is replaced by, where AWS takes no other operation.
    pub(crate) fn replacement(&self) -> Result<Option<String>, Fault> {
        self.needs(&["replace"])?;
        Ok(self.optional())
    }

    /// A value that is a JSON object of strings, in place of a whole map.
    pub(crate) fn strings(&self) -> Result<Strings, Fault> {
        serde_json::from_str(&self.text()).map_err(|_| self.bad_value())
    }

    /// The value is not what the path holds.
    pub(crate) fn bad_value(&self) -> Fault {
        Fault::bad_request(format!("Invalid patch value '{}' for {}", self.text(), self.path))
    }

    /// Anything but `true` is false.
    pub(crate) fn bool(&self) -> bool {
        self.value.as_deref().is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    pub(crate) fn integer(&self) -> Result<i64, Fault> {
        let text = self.text();
        text.trim()
            .parse()
            .map_err(|_| Fault::bad_request(format!("Invalid integer value: '{text}' for {}", self.path)))
    }

    pub(crate) fn number(&self) -> Result<f64, Fault> {
        let text = self.text();
        let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| Fault::bad_request(format!("Invalid number value: '{text}' for {}", self.path)))
    }

    /// Adds, replaces or removes one entry of a map of strings. `missing`: the message where there is none to remove or
    /// replace.
    pub(crate) fn entry(&self, map: &mut Strings, key: &str, missing: &str) -> Result<(), Fault> {
        let value = self.text();
        self.entry_of(map, key, value, missing)
    }

    /// As [`Patch::entry`] with a value read already.
    pub(crate) fn entry_of<V>(
        &self,
        map: &mut BTreeMap<String, V>,
        key: &str,
        value: V,
        missing: &str,
    ) -> Result<(), Fault> {
        self.needs(&["add", "replace", "remove"])?;
        match self.op.as_str() {
            "remove" => map.remove(key).map(drop).ok_or_else(|| Fault::not_found(missing)),
            "replace" if !map.contains_key(key) => Err(Fault::not_found(missing)),
            _ => {
                map.insert(key.to_owned(), value);
                Ok(())
            }
        }
    }

    /// A whole map, by a value that is a JSON object: adds its entries or puts them in place of all; `remove` clears.
    /// `read`: an entry's value, if it is one.
    pub(crate) fn entries<V>(
        &self,
        map: &mut BTreeMap<String, V>,
        read: impl Fn(&Value) -> Option<V>,
    ) -> Result<(), Fault> {
        self.needs(&["add", "replace", "remove"])?;
        match self.op.as_str() {
            "remove" => map.clear(),
            "replace" => *map = self.object(read)?,
            _ => map.extend(self.object(read)?),
        }
        Ok(())
    }

    fn object<V>(&self, read: impl Fn(&Value) -> Option<V>) -> Result<BTreeMap<String, V>, Fault> {
        let given: Map<String, Value> = serde_json::from_str(&self.text()).map_err(|_| self.bad_value())?;
        let entries = given.iter().map(|(key, value)| Some((key.clone(), read(value)?)));
        entries.collect::<Option<_>>().ok_or_else(|| self.bad_value())
    }

    /// A whole list of strings: `add` appends the value; `remove` takes it away, or everything if it names none.
    pub(crate) fn list(&self, list: &mut Vec<String>) -> Result<(), Fault> {
        self.needs(&["add", "remove"])?;
        match self.value.as_deref().filter(|value| !value.is_empty()) {
            None if self.removes() => list.clear(),
            None => return Err(self.bad_value()),
            Some(value) => self.item(list, value),
        }
        Ok(())
    }

    /// What `replace` puts in place of a whole list: a JSON array of strings, or one string.
    pub(crate) fn whole_list(&self) -> Result<Vec<String>, Fault> {
        let text = self.text();
        match text.trim_start().starts_with('[') {
            true => serde_json::from_str(&text).map_err(|_| self.bad_value()),
            false if text.is_empty() => Err(self.bad_value()),
            false => Ok(vec![text]),
        }
    }

    /// Adds or removes one of a list of strings.
    pub(crate) fn item(&self, list: &mut Vec<String>, value: &str) {
        if self.removes() {
            list.retain(|one| one != value);
        } else if !list.iter().any(|one| one == value) {
            list.push(value.to_owned());
        }
    }
}

/// For [`Patch::entries`].
pub(crate) fn as_string(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// For [`Patch::entries`], of flags: as JSON has them, or as text.
pub(crate) fn as_flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => text.to_ascii_lowercase().parse().ok(),
        _ => None,
    }
}

impl Patch {
    /// As [`Patch::entry`], but a replacement may be new, and what is not there may be removed.
    pub(crate) fn entry_or_new(&self, map: &mut Strings, key: &str) -> Result<(), Fault> {
        self.needs(&["replace", "remove"])?;
        if self.removes() {
            map.remove(key);
        } else {
            map.insert(key.to_owned(), self.text());
        }
        Ok(())
    }
}
