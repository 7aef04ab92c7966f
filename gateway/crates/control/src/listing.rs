//! Routes and undeployed changes as the command line shows them.

use crate::admin::{PlanInfo, RouteInfo, UpstreamInfo};
use crate::xdp::printable;
use std::fmt::Write as _;

/// Routes as a table, each with where it comes from.
#[must_use]
pub fn route_table(routes: &[RouteInfo]) -> String {
    table(["METHODS", "HOST", "PATH", "ACTION", "SOURCE"], routes.iter().map(row))
}

/// Servers of upstream groups as a table.
#[must_use]
pub fn upstream_table(servers: &[UpstreamInfo]) -> String {
    let row = |server: &UpstreamInfo| {
        let state = if server.draining { format!("{}, drains", server.state) } else { server.state.clone() };
        let fault = server.fault.as_deref().unwrap_or_default();
        let checks = format!("{}/{}", server.checks_passed, server.checks_passed + server.checks_failed);
        [&server.upstream, &server.server, &server.address, &state, &checks, fault].map(printable)
    };
    table(["UPSTREAM", "SERVER", "ADDRESS", "STATE", "CHECKS", "FAULT"], servers.iter().map(row))
}

fn table<const COLUMNS: usize>(
    header: [&str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
) -> String {
    let rows: Vec<_> = std::iter::once(header.map(str::to_owned)).chain(rows).collect();
    let mut widths = [0; COLUMNS];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut table = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

fn row(route: &RouteInfo) -> [String; 5] {
    let methods = if route.methods.is_empty() { "ANY".to_owned() } else { route.methods.join(",") };
    let host = route.host.as_deref().unwrap_or("*");
    [&methods, host, &route.path, &route.action, &route.source].map(printable)
}

/// What is undeployed, as text.
#[must_use]
pub fn plan_text(plan: &[PlanInfo]) -> String {
    if plan.is_empty() {
        return "Every stage serves what its API says.\n".to_owned();
    }
    let mut text = String::new();
    for PlanInfo { api, name, stage, changes } in plan {
        let place = match stage {
            Some(stage) => format!("{api}/{stage} ({name}) would change:"),
            None => format!("{api} ({name}) has no stage; a first deployment would serve:"),
        };
        let _ = writeln!(text, "{}", printable(&place));
        for change in changes {
            let _ = writeln!(text, "  {}", printable(change));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_stand_in_columns() {
        let server = |address: &str, state: &str, fault: Option<&str>| UpstreamInfo {
            upstream: "u".to_owned(),
            server: "s:80".to_owned(),
            address: address.to_owned(),
            state: state.to_owned(),
            draining: fault.is_none(),
            checks_passed: 1,
            checks_failed: 2,
            fault: fault.map(str::to_owned),
        };
        let table = upstream_table(&[
            server("10.0.0.1:80", "down", Some("status 503")),
            server("10.0.0.2:80", "up", None),
        ]);
        let expected = "UPSTREAM  SERVER  ADDRESS      STATE       CHECKS  FAULT\n\
                        u         s:80    10.0.0.1:80  down        1/3     status 503\n\
                        u         s:80    10.0.0.2:80  up, drains  1/3\n";
        assert_eq!(table, expected);
    }

    #[test]
    fn routes_stand_in_columns() {
        let route = |methods: &[&str], path: &str, source: &str| RouteInfo {
            name: String::new(),
            host: None,
            path: path.to_owned(),
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
            source: source.to_owned(),
            action: "mock 200".to_owned(),
            limits: Vec::new(),
        };
        let table =
            route_table(&[route(&["GET", "PUT"], "/a", "f:1"), route(&[], "/prod/b", "rest API x/prod")]);
        let expected = "METHODS  HOST  PATH     ACTION    SOURCE\n\
                        GET,PUT  *     /a       mock 200  f:1\n\
                        ANY      *     /prod/b  mock 200  rest API x/prod\n";
        assert_eq!(table, expected);
    }
}
