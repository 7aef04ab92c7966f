//! The path tree of a REST API.

use super::fault::Fault;
use super::patch::patches;
use super::{Answer, Call, Reply, ids, page, show};
use serde_json::{Map, Value, json};
use sluice_catalog::{Catalog, Definition, Resource};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) const UNKNOWN: &str = "Invalid Resource identifier specified";
/// AWS's quota.
pub(crate) const RESOURCES_MAX: usize = 300;

/// Methods are told in full only if `embed` asks for them.
fn view(resource: &Resource, embed: bool) -> Value {
    let mut out = Map::new();
    out.insert("id".to_owned(), json!(resource.id));
    if let Some(parent) = &resource.parent_id {
        out.insert("parentId".to_owned(), json!(parent));
    }
    if let Some(part) = &resource.path_part {
        out.insert("pathPart".to_owned(), json!(part));
    }
    out.insert("path".to_owned(), json!(resource.path));
    if !resource.methods.is_empty() {
        let method = |(name, method)| (String::clone(name), if embed { show(method) } else { json!({}) });
        out.insert(
            "resourceMethods".to_owned(),
            Value::Object(resource.methods.iter().map(method).collect()),
        );
    }
    Value::Object(out)
}

/// The resource that the path names. Within an API that is not there, AWS finds the resource missing.
pub(crate) fn find<'c>(catalog: &'c Catalog, call: &Call) -> Result<&'c Arc<Resource>, Fault> {
    let api = catalog.rest_apis.get(call.param("restapi_id"));
    api.and_then(|api| api.definition.resources.get(call.param("resource_id")))
        .ok_or_else(|| Fault::not_found(UNKNOWN))
}

pub(crate) fn find_mut<'c>(catalog: &'c mut Catalog, call: &Call) -> Result<&'c mut Resource, Fault> {
    find(catalog, call)?;
    let resource = call.definition_mut(catalog)?.resources.get_mut(call.param("resource_id"));
    resource.map(Arc::make_mut).ok_or_else(|| Fault::not_found(UNKNOWN))
}

pub(crate) fn list(catalog: &Catalog, call: &Call) -> Answer {
    let api = call.api(catalog)?;
    let by_path: BTreeMap<&str, _> =
        api.definition.resources.values().map(|resource| (resource.path.as_str(), resource)).collect();
    let embed = call.embeds("methods");
    page::page(call, by_path.into_iter(), |resource| view(resource, embed))
}

pub(crate) fn get(catalog: &Catalog, call: &Call) -> Answer {
    Ok(Reply::ok(view(find(catalog, call)?, call.embeds("methods"))))
}

/// Letters, digits and `._-:`, as a whole in braces for a variable, with `+` for a greedy one.
fn check_part(part: &str) -> Result<(), Fault> {
    let name = match part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(name) => name.strip_suffix('+').unwrap_or(name),
        None => part,
    };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-:".contains(&b);
    if name.is_empty() || !name.bytes().all(allowed) {
        return Err(Fault::bad_request(
            "Resource's path part only allow a-zA-Z0-9._-: or a valid greedy path variable and curly braces at the \
             beginning and the end.",
        ));
    }
    Ok(())
}

fn is_variable(part: &str) -> bool {
    part.starts_with('{')
}

fn is_greedy(part: &str) -> bool {
    part.ends_with("+}")
}

/// Whether `part` may stand below `parent`, beside what is there; `but`: the resource that is moved or renamed.
fn check_place(definition: &Definition, parent: &Resource, part: &str, but: &str) -> Result<(), Fault> {
    if let Some(greedy) = parent.path_part.as_deref().filter(|part| is_greedy(part)) {
        let text = format!("Cannot create a child of a resource with a greedy path variable: {greedy}");
        return Err(Fault::bad_request(text));
    }
    for sibling in definition.resources.values() {
        let is_sibling = sibling.parent_id.as_ref() == Some(&parent.id) && sibling.id != but;
        let Some(other) = sibling.path_part.as_deref().filter(|_| is_sibling) else { continue };
        if other == part {
            let text = format!("Another resource with the same parent already has this name: {part}");
            return Err(Fault::conflict(text));
        }
        if is_variable(other) && is_variable(part) {
            let text = format!(
                "A sibling ({other}) of this resource already has a variable path part -- only one is allowed"
            );
            return Err(Fault::bad_request(text));
        }
    }
    Ok(())
}

pub(crate) fn too_many() -> Fault {
    Fault::new(
        429,
        "LimitExceededException",
        "Maximum number of resources for this API has been reached. Please contact AWS if you need additional resources.",
    )
}

fn joined(parent: &str, part: &str) -> String {
    format!("{}/{part}", parent.trim_end_matches('/'))
}

pub(crate) fn create(catalog: &mut Catalog, call: &Call) -> Answer {
    if call.api(catalog).is_err() {
        return Err(call.no_api(call.param("restapi_id")));
    }
    let definition = call.definition_mut(catalog)?;
    let part = call.input()?.text("pathPart")?.unwrap_or_default();
    let parent =
        definition.resources.get(call.param("parent_id")).ok_or_else(|| Fault::not_found(UNKNOWN))?;
    check_part(&part)?;
    check_place(definition, parent, &part, "")?;
    if definition.resources.len() >= RESOURCES_MAX {
        return Err(too_many());
    }
    let resource = Resource {
        id: ids::id(6),
        parent_id: Some(parent.id.clone()),
        path: joined(&parent.path, &part),
        path_part: Some(part),
        ..Resource::default()
    };
    let body = view(&resource, false);
    definition.resources.insert(resource.id.clone(), Arc::new(resource));
    Ok(Reply::created(body))
}

/// A resource goes with all below it.
pub(crate) fn delete(catalog: &mut Catalog, call: &Call) -> Answer {
    let resource = find(catalog, call)?;
    if resource.parent_id.is_none() {
        return Err(Fault::bad_request("Root resource cannot be deleted."));
    }
    let id = resource.id.clone();
    let definition = call.definition_mut(catalog)?;
    for id in below(definition, &id) {
        definition.resources.remove(&id);
    }
    Ok(Reply::accepted())
}

/// A resource and all its descendants.
fn below(definition: &Definition, id: &str) -> Vec<String> {
    let mut found = vec![id.to_owned()];
    let mut at = 0;
    while let Some(parent) = found.get(at).cloned() {
        let children = definition.resources.values().filter(|one| one.parent_id.as_ref() == Some(&parent));
        found.extend(children.map(|child| child.id.clone()));
        at += 1;
    }
    found
}

pub(crate) fn update(catalog: &mut Catalog, call: &Call) -> Answer {
    let mut resource = Resource::clone(find(catalog, call)?);
    let definition = call.definition_mut(catalog)?;
    for patch in patches(call, "updateResourceInput")? {
        patch.replaces_one_of(&["/parentId", "/pathPart"])?;
        let is_root = resource.parent_id.is_none();
        if patch.path == "/parentId" {
            let target = patch.text();
            if is_root {
                return Err(Fault::bad_request("Root resource cannot update its parentId."));
            }
            if !definition.resources.contains_key(&target) {
                return Err(Fault::not_found(UNKNOWN));
            }
            if below(definition, &resource.id).contains(&target) {
                return Err(Fault::bad_request("Resources cannot be cyclical."));
            }
            resource.parent_id = Some(target);
        } else {
            if is_root {
                return Err(Fault::bad_request("Root resource cannot update its pathPart."));
            }
            check_part(&patch.text())?;
            resource.path_part = Some(patch.text());
        }
        place(definition, &mut resource)?;
    }
    Ok(Reply::ok(view(&resource, false)))
}

/// Checks the resource's place, writes its new path and those of all below it.
fn place(definition: &mut Definition, resource: &mut Resource) -> Result<(), Fault> {
    let parent = resource.parent_id.as_ref().and_then(|id| definition.resources.get(id));
    let parent = parent.ok_or_else(|| Fault::not_found(UNKNOWN))?;
    let part = resource.path_part.clone().unwrap_or_default();
    check_place(definition, parent, &part, &resource.id)?;
    resource.path = joined(&parent.path, &part);
    definition.resources.insert(resource.id.clone(), Arc::new(resource.clone()));
    // Parents come before their children.
    for id in below(definition, &resource.id).into_iter().skip(1) {
        let Some(child) = definition.resources.get(&id) else { continue };
        let parent = child.parent_id.as_ref().and_then(|id| definition.resources.get(id));
        let path =
            joined(parent.map_or("", |parent| &parent.path), child.path_part.as_deref().unwrap_or_default());
        if let Some(child) = definition.resources.get_mut(&id) {
            Arc::make_mut(child).path = path;
        }
    }
    Ok(())
}
