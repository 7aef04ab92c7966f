//! How AWS's services are asked for an action: by a target in a header and JSON, or by parameters of a query.
//!
//! `arn:aws:apigateway:{region}:{service}:action/{name}` says no more than the name; the rest is each service's own protocol
//! (AWS service models, `metadata`).

/// How a service is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// `X-Amz-Target: {prefix}.{action}` and JSON of this version.
    Json { prefix: &'static str, version: &'static str },
    /// `Action={action}&Version={version}`.
    Query { version: &'static str },
}

const fn json(prefix: &'static str, version: &'static str) -> Protocol {
    Protocol::Json { prefix, version }
}

const fn query(version: &'static str) -> Protocol {
    Protocol::Query { version }
}

/// Sorted by the names that ARNs have.
const PROTOCOLS: &[(&str, Protocol)] = &[
    ("autoscaling", query("2011-01-01")),
    ("cloudformation", query("2010-05-15")),
    ("cognito-idp", json("AWSCognitoIdentityProviderService", "1.1")),
    ("dynamodb", json("DynamoDB_20120810", "1.0")),
    ("ec2", query("2016-11-15")),
    ("email", query("2010-12-01")),
    ("events", json("AWSEvents", "1.1")),
    ("firehose", json("Firehose_20150804", "1.1")),
    ("iam", query("2010-05-08")),
    ("kinesis", json("Kinesis_20131202", "1.1")),
    ("kms", json("TrentService", "1.1")),
    ("logs", json("Logs_20140328", "1.1")),
    ("monitoring", query("2010-08-01")),
    ("rds", query("2014-10-31")),
    ("secretsmanager", json("secretsmanager", "1.1")),
    ("sns", query("2010-03-31")),
    ("sqs", query("2012-11-05")),
    ("ssm", json("AmazonSSM", "1.1")),
    ("states", json("AWSStepFunctions", "1.0")),
    ("sts", query("2011-06-15")),
];

/// The protocol of a service; `None`: it is asked by path alone, or is not known here.
pub(crate) fn protocol(service: &str) -> Option<Protocol> {
    PROTOCOLS.iter().find(|(known, _)| *known == service).map(|(_, protocol)| *protocol)
}

/// The name that signatures have for a service, where it is not that of its ARNs.
pub(crate) fn signing_name(service: &str) -> &str {
    match service {
        "email" => "ses",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_known_by_name_and_sorted() {
        assert!(PROTOCOLS.is_sorted_by_key(|(name, _)| *name));
        assert_eq!(protocol("dynamodb"), Some(json("DynamoDB_20120810", "1.0")));
        assert_eq!(protocol("sns"), Some(query("2010-03-31")));
        assert_eq!(protocol("s3"), None);
        assert_eq!((signing_name("email"), signing_name("sqs")), ("ses", "sqs"));
    }
}
