//! Text: everything up to a reference, a directive, a comment or an escape.

use super::scan::starts_name;
use super::{Closer, Parse, Parser, push_text};
use crate::ast::{Access, Block, Node, Reference};

/// Directives that need no definition to be recognized after a backslash.
const KNOWN: &[&str] = &[
    "if", "end", "set", "else", "elseif", "stop", "foreach", "include", "parse", "macro", "break", "define",
    "evaluate", "literal",
];

impl Parser<'_, '_> {
    /// Nodes up to the directive that closes the block, which is consumed.
    pub(super) fn block(&mut self) -> Parse<(Block, Closer)> {
        let mut nodes = Vec::new();
        loop {
            if let Some(set) = self.set_ahead() {
                self.at = set;
                let node = self.set()?;
                nodes.push(node);
                continue;
            }
            let text = self.take_while(|char| !matches!(char, '\\' | '$' | '#'));
            push_text(&mut nodes, text);
            if !text.is_empty() {
                continue;
            }
            match self.peek() {
                None => return Ok((nodes, Closer::EndOfText)),
                Some('\\') => self.backslashes(&mut nodes)?,
                Some('$') => self.dollar(&mut nodes, 0)?,
                _ => {
                    if let Some(closer) = self.hash(&mut nodes)? {
                        return Ok((nodes, closer));
                    }
                }
            }
        }
    }

    /// If `#set(` comes, blanks before it allowed: where its parenthesis has been passed.
    fn set_ahead(&self) -> Option<usize> {
        let rest = self.rest();
        let trimmed = rest.trim_start_matches([' ', '\t']);
        let after = trimmed.strip_prefix("#set").or_else(|| trimmed.strip_prefix("#{set}"))?;
        let inside = after.trim_start_matches(' ').strip_prefix('(')?;
        Some(self.source.len() - inside.len())
    }

    /// Backslashes escape only what would otherwise be VTL; elsewhere they are text.
    fn backslashes(&mut self, nodes: &mut Block) -> Parse<()> {
        let run = self.take_while(|char| char == '\\');
        let count = run.len();
        match self.peek() {
            Some('$') => return self.dollar(nodes, count),
            Some('#') => {}
            _ => {
                push_text(nodes, run);
                return Ok(());
            }
        }
        let Some((name, length)) = self.directive_ahead() else {
            push_text(nodes, run);
            return Ok(());
        };
        let known = KNOWN.contains(&name) || self.shared.macros.contains_key(name);
        if count % 2 == 1 {
            let text = self.rest().get(..length).unwrap_or_default();
            push_text(nodes, run.get(..if known { count / 2 } else { count }).unwrap_or_default());
            push_text(nodes, text);
            self.at += length;
        } else {
            // `#set(` is a token of its own, which Velocity forgets here.
            let control = known && self.set_ahead().is_none();
            push_text(nodes, run.get(..if control { count / 2 } else { count }).unwrap_or_default());
        }
        Ok(())
    }

    /// The name of the directive at `#`, and the length of `#name` or `#{name}`.
    fn directive_ahead(&self) -> Option<(&str, usize)> {
        let after = self.rest().strip_prefix('#')?;
        let bracketed = after.strip_prefix('{');
        let body = bracketed.unwrap_or(after);
        body.chars().next().filter(|char| starts_name(*char) || (bracketed.is_none() && *char == '@'))?;
        let is_word = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '@');
        let end = body.find(|char| !is_word(char)).unwrap_or(body.len());
        let name = body.get(..end)?;
        if bracketed.is_none() {
            return Some((name, 1 + end));
        }
        body.get(end..)?.starts_with('}').then_some((name, end + 3))
    }

    /// At `$`, after so many backslashes.
    fn dollar(&mut self, nodes: &mut Block, escapes: usize) -> Parse<()> {
        let start = self.at;
        match self.reference_in_text()? {
            Some((reference, computable)) => {
                push_text(nodes, &"\\".repeat(escapes / 2));
                let formal = reference.literal.ends_with('}');
                let modifier = ends_with_property(&reference);
                if escapes % 2 == 1 {
                    push_text(nodes, self.source.get(start..self.at).unwrap_or_default());
                } else if computable {
                    nodes.push(Node::Reference(reference));
                }
                if formal { Ok(()) } else { self.after_reference(nodes, modifier) }
            }
            None if escapes > 0 && self.ahead("$$") => {
                // One token with the reference behind the dollars. Escaped, it is printed without them.
                let dollars = self.rest().len() - self.rest().trim_start_matches('$').len();
                self.at += dollars - 1;
                if escapes % 2 == 1 {
                    return self.dollar(nodes, escapes);
                }
                push_text(nodes, &"\\".repeat(escapes / 2));
                push_text(nodes, &"$".repeat(dollars - 1));
                self.dollar(nodes, 0)
            }
            None => {
                push_text(nodes, &"\\".repeat(escapes));
                self.lone_dollar(nodes)
            }
        }
    }

    /// A dollar that begins no reference. Velocity keeps it for the next token to print, and some tokens don't.
    fn lone_dollar(&mut self, nodes: &mut Block) -> Parse<()> {
        let start = self.at;
        self.at += 1;
        let backslashes = self.take_while(|char| char == '\\').len();
        let bang = self.take("!");
        if !bang {
            self.at = start + 1;
        }
        let text = self.source.get(start..self.at).unwrap_or("$");
        if bang && backslashes == 0 && matches!(self.peek(), Some('{' | '[' | '$')) {
            push_text(nodes, text);
            return self.glued(nodes);
        }
        if self.set_ahead().is_some() {
            return self.after_reference(nodes, false);
        }
        if let Some((name, length)) = self.directive_ahead() {
            if matches!(name, "if" | "elseif" | "else" | "end" | "stop" | "set") {
                return Ok(());
            }
            // With a dollar before it the name is no directive's.
            let name = name.to_owned();
            self.at += length;
            let node = self.deeper(|parser| parser.call(&name, start))?;
            nodes.push(node);
            return Ok(());
        }
        self.lone(nodes, "$")
    }

    /// A lone `$` or `#`, passed: printed with what follows, unless that is `#set` or an escape.
    fn lone(&mut self, nodes: &mut Block, text: &str) -> Parse<()> {
        if self.peek().is_none() {
            return self.expected(&format!("text after `{text}`"));
        }
        let escapes = self.rest().len() - self.rest().trim_start_matches('\\').len();
        let escape = escapes > 1 && self.peek_after(escapes) != Some('$');
        if !escape && self.set_ahead().is_none() {
            push_text(nodes, text);
        }
        self.glued(nodes)
    }

    /// After a lone `$` or `#`, backslashes before a reference are part of the same token: text that escapes nothing.
    fn glued(&mut self, nodes: &mut Block) -> Parse<()> {
        let run = self.take_while(|char| char == '\\');
        if run.is_empty() {
            return Ok(());
        }
        if self.peek() != Some('$') {
            self.at -= run.len();
            return Ok(());
        }
        push_text(nodes, run);
        self.dollar(nodes, 0)
    }

    /// Directly after a reference the lexer is still within it. A name there is taken for a reference without a dollar,
    /// of which only the first word is printed; of `{name}` only the brace; and after a property `##` is no comment.
    fn after_reference(&mut self, nodes: &mut Block, mut modifier: bool) -> Parse<()> {
        loop {
            if let Some(set) = self.set_ahead() {
                self.at = set;
                let node = self.set()?;
                nodes.push(node);
                continue;
            }
            match self.peek() {
                Some('{') if self.bare_name_after_brace().is_some() => {
                    self.at = self.bare_name_after_brace().unwrap_or(self.at);
                    self.path_of_reference()?;
                    if !self.take("}") {
                        return self.expected("`}`");
                    }
                    push_text(nodes, "{");
                    return Ok(());
                }
                Some('{') => {
                    self.at += 1;
                    push_text(nodes, "{");
                }
                Some('}') => {
                    self.at += 1;
                    push_text(nodes, "}");
                    return Ok(());
                }
                Some(char) if starts_name(char) => {
                    let start = self.at;
                    let name = self.name().unwrap_or_default();
                    push_text(nodes, name);
                    self.at = start;
                    modifier = ends_with_property(&self.path_of_reference()?);
                }
                Some('[') => return self.expected("text that is no index: `[` follows a reference"),
                // After these the lexer is where it was.
                Some('#') if self.ahead("#*") || self.ahead("#[[") => {
                    self.hash(nodes)?;
                }
                Some('#') if modifier && self.ahead("##") => {
                    self.at += 2;
                    return self.lone(nodes, "##");
                }
                _ => return Ok(()),
            }
        }
    }

    /// At `{`: where the name behind it begins, if one does; a dollar before the name changes nothing.
    fn bare_name_after_brace(&self) -> Option<usize> {
        let inside = self.rest().strip_prefix('{')?;
        let name = match inside.trim_start_matches('\\').strip_prefix('$') {
            Some(name) => name.strip_prefix('!').unwrap_or(name),
            None => inside,
        };
        name.starts_with(starts_name).then(|| self.source.len() - name.len())
    }

    /// At `#`: a comment, a text block, a directive or text.
    fn hash(&mut self, nodes: &mut Block) -> Parse<Option<Closer>> {
        if self.take("##") {
            self.take_while(|char| !matches!(char, '\n' | '\r'));
            let _ = self.take("\r\n") || self.take("\n") || self.take("\r");
            return Ok(None);
        }
        if self.ahead("#*") {
            let end = self.rest().get(2..).and_then(|inside| inside.find("*#"));
            self.at = end.map_or(self.source.len(), |end| self.at + end + 4);
            return Ok(None);
        }
        if self.ahead("#[[") {
            return self.text_block(nodes).map(|()| None);
        }
        let Some((name, length)) = self.directive_ahead() else {
            self.at += 1;
            if self.number_ahead() && !self.ahead("-.") {
                // A token of its own: blanks after it are `#set`'s.
                let start = self.at;
                self.number()?;
                push_text(nodes, "#");
                push_text(nodes, self.source.get(start..self.at).unwrap_or_default());
                return Ok(None);
            }
            return self.lone(nodes, "#").map(|()| None);
        };
        let name = name.to_owned();
        let start = self.at;
        self.at += length;
        self.directive(nodes, &name, start)
    }

    /// `#[[ … ]]#`: text as it is.
    fn text_block(&mut self, nodes: &mut Block) -> Parse<()> {
        let inside = self.rest().get(3..).unwrap_or_default();
        let Some(end) = inside.find("]]#") else {
            self.at = self.source.len();
            return self.expected("`]]#`");
        };
        push_text(nodes, inside.get(..end).unwrap_or_default());
        self.at += end + 6;
        Ok(())
    }
}

/// Whether the lexer is within a property's name at the end; indexes don't change that.
fn ends_with_property(reference: &Reference) -> bool {
    let named = reference.path.iter().rev().find(|access| !matches!(access, Access::Index { .. }));
    matches!(named, Some(Access::Property { .. }))
}
