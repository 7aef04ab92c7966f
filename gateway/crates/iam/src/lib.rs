//! IAM policy documents as API Gateway uses them: resource policies, identity policies, and what authorizers return.
//!
//! ```text
//! text ── Policy::parse ──> Policy ── evaluate (Request) ──> Verdict ── combine ──> Outcome
//!           once                         per request            which statement decided
//! ```
//!
//! [`Policy::parse`] is strict: whatever it does not know is refused with the JSON path, what was expected and what was
//! found. Patterns, condition values and variables are compiled there, so that [`Policy::evaluate`] allocates nothing and
//! parses nothing but what the request itself brings as text.
//!
//! The rules are those of the IAM user guide (policy grammar, condition operators, policy variables, evaluation logic)
//! and, for what a resource policy and an identity policy say together, the tables of the API Gateway developer guide
//! (“How API Gateway resource policies affect authorization workflow”): see [`combine`].
//!
//! No I/O, no clock (the time is a context value), no threads, no panic.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod combine;
mod condition;
mod context;
mod date;
mod error;
mod evaluate;
mod json;
mod lint;
mod operator;
mod parse;
mod pattern;
mod policy;
mod principal;
#[cfg(test)]
mod tests;
mod text;

pub use combine::{Authentication, combine, denied_before_authorizer};
pub use context::{Context, Key, Map, Value};
pub use date::parse as parse_date;
pub use error::PolicyError;
pub use evaluate::{Denied, Outcome, Request, Verdict};
pub use lint::{Warning, method_scoped};
pub use policy::{Api, Effect, Kind, Policy, Statement};
pub use principal::{AwsCaller, Caller};

/// The longest document that is read. API Gateway takes 8,192 bytes of a resource policy, IAM up to 10,240.
pub const MAX_DOCUMENT_BYTES: usize = 64 << 10;
