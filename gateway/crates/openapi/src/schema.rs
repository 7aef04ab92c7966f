//! Schemas of documents as models, and back: references are to `#/definitions/…` there, to the model's URL here.

use serde_json::{Map, Value};

/// Model names in URLs come after this and the API's id.
const MODELS: &str = "https://apigateway.amazonaws.com/restapis/";

/// Where documents have their schemas.
pub(crate) const PLACES: [&str; 2] = ["#/definitions/", "#/components/schemas/"];

/// The name that a reference to a schema of the document has.
pub(crate) fn name_of(reference: &str) -> Option<&str> {
    PLACES.iter().find_map(|place| reference.strip_prefix(place))
}

/// A schema as a model of this API has it.
pub(crate) fn to_model(schema: &Value, api: &str) -> Value {
    rewritten(schema, &|reference| name_of(reference).map(|name| format!("{MODELS}{api}/models/{name}")))
}

/// A model's schema as a document has it.
pub(crate) fn to_document(schema: &Value, place: &str) -> Value {
    let name = |reference: &str| {
        let name = reference.strip_prefix(MODELS)?.split_once("/models/")?.1;
        Some(format!("{place}{name}"))
    };
    let mut schema = rewritten(schema, &name);
    if let Value::Object(members) = &mut schema {
        members.remove("$schema");
        members.remove("id");
    }
    schema
}

fn rewritten(value: &Value, rewrite: &dyn Fn(&str) -> Option<String>) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(|item| rewritten(item, rewrite)).collect()),
        Value::Object(members) => {
            let member = |(key, value): (&String, &Value)| {
                let value = match value.as_str().filter(|_| key == "$ref").and_then(rewrite) {
                    Some(reference) => Value::String(reference),
                    None => rewritten(value, rewrite),
                };
                (key.clone(), value)
            };
            Value::Object(members.iter().map(member).collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}
