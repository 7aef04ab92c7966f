//! Credentials that others give for a while: a token service for a web identity, a container's agent (ECS, EKS Pod Identity), an
//! instance's metadata, in this order. Each is asked as the AWS SDKs and tools reference guide says ("Assume role credential provider",
//! "Container credential provider", "IMDS credential provider"), by small blocking requests, and never by a data core.

use super::error::{Error, Found};
use crate::keys::authorities;
use serde::Deserialize;
use sluice_compile::Credentials;
use sluice_fetch::{Budget, Request, Url, send};
use sluice_snapshot::Secret;
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

/// For one question: whoever answers is on the machine or next to it, but for the token service.
const BUDGET: Budget = Budget { timeout: Duration::from_millis(1_500), max_bytes: 256 << 10 };
/// ECS's agent, where `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` is asked for.
const ECS_AGENT: &str = "http://169.254.170.2";
/// Where containers may be sent without TLS: themselves, ECS, EKS ("Container credential provider").
const PLAIN_HOSTS: [&str; 4] = ["localhost", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"];
const METADATA: &str = "http://169.254.169.254";
const METADATA_V6: &str = "http://[fd00:ec2::254]";
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
/// How long a session with the metadata service may last: as short as one set of questions.
const SESSION_S: &str = "60";

/// Credentials, and until when they are good (seconds since 1970).
pub(super) type Given = (Credentials, Option<i64>);

/// What the environment says.
type Var<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Asks whoever the environment names, and an instance's metadata if it names nobody. `None`: there is nobody to ask. The
/// first that is configured decides: credentials of another one would be somebody else's.
pub(super) fn ask() -> Result<Option<Given>, Error> {
    let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(token_file) = var("AWS_WEB_IDENTITY_TOKEN_FILE") {
        return web_identity(&token_file, &var).map(Some);
    }
    if let Some(uri) = container_uri(&var)? {
        return container(&uri, &var).map(Some);
    }
    if var("AWS_EC2_METADATA_DISABLED").is_some_and(|is| is.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    instance(&var)
}

/// AssumeRoleWithWebIdentity of the Security Token Service, which needs no signature.
fn web_identity(token_file: &str, var: Var<'_>) -> Result<Given, Error> {
    let (variable, without) = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN");
    let role = var(without).ok_or(Error::Lacks { variable, without })?;
    let session = var("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "sluice".to_owned());
    let token = token_of(token_file)?;
    let mut form = "Action=AssumeRoleWithWebIdentity&Version=2011-06-15".to_owned();
    for (name, value) in [("RoleArn", role), ("RoleSessionName", session), ("WebIdentityToken", token)] {
        let _ = write!(form, "&{name}=");
        for byte in value.bytes() {
            let _ = match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    write!(form, "{}", char::from(byte))
                }
                _ => write!(form, "%{byte:02X}"),
            };
        }
    }
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let base = token_service(var);
    let (status, body) =
        asked("POST", &format!("{}/", base.trim_end_matches('/')), &headers, form.as_bytes())?;
    let text = String::from_utf8_lossy(&body);
    if status != 200 {
        let message = element(&text, "Message").map(str::to_owned);
        return Err(Error::Status { at: base, found: status, message });
    }
    let field = |expected: &'static str| {
        let lacks = || Error::Answer { at: base.clone(), expected, found: Found::Nothing };
        element(&text, expected).ok_or_else(lacks)
    };
    let credentials = Credentials {
        access_key_id: field("AccessKeyId")?.to_owned(),
        secret: Secret::new(field("SecretAccessKey")?),
        session_token: Some(Secret::new(field("SessionToken")?)),
    };
    Ok((credentials, Some(end(&base, field("Expiration")?)?)))
}

/// As AWS's SDKs ask today: the region's own token service, where a region is named.
fn token_service(var: Var<'_>) -> String {
    if let Some(elsewhere) = var("AWS_ENDPOINT_URL_STS").or_else(|| var("AWS_ENDPOINT_URL")) {
        return elsewhere;
    }
    let is_legacy = var("AWS_STS_REGIONAL_ENDPOINTS").is_some_and(|which| which == "legacy");
    match var("AWS_REGION").or_else(|| var("AWS_DEFAULT_REGION")).filter(|_| !is_legacy) {
        Some(region) if region.starts_with("cn-") => format!("https://sts.{region}.amazonaws.com.cn"),
        Some(region) => format!("https://sts.{region}.amazonaws.com"),
        None => "https://sts.amazonaws.com".to_owned(),
    }
}

/// The text of the first XML element of this name. What it is used for has no character that XML escapes.
fn element<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inner, _) = rest.split_once(&format!("</{name}>"))?;
    Some(inner.trim()).filter(|inner| !inner.is_empty() && !inner.contains('<'))
}

/// Where the container's agent is, if there is one.
fn container_uri(var: Var<'_>) -> Result<Option<String>, Error> {
    if let Some(relative) = var("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
        return match relative.starts_with('/') {
            true => Ok(Some(format!("{ECS_AGENT}{relative}"))),
            false => Err(Error::Variable {
                name: "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                expected: "a path that begins with /",
                found: relative,
            }),
        };
    }
    let name = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    let Some(uri) = var(name) else { return Ok(None) };
    let Some(url) = Url::parse(&uri) else {
        return Err(Error::Variable { name, expected: "an http or https URL", found: uri });
    };
    // A token for the agent is not sent in the clear to just anybody.
    if url.is_https() || is_near(url.host()) {
        return Ok(Some(uri));
    }
    let found = format!("the host {}", url.host());
    Err(Error::Variable { name, expected: "https, or this machine", found })
}

fn is_near(host: &str) -> bool {
    PLAIN_HOSTS.contains(&host) || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

fn container(uri: &str, var: Var<'_>) -> Result<Given, Error> {
    let token = match var("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(file) => Some(token_of(&file)?),
        None => var("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
    };
    if token.as_deref().is_some_and(|token| token.contains(['\r', '\n'])) {
        return Err(Error::Token);
    }
    let mut headers = vec![("Accept", "application/json")];
    headers.extend(token.as_deref().map(|token| ("Authorization", token)));
    document(uri, &headers)
}

/// Version 2 of the instance metadata service: a session's token first. `None`: the instance has no role.
fn instance(var: Var<'_>) -> Result<Option<Given>, Error> {
    let is_v6 =
        var("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE").is_some_and(|mode| mode.eq_ignore_ascii_case("ipv6"));
    let usual = if is_v6 { METADATA_V6 } else { METADATA };
    let base = var("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(|| usual.to_owned());
    let base = base.trim_end_matches('/');
    let ttl = [("X-aws-ec2-metadata-token-ttl-seconds", SESSION_S)];
    let session = text_of(base, asked("PUT", &format!("{base}/latest/api/token"), &ttl, b"")?)?;
    let headers = [("X-aws-ec2-metadata-token", session.trim())];
    let roles = match asked("GET", &format!("{base}{ROLES}"), &headers, b"")? {
        (404, _) => return Ok(None),
        answer => text_of(base, answer)?,
    };
    let Some(role) = roles.lines().map(str::trim).find(|role| !role.is_empty()) else { return Ok(None) };
    document(&format!("{base}{ROLES}{role}"), &headers).map(Some)
}

fn text_of(base: &str, (status, body): (u16, Vec<u8>)) -> Result<String, Error> {
    if status != 200 {
        return Err(Error::Status { at: base.to_owned(), found: status, message: None });
    }
    let text = String::from_utf8(body).ok().filter(|text| !text.trim().contains('\r'));
    text.ok_or_else(|| Error::Answer { at: base.to_owned(), expected: "a text", found: Found::NoText })
}

/// Credentials as containers' agents and instances tell them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    /// Of instances: `Success`.
    code: Option<String>,
    message: Option<String>,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    token: Option<String>,
    expiration: Option<String>,
}

fn document(uri: &str, headers: &[(&str, &str)]) -> Result<Given, Error> {
    let at = || uri.to_owned();
    let (status, body) = asked("GET", uri, headers, b"")?;
    if status != 200 {
        return Err(Error::Status { at: at(), found: status, message: None });
    }
    let found: Document = serde_json::from_slice(&body).map_err(|error| Error::Answer {
        at: at(),
        expected: "credentials in JSON",
        found: Found::Place { line: error.line(), column: error.column() },
    })?;
    if let Some(code) = found.code.filter(|code| code != "Success") {
        return Err(Error::Refused { at: at(), code, message: found.message.unwrap_or_default() });
    }
    let lacks = |expected| Error::Answer { at: at(), expected, found: Found::Nothing };
    let access_key_id = found.access_key_id.ok_or_else(|| lacks("AccessKeyId"))?;
    let secret = found.secret_access_key.ok_or_else(|| lacks("SecretAccessKey"))?;
    let until = found.expiration.as_deref().map(|text| end(uri, text)).transpose()?;
    let session_token = found.token.map(Secret::new);
    Ok((Credentials { access_key_id, secret: Secret::new(secret), session_token }, until))
}

/// Seconds since 1970 of the end of credentials.
fn end(at: &str, text: &str) -> Result<i64, Error> {
    let ms = sluice_iam::parse_date(text);
    ms.map(|ms| ms / 1000).ok_or_else(|| Error::Answer {
        at: at.to_owned(),
        expected: "an Expiration in ISO 8601",
        found: Found::Text(text.to_owned()),
    })
}

/// Tokens in files are changed now and then: read anew each time.
fn token_of(file: &str) -> Result<String, Error> {
    let text = std::fs::read_to_string(file).map_err(|error| Error::File { path: file.to_owned(), error })?;
    Ok(text.trim().to_owned())
}

fn asked(method: &str, uri: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<(u16, Vec<u8>), Error> {
    let at = || uri.to_owned();
    let url = Url::parse(uri).ok_or_else(|| Error::NoUrl { at: at() })?;
    let tls = if url.is_https() {
        Some(authorities().map_err(|why| Error::Authorities { at: at(), why })?)
    } else {
        None
    };
    let request = Request { method, url: &url, headers, body };
    send(&request, tls, BUDGET).map_err(|why| Error::Unreachable { at: at(), why })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "what fails there fails the test")]
mod tests {
    use super::{Error, Found, container_uri, element, end, is_near, token_service, web_identity};
    use std::collections::BTreeMap;

    fn environment(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        let all: BTreeMap<String, String> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        move |name: &str| all.get(name).cloned()
    }

    #[test]
    fn only_this_machine_and_its_hosts_are_near() {
        for near in
            ["localhost", "127.0.0.1", "127.9.9.9", "::1", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"]
        {
            assert!(is_near(near), "{near}");
        }
        for far in ["10.0.0.1", "169.254.169.254", "example.com", "localhost.example.com"] {
            assert!(!is_near(far), "{far}");
        }
    }

    #[test]
    fn the_agents_address_is_of_ecs_or_as_it_stands() {
        let uri = |name, value| container_uri(&environment(&[(name, value)]));
        let (relative, full) =
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI");
        assert_eq!(uri(relative, "/v2/x").unwrap().unwrap(), "http://169.254.170.2/v2/x");
        let error = uri(relative, "@evil/").unwrap_err();
        assert!(
            matches!(&error, Error::Variable { name, found, .. } if *name == relative && found == "@evil/"),
            "{error}"
        );
        assert!(matches!(uri(full, "agent"), Err(Error::Variable { name, .. }) if name == full));
        assert_eq!(uri(full, "http://169.254.170.23/v1").unwrap().unwrap(), "http://169.254.170.23/v1");
        assert!(uri(full, "https://agent.example.com/").is_ok());
        let error = uri(full, "http://agent.example.com/").unwrap_err();
        assert_eq!(
            error.to_string(),
            "AWS_CONTAINER_CREDENTIALS_FULL_URI expects https, or this machine, found the host agent.example.com"
        );
        assert!(container_uri(&environment(&[])).unwrap().is_none());
    }

    #[test]
    fn what_is_missing_is_told_with_what_it_belongs_to() {
        let error = web_identity("/nowhere", &environment(&[])).unwrap_err();
        assert_eq!(error.to_string(), "AWS_WEB_IDENTITY_TOKEN_FILE is set, but AWS_ROLE_ARN is not");
        let error = web_identity("/nowhere/at/all", &environment(&[("AWS_ROLE_ARN", "arn")])).unwrap_err();
        assert!(matches!(&error, Error::File { path, .. } if path == "/nowhere/at/all"), "{error}");
        let error = Error::Answer {
            at: "http://a".to_owned(),
            expected: "credentials in JSON",
            found: Found::Place { line: 1, column: 3 },
        };
        assert_eq!(error.to_string(), "http://a: expected credentials in JSON, found something else at 1:3");
    }

    #[test]
    fn the_token_service_is_the_regions_or_the_one_that_is_named() {
        for (pairs, expected) in [
            (&[][..], "https://sts.amazonaws.com"),
            (&[("AWS_REGION", "eu-west-1")], "https://sts.eu-west-1.amazonaws.com"),
            (&[("AWS_DEFAULT_REGION", "cn-north-1")], "https://sts.cn-north-1.amazonaws.com.cn"),
            (
                &[("AWS_REGION", "eu-west-1"), ("AWS_STS_REGIONAL_ENDPOINTS", "legacy")],
                "https://sts.amazonaws.com",
            ),
            (&[("AWS_REGION", "x"), ("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")], "http://127.0.0.1:1"),
        ] {
            assert_eq!(token_service(&environment(pairs)), expected);
        }
    }

    #[test]
    fn answers_are_read_by_element_and_their_end_by_the_second() {
        let text = "<a><Token>abc</Token><Empty></Empty><Nested><b/></Nested></a>";
        assert_eq!(element(text, "Token"), Some("abc"));
        assert_eq!(
            (element(text, "Empty"), element(text, "Nested"), element(text, "None")),
            (None, None, None)
        );
        assert_eq!(end("http://a", "1970-01-02T00:00:01Z").unwrap(), 86_401);
        let error = end("http://a", "tomorrow").unwrap_err();
        assert_eq!(error.to_string(), "http://a: expected an Expiration in ISO 8601, found tomorrow");
    }
}
