//! Access keys: who has them, and what their owners may do.

use crate::check::Checker;
use crate::plan::Signer;
use sluice_config::{self as config, Located, PolicySource, Settings};
use sluice_iam::{Kind, Policy, parse_date};
use sluice_snapshot::{AccessKey, AwsPlan, Provider};
use std::sync::Arc;

impl Checker<'_> {
    /// Reads ARNs, dates and policies.
    pub(crate) fn signers(&mut self) -> Vec<Signer> {
        let settings = self.settings;
        settings.access_keys.iter().map(|key| self.signer(key)).collect()
    }

    fn signer(&mut self, key: &config::AccessKey) -> Signer {
        let mut signer = Signer { account: self.settings.aws.account_id.clone(), ..Signer::default() };
        if let Some(arn) = &key.arn {
            match owner(&arn.value) {
                Some((account, role_arn)) => (signer.account, signer.role_arn) = (account, role_arn),
                None => {
                    let help = "for example \"arn:aws:iam::123456789012:user/ana\"".to_owned();
                    let message = format!(
                        "`arn` expects the ARN of a user or of a role's session, found \"{}\"",
                        arn.value
                    );
                    self.error(arn.at, message, Some(help));
                }
            }
        }
        if let Some(expires) = &key.expires {
            signer.expires_unix_ms = parse_date(&expires.value);
            if signer.expires_unix_ms.is_none() {
                let help = "for example \"2030-01-31T12:00:00Z\"".to_owned();
                self.error(
                    expires.at,
                    format!("`expires` expects a date, found \"{}\"", expires.value),
                    Some(help),
                );
            }
        }
        signer.policy = key.policy.as_ref().and_then(|source| self.policy(source));
        signer
    }

    fn policy(&mut self, source: &Located<PolicySource>) -> Option<Policy> {
        let read;
        let text = match &source.value {
            PolicySource::Text(text) => text,
            PolicySource::File(file) => match std::fs::read_to_string(file) {
                Ok(text) => {
                    read = text;
                    &read
                }
                Err(error) => {
                    self.error(source.at, format!("can't read {}: {error}", file.display()), None);
                    return None;
                }
            },
        };
        match Policy::parse(text, Kind::Identity) {
            Ok(policy) => Some(policy),
            Err(error) => {
                self.error(source.at, format!("the policy is none: {error}"), None);
                None
            }
        }
    }
}

/// Account, and the role of a session, of `arn:aws:iam::ACCOUNT:user/…` or `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`.
fn owner(arn: &str) -> Option<(String, Option<String>)> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, service, "", account, resource] = parts.as_slice() else { return None };
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    if partition.is_empty() || !is_account || arn.contains(['*', '?', ' ']) {
        return None;
    }
    match (*service, *resource) {
        ("iam", "root") => Some(((*account).to_owned(), None)),
        ("iam", user) => {
            let name = user.strip_prefix("user/")?;
            (!name.is_empty()).then(|| ((*account).to_owned(), None))
        }
        ("sts", session) => {
            let (role, name) = session.strip_prefix("assumed-role/")?.split_once('/')?;
            let role_arn = format!("arn:{partition}:iam::{account}:role/{role}");
            (!role.is_empty() && !name.is_empty()).then(|| ((*account).to_owned(), Some(role_arn)))
        }
        _ => None,
    }
}

/// What signatures and policies are checked with.
pub(crate) fn build(settings: &Settings, signers: Vec<Signer>, providers: Vec<Provider>) -> AwsPlan {
    let account = &settings.aws.account_id;
    let keys = settings.access_keys.iter().zip(signers).map(|(key, signer)| {
        let id: Box<str> = (*key.id.value).into();
        let arn = match &key.arn {
            Some(arn) => arn.value.as_str().into(),
            None => format!("arn:aws:iam::{account}:user/{id}").into(),
        };
        let key = AccessKey {
            id: id.clone(),
            secret: key.secret.expose().into(),
            session_token: key.session_token.as_ref().map(|token| token.expose().into()),
            expires_unix_ms: signer.expires_unix_ms,
            arn,
            account: signer.account.into(),
            role_arn: signer.role_arn.map(Into::into),
            policy: signer.policy,
        };
        (id, Arc::new(key))
    });
    AwsPlan {
        region: settings.aws.region.as_str().into(),
        account: account.as_str().into(),
        access_keys: keys.collect(),
        providers,
    }
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn owners_are_users_and_sessions() {
        let account = "123456789012".to_owned();
        assert_eq!(owner("arn:aws:iam::123456789012:user/team/ana"), Some((account.clone(), None)));
        assert_eq!(owner("arn:aws:iam::123456789012:root"), Some((account.clone(), None)));
        let role = "arn:aws:iam::123456789012:role/R".to_owned();
        assert_eq!(owner("arn:aws:sts::123456789012:assumed-role/R/s"), Some((account, Some(role))));
        for wrong in [
            "",
            "arn:aws:iam::123456789012:role/R",
            "arn:aws:iam::12345678901:user/a",
            "arn:aws:iam::123456789012:user/",
            "arn:aws:iam::123456789012:user/*",
            "arn:aws:iam:us-east-1:123456789012:user/a",
            "arn:aws:sts::123456789012:assumed-role/R",
        ] {
            assert_eq!(owner(wrong), None, "{wrong}");
        }
    }
}
