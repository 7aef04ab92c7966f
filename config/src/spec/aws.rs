//! Keys of the AWS-compatible control plane.

use super::{Default, Kind, Section, key};

pub(crate) const STORE: Section = Section {
    name: "store",
    named: false,
    doc: "Where what the AWS-compatible control plane is told is kept.",
    keys: &[key(
        "path",
        Kind::Text,
        Default::Absent,
        "One file, made if it is not there. Default: in memory, and gone when the process ends.",
    )],
};

pub(crate) const AWS: Section = Section {
    name: "aws",
    named: false,
    doc: "The AWS-compatible control plane on the admin listener.",
    keys: &[
        key(
            "region",
            Kind::Text,
            Default::Text("us-east-1"),
            "Region in ARNs and host names, and the one that requests must be signed for.",
        ),
        key(
            "account_id",
            Kind::Text,
            Default::Text("123456789012"),
            "Account in ARNs and messages: 12 digits.",
        ),
        key(
            "execute_api_suffix",
            Kind::Text,
            Default::Text("amazonaws.com"),
            "APIs are served at `{apiId}.execute-api.{region}.{suffix}`.",
        ),
        key(
            "development",
            Kind::Bool,
            Default::Bool(false),
            "Take any signature, and none; `POST /moto-api/reset` empties the store. Never where others reach the listener.",
        ),
        key(
            "integration_timeout_max_ms",
            Kind::Integer(50, 300_000, "ms"),
            Default::Integer(29_000),
            "Longest `timeoutInMillis` that an integration may have.",
        ),
    ],
};

pub(crate) const ACCESS_KEYS: Section = Section {
    name: "access_keys",
    named: true,
    doc: "Who may sign requests, to the control plane and to methods that ask for it: [access_keys.ID].",
    keys: &[
        key("secret", Kind::Text, Default::Required, "Secret access key, at least 16 characters."),
        key(
            "session_token",
            Kind::Text,
            Default::Absent,
            "For temporary credentials: what requests must carry in `X-Amz-Security-Token`.",
        ),
        key(
            "expires",
            Kind::Text,
            Default::Absent,
            "When the credentials end, for example \"2030-01-31T12:00:00Z\". Default: never.",
        ),
        key(
            "arn",
            Kind::Text,
            Default::Absent,
            "Who has the key: `arn:aws:iam::ACCOUNT:user/NAME` or `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`. Default: the user of this id in `aws.account_id`.",
        ),
        key(
            "policy",
            Kind::Text,
            Default::Absent,
            "IAM policy, a JSON document: what of APIs the owner may call, and nothing of the control plane. Default: everything, the control plane too.",
        ),
        key("policy_file", Kind::Text, Default::Absent, "File with the policy."),
    ],
};
