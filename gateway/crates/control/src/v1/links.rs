//! VPC links: kept and shown. Where a link leads is in the configuration (`[vpc_links]`).

use super::fault::Fault;
use super::patch::patches;
use super::{Answer, Call, Reply, ids, page, show};
use serde_json::Value;
use sluice_catalog::{Catalog, VpcLink};
use std::sync::Arc;

const UNKNOWN: &str = "Invalid Vpc Link identifier specified";

fn view(link: &VpcLink, empty_tags: bool) -> Value {
    let mut out = show(link);
    if let (Value::Object(members), true) = (&mut out, empty_tags) {
        members.entry("tags").or_insert_with(|| Value::Object(serde_json::Map::new()));
    }
    out
}

fn find<'c>(catalog: &'c Catalog, call: &Call) -> Result<&'c Arc<VpcLink>, Fault> {
    catalog.vpc_links.get(call.param("vpclink_id")).ok_or_else(|| Fault::not_found(UNKNOWN))
}

pub(crate) fn list(catalog: &Catalog, call: &Call) -> Answer {
    page::page(call, catalog.vpc_links.iter().map(|(id, link)| (id.as_str(), link)), |link| view(link, false))
}

pub(crate) fn get(catalog: &Catalog, call: &Call) -> Answer {
    Ok(Reply::ok(view(find(catalog, call)?, true)))
}

pub(crate) fn create(catalog: &mut Catalog, call: &Call) -> Answer {
    let input = call.input()?;
    let name = input.text("name")?.filter(|name| !name.is_empty());
    let target_arns = input.texts("targetArns")?.unwrap_or_default();
    if let Some(arn) = target_arns.iter().find(|arn| !arn.starts_with("arn:") || arn.split(':').count() < 6) {
        return Err(Fault::bad_request(format!("Invalid ARN. ARN is not well formed {arn}")));
    }
    let link = VpcLink {
        id: ids::id(6),
        name: name.ok_or_else(|| Fault::bad_request("Name cannot be empty"))?,
        description: input.text("description")?,
        target_arns,
        status: "AVAILABLE".to_owned(),
        status_message: "Your vpc link is ready for use".to_owned(),
        tags: input.tags()?,
    };
    let body = view(&link, false);
    catalog.vpc_links.insert(link.id.clone(), Arc::new(link));
    Ok(Reply { status: 202, ..Reply::ok(body) })
}

pub(crate) fn delete(catalog: &mut Catalog, call: &Call) -> Answer {
    find(catalog, call)?;
    catalog.vpc_links.remove(call.param("vpclink_id"));
    Ok(Reply::accepted())
}

pub(crate) fn update(catalog: &mut Catalog, call: &Call) -> Answer {
    let link =
        catalog.vpc_links.get_mut(call.param("vpclink_id")).ok_or_else(|| Fault::not_found(UNKNOWN))?;
    let link = Arc::make_mut(link);
    for patch in patches(call, "updateVpcLinkInput")? {
        patch.replaces_one_of(&["/name", "/description"])?;
        if patch.path == "/name" {
            let empty = || Fault::bad_request("Name cannot be empty");
            link.name = patch.optional().ok_or_else(empty)?;
        } else {
            link.description = patch.optional();
        }
    }
    Ok(Reply::ok(view(link, true)))
}
