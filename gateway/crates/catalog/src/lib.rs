//! The nouns of API Gateway as values: what the control plane edits, the store keeps, and `compile` reads.
//!
//! Field names on the wire are AWS's (`restapis` version 2015-07-09): each type is serialised as the control plane answers
//! it, and the store keeps the same form, so an exported file reads like AWS's own answers. What is kept beside the wire's
//! fields says so.
//!
//! A [`Catalog`] is cheap to copy: everything in it that is large is behind an [`std::sync::Arc`], so an edit copies the one
//! API that it touches, and who reads an older catalog keeps it.

// Fields are AWS's; those that need no unit and have no surprise are not explained again.
#![allow(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod domain;
mod rest;
mod stage;
mod usage;

pub use domain::{Account, BasePathMapping, ClientCertificate, DomainName, MutualTls, VpcLink};
pub use rest::{
    ApiKeySource, Authorizer, AuthorizerType, ContentHandling, Definition, EndpointConfiguration,
    EndpointType, GatewayResponse, Integration, IntegrationResponse, IntegrationType, Method, MethodResponse,
    Model, RequestValidator, Resource, RestApi, TlsConfig,
};
pub use stage::{
    AccessLogSettings, CanarySettings, Deployment, MethodSetting, Stage, UnauthorizedCacheControl,
};
pub use usage::{ApiKey, ApiStage, Period, Quota, Throttle, Usage, UsagePlan, UsagePlanKey};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// String to string, in the order of the keys.
pub type Strings = BTreeMap<String, String>;

/// Everything the control plane knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Catalog {
    /// By id.
    pub rest_apis: BTreeMap<String, Arc<RestApi>>,
    /// By id.
    pub api_keys: BTreeMap<String, Arc<ApiKey>>,
    /// By id.
    pub usage_plans: BTreeMap<String, Arc<UsagePlan>>,
    /// By name, lower case.
    pub domain_names: BTreeMap<String, Arc<DomainName>>,
    /// By id.
    pub vpc_links: BTreeMap<String, Arc<VpcLink>>,
    /// By id.
    pub client_certificates: BTreeMap<String, Arc<ClientCertificate>>,
    /// The one account.
    pub account: Account,
}

/// For `#[serde(skip_serializing_if)]`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
pub(crate) fn is_false(value: &bool) -> bool {
    !*value
}
