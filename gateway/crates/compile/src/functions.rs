//! Lambda functions that routes and authorizers of the configuration name.

use crate::check::Checker;
use crate::registry::Registry;
use crate::rest::{Resolver, Services, function_name};
use crate::{SlotAllocator, tokens};
use sluice_config::{AuthorizerKind, CacheMode, Located, Position, Route, Settings, known_names};
use sluice_mapping::PayloadFormat;
use sluice_snapshot::{
    Action, Authorizer, Fault, Function, HttpFunction, IdentitySource, LambdaKind, LambdaPlan,
};
use std::sync::Arc;

/// Where a route names none: AWS's largest for HTTP APIs.
const TIMEOUT_MS: u64 = 30_000;

impl Checker<'_> {
    /// What a route with a function may not have, and whether there is that function.
    pub(crate) fn route_function(&mut self, route: &Route) {
        let Some(function) = &route.function else { return };
        let name = &route.name.value;
        let clashes: [(&str, Option<Position>); 4] = [
            ("upstream", route.upstream.as_ref().map(|one| one.at)),
            ("mock_…", route.mock.as_ref().map(|one| one.at)),
            ("upgrade", route.upgrade.first().map(|one| one.at)),
            (
                "cache = \"standard\"",
                route.cache.as_ref().filter(|one| one.value.mode == CacheMode::Standard).map(|one| one.at),
            ),
        ];
        for (what, at) in clashes.into_iter().filter_map(|(what, at)| Some((what, at?))) {
            let message = format!("route `{name}` has both `function` and `{what}`");
            self.error(at, message, Some("drop one of them".to_owned()));
        }
        self.function(function);
    }

    /// Authorizers of type "request".
    pub(crate) fn request_authorizers(&mut self) {
        let settings = self.settings;
        for authorizer in &settings.authorizers {
            let AuthorizerKind::Request(request) = &authorizer.kind else { continue };
            self.function(&request.function);
            for source in &request.identity_sources {
                if IdentitySource::parse(&source.value).is_none() {
                    let help = "for example \"$request.header.Authorization\" or \"$context.routeKey\"";
                    let message = format!(
                        "expected $request.header.NAME, $request.querystring.NAME or $context.NAME, found \"{}\"",
                        source.value
                    );
                    self.error(source.at, message, Some(help.to_owned()));
                }
            }
        }
    }

    /// A plain name has to be one of `[functions]`, unless `[services.lambda]` is there to be asked for it.
    fn function(&mut self, given: &Located<String>) {
        let settings = self.settings;
        let known = settings.functions.iter().map(|one| &*one.name().value);
        let has_service =
            settings.services.iter().any(|s| &*s.name.value == "lambda" && s.endpoint_url.is_some());
        match function_name(&given.value) {
            Err(message) => self.error(given.at, message, None),
            Ok((name, is_arn)) if !is_arn && !has_service && !known.clone().any(|one| one == name) => {
                let help = known_names(name, "functions", known);
                self.error(given.at, format!("there is no function `{name}`"), Some(help));
            }
            Ok(_) => {}
        }
    }
}

/// Finds the functions of routes and authorizers. What cannot be asked is refused, and noted.
pub(crate) struct Functions<'s> {
    settings: &'s Settings,
    services: Services,
    pub(crate) notes: Vec<String>,
}

impl<'s> Functions<'s> {
    pub(crate) fn new(settings: &'s Settings, registry: &Registry) -> Self {
        Self { settings, services: Services::new(settings, registry), notes: Vec::new() }
    }

    fn find(
        &mut self,
        given: &str,
        of: &str,
        registry: &mut Registry,
        slots: &mut dyn SlotAllocator,
    ) -> Option<Function> {
        let mut resolver = Resolver { services: &self.services, registry, slots };
        resolver
            .named(given, &self.settings.aws.region)
            .map_err(|why| self.notes.push(format!("{of}: {why}")))
            .ok()
    }

    pub(crate) fn action(
        &mut self,
        route: &Route,
        given: &str,
        registry: &mut Registry,
        slots: &mut dyn SlotAllocator,
    ) -> Action {
        let of = format!("route {}", route.name.value);
        let Some(function) = self.find(given, &of, registry, slots) else {
            return Action::Fault(Fault::Integration);
        };
        Action::Function(Box::new(HttpFunction {
            function,
            format: payload_format(route.has_payload_v1),
            timeout_ms: route.total_timeout_ms.unwrap_or(TIMEOUT_MS),
        }))
    }

    /// All authorizers, in the order of the settings; `None`: it cannot be asked. Routes share them, as AWS's routes do.
    pub(crate) fn authorizers(
        &mut self,
        registry: &mut Registry,
        slots: &mut dyn SlotAllocator,
    ) -> Vec<Option<Shared>> {
        let mut found = Vec::new();
        for authorizer in &self.settings.authorizers {
            let name = &authorizer.name.value;
            found.push(match &authorizer.kind {
                AuthorizerKind::Jwt(_) => Some(Shared::Token),
                AuthorizerKind::Request(request) => {
                    let of = format!("authorizer {name}");
                    let function = self.find(&request.function.value, &of, registry, slots);
                    let sources = request.identity_sources.iter();
                    let sources = sources.filter_map(|one| IdentitySource::parse(&one.value)).collect();
                    function.map(|function| {
                        let mut plan = LambdaPlan {
                            number: 0,
                            name: of.into(),
                            kind: LambdaKind::Http {
                                sources,
                                format: payload_format(request.has_payload_v1),
                                is_simple: request.has_simple_responses,
                            },
                            function,
                            ttl_s: request.ttl_s,
                        };
                        plan.number = registry.providers.number_of(&plan);
                        Shared::Function(Arc::new(plan))
                    })
                }
            });
        }
        found
    }
}

fn payload_format(is_v1: bool) -> PayloadFormat {
    if is_v1 { PayloadFormat::V1 } else { PayloadFormat::V2 }
}

/// An authorizer that routes share.
pub(crate) enum Shared {
    /// Each route has a plan of its own for tokens.
    Token,
    /// A function, asked once for all routes.
    Function(Arc<LambdaPlan>),
}

impl Shared {
    pub(crate) fn authorizer(
        &self,
        settings: &sluice_config::Authorizer,
        registry: &mut Registry,
    ) -> Option<Authorizer> {
        match (self, &settings.kind) {
            (Self::Function(plan), _) => Some(Authorizer::Lambda(Arc::clone(plan))),
            (Self::Token, AuthorizerKind::Jwt(jwt)) => Some(tokens::jwt(jwt, &mut registry.providers)),
            (Self::Token, AuthorizerKind::Request(_)) => None,
        }
    }
}
