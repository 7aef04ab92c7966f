//! Models (JSON schemas) and request validators.

use super::fault::Fault;
use super::patch::patches;
use super::{Answer, Call, Reply, ids, page, show};
use serde_json::Value;
use sluice_catalog::{Catalog, Model, RequestValidator};
use std::collections::BTreeMap;

const NO_VALIDATOR: &str = "Invalid Request Validator identifier specified";

/// The two that every API begins with.
pub(crate) fn defaults() -> BTreeMap<String, Model> {
    let model = |name: &str, description: &str, schema: &str| {
        let model = Model {
            id: ids::id(6),
            name: name.to_owned(),
            description: Some(description.to_owned()),
            schema: schema.to_owned(),
            content_type: "application/json".to_owned(),
        };
        (name.to_owned(), model)
    };
    [
        model(
            "Empty",
            "This is a default empty schema model",
            "{\n  \"$schema\": \"http://json-schema.org/draft-04/schema#\",\n  \"title\" : \"Empty Schema\",\n  \"type\" : \"object\"\n}",
        ),
        model(
            "Error",
            "This is a default error schema model",
            "{\n  \"$schema\" : \"http://json-schema.org/draft-04/schema#\",\n  \"title\" : \"Error Schema\",\n  \"type\" : \"object\",\n  \"properties\" : {\n    \"message\" : { \"type\" : \"string\" }\n  }\n}",
        ),
    ]
    .into()
}

fn unknown(name: &str) -> Fault {
    Fault::not_found(format!("Invalid model name specified: {name}"))
}

pub(crate) fn list(catalog: &Catalog, call: &Call) -> Answer {
    let models = &call.api(catalog)?.definition.models;
    page::page(call, models.iter().map(|(name, model)| (name.as_str(), model)), show)
}

pub(crate) fn get(catalog: &Catalog, call: &Call) -> Answer {
    let name = call.param("model_name");
    let model = call.api(catalog)?.definition.models.get(name).ok_or_else(|| unknown(name))?;
    Ok(Reply::ok(show(model)))
}

/// A template that makes an example of a model.
pub(crate) fn template(catalog: &Catalog, call: &Call) -> Answer {
    let name = call.param("model_name");
    let models = &call.api(catalog)?.definition.models;
    let model = models.get(name).ok_or_else(|| unknown(name))?;
    let schema = serde_json::from_str(&model.schema).unwrap_or(Value::Null);
    let mut value = "#set($inputRoot = $input.path('$'))\n".to_owned();
    example(&schema, models, 0, &mut value);
    value.push('\n');
    Ok(Reply::ok(serde_json::json!({ "value": value })))
}

/// Models that refer to themselves end here.
const EXAMPLE_DEPTH: usize = 8;

fn example(schema: &Value, models: &BTreeMap<String, Model>, depth: usize, out: &mut String) {
    let referred = schema.get("$ref").and_then(Value::as_str).and_then(|to| to.rsplit('/').next());
    if let Some(model) = referred.and_then(|name| models.get(name)).filter(|_| depth < EXAMPLE_DEPTH) {
        let schema = serde_json::from_str(&model.schema).unwrap_or(Value::Null);
        return example(&schema, models, depth + 1, out);
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    let kind = schema.get("type").and_then(Value::as_str);
    match kind.unwrap_or(if properties.is_some() { "object" } else { "" }) {
        "string" => out.push_str("\"foo\""),
        "integer" => out.push_str("42"),
        "number" => out.push_str("3.14"),
        "boolean" => out.push_str("true"),
        "null" => out.push_str("null"),
        "array" if depth < EXAMPLE_DEPTH => {
            out.push_str("[\n##TODO: Update this foreach loop to reference array from input json\n#foreach($elem in $inputRoot)\n");
            example(schema.get("items").unwrap_or(&Value::Null), models, depth + 1, out);
            out.push_str("#if($foreach.hasNext),#end\n#end\n]");
        }
        _ => {
            out.push('{');
            let members = properties.into_iter().flatten().filter(|_| depth < EXAMPLE_DEPTH);
            for (at, (name, schema)) in members.enumerate() {
                out.push_str(if at == 0 { "\n" } else { ",\n" });
                out.push_str(&"  ".repeat(depth + 1));
                out.push_str(&format!("{} : ", Value::from(name.as_str())));
                example(schema, models, depth + 1, out);
            }
            if out.ends_with('{') {
                out.push('}');
            } else {
                out.push_str(&format!("\n{}}}", "  ".repeat(depth)));
            }
        }
    }
}

fn check_schema(schema: &str) -> Result<(), Fault> {
    let document: Value = match schema.trim() {
        "" => Value::Null,
        text => serde_json::from_str(text)
            .map_err(|error| Fault::bad_request(format!("Invalid model schema specified: {error}")))?,
    };
    if document.as_object().is_some_and(|members| !members.is_empty()) {
        return Ok(());
    }
    Err(Fault::bad_request("Model schema must have at least 1 property or array items defined"))
}

pub(crate) fn create(catalog: &mut Catalog, call: &Call) -> Answer {
    let input = call.input()?;
    let name = input.text("name")?.unwrap_or_default();
    let definition = call.definition_mut(catalog)?;
    if name.is_empty() {
        return Err(Fault::bad_request("Model name must be non-empty"));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(Fault::bad_request(format!("Model name must be alphanumeric: {name}")));
    }
    if definition.models.contains_key(&name) {
        return Err(Fault::conflict("Model name already exists for this REST API"));
    }
    let schema = input.text("schema")?.unwrap_or_default();
    check_schema(&schema)?;
    let model = Model {
        id: ids::id(6),
        name: name.clone(),
        description: input.text("description")?,
        schema,
        content_type: input.text("contentType")?.unwrap_or_default(),
    };
    let body = show(&model);
    definition.models.insert(name, model);
    Ok(Reply::created(body))
}

pub(crate) fn delete(catalog: &mut Catalog, call: &Call) -> Answer {
    let name = call.param("model_name");
    let definition = call.definition_mut(catalog)?;
    if !definition.models.contains_key(name) {
        return Err(unknown(name));
    }
    for resource in definition.resources.values() {
        for method in resource.methods.values() {
            let at = format!("{}/{}", resource.path, method.http_method);
            if method.request_models.values().any(|used| used == name) {
                let text = format!("Cannot delete model '{name}', is referenced in method request: {at}");
                return Err(Fault::conflict(text));
            }
            let mut responses = method.method_responses.values();
            if responses.any(|response| response.response_models.values().any(|used| used == name)) {
                let text = format!("Cannot delete model '{name}', is referenced in method response: {at}");
                return Err(Fault::conflict(text));
            }
        }
    }
    definition.models.remove(name);
    Ok(Reply::accepted())
}

pub(crate) fn update(catalog: &mut Catalog, call: &Call) -> Answer {
    let name = call.param("model_name");
    let model = call.definition_mut(catalog)?.models.get_mut(name).ok_or_else(|| unknown(name))?;
    for patch in patches(call, "updateModelInput")? {
        patch.replaces_one_of(&["/description", "/schema"])?;
        if patch.path == "/schema" {
            check_schema(&patch.text())?;
            model.schema = patch.text();
        } else {
            model.description = patch.optional();
        }
    }
    Ok(Reply::ok(show(model)))
}

pub(crate) fn list_validators(catalog: &Catalog, call: &Call) -> Answer {
    let validators = &call.api(catalog)?.definition.request_validators;
    page::page(call, validators.iter().map(|(id, one)| (id.as_str(), one)), show)
}

/// Within an API that is not there, AWS finds the validator missing.
fn validator<'c>(catalog: &'c Catalog, call: &Call) -> Result<&'c RequestValidator, Fault> {
    let api = catalog.rest_apis.get(call.param("restapi_id"));
    let found = api.and_then(|api| api.definition.request_validators.get(call.param("requestvalidator_id")));
    found.ok_or_else(|| Fault::not_found(NO_VALIDATOR))
}

pub(crate) fn get_validator(catalog: &Catalog, call: &Call) -> Answer {
    Ok(Reply::ok(show(validator(catalog, call)?)))
}

pub(crate) fn create_validator(catalog: &mut Catalog, call: &Call) -> Answer {
    let input = call.input()?;
    let definition = call
        .definition_mut(catalog)
        .map_err(|_| Fault::bad_request("Invalid REST API identifier specified"))?;
    let validator = RequestValidator {
        id: ids::id(6),
        name: input.text("name")?.unwrap_or_default(),
        validate_request_body: input.bool("validateRequestBody")?.unwrap_or(false),
        validate_request_parameters: input.bool("validateRequestParameters")?.unwrap_or(false),
    };
    let body = show(&validator);
    definition.request_validators.insert(validator.id.clone(), validator);
    Ok(Reply::created(body))
}

pub(crate) fn delete_validator(catalog: &mut Catalog, call: &Call) -> Answer {
    let id = validator(catalog, call)?.id.clone();
    let definition = call.definition_mut(catalog)?;
    let mut methods = definition.resources.values().flat_map(|resource| resource.methods.values());
    if methods.any(|method| method.request_validator_id.as_ref() == Some(&id)) {
        let text = format!("Cannot delete validator '{id}', is referenced in method");
        return Err(Fault::conflict(text));
    }
    definition.request_validators.remove(&id);
    Ok(Reply::accepted())
}

pub(crate) fn update_validator(catalog: &mut Catalog, call: &Call) -> Answer {
    let mut changed = validator(catalog, call)?.clone();
    for patch in patches(call, "updateRequestValidatorInput")? {
        patch.replaces_one_of(&["/name", "/validateRequestParameters", "/validateRequestBody"])?;
        match patch.path.as_str() {
            "/name" => {
                let blank = || Fault::bad_request("Request Validator name cannot be blank");
                changed.name = patch.optional().ok_or_else(blank)?;
            }
            "/validateRequestBody" => changed.validate_request_body = patch.bool(),
            _ => changed.validate_request_parameters = patch.bool(),
        }
    }
    let body = show(&changed);
    call.definition_mut(catalog)?.request_validators.insert(changed.id.clone(), changed);
    Ok(Reply::ok(body))
}
