//! API keys: who gets in, what the others are told, and that the backend never hears of them.

use sluice_harness::{Backend, Call, Gateway, Reply};

const KEY: &str = "mobile-key-0123456789";
const OTHER: &str = "partner-key-0123456789";

fn gateway(backend: &Backend) -> Gateway {
    Gateway::start(&format!(
        r#"
[routes.secret]
path = "/secret/{{proxy+}}"
upstream = "{0}"
api_key_required = true

[routes.open]
path = "/open"
upstream = "{0}"

[keys.mobile]
value = "{KEY}"

[keys.partner]
value = "{OTHER}"

[keys.former]
value = "former-key-0123456789"
enabled = false
"#,
        backend.addr()
    ))
}

#[test]
fn known_keys_pass() {
    let backend = Backend::start(|_| Reply::ok("in"));
    let gateway = gateway(&backend);
    for (name, value) in [("x-api-key", KEY), ("X-API-Key", KEY), ("X-Api-Key", OTHER)] {
        let response = gateway.call(&Call::get("/secret/a").header(name, value));
        assert_eq!((response.status, response.text().as_str()), (200, "in"), "{name}: {value}");
        response.assert_request_id();
    }
    assert_eq!(backend.hits(), 3);
}

#[test]
fn missing_unknown_and_disabled_keys_are_forbidden() {
    let backend = Backend::start(|_| Reply::ok("in"));
    let gateway = gateway(&backend);
    let mut conn = gateway.conn();
    let upper = KEY.to_uppercase();
    let longer = format!("{KEY}x");
    let listed = format!("{KEY}, {OTHER}");
    for value in [
        "",
        "no-such-key-0123456789",
        "former-key-0123456789",
        upper.as_str(),
        longer.as_str(),
        &KEY[..KEY.len() - 1],
        listed.as_str(),
    ] {
        let response = conn.call(&Call::get("/secret/a").header("x-api-key", value));
        response.assert_refusal(403, "Forbidden", "ForbiddenException");
    }
    conn.call(&Call::get("/secret/a")).assert_refusal(403, "Forbidden", "ForbiddenException");
    conn.call(&Call::get("/secret/a?x-api-key=mobile-key-0123456789")).assert_refusal(
        403,
        "Forbidden",
        "ForbiddenException",
    );
    conn.call(&Call::get("/secret/a").header("authorization", KEY)).assert_refusal(
        403,
        "Forbidden",
        "ForbiddenException",
    );
    assert_eq!(backend.hits(), 0, "a refused request must not reach the backend");
    assert_eq!(
        conn.call(&Call::get("/secret/a").header("x-api-key", KEY)).status,
        200,
        "the connection lives on"
    );
}

#[test]
fn a_refused_upload_leaves_the_connection_in_step_or_closed() {
    let backend = Backend::start(|_| Reply::ok("in"));
    let gateway = gateway(&backend);
    let mut conn = gateway.conn();
    let body = format!("GET /secret/smuggled HTTP/1.1\r\nHost: x\r\nx-api-key: {KEY}\r\n\r\n");
    let response = conn.call(&Call::post("/secret/upload", body));
    response.assert_refusal(403, "Forbidden", "ForbiddenException");
    if !response.says_close() {
        assert_eq!(conn.call(&Call::get("/open")).text(), "in");
    }
    assert!(
        backend.requests().iter().all(|request| request.target == "/open"),
        "the refused body must not be taken for a request"
    );
}

#[test]
fn open_routes_ask_for_no_key() {
    let backend = Backend::start(|_| Reply::ok("in"));
    let gateway = gateway(&backend);
    assert_eq!(gateway.get("/open").status, 200);
    assert_eq!(gateway.call(&Call::get("/open").header("x-api-key", "whatever")).status, 200);
}

#[test]
fn no_route_comes_before_no_key() {
    let backend = Backend::start(|_| Reply::ok("in"));
    gateway(&backend).get("/elsewhere").assert_refusal(404, "Not Found", "NotFoundException");
}
