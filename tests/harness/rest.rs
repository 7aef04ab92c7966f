//! REST APIs for tests, written as the control plane keeps them.

use serde_json::{Map, Value, json};

use crate::call::Call;
use crate::gateway::Gateway;

/// A REST API with one deployment behind each stage.
#[derive(Clone, Debug)]
pub struct RestApi {
    id: String,
    definition: Value,
    stages: Map<String, Value>,
    deployments: Map<String, Value>,
}

impl RestApi {
    pub fn new(id: &str) -> Self {
        let definition = json!({ "resources": {} });
        Self { id: id.to_owned(), definition, stages: Map::new(), deployments: Map::new() }
    }

    /// Sets a field of the definition.
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.definition[field] = value;
        self
    }

    /// Adds a method with this integration.
    pub fn method(self, name: &str, path: &str, integration: Value) -> Self {
        self.method_with(name, path, integration, json!({}))
    }

    /// Adds a method with this integration and these fields of its own.
    pub fn method_with(mut self, name: &str, path: &str, integration: Value, fields: Value) -> Self {
        let mut method =
            json!({ "httpMethod": name, "authorizationType": "NONE", "methodIntegration": integration });
        merge(&mut method, fields);
        let resource = &mut self.definition["resources"][path];
        if resource.is_null() {
            *resource = json!({ "id": path, "path": path, "resourceMethods": {} });
        }
        resource["resourceMethods"][name] = method;
        self
    }

    /// Deploys what is defined so far to a stage.
    pub fn deploy(self, stage: &str) -> Self {
        self.deploy_with(stage, json!({}))
    }

    /// Deploys what is defined so far to a stage with these fields.
    pub fn deploy_with(mut self, stage: &str, fields: Value) -> Self {
        let id = format!("d{}", self.deployments.len());
        self.deployments.insert(id.clone(), json!({ "id": id, "definition": self.definition }));
        let mut value = json!({ "stageName": stage, "deploymentId": id });
        merge(&mut value, fields);
        self.stages.insert(stage.to_owned(), value);
        self
    }

    fn to_value(&self) -> Value {
        let mut api = self.definition.clone();
        merge(
            &mut api,
            json!({ "id": self.id, "name": self.id, "stages": self.stages, "deployments": self.deployments }),
        );
        api
    }
}

fn merge(to: &mut Value, from: Value) {
    if let (Value::Object(to), Value::Object(from)) = (to, from) {
        to.extend(from);
    }
}

/// A MOCK that answers with this body.
pub fn mock(body: &str) -> Value {
    json!({
        "type": "MOCK",
        "requestTemplates": { "application/json": "{\"statusCode\": 200}" },
        "passthroughBehavior": "WHEN_NO_MATCH",
        "integrationResponses": {
            "200": { "statusCode": "200", "responseTemplates": { "application/json": body } }
        }
    })
}

/// An HTTP_PROXY to this URI; `{name}` in it is the method's path parameter of that name.
pub fn http_proxy(uri: &str) -> Value {
    let mut parameters = Map::new();
    for name in uri.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)) {
        let to = format!("integration.request.path.{name}");
        parameters.insert(to, json!(format!("method.request.path.{name}")));
    }
    json!({
        "type": "HTTP_PROXY",
        "httpMethod": "ANY",
        "uri": uri,
        "requestParameters": parameters,
        "passthroughBehavior": "WHEN_NO_MATCH",
        "timeoutInMillis": 29000
    })
}

/// A catalog of these APIs, to which more can be added.
pub fn catalog(apis: &[RestApi]) -> Value {
    let apis: Map<_, _> = apis.iter().map(|api| (api.id.clone(), api.to_value())).collect();
    json!({ "restApis": apis })
}

impl Gateway {
    /// Serves these REST APIs in place of all others.
    #[track_caller]
    pub fn serve_rest(&self, apis: &[RestApi]) {
        self.serve_catalog(&catalog(apis));
    }

    #[track_caller]
    pub fn serve_catalog(&self, catalog: &Value) {
        let response = self.operator_call("PUT", "/catalog", &catalog.to_string());
        assert_eq!(response.status, 200, "{response:?}");
    }

    /// One GET below a stage.
    pub fn rest(&self, api: &str, stage: &str, path: &str) -> crate::http::Response {
        self.rest_call(api, stage, path, |call| call)
    }

    /// One request below a stage.
    pub fn rest_call(
        &self,
        api: &str,
        stage: &str,
        path: &str,
        with: impl FnOnce(Call) -> Call,
    ) -> crate::http::Response {
        self.call(&with(Call::get(&format!("/restapis/{api}/{stage}/_user_request_{path}"))))
    }
}

/// An integration with a Lambda function: `AWS_PROXY`, or `AWS` with what else it takes.
pub fn lambda(kind: &str, function: &str) -> Value {
    let arn = if function.starts_with("arn:") {
        function.to_owned()
    } else {
        format!("arn:aws:lambda:us-east-1:123456789012:function:{function}")
    };
    json!({
        "type": kind,
        "httpMethod": "POST",
        "uri": format!("arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{arn}/invocations"),
        "passthroughBehavior": "WHEN_NO_MATCH",
        "timeoutInMillis": 29000
    })
}
