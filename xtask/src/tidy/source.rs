//! Rust text with everything that is not code blanked out, so that rules can search it without parsing it.

/// `text` with comments, strings and character literals replaced by spaces; line breaks stay where they are.
pub(super) fn code_only(text: &str) -> String {
    let mut scanner = Scanner { rest: text, code: String::with_capacity(text.len()) };
    while !scanner.rest.is_empty() {
        scanner.step();
    }
    scanner.code
}

struct Scanner<'a> {
    rest: &'a str,
    code: String,
}

impl Scanner<'_> {
    fn step(&mut self) {
        let rest = self.rest;
        if rest.starts_with("//") {
            self.blank(rest.find('\n').unwrap_or(rest.len()));
        } else if rest.starts_with("/*") {
            self.blank(block_comment(rest));
        } else if let Some(length) = string(rest, self.code.chars().next_back()) {
            self.blank(length);
        } else if let Some(length) = character(rest) {
            self.blank(length);
        } else {
            let length = rest.chars().next().map_or(0, char::len_utf8);
            self.keep(length);
        }
    }

    fn keep(&mut self, length: usize) {
        let (taken, rest) = self.rest.split_at(length);
        self.code.push_str(taken);
        self.rest = rest;
    }

    fn blank(&mut self, length: usize) {
        let (taken, rest) = self.rest.split_at(length);
        self.code.extend(taken.chars().map(|character| if character == '\n' { '\n' } else { ' ' }));
        self.rest = rest;
    }
}

/// The length of a comment that may hold further ones.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of a string literal at the start: plain, byte, C or raw.
fn string(text: &str, before: Option<char>) -> Option<usize> {
    if before.is_some_and(|character| character.is_alphanumeric() || character == '_')
        && !text.starts_with('"')
    {
        // The `r` of `for` is no prefix.
        return None;
    }
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        text.strip_prefix(prefix).is_some_and(|rest| {
            rest.starts_with('"')
                || (prefix.ends_with('r')
                    && rest.trim_start_matches('#').starts_with('"')
                    && !rest.is_empty())
        })
    })?;
    let body = text.get(prefix.len()..)?;
    if prefix.ends_with('r') {
        let hashes = body.len() - body.trim_start_matches('#').len();
        let end = format!("\"{}", "#".repeat(hashes));
        let start = hashes + 1;
        let length = body.get(start..)?.find(&end)? + start + end.len();
        return Some(prefix.len() + length);
    }
    let mut escaped = false;
    for (at, character) in body.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(prefix.len() + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// The length of a character literal at the start; `None` for a lifetime.
fn character(text: &str) -> Option<usize> {
    let body = text.strip_prefix('\'')?;
    if body.starts_with('\\') {
        let end = body.char_indices().skip(2).find(|(_, character)| *character == '\'')?.0;
        return Some(end + 2);
    }
    let first = body.chars().next()?;
    body.get(first.len_utf8()..)?.starts_with('\'').then_some(first.len_utf8() + 2)
}

#[cfg(test)]
mod tests {
    use super::code_only;

    #[test]
    fn only_code_is_left() {
        let text = "let a = \"unsafe { \\\" }\"; // unsafe {\nlet b = '{'; /* { /* nested */ { */ let c: &'a str = r#\"{\"#;";
        let code = code_only(text);
        assert!(!code.contains('{') && !code.contains("unsafe") && !code.contains("nested"));
        assert!(code.contains("let c: &'a str =") && code.contains("let b ="));
        assert_eq!(code.lines().count(), 2);
    }

    #[test]
    fn escapes_and_multi_byte_text_do_not_confuse_it() {
        let code = code_only("let q = '\\''; let u = '\\u{7d}'; let ä = \"ö{\"; let s = b\"{\\\\\"; end()");
        assert!(!code.contains('{') && !code.contains('}'));
        assert!(code.ends_with("end()"));
    }
}
