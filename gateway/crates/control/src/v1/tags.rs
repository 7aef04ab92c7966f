//! Tags, by ARN: `arn:aws:apigateway:REGION::/restapis/ID`, and so on.

use super::fault::Fault;
use super::input::check_tags;
use super::{Answer, Call, Reply};
use serde_json::json;
use sluice_catalog::{Catalog, Strings};
use std::sync::Arc;

/// Who bears the tags; parts of an ARN.
enum Bearer<'a> {
    Api(&'a str),
    Stage(&'a str, &'a str),
    Key(&'a str),
    Plan(&'a str),
    Domain(&'a str),
    Link(&'a str),
}

fn bearer(arn: &str) -> Result<Bearer<'_>, Fault> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", _, "apigateway", _, _, path] = parts.as_slice() else {
        return Err(Fault::bad_request(format!("Invalid ARN specified in the request: {arn}")));
    };
    let segments: Vec<&str> = path.split('/').collect();
    match segments.as_slice() {
        ["", "restapis", id] => Ok(Bearer::Api(id)),
        ["", "restapis", id, "stages", name] => Ok(Bearer::Stage(id, name)),
        ["", "apikeys", id] => Ok(Bearer::Key(id)),
        ["", "usageplans", id] => Ok(Bearer::Plan(id)),
        ["", "domainnames", name] => Ok(Bearer::Domain(name)),
        ["", "vpclinks", id] => Ok(Bearer::Link(id)),
        _ => Err(Fault::not_found(format!("Invalid ARN specified in the request: {arn}"))),
    }
}

fn tags<'c>(catalog: &'c Catalog, arn: &str) -> Result<&'c Strings, Fault> {
    let found = match bearer(arn)? {
        Bearer::Api(id) => catalog.rest_apis.get(id).map(|one| &one.tags),
        Bearer::Stage(id, name) => {
            catalog.rest_apis.get(id).and_then(|api| api.stages.get(name)).map(|one| &one.tags)
        }
        Bearer::Key(id) => catalog.api_keys.get(id).map(|one| &one.tags),
        Bearer::Plan(id) => catalog.usage_plans.get(id).map(|one| &one.tags),
        Bearer::Domain(name) => catalog.domain_names.get(name).map(|one| &one.tags),
        Bearer::Link(id) => catalog.vpc_links.get(id).map(|one| &one.tags),
    };
    found.ok_or_else(|| unknown(arn))
}

fn unknown(arn: &str) -> Fault {
    Fault::not_found(format!("Invalid resource identifier specified: {arn}"))
}

fn tags_mut<'c>(catalog: &'c mut Catalog, arn: &str) -> Result<&'c mut Strings, Fault> {
    let found = match bearer(arn)? {
        Bearer::Api(id) => catalog.rest_apis.get_mut(id).map(|one| &mut Arc::make_mut(one).tags),
        Bearer::Stage(id, name) => catalog
            .rest_apis
            .get_mut(id)
            .and_then(|api| Arc::make_mut(api).stages.get_mut(name))
            .map(|one| &mut Arc::make_mut(one).tags),
        Bearer::Key(id) => catalog.api_keys.get_mut(id).map(|one| &mut Arc::make_mut(one).tags),
        Bearer::Plan(id) => catalog.usage_plans.get_mut(id).map(|one| &mut Arc::make_mut(one).tags),
        Bearer::Domain(name) => catalog.domain_names.get_mut(name).map(|one| &mut Arc::make_mut(one).tags),
        Bearer::Link(id) => catalog.vpc_links.get_mut(id).map(|one| &mut Arc::make_mut(one).tags),
    };
    found.ok_or_else(|| unknown(arn))
}

pub(crate) fn get(catalog: &Catalog, call: &Call) -> Answer {
    Ok(Reply::ok(json!({ "tags": tags(catalog, call.param("resource_arn"))? })))
}

pub(crate) fn put(catalog: &mut Catalog, call: &Call) -> Answer {
    let new = call.input()?.tags()?;
    let tags = tags_mut(catalog, call.param("resource_arn"))?;
    tags.extend(new);
    check_tags(tags)?;
    Ok(Reply::nothing())
}

pub(crate) fn delete(catalog: &mut Catalog, call: &Call) -> Answer {
    let tags = tags_mut(catalog, call.param("resource_arn"))?;
    for (_, key) in call.query.iter().filter(|(name, _)| name == "tagKeys") {
        tags.remove(key);
    }
    Ok(Reply::nothing())
}
