//! Answers that the gateway itself makes, as an API has them configured.
//!
//! Their templates are not VTL: variables are put in, nothing else. `$context.…`, `$stageVariables.…` and `$method.request.…`
//! are known; what is none of these stays as it stands.

use crate::Kind;
use crate::assigned::Place;
use crate::context::{ContextName, ContextVariable};
use crate::expression::{Expression, ExpressionError, context_text, is_name};
use crate::refusal::Refusal;
use crate::request::{JSON, MappingError};
use crate::response::Answer;
use crate::view::Request;
use std::fmt::Write as _;

/// The text that one gateway response is compiled from.
#[derive(Clone, Copy, Debug)]
pub struct GatewayResponseSource<'t> {
    /// Which.
    pub kind: Kind,
    /// `statusCode`, if it has one of its own.
    pub status: Option<&'t str>,
    /// `responseParameters`: `gatewayresponse.header.X` to expression.
    pub parameters: &'t [(&'t str, &'t str)],
    /// `responseTemplates`: content type to template; none stands for AWS's own.
    pub templates: &'t [(&'t str, &'t str)],
}

#[derive(Debug)]
enum Piece {
    Literal(Box<str>),
    Value(Expression),
}

#[derive(Debug)]
struct Configured {
    kind: Kind,
    status: Option<u16>,
    headers: Vec<(Box<str>, Expression)>,
    templates: Vec<(Box<str>, Vec<Piece>)>,
}

/// An API's gateway responses; those that are not configured fall back to `DEFAULT_4XX`, `DEFAULT_5XX` and AWS's own.
#[derive(Debug, Default)]
pub struct GatewayResponses {
    configured: Vec<Configured>,
}

/// What AWS answers with when nothing is configured.
const MESSAGE_ONLY: &str = r#"{"message":$context.error.messageString}"#;

impl GatewayResponses {
    /// Compiles an API's gateway responses.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn compile(sources: &[GatewayResponseSource<'_>]) -> Result<Self, Vec<MappingError>> {
        let mut errors = Vec::new();
        let mut configured = Vec::new();
        for source in sources {
            let status = source.status.filter(|status| !status.is_empty()).map(|text| {
                let status = text.parse().ok().filter(|status| (100..600).contains(status));
                status.ok_or_else(|| MappingError::Status(text.to_owned()))
            });
            let mut headers = Vec::new();
            for (to, from) in source.parameters {
                match header(to, from) {
                    Ok(header) => headers.push(header),
                    Err(error) => errors.push(MappingError::Expression(error)),
                }
            }
            let templates = source.templates.iter().map(|(media, text)| ((*media).into(), pieces(text)));
            let templates = templates.collect();
            match status.transpose() {
                Ok(status) => configured.push(Configured { kind: source.kind, status, headers, templates }),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Self { configured }) } else { Err(errors) }
    }

    fn of(&self, kind: Kind) -> Option<&Configured> {
        let find = |kind| self.configured.iter().find(|configured| configured.kind == kind);
        find(kind).or_else(|| find(kind.fallback()))
    }

    /// The status that a refusal is answered with.
    #[must_use]
    pub fn status(&self, kind: Kind) -> u16 {
        self.of(kind).and_then(|configured| configured.status).unwrap_or_else(|| kind.default_status())
    }

    /// Makes the answer to a refusal. `x-amzn-ErrorType` and `x-amzn-RequestId` are the caller's to add.
    pub fn answer(&self, refusal: &Refusal, request: &Request<'_>, out: &mut Answer) {
        out.headers.clear();
        out.status = self.status(refusal.kind);
        let mut body = String::new();
        let Some(configured) = self.of(refusal.kind) else {
            as_aws(refusal, &mut body);
            out.headers.add(Place::Header, "Content-Type", JSON);
            out.body = Some(body.into_bytes());
            return;
        };
        for (name, from) in &configured.headers {
            value(from, refusal, request, &mut |value| out.headers.add(Place::Header, name, value));
        }
        match configured.template(request.header("accept").as_deref()) {
            None => {
                message_only(refusal, &mut body);
                body_type(out, JSON);
            }
            Some((media, pieces)) => {
                for piece in pieces {
                    match piece {
                        Piece::Literal(text) => body.push_str(text),
                        Piece::Value(from) => {
                            value(from, refusal, request, &mut |value| body.push_str(value))
                        }
                    }
                }
                body_type(out, media);
            }
        }
        out.body = Some(body.into_bytes());
    }
}

fn body_type(out: &mut Answer, media: &str) {
    if out.headers.get(Place::Header, "content-type").is_none() {
        out.headers.add(Place::Header, "Content-Type", media);
    }
}

impl Configured {
    /// The template for what the client accepts, then JSON's, then the first.
    fn template(&self, accept: Option<&str>) -> Option<&(Box<str>, Vec<Piece>)> {
        let of = |wanted: &str| self.templates.iter().find(|(media, _)| media.eq_ignore_ascii_case(wanted));
        accept.and_then(of).or_else(|| of(JSON)).or_else(|| self.templates.first())
    }
}

/// `gatewayresponse.header.X` and its expression.
fn header(to: &str, from: &str) -> Result<(Box<str>, Expression), ExpressionError> {
    let name = to.strip_prefix("gatewayresponse.header.").filter(|name| is_name(name));
    let name = name.ok_or_else(|| ExpressionError::invalid(to))?;
    Ok((name.into(), Expression::gateway_response(from)?))
}

/// AWS's own body. Where access is denied and nothing is configured, its member has another name: clients look for it.
fn as_aws(refusal: &Refusal, body: &mut String) {
    if refusal.kind == Kind::AccessDenied {
        body.push_str("{\"Message\":");
        body.push_str(&quote(&refusal.message));
        body.push('}');
    } else {
        message_only(refusal, body);
    }
}

fn message_only(refusal: &Refusal, body: &mut String) {
    let quoted = message_string(refusal);
    body.push_str(&MESSAGE_ONLY.replace("$context.error.messageString", &quoted));
}

/// The value of an expression, where the error's own variables are those of the refusal.
fn value(from: &Expression, refusal: &Refusal, request: &Request<'_>, each: &mut dyn FnMut(&str)) {
    use crate::expression::Source;
    match &from.source {
        Source::Context(ContextName::Fixed(variable)) => match variable {
            ContextVariable::ErrorMessage => each(&refusal.message),
            ContextVariable::ErrorMessageString => each(&message_string(refusal)),
            ContextVariable::ErrorResponseType => each(refusal.kind.name()),
            ContextVariable::ErrorValidationErrorString => each(&refusal.validation),
            _ => context_text(request, &ContextName::Fixed(*variable), each),
        },
        // No such expression reads a body, which is all that could fail.
        _ => drop(from.values(request, None, each)),
    }
}

/// `$context.error.messageString`: `null` where there is no message.
fn message_string(refusal: &Refusal) -> String {
    if refusal.message.is_empty() { "null".to_owned() } else { quote(&refusal.message) }
}

/// A JSON string.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{0}'..='\u{1f}' => drop(write!(out, "\\u{:04x}", u32::from(char))),
            _ => out.push(char),
        }
    }
    out.push('"');
    out
}

/// Takes a template apart.
fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let (before, at) = rest.split_at(dollar);
        literal.push_str(before);
        let after = at.get(1..).unwrap_or_default();
        match variable(after) {
            Some((expression, length)) => {
                if !literal.is_empty() {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
                }
                pieces.push(Piece::Value(expression));
                rest = after.get(length..).unwrap_or_default();
            }
            None => {
                literal.push('$');
                rest = after;
            }
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal.into()));
    }
    pieces
}

/// A variable after `$`, and how long it is; with braces or without.
fn variable(text: &str) -> Option<(Expression, usize)> {
    if let Some(inside) = text.strip_prefix('{') {
        let (name, _) = inside.split_once('}')?;
        return Some((Expression::gateway_response(name).ok()?, name.len() + 2));
    }
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let longest = text.bytes().take_while(|byte| is_part(*byte)).count();
    // `$context.requestId.` ends before its full stop: the longest that is known counts.
    let mut name = text.get(..longest)?;
    loop {
        if !name.ends_with(['.', '-'])
            && let Ok(expression) = Expression::gateway_response(name)
        {
            return Some((expression, name.len()));
        }
        name = name.get(..name.rfind(['.', '-'])?)?;
    }
}

#[cfg(test)]
mod tests {
    use super::{GatewayResponseSource, GatewayResponses};
    use crate::context::ContextVariable;
    use crate::testing::TestRequest;
    use crate::{Answer, Kind, Place, Refusal, Request};

    fn view() -> TestRequest {
        TestRequest {
            headers: vec![("Origin", "https://app.example"), ("Accept", "text/html")],
            query: "q=1",
            context: vec![(ContextVariable::RequestId, "r-1"), (ContextVariable::Stage, "prod")],
            authorizer: vec![("why", "too late")],
            stage: vec![("contact", "ops")],
            ..TestRequest::default()
        }
    }

    fn answer(responses: &GatewayResponses, refusal: &Refusal) -> (u16, Vec<(String, String)>, String) {
        let view = view();
        let mut out = Answer::default();
        responses.answer(refusal, &Request::new(&view), &mut out);
        let headers = out.headers.of(Place::Header).map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
        (out.status, headers, String::from_utf8(out.body.unwrap()).unwrap())
    }

    fn json() -> Vec<(String, String)> {
        vec![("Content-Type".to_owned(), "application/json".to_owned())]
    }

    #[test]
    fn awss_own_have_a_message_and_no_more() {
        for kind in Kind::ALL {
            let refusal = Refusal::new(*kind, "it \"is\" so");
            let (status, headers, body) = answer(&GatewayResponses::default(), &refusal);
            assert_eq!(status, kind.default_status());
            let expected = match kind {
                Kind::AccessDenied => r#"{"Message":"it \"is\" so"}"#,
                _ => r#"{"message":"it \"is\" so"}"#,
            };
            assert_eq!((headers, &*body), (json(), expected));
        }
    }

    #[test]
    fn a_default_is_for_all_of_its_class_that_are_not_configured() {
        let responses = GatewayResponses::compile(&[
            GatewayResponseSource {
                kind: Kind::Default4xx,
                status: None,
                parameters: &[("gatewayresponse.header.Access-Control-Allow-Origin", "'*'")],
                templates: &[],
            },
            GatewayResponseSource {
                kind: Kind::Throttled,
                status: Some("420"),
                parameters: &[("gatewayresponse.header.X-Origin", "method.request.header.origin")],
                templates: &[("application/json", r#"{"calm":true,"type":"$context.error.responseType"}"#)],
            },
        ])
        .unwrap();
        let (status, headers, body) = answer(&responses, &Refusal::new(Kind::Unauthorized, "Unauthorized"));
        assert_eq!((status, &*body), (401, r#"{"message":"Unauthorized"}"#));
        assert_eq!(headers[0], ("Access-Control-Allow-Origin".to_owned(), "*".to_owned()));
        let (status, headers, body) = answer(&responses, &Refusal::new(Kind::Throttled, "Too Many Requests"));
        assert_eq!((status, &*body), (420, r#"{"calm":true,"type":"THROTTLED"}"#));
        assert_eq!(headers[0], ("X-Origin".to_owned(), "https://app.example".to_owned()));
        assert_eq!(answer(&responses, &Refusal::configuration("x")).1, json());
    }

    #[test]
    fn templates_are_substitution_and_nothing_else() {
        let refusal = Refusal { validation: "[why]".to_owned(), ..Refusal::new(Kind::BadRequestBody, "bad") };
        for (template, expected) in [
            ("$context.error.message", "bad"),
            ("$context.error.messageString", "\"bad\""),
            ("$context.error.validationErrorString.", "[why]."),
            ("${context.requestId}x", "r-1x"),
            ("$context.requestId-$context.stage", "r-1-prod"),
            ("$context.authorizer.why!", "too late!"),
            ("$stageVariables.contact $method.request.querystring.q", "ops 1"),
            ("$method.request.header.Origin", "https://app.example"),
            ("$context.domainName|", "|"),
            (
                "$context.nothing $5 $ #if(true)$input.body#end",
                "$context.nothing $5 $ #if(true)$input.body#end",
            ),
        ] {
            let responses = GatewayResponses::compile(&[GatewayResponseSource {
                kind: Kind::BadRequestBody,
                status: None,
                parameters: &[],
                templates: &[("text/plain", template)],
            }]);
            let (_, headers, body) = answer(&responses.unwrap(), &refusal);
            assert_eq!(body, expected, "{template}");
            assert_eq!(headers[0].1, "text/plain");
        }
    }

    #[test]
    fn the_template_is_chosen_by_what_the_client_accepts() {
        let responses = GatewayResponses::compile(&[GatewayResponseSource {
            kind: Kind::Default5xx,
            status: Some("503"),
            parameters: &[],
            templates: &[("application/json", "{}"), ("text/html", "<p>$context.error.message</p>")],
        }]);
        let (status, headers, body) = answer(&responses.unwrap(), &Refusal::configuration("x"));
        assert_eq!((status, &*headers[0].1, &*body), (503, "text/html", "<p>Internal server error</p>"));
    }

    #[test]
    fn all_faults_are_told() {
        let errors = GatewayResponses::compile(&[GatewayResponseSource {
            kind: Kind::Default5xx,
            status: Some("99"),
            parameters: &[
                ("gatewayresponse.body", "'a'"),
                ("gatewayresponse.header.a", "method.request.body"),
            ],
            templates: &[],
        }]);
        assert_eq!(errors.unwrap_err().len(), 3);
    }
}
