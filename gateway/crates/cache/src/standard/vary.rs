//! Variants: answers to one URI that differ by request fields (RFC 9111 section 4.1).
//!
//! ```text
//! key of the URI ──> an answer without Vary
//!                └─> Variants { names, generation } ──> key of the URI + generation + values of those fields ──> answer
//! ```
//! Both steps are look-ups without locks. Taking the first entry away puts all variants out of reach, whose generation
//! nobody looks for any more.

use super::{Fields, list};
use crate::key::KeyBuilder;
use sluice_wire::KnownHeader;

/// More names than this are not worth a cache.
const NAMES_MAX: usize = 16;

/// Which request fields tell the variants of a URI apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variants {
    /// Field names in lower case, sorted.
    pub names: Box<[Box<[u8]>]>,
    /// Tells these variants from earlier ones of the same URI.
    pub generation: u64,
}

/// What `Vary` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vary {
    /// No later request is sure to match: `*`, or too many fields to tell.
    Always,
    /// By these fields; lower case, sorted, none twice. Empty: by none.
    By(Vec<Box<[u8]>>),
}

impl Vary {
    /// Of a response's fields, with names that the operator adds.
    #[must_use]
    pub fn of(fields: Fields<'_>, more: &[Box<[u8]>]) -> Self {
        let mut names: Vec<Box<[u8]>> = more.to_vec();
        for name in fields.all(KnownHeader::Vary).flat_map(list) {
            if name == b"*" {
                return Self::Always;
            }
            names.push(name.to_ascii_lowercase().into());
        }
        names.sort_unstable();
        names.dedup();
        if names.len() > NAMES_MAX { Self::Always } else { Self::By(names) }
    }

    /// The names, joined by those of `other`: variants stored under either list must stay apart.
    #[must_use]
    pub fn joined(mut names: Vec<Box<[u8]>>, other: &Variants) -> Vec<Box<[u8]>> {
        names.extend(other.names.iter().cloned());
        names.sort_unstable();
        names.dedup();
        names.truncate(NAMES_MAX);
        names
    }
}

impl Variants {
    /// Whether answers that differ by `names` can be told apart by these.
    #[must_use]
    pub fn cover(&self, names: &[Box<[u8]>]) -> bool {
        names.iter().all(|name| self.names.contains(name))
    }
}

/// Completes the key of a URI to that of the variant that a request would get. Lists compare without regard to white space
/// and to how they are spread over lines, and languages and codings without regard to case (section 4.1 allows what keeps
/// the meaning).
pub fn push_variant(builder: &mut KeyBuilder, variants: &Variants, request: Fields<'_>) {
    builder.push(&variants.generation.to_le_bytes());
    for name in &variants.names {
        let lower = matches!(&**name, b"accept-language" | b"accept-encoding" | b"accept-charset");
        let mut lines = request.named(name).peekable();
        // An empty field is not an absent one.
        if lines.peek().is_some() {
            builder.push(b"");
        }
        for element in lines.flat_map(list) {
            if lower {
                builder.push_lower(element);
            } else {
                builder.push(element);
            }
        }
        builder.push_absent();
    }
}
