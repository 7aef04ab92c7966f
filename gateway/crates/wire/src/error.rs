//! What is wrong with a message: expected and found, the status it earns, a label for metrics.

use std::fmt;

/// Why a header section (or trailer section) was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldError {
    /// All lines together exceed the limit.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// More lines than the limit.
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// CR without LF (RFC 9112 section 2.2).
    BareCr,
    /// LF without CR; the RFC would let a recipient accept it.
    BareLf,
    /// Another control byte.
    Control {
        /// The byte.
        found: u8,
    },
    /// A line that starts with a colon.
    EmptyName,
    /// A byte that no field name may hold.
    BadName {
        /// The byte.
        found: u8,
    },
    /// White space between name and colon (RFC 9112 section 5.1).
    SpaceBeforeColon,
    /// A line without a colon.
    MissingColon,
    /// A line that starts with white space: obsolete folding (RFC 9112 section 5.2).
    ObsFold,
    /// `Content-Length` is not a plain decimal below 2^63.
    BadLength,
    /// `Content-Length` more than once, even if equal; the RFC would let a recipient merge equal ones.
    RepeatedLength,
    /// `Content-Length` beside `Transfer-Encoding` (RFC 9112 section 6.3, item 3).
    LengthAndCoding,
    /// `Transfer-Encoding` with an empty list or list element.
    EmptyCoding,
    /// `chunked` more than once (RFC 9112 section 6.1).
    DoubledChunked,
    /// The last transfer coding is not `chunked`.
    ChunkedNotLast,
    /// A transfer coding that this codec does not know, before a final `chunked`: 501.
    UnknownCoding,
    /// `Transfer-Encoding` in an HTTP/1.0 message (RFC 9112 section 6.1).
    CodingInHttp10,
    /// `Connection` is not a list of tokens.
    BadConnection {
        /// The byte.
        found: u8,
    },
    /// `Connection` names a field that is meant for the origin (`Host`, `Content-Length`, `Authorization` …). Obeying would
    /// let a client strip what a later hop relies upon, and RFC 9110 section 7.6.1 forbids sending it: refused.
    EndToEndOption,
    /// `Connection` names more than 32 fields.
    TooManyOptions,
}

/// Why a request head was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The request line exceeds the limit: 414.
    LineTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// A request line with a control byte or a lone CR or LF.
    Line(FieldError),
    /// A byte that no method may hold, or no method at all.
    BadMethod {
        /// The byte.
        found: u8,
    },
    /// A byte that no request target may hold: control, space, `#`, or not ASCII.
    BadTarget {
        /// The byte.
        found: u8,
    },
    /// Not one of the four target forms, or one that the method does not allow.
    BadTargetForm,
    /// No `HTTP/x.y` at the end of the request line.
    BadVersion,
    /// A protocol version other than 1.0 and 1.1: 505.
    UnsupportedVersion,
    /// An HTTP/1.1 request without `Host`.
    MissingHost,
    /// `Host` more than once.
    RepeatedHost,
    /// An authority without a host. The RFC allows an empty `Host`; no route could match it safely.
    EmptyHost,
    /// An authority with userinfo (`user@host`).
    UserInfo,
    /// A byte that no host may hold. Registered names are DNS names here: letters, digits, `-`, `.`, `_`, `~`.
    BadHost {
        /// The byte.
        found: u8,
    },
    /// A port that is not a number up to 65535.
    BadPort,
    /// The header section.
    Field(FieldError),
}

/// Why a response head was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// The status line exceeds the limit.
    LineTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// A status line with a control byte or a lone CR or LF.
    Line(FieldError),
    /// The line does not start with `HTTP/1.0` or `HTTP/1.1` and a space.
    BadVersion,
    /// The status is not a number from 100 to 599.
    BadStatus,
    /// The header section.
    Field(FieldError),
}

/// Why a chunked body was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkError {
    /// The chunk size is not 1 to 16 hexadecimal digits.
    BadSize {
        /// The byte found instead of a digit.
        found: u8,
    },
    /// The chunk size is 2^63 or more, or has more than 16 digits.
    SizeOverflow,
    /// The size line goes on with something that is neither CRLF nor an extension.
    BadSizeLine {
        /// The byte.
        found: u8,
    },
    /// A malformed chunk extension.
    BadExtension {
        /// The byte.
        found: u8,
    },
    /// More bytes of chunk extensions than body and header limit together justify.
    ExtensionsTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// No CRLF after the chunk's data.
    MissingCrlf {
        /// The byte.
        found: u8,
    },
    /// A malformed or oversized trailer section.
    Trailer(FieldError),
}

/// A byte as a reader wants to see it.
struct Shown(u8);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b @ 0x21..=0x7e => write!(f, "'{}'", char::from(b)),
            b' ' => f.write_str("a space"),
            b => write!(f, "byte 0x{b:02x}"),
        }
    }
}

impl FieldError {
    /// The response status it earns.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::TooLarge { .. } | Self::TooMany { .. } => 431,
            Self::UnknownCoding => 501,
            _ => 400,
        }
    }

    /// A stable label for metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "headers_too_large",
            Self::TooMany { .. } => "too_many_headers",
            Self::BareCr => "bare_cr",
            Self::BareLf => "bare_lf",
            Self::Control { .. } => "control_byte",
            Self::EmptyName => "empty_field_name",
            Self::BadName { .. } => "bad_field_name",
            Self::SpaceBeforeColon => "space_before_colon",
            Self::MissingColon => "missing_colon",
            Self::ObsFold => "obs_fold",
            Self::BadLength => "bad_content_length",
            Self::RepeatedLength => "repeated_content_length",
            Self::LengthAndCoding => "content_length_and_transfer_encoding",
            Self::EmptyCoding => "empty_transfer_encoding",
            Self::DoubledChunked => "doubled_chunked",
            Self::ChunkedNotLast => "chunked_not_last",
            Self::UnknownCoding => "unknown_transfer_coding",
            Self::CodingInHttp10 => "transfer_encoding_in_http10",
            Self::BadConnection { .. } => "bad_connection",
            Self::EndToEndOption => "end_to_end_connection_option",
            Self::TooManyOptions => "too_many_connection_options",
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => {
                write!(f, "expected at most {limit} bytes of header lines, found more")
            }
            Self::TooMany { limit } => write!(f, "expected at most {limit} header lines, found more"),
            Self::BareCr => f.write_str("expected LF after CR, found another byte"),
            Self::BareLf => f.write_str("expected CR before LF, found another byte"),
            Self::Control { found } => write!(f, "expected text, found control {}", Shown(*found)),
            Self::EmptyName => f.write_str("expected a field name, found ':'"),
            Self::BadName { found } => write!(f, "expected a field name, found {} in it", Shown(*found)),
            Self::SpaceBeforeColon => f.write_str("expected ':' after the field name, found white space"),
            Self::MissingColon => f.write_str("expected ':' in a header line, found its end"),
            Self::ObsFold => f.write_str("expected a field name, found white space (obsolete line folding)"),
            Self::BadLength => {
                f.write_str("expected a decimal Content-Length below 2^63, found something else")
            }
            Self::RepeatedLength => f.write_str("expected one Content-Length, found more"),
            Self::LengthAndCoding => f.write_str("expected Content-Length or Transfer-Encoding, found both"),
            Self::EmptyCoding => f.write_str("expected a transfer coding, found an empty list element"),
            Self::DoubledChunked => f.write_str("expected 'chunked' once, found it again"),
            Self::ChunkedNotLast => {
                f.write_str("expected 'chunked' as the last transfer coding, found another")
            }
            Self::UnknownCoding => f.write_str("expected no transfer coding but 'chunked', found another"),
            Self::CodingInHttp10 => f.write_str("expected no Transfer-Encoding in HTTP/1.0, found one"),
            Self::BadConnection { found } => {
                write!(f, "expected a list of tokens in Connection, found {}", Shown(*found))
            }
            Self::EndToEndOption => f.write_str(
                "expected only connection options in Connection, found the name of an end-to-end field",
            ),
            Self::TooManyOptions => f.write_str("expected at most 32 names in Connection, found more"),
        }
    }
}

impl RequestError {
    /// The response status it earns: 400, 414, 431, 501 or 505.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::LineTooLong { .. } => 414,
            Self::UnsupportedVersion => 505,
            Self::Field(e) | Self::Line(e) => e.status(),
            _ => 400,
        }
    }

    /// A stable label for metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::LineTooLong { .. } => "request_line_too_long",
            Self::BadMethod { .. } => "bad_method",
            Self::BadTarget { .. } => "bad_target",
            Self::BadTargetForm => "bad_target_form",
            Self::BadVersion => "bad_version",
            Self::UnsupportedVersion => "unsupported_version",
            Self::MissingHost => "missing_host",
            Self::RepeatedHost => "repeated_host",
            Self::EmptyHost => "empty_host",
            Self::UserInfo => "userinfo_in_host",
            Self::BadHost { .. } => "bad_host",
            Self::BadPort => "bad_port",
            Self::Field(e) | Self::Line(e) => e.label(),
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineTooLong { limit } => {
                write!(f, "expected a request line of at most {limit} bytes, found a longer one")
            }
            Self::Line(e) => write!(f, "request line: {e}"),
            Self::BadMethod { found } => write!(f, "expected a method, found {}", Shown(*found)),
            Self::BadTarget { found } => write!(f, "expected a request target, found {} in it", Shown(*found)),
            Self::BadTargetForm => {
                f.write_str("expected a path, an http or https URL, or a form that the method allows, found another target")
            }
            Self::BadVersion => f.write_str("expected HTTP/1.1 at the end of the request line, found something else"),
            Self::UnsupportedVersion => f.write_str("expected HTTP/1.0 or HTTP/1.1, found another version"),
            Self::MissingHost => f.write_str("expected a Host header, found none"),
            Self::RepeatedHost => f.write_str("expected one Host header, found more"),
            Self::EmptyHost => f.write_str("expected a host, found an empty one"),
            Self::UserInfo => f.write_str("expected a host without userinfo, found '@'"),
            Self::BadHost { found } => write!(f, "expected a host, found {} in it", Shown(*found)),
            Self::BadPort => f.write_str("expected a port up to 65535, found something else"),
            Self::Field(e) => e.fmt(f),
        }
    }
}

impl ResponseError {
    /// A stable label for metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::LineTooLong { .. } => "status_line_too_long",
            Self::BadVersion => "bad_version",
            Self::BadStatus => "bad_status",
            Self::Field(e) | Self::Line(e) => e.label(),
        }
    }
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineTooLong { limit } => {
                write!(f, "expected a status line of at most {limit} bytes, found a longer one")
            }
            Self::Line(e) => write!(f, "status line: {e}"),
            Self::BadVersion => f.write_str("expected HTTP/1.0 or HTTP/1.1, found something else"),
            Self::BadStatus => f.write_str("expected a status from 100 to 599, found something else"),
            Self::Field(e) => e.fmt(f),
        }
    }
}

impl ChunkError {
    /// The response status it earns.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Trailer(e) => e.status(),
            _ => 400,
        }
    }

    /// A stable label for metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::BadSize { .. } => "bad_chunk_size",
            Self::SizeOverflow => "chunk_size_overflow",
            Self::BadSizeLine { .. } => "bad_chunk_size_line",
            Self::BadExtension { .. } => "bad_chunk_extension",
            Self::ExtensionsTooLarge { .. } => "chunk_extensions_too_large",
            Self::MissingCrlf { .. } => "missing_crlf_after_chunk",
            Self::Trailer(_) => "bad_trailer",
        }
    }
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadSize { found } => {
                write!(f, "expected a hexadecimal chunk size, found {}", Shown(*found))
            }
            Self::SizeOverflow => f.write_str("expected a chunk size below 2^63, found a greater one"),
            Self::BadSizeLine { found } => {
                write!(f, "expected CRLF or ';' after the chunk size, found {}", Shown(*found))
            }
            Self::BadExtension { found } => write!(f, "expected a chunk extension, found {}", Shown(*found)),
            Self::ExtensionsTooLarge { limit } => {
                write!(f, "expected at most {limit} bytes of chunk extensions, found more")
            }
            Self::MissingCrlf { found } => {
                write!(f, "expected CRLF after the chunk data, found {}", Shown(*found))
            }
            Self::Trailer(e) => write!(f, "trailer: {e}"),
        }
    }
}

impl std::error::Error for FieldError {}
impl std::error::Error for RequestError {}
impl std::error::Error for ResponseError {}
impl std::error::Error for ChunkError {}
