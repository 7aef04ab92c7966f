//! Directives: `#set`, `#if`, `#foreach`, `#define`, `#macro` and calls of macros.

use super::{Closer, Parse, Parser, push_text};
use crate::ast::{Block, Call, Expr, Macro, Node, Slot};
use crate::error::ErrorKind;

impl Parser<'_, '_> {
    /// After `#name`, which began at `start`.
    pub(super) fn directive(&mut self, nodes: &mut Block, name: &str, start: usize) -> Parse<Option<Closer>> {
        match name {
            "end" => {
                self.rest_of_line();
                return Ok(Some(Closer::End));
            }
            "else" => {
                self.rest_of_line();
                return Ok(Some(Closer::Else));
            }
            "elseif" => return Ok(Some(Closer::ElseIf)),
            "if" => {
                let node = self.deeper(Self::if_directive)?;
                nodes.push(node);
            }
            "stop" => nodes.push(Node::Stop),
            "break" => {
                if self.open() {
                    self.arguments_of_directive()?;
                }
                nodes.push(Node::Break);
            }
            "foreach" => {
                let node = self.deeper(|parser| parser.foreach(start))?;
                nodes.push(node);
            }
            "define" => {
                let node = self.deeper(Self::define)?;
                nodes.push(node);
            }
            "evaluate" => {
                let node = self.evaluate(start)?;
                nodes.push(node);
            }
            "parse" | "include" if self.parenthesis_ahead() => {
                self.open();
                self.arguments_of_directive()?;
                let name = if name == "parse" { "#parse" } else { "#include" };
                nodes.push(Node::Unavailable { name, at: self.place(start) });
            }
            "macro" => self.deeper(|parser| parser.macro_definition(start))?,
            "literal" => self.deeper(|parser| parser.literal(nodes))?,
            _ => {
                let node = self.deeper(|parser| parser.call(name, start))?;
                nodes.push(node);
            }
        }
        Ok(None)
    }

    fn parenthesis_ahead(&self) -> bool {
        self.rest().trim_start_matches([' ', '\t', '\n', '\r']).starts_with('(')
    }

    /// Space and `(`.
    fn open(&mut self) -> bool {
        if !self.parenthesis_ahead() {
            return false;
        }
        self.space();
        self.take("(")
    }

    fn want_open(&mut self) -> Parse<()> {
        if self.open() { Ok(()) } else { self.expected("`(`") }
    }

    /// `)` and the rest of the line, if it is blank.
    fn close(&mut self) -> Parse<()> {
        self.space();
        if !self.take(")") {
            return self.expected("an operator or `)`");
        }
        self.rest_of_line();
        Ok(())
    }

    /// A block that `#end` closes.
    fn block_to_end(&mut self, directive: &str) -> Parse<Block> {
        let (body, closer) = self.block()?;
        match closer {
            Closer::End => Ok(body),
            Closer::EndOfText => self.expected(&format!("`#end` of {directive}")),
            Closer::Else | Closer::ElseIf => {
                self.at = self.last_directive(0);
                self.expected(&format!("`#end` of {directive}"))
            }
        }
    }

    /// After `#set(`.
    pub(super) fn set(&mut self) -> Parse<Node> {
        self.space();
        let target = self.reference()?;
        self.space();
        if self.ahead("==") || !self.take("=") {
            return self.expected("`=`");
        }
        let value = self.expression()?;
        self.close()?;
        Ok(Node::Set { target, value })
    }

    fn condition(&mut self) -> Parse<Expr> {
        self.want_open()?;
        let condition = self.expression()?;
        self.close()?;
        Ok(condition)
    }

    fn if_directive(&mut self) -> Parse<Node> {
        let mut branches = Vec::new();
        loop {
            let condition = self.condition()?;
            let (body, closer) = self.block()?;
            branches.push((condition, body));
            match closer {
                Closer::ElseIf => {}
                Closer::End => return Ok(Node::If { branches, otherwise: None }),
                Closer::Else => {
                    let otherwise = Some(self.block_to_end("#else")?);
                    return Ok(Node::If { branches, otherwise });
                }
                Closer::EndOfText => return self.expected("`#end` of #if"),
            }
        }
    }

    /// `#foreach($x in list)`. Any word does for `in`, as in Velocity.
    fn foreach(&mut self, start: usize) -> Parse<Node> {
        self.want_open()?;
        let slot = self.plain_variable()?;
        self.space();
        if self.word().is_none() {
            return self.expected("`in`");
        }
        let list = self.parameter(false)?;
        self.close()?;
        let body = self.block_to_end("#foreach")?;
        Ok(Node::Foreach { slot, list, body, at: self.place(start) })
    }

    fn plain_variable(&mut self) -> Parse<Slot> {
        self.space();
        let at = self.at;
        let reference = self.reference()?;
        if reference.path.is_empty() {
            return Ok(reference.slot);
        }
        self.at = at;
        self.expected("a plain variable")
    }

    fn define(&mut self) -> Parse<Node> {
        self.want_open()?;
        let slot = self.plain_variable()?;
        self.close()?;
        let body = self.block_to_end("#define")?;
        Ok(Node::Define { slot, body })
    }

    fn evaluate(&mut self, start: usize) -> Parse<Node> {
        self.want_open()?;
        let source = self.parameter(false)?;
        self.close()?;
        Ok(Node::Evaluate { source, at: self.place(start) })
    }

    /// `#literal() … #end`: the block's text as it is.
    fn literal(&mut self, nodes: &mut Block) -> Parse<()> {
        self.want_open()?;
        self.close()?;
        let start = self.at;
        self.block_to_end("#literal")?;
        let end = self.last_directive(start);
        push_text(nodes, self.source.get(start..end).unwrap_or_default());
        Ok(())
    }

    /// `#macro(name $a $b) … #end`; the first definition of a name wins.
    fn macro_definition(&mut self, start: usize) -> Parse<()> {
        if !self.open() {
            return self.expected("`(` and the macro's name");
        }
        self.space();
        let Some(name) = self.word().map(str::to_owned) else {
            return self.expected("the macro's name");
        };
        let mut params = Vec::new();
        loop {
            self.space();
            let _ = self.take(",") && self.space();
            if self.ahead(")") {
                break;
            }
            params.push(self.plain_variable()?);
        }
        self.close()?;
        let body = self.block_to_end("#macro")?;
        if self.shared.macros.len() >= 1000 {
            return Err(self.fault(start, ErrorKind::Limit("1000 macros")));
        }
        self.shared.macros.entry(name).or_insert(Macro { params, body });
        Ok(())
    }

    /// `#name`, `#name(args)`, `#@name(args) … #end`.
    pub(super) fn call(&mut self, name: &str, start: usize) -> Parse<Node> {
        let mut args = Vec::new();
        let mut body = None;
        if self.open() {
            args = self.arguments_of_directive()?;
            if name.starts_with('@') {
                body = Some(self.block_to_end("the macro's call")?);
            }
        }
        Ok(Node::Call(Call {
            name: name.trim_start_matches('@').to_owned(),
            args,
            body,
            literal: self.source.get(start..self.at).unwrap_or_default().to_owned(),
            at: self.place(start),
        }))
    }

    /// After `(`: values between blanks or commas, and `)`.
    fn arguments_of_directive(&mut self) -> Parse<Vec<Expr>> {
        let mut args = Vec::new();
        loop {
            self.space();
            let _ = self.take(",") && self.space();
            if self.ahead(")") {
                self.close()?;
                return Ok(args);
            }
            args.push(self.argument_of_directive()?);
        }
    }

    fn argument_of_directive(&mut self) -> Parse<Expr> {
        let here = self.at;
        if self.word().is_some() {
            let word = self.source.get(here..self.at).unwrap_or_default();
            return Ok(match word {
                "true" => Expr::Bool(true),
                "false" => Expr::Bool(false),
                _ => Expr::Runt,
            });
        }
        self.parameter(false)
    }
}
