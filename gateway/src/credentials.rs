//! Credentials that the process finds around it, as AWS's own tools do: the environment, then the shared credentials file.

use sluice_compile::Credentials;
use sluice_snapshot::Secret;
use std::path::PathBuf;

/// What requests to AWS are signed with where the configuration has nothing.
pub(crate) fn found() -> Option<Credentials> {
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
