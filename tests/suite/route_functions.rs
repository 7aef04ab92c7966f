//! Lambda functions behind routes of the configuration, as HTTP APIs have them, and functions that authorize.

use serde_json::{Value, json};
use sluice_harness::{Backend, Call, Gateway, Reply, Response, TempDir, skip, tool};
use std::sync::{Arc, Mutex};

const NODE: &str = r#"
exports.echo = async (event) => event
exports.answer = async (event) => JSON.parse(event.body)
exports.fails = async (event) => { throw new TypeError('no luck') }
exports.asked = 0
exports.auth = async (event) => {
  exports.asked += 1
  const who = event.headers['x-who']
  if (who === 'stranger') throw new Error('Unauthorized')
  if (who === 'broken') throw new Error('out of order')
  if (who === 'odd') return { isAuthorized: 'yes' }
  return { isAuthorized: who !== 'nobody', context: { who, asked: exports.asked, event, list: [1, 'a'] } }
}
"#;

/// Node's functions, each called like its handler, below `more`.
fn hosted(handlers: &[&str], more: &str) -> (Gateway, TempDir) {
    let dir = TempDir::new();
    dir.file("index.js", NODE);
    let mut config = String::new();
    for handler in handlers {
        config.push_str(&format!(
            "[functions.{handler}]\nruntime = \"node\"\nhandler = \"index.{handler}\"\ndirectory = {:?}\ninit_timeout_ms = 60000\ntimeout_ms = 60000\nmax_instances = 1\n",
            dir.path(),
        ));
    }
    // Each core keeps answers of its own.
    (Gateway::builder().server("cores = 1\n").start(&format!("{config}{more}")), dir)
}

#[track_caller]
fn refused(response: &Response, status: u16, message: &str) {
    assert_eq!((response.status, response.json()), (status, json!({ "message": message })));
}

/// What the test below calls with; times and the id are as they were told.
fn event_of_the_call(context: &Value) -> Value {
    json!({
        "version": "2.0",
        "routeKey": "PUT /users/{id}/{rest+}",
        "rawPath": "/users/a%20b/x/y%2Fz",
        "rawQueryString": "q=1&p=two+words&q=%C3%A9",
        "cookies": ["a=1", "b=2"],
        "headers": {
            "host": "api.example.com", "x-multi": "one,two", "user-agent": "test/1", "content-type": "text/plain",
            "content-length": "5", "x-amzn-trace-id": "Root=1-5759e988-bd862e3fe1be46a994272793",
            "x-forwarded-for": "127.0.0.1", "x-forwarded-port": "80", "x-forwarded-proto": "http"
        },
        "queryStringParameters": { "q": "1,\u{e9}", "p": "two words" },
        "requestContext": {
            "accountId": "210987654321",
            "apiId": "routes",
            "domainName": "api.example.com",
            "domainPrefix": "api",
            "http": {
                "method": "PUT", "path": "/users/a%20b/x/y%2Fz", "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1", "userAgent": "test/1"
            },
            "requestId": context["requestId"],
            "routeKey": "PUT /users/{id}/{rest+}",
            "stage": "$default",
            "time": context["time"],
            "timeEpoch": context["timeEpoch"]
        },
        "pathParameters": { "id": "a b", "rest": "x/y/z" },
        "body": "hello",
        "isBase64Encoded": false
    })
}

#[test]
fn an_event_has_every_field_of_payload_format_2_0() {
    let name = "an_event_has_every_field_of_payload_format_2_0";
    if tool("node").is_none() {
        skip!(name, "node is not installed");
    }
    let (gateway, _dir) = hosted(
        &["echo"],
        "[aws]\naccount_id = \"210987654321\"\n\
         [routes.users]\npath = \"/users/{id}/{rest+}\"\nmethods = [\"PUT\"]\nfunction = \"echo\"\n\
         [routes.any]\npath = \"/any\"\nfunction = \"arn:aws:lambda:us-east-1:210987654321:function:echo\"\n",
    );
    let response = gateway.call(
        &Call::new("PUT", "/users/a%20b/x/y%2Fz?q=1&p=two+words&q=%C3%A9")
            .host("api.example.com")
            .header("X-Multi", "one")
            .header("Cookie", "a=1; b=2")
            .header("X-Multi", "two")
            .header("User-Agent", "test/1")
            .header("Content-Type", "text/plain")
            .header("X-Amzn-Trace-Id", "Root=1-5759e988-bd862e3fe1be46a994272793")
            .body("hello"),
    );
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")));
    let event = response.json();
    let context = &event["requestContext"];
    assert_eq!(context["requestId"], response.header("x-amzn-requestid").unwrap());
    assert!(
        context["timeEpoch"].is_i64() && context["time"].as_str().unwrap().ends_with(" +0000"),
        "{event}"
    );
    assert_eq!(event, event_of_the_call(context));

    let bare = gateway.get("/any").json();
    assert_eq!(bare["routeKey"], "ANY /any");
    for absent in ["cookies", "queryStringParameters", "pathParameters", "stageVariables", "body"] {
        assert!(bare.get(absent).is_none(), "{absent}: {bare}");
    }
    let form = Call::post("/any", "a=b").header("content-type", "application/x-www-form-urlencoded");
    let form = gateway.call(&form).json();
    assert_eq!((&form["body"], &form["isBase64Encoded"]), (&json!("YT1i"), &json!(true)));
}

#[test]
fn answers_of_payload_format_2_0() {
    let name = "answers_of_payload_format_2_0";
    if tool("node").is_none() {
        skip!(name, "node is not installed");
    }
    let (gateway, _dir) = hosted(
        &["answer", "fails"],
        "[routes.answer]\npath = \"/answer\"\nfunction = \"answer\"\n\
         [routes.fails]\npath = \"/fails\"\nfunction = \"fails\"\n\
         [routes.small]\npath = \"/small\"\nfunction = \"answer\"\nbody_max_bytes = 10\n",
    );
    let answer = |body: &str| gateway.call(&Call::post("/answer", body.as_bytes()));
    let made = answer(
        r#"{"statusCode":201,"headers":{"X-A":"1"},"cookies":["a=1; Secure","b=2"],"body":"AGE=","isBase64Encoded":true}"#,
    );
    assert_eq!((made.status, made.body.as_slice(), made.header("x-a")), (201, &b"\0a"[..], Some("1")));
    assert_eq!(made.head.all("set-cookie"), ["a=1; Secure", "b=2"]);
    assert_eq!(made.header("content-type"), Some("text/plain;charset=UTF-8"));
    for (payload, body) in
        [("{\"a\":[1]}", "{\"a\":[1]}"), ("\"hello\"", "hello"), ("[1]", "[1]"), ("null", "null")]
    {
        let made = answer(payload);
        assert_eq!((made.status, made.text().as_str()), (200, body), "{payload}");
        assert_eq!(made.header("content-type"), Some("application/json"), "{payload}");
    }
    for payload in
        [r#"{"statusCode":"x"}"#, r#"{"statusCode":200,"body":{}}"#, r#"{"statusCode":200,"cookies":1}"#]
    {
        refused(&answer(payload), 500, "Internal Server Error");
    }
    refused(&gateway.get("/fails"), 500, "Internal Server Error");
    assert_eq!(gateway.call(&Call::post("/small", "01234567890")).status, 413);
    assert_eq!(answer("7").text(), "7", "the function goes on");
    let metrics = gateway.metrics();
    assert!(metrics.text.contains("sluice_refusals_total{reason=\"function_failed\"} 4"), "{}", metrics.text);
}

#[test]
fn payload_format_1_0_and_large_bodies() {
    let name = "payload_format_1_0_and_large_bodies";
    if tool("node").is_none() {
        skip!(name, "node is not installed");
    }
    let (gateway, _dir) = hosted(
        &["echo", "answer"],
        "[routes.one]\npath = \"/one/{id}\"\nfunction = \"answer\"\npayload_format_version = \"1.0\"\n\
         [routes.two]\npath = \"/two\"\nfunction = \"echo\"\n",
    );
    let response =
        gateway.call(&Call::post("/one/7", r#"{"multiValueHeaders":{"x-a":["1","2"]},"body":"b"}"#));
    assert_eq!((response.status, response.text().as_str()), (200, "b"));
    assert_eq!(response.head.all("x-a"), ["1", "2"]);
    refused(&gateway.call(&Call::post("/one/7", "[]")), 500, "Internal Server Error");
    // Made, and read, beside the cores.
    let large = "x".repeat(3 << 20);
    let response = gateway.call(&Call::post("/two", large.as_bytes()).header("content-type", "text/plain"));
    assert_eq!(response.json()["body"].as_str().map(str::len), Some(large.len()));
}

/// An Invoke endpoint that answers as it is told, and what it was sent.
fn endpoint(answer: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> (Backend, Arc<Mutex<Vec<Value>>>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let backend = Backend::start(move |request| {
        let event: Value = serde_json::from_slice(&request.body).unwrap();
        let reply = answer(&event);
        seen.lock().unwrap().push(event);
        reply
    });
    (backend, events)
}

#[test]
fn simple_responses_let_callers_in_and_reach_the_function() {
    let name = "simple_responses_let_callers_in_and_reach_the_function";
    if tool("node").is_none() {
        skip!(name, "node is not installed");
    }
    let authorizer = |name: &str, sources: &str| {
        format!(
            "[authorizers.{name}]\ntype = \"request\"\nfunction = \"auth\"\nenable_simple_responses = true\n{sources}"
        )
    };
    let (gateway, _dir) = hosted(
        &["echo", "auth"],
        &format!(
            "{}{}\
             [routes.a]\npath = \"/a/{{id}}\"\nmethods = [\"GET\"]\nfunction = \"echo\"\nauthorizer = \"kept\"\n\
             [routes.b]\npath = \"/b\"\nfunction = \"echo\"\nauthorizer = \"kept\"\n\
             [routes.mock]\npath = \"/mock\"\nmock_body = \"in\"\nauthorizer = \"asked\"\n",
            authorizer(
                "kept",
                "identity_sources = [\"$request.header.X-Who\", \"$request.querystring.k\", \"$context.identity.sourceIp\"]\n"
            ),
            authorizer("asked", ""),
        ),
    );
    let call = |path: &str, who: &str| gateway.call(&Call::get(path).header("x-who", who));
    // An identity source that is missing: nobody is asked.
    refused(&call("/a/7", "ana"), 401, "Unauthorized");
    refused(&gateway.get("/a/7?k=1"), 401, "Unauthorized");
    let first = call("/a/7?k=1", "ana");
    let lambda = first.json()["requestContext"]["authorizer"]["lambda"].clone();
    assert_eq!(
        (&lambda["who"], &lambda["asked"], &lambda["list"]),
        (&json!("ana"), &json!(1), &json!([1, "a"]))
    );
    let event = &lambda["event"];
    for (field, expected) in [
        ("version", json!("2.0")),
        ("type", json!("REQUEST")),
        ("routeArn", json!("arn:aws:execute-api:us-east-1:123456789012:routes/$default/GET/a/7")),
        ("identitySource", json!(["ana", "1", "127.0.0.1"])),
        ("routeKey", json!("GET /a/{id}")),
        ("pathParameters", json!({ "id": "7" })),
    ] {
        assert_eq!(event[field], expected, "{field}");
    }
    assert!(event.get("body").is_none() && event["requestContext"].get("authorizer").is_none(), "{event}");
    // Kept for the identity, for all routes; another identity is asked about.
    let again = call("/b?k=1", "ana").json();
    assert_eq!(again["requestContext"]["authorizer"]["lambda"]["asked"], 1);
    let other = call("/b?k=2", "ana").json();
    assert_eq!(other["requestContext"]["authorizer"]["lambda"]["asked"], 2);
    refused(&call("/b?k=1", "nobody"), 403, "Forbidden");
    refused(&call("/b?k=1", "stranger"), 401, "Unauthorized");
    refused(&call("/b?k=1", "broken"), 500, "Internal Server Error");
    refused(&call("/b?k=1", "odd"), 500, "Internal Server Error");
    // Without sources nothing is kept.
    assert_eq!(call("/mock", "ana").text(), "in");
    refused(&call("/mock", "nobody"), 403, "Forbidden");
}

#[test]
fn policies_are_asked_about_each_route() {
    let (backend, events) = endpoint(|_| {
        let resource = "arn:aws:execute-api:us-east-1:123456789012:routes/$default/GET/pets/*";
        let statement = json!([{ "Effect": "Allow", "Action": "execute-api:Invoke", "Resource": resource }]);
        let policy = json!({ "Version": "2012-10-17", "Statement": statement });
        Reply::ok(json!({ "principalId": "ana", "policyDocument": policy }).to_string())
    });
    let gateway = Gateway::builder().server("cores = 1\n").start(&format!(
        "[functions.auth]\nendpoint_url = \"http://{}\"\n\
         [authorizers.by]\ntype = \"request\"\nfunction = \"auth\"\nidentity_sources = [\"$request.header.authorization\"]\n\
         [routes.pets]\npath = \"/pets/{{id}}\"\nmock_body = \"pet\"\nauthorizer = \"by\"\n\
         [routes.cars]\npath = \"/cars\"\nmock_body = \"car\"\nauthorizer = \"by\"\n",
        backend.addr()
    ));
    let call = |method: &str, path: &str| gateway.call(&Call::new(method, path).header("authorization", "t"));
    assert_eq!(call("GET", "/pets/1").text(), "pet");
    refused(&call("POST", "/pets/1"), 403, "Forbidden");
    refused(&call("GET", "/cars"), 403, "Forbidden");
    assert_eq!(call("GET", "/pets/2").text(), "pet");
    assert_eq!(events.lock().unwrap().len(), 1, "one question for the identity");
}

/// AWS documents the members of this event ("Control access to HTTP APIs with AWS Lambda authorizers"), `requestContext` in
/// part: there it has what that of functions' events has.
fn request_in_payload_format_1_0(context: &Value) -> Value {
    json!({
        "version": "1.0",
        "type": "REQUEST",
        "methodArn": "arn:aws:execute-api:us-east-1:123456789012:routes/$default/GET/pets/a%20b",
        "identitySource": "t,7",
        "authorizationToken": "t,7",
        "resource": "/pets/{id}",
        "path": "/pets/a%20b",
        "httpMethod": "GET",
        "headers": {
            "Host": "api.example.com", "Authorization": "t", "X-Multi": "two", "User-Agent": "test/1",
            "X-Amzn-Trace-Id": "Root=1-5759e988-bd862e3fe1be46a994272793",
            "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Port": "80", "X-Forwarded-Proto": "http"
        },
        "queryStringParameters": { "k": "7", "q": "\u{e9}" },
        "pathParameters": { "id": "a%20b" },
        "stageVariables": {},
        "requestContext": {
            "resourceId": context["resourceId"],
            "resourcePath": "/pets/{id}",
            "httpMethod": "GET",
            "extendedRequestId": context["extendedRequestId"],
            "requestTime": context["requestTime"],
            "path": "/pets/a%20b",
            "accountId": "123456789012",
            "protocol": "HTTP/1.1",
            "stage": "$default",
            "domainPrefix": "api",
            "requestTimeEpoch": context["requestTimeEpoch"],
            "requestId": context["requestId"],
            "identity": {
                "cognitoIdentityPoolId": null, "accountId": null, "cognitoIdentityId": null, "caller": null,
                "sourceIp": "127.0.0.1", "principalOrgId": null, "accessKey": null,
                "cognitoAuthenticationType": null, "cognitoAuthenticationProvider": null, "userArn": null,
                "userAgent": "test/1", "user": null
            },
            "domainName": "api.example.com",
            "deploymentId": context["deploymentId"],
            "apiId": "routes"
        }
    })
}

#[test]
fn requests_are_told_in_payload_format_1_0_and_answered_by_policies() {
    let (backend, events) = endpoint(|event| {
        if event["headers"]["Authorization"] == "simple" {
            return Reply::ok(r#"{"isAuthorized":true}"#);
        }
        let statement =
            json!([{ "Effect": "Allow", "Action": "execute-api:Invoke", "Resource": event["methodArn"] }]);
        let policy = json!({ "Version": "2012-10-17", "Statement": statement });
        Reply::ok(json!({ "principalId": "ana", "policyDocument": policy }).to_string())
    });
    let gateway = Gateway::builder().server("cores = 1\n").start(&format!(
        "[functions.auth]\nendpoint_url = \"http://{}\"\n\
         [authorizers.by]\ntype = \"request\"\nfunction = \"auth\"\npayload_format_version = \"1.0\"\n\
         identity_sources = [\"$request.header.authorization\", \"$request.querystring.k\"]\n\
         [routes.pets]\npath = \"/pets/{{id}}\"\nmock_body = \"pet\"\nauthorizer = \"by\"\n",
        backend.addr()
    ));
    let call = |method: &str, path: &str, who: &str| {
        Call::new(method, path).host("api.example.com").header("Authorization", who)
    };
    let first = call("GET", "/pets/a%20b?k=7&q=1&q=%C3%A9", "t")
        .header("X-Multi", "one")
        .header("X-Multi", "two")
        .header("User-Agent", "test/1")
        .header("X-Amzn-Trace-Id", "Root=1-5759e988-bd862e3fe1be46a994272793");
    let response = gateway.call(&first);
    assert_eq!(response.text(), "pet");
    let event = events.lock().unwrap()[0].clone();
    let context = &event["requestContext"];
    assert_eq!(context["requestId"], response.header("x-amzn-requestid").unwrap());
    assert_eq!(event, request_in_payload_format_1_0(context));
    // Kept for the identity, and it was about one route only.
    refused(&gateway.call(&call("POST", "/pets/a%20b?k=7", "t")), 403, "Forbidden");
    assert_eq!(events.lock().unwrap().len(), 1);
    refused(&gateway.call(&call("GET", "/pets/1?k=7", "simple")), 500, "Internal Server Error");
    refused(&gateway.call(&call("GET", "/pets/1", "t")), 401, "Unauthorized");
}

#[test]
fn what_a_configuration_gets_wrong_about_functions() {
    let dir = TempDir::new();
    let check = |config: &str| {
        let file = dir.file("gateway.toml", config);
        let output = sluice_harness::Sluice::output(&["validate", file.to_str().unwrap()]);
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
    };
    for (config, complaint) in [
        ("[routes.a]\npath = \"/\"\nfunction = \"nobody\"\n", ":3:12: error: there is no function `nobody`"),
        (
            "[routes.a]\npath = \"/\"\nfunction = \"a b\"\n",
            ":3:12: error: expected the name or ARN of a function",
        ),
        (
            "[routes.a]\npath = \"/\"\nfunction = \"arn:aws:lambda:r:1:function:f\"\nmock_body = \"x\"\n",
            ":4:13: error: route `a` has both `function` and `mock_…`",
        ),
        (
            "[routes.a]\npath = \"/\"\nmock_body = \"\"\npayload_format_version = \"1.0\"\n",
            ":4:26: error: `payload_format_version` has no use without `function`",
        ),
        ("[authorizers.a]\ntype = \"request\"\n", ": error: [authorizers.a] lacks `function`"),
        ("[authorizers.a]\naudiences = [\"x\"]\n", ": error: [authorizers.a] lacks `issuer`"),
        (
            "[authorizers.a]\ntype = \"request\"\nfunction = \"arn:aws:lambda:r:1:function:f\"\nscopes = [\"x\"]\n",
            ":4:10: error: `scopes` has no use for an authorizer of type \"request\"",
        ),
        (
            "[authorizers.a]\ntype = \"request\"\nfunction = \"arn:aws:lambda:r:1:function:f\"\nttl_s = 5\n",
            ":4:9: error: `ttl_s` has no use without `identity_sources`",
        ),
        (
            "[authorizers.a]\ntype = \"request\"\nfunction = \"arn:aws:lambda:r:1:function:f\"\npayload_format_version = \"1.0\"\nenable_simple_responses = true\n",
            ":5:27: error: `enable_simple_responses` expects `payload_format_version` \"2.0\", found \"1.0\"",
        ),
        (
            "[authorizers.a]\nissuer = \"https://i\"\naudiences = [\"x\"]\npayload_format_version = \"1.0\"\n",
            ":4:26: error: `payload_format_version` has no use for an authorizer of type \"jwt\"",
        ),
        (
            "[authorizers.a]\ntype = \"request\"\nfunction = \"arn:aws:lambda:r:1:function:f\"\nidentity_sources = [\"$request.body.x\"]\n",
            ":4:21: error: expected $request.header.NAME",
        ),
    ] {
        let said = check(config);
        assert!(said.contains(complaint), "{config}\n{said}");
    }
}
