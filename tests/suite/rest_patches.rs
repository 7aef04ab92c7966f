//! `patchOperations`, path by path: each row of `data/patches.tsv` is applied as it says, or refused as AWS refuses and without a trace.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use sluice_harness::{Gateway, Response};

const TABLE: &str = include_str!("../data/patches.tsv");
const UNSUPPORTED: [&str; 3] = ["move", "test", "copy"];
const ARN: &str = "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:123456789012:function:f/invocations";

/// One of each resource, and where it is; and names that rows may use.
struct Fixture {
    gateway: Gateway,
    paths: BTreeMap<&'static str, String>,
    names: BTreeMap<&'static str, String>,
    /// All of it, to be put back.
    catalog: String,
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

impl Fixture {
    fn new() -> Self {
        let gateway = Gateway::start("");
        let mut fixture =
            Self { gateway, paths: BTreeMap::new(), names: BTreeMap::new(), catalog: String::new() };
        fixture.make_api();
        fixture.make_the_rest();
        fixture.catalog = fixture.gateway.operator_call("GET", "/catalog", "").text();
        fixture
    }

    #[track_caller]
    fn good(&self, method: &str, path: &str, body: &Value) -> Value {
        let response = self.gateway.operator_call(method, path, &body.to_string());
        assert!((200..300).contains(&response.status), "{method} {path}: {response:?}");
        serde_json::from_str(&response.text()).unwrap_or_default()
    }

    fn make_api(&mut self) {
        let other = self.make_others();
        let api = json!({ "name": "pets", "description": "d", "version": "v1", "binaryMediaTypes": ["application/pdf"],
                          "endpointConfiguration": { "types": ["EDGE"] } });
        let api = self.good("POST", "/restapis", &api);
        let (id, root) = (text(&api, "id"), text(&api, "rootResourceId"));
        let at = format!("/restapis/{id}");
        let resource = |parent: &str, part: &str| {
            text(&self.good("POST", &format!("{at}/resources/{parent}"), &json!({ "pathPart": part })), "id")
        };
        let (pets, sibling) = (resource(&root, "pets"), resource(&root, "sibling"));
        let pet = resource(&pets, "{id}");
        let authorizer = json!({ "name": "a", "type": "TOKEN", "authorizerUri": ARN, "identitySource": "method.request.header.A" });
        let authorizer = text(&self.good("POST", &format!("{at}/authorizers"), &authorizer), "id");
        let request = json!({ "name": "r", "type": "REQUEST", "authorizerUri": ARN, "authorizerResultTtlInSeconds": 0,
                              "identitySource": "method.request.header.A" });
        let request = text(&self.good("POST", &format!("{at}/authorizers"), &request), "id");
        let pool =
            |name: &str| format!("arn:aws:cognito-idp:us-east-1:123456789012:userpool/us-east-1_{name}");
        let cognito = json!({ "name": "c", "type": "COGNITO_USER_POOLS", "providerARNs": [pool("one")], "identitySource": "method.request.header.A" });
        let cognito = text(&self.good("POST", &format!("{at}/authorizers"), &cognito), "id");
        let validator =
            text(&self.good("POST", &format!("{at}/requestvalidators"), &json!({ "name": "v" })), "id");
        let model =
            json!({ "name": "Pet", "contentType": "application/json", "schema": "{\"type\":\"object\"}" });
        self.good("POST", &format!("{at}/models"), &model);
        let answer = json!({ "statusCode": "498", "responseParameters": { "gatewayresponse.header.x-here": "'old'" },
                             "responseTemplates": { "application/json": "{}" } });
        self.good("PUT", &format!("{at}/gatewayresponses/DEFAULT_4XX"), &answer);
        let method = format!("{at}/resources/{pet}/methods/GET");
        self.make_method(&method);
        let deploy = |stage: &str| {
            text(&self.good("POST", &format!("{at}/deployments"), &json!({ "stageName": stage })), "id")
        };
        let (deployment, deployment2) = (deploy("prod"), deploy("beta"));
        let stage = format!("{at}/stages/prod");
        let patch = |path: &str, value: &str| json!({ "op": "replace", "path": path, "value": value });
        let prepared = json!({ "patchOperations": [
            patch("/variables/here", "old"), patch("/canarySettings/percentTraffic", "5"),
            patch("/canarySettings/stageVariableOverrides/here", "old"),
            patch("/accessLogSettings/destinationArn", "arn:aws:logs:us-east-1:123456789012:log-group:y"),
            patch("/accessLogSettings/format", "$context.status"), patch("/~1pets~1{id}/GET/caching/ttlInSeconds", "30"),
        ] });
        self.good("PATCH", &stage, &prepared);
        self.paths.extend([
            ("restapi", at.clone()),
            ("resource", format!("{at}/resources/{pets}")),
            ("authorizer", format!("{at}/authorizers/{authorizer}")),
            ("request-authorizer", format!("{at}/authorizers/{request}")),
            ("pool-authorizer", format!("{at}/authorizers/{cognito}")),
            ("validator", format!("{at}/requestvalidators/{validator}")),
            ("model", format!("{at}/models/Pet")),
            ("gatewayresponse", format!("{at}/gatewayresponses/DEFAULT_4XX")),
            ("method", method.clone()),
            ("methodresponse", format!("{method}/responses/200")),
            ("integration", format!("{method}/integration")),
            ("integrationresponse", format!("{method}/integration/responses/200")),
            ("deployment", format!("{at}/deployments/{deployment}")),
            ("stage", stage),
        ]);
        self.names.extend([
            ("api", id),
            ("other", other),
            ("sibling", sibling),
            ("authorizer", authorizer),
            ("validator", validator),
            ("deployment2", deployment2),
        ]);
    }

    /// An API with a MOCK, whose id is returned, and a private one.
    fn make_others(&mut self) -> String {
        let other = self.good("POST", "/restapis", &json!({ "name": "other" }));
        let at = format!("/restapis/{}", text(&other, "id"));
        let root = format!("{at}/resources/{}/methods/GET", text(&other, "rootResourceId"));
        self.good("PUT", &root, &json!({ "authorizationType": "NONE" }));
        self.good("PUT", &format!("{root}/integration"), &json!({ "type": "MOCK" }));
        self.good("POST", &format!("{at}/deployments"), &json!({ "stageName": "prod" }));
        let private = json!({ "name": "private", "endpointConfiguration": { "types": ["PRIVATE"], "vpcEndpointIds": ["vpce-1"] } });
        let private = text(&self.good("POST", "/restapis", &private), "id");
        self.paths.extend([
            ("mock-method", root.clone()),
            ("mock-integration", format!("{root}/integration")),
            ("private-restapi", format!("/restapis/{private}")),
        ]);
        text(&other, "id")
    }

    fn make_method(&self, at: &str) {
        let method = json!({
            "authorizationType": "NONE", "authorizationScopes": ["old"], "requestModels": { "application/json": "Empty" },
            "requestParameters": {
                "method.request.header.a": false, "method.request.querystring.q": false, "method.request.path.id": true
            }
        });
        self.good("PUT", at, &method);
        let response = json!({
            "responseModels": { "application/json": "Empty" },
            "responseParameters": { "method.response.header.here": false }
        });
        self.good("PUT", &format!("{at}/responses/200"), &response);
        let integration = json!({
            "type": "HTTP", "httpMethod": "GET", "uri": "http://127.0.0.1:1/",
            "requestParameters": { "integration.request.header.x-here": "'old'" },
            "requestTemplates": { "application/json": "$input.body" },
            "cacheKeyParameters": ["method.request.path.id"]
        });
        self.good("PUT", &format!("{at}/integration"), &integration);
        let answer = json!({
            "responseParameters": { "method.response.header.here": "'old'" },
            "responseTemplates": { "application/json": "$input.body" }
        });
        self.good("PUT", &format!("{at}/integration/responses/200"), &answer);
    }

    fn make_the_rest(&mut self) {
        let api = self.names["api"].clone();
        let key = json!({ "name": "k", "description": "d", "customerId": "c", "enabled": true });
        let key = text(&self.good("POST", "/apikeys", &key), "id");
        let domain = json!({ "domainName": "api.example.com", "regionalCertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/x",
                             "endpointConfiguration": { "types": ["REGIONAL"] } });
        self.good("POST", "/domainnames", &domain);
        let mapping = json!({ "basePath": "v1", "restApiId": api, "stage": "prod" });
        self.good("POST", "/domainnames/api.example.com/basepathmappings", &mapping);
        let plan = json!({ "name": "p", "description": "d", "apiStages": [{ "apiId": api, "stage": "prod" }],
                           "throttle": { "rateLimit": 1.0, "burstLimit": 1 }, "quota": { "limit": 10, "offset": 0, "period": "WEEK" } });
        let plan = text(&self.good("POST", "/usageplans", &plan), "id");
        let link = json!({ "name": "l", "targetArns": ["arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/net/a/1"] });
        let link = text(&self.good("POST", "/vpclinks", &link), "id");
        self.paths.extend([
            ("account", "/account".to_owned()),
            ("apikey", format!("/apikeys/{key}")),
            ("domain", "/domainnames/api.example.com".to_owned()),
            ("mapping", "/domainnames/api.example.com/basepathmappings/v1".to_owned()),
            ("usageplan", format!("/usageplans/{plan}")),
            ("vpclink", format!("/vpclinks/{link}")),
        ]);
    }

    fn fill(&self, cell: &str) -> String {
        let mut cell = cell.to_owned();
        for (name, value) in &self.names {
            cell = cell.replace(&format!("{{{name}}}"), value);
        }
        cell
    }

    fn patch(&self, path: &str, op: &str, at: &str, value: &str) -> Response {
        let mut patch = json!({ "op": op, "path": at });
        match op {
            "copy" | "move" => patch["from"] = at.into(),
            _ if value.is_empty() => {}
            _ => patch["value"] = value.into(),
        }
        self.gateway.operator_call("PATCH", path, &json!({ "patchOperations": [patch] }).to_string())
    }

    fn kept(&self) -> String {
        self.gateway.operator_call("GET", "/catalog", "").text()
    }

    /// Tries one operation; what is not as it should be.
    fn attempt(&self, row: &Row, op: &str, expected: &str) -> Option<String> {
        let (path, value) = (&self.paths[row.resource], self.fill(row.value));
        let response = self.patch(path, op, &self.fill(row.path), &value);
        let body: Value = serde_json::from_str(&response.text()).unwrap_or_default();
        if expected == "no" {
            let kind = response.header("x-amzn-errortype").unwrap_or_default();
            let shaped = (400..500).contains(&response.status)
                && kind.ends_with("Exception")
                && body["message"].as_str().is_some_and(|message| !message.is_empty());
            let untouched = self.kept() == self.catalog;
            if !untouched {
                self.good("PUT", "/catalog", &serde_json::from_str(&self.catalog).unwrap());
            }
            return (!shaped || !untouched)
                .then(|| format!("expected a refusal, found {} {body}", response.status));
        }
        let shown = match row.resource {
            // A base path that was renamed is elsewhere.
            "mapping" => body.clone(),
            _ => self.good("GET", path, &Value::Null),
        };
        self.good("PUT", "/catalog", &serde_json::from_str(&self.catalog).unwrap());
        if !(200..300).contains(&response.status) {
            return Some(format!("expected {expected}, found {} {body}", response.status));
        }
        let found = shown.pointer(&self.fill(row.shown)).cloned().unwrap_or_default();
        (!is_as_expected(&found, expected, row, &value))
            .then(|| format!("expected {expected}, found {found}"))
    }
}

fn is_as_expected(found: &Value, expected: &str, row: &Row, value: &str) -> bool {
    let wanted = || match row.path.rsplit_once('/') {
        // The path itself names the item.
        Some((list, item)) if list.ends_with("s") && row.shown == list => item.replace("~1", "/"),
        _ => value.to_owned(),
    };
    let has = |list: &Value| list.as_array().is_some_and(|list| list.contains(&wanted().into()));
    match expected {
        "=" => match found {
            Value::String(text) => text == value || text.replace('\\', "") == value,
            other => other.to_string().as_str() == value,
        },
        "-" => found.is_null(),
        "[+]" => has(found),
        "[-]" => !has(found),
        json => *found == serde_json::from_str::<Value>(json).unwrap_or_else(|_| panic!("not JSON: {json}")),
    }
}

/// One line of the table.
struct Row<'t> {
    resource: &'t str,
    path: &'t str,
    value: &'t str,
    shown: &'t str,
    expected: [&'t str; 3],
}

fn rows() -> impl Iterator<Item = Row<'static>> {
    TABLE.lines().filter(|line| !line.starts_with('#')).skip(1).map(|line| {
        let cells: Vec<_> = line.split('\t').collect();
        let [resource, path, value, shown, add, replace, remove, source] = cells[..] else {
            panic!("8 cells: {line}")
        };
        assert!(["page", "also", "client", "-"].contains(&source), "{line}");
        Row { resource, path, value, shown, expected: [add, replace, remove] }
    })
}

#[test]
fn each_documented_path_is_applied_or_refused() {
    let fixture = Fixture::new();
    let mut wrong = String::new();
    for row in rows() {
        let ops = ["add", "replace", "remove"].into_iter().zip(row.expected);
        for (op, expected) in ops.chain(UNSUPPORTED.map(|op| (op, "no"))) {
            if let Some(why) = fixture.attempt(&row, op, expected) {
                let _ = writeln!(wrong, "{} {op} {}: {why}", row.resource, row.path);
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// All operations of a request, or none.
#[test]
fn one_bad_operation_undoes_those_before_it() {
    let fixture = Fixture::new();
    for (resource, path) in &fixture.paths {
        let Some(row) = rows().find(|row| row.resource == *resource && row.expected[1] == "=") else {
            continue;
        };
        let good =
            json!({ "op": "replace", "path": fixture.fill(row.path), "value": fixture.fill(row.value) });
        let bad = json!({ "op": "replace", "path": "/no/such/path", "value": "x" });
        let body = json!({ "patchOperations": [good, bad] }).to_string();
        let response = fixture.gateway.operator_call("PATCH", path, &body);
        assert_eq!(response.status, 400, "{resource}: {response:?}");
        assert_eq!(fixture.kept(), fixture.catalog, "{resource}");
    }
}

/// The rare resources that are not kept here.
#[test]
fn resources_that_are_not_supported_say_so() {
    let fixture = Fixture::new();
    let api = &fixture.paths["restapi"];
    for path in [
        "/clientcertificates/abc".to_owned(),
        format!("{api}/documentation/parts/abc"),
        format!("{api}/documentation/versions/1"),
    ] {
        let response = fixture.patch(&path, "replace", "/description", "x");
        assert_eq!(response.status, 501, "{path}: {response:?}");
        assert_eq!(response.header("x-amzn-errortype"), Some("NotImplementedException"), "{path}");
    }
}
