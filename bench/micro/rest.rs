//! REST APIs among 1, 100 and 1,000 of them: finding stage and method must not cost more, and one API's change must be
//! published in the time that one takes.

// A benchmark stops at the first surprise.
#![allow(clippy::unwrap_used, missing_docs)]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sluice_catalog::{
    Catalog, Definition, Deployment, Integration, IntegrationResponse, IntegrationType, Method, Resource,
    RestApi, Stage,
};
use sluice_compile::{Now, Registry, SlotAllocator, compile};
use sluice_config::Settings;
use sluice_snapshot::{Addressed, Captures, Match, Snapshot, resource_path};
use std::hint::black_box;
use std::sync::Arc;

/// Methods of each API.
const METHODS: usize = 50;

struct Slots;

impl SlotAllocator for Slots {
    fn route_slot(&mut self, _: &str) -> u32 {
        0
    }
    fn upstream_slot(&mut self, _: &str) -> u32 {
        0
    }
    fn limit_slot(&mut self, _: &str) -> u32 {
        0
    }
    fn key_slot(&mut self, _: &str) -> u32 {
        0
    }
}

fn api(id: usize, body: &str) -> Arc<RestApi> {
    let response = IntegrationResponse {
        status_code: "200".to_owned(),
        response_templates: [("application/json".to_owned(), Some(body.to_owned()))].into(),
        ..IntegrationResponse::default()
    };
    let integration = Integration {
        integration_type: IntegrationType::Mock,
        request_templates: [("application/json".to_owned(), "{\"statusCode\": 200}".to_owned())].into(),
        integration_responses: [("200".to_owned(), response)].into(),
        ..Integration::default()
    };
    let method = Method { integration: Some(Box::new(integration)), ..Method::default() };
    let resource = |at: usize| Resource {
        id: format!("r{at}"),
        path: format!("/orders{at}/{{id}}"),
        methods: [("GET".to_owned(), method.clone())].into(),
        ..Resource::default()
    };
    let resources = (0..METHODS).map(|at| (format!("r{at}"), Arc::new(resource(at)))).collect();
    let definition = Arc::new(Definition { resources, ..Definition::default() });
    let deployment = Deployment { id: "d".to_owned(), definition, ..Deployment::default() };
    let stage = Stage { stage_name: "prod".to_owned(), deployment_id: "d".to_owned(), ..Stage::default() };
    Arc::new(RestApi {
        id: format!("api{id:07}"),
        deployments: [("d".to_owned(), Arc::new(deployment))].into(),
        stages: [("prod".to_owned(), Arc::new(stage))].into(),
        ..RestApi::default()
    })
}

fn catalog(count: usize) -> Catalog {
    let apis = (0..count).map(|id| api(id, "{}"));
    Catalog { rest_apis: apis.map(|api| (api.id.clone(), api)).collect(), ..Catalog::default() }
}

fn publish(catalog: &Catalog, registry: &mut Registry) -> Snapshot {
    let settings = Settings::parse("", "bench").unwrap();
    compile(&settings, catalog, registry, &mut Slots, Now::default()).unwrap().snapshot
}

/// From the head of a request to its route, each API in turn.
fn routing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rest/route");
    for count in [1, 100, 1_000] {
        let snapshot = publish(&catalog(count), &mut Registry::new());
        let requests: Vec<_> = (0..200)
            .map(|at| {
                let host = format!("api{:07}.execute-api.eu-west-1.localhost", at * 37 % count);
                (host, format!("/prod/orders{}/12345", at % METHODS))
            })
            .collect();
        let mut captures = Captures::new();
        group.throughput(Throughput::Elements(requests.len() as u64));
        group.bench_function(format!("{count}_apis"), |bencher| {
            bencher.iter(|| {
                for (host, path) in &requests {
                    let path = black_box(path.as_bytes());
                    let found = snapshot.rest.address(black_box(host.as_bytes()), path);
                    let Addressed::Stage { stage, start } = found else { unreachable!() };
                    let router = &snapshot.rest.stages.get(stage as usize).unwrap().deployed.router;
                    let below = path.get(resource_path(path, start)).unwrap();
                    let method = sluice_wire::Method::Get;
                    let found = router.route(b"", method, b"GET", below, &mut captures);
                    assert!(matches!(black_box(found), Match::Found(_)));
                }
            });
        });
    }
    group.finish();
}

/// One changed API among a thousand, and all of them from nothing.
fn publishing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rest/publish");
    group.sample_size(10);
    let mut catalog = catalog(1_000);
    let mut registry = Registry::new();
    drop(publish(&catalog, &mut registry));
    let mut round = 0;
    group.bench_function("one_of_1000_apis", |bencher| {
        bencher.iter_batched(
            || {
                round += 1;
                let changed = api(500, &format!("{{\"round\": {round}}}"));
                catalog.rest_apis.insert(changed.id.clone(), changed);
                catalog.clone()
            },
            |catalog| publish(&catalog, &mut registry),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("all_1000_apis", |bencher| {
        bencher.iter(|| publish(&catalog, &mut Registry::new()));
    });
    group.finish();
}

criterion_group!(benches, routing, publishing);
criterion_main!(benches);
