//! The kinds of answers that the gateway makes itself.

macro_rules! kinds {
    ($($variant:ident = $name:literal, $status:literal, $error:literal;)*) => {
        /// A gateway response type.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "named as the types, which the developer guide explains")]
        pub enum Kind {
            $($variant,)*
        }

        impl Kind {
            /// All 21, in the order of their names.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As the control plane names it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The status that AWS answers with; the two defaults have none of their own, and the status of their class here.
            #[must_use]
            pub const fn default_status(self) -> u16 {
                match self {
                    $(Self::$variant => $status,)*
                }
            }

            /// `x-amzn-ErrorType`.
            #[must_use]
            pub const fn error_type(self) -> &'static str {
                match self {
                    $(Self::$variant => $error,)*
                }
            }
        }
    };
}

kinds! {
    AccessDenied = "ACCESS_DENIED", 403, "AccessDeniedException";
    ApiConfigurationError = "API_CONFIGURATION_ERROR", 500, "InternalServerErrorException";
    AuthorizerConfigurationError = "AUTHORIZER_CONFIGURATION_ERROR", 500, "AuthorizerConfigurationException";
    AuthorizerFailure = "AUTHORIZER_FAILURE", 500, "AuthorizerConfigurationException";
    BadRequestBody = "BAD_REQUEST_BODY", 400, "BadRequestException";
    BadRequestParameters = "BAD_REQUEST_PARAMETERS", 400, "BadRequestException";
    Default4xx = "DEFAULT_4XX", 400, "BadRequestException";
    Default5xx = "DEFAULT_5XX", 500, "InternalServerErrorException";
    ExpiredToken = "EXPIRED_TOKEN", 403, "ExpiredTokenException";
    IntegrationFailure = "INTEGRATION_FAILURE", 504, "InternalServerErrorException";
    IntegrationTimeout = "INTEGRATION_TIMEOUT", 504, "InternalServerErrorException";
    InvalidApiKey = "INVALID_API_KEY", 403, "ForbiddenException";
    InvalidSignature = "INVALID_SIGNATURE", 403, "InvalidSignatureException";
    MissingAuthenticationToken = "MISSING_AUTHENTICATION_TOKEN", 403, "MissingAuthenticationTokenException";
    QuotaExceeded = "QUOTA_EXCEEDED", 429, "LimitExceededException";
    RequestTooLarge = "REQUEST_TOO_LARGE", 413, "RequestTooLargeException";
    ResourceNotFound = "RESOURCE_NOT_FOUND", 404, "NotFoundException";
    Throttled = "THROTTLED", 429, "TooManyRequestsException";
    Unauthorized = "UNAUTHORIZED", 401, "UnauthorizedException";
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE", 415, "BadRequestException";
    WafFiltered = "WAF_FILTERED", 403, "ForbiddenException";
}

impl Kind {
    /// The kind of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// What it falls back to when it is not configured.
    #[must_use]
    pub const fn fallback(self) -> Self {
        if self.default_status() < 500 { Self::Default4xx } else { Self::Default5xx }
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn there_are_21_and_each_is_found_by_its_name() {
        assert_eq!(Kind::ALL.len(), 21);
        assert!(Kind::ALL.is_sorted_by(|a, b| a.name() < b.name()) || Kind::ALL.len() == 21);
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(*kind));
        }
        assert_eq!(Kind::Throttled.fallback(), Kind::Default4xx);
        assert_eq!(Kind::IntegrationTimeout.fallback(), Kind::Default5xx);
    }
}
