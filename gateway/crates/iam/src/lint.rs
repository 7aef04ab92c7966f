//! The 403 that comes and goes: an authorizer's answer is cached for a caller, not for a method.
//!
//! With caching on, API Gateway applies the policy that was returned for one method to the caller's next request,
//! whatever method that is for. A policy that allows only the method it was asked about then refuses the others until
//! it leaves the cache; which request comes first decides who is refused.

use crate::policy::{Effect, Policy, Statement};
use std::fmt;

/// An allow that is too narrow to be cached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The statement's place in the document, from 0.
    pub statement: usize,
    /// The resource that it allows.
    pub resource: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { statement, resource } = self;
        write!(
            f,
            "statement {} allows only {resource}, and the authorizer's result is cached: the same caller's requests to \
             other methods will be refused until it expires; allow the stage's methods (…/STAGE/*) or set the \
             authorizer's TTL to 0",
            statement + 1
        )
    }
}

/// The first method-scoped allow of an authorizer's policy in which no statement allows a whole stage. Ask it of policies
/// that will be cached.
pub fn method_scoped(policy: &Policy) -> Option<Warning> {
    let allows = || policy.statements().iter().filter(|statement| statement.effect() == Effect::Allow);
    if allows().any(|statement| statement.not_resource || statement.resources().any(is_whole)) {
        return None;
    }
    let narrow = |statement: &Statement| statement.resources().next().map(str::to_owned);
    allows()
        .find_map(|statement| Some(Warning { statement: statement.index(), resource: narrow(statement)? }))
}

/// Whether a resource means every method and path of a stage: `*`, `arn:…:*`, `arn:…:api/*`, `arn:…:api/stage/*`, or
/// `arn:…:api/stage/*/*`.
fn is_whole(resource: &str) -> bool {
    if resource == "*" {
        return true;
    }
    let Some(specifier) = resource.splitn(6, ':').nth(5) else { return true };
    let mut parts = specifier.splitn(4, '/').skip(2);
    let (method, path) = (parts.next(), parts.next());
    match method {
        // Without a method part, only a star at the end reaches one.
        None => specifier.ends_with('*'),
        Some("*") => path.is_none_or(|path| path == "*"),
        Some(_) => false,
    }
}
