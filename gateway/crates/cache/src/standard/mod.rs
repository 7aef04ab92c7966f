//! Caching by the standards: RFC 9111 (storing, freshness, validation, invalidation) and RFC 5861 (stale answers).
//!
//! ```text
//! request ─> Request::of ─┐
//!                         ├─> judge ─> Fresh | Stale | Revalidate in the background | Validate first
//! stored  ─> Stored ──────┘                                                          │
//!                                     Stored::of <── 200 ── upstream ── 304 ──> freshen
//! ```
//! Only decisions live here: fields and times in, verdicts out. Ages are kept in milliseconds of the monotonic clock, so that
//! a step of the wall clock neither revives nor kills what is stored; dates of the wall clock only enter when an answer is
//! received (RFC 9111 section 4.2.3).

mod conditional;
mod control;
mod freshness;
mod update;
mod vary;

pub use conditional::{Ranged, is_not_modified, ranged};
pub use control::{RequestControl, ResponseControl};
pub use freshness::{Moment, Request, Stored, Verdict, judge};
pub use update::{freshen, index, stored_head};
pub use vary::{Variants, Vary, push_variant};

use sluice_wire::{Header, KnownHeader};

/// The header fields of a message: lines, and the bytes that their spans index.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    /// Lines in their order.
    pub headers: &'a [Header],
    /// What the spans index.
    pub bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The values of all lines with this name.
    pub fn all(self, id: KnownHeader) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.headers.iter().filter(move |h| h.id == id).map(move |h| h.value.of(self.bytes))
    }

    /// The value of the first line with this name.
    #[must_use]
    pub fn first(self, id: KnownHeader) -> Option<&'a [u8]> {
        self.all(id).next()
    }

    /// The value of the only line with this name; `None` also if there are more.
    fn only(self, id: KnownHeader) -> Option<&'a [u8]> {
        let mut values = self.all(id);
        values.next().filter(|_| values.next().is_none())
    }

    /// The values of all lines with this name, given in lower case, known or not.
    pub fn named(self, lower_name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |h| h.name.of(self.bytes).eq_ignore_ascii_case(lower_name))
            .map(move |h| h.value.of(self.bytes))
    }
}

/// Elements of a comma-separated list (RFC 9110 section 5.6.1).
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|e| !e.is_empty())
}

#[cfg(test)]
mod tests;
