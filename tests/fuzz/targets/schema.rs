//! A schema, NUL, a body: whatever they are, nothing panics, the budget is kept, and what is told stays short.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_jsonpath::{Budget, Heap, parse};
use sluice_schema::{Invalid, Schema};

fuzz_target!(|input: &str| {
    let (schema, body) = input.split_once('\0').unwrap_or((input, r#"{"a":[1,"x",null,{"b":2.5e3}],"b":true}"#));
    let other = |uri: &str| uri.ends_with("Other").then(|| r#"{"type":"array","items":{"minimum":1}}"#.to_owned());
    let Ok(schema) = Schema::compile("https://apigateway.amazonaws.com/restapis/a/models/M", schema, &other) else {
        return;
    };
    let mut heap = Heap::new(50_000);
    let Ok(value) = parse(body, &mut heap) else { return };
    let mut budget = Budget::new(50_000);
    if let Err(Invalid::Faults(text)) = schema.check(&heap, &value, &mut budget) {
        assert!(text.starts_with('[') && text.ends_with(']'));
        assert!(text.len() < 40_000, "{}", text.len());
    }
});
