//! Mapping templates by content type, and what they see.

use crate::assigned::{Assigned, Place as To};
use crate::context::{ContextName, ContextVariable};
use crate::percent;
use crate::view::Request;
use sluice_vtl::{ContextValue, ErrorKind, Host, Limits, Override, Place, Rendered, Template};
use std::cell::OnceCell;
use std::fmt;

/// A template that is not VTL, and for which content type it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// The content type.
    pub content_type: String,
    /// What is wrong, and where.
    pub error: sluice_vtl::Error,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "template for {}: {}", self.content_type, self.error)
    }
}

impl std::error::Error for TemplateError {}

/// Templates by content type. One whose text is empty is none: its body passes.
#[derive(Debug, Default)]
pub(crate) struct Templates {
    by_type: Vec<(Box<str>, Option<Template>)>,
}

/// A template that was chosen, and the content type that it stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chosen<'t> {
    pub(crate) content_type: &'t str,
    pub(crate) template: Option<&'t Template>,
}

impl Templates {
    pub(crate) fn compile<'t>(
        templates: impl IntoIterator<Item = (&'t str, &'t str)>,
    ) -> Result<Self, Vec<TemplateError>> {
        let mut by_type = Vec::new();
        let mut errors = Vec::new();
        for (content_type, text) in templates {
            if text.is_empty() {
                by_type.push((content_type.into(), None));
                continue;
            }
            match Template::compile(content_type, text) {
                Ok(template) => by_type.push((content_type.into(), Some(template))),
                Err(error) => errors.push(TemplateError { content_type: content_type.to_owned(), error }),
            }
        }
        if errors.is_empty() { Ok(Self { by_type }) } else { Err(errors) }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.by_type.is_empty()
    }

    /// The template of a media type: exactly as it stands, then without its parameters.
    pub(crate) fn of(&self, content_type: &str) -> Option<Chosen<'_>> {
        let bare = content_type.split(';').next().unwrap_or_default().trim();
        let find = |wanted: &str| self.by_type.iter().find(|(known, _)| known.eq_ignore_ascii_case(wanted));
        find(content_type.trim()).or_else(|| find(bare)).map(chosen)
    }

    pub(crate) fn first(&self) -> Option<Chosen<'_>> {
        self.by_type.first().map(chosen)
    }
}

fn chosen((content_type, template): &(Box<str>, Option<Template>)) -> Chosen<'_> {
    Chosen { content_type, template: template.as_ref() }
}

/// Runs a template over a body.
pub(crate) fn run(
    template: &Template,
    request: &Request<'_>,
    body: &str,
    earlier: &[Override],
) -> Result<Rendered, sluice_vtl::Error> {
    let host = TemplateHost { request, body, names: OnceCell::new() };
    let work = request.work();
    let limits = Limits { fuel: work.left(), ..Limits::default() };
    let rendered = sluice_vtl::run(template, &host, &limits);
    if rendered.as_ref().is_err_and(|error| matches!(error.kind, ErrorKind::Limit(_))) {
        work.run_short();
    }
    let mut rendered = rendered?;
    work.spend(rendered.fuel_used);
    if !earlier.is_empty() {
        let later = std::mem::replace(&mut rendered.overrides, earlier.to_vec());
        rendered.overrides.extend(later);
    }
    Ok(rendered)
}

/// Assigns what a template put into `requestOverride` (or `responseOverride`); the status, if it has one that counts.
pub(crate) fn apply_overrides(overrides: &[Override], prefix: &str, out: &mut Assigned) -> Option<u16> {
    let mut status = None;
    let mut encoded = String::new();
    for Override { name, value } in overrides {
        let Some(rest) = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')) else { continue };
        match rest.split_once('.') {
            Some(("header", name)) => out.set(To::Header, name, value),
            Some(("querystring", name)) => out.set(To::Query, name, value),
            Some(("path", name)) => {
                encoded.clear();
                percent::encode_into(value, b"/", &mut encoded);
                out.set(To::Path, name, &encoded);
            }
            // AWS ignores what is no status.
            _ if rest == "status" => {
                status = value.parse().ok().filter(|status| (100..600).contains(status)).or(status);
            }
            _ => {}
        }
    }
    status
}

/// A request as templates see it.
struct TemplateHost<'r, 'v> {
    request: &'r Request<'v>,
    body: &'r str,
    /// Full names of the members of `authorizer`.
    names: OnceCell<Vec<(String, ContextValue<'v>)>>,
}

impl Host for TemplateHost<'_, '_> {
    fn body(&self) -> &str {
        self.body
    }

    fn parameters<'h>(&'h self, place: Place, each: &mut dyn FnMut(&'h str, &'h str)) {
        match place {
            Place::Path => self.request.path().iter().for_each(|(name, value)| each(name, value)),
            Place::QueryString => last_values(self.request.query(), |one, other| one == other, each),
            Place::Header => last_values(self.request.headers(), str::eq_ignore_ascii_case, each),
        }
    }

    fn context(&self, name: &str) -> Option<ContextValue<'_>> {
        let name = ContextName::parse(name)?;
        self.request.context(&name)
    }

    fn context_all<'h>(&'h self, each: &mut dyn FnMut(&'h str, ContextValue<'h>)) {
        for variable in ContextVariable::ALL {
            if let Some(value) = self.request.view().context(*variable) {
                each(variable.name(), value);
            }
        }
        let names = self.names.get_or_init(|| {
            let mut names = Vec::new();
            let view = self.request.view();
            view.authorizer(&mut |name, value| names.push((format!("authorizer.{name}"), value)));
            view.claims(&mut |name, value| names.push((format!("authorizer.claims.{name}"), value)));
            names
        });
        names.iter().for_each(|(name, value)| each(name, *value));
    }

    fn stage_variables<'h>(&'h self, each: &mut dyn FnMut(&'h str, &'h str)) {
        self.request.view().stage_variables(each);
    }
}

/// A name once, with its last value, where its first one stands.
fn last_values<'h>(
    pairs: &'h [crate::view::Pair<'_>],
    same: impl Fn(&str, &str) -> bool,
    each: &mut dyn FnMut(&'h str, &'h str),
) {
    for (at, (name, _)) in pairs.iter().enumerate() {
        let before = pairs.get(..at).unwrap_or_default();
        if before.iter().any(|(earlier, _)| same(earlier, name)) {
            continue;
        }
        let last = pairs.iter().rev().find(|(later, _)| same(later, name));
        if let Some((_, value)) = last {
            each(name, value);
        }
    }
}
