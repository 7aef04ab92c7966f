//! Operations in, answers out, over a catalog in memory.

use super::routes::{self, Handler};
use super::{Access, Answer, Call, Serving, Trial, TrialError, TrialOutcome};
use serde_json::{Value, json};
use sluice_catalog::Catalog;
use sluice_store::StoreError;
use std::sync::Arc;

/// Nothing serves.
struct Nobody;

impl Serving for Nobody {
    fn try_out(&self, _: Trial) -> Result<TrialOutcome, TrialError> {
        Err(TrialError::Busy)
    }

    fn used(&self, _: &str, key: &str, days: std::ops::RangeInclusive<u32>) -> Option<Vec<(u64, u64)>> {
        (!key.is_empty()).then(|| days.map(|day| (u64::from(day % 10), 10)).collect())
    }

    fn set_left(&self, _: &str, _: &str, left: u64) -> Result<bool, StoreError> {
        Ok(left < 1000)
    }

    fn settle(&self) {}

    fn settle_all(&self) -> u64 {
        0
    }
}

/// A catalog and who asks.
struct Plane(Catalog);

impl Plane {
    fn new() -> Self {
        Self(Catalog::default())
    }

    fn ask(&mut self, method: &str, target: &str, json: Value) -> Answer {
        self.send(method, target, json, Vec::new())
    }

    fn send(&mut self, method: &str, target: &str, json: Value, body: Vec<u8>) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: Vec<(String, String)> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mode = query.iter().find(|(name, _)| name == "mode").map(|(_, value)| value.as_str());
        let (operation, params) = routes::find(method, path, mode).expect("a known operation");
        let access = Arc::new(Access {
            region: "us-east-1".into(),
            account_id: "123456789012".into(),
            execute_api_suffix: "example.com".into(),
            integration_timeout_max_ms: 29_000,
            ..Access::default()
        });
        let accept = "application/json".to_owned();
        let call = Call { params, query, json, body, accept, now_s: 1_700_000_000, access };
        match operation.handler {
            Handler::Read(read) => read(&self.0, &call),
            Handler::Write(write) => {
                // As the store does: what is refused changes nothing.
                let mut next = self.0.clone();
                let answer = write(&mut next, &call)?;
                self.0 = next;
                Ok(answer)
            }
            Handler::Ask(ask) => ask(&self.0, &call, &Nobody),
            Handler::Missing => panic!("{} is not written", operation.name),
        }
    }

    #[track_caller]
    fn good(&mut self, method: &str, target: &str, json: Value) -> Value {
        self.ask(method, target, json).unwrap_or_else(|fault| panic!("{fault:?}")).body.unwrap_or_default()
    }

    /// Status, error type and message; and nothing has changed.
    #[track_caller]
    fn refused(&mut self, method: &str, target: &str, json: Value) -> (u16, &'static str, String) {
        let before = self.0.clone();
        let fault = self.ask(method, target, json).expect_err("an error");
        assert_eq!(self.0, before, "a refused operation has changed something");
        (fault.status, fault.kind, fault.message)
    }

    /// An API with `GET /pets`, mocked.
    fn pets(&mut self) -> (String, String) {
        let api = self.good("POST", "/restapis", json!({ "name": "pets" }));
        let (id, root) = (text(&api, "id"), text(&api, "rootResourceId"));
        let resource =
            self.good("POST", &format!("/restapis/{id}/resources/{root}"), json!({ "pathPart": "pets" }));
        let at = format!("/restapis/{id}/resources/{}/methods/GET", text(&resource, "id"));
        self.good("PUT", &at, json!({ "authorizationType": "NONE" }));
        self.good("PUT", &format!("{at}/responses/200"), json!({}));
        self.good("PUT", &format!("{at}/integration"), json!({ "type": "MOCK" }));
        (id, at)
    }

    fn deployed(&mut self) -> (String, String) {
        let (id, _) = self.pets();
        let deployment =
            self.good("POST", &format!("/restapis/{id}/deployments"), json!({ "stageName": "prod" }));
        (id, text(&deployment, "id"))
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

fn patch(op: &str, path: &str, value: &str) -> Value {
    json!({ "patchOperations": [{ "op": op, "path": path, "value": value }] })
}

#[test]
fn apis_begin_as_awss_do() {
    let mut plane = Plane::new();
    let api = plane.good("POST", "/restapis", json!({ "name": "x" }));
    let id = text(&api, "id");
    assert_eq!((id.len(), text(&api, "rootResourceId").len()), (10, 10));
    assert_eq!(
        api,
        json!({
            "id": id, "name": "x", "createdDate": 1_700_000_000, "apiKeySource": "HEADER",
            "endpointConfiguration": { "types": ["EDGE"], "ipAddressType": "ipv4" },
            "disableExecuteApiEndpoint": false, "rootResourceId": api["rootResourceId"],
        })
    );
    let models = plane.good("GET", &format!("/restapis/{id}/models"), Value::Null);
    assert_eq!(models["item"].as_array().unwrap().len(), 2, "Empty and Error");
}

/// Messages as AWS was seen to send them.
#[test]
fn bad_apis_are_refused_in_awss_words() {
    let mut plane = Plane::new();
    let enum_types = "Value '[wrong]' at 'createRestApiInput.endpointConfiguration.types' failed to satisfy constraint: Member \
                      must satisfy constraint: [Member must satisfy enum value set: [PRIVATE, EDGE, REGIONAL]]";
    let enum_address = "Value 'wrong' at 'createRestApiInput.endpointConfiguration.ipAddressType' failed to satisfy \
                        constraint: Member must satisfy enum value set: [ipv4, dualstack]";
    for (input, kind, message) in [
        (
            json!({ "name": "x", "description": "" }),
            "BadRequestException",
            "Description cannot be an empty string".to_owned(),
        ),
        (
            json!({ "name": "x", "minimumCompressionSize": -1 }),
            "BadRequestException",
            "Invalid minimum compression size, must be between 0 and 10485760".to_owned(),
        ),
        (
            json!({ "name": "x", "endpointConfiguration": { "types": ["wrong"], "ipAddressType": "wrong" } }),
            "ValidationException",
            format!("2 validation errors detected: {enum_types}; {enum_address}"),
        ),
        (
            json!({ "name": "x", "endpointConfiguration": { "types": ["EDGE", "REGIONAL"] } }),
            "BadRequestException",
            "Cannot create an api with multiple Endpoint Types.".to_owned(),
        ),
        (
            json!({ "name": "x", "endpointConfiguration": { "types": ["PRIVATE"], "ipAddressType": "ipv4" } }),
            "BadRequestException",
            "Only dualstack ipAddressType is supported for Private APIs.".to_owned(),
        ),
        (
            json!({ "name": true }),
            "SerializationException",
            "class java.lang.Boolean can not be converted to an String".to_owned(),
        ),
    ] {
        assert_eq!(plane.refused("POST", "/restapis", input.clone()), (400, kind, message), "{input}");
    }
    let unknown = plane.refused("GET", "/restapis/nothere", Value::Null);
    assert_eq!(
        unknown,
        (404, "NotFoundException", "Invalid API identifier specified 123456789012:nothere".to_owned())
    );
}

#[test]
fn resources_keep_the_rules_of_paths() {
    let mut plane = Plane::new();
    let api = plane.good("POST", "/restapis", json!({ "name": "x" }));
    let (id, root) = (text(&api, "id"), text(&api, "rootResourceId"));
    let base = format!("/restapis/{id}/resources");
    let make = |plane: &mut Plane, parent: &str, part: &str| {
        text(&plane.good("POST", &format!("{base}/{parent}"), json!({ "pathPart": part })), "id")
    };
    let pets = make(&mut plane, &root, "pets");
    let child = make(&mut plane, &pets, "subpets");
    let greedy = make(&mut plane, &root, "{proxy+}");
    for (parent, part, status, message) in [
        (&root, "pets", 409, "Another resource with the same parent already has this name: pets"),
        (
            &root,
            "{other}",
            400,
            "A sibling ({proxy+}) of this resource already has a variable path part -- only one is allowed",
        ),
        (&greedy, "x", 400, "Cannot create a child of a resource with a greedy path variable: {proxy+}"),
    ] {
        let found = plane.refused("POST", &format!("{base}/{parent}"), json!({ "pathPart": part }));
        assert_eq!((found.0, found.2.as_str()), (status, message), "{part}");
    }
    for part in ["/users", "users/", "us{er", "us+er", "", "{}", "{+}"] {
        assert_eq!(
            plane.refused("POST", &format!("{base}/{root}"), json!({ "pathPart": part })).0,
            400,
            "{part}"
        );
    }
    let renamed = plane.good("PATCH", &format!("{base}/{pets}"), patch("replace", "/pathPart", "dogs"));
    assert_eq!(renamed["path"], "/dogs");
    let below = plane.good("GET", &format!("{base}/{child}"), Value::Null);
    assert_eq!(below["path"], "/dogs/subpets");
    for (target, body, message) in [
        (&pets, patch("replace", "/parentId", &child), "Resources cannot be cyclical."),
        (&root, patch("replace", "/pathPart", "x"), "Root resource cannot update its pathPart."),
        (
            &pets,
            patch("remove", "/pathPart", "x"),
            "Invalid patch path  '/pathPart' specified for op 'remove'. Please choose supported operations",
        ),
        (
            &pets,
            patch("replace", "/invalid", "x"),
            "Invalid patch path  '/invalid' specified for op 'replace'. Must be one of: [/parentId, /pathPart]",
        ),
    ] {
        assert_eq!(plane.refused("PATCH", &format!("{base}/{target}"), body).2, message);
    }
    assert_eq!(plane.ask("DELETE", &format!("{base}/{pets}"), Value::Null).unwrap().status, 202);
    assert_eq!(plane.refused("GET", &format!("{base}/{child}"), Value::Null).0, 404, "gone with its parent");
}

#[test]
fn patches_are_checked_all_at_once() {
    let mut plane = Plane::new();
    let (_, at) = plane.pets();
    let body = json!({ "patchOperations": [{ "op": "wrong_op", "path": "/x" }, { "op": "add", "path": "/y" }, { "op": "wrong_op", "path": "/z" }] });
    let set = "failed to satisfy constraint: Member must satisfy enum value set: [add, remove, move, test, replace, copy]";
    let (status, kind, message) = plane.refused("PATCH", &format!("{at}/responses/wrong"), body);
    assert_eq!((status, kind), (400, "ValidationException"));
    assert_eq!(
        message,
        format!(
            "3 validation errors detected: Value 'wrong_op' at 'updateMethodResponseInput.patchOperations.1.member.op' {set}; \
             Value 'wrong_op' at 'updateMethodResponseInput.patchOperations.3.member.op' {set}; Value 'wrong' at 'statusCode' \
             failed to satisfy constraint: Member must satisfy regular expression pattern: [1-5]\\d\\d"
        )
    );
    for (body, status, message) in [
        (json!({ "patchOperations": [{ "op": "add" }] }), 400, "Invalid patch path null"),
        (
            patch("replace", "/requestParameters/method.request.header.x", "true"),
            404,
            "Invalid parameter name specified",
        ),
        (
            patch("remove", "/requestModels/application~1json", ""),
            404,
            "Content-Type specified was not found",
        ),
        (patch("replace", "/httpMethod", "PUT"), 400, "Invalid patch path /httpMethod"),
        (
            patch("add", "/apiKeyRequired", "true"),
            400,
            "Invalid patch operation specified. Must be one of: [replace]",
        ),
    ] {
        let found = plane.refused("PATCH", &at, body);
        assert_eq!((found.0, found.2.as_str()), (status, message));
    }
    let labels = plane.good("POST", "/apikeys", json!({ "name": "k" }));
    let found =
        plane.refused("PATCH", &format!("/apikeys/{}", text(&labels, "id")), patch("add", "/labels", "l"));
    assert_eq!((found.0, found.2.as_str()), (400, "labels is not supported by this gateway."));
    let api = at.split("/resources").next().unwrap().to_owned();
    let media = plane.good("PATCH", &api, patch("replace", "/binaryMediaTypes", r#"["a/b", "c/d"]"#));
    assert_eq!(media["binaryMediaTypes"], json!(["a/b", "c/d"]));
    for (at, op, path, value) in [
        (&api, "replace", "/binaryMediaTypes", "[1]"),
        (&at, "add", "/requestParameters", "[]"),
        (&at, "add", "/requestParameters", r#"{"method.request.header.x":1}"#),
    ] {
        let found = plane.refused("PATCH", at, patch(op, path, value));
        assert!(found.2.starts_with("Invalid patch value "), "{value}: {}", found.2);
    }
    let changed = plane.good("PATCH", &at, patch("add", "/requestModels/application~1json", "Empty"));
    assert_eq!(changed["requestModels"], json!({ "application/json": "Empty" }));
}

#[test]
fn a_deployment_is_frozen_and_a_stage_points_to_one() {
    let mut plane = Plane::new();
    let (id, at) = plane.pets();
    let deploy = format!("/restapis/{id}/deployments");
    let first = text(&plane.good("POST", &deploy, json!({ "stageName": "prod" })), "id");
    plane.good("PATCH", &at, patch("replace", "/apiKeyRequired", "true"));
    let second = text(&plane.good("POST", &deploy, json!({ "stageName": "prod" })), "id");
    let api = Arc::clone(&plane.0.rest_apis[&id]);
    let needs_key = |deployment: &str| {
        let resources = &api.deployments[deployment].definition.resources;
        resources.values().any(|resource| resource.methods.values().any(|method| method.api_key_required))
    };
    assert!(!needs_key(&first) && needs_key(&second));
    assert_eq!(api.stages["prod"].deployment_id, second);
    let stage = format!("/restapis/{id}/stages/prod");
    plane.good("PATCH", &stage, patch("replace", "/deploymentId", &first));
    let found = plane.refused("DELETE", &format!("{deploy}/{first}"), Value::Null);
    assert_eq!(found.2, "Active stages pointing to this deployment must be moved or deleted");
    assert_eq!(plane.ask("DELETE", &format!("{deploy}/{second}"), Value::Null).unwrap().status, 202);
}

#[test]
fn method_settings_and_canaries_take_awss_paths() {
    let mut plane = Plane::new();
    let (id, deployment) = plane.deployed();
    let stage = format!("/restapis/{id}/stages/prod");
    for (path, value) in [
        ("/*/*/logging/loglevel", "INFO"),
        ("/~1pets/GET/throttling/burstLimit", "7"),
        ("/canarySettings/percentTraffic", "12.5"),
        ("/canarySettings/stageVariableOverrides/color", "green"),
    ] {
        plane.good("PATCH", &stage, patch("replace", path, value));
    }
    let shown = plane.good("GET", &stage, Value::Null);
    assert_eq!(shown["methodSettings"]["*/*"]["loggingLevel"], "INFO");
    assert_eq!(shown["methodSettings"]["~1pets/GET"]["throttlingBurstLimit"], 7);
    assert_eq!(
        shown["canarySettings"],
        json!({ "percentTraffic": 12.5, "deploymentId": deployment, "stageVariableOverrides": { "color": "green" }, "useStageCache": false })
    );
    for (op, path, message) in [
        (
            "remove",
            "/canarySettings/badPath",
            "Cannot remove method setting canarySettings/badPath because there is no method setting for this method ",
        ),
        (
            "replace",
            "/pets/ANY/caching/enabled",
            "Invalid method setting path: /pets/ANY/caching/enabled. Must be one of: [/deploymentId",
        ),
        ("replace", "/variables/a-b", "Stage variable name 'a-b' contains illegal characters"),
        ("replace", "/*/*/caching/ttlInSeconds", "Invalid TTL, must be between 0 and 3600"),
    ] {
        let found = plane.refused("PATCH", &stage, patch(op, path, "4000"));
        assert!(found.2.starts_with(message), "{path}: {}", found.2);
    }
    plane.good("PATCH", &stage, json!({ "patchOperations": [{ "op": "remove", "path": "/*/*" }] }));
    let shown = plane.good("GET", &stage, Value::Null);
    assert!(shown["methodSettings"].get("*/*").is_none());
    assert_eq!(
        plane.refused("DELETE", &format!("{stage}/cache/data"), Value::Null).0,
        400,
        "there is no cache"
    );
    plane.good("PATCH", &stage, patch("replace", "/cacheClusterEnabled", "true"));
    assert_eq!(plane.ask("DELETE", &format!("{stage}/cache/data"), Value::Null).unwrap().status, 202);
    assert_eq!(plane.0.rest_apis[&id].stages["prod"].cache_generation, 1);
}

#[test]
fn keys_are_unique_and_a_key_is_in_one_plan_for_a_stage() {
    let mut plane = Plane::new();
    let (id, _) = plane.deployed();
    let key = plane.good("POST", "/apikeys", json!({ "name": "k", "enabled": true }));
    assert_eq!(text(&key, "value").len(), 40);
    let taken = plane.refused("POST", "/apikeys", json!({ "value": key["value"] }));
    assert_eq!((taken.0, taken.2.as_str()), (409, "API Key already exists"));
    let stages = json!([{ "apiId": id, "stage": "prod" }]);
    let mut plans = Vec::new();
    for name in ["one", "two"] {
        plans.push(text(
            &plane.good("POST", "/usageplans", json!({ "name": name, "apiStages": stages })),
            "id",
        ));
    }
    let member = json!({ "keyId": key["id"], "keyType": "API_KEY" });
    plane.good("POST", &format!("/usageplans/{}/keys", plans[0]), member.clone());
    let shared = plane.refused("POST", &format!("/usageplans/{}/keys", plans[1]), member);
    assert!(
        shared.0 == 409 && shared.2.contains("multiple Usage Plans with the same API stage"),
        "{shared:?}"
    );
    let path = format!("/apiStages/{id}:prod/throttle//pets/GET/rateLimit");
    let plan = plane.good("PATCH", &format!("/usageplans/{}", plans[0]), patch("replace", &path, "2.5"));
    assert_eq!(plan["apiStages"][0]["throttle"]["/pets/GET"]["rateLimit"], 2.5);
    let half =
        plane.refused("PATCH", &format!("/usageplans/{}", plans[0]), patch("add", "/quota/limit", "5"));
    assert_eq!(half.2, "Usage Plan quota must have a limit and a period");
    plane.ask("DELETE", &format!("/restapis/{id}/stages/prod"), Value::Null).unwrap();
    assert!(plane.0.usage_plans[&plans[0]].api_stages.is_empty(), "a plan keeps no stage that is gone");
    plane.ask("DELETE", &format!("/apikeys/{}", text(&key, "id")), Value::Null).unwrap();
    assert!(plane.0.usage_plans[&plans[0]].keys.is_empty());
    assert_eq!(sluice_store::problems(&plane.0), Vec::<String>::new());
}

#[test]
fn keys_come_from_csv() {
    let mut plane = Plane::new();
    let file = b"Name,key,Enabled\r\nfirst,0123456789abcdefghij,\"TRUE\"\r\n\"a,b\",abcdefghij0123456789,false\nbad,short,true\n";
    let target = "/apikeys?mode=import&format=csv";
    let answer = plane.send("POST", target, Value::Null, file.to_vec()).unwrap().body.unwrap();
    assert_eq!(answer["ids"].as_array().unwrap().len(), 2, "{answer}");
    assert_eq!(answer["warnings"], json!(["API Key value should be at least 20 characters"]));
    let names: Vec<_> =
        plane.0.api_keys.values().map(|key| (key.name.clone().unwrap(), key.enabled)).collect();
    assert!(names.contains(&("a,b".into(), false)) && names.contains(&("first".into(), true)), "{names:?}");
    let strict = format!("{target}&failonwarnings=true");
    assert!(plane.send("POST", &strict, Value::Null, b"name,key\nx,short\n".to_vec()).is_err());
}

#[test]
fn pages_follow_each_other_and_positions_are_checked() {
    let mut plane = Plane::new();
    for n in 0..7 {
        plane.good("POST", "/restapis", json!({ "name": format!("n{n}") }));
    }
    let (mut seen, mut position) = (Vec::new(), String::new());
    loop {
        let page = plane.good("GET", &format!("/restapis?limit=3{position}"), Value::Null);
        seen.extend(page["item"].as_array().unwrap().iter().map(|api| text(api, "id")));
        match page["position"].as_str() {
            Some(next) => position = format!("&position={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 7);
    for query in ["limit=0", "limit=501", "limit=x", "position=zz", "position=f"] {
        assert_eq!(plane.refused("GET", &format!("/restapis?{query}"), Value::Null).0, 400, "{query}");
    }
}

#[test]
fn all_gateway_responses_have_defaults() {
    let mut plane = Plane::new();
    let (id, _) = plane.pets();
    let base = format!("/restapis/{id}/gatewayresponses");
    let all = plane.good("GET", &base, Value::Null);
    assert_eq!(all["item"].as_array().unwrap().len(), 21);
    assert_eq!(
        plane.good("GET", &format!("{base}/THROTTLED"), Value::Null),
        json!({
            "responseType": "THROTTLED", "statusCode": "429", "responseParameters": {}, "defaultResponse": true,
            "responseTemplates": { "application/json": "{\"message\":$context.error.messageString}" },
        })
    );
    let changed = plane.good("PATCH", &format!("{base}/DEFAULT_4XX"), patch("replace", "/statusCode", "444"));
    assert_eq!(
        (changed["statusCode"].as_str(), changed["defaultResponse"].as_bool()),
        (Some("444"), Some(false))
    );
    let gone = plane.refused("DELETE", &format!("{base}/THROTTLED"), Value::Null);
    assert_eq!((gone.0, gone.2.as_str()), (404, "Gateway response type not defined on api"));
    assert_eq!(plane.refused("GET", &format!("{base}/NONE_SUCH"), Value::Null).1, "ValidationException");
}

#[test]
fn domain_names_lead_to_stages_and_tags_go_by_arn() {
    let mut plane = Plane::new();
    let (id, _) = plane.deployed();
    let made = plane.good(
        "POST",
        "/domainnames",
        json!({ "domainName": "API.example.com", "endpointConfiguration": { "types": ["REGIONAL"] } }),
    );
    assert_eq!(
        (made["domainName"].as_str(), made["domainNameStatus"].as_str()),
        (Some("api.example.com"), Some("AVAILABLE"))
    );
    let base = "/domainnames/api.example.com/basepathmappings";
    let mapping = plane.good("POST", base, json!({ "restApiId": id, "stage": "prod" }));
    assert_eq!(mapping["basePath"], "(none)");
    for (input, status, message) in [
        (json!({ "restApiId": id }), 409, "Base path already exists for this domain name"),
        (json!({ "restApiId": "no", "basePath": "a" }), 400, "Invalid REST API identifier specified"),
        (
            json!({ "restApiId": id, "basePath": "a", "stage": "no" }),
            400,
            "Invalid stage identifier specified",
        ),
    ] {
        let found = plane.refused("POST", base, input);
        assert_eq!((found.0, found.2.as_str()), (status, message));
    }
    plane.good("PATCH", &format!("{base}/(none)"), patch("replace", "/basePath", "v1"));
    assert!(
        plane.refused("DELETE", &format!("/restapis/{id}"), Value::Null).2.contains("base path mappings")
    );
    let arn = format!("/tags/arn:aws:apigateway:us-east-1::%2Frestapis%2F{id}%2Fstages%2Fprod");
    plane.ask("PUT", &arn, json!({ "tags": { "a": "b" } })).unwrap();
    assert_eq!(plane.good("GET", &arn, Value::Null), json!({ "tags": { "a": "b" } }));
    assert_eq!(plane.refused("PUT", &arn, json!({ "tags": { "aws:x": "b" } })).0, 400);
    assert_eq!(plane.refused("GET", "/tags/arn:aws:s3:::bucket", Value::Null).0, 400);
}

/// Whatever JSON is sent to whatever operation: an answer, never a panic, and an error changes nothing.
#[test]
fn wrong_types_are_refused_everywhere() {
    let junk = [
        json!(1),
        json!("text"),
        json!([1, 2]),
        json!({ "name": 1, "tags": [], "patchOperations": {}, "type": {}, "endpointConfiguration": 1 }),
        json!({ "name": "x", "tags": { "a": 1 }, "patchOperations": [1], "type": "x", "apiStages": [1] }),
        json!({ "patchOperations": [{ "op": "replace", "path": "no-slash" }], "domainName": [], "keyId": {} }),
        json!({ "patchOperations": [{ "op": "replace", "path": "/", "value": 1 }], "pathPart": {} }),
        json!({ "patchOperations": [{ "op": "copy", "path": "/a/b/c/d/e", "from": "/x" }] }),
    ];
    let mut plane = Plane::new();
    let (id, at) = plane.pets();
    let api = format!("/restapis/{id}");
    let paths: Vec<String> =
        ["/restapis", "/apikeys", "/usageplans", "/domainnames", "/vpclinks", "/account"]
            .map(str::to_owned)
            .into_iter()
            .chain([at.clone(), format!("{at}/integration"), format!("{at}/responses/200"), api.clone()])
            .chain(
                ["models", "authorizers", "requestvalidators", "stages", "deployments"]
                    .map(|what| format!("{api}/{what}")),
            )
            .collect();
    for path in &paths {
        for method in ["POST", "PUT", "PATCH"] {
            let missing = routes::find(method, path, None)
                .is_none_or(|(operation, _)| matches!(operation.handler, Handler::Missing));
            for input in junk.iter().filter(|_| !missing) {
                let before = plane.0.clone();
                if let Err(fault) = plane.ask(method, path, input.clone()) {
                    assert!((400..500).contains(&fault.status), "{method} {path} {input}: {fault:?}");
                    assert_eq!(plane.0, before, "{method} {path} {input}");
                }
            }
        }
    }
}

#[test]
fn junk_is_refused_in_awss_form_and_changes_nothing() {
    let mut plane = Plane::new();
    let api = plane.good("POST", "/restapis", json!({ "name": "a" }));
    let key = plane.good("POST", "/apikeys", json!({ "name": "k" }));
    let (api, root, key) = (api["id"].clone(), api["rootResourceId"].clone(), key["id"].clone());
    let access =
        Arc::new(Access { development: true, integration_timeout_max_ms: 29_000, ..Access::default() });
    let nested = format!("{{\"name\": {}1{}}}", "[".repeat(5_000), "]".repeat(5_000));
    let long = format!("{{\"name\": \"{}\", \"patchOperations\": \"x\"}}", "n".repeat(1 << 20));
    let bodies = [
        "",
        "null",
        "[]",
        "1",
        "\"x\"",
        "{",
        "\u{0}",
        "{\"name\": []}",
        "{\"name\": {}}",
        "{\"type\": 7}",
        "{\"tags\": [1]}",
        "{\"patchOperations\": {}}",
        "{\"patchOperations\": [1]}",
        "{\"patchOperations\": [{\"op\": \"fly\"}]}",
        "{\"patchOperations\": [{\"op\": \"replace\", \"path\": \"/~\", \"value\": 1}]}",
        &nested,
        &long,
    ];
    for (method, path) in routes::all().filter(|(method, _)| ["POST", "PUT", "PATCH"].contains(method)) {
        let path = path
            .replace("{restapi_id}", api.as_str().unwrap())
            .replace("{resource_id}", root.as_str().unwrap())
            .replace("{parent_id}", root.as_str().unwrap())
            .replace("{api_key}", key.as_str().unwrap())
            .replace("{http_method}", "GET");
        for body in bodies {
            let mut catalog = plane.0.clone();
            let target = (method, path.as_str(), "");
            let (status, error) = super::carry_out(&mut catalog, &access, target, body.as_bytes());
            let Some((kind, message)) = error else { continue };
            let told: String = body.chars().take(60).collect();
            assert!((400..500).contains(&status) || status == 501, "{method} {path} {told}: {status} {kind}");
            assert!(
                kind.ends_with("Exception") && !message.is_empty(),
                "{method} {path} {told}: {kind} {message}"
            );
            assert!(catalog == plane.0, "{method} {path} {told}");
        }
    }
}

#[test]
fn a_models_template_is_an_example_of_it() {
    let mut plane = Plane::new();
    let api = plane.good("POST", "/restapis", json!({ "name": "a" }));
    let models = format!("/restapis/{}/models", api["id"].as_str().unwrap());
    let mut model = |name: &str, schema: Value| {
        let model = json!({ "name": name, "schema": schema.to_string(), "contentType": "application/json" });
        plane.good("POST", &models, model);
    };
    model("Tag", json!({ "type": "string" }));
    model(
        "Pet",
        json!({ "type": "object", "properties": {
            "id": { "type": "integer" },
            "tag": { "$ref": "https://apigateway.amazonaws.com/restapis/a/models/Tag" }
        } }),
    );
    let told = plane.good("GET", &format!("{models}/Pet/default_template"), Value::Null);
    assert_eq!(
        told["value"],
        "#set($inputRoot = $input.path('$'))\n{\n  \"id\" : 42,\n  \"tag\" : \"foo\"\n}\n"
    );
    let unknown = plane.refused("GET", &format!("{models}/None/default_template"), Value::Null);
    assert_eq!((unknown.0, unknown.1), (404, "NotFoundException"));
}
