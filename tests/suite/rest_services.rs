//! REST APIs: services of AWS behind methods (integration type AWS), against moto's server.

use serde_json::{Value, json};
use sluice_harness::rest::RestApi;
use sluice_harness::{Backend, Call, Gateway, Reply, Response, TempDir, eventually, skip, target_dir};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

const ROLE: &str = "arn:aws:iam::123456789012:role/gateway";

/// moto's server, on a port that it picks.
struct Moto {
    process: Child,
    address: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn moto_python() -> Option<PathBuf> {
    target_dir().map(|target| target.join("moto-venv/bin/python3")).filter(|python| python.is_file())
}

impl Moto {
    fn start(python: &PathBuf, dir: &TempDir) -> Self {
        let mut process = Command::new(python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"])
            .env("AWS_ACCESS_KEY_ID", "any")
            .env("AWS_SECRET_ACCESS_KEY", "any")
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("moto says where it listens").unwrap();
            if let Some((_, address)) = line.split_once("Running on http://") {
                break address.trim().to_owned();
            }
        };
        // Its log goes on; nobody who reads it would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        eventually("moto accepts", || TcpStream::connect(&address).ok());
        Self { process, address }
    }

    /// Asks a service as a client would, without a signature.
    fn ask(&self, service: &str, target: &str, body: &Value) -> Value {
        let address = self.address.parse().unwrap();
        let credential = format!(
            "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let call = Call::post("/", body.to_string())
            .host(&self.address)
            .header("authorization", &credential)
            .header("x-amz-target", target)
            .header("content-type", "application/x-amz-json-1.0");
        let response = sluice_harness::conn::fetch(address, &call);
        assert_eq!(response.status, 200, "{response:?}");
        response.json()
    }
}

fn gateway(services: &[&str], address: &str) -> Gateway {
    let mut config = format!(
        "[credentials.gateway]\naccess_key_id = \"AKIDGATEWAY\"\nsecret_access_key = \"secret\"\nroles = [\"{ROLE}\"]\n"
    );
    for service in services {
        config.push_str(&format!("[services.{service}]\nendpoint_url = \"http://{address}\"\n"));
    }
    Gateway::start(&config)
}

/// An integration of type AWS.
fn service(method: &str, target: &str, more: Value) -> Value {
    let mut integration = json!({
        "type": "AWS",
        "httpMethod": method,
        "uri": format!("arn:aws:apigateway:us-east-1:{target}"),
        "credentials": ROLE,
        "passthroughBehavior": "WHEN_NO_MATCH",
        "integrationResponses": { "200": { "statusCode": "200" } }
    });
    for (field, value) in more.as_object().unwrap() {
        integration[field] = value.clone();
    }
    integration
}

fn post(gateway: &Gateway, path: &str, body: &str) -> Response {
    let call = Call::post(&format!("/restapis/a/s/_user_request_{path}"), body);
    gateway.call(&call.header("content-type", "application/json"))
}

/// MISSION's "202 with a queue".
#[test]
fn a_message_is_put_on_a_queue_and_answered_202() {
    let name = "a_message_is_put_on_a_queue_and_answered_202";
    let Some(python) = moto_python() else {
        skip!(name, "moto is not there (cargo xtask setup brings it from PyPI)");
    };
    let dir = TempDir::new();
    let moto = Moto::start(&python, &dir);
    let made = moto.ask("sqs", "AmazonSQS.CreateQueue", &json!({ "QueueName": "orders" }));
    let integration = service(
        "POST",
        "sqs:path/123456789012/orders",
        json!({
            "requestParameters": {
                "integration.request.header.Content-Type": "'application/x-www-form-urlencoded'"
            },
            "requestTemplates": {
                "application/json": "Action=SendMessage&MessageBody=$util.urlEncode($input.body)"
            },
            "integrationResponses": { "202": {
                "statusCode": "202",
                "responseTemplates": { "application/json": "{\"accepted\": true}" }
            } }
        }),
    );
    let gateway = gateway(&["sqs"], &moto.address);
    gateway.serve_rest(&[RestApi::new("a").method("POST", "/orders", integration).deploy("s")]);
    let response = post(&gateway, "/orders", r#"{"order": 7, "note": "a&b=c"}"#);
    assert_eq!((response.status, response.text().as_str()), (202, "{\"accepted\": true}"), "{response:?}");
    let received = moto.ask("sqs", "AmazonSQS.ReceiveMessage", &json!({ "QueueUrl": made["QueueUrl"] }));
    assert_eq!(received["Messages"][0]["Body"], json!(r#"{"order": 7, "note": "a&b=c"}"#), "{received}");
}

#[test]
fn items_are_put_and_read_through_templates() {
    let name = "items_are_put_and_read_through_templates";
    let Some(python) = moto_python() else {
        skip!(name, "moto is not there (cargo xtask setup brings it from PyPI)");
    };
    let dir = TempDir::new();
    let moto = Moto::start(&python, &dir);
    let table = json!({
        "TableName": "profiles",
        "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
        "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
        "BillingMode": "PAY_PER_REQUEST"
    });
    moto.ask("dynamodb", "DynamoDB_20120810.CreateTable", &table);
    let put = service(
        "POST",
        "dynamodb:action/PutItem",
        json!({
            "requestTemplates": { "application/json":
                "{\"TableName\": \"profiles\", \"Item\": {\"id\": {\"S\": \"$input.params('id')\"}, \"name\": {\"S\": $input.json('$.name')}}}" },
            "integrationResponses": { "200": { "statusCode": "200",
                "responseTemplates": { "application/json": "{\"saved\": \"$input.params('id')\"}" } } }
        }),
    );
    let get = service(
        "POST",
        "dynamodb:action/GetItem",
        json!({
            "requestTemplates": { "application/json":
                "{\"TableName\": \"profiles\", \"Key\": {\"id\": {\"S\": \"$input.params('id')\"}}}" },
            "integrationResponses": { "200": { "statusCode": "200", "responseTemplates": { "application/json":
                "#set($item = $input.path('$.Item')){\"id\": \"$item.id.S\", \"name\": \"$item.name.S\"}" } } }
        }),
    );
    let gateway = gateway(&["dynamodb"], &moto.address);
    let api = RestApi::new("a").method("PUT", "/profiles/{id}", put).method("GET", "/profiles/{id}", get);
    gateway.serve_rest(&[api.deploy("s")]);
    let saved = gateway.call(
        &Call::new("PUT", "/restapis/a/s/_user_request_/profiles/ada")
            .header("content-type", "application/json")
            .body(r#"{"name": "Ada Lovelace"}"#),
    );
    assert_eq!((saved.status, saved.text().as_str()), (200, "{\"saved\": \"ada\"}"), "{saved:?}");
    let read = gateway.rest("a", "s", "/profiles/ada");
    assert_eq!(read.json(), json!({ "id": "ada", "name": "Ada Lovelace" }), "{read:?}");
}

#[test]
fn objects_are_put_and_read_by_path() {
    let name = "objects_are_put_and_read_by_path";
    let Some(python) = moto_python() else {
        skip!(name, "moto is not there (cargo xtask setup brings it from PyPI)");
    };
    let dir = TempDir::new();
    let moto = Moto::start(&python, &dir);
    let bucket = Call::new("PUT", "/files").host(&moto.address).body("");
    let made = sluice_harness::conn::fetch(moto.address.parse().unwrap(), &bucket);
    assert_eq!(made.status, 200, "{made:?}");
    let key = json!({ "integration.request.path.key": "method.request.path.key" });
    let answers = json!({
        "200": { "statusCode": "200", "responseParameters": {
            "method.response.header.ETag": "integration.response.header.ETag"
        } },
        "404": { "statusCode": "404", "selectionPattern": "404" }
    });
    let of = |method: &str| {
        let more = json!({ "requestParameters": key, "integrationResponses": answers });
        service(method, "s3:path/files/{key}", more)
    };
    let gateway = gateway(&["s3"], &moto.address);
    let api =
        RestApi::new("a").method("PUT", "/files/{key}", of("PUT")).method("GET", "/files/{key}", of("GET"));
    gateway.serve_rest(&[api.deploy("s")]);
    let at = "/restapis/a/s/_user_request_/files/a%20b.txt";
    let put = gateway.call(&Call::new("PUT", at).header("content-type", "text/plain").body("the content"));
    assert_eq!(put.status, 200, "{put:?}");
    assert!(put.header("etag").is_some(), "{put:?}");
    let read = gateway.rest("a", "s", "/files/a%20b.txt");
    assert_eq!((read.status, read.text().as_str()), (200, "the content"), "{read:?}");
    assert_eq!(gateway.rest("a", "s", "/files/none").status, 404);
}

/// What moto does not look at.
#[test]
fn requests_are_signed_for_the_service_and_its_action() {
    let backend = Backend::start(|_| Reply::ok("{}"));
    let gateway = gateway(&["states", "sns", "s3"], &backend.addr().to_string());
    let publish = json!({ "requestParameters": {
        "integration.request.querystring.Message": "method.request.body"
    } });
    let api = RestApi::new("a")
        .method("POST", "/run", service("POST", "states:action/StartExecution", json!({})))
        .method("POST", "/tell", service("POST", "sns:action/Publish", publish))
        .method("GET", "/list", service("GET", "s3:path/files?list-type=2", json!({})));
    gateway.serve_rest(&[api.deploy("s")]);
    let signed_for = |header: &str| header.split('/').nth(3).unwrap_or_default().to_owned();
    assert_eq!(post(&gateway, "/run", "{\"input\":\"x\"}").status, 200);
    let run = backend.last_request();
    assert_eq!(run.header("x-amz-target"), Some("AWSStepFunctions.StartExecution"));
    assert_eq!(run.header("content-type"), Some("application/x-amz-json-1.0"));
    let authorization = run.header("authorization").unwrap();
    assert!(authorization.contains("Credential=AKIDGATEWAY/"), "{authorization}");
    assert_eq!(signed_for(authorization), "states");
    assert!(
        authorization.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-target"),
        "{authorization}"
    );
    assert_eq!(post(&gateway, "/tell", "hello world").status, 200);
    let tell = backend.last_request();
    assert!(
        tell.target.starts_with("/?Action=Publish&Version=2010-03-31&Message=hello%20world"),
        "{}",
        tell.target
    );
    assert_eq!(gateway.rest("a", "s", "/list").status, 200);
    let list = backend.last_request();
    assert_eq!(list.target, "/files?list-type=2");
    assert_eq!(
        list.header("x-amz-content-sha256"),
        Some("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    );
}

#[test]
fn without_credentials_a_service_is_not_asked() {
    let backend = Backend::start(|_| Reply::ok("{}"));
    let gateway = Gateway::builder()
        .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        .env("AWS_ACCESS_KEY_ID", "")
        .start(&format!("[services.other]\nendpoint_url = \"http://{}\"\n", backend.addr()));
    let api = RestApi::new("a").method("POST", "/", service("POST", "dynamodb:action/PutItem", json!({})));
    gateway.serve_rest(&[api.deploy("s")]);
    let response = post(&gateway, "/", "{}");
    response.assert_refusal(500, "Internal server error", "InternalServerErrorException");
    let line = gateway.wait_for_line(0, "no credentials");
    assert!(line.contains("dynamodb") && line.contains(ROLE), "{line}");
}
