//! One method or authorizer as it is edited, compiled to be tried out (TestInvokeMethod, TestInvokeAuthorizer) beside everything
//! that serves.
//!
//! The snapshot has that method and nothing else, under a stage of its own. As on AWS the method's authorizer, its API
//! key and the API's policy are not asked. An authorizer has a method made for it at every path. Nothing of it is shared with what serves:
//! neither limits, nor the cache, nor metrics.

use crate::registry::Registry;
use crate::resolve::Names;
use crate::{Compiled, Now, Rejected, SlotAllocator, build, check, rest};
use sluice_catalog::{
    Catalog, Definition, Deployment, Integration, Method, Resource, RestApi, Stage, Strings,
};
use sluice_config::Settings;
use std::sync::Arc;

/// What is tried out.
#[derive(Clone, Copy, Debug)]
pub enum Tried<'t> {
    /// A method, by resource and verb.
    Method(&'t str, &'t str),
    /// A Lambda authorizer, by its id.
    Authorizer(&'t str),
}

impl Tried<'_> {
    /// AWS's name of the stage that such test invocations run in.
    #[must_use]
    pub const fn stage(self) -> &'static str {
        match self {
            Self::Method(..) => "test-invoke-stage",
            Self::Authorizer(_) => "ESTestInvoke-stage",
        }
    }
}

/// Nothing is cached.
const CACHE_BYTES: u64 = 1 << 16;

/// Compiles what is to be tried, under these stage variables. `registry`: [`Registry::apart`]. Looks up the hosts of its backend: may
/// block.
///
/// # Errors
/// What is wrong with it.
pub fn trial(
    settings: &Settings,
    mut registry: Registry,
    api: &RestApi,
    tried: Tried<'_>,
    variables: &Strings,
    slots: &mut dyn SlotAllocator,
    now: Now,
) -> Result<Compiled, Rejected> {
    let settings = apart(settings);
    let catalog = only(api, tried, variables);
    let (plan, found) = check::check(&settings, Names::new());
    let mut basis = rest::Basis::new(&settings, &catalog, &registry);
    basis.is_trial = true;
    let (rest, faults) = rest::check(&catalog, &registry, &basis);
    if !faults.is_empty() {
        return Err(Rejected { settings: found, catalog: faults });
    }
    let (mut rest, mut notes) = rest::build(rest, &catalog, &mut registry, slots, basis, now);
    rest.account = None;
    rest.is_trial = true;
    let snapshot = build::build(&settings, plan, (rest, &mut notes), &mut registry, slots, now.ns);
    Ok(Compiled { snapshot, warnings: Vec::new(), notes })
}

/// The settings without what is routed by them, and without what they say of who connects: that is ourselves.
fn apart(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    settings.routes.clear();
    settings.upstreams.clear();
    settings.vpc_links.clear();
    settings.keys.clear();
    settings.limits.clear();
    settings.authorizers.clear();
    settings.cache.capacity_bytes = CACHE_BYTES;
    settings.server.proxy_protocol_from.clear();
    settings.server.trusted_proxies.clear();
    settings.server.max_connections_per_address = 0;
    settings
}

/// A catalog of that one method.
fn only(api: &RestApi, tried: Tried<'_>, variables: &Strings) -> Catalog {
    let mut definition =
        Definition { minimum_compression_size: None, policy: None, ..Definition::clone(&api.definition) };
    match tried {
        Tried::Method(resource_id, verb) => {
            definition.resources.retain(|id, _| id == resource_id);
            for resource in definition.resources.values_mut().map(Arc::make_mut) {
                resource.methods.retain(|name, _| name == verb);
                open(resource);
            }
        }
        Tried::Authorizer(id) => {
            let at = |path: &str| (path.to_owned(), Arc::new(guarded(path, id)));
            definition.resources = ["/", "/{proxy+}"].map(at).into();
        }
    }
    let deployment =
        Deployment { id: "trial".to_owned(), definition: Arc::new(definition), ..Deployment::default() };
    let stage = Stage {
        stage_name: tried.stage().to_owned(),
        deployment_id: deployment.id.clone(),
        variables: variables.clone(),
        ..Stage::default()
    };
    let api = RestApi {
        id: api.id.clone(),
        name: api.name.clone(),
        root_resource_id: api.root_resource_id.clone(),
        definition: Arc::clone(&deployment.definition),
        deployments: [(deployment.id.clone(), Arc::new(deployment))].into(),
        stages: [(tried.stage().to_owned(), Arc::new(stage))].into(),
        ..RestApi::default()
    };
    Catalog { rest_apis: [(api.id.clone(), Arc::new(api))].into(), ..Catalog::default() }
}

/// A resource whose only method asks an authorizer. What it would answer is nobody's.
fn guarded(path: &str, authorizer_id: &str) -> Resource {
    let method = Method {
        http_method: "ANY".to_owned(),
        authorization_type: "CUSTOM".to_owned(),
        authorizer_id: Some(authorizer_id.to_owned()),
        integration: Some(Box::new(Integration {
            passthrough_behavior: "WHEN_NO_MATCH".to_owned(),
            timeout_in_millis: 29_000,
            ..Integration::default()
        })),
        ..Method::default()
    };
    Resource {
        id: path.to_owned(),
        parent_id: (path != "/").then(|| "/".to_owned()),
        path_part: path.strip_prefix('/').filter(|part| !part.is_empty()).map(str::to_owned),
        path: path.to_owned(),
        methods: [("ANY".to_owned(), method)].into(),
    }
}

fn open(resource: &mut Resource) {
    for method in resource.methods.values_mut() {
        "NONE".clone_into(&mut method.authorization_type);
        method.authorizer_id = None;
        method.authorization_scopes.clear();
        method.api_key_required = false;
    }
}
