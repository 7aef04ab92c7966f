//! REST APIs: Lambda authorizers. The function is played by a server of Lambda's Invoke API.

use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use sluice_harness::rest::{RestApi, catalog, mock};
use sluice_harness::{Backend, Call, Gate, Gateway, Reply, Request, Response};

/// Answers by what the token or the header `x-do` says.
fn decide(request: &Request) -> Reply {
    let event: Value = serde_json::from_slice(&request.body).unwrap();
    let arn = event["methodArn"].as_str().unwrap();
    let said = event["authorizationToken"].as_str().or_else(|| event["headers"]["x-do"].as_str());
    let (word, rest) = said.unwrap_or("allow").split_once(' ').unwrap_or((said.unwrap_or("allow"), ""));
    let policy = |effect: &str, resource: &str| {
        json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": effect, "Action": "execute-api:Invoke", "Resource": resource }] })
    };
    let vouched = |document: Value| {
        let context = json!({ "tier": "gold", "number": 7, "flag": true });
        let answer = json!({
            "principalId": "ana", "policyDocument": document, "context": context,
            "usageIdentifierKey": if rest.is_empty() { Value::Null } else { json!(rest) }
        });
        Reply::ok(answer.to_string())
    };
    let failed = |message: &str| {
        Reply::ok(json!({ "errorMessage": message, "errorType": "Error" }).to_string())
            .header("X-Amz-Function-Error", "Unhandled")
    };
    match word {
        "allow" => vouched(policy("Allow", "*")),
        "only" => vouched(policy("Allow", arn)),
        "deny" => vouched(policy("Deny", arn)),
        "other" => vouched(policy("Allow", &format!("{arn}/other"))),
        "unauthorized" => failed("Unauthorized"),
        "crash" => failed("no luck"),
        "throttled" => Reply::status(429, "{}"),
        "malformed" => Reply::ok("{\"principalId\": \"ana\"}"),
        "words" => Reply::ok("Unauthorized"),
        other => panic!("{other}"),
    }
}

fn gateway(function: &Backend) -> Gateway {
    Gateway::start(&format!(
        "[aws]\ndevelopment = true\n[functions.auth]\nendpoint_url = \"http://{}\"\n",
        function.addr()
    ))
}

fn authorizer(id: &str, kind: &str, more: Value) -> Value {
    let arn = "arn:aws:lambda:us-east-1:123456789012:function:auth";
    let mut whole = json!({
        "id": id, "name": id, "type": kind,
        "authorizerUri": format!("arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{arn}/invocations"),
        "identitySource": "method.request.header.Authorization"
    });
    whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    whole
}

fn custom(id: &str) -> Value {
    json!({ "authorizationType": "CUSTOM", "authorizerId": id })
}

/// `GET /x`, `POST /x` and `GET /y` behind one authorizer.
fn api(authorizer: Value) -> RestApi {
    let id = authorizer["id"].as_str().unwrap().to_owned();
    let template = "$context.authorizer.principalId $context.authorizer.tier $context.authorizer.number $context.authorizer.flag";
    RestApi::new("a")
        .with("authorizers", json!({ id.as_str(): authorizer }))
        .method_with("GET", "/x", mock(template), custom(&id))
        .method_with("POST", "/x", mock(template), custom(&id))
        .method_with("GET", "/y", mock(template), custom(&id))
}

fn ask(gateway: &Gateway, method: &str, path: &str, token: &str) -> Response {
    let call = Call::new(method, &format!("/restapis/a/s/_user_request_{path}"));
    gateway.call(&if token.is_empty() { call } else { call.header("authorization", token) })
}

const ALL: &str = "ana gold 7 true";
const DENIED: &str = "User is not authorized to access this resource";

#[track_caller]
fn assert_denied(response: &Response, message: &str) {
    assert_eq!((response.status, response.header("x-amzn-errortype")), (403, Some("AccessDeniedException")));
    assert_eq!(response.json(), json!({ "Message": message }));
}

#[track_caller]
fn assert_broken(response: &Response) {
    assert_eq!((response.status, response.text().as_str()), (500, "{\"message\":null}"));
    assert_eq!(response.header("x-amzn-errortype"), Some("AuthorizerConfigurationException"));
}

#[test]
fn a_token_is_judged_by_the_function() {
    let function = Backend::start(decide);
    let gateway = gateway(&function);
    let validation = json!({ "identityValidationExpression": "[a-z]+( .*)?" });
    gateway.serve_rest(&[api(authorizer("t", "TOKEN", validation)).deploy("s")]);
    let x = |token: &str| ask(&gateway, "GET", "/x", token);
    assert_eq!(x("allow").text(), ALL);
    assert_denied(&x("deny"), &format!("{DENIED} with an explicit deny"));
    assert_denied(&x("other"), DENIED);
    x("unauthorized").assert_refusal(401, "Unauthorized", "UnauthorizedException");
    for token in ["crash", "throttled", "malformed", "words"] {
        assert_broken(&x(token));
    }
    // A failure is not kept.
    let hits = function.hits();
    assert_broken(&x("crash"));
    assert_eq!(function.hits(), hits + 1);
    // Neither of these asks the function.
    for token in ["", "ALLOW", "allow1"] {
        x(token).assert_refusal(401, "Unauthorized", "UnauthorizedException");
    }
    let twice = Call::get("/restapis/a/s/_user_request_/x").header("authorization", "allow");
    assert_eq!(gateway.call(&twice.header("authorization", "allow")).status, 401);
    assert_eq!(function.hits(), hits + 1);
}

#[test]
fn the_events_are_awss() {
    let function = Backend::start(decide);
    let gateway = gateway(&function);
    gateway.serve_rest(&[api(authorizer("t", "TOKEN", json!({}))).deploy("s")]);
    assert_eq!(ask(&gateway, "GET", "/x", "allow").status, 200);
    let event: Value = serde_json::from_slice(&function.last_request().body).unwrap();
    let arn = "arn:aws:execute-api:us-east-1:123456789012:a/s/GET/x";
    assert_eq!(event, json!({ "type": "TOKEN", "methodArn": arn, "authorizationToken": "allow" }));
    gateway.serve_rest(&[api(authorizer("r", "REQUEST", json!({}))).deploy("s")]);
    let call = Call::new("POST", "/restapis/a/s/_user_request_/x?q=1&q=2");
    assert_eq!(gateway.call(&call.header("authorization", "allow").body("{}")).status, 200);
    let event: Value = serde_json::from_slice(&function.last_request().body).unwrap();
    assert_eq!(event["type"], "REQUEST");
    assert_eq!(event["methodArn"], "arn:aws:execute-api:us-east-1:123456789012:a/s/POST/x");
    assert_eq!(
        (&event["resource"], &event["path"], &event["httpMethod"]),
        (&json!("/x"), &json!("/x"), &json!("POST"))
    );
    assert_eq!(event["headers"]["authorization"], "allow");
    assert_eq!(event["multiValueQueryStringParameters"], json!({ "q": ["1", "2"] }));
    assert_eq!(event["pathParameters"], Value::Null);
    let context = &event["requestContext"];
    assert_eq!((&context["apiId"], &context["stage"]), (&json!("a"), &json!("s")));
    assert_eq!(context["identity"]["sourceIp"], "127.0.0.1");
    assert!(event.get("body").is_none() && context.get("authorizer").is_none(), "{event}");
}

#[test]
fn an_answer_is_kept_for_the_identity_and_not_for_the_method() {
    let function = Backend::start(decide);
    let gateway = gateway(&function);
    gateway.serve_rest(&[api(authorizer("t", "TOKEN", json!({}))).deploy("s")]);
    for _ in 0..3 {
        assert_eq!(ask(&gateway, "GET", "/x", "only").status, 200);
    }
    assert_eq!(function.hits(), 1);
    // The policy allows what it was asked about first; so it is with AWS, and so the operator is warned.
    assert_denied(&ask(&gateway, "POST", "/x", "only"), DENIED);
    assert_denied(&ask(&gateway, "GET", "/y", "only"), DENIED);
    assert_eq!(function.hits(), 1);
    gateway.wait_for_line(0, "sluice: warning: rest API a/s: authorizer t: statement 1 allows only");
    let flush = Call::new("DELETE", "/restapis/a/stages/s/cache/authorizers").header("x-sluice-admin", "1");
    let flush = gateway.admin_call(flush);
    assert_eq!(flush.status, 202, "{flush:?}");
    assert_eq!(ask(&gateway, "GET", "/y", "only").status, 200);
    assert_eq!(function.hits(), 2);
    // Without keeping, each method is asked about.
    let off = json!({ "authorizerResultTtlInSeconds": 0 });
    gateway.serve_rest(&[api(authorizer("t", "TOKEN", off)).deploy("s")]);
    for (method, path) in [("GET", "/x"), ("POST", "/x"), ("GET", "/y"), ("GET", "/x")] {
        assert_eq!(ask(&gateway, method, path, "only").status, 200);
    }
    assert_eq!(function.hits(), 6);
}

#[test]
fn callers_of_one_identity_share_one_question() {
    let gate = Arc::new(Gate::new());
    let opened = Arc::clone(&gate);
    let function = Backend::start(move |request| {
        opened.wait();
        decide(request)
    });
    let gateway = gateway(&function);
    gateway.serve_rest(&[api(authorizer("t", "TOKEN", json!({}))).deploy("s")]);
    thread::scope(|scope| {
        let calls: Vec<_> =
            (0..8).map(|_| scope.spawn(|| ask(&gateway, "GET", "/x", "allow").text())).collect();
        sluice_harness::eventually("the function to be asked", || (function.connections() > 0).then_some(()));
        gate.open();
        for call in calls {
            assert_eq!(call.join().unwrap(), ALL);
        }
    });
    assert_eq!(function.hits(), 1);
}

#[test]
fn an_identity_has_all_of_its_sources() {
    let function = Backend::start(decide);
    let gateway = gateway(&function);
    let sources =
        "method.request.header.X-Who, method.request.querystring.tenant,context.stage , stageVariables.v";
    let whole = api(authorizer("r", "REQUEST", json!({ "identitySource": sources })));
    gateway.serve_rest(&[whole.deploy_with("s", json!({ "variables": { "v": "1" } })).deploy("t")]);
    let call =
        |stage: &str, who: &str, query: &str| {
            let path = format!("/x{query}");
            gateway.rest_call("a", stage, &path, |call| {
                if who.is_empty() { call } else { call.header("x-who", who) }
            })
        };
    assert_eq!(call("s", "a", "?tenant=1").status, 200);
    assert_eq!(call("s", "a", "?tenant=1&more").status, 200);
    assert_eq!(function.hits(), 1);
    // These are other identities.
    assert_eq!((call("s", "a", "?tenant=2").status, call("s", "a1", "?tenant=").status), (200, 401));
    assert_eq!((call("s", "b", "?tenant=1").status, function.hits()), (200, 3));
    for response in [call("s", "", "?tenant=1"), call("s", "a", ""), call("t", "a", "?tenant=1")] {
        response.assert_refusal(401, "Unauthorized", "UnauthorizedException");
    }
    assert_eq!(function.hits(), 3);
    // Without sources and without keeping, everybody is asked about.
    let none = json!({ "identitySource": "", "authorizerResultTtlInSeconds": 0 });
    gateway.serve_rest(&[api(authorizer("r", "REQUEST", none)).deploy("s")]);
    let does = |word: &str| gateway.rest_call("a", "s", "/x", |call| call.header("x-do", word)).status;
    assert_eq!((does("allow"), does("deny"), does("unauthorized")), (200, 403, 401));
    assert_eq!(function.hits(), 6);
}

#[test]
fn the_function_names_the_key_of_a_usage_plan() {
    let function = Backend::start(decide);
    let gateway = gateway(&function);
    const KEY: &str = "a-key-of-twenty-characters";
    let mut fields = custom("t");
    fields["apiKeyRequired"] = json!(true);
    let api = RestApi::new("a")
        .with("apiKeySource", json!("AUTHORIZER"))
        .with("authorizers", json!({ "t": authorizer("t", "TOKEN", json!({})) }))
        .method_with("GET", "/x", mock("$context.identity.apiKey $context.identity.apiKeyId"), fields)
        .deploy("s");
    let mut catalog = catalog(&[api]);
    catalog["apiKeys"] = json!({ "k1": { "id": "k1", "name": "k1", "value": KEY, "enabled": true } });
    catalog["usagePlans"] = json!({ "p1": {
        "id": "p1", "name": "plan", "apiStages": [{ "apiId": "a", "stage": "s" }],
        "keys": { "k1": { "id": "k1", "type": "API_KEY" } },
        "throttle": { "burstLimit": 2, "rateLimit": 0.001 }
    }});
    gateway.serve_catalog(&catalog);
    let with_key = format!("allow {KEY}");
    assert!(ask(&gateway, "GET", "/x", &with_key).text().starts_with(KEY));
    assert_eq!(ask(&gateway, "GET", "/x", &with_key).status, 200);
    let over = ask(&gateway, "GET", "/x", &with_key);
    over.assert_refusal(429, "Too Many Requests", "TooManyRequestsException");
    for token in ["allow", "allow another"] {
        ask(&gateway, "GET", "/x", token).assert_refusal(403, "Forbidden", "ForbiddenException");
    }
    // What the caller sends itself does not count.
    let sent = gateway
        .rest_call("a", "s", "/x", |call| call.header("authorization", "allow").header("x-api-key", KEY));
    assert_eq!(sent.status, 403);
}

#[test]
fn a_resource_policy_can_refuse_before_the_function_is_asked() {
    let function = Backend::start(decide);
    let gateway = gateway(&function);
    let serve = |effect: &str, resource: &str| {
        let policy = json!({ "Statement": [
            { "Effect": effect, "Principal": "*", "Action": "execute-api:Invoke", "Resource": resource }] });
        let api = api(authorizer("t", "TOKEN", json!({}))).with("policy", json!(policy.to_string()));
        gateway.serve_rest(&[api.deploy("s")]);
    };
    serve("Deny", "execute-api:/s/GET/x");
    let denied = ask(&gateway, "GET", "/x", "allow");
    assert_eq!(denied.status, 403);
    assert!(denied.text().contains("with an explicit deny"), "{}", denied.text());
    assert_eq!(function.hits(), 0);
    assert_eq!(ask(&gateway, "GET", "/y", "allow").status, 200);
    // One of the two is enough, where neither denies.
    serve("Allow", "execute-api:/s/GET/x");
    assert_eq!(ask(&gateway, "GET", "/x", "other").status, 200);
    assert_denied(&ask(&gateway, "GET", "/y", "other"), DENIED);
}

#[test]
fn a_function_that_cannot_be_reached_lets_nobody_in() {
    let mut function = Backend::start(decide);
    let gateway = gateway(&function);
    gateway.serve_rest(&[api(authorizer("t", "TOKEN", json!({}))).deploy("s")]);
    assert_eq!(ask(&gateway, "GET", "/x", "allow").status, 200);
    function.stop();
    assert_eq!(ask(&gateway, "GET", "/x", "allow").status, 200, "it is known already");
    assert_broken(&ask(&gateway, "GET", "/x", "deny"));
    let mut conn = gateway.conn();
    for _ in 0..2 {
        let call = Call::new("POST", "/restapis/a/s/_user_request_/x").header("authorization", "deny");
        assert_eq!(conn.call(&call.body("a body that nobody reads")).status, 500);
    }
}

/// TestInvokeAuthorizer.
fn try_out(gateway: &Gateway, id: &str, request: &Value) -> Response {
    let call = Call::new("POST", &format!("/restapis/a/authorizers/{id}"));
    gateway.admin_call(call.header("content-type", "application/json").body(request.to_string()))
}

/// The same; its answer, which must be good.
#[track_caller]
fn tried(gateway: &Gateway, id: &str, request: Value) -> Value {
    let response = try_out(gateway, id, &request);
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

/// What the function was asked, in order.
type Events = Arc<Mutex<Vec<Value>>>;

/// A gateway with authorizers of each kind that no method names.
fn untried() -> (Gateway, Backend, Events) {
    let events = Events::default();
    let seen = Arc::clone(&events);
    let function = Backend::start(move |request| {
        seen.lock().unwrap().push(serde_json::from_slice(&request.body).unwrap());
        decide(request)
    });
    let gateway = gateway(&function);
    let request = json!({ "identitySource": "method.request.header.x-do, method.request.querystring.q" });
    let pools =
        json!({ "providerARNs": ["arn:aws:cognito-idp:us-east-1:123456789012:userpool/us-east-1_Ab12"] });
    let authorizers = json!({
        "token": authorizer("token", "TOKEN", json!({ "identityValidationExpression": "[a-z]+" })),
        "request": authorizer("request", "REQUEST", request),
        "pool": authorizer("pool", "COGNITO_USER_POOLS", pools)
    });
    gateway.serve_rest(&[RestApi::new("a")
        .with("authorizers", authorizers)
        .method("GET", "/x", mock("x"))
        .deploy("s")]);
    (gateway, function, events)
}

#[test]
fn an_authorizer_is_tried_before_it_is_deployed() {
    let (gateway, _function, events) = untried();
    let said = tried(&gateway, "token", json!({ "headers": { "Authorization": "allow" } }));
    assert_eq!((&said["clientStatus"], &said["principalId"]), (&json!(0), &json!("ana")));
    let policy: Value = serde_json::from_str(said["policy"].as_str().unwrap()).unwrap();
    assert_eq!(policy["Statement"][0]["Effect"], "Allow");
    assert!(said["latency"].is_u64());
    let log = said["log"].as_str().unwrap();
    for words in [
        "Starting authorizer: ",
        "Endpoint request body after transformations: {\"type\":\"TOKEN\"",
        "Authorizer result body before parsing: {",
        "Using valid authorizer policy for principal: ana\n",
    ] {
        assert!(log.contains(words), "{words}: {log}");
    }
    assert!(log.ends_with("Successfully completed authorizer execution\n"), "{log}");
    let event = events.lock().unwrap().remove(0);
    assert_eq!((&event["type"], &event["authorizationToken"]), (&json!("TOKEN"), &json!("allow")));
    assert_eq!(event["methodArn"], "arn:aws:execute-api:us-east-1:123456789012:a/ESTestInvoke-stage/GET/");

    // What the policy says of this request is not asked.
    let said = tried(&gateway, "token", json!({ "headers": { "Authorization": "deny" } }));
    assert_eq!((&said["clientStatus"], &said["principalId"]), (&json!(0), &json!("ana")));
    for (headers, status) in [
        (json!({}), 401),
        (json!({ "Authorization": "ALLOW" }), 401),
        (json!({ "Authorization": "unauthorized" }), 401),
        (json!({ "Authorization": "crash" }), 500),
        (json!({ "Authorization": "throttled" }), 500),
        (json!({ "Authorization": "malformed" }), 500),
    ] {
        let said = tried(&gateway, "token", json!({ "headers": headers }));
        assert_eq!((&said["clientStatus"], said.get("principalId")), (&json!(status), None), "{said}");
        assert!(said["log"].as_str().unwrap().contains(&format!("status: {status}\n")), "{said}");
    }

    events.lock().unwrap().clear();
    let asked = json!({
        "headers": { "x-do": "allow" }, "pathWithQueryString": "/pets/7?q=1", "stageVariables": { "v": "1" }, "body": "x"
    });
    assert_eq!(tried(&gateway, "request", asked)["clientStatus"], 0);
    let event = events.lock().unwrap().remove(0);
    assert_eq!((&event["type"], &event["path"]), (&json!("REQUEST"), &json!("/pets/7")));
    assert_eq!(
        (&event["queryStringParameters"], &event["stageVariables"]),
        (&json!({ "q": "1" }), &json!({ "v": "1" }))
    );
}

#[test]
fn an_authorizer_that_cannot_be_tried_is_refused() {
    let (gateway, _function, events) = untried();
    for (id, request, status) in [
        ("nobody", json!({}), 404),
        ("pool", json!({}), 501),
        ("token", json!({ "additionalContext": { "a": "b" } }), 400),
        ("token", json!({ "headers": { "a b": "1" } }), 400),
    ] {
        assert_eq!(try_out(&gateway, id, &request).status, status, "{id} {request}");
    }
    assert!(events.lock().unwrap().is_empty());
}
