//! REST APIs: Lambda functions behind methods, hosted by the gateway or behind an Invoke endpoint.

use serde_json::{Value, json};
use sluice_harness::rest::{RestApi, catalog, lambda};
use sluice_harness::{
    Backend, Call, Gateway, Reply, Response, Sluice, TempDir, eventually, python, skip, tool,
};

/// What most tests call: it answers as its event says.
const NODE: &str = r#"
const fs = require('fs')
exports.echo = async (event) => ({ statusCode: 200, body: JSON.stringify(event) })
exports.answer = async (event) => JSON.parse(event.body)
exports.tutorial = function (event, context, callback) {
  switch (event.httpMethod) {
    case 'GET':
      callback(null, { statusCode: '200', headers: { 'Content-Type': 'application/json' }, body: '{"users":[]}' })
      break
    default:
      callback(null, { statusCode: '405', body: JSON.stringify(`Unsupported method "${event.httpMethod}"`) })
  }
}
exports.fails = async (event) => { throw new TypeError('no luck') }
exports.sleeps = async (event) => { await new Promise((resolve) => setTimeout(resolve, 60000)) }
exports.dies = async (event) => {
  if (event.headers['x-die']) process.kill(process.pid, 'SIGKILL')
  await new Promise((resolve) => setTimeout(resolve, event.headers['x-die'] ? 60000 : 0))
  return { body: String(process.pid) }
}
exports.writes = async (event) => { fs.writeFileSync(process.env.NOTE, JSON.stringify(event)); console.log('wrote it') }
"#;

struct Lambda {
    gateway: Gateway,
    dir: TempDir,
}

/// One function for each handler, called like it.
fn hosted(handlers: &[&str], more: &str) -> Lambda {
    let dir = TempDir::new();
    dir.file("index.js", NODE);
    let mut config = more.to_owned();
    for handler in handlers {
        config.push_str(&format!(
            "[functions.{handler}]\nruntime = \"node\"\nhandler = \"index.{handler}\"\ndirectory = {:?}\nenvironment = [\"NOTE={}\"]\ninit_timeout_ms = 60000\ntimeout_ms = {}\n",
            dir.path(),
            dir.path().join("note").display(),
            if *handler == "sleeps" { 500 } else { 60_000 },
        ));
    }
    Lambda { gateway: Gateway::start(&config), dir }
}

impl Lambda {
    /// An API `a` with the stage `s`, on which `ANY /{handler}` is each function.
    fn serve(&self, handlers: &[&str]) {
        let mut api = RestApi::new("a").with("binaryMediaTypes", json!(["image/png"]));
        for handler in handlers {
            api = api.method("ANY", &format!("/{handler}"), lambda("AWS_PROXY", handler));
        }
        self.gateway.serve_rest(&[api.deploy("s")]);
    }

    fn call(&self, path: &str, with: impl FnOnce(Call) -> Call) -> Response {
        self.gateway.rest_call("a", "s", path, with)
    }

    /// What the function `answer` makes the gateway answer.
    fn answer(&self, answer: &str, accept: &str) -> Response {
        let call = |call: Call| call.header("accept", accept).body(answer);
        self.gateway.call(&call(Call::post("/restapis/a/s/_user_request_/answer", "")))
    }
}

fn post(path: &str, body: impl Into<Vec<u8>>) -> Call {
    Call::post(&format!("/restapis/a/s/_user_request_{path}"), body)
}

#[track_caller]
fn failed(response: &Response) {
    response.assert_refusal(502, "Internal server error", "InternalServerErrorException");
}

/// What `an_event_has_every_field_of_payload_format_1_0` calls with; times and one id are as they were told.
fn event_of_the_call(host: &str, context: &Value, request_id: &str) -> Value {
    json!({
        "resource": "/users/{id}/{rest+}",
        "path": "/users/a%2Fb/x/y%20z",
        "httpMethod": "PUT",
        "headers": {
            "Host": host, "Accept": "*/*", "X-Multi": "two", "User-Agent": "test/1", "Content-Type": "text/plain",
            "X-Amzn-Trace-Id": "Root=1-5759e988-bd862e3fe1be46a994272793",
            "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Port": "80", "X-Forwarded-Proto": "http"
        },
        "multiValueHeaders": {
            "Host": [host], "Accept": ["*/*"], "X-Multi": ["one", "two"], "User-Agent": ["test/1"],
            "Content-Type": ["text/plain"],
            "X-Amzn-Trace-Id": ["Root=1-5759e988-bd862e3fe1be46a994272793"],
            "X-Forwarded-For": ["127.0.0.1"], "X-Forwarded-Port": ["80"], "X-Forwarded-Proto": ["http"]
        },
        "queryStringParameters": { "q": "\u{e9}", "p": "two words" },
        "multiValueQueryStringParameters": { "q": ["1", "\u{e9}"], "p": ["two words"] },
        "pathParameters": { "id": "a%2Fb", "rest": "x/y%20z" },
        "stageVariables": { "alias": "live", "table": "users" },
        "requestContext": {
            "resourceId": "/users/{id}/{rest+}",
            "resourcePath": "/users/{id}/{rest+}",
            "httpMethod": "PUT",
            "extendedRequestId": context["extendedRequestId"],
            "requestTime": context["requestTime"],
            "path": "/s/users/a%2Fb/x/y%20z",
            "accountId": "210987654321",
            "protocol": "HTTP/1.1",
            "stage": "s",
            "domainPrefix": "a",
            "requestTimeEpoch": context["requestTimeEpoch"],
            "requestId": request_id,
            "identity": {
                "cognitoIdentityPoolId": null, "accountId": null, "cognitoIdentityId": null, "caller": null,
                "sourceIp": "127.0.0.1", "principalOrgId": null, "accessKey": null,
                "cognitoAuthenticationType": null, "cognitoAuthenticationProvider": null, "userArn": null,
                "userAgent": "test/1", "user": null
            },
            "domainName": host,
            "deploymentId": "d0",
            "apiId": "a"
        },
        "body": "hello \u{e9}",
        "isBase64Encoded": false
    })
}

#[test]
fn an_event_has_every_field_of_payload_format_1_0() {
    let name = "an_event_has_every_field_of_payload_format_1_0";
    if tool("node").is_none() {
        skip!(name, "node is not installed");
    }
    let lambda_of = hosted(&["echo"], "[aws]\naccount_id = \"210987654321\"\n");
    let api = RestApi::new("a")
        .with("binaryMediaTypes", json!(["image/png"]))
        .method("ANY", "/users/{id}/{rest+}", lambda("AWS_PROXY", "echo:${stageVariables.alias}"))
        .deploy_with("s", json!({ "variables": { "alias": "live", "table": "users" } }));
    lambda_of.gateway.serve_rest(&[api]);
    let response = lambda_of.gateway.call(
        &Call::new("PUT", "/s/users/a%2Fb/x/y%20z?q=1&p=two+words&q=%C3%A9")
            .host("a.execute-api.us-east-1.amazonaws.com")
            .header("Accept", "*/*")
            .header("X-Multi", "one")
            .header("X-Multi", "two")
            .header("User-Agent", "test/1")
            .header("Content-Type", "text/plain")
            .header("X-Amzn-Trace-Id", "Root=1-5759e988-bd862e3fe1be46a994272793")
            .body("hello \u{e9}"),
    );
    assert_eq!(response.status, 200, "{response:?}");
    let event = response.json();
    let context = &event["requestContext"];
    let host = "a.execute-api.us-east-1.amazonaws.com";
    let expected = event_of_the_call(host, context, response.header("x-amzn-requestid").unwrap());
    assert_eq!(event, expected, "{event:#}");
    assert!(context["requestTimeEpoch"].as_u64().unwrap() > 1_600_000_000_000);
    assert!(context["requestTime"].as_str().unwrap().ends_with(" +0000"));
}

#[test]
fn what_is_not_there_is_null_and_binary_bodies_are_base64() {
    let name = "what_is_not_there_is_null_and_binary_bodies_are_base64";
    if tool("node").is_none() {
        skip!(name, "node is not installed");
    }
    let lambda = hosted(&["echo"], "");
    lambda.serve(&["echo"]);
    let event = lambda.call("/echo", |call| call).json();
    for field in [
        "queryStringParameters",
        "multiValueQueryStringParameters",
        "pathParameters",
        "stageVariables",
        "body",
    ] {
        assert_eq!(event.get(field), Some(&Value::Null), "{field}: {event:#}");
    }
    assert_eq!(event["isBase64Encoded"], json!(false));
    let bytes = [0_u8, 255, 1, 2];
    let binary = lambda.gateway.call(&post("/echo", bytes).header("content-type", "image/png")).json();
    assert_eq!((&binary["body"], &binary["isBase64Encoded"]), (&json!("AP8BAg=="), &json!(true)));
    let text = lambda.gateway.call(&post("/echo", "x").header("content-type", "image/jpeg")).json();
    assert_eq!((&text["body"], &text["isBase64Encoded"]), (&json!("x"), &json!(false)));
}

#[test]
fn a_custom_domains_path_is_the_clients_and_a_key_is_in_the_identity() {
    let name = "a_custom_domains_path_is_the_clients_and_a_key_is_in_the_identity";
    if tool("node").is_none() {
        skip!(name, "node is not installed");
    }
    let lambda_of = hosted(&["echo"], "");
    let api = RestApi::new("a")
        .method_with("GET", "/x", lambda("AWS_PROXY", "echo"), json!({ "apiKeyRequired": true }))
        .deploy("s");
    let mut all = catalog(&[api]);
    all["domainNames"] = json!({ "api.example.com": {
        "domainName": "api.example.com",
        "basePathMappings": { "v1": { "basePath": "v1", "restApiId": "a", "stage": "s" } }
    } });
    let key = "a-key-of-twenty-characters";
    all["apiKeys"] = json!({ "k": { "id": "k", "name": "k", "value": key, "enabled": true } });
    all["usagePlans"] = json!({ "p": {
        "id": "p", "name": "p", "apiStages": [{ "apiId": "a", "stage": "s" }],
        "keys": { "k": { "id": "k", "type": "API_KEY" } }
    } });
    lambda_of.gateway.serve_catalog(&all);
    let call = Call::get("/v1/x").host("api.example.com").header("x-api-key", key);
    let event = lambda_of.gateway.call(&call).json();
    assert_eq!(event["path"], json!("/v1/x"), "{event:#}");
    let identity = &event["requestContext"]["identity"];
    assert_eq!((&identity["apiKey"], &identity["apiKeyId"]), (&json!(key), &json!("k")));
}

#[test]
fn answers_become_responses() {
    let name = "answers_become_responses";
    if tool("node").is_none() {
        skip!(name, "node is not installed");
    }
    let lambda = hosted(&["answer"], "");
    lambda.serve(&["answer"]);
    let made = lambda.answer(
        r#"{"statusCode":"201","headers":{"X-A":"1","X-B":2,"Date":"never","Content-Type":"text/plain"},"multiValueHeaders":{"Set-Cookie":["a=b","c=d"]},"body":"made"}"#,
        "*/*",
    );
    assert_eq!((made.status, made.text().as_str()), (201, "made"), "{made:?}");
    assert_eq!((made.header("x-a"), made.header("x-b")), (Some("1"), Some("2")));
    assert_eq!(made.head.all("set-cookie"), ["a=b", "c=d"]);
    assert_eq!(made.header("content-type"), Some("text/plain"));
    assert_eq!(made.header("x-amzn-remapped-date"), Some("never"));
    let bare = lambda.answer("{}", "*/*");
    assert_eq!((bare.status, bare.header("content-type")), (200, Some("application/json")));
    let picture =
        r#"{"statusCode":200,"headers":{"Content-Type":"image/png"},"isBase64Encoded":true,"body":"AP8B"}"#;
    assert_eq!(lambda.answer(picture, "image/png").body, [0, 255, 1]);
    assert_eq!(lambda.answer(picture, "text/html").text(), "AP8B");
    for malformed in [
        "null",
        "\"text\"",
        "[1]",
        r#"{"statusCode":200,"message":"x"}"#,
        r#"{"body":{"a":1}}"#,
        r#"{"statusCode":"abc"}"#,
    ] {
        failed(&lambda.answer(malformed, "*/*"));
    }
    let metrics = lambda.gateway.metrics();
    assert!(metrics.sum("sluice_refusals_total", &[("reason", "function_failed")]) >= 6.0);
}

#[test]
fn a_handler_of_the_tutorials_form_answers() {
    let name = "a_handler_of_the_tutorials_form_answers";
    if tool("node").is_none() {
        skip!(name, "node is not installed");
    }
    let lambda = hosted(&["tutorial"], "");
    lambda.serve(&["tutorial"]);
    assert_eq!(lambda.call("/tutorial", |call| call).text(), r#"{"users":[]}"#);
    let other = lambda.gateway.call(&Call::new("DELETE", "/restapis/a/s/_user_request_/tutorial"));
    assert_eq!((other.status, other.text().as_str()), (405, r#""Unsupported method \"DELETE\"""#));
}

#[test]
fn errors_timeouts_and_deaths_are_502_and_the_next_call_is_answered() {
    let name = "errors_timeouts_and_deaths_are_502_and_the_next_call_is_answered";
    if tool("node").is_none() {
        skip!(name, "node is not installed");
    }
    let lambda_of = hosted(&["fails", "sleeps", "dies"], "");
    let api = RestApi::new("a")
        .method("GET", "/fails", lambda("AWS_PROXY", "fails"))
        .method("GET", "/sleeps", lambda("AWS_PROXY", "sleeps"))
        .method("GET", "/dies", lambda("AWS_PROXY", "dies"))
        .deploy("s");
    lambda_of.gateway.serve_rest(&[api]);
    failed(&lambda_of.call("/fails", |call| call));
    // The function's own time is up, not the integration's.
    failed(&lambda_of.call("/sleeps", |call| call));
    let before = lambda_of.call("/dies", |call| call);
    assert_eq!(before.status, 200, "{before:?}");
    failed(&lambda_of.call("/dies", |call| call.header("x-die", "1")));
    let after = lambda_of.call("/dies", |call| call);
    assert_eq!(after.status, 200, "{after:?}");
    assert_ne!(before.text(), after.text(), "another process");
}

#[test]
fn an_integrations_timeout_is_504() {
    let backend = Backend::wired(|wire| {
        let _ = wire.request()?;
        wire.hang();
        Ok(())
    });
    let config = format!("[functions.slow]\nendpoint_url = \"http://{}\"\n", backend.addr());
    let gateway = Gateway::start(&config);
    let mut slow = lambda("AWS_PROXY", "slow");
    slow["timeoutInMillis"] = json!(50);
    gateway.serve_rest(&[RestApi::new("a").method("GET", "/", slow).deploy("s")]);
    let response = gateway.rest("a", "s", "/");
    response.assert_refusal(504, "Endpoint request timed out", "InternalServerErrorException");
}

#[test]
fn an_event_invocation_is_answered_at_once_and_runs() {
    let name = "an_event_invocation_is_answered_at_once_and_runs";
    if tool("node").is_none() {
        skip!(name, "node is not installed");
    }
    let lambda_of = hosted(&["writes"], "");
    let mut integration = lambda("AWS", "writes");
    integration["requestParameters"] =
        json!({ "integration.request.header.X-Amz-Invocation-Type": "'Event'" });
    integration["requestTemplates"] = json!({ "application/json": "{\"got\": $input.json('$')}" });
    integration["integrationResponses"] = json!({
        "200": { "statusCode": "200", "responseTemplates": { "application/json": "{\"queued\": true}" } }
    });
    lambda_of.gateway.serve_rest(&[RestApi::new("a").method("POST", "/", integration).deploy("s")]);
    let response = lambda_of.gateway.call(&post("/", "{\"a\":1}").header("content-type", "application/json"));
    assert_eq!((response.status, response.text().as_str()), (200, "{\"queued\": true}"), "{response:?}");
    let note = lambda_of.dir.path().join("note");
    let written = eventually("the function has run", || {
        std::fs::read_to_string(&note).ok().filter(|text| text.ends_with('}'))
    });
    assert_eq!(written, "{\"got\":{\"a\":1}}");
    let admin = lambda_of.gateway.admin().to_string();
    eventually("its line is in the log", || {
        let logs = Sluice::output(&["functions", "logs", "writes", "--admin", &admin]);
        String::from_utf8_lossy(&logs.stdout).contains(" out wrote it").then_some(())
    });
}

#[test]
fn functions_that_are_not_there_are_500_and_named_on_standard_error() {
    let gateway = Gateway::builder()
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        .start("");
    gateway.serve_rest(&[RestApi::new("a").method("GET", "/", lambda("AWS_PROXY", "nobody")).deploy("s")]);
    let response = gateway.rest("a", "s", "/");
    response.assert_refusal(500, "Internal server error", "InternalServerErrorException");
    let line = gateway.wait_for_line(0, "there is no function `nobody`");
    assert!(line.contains("rest API a/s GET /"), "{line}");
}

#[test]
fn functions_elsewhere_are_invoked_as_aws_has_it() {
    let backend = Backend::start(|request| match request.target.as_str() {
        "/2015-03-31/functions/ok/invocations" | "/2015-03-31/functions/ok/invocations?Qualifier=live" => {
            Reply::ok(r#"{"statusCode":200,"body":"from elsewhere"}"#)
        }
        "/2015-03-31/functions/bad/invocations" => {
            Reply::ok(r#"{"errorMessage":"x"}"#).header("X-Amz-Function-Error", "Unhandled")
        }
        _ => Reply::status(429, r#"{"message":"Rate Exceeded."}"#),
    });
    let at = format!("endpoint_url = \"http://{}\"\n", backend.addr());
    let config = format!(
        "[functions.ok]\n{at}[functions.bad]\n{at}[functions.busy]\n{at}\
         [credentials.default]\naccess_key_id = \"AKID\"\nsecret_access_key = \"secret\"\nsession_token = \"token\"\n"
    );
    let gateway = Gateway::start(&config);
    let api = RestApi::new("a")
        .method("GET", "/ok", lambda("AWS_PROXY", "ok"))
        .method("GET", "/alias", lambda("AWS_PROXY", "ok:live"))
        .method("GET", "/bad", lambda("AWS_PROXY", "bad"))
        .method("GET", "/busy", lambda("AWS_PROXY", "busy"));
    gateway.serve_rest(&[api.deploy("s")]);
    let ok = gateway.rest("a", "s", "/ok");
    assert_eq!((ok.status, ok.text().as_str()), (200, "from elsewhere"), "{ok:?}");
    let asked = backend.only_request();
    assert_eq!(asked.method, "POST");
    let authorization = asked.header("authorization").unwrap();
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKID/"), "{authorization}");
    assert!(authorization.contains("/us-east-1/lambda/aws4_request"), "{authorization}");
    assert_eq!(asked.header("x-amz-security-token"), Some("token"));
    assert_eq!(gateway.rest("a", "s", "/alias").text(), "from elsewhere");
    failed(&gateway.rest("a", "s", "/bad"));
    let busy = gateway.rest("a", "s", "/busy");
    busy.assert_refusal(500, "Internal server error", "InternalServerErrorException");
}

#[test]
fn the_command_line_lists_and_invokes() {
    let name = "the_command_line_lists_and_invokes";
    if tool("node").is_none() {
        skip!(name, "node is not installed");
    }
    let lambda = hosted(&["answer", "fails"], "");
    let admin = lambda.gateway.admin().to_string();
    let run = |arguments: &[&str]| {
        let output = Sluice::output(&[arguments, &["--admin", &admin]].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let payload = r#"{"body":"{\"a\":1}"}"#;
    let (code, out) = run(&["functions", "invoke", "answer", "--payload", payload]);
    assert_eq!((code, out.as_str()), (Some(0), "{\"a\":1}\n"));
    assert_eq!(run(&["functions", "invoke", "fails"]).0, Some(1));
    assert_eq!(run(&["functions", "invoke", "nobody"]).0, Some(1));
    let (_, list) = run(&["functions", "list"]);
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1], ["answer", "1", "0", "0", "0", "1", "0", "0"], "{list}");
    assert_eq!(rows[2][..1], ["fails"], "{list}");
    assert_eq!(rows[2][5..], ["1", "1", "0"], "{list}");
}

#[test]
fn functions_follow_the_configuration() {
    let name = "functions_follow_the_configuration";
    if tool("node").is_none() {
        skip!(name, "node is not installed");
    }
    let dir = TempDir::new();
    dir.file("index.js", "exports.h = async () => ({ body: `${process.env.WHO} ${process.pid}` })");
    let config = |who: &str| {
        let of = |function: &str, who: &str| {
            format!(
                "[functions.{function}]\nruntime = \"node\"\nhandler = \"index.h\"\ndirectory = {:?}\nenvironment = [\"WHO={who}\"]\ninit_timeout_ms = 60000\n",
                dir.path()
            )
        };
        format!("{}{}", of("same", "same"), of("new", who))
    };
    let gateway = Gateway::start(&config("one"));
    let api = RestApi::new("a")
        .method("GET", "/same", lambda("AWS_PROXY", "same"))
        .method("GET", "/new", lambda("AWS_PROXY", "new"))
        .deploy("s");
    gateway.serve_rest(&[api]);
    let call = |path: &str| gateway.rest("a", "s", path).text();
    let same = call("/same");
    assert!(call("/new").starts_with("one "));
    gateway.write_config(&config("two"));
    assert_eq!(gateway.reload().status, 200);
    assert!(call("/new").starts_with("two "));
    assert_eq!(call("/same"), same, "what has not changed keeps its instances");
    gateway.write_config(
        "[functions.same]\nruntime = \"node\"\nhandler = \"index.h\"\ndirectory = \"/nowhere\"\n",
    );
    let refused = gateway.reload();
    assert_eq!(refused.status, 422, "{refused:?}");
    assert!(refused.text().contains(":4:13: "), "{}", refused.text());
    assert_eq!(call("/same"), same);
}

#[test]
fn python_functions_answer() {
    let name = "python_functions_answer";
    if tool("python3").is_none() {
        skip!(name, "python3 is not installed");
    }
    let dir = TempDir::new();
    dir.file(
        "app.py",
        "import json\ndef handler(event, context):\n    return {'statusCode': 200, 'body': json.dumps({'name': context.function_name, 'path': event['path']})}\n",
    );
    let gateway = Gateway::start(&format!(
        "[functions.py]\nruntime = \"python\"\nhandler = \"app.handler\"\ndirectory = {:?}\ninit_timeout_ms = 60000\n",
        dir.path()
    ));
    gateway.serve_rest(&[RestApi::new("a").method("GET", "/p", lambda("AWS_PROXY", "py")).deploy("s")]);
    let response = gateway.rest("a", "s", "/p");
    assert_eq!(response.json(), json!({ "name": "py", "path": "/p" }), "{response:?}");
}

#[test]
fn nobody_invokes_without_the_token_and_clients_of_aws_need_a_signature() {
    let name = "nobody_invokes_without_the_token_and_clients_of_aws_need_a_signature";
    if tool("node").is_none() {
        skip!(name, "node is not installed");
    }
    let lambda = hosted(&["echo"], "");
    let path = "/2015-03-31/functions/echo/invocations";
    let unsigned =
        lambda.gateway.admin_call(Call::post(path, "{}").header("content-type", "application/json"));
    assert_eq!(unsigned.status, 403, "{unsigned:?}");
    let open = hosted(&["echo"], "[aws]\ndevelopment = true\n");
    let signed =
        open.gateway.admin_call(Call::post(path, "{\"a\":1}").header("content-type", "application/json"));
    assert_eq!(signed.json()["body"], json!("{\"a\":1}"), "{signed:?}");
    let unknown = open.gateway.admin_call(
        Call::post("/2015-03-31/functions/nobody/invocations", "{}")
            .header("content-type", "application/json"),
    );
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.header("x-amzn-errortype"), Some("ResourceNotFoundException"));
}

#[test]
fn a_function_behind_templates_and_selection_patterns() {
    let name = "a_function_behind_templates_and_selection_patterns";
    if tool("node").is_none() {
        skip!(name, "node is not installed");
    }
    let dir = TempDir::new();
    dir.file(
        "index.js",
        "exports.h = async (event) => {
           if (event.id === 'gone') throw new Error('[404] no such user')
           if (event.id === 'bad') throw new Error(JSON.stringify({ code: 7, why: 'bad id' }))
           if (event.id === 'oops') throw new Error('something\\nelse')
           return { id: event.id, stage: event.stage, errorMessage: undefined }
         }",
    );
    let gateway = Gateway::start(&format!(
        "[functions.f]\nruntime = \"node\"\nhandler = \"index.h\"\ndirectory = {:?}\ninit_timeout_ms = 60000\n",
        dir.path()
    ));
    let mut integration = lambda("AWS", "f");
    integration["requestTemplates"] = json!({
        "application/json": "{\"id\": \"$input.params('id')\", \"stage\": \"$context.stage\"}"
    });
    let response = |status: &str, pattern: Option<&str>, template: &str| {
        let mut response =
            json!({ "statusCode": status, "responseTemplates": { "application/json": template } });
        if let Some(pattern) = pattern {
            response["selectionPattern"] = json!(pattern);
        }
        response
    };
    integration["integrationResponses"] = json!({
        "200": response("200", None, "#set($root = $input.path('$'))user $root.id of $root.stage"),
        "404": response("404", Some("\\[404\\].*"), "{\"message\": $input.json('$.errorMessage')}"),
        "400": response("400", Some(".*\"code\":7.*"), "#set($e = $util.parseJson($input.path('$.errorMessage')))$e.why"),
        "500": response("500", Some("(\\n|.)+"), "failed"),
    });
    gateway.serve_rest(&[RestApi::new("a").method("GET", "/users/{id}", integration).deploy("s")]);
    let call = |id: &str| {
        let response = gateway.rest("a", "s", &format!("/users/{id}"));
        (response.status, response.text())
    };
    assert_eq!(call("7"), (200, "user 7 of s".to_owned()));
    assert_eq!(call("gone"), (404, "{\"message\": \"[404] no such user\"}".to_owned()));
    assert_eq!(call("bad"), (400, "bad id".to_owned()));
    assert_eq!(call("oops"), (500, "failed".to_owned()));
}

#[test]
fn awss_own_python_client_runs_as_a_provided_runtime() {
    let name = "awss_own_python_client_runs_as_a_provided_runtime";
    let Some(python) = python("awslambdaric") else {
        skip!(name, "python3 lacks awslambdaric (cargo xtask test installs it from PyPI)");
    };
    let dir = TempDir::new();
    dir.file(
        "app.py",
        "def handler(event, context):\n    return {'statusCode': 200, 'body': f'{context.function_name} {event[\"httpMethod\"]}'}\n",
    );
    let bootstrap = dir.file(
        "bootstrap",
        &format!("#!/bin/sh\ncd \"$LAMBDA_TASK_ROOT\"\nexec {:?} -m awslambdaric \"$_HANDLER\"\n", python),
    );
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&bootstrap, executable).unwrap();
    let gateway = Gateway::start(&format!(
        "[functions.ric]\nruntime = \"provided\"\nhandler = \"app.handler\"\ndirectory = {:?}\ninit_timeout_ms = 60000\ntimeout_ms = 60000\n",
        dir.path()
    ));
    gateway.serve_rest(&[RestApi::new("a").method("GET", "/", lambda("AWS_PROXY", "ric")).deploy("s")]);
    let response = gateway.rest("a", "s", "/");
    assert_eq!((response.status, response.text().as_str()), (200, "ric GET"), "{response:?}");
}
