//! Credentials that the process finds around it, as AWS's own tools do: the environment, then the shared credentials file, then
//! those that others give for a while ([`remote`]).
//!
//! "The distinct chain used by each SDK varies" (AWS SDKs and tools reference guide, "Understand the credential provider
//! chain"). This is that of AWS's SDK for Rust (`aws_config::default_provider::credentials`, "Resolution order"): environment,
//! shared files, web identity, containers, instance. The SDKs for PHP and Python ask for a web identity before they read files.
//!
//! Others are asked only once something in the catalog has nothing to be signed with: most gateways have no business
//! with them. Never by a data core.

mod error;
mod remote;

use crate::cores::unix_s;
use sluice_compile::Credentials;
use sluice_control::client::Credentials as Signer;
use sluice_snapshot::Secret;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long before their end credentials are renewed (as AWS's SDKs do). What is renewed every 30 seconds or so is then tried ten times.
const RENEW_BEFORE_S: i64 = 300;
/// How soon somebody who had nothing to give is asked again.
const AGAIN_AFTER: Duration = Duration::from_secs(20);

/// What requests to a gateway's admin listener are signed with, for those that ask for it.
pub(crate) fn of_operator() -> Option<Signer> {
    let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let found = own()?;
    Some(Signer {
        access_key_id: found.access_key_id,
        secret: found.secret.expose().to_owned(),
        region: var("AWS_REGION")
            .or_else(|| var("AWS_DEFAULT_REGION"))
            .unwrap_or_else(|| "us-east-1".to_owned()),
    })
}

/// What requests to AWS are signed with where the configuration has nothing.
#[derive(Default)]
pub(crate) struct Finder(Mutex<Kept>);

/// What others gave last.
#[derive(Default)]
struct Kept {
    given: Option<remote::Given>,
    asked: Option<Instant>,
    /// The last question failed, and that was told.
    failing: bool,
}

impl Finder {
    /// What there is now. `wanted`: others are asked, too, if it is time to; that may take seconds.
    pub(crate) fn found(&self, wanted: bool) -> Option<Credentials> {
        let own = own();
        if own.is_some() {
            return own;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted && kept.is_due() {
            kept.renew();
        }
        kept.given.as_ref().map(|(credentials, _)| credentials.clone())
    }

    /// Others are asked at the next occasion, even if they had nothing a moment ago.
    pub(crate) fn forget_failure(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).asked = None;
    }
}

impl Kept {
    fn is_due(&self) -> bool {
        let now_s = i64::try_from(unix_s()).unwrap_or(i64::MAX);
        let lasts = self
            .given
            .as_ref()
            .is_some_and(|(_, until)| until.is_none_or(|until| until > now_s + RENEW_BEFORE_S));
        !lasts && self.asked.is_none_or(|asked| asked.elapsed() >= AGAIN_AFTER)
    }

    /// What was given before stays if there is nothing new: the service may be more lenient than the clock, and no
    /// credentials at all would help nobody.
    fn renew(&mut self) {
        self.asked = Some(Instant::now());
        match remote::ask() {
            Ok(Some(given)) => {
                if self.failing {
                    eprintln!("sluice: note: there are credentials for AWS again");
                }
                (self.given, self.failing) = (Some(given), false);
            }
            Ok(None) => {}
            Err(error) => {
                if !self.failing {
                    let meanwhile = if self.given.is_some() { ": those of before stay in use" } else { "" };
                    eprintln!(
                        "sluice: warning: no credentials for AWS from around the process: {error}{meanwhile}"
                    );
                }
                self.failing = true;
            }
        }
    }
}

/// What needs nobody else.
fn own() -> Option<Credentials> {
    let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let of_environment = var("AWS_ACCESS_KEY_ID").zip(var("AWS_SECRET_ACCESS_KEY"));
    if let Some((access_key_id, secret)) = of_environment {
        return Some(Credentials {
            access_key_id,
            secret: Secret::new(secret),
            session_token: var("AWS_SESSION_TOKEN").map(Secret::new),
        });
    }
    let home = || var("HOME").map(|home| PathBuf::from(home).join(".aws/credentials"));
    let file = var("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from).or_else(home)?;
    let text = std::fs::read_to_string(file).ok()?;
    of_profile(&text, &var("AWS_PROFILE").unwrap_or_else(|| "default".to_owned()))
}

/// A profile of a shared credentials file (AWS SDKs and tools reference guide, "Shared config and credentials files").
fn of_profile(text: &str, profile: &str) -> Option<Credentials> {
    let (mut access_key_id, mut secret, mut session_token) = (None, None, None);
    let mut is_ours = false;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            is_ours = name.trim() == profile;
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| is_ours) else { continue };
        let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        match name.trim() {
            "aws_access_key_id" => access_key_id = value,
            "aws_secret_access_key" => secret = value,
            "aws_session_token" => session_token = value,
            _ => {}
        }
    }
    Some(Credentials {
        access_key_id: access_key_id?,
        secret: Secret::new(secret?),
        session_token: session_token.map(Secret::new),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_of_a_shared_file() {
        let text = "# mine\n[default]\naws_access_key_id = AKID\naws_secret_access_key=a/b=c\nregion = x\n\n\
                    [other]\naws_access_key_id = OTHER\naws_secret_access_key = s\naws_session_token = t\n[half]\naws_access_key_id = x\n";
        let default = of_profile(text, "default");
        let expected = Credentials {
            access_key_id: "AKID".to_owned(),
            secret: Secret::new("a/b=c"),
            session_token: None,
        };
        assert_eq!(default, Some(expected));
        let other = of_profile(text, "other").and_then(|other| other.session_token);
        assert_eq!(other, Some(Secret::new("t")));
        assert_eq!(of_profile(text, "half"), None);
        assert_eq!(of_profile(text, "none"), None);
    }
}
