//! The access log: from the cores' rings to a file, off the data cores.
//!
//! One thread visits all rings by timer, formats what it finds and writes it in batches. Nobody wakes it for a record.
//! The timer follows the load: often enough that a visit is short, seldom enough that an idle gateway sleeps.

pub(crate) mod codec;
mod format;
mod text;
mod thread;

pub use thread::{LogFormat, LogOptions, LogTarget, LogThread};
