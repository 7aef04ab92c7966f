//! The authorize step: who calls, and whether that one may.
//!
//! ```text
//! no authorizer ───────────────────────────────────────────────┐
//! tokens ── key known? else ask for the keys and wait ── accepted ┤
//! a function ── identity known? else ask it ── its policy ────────┤
//! AWS_IAM ── signature ── covers a body? hold it ── signature ──┴─> resource policy, caller's policy ─> caller's limits
//! ```
//! What can be decided at once is; what has to wait (for the body that a signature covers) is told as a [`Wait`], and the
//! exchange goes on from there in its future.

mod asked;
mod keyring;
mod lambda;
mod signed;
mod token;

use crate::core::{Core, View};
use crate::exchange::{Exchange, Held, Refused};
use crate::respond::gateway_response;
use crate::rest;
use asked::Asked;
use lambda::Identity;
use sluice_iam::{
    Authentication, AwsCaller, Caller, Denied, Outcome, Policy, combine, denied_before_authorizer,
};
use sluice_server::Conn;
use sluice_snapshot::{AccessKey, Authorizer, TokenPlan};
use sluice_telemetry::Refusal;
use std::rc::Rc;
use std::str;
use std::sync::Arc;
use token::Judged;

pub(crate) use keyring::Keys;
pub use keyring::{Keyring, ProviderKeys};
pub(crate) use lambda::{Authorizations, Verdict, Vouched};
pub(crate) use signed::SigningKeys;
pub(crate) use token::Bearer;

/// Who calls, as far as the authorizer vouches.
#[derive(Clone)]
pub(crate) enum Principal {
    /// Whoever signed the request.
    Signer(Arc<AccessKey>),
    /// Whoever brought a token.
    Bearer(Rc<Bearer>),
    /// Whoever a function vouches for.
    Vouched(Rc<Vouched>),
}

impl Principal {
    /// The access key that it was signed with.
    pub(crate) fn signer(&self) -> Option<&AccessKey> {
        match self {
            Self::Signer(key) => Some(key),
            Self::Bearer(_) | Self::Vouched(_) => None,
        }
    }

    /// For the log: the ARN, the subject, what the function calls it.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Signer(key) => &key.arn,
            Self::Bearer(bearer) => bearer.subject(),
            Self::Vouched(vouched) => &vouched.principal,
        }
    }

    /// The claims of the token.
    pub(crate) fn claims(&self) -> &[(String, String)] {
        match self {
            Self::Bearer(bearer) => &bearer.claims,
            Self::Signer(_) | Self::Vouched(_) => &[],
        }
    }

    /// What a function vouches for.
    pub(crate) fn vouched(&self) -> Option<&Vouched> {
        match self {
            Self::Vouched(vouched) => Some(vouched),
            Self::Signer(_) | Self::Bearer(_) => None,
        }
    }
}

/// What the caller can be known by only later.
pub(crate) enum Wait {
    /// The signature covers the body.
    Body,
    /// The token's key is not known: this provider's set may have it.
    Keys(u32),
    /// The function has to be asked about this identity.
    Function(Box<Identity>),
}

/// Finds out who calls and whether that one may. `Some`: not yet.
#[inline]
pub(crate) fn identify(ex: &mut Exchange, core: &Core) -> Result<Option<Wait>, Refused> {
    let is_open = ex.route().is_none_or(|route| route.authorizer.is_none());
    if is_open && resource_policy(ex).is_none() { Ok(None) } else { judged(ex, core) }
}

/// Who is to be asked who calls. Of the view by itself, so that the exchange may be told meanwhile.
fn authorizer<'v>(view: &'v View, ex: &Exchange) -> Option<&'v Authorizer> {
    view.snapshot.route(ex.route?)?.authorizer.as_ref()
}

/// The resource policy of the API.
#[inline]
fn resource_policy(ex: &Exchange) -> Option<&Policy> {
    ex.view.snapshot.rest.deployed(ex.within?)?.policy.as_ref()
}

/// The value of a header that is there once. Of two, nobody knows which one the backend would believe.
fn only_header<'x>(ex: &'x Exchange, name: &str) -> Option<&'x str> {
    let bytes = ex.bytes.as_slice();
    let mut lines = ex.head.headers.iter().filter(|h| h.name.of(bytes).eq_ignore_ascii_case(name.as_bytes()));
    let value = str::from_utf8(lines.next()?.value.of(bytes)).ok()?;
    (lines.next().is_none() && !value.is_empty()).then_some(value)
}

fn judged(ex: &mut Exchange, core: &Core) -> Result<Option<Wait>, Refused> {
    let view = Rc::clone(&ex.view);
    match authorizer(&view, ex) {
        None => allowed(ex, core, Authentication::None, Outcome::ImplicitDeny)?,
        Some(Authorizer::Iam) => {
            if signed::covers_body(ex) {
                return Ok(Some(Wait::Body));
            }
            by_signature(ex, core, b"")?;
        }
        Some(Authorizer::Token(plan)) => {
            if let Some(provider) = by_token(ex, core, plan, false)? {
                return Ok(Some(Wait::Keys(provider)));
            }
        }
        Some(Authorizer::Lambda(plan)) => {
            let key = lambda::identity(ex, core, plan)?;
            not_denied(ex, core)?;
            match lambda::known(ex, core, plan, &key) {
                Some(vouched) => by_policy(ex, core, vouched)?,
                None => return Ok(Some(Wait::Function(Box::new(key)))),
            }
        }
    }
    Ok(None)
}

/// Waits for what [`identify`] could not do without.
pub(crate) async fn wait(core: &Core, conn: &mut Conn, ex: &mut Exchange, wait: Wait) -> Result<(), Refused> {
    ex.bytes.detach(&core.scratch);
    match wait {
        Wait::Body => {
            let body = match rest::read_body(core, conn, ex).await {
                Ok(body) => body,
                Err(why) => {
                    ex.body = Held::Broken;
                    return Err(why.into());
                }
            };
            ex.report.bytes_in = body.len() as u64;
            let decoded = by_signature(ex, core, &body);
            let (body, verdict) = match decoded {
                Ok(decoded) => (decoded.unwrap_or(body), Ok(())),
                Err(refused) => (body, Err(refused)),
            };
            ex.body = Held::Here(body);
            verdict
        }
        Wait::Function(key) => {
            conn.client.out().flush();
            let view = Rc::clone(&ex.view);
            let Some(Authorizer::Lambda(plan)) = authorizer(&view, ex) else {
                return Err(Refusal::Internal.into());
            };
            let vouched = lambda::ask(ex, core, plan, &key).await?;
            by_policy(ex, core, vouched)
        }
        Wait::Keys(provider) => {
            conn.client.out().flush();
            core.keys.refresh(provider).await;
            let view = Rc::clone(&ex.view);
            match authorizer(&view, ex) {
                Some(Authorizer::Token(plan)) => by_token(ex, core, plan, true).map(|_| ()),
                _ => Err(Refusal::Internal.into()),
            }
        }
    }
}

/// Judges the token, then asks the resource policy. `Some`: the provider whose keys it takes.
fn by_token(ex: &mut Exchange, core: &Core, plan: &TokenPlan, last: bool) -> Result<Option<u32>, Refused> {
    match token::judge(ex, core, plan, last)? {
        Judged::Unknown(provider) => Ok(Some(provider)),
        Judged::Accepted(bearer) => {
            ex.principal = Some(Principal::Bearer(bearer));
            allowed(ex, core, Authentication::Cognito, Outcome::Allow)?;
            Ok(None)
        }
    }
}

/// What the resource policy denies is denied before anybody is asked.
fn not_denied(ex: &Exchange, core: &Core) -> Result<(), Refused> {
    let Some(policy) = resource_policy(ex) else { return Ok(()) };
    let asked = Asked::new(ex, core, None);
    let request = asked.request(INVOKE, Caller::Anonymous);
    if denied_before_authorizer(Some(&policy.evaluate(&request))) {
        return Err(denied(Denied { request, explicit: true }.to_string()));
    }
    Ok(())
}

/// Asks what a function returned, a policy or a word, about this method, together with the resource policy.
fn by_policy(ex: &mut Exchange, core: &Core, vouched: Rc<Vouched>) -> Result<(), Refused> {
    let outcome = match &vouched.verdict {
        Verdict::Simple(true) => Outcome::Allow,
        Verdict::Simple(false) => Outcome::ImplicitDeny,
        Verdict::Policy(policy) => {
            let asked = Asked::new(ex, core, None);
            let request = asked.request(INVOKE, Caller::Anonymous);
            let own = policy.evaluate(&request).outcome;
            let resource = resource_policy(ex).map(|policy| policy.evaluate(&request));
            combine(Authentication::SameAccount, own, resource.as_ref())
        }
    };
    ex.principal = Some(Principal::Vouched(vouched));
    match outcome {
        Outcome::Allow => Ok(()),
        // HTTP APIs say no more.
        _ if ex.within.is_none() => Err(Refusal::AccessDenied.into()),
        Outcome::ImplicitDeny => Err(not_authorized("")),
        Outcome::ExplicitDeny => Err(not_authorized(" with an explicit deny")),
    }
}

/// As a function's policy denies, and a user pool that has not granted the scope.
fn not_authorized(more: &str) -> Refused {
    denied(format!("{}{more}", gateway_response(Refusal::AccessDenied).message))
}

fn denied(message: String) -> Refused {
    Refused { message: Some(message.into()), ..Refused::from(Refusal::AccessDenied) }
}

/// Verifies the signature, then asks the policies. `Some`: what is in a body of signed chunks.
fn by_signature(ex: &mut Exchange, core: &Core, body: &[u8]) -> Result<Option<Vec<u8>>, Refused> {
    let (key, decoded) = signed::verify(ex, core, body)?;
    ex.principal = Some(Principal::Signer(Arc::clone(&key)));
    if let Some(data) = &decoded {
        ex.head.framing = sluice_wire::BodyFraming::Length(data.len() as u64);
    }
    let how = if *key.account == *ex.view.snapshot.aws.account {
        Authentication::SameAccount
    } else {
        Authentication::CrossAccount
    };
    let own = match &key.policy {
        None => Outcome::Allow,
        Some(policy) => {
            let asked = Asked::new(ex, core, Some(&key));
            policy.evaluate(&asked.request(INVOKE, caller(Some(&key)))).outcome
        }
    };
    allowed(ex, core, how, own)?;
    Ok(decoded)
}

/// What every call of a method is, to policies.
const INVOKE: &str = "execute-api:Invoke";

fn caller(key: Option<&AccessKey>) -> Caller<'_> {
    match key {
        None => Caller::Anonymous,
        Some(key) => {
            Caller::Aws(AwsCaller { account: &key.account, arn: &key.arn, role_arn: key.role_arn.as_deref() })
        }
    }
}

/// What the resource policy and the caller's own say together.
fn allowed(ex: &Exchange, core: &Core, how: Authentication, own: Outcome) -> Result<(), Refused> {
    let policy = resource_policy(ex);
    if policy.is_none() && own == Outcome::Allow && how != Authentication::CrossAccount {
        return Ok(());
    }
    let key = ex.principal.as_ref().and_then(Principal::signer);
    let asked = Asked::new(ex, core, key);
    let request = asked.request(INVOKE, caller(key));
    let verdict = policy.map(|policy| policy.evaluate(&request));
    match combine(how, own, verdict.as_ref()) {
        Outcome::Allow => Ok(()),
        outcome => {
            let explicit = outcome == Outcome::ExplicitDeny;
            let message = Denied { request, explicit }.to_string();
            Err(denied(message))
        }
    }
}

/// Whether the caller may have the stage's cache asked for a fresh answer.
pub(crate) fn may_invalidate(ex: &Exchange, core: &Core) -> bool {
    let Some(key) = ex.principal.as_ref().and_then(Principal::signer) else { return false };
    key.policy.as_ref().is_none_or(|policy| {
        let asked = Asked::new(ex, core, Some(key));
        policy.evaluate(&asked.request("execute-api:InvalidateCache", caller(Some(key)))).outcome
            == Outcome::Allow
    })
}
