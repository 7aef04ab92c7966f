//! A request's JSON, member by member, in the types that AWS declares for them.

use super::fault::Fault;
use serde_json::{Map, Value};
use sluice_catalog::Strings;
use std::collections::BTreeMap;

/// Members of a JSON object.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a>(Option<&'a Map<String, Value>>);

/// Java's name of the type that AWS's parser finds, as its messages have it.
fn found(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "class java.lang.Boolean",
        Value::Number(_) => "class com.amazon.coral.value.json.numbers.TruncatingBigNumber",
        Value::String(_) => "STRING_VALUE",
        Value::Array(_) => "Start of list",
        Value::Object(_) => "Start of structure or map",
        Value::Null => "NULL_VALUE",
    }
}

fn wrong(value: &Value, wanted: &str) -> Fault {
    match value {
        Value::Array(_) | Value::Object(_) => {
            Fault::serialization(format!("{} found where not expected.", found(value)))
        }
        _ => Fault::serialization(format!("{} can not be converted to {wanted}", found(value))),
    }
}

pub(crate) fn as_text(value: &Value) -> Result<String, Fault> {
    value.as_str().map(str::to_owned).ok_or_else(|| wrong(value, "an String"))
}

impl<'a> Input<'a> {
    /// # Errors
    /// The document is not an object.
    pub(crate) fn of(document: &'a Value) -> Result<Self, Fault> {
        match document {
            Value::Null => Ok(Self(None)),
            Value::Object(members) => Ok(Self(Some(members))),
            other => Err(wrong(other, "a structure")),
        }
    }

    /// Absent and null are the same.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.0?.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, Fault> {
        self.get(name).map(as_text).transpose()
    }

    pub(crate) fn bool(&self, name: &str) -> Result<Option<bool>, Fault> {
        self.get(name).map(|value| value.as_bool().ok_or_else(|| wrong(value, "Boolean"))).transpose()
    }

    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, Fault> {
        self.get(name).map(|value| value.as_i64().ok_or_else(|| wrong(value, "Integer"))).transpose()
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<f64>, Fault> {
        self.get(name).map(|value| value.as_f64().ok_or_else(|| wrong(value, "Double"))).transpose()
    }

    /// A structure within; absent: one without members.
    pub(crate) fn structure(&self, name: &str) -> Result<Input<'a>, Fault> {
        self.get(name).map_or(Ok(Input(None)), Input::of)
    }

    pub(crate) fn list(&self, name: &str) -> Result<Option<&'a Vec<Value>>, Fault> {
        self.get(name).map(|value| value.as_array().ok_or_else(|| wrong(value, "a list"))).transpose()
    }

    pub(crate) fn texts(&self, name: &str) -> Result<Option<Vec<String>>, Fault> {
        self.list(name)?.map(|items| items.iter().map(as_text).collect()).transpose()
    }

    fn map(&self, name: &str) -> Result<Option<&'a Map<String, Value>>, Fault> {
        self.get(name).map(|value| value.as_object().ok_or_else(|| wrong(value, "a map"))).transpose()
    }

    pub(crate) fn strings(&self, name: &str) -> Result<Option<Strings>, Fault> {
        let Some(map) = self.map(name)? else { return Ok(None) };
        let entry = |(key, value): (&String, &Value)| Ok((key.clone(), as_text(value)?));
        map.iter().map(entry).collect::<Result<_, _>>().map(Some)
    }

    /// Lists of texts by name.
    pub(crate) fn lists(&self, name: &str) -> Result<BTreeMap<String, Vec<String>>, Fault> {
        let Some(map) = self.map(name)? else { return Ok(BTreeMap::new()) };
        let members = Input(Some(map));
        map.keys().map(|key| Ok((key.clone(), members.texts(key)?.unwrap_or_default()))).collect()
    }

    /// Null and the empty string stand for none.
    pub(crate) fn optional_strings(&self, name: &str) -> Result<BTreeMap<String, Option<String>>, Fault> {
        let Some(map) = self.map(name)? else { return Ok(BTreeMap::new()) };
        let entry = |(key, value): (&String, &Value)| match value {
            Value::Null => Ok((key.clone(), None)),
            value => Ok((key.clone(), Some(as_text(value)?).filter(|text| !text.is_empty()))),
        };
        map.iter().map(entry).collect()
    }

    pub(crate) fn bools(&self, name: &str) -> Result<BTreeMap<String, bool>, Fault> {
        let Some(map) = self.map(name)? else { return Ok(BTreeMap::new()) };
        let entry = |(key, value): (&String, &Value)| {
            Ok((key.clone(), value.as_bool().ok_or_else(|| wrong(value, "Boolean"))?))
        };
        map.iter().map(entry).collect()
    }

    /// Structures by name.
    pub(crate) fn structures(&self, name: &str) -> Result<Vec<(String, Input<'a>)>, Fault> {
        let Some(map) = self.map(name)? else { return Ok(Vec::new()) };
        map.iter().map(|(key, value)| Ok((key.clone(), Input::of(value)?))).collect()
    }

    /// Tags, at most 50 (AWS's quota), keys up to 128 characters and values up to 256.
    pub(crate) fn tags(&self) -> Result<Strings, Fault> {
        let tags = self.strings("tags")?.unwrap_or_default();
        check_tags(&tags)?;
        Ok(tags)
    }
}

pub(crate) fn check_tags(tags: &Strings) -> Result<(), Fault> {
    if tags.len() > 50 {
        return Err(Fault::bad_request("The number of tags exceeds the limit of 50"));
    }
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > 128 {
            return Err(Fault::bad_request(format!("Invalid tag key: {key}")));
        }
        if key.starts_with("aws:") {
            return Err(Fault::bad_request("Tag key must not start with aws:"));
        }
        if value.chars().count() > 256 {
            return Err(Fault::bad_request(format!("Invalid tag value: {value}")));
        }
    }
    Ok(())
}
