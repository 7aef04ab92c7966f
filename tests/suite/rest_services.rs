//! REST APIs: services of AWS behind methods (integration type AWS), against moto's server.

use serde_json::{Value, json};
use sluice_harness::rest::RestApi;
use sluice_harness::{Backend, Call, Gateway, Moto, Reply, Response, skip};

const ROLE: &str = "arn:aws:iam::123456789012:role/gateway";

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
    let Some(moto) = Moto::start() else {
        skip!(name, "moto is not there (cargo xtask setup brings it from PyPI)");
    };
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
    let Some(moto) = Moto::start() else {
        skip!(name, "moto is not there (cargo xtask setup brings it from PyPI)");
    };
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
    let Some(moto) = Moto::start() else {
        skip!(name, "moto is not there (cargo xtask setup brings it from PyPI)");
    };
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

/// `<name>text</name>` in XML.
fn tag<'x>(xml: &'x str, name: &str) -> &'x str {
    let found = xml.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once('<'));
    found.map_or_else(|| panic!("no {name} in {xml}"), |(text, _)| text)
}

#[test]
fn a_topic_tells_its_subscribers() {
    let name = "a_topic_tells_its_subscribers";
    let Some(moto) = Moto::start() else {
        skip!(name, "moto is not there (cargo xtask setup brings it from PyPI)");
    };
    let queue = moto.queue("subscriber");
    let made = moto.query("sns", "Action=CreateTopic&Version=2010-03-31&Name=orders");
    let topic = tag(&made, "TopicArn").to_owned();
    moto.query(
        "sns",
        &format!(
            "Action=Subscribe&Version=2010-03-31&TopicArn={topic}&Protocol=sqs&Endpoint=arn:aws:sqs:us-east-1:123456789012:subscriber"
        ),
    );
    // As with SQS a form: moto looks at nothing else of a POST.
    let form = format!(
        "Action=Publish&Version=2010-03-31&TopicArn=$util.urlEncode('{topic}')&Message=$util.urlEncode($input.body)"
    );
    let publish = json!({
        "requestParameters": {
            "integration.request.header.Content-Type": "'application/x-www-form-urlencoded'"
        },
        "requestTemplates": { "application/json": form },
        "integrationResponses": {
            "200": { "statusCode": "200" },
            "502": { "statusCode": "502", "selectionPattern": "[45]\\d{2}" }
        }
    });
    let gateway = gateway(&["sns"], &moto.address);
    let integration = service("POST", "sns:path/", publish);
    gateway.serve_rest(&[RestApi::new("a").method("POST", "/orders", integration).deploy("s")]);
    let response = post(&gateway, "/orders", r#"{"order": "7 & 8"}"#);
    assert_eq!(response.status, 200, "{response:?}");
    let told = moto.message(&queue);
    assert_eq!(told["Message"], json!(r#"{"order": "7 & 8"}"#), "{told}");
    assert_eq!(told["TopicArn"], json!(topic));
}

#[test]
fn records_are_put_on_a_stream() {
    let name = "records_are_put_on_a_stream";
    let Some(moto) = Moto::start() else {
        skip!(name, "moto is not there (cargo xtask setup brings it from PyPI)");
    };
    let kinesis =
        |action: &str, body: Value| moto.ask("kinesis", &format!("Kinesis_20131202.{action}"), &body);
    kinesis("CreateStream", json!({ "StreamName": "clicks", "ShardCount": 1 }));
    let put = json!({ "requestTemplates": { "application/json":
        "{\"StreamName\": \"clicks\", \"Data\": \"$util.base64Encode($input.body)\", \"PartitionKey\": $input.json('$.user')}" } });
    let gateway = gateway(&["kinesis"], &moto.address);
    let integration = service("POST", "kinesis:action/PutRecord", put);
    gateway.serve_rest(&[RestApi::new("a").method("POST", "/clicks", integration).deploy("s")]);
    let response = post(&gateway, "/clicks", r#"{"user": "ada", "at": "\u00fcber"}"#);
    assert_eq!(response.status, 200, "{response:?}");
    let shard = response.json()["ShardId"].clone();
    let start = json!({ "StreamName": "clicks", "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON" });
    let from = kinesis("GetShardIterator", start);
    let read = kinesis("GetRecords", json!({ "ShardIterator": from["ShardIterator"] }));
    let record = &read["Records"][0];
    assert_eq!(record["PartitionKey"], json!("ada"), "{read}");
    let expected = "eyJ1c2VyIjogImFkYSIsICJhdCI6ICJcdTAwZmNiZXIifQ==";
    assert_eq!(record["Data"], json!(expected), "the body as it came");
}

#[test]
fn events_reach_the_targets_of_rules() {
    let name = "events_reach_the_targets_of_rules";
    let Some(moto) = Moto::start() else {
        skip!(name, "moto is not there (cargo xtask setup brings it from PyPI)");
    };
    let queue = moto.queue("target");
    let events = |action: &str, body: Value| moto.ask("events", &format!("AWSEvents.{action}"), &body);
    let pattern = json!({ "source": ["shop"] }).to_string();
    events("PutRule", json!({ "Name": "of-the-shop", "EventPattern": pattern }));
    let target = json!([{ "Id": "1", "Arn": "arn:aws:sqs:us-east-1:123456789012:target" }]);
    events("PutTargets", json!({ "Rule": "of-the-shop", "Targets": target }));
    let put = json!({
        "requestTemplates": { "application/json":
            "{\"Entries\": [{\"Source\": \"shop\", \"DetailType\": \"order\", \"Detail\": \"$util.escapeJavaScript($input.body)\"}]}" },
        "integrationResponses": { "202": { "statusCode": "202" } }
    });
    let gateway = gateway(&["events"], &moto.address);
    let integration = service("POST", "events:action/PutEvents", put);
    gateway.serve_rest(&[RestApi::new("a").method("POST", "/events", integration).deploy("s")]);
    let response = post(&gateway, "/events", r#"{"order": 7, "note": "a \"b\""}"#);
    assert_eq!((response.status, &response.json()["FailedEntryCount"]), (202, &json!(0)), "{response:?}");
    let event = moto.message(&queue);
    assert_eq!(event["detail"], json!({ "order": 7, "note": "a \"b\"" }), "{event}");
    assert_eq!((&event["source"], &event["detail-type"]), (&json!("shop"), &json!("order")));
}

#[test]
fn a_state_machine_is_started_with_the_body() {
    let name = "a_state_machine_is_started_with_the_body";
    let Some(moto) = Moto::start() else {
        skip!(name, "moto is not there (cargo xtask setup brings it from PyPI)");
    };
    let states = |action: &str, body: Value| moto.ask("states", &format!("AWSStepFunctions.{action}"), &body);
    let definition = json!({ "StartAt": "Done", "States": { "Done": { "Type": "Succeed" } } }).to_string();
    let machine = json!({ "name": "checkout", "definition": definition, "roleArn": ROLE });
    let machine = states("CreateStateMachine", machine)["stateMachineArn"].as_str().unwrap().to_owned();
    let template =
        format!("{{\"input\": \"$util.escapeJavaScript($input.body)\", \"stateMachineArn\": \"{machine}\"}}");
    let start = json!({
        "requestTemplates": { "application/json": template },
        "integrationResponses": {
            "200": { "statusCode": "200" },
            "400": { "statusCode": "400", "selectionPattern": "4\\d{2}" }
        }
    });
    let gateway = gateway(&["states"], &moto.address);
    let integration = service("POST", "states:action/StartExecution", start);
    gateway.serve_rest(&[RestApi::new("a").method("POST", "/checkout", integration).deploy("s")]);
    let started = post(&gateway, "/checkout", r#"{"cart": ["a", "b"]}"#);
    assert_eq!(started.status, 200, "{started:?}");
    let execution = states("DescribeExecution", json!({ "executionArn": started.json()["executionArn"] }));
    assert_eq!(execution["input"], json!(r#"{"cart": ["a", "b"]}"#), "{execution}");
    // What the service refuses comes with its own status.
    let refused = post(&gateway, "/checkout", "no JSON");
    assert_eq!(refused.status, 400, "{refused:?}");
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
