//! What a resource policy and the caller's own policy say together.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-authorization-flow.html>

use crate::evaluate::{Outcome, Verdict};

/// How a method knows its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// It doesn't: only the resource policy decides, and must allow.
    None,
    /// By a Cognito user pool, which has no policy: a resource policy, if there is one, must allow.
    Cognito,
    /// By the policy that a Lambda authorizer returned, or by IAM within the API's account: table A.
    SameAccount,
    /// By IAM, from an account that is not the API's: table B.
    CrossAccount,
}

/// The outcome of both. `own` is what the caller's identity policies or the authorizer's policy say, `resource` what the
/// resource policy says, if the API has one.
///
/// | own | resource | same account | cross account |
/// |---|---|---|---|
/// | allow | allow | allow | allow |
/// | allow | nothing | allow | implicit deny |
/// | nothing | allow | allow | implicit deny |
/// | nothing | nothing | implicit deny | implicit deny |
/// | a deny in either | | explicit deny | explicit deny |
pub fn combine(how: Authentication, own: Outcome, resource: Option<&Verdict<'_>>) -> Outcome {
    let says = |wanted| resource.is_some_and(|verdict| verdict.outcome == wanted);
    if says(Outcome::ExplicitDeny) {
        return Outcome::ExplicitDeny;
    }
    let allowed = match how {
        Authentication::None | Authentication::Cognito => resource.is_none() || says(Outcome::Allow),
        _ if own == Outcome::ExplicitDeny => return Outcome::ExplicitDeny,
        Authentication::CrossAccount => own == Outcome::Allow && says(Outcome::Allow),
        Authentication::SameAccount => {
            let granted =
                resource.is_some_and(|verdict| verdict.outcome == Outcome::Allow && !verdict.to_account);
            own == Outcome::Allow || granted
        }
    };
    if allowed { Outcome::Allow } else { Outcome::ImplicitDeny }
}

/// Whether a request is refused before its Lambda authorizer is called: by an explicit deny of the resource policy.
pub fn denied_before_authorizer(resource: Option<&Verdict<'_>>) -> bool {
    resource.is_some_and(|verdict| verdict.outcome == Outcome::ExplicitDeny)
}
