//! Splicing.

/// Pipes of a core.
#[derive(Default)]
pub(crate) struct PipePool {}
