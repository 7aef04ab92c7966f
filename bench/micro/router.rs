//! Routing among 10, 1,000 and 10,000 routes: the cost must follow the path's segments, not the number of routes.

// A benchmark stops at the first surprise.
#![allow(clippy::unwrap_used, missing_docs)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sluice_snapshot::{Captures, Match, Pattern, RouteId, Router, RouterBuilder};
use sluice_wire::Method;
use std::hint::black_box;
use std::sync::Arc;

/// Name, pattern and a path that it takes; `#` stands for the number of the service.
const SHAPES: [(&str, &str, &str); 5] = [
    ("static", "/v1/service#/orders", "/v1/service#/orders"),
    ("param", "/v1/service#/users/{id}", "/v1/service#/users/12345"),
    ("two_params", "/api/team#/{team}/items/{item}", "/api/team#/blue/items/42"),
    ("greedy", "/files#/{proxy+}", "/files#/reports/2024/summary.txt"),
    ("encoded", "/docs#/{name}/text", "/docs#/caf%C3%A9/text"),
];

fn routes(count: u32) -> Router {
    let mut builder = RouterBuilder::new();
    for (id, (name, pattern, _)) in (0..count).zip(SHAPES.iter().cycle()) {
        let pattern = Pattern::parse(&pattern.replace('#', &id.to_string())).unwrap();
        let name: Arc<str> = format!("{name}-{id}").into();
        builder.add(RouteId(id), &name, None, &pattern, ["GET"]).unwrap();
    }
    builder.build()
}

/// Every route's path in turn, so that branch predictor and cache see traffic, not one request.
fn by_shape(criterion: &mut Criterion) {
    for count in [10, 1_000, 10_000] {
        let router = routes(count);
        let mut group = criterion.benchmark_group(format!("router/{count}_routes"));
        for (at, (name, _, path)) in SHAPES.iter().enumerate() {
            let ids = (at as u32..count).step_by(SHAPES.len()).take(200);
            let paths: Vec<String> = ids.map(|id| path.replace('#', &id.to_string())).collect();
            let mut captures = Captures::new();
            group.throughput(Throughput::Elements(paths.len() as u64));
            group.bench_with_input(BenchmarkId::from_parameter(name), &paths, |bencher, paths| {
                bencher.iter(|| {
                    for path in paths {
                        let path = black_box(path.as_bytes());
                        let found =
                            router.route(b"api.example.com", Method::Get, b"GET", path, &mut captures);
                        assert!(matches!(black_box(found), Match::Found(_)));
                    }
                });
            });
        }
        group.finish();
    }
}

/// What refusing costs: no such path, another method, a dot segment.
fn refusals(criterion: &mut Criterion) {
    let router = routes(1_000);
    let mut captures = Captures::new();
    let mut group = criterion.benchmark_group("router/refusals");
    for (name, method, path) in [
        ("not_found", Method::Get, "/v1/nowhere/users/12345"),
        ("method", Method::Put, "/v1/service0/orders"),
        ("dot_segment", Method::Get, "/v1/service0/../orders"),
    ] {
        group.bench_function(name, |bencher| {
            let path = black_box(path.as_bytes());
            bencher.iter(|| {
                router.route(b"api.example.com", method, method.as_str().as_bytes(), path, &mut captures)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, by_shape, refusals);
criterion_main!(benches);
