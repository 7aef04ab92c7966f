//! REST APIs: whom a request addresses, and what their stages serve.
//!
//! A request reaches a stage in one of three ways (developer guide, "Invoke REST APIs in API Gateway"; the forms by path are
//! those that local tools use):
//! ```text
//! Host  {apiId}.execute-api.{region}.{suffix}   path /{stage}/…
//! Host  a custom domain name                    path /{base path}/…  or  /{base path}/{stage}/…
//! any   path /restapis/{apiId}/{stage}/_user_request_/…  or  /_aws/execute-api/{apiId}/{stage}/…
//! ```
//! Each look-up is by hash, so its cost does not grow with the number of APIs; what follows is the router of one deployment.
//! A compiled stage is behind an [`Arc`]: a change of one API leaves those of all others as they are.

use crate::router::Router;
use crate::{ApiKey, Limit, Route, RouteId, Upstream};
use sluice_iam::Policy;
use sluice_mapping::{BinaryMediaTypes, GatewayResponses};
use std::collections::HashMap;
use std::sync::Arc;

/// A route of a snapshot: the configuration's, or that of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteAt {
    /// Index into [`RestApis::stages`], or [`RouteAt::CONFIGURED`].
    pub stage: u32,
    /// The canary's deployment.
    pub canary: bool,
    /// The route there.
    pub id: RouteId,
}

impl RouteAt {
    /// In place of a stage: the route is in the configuration.
    pub const CONFIGURED: u32 = u32::MAX;

    /// A route of the configuration.
    #[must_use]
    pub const fn configured(id: RouteId) -> Self {
        Self { stage: Self::CONFIGURED, canary: false, id }
    }
}

/// All REST APIs of a snapshot.
#[derive(Debug, Default)]
pub struct RestApis {
    /// By API id. The names are the control plane's, not a caller's, so nobody can plant collisions.
    apis: HashMap<Box<[u8]>, Box<[StageRef]>>,
    /// By name in lower case; `*.example.com` under `.example.com`.
    domains: HashMap<Box<[u8]>, Box<[Mapping]>>,
    /// What is served.
    pub stages: Vec<Arc<Stage>>,
    /// Servers that integrations name by URI, indexed by [`BackendId`].
    pub backends: Vec<Arc<Backend>>,
    /// API keys; their [`KeyId`](crate::KeyId)s go on where those of the configuration end.
    pub keys: Arc<KeyTable>,
    /// The account's limit, which all stages share (a `Limit::Pool`).
    pub account: Option<Limit>,
    /// The account that all belongs to: 12 digits.
    pub account_id: Arc<str>,
    /// It has one method, which is being tried out: the caller is AWS's made-up one.
    pub is_trial: bool,
}

/// The control plane's API keys.
#[derive(Debug, Default)]
pub struct KeyTable {
    /// In any order.
    pub keys: Vec<Arc<ApiKey>>,
    /// Value to place. A `HashMap` with the default keyed hash: values are attacker-chosen.
    pub by_value: HashMap<Box<[u8]>, u32>,
}

/// Index into [`RestApis::backends`], stable for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BackendId(pub u32);

/// A server that an integration names by URI.
#[derive(Debug)]
pub struct Backend {
    /// Its addresses and how it is spoken to.
    pub upstream: Upstream,
    /// How TLS is done.
    pub tls: BackendTls,
}

/// TLS towards a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackendTls {
    /// `http`.
    Plain,
    /// `https`, verified by the system's authorities.
    Verified,
    /// `https`, of unknown issuers too (`insecureSkipVerification`).
    AnyIssuer,
}

/// A stage of an API by name.
#[derive(Debug)]
struct StageRef {
    name: Box<[u8]>,
    stage: u32,
}

/// A base path of a custom domain name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Without slashes at its ends; empty for `(none)`.
    pub base: Box<[u8]>,
    /// Id of the API.
    pub api: Box<[u8]>,
    /// `None`: the next segment of the path names it.
    pub stage: Option<Box<[u8]>>,
}

/// A stage as it is served.
#[derive(Debug)]
pub struct Stage {
    /// Id of its API.
    pub api: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Dense, and its own for the life of the process.
    pub id: u32,
    /// Whether it may be called at the API's own host name.
    pub has_own_host: bool,
    /// What it serves.
    pub deployed: Deployed,
    /// What it serves a part of its callers instead.
    pub canary: Option<Canary>,
}

/// A part of the calls of a stage.
#[derive(Debug)]
pub struct Canary {
    /// Of [`Canary::WHOLE`].
    pub share: u32,
    /// What these calls get.
    pub deployed: Deployed,
}

impl Canary {
    /// All calls: AWS has percentages with two places.
    pub const WHOLE: u32 = 10_000;
}

/// A deployment, compiled.
#[derive(Debug)]
pub struct Deployed {
    /// Id of the deployment.
    pub id: Box<str>,
    /// Path below the stage to route.
    pub router: Router,
    /// Indexed by [`RouteId`].
    pub routes: Vec<Route>,
    /// The stage's variables, with the canary's.
    pub variables: Box<[(Box<str>, Box<str>)]>,
    /// The resource policy.
    pub policy: Option<Policy>,
    /// API keys are in `x-api-key`; else the authorizer names them.
    pub keys_in_header: bool,
    /// Which bodies are binary.
    pub binary: BinaryMediaTypes,
    /// Answers of so many bytes are compressed for those who accept it; `None`: never.
    pub compress_from_bytes: Option<u64>,
    /// What the gateway itself answers; `None`: as it always does.
    pub responses: Option<GatewayResponses>,
}

/// Whom a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressed {
    /// No REST API.
    Nobody,
    /// A REST API, a stage or a base path that there is not (AWS: 403 `Forbidden`).
    Unknown,
    /// A stage.
    Stage {
        /// Index into [`RestApis::stages`].
        stage: u32,
        /// Where the resource's path begins in the request's.
        start: usize,
    },
}

/// Between the id of an API and the region in its host name.
const EXECUTE_API: &[u8] = b".execute-api.";

impl RestApis {
    /// Puts compiled stages and domain names together.
    #[must_use]
    pub fn new(
        stages: Vec<Arc<Stage>>,
        domains: impl IntoIterator<Item = (String, Vec<Mapping>)>,
        backends: Vec<Arc<Backend>>,
    ) -> Self {
        let mut by_api: HashMap<Box<[u8]>, Vec<StageRef>> = HashMap::with_capacity(stages.len());
        for (at, stage) in stages.iter().enumerate() {
            let name = stage.name.as_bytes().into();
            let stage_ref = StageRef { name, stage: u32::try_from(at).unwrap_or(u32::MAX) };
            by_api.entry(stage.api.as_bytes().into()).or_default().push(stage_ref);
        }
        let domains = domains.into_iter().map(|(name, mut mappings)| {
            // The longest base path first.
            mappings.sort_by_key(|mapping| std::cmp::Reverse(mapping.base.len()));
            let name = name.to_ascii_lowercase();
            let key = name.strip_prefix('*').unwrap_or(&name);
            (key.as_bytes().into(), mappings.into())
        });
        Self {
            apis: by_api.into_iter().map(|(api, stages)| (api, stages.into())).collect(),
            domains: domains.collect(),
            stages,
            backends,
            keys: Arc::default(),
            account: None,
            account_id: Arc::default(),
            is_trial: false,
        }
    }

    /// Whether there is none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.apis.is_empty() && self.domains.is_empty()
    }

    /// Finds the stage that a request is for. `host` is the authority (a port is ignored), `path` is raw.
    #[must_use]
    pub fn address(&self, host: &[u8], path: &[u8]) -> Addressed {
        let host = crate::router::host_of(host);
        if let Some(api) = own_host(host) {
            return self.of_own_host(api, path);
        }
        if !self.domains.is_empty()
            && let Some(mappings) = self.domain(host)
        {
            return self.of_domain(mappings, path);
        }
        self.by_path(path)
    }

    fn of_own_host(&self, api: &[u8], path: &[u8]) -> Addressed {
        let mut lower = [0; NAME_MAX_BYTES];
        let Some(api) = lowered(api, &mut lower) else { return Addressed::Unknown };
        match self.stage_in_path(api, path, 1) {
            Addressed::Stage { stage, .. } if !self.has_own_host(stage) => Addressed::Unknown,
            addressed => addressed,
        }
    }

    fn has_own_host(&self, stage: u32) -> bool {
        self.stages.get(stage as usize).is_some_and(|stage| stage.has_own_host)
    }

    /// Whether a request that is for a stage got there by a custom domain name: then its path has no stage that is not the
    /// client's business.
    #[must_use]
    pub fn is_by_domain(&self, host: &[u8]) -> bool {
        let host = crate::router::host_of(host);
        !self.domains.is_empty() && own_host(host).is_none() && self.domain(host).is_some()
    }

    /// The mappings of a custom domain name, or of the wildcard that it is under.
    fn domain(&self, host: &[u8]) -> Option<&[Mapping]> {
        let mut lower = [0; NAME_MAX_BYTES];
        let host = lowered(host, &mut lower)?;
        let exact = self.domains.get(host);
        let wildcard = || {
            let dot = host.iter().position(|byte| *byte == b'.').filter(|at| *at > 0)?;
            self.domains.get(host.get(dot..)?)
        };
        exact.or_else(wildcard).map(|mappings| &**mappings)
    }

    fn of_domain(&self, mappings: &[Mapping], path: &[u8]) -> Addressed {
        let below = path.get(1..).unwrap_or_default();
        let fits = |base: &[u8]| {
            base.is_empty()
                || below.strip_prefix(base).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
        };
        let Some(mapping) = mappings.iter().find(|mapping| fits(&mapping.base)) else {
            return Addressed::Unknown;
        };
        let end = if mapping.base.is_empty() { 0 } else { 1 + mapping.base.len() };
        match &mapping.stage {
            Some(stage) => self.stage(&mapping.api, stage, end),
            None => self.stage_in_path(&mapping.api, path, end + 1),
        }
    }

    fn by_path(&self, path: &[u8]) -> Addressed {
        if let Some(rest) = path.strip_prefix(b"/restapis/") {
            let (api, rest) = segment(rest);
            let (stage, rest) = segment(rest.unwrap_or_default());
            let (marker, rest) = segment(rest.unwrap_or_default());
            if marker != b"_user_request_" {
                return Addressed::Nobody;
            }
            let start = path.len() - rest.map_or(0, |rest| rest.len() + 1);
            return self.stage(api, stage, start);
        }
        if let Some(rest) = path.strip_prefix(b"/_aws/execute-api/") {
            let (api, rest) = segment(rest);
            let (stage, rest) = segment(rest.unwrap_or_default());
            return self.stage(api, stage, path.len() - rest.map_or(0, |rest| rest.len() + 1));
        }
        Addressed::Nobody
    }

    /// The stage that the segment at `at` names.
    fn stage_in_path(&self, api: &[u8], path: &[u8], at: usize) -> Addressed {
        let (stage, rest) = segment(path.get(at..).unwrap_or_default());
        self.stage(api, stage, path.len() - rest.map_or(0, |rest| rest.len() + 1))
    }

    fn stage(&self, api: &[u8], name: &[u8], start: usize) -> Addressed {
        let stages = self.apis.get(api).map(|stages| &**stages).unwrap_or_default();
        match stages.iter().find(|stage| *stage.name == *name) {
            Some(found) => Addressed::Stage { stage: found.stage, start },
            None => Addressed::Unknown,
        }
    }

    /// A route of a stage.
    #[inline]
    #[must_use]
    pub fn route(&self, at: RouteAt) -> Option<&Route> {
        self.deployed(at)?.routes.get(at.id.0 as usize)
    }

    /// The deployment that a route is of.
    #[inline]
    #[must_use]
    pub fn deployed(&self, at: RouteAt) -> Option<&Deployed> {
        let stage = self.stages.get(at.stage as usize)?;
        if at.canary { stage.canary.as_ref().map(|canary| &canary.deployed) } else { Some(&stage.deployed) }
    }
}

/// The API whose own host name this is.
fn own_host(host: &[u8]) -> Option<&[u8]> {
    let dot = host.iter().position(|byte| *byte == b'.')?;
    let label = host.get(dot..dot + EXECUTE_API.len())?;
    host.get(..dot).filter(|_| label.eq_ignore_ascii_case(EXECUTE_API))
}

/// Host names are no longer (RFC 1035 2.3.4).
const NAME_MAX_BYTES: usize = 255;

/// A name in lower case, without an allocation; `None` if it is too long for any.
fn lowered<'b>(name: &[u8], buffer: &'b mut [u8; NAME_MAX_BYTES]) -> Option<&'b [u8]> {
    let lower = buffer.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    Some(lower)
}

/// The text up to the next slash, and what follows the slash if there is one.
fn segment(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == b'/') {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..)),
        None => (text, None),
    }
}

/// The part of `path` from `start` on that resources are found by. AWS takes any number of slashes before the first
/// segment for one, and does not mind one at the end.
#[must_use]
pub fn resource_path(path: &[u8], start: usize) -> std::ops::Range<usize> {
    let below = path.get(start..).unwrap_or_default();
    let extra = below.iter().take_while(|byte| **byte == b'/').count().saturating_sub(1);
    let (from, mut to) = (start + extra, path.len());
    if to > from + 1 && path.ends_with(b"/") {
        to -= 1;
    }
    from..to
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RouterBuilder;

    fn stage(api: &str, name: &str, has_own_host: bool) -> Arc<Stage> {
        let deployed = Deployed {
            id: "d".into(),
            router: RouterBuilder::new().build(),
            routes: Vec::new(),
            variables: Box::default(),
            policy: None,
            keys_in_header: true,
            binary: BinaryMediaTypes::default(),
            compress_from_bytes: None,
            responses: None,
        };
        Arc::new(Stage { api: api.into(), name: name.into(), id: 0, has_own_host, deployed, canary: None })
    }

    fn mapping(base: &str, api: &str, stage: Option<&str>) -> Mapping {
        Mapping {
            base: base.as_bytes().into(),
            api: api.as_bytes().into(),
            stage: stage.map(|stage| stage.as_bytes().into()),
        }
    }

    fn apis() -> RestApis {
        let domains = [
            (
                "API.example.com".to_owned(),
                vec![
                    mapping("", "abc", Some("prod")),
                    mapping("v1", "abc", None),
                    mapping("v1/x", "xyz", Some("s")),
                ],
            ),
            ("*.wild.example.com".to_owned(), vec![mapping("only", "abc", Some("prod"))]),
        ];
        RestApis::new(
            vec![stage("abc", "prod", true), stage("abc", "dev", true), stage("xyz", "s", false)],
            domains,
            Vec::new(),
        )
    }

    /// The stage, and what is left of the path.
    #[track_caller]
    fn assert_stage(host: &str, path: &str, stage: u32, rest: &str) {
        match apis().address(host.as_bytes(), path.as_bytes()) {
            Addressed::Stage { stage: found, start } => assert_eq!((found, &path[start..]), (stage, rest)),
            other => panic!("{host} {path}: {other:?}"),
        }
    }

    #[test]
    fn by_own_host() {
        assert_stage("abc.execute-api.eu-west-1.localhost:4566", "/prod/a/b", 0, "/a/b");
        assert_stage("ABC.Execute-API.eu-west-1.amazonaws.com", "/dev", 1, "");
        assert_stage("abc.execute-api.localhost", "/dev/", 1, "/");
        for (host, path) in [
            ("abc.execute-api.x", "/nope/a"),
            ("nope.execute-api.x", "/prod/a"),
            ("abc.execute-api.x", "/"),
            ("abc.execute-api.x", ""),
            // Its own host is disabled.
            ("xyz.execute-api.x", "/s/a"),
        ] {
            assert_eq!(apis().address(host.as_bytes(), path.as_bytes()), Addressed::Unknown, "{host} {path}");
        }
    }

    #[test]
    fn by_path_on_any_host() {
        for host in ["localhost", "127.0.0.1:80", ""] {
            assert_stage(host, "/restapis/abc/prod/_user_request_/a/b", 0, "/a/b");
            assert_stage(host, "/restapis/abc/prod/_user_request_", 0, "");
            assert_stage(host, "/restapis/abc/prod/_user_request_/", 0, "/");
            assert_stage(host, "/_aws/execute-api/abc/dev/a", 1, "/a");
            assert_stage(host, "/_aws/execute-api/xyz/s", 2, "");
        }
        assert_eq!(apis().address(b"h", b"/restapis/abc/prod/other/a"), Addressed::Nobody);
        assert_eq!(apis().address(b"h", b"/restapis/abc/nope/_user_request_/a"), Addressed::Unknown);
        assert_eq!(apis().address(b"h", b"/_aws/execute-api/nope/prod/a"), Addressed::Unknown);
        assert_eq!(apis().address(b"h", b"/a"), Addressed::Nobody);
    }

    #[test]
    fn by_domain_name_the_longest_base_path_first() {
        assert_stage("api.example.com", "/a", 0, "/a");
        assert_stage("api.example.com", "/", 0, "/");
        assert_stage("api.example.com:8443", "/v1/dev/a", 1, "/a");
        assert_stage("Api.Example.com", "/v1/x/a", 2, "/a");
        assert_stage("api.example.com", "/v1x/a", 0, "/v1x/a");
        assert_stage("b.wild.example.com", "/only", 0, "");
        assert_eq!(apis().address(b"api.example.com", b"/v1/nope/a"), Addressed::Unknown);
        assert_eq!(apis().address(b"b.wild.example.com", b"/other"), Addressed::Unknown);
        assert_eq!(apis().address(b"a.b.wild.example.com", b"/only"), Addressed::Nobody);
        assert_eq!(apis().address(b"example.com", b"/"), Addressed::Nobody);
    }

    #[test]
    fn slashes_at_the_ends_do_not_matter() {
        for (path, start, expected) in [
            ("/s/a/b", 2, "/a/b"),
            ("/s//a", 2, "/a"),
            ("/s///a/", 2, "/a"),
            ("/s/a//b", 2, "/a//b"),
            ("/s", 2, ""),
            ("/s/", 2, "/"),
            ("/s//", 2, "/"),
        ] {
            assert_eq!(&path[resource_path(path.as_bytes(), start)], expected, "{path}");
        }
    }
}
