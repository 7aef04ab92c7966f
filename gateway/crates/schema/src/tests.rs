//! The public suite, and AWS's messages.

use crate::json::Json;
use crate::{Invalid, Schema};
use sluice_jsonpath::{Budget, Heap, parse};

fn check(schema: &Schema, text: &str) -> Result<(), Invalid> {
    let mut heap = Heap::new(100_000);
    let value = parse(text, &mut heap).unwrap();
    schema.check(&heap, &value, &mut Budget::new(100_000))
}

fn text(json: &Json) -> String {
    let mut out = String::new();
    json.write(&mut out);
    out
}

fn list(json: &Json) -> &[Json] {
    match json {
        Json::List(items) => items,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_public_suite_passes() {
    let suite = Json::parse(include_str!("../vectors/draft4.json")).unwrap();
    let remotes = suite.get("remotes").unwrap();
    let documents = |uri: &str| remotes.get(uri).map(text);
    let (mut ran, mut required, mut wrong) = (0, 0, Vec::new());
    for group in list(suite.get("groups").unwrap()) {
        let of = |json: &Json, key| json.get(key).and_then(Json::as_str).unwrap().to_owned();
        let (file, name) = (of(group, "file"), of(group, "description"));
        let schema = Schema::compile("", &text(group.get("schema").unwrap()), &documents);
        for case in list(group.get("tests").unwrap()) {
            let name = format!("{file}: {name}: {}", of(case, "description"));
            ran += 1;
            required += usize::from(!file.starts_with("optional/"));
            let valid = case.get("valid") == Some(&Json::Bool(true));
            let found = match &schema {
                Ok(schema) => {
                    check(schema, &text(case.get("data").unwrap())).map_err(|error| format!("{error:?}"))
                }
                Err(error) => Err(error.to_string()),
            };
            if found.is_ok() != valid || schema.is_err() {
                wrong.push(format!("{name}: {found:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {ran}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!((ran, required), (863, 610));
}

#[test]
fn faults_are_told_as_aws_tells_them() {
    let schema = r##"{
        "type": "object", "required": ["name", "age"], "additionalProperties": false,
        "properties": {
            "name": {"type": "string", "minLength": 2, "maxLength": 5, "pattern": "^[a-z]+$"},
            "age": {"type": "number", "minimum": 0, "exclusiveMaximum": true, "maximum": 150},
            "kind": {"enum": ["cat", "dog"]},
            "tags": {"type": "array", "minItems": 1, "maxItems": 2, "uniqueItems": true, "items": {"type": "string"}},
            "one": {"oneOf": [{"type": "string"}, {"minLength": 3}]},
            "mail": {"format": "email"},
            "half": {"multipleOf": 0.5}
        }
    }"##;
    let schema = Schema::compile("", schema, &|_| None).unwrap();
    for (body, expected) in [
        (r#"{}"#, r#"[object has missing required properties (["age","name"])]"#),
        (
            r#"{"name":"ab","age":1,"z":1,"y":2}"#,
            r#"[object instance has properties which are not allowed by the schema: ["y","z"]]"#,
        ),
        (
            r#"[]"#,
            r#"[instance type (array) does not match any allowed primitive type (allowed: ["object"])]"#,
        ),
        // Members are looked at only once the object itself is right.
        (r#"{"name":1}"#, r#"[object has missing required properties (["age"])]"#),
        (
            r#"{"name":1,"age":"2"}"#,
            "[instance type (string) does not match any allowed primitive type (allowed: [\"integer\",\"number\"]), \
             instance type (integer) does not match any allowed primitive type (allowed: [\"string\"])]",
        ),
        (
            r#"{"name":"A","age":-1}"#,
            "[numeric instance is lower than the required minimum (minimum: 0, found: -1), string \"A\" is too short \
             (length: 1, required minimum: 2), ECMA 262 regex \"^[a-z]+$\" does not match input string \"A\"]",
        ),
        (
            r#"{"name":"abcdef","age":150}"#,
            "[numeric instance is not strictly lower than the required maximum 150, string \"abcdef\" is too long \
             (length: 6, maximum allowed: 5)]",
        ),
        (
            r#"{"name":"ab","age":150.5,"kind":"cow"}"#,
            "[numeric instance is greater than the required maximum (maximum: 150, found: 150.5), instance value \
             (\"cow\") not found in enum (possible values: [\"cat\",\"dog\"])]",
        ),
        (
            r#"{"name":"ab","age":1,"tags":[]}"#,
            "[array is too short: must have at least 1 elements but instance has 0 elements]",
        ),
        (
            r#"{"name":"ab","age":1,"tags":["a","a",3]}"#,
            "[array is too long: must have at most 2 elements but instance has 3 elements, array must not contain \
             duplicate elements]",
        ),
        (
            r#"{"name":"ab","age":1,"one":"long"}"#,
            "[instance failed to match exactly one schema (matched 2 out of 2)]",
        ),
        (r#"{"name":"ab","age":1,"mail":"no"}"#, "[string \"no\" is not a valid email address]"),
        (r#"{"name":"ab","age":1,"half":0.7}"#, "[remainder of division is not zero (0.7 / 0.5)]"),
    ] {
        assert_eq!(check(&schema, body), Err(Invalid::Faults(expected.to_owned())), "{body}");
    }
    check(&schema, r#"{"name":"ab","age":1.5,"kind":"dog","tags":["a"],"one":"a","half":-1.5}"#).unwrap();
}

#[test]
fn models_refer_to_each_other() {
    let uri = |name: &str| format!("https://apigateway.amazonaws.com/restapis/a1/models/{name}");
    let tree = format!(
        r#"{{"properties":{{"kids":{{"items":{{"$ref":"{}"}}}}}},"required":["kids"]}}"#,
        uri("Tree")
    );
    let pair = format!(r##"{{"items":{{"$ref":"{}"}},"definitions":{{}}}}"##, uri("Tree"));
    let documents = |wanted: &str| (wanted == uri("Tree")).then(|| tree.clone());
    let schema = Schema::compile(&uri("Pair"), &pair, &documents).unwrap();
    check(&schema, r#"[{"kids":[{"kids":[]}]}]"#).unwrap();
    assert!(check(&schema, r#"[{"kids":[{}]}]"#).is_err());
    let error = Schema::compile("", &pair, &|_| None).unwrap_err();
    assert!(error.to_string().contains("unresolvable reference"), "{error}");
}

#[test]
fn what_is_no_schema_is_refused_with_its_place() {
    for (schema, at, reason) in [
        ("", "u", "a JSON value"),
        ("[]", "u#", "an object"),
        (r#"{"type":"strong"}"#, "u#", "`type`"),
        (r#"{"properties":{"a":{"minimum":"1"}}}"#, "u#/properties/a", "`minimum`"),
        (r#"{"properties":{"a":true}}"#, "u#/properties/a", "a schema"),
        (r#"{"required":true}"#, "u#", "`required`"),
        (r#"{"allOf":[]}"#, "u#", "at least one"),
        (r#"{"multipleOf":0}"#, "u#", "above 0"),
        (r#"{"pattern":"("}"#, "u#", "pattern"),
        (r##"{"$ref":"#/no"}"##, "u#", "unresolvable"),
        (r##"{"$ref":"#"}"##, "u", "leads to itself"),
        (r#"{"maxLength":-1}"#, "u#", "from 0 on"),
        (r#"{"additionalProperties":1}"#, "u#", "a boolean"),
    ] {
        let error = Schema::compile("u", schema, &|_| None).unwrap_err();
        assert_eq!(error.at, at, "{schema}");
        assert!(error.reason.contains(reason), "{schema}: {error}");
    }
}

#[test]
fn hostile_schemas_and_bodies_are_bounded() {
    // Each level asks for the next one twice.
    let mut definitions = String::from(r#""d0":{"type":"object"}"#);
    for at in 1..40 {
        let below = at - 1;
        let twice = format!(r##"{{"$ref":"#/definitions/d{below}"}},{{"$ref":"#/definitions/d{below}"}}"##);
        definitions.push_str(&format!(r#","d{at}":{{"allOf":[{twice}]}}"#));
    }
    let schema = format!(r##"{{"$ref":"#/definitions/d39","definitions":{{{definitions}}}}}"##);
    let schema = Schema::compile("", &schema, &|_| None).unwrap();
    assert_eq!(check(&schema, "{}"), Err(Invalid::TooMuchWork));
    // A schema that leads to itself without leading deeper into the value.
    let schema = Schema::compile("", r##"{"allOf":[{"$ref":"#"}]}"##, &|_| None).unwrap();
    assert_eq!(check(&schema, "{}"), Err(Invalid::TooMuchWork));
    // As deep as a body can be.
    let deep = format!("{}{}", "[".repeat(250), "]".repeat(250));
    let schema = Schema::compile("", r##"{"items":{"$ref":"#"},"uniqueItems":true}"##, &|_| None).unwrap();
    check(&schema, &deep).unwrap();
    // Messages don't grow with the body.
    let schema = Schema::compile("", r#"{"items":{"maxLength":1}}"#, &|_| None).unwrap();
    let Err(Invalid::Faults(text)) = check(&schema, &format!("[\"{}\",\"ab\"]", "x".repeat(100_000))) else {
        panic!("expected faults");
    };
    assert!(text.len() < 20_000, "{}", text.len());
}
