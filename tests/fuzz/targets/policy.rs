//! A policy document, NUL, a resource, NUL, a value: whatever they are, nothing panics, and a deny is never an allow.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_iam::{Caller, Context, Kind, Outcome, Policy, Request, Value, method_scoped};

/// Every key has the same value.
struct Same<'a>(&'a str);

impl Context for Same<'_> {
    fn value(&self, _: &str) -> Option<Value<'_>> {
        Some(Value::Text(self.0))
    }
}

fuzz_target!(|input: &str| {
    let mut parts = input.splitn(3, '\0');
    let document = parts.next().unwrap_or_default();
    let resource = parts.next().unwrap_or("arn:aws:execute-api:us-east-1:123456789012:abc/prod/GET/pets");
    let context = Same(parts.next().unwrap_or("192.0.2.1"));
    for kind in [Kind::Identity, Kind::Authorizer, Kind::Resource(None)] {
        let Ok(policy) = Policy::parse(document, kind) else { continue };
        let request = Request { action: "execute-api:Invoke", resource, caller: Caller::Anonymous, context: &context };
        let verdict = policy.evaluate(&request);
        assert_eq!(verdict.by.is_none(), verdict.outcome == Outcome::ImplicitDeny);
        method_scoped(&policy);
    }
});
