//! Configurations in, snapshots or diagnostics out.

use crate::{Compiled, Now, Registry, SlotAllocator, compile, validate};
use sluice_catalog::Catalog;
use sluice_config::{QUICKSTART_NAME, Settings};
use sluice_snapshot::{
    Action, Authorizer, CacheKeyPart, Captures, Destination, KeyId, Limit, Match, PathPiece, Route, RouteId,
    Snapshot, UpstreamId,
};
use sluice_throttle::Lease;
use sluice_wire::Method;
use std::fmt::Write as _;
use std::sync::Arc;

/// Counts up, by name, as the telemetry hub does.
#[derive(Default)]
pub(crate) struct Slots(Vec<String>);

impl Slots {
    fn slot(&mut self, name: String) -> u32 {
        let at = self.0.iter().position(|known| *known == name).unwrap_or(self.0.len());
        if at == self.0.len() {
            self.0.push(name);
        }
        at as u32
    }
}

impl SlotAllocator for Slots {
    fn route_slot(&mut self, name: &str) -> u32 {
        self.slot(format!("route {name}"))
    }
    fn upstream_slot(&mut self, name: &str) -> u32 {
        self.slot(format!("upstream {name}"))
    }
    fn limit_slot(&mut self, name: &str) -> u32 {
        self.slot(format!("limit {name}"))
    }
    fn key_slot(&mut self, name: &str) -> u32 {
        self.slot(format!("key {name}"))
    }
}

fn settings(text: &str) -> Settings {
    Settings::parse(text, "f").unwrap_or_else(|found| panic!("{found:?}"))
}

fn compiled(text: &str, registry: &mut Registry, slots: &mut Slots) -> Compiled {
    compile(&settings(text), &Catalog::default(), registry, slots, Now::default())
        .unwrap_or_else(|found| panic!("{found:?}"))
}

fn snapshot(text: &str) -> Snapshot {
    compiled(text, &mut Registry::new(), &mut Slots::default()).snapshot
}

/// First lines of what is said, errors and warnings.
fn said(text: &str) -> Vec<String> {
    validate(&settings(text)).iter().map(|d| d.to_string().lines().next().unwrap_or("").to_owned()).collect()
}

fn route_of<'s>(snapshot: &'s Snapshot, method: &str, path: &str) -> &'s Route {
    let known = Method::from_bytes(method.as_bytes());
    let found = snapshot.router.route(b"", known, method.as_bytes(), path.as_bytes(), &mut Captures::new());
    let Match::Found(RouteId(id)) = found else { panic!("{method} {path}: {found:?}") };
    &snapshot.routes[id as usize]
}

/// Dense indices of the buckets of a route or key.
fn indices(limits: &[Limit]) -> Vec<Vec<u32>> {
    let index = |limit: &Limit| match limit {
        Limit::Pool { index, .. } => vec![*index],
        Limit::PerKey { pools, .. } => pools.iter().map(|(index, _)| *index).collect(),
        Limit::PerClient { .. } => Vec::new(),
    };
    limits.iter().map(index).collect()
}

#[test]
fn the_samples_compile() {
    let quick_start = Settings::quickstart("127.0.0.1:9".parse().unwrap()).unwrap();
    let full = settings(include_str!("../../../../config/gateway.toml"));
    let nginx = settings(include_str!("../../../../config/nginx-replacement.toml"));
    for settings in [quick_start, full, nginx] {
        let built = compile(
            &settings,
            &Catalog::default(),
            &mut Registry::new(),
            &mut Slots::default(),
            Now::default(),
        )
        .unwrap();
        assert_eq!(built.warnings, []);
        assert_eq!(built.snapshot.routes.len(), settings.routes.len());
    }
}

#[test]
fn the_quick_start_does_what_it_says() {
    let settings = Settings::quickstart("127.0.0.1:4567".parse().unwrap()).unwrap();
    let snapshot =
        compile(&settings, &Catalog::default(), &mut Registry::new(), &mut Slots::default(), Now::default())
            .unwrap()
            .snapshot;
    assert_eq!(snapshot.generation, 1);

    let hello = route_of(&snapshot, "GET", "/hello");
    let Action::Mock(mock) = &hello.action else { panic!("{hello:?}") };
    assert_eq!(
        String::from_utf8_lossy(&mock.head).to_ascii_lowercase(),
        format!(
            "http/1.1 200 ok\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
            mock.body.len()
        )
    );
    assert!(hello.source.to_string().starts_with(QUICKSTART_NAME));

    let users = route_of(&snapshot, "DELETE", "/users/7/orders");
    assert!(users.api_key_required && users.cache.is_none());
    let Action::Proxy(proxy) = &users.action else { panic!("{users:?}") };
    let Destination::Group(UpstreamId(upstream)) = proxy.to else { panic!("{:?}", proxy.to) };
    let upstream = &snapshot.upstreams[upstream as usize];
    assert_eq!((upstream.targets[0].addr.port(), upstream.targets[0].weight), (4567, 1));
    assert_eq!(proxy.rewrite, None);

    let cache = route_of(&snapshot, "GET", "/cached/1").cache.as_ref().unwrap();
    assert_eq!(
        (cache.ttl_ms, cache.parts.as_slice()),
        (60_000, [CacheKeyPart::Query(b"page".as_slice().into())].as_slice())
    );

    assert_eq!(snapshot.key_by_value.get(b"sluice-demo-key-000001".as_slice()), Some(&KeyId(0)));
    assert!(snapshot.keys[0].enabled);

    let [Limit::Pool { pool, .. }] = route_of(&snapshot, "PUT", "/limited").limits.as_slice() else {
        panic!()
    };
    let mut lease = Lease::new(Arc::clone(pool));
    let granted = (0..10).filter(|_| lease.take(0).is_granted()).count();
    assert_eq!(granted, 5);
}

const LIMITED: &str = "\
[limits.all]
scope = 'global'
rate = 10
burst = 20
[limits.each]
rate = 1
burst = 2
[limits.per-key]
scope = 'key'
rate = 5
burst = 5
[limits.per-client]
scope = 'client'
rate = 5
burst = 5
[keys.one]
value = 'value-of-one'
limits = ['per-key']
[keys.two]
value = 'value-of-two'
enabled = false
[routes.a]
path = '/a'
mock_body = 'a'
api_key_required = true
limits = ['all', 'each', 'per-key', 'per-client']
[routes.b]
path = '/b'
mock_body = 'b'
api_key_required = true
limits = ['per-key', 'each', 'all']
";

#[test]
fn each_scope_has_its_buckets() {
    let snapshot = snapshot(LIMITED);
    let [a, b] = snapshot.routes.as_slice() else { panic!() };
    let (a, b) = (indices(&a.limits), indices(&b.limits));
    assert_eq!(a[0], b[2], "global: one for all routes");
    assert_ne!(a[1], b[1], "route: one each");
    assert_eq!(a[2], b[0], "key: shared by the routes");
    assert_eq!(a[2].len(), 2, "one for each key");
    // A key's own limit of the same name is another bucket, so that one request is not charged twice to one.
    let own = indices(&snapshot.keys[0].limits);
    assert!(!a[2].contains(&own[0][0]));
    let mut all: Vec<u32> = [a.concat(), b.concat(), own.concat()].concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all, [0, 1, 2, 3, 4, 5], "dense");
    assert!(!snapshot.keys[1].enabled && snapshot.keys[1].limits.is_empty());
}

#[test]
fn a_reload_keeps_buckets_slots_and_cache() {
    let (mut registry, mut slots) = (Registry::new(), Slots::default());
    let first = compiled(LIMITED, &mut registry, &mut slots).snapshot;
    let [Limit::Pool { pool, index, .. }, ..] = first.routes[0].limits.as_slice() else { panic!() };
    let mut lease = Lease::new(Arc::clone(pool));
    assert!((0..20).all(|_| lease.take(0).is_granted()) && !lease.take(0).is_granted());

    // Other order, another rate, one route less, one key more.
    let changed = LIMITED
        .replace("rate = 10\nburst = 20", "rate = 1000\nburst = 20")
        .replace("[keys.one]", "[keys.new]\nvalue = 'value-of-new'\n[keys.one]");
    let changed = changed.split("[routes.b]").next().unwrap();
    let second = compiled(changed, &mut registry, &mut slots).snapshot;
    assert_eq!((first.generation, second.generation, registry.generation()), (1, 2, 2));
    let [Limit::Pool { pool: kept, index: kept_index, .. }, .., Limit::PerClient { table: kept_table, .. }] =
        second.routes[0].limits.as_slice()
    else {
        panic!()
    };
    assert!(Arc::ptr_eq(pool, kept) && index == kept_index);
    assert!(!lease.take(900_000).is_granted(), "empty still");
    assert!(lease.take(2_100_000).is_granted(), "at the new rate");
    let [.., Limit::PerClient { table, .. }] = first.routes[0].limits.as_slice() else { panic!() };
    assert!(Arc::ptr_eq(table, kept_table));
    assert!(Arc::ptr_eq(&first.cache, &second.cache) && Arc::ptr_eq(&first.flights, &second.flights));
    assert_eq!(first.routes[0].metrics_slot, second.routes[0].metrics_slot);
    // Buckets of a key go with its name, not its place.
    let (old, new) = (indices(&first.routes[0].limits), indices(&second.routes[0].limits));
    assert_eq!(old[2], new[2][1..]);

    let third = compiled(
        &format!("{LIMITED}[cache]\ncapacity_bytes = 1000000\nentry_max_bytes = 100000\n"),
        &mut registry,
        &mut slots,
    );
    assert!(!Arc::ptr_eq(&second.cache, &third.snapshot.cache));
}

#[test]
fn a_refused_configuration_changes_nothing() {
    let (mut registry, mut slots) = (Registry::new(), Slots::default());
    let before = compiled(LIMITED, &mut registry, &mut slots).snapshot;
    let names = slots.0.clone();
    let bad = LIMITED.replace("rate = 10\n", "rate = 99\n")
        + "[routes.new]\npath = 'x'\nmock_body = ''\n[cache]\ncapacity_bytes = 70000\nentry_max_bytes = 1024\n";
    let found = compile(&settings(&bad), &Catalog::default(), &mut registry, &mut slots, Now::default())
        .unwrap_err()
        .settings;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((registry.generation(), &slots.0), (1, &names));
    let after = compiled(LIMITED, &mut registry, &mut slots).snapshot;
    assert!(Arc::ptr_eq(&before.cache, &after.cache));
    let [Limit::Pool { pool, .. }, ..] = before.routes[0].limits.as_slice() else { panic!() };
    let mut lease = Lease::new(Arc::clone(pool));
    assert!((0..20).all(|_| lease.take(0).is_granted()));
    assert!(!lease.take(50_000_000).is_granted(), "still ten a second");
}

#[test]
fn everything_that_is_wrong_is_said_with_its_place() {
    let text = "\
[upstreams.users]
targets = ['127.0.0.1:1']
[limits.each]
rate = 1
burst = 1
[routes.a]
path = '/a/{id}'
upstream = 'user'
limits = ['eahc', 'each', 'each']
[routes.b]
path = '/b/{c}/'
mock_body = ''
upstream_path = '/x'
[routes.c]
path = '/c'
[routes.d]
path = '/d'
upstream = 'users'
mock_status = 200
[routes.e]
path = '/e/{id}'
upstream = 'users'
upstream_path = '/{id}/{name}'
[routes.f]
path = '/a/{name}'
upstream = 'users'
methods = ['POST']
cache = true
[routes.g]
path = '/a/{other}'
upstream = 'users'
methods = ['POST', 'POST']
[keys.k]
value = '12345678'
limits = ['each']
";
    assert_eq!(
        said(text),
        [
            "f:8:12: error: unknown upstream `user`",
            "f:9:11: error: unknown limit `eahc`",
            "f:9:27: error: route `a` names limit `each` twice",
            "f:11:8: error: `path` \"/b/{c}/\": a path has no empty segment; `/a/{proxy+}` takes what ends in `/` or has `//`",
            "f:13:17: error: `upstream_path` has no use without `upstream`",
            "f:14:9: error: route `c` has neither `upstream` nor `function` nor `mock_…`",
            "f:19:15: error: route `d` has both `upstream` and `mock_…`",
            "f:23:17: error: `{name}` is not a parameter of `path`",
            "f:28:9: error: route `f` caches, but takes no GET",
            "f:30:8: error: routes `f` and `g` take the same requests (POST)",
            "f:35:11: error: key `k` expects limits of scope `key`, but `each` is `route`",
        ]
    );
    let helps: Vec<_> = validate(&settings(text)).into_iter().filter_map(|d| d.help).collect();
    assert!(helps[0].contains("did you mean `users`?"), "{helps:?}");
    assert!(helps.iter().any(|help| help == "`path` has {id}"), "{helps:?}");
}

#[test]
fn doubts_are_warnings() {
    let text = "\
[upstreams.idle]
targets = ['127.0.0.1:1', '127.0.0.1:1 weight=2']
[limits.idle]
rate = 1
burst = 1
[limits.per-key]
scope = 'key'
rate = 1
burst = 1
[routes.a]
path = '/a'
mock_body = ''
limits = ['per-key']
total_timeout_ms = 5
";
    let expected = [
        "f:1:12: warning: no route uses upstream `idle`",
        "f:2:27: warning: 127.0.0.1:1 is a target of this group already",
        "f:3:9: warning: nothing uses limit `idle`",
        "f:10:9: warning: `total_timeout_ms` has no use on the mock `a`",
        "f:13:11: warning: limit `per-key` is per key, but requests without a key pass it",
    ];
    assert_eq!(said(text), expected);
    assert_eq!(compiled(text, &mut Registry::new(), &mut Slots::default()).warnings.len(), 5);
    assert_eq!(said(""), ["f:1:1: warning: there are no routes"]);
    assert_eq!(
        said("[routes.a]\npath = '/'\nmock_body = ''\nmethods = ['GET', 'GET']"),
        ["f:2:8: error: `methods` names GET twice"]
    );
}

#[test]
fn rewrites_are_pieces() {
    let rewrite = |path: &str, upstream_path: &str| {
        let text = format!(
            "[routes.a]\npath = '{path}'\nupstream = '127.0.0.1:1'\nupstream_path = '{upstream_path}'"
        );
        let found = said(&text);
        if let [first, ..] = found.as_slice() {
            return Err(first.split("error: ").last().unwrap_or("").to_owned());
        }
        let Action::Proxy(proxy) = snapshot(&text).routes.remove(0).action else { panic!() };
        Ok(proxy.rewrite.unwrap())
    };
    let literal = |text: &'static str| PathPiece::Literal(text.into());
    assert_eq!(rewrite("/a", "/x%20y"), Ok(vec![literal("/x%20y")]));
    assert_eq!(
        rewrite("/{a}/{b}/{rest+}", "/v1/{b}-{a}/{rest+}"),
        Ok(vec![
            literal("/v1/"),
            PathPiece::Capture(1),
            literal("-"),
            PathPiece::Capture(0),
            literal("/"),
            PathPiece::Capture(2)
        ])
    );
    assert_eq!(rewrite("/{rest+}", "/{rest}"), Ok(vec![literal("/"), PathPiece::Capture(0)]));
    for (upstream_path, message) in [
        ("x", "`upstream_path` begins with `/`, found \"x\""),
        ("/{rest", "`{rest` lacks its `}`"),
        ("/{x}", "`{x}` is not a parameter of `path`"),
        ("/a b", "`upstream_path` cannot hold ' '"),
        ("/a?b=c", "`upstream_path` cannot hold '?'"),
        ("/a}", "`upstream_path` cannot hold '}'"),
        ("/%4", "`%` expects two hex digits"),
        ("/a/../b", "`upstream_path` has a `.` or `..` segment"),
    ] {
        assert_eq!(rewrite("/{rest+}", upstream_path), Err(message.to_owned()), "{upstream_path}");
    }
}

#[test]
fn bodiless_answers_have_no_length() {
    let head = |status: u16| {
        let text = format!("[routes.a]\npath = '/'\nmock_status = {status}");
        let Action::Mock(mock) = snapshot(&text).routes.remove(0).action else { panic!() };
        String::from_utf8(mock.head.to_vec()).unwrap().to_ascii_lowercase()
    };
    assert_eq!(head(204), "http/1.1 204 no content\r\n");
    assert_eq!(head(304), "http/1.1 304 not modified\r\n");
    assert_eq!(head(200), "http/1.1 200 ok\r\ncontent-length: 0\r\n");
}

#[test]
fn names_are_resolved() {
    let text = "[upstreams.a]\ntargets = ['localhost:7']\n[routes.a]\npath = '/'\nupstream = 'a'\n";
    let snapshot = snapshot(text);
    let targets = &snapshot.upstreams[0].targets;
    assert!(
        targets
            .iter()
            .all(|t| t.addr.ip().is_loopback() && t.addr.port() == 7 && &*t.authority == "localhost:7")
    );
    // RFC 6761 6.4: never resolves.
    let found = said(&text.replace("localhost", "no-such-host.invalid"));
    assert!(found[0].starts_with("f:2:12: error: cannot resolve \"no-such-host.invalid\": "), "{found:?}");
}

#[test]
#[expect(
    clippy::print_stderr,
    reason = "the time is worth seeing, and depends on the machine too much to assert"
)]
fn a_thousand_routes() {
    let mut text =
        String::from("[upstreams.u]\ntargets = ['127.0.0.1:1']\n[limits.l]\nrate = 1\nburst = 1\n");
    for at in 0..1000 {
        let _ = write!(
            text,
            "[routes.r{at}]\nhost = 'h{}.example.com'\npath = '/v1/service{at}/{{id}}'\nmethods = ['GET']\nupstream = 'u'\nlimits = ['l']\n",
            at % 7
        );
    }
    let before = std::time::Instant::now();
    let settings = settings(&text);
    let parsed = before.elapsed();
    let snapshot =
        compile(&settings, &Catalog::default(), &mut Registry::new(), &mut Slots::default(), Now::default())
            .unwrap()
            .snapshot;
    eprintln!("parsed in {parsed:?}, compiled in {:?}", before.elapsed() - parsed);
    let mut captures = Captures::new();
    for at in 0..1000 {
        let (host, path) = (format!("h{}.example.com", at % 7), format!("/v1/service{at}/x"));
        let found =
            snapshot.router.route(host.as_bytes(), Method::Get, b"GET", path.as_bytes(), &mut captures);
        assert_eq!(found, Match::Found(RouteId(at)));
    }
}

#[test]
fn an_authorizer_keeps_its_number_for_as_long_as_it_is_the_same() {
    let text = "\
[functions.asks]
endpoint_url = 'http://127.0.0.1:4566'
[authorizers.login]
issuer = 'https://login.example.com'
audiences = ['shop']
[authorizers.asks]
type = 'request'
function = 'asks'
identity_sources = ['$request.header.Authorization']
ttl_s = 300
[routes.a]
path = '/a'
mock_status = 200
authorizer = 'login'
[routes.b]
path = '/b'
mock_status = 200
authorizer = 'asks'
";
    let (mut registry, mut slots) = (Registry::new(), Slots::default());
    let mut numbers = |text: &str| -> Vec<u64> {
        let snapshot = compiled(text, &mut registry, &mut slots).snapshot;
        let number = |route: &Route| match &route.authorizer {
            Some(Authorizer::Token(plan)) => plan.number,
            Some(Authorizer::Lambda(plan)) => plan.number,
            other => panic!("{other:?}"),
        };
        snapshot.routes.iter().map(number).collect()
    };
    let first = numbers(text);
    assert_ne!(first[0], first[1]);
    assert_eq!(numbers(text), first);
    let others = numbers(&text.replace("'shop'", "'shops'").replace("ttl_s = 300", "ttl_s = 60"));
    assert!(others.iter().all(|number| !first.contains(number)), "{others:?}");
    assert_ne!(others[0], others[1]);
    let moved = numbers(&text.replace("4566", "4567"));
    assert_eq!(moved[0], first[0]);
    assert!(!first.contains(&moved[1]) && !others.contains(&moved[1]), "{moved:?}");
    assert_eq!(numbers(text), first);
}
