//! Whole documents: what they say, and what is wrong with them.

use crate::context::{Map, Value};
use crate::{
    Api, Authentication, AwsCaller, Caller, Denied, Kind, Outcome, Policy, Request, combine, method_scoped,
};
use Outcome::{Allow, ExplicitDeny, ImplicitDeny};

const ARN: &str = "arn:aws:execute-api:us-east-1:111122223333:abc123/prod/GET/pets";
const API: Api<'_> = Api { partition: "aws", region: "us-east-1", account: "111122223333", id: "abc123" };

fn statement(json: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":{json}}}"#)
}

fn identity(json: &str) -> Policy {
    Policy::parse(&statement(json), Kind::Identity).unwrap_or_else(|error| panic!("{error}: {json}"))
}

fn resource(json: &str) -> Policy {
    Policy::parse(&statement(json), Kind::Resource(Some(API)))
        .unwrap_or_else(|error| panic!("{error}: {json}"))
}

fn ask(policy: &Policy, caller: Caller<'_>, context: &Map<'_>) -> Outcome {
    policy.evaluate(&Request { action: "execute-api:Invoke", resource: ARN, caller, context }).outcome
}

fn user<'a>(account: &'a str, arn: &'a str) -> Caller<'a> {
    Caller::Aws(AwsCaller { account, arn, role_arn: None })
}

const ANA: &str = "arn:aws:iam::111122223333:user/ana";
const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/worker/1";
const ROLE: &str = "arn:aws:iam::111122223333:role/worker";

#[test]
fn actions_and_resources() {
    for (body, expected) in [
        (r#""Action":"execute-api:Invoke","Resource":"*""#, Allow),
        (r#""Action":"EXECUTE-API:invoke","Resource":"*""#, Allow),
        (r#""Action":["x:y","execute-api:In?oke"],"Resource":["arn:aws:x:::y","*"]"#, Allow),
        (r#""Action":"*","Resource":"arn:aws:execute-api:us-east-1:111122223333:abc123/prod/GET/*""#, Allow),
        (r#""Action":"execute-api:*","Resource":"arn:aws:execute-api:*:*:*/prod/*/pets""#, Allow),
        (r#""Action":"execute-api:*","Resource":"arn:aws:execute-api:*:*:*/prod/get/pets""#, ImplicitDeny),
        (r#""Action":"execute-api:InvalidateCache","Resource":"*""#, ImplicitDeny),
        (r#""NotAction":"execute-api:Invoke","Resource":"*""#, ImplicitDeny),
        (r#""NotAction":["x:y","execute-api:Manage*"],"Resource":"*""#, Allow),
        (r#""Action":"*","NotResource":"arn:aws:execute-api:*:*:*/prod/*""#, ImplicitDeny),
        (r#""Action":"*","NotResource":["arn:aws:execute-api:*:*:*/test/*"]"#, Allow),
    ] {
        let policy = identity(&format!(r#"{{"Effect":"Allow",{body}}}"#));
        assert_eq!(ask(&policy, Caller::Anonymous, &Map::default()), expected, "{body}");
    }
}

#[test]
fn a_deny_anywhere_wins_and_is_named() {
    let policy = identity(
        r#"[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Allow","Action":"*","Resource":"*"},
            {"Sid":"NoPets","Effect":"Deny","Action":"*","Resource":"arn:aws:execute-api:*:*:*/*/*/pets"}]"#,
    );
    let context = Map::default();
    let caller = user("111122223333", ANA);
    let mut request = Request { action: "execute-api:Invoke", resource: ARN, caller, context: &context };
    let verdict = policy.evaluate(&request);
    assert_eq!(verdict.outcome, ExplicitDeny);
    assert_eq!(verdict.to_string(), r#"explicitly denied by statement 3 ("NoPets")"#);
    let denied = Denied { request, explicit: true };
    assert_eq!(
        denied.to_string(),
        "User: arn:aws:iam::111122223333:user/ana is not authorized to perform: execute-api:Invoke on resource: \
         arn:aws:execute-api:us-east-1:********3333:abc123/prod/GET/pets with an explicit deny"
    );
    request.resource = "arn:aws:execute-api:us-east-1:111122223333:abc123/prod/GET/cats";
    assert_eq!(policy.evaluate(&request).to_string(), "allowed by statement 1");
    let nothing = identity(r#"{"Effect":"Allow","Action":"x:y","Resource":"*"}"#);
    assert_eq!(nothing.evaluate(&request).to_string(), "implicitly denied: no statement allows it");
}

/// What a condition says in a context with these values.
fn condition(json: &str) -> bool {
    let context = Map::default()
        .with("aws:SourceIp", Value::Ip("192.0.2.7".parse().unwrap()))
        .with("aws:CurrentTime", Value::TimeMs(1_700_000_000_000))
        .with("aws:EpochTime", Value::Number(1_700_000_000.0))
        .with("aws:SecureTransport", Value::Bool(true))
        .with("aws:UserAgent", Value::Text("curl/8.5"))
        .with("aws:username", Value::Text("ana"))
        .with("aws:PrincipalArn", Value::Text(ANA))
        .with("aws:PrincipalTag/team", Value::Text("blue"))
        .with("aws:TagKeys", Value::Texts(&["red", "blue"]))
        .with("aws:Empty", Value::Texts(&[]))
        .with("aws:SourceVpce", Value::Text("vpce-1"))
        .with("aws:MultiFactorAuthAge", Value::Text("300"));
    let body = format!(r#"{{"Effect":"Allow","Action":"*","Resource":"*","Condition":{json}}}"#);
    ask(&identity(&body), Caller::Anonymous, &context) == Allow
}

#[test]
fn text_conditions() {
    for (json, expected) in [
        (r#"{"StringEquals":{"aws:username":"ana"}}"#, true),
        (r#"{"StringEquals":{"AWS:UserName":["bob","ana"]}}"#, true),
        (r#"{"StringEquals":{"aws:username":"Ana"}}"#, false),
        (r#"{"StringEquals":{"aws:username":"a*"}}"#, false),
        (r#"{"StringEqualsIgnoreCase":{"aws:username":"ANA"}}"#, true),
        (r#"{"StringNotEqualsIgnoreCase":{"aws:username":"ANA"}}"#, false),
        (r#"{"StringNotEquals":{"aws:username":["bob","eve"]}}"#, true),
        (r#"{"StringNotEquals":{"aws:username":["bob","ana"]}}"#, false),
        (r#"{"StringLike":{"aws:UserAgent":"curl/?.*"}}"#, true),
        (r#"{"StringNotLike":{"aws:UserAgent":"curl/*"}}"#, false),
        (r#"{"StringEquals":{"aws:PrincipalTag/Team":"blue"}}"#, true),
        (r#"{"StringLike":{"aws:PrincipalArn":"*:user/${aws:username}"}}"#, true),
        (r#"{"StringEquals":{"aws:MultiFactorAuthAge":300}}"#, true),
        (r#"{"StringEquals":{"aws:SecureTransport":true}}"#, true),
        // A key that is missing: not equal to anything.
        (r#"{"StringEquals":{"aws:Referer":"x"}}"#, false),
        (r#"{"StringNotEquals":{"aws:Referer":"x"}}"#, true),
        (r#"{"StringEqualsIfExists":{"aws:Referer":"x"}}"#, true),
        (r#"{"StringEqualsIfExists":{"aws:username":"x"}}"#, false),
        // All operators and all keys must hold.
        (r#"{"StringEquals":{"aws:username":"ana","aws:UserAgent":"x"}}"#, false),
        (r#"{"StringEquals":{"aws:username":"ana"},"StringLike":{"aws:UserAgent":"c*"}}"#, true),
        (r#"{"StringEquals":{"aws:username":"ana"},"Bool":{"aws:SecureTransport":"false"}}"#, false),
        (r#"{"BinaryEquals":{"aws:username":"ana"}}"#, true),
        (r#"{}"#, true),
    ] {
        assert_eq!(condition(json), expected, "{json}");
    }
}

#[test]
fn numbers_dates_booleans_addresses_arns() {
    for (json, expected) in [
        (r#"{"NumericEquals":{"aws:MultiFactorAuthAge":"300.0"}}"#, true),
        (r#"{"NumericNotEquals":{"aws:MultiFactorAuthAge":300}}"#, false),
        (r#"{"NumericLessThan":{"aws:MultiFactorAuthAge":"300"}}"#, false),
        (r#"{"NumericLessThanEquals":{"aws:MultiFactorAuthAge":"300"}}"#, true),
        (r#"{"NumericGreaterThan":{"aws:MultiFactorAuthAge":["900","20"]}}"#, true),
        (r#"{"NumericGreaterThanEquals":{"aws:username":"1"}}"#, false),
        (r#"{"DateGreaterThan":{"aws:CurrentTime":"2023-11-14T22:13:19Z"}}"#, true),
        (r#"{"DateLessThan":{"aws:CurrentTime":"2023-11-14T22:13:20Z"}}"#, false),
        (r#"{"DateEquals":{"aws:EpochTime":"1700000000"}}"#, true),
        (r#"{"DateNotEquals":{"aws:EpochTime":1700000000}}"#, false),
        (r#"{"DateLessThanEquals":{"aws:EpochTime":"2023-11-14T22:13:20Z"}}"#, true),
        (r#"{"NumericLessThan":{"aws:EpochTime":1700000001}}"#, true),
        (r#"{"Bool":{"aws:SecureTransport":"true"}}"#, true),
        (r#"{"Bool":{"aws:SecureTransport":false}}"#, false),
        (r#"{"Bool":{"aws:MultiFactorAuthPresent":"false"}}"#, false),
        (r#"{"BoolIfExists":{"aws:MultiFactorAuthPresent":"true"}}"#, true),
        (r#"{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","192.0.2.0/24"]}}"#, true),
        (r#"{"IpAddress":{"aws:SourceIp":"192.0.2.7"}}"#, true),
        (r#"{"IpAddress":{"aws:SourceIp":"2001:db8::/32"}}"#, false),
        (r#"{"NotIpAddress":{"aws:SourceIp":["10.0.0.0/8","192.0.2.0/24"]}}"#, false),
        (r#"{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}"#, true),
        (r#"{"NotIpAddress":{"aws:VpcSourceIp":"10.0.0.0/8"}}"#, true),
        (r#"{"StringEquals":{"aws:SourceIp":"192.0.2.7"}}"#, true),
        (r#"{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/*"}}"#, true),
        (r#"{"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::111122223333:user/${aws:username}"}}"#, true),
        (r#"{"ArnNotLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/*"}}"#, true),
        (r#"{"ArnNotEquals":{"aws:PrincipalArn":"arn:aws:iam::*:user/a?a"}}"#, false),
        (r#"{"Null":{"aws:Referer":"true"}}"#, true),
        (r#"{"Null":{"aws:username":true}}"#, false),
        (r#"{"Null":{"aws:username":"false","aws:Empty":"true"}}"#, true),
    ] {
        assert_eq!(condition(json), expected, "{json}");
    }
}

#[test]
fn keys_with_several_values() {
    for (json, expected) in [
        (r#"{"ForAllValues:StringEquals":{"aws:TagKeys":["red","blue","green"]}}"#, true),
        (r#"{"ForAllValues:StringEquals":{"aws:TagKeys":["red","green"]}}"#, false),
        (r#"{"ForAnyValue:StringEquals":{"aws:TagKeys":["red","green"]}}"#, true),
        (r#"{"ForAnyValue:StringEquals":{"aws:TagKeys":["green"]}}"#, false),
        (r#"{"ForAnyValue:StringLike":{"aws:TagKeys":"b*"}}"#, true),
        (r#"{"ForAllValues:StringNotEquals":{"aws:TagKeys":["green"]}}"#, true),
        (r#"{"ForAllValues:StringNotEquals":{"aws:TagKeys":["red"]}}"#, false),
        (r#"{"ForAnyValue:StringNotEquals":{"aws:TagKeys":["red"]}}"#, true),
        (r#"{"ForAnyValue:StringNotEquals":{"aws:TagKeys":["red","blue"]}}"#, false),
        // Missing and empty keys.
        (r#"{"ForAllValues:StringEquals":{"aws:RequestedKeys":"x"}}"#, true),
        (r#"{"ForAllValues:StringEquals":{"aws:Empty":"x"}}"#, true),
        (r#"{"ForAnyValue:StringEquals":{"aws:Empty":"x"}}"#, false),
        (r#"{"ForAnyValue:StringNotEquals":{"aws:RequestedKeys":"x"}}"#, false),
        (r#"{"ForAnyValue:StringEqualsIfExists":{"aws:RequestedKeys":"x"}}"#, true),
        // One value is a set of one.
        (r#"{"ForAllValues:StringEquals":{"aws:username":["ana","bob"]}}"#, true),
        (r#"{"StringEquals":{"aws:TagKeys":"red"}}"#, true),
        (r#"{"StringNotEquals":{"aws:TagKeys":"red"}}"#, false),
    ] {
        assert_eq!(condition(json), expected, "{json}");
    }
}

#[test]
fn principals() {
    let ana = user("111122223333", ANA);
    let other = user("444455556666", "arn:aws:iam::444455556666:user/eve");
    let session = Caller::Aws(AwsCaller { account: "111122223333", arn: SESSION, role_arn: Some(ROLE) });
    for (principal, caller, expected) in [
        (r#""Principal":"*""#, Caller::Anonymous, Allow),
        (r#""Principal":{"AWS":"*"}"#, Caller::Anonymous, Allow),
        (r#""Principal":{"AWS":"111122223333"}"#, ana, Allow),
        (r#""Principal":{"AWS":"arn:aws:iam::111122223333:root"}"#, session, Allow),
        (r#""Principal":{"AWS":"arn:aws:iam::111122223333:root"}"#, other, ImplicitDeny),
        (r#""Principal":{"AWS":"arn:aws:iam::111122223333:root"}"#, Caller::Anonymous, ImplicitDeny),
        (r#""Principal":{"AWS":["444455556666","arn:aws:iam::111122223333:user/ana"]}"#, ana, Allow),
        (r#""Principal":{"AWS":"arn:aws:iam::111122223333:role/worker"}"#, session, Allow),
        (r#""Principal":{"AWS":"arn:aws:sts::111122223333:assumed-role/worker/1"}"#, session, Allow),
        (r#""Principal":{"AWS":"arn:aws:sts::111122223333:assumed-role/worker/2"}"#, session, ImplicitDeny),
        (r#""Principal":{"Service":"events.amazonaws.com"}"#, Caller::Service("events.amazonaws.com"), Allow),
        (r#""Principal":{"Service":"x","Federated":["a","b"]}"#, Caller::Federated("b"), Allow),
        (r#""Principal":{"CanonicalUser":"79a59d"}"#, ana, ImplicitDeny),
        (r#""NotPrincipal":{"AWS":"111122223333"}"#, other, Allow),
        // The account alone leaves nobody out, nor does the user alone.
        (r#""NotPrincipal":{"AWS":"111122223333"}"#, ana, Allow),
        (r#""NotPrincipal":{"AWS":"arn:aws:iam::111122223333:user/ana"}"#, ana, Allow),
        (
            r#""NotPrincipal":{"AWS":["111122223333","arn:aws:iam::111122223333:user/ana"]}"#,
            ana,
            ImplicitDeny,
        ),
        (
            r#""NotPrincipal":{"Service":"events.amazonaws.com"}"#,
            Caller::Service("events.amazonaws.com"),
            ImplicitDeny,
        ),
        (r#""NotPrincipal":"*""#, ana, ImplicitDeny),
    ] {
        let policy = resource(&format!(r#"{{"Effect":"Allow",{principal},"Action":"*","Resource":"*"}}"#));
        assert_eq!(ask(&policy, caller, &Map::default()), expected, "{principal} {caller:?}");
    }
}

#[test]
fn short_resources_mean_this_api() {
    for (short, expected) in [
        ("execute-api:/*", Allow),
        ("execute-api:/prod/GET/pets", Allow),
        ("execute-api:/prod/GET/*", Allow),
        ("execute-api:/test/*", ImplicitDeny),
    ] {
        let body = format!(r#"{{"Effect":"Allow","Principal":"*","Action":"*","Resource":"{short}"}}"#);
        let policy = resource(&body);
        assert_eq!(ask(&policy, Caller::Anonymous, &Map::default()), expected, "{short}");
        assert!(
            policy.statements()[0].resources().all(|text| text.starts_with("arn:aws:execute-api:us-east-1:"))
        );
        assert!(Policy::parse(&statement(&body), Kind::Resource(None)).is_err());
    }
}

/// Tables A and B of the developer guide, and what it says of APIs without IAM.
#[test]
fn policies_together() {
    use Authentication::{Cognito, CrossAccount, None as Open, SameAccount};
    let of = |effect: &str, principal: &str| {
        resource(&format!(r#"{{"Effect":"{effect}","Principal":{principal},"Action":"*","Resource":"*"}}"#))
    };
    let (allow, deny) = (of("Allow", "\"*\""), of("Deny", "\"*\""));
    let nothing = of("Allow", r#"{"Service":"x"}"#);
    let account = of("Allow", r#"{"AWS":"111122223333"}"#);
    let context = Map::default();
    let request = Request {
        action: "execute-api:Invoke",
        resource: ARN,
        caller: user("111122223333", ANA),
        context: &context,
    };
    for (how, own, policy, expected) in [
        (SameAccount, Allow, Some(&allow), Allow),
        (SameAccount, Allow, Some(&nothing), Allow),
        (SameAccount, Allow, Some(&deny), ExplicitDeny),
        (SameAccount, ImplicitDeny, Some(&allow), Allow),
        (SameAccount, ImplicitDeny, Some(&nothing), ImplicitDeny),
        (SameAccount, ImplicitDeny, Some(&deny), ExplicitDeny),
        (SameAccount, ExplicitDeny, Some(&allow), ExplicitDeny),
        (SameAccount, ExplicitDeny, Some(&nothing), ExplicitDeny),
        (SameAccount, ExplicitDeny, Some(&deny), ExplicitDeny),
        (SameAccount, Allow, None, Allow),
        (SameAccount, ImplicitDeny, None, ImplicitDeny),
        // Named only by the account: that hands the decision to the user's own policies.
        (SameAccount, ImplicitDeny, Some(&account), ImplicitDeny),
        (SameAccount, Allow, Some(&account), Allow),
        (CrossAccount, Allow, Some(&allow), Allow),
        (CrossAccount, Allow, Some(&account), Allow),
        (CrossAccount, Allow, Some(&nothing), ImplicitDeny),
        (CrossAccount, Allow, Some(&deny), ExplicitDeny),
        (CrossAccount, ImplicitDeny, Some(&allow), ImplicitDeny),
        (CrossAccount, ImplicitDeny, Some(&nothing), ImplicitDeny),
        (CrossAccount, ImplicitDeny, Some(&deny), ExplicitDeny),
        (CrossAccount, ExplicitDeny, Some(&allow), ExplicitDeny),
        (CrossAccount, ExplicitDeny, Some(&nothing), ExplicitDeny),
        (CrossAccount, Allow, None, ImplicitDeny),
        (Open, ImplicitDeny, None, Allow),
        (Open, ImplicitDeny, Some(&allow), Allow),
        (Open, ImplicitDeny, Some(&nothing), ImplicitDeny),
        (Open, ImplicitDeny, Some(&deny), ExplicitDeny),
        (Cognito, ImplicitDeny, Some(&allow), Allow),
        (Cognito, ImplicitDeny, Some(&nothing), ImplicitDeny),
        (Cognito, ImplicitDeny, None, Allow),
    ] {
        let verdict = policy.map(|policy| policy.evaluate(&request));
        assert_eq!(combine(how, own, verdict.as_ref()), expected, "{how:?} {own:?} {verdict:?}");
        let before = crate::denied_before_authorizer(verdict.as_ref());
        assert_eq!(before, policy.is_some_and(|policy| std::ptr::eq(policy, &raw const deny)));
    }
}

#[test]
fn policies_too_narrow_for_a_cache() {
    let warned = |json: &str| {
        let policy = Policy::parse(&statement(json), Kind::Authorizer).unwrap();
        method_scoped(&policy).map(|warning| warning.to_string())
    };
    let allow = |resource: &str| {
        format!(r#"{{"Effect":"Allow","Action":"execute-api:Invoke","Resource":{resource}}}"#)
    };
    let text = warned(&allow(&format!("{ARN:?}"))).unwrap();
    assert!(text.starts_with(&format!("statement 1 allows only {ARN}, and ")), "{text}");
    assert!(warned(&allow(r#"["arn:aws:execute-api:a:1:api/prod/GET/*"]"#)).is_some());
    assert!(warned(&allow(r#"["arn:aws:execute-api:a:1:api/prod/*/pets"]"#)).is_some());
    for whole in [
        "*",
        "arn:aws:execute-api:a:1:api/*",
        "arn:aws:execute-api:a:1:api/prod/*",
        "arn:aws:execute-api:*",
        "arn:aws:execute-api:a:1:*/*/*/*",
        "arn:aws:execute-api:*:*:*",
    ] {
        assert_eq!(warned(&allow(&format!("{whole:?}"))), None, "{whole}");
    }
    assert_eq!(warned(&format!("[{},{}]", allow(&format!("{ARN:?}")), allow("\"*\""))), None);
    assert_eq!(warned(&allow(&format!("{ARN:?}")).replace("Allow", "Deny")), None);
}

/// Document, kind, message.
#[rustfmt::skip] // A case a line.
const WRONG: &[(&str, Kind<'_>, &str)] = &[
    ("{", Kind::Identity, "$: expected JSON, found EOF while parsing an object at line 1 column 1"),
    ("[]", Kind::Identity, "$: expected an object, found a list"),
    ("{}", Kind::Identity, "$: expected a Statement, found none"),
    (
        r#"{"Statement":[]}"#,
        Kind::Identity,
        "$.Statement: expected at least one statement, found an empty list",
    ),
    (
        r#"{"Version":"2012-10-18","Statement":[]}"#,
        Kind::Identity,
        "$.Version: expected \"2012-10-17\" or \"2008-10-17\", found \"2012-10-18\"",
    ),
    (r#"{"Statements":[]}"#, Kind::Identity, "$: expected Version, Id, Statement, found \"Statements\""),
    (
        r#"{"Statement":{},"Statement":{}}"#,
        Kind::Identity,
        "$: expected JSON, found \"Statement\" twice in one object at line 1 column 27",
    ),
    (
        r#"{"Statement":[{"Effect":"allow"}]}"#,
        Kind::Identity,
        "$.Statement[0].Effect: expected \"Allow\" or \"Deny\", found \"allow\"",
    ),
    (
        r#"{"Statement":{"Effect":"Allow","Action":"Invoke","Resource":"*"}}"#,
        Kind::Identity,
        "$.Statement.Action: expected service:action (execute-api:Invoke) or *, found \"Invoke\"",
    ),
    (
        r#"{"Statement":{"Effect":"Allow","Action":"a:b"}}"#,
        Kind::Authorizer,
        "$.Statement: expected a Resource or NotResource, found none",
    ),
    (
        r#"{"Statement":{"Effect":"Allow","Action":"a:b","NotAction":"a:c","Resource":"*"}}"#,
        Kind::Identity,
        "$.Statement: expected either Action or NotAction, found both",
    ),
    (
        r#"{"Statement":{"Effect":"Allow","Action":["a:b",1],"Resource":"*"}}"#,
        Kind::Identity,
        "$.Statement.Action[1]: expected a text, found 1",
    ),
    (
        r#"{"Statement":{"Effect":"Allow","Action":[],"Resource":"*"}}"#,
        Kind::Identity,
        "$.Statement.Action: expected at least one, found an empty list",
    ),
    (
        r#"{"Statement":{"Effect":"Allow","Action":"a:b","Resource":"prod/*"}}"#,
        Kind::Identity,
        "$.Statement.Resource: expected an ARN (arn:partition:service:region:account:resource) or *, found \"prod/*\"",
    ),
    (
        r#"{"Statement":{"Effect":"Allow","Action":"a:b","Resource":"*"}}"#,
        Kind::Resource(None),
        "$.Statement: expected a Principal, found none",
    ),
    (
        r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"a:b","Resource":"*"}}"#,
        Kind::Identity,
        "$.Statement.Principal: expected no principal, since the policy is the caller's own, found one",
    ),
    (
        r#"{"Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::1:user/*"},"Action":"a:b","Resource":"*"}}"#,
        Kind::Resource(None),
        "$.Statement.Principal.AWS: expected \"*\", an account, or the ARN of a user, role or session without \
         wildcards, found \"arn:aws:iam::1:user/*\"",
    ),
    (
        r#"{"Statement":{"Effect":"Deny","Action":"a:b","Resource":"*","Condition":{"IpAddres":{}}}}"#,
        Kind::Identity,
        "$.Statement.Condition: expected condition operators of IAM, like StringEquals or IpAddressIfExists, found \"IpAddres\"",
    ),
    (
        r#"{"Statement":{"Effect":"Deny","Action":"a:b","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","300.1.1.1"]}}}}"#,
        Kind::Identity,
        "$.Statement.Condition.IpAddress[\"aws:SourceIp\"]: expected an IP address or a CIDR block (192.0.2.0/24), found \"300.1.1.1\"",
    ),
    (
        r#"{"Statement":{"Effect":"Deny","Action":"a:b","Resource":"*","Condition":{"Bool":{"a:b":[{}]}}}}"#,
        Kind::Identity,
        "$.Statement.Condition.Bool[\"a:b\"][0]: expected a text, number or boolean, found an object",
    ),
    (
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"a:b","Resource":"arn:aws:x:::${aws:a"}}"#,
        Kind::Identity,
        "$.Statement.Resource: expected a policy variable that ends in }, found \"arn:aws:x:::${aws:a\"",
    ),
];

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (document, kind, expected) in WRONG {
        let error = Policy::parse(document, *kind).unwrap_err();
        assert_eq!(error.to_string(), *expected, "{document}");
    }
    let sids = r#"{"Statement":[{"Sid":"a","Effect":"Deny","Action":"a:b","Resource":"*"},
        {"Sid":"a","Effect":"Deny","Action":"a:b","Resource":"*"}]}"#;
    assert!(Policy::parse(sids, Kind::Identity).unwrap_err().to_string().contains("\"a\" twice"));
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    assert!(Policy::parse(&deep, Kind::Identity).is_err());
    let long = format!("{{\"Id\":\"{}\"}}", "x".repeat(crate::MAX_DOCUMENT_BYTES));
    assert!(Policy::parse(&long, Kind::Identity).unwrap_err().to_string().contains("at most 65536 bytes"));
}
