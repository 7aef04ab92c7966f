//! Keys of token authorizers.

use super::{Default, Kind, Section, key};

pub(crate) const AUTHORIZERS: Section = Section {
    name: "authorizers",
    named: true,
    doc: "Who may call routes: whoever has a JSON Web Token, or whom a Lambda function lets in.",
    keys: &[
        key(
            "type",
            Kind::Choice(&["jwt", "request"]),
            Default::Text("jwt"),
            "\"jwt\": tokens in `Authorization`; \"request\": a Lambda function that is told the request.",
        ),
        key("issuer", Kind::Text, Default::Absent, "Who issues the tokens: their `iss`, exactly."),
        key(
            "jwks_url",
            Kind::Text,
            Default::Absent,
            "Where the issuer's keys are. Default: what its discovery document says.",
        ),
        key(
            "audiences",
            Kind::TextList,
            Default::EmptyList,
            "Whom tokens are for: one of these as `aud`, or as `client_id`.",
        ),
        key(
            "scopes",
            Kind::TextList,
            Default::EmptyList,
            "Tokens need one of these scopes (403). Default: none.",
        ),
        key(
            "function",
            Kind::Text,
            Default::Absent,
            "The function that is asked: a name of [functions], or an ARN.",
        ),
        key(
            "identity_sources",
            Kind::TextList,
            Default::EmptyList,
            "`$request.header.NAME`, `$request.querystring.NAME` or `$context.NAME`: all must be there (401); answers are kept for them together.",
        ),
        key(
            "ttl_s",
            Kind::Integer(0, 3600, "s"),
            Default::Absent,
            "How long an answer of the function is kept, 0: not at all. Default: 300 with `identity_sources`, else 0.",
        ),
        key(
            "payload_format_version",
            Kind::Choice(&["2.0", "1.0"]),
            Default::Text("2.0"),
            "Form of the function's events. Told format 1.0, it answers with a policy.",
        ),
        key(
            "enable_simple_responses",
            Kind::Bool,
            Default::Bool(false),
            "The function answers `isAuthorized` and `context`, not a policy.",
        ),
    ],
};

pub(crate) const USER_POOLS: Section = Section {
    name: "user_pools",
    named: true,
    doc: "Cognito user pools of REST APIs' authorizers that are not at AWS: [user_pools.REGION_ID].",
    keys: &[
        key(
            "issuer",
            Kind::Text,
            Default::Absent,
            "What its tokens have as `iss`. Default: `https://cognito-idp.REGION.amazonaws.com/REGION_ID`.",
        ),
        key(
            "jwks_url",
            Kind::Text,
            Default::Absent,
            "Where its keys are. Default: the issuer's `/.well-known/jwks.json`.",
        ),
    ],
};
