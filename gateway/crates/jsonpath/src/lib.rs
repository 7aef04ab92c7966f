//! JSONPath in the Jayway dialect, over a JSON value that keeps order and renders as AWS API Gateway renders it.
//!
//! A [`Heap`] owns every list and map of one evaluation, so that values are small handles: templates share and change
//! them, cycles cost nothing, and dropping never recurses. [`parse`] puts a body into it, a [`Path`] reads from it.
//!
//! ```text
//! text ── parse ──> Value (in a Heap) ── Path::read ──> Value ── write_json / write_java ──> text
//! ```
//!
//! Everything is bounded: nesting by [`MAX_DEPTH`], values by the heap's capacity, a read by its [`Budget`], output by
//! the [`Out`] it goes to. Nothing here panics, reads a clock or knows what a gateway is.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod eval;
mod filter;
mod heap;
mod number;
mod parse;
mod path;
mod pattern;
mod read;
mod text;
mod value;
mod write;

pub use eval::{Budget, ReadError};
pub use heap::{Heap, List, ListId, ListKind, Map, MapId, MapKind, TooManyValues};
pub use number::{double_to_java, integer, number};
pub use parse::PathError;
pub use path::Path;
pub use pattern::{Captures, Clock, JavaPattern, PatternError};
pub use read::{JsonError, parse};
pub use text::Text;
pub use value::Value;
pub use write::{Out, WriteError, escape_jackson, write_java, write_json};

/// How deep lists and maps may nest, in a body, in a path's filters, and in what is rendered.
pub const MAX_DEPTH: usize = 256;
