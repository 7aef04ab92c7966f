//! Templates by class, and the two that users bring along on a body of 1 KiB.
//!
//! `cargo bench -p sluice-bench --bench vtl` measures time. For instructions the same binary runs one class so often:
//! `SLUICE_CLASS=text_only SLUICE_TIMES=100 valgrind --tool=callgrind …`. The difference between what 200 and 100 times take is that
//! of 100 runs, and nothing else. Steps, which are the same everywhere, are printed first.

#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]
#![allow(clippy::print_stdout, reason = "steps are a result, too")]

use criterion::{Criterion, criterion_group};
use sluice_vtl::{Case, Limits, Rendered, Template, run};
use std::hint::black_box;

/// Name, case file.
const TEMPLATES: [(&str, &str); 7] = [
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

/// The template and case of a class.
fn class(name: &str, text: &str) -> Option<(Template, Case)> {
    let mut case = Case::read(text).ok()?;
    if name.starts_with("mission") {
        case.set_body(body());
    }
    let template = Template::compile(name, &case.template).ok()?;
    Some((template, case))
}

fn templates(criterion: &mut Criterion) {
    for (name, text) in &TEMPLATES {
        let Some((template, case)) = class(name, text) else { continue };
        if let Some(rendered) = once(&template, &case) {
            println!("{name}: {} steps, {} bytes of output", rendered.fuel_used, rendered.text.len());
        }
        criterion.bench_function(name, |bencher| bencher.iter(|| once(black_box(&template), &case)));
    }
}

/// What callgrind counts.
#[inline(never)]
fn once(template: &Template, case: &Case) -> Option<Rendered> {
    run(template, case, &Limits::default()).ok()
}

/// Runs the template of a class as often as is said, for callgrind to count.
fn count(wanted: &str, times: u32) {
    let Some((name, text)) = TEMPLATES.iter().find(|(name, _)| *name == wanted) else {
        println!("expected one of {:?}", TEMPLATES.map(|(name, _)| name));
        return;
    };
    let Some((template, case)) = class(name, text) else { return };
    for _ in 0..times {
        black_box(once(black_box(&template), &case));
    }
}

criterion_group!(benches, templates);

fn main() {
    match (std::env::var("SLUICE_CLASS"), std::env::var("SLUICE_TIMES").map(|times| times.parse())) {
        (Ok(class), Ok(Ok(times))) => count(&class, times),
        _ => {
            benches();
            Criterion::default().configure_from_args().final_summary();
        }
    }
}
