//! Text into nodes, as Velocity 1.7's lexer and grammar together read it.
//!
//! Velocity's lexer has a state for each of these places; here each is a function, and its quirks stand with it:
//!
//! ```text
//!          ┌────────────── text ──────────────┐
//!      `$` │              `#` │               │ `\`
//!     reference           directive         escape
//!     .name (args) [i]    (expression)      before `$` and known directives only
//! ```
//!
//! White space: `#set(…)` swallows blanks before it (if they begin a token) and, as every directive, blanks and one line
//! end after it.

mod directive;
mod expr;
mod reference;
mod scan;
mod text;

use crate::ast::{Block, Macro, Node};
use crate::error::{Error, ErrorKind};
use crate::template::{Names, Template};
use std::collections::HashMap;

/// Blocks, parentheses and arguments may nest this deep.
const MAX_NESTING: usize = 40;

/// Errors are built where the parser knows only an offset; the place is worked out once, at the end.
#[derive(Debug)]
pub(crate) struct Fault {
    at: usize,
    kind: ErrorKind,
}

pub(crate) type Parse<T> = Result<T, Fault>;

/// What all parts of one template share.
struct Shared {
    names: Names,
    macros: HashMap<String, Macro>,
}

struct Parser<'t, 's> {
    source: &'t str,
    at: usize,
    depth: usize,
    /// Inside a string literal: where the literal stands. Its text may differ from the source's (doubled quotes).
    inside: Option<usize>,
    shared: &'s mut Shared,
}

/// What ended a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closer {
    EndOfText,
    End,
    Else,
    ElseIf,
}

pub(crate) fn template(name: &str, source: &str, names: Names) -> Result<Template, Error> {
    let mut shared = Shared { names, macros: HashMap::new() };
    let mut parser = Parser { source, at: 0, depth: 0, inside: None, shared: &mut shared };
    match parser.whole() {
        Ok(body) => Ok(Template {
            name: name.to_owned(),
            source: source.to_owned(),
            body,
            macros: shared.macros,
            names: shared.names,
        }),
        Err(fault) => Err(Error::new(name, source, fault.at, fault.kind)),
    }
}

impl Parser<'_, '_> {
    fn whole(&mut self) -> Parse<Block> {
        let start = self.at;
        let (body, closer) = self.block()?;
        match closer {
            Closer::EndOfText => Ok(body),
            Closer::End | Closer::Else | Closer::ElseIf => {
                self.at = self.last_directive(start);
                self.expected("text or a directive that opens a block")
            }
        }
    }

    /// Where the directive just read began.
    fn last_directive(&self, start: usize) -> usize {
        self.source.get(start..self.at).and_then(|read| read.rfind('#')).map_or(start, |at| start + at)
    }

    fn fault(&self, at: usize, kind: ErrorKind) -> Fault {
        Fault { at: self.inside.unwrap_or(at), kind }
    }

    /// The place that nodes remember.
    fn place(&self, at: usize) -> usize {
        self.inside.unwrap_or(at)
    }

    fn expected<T>(&self, expected: &str) -> Parse<T> {
        let found = match self.peek() {
            Some('#') => format!("`{}`", self.word_ahead()),
            Some(char) => format!("{char:?}"),
            None => "the end of the template".to_owned(),
        };
        Err(self.fault(self.at, ErrorKind::Syntax { expected: expected.to_owned(), found }))
    }

    /// `#word` for messages.
    fn word_ahead(&self) -> String {
        let word: String =
            self.rest().chars().skip(1).take_while(char::is_ascii_alphanumeric).take(20).collect();
        format!("#{word}")
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parse<T>) -> Parse<T> {
        if self.depth >= MAX_NESTING {
            return Err(self.fault(self.at, ErrorKind::Limit("nesting of directives and expressions")));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Parses a string literal's content as a template of its own.
    fn inner(&mut self, text: &str, literal_at: usize) -> Parse<Block> {
        if self.depth >= MAX_NESTING {
            return Err(self.fault(literal_at, ErrorKind::Limit("nesting of strings")));
        }
        let place = self.place(literal_at);
        let mut parser = Parser {
            source: text,
            at: 0,
            depth: self.depth + 1,
            inside: Some(place),
            shared: &mut *self.shared,
        };
        parser.whole()
    }
}

/// Appends text, joining it to text before it.
fn push_text(nodes: &mut Block, text: &str) {
    if text.is_empty() {
        return;
    }
    if let Some(Node::Text(before)) = nodes.last_mut() {
        before.push_str(text);
    } else {
        nodes.push(Node::Text(text.to_owned()));
    }
}
