//! What has been edited and does not serve yet.

use sluice_catalog::{Catalog, Definition, Method};
use std::collections::BTreeMap;

/// How a stage differs from its API as it is edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undeployed {
    /// Id of the API.
    pub api: String,
    /// Name of the API.
    pub api_name: String,
    /// Name of the stage; `None`: the API has none, so that nothing of it serves.
    pub stage: Option<String>,
    /// One each: `+ GET /pets`, `- GET /pets`, `~ GET /pets`, `~ models`.
    pub changes: Vec<String>,
}

/// Every stage that serves something else than its API's present definition, and every API without a stage.
#[must_use]
pub fn undeployed(catalog: &Catalog) -> Vec<Undeployed> {
    let mut found = Vec::new();
    for api in catalog.rest_apis.values() {
        let mut note = |stage: Option<&str>, changes: Vec<String>| {
            if !changes.is_empty() {
                let stage = stage.map(str::to_owned);
                found.push(Undeployed { api: api.id.clone(), api_name: api.name.clone(), stage, changes });
            }
        };
        if api.stages.is_empty() {
            note(None, changes(&Definition::default(), &api.definition));
        }
        for stage in api.stages.values() {
            let nothing = Definition::default();
            let served = api.deployments.get(&stage.deployment_id).map_or(&nothing, |d| &*d.definition);
            note(Some(&stage.stage_name), changes(served, &api.definition));
        }
    }
    found
}

fn changes(served: &Definition, edited: &Definition) -> Vec<String> {
    let (before, after) = (methods(served), methods(edited));
    let mut changes = Vec::new();
    for (name, method) in &after {
        match before.get(name) {
            None => changes.push(format!("+ {name}")),
            Some(known) if known != method => changes.push(format!("~ {name}")),
            Some(_) => {}
        }
    }
    changes.extend(before.keys().filter(|name| !after.contains_key(*name)).map(|name| format!("- {name}")));
    // By path, then by method: what belongs together stands together.
    changes.sort_by_cached_key(|change| {
        let mut words = change.splitn(3, ' ').map(str::to_owned).skip(1);
        let method = words.next();
        (words.next(), method)
    });
    for (differs, what) in [
        (served.models != edited.models, "models"),
        (served.request_validators != edited.request_validators, "request validators"),
        (served.authorizers != edited.authorizers, "authorizers"),
        (served.gateway_responses != edited.gateway_responses, "gateway responses"),
        (served.policy != edited.policy, "resource policy"),
        (served.binary_media_types != edited.binary_media_types, "binary media types"),
        (served.minimum_compression_size != edited.minimum_compression_size, "minimum compression size"),
        (served.api_key_source != edited.api_key_source, "API key source"),
        (
            served.disable_execute_api_endpoint != edited.disable_execute_api_endpoint,
            "the API's own host name",
        ),
    ] {
        if differs {
            changes.push(format!("~ {what}"));
        }
    }
    changes
}

/// Methods by what they are called: `GET /pets`.
fn methods(definition: &Definition) -> BTreeMap<String, &Method> {
    let resources = definition.resources.values();
    resources
        .flat_map(|resource| {
            resource.methods.iter().map(|(name, method)| (format!("{name} {}", resource.path), method))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_catalog::{Deployment, Resource, RestApi, Stage};
    use std::sync::Arc;

    fn definition(methods: &[(&str, &str, bool)]) -> Arc<Definition> {
        let mut definition = Definition::default();
        for (path, name, key) in methods {
            let resource = Resource {
                path: (*path).to_owned(),
                methods: [((*name).to_owned(), Method { api_key_required: *key, ..Method::default() })]
                    .into(),
                ..Resource::default()
            };
            definition.resources.insert(format!("{path}{name}"), Arc::new(resource));
        }
        Arc::new(definition)
    }

    #[test]
    fn says_what_differs_and_only_that() {
        let mut edited = (*definition(&[("/a", "GET", true), ("/b", "GET", false)])).clone();
        edited.binary_media_types.push("image/png".to_owned());
        let served = definition(&[("/a", "GET", false), ("/c", "ANY", false)]);
        let edited = Arc::new(edited);
        let deployment = |id: &str, definition: &Arc<Definition>| {
            let definition = Arc::clone(definition);
            (id.to_owned(), Arc::new(Deployment { id: id.to_owned(), definition, ..Deployment::default() }))
        };
        let stage = |name: &str, deployment_id: &str| {
            let (stage_name, deployment_id) = (name.to_owned(), deployment_id.to_owned());
            (name.to_owned(), Arc::new(Stage { stage_name, deployment_id, ..Stage::default() }))
        };
        let api = RestApi {
            id: "abc".to_owned(),
            definition: Arc::clone(&edited),
            deployments: [deployment("old", &served), deployment("new", &edited)].into(),
            stages: [stage("prod", "old"), stage("dev", "new")].into(),
            ..RestApi::default()
        };
        let alone = RestApi { id: "xyz".to_owned(), definition: served, ..RestApi::default() };
        let mut catalog = Catalog::default();
        for api in [api, alone] {
            catalog.rest_apis.insert(api.id.clone(), Arc::new(api));
        }
        let found = undeployed(&catalog);
        let said: Vec<_> =
            found.iter().map(|u| (u.api.as_str(), u.stage.as_deref(), u.changes.clone())).collect();
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            said,
            [
                ("abc", Some("prod"), lines(&["~ GET /a", "+ GET /b", "- ANY /c", "~ binary media types"])),
                ("xyz", None, lines(&["+ GET /a", "+ ANY /c"])),
            ]
        );
    }
}
