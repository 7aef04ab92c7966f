//! The path parser: recursive descent, one character of look-ahead.

use crate::filter;
use crate::path::{Function, Path, Step};
use std::fmt;

/// Why a text is not a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathError {
    /// Column in characters, from 1.
    pub column: usize,
    /// What would have been right.
    pub expected: String,
    /// What was there.
    pub found: String,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { column, expected, found } = self;
        write!(f, "JSONPath, column {column}: expected {expected}, found {found}")
    }
}

impl std::error::Error for PathError {}

/// A place in the text.
pub(crate) struct Cursor<'t> {
    text: &'t str,
    at: usize,
    /// Filters and paths inside filters nest this deep here.
    pub(crate) depth: usize,
}

pub(crate) type Parse<T> = Result<T, PathError>;

impl<'t> Cursor<'t> {
    pub(crate) fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(crate) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(crate) fn next(&mut self) -> Option<char> {
        let char = self.peek()?;
        self.at += char.len_utf8();
        Some(char)
    }

    pub(crate) fn take(&mut self, text: &str) -> bool {
        let there = self.rest().starts_with(text);
        self.at += if there { text.len() } else { 0 };
        there
    }

    pub(crate) fn blank(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.next();
        }
    }

    /// Takes characters while they satisfy the test.
    pub(crate) fn take_while(&mut self, test: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|char| !test(char)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    pub(crate) fn error<T>(&self, expected: impl Into<String>) -> Parse<T> {
        let before = self.text.get(..self.at).unwrap_or_default();
        let found = match self.peek() {
            Some(char) => format!("{char:?}"),
            None => "the end".to_owned(),
        };
        Err(PathError { column: 1 + before.chars().count(), expected: expected.into(), found })
    }

    pub(crate) fn want(&mut self, text: &str) -> Parse<()> {
        if self.take(text) { Ok(()) } else { self.error(format!("`{text}`")) }
    }

    /// A quoted string; a backslash takes the next character as it is.
    pub(crate) fn quoted(&mut self) -> Parse<String> {
        let Some(quote @ ('\'' | '"')) = self.peek() else {
            return self.error("a quoted name");
        };
        self.next();
        let mut out = String::new();
        loop {
            match self.next() {
                Some('\\') => out.extend(self.next()),
                Some(char) if char == quote => return Ok(out),
                Some(char) => out.push(char),
                None => return self.error("a closing quote"),
            }
        }
    }

    pub(crate) fn integer(&mut self) -> Parse<Option<i64>> {
        let digits = self.take_while(|char| char == '-' || char.is_ascii_digit());
        if digits.is_empty() {
            return Ok(None);
        }
        digits.parse().map(Some).or_else(|_| self.error("an integer of 64 bits"))
    }
}

pub(crate) fn path(text: &str) -> Parse<Path> {
    let trimmed = text.trim();
    let mut cursor = Cursor { text: trimmed, at: 0, depth: 0 };
    let path = if trimmed.starts_with(['$', '@']) {
        cursor.next();
        steps(&mut cursor, false)?
    } else {
        implied_root(&mut cursor)?
    };
    if cursor.peek().is_some() {
        return cursor.error("`.` or `[`");
    }
    Ok(path)
}

/// `a.b` stands for `$.a.b`.
fn implied_root(cursor: &mut Cursor<'_>) -> Parse<Path> {
    let mut found = Vec::new();
    let mut function = None;
    if cursor.peek() != Some('[') {
        match dotted(cursor, false)? {
            Dotted::Step(step) => found.push(step),
            Dotted::Function(last) => function = Some(last),
        }
    }
    continue_steps(cursor, found, function, false)
}

/// The steps after `$` or `@`; inside a filter they end where no step can go on.
pub(crate) fn steps(cursor: &mut Cursor<'_>, in_filter: bool) -> Parse<Path> {
    continue_steps(cursor, Vec::new(), None, in_filter)
}

fn continue_steps(
    cursor: &mut Cursor<'_>,
    mut steps: Vec<Step>,
    mut function: Option<Function>,
    in_filter: bool,
) -> Parse<Path> {
    while function.is_none() {
        if cursor.take("..") {
            steps.push(Step::Scan);
            if cursor.peek() == Some('[') {
                continue;
            }
        } else if cursor.peek() == Some('[') {
            cursor.next();
            steps.push(bracket(cursor)?);
            continue;
        } else if !cursor.take(".") {
            break;
        }
        match dotted(cursor, in_filter)? {
            Dotted::Step(step) => steps.push(step),
            Dotted::Function(last) => function = Some(last),
        }
    }
    if matches!(steps.last(), Some(Step::Scan)) && function.is_none() {
        return cursor.error("a step after `..`");
    }
    Ok(Path::new(steps, function))
}

enum Dotted {
    Step(Step),
    Function(Function),
}

/// What follows a dot.
fn dotted(cursor: &mut Cursor<'_>, in_filter: bool) -> Parse<Dotted> {
    if cursor.take("*") {
        return Ok(Dotted::Step(Step::Wildcard));
    }
    let ends = |char: char| {
        matches!(char, '.' | '[' | '(' | ' ')
            || in_filter && matches!(char, ')' | '=' | '!' | '<' | '>' | '&' | '|' | ',' | ']' | '~')
            || in_filter && char.is_whitespace()
    };
    let name = cursor.take_while(|char| !ends(char));
    if name.is_empty() {
        return cursor.error("a property's name, `*` or a function");
    }
    if cursor.take("(") {
        return function(cursor, name).map(Dotted::Function);
    }
    if cursor.peek() == Some(' ') && !in_filter {
        return cursor.error("no space in a name (write `['a b']`)");
    }
    Ok(Dotted::Step(Step::Properties(vec![name.to_owned()])))
}

/// After `name(`.
fn function(cursor: &mut Cursor<'_>, name: &str) -> Parse<Function> {
    cursor.blank();
    let function = match name {
        "length" | "size" => Function::Length,
        "min" => Function::Min,
        "max" => Function::Max,
        "avg" => Function::Avg,
        "sum" => Function::Sum,
        "stddev" => Function::StdDev,
        "keys" => Function::Keys,
        "concat" => Function::Concat,
        "first" => Function::First,
        "last" => Function::Last,
        "index" => match cursor.integer()? {
            Some(index) => Function::Index(index),
            None => return cursor.error("an integer"),
        },
        _ => {
            return cursor.error(format!(
                "a function's name before `(` (length, min, max, avg, sum, stddev, keys, concat, first, last, \
                 index), not `{name}`"
            ));
        }
    };
    cursor.blank();
    cursor.want(")")?;
    Ok(function)
}

/// After `[`.
fn bracket(cursor: &mut Cursor<'_>) -> Parse<Step> {
    cursor.blank();
    let step = match cursor.peek() {
        Some('*') => {
            cursor.next();
            Step::Wildcard
        }
        Some('?') => {
            cursor.next();
            cursor.blank();
            Step::Filter(filter::parenthesized(cursor)?)
        }
        Some('\'' | '"') => Step::Properties(names(cursor)?),
        Some('-' | ':' | '0'..='9') => indexes(cursor)?,
        _ => return cursor.error("a quoted name, an index, `*` or `?`"),
    };
    cursor.blank();
    cursor.want("]")?;
    Ok(step)
}

fn names(cursor: &mut Cursor<'_>) -> Parse<Vec<String>> {
    let mut names = vec![cursor.quoted()?];
    loop {
        cursor.blank();
        if !cursor.take(",") {
            return Ok(names);
        }
        cursor.blank();
        names.push(cursor.quoted()?);
    }
}

fn indexes(cursor: &mut Cursor<'_>) -> Parse<Step> {
    let first = cursor.integer()?;
    cursor.blank();
    if cursor.take(":") {
        cursor.blank();
        let end = cursor.integer()?;
        return Ok(Step::Slice(first, end));
    }
    let Some(first) = first else {
        return cursor.error("an index");
    };
    let mut indexes = vec![first];
    while cursor.take(",") {
        cursor.blank();
        match cursor.integer()? {
            Some(index) => indexes.push(index),
            None => return cursor.error("an index"),
        }
        cursor.blank();
    }
    Ok(Step::Indexes(indexes))
}

#[cfg(test)]
mod tests {
    use crate::path::Path;

    #[test]
    fn definite_paths_are_told_from_indefinite_ones() {
        for (path, definite) in [
            ("$", true),
            ("$.a.b", true),
            ("a.b", true),
            ("$['a b'][0]", true),
            ("$[ -1 ]", true),
            ("$.a['b','c']", true),
            ("$[0,1]", false),
            ("$[1:]", false),
            ("$.*", false),
            ("$[*].a", false),
            ("$..a", false),
            ("$[?(@.a)]", false),
        ] {
            assert_eq!(Path::parse(path).unwrap().is_definite(), definite, "{path}");
        }
    }

    #[test]
    fn faults_have_a_column_and_an_expectation() {
        for (path, message) in [
            ("$.", "column 3: expected a property's name, `*` or a function, found the end"),
            ("$..", "column 4: expected a property's name, `*` or a function, found the end"),
            ("$['a", "column 5: expected a closing quote, found the end"),
            ("$[a]", "column 3: expected a quoted name, an index, `*` or `?`, found 'a'"),
            ("$.a b", "column 4: expected no space in a name (write `['a b']`), found ' '"),
            ("$[0", "column 4: expected `]`, found the end"),
            ("$[?(@.a ==)]", "column 11: expected a value, found ')'"),
            ("$[?(@.a =~ /(/)]", "expected a regular expression"),
            ("$[99999999999999999999]", "expected an integer of 64 bits"),
        ] {
            let error = Path::parse(path).unwrap_err().to_string();
            assert!(error.contains(message), "{path}: {error}");
        }
    }
}
