//! TestInvokeMethod and TestInvokeAuthorizer: a method as it is edited answers one made-up request, or an authorizer judges it.

use super::fault::Fault;
use super::input::Input;
use super::{Answer, Call, Reply, Serving, authorizers, methods, resources};
use serde_json::{Map, Value, json};
use sluice_catalog::{AuthorizerType, Catalog, RestApi, Strings};
use std::sync::Arc;

/// What is tried of an API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A method.
    Method {
        /// Of this resource.
        resource_id: String,
        /// A verb, or `ANY`.
        method: String,
    },
    /// A Lambda authorizer.
    Authorizer {
        /// Its id.
        id: String,
    },
}

/// A request to a method, or for an authorizer, that need not be deployed.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The API as it is edited.
    pub api: Arc<RestApi>,
    /// What of it.
    pub subject: Subject,
    /// What the request is sent with.
    pub verb: String,
    /// Path and query; begins with a slash and has no byte that would end it.
    pub target: String,
    /// Checked: what is sent is one request.
    pub headers: Vec<(String, String)>,
    /// As it is.
    pub body: String,
    /// In place of a stage's.
    pub variables: Strings,
}

/// What came of a [`Trial`].
#[derive(Clone, Debug, Default)]
pub struct TrialOutcome {
    /// Status of the answer.
    pub status: u16,
    /// Its headers, without those of the connection.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
    /// From the request to the answer.
    pub latency_ms: u64,
    /// The execution log.
    pub log: String,
    /// What an authorizer's function returned, if that was good.
    pub vouched: Option<Vec<u8>>,
}

/// Why there is no outcome.
#[derive(Clone, Debug)]
pub enum TrialError {
    /// The caller's doing: what was asked for cannot be tried.
    Invalid(String),
    /// Others are under way already.
    Busy,
    /// Ours.
    Failed(String),
}

/// Fields that decide where a request ends (RFC 9110 7.6.1, RFC 9112 6), or where it goes.
const FRAMING: [&str; 9] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "keep-alive",
];

pub(crate) fn test_invoke(catalog: &Catalog, call: &Call, serving: &dyn Serving) -> Answer {
    show(serving.try_out(read(catalog, call)?).map_err(Fault::from)?)
}

/// Reads what is to be tried.
fn read(catalog: &Catalog, call: &Call) -> Result<Trial, Fault> {
    let resource = resources::find(catalog, call)?;
    let asked = call.param("http_method");
    let method = [asked, "ANY"].into_iter().find(|name| resource.methods.contains_key(*name));
    let method = method.ok_or_else(|| Fault::not_found(methods::UNKNOWN))?;
    let input = call.input()?;
    let path = target(input.text("pathWithQueryString")?.as_deref(), &resource.path);
    if input.text("clientCertificateId")?.is_some_and(|id| !id.is_empty()) {
        return Err(Fault::bad_request("clientCertificateId is not supported by this gateway."));
    }
    Ok(Trial {
        api: Arc::clone(call.api(catalog)?),
        subject: Subject::Method { resource_id: resource.id.clone(), method: method.to_owned() },
        verb: if asked == "ANY" { "GET" } else { asked }.to_owned(),
        target: path,
        headers: headers(&input)?,
        body: input.text("body")?.unwrap_or_default(),
        variables: input.strings("stageVariables")?.unwrap_or_default(),
    })
}

/// Asks an authorizer about a request: GET of `pathWithQueryString`.
pub(crate) fn test_authorizer(catalog: &Catalog, call: &Call, serving: &dyn Serving) -> Answer {
    let api = call.api(catalog)?;
    let id = call.param("authorizer_id");
    let authorizer = api.definition.authorizers.get(id);
    let authorizer = authorizer.ok_or_else(|| Fault::not_found(authorizers::UNKNOWN))?;
    if authorizer.authorizer_type == AuthorizerType::CognitoUserPools {
        return Err(Fault::not_supported("TestInvokeAuthorizer for COGNITO_USER_POOLS"));
    }
    let input = call.input()?;
    if input.strings("additionalContext")?.is_some_and(|context| !context.is_empty()) {
        return Err(Fault::bad_request("additionalContext is not supported by this gateway."));
    }
    let trial = Trial {
        api: Arc::clone(api),
        subject: Subject::Authorizer { id: id.to_owned() },
        verb: "GET".to_owned(),
        target: target(input.text("pathWithQueryString")?.as_deref(), "/"),
        headers: headers(&input)?,
        body: input.text("body")?.unwrap_or_default(),
        variables: input.strings("stageVariables")?.unwrap_or_default(),
    };
    show_authorizer(serving.try_out(trial).map_err(Fault::from)?)
}

/// With a slash before it, and what may not stand in a request line percent-encoded.
fn target(given: Option<&str>, otherwise: &str) -> String {
    let path = given.filter(|path| !path.is_empty()).unwrap_or(otherwise);
    let mut out = String::with_capacity(path.len() + 1);
    if !path.starts_with('/') {
        out.push('/');
    }
    for byte in path.bytes() {
        match byte {
            b'!' | b'$'..=b';' | b'=' | b'?'..=b'Z' | b'_' | b'a'..=b'z' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn headers(input: &Input<'_>) -> Result<Vec<(String, String)>, Fault> {
    let several = input.lists("multiValueHeaders")?;
    let single = input.strings("headers")?.unwrap_or_default();
    // As on AWS, of a name in both the values of the list count.
    let single = single.into_iter().filter(|(name, _)| !several.keys().any(|n| n.eq_ignore_ascii_case(name)));
    let lists = several.iter().flat_map(|(name, values)| values.iter().map(|v| (name.clone(), v.clone())));
    let mut out = Vec::new();
    for (name, value) in single.chain(lists) {
        let is_token = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        if !is_token || value.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
            return Err(Fault::bad_request(format!("Invalid header specified: {name}")));
        }
        if !FRAMING.iter().any(|one| one.eq_ignore_ascii_case(&name)) {
            out.push((name, value));
        }
    }
    Ok(out)
}

impl From<TrialError> for Fault {
    fn from(error: TrialError) -> Self {
        match error {
            TrialError::Invalid(why) => Self::bad_request(why),
            TrialError::Busy => {
                Self::new(429, "TooManyRequestsException", "Other methods are being tried out; try again.")
            }
            TrialError::Failed(why) => Self::new(500, "InternalServerErrorException", why),
        }
    }
}

/// As AWS answers it: "Value is 0 if the authorizer succeeded" (API reference, TestInvokeAuthorizer), whatever its policy says of
/// this request.
fn show_authorizer(outcome: TrialOutcome) -> Answer {
    let said = outcome.vouched.as_deref().map(serde_json::from_slice::<Map<String, Value>>);
    let said = said.and_then(Result::ok);
    let mut shown = json!({
        "clientStatus": if said.is_some() { 0 } else { outcome.status },
        "log": outcome.log,
        "latency": outcome.latency_ms,
    });
    if let (Some(said), Some(shown)) = (said, shown.as_object_mut()) {
        for (name, value) in said {
            match name.as_str() {
                "principalId" => drop(shown.insert(name, value)),
                // A document of its own.
                "policyDocument" => drop(shown.insert("policy".to_owned(), value.to_string().into())),
                _ => {}
            }
        }
    }
    Ok(Reply::ok(shown))
}

/// As AWS answers it.
fn show(outcome: TrialOutcome) -> Answer {
    let (mut single, mut several) = (Map::new(), Map::new());
    for (name, value) in outcome.headers {
        single.insert(name.clone(), json!(value));
        if let Value::Array(values) = several.entry(name).or_insert_with(|| json!([])) {
            values.push(json!(value));
        }
    }
    Ok(Reply::ok(json!({
        "status": outcome.status,
        "body": outcome.body,
        "headers": single,
        "multiValueHeaders": several,
        "log": outcome.log,
        "latency": outcome.latency_ms,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_one_word_of_a_request_line() {
        for (path, expected) in [
            ("/a?b=c&d", "/a?b=c&d"),
            ("a", "/a"),
            ("/{id}", "/%7Bid%7D"),
            ("/a b\r\nX: y", "/a%20b%0D%0AX:%20y"),
            ("/é#x", "/%C3%A9%23x"),
            ("/a%20b", "/a%20b"),
        ] {
            assert_eq!(target(Some(path), "/other"), expected);
        }
        assert_eq!((target(None, "/{id}"), target(Some(""), "/")), ("/%7Bid%7D".to_owned(), "/".to_owned()));
    }

    #[test]
    fn headers_cannot_break_the_request() {
        let read = |document: Value| headers(&Input::of(&document)?);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            read(
                json!({ "headers": { "A": "1", "b": "2", "Content-Length": "9" }, "multiValueHeaders": { "a": ["3", "4"] } })
            ),
            Ok(vec![pair("b", "2"), pair("a", "3"), pair("a", "4")])
        );
        for broken in [json!({ "headers": { "a b": "1" } }), json!({ "headers": { "a": "1\r\nb: 2" } })] {
            assert_eq!(read(broken).unwrap_err().status, 400);
        }
    }
}
