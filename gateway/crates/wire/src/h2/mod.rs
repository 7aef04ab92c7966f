//! HTTP/2 as bytes: frames (RFC 9113) and header compression (RFC 7541), sans-I/O like the rest of this crate.
//!
//! - [`FrameReader`] cuts input into [`Frame`]s, wherever the pieces were cut; header blocks come out whole.
//! - [`frame`] writes frames. [`Encoder`] and [`Decoder`] hold one direction's compression state each.
//! - [`HeadCollector`] turns a decoded block into the same [`crate::RequestHead`] or [`crate::ResponseHead`] that
//!   HTTP/1 heads are parsed into, so that nothing behind it needs to know which protocol a message came by.
//!
//! Nothing allocates per frame: vectors are reused, and what they may hold is bounded by the limits given.
//!
//! # What counts as an attack
//! Blocks that expand (bounded by the output limit, while the table stays in step), endless CONTINUATION (bounded in count
//! and bytes), and fields that mean something else once they are written as HTTP/1 lines (refused as malformed, RFC 9113
//! section 8.2.1). Floods of well-formed frames are the connection's business, not the codec's.

mod collect;
mod decoder;
mod encoder;
pub mod frame;
mod huffman;
mod reader;
mod table;

pub use collect::{HeadCollector, Malformed, Problem};
pub use decoder::{Decoder, Field, FieldName, HpackError};
pub use encoder::{Encoder, literal};
pub use reader::{Frame, FrameError, FrameReader};

/// What a client sends first (RFC 9113 section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The frame size that everybody must accept, and that we ask for.
pub const FRAME_BYTES: usize = 16_384;
/// A window before anybody said otherwise.
pub const WINDOW_BYTES: u32 = 65_535;
/// No window may grow past this.
pub const WINDOW_MAX: i64 = 0x7fff_ffff;
/// Size of a compression table before anybody said otherwise.
pub const TABLE_BYTES: usize = 4096;

/// Error codes (RFC 9113 section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ErrorCode {
    /// Nothing is wrong.
    NoError = 0,
    /// The peer breaks the protocol.
    Protocol = 1,
    /// Our own fault.
    Internal = 2,
    /// The peer sent more than its window.
    FlowControl = 3,
    /// The peer did not acknowledge our settings.
    SettingsTimeout = 4,
    /// A frame for a half-closed stream.
    StreamClosed = 5,
    /// A frame of the wrong length.
    FrameSize = 6,
    /// Refused before anything was done about it: may be sent again.
    RefusedStream = 7,
    /// Nobody wants the answer any more.
    Cancel = 8,
    /// The compression state is lost.
    Compression = 9,
    /// A tunnel broke.
    Connect = 10,
    /// The peer asks for too much work.
    EnhanceYourCalm = 11,
    /// The transport is not safe enough.
    InadequateSecurity = 12,
    /// Use HTTP/1.1.
    Http11Required = 13,
}

impl ErrorCode {
    /// The code of a number; unknown ones count as internal errors (RFC 9113 section 7).
    #[must_use]
    pub const fn from_u32(code: u32) -> Self {
        match code {
            0 => Self::NoError,
            1 => Self::Protocol,
            3 => Self::FlowControl,
            4 => Self::SettingsTimeout,
            5 => Self::StreamClosed,
            6 => Self::FrameSize,
            7 => Self::RefusedStream,
            8 => Self::Cancel,
            9 => Self::Compression,
            10 => Self::Connect,
            11 => Self::EnhanceYourCalm,
            12 => Self::InadequateSecurity,
            13 => Self::Http11Required,
            _ => Self::Internal,
        }
    }

    /// The name in the RFC.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoError => "NO_ERROR",
            Self::Protocol => "PROTOCOL_ERROR",
            Self::Internal => "INTERNAL_ERROR",
            Self::FlowControl => "FLOW_CONTROL_ERROR",
            Self::SettingsTimeout => "SETTINGS_TIMEOUT",
            Self::StreamClosed => "STREAM_CLOSED",
            Self::FrameSize => "FRAME_SIZE_ERROR",
            Self::RefusedStream => "REFUSED_STREAM",
            Self::Cancel => "CANCEL",
            Self::Compression => "COMPRESSION_ERROR",
            Self::Connect => "CONNECT_ERROR",
            Self::EnhanceYourCalm => "ENHANCE_YOUR_CALM",
            Self::InadequateSecurity => "INADEQUATE_SECURITY",
            Self::Http11Required => "HTTP_1_1_REQUIRED",
        }
    }
}
