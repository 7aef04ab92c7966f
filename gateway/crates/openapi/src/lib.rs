//! OpenAPI documents (3.0, and Swagger 2.0) to the definitions of REST APIs, and back, with API Gateway's extensions.
//!
//! ```text
//! JSON or YAML text ──read──> document ──import──> Definition ──export──> document ──write_yaml──> text
//! ```
//! Documents are JSON values: YAML is read into the same form, within bounds on depth and on what aliases repeat. Everything
//! wrong with a document is told at once, in AWS's words where they are known. Values in, values out: no I/O, no clock; new
//! identifiers come from the caller.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod emit;
mod export;
mod extension;
mod import;
mod read;
mod schema;
mod security;
#[cfg(test)]
mod tests;
mod tree;
mod yaml;

pub use emit::write_yaml;
pub use export::{ExportOptions, Version, export};
pub use import::{BasePath, ImportOptions, Imported, Rejected, import};
pub use read::{ReadError, read};
