//! Characters, words, literals, white space.

use super::{Fault, Parse, Parser};
use crate::ast::Expr;
use crate::error::ErrorKind;

const fn is_blank(char: char) -> bool {
    matches!(char, ' ' | '\t')
}

const fn is_space(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\n' | '\r')
}

/// Starts a name in a reference.
pub(super) const fn starts_name(char: char) -> bool {
    char.is_ascii_alphabetic() || char == '_'
}

const fn in_name(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '_' | '-')
}

impl<'t> Parser<'t, '_> {
    pub(super) fn rest(&self) -> &'t str {
        self.source.get(self.at..).unwrap_or_default()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn peek_after(&self, skip: usize) -> Option<char> {
        self.source.get(self.at + skip..).and_then(|rest| rest.chars().next())
    }

    pub(super) fn ahead(&self, text: &str) -> bool {
        self.rest().starts_with(text)
    }

    pub(super) fn take(&mut self, text: &str) -> bool {
        let there = self.ahead(text);
        self.at += if there { text.len() } else { 0 };
        there
    }

    pub(super) fn take_while(&mut self, test: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|char| !test(char)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    pub(super) fn space(&mut self) -> bool {
        !self.take_while(is_space).is_empty()
    }

    pub(super) fn blanks(&mut self) {
        self.take_while(is_blank);
    }

    /// Blanks and one line end, if a line end follows the blanks.
    pub(super) fn rest_of_line(&mut self) {
        let start = self.at;
        self.blanks();
        if !(self.take("\r\n") || self.take("\n") || self.take("\r")) {
            self.at = start;
        }
    }

    /// The name of a variable, property or method.
    pub(super) fn name(&mut self) -> Option<&'t str> {
        self.peek().filter(|char| starts_name(*char))?;
        Some(self.take_while(in_name))
    }

    /// The word of a directive.
    pub(super) fn word(&mut self) -> Option<&'t str> {
        self.peek().filter(|char| starts_name(*char) || *char == '@')?;
        Some(self.take_while(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '@')))
    }

    /// A quoted string: its content with doubled quotes undone, and whether it is double-quoted.
    pub(super) fn string(&mut self) -> Parse<(String, bool)> {
        let start = self.at;
        let rest = self.rest();
        let quote = if rest.starts_with('"') { '"' } else { '\'' };
        let mut end = None;
        let mut chars = rest.char_indices().skip(1).peekable();
        while let Some((at, char)) = chars.next() {
            if char == quote {
                end = Some(at);
                // A doubled quote stands for one; without a later closing quote the first one closed.
                if chars.next_if(|(_, next)| *next == quote).is_none() {
                    break;
                }
            }
        }
        let Some(content) = end.and_then(|end| rest.get(1..end)) else {
            let expected = format!("a closing `{quote}`");
            let found = "the end of the template".to_owned();
            return Err(self.fault(start, ErrorKind::Syntax { expected, found }));
        };
        self.at += content.len() + 2;
        let one = quote.to_string();
        Ok((content.replace(&one.repeat(2), &one), quote == '"'))
    }

    /// Whether a number begins here.
    pub(super) fn number_ahead(&self) -> bool {
        let skip = usize::from(self.ahead("-"));
        match self.peek_after(skip) {
            Some('0'..='9') => true,
            Some('.') => self.peek_after(skip + 1).is_some_and(|char| char.is_ascii_digit()),
            _ => false,
        }
    }

    /// An integer or floating-point literal; `1..` is an integer before the dots of a range.
    pub(super) fn number(&mut self) -> Parse<Expr> {
        let start = self.at;
        self.take("-");
        self.digits();
        let mut float = false;
        if self.ahead(".") && !self.ahead("..") {
            float = true;
            self.at += 1;
            self.digits();
        }
        let exponent = self.at;
        if self.take("e") || self.take("E") {
            let _ = self.take("+") || self.take("-");
            if self.digits() {
                float = true;
            } else {
                self.at = exponent;
            }
        }
        let text = self.source.get(start..self.at).unwrap_or_default();
        let number = if float { text.parse().ok().map(Expr::Double) } else { Some(integer(text)) };
        number.ok_or_else(|| self.not_a_number(start))
    }

    fn not_a_number(&self, at: usize) -> Fault {
        let found = self.source.get(at..self.at).unwrap_or_default();
        self.fault(at, ErrorKind::Syntax { expected: "a number".to_owned(), found: format!("`{found}`") })
    }

    fn digits(&mut self) -> bool {
        !self.take_while(|char| char.is_ascii_digit()).is_empty()
    }
}

fn integer(text: &str) -> Expr {
    if let Ok(int) = text.parse() {
        Expr::Int(int)
    } else if let Ok(long) = text.parse() {
        Expr::Long(long)
    } else {
        let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
        Expr::BigInt(format!("{sign}{}", digits.trim_start_matches('0')))
    }
}

/// Undoes `\uXXXX`, the one escape that double-quoted strings have.
pub(super) fn unicode_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\u") {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let code = escape.get(2..6).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match code.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
            Some(code) => {
                out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                rest = escape.get(6..).unwrap_or_default();
            }
            None => {
                out.push_str("\\u");
                rest = escape.get(2..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}
