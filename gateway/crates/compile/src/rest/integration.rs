//! Integrations to what the data plane does for them.

use super::service::ServiceTarget;
use super::stage::Served;
use super::uri::{Piece, Uri};
use crate::build::mock_with;
use bytes::Bytes;
use sluice_catalog::{self as catalog, Definition, Integration, IntegrationType};
use sluice_mapping::{
    Answer, ContentHandling, ContextValue, ContextVariable, GatewayResponseSource, GatewayResponses, Kind,
    MappingError, Outgoing, Passthrough, Place, Request, RequestMapping, RequestSource, RequestView,
    Response, ResponseMapping, ResponseSource, ResponseView, SelectBy, UriTemplate,
};
use sluice_snapshot::{
    Action, AwsProxy, Backing, Destination, Function, FunctionIntegration, HttpIntegration, MappedPlan,
    MockResponse, PathPiece, Pattern, ProxyPlan, ServiceIntegration,
};
use std::sync::Arc;

/// Where the catalog names none: AWS's largest.
const TIMEOUT_MS: u32 = 29_000;
const JSON: &str = "application/json";

/// A MOCK. `may_be_fixed`: one that always says the same need not run its templates.
pub(super) fn mock(
    integration: &Integration,
    of: &Served,
    may_be_fixed: bool,
) -> Result<Box<MappedPlan>, String> {
    let (request, response) = (request(integration)?, response(integration, SelectBy::Status)?);
    let usual = if may_be_fixed && of.is_plain() && is_fixed(integration) {
        usual(&request, &response)
    } else {
        None
    };
    Ok(Box::new(MappedPlan { request, response, backing: Backing::Mock(usual) }))
}

/// An HTTP or HTTP_PROXY. `holds_body`: it is validated, and so cannot stream.
pub(super) fn http(
    api: &Arc<str>,
    pattern: &Pattern,
    integration: &Integration,
    (uri, to): (&Uri, Destination),
    holds_body: bool,
) -> Result<Action, String> {
    let is_proxy = integration.integration_type == IntegrationType::HttpProxy;
    let method = integration.http_method.as_deref().filter(|name| !matches!(*name, "" | "ANY"));
    let host = match to {
        Destination::Group(_) => Some(uri.authority.as_str().into()),
        Destination::Backend(_) => None,
    };
    let asked = HttpIntegration {
        to,
        host,
        method: method.map(|name| Bytes::copy_from_slice(name.as_bytes())),
        target: UriTemplate::compile(&uri.target).map_err(|error| format!("its URI, {error}"))?,
        timeout_ms: timeout_ms(integration),
        is_proxy,
        is_stream: is_proxy && streams(integration),
        api: Arc::clone(api),
    };
    if !is_proxy {
        let (request, response) = (request(integration)?, response(integration, SelectBy::Status)?);
        return Ok(Action::Mapped(Box::new(MappedPlan { request, response, backing: Backing::Http(asked) })));
    }
    if let Some((path, query)) = unmapped(uri, pattern, integration).filter(|_| !holds_body) {
        return Ok(proxied(asked, Some(path), query, None));
    }
    let request = parameters(integration)?;
    if holds_body || request.needs_body() {
        let response = ResponseMapping::default();
        return Ok(Action::Mapped(Box::new(MappedPlan { request, response, backing: Backing::Http(asked) })));
    }
    Ok(proxied(asked, None, None, Some(request)))
}

/// A Lambda function.
pub(super) fn function(integration: &Integration, function: Function) -> Result<Box<MappedPlan>, String> {
    let is_proxy = integration.integration_type == IntegrationType::AwsProxy;
    let (request, response) = if is_proxy {
        (parameters(integration)?, ResponseMapping::default())
    } else {
        (request(integration)?, response(integration, SelectBy::LambdaError)?)
    };
    let is_stream = streams(integration);
    let asked = FunctionIntegration { function, is_proxy, is_stream, timeout_ms: timeout_ms(integration) };
    Ok(Box::new(MappedPlan { request, response, backing: Backing::Function(asked) }))
}

/// A service of AWS.
pub(super) fn service(
    api: &Arc<str>,
    integration: &Integration,
    of: ServiceTarget,
) -> Result<Box<MappedPlan>, String> {
    let (request, response) = (request(integration)?, response(integration, SelectBy::Status)?);
    let method = integration.http_method.as_deref().filter(|name| !matches!(*name, "" | "ANY"));
    let http = HttpIntegration {
        to: of.to,
        host: None,
        method: Some(Bytes::copy_from_slice(method.unwrap_or("POST").as_bytes())),
        target: UriTemplate::compile(&of.target).map_err(|error| format!("its URI, {error}"))?,
        timeout_ms: timeout_ms(integration),
        is_proxy: false,
        is_stream: false,
        api: Arc::clone(api),
    };
    let asked =
        ServiceIntegration { http, auth: of.auth, headers: of.headers, signs_payload: of.signs_payload };
    Ok(Box::new(MappedPlan { request, response, backing: Backing::Service(asked) }))
}

/// Whether its answer goes on as it comes (`responseTransferMode` STREAM).
pub(super) fn streams(integration: &Integration) -> bool {
    integration.response_transfer_mode.as_deref() == Some("STREAM")
}

fn timeout_ms(integration: &Integration) -> u64 {
    match integration.timeout_in_millis {
        0 => u64::from(TIMEOUT_MS),
        given => u64::from(given),
    }
}

fn proxied(
    integration: HttpIntegration,
    rewrite: Option<Vec<PathPiece>>,
    query: Option<Bytes>,
    parameters: Option<RequestMapping>,
) -> Action {
    Action::Proxy(ProxyPlan {
        to: integration.to,
        rewrite,
        total_timeout_ms: integration.timeout_ms,
        tunnel: None,
        aws: Some(Box::new(AwsProxy { integration, parameters, query })),
    })
}

/// Path and query of a URI into which nothing is mapped but path variables as the client writes them, under a method that
/// maps nothing else: no mapping needs to run for it.
fn unmapped(
    uri: &Uri,
    pattern: &Pattern,
    integration: &Integration,
) -> Option<(Vec<PathPiece>, Option<Bytes>)> {
    let prefix = "integration.request.path.";
    if !integration.request_parameters.keys().all(|to| to.starts_with(prefix)) {
        return None;
    }
    let piece = |piece: &Piece| match piece {
        Piece::Literal(text) => Some(PathPiece::Literal(Bytes::copy_from_slice(text.as_bytes()))),
        Piece::Param(name) => {
            let from = integration.request_parameters.get(&format!("{prefix}{name}"))?;
            let from = from.strip_prefix("method.request.path.")?;
            let at = pattern.captures().position(|known| known == from)?;
            Some(PathPiece::Capture(u8::try_from(at).ok()?))
        }
    };
    let path = uri.path.iter().map(piece).collect::<Option<Vec<_>>>()?;
    match uri.query.as_deref() {
        None | Some([]) => Some((path, None)),
        Some([Piece::Literal(query)]) => Some((path, Some(Bytes::copy_from_slice(query.as_bytes())))),
        Some(_) => None,
    }
}

fn parameters(integration: &Integration) -> Result<RequestMapping, String> {
    let parameters: Vec<_> =
        integration.request_parameters.iter().map(|(to, from)| (to.as_str(), from.as_str())).collect();
    RequestMapping::compile(&RequestSource { parameters: &parameters, ..RequestSource::default() })
        .map_err(told)
}

fn request(integration: &Integration) -> Result<RequestMapping, String> {
    let pairs = |strings: &'_ catalog::Strings| -> Vec<(String, String)> {
        strings.iter().map(|(to, from)| (to.clone(), from.clone())).collect()
    };
    let (parameters, templates) =
        (pairs(&integration.request_parameters), pairs(&integration.request_templates));
    let source = RequestSource {
        parameters: &borrowed(&parameters),
        templates: &borrowed(&templates),
        passthrough: Passthrough::from_name(&integration.passthrough_behavior).unwrap_or_default(),
        content_handling: integration.content_handling.map(handling),
    };
    RequestMapping::compile(&source).map_err(told)
}

fn response(integration: &Integration, by: SelectBy) -> Result<ResponseMapping, String> {
    let mut owned = Vec::new();
    for response in integration.integration_responses.values() {
        let parameters: Vec<_> =
            response.response_parameters.iter().map(|(to, from)| (to.clone(), from.clone())).collect();
        let template = |text: &Option<String>| text.clone().unwrap_or_default();
        let templates: Vec<_> =
            response.response_templates.iter().map(|(media, text)| (media.clone(), template(text))).collect();
        owned.push((response, parameters, templates));
    }
    let borrowed: Vec<_> = owned
        .iter()
        .map(|(response, parameters, templates)| (*response, borrowed(parameters), borrowed(templates)))
        .collect();
    let sources: Vec<_> = borrowed
        .iter()
        .map(|(response, parameters, templates)| ResponseSource {
            status: &response.status_code,
            pattern: response.selection_pattern.as_deref(),
            parameters,
            templates,
            content_handling: response.content_handling.map(handling),
        })
        .collect();
    ResponseMapping::compile(by, &sources).map_err(told)
}

fn borrowed(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(one, other)| (one.as_str(), other.as_str())).collect()
}

const fn handling(handling: catalog::ContentHandling) -> ContentHandling {
    match handling {
        catalog::ContentHandling::ConvertToBinary => ContentHandling::ConvertToBinary,
        catalog::ContentHandling::ConvertToText => ContentHandling::ConvertToText,
    }
}

fn told(errors: Vec<MappingError>) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// An API's gateway responses; `None`: it has none of its own.
pub(super) fn gateway_responses(definition: &Definition) -> Result<Option<GatewayResponses>, String> {
    if definition.gateway_responses.is_empty() {
        return Ok(None);
    }
    let mut owned = Vec::new();
    for response in definition.gateway_responses.values() {
        let kind = Kind::from_name(&response.response_type);
        let kind = kind.ok_or_else(|| format!("unknown type `{}`", response.response_type))?;
        let pairs = |strings: &'_ catalog::Strings| -> Vec<(String, String)> {
            strings.iter().map(|(to, from)| (to.clone(), from.clone())).collect()
        };
        owned.push((
            kind,
            response,
            pairs(&response.response_parameters),
            pairs(&response.response_templates),
        ));
    }
    let lists: Vec<_> =
        owned.iter().map(|(.., parameters, templates)| (borrowed(parameters), borrowed(templates))).collect();
    let sources: Vec<_> = owned
        .iter()
        .zip(&lists)
        .map(|((kind, response, ..), (parameters, templates))| GatewayResponseSource {
            kind: *kind,
            status: response.status_code.as_deref(),
            parameters,
            templates,
        })
        .collect();
    GatewayResponses::compile(&sources).map(Some).map_err(told)
}

/// Whether a MOCK says the same whatever is asked, as far as its text tells: no variable, no directive, one media type.
fn is_fixed(integration: &Integration) -> bool {
    let fixed = |text: &str| !text.contains(['$', '#', '\\']);
    let of_response = |response: &catalog::IntegrationResponse| {
        let media = response.response_templates.keys().all(|media| media == JSON);
        let texts = response.response_templates.values().all(|text| text.as_deref().is_none_or(fixed));
        let headers = response.response_parameters.values().all(|from| from.starts_with('\''));
        media && texts && headers && response.content_handling.is_none()
    };
    integration.content_handling.is_none()
        && integration.request_parameters.is_empty()
        && integration.request_templates.values().all(|text| fixed(text))
        && integration.integration_responses.values().all(of_response)
}

/// The answer to a request without or with JSON content; `None` where that is a refusal.
fn usual(request: &RequestMapping, response: &ResponseMapping) -> Option<MockResponse> {
    let seen = Nothing(200);
    let asked = Request::new(&seen);
    let mut outgoing = Outgoing::default();
    request.apply(&asked, &Default::default(), &mut outgoing).ok()?;
    let mocked = Nothing(sluice_mapping::mock_status(outgoing.body.as_deref()?)?);
    let mut answer = Answer::default();
    response
        .apply(
            &asked,
            &Response::new(&mocked),
            &Default::default(),
            &outgoing.response_overrides,
            &mut answer,
        )
        .ok()?;
    let body = String::from_utf8(answer.body.unwrap_or_default()).ok()?;
    let headers: Vec<_> = answer.headers.of(Place::Header).collect();
    // What may not be written as it is takes the longer way, where it is left out.
    let is_plain = |name: &str, value: &str| {
        name.bytes().all(|b| b.is_ascii_graphic())
            && value.bytes().all(|b| b >= b' ')
            && !["connection", "content-length", "date", "transfer-encoding", "x-amzn-requestid"]
                .contains(&name.to_ascii_lowercase().as_str())
    };
    headers
        .iter()
        .all(|(name, value)| is_plain(name, value))
        .then(|| mock_with(answer.status, &body, &headers))
}

/// A request without anything, or an answer of which only the status is there.
struct Nothing(u16);

impl RequestView for Nothing {
    fn path_parameters<'v>(&'v self, _: &mut dyn FnMut(&'v str, &'v str)) {}

    fn query(&self) -> &str {
        ""
    }

    fn headers<'v>(&'v self, _: &mut dyn FnMut(&'v str, &'v [u8])) {}

    fn body(&self) -> &[u8] {
        b""
    }

    fn context(&self, _: ContextVariable) -> Option<ContextValue<'_>> {
        None
    }

    fn stage_variables<'v>(&'v self, _: &mut dyn FnMut(&'v str, &'v str)) {}
}

impl ResponseView for Nothing {
    fn status(&self) -> u16 {
        self.0
    }

    fn headers<'v>(&'v self, _: &mut dyn FnMut(&'v str, &'v [u8])) {}

    fn body(&self) -> &[u8] {
        b""
    }
}
