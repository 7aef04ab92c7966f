//! The access log: from the cores' rings to a file, off the data cores.
//!
//! One thread visits all rings by timer, formats what it finds and writes it in large batches. Nobody wakes it for a
//! record. The timer follows the load: it shortens when a ring was found a quarter full, and lengthens when the rings
//! were almost empty.

pub(crate) mod codec;
mod format;
mod text;
mod thread;

pub use thread::{LogFormat, LogOptions, LogTarget, LogThread};
