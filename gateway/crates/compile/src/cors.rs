//! What a browser would see of a stage from a page of another origin, read from what is deployed: nothing is called.
//!
//! ```text
//! page ── OPTIONS (preflight) ──> answered, by whom, with which origin, methods, headers
//!      ── the call itself ──────> 2xx, and other answers of the method: Access-Control-Allow-Origin?
//!      <── refusals of the gateway (no key, throttled, backend gone …): Access-Control-Allow-Origin?
//! ```
//! The rules are those of the Fetch standard ("CORS protocol"). What a backend answers itself can't be read here, and is no
//! problem.

use sluice_catalog::{Definition, GatewayResponse, Integration, IntegrationType, Method, Resource};
use std::fmt;

const ORIGIN: &str = "access-control-allow-origin";
const METHODS: &str = "access-control-allow-methods";
const HEADERS: &str = "access-control-allow-headers";

/// What a route says in one respect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// As it should be.
    Fine,
    /// It depends on what the backend or the function answers.
    Backend,
    /// A browser would not let the page have it, and why.
    Blocked(String),
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fine => "ok",
            Self::Backend => "backend decides",
            Self::Blocked(_) => "blocked",
        })
    }
}

/// One method of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsRoute {
    /// `GET`, or `ANY`.
    pub method: String,
    /// Of the resource.
    pub path: String,
    /// The request before the request.
    pub preflight: Seen,
    /// What the method answers.
    pub answers: Seen,
    /// What the gateway answers in its place with a status of 4xx.
    pub refusals_4xx: Seen,
    /// And with 5xx.
    pub refusals_5xx: Seen,
}

impl CorsRoute {
    /// Whether a page gets all that it should.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.all().iter().all(|(_, seen)| !matches!(seen, Seen::Blocked(_)))
    }

    /// What is blocked, a line each.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let all = self.all();
        let blocked = all.iter().filter_map(|(what, seen)| match seen {
            Seen::Blocked(why) => Some(format!("{} {}: {what}: {why}", self.method, self.path)),
            Seen::Fine | Seen::Backend => None,
        });
        blocked.collect()
    }

    fn all(&self) -> [(&'static str, &Seen); 4] {
        [
            ("preflight", &self.preflight),
            ("answers", &self.answers),
            ("refusals 4xx", &self.refusals_4xx),
            ("refusals 5xx", &self.refusals_5xx),
        ]
    }
}

/// All routes of a definition but those that only answer preflights, in the order of their paths.
#[must_use]
pub fn cors(definition: &Definition, origin: &str) -> Vec<CorsRoute> {
    let refusals = |class: u8| of_gateway(definition, class, origin);
    let (refusals_4xx, refusals_5xx) = (refusals(b'4'), refusals(b'5'));
    let mut routes = Vec::new();
    let mut resources: Vec<_> = definition.resources.values().collect();
    resources.sort_by(|one, other| one.path.cmp(&other.path));
    for resource in resources {
        for method in resource.methods.values().filter(|method| method.http_method != "OPTIONS") {
            routes.push(CorsRoute {
                method: method.http_method.clone(),
                path: resource.path.clone(),
                preflight: preflight(resource, method, origin),
                answers: answers(method, origin),
                refusals_4xx: refusals_4xx.clone(),
                refusals_5xx: refusals_5xx.clone(),
            });
        }
    }
    routes
}

/// What comes before a call of `method` (Fetch, "CORS-preflight request").
fn preflight(resource: &Resource, method: &Method, origin: &str) -> Seen {
    let wanted = wanted_headers(method);
    let needed = !matches!(method.http_method.as_str(), "GET" | "HEAD" | "POST") || !wanted.is_empty();
    if !needed {
        return Seen::Fine;
    }
    let options = resource.methods.get("OPTIONS").or_else(|| resource.methods.get("ANY"));
    let Some(options) = options else {
        return blocked("the resource has no OPTIONS method: 403 Missing Authentication Token");
    };
    if !matches!(options.authorization_type.as_str(), "" | "NONE") || options.api_key_required {
        return blocked("OPTIONS asks for an authorization or a key, and browsers send neither with it");
    }
    let Some(integration) = options.integration.as_deref() else {
        return blocked("OPTIONS has no integration: 500");
    };
    if is_proxy(integration) {
        return Seen::Backend;
    }
    let Some(response) = integration.integration_responses.values().find(|response| is_default(response))
    else {
        return blocked("OPTIONS has no default integration response: 500");
    };
    if !response.status_code.starts_with('2') {
        return blocked(&format!(
            "OPTIONS answers {}, and only 2xx lets the call go on",
            response.status_code
        ));
    }
    let headers = |name: &str| mapped(&response.response_parameters, "method.response.header.", name);
    if let Some(why) = origin_fault(headers(ORIGIN), origin) {
        return blocked(&format!("OPTIONS {why}"));
    }
    let verb = if method.http_method == "ANY" { "DELETE" } else { &method.http_method };
    if !matches!(verb, "GET" | "HEAD" | "POST") && !lists(headers(METHODS), verb) {
        return blocked(&format!("Access-Control-Allow-Methods of OPTIONS does not name {verb}"));
    }
    match wanted.iter().find(|name| !lists(headers(HEADERS), name)) {
        Some(name) => blocked(&format!("Access-Control-Allow-Headers of OPTIONS does not name {name}")),
        None => Seen::Fine,
    }
}

/// Headers that callers of the method have to send, or are likely to, and that need leave.
fn wanted_headers(method: &Method) -> Vec<String> {
    let mut wanted = Vec::new();
    if method.api_key_required {
        wanted.push("x-api-key".to_owned());
    }
    if !matches!(method.authorization_type.as_str(), "" | "NONE") {
        wanted.push("authorization".to_owned());
    }
    if matches!(method.http_method.as_str(), "POST" | "PUT" | "PATCH" | "ANY") {
        // JSON is no content type of a form.
        wanted.push("content-type".to_owned());
    }
    for name in method.request_parameters.keys().filter_map(|key| key.strip_prefix("method.request.header."))
    {
        let name = name.to_ascii_lowercase();
        // Fetch, "CORS-safelisted request-header", and what pages may not set.
        let free = [
            "accept",
            "accept-language",
            "content-language",
            "origin",
            "host",
            "user-agent",
            "referer",
            "cookie",
        ];
        if !free.contains(&name.as_str()) && !wanted.contains(&name) {
            wanted.push(name);
        }
    }
    wanted
}

fn answers(method: &Method, origin: &str) -> Seen {
    let Some(integration) = method.integration.as_deref() else {
        return blocked("it has no integration: 500");
    };
    if is_proxy(integration) {
        return Seen::Backend;
    }
    for response in integration.integration_responses.values() {
        let header = mapped(&response.response_parameters, "method.response.header.", ORIGIN);
        if let Some(why) = origin_fault(header, origin) {
            return blocked(&format!("the answer {} {why}", response.status_code));
        }
    }
    if integration.integration_responses.is_empty() {
        return blocked("it has no integration response: 500");
    }
    Seen::Fine
}

/// The gateway's own answers of a class: the default for it, and those with words of their own.
fn of_gateway(definition: &Definition, class: u8, origin: &str) -> Seen {
    let default = if class == b'4' { "DEFAULT_4XX" } else { "DEFAULT_5XX" };
    let fault = |response: Option<&GatewayResponse>| {
        let header =
            response.and_then(|of| mapped(&of.response_parameters, "gatewayresponse.header.", ORIGIN));
        origin_fault(header, origin)
    };
    if let Some(why) = fault(definition.gateway_responses.get(default)) {
        return blocked(&format!("the gateway response {default} {why}"));
    }
    let of_class =
        |response: &&GatewayResponse| match sluice_mapping::Kind::from_name(&response.response_type) {
            Some(kind) => kind.default_status() / 100 == u16::from(class - b'0'),
            None => false,
        };
    for response in definition.gateway_responses.values().filter(of_class) {
        if let Some(why) = fault(Some(response)) {
            return blocked(&format!("the gateway response {} {why}", response.response_type));
        }
    }
    Seen::Fine
}

fn is_proxy(integration: &Integration) -> bool {
    matches!(integration.integration_type, IntegrationType::AwsProxy | IntegrationType::HttpProxy)
}

fn is_default(response: &sluice_catalog::IntegrationResponse) -> bool {
    response.selection_pattern.as_deref().is_none_or(str::is_empty)
}

/// What a header is mapped from.
fn mapped<'m>(parameters: &'m sluice_catalog::Strings, before: &str, name: &str) -> Option<&'m str> {
    let is_it = |key: &str| key.strip_prefix(before).is_some_and(|known| known.eq_ignore_ascii_case(name));
    parameters.iter().find(|(key, _)| is_it(key)).map(|(_, value)| value.as_str())
}

/// What is wrong with `Access-Control-Allow-Origin`, if anything is.
fn origin_fault(mapped: Option<&str>, origin: &str) -> Option<String> {
    let Some(mapped) = mapped else { return Some("has no Access-Control-Allow-Origin".to_owned()) };
    let text = constant(mapped)?;
    (text != "*" && text != origin).then(|| format!("allows the origin {text}, not {origin}"))
}

/// A constant's text; an expression's is known to those who call.
fn constant(mapped: &str) -> Option<&str> {
    mapped.strip_prefix('\'')?.strip_suffix('\'')
}

fn lists(mapped: Option<&str>, wanted: &str) -> bool {
    let Some(mapped) = mapped else { return false };
    let Some(text) = constant(mapped) else { return true };
    // A star does not stand for Authorization (Fetch, "CORS non-wildcard request-header name").
    let star = !wanted.eq_ignore_ascii_case("authorization");
    text.split(',').map(str::trim).any(|one| one.eq_ignore_ascii_case(wanted) || (star && one == "*"))
}

fn blocked(why: &str) -> Seen {
    Seen::Blocked(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn definition(options: &serde_json::Value, method: &serde_json::Value) -> Definition {
        let verb = method["httpMethod"].as_str().unwrap_or("GET").to_owned();
        let mut methods = serde_json::Map::new();
        methods.insert(verb, method.clone());
        if !options.is_null() {
            methods.insert("OPTIONS".to_owned(), options.clone());
        }
        let allowed =
            json!({ "gatewayresponse.header.Access-Control-Allow-Origin": "method.request.header.Origin" });
        serde_json::from_value(json!({
            "resources": { "r": { "id": "r", "path": "/r", "resourceMethods": methods } },
            "gatewayResponses": {
                "DEFAULT_4XX": { "responseType": "DEFAULT_4XX", "responseParameters": allowed },
                "DEFAULT_5XX": { "responseType": "DEFAULT_5XX", "responseParameters": allowed }
            }
        }))
        .unwrap()
    }

    fn mock(verb: &str, headers: &[(&str, &str)]) -> serde_json::Value {
        let headers: serde_json::Map<_, _> = headers
            .iter()
            .map(|(name, value)| (format!("method.response.header.{name}"), json!(value)))
            .collect();
        json!({ "httpMethod": verb, "authorizationType": "NONE", "methodIntegration": {
            "type": "MOCK", "integrationResponses": { "200": { "statusCode": "200", "responseParameters": headers } } } })
    }

    fn told(options: &serde_json::Value, method: &serde_json::Value) -> Vec<String> {
        let routes = cors(&definition(options, method), "https://app.example");
        assert_eq!(routes.len(), 1);
        assert_eq!(routes[0].is_fine(), routes[0].problems().is_empty());
        routes[0].problems()
    }

    const STAR: (&str, &str) = ("Access-Control-Allow-Origin", "'*'");

    #[test]
    fn what_a_page_may_do_is_no_problem() {
        let options = mock(
            "OPTIONS",
            &[STAR, ("access-control-allow-methods", "'GET,PUT'"), ("Access-Control-Allow-Headers", "'*'")],
        );
        assert_eq!(told(&options, &mock("PUT", &[STAR])), Vec::<String>::new());
        // No preflight comes before a plain GET.
        assert_eq!(told(&json!(null), &mock("GET", &[STAR])), Vec::<String>::new());
        let own = ("Access-Control-Allow-Origin", "'https://app.example'");
        assert_eq!(told(&json!(null), &mock("GET", &[own])), Vec::<String>::new());
        let mut proxied = mock("GET", &[]);
        proxied["methodIntegration"]["type"] = json!("HTTP_PROXY");
        assert_eq!(told(&json!(null), &proxied), Vec::<String>::new());
    }

    #[test]
    fn each_gap_is_named() {
        let allowed =
            [STAR, ("Access-Control-Allow-Methods", "'GET'"), ("Access-Control-Allow-Headers", "'*'")];
        let mut keyed = mock("GET", &[STAR]);
        keyed["authorizationType"] = json!("AWS_IAM");
        let mut guarded = mock("OPTIONS", &allowed);
        guarded["apiKeyRequired"] = json!(true);
        let other = ("Access-Control-Allow-Origin", "'https://other.example'");
        for (options, method, expected) in [
            (json!(null), mock("PUT", &[STAR]), "PUT /r: preflight: the resource has no OPTIONS method"),
            (
                mock("OPTIONS", &[]),
                mock("PUT", &[STAR]),
                "PUT /r: preflight: OPTIONS has no Access-Control-Allow-Origin",
            ),
            (
                mock("OPTIONS", &allowed),
                mock("PUT", &[STAR]),
                "Access-Control-Allow-Methods of OPTIONS does not name PUT",
            ),
            (
                mock("OPTIONS", &[STAR]),
                mock("POST", &[STAR]),
                "Access-Control-Allow-Headers of OPTIONS does not name content-type",
            ),
            (mock("OPTIONS", &allowed), keyed, "does not name authorization"),
            (guarded, mock("PUT", &[STAR]), "OPTIONS asks for an authorization"),
            (
                json!(null),
                mock("GET", &[]),
                "GET /r: answers: the answer 200 has no Access-Control-Allow-Origin",
            ),
            (
                json!(null),
                mock("GET", &[other]),
                "allows the origin https://other.example, not https://app.example",
            ),
        ] {
            let problems = told(&options, &method);
            assert!(problems.len() == 1 && problems[0].contains(expected), "{expected}: {problems:?}");
        }
    }

    #[test]
    fn refusals_need_the_header_too() {
        let mut definition = definition(&json!(null), &mock("GET", &[STAR]));
        definition.gateway_responses.remove("DEFAULT_5XX");
        let own = GatewayResponse { response_type: "THROTTLED".to_owned(), ..GatewayResponse::default() };
        definition.gateway_responses.insert("THROTTLED".to_owned(), own);
        let problems = cors(&definition, "https://app.example")[0].problems();
        assert_eq!(
            problems,
            [
                "GET /r: refusals 4xx: the gateway response THROTTLED has no Access-Control-Allow-Origin",
                "GET /r: refusals 5xx: the gateway response DEFAULT_5XX has no Access-Control-Allow-Origin",
            ]
        );
    }
}
