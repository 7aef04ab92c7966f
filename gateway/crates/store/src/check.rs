//! References within a catalog.

use sluice_catalog::{Catalog, RestApi};

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
