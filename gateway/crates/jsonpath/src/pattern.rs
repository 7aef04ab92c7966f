//! Java's regular expressions, by an engine whose time is linear in the input.

use regex::{Regex, RegexBuilder};
use std::fmt;

/// A compiled program larger than this is refused.
const LARGEST_PROGRAM: usize = 1 << 18;

/// A regular expression in Java's syntax.
#[derive(Clone, Debug)]
pub struct JavaPattern {
    /// Finds anywhere.
    find: Regex,
    /// Matches the whole text.
    whole: Regex,
}

/// A pattern that can't be used here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError(String);

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PatternError {}

impl JavaPattern {
    /// Compiles a pattern; `flags` as in `/…/i`.
    ///
    /// # Errors
    /// When it is not a regular expression, or needs backtracking (look-around, back references, possessive
    /// quantifiers), which could take forever.
    pub fn new(pattern: &str, flags: &str) -> Result<Self, PatternError> {
        let translated = translate(pattern);
        let build = |pattern: &str| {
            RegexBuilder::new(pattern)
                .case_insensitive(flags.contains('i'))
                .multi_line(flags.contains('m'))
                .dot_matches_new_line(flags.contains('s'))
                .size_limit(LARGEST_PROGRAM)
                .dfa_size_limit(LARGEST_PROGRAM)
                .nest_limit(64)
                .build()
                .map_err(|error| PatternError(last_line(&error.to_string())))
        };
        Ok(Self { find: build(&translated)?, whole: build(&format!(r"\A(?:{translated})\z"))? })
    }

    /// `Matcher.matches()`.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.whole.is_match(text)
    }

    /// The engine, to find with.
    #[must_use]
    pub const fn regex(&self) -> &Regex {
        &self.find
    }
}

/// The engine's message ends with the reason; before it stands a picture of the pattern.
fn last_line(message: &str) -> String {
    let line = message.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// What Java writes differently: classes are ASCII there, and `\Z`, `\h`, `\R` and some class names are missing here.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            out.push(char);
            continue;
        }
        let Some(escaped) = chars.next() else {
            out.push('\\');
            break;
        };
        match escaped {
            'd' => out.push_str("[0-9]"),
            'D' => out.push_str("[^0-9]"),
            'w' => out.push_str("[a-zA-Z_0-9]"),
            'W' => out.push_str("[^a-zA-Z_0-9]"),
            's' => out.push_str(r"[ \t\n\x0B\f\r]"),
            'S' => out.push_str(r"[^ \t\n\x0B\f\r]"),
            'h' => out.push_str(r"[ \t\x{A0}\x{1680}\x{180e}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}]"),
            'Z' => out.push_str(r"(?:\n?\z)"),
            'R' => out.push_str(r"(?:\r\n|[\n\x0B\f\r\x{85}\x{2028}\x{2029}])"),
            'Q' => quoted(&mut chars, &mut out),
            'p' | 'P' => class(escaped, &mut chars, &mut out),
            // Java takes a backslash before any character that is no letter.
            _ if !escaped.is_ascii_alphanumeric() => out.push_str(&regex::escape(&escaped.to_string())),
            _ => {
                out.push('\\');
                out.push(escaped);
            }
        }
    }
    out
}

/// `\Q…\E`.
fn quoted(chars: &mut std::str::Chars<'_>, out: &mut String) {
    let rest = chars.as_str();
    let (literal, after) = rest.split_once("\\E").unwrap_or((rest, ""));
    out.push_str(&regex::escape(literal));
    *chars = after.chars();
}

/// `\p{Alpha}`; names that are not POSIX ones are the engine's to know.
fn class(letter: char, chars: &mut std::str::Chars<'_>, out: &mut String) {
    let rest = chars.as_str();
    let name = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
    let Some((name, after)) = name else {
        out.push('\\');
        out.push(letter);
        return;
    };
    *chars = after.chars();
    let posix = ["Lower", "Upper", "Alpha", "Digit", "Alnum", "Punct", "Graph", "Print", "Blank", "Cntrl"]
        .into_iter()
        .find(|posix| *posix == name);
    let negated = if letter == 'P' { "^" } else { "" };
    match (posix, name) {
        (Some(posix), _) => out.push_str(&format!("[[:{negated}{}:]]", posix.to_lowercase())),
        (None, "XDigit") => out.push_str(&format!("[[:{negated}xdigit:]]")),
        (None, "Space") => out.push_str(&format!("[[:{negated}space:]]")),
        (None, "ASCII") => out.push_str(&format!("[[:{negated}ascii:]]")),
        (None, _) => out.push_str(&format!("\\{letter}{{{}}}", name.strip_prefix("Is").unwrap_or(name))),
    }
}

#[cfg(test)]
mod tests {
    use super::JavaPattern;

    #[test]
    fn java_syntax_is_understood() {
        for (pattern, text, matches) in [
            ("[0-9]*", "123", true),
            ("[0-9]*", "d123", false),
            (r"^\d{4}-\d{2}$", "2020-01", true),
            (r"\d+", "٣", false),
            (r"[\d\-]+", "1-2", true),
            (r"\Qa.b\E+", "a.bb", true),
            (r"\p{Alpha}+", "abc", true),
            (r"\p{IsLatin}+", "abc", true),
            (r"a\/b", "a/b", true),
            (r".*\Z", "abc", true),
        ] {
            assert_eq!(JavaPattern::new(pattern, "").unwrap().matches(text), matches, "{pattern}");
        }
        assert!(JavaPattern::new("ABC", "i").unwrap().matches("abc"));
    }

    #[test]
    fn what_needs_backtracking_or_too_much_room_is_refused() {
        let error = JavaPattern::new("(?=a)b", "").unwrap_err().to_string();
        assert!(error.contains("look-around"), "{error}");
        assert!(JavaPattern::new(r"(a)\1", "").is_err());
        assert!(JavaPattern::new("((a{1000}){1000}){1000}", "").is_err());
    }
}
