//! A template, NUL, a body: whatever they are, nothing panics, and output and steps keep their bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_vtl::{Case, Limits, Template, run};

fuzz_target!(|input: &str| {
    let (template, body) = input.split_once('\0').unwrap_or((input, r#"{"a":{"b":[1,"x",null]},"l":[2.5,true]}"#));
    let Ok(template) = Template::compile("fuzz", template) else { return };
    let limits = Limits { fuel: 20_000, output_bytes: 1 << 16, values: 50_000, ..Limits::default() };
    if let Ok(rendered) = run(&template, &Case::with_body(body), &limits) {
        assert!(rendered.text.len() <= limits.output_bytes);
        assert!(rendered.fuel_used <= limits.fuel);
    }
});
