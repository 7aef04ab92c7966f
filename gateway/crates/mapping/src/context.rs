//! The `$context` variables of REST APIs, one table for parameter mapping, templates and access logs.
//!
//! The names are those of the developer guide's "`$context` variables for data models, authorizers, mapping templates, and
//! CloudWatch access logging": 77 with the families, and those that AWS has added since.

use std::fmt;

macro_rules! variables {
    ($($variant:ident = $name:literal,)*) => {
        /// A `$context` variable with a fixed name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "named as the variables, which the developer guide explains")]
        pub enum ContextVariable {
            $($variant,)*
        }

        impl ContextVariable {
            /// All of them, in the order of their names.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name, without `$context.`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

// Sorted by name: `from_name` searches by halves.
variables! {
    AccountId = "accountId",
    ApiId = "apiId",
    AuthenticateError = "authenticate.error",
    AuthenticateLatency = "authenticate.latency",
    AuthenticateStatus = "authenticate.status",
    AuthorizeError = "authorize.error",
    AuthorizeLatency = "authorize.latency",
    AuthorizeStatus = "authorize.status",
    AuthorizerError = "authorizer.error",
    AuthorizerIntegrationLatency = "authorizer.integrationLatency",
    AuthorizerIntegrationStatus = "authorizer.integrationStatus",
    AuthorizerLatency = "authorizer.latency",
    AuthorizerPrincipalId = "authorizer.principalId",
    AuthorizerRequestId = "authorizer.requestId",
    AuthorizerStatus = "authorizer.status",
    AwsEndpointRequestId = "awsEndpointRequestId",
    CustomDomainBasePathMatched = "customDomain.basePathMatched",
    DeploymentId = "deploymentId",
    DomainName = "domainName",
    DomainPrefix = "domainPrefix",
    ErrorMessage = "error.message",
    ErrorMessageString = "error.messageString",
    ErrorResponseType = "error.responseType",
    ErrorValidationErrorString = "error.validationErrorString",
    ExtendedRequestId = "extendedRequestId",
    HttpMethod = "httpMethod",
    IdentityAccountId = "identity.accountId",
    IdentityApiKey = "identity.apiKey",
    IdentityApiKeyId = "identity.apiKeyId",
    IdentityCaller = "identity.caller",
    ClientCertPem = "identity.clientCert.clientCertPem",
    ClientCertIssuerDn = "identity.clientCert.issuerDN",
    ClientCertSerialNumber = "identity.clientCert.serialNumber",
    ClientCertSubjectDn = "identity.clientCert.subjectDN",
    ClientCertNotAfter = "identity.clientCert.validity.notAfter",
    ClientCertNotBefore = "identity.clientCert.validity.notBefore",
    CognitoAuthenticationProvider = "identity.cognitoAuthenticationProvider",
    CognitoAuthenticationType = "identity.cognitoAuthenticationType",
    CognitoIdentityId = "identity.cognitoIdentityId",
    CognitoIdentityPoolId = "identity.cognitoIdentityPoolId",
    IdentityPrincipalOrgId = "identity.principalOrgId",
    IdentitySourceIp = "identity.sourceIp",
    IdentityUser = "identity.user",
    IdentityUserAgent = "identity.userAgent",
    IdentityUserArn = "identity.userArn",
    IdentityVpcId = "identity.vpcId",
    IdentityVpceId = "identity.vpceId",
    IntegrationError = "integration.error",
    IntegrationIntegrationStatus = "integration.integrationStatus",
    IntegrationLatencyMs = "integration.latency",
    IntegrationRequestId = "integration.requestId",
    IntegrationServiceStatus = "integration.status",
    IntegrationErrorMessage = "integrationErrorMessage",
    IntegrationLatency = "integrationLatency",
    IntegrationStatus = "integrationStatus",
    IsCanaryRequest = "isCanaryRequest",
    Path = "path",
    Protocol = "protocol",
    RequestId = "requestId",
    RequestTime = "requestTime",
    RequestTimeEpoch = "requestTimeEpoch",
    ResourceId = "resourceId",
    ResourcePath = "resourcePath",
    ResponseLatency = "responseLatency",
    ResponseLength = "responseLength",
    ResponseOverrideStatus = "responseOverride.status",
    Stage = "stage",
    Status = "status",
    WafError = "waf.error",
    WafLatency = "waf.latency",
    WafStatus = "waf.status",
    WafResponseCode = "wafResponseCode",
    WebaclArn = "webaclArn",
    XrayTraceId = "xrayTraceId",
}

impl ContextVariable {
    /// The variable of a name without `$context.`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let at = Self::ALL.binary_search_by(|known| known.name().cmp(name)).ok()?;
        Self::ALL.get(at).copied()
    }
}

/// What stands after `$context.`: a variable, or a member of a family.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ContextName {
    /// A fixed name.
    Fixed(ContextVariable),
    /// `authorizer.claims`: all of them.
    Claims,
    /// `authorizer.claims.<name>`.
    Claim(Box<str>),
    /// `authorizer.<name>`: what a Lambda authorizer returned in `context`.
    Authorizer(Box<str>),
    /// `requestOverride.header.<name>`.
    RequestHeader(Box<str>),
    /// `requestOverride.path.<name>`.
    RequestPath(Box<str>),
    /// `requestOverride.querystring.<name>`.
    RequestQuery(Box<str>),
    /// `responseOverride.header.<name>`.
    ResponseHeader(Box<str>),
}

/// The families, the longer prefix first where one begins with the other.
type Family = (&'static str, fn(Box<str>) -> ContextName);
const FAMILIES: [Family; 6] = [
    ("authorizer.claims.", ContextName::Claim),
    ("authorizer.", ContextName::Authorizer),
    ("requestOverride.header.", ContextName::RequestHeader),
    ("requestOverride.path.", ContextName::RequestPath),
    ("requestOverride.querystring.", ContextName::RequestQuery),
    ("responseOverride.header.", ContextName::ResponseHeader),
];

impl ContextName {
    /// Parses a name without `$context.`; `None` when there is no such variable.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(variable) = ContextVariable::from_name(name) {
            return Some(Self::Fixed(variable));
        }
        if name == "authorizer.claims" {
            return Some(Self::Claims);
        }
        FAMILIES.iter().find_map(|(prefix, member)| {
            let key = name.strip_prefix(prefix).filter(|key| !key.is_empty())?;
            Some(member(key.into()))
        })
    }
}

impl fmt::Display for ContextName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(variable) => f.write_str(variable.name()),
            Self::Claims => f.write_str("authorizer.claims"),
            Self::Claim(key) => write!(f, "authorizer.claims.{key}"),
            Self::Authorizer(key) => write!(f, "authorizer.{key}"),
            Self::RequestHeader(key) => write!(f, "requestOverride.header.{key}"),
            Self::RequestPath(key) => write!(f, "requestOverride.path.{key}"),
            Self::RequestQuery(key) => write!(f, "requestOverride.querystring.{key}"),
            Self::ResponseHeader(key) => write!(f, "responseOverride.header.{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ContextName, ContextVariable};

    /// The 77 names of the developer guide.
    const GUIDE: &str = "accountId apiId authenticate.error authenticate.latency authenticate.status authorize.error \
        authorize.latency authorize.status authorizer.claims authorizer.claims.property authorizer.error \
        authorizer.integrationLatency authorizer.integrationStatus authorizer.latency authorizer.principalId \
        authorizer.property authorizer.requestId authorizer.status awsEndpointRequestId customDomain.basePathMatched \
        domainName domainPrefix error.message error.messageString error.responseType error.validationErrorString \
        extendedRequestId httpMethod identity.accountId identity.apiKey identity.apiKeyId identity.caller \
        identity.clientCert.clientCertPem identity.clientCert.issuerDN identity.clientCert.serialNumber \
        identity.clientCert.subjectDN identity.clientCert.validity.notAfter identity.clientCert.validity.notBefore \
        identity.cognitoAuthenticationProvider identity.cognitoAuthenticationType identity.cognitoIdentityId \
        identity.cognitoIdentityPoolId identity.principalOrgId identity.sourceIp identity.user identity.userAgent \
        identity.userArn integration.error integration.integrationStatus integration.latency integration.requestId \
        integration.status integrationErrorMessage integrationLatency integrationStatus path protocol requestId \
        requestOverride.header.header_name requestOverride.path.path_name \
        requestOverride.querystring.querystring_name requestTime requestTimeEpoch resourceId resourcePath \
        responseLatency responseLength responseOverride.header.header_name responseOverride.status stage status \
        waf.error waf.latency waf.status wafResponseCode webaclArn xrayTraceId";

    #[test]
    fn every_name_of_the_guide_is_known() {
        let names: Vec<_> = GUIDE.split_whitespace().collect();
        assert_eq!(names.len(), 77);
        for name in names {
            let parsed = ContextName::parse(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(parsed.to_string(), name);
        }
    }

    #[test]
    fn the_table_is_sorted_and_finds_each_of_its_names() {
        assert!(ContextVariable::ALL.is_sorted_by(|a, b| a.name() < b.name()));
        for variable in ContextVariable::ALL {
            assert_eq!(ContextVariable::from_name(variable.name()), Some(*variable));
        }
        for unknown in ["", "identity", "authorizer.", "requestOverride.header.", "nothing"] {
            assert_eq!(ContextName::parse(unknown), None, "{unknown}");
        }
    }
}
