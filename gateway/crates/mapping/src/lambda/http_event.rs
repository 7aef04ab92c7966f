//! The events of payload format 2.0: HTTP APIs' functions and REQUEST authorizers.
//!
//! Developer guide, "Create AWS Lambda proxy integrations for HTTP APIs in API Gateway" and "Control access to HTTP APIs with
//! AWS Lambda authorizers". A member that has nothing to say is absent, never `null`.

use super::event::client_certificate;
use super::json::Writer;
use crate::context::ContextVariable as Variable;
use crate::percent;
use crate::view::{Request, RequestView};
use sluice_vtl::base64_encode;
use std::borrow::Cow;
use std::collections::HashMap;

/// What an event tells beside what a [`Request`] knows.
#[derive(Clone, Copy, Debug)]
pub struct HttpEventFacts<'a> {
    /// `GET /users/{id}`, `ANY /{proxy+}`.
    pub route_key: &'a str,
    /// The path as the client wrote it.
    pub raw_path: &'a str,
    /// The headers, with those that the gateway adds.
    pub headers: &'a [(Cow<'a, str>, Cow<'a, str>)],
    /// The body's media type.
    pub content_type: Option<&'a str>,
    /// It has a content coding, so it is no text.
    pub is_encoded: bool,
    /// What an authorizer said, as JSON: `{"jwt":{…}}` or `{"lambda":{…}}`.
    pub authorizer: Option<&'a str>,
}

impl HttpEventFacts<'_> {
    /// Whether a body goes as text, and not as base64: its media type says that it is text, and it is.
    #[must_use]
    pub fn is_text(&self, body: &[u8]) -> bool {
        text_of(body, self).is_some()
    }
}

/// Appends the event of a function.
pub fn http_event(request: &Request<'_>, facts: &HttpEventFacts<'_>, out: &mut Vec<u8>) {
    let view = request.view();
    let mut event = Writer::object(out);
    event.text("version", "2.0");
    described(&mut event, request, facts);
    let body = view.body();
    let text = text_of(body, facts);
    match text {
        _ if body.is_empty() => {}
        Some(text) => event.text("body", text),
        None => event.text("body", &base64_encode(body)),
    }
    event.raw("isBase64Encoded", if body.is_empty() || text.is_some() { "false" } else { "true" });
    event.end();
}

/// Appends the event of a REQUEST authorizer. `identity`: what its identity sources are in this request.
pub fn http_authorizer_event(
    request: &Request<'_>,
    facts: &HttpEventFacts<'_>,
    route_arn: &str,
    identity: &[String],
    out: &mut Vec<u8>,
) {
    let mut event = Writer::object(out);
    event.text("version", "2.0");
    event.text("type", "REQUEST");
    event.text("routeArn", route_arn);
    if !identity.is_empty() {
        event.texts("identitySource", identity.iter().map(String::as_str));
    }
    described(&mut event, request, facts);
    event.end();
}

/// The body, where its media type says that it is text, and it is.
fn text_of<'b>(body: &'b [u8], facts: &HttpEventFacts<'_>) -> Option<&'b str> {
    let essence = facts.content_type.unwrap_or("text/plain").split(';').next().unwrap_or_default().trim();
    let is_text = essence.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("text/"))
        || ["application/json", "application/javascript", "application/xml"]
            .iter()
            .any(|known| essence.eq_ignore_ascii_case(known));
    std::str::from_utf8(body).ok().filter(|_| is_text && !facts.is_encoded)
}

fn described(event: &mut Writer<'_>, request: &Request<'_>, facts: &HttpEventFacts<'_>) {
    let view = request.view();
    event.text("routeKey", facts.route_key);
    event.text("rawPath", facts.raw_path);
    event.text("rawQueryString", view.query());
    let is_cookie = |name: &str| name.eq_ignore_ascii_case("cookie");
    let cookies = facts.headers.iter().filter(|(name, _)| is_cookie(name));
    let cookies: Vec<&str> = cookies.flat_map(|(_, value)| value.split(';')).map(str::trim).collect();
    if !cookies.is_empty() {
        event.texts("cookies", cookies.iter().copied());
    }
    let headers = facts.headers.iter().filter(|(name, _)| !is_cookie(name));
    let lower: Vec<_> = headers.map(|(name, value)| (name.to_ascii_lowercase(), &**value)).collect();
    joined(event, "headers", lower.iter().map(|(name, value)| (name.as_str(), *value)));
    let query: Vec<_> = percent::query(view.query()).collect();
    if !query.is_empty() {
        joined(event, "queryStringParameters", query.iter().map(|(name, value)| (&**name, &**value)));
    }
    event.inner("requestContext", |inner| context(inner, view, facts));
    let mut parameters = Vec::new();
    view.path_parameters(&mut |name, raw| parameters.push((name, percent::decode(raw, false))));
    if !parameters.is_empty() {
        event.inner("pathParameters", |inner| {
            parameters.iter().for_each(|(name, value)| inner.text(name, value));
        });
    }
    let mut variables = Vec::new();
    view.stage_variables(&mut |name, value| variables.push((name, value)));
    if !variables.is_empty() {
        event.inner("stageVariables", |inner| {
            variables.iter().for_each(|(name, value)| inner.text(name, value));
        });
    }
}

/// Each name once, its values joined by commas in the order in which they came. By hash: callers choose the names.
fn joined<'t>(event: &mut Writer<'_>, name: &str, pairs: impl Iterator<Item = (&'t str, &'t str)>) {
    let mut places = HashMap::new();
    let mut groups: Vec<(&str, Cow<'t, str>)> = Vec::new();
    for (name, value) in pairs {
        let at = *places.entry(name).or_insert(groups.len());
        match groups.get_mut(at) {
            Some((_, values)) => {
                let values = values.to_mut();
                values.push(',');
                values.push_str(value);
            }
            None => groups.push((name, Cow::Borrowed(value))),
        }
    }
    event.inner(name, |inner| groups.iter().for_each(|(name, value)| inner.text(name, value)));
}

fn context(inner: &mut Writer<'_>, view: &dyn RequestView, facts: &HttpEventFacts<'_>) {
    let some = |to: &mut Writer<'_>, name: &str, variable| {
        if let Some(value) = view.context(variable) {
            to.value(name, Some(value));
        }
    };
    some(inner, "accountId", Variable::AccountId);
    some(inner, "apiId", Variable::ApiId);
    if view.context(Variable::ClientCertPem).is_some() {
        inner.inner("authentication", |authentication| {
            authentication.inner("clientCert", |certificate| client_certificate(certificate, view));
        });
    }
    if let Some(authorizer) = facts.authorizer {
        inner.raw("authorizer", authorizer);
    }
    some(inner, "domainName", Variable::DomainName);
    some(inner, "domainPrefix", Variable::DomainPrefix);
    inner.inner("http", |http| {
        some(http, "method", Variable::HttpMethod);
        http.text("path", facts.raw_path);
        some(http, "protocol", Variable::Protocol);
        some(http, "sourceIp", Variable::IdentitySourceIp);
        some(http, "userAgent", Variable::IdentityUserAgent);
    });
    some(inner, "requestId", Variable::RequestId);
    inner.text("routeKey", facts.route_key);
    some(inner, "stage", Variable::Stage);
    some(inner, "time", Variable::RequestTime);
    some(inner, "timeEpoch", Variable::RequestTimeEpoch);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestRequest;

    const BARE: HttpEventFacts<'_> = HttpEventFacts {
        route_key: "ANY /",
        raw_path: "/",
        headers: &[],
        content_type: None,
        is_encoded: false,
        authorizer: None,
    };

    fn event(request: &TestRequest, facts: &HttpEventFacts<'_>) -> String {
        let mut out = Vec::new();
        http_event(&Request::new(request), facts, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_has_nothing_to_say_is_absent() {
        assert_eq!(
            event(&TestRequest::default(), &BARE),
            r#"{"version":"2.0","routeKey":"ANY /","rawPath":"/","rawQueryString":"","headers":{},"requestContext":{"http":{"path":"/"},"routeKey":"ANY /","timeEpoch":1700000000123},"isBase64Encoded":false}"#
        );
    }

    /// The guide's own example, with its values.
    #[test]
    fn the_event_of_the_guide() {
        let request = TestRequest {
            path: vec![("parameter1", "value%201")],
            query: "parameter1=value1&parameter1=value2&parameter2=value",
            body: b"Hello from Lambda".to_vec(),
            context: vec![
                (Variable::AccountId, "123456789012"),
                (Variable::ApiId, "api-id"),
                (Variable::ClientCertPem, "CERT_CONTENT"),
                (Variable::ClientCertSubjectDn, "www.example.com"),
                (Variable::ClientCertIssuerDn, "Example issuer"),
                (Variable::ClientCertSerialNumber, "a1:a1"),
                (Variable::ClientCertNotBefore, "May 28 12:30:02 2019 GMT"),
                (Variable::ClientCertNotAfter, "Aug  5 09:36:04 2021 GMT"),
                (Variable::DomainName, "id.execute-api.us-east-1.amazonaws.com"),
                (Variable::DomainPrefix, "id"),
                (Variable::HttpMethod, "POST"),
                (Variable::Protocol, "HTTP/1.1"),
                (Variable::IdentitySourceIp, "192.0.2.1"),
                (Variable::IdentityUserAgent, "agent"),
                (Variable::RequestId, "id"),
                (Variable::Stage, "$default"),
                (Variable::RequestTime, "12/Mar/2020:19:03:58 +0000"),
            ],
            stage: vec![("stageVariable1", "value1")],
            ..TestRequest::default()
        };
        let headers = [
            ("Header1", "value1"),
            ("Cookie", "cookie1; cookie2"),
            ("header2", "value1"),
            ("HEADER2", "value2"),
        ]
        .map(|(n, v)| (Cow::Borrowed(n), Cow::Borrowed(v)));
        let facts = HttpEventFacts {
            route_key: "$default",
            raw_path: "/my/path",
            headers: &headers,
            authorizer: Some(r#"{"jwt":{"claims":{"claim1":"value1"},"scopes":["scope1"]}}"#),
            ..BARE
        };
        assert_eq!(
            event(&request, &facts),
            concat!(
                r#"{"version":"2.0","routeKey":"$default","rawPath":"/my/path","#,
                r#""rawQueryString":"parameter1=value1&parameter1=value2&parameter2=value","#,
                r#""cookies":["cookie1","cookie2"],"headers":{"header1":"value1","header2":"value1,value2"},"#,
                r#""queryStringParameters":{"parameter1":"value1,value2","parameter2":"value"},"#,
                r#""requestContext":{"accountId":"123456789012","apiId":"api-id","#,
                r#""authentication":{"clientCert":{"clientCertPem":"CERT_CONTENT","subjectDN":"www.example.com","#,
                r#""issuerDN":"Example issuer","serialNumber":"a1:a1","validity":{"notBefore":"May 28 12:30:02 2019 GMT","#,
                r#""notAfter":"Aug  5 09:36:04 2021 GMT"}}},"#,
                r#""authorizer":{"jwt":{"claims":{"claim1":"value1"},"scopes":["scope1"]}},"#,
                r#""domainName":"id.execute-api.us-east-1.amazonaws.com","domainPrefix":"id","#,
                r#""http":{"method":"POST","path":"/my/path","protocol":"HTTP/1.1","sourceIp":"192.0.2.1","userAgent":"agent"},"#,
                r#""requestId":"id","routeKey":"$default","stage":"$default","time":"12/Mar/2020:19:03:58 +0000","#,
                r#""timeEpoch":1700000000123},"pathParameters":{"parameter1":"value 1"},"#,
                r#""stageVariables":{"stageVariable1":"value1"},"body":"Hello from Lambda","isBase64Encoded":false}"#,
            )
        );
    }

    #[test]
    fn bodies_are_text_where_their_type_says_so() {
        let told = |content_type, body: &[u8], is_encoded| {
            let request = TestRequest { body: body.to_vec(), ..TestRequest::default() };
            let facts = HttpEventFacts { content_type, is_encoded, ..BARE };
            event(&request, &facts).split_once("\"body\":").unwrap().1.to_owned()
        };
        for text in
            ["text/csv", "Application/JSON; charset=utf-8", "application/xml", "application/javascript"]
        {
            assert_eq!(told(Some(text), b"{}", false), r#""{}","isBase64Encoded":false}"#, "{text}");
        }
        for other in ["application/x-www-form-urlencoded", "image/png", "application/octet-stream", ""] {
            assert_eq!(told(Some(other), b"{}", false), r#""e30=","isBase64Encoded":true}"#, "{other}");
        }
        assert_eq!(told(None, b"{}", false), r#""{}","isBase64Encoded":false}"#);
        assert_eq!(
            told(None, &[0xff], false),
            r#""/w==","isBase64Encoded":true}"#,
            "no text whatever it says"
        );
        assert_eq!(told(Some("text/csv"), b"{}", true), r#""e30=","isBase64Encoded":true}"#, "gzip");
    }

    #[test]
    fn an_authorizer_is_told_all_but_the_body() {
        let request = TestRequest { body: b"x".to_vec(), query: "a=1", ..TestRequest::default() };
        let mut out = Vec::new();
        let identity = ["user1".to_owned(), "123".to_owned()];
        http_authorizer_event(&Request::new(&request), &BARE, "arn:x", &identity, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            concat!(
                r#"{"version":"2.0","type":"REQUEST","routeArn":"arn:x","identitySource":["user1","123"],"routeKey":"ANY /","#,
                r#""rawPath":"/","rawQueryString":"a=1","headers":{},"queryStringParameters":{"a":"1"},"#,
                r#""requestContext":{"http":{"path":"/"},"routeKey":"ANY /","timeEpoch":1700000000123}}"#
            )
        );
    }
}
