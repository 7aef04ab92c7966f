//! From method request to integration request.

use crate::Kind;
use crate::assigned::Assigned;
use crate::content::{BinaryMediaTypes, ContentHandling, NotBase64, convert_request};
use crate::expression::ExpressionError;
use crate::parameters::RequestParameters;
use crate::refusal::Refusal;
use crate::template::{Chosen, TemplateError, Templates, apply_overrides, run};
use crate::view::Request;
use sluice_vtl::Override;
use std::borrow::Cow;
use std::fmt;

/// What becomes of a body for whose content type there is no template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Passthrough {
    /// It passes.
    #[default]
    WhenNoMatch,
    /// It passes if there is no template at all, else 415.
    WhenNoTemplates,
    /// 415.
    Never,
}

impl Passthrough {
    /// As the control plane names it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "WHEN_NO_MATCH" => Some(Self::WhenNoMatch),
            "WHEN_NO_TEMPLATES" => Some(Self::WhenNoTemplates),
            "NEVER" => Some(Self::Never),
            _ => None,
        }
    }
}

/// What is wrong with an integration's mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappingError {
    /// A parameter.
    Expression(ExpressionError),
    /// A template.
    Template(TemplateError),
    /// A selection pattern.
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A status that is none.
    Status(String),
}

impl fmt::Display for MappingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expression(error) => error.fmt(f),
            Self::Template(error) => error.fmt(f),
            Self::Pattern { pattern, reason } => write!(f, "selection pattern `{pattern}`: {reason}"),
            Self::Status(status) => write!(f, "status code: expected 100 to 599, found `{status}`"),
        }
    }
}

impl std::error::Error for MappingError {}

/// The text that a request's mapping is compiled from.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestSource<'t> {
    /// `requestParameters`.
    pub parameters: &'t [(&'t str, &'t str)],
    /// `requestTemplates`.
    pub templates: &'t [(&'t str, &'t str)],
    /// `passthroughBehavior`.
    pub passthrough: Passthrough,
    /// `contentHandling`.
    pub content_handling: Option<ContentHandling>,
}

/// A compiled mapping of requests.
#[derive(Debug, Default)]
pub struct RequestMapping {
    parameters: RequestParameters,
    templates: Templates,
    passthrough: Passthrough,
    content_handling: Option<ContentHandling>,
}

/// An integration request in the making; used again and again.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// Path variables, query parameters and headers.
    pub parameters: Assigned,
    /// The body; `None`: it goes on as it was received.
    pub body: Option<Vec<u8>>,
    /// `Content-Type`, unless a parameter says another.
    pub content_type: String,
    /// What the template did to `$context.responseOverride`, for [`ResponseMapping::apply`](crate::ResponseMapping::apply).
    pub response_overrides: Vec<Override>,
}

impl Outgoing {
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.parameters.clear();
        self.body = None;
        self.content_type.clear();
        self.response_overrides.clear();
    }
}

impl RequestMapping {
    /// Compiles an integration's request mapping.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn compile(source: &RequestSource<'_>) -> Result<Self, Vec<MappingError>> {
        let parameters = RequestParameters::compile(source.parameters.iter().copied());
        let templates = Templates::compile(source.templates.iter().copied());
        match (parameters, templates) {
            (Ok(parameters), Ok(templates)) => Ok(Self {
                parameters,
                templates,
                passthrough: source.passthrough,
                content_handling: source.content_handling,
            }),
            (parameters, templates) => {
                let mut errors = Vec::new();
                errors.extend(parameters.err().into_iter().flatten().map(MappingError::Expression));
                errors.extend(templates.err().into_iter().flatten().map(MappingError::Template));
                Err(errors)
            }
        }
    }

    /// Its parameters.
    #[must_use]
    pub const fn parameters(&self) -> &RequestParameters {
        &self.parameters
    }

    /// Whether a request passes as it is, so that nobody needs its body here.
    #[must_use]
    pub const fn is_identity(&self) -> bool {
        self.parameters.is_empty() && self.templates.is_empty() && self.content_handling.is_none()
    }

    /// Whether anything here wants the body; where nothing does, it may be streamed.
    #[must_use]
    pub fn needs_body(&self) -> bool {
        !self.templates.is_empty() || self.content_handling.is_some() || self.parameters.read_body()
    }

    /// Makes the integration request.
    ///
    /// # Errors
    /// 415 where no template is for the content type and the body must not pass; 400 where a parameter is read from a body that is
    /// not JSON; 500 where a template fails or text should have been base64.
    pub fn apply(
        &self,
        request: &Request<'_>,
        binary: &BinaryMediaTypes,
        out: &mut Outgoing,
    ) -> Result<(), Refusal> {
        out.clear();
        let content_type = request.header("content-type");
        let chosen = self.choose(content_type.as_deref())?;
        self.parameters.apply(request, &mut out.parameters)?;
        let body = request.body().bytes();
        let is_binary = binary.matches(content_type.as_deref());
        let converted = convert_request(body, is_binary, self.content_handling)
            .map_err(|NotBase64| Refusal::configuration("Unable to base64 decode the body."))?;
        match chosen.and_then(|chosen| Some((chosen.content_type, chosen.template?))) {
            Some((content_type, template)) => {
                let text = match &converted {
                    Cow::Borrowed(_) => Cow::Borrowed(request.body().text()),
                    Cow::Owned(bytes) => String::from_utf8_lossy(bytes),
                };
                let rendered = run(template, request, &text, &[]).map_err(|error| {
                    Refusal::configuration(format_args!("Unable to transform request: {error}"))
                })?;
                apply_overrides(&rendered.overrides, "requestOverride", &mut out.parameters);
                out.response_overrides = rendered.overrides;
                out.body = Some(rendered.text.into_bytes());
                // `$default` is no media type.
                let named = if content_type.contains('/') { content_type } else { JSON };
                out.content_type.push_str(named);
            }
            None => {
                if let Cow::Owned(bytes) = converted {
                    out.body = Some(bytes);
                }
                out.content_type.push_str(content_type.as_deref().unwrap_or(JSON));
            }
        }
        Ok(())
    }

    /// The template for a content type; a request without one counts as JSON.
    fn choose(&self, content_type: Option<&str>) -> Result<Option<Chosen<'_>>, Refusal> {
        let found = self.templates.of(content_type.unwrap_or(JSON)).or_else(|| self.templates.of("$default"));
        match (found, self.passthrough) {
            (Some(chosen), _) => Ok(Some(chosen)),
            (None, Passthrough::WhenNoMatch) => Ok(None),
            (None, Passthrough::WhenNoTemplates) if self.templates.is_empty() => Ok(None),
            _ => Err(Refusal::new(Kind::UnsupportedMediaType, "Unsupported Media Type")),
        }
    }
}

/// The content type that stands where none does.
pub(crate) const JSON: &str = "application/json";

#[cfg(test)]
mod tests {
    use super::{MappingError, Outgoing, Passthrough, RequestMapping, RequestSource};
    use crate::context::ContextVariable;
    use crate::testing::TestRequest;
    use crate::{BinaryMediaTypes, ContentHandling, Kind, Place, Request};

    fn view(content_type: Option<&'static str>, body: &str) -> TestRequest {
        TestRequest {
            path: vec![("id", "7")],
            query: "page=2&page=3&q=a%20b",
            headers: content_type.map(|value| ("Content-Type", value)).into_iter().collect(),
            body: body.as_bytes().to_vec(),
            context: vec![(ContextVariable::HttpMethod, "POST"), (ContextVariable::Stage, "prod")],
            authorizer: vec![("userId", "u1")],
            stage: vec![("table", "users")],
            ..TestRequest::default()
        }
    }

    fn map(source: &RequestSource<'_>, view: &TestRequest) -> Result<Outgoing, crate::Refusal> {
        let mut out = Outgoing::default();
        let mapping = RequestMapping::compile(source).unwrap();
        mapping.apply(&Request::new(view), &BinaryMediaTypes::new(["image/png"]), &mut out).map(|()| out)
    }

    fn body(out: &Outgoing) -> &str {
        std::str::from_utf8(out.body.as_deref().unwrap()).unwrap()
    }

    #[test]
    fn a_template_is_chosen_by_content_type_and_makes_the_body() {
        let source = RequestSource {
            templates: &[
                (
                    "application/json",
                    "json $input.path('$.a') $input.params('page') $context.authorizer.userId",
                ),
                ("application/xml", "xml $stageVariables.table $input.params().path.id"),
            ],
            ..RequestSource::default()
        };
        for (content_type, expected) in [
            (Some("application/json"), "json 1 3 u1"),
            (Some("APPLICATION/JSON; charset=utf-8"), "json 1 3 u1"),
            (None, "json 1 3 u1"),
            (Some("application/xml"), "xml users 7"),
        ] {
            let out = map(&source, &view(content_type, r#"{"a":1}"#)).unwrap();
            assert_eq!(body(&out), expected, "{content_type:?}");
        }
    }

    #[test]
    fn what_passes_is_a_matter_of_passthrough() {
        let templates = &[("application/json", "t")][..];
        for (passthrough, templates, content_type, expected) in [
            (Passthrough::WhenNoMatch, templates, "text/plain", Some(None)),
            (Passthrough::WhenNoTemplates, templates, "text/plain", None),
            (Passthrough::WhenNoTemplates, &[], "text/plain", Some(None)),
            (Passthrough::Never, &[], "text/plain", None),
            (Passthrough::Never, templates, "application/json", Some(Some("t"))),
            (Passthrough::Never, &[("$default", "d")], "text/plain", Some(Some("d"))),
            // A template without text passes the body.
            (Passthrough::Never, &[("text/plain", "")], "text/plain", Some(None)),
        ] {
            let source = RequestSource { templates, passthrough, ..RequestSource::default() };
            let out = map(&source, &view(Some(content_type), "b"));
            match expected {
                None => {
                    let refusal = out.unwrap_err();
                    assert_eq!(refusal.kind, Kind::UnsupportedMediaType);
                    assert_eq!(refusal.message, "Unsupported Media Type");
                }
                Some(text) => {
                    assert_eq!(out.unwrap().body.as_deref(), text.map(str::as_bytes), "{passthrough:?}");
                }
            }
        }
        for (name, value) in [
            ("WHEN_NO_MATCH", Some(Passthrough::WhenNoMatch)),
            ("WHEN_NO_TEMPLATES", Some(Passthrough::WhenNoTemplates)),
            ("NEVER", Some(Passthrough::Never)),
            ("never", None),
        ] {
            assert_eq!(Passthrough::from_name(name), value);
        }
    }

    #[test]
    fn overrides_win_over_parameters() {
        let source = RequestSource {
            parameters: &[
                ("integration.request.header.X-A", "'old'"),
                ("integration.request.querystring.q", "method.request.querystring.q"),
                ("integration.request.path.id", "method.request.path.id"),
            ],
            templates: &[(
                "application/json",
                "#set($context.requestOverride.header.x-a = 'new')#set($context.requestOverride.path.id = 'a b')\
                 #set($context.requestOverride.querystring.z = 'y')#set($context.responseOverride.status = 201)",
            )],
            ..RequestSource::default()
        };
        let out = map(&source, &view(None, "")).unwrap();
        assert_eq!(out.parameters.of(Place::Header).collect::<Vec<_>>(), [("x-a", "new")]);
        assert_eq!(out.parameters.of(Place::Query).collect::<Vec<_>>(), [("q", "a b"), ("z", "y")]);
        assert_eq!(out.parameters.of(Place::Path).collect::<Vec<_>>(), [("id", "a%20b")]);
        assert!(out.response_overrides.iter().any(|change| change.name == "responseOverride.status"));
    }

    #[test]
    fn bodies_are_converted_before_the_template_sees_them() {
        let text = RequestSource {
            content_handling: Some(ContentHandling::ConvertToText),
            ..RequestSource::default()
        };
        let out = map(&text, &view(Some("image/png"), "hi")).unwrap();
        assert_eq!(body(&out), "aGk=");
        let templated = RequestSource { templates: &[("image/png", "<$input.body>")], ..text };
        assert_eq!(body(&map(&templated, &view(Some("image/png"), "hi")).unwrap()), "<aGk=>");
        let binary = RequestSource { content_handling: Some(ContentHandling::ConvertToBinary), ..text };
        assert_eq!(body(&map(&binary, &view(Some("text/plain"), "aGk=")).unwrap()), "hi");
        let refusal = map(&binary, &view(Some("text/plain"), "no base64")).unwrap_err();
        assert_eq!(refusal.kind, Kind::ApiConfigurationError);
    }

    #[test]
    fn a_template_that_fails_is_the_apis_fault() {
        let source = RequestSource {
            templates: &[("application/json", "$input.body.substring(9)")],
            ..RequestSource::default()
        };
        let refusal = map(&source, &view(None, "{}")).unwrap_err();
        assert_eq!((refusal.kind, &*refusal.message), (Kind::ApiConfigurationError, "Internal server error"));
        assert!(refusal.log.contains("Unable to transform request"), "{}", refusal.log);
    }

    #[test]
    fn all_faults_are_told_and_bodies_are_asked_for_only_where_needed() {
        let errors = RequestMapping::compile(&RequestSource {
            parameters: &[("integration.request.header.a", "nothing")],
            templates: &[("application/json", "#if(")],
            ..RequestSource::default()
        });
        let errors = errors.unwrap_err();
        assert!(matches!(errors[..], [MappingError::Expression(_), MappingError::Template(_)]), "{errors:?}");
        let compile = |from| {
            let parameters = &[("integration.request.header.a", from)];
            RequestMapping::compile(&RequestSource { parameters, ..RequestSource::default() })
                .unwrap()
                .needs_body()
        };
        assert!(compile("method.request.body.a"));
        assert!(!compile("method.request.path.a"));
        assert!(RequestMapping::default().is_identity());
    }
}
