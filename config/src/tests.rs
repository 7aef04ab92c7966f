//! The files beside the crate, and every kind of diagnostic.

use crate::spec::{Default, SECTIONS};
use crate::{Balance, CacheKey, Forwarded, LogFormat, QUICKSTART, Scope, Settings, XdpMode, XdpRate, schema};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::net::SocketAddr;
use toml::de::{DeTable, DeValue};

const FULL: &str = include_str!("../gateway.toml");
const NGINX: &str = include_str!("../nginx-replacement.toml");

/// What `parse` says about a text, one line each, helps left out.
fn complaints(text: &str) -> Vec<String> {
    let Err(found) = Settings::parse(text, "f") else { return Vec::new() };
    found.iter().map(|d| d.to_string().lines().next().unwrap_or("").to_owned()).collect()
}

fn demo() -> SocketAddr {
    "127.0.0.1:4567".parse().unwrap()
}

#[test]
fn the_full_sample_is_read() {
    let settings = Settings::parse(FULL, "gateway.toml").unwrap();
    assert_eq!(settings.server.cores, Some(2));
    assert_eq!(settings.server.forwarded, Forwarded::XForwarded);
    let users = &settings.upstreams[0];
    let targets: Vec<_> =
        users.targets.iter().map(|t| (t.host.as_str(), t.port, t.weight, &*t.authority)).collect();
    assert_eq!(
        targets,
        [
            ("127.0.0.1", 9001, 1, "127.0.0.1:9001"),
            ("127.0.0.1", 9002, 2, "127.0.0.1:9002"),
            ("::1", 9003, 1, "[::1]:9003")
        ]
    );
    let names: Vec<_> = settings.routes.iter().map(|route| &*route.name.value).collect();
    assert_eq!(names, ["user", "catalogue", "articles", "chat", "health", "billing", "orders"]);
    let user = &settings.routes[0];
    assert_eq!((user.body_max_bytes, user.total_timeout_ms), (1_048_576, Some(5000)));
    assert_eq!(user.name.at.line, 1 + FULL[..FULL.find("[routes.user]").unwrap()].lines().count() as u32);
    let cache = settings.routes[1].cache.as_ref().unwrap();
    let keys: Vec<_> = cache.value.keys.iter().map(|key| key.value.clone()).collect();
    assert_eq!(keys, [CacheKey::Query("page".into()), CacheKey::Header("accept".into())]);
    assert_eq!(settings.routes[4].mock.as_ref().unwrap().value.body, "{\"status\":\"ok\"}");
    let limits: Vec<_> = settings.limits.iter().map(|l| (&*l.name.value, l.scope, l.rate, l.burst)).collect();
    assert_eq!(limits[3], ("per-client", Scope::Client, 10.5, 50));
    assert_eq!(settings.access_log.format, LogFormat::Json);
    let xdp = settings.xdp.unwrap();
    assert_eq!((xdp.mode, xdp.block.len()), (XdpMode::Auto, 2));
    assert_eq!(xdp.source.syns, Some(XdpRate { per_s: 50, burst: 100 }));
}

#[test]
fn the_quick_start_is_read_with_its_backend() {
    let settings = Settings::quickstart(demo()).unwrap();
    let target = &settings.upstreams[0].targets[0];
    assert_eq!(
        (target.host.as_str(), target.port, &*target.authority),
        ("127.0.0.1", 4567, "127.0.0.1:4567")
    );
    assert_eq!(settings.keys[0].value.value.expose(), "sluice-demo-key-000001");
    // Anywhere else "demo" is a target without a port.
    let found = Settings::parse(QUICKSTART, "q").unwrap_err();
    assert_eq!(found.len(), 1);
    assert!(found[0].help.as_ref().unwrap().contains("sluice run"), "{}", found[0]);
}

#[test]
fn routes_may_name_addresses() {
    let settings = Settings::parse(NGINX, "n").unwrap();
    let groups: Vec<_> = settings.upstreams.iter().map(|u| (&*u.name.value, u.targets[0].port)).collect();
    assert_eq!(groups, [("127.0.0.1:3001", 3001), ("127.0.0.1:3002", 3002), ("127.0.0.1:3000", 3000)]);
    assert_eq!(settings.upstreams[0].total_timeout_ms, 29_000);
    let twice = "[routes.a]\npath='/a'\nupstream='h:1'\n[routes.b]\npath='/b'\nupstream='h:1'\n";
    assert_eq!(Settings::parse(twice, "t").unwrap().upstreams.len(), 1);
}

#[test]
fn checks_and_drains_are_read() {
    let text = "[upstreams.a]\ntargets = ['h:1 drain', 'h:2 drain weight=3', 'h:3']\nbalance = 'least_request'\n\
                health_check = 'http'\nhealth_status = '200, 301-302'\n[upstreams.b]\ntargets = ['h:1']";
    let settings = Settings::parse(text, "f").unwrap();
    let [a, b] = settings.upstreams.as_slice() else { panic!("two groups") };
    let targets: Vec<_> = a.targets.iter().map(|t| (t.weight, t.drain)).collect();
    assert_eq!(targets, [(1, true), (3, true), (1, false)]);
    assert_eq!(a.balance, Balance::LeastRequest);
    let health = a.health.as_ref().unwrap();
    let request = health.request.as_ref().unwrap();
    assert_eq!((request.path.as_str(), request.host.as_deref()), ("/", None));
    assert_eq!(request.statuses, [(200, 200), (301, 302)]);
    assert_eq!((health.interval_ms, health.timeout_ms, health.rise, health.fall), (5000, 2000, 2, 3));
    assert_eq!((b.balance, b.health.is_none()), (Balance::RoundRobin, true));
}

#[test]
fn an_empty_file_is_all_defaults() {
    let settings = Settings::parse("", "f").unwrap();
    assert_eq!(settings.server.listen[0].value.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.server.admin_listen.unwrap().value.to_string(), "127.0.0.1:8081");
    assert_eq!(settings.server.cores, None);
    assert_eq!(settings.server.header_max_bytes, 10_240);
    assert_eq!(settings.cache.capacity_bytes, 64 << 20);
    assert!(settings.xdp.is_none() && settings.routes.is_empty());
    assert!(Settings::parse("[server]\nadmin_listen = \"off\"", "f").unwrap().server.admin_listen.is_none());
}

#[test]
fn the_full_sample_has_every_key_and_says_which_values_are_defaults() {
    let root = DeTable::parse(FULL).unwrap();
    for section in SECTIONS {
        let table = root.get_ref().get(section.name).unwrap().get_ref().as_table().unwrap();
        let entries: Vec<&DeTable<'_>> = if section.named {
            table.values().map(|v| v.get_ref().as_table().unwrap()).collect()
        } else {
            vec![table]
        };
        for key in section.keys {
            let Some(value) = entries.iter().find_map(|entry| entry.get(key.name)) else {
                // One of a pair of spellings; the other is in the sample's comment.
                let is_pair = ["interfaces", "policy_file"].contains(&key.name);
                assert!(is_pair, "[{}] lacks {}", section.name, key.name);
                continue;
            };
            let line = FULL[..value.span().start].rfind('\n').map_or(0, |at| at + 1);
            let line = FULL[line..].lines().next().unwrap();
            let tells = ["example", "default"].iter().any(|word| line.contains(word));
            let is_default = match (key.default, value.get_ref()) {
                (Default::Bool(default), DeValue::Boolean(found)) => default == *found,
                (Default::Integer(default), DeValue::Integer(found)) => default.to_string() == found.as_str(),
                (Default::Text(default), DeValue::String(found)) => default == found,
                _ => true,
            };
            // Mocks and limits are examples through and through.
            let is_example = key.name == "mock_body" || section.name == "limits";
            assert!(is_default || tells || is_example, "{line}");
        }
    }
}

#[test]
fn the_schema_beside_the_crate_is_current() {
    let written = include_str!("../schema.json");
    assert_eq!(written, format!("{}\n", schema()), "renew it: sluice schema > config/schema.json");
}

/// As much of JSON Schema as the schema uses.
fn fits(schema: &Value, value: &Value, path: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let kind = match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::Null => "null",
    };
    // What may be of two types has its values listed.
    if let Some(expected) = schema["type"].as_str()
        && kind != expected
        && !(kind == "integer" && expected == "number")
    {
        wrong.push(format!("{path} is {kind}"));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        wrong.push(format!("{path} is {value}"));
    }
    if let Some(number) = value.as_f64() {
        let above = schema["exclusiveMinimum"].as_f64().is_none_or(|min| number > min);
        let from = schema["minimum"].as_f64().is_none_or(|min| number >= min);
        if !above || !from || schema["maximum"].as_f64().is_some_and(|max| number > max) {
            wrong.push(format!("{path} is {number}"));
        }
    }
    for item in value.as_array().into_iter().flatten() {
        wrong.extend(fits(&schema["items"], item, path));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(name).is_none() {
            wrong.push(format!("{path} lacks {name}"));
        }
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match (schema["properties"].get(name), &schema["additionalProperties"]) {
            (Some(schema), _) => wrong.extend(fits(schema, inner, &path)),
            (None, Value::Object(each)) => wrong.extend(fits(&json!(each), inner, &path)),
            (None, _) => wrong.push(format!("{path} is unknown")),
        }
    }
    wrong
}

fn as_json(text: &str) -> Value {
    let table: toml::Table = toml::from_str(text).unwrap();
    serde_json::to_value(table).unwrap()
}

#[test]
fn the_schema_accepts_the_samples_and_refuses_what_the_reader_does() {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    for text in [FULL, NGINX, QUICKSTART, ""] {
        assert_eq!(fits(&schema, &as_json(text), ""), [""; 0]);
    }
    for text in [
        "[sever]",
        "[server]\nlisen = []",
        "[server]\nlisten = '127.0.0.1:80'",
        "[server]\nvia = 1",
        "[server]\ncores = 0",
        "[limits.a]\nrate = 0\nburst = 1",
        "[limits.a]\nrate = 1",
        "[access_log]\nformat = 'xml'",
        "[routes]\npath = '/'",
    ] {
        assert_ne!(fits(&schema, &as_json(text), ""), [""; 0], "{text}");
        assert_ne!(complaints(text), [""; 0], "{text}");
    }
}

#[test]
fn all_problems_at_once_in_the_order_of_the_file() {
    let text = "\
[server]
lisen = [\"127.0.0.1:80\"]
via = \"yes\"
cores = 0
header_timeout_ms = -5
body_max_bytes = 1.5

[upstreams.a]
targets = [\"nohost\", 7, \"h:1 weight=0\", \"h:0\", \"[::1]:80\", \"::1:80\"]

[routes.'a b']
upstream = \"a\"

[limits.x]
rate = 0.0
burst = 99999999999999999999
scope = \"kye\"
";
    assert_eq!(
        complaints(text),
        [
            "f:2:1: error: unknown key `lisen` in [server]",
            "f:3:7: error: `via` expects true or false, found a string",
            "f:4:9: error: `cores` expects 1 to 1024 cores, found 0",
            "f:5:21: error: `header_timeout_ms` expects 1 to 86400000 ms, found -5",
            "f:6:18: error: `body_max_bytes` expects an integer, found the number 1.5",
            "f:9:12: error: a target expects host:port, found \"nohost\"",
            "f:9:22: error: `targets` expects strings, found the integer 7",
            "f:9:25: error: a target expects host:port, weight=N (1 to 1000) and drain, found \"weight=0\"",
            "f:9:41: error: a target expects host:port, found \"h:0\"",
            "f:9:60: error: a target expects host:port, found \"::1:80\"",
            "f:11:9: error: the name \"a b\" expects 1 to 64 of letters, digits, `_` and `-`",
            "f:11:9: error: [routes.a b] lacks `path`",
            "f:15:8: error: `rate` expects above 0, up to 1000000000 tokens per second, found 0",
            "f:16:9: error: `burst` expects 1 to 4294967295 tokens, found 99999999999999999999",
            "f:17:9: error: `scope` does not know \"kye\"",
        ]
    );
}

/// A configuration and the one thing that is wrong with it.
const ONE_PROBLEM: &[(&str, &str)] = &[
    ("a = ", "f:1:5: error: string values must be quoted, expected literal string"),
    ("[server]\nvia = true\nvia = false", "f:3:1: error: duplicate key"),
    ("x = 1", "f:1:1: error: unknown key `x`"),
    ("server = 1", "f:1:1: error: `server` expects a table"),
    ("[routes]\npath = '/'", "f:2:1: error: `path` stands outside a table"),
    ("[[routes]]\npath = '/'", "f:1:3: error: `routes` expects a table"),
    ("[keys.a.b]\n[keys.a]\nvalue = '12345678'", "f:1:9: error: unknown key `b` in [keys.a]"),
    ("[server]\nlisten = []", "f:2:10: error: `listen` expects at least one address"),
    (
        "[server]\nlisten = ['localhost:80']",
        "f:2:11: error: `listen` expects ip:port, found \"localhost:80\"",
    ),
    ("[server]\nadmin_listen = 'of'", "f:2:16: error: `admin_listen` expects ip:port, found \"of\""),
    ("[upstreams.a]\ntargets = 'h:1'", "f:2:11: error: `targets` expects a list of strings, found a string"),
    (
        "[upstreams.a]\ntargets = ['h:1 drain', 'h:2 weight=2 drain']",
        "f:2:11: error: `targets` expects one that does not drain",
    ),
    (
        "[upstreams.a]\ntargets = ['h:1']\nhealth_rise = 2",
        "f:3:15: error: `health_rise` has no use with `health_check = \"off\"`",
    ),
    (
        "[upstreams.a]\ntargets = ['h:1']\nhealth_check = 'tcp'\nhealth_path = '/'",
        "f:4:15: error: `health_path` has no use with `health_check = \"tcp\"`",
    ),
    (
        "[upstreams.a]\ntargets = ['h:1']\nhealth_check = 'http'\nhealth_path = 'up down'",
        "f:4:15: error: `health_path` expects a path, a query at most after it, found \"up down\"",
    ),
    (
        "[upstreams.a]\ntargets = ['h:1']\nhealth_check = 'http'\nhealth_status = '200,299-204'",
        "f:4:17: error: `health_status` expects statuses from 200 to 599, found \"200,299-204\"",
    ),
    (
        "[upstreams.a]\ntargets = ['h:1']\nhealth_check = 'http'\nhealth_host = 'a b'",
        "f:4:15: error: `health_host` expects a host, found \"a b\"",
    ),
    (
        "[routes.a]\npath = '/'\nmethods = ['get']",
        "f:3:12: error: expected a method in capitals, found \"get\"",
    ),
    (
        "[routes.a]\npath = '/'\nhost = 'http://a'",
        "f:3:8: error: `host` expects a host name, found \"http://a\"",
    ),
    (
        "[routes.a]\npath = '/'\nmock_status = 204\nmock_body = 'x'",
        "f:4:13: error: status 204 expects no body (RFC 9110)",
    ),
    (
        "[routes.a]\npath = '/'\nmock_content_type = \"a\\r\\nb\"",
        "f:3:21: error: `mock_content_type` expects visible ASCII, for example \"text/plain\"",
    ),
    (
        "[routes.a]\npath = '/'\ncache_ttl_ms = 5",
        "f:3:16: error: `cache_ttl_ms` has no use without `cache = true`",
    ),
    (
        "[routes.a]\npath = '/'\ncache = true\ncache_keys = ['page']",
        "f:4:15: error: expected query.NAME, query.* or header.NAME, found \"page\"",
    ),
    (
        "[keys.a]\nvalue = 'short'",
        "f:2:9: error: `value` expects 8 to 128 visible ASCII characters, found 5 bytes",
    ),
    (
        "[keys.a]\nvalue = 'same-same'\n[keys.b]\nvalue = 'same-same'",
        "f:4:9: error: key `b` has the same value as key `a`",
    ),
    (
        "[cache]\ncapacity_bytes = 65536\nentry_max_bytes = 65537",
        "f:3:19: error: `entry_max_bytes` expects at most `capacity_bytes` (65536), found 65537",
    ),
    ("[xdp]\nmode = 'auto'", "f:1:2: error: [xdp] lacks `interface`"),
    (
        "[xdp]\ninterface = 'e'\nsource_syns_per_s = 10000\nsource_syns_burst = 99",
        "f:4:21: error: expected 100 to 36000000 for `source_syns_per_s` of 10000, found a burst of 99",
    ),
    (
        "[xdp]\ninterface = 'e'\nprefix_bytes_per_s = 100000\nprefix_bytes_burst = 1500",
        "f:4:22: error: expected 65575 to 360000000 for `prefix_bytes_per_s` of 100000, found a burst of 1500",
    ),
    (
        "[xdp]\ninterface = 'e'\nprefix_v6_bits = 65",
        "f:3:18: error: `prefix_v6_bits` expects 16 to 64 bits, found 65",
    ),
    (
        "[xdp]\ninterface = 'e'\nblock = ['10.0.0.1/8']",
        "f:3:10: error: \"10.0.0.1/8\" has address bits beyond its prefix",
    ),
    (
        "[xdp]\ninterface = 'e'\nallow = ['10.0.0']",
        "f:3:10: error: `allow` expects networks such as \"198.51.100.0/24\", found \"10.0.0\"",
    ),
    (
        "[routes.a]\npath = '/'\nupstream = '127.0.0.1:x'",
        "f:3:12: error: a target expects host:port, found \"127.0.0.1:x\"",
    ),
];

#[test]
fn one_problem_each() {
    for (text, expected) in ONE_PROBLEM {
        assert_eq!(complaints(text), [*expected], "{text}");
    }
}

#[test]
fn helps_name_what_was_meant() {
    for (text, help) in [
        ("[sever]", "did you mean `server`?"),
        ("[routes.a]\npath = '/'\nupstraem = 'x'", "did you mean `upstream`?"),
        ("[routes.a]\npath = '/'\ncolour = 'x'", "known keys: host, path"),
        ("[limits.a]\nscope = 'clinet'\nrate = 1\nburst = 1", "did you mean `client`?"),
        ("[routes.a]\npath = '/'\nmethods = ['get']", "write \"GET\""),
        ("[upstreams.a]\ntargets = 'h:1'", "write targets = [\"…\"]"),
        (
            "[xdp]\ninterface = 'e'\nblock = ['10.0.0.1/8']",
            "write \"10.0.0.0/8\", or \"10.0.0.1\" for the one address",
        ),
    ] {
        let found = Settings::parse(text, "f").unwrap_err();
        assert!(found[0].help.as_ref().unwrap().contains(help), "{}", found[0]);
    }
}

#[test]
fn toml_spellings_of_numbers() {
    let text = "[server]\nbody_max_bytes = 0x10_0000\nheader_max_count = 1_0\n[limits.a]\nrate = 2_5e-1\nburst = 0b11\n";
    let settings = Settings::parse(text, "f").unwrap();
    assert_eq!((settings.server.body_max_bytes, settings.server.header_max_count), (1 << 20, 10));
    assert_eq!((settings.limits[0].rate, settings.limits[0].burst), (2.5, 3));
    assert_eq!(complaints("[limits.a]\nrate = nan\nburst = 1").len(), 1);
    assert_eq!(complaints("[limits.a]\nrate = inf\nburst = 1").len(), 1);
}

#[test]
fn columns_count_characters() {
    assert!(complaints("routes = { 'é' = 1, x = 2 }")[1].starts_with("f:1:21: "));
}

#[test]
fn secrets_do_not_show() {
    let settings = Settings::quickstart(demo()).unwrap();
    assert!(!format!("{settings:?}").contains("sluice-demo-key"));
    for value in ["'hush hush hush'", "'hush'", "\"hush\\nhush1\"", "{ hush = 1 }"] {
        let found = Settings::parse(&format!("[keys.a]\nvalue = {value}"), "f").unwrap_err();
        assert!(!format!("{found:?}").contains("hush"), "{found:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever is done to a file, it is read or refused with places that lie in it.
    #[test]
    fn total(cut in 0usize..6000, len in 0usize..40, insert in "[\\[\\]{}=\"'#,.\n a-z0-9é\u{0}-]{0,12}") {
        let chars: Vec<char> = FULL.chars().collect();
        let cut = cut.min(chars.len());
        let after = (cut + len).min(chars.len());
        let text: String = chars[..cut].iter().copied().chain(insert.chars()).chain(chars[after..].iter().copied()).collect();
        if let Err(found) = Settings::parse(&text, "f") {
            prop_assert!(!found.is_empty());
            for diagnostic in found {
                let line = text.split('\n').nth(diagnostic.line as usize - 1);
                prop_assert!(line.is_some_and(|line| diagnostic.column as usize <= line.chars().count() + 1), "{}", diagnostic);
            }
        }
    }
}

#[test]
fn the_control_plane_has_defaults_and_its_faults_are_told() {
    let plain = Settings::parse("", "gateway.toml").unwrap();
    assert_eq!(plain.store.path, None);
    assert_eq!((plain.aws.region.as_str(), plain.aws.account_id.as_str()), ("us-east-1", "123456789012"));
    assert!(!plain.aws.development && plain.access_keys.is_empty());
    let text = "[aws]\nregion = \"\"\naccount_id = \"12\"\nexecute_api_suffix = \"a..b\"\n\
                [access_keys.AKIA]\nsecret = \"short\"\n[access_keys.OTHER]\n";
    let found = Settings::parse(text, "gateway.toml").unwrap_err();
    let lines: Vec<(u32, &str)> = found.iter().map(|d| (d.line, d.message.as_str())).collect();
    assert_eq!(
        lines,
        [
            (2, "`region` expects a region's name, found \"\""),
            (3, "`account_id` expects 12 digits, found \"12\""),
            (4, "`execute_api_suffix` expects a domain name, found \"a..b\""),
            (6, "`secret` expects at least 16 characters, found 5"),
            (7, "[access_keys.OTHER] lacks `secret`"),
        ]
    );
}
