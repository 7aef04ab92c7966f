//! Domain names, and what else belongs to an account.

use crate::{EndpointConfiguration, Strings, Throttle};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A custom domain name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DomainName {
    /// May be a wildcard: `*.example.com`.
    pub domain_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_upload_date: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regional_domain_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regional_hosted_zone_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regional_certificate_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regional_certificate_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distribution_domain_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distribution_hosted_zone_id: Option<String>,
    pub endpoint_configuration: EndpointConfiguration,
    /// `AVAILABLE`.
    pub domain_name_status: String,
    /// `TLS_1_0` or `TLS_1_2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mutual_tls_authentication: Option<MutualTls>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ownership_verification_certificate_arn: Option<String>,
    #[serde(skip_serializing_if = "Strings::is_empty")]
    pub tags: Strings,
    /// Not on the wire of a domain name: by base path, `(none)` for the empty one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub base_path_mappings: BTreeMap<String, BasePathMapping>,
}

/// Client certificates asked for at a domain name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MutualTls {
    pub truststore_uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truststore_version: Option<String>,
}

/// What a base path of a domain name leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BasePathMapping {
    /// `(none)`: the empty one.
    pub base_path: String,
    pub rest_api_id: String,
    /// Absent: the next segment of the path names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
}

/// A way to backends that are not on the Internet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VpcLink {
    /// Six lower-case letters and digits.
    pub id: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub target_arns: Vec<String>,
    /// `AVAILABLE`.
    pub status: String,
    pub status_message: String,
    #[serde(skip_serializing_if = "Strings::is_empty")]
    pub tags: Strings,
}

/// What the gateway shows to backends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientCertificate {
    /// Six lower-case letters and digits.
    pub client_certificate_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub pem_encoded_certificate: String,
    /// Seconds since 1970.
    pub created_date: u64,
    /// Seconds since 1970.
    pub expiration_date: u64,
    #[serde(skip_serializing_if = "Strings::is_empty")]
    pub tags: Strings,
}

/// What holds for all APIs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Account {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloudwatch_role_arn: Option<String>,
    /// AWS: 10,000 requests per second, burst 5,000.
    pub throttle_settings: Throttle,
    /// `UsagePlans`.
    pub features: Vec<String>,
    pub api_key_version: String,
    /// Not on the wire: tags of things that have none of their own, by ARN.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, Strings>,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            cloudwatch_role_arn: None,
            throttle_settings: Throttle { burst_limit: 5_000, rate_limit: 10_000.0 },
            features: vec!["UsagePlans".to_owned()],
            api_key_version: "4".to_owned(),
            tags: BTreeMap::new(),
        }
    }
}
