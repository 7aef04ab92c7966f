//! Keys of token authorizers.

use super::{Default, Kind, Section, key};

pub(crate) const AUTHORIZERS: Section = Section {
    name: "authorizers",
    named: true,
    doc: "JSON Web Tokens that routes accept, in `Authorization`.",
    keys: &[
        key("type", Kind::Choice(&["jwt"]), Default::Text("jwt"), "Kind of authorizer."),
        key("issuer", Kind::Text, Default::Required, "Who issues the tokens: their `iss`, exactly."),
        key(
            "jwks_url",
            Kind::Text,
            Default::Absent,
            "Where the issuer's keys are. Default: what its discovery document says.",
        ),
        key(
            "audiences",
            Kind::TextList,
            Default::Required,
            "Whom tokens are for: one of these as `aud`, or as `client_id`.",
        ),
        key(
            "scopes",
            Kind::TextList,
            Default::EmptyList,
            "Tokens need one of these scopes (403). Default: none.",
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
