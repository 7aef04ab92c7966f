//! A compiled path.

use crate::eval::{self, Budget, ReadError};
use crate::filter::Filter;
use crate::heap::Heap;
use crate::parse::{self, PathError};
use crate::value::Value;

/// One step of a path.
#[derive(Debug)]
pub(crate) enum Step {
    /// `.a`, `['a']`, `['a','b']`.
    Properties(Vec<String>),
    /// `.*`, `[*]`.
    Wildcard,
    /// `[0]`, `[-1]`, `[0,2]`.
    Indexes(Vec<i64>),
    /// `[1:3]`, `[-2:]`, `[:2]`.
    Slice(Option<i64>, Option<i64>),
    /// `..`: the rest of the path at every depth.
    Scan,
    /// `[?(…)]`.
    Filter(Filter),
}

impl Step {
    /// Whether it leads to one value at most.
    fn is_definite(&self, last: bool) -> bool {
        match self {
            Self::Properties(names) => names.len() == 1 || last,
            Self::Indexes(indexes) => indexes.len() == 1,
            Self::Wildcard | Self::Slice(..) | Self::Scan | Self::Filter(_) => false,
        }
    }
}

/// What a path may end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Length,
    Min,
    Max,
    Avg,
    Sum,
    StdDev,
    Keys,
    Concat,
    First,
    Last,
    Index(i64),
}

/// A path, parsed once and read with many times.
///
/// A *definite* path (`$.a.b[0]`) yields its value or nothing; an indefinite one (`$..a`, `$.a[*]`) always a list.
#[derive(Debug)]
pub struct Path {
    pub(crate) steps: Vec<Step>,
    pub(crate) function: Option<Function>,
    definite: bool,
}

impl Path {
    /// Parses a path; one that doesn't begin with `$` or `@` is taken as if `$.` stood before it.
    ///
    /// # Errors
    /// When it is not a path, with the column and what was expected there.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        parse::path(text)
    }

    pub(crate) fn new(steps: Vec<Step>, function: Option<Function>) -> Self {
        let last = steps.len().saturating_sub(1);
        let definite = steps.iter().enumerate().all(|(at, step)| step.is_definite(at == last));
        Self { steps, function, definite }
    }

    /// Whether it leads to one value at most.
    #[must_use]
    pub const fn is_definite(&self) -> bool {
        self.definite
    }

    /// What the path leads to from `root`; `None` if it is definite and leads nowhere.
    ///
    /// # Errors
    /// When the budget or the heap is used up.
    pub fn read<'a>(
        &self,
        heap: &mut Heap<'a>,
        root: &Value<'a>,
        budget: &mut Budget,
    ) -> Result<Option<Value<'a>>, ReadError> {
        eval::read(self, heap, root, budget)
    }
}
