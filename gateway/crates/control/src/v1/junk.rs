//! Every member of every operation's input, with everything that it should not be: answers are AWS's 4xx, or the change is whole.

use super::routes::{self, Handler};
use super::{Access, carry_out};
use serde_json::{Map, Value, json};
use sluice_catalog::Catalog;
use std::collections::BTreeSet;
use std::sync::Arc;

const ARN: &str = "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:123456789012:function:f/invocations";
const API: &str = "/restapis/{restapi_id}";
const METHOD: &str = "/restapis/{restapi_id}/resources/{resource_id}/methods/{http_method}";

/// What an operation may be told: each member is there, and right.
#[rustfmt::skip] // One operation a line.
fn inputs() -> Vec<(&'static str, String, Value)> {
    let below = |rest: &str| format!("{API}{rest}");
    let method = |rest: &str| format!("{METHOD}{rest}");
    vec![
        ("POST", "/restapis".into(), json!({ "name": "n", "description": "d", "version": "v", "binaryMediaTypes": ["a/b"], "minimumCompressionSize": 1, "apiKeySource": "HEADER", "endpointConfiguration": { "types": ["REGIONAL"], "ipAddressType": "ipv4", "vpcEndpointIds": [] }, "policy": "", "tags": { "a": "b" }, "disableExecuteApiEndpoint": true })),
        ("POST", below("/resources/{parent_id}"), json!({ "pathPart": "new" })),
        ("PUT", METHOD.replace("{http_method}", "PUT"), json!({ "authorizationType": "NONE", "apiKeyRequired": true, "operationName": "o", "requestParameters": { "method.request.header.a": true }, "requestModels": { "application/json": "Empty" } })),
        ("PUT", method("/responses/201"), json!({ "responseParameters": { "method.response.header.a": true }, "responseModels": { "application/json": "Empty" } })),
        ("PUT", method("/integration"), json!({ "type": "HTTP", "httpMethod": "GET", "uri": "http://127.0.0.1:1/", "connectionType": "INTERNET", "connectionId": "", "credentials": "", "requestParameters": { "integration.request.header.a": "'b'" }, "requestTemplates": { "application/json": "{}" }, "passthroughBehavior": "NEVER", "cacheNamespace": "c", "cacheKeyParameters": [], "contentHandling": "CONVERT_TO_TEXT", "timeoutInMillis": 50, "tlsConfig": { "insecureSkipVerification": true } })),
        ("PUT", method("/integration/responses/200"), json!({ "selectionPattern": "2..", "responseParameters": {}, "responseTemplates": { "application/json": "{}" }, "contentHandling": "CONVERT_TO_TEXT" })),
        ("POST", below("/deployments"), json!({ "stageName": "new", "stageDescription": "d", "description": "d", "cacheClusterEnabled": true, "cacheClusterSize": "0.5", "variables": { "a": "b" }, "canarySettings": { "percentTraffic": 1.0, "stageVariableOverrides": { "a": "b" }, "useStageCache": true }, "tracingEnabled": true })),
        ("POST", below("/stages"), json!({ "stageName": "new", "deploymentId": "{deployment_id}", "description": "d", "cacheClusterEnabled": true, "cacheClusterSize": "0.5", "variables": { "a": "b" }, "documentationVersion": "", "canarySettings": { "percentTraffic": 1.0, "deploymentId": "{deployment_id}", "stageVariableOverrides": { "a": "b" }, "useStageCache": true }, "tracingEnabled": true, "tags": { "a": "b" } })),
        ("POST", below("/models"), json!({ "name": "New", "description": "d", "schema": "{}", "contentType": "application/json" })),
        ("POST", below("/requestvalidators"), json!({ "name": "new", "validateRequestBody": true, "validateRequestParameters": true })),
        ("POST", below("/authorizers"), json!({ "name": "new", "type": "TOKEN", "providerARNs": [], "authType": "custom", "authorizerUri": ARN, "authorizerCredentials": "", "identitySource": "method.request.header.A", "identityValidationExpression": "x", "authorizerResultTtlInSeconds": 1 })),
        ("PUT", below("/gatewayresponses/{response_type}"), json!({ "statusCode": "400", "responseParameters": { "gatewayresponse.header.a": "'b'" }, "responseTemplates": { "application/json": "{}" } })),
        ("POST", "/apikeys".into(), json!({ "name": "n", "description": "d", "enabled": true, "generateDistinctId": true, "value": "v".repeat(20), "stageKeys": [{ "restApiId": "{restapi_id}", "stageName": "prod" }], "customerId": "c", "tags": { "a": "b" } })),
        ("POST", "/usageplans".into(), json!({ "name": "n", "description": "d", "apiStages": [{ "apiId": "{restapi_id}", "stage": "prod", "throttle": { "/pets/GET": { "rateLimit": 1.0, "burstLimit": 1 } } }], "throttle": { "rateLimit": 1.0, "burstLimit": 1 }, "quota": { "limit": 1, "offset": 0, "period": "DAY" }, "tags": { "a": "b" } })),
        ("POST", "/usageplans/{usageplan_id}/keys".into(), json!({ "keyId": "{api_key}", "keyType": "API_KEY" })),
        ("POST", "/domainnames".into(), json!({ "domainName": "new.example.com", "certificateName": "c", "certificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/x", "regionalCertificateName": "c", "regionalCertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/x", "endpointConfiguration": { "types": ["REGIONAL"] }, "tags": { "a": "b" }, "securityPolicy": "TLS_1_2", "ownershipVerificationCertificateArn": "" })),
        ("POST", "/domainnames/{domain_name}/basepathmappings".into(), json!({ "basePath": "new", "restApiId": "{restapi_id}", "stage": "prod" })),
        ("POST", "/vpclinks".into(), json!({ "name": "n", "description": "d", "targetArns": ["arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/net/a/1"], "tags": { "a": "b" } })),
        ("PUT", "/tags/{resource_arn}".into(), json!({ "tags": { "a": "b" } })),
    ]
}

/// What a member should not be.
fn junk() -> Vec<Value> {
    let deep = (0..60).fold(json!(1), |inner, _| json!([inner]));
    let wide: Map<String, Value> = (0..2000).map(|at| (format!("k{at}"), json!("v"))).collect();
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(1.5),
        json!(1e308),
        json!(u64::MAX),
        json!(""),
        json!("\u{0}\r\n\u{7f}ü💥"),
        json!("x".repeat(1 << 17)),
        json!([]),
        json!([null]),
        json!([[]]),
        json!([{}]),
        json!(["x", 7]),
        json!({}),
        json!({ "": "" }),
        json!({ "a": null }),
        json!({ "a": [] }),
        json!({ "a": { "b": 7 } }),
        deep,
        Value::Object(wide),
    ]
}

/// The input with each of its values, at any depth, in turn exchanged for `with`.
fn spoiled(input: &Value, with: &Value) -> Vec<Value> {
    let mut out = vec![with.clone()];
    match input {
        Value::Object(members) => {
            for (name, member) in members {
                out.extend(spoiled(member, with).into_iter().map(|value| {
                    let mut members = members.clone();
                    members.insert(name.clone(), value);
                    Value::Object(members)
                }));
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                out.extend(spoiled(item, with).into_iter().map(|value| {
                    let mut items = items.clone();
                    items[at] = value;
                    Value::Array(items)
                }));
            }
        }
        _ => {}
    }
    out
}

struct Tried {
    access: Arc<Access>,
    catalog: Catalog,
    /// Names of what is there, by what stands for them.
    names: Vec<(&'static str, String)>,
}

impl Tried {
    fn new() -> Self {
        let access = Access {
            region: "us-east-1".into(),
            account_id: "123456789012".into(),
            development: true,
            integration_timeout_max_ms: 29_000,
            ..Access::default()
        };
        let mut tried = Self { access: Arc::new(access), catalog: Catalog::default(), names: Vec::new() };
        tried.good("POST", "/restapis", &json!({ "name": "a" }));
        let api = tried.catalog.rest_apis.values().next().unwrap().clone();
        let (id, root) = (api.id.clone(), api.root_resource_id.clone());
        let method = format!("/restapis/{id}/resources/{root}/methods/GET");
        tried.good("PUT", &method, &json!({ "authorizationType": "NONE" }));
        tried.good("PUT", &format!("{method}/responses/200"), &json!({}));
        tried.good("PUT", &format!("{method}/integration"), &json!({ "type": "MOCK" }));
        tried.good("PUT", &format!("{method}/integration/responses/200"), &json!({}));
        tried.good("POST", &format!("/restapis/{id}/deployments"), &json!({ "stageName": "prod" }));
        tried.good("POST", &format!("/restapis/{id}/requestvalidators"), &json!({ "name": "v" }));
        let authorizer = json!({ "name": "a", "type": "TOKEN", "authorizerUri": ARN, "identitySource": "method.request.header.A" });
        tried.good("POST", &format!("/restapis/{id}/authorizers"), &authorizer);
        tried.good("POST", "/apikeys", &json!({ "name": "k" }));
        tried.good("POST", "/usageplans", &json!({ "name": "p" }));
        let domain = json!({ "domainName": "api.example.com", "regionalCertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/x", "endpointConfiguration": { "types": ["REGIONAL"] } });
        tried.good("POST", "/domainnames", &domain);
        tried.good(
            "POST",
            "/domainnames/api.example.com/basepathmappings",
            &json!({ "basePath": "v1", "restApiId": id }),
        );
        let link = json!({ "name": "l", "targetArns": ["arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/net/a/1"] });
        tried.good("POST", "/vpclinks", &link);
        let api = tried.catalog.rest_apis.values().next().unwrap();
        let first = |keys: &mut dyn Iterator<Item = &String>| keys.next().unwrap().clone();
        tried.names = vec![
            ("{resource_arn}", format!("arn:aws:apigateway:us-east-1::%2Frestapis%2F{id}")),
            ("{restapi_id}", id),
            ("{resource_id}", root.clone()),
            ("{parent_id}", root),
            ("{http_method}", "GET".into()),
            ("{status_code}", "200".into()),
            ("{stage_name}", "prod".into()),
            ("{model_name}", "Empty".into()),
            ("{response_type}", "DEFAULT_4XX".into()),
            ("{base_path}", "v1".into()),
            ("{domain_name}", "api.example.com".into()),
            ("{deployment_id}", first(&mut api.deployments.keys())),
            ("{authorizer_id}", first(&mut api.definition.authorizers.keys())),
            ("{requestvalidator_id}", first(&mut api.definition.request_validators.keys())),
            ("{api_key}", first(&mut tried.catalog.api_keys.keys())),
            ("{usageplan_id}", first(&mut tried.catalog.usage_plans.keys())),
            ("{vpclink_id}", first(&mut tried.catalog.vpc_links.keys())),
        ];
        tried
    }

    #[track_caller]
    fn good(&mut self, method: &str, path: &str, body: &Value) {
        let (status, error) =
            carry_out(&mut self.catalog, &self.access, (method, path, ""), body.to_string().as_bytes());
        assert!((200..300).contains(&status), "{method} {path}: {error:?}");
    }

    fn filled(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// Whether it was taken.
    fn try_out(&self, method: &str, path: &str, body: &str) -> bool {
        let mut catalog = self.catalog.clone();
        let target = (method, path, "");
        let (status, error) = carry_out(&mut catalog, &self.access, target, self.filled(body).as_bytes());
        let told: String = body.chars().take(200).collect();
        let Some((kind, message)) = error else {
            assert!((200..300).contains(&status), "{method} {path} {told}: {status}");
            return true;
        };
        assert!((400..500).contains(&status), "{method} {path} {told}: {status} {kind}: {message}");
        assert!(
            kind.ends_with("Exception") && !message.is_empty(),
            "{method} {path} {told}: {kind} {message}"
        );
        assert!(catalog == self.catalog, "{method} {path} {told}: an error has changed something");
        false
    }
}

#[test]
fn each_member_of_each_input_may_be_anything() {
    let (tried, junk) = (Tried::new(), junk());
    let mut seen = BTreeSet::new();
    for (method, path, input) in inputs() {
        let path = tried.filled(&path);
        seen.insert(routes::find(method, &path, None).unwrap().0.name);
        tried.try_out(method, &path, &input.to_string());
        for with in &junk {
            for body in spoiled(&input, with) {
                tried.try_out(method, &path, &body.to_string());
            }
        }
    }
    let patch = json!({ "patchOperations": [{ "op": "replace", "path": "/name", "value": "x", "from": "/name" }, { "op": "add", "path": "/description", "value": "x" }] });
    for (method, path) in routes::all().filter(|(method, _)| ["POST", "PUT", "PATCH"].contains(method)) {
        let path = tried.filled(path);
        let (operation, _) = routes::find(method, &path, None).unwrap();
        // What is not written, what reads documents, and what asks those who serve.
        let others =
            matches!(operation.handler, Handler::Missing | Handler::Ask(_)) || operation.name == "PutRestApi";
        if others || seen.contains(operation.name) {
            continue;
        }
        assert_eq!(method, "PATCH", "{} has no input above", operation.name);
        for with in &junk {
            for body in spoiled(&patch, with) {
                tried.try_out(method, &path, &body.to_string());
            }
        }
    }
}
