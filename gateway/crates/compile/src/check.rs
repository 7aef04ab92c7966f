//! Everything that can be wrong, found without changing anything.

use crate::plan::{Plan, RoutePlan, scope_name, shown_captures};
use crate::resolve::{Names, Resolver};
use crate::rewrite;
use sluice_config::{
    CacheMode, Diagnostic, Located, Position, Route, Scope, Settings, Severity, Upstream, known_names,
};
use sluice_snapshot::{Pattern, RouteId, Target};
use std::collections::HashMap;

/// The plan is whole only if no diagnostic is an error. What is in `names` is not looked up again.
pub(crate) fn check(settings: &Settings, names: Names) -> (Plan, Vec<Diagnostic>) {
    let mut checker = Checker::new(settings, names);
    let mut plan = Plan::new();
    for upstream in &settings.upstreams {
        plan.upstreams.push(checker.targets(upstream));
    }
    for (index, route) in settings.routes.iter().enumerate() {
        let route = checker.route(index, route, &mut plan);
        plan.routes.push(route);
    }
    for key in &settings.keys {
        plan.keys.push(
            checker.limits(&key.limits, &format!("key `{}`", key.name.value), |scope| scope == Scope::Key),
        );
    }
    plan.signers = checker.signers();
    checker.request_authorizers();
    checker.vpc_links();
    checker.unused();
    plan.names = checker.resolver.into_names();
    let mut found = checker.found;
    found.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
    (plan, found)
}

pub(crate) struct Checker<'s> {
    pub(crate) settings: &'s Settings,
    upstreams: HashMap<&'s str, usize>,
    limits: HashMap<&'s str, usize>,
    upstream_used: Vec<bool>,
    limit_used: Vec<bool>,
    resolver: Resolver,
    found: Vec<Diagnostic>,
}

impl<'s> Checker<'s> {
    fn new(settings: &'s Settings, names: Names) -> Self {
        Self {
            settings,
            upstreams: settings
                .upstreams
                .iter()
                .enumerate()
                .map(|(at, u)| (u.name.value.as_ref(), at))
                .collect(),
            limits: settings.limits.iter().enumerate().map(|(at, l)| (l.name.value.as_ref(), at)).collect(),
            upstream_used: vec![false; settings.upstreams.len()],
            limit_used: vec![false; settings.limits.len()],
            resolver: Resolver::knowing(names),
            found: Vec::new(),
        }
    }

    pub(crate) fn error(&mut self, at: Position, message: String, help: Option<String>) {
        self.found.push(self.settings.diagnostic(Severity::Error, at, message, help));
    }

    fn warning(&mut self, at: Position, message: String, help: Option<&str>) {
        let help = help.map(str::to_owned);
        self.found.push(self.settings.diagnostic(Severity::Warning, at, message, help));
    }

    fn targets(&mut self, upstream: &Upstream) -> Vec<Target> {
        let mut targets: Vec<Target> = Vec::new();
        for target in &upstream.targets {
            let addresses = match self.resolver.addresses(target) {
                Ok(addresses) => addresses,
                Err(reason) => {
                    self.error(target.at, format!("cannot resolve \"{}\": {reason}", target.host), None);
                    continue;
                }
            };
            for addr in addresses {
                if targets.iter().any(|known| known.addr == addr) {
                    let help = "give it a weight instead";
                    self.warning(target.at, format!("{addr} is a target of this group already"), Some(help));
                    continue;
                }
                targets.push(Target {
                    addr,
                    authority: target.authority.clone(),
                    weight: target.weight,
                    drain: target.drain,
                    up: None,
                });
            }
        }
        targets
    }

    fn route(&mut self, index: usize, route: &Route, plan: &mut Plan) -> RoutePlan {
        let pattern = self.pattern(index, route, plan);
        let upstream = self.upstream(route);
        let rewrite = self.rewrite(route, pattern.as_ref());
        self.cache(route);
        self.upgrade(route);
        self.route_function(route);
        let limits = self.limits(&route.limits, &format!("route `{}`", route.name.value), |_| true);
        if !route.api_key_required
            && let Some(per_key) =
                route.limits.iter().find(|limit| self.scope_of(&limit.value) == Some(Scope::Key))
        {
            let message = format!("limit `{}` is per key, but requests without a key pass it", per_key.value);
            self.warning(per_key.at, message, Some("write api_key_required = true"));
        }
        RoutePlan { upstream, rewrite, limits, authorizer: self.authorizer(route) }
    }

    fn authorizer(&mut self, route: &Route) -> Option<usize> {
        let name = route.authorizer.as_ref()?;
        let known = self.settings.authorizers.iter().map(|one| &*one.name.value);
        let at = known.clone().position(|known| known == name.value);
        if at.is_none() {
            let help = known_names(&name.value, "authorizers", known);
            self.error(name.at, format!("there is no authorizer `{}`", name.value), Some(help));
        }
        at
    }

    fn scope_of(&self, limit: &str) -> Option<Scope> {
        self.limits.get(limit).and_then(|at| self.settings.limits.get(*at)).map(|limit| limit.scope)
    }

    fn pattern(&mut self, index: usize, route: &Route, plan: &mut Plan) -> Option<Pattern> {
        let pattern = match Pattern::parse(&route.path.value) {
            Ok(pattern) => pattern,
            Err(error) => {
                self.error(route.path.at, format!("`path` \"{}\": {error}", route.path.value), None);
                return None;
            }
        };
        let id = RouteId(u32::try_from(index).unwrap_or(u32::MAX));
        let host = route.host.as_ref().map(|host| host.value.as_str());
        let methods = route.methods.iter().map(|method| method.value.as_str());
        if let Err(clash) = plan.router.add(id, &route.name.value, host, &pattern, methods) {
            let message = if clash.other == clash.route {
                format!("`methods` names {} twice", clash.method.as_deref().unwrap_or("a method"))
            } else {
                clash.to_string()
            };
            self.error(route.path.at, message, None);
        }
        Some(pattern)
    }

    /// Upstream or mock: exactly one.
    fn upstream(&mut self, route: &Route) -> Option<usize> {
        let name = &route.name.value;
        match (&route.upstream, &route.mock) {
            (Some(upstream), None) => {
                let known = self.upstreams.get(upstream.value.as_str()).copied();
                match known.and_then(|at| self.upstream_used.get_mut(at)) {
                    Some(used) => *used = true,
                    None => {
                        let names = self.settings.upstreams.iter().map(|u| u.name.value.as_ref());
                        let help = known_names(&upstream.value, "upstreams", names);
                        self.error(upstream.at, format!("unknown upstream `{}`", upstream.value), Some(help));
                    }
                }
                known
            }
            (None, Some(_)) => {
                if route.total_timeout_ms.is_some() {
                    self.warning(
                        route.name.at,
                        format!("`total_timeout_ms` has no use on the mock `{name}`"),
                        None,
                    );
                }
                None
            }
            (Some(_), Some(mock)) => {
                let message = format!("route `{name}` has both `upstream` and `mock_…`");
                self.error(mock.at, message, Some("drop one of them".to_owned()));
                None
            }
            (None, None) if route.function.is_some() => None,
            (None, None) => {
                let help = "write upstream = \"NAME\", function = \"NAME\" or mock_body = \"…\"".to_owned();
                self.error(
                    route.name.at,
                    format!("route `{name}` has neither `upstream` nor `function` nor `mock_…`"),
                    Some(help),
                );
                None
            }
        }
    }

    fn rewrite(
        &mut self,
        route: &Route,
        pattern: Option<&Pattern>,
    ) -> Option<Vec<sluice_snapshot::PathPiece>> {
        let written = route.upstream_path.as_ref()?;
        if route.upstream.is_none() {
            self.error(written.at, "`upstream_path` has no use without `upstream`".to_owned(), None);
        }
        let pattern = pattern?;
        match rewrite::parse(&written.value, pattern) {
            Ok(pieces) => Some(pieces),
            Err(message) => {
                self.error(written.at, message, Some(shown_captures(pattern)));
                None
            }
        }
    }

    fn upgrade(&mut self, route: &Route) {
        if let (Some(first), Some(_)) = (route.upgrade.first(), &route.mock) {
            let message = "a mock answer can't become a tunnel".to_owned();
            self.error(first.at, message, Some("drop `upgrade`".to_owned()));
        }
    }

    fn cache(&mut self, route: &Route) {
        let Some(cache) = &route.cache else { return };
        // In the standards mode other methods invalidate what is stored.
        let for_get = cache.value.mode == CacheMode::Ttl;
        if for_get && !route.methods.is_empty() && !route.methods.iter().any(|method| method.value == "GET") {
            let message = format!("route `{}` caches, but takes no GET", route.name.value);
            self.error(cache.at, message, Some("only responses to GET are cached".to_owned()));
        }
        if route.mock.is_some() {
            self.error(cache.at, "a mock answer needs no cache".to_owned(), Some("drop `cache`".to_owned()));
        }
        for (at, key) in cache.value.keys.iter().enumerate() {
            if cache.value.keys.iter().take(at).any(|earlier| earlier.value == key.value) {
                self.warning(key.at, "this part of the cache key stands twice".to_owned(), None);
            }
        }
    }

    /// Names of limits to indices; `fits` says which scopes may stand here.
    fn limits(&mut self, names: &[Located<String>], owner: &str, fits: impl Fn(Scope) -> bool) -> Vec<usize> {
        let mut found = Vec::new();
        for name in names {
            let Some(at) = self.limits.get(name.value.as_str()).copied() else {
                let known = self.settings.limits.iter().map(|limit| limit.name.value.as_ref());
                let help = known_names(&name.value, "limits", known);
                self.error(name.at, format!("unknown limit `{}`", name.value), Some(help));
                continue;
            };
            if let Some(used) = self.limit_used.get_mut(at) {
                *used = true;
            }
            let scope = self.scope_of(&name.value).filter(|scope| !fits(*scope));
            if let Some(scope) = scope {
                let message = format!(
                    "{owner} expects limits of scope `key`, but `{}` is `{}`",
                    name.value,
                    scope_name(scope)
                );
                self.error(name.at, message, None);
            } else if found.contains(&at) {
                self.error(name.at, format!("{owner} names limit `{}` twice", name.value), None);
            } else {
                found.push(at);
            }
        }
        found
    }

    fn vpc_links(&mut self) {
        for link in &self.settings.vpc_links {
            let known = self.upstreams.get(link.upstream.value.as_str()).copied();
            match known.and_then(|at| self.upstream_used.get_mut(at)) {
                Some(used) => *used = true,
                None => {
                    let names = self.settings.upstreams.iter().map(|u| u.name.value.as_ref());
                    let help = known_names(&link.upstream.value, "upstreams", names);
                    let message = format!("unknown upstream `{}`", link.upstream.value);
                    self.error(link.upstream.at, message, Some(help));
                }
            }
        }
    }

    fn unused(&mut self) {
        let settings = self.settings;
        let upstreams = settings.upstreams.iter().zip(self.upstream_used.clone());
        for (upstream, _) in upstreams.filter(|(_, used)| !used) {
            self.warning(upstream.name.at, format!("no route uses upstream `{}`", upstream.name.value), None);
        }
        let limits = settings.limits.iter().zip(self.limit_used.clone());
        for (limit, _) in limits.filter(|(_, used)| !used) {
            self.warning(limit.name.at, format!("nothing uses limit `{}`", limit.name.value), None);
        }
        for one in &settings.authorizers {
            let names =
                |route: &Route| route.authorizer.as_ref().is_some_and(|a| *a.value == *one.name.value);
            if !settings.routes.iter().any(names) {
                self.warning(one.name.at, format!("no route uses authorizer `{}`", one.name.value), None);
            }
        }
        if settings.routes.is_empty() {
            let help = "requests get 404 until there is one";
            self.warning(Position { line: 1, column: 1 }, "there are no routes".to_owned(), Some(help));
        }
    }
}
