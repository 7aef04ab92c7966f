//! A request and a response through parameters and the two templates that users bring along, and a body through its model,
//! each on 1 KiB; then templates without end, which is how long any template can hold a core.
//!
//! `cargo bench -p sluice-bench --bench mapping`.

#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]

use criterion::{Criterion, criterion_group, criterion_main};
use sluice_mapping::{
    Answer, BinaryMediaTypes, ContextValue, ContextVariable, Models, Outgoing, Request, RequestMapping,
    RequestSource, RequestView, Response, ResponseMapping, ResponseSource, ResponseView, SelectBy, Validator,
    ValidatorSource, Work,
};
use sluice_vtl::Case;
use std::hint::black_box;

const REQUEST: &str = include_str!("../../gateway/crates/vtl/vectors/mission/request-template.json");
const RESPONSE: &str = include_str!("../../gateway/crates/vtl/vectors/mission/response-template.json");

/// Templates that stop at a bound only.
const ENDLESS: &[(&str, &str)] = &[
    ("loops", "#foreach($a in [1..1000])#foreach($b in [1..1000])$a$b#end#end"),
    ("strings", "#set($s='x')#foreach($i in [1..1000])#set($s=$s+$s)#set($t=$s.replaceAll('x','xy'))#end"),
    ("json", "#foreach($i in [1..1000])$input.json('$')#end"),
    ("paths", "#foreach($i in [1..1000])$input.path('$..*').size()#end"),
    ("patterns", "#foreach($i in [1..1000])$input.body.replaceAll('[a-z]+(\\d+)?', '$1')#end"),
    (
        "look-around",
        "#set($t=$input.body.substring(0,500))#foreach($i in [1..1000])$t.matches('(?s)(?:(?!.*%).)*')#end",
    ),
    ("splits", "#foreach($i in [1..1000])$input.body.split('[a-z]').size()#end"),
    ("escapes", "#foreach($i in [1..1000])#set($x=$util.escapeJavaScript($input.body))#end"),
];

struct Exchange {
    body: String,
}

/// About 1 KiB of users.
fn exchange() -> Exchange {
    let user = |id| {
        format!(
            r#"{{"id":{id},"name":"User number {id}","contact":{{"email":"user{id}@example.com"}},"n":1.5}}"#
        )
    };
    let users: Vec<_> = (0..11).map(user).collect();
    Exchange { body: format!(r#"{{"users":[{}]}}"#, users.join(",")) }
}

impl RequestView for Exchange {
    fn path_parameters<'v>(&'v self, each: &mut dyn FnMut(&'v str, &'v str)) {
        each("id", "7");
    }

    fn query(&self) -> &str {
        "page=2&sort=name"
    }

    fn headers<'v>(&'v self, each: &mut dyn FnMut(&'v str, &'v [u8])) {
        each("Content-Type", b"application/json");
        each("Accept", b"application/json");
        each("User-Agent", b"bench");
    }

    fn body(&self) -> &[u8] {
        self.body.as_bytes()
    }

    fn context(&self, variable: ContextVariable) -> Option<ContextValue<'_>> {
        Some(ContextValue::Str(variable.name()))
    }

    fn stage_variables<'v>(&'v self, each: &mut dyn FnMut(&'v str, &'v str)) {
        each("backend", "blue");
    }
}

impl ResponseView for Exchange {
    fn status(&self) -> u16 {
        200
    }

    fn headers<'v>(&'v self, each: &mut dyn FnMut(&'v str, &'v [u8])) {
        each("Content-Type", b"application/json");
    }

    fn body(&self) -> &[u8] {
        self.body.as_bytes()
    }
}

fn mapping(criterion: &mut Criterion) {
    let (Ok(request), Ok(response)) = (Case::read(REQUEST), Case::read(RESPONSE)) else { return };
    let exchange = exchange();
    let binary = BinaryMediaTypes::default();
    let requests = RequestMapping::compile(&RequestSource {
        parameters: &[("integration.request.header.X-User", "method.request.path.id")],
        templates: &[("application/json", &request.template)],
        ..RequestSource::default()
    });
    if let Ok(mapping) = requests {
        let mut out = Outgoing::default();
        criterion.bench_function("mapped_request", |bencher| {
            bencher.iter(|| mapping.apply(&Request::new(black_box(&exchange)), &binary, &mut out));
        });
    }
    let responses = ResponseMapping::compile(
        SelectBy::Status,
        &[ResponseSource {
            status: "200",
            templates: &[("application/json", &response.template)],
            ..ResponseSource::default()
        }],
    );
    if let Ok(mapping) = responses {
        let mut out = Answer::default();
        criterion.bench_function("mapped_response", |bencher| {
            bencher.iter(|| {
                let (request, response) = (Request::new(&exchange), Response::new(black_box(&exchange)));
                mapping.apply(&request, &response, &binary, &[], &mut out)
            });
        });
    }
    let model = r#"{"type":"object","required":["users"],"properties":{"users":{"type":"array","items":{"type":"object",
        "required":["id","name"],"properties":{"id":{"type":"integer","minimum":0},"name":{"type":"string","pattern":"^User"},
        "contact":{"type":"object","properties":{"email":{"type":"string","format":"email"}}},"n":{"type":"number"}}}}}}"#;
    let models = Models::compile("a", &[("Users", model)]).unwrap_or_default();
    let source = ValidatorSource {
        body: true,
        models: &[("application/json", "Users")],
        ..ValidatorSource::default()
    };
    if let Ok(validator) = Validator::compile(&source, &models) {
        criterion.bench_function("validated_body", |bencher| {
            bencher.iter(|| validator.check(&Request::new(black_box(&exchange))));
        });
    }
}

/// What a core does of them before it hands them over.
fn endless(criterion: &mut Criterion) {
    let (exchange, binary) = (exchange(), BinaryMediaTypes::default());
    let mut group = criterion.benchmark_group("endless");
    group.sample_size(10);
    for (name, text) in ENDLESS {
        let templates = &[("application/json", *text)];
        let Ok(mapping) = RequestMapping::compile(&RequestSource { templates, ..RequestSource::default() })
        else {
            continue;
        };
        let mut out = Outgoing::default();
        group.bench_function(*name, |bencher| {
            bencher.iter(|| {
                let work = Work::on_core();
                let done = mapping.apply(&Request::within(black_box(&exchange), &work), &binary, &mut out);
                assert!(done.is_err() && work.is_short(), "it ends by itself");
            })
        });
    }
}

criterion_group!(benches, mapping, endless);
criterion_main!(benches);
