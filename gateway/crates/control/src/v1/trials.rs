//! TestInvokeMethod: a method as it is edited answers one made-up request.

use super::fault::Fault;
use super::input::Input;
use super::{Answer, Call, Reply, Serving, methods, resources};
use serde_json::{Map, Value, json};
use sluice_catalog::{Catalog, RestApi, Strings};
use std::sync::Arc;

/// A request to a method that need not be deployed.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The API as it is edited.
    pub api: Arc<RestApi>,
    /// The resource in it.
    pub resource_id: String,
    /// The method there: a verb, or `ANY`.
    pub method: String,
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
#[derive(Clone, Debug)]
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
    show(serving.try_out(read(catalog, call)?))
}

/// Reads what is to be tried.
fn read(catalog: &Catalog, call: &Call) -> Result<Trial, Fault> {
    let resource = resources::find(catalog, call)?;
    let asked = call.param("http_method");
    let method = [asked, "ANY"].into_iter().find(|name| resource.methods.contains_key(*name));
    let method = method.ok_or_else(|| Fault::not_found(methods::UNKNOWN))?;
    let input = call.input()?;
    if input.text("clientCertificateId")?.is_some_and(|id| !id.is_empty()) {
        return Err(Fault::bad_request("clientCertificateId is not supported by this gateway."));
    }
    let path = input.text("pathWithQueryString")?.filter(|path| !path.is_empty());
    Ok(Trial {
        api: Arc::clone(call.api(catalog)?),
        resource_id: resource.id.clone(),
        method: method.to_owned(),
        verb: if asked == "ANY" { "GET" } else { asked }.to_owned(),
        target: target(path.as_deref().unwrap_or(&resource.path)),
        headers: headers(&input)?,
        body: input.text("body")?.unwrap_or_default(),
        variables: input.strings("stageVariables")?.unwrap_or_default(),
    })
}

/// With a slash before it, and what may not stand in a request line percent-encoded.
fn target(path: &str) -> String {
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

/// As AWS answers it.
fn show(outcome: Result<TrialOutcome, TrialError>) -> Answer {
    let outcome = outcome.map_err(|error| match error {
        TrialError::Invalid(why) => Fault::bad_request(why),
        TrialError::Busy => {
            Fault::new(429, "TooManyRequestsException", "Other methods are being tried out; try again.")
        }
        TrialError::Failed(why) => Fault::new(500, "InternalServerErrorException", why),
    })?;
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
            assert_eq!(target(path), expected);
        }
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
