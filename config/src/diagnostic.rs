//! Problems with their place in the file.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A place in a file, both counted from 1; columns count characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where.
    pub at: Position,
}

impl<T> Located<T> {
    /// Pairs a value with its place.
    pub const fn new(value: T, at: Position) -> Self {
        Self { value, at }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It is served, but probably not what was meant.
    Warning,
}

/// One problem. Displays as `FILE:LINE:COL: error: MESSAGE`, and on a second line the help if there is any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// File name as given.
    pub file: Arc<str>,
    /// 1-based line.
    pub line: u32,
    /// 1-based column in characters.
    pub column: u32,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong: expected and found.
    pub message: String,
    /// What to write instead, when that is known.
    pub help: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(out, "{}:{}:{}: {severity}: {}", self.file, self.line, self.column, self.message)?;
        match &self.help {
            Some(help) => write!(out, "\n    help: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Diagnostic {}

/// Collects diagnostics of one file and knows where its lines start.
pub(crate) struct Reporter<'t> {
    file: Arc<str>,
    text: &'t str,
    line_starts: Vec<usize>,
    found: Vec<Diagnostic>,
}

impl<'t> Reporter<'t> {
    pub(crate) fn new(text: &'t str, file: Arc<str>) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1));
        Self { file, text, line_starts: line_starts.collect(), found: Vec::new() }
    }

    /// Line and column of a byte offset.
    pub(crate) fn position(&self, offset: usize) -> Position {
        let line = self.line_starts.partition_point(|start| *start <= offset).max(1);
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or("");
        let column = before.chars().count() + 1;
        Position {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
        }
    }

    pub(crate) fn error(&mut self, at: Position, message: impl Into<String>, help: Option<String>) {
        self.found.push(Diagnostic {
            file: Arc::clone(&self.file),
            line: at.line,
            column: at.column,
            severity: Severity::Error,
            message: message.into(),
            help,
        });
    }

    pub(crate) fn error_at(&mut self, span: &Range<usize>, message: impl Into<String>, help: Option<String>) {
        self.error(self.position(span.start), message, help);
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.found.is_empty()
    }

    /// All of them in the order of the file.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|d| (d.line, d.column));
        self.found
    }
}
