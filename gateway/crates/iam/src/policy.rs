//! The compiled document.

use crate::condition::Condition;
use crate::pattern::{ArnPattern, Pattern};
use crate::principal::Principals;

/// Where a document comes from, which decides what it may and must say.
#[derive(Debug, Clone, Copy)]
pub enum Kind<'a> {
    /// Attached to a user, role or group: names no principal.
    Identity,
    /// What a Lambda authorizer returns: names no principal either, that is whoever it was asked about.
    Authorizer,
    /// Attached to an API: names principals. Resources may be given in short, `execute-api:/stage/GET/pets`, if it is
    /// known for which API.
    Resource(Option<Api<'a>>),
}

/// What short resources of a resource policy are completed with.
#[derive(Debug, Clone, Copy)]
pub struct Api<'a> {
    /// `aws`, `aws-cn`, `aws-us-gov`.
    pub partition: &'a str,
    /// `us-east-1`.
    pub region: &'a str,
    /// Twelve digits.
    pub account: &'a str,
    /// The API's id.
    pub id: &'a str,
}

impl Api<'_> {
    /// The whole ARN of `execute-api:/stage/GET/pets`; nothing for what is no short form.
    pub fn expand(&self, resource: &str) -> Option<String> {
        let rest = resource.strip_prefix("execute-api:").filter(|rest| rest.starts_with('/'))?;
        let Self { partition, region, account, id } = self;
        Some(format!("arn:{partition}:execute-api:{region}:{account}:{id}{rest}"))
    }
}

/// Whether a statement grants or refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It grants.
    Allow,
    /// It refuses, whatever others grant.
    Deny,
}

/// A policy document, compiled.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(crate) statements: Box<[Statement]>,
}

/// One statement, compiled.
#[derive(Debug, Clone)]
pub struct Statement {
    pub(crate) index: usize,
    pub(crate) sid: Option<Box<str>>,
    pub(crate) effect: Effect,
    pub(crate) principals: Option<Principals>,
    pub(crate) not_action: bool,
    pub(crate) actions: Box<[Pattern]>,
    pub(crate) not_resource: bool,
    pub(crate) resources: Box<[Resource]>,
    pub(crate) conditions: Box<[Condition]>,
}

/// A resource's pattern, and its text for explanations.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    pub(crate) pattern: ArnPattern,
    pub(crate) text: Box<str>,
}

impl Policy {
    /// In the document's order.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }
}

impl Statement {
    /// Its place in the document, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its `Sid`.
    pub fn sid(&self) -> Option<&str> {
        self.sid.as_deref()
    }

    /// Its `Effect`.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// Its `Resource` or `NotResource`, as written or completed.
    pub fn resources(&self) -> impl Iterator<Item = &str> {
        self.resources.iter().map(|resource| &*resource.text)
    }
}
