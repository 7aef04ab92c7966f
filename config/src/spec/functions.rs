//! Keys of Lambda functions, of AWS's services behind integrations, and of the credentials that they are asked with.

use super::{Default, Kind, Section, TIMEOUT, key};

pub(crate) const FUNCTIONS: Section = Section {
    name: "functions",
    named: true,
    doc: "Lambda functions: hosted by the gateway (`runtime`), or behind an Invoke endpoint (`endpoint_url`).",
    keys: &[
        key(
            "runtime",
            Kind::Choice(&["node", "python", "provided"]),
            Default::Absent,
            "What runs it here: `node` or `python3` of the path, or the executable `bootstrap` of `directory`.",
        ),
        key(
            "handler",
            Kind::Text,
            Default::Absent,
            "Where the code starts: `file.export` or `module.function`. `provided` is told it as it is.",
        ),
        key("directory", Kind::Text, Default::Absent, "Where the code is, as seen from the process."),
        key(
            "environment",
            Kind::TextList,
            Default::EmptyList,
            "`NAME=value`, beside those that Lambda sets.",
        ),
        key(
            "memory_mb",
            Kind::Integer(32, 10_240, "MB"),
            Default::Integer(128),
            "Memory of an instance: the limit of its cgroup, or else of its data segments.",
        ),
        key(
            "timeout_ms",
            Kind::Integer(1, 900_000, "ms"),
            Default::Integer(3_000),
            "For one invocation; then its process is ended.",
        ),
        key(
            "init_timeout_ms",
            Kind::Integer(1, 900_000, "ms"),
            Default::Integer(10_000),
            "Until a new instance asks for its first invocation.",
        ),
        key(
            "min_instances",
            Kind::Integer(0, 1_000, "instances"),
            Default::Integer(0),
            "Instances that are kept warm.",
        ),
        key(
            "max_instances",
            Kind::Integer(1, 1_000, "instances"),
            Default::Integer(16),
            "Instances at most; more invocations at once are throttled.",
        ),
        key(
            "idle_timeout_ms",
            TIMEOUT,
            Default::Integer(300_000),
            "How long an instance above the minimum may be idle.",
        ),
        key(
            "reload",
            Kind::Bool,
            Default::Bool(false),
            "Replace the instances when a file of `directory` changes: for development.",
        ),
        key(
            "endpoint_url",
            Kind::Text,
            Default::Absent,
            "`http://…` or `https://…` of a Lambda Invoke API that runs it, instead of `runtime`.",
        ),
    ],
};

pub(crate) const LAMBDA: Section = Section {
    name: "lambda",
    named: false,
    doc: "What all functions hosted by the gateway share.",
    keys: &[
        key(
            "user_id",
            Kind::Integer(0, u32::MAX as u64, ""),
            Default::Absent,
            "User that instances run as; takes root and `group_id`. Default: the gateway's own.",
        ),
        key(
            "group_id",
            Kind::Integer(0, u32::MAX as u64, ""),
            Default::Absent,
            "Group that instances run as. Default: the gateway's own.",
        ),
        key(
            "cgroup",
            Kind::Text,
            Default::Absent,
            "Folder of a cgroup (version 2) for a group of each instance, with the memory controller. Default: resource limits.",
        ),
        key(
            "log_lines",
            Kind::Integer(1, 1_000_000, "lines"),
            Default::Integer(1_000),
            "Lines of each function's log that are kept for `sluice functions logs`.",
        ),
    ],
};

pub(crate) const SERVICES: Section = Section {
    name: "services",
    named: true,
    doc: "Services of AWS behind integrations, by the name in their ARNs: [services.lambda], [services.dynamodb].",
    keys: &[
        key(
            "endpoint_url",
            Kind::Text,
            Default::Absent,
            "`http://…` or `https://…` of a server to ask. Default: AWS's own for the region.",
        ),
        key(
            "region",
            Kind::Text,
            Default::Absent,
            "Region that requests are signed for. Default: the one of the integration's ARN.",
        ),
        key(
            "credentials",
            Kind::Text,
            Default::Absent,
            "Name of [credentials.NAME], or \"none\" for unsigned requests. Default: those of the integration's role, else \"default\".",
        ),
    ],
};

pub(crate) const CREDENTIALS: Section = Section {
    name: "credentials",
    named: true,
    doc: "Credentials that services are asked with. [credentials.default] comes before the environment's and AWS's own files.",
    keys: &[
        key("access_key_id", Kind::Text, Default::Required, "Access key."),
        key("secret_access_key", Kind::Text, Default::Required, "Its secret."),
        key("session_token", Kind::Text, Default::Absent, "Of temporary credentials."),
        key(
            "roles",
            Kind::TextList,
            Default::EmptyList,
            "ARNs of the roles (`credentials` of an integration) that these stand for.",
        ),
    ],
};

pub(crate) const VPC_LINKS: Section = Section {
    name: "vpc_links",
    named: true,
    doc: "Where the VPC links of REST APIs lead: [vpc_links.ID], or the link's name in place of its id.",
    keys: &[key(
        "upstream",
        Kind::Text,
        Default::Required,
        "Name of the upstream group that is behind the link.",
    )],
};
