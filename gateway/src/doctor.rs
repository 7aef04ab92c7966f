//! `sluice doctor …`: what is wrong with something that serves, told to a person.

use crate::Failure;
use crate::args::DoctorCommand;
use crate::credentials;
use crate::operate::read;
use sluice_catalog::{Catalog, RestApi};
use sluice_compile::{CorsRoute, cors};
use sluice_control::client::admin_get_as;
use std::sync::Arc;

/// `sluice doctor …`.
pub(crate) fn dispatch(command: DoctorCommand) -> Result<(), Failure> {
    match command {
        DoctorCommand::Cors { api, stage, origin, admin } => of_cors(&admin, &api, &stage, &origin),
    }
}

/// Fails if a browser would keep anything from the page.
fn of_cors(admin: &str, api: &str, stage: &str, origin: &str) -> Result<(), Failure> {
    let (_, catalog): (_, Catalog) =
        read(admin, admin_get_as(admin, "/catalog", credentials::of_operator().as_ref()))?;
    let api = find(&catalog, api)?;
    let served = api.stages.get(stage).and_then(|stage| api.deployments.get(&stage.deployment_id));
    let served = served.ok_or_else(|| {
        let known: Vec<_> = api.stages.keys().map(String::as_str).collect();
        Failure::Runtime(format!("REST API {} has no stage {stage}; it has: {}", api.id, known.join(", ")))
    })?;
    let routes = cors(&served.definition, origin);
    println!("REST API {} ({}), stage {stage}, from a page of {origin}:\n", api.id, api.name);
    print!("{}", table(&routes));
    let problems: Vec<String> = routes.iter().flat_map(CorsRoute::problems).collect();
    if problems.is_empty() {
        println!("\nNothing is kept from the page.");
        return Ok(());
    }
    println!();
    problems.iter().for_each(|problem| println!("{problem}"));
    Err(Failure::Runtime(format!("a browser would block {} things", problems.len())))
}

/// By id, or by a name that only one API has.
fn find<'c>(catalog: &'c Catalog, wanted: &str) -> Result<&'c Arc<RestApi>, Failure> {
    if let Some(api) = catalog.rest_apis.get(wanted) {
        return Ok(api);
    }
    let mut named = catalog.rest_apis.values().filter(|api| api.name == wanted);
    match (named.next(), named.next()) {
        (Some(api), None) => Ok(api),
        (Some(_), Some(_)) => {
            Err(Failure::Runtime(format!("several REST APIs are named {wanted}: name its id")))
        }
        (None, _) => Err(Failure::Runtime(format!("there is no REST API {wanted}"))),
    }
}

fn table(routes: &[CorsRoute]) -> String {
    let name = |route: &CorsRoute| format!("{} {}", route.method, route.path);
    let width = routes.iter().map(|route| name(route).len()).max().unwrap_or_default().max(5);
    let mut out =
        format!("{:width$}  {:15}  {:15}  {:8}  {}\n", "ROUTE", "PREFLIGHT", "ANSWERS", "4XX", "5XX");
    for route in routes {
        let CorsRoute { preflight, answers, refusals_4xx, refusals_5xx, .. } = route;
        let row = format!(
            "{:width$}  {preflight:15}  {answers:15}  {refusals_4xx:8}  {refusals_5xx}\n",
            name(route)
        );
        out.push_str(&row);
    }
    out
}
