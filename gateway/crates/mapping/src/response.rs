//! From integration response to method response.

use crate::assigned::{Assigned, Place};
use crate::content::{BinaryMediaTypes, ContentHandling, NotBase64, convert_response};
use crate::parameters::ResponseParameters;
use crate::refusal::Refusal;
use crate::request::{JSON, MappingError};
use crate::template::{Chosen, Templates, apply_overrides, run};
use crate::view::{Request, Response};
use sluice_jsonpath::{JavaPattern, Path};
use sluice_vtl::Override;
use std::borrow::Cow;

/// What selection patterns are matched with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SelectBy {
    /// The status code.
    #[default]
    Status,
    /// `errorMessage` of a Lambda function's answer; where it has none, the status code.
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
        let choice = self.choose(response)?;
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

    fn choose(&self, response: &Response<'_>) -> Result<&Choice, Refusal> {
        let status = response.view().status().to_string();
        let message = match self.by {
            SelectBy::Status => None,
            SelectBy::LambdaError => error_message(response),
        };
        let selected = message.as_deref().unwrap_or(&status);
        let matching =
            |choice: &&Choice| choice.pattern.as_ref().is_some_and(|pattern| pattern.matches(selected));
        let found = self.choices.iter().find(matching);
        let found = found.or_else(|| self.choices.iter().find(|choice| choice.pattern.is_none()));
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
fn error_message(response: &Response<'_>) -> Option<String> {
    let path = Path::parse("$.errorMessage").ok()?;
    let mut message = None;
    let read = response.body().read(&path, &mut |text| message = Some(text.to_owned()));
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
