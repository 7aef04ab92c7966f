//! References: `$a`, `$!a`, `${a.b}`, `$a.b('x')[0]`.

use super::scan::starts_name;
use super::{Parse, Parser};
use crate::ast::{Access, Expr, Method, Reference};
use sluice_jsonpath::{JavaPattern, Path};

impl Parser<'_, '_> {
    /// At `$`: a reference, or `None` if it is text. False with it: one that always renders as nothing (`$\!a`).
    pub(super) fn reference_in_text(&mut self) -> Parse<Option<(Reference, bool)>> {
        let start = self.at;
        self.at += 1;
        let backslashes = self.take_while(|char| char == '\\').len();
        let bang = self.take("!");
        if backslashes > 0 && !bang {
            self.at = start;
            return Ok(None);
        }
        let formal = self.ahead("{") && self.peek_after(1).is_some_and(starts_name);
        if !formal && !self.peek().is_some_and(starts_name) {
            self.at = start;
            return Ok(None);
        }
        self.at += usize::from(formal);
        let mut reference = self.path_of_reference()?;
        if formal && !self.take("}") {
            return self.expected("`}`");
        }
        reference.at = self.place(start);
        reference.literal = self.source.get(start..self.at).unwrap_or_default().to_owned();
        Ok(Some((reference, backslashes == 0)))
    }

    /// A reference where only one can be.
    pub(super) fn reference(&mut self) -> Parse<Reference> {
        let start = self.at;
        match self.reference_in_text()? {
            Some((reference, _)) => Ok(reference),
            None => {
                self.at = start;
                self.expected("a reference (`$name`)")
            }
        }
    }

    /// The name and what follows it.
    pub(super) fn path_of_reference(&mut self) -> Parse<Reference> {
        let start = self.at;
        let Some(root) = self.name() else {
            return self.expected("a name");
        };
        if matches!(root, "true" | "false") {
            self.at = start;
            return self.expected("a name (`true` and `false` are none)");
        }
        let slot = self.shared.names.slot(root);
        let mut path = Vec::new();
        let mut dotted = Some(String::new());
        self.indexes(&mut path)?;
        while self.ahead(".") && self.peek_after(1).is_some_and(|char| char.is_ascii_alphabetic()) {
            self.at += 1;
            let at = self.at;
            let name = self.name().unwrap_or_default();
            if matches!(name, "true" | "false") {
                self.at = at;
                return self.expected("a name (`true` and `false` are none)");
            }
            // Velocity looks one token past the parenthesis; only the end of the text makes it change its mind.
            if self.ahead("(") && self.peek_after(1).is_some() {
                self.at += 1;
                let args = self.deeper(Self::arguments)?;
                path.push(Access::Method(method(name, args, self.place(at))));
            } else {
                if let Some(names) = &mut dotted {
                    if !names.is_empty() {
                        names.push('.');
                    }
                    names.push_str(name);
                }
                path.push(Access::Property { name: name.to_owned() });
            }
            self.indexes(&mut path)?;
        }
        let plain = path.iter().all(|access| matches!(access, Access::Property { .. }));
        let dotted = dotted.filter(|names| plain && !names.is_empty());
        Ok(Reference { slot, path, dotted, at: self.place(start), literal: String::new() })
    }

    fn indexes(&mut self, path: &mut Vec<Access>) -> Parse<()> {
        while self.ahead("[") {
            let at = self.at;
            self.at += 1;
            self.space();
            let index = match self.peek() {
                Some('"' | '\'') => self.string_literal()?,
                Some('$') => Expr::Reference(self.deeper(Self::reference)?),
                Some(_) if self.number_ahead() => match self.number()? {
                    Expr::Double(_) => return self.expected("an integer"),
                    number => number,
                },
                _ if self.take("true") => Expr::Bool(true),
                _ if self.take("false") => Expr::Bool(false),
                _ => return self.expected("an index: a string, an integer or a reference"),
            };
            self.space();
            if !self.take("]") {
                return self.expected("`]`");
            }
            path.push(Access::Index { index, at: self.place(at) });
        }
        Ok(())
    }

    /// After `(`, through `)`.
    fn arguments(&mut self) -> Parse<Vec<Expr>> {
        let mut args = Vec::new();
        if self.take(")") {
            return Ok(args);
        }
        loop {
            args.push(self.parameter(true)?);
            if self.take(")") {
                return Ok(args);
            }
            if !self.take(",") {
                return self.expected("`,` or `)`");
            }
        }
    }
}

/// A method call; a literal pattern or path is parsed now. One that doesn't parse fails when the call is made.
fn method(name: &str, args: Vec<Expr>, at: usize) -> Method {
    let first = match args.first() {
        Some(Expr::Str(text)) => Some(text.as_str()),
        _ => None,
    };
    let regex = matches!(name, "matches" | "replaceAll" | "replaceFirst" | "split");
    let json = matches!(name, "json" | "path");
    let pattern = first.filter(|_| regex).and_then(|text| JavaPattern::new(text, "").ok());
    let path = first.filter(|_| json).and_then(|text| Path::parse(text).ok());
    Method { name: name.to_owned(), args, at, pattern, path }
}
