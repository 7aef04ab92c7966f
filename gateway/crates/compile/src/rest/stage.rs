//! A stage of a REST API to its routes.

use super::service::{Invoking, Resolver, ServiceArn};
use super::uri::{Uri, fill_in};
use super::{Basis, From, Link};
use super::{authorizer, integration};
use crate::SlotAllocator;
use crate::registry::{PoolName, Registry};
use crate::tokens;
use sluice_catalog::{
    self as catalog, ApiKeySource, Definition, Integration, IntegrationType, Method, MethodSetting,
    RequestValidator, Resource, RestApi, Strings, UnauthorizedCacheControl,
};
use sluice_iam::{Api, Kind, Policy};
use sluice_mapping::{BinaryMediaTypes, ModelError, Models, Validator, ValidatorSource};
use sluice_snapshot::{
    Action, Authorizer, CacheKeyPart, CacheMode, CachePlan, Canary, Deployed, Destination, Fault, LambdaPlan,
    Limit, MappedPlan, Pattern, Refresh, Route, RouteId, RouterBuilder, Source, Stage,
};
use sluice_throttle::Rate;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a request body may have ("Amazon API Gateway quotas": payload size).
const BODY_MAX_BYTES: u64 = 10 * 1024 * 1024;

/// A checked stage.
pub(super) struct StagePlan<'c> {
    api: &'c RestApi,
    stage: &'c Arc<catalog::Stage>,
    deployed: DeployedPlan<'c>,
    canary: Option<(u32, DeployedPlan<'c>)>,
}

/// A checked deployment under a stage's variables.
struct DeployedPlan<'c> {
    id: &'c str,
    definition: &'c Arc<Definition>,
    variables: Strings,
    router: RouterBuilder,
    methods: Vec<MethodPlan<'c>>,
}

/// A method, in the order of [`RouteId`].
struct MethodPlan<'c> {
    resource: &'c Resource,
    name: &'c str,
    method: &'c Method,
    pattern: Pattern,
}

impl<'c> StagePlan<'c> {
    /// Checks the paths of what the stage serves.
    pub(super) fn check(
        api: &'c RestApi,
        stage: &'c Arc<catalog::Stage>,
        definition: &'c Arc<Definition>,
        canary: Option<&'c Arc<Definition>>,
    ) -> Result<Self, Vec<String>> {
        let variables = stage.variables.clone();
        let deployed = DeployedPlan::check(&stage.deployment_id, definition, variables)?;
        let settings = stage.canary_settings.as_ref();
        let canary = match (settings, canary) {
            (Some(settings), Some(definition)) => {
                let mut variables = stage.variables.clone();
                variables.extend(settings.stage_variable_overrides.clone());
                let id = settings.deployment_id.as_deref().unwrap_or_default();
                Some((share(settings.percent_traffic), DeployedPlan::check(id, definition, variables)?))
            }
            _ => None,
        };
        Ok(Self { api, stage, deployed, canary })
    }
}

/// Percent with two places. Out of range, or not a number: none or all.
fn share(percent: f64) -> u32 {
    let whole = f64::from(Canary::WHOLE);
    (percent * whole / 100.0).round().clamp(0.0, whole) as u32
}

impl<'c> DeployedPlan<'c> {
    fn check(id: &'c str, definition: &'c Arc<Definition>, variables: Strings) -> Result<Self, Vec<String>> {
        let mut plan = Self { id, definition, variables, router: RouterBuilder::new(), methods: Vec::new() };
        let mut faults = Vec::new();
        for resource in definition.resources.values().filter(|resource| !resource.methods.is_empty()) {
            let pattern = match Pattern::parse(&resource.path) {
                Ok(pattern) => pattern,
                Err(error) => {
                    faults.push(format!("resource {}: {error}", resource.path));
                    continue;
                }
            };
            for (name, method) in &resource.methods {
                let at = RouteId(u32::try_from(plan.methods.len()).unwrap_or(u32::MAX));
                let shown: Arc<str> = format!("{name} {}", resource.path).into();
                let methods = (name != "ANY").then_some(name.as_str());
                if let Err(clash) = plan.router.add(at, &shown, None, &pattern, methods) {
                    faults.push(clash.to_string());
                }
                plan.methods.push(MethodPlan { resource, name, method, pattern: pattern.clone() });
            }
        }
        if faults.is_empty() { Ok(plan) } else { Err(faults) }
    }
}

/// Builds stages.
pub(super) struct Builder<'b> {
    pub(super) registry: &'b mut Registry,
    pub(super) slots: &'b mut dyn SlotAllocator,
    pub(super) basis: &'b Basis,
    pub(super) now_ns: u64,
    pub(super) notes: &'b mut Vec<String>,
}

/// What the methods of a deployment have in common.
pub(super) struct Served {
    pub(super) variables: Strings,
    pub(super) binary: BinaryMediaTypes,
    pub(super) compress_from_bytes: Option<u64>,
    /// What is wrong with them, if anything is.
    models: Result<Models, String>,
    validators: BTreeMap<String, RequestValidator>,
    authorizers: BTreeMap<String, catalog::Authorizer>,
    /// Lambda authorizers that were compiled, by id.
    lambdas: RefCell<BTreeMap<String, Arc<LambdaPlan>>>,
    /// For operators.
    name: String,
}

impl Served {
    fn new((api, stage): (&str, &str), definition: &Definition, variables: Strings) -> Self {
        let models: Vec<_> =
            definition.models.values().map(|model| (model.name.as_str(), model.schema.as_str())).collect();
        let told =
            |errors: Vec<ModelError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        Self {
            models: Models::compile(api, &models).map_err(told),
            validators: definition.request_validators.clone(),
            authorizers: definition.authorizers.clone(),
            lambdas: RefCell::default(),
            name: format!("rest API {api}/{stage}"),
            variables,
            binary: BinaryMediaTypes::new(definition.binary_media_types.iter().map(String::as_str)),
            compress_from_bytes: definition.minimum_compression_size.map(u64::from),
        }
    }

    /// A method's validator, where it has one that checks anything.
    fn validator(&self, method: &Method) -> Result<Option<Box<Validator>>, String> {
        let Some(id) = method.request_validator_id.as_deref().filter(|id| !id.is_empty()) else {
            return Ok(None);
        };
        let validator =
            self.validators.get(id).ok_or_else(|| format!("there is no request validator `{id}`"))?;
        let declared: Vec<_> =
            method.request_parameters.iter().map(|(name, required)| (name.as_str(), *required)).collect();
        let models: Vec<_> =
            method.request_models.iter().map(|(media, model)| (media.as_str(), model.as_str())).collect();
        let source = ValidatorSource {
            parameters: validator.validate_request_parameters,
            body: validator.validate_request_body,
            declared: &declared,
            models: &models,
        };
        let none = Models::default();
        let known = if source.body { self.models.as_ref().map_err(Clone::clone)? } else { &none };
        let compiled =
            Validator::compile(&source, known).map_err(|name| format!("there is no model `{name}`"))?;
        Ok((!compiled.is_empty()).then(|| Box::new(compiled)))
    }

    /// Whether no answer depends on what media types it has, or how large it is.
    pub(super) fn is_plain(&self) -> bool {
        self.binary == BinaryMediaTypes::default() && self.compress_from_bytes.is_none()
    }
}

/// Why a method cannot be answered: for callers, and for the operator.
type Refusal = (Fault, String);

/// What answers a method, what is checked before, and how its callers are known.
type Checked = (Action, Option<Box<Validator>>, Option<Authorizer>);

/// What the methods of a stage have in common.
struct Scope<'s> {
    api: Arc<str>,
    name: Arc<str>,
    stage: &'s catalog::Stage,
    slot: u32,
}

impl Builder<'_> {
    pub(super) fn stage(&mut self, plan: StagePlan<'_>) -> (From, Stage) {
        let (api, name): (Arc<str>, Arc<str>) =
            (plan.api.id.as_str().into(), plan.stage.stage_name.as_str().into());
        let slot = self.slots.route_slot(&format!("{api}/{name}"));
        let scope = Scope { api: Arc::clone(&api), name: Arc::clone(&name), stage: plan.stage, slot };
        let canary = plan.canary.as_ref().map(|(_, plan)| plan.definition);
        let from = From::new(plan.stage, plan.deployed.definition, canary);
        let has_own_host = !plan.deployed.definition.disable_execute_api_endpoint;
        let deployed = self.deployed(&scope, plan.deployed, false);
        let canary =
            plan.canary.map(|(share, plan)| Canary { share, deployed: self.deployed(&scope, plan, true) });
        let id = self.registry.stages.id(&api, &name);
        (from, Stage { api, name, id, has_own_host, deployed, canary })
    }

    fn deployed(&mut self, scope: &Scope<'_>, plan: DeployedPlan<'_>, is_canary: bool) -> Deployed {
        let of = Served::new((&scope.api, &scope.name), plan.definition, plan.variables);
        let mut routes: Vec<Route> =
            plan.methods.iter().map(|method| self.route(scope, method, &of, is_canary)).collect();
        let policy = self.policy(scope, plan.definition).unwrap_or_else(|why| {
            self.notes.push(format!("rest API {}/{}: {why}: all calls are refused", scope.api, scope.name));
            for route in &mut routes {
                route.action = Action::Fault(Fault::Policy);
            }
            None
        });
        let responses = integration::gateway_responses(plan.definition).unwrap_or_else(|errors| {
            self.notes.push(format!("rest API {}/{}: gateway responses: {errors}", scope.api, scope.name));
            None
        });
        Deployed {
            id: plan.id.into(),
            router: plan.router.build(),
            routes,
            variables: of.variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            policy,
            keys_in_header: plan.definition.api_key_source == ApiKeySource::Header,
            binary: of.binary,
            compress_from_bytes: of.compress_from_bytes,
            responses,
        }
    }

    fn route(&mut self, scope: &Scope<'_>, plan: &MethodPlan<'_>, of: &Served, is_canary: bool) -> Route {
        let name: Arc<str> =
            format!("{}/{} {} {}", scope.api, scope.name, plan.name, plan.resource.path).into();
        let settings = setting(scope.stage, &plan.resource.path, plan.name);
        let checked = self.checked(&scope.api, plan, of);
        let (action, validator, authorizer) = checked.unwrap_or_else(|(fault, why)| {
            self.notes.push(format!("rest API {name}: {why}: calls are refused"));
            (Action::Fault(fault), None, None)
        });
        let metrics_slot = match settings {
            Some(settings) if settings.metrics_enabled => self.slots.route_slot(&name),
            _ => scope.slot,
        };
        Route {
            source: Source::Stage { api: Arc::clone(&scope.api), stage: Arc::clone(&scope.name) },
            method: (plan.name != "ANY").then(|| plan.name.into()),
            has_methods: true,
            resource_id: Some(plan.resource.id.as_str().into()),
            pattern: plan.resource.path.as_str().into(),
            action,
            authorizer,
            api_key_required: plan.method.api_key_required,
            limits: settings.and_then(|settings| self.throttle(&name, settings)).into_iter().collect(),
            // An answer that streams is not cached (developer guide, "Stream the integration response").
            cache: settings
                .filter(|_| !plan.method.integration.as_deref().is_some_and(integration::streams))
                .and_then(|settings| self.cache(scope, plan, settings, is_canary)),
            validator,
            body_max_bytes: BODY_MAX_BYTES,
            metrics_slot,
            name,
        }
    }

    /// How a GET is cached, where the stage has a cache and the method's settings turn it on.
    fn cache(
        &self,
        scope: &Scope<'_>,
        plan: &MethodPlan<'_>,
        settings: &MethodSetting,
        is_canary: bool,
    ) -> Option<CachePlan> {
        let stage = scope.stage;
        let is_on =
            stage.cache_cluster_enabled && settings.caching_enabled && settings.cache_ttl_in_seconds > 0;
        if !is_on || !matches!(plan.name, "GET" | "ANY") {
            return None;
        }
        let keys =
            plan.method.integration.as_ref().map(|i| i.cache_key_parameters.as_slice()).unwrap_or_default();
        let mut parts = Vec::new();
        for key in keys {
            // The path is part of every key.
            if let Some(name) = key.strip_prefix("method.request.querystring.") {
                parts.push(CacheKeyPart::Query(name.as_bytes().into()));
            } else if let Some(name) = key.strip_prefix("method.request.header.") {
                parts.push(CacheKeyPart::Header(name.to_ascii_lowercase().as_bytes().into()));
            }
        }
        let apart = is_canary && stage.canary_settings.as_ref().is_some_and(|canary| !canary.use_stage_cache);
        let namespace = format!("{}{}", stage.cache_generation, if apart { " canary" } else { "" });
        Some(CachePlan {
            mode: CacheMode::Ttl,
            ttl_ms: u64::from(settings.cache_ttl_in_seconds) * 1000,
            entry_max_bytes: self.basis.entry_max_bytes,
            namespace: namespace.as_bytes().into(),
            refresh: refresh(settings),
            vary: Vec::new(),
            parts,
        })
    }

    /// The bucket of a method, where its settings ask for one.
    fn throttle(&mut self, route: &Arc<str>, settings: &MethodSetting) -> Option<Limit> {
        if settings.throttling_rate_limit < 0.0 && settings.throttling_burst_limit < 0 {
            return None;
        }
        let rate = Rate {
            per_second: if settings.throttling_rate_limit < 0.0 {
                f64::INFINITY
            } else {
                settings.throttling_rate_limit
            },
            burst: u32::try_from(settings.throttling_burst_limit).unwrap_or(u32::MAX),
        };
        let pool = PoolName::Method { route: Arc::clone(route) };
        let (index, pool) = self.registry.pool(pool, rate, self.now_ns);
        Some(Limit::Pool { index, pool, slot: self.slots.limit_slot("rest-method") })
    }

    fn action(
        &mut self,
        api: &Arc<str>,
        plan: &MethodPlan<'_>,
        of: &Served,
        holds_body: bool,
    ) -> Result<Action, Refusal> {
        let fault = |why: String| (Fault::Integration, why);
        let integration = plan.method.integration.as_deref();
        let integration = integration.ok_or_else(|| fault("it has no integration".to_owned()))?;
        match integration.integration_type {
            IntegrationType::Mock => {
                let may_be_fixed = !self.basis.is_trial;
                integration::mock(integration, of, may_be_fixed).map(Action::Mapped).map_err(fault)
            }
            IntegrationType::Http | IntegrationType::HttpProxy => {
                self.http(api, plan, integration, of, holds_body).map_err(fault)
            }
            IntegrationType::Aws | IntegrationType::AwsProxy => {
                self.aws(api, integration, of).map(Action::Mapped).map_err(fault)
            }
        }
    }

    /// What answers a method, and what is checked before.
    fn checked(&mut self, api: &Arc<str>, plan: &MethodPlan<'_>, of: &Served) -> Result<Checked, Refusal> {
        let authorizer = self.authorizer(plan.method, of)?;
        let validator = of.validator(plan.method).map_err(|why| (Fault::Integration, why))?;
        let holds_body =
            self.basis.is_trial || validator.as_ref().is_some_and(|validator| validator.needs_body());
        Ok((self.action(api, plan, of, holds_body)?, validator, authorizer))
    }

    /// How a method knows its callers.
    fn authorizer(&mut self, method: &Method, of: &Served) -> Result<Option<Authorizer>, Refusal> {
        let found = || {
            let id = method.authorizer_id.as_deref().unwrap_or_default();
            of.authorizers
                .get(id)
                .ok_or_else(|| (Fault::Authorizer, format!("there is no authorizer `{id}`")))
        };
        match method.authorization_type.as_str() {
            "" | "NONE" => Ok(None),
            "AWS_IAM" => Ok(Some(Authorizer::Iam)),
            "COGNITO_USER_POOLS" => {
                let (pools, providers) = (&self.basis.user_pools, &mut self.registry.providers);
                tokens::cognito(found()?, &method.authorization_scopes, pools, providers)
                    .map(Some)
                    .map_err(|why| (Fault::Authorizer, why))
            }
            "CUSTOM" => self.lambda(found()?, of).map(Some).map_err(|why| (Fault::Authorizer, why)),
            other => Err((Fault::Authorizer, format!("there is no authorization {other}"))),
        }
    }

    /// A Lambda authorizer, one for all methods of a deployment.
    fn lambda(&mut self, authorizer: &catalog::Authorizer, of: &Served) -> Result<Authorizer, String> {
        if let Some(plan) = of.lambdas.borrow().get(&authorizer.id) {
            return Ok(Authorizer::Lambda(Arc::clone(plan)));
        }
        let services = &self.basis.services;
        let mut resolver = Resolver { services, registry: self.registry, slots: self.slots };
        let plan = Arc::new(authorizer::lambda(authorizer, of, &of.name, &mut resolver)?);
        of.lambdas.borrow_mut().insert(authorizer.id.clone(), Arc::clone(&plan));
        Ok(Authorizer::Lambda(plan))
    }

    /// The resource policy of an API, if it has one.
    fn policy(&self, scope: &Scope<'_>, definition: &Definition) -> Result<Option<Policy>, String> {
        let Some(text) = definition.policy.as_deref().filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let (region, account) = (&*self.basis.region, &*self.basis.account_id);
        let api = Api { partition: "aws", region, account, id: &scope.api };
        let parsed = Policy::parse(text, Kind::Resource(Some(api)));
        parsed.map(Some).map_err(|error| format!("the resource policy is none: {error}"))
    }

    /// A Lambda function, or another service of AWS.
    fn aws(
        &mut self,
        api: &Arc<str>,
        integration: &Integration,
        of: &Served,
    ) -> Result<Box<MappedPlan>, String> {
        let uri = integration.uri.as_deref().unwrap_or_default();
        let arn = ServiceArn::parse(uri, &of.variables)?;
        let (services, role) = (&self.basis.services, integration.credentials.as_deref());
        let mut resolver = Resolver { services, registry: self.registry, slots: self.slots };
        if arn.service != "lambda" {
            if integration.integration_type == IntegrationType::AwsProxy {
                return Err(format!("AWS_PROXY integrations with service `{}` are not built", arn.service));
            }
            if role.is_some_and(|role| role.ends_with(":user/*")) {
                return Err("a caller's own credentials (arn:aws:iam::*:user/*) are not passed on".to_owned());
            }
            let target = resolver.service(&arn, role)?;
            return integration::service(api, integration, target);
        }
        let how = if integration::streams(integration) { Invoking::Stream } else { Invoking::Whole };
        let function = resolver.function(uri, &of.variables, role, how)?;
        integration::function(integration, function)
    }

    fn http(
        &mut self,
        api: &Arc<str>,
        plan: &MethodPlan<'_>,
        integration: &Integration,
        of: &Served,
        holds_body: bool,
    ) -> Result<Action, String> {
        let uri = Uri::parse(integration.uri.as_deref().unwrap_or_default(), &of.variables)?;
        let any_issuer = integration.tls_config.as_ref().is_some_and(|tls| tls.insecure_skip_verification);
        if integration.connection_type.as_deref() != Some("VPC_LINK") {
            let to = Destination::Backend(self.registry.backends.id(&uri, any_issuer, self.slots));
            return integration::http(api, &plan.pattern, integration, (&uri, to), holds_body);
        }
        let Link { group, is_http1 } = self.linked(integration, of)?;
        let to = Destination::Group(group);
        match integration::http(api, &plan.pattern, integration, (&uri, to), holds_body)? {
            Action::Mapped(_) if !is_http1 => {
                Err("its VPC link leads to HTTP/2, which only an HTTP_PROXY that streams is spoken over"
                    .to_owned())
            }
            action => Ok(action),
        }
    }
}

impl Builder<'_> {
    /// The upstream group behind an integration's VPC link.
    fn linked(&self, integration: &Integration, of: &Served) -> Result<Link, String> {
        let id = fill_in(integration.connection_id.as_deref().unwrap_or_default(), &of.variables)?;
        let found = self.basis.links.get(&id).copied();
        found.ok_or_else(|| format!("VPC link `{id}` leads nowhere: write [vpc_links.{id}]"))
    }
}

/// Nobody can be authorized to (`execute-api:InvalidateCache`), so where that is required nobody is.
const fn refresh(settings: &MethodSetting) -> Refresh {
    if !settings.require_authorization_for_cache_control {
        return Refresh::Allowed;
    }
    match settings.unauthorized_cache_control_header_strategy {
        UnauthorizedCacheControl::FailWith403 => Refresh::Forbidden,
        UnauthorizedCacheControl::SucceedWithResponseHeader => Refresh::Warned,
        UnauthorizedCacheControl::SucceedWithoutResponseHeader => Refresh::Ignored,
    }
}

/// The settings of a method: its own, or those of all.
fn setting<'s>(stage: &'s catalog::Stage, path: &str, method: &str) -> Option<&'s MethodSetting> {
    let own = format!("{}/{method}", path.trim_start_matches('/').replace('/', "~1"));
    let settings = &stage.method_settings;
    settings.get(&own).or_else(|| settings.get(&format!("~1{own}"))).or_else(|| settings.get("*/*"))
}
