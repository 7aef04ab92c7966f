//! What a data core tells about one exchange.

use std::net::IpAddr;

/// One finished exchange. Slots come from [`Hub`](crate::Hub); byte fields are raw and may be hostile.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Route slot, or [`UNMATCHED`](crate::UNMATCHED).
    pub route: u32,
    /// Status sent to the client.
    pub status: u16,
    /// Why the gateway answered by itself, if it did.
    pub refusal: Option<Refusal>,
    /// From the first byte of the request to the last of the response handed to the kernel.
    pub latency_us: u64,
    /// The part spent waiting for the upstream.
    pub integration_latency_us: Option<u64>,
    /// Upstream slot, if one was asked.
    pub upstream: Option<u32>,
    /// What the cache did.
    pub cache: CacheOutcome,
    /// Slot of the API key that was presented and valid.
    pub key: Option<u32>,
    /// Slot of the limit that refused.
    pub limit: Option<u32>,
    /// Bytes of the request, head and body.
    pub bytes_in: u64,
    /// Bytes of the response, head and body.
    pub bytes_out: u64,
    /// When the request arrived.
    pub time_unix_ms: u64,
    /// Method as sent.
    pub method: &'a [u8],
    /// Request target as sent, with its query.
    pub path: &'a [u8],
    /// Minor version of HTTP/1, 0 or 1; 2: HTTP/2.
    pub version: u8,
    /// The client's address.
    pub source: IpAddr,
    /// `User-Agent`, empty if absent.
    pub user_agent: &'a [u8],
    /// `Referer`, empty if absent.
    pub referer: &'a [u8],
    /// TLS version, cipher suite and client certificate's subject, separated by line feeds; empty without TLS.
    pub tls: &'a [u8],
    /// Who called, as the authorizer has it; empty where nobody vouches.
    pub principal: &'a [u8],
    /// As in `x-amzn-RequestId`.
    pub request_id: &'a [u8],
}

/// What the cache did for an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum CacheOutcome {
    /// The route has no cache.
    #[default]
    None = 0,
    /// Answered from the cache.
    Hit = 1,
    /// Looked up, not found.
    Miss = 2,
    /// The client asked for a fresh one (`Cache-Control: max-age=0`).
    Refresh = 3,
}

impl CacheOutcome {
    /// As in the log; empty for `None`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Hit => "HIT",
            Self::Miss => "MISS",
            Self::Refresh => "REFRESH",
        }
    }

    pub(crate) const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Hit,
            2 => Self::Miss,
            3 => Self::Refresh,
            _ => Self::None,
        }
    }
}

/// Defines an enum with a dense code and a label per variant from one table.
macro_rules! labelled {
    ($(#[$outer:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident => $label:literal,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every variant, in the order of their codes.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The label in metrics and in the log.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }
        }
    };
}

labelled! {
    /// What an HTTP/2 client did that ended its stream or its connection.
    Http2Fault {
        /// A name or value that no message may hold.
        BadField => "bad_field",
        /// Pseudo-headers missing, doubled, misplaced.
        BadPseudoHeader => "bad_pseudo_header",
        /// `connection`, `transfer-encoding` and the like.
        ConnectionSpecificField => "connection_specific_field",
        /// A path or authority that is none.
        BadTarget => "bad_target",
        /// Not a length.
        BadContentLength => "bad_content_length",
        /// A body of another length.
        ContentLengthMismatch => "content_length_mismatch",
        /// Trailers that don't end the stream.
        TrailersWithoutEnd => "trailers_without_end",
        /// More streams than allowed.
        TooManyStreams => "too_many_streams",
        /// A stream that depends on itself.
        SelfDependency => "self_dependency",
        /// WINDOW_UPDATE of 0.
        WindowUpdateOfZero => "window_update_of_zero",
        /// A window past 2^31-1.
        WindowOverflow => "window_overflow",
        /// More data than a window allows.
        WindowExceeded => "window_exceeded",
        /// A frame for a stream that is half closed or closed.
        ClosedStream => "closed_stream",
        /// A frame for a stream that nobody opened.
        IdleStream => "idle_stream",
        /// A frame of the wrong size.
        BadFrameSize => "bad_frame_size",
        /// A header block that can't be decoded.
        BadHeaderBlock => "bad_header_block",
        /// Endless CONTINUATION.
        ContinuationFlood => "continuation_flood",
        /// Streams opened and reset at once.
        RapidReset => "rapid_reset",
        /// PING.
        PingFlood => "ping_flood",
        /// SETTINGS.
        SettingsFlood => "settings_flood",
        /// DATA without data.
        EmptyDataFlood => "empty_data_flood",
        /// WINDOW_UPDATE.
        WindowUpdateFlood => "window_update_flood",
        /// PRIORITY and unknown frames.
        FrameFlood => "frame_flood",
        /// A header block or greeting that did not come in time.
        HeaderTimeout => "header_timeout",
        /// Answers that the client does not take.
        WriteTimeout => "write_timeout",
        /// Anything else that breaks the protocol.
        Protocol => "protocol",
    }
}

impl Http2Fault {
    /// The fault with this label; [`Self::Protocol`] for any other.
    #[must_use]
    pub fn from_label(label: &str) -> Self {
        Self::ALL.iter().copied().find(|fault| fault.label() == label).unwrap_or(Self::Protocol)
    }
}

labelled! {
    /// Why the gateway answered by itself instead of passing on an upstream's response.
    Refusal {
        /// No route has this host and path.
        NotFound => "not_found",
        /// The path has a route, but not for this method.
        MethodNotAllowed => "method_not_allowed",
        /// A stage of a REST API has no resource or method for the request.
        MissingToken => "missing_authentication_token",
        /// There is no such REST API, stage or base path.
        UnknownStage => "unknown_stage",
        /// A method of a REST API whose set-up cannot be served.
        Configuration => "api_configuration_error",
        /// A Lambda function failed, or answered what no answer can be made of.
        FunctionFailed => "function_failed",
        /// A method of a REST API whose authorizer cannot be asked.
        Authorizer => "authorizer_configuration_error",
        /// Nobody that the authorizer knows.
        Unauthorized => "unauthorized",
        /// The caller is known, or anybody, and may not.
        AccessDenied => "access_denied",
        /// A token without a scope that the route asks for.
        InsufficientScope => "insufficient_scope",
        /// A signature that is not of this request, or not of now.
        SignatureInvalid => "invalid_signature",
        /// A signature that lacks something.
        SignatureIncomplete => "incomplete_signature",
        /// Signed with an access key that there is not.
        UnknownAccessKey => "unknown_access_key",
        /// Signed with credentials that have ended.
        ExpiredToken => "expired_token",
        /// The authorizer did not answer, or not in its form.
        AuthorizerFailure => "authorizer_failure",
        /// No template of an integration is for the request's content type.
        UnsupportedMediaType => "unsupported_media_type",
        /// The body is not what the method's model asks for, or not JSON where an expression reads it.
        BadBody => "bad_request_body",
        /// A parameter that the method requires is missing.
        BadParameters => "bad_request_parameters",
        /// A usage plan's quota is used up.
        QuotaExceeded => "quota_exceeded",
        /// No API key was sent to a route that requires one.
        KeyMissing => "key_missing",
        /// The API key is unknown.
        KeyInvalid => "key_invalid",
        /// The API key is known and disabled.
        KeyDisabled => "key_disabled",
        /// A limit refused.
        Throttled => "throttled",
        /// The body is over its limit.
        TooLarge => "too_large",
        /// The request line is over its limit.
        UriTooLong => "uri_too_long",
        /// The header fields are over their limit.
        HeadersTooLarge => "headers_too_large",
        /// Not HTTP, or HTTP that must not be forwarded.
        Malformed => "malformed",
        /// Over a TLS connection that was made for a host with other rules for client certificates.
        Misdirected => "misdirected",
        /// In clear text to a host that requires client certificates.
        CertificateMissing => "certificate_missing",
        /// A method, transfer coding, expectation or upgrade that the gateway doesn't do.
        NotImplemented => "not_implemented",
        /// A version of HTTP that the gateway doesn't speak.
        VersionNotSupported => "version_not_supported",
        /// The request head did not arrive in time.
        HeaderTimeout => "header_timeout",
        /// The request body stalled.
        BodyTimeout => "body_timeout",
        /// The client went away before the response was complete.
        ClientGone => "client_gone",
        /// No target of the upstream is healthy.
        UpstreamUnavailable => "upstream_unavailable",
        /// No connection to the upstream.
        UpstreamConnect => "upstream_connect",
        /// The upstream took too long.
        UpstreamTimeout => "upstream_timeout",
        /// The upstream closed before its response was complete.
        UpstreamReset => "upstream_reset",
        /// The upstream answered something that isn't HTTP or must not be forwarded.
        UpstreamMalformed => "upstream_malformed",
        /// The TLS handshake with the upstream failed: its certificate is not trusted, or they could not agree.
        UpstreamTls => "upstream_tls",
        /// The client asked the cache for a fresh answer, and may not.
        RefreshForbidden => "refresh_forbidden",
        /// The client wanted only what the cache has, and it has nothing (`only-if-cached`).
        NotCached => "not_cached",
        /// The gateway is full or draining.
        Shed => "shed",
        /// A fault of the gateway's own.
        Internal => "internal",
    }
}

impl Refusal {
    /// The AWS gateway response this belongs to, as `$context.error.responseType` would say.
    pub const fn response_type(self) -> &'static str {
        match self {
            Self::NotFound => "RESOURCE_NOT_FOUND",
            Self::MissingToken => "MISSING_AUTHENTICATION_TOKEN",
            Self::Configuration => "API_CONFIGURATION_ERROR",
            Self::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Self::BadBody => "BAD_REQUEST_BODY",
            Self::BadParameters => "BAD_REQUEST_PARAMETERS",
            Self::QuotaExceeded => "QUOTA_EXCEEDED",
            Self::Authorizer => "AUTHORIZER_CONFIGURATION_ERROR",
            Self::AuthorizerFailure => "AUTHORIZER_FAILURE",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::AccessDenied | Self::InsufficientScope => "ACCESS_DENIED",
            Self::SignatureInvalid | Self::SignatureIncomplete | Self::UnknownAccessKey => {
                "INVALID_SIGNATURE"
            }
            Self::ExpiredToken => "EXPIRED_TOKEN",
            Self::KeyMissing | Self::KeyInvalid | Self::KeyDisabled => "INVALID_API_KEY",
            Self::Throttled => "THROTTLED",
            Self::TooLarge => "REQUEST_TOO_LARGE",
            Self::UpstreamTimeout => "INTEGRATION_TIMEOUT",
            Self::UpstreamUnavailable
            | Self::UpstreamConnect
            | Self::UpstreamReset
            | Self::UpstreamMalformed
            | Self::UpstreamTls => "INTEGRATION_FAILURE",
            Self::Shed | Self::Internal | Self::NotCached | Self::FunctionFailed => "DEFAULT_5XX",
            Self::MethodNotAllowed
            | Self::UnknownStage
            | Self::RefreshForbidden
            | Self::UriTooLong
            | Self::HeadersTooLarge
            | Self::Malformed
            | Self::Misdirected
            | Self::CertificateMissing
            | Self::NotImplemented
            | Self::VersionNotSupported
            | Self::HeaderTimeout
            | Self::BodyTimeout
            | Self::ClientGone => "DEFAULT_4XX",
        }
    }

    /// True when the upstream is to blame.
    pub const fn is_upstream(self) -> bool {
        matches!(
            self,
            Self::UpstreamUnavailable
                | Self::UpstreamConnect
                | Self::UpstreamTimeout
                | Self::UpstreamReset
                | Self::UpstreamMalformed
                | Self::UpstreamTls
        )
    }

    /// Code 0 is "none"; a variant's code is its place in `ALL` plus one.
    pub(crate) const fn code(refusal: Option<Self>) -> u8 {
        match refusal {
            None => 0,
            Some(refusal) => refusal as u8 + 1,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }
}

labelled! {
    /// Why a TLS handshake with a client came to nothing.
    HandshakeFailure {
        /// Too many were under way.
        TooMany => "too_many",
        /// The client closed or reset.
        Closed => "closed",
        /// It took too long.
        Timeout => "timeout",
        /// The socket failed otherwise.
        Io => "io",
        /// The client's certificate is not trusted.
        BadCertificate => "bad_certificate",
        /// The client showed none, but must.
        NoCertificate => "no_certificate",
        /// No version, suite or protocol in common.
        Incompatible => "incompatible",
        /// The client refused.
        Alert => "alert",
        /// Not TLS, or broken.
        Malformed => "malformed",
        /// No certificate for the name that the client asked for.
        NoServerCertificate => "no_server_certificate",
        /// Anything else.
        Tls => "tls",
    }
}

impl HandshakeFailure {
    /// By its label; `Tls` for one that is unknown.
    pub fn by_label(label: &str) -> Self {
        Self::ALL.iter().copied().find(|failure| failure.label() == label).unwrap_or(Self::Tls)
    }
}

labelled! {
    /// What a core's I/O engine reports about itself.
    EngineGauge {
        /// Turns of the event loop, that is kernel entries.
        Turns => "turns",
        /// Completions handled.
        Completions => "completions",
        /// Receives stopped because the provided buffers had run out.
        BufferStarvations => "buffer_starvations",
        /// Received buffers copied to the heap because the provided ones ran low.
        BufferCopies => "buffer_copies",
        /// Receives stopped because their reader lagged behind.
        ReceivePauses => "receive_pauses",
        /// Accepts that failed.
        AcceptErrors => "accept_errors",
        /// Connections closed unserved for want of descriptors or memory.
        AcceptsShed => "accepts_shed",
        /// Wakes that came from other threads.
        RemoteWakes => "remote_wakes",
        /// Tasks that ended by a panic. Always a defect.
        TaskPanics => "task_panics",
        /// Completions that belonged to nobody. Always a defect.
        StrayCompletions => "stray_completions",
        /// Sockets open now.
        Sockets => "sockets",
        /// Tasks alive now.
        Tasks => "tasks",
    }
}

impl EngineGauge {
    /// True for those that only grow.
    pub(crate) const fn is_counter(self) -> bool {
        !matches!(self, Self::Sockets | Self::Tasks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_round_trip_and_labels_are_distinct() {
        assert_eq!(Refusal::from_code(Refusal::code(None)), None);
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::from_code(Refusal::code(Some(*refusal))), Some(*refusal));
        }
        assert_eq!(Refusal::from_code(255), None);
        let labels: HashSet<_> = Refusal::ALL.iter().map(|refusal| refusal.label()).collect();
        assert_eq!(labels.len(), Refusal::ALL.len());
        for outcome in [CacheOutcome::None, CacheOutcome::Hit, CacheOutcome::Miss, CacheOutcome::Refresh] {
            assert_eq!(CacheOutcome::from_code(outcome as u8), outcome);
        }
    }
}
