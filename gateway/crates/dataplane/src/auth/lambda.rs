//! Lambda authorizers: a function that says who calls and what that one may.
//!
//! ```text
//! identity sources ── one missing, or not as it must look ──> 401
//!   │ all there
//!   ├── known, not older than its TTL ───────────────────────┐
//!   ├── asked for by another exchange of this core ── wait ──┤
//!   └── ask the function ── "Unauthorized": 401, else 500 ───┴──> its policy about this method ──> 403, or go on
//! ```
//! What is kept is kept for an identity, not for a method (developer guide, "Use API Gateway Lambda authorizers"): the
//! policy that the function returned for one method is asked about the next one.

use crate::auth::asked::method_arn;
use crate::auth::only_header;
use crate::core::Core;
use crate::exchange::{Exchange, Refused};
use crate::rest::lambda::{Invocation, invoke, trace};
use crate::rest::told::{Told, client_path, event_headers, route_key};
use crate::rest::view::Seen;
use serde_json::{Map, Value};
use sluice_iam::{Kind, Policy, method_scoped};
use sluice_jwt::{TokenId, Verified};
use sluice_mapping::{
    ContextValue, EventFacts, PayloadFormat, Request, RequestView, authorizer_event, token_event,
};
use sluice_snapshot::{IdentitySource, LambdaKind, LambdaPlan};
use sluice_telemetry::Refusal;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// What a function vouches for.
pub(crate) struct Vouched {
    pub(crate) principal: String,
    pub(crate) verdict: Verdict,
    /// All of it text, as backends and templates get it.
    pub(crate) context: Vec<(String, String)>,
    /// The context as it was returned: events of HTTP APIs have it so.
    pub(crate) said: Option<Value>,
    /// `usageIdentifierKey`.
    pub(crate) usage_key: Option<String>,
    /// How long the function took, milliseconds.
    pub(crate) latency_ms: u64,
}

/// What a function says of its caller.
pub(crate) enum Verdict {
    /// What it may call.
    Policy(Policy),
    /// Whether it may (`isAuthorized`).
    Simple(bool),
}

/// Answers that a core keeps.
const KEPT: usize = 4096;
/// For one question, as for integrations.
const TIMEOUT_MS: u64 = 29_000;

/// What a core knows of identities, and what it is about to.
pub(crate) struct Authorizations {
    kept: RefCell<Verified<Vouched>>,
    asked: RefCell<HashMap<TokenId, Rc<Flight>>>,
    /// Plans whose policies were complained about.
    told: RefCell<HashSet<u64>>,
}

impl Default for Authorizations {
    fn default() -> Self {
        Self { kept: RefCell::new(Verified::new(KEPT)), asked: RefCell::default(), told: RefCell::default() }
    }
}

/// A question that is under way.
#[derive(Default)]
struct Flight {
    landed: Cell<bool>,
    /// `None` once landed: nobody got an answer, because the client that asked has left.
    answer: RefCell<Option<Result<Rc<Vouched>, Refusal>>>,
    waiting: RefCell<Vec<Waker>>,
}

impl Flight {
    async fn landed(&self) -> Option<Result<Rc<Vouched>, Refusal>> {
        poll_fn(|cx| {
            if self.landed.get() {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
        self.answer.borrow().clone()
    }
}

/// Lands a flight however its exchange ends.
struct Pilot<'c> {
    of: &'c Authorizations,
    id: TokenId,
    flight: Rc<Flight>,
}

impl Drop for Pilot<'_> {
    fn drop(&mut self) {
        self.of.asked.borrow_mut().remove(&self.id);
        self.flight.landed.set(true);
        for waker in self.flight.waiting.take() {
            waker.wake();
        }
    }
}

/// The identity that a request brings.
pub(crate) struct Identity {
    id: TokenId,
    /// Of a TOKEN authorizer.
    token: String,
    /// What the sources of an HTTP API's authorizer are.
    sources: Vec<String>,
}

/// Reads the identity sources. AWS asks for each of them, whether it keeps answers or not.
pub(crate) fn identity(ex: &Exchange, core: &Core, plan: &LambdaPlan) -> Result<Identity, Refused> {
    let (mut key, mut token, mut values) = (String::new(), String::new(), Vec::new());
    match &plan.kind {
        LambdaKind::Token { header, validation } => {
            let value = only_header(ex, header).ok_or(Refusal::Unauthorized)?;
            if validation.as_ref().is_some_and(|regex| !regex.is_match(value).unwrap_or(false)) {
                return Err(Refusal::Unauthorized.into());
            }
            value.clone_into(&mut token);
            key.push_str(value);
        }
        LambdaKind::Request { sources } => {
            let seen = Seen::new(ex, b"", core.clock.unix_ms(ex.received_ns));
            let request = Request::new(&seen);
            for source in sources {
                let mut found = false;
                // No such expression reads a body, which is all that could fail.
                let _ = source.values(&request, None, &mut |value| {
                    found |= !value.is_empty();
                    // With their lengths, so that no two identities can spell the same.
                    let _ = write!(key, "{}:{value};", value.len());
                });
                if !found {
                    return Err(Refusal::Unauthorized.into());
                }
            }
        }
        LambdaKind::Http { sources, .. } => {
            let seen = Seen::new(ex, b"", core.clock.unix_ms(ex.received_ns));
            for source in sources {
                let value = source_value(ex, &seen, source).filter(|value| !value.is_empty());
                let value = value.ok_or(Refusal::Unauthorized)?;
                let _ = write!(key, "{}:{value};", value.len());
                values.push(value);
            }
        }
    }
    Ok(Identity { id: TokenId::new(plan.number, &key), token, sources: values })
}

/// What an identity source of an HTTP API is in a request; values of one name are joined by commas, as in its event.
fn source_value(ex: &Exchange, seen: &Seen<'_>, source: &IdentitySource) -> Option<String> {
    let joined = |values: Vec<String>| (!values.is_empty()).then(|| values.join(","));
    match source {
        IdentitySource::Header(name) => {
            let bytes = ex.bytes.as_slice();
            let named = |h: &&sluice_wire::Header| h.name.of(bytes).eq_ignore_ascii_case(name.as_bytes());
            let lines = ex.head.headers.iter().filter(named);
            joined(lines.map(|h| String::from_utf8_lossy(h.value.of(bytes)).into_owned()).collect())
        }
        IdentitySource::Query(name) => {
            let pairs = Request::new(seen).query_pairs().into_iter();
            joined(pairs.filter(|(known, _)| **known == **name).map(|(_, value)| value).collect())
        }
        IdentitySource::RouteKey => Some(route_key(ex)),
        IdentitySource::Context(variable) => match seen.context(*variable)? {
            ContextValue::Str(text) | ContextValue::Json(text) => Some(text.to_owned()),
            ContextValue::Long(number) => Some(number.to_string()),
        },
    }
}

/// What is known of an identity already.
pub(crate) fn known(ex: &Exchange, core: &Core, plan: &LambdaPlan, of: &Identity) -> Option<Rc<Vouched>> {
    if plan.ttl_s == 0 {
        return None;
    }
    core.authorizations.kept.borrow().get(&of.id, 0, core.clock.unix_ms(ex.received_ns) / 1000).map(Rc::clone)
}

/// Finds out who an identity is. Exchanges of this core that ask for the same one share one question, where answers are
/// kept: where they are not, each may be told something else.
pub(crate) async fn ask(
    ex: &Exchange,
    core: &Core,
    plan: &LambdaPlan,
    of: &Identity,
) -> Result<Rc<Vouched>, Refusal> {
    if plan.ttl_s == 0 {
        return vouched(ex, core, plan, of).await;
    }
    let all = &core.authorizations;
    loop {
        let under_way = all.asked.borrow().get(&of.id).map(Rc::clone);
        if let Some(flight) = under_way {
            match flight.landed().await {
                Some(answer) => return answer,
                None => continue,
            }
        }
        let flight = Rc::<Flight>::default();
        all.asked.borrow_mut().insert(of.id, Rc::clone(&flight));
        let pilot = Pilot { of: all, id: of.id, flight };
        let answer = vouched(ex, core, plan, of).await;
        if let Ok(vouched) = &answer {
            let until_s = core.clock.unix_ms(sluice_rt::now_ns()) / 1000 + u64::from(plan.ttl_s);
            all.kept.borrow_mut().insert(of.id, 0, until_s, Rc::clone(vouched));
            warn(core, plan, vouched);
        }
        pilot.flight.answer.replace(Some(answer.clone()));
        return answer;
    }
}

/// Tells, once for each authorizer, of policies that will refuse what they were not asked about.
fn warn(core: &Core, plan: &LambdaPlan, vouched: &Vouched) {
    if let Verdict::Policy(policy) = &vouched.verdict
        && let Some(warning) = method_scoped(policy)
        && core.authorizations.told.borrow_mut().insert(plan.number)
    {
        core.tell(&format!("sluice: warning: {}: {warning}", plan.name));
    }
}

async fn vouched(
    ex: &Exchange,
    core: &Core,
    plan: &LambdaPlan,
    of: &Identity,
) -> Result<Rc<Vouched>, Refusal> {
    let unix_ms = core.clock.unix_ms(ex.received_ns);
    let trace = trace(ex, None, unix_ms);
    let arn = method_arn(ex);
    let mut event = Vec::with_capacity(4096);
    match &plan.kind {
        LambdaKind::Token { .. } => token_event(&of.token, &arn, &mut event),
        LambdaKind::Request { .. } => {
            let seen = Seen::new(ex, b"", unix_ms);
            let (path, headers) = (client_path(ex), event_headers(ex, &trace));
            let facts = EventFacts { path: &path, headers: &headers, is_binary: false, is_http_api: false };
            authorizer_event(&Request::new(&seen), &facts, &arn, &mut event);
        }
        LambdaKind::Http { format, .. } => {
            let seen = Seen::new(ex, b"", unix_ms);
            let told = match format {
                PayloadFormat::V1 => Told::http_v1(ex, b"", &trace),
                PayloadFormat::V2 => Told::http_v2(ex, &trace),
            };
            event = told.authorizer_event(&seen, &arn, &of.sources);
        }
    }
    let invocation = Invocation {
        is_event: false,
        client_context: None,
        trace_id: &trace,
        payload_hash: None,
        timeout_ms: TIMEOUT_MS,
    };
    core.trace.asks(&plan.name, &plan.function.path, &event);
    let started_ns = sluice_rt::clock_ns();
    let invoked = invoke(core, &ex.view, &plan.function, &event, invocation).await;
    let invoked = invoked.map_err(|_| Refusal::Authorizer)?;
    let latency_ms = sluice_rt::clock_ns().saturating_sub(started_ns) / 1_000_000;
    if invoked.is_error {
        core.trace.vouched(&invoked.payload, None);
        return Err(failure(&invoked.payload));
    }
    let vouched = match &plan.kind {
        LambdaKind::Token { .. } | LambdaKind::Request { .. } => answer(&invoked.payload, latency_ms),
        LambdaKind::Http { is_simple, .. } => http_answer(&invoked.payload, *is_simple, latency_ms),
    };
    core.trace.vouched(&invoked.payload, vouched.as_ref().map(|vouched| vouched.principal.as_str()));
    vouched.map(Rc::new).ok_or(Refusal::Authorizer)
}

/// A function refuses by failing with this one word.
fn failure(payload: &[u8]) -> Refusal {
    let error = serde_json::from_slice::<Value>(payload).ok();
    match error.as_ref().and_then(|error| error.get("errorMessage")).and_then(Value::as_str) {
        Some("Unauthorized") => Refusal::Unauthorized,
        _ => Refusal::AuthorizerFailure,
    }
}

/// Reads what the function answered (developer guide, "Output from an API Gateway Lambda authorizer").
fn answer(payload: &[u8], latency_ms: u64) -> Option<Vouched> {
    let answer: Map<String, Value> = serde_json::from_slice(payload).ok()?;
    let principal = answer.get("principalId")?.as_str()?.to_owned();
    let verdict = Verdict::Policy(policy(&answer)?);
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        // "You can't set a JSON object or array as a valid value of any key in the context map."
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    let context = match answer.get("context") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Object(members)) => {
            let pairs = members.iter().filter(|(_, value)| !value.is_null());
            pairs.map(|(name, value)| Some((name.clone(), text(value)?))).collect::<Option<_>>()?
        }
        Some(_) => return None,
    };
    let usage_key = match answer.get("usageIdentifierKey") {
        None | Some(Value::Null) => None,
        Some(key) => Some(key.as_str()?.to_owned()),
    };
    Some(Vouched { principal, verdict, context, said: None, usage_key, latency_ms })
}

fn policy(answer: &Map<String, Value>) -> Option<Policy> {
    let document = answer.get("policyDocument").filter(|document| document.is_object())?;
    Policy::parse(&document.to_string(), Kind::Authorizer).ok()
}

/// Reads what the function of an HTTP API answered (developer guide, "Control access to HTTP APIs with AWS Lambda
/// authorizers"): `isAuthorized`, or a principal and its policy. `context` may have any values there.
fn http_answer(payload: &[u8], is_simple: bool, latency_ms: u64) -> Option<Vouched> {
    let answer: Map<String, Value> = serde_json::from_slice(payload).ok()?;
    let (principal, verdict) = if is_simple {
        (String::new(), Verdict::Simple(answer.get("isAuthorized")?.as_bool()?))
    } else {
        (answer.get("principalId")?.as_str()?.to_owned(), Verdict::Policy(policy(&answer)?))
    };
    let said = match answer.get("context") {
        None | Some(Value::Null) => None,
        Some(context @ Value::Object(_)) => Some(context.clone()),
        Some(_) => return None,
    };
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let members = said.iter().filter_map(Value::as_object).flatten().filter(|(_, value)| !value.is_null());
    let context = members.map(|(name, value)| (name.clone(), text(value))).collect();
    Some(Vouched { principal, verdict, context, said, usage_key: None, latency_ms })
}

#[cfg(test)]
mod tests {
    use super::{Verdict, answer, failure, http_answer};
    use serde_json::{Value, json};
    use sluice_telemetry::Refusal;

    fn whole(more: &[(&str, Value)]) -> Value {
        let mut whole = json!({ "principalId": "u", "policyDocument": { "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "*" }] } });
        for (name, value) in more {
            whole[name] = value.clone();
        }
        whole
    }

    #[test]
    fn answers_are_read_or_refused() {
        let read = |value: &Value| answer(value.to_string().as_bytes(), 1);
        let context = json!({ "s": "x", "n": 1.5, "b": true, "none": null });
        let vouched = read(&whole(&[("context", context), ("usageIdentifierKey", json!("k"))])).unwrap();
        let expected = [("s", "x"), ("n", "1.5"), ("b", "true")];
        for (name, value) in expected {
            assert!(vouched.context.iter().any(|(n, v)| n == name && v == value), "{name}");
        }
        assert_eq!((vouched.context.len(), vouched.usage_key.as_deref()), (3, Some("k")));
        for wrong in [
            whole(&[("principalId", json!(1))]),
            whole(&[("principalId", Value::Null)]),
            whole(&[("policyDocument", json!("{}"))]),
            whole(&[("policyDocument", json!({ "Statement": [] }))]),
            whole(&[("context", json!({ "o": {} }))]),
            whole(&[("context", json!([]))]),
            whole(&[("usageIdentifierKey", json!(7))]),
            json!([]),
            json!("Unauthorized"),
            Value::Null,
        ] {
            assert!(read(&wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn simple_answers_and_policies_of_http_apis() {
        let read = |value: &Value, is_simple| http_answer(value.to_string().as_bytes(), is_simple, 1);
        let context = json!({ "s": "x", "list": [1, "a"], "none": null });
        let vouched = read(&json!({ "isAuthorized": true, "context": context.clone() }), true).unwrap();
        assert!(matches!(vouched.verdict, Verdict::Simple(true)));
        assert_eq!(vouched.said, Some(context));
        for (name, value) in [("list", "[1,\"a\"]"), ("s", "x")] {
            assert!(vouched.context.iter().any(|(n, v)| n == name && v == value), "{name}");
        }
        assert_eq!(vouched.context.len(), 2);
        let refused = read(&json!({ "isAuthorized": false }), true).unwrap();
        assert!(matches!(refused.verdict, Verdict::Simple(false)) && refused.said.is_none());
        assert!(read(&whole(&[]), false).is_some() && read(&whole(&[]), true).is_none());
        for wrong in [
            json!({}),
            json!({ "isAuthorized": "true" }),
            json!({ "isAuthorized": true, "context": [] }),
            json!([true]),
            Value::Null,
        ] {
            assert!(read(&wrong, true).is_none() && read(&wrong, false).is_none(), "{wrong}");
        }
    }

    #[test]
    fn one_word_refuses_and_all_else_is_a_failure() {
        assert_eq!(failure(br#"{"errorMessage":"Unauthorized","errorType":"Error"}"#), Refusal::Unauthorized);
        for other in [&br#"{"errorMessage":"unauthorized"}"#[..], b"{}", b"", b"[]"] {
            assert_eq!(failure(other), Refusal::AuthorizerFailure);
        }
    }
}
