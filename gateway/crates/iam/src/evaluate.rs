//! What a policy says about a request: an explicit deny beats an allow beats nothing.

use crate::context::Context;
use crate::policy::{Effect, Policy, Statement};
use crate::principal::{Caller, Meant};
use std::fmt;

/// A request, as policies see it.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// `execute-api:Invoke`.
    pub action: &'a str,
    /// `arn:aws:execute-api:us-east-1:123456789012:abc123/prod/GET/users`.
    pub resource: &'a str,
    /// Who calls; only resource policies ask.
    pub caller: Caller<'a>,
    /// Values of condition keys.
    pub context: &'a dyn Context,
}

/// The three answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A statement grants and none refuses.
    Allow,
    /// A statement refuses.
    ExplicitDeny,
    /// No statement says anything.
    ImplicitDeny,
}

/// What one policy says, and which statement said it.
#[derive(Debug, Clone, Copy)]
pub struct Verdict<'p> {
    /// The answer.
    pub outcome: Outcome,
    /// The first statement that decided; none for an implicit deny.
    pub by: Option<&'p Statement>,
    /// An allow that means the caller only by the account: inside that account, identity policies must grant as well.
    pub to_account: bool,
}

impl Policy {
    /// Asks every statement until one refuses.
    pub fn evaluate(&self, request: &Request<'_>) -> Verdict<'_> {
        let mut verdict = Verdict { outcome: Outcome::ImplicitDeny, by: None, to_account: false };
        for statement in &self.statements {
            let meant = statement.applies(request);
            match (meant, statement.effect) {
                (Meant::No, _) => {}
                (_, Effect::Deny) => {
                    return Verdict {
                        outcome: Outcome::ExplicitDeny,
                        by: Some(statement),
                        to_account: false,
                    };
                }
                (_, Effect::Allow) => {
                    let to_account = meant == Meant::ByAccount;
                    if verdict.by.is_none() || (verdict.to_account && !to_account) {
                        verdict = Verdict { outcome: Outcome::Allow, by: Some(statement), to_account };
                    }
                }
            }
        }
        verdict
    }
}

impl Statement {
    /// Whether the statement is about this request, cheapest questions first.
    fn applies(&self, request: &Request<'_>) -> Meant {
        let context = request.context;
        let action = self.actions.iter().any(|action| action.matches(request.action, context));
        if action == self.not_action {
            return Meant::No;
        }
        let meant = self.principals.as_ref().map_or(Meant::Yes, |principals| principals.mean(request.caller));
        if meant == Meant::No {
            return Meant::No;
        }
        let resource =
            self.resources.iter().any(|resource| resource.pattern.matches(request.resource, context));
        if resource == self.not_resource || !self.conditions.iter().all(|condition| condition.holds(context))
        {
            return Meant::No;
        }
        meant
    }
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.outcome {
            Outcome::Allow => f.write_str("allowed")?,
            Outcome::ExplicitDeny => f.write_str("explicitly denied")?,
            Outcome::ImplicitDeny => return f.write_str("implicitly denied: no statement allows it"),
        }
        let Some(statement) = self.by else { return Ok(()) };
        write!(f, " by statement {}", statement.index + 1)?;
        match statement.sid() {
            Some(sid) => write!(f, " ({sid:?})"),
            None => Ok(()),
        }
    }
}

/// The message of API Gateway's 403 for a refusal by resource or identity policy.
#[derive(Clone, Copy)]
pub struct Denied<'a> {
    /// What was asked.
    pub request: Request<'a>,
    /// Whether a statement said no, rather than none yes.
    pub explicit: bool,
}

impl fmt::Display for Denied<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = match self.request.caller {
            Caller::Aws(caller) => caller.arn,
            Caller::Service(name) | Caller::Federated(name) => name,
            Caller::Anonymous => "anonymous",
        };
        write!(f, "User: {user} is not authorized to perform: {} on resource: ", self.request.action)?;
        masked(self.request.resource, f)?;
        f.write_str(if self.explicit { " with an explicit deny" } else { "" })
    }
}

/// AWS shows the last four digits of the account.
fn masked(arn: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, part) in arn.splitn(6, ':').enumerate() {
        f.write_str(if index == 0 { "" } else { ":" })?;
        match part.split_at_checked(8) {
            Some((_, last)) if index == 4 && part.len() == 12 => write!(f, "********{last}")?,
            _ => f.write_str(part)?,
        }
    }
    Ok(())
}
