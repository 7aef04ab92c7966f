//! The catalog to REST APIs of a snapshot.
//!
//! As with the settings, two steps: [`check`] finds everything that is wrong and changes nothing; [`build`] can't fail. A
//! stage is compiled again only if something that it serves has changed: its own value, its deployment's, or a setting. All
//! others are taken over from the last snapshot as they are, so that a change of one API among thousands is published in
//! the time that one takes.

mod authorizer;
mod backends;
mod integration;
mod keys;
mod protocols;
mod service;
mod stage;
#[cfg(test)]
mod tests;
mod uri;

use crate::registry::Registry;
use crate::{Now, SlotAllocator};
pub(crate) use backends::Backends;
pub use backends::look_up;
pub(crate) use keys::{KnownKeys, Quotas, StageIds};
pub use keys::{QuotaCounted, QuotaHandle, QuotaList, period};
pub use service::Credentials;
pub(crate) use service::{Resolver, Services, function_name};
use sluice_catalog::{Catalog, Definition, DomainName, RestApi};
use sluice_config::Settings;
use sluice_snapshot::{Mapping, RestApis, Stage, UpstreamId};
use stage::StagePlan;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A checked catalog.
pub(crate) struct Plan<'c> {
    stages: Vec<Planned<'c>>,
    domains: Vec<(String, Vec<Mapping>)>,
}

/// A stage to be served.
enum Planned<'c> {
    /// As it was compiled before.
    Known(Arc<Stage>),
    New(Box<StagePlan<'c>>),
}

/// A stage that was compiled, and what of.
#[derive(Debug)]
pub(crate) struct Compiled {
    from: From,
    stage: Arc<Stage>,
}

/// What a compiled stage depends on, beside the settings.
#[derive(Debug)]
struct From {
    stage: Arc<sluice_catalog::Stage>,
    deployed: Arc<Definition>,
    canary: Option<Arc<Definition>>,
}

impl From {
    fn new(
        stage: &Arc<sluice_catalog::Stage>,
        deployed: &Arc<Definition>,
        canary: Option<&Arc<Definition>>,
    ) -> Self {
        Self { stage: Arc::clone(stage), deployed: Arc::clone(deployed), canary: canary.map(Arc::clone) }
    }

    /// `None`: it names a deployment that is not there.
    fn of(api: &RestApi, stage: &Arc<sluice_catalog::Stage>) -> Option<Self> {
        let (deployed, canary) = served(api, stage).ok()?;
        Some(Self::new(stage, deployed, canary))
    }

    fn is_same(&self, other: &Self) -> bool {
        let canary = match (&self.canary, &other.canary) {
            (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs),
            (mine, theirs) => mine.is_none() && theirs.is_none(),
        };
        Arc::ptr_eq(&self.stage, &other.stage) && Arc::ptr_eq(&self.deployed, &other.deployed) && canary
    }
}

/// Stages compiled before, by API and name.
pub(crate) type Known = HashMap<(String, String), Compiled>;

/// What of the settings goes into a compiled stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Basis {
    /// The largest response that the cache stores.
    entry_max_bytes: u64,
    services: Services,
    account_id: Arc<str>,
    /// What resource policies leave out, beside the account.
    region: Arc<str>,
    /// Where user pools are.
    user_pools: Vec<sluice_config::UserPool>,
    /// One method is tried out: its bodies are held whole, and nothing is answered without running its templates, so that
    /// there is something to tell.
    pub(crate) is_trial: bool,
    /// VPC links by id.
    links: BTreeMap<String, Link>,
}

/// Where a VPC link leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Link {
    group: UpstreamId,
    is_http1: bool,
}

impl Basis {
    pub(crate) fn new(settings: &Settings, catalog: &Catalog, registry: &Registry) -> Self {
        Self {
            entry_max_bytes: settings.cache.entry_max_bytes,
            services: Services::new(settings, registry),
            account_id: settings.aws.account_id.as_str().into(),
            region: settings.aws.region.as_str().into(),
            user_pools: settings.user_pools.clone(),
            is_trial: false,
            links: links(settings, catalog),
        }
    }
}

/// VPC links that the configuration has by their ids, and those of the catalog that it has by their names.
fn links(settings: &Settings, catalog: &Catalog) -> BTreeMap<String, Link> {
    let of = |link: &sluice_config::VpcLink| {
        let named = |group: &sluice_config::Upstream| *group.name.value == *link.upstream.value;
        let at = settings.upstreams.iter().position(named)?;
        let is_http1 = settings.upstreams.get(at)?.protocol == sluice_config::Protocol::Http1;
        Some(Link { group: UpstreamId(u32::try_from(at).ok()?), is_http1 })
    };
    let configured =
        |name: &str| settings.vpc_links.iter().find(|link| &*link.name.value == name).and_then(of);
    let by_name =
        catalog.vpc_links.iter().filter_map(|(id, link)| Some((id.clone(), configured(&link.name)?)));
    let by_id = settings.vpc_links.iter().filter_map(|link| Some((link.name.value.to_string(), of(link)?)));
    by_name.chain(by_id).collect()
}

/// Finds what is wrong. The plan is whole only if nothing is.
pub(crate) fn check<'c>(catalog: &'c Catalog, registry: &Registry, basis: &Basis) -> (Plan<'c>, Vec<String>) {
    let nothing = Known::new();
    let known = if registry.basis == *basis { &registry.rest } else { &nothing };
    let mut faults = Vec::new();
    let mut plan = Plan { stages: Vec::new(), domains: Vec::new() };
    for api in catalog.rest_apis.values() {
        for stage in api.stages.values() {
            match check_stage(api, stage, known) {
                Ok(planned) => plan.stages.push(planned),
                Err(found) => faults.extend(found),
            }
        }
    }
    plan.domains = catalog.domain_names.values().map(|domain| mappings(domain)).collect();
    (plan, faults)
}

/// What keeps a changed catalog from being compiled: nothing else can. Only stages that do not serve what they served `before` are looked
/// at. It depends on nothing but the two.
pub fn faults(before: &Catalog, after: &Catalog) -> Vec<String> {
    let mut found = Vec::new();
    let (nothing, nothing_known) = (RestApi::default(), Known::new());
    for (id, api) in &after.rest_apis {
        let was = before.rest_apis.get(id).map_or(&nothing, Arc::as_ref);
        if std::ptr::eq(was, api.as_ref()) {
            continue;
        }
        for (name, stage) in &api.stages {
            let served = was.stages.get(name).and_then(|stage| From::of(was, stage));
            let same = served.zip(From::of(api, stage)).is_some_and(|(was, is)| was.is_same(&is));
            if !same {
                found.extend(check_stage(api, stage, &nothing_known).err().into_iter().flatten());
            }
        }
    }
    found
}

/// A stage's deployment, and its canary's.
type Served<'c> = (&'c Arc<Definition>, Option<&'c Arc<Definition>>);

fn served<'c>(api: &'c RestApi, stage: &sluice_catalog::Stage) -> Result<Served<'c>, String> {
    let definition = |id: &str| {
        let deployment = api.deployments.get(id).ok_or_else(|| format!("there is no deployment `{id}`"));
        deployment.map(|deployment| &deployment.definition)
    };
    let canary = stage.canary_settings.as_ref().and_then(|canary| canary.deployment_id.as_deref());
    Ok((definition(&stage.deployment_id)?, canary.map(definition).transpose()?))
}

fn check_stage<'c>(
    api: &'c RestApi,
    stage: &'c Arc<sluice_catalog::Stage>,
    known: &Known,
) -> Result<Planned<'c>, Vec<String>> {
    let placed = |fault: String| format!("rest API {}/{}: {fault}", api.id, stage.stage_name);
    let (deployed, canary) = served(api, stage).map_err(|fault| vec![placed(fault)])?;
    let from = From::new(stage, deployed, canary);
    let key = (api.id.clone(), stage.stage_name.clone());
    match known.get(&key).filter(|known| known.from.is_same(&from)) {
        Some(known) => Ok(Planned::Known(Arc::clone(&known.stage))),
        None => {
            let plan = StagePlan::check(api, stage, deployed, canary);
            let plan = plan.map_err(|found| found.into_iter().map(placed).collect::<Vec<_>>())?;
            Ok(Planned::New(Box::new(plan)))
        }
    }
}

fn mappings(domain: &DomainName) -> (String, Vec<Mapping>) {
    let mappings = domain.base_path_mappings.values().map(|mapping| Mapping {
        base: if mapping.base_path == "(none)" {
            Box::default()
        } else {
            mapping.base_path.trim_matches('/').as_bytes().into()
        },
        api: mapping.rest_api_id.as_bytes().into(),
        stage: mapping.stage.as_ref().filter(|stage| !stage.is_empty()).map(|stage| stage.as_bytes().into()),
    });
    (domain.domain_name.clone(), mappings.collect())
}

/// Builds what the plan says. The second value: methods that cannot be answered and why, of the stages that are new.
pub(crate) fn build(
    plan: Plan<'_>,
    catalog: &Catalog,
    registry: &mut Registry,
    slots: &mut dyn SlotAllocator,
    basis: Basis,
    now: Now,
) -> (RestApis, Vec<String>) {
    let mut notes = Vec::new();
    let mut known = Known::with_capacity(plan.stages.len());
    let mut stages = Vec::with_capacity(plan.stages.len());
    for planned in plan.stages {
        let stage = match planned {
            Planned::Known(stage) => stage,
            Planned::New(plan) => {
                let mut builder =
                    stage::Builder { registry, slots, basis: &basis, now_ns: now.ns, notes: &mut notes };
                let (from, stage) = builder.stage(*plan);
                let stage = Arc::new(stage);
                let key = (stage.api.to_string(), stage.name.to_string());
                known.insert(key, Compiled { from, stage: Arc::clone(&stage) });
                stages.push(stage);
                continue;
            }
        };
        let key = (stage.api.to_string(), stage.name.to_string());
        if let Some(compiled) = registry.rest.remove(&key) {
            known.insert(key, compiled);
        }
        stages.push(stage);
    }
    // What is gone from the catalog is gone from here.
    registry.rest = known;
    registry.backends.resolve_fresh();
    let mut rest = RestApis::new(stages, plan.domains, registry.backends.list());
    rest.keys = keys::table(catalog, registry, slots, now);
    rest.account = keys::account(catalog, registry, slots, now);
    rest.account_id = Arc::clone(&basis.account_id);
    registry.basis = basis;
    (rest, notes)
}
