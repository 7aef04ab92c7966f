//! Deployments and stages.

use crate::{Definition, Strings, is_false};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A definition as it was when it was deployed. Never changed, but for its description.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Deployment {
    /// Six lower-case letters and digits.
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Seconds since 1970.
    pub created_date: u64,
    /// Not on the wire: what it froze.
    pub definition: Arc<Definition>,
}

/// A deployment being served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stage {
    pub stage_name: String,
    pub deployment_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub cache_cluster_enabled: bool,
    /// Gigabytes, as text: `0.5`, `1.6`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_cluster_size: Option<String>,
    /// `NOT_AVAILABLE`, `AVAILABLE`, …
    pub cache_cluster_status: String,
    /// By `*/*` or `{resource path with ~1}/{method}`.
    pub method_settings: BTreeMap<String, MethodSetting>,
    #[serde(skip_serializing_if = "Strings::is_empty")]
    pub variables: Strings,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documentation_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_log_settings: Option<AccessLogSettings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_settings: Option<CanarySettings>,
    pub tracing_enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_acl_arn: Option<String>,
    #[serde(skip_serializing_if = "Strings::is_empty")]
    pub tags: Strings,
    /// Seconds since 1970.
    pub created_date: u64,
    /// Seconds since 1970.
    pub last_updated_date: u64,
    /// Not on the wire: counts flushes of the cache; what is stored under another number is not found.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_generation: u64,
    /// Not on the wire: counts flushes of what authorizers have said.
    #[serde(skip_serializing_if = "is_zero")]
    pub authorizers_generation: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Where and how calls are logged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessLogSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_arn: Option<String>,
}

/// A second deployment that gets a part of the stage's calls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CanarySettings {
    /// 0 to 100.
    pub percent_traffic: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<String>,
    #[serde(skip_serializing_if = "Strings::is_empty")]
    pub stage_variable_overrides: Strings,
    #[serde(skip_serializing_if = "is_false")]
    pub use_stage_cache: bool,
}

/// What an unauthorized `Cache-Control: max-age=0` gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UnauthorizedCacheControl {
    /// 403.
    #[serde(rename = "FAIL_WITH_403")]
    FailWith403,
    /// The cached answer, with a `Warning` header.
    #[default]
    SucceedWithResponseHeader,
    /// The cached answer.
    SucceedWithoutResponseHeader,
}

/// Settings of one method, or of all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MethodSetting {
    pub metrics_enabled: bool,
    /// `OFF`, `ERROR` or `INFO`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logging_level: Option<String>,
    pub data_trace_enabled: bool,
    /// Requests; -1: no limit of its own.
    pub throttling_burst_limit: i32,
    /// Requests per second; -1: no limit of its own.
    pub throttling_rate_limit: f64,
    pub caching_enabled: bool,
    /// 0 to 3600 s.
    pub cache_ttl_in_seconds: u32,
    pub cache_data_encrypted: bool,
    pub require_authorization_for_cache_control: bool,
    pub unauthorized_cache_control_header_strategy: UnauthorizedCacheControl,
}

impl Default for MethodSetting {
    fn default() -> Self {
        Self {
            metrics_enabled: false,
            logging_level: None,
            data_trace_enabled: false,
            throttling_burst_limit: -1,
            throttling_rate_limit: -1.0,
            caching_enabled: false,
            cache_ttl_in_seconds: 300,
            cache_data_encrypted: false,
            require_authorization_for_cache_control: true,
            unauthorized_cache_control_header_strategy: UnauthorizedCacheControl::default(),
        }
    }
}
