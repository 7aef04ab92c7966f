//! One method as it is edited, compiled to be tried out (TestInvokeMethod) beside everything that serves.
//!
//! The snapshot has that method and nothing else, under a stage of its own. As on AWS the method's authorizer, its API
//! key and the API's policy are not asked. Nothing of it is shared with what serves: neither limits, nor the cache, nor metrics.

use crate::registry::Registry;
use crate::resolve::Names;
use crate::{Compiled, Now, Rejected, SlotAllocator, build, check, rest};
use sluice_catalog::{Catalog, Definition, Deployment, Resource, RestApi, Stage, Strings};
use sluice_config::Settings;
use std::sync::Arc;

/// AWS's name of the stage that test invocations run in.
pub const TRIAL_STAGE: &str = "test-invoke-stage";
/// Nothing is cached.
const CACHE_BYTES: u64 = 1 << 16;

/// Compiles the method `verb` of a resource, under these stage variables. `registry`: [`Registry::apart`]. Looks up the hosts of
/// its backend: may block.
///
/// # Errors
/// What is wrong with it.
pub fn trial(
    settings: &Settings,
    mut registry: Registry,
    api: &RestApi,
    (resource_id, verb): (&str, &str),
    variables: &Strings,
    slots: &mut dyn SlotAllocator,
    now: Now,
) -> Result<Compiled, Rejected> {
    let settings = apart(settings);
    let catalog = only(api, resource_id, verb, variables);
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
fn only(api: &RestApi, resource_id: &str, verb: &str, variables: &Strings) -> Catalog {
    let mut definition =
        Definition { minimum_compression_size: None, policy: None, ..Definition::clone(&api.definition) };
    definition.resources.retain(|id, _| id == resource_id);
    for resource in definition.resources.values_mut().map(Arc::make_mut) {
        resource.methods.retain(|name, _| name == verb);
        open(resource);
    }
    let deployment =
        Deployment { id: "trial".to_owned(), definition: Arc::new(definition), ..Deployment::default() };
    let stage = Stage {
        stage_name: TRIAL_STAGE.to_owned(),
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
        stages: [(TRIAL_STAGE.to_owned(), Arc::new(stage))].into(),
        ..RestApi::default()
    };
    Catalog { rest_apis: [(api.id.clone(), Arc::new(api))].into(), ..Catalog::default() }
}

fn open(resource: &mut Resource) {
    for method in resource.methods.values_mut() {
        "NONE".clone_into(&mut method.authorization_type);
        method.authorizer_id = None;
        method.authorization_scopes.clear();
        method.api_key_required = false;
    }
}
