//! REST APIs: `AWS_IAM` authorization and resource policies.

use serde_json::{Value, json};
use sluice_harness::rest::{RestApi, http_proxy, mock};
use sluice_harness::{Backend, Call, Gateway, Reply, Response, Signer};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const OTHER: &str = "another-secret-of-forty-characters-in-all";

/// `AKIDALL` may call everything, `AKIDSOME` what `policy` allows, `AKIDTEMP` has a session token, `AKIDPAST` has ended,
/// `AKIDFAR` is of another account.
fn gateway(policy: &Value) -> Gateway {
    Gateway::start(&format!(
        "[access_keys.AKIDALL]\nsecret = \"{SECRET}\"\n\
         [access_keys.AKIDSOME]\nsecret = \"{SECRET}\"\narn = \"arn:aws:iam::123456789012:user/team/ana\"\npolicy = '''{policy}'''\n\
         [access_keys.AKIDTEMP]\nsecret = \"{SECRET}\"\nsession_token = \"a-session\"\narn = \"arn:aws:sts::123456789012:assumed-role/R/s\"\n\
         [access_keys.AKIDPAST]\nsecret = \"{SECRET}\"\nexpires = \"2020-01-01T00:00:00Z\"\n\
         [access_keys.AKIDFAR]\nsecret = \"{SECRET}\"\narn = \"arn:aws:iam::210987654321:user/bo\"\n"
    ))
}

fn statement(effect: &str, resource: &str) -> Value {
    json!({ "Effect": effect, "Action": "execute-api:Invoke", "Resource": resource })
}

fn identity(statements: Value) -> Value {
    json!({ "Version": "2012-10-17", "Statement": statements })
}

fn nothing() -> Value {
    identity(json!([statement("Allow", "arn:aws:execute-api:us-east-1:123456789012:none/*")]))
}

/// A resource policy with these statements, each for everybody unless it says otherwise.
fn resource_policy(statements: &[Value]) -> Value {
    let mut list = Vec::new();
    for one in statements {
        let mut one = one.clone();
        let members = one.as_object_mut().unwrap();
        members.entry("Principal").or_insert(json!("*"));
        members.entry("Action").or_insert(json!("execute-api:Invoke"));
        members.entry("Resource").or_insert(json!("execute-api:/*"));
        list.push(one);
    }
    json!(identity(json!(list)).to_string())
}

fn signed(integration: Value) -> RestApi {
    let fields = || json!({ "authorizationType": "AWS_IAM" });
    RestApi::new("a").method_with("ANY", "/", integration.clone(), fields()).method_with(
        "ANY",
        "/{proxy+}",
        integration,
        fields(),
    )
}

fn signer(key: &str) -> Signer {
    Signer::new(key, SECRET)
}

const BASE: &str = "/restapis/a/s/_user_request_";

fn target(path: &str) -> String {
    format!("{BASE}{path}")
}

/// Status, error type, and the message under either of its names.
#[track_caller]
fn assert_refused(response: &Response, status: u16, error_type: &str, message: &str) {
    let body = response.json();
    let found =
        body.get("message").or_else(|| body.get("Message")).and_then(Value::as_str).unwrap_or_default();
    assert_eq!((response.status, response.header("x-amzn-errortype")), (status, Some(error_type)), "{body}");
    assert!(found.contains(message), "{found:?} lacks {message:?}");
}

#[test]
fn signed_requests_are_answered_in_every_form() {
    let gateway = gateway(&nothing());
    gateway.serve_rest(&[signed(mock("in")).deploy("s")]);
    let call = |call: &Call| gateway.call(call).text();
    assert_eq!(call(&signer("AKIDALL").sign("GET", &target("/"), "", &[])), "in");
    assert_eq!(call(&signer("AKIDALL").sign("GET", &target("/a%20b/c?x=1&b=%2F&a"), "", &[])), "in");
    assert_eq!(call(&signer("AKIDALL").sign("POST", &target("/x"), "{\"a\": 1}", &[])), "in");
    assert_eq!(call(&Call::get(&signer("AKIDALL").presign(&target("/x"), 60))), "in");
    let temporary = signer("AKIDTEMP").but(|s| s.token = Some("a-session".to_owned()));
    assert_eq!(call(&temporary.sign("GET", &target("/"), "", &[("x-amz-meta", "a  b")])), "in");
    assert_eq!(call(&Call::get(&temporary.presign(&target("/x"), 60))), "in");
    let mut conn = gateway.conn();
    for body in ["", "one", "", "two"] {
        let response = conn.call(&signer("AKIDALL").sign("PUT", &target("/x"), body, &[]));
        assert_eq!(response.text(), "in");
    }
}

#[test]
fn a_body_reaches_the_backend_only_with_a_signature_over_it() {
    let backend = Backend::start(|request| Reply::ok(request.text()));
    let gateway = gateway(&nothing());
    let uri = format!("http://{}/{{proxy}}", backend.addr());
    let fields = json!({ "authorizationType": "AWS_IAM" });
    let api = RestApi::new("a").method_with("ANY", "/{proxy+}", http_proxy(&uri), fields).deploy("s");
    gateway.serve_rest(&[api]);
    let body = "x".repeat(300_000);
    let call = signer("AKIDALL").sign("POST", &target("/up"), &body, &[("content-type", "text/plain")]);
    assert_eq!(gateway.call(&call).text(), body);
    // The same signature over another body of the same length.
    let forged = gateway.call(&call.clone().body("y".repeat(300_000)));
    assert_refused(
        &forged,
        403,
        "InvalidSignatureException",
        "The request signature we calculated does not match",
    );
    let chunked = signer("AKIDALL").sign("POST", &target("/up"), "abcdef", &[]).chunked(&["abc", "def"], &[]);
    assert_eq!(gateway.call(&chunked).text(), "abcdef");
    assert_eq!(gateway.call(&signer("AKIDALL").sign("GET", &target("/up"), "", &[])).status, 200);
    let heard: Vec<_> = backend.requests().iter().map(|request| request.body.len()).collect();
    assert_eq!(heard, [300_000, 6, 0]);
    let seen = &backend.requests()[0];
    assert!(!seen.has("authorization"), "{:?}", seen.head);
}

const INVALID: &str = "InvalidSignatureException";
const INCOMPLETE: &str = "IncompleteSignatureException";
const UNKNOWN: &str = "UnrecognizedClientException";

/// A name, a request, and how it is refused.
type Case = (&'static str, Call, &'static str, &'static str);

fn get(signer: &Signer) -> Call {
    signer.sign("GET", &target("/x"), "", &[])
}

fn badly_signed() -> Vec<Case> {
    let good = || signer("AKIDALL");
    let header = |value: &str| {
        Call::get(&target("/x")).header("authorization", value).header("x-amz-date", "20300101T000000Z")
    };
    let token = |key: &str, token: &str| get(&signer(key).but(|s| s.token = Some(token.to_owned())));
    let no_credential = "AWS4-HMAC-SHA256 SignedHeaders=host, Signature=00";
    let invalid_token = "The security token included in the request is invalid.";
    vec![
        (
            "none",
            Call::get(&target("/x")),
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        ),
        (
            "a bearer",
            header("Bearer abc"),
            INCOMPLETE,
            "Invalid key=value pair (missing equal-sign) in Authorization header",
        ),
        ("no credential", header(no_credential), INCOMPLETE, "Credential"),
        ("another key", get(&signer("AKIDNONE")), UNKNOWN, invalid_token),
        (
            "another secret",
            get(&Signer::new("AKIDALL", OTHER)),
            INVALID,
            "The Canonical String for this request should have been",
        ),
        (
            "another region",
            get(&good().but(|s| s.region = "eu-west-1".into())),
            INVALID,
            "Credential should be scoped to a valid region",
        ),
        (
            "another service",
            get(&good().but(|s| s.service = "s3".into())),
            INVALID,
            "correct service: 'execute-api'",
        ),
        ("too old", get(&good().but(|s| s.time_s -= 360)), INVALID, "Signature expired"),
        ("too new", get(&good().but(|s| s.time_s += 360)), INVALID, "Signature not yet current"),
        ("a header too many", get(&good()).header("x-amz-more", "1"), INCOMPLETE, "'x-amz-more' must be"),
        ("no session token", get(&signer("AKIDTEMP")), UNKNOWN, invalid_token),
        ("another session", token("AKIDTEMP", "b"), UNKNOWN, invalid_token),
        ("a session too many", token("AKIDALL", "b"), UNKNOWN, invalid_token),
        (
            "ended",
            get(&signer("AKIDPAST")),
            "ExpiredTokenException",
            "The security token included in the request is expired",
        ),
        ("ended, forged", get(&Signer::new("AKIDPAST", OTHER)), INVALID, "does not match"),
    ]
}

fn badly_presigned() -> Vec<Case> {
    let presigned = |expires_s: u64| signer("AKIDALL").presign(&target("/x"), expires_s);
    let old = signer("AKIDALL").but(|s| s.time_s -= 61).presign(&target("/x"), 60);
    let cut = presigned(60);
    vec![
        ("presigned, over", Call::get(&old), INVALID, "Signature expired"),
        ("presigned for long", Call::get(&presigned(604_801)), INCOMPLETE, "less than a week"),
        ("for another path", Call::get(&presigned(60).replace("/x?", "/y?")), INVALID, "does not match"),
        ("with more", Call::get(&presigned(60).replace("/x?", "/x?a=1&")), INVALID, "does not match"),
        ("truncated", Call::get(&cut[..cut.len() - 1]), INVALID, "does not match"),
    ]
}

#[test]
fn what_is_not_signed_well_is_refused_in_awss_words() {
    let gateway = gateway(&nothing());
    gateway.serve_rest(&[signed(mock("in")).deploy("s")]);
    for (name, call, error_type, message) in badly_signed().into_iter().chain(badly_presigned()) {
        println!("{name}");
        assert_refused(&gateway.call(&call), 403, error_type, message);
    }
    // A payload that is not signed may be changed by whoever sees it: not without TLS.
    let hash = [("x-amz-content-sha256", "UNSIGNED-PAYLOAD")];
    let unsigned = signer("AKIDALL").sign("POST", &target("/x"), "", &hash);
    assert_refused(&gateway.call(&unsigned.body("b")), 403, INVALID, "does not match");
}

#[test]
fn a_key_with_a_policy_may_do_what_that_says_and_nothing_else() {
    let arn = "arn:aws:execute-api:us-east-1:123456789012:a/s";
    let policy = identity(json!([
        statement("Allow", &format!("{arn}/GET/*")),
        statement("Deny", &format!("{arn}/*/secret/*")),
        statement("Allow", &format!("{arn}/POST/${{aws:username}}/*")),
    ]));
    let gateway = gateway(&policy);
    gateway.serve_rest(&[signed(mock("in")).deploy("s").deploy("t")]);
    let ask =
        |key: &str, method: &str, target: &str| gateway.call(&signer(key).sign(method, target, "", &[]));
    for (method, path, expected) in [
        ("GET", "/", 200),
        ("GET", "/pets/1", 200),
        ("DELETE", "/pets/1", 403),
        ("GET", "/secret/1", 403),
        ("GET", "/%73ecret/1", 403),
        ("POST", "/ana/x", 200),
        ("POST", "/bo/x", 403),
    ] {
        let response = ask("AKIDSOME", method, &target(path));
        assert_eq!(response.status, expected, "{method} {path}: {}", response.text());
        assert_eq!(ask("AKIDALL", method, &target(path)).status, 200, "{method} {path}");
    }
    let denied = ask("AKIDSOME", "DELETE", &target("/pets/1"));
    assert_eq!(denied.header("x-amzn-errortype"), Some("AccessDeniedException"));
    let user = "User: arn:aws:iam::123456789012:user/team/ana is not authorized to perform: execute-api:Invoke on resource:";
    let resource = "arn:aws:execute-api:us-east-1:********9012:a/s";
    assert_eq!(denied.json(), json!({ "Message": format!("{user} {resource}/DELETE/pets/1") }));
    let explicit = ask("AKIDSOME", "GET", &target("/secret/1"));
    let text = format!("{user} {resource}/GET/secret/1 with an explicit deny");
    assert_eq!(explicit.json(), json!({ "Message": text }));
    assert_eq!(ask("AKIDSOME", "GET", "/restapis/a/t/_user_request_/pets").status, 403);
    // It is no key of the control plane.
    let at_admin = |key: &str| {
        let host = gateway.admin().to_string();
        let signer = signer(key).but(|s| s.service = "apigateway".into());
        let call = signer.sign_for(&host, "GET", "/restapis", "", &[]);
        gateway.admin_call(call).status
    };
    assert_eq!((at_admin("AKIDALL"), at_admin("AKIDSOME"), at_admin("AKIDPAST")), (200, 403, 403));
}

#[test]
fn a_resource_policy_is_asked_about_every_call() {
    let gateway = gateway(&nothing());
    let serve = |statements: &[Value]| {
        let api = signed(mock("in")).method("GET", "/open", mock("open"));
        gateway.serve_rest(&[api.with("policy", resource_policy(statements)).deploy("s")]);
    };
    let ask = |key: &str, path: &str| match key {
        "" => gateway.call(&Call::get(&target(path))).status,
        key => gateway.call(&signer(key).sign("GET", &target(path), "", &[])).status,
    };
    let all = |path: &str| ["", "AKIDALL", "AKIDSOME", "AKIDFAR"].map(|key| ask(key, path));
    // Nothing is said of anybody: whoever is known by keys of this account needs only these.
    serve(&[json!({ "Effect": "Allow", "Resource": "execute-api:/other/*" })]);
    assert_eq!((all("/open"), all("/x")), ([403; 4], [403, 200, 403, 403]));
    // Everybody is allowed: keys of another account too, since both allow.
    serve(&[json!({ "Effect": "Allow" })]);
    assert_eq!((all("/open"), all("/x")), ([200; 4], [403, 200, 200, 200]));
    // The account is named: that leaves it to the account's own policies.
    let accounts = json!({ "AWS": ["123456789012", "arn:aws:iam::210987654321:user/bo"] });
    serve(&[json!({ "Effect": "Allow", "Principal": accounts })]);
    assert_eq!(all("/x"), [403, 200, 403, 200]);
    // By address.
    let from = |net: &str| json!({ "IpAddress": { "aws:SourceIp": net } });
    serve(&[json!({ "Effect": "Allow" }), json!({ "Effect": "Deny", "Condition": from("127.0.0.0/8") })]);
    assert_eq!((all("/open"), all("/x")), ([403; 4], [403; 4]));
    let response = gateway.call(&Call::get(&target("/open")));
    let text = "User: anonymous is not authorized to perform: execute-api:Invoke on resource: \
                arn:aws:execute-api:us-east-1:********9012:a/s/GET/open with an explicit deny";
    assert_eq!(response.json(), json!({ "Message": text }));
    serve(&[json!({ "Effect": "Allow" }), json!({ "Effect": "Deny", "Condition": from("10.0.0.0/8") })]);
    assert_eq!(all("/open"), [200; 4]);
    // By time.
    let until = |date: &str| json!({ "DateLessThan": { "aws:CurrentTime": date } });
    serve(&[json!({ "Effect": "Allow", "Condition": until("2020-01-01T00:00:00Z") })]);
    assert_eq!(ask("", "/open"), 403);
    serve(&[json!({ "Effect": "Allow", "Condition": until("2120-01-01T00:00:00Z") })]);
    assert_eq!(ask("", "/open"), 200);
}

#[test]
fn a_policy_that_is_none_refuses_everything() {
    let gateway = gateway(&nothing());
    let broken = json!({ "Statement": [{ "Effect": "Maybe" }] }).to_string();
    let api = RestApi::new("a").method("GET", "/", mock("in")).with("policy", json!(broken)).deploy("s");
    gateway.serve_rest(&[api]);
    assert_refused(
        &gateway.rest("a", "s", "/"),
        500,
        "InternalServerErrorException",
        "Internal server error",
    );
    gateway.wait_for_line(0, "the resource policy is none: $.");
}

#[test]
fn templates_and_gateway_responses_see_who_signed() {
    let gateway = gateway(&nothing());
    let template = "$context.identity.userArn $context.identity.user $context.identity.caller $context.identity.accountId";
    let responses = json!({ "ACCESS_DENIED": {
        "responseType": "ACCESS_DENIED", "statusCode": "404",
        "responseParameters": {}, "responseTemplates": { "application/json": "{\"m\":$context.error.messageString}" }
    }});
    let api = signed(mock(template)).with("gatewayResponses", responses).deploy("s");
    gateway.serve_rest(&[api]);
    let far = signer("AKIDALL").sign("GET", &target("/"), "", &[]);
    assert_eq!(
        gateway.call(&far).text(),
        "arn:aws:iam::123456789012:user/AKIDALL AKIDALL AKIDALL 123456789012"
    );
    let refused = gateway.call(&signer("AKIDSOME").sign("GET", &target("/"), "", &[]));
    assert_eq!(refused.status, 404);
    assert!(refused.json()["m"].as_str().unwrap().starts_with("User: arn:aws:iam::"), "{}", refused.text());
}

#[test]
fn a_reload_changes_secrets_and_policies_at_once() {
    let config = |secret: &str, more: &str| format!("[access_keys.AKIDONE]\nsecret = \"{secret}\"\n{more}");
    let gateway = Gateway::start(&config(SECRET, ""));
    gateway.serve_rest(&[signed(mock("in")).deploy("s")]);
    let status = |secret: &str| {
        gateway.call(&Signer::new("AKIDONE", secret).sign("GET", &target("/"), "", &[])).status
    };
    assert_eq!((status(SECRET), status(OTHER)), (200, 403));
    gateway.write_config(&config(OTHER, ""));
    assert_eq!(gateway.reload().status, 200);
    assert_eq!((status(SECRET), status(OTHER)), (403, 200));
    gateway.write_config(&config(OTHER, &format!("policy = '''{}'''\n", nothing())));
    assert_eq!(gateway.reload().status, 200);
    assert_eq!(status(OTHER), 403);
    let broken = config(OTHER, "policy = '''{}'''\n");
    gateway.write_config(&broken);
    let refused = gateway.reload();
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("gateway.toml:3:10: error: the policy is none: $"), "{}", refused.text());
    assert_eq!(status(OTHER), 403, "what was served goes on");
}
