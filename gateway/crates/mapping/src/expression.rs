//! Expressions of parameter mapping: where a value comes from.
//!
//! The grammar is the developer guide's "Parameter mapping source reference for REST APIs".

use crate::context::ContextName;
use crate::refusal::Refusal;
use crate::view::{NotJson, Request, Response};
use crate::work::Work;
use crate::{Kind, percent};
use sluice_jsonpath::Path;
use sluice_vtl::ContextValue;
use std::borrow::Cow;
use std::fmt;

/// An expression, or a destination, that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressionError {
    /// AWS's words.
    pub message: String,
}

impl ExpressionError {
    pub(crate) fn invalid(expression: &str) -> Self {
        Self::with(&format!("Invalid mapping expression specified: {expression}"))
    }

    /// Of a parameter that the method does not declare.
    #[must_use]
    pub fn undeclared(parameter: &str) -> Self {
        Self::with(&format!("Invalid mapping expression parameter specified: {parameter}"))
    }

    fn with(error: &str) -> Self {
        let message = "Invalid mapping expression specified: Validation Result: warnings : [], errors : ";
        Self { message: format!("{message}[{error}]") }
    }
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ExpressionError {}

/// Where a value comes from.
#[derive(Debug)]
pub(crate) enum Source {
    Path(Box<str>),
    Query(Box<str>),
    Queries(Box<str>),
    Header(Box<str>),
    Headers(Box<str>),
    Body,
    BodyPath(Path),
    ResponseHeader(Box<str>),
    ResponseHeaders(Box<str>),
    ResponseBody,
    ResponseBodyPath(Path),
    Context(ContextName),
    StageVariable(Box<str>),
    Static(Box<str>),
}

/// A compiled expression.
#[derive(Debug)]
pub struct Expression {
    text: Box<str>,
    pub(crate) source: Source,
}

/// `^[a-zA-Z0-9._$-]+$`, as AWS demands of names.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'$' | b'-'))
}

/// The rest of `text` as a name, if `prefix` stands before it.
fn named(text: &str, prefix: &str) -> Option<Box<str>> {
    text.strip_prefix(prefix).filter(|name| is_name(name)).map(Into::into)
}

/// `body`, or `body.` and a JSONPath without its `$.`.
fn body(text: &str, prefix: &str) -> Option<Option<Path>> {
    match text.strip_prefix(prefix)? {
        "" => Some(None),
        rest => Path::parse(rest.strip_prefix('.').filter(|path| !path.is_empty())?).ok().map(Some),
    }
}

impl Expression {
    /// Compiles an expression of an integration request.
    ///
    /// # Errors
    /// When it is none.
    pub fn request(text: &str) -> Result<Self, ExpressionError> {
        let source = method_request(text).or_else(|| anywhere(text));
        Self::new(text, source)
    }

    /// Compiles an expression of an integration response.
    ///
    /// # Errors
    /// When it is none.
    pub fn response(text: &str) -> Result<Self, ExpressionError> {
        let source = integration_response(text).or_else(|| anywhere(text));
        Self::new(text, source)
    }

    /// Compiles an expression of a gateway response's header: `method.request.…`, `context.…`, `stageVariables.…`, static.
    ///
    /// # Errors
    /// When it is none, or reads the body.
    pub fn gateway_response(text: &str) -> Result<Self, ExpressionError> {
        let source =
            method_request(text).filter(|source| !matches!(source, Source::Body | Source::BodyPath(_)));
        Self::new(text, source.or_else(|| anywhere(text)))
    }

    fn new(text: &str, source: Option<Source>) -> Result<Self, ExpressionError> {
        let source = source.ok_or_else(|| ExpressionError::invalid(text))?;
        Ok(Self { text: text.into(), source })
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The `method.request.…` parameter that a method must declare for this expression to be valid.
    #[must_use]
    pub fn method_parameter(&self) -> Option<Cow<'_, str>> {
        match &self.source {
            Source::Path(_) | Source::Query(_) | Source::Header(_) => Some(Cow::Borrowed(&self.text)),
            Source::Queries(name) => Some(Cow::Owned(format!("method.request.querystring.{name}"))),
            Source::Headers(name) => Some(Cow::Owned(format!("method.request.header.{name}"))),
            _ => None,
        }
    }

    /// A path variable as the client wrote it, if this is one.
    pub(crate) fn raw_path<'v>(&self, request: &Request<'v>) -> Option<&'v str> {
        match &self.source {
            Source::Path(name) => request.raw_path_parameter(name),
            _ => None,
        }
    }

    /// Whether it reads from the method request's body.
    pub(crate) const fn reads_body(&self) -> bool {
        matches!(self.source, Source::Body | Source::BodyPath(_))
    }

    /// Whether it is the API's own text.
    pub(crate) const fn is_static(&self) -> bool {
        matches!(self.source, Source::Static(_) | Source::StageVariable(_))
    }

    /// Gives `each` the value, or the values where the expression has several; nothing where there is none.
    ///
    /// # Errors
    /// When it reads from a body that is not JSON.
    pub fn values(
        &self,
        request: &Request<'_>,
        response: Option<&Response<'_>>,
        each: &mut dyn FnMut(&str),
    ) -> Result<(), Refusal> {
        match &self.source {
            Source::Static(text) => each(text),
            Source::StageVariable(name) => {
                if let Some(value) = request.stage_variable(name) {
                    each(value);
                }
            }
            Source::Context(name) => context_text(request, name, each),
            Source::ResponseHeader(_)
            | Source::ResponseHeaders(_)
            | Source::ResponseBody
            | Source::ResponseBodyPath(_) => {
                if let Some(response) = response {
                    return self.of_response(response, request.work(), each);
                }
            }
            _ => return self.of_request(request, each),
        }
        Ok(())
    }

    fn of_request(&self, request: &Request<'_>, each: &mut dyn FnMut(&str)) -> Result<(), Refusal> {
        match &self.source {
            Source::Path(name) => {
                if let Some(raw) = request.raw_path_parameter(name) {
                    each(&percent::decode(raw, false));
                }
            }
            // One value is asked for: the last, as AWS takes it.
            Source::Query(name) => {
                let named = request.query().iter().rev().find(|(known, _)| known == &**name);
                if let Some((_, value)) = named {
                    each(value);
                }
            }
            Source::Queries(name) => {
                for (_, value) in request.query().iter().filter(|(known, _)| known == &**name) {
                    each(value);
                }
            }
            Source::Header(name) => {
                if let Some(value) = request.header(name) {
                    each(&value);
                }
            }
            Source::Headers(name) => request.view().headers(&mut |known, value| {
                if known.eq_ignore_ascii_case(name) {
                    each(&String::from_utf8_lossy(value));
                }
            }),
            Source::Body => each(request.body().text()),
            Source::BodyPath(path) => {
                let read = request.body().read(path, request.work(), each);
                return read
                    .map_err(|NotJson| Refusal::new(Kind::BadRequestBody, "Invalid JSON in request body"));
            }
            _ => {}
        }
        Ok(())
    }

    fn of_response(
        &self,
        response: &Response<'_>,
        work: &Work,
        each: &mut dyn FnMut(&str),
    ) -> Result<(), Refusal> {
        match &self.source {
            Source::ResponseHeader(name) => {
                let mut last = None;
                response.view().headers(&mut |known, value| {
                    if known.eq_ignore_ascii_case(name) {
                        last = Some(value);
                    }
                });
                if let Some(value) = last {
                    each(&String::from_utf8_lossy(value));
                }
            }
            Source::ResponseHeaders(name) => response.view().headers(&mut |known, value| {
                if known.eq_ignore_ascii_case(name) {
                    each(&String::from_utf8_lossy(value));
                }
            }),
            Source::ResponseBody => each(response.body().text()),
            Source::ResponseBodyPath(path) => {
                let read = response.body().read(path, work, each);
                return read
                    .map_err(|NotJson| Refusal::configuration("Unable to transform response: invalid JSON"));
            }
            _ => {}
        }
        Ok(())
    }
}

/// A `$context` variable's value as text.
pub(crate) fn context_text(request: &Request<'_>, name: &ContextName, each: &mut dyn FnMut(&str)) {
    match request.context(name) {
        Some(ContextValue::Str(text) | ContextValue::Json(text)) => each(text),
        Some(ContextValue::Long(number)) => each(&number.to_string()),
        None => {}
    }
}

fn method_request(text: &str) -> Option<Source> {
    let rest = text.strip_prefix("method.request.")?;
    named(rest, "path.")
        .map(Source::Path)
        .or_else(|| named(rest, "querystring.").map(Source::Query))
        .or_else(|| named(rest, "multivaluequerystring.").map(Source::Queries))
        .or_else(|| named(rest, "header.").map(Source::Header))
        .or_else(|| named(rest, "multivalueheader.").map(Source::Headers))
        .or_else(|| body(rest, "body").map(|path| path.map_or(Source::Body, Source::BodyPath)))
}

fn integration_response(text: &str) -> Option<Source> {
    let rest = text.strip_prefix("integration.response.")?;
    named(rest, "header.")
        .map(Source::ResponseHeader)
        .or_else(|| named(rest, "multivalueheader.").map(Source::ResponseHeaders))
        .or_else(|| {
            body(rest, "body").map(|path| path.map_or(Source::ResponseBody, Source::ResponseBodyPath))
        })
}

fn anywhere(text: &str) -> Option<Source> {
    let quoted = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
    quoted
        .map(|text| Source::Static(text.into()))
        .or_else(|| named(text, "stageVariables.").map(Source::StageVariable))
        .or_else(|| text.strip_prefix("context.").and_then(ContextName::parse).map(Source::Context))
}

#[cfg(test)]
mod tests {
    use super::Expression;
    use crate::context::ContextVariable;
    use crate::testing::{TestRequest, TestResponse};
    use crate::{Kind, Request, Response};

    fn request() -> TestRequest {
        TestRequest {
            path: vec![("id", "a%2Fb%20c")],
            query: "q=1&q=two+2&empty",
            headers: vec![("X-A", "1"), ("x-a", "2"), ("Host", "h")],
            body: br#" {"a":{"b":[1,{"c":"x"}],"t":true,"n":1.50,"nothing":null}}"#.to_vec(),
            context: vec![(ContextVariable::IdentitySourceIp, "192.0.2.1")],
            authorizer: vec![("userId", "u1")],
            claims: vec![("sub", "s1")],
            stage: vec![("backend", "blue")],
        }
    }

    fn values(view: &TestRequest, expression: &str) -> Vec<String> {
        let mut values = Vec::new();
        let expression = Expression::request(expression).unwrap();
        expression.values(&Request::new(view), None, &mut |value| values.push(value.to_owned())).unwrap();
        values
    }

    #[test]
    fn request_expressions_find_their_values() {
        let view = request();
        for (expression, expected) in [
            ("method.request.path.id", &["a/b c"][..]),
            ("method.request.path.none", &[]),
            ("method.request.querystring.q", &["two 2"]),
            ("method.request.querystring.empty", &[""]),
            ("method.request.querystring.none", &[]),
            ("method.request.multivaluequerystring.q", &["1", "two 2"]),
            ("method.request.header.x-A", &["2"]),
            ("method.request.multivalueheader.X-A", &["1", "2"]),
            ("method.request.body.a.b[0]", &["1"]),
            ("method.request.body.a.b[1].c", &["x"]),
            ("method.request.body.a.b[1]", &[r#"{"c":"x"}"#]),
            ("method.request.body.a.t", &["true"]),
            ("method.request.body.a.n", &["1.5"]),
            ("method.request.body.a.nothing", &[]),
            ("method.request.body.none", &[]),
            ("context.identity.sourceIp", &["192.0.2.1"]),
            ("context.requestTimeEpoch", &["1700000000123"]),
            ("context.authorizer.userId", &["u1"]),
            ("context.authorizer.claims.sub", &["s1"]),
            ("context.stage", &[]),
            ("stageVariables.backend", &["blue"]),
            ("'static, it''s'", &["static, it''s"]),
            ("''", &[""]),
        ] {
            assert_eq!(values(&view, expression), expected, "{expression}");
        }
        assert_eq!(values(&view, "method.request.body"), [String::from_utf8(view.body.clone()).unwrap()]);
    }

    #[test]
    fn response_expressions_find_their_values() {
        let request = request();
        let request = Request::new(&request);
        let view = TestResponse {
            status: 200,
            headers: vec![("Location", "/a"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")],
            body: br#"{"id":7}"#.to_vec(),
        };
        let response = Response::new(&view);
        for (expression, expected) in [
            ("integration.response.header.location", &["/a"][..]),
            ("integration.response.header.Set-Cookie", &["b=2"]),
            ("integration.response.multivalueheader.Set-Cookie", &["a=1", "b=2"]),
            ("integration.response.body", &[r#"{"id":7}"#]),
            ("integration.response.body.id", &["7"]),
            ("context.identity.sourceIp", &["192.0.2.1"]),
        ] {
            let mut values = Vec::new();
            let compiled = Expression::response(expression).unwrap();
            compiled.values(&request, Some(&response), &mut |value| values.push(value.to_owned())).unwrap();
            assert_eq!(values, expected, "{expression}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_in_awss_words() {
        for text in [
            "",
            "method.request.",
            "method.request.path.",
            "method.request.path.a b",
            "method.request.cookie.a",
            "method.request.body.",
            "method.request.body.a[",
            "integration.response.header.a",
            "context.nothing",
            "stageVariables.",
            "'open",
            "plain",
        ] {
            let error = Expression::request(text).unwrap_err();
            let expected = format!("errors : [Invalid mapping expression specified: {text}]");
            assert!(error.message.ends_with(&expected), "{text}: {error}");
        }
        assert!(Expression::response("method.request.header.a").is_err());
        assert!(Expression::gateway_response("method.request.body").is_err());
        assert!(Expression::gateway_response("method.request.header.Origin").is_ok());
    }

    #[test]
    fn a_body_that_is_not_json_is_the_clients_fault() {
        let path = Expression::request("method.request.body.a").unwrap();
        let view = TestRequest { body: b"{\"a\":".to_vec(), ..TestRequest::default() };
        let refusal = path.values(&Request::new(&view), None, &mut |_| panic!("a value")).unwrap_err();
        assert_eq!((refusal.kind, &*refusal.message), (Kind::BadRequestBody, "Invalid JSON in request body"));
        // What doesn't even begin like JSON has no values.
        for body in [&b""[..], b"text", b"12"] {
            let view = TestRequest { body: body.to_vec(), ..TestRequest::default() };
            path.values(&Request::new(&view), None, &mut |_| panic!("a value")).unwrap();
        }
    }
}
