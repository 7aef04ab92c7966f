//! How a body ends.

/// How the end of a message's body is found (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BodyFraming {
    /// There is no body.
    #[default]
    None,
    /// So many bytes; may be 0 (`Content-Length: 0` was sent).
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Until the connection closes; responses only.
    UntilClose,
}
