//! JSON Schema draft 4, with the answers that API Gateway gives.
//!
//! ```text
//! text, documents ── Schema::compile ──> Schema ── check (Heap, Value, Budget) ──> ()  or  Invalid { "[…]" }
//!                      at publication                once per request
//! ```
//!
//! A schema is compiled into an arena of nodes; references between them, and to other documents, are indexes, so that nothing
//! is looked up later and nothing is ever fetched. It is checked against a value of [`sluice_jsonpath`], which is the same tree
//! that parameter expressions read from.
//!
//! Why not a library: API Gateway tells clients what is wrong (`$context.error.validationErrorString`), and which faults it
//! tells is a matter of the order of its walk. It is the one of the Java library `json-schema-validator`: keywords by name,
//! members by name, and below a value only while nothing is wrong yet. No other validator walks so; and none takes a budget.
//!
//! No I/O, no clock, no threads, no panic. Time is bounded by the budget, depth by [`MAX_DEPTH`](sluice_jsonpath::MAX_DEPTH).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod check;
mod compile;
mod decimal;
mod format;
mod json;
#[cfg(test)]
mod tests;
mod uri;

pub use check::Invalid;
pub use compile::{Schema, SchemaError};
