//! What the binary hands to the admin listener.

use crate::bans::{BanReport, ClientReport};
use crate::v1::ControlPlane;
use crate::xdp::XdpReport;
use serde::{Deserialize, Serialize};
use sluice_functions::Host;
use sluice_telemetry::Hub;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Reads the configuration anew and publishes it.
pub trait Reload: Send + Sync {
    /// The new generation, or everything that is wrong, and then nothing has changed. May block.
    ///
    /// # Errors
    /// Diagnostics, one each.
    fn reload(&self) -> Result<u64, Vec<String>>;
}

/// What an operator does to clients and the packet filter, and asks about them. May block.
pub trait Actions: Send + Sync {
    /// What `GET /xdp/bans` tells.
    fn bans(&self) -> BanReport;
    /// What `GET /clients/ADDRESS` tells.
    fn client(&self, address: IpAddr) -> ClientReport;
    /// What `GET /upstreams` tells.
    fn upstreams(&self) -> Vec<UpstreamInfo>;
    /// Detaches the packet filter until the next reload; gives the interfaces that it was on.
    fn detach(&self) -> Vec<String>;
    /// A request came from here: whoever operates the gateway must not lock themselves out.
    fn operator_seen(&self, address: IpAddr);
}

/// Answers with the state of now. Called on a thread where it may block.
pub type Provider<T> = Arc<dyn Fn() -> T + Send + Sync>;

/// Everything the admin listener tells and does.
#[derive(Clone)]
pub struct Admin {
    /// Where the metrics come from.
    pub hub: Arc<Hub>,
    /// What `POST /reload` does.
    pub reload: Arc<dyn Reload>,
    /// What `POST /upgrade` does: gives the id of the process that serves from now on, or says why there is none. May block.
    pub upgrade: Provider<Result<u32, String>>,
    /// What `GET /health` tells.
    pub health: Provider<Health>,
    /// What `GET /routes` tells.
    pub routes: Provider<Vec<RouteInfo>>,
    /// What `GET /plan` tells: what has been edited and does not serve.
    pub plan: Provider<Vec<PlanInfo>>,
    /// What `GET /xdp` tells.
    pub xdp: Provider<XdpReport>,
    /// Bans, clients, and detaching.
    pub actions: Arc<dyn Actions>,
    /// The AWS-compatible control plane.
    pub control: Option<ControlPlane>,
    /// The functions that the gateway hosts, if it hosts any.
    pub functions: Provider<Option<Arc<Host>>>,
    /// Names, without port, that the listener may be called by besides `localhost` and any address.
    pub host_names: Vec<String>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Admin").field("host_names", &self.host_names).finish_non_exhaustive()
    }
}

/// Whether the gateway serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`, or `draining` (then the status is 503, so that a balancer looks elsewhere).
    pub status: String,
    /// Generation of the configuration that is served.
    pub generation: u64,
}

/// One route as configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteInfo {
    /// Its name in the configuration.
    pub name: String,
    /// Its host, if it has one.
    pub host: Option<String>,
    /// Its path with `{parameters}`.
    pub path: String,
    /// Its methods; empty for any.
    pub methods: Vec<String>,
    /// Where it comes from: `FILE:LINE` of the configuration, or `rest API ID/STAGE`.
    pub source: String,
    /// What it does: `upstream NAME`, `mock STATUS`, or `refused`.
    pub action: String,
    /// Names of its limits.
    pub limits: Vec<String>,
}

/// A server of an upstream group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamInfo {
    /// Name of the group.
    pub upstream: String,
    /// The server as configured: a name may stand for several addresses.
    pub server: String,
    /// Its address.
    pub address: String,
    /// `up` or `down`, as its checks find it, or `unchecked`.
    pub state: String,
    /// It gets no new requests.
    pub draining: bool,
    /// Checks that found it well.
    pub checks_passed: u64,
    /// Checks that did not.
    pub checks_failed: u64,
    /// What was wrong with it at the last check.
    pub fault: Option<String>,
}

/// How a stage of a REST API differs from the API as it is edited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanInfo {
    /// Id of the API.
    pub api: String,
    /// Name of the API.
    pub name: String,
    /// The stage; none: the API has no stage.
    pub stage: Option<String>,
    /// One each: `+ GET /pets`, `- GET /pets`, `~ GET /pets`, `~ models`.
    pub changes: Vec<String>,
}
