//! Request validators: required parameters, and bodies against models.

use crate::Kind;
use crate::refusal::Refusal;
use crate::request::JSON;
use crate::view::{NotJson, Request};
use sluice_schema::{Invalid, Schema, SchemaError};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A model that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelError {
    /// The model's name.
    pub model: String,
    /// What is wrong with it, and where.
    pub error: SchemaError,
}

impl fmt::Display for ModelError {
    /// AWS's words around ours.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, error } = self;
        write!(f, "Invalid model specified: Validation Result: warnings : [], errors : [{model}: {error}]")
    }
}

impl std::error::Error for ModelError {}

/// An API's models, compiled; they may refer to each other by the URL that AWS gives them.
#[derive(Debug, Default)]
pub struct Models {
    by_name: BTreeMap<String, Arc<Schema>>,
}

impl Models {
    /// Compiles an API's models, `(name, schema)`.
    ///
    /// # Errors
    /// All that are wrong.
    pub fn compile(api: &str, models: &[(&str, &str)]) -> Result<Self, Vec<ModelError>> {
        let documents = |uri: &str| model_of(uri).and_then(|name| text_of(models, name));
        let mut errors = Vec::new();
        let mut by_name = BTreeMap::new();
        for (name, text) in models {
            match Schema::compile(&url_of(api, name), text, &documents) {
                Ok(schema) => drop(by_name.insert((*name).to_owned(), Arc::new(schema))),
                Err(error) => errors.push(ModelError { model: (*name).to_owned(), error }),
            }
        }
        if errors.is_empty() { Ok(Self { by_name }) } else { Err(errors) }
    }
}

const HOST: &str = "https://apigateway.amazonaws.com/restapis/";

fn url_of(api: &str, model: &str) -> String {
    format!("{HOST}{api}/models/{model}")
}

/// The name in a model's URL. An imported definition may carry the id of the API that it was exported from: any will do.
fn model_of(uri: &str) -> Option<&str> {
    let (_, rest) = uri.strip_prefix(HOST)?.split_once('/')?;
    rest.strip_prefix("models/")
}

fn text_of(models: &[(&str, &str)], name: &str) -> Option<String> {
    models.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned())
}

/// The text that a validator is compiled from.
#[derive(Clone, Copy, Debug, Default)]
pub struct ValidatorSource<'t> {
    /// `validateRequestParameters`.
    pub parameters: bool,
    /// `validateRequestBody`.
    pub body: bool,
    /// The method's `requestParameters`: name, and whether it is required.
    pub declared: &'t [(&'t str, bool)],
    /// The method's `requestModels`: content type and model.
    pub models: &'t [(&'t str, &'t str)],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Path,
    Query,
    Header,
}

/// A method's validator.
#[derive(Debug, Default)]
pub struct Validator {
    /// Sorted by their whole names, as the message lists them.
    required: Vec<(Where, Box<str>)>,
    models: Vec<(Box<str>, Arc<Schema>)>,
}

impl Validator {
    /// Compiles a method's validator.
    ///
    /// # Errors
    /// The name of a model that the API hasn't.
    pub fn compile(source: &ValidatorSource<'_>, models: &Models) -> Result<Self, String> {
        let mut validator = Self::default();
        if source.parameters {
            let mut names: Vec<_> =
                source.declared.iter().filter(|(_, required)| *required).map(|(name, _)| *name).collect();
            names.sort_unstable();
            validator.required = names.into_iter().filter_map(required).collect();
        }
        if source.body {
            for (content_type, name) in source.models {
                let schema = models.by_name.get(*name).ok_or_else(|| (*name).to_owned())?;
                validator.models.push(((*content_type).into(), Arc::clone(schema)));
            }
        }
        Ok(validator)
    }

    /// Whether it lets everything pass.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.required.is_empty() && self.models.is_empty()
    }

    /// Whether it wants the body.
    #[must_use]
    pub const fn needs_body(&self) -> bool {
        !self.models.is_empty()
    }

    /// Checks a request.
    ///
    /// # Errors
    /// 400, with what is missing or wrong.
    pub fn check(&self, request: &Request<'_>) -> Result<(), Refusal> {
        self.check_parameters(request)?;
        self.check_body(request)
    }

    /// Checks what doesn't need the body.
    ///
    /// # Errors
    /// 400, with what is missing.
    pub fn check_parameters(&self, request: &Request<'_>) -> Result<(), Refusal> {
        // What is there must not be blank either.
        let is_there = |(place, name): &&(Where, Box<str>)| match place {
            Where::Path => request.raw_path_parameter(name).is_some_and(|value| !value.is_empty()),
            Where::Query => {
                request.query().iter().any(|(known, value)| known == &**name && !value.trim().is_empty())
            }
            Where::Header => request.header(name).is_some_and(|value| !value.trim().is_empty()),
        };
        if self.required.iter().all(|parameter| is_there(&parameter)) {
            return Ok(());
        }
        let missing = self.required.iter().filter(|parameter| !is_there(parameter)).map(|(_, name)| &**name);
        let names = missing.collect::<Vec<_>>().join(", ");
        let message = format!("Missing required request parameters: [{names}]");
        Err(Refusal::new(Kind::BadRequestParameters, message))
    }

    fn check_body(&self, request: &Request<'_>) -> Result<(), Refusal> {
        let Some(schema) = self.schema(request.header("content-type").as_deref()) else { return Ok(()) };
        let refusal = |validation, log: &str| Refusal {
            validation,
            log: log.to_owned(),
            ..Refusal::new(Kind::BadRequestBody, "Invalid request body")
        };
        let checked = request.body().check(schema, request.work()).map_err(|NotJson| {
            refusal(String::new(), "Request body does not match model schema for content type: not JSON")
        })?;
        checked.map_err(|invalid| match invalid {
            Invalid::Faults(faults) => {
                let log = format!("Request body does not match model schema for content type: {faults}");
                refusal(faults, &log)
            }
            Invalid::TooMuchWork => refusal(
                "[the body takes too much work to validate]".to_owned(),
                "Request body takes too much work to validate",
            ),
        })
    }

    /// The model of a content type: exactly as it stands, then without its parameters, then `$default`. A body of another
    /// type is not looked at.
    fn schema(&self, content_type: Option<&str>) -> Option<&Schema> {
        let content_type = content_type.unwrap_or(JSON).trim();
        let bare = content_type.split(';').next().unwrap_or_default().trim();
        let of = |wanted: &str| self.models.iter().find(|(known, _)| known.eq_ignore_ascii_case(wanted));
        of(content_type).or_else(|| of(bare)).or_else(|| of("$default")).map(|(_, schema)| &**schema)
    }
}

fn required(name: &str) -> Option<(Where, Box<str>)> {
    let (place, name) = name.strip_prefix("method.request.")?.split_once('.')?;
    let place = match place {
        "path" => Where::Path,
        "querystring" => Where::Query,
        "header" => Where::Header,
        _ => return None,
    };
    Some((place, name.into()))
}

#[cfg(test)]
mod tests {
    use super::{Models, Validator, ValidatorSource};
    use crate::testing::TestRequest;
    use crate::{Kind, Refusal, Request};

    fn check(validator: &Validator, view: &TestRequest) -> Result<(), Refusal> {
        validator.check(&Request::new(view))
    }

    #[test]
    fn required_parameters_must_be_there_and_not_blank() {
        let declared = &[
            ("method.request.querystring.q", true),
            ("method.request.querystring.page", false),
            ("method.request.header.X-Tenant", true),
            ("method.request.path.id", true),
        ];
        let source = ValidatorSource { parameters: true, declared, ..ValidatorSource::default() };
        let validator = Validator::compile(&source, &Models::default()).unwrap();
        let full = TestRequest {
            path: vec![("id", "7")],
            query: "q=1",
            headers: vec![("x-tenant", "t")],
            ..TestRequest::default()
        };
        check(&validator, &full).unwrap();
        let blank = TestRequest { query: "q=+", headers: vec![("x-tenant", " ")], ..full };
        let refusal = check(&validator, &blank).unwrap_err();
        assert_eq!(refusal.kind, Kind::BadRequestParameters);
        assert_eq!(refusal.message, "Missing required request parameters: [X-Tenant, q]");
        let off = ValidatorSource { parameters: false, ..source };
        assert!(Validator::compile(&off, &Models::default()).unwrap().is_empty());
    }

    fn models() -> Models {
        Models::compile(
            "a1",
            &[
                ("Pet", r#"{"type":"object","required":["name"],"properties":{"name":{"type":"string"}}}"#),
                (
                    "Pets",
                    r#"{"type":"array","items":{"$ref":"https://apigateway.amazonaws.com/restapis/zz/models/Pet"}}"#,
                ),
                ("Empty", "{}"),
            ],
        )
        .unwrap()
    }

    #[test]
    fn bodies_follow_the_model_of_their_content_type() {
        let source = ValidatorSource {
            body: true,
            models: &[("application/json", "Pets"), ("application/xml", "Empty")],
            ..ValidatorSource::default()
        };
        let validator = Validator::compile(&source, &models()).unwrap();
        assert!(validator.needs_body());
        for (content_type, body, faults) in [
            ("application/json", r#"[{"name":"a"}]"#, None),
            (
                "application/json; charset=utf-8",
                "[{}]",
                Some(r#"[object has missing required properties (["name"])]"#),
            ),
            (
                "application/json",
                "",
                Some(
                    r#"[instance type (object) does not match any allowed primitive type (allowed: ["array"])]"#,
                ),
            ),
            ("application/json", "[", Some("")),
            ("application/json", "text", Some("")),
            ("application/xml", "{}", None),
            ("text/plain", "text", None),
        ] {
            let view = TestRequest {
                headers: vec![("Content-Type", content_type)],
                body: body.as_bytes().to_vec(),
                ..TestRequest::default()
            };
            let found = check(&validator, &view);
            match faults {
                None => found.unwrap(),
                Some(faults) => {
                    let refusal = found.unwrap_err();
                    assert_eq!(
                        (refusal.kind, &*refusal.message),
                        (Kind::BadRequestBody, "Invalid request body")
                    );
                    assert_eq!(refusal.validation, faults, "{body}");
                }
            }
        }
    }

    #[test]
    fn models_that_are_wrong_or_missing_are_told() {
        let errors =
            Models::compile("a1", &[("A", "{"), ("B", r#"{"$ref":"https://example.com/x"}"#)]).unwrap_err();
        assert_eq!(errors.iter().map(|error| &*error.model).collect::<Vec<_>>(), ["A", "B"]);
        assert!(errors[0].to_string().starts_with("Invalid model specified: Validation Result:"));
        let source = ValidatorSource { body: true, models: &[("a/b", "No")], ..ValidatorSource::default() };
        assert_eq!(Validator::compile(&source, &Models::default()).unwrap_err(), "No");
    }
}
