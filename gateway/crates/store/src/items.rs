//! A catalog as items, each with a key of its own, and what differs between two of them.
//!
//! | key | value |
//! |---|---|
//! | `account` | the account |
//! | `restapi/ID` | a REST API without its deployments and stages |
//! | `deployment/API/ID`, `stage/API/NAME` | one of those |
//! | `apikey/ID`, `usageplan/ID`, `domainname/NAME`, `vpclink/ID`, `clientcertificate/ID` | one each |
//!
//! Values are JSON, in the form in which the control plane answers them.

use crate::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sluice_catalog::{Catalog, RestApi};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Keys to values; `None` takes an item away.
pub(crate) type Changes = BTreeMap<String, Option<Vec<u8>>>;

/// What to write to get from one to the other. Whatever both share by reference isn't looked at.
pub(crate) fn changes(old: &Catalog, new: &Catalog) -> Result<Changes, StoreError> {
    let mut out = Changes::new();
    if old.account != new.account {
        put(&mut out, "account".to_owned(), &new.account)?;
    }
    rest_apis(&mut out, old, new)?;
    maps(&mut out, "apikey", &old.api_keys, &new.api_keys)?;
    maps(&mut out, "usageplan", &old.usage_plans, &new.usage_plans)?;
    maps(&mut out, "domainname", &old.domain_names, &new.domain_names)?;
    maps(&mut out, "vpclink", &old.vpc_links, &new.vpc_links)?;
    maps(&mut out, "clientcertificate", &old.client_certificates, &new.client_certificates)?;
    Ok(out)
}

fn rest_apis(out: &mut Changes, old: &Catalog, new: &Catalog) -> Result<(), StoreError> {
    let nothing = RestApi::default();
    for (id, api) in &new.rest_apis {
        let before = old.rest_apis.get(id);
        if before.is_some_and(|before| Arc::ptr_eq(before, api)) {
            continue;
        }
        let same = before.is_some_and(|before| {
            Arc::ptr_eq(&before.definition, &api.definition) && head(before) == head(api)
        });
        if !same {
            put(
                out,
                format!("restapi/{id}"),
                &RestApi { definition: Arc::clone(&api.definition), ..head(api) },
            )?;
        }
        let before = before.map_or(&nothing, Arc::as_ref);
        maps(out, &format!("deployment/{id}"), &before.deployments, &api.deployments)?;
        maps(out, &format!("stage/{id}"), &before.stages, &api.stages)?;
    }
    for (id, api) in old.rest_apis.iter().filter(|(id, _)| !new.rest_apis.contains_key(*id)) {
        out.insert(format!("restapi/{id}"), None);
        maps(out, &format!("deployment/{id}"), &api.deployments, &nothing.deployments)?;
        maps(out, &format!("stage/{id}"), &api.stages, &nothing.stages)?;
    }
    Ok(())
}

/// All of an API but what has items of its own, or is large.
fn head(api: &RestApi) -> RestApi {
    RestApi {
        id: api.id.clone(),
        name: api.name.clone(),
        description: api.description.clone(),
        created_date: api.created_date,
        version: api.version.clone(),
        warnings: api.warnings.clone(),
        tags: api.tags.clone(),
        root_resource_id: api.root_resource_id.clone(),
        ..RestApi::default()
    }
}

fn maps<T: Serialize>(
    out: &mut Changes,
    kind: &str,
    old: &BTreeMap<String, Arc<T>>,
    new: &BTreeMap<String, Arc<T>>,
) -> Result<(), StoreError> {
    for (id, value) in new {
        if !old.get(id).is_some_and(|before| Arc::ptr_eq(before, value)) {
            put(out, format!("{kind}/{id}"), value)?;
        }
    }
    for id in old.keys().filter(|id| !new.contains_key(*id)) {
        out.insert(format!("{kind}/{id}"), None);
    }
    Ok(())
}

fn put(out: &mut Changes, key: String, value: &impl Serialize) -> Result<(), StoreError> {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            out.insert(key, Some(bytes));
            Ok(())
        }
        Err(error) => Err(StoreError::Write(format!("{key}: {error}"))),
    }
}

/// Puts an item into the catalog that is being read. Items come in the order of their keys: an API's deployments before
/// itself.
pub(crate) fn add(catalog: &mut Catalog, key: &str, value: &[u8]) -> Result<(), StoreError> {
    let parts: Vec<&str> = key.splitn(3, '/').collect();
    match parts.as_slice() {
        ["account"] => catalog.account = read(key, value)?,
        ["restapi", id] => {
            let parts = catalog.rest_apis.remove(*id).unwrap_or_default();
            let api = RestApi {
                deployments: parts.deployments.clone(),
                stages: parts.stages.clone(),
                ..read(key, value)?
            };
            catalog.rest_apis.insert((*id).to_owned(), Arc::new(api));
        }
        ["deployment", api, id] => {
            let deployment = Arc::new(read(key, value)?);
            api_of(catalog, api).deployments.insert((*id).to_owned(), deployment);
        }
        ["stage", api, name] => {
            let stage = Arc::new(read(key, value)?);
            api_of(catalog, api).stages.insert((*name).to_owned(), stage);
        }
        ["apikey", id] => drop(catalog.api_keys.insert((*id).to_owned(), Arc::new(read(key, value)?))),
        ["usageplan", id] => drop(catalog.usage_plans.insert((*id).to_owned(), Arc::new(read(key, value)?))),
        ["domainname", id] => {
            drop(catalog.domain_names.insert((*id).to_owned(), Arc::new(read(key, value)?)))
        }
        ["vpclink", id] => drop(catalog.vpc_links.insert((*id).to_owned(), Arc::new(read(key, value)?))),
        ["clientcertificate", id] => {
            catalog.client_certificates.insert((*id).to_owned(), Arc::new(read(key, value)?));
        }
        _ => return Err(StoreError::Damaged { key: key.to_owned(), why: "no such kind of item".to_owned() }),
    }
    Ok(())
}

fn api_of<'a>(catalog: &'a mut Catalog, id: &str) -> &'a mut RestApi {
    Arc::make_mut(catalog.rest_apis.entry(id.to_owned()).or_default())
}

fn read<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(value)
        .map_err(|error| StoreError::Damaged { key: key.to_owned(), why: error.to_string() })
}
