//! API keys and usage plans.

use crate::Strings;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An API key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApiKey {
    /// Ten lower-case letters and digits.
    pub id: String,
    /// 20 to 128 characters; what callers send.
    pub value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub enabled: bool,
    /// Seconds since 1970.
    pub created_date: u64,
    /// Seconds since 1970.
    pub last_updated_date: u64,
    /// `{api id}/{stage}`.
    pub stage_keys: Vec<String>,
    #[serde(skip_serializing_if = "Strings::is_empty")]
    pub tags: Strings,
}

/// What holders of some keys may do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UsagePlan {
    /// Six lower-case letters and digits.
    pub id: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub api_stages: Vec<ApiStage>,
    /// For each key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Throttle>,
    /// For each key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product_code: Option<String>,
    #[serde(skip_serializing_if = "Strings::is_empty")]
    pub tags: Strings,
    /// Not on the wire of a plan: by id of the API key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<String, UsagePlanKey>,
}

/// A stage that a plan opens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApiStage {
    pub api_id: String,
    pub stage: String,
    /// By `{resource path}/{method}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub throttle: BTreeMap<String, Throttle>,
}

/// A token bucket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Throttle {
    /// Requests.
    pub burst_limit: u32,
    /// Requests per second.
    pub rate_limit: f64,
}

/// Requests in a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    pub limit: u32,
    /// Requests taken off the first period's limit.
    #[serde(default)]
    pub offset: u32,
    pub period: Period,
}

/// Of a quota, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Period {
    Day,
    /// From Sunday.
    Week,
    Month,
}

/// A key's membership in a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UsagePlanKey {
    /// Of the API key.
    pub id: String,
    /// `API_KEY`.
    #[serde(rename = "type")]
    pub key_type: String,
}

/// What one key used of one plan's quota. Not a part of the catalog: it changes without anybody's doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Id of the plan.
    pub plan: String,
    /// Id of the key.
    pub key: String,
    /// How long the quota's periods are.
    pub period: Period,
    /// Number of the period that was counted last; later ones have greater numbers.
    pub number: u32,
    /// Requests in it.
    pub used: u64,
    /// What was granted beyond the limit in it.
    #[serde(default)]
    pub bonus: u64,
    /// By days since 1970: requests, and what was left of the quota at the end.
    #[serde(default)]
    pub days: BTreeMap<u32, (u64, u64)>,
}
