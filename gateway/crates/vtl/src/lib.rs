//! Mapping templates: Velocity 1.7 as AWS API Gateway runs it.
//!
//! ```text
//! text ── Template::compile ──> Template ── run (Host, Limits) ──> Rendered { text, overrides }
//!           once, at publication              once per exchange
//! ```
//!
//! [`Template::compile`] parses everything that doesn't depend on a request: variables become slots, literal paths and
//! regular expressions are compiled, double-quoted strings with references become blocks. [`run`] walks the tree with
//! fuel, depth and output bounds; the body is parsed at the first `$input.path` or `$input.json`, and once.
//!
//! **One rule tells AWS from Velocity 1.7**: a reference that leads nowhere is the empty string, in output and in
//! expressions alike (in Velocity terms: an `InvalidReferenceEventHandler` that answers `""`). So `$missing` prints
//! nothing, `#if($missing)` holds, as every value but `false` does, and `$missing == ""` is true. 100 answers recorded
//! on AWS (`vectors/recorded-on-aws`) are what this was inferred from, and hold it in place.
//!
//! No I/O, no clock, no threads, no panic.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod ast;
mod case;
mod error;
mod eval;
mod host;
mod parse;
mod template;

pub use case::{Case, CaseError};
pub use error::{Error, ErrorKind};
pub use eval::{base64_encode, run, run_traced};
pub use host::{ContextValue, Host, Limits, Override, Place, Rendered, Traced};
pub use template::Template;
