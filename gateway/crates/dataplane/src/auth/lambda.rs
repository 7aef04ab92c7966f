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
use crate::rest::lambda::{Invocation, client_path, event_headers, invoke};
use crate::rest::view::{Seen, trace_id};
use serde_json::{Map, Value};
use sluice_iam::{Kind, Policy, method_scoped};
use sluice_jwt::{TokenId, Verified};
use sluice_mapping::{EventFacts, Request, authorizer_event, token_event};
use sluice_snapshot::{LambdaKind, LambdaPlan};
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
    pub(crate) policy: Policy,
    /// All of it text, as backends and templates get it.
    pub(crate) context: Vec<(String, String)>,
    /// `usageIdentifierKey`.
    pub(crate) usage_key: Option<String>,
    /// How long the function took, milliseconds.
    pub(crate) latency_ms: u64,
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
}

/// Reads the identity sources. AWS asks for each of them, whether it keeps answers or not.
pub(crate) fn identity(ex: &Exchange, core: &Core, plan: &LambdaPlan) -> Result<Identity, Refused> {
    let (mut key, mut token) = (String::new(), String::new());
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
    }
    Ok(Identity { id: TokenId::new(plan.number, &key), token })
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
    if let Some(warning) = method_scoped(&vouched.policy)
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
    let mut trace = Vec::new();
    trace_id(&mut trace, ex, unix_ms);
    let trace = String::from_utf8_lossy(&trace).into_owned();
    let arn = method_arn(ex);
    let mut event = Vec::with_capacity(4096);
    match &plan.kind {
        LambdaKind::Token { .. } => token_event(&of.token, &arn, &mut event),
        LambdaKind::Request { .. } => {
            let seen = Seen::new(ex, b"", unix_ms);
            let (path, headers) = (client_path(ex), event_headers(ex, &trace));
            let facts = EventFacts { path: &path, headers: &headers, is_binary: false };
            authorizer_event(&Request::new(&seen), &facts, &arn, &mut event);
        }
    }
    let invocation =
        Invocation { is_event: false, client_context: None, trace_id: &trace, timeout_ms: TIMEOUT_MS };
    let started_ns = sluice_rt::clock_ns();
    let invoked = invoke(core, &ex.view, &plan.function, &event, invocation).await;
    let invoked = invoked.map_err(|_| Refusal::Authorizer)?;
    let latency_ms = sluice_rt::clock_ns().saturating_sub(started_ns) / 1_000_000;
    if invoked.is_error {
        return Err(failure(&invoked.payload));
    }
    answer(&invoked.payload, latency_ms).map(Rc::new).ok_or(Refusal::Authorizer)
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
    let document = answer.get("policyDocument").filter(|document| document.is_object())?;
    let policy = Policy::parse(&document.to_string(), Kind::Authorizer).ok()?;
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
    Some(Vouched { principal, policy, context, usage_key, latency_ms })
}

#[cfg(test)]
mod tests {
    use super::{answer, failure};
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
    fn one_word_refuses_and_all_else_is_a_failure() {
        assert_eq!(failure(br#"{"errorMessage":"Unauthorized","errorType":"Error"}"#), Refusal::Unauthorized);
        for other in [&br#"{"errorMessage":"unauthorized"}"#[..], b"{}", b"", b"[]"] {
            assert_eq!(failure(other), Refusal::AuthorizerFailure);
        }
    }
}
