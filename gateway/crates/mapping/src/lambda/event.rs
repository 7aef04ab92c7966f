//! The event of payload format 1.0.

use super::json::Writer;
use crate::context::ContextVariable as Variable;
use crate::percent;
use crate::view::{Request, RequestView};
use sluice_vtl::ContextValue;
use sluice_vtl::base64_encode;
use std::borrow::Cow;
use std::collections::HashMap;

/// What an event tells beside what a [`Request`] knows.
#[derive(Clone, Copy, Debug)]
pub struct EventFacts<'a> {
    /// The path as the client wrote it, without the stage, with a base path.
    pub path: &'a str,
    /// The headers, with those that the gateway adds.
    pub headers: &'a [(Cow<'a, str>, Cow<'a, str>)],
    /// The body goes as base64: its media type is one of the API's binary ones.
    pub is_binary: bool,
    /// Of an HTTP API: the event says which payload format it has.
    pub is_http_api: bool,
}

/// Those of `requestContext.identity` that are there in every event, `null` where they say nothing.
const IDENTITY: &[(&str, Option<Variable>)] = &[
    ("cognitoIdentityPoolId", Some(Variable::CognitoIdentityPoolId)),
    ("accountId", Some(Variable::IdentityAccountId)),
    ("cognitoIdentityId", Some(Variable::CognitoIdentityId)),
    ("caller", Some(Variable::IdentityCaller)),
    ("sourceIp", Some(Variable::IdentitySourceIp)),
    ("principalOrgId", Some(Variable::IdentityPrincipalOrgId)),
    // It has no `$context` variable, and is asked for by itself.
    ("accessKey", None),
    ("cognitoAuthenticationType", Some(Variable::CognitoAuthenticationType)),
    ("cognitoAuthenticationProvider", Some(Variable::CognitoAuthenticationProvider)),
    ("userArn", Some(Variable::IdentityUserArn)),
    ("userAgent", Some(Variable::IdentityUserAgent)),
    ("user", Some(Variable::IdentityUser)),
];

/// Those that are there only where they say something.
const IDENTITY_IF_ANY: &[(&str, Variable)] = &[
    ("apiKey", Variable::IdentityApiKey),
    ("apiKeyId", Variable::IdentityApiKeyId),
    ("vpcId", Variable::IdentityVpcId),
    ("vpceId", Variable::IdentityVpceId),
];

/// Of `requestContext`.
const CONTEXT: &[(&str, Variable)] = &[
    ("resourceId", Variable::ResourceId),
    ("resourcePath", Variable::ResourcePath),
    ("httpMethod", Variable::HttpMethod),
    ("extendedRequestId", Variable::ExtendedRequestId),
    ("requestTime", Variable::RequestTime),
    ("path", Variable::Path),
    ("accountId", Variable::AccountId),
    ("protocol", Variable::Protocol),
    ("stage", Variable::Stage),
    ("domainPrefix", Variable::DomainPrefix),
    ("requestTimeEpoch", Variable::RequestTimeEpoch),
    ("requestId", Variable::RequestId),
    ("domainName", Variable::DomainName),
    ("deploymentId", Variable::DeploymentId),
    ("apiId", Variable::ApiId),
];

/// Appends the event.
pub fn proxy_event(request: &Request<'_>, facts: &EventFacts<'_>, out: &mut Vec<u8>) {
    let view = request.view();
    let mut event = Writer::object(out);
    if facts.is_http_api {
        event.text("version", "1.0");
    }
    described(&mut event, request, facts);
    let body = view.body();
    match (body, facts.is_binary) {
        ([], _) => event.raw("body", "null"),
        (body, true) => event.text("body", &base64_encode(body)),
        (body, false) => event.text("body", &String::from_utf8_lossy(body)),
    }
    event.raw("isBase64Encoded", if facts.is_binary && !body.is_empty() { "true" } else { "false" });
    event.end();
}

/// Appends the event of a REQUEST authorizer: all but the body (developer guide, "Input to an API Gateway Lambda
/// authorizer").
pub fn authorizer_event(request: &Request<'_>, facts: &EventFacts<'_>, method_arn: &str, out: &mut Vec<u8>) {
    let mut event = Writer::object(out);
    event.text("type", "REQUEST");
    event.text("methodArn", method_arn);
    described(&mut event, request, facts);
    event.end();
}

/// Appends the event of an HTTP API's REQUEST authorizer in this format (developer guide, "Control access to HTTP APIs with AWS
/// Lambda authorizers"). `identity`: what its identity sources are in this request. Names have one value here, the last, and
/// where there are none, the object is empty.
pub fn http_authorizer_event_v1(
    request: &Request<'_>,
    facts: &EventFacts<'_>,
    method_arn: &str,
    identity: &[String],
    out: &mut Vec<u8>,
) {
    let view = request.view();
    let mut event = Writer::object(out);
    event.text("version", "1.0");
    event.text("type", "REQUEST");
    event.text("methodArn", method_arn);
    if !identity.is_empty() {
        let identity = identity.join(",");
        event.text("identitySource", &identity);
        event.text("authorizationToken", &identity);
    }
    event.value("resource", view.context(Variable::ResourcePath));
    event.text("path", facts.path);
    event.value("httpMethod", view.context(Variable::HttpMethod));
    Grouped::new(facts.headers.iter().map(|(name, value)| (&**name, &**value))).last(&mut event, "headers");
    let query: Vec<_> = percent::query(view.query()).collect();
    Grouped::new(query.iter().map(|(name, value)| (&**name, &**value)))
        .last(&mut event, "queryStringParameters");
    let (mut parameters, mut variables) = (Vec::new(), Vec::new());
    view.path_parameters(&mut |name, raw| parameters.push((name, raw)));
    view.stage_variables(&mut |name, value| variables.push((name, value)));
    for (name, pairs) in [("pathParameters", &parameters), ("stageVariables", &variables)] {
        event.inner(name, |inner| pairs.iter().for_each(|(name, value)| inner.text(name, value)));
    }
    event.inner("requestContext", |inner| context(inner, view));
    event.end();
}

/// Appends the event of a TOKEN authorizer.
pub fn token_event(token: &str, method_arn: &str, out: &mut Vec<u8>) {
    let mut event = Writer::object(out);
    event.text("type", "TOKEN");
    event.text("methodArn", method_arn);
    event.text("authorizationToken", token);
    event.end();
}

/// A request but for its body.
fn described(event: &mut Writer<'_>, request: &Request<'_>, facts: &EventFacts<'_>) {
    let view = request.view();
    event.value("resource", view.context(Variable::ResourcePath));
    event.text("path", facts.path);
    event.value("httpMethod", view.context(Variable::HttpMethod));
    let headers = Grouped::new(facts.headers.iter().map(|(name, value)| (&**name, &**value)));
    headers.write(event, "headers", "multiValueHeaders");
    let query: Vec<_> = percent::query(view.query()).collect();
    let query = Grouped::new(query.iter().map(|(name, value)| (&**name, &**value)));
    query.write(event, "queryStringParameters", "multiValueQueryStringParameters");
    // As the client wrote them: AWS decodes the query of an event, but neither its path nor what the path holds.
    let mut parameters = Vec::new();
    view.path_parameters(&mut |name, raw| parameters.push((name, raw)));
    pairs(event, "pathParameters", &parameters);
    let mut variables = Vec::new();
    view.stage_variables(&mut |name, value| variables.push((name, value)));
    pairs(event, "stageVariables", &variables);
    event.inner("requestContext", |inner| context(inner, view));
}

fn pairs(event: &mut Writer<'_>, name: &str, pairs: &[(&str, &str)]) {
    if pairs.is_empty() {
        return event.raw(name, "null");
    }
    event.inner(name, |inner| pairs.iter().for_each(|(name, value)| inner.text(name, value)));
}

fn context(inner: &mut Writer<'_>, view: &dyn RequestView) {
    authorizer(inner, view);
    for (name, variable) in CONTEXT {
        inner.value(name, view.context(*variable));
    }
    inner.inner("identity", |identity| {
        for (name, variable) in IDENTITY {
            let value = match variable {
                Some(variable) => view.context(*variable),
                None => view.access_key().map(ContextValue::Str),
            };
            identity.value(name, value);
        }
        for (name, variable) in IDENTITY_IF_ANY {
            if let Some(value) = view.context(*variable) {
                identity.value(name, Some(value));
            }
        }
        if view.context(Variable::ClientCertPem).is_some() {
            identity.inner("clientCert", |certificate| client_certificate(certificate, view));
        }
    });
}

pub(super) fn client_certificate(certificate: &mut Writer<'_>, view: &dyn RequestView) {
    for (name, variable) in [
        ("clientCertPem", Variable::ClientCertPem),
        ("subjectDN", Variable::ClientCertSubjectDn),
        ("issuerDN", Variable::ClientCertIssuerDn),
        ("serialNumber", Variable::ClientCertSerialNumber),
    ] {
        certificate.value(name, view.context(variable));
    }
    certificate.inner("validity", |validity| {
        validity.value("notBefore", view.context(Variable::ClientCertNotBefore));
        validity.value("notAfter", view.context(Variable::ClientCertNotAfter));
    });
}

/// What an authorizer said; nothing where there is none.
fn authorizer(inner: &mut Writer<'_>, view: &dyn RequestView) {
    let (mut claims, mut said) = (Vec::new(), Vec::new());
    view.claims(&mut |name, value| claims.push((name, value)));
    view.authorizer(&mut |name, value| said.push((name, value)));
    let principal = view.context(Variable::AuthorizerPrincipalId);
    if claims.is_empty() && said.is_empty() && principal.is_none() {
        return;
    }
    inner.inner("authorizer", |authorizer| {
        if !claims.is_empty() {
            authorizer.inner("claims", |inner| write_all(inner, &claims));
        }
        write_all(authorizer, &said);
        if let Some(principal) = principal {
            authorizer.value("principalId", Some(principal));
        }
        // "integrationLatency" is of Lambda authorizers.
        if let Some(latency) = view.context(Variable::AuthorizerIntegrationLatency) {
            authorizer.value("integrationLatency", Some(latency));
        }
    });
}

fn write_all(to: &mut Writer<'_>, pairs: &[(&str, ContextValue<'_>)]) {
    for (name, value) in pairs {
        to.value(name, Some(*value));
    }
}

/// Values by name, in the order in which names came.
struct Grouped<'t> {
    groups: Vec<(&'t str, Vec<&'t str>)>,
}

impl<'t> Grouped<'t> {
    /// By hash: callers choose the names, and thousands of them fit into a query.
    fn new(pairs: impl Iterator<Item = (&'t str, &'t str)>) -> Self {
        let mut places = HashMap::new();
        let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
        for (name, value) in pairs {
            let at = *places.entry(name).or_insert(groups.len());
            match groups.get_mut(at) {
                Some((_, values)) => values.push(value),
                None => groups.push((name, vec![value])),
            }
        }
        Self { groups }
    }

    /// The last value of each, and all of them; `null` where there is none.
    fn write(&self, event: &mut Writer<'_>, single: &str, multi: &str) {
        if self.groups.is_empty() {
            event.raw(single, "null");
            return event.raw(multi, "null");
        }
        self.last(event, single);
        event.inner(multi, |inner| {
            for (name, values) in &self.groups {
                inner.texts(name, values.iter().copied());
            }
        });
    }

    /// The last value of each.
    fn last(&self, event: &mut Writer<'_>, name: &str) {
        event.inner(name, |inner| {
            for (name, values) in &self.groups {
                inner.text(name, values.last().copied().unwrap_or_default());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestRequest;

    fn event(request: &TestRequest, facts: &EventFacts<'_>) -> String {
        let mut out = Vec::new();
        proxy_event(&Request::new(request), facts, &mut out);
        String::from_utf8(out).unwrap()
    }

    const BARE: EventFacts<'_> = EventFacts { path: "/", headers: &[], is_binary: false, is_http_api: false };

    #[test]
    fn an_event_without_anything_has_nulls() {
        let text = event(&TestRequest::default(), &BARE);
        for null in [
            "headers",
            "multiValueHeaders",
            "queryStringParameters",
            "multiValueQueryStringParameters",
            "pathParameters",
            "stageVariables",
            "body",
            "accessKey",
            "userArn",
        ] {
            assert!(text.contains(&format!("\"{null}\":null")), "{null}: {text}");
        }
        assert!(!text.contains("\"authorizer\"") && !text.contains("apiKey") && !text.contains("clientCert"));
        assert!(text.ends_with("\"isBase64Encoded\":false}"));
        assert!(text.starts_with("{\"resource\":"), "REST APIs tell no version");
        let text = event(&TestRequest::default(), &EventFacts { is_http_api: true, ..BARE });
        assert!(text.starts_with("{\"version\":\"1.0\",\"resource\":"), "{text}");
    }

    #[test]
    fn many_values_of_a_name_and_the_last_of_them() {
        let request = TestRequest {
            query: "a=1&b=x%20y+z&a=2&c",
            path: vec![("id", "a%2Fb")],
            stage: vec![("table", "users")],
            body: b"hello \"you\"".to_vec(),
            ..TestRequest::default()
        };
        let headers = [("X", "1"), ("Y", "2"), ("X", "3")].map(|(n, v)| (Cow::Borrowed(n), Cow::Borrowed(v)));
        let text = event(&request, &EventFacts { path: "/users/a%2Fb", headers: &headers, ..BARE });
        for part in [
            r#""path":"/users/a%2Fb""#,
            r#""headers":{"X":"3","Y":"2"},"multiValueHeaders":{"X":["1","3"],"Y":["2"]}"#,
            r#""queryStringParameters":{"a":"2","b":"x y z","c":""}"#,
            r#""multiValueQueryStringParameters":{"a":["1","2"],"b":["x y z"],"c":[""]}"#,
            r#""pathParameters":{"id":"a%2Fb"},"stageVariables":{"table":"users"}"#,
            r#""body":"hello \"you\"","isBase64Encoded":false"#,
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn an_authorizer_of_an_http_api_is_told_one_value_of_each_name() {
        let request = TestRequest { query: "a=1&a=2", path: vec![("id", "a%2Fb")], ..TestRequest::default() };
        let headers = [("X", "1"), ("X", "3")].map(|(n, v)| (Cow::Borrowed(n), Cow::Borrowed(v)));
        let facts = EventFacts { path: "/users/a%2Fb", headers: &headers, is_http_api: true, ..BARE };
        let told = |identity: &[&str], request: &TestRequest, facts: &EventFacts<'_>| {
            let identity: Vec<_> = identity.iter().map(|source| (*source).to_owned()).collect();
            let mut out = Vec::new();
            http_authorizer_event_v1(&Request::new(request), facts, "arn:x", &identity, &mut out);
            String::from_utf8(out).unwrap()
        };
        let text = told(&["user1", "123"], &request, &facts);
        assert!(text.starts_with(
            r#"{"version":"1.0","type":"REQUEST","methodArn":"arn:x","identitySource":"user1,123","authorizationToken":"user1,123","resource":"#
        ), "{text}");
        let end = r#""headers":{"X":"3"},"queryStringParameters":{"a":"2"},"pathParameters":{"id":"a%2Fb"},"stageVariables":{},"requestContext":{"#;
        assert!(text.contains(end) && !text.contains("body") && !text.contains("multiValue"), "{text}");
        let text = told(&[], &TestRequest::default(), &BARE);
        assert!(!text.contains("identitySource") && !text.contains("authorizationToken"), "{text}");
        assert!(text.contains(r#""headers":{},"queryStringParameters":{},"pathParameters":{}"#), "{text}");
    }

    #[test]
    fn binary_bodies_and_authorizers() {
        let request = TestRequest {
            body: vec![0, 255, 1],
            authorizer: vec![("tier", "gold")],
            claims: vec![("sub", "me")],
            context: vec![(Variable::AuthorizerPrincipalId, "p")],
            ..TestRequest::default()
        };
        let text = event(&request, &EventFacts { is_binary: true, ..BARE });
        assert!(text.contains(r#""body":"AP8B","isBase64Encoded":true"#), "{text}");
        assert!(
            text.contains(r#""authorizer":{"claims":{"sub":"me"},"tier":"gold","principalId":"p"}"#),
            "{text}"
        );
    }
}
