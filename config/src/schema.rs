//! JSON Schema of the configuration, for editors.

use crate::spec::{Default, Key, Kind, SECTIONS, Section};
use serde_json::{Map, Value, json};

/// The JSON Schema (draft 2020-12) of `gateway.toml`.
pub fn schema() -> String {
    let sections: Map<String, Value> = SECTIONS.iter().map(|s| (s.name.to_owned(), section(s))).collect();
    let root = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sluice gateway configuration",
        "type": "object",
        "additionalProperties": false,
        "properties": sections,
    });
    format!("{root:#}")
}

fn section(section: &Section) -> Value {
    let required: Vec<&str> =
        section.keys.iter().filter(|k| matches!(k.default, Default::Required)).map(|k| k.name).collect();
    let properties: Map<String, Value> = section.keys.iter().map(|k| (k.name.to_owned(), key(k))).collect();
    let mut table = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    if let (false, Value::Object(table)) = (required.is_empty(), &mut table) {
        table.insert("required".to_owned(), json!(required));
    }
    if section.named {
        table = json!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z0-9_-]{1,64}$" },
            "additionalProperties": table,
        });
    }
    if let Value::Object(table) = &mut table {
        table.insert("description".to_owned(), json!(section.doc));
    }
    table
}

fn key(key: &Key) -> Value {
    let mut value = match key.kind {
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Integer(min, max, _) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Number(above, max, _) => json!({ "type": "number", "exclusiveMinimum": above, "maximum": max }),
        Kind::Text => json!({ "type": "string" }),
        Kind::Choice(choices) => json!({ "type": "string", "enum": choices }),
        Kind::BoolOrChoice(choices) => {
            let values: Vec<Value> =
                [false, true].into_iter().map(Value::from).chain(choices.iter().map(|c| json!(c))).collect();
            json!({ "enum": values })
        }
        Kind::TextList => json!({ "type": "array", "items": { "type": "string" } }),
    };
    let default = match key.default {
        Default::Required | Default::Absent | Default::EmptyList => None,
        Default::Bool(default) => Some(json!(default)),
        Default::Integer(default) => Some(json!(default)),
        Default::Text(default) => Some(json!(default)),
    };
    if let Value::Object(value) = &mut value {
        value.insert("description".to_owned(), json!(key.doc));
        if let Some(default) = default {
            value.insert("default".to_owned(), default);
        }
    }
    value
}
