//! From integration response to method response.

use crate::assigned::{Assigned, Place};
use crate::content::{BinaryMediaTypes, ContentHandling, NotBase64, convert_response};
use crate::parameters::ResponseParameters;
use crate::refusal::Refusal;
use crate::request::{JSON, MappingError};
use crate::template::{Chosen, Templates, apply_overrides, run};
use crate::view::{Request, Response};
use crate::work::Work;
use sluice_jsonpath::{JavaPattern, Path};
use sluice_vtl::Override;
use std::borrow::Cow;

/// What selection patterns are matched with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SelectBy {
    /// The status code.
    #[default]
    Status,
    /// `errorMessage` of a Lambda function's answer. Where it has none, the function succeeded: the default response is meant,
    /// or if there is none, the one that matches the status code.
    LambdaError,
}

/// The text that one integration response is compiled from.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResponseSource<'t> {
    /// `statusCode`.
    pub status: &'t str,
    /// `selectionPattern`.
    pub pattern: Option<&'t str>,
    /// `responseParameters`.
    pub parameters: &'t [(&'t str, &'t str)],
    /// `responseTemplates`; the empty text passes the body.
    pub templates: &'t [(&'t str, &'t str)],
    /// `contentHandling`.
    pub content_handling: Option<ContentHandling>,
}

#[derive(Debug)]
struct Choice {
    status: u16,
    pattern: Option<JavaPattern>,
    parameters: ResponseParameters,
    templates: Templates,
    content_handling: Option<ContentHandling>,
}

/// A compiled mapping of responses.
#[derive(Debug, Default)]
pub struct ResponseMapping {
    by: SelectBy,
    choices: Vec<Choice>,
}

/// A method response in the making; used again and again.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers; `Content-Type` is among them.
    pub headers: Assigned,
    /// The body; `None`: it goes on as it was received.
    pub body: Option<Vec<u8>>,
}

impl ResponseMapping {
    /// Compiles an integration's responses.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn compile(by: SelectBy, sources: &[ResponseSource<'_>]) -> Result<Self, Vec<MappingError>> {
        let mut errors = Vec::new();
        let mut choices = Vec::new();
        for source in sources {
            match Choice::compile(source) {
                Ok(choice) => choices.push(choice),
                Err(found) => errors.extend(found),
            }
        }
        if errors.is_empty() { Ok(Self { by, choices }) } else { Err(errors) }
    }

    /// Makes the method response; `earlier` are [`Outgoing::response_overrides`](crate::Outgoing).
    ///
    /// # Errors
    /// 500 where no response matches and none is the default, where a template fails, or where text should have been base64.
    pub fn apply(
        &self,
        request: &Request<'_>,
        response: &Response<'_>,
        binary: &BinaryMediaTypes,
        earlier: &[Override],
        out: &mut Answer,
    ) -> Result<(), Refusal> {
        out.headers.clear();
        out.body = None;
        let choice = self.choose(response, request.work())?;
        out.status = choice.status;
        choice.parameters.apply(request, response, &mut out.headers)?;
        let body = convert(request, response, binary, choice.content_handling)?;
        let accept = request.header("accept");
        let chosen = choice.template(accept.as_deref());
        let mut overrides = Cow::Borrowed(earlier);
        match chosen.and_then(|chosen| chosen.template) {
            Some(template) => {
                let text = match &body {
                    Cow::Borrowed(_) => Cow::Borrowed(response.body().text()),
                    Cow::Owned(bytes) => String::from_utf8_lossy(bytes),
                };
                let rendered = run(template, request, &text, earlier).map_err(|error| {
                    Refusal::configuration(format_args!("Unable to transform response: {error}"))
                })?;
                out.body = Some(rendered.text.into_bytes());
                overrides = Cow::Owned(rendered.overrides);
            }
            None => {
                if let Cow::Owned(bytes) = body {
                    out.body = Some(bytes);
                }
            }
        }
        if let Some(status) = apply_overrides(&overrides, "responseOverride", &mut out.headers) {
            out.status = status;
        }
        if out.headers.get(Place::Header, "content-type").is_none() {
            let content_type = chosen.map_or(JSON, |chosen| chosen.content_type);
            out.headers.add(Place::Header, "Content-Type", content_type);
        }
        Ok(())
    }

    fn choose(&self, response: &Response<'_>, work: &Work) -> Result<&Choice, Refusal> {
        let status = response.view().status().to_string();
        let message = match self.by {
            SelectBy::Status => None,
            SelectBy::LambdaError => error_message(response, work),
        };
        let selected = message.as_deref().unwrap_or(&status);
        let default = self.choices.iter().find(|choice| choice.pattern.is_none());
        let matching =
            |choice: &&Choice| choice.pattern.as_ref().is_some_and(|pattern| work.matches(pattern, selected));
        // A pattern for all errors, `(\n|.)+`, must not catch a function that succeeded.
        let succeeded = self.by == SelectBy::LambdaError && message.is_none();
        let found = default.filter(|_| succeeded).or_else(|| self.choices.iter().find(matching)).or(default);
        found.ok_or_else(|| {
            Refusal::configuration(format_args!(
                "No match for output mapping and no default output mapping configured. Endpoint Response Status \
                 Code: {status}"
            ))
        })
    }
}

impl Choice {
    fn compile(source: &ResponseSource<'_>) -> Result<Self, Vec<MappingError>> {
        let mut errors = Vec::new();
        let status = source.status.parse().ok().filter(|status| (100..600).contains(status));
        if status.is_none() {
            errors.push(MappingError::Status(source.status.to_owned()));
        }
        let pattern = match source.pattern.filter(|pattern| !pattern.is_empty()) {
            None => None,
            Some(text) => match JavaPattern::new(text, "") {
                Ok(pattern) => Some(pattern),
                Err(error) => {
                    errors
                        .push(MappingError::Pattern { pattern: text.to_owned(), reason: error.to_string() });
                    None
                }
            },
        };
        let parameters = ResponseParameters::compile(source.parameters.iter().copied());
        let templates = Templates::compile(source.templates.iter().copied());
        match (status, parameters, templates) {
            (Some(status), Ok(parameters), Ok(templates)) if errors.is_empty() => {
                Ok(Self { status, pattern, parameters, templates, content_handling: source.content_handling })
            }
            (_, parameters, templates) => {
                errors.extend(parameters.err().into_iter().flatten().map(MappingError::Expression));
                errors.extend(templates.err().into_iter().flatten().map(MappingError::Template));
                Err(errors)
            }
        }
    }

    /// The template for what the client accepts, then JSON's, then the first.
    fn template(&self, accept: Option<&str>) -> Option<Chosen<'_>> {
        let accepted = accept.and_then(|accept| self.templates.of(accept));
        accepted.or_else(|| self.templates.of(JSON)).or_else(|| self.templates.first())
    }
}

/// `errorMessage` of a Lambda function's answer.
fn error_message(response: &Response<'_>, work: &Work) -> Option<String> {
    let path = Path::parse("$.errorMessage").ok()?;
    let mut message = None;
    let read = response.body().read(&path, work, &mut |text| message = Some(text.to_owned()));
    read.ok().and(message).filter(|message| !message.is_empty())
}

fn convert<'v>(
    request: &Request<'_>,
    response: &Response<'v>,
    binary: &BinaryMediaTypes,
    handling: Option<ContentHandling>,
) -> Result<Cow<'v, [u8]>, Refusal> {
    let body = response.body().bytes();
    let mut content_type = None;
    response.view().headers(&mut |name, value| {
        if name.eq_ignore_ascii_case("content-type") {
            content_type = Some(String::from_utf8_lossy(value));
        }
    });
    let is_binary = binary.matches(content_type.as_deref());
    let wanted = binary.matches(request.header("accept").as_deref());
    convert_response(body, is_binary, wanted, handling)
        .map_err(|NotBase64| Refusal::configuration("Unable to base64 decode the body."))
}

#[cfg(test)]
mod tests {
    use super::{Answer, ResponseMapping, ResponseSource, SelectBy};
    use crate::testing::{TestRequest, TestResponse};
    use crate::{BinaryMediaTypes, Kind, Override, Place, Refusal, Request, Response};

    fn map(
        by: SelectBy,
        sources: &[ResponseSource<'_>],
        accept: &'static str,
        view: &TestResponse,
    ) -> Result<Answer, Refusal> {
        let request = TestRequest { headers: vec![("Accept", accept)], ..TestRequest::default() };
        let mut out = Answer::default();
        let mapping = ResponseMapping::compile(by, sources).unwrap();
        let binary = BinaryMediaTypes::new(["image/png"]);
        mapping.apply(&Request::new(&request), &Response::new(view), &binary, &[], &mut out).map(|()| out)
    }

    fn response(status: u16, body: &str) -> TestResponse {
        TestResponse { status, body: body.as_bytes().to_vec(), ..TestResponse::default() }
    }

    fn choice<'t>(status: &'t str, pattern: Option<&'t str>) -> ResponseSource<'t> {
        ResponseSource { status, pattern, ..ResponseSource::default() }
    }

    #[test]
    fn responses_are_selected_by_status() {
        let sources = [
            choice("200", None),
            choice("404", Some("404")),
            choice("502", Some(r"5\d{2}")),
            choice("400", Some(r"4\d{2}")),
        ];
        for (status, expected) in [(200, 200), (404, 404), (418, 400), (503, 502), (302, 200)] {
            let out = map(SelectBy::Status, &sources, "*/*", &response(status, "b")).unwrap();
            assert_eq!((out.status, out.body), (expected, None));
            assert_eq!(out.headers.get(Place::Header, "content-type"), Some("application/json"));
        }
    }

    #[test]
    fn responses_of_lambda_are_selected_by_the_error_message() {
        let sources = [choice("200", None), choice("400", Some(".*Bad.*")), choice("500", Some(r"(\n|.)+"))];
        for (body, expected) in [
            (r#"{"ok":1}"#, 200),
            (r#"{"errorMessage":"[Bad] input"}"#, 400),
            (r#"{"errorMessage":"other\nline"}"#, 500),
            (r#"{"errorMessage":""}"#, 200),
            ("no json", 200),
        ] {
            let out = map(SelectBy::LambdaError, &sources, "*/*", &response(200, body)).unwrap();
            assert_eq!(out.status, expected, "{body}");
        }
    }

    #[test]
    fn without_a_match_or_a_default_it_is_the_apis_fault() {
        let refusal =
            map(SelectBy::Status, &[choice("200", Some("200"))], "", &response(404, "")).unwrap_err();
        assert_eq!((refusal.kind, &*refusal.message), (Kind::ApiConfigurationError, "Internal server error"));
        assert!(refusal.log.ends_with("Endpoint Response Status Code: 404"), "{}", refusal.log);
    }

    #[test]
    fn the_template_is_chosen_by_what_the_client_accepts() {
        let sources = [ResponseSource {
            templates: &[
                ("application/json", r#"{"n":$input.path('$.a').size()}"#),
                ("text/html", "<p>$input.path('$.a[0]')</p>"),
            ],
            parameters: &[("method.response.header.X-Id", "integration.response.body.id")],
            ..choice("200", None)
        }];
        for (accept, media, body) in [
            ("text/html", "text/html", "<p>1</p>"),
            ("*/*", "application/json", r#"{"n":2}"#),
            ("application/json", "application/json", r#"{"n":2}"#),
        ] {
            let out =
                map(SelectBy::Status, &sources, accept, &response(200, r#"{"a":[1,2],"id":"x"}"#)).unwrap();
            assert_eq!(
                out.headers.of(Place::Header).collect::<Vec<_>>(),
                [("X-Id", "x"), ("Content-Type", media)]
            );
            assert_eq!(out.body.as_deref(), Some(body.as_bytes()));
        }
    }

    #[test]
    fn overrides_change_status_and_headers_and_the_last_wins() {
        let sources = [ResponseSource {
            templates: &[(
                "application/json",
                "#set($context.responseOverride.status = 418)#set($context.responseOverride.header.x-a = 'new')x",
            )],
            parameters: &[("method.response.header.X-A", "'old'")],
            ..choice("200", None)
        }];
        let out = map(SelectBy::Status, &sources, "*/*", &response(200, "{}")).unwrap();
        assert_eq!((out.status, out.headers.get(Place::Header, "X-A")), (418, Some("new")));

        let mapping = ResponseMapping::compile(SelectBy::Status, &[choice("200", None)]).unwrap();
        let (request, response) = (TestRequest::default(), response(200, "{}"));
        let overrides = ["999", "201", "no"]
            .map(|value| Override { name: "responseOverride.status".to_owned(), value: value.to_owned() });
        let mut out = Answer::default();
        let (request, response) = (Request::new(&request), Response::new(&response));
        mapping.apply(&request, &response, &BinaryMediaTypes::default(), &overrides, &mut out).unwrap();
        assert_eq!(out.status, 201);
    }

    #[test]
    fn binary_bodies_become_text_unless_the_client_wants_them() {
        let view = TestResponse { headers: vec![("Content-Type", "image/png")], ..response(200, "hi") };
        let sources = [choice("200", None)];
        let out = map(SelectBy::Status, &sources, "text/html", &view).unwrap();
        assert_eq!(out.body.as_deref(), Some(&b"aGk="[..]));
        let out = map(SelectBy::Status, &sources, "image/png", &view).unwrap();
        assert_eq!(out.body, None);
    }

    #[test]
    fn all_faults_are_told() {
        let errors = ResponseMapping::compile(
            SelectBy::Status,
            &[
                ResponseSource {
                    templates: &[("application/json", "#end")],
                    parameters: &[("method.response.header.a", "method.request.header.b")],
                    ..choice("ok", Some("("))
                },
                choice("200", None),
            ],
        );
        assert_eq!(errors.unwrap_err().len(), 4);
    }
}
