//! What is served and what is not yet, for `sluice routes` and `sluice plan`.

use crate::Failure;
use crate::operate::read;
use crate::publish::Publisher;
use sluice_config::Settings;
use sluice_control::client::admin_get;
use sluice_control::{PlanInfo, RouteInfo, UpstreamInfo, plan_text, route_table, upstream_table};
use sluice_snapshot::{Action, Backing, Destination, Route, Snapshot, Stage};

impl Publisher {
    /// All routes: the configuration's as written, then those of each stage.
    pub(crate) fn routes(&self) -> Vec<RouteInfo> {
        let (settings, snapshot) = (self.settings(), self.current());
        let mut routes: Vec<_> = settings.routes.iter().map(|route| configured(&settings, route)).collect();
        for stage in &snapshot.rest.stages {
            routes.extend(stage.deployed.routes.iter().map(|route| deployed(&snapshot, stage, route)));
        }
        routes
    }

    /// What has been edited and does not serve.
    pub(crate) fn plan(&self) -> Vec<PlanInfo> {
        let info = |undeployed: sluice_compile::Undeployed| PlanInfo {
            api: undeployed.api,
            name: undeployed.api_name,
            stage: undeployed.stage,
            changes: undeployed.changes,
        };
        sluice_compile::undeployed(&self.catalog()).into_iter().map(info).collect()
    }
}

fn configured(settings: &Settings, route: &sluice_config::Route) -> RouteInfo {
    RouteInfo {
        name: route.name.value.to_string(),
        host: route.host.as_ref().map(|h| h.value.clone()),
        path: route.path.value.clone(),
        methods: route.methods.iter().map(|m| m.value.clone()).collect(),
        source: format!("{}:{}", settings.file, route.name.at.line),
        action: match (&route.upstream, &route.mock) {
            (Some(upstream), _) => format!("upstream {}", upstream.value),
            (None, Some(mock)) => format!("mock {}", mock.value.status),
            (None, None) => {
                route.function.as_ref().map(|name| format!("function {}", name.value)).unwrap_or_default()
            }
        },
        limits: route.limits.iter().map(|l| l.value.clone()).collect(),
    }
}

fn deployed(snapshot: &Snapshot, stage: &Stage, route: &Route) -> RouteInfo {
    let path = if &*route.pattern == "/" { "" } else { &*route.pattern };
    RouteInfo {
        name: route.name.to_string(),
        host: stage.has_own_host.then(|| format!("{}.execute-api.*", stage.api)),
        path: format!("/{}{path}", stage.name),
        methods: route.method.iter().map(ToString::to_string).collect(),
        source: route.source.to_string(),
        action: match &route.action {
            Action::Mock(mock) => format!("mock {}", mock.status),
            Action::Proxy(plan) => format!("upstream {}", server(snapshot, plan.to)),
            Action::Mapped(plan) => match &plan.backing {
                Backing::Mock(Some(usual)) => format!("mock {}", usual.status),
                Backing::Mock(None) => "mock".to_owned(),
                Backing::Http(integration) => format!("upstream {}", server(snapshot, integration.to)),
                Backing::Service(integration) => format!("service {}", server(snapshot, integration.http.to)),
                Backing::Function(integration) => format!("function {}", integration.function.name()),
            },
            Action::Function(plan) => format!("function {}", plan.function.name()),
            Action::Fault(_) => "refused".to_owned(),
        },
        limits: Vec::new(),
    }
}

fn server(snapshot: &Snapshot, to: Destination) -> &str {
    let upstream = match to {
        Destination::Group(id) => snapshot.upstreams.get(id.0 as usize),
        Destination::Backend(id) => {
            snapshot.rest.backends.get(id.0 as usize).map(|backend| &backend.upstream)
        }
    };
    upstream.map_or("?", |upstream| &*upstream.name)
}

/// `sluice routes`.
pub(crate) fn show_routes(admin: &str, json: bool) -> Result<(), Failure> {
    let (body, routes) = read::<Vec<RouteInfo>>(admin, admin_get(admin, "/routes"))?;
    if json {
        println!("{body}");
    } else {
        print!("{}", route_table(&routes));
    }
    Ok(())
}

/// `sluice upstreams`.
pub(crate) fn show_upstreams(admin: &str, json: bool) -> Result<(), Failure> {
    let (body, servers) = read::<Vec<UpstreamInfo>>(admin, admin_get(admin, "/upstreams"))?;
    if json {
        println!("{body}");
    } else {
        print!("{}", upstream_table(&servers));
    }
    Ok(())
}

/// `sluice plan`.
pub(crate) fn show_plan(admin: &str, json: bool) -> Result<(), Failure> {
    let (body, plan) = read::<Vec<PlanInfo>>(admin, admin_get(admin, "/plan"))?;
    if json {
        println!("{body}");
    } else {
        print!("{}", plan_text(&plan));
    }
    Ok(())
}
