//! What is known once a configuration has been checked: names are indices, hosts are addresses.

use crate::resolve::Names;
use sluice_config::Scope;
use sluice_iam::Policy;
use sluice_snapshot::{PathPiece, Pattern, RouterBuilder, Target};

/// A checked configuration. Lists are parallel to those of `Settings`.
pub(crate) struct Plan {
    pub(crate) router: RouterBuilder,
    pub(crate) routes: Vec<RoutePlan>,
    /// Resolved targets of each group.
    pub(crate) upstreams: Vec<Vec<Target>>,
    /// Limits of each API key, by index.
    pub(crate) keys: Vec<Vec<usize>>,
    /// Of each access key.
    pub(crate) signers: Vec<Signer>,
    /// What was looked up.
    pub(crate) names: Names,
}

/// What the check found out about an access key.
#[derive(Default)]
pub(crate) struct Signer {
    pub(crate) account: String,
    pub(crate) role_arn: Option<String>,
    pub(crate) expires_unix_ms: Option<i64>,
    pub(crate) policy: Option<Policy>,
}

/// What the check found out about a route.
pub(crate) struct RoutePlan {
    /// Index of its group; `None` for a mock.
    pub(crate) upstream: Option<usize>,
    pub(crate) rewrite: Option<Vec<PathPiece>>,
    /// Its limits, by index.
    pub(crate) limits: Vec<usize>,
    /// Its authorizer, by index.
    pub(crate) authorizer: Option<usize>,
}

impl Plan {
    pub(crate) fn new() -> Self {
        Self {
            router: RouterBuilder::new(),
            routes: Vec::new(),
            upstreams: Vec::new(),
            keys: Vec::new(),
            signers: Vec::new(),
            names: Names::new(),
        }
    }
}

/// How a message names a scope.
pub(crate) const fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Route => "route",
        Scope::Key => "key",
        Scope::Client => "client",
        Scope::Global => "global",
    }
}

/// The parameters of a pattern as help shows them.
pub(crate) fn shown_captures(pattern: &Pattern) -> String {
    let names: Vec<String> = pattern.captures().map(|name| format!("{{{name}}}")).collect();
    if names.is_empty() {
        "`path` has no parameters".to_owned()
    } else {
        format!("`path` has {}", names.join(", "))
    }
}
