//! Path patterns as written in the configuration: `/static/{param}/{proxy+}`.

use crate::router::hygiene::{self, Hygiene};
use std::fmt;

/// Captures of one pattern.
pub const CAPTURES_MAX: usize = 16;
/// Segments of one pattern: the depth of the trie, and so of its recursion.
pub const SEGMENTS_MAX: usize = 64;
/// Bytes of a static segment.
pub const SEGMENT_MAX_BYTES: usize = 255;

/// A valid path pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    segments: Vec<Segment>,
}

/// One segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Exactly this text, percent-encoding normalised.
    Static(Box<[u8]>),
    /// `{name}`: any one segment that is not empty.
    Param(Box<str>),
    /// `{name+}`: the rest of the path, which may be empty or have empty segments.
    Greedy(Box<str>),
}

/// Why a pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// It does not begin with `/`.
    NoLeadingSlash,
    /// An empty segment, as in `/a//b` or `/a/`.
    EmptySegment,
    /// `.` or `..`, which requests can never have.
    DotSegment,
    /// Braces that are not a whole `{name}` or `{name+}`.
    Braces(String),
    /// The same name twice.
    DuplicateName(String),
    /// `{name+}` that is not last.
    GreedyNotLast(String),
    /// A byte that a path cannot hold (RFC 3986 3.3), or `%` without two hex digits.
    BadByte(char),
    /// More than [`CAPTURES_MAX`] parameters.
    TooManyCaptures,
    /// More than [`SEGMENTS_MAX`] segments, or one longer than [`SEGMENT_MAX_BYTES`].
    TooLong,
}

impl fmt::Display for PatternError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLeadingSlash => out.write_str("a path begins with `/`"),
            Self::EmptySegment => {
                out.write_str("a path has no empty segment; `/a/{proxy+}` takes what ends in `/` or has `//`")
            }
            Self::DotSegment => {
                out.write_str("requests with `.` or `..` segments are refused, so this never matches")
            }
            Self::Braces(segment) => {
                write!(out, "expected a whole segment `{{name}}` or `{{name+}}`, found `{segment}`")
            }
            Self::DuplicateName(name) => write!(out, "the parameter `{name}` stands twice"),
            Self::GreedyNotLast(name) => write!(out, "`{{{name}+}}` must be the last segment"),
            Self::BadByte('%') => out.write_str("`%` expects two hex digits, not 00"),
            Self::BadByte(found) => write!(out, "a path cannot hold {found:?}: percent-encode it"),
            Self::TooManyCaptures => write!(out, "at most {CAPTURES_MAX} parameters"),
            Self::TooLong => write!(out, "at most {SEGMENTS_MAX} segments of {SEGMENT_MAX_BYTES} bytes"),
        }
    }
}

impl std::error::Error for PatternError {}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let rest = text.strip_prefix('/').ok_or(PatternError::NoLeadingSlash)?;
        let mut pattern = Self { segments: Vec::new() };
        if rest.is_empty() {
            return Ok(pattern);
        }
        for part in rest.split('/') {
            if let Some(Segment::Greedy(name)) = pattern.segments.last() {
                return Err(PatternError::GreedyNotLast(name.to_string()));
            }
            let segment = Segment::parse(part)?;
            if let Some(name) = segment.name().filter(|name| pattern.captures().any(|known| known == *name)) {
                return Err(PatternError::DuplicateName(name.to_owned()));
            }
            pattern.segments.push(segment);
        }
        if pattern.segments.len() > SEGMENTS_MAX {
            return Err(PatternError::TooLong);
        }
        if pattern.captures().count() > CAPTURES_MAX {
            return Err(PatternError::TooManyCaptures);
        }
        Ok(pattern)
    }

    /// Its segments; none for `/`.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Names of its parameters, in the order of [`Captures`](crate::Captures).
    pub fn captures(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(Segment::name)
    }
}

impl Segment {
    /// The parameter's name.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Static(_) => None,
            Self::Param(name) | Self::Greedy(name) => Some(name),
        }
    }

    fn parse(part: &str) -> Result<Self, PatternError> {
        if part.is_empty() {
            return Err(PatternError::EmptySegment);
        }
        if part.contains(['{', '}']) {
            return Self::parse_param(part).ok_or_else(|| PatternError::Braces(part.to_owned()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@%".contains(c);
        if let Some(bad) = part.chars().find(|c| !allowed(*c)) {
            return Err(PatternError::BadByte(bad));
        }
        let mut text = Vec::with_capacity(part.len());
        hygiene::normalise(part.as_bytes(), |byte| text.push(byte));
        if text.len() > SEGMENT_MAX_BYTES {
            return Err(PatternError::TooLong);
        }
        if matches!(text.as_slice(), b"." | b"..") {
            return Err(PatternError::DotSegment);
        }
        if hygiene::inspect_closely(part.as_bytes()) == Hygiene::Bad {
            return Err(PatternError::BadByte('%'));
        }
        Ok(Self::Static(text.into()))
    }

    fn parse_param(part: &str) -> Option<Self> {
        let inner = part.strip_prefix('{')?.strip_suffix('}')?;
        let (name, greedy) = inner.strip_suffix('+').map_or((inner, false), |name| (name, true));
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':');
        if name.is_empty() || !name.bytes().all(allowed) {
            return None;
        }
        Some(if greedy { Self::Greedy(name.into()) } else { Self::Param(name.into()) })
    }
}
