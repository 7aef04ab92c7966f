//! What has been edited and does not serve yet.

use sluice_catalog::{Catalog, Definition, Method};
use std::collections::{BTreeMap, BTreeSet};

/// How a stage differs from its API as it is edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undeployed {
    /// Id of the API.
    pub api: String,
    /// Name of the API.
    pub api_name: String,
    /// Name of the stage; `None`: the API has none, so that nothing of it serves.
    pub stage: Option<String>,
    /// One each: `+ GET /pets`, `- GET /pets`, `~ GET /pets`, `+ resource /toys`, `~ model Pet`, `~ resource policy`.
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
            // What it begins to serve, and not what each API begins with.
            let nothing = Definition { resources: BTreeMap::new(), ..(*api.definition).clone() };
            note(None, changes(&nothing, &api.definition));
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
    let (before, after) = (bare(served), bare(edited));
    changes.extend(after.difference(&before).map(|path| format!("+ resource {path}")));
    changes.extend(before.difference(&after).map(|path| format!("- resource {path}")));
    named(&mut changes, "model", &served.models, &edited.models, |one| &one.name);
    named(&mut changes, "request validator", &served.request_validators, &edited.request_validators, |one| {
        &one.name
    });
    named(&mut changes, "authorizer", &served.authorizers, &edited.authorizers, |one| &one.name);
    named(&mut changes, "gateway response", &served.gateway_responses, &edited.gateway_responses, |one| {
        &one.response_type
    });
    for (differs, what) in [
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

/// Adds what came, went or changed of one kind, by its name.
fn named<T: PartialEq>(
    changes: &mut Vec<String>,
    kind: &str,
    served: &BTreeMap<String, T>,
    edited: &BTreeMap<String, T>,
    name: impl Fn(&T) -> &str,
) {
    for (id, one) in edited {
        match served.get(id) {
            None => changes.push(format!("+ {kind} {}", name(one))),
            Some(known) if known != one => changes.push(format!("~ {kind} {}", name(one))),
            Some(_) => {}
        }
    }
    let gone = served.iter().filter(|(id, _)| !edited.contains_key(*id));
    changes.extend(gone.map(|(_, one)| format!("- {kind} {}", name(one))));
}

/// Resources without a method of their own, which no method's name tells of. The root is always there.
fn bare(definition: &Definition) -> BTreeSet<&str> {
    let without = definition.resources.values().filter(|one| one.methods.is_empty() && one.path != "/");
    // Those that only lead to others come and go with them.
    let leads = |path: &str| {
        let below = |other: &str| other.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        definition.resources.values().any(|other| below(&other.path))
    };
    without.map(|one| one.path.as_str()).filter(|path| !leads(path)).collect()
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
    use sluice_catalog::{Deployment, GatewayResponse, Model, RequestValidator, Resource, RestApi, Stage};
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
        for path in ["/new", "/way", "/way/to"] {
            let resource = Resource { path: path.to_owned(), ..Resource::default() };
            edited.resources.insert(path.to_owned(), Arc::new(resource));
        }
        let pet =
            |schema: &str| Model { name: "Pet".to_owned(), schema: schema.to_owned(), ..Model::default() };
        let validator =
            |name: &str| RequestValidator { name: name.to_owned(), ..RequestValidator::default() };
        let refusal =
            GatewayResponse { response_type: "DEFAULT_4XX".to_owned(), ..GatewayResponse::default() };
        edited.models.insert("Pet".to_owned(), pet("{}"));
        edited.request_validators.insert("new".to_owned(), validator("n"));
        edited.gateway_responses.insert("DEFAULT_4XX".to_owned(), refusal);
        let mut served = (*definition(&[("/a", "GET", false), ("/c", "ANY", false)])).clone();
        served.models.insert("Pet".to_owned(), pet("[]"));
        served.request_validators.insert("old".to_owned(), validator("o"));
        let served = Arc::new(served);
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
                (
                    "abc",
                    Some("prod"),
                    lines(&[
                        "~ GET /a",
                        "+ GET /b",
                        "- ANY /c",
                        "+ resource /new",
                        "+ resource /way/to",
                        "~ model Pet",
                        "+ request validator n",
                        "- request validator o",
                        "+ gateway response DEFAULT_4XX",
                        "~ binary media types",
                    ])
                ),
                ("xyz", None, lines(&["+ GET /a", "+ ANY /c"])),
            ]
        );
    }
}
