//! A test case as data: template, input, context, output.
//!
//! ```json
//! {
//!   "template": "Hello $input.params('name'), $context.stage",
//!   "input": {
//!     "body": "{\"a\":1}",
//!     "params": { "path": {}, "querystring": { "name": "Ada" }, "header": {} },
//!     "stageVariables": { "backend": "blue" }
//!   },
//!   "context": { "stage": "prod", "identity": { "sourceIp": "192.0.2.1" } },
//!   "variables": { "a": [1, 2] },
//!   "output": "Hello Ada, prod",
//!   "overrides": { "responseOverride.status": "201" },
//!   "error": "part of the message",
//!   "ignore_space": false
//! }
//! ```
//!
//! All but `template` may be left out. A `body` that is no string is JSON as it stands. `template` and `output` may be
//! lists of lines.

use crate::error::Error;
use crate::host::{ContextValue, Host, Limits, Place, Rendered, Traced};
use crate::{Template, run, run_traced};
use sluice_jsonpath::{Heap, Map, Out, Value, parse, write_java, write_json};
use std::fmt;

/// A case, read; it is the [`Host`] of its template.
#[derive(Debug, Default)]
pub struct Case {
    /// The template.
    pub template: String,
    body: String,
    params: [Vec<(String, String)>; 3],
    stage_variables: Vec<(String, String)>,
    context: Vec<(String, Stored)>,
    variables: Option<String>,
    /// The output that is expected, if one is.
    pub output: Option<String>,
    /// Part of the error that is expected instead.
    pub error: Option<String>,
    /// Overrides that are expected; all of them, if any are named.
    pub overrides: Vec<(String, String)>,
    /// Whether output may differ in white space.
    pub ignore_space: bool,
}

#[derive(Debug)]
enum Stored {
    Str(String),
    Long(i64),
    Json(String),
}

/// Why a file is not a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseError(String);

impl fmt::Display for CaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CaseError {}

const CAPACITY: usize = 4_000_000;

impl Case {
    /// Reads a case.
    ///
    /// # Errors
    /// When the text is not JSON or has keys that a case has not.
    pub fn read(text: &str) -> Result<Self, CaseError> {
        let mut case = Self::default();
        Reader::new(text)?.each(text, |reader, key, value| match key {
            "template" => {
                case.template = reader.lines(value)?;
                Ok(())
            }
            "input" => case.input(reader, value),
            "context" => reader.context(value, "", &mut case.context),
            "variables" => {
                case.variables = Some(reader.json(value)?);
                Ok(())
            }
            "output" => {
                case.output = Some(reader.lines(value)?);
                Ok(())
            }
            "overrides" => {
                case.overrides = reader.pairs(value)?;
                Ok(())
            }
            "error" => {
                case.error = Some(reader.string(value)?);
                Ok(())
            }
            "ignore_space" => {
                case.ignore_space = matches!(value, Value::Bool(true));
                Ok(())
            }
            // Notes are for people.
            "note" | "id" => Ok(()),
            _ => Err(CaseError(format!(
                "unknown key `{key}`: expected template, input, context, variables, output, overrides, error, \
                 ignore_space or note"
            ))),
        })?;
        Ok(case)
    }

    /// A host from an input file and a context file, as `input` and `context` of a case.
    ///
    /// # Errors
    /// When one of them is not what it should be.
    pub fn from_parts(input: Option<&str>, context: Option<&str>) -> Result<Self, CaseError> {
        let mut case = Self::default();
        if let Some(text) = input {
            let mut reader = Reader::new(text)?;
            let root = reader.root(text)?;
            case.input(&mut reader, &root)?;
        }
        if let Some(text) = context {
            let mut reader = Reader::new(text)?;
            let root = reader.root(text)?;
            reader.context(&root, "", &mut case.context)?;
        }
        Ok(case)
    }

    /// A host with this body and nothing else.
    #[must_use]
    pub fn with_body(body: impl Into<String>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// Replaces the body.
    pub fn set_body(&mut self, body: impl Into<String>) {
        self.body = body.into();
    }

    /// Runs the case's template.
    ///
    /// # Errors
    /// When the template doesn't compile or fails.
    pub fn run(&self, name: &str) -> Result<Rendered, Error> {
        run(&Template::compile(name, &self.template)?, self, &Limits::default())
    }

    /// Runs the case's template with a trace.
    ///
    /// # Errors
    /// When the template doesn't compile or fails.
    pub fn trace(&self, name: &str, trace: &mut dyn FnMut(Traced<'_>)) -> Result<Rendered, Error> {
        run_traced(&Template::compile(name, &self.template)?, self, &Limits::default(), Some(trace))
    }

    /// What is wrong with a result, if anything: expected and found.
    #[must_use]
    pub fn judge(&self, result: &Result<Rendered, Error>) -> Option<(String, String)> {
        match (result, &self.error) {
            (Err(error), Some(part)) if error.to_string().contains(part.as_str()) => None,
            (Err(error), Some(part)) => Some((format!("an error with {part:?}"), error.to_string())),
            (Err(error), None) => {
                Some((self.output.clone().unwrap_or_else(|| "no error".to_owned()), error.to_string()))
            }
            (Ok(rendered), Some(part)) => Some((format!("an error with {part:?}"), rendered.text.clone())),
            (Ok(rendered), None) => self.judge_output(rendered),
        }
    }

    fn judge_output(&self, rendered: &Rendered) -> Option<(String, String)> {
        if let Some(output) = &self.output {
            let same = if self.ignore_space {
                output.split_whitespace().eq(rendered.text.split_whitespace())
            } else {
                *output == rendered.text
            };
            if !same {
                return Some((output.clone(), rendered.text.clone()));
            }
        }
        let found = rendered.overrides.iter().map(|change| (&change.name, &change.value));
        let expected = self.overrides.iter().map(|(name, value)| (name, value));
        if !self.overrides.is_empty() && !found.clone().eq(expected.clone()) {
            return Some((
                format!("{:?}", expected.collect::<Vec<_>>()),
                format!("{:?}", found.collect::<Vec<_>>()),
            ));
        }
        None
    }

    fn input(&mut self, reader: &mut Reader<'_>, value: &Value<'_>) -> Result<(), CaseError> {
        for (key, value) in reader.entries(value)? {
            match &*key {
                "body" => {
                    self.body = match value {
                        Value::Str(text) => text.to_string(),
                        Value::List(_) | Value::Map(_) => reader.json(&value)?,
                        _ => reader.string(&value)?,
                    };
                }
                "params" => {
                    for (place, values) in reader.entries(&value)? {
                        let at = Place::ALL.iter().position(|known| known.name() == place);
                        let slot = at.and_then(|at| self.params.get_mut(at));
                        *slot.ok_or_else(|| {
                            CaseError(format!(
                                "params: expected path, querystring or header, found `{place}`"
                            ))
                        })? = reader.pairs(&values)?;
                    }
                }
                "stageVariables" => self.stage_variables = reader.pairs(&value)?,
                _ => {
                    return Err(CaseError(format!(
                        "input: expected body, params or stageVariables, found `{key}`"
                    )));
                }
            }
        }
        Ok(())
    }
}

struct Reader<'a> {
    heap: Heap<'a>,
}

impl<'a> Reader<'a> {
    fn new(_: &str) -> Result<Self, CaseError> {
        Ok(Self { heap: Heap::new(CAPACITY) })
    }

    fn root(&mut self, text: &'a str) -> Result<Value<'a>, CaseError> {
        parse(text, &mut self.heap).map_err(|error| CaseError(error.to_string()))
    }

    fn each(
        mut self,
        text: &'a str,
        mut each: impl FnMut(&mut Self, &str, &Value<'a>) -> Result<(), CaseError>,
    ) -> Result<(), CaseError> {
        let root = self.root(text)?;
        for (key, value) in self.entries(&root)? {
            each(&mut self, &key, &value)?;
        }
        Ok(())
    }

    fn entries(&self, value: &Value<'a>) -> Result<Vec<(String, Value<'a>)>, CaseError> {
        let Value::Map(id) = value else {
            return Err(CaseError("expected a JSON object".to_owned()));
        };
        let entries = self.heap.map(*id).entries();
        Ok(entries.map(|(key, value)| (key.as_str().unwrap_or_default().to_owned(), value.clone())).collect())
    }

    fn string(&self, value: &Value<'a>) -> Result<String, CaseError> {
        let mut out = Out::new(usize::MAX >> 1);
        write_java(&self.heap, value, &mut out).map_err(|error| CaseError(format!("{error:?}")))?;
        Ok(out.into_string())
    }

    fn json(&self, value: &Value<'a>) -> Result<String, CaseError> {
        let mut out = Out::new(usize::MAX >> 1);
        write_json(&self.heap, value, &mut out).map_err(|error| CaseError(format!("{error:?}")))?;
        Ok(out.into_string())
    }

    /// A string, or lines of one.
    fn lines(&self, value: &Value<'a>) -> Result<String, CaseError> {
        let Value::List(id) = value else { return self.string(value) };
        let lines = self.heap.list(*id).items.iter().map(|line| self.string(line));
        Ok(lines.collect::<Result<Vec<_>, _>>()?.join("\n"))
    }

    fn pairs(&self, value: &Value<'a>) -> Result<Vec<(String, String)>, CaseError> {
        self.entries(value)?.into_iter().map(|(key, value)| Ok((key, self.string(&value)?))).collect()
    }

    /// Flattens groups to dotted names; lists stay JSON.
    fn context(
        &mut self,
        value: &Value<'a>,
        prefix: &str,
        into: &mut Vec<(String, Stored)>,
    ) -> Result<(), CaseError> {
        for (key, value) in self.entries(value)? {
            let name = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
            match &value {
                Value::Map(id) if !Map::is_empty(self.heap.map(*id)) => self.context(&value, &name, into)?,
                Value::Str(text) => into.push((name, Stored::Str(text.to_string()))),
                Value::Int(_) | Value::Long(_) => {
                    let number = value.as_integer().and_then(|number| i64::try_from(number).ok());
                    into.push((name, Stored::Long(number.unwrap_or_default())));
                }
                _ => {
                    let text = self.json(&value)?;
                    into.push((name, Stored::Json(text)));
                }
            }
        }
        Ok(())
    }
}

fn shown(value: &Stored) -> ContextValue<'_> {
    match value {
        Stored::Str(text) => ContextValue::Str(text),
        Stored::Long(number) => ContextValue::Long(*number),
        Stored::Json(text) => ContextValue::Json(text),
    }
}

impl Host for Case {
    fn body(&self) -> &str {
        &self.body
    }

    fn parameters<'h>(&'h self, place: Place, each: &mut dyn FnMut(&'h str, &'h str)) {
        let at = Place::ALL.iter().position(|known| *known == place);
        for (name, value) in at.and_then(|at| self.params.get(at)).into_iter().flatten() {
            each(name, value);
        }
    }

    fn context(&self, name: &str) -> Option<ContextValue<'_>> {
        self.context.iter().find(|(known, _)| known == name).map(|(_, value)| shown(value))
    }

    fn context_all<'h>(&'h self, each: &mut dyn FnMut(&'h str, ContextValue<'h>)) {
        for (name, value) in &self.context {
            each(name, shown(value));
        }
    }

    fn stage_variables<'h>(&'h self, each: &mut dyn FnMut(&'h str, &'h str)) {
        for (name, value) in &self.stage_variables {
            each(name, value);
        }
    }

    fn variables(&self) -> Option<&str> {
        self.variables.as_deref()
    }
}
