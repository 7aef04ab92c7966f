//! `[store]`, `[aws]` and `[access_keys.ID]`: the AWS-compatible control plane.

use crate::diagnostic::{Located, Reporter};
use crate::entries::choice;
use crate::read::Fields;
use crate::settings::{AccessKey, Aws, PolicySource, Secret, Store};
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) fn store(fields: &Fields<'_, '_>, out: &Reporter<'_>) -> Store {
    Store { path: fields.text("path", out).map(|text| Located::new(PathBuf::from(text.value), text.at)) }
}

pub(crate) fn aws(fields: &Fields<'_, '_>, out: &mut Reporter<'_>) -> Aws {
    let account_id = choice(fields, "account_id", out);
    if account_id.len() != 12 || !account_id.bytes().all(|b| b.is_ascii_digit()) {
        let message = format!("`account_id` expects 12 digits, found \"{account_id}\"");
        out.error(
            fields.place("account_id", out),
            message,
            Some("write it as a string, \"123456789012\"".to_owned()),
        );
    }
    let region = choice(fields, "region", out);
    if region.is_empty() || !region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    {
        let message = format!("`region` expects a region's name, found \"{region}\"");
        out.error(fields.place("region", out), message, Some("for example \"eu-central-1\"".to_owned()));
    }
    let suffix = choice(fields, "execute_api_suffix", out).to_ascii_lowercase();
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !suffix.split('.').all(is_label) {
        let message = format!("`execute_api_suffix` expects a domain name, found \"{suffix}\"");
        out.error(fields.place("execute_api_suffix", out), message, None);
    }
    Aws {
        region,
        account_id,
        execute_api_suffix: suffix,
        development: fields.bool("development"),
        integration_timeout_max_ms: fields.integer("integration_timeout_max_ms"),
    }
}

pub(crate) fn access_key(
    id: Located<Arc<str>>,
    fields: &Fields<'_, '_>,
    out: &mut Reporter<'_>,
) -> AccessKey {
    let secret = fields.text("secret", out).map(|text| text.value).unwrap_or_default();
    // The secret itself is never shown: diagnostics end up in logs.
    if fields.has("secret") && secret.len() < 16 {
        let message = format!("`secret` expects at least 16 characters, found {}", secret.len());
        out.error(fields.place("secret", out), message, None);
    }
    AccessKey {
        id,
        secret: Secret::new(secret),
        session_token: fields.text("session_token", out).map(|text| Secret::new(text.value)),
        expires: fields.text("expires", out),
        arn: fields.text("arn", out),
        policy: policy(fields, out),
    }
}

fn policy(fields: &Fields<'_, '_>, out: &mut Reporter<'_>) -> Option<Located<PolicySource>> {
    let text = fields.text("policy", out);
    let file = fields.text("policy_file", out);
    if let (Some(_), Some(file)) = (&text, &file) {
        out.error(file.at, "`policy_file` and `policy` exclude each other", Some("drop one".to_owned()));
    }
    let text = text.map(|text| Located::new(PolicySource::Text(text.value), text.at));
    text.or_else(|| file.map(|file| Located::new(PolicySource::File(file.value.into()), file.at)))
}
