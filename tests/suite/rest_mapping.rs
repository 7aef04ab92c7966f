//! REST APIs: what integrations do to requests and answers.

use serde_json::{Value, json};
use sluice_harness::rest::{RestApi, http_proxy, mock};
use sluice_harness::{Backend, Call, Gateway, Reply};

fn http(uri: &str, fields: Value) -> Value {
    let mut integration = json!({
        "type": "HTTP", "httpMethod": "POST", "uri": uri, "passthroughBehavior": "WHEN_NO_MATCH",
        "timeoutInMillis": 29000,
        "integrationResponses": { "200": { "statusCode": "200" } }
    });
    for (field, value) in fields.as_object().unwrap() {
        integration[field] = value.clone();
    }
    integration
}

/// A gateway with one method at `/{id}` of stage `s`.
fn one(name: &str, integration: Value) -> Gateway {
    let gateway = Gateway::start("");
    let api = RestApi::new("a").method(name, "/{id}", integration);
    gateway.serve_rest(&[api.deploy_with("s", json!({ "variables": { "color": "blue" } }))]);
    gateway
}

fn echo() -> Backend {
    Backend::start(|request| Reply::ok(request.body.clone()).header("x-from", "backend"))
}

#[test]
fn a_mock_maps_templates_parameters_and_status() {
    let gateway = one(
        "ANY",
        json!({
            "type": "MOCK",
            "requestTemplates": {
                "application/json": "{\"statusCode\": #if($input.params('fail') == 'yes')404#{else}200#end}"
            },
            "passthroughBehavior": "NEVER",
            "integrationResponses": {
                "200": {
                    "statusCode": "201",
                    "responseParameters": {
                        "method.response.header.X-Fixed": "'fixed'",
                        "method.response.header.X-Stage": "stageVariables.color",
                        "method.response.header.X-Request": "context.requestId"
                    },
                    "responseTemplates": {
                        "application/json": "{\"id\": \"$input.params('id')\", \"stage\": \"$context.stage\"}"
                    }
                },
                "404": { "statusCode": "404", "selectionPattern": "404" }
            }
        }),
    );
    let response = gateway.rest("a", "s", "/seven");
    assert_eq!(response.status, 201);
    assert_eq!(response.json(), json!({ "id": "seven", "stage": "s" }));
    assert_eq!((response.header("x-fixed"), response.header("x-stage")), (Some("fixed"), Some("blue")));
    assert_eq!(response.header("x-request"), response.header("x-amzn-requestid"));
    assert_eq!(gateway.rest("a", "s", "/seven?fail=yes").status, 404);
    let xml = gateway.call(&Call::post("/_aws/execute-api/a/s/x", "<x/>").header("content-type", "text/xml"));
    xml.assert_refusal(415, "Unsupported Media Type", "BadRequestException");
}

#[test]
fn a_mock_without_a_status_is_a_fault_of_the_api() {
    let mut integration = mock("x");
    integration["requestTemplates"] = json!({ "application/json": "{}" });
    one("GET", integration).rest("a", "s", "/x").assert_refusal(
        500,
        "Internal server error",
        "InternalServerErrorException",
    );
}

#[test]
fn http_maps_the_request_and_the_answer() {
    let backend = echo();
    let uri = format!("http://{}/base/{{id}}", backend.addr());
    let gateway = one(
        "POST",
        http(
            &uri,
            json!({
                "requestParameters": {
                    "integration.request.path.id": "method.request.path.id",
                    "integration.request.querystring.q": "method.request.querystring.from",
                    "integration.request.header.X-Client": "method.request.header.X-Client"
                },
                "requestTemplates": { "application/json": "{\"wrapped\": $input.json('$.a')}" },
                "integrationResponses": {
                    "200": {
                        "statusCode": "202",
                        "responseParameters": {
                            "method.response.header.X-From": "integration.response.header.x-from"
                        },
                        "responseTemplates": { "application/json": "[$input.body]" }
                    }
                }
            }),
        ),
    );
    let call = Call::post("/_aws/execute-api/a/s/a%20b?from=x%26y&other=1", "{\"a\": [1, 2]}");
    let response = gateway.call(
        &call.header("x-client", "me").header("x-other", "no").header("content-type", "application/json"),
    );
    assert_eq!((response.status, response.text().as_str()), (202, "[{\"wrapped\": [1,2]}]"));
    assert_eq!(response.header("x-from"), Some("backend"));
    assert_eq!(response.header("content-type"), Some("application/json"));
    let request = backend.only_request();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/base/a%20b?q=x%26y"));
    assert_eq!(request.header("x-client"), Some("me"));
    assert_eq!(request.header("x-other"), None, "HTTP integrations get what is mapped");
    assert_eq!(request.header("user-agent"), Some("AmazonAPIGateway_a"));
    assert_eq!(request.header("x-amzn-apigateway-api-id"), Some("a"));
}

#[test]
fn answers_are_selected_by_the_backends_status() {
    let backend = Backend::start(|request| {
        let status = request.target.rsplit('/').next().unwrap().parse().unwrap();
        Reply::status(status, "told")
    });
    let uri = format!("http://{}/{{id}}", backend.addr());
    let responses = json!({
        "200": { "statusCode": "200" },
        "400": { "statusCode": "400", "selectionPattern": "4\\d{2}" },
        "502": { "statusCode": "502", "selectionPattern": "5.." }
    });
    let path = json!({ "integration.request.path.id": "method.request.path.id" });
    let gateway = one(
        "GET",
        http(
            &uri,
            json!({ "httpMethod": "GET", "integrationResponses": responses, "requestParameters": path }),
        ),
    );
    for (sent, expected) in [(200, 200), (201, 200), (404, 400), (418, 400), (503, 502)] {
        let response = gateway.rest("a", "s", &format!("/{sent}"));
        assert_eq!((response.status, response.text().as_str()), (expected, "told"), "{sent}");
    }
}

#[test]
fn http_proxy_maps_heads_and_remaps_headers_as_aws_does() {
    let backend = Backend::start(|_| {
        Reply::ok("body")
            .header("Server", "old")
            .header("WWW-Authenticate", "Basic")
            .header("Via", "1.1 x")
            .header("X-Own", "kept")
            .header("x-amzn-RequestId", "theirs")
    });
    let mut integration = http_proxy(&format!("http://{}/{{id}}?own=1", backend.addr()));
    integration["httpMethod"] = json!("PUT");
    integration["requestParameters"]["integration.request.header.X-Added"] = json!("'added'");
    integration["requestParameters"]["integration.request.header.X-Old"] = json!("'new'");
    integration["requestParameters"]["integration.request.querystring.color"] = json!("stageVariables.color");
    let gateway = one("ANY", integration);
    let call = Call::post("/_aws/execute-api/a/s/x%2Fy?color=red&k=v&k=w", "sent")
        .header("x-old", "old")
        .header("content-md5", "x")
        .header("authorization", "AWS4-HMAC-SHA256 Credential=x")
        .header("x-kept", "kept");
    let response = gateway.call(&call);
    assert_eq!((response.status, response.text().as_str()), (200, "body"));
    for (name, value) in [
        ("x-amzn-remapped-server", Some("old")),
        ("server", None),
        ("x-amzn-remapped-www-authenticate", Some("Basic")),
        ("via", None),
        ("x-own", Some("kept")),
        ("x-amzn-remapped-x-amzn-requestid", Some("theirs")),
        ("content-type", Some("application/json")),
    ] {
        assert_eq!(response.header(name), value, "{name}");
    }
    response.assert_request_id();
    let request = backend.only_request();
    assert_eq!(
        (request.method.as_str(), request.target.as_str()),
        ("PUT", "/x%2Fy?own=1&k=v&k=w&color=blue")
    );
    assert_eq!(request.body, b"sent");
    for (name, value) in [
        ("x-added", Some("added")),
        ("x-old", Some("new")),
        ("content-md5", None),
        ("authorization", None),
        ("x-kept", Some("kept")),
        ("x-amzn-apigateway-api-id", Some("a")),
    ] {
        assert_eq!(request.header(name), value, "{name}");
    }
    assert!(request.header("x-amzn-trace-id").is_some_and(|id| id.starts_with("Root=1-")), "{request:?}");
}

#[test]
fn head_gets_no_body_though_the_backend_is_asked_with_get() {
    let backend = Backend::start(|_| Reply::ok("body"));
    let mut integration = http_proxy(&format!("http://{}/", backend.addr()));
    integration["httpMethod"] = json!("GET");
    let gateway = one("ANY", integration);
    let mut conn = gateway.conn();
    for _ in 0..2 {
        let response = conn.call(&Call::new("HEAD", "/_aws/execute-api/a/s/x"));
        assert_eq!((response.status, response.text().as_str()), (200, ""));
    }
}

#[test]
fn mapped_values_cannot_smuggle_lines() {
    let backend = echo();
    let uri = format!("http://{}/", backend.addr());
    let gateway = one(
        "POST",
        http(
            &uri,
            json!({ "requestParameters": { "integration.request.header.X-In": "method.request.body.a" } }),
        ),
    );
    let call =
        Call::post("/_aws/execute-api/a/s/x", "{\"a\": \"1\\r\\nX-Evil: 1\\r\\n\\r\\nGET / HTTP/1.1\"}");
    assert_eq!(gateway.call(&call).status, 200);
    let request = backend.only_request();
    assert_eq!(request.header("x-evil"), None);
    assert_eq!(request.header("x-in"), Some("1  X-Evil: 1    GET / HTTP/1.1"));
}

#[test]
fn an_integration_has_its_timeout() {
    let backend = Backend::wired(|wire| {
        wire.request()?;
        wire.hang();
        Ok(())
    });
    let uri = format!("http://{}/", backend.addr());
    let gateway = one("GET", http(&uri, json!({ "timeoutInMillis": 50, "httpMethod": "GET" })));
    gateway.rest("a", "s", "/x").assert_refusal(
        504,
        "Endpoint request timed out",
        "InternalServerErrorException",
    );
    let mut proxied = http_proxy(&uri);
    proxied["timeoutInMillis"] = json!(50);
    one("GET", proxied).rest("a", "s", "/x").assert_refusal(
        504,
        "Endpoint request timed out",
        "InternalServerErrorException",
    );
}

#[test]
fn large_bodies_are_refused() {
    let backend = echo();
    let gateway = one("POST", http(&format!("http://{}/", backend.addr()), json!({})));
    // It is refused by what it announces.
    let announced = Call::new("POST", "/_aws/execute-api/a/s/x").header("content-length", "10485761");
    assert_eq!(gateway.call(&announced).status, 413);
    let body = vec![b'x'; 1024 * 1024];
    let response = gateway.call(&Call::post("/_aws/execute-api/a/s/x", body.clone()));
    assert_eq!((response.status, response.body.len()), (200, body.len()));
}

#[test]
fn answers_are_compressed_from_the_minimum_size_on() {
    let gateway = Gateway::start("");
    let api = RestApi::new("a")
        .with("minimumCompressionSize", json!(100))
        .method("GET", "/long", mock(&"long ".repeat(100)))
        .method("GET", "/short", mock("short"))
        .deploy("s");
    gateway.serve_rest(&[api]);
    let get = |path: &str, accept: &str| {
        gateway.rest_call("a", "s", path, |call| call.header("accept-encoding", accept))
    };
    let long = get("/long", "deflate;q=0.5, gzip");
    assert_eq!(long.header("content-encoding"), Some("gzip"));
    assert!(long.body.len() < 100 && long.body.starts_with(&[0x1f, 0x8b]), "{long:?}");
    assert_eq!(get("/long", "deflate").header("content-encoding"), Some("deflate"));
    for response in [get("/short", "gzip"), get("/long", "identity"), gateway.rest("a", "s", "/long")] {
        assert_eq!(response.header("content-encoding"), None);
    }
}

#[test]
fn gateway_responses_are_the_apis_own() {
    let gateway = Gateway::start("");
    let responses = json!({
        "MISSING_AUTHENTICATION_TOKEN": {
            "responseType": "MISSING_AUTHENTICATION_TOKEN", "statusCode": "404",
            "responseParameters": { "gatewayresponse.header.X-Why": "'none'" },
            "responseTemplates": { "application/json": "{\"no\":$context.error.messageString,\"stage\":\"$context.stage\"}" }
        },
        "DEFAULT_5XX": {
            "responseType": "DEFAULT_5XX",
            "responseParameters": {}, "responseTemplates": { "text/plain": "oops $context.error.responseType" }
        }
    });
    let mut broken = mock("x");
    broken["requestTemplates"] = json!({});
    let api = RestApi::new("a").with("gatewayResponses", responses).method("GET", "/broken", broken);
    gateway.serve_rest(&[api.deploy("s")]);
    let missing = gateway.rest("a", "s", "/nope");
    assert_eq!(missing.status, 404);
    assert_eq!(missing.json(), json!({ "no": "Missing Authentication Token", "stage": "s" }));
    assert_eq!(missing.header("x-why"), Some("none"));
    assert_eq!(missing.header("x-amzn-errortype"), Some("MissingAuthenticationTokenException"));
    let broken = gateway.rest("a", "s", "/broken");
    assert_eq!((broken.status, broken.text().as_str()), (500, "oops API_CONFIGURATION_ERROR"));
    assert_eq!(broken.header("content-type"), Some("text/plain"));
}

#[test]
fn a_stage_caches_what_its_settings_say() {
    let backend = Backend::start(|request| Reply::ok(request.target.clone()));
    let gateway = Gateway::start("");
    let mut integration = http_proxy(&format!("http://{}/{{id}}", backend.addr()));
    integration["cacheKeyParameters"] = json!(["method.request.querystring.q"]);
    let mapped = http(&format!("http://{}/mapped", backend.addr()), json!({ "httpMethod": "GET" }));
    let serve = |generation: u64, settings: Value| {
        let mut all = json!({ "cachingEnabled": true, "cacheTtlInSeconds": 300 });
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let api = RestApi::new("a").method("GET", "/p/{id}", integration.clone()).method(
            "GET",
            "/m",
            mapped.clone(),
        );
        let fields = json!({
            "cacheClusterEnabled": true, "cacheGeneration": generation, "methodSettings": { "*/*": all }
        });
        gateway.serve_rest(&[api.deploy_with("s", fields)]);
    };
    let get = |path: &str| gateway.rest("a", "s", path);
    serve(0, json!({ "requireAuthorizationForCacheControl": false }));
    for path in ["/p/1?q=1", "/p/1?q=2", "/p/2?q=1", "/m"] {
        assert_eq!(get(path).header("x-cache"), Some("MISS"), "{path}");
        assert_eq!(get(path).header("x-cache"), Some("HIT"), "{path}");
    }
    assert_eq!(get("/p/1?q=1&other=1").header("x-cache"), Some("HIT"), "other is not in the key");
    let fresh =
        |path: &str| gateway.rest_call("a", "s", path, |call| call.header("cache-control", "max-age=0"));
    assert_eq!(fresh("/m").header("x-cache"), Some("MISS"));
    // A flush is another generation.
    serve(1, json!({}));
    assert_eq!((get("/m").header("x-cache"), get("/m").header("x-cache")), (Some("MISS"), Some("HIT")));
    let unauthorized = fresh("/m");
    assert_eq!(unauthorized.header("x-cache"), Some("HIT"));
    assert!(unauthorized.has("warning"));
    serve(1, json!({ "unauthorizedCacheControlHeaderStrategy": "FAIL_WITH_403" }));
    fresh("/m").assert_refusal(403, "Forbidden", "ForbiddenException");
    serve(1, json!({ "unauthorizedCacheControlHeaderStrategy": "SUCCEED_WITHOUT_RESPONSE_HEADER" }));
    assert!(!fresh("/m").has("warning"));
}

#[test]
fn requests_are_validated_before_anything_answers_them() {
    let backend = echo();
    let gateway = Gateway::start("");
    let validated = |body: bool| {
        json!({
            "requestValidatorId": if body { "all" } else { "params" },
            "requestParameters": { "method.request.querystring.q": true, "method.request.header.X-Need": true },
            "requestModels": { "application/json": "Pet" }
        })
    };
    let schema = r#"{"type":"object","required":["name"],"properties":{"name":{"type":"string"}}}"#;
    let proxy = http_proxy(&format!("http://{}/", backend.addr()));
    let api = RestApi::new("a")
        .with("models", json!({ "Pet": { "id": "m", "name": "Pet", "schema": schema, "contentType": "application/json" } }))
        .with("requestValidators", json!({
            "all": { "id": "all", "name": "all", "validateRequestBody": true, "validateRequestParameters": false },
            "params": { "id": "params", "name": "params", "validateRequestBody": false, "validateRequestParameters": true }
        }))
        .method_with("GET", "/params", mock("yes"), validated(false))
        .method_with("POST", "/mock", mock("yes"), validated(true))
        .method_with("POST", "/proxy", proxy, validated(true));
    gateway.serve_rest(&[api.deploy("s")]);
    let missing = gateway.rest("a", "s", "/params?q=1");
    missing.assert_refusal(400, "Missing required request parameters: [X-Need]", "BadRequestException");
    assert_eq!(gateway.rest_call("a", "s", "/params?q=1", |call| call.header("x-need", "1")).status, 200);
    for path in ["/mock", "/proxy"] {
        let post = |body: &str| {
            let call = Call::post(&format!("/_aws/execute-api/a/s{path}"), body);
            gateway.call(&call.header("content-type", "application/json"))
        };
        for wrong in ["", "{}", "{\"name\": 1}", "not json"] {
            post(wrong).assert_refusal(400, "Invalid request body", "BadRequestException");
        }
        assert_eq!(post("{\"name\": \"Rex\"}").status, 200, "{path}");
    }
    assert_eq!(backend.hits(), 1);
    assert_eq!(backend.only_request().body, b"{\"name\": \"Rex\"}");
}

/// Bodies that a core does not work on itself are mapped as small ones are.
#[test]
fn large_bodies_are_validated_mapped_and_compressed_the_same() {
    let backend = echo();
    let uri = format!("http://{}/", backend.addr());
    let integration = http(
        &uri,
        json!({
            "requestTemplates": { "application/json": "{\"n\": $input.path('$.items').size(), \"all\": $input.json('$.items')}" },
            "integrationResponses": {
                "200": { "statusCode": "200", "responseTemplates": { "application/json": "[$input.json('$.n'), $input.json('$.all')]" } }
            }
        }),
    );
    let model = json!({ "Items": { "id": "m", "name": "Items", "contentType": "application/json",
        "schema": "{\"type\": \"object\", \"required\": [\"items\"]}" } });
    let gateway = Gateway::start("");
    let api = RestApi::new("a")
        .with("models", model)
        .with("requestValidators", json!({ "v": { "id": "v", "name": "v", "validateRequestBody": true } }))
        .with("minimumCompressionSize", json!(1000))
        .method_with(
            "POST",
            "/",
            integration,
            json!({
                "requestValidatorId": "v", "requestModels": { "application/json": "Items" }
            }),
        );
    gateway.serve_rest(&[api.deploy("s")]);
    let items: Vec<String> = (0..20_000).map(|n| format!("\"item number {n}\"")).collect();
    let items = format!("[{}]", items.join(","));
    let post = |body: &str, coding: &str| {
        let call = Call::post("/_aws/execute-api/a/s/", body.to_owned());
        gateway.call(&call.header("content-type", "application/json").header("accept-encoding", coding))
    };
    let body = format!("{{\"items\": {items}}}");
    assert!(body.len() > 256 * 1024);
    let plain = post(&body, "identity");
    assert_eq!(plain.status, 200, "{plain:?}");
    assert_eq!(plain.text(), format!("[20000, {items}]"));
    let packed = post(&body, "gzip");
    assert_eq!((packed.status, packed.header("content-encoding")), (200, Some("gzip")));
    assert_eq!(packed.header("vary"), Some("Accept-Encoding"));
    assert!(packed.body.len() < plain.body.len() / 4 && packed.body.starts_with(&[0x1f, 0x8b]));
    let wrong = body.replacen("\"items\"", "\"other\"", 1);
    post(&wrong, "identity").assert_refusal(400, "Invalid request body", "BadRequestException");
    let broken = format!("{body}}}");
    post(&broken, "identity").assert_refusal(400, "Invalid request body", "BadRequestException");
}

/// Nanoseconds of CPU that the threads beside the cores have had.
fn apart_ns(gateway: &Gateway) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap();
    let read =
        |task: &std::path::Path, what: &str| std::fs::read_to_string(task.join(what)).unwrap_or_default();
    tasks
        .map(|task| task.unwrap().path())
        .filter(|task| read(task, "comm").trim() == "sluice-mapping")
        .map(|task| read(&task, "schedstat").split(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

/// What takes long must not be done by a core: others would wait for it.
#[test]
fn templates_that_take_long_run_beside_the_cores() {
    const LONG: &str = "#foreach($a in [1..100])#foreach($b in [1..1000])#set($n = $a * $b)#end#end";
    const ENDLESS: &str =
        "#foreach($a in [1..1000])#foreach($b in [1..1000])#foreach($c in [1..1000])#end#end#end";
    let backend = echo();
    let uri = format!("http://{}/", backend.addr());
    let long = |text: &str| json!({ "application/json": format!("{LONG}{text}") });
    let mut waits = mock("x");
    waits["requestTemplates"] = long("{\"statusCode\": 200}");
    let mut answers = mock("x");
    answers["integrationResponses"]["200"]["responseTemplates"] = long("$n");
    let mut never = mock("x");
    never["requestTemplates"] = json!({ "application/json": format!("{ENDLESS}{{\"statusCode\": 200}}") });
    let both = http(
        &uri,
        json!({
            "requestTemplates": long("{\"n\": $n, \"a\": $input.json('$.a')}"),
            "integrationResponses": { "200": { "statusCode": "200", "responseTemplates": long("[$input.body, $n]") } }
        }),
    );
    let gateway = Gateway::start("");
    let api = RestApi::new("a")
        .method("ANY", "/quick", mock("quick"))
        .method("ANY", "/waits", waits)
        .method("ANY", "/answers", answers)
        .method("ANY", "/never", never)
        .method("POST", "/both", both);
    gateway.serve_rest(&[api.deploy("s")]);
    let post = |path: &str, body: &'static str| {
        gateway.call(
            &Call::post(&format!("/_aws/execute-api/a/s{path}"), body)
                .header("content-type", "application/json"),
        )
    };
    // What hundreds of thousands of steps take at least, by far.
    const LONG_NS: u64 = 1_000_000;
    let before_ns = apart_ns(&gateway);
    for (answer, expected) in [
        (gateway.rest("a", "s", "/waits"), "x"),
        (post("/waits", "{}"), "x"),
        (gateway.rest("a", "s", "/answers"), "100000"),
        (post("/answers", "{}"), "100000"),
        (post("/both", "{\"a\": [1]}"), "[{\"n\": 100000, \"a\": [1]}, 100000]"),
    ] {
        assert_eq!((answer.status, answer.text().as_str()), (200, expected));
    }
    let had_ns = apart_ns(&gateway) - before_ns;
    assert!(had_ns > 6 * LONG_NS, "{had_ns}");
    gateway.rest("a", "s", "/never").assert_refusal(
        500,
        "Internal server error",
        "InternalServerErrorException",
    );
    assert!(apart_ns(&gateway) - before_ns > had_ns + LONG_NS);
    let had_ns = apart_ns(&gateway);
    assert_eq!(gateway.rest("a", "s", "/quick").text(), "quick");
    // But for what a worker does after it has handed its work over.
    assert!(apart_ns(&gateway) - had_ns < LONG_NS, "what is quick is done where it is");
}
