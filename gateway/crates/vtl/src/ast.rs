//! A compiled template: names are slots, literal paths and patterns are parsed, strings with references are blocks.

use sluice_jsonpath::{JavaPattern, Path};

/// A variable's place.
pub(crate) type Slot = usize;

/// Variables that the host sets, in this order.
pub(crate) const PREDEFINED: &[&str] = &[
    "input",
    "util",
    "context",
    "stageVariables",
    "foreach",
    "velocityCount",
    "velocityHasNext",
    "bodyContent",
];
pub(crate) const CONTEXT: Slot = 2;
pub(crate) const STAGE_VARIABLES: Slot = 3;
pub(crate) const FOREACH: Slot = 4;
pub(crate) const VELOCITY_COUNT: Slot = 5;
pub(crate) const VELOCITY_HAS_NEXT: Slot = 6;
pub(crate) const BODY_CONTENT: Slot = 7;

/// A sequence of nodes.
pub(crate) type Block = Vec<Node>;

#[derive(Debug)]
pub(crate) enum Node {
    Text(String),
    Reference(Reference),
    Set {
        target: Reference,
        value: Expr,
    },
    If {
        branches: Vec<(Expr, Block)>,
        otherwise: Option<Block>,
    },
    Foreach {
        slot: Slot,
        list: Expr,
        body: Block,
        at: usize,
    },
    Define {
        slot: Slot,
        body: Block,
    },
    Evaluate {
        source: Expr,
        at: usize,
    },
    /// `#name(args)`: a macro if one has that name, else its own text.
    Call(Call),
    /// `#parse` and `#include`: API Gateway has no files.
    Unavailable {
        name: &'static str,
        at: usize,
    },
    Break,
    Stop,
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) args: Vec<Expr>,
    /// Of `#@name(args) … #end`.
    pub(crate) body: Option<Block>,
    pub(crate) literal: String,
    pub(crate) at: usize,
}

/// `$root.property.method(args)[index]`.
#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) slot: Slot,
    pub(crate) path: Vec<Access>,
    /// Of a chain of properties only: their names joined by dots.
    pub(crate) dotted: Option<String>,
    /// Offset in the source.
    pub(crate) at: usize,
    /// As written, for traces.
    pub(crate) literal: String,
}

#[derive(Debug)]
pub(crate) enum Access {
    Property { name: String },
    Index { index: Expr, at: usize },
    Method(Method),
}

#[derive(Debug)]
pub(crate) struct Method {
    pub(crate) name: String,
    pub(crate) args: Vec<Expr>,
    pub(crate) at: usize,
    /// The first argument, if it is a literal regular expression.
    pub(crate) pattern: Option<JavaPattern>,
    /// The first argument, if it is a literal path.
    pub(crate) path: Option<Path>,
}

#[derive(Debug)]
pub(crate) enum Expr {
    /// A word where Velocity takes one for a reference: always null.
    Runt,
    Bool(bool),
    Int(i32),
    Long(i64),
    BigInt(String),
    Double(f64),
    Str(String),
    /// A double-quoted string with references or directives; the flag: a blank was added at its end.
    Interpolated {
        body: Block,
        padded: bool,
    },
    Reference(Reference),
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    Range(Box<(Expr, Expr)>, usize),
    Not(Box<Expr>),
    And(Box<(Expr, Expr)>),
    Or(Box<(Expr, Expr)>),
    Compare(Comparison, Box<(Expr, Expr)>),
    Math(Operation, Box<(Expr, Expr)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

#[derive(Debug)]
pub(crate) struct Macro {
    pub(crate) params: Vec<Slot>,
    pub(crate) body: Block,
}
