//! Who calls, and whom a statement means.

use crate::error::{At, PolicyError};
use crate::json::{Node, quote};

/// Who makes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller<'a> {
    /// Nobody that IAM knows: also whoever a JWT or a Lambda authorizer vouches for.
    Anonymous,
    /// Whoever signed the request.
    Aws(AwsCaller<'a>),
    /// An AWS service: `events.amazonaws.com`.
    Service(&'a str),
    /// A federated user by the provider: `cognito-identity.amazonaws.com`, or a SAML provider's ARN.
    Federated(&'a str),
}

/// A caller with AWS credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AwsCaller<'a> {
    /// Twelve digits.
    pub account: &'a str,
    /// The user, or the session of a role (`arn:aws:sts::…:assumed-role/ROLE/SESSION`).
    pub arn: &'a str,
    /// The role of a session (`arn:aws:iam::…:role/ROLE`).
    pub role_arn: Option<&'a str>,
}

/// `Principal` or `NotPrincipal`.
#[derive(Debug, Clone)]
pub(crate) struct Principals {
    not: bool,
    list: Box<[Principal]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Principal {
    /// `*`, or `{"AWS": "*"}`: everyone, also anonymous callers.
    Everyone,
    /// An account: its number, or `arn:aws:iam::123456789012:root`.
    Account(Box<str>),
    /// A user, a role, a session.
    Arn(Box<str>),
    Service(Box<str>),
    Federated(Box<str>),
    /// The number that S3 knows an account by; nobody who calls an API is shown by it.
    CanonicalUser,
}

/// How a statement means a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meant {
    No,
    /// Only by the account. Inside that account this hands the decision to its identity policies: “When you specify an
    /// AWS account, you can use the account […] to delegate” (IAM user guide, Principal element).
    ByAccount,
    Yes,
}

impl Principals {
    pub(crate) fn parse(not: bool, node: &Node, at: At<'_>) -> Result<Self, PolicyError> {
        let list = match node {
            Node::Text(text) if text == "*" => vec![Principal::Everyone],
            Node::Map(members) if !members.is_empty() => {
                let mut list = Vec::new();
                for (kind, value) in members {
                    members_of(kind, value, at.member(kind), &mut list)?;
                }
                list
            }
            other => {
                return Err(at.error("\"*\" or an object with AWS, Service or Federated", other.describe()));
            }
        };
        Ok(Self { not, list: list.into() })
    }

    pub(crate) fn mean(&self, caller: Caller<'_>) -> Meant {
        if self.not {
            return if self.excepts(caller) { Meant::No } else { Meant::Yes };
        }
        let mut best = Meant::No;
        for principal in &self.list {
            match principal.means(caller) {
                Meant::Yes => return Meant::Yes,
                Meant::ByAccount => best = Meant::ByAccount,
                Meant::No => {}
            }
        }
        best
    }

    /// Whether `NotPrincipal` leaves a caller out. A user is left out only together with the account, and a session only
    /// together with role and account: “you must also specify the account” (IAM user guide, NotPrincipal element).
    fn excepts(&self, caller: Caller<'_>) -> bool {
        let listed = |wanted: &Principal| self.list.contains(wanted);
        if listed(&Principal::Everyone) {
            return true;
        }
        match caller {
            Caller::Anonymous => false,
            Caller::Service(name) => listed(&Principal::Service(name.into())),
            Caller::Federated(name) => listed(&Principal::Federated(name.into())),
            Caller::Aws(caller) => {
                let by_arn =
                    |arn: &str| self.list.iter().any(|one| matches!(one, Principal::Arn(a) if **a == *arn));
                let account =
                    |one: &Principal| matches!(one, Principal::Account(a) if **a == *caller.account);
                self.list.iter().any(account) && by_arn(caller.arn) && caller.role_arn.is_none_or(by_arn)
            }
        }
    }
}

impl Principal {
    fn means(&self, caller: Caller<'_>) -> Meant {
        let yes = match (self, caller) {
            (Self::Everyone, _) => true,
            (Self::Account(account), Caller::Aws(caller)) if **account == *caller.account => {
                return Meant::ByAccount;
            }
            (Self::Arn(arn), Caller::Aws(caller)) => **arn == *caller.arn || caller.role_arn == Some(arn),
            (Self::Service(name), Caller::Service(caller)) => **name == *caller,
            (Self::Federated(name), Caller::Federated(caller)) => **name == *caller,
            _ => false,
        };
        if yes { Meant::Yes } else { Meant::No }
    }
}

fn members_of(kind: &str, value: &Node, at: At<'_>, list: &mut Vec<Principal>) -> Result<(), PolicyError> {
    let one = std::slice::from_ref(value);
    let (nodes, in_list) = match value {
        Node::List(nodes) => (nodes.as_slice(), true),
        _ => (one, false),
    };
    if nodes.is_empty() {
        return Err(at.error("at least one principal", "an empty list"));
    }
    for (index, node) in nodes.iter().enumerate() {
        let at = if in_list { at.item(index) } else { at };
        let Node::Text(text) = node else { return Err(at.error("a text", node.describe())) };
        list.push(match kind {
            "AWS" => aws(text).ok_or_else(|| {
                at.error(
                    "\"*\", an account, or the ARN of a user, role or session without wildcards",
                    quote(text),
                )
            })?,
            "Service" => Principal::Service(text.as_str().into()),
            "Federated" => Principal::Federated(text.as_str().into()),
            "CanonicalUser" => Principal::CanonicalUser,
            _ => return Err(at.error("AWS, Service, Federated or CanonicalUser", quote(kind))),
        });
    }
    Ok(())
}

fn aws(text: &str) -> Option<Principal> {
    let is_account = |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if text == "*" {
        return Some(Principal::Everyone);
    }
    if is_account(text) {
        return Some(Principal::Account(text.into()));
    }
    let mut parts = text.splitn(6, ':');
    let [arn, partition, service, region, account, resource] = std::array::from_fn(|_| parts.next());
    let known = arn == Some("arn")
        && !partition?.is_empty()
        && matches!(service?, "iam" | "sts")
        && region == Some("");
    if !known || !is_account(account?) || resource?.is_empty() || text.contains(['*', '?']) {
        return None;
    }
    Some(match resource? {
        "root" => Principal::Account(account?.into()),
        _ => Principal::Arn(text.into()),
    })
}
