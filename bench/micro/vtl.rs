//! Templates by class, and the two that users bring along on a body of 1 KiB.
//!
//! `cargo bench -p sluice-bench --bench vtl` measures time. For instructions: `valgrind --tool=callgrind` on the same
//! binary with `--profile-time 1 <class>`; steps, which are the same everywhere, are printed first.

#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]
#![allow(clippy::print_stdout, reason = "steps are a result, too")]

use criterion::{Criterion, criterion_group, criterion_main};
use sluice_vtl::{Case, Limits, Template, run};
use std::hint::black_box;

/// Name, case file.
const TEMPLATES: &[(&str, &str)] = &[
    ("mission_request", include_str!("../../gateway/crates/vtl/vectors/mission/request-template.json")),
    ("mission_response", include_str!("../../gateway/crates/vtl/vectors/mission/response-template.json")),
    ("all_parameters", include_str!("../../gateway/crates/vtl/vectors/guide/all-parameters.json")),
    ("jsonpath_filter", include_str!("../../gateway/crates/vtl/vectors/guide/filter-by-jsonpath.json")),
    ("overrides", include_str!("../../gateway/crates/vtl/vectors/guide/overrides.json")),
    ("util_functions", include_str!("../../gateway/crates/vtl/vectors/guide/util-functions.json")),
    ("text_only", r#"{"template": "{\"statusCode\": 200, \"message\": \"nothing to see\"}"}"#),
];

/// About 1 KiB of users.
fn body() -> String {
    let users: Vec<_> = (0..11)
        .map(|id| format!(r#"{{"id":{id},"name":"User number {id}","contact":{{"email":"user{id}@example.com"}},"n":1.5}}"#))
        .collect();
    format!(r#"{{"users":[{}]}}"#, users.join(","))
}

fn templates(criterion: &mut Criterion) {
    let limits = Limits::default();
    for (name, text) in TEMPLATES {
        let Ok(mut case) = Case::read(text) else { continue };
        if name.starts_with("mission") {
            case.set_body(body());
        }
        let Ok(template) = Template::compile(name, &case.template) else { continue };
        if let Ok(rendered) = run(&template, &case, &limits) {
            println!("{name}: {} steps, {} bytes of output", rendered.fuel_used, rendered.text.len());
        }
        criterion.bench_function(name, |bencher| bencher.iter(|| run(black_box(&template), &case, &limits)));
    }
}

criterion_group!(benches, templates);
criterion_main!(benches);
