//! Filters: `[?(@.price < 10 && @.title =~ /x.*/i)]`.
//!
//! ```text
//! or      := and { "||" and }
//! and     := unary { "&&" unary }
//! unary   := "!" unary | "(" or ")" | operand [ operator operand ]
//! operand := "@" steps | "$" steps | literal | "[" literals "]" | "/" regex "/" flags
//! ```

use crate::MAX_DEPTH;
use crate::parse::{Cursor, Parse, steps};
use crate::path::Path;
use crate::pattern::JavaPattern;

/// A condition.
#[derive(Debug)]
pub(crate) enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    /// The path leads somewhere.
    Exists(Operand),
    Compare(Operand, Operator, Operand),
}

/// One side of a comparison.
#[derive(Debug)]
pub(crate) enum Operand {
    /// From the element under test.
    Here(Path),
    /// From the document.
    Root(Path),
    Literal(Literal),
    Pattern(JavaPattern),
}

/// A value written in the filter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Number(f64),
    Str(String),
    List(Vec<Literal>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Matches,
    In,
    NotIn,
    SubsetOf,
    AnyOf,
    NoneOf,
    AllOf,
    Contains,
    Size,
    Empty,
}

/// Longer ones first: `<=` before `<`.
const SYMBOLS: &[(&str, Operator)] = &[
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("=~", Operator::Matches),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

const WORDS: &[(&str, Operator)] = &[
    ("in", Operator::In),
    ("nin", Operator::NotIn),
    ("subsetof", Operator::SubsetOf),
    ("anyof", Operator::AnyOf),
    ("noneof", Operator::NoneOf),
    ("all", Operator::AllOf),
    ("contains", Operator::Contains),
    ("size", Operator::Size),
    ("empty", Operator::Empty),
];

/// `( … )`.
pub(crate) fn parenthesized(cursor: &mut Cursor<'_>) -> Parse<Filter> {
    cursor.want("(")?;
    if cursor.depth >= MAX_DEPTH / 8 {
        return cursor.error("less nesting");
    }
    cursor.depth += 1;
    let filter = any(cursor)?;
    cursor.depth -= 1;
    cursor.blank();
    cursor.want(")")?;
    Ok(filter)
}

fn any(cursor: &mut Cursor<'_>) -> Parse<Filter> {
    let mut parts = vec![all(cursor)?];
    loop {
        cursor.blank();
        if !cursor.take("||") {
            break;
        }
        parts.push(all(cursor)?);
    }
    Ok(single(parts, Filter::Any))
}

fn all(cursor: &mut Cursor<'_>) -> Parse<Filter> {
    let mut parts = vec![unary(cursor)?];
    loop {
        cursor.blank();
        if !cursor.take("&&") {
            break;
        }
        parts.push(unary(cursor)?);
    }
    Ok(single(parts, Filter::All))
}

fn single(mut parts: Vec<Filter>, many: fn(Vec<Filter>) -> Filter) -> Filter {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            many(parts)
        }
        None => many(parts),
    }
}

fn unary(cursor: &mut Cursor<'_>) -> Parse<Filter> {
    cursor.blank();
    let mut negations = 0_usize;
    while cursor.take("!") {
        negations += 1;
        cursor.blank();
    }
    let filter = if cursor.peek() == Some('(') { parenthesized(cursor)? } else { comparison(cursor)? };
    Ok(if negations % 2 == 1 { Filter::Not(Box::new(filter)) } else { filter })
}

fn comparison(cursor: &mut Cursor<'_>) -> Parse<Filter> {
    let left = operand(cursor)?;
    cursor.blank();
    let Some(operator) = operator(cursor) else {
        return match left {
            Operand::Here(_) | Operand::Root(_) => Ok(Filter::Exists(left)),
            Operand::Literal(_) | Operand::Pattern(_) => cursor.error("an operator"),
        };
    };
    cursor.blank();
    let right = operand(cursor)?;
    Ok(Filter::Compare(left, operator, right))
}

fn operator(cursor: &mut Cursor<'_>) -> Option<Operator> {
    if let Some((_, operator)) = SYMBOLS.iter().find(|(symbol, _)| cursor.take(symbol)) {
        return Some(*operator);
    }
    let rest = cursor.rest();
    let end = rest.find(|char: char| !char.is_ascii_alphabetic()).unwrap_or(rest.len());
    let word = rest.get(..end)?.to_ascii_lowercase();
    let (_, operator) = WORDS.iter().find(|(known, _)| *known == word)?;
    cursor.take_while(|char| char.is_ascii_alphabetic());
    Some(*operator)
}

fn operand(cursor: &mut Cursor<'_>) -> Parse<Operand> {
    cursor.blank();
    match cursor.peek() {
        Some(root @ ('@' | '$')) => {
            if cursor.depth >= MAX_DEPTH / 8 {
                return cursor.error("less nesting");
            }
            cursor.depth += 1;
            cursor.next();
            let path = steps(cursor, true)?;
            cursor.depth -= 1;
            Ok(if root == '@' { Operand::Here(path) } else { Operand::Root(path) })
        }
        Some('/') => pattern(cursor).map(Operand::Pattern),
        _ => literal(cursor).map(Operand::Literal),
    }
}

/// `/…/flags`.
fn pattern(cursor: &mut Cursor<'_>) -> Parse<JavaPattern> {
    cursor.next();
    let mut text = String::new();
    loop {
        match cursor.next() {
            Some('/') => break,
            Some('\\') => {
                text.push('\\');
                text.extend(cursor.next());
            }
            Some(char) => text.push(char),
            None => return cursor.error("`/` after the regular expression"),
        }
    }
    let flags = cursor.take_while(|char| char.is_ascii_alphabetic());
    JavaPattern::new(&text, flags).or_else(|error| cursor.error(format!("a regular expression ({error})")))
}

fn literal(cursor: &mut Cursor<'_>) -> Parse<Literal> {
    match cursor.peek() {
        Some('\'' | '"') => return cursor.quoted().map(Literal::Str),
        Some('[') => return list(cursor),
        _ => {}
    }
    let word = cursor.take_while(|char| char.is_ascii_alphanumeric() || matches!(char, '-' | '+' | '.'));
    match word {
        "null" => Ok(Literal::Null),
        "true" => Ok(Literal::Bool(true)),
        "false" => Ok(Literal::Bool(false)),
        _ => match word.parse::<f64>() {
            Ok(number) if word.starts_with(|char: char| char == '-' || char.is_ascii_digit()) => {
                Ok(Literal::Number(number))
            }
            _ => cursor.error("a value"),
        },
    }
}

fn list(cursor: &mut Cursor<'_>) -> Parse<Literal> {
    if cursor.depth >= MAX_DEPTH / 8 {
        return cursor.error("less nesting");
    }
    cursor.depth += 1;
    cursor.next();
    let mut items = Vec::new();
    cursor.blank();
    while !cursor.take("]") {
        if !items.is_empty() {
            cursor.want(",")?;
            cursor.blank();
        }
        items.push(literal(cursor)?);
        cursor.blank();
    }
    cursor.depth -= 1;
    Ok(Literal::List(items))
}
