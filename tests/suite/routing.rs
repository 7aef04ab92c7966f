//! Which route answers: host, path pattern, method; and the answer when none does.

use sluice_harness::{Backend, Call, Gateway, Reply};

/// A gateway of mock routes that answer with their own name.
fn named_routes(routes: &[(&str, &str)]) -> Gateway {
    let mut config = String::new();
    for (name, conditions) in routes {
        config.push_str(&format!("[routes.{name}]\n{conditions}\nmock_body = \"{name}\"\n"));
    }
    Gateway::start(&config)
}

#[track_caller]
fn assert_routes(gateway: &Gateway, call: Call, expected: &str) {
    let response = gateway.call(&call);
    assert_eq!((response.status, response.text().as_str()), (200, expected), "{call:?}");
}

#[track_caller]
fn assert_not_found(gateway: &Gateway, call: Call) {
    gateway.call(&call).assert_refusal(404, "Not Found", "NotFoundException");
}

#[test]
fn static_before_param_before_greedy() {
    let gateway = named_routes(&[
        ("greedy", "path = \"/users/{proxy+}\""),
        ("param", "path = \"/users/{id}\""),
        ("static", "path = \"/users/me\""),
        ("deep", "path = \"/users/{id}/orders\""),
    ]);
    assert_routes(&gateway, Call::get("/users/me"), "static");
    assert_routes(&gateway, Call::get("/users/17"), "param");
    assert_routes(&gateway, Call::get("/users/me2"), "param");
    assert_routes(&gateway, Call::get("/users/17/orders"), "deep");
    // The static branch is a dead end below /users/me: the search goes back and finds the others.
    assert_routes(&gateway, Call::get("/users/me/orders"), "deep");
    assert_routes(&gateway, Call::get("/users/17/orders/3"), "greedy");
    assert_routes(&gateway, Call::get("/users/me/a/b/c"), "greedy");
    assert_not_found(&gateway, Call::get("/users"));
    assert_not_found(&gateway, Call::get("/"));
    assert_not_found(&gateway, Call::get("/Users/me"));
}

#[test]
fn empty_segments_are_for_the_greedy_parameter_alone() {
    let gateway = named_routes(&[
        ("exact", "path = \"/a\""),
        ("param", "path = \"/a/{id}\""),
        ("greedy", "path = \"/a/b/{proxy+}\""),
    ]);
    assert_routes(&gateway, Call::get("/a"), "exact");
    assert_not_found(&gateway, Call::get("/a/"));
    assert_not_found(&gateway, Call::get("//a"));
    assert_routes(&gateway, Call::get("/a/b"), "param");
    assert_routes(&gateway, Call::get("/a/b/"), "greedy");
    assert_routes(&gateway, Call::get("/a/b//c"), "greedy");
    assert_routes(&named_routes(&[("all", "path = \"/{proxy+}\"")]), Call::get("/"), "all");
}

#[test]
fn escapes_that_mean_the_same_route_the_same() {
    let gateway = named_routes(&[("plain", "path = \"/a-b\""), ("param", "path = \"/{x}\"")]);
    // RFC 3986 section 6.2.2.2: %2D is an unreserved character, %2F is not a slash.
    assert_routes(&gateway, Call::get("/%61%2Db"), "plain");
    assert_routes(&gateway, Call::get("/a%2Fb"), "param");
    for malformed in ["/a%", "/a%2", "/a%zz", "/a%00"] {
        assert_eq!(gateway.get(malformed).status, 400, "{malformed}");
    }
}

#[test]
fn query_takes_no_part_in_routing() {
    let gateway = named_routes(&[("only", "path = \"/a\"")]);
    assert_routes(&gateway, Call::get("/a?x=/b"), "only");
    assert_routes(&gateway, Call::get("/a?"), "only");
    assert_not_found(&gateway, Call::get("/?/a"));
}

#[test]
fn methods_select_and_others_are_not_found() {
    let gateway = named_routes(&[
        ("read", "path = \"/a\"\nmethods = [\"GET\", \"HEAD\"]"),
        ("write", "path = \"/a\"\nmethods = [\"POST\"]"),
        ("any", "path = \"/any\""),
    ]);
    assert_routes(&gateway, Call::get("/a"), "read");
    assert_routes(&gateway, Call::post("/a", ""), "write");
    assert_not_found(&gateway, Call::new("DELETE", "/a"));
    for method in ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"] {
        assert_routes(&gateway, Call::new(method, "/any"), "any");
    }
    // Methods are case-sensitive (RFC 9110 section 9.1).
    assert_not_found(&gateway, Call::new("get", "/a"));
}

#[test]
fn a_method_of_the_exact_path_does_not_hide_the_greedy_route() {
    let gateway = named_routes(&[
        ("exact", "path = \"/a\"\nmethods = [\"POST\"]"),
        ("greedy", "path = \"/{proxy+}\"\nmethods = [\"GET\"]"),
    ]);
    assert_routes(&gateway, Call::post("/a", ""), "exact");
    assert_routes(&gateway, Call::get("/a"), "greedy");
}

#[test]
fn hosts_select_exact_before_wildcard_before_any() {
    let gateway = named_routes(&[
        ("any", "path = \"/\""),
        ("wild", "path = \"/\"\nhost = \"*.example.com\""),
        ("exact", "path = \"/\"\nhost = \"api.example.com\""),
    ]);
    assert_routes(&gateway, Call::get("/").host("api.example.com"), "exact");
    assert_routes(&gateway, Call::get("/").host("API.Example.COM"), "exact");
    assert_routes(&gateway, Call::get("/").host("api.example.com:8443"), "exact");
    assert_routes(&gateway, Call::get("/").host("www.example.com"), "wild");
    assert_routes(&gateway, Call::get("/").host("example.com"), "any");
    assert_routes(&gateway, Call::get("/").host("evil-example.com"), "any");
    assert_routes(&gateway, Call::get("/").host("127.0.0.1"), "any");
    assert_routes(&gateway, Call::get("/").host("[::1]:80"), "any");
}

#[test]
fn a_host_without_routes_is_not_found() {
    let gateway = named_routes(&[("exact", "path = \"/\"\nhost = \"api.example.com\"")]);
    assert_not_found(&gateway, Call::get("/").host("other.example.com"));
    assert_not_found(&gateway, Call::get("/").host("api.example.com.evil.test"));
}

#[test]
fn absolute_form_routes_by_its_authority() {
    let gateway =
        named_routes(&[("any", "path = \"/\""), ("exact", "path = \"/x\"\nhost = \"api.example.com\"")]);
    // RFC 9112 section 3.2.2: the target's authority wins over Host.
    assert_routes(&gateway, Call::get("http://api.example.com/x").host("api.example.com"), "exact");
    assert_routes(&gateway, Call::get("http://api.example.com").host("api.example.com"), "any");
}

#[test]
fn mock_routes_answer_as_configured() {
    let gateway = Gateway::start(
        r#"
[routes.teapot]
path = "/teapot"
mock_status = 418
mock_body = '{"short":true}'
mock_content_type = "application/problem+json"

[routes.nothing]
path = "/nothing"
mock_status = 204
"#,
    );
    let mut conn = gateway.conn();
    let response = conn.get("/teapot");
    assert_eq!(response.status, 418);
    assert_eq!(response.text(), r#"{"short":true}"#);
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    response.assert_request_id();

    let head = conn.call(&Call::new("HEAD", "/teapot"));
    assert_eq!((head.status, head.body.len()), (418, 0));
    assert_eq!(head.header("content-length"), Some("14"));

    let nothing = conn.get("/nothing");
    assert_eq!((nothing.status, nothing.body.len()), (204, 0));
    assert_eq!(conn.get("/teapot").status, 418, "the connection must still be in step");
}

#[test]
fn the_target_reaches_the_backend_as_it_came() {
    let backend = Backend::start(|_| Reply::ok("ok"));
    let gateway = Gateway::before(backend.addr());
    for target in [
        "/a/b?x=1&y=%20%2F&x=2",
        "/a%2Fb/c%20d",
        "/a//b",
        "/a/",
        "/?q",
        "/caf%C3%A9",
        "/~user/;p=1/@x:y!$&'()*+,=",
        "/a?x=[1]|{2}",
    ] {
        assert_eq!(gateway.get(target).status, 200, "{target}");
        assert_eq!(backend.last_request().target, target);
    }
}

#[test]
fn upstream_path_is_rewritten_with_the_captured_parameters() {
    let backend = Backend::start(|_| Reply::ok("ok"));
    let gateway = Gateway::start(&format!(
        r#"
[upstreams.users]
targets = ["{0}"]

[routes.user]
path = "/users/{{id}}"
upstream = "users"
upstream_path = "/v1/people/{{id}}/profile"

[routes.files]
path = "/files/{{proxy+}}"
upstream = "users"
upstream_path = "/store/{{proxy}}"
"#,
        backend.addr()
    ));
    for (target, expected) in [
        ("/users/17", "/v1/people/17/profile"),
        ("/users/17?full=1&x=%20", "/v1/people/17/profile?full=1&x=%20"),
        ("/users/a%2Fb", "/v1/people/a%2Fb/profile"),
        ("/files/a/b%20c/d.txt?v=2", "/store/a/b%20c/d.txt?v=2"),
    ] {
        assert_eq!(gateway.get(target).status, 200, "{target}");
        assert_eq!(backend.last_request().target, expected);
    }
}

/// A backend normalises dot segments; a gateway that routes by the raw path must not let them cross routes.
#[test]
fn dot_segments_do_not_escape_the_route() {
    let backend = Backend::start(|_| Reply::ok("ok"));
    let gateway = Gateway::start(&format!(
        "[routes.public]\npath = \"/public/{{proxy+}}\"\nupstream = \"{}\"\n",
        backend.addr()
    ));
    for target in ["/public/../admin", "/public/%2e%2e/admin", "/public/a/../../admin", "/public/.%2E/admin"]
    {
        let response = gateway.get(target);
        let escaped = backend.requests().iter().any(|request| request.target.contains("admin"));
        assert!(!escaped, "{target} reached the backend (status {})", response.status);
        assert!(matches!(response.status, 400 | 404), "{target}: {response:?}");
    }
    assert_eq!(gateway.get("/public/..a/b..c").status, 200, "dots inside a name are no dot segments");
}

#[test]
fn routes_listing_names_every_route() {
    let gateway = named_routes(&[("one", "path = \"/1\""), ("two", "path = \"/2\"")]);
    let response = gateway.admin_call(Call::get("/routes"));
    assert_eq!(response.status, 200);
    let listing = response.json().to_string();
    assert!(listing.contains("one") && listing.contains("two"), "{listing}");
}
