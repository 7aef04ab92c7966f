//! Expressions, by falling precedence: `!`, `* / %`, `+ -`, `< > <= >=`, `== !=`, `&&`, `||`.
//!
//! A minus before a digit belongs to the number, so `$a -1` is an error, as it is in Velocity.

use super::scan::unicode_escapes;
use super::{Parse, Parser};
use crate::ast::{Comparison, Expr, Operation};

impl Parser<'_, '_> {
    pub(super) fn expression(&mut self) -> Parse<Expr> {
        self.deeper(Self::or)
    }

    fn or(&mut self) -> Parse<Expr> {
        let mut left = self.and()?;
        while self.operator("||", "or") {
            let right = self.and()?;
            left = Expr::Or(Box::new((left, right)));
        }
        Ok(left)
    }

    fn and(&mut self) -> Parse<Expr> {
        let mut left = self.equality()?;
        while self.operator("&&", "and") {
            let right = self.equality()?;
            left = Expr::And(Box::new((left, right)));
        }
        Ok(left)
    }

    fn equality(&mut self) -> Parse<Expr> {
        self.comparisons(
            Self::relation,
            &[("==", "eq", Comparison::Equal), ("!=", "ne", Comparison::NotEqual)],
        )
    }

    fn relation(&mut self) -> Parse<Expr> {
        self.comparisons(
            Self::sum,
            &[
                ("<=", "le", Comparison::LessOrEqual),
                (">=", "ge", Comparison::GreaterOrEqual),
                ("<", "lt", Comparison::Less),
                (">", "gt", Comparison::Greater),
            ],
        )
    }

    fn comparisons(
        &mut self,
        operand: fn(&mut Self) -> Parse<Expr>,
        operators: &[(&str, &str, Comparison)],
    ) -> Parse<Expr> {
        let mut left = operand(self)?;
        while let Some((_, _, operator)) =
            operators.iter().find(|(symbol, word, _)| self.operator(symbol, word))
        {
            let right = operand(self)?;
            left = Expr::Compare(*operator, Box::new((left, right)));
        }
        Ok(left)
    }

    fn sum(&mut self) -> Parse<Expr> {
        self.operations(Self::product, &[("+", Operation::Add), ("-", Operation::Subtract)])
    }

    fn product(&mut self) -> Parse<Expr> {
        let operators = [("*", Operation::Multiply), ("/", Operation::Divide), ("%", Operation::Modulo)];
        self.operations(Self::unary, &operators)
    }

    fn operations(
        &mut self,
        operand: fn(&mut Self) -> Parse<Expr>,
        operators: &[(&str, Operation)],
    ) -> Parse<Expr> {
        let mut left = operand(self)?;
        loop {
            let here = self.at;
            self.space();
            if self.number_ahead() {
                return self.expected("an operator or `)` (a blank goes between `-` and a number)");
            }
            let Some((_, operator)) = operators.iter().find(|(symbol, _)| self.take(symbol)) else {
                self.at = here;
                return Ok(left);
            };
            let right = operand(self)?;
            left = Expr::Math(*operator, Box::new((left, right)));
        }
    }

    fn unary(&mut self) -> Parse<Expr> {
        self.space();
        let here = self.at;
        if self.take("!") || self.keyword("not") {
            if self.at == here + 1 && self.ahead("=") {
                self.at = here;
                return self.expected("a value");
            }
            return self.deeper(Self::unary).map(|inner| Expr::Not(Box::new(inner)));
        }
        self.primary()
    }

    fn primary(&mut self) -> Parse<Expr> {
        self.space();
        if !self.take("(") {
            return self.parameter(false);
        }
        let inner = self.expression()?;
        self.space();
        if !self.take(")") {
            return self.expected("an operator or `)`");
        }
        self.space();
        Ok(inner)
    }

    /// A literal or a reference, with the space around it; in a method's arguments a bare word is null.
    pub(super) fn parameter(&mut self, words: bool) -> Parse<Expr> {
        self.space();
        let value = match self.peek() {
            Some('"' | '\'') => self.string_literal()?,
            Some('$') => Expr::Reference(self.deeper(Self::reference)?),
            Some('[') => self.deeper(|parser| parser.list(words))?,
            Some('{') => self.deeper(|parser| parser.map(words))?,
            Some(_) if self.number_ahead() => self.number()?,
            _ if self.keyword("true") => Expr::Bool(true),
            _ if self.keyword("false") => Expr::Bool(false),
            Some(_) if words && self.name().is_some() => Expr::Runt,
            _ => return self.expected("a value"),
        };
        self.space();
        Ok(value)
    }

    /// `[a, b]` or `[1..5]`.
    fn list(&mut self, words: bool) -> Parse<Expr> {
        let at = self.place(self.at);
        self.at += 1;
        let here = self.at;
        self.space();
        if self.take("]") {
            if self.at > here + 1 {
                self.at -= 1;
                return self.expected("a value");
            }
            return Ok(Expr::List(Vec::new()));
        }
        let first = self.parameter(words)?;
        if self.take("..") {
            let last = self.parameter(words)?;
            let whole = |bound: &Expr| matches!(bound, Expr::Int(_) | Expr::Long(_) | Expr::Reference(_));
            if !whole(&first) || !whole(&last) {
                return self.expected("an integer or a reference on both sides of `..`");
            }
            if !self.take("]") {
                return self.expected("`]`");
            }
            return Ok(Expr::Range(Box::new((first, last)), at));
        }
        let mut items = vec![first];
        while self.take(",") {
            items.push(self.parameter(words)?);
        }
        if !self.take("]") {
            return self.expected("`,` or `]`");
        }
        Ok(Expr::List(items))
    }

    /// `{key: value, …}`.
    fn map(&mut self, words: bool) -> Parse<Expr> {
        self.at += 1;
        self.space();
        let mut entries = Vec::new();
        if self.take("}") {
            return Ok(Expr::Map(entries));
        }
        loop {
            let key = self.parameter(words)?;
            if !self.take(":") {
                return self.expected("`:`");
            }
            let value = self.parameter(words)?;
            entries.push((key, value));
            if self.take("}") {
                return Ok(Expr::Map(entries));
            }
            if !self.take(",") {
                return self.expected("`,` or `}`");
            }
        }
    }

    /// A string; a double-quoted one with `$` or `#` in it is a template.
    pub(super) fn string_literal(&mut self) -> Parse<Expr> {
        let at = self.at;
        let (content, double) = self.string()?;
        if !double {
            return Ok(Expr::Str(content));
        }
        let content = unicode_escapes(&content);
        if !content.contains(['$', '#']) {
            return Ok(Expr::Str(content));
        }
        // Velocity adds a blank, so that a last `$a` ends, and takes it off afterwards, unless a comment ate it.
        let padded = !content.contains("##");
        let text = if padded { format!("{content} ") } else { content };
        let body = self.inner(&text, at)?;
        Ok(Expr::Interpolated { body, padded })
    }

    /// An operator as symbol or word, space before it allowed.
    fn operator(&mut self, symbol: &str, word: &str) -> bool {
        let here = self.at;
        self.space();
        if self.take(symbol) || self.keyword(word) {
            return true;
        }
        self.at = here;
        false
    }

    /// A word that ends here.
    pub(super) fn keyword(&mut self, word: &str) -> bool {
        let in_word = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '@');
        if self.ahead(word) && !self.peek_after(word.len()).is_some_and(in_word) {
            self.at += word.len();
            return true;
        }
        false
    }
}
