//! Lambda functions and services of AWS: from the ARNs of integrations and authorizers to the servers that are asked.
//!
//! ```text
//! arn:aws:apigateway:{region}:lambda:path/2015-03-31/functions/{function}/invocations
//!                                                                   │
//!      [functions.NAME] with a runtime   -> the gateway's own host of functions
//!      [functions.NAME] with an endpoint -> that Invoke endpoint
//!      any other                         -> [services.lambda], or AWS's own endpoint of the region, if there are credentials
//! ```

use super::protocols::{Protocol, protocol, signing_name};
use super::uri::{Uri, fill_in};
use crate::registry::Registry;
use crate::{FunctionHost, SlotAllocator};
use sluice_catalog::Strings;
use sluice_config::{self as config, Settings};
use sluice_snapshot::{Auth, Destination, Function, Secret, Signer};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What of the settings leads to functions and services.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Services {
    /// Hosted ones have no endpoint.
    functions: BTreeMap<Arc<str>, Option<String>>,
    host: Option<FunctionHost>,
    services: BTreeMap<Arc<str>, Service>,
    credentials: Vec<Named>,
}

#[derive(Clone, Debug, PartialEq)]
struct Service {
    endpoint_url: Option<String>,
    region: Option<String>,
    credentials: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
struct Named {
    name: Arc<str>,
    roles: Vec<String>,
    credentials: Credentials,
}

/// What requests to services are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Access key.
    pub access_key_id: String,
    /// Its secret.
    pub secret: Secret,
    /// Of temporary credentials.
    pub session_token: Option<Secret>,
}

/// Credentials of the configuration under this name come before those that were found around the process.
const DEFAULT: &str = "default";
/// Name of "no credentials".
const NONE: &str = "none";

impl Services {
    pub(crate) fn new(settings: &Settings, registry: &Registry) -> Self {
        let functions = settings.functions.iter().map(|function| {
            let endpoint = match function {
                config::Function::Hosted { .. } => None,
                config::Function::Remote { endpoint_url, .. } => Some(endpoint_url.value.clone()),
            };
            (Arc::clone(&function.name().value), endpoint)
        });
        let services = settings.services.iter().map(|service| {
            let of = Service {
                endpoint_url: service.endpoint_url.as_ref().map(|url| url.value.clone()),
                region: service.region.clone(),
                credentials: service.credentials.as_ref().map(|name| name.value.clone()),
            };
            (Arc::clone(&service.name.value), of)
        });
        let configured = settings.credentials.iter().map(|of| Named {
            name: Arc::clone(&of.name.value),
            roles: of.roles.clone(),
            credentials: Credentials {
                access_key_id: of.access_key_id.clone(),
                secret: Secret::new(of.secret.expose()),
                session_token: of.session_token.as_ref().map(|token| Secret::new(token.expose())),
            },
        });
        let found = registry.credentials.iter().map(|credentials| Named {
            name: DEFAULT.into(),
            roles: Vec::new(),
            credentials: credentials.clone(),
        });
        Self {
            functions: functions.collect(),
            host: registry.function_host.clone(),
            services: services.collect(),
            credentials: configured.chain(found).collect(),
        }
    }

    /// Who signs requests to a service on behalf of a role; `None`: nobody.
    fn signer(&self, service: &str, region: &str, role: Option<&str>) -> Option<Arc<Signer>> {
        let configured = self.services.get(service);
        let named = |name: &str| self.credentials.iter().find(|known| &*known.name == name);
        let of_role = role.and_then(|role| {
            self.credentials.iter().find(|known| known.roles.iter().any(|known| known == role))
        });
        let found = match configured.and_then(|service| service.credentials.as_deref()) {
            Some(NONE) => None,
            Some(name) => named(name),
            None => of_role.or_else(|| named(DEFAULT)),
        };
        let region = configured.and_then(|service| service.region.as_deref()).unwrap_or(region);
        found.map(|Named { credentials, .. }| {
            Arc::new(Signer {
                access_key_id: credentials.access_key_id.as_str().into(),
                secret: credentials.secret.clone(),
                session_token: credentials.session_token.clone(),
                region: region.into(),
                service: signing_name(service).into(),
            })
        })
    }

    /// Whether the configuration says that requests to a service are not to be signed.
    fn is_unsigned(&self, service: &str) -> bool {
        let configured = self.services.get(service).and_then(|service| service.credentials.as_deref());
        configured == Some(NONE)
    }

    /// The server of a service: the configured one, or AWS's own.
    fn endpoint(&self, service: &str, region: &str) -> (String, bool) {
        let configured = self.services.get(service);
        if let Some(url) = configured.and_then(|service| service.endpoint_url.clone()) {
            return (url, true);
        }
        let region = configured.and_then(|service| service.region.as_deref()).unwrap_or(region);
        let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        (format!("https://{service}.{region}.{suffix}"), false)
    }
}

/// The parts of `arn:aws:apigateway:{region}:{service}:{path|action}/…`.
pub(crate) struct ServiceArn {
    pub(crate) region: String,
    pub(crate) service: String,
    /// `path/…` or `action/…`.
    pub(crate) target: String,
}

impl ServiceArn {
    /// Reads an ARN, its stage variables filled in.
    pub(crate) fn parse(uri: &str, variables: &Strings) -> Result<Self, String> {
        let uri = fill_in(uri, variables)?;
        let parts: Vec<&str> = uri.splitn(6, ':').collect();
        let ["arn", _, "apigateway", region, service, target] = parts.as_slice() else {
            return Err(format!(
                "expected arn:aws:apigateway:REGION:SERVICE:path/… or action/…, found \"{uri}\""
            ));
        };
        Ok(Self {
            region: (*region).to_owned(),
            service: (*service).to_owned(),
            target: (*target).to_owned(),
        })
    }
}

/// The name of a function as ARNs and Lambda's API have it.
struct FunctionId<'a> {
    /// As it was given: a whole ARN, or a part of it.
    given: &'a str,
    name: &'a str,
    qualifier: Option<&'a str>,
    region: Option<&'a str>,
}

impl<'a> FunctionId<'a> {
    /// `arn:aws:lambda:{region}:{account}:function:{name}:{qualifier}`, `{account}:function:{name}`, `{name}:{qualifier}`.
    fn parse(given: &'a str) -> Result<Self, String> {
        let wrong = || format!("expected the name or ARN of a function, found \"{given}\"");
        let parts: Vec<&str> = given.split(':').collect();
        let (region, rest) = match parts.as_slice() {
            ["arn", _, "lambda", region, _, "function", rest @ ..] => (Some(*region), rest),
            [_, "function", rest @ ..] | ["function", rest @ ..] => (None, rest),
            rest => (None, rest),
        };
        let (name, qualifier) = match rest {
            [name] => (*name, None),
            [name, qualifier] => (*name, Some(*qualifier)),
            _ => return Err(wrong()),
        };
        let allowed = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_$.".contains(&b))
        };
        if !allowed(name) || !qualifier.is_none_or(allowed) {
            return Err(wrong());
        }
        Ok(Self { given, name, qualifier, region })
    }
}

/// By which call of Lambda's API a function is invoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invoking {
    /// Its answer is wanted whole.
    Whole,
    /// Its answer is wanted as it comes.
    Stream,
}

impl Invoking {
    /// What stands before and after the function's name.
    const fn path(self) -> (&'static str, &'static str) {
        match self {
            Self::Whole => ("2015-03-31/functions/", "/invocations"),
            Self::Stream => ("2021-11-15/functions/", "/response-streaming-invocations"),
        }
    }
}

/// The name in a function's name or ARN, and whether it is an ARN, which AWS could be asked for.
pub(crate) fn function_name(given: &str) -> Result<(&str, bool), String> {
    FunctionId::parse(given).map(|id| (id.name, id.region.is_some()))
}

/// Finds out whom to ask.
pub(crate) struct Resolver<'r> {
    pub(crate) services: &'r Services,
    pub(crate) registry: &'r mut Registry,
    pub(crate) slots: &'r mut dyn SlotAllocator,
}

impl Resolver<'_> {
    /// The function that an integration's or authorizer's URI names.
    pub(crate) fn function(
        &mut self,
        uri: &str,
        variables: &Strings,
        role: Option<&str>,
        how: Invoking,
    ) -> Result<Function, String> {
        let arn = ServiceArn::parse(uri, variables)?;
        let rest = arn.target.strip_prefix("path/").map(|rest| rest.trim_start_matches('/'));
        let (prefix, suffix) = how.path();
        let id = rest
            .and_then(|rest| rest.strip_prefix(prefix))
            .and_then(|rest| rest.strip_suffix(suffix))
            .filter(|_| arn.service == "lambda")
            .ok_or_else(|| format!("expected lambda:path/{prefix}FUNCTION{suffix}, found \"{uri}\""))?;
        self.resolved(&FunctionId::parse(id)?, &arn.region, (role, how))
    }

    /// The function that a route or authorizer of the configuration names, by name or ARN. `region`: ours.
    pub(crate) fn named(&mut self, given: &str, region: &str) -> Result<Function, String> {
        self.resolved(&FunctionId::parse(given)?, region, (None, Invoking::Whole))
    }

    fn resolved(
        &mut self,
        id: &FunctionId<'_>,
        region: &str,
        (role, how): (Option<&str>, Invoking),
    ) -> Result<Function, String> {
        match self.services.functions.get(id.name) {
            Some(None) => self.hosted(id, how),
            Some(Some(url)) => {
                let url = url.clone();
                self.remote(id, region, &url, (true, role, how))
            }
            None => {
                let region = id.region.unwrap_or(region).to_owned();
                let (url, is_configured) = self.services.endpoint("lambda", &region);
                self.remote(id, &region, &url, (is_configured, role, how))
            }
        }
    }

    fn hosted(&mut self, id: &FunctionId<'_>, how: Invoking) -> Result<Function, String> {
        let host = self.services.host.as_ref();
        let host = host.ok_or_else(|| format!("nothing hosts function `{}`", id.name))?;
        let backend = self.registry.backends.function_host(host.address, self.slots);
        let (before, after) = how.path();
        Ok(Function {
            to: Destination::Backend(backend),
            path: format!("/{before}{}{after}", id.name).into(),
            auth: Auth::Token(host.token.clone()),
        })
    }

    fn remote(
        &mut self,
        id: &FunctionId<'_>,
        region: &str,
        url: &str,
        (is_configured, role, how): (bool, Option<&str>, Invoking),
    ) -> Result<Function, String> {
        let signer = self.services.signer("lambda", region, role);
        if signer.is_none() && !is_configured {
            self.registry.lacks_credentials = true;
            return Err(format!(
                "there is no function `{}` ([functions.{}]), and there are no credentials to ask AWS for it",
                id.name, id.name
            ));
        }
        let uri = Uri::parse(url, &Strings::new())?;
        let prefix = uri.target.trim_end_matches('/');
        // An endpoint of one function's own need not know of accounts; AWS gets what the integration says, in its form.
        let by_name = self.services.functions.contains_key(id.name);
        let (before, after) = how.path();
        let path = match id.qualifier {
            Some(qualifier) if by_name => {
                format!("{prefix}/{before}{}{after}?Qualifier={qualifier}", id.name)
            }
            None if by_name => format!("{prefix}/{before}{}{after}", id.name),
            _ => {
                let function = id.given.replace(':', "%3A");
                format!("{prefix}/{before}{function}{after}")
            }
        };
        let backend = self.registry.backends.id(&uri, false, self.slots);
        Ok(Function {
            to: Destination::Backend(backend),
            path: path.into(),
            auth: signer.map_or(Auth::None, Auth::SigV4),
        })
    }
}

/// A service, and what is asked of it.
pub(crate) struct ServiceTarget {
    pub(crate) to: Destination,
    pub(crate) auth: Auth,
    /// Path and query, with path variables.
    pub(crate) target: String,
    /// What its protocol asks for.
    pub(crate) headers: Vec<(Box<str>, Box<str>)>,
    /// It wants the body's hash in a header.
    pub(crate) signs_payload: bool,
}

impl Resolver<'_> {
    /// The service that an integration's URI names, and how it is asked for the path or action there.
    pub(crate) fn service(&mut self, arn: &ServiceArn, role: Option<&str>) -> Result<ServiceTarget, String> {
        // `{subdomain}.{service}`: a bucket's own host, say.
        let (subdomain, service) = match arn.service.rsplit_once('.') {
            Some((subdomain, service)) => (Some(subdomain), service),
            None => (None, arn.service.as_str()),
        };
        let (url, is_configured) = self.services.endpoint(service, &arn.region);
        let signer = self.services.signer(service, &arn.region, role);
        if signer.is_none() && !self.services.is_unsigned(service) {
            self.registry.lacks_credentials = true;
            let role = role.unwrap_or("no role");
            return Err(format!("there are no credentials to ask {service} with, for {role}"));
        }
        let url = match subdomain {
            Some(subdomain) if !is_configured => {
                url.replacen("https://", &format!("https://{subdomain}."), 1)
            }
            _ => url,
        };
        let uri = Uri::parse(&url, &Strings::new())?;
        let mut headers = Vec::new();
        let target = target(&arn.target, service, subdomain.filter(|_| is_configured), &mut headers)?;
        let prefix = uri.target.trim_end_matches('/');
        Ok(ServiceTarget {
            to: Destination::Backend(self.registry.backends.id(&uri, false, self.slots)),
            auth: signer.map_or(Auth::None, Auth::SigV4),
            target: format!("{prefix}{target}"),
            headers,
            signs_payload: service == "s3",
        })
    }
}

/// Path and query of `path/…` or `action/…`. An endpoint of one's own has no hosts for subdomains: it has them in the path.
fn target(
    written: &str,
    service: &str,
    subdomain: Option<&str>,
    headers: &mut Vec<(Box<str>, Box<str>)>,
) -> Result<String, String> {
    if let Some(path) = written.strip_prefix("path/") {
        let subdomain = subdomain.map(|subdomain| format!("/{subdomain}")).unwrap_or_default();
        return Ok(format!("{subdomain}/{}", path.trim_start_matches('/')));
    }
    let action = written.strip_prefix("action/").unwrap_or_default();
    let (action, query) = match action.split_once(['?', '&']) {
        Some((action, query)) => (action, Some(query)),
        None => (action, None),
    };
    if action.is_empty() || !action.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(format!("expected action/NAME, found \"{written}\""));
    }
    match protocol(service) {
        Some(Protocol::Json { prefix, version }) => {
            headers.push(("X-Amz-Target".into(), format!("{prefix}.{action}").into()));
            headers.push(("Content-Type".into(), format!("application/x-amz-json-{version}").into()));
            Ok("/".to_owned())
        }
        Some(Protocol::Query { version }) => {
            let more = query.map(|query| format!("&{query}")).unwrap_or_default();
            Ok(format!("/?Action={action}&Version={version}{more}"))
        }
        None => Err(format!("how {service} is asked for an action is not known here: use path/…")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_by_every_name() {
        for (given, name, qualifier, region) in [
            ("users", "users", None, None),
            ("users:live", "users", Some("live"), None),
            ("123456789012:function:users", "users", None, None),
            ("function:users:7", "users", Some("7"), None),
            ("arn:aws:lambda:eu-west-1:123456789012:function:users", "users", None, Some("eu-west-1")),
            (
                "arn:aws:lambda:eu-west-1:1:function:users:$LATEST",
                "users",
                Some("$LATEST"),
                Some("eu-west-1"),
            ),
        ] {
            let id = FunctionId::parse(given).unwrap();
            assert_eq!((id.name, id.qualifier, id.region), (name, qualifier, region), "{given}");
        }
        for given in
            ["", "a/b", "a:b:c", "a b", "arn:aws:lambda:r:1:function:", "arn:aws:sqs:r:1:q", "users:", "a?b"]
        {
            assert!(FunctionId::parse(given).is_err(), "{given}");
        }
    }

    #[test]
    fn arns_of_services() {
        let variables = Strings::from([("fn".to_owned(), "users".to_owned())]);
        let arn = "arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/arn:aws:lambda:eu-west-1:1:function:${stageVariables.fn}/invocations";
        let parsed = ServiceArn::parse(arn, &variables).unwrap();
        assert_eq!((parsed.region.as_str(), parsed.service.as_str()), ("eu-west-1", "lambda"));
        assert!(parsed.target.ends_with(":function:users/invocations"), "{}", parsed.target);
        for arn in [
            "",
            "arn:aws:lambda:r:1:function:x",
            "http://x",
            "arn:aws:apigateway:r:${stageVariables.no}:path/x",
        ] {
            assert!(ServiceArn::parse(arn, &variables).is_err(), "{arn}");
        }
    }
}
