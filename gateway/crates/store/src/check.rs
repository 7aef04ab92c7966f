//! References within a catalog.

use sluice_catalog::{Catalog, RestApi};
use std::collections::BTreeMap;

/// What names something that is not there. The control plane lets none of it come about.
pub fn problems(catalog: &Catalog) -> Vec<String> {
    let mut found = Vec::new();
    for (id, api) in &catalog.rest_apis {
        api_problems(id, api, &mut found);
    }
    for (id, plan) in &catalog.usage_plans {
        for stage in &plan.api_stages {
            let known =
                catalog.rest_apis.get(&stage.api_id).is_some_and(|api| api.stages.contains_key(&stage.stage));
            if !known {
                found.push(format!(
                    "usage plan {id} names stage {}:{}, which is not there",
                    stage.api_id, stage.stage
                ));
            }
        }
        for key in plan.keys.keys().filter(|key| !catalog.api_keys.contains_key(*key)) {
            found.push(format!("usage plan {id} names API key {key}, which is not there"));
        }
    }
    for (name, domain) in &catalog.domain_names {
        for mapping in domain.base_path_mappings.values() {
            if !catalog.rest_apis.contains_key(&mapping.rest_api_id) {
                let (path, api) = (&mapping.base_path, &mapping.rest_api_id);
                found.push(format!("base path {path} of {name} leads to REST API {api}, which is not there"));
            }
        }
    }
    found
}

fn api_problems(id: &str, api: &RestApi, found: &mut Vec<String>) {
    if !api.definition.resources.contains_key(&api.root_resource_id) {
        found.push(format!("REST API {id} has no root resource {}", api.root_resource_id));
    }
    for (resource_id, resource) in &api.definition.resources {
        if let Some(parent) =
            resource.parent_id.as_ref().filter(|id| !api.definition.resources.contains_key(*id))
        {
            found.push(format!(
                "resource {resource_id} of REST API {id} has parent {parent}, which is not there"
            ));
        }
    }
    for (name, stage) in &api.stages {
        let canary = stage.canary_settings.as_ref().and_then(|canary| canary.deployment_id.as_ref());
        for deployment in std::iter::once(&stage.deployment_id).chain(canary) {
            if !api.deployments.contains_key(deployment) {
                found.push(format!(
                    "stage {name} of REST API {id} serves deployment {deployment}, which is not there"
                ));
            }
        }
    }
}

/// Items that are not under their own id, or under one that no item of the file can have.
pub(crate) fn misnamed(catalog: &Catalog) -> Vec<String> {
    let mut found = Vec::new();
    let mut named = |kind: &str, key: &str, id: &str, is_whole: bool| {
        if key != id || key.is_empty() || (is_whole && key.contains('/')) {
            found.push(format!("{kind} `{key}`: expected its id, without `/`, found `{id}`"));
        }
    };
    for (key, api) in &catalog.rest_apis {
        named("REST API", key, &api.id, true);
        each(&api.deployments, |id, one| named(&format!("deployment of {key}"), id, &one.id, false));
        each(&api.stages, |id, one| named(&format!("stage of {key}"), id, &one.stage_name, false));
    }
    each(&catalog.api_keys, |key, one| named("API key", key, &one.id, true));
    each(&catalog.usage_plans, |key, one| named("usage plan", key, &one.id, true));
    each(&catalog.domain_names, |key, one| named("domain name", key, &one.domain_name, true));
    each(&catalog.client_certificates, |key, one| {
        named("client certificate", key, &one.client_certificate_id, true);
    });
    each(&catalog.vpc_links, |key, one| named("VPC link", key, &one.id, true));
    found
}

fn each<T>(map: &BTreeMap<String, std::sync::Arc<T>>, mut one: impl FnMut(&str, &T)) {
    map.iter().for_each(|(key, value)| one(key, value));
}
