//! The parsed form of message heads.

use crate::{BodyFraming, KnownHeader, Method, Span};

/// Bounds on a head. Exceeding the first is 414, the others 431.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Request (or status) line without its CRLF.
    pub request_line_max_bytes: usize,
    /// All header lines together, each with its CRLF; also the trailers of a chunked body.
    pub header_max_bytes: usize,
    /// Number of header lines.
    pub header_max_count: usize,
}

impl Default for Limits {
    /// 8 KiB line, and AWS's 10,240 bytes of headers.
    fn default() -> Self {
        Self { request_line_max_bytes: 8192, header_max_bytes: 10_240, header_max_count: 100 }
    }
}

/// Whether a head has fully arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The head is complete; `head_len` bytes belong to it.
    Complete,
    /// More bytes are needed; parse again from the start when they have come.
    Partial,
}

/// The HTTP version of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
    /// HTTP/2
    Http2,
}

/// The form of a request target (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TargetForm {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://authority/path?query`
    Absolute,
    /// `host:port`, only for CONNECT.
    Authority,
    /// `*`, only for OPTIONS.
    Asterisk,
}

/// One header line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name, if it is a known one.
    pub id: KnownHeader,
    /// Meant for this connection only (RFC 9110 section 7.6.1), by its name or because `Connection` names it: never forwarded.
    pub hop_by_hop: bool,
    /// It came as never to be indexed, and is to go on like that (RFC 7541 section 6.2.3).
    pub never_indexed: bool,
    /// The name as sent.
    pub name: Span,
    /// The value without surrounding white space.
    pub value: Span,
}

/// A request head; spans index the parsed bytes. Reuse it: parsing clears it and keeps its memory.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The method as sent.
    pub method_name: Span,
    /// The whole request target as sent.
    pub target: Span,
    /// Which form the target has.
    pub form: TargetForm,
    /// The path, not decoded and never empty: `/` for an absolute target without one, `*` in asterisk form; but empty for CONNECT.
    pub path: Span,
    /// The query without its `?`.
    pub query: Option<Span>,
    /// `host[:port]`: that of an absolute or CONNECT target, which overrides `Host` (RFC 9112 section 3.2.2), else `Host`.
    /// Empty only in HTTP/1.0 without `Host`. Forward this, not the `Host` header line.
    pub authority: Span,
    /// The version.
    pub version: Version,
    /// Header lines in their order.
    pub headers: Vec<Header>,
    /// How the body ends; never `UntilClose`.
    pub framing: BodyFraming,
    /// The connection may carry another request after this one.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// The client asks to change protocol: `Upgrade`, named in `Connection`.
    pub upgrade: bool,
    /// Bytes of the head, with the final empty line and any empty lines before the request line.
    pub head_len: usize,
}

/// A response head; spans index the parsed bytes. Reuse it: parsing clears it and keeps its memory.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// The status code, 100 to 599.
    pub status: u16,
    /// The reason phrase, often empty.
    pub reason: Span,
    /// The version.
    pub version: Version,
    /// Header lines in their order.
    pub headers: Vec<Header>,
    /// How the body ends.
    pub framing: BodyFraming,
    /// The connection may carry another exchange after this one.
    pub keep_alive: bool,
    /// Bytes of the head, with the final empty line.
    pub head_len: usize,
}

macro_rules! head_methods {
    ($head:ident) => {
        impl $head {
            /// An empty head with room for common messages.
            #[must_use]
            pub fn new() -> Self {
                Self { headers: Vec::with_capacity(32), ..Self::default() }
            }

            /// Forgets the message and keeps the memory.
            #[inline]
            pub fn clear(&mut self) {
                let mut headers = std::mem::take(&mut self.headers);
                headers.clear();
                *self = Self { headers, ..Self::default() };
            }

            /// The first header line with this name.
            #[inline]
            #[must_use]
            pub fn find(&self, id: KnownHeader) -> Option<&Header> {
                self.headers.iter().find(|h| h.id == id)
            }

            /// The first header line with this name, given in lower case. For names without a [`KnownHeader`].
            #[must_use]
            pub fn find_name(&self, bytes: &[u8], lower_name: &[u8]) -> Option<&Header> {
                self.headers.iter().find(|h| h.name.of(bytes).eq_ignore_ascii_case(lower_name))
            }
        }
    };
}

head_methods!(RequestHead);
head_methods!(ResponseHead);
