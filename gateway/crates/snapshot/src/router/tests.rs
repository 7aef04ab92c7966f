//! The router against examples and against a matcher that is plainly right.

use super::*;
use crate::pattern::{Pattern, Segment};
use proptest::prelude::*;
use std::sync::Arc;

/// `(host, methods, pattern)`; the route's id is its index.
type Written = (Option<&'static str>, &'static [&'static str], &'static str);

fn router(routes: &[Written]) -> Router {
    let mut builder = RouterBuilder::new();
    for (id, (host, methods, pattern)) in routes.iter().enumerate() {
        let name: Arc<str> = format!("r{id}").into();
        let pattern = Pattern::parse(pattern).unwrap();
        builder.add(RouteId(id as u32), &name, *host, &pattern, methods.iter().copied()).unwrap();
    }
    builder.build()
}

/// Outcome and the captured texts.
fn ask(router: &Router, host: &str, method: &str, path: &str) -> (Match, Vec<String>) {
    let mut captures = Captures::new();
    let known = Method::from_bytes(method.as_bytes());
    let found = router.route(host.as_bytes(), known, method.as_bytes(), path.as_bytes(), &mut captures);
    let texts = (0..captures.len())
        .map(|i| String::from_utf8_lossy(captures.get(i, path.as_bytes())).into_owned())
        .collect();
    (found, if matches!(found, Match::Found(_)) { texts } else { Vec::new() })
}

fn check(router: &Router, cases: &[(&str, &str, Match, &[&str])]) {
    for (method, path, expected, captures) in cases {
        let (found, texts) = ask(router, "any.example", method, path);
        assert_eq!(
            (found, texts),
            (*expected, captures.iter().map(|s| s.to_string()).collect()),
            "{method} {path}"
        );
    }
}

const fn found(id: u32) -> Match {
    Match::Found(RouteId(id))
}

/// The table of the AWS guide, "Routes for HTTP APIs", with its example requests and those beside them.
#[test]
fn as_aws_chooses() {
    let routes = router(&[
        (None, &["GET"], "/pets/dog/1"),
        (None, &["GET"], "/pets/dog/{id}"),
        (None, &["GET"], "/pets/{proxy+}"),
        (None, &[], "/{proxy+}"),
    ]);
    check(
        &routes,
        &[
            ("GET", "/pets/dog/1", found(0), &[]),
            ("GET", "/pets/dog/2", found(1), &["2"]),
            ("GET", "/pets/cat/1", found(2), &["cat/1"]),
            ("POST", "/test/5", found(3), &["test/5"]),
            ("POST", "/pets/dog/1", found(3), &["pets/dog/1"]),
            ("GET", "/pets", found(3), &["pets"]),
            ("GET", "/pets/", found(2), &[""]),
            ("GET", "/", found(3), &[""]),
        ],
    );
}

#[test]
fn static_then_param_then_greedy_with_backtracking() {
    let routes = router(&[
        (None, &[], "/a/b/c"),
        (None, &[], "/a/{x}/d"),
        (None, &[], "/{y}/b/e"),
        (None, &[], "/a/{proxy+}"),
        (None, &[], "/a/b/{rest+}"),
        (None, &[], "/{y}/{x}/{z}/f/{rest+}"),
    ]);
    check(
        &routes,
        &[
            ("GET", "/a/b/c", found(0), &[]),
            ("GET", "/a/b/d", found(1), &["b"]),
            // A full match through a parameter beats a greedy one through a static segment.
            ("GET", "/a/b/e", found(2), &["a"]),
            ("GET", "/a/b/x", found(4), &["x"]),
            ("GET", "/a/x", found(3), &["x"]),
            ("GET", "/a/b/c/f/g", found(4), &["c/f/g"]),
            ("GET", "/a/x/c/f/g", found(3), &["x/c/f/g"]),
            ("GET", "/q/x/c/f/g/h", found(5), &["q", "x", "c", "g/h"]),
            ("GET", "/q/x/c/f", Match::NotFound, &[]),
        ],
    );
}

#[test]
fn methods_are_part_of_the_match() {
    let routes = router(&[
        (None, &["GET", "PURGE"], "/a"),
        (None, &[], "/a"),
        (None, &["POST"], "/{x}"),
        (None, &["PUT"], "/only"),
    ]);
    check(
        &routes,
        &[
            ("GET", "/a", found(0), &[]),
            ("PURGE", "/a", found(0), &[]),
            ("LINK", "/a", found(1), &[]),
            ("POST", "/a", found(1), &[]),
            ("POST", "/only", found(2), &["only"]),
            ("GET", "/only", Match::MethodNotAllowed, &[]),
            ("PURGE", "/only", Match::MethodNotAllowed, &[]),
            ("PUT", "/other/place", Match::NotFound, &[]),
        ],
    );
}

#[test]
fn slashes_encoding_and_dots() {
    let routes = router(&[
        (None, &[], "/"),
        (None, &[], "/a"),
        (None, &[], "/a/{x}"),
        (None, &[], "/files/{rest+}"),
        (None, &[], "/caf%c3%a9/a-long-segment-of-text"),
    ]);
    check(
        &routes,
        &[
            ("GET", "/", found(0), &[]),
            ("GET", "", Match::NotFound, &[]),
            ("OPTIONS", "*", Match::NotFound, &[]),
            ("GET", "//", Match::NotFound, &[]),
            ("GET", "/a/", Match::NotFound, &[]),
            ("GET", "/A", Match::NotFound, &[]),
            ("GET", "/%61", found(1), &[]),
            ("GET", "/a/%2f", found(2), &["%2f"]),
            ("GET", "/%61/%7E", found(2), &["%7E"]),
            ("GET", "/files//x/", found(3), &["/x/"]),
            ("GET", "/files/a%20b", found(3), &["a%20b"]),
            ("GET", "/caf%C3%A9/a-long-segment-of-text", found(4), &[]),
            ("GET", "/caf%C3%a9/%61-long-segment-of-text", found(4), &[]),
            ("GET", "/caf%C3%a9/b-long-segment-of-text", Match::NotFound, &[]),
            ("GET", "/files/../a", Match::BadPath, &[]),
            ("GET", "/files/%2e%2E/a", Match::BadPath, &[]),
            ("GET", "/files/%zz", Match::BadPath, &[]),
        ],
    );
    let long = format!("/{}", "%61".repeat(1000));
    assert_eq!(ask(&routes, "", "GET", &long).0, Match::NotFound);
}

#[test]
fn hosts_fall_back_to_less_specific_ones() {
    let routes = router(&[
        (Some("api.example.com"), &["GET"], "/a"),
        (Some("*.example.com"), &[], "/{rest+}"),
        (None, &[], "/b"),
        (Some("other.org"), &[], "/c"),
    ]);
    for (host, method, path, expected) in [
        ("api.example.com", "GET", "/a", found(0)),
        ("API.example.com:443", "GET", "/a", found(0)),
        ("api.example.com", "POST", "/a", found(1)),
        ("api.example.com", "GET", "/b", found(1)),
        ("x.y.example.com", "GET", "/b", found(1)),
        ("example.com", "GET", "/b", found(2)),
        ("other.org", "GET", "/b", found(2)),
        ("other.org.", "GET", "/c", found(3)),
        ("third.org", "GET", "/c", Match::NotFound),
        ("", "GET", "/b", found(2)),
    ] {
        assert_eq!(ask(&routes, host, method, path).0, expected, "{host} {method} {path}");
    }
}

#[test]
fn clashes_name_both_routes() {
    let mut builder = RouterBuilder::new();
    let mut add = |id, name: &str, host, pattern: &str, methods: &[&str]| {
        let pattern = Pattern::parse(pattern).unwrap();
        builder
            .add(RouteId(id), &Arc::from(name), host, &pattern, methods.iter().copied())
            .map_err(|e| e.to_string())
    };
    assert_eq!(add(0, "one", None, "/users/{id}", &["GET"]), Ok(()));
    assert_eq!(add(1, "two", None, "/users/{name}", &[]), Ok(()));
    assert_eq!(add(2, "three", Some("a.b"), "/users/{name}", &["GET"]), Ok(()));
    assert_eq!(add(3, "four", None, "/users/{name+}", &["GET"]), Ok(()));
    let clash = add(4, "five", None, "/users/{x}", &["PUT", "GET"]);
    assert_eq!(clash, Err("routes `one` and `five` take the same requests (GET)".to_owned()));
    let clash = add(5, "six", None, "/users/{x}", &[]);
    assert_eq!(clash, Err("routes `two` and `six` take the same requests (any method)".to_owned()));
}

#[test]
fn patterns_are_checked() {
    for (pattern, message) in [
        ("", "a path begins with `/`"),
        ("a", "a path begins with `/`"),
        ("/a/", "a path has no empty segment"),
        ("/a/../b", "never matches"),
        ("/%2e%2e", "never matches"),
        ("/a{b}", "found `a{b}`"),
        ("/{}", "found `{}`"),
        ("/{a+}/b", "`{a+}` must be the last"),
        ("/{a}/{a}", "`a` stands twice"),
        ("/a b", "cannot hold ' '"),
        ("/a?b", "cannot hold '?'"),
        ("/é", "percent-encode it"),
        ("/%4", "two hex digits"),
    ] {
        let error = Pattern::parse(pattern).unwrap_err().to_string();
        assert!(error.contains(message), "{pattern}: {error}");
    }
    let deep = "/a".repeat(65);
    assert_eq!(Pattern::parse(&deep), Err(crate::PatternError::TooLong));
    let wide: String = (0..17).map(|i| format!("/{{p{i}}}")).collect();
    assert_eq!(Pattern::parse(&wide), Err(crate::PatternError::TooManyCaptures));
}

/// Specificity of a fit: compared segment by segment, larger is preferred.
type Rank = (bool, Vec<u8>, bool);

/// Every pattern is tried; the best fit wins. Written from the rules in the module's text, not from the code.
fn reference(routes: &[(Vec<&'static str>, Pattern)], method: &str, path: &str) -> (Match, Vec<String>) {
    let segments: Vec<&str> = if path == "/" { Vec::new() } else { path[1..].split('/').collect() };
    let mut best: Option<(Rank, u32, Vec<String>)> = None;
    let mut fits_path = false;
    for (id, (methods, pattern)) in routes.iter().enumerate() {
        let Some((kinds, captures)) = fit(pattern, &segments) else { continue };
        fits_path = true;
        if !methods.is_empty() && !methods.contains(&method) {
            continue;
        }
        let full = !matches!(pattern.segments().last(), Some(Segment::Greedy(_)));
        let rank = (full, kinds, !methods.is_empty());
        if best.as_ref().is_none_or(|(other, _, _)| rank > *other) {
            best = Some((rank, id as u32, captures));
        }
    }
    match best {
        Some((_, id, captures)) => (found(id), captures),
        None if fits_path => (Match::MethodNotAllowed, Vec::new()),
        None => (Match::NotFound, Vec::new()),
    }
}

/// Kinds of the pattern's segments (static 3, param 2, greedy 1) and the captured texts.
fn fit(pattern: &Pattern, segments: &[&str]) -> Option<(Vec<u8>, Vec<String>)> {
    let mut kinds = Vec::new();
    let mut captures = Vec::new();
    let mut rest = segments;
    for segment in pattern.segments() {
        if let Segment::Greedy(_) = segment {
            // "/{proxy+}" also fits "/", whose rest is empty.
            if rest.is_empty() && !(segments.is_empty() && kinds.is_empty()) {
                return None;
            }
            kinds.push(1);
            captures.push(rest.join("/"));
            return Some((kinds, captures));
        }
        let (first, others) = rest.split_first()?;
        match segment {
            Segment::Static(text) if **text == *first.as_bytes() => kinds.push(3),
            Segment::Param(_) if !first.is_empty() => {
                kinds.push(2);
                captures.push((*first).to_owned());
            }
            _ => return None,
        }
        rest = others;
    }
    rest.is_empty().then_some((kinds, captures))
}

/// Few names, so that patterns overlap; one longer than a word, one of exactly eight bytes.
fn a_segment() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "eightbyt", "longer-than-eight", "longer-than-eigth"])
}

fn a_pattern() -> impl Strategy<Value = String> {
    let middle = prop_oneof![3 => a_segment().prop_map(str::to_owned), 2 => Just("{}".to_owned())];
    (prop::collection::vec(middle, 0..5), prop::bool::weighted(0.3)).prop_map(|(mut segments, greedy)| {
        for (at, segment) in segments.iter_mut().enumerate().filter(|(_, s)| *s == "{}") {
            *segment = format!("{{p{at}}}");
        }
        if greedy {
            segments.push("{rest+}".to_owned());
        }
        format!("/{}", segments.join("/"))
    })
}

fn some_methods() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::select(vec![vec![], vec!["GET"], vec!["POST"], vec!["GET", "PURGE"]])
}

fn a_path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![6 => a_segment(), 1 => Just("other"), 1 => Just("")];
    prop::collection::vec(segment, 0..7).prop_map(|segments| format!("/{}", segments.join("/")))
}

/// The same path with some unreserved characters percent-encoded.
fn encode(path: &str, mask: u64) -> String {
    path.bytes()
        .enumerate()
        .map(|(at, byte)| match byte {
            b'/' => "/".to_owned(),
            _ if mask >> (at % 64) & 1 == 1 => format!("%{byte:02x}"),
            _ => char::from(byte).to_string(),
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn agrees_with_the_reference(
        written in prop::collection::vec((some_methods(), a_pattern()), 1..24),
        requests in prop::collection::vec((prop::sample::select(vec!["GET", "POST", "PUT", "PURGE"]), a_path()), 1..24),
        mask in any::<u64>(),
    ) {
        let mut builder = RouterBuilder::new();
        let mut routes: Vec<(Vec<&'static str>, Pattern)> = Vec::new();
        for (methods, pattern) in written {
            let pattern = Pattern::parse(&pattern).unwrap();
            // Clashing ones are left out: the reference has no notion of them.
            let shape = |p: &Pattern| -> Vec<Vec<u8>> {
                p.segments().iter().map(|s| match s {
                    Segment::Static(text) => text.to_vec(),
                    Segment::Param(_) => b"{}".to_vec(),
                    Segment::Greedy(_) => b"{+}".to_vec(),
                }).collect()
            };
            let clash = routes.iter().any(|(m, p)| {
                shape(p) == shape(&pattern)
                    && ((m.is_empty() && methods.is_empty()) || m.iter().any(|m| methods.contains(m)))
            });
            let mut trial = RouterBuilder::new();
            std::mem::swap(&mut trial, &mut builder);
            let id = RouteId(routes.len() as u32);
            if clash {
                builder = trial;
                continue;
            }
            prop_assert!(trial.add(id, &"r".into(), None, &pattern, methods.iter().copied()).is_ok());
            builder = trial;
            routes.push((methods, pattern));
        }
        let router = builder.build();
        for (method, path) in &requests {
            let (expected, texts) = reference(&routes, method, path);
            prop_assert_eq!(ask(&router, "", method, path), (expected, texts), "{} {}", method, path);
            let encoded = encode(path, mask);
            prop_assert_eq!(ask(&router, "", method, &encoded).0, expected, "{} {}", method, encoded);
        }
    }

    /// Whatever the bytes, routing ends without a panic and captures lie within the path.
    #[test]
    fn total(path in prop::collection::vec(any::<u8>(), 0..80), host in prop::collection::vec(any::<u8>(), 0..40)) {
        let router = router(&[(Some("*.a"), &[], "/{x}/{rest+}"), (None, &[], "/{x}/b"), (None, &[], "/b/{rest+}")]);
        let mut captures = Captures::new();
        let mut rooted = b"/".to_vec();
        rooted.extend_from_slice(&path);
        for path in [&path, &rooted] {
            router.route(&host, Method::Get, b"GET", path, &mut captures);
            for at in 0..captures.len() {
                let span = captures.span(at).unwrap();
                prop_assert!(span.start <= span.end && span.end as usize <= path.len());
            }
        }
    }
}
